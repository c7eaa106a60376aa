//! The storm over time: what there was at regular moments, in bounded number.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::function::Work;
use super::observer::{Observer, Servers};
use super::report::Latency;
use super::tally::Recent;

/// What there was at one moment, and since the one before.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Seconds since the storm began.
    pub at: f64,
    /// Seconds since the point before.
    pub span: f64,
    /// All classes together.
    pub all: Sample,
    /// Each class, in their order; none if there is but one.
    pub classes: Vec<Sample>,
    /// The most that PostgreSQL had since the point before.
    pub servers: Option<Servers>,
}

/// What there was of some functions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Not logged in yet.
    pub connecting: u64,
    /// Logged in, idle clients too.
    pub connected: u64,
    /// Without an answer to the first message of their transaction.
    pub waiting: u64,
    /// Came since the point before.
    pub arrived: u64,
    /// Errors since the point before.
    pub errors: u64,
    /// Waits that ended since then.
    pub wait: Latency,
    /// Transactions that committed since then.
    pub transaction: Latency,
}

/// Takes the points.
#[derive(Debug)]
pub(super) struct Sampler {
    began: Instant,
    last: Instant,
    interval: Duration,
    points: Vec<Point>,
    /// Those of one class at a time, and of all.
    scratch: Recent,
}

impl Sampler {
    /// For a storm that is expected to last so long.
    pub(super) fn new(began: Instant, expected: Duration) -> Self {
        let interval = (expected / POINTS_AT_FIRST).max(SHORTEST_INTERVAL);
        Self { began, last: began, interval, points: Vec::new(), scratch: Recent::new() }
    }

    /// When the next point is due. The longer a storm goes on beyond what was expected, the fewer.
    pub(super) fn due(&self) -> Instant {
        let doublings = self.points.len() as u32 / POINTS_AT_FIRST;
        self.last + self.interval * 2_u32.saturating_pow(doublings.min(LAST_DOUBLING))
    }

    /// Takes a point.
    pub(super) fn take(&mut self, works: &[Arc<Work>], observer: Option<&Observer>) {
        let now = Instant::now();
        let classes: Vec<_> = works.iter().map(|work| self.sample(work)).collect();
        let all = self.all(&classes);
        self.points.push(Point {
            at: (now - self.began).as_secs_f64(),
            span: (now - self.last).as_secs_f64(),
            all,
            classes: if works.len() > 1 { classes } else { Vec::new() },
            servers: observer.and_then(Observer::take),
        });
        self.last = now;
    }

    pub(super) fn into_points(self) -> Vec<Point> {
        self.points
    }

    fn sample(&mut self, work: &Work) -> Sample {
        let mut tally = work.tally();
        let recent = &mut tally.recent;
        self.scratch.add(recent);
        let sample = Sample {
            connecting: work.gauges.connecting.now(),
            connected: work.gauges.connected.now(),
            waiting: work.gauges.waiting.now(),
            arrived: recent.arrived,
            errors: recent.errors,
            wait: recent.wait.summary(),
            transaction: recent.transaction.summary(),
        };
        recent.clear();
        sample
    }

    fn all(&mut self, classes: &[Sample]) -> Sample {
        let sum = |part: fn(&Sample) -> u64| classes.iter().map(part).sum();
        let sample = Sample {
            connecting: sum(|class| class.connecting),
            connected: sum(|class| class.connected),
            waiting: sum(|class| class.waiting),
            arrived: self.scratch.arrived,
            errors: self.scratch.errors,
            wait: self.scratch.wait.summary(),
            transaction: self.scratch.transaction.summary(),
        };
        self.scratch.clear();
        sample
    }
}

/// Points before their distance is doubled.
const POINTS_AT_FIRST: u32 = 300;

/// Doubled so often, a year has some 3,000 points.
const LAST_DOUBLING: u32 = 20;

/// What is shorter tells of the timer.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_become_fewer_where_a_storm_outlasts_its_schedule() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut sampler = Sampler::new(now, second * 600);
        let mut late = now;
        for _ in 0..3_000 {
            sampler.take(&[], None);
            late = sampler.due();
        }
        assert_eq!(Sampler::new(now, second).due(), now + second / 10);
        assert_eq!(Sampler::new(now, second * 600).due(), now + second * 2);
        assert!(late > now + second * 2 * 1_000);
        assert_eq!(sampler.into_points().len(), 3_000);
    }
}
