//! Names, labels and handles of what pgweir counts; knows no other module but the clock.
//!
//! Owns: the registry behind `/metrics`. Handles are looked up once, when what they count is
//! created, and passed down in structs; counting is then one atomic operation, with no look-up and
//! no lock. Invariant: the number of time series is bounded, whatever names and error codes peers
//! send ([`MAX_POOLS`], [`MAX_CODES`]), and no label carries a secret or the text of a query.
//!
//! Every metric is explained in `docs/metrics.md`.

mod class;
mod client;
mod durations;
mod errors;
mod host;
mod labels;
mod names;
mod observed;
mod pins;
mod pool;
mod stats;
mod tally;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::metrics::{Counter, Gauge, Key, Label as Pair, Metadata, Recorder};
use metrics_exporter_prometheus::{
    LabelSet, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::clock::Instant;

pub use self::class::{ClassCounts, ClassMetrics, ClassTable};
pub use self::client::ClientMetrics;
pub use self::durations::Durations;
pub use self::errors::ErrorMetrics;
pub use self::host::HostMetrics;
use self::labels::Label;
pub use self::labels::{
    Abandoned, CancelOutcome, CheckoutRefusal, Clean, CloseReason, ErrorSource, LoginResult,
    LookupResult, ServerState, Timeout, TlsHandshake,
};
pub use self::observed::ObservedMetrics;
pub use self::pins::PinMetrics;
pub use self::pool::{PoolMetrics, ServerCount, ServersLimit};
use self::stats::Recent;
pub use self::stats::{PoolStats, Totals};
use self::tally::{Sink, Tally};

/// Everything pgweir counts. Built once, in `proxy`, and passed down.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Clients, logins and cancels.
    pub clients: ClientMetrics,
    /// Errors by SQLSTATE.
    pub errors: ErrorMetrics,
    /// Classes of clients.
    pub classes: Arc<ClassTable>,
    pools: Mutex<HashMap<(String, String), Tallied>>,
}

/// What is counted under one pair of labels, and where that goes.
#[derive(Debug)]
struct Tallied {
    tally: Arc<Tally>,
    labels: LabelSet,
    sink: Sink,
    recent: Recent,
}

impl Metrics {
    /// An empty set of metrics.
    pub fn new() -> Self {
        let registry = Registry::new();
        registry.gauge(names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            clients: ClientMetrics::new(&registry),
            errors: ErrorMetrics::new(registry.clone()),
            classes: Arc::new(ClassTable::new(registry.clone())),
            pools: Mutex::default(),
            registry,
        }
    }

    /// The handles of one pool. Past [`MAX_POOLS`] pools, new ones are counted together under the
    /// labels `other`.
    pub fn pool(&self, database: &str, user: &str) -> PoolMetrics {
        let mut pools = self.pools();
        let mut key = (database.to_owned(), user.to_owned());
        if !pools.contains_key(&key) && pools.len() >= MAX_POOLS {
            key = (OTHER.to_owned(), OTHER.to_owned());
        }
        let (database, user) = key.clone();
        let labels = [("database", &*database), ("user", &*user)];
        let tallied = pools.entry(key).or_insert_with(|| Tallied {
            tally: Arc::default(),
            labels: label_set(&labels),
            sink: Sink::new(&self.registry, &labels),
            recent: Recent::new(Instant::now()),
        });
        let shared = (Arc::clone(&tallied.tally), Arc::clone(&self.classes));
        PoolMetrics::new(&self.registry, &labels, shared)
    }

    /// The handles of all pools that have no labels of their own.
    pub fn others(&self) -> PoolMetrics {
        self.pool(OTHER, OTHER)
    }

    /// The handles of one PostgreSQL host, `address` being what the configuration calls it.
    pub fn host(&self, address: &str) -> HostMetrics {
        HostMetrics::new(&self.registry, address)
    }

    /// The handles of pins, for these reasons.
    pub fn pins(&self, reasons: &[&str]) -> PinMetrics {
        PinMetrics::new(&self.registry, [names::PINS, names::PINNED_SECONDS], reasons)
    }

    /// The same of pins that transaction pooling would have made.
    pub fn observed_pins(&self, reasons: &[&str]) -> PinMetrics {
        let names = [names::OBSERVED_PINS, names::OBSERVED_PIN_SECONDS];
        PinMetrics::new(&self.registry, names, reasons)
    }

    /// All metrics in Prometheus' text format. Takes milliseconds with many pools.
    pub fn render(&self) -> String {
        self.write_tallies();
        let mut text = self.registry.handle.render();
        let pools = self.pools();
        let of = |durations: fn(&Tally) -> &Durations| {
            pools.values().map(move |pool| (&pool.labels, durations(&pool.tally)))
        };
        durations::render(&mut text, names::CHECKOUT_WAIT, of(|tally| &tally.waits));
        durations::render(&mut text, names::LEASE_TIME, of(|tally| &tally.leases));
        drop(pools);
        self.classes.render_waits(&mut text);
        text
    }

    /// Ends periods that are over. To be called every few seconds.
    pub fn upkeep(&self, now: Instant) {
        for Tallied { tally, recent, .. } in self.pools().values_mut() {
            recent.upkeep(tally, now);
        }
    }

    /// What each pool has done, those that are gone included, by database and user.
    pub fn stats(&self) -> Vec<PoolStats> {
        let each = |((database, user), tallied): (&(String, String), &Tallied)| {
            let (recent, recent_seconds) = tallied.recent.last();
            let total = Totals::of(&tallied.tally);
            let (database, user) = (database.clone(), user.clone());
            PoolStats { database, user, total, recent, recent_seconds }
        };
        let mut stats: Vec<_> = self.pools().iter().map(each).collect();
        stats.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        stats
    }

