//! Whether one more server is worth opening (sans-IO).
//!
//! A server that returns costs nothing and a new one costs PostgreSQL a process, so a client waits if
//! one is expected back before a new one could be there. That alone would leave a pool that is too
//! small for its clients as it is for ever, each of them waiting a little. So what all have waited is
//! added up, too: once it comes to as much as opening takes, a server is opened (who rents skis until
//! the rents come to their price, and buys then, pays at most twice what is due).
//!
//! What they wait while one is being opened is no sign that one more is needed: in a burst on a cold
//! pool all wait for the first, which may do for all of them. So servers are opened one after the
//! other, unless leases last for longer than opening takes.

use std::time::Duration;

use crate::clock::Instant;

/// What a pool has seen of waiting and returning.
#[derive(Debug)]
pub(super) struct Growth {
    at: Instant,
    /// Seconds that servers were leased since the last came back.
    busy: f64,
    /// Seconds that a server is leased.
    service: f64,
    /// Seconds that clients have waited lately and that no opened server has paid for.
    owed: f64,
    /// Until then, what one is being opened for is not known to be more than it can do.
    settled: Instant,
}

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Servers that may come back.
    pub(super) leased: usize,
    /// Clients in the queue.
    pub(super) waiting: usize,
    /// Servers that are being opened.
    pub(super) opening: usize,
}

impl Growth {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, busy: 0.0, service: 0.0, owed: 0.0, settled: now }
    }

    /// To be called before the load changes.
    pub(super) fn pass(&mut self, load: Load, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let since = if load.opening > 0 { self.at.max(self.settled) } else { self.at };
        self.at = self.at.max(now);
        self.busy += passed * load.leased as f64;
        // Waits of long ago are no reason to grow now.
        self.owed *= 1.0 - (passed / MEMORY.as_secs_f64()).min(1.0);
        if load.waiting > 0 {
            let waited = now.saturating_duration_since(since).as_secs_f64();
            self.owed += waited * load.waiting as f64;
        }
    }

    /// Time that says nothing of what one more server is worth has passed.
    pub(super) fn skip(&mut self, now: Instant) {
        self.at = self.at.max(now);
    }

    /// A server came back.
    pub(super) fn on_returned(&mut self) {
        self.service += (self.busy - self.service) / 8.0;
        self.busy = 0.0;
    }

    /// Whether to open one now, for those of the load that wait and for whom none is being opened; or else
    /// when to ask again. `cost`: what opening one takes. Time must have [passed](Growth::pass).
    pub(super) fn wants(
        &mut self,
        load: Load,
        cost: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let price = cost.as_secs_f64();
        // Leases that last for longer than ever, without any coming back, are the measure then.
        let service = self.service.max(self.busy / load.leased.max(1) as f64);
        // Those that are being opened come back, too.
        let servers = load.leased + load.opening;
        let expected = service / servers.max(1) as f64 * load.waiting as f64;
        // Where leases are shorter than opening takes, the one that is being opened serves several who wait
        // now before a second could be there.
        let is_due = load.opening == 0 || service > price || price == 0.0 || now >= self.settled;
        if servers == 0 || is_due && (expected > price || self.owed >= price) {
            self.owed = 0.0;
            self.settled = now + cost * 2;
            return Ok(());
        }
        let missing = (price - self.owed).max(0.0) / load.waiting.max(1) as f64;
        let missing = Duration::try_from_secs_f64(missing).unwrap_or(MEMORY);
        let until = if load.opening > 0 { self.settled } else { now };
        Err((until.saturating_duration_since(now) + missing).max(SOON))
    }
}

/// For how long waits count.
const MEMORY: Duration = Duration::from_secs(1);

