//! The slots of one PostgreSQL host (sans-IO): how many connections there may be, and which pool
//! gets a slot that becomes free.
//!
//! A slot stands for one connection to PostgreSQL, from before it is opened until the server's EOF
//! has been read: the backend of a connection that was only closed still counts against
//! `max_connections` for a while. Slots are limited for the host as a whole, for each database and for each
//! user.
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

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;

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
    /// For each user over its databases.
    pub user: usize,
}

/// Whose slot it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The database's name at PostgreSQL.
    pub database: Arc<str>,
    /// Who logs in there.
    pub user: Arc<str>,
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
    /// `limits.max_servers_user`
    #[error("all {limit} connections of the user are in use")]
    User {
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
            Self::User { .. } => "limits.max_servers_user",
        }
    }
}

/// A slot that passed to a starving pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The pool; it is no longer in the queue.
    pub pool: PoolId,
    /// Whose slot it is.
    pub owner: Owner,
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
    /// Slots taken by user; never zero.
    users: HashMap<Arc<str>, usize>,
    /// Pools that have slots: whose they are, and how many.
    pools: HashMap<PoolId, (Owner, usize)>,
    starving: VecDeque<Grant>,
    /// Owners of the slots whose holders are closing their server for the sake of the queue, or of a smaller limit.
    offered: Vec<Owner>,
    /// A limit was lowered, and more slots may be taken than it allows.
    lowered: bool,
}

