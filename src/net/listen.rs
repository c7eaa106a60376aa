//! Where clients connect.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::config::ListenAddr;

use super::options;
use super::stream::{PeerAddr, Stream};

/// A bound address. Dropping it closes the address, and removes the file of a Unix-domain socket.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    addr: ListenAddr,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener, #[allow(dead_code, reason = "held for its Drop")] SocketFile),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has it.
    #[error("cannot listen on {}: the address is in use (by another pgweir or a PostgreSQL?); expected a free one", Shown(.addr))]
    InUse {
        /// The address.
        addr: ListenAddr,
    },
    /// It is not an address of this machine.
    #[error("cannot listen on {}: this machine has no such address; expected one of its own", Shown(.addr))]
    NotLocal {
        /// The address.
        addr: ListenAddr,
    },
    /// The system does not allow it.
    #[error("cannot listen on {}: permission denied; expected a port of 1024 or above, or a folder that pgweir's user may write to", Shown(.addr))]
    Denied {
        /// The address.
        addr: ListenAddr,
    },
    /// There is no such folder.
    #[error("cannot listen on {}: its folder does not exist; expected a name in a folder that does", .path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket has the name.
    #[error("cannot listen on {}: a file that is not a socket is in the way; expected a free name", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot listen on {}: {source}", Shown(.addr))]
    Io {
        /// The address.
        addr: ListenAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl Listener {
    /// Binds and listens. Must be called inside a tokio runtime.
    /// `shared`: other processes may listen on the same port, if they say so too; a Unix socket is one's own.
    pub fn bind(addr: &ListenAddr, shared: bool) -> Result<Self, ListenError> {
        let bound = match addr {
            ListenAddr::Tcp(tcp) => bind_tcp(*tcp, shared),
            ListenAddr::Unix(path) => {
                remove_stale(path)?;
                bind_unix(path)
            }
        };
        bound.map_err(|source| ListenError::new(addr, source))
    }

    /// The address, with the port the system chose where port 0 was asked for.
    pub fn addr(&self) -> &ListenAddr {
        &self.addr
    }

    /// The next connection, its socket options set. Cancel safe. An error is of one connection or
    /// of a shortage ([`is_fd_exhaustion`]); the listener stays good.
    pub async fn accept(&self) -> io::Result<(Stream, PeerAddr)> {
        match &self.inner {
            Inner::Tcp(listener) => {
                let (tcp, peer) = listener.accept().await?;
                Ok((Stream::Tcp(tcp), PeerAddr::Tcp(peer)))
            }
            Inner::Unix(listener, _) => {
                let (unix, _) = listener.accept().await?;
                Ok((Stream::Unix(unix), PeerAddr::Unix))
            }
        }
    }
}

/// Whether an error of accepting or connecting says that this process or machine is out of file
/// descriptors or socket memory: waiting helps, and the other side is not to blame.
pub fn is_fd_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

impl ListenError {
    /// What the system said about an address.
    pub fn new(addr: &ListenAddr, source: io::Error) -> Self {
        match (source.kind(), addr.clone()) {
            (io::ErrorKind::NotFound, ListenAddr::Unix(path)) => Self::NoFolder { path },
            (io::ErrorKind::AddrInUse, addr) => Self::InUse { addr },
            (io::ErrorKind::AddrNotAvailable, addr) => Self::NotLocal { addr },
            (io::ErrorKind::PermissionDenied, addr) => Self::Denied { addr },
            (_, addr) => Self::Io { addr, source },
        }
    }
}

fn bind_tcp(addr: SocketAddr, shared: bool) -> io::Result<Listener> {
    let socket = tcp_socket(addr, shared)?;
    options::of_client(&socket)?;
    let listener = listening(socket, addr)?;
    let addr = ListenAddr::Tcp(listener.local_addr()?);
    Ok(Listener { inner: Inner::Tcp(listener), addr })
}

/// A listener for HTTP, shared as [`Listener::bind`] says.
pub fn bind_http(addr: SocketAddr, shared: bool) -> Result<TcpListener, ListenError> {
    let bound = tcp_socket(addr, shared).and_then(|socket| listening(socket, addr));
    bound.map_err(|source| ListenError::new(&ListenAddr::Tcp(addr), source))
}

fn tcp_socket(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the connections of the process before it to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if addr.is_ipv6() {
        // `[::]` and `0.0.0.0` can then be listened on side by side, as in PostgreSQL.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn listening(socket: Socket, addr: SocketAddr) -> io::Result<TcpListener> {
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // As PostgreSQL's `unix_socket_permissions`: who may log in is for authentication to say. Until
    // this line the mode is narrower, and nothing can connect before `listen`.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(socket.into())?;
    let addr = ListenAddr::Unix(path.to_owned());
    Ok(Listener { inner: Inner::Unix(listener, file), addr })
}

/// Removes a socket file that a process left behind when it was killed; one that somebody listens
/// on stays.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.to_owned() });
    }
    let addr = ListenAddr::Unix(path.to_owned());
    match try_connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| ListenError::new(&addr, source))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(ListenError::new(&addr, source))
        }
        // Also when its backlog is full: somebody is there.
        Ok(()) | Err(_) => Err(ListenError::InUse { addr }),
    }
}

