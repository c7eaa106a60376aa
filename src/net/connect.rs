//! Connecting to PostgreSQL, up to the point where the StartupMessage goes out.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::config::{Database, ServerTlsMode};
use crate::wire::startup;

use super::stream::Stream;
use super::tls::{Connector, TlsError, TlsFileError};
use super::{is_fd_exhaustion, options};

/// A PostgreSQL server as configured. Cheap to clone but for the host's name.
#[derive(Debug, Clone)]
pub struct Target {
    host: String,
    port: u16,
    tls: Connector,
}

/// A connection on which nothing of the protocol was said yet but the request for TLS.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: Stream,
    /// The hash of the server's certificate that a SCRAM login can be bound to
    /// (`tls-server-end-point`); `None` without TLS and where it is undefined.
    pub end_point: Option<Vec<u8>>,
    /// Which of the target's addresses it is.
    pub place: Place,
}

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Address and port.
    Tcp(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or nobody could tell.
    #[error("cannot find the address of host \"{host}\": {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The system could not connect.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// The address.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The time was over.
    #[error("no answer from {place} in time, while {phase}")]
    TimedOut {
        /// The address.
        place: Place,
        /// What was going on.
        phase: Phase,
    },
    /// The server speaks no TLS and the mode demands it.
    #[error(
        "the server at {place} does not offer TLS, which the mode `{}` demands; \
         switch `ssl` on there, or choose another mode", mode_name(*.mode)
    )]
    TlsNotOffered {
        /// The address.
        place: Place,
        /// The mode.
        mode: ServerTlsMode,
    },
    /// The answer to the request for TLS was none. What follows it is not looked at: nobody has
    /// vouched for who sent it (`protocol-flow.html#PROTOCOL-FLOW-SSL`).
    #[error(
        "{place} answered the request for TLS with byte {answer:#04x} instead of `S` or `N`; it is \
         not PostgreSQL, or could not start a session"
    )]
    NotAnAnswer {
        /// The address.
        place: Place,
        /// The byte.
        answer: u8,
    },
    /// Somebody put plaintext before the handshake, to have it taken for encrypted.
    #[error(
        "{place} sent unencrypted bytes after it agreed to TLS; somebody may be tampering with the \
         connection"
    )]
    PlaintextBeforeTls {
        /// The address.
        place: Place,
    },
    /// The connection ended during the request for TLS.
    #[error("{place} closed the connection when it was asked for TLS: {source}")]
    Lost {
        /// The address.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The handshake failed.
    #[error("no TLS with {place}: {source}")]
    Tls {
        /// The address.
        place: Place,
        /// Why.
        source: TlsError,
    },
}

/// What was going on when the time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connecting.
    Connect,
    /// Asking for TLS, and its handshake.
    Tls,
}

impl Target {
    /// The server of a database. Blocks on the file of trusted certificates, if there is one.
    pub fn new(database: &Database) -> Result<Self, TlsFileError> {
        let tls = Connector::new(&database.tls)?;
        Ok(Self {
            host: database.host.clone(),
            port: database.port,
            tls,
        })
    }

    /// Host name, address, or the directory of a Unix-domain socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How TLS is made with it.
    pub fn connector(&self) -> &Connector {
        &self.tls
    }

    /// Its addresses, in the resolver's order.
    async fn places(&self, deadline: Instant) -> Result<Vec<Place>, ConnectError> {
        if self.host.starts_with('/') {
            let path = PathBuf::from(&self.host).join(format!(".s.PGSQL.{}", self.port));
            return Ok(vec![Place::Unix(path)]);
        }
        let found = timeout_at(deadline, lookup_host((self.host.as_str(), self.port)))
            .await
            .map_err(|_| self.unresolved(io::ErrorKind::TimedOut.into()))?
            .map_err(|source| self.unresolved(source))?;
        Ok(found.take(MAX_ADDRESSES as usize).map(Place::Tcp).collect())
    }

    fn unresolved(&self, source: io::Error) -> ConnectError {
        ConnectError::Resolve {
            host: self.host.clone(),
            source,
        }
    }
}

/// Connects, and makes TLS as the target's mode says. Not cancel safe: dropped midway, the
/// connection is closed.
pub async fn connect(target: &Target, deadline: Instant) -> Result<Connected, ConnectError> {
    let (stream, place) = dial(target, deadline).await?;
    secure(target, place, stream, deadline).await
}

