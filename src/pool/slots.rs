//! Who waits, who gets which server, who is evicted (sans-IO).
//!
//! ```text
//!             opened            hand / take
//!   opening ─────────> leased <───────────── idle
//!      │ failed          │  │      park        ^
//!      v                 │  └──────────────────┘
//!   (gone)               v                     │ expired
//!                     closing <────────────────┘
//!                        │ closed: the server's EOF was read
//!                        v
//!                     (gone)
//! ```
//!
//! Invariant: opening + leased + idle + closing never grows past the limit. Waiters are served in
//! order; idle servers newest first, so that the others grow old and go, unless one that is little
//! older suits the client better.

use std::collections::BTreeMap;
use std::time::Instant;

/// Sizes of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Servers at most.
    pub max: usize,
    /// Idle servers kept open.
    pub min_idle: usize,
    /// Idle servers kept at most.
    pub max_idle: usize,
}

/// A place in the queue; a smaller one came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// What becomes of a server that is free.
#[derive(Debug, PartialEq, Eq)]
pub enum Freed<W> {
    /// It goes to a waiter; it still counts as leased.
    Hand(W),
    /// It waits for the next; give it to [`Slots::park`].
    Park,
    /// It is too many; tell [`Slots::closing`].
    Evict,
}

/// Counts by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Being opened.
    pub opening: usize,
    /// With a client, or being cleaned behind one.
    pub leased: usize,
    /// Free.
    pub idle: usize,
    /// Waiting for EOF.
    pub closing: usize,
    /// Clients in the queue.
    pub waiting: usize,
}

/// The servers and waiters of one pool.
#[derive(Debug)]
pub struct Slots<S, W> {
    size: Size,
    /// Oldest first.
    idle: Vec<S>,
    waiters: BTreeMap<WaiterId, (Instant, W)>,
    next_waiter: u64,
    opening: usize,
    leased: usize,
    closing: usize,
}

impl<S, W> Slots<S, W> {
    /// An empty pool.
    pub fn new(size: Size) -> Self {
        Self {
            size,
            idle: Vec::new(),
            waiters: BTreeMap::new(),
            next_waiter: 0,
            opening: 0,
            leased: 0,
            closing: 0,
        }
    }

    /// Sizes now.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Changes sizes: a larger one holds at once, a smaller one as servers become free.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// Counts by state.
    pub fn counts(&self) -> Counts {
        Counts {
            opening: self.opening,
            leased: self.leased,
            idle: self.idle.len(),
            closing: self.closing,
            waiting: self.waiters.len(),
        }
    }

    /// Connections to PostgreSQL, opening and closing ones included.
    pub fn total(&self) -> usize {
        self.opening + self.leased + self.idle.len() + self.closing
    }

    /// Takes the newest idle server, unless somebody came earlier.
    pub fn take(&mut self) -> Option<S> {
        self.take_if(|_| false, |_| true)
    }

    /// Takes the newest of the few newest idle servers that `suits` says so of, or else the newest, if
    /// `fits` says so of that one; none if somebody came earlier.
    pub fn take_if(
        &mut self,
        suits: impl FnMut(&S) -> bool,
        fits: impl FnOnce(&mut S) -> bool,
    ) -> Option<S> {
        if !self.waiters.is_empty() {
            return None;
        }
        let at = self.choose(suits)?;
        if !fits(&mut self.idle[at]) {
            return None;
        }
        self.leased += 1;
        Some(self.idle.remove(at))
    }

    fn choose(&self, mut suits: impl FnMut(&S) -> bool) -> Option<usize> {
        let newest = self.idle.len().checked_sub(1)?;
        if newest == 0 {
            return Some(newest);
        }
        let mut few = self.idle.iter().enumerate().rev().take(CHOICE);
        Some(few.find(|(_, server)| suits(server)).map_or(newest, |(at, _)| at))
    }

    /// Queues.
    pub fn wait(&mut self, waiter: W, now: Instant) -> WaiterId {
        let id = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.waiters.insert(id, (now, waiter));
        id
    }

    /// Leaves the queue; `None` if a server was handed over meanwhile.
    pub fn leave(&mut self, id: WaiterId) -> Option<W> {
        self.waiters.remove(&id).map(|(_, waiter)| waiter)
    }

