//! Options of every TCP connection, of clients and of servers alike; clients' have those of their listener.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, SetUsize};
use nix::sys::socket::{getsockopt, setsockopt};
use socket2::{Socket, TcpKeepalive};
use tokio::net::TcpStream;

/// Sets them for a client. One that is gone without a word is noticed while idle by keepalive probes, and
/// while it owes acknowledgements by `TCP_USER_TIMEOUT`, after [`DEAD_AFTER`] either way. So is one that reads nothing for
/// so long though there is something to be read.
pub(super) fn of_client(socket: &Socket) -> io::Result<()> {
    apply(socket, DEAD_AFTER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

/// Sets them for a server. `TCP_USER_TIMEOUT` would end the connection to one that waits for a lock and reads nothing
/// meanwhile: [`owes_acknowledgement`] tells it from one that is gone.
pub(super) fn of_server(socket: &Socket, dead_after: Duration) -> io::Result<()> {
    apply(socket, dead_after)
}

fn apply(socket: &Socket, dead_after: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Half of the time until the first probe, the other half for the probes. The system counts in seconds, and not far.
    let seconds = |part: u32| (dead_after / part).clamp(Duration::from_secs(1), LONGEST_SILENCE);
    let keepalive = TcpKeepalive::new()
        .with_time(seconds(2))
        .with_interval(seconds(2 * KEEPALIVE_COUNT))
        .with_retries(KEEPALIVE_COUNT);
    socket.set_tcp_keepalive(&keepalive)
}

/// Whether what was sent, or a probe of a peer that takes nothing, was sent again and again for so long and was not
/// acknowledged (`TCP_INFO`, `tcp(7)`). Only Linux says.
#[cfg(target_os = "linux")]
pub(super) fn owes_acknowledgement(tcp: &TcpStream, silence: Duration) -> bool {
    let Ok(info) = getsockopt(tcp, Info) else { return false };
    // The pauses double (RFC 6298, section 5.5): the one that runs is as long as all before it.
    let pause = Duration::from_micros(info.tcpi_rto.into());
    let sent = pause + Duration::from_millis(info.tcpi_last_data_sent.into());
    let heard = Duration::from_millis(info.tcpi_last_ack_recv.into());
    (info.tcpi_retransmits >= SENT_AGAIN && sent >= silence)
        || (info.tcpi_probes >= SENT_AGAIN && heard >= silence)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn owes_acknowledgement(_: &TcpStream, _: Duration) -> bool {
    false
}

#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
struct Info;

#[cfg(target_os = "linux")]
nix::getsockopt_impl!(
    Info,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    GetStruct<libc::tcp_info>
);

/// One that is on its way has been sent once.
const SENT_AGAIN: u8 = 2;

/// Linux takes no more (`MAX_TCP_KEEPIDLE`).
const LONGEST_SILENCE: Duration = Duration::from_secs(32_767);

/// Reports nothing to be read before so many bytes are there (`SO_RCVLOWAT`, `socket(7)`), or the peer has ended. What
/// is there already is reported anew if it is enough.
pub(super) fn set_low_water(tcp: &TcpStream, bytes: usize) -> io::Result<()> {
    Ok(setsockopt(tcp, LowWater, &bytes)?)
}

#[derive(Debug, Clone, Copy)]
struct LowWater;

nix::setsockopt_impl!(LowWater, libc::SOL_SOCKET, libc::SO_RCVLOWAT, usize, SetUsize);

/// Unanswered probes after which the peer is gone.
const KEEPALIVE_COUNT: u32 = 3;
/// How long the bytes sent to a client may stay unacknowledged, and to a server where nothing else is said; as long as
/// the probes need, because Linux lets `TCP_USER_TIMEOUT` decide for probes too (`tcp(7)`).
pub(super) const DEAD_AFTER: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Type};

    use super::*;

    /// Of a connection that was accepted, they are the listener's (`tcp(7)` does not say so, but Linux and the BSDs
    /// copy the whole socket).
    #[test]
    fn the_options_are_on_the_socket_and_on_those_that_it_accepts() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        of_client(&listener).unwrap();
        listener.listen(1).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for socket in [&listener, &accepted] {
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            let idle = socket.tcp_keepalive_time().unwrap();
            let interval = socket.tcp_keepalive_interval().unwrap();
            let count = socket.tcp_keepalive_retries().unwrap();
            assert_eq!((idle, idle + interval * count), (DEAD_AFTER / 2, DEAD_AFTER));
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(DEAD_AFTER));
        }
    }
}