impl Slots {
    /// No slot taken.
    pub fn new(limits: SlotLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a slot, or says which limit is in the way.
    pub fn try_take(&mut self, pool: PoolId, owner: &Owner) -> Result<(), Full> {
        self.room(owner)?;
        self.take(pool, owner);
        Ok(())
    }

    /// Gives a slot back; it passes to the pool that has starved longest among those that may
    /// have it. `offered` is what [`Slots::offer`] said of it.
    pub fn release(&mut self, pool: PoolId, owner: &Owner, offered: bool) -> Option<Grant> {
        self.used = self.used.saturating_sub(1);
        if let Entry::Occupied(mut held) = self.pools.entry(pool) {
            held.get_mut().1 -= 1;
            if held.get().1 == 0 {
                held.remove();
            }
        }
        less(&mut self.databases, &owner.database);
        less(&mut self.users, &owner.user);
        if offered && let Some(at) = self.offered.iter().position(|other| other == owner) {
            self.offered.swap_remove(at);
        }
        self.lowered = self.lowered && self.is_over();
        self.grant()
    }

    /// Queues a pool for a slot; one that queues already keeps its place. A slot that is free is
    /// granted at once.
    pub fn starve(&mut self, pool: PoolId, owner: &Owner, since: Instant) -> Option<Grant> {
        if !self.starving.iter().any(|waiting| waiting.pool == pool) {
            self.starving.push_back(Grant { pool, owner: owner.clone(), since });
        }
        self.grant()
    }

    /// The pool wants no slot any more.
    pub fn sated(&mut self, pool: PoolId) {
        self.starving.retain(|waiting| waiting.pool != pool);
    }

    /// Whether a slot of this pool would feed another that starves and that no other offer feeds yet, or is one more than
    /// its limits allow: the caller then closes an idle server, and gives its slot back with `offered` set.
    pub fn offer(&mut self, pool: PoolId, owner: &Owner) -> bool {
        let others = self.starving.iter().filter(|waiting| waiting.pool != pool);
        let fed = others.filter(|waiting| self.feeds(owner, &waiting.owner)).count();
        let helps = self.offered.len() < fed || (self.lowered && self.has_excess(owner));
        if helps {
            self.offered.push(owner.clone());
        }
        helps
    }

    /// More are taken under one of this owner's limits than it allows, without those that are being given back.
    fn has_excess(&self, owner: &Owner) -> bool {
        let SlotLimits { host, database, user } = self.limits;
        let leaving = |is: &dyn Fn(&Owner) -> bool| self.offered.iter().filter(|o| is(o)).count();
        let is_over = |used: usize, limit, leaving| limit > 0 && used > limit + leaving;
        let of_user = self.users.get(&owner.user).copied().unwrap_or(0);
        is_over(self.used, host, self.offered.len())
            || is_over(
                self.used_by(&owner.database),
                database,
                leaving(&|other| other.database == owner.database),
            )
            || is_over(of_user, user, leaving(&|other| other.user == owner.user))
    }

    /// Whether more slots are taken than a limit allows that was lowered.
    pub fn is_lowered(&self) -> bool {
        self.lowered
    }

    fn is_over(&self) -> bool {
        let SlotLimits { host, database, user } = self.limits;
        let is_over = |used: usize, limit| limit > 0 && used > limit;
        is_over(self.used, host)
            || self.databases.values().any(|used| is_over(*used, database))
            || self.users.values().any(|used| is_over(*used, user))
    }

    /// Slots that a pool of this owner may keep while another starves: of each limit, the same for all that have some
    /// or want some under it.
    pub fn share(&self, owner: &Owner) -> usize {
        let empty = self.starving.iter().filter(|waiting| !self.pools.contains_key(&waiting.pool));
        let held = self.pools.values().map(|(owner, _)| owner);
        let (mut of_database, mut of_user, mut all) = (0, 0, 0);
        for other in held.chain(empty.map(|waiting| &waiting.owner)) {
            all += 1;
            of_database += usize::from(other.database == owner.database);
            of_user += usize::from(other.user == owner.user);
        }
        let SlotLimits { host, database, user } = self.limits;
        let limits = [(host, all), (database, of_database), (user, of_user)].into_iter();
        let shares =
            limits.filter(|(limit, _)| *limit > 0).map(|(limit, pools)| limit / pools.max(2));
        shares.min().unwrap_or(usize::MAX).max(1)
    }

    /// Changes the limits, and grants what became free. Slots above a smaller limit stay taken
    /// until they are given back, see [`Slots::offer`].
    pub fn resize(&mut self, limits: SlotLimits) -> Vec<Grant> {
        self.limits = limits;
        self.lowered = self.is_over();
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

    /// Whether a pool that has no slot has waited for long for one that this owner could give: where there are more pools
    /// than slots, these go round.
    pub fn goes_round(&self, owner: &Owner, now: Instant) -> bool {
        self.starving.iter().any(|waiting| {
            now.saturating_duration_since(waiting.since) >= LONG
                && !self.pools.contains_key(&waiting.pool)
                && self.feeds(owner, &waiting.owner)
        })
    }

    fn grant(&mut self) -> Option<Grant> {
        let index = self.starving.iter().position(|w| self.room(&w.owner).is_ok())?;
        let grant = self.starving.remove(index)?;
        self.take(grant.pool, &grant.owner);
        Some(grant)
    }

    fn take(&mut self, pool: PoolId, owner: &Owner) {
        self.used += 1;
        self.pools.entry(pool).or_insert_with(|| (owner.clone(), 0)).1 += 1;
        *self.databases.entry(Arc::clone(&owner.database)).or_insert(0) += 1;
        *self.users.entry(Arc::clone(&owner.user)).or_insert(0) += 1;
    }

    /// Whether there is a slot for an owner, or which limit is in the way.
    pub fn room(&self, owner: &Owner) -> Result<(), Full> {
        let SlotLimits { host, database, user } = self.limits;
        if host > 0 && self.used >= host {
            return Err(Full::Host { limit: host });
        }
        if !self.has_room_in_database(owner) {
            return Err(Full::Database { limit: database });
        }
        if !self.has_room_of_user(owner) {
            return Err(Full::User { limit: user });
        }
        Ok(())
    }

    fn has_room_in_database(&self, owner: &Owner) -> bool {
        self.limits.database == 0 || self.used_by(&owner.database) < self.limits.database
    }

    fn has_room_of_user(&self, owner: &Owner) -> bool {
        let used = self.users.get(&owner.user).copied().unwrap_or(0);
        self.limits.user == 0 || used < self.limits.user
    }

    /// A slot of `owner` is what one who waits lacks: wherever his own database or user has no room, it
    /// must be one of theirs.
    fn feeds(&self, owner: &Owner, waiting: &Owner) -> bool {
        (waiting.database == owner.database || self.has_room_in_database(waiting))
            && (waiting.user == owner.user || self.has_room_of_user(waiting))
    }
}

/// How long a pool without a slot waits before it has one of those that have no more than their share.
const LONG: Duration = Duration::from_millis(500);

fn less(counts: &mut HashMap<Arc<str>, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(name);
        }
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
