//! One simulated function: it connects, runs its transactions and leaves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access::Access;
use super::client::{Client, ClientError, Protocol};
use super::tally::Tally;

/// What every function does, and where it is counted.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) access: Access,
    pub(super) transactions: u64,
    pub(super) query: String,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) tally: Mutex<Tally>,
}

impl Work {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts stay true whatever happened to another function.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, client: &mut Client, sql: &str) -> Result<(), ClientError> {
        client.query(self.protocol, sql, self.timeout).await?;
        Ok(())
    }
}

/// A function's whole life. What fails is counted, not returned.
pub(super) async fn live(work: Arc<Work>) {
    let began = Instant::now();
    match work.access.connect(work.timeout).await {
        Ok(client) => {
            work.tally().connect.record(began.elapsed());
            if let Err(error) = stay(&work, client).await {
                work.tally().failed(&error);
            }
        }
        Err(error) => work.tally().failed(&error),
    }
    work.tally().left += 1;
}

/// Its transactions. Returns an error when the connection is over; others are counted.
async fn stay(work: &Work, mut client: Client) -> Result<(), ClientError> {
    for number in 0..work.transactions {
        match transact(work, &mut client, number == 0).await {
            Err(error) if error.is_over() => return Err(error),
            Err(error) => {
                work.tally().failed(&error);
                roll_back(work, &mut client).await?;
            }
            Ok(()) => {}
        }
    }
    client.leave(work.timeout).await
}

async fn transact(work: &Work, client: &mut Client, is_first: bool) -> Result<(), ClientError> {
    let began = Instant::now();
    work.run(client, "BEGIN").await?;
    work.run(client, &work.query).await?;
    if is_first {
        work.tally().first_query.record(began.elapsed());
    }
    work.run(client, "COMMIT").await?;
    work.tally().transaction.record(began.elapsed());
    Ok(())
}

async fn roll_back(work: &Work, client: &mut Client) -> Result<(), ClientError> {
    if client.is_in_transaction() {
        work.run(client, "ROLLBACK").await?;
    }
    Ok(())
}
