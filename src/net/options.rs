//! Options of every TCP connection, of clients and of servers alike; clients' have those of their listener.

use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::{GetStruct, SetUsize};
use nix::sys::socket::{getsockopt, setsockopt};
use socket2::{Socket, TcpKeepalive};
use tokio::net::TcpStream;

/// Sets them for a client. While it is idle it may be a function that is frozen until its next call, which acknowledges
/// nothing: probes keep the tables of NAT alive, and only after long the client is gone. `TCP_USER_TIMEOUT` would end the
/// connection to one that reads nothing for a while, too, though its machine is there.
pub(super) fn of_client(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&patient())
}

/// Sets them for a server. `TCP_USER_TIMEOUT` would end the connection to one that waits for a lock and reads nothing
/// meanwhile: [`owes_acknowledgement`] tells it from one that is gone.
pub(super) fn of_server(socket: &Socket, dead_after: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&within(dead_after))
}

/// Notices within so long that a client is gone, or else as [`of_client`] does.
pub(super) fn watch(socket: &Socket, dead_after: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_keepalive(&dead_after.map_or_else(patient, within))
}

fn patient() -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(PAUSE).with_interval(PAUSE);
    keepalive.with_retries(PATIENT_COUNT)
}

fn within(dead_after: Duration) -> TcpKeepalive {
    // Half of the time until the first probe, the other half for the probes. The system counts in seconds, and not far.
    let seconds = |part: u32| (dead_after / part).clamp(Duration::from_secs(1), LONGEST_SILENCE);
    TcpKeepalive::new()
        .with_time(seconds(2))
        .with_interval(seconds(2 * KEEPALIVE_COUNT))
        .with_retries(KEEPALIVE_COUNT)
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
/// From one probe of an idle client to the next: gateways forget connections after 350 s and more.
const PAUSE: Duration = Duration::from_mins(5);
/// Comes to 35 minutes, which is longer than `timeouts.idle_client` by default.
const PATIENT_COUNT: u32 = 6;
/// How long a server may acknowledge nothing where nothing else is said.
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
        let probes = |socket: &Socket| {
            let idle = socket.tcp_keepalive_time().unwrap();
            let interval = socket.tcp_keepalive_interval().unwrap();
            (idle, idle + interval * socket.tcp_keepalive_retries().unwrap())
        };
        let minutes = Duration::from_mins;
        for socket in [&listener, &accepted] {
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(probes(socket), (minutes(5), minutes(35)));
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        }
        watch(&accepted, Some(minutes(1))).unwrap();
        assert_eq!(probes(&accepted), (minutes(1) / 2, minutes(1)));
        watch(&accepted, None).unwrap();
        assert_eq!(probes(&accepted), (minutes(5), minutes(35)));
    }
}
