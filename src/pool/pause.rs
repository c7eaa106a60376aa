//! Pools that are paused: transactions end, servers are closed, and clients wait.

use std::sync::Arc;

use super::{Pool, lock};
use crate::clock::Instant;
use crate::metrics::CloseReason;

impl Pool {
    /// Lends and opens no server until [`Pool::resume`]; what is lent is closed when it comes back.
    pub fn pause(self: &Arc<Self>) {
        lock(&self.slots).pause(Instant::now());
        self.labels.set_paused(true);
        self.expire_idle(usize::MAX, CloseReason::Paused, |_| true);
        self.listener.look();
    }

    /// Lends and opens servers again. What is there now may be another PostgreSQL.
    pub fn resume(self: &Arc<Self>) {
        self.knowledge.forget_accepted();
        lock(&self.slots).resume(Instant::now());
        self.labels.set_paused(false);
        self.listener.look();
        self.keep_opening();
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        lock(&self.slots).is_paused()
    }

    /// Whether it is paused and no connection to PostgreSQL is left.
    pub fn is_still(&self) -> bool {
        let slots = lock(&self.slots);
        slots.is_paused() && slots.total() == 0 && !self.listener.is_connected()
    }

    /// Whether nobody has, or will have, a server before the pause is over: only then does the server that
    /// listens go, since a transaction may wait for it.
    pub(super) fn is_quiet(&self) -> bool {
        let slots = lock(&self.slots);
        slots.is_paused() && slots.total() == 0
    }
}
