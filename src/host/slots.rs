//! The slots of one PostgreSQL host (sans-IO): how many connections there may be, and which pool
//! gets a slot that becomes free.
//!
//! A slot stands for one connection to PostgreSQL, from before it is opened until the server's EOF
//! has been read: the backend of a connection that was only closed still counts against
//! `max_connections` for a while. Slots are limited for the host as a whole and for each database.
//!
//! ```text
//!            try_take -> Ok
//!   free ---------------------> taken --- release, nobody eligible ---> free
//!    |                            ^ |
//!    | try_take -> Err(Full)      | | release, a starving pool is eligible
//!    v                            | v
//!   starve: the pool queues -- granted (the slot passes over; it is never free in between)
//! ```
//!
//! Invariant: no slot is free while a pool that could use it is starving, so nobody can overtake
//! the queue. A pool stands in the queue once and gets one slot a turn, so pools with many waiting
//! clients do not crowd out the others.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Who wants a slot: a pool, or a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u64);

/// How many slots there are; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotLimits {
    /// For the host over all databases.
    pub host: usize,
    /// For each database over its users.
    pub database: usize,
}

/// Which limit leaves no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// `limits.max_servers_host`
    #[error("all {limit} connections to the host are in use")]
    Host {
        /// The limit.
        limit: usize,
    },
    /// `limits.max_servers_database`
    #[error("all {limit} connections to the database are in use")]
    Database {
        /// The limit.
        limit: usize,
    },
}

impl Full {
    /// The key of the limit.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Host { .. } => "limits.max_servers_host",
            Self::Database { .. } => "limits.max_servers_database",
        }
    }
}

/// A slot that passed to a starving pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The pool; it is no longer in the queue.
    pub pool: PoolId,
    /// The database whose slot it is.
    pub database: Arc<str>,
    /// Since when the pool starved.
    pub since: Instant,
}

/// The slots of one host.
#[derive(Debug, Default)]
pub struct Slots {
    limits: SlotLimits,
    used: usize,
    /// Slots taken by database; never zero.
    databases: HashMap<Arc<str>, usize>,
    starving: VecDeque<Grant>,
    /// Slots whose holders are closing their server for the sake of the queue.
    offered: usize,
}

impl Slots {
    /// No slot taken.
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a slot, or says which limit is in the way.
    pub fn try_take(&mut self, database: &Arc<str>) -> Result<(), Full> {
        self.room(database)?;
        self.take(database);
        Ok(())
    }

    /// Gives a slot back; it passes to the pool that has starved longest among those that may
    /// have it. `offered` is what [`Slots::offer`] said of it.
    pub fn release(&mut self, database: &str, offered: bool) -> Option<Grant> {
        self.used = self.used.saturating_sub(1);
        if let Some(used) = self.databases.get_mut(database) {
            *used = used.saturating_sub(1);
            if *used == 0 {
                self.databases.remove(database);
            }
        }
        self.offered = self.offered.saturating_sub(usize::from(offered));
        self.grant()
    }

    /// Queues a pool for a slot; one that queues already keeps its place. A slot that is free is
    /// granted at once.
    pub fn starve(&mut self, pool: PoolId, database: &Arc<str>, since: Instant) -> Option<Grant> {
        if !self.starving.iter().any(|waiting| waiting.pool == pool) {
            self.starving.push_back(Grant { pool, database: Arc::clone(database), since });
        }
        self.grant()
    }

    /// The pool wants no slot any more.
    pub fn sated(&mut self, pool: PoolId) {
        self.starving.retain(|waiting| waiting.pool != pool);
    }

    /// Whether a slot of this database would feed a starving pool that no other offer feeds yet:
    /// the caller then closes an idle server, and gives its slot back with `offered` set.
    pub fn offer(&mut self, database: &str) -> bool {
        let fed = self.starving.iter().filter(|waiting| self.feeds(database, waiting)).count();
        let helps = self.offered < fed;
        self.offered += usize::from(helps);
        helps
    }

    /// Changes the limits, and grants what became free. Slots above a smaller limit stay taken
    /// until they are given back.
    pub fn resize(&mut self, limits: SlotLimits) -> Vec<Grant> {
        self.limits = limits;
        std::iter::from_fn(|| self.grant()).collect()
    }

    /// The limits.
    pub fn limits(&self) -> SlotLimits {
        self.limits
    }

    /// Slots taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Slots taken by one database.
    pub fn used_by(&self, database: &str) -> usize {
        self.databases.get(database).copied().unwrap_or(0)
    }

    /// Pools in the queue.
    pub fn starving(&self) -> usize {
        self.starving.len()
    }

    /// The pool that has starved longest, and since when.
    pub fn oldest(&self) -> Option<(PoolId, Instant)> {
        self.starving.front().map(|waiting| (waiting.pool, waiting.since))
    }

    fn grant(&mut self) -> Option<Grant> {
        let index = self.starving.iter().position(|w| self.room(&w.database).is_ok())?;
        let grant = self.starving.remove(index)?;
        self.take(&grant.database);
        Some(grant)
    }

    fn take(&mut self, database: &Arc<str>) {
        self.used += 1;
        *self.databases.entry(Arc::clone(database)).or_insert(0) += 1;
    }

    fn room(&self, database: &str) -> Result<(), Full> {
        let SlotLimits { host, database: each } = self.limits;
        if host > 0 && self.used >= host {
            return Err(Full::Host { limit: host });
        }
        if each > 0 && self.used_by(database) >= each {
            return Err(Full::Database { limit: each });
        }
        Ok(())
    }

    /// A slot of `database` is what the waiting pool lacks: its own database's, or any of the host
    /// when its own database has room.
    fn feeds(&self, database: &str, waiting: &Grant) -> bool {
        let each = self.limits.database;
        *waiting.database == *database || each == 0 || self.used_by(&waiting.database) < each
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
