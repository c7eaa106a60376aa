//! How many servers transaction pooling would have needed, where clients keep theirs.
//!
//! Plain data; time is an argument. A guard counts one client for as long as it lives.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Instant;
use crate::metrics::ObservedMetrics;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Clients that have a server.
    Held,
    /// Those that would have one: in a transaction, being asked about, or pinned.
    Needed,
    /// Those that would be pinned.
    Pinned,
}

/// Counts of one pool.
#[derive(Debug, Default)]
pub struct Needs {
    metrics: OnceLock<ObservedMetrics>,
    levels: Mutex<[Level; 3]>,
}

/// A number now and at its highest, and how long it was what.
#[derive(Debug, Default)]
struct Level {
    now: usize,
    peak: usize,
    /// By number; as long as the peak, which no pool's limit lets grow further.
    lasted: Vec<Duration>,
    since: Option<Instant>,
}

/// What [`Needs`] shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number now.
    pub now: usize,
    /// The highest so far.
    pub peak: usize,
    /// So many were enough for 99% of the time in which there was any.
    pub mostly: usize,
}

/// One client's part in a count; dropped, it is counted no longer.
#[derive(Debug)]
pub struct Counted {
    needs: Arc<Needs>,
    what: What,
}

impl Needs {
    /// Shows what is counted from now on.
    pub fn show(&self, metrics: &ObservedMetrics) {
        self.metrics.get_or_init(|| metrics.clone());
    }

    /// Counts one more.
    pub fn count(self: &Arc<Self>, what: What, now: Instant) -> Counted {
        self.change(what, now, |number| number + 1);
        Counted { needs: Arc::clone(self), what }
    }

    /// A count as it is now.
    pub fn seen(&self, what: What, now: Instant) -> Seen {
        self.with(what, |level| level.seen(now))
    }

    fn change(&self, what: What, now: Instant, change: impl FnOnce(usize) -> usize) {
        self.with(what, |level| {
            level.set(change(level.now), now);
            if let Some(metrics) = self.metrics.get() {
                metrics.set(what as usize, level.now, level.peak);
            }
        });
    }

    fn with<T>(&self, what: What, work: impl FnOnce(&mut Level) -> T) -> T {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let [held, needed, pinned] = &mut *levels;
        work(match what {
            What::Held => held,
            What::Needed => needed,
            What::Pinned => pinned,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.needs.change(self.what, Instant::now(), |number| number.saturating_sub(1));
    }
}

impl Level {
    fn set(&mut self, number: usize, now: Instant) {
        self.pass(now);
        self.now = number;
        self.peak = self.peak.max(number);
    }

    /// Time has passed at the number of now.
    fn pass(&mut self, now: Instant) {
        let passed = self.since.map_or(Duration::ZERO, |s| now.saturating_duration_since(s));
        self.since = Some(now);
        if self.lasted.len() <= self.now {
            self.lasted.resize(self.now + 1, Duration::ZERO);
        }
        if let Some(lasted) = self.lasted.get_mut(self.now) {
            *lasted += passed;
        }
    }

    fn seen(&mut self, now: Instant) -> Seen {
        self.pass(now);
        let busy: Duration = self.lasted.iter().skip(1).sum();
        let mut left = busy.mul_f64(1.0 - MOSTLY);
        let above = self.lasted.iter().enumerate().skip(1).rev();
        // From the top, as much time as may be without enough of them.
        let most = above.map(|(number, lasted)| (number, *lasted)).find(|(_, lasted)| {
            let short = *lasted > left;
            left = left.saturating_sub(*lasted);
            short
        });
        Seen { now: self.now, peak: self.peak, mostly: most.map_or(0, |(number, _)| number) }
    }
}

/// The share of [`Seen::mostly`].
const MOSTLY: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_kept_and_most_of_the_time_needs_less() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut level = Level::default();
        assert_eq!(level.seen(start), Seen::default());
        // Idle time counts for nothing.
        level.set(1, after(100_000));
        level.set(2, after(100_900));
        level.set(5, after(100_995));
        level.set(0, after(101_000));
        assert_eq!(level.seen(after(900_000)), Seen { now: 0, peak: 5, mostly: 2 });
        level.set(5, after(900_000));
        level.set(4, after(900_010));
        assert_eq!(level.seen(after(900_010)), Seen { now: 4, peak: 5, mostly: 5 });
    }

    #[test]
    fn what_is_alike_needs_its_number() {
        let start = Instant::now();
        let mut level = Level::default();
        level.set(3, start);
        assert_eq!(level.seen(start + Duration::from_secs(1)).mostly, 3);
    }

    #[test]
    fn a_guard_counts_until_it_is_dropped() {
        let needs = Arc::new(Needs::default());
        let one = needs.count(What::Needed, Instant::now());
        let two = needs.count(What::Needed, Instant::now());
        drop(one);
        let seen = needs.seen(What::Needed, Instant::now());
        assert_eq!((seen.now, seen.peak), (1, 2));
        drop(two);
        assert_eq!(needs.seen(What::Needed, Instant::now()).now, 0);
        assert_eq!(needs.seen(What::Held, Instant::now()).peak, 0);
    }
}
