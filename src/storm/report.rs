//! What a storm found, for people (`Display`) and for programs (serde).

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::schedule::Schedule;
use super::tally::Tally;

/// What a storm found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Arrivals.
    pub arrivals: Arrivals,
    /// Functions that logged in.
    pub connects: u64,
    /// Transactions that committed.
    pub transactions: u64,
    /// Functions that came and went, with or without errors.
    pub left: u64,
    /// Errors by SQLSTATE, and by class where PostgreSQL said nothing: `connect` (no connection),
    /// `login`, `io` (a connection broke), `protocol`, `timeout`.
    pub errors: BTreeMap<String, ErrorCount>,
    /// From the first arrival to the end of the last function.
    pub seconds: f64,
    /// TCP, TLS and login.
    pub connect: Latency,
    /// From sending the first statement to the end of the first query's answer.
    pub first_query: Latency,
    /// From sending BEGIN to the answer to COMMIT.
    pub transaction: Latency,
}

/// How functions arrived. A harness that cannot keep its own schedule measures itself.
#[derive(Debug, Clone, Serialize)]
pub struct Arrivals {
    /// By the schedule.
    pub planned: u64,
    /// Those that came.
    pub achieved: u64,
    /// Those that did not come, since as many as the harness may hold were there.
    pub missed: u64,
    /// Per second, by the schedule; none when all are due at once.
    pub planned_per_second: Option<f64>,
    /// Per second, as they came.
    pub achieved_per_second: f64,
    /// How long after their time they came.
    pub late: Latency,
}

/// Errors of one class.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorCount {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
}

/// A distribution of durations, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Clock readings of one storm, in seconds after its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// The last function came.
    pub(super) arrived: f64,
    /// The last function left.
    pub(super) ended: f64,
}

impl Report {
    pub(super) fn new(tally: &Tally, schedule: Schedule, clock: Clock) -> Self {
        Self {
            arrivals: Arrivals::new(tally, schedule, clock),
            connects: tally.connect.count(),
            transactions: tally.transaction.count(),
            left: tally.left,
            errors: tally.errors().clone(),
            seconds: clock.ended,
            connect: tally.connect.summary(),
            first_query: tally.first_query.summary(),
            transaction: tally.transaction.summary(),
        }
    }

    /// How many errors there were, of all classes.
    pub fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Whether every planned function came, and none met an error.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.arrivals.missed == 0
    }
}

impl Arrivals {
    fn new(tally: &Tally, schedule: Schedule, clock: Clock) -> Self {
        let rate = schedule.rate();
        // Each arrival stands for the time up to the next one, the last one's included.
        let span = clock.arrived + rate.map_or(0.0, |rate| 1.0 / rate);
        Self {
            planned: schedule.total(),
            achieved: tally.arrived,
            missed: tally.missed,
            planned_per_second: rate,
            achieved_per_second: tally.arrived as f64 / span.max(SHORTEST_SPAN),
            late: tally.late.summary(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "arrivals      {}", self.arrivals)?;
        writeln!(f, "connects      {}", self.connects)?;
        writeln!(f, "transactions  {}", self.transactions)?;
        match self.error_count() {
            0 => writeln!(f, "errors        none")?,
            count => writeln!(f, "errors        {count}")?,
        }
        for (class, ErrorCount { count, example }) in &self.errors {
            writeln!(f, "  {class:<10}  {count:>7}  first: {example}")?;
        }
        let [p50, p95, p99, max] = ["p50", "p95", "p99", "max"];
        writeln!(f, "\nmilliseconds  {p50:>9} {p95:>9} {p99:>9} {max:>9}")?;
        writeln!(f, "connect       {}", self.connect)?;
        writeln!(f, "first query   {}", self.first_query)?;
        write!(f, "transaction   {}", self.transaction)
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { planned, achieved, missed, achieved_per_second, late, .. } = self;
        write!(f, "{achieved} of {planned} planned, {achieved_per_second:.1} per second")?;
        match self.planned_per_second {
            Some(rate) => write!(f, " of {rate:.1} planned")?,
            None => write!(f, ", all due at once")?,
        }
        if *missed > 0 {
            write!(f, "; {missed} missed at the bound of concurrency")?;
        }
        write!(f, "; p99 {:.1} ms late", late.p99_ms)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return write!(f, "{0:>9} {0:>9} {0:>9} {0:>9}", "-");
        }
        let Self { p50_ms, p95_ms, p99_ms, max_ms, .. } = self;
        write!(f, "{p50_ms:>9.2} {p95_ms:>9.2} {p99_ms:>9.2} {max_ms:>9.2}")
    }
}

/// Keeps the rate of a storm of one function finite, in seconds.
const SHORTEST_SPAN: f64 = 0.000_001;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::client::ClientError;
    use super::*;

    fn report(tally: &Tally, ramp: Duration) -> Report {
        let schedule = Schedule::new(10, ramp, Duration::ZERO);
        let clock = Clock { arrived: 0.9, ended: 1.5 };
        Report::new(tally, schedule, clock)
    }

    fn tally() -> Tally {
        let mut tally = Tally::new();
        for _ in 0..10 {
            tally.arrived(Duration::from_millis(1));
            tally.connect.record(Duration::from_millis(7));
        }
        tally
    }

    #[test]
    fn a_schedule_that_was_kept_achieves_its_rate() {
        let report = report(&tally(), Duration::from_secs(1));
        assert!((report.arrivals.achieved_per_second - 10.0).abs() < 0.001);
        assert_eq!(report.arrivals.planned_per_second, Some(10.0));
        assert!(report.is_clean());
    }

    #[test]
    fn errors_and_missed_arrivals_are_told() {
        let mut tally = tally();
        tally.failed(&ClientError::TimedOut);
        tally.missed = 2;
        let report = report(&tally, Duration::from_secs(1));
        assert!(!report.is_clean());
        let text = report.to_string();
        for part in ["timeout", "first: no answer in time", "2 missed", "7.00", "  -"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn programs_read_numbers_even_where_there_is_no_rate() {
        let report = report(&tally(), Duration::ZERO);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["arrivals"]["achieved"], 10);
        assert!(json["arrivals"]["planned_per_second"].is_null());
        assert!(json["connect"]["p99_ms"].is_number() && json["errors"].is_object());
    }
}
