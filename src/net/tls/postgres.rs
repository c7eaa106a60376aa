//! The control plane's driver over the same TLS: tokio-postgres asks for its handshakes here.

use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection};
use tokio_rustls::client;

use crate::config::ServerTlsMode;
use crate::net::connect::Connected;
use crate::net::stream::Stream;

use super::TlsError;
use super::connector::{self, Connector};

/// What tokio-postgres must be told beside the connector: it asks for TLS itself, and nothing is
/// asked on a Unix-domain socket.
pub fn ssl_mode(mode: ServerTlsMode, host: &str) -> SslMode {
    match mode {
        _ if host.starts_with('/') => SslMode::Disable,
        ServerTlsMode::Disable => SslMode::Disable,
        ServerTlsMode::Prefer => SslMode::Prefer,
        ServerTlsMode::Require | ServerTlsMode::VerifyCa | ServerTlsMode::VerifyFull => {
            SslMode::Require
        }
    }
}

/// Logs the driver in on a connection that is ready for it, bound to its TLS if it has that.
/// Overwrites what the configuration says of TLS.
pub async fn log_in(
    connected: Connected,
    config: &mut Config,
) -> Result<(Client, Connection<Stream, Bound<Stream>>), tokio_postgres::Error> {
    let mode = if connected.stream.is_tls() { SslMode::Require } else { SslMode::Disable };
    // The driver shall not ask for TLS again: what it takes for the handshake hands the encrypted
    // connection over.
    config.ssl_mode(mode).ssl_negotiation(SslNegotiation::Direct);
    config.connect_raw(connected.stream, Established(connected.end_point)).await
}

/// A connection inside TLS, with what a SCRAM login on it can be bound to.
#[derive(Debug)]
pub struct Bound<T> {
    inner: T,
    end_point: Option<Vec<u8>>,
}

/// The handshake with one host.
#[derive(Debug)]
pub struct HostConnector {
    connector: Connector,
    host: String,
}

/// The handshake that was made already.
struct Established(Option<Vec<u8>>);

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Bound<client::TlsStream<S>>;
    type TlsConnect = HostConnector;
    type Error = TlsError;

    fn make_tls_connect(&mut self, host: &str) -> Result<HostConnector, TlsError> {
        Ok(HostConnector { connector: self.clone(), host: host.to_owned() })
    }
}

impl<S> TlsConnect<S> for HostConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Bound<client::TlsStream<S>>;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, TlsError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let inner = self.connector.handshake(&self.host, stream).await?;
            let end_point = connector::end_point(&inner);
            Ok(Bound { inner, end_point })
        })
    }
}

impl TlsConnect<Stream> for Established {
    type Stream = Bound<Stream>;
    type Error = TlsError;
    type Future = Ready<Result<Bound<Stream>, TlsError>>;

    fn connect(self, inner: Stream) -> Self::Future {
        ready(Ok(Bound { inner, end_point: self.0 }))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> TlsStream for Bound<T> {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point
            .clone()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bound<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bound<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_postgres::config::ChannelBinding as Binding;

    use super::super::testing::{PASSWORD, Pki, Postgres, database};
    use super::*;
    use crate::config::ServerTlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    use crate::net::{ConnectError, Target, connect};

    async fn is_encrypted(client: &Client) -> bool {
        let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        client.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Whether the session that the driver opens by itself is encrypted.
    async fn driver_connects(target: &Target, config: &mut Config) -> Option<bool> {
        let (client, connection) = config.connect(target.connector().clone()).await.ok()?;
        tokio::spawn(connection);
        Some(is_encrypted(&client).await)
    }

    /// Whether the session on a connection that we opened is.
    async fn we_connect(target: &Target, config: &mut Config) -> Option<bool> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let connected = match connect(target, deadline).await {
            Ok(connected) => connected,
            Err(ConnectError::Tls { source: TlsError::Refused(_), .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let (client, connection) = log_in(connected, config).await.unwrap();
        tokio::spawn(connection);
        Some(is_encrypted(&client).await)
    }

    async fn modes_against(certificate: &str, ca: &str, pki: &Pki) {
        let Some(postgres) = Postgres::start(pki, certificate) else {
            return eprintln!("skipped: no PostgreSQL is installed");
        };
        let ca = Some(pki.path(ca));
        for (mode, host, expected) in [
            (Disable, "localhost", Some(false)),
            (Prefer, "localhost", Some(true)),
            (Require, "localhost", Some(true)),
            (VerifyCa, "localhost", Some(true)),
            (VerifyFull, "localhost", Some(true)),
            (VerifyCa, "127.0.0.1", Some(true)),
            (VerifyFull, "127.0.0.1", None),
        ] {
            let target = Target::new(&database(host, postgres.port, mode, ca.clone())).unwrap();
            let binding = if mode == Disable { Binding::Disable } else { Binding::Require };
            let mut config = Config::new();
            config.host(host).port(postgres.port).user("postgres").password(PASSWORD);
            config.ssl_mode(ssl_mode(mode, host)).channel_binding(binding);
            let found = driver_connects(&target, &mut config).await;
            assert_eq!(found, expected, "{certificate} {mode:?} {host}");
            let found = we_connect(&target, &mut config).await;
            assert_eq!(found, expected, "{certificate} {mode:?} {host}");
        }
    }

    #[tokio::test]
    async fn postgres_with_the_manuals_self_signed_certificate() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        modes_against("server", "server.crt", &pki).await;
    }

    #[tokio::test]
    async fn postgres_with_a_certificate_below_the_manuals_intermediate_authority() {
        let pki = Pki::new();
        pki.root("root", "root");
        pki.intermediate("middle", "middle", "root");
        pki.issued("leaf", "localhost", "middle");
        pki.bundle("server.crt", &["leaf", "middle"]);
        std::fs::copy(pki.path("leaf.key"), pki.path("server.key")).unwrap();
        modes_against("server", "root.crt", &pki).await;
    }
}
