//! What is counted about pins.

use ::metrics::Counter;

use super::Registry;

/// Counters of each reason, by its place in the list that they were made from.
#[derive(Debug)]
pub struct PinMetrics {
    each: Box<[(Counter, Counter)]>,
}

impl PinMetrics {
    pub(super) fn new(registry: &Registry, names: [&'static str; 2], reasons: &[&str]) -> Self {
        let [pins, seconds] = names;
        let counters = |reason: &&str| {
            let labels = [("reason", *reason)];
            (registry.counter(pins, &labels), registry.counter(seconds, &labels))
        };
        Self { each: reasons.iter().map(counters).collect() }
    }

    /// A pin has begun.
    pub fn count(&self, reason: usize) {
        if let Some((pins, _)) = self.each.get(reason) {
            pins.increment(1);
        }
    }

    /// All pins of this reason together have lasted so many seconds.
    pub fn lasted(&self, reason: usize, seconds: u64) {
        if let Some((_, counter)) = self.each.get(reason) {
            counter.absolute(seconds);
        }
    }
}
