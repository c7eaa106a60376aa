//! Durations by their distribution, in memory of a fixed size.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::Latency;

/// Durations by their distribution: to the microsecond and three digits.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    pub(super) fn new() -> Self {
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

    #[expect(clippy::expect_used, reason = "all have the same bounds")]
    pub(super) fn add(&mut self, other: &Self) {
        if !other.0.is_empty() {
            self.0.add(&other.0).expect("histograms of the same bounds");
        }
    }

    pub(super) fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.reset();
        }
    }

    pub(super) fn summary(&self) -> Latency {
        if self.0.is_empty() {
            return Latency::default();
        }
        let millis = |micros: u64| micros as f64 / 1000.0;
        let quantile = |q: f64| millis(self.0.value_at_quantile(q));
        Latency {
            count: self.0.len(),
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            p99_9_ms: quantile(0.999),
            max_ms: millis(self.0.max()),
        }
    }
}

/// Longer times count as this long: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_in_milliseconds() {
        let mut times = Times::new();
        assert!(times.summary().max_ms.abs() < f64::EPSILON);
        for millis in 1..=1000 {
            times.record(Duration::from_millis(millis));
        }
        let summary = times.summary();
        for (got, wanted) in [
            (summary.p50_ms, 500.0),
            (summary.p95_ms, 950.0),
            (summary.p99_ms, 990.0),
            (summary.p99_9_ms, 999.0),
            (summary.max_ms, 1000.0),
        ] {
            assert!((got - wanted).abs() < 2.0, "{got} is not {wanted}");
        }
        times.record(Duration::MAX);
        assert!(times.summary().max_ms >= 3_599_000.0);
    }

    #[test]
    fn times_of_several_can_be_put_together_and_begun_anew() {
        let (mut all, mut one) = (Times::new(), Times::new());
        one.record(Duration::from_millis(5));
        all.add(&one);
        all.add(&one);
        assert_eq!((all.count(), one.count()), (2, 1));
        all.clear();
        assert_eq!(all.count(), 0);
    }
}