    fn write_tallies(&self) {
        for Tallied { tally, sink, .. } in self.pools().values_mut() {
            sink.write(tally);
        }
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<(String, String), Tallied>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Hands out handles by name and labels.
#[derive(Clone)]
pub(crate) struct Registry {
    recorder: std::sync::Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Registry {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        names::describe(&recorder);
        let handle = recorder.handle();
        Self { recorder: std::sync::Arc::new(recorder), handle }
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// One counter for each value of a label.
    fn counters<L: Label>(
        &self,
        name: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counters<L> {
        let each = L::ALL.iter().map(|value| {
            let mut labels = labels.to_vec();
            labels.push((L::NAME, value.text()));
            self.counter(name, &labels)
        });
        Counters { each: each.collect(), label: std::marker::PhantomData }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

/// One counter for each value of the label `L`.
#[derive(Debug, Clone)]
pub struct Counters<L> {
    each: Box<[Counter]>,
    label: std::marker::PhantomData<L>,
}

#[allow(private_bounds, reason = "the labels are a closed set of this module")]
impl<L: Label> Counters<L> {
    /// Counts one.
    pub fn count(&self, value: L) {
        if let Some(counter) = self.each.get(value.index()) {
            counter.increment(1);
        }
    }
}

/// Something counted in a gauge for as long as this guard lives.
#[derive(Debug)]
#[must_use = "what it counts is gone when the guard is dropped"]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[expect(
    clippy::default_trait_access,
    reason = "the type is of a crate that only the exporter knows"
)]
fn label_set(labels: &[(&'static str, &str)]) -> LabelSet {
    LabelSet::from_key_and_global(&key("", labels), &Default::default())
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let pair = |(name, value): &(&'static str, &str)| Pair::new(*name, (*value).to_owned());
    Key::from_parts(name, labels.iter().map(pair).collect::<Vec<_>>())
}

/// Pools with labels of their own; each has about sixty time series.
pub const MAX_POOLS: usize = 256;

/// Classes with a label of their own: twice as many as there can be at a time.
pub const MAX_CLASSES: usize = 128;

/// SQLSTATEs with a label of their own.
pub const MAX_CODES: usize = 64;

/// The label of what exceeds a bound.
const OTHER: &str = "other";

static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), ::metrics::Level::INFO, Some(module_path!()));

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        let found = text.lines().find(|l| l.starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start} in\n{text}"))
    }

    #[test]
    fn counts_come_out_with_their_labels() {
        let metrics = Metrics::new();
        let pool = metrics.pool("shop", "app");
        pool.tally.transactions.increment(2);
        pool.checked_out(Duration::from_millis(3));
        metrics.clients.logins.count(LoginResult::Accepted);
        let text = metrics.render();
        assert!(
            line(&text, "pgweir_transactions_total{")
                .ends_with("{database=\"shop\",user=\"app\"} 2")
        );
        let bucket =
            "pgweir_checkout_wait_seconds_bucket{database=\"shop\",user=\"app\",le=\"0.005\"}";
        assert!(line(&text, bucket).ends_with(" 1"));
        assert!(line(&text, "pgweir_logins_total{result=\"accepted\"}").ends_with(" 1"));
        assert!(text.contains("# HELP pgweir_transactions_total"));
    }

    #[test]
    fn guards_count_down_again() {
        let metrics = Metrics::new();
        let pool = metrics.pool("d", "u");
        let client = metrics.clients.connected();
        let mut server = pool.server(ServerState::Connecting);
        server.set(ServerState::Idle);
        let text = metrics.render();
        assert_eq!(line(&text, "pgweir_clients "), "pgweir_clients 1");
        assert!(
            line(&text, "pgweir_servers{database=\"d\",user=\"u\",state=\"idle\"}").ends_with(" 1")
        );
        drop((client, server));
        let text = metrics.render();
        assert_eq!(line(&text, "pgweir_clients "), "pgweir_clients 0");
        for state in ["idle", "connecting"] {
            let start = format!("pgweir_servers{{database=\"d\",user=\"u\",state=\"{state}\"}}");
            assert!(line(&text, &start).ends_with(" 0"), "{state}");
        }
    }

    #[test]
    fn pools_past_the_bound_are_counted_together() {
        let metrics = Metrics::new();
        for n in 0..MAX_POOLS + 3 {
            metrics.pool(&format!("d{n}"), "u").tally.queries.increment(1);
        }
        metrics.pool("d0", "u").tally.queries.increment(1);
        let text = metrics.render();
        assert!(line(&text, "pgweir_queries_total{database=\"other\"").ends_with(" 3"));
        assert!(line(&text, "pgweir_queries_total{database=\"d0\"").ends_with(" 2"));
    }

    #[test]
    fn limits_of_pools_with_the_same_labels_are_added() {
        let metrics = Metrics::new();
        let limit = |start: &str| {
            let text = metrics.render();
            line(&text, start).rsplit(' ').next().map(str::to_owned)
        };
        let one = metrics.pool("d", "u").servers_limit();
        one.set(20);
        let other = metrics.pool("d", "u").servers_limit();
        other.set(7);
        one.set(5);
        let series = "pgweir_pool_servers_limit{database=\"d\",user=\"u\"}";
        assert_eq!(limit(series).as_deref(), Some("12"));
        drop(one);
        assert_eq!(limit(series).as_deref(), Some("7"));
        assert_eq!(limit("pgweir_build_info{version=\"").as_deref(), Some("1"));
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new();
        metrics.pool("a\"b\\c\nd", "u").tally.queries.increment(1);
        assert!(metrics.render().contains(r#"database="a\"b\\c\nd""#));
    }
}
