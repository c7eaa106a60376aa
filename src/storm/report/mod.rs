//! What a storm found, for people (`Display`, HTML) and for programs (serde).

mod chart;
mod fairness;
pub mod html;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::access::Login;
use super::function::Work;
use super::observer::Observed;
use super::profile::Profile;
use super::sample::Point;
use super::schedule::Schedule;
use super::tally::Tally;

/// What a storm found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// It was ended before its time: what is here is of the storm up to then.
    pub interrupted: bool,
    /// Of all classes together.
    #[serde(flatten)]
    pub total: Findings,
    /// Of each class.
    pub classes: Vec<ClassReport>,
    /// Jain's index of the classes' goodput per function: 1 if all get as much, 1/n if one of n gets
    /// all. None with less than two classes.
    pub fairness: Option<f64>,
    /// Jain's index of the classes' goodput, however many functions each has.
    pub fairness_between_classes: Option<f64>,
    /// What PostgreSQL had, if it was looked at.
    pub observed: Option<Observed>,
    /// The storm over time.
    pub series: Vec<Point>,
}

/// What one class found.
#[derive(Debug, Clone, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Its profile.
    pub profile: Profile,
    /// How many come during the ramp, or are there at a time.
    pub functions: u64,
    /// How they logged in.
    pub login: Option<Login>,
    /// Transactions that committed, per second and function.
    pub goodput_per_function: f64,
    /// What it found.
    #[serde(flatten)]
    pub found: Findings,
}

/// What functions met with.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// Arrivals.
    pub arrivals: Arrivals,
    /// Functions that logged in.
    pub connects: u64,
    /// Transactions that committed.
    pub transactions: u64,
    /// Functions that came and went, with or without errors.
    pub left: u64,
    /// Functions that stopped for a time.
    pub frozen: u64,
    /// Those of them whose next message was answered without an error.
    pub thawed: u64,
    /// Functions that were gone without a Terminate.
    pub abandoned: u64,
    /// Clients that were only there.
    pub idle: IdleFound,
    /// Errors by SQLSTATE, and by class where PostgreSQL said nothing: `connect` (no connection),
    /// `login`, `io` (a connection broke), `protocol`, `timeout`.
    pub errors: BTreeMap<String, ErrorCount>,
    /// From the first arrival to the end of the last function.
    pub seconds: f64,
    /// Transactions that committed, per second.
    pub goodput: f64,
    /// TCP, TLS and login.
    pub connect: Latency,
    /// From sending the first message of a transaction to its answer.
    pub wait: Latency,
    /// From sending the first statement to the end of the first query's answer.
    pub first_query: Latency,
    /// From sending BEGIN to the answer to COMMIT, without the time that the function itself let pass.
    pub transaction: Latency,
}

/// How functions arrived. A harness that cannot keep its own schedule measures itself.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Arrivals {
    /// By the schedule.
    pub planned: u64,
    /// Those that came.
    pub achieved: u64,
    /// Those that did not come, since as many as the harness may hold were there.
    pub missed: u64,
    /// Those that came in place of one that left; they are in no schedule.
    pub followers: u64,
    /// Per second, by the schedule; none when all are due at once, and of several classes together.
    pub planned_per_second: Option<f64>,
    /// Per second, as they came by the schedule.
    pub achieved_per_second: f64,
    /// The most in one second, followers included.
    pub peak_per_second: f64,
    /// How long after their time they came.
    pub late: Latency,
}

/// Clients that were only there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct IdleFound {
    /// How many were to be there.
    pub planned: u64,
    /// How many logged in.
    pub connected: u64,
    /// How many were still there in the end, and got an answer.
    pub answered: u64,
}

/// Errors of one class.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorCount {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
    /// How many said what, numbers aside: of one SQLSTATE there may be several reasons.
    pub texts: BTreeMap<String, u64>,
}

/// A distribution of durations, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 of 100 took no longer.
    pub p95_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p99_9_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Clock readings of one class, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// The class began, after the storm.
    pub(super) start: f64,
    /// The last function came, after the class began.
    pub(super) arrived: f64,
    /// The last function left, after the class began.
    pub(super) ended: f64,
}

/// A storm over time.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// What there was at regular moments.
    pub(super) points: Vec<Point>,
    /// The most arrivals per second, of each class and behind them of all together.
    pub(super) busiest: Vec<f64>,
}

