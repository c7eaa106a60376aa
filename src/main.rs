//! The command line: flags, configuration, run, exit code.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use pgweir::config::{Config, ConfigError, Environment, Flags, Loaded, LogConfig, Source, render};
use pgweir::demo::{self, DemoOptions};
use pgweir::proxy::{self, SetLogFilter};
use pgweir::storm::{self, StormOptions};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Log lines that wait for a slow reader of stderr; more are dropped, since clients come first.
const LOG_LINES: usize = 16_384;
/// Something failed while running.
const FAILED: u8 = 1;
/// Bad flags, environment or file; clap uses the same.
const BAD_USAGE: u8 = 2;

/// A PostgreSQL proxy that multiplexes the transactions of many short-lived clients onto a small,
/// bounded pool of server connections.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Settings come from flags, then PGWEIR_... environment variables, then the file, then \
                  defaults.\nExit codes: 0 all went well, 1 a failure while running, 2 bad flags or \
                  configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients until SIGTERM; SIGHUP reads the configuration again.
    Serve(Flags),
    /// Check the configuration and print the settings as they hold, without secrets.
    Check(CheckOptions),
    /// Start a throwaway PostgreSQL with pgweir before it and send a burst of functions through.
    Demo(DemoOptions),
    /// Send a load of many short-lived functions to an address and report what happened.
    Storm(Box<StormOptions>),
}

#[derive(clap::Args)]
struct CheckOptions {
    #[command(flatten)]
    flags: Flags,
    /// Log in to PostgreSQL once for each database and user that there is something to log in with for, and say
    /// what came of it, in lines that begin with #. Exit code 1 if a login fails.
    #[arg(long)]
    connect: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(flags) => serve(flags),
        Command::Check(options) => check(options),
        Command::Demo(options) => run_demo(options),
        Command::Storm(options) => run_storm(*options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgweir: {}", told(&error));
            let is_config = error.chain().any(<dyn std::error::Error>::is::<ConfigError>);
            ExitCode::from(if is_config { BAD_USAGE } else { FAILED })
        }
    }
}

/// An error with its causes, but for those that it has already told in its own words.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}

fn serve(flags: Flags) -> anyhow::Result<()> {
    let source = Source::new(flags, Environment::of_process()).read()?;
    let loaded = source.load()?;
    let (_flush, set_filter) = start_log(&loaded.config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime(loaded.config.workers)?;
    runtime.block_on(proxy::run(loaded, source, set_filter))?;
    Ok(())
}

fn check(options: CheckOptions) -> anyhow::Result<()> {
    let CheckOptions { flags, connect } = options;
    let source = Source::new(flags, Environment::of_process());
    let Loaded { config, warnings, .. } = source.load()?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    proxy::check(&config, &source)?;
    print_settings(&config)?;
    if connect {
        let tell = |reached: &proxy::Reached| println!("# {reached}");
        let all_well = runtime(1)?.block_on(proxy::reach(config, tell))?;
        anyhow::ensure!(all_well, "not every login to PostgreSQL went well");
    }
    Ok(())
}

fn print_settings(config: &Config) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(render(config).as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn run_demo(options: DemoOptions) -> anyhow::Result<()> {
    let _flush = start_log(&quiet())?;
    runtime(0)?.block_on(demo::run(options))?;
    Ok(())
}

fn run_storm(options: StormOptions) -> anyhow::Result<()> {
    let _flush = start_log(&quiet())?;
    runtime(0)?.block_on(storm::command::run(options))?;
    Ok(())
}

/// Demonstration and storm print their own report; a log would run through it.
fn quiet() -> LogConfig {
    LogConfig { level: "warn".to_owned(), json: false }
}

fn runtime(workers: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().context("cannot start threads")
}

/// Logs to stderr through a thread of its own, so that a reader that stops stops no client. What
/// waits is written when the guard is dropped.
fn start_log(config: &LogConfig) -> anyhow::Result<(WorkerGuard, SetLogFilter)> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        .finish(std::io::stderr());
    let filter = EnvFilter::try_new(&config.level).context("log.level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let set_filter = if config.json {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        filter_by(move |filter| handle.reload(filter))
    } else {
        let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.init();
        filter_by(move |filter| handle.reload(filter))
    };
    Ok((guard, set_filter))
}

fn filter_by<E: std::fmt::Display>(
    reload: impl Fn(EnvFilter) -> Result<(), E> + Send + Sync + 'static,
) -> SetLogFilter {
    Box::new(move |level| {
        let filter = EnvFilter::try_new(level).map_err(|error| error.to_string());
        let reloaded = filter.and_then(|filter| reload(filter).map_err(|error| error.to_string()));
        if let Err(error) = reloaded {
            tracing::error!(error, "the log keeps its level");
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn every_command_tells_the_version() {
        for command in ["serve", "check", "demo", "storm"] {
            let told = Cli::try_parse_from(["pgweir", command, "--version"]).err();
            let kind = told.map(|told| (told.kind(), told.to_string()));
            let version = format!("pgweir-{command} {}\n", env!("CARGO_PKG_VERSION"));
            assert_eq!(kind, Some((ErrorKind::DisplayVersion, version)));
        }
    }
}