    /// Since when the first in the queue waits.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.waiters.first_key_value().map(|(_, (since, _))| *since)
    }

    /// Whether one more server is to be opened; if so, it counts as opening. `ahead`: for nobody,
    /// too, to keep some idle.
    pub fn open(&mut self, ahead: bool) -> bool {
        let min_idle = if ahead { self.size.min_idle } else { 0 };
        let spare = min_idle.saturating_sub(self.idle.len());
        let wanted = self.waiters.len().max(spare);
        let open = self.opening < wanted && self.total() < self.size.max;
        self.opening += usize::from(open);
        open
    }

    /// A server was opened; it counts as leased until [`Slots::freed`] says where it goes.
    pub fn opened(&mut self) {
        self.opening -= 1;
        self.leased += 1;
    }

    /// A server could not be opened, and its connection is gone.
    pub fn open_failed(&mut self) {
        self.opening -= 1;
    }

    /// A leased server is free: where it goes.
    pub fn freed(&mut self) -> Freed<W> {
        if self.total() > self.size.max {
            return Freed::Evict;
        }
        match self.waiters.pop_first() {
            Some((_, (_, waiter))) => Freed::Hand(waiter),
            None if self.idle.len() >= self.size.max_idle => Freed::Evict,
            None => Freed::Park,
        }
    }

    /// Keeps a free server for the next.
    pub fn park(&mut self, server: S) {
        self.leased -= 1;
        self.idle.push(server);
    }

    /// A leased server is being closed.
    pub fn closing(&mut self) {
        self.leased -= 1;
        self.closing += 1;
    }

    /// Its EOF was read.
    pub fn closed(&mut self) {
        self.closing -= 1;
    }

    /// Takes idle servers that `expired` says so of, oldest first, at most `most`; they count as
    /// closing.
    pub fn expire(&mut self, most: usize, mut expired: impl FnMut(&mut S) -> bool) -> Vec<S> {
        let mut out = Vec::new();
        let mut at = 0;
        while out.len() < most && at < self.idle.len() {
            if expired(&mut self.idle[at]) {
                out.push(self.idle.remove(at));
            } else {
                at += 1;
            }
        }
        self.closing += out.len();
        out
    }

    /// Idle servers above the smallest number to keep.
    pub fn spare(&self) -> usize {
        self.idle.len().saturating_sub(self.size.min_idle)
    }

    /// Idle servers that are too many for the size.
    pub fn surplus(&self) -> usize {
        let over = self.total().saturating_sub(self.size.max);
        over.max(self.idle.len().saturating_sub(self.size.max_idle)).min(self.idle.len())
    }

    /// Empties the queue, oldest first.
    pub fn take_waiters(&mut self) -> impl Iterator<Item = W> + use<S, W> {
        std::mem::take(&mut self.waiters).into_values().map(|(_, waiter)| waiter)
    }
}

