//! One PostgreSQL host: the slots of its limit, taken by every connection opened to it, and how many are
//! opened at once.
//!
//! Owns: how many connections to the host exist, over databases, users and the control plane, how fast
//! there may be more, and whose turn it is when there are too few. It knows neither pools nor servers. Invariant: a
//! connection to PostgreSQL exists only together with a [`Slot`], which its owner takes before
//! connecting and drops after the server's EOF was read. Only cancel connections take none, and no permit of the
//! governor: they have a bound of their own, so that what ends work is not queued behind what begins more.

pub mod governor;
mod permit;
pub mod slots;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::clock::Instant;

pub use self::governor::{Ceilings, Failure};
use self::permit::Governed;
pub use self::permit::Permit;
pub use self::slots::{Full, Owner, PoolId, SlotLimits};
use self::slots::{Grant, Slots};
use crate::config::Share;
use crate::metrics::{Counted, HostMetrics};

/// The slots of one PostgreSQL host, shared by all who connect to it.
#[derive(Debug)]
pub struct Host {
    state: Mutex<State>,
    governed: Mutex<Governed>,
    cancels: Arc<Semaphore>,
    /// As they were given.
    limits: Mutex<HostLimits>,
    /// Connections that PostgreSQL has for us, once it is known.
    capacity: watch::Sender<Option<usize>>,
    /// Slots that are taken, and those of them whose connection waits for leave to be opened.
    used: AtomicUsize,
    waiting: AtomicUsize,
    starving: AtomicUsize,
    lowered: AtomicBool,
    hunger: watch::Sender<()>,
    next_id: AtomicU64,
    metrics: HostMetrics,
}

#[derive(Debug)]
struct State {
    slots: Slots,
    seats: FxHashMap<PoolId, mpsc::UnboundedSender<Slot>>,
}

impl Host {
    /// A host without connections.
    pub fn new(limits: HostLimits, metrics: HostMetrics) -> Arc<Self> {
        let resolved = limits.resolve(None);
        metrics.limit.set(resolved.host as f64);
        Arc::new(Self {
            state: Mutex::new(State { slots: Slots::new(resolved), seats: FxHashMap::default() }),
            limits: Mutex::new(limits),
            capacity: watch::Sender::new(None),
            governed: Mutex::new(Governed::new(Ceilings::default())),
            cancels: Arc::new(Semaphore::new(CANCELS)),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            starving: AtomicUsize::new(0),
            lowered: AtomicBool::new(false),
            hunger: watch::Sender::new(()),
            next_id: AtomicU64::new(0),
            metrics,
        })
    }

    /// A place at the table for a pool of `owner`, and where slots granted after
    /// [`Seat::starve`] arrive. Those still in the channel when the receiver is dropped are given
    /// back.
    pub fn seat(self: &Arc<Self>, owner: Owner) -> (Seat, mpsc::UnboundedReceiver<Slot>) {
        let pool = PoolId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // One slot for each call of `starve`, so never more than the limit.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().seats.insert(pool, sender);
        (Seat { host: Arc::clone(self), pool, owner }, receiver)
    }

    /// Takes a slot, waiting for its turn until `deadline`. Cancel safe: a slot granted meanwhile
    /// is given back.
    pub async fn take(self: &Arc<Self>, owner: Owner, deadline: Instant) -> Result<Slot, Full> {
        let (seat, mut granted) = self.seat(owner);
        let full = match seat.try_take() {
            Ok(slot) => return Ok(slot),
            Err(full) => full,
        };
        seat.starve();
        match tokio::time::timeout_at(deadline.into(), granted.recv()).await {
            Ok(Some(slot)) => Ok(slot),
            Ok(None) | Err(_) => Err(full),
        }
    }

    /// Waits for its turn to open a connection that cancels something, and counts it. Cancel safe.
    pub async fn cancel_turn(&self) -> CancelTurn {
        let permit = Arc::clone(&self.cancels).acquire_owned().await;
        // Nobody closes them.
        CancelTurn { _permit: permit.ok(), _counted: self.metrics.canceling() }
    }

