//! One task per client: login, then its session until it leaves.
//!
//! Owns both sockets while a server is leased. `relay` moves messages while one is, `detached` lives
//! without one, `edge` turns every error into what the client is told. Invariant: a server is never
//! given back but by [`relay`]'s rule, and a client that ends in any way leaves none behind.

mod abandon;
mod ahead;
mod alarm;
mod detached;
mod dormant;
pub mod edge;
mod failures;
pub mod guest;
mod half;
mod journal;
mod listening;
pub mod login;
mod observer;
mod opening;
mod relay;
pub mod users;
mod waiting;
mod welcome;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tracing::debug;

use crate::class::ClassId;
use crate::clock::Instant;
use crate::config::{Config, Timeouts};
use crate::ledger::Ledger;
use crate::metrics::{ErrorSource, LoginResult, Metrics, Timeout};
use crate::net::link::{Link, Traffic};
use crate::pool::{Membership, Pool};
use crate::registry::{Card, Notice, Registration};
use crate::session::settings::Settings;
use crate::session::{Session, SessionError};
use crate::wire::error::ErrorFields;
use crate::wire::frame::BadFrame;
use crate::wire::{Report, Severity, SqlState};
use ahead::Ahead;
use alarm::Alarm;
use dormant::Dormant;
use half::Half;
use journal::{Event, Line};

pub use ahead::Backlog;
pub use journal::Journal;
pub use welcome::Welcomed;

/// What all clients' tasks work with.
#[derive(Debug)]
pub struct Common {
    /// Changed by a reload.
    pub config: Arc<ArcSwap<Config>>,
    /// Counted in.
    pub metrics: Arc<Metrics>,
    /// Who is pinned.
    pub ledger: Arc<Ledger>,
    /// Pins that transaction pooling would have made.
    pub observed: Arc<Ledger>,
    /// What befalls clients.
    pub journal: Journal,
    /// What they have sent ahead.
    pub backlog: Arc<Backlog>,
}

/// What a client's task works with.
#[derive(Debug, Clone)]
pub struct Context {
    common: Arc<Common>,
    /// As of the last [`Context::refresh`].
    now: Arc<Config>,
}

impl Context {
    /// With what the configuration says now.
    pub fn new(common: Arc<Common>) -> Self {
        let now = common.config.load_full();
        Self { common, now }
    }

    /// Takes over what a reload has changed; the client is told of it by a notice, so that a look at
    /// a timeout costs nothing.
    fn refresh(&mut self) {
        self.now = self.common.config.load_full();
    }

    fn timeouts(&self) -> &Timeouts {
        &self.now.timeouts
    }
}

/// A client that is logged in.
pub struct Client {
    link: Link,
    /// What of the link's traffic is in the metrics.
    counted: Traffic,
    half: Half,
    ahead: Ahead,
    session: Session,
    /// Settings that were told when its application's name was looked for.
    shown: Settings,
    card: Arc<Card>,
    /// Decided at its login.
    class: ClassId,
    pool: Arc<Pool>,
    registration: Registration,
    /// Its place among those who listen by the pool's server.
    membership: Option<Membership>,
    context: Context,
    alarm: Alarm,
    /// When the client was last heard of, or its transaction last moved.
    since: Instant,
    /// It has said nothing for so long that its buffers were given back.
    rests: bool,
    draining: bool,
    /// Servers in a row that did not take the client's settings though others had.
    refusals: u8,
}

