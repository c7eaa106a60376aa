//! What is changed while pgweir runs: the configuration read again, and what operators change of it.
//!
//! Invariant: one change after the other, each checked as a whole before any of it holds.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::{error, info, warn};

use super::pools::Sizes;
use super::{Shared, lobby_limits, logins, raise_file_limit, spellings};
use crate::admin::change::{Change, ChangeError, Pools};
use crate::admin::console::views::Setting;
use crate::clock::Instant;
use crate::config::{
    self, Config, ConfigError, Database, Loaded, MAX_SERVERS, Overrides, Share, Source, Watched,
};
use crate::pool::{PoolKey, WarmedBy};
use crate::registry::{Notice, Who};

/// Where the configuration comes from, and what was changed since it was read.
#[derive(Default)]
pub(super) struct Controls {
    state: Mutex<State>,
    log: OnceLock<SetLogFilter>,
}

/// Gives the log another filter (`log.level`), which has been found to be one.
pub type SetLogFilter = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct State {
    /// With the file as it was read last.
    source: Option<Source>,
    overrides: Overrides,
    /// Files that it names.
    files: Vec<Watched>,
}

impl Controls {
    /// What is read at a reload, what was read of it already, and who follows `log.level`.
    pub(super) fn set_source(&self, source: Source, files: Vec<Watched>, log: SetLogFilter) {
        *self.lock() = State { source: Some(source), files, ..State::default() };
        // It is called once.
        let _ = self.log.set(log);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Reads the configuration again and takes what can change live; a broken one changes nothing.
    pub(super) fn reload(self: &Arc<Self>) {
        if let Err(error) = self.try_reload() {
            error!(%error, "the configuration was not reloaded; the old one holds");
        }
    }

    fn try_reload(self: &Arc<Self>) -> Result<(), ConfigError> {
        let mut state = self.controls.lock();
        let Some(source) = &state.source else { return Ok(()) };
        let source = source.read()?;
        self.load(&mut state, source, Overrides::default(), Sizes::Forgotten)
    }

    /// Takes what has become of the secrets, user lists and certificates that the configuration names. Other programs
    /// replace them than who edits the configuration, which may be half edited now and is not read. Blocks for a look at each.
    pub(super) fn follow_files(self: &Arc<Self>) {
        let mut state = self.controls.lock();
        if !state.files.iter().any(Watched::has_changed) {
            return;
        }
        let Some(source) = state.source.clone() else { return };
        info!("a file that the configuration names has changed");
        let overrides = state.overrides.clone();
        // What is written while it is read is news again.
        let mut seen = state.files.clone();
        seen.iter_mut().for_each(Watched::look);
        if let Err(error) = self.load(&mut state, source, overrides, Sizes::Kept) {
            error!(%error, "it was not taken; what was read before holds");
            state.files = seen;
        }
    }

    /// Makes a change, or says why not.
    pub(super) fn change(self: &Arc<Self>, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Set(pairs) => self.set(pairs),
            Change::Reset(key) => self.override_by(|overrides| {
                overrides.reset(key);
                Ok(())
            }),
            Change::Resize { pools, max_servers } => self.resize(pools, max_servers),
            Change::Warm { time, .. } if time.is_zero() => {
                Err(ChangeError::Invalid("a pool is kept warm for a time above zero".to_owned()))
            }
            Change::Warm { pools, servers, time } => {
                self.warm(WarmedBy::Operator, pools, *servers, Instant::now() + *time)
            }
            Change::Pause(which) => self.pause(which.as_ref()),
            Change::Resume(which) => {
                // A pause outlives the database in the configuration.
                self.pools.resume(which.as_ref()).map_err(|error| {
                    let unknown = self.check_database(which.as_ref()).err();
                    unknown.unwrap_or(ChangeError::NotNow(error))
                })
            }
            Change::Reconnect(which) => {
                self.check_database(which.as_ref())?;
                self.pools.reconnect(which.as_ref());
                Ok(())
            }
            Change::Kill(id) => self.kill(*id),
            Change::Reload => {
                self.try_reload().map_err(|error| ChangeError::Invalid(error.to_string()))
            }
        }
    }

