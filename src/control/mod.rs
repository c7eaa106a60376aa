//! The control plane of one database: what pgweir itself asks of PostgreSQL.
//!
//! Owns: a small pool of connections that log in as a user of pgweir's own, and the look-up of
//! users over them. Invariants: nothing a client sent is ever set on these connections, and only
//! the user's name is sent over them, as a bind parameter; each connection holds a slot of its
//! host from before it is opened until the server's EOF was read.

mod connect;
mod frames;
mod guarded;
mod lent;
mod upkeep;
pub mod users;

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, PoolError, QueueMode, TimeoutType, Timeouts};
use tokio_postgres::error::SqlState;

pub use self::connect::{ControlManager, ControlTarget};
pub use self::users::Users;
use crate::host::{Failure, Full, Host};
use crate::net::ConnectError;
use crate::net::tls::TlsError;

/// A connection of the control plane.
pub type Connection = managed::Object<ControlManager>;

/// The control plane of one database. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pool: managed::Pool<ControlManager>,
}

impl Control {
    /// Opens nothing yet. Must be called on a runtime, where the task lives that closes idle
    /// connections.
    pub fn new(target: ControlTarget) -> Self {
        // The wait for a slot of the host and the phases of a login have times of their own.
        let wait = Some(target.slot_wait.saturating_add(target.connect));
        let pool = managed::Pool::builder(ControlManager::new(target))
            .max_size(MAX_CONNECTIONS)
            .queue_mode(QueueMode::Lifo)
            .runtime(managed::reexports::Runtime::Tokio1)
            .timeouts(Timeouts { wait, create: None, recycle: None })
            .build()
            .unwrap_or_else(|managed::BuildError::NoRuntimeSpecified| {
                unreachable!("it is given above")
            });
        tokio::spawn(upkeep::run(pool.weak(), pool.manager().wake()));
        Self { pool }
    }

    /// A connection, opened if none is idle. Cancel safe.
    pub async fn connection(&self) -> Result<Connection, ControlError> {
        self.pool.get().await.map_err(ControlError::from)
    }

    /// How long an answer is worth waiting for.
    fn patience(&self) -> Duration {
        self.pool.manager().patience()
    }

    fn host(&self) -> &Host {
        self.pool.manager().host()
    }

