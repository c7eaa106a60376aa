//! One pool: the servers of one (database, user), and the clients that wait for them.
//!
//! Owns when a server is opened, handed over, cleaned, kept or closed. It knows no client and no
//! protocol. Invariant: a server is in exactly one place: in the machine's idle list, in a
//! [`Lease`], or in a task that opens, cleans or closes it; whoever drops it by accident closes it.

mod channels;
mod keeper;
mod labels;
mod lease;
mod listener;
mod login;
mod loss;
pub mod need;
mod opener;
mod pause;
mod proofs;
mod reminder;
mod role;
pub mod slots;
mod trouble;
mod waiting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::warn;

use crate::auth::ServerCredential;
use crate::class::{ClassId, ClassLimits, Classes};
use crate::clock::Instant;
use crate::config::{PinsConfig, Share, Timeouts};
use crate::host::{Host, Owner, Seat, Slot, UNKNOWN_CAPACITY};
use crate::metrics::{
    ClassCounts, ClassMetrics, ClassTable, CloseReason, PoolMetrics, ServerState,
};
use crate::net::Target;
use crate::server::{Card, Roll, Server};
use crate::session::knowledge::{Changes, Knowledge};
use crate::session::listening::ListenMode;
use crate::session::pooling::Pooling;
use crate::session::settings::Settings;

pub use channels::Ear;
pub use labels::Labels;
use lease::Sign;
pub use lease::{Cleaning, Lease};
use listener::Listener;
pub use listener::Membership;
use login::Login;
use loss::Loss;
use need::{Counted, Needs, Seen, What};
use proofs::Proofs;
pub use proofs::{OthersProof, Proof, Proving};
use reminder::Reminder;
use role::Role;
pub use slots::{Counts, Crowd, Size, WarmedBy};
use slots::{Freed, Slots};
use trouble::Trouble;
pub use waiting::{Cause, CheckoutError, Standing};
use waiting::{Denied, Waiter, Wants};

/// What names a pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// The alias that clients name.
    pub database: Arc<str>,
    /// The user that servers are logged in as.
    pub user: Arc<str>,
}

/// What a reload can change.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Where the servers are.
    pub target: Arc<Target>,
    /// The host there, whose slots they take.
    pub host: Arc<Host>,
    /// The same, to compare: servers at another address or under other TLS settings are replaced.
    pub address: Arc<str>,
    /// The database's name at PostgreSQL.
    pub dbname: Arc<str>,
    /// Of its tables and code.
    pub changes: Arc<Changes>,
    /// Run on each new server.
    pub init_query: Option<Arc<str>>,
    /// Sizes.
    pub limits: PoolLimits,
    /// Classes of clients.
    pub classes: Arc<Classes>,
    /// Times.
    pub timeouts: Timeouts,
    /// What becomes of LISTEN.
    pub listen: ListenMode,
    /// What may pin clients, and how many.
    pub pins: PinsConfig,
    /// Whose servers are, for clients that log in from now on.
    pub pooling: Pooling,
}

/// Sizes as they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Servers at most.
    pub max: Share,
    /// Idle servers kept open.
    pub min_idle: usize,
    /// Idle servers kept at most.
    pub max_idle: Share,
    /// Servers beyond `max` while somebody has waited for long.
    pub reserve: usize,
}

impl PoolLimits {
    /// In connections, on a host that has so many.
    fn resolve(self, capacity: Option<usize>, reserve_after: Duration) -> Size {
        let all = capacity.unwrap_or(UNKNOWN_CAPACITY);
        let max = self.max.of(all).max(1);
        let max_idle = self.max_idle.of(all).min(max);
        Size {
            max,
            // One that is opened to be kept must not be closed for being too many.
            min_idle: self.min_idle.min(max_idle),
            max_idle,
            reserve: self.reserve,
            reserve_after,
        }
    }

    fn are_shares(self) -> bool {
        self.max.is_percent() || self.max_idle.is_percent()
    }
}