    /// Whether a change that was made is over with.
    pub(super) fn has_come_about(&self, change: &Change) -> Result<bool, ChangeError> {
        match change {
            Change::Pause(which) => self.pools.are_still(which.as_ref()).ok_or_else(|| {
                let ended = "the pause was ended by RESUME before all servers were closed";
                ChangeError::NotNow(ended.to_owned())
            }),
            Change::Set(_)
            | Change::Reset(_)
            | Change::Resize { .. }
            | Change::Warm { .. }
            | Change::Resume(_)
            | Change::Reconnect(_)
            | Change::Kill(_)
            | Change::Reload => Ok(true),
        }
    }

    /// Its task does the rest: here nobody waits for a client to read why it is ended.
    fn kill(&self, id: u32) -> Result<(), ChangeError> {
        let unknown = || ChangeError::Unknown(format!("there is no client {id}"));
        let (card, mailbox) = self.registry.named(id).ok_or_else(unknown)?;
        let Who { user, database, address, .. } = &card.who;
        let (address, database, user) = (&**address, &**database, &**user);
        info!(client = id, address, database, user, "an administrator ends a client");
        mailbox.tell(Notice::Terminate);
        Ok(())
    }

    fn pause(&self, which: Option<&Pools>) -> Result<(), ChangeError> {
        self.check_database(which)?;
        if !self.pools.pause(which) {
            let text = "too many pools are paused; RESUME, or PAUSE whole databases".to_owned();
            return Err(ChangeError::NotNow(text));
        }
        Ok(())
    }

    fn check_database(&self, which: Option<&Pools>) -> Result<(), ChangeError> {
        let Some(pools) = which else { return Ok(()) };
        check_pools(&self.config.load(), pools).map(drop)
    }

    fn set(self: &Arc<Self>, pairs: &[(String, String)]) -> Result<(), ChangeError> {
        self.override_by(|overrides| {
            match pairs.iter().find(|(key, value)| !overrides.set(key, value)) {
                Some((key, _)) => Err(ChangeError::Unknown(format!("there is no setting {key:?}"))),
                None => Ok(()),
            }
        })
    }

