//! Clients that are gone, and what they leave behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Ending;
use crate::clock::Instant;
use crate::metrics::{self, Abandoned, CloseReason};
use crate::net::link::Link;
use crate::pool::{Cleaning, Lease};
use crate::registry::Canceler;
use crate::server::{self, CancelOutcome, Work};
use crate::session::Session;
use crate::wire::build;

/// Finds out whether a client that has ended its side is gone or still reads.
///
/// The end of a stream does not tell: a half-closed client still reads its answers, and PostgreSQL
/// gives them. Bytes sent to a closed socket are answered by a reset, and a ParameterStatus with an
/// unchanged value may come at any time (`protocol-flow.html#PROTOCOL-ASYNC`).
#[derive(Debug, Default)]
pub(super) struct Probe {
    next: Option<Instant>,
    pause: Duration,
}

impl Probe {
    /// The client has ended its side.
    pub(super) fn start(&mut self) {
        self.next.get_or_insert_with(|| Instant::now() + PATIENCE);
    }

    /// When to probe next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Probes, if it is time and the server is not inside a message.
    pub(super) fn send(
        &mut self,
        session: &Session,
        link: &mut Link,
        inside_message: bool,
    ) -> Result<(), Ending> {
        let now = Instant::now();
        if self.next.is_none_or(|next| next > now) {
            return Ok(());
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.next = Some(now + self.pause);
        if let Some((name, value)) = session.told().iter().next()
            && !inside_message
            && link.output.is_empty()
        {
            build::parameter_status(&mut link.output, name, value);
            link.write_now()?;
        }
        Ok(())
    }
}

/// A cancel on its way to the server of a lease, which nobody else may have before it has ended.
#[derive(Debug)]
pub(super) struct Canceling {
    still_wanted: Arc<AtomicBool>,
    /// Those before it on the same lease that had not ended.
    earlier: usize,
    /// Whether neither its signal nor an earlier one's can come any more.
    task: JoinHandle<bool>,
}

impl Canceling {
    /// Sends a cancel for what runs on this server, not before a time; `waiting` are told what became of it. `earlier`
    /// was sent on the same lease.
    pub(super) fn start(
        lease: &Lease,
        waiting: Vec<Canceler>,
        not_before: Option<Instant>,
        earlier: Option<Self>,
    ) -> Option<Self> {
        let key = lease.cancel_key.clone()?;
        let before = earlier.as_ref().map_or(0, |earlier| earlier.earlier + 1);
        let settings = lease.pool().settings();
        let still_wanted = Arc::new(AtomicBool::new(true));
        let wanted = Arc::clone(&still_wanted);
        let task = tokio::spawn(async move {
            if let Some(not_before) = not_before {
                tokio::time::sleep_until(not_before.into()).await;
            }
            let deadline = Instant::now() + settings.timeouts.cancel;
            let outcome = server::cancel(&key, &wanted, deadline).await;
            for canceler in waiting {
                // It may have given up.
                let _ = canceler.send(counted(outcome));
            }
            let earlier_ended = match earlier {
                Some(earlier) => earlier.ended().await,
                None => true,
            };
            earlier_ended && outcome.is_settled()
        });
        Some(Self { still_wanted, earlier: before, task })
    }

    /// The query is over: a cancel that was not sent yet is not to be sent.
    pub(super) fn call_off(&self) {
        self.still_wanted.store(false, Ordering::Release);
    }

    /// Another is not to be sent: this one is for what runs now, or there are too many.
    pub(super) fn is_under_way(&self) -> bool {
        let is_wanted = self.still_wanted.load(Ordering::Acquire);
        !self.is_finished() && (is_wanted || self.earlier >= MAX_EARLIER)
    }

    /// Nothing more will come of it.
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended; false if the signal may still come.
    async fn ended(self) -> bool {
        self.task.await.unwrap_or(false)
    }

    /// Gives the server back once no signal can hit the next client's query.
    pub(super) fn check_in_after(self, lease: Lease, cleaning: Cleaning) {
        self.call_off();
        lease.entry.clean();
        tokio::spawn(async move {
            if self.ended().await {
                lease.check_in(cleaning, Instant::now());
            } else {
                lease.evict(CloseReason::Dirty);
            }
        });
    }
}

/// Cancels of answered statements whose end is waited for.
const MAX_EARLIER: usize = 8;

/// What a cancel is counted as.
fn counted(outcome: CancelOutcome) -> metrics::CancelOutcome {
    match outcome {
        CancelOutcome::Sent => metrics::CancelOutcome::Forwarded,
        CancelOutcome::Moot => metrics::CancelOutcome::Nothing,
        CancelOutcome::Unreachable | CancelOutcome::Unknown => metrics::CancelOutcome::Failed,
    }
}

/// Ends the work of a client that is gone, and gives the server back or closes it.
pub(super) fn abandon(
    mut lease: Lease,
    work: Work,
    canceling: Option<Canceling>,
    cleaning: Cleaning,
) {
    lease.entry.clean();
    tokio::spawn(async move {
        let settings = lease.pool().settings();
        if let Some(canceling) = canceling
            && !canceling.ended().await
        {
            return close(lease);
        }
        let deadline = Instant::now() + settings.timeouts.client_gone;
        match lease.abandon(work, deadline).await {
            Ok(()) => {
                lease.pool().metrics().abandoned.count(match work {
                    Work { outstanding: true, copying_in: false, cancel: true, .. } => {
                        Abandoned::Cancelled
                    }
                    Work { outstanding: true, copying_in: false, .. } => Abandoned::Completed,
                    _ => Abandoned::RolledBack,
                });
                lease.check_in(cleaning.max(Cleaning::SoftReset), Instant::now());
            }
            Err(_) => close(lease),
        }
    });
}

/// Closes the server of a client that is gone: its work cannot be ended otherwise.
pub(super) fn close(lease: Lease) {
    lease.pool().metrics().abandoned.count(Abandoned::Closed);
    lease.evict(CloseReason::ClientGone);
}

/// Most half-closed clients have their answer by then, and need not be probed.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
