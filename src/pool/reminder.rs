//! When a pool is to be asked again whether one more server is worth opening.
//!
//! Who waits asks by himself; but what he was told may be out of date by what has happened since, and then nobody
//! but the keeper's tick would ask.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Pool, lock};

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
        let at = Instant::now() + after;
        if !self.reminder.is_next(at) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(pool) = pool.upgrade() {
                pool.reminder.is_over(at);
                pool.keep_opening();
            }
        });
    }
}

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
