//! One connection, whatever carries it.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::HandshakeKind;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::tls::Served;

/// A connection to a client or a server. Small, since there is one per client: TLS stands in a box.
///
/// TLS goes over TCP only, as in PostgreSQL, which answers `N` on a Unix-domain socket. After
/// writing, flush: TLS may hold records back until then.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix-domain socket.
    Unix(UnixStream),
    /// TLS over TCP, as its client.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS over TCP, as its server.
    Served(Box<Served>),
}

/// Who is at the other end. Displays as PostgreSQL's log shows a host: `10.0.0.7:5433`, `[local]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// Address and port.
    Tcp(SocketAddr),
    /// A Unix-domain socket, whose other end has no name worth telling.
    Unix,
}

impl PeerAddr {
    /// The address; a Unix socket has none.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip()),
            Self::Unix => None,
        }
    }
}

impl Stream {
    /// Whether bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Served(_))
    }

    /// Whether its TLS session goes on from an earlier one.
    pub fn is_resumed(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            Self::Served(tls) => tls.state().handshake_kind() == Some(HandshakeKind::Resumed),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether it is a Unix-domain socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Whether the peer is on this machine; `false` when that can no longer be known.
    pub fn is_loopback(&self) -> bool {
        self.peer().is_ok_and(PeerAddr::is_loopback)
    }

    /// The peer's address, asked of the system: fails when the connection is gone.
    pub fn peer(&self) -> io::Result<PeerAddr> {
        match self {
            Self::Tcp(tcp) => tcp.peer_addr().map(PeerAddr::Tcp),
            Self::Tls(tls) => tls.get_ref().0.peer_addr().map(PeerAddr::Tcp),
            Self::Served(tls) => tls.tcp().peer_addr().map(PeerAddr::Tcp),
            Self::Unix(_) => Ok(PeerAddr::Unix),
        }
    }

    /// Waits for the first byte, without taking it, and tells whether it begins a TLS handshake
    /// that no SSLRequest announced (`sslnegotiation=direct`). At once `false` where TLS cannot
    /// begin: on a Unix-domain socket and inside TLS. Cancel safe.
    pub async fn starts_tls(&self) -> io::Result<bool> {
        let Self::Tcp(tcp) = self else {
            return Ok(false);
        };
        // Its first look would come too early.
        tcp.readable().await?;
        let mut first = [0];
        let count = tcp.peek(&mut first).await?;
        Ok(count == 1 && first == [TLS_HANDSHAKE])
    }

    /// Waits until a read may have something.
    pub async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Ready when a read may have something. TLS to a server may hold bytes that the system no longer has, so that
    /// only a read can tell: it is always ready.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Served(tls) if !tls.has_news() => tls.tcp().poll_read_ready(cx),
            Self::Tls(_) | Self::Served(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the system has something. For a connection of which the last read had nothing, so that there
    /// is nothing in TLS.
    pub fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Tls(tls) => tls.get_ref().0.poll_read_ready(cx),
            Self::Served(tls) => tls.tcp().poll_read_ready(cx),
        }
    }

    /// Whether a read may have something, as far as the system has said by now. TLS to a server may hold bytes that
    /// the system no longer has.
    pub fn may_be_readable(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Unix(unix) => unix.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Served(tls) => {
                tls.has_news() || tls.tcp().try_io(Interest::READABLE, || Ok(())).is_ok()
            }
            Self::Tls(_) => true,
        }
    }

    /// Reads are reported from so many bytes on; false where that cannot be had. Only Linux reports what is there
    /// already when the number falls.
    pub fn set_low_water(&self, bytes: usize) -> bool {
        let set = |tcp| super::options::set_low_water(tcp, bytes).is_ok();
        cfg!(target_os = "linux") && self.tcp().is_some_and(set)
    }

    /// Whether the peer's machine has left unacknowledged for so long what was sent to it again and again.
    pub fn owes_acknowledgement(&self, silence: Duration) -> bool {
        self.tcp().is_some_and(|tcp| super::options::owes_acknowledgement(tcp, silence))
    }

    /// Finds out within so long that a client's machine is gone, also while nothing is sent to it; with `None` after
    /// half an hour.
    pub fn watch(&self, dead_after: Option<Duration>) {
        if let Some(tcp) = self.tcp() {
            // Of a connection that is lost already, its next use tells.
            let _ = super::options::watch(&SockRef::from(tcp), dead_after);
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Served(tls) => Some(tls.tcp()),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system holds bytes of the peer that were not read yet. Asked before a TLS
    /// handshake: bytes that came in plaintext must not be taken for encrypted ones.
    pub fn has_unread_bytes(&self) -> io::Result<bool> {
        let socket = match self {
            Self::Tcp(tcp) => SockRef::from(tcp),
            Self::Unix(unix) => SockRef::from(unix),
            Self::Tls(tls) => SockRef::from(tls.get_ref().0),
            Self::Served(tls) => SockRef::from(tls.tcp()),
        };
        match socket.peek(&mut [MaybeUninit::new(0)]) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl PeerAddr {
    /// Whether the peer is on this machine, as one on a Unix-domain socket always is.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix => f.write_str("[local]"),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf).map(forgive),
            Self::Served(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf).map(forgive),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
            Self::Served(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
            Self::Served(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Unix(unix) => unix.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
            Self::Served(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::Served(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            Self::Served(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// TLS that ends without a goodbye. The messages inside carry their own lengths, so a cut is seen without it; a killed
/// client is no more than an end of the stream.
fn forgive(read: io::Result<()>) -> io::Result<()> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        done => done,
    }
}

/// The content type of a TLS handshake record (RFC 8446, 5.1). No length word of a startup packet
/// begins with it: the packet would be larger than PostgreSQL takes.
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stream::Tcp(ours), listener.accept().await.unwrap().0)
    }

    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
    }

    #[test]
    fn loopback_is_told_in_every_notation() {
        for (addr, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("[::ffff:10.0.0.1]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(PeerAddr::Tcp(addr.parse().unwrap()).is_loopback(), expected, "{addr}");
        }
        assert!(PeerAddr::Unix.is_loopback());
        assert_eq!(PeerAddr::Unix.to_string(), "[local]");
    }

    #[tokio::test]
    async fn unread_bytes_are_seen_and_stay() {
        let (mut ours, mut theirs) = pair().await;
        assert!(!ours.has_unread_bytes().unwrap());
        theirs.write_all(b"\x16x").await.unwrap();
        assert!(ours.starts_tls().await.unwrap());
        assert!(ours.has_unread_bytes().unwrap());
        let mut got = [0; 2];
        ours.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"\x16x");
        drop(theirs);
        assert!(!ours.starts_tls().await.unwrap());
    }

    #[tokio::test]
    async fn a_unix_socket_never_starts_tls() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"\x16").await.unwrap();
        let ours = Stream::Unix(ours);
        assert!(!ours.starts_tls().await.unwrap());
        assert!(ours.has_unread_bytes().unwrap() && ours.is_loopback() && ours.is_unix());
    }
}
