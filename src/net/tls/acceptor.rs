//! TLS towards clients.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::net::stream::Stream;

use super::files::{self, TlsFileError};
use super::{ALPN, TlsError, VERSIONS, cert, end_point, provider};

/// Takes clients' TLS handshakes. Cheap to clone; for a reload, build another and use it from then
/// on: connections keep what they began with.
#[derive(Clone)]
pub struct Acceptor {
    inner: TlsAcceptor,
    end_point: Option<Arc<[u8]>>,
}

/// A client whose handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The encrypted connection.
    pub stream: Stream,
    /// The client negotiated the protocol name `postgresql`. A client that began with TLS, without
    /// an SSLRequest, must have.
    pub alpn: bool,
}

/// Why a client's handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// TLS inside TLS, or on a Unix-domain socket.
    #[error("TLS cannot begin on this connection")]
    NotTcp,
    /// The handshake itself.
    #[error(transparent)]
    Handshake(#[from] TlsError),
}

impl Acceptor {
    /// Reads the certificate (with its intermediates behind it) and its key, both PEM. Blocks on
    /// the files.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsFileError> {
        let certified = certified_key(cert, key)?;
        let end_point = certified
            .cert
            .first()
            .and_then(end_point::hash)
            .map(Arc::from);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL resumes no sessions and its clients ask for none: tickets would be waste.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            inner: TlsAcceptor::from(Arc::new(config)),
            end_point,
        })
    }

    /// The hash of pgweir's certificate that clients bind a SCRAM login to; `None` where that is
    /// undefined and SCRAM-SHA-256-PLUS cannot be offered.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Takes the handshake of a client. The caller sees to it that no plaintext stands before it
    /// ([`Stream::has_unread_bytes`]), and to a time limit. Not cancel safe: dropped midway, the
    /// connection is closed.
    pub async fn accept(&self, stream: Stream) -> Result<Accepted, AcceptError> {
        let Stream::Tcp(tcp) = stream else {
            return Err(AcceptError::NotTcp);
        };
        let tls = self.inner.accept(tcp).await.map_err(TlsError::from)?;
        let alpn = tls.get_ref().1.alpn_protocol() == Some(ALPN);
        Ok(Accepted {
            stream: Stream::Tls(Box::new(TlsStream::Server(tls))),
            alpn,
        })
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// rustls' own constructor takes no version 1 certificate, which is what `openssl x509 -req` makes
/// by the manual's recipe; that key and certificate match is checked here instead.
fn certified_key(cert_path: &Path, key_path: &Path) -> Result<CertifiedKey, TlsFileError> {
    let chain = files::certificates(cert_path)?;
    let key = files::private_key(key_path)?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|source| TlsFileError::UnusableKey {
            path: key_path.to_owned(),
            source,
        })?;
    let leaf = chain.first().and_then(cert::parse);
    let matches = match (leaf, key.public_key()) {
        (Some(leaf), Some(public)) => cert::public_key(&leaf) == public,
        _ => false,
    };
    if !matches {
        let (cert, key) = (cert_path.to_owned(), key_path.to_owned());
        return Err(TlsFileError::Mismatch { cert, key });
    }
    Ok(CertifiedKey::new(chain, key))
}
