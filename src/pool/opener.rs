//! Opening servers, and what happens when that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use tracing::{debug, info, warn};

use super::role::Role;
use super::slots::{Demand, Opening, Slots};
use super::{Denied, Login, Pool, PoolSettings, Waiter, lock};
use crate::auth::ScramKeys;
use crate::auth::ServerCredential;
use crate::clock::Instant;
use crate::host::{Permit, Slot};
use crate::metrics::ServerState;
use crate::server::{self, Entry, OpenError, OpenRequest, Server};

/// What one attempt is made with.
pub(super) struct Attempt {
    /// No newer than the settings: else a server of the old ones would stay.
    generation: u64,
    credential: ServerCredential,
    keys: Option<ScramKeys>,
}

impl Pool {
    /// Opens as many servers as are wanted and allowed; says when to ask again, if more may be wanted
    /// then. While opening fails, one attempt at a time.
    pub(super) fn open_more(self: &Arc<Self>) -> Option<Duration> {
        // A full pool is the common case of those who wait.
        if !lock(&self.slots).has_room() {
            return None;
        }
        let cost = self.seat.load().host().opening_time();
        let now = Instant::now();
        let learning = self.knowledge.is_first_reading();
        let (failing, ahead, pause) = {
            let trouble = lock(&self.trouble);
            (trouble.is_here(), trouble.lets_open_ahead(now), trouble.pause(now))
        };
        loop {
            let mut slots = lock(&self.slots);
            if let Some(pause) = pause.filter(|_| self.works(&slots)) {
                return Some(pause);
            }
            if failing && slots.counts().opening > 0 {
                return None;
            }
            match slots.open(Demand { ahead, cost, learning }, now) {
                Opening::Now => {}
                Opening::Later(after) => return Some(after),
                Opening::No => return None,
            }
            drop(slots);
            let seat = self.seat.load_full();
            match seat.try_take() {
                Ok(slot) => {
                    if !self.spawn_open(slot) {
                        // Who moves the pool may have counted it as opening.
                        return Some(MOVING);
                    }
                }
                Err(_full) => {
                    let mut slots = lock(&self.slots);
                    slots.open_failed(now);
                    let wanted = slots.has_admissible();
                    drop(slots);
                    // What is opened ahead is no reason for others to close what they have.
                    if wanted {
                        seat.starve();
                    }
                    let has_moved = !Arc::ptr_eq(&seat, &self.seat.load());
                    return has_moved.then_some(MOVING);
                }
            }
        }
    }

    /// Whether there are servers that serve who waits, or will. Those of older settings are closed when they come back.
    fn works(&self, slots: &Slots<Box<Server>, Waiter>) -> bool {
        slots.works() && self.worked.load(Ordering::Relaxed) == self.generation()
    }

    /// The host has granted a slot after all.
    pub(super) fn on_slot(self: &Arc<Self>, slot: Slot) {
        let (now, cost) = (Instant::now(), Duration::ZERO);
        let ahead = lock(&self.trouble).lets_open_ahead(now);
        // What it was starved for is long worth it.
        let opening = lock(&self.slots).open(Demand { ahead, cost, learning: false }, now);
        match opening {
            Opening::Now => {
                self.spawn_open(slot);
                self.keep_opening();
            }
            // Who it was starved for may have left, and who is there has not waited for long enough.
            Opening::Later(after) => self.remind(after),
            Opening::No => {}
        }
    }

    /// False if the pool has moved since the slot was taken, which is free again then.
    fn spawn_open(self: &Arc<Self>, slot: Slot) -> bool {
        let pool = Arc::clone(self);
        let generation = self.generation();
        let settings = self.settings.load_full();
        if !slot.is_of(&settings.host, &settings.dbname) {
            lock(&self.slots).open_failed(Instant::now());
            return false;
        }
        tokio::spawn(async move {
            let permit = slot.permit().await;
            if !pool.still_wants_it(generation) {
                return;
            }
            let attempt = pool.attempt(generation);
            match pool.open(slot, &settings, &attempt, permit).await {
                Ok(server) => pool.on_opened(Box::new(server)),
                Err(error) => pool.on_open_error(error, &attempt).await,
            }
        });
        true
    }

