//! Options of every TCP connection, of clients and of servers alike; clients' have those of their listener.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetUsize;
use socket2::{Socket, TcpKeepalive};
use tokio::net::TcpStream;

/// Sets them. A peer that is gone without a word is noticed while idle by keepalive probes, and
/// while it owes acknowledgements by `TCP_USER_TIMEOUT`, after [`DEAD_AFTER`] either way.
pub(super) fn apply(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_COUNT);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

/// Reports nothing to be read before so many bytes are there (`SO_RCVLOWAT`, `socket(7)`), or the peer has ended. What
/// is there already is reported anew if it is enough.
pub(super) fn set_low_water(tcp: &TcpStream, bytes: usize) -> io::Result<()> {
    Ok(setsockopt(tcp, LowWater, &bytes)?)
}

#[derive(Debug, Clone, Copy)]
struct LowWater;

nix::setsockopt_impl!(LowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, usize, SetUsize);

/// Silence after which the first probe is sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered probes after which the peer is gone.
const KEEPALIVE_COUNT: u32 = 3;
/// How long sent bytes may stay unacknowledged; equal to what the probes need, because Linux lets
/// this one decide for probes too (`tcp(7)`).
const DEAD_AFTER: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn probes_and_unacknowledged_bytes_agree_on_when_a_peer_is_dead() {
        assert_eq!(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT, DEAD_AFTER);
    }

    /// Of a connection that was accepted, they are the listener's (`tcp(7)` does not say so, but Linux and the BSDs
    /// copy the whole socket).
    #[test]
    fn the_options_are_on_the_socket_and_on_those_that_it_accepts() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        apply(&listener).unwrap();
        listener.listen(1).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for socket in [&listener, &accepted] {
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_COUNT);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(DEAD_AFTER));
        }
    }
}
