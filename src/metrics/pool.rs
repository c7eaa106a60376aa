//! What is counted about one pool.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};

use super::labels::{Abandoned, Clean, CloseReason, Label, ServerState};
use super::{Counted, Counters, Registry, names};

/// The handles of one pool (database, user).
#[derive(Debug, Clone)]
pub struct PoolMetrics {
    servers: Arc<[Gauge]>,
    waiting: Gauge,
    pinned: Gauge,
    checkouts: Counter,
    checkout_wait: Histogram,
    /// Waits that ended without a server.
    pub checkout_timeouts: Counter,
    /// Servers opened.
    pub opened: Counter,
    /// Servers that could not be opened.
    pub failed: Counter,
    /// Servers closed.
    pub closed: Counters<CloseReason>,
    /// Closed servers whose EOF did not come in time.
    pub close_timeouts: Counter,
    /// Transactions ended: each ReadyForQuery that says idle.
    pub transactions: Counter,
    /// Query, Execute and FunctionCall messages.
    pub queries: Counter,
    /// Bytes received from clients.
    pub bytes_received: Counter,
    /// Bytes sent to clients.
    pub bytes_sent: Counter,
    /// Servers cleaned.
    pub cleans: Counters<Clean>,
    /// Clients gone while they held a server.
    pub abandoned: Counters<Abandoned>,
    /// Parse messages answered without PostgreSQL.
    pub elided_parses: Counter,
}

impl PoolMetrics {
    pub(super) fn new(registry: &Registry, database: &str, user: &str) -> Self {
        let labels = [("database", database), ("user", user)];
        let counter = |name| registry.counter(name, &labels);
        Self {
            servers: servers(registry, &labels),
            waiting: registry.gauge(names::CLIENTS_WAITING, &labels),
            pinned: registry.gauge(names::CLIENTS_PINNED, &labels),
            checkouts: counter(names::CHECKOUTS),
            checkout_wait: registry.histogram(names::CHECKOUT_WAIT, &labels),
            checkout_timeouts: counter(names::CHECKOUT_TIMEOUTS),
            opened: counter(names::SERVERS_OPENED),
            failed: counter(names::SERVERS_FAILED),
            closed: registry.counters(names::SERVERS_CLOSED, &labels),
            close_timeouts: counter(names::CLOSE_TIMEOUTS),
            transactions: counter(names::TRANSACTIONS),
            queries: counter(names::QUERIES),
            bytes_received: counter(names::BYTES_RECEIVED),
            bytes_sent: counter(names::BYTES_SENT),
            cleans: registry.counters(names::CLEANS, &labels),
            abandoned: registry.counters(names::ABANDONED, &labels),
            elided_parses: counter(names::ELIDED_PARSES),
        }
    }

    /// Counts a client that waits for a server, for as long as the guard lives.
    pub fn waiting(&self) -> Counted {
        Counted::new(&self.waiting)
    }

    /// Counts a client that keeps its server between transactions, for as long as the guard lives.
    pub fn pinned(&self) -> Counted {
        Counted::new(&self.pinned)
    }

    /// Counts a checkout and how long the client waited for it.
    pub fn checked_out(&self, waited: Duration) {
        self.checkouts.increment(1);
        self.checkout_wait.record(waited.as_secs_f64());
    }

    /// Counts a server by its state, for as long as the guard lives.
    pub fn server(&self, state: ServerState) -> ServerCount {
        let count = ServerCount { gauges: Arc::clone(&self.servers), state };
        count.add(1.0);
        count
    }
}

/// One server's part in the gauges by state.
#[derive(Debug)]
#[must_use = "the server is no longer counted when the guard is dropped"]
pub struct ServerCount {
    gauges: Arc<[Gauge]>,
    state: ServerState,
}

impl ServerCount {
    /// The server is in another state now.
    pub fn set(&mut self, state: ServerState) {
        if self.state != state {
            self.add(-1.0);
            self.state = state;
            self.add(1.0);
        }
    }

    fn add(&self, change: f64) {
        if let Some(gauge) = self.gauges.get(self.state.index()) {
            gauge.increment(change);
        }
    }
}

impl Drop for ServerCount {
    fn drop(&mut self) {
        self.add(-1.0);
    }
}

fn servers(registry: &Registry, labels: &[(&'static str, &str); 2]) -> Arc<[Gauge]> {
    let [database, user] = *labels;
    let gauge = |state: &ServerState| {
        registry.gauge(names::SERVERS, &[database, user, (ServerState::NAME, state.text())])
    };
    ServerState::ALL.iter().map(gauge).collect()
}