impl PoolSettings {
    /// In connections, as the host has them.
    fn size(&self) -> Size {
        self.limits.resolve(self.host.capacity(), self.timeouts.reserve)
    }
}

/// The servers of one (database, user).
#[derive(Debug)]
pub struct Pool {
    key: PoolKey,
    slots: Mutex<Slots<Box<Server>, Waiter>>,
    settings: ArcSwap<PoolSettings>,
    login: Mutex<Login>,
    welcome: Mutex<Option<Settings>>,
    knowledge: Arc<Knowledge>,
    listener: Listener,
    /// At the host of the settings.
    seat: ArcSwap<Seat>,
    trouble: Mutex<Trouble>,
    /// When to look whether one more server is worth opening.
    opening: Reminder,
    /// When to look whose time in the queue is over.
    deadlines: Reminder,
    /// When to look whether servers are still kept for who gave them back.
    kept: Reminder,
    proofs: Proofs,
    /// By number of the class.
    class_metrics: ArcSwap<Vec<Arc<ClassMetrics>>>,
    role: Mutex<Role>,
    /// Servers of an older generation are closed when they are free.
    generation: AtomicU64,
    /// The newest generation of which a server was opened.
    worked: AtomicU64,
    loss: Loss,
    next_id: AtomicU64,
    /// Those that are open.
    roll: Arc<Roll>,
    labels: Labels,
    needs: Arc<Needs>,
    refused: Refused,
}

/// Where pools say that PostgreSQL does not accept what their clients have proved.
pub type Refused = mpsc::Sender<PoolKey>;

/// There is nothing to log servers in with before a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("nothing is known to log in to PostgreSQL with before a client has logged in")]
pub struct NoCredential;

impl Pool {
    /// A pool without servers, and its keeper.
    pub fn new(
        key: PoolKey,
        settings: PoolSettings,
        labels: Labels,
        refused: Refused,
    ) -> Arc<Self> {
        let owner = Owner { database: Arc::clone(&settings.dbname), user: Arc::clone(&key.user) };
        let (seat, granted) = settings.host.seat(owner);
        let size = settings.size();
        let knowledge = Arc::new(Knowledge::new(Arc::clone(&settings.changes)));
        knowledge.set_rules(settings.pins.rules(size.max));
        let class_metrics = class_metrics(labels.classes(), &settings.classes);
        labels.set_limit(size.max);
        let needs = Arc::new(Needs::default());
        if let Some(metrics) = labels.of_its_own() {
            needs.show(&metrics.observed);
        }
        let pool = Arc::new(Self {
            key,
            slots: Mutex::new(Slots::new(size, settings.classes.limits(), Instant::now())),
            settings: ArcSwap::from_pointee(settings),
            login: Mutex::default(),
            welcome: Mutex::default(),
            knowledge,
            listener: Listener::default(),
            seat: ArcSwap::from_pointee(seat),
            trouble: Mutex::default(),
            opening: Reminder::default(),
            deadlines: Reminder::default(),
            kept: Reminder::default(),
            proofs: Proofs::default(),
            class_metrics: ArcSwap::from_pointee(class_metrics),
            role: Mutex::default(),
            generation: AtomicU64::new(0),
            worked: AtomicU64::new(u64::MAX),
            loss: Loss::new(),
            next_id: AtomicU64::new(1),
            roll: Arc::default(),
            needs,
            labels,
            refused,
        });
        keeper::spawn(&pool, granted);
        pool
    }

    /// Its name.
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Its settings now.
    pub fn settings(&self) -> Arc<PoolSettings> {
        self.settings.load_full()
    }

    /// Its metrics.
    pub fn metrics(&self) -> &PoolMetrics {
        self.labels.metrics()
    }

    /// It has this server, which was counted before anybody knew that it could.
    fn count_as_its_own(&self, server: &mut Server) {
        if self.labels.of_its_own().is_none() {
            let limit = lock(&self.slots).size().max;
            self.labels.take(&self.key, limit);
            self.labels.set_paused(self.is_paused());
            self.needs.show(&self.metrics().observed);
        }
        server.entry.recount(self.metrics().server(ServerState::Connecting));
    }

