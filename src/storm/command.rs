//! `pgweir storm`: the harness from the command line.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;

use super::{Plan, Protocol, Report, StormError, run as run_plan};
use crate::config::{self, Dsn};

/// What the storm does.
#[derive(Clone, Args)]
pub struct StormOptions {
    /// Connect here: postgres://user:password@host:port/dbname. Given as PGWEIR_STORM_DSN instead,
    /// it does not show in the list of processes.
    #[arg(long, value_name = "DSN", env = "PGWEIR_STORM_DSN", hide_env_values = true)]
    pub dsn: String,
    /// How many functions arrive during the ramp.
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub functions: u64,
    /// They arrive at even distances over this time; 0 = all at once.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    pub ramp: Duration,
    /// If longer than the ramp, functions go on arriving at its rate until this is over.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub duration: Duration,
    /// How many transactions each runs before it leaves.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub transactions_per_function: u64,
    /// What each transaction runs between BEGIN and COMMIT.
    #[arg(long, default_value = "SELECT 1", value_name = "SQL")]
    pub query: String,
    /// Send statements by this protocol of PostgreSQL's.
    #[arg(long, value_enum, default_value_t = Protocol::Simple)]
    pub protocol: Protocol,
    /// Functions there at once, at most; those that arrive beyond it are counted as missed.
    #[arg(long, default_value_t = super::DEFAULT_CONCURRENCY, value_name = "NUMBER")]
    pub concurrency: usize,
    /// Give up a login or a statement after this time.
    #[arg(long, default_value = "150s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs the storm and prints its report; an error when the storm met one, so that scripts notice.
pub async fn run(options: StormOptions) -> Result<(), StormError> {
    let json = options.json;
    let mut plan = options.plan()?;
    plan.concurrency = plan.concurrency.min(room(1));
    let report = run_plan(&plan).await?;
    print(&report, json).map_err(StormError::Output)?;
    if report.is_clean() {
        return Ok(());
    }
    Err(StormError::Unclean { errors: report.error_count(), missed: report.arrivals.missed })
}

impl StormOptions {
    fn plan(self) -> Result<Plan, StormError> {
        Ok(Plan {
            dsn: Dsn::parse(&self.dsn)?,
            functions: self.functions,
            ramp: self.ramp,
            duration: self.duration,
            transactions_per_function: self.transactions_per_function,
            query: self.query,
            protocol: self.protocol,
            concurrency: self.concurrency,
            timeout: self.timeout,
        })
    }
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    out.flush()
}

/// Functions for which there are file descriptors when each takes so many, after asking the system
/// for as many as it gives.
pub(crate) fn room(each: u64) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(FEW_DESCRIPTORS);
    usize::try_from(limit.saturating_sub(OWN_DESCRIPTORS) / each.max(1)).unwrap_or(usize::MAX)
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "expected 30s, 5min, 250ms or 1h".to_owned())
}

/// What systems give where they do not say.
const FEW_DESCRIPTORS: u64 = 256;

/// Those of the runtime, standard streams and certificates.
const OWN_DESCRIPTORS: u64 = 32;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        storm: StormOptions,
    }

    fn plan(flags: &[&str]) -> Result<Plan, StormError> {
        let flags = [&["storm"], flags].concat();
        Cli::try_parse_from(flags).expect("flags").storm.plan()
    }

    #[test]
    fn flags_become_a_plan_and_the_defaults_are_the_plans_own() {
        let plan = plan(&["--dsn", "postgres://u:p@h/d", "--ramp", "250ms"]).unwrap();
        let default = Plan::new(plan.dsn.clone());
        assert_eq!(plan.ramp, Duration::from_millis(250));
        assert_eq!(plan.functions, default.functions);
        assert_eq!(plan.query, default.query);
        assert_eq!((plan.protocol, plan.timeout), (default.protocol, default.timeout));
        assert_eq!(plan.concurrency, default.concurrency);
    }

    #[test]
    fn no_error_about_the_connection_string_repeats_it() {
        let error = plan(&["--dsn", "postgres://u:hunter2/x@h/d"]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.to_string().starts_with("--dsn"), "{error}");
    }
}
