//! What is counted about classes of clients, over all pools. Their names are the configuration's, which may bring others
//! again and again, so that their number is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::metrics::{Counter, Gauge};
use metrics_exporter_prometheus::LabelSet;

use super::durations::{self, Durations};
use super::labels::CheckoutRefusal;
use super::{Counters, MAX_CLASSES, OTHER, Registry, names};

/// The handles of all classes.
#[derive(Debug)]
pub struct ClassTable {
    registry: Registry,
    known: Mutex<Known>,
}

type Known = HashMap<Arc<str>, Arc<ClassMetrics>>;

/// The handles of one class.
#[derive(Debug)]
pub struct ClassMetrics {
    leased: Gauge,
    waiting: Gauge,
    labels: LabelSet,
    /// How long those have waited who were queued and then got a server.
    pub waits: Durations,
    /// Waits that ended without a server.
    pub timeouts: Counter,
    /// Clients refused a server before their time was over.
    pub refusals: Counters<CheckoutRefusal>,
}

/// What a class has in one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    /// Its name.
    pub class: Arc<str>,
    /// Servers that its clients have.
    pub leased: usize,
    /// Its clients in the queue.
    pub waiting: usize,
}

impl ClassTable {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// Those of one class, to be kept by who counts often. Past [`MAX_CLASSES`], new ones are counted together as
    /// `other`.
    pub fn of(&self, class: &Arc<str>) -> Arc<ClassMetrics> {
        let mut known = self.known();
        let label = label(&known, class);
        self.handles(&mut known, label)
    }

    /// Shows what there is now, in all pools. It changes with each transaction, and is only counted when it is
    /// looked at.
    pub fn show(&self, counts: impl IntoIterator<Item = ClassCounts>) {
        let mut known = self.known();
        let mut sums: HashMap<Arc<str>, (usize, usize)> = HashMap::new();
        for ClassCounts { class, leased, waiting } in counts {
            let label = label(&known, &class);
            self.handles(&mut known, Arc::clone(&label));
            let sum = sums.entry(label).or_default();
            *sum = (sum.0 + leased, sum.1 + waiting);
        }
        for (label, metrics) in known.iter() {
            let (leased, waiting) = sums.get(label).copied().unwrap_or_default();
            metrics.leased.set(leased as f64);
            metrics.waiting.set(waiting as f64);
        }
    }

    pub(super) fn render_waits(&self, text: &mut String) {
        let known = self.known();
        let series = known.values().map(|metrics| (&metrics.labels, &metrics.waits));
        durations::render(text, names::CLASS_WAIT, series);
    }

    fn handles(&self, known: &mut Known, label: Arc<str>) -> Arc<ClassMetrics> {
        let new = |label: &Arc<str>| Arc::new(ClassMetrics::new(&self.registry, label));
        Arc::clone(known.entry(label).or_insert_with_key(new))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClassMetrics {
    fn new(registry: &Registry, class: &str) -> Self {
        let labels = [("class", class)];
        Self {
            leased: registry.gauge(names::CLASS_SERVERS, &labels),
            waiting: registry.gauge(names::CLASS_WAITING, &labels),
            labels: super::label_set(&labels),
            waits: Durations::default(),
            timeouts: registry.counter(names::CLASS_TIMEOUTS, &labels),
            refusals: registry.counters(names::CLASS_REFUSALS, &labels),
        }
    }
}

fn label(known: &Known, class: &Arc<str>) -> Arc<str> {
    if known.contains_key(class) || known.len() < MAX_CLASSES {
        Arc::clone(class)
    } else {
        OTHER.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn counts(class: &str, leased: usize, waiting: usize) -> ClassCounts {
        ClassCounts { class: class.into(), leased, waiting }
    }

    #[test]
    fn a_class_is_added_up_over_pools_and_one_that_is_gone_has_nothing() {
        let metrics = Metrics::new();
        metrics.classes.show([counts("a", 2, 1), counts("b", 3, 0), counts("a", 1, 4)]);
        let text = metrics.render();
        assert!(text.contains("pgweir_class_servers_leased{class=\"a\"} 3\n"), "{text}");
        assert!(text.contains("pgweir_class_clients_waiting{class=\"a\"} 5\n"), "{text}");
        metrics.classes.show([counts("b", 3, 0)]);
        let text = metrics.render();
        assert!(text.contains("pgweir_class_servers_leased{class=\"a\"} 0\n"), "{text}");
    }

    #[test]
    fn names_past_the_bound_are_counted_together() {
        let metrics = Metrics::new();
        for number in 0..MAX_CLASSES + 3 {
            metrics.classes.of(&format!("c{number}").into()).timeouts.increment(1);
        }
        let text = metrics.render();
        let line = "pgweir_class_checkout_timeouts_total{class=\"other\"} 3\n";
        assert!(text.contains(line), "{text}");
    }
}
