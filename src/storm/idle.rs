//! Clients that are only there: logged in ahead of the storm, asked once at its end.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::client::{Client, ClientError};
use super::function::Work;

/// Idle clients of one class.
#[derive(Debug)]
pub(super) struct Idle {
    work: Arc<Work>,
    clients: JoinSet<()>,
    end: watch::Sender<bool>,
}

/// What the tasks of idle clients share.
#[derive(Debug, Clone)]
struct Shared {
    work: Arc<Work>,
    /// So many log in, or are asked, at a time: they are to be there, not to be a storm of their own.
    turns: Arc<Semaphore>,
    end: watch::Receiver<bool>,
}

impl Idle {
    /// Logs them in; returns when all are, or have failed to.
    pub(super) async fn gather(work: Arc<Work>) -> Self {
        let (end, over) = watch::channel(false);
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        let shared = Shared { work: Arc::clone(&work), turns, end: over };
        let (ready, mut all) = mpsc::channel::<()>(1);
        let mut clients = JoinSet::new();
        for _ in 0..work.class.idle {
            clients.spawn(stay(shared.clone(), ready.clone()));
        }
        drop(ready);
        // Nothing is ever sent: it ends when the last of them has dropped its end.
        all.recv().await;
        Self { work, clients, end }
    }

    /// Asks each whether it is still there, and lets it leave.
    pub(super) async fn end(mut self) {
        // Nobody listens where there are none.
        let _ = self.end.send(true);
        while let Some(ended) = self.clients.join_next().await {
            if ended.is_err() {
                self.work.tally().broken();
            }
        }
    }
}

async fn stay(shared: Shared, ready: mpsc::Sender<()>) {
    let work = Arc::clone(&shared.work);
    if let Err(error) = be_there(&work, shared, ready).await {
        work.tally().failed(&error);
    }
}

async fn be_there(
    work: &Work,
    mut shared: Shared,
    ready: mpsc::Sender<()>,
) -> Result<(), ClientError> {
    let client = log_in(work, &shared).await?;
    drop(ready);
    let _there = work.gauges.connected.enter();
    // The sender is only dropped when the storm is: then this task is, too.
    let _ = shared.end.wait_for(|over| *over).await;
    let _turn = shared.turns.acquire().await;
    ask(work, client).await
}

async fn log_in(work: &Work, shared: &Shared) -> Result<Client, ClientError> {
    let _turn = shared.turns.acquire().await;
    let client = work.access.connect(work.timeout).await?;
    work.tally().idle.connected += 1;
    Ok(client)
}

async fn ask(work: &Work, mut client: Client) -> Result<(), ClientError> {
    client.query(work.class.protocol, "SELECT 1", work.timeout).await?;
    work.tally().idle.answered += 1;
    client.leave(work.timeout).await
}

const AT_A_TIME: usize = 64;
