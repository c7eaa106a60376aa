//! A connection with TLS, as its server.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{CommonState, Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::records::{Records, discard};

/// TLS over TCP. What is written may be held back until it is flushed.
pub struct Served {
    tcp: TcpStream,
    records: Records,
}

impl Served {
    /// Before the handshake.
    pub(super) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self { tcp, records: Records::new(config).map_err(failed)? })
    }

    /// The connection below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What was negotiated.
    pub fn state(&self) -> &CommonState {
        self.records.state()
    }

    /// There is something to read that the system no longer has, or the end.
    pub fn has_news(&self) -> bool {
        self.records.has_news()
    }

    /// Reads until the client's first message is there. Cancel safe.
    pub(super) async fn hear_hello(&mut self) -> io::Result<()> {
        let mut room = [0; HELLO];
        loop {
            self.tcp.readable().await?;
            match self.tcp.try_read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) if self.records.hold(&room[..len]) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on with the handshake. Everything that can be computed is, before it waits for the client.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let nowhere = &mut ReadBuf::new(&mut []);
        self.take(cx, &mut [], nowhere)?;
        while !self.records.is_established() {
            ready!(self.poll_sent(cx))?;
            if !self.records.is_established() {
                ready!(self.poll_taken(cx, nowhere))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and decrypts once. The client's end is an error here, unless it came with TLS' goodbye.
    fn poll_taken(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(self.take(cx, read.filled_mut(), into))
    }

    fn take(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
        into: &mut ReadBuf<'_>,
    ) -> io::Result<()> {
        self.records.take(bytes, into).map_err(|error| {
            // The client is told why, if it can be at once.
            let _ = self.poll_sent(cx);
            failed(error)
        })
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.records.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            discard(&mut self.records.outgoing, sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Served {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        this.records.give(buf);
        while buf.filled().len() == before && buf.remaining() > 0 && !this.records.has_ended() {
            // What rustls answers of itself, which is little, goes with what is written next.
            ready!(this.poll_taken(cx, buf))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Served {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.records.outgoing.len() >= FULL {
            ready!(this.poll_sent(cx))?;
        }
        let len = buf.len().min(FULL);
        this.records.encrypt(&buf[..len]).map_err(failed)?;
        match this.poll_sent(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(len)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.records.say_goodbye().map_err(failed)?;
        ready!(this.poll_sent(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

/// As tokio-rustls does it for the other side, so that both are told apart from a lost connection alike.
fn failed(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Room for a ClientHello of the usual length.
const HELLO: usize = 1 << 10;

/// Room for one read, on the stack.
const READ: usize = 16 << 10;

/// Encrypted bytes beyond which no more are made, and plaintext that is encrypted at once.
const FULL: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use rustls::SupportedProtocolVersion;
    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::super::testing::Pki;
    use super::super::verifier::{Demand, Verifier};
    use super::super::{Acceptor, provider};
    use super::*;
    use crate::net::Stream;
    use crate::net::link::Link;

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

    fn connector(version: &'static SupportedProtocolVersion) -> TlsConnector {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(Demand::Any)))
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// A client, and its connection as it is served.
    async fn pair(version: &'static SupportedProtocolVersion) -> (TlsStream<TcpStream>, Stream) {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = Acceptor::load(&pki.path("server.crt"), &pki.path("server.key")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let client = tokio::spawn(async move { connector(version).connect(name, tcp).await });
        let served = Stream::Tcp(listener.accept().await.unwrap().0);
        let served = acceptor.accept(served).await.unwrap().stream;
        (client.await.unwrap().unwrap(), served)
    }

    /// Sends all and says goodbye, and reads meanwhile until the peer has said so.
    async fn exchange(stream: impl AsyncRead + AsyncWrite, data: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = async {
            for part in data.chunks(70_001) {
                write.write_all(part).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(writing, read.read_to_end(&mut got));
        read.unwrap();
        got
    }

    #[tokio::test]
    async fn whatever_is_sent_arrives_both_ways_at_once() {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        for version in VERSIONS {
            let (client, served) = pair(version).await;
            let (there, back) = tokio::join!(exchange(client, &sent), exchange(served, &sent));
            assert!(there == sent && back == sent, "{version:?}");
        }
    }

    #[tokio::test]
    async fn a_record_is_given_in_as_small_pieces_as_are_wanted() {
        for version in VERSIONS {
            let (mut client, mut served) = pair(version).await;
            client.write_all(b"hello, world").await.unwrap();
            client.flush().await.unwrap();
            let mut got = [0; 5];
            served.read_exact(&mut got).await.unwrap();
            assert!(served.may_be_readable(), "the rest is no longer in the system");
            let mut rest = [0; 16];
            assert_eq!(served.read(&mut rest).await.unwrap(), 7);
            assert_eq!([&got[..], &rest[..7]].concat(), b"hello, world");
            client.shutdown().await.unwrap();
            assert_eq!(served.read(&mut rest).await.unwrap(), 0);
            assert_eq!(served.read(&mut rest).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_record_that_was_tampered_with_ends_the_connection_by_an_alert() {
        for version in VERSIONS {
            let (client, mut served) = pair(version).await;
            let (mut tcp, _) = client.into_inner();
            tcp.write_all(&[&[23, 3, 3, 0, 40][..], &[7; 40]].concat()).await.unwrap();
            let error = served.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            drop(served);
            let mut got = Vec::new();
            tcp.read_to_end(&mut got).await.unwrap();
            // In TLS 1.3 it looks like data, and comes behind the ticket.
            let alert = if *version == TLS13 { [23, 3, 3, 0, 19] } else { [21, 3, 3, 0, 26] };
            assert!(got.windows(alert.len()).any(|bytes| bytes == alert), "{got:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_holds_what_is_written_up() {
        let (mut client, mut served) = pair(&TLS13).await;
        let data = vec![1; 1 << 20];
        let writing = async {
            loop {
                served.write_all(&data).await.unwrap();
            }
        };
        let held_up = tokio::time::timeout(std::time::Duration::from_millis(300), writing).await;
        assert!(held_up.is_err());
        client.write_all(b"x").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(served.read(&mut [0; 8]).await.unwrap(), 1, "it is heard all the same");
        let Stream::Served(served) = served else { panic!("it is served") };
        assert!(served.records.outgoing.len() < 2 * FULL + 1024);
    }

    #[tokio::test]
    async fn a_goodbye_behind_what_is_sent_is_heard_without_an_end_of_the_connection() {
        for version in VERSIONS {
            let (mut client, served) = pair(version).await;
            let mut link = Link::new(served);
            for _ in 0..2 {
                client.write_all(&[1; 3000]).await.unwrap();
                client.flush().await.unwrap();
                assert!(link.fill(3000).await.unwrap());
                link.input.clear();
            }
            client.write_all(&[1; 3000]).await.unwrap();
            client.get_mut().1.send_close_notify();
            client.flush().await.unwrap();
            assert!(link.fill(3000).await.unwrap());
            assert!(!link.fill(3001).await.unwrap());
        }
    }
}
