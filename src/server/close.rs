//! The end of a server connection.

use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::warn;

use super::abandon::CANCEL_AGAIN;
use super::{CancelAddress, Entry, Server, cancel};
use crate::clock::Instant;
use crate::host::Slot;
use crate::metrics::ServerState;
use crate::net::link::Link;
use crate::wire::build;

/// A part of a [`Server`], which leaves it only when the server ends.
#[derive(Debug)]
pub struct Held<T>(Option<T>);

/// What must outlive a server until its EOF was read.
struct Ending {
    id: u64,
    link: Link,
    entry: Entry,
    slot: Slot,
    cancel: Option<CancelAddress>,
    logged_in: bool,
}

impl Server {
    /// Says goodbye and waits until the server has closed the connection too: only then is its
    /// backend gone and its slot free. What it still works at is cancelled. False if it did not close in time; then
    /// the connection is dropped.
    /// Not cancel safe: dropped midway, so is the connection.
    pub async fn close(mut self, timeout: Duration) -> bool {
        match self.end() {
            Some(ending) => ending.run(timeout).await,
            None => true,
        }
    }

    fn end(&mut self) -> Option<Ending> {
        Some(Ending {
            id: self.id,
            link: self.link.0.take()?,
            entry: self.entry.0.take()?,
            slot: self.slot.0.take()?,
            cancel: self.cancel_key.take().filter(|_| !self.at_rest),
            logged_in: self.logged_in,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without a runtime the process is about to end, and with it the connection.
        if let (Some(ending), Ok(runtime)) = (self.end(), Handle::try_current()) {
            let timeout = self.close_timeout;
            runtime.spawn(ending.run(timeout));
        }
    }
}

impl Ending {
    async fn run(mut self, limit: Duration) -> bool {
        self.entry.set(ServerState::Closing);
        // Behind the first half of a message, a Terminate would be read as its second half.
        if self.logged_in && self.link.output.is_empty() {
            build::empty(&mut self.link.output, b'X');
        } else {
            self.link.output.clear();
        }
        let closed = closed(&mut self.link, self.cancel.as_ref(), limit).await;
        if !closed {
            warn!(
                server = self.id,
                ?limit,
                "a server did not close its connection in time; it is dropped"
            );
        }
        drop(self.link);
        drop(self.slot);
        closed
    }
}

/// Whether a server closes its connection within a time. One at work does not see that it should: it is cancelled,
/// and again, since there may be more work behind the first. A connection that failed is as gone as one that was
/// closed.
async fn closed(link: &mut Link, address: Option<&CancelAddress>, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut closing = pin!(link.close());
    let mut pause = PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if timeout(pause.min(left), &mut closing).await.is_ok() {
            return true;
        }
        if left <= pause {
            return false;
        }
        if let Some(address) = address {
            let wanted = AtomicBool::new(true);
            // Whether it helped shows in whether the connection ends.
            tokio::select! {
                _ = &mut closing => return true,
                _ = cancel(address, &wanted, deadline) => {}
            }
        }
        pause = CANCEL_AGAIN;
    }
}

/// A server that has nothing to do closes its connection much sooner.
const PATIENCE: Duration = Duration::from_millis(100);

impl<T> From<T> for Held<T> {
    fn from(part: T) -> Self {
        Self(Some(part))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "emptied by `Drop` and by what consumes the server")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a server holds its parts until it ends")
    }
}

impl<T> DerefMut for Held<T> {
    #[expect(clippy::expect_used, reason = "as above")]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("a server holds its parts until it ends")
    }
}