    /// Counts one client among those who are observed.
    pub fn count(&self, what: What, now: Instant) -> Counted {
        self.needs.count(what, now)
    }

    /// How many clients are counted.
    pub fn seen(&self, what: What, now: Instant) -> Seen {
        self.needs.seen(what, now)
    }

    /// What its sessions have learnt.
    pub fn knowledge(&self) -> &Arc<Knowledge> {
        &self.knowledge
    }

    /// Sizes now.
    pub fn size(&self) -> Size {
        lock(&self.slots).size()
    }

    /// Whether they are what PostgreSQL has, where they depend on that.
    pub fn has_known_size(&self) -> bool {
        let settings = self.settings.load();
        settings.host.capacity().is_some() || !settings.limits.are_shares()
    }

    /// What holds for a class here, how many servers it has, and who of it waits.
    pub fn class(&self, class: ClassId, now: Instant) -> (ClassLimits, usize, Crowd) {
        let limits = self.class_limits(class);
        let slots = lock(&self.slots);
        (limits, slots.counts_of(class).0, slots.crowd(class, now))
    }

    /// What each class has here.
    pub fn class_counts(&self) -> Vec<ClassCounts> {
        let classes = Arc::clone(&self.settings.load().classes);
        let slots = lock(&self.slots);
        let counts = classes.named().map(|(id, class)| {
            let (leased, waiting) = slots.counts_of(id);
            ClassCounts { class: Arc::clone(class), leased, waiting }
        });
        counts.collect()
    }

    /// Keeps so many servers open until then, those at work included, but no more than there may be.
    /// `known` is what there is to log in with by the configuration.
    pub fn warm(
        self: &Arc<Self>,
        by: WarmedBy,
        known: Option<ServerCredential>,
        servers: usize,
        until: Instant,
    ) -> Result<(), NoCredential> {
        let is_asked_for_nothing = matches!(known, Some(ServerCredential::None));
        if let Some(known) = known {
            self.adopt(known, by == WarmedBy::Operator);
        }
        let lacks_one = {
            let login = lock(&self.login);
            login.credential.is_none() && !login.needless
        };
        if !is_asked_for_nothing && lacks_one {
            return Err(NoCredential);
        }
        lock(&self.slots).warm(by, servers, until);
        self.keep_opening();
        Ok(())
    }

    /// Counts by state.
    pub fn counts(&self) -> Counts {
        lock(&self.slots).counts()
    }

    /// The servers that are open.
    pub fn servers(&self) -> Vec<Arc<Card>> {
        self.roll.servers()
    }

    /// What the last server reported at its login.
    pub fn welcome(&self) -> Option<Settings> {
        lock(&self.welcome).clone()
    }

    /// Takes a server that is free and need not be asked whether it still answers, if it can be one
    /// that has the settings that are `wanted` already. `None` says no more than that it takes a
    /// [`Pool::checkout`].
    pub fn checkout_now(
        self: &Arc<Self>,
        class: ClassId,
        wanted: &Settings,
        now: Instant,
    ) -> Option<Lease> {
        let check = self.unasked(now);
        let server = lock(&self.slots).take_if(
            class,
            now,
            |server| server.was_used(now, check) && server.has_settings(wanted),
            |server| server.was_used(now, check),
        )?;
        let mut lease = Lease::new(Arc::clone(self), server, class, now);
        if lease.is_stale() {
            self.on_lost();
            lease.uncounted().evict(CloseReason::Broken);
            return None;
        }
        self.metrics().checked_out(Duration::ZERO);
        Some(lease)
    }