    /// Whether a server is still wanted whose turn to be opened has come; else it counts no more.
    fn still_wants_it(self: &Arc<Self>, generation: u64) -> bool {
        let now = Instant::now();
        let ahead = lock(&self.trouble).lets_open_ahead(now);
        let mut slots = lock(&self.slots);
        let is_of_now = generation == self.generation();
        let wanted = is_of_now && !slots.is_opening_too_many(ahead, now);
        if !wanted {
            slots.open_failed(now);
        }
        drop(slots);
        if !is_of_now {
            // What is wanted is one of the settings that hold by now.
            self.keep_opening();
        }
        wanted
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// An attempt with what is known now, by settings no older than `generation`.
    pub(super) fn attempt(&self, generation: u64) -> Attempt {
        let login = lock(&self.login);
        let credential = login.credential.clone().unwrap_or(ServerCredential::None);
        Attempt { generation, credential, keys: login.keys.clone() }
    }

    /// Whether what an attempt has met says something about the next.
    pub(super) fn is_of_now(&self, attempt: &Attempt) -> bool {
        self.learn_of(attempt, |_| ())
    }

    /// Learns from what an attempt has met; false if it says nothing about the next. What somebody has proved
    /// meanwhile is not lost.
    fn learn_of(&self, attempt: &Attempt, learn: impl FnOnce(&mut Login)) -> bool {
        let mut login = lock(&self.login);
        let is_same = match &login.credential {
            Some(credential) => attempt.credential.is_same(credential),
            None => attempt.credential.is_same(&ServerCredential::None),
        };
        let is_of_now = is_same && attempt.generation == self.generation();
        if is_of_now {
            learn(&mut login);
        }
        is_of_now
    }

    /// Opens a server.
    pub(super) async fn open(
        &self,
        slot: Slot,
        settings: &PoolSettings,
        attempt: &Attempt,
        permit: Permit,
    ) -> Result<Server, OpenError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let count = self.metrics().server(ServerState::Connecting);
        let request = OpenRequest {
            target: &settings.target,
            dbname: &settings.dbname,
            user: &self.key.user,
            credential: attempt.credential.clone(),
            remembered: attempt.keys.clone(),
            init_query: settings.init_query.as_deref(),
            deadline: Instant::now() + settings.timeouts.server_connect,
            close_timeout: settings.timeouts.server_close,
            lifetime: settings.timeouts.server_lifetime.mul_f64(rand::rng().random_range(0.9..1.1)),
            generation: attempt.generation,
            statement_limit: STATEMENT_LIMIT,
            id,
            entry: Entry::new(count, Arc::clone(&self.roll), id),
            slot,
        };
        let opened = server::open(request, permit).await.map_err(|error| self.explained(error))?;
        self.learn_of(attempt, |login| {
            login.keys = opened.keys.or(login.keys.take());
            login.needless = matches!(attempt.credential, ServerCredential::None);
        });
        if let Some(capacity) = opened.capacity {
            settings.host.learn_capacity(capacity);
        }
        Ok(opened.server)
    }

    /// Why there is nothing to log in with, if there is nothing.
    fn explained(&self, error: OpenError) -> OpenError {
        let forgotten = error.lacks_credential() && lock(&self.login).forgotten.is_some();
        if forgotten { OpenError::Forgotten } else { error }
    }

    fn on_opened(self: &Arc<Self>, mut server: Box<Server>) {
        self.count_as_its_own(&mut server);
        self.metrics().opened.increment(1);
        // One of older settings says nothing of where the pool is now; it goes when it is free.
        let is_of_now = server.generation == self.generation.load(Ordering::Relaxed);
        let recovered = is_of_now && std::mem::take(&mut *lock(&self.trouble)).is_on();
        if recovered {
            let (database, user) = (&*self.key.database, &*self.key.user);
            info!(database, user, "servers can be opened again");
        }
        if is_of_now {
            self.worked.store(server.generation, Ordering::Relaxed);
            self.note_role(server.is_read_only(), server.generation);
            self.learn_welcome(server.backend.settings.reported().clone(), server.generation);
        }
        let now = Instant::now();
        lock(&self.slots).opened(now);
        server.entry.set(ServerState::Leased);
        self.free(server, None, now);
        if recovered {
            self.keep_opening();
        }
    }

    /// As a server of this generation has it.
    fn note_role(&self, read_only: bool, generation: u64) {
        let (before, now) = {
            let mut role = lock(&self.role);
            if generation != self.generation() {
                return;
            }
            let before = *role;
            *role = before.after(read_only);
            (before, *role)
        };
        let (database, user) = (&*self.key.database, &*self.key.user);
        match now {
            Role::Demoted if before != now => {
                warn!(database, user, "a standby, or a read-only server, is where a primary was");
            }
            Role::Primary if before == Role::Demoted => {
                info!(database, user, "a primary is back");
            }
            _ => {}
        }
    }

    async fn on_open_error(self: &Arc<Self>, error: OpenError, attempt: &Attempt) {
        self.metrics().failed.increment(1);
        let error = Arc::new(error);
        let is_of_now = self.learn_of(attempt, |login| {
            if error.is_bad_credential() {
                *login = Login { forgotten: Some(Instant::now()), ..Login::default() };
            }
        });
        if !is_of_now {
            lock(&self.slots).open_failed(Instant::now());
            self.keep_opening();
            return;
        }
        if error.is_bad_credential() {
            // If so many say so that there is no room, what is believed ends by itself soon enough.
            let _ = self.refused.try_send(self.key.clone());
        }
        let pause = self.note_failure(&error);
        if error.retry() {
            // What ails the host, its governor waits for. Else it counts as opening meanwhile, so that
            // nobody else tries; unless others are at it.
            if error.of_host().is_none() && lock(&self.slots).counts().opening <= 1 {
                tokio::time::sleep(pause).await;
            }
            lock(&self.slots).open_failed(Instant::now());
        } else {
            let waiters = {
                let mut slots = lock(&self.slots);
                slots.open_failed(Instant::now());
                // Those that work serve who waits, as long as they do.
                (!self.works(&slots)).then(|| slots.take_waiters())
            };
            for waiter in waiters.into_iter().flatten() {
                let _ = waiter.send(Err(Denied::NoServer(Arc::clone(&error))));
            }
        }
        self.keep_opening();
    }

    /// Says what is new, and how long to pause.
    fn note_failure(&self, error: &Arc<OpenError>) -> Duration {
        let (database, user) = (&*self.key.database, &*self.key.user);
        let jitter = rand::rng().random_range(0.75..1.25);
        let failed = lock(&self.trouble).failed(Arc::clone(error), jitter, Instant::now());
        if failed.is_news {
            let seconds = failed.lasted.as_secs();
            warn!(database, user, %error, seconds, "cannot open a server");
        } else {
            debug!(database, user, %error, "still cannot open a server");
        }
        failed.pause
    }
}

/// When to look again at what a pool needs that is being moved to another host.
const MOVING: Duration = Duration::from_millis(1);

/// Prepared statements kept on one server.
const STATEMENT_LIMIT: usize = 200;
