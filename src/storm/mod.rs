//! The load harness: many short-lived functions against one address.
//!
//! Owns: the schedule of arrivals, what a simulated function does, and what is measured. Knows
//! nothing of pgweir's own state: it runs against any PostgreSQL. Invariant: memory grows with the
//! functions that are there at once, which are bounded, and not with those that came and went.
//!
//! Functions arrive by the clock, whether or not earlier ones have left (an open loop): a server
//! that slows down gets no relief, as it would get none from real functions.

mod access;
mod client;
pub mod command;
mod function;
mod report;
mod schedule;
mod tally;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use self::access::Access;
pub use self::client::{Client, ClientError, Protocol, Reply};
pub use self::command::StormOptions;
use self::function::Work;
use self::report::Clock;
pub use self::report::{Arrivals, ErrorCount, Latency, Report};
use self::schedule::Schedule;
use self::tally::Tally;
use crate::config::{Dsn, DsnError};
use crate::net::tls::TlsFileError;

/// What a storm consists of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where and as whom functions log in.
    pub dsn: Dsn,
    /// How many arrive during the ramp.
    pub functions: u64,
    /// Over which time; zero = all at once.
    pub ramp: Duration,
    /// If longer than the ramp, functions go on arriving at its rate until this is over.
    pub duration: Duration,
    /// Transactions of each function.
    pub transactions_per_function: u64,
    /// What stands between BEGIN and COMMIT.
    pub query: String,
    /// How statements are sent.
    pub protocol: Protocol,
    /// Functions there at once, at most; those that arrive beyond it are counted as missed.
    pub concurrency: usize,
    /// Given to a login, and to each statement, before it counts as failed.
    pub timeout: Duration,
}

/// Why a storm was not run, or not liked.
#[derive(Debug, Error)]
pub enum StormError {
    /// The connection string.
    #[error("--dsn: {0}")]
    Dsn(#[from] DsnError),
    /// The file of trusted certificates.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// A rate without an end.
    #[error("a duration of {0:?} needs a ramp: without one all functions arrive at once")]
    NoRamp(Duration),
    /// Not even one function can log in.
    #[error("the login ahead of the storm failed: {0}")]
    Login(#[source] ClientError),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[source] std::io::Error),
    /// The storm was run and reported; its errors make it a failure.
    #[error("{errors} errors, {missed} arrivals missed")]
    Unclean {
        /// Errors of all classes.
        errors: u64,
        /// Arrivals that did not happen.
        missed: u64,
    },
}

impl Plan {
    /// 300 functions over a second, with one transaction of `SELECT 1` each.
    pub fn new(dsn: Dsn) -> Self {
        Self {
            dsn,
            functions: 300,
            ramp: Duration::from_secs(1),
            duration: Duration::ZERO,
            transactions_per_function: 1,
            query: "SELECT 1".to_owned(),
            protocol: Protocol::Simple,
            concurrency: DEFAULT_CONCURRENCY,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

/// Runs a storm to its end. One login ahead of it, which is not counted, tells a wrong connection
/// string early and derives the password's keys. Dropped midway, all functions are gone.
pub async fn run(plan: &Plan) -> Result<Report, StormError> {
    if plan.ramp.is_zero() && !plan.duration.is_zero() {
        return Err(StormError::NoRamp(plan.duration));
    }
    let schedule = Schedule::new(plan.functions, plan.ramp, plan.duration);
    let work = Arc::new(prepare(plan).await?);
    let start = Instant::now();
    let mut there = arrivals(&work, schedule, plan.concurrency, start).await;
    let arrived = start.elapsed().as_secs_f64();
    while let Some(ended) = there.join_next().await {
        if ended.is_err() {
            work.tally().broken();
        }
    }
    let clock = Clock { arrived, ended: start.elapsed().as_secs_f64() };
    Ok(Report::new(&work.tally(), schedule, clock))
}

async fn prepare(plan: &Plan) -> Result<Work, StormError> {
    let access = Access::new(&plan.dsn)?;
    let scout = access.connect(plan.timeout).await;
    let left = scout.map_err(StormError::Login)?.leave(plan.timeout).await;
    left.map_err(StormError::Login)?;
    Ok(Work {
        access,
        transactions: plan.transactions_per_function,
        query: plan.query.clone(),
        protocol: plan.protocol,
        timeout: plan.timeout,
        tally: Mutex::new(Tally::new()),
    })
}

/// Starts functions by the schedule; returns those that are still there when the last has come.
async fn arrivals(
    work: &Arc<Work>,
    schedule: Schedule,
    concurrency: usize,
    start: Instant,
) -> JoinSet<()> {
    let mut there = JoinSet::new();
    for index in 0..schedule.total() {
        let due = start + schedule.at(index);
        sleep_until(due).await;
        while let Some(ended) = there.try_join_next() {
            if ended.is_err() {
                work.tally().broken();
            }
        }
        if there.len() >= concurrency {
            work.tally().missed += 1;
            continue;
        }
        work.tally().arrived(due.elapsed());
        there.spawn(function::live(Arc::clone(work)));
    }
    there
}

/// Memory and file descriptors of some tens of megabytes.
const DEFAULT_CONCURRENCY: usize = 5_000;

/// Longer than pgweir lets a client wait for a server, so that its own error is what is counted.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(150);
