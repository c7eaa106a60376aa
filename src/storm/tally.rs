//! What functions met with, counted while the storm goes on. Its size does not grow with theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::client::ClientError;
use super::report::{ErrorCount, Latency};

/// Counts of one storm.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) arrived: u64,
    pub(super) missed: u64,
    pub(super) left: u64,
    pub(super) late: Times,
    pub(super) connect: Times,
    pub(super) first_query: Times,
    pub(super) transaction: Times,
    errors: BTreeMap<String, ErrorCount>,
}

/// Durations by their distribution: to the microsecond and three digits.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            arrived: 0,
            missed: 0,
            left: 0,
            late: Times::new(),
            connect: Times::new(),
            first_query: Times::new(),
            transaction: Times::new(),
            errors: BTreeMap::new(),
        }
    }

    /// A function arrives, so much after its time.
    pub(super) fn arrived(&mut self, late: Duration) {
        self.arrived += 1;
        self.late.record(late);
    }

    /// Something failed; the first of each class is kept as an example.
    pub(super) fn failed(&mut self, error: &ClientError) {
        self.count(error.class(), || error.to_string());
    }

    /// A task of ours ended by a panic.
    pub(super) fn broken(&mut self) {
        self.count("harness", || "a task of the harness ended early".to_owned());
    }

    pub(super) fn errors(&self) -> &BTreeMap<String, ErrorCount> {
        &self.errors
    }

    fn count(&mut self, class: &str, example: impl FnOnce() -> String) {
        let known = self.errors.contains_key(class) || self.errors.len() < MAX_CLASSES;
        let class = if known { class } else { "other" };
        let entry = self.errors.entry(class.to_owned());
        let entry = entry.or_insert_with(|| ErrorCount { count: 0, example: example() });
        entry.count += 1;
    }
}

impl Times {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS);
        Self(histogram.expect("constant bounds that the histogram takes"))
    }

    pub(super) fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn summary(&self) -> Latency {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let quantile = |q: f64| millis(self.0.value_at_quantile(q));
        Latency {
            count: self.0.len(),
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: millis(self.0.max()),
        }
    }
}

/// Longer times count as this long: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// Classes of errors told apart; a hostile server could invent SQLSTATEs without end.
const MAX_CLASSES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, text: &str) -> ClientError {
        ClientError::Server { code: code.to_owned(), text: text.to_owned(), fatal: false }
    }

    #[test]
    fn errors_are_counted_by_class_with_the_first_as_example() {
        let mut tally = Tally::new();
        tally.failed(&error("53300", "first"));
        tally.failed(&error("53300", "second"));
        tally.failed(&ClientError::TimedOut);
        let counts: Vec<_> = tally.errors().iter().map(|(c, e)| (c.as_str(), e.count)).collect();
        assert_eq!(counts, [("53300", 2), ("timeout", 1)]);
        assert_eq!(tally.errors()["53300"].example, "first");
    }

    #[test]
    fn invented_classes_do_not_grow_the_tally() {
        let mut tally = Tally::new();
        for number in 10_000..20_000 {
            tally.failed(&error(&number.to_string(), ""));
        }
        assert_eq!(tally.errors().len(), MAX_CLASSES + 1);
        assert_eq!(tally.errors()["other"].count, 10_000 - MAX_CLASSES as u64);
    }

    #[test]
    fn times_are_summed_up_in_milliseconds() {
        let mut times = Times::new();
        assert!(times.summary().max_ms.abs() < f64::EPSILON);
        for millis in 1..=100 {
            times.record(Duration::from_millis(millis));
        }
        let summary = times.summary();
        for (got, wanted) in [
            (summary.p50_ms, 50.0),
            (summary.p95_ms, 95.0),
            (summary.p99_ms, 99.0),
            (summary.max_ms, 100.0),
        ] {
            assert!((got - wanted).abs() < 0.2, "{got} is not {wanted}");
        }
        times.record(Duration::MAX);
        assert!(times.summary().max_ms >= 3_599_000.0);
    }
}