impl Report {
    pub(super) fn new(
        works: &[Arc<Work>],
        clocks: &[Clock],
        series: Series,
        observed: Option<Observed>,
    ) -> Self {
        let mut classes = Vec::new();
        let mut all = Tally::new();
        for (number, (work, clock)) in works.iter().zip(clocks).enumerate() {
            all.add(&work.tally());
            let peak = series.busiest.get(number).copied().unwrap_or_default();
            classes.push(ClassReport::new(work, *clock, peak));
        }
        let peak = series.busiest.last().copied().unwrap_or_default();
        let total = total(&all, &classes, clocks, peak);
        let index = |share: fn(&ClassReport) -> f64| {
            let active = classes.iter().filter(|class| class.functions > 0);
            fairness::jain(&active.map(share).collect::<Vec<_>>())
        };
        Self {
            interrupted: false,
            total,
            fairness: index(|class| class.goodput_per_function),
            fairness_between_classes: index(|class| class.found.goodput),
            classes,
            observed,
            series: series.points,
        }
    }

    /// How many errors there were, of all classes.
    pub fn error_count(&self) -> u64 {
        self.total.error_count()
    }

    /// By how much the limit was passed, if one was watched.
    pub fn exceeded_by(&self) -> u64 {
        self.observed.as_ref().map_or(0, |observed| observed.exceeded_by)
    }

    /// Whether it was not interrupted, every planned function came, none met an error, and the limit was seen to hold.
    pub fn is_clean(&self) -> bool {
        !self.interrupted
            && self.total.errors.is_empty()
            && self.total.arrivals.missed == 0
            && self.exceeded_by() == 0
            && !self.is_blind()
    }

    /// Whether there was a limit to be watched, and work, and not one connection was ever seen.
    fn is_blind(&self) -> bool {
        let blind = |observed: &Observed| observed.limit.is_some() && observed.most == 0;
        self.total.transactions > 0 && self.observed.as_ref().is_some_and(blind)
    }
}

impl ClassReport {
    fn new(work: &Work, clock: Clock, peak: f64) -> Self {
        let tally = work.tally();
        let arrivals = Arrivals::new(&tally, Schedule::of(&work.class), clock.arrived, peak);
        let found = Findings::new(&tally, arrivals, work.class.idle, clock.ended);
        Self {
            name: work.class.name.clone(),
            profile: work.class.profile,
            functions: work.class.functions,
            login: work.access.login(),
            goodput_per_function: found.goodput / work.class.functions.max(1) as f64,
            found,
        }
    }
}

/// What all classes found together. Their schedules do not add up to one with a rate.
fn total(all: &Tally, classes: &[ClassReport], clocks: &[Clock], peak: f64) -> Findings {
    let last = |end: fn(&Clock) -> f64| clocks.iter().map(end).fold(0.0, f64::max);
    let arrivals = match classes {
        [only] => only.found.arrivals.clone(),
        _ => Arrivals {
            planned: classes.iter().map(|class| class.found.arrivals.planned).sum(),
            achieved: all.arrived,
            missed: all.missed,
            followers: all.followers,
            planned_per_second: None,
            achieved_per_second: per_second(all.arrived, last(|clock| clock.start + clock.arrived)),
            peak_per_second: peak,
            late: all.late.summary(),
        },
    };
    let idle = classes.iter().map(|class| class.found.idle.planned).sum();
    Findings::new(all, arrivals, idle, last(|clock| clock.start + clock.ended))
}

impl Findings {
    fn new(tally: &Tally, arrivals: Arrivals, idle: u64, seconds: f64) -> Self {
        let transactions = tally.transaction.count();
        Self {
            arrivals,
            connects: tally.connect.count(),
            transactions,
            left: tally.left,
            frozen: tally.frozen,
            thawed: tally.thawed,
            abandoned: tally.abandoned,
            idle: IdleFound {
                planned: idle,
                connected: tally.idle.connected,
                answered: tally.idle.answered,
            },
            errors: tally.errors().clone(),
            seconds,
            goodput: per_second(transactions, seconds),
            connect: tally.connect.summary(),
            wait: tally.wait.summary(),
            first_query: tally.first_query.summary(),
            transaction: tally.transaction.summary(),
        }
    }

    /// How many errors there were.
    pub fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }
}

impl Arrivals {
    fn new(tally: &Tally, schedule: Schedule, arrived: f64, peak: f64) -> Self {
        // Each arrival stands for the time up to the next one, the last one's included.
        let span = arrived + schedule.rest().as_secs_f64();
        Self {
            planned: schedule.total(),
            achieved: tally.arrived,
            missed: tally.missed,
            followers: tally.followers,
            planned_per_second: schedule.rate(),
            achieved_per_second: per_second(tally.arrived, span),
            peak_per_second: peak,
            late: tally.late.summary(),
        }
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(SHORTEST_SPAN)
}

/// Keeps the rate of a storm of one function finite, in seconds.
const SHORTEST_SPAN: f64 = 0.000_001;

#[cfg(test)]
mod tests;
