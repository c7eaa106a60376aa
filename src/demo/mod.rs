//! The demonstration: a throwaway PostgreSQL, pgweir before it, and a burst of functions.
//!
//! Owns the order in which these come and go. Invariant: whatever ends it (its own end, an error,
//! Ctrl-C, SIGTERM), PostgreSQL is stopped and its folder deleted before it returns.

mod observer;
pub mod postgres;
mod show;
mod stage;

use std::io::{self, Write as _};

use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;

use self::postgres::{Embedded, EmbeddedError, Options};
use self::show::Show;
use self::stage::Stage;
use crate::config::{ConfigError, DsnError};
use crate::net::tls::TlsFileError;
use crate::proxy::StartError;
use crate::storm::{ClientError, StormError};

/// What the demonstration does.
#[derive(Debug, Clone, Args)]
pub struct DemoOptions {
    /// End after the burst, with exit code 0 if it had no error and the limit held.
    #[arg(long)]
    pub once: bool,
    /// How many simulated functions connect within a second.
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub functions: u64,
    /// How many connections to PostgreSQL they share.
    #[arg(long, default_value_t = 10, value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_servers: u16,
}

/// Why the demonstration could not be given, or did not go well.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] EmbeddedError),
    /// PostgreSQL's log cannot be read.
    #[error("cannot read PostgreSQL's log: {0}")]
    Log(#[source] io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] io::Error),
    /// The superuser's connection.
    #[error("the connection straight to PostgreSQL: {0}")]
    Observer(#[from] ClientError),
    /// A connection string of our own making.
    #[error(transparent)]
    Dsn(#[from] DsnError),
    /// Certificates, of which the demonstration has none.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// Settings of our own making.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// pgweir did not start.
    #[error("pgweir does not start: {0}")]
    Start(#[from] StartError),
    /// The proxy has no TCP address.
    #[error("pgweir listens nowhere")]
    Nowhere,
    /// The burst could not be run.
    #[error(transparent)]
    Storm(#[from] StormError),
    /// A thread of ours ended early.
    #[error("a task of the demonstration ended early: {0}")]
    Task(#[from] JoinError),
    /// Nobody reads what we say.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// Somebody ended it before the burst was over.
    #[error("interrupted before the burst was over")]
    Interrupted,
    /// It was given, and something in it is not as it should be.
    #[error("{}", .0.join("; "))]
    Failed(Vec<String>),
}

/// Gives the demonstration; returns when it is over or somebody ends it by Ctrl-C or SIGTERM.
pub async fn run(options: DemoOptions) -> Result<(), DemoError> {
    let mut ending = Ending::new().map_err(DemoError::Signals)?;
    let limit = usize::from(options.max_servers);
    say(&format!("Starting a throwaway PostgreSQL with {limit} connections for pgweir ..."))?;
    // Interrupted while it starts, it is stopped by the thread that started it.
    let postgres = tokio::select! {
        started = start_postgres(limit) => started?,
        () = ending.asked() => return Err(DemoError::Interrupted),
    };
    let given = give(&options, &postgres, &mut ending).await;
    // Waits until the processes are gone and the folder is.
    tokio::task::spawn_blocking(move || drop(postgres)).await?;
    given
}

async fn give(
    options: &DemoOptions,
    postgres: &Embedded,
    ending: &mut Ending,
) -> Result<(), DemoError> {
    let (stage, show) = tokio::select! {
        seen = perform(options, postgres) => seen?,
        () = ending.asked() => return Err(DemoError::Interrupted),
    };
    say(&show.to_string())?;
    let verdict = show.verdict();
    if !options.once {
        say(&format!("\nTry it, with any driver, until Ctrl-C:\n  psql '{}'", stage.dsn()))?;
        ending.asked().await;
    }
    tokio::select! {
        () = stage.end() => {}
        () = ending.asked() => {}
    }
    if options.once { verdict } else { Ok(()) }
}

async fn perform(options: &DemoOptions, postgres: &Embedded) -> Result<(Stage, Show), DemoError> {
    let (stage, mut observer) = Stage::build(postgres, options.max_servers).await?;
    say(&format!("pgweir serves at {}; {} functions come ...\n", stage.addr(), options.functions))?;
    let report = observer.during(stage.burst(options.functions)?).await?;
    let refused = postgres.refusals().map_err(DemoError::Log)?.len();
    let show =
        Show { report, servers: observer.seen(), limit: options.max_servers.into(), refused };
    Ok((stage, show))
}

async fn start_postgres(limit: usize) -> Result<Embedded, DemoError> {
    // A superuser's connection takes none of the reserved slots while others are free: roles
    // without extra rights are refused when fewer than the reserved would be left. The observer
    // therefore needs one on top, or pgweir would have one less than its limit.
    let options = Options { limit: Some(limit + OBSERVERS), ..Options::default() };
    let started = tokio::task::spawn_blocking(move || Embedded::start(&options)).await?;
    Ok(started?)
}

/// The signals that end a demonstration. Once it exists, they no longer kill the process.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ending {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Somebody asks for the end. Cancel safe.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Connections of the demonstration itself.
const OBSERVERS: usize = 1;

fn say(text: &str) -> Result<(), DemoError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(DemoError::Output)
}
