//! The load harness: many short-lived functions against one address.
//!
//! Owns: the schedule of arrivals, what simulated functions do, what is measured of them and of
//! PostgreSQL meanwhile. Knows nothing of pgweir's own state: it runs against any PostgreSQL. Invariant:
//! memory grows with the functions that are there at once, which are bounded, and not with those that
//! came and went, nor with the time.
//!
//! Functions arrive by the clock, whether or not earlier ones have left (an open loop): a server
//! that slows down gets no relief, as it would get none from real functions. Only classes of profile
//! `steady` are a closed loop.

mod access;
mod busiest;
mod classes;
mod client;
pub mod command;
mod function;
mod idle;
mod observer;
mod options;
mod plan;
mod profile;
mod progress;
mod report;
mod run;
mod sample;
mod schedule;
mod source;
mod tally;
mod times;

use thiserror::Error;

pub use self::access::{Access, Login};
pub use self::classes::ClassError;
pub use self::client::{Client, ClientError, Protocol, Reply};
pub use self::observer::{Observed, Servers};
pub use self::options::StormOptions;
pub use self::plan::{Class, Observe, Plan, PlanError};
pub use self::profile::{At, Exit, Profile};
pub use self::progress::Progress;
pub use self::report::{Arrivals, ClassReport, ErrorCount, Findings, IdleFound, Latency, Report};
pub use self::run::{run, run_and_tell};
pub use self::sample::{Point, Sample};
use crate::config::DsnError;
use crate::net::tls::TlsFileError;

/// Why a storm was not run, or not liked.
#[derive(Debug, Error)]
pub enum StormError {
    /// The connection string.
    #[error("--dsn: {0}")]
    Dsn(#[from] DsnError),
    /// The observer's connection string.
    #[error("--observe: {0}")]
    ObserveDsn(#[source] DsnError),
    /// A class that cannot be read.
    #[error("--class {number}: {error}")]
    Class {
        /// Which of them, counted from 1.
        number: usize,
        /// Why.
        #[source]
        error: ClassError,
    },
    /// The file of trusted certificates.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// What was asked for cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The system does not let as many connections be.
    #[error(
        "{wanted} idle clients need as many open files, and the system gives {room}; raise the limit \
         (ulimit -n, or LimitNOFILE= of a unit), or send the storm from several processes"
    )]
    NoRoom {
        /// Idle clients.
        wanted: u64,
        /// Those for whom there is room.
        room: usize,
    },
    /// Not even one function can log in.
    #[error("the login ahead of the storm failed: {0}")]
    Login(#[source] ClientError),
    /// Nobody can look at PostgreSQL.
    #[error("--observe: {0}")]
    Observer(#[source] ClientError),
    /// A picture cannot be drawn.
    #[error("cannot draw a picture: {0}")]
    Picture(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[source] std::io::Error),
    /// The storm was ended before its time; what it found until then was reported.
    #[error("interrupted before its end")]
    Interrupted,
    /// The storm was run and reported; its errors make it a failure.
    #[error("{errors} errors, {missed} arrivals missed, the limit passed by {exceeded_by}")]
    Unclean {
        /// Errors of all classes.
        errors: u64,
        /// Arrivals that did not happen.
        missed: u64,
        /// Connections to PostgreSQL beyond the limit.
        exceeded_by: u64,
    },
}
