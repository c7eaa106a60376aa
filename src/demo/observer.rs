//! Looks at PostgreSQL from beside pgweir: how many connections it has.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::DemoError;
use crate::storm::{self, Client, ClientError, Plan, Report};

/// A superuser's connection. PostgreSQL has a slot for it besides pgweir's, and it is not counted.
#[derive(Debug)]
pub(super) struct Observer {
    client: Client,
    seen: Seen,
}

/// What it saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The most connections at one time, its own left out.
    pub(super) most: usize,
    /// How often it looked.
    pub(super) looks: u64,
}

impl Observer {
    pub(super) fn new(client: Client) -> Self {
        Self { client, seen: Seen::default() }
    }

    /// Runs a storm and looks all the while.
    pub(super) async fn during(&mut self, plan: Plan) -> Result<Report, DemoError> {
        tokio::select! {
            report = storm::run(&plan) => Ok(report?),
            failed = self.look() => match failed {
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    async fn look(&mut self) -> Result<Infallible, ClientError> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reply = self.client.simple(COUNT, PATIENCE).await?;
            let count = reply.value.and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
            self.seen.most = self.seen.most.max(count);
            self.seen.looks += 1;
        }
    }
}

/// How often it looks.
pub(super) const EVERY: Duration = Duration::from_millis(20);

const PATIENCE: Duration = Duration::from_secs(30);

/// `monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW`
const COUNT: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
     WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
