//! What is counted of pools whose clients are observed.

use ::metrics::{Counter, Gauge};

use super::{Registry, names};

/// The handles of one pool: what [`ObservedMetrics::set`] counts, now and at its highest.
#[derive(Debug, Clone)]
pub struct ObservedMetrics {
    each: [(Gauge, Gauge); 3],
    /// Numbers of sequences that transaction pooling would have lost.
    pub lost_numbers: Counter,
}

impl ObservedMetrics {
    pub(super) fn new(registry: &Registry, labels: &[(&'static str, &str); 2]) -> Self {
        let gauges = |(now, peak)| (registry.gauge(now, labels), registry.gauge(peak, labels));
        let each = [
            (names::OBSERVED_HELD, names::OBSERVED_HELD_PEAK),
            (names::OBSERVED_NEEDED, names::OBSERVED_NEEDED_PEAK),
            (names::OBSERVED_PINNED, names::OBSERVED_PINNED_PEAK),
        ];
        Self {
            each: each.map(gauges),
            lost_numbers: registry.counter(names::OBSERVED_LOST_NUMBERS, labels),
        }
    }

    /// A count is this now, by its place: servers held, servers needed, clients pinned.
    pub fn set(&self, which: usize, number: usize, highest: usize) {
        if let Some((now, peak)) = self.each.get(which) {
            now.set(number as f64);
            peak.set(highest as f64);
        }
    }
}