    /// How many wait for a slot; reads no lock.
    pub fn starving(&self) -> usize {
        self.starving.load(Ordering::Relaxed)
    }

    /// Whether servers are to be closed for other pools or for a smaller limit; reads no lock.
    pub fn wants_slots(&self) -> bool {
        self.starving() > 0 || self.is_lowered()
    }

    /// Whether more slots are taken than a limit allows that was lowered; reads no lock.
    pub fn is_lowered(&self) -> bool {
        self.lowered.load(Ordering::Relaxed)
    }

    /// Changes whenever an idle server's slot may be wanted: see [`Slot::offer`].
    pub fn hunger(&self) -> watch::Receiver<()> {
        self.hunger.subscribe()
    }

    /// What is counted about the host.
    pub fn metrics(&self) -> &HostMetrics {
        &self.metrics
    }

    /// Slots taken.
    pub fn used(&self) -> usize {
        self.lock().slots.used()
    }

    /// Connections that there are, or are being opened: slots less those that wait for leave to open theirs. Reads no
    /// lock.
    pub fn connections(&self) -> usize {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.used.load(Ordering::Relaxed).saturating_sub(waiting)
    }

    /// The limits.
    pub fn limits(&self) -> SlotLimits {
        self.lock().slots.limits()
    }

    /// Changes the limits: a larger one holds at once, a smaller one as slots are given back.
    pub fn resize(self: &Arc<Self>, limits: HostLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.apply_limits();
    }

    fn apply_limits(self: &Arc<Self>) {
        // Held until they hold: others may be at it, and whoever is last has the newest.
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let resolved = limits.resolve(self.capacity());
        self.metrics.limit.set(resolved.host as f64);
        self.change(|slots| slots.resize(resolved));
    }

    /// How many connections PostgreSQL has for roles without extra rights, once it is known.
    pub fn capacity(&self) -> Option<usize> {
        *self.capacity.borrow()
    }

    /// Changes with that.
    pub fn capacities(&self) -> watch::Receiver<Option<usize>> {
        self.capacity.subscribe()
    }

    /// PostgreSQL has said how many connections it has.
    pub fn learn_capacity(self: &Arc<Self>, capacity: usize) {
        let is_news =
            self.capacity.send_if_modified(|known| known.replace(capacity) != Some(capacity));
        if is_news {
            self.apply_limits();
        }
    }

