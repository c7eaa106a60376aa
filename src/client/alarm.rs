//! One timer for all deadlines of a client, armed rarely.
//!
//! Deadlines move with every transaction, always later. Re-arming a timer each time costs more than
//! waking up once in a while to find that there is nothing to do.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Sleep;

use crate::clock::Instant;

/// The timer. `None` until a deadline is set.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
    /// The timer knows whom to wake.
    armed: bool,
}

impl Alarm {
    /// Makes sure that [`Alarm::poll`] is ready at `due` or before.
    pub(super) fn set(&mut self, due: Option<Instant>) {
        let Some(due) = due else { return };
        match &mut self.sleep {
            Some((at, _)) if *at <= due => return,
            Some((at, sleep)) => {
                *at = due;
                sleep.as_mut().reset(due.into());
            }
            None => self.sleep = Some((due, Box::pin(tokio::time::sleep_until(due.into())))),
        }
        self.armed = false;
    }

    /// Ready once at the time that was set; the caller looks which deadline, if any, has passed. One
    /// task polls an alarm all its life, so that its timer is polled once and then only looked at.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, sleep)) = &mut self.sleep else { return Poll::Pending };
        if self.armed && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        if sleep.as_mut().poll(cx).is_pending() {
            // Who has used up its turn has told the timer nothing.
            self.armed = coop::has_budget_remaining();
            return Poll::Pending;
        }
        self.sleep = None;
        Poll::Ready(())
    }
}

/// `since + timeout`, unless the timeout is switched off.
pub(super) fn due(since: Instant, timeout: Duration) -> Option<Instant> {
    if timeout.is_zero() { None } else { Some(since + timeout) }
}

/// How often it is looked in the time after which a machine is given up.
pub(super) const LOOKS: u32 = 3;
