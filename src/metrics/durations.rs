//! Durations by their size, counted without a lock and in memory of a fixed size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::Histogram;

/// Durations: how many of each size, and how long they were together.
#[derive(Debug, Default)]
pub struct Durations([Bucket; BUCKETS]);

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Durations {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.0.get(at) {
            bucket.count.fetch_add(1, Ordering::Relaxed);
            if micros > 0 {
                bucket.micros.fetch_add(micros, Ordering::Relaxed);
            }
        }
    }

    /// How many, and their sum in seconds.
    pub fn total(&self) -> (u64, f64) {
        self.0.iter().fold((0, 0.0), |(count, seconds), bucket| {
            let (more, micros) = bucket.get();
            (count + more, seconds + micros as f64 / MICROS)
        })
    }
}

impl Bucket {
    fn get(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }
}

/// Where they go when they are read: what was written already, by bucket.
#[derive(Debug)]
pub(super) struct DurationSink {
    histogram: Histogram,
    written: [(u64, u64); BUCKETS],
}

impl DurationSink {
    pub(super) fn new(histogram: Histogram) -> Self {
        Self { histogram, written: [(0, 0); BUCKETS] }
    }

    /// Brings the histogram up to date: each bucket by the mean of what it has got, so that the sum is right.
    pub(super) fn write(&mut self, durations: &Durations) {
        for (at, (bucket, written)) in durations.0.iter().zip(&mut self.written).enumerate() {
            let (count, micros) = bucket.get();
            let fresh = count - written.0;
            if fresh == 0 {
                continue;
            }
            // A count may be seen ahead of its time.
            let mean = (micros - written.1) as f64 / fresh as f64 / MICROS;
            let above = at.checked_sub(1).and_then(|at| SECONDS_BUCKETS.get(at));
            let low = above.map_or(0.0, |bound| bound + A_MOMENT);
            let high = SECONDS_BUCKETS.get(at).copied().unwrap_or(f64::MAX);
            self.histogram.record_many(mean.clamp(low, high), fresh as usize);
            *written = (count, micros);
        }
    }
}

/// Upper bounds of the buckets, in seconds: from a hand-over without waiting to twice the default of
/// `timeouts.checkout`.
pub const SECONDS_BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 120.0];

/// The same in microseconds.
const BOUNDS_MICROS: [u64; 14] = [
    100,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    120_000_000,
];

/// One more for what is longer.
const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

const MICROS: f64 = 1_000_000.0;

/// Less than what is told apart, in seconds.
const A_MOMENT: f64 = 0.000_000_1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        for (micros, seconds) in BOUNDS_MICROS.iter().zip(SECONDS_BUCKETS) {
            assert!((*micros as f64 / MICROS - seconds).abs() < A_MOMENT, "{micros}");
        }
    }

    #[test]
    fn durations_are_counted_and_summed() {
        let durations = Durations::default();
        for micros in [0, 1, 100, 101, 999_999, 500_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let counts: Vec<_> = durations.0.iter().map(|bucket| bucket.get().0).collect();
        assert_eq!(counts, [3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
        let (count, seconds) = durations.total();
        assert_eq!(count, 6);
        assert!((seconds - 501.000_201).abs() < 0.000_001, "{seconds}");
    }
}