    fn override_by(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Overrides) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut state = self.controls.lock();
        let Some(source) = state.source.clone() else {
            return Err(ChangeError::NotNow("there is no configuration to be changed".to_owned()));
        };
        let mut overrides = state.overrides.clone();
        change(&mut overrides)?;
        let loaded = self.load(&mut state, source, overrides, Sizes::Kept);
        loaded.map_err(|error| ChangeError::Invalid(error.to_string()))
    }

    fn load(
        self: &Arc<Self>,
        state: &mut State,
        source: Source,
        overrides: Overrides,
        sizes: Sizes,
    ) -> Result<(), ConfigError> {
        let Loaded { config, warnings, files } = source.load_with(&overrides)?;
        for warning in warnings {
            warn!("{warning}");
        }
        self.take(config, &source, sizes)?;
        *state = State { source: Some(source), overrides, files };
        Ok(())
    }

    fn take(
        self: &Arc<Self>,
        config: Config,
        source: &Source,
        sizes: Sizes,
    ) -> Result<(), ConfigError> {
        let (next, mut changes) = config::reload(&self.config.load(), config);
        let before = self.login.load_full();
        let login = logins::context(
            &next,
            &self.pools,
            &self.mock,
            (&self.room, &self.rooms),
            Some(&before),
        )
        .map_err(|fault| fault.located(source))?;
        let cert = "tls.cert".to_owned();
        if login.has_other_certificate(&before) && !changes.live.contains(&cert) {
            changes.live.push(cert);
        }
        let next = Arc::new(next);
        self.pools.reconfigure(&next, sizes).map_err(|fault| fault.located(source))?;
        self.room.resize(next.limits.max_clients);
        self.metrics.clients.limit.set(next.limits.max_clients as f64);
        self.rooms.resize(&next.limits);
        self.lobby.set_limits(lobby_limits(&next));
        raise_file_limit(&next);
        if let Some(set_filter) = self.controls.log.get()
            && next.log.level != self.config.load().log.level
        {
            set_filter(&next.log.level);
        }
        let login = Arc::new(login);
        self.login.store(Arc::clone(&login));
        self.config.store(next);
        self.pools.take_credentials(&before.users, &login.users);
        self.registry.tell_all(Notice::Reload);
        info!(changed = ?changes.live, "configuration reloaded");
        if !changes.is_empty() {
            spellings::check(&self.config.load());
        }
        if !changes.restart.is_empty() {
            warn!(keys = ?changes.restart, "these changes need a restart and do not hold yet");
        }
        Ok(())
    }

    fn resize(self: &Arc<Self>, pools: &Pools, max_servers: &str) -> Result<(), ChangeError> {
        let expected = format!("a number from 1 to {MAX_SERVERS}, or \"1%\" to \"100%\"");
        let in_range = |size: &Share| match size {
            Share::Count(count) => (1..=MAX_SERVERS).contains(count),
            Share::Percent(_) => true,
        };
        let size = Share::parse(max_servers).filter(in_range);
        let size = size.ok_or_else(|| {
            ChangeError::Invalid(format!("{max_servers:?} is no size; expected {expected}"))
        })?;
        let _one_at_a_time = self.controls.lock();
        let config = self.config.load();
        check_pools(&config, pools)?;
        let kept = config::guaranteed(&config, &pools.database, pools.user.as_deref());
        if let Share::Count(count) = size
            && count <= kept
            && kept > 0
        {
            let text = format!(
                "{count} servers are too few: {kept} are guaranteed to classes (classes.guaranteed), and others need one"
            );
            return Err(ChangeError::Invalid(text));
        }
        let idle = config.limits.min_idle;
        if let Share::Count(count) = size
            && count < idle
        {
            let text = format!("{count} servers are fewer than limits.min_idle, {idle}");
            return Err(ChangeError::Invalid(text));
        }
        if !self.pools.resize(&config, pools, size) {
            let text = "too many pools have a size of their own; RELOAD forgets them".to_owned();
            return Err(ChangeError::NotNow(text));
        }
        info!(?pools, %size, "pools resized");
        Ok(())
    }

    pub(super) fn warm(
        &self,
        by: WarmedBy,
        pools: &Pools,
        servers: usize,
        until: Instant,
    ) -> Result<(), ChangeError> {
        let (config, database) = (self.config.load(), &pools.database);
        let known = check_pools(&config, pools)?;
        let user = known.user.as_ref().or(pools.user.as_ref()).ok_or_else(|| {
            ChangeError::Unknown(format!(
                "which user of database {database:?}? Name it: {database}.USER"
            ))
        })?;
        let pool = self.pools.pool(database, user).ok_or_else(|| no_database(database))?;
        let known = self.login.load().users.known_credential(database, user);
        let most = pool.size().max;
        // Before the first server has said what there is, a limit in per cent is a guess.
        if servers > most && pool.has_known_size() {
            let text = format!("{servers} servers are more than the pool may have, {most}");
            return Err(ChangeError::Invalid(text));
        }
        pool.warm(by, known, servers, until).map_err(|error| {
            let PoolKey { database, user } = pool.key();
            ChangeError::NotNow(format!("database \"{database}\", user \"{user}\": {error}"))
        })
    }

    /// The settings as they hold.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let state = self.controls.lock();
        let settings = config::settings(&self.config.load());
        let shown = settings.into_iter().map(|(key, value)| {
            let changed = state.overrides.has(&key);
            Setting { key, value, changed }
        });
        shown.collect()
    }
}

/// Their database. One with a user of its own has no pools of others.
fn check_pools<'c>(config: &'c Config, pools: &Pools) -> Result<&'c Database, ChangeError> {
    let Pools { database, user } = pools;
    let known = config.database(database).ok_or_else(|| no_database(database))?;
    match (&known.user, user) {
        (Some(own), Some(other)) if own != other => Err(ChangeError::Unknown(format!(
            "all servers of database {database:?} are of user {own:?}; there is no pool of {other:?}"
        ))),
        _ => Ok(known),
    }
}

fn no_database(name: &str) -> ChangeError {
    ChangeError::Unknown(format!("there is no database {name:?}"))
}
