//! Closes idle control connections, so that their slots serve clients.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Pool, WeakPool};
use tokio::sync::Notify;

use super::connect::ControlManager;
use super::{IDLE, IDLE_WHEN_WANTED};

/// Runs until the pool is gone. `wake` tells of each new connection: without any, nothing ticks.
pub(super) async fn run(pool: WeakPool<ControlManager>, wake: Arc<Notify>) {
    loop {
        let Some(alive) = pool.upgrade() else { return };
        close_idle(&alive);
        let size = alive.status().size;
        drop(alive);
        if size == 0 {
            // The manager wakes it a last time when it is dropped.
            wake.notified().await;
        }
        // A connection that it is woken for is among the pool's only after that.
        tokio::time::sleep(TICK).await;
    }
}

fn close_idle(pool: &Pool<ControlManager>) {
    let wanted = pool.manager().host().starving() > 0;
    let limit = if wanted { IDLE_WHEN_WANTED } else { IDLE };
    let closed =
        pool.retain(|connection, metrics| metrics.last_used() < limit && !connection.is_closed());
    if !closed.removed.is_empty() {
        tracing::debug!(count = closed.removed.len(), "closed idle control connections");
    }
}

/// How often idle times are looked at.
const TICK: Duration = Duration::from_millis(500);
