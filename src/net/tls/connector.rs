//! TLS towards servers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client};

use crate::config::{ServerTls, ServerTlsMode};
use crate::net::stream::Stream;

use super::chain::Trusted;
use super::files::TlsFileError;
use super::verifier::{Demand, Verifier};
use super::{ALPN, TlsError, VERSIONS, provider};

/// Makes TLS handshakes with the servers of one database, by its mode. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    mode: ServerTlsMode,
    /// `None` where the mode is `disable`.
    config: Option<Arc<ClientConfig>>,
}

impl Connector {
    /// Reads the trusted certificates that the mode needs. Blocks on the file.
    ///
    /// As in libpq, `require` with trusted certificates means `verify-ca`.
    pub fn new(tls: &ServerTls) -> Result<Self, TlsFileError> {
        let config = match demand(tls)? {
            None => None,
            Some(demand) => Some(Arc::new(client_config(demand)?)),
        };
        Ok(Self { mode: tls.mode, config })
    }

    /// The same for one that connects again and again, and goes on from its last TLS session if the server gives
    /// tickets, as pgweir does.
    #[must_use]
    pub fn resuming(&self) -> Self {
        let resuming = |config: &Arc<ClientConfig>| {
            let mut config = ClientConfig::clone(config);
            config.resumption = Resumption::in_memory_sessions(1);
            Arc::new(config)
        };
        Self { mode: self.mode, config: self.config.as_ref().map(resuming) }
    }

    /// The mode.
    pub fn mode(&self) -> ServerTlsMode {
        self.mode
    }

    /// Makes the handshake, after the server agreed to it. The host's name is sent along (SNI) if
    /// it is one. The time limit is the caller's. Not cancel safe: dropped midway, the connection
    /// is closed.
    pub async fn handshake<S>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<client::TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config.as_ref().ok_or(TlsError::Disabled)?;
        let connector = TlsConnector::from(Arc::clone(config));
        Ok(connector.connect(self.server_name(host)?, stream).await?)
    }

    /// Makes the handshake on a connection to a server. Beside the encrypted connection comes the
    /// hash of the server's certificate that a SCRAM login can be bound to.
    pub async fn secure(
        &self,
        host: &str,
        stream: Stream,
    ) -> Result<(Stream, Option<Vec<u8>>), TlsError> {
        let Stream::Tcp(tcp) = stream else {
            return Err(TlsError::Disabled);
        };
        let tls = self.handshake(host, tcp).await?;
        let end_point = end_point(&tls);
        Ok((Stream::Tls(Box::new(tls)), end_point))
    }

    fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match ServerName::try_from(host.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.mode == ServerTlsMode::VerifyFull => Err(TlsError::NotAHostName),
            // A name that cannot stand in a certificate, where none is compared: an address in its
            // place makes rustls send no SNI.
            Err(_) => Ok(ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))),
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The hash of the server's certificate that a SCRAM login is bound to, if it has one.
pub(super) fn end_point<S>(stream: &client::TlsStream<S>) -> Option<Vec<u8>> {
    stream.get_ref().1.peer_certificates()?.first().and_then(super::end_point::hash)
}

fn demand(tls: &ServerTls) -> Result<Option<Demand>, TlsFileError> {
    let trusted = || match &tls.ca {
        Some(path) => Trusted::load(path),
        None => Err(TlsFileError::NothingTrusted),
    };
    Ok(match tls.mode {
        ServerTlsMode::Disable => None,
        ServerTlsMode::Require if tls.ca.is_some() => Some(Demand::Trusted(trusted()?)),
        ServerTlsMode::Prefer | ServerTlsMode::Require => Some(Demand::Any),
        ServerTlsMode::VerifyCa => Some(Demand::Trusted(trusted()?)),
        ServerTlsMode::VerifyFull => Some(Demand::TrustedFor(trusted()?)),
    })
}

fn client_config(demand: Demand) -> Result<ClientConfig, TlsFileError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(demand)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // PostgreSQL resumes no sessions, and each connection's certificate is to be checked anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}