    /// Takes a server, waiting for one as long as the class may from the time `started` on, which has just been. Cancel
    /// safe: a place in the queue is left, and a server that was handed over meanwhile goes to the next.
    pub async fn checkout(
        self: &Arc<Self>,
        class: ClassId,
        wanted: &Settings,
        started: Instant,
    ) -> Result<Lease, CheckoutError> {
        let mut now = started;
        while let Some(server) = self.take_idle(class, wanted, now) {
            let idle_since = server.idle_since;
            let mut lease = Lease::new(Arc::clone(self), server, class, Instant::now());
            let sign = lease.ask().await;
            if sign == Sign::Sound {
                self.metrics().checked_out(started.elapsed());
                return Ok(lease);
            }
            self.on_lost();
            lease.uncounted().evict(CloseReason::Broken);
            if sign == Sign::Silent {
                self.on_silent(idle_since);
            }
            now = Instant::now();
        }
        loop {
            if let Some(lease) = self.wait(class, Wants::Server, (started, now)).await? {
                let until = lease.began().unwrap_or(started);
                self.metrics().checked_out(until.saturating_duration_since(started));
                return Ok(lease);
            }
            now = Instant::now();
        }
    }

    /// Waits while another client has the catalogue of a cold pool read, so that a burst does not read it on all
    /// servers at once. Not for long: who has waited in vain reads it too.
    pub async fn first_reading(&self) {
        let since = Instant::now();
        while self.knowledge.is_first_reading() && since.elapsed() < FIRST_READING {
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// How long the client has waited that has waited longest; nothing if none waits.
    pub fn longest_wait(&self, now: Instant) -> Duration {
        let since = lock(&self.slots).waiting_since();
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether a leased server is wanted back: by clients, by a pause, by other pools of the host, or because newer
    /// settings hold.
    pub fn wants_back(&self, server: &Server) -> bool {
        if server.generation != self.generation() || self.seat.load().host().wants_slots() {
            return true;
        }
        let slots = lock(&self.slots);
        slots.has_waiters() || slots.is_paused()
    }

    /// Takes new settings: sizes hold at once, servers of another place or login are replaced as
    /// they become free.
    pub fn reconfigure(self: &Arc<Self>, settings: PoolSettings) {
        let old = self.settings.swap(Arc::new(settings));
        let new = self.settings();
        self.class_metrics.store(Arc::new(class_metrics(self.labels.classes(), &new.classes)));
        lock(&self.slots).set_classes(new.classes.limits(), Instant::now());
        self.keep_deadlines();
        self.resize();
        if !Arc::ptr_eq(&old.host, &new.host) || old.dbname != new.dbname {
            let (seat, granted) = new.host.seat(self.owner(&new));
            // The old keeper ends with the old seat, which frees what was granted to it.
            self.seat.store(Arc::new(seat));
            keeper::spawn(self, granted);
        }
        let same = old.address == new.address
            && old.dbname == new.dbname
            && old.init_query == new.init_query;
        self.knowledge.follow(&new.changes);
        if !same {
            lock(&self.login).needless = false;
            self.replace_servers();
            *lock(&self.role) = Role::default();
            lock(&self.trouble).on_other_place();
        }
        lock(&self.trouble).on_reload();
        lock(&self.login).forgotten = None;
        self.tend(Instant::now());
        self.dispatch();
        self.keep_opening();
    }

    /// Takes the sizes of its settings, as they are on a host with so many connections.
    fn resize(&self) {
        let (settings, size, before) = {
            // Others may be at it: whoever is last has the newest.
            let mut slots = lock(&self.slots);
            let settings = self.settings();
            let (size, before) = (settings.size(), slots.size());
            slots.resize(size);
            self.labels.set_limit(size.max);
            (settings, size, before)
        };
        // What is in numbers was compared when the configuration was read.
        if settings.limits.are_shares() && size != before {
            let kept = settings.classes.guaranteed();
            let (database, user) = (&*self.key.database, &*self.key.user);
            let idle = settings.limits.min_idle;
            if kept >= size.max || idle > size.max_idle {
                warn!(
                    database,
                    user,
                    max_servers = size.max,
                    max_idle = size.max_idle,
                    guaranteed = kept,
                    min_idle = idle,
                    "a limit in per cent comes to too few for what is guaranteed or kept idle"
                );
            }
        }
        self.knowledge.set_rules(settings.pins.rules(size.max));
    }

    fn owner(&self, settings: &PoolSettings) -> Owner {
        Owner { database: Arc::clone(&settings.dbname), user: Arc::clone(&self.key.user) }
    }

    /// Closes every server as soon as it is free, and forgets what they had accepted.
    pub fn replace_servers(self: &Arc<Self>) {
        self.retire(CloseReason::Reload);
    }

    fn retire(self: &Arc<Self>, reason: CloseReason) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.knowledge.forget_accepted();
        *lock(&self.welcome) = None;
        self.listener.look();
        self.expire_idle(usize::MAX, reason, |_| true);
    }

    /// Closes all idle servers and keeps none from now on; for the end.
    pub fn close_idle(self: &Arc<Self>) {
        lock(&self.slots).keep_none();
        self.expire_idle(usize::MAX, CloseReason::Drain, |_| true);
    }

    /// Nobody waits and no connection is left.
    pub fn is_empty(&self) -> bool {
        let slots = lock(&self.slots);
        slots.total() == 0 && !slots.has_waiters() && self.listener.is_idle()
    }

    /// Whether somebody wants it to be warm.
    pub fn is_to_be_warm(&self, now: Instant) -> bool {
        lock(&self.slots).is_to_be_warm(now)
    }

    fn take_idle(&self, class: ClassId, wanted: &Settings, now: Instant) -> Option<Box<Server>> {
        lock(&self.slots).take_if(class, now, |server| server.has_settings(wanted), |_| true)
    }

    /// A server, clean and whole, that was opened, or leased to a client of a class, goes to the next waiter,
    /// to the idle ones, or away.
    fn free(self: &Arc<Self>, mut server: Box<Server>, from: Option<ClassId>, now: Instant) {
        server.idle_since = now;
        server.at_rest = true;
        let unwanted = self.unwanted(&mut server, now);
        let mut slots = lock(&self.slots);
        if let Some(class) = from {
            slots.returned(class, now);
        }
        // All may have been retired meanwhile; those that are parked before are closed by that.
        let retired = server.generation != self.generation.load(Ordering::Relaxed);
        let unwanted = unwanted.or(retired.then_some(CloseReason::Reload));
        if let Some(reason) = unwanted {
            drop(slots);
            return self.evict(server, reason);
        }
        // Where others of the host have none, it is not to be idle.
        if let Some(class) = from.filter(|_| !server.slot.host().wants_slots()) {
            slots.keep(class);
            if let Some(until) = slots.kept_until() {
                self.watch_kept(until);
            }
        }
        loop {
            match slots.freed(now) {
                Freed::Hand(class, waiter) => {
                    let shed = slots.shed(now);
                    drop(slots);
                    Self::refuse(shed);
                    match waiter.send(Ok(server)) {
                        Err(Ok(back)) => server = back,
                        _ => return,
                    }
                    slots = lock(&self.slots);
                    slots.returned(class, now);
                }
                Freed::Park => {
                    server.entry.park(now);
                    server.link.release_larger_buffers(KEPT_BUFFER);
                    // Who has begun to starve since it was looked at has asked those that were parked by then; who
                    // does from now on has this one asked.
                    let is_wanted = server.slot.host().wants_slots();
                    slots.park(server);
                    drop(slots);
                    if is_wanted {
                        self.feed_host();
                    }
                    return;
                }
                Freed::Evict => {
                    drop(slots);
                    return self.evict(server, CloseReason::Idle);
                }
            }
        }
    }

    /// Gives idle servers to those who may have them by a change of limits. One that would have to be asked
    /// first whether it still answers is closed instead, and another opened.
    fn dispatch(self: &Arc<Self>) {
        let (now, check) = (Instant::now(), self.settings.load().timeouts.server_check);
        if !lock(&self.slots).has_admissible() {
            return;
        }
        self.expire_idle(usize::MAX, CloseReason::Broken, |server| {
            !server.was_used(now, check) || server.is_stale()
        });
        self.hand_out(|_| true);
    }

    /// Gives the newest idle servers to those who wait, as far as they fit.
    fn hand_out(self: &Arc<Self>, fits: impl Fn(&mut Server) -> bool) {
        loop {
            let now = Instant::now();
            let dispatched = lock(&self.slots).dispatch_if(now, |server| fits(server));
            let Some((server, class, waiter)) = dispatched else { return };
            if let Err(Ok(back)) = waiter.send(Ok(server)) {
                self.free(back, Some(class), Instant::now());
            }
        }
    }

    fn unwanted(self: &Arc<Self>, server: &mut Server, now: Instant) -> Option<CloseReason> {
        if server.generation != self.generation.load(Ordering::Relaxed) {
            return Some(CloseReason::Reload);
        }
        let refused = std::mem::take(&mut server.refused_write);
        if refused && server.is_read_only() && lock(&self.role).wants_writes() {
            // Those opened with it are where it is. A new one goes where the name leads now.
            self.retire(CloseReason::ReadOnly);
            return Some(CloseReason::ReadOnly);
        }
        if now.saturating_duration_since(server.opened_at) > server.lifetime {
            return Some(CloseReason::Lifetime);
        }
        self.yields(server, now).then_some(CloseReason::Yielded)
    }

    /// Whether another pool of the host needs this slot more: one that has nothing while this has
    /// nobody waiting, or has more than its share, or has had it for a while.
    fn yields(&self, server: &mut Server, now: Instant) -> bool {
        let is_old = now.saturating_duration_since(server.opened_at) >= QUANTUM;
        let slot = &mut server.slot;
        let seat = self.seat.load();
        // Whatever waits here, it is more than there may be.
        if seat.host().is_lowered() && slot.offer() {
            return true;
        }
        if seat.host().starving() == 0 {
            return false;
        }
        let (total, waiting) = {
            let slots = lock(&self.slots);
            (slots.total(), slots.has_waiters())
        };
        if !waiting {
            return slot.offer();
        }
        // This pool may itself be among the starving; to feed it, it must keep what it has.
        let share = seat.share();
        let keeps = total <= share && !(is_old && seat.goes_round(now));
        if keeps || !slot.offer() {
            return false;
        }
        seat.sated();
        true
    }

    /// Closes a leased server.
    fn evict(self: &Arc<Self>, server: Box<Server>, reason: CloseReason) {
        lock(&self.slots).closing();
        self.close(server, reason);
        // Its class may have another.
        self.dispatch();
        self.keep_opening();
    }

    /// Closes a server that the machine counts as closing.
    fn close(self: &Arc<Self>, server: Box<Server>, reason: CloseReason) {
        self.metrics().closed.count(reason);
        let pool = Arc::clone(self);
        let timeout = self.settings.load().timeouts.server_close;
        tokio::spawn(async move {
            if !server.close(timeout).await {
                pool.metrics().close_timeouts.increment(1);
            }
            lock(&pool.slots).closed();
            if pool.is_paused() {
                pool.listener.look();
            }
            // Who waits was told that there is no room, and may not ask again himself.
            pool.keep_opening();
        });
    }

    fn expire_idle(
        self: &Arc<Self>,
        most: usize,
        reason: CloseReason,
        expired: impl FnMut(&mut Box<Server>) -> bool,
    ) {
        let servers = lock(&self.slots).expire(most, expired);
        for server in servers {
            self.close(server, reason);
        }
    }
}

/// Capacity of the buffers that an idle server keeps: servers are few, and soon used again.
const KEPT_BUFFER: usize = 2 << 10;

fn class_metrics(table: &ClassTable, classes: &Classes) -> Vec<Arc<ClassMetrics>> {
    classes.named().map(|(_, class)| table.of(class)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole between any two statements that could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slots granted by the host.
type Granted = mpsc::UnboundedReceiver<Slot>;

/// How long others are waited for that read the catalogue, and how often they are looked at.
const FIRST_READING: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(2);

/// For how long a server stays with a pool that has no more than its share, while others of the host have none.
const QUANTUM: Duration = Duration::from_secs(1);
