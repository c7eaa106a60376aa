//! Hosts and pools, by name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;

use super::fault::TlsFault;
use super::paused::{Paused, is_among};
use crate::admin::change;
use crate::class::Classes;
use crate::client::users::Users;
use crate::clock::Instant;
use crate::config::{Config, Database, Share};
use crate::host::{Ceilings, Host, HostLimits};
use crate::metrics::Metrics;
use crate::net::Target;
use crate::pool::{Labels, Pool, PoolKey, PoolLimits, PoolSettings, Refused};
use crate::session::knowledge::Changes;

/// What becomes of the sizes that were given to pools by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    /// They hold on.
    Kept,
    /// The configuration is read again: what it says holds.
    Forgotten,
}

/// All hosts and pools.
pub(super) struct Pools {
    metrics: Arc<Metrics>,
    refused: Refused,
    inner: Mutex<Inner>,
}

struct Inner {
    /// As of the last (re)load: what makes a pool is what changes it.
    config: Arc<Config>,
    /// By `host:port`; a host outlives its pools, since connections to it may still be closing.
    hosts: HashMap<String, Arc<Host>, FxBuildHasher>,
    /// By `host:port` and the database's name there.
    changes: HashMap<(String, String), Arc<Changes>, FxBuildHasher>,
    /// As of the last (re)load.
    classes: Arc<Classes>,
    /// By alias, and `None` for the fallback: CA files are read once a (re)load.
    targets: HashMap<Option<String>, Arc<Target>, FxBuildHasher>,
    pools: HashMap<PoolKey, Arc<Pool>, FxBuildHasher>,
    /// Sizes that were given to pools of a database, or to one of them, since the last (re)load.
    sizes: HashMap<change::Pools, Share, FxBuildHasher>,
    paused: Paused,
}

impl Pools {
    pub(super) fn new(
        config: &Arc<Config>,
        metrics: Arc<Metrics>,
        refused: Refused,
    ) -> Result<Self, TlsFault> {
        let inner = Inner {
            config: Arc::clone(config),
            hosts: HashMap::default(),
            changes: HashMap::default(),
            classes: Arc::new(classes(config, None)),
            targets: targets(config)?,
            pools: HashMap::default(),
            sizes: HashMap::default(),
            paused: Paused::default(),
        };
        Ok(Self { metrics, refused, inner: Mutex::new(inner) })
    }

    /// The pool of a database and a user, made if need be; `None` if there is no such database.
    pub(super) fn pool(&self, alias: &str, user: &str) -> Option<Arc<Pool>> {
        let mut inner = self.lock();
        let config = Arc::clone(&inner.config);
        let database = config.database(alias)?;
        let user = database.user.as_deref().unwrap_or(user);
        let key = PoolKey { database: alias.into(), user: user.into() };
        if let Some(pool) = inner.pools.get(&key) {
            return Some(Arc::clone(pool));
        }
        let settings = inner.settings(&config, (alias, user), database, &self.metrics)?;
        let labels = if config.databases.contains_key(alias) {
            Labels::own(&self.metrics, &key)
        } else {
            Labels::later(&self.metrics)
        };
        let pool = Pool::new(key.clone(), settings, labels, self.refused.clone());
        if inner.paused.holds(&key) {
            pool.pause();
        }
        inner.pools.insert(key, Arc::clone(&pool));
        Some(pool)
    }

    /// The host of a database.
    pub(super) fn host(&self, config: &Config, database: &Database) -> Arc<Host> {
        self.lock().host(config, database, &self.metrics)
    }

    /// Gives every host and pool the sizes, times and places of a new configuration.
    pub(super) fn reconfigure(&self, config: &Arc<Config>, sizes: Sizes) -> Result<(), TlsFault> {
        let targets = targets(config)?;
        let mut inner = self.lock();
        inner.config = Arc::clone(config);
        if sizes == Sizes::Forgotten {
            inner.sizes.clear();
        }
        inner.classes = Arc::new(classes(config, Some(&inner.classes)));
        inner.targets = targets;
        for host in inner.hosts.values() {
            host.resize(host_limits(config));
            host.set_ceilings(ceilings(config));
        }
        let pools: Vec<_> = inner.pools.values().cloned().collect();
        for pool in pools {
            let (alias, user) = (&*pool.key().database, &*pool.key().user);
            let database = config.database(alias);
            match database.and_then(|db| inner.settings(config, (alias, user), db, &self.metrics)) {
                Some(settings) => pool.reconfigure(settings),
                None => pool.replace_servers(),
            }
        }
        Ok(())
    }

