//! Pools that have servers without any client: by a schedule, or because some are always to be idle.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use tracing::warn;

use super::{Shared, UPKEEP};
use crate::admin::change;
use crate::clock::Instant;
use crate::config::{Config, Warm};
use crate::pool::{PoolKey, WarmedBy};

/// Pools that cannot be kept warm, of which that was said.
pub(super) type Cold = HashSet<(String, Option<String>)>;

impl Shared {
    /// Keeps those pools warm that the configuration wants to be now, until it is asked again. `cold` are
    /// those that cannot be, of which that was said.
    pub(super) fn keep_warm(&self, cold: &mut Cold) {
        let config = self.config.load();
        let most = UPKEEP * 3;
        // Of several entries for one pool that hold now, the largest.
        let mut wanted = HashMap::new();
        for warm in &config.warm {
            let left = warm.schedule.as_ref().map(|schedule| schedule.left(SystemTime::now()));
            let Some(time) = left.unwrap_or(Some(most)) else { continue };
            let Warm { database, user, servers, .. } = warm;
            let user =
                config.database(database).and_then(|known| known.user.clone()).or(user.clone());
            let own = wanted.entry((database.clone(), user)).or_insert((0, most));
            if *servers > own.0 {
                *own = (*servers, time.min(most));
            }
        }
        for (key, (servers, time)) in wanted {
            let (database, user) = key.clone();
            let (pools, until) = (change::Pools { database, user }, Instant::now() + time);
            match self.warm(WarmedBy::Schedule, &pools, servers, until) {
                Ok(()) => drop(cold.remove(&key)),
                Err(error) if cold.insert(key) => warn!(%error, "a pool cannot be kept warm"),
                Err(_) => {}
            }
        }
        cold.retain(|(database, _)| config.warm.iter().any(|warm| warm.database == *database));
    }

    /// Has `limits.min_idle` hold before the first client, in pools of which the configuration says what to log
    /// in with.
    pub(super) fn keep_idle(&self) {
        let (config, login) = (self.config.load(), self.login.load());
        self.pools.retry_credentials(&login.users);
        for PoolKey { database, user } in self.known_pools(&config) {
            let Some(known) = login.users.known_credential(&database, &user) else { continue };
            if let Some(pool) = self.pools.pool(&database, &user) {
                pool.know(known);
            }
        }
    }

    /// Pools that are not forgotten while nobody uses them, with what a client has proved there: those that the
    /// configuration wants to have servers then, at some time or always.
    pub(super) fn lasting(&self) -> HashSet<PoolKey> {
        let config = self.config.load();
        let warm = config.warm.iter().filter_map(|warm| {
            let user = config.database(&warm.database)?.user.as_ref().or(warm.user.as_ref())?;
            Some(key(&warm.database, user))
        });
        warm.chain(self.known_pools(&config)).collect()
    }

    /// Pools in which `limits.min_idle` holds before the first client: of each database, for its own user or those that
    /// the configuration has something to log in with for.
    fn known_pools(&self, config: &Config) -> Vec<PoolKey> {
        if config.limits.min_idle == 0 {
            return Vec::new();
        }
        let login = self.login.load();
        let pairs = config.databases.iter().flat_map(|(alias, database)| {
            let own = database.user.iter();
            let others = config.users.keys().filter(|_| database.user.is_none());
            own.chain(others).map(move |user| (alias, user))
        });
        let known = pairs
            .filter(|(alias, user)| login.users.known_credential(alias, user).is_some())
            .map(|(alias, user)| key(alias, user));
        known.take(MOST_KNOWN).collect()
    }
}

fn key(database: &str, user: &str) -> PoolKey {
    PoolKey { database: database.into(), user: user.into() }
}

/// Pools with servers before their first client; the others of a long list of users have theirs once they are used.
const MOST_KNOWN: usize = 64;
