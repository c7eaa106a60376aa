//! The demonstration: a throwaway PostgreSQL, pgweir before it, and a burst of functions.

pub mod postgres;

use clap::Args;

/// What the demonstration does.
#[derive(Debug, Clone, Args)]
pub struct DemoOptions {
    /// End after the burst, with exit code 0 if it had no error and the limit held.
    #[arg(long)]
    pub once: bool,
    /// How many simulated functions connect at once.
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub functions: usize,
    /// How many connections to PostgreSQL they share.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    pub max_servers: usize,
}

/// Why the demonstration could not be given.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// This build has none.
    #[error("the demonstration is not part of this build")]
    Missing,
}

/// Gives the demonstration.
#[expect(clippy::unused_async, reason = "its callers wait for what comes here")]
pub async fn run(_options: DemoOptions) -> Result<(), DemoError> {
    Err(DemoError::Missing)
}
