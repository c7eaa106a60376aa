//! The keeper of a pool: closes what is old, opens what is missing, refuses who would wait in vain, gives the host
//! what it needs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::{Granted, Pool, lock};
use crate::clock::Instant;
use crate::metrics::CloseReason;

/// Starts the keeper; it ends with its pool, or with the pool's seat, whose slots `granted` gives.
pub(super) fn spawn(pool: &Arc<Pool>, granted: Granted) {
    let host = Arc::clone(pool.seat.load().host());
    let mut capacities = host.capacities();
    // The pool's size may be of an earlier one.
    capacities.mark_changed();
    tokio::spawn(keep(Arc::downgrade(pool), granted, host.hunger(), capacities));
}

async fn keep(
    pool: Weak<Pool>,
    mut granted: Granted,
    mut hunger: watch::Receiver<()>,
    mut capacities: watch::Receiver<Option<usize>>,
) {
    let mut ticks = tokio::time::interval(TICK);
    let mut readings = tokio::time::interval(CATALOGUE_AGE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_blind = false;
    loop {
        // Each of these can be dropped while it waits.
        tokio::select! {
            slot = granted.recv() => match (slot, pool.upgrade()) {
                (Some(slot), Some(pool)) => pool.on_slot(slot),
                _ => return,
            },
            _ = hunger.changed() => match pool.upgrade() {
                Some(pool) => pool.feed_host(),
                None => return,
            },
            _ = capacities.changed() => match pool.upgrade() {
                Some(pool) => {
                    pool.resize();
                    pool.dispatch();
                    pool.keep_opening();
                }
                None => return,
            },
            _ = readings.tick() => match pool.upgrade() {
                Some(pool) => is_blind = pool.expire_catalogue(is_blind),
                None => return,
            },
            _ = ticks.tick() => match pool.upgrade() {
                Some(pool) => {
                    pool.tend(Instant::now());
                    pool.knowledge.allow_reading();
                    pool.shed();
                    pool.feed_host();
                    pool.listener.look();
                    pool.keep_opening();
                }
                None => return,
            },
        }
    }
}

impl Pool {
    /// Closes idle servers that are too many, too old, idle for too long or gone.
    pub(super) fn tend(self: &Arc<Self>, now: Instant) {
        let timeouts = self.settings.load().timeouts;
        let (surplus, spare) = {
            let slots = lock(&self.slots);
            (slots.surplus(now), slots.spare(now))
        };
        self.expire_idle(surplus, CloseReason::Reload, |_| true);
        self.expire_idle(spare, CloseReason::Idle, |server| {
            now.saturating_duration_since(server.idle_since) > timeouts.server_idle
        });
        self.expire_idle(usize::MAX, CloseReason::Lifetime, |server| {
            now.saturating_duration_since(server.opened_at) > server.lifetime
        });
        self.expire_idle(usize::MAX, CloseReason::Broken, |server| {
            let is_stale = server.is_stale();
            if is_stale {
                self.on_lost();
            }
            is_stale
        });
    }

    /// Refuses those who would wait in vain. Servers that come back see to that, unless none does.
    fn shed(&self) {
        let shed = lock(&self.slots).shed(Instant::now());
        Self::refuse(shed);
    }

    /// Has the catalogue read again. Whether it could not be read, which is said when it was not so before.
    fn expire_catalogue(&self, was_blind: bool) -> bool {
        let is_blind = self.knowledge.is_catalogue_refused();
        if is_blind && !was_blind {
            let (database, user) = (&*self.key.database, &*self.key.user);
            warn!(
                database,
                user,
                "the code of the database is too much or cannot be read: what triggers, \
                defaults and views do to sessions is not seen"
            );
        }
        self.knowledge.expire_catalogue();
        is_blind
    }

    /// Other pools of the host wait for slots that idle servers hold here.
    pub(super) fn feed_host(self: &Arc<Self>) {
        // What is kept for a moment is not idle for want of work.
        let is_kept = || lock(&self.slots).kept_until().is_some();
        if self.seat.load().host().wants_slots() && !is_kept() {
            self.expire_idle(usize::MAX, CloseReason::Yielded, |server| server.slot.offer());
        }
    }
}

/// How old what is known of functions and tables may be: they may be changed past pgweir.
const CATALOGUE_AGE: Duration = Duration::from_mins(1);

/// How often a pool is looked after.
const TICK: Duration = Duration::from_secs(1);
