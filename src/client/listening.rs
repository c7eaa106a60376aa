//! Notifications that come by the pool's listening server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Timeout, timeout};

use super::{Client, Ending, edge};
use crate::pool::{Ear, Membership};
use crate::session::listening::Joined;

/// The answer of the pool's listening server, waited for no longer than it may take.
pub(super) type Joining = Pin<Box<Timeout<oneshot::Receiver<Joined>>>>;

impl Client {
    /// Tells the client what was heard for it, if it reads and may be told now. `inside` says that it is
    /// being sent part of a message.
    pub(super) fn hear(&mut self, inside: bool) -> Result<(), Ending> {
        let heard = if inside || self.link.is_congested() {
            self.session.check_inbox()
        } else {
            self.session.hear(&mut self.link.output)
        };
        if self.membership.is_some() && !self.session.is_member() {
            self.membership = None;
        }
        heard.map_err(|_overflow| {
            self.pool.metrics().notification_overflows.increment(1);
            Ending::Ended(Box::new(edge::too_many_notifications()))
        })
    }

    /// Asks the pool's listening server for what the session wants of it.
    pub(super) fn join_listener(&mut self) -> Option<Joining> {
        let (channels, inbox) = self.session.take_wanted()?;
        let pool = &self.pool;
        let membership = self.membership.get_or_insert_with(|| Membership::new(pool));
        let ear = Ear { inbox, mailbox: Arc::clone(self.registration.mailbox()) };
        let answer = if self.session.listens_itself() {
            membership.leave_at_cut()
        } else {
            membership.join(ear, &channels)
        };
        if channels.is_empty() && !self.session.listens_itself() {
            self.membership = None;
        }
        let timeouts = self.context.timeouts();
        let limit = timeouts.checkout + timeouts.server_connect * 2 + SPARE;
        Some(Box::pin(timeout(limit, answer)))
    }
}

/// Beyond what the listening server waits for itself.
const SPARE: Duration = Duration::from_secs(5);
