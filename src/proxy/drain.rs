//! Ending well: no new clients, open transactions may finish, nothing is left behind.

use std::time::Duration;

use tracing::{info, warn};

use super::Running;
use crate::admin::http::Phase;
use crate::clock::Instant;
use crate::registry::Notice;

/// Closes the listeners, ends logins and idle clients at once and the others at the end of their
/// transaction, after `timeouts.drain` wherever they are; then closes the servers.
pub(super) async fn drain(running: &mut Running) {
    let shared = &running.shared;
    let timeouts = shared.config.load().timeouts;
    shared.phase.send_replace(Phase::Draining);
    running.accepting.shutdown().await;
    shared.registry.drain();
    if !clients_gone(running, timeouts.drain).await {
        let left = running.shared.registry.len();
        warn!(clients = left, "timeouts.drain has passed: ending the rest");
        running.shared.registry.tell_all(Notice::Terminate);
        clients_gone(running, LAST_WORDS).await;
    }
    close_servers(running, timeouts.client_gone + timeouts.server_close).await;
    info!("all connections to PostgreSQL are closed");
}

pub(super) async fn clients_gone(running: &Running, within: Duration) -> bool {
    until(within, || running.shared.connected() == 0).await
}

async fn close_servers(running: &Running, within: Duration) {
    running.shared.login.load().users.close();
    let pools = running.shared.pools.all();
    let hosts = running.shared.pools.hosts();
    let closed = until(within, || {
        for pool in &pools {
            pool.close_idle();
        }
        // Those over which users were looked up have slots, too.
        pools.iter().all(|pool| pool.is_empty()) && hosts.iter().all(|(_, host)| host.used() == 0)
    });
    if !closed.await {
        warn!("some connections to PostgreSQL did not end in time");
    }
}

/// Looks again and again; ending is rare, and nothing is worth a channel here.
async fn until(within: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

const LOOK: Duration = Duration::from_millis(10);

/// How long clients may take to read why they are ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
