//! When a connection to a server was last lost: those that have been idle since before may be as dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Pool;
use crate::clock::Instant;
use crate::metrics::CloseReason;

/// When one was lost; the newest counts.
#[derive(Debug)]
pub(super) struct Loss {
    /// In milliseconds since `start`; 0 for never.
    at: AtomicU64,
    start: Instant,
}

impl Loss {
    pub(super) fn new() -> Self {
        Self { at: AtomicU64::new(0), start: Instant::now() }
    }

    fn note(&self, now: Instant) {
        let at = now.saturating_duration_since(self.start).as_millis();
        self.at.store(u64::try_from(at).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// How long ago.
    fn passed(&self, now: Instant) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed);
        let since = || now.saturating_duration_since(self.start + Duration::from_millis(at));
        (at > 0).then(since)
    }
}

impl Pool {
    /// The connection to a server was lost.
    pub fn on_lost(&self) {
        self.loss.note(Instant::now());
    }

    /// How long a server may have been idle and still be leased without being asked whether it is there.
    pub(super) fn unasked(&self, now: Instant) -> Duration {
        let check = self.settings.load().timeouts.server_check;
        self.loss.passed(now).map_or(check, |passed| passed.min(check))
    }

    /// A server that was asked has not answered: neither will those that have been idle as long.
    pub(super) fn on_silent(self: &Arc<Self>, idle_since: Instant) {
        self.expire_idle(usize::MAX, CloseReason::Broken, |server| server.idle_since <= idle_since);
    }
}