/// Idle servers that one is chosen from: all are looked at while the pool is locked.
const CHOICE: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { max: 3, min_idle: 0, max_idle: 3 };

    fn slots() -> (Slots<u32, u32>, Instant) {
        (Slots::new(SIZE), Instant::now())
    }

    #[test]
    fn waiters_are_served_in_order_and_nobody_overtakes() {
        let (mut s, now) = slots();
        let first = s.wait(1, now);
        s.wait(2, now + Duration::from_secs(1));
        assert_eq!(s.waiting_since(), Some(now));
        assert!(s.open(true) && s.open(true) && !s.open(true));
        s.opened();
        assert_eq!(s.leave(first), Some(1));
        assert_eq!(s.freed(), Freed::Hand(2));
        assert_eq!(s.freed(), Freed::Park);
        s.park(7);
        s.wait(3, now);
        assert_eq!(s.take(), None);
    }

    #[test]
    fn idle_servers_go_out_newest_first_and_expire_oldest_first() {
        let (mut s, now) = slots();
        for n in 0..3 {
            s.wait(n, now);
            assert!(s.open(true));
            s.opened();
            s.freed();
            s.park(n);
        }
        assert_eq!(s.take(), Some(2));
        assert_eq!(s.expire(1, |_| true), [0]);
        assert_eq!(s.total(), 3);
        s.closed();
        assert_eq!(s.total(), 2);
    }

    #[test]
    fn of_the_newest_few_the_one_that_suits_is_taken_else_the_newest() {
        let max = CHOICE + 2;
        let mut s: Slots<usize, u32> = Slots::new(Size { max, min_idle: 0, max_idle: max });
        for n in 0..max {
            s.wait(0, Instant::now());
            s.open(true);
            s.opened();
            s.freed();
            s.park(n);
        }
        let newest = max - 1;
        assert_eq!(s.take_if(|n| *n == 4, |_| false), None);
        assert_eq!(s.take_if(|n| *n == 4, |_| true), Some(4));
        // Too far back.
        assert_eq!(s.take_if(|n| *n == 0, |_| true), Some(newest));
        assert_eq!(s.take_if(|n| *n < newest - 1, |_| true), Some(newest - 2));
        assert_eq!(s.counts().idle, max - 3);
    }

    #[test]
    fn a_smaller_size_is_reached_as_servers_become_free() {
        let (mut s, now) = slots();
        for n in 0..3 {
            s.wait(n, now);
            s.open(true);
            s.opened();
            s.freed();
        }
        s.resize(Size { max: 2, ..SIZE });
        assert_eq!(s.freed(), Freed::Evict);
        s.closing();
        // Still three connections, until the EOF.
        assert_eq!(s.freed(), Freed::Evict);
        s.closing();
        s.closed();
        s.closed();
        assert_eq!(s.freed(), Freed::Park);
    }

    #[test]
    fn min_idle_opens_without_waiters() {
        let mut s: Slots<u32, u32> = Slots::new(Size { min_idle: 2, ..SIZE });
        assert!(!s.open(false));
        assert!(s.open(true) && s.open(true) && !s.open(true));
    }

    proptest! {
        /// Against a naive model: lists instead of counts.
        #[test]
        fn the_limit_holds_and_the_queue_is_fair(ops in prop::collection::vec(0u8..9, 1..200)) {
            let (mut s, now) = slots();
            let (mut leased, mut idle, mut queue) = (Vec::new(), Vec::new(), Vec::new());
            let (mut opening, mut closing, mut next) = (0usize, 0usize, 0u32);
            for op in ops {
                next += 1;
                match op {
                    0 | 1 => match s.take_if(|n| n % 3 == 0, |_| true) {
                        Some(server) => {
                            prop_assert!(queue.is_empty());
                            let at = idle.iter().rposition(|n| n % 3 == 0);
                            prop_assert_eq!(server, idle.remove(at.unwrap_or(idle.len() - 1)));
                            leased.push(server);
                        }
                        None => queue.push((s.wait(next, now), next)),
                    },
                    2 => opening += usize::from(s.open(true)),
                    3 if opening > 0 => {
                        opening -= 1;
                        s.opened();
                        leased.push(next);
                    }
                    4 if opening > 0 => {
                        opening -= 1;
                        s.open_failed();
                    }
                    5 if !leased.is_empty() => match s.freed() {
                        Freed::Hand(waiter) => prop_assert_eq!(waiter, queue.remove(0).1),
                        Freed::Park => {
                            prop_assert!(queue.is_empty());
                            let server = leased.remove(0);
                            s.park(server);
                            idle.push(server);
                        }
                        Freed::Evict => {
                            leased.remove(0);
                            s.closing();
                            closing += 1;
                        }
                    },
                    6 if closing > 0 => {
                        closing -= 1;
                        s.closed();
                    }
                    7 if !queue.is_empty() => {
                        let (id, waiter) = queue.remove(queue.len() / 2);
                        prop_assert_eq!(s.leave(id), Some(waiter));
                    }
                    8 => {
                        let gone = s.expire(1, |_| true);
                        closing += gone.len();
                        prop_assert_eq!(gone.first().copied(), (!idle.is_empty()).then(|| idle.remove(0)));
                    }
                    _ => {}
                }
                let expected = Counts {
                    opening,
                    leased: leased.len(),
                    idle: idle.len(),
                    closing,
                    waiting: queue.len(),
                };
                prop_assert_eq!(s.counts(), expected);
                prop_assert!(s.total() <= SIZE.max);
            }
        }
    }
}