/// Connects, and leaves TLS to the caller. All addresses of the host are tried in their order until
/// one takes the connection, each with its share of the time that is left. Not cancel safe.
pub async fn dial(target: &Target, deadline: Instant) -> Result<(Stream, Place), ConnectError> {
    let mut left = target.places(deadline).await?;
    let mut failed = target.unresolved(io::ErrorKind::NotFound.into());
    left.reverse();
    while let Some(place) = left.pop() {
        let shares = left.len() as u32 + 1;
        let share = deadline.saturating_duration_since(Instant::now()) / shares;
        match open(&place, Instant::now() + share).await {
            Ok(stream) => return Ok((stream, place)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Connects to the very address of an earlier connection: a CancelRequest must reach the server
/// that it is for, whatever else has the same name.
pub async fn connect_to(
    target: &Target,
    place: Place,
    deadline: Instant,
) -> Result<Connected, ConnectError> {
    let stream = open(&place, deadline).await?;
    secure(target, place, stream, deadline).await
}

async fn open(place: &Place, deadline: Instant) -> Result<Stream, ConnectError> {
    let opened = async {
        match place {
            Place::Tcp(addr) => {
                let tcp = TcpStream::connect(addr).await?;
                options::apply(&tcp)?;
                Ok(Stream::Tcp(tcp))
            }
            Place::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    };
    match timeout_at(deadline, opened).await {
        Ok(opened) => opened.map_err(|source| ConnectError::Connect {
            place: place.clone(),
            source,
        }),
        Err(_) => Err(ConnectError::TimedOut {
            place: place.clone(),
            phase: Phase::Connect,
        }),
    }
}

/// Makes TLS where the mode asks for it. On a Unix-domain socket there is none, whatever the mode,
/// as in libpq (`libpq-connect.html#LIBPQ-CONNECT-SSLMODE`).
async fn secure(
    target: &Target,
    place: Place,
    stream: Stream,
    deadline: Instant,
) -> Result<Connected, ConnectError> {
    let tcp = match stream {
        Stream::Tcp(tcp) if target.tls.mode() != ServerTlsMode::Disable => tcp,
        stream => {
            return Ok(Connected {
                stream,
                end_point: None,
                place,
            });
        }
    };
    match timeout_at(deadline, negotiate(target, &place, tcp)).await {
        Ok(done) => {
            let (stream, end_point) = done?;
            Ok(Connected {
                stream,
                end_point,
                place,
            })
        }
        Err(_) => Err(ConnectError::TimedOut {
            place,
            phase: Phase::Tls,
        }),
    }
}

async fn negotiate(
    target: &Target,
    place: &Place,
    mut tcp: TcpStream,
) -> Result<(Stream, Option<Vec<u8>>), ConnectError> {
    let lost = |source| ConnectError::Lost {
        place: place.clone(),
        source,
    };
    let mut request = BytesMut::new();
    startup::build_ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(lost)?;
    // Not a byte more is read: what follows must go to the handshake, not into a buffer of ours.
    let answer = tcp.read_u8().await.map_err(lost)?;
    let stream = Stream::Tcp(tcp);
    match (answer, target.tls.mode()) {
        (b'S', _) => handshake(target, place, stream).await,
        (b'N', ServerTlsMode::Prefer) => Ok((stream, None)),
        (b'N', mode) => Err(ConnectError::TlsNotOffered {
            place: place.clone(),
            mode,
        }),
        (answer, _) => Err(ConnectError::NotAnAnswer {
            place: place.clone(),
            answer,
        }),
    }
}

async fn handshake(
    target: &Target,
    place: &Place,
    stream: Stream,
) -> Result<(Stream, Option<Vec<u8>>), ConnectError> {
    // A server has nothing to say before the ClientHello.
    if stream
        .has_unread_bytes()
        .map_err(|source| ConnectError::Lost {
            place: place.clone(),
            source,
        })?
    {
        return Err(ConnectError::PlaintextBeforeTls {
            place: place.clone(),
        });
    }
    target
        .tls
        .secure(&target.host, stream)
        .await
        .map_err(|source| ConnectError::Tls {
            place: place.clone(),
            source,
        })
}

impl ConnectError {
    /// Whether this process or machine is out of file descriptors: the server is not to blame.
    pub fn is_fd_exhaustion(&self) -> bool {
        match self {
            Self::Connect { source, .. } | Self::Resolve { source, .. } => is_fd_exhaustion(source),
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Tls => "asking for TLS",
        })
    }
}

fn mode_name(mode: ServerTlsMode) -> &'static str {
    match mode {
        ServerTlsMode::Disable => "disable",
        ServerTlsMode::Prefer => "prefer",
        ServerTlsMode::Require => "require",
        ServerTlsMode::VerifyCa => "verify-ca",
        ServerTlsMode::VerifyFull => "verify-full",
    }
}

/// Addresses of one host that are tried, at most.
const MAX_ADDRESSES: u32 = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tls::testing::{Pki, database, server};
    use super::super::tls::{Acceptor, Refusal};
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    async fn attempt(
        port: u16,
        mode: ServerTlsMode,
        ca: Option<PathBuf>,
    ) -> Result<Connected, ConnectError> {
        let target = Target::new(&database("localhost", port, mode, ca)).unwrap();
        connect(&target, soon()).await
    }

    async fn assert_echoes(mut connected: Connected) {
        connected.stream.write_all(b"hello").await.unwrap();
        connected.stream.flush().await.unwrap();
        let mut got = [0; 5];
        connected.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_refused_by_the_modes_that_demand_it() {
        let pki = Pki::new();
        pki.root("root", "root");
        let ca = Some(pki.path("root.crt"));
        let port = server(b"N", None).await;

        let connected = attempt(port, ServerTlsMode::Prefer, None).await.unwrap();
        assert!(!connected.stream.is_tls() && connected.end_point.is_none());
        assert_echoes(connected).await;

        for mode in [
            ServerTlsMode::Require,
            ServerTlsMode::VerifyCa,
            ServerTlsMode::VerifyFull,
        ] {
            let error = attempt(port, mode, ca.clone()).await.unwrap_err();
            assert!(
                matches!(error, ConnectError::TlsNotOffered { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(mode_name(mode)), "{error}");
        }
    }

    #[tokio::test]
    async fn every_mode_with_a_self_signed_server() {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        pki.self_signed("other", "localhost");
        let acceptor = Acceptor::load(&pki.path("server.crt"), &pki.path("server.key")).unwrap();
        let expected = acceptor.end_point().unwrap().to_vec();
        let port = server(b"S", Some(acceptor)).await;
        let own = Some(pki.path("server.crt"));
        let other = Some(pki.path("other.crt"));

        for (mode, ca) in [
            (ServerTlsMode::Prefer, None),
            (ServerTlsMode::Require, None),
            (ServerTlsMode::Require, own.clone()),
            (ServerTlsMode::VerifyCa, own.clone()),
            (ServerTlsMode::VerifyFull, own),
        ] {
            let connected = attempt(port, mode, ca).await.unwrap();
            assert!(connected.stream.is_tls() && connected.stream.is_loopback());
            assert_eq!(connected.end_point.as_deref(), Some(&expected[..]));
            let again = Target::new(&database("localhost", port, mode, None));
            if let Ok(target) = again {
                connect_to(&target, connected.place.clone(), soon())
                    .await
                    .unwrap();
            }
            assert_echoes(connected).await;
        }
        for mode in [
            ServerTlsMode::Require,
            ServerTlsMode::VerifyCa,
            ServerTlsMode::VerifyFull,
        ] {
            let error = attempt(port, mode, other.clone()).await.unwrap_err();
            let ConnectError::Tls {
                source: TlsError::Refused(refusal),
                ..
            } = &error
            else {
                panic!("{error}")
            };
            assert!(matches!(refusal, Refusal::SelfSigned { .. }), "{refusal}");
            assert!(error.to_string().contains("other.crt"), "{error}");
        }
    }

    #[tokio::test]
    async fn plaintext_after_the_agreement_to_tls_is_refused() {
        let port = server(b"SE\0\0\0\x08leak", None).await;
        // The bytes come in one segment; that they are there can be awaited only by trying.
        let error = attempt(port, ServerTlsMode::Prefer, None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ConnectError::PlaintextBeforeTls { .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_not_interpreted() {
        let port = server(b"E\0\0\0\x20SFATAL\0Mgive me your password\0\0", None).await;
        let error = attempt(port, ServerTlsMode::Prefer, None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ConnectError::NotAnAnswer { answer: b'E', .. }),
            "{error}"
        );
        assert!(!error.to_string().contains("password"));

        let port = server(b"", None).await;
        let error = attempt(port, ServerTlsMode::Prefer, None)
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Lost { .. }), "{error}");
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline_and_says_when() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target =
            Target::new(&database("127.0.0.1", port, ServerTlsMode::Prefer, None)).unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = connect(&target, deadline).await.unwrap_err();
        assert!(
            matches!(
                error,
                ConnectError::TimedOut {
                    phase: Phase::Tls,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_the_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = attempt(port, ServerTlsMode::Disable, None)
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Connect { .. }) && !error.is_fd_exhaustion());
        assert!(error.to_string().contains(&port.to_string()), "{error}");

        let target = Target::new(&database(
            "name.invalid",
            port,
            ServerTlsMode::Disable,
            None,
        ))
        .unwrap();
        let error = connect(&target, soon()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_folder_is_a_unix_socket_without_tls() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = tokio::net::UnixListener::bind(dir.path().join(".s.PGSQL.6543")).unwrap();
        let host = dir.path().to_str().unwrap();
        let target = Target::new(&database(host, 6543, ServerTlsMode::Require, None)).unwrap();
        let connected = connect(&target, soon()).await.unwrap();
        assert!(connected.stream.is_unix() && !connected.stream.is_tls());
        assert!(connected.place.to_string().ends_with("/.s.PGSQL.6543"));
    }
}
