//! The check of a server's certificate that rustls asks for.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved, SignatureScheme};
use webpki::RawPublicKeyEntity;

use super::chain::{Shown, Trusted};
use super::refusal::Refusal;
use super::{cert, names, provider};

/// What is asked of a server's certificate (`libpq-ssl.html#LIBPQ-SSL-PROTECTION`).
#[derive(Debug)]
pub(super) enum Demand {
    /// Any will do; that the server has its key is checked all the same.
    Any,
    /// Somebody trusted vouches for it (`verify-ca`).
    Trusted(Trusted),
    /// And it is this host's (`verify-full`).
    TrustedFor(Trusted),
}

#[derive(Debug)]
pub(super) struct Verifier {
    demand: Demand,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(demand: Demand) -> Self {
        Self { demand, algorithms: provider().signature_verification_algorithms }
    }

    fn check(&self, shown: Shown<'_>, host: &ServerName<'_>) -> Result<(), Refusal> {
        match &self.demand {
            Demand::Any => Ok(()),
            Demand::Trusted(trusted) => trusted.check(shown),
            Demand::TrustedFor(trusted) => {
                trusted.check(shown)?;
                let leaf = cert::parse(shown.leaf).ok_or(Refusal::Unreadable)?;
                names::check(&leaf, host)
            }
        }
    }

    /// As `verify_tls12_signature` of rustls, for a key out of a certificate that webpki cannot
    /// read: TLS 1.2 names a signature scheme only roughly, so several algorithms may be meant.
    fn verify_tls12_raw(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let mut meant =
            self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let Some((_, candidates)) = meant.next() else {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        };
        let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
        let good = candidates
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        if good {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown { leaf, others, now, algorithms: self.algorithms.all };
        self.check(shown, host)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match unread_by_webpki(leaf)? {
            None => verify_tls12_signature(message, leaf, signed, &self.algorithms),
            Some(key) => self.verify_tls12_raw(message, &key, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match unread_by_webpki(leaf)? {
            None => verify_tls13_signature(message, leaf, signed, &self.algorithms),
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The public key of a certificate that webpki cannot read, `None` where it can.
fn unread_by_webpki(
    leaf: &CertificateDer<'_>,
) -> Result<Option<SubjectPublicKeyInfoDer<'static>>, Refusal> {
    if ParsedCertificate::try_from(leaf).is_ok() {
        return Ok(None);
    }
    let parsed = cert::parse(leaf).ok_or(Refusal::Unreadable)?;
    Ok(Some(cert::public_key(&parsed)))
}

#[cfg(test)]
mod tests;
