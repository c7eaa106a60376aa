//! What a pool looks at when it is time: whether one more server is worth opening, whose time in the queue is over,
//! and for whom servers are kept no longer.
//!
//! One timer does for all who wait. A timer for each of them would be set and taken back with each wait, and in a
//! burst all would ask at once for what one can ask.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Denied, Pool, lock};
use crate::clock::Instant;

/// The time of the next reminder. One at a time: an earlier one stands in for those behind it, since it finds out
/// when the next is due.
#[derive(Debug, Default)]
pub(super) struct Reminder(Mutex<Option<Instant>>);

impl Reminder {
    /// Whether somebody has to wait for this one.
    fn is_next(&self, at: Instant) -> bool {
        let mut next = lock(&self.0);
        let is_earlier = next.is_none_or(|next| at < next);
        if is_earlier {
            *next = Some(at);
        }
        is_earlier
    }

    /// It was waited for.
    fn is_over(&self, at: Instant) {
        lock(&self.0).take_if(|next| *next <= at);
    }
}

impl Pool {
    /// Opens as many servers as are wanted and allowed, and again when more may be.
    pub(super) fn keep_opening(self: &Arc<Self>) {
        if let Some(after) = self.open_more() {
            self.remind(after);
        }
    }

    pub(super) fn remind(self: &Arc<Self>, after: Duration) {
        self.at(Instant::now() + after, |pool| &pool.opening, Self::keep_opening);
    }

    /// Sees to it that nobody stays in the queue past this time whose time is over then.
    pub(super) fn watch_deadline(self: &Arc<Self>, deadline: Instant) {
        self.at(deadline, |pool| &pool.deadlines, Self::keep_deadlines);
    }

    /// Tells those whose time in the queue is over, and again when more of them may be.
    pub(super) fn keep_deadlines(self: &Arc<Self>) {
        let (late, next) = {
            let mut slots = lock(&self.slots);
            (slots.take_late(Instant::now()), slots.next_deadline())
        };
        for waiter in late {
            // It may have gone.
            let _ = waiter.send(Err(Denied::TimedOut));
        }
        if let Some(next) = next {
            self.watch_deadline(next);
        }
    }

    /// Sees to it that a server that is kept until then goes to another who waits.
    pub(super) fn watch_kept(self: &Arc<Self>, until: Instant) {
        self.at(until, |pool| &pool.kept, Self::stop_keeping);
    }

    fn stop_keeping(self: &Arc<Self>) {
        let now = Instant::now();
        let next = lock(&self.slots).unkeep(now);
        // Those that were kept have just been used. Older ones would have to be asked first.
        self.hand_out(|server| server.was_used(now, JUST_USED) && !server.is_stale());
        self.keep_opening();
        if let Some(next) = next {
            self.watch_kept(next);
        }
    }

    fn at(self: &Arc<Self>, at: Instant, which: fn(&Self) -> &Reminder, then: fn(&Arc<Self>)) {
        if !which(self).is_next(at) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(pool) = pool.upgrade() {
                which(&pool).is_over(at);
                then(&pool);
            }
        });
    }
}

/// One that was used so lately is as good as one that comes back.
const JUST_USED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_earliest_is_waited_for() {
        let (reminder, now) = (Reminder::default(), Instant::now());
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        assert!(reminder.is_next(after(20)));
        assert!(!reminder.is_next(after(20)) && !reminder.is_next(after(30)));
        assert!(reminder.is_next(after(10)), "the later one will find nothing new");
        reminder.is_over(after(10));
        assert!(reminder.is_next(after(40)));
        reminder.is_over(after(20));
        assert!(!reminder.is_next(after(40)), "that one is still to come");
    }
}