/// How a session ends.
#[derive(Debug, Error)]
pub enum Ending {
    /// The client said goodbye or closed its connection.
    #[error("the client left")]
    Left,
    /// The client's connection failed.
    #[error("the client's connection failed: {0}")]
    Lost(#[from] io::Error),
    /// The client sent what no client may send.
    #[error("the client broke the protocol: {0}")]
    BadFrame(#[from] BadFrame),
    /// The server's connection failed or it broke the protocol.
    #[error("the server was lost: {0}")]
    ServerLost(ServerLoss),
    /// pgweir ends it, and says why.
    #[error("ended: {}", .0.message)]
    Ended(Box<Report>),
    /// The same inside a message of the server, where nothing can be said.
    #[error("cut off: {}", .0.message)]
    Cut(Box<Report>),
    /// The server ended the session with a FATAL error, which the client has.
    #[error("the server ended the session: {0}")]
    ServerFatal(Fatal),
}

/// How a server was lost.
#[derive(Debug, Error)]
pub enum ServerLoss {
    /// Its connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// It did not take the client's settings in time.
    #[error("it did not answer in time")]
    Silent,
    /// It, and others in its place, were lost before they had the client's settings, so that nothing of the client's ran.
    #[error("it was lost before it had the client's settings")]
    Unready,
    /// It sent what no server may send.
    #[error("{0}")]
    BadFrame(#[from] BadFrame),
    /// It is out of step.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Part of a message of its own had been relayed when it was lost.
    #[error("it was cut off inside a message")]
    InsideMessage,
}

/// What a server has said that ended the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal(Box<Report>);

impl Fatal {
    fn new(fields: &ErrorFields<'_>) -> Self {
        let unknown = || Report::fatal(SqlState::INTERNAL, "an error without an SQLSTATE");
        Self(Box::new(Report::quoting(Severity::Fatal, fields).unwrap_or_else(unknown)))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.code.text(), self.0.message.escape_debug())
    }
}

impl ServerLoss {
    /// Whether it is its connection that is lost, and no fault of what was said.
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed | Self::Silent | Self::InsideMessage)
    }

    /// How many of the tries it costs that a client has until a server has taken its settings; `None` if another would
    /// do the same. Each that is silent is waited for.
    fn tries(&self) -> Option<u8> {
        match self {
            Self::Io(_) | Self::Closed => Some(1),
            Self::Silent => Some(3),
            _ => None,
        }
    }
}

impl Ending {
    /// What it is where a server was to take the client's settings.
    fn before_settings(self) -> Self {
        match self {
            Self::ServerLost(loss) if loss.tries().is_some() => {
                Self::ServerLost(ServerLoss::Unready)
            }
            other => other,
        }
    }

    /// What it counts as where it ends a login.
    pub fn at_login(&self) -> LoginResult {
        match self {
            Self::Left | Self::Lost(_) => LoginResult::Gone,
            Self::BadFrame(_) => LoginResult::Protocol,
            Self::ServerLost(_) => LoginResult::ServerFailed,
            Self::Ended(report) | Self::Cut(report) | Self::ServerFatal(Fatal(report)) => {
                result_of(report.code)
            }
        }
    }

    /// Whether an administrator ends it, or a drain.
    fn is_termination(&self) -> bool {
        matches!(self, Self::Ended(report) | Self::Cut(report) if **report == edge::draining())
    }

    /// What the client is told, where it is pgweir that ends it.
    fn report(&self) -> Option<Report> {
        match self {
            Self::Left | Self::Lost(_) | Self::ServerFatal(_) => None,
            Self::BadFrame(error) => edge::bad_frame(*error),
            Self::ServerLost(loss) => Some(edge::server_lost(loss)),
            Self::Ended(report) | Self::Cut(report) => Some((**report).clone()),
        }
    }

    /// The same where the client has part of a message of the server.
    fn inside_message(self) -> Self {
        match self {
            Self::Ended(report) => Self::Cut(report),
            Self::BadFrame(error) => match edge::bad_frame(error) {
                Some(report) => Self::Cut(Box::new(report)),
                None => self,
            },
            Self::Left
            | Self::Lost(_)
            | Self::ServerLost(_)
            | Self::Cut(_)
            | Self::ServerFatal(_) => self,
        }
    }
}

impl Client {
    /// Serves a client until it leaves, and tells it why where pgweir ends it. What it needs while it is awake is
    /// in a box, which is gone while it sleeps.
    pub async fn serve(self: Box<Self>) {
        let mut awake = Box::pin(self.stay_awake(Ok(None)));
        loop {
            let mut dormant = match awake.await {
                Ok(dormant) => dormant,
                Err(Gone) => return,
            };
            let told = dormant.disturbed().await;
            awake = Box::pin(dormant.wake().stay_awake(told));
        }
    }

