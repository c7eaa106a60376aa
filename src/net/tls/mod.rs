//! TLS towards clients ([`Acceptor`]) and towards servers ([`Connector`]).
//!
//! Owns: certificate files, the check of a server's certificate with libpq's meaning of `sslmode`,
//! and the hash that SCRAM binds a login to (RFC 5929, 4.1). Invariant: the cryptography is rustls'
//! and webpki's alone; what stands here decides which certificate is believed, never how a
//! signature is checked. Obeys `ssl-tcp.html` and `libpq-ssl.html` of the manual.

mod acceptor;
mod cert;
mod chain;
mod connector;
mod end_point;
mod files;
mod names;
pub mod postgres;
mod records;
mod refusal;
mod served;
#[cfg(test)]
pub(crate) mod testing;
mod verifier;

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use acceptor::{AcceptError, Accepted, Acceptor, Step};
pub use connector::Connector;
pub use files::TlsFileError;
pub use refusal::Refusal;
pub use served::Served;

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server's certificate is not believed.
    #[error(transparent)]
    Refused(Refusal),
    /// The peer does not speak TLS as it must, or did not like what it was offered.
    #[error("TLS handshake failed: {0}")]
    Protocol(rustls::Error),
    /// The connection was lost.
    #[error("the connection was lost during the TLS handshake: {0}")]
    Lost(io::Error),
    /// The host cannot stand in a certificate, so none can be checked against it.
    #[error("`verify-full` needs a host name or an address, and the host is neither")]
    NotAHostName,
    /// TLS was asked for where the settings disable it.
    #[error("TLS is disabled for this server")]
    Disabled,
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(tls) => Refusal::found_in(tls).map_or(Self::Protocol(tls.clone()), Self::Refused),
            None => Self::Lost(error),
        }
    }
}

/// The one provider of cryptography, named wherever one is needed so that no process-wide default
/// is relied on.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// PostgreSQL's name in application-layer protocol negotiation
/// (`protocol-flow.html#PROTOCOL-FLOW-SSL`).
const ALPN: &[u8] = b"postgresql";

/// Oldest first is rustls' business: these are what is spoken. PostgreSQL's own default minimum is
/// TLS 1.2 too (`ssl_min_protocol_version`).
const VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
