//! Cancelling what a server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout_at;
use tracing::debug;

use crate::clock::Instant;
use crate::host::Host;
use crate::net::connect::{self, Place};
use crate::net::link::Link;
use crate::net::{ConnectError, Target};
use crate::wire::startup::{self, CancelKey};

/// What it takes to cancel the queries of one server.
#[derive(Debug, Clone)]
pub struct CancelAddress {
    /// Whose turns it takes.
    pub host: Arc<Host>,
    /// How it was reached.
    pub target: Target,
    /// The very address it was reached at: others of the same name may be other servers.
    pub place: Place,
    /// Its key.
    pub key: CancelKey,
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// PostgreSQL has sent the signal, if the key is right.
    Sent,
    /// It was no longer wanted, and nothing was sent.
    Moot,
    /// Nothing was sent, since PostgreSQL could not be reached, or others were ahead for so long.
    Unreachable,
    /// It was sent, and whether the signal has been or will be is not known.
    Unknown,
}

impl CancelOutcome {
    /// No signal will come any more: the server may be given to somebody else.
    pub fn is_settled(self) -> bool {
        self != Self::Unknown
    }
}

/// Cancels what runs on a server, over a connection of its own. Looks at `still_wanted` at the last
/// moment before it writes. PostgreSQL sends the signal before it closes the connection, so that
/// its end is waited for: a signal that comes later would hit somebody else's query
/// (`protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS`).
pub async fn cancel(
    address: &CancelAddress,
    still_wanted: &AtomicBool,
    deadline: Instant,
) -> CancelOutcome {
    let Ok(_turn) = timeout_at(deadline.into(), address.host.cancel_turn()).await else {
        debug!("no turn for a cancel");
        return CancelOutcome::Unreachable;
    };
    // Others may have been ahead for a while.
    if !still_wanted.load(Ordering::Acquire) {
        return CancelOutcome::Moot;
    }
    let place = address.place.clone();
    let connected = match connect::connect_to(&address.target, place, deadline.into()).await {
        Ok(connected) => connected,
        Err(error) => return unreachable(&error),
    };
    if !still_wanted.load(Ordering::Acquire) {
        return CancelOutcome::Moot;
    }
    let mut link = Link::new(connected.stream);
    startup::build_cancel(&mut link.output, &address.key);
    match timeout_at(deadline.into(), ended(&mut link)).await {
        Ok(true) => CancelOutcome::Sent,
        Ok(false) | Err(_) => CancelOutcome::Unknown,
    }
}

/// Waits for the server's end of the connection, without ending ours before: a pooler between
/// could take that for a client that is gone.
async fn ended(link: &mut Link) -> bool {
    if link.flush().await.is_err() {
        return false;
    }
    // PostgreSQL answers with nothing but the end; a reset is one too, once the packet was taken.
    loop {
        link.input.clear();
        match link.moved(true).await {
            Ok(_) if link.has_ended() => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn unreachable(error: &ConnectError) -> CancelOutcome {
    debug!(%error, "no connection for a cancel");
    CancelOutcome::Unreachable
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::ServerTlsMode;
    use crate::host::{CANCELS, HostLimits};
    use crate::metrics::Metrics;
    use crate::net::tls::testing::database;

    async fn address() -> (CancelAddress, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let database = database("localhost", place.port(), ServerTlsMode::Disable, None);
        let key = CancelKey { pid: 1, secret: vec![7; 4] };
        let host = Host::new(HostLimits::NONE, Metrics::new().host("test"));
        let target = Target::new(&database).unwrap();
        (CancelAddress { host, target, place: Place::Tcp(place), key }, listener)
    }

    #[tokio::test]
    async fn so_many_at_once_are_sent_and_who_waits_in_vain_connects_to_nobody() {
        let (address, listener) = address().await;
        let mut turns = Vec::new();
        for _ in 0..CANCELS {
            turns.push(address.host.cancel_turn().await);
        }
        let (wanted, moot) = (AtomicBool::new(true), AtomicBool::new(false));
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(cancel(&address, &wanted, soon).await, CancelOutcome::Unreachable);
        let later = Instant::now() + Duration::from_mins(1);
        turns.pop();
        assert_eq!(cancel(&address, &moot, later).await, CancelOutcome::Moot);
        let postgres = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut packet = [0; 16];
            stream.read_exact(&mut packet).await.unwrap();
            packet
        };
        let (outcome, packet) = tokio::join!(cancel(&address, &wanted, later), postgres);
        assert_eq!((outcome, &packet[8..]), (CancelOutcome::Sent, &[0, 0, 0, 1, 7, 7, 7, 7][..]));
    }
}
