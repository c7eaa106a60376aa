//! The most arrivals per second, by looks at counters that only grow (sans-IO).

use std::time::Duration;

use tokio::time::Instant;

/// Of each of some counters, the most that it grew in a second.
#[derive(Debug)]
pub(super) struct Busiest {
    last: Instant,
    counters: Vec<Counter>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    seen: u64,
    most: f64,
}

impl Busiest {
    /// Of so many counters, all at 0.
    pub(super) fn new(now: Instant, counters: usize) -> Self {
        Self { last: now, counters: vec![Counter::default(); counters] }
    }

    /// When to look next.
    pub(super) fn due(&self) -> Instant {
        self.last + SECOND
    }

    /// The counters as they are now. What is shorter than a second counts as one.
    pub(super) fn look(&mut self, now: Instant, counts: impl Iterator<Item = u64>) {
        let span = now.saturating_duration_since(self.last).max(SECOND).as_secs_f64();
        self.last = now;
        for (counter, count) in self.counters.iter_mut().zip(counts) {
            let grown = count.saturating_sub(counter.seen) as f64;
            *counter = Counter { seen: count, most: counter.most.max(grown / span) };
        }
    }

    /// Per second, in the order of the counters.
    pub(super) fn most(&self) -> Vec<f64> {
        self.counters.iter().map(|counter| counter.most).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_found_however_long_the_storm() {
        let mut now = Instant::now();
        let mut busiest = Busiest::new(now, 2);
        // Seconds, and both counters at their end.
        for (seconds, first, second) in
            [(1.0, 10, 0), (1.0, 510, 1), (1.0, 520, 2), (600.0, 12_520, 3), (0.25, 12_530, 50)]
        {
            now += Duration::from_secs_f64(seconds);
            busiest.look(now, [first, second].into_iter());
        }
        assert_eq!(busiest.due(), now + SECOND);
        let most = busiest.most();
        assert!((most[0] - 500.0).abs() < 0.001 && (most[1] - 47.0).abs() < 0.001, "{most:?}");
    }
}
