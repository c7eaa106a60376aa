//! Why a server's certificate is not believed.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{CertificateError, OtherError};
use x509_parser::time::ASN1Time;

/// Why a server's certificate is not believed: the cause, and what helps. Texts from the
/// certificate are printable and short.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Nobody trusted issued it.
    #[error(
        "the server's certificate was issued by \"{issuer}\", which is not trusted: {} does not \
         hold that issuer's certificate; add it there, if this is the right server", .ca.display()
    )]
    UnknownIssuer {
        /// The issuer that is not trusted.
        issuer: String,
        /// The file of trusted certificates.
        ca: PathBuf,
    },
    /// It vouches for itself and is not trusted.
    #[error(
        "the server's certificate (\"{subject}\") is self-signed and not trusted: {} does not hold \
         it; add it there, if this is the right server", .ca.display()
    )]
    SelfSigned {
        /// Its subject.
        subject: String,
        /// The file of trusted certificates.
        ca: PathBuf,
    },
    /// It, or one that vouches for it, is too old.
    #[error(
        "the server's certificate cannot be trusted: \"{subject}\" expired on {not_after}; it must be renewed"
    )]
    Expired {
        /// Whose.
        subject: String,
        /// Its last moment.
        not_after: ASN1Time,
    },
    /// It, or one that vouches for it, is too young.
    #[error(
        "the server's certificate cannot be trusted: \"{subject}\" is valid only from {not_before}; \
         check this machine's clock"
    )]
    NotYetValid {
        /// Whose.
        subject: String,
        /// Its first moment.
        not_before: ASN1Time,
    },
    /// It is another host's.
    #[error(
        "the server's certificate is for {}, not for host \"{host}\"; connect by a name that it has, \
         have one issued for this host, or choose `verify-ca`", Names(.names)
    )]
    WrongHost {
        /// The host that was asked for.
        host: String,
        /// The names that the certificate has, the first of many.
        names: Vec<String>,
    },
    /// It says itself that it is not for servers.
    #[error(
        "the server's certificate (\"{subject}\") is not meant for a TLS server; it must be issued for that use"
    )]
    WrongPurpose {
        /// Its subject.
        subject: String,
    },
    /// It cannot be read.
    #[error(
        "the server's certificate is damaged or uses what is not supported; it must be issued anew"
    )]
    Unreadable,
    /// The library's finding.
    #[error("the server's certificate cannot be trusted: {0}")]
    Invalid(webpki::Error),
}

impl Refusal {
    /// The refusal inside an error of rustls, if that is what it is about.
    pub(super) fn found_in(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

struct Names<'a>(&'a [String]);

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => f.write_str("no host at all"),
            names => write!(f, "\"{}\"", names.join("\", \"")),
        }
    }
}