    /// Pools log in with what the configuration says now, where that is something else than before.
    pub(super) fn take_credentials(&self, before: &Users, now: &Users) {
        for pool in self.all() {
            let (database, user) = (&*pool.key().database, &*pool.key().user);
            let Some(known) = now.known_credential(database, user) else { continue };
            let earlier = before.known_credential(database, user);
            if !earlier.is_some_and(|earlier| earlier.is_same(&known)) {
                pool.replace_credential(known);
            }
        }
    }

    /// Tries again what PostgreSQL has refused of the configuration.
    pub(super) fn retry_credentials(&self, users: &Users) {
        for pool in self.all() {
            let PoolKey { database, user } = pool.key();
            pool.try_again(|| users.known_credential(database, user));
        }
    }

    /// Gives pools a size of their own. A pool's wins over its database's. False if there are too many of them.
    #[must_use]
    pub(super) fn resize(&self, config: &Config, which: &change::Pools, size: Share) -> bool {
        let mut inner = self.lock();
        if which.user.is_none() {
            inner.sizes.retain(|other, _| other.database != which.database);
        }
        if inner.sizes.len() >= MOST_SIZES && !inner.sizes.contains_key(which) {
            return false;
        }
        inner.sizes.insert(which.clone(), size);
        let is_one = |pool: &&Arc<Pool>| *pool.key().database == *which.database;
        let pools: Vec<_> = inner.pools.values().filter(is_one).cloned().collect();
        for pool in pools {
            let (alias, user) = (&*pool.key().database, &*pool.key().user);
            let settings = config
                .database(alias)
                .and_then(|db| inner.settings(config, (alias, user), db, &self.metrics));
            if let Some(settings) = settings {
                pool.reconfigure(settings);
            }
        }
        true
    }

    /// Pauses pools, those included that are made later. False if too many are named already.
    #[must_use]
    pub(super) fn pause(&self, which: Option<&change::Pools>) -> bool {
        let mut inner = self.lock();
        if !inner.paused.add(which) {
            return false;
        }
        inner.pools.values().filter(|pool| is_among(which, pool.key())).for_each(Pool::pause);
        true
    }

    /// Ends the pause of pools, or says why not.
    pub(super) fn resume(&self, which: Option<&change::Pools>) -> Result<(), String> {
        let mut inner = self.lock();
        inner.paused.remove(which)?;
        let resumed = |pool: &&Arc<Pool>| pool.is_paused() && !inner.paused.holds(pool.key());
        inner.pools.values().filter(resumed).for_each(Pool::resume);
        Ok(())
    }

    /// Replaces the servers of pools as they become free.
    pub(super) fn reconnect(&self, which: Option<&change::Pools>) {
        let inner = self.lock();
        let pools = inner.pools.values().filter(|pool| is_among(which, pool.key()));
        pools.for_each(Pool::replace_servers);
    }

    /// Whether none of these pools has a connection; `None` if one is not paused any more.
    pub(super) fn are_still(&self, which: Option<&change::Pools>) -> Option<bool> {
        let inner = self.lock();
        let mut pools = inner.pools.values().filter(|pool| is_among(which, pool.key()));
        pools.try_fold(true, |still, pool| pool.is_paused().then(|| still && pool.is_still()))
    }

    /// All hosts, by address.
    pub(super) fn hosts(&self) -> Vec<(String, Arc<Host>)> {
        let inner = self.lock();
        let mut hosts: Vec<_> =
            inner.hosts.iter().map(|(address, host)| (address.clone(), Arc::clone(host))).collect();
        hosts.sort_by(|a, b| a.0.cmp(&b.0));
        hosts
    }

