//! One PostgreSQL host: the slots of its limit, taken by every connection opened to it.
//!
//! Owns: how many connections to the host exist, over databases, users and the control plane, and
//! whose turn it is when there are too few. It knows neither pools nor servers. Invariant: a
//! connection to PostgreSQL exists only together with a [`Slot`], which its owner takes before
//! connecting and drops after the server's EOF was read. Only cancel connections take none: they
//! have a bound of their own.

pub mod slots;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, watch};

pub use self::slots::{Full, PoolId, SlotLimits};
use self::slots::{Grant, Slots};
use crate::metrics::HostMetrics;

/// The slots of one PostgreSQL host, shared by all who connect to it.
#[derive(Debug)]
pub struct Host {
    state: Mutex<State>,
    starving: AtomicUsize,
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
    pub fn new(limits: SlotLimits, metrics: HostMetrics) -> Arc<Self> {
        metrics.limit.set(limits.host as f64);
        Arc::new(Self {
            state: Mutex::new(State { slots: Slots::new(limits), seats: FxHashMap::default() }),
            starving: AtomicUsize::new(0),
            hunger: watch::Sender::new(()),
            next_id: AtomicU64::new(0),
            metrics,
        })
    }

    /// A place at the table for a pool of `database`, and where slots granted after
    /// [`Seat::starve`] arrive. Those still in the channel when the receiver is dropped are given
    /// back.
    pub fn seat(self: &Arc<Self>, database: &Arc<str>) -> (Seat, mpsc::UnboundedReceiver<Slot>) {
        let pool = PoolId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // One slot for each call of `starve`, so never more than the limit.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().seats.insert(pool, sender);
        (Seat { host: Arc::clone(self), pool, database: Arc::clone(database) }, receiver)
    }

    /// Takes a slot, waiting for its turn until `deadline`. Cancel safe: a slot granted meanwhile
    /// is given back.
    pub async fn take(
        self: &Arc<Self>,
        database: &Arc<str>,
        deadline: Instant,
    ) -> Result<Slot, Full> {
        let (seat, mut granted) = self.seat(database);
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

    /// How many wait for a slot; reads no lock.
    pub fn starving(&self) -> usize {
        self.starving.load(Ordering::Relaxed)
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

    /// The limits.
    pub fn limits(&self) -> SlotLimits {
        self.lock().slots.limits()
    }

    /// Changes the limits: a larger one holds at once, a smaller one as slots are given back.
    pub fn resize(self: &Arc<Self>, limits: SlotLimits) {
        self.metrics.limit.set(limits.host as f64);
        self.change(|slots| slots.resize(limits));
    }

    /// Changes the slots under the lock, and delivers what was granted after it.
    fn change<G: IntoIterator<Item = Grant>>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Slots) -> G,
    ) {
        let mut state = self.lock();
        let grants = change(&mut state.slots).into_iter();
        let granted: Vec<_> =
            grants.map(|grant| (state.seats.get(&grant.pool).cloned(), grant.database)).collect();
        self.publish(&state.slots);
        drop(state);
        for (seat, database) in granted {
            let slot = Slot { host: Arc::clone(self), database, offered: false };
            // Nobody there: the slot is dropped, and so passes on to the next.
            let _ = seat.map(|seat| seat.send(slot));
        }
    }

    fn publish(&self, slots: &Slots) {
        let starving = slots.starving();
        self.starving.store(starving, Ordering::Relaxed);
        self.metrics.used.set(slots.used() as f64);
        self.metrics.starving.set(starving as f64);
        if starving > 0 {
            self.hunger.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one connection to PostgreSQL. Dropped after the server's EOF was read, it passes
/// to whoever has starved longest.
#[derive(Debug)]
#[must_use = "a slot that is dropped is free again"]
pub struct Slot {
    host: Arc<Host>,
    database: Arc<str>,
    offered: bool,
}

impl Slot {
    /// Whether it is one for this database of this host.
    pub fn is_of(&self, host: &Arc<Host>, database: &str) -> bool {
        Arc::ptr_eq(&self.host, host) && *self.database == *database
    }

    /// Asks whether the host's starving pools need this slot. If so, the holder is to close its
    /// idle server now; just one holder is told so for each starving pool.
    pub fn offer(&mut self) -> bool {
        if !self.offered && self.host.starving() > 0 {
            self.offered = self.host.lock().slots.offer(&self.database);
        }
        self.offered
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.host.change(|slots| slots.release(&self.database, self.offered));
    }
}

/// One pool's place at a host. Dropped, the pool leaves the queue.
#[derive(Debug)]
pub struct Seat {
    host: Arc<Host>,
    pool: PoolId,
    database: Arc<str>,
}

impl Seat {
    /// Takes a slot, or says which limit is in the way.
    pub fn try_take(&self) -> Result<Slot, Full> {
        let mut state = self.host.lock();
        state.slots.try_take(&self.database)?;
        self.host.publish(&state.slots);
        let (host, database) = (Arc::clone(&self.host), Arc::clone(&self.database));
        Ok(Slot { host, database, offered: false })
    }

    /// Queues for one slot, which will arrive in the channel; while queued, again is no more.
    pub fn starve(&self) {
        let now = Instant::now();
        self.host.change(|slots| slots.starve(self.pool, &self.database, now));
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
        state.seats.remove(&self.pool);
        self.host.publish(&state.slots);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    fn host(limit: usize) -> (Arc<Host>, Arc<str>) {
        let limits = SlotLimits { host: limit, database: 0 };
        (Host::new(limits, Metrics::new().host("test")), "shop".into())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_dropped_slot_is_free_again() {
        let (host, database) = host(1);
        let (seat, _granted) = host.seat(&database);
        let slot = seat.try_take().unwrap();
        assert_eq!(seat.try_take().unwrap_err(), Full::Host { limit: 1 });
        drop(slot);
        assert_eq!(host.used(), 0);
        let _ = seat.try_take().unwrap();
    }

    #[tokio::test]
    async fn takers_wait_their_turn() {
        let (host, database) = host(1);
        let held = host.take(&database, soon()).await.unwrap();
        let (seat, mut granted) = host.seat(&database);
        seat.starve();
        assert_eq!(host.starving(), 1);
        let later = tokio::spawn({
            let (host, database) = (Arc::clone(&host), Arc::clone(&database));
            async move { host.take(&database, soon()).await.unwrap() }
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
        let held = host.take(&database, soon()).await.unwrap();
        let late = host.take(&database, Instant::now()).await;
        assert_eq!(late.unwrap_err(), Full::Host { limit: 1 });
        assert_eq!(host.starving(), 0);
        let (seat, granted) = host.seat(&database);
        seat.starve();
        drop(granted);
        drop(held);
        assert_eq!((host.used(), host.starving()), (0, 0));
    }

    #[test]
    fn an_undelivered_slot_passes_to_the_next() {
        let (host, database) = host(1);
        let (first, first_granted) = host.seat(&database);
        let (second, mut second_granted) = host.seat(&database);
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
        let (seat, _granted) = host.seat(&database);
        let mut idle = [seat.try_take().unwrap(), seat.try_take().unwrap()];
        assert!(!idle[0].offer());
        let (hungry, mut granted) = host.seat(&"other".into());
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
        let (seat, mut granted) = host.seat(&database);
        let _held = seat.try_take().unwrap();
        seat.starve();
        host.resize(SlotLimits { host: 2, database: 0 });
        assert!(granted.try_recv().is_ok());
    }
}
