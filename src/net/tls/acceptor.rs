//! TLS towards clients.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite};
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{HandshakeKind, ServerConfig, SupportedCipherSuite};
use tokio::sync::Semaphore;

use crate::net::stream::Stream;

use super::files::{self, TlsFileError};
use super::{ALPN, Served, TlsError, VERSIONS, cert, end_point, provider};

/// Takes clients' TLS handshakes. Cheap to clone; for a reload, build another and use it from then
/// on: connections keep what they began with.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    chain: Arc<[CertificateDer<'static>]>,
    end_point: Option<Arc<[u8]>>,
}

/// A client whose ClientHello is there, and of whose handshake nothing was computed yet.
#[derive(Debug)]
pub struct Handshake(Box<Served>);

/// How far a handshake has come.
#[derive(Debug)]
pub enum Step {
    /// It is over.
    Done(Result<Accepted, AcceptError>),
    /// More must come from the client.
    More(Handshake),
}

/// A client whose handshake is done.
#[derive(Debug)]
pub struct Accepted {
    /// The encrypted connection.
    pub stream: Stream,
    /// The client negotiated the protocol name `postgresql`. A client that began with TLS, without
    /// an SSLRequest, must have.
    pub alpn: bool,
    /// It went on from an earlier connection, by a ticket, which spares both sides the costly part.
    pub resumed: bool,
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
        let end_point = certified.cert.first().and_then(end_point::hash).map(Arc::from);
        let chain = certified.cert.as_slice().into();
        let provider = CryptoProvider { cipher_suites: SUITES.to_vec(), ..(*provider()).clone() };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.ignore_client_order = true;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A client that connects again with its ticket, as functions do, costs no signature. Nothing is kept
        // for it here: all is in the ticket, under keys that change every few hours.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), chain, end_point })
    }

    /// Whether clients are shown another certificate than by `other`.
    pub fn differs_from(&self, other: &Self) -> bool {
        self.chain != other.chain
    }

    /// The hash of pgweir's certificate that clients bind a SCRAM login to; `None` where that is
    /// undefined and SCRAM-SHA-256-PLUS cannot be offered.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Reads a client's ClientHello, in as many pieces as it comes. The caller sees to it that no plaintext
    /// stands before it ([`Stream::has_unread_bytes`]), and to a time limit. Not cancel safe: dropped midway, the
    /// connection is closed.
    pub async fn hello(&self, stream: Stream) -> Result<Handshake, AcceptError> {
        let Stream::Tcp(tcp) = stream else {
            return Err(AcceptError::NotTcp);
        };
        let mut served = Served::new(tcp, Arc::clone(&self.config)).map_err(TlsError::from)?;
        served.hear_hello().await.map_err(TlsError::from)?;
        Ok(Handshake(Box::new(served)))
    }
}

impl Handshake {
    /// Computes what can be with what the client has sent by now, when it has one of the `turns`. The turn is over when
    /// this returns: who is silent keeps none. Cancel safe, until `self` is given.
    pub async fn step(mut self, turns: &Semaphore) -> Step {
        // Nobody closes them; an error would only mean that there are no turns to be kept.
        let _turn = turns.acquire().await;
        match poll_fn(|cx| Poll::Ready(self.0.poll_handshake(cx))).await {
            Poll::Ready(Ok(())) => Step::Done(Ok(self.accepted())),
            Poll::Ready(Err(error)) => Step::Done(Err(TlsError::from(error).into())),
            Poll::Pending => Step::More(self),
        }
    }

    fn accepted(self) -> Accepted {
        let state = self.0.state();
        let alpn = state.alpn_protocol() == Some(ALPN);
        let resumed = state.handshake_kind() == Some(HandshakeKind::Resumed);
        Accepted { stream: Stream::Served(self.0), alpn, resumed }
    }

