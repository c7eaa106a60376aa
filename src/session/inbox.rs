//! Notifications on their way from the pool's listening server to one session.
//!
//! Shared by the two; its lock is held for a push or a take, never longer. Invariant: what waits here
//! is bounded, since a session may be in a transaction, or its client not reading, for any time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What the listening server tells a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The body of a NotificationResponse.
    Heard(Bytes),
    /// It was lost.
    Lost,
    /// There is one again.
    Back,
    /// Everything that stands before the cut with this number was told.
    Cut(u64),
}

/// What a session has not taken yet.
#[derive(Debug, Default)]
pub struct Inbox {
    inner: Mutex<Inner>,
    /// There may be something.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    news: VecDeque<News>,
    bytes: usize,
    overflowed: bool,
}

/// More notifications than are kept for a session that does not take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Inbox {
    /// Adds news, unless there are too many; then nothing is kept.
    pub fn push(&self, news: News) {
        let mut inner = self.lock();
        let size = OVERHEAD + if let News::Heard(body) = &news { body.len() } else { 0 };
        if inner.bytes + size > MAX_INBOX {
            *inner = Inner { overflowed: true, ..Inner::default() };
        } else if !inner.overflowed {
            inner.bytes += size;
            inner.news.push_back(news);
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Whether something was lost here.
    pub fn has_overflowed(&self) -> bool {
        !self.is_empty() && self.lock().overflowed
    }

    /// Takes all news, the oldest first.
    pub fn take(&self) -> Result<VecDeque<News>, Overflow> {
        if self.is_empty() {
            return Ok(VecDeque::new());
        }
        let mut inner = self.lock();
        if inner.overflowed {
            return Err(Overflow);
        }
        self.any.store(false, Ordering::Release);
        inner.bytes = 0;
        Ok(std::mem::take(&mut inner.news))
    }

    /// The same once a cut is among them, or will not be any more.
    pub fn take_with_cut(&self, cut: u64) -> Result<Option<VecDeque<News>>, Overflow> {
        let inner = self.lock();
        let ends = |news: &News| matches!(news, News::Lost) || *news == News::Cut(cut);
        let ready = inner.overflowed || inner.news.iter().any(ends);
        drop(inner);
        if ready { self.take().map(Some) } else { Ok(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client's own server has told of shared channels and the listening one has not yet, or the
/// other way round. The client hears all of it from the listening one, in its order.
#[derive(Debug, Default)]
pub(super) struct Expected {
    ahead: HashMap<Box<[u8]>, Ahead>,
    bytes: usize,
    /// Notifications that are still to come.
    due: usize,
    /// How many bodies were told.
    told: u64,
    /// Notifications that were due and came.
    met: u64,
}

/// What the client's own server alone tells, behind what is expected of the listening one.
#[derive(Debug, Default)]
pub(super) struct Held {
    notifications: VecDeque<Behind>,
    bytes: usize,
}

#[derive(Debug)]
struct Behind {
    /// How many must have come before.
    met: u64,
    body: Bytes,
    own: bool,
}

impl Held {
    /// Keeps a notification that has its turn behind all that is due.
    pub(super) fn push(&mut self, body: &[u8], own: bool, expected: &Expected) {
        let met = expected.met + expected.due as u64;
        self.bytes += OVERHEAD + body.len();
        self.notifications.push_back(Behind { met, body: Bytes::copy_from_slice(body), own });
    }

    /// Takes one whose turn has come, and whether the client has sent it. None waits where too many do.
    pub(super) fn take(&mut self, expected: &Expected) -> Option<(Bytes, bool)> {
        let first = self.notifications.front()?;
        let waits = expected.is_due() && first.met > expected.met && self.bytes <= MAX_INBOX;
        if waits {
            return None;
        }
        let Behind { body, own, .. } = self.notifications.pop_front()?;
        self.bytes -= OVERHEAD + body.len();
        Some((body, own))
    }
}

/// Of notifications with the same body.
#[derive(Debug, Default)]
struct Ahead {
    /// How many more the own server has told.
    by: i32,
    /// Which ones of all that it has told these are.
    told: VecDeque<u64>,
    /// The client has sent it.
    own: bool,
}

impl Expected {
    /// The client's own server tells it; `own` is whether the client has sent it.
    pub(super) fn expect(&mut self, body: &[u8], own: bool) {
        self.told += 1;
        let told = self.told;
        let ahead = self.entry(body);
        ahead.own |= own;
        ahead.by = ahead.by.saturating_add(1);
        if ahead.by > 0 {
            ahead.told.push_back(told);
            self.due += 1;
            self.bytes += EACH;
        }
        self.forget_if_even(body);
    }

    /// The listening server tells it; `both` is whether the own server tells it too. Gives whether the
    /// client has sent it.
    pub(super) fn meet(&mut self, body: &[u8], both: bool) -> bool {
        let due = self.is_ahead(body);
        if !due && !both {
            return false;
        }
        let ahead = self.entry(body);
        let own = due && ahead.own;
        ahead.by = ahead.by.saturating_sub(1);
        if ahead.told.pop_front().is_some() {
            self.due -= 1;
            self.met += 1;
            self.bytes -= EACH;
        }
        self.forget_if_even(body);
        own
    }

    /// Whether there is something that the client must have before it goes on.
    pub(super) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// Whether the own server alone has told it.
    pub(super) fn is_ahead(&self, body: &[u8]) -> bool {
        self.ahead.get(body).is_some_and(|ahead| ahead.by > 0)
    }

    /// What the own server alone has told, in its order, and whether the client has sent it.
    pub(super) fn told(&self) -> Vec<(&[u8], bool)> {
        let each = |(body, ahead): (_, &'_ Ahead)| {
            let own = ahead.own;
            ahead.told.iter().map(move |told| (*told, body, own)).collect::<Vec<_>>()
        };
        let mut told: Vec<(u64, &Box<[u8]>, bool)> = self.ahead.iter().flat_map(each).collect();
        told.sort_unstable_by_key(|(told, ..)| *told);
        told.into_iter().map(|(_, body, own)| (&**body, own)).collect()
    }

    fn entry(&mut self, body: &[u8]) -> &mut Ahead {
        if self.bytes > MAX_INBOX {
            // One is far ahead of the other: what it tells is no longer waited for.
            *self = Self { told: self.told, met: self.met, ..Self::default() };
        }
        if !self.ahead.contains_key(body) {
            self.bytes += OVERHEAD + body.len();
        }
        self.ahead.entry(body.into()).or_default()
    }

    fn forget_if_even(&mut self, body: &[u8]) {
        if self.ahead.get(body).is_some_and(|ahead| ahead.by == 0) {
            self.ahead.remove(body);
            self.bytes -= OVERHEAD + body.len();
        }
    }
}

/// Bytes of notifications that wait for one client.
pub const MAX_INBOX: usize = 4 << 20;

/// What an entry costs besides its bytes.
const OVERHEAD: usize = 64;

/// What it costs each time that it is told.
const EACH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_that_nobody_takes_is_an_overflow_and_stays_one() {
        let inbox = Inbox::default();
        assert!(inbox.is_empty() && inbox.take() == Ok(VecDeque::new()));
        let body = Bytes::from(vec![0; 8_000]);
        let count = MAX_INBOX / (8_000 + OVERHEAD);
        for _ in 0..count {
            inbox.push(News::Heard(body.clone()));
        }
        assert_eq!(inbox.take().map(|news| news.len()), Ok(count));
        for _ in 0..=count {
            inbox.push(News::Heard(body.clone()));
        }
        inbox.push(News::Back);
        assert!(inbox.has_overflowed());
        assert_eq!(inbox.take(), Err(Overflow));
    }

    /// `o` the own server tells what the client has sent, `t` what another has, `l` the listening server
    /// tells it, `L` the own server does not listen. Shows how many are due, and which are the client's.
    fn told(script: &str) -> String {
        let mut expected = Expected::default();
        let mut step = |letter| {
            let own = match letter {
                'o' | 't' => {
                    expected.expect(b"a", letter == 'o');
                    false
                }
                _ => expected.meet(b"a", letter == 'l'),
            };
            format!("{}{}", expected.due, if own { "!" } else { "" })
        };
        script.chars().map(&mut step).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_one_server_has_told_is_due_until_the_other_has() {
        for (script, seen) in [
            ("ol", "1 0!"),
            ("tl", "1 0"),
            ("lt", "0 0"),
            ("ttll", "1 2 1 0"),
            ("ltt", "0 0 1"),
            ("LLt", "0 0 1"),
            ("oLt", "1 0! 1"),
        ] {
            assert_eq!(told(script), seen, "{script}");
        }
    }

    #[test]
    fn what_the_own_server_alone_has_told_is_there_in_its_order() {
        let mut expected = Expected::default();
        for body in [b"a", b"b", b"a", b"c", b"a"] {
            expected.expect(body, body == b"c");
        }
        for body in [b"b", b"d", b"a"] {
            expected.meet(body, true);
        }
        let told: Vec<_> = expected.told().iter().map(|(body, own)| (body[0], *own)).collect();
        assert_eq!(told, [(b'a', false), (b'c', true), (b'a', false)]);
        assert!(expected.is_ahead(b"a") && !expected.is_ahead(b"b"));
    }

    #[test]
    fn what_is_waited_for_is_bounded() {
        let mut expected = Expected::default();
        for number in 0..2_000 {
            expected.expect(&[&[0; 4_000][..], &u32::to_be_bytes(number)].concat(), false);
            assert!(expected.bytes <= MAX_INBOX + 8_000);
        }
        assert!(expected.due < 2_000);
    }
}
