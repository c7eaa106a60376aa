//! Reading X.509 certificates that webpki does not read: version 1 ones, and what of any
//! certificate an error text or a host name check needs.

use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{BitString, Header, Sequence, ToDer};
use x509_parser::certificate::{Validity, X509Certificate};
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
    let Validity { not_before, not_after } = *cert.validity();
    if is_within(cert.validity(), now) {
        return Ok(());
    }
    let subject = name(cert.subject());
    if seconds(now) < not_before.timestamp() {
        return Err(Refusal::NotYetValid { subject, not_before });
    }
    Err(Refusal::Expired { subject, not_after })
}

/// Whether a moment is within a period; its first and its last second are.
pub(super) fn is_within(period: &Validity, now: UnixTime) -> bool {
    (period.not_before.timestamp()..=period.not_after.timestamp()).contains(&seconds(now))
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Whether `key` signed the certificate, by an algorithm of the list.
pub(super) fn is_signed_by(
    cert: &X509Certificate<'_>,
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let (tbs, signature) = (cert.tbs_certificate.as_ref(), cert.signature_value.data.as_ref());
    let Some(id) = algorithm_id(&cert.tbs_certificate.signature) else {
        return false;
    };
    let Ok(key) = RawPublicKeyEntity::try_from(key) else {
        return false;
    };
    is_exact(cert, &id)
        && algorithms
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == id)
            .any(|algorithm| key.verify_signature(*algorithm, tbs, signature).is_ok())
}

/// Whether what stands unsigned around the signed part says the same, and not a bit more: the
/// algorithm again, the signature in whole bytes. The parser itself is more forgiving.
fn is_exact(cert: &X509Certificate<'_>, id: &[u8]) -> bool {
    let Ok((content, _)) = Header::from_der(cert.as_raw()) else {
        return false;
    };
    let algorithm = Sequence::new(id.into()).to_der_vec();
    let signature = BitString::new(0, &cert.signature_value.data).to_der_vec();
    let (Ok(algorithm), Ok(signature)) = (algorithm, signature) else {
        return false;
    };
    content == [cert.tbs_certificate.as_ref(), &algorithm, &signature].concat()
}

/// An X.509 name for people: printable, short.
pub(super) fn name(name: &X509Name<'_>) -> String {
    printable(&name.to_string())
}

/// Text of a peer's certificate for people: printable, short.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_SHOWN).collect()
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
