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