    /// Waits until another step may be of use. To be awaited by the task that made the last step, and right behind it,
    /// which is whom the client's connection wakes. Cancel safe.
    pub async fn more(&mut self) {
        let mut was_asked = false;
        poll_fn(|_| {
            let woken = if was_asked { Poll::Ready(()) } else { Poll::Pending };
            was_asked = true;
            woken
        })
        .await;
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
        .map_err(|source| TlsFileError::UnusableKey { path: key_path.to_owned(), source })?;
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

/// What is taken of what a client offers, best first. A login's hashes are a tenth of its TLS with SHA-384, for which
/// few processors have instructions as they have for SHA-256; clients that want no less than AES-256 offer nothing else.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio_rustls::TlsConnector;

    use super::super::testing::Pki;
    use super::super::verifier::{Demand, Verifier};
    use super::*;

    fn load(pki: &Pki, cert: &str, key: &str) -> Result<Acceptor, TlsFileError> {
        Acceptor::load(&pki.path(cert), &pki.path(key))
    }

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Stream::Tcp(listener.accept().await.unwrap().0))
    }

    impl Acceptor {
        pub(in crate::net::tls) fn config(&self) -> Arc<ServerConfig> {
            Arc::clone(&self.config)
        }

        pub(in crate::net::tls) async fn accept(
            &self,
            stream: Stream,
        ) -> Result<Accepted, AcceptError> {
            let mut handshake = self.hello(stream).await?;
            let turns = Semaphore::new(1);
            loop {
                handshake = match handshake.step(&turns).await {
                    Step::Done(done) => return done,
                    Step::More(handshake) => handshake,
                };
                assert_eq!(turns.available_permits(), 1, "nobody waits for a client in its turn");
                handshake.more().await;
            }
        }
    }

    fn client(alpn: &[&[u8]]) -> TlsConnector {
        client_of((*provider()).clone(), alpn)
    }

    fn client_of(provider: CryptoProvider, alpn: &[&[u8]]) -> TlsConnector {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(Demand::Any)))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    fn localhost() -> ServerName<'static> {
        ServerName::try_from("localhost").unwrap()
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_what_was_expected() {
        let pki = Pki::new();
        pki.self_signed("one", "localhost");
        pki.self_signed("two", "localhost");
        pki.openssl("pkcs8 -topk8 -in one.key -out locked.key -passout pass:x");
        pki.openssl("genrsa -traditional -aes128 -passout pass:x -out old.key 2048");
        pki.openssl("genrsa -out small.key 1024");
        std::fs::write(pki.path("empty"), "").unwrap();
        let damaged = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        std::fs::write(pki.path("damaged"), damaged).unwrap();
        for (cert, key, expected) in [
            ("missing", "one.key", "cannot read"),
            ("empty", "one.key", "holds no certificate"),
            ("one.key", "one.key", "holds no certificate"),
            ("damaged", "one.key", "certificate 1 in"),
            ("one.crt", "missing", "cannot read"),
            ("one.crt", "empty", "holds no private key"),
            ("one.crt", "one.crt", "holds no private key"),
            ("one.crt", "locked.key", "protected by a passphrase"),
            ("one.crt", "old.key", "protected by a passphrase"),
            ("one.crt", "small.key", "cannot be used"),
            ("one.crt", "two.key", "does not belong to"),
        ] {
            let error = load(&pki, cert, key).unwrap_err().to_string();
            assert!(error.contains(expected), "{cert} {key}: {error}");
            let file = pki.dir().to_str().unwrap();
            assert!(error.contains(file), "{error}");
        }
    }

    #[tokio::test]
    async fn the_protocol_name_is_reported_and_a_foreign_one_refused() {
        let pki = Pki::new();
        pki.root("root", "root");
        pki.issued("server", "localhost", "root");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        for (alpn, expected) in [
            (&[&b"postgresql"[..]][..], Some(true)),
            (&[b"h2", b"postgresql"], Some(true)),
            (&[], Some(false)),
            (&[b"http/1.1"], None),
        ] {
            let (tcp, server) = pair().await;
            let connector = client(alpn);
            let handshake = tokio::spawn(async move { connector.connect(localhost(), tcp).await });
            let accepted = acceptor.accept(server).await;
            assert_eq!(accepted.ok().map(|accepted| accepted.alpn), expected, "{alpn:?}");
            assert_eq!(handshake.await.unwrap().is_ok(), expected.is_some());
        }
    }

    #[tokio::test]
    async fn a_client_hello_may_come_byte_by_byte_or_be_all_there_is() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();

        let (mut near, far) = tokio::io::duplex(1);
        let (tcp, server) = pair().await;
        tokio::spawn(async move {
            let (mut tcp_read, mut tcp_write) = tcp.into_split();
            let (mut near_read, mut near_write) = tokio::io::split(&mut near);
            let up = async {
                let mut byte = [0];
                while near_read.read(&mut byte).await.is_ok_and(|count| count == 1) {
                    tcp_write.write_all(&byte).await.unwrap();
                }
            };
            let down = tokio::io::copy(&mut tcp_read, &mut near_write);
            let _ = tokio::join!(up, down);
        });
        let connector = client(&[b"postgresql"]);
        let handshake = tokio::spawn(async move { connector.connect(localhost(), far).await });
        assert!(acceptor.accept(server).await.unwrap().alpn);
        assert!(handshake.await.unwrap().is_ok());

        let (mut tcp, server) = pair().await;
        tcp.write_all(&[0x16, 3, 1, 0, 200, 1]).await.unwrap();
        drop(tcp);
        assert!(acceptor.accept(server).await.is_err());
    }

    #[tokio::test]
    async fn a_hello_in_pieces_is_answered_in_its_turn_too() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        let (mut near, far) = tokio::io::duplex(1 << 14);
        let handshake = tokio::spawn(async move {
            client(&[b"postgresql"]).connect(localhost(), far).await.map(drop)
        });
        let mut hello = vec![0; 1 << 14];
        let len = near.read(&mut hello).await.unwrap();
        let (first, rest) = hello[..len].split_at(100);
        let (mut tcp, server) = pair().await;
        tcp.set_nodelay(true).unwrap();
        tcp.write_all(first).await.unwrap();
        let mut hearing = pin!(acceptor.hello(server));
        tokio::select! {
            _ = &mut hearing => panic!("half a hello is none"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        tcp.write_all(rest).await.unwrap();
        let accepting = hearing.await.unwrap();

        let turns = Semaphore::new(1);
        let other = turns.acquire().await.unwrap();
        let mut step = pin!(accepting.step(&turns));
        assert!(poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await.is_pending());
        let computed = tcp.try_read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(computed, Err(std::io::ErrorKind::WouldBlock), "another has the turn");
        drop(other);
        let Step::More(mut accepting) = step.await else { panic!("it is the client's turn") };
        assert_eq!(turns.available_permits(), 1);
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut tcp, &mut near).await });
        let accepted = loop {
            accepting.more().await;
            accepting = match accepting.step(&turns).await {
                Step::Done(accepted) => break accepted.unwrap(),
                Step::More(accepting) => accepting,
            }
        };
        assert!(accepted.alpn && handshake.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_client_that_is_cut_off_has_ended() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        let (tcp, server) = pair().await;
        let connector = client(&[]);
        let handshake = tokio::spawn(async move { connector.connect(localhost(), tcp).await });
        let mut accepted = acceptor.accept(server).await.unwrap().stream;
        let (tcp, _session) = handshake.await.unwrap().unwrap().into_inner();
        drop(tcp); // without TLS' goodbye
        // Its ticket is unread: the system may tell the end by a reset.
        assert!(!matches!(accepted.read(&mut [0; 8]).await, Ok(1..)));
    }

    #[tokio::test]
    async fn a_client_that_comes_again_goes_on_from_its_ticket() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        let connector = client(&[b"postgresql"]);
        for resumed in [false, true, true] {
            let (tcp, server) = pair().await;
            let connector = connector.clone();
            let handshake = tokio::spawn(async move {
                let mut stream = connector.connect(localhost(), tcp).await.unwrap();
                // The ticket comes ahead of what is sent.
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 1);
            });
            let mut accepted = acceptor.accept(server).await.unwrap();
            assert_eq!((accepted.resumed, accepted.alpn), (resumed, true));
            accepted.stream.write_all(b"x").await.unwrap();
            accepted.stream.flush().await.unwrap();
            handshake.await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_cheapest_cipher_suite_is_taken_of_those_that_are_offered() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        let all = provider().cipher_suites.clone();
        let only_256 = all.iter().filter(|suite| format!("{suite:?}").contains("AES_256"));
        let only_256 = only_256.copied().collect();
        for (offered, taken) in [
            (all, cipher_suite::TLS13_AES_128_GCM_SHA256),
            (only_256, cipher_suite::TLS13_AES_256_GCM_SHA384),
        ] {
            let (tcp, server) = pair().await;
            let provider = CryptoProvider { cipher_suites: offered, ..(*provider()).clone() };
            let connector = client_of(provider, &[]);
            let handshake = tokio::spawn(async move { connector.connect(localhost(), tcp).await });
            let Stream::Served(served) = acceptor.accept(server).await.unwrap().stream else {
                panic!("it is served")
            };
            assert_eq!(served.state().negotiated_cipher_suite(), Some(taken));
            handshake.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn tls_begins_only_on_plain_tcp() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        let acceptor = load(&pki, "server.crt", "server.key").unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        let error = acceptor.hello(Stream::Unix(server)).await.unwrap_err();
        assert!(matches!(error, AcceptError::NotTcp));
    }
}
