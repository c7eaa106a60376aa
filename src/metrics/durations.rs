//! Durations by their size, counted without a lock and in memory of a fixed size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};

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

/// Writes one histogram in Prometheus' text format, from durations by their labels.
///
/// The registry's own histograms take each value by itself, when it is counted and when it is read.
pub(super) fn render<'a>(
    text: &mut String,
    (name, help): (&str, &str),
    series: impl IntoIterator<Item = (&'a LabelSet, &'a Durations)>,
) {
    write_help_line(text, name, None, None, help);
    write_type_line(text, name, None, None, "histogram");
    for (labels, durations) in series {
        let (mut count, mut seconds) = (0, 0.0);
        for (at, bucket) in durations.0.iter().enumerate() {
            let (more, micros) = bucket.get();
            count += more;
            seconds += micros as f64 / MICROS;
            let bound = SECONDS_BUCKETS.get(at).map_or("+Inf".to_owned(), f64::to_string);
            write_metric_line(text, name, Some("bucket"), labels, Some(("le", bound)), count, None);
        }
        write_metric_line::<&str, _>(text, name, Some("sum"), labels, None, seconds, None);
        write_metric_line::<&str, _>(text, name, Some("count"), labels, None, count, None);
    }
    text.push('\n');
}

/// Upper bounds of the buckets, in seconds: from a hand-over without waiting to twice the default of
/// `timeouts.checkout`.
pub(super) const SECONDS_BUCKETS: [f64; 14] =
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        for (micros, seconds) in BOUNDS_MICROS.iter().zip(SECONDS_BUCKETS) {
            assert!((*micros as f64 / MICROS - seconds).abs() < 0.000_000_1, "{micros}");
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
