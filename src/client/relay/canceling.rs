//! Cancels of what the client runs: each for what was sent before it, and for nothing else.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{Relay, Woken};
use crate::client::abandon::Canceling;
use crate::client::half::Half;
use crate::client::{Client, Ending};
use crate::clock::Instant;
use crate::registry::Notice;

impl Relay<'_> {
    /// A cancel is for what has come before it, which may not have been read yet.
    pub(super) fn poll_told(
        &mut self,
        cx: &mut Context<'_>,
        notice: Notice,
        read: bool,
    ) -> Poll<Result<Woken, Ending>> {
        if notice == Notice::Cancel
            && !self.has_work()
            && let Poll::Ready(moved) = self.client.link.poll_moved(cx, read)
        {
            self.client.registration.mailbox().tell(Notice::Cancel);
            return Poll::Ready(moved.map(|_| Woken::Client).map_err(Ending::Lost));
        }
        Poll::Ready(Ok(Woken::Told(notice)))
    }

    /// Whether there is something of the client's that can be cancelled: it runs, or waits for what runs ahead of it.
    pub(super) fn has_work(&self) -> bool {
        let Client { session, link, .. } = &*self.client;
        session.runs_for_client() || session.holds_for_client() || Half::has_whole_message(link)
    }

    /// What the client had sent when pgweir's own questions kept it from being read is read by now, or is read first.
    pub(super) fn mind_early_cancel(&mut self) {
        if self.early_cancel.is_none() || self.client.session.is_asking() {
            return;
        }
        if self.has_work() {
            self.cancel();
        } else {
            self.early_cancel = None;
            self.client.registration.mailbox().tell(Notice::Cancel);
        }
    }

    /// Once what was to be cancelled is answered, what comes next was not meant.
    pub(super) fn on_answered(&self) {
        if let Some(canceling) = &self.canceling
            && !self.client.session.runs_for_client()
        {
            canceling.call_off();
        }
    }

    /// Cancels what the client has running. What pgweir itself runs ahead of it is not cancelled: the cancel
    /// waits until that has ended, for `timeouts.cancel` at most.
    ///
    /// False if there is nothing to cancel.
    pub(super) fn cancel(&mut self) -> bool {
        let client = &*self.client;
        let busy = self.canceling.as_ref().is_some_and(Canceling::is_under_way);
        let runs = client.session.runs_for_client();
        let waits = !runs && (self.has_work() || client.session.is_asking());
        let since = self.early_cancel.take().unwrap_or_else(Instant::now);
        let is_over = since.elapsed() > client.context.timeouts().cancel;
        if !busy && waits && !is_over {
            self.early_cancel = Some(since);
            return true;
        }
        let waiting = client.registration.mailbox().take_canceling();
        if !busy && runs && !is_over {
            // A request that waited in the queue may not have reached the process that the signal goes to.
            let arrived = self.started.map(|started| started + ARRIVAL);
            let earlier = self.canceling.take();
            self.canceling = Canceling::start(self.lease, waiting, arrived, earlier);
        }
        self.canceling.as_ref().is_some_and(|canceling| !canceling.is_finished())
    }
}

/// What a request takes at most from pgweir to the server process, all but always: that one may have to wait for a
/// processor first.
const ARRIVAL: Duration = Duration::from_millis(100);