    /// Until it sleeps or ends. `told` is what it was woken for.
    async fn stay_awake(
        mut self: Box<Self>,
        told: io::Result<Option<Notice>>,
    ) -> Result<Dormant, Gone> {
        match self.work(told).await {
            Ok(()) => Ok(self.sleep()),
            Err(ending) => {
                self.tell(Event::Ended, &ending);
                self.say_goodbye(&ending).await;
                let (who, ending) = (&self.card.who, ending.to_string());
                debug!(id = who.id, user = &*who.user, ending, "a client has gone");
                Err(Gone)
            }
        }
    }

    async fn work(&mut self, told: io::Result<Option<Notice>>) -> Result<(), Ending> {
        if let Some(notice) = told? {
            self.on_idle_notice(notice)?;
        }
        while let Some(lease) = self.detached().await? {
            self.attached(lease).await?;
        }
        Ok(())
    }

    /// Its time is over.
    fn times_out(&self, timeout: Timeout) -> Ending {
        self.context.common.metrics.clients.timeouts.count(timeout);
        Ending::Ended(Box::new(edge::timed_out(timeout)))
    }

    /// Writes down how it was ended, or why its login was. Who drains ends everybody.
    fn tell(&self, event: Event, ending: &Ending) {
        let is_drain = |report: &Report| [edge::draining(), edge::shutting_down()].contains(report);
        let told = match ending {
            // Its server was ended by an administrator of PostgreSQL, in the same words.
            Ending::ServerFatal(Fatal(report)) => Some((**report).clone()),
            ending => ending.report().filter(|report| !is_drain(report)),
        };
        if let Some(report) = told {
            self.tell_of(event, &report, self.registration.lasted(Instant::now()));
        }
    }

    fn tell_of(&self, event: Event, report: &Report, lasted: Duration) {
        let Self { card, session, .. } = self;
        // At its login, no server has told it yet.
        let told = session.application_name();
        let wanted = session.desired().get("application_name").unwrap_or_default();
        let application = if told.is_empty() { wanted } else { told };
        let line = Line { event, who: &card.who, application, report, lasted };
        self.context.common.journal.tell(&line, Instant::now());
    }

    /// A FATAL is written where the client can still read it: never inside a message of the server.
    async fn say_goodbye(&mut self, ending: &Ending) {
        let inside =
            matches!(ending, Ending::ServerLost(ServerLoss::InsideMessage) | Ending::Cut(_));
        if let Some(report) = ending.report().filter(|_| !inside) {
            self.context.common.metrics.errors.count(ErrorSource::Pgweir, report.code.as_bytes());
            report.encode(&mut self.link.output);
        }
        // Who has left, and has all that it asked for, waits for nothing; TLS is told that it ends.
        let left = matches!(ending, Ending::Left) && self.link.is_through();
        let gone = left || matches!(ending, Ending::Lost(_));
        let silent = gone && !self.link.stream().is_tls();
        if !silent {
            // The client may not read; what it is told is worth a short wait and no more.
            let _ = tokio::time::timeout(GOODBYE, self.link.close()).await;
        }
        self.count_bytes();
    }

    /// What its application calls itself may have changed with its last transaction.
    fn show_application(&mut self) {
        let told = self.session.told();
        if !told.is_shared_with(&self.shown) {
            self.shown = told.clone();
            if let Some(name) = self.session.application() {
                self.registration.set_application(name);
            }
        }
    }

    fn count_bytes(&mut self) {
        let now = self.link.traffic();
        let before = std::mem::replace(&mut self.counted, now);
        let tally = &self.pool.metrics().tally;
        tally.bytes_received.increment(now.read - before.read);
        tally.bytes_sent.increment(now.written - before.written);
    }
}

/// A client has ended, and was told why.
struct Gone;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a login came to that was refused by this code: settings of its own that PostgreSQL does not take
/// (`errcodes-appendix.html`, classes 22 and 42), or a server that it did not get in time.
fn result_of(code: SqlState) -> LoginResult {
    match code.as_bytes() {
        [b'2' | b'4', b'2', ..] => LoginResult::Refused,
        _ if code == SqlState::TOO_MANY_CONNECTIONS => LoginResult::NoServer,
        _ => LoginResult::ServerFailed,
    }
}