fn try_connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Removes the file on drop, if it is still the one that was bound: a successor may have put its own
/// in the same place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

struct Shown<'a>(&'a ListenAddr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ListenAddr::Tcp(addr) => addr.fmt(f),
            ListenAddr::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Connections that wait to be accepted; the system caps it (`net.core.somaxconn`, 4096 on Linux).
const BACKLOG: i32 = 4096;

// The numbers that Linux and the BSDs share (`errno(3)`), and where they differ.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };

#[cfg(test)]
mod tests {
    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    fn tcp(addr: &str) -> ListenAddr {
        ListenAddr::Tcp(addr.parse().unwrap())
    }

    fn port(listener: &Listener) -> u16 {
        match listener.addr() {
            ListenAddr::Tcp(addr) => addr.port(),
            ListenAddr::Unix(_) => panic!("not TCP"),
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = Listener::bind(&tcp("127.0.0.1:0"), false).unwrap();
        let error = Listener::bind(first.addr(), false).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        assert!(error.to_string().contains(&format!("127.0.0.1:{}", port(&first))), "{error}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = Listener::bind(&tcp("192.0.2.1:6432"), false).unwrap_err();
        assert!(matches!(error, ListenError::NotLocal { .. }), "{error}");
    }

    #[tokio::test]
    async fn both_families_share_a_port() {
        let v4 = Listener::bind(&tcp("0.0.0.0:0"), false).unwrap();
        let port = port(&v4);
        let Ok(v6) = Listener::bind(&tcp(&format!("[::]:{port}")), false) else {
            return assert!(std::net::TcpListener::bind("[::1]:0").is_err(), "IPv6 works");
        };
        let _client = TcpStream::connect(("::1", port)).await.unwrap();
        let (stream, peer) = v6.accept().await.unwrap();
        assert!(peer.is_loopback() && stream.is_loopback() && !stream.is_tls());
        assert_eq!(stream.peer().unwrap(), peer);
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".s.PGSQL.6432");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");

        let addr = ListenAddr::Unix(path.clone());
        let listener = Listener::bind(&addr, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        assert!(matches!(Listener::bind(&addr, false), Err(ListenError::InUse { .. })));
        listener.accept().await.unwrap(); // the question whether somebody is there

        let _client = UnixStream::connect(&path).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert!(stream.is_unix() && peer == PeerAddr::Unix);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_successors_socket_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let addr = ListenAddr::Unix(path.clone());
        let first = Listener::bind(&addr, false).unwrap();
        let _kept = fs::hard_link(&path, dir.path().join("inode stays taken"));
        fs::remove_file(&path).unwrap();
        let second = Listener::bind(&addr, false).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_folder_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/.s.PGSQL.6432");
        let error = Listener::bind(&ListenAddr::Unix(path), false).unwrap_err();
        assert!(matches!(error, ListenError::NoFolder { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_file_in_the_way_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Listener::bind(&ListenAddr::Unix(file.path().to_owned()), false).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert!(file.path().exists());
        let missing = ListenAddr::Unix("/nonexistent/folder/socket".into());
        let error = Listener::bind(&missing, false).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/folder/socket"), "{error}");
    }

    #[test]
    fn shortage_is_told_from_a_lost_connection() {
        assert!(is_fd_exhaustion(&io::Error::from_raw_os_error(EMFILE)));
        assert!(!is_fd_exhaustion(&io::ErrorKind::ConnectionAborted.into()));
    }
}