    /// Forgets pools that have neither clients nor servers, and that nobody wants to be warm, but for those that
    /// are `lasting`.
    pub(super) fn reap(&self, now: Instant, lasting: &HashSet<PoolKey>) {
        let is_used = |pool: &Arc<Pool>| {
            Arc::strong_count(pool) > 1
                || !pool.is_empty()
                || pool.is_to_be_warm(now)
                || lasting.contains(pool.key())
        };
        let mut inner = self.lock();
        inner.pools.retain(|_, pool| is_used(pool));
        inner.changes.retain(|_, changes| Arc::strong_count(changes) > 1);
    }

    /// All pools.
    pub(super) fn all(&self) -> Vec<Arc<Pool>> {
        self.lock().pools.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn target(&self, config: &Config, alias: &str) -> Option<Arc<Target>> {
        let key = config.databases.contains_key(alias).then(|| alias.to_owned());
        self.targets.get(&key).cloned()
    }

    fn settings(
        &mut self,
        config: &Config,
        (alias, user): (&str, &str),
        database: &Database,
        metrics: &Metrics,
    ) -> Option<PoolSettings> {
        let limits = &config.limits;
        let size = |user: Option<&str>| {
            let pools = change::Pools { database: alias.to_owned(), user: user.map(str::to_owned) };
            self.sizes.get(&pools).copied()
        };
        let own = size(Some(user)).or_else(|| size(None)).or(database.max_servers);
        let max = own.unwrap_or(limits.max_servers);
        Some(PoolSettings {
            target: self.target(config, alias)?,
            host: self.host(config, database, metrics),
            address: format!("{}:{} {:?}", database.host, database.port, database.tls).into(),
            dbname: database.dbname_for(alias).into(),
            changes: self.changes(alias, database),
            init_query: database.init_query.as_deref().map(Into::into),
            limits: PoolLimits {
                max,
                min_idle: limits.min_idle,
                max_idle: if limits.idle_follows { max } else { limits.max_idle },
                reserve: limits.reserve,
            },
            // With a user of its own, a database has clients of all names.
            classes: self.classes.in_pool(alias, database.user.is_none().then_some(user)),
            timeouts: config.timeouts,
            listen: database.listen.unwrap_or(config.pins.listen),
            pins: config.pins,
            pooling: config.pooling_of(database),
        })
    }

    fn changes(&mut self, alias: &str, database: &Database) -> Arc<Changes> {
        let key = (address(database), database.dbname_for(alias).to_owned());
        Arc::clone(self.changes.entry(key).or_default())
    }

    fn host(&mut self, config: &Config, database: &Database, metrics: &Metrics) -> Arc<Host> {
        let address = address(database);
        let host = self.hosts.entry(address).or_insert_with_key(|address| {
            let host = Host::new(host_limits(config), metrics.host(address));
            host.set_ceilings(ceilings(config));
            host
        });
        Arc::clone(host)
    }
}

fn address(database: &Database) -> String {
    format!("{}:{}", database.host, database.port)
}

fn host_limits(config: &Config) -> HostLimits {
    HostLimits {
        host: config.limits.max_servers_host,
        database: config.limits.max_servers_database,
        user: config.limits.max_servers_user,
    }
}

/// Pools and databases that can have sizes of their own; more than anybody gives by hand.
const MOST_SIZES: usize = 10_000;

fn ceilings(config: &Config) -> Ceilings {
    Ceilings {
        at_once: config.limits.connects_at_once,
        per_second: config.limits.connects_per_second,
    }
}

fn classes(config: &Config, before: Option<&Classes>) -> Classes {
    Classes::new(&config.classes, config.timeouts.checkout, before)
}

pub(super) fn targets(
    config: &Config,
) -> Result<HashMap<Option<String>, Arc<Target>, FxBuildHasher>, TlsFault> {
    let named = config.databases.iter().map(|(alias, db)| (Some(alias.clone()), db));
    let all = named.chain(config.fallback.iter().map(|db| (None, db)));
    all.map(|(alias, db)| {
        let target = Target::new(db);
        let named = alias.as_deref().unwrap_or("*");
        let target = target.map_err(|source| TlsFault::of_database(named, source))?;
        Ok((alias, Arc::new(target.dead_after(config.timeouts.server_dead))))
    })
    .collect()
}
