//! Reading X.509 certificates that webpki does not read: version 1 ones, and what of any
//! certificate an error text or a host name check needs.

use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::ToDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Name};

use super::refusal::Refusal;

/// Reads one certificate, with nothing behind it.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    if der.len() > MAX_CERTIFICATE {
        return None;
    }
    let (rest, cert) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(cert)
}

/// The certificate's public key, as the signature checks of rustls and webpki take it.
pub(super) fn public_key(cert: &X509Certificate<'_>) -> SubjectPublicKeyInfoDer<'static> {
    SubjectPublicKeyInfoDer::from(cert.public_key().raw).into_owned()
}

/// Whether issuer and subject are one.
pub(super) fn is_self_issued(cert: &X509Certificate<'_>) -> bool {
    cert.issuer().as_raw() == cert.subject().as_raw()
}

/// Refuses a certificate outside its period of validity.
pub(super) fn check_period(cert: &X509Certificate<'_>, now: UnixTime) -> Result<(), Refusal> {
    let (validity, now) = (
        cert.validity(),
        i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
    );
    if now < validity.not_before.timestamp() {
        return Err(Refusal::NotYetValid {
            subject: name(cert.subject()),
            not_before: validity.not_before,
        });
    }
    if now > validity.not_after.timestamp() {
        return Err(Refusal::Expired {
            subject: name(cert.subject()),
            not_after: validity.not_after,
        });
    }
    Ok(())
}

/// Whether `key` signed the certificate, by an algorithm of the list.
pub(super) fn is_signed_by(
    cert: &X509Certificate<'_>,
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let signature = cert.signature_value.data.as_ref();
    // The algorithm stands twice, and only the inner one is signed.
    if cert.signature_algorithm != cert.tbs_certificate.signature
        || cert.signature_value.unused_bits != 0
    {
        return false;
    }
    let (Some(id), Ok(key)) = (
        algorithm_id(&cert.signature_algorithm),
        RawPublicKeyEntity::try_from(key),
    ) else {
        return false;
    };
    algorithms
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == id)
        .any(|algorithm| {
            key.verify_signature(*algorithm, cert.tbs_certificate.as_ref(), signature)
                .is_ok()
        })
}

/// An X.509 name for people: printable, short.
pub(super) fn name(name: &X509Name<'_>) -> String {
    printable(&name.to_string())
}

/// Text of a peer's certificate for people: printable, short.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(MAX_SHOWN)
        .collect()
}

/// The content of an AlgorithmIdentifier, without the SEQUENCE around it.
fn algorithm_id(algorithm: &AlgorithmIdentifier<'_>) -> Option<Vec<u8>> {
    let mut id = algorithm.algorithm.to_der_vec().ok()?;
    if let Some(parameters) = &algorithm.parameters {
        id.extend(parameters.to_der_vec_raw().ok()?);
    }
    Some(id)
}

/// What a TLS 1.2 Certificate message holds of one certificate is bounded by its 3-byte length and
/// by rustls at 64 KiB for all of them.
const MAX_CERTIFICATE: usize = 64 << 10;
const MAX_SHOWN: usize = 200;
