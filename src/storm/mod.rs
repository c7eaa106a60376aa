//! The load harness: many short-lived functions against one address.

use std::time::Duration;

use clap::Args;

use crate::config;

/// What the storm does.
#[derive(Clone, Args)]
pub struct StormOptions {
    /// Connect here: postgres://user:password@host:port/dbname.
    #[arg(long, value_name = "DSN")]
    pub dsn: String,
    /// How many functions there are.
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub functions: usize,
    /// Start them spread over this time; 0 = all at once.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub ramp: Duration,
    /// Start them again until this time is over; 0 = each runs once.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub duration: Duration,
    /// How many transactions each runs before it leaves.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub transactions_per_function: usize,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Why the storm could not be run.
#[derive(Debug, thiserror::Error)]
pub enum StormError {
    /// This build has none.
    #[error("the load harness is not part of this build")]
    Missing,
}

/// Runs the storm.
#[expect(clippy::unused_async, reason = "its callers wait for what comes here")]
pub async fn run(_options: StormOptions) -> Result<(), StormError> {
    Err(StormError::Missing)
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "expected 30s, 5min, 250ms or 1h".to_owned())
}