    /// Closes the idle connections, and those in use when they are given back.
    pub fn close(&self) {
        self.pool.close();
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// Why the control plane could not answer. Never the client's fault: what it asks for is unknown
/// then, not refused. Shared by all who wait for one answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// No slot of the host became free in time.
    #[error("no connection for the control plane: {0}")]
    Full(#[from] Full),
    /// All control connections stayed busy.
    #[error("all connections of the control plane are busy")]
    Busy,
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// TLS could not be prepared.
    #[error("no TLS for the control plane: {0}")]
    Tls(Arc<TlsError>),
    /// The server did not let the control user in, or broke off.
    #[error("the control user cannot log in: {}", text(.0))]
    Login(#[source] Arc<tokio_postgres::Error>),
    /// A phase took too long.
    #[error("the database server did not answer in time while {0}")]
    TimedOut(Step),
    /// A query failed.
    #[error("a query of the control plane failed: {}", text(.0))]
    Query(#[source] Arc<tokio_postgres::Error>),
    /// `auth.query` does not return what it should.
    #[error("auth.query returned {0}")]
    Shape(Shape),
    /// pgweir is shutting down.
    #[error("the control plane is closed")]
    Closed,
}

impl ControlError {
    /// What was wrong with TLS, if that was it.
    pub fn tls(&self) -> Option<&TlsError> {
        match self {
            Self::Tls(error) => Some(error),
            Self::Login(error) => std::error::Error::source(&**error)?.downcast_ref(),
            _ => None,
        }
    }

    /// What it tells of the host, apart from the control user.
    fn of_host(&self) -> Option<Failure> {
        match self {
            Self::Connect(error) if matches!(**error, ConnectError::TimedOut { .. }) => {
                Some(Failure::Slow)
            }
            Self::TimedOut(Step::LoggingIn) => Some(Failure::Slow),
            Self::Connect(_) => Some(Failure::Away),
            Self::Login(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                Some(Failure::Full)
            }
            Self::Login(error) => is_lost(error).then_some(Failure::Away),
            _ => None,
        }
    }

    /// PostgreSQL is there and denies the control user what the query reads
    /// (`errcodes-appendix.html`, 42501).
    fn is_denied(&self) -> bool {
        let Self::Query(error) = self else { return false };
        error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// The encoding of PostgreSQL's database has no such character (`errcodes-appendix.html`, 22P05 and 22021).
    fn is_untranslatable(&self) -> bool {
        let Self::Query(error) = self else { return false };
        let codes = [&SqlState::UNTRANSLATABLE_CHARACTER, &SqlState::CHARACTER_NOT_IN_REPERTOIRE];
        error.code().is_some_and(|code| codes.contains(&code))
    }

    /// Passes by itself: PostgreSQL is starting, restarting or not reachable for a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Login(error) | Self::Query(error) => is_lost(error),
            Self::Full(_) | Self::Busy | Self::TimedOut(_) => false,
            Self::Tls(_) | Self::Shape(_) | Self::Closed => false,
        }
    }
}

/// The connection was lost, and no answer: closed, or ended by the server's operator
/// (`errcodes-appendix.html`, 57P01 and following).
fn is_lost(error: &tokio_postgres::Error) -> bool {
    if let Some(error) = error.as_db_error() {
        return error.code().code().starts_with("57P");
    }
    let source = std::error::Error::source(error).and_then(<dyn std::error::Error>::downcast_ref);
    // What `guarded` refuses, it refuses again.
    let is_lost = |source: &std::io::Error| source.kind() != std::io::ErrorKind::PermissionDenied;
    error.is_closed() || source.is_some_and(is_lost)
}

/// What the control plane was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its turn to connect.
    Waiting,
    /// TLS and login.
    LoggingIn,
    /// The rows of a query.
    Asking,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "connections to it are opened one after the other",
            Self::LoggingIn => "logging in",
            Self::Asking => "answering a query",
        })
    }
}

/// What is wrong with the result of `auth.query`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Fewer than the two columns it must have.
    Columns(usize),
    /// More than one row for a user.
    Rows(usize),
    /// A column that cannot be read as what it stands for.
    Type {
        /// Counted from one.
        column: usize,
    },
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Columns(n) => write!(f, "{n} columns; name and secret are needed"),
            Self::Rows(n) => write!(f, "{n} rows for one user"),
            Self::Type { column } => write!(
                f,
                "a column {column} of another type than expected: \
                 name text, secret text, valid_until timestamptz, can_login bool"
            ),
        }
    }
}

impl From<PoolError<ControlError>> for ControlError {
    fn from(error: PoolError<ControlError>) -> Self {
        match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            PoolError::Timeout(TimeoutType::Create) => Self::TimedOut(Step::LoggingIn),
            PoolError::Timeout(TimeoutType::Recycle) => Self::TimedOut(Step::Asking),
            PoolError::Closed => Self::Closed,
            // No hook is set, and a runtime is.
            PoolError::PostCreateHook(_) | PoolError::NoRuntimeSpecified => Self::Closed,
        }
    }
}

/// tokio-postgres' own text for a server's error is `db error`.
fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// Connections of one control plane: look-ups are short, and identical ones are made once.
const MAX_CONNECTIONS: usize = 2;

/// Idle time after which a control connection is closed and its slot given back.
const IDLE: Duration = Duration::from_secs(30);

/// Idle time after which it is closed when somebody waits for a slot of the host: long enough for
/// a burst of logins not to open a connection for each.
const IDLE_WHEN_WANTED: Duration = Duration::from_secs(1);
