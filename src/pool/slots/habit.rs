//! Whether a class comes back soon for the servers that it gives back (sans-IO).
//!
//! A client that runs one transaction after the other is away for a moment between two. Where others always wait, its
//! server is theirs in that moment, and when it is back it waits for one of them to be done, though its class has used
//! less than theirs: for all of a lease where leases began together. So a server is kept for a moment for a class
//! that is mostly back within it, as disks wait for the next read of one who has just read (S. Iyer, P. Druschel,
//! "Anticipatory scheduling", SOSP 2001).

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;

/// What a class has done so far.
#[derive(Debug)]
pub(super) struct Habit {
    at: Instant,
    /// Seconds that servers were leased since the last came back.
    busy: f64,
    /// Seconds that a server is leased.
    lease: f64,
    /// Servers that came back and that nobody has come for since, oldest first.
    returns: VecDeque<Instant>,
    /// How likely it is that somebody comes within the moment.
    chance: f64,
}

impl Habit {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, busy: 0.0, lease: 0.0, returns: VecDeque::new(), chance: 0.0 }
    }

    /// To be called before so many leased servers become others.
    pub(super) fn pass(&mut self, leased: usize, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.busy += passed * leased as f64;
        let moment = self.moment();
        let is_over = |since: &Instant| now.saturating_duration_since(*since) > moment;
        while self.returns.front().is_some_and(is_over) {
            self.returns.pop_front();
            self.learn(0.0);
        }
    }

    /// A server came back. Time must have [passed](Habit::pass).
    pub(super) fn on_returned(&mut self, now: Instant) {
        self.lease += (self.busy - self.lease) / 8.0;
        self.busy = 0.0;
        if self.returns.len() < MOST {
            self.returns.push_back(now);
        }
    }

    /// Somebody wants a server. Time must have [passed](Habit::pass).
    pub(super) fn on_wanted(&mut self) {
        if self.returns.pop_front().is_some() {
            self.learn(1.0);
        }
    }

    fn learn(&mut self, came: f64) {
        self.chance += (came - self.chance) / 16.0;
    }

    /// How long others may wait for this class: no longer than it keeps a server, so that no more than half of what it
    /// takes from them is idle.
    fn moment(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease).map_or(LONGEST, |lease| lease.min(LONGEST))
    }

    /// How long a server that it has given back is to be kept for it, if it is.
    pub(super) fn keeps(&self) -> Option<Duration> {
        let moment = self.moment();
        (self.chance >= LIKELY && moment >= SHORTEST).then_some(moment)
    }
}

/// Times at which servers came back that are remembered.
const MOST: usize = 64;

const LIKELY: f64 = 0.75;

/// What a timer tells apart. Leases that are shorter are soon over anyway.
const SHORTEST: Duration = Duration::from_millis(1);

/// A client that is away for longer is at work of its own.
const LONGEST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One client that keeps a server for `lease`, and is away for `away` after each.
    fn habit(lease: Duration, away: Duration) -> Option<Duration> {
        let mut now = Instant::now();
        let mut habit = Habit::new(now);
        for _ in 0..100 {
            habit.pass(0, now);
            habit.on_wanted();
            now += lease;
            habit.pass(1, now);
            habit.on_returned(now);
            now += away;
        }
        habit.keeps()
    }

    #[test]
    fn who_is_soon_back_has_it_kept_for_no_longer_than_it_keeps_one() {
        let about = |kept: Duration| kept.as_secs_f64() * 1_000.0;
        assert!((about(habit(MS * 3, MS).unwrap()) - 3.0).abs() < 0.01);
        assert_eq!(habit(MS * 100, MS), Some(LONGEST));
        assert_eq!(habit(MS * 3, MS * 4), None, "away for longer");
        assert_eq!(habit(MS * 100, MS * 6), None, "away for too long");
        assert_eq!(habit(MS / 2, MS / 4), None, "too short to be worth it");
    }
}
