//! A socket that is lent to a driver and comes back, however the driver ends.
//!
//! A slot of the host is free only after the server's EOF was read, but the driver drops its
//! socket without reading on: after its Terminate, when a login fails, and when a future is
//! dropped half way. So the socket's owner stays outside, and gets it back by `Drop`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::Counter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

use crate::host::Slot;

/// A stream that returns to its owner when it is dropped.
#[derive(Debug)]
pub(super) struct Lent<S> {
    stream: Option<S>,
    owner: Option<oneshot::Sender<S>>,
}

/// Lends a stream; it comes back through the channel.
pub(super) fn lend<S>(stream: S) -> (Lent<S>, oneshot::Receiver<S>) {
    let (owner, back) = oneshot::channel();
    (Lent { stream: Some(stream), owner: Some(owner) }, back)
}

/// Holds the slot until the lent stream is back and its peer's EOF was read, or until `limit` has
/// passed after that, which `late` counts.
pub(super) async fn hold<S>(slot: Slot, back: oneshot::Receiver<S>, limit: Duration, late: Counter)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The sender sends before it is gone.
    if let Ok(mut stream) = back.await {
        let closed = async {
            let _ = stream.shutdown().await;
            read_to_eof(&mut stream).await;
        };
        if tokio::time::timeout(limit, closed).await.is_err() {
            late.increment(1);
            tracing::warn!(
                waited = ?limit,
                "PostgreSQL did not end a closed control connection in time; its slot is reused"
            );
        }
    }
    drop(slot);
}

async fn read_to_eof(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(stream), Some(owner)) = (self.stream.take(), self.owner.take()) {
            // An owner that is gone closes it.
            let _ = owner.send(stream);
        }
    }
}

impl<S: Unpin> Lent<S> {
    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::config::Share;
    use crate::host::{Host, HostLimits, Owner};
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn the_slot_is_kept_until_the_peers_eof() {
        let limits = HostLimits { host: Share::Count(1), ..HostLimits::NONE };
        let owner = Owner { database: "d".into(), user: "u".into() };
        let host = Host::new(limits, Metrics::new().host("test"));
        let soon = Instant::now() + Duration::from_secs(10);
        let slot = host.take(owner, soon).await.unwrap();
        let (ours, mut server) = tokio::io::duplex(64);
        let (lent, back) = lend(ours);
        let holding = tokio::spawn(hold(slot, back, Duration::from_secs(10), Counter::noop()));
        drop(lent);
        // Our half is closed, and what the server still says is read.
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        server.write_all(b"last words").await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(host.used(), 1);
        drop(server);
        holding.await.unwrap();
        assert_eq!(host.used(), 0);
    }

    #[tokio::test]
    async fn a_server_that_never_closes_gives_the_slot_back_at_the_limit() {
        let limits = HostLimits { host: Share::Count(1), ..HostLimits::NONE };
        let owner = Owner { database: "d".into(), user: "u".into() };
        let host = Host::new(limits, Metrics::new().host("test"));
        let soon = Instant::now() + Duration::from_secs(10);
        let slot = host.take(owner, soon).await.unwrap();
        let (ours, _server) = tokio::io::duplex(64);
        let (lent, back) = lend(ours);
        drop(lent);
        hold(slot, back, Duration::from_millis(20), Counter::noop()).await;
        assert_eq!(host.used(), 0);
    }
}
