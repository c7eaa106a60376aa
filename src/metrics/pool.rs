//! What is counted about one pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::metrics::{Counter, Gauge};

use super::labels::{Abandoned, CheckoutRefusal, Clean, CloseReason, ServerState};
use super::tally::Tally;
use super::{ClassTable, Counted, Counters, ObservedMetrics, Registry, names};

/// The handles of one pool (database, user).
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    /// What each transaction counts.
    pub tally: Arc<Tally>,
    /// Those of the classes of its clients, which other pools have too.
    pub classes: Arc<ClassTable>,
    pinned: Gauge,
    servers_limit: Gauge,
    /// 1 while the pool is paused.
    pub paused: Gauge,
    /// Waits that ended without a server.
    pub checkout_timeouts: Counter,
    /// Clients refused a server before their time was over.
    pub checkout_refusals: Counters<CheckoutRefusal>,
    /// Servers opened.
    pub opened: Counter,
    /// Servers that could not be opened.
    pub failed: Counter,
    /// Servers closed.
    pub closed: Counters<CloseReason>,
    /// Closed servers whose EOF did not come in time.
    pub close_timeouts: Counter,
    /// Servers cleaned.
    pub cleans: Counters<Clean>,
    /// Clients gone while they held a server.
    pub abandoned: Counters<Abandoned>,
    /// Clients ended because they did not take their notifications.
    pub notification_overflows: Counter,
    /// What transaction pooling would have done.
    pub observed: ObservedMetrics,
}

impl PoolMetrics {
    pub(super) fn new(
        registry: &Registry,
        labels: &[(&'static str, &str); 2],
        (tally, classes): (Arc<Tally>, Arc<ClassTable>),
    ) -> Self {
        let counter = |name| registry.counter(name, labels);
        Self {
            tally,
            classes,
            pinned: registry.gauge(names::CLIENTS_PINNED, labels),
            servers_limit: registry.gauge(names::SERVERS_LIMIT, labels),
            paused: registry.gauge(names::PAUSED, labels),
            checkout_timeouts: counter(names::CHECKOUT_TIMEOUTS),
            checkout_refusals: registry.counters(names::CHECKOUT_REFUSALS, labels),
            opened: counter(names::SERVERS_OPENED),
            failed: counter(names::SERVERS_FAILED),
            closed: registry.counters(names::SERVERS_CLOSED, labels),
            close_timeouts: counter(names::CLOSE_TIMEOUTS),
            cleans: registry.counters(names::CLEANS, labels),
            abandoned: registry.counters(names::ABANDONED, labels),
            notification_overflows: counter(names::NOTIFICATION_OVERFLOWS),
            observed: ObservedMetrics::new(registry, labels),
        }
    }

    /// Counts a client that keeps its server between transactions, for as long as the guard lives.
    pub fn pinned(&self) -> Counted {
        Counted::new(&self.pinned)
    }

    /// Counts a checkout and how long the client waited for it.
    pub fn checked_out(&self, waited: Duration) {
        self.tally.waits.record(waited);
    }

    /// How many servers a pool may have, none yet.
    pub fn servers_limit(&self) -> ServersLimit {
        ServersLimit { gauge: self.servers_limit.clone(), limit: AtomicUsize::new(0) }
    }

    /// Counts a server by its state, for as long as the guard lives.
    pub fn server(&self, state: ServerState) -> ServerCount {
        self.tally.count_server(state, 1);
        ServerCount { tally: Arc::clone(&self.tally), state }
    }
}

/// How many servers one pool may have, in a gauge that other pools of the same labels add to; dropped, none.
#[derive(Debug)]
pub struct ServersLimit {
    gauge: Gauge,
    limit: AtomicUsize,
}

impl ServersLimit {
    /// It may have so many now.
    pub fn set(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::Relaxed);
        self.gauge.increment(limit as f64 - before as f64);
    }
}

impl Drop for ServersLimit {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// One server's part in the counts by state.
#[derive(Debug)]
#[must_use = "the server is no longer counted when the guard is dropped"]
pub struct ServerCount {
    tally: Arc<Tally>,
    state: ServerState,
}

impl ServerCount {
    /// The server is in another state now.
    pub fn set(&mut self, state: ServerState) {
        if self.state != state {
            self.tally.count_server(self.state, -1);
            self.tally.count_server(state, 1);
            self.state = state;
        }
    }
}

impl Drop for ServerCount {
    fn drop(&mut self) {
        self.tally.count_server(self.state, -1);
    }
}
