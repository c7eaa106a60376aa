//! What is told while a storm goes on: a line a second.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::function::Work;
use super::observer::Observer;

/// Where a storm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Since it began.
    pub elapsed: Duration,
    /// Functions that came.
    pub arrived: u64,
    /// By the schedule, in all.
    pub planned: u64,
    /// Clients that are logged in.
    pub connected: u64,
    /// Functions that are not logged in yet.
    pub connecting: u64,
    /// Functions without an answer to the first message of their transaction.
    pub waiting: u64,
    /// Transactions that committed.
    pub transactions: u64,
    /// Errors of all classes.
    pub errors: u64,
    /// PostgreSQL's connections now, and how many there should be at most.
    pub servers: Option<(u64, Option<u64>)>,
}

impl Progress {
    pub(super) fn of(
        elapsed: Duration,
        planned: u64,
        works: &[Arc<Work>],
        observer: Option<(&Observer, Option<u64>)>,
    ) -> Self {
        let servers = observer.and_then(|(seen, limit)| Some((seen.now()?.all, limit)));
        let mut progress = Self { elapsed, planned, servers, ..Self::nothing() };
        for work in works {
            let tally = work.tally();
            progress.arrived += tally.arrived + tally.followers;
            progress.transactions += tally.transaction.count();
            progress.errors += tally.error_count();
            progress.connected += work.gauges.connected.now();
            progress.connecting += work.gauges.connecting.now();
            progress.waiting += work.gauges.waiting.now();
        }
        progress
    }

    fn nothing() -> Self {
        Self {
            elapsed: Duration::ZERO,
            arrived: 0,
            planned: 0,
            connected: 0,
            connecting: 0,
            waiting: 0,
            transactions: 0,
            errors: 0,
            servers: None,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arrived, planned, connected, connecting, waiting, transactions, .. } = self;
        write!(
            f,
            "{:>4} s  {arrived} of {planned} came; {connected} there, {connecting} logging in, \
             {waiting} waiting; {transactions} committed, {} errors",
            self.elapsed.as_secs(),
            self.errors
        )?;
        match self.servers {
            Some((servers, Some(limit))) => write!(f, "; {servers} servers of {limit}"),
            Some((servers, None)) => write!(f, "; {servers} servers"),
            None => Ok(()),
        }
    }
}

/// How often it is told.
pub(super) const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_storm_is() {
        let progress = Progress {
            elapsed: Duration::from_millis(3_400),
            arrived: 40,
            planned: 100,
            servers: Some((4, Some(5))),
            ..Progress::nothing()
        };
        let said = progress.to_string();
        for part in ["3 s  40 of 100 came", "0 errors; 4 servers of 5"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
