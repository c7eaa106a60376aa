//! The control plane's driver over the same TLS: tokio-postgres asks for its handshakes here.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{self, ChannelBinding, MakeTlsConnect};
use tokio_rustls::client;

use crate::config::ServerTlsMode;

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

/// The handshake with one host.
#[derive(Debug)]
pub struct HostConnector {
    connector: Connector,
    host: String,
}

/// tokio-postgres' connection inside TLS.
#[derive(Debug)]
pub struct TlsStream<S>(client::TlsStream<S>);

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type TlsConnect = HostConnector;
    type Error = TlsError;

    fn make_tls_connect(&mut self, host: &str) -> Result<HostConnector, TlsError> {
        Ok(HostConnector {
            connector: self.clone(),
            host: host.to_owned(),
        })
    }
}

impl<S> tls::TlsConnect<S> for HostConnector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = TlsStream<S>;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream<S>, TlsError>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            Ok(TlsStream(
                self.connector.handshake(&self.host, stream).await?,
            ))
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> tls::TlsStream for TlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        connector::end_point(&self.0)
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_postgres::Config;
    use tokio_postgres::config::ChannelBinding as Binding;

    use super::super::testing::{PASSWORD, Pki, Postgres, database};
    use super::*;
    use crate::config::ServerTlsMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    use crate::net::{ConnectError, Target, connect};

    /// Whether the session that the driver opens is encrypted.
    async fn log_in(target: &Target, host: &str, port: u16, binding: Binding) -> Option<bool> {
        let mut config = Config::new();
        let mode = ssl_mode(target.connector().mode(), host);
        config
            .host(host)
            .port(port)
            .user("postgres")
            .password(PASSWORD)
            .ssl_mode(mode);
        config.channel_binding(binding);
        let started = Instant::now();
        let (client, connection) = loop {
            match config.connect(target.connector().clone()).await {
                Ok(connected) => break connected,
                // PostgreSQL is up a moment after it listens.
                Err(error) if error.code().is_some_and(|code| code.code() == "57P03") => {
                    assert!(started.elapsed() < Duration::from_secs(20));
                }
                Err(_) => return None,
            }
        };
        tokio::spawn(connection);
        let query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        Some(client.query_one(query, &[]).await.unwrap().get(0))
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
            let binding = if mode == Disable {
                Binding::Disable
            } else {
                Binding::Require
            };
            let logged_in = log_in(&target, host, postgres.port, binding).await;
            assert_eq!(logged_in, expected, "{certificate} {mode:?} {host}");

            let connected = connect(&target, Instant::now() + Duration::from_secs(10)).await;
            match (connected, expected) {
                (Ok(connected), Some(tls)) => assert_eq!(connected.stream.is_tls(), tls),
                (
                    Err(ConnectError::Tls {
                        source: TlsError::Refused(_),
                        ..
                    }),
                    None,
                ) => {}
                (connected, _) => panic!("{certificate} {mode:?} {host}: {connected:?}"),
            }
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