/// What is not asked sooner again.
const SOON: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_millis(5);

    impl Growth {
        fn wants_now(&mut self, load: Load, cost: Duration, now: Instant) -> Result<(), Duration> {
            self.pass(load, now);
            self.wants(load, cost, now)
        }
    }

    fn load(leased: usize, waiting: usize) -> Load {
        Load { leased, waiting, opening: 0 }
    }

    /// A pool whose one server is leased for 100 µs at a time, back to back.
    fn quick(now: Instant) -> (Growth, Instant) {
        let (mut growth, mut now) = (Growth::new(now), now);
        for _ in 0..100 {
            now += Duration::from_micros(100);
            growth.pass(load(1, 0), now);
            growth.on_returned();
        }
        (growth, now)
    }

    #[test]
    fn one_who_is_soon_served_opens_nothing() {
        let (mut growth, now) = quick(Instant::now());
        let again = growth.wants_now(load(1, 1), COST, now).unwrap_err();
        assert!(again >= Duration::from_millis(4), "{again:?}");
    }

    #[test]
    fn one_who_waits_longer_than_opening_takes_opens() {
        let (mut growth, now) = quick(Instant::now());
        assert_eq!(
            growth.wants_now(load(1, 60), COST, now),
            Ok(()),
            "60 x 100 us are more than 5 ms"
        );
        let (mut growth, now) = quick(Instant::now());
        assert!(growth.wants_now(load(1, 1), COST, now).is_err());
        let stuck = now + Duration::from_millis(6);
        assert_eq!(
            growth.wants_now(load(1, 1), COST, stuck),
            Ok(()),
            "the lease has become a long one"
        );
    }

    #[test]
    fn small_waits_add_up_and_are_forgotten() {
        let (mut growth, mut now) = quick(Instant::now());
        let mut rounds = 0;
        // Two clients take turns: one of them waits all the time.
        while growth.wants_now(load(1, 1), COST, now).is_err() {
            now += Duration::from_micros(100);
            growth.pass(load(1, 1), now);
            growth.on_returned();
            rounds += 1;
        }
        assert!((45..60).contains(&rounds), "{rounds}");
        let (mut growth, mut now) = quick(Instant::now());
        for _ in 0..1000 {
            // One wait of 100 us every half second.
            growth.pass(load(1, 1), now + Duration::from_micros(100));
            growth.on_returned();
            now += Duration::from_millis(500);
            growth.pass(load(0, 0), now);
            assert!(growth.wants_now(load(1, 1), COST, now).is_err());
        }
    }

    #[test]
    fn one_that_is_being_opened_is_given_time() {
        let start = Instant::now();
        let mut growth = Growth::new(start);
        assert_eq!(growth.wants_now(load(0, 1), COST, start), Ok(()));
        let many = Load { opening: 1, ..load(0, 100) };
        let again = growth.wants_now(many, COST, start + COST).unwrap_err();
        assert!(again >= COST, "{again:?}");
        // It is slow, or stuck.
        assert_eq!(growth.wants_now(many, COST, start + COST * 3), Ok(()));
    }

    #[test]
    fn short_leases_open_one_after_the_other_and_long_ones_at_once() {
        let (mut growth, now) = quick(Instant::now());
        let burst = load(1, 1000);
        assert_eq!(growth.wants_now(burst, COST, now), Ok(()));
        let burst = Load { opening: 1, ..burst };
        assert!(growth.wants_now(burst, COST, now).is_err(), "100 us for each of 1,000");
        // Leases of 20 ms.
        let (mut growth, mut now) = (Growth::new(now), now);
        for _ in 0..20 {
            now += Duration::from_millis(20);
            growth.pass(load(1, 0), now);
            growth.on_returned();
        }
        for opening in 0..5 {
            let burst = Load { opening, ..load(1, 20) };
            assert_eq!(growth.wants_now(burst, COST, now), Ok(()), "{opening}");
        }
    }

    #[test]
    fn waits_of_any_length_are_no_trouble_while_one_is_being_opened() {
        let (mut growth, mut now) = quick(Instant::now());
        assert_eq!(growth.wants_now(load(1, 1000), COST * 10, now), Ok(()));
        // All have waited for more than the price by then, which has become a small one.
        for _ in 0..750 {
            now += Duration::from_micros(100);
            growth.pass(load(1, 1000), now);
            growth.on_returned();
        }
        let many = Load { opening: 1, ..load(1, 1000) };
        assert!(growth.wants_now(many, COST, now).is_err(), "another may still do for them");
    }

    #[test]
    fn where_nothing_can_come_back_one_is_opened() {
        let mut growth = Growth::new(Instant::now());
        assert_eq!(growth.wants_now(load(0, 1), COST, Instant::now()), Ok(()));
    }
}
