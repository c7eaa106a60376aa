//! Connecting to PostgreSQL, up to the point where the StartupMessage goes out.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::config::{ChannelBindingMode, Database, ServerTlsMode};
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
    /// The address that connections come from; none = the system's choice.
    from: Option<IpAddr>,
    /// How long it may owe acknowledgements.
    dead_after: Duration,
    binding: ChannelBindingMode,
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
        "the server at {place} does not offer TLS, which the mode `{mode}` demands; \
         switch `ssl` on there, or choose another mode"
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
            from: None,
            dead_after: options::DEAD_AFTER,
            binding: database.tls.channel_binding,
        })
    }

    /// Whether logins are bound to its TLS connections.
    pub fn channel_binding(&self) -> ChannelBindingMode {
        self.binding
    }

    /// The same, with connections over TCP coming from an address of this machine.
    #[must_use]
    pub fn bound_to(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// The same, given up once it has not acknowledged what was sent, or a probe, for so long.
    #[must_use]
    pub fn dead_after(self, dead_after: Duration) -> Self {
        Self { dead_after, ..self }
    }

    /// The same for one that goes on from its last TLS session ([`Connector::resuming`]).
    #[must_use]
    pub fn resuming(&self) -> Self {
        Self { tls: self.tls.resuming(), ..self.clone() }
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
        ConnectError::Resolve { host: self.host.clone(), source }
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
        match open(&place, target, Instant::now() + share).await {
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
    let stream = open(&place, target, deadline).await?;
    secure(target, place, stream, deadline).await
}

async fn open(place: &Place, target: &Target, deadline: Instant) -> Result<Stream, ConnectError> {
    let opened = async {
        match place {
            Place::Tcp(addr) => {
                let tcp = match target.from {
                    Some(from) => connect_from(from, *addr).await?,
                    None => TcpStream::connect(addr).await?,
                };
                options::of_server(&SockRef::from(&tcp), target.dead_after)?;
                Ok(Stream::Tcp(tcp))
            }
            Place::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    };
    match timeout_at(deadline, opened).await {
        Ok(opened) => {
            opened.map_err(|source| ConnectError::Connect { place: place.clone(), source })
        }
        Err(_) => Err(ConnectError::TimedOut { place: place.clone(), phase: Phase::Connect }),
    }
}

async fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((from, 0).into())?;
    socket.connect(to).await
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
            return Ok(Connected { stream, end_point: None, place });
        }
    };
    match timeout_at(deadline, negotiate(target, &place, tcp)).await {
        Ok(done) => {
            let (stream, end_point) = done?;
            Ok(Connected { stream, end_point, place })
        }
        Err(_) => Err(ConnectError::TimedOut { place, phase: Phase::Tls }),
    }
}

async fn negotiate(
    target: &Target,
    place: &Place,
    mut tcp: TcpStream,
) -> Result<(Stream, Option<Vec<u8>>), ConnectError> {
    let lost = |source| ConnectError::Lost { place: place.clone(), source };
    let mut request = BytesMut::new();
    startup::build_ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(lost)?;
    // Not a byte more is read: what follows must go to the handshake, not into a buffer of ours.
    let answer = tcp.read_u8().await.map_err(lost)?;
    let stream = Stream::Tcp(tcp);
    match (answer, target.tls.mode()) {
        (b'S', _) => handshake(target, place, stream).await,
        (b'N', ServerTlsMode::Prefer) => Ok((stream, None)),
        (b'N', mode) => Err(ConnectError::TlsNotOffered { place: place.clone(), mode }),
        (answer, _) => Err(ConnectError::NotAnAnswer { place: place.clone(), answer }),
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
        .map_err(|source| ConnectError::Lost { place: place.clone(), source })?
    {
        return Err(ConnectError::PlaintextBeforeTls { place: place.clone() });
    }
    target
        .tls
        .secure(&target.host, stream)
        .await
        .map_err(|source| ConnectError::Tls { place: place.clone(), source })
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

/// Addresses of one host that are tried, at most.
const MAX_ADDRESSES: u32 = 16;

#[cfg(test)]
mod tests;
