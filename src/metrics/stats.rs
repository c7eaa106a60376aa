//! What a pool has done in all and lately, for the console.

use std::time::Duration;

use super::tally::Tally;
use crate::clock::Instant;

/// What one pair of database and user has done.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolStats {
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// Since pgweir began.
    pub total: Totals,
    /// In the last whole period.
    pub recent: Totals,
    /// How long that was, in seconds; 0 before the first.
    pub recent_seconds: f64,
}

/// Sums of what a pool has done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Transactions ended.
    pub transactions: u64,
    /// Query, Execute and FunctionCall messages.
    pub queries: u64,
    /// Bytes received from clients.
    pub bytes_received: u64,
    /// Bytes sent to clients.
    pub bytes_sent: u64,
    /// Times that a client got a server.
    pub checkouts: u64,
    /// Seconds from asking for a server to having one, of those.
    pub wait_seconds: f64,
    /// Times that a client gave a server back.
    pub leases: u64,
    /// Seconds from having it to giving it back, of those.
    pub lease_seconds: f64,
}

impl Totals {
    pub(super) fn of(tally: &Tally) -> Self {
        let (checkouts, wait_seconds) = tally.waits.total();
        let (leases, lease_seconds) = tally.leases.total();
        Self {
            transactions: tally.transactions.get(),
            queries: tally.queries.get(),
            bytes_received: tally.bytes_received.get(),
            bytes_sent: tally.bytes_sent.get(),
            checkouts,
            wait_seconds,
            leases,
            lease_seconds,
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            transactions: self.transactions - earlier.transactions,
            queries: self.queries - earlier.queries,
            bytes_received: self.bytes_received - earlier.bytes_received,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            checkouts: self.checkouts - earlier.checkouts,
            wait_seconds: self.wait_seconds - earlier.wait_seconds,
            leases: self.leases - earlier.leases,
            lease_seconds: self.lease_seconds - earlier.lease_seconds,
        }
    }
}

/// The last whole period of one tally, and the one that goes on.
#[derive(Debug)]
pub(super) struct Recent {
    began: Instant,
    before: Totals,
    last: Totals,
    lasted: Duration,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        let (before, last) = (Totals::default(), Totals::default());
        Self { began: now, before, last, lasted: Duration::ZERO }
    }

    /// Ends the period if it has lasted long enough.
    pub(super) fn upkeep(&mut self, tally: &Tally, now: Instant) {
        let lasted = now.saturating_duration_since(self.began);
        if lasted >= PERIOD {
            let total = Totals::of(tally);
            *self = Self { began: now, before: total, last: total.since(&self.before), lasted };
        }
    }

    pub(super) fn last(&self) -> (Totals, f64) {
        (self.last, self.lasted.as_secs_f64())
    }
}

/// Long enough for a mean, short enough to see what a change has done.
const PERIOD: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_period_is_told() {
        let (tally, mut now) = (Tally::default(), Instant::now());
        let mut recent = Recent::new(now);
        for (seconds, transactions, expected) in
            [(10, 100, (0, 0.0)), (10, 50, (150, 20.0)), (5, 7, (150, 20.0)), (15, 8, (15, 20.0))]
        {
            now += Duration::from_secs(seconds);
            tally.transactions.increment(transactions);
            recent.upkeep(&tally, now);
            let (last, lasted) = recent.last();
            assert_eq!(last.transactions, expected.0);
            assert!((lasted - expected.1).abs() < 0.001, "{lasted}");
        }
    }
}