    /// Changes the slots under the lock, and delivers what was granted after it.
    fn change<G: IntoIterator<Item = Grant>>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Slots) -> G,
    ) {
        let mut state = self.lock();
        let grants = change(&mut state.slots).into_iter();
        let granted: Vec<_> = grants
            .map(|grant| (state.seats.get(&grant.pool).cloned(), grant.pool, grant.owner))
            .collect();
        self.publish(&state.slots);
        drop(state);
        for (seat, pool, owner) in granted {
            let slot = Slot { host: Arc::clone(self), pool, owner, offered: false };
            // Nobody there: the slot is dropped, and so passes on to the next.
            let _ = seat.map(|seat| seat.send(slot));
        }
    }

    fn publish(&self, slots: &Slots) {
        let starving = slots.starving();
        self.starving.store(starving, Ordering::Relaxed);
        self.used.store(slots.used(), Ordering::Relaxed);
        self.publish_connections();
        self.metrics.starving.set(starving as f64);
        let lowered = slots.is_lowered();
        self.lowered.store(lowered, Ordering::Relaxed);
        if starving > 0 || lowered {
            self.hunger.send_replace(());
        }
    }

    fn publish_connections(&self) {
        self.metrics.used.set(self.connections() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of a connection that cancels something; dropped, it is over.
#[derive(Debug)]
pub struct CancelTurn {
    _permit: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

/// Connections to one host that cancel something at once: each costs PostgreSQL a process for a moment, and when many
/// clients are gone together there would be one for each server.
pub const CANCELS: usize = 8;

/// Limits of one host; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    /// For the host as a whole.
    pub host: Share,
    /// For each database over its users.
    pub database: Share,
    /// For each user over its databases.
    pub user: Share,
}

impl HostLimits {
    /// No limit.
    pub const NONE: Self =
        Self { host: Share::Count(0), database: Share::Count(0), user: Share::Count(0) };

    /// In connections, on a host of so many.
    fn resolve(self, capacity: Option<usize>) -> SlotLimits {
        let all = capacity.unwrap_or(UNKNOWN_CAPACITY);
        SlotLimits {
            host: self.host.of(all),
            database: self.database.of(all),
            user: self.user.of(all),
        }
    }
}

/// Connections that a host is taken to have until the first server says: enough to ask, and to look a user
/// up meanwhile.
pub const UNKNOWN_CAPACITY: usize = 10;

/// The right to one connection to PostgreSQL. Dropped after the server's EOF was read, it passes
/// to whoever has starved longest.
#[derive(Debug)]
#[must_use = "a slot that is dropped is free again"]
pub struct Slot {
    host: Arc<Host>,
    pool: PoolId,
    owner: Owner,
    offered: bool,
}

impl Slot {
    /// Whether it is one for this database of this host.
    pub fn is_of(&self, host: &Arc<Host>, database: &str) -> bool {
        Arc::ptr_eq(&self.host, host) && *self.owner.database == *database
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Waits for leave to open the connection that it is for. Cancel safe.
    pub async fn permit(&self) -> Permit {
        self.host.permit(self.pool).await
    }

    /// Asks whether the host's starving pools need this slot, or its limits allow it no more. If so, the holder is to close its
    /// idle server now; just one holder is told so for each starving pool.
    pub fn offer(&mut self) -> bool {
        if !self.offered && self.host.wants_slots() {
            self.offered = self.host.lock().slots.offer(self.pool, &self.owner);
        }
        self.offered
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.host.change(|slots| slots.release(self.pool, &self.owner, self.offered));
    }
}

/// One pool's place at a host. Dropped, the pool leaves the queue.
#[derive(Debug)]
pub struct Seat {
    host: Arc<Host>,
    pool: PoolId,
    owner: Owner,
}

impl Seat {
    /// Takes a slot, or says which limit is in the way.
    pub fn try_take(&self) -> Result<Slot, Full> {
        let mut state = self.host.lock();
        state.slots.try_take(self.pool, &self.owner)?;
        self.host.publish(&state.slots);
        let (host, owner) = (Arc::clone(&self.host), self.owner.clone());
        Ok(Slot { host, pool: self.pool, owner, offered: false })
    }

    /// Which limit is in the way of one more slot, if one is.
    pub fn full(&self) -> Option<Full> {
        self.host.lock().slots.room(&self.owner).err()
    }

    /// See [`Slots::share`].
    pub fn share(&self) -> usize {
        self.host.lock().slots.share(&self.owner)
    }

    /// See [`Slots::goes_round`].
    pub fn goes_round(&self, now: Instant) -> bool {
        self.host.lock().slots.goes_round(&self.owner, now)
    }

    /// Queues for one slot, which will arrive in the channel; while queued, again is no more.
    pub fn starve(&self) {
        let now = Instant::now();
        self.host.change(|slots| slots.starve(self.pool, &self.owner, now));
    }

    /// Leaves the queue. A slot that was granted before is in the channel.
    pub fn sated(&self) {
        let mut state = self.host.lock();
        state.slots.sated(self.pool);
        self.host.publish(&state.slots);
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        state.slots.sated(self.pool);
        let gone = state.seats.remove(&self.pool);
        self.host.publish(&state.slots);
        drop(state);
        // A slot may be left in it, whose end takes the lock.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    fn host(limit: usize) -> (Arc<Host>, Owner) {
        let limits = HostLimits { host: Share::Count(limit), ..HostLimits::NONE };
        (Host::new(limits, Metrics::new().host("test")), owner("shop"))
    }

    fn owner(database: &str) -> Owner {
        Owner { database: database.into(), user: "app".into() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_dropped_slot_is_free_again() {
        let (host, database) = host(1);
        let (seat, _granted) = host.seat(database.clone());
        let slot = seat.try_take().unwrap();
        assert_eq!(seat.try_take().unwrap_err(), Full::Host { limit: 1 });
        drop(slot);
        assert_eq!(host.used(), 0);
        let _ = seat.try_take().unwrap();
    }

    #[tokio::test]
    async fn takers_wait_their_turn() {
        let (host, database) = host(1);
        let held = host.take(database.clone(), soon()).await.unwrap();
        let (seat, mut granted) = host.seat(database.clone());
        seat.starve();
        assert_eq!(host.starving(), 1);
        let later = tokio::spawn({
            let (host, database) = (Arc::clone(&host), database.clone());
            async move { host.take(database.clone(), soon()).await.unwrap() }
        });
        let mut hunger = host.hunger();
        while host.starving() < 2 {
            hunger.changed().await.unwrap();
        }
        drop(held);
        let first = granted.recv().await.unwrap();
        assert!(!later.is_finished());
        drop(first);
        drop(later.await.unwrap());
        assert_eq!((host.used(), host.starving()), (0, 0));
    }

    #[tokio::test]
    async fn one_who_gave_up_leaks_no_slot() {
        let (host, database) = host(1);
        let held = host.take(database.clone(), soon()).await.unwrap();
        let late = host.take(database.clone(), Instant::now()).await;
        assert_eq!(late.unwrap_err(), Full::Host { limit: 1 });
        assert_eq!(host.starving(), 0);
        let (seat, granted) = host.seat(database.clone());
        seat.starve();
        drop(granted);
        drop(held);
        assert_eq!((host.used(), host.starving()), (0, 0));
    }

    #[test]
    fn an_undelivered_slot_passes_to_the_next() {
        let (host, database) = host(1);
        let (first, first_granted) = host.seat(database.clone());
        let (second, mut second_granted) = host.seat(database.clone());
        let held = first.try_take().unwrap();
        first.starve();
        second.starve();
        drop(first_granted);
        drop(held);
        assert!(second_granted.try_recv().is_ok());
        assert_eq!(host.used(), 0);
    }

    #[test]
    fn an_idle_server_is_offered_once_for_each_starving_pool() {
        let (host, database) = host(2);
        let (seat, _granted) = host.seat(database.clone());
        let mut idle = [seat.try_take().unwrap(), seat.try_take().unwrap()];
        assert!(!idle[0].offer());
        let (hungry, mut granted) = host.seat(owner("other"));
        hungry.starve();
        assert_eq!([idle[0].offer(), idle[1].offer()], [true, false]);
        let [given, kept] = idle;
        drop(given);
        let slot = granted.try_recv().unwrap();
        assert_eq!(host.used(), 2);
        drop((slot, kept));
        assert_eq!(host.used(), 0);
    }

    #[test]
    fn a_larger_limit_feeds_the_queue() {
        let (host, database) = host(1);
        let (seat, mut granted) = host.seat(database.clone());
        let _held = seat.try_take().unwrap();
        seat.starve();
        host.resize(HostLimits { host: Share::Count(2), ..HostLimits::NONE });
        assert!(granted.try_recv().is_ok());
    }

    #[test]
    fn a_share_follows_what_postgresql_has() {
        let limits = HostLimits { user: Share::Percent(50), ..HostLimits::NONE };
        let host = Host::new(limits, Metrics::new().host("test"));
        assert_eq!(host.limits().user, UNKNOWN_CAPACITY / 2);
        let changes = host.capacities();
        host.learn_capacity(97);
        assert_eq!((host.limits().user, changes.has_changed().unwrap()), (48, true));
        host.resize(HostLimits { host: Share::Percent(100), ..HostLimits::NONE });
        assert_eq!((host.limits().user, host.limits().host), (0, 97));
    }
}
