//! What is counted with every transaction.
//!
//! A handle of the registry is memory of its own, and counting by it takes two atomic operations. What
//! each transaction counts stands together instead, and goes to the registry when that is read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{Counter, Gauge};

use super::durations::Durations;
use super::labels::{Label, ServerState};
use super::{Registry, names};

/// Counts of one pool, in a few lines of memory.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Tally {
    /// Transactions ended: each ReadyForQuery that says idle.
    pub transactions: Count,
    /// Query, Execute and FunctionCall messages.
    pub queries: Count,
    /// Bytes received from clients.
    pub bytes_received: Count,
    /// Bytes sent to clients.
    pub bytes_sent: Count,
    /// Parse messages answered without PostgreSQL.
    pub elided_parses: Count,
    /// From asking for a server to having one.
    pub waits: Durations,
    /// From having one to giving it back.
    pub leases: Durations,
    waiting: AtomicI64,
    /// In microseconds, until it is read.
    longest_wait: AtomicU64,
    servers: [AtomicI64; SERVER_STATES],
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// Counts a client that waits for a server, for as long as the guard lives.
    pub fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Somebody has waited for so long, and waits. Of several, the longest is shown next.
    pub fn note_wait(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.longest_wait.fetch_max(micros, Ordering::Relaxed);
    }

    /// One more server, or one less, is in a state.
    pub(super) fn count_server(&self, state: ServerState, change: i64) {
        if let Some(count) = self.servers.get(state.index()) {
            count.fetch_add(change, Ordering::Relaxed);
        }
    }
}

/// A client that waits for a server, counted for as long as this guard lives.
#[derive(Debug)]
#[must_use = "what it counts is gone when the guard is dropped"]
pub struct Waiting<'a>(&'a Tally);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many states of a server there are.
const SERVER_STATES: usize = <ServerState as Label>::ALL.len();

/// Where the counts of one tally go.
#[derive(Debug)]
pub(super) struct Sink {
    transactions: Counter,
    queries: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    elided_parses: Counter,
    checkouts: Counter,
    waiting: Gauge,
    longest_wait: Gauge,
    servers: Box<[Gauge]>,
}

impl Sink {
    pub(super) fn new(registry: &Registry, labels: &[(&'static str, &str); 2]) -> Self {
        let [database, user] = *labels;
        let counter = |name| registry.counter(name, labels);
        let gauge = |state: &ServerState| {
            registry.gauge(names::SERVERS, &[database, user, (ServerState::NAME, state.text())])
        };
        Self {
            transactions: counter(names::TRANSACTIONS),
            queries: counter(names::QUERIES),
            bytes_received: counter(names::BYTES_RECEIVED),
            bytes_sent: counter(names::BYTES_SENT),
            elided_parses: counter(names::ELIDED_PARSES),
            checkouts: counter(names::CHECKOUTS),
            waiting: registry.gauge(names::CLIENTS_WAITING, labels),
            longest_wait: registry.gauge(names::LONGEST_WAIT, labels),
            servers: ServerState::ALL.iter().map(gauge).collect(),
        }
    }

    /// Brings the registry up to date.
    pub(super) fn write(&mut self, tally: &Tally) {
        self.transactions.absolute(tally.transactions.get());
        self.queries.absolute(tally.queries.get());
        self.bytes_received.absolute(tally.bytes_received.get());
        self.bytes_sent.absolute(tally.bytes_sent.get());
        self.elided_parses.absolute(tally.elided_parses.get());
        self.checkouts.absolute(tally.waits.total().0);
        self.waiting.set(tally.waiting.load(Ordering::Relaxed) as f64);
        let longest = Duration::from_micros(tally.longest_wait.swap(0, Ordering::Relaxed));
        self.longest_wait.set(longest.as_secs_f64());
        for (gauge, count) in self.servers.iter().zip(&tally.servers) {
            gauge.set(count.load(Ordering::Relaxed) as f64);
        }
    }
}
