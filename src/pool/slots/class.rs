//! The clients of one class in one pool (sans-IO): who of them waits, and what they have used.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::WaiterId;
use super::habit::Habit;
use crate::class::ClassLimits;
use crate::clock::Instant;

/// Who waited when a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Clients of the class in the queue.
    pub waiting: usize,
    /// How long one more would have to wait, if that is known.
    pub expected: Option<Duration>,
}

/// The clients of one class.
#[derive(Debug)]
pub(super) struct Class<W> {
    pub(super) limits: ClassLimits,
    /// Servers that are kept for it.
    pub(super) guaranteed: usize,
    queue: BTreeMap<u64, Waiter<W>>,
    /// Those of the queue who only want to learn what servers report.
    newcomers: usize,
    leased: usize,
    /// Until when servers are kept for it that it has given back, oldest first; and what it does with them.
    kept: VecDeque<Instant>,
    /// If there are others, to whom it matters.
    habit: Option<Habit>,
    /// Seconds of servers used while somebody waited, over the weight; and until which of those seconds.
    used: f64,
    charged: f64,
    /// Time between two servers given to waiters: `None` until there were two in a row.
    pace: Option<Duration>,
    handed: Option<Instant>,
    /// Since when somebody has waited.
    began: Option<Instant>,
    /// Since when the longest wait has been above the target; once for too long, until nobody waits or all soon could
    /// be served.
    above_since: Option<Instant>,
    /// Since when, under overload, all who wait could be served within the target.
    short_since: Option<Instant>,
}

/// One in the queue.
#[derive(Debug)]
pub(super) struct Waiter<W> {
    pub(super) since: Instant,
    pub(super) who: W,
    /// It only wants to learn what servers report: one server does for all of them, and they do not count against the
    /// limit of the queue.
    pub(super) newcomer: bool,
}

impl<W> Class<W> {
    pub(super) fn new(limits: ClassLimits, contended: f64) -> Self {
        Self {
            limits,
            guaranteed: 0,
            queue: BTreeMap::new(),
            newcomers: 0,
            leased: 0,
            kept: VecDeque::new(),
            habit: None,
            used: 0.0,
            charged: contended,
            pace: None,
            handed: None,
            began: None,
            above_since: None,
            short_since: None,
        }
    }

    /// Servers are lent again, after a time in which none was.
    pub(super) fn resume(&mut self, now: Instant) {
        self.handed = None;
        self.began = (!self.queue.is_empty()).then_some(now);
        self.above_since = None;
        self.short_since = None;
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Servers that those in the queue would take.
    pub(super) fn wanted(&self) -> usize {
        self.queue.len() - self.newcomers + self.newcomers.min(1)
    }

    pub(super) fn leased(&self) -> usize {
        self.leased
    }

    /// Servers that are kept for it and that it does not use.
    pub(super) fn unmet(&self) -> usize {
        self.guaranteed.saturating_sub(self.leased).max(self.kept.len())
    }

    /// Keeps a server that it has given back, if it is known to be back for it soon and has used less than so much, which is
    /// what others have who wait. `floor`: as in [`Class::wait`].
    pub(super) fn keep(&mut self, contended: f64, floor: f64, others: f64, now: Instant) -> bool {
        let moment = self.habit.as_ref().and_then(Habit::keeps);
        let Some(moment) = moment.filter(|_| self.queue.is_empty()) else { return false };
        self.used = self.used(contended).max(floor);
        let keeps = self.used < others;
        if keeps {
            self.kept.push_back(now + moment);
        }
        keeps
    }

    /// Servers are no longer kept for it that were kept until now; so many were.
    pub(super) fn unkeep(&mut self, now: Instant) -> usize {
        // They are kept for less and less long where leases become shorter.
        let before = self.kept.len();
        self.kept.retain(|until| *until > now);
        before - self.kept.len()
    }

    /// Until when one is.
    pub(super) fn kept_until(&self) -> Option<Instant> {
        self.kept.iter().min().copied()
    }

    /// One of its clients wants a server.
    pub(super) fn on_wanted(&mut self, now: Instant) {
        if let Some(habit) = &mut self.habit {
            habit.pass(self.leased, now);
            habit.on_wanted();
        }
    }

    /// There are other classes.
    pub(super) fn is_among_others(&mut self, now: Instant) {
        self.habit.get_or_insert_with(|| Habit::new(now));
    }

    /// Servers that it may still take by its own limit.
    pub(super) fn room(&self) -> usize {
        self.limits.max_servers.map_or(usize::MAX, |max| max.saturating_sub(self.leased))
    }

    /// Seconds of servers used while somebody waited, over the weight. `contended`: so many such seconds there were.
    pub(super) fn used(&mut self, contended: f64) -> f64 {
        let passed = (contended - self.charged).max(0.0);
        self.used += passed * self.leased as f64 / f64::from(self.limits.weight.max(1));
        self.charged = contended;
        self.used
    }

    /// What it could not use under other limits is no claim.
    pub(super) fn forgive(&mut self, floor: f64) {
        self.used = self.used.max(floor);
    }

    /// Whether that was one that was kept for it.
    pub(super) fn on_leased(&mut self, contended: f64, now: Instant) -> bool {
        self.used(contended);
        if let Some(habit) = &mut self.habit {
            habit.pass(self.leased, now);
        }
        self.leased += 1;
        self.kept.pop_front().is_some()
    }

    pub(super) fn on_returned(&mut self, contended: f64, now: Instant) {
        self.used(contended);
        if let Some(habit) = &mut self.habit {
            habit.pass(self.leased, now);
            habit.on_returned(now);
        }
        self.leased -= 1;
    }

    /// Queues one. A class that has waited for nothing has no claim to the time it did not use:
    /// `floor` is what the class served last had used, and `most` what counts at most. `lent` servers may come back, and
    /// `coming` ones be there soon: who will have one of these is not in anybody's way.
    pub(super) fn wait(
        &mut self,
        id: u64,
        waiter: Waiter<W>,
        contended: f64,
        (floor, most): (f64, f64),
        (lent, coming): (usize, usize),
    ) -> Result<(), (W, Crowd)> {
        let counted = self.queue.len() - self.newcomers;
        let coming = coming.min(self.room());
        let is_full = |limit: usize| counted >= limit.saturating_add(coming);
        if !waiter.newcomer && self.limits.queue_limit.is_some_and(is_full) {
            return Err((waiter.who, self.crowd(waiter.since, lent)));
        }
        if self.queue.is_empty() {
            self.used = self.used(contended).clamp(floor, most.max(floor));
            self.handed = None;
            self.began = Some(waiter.since);
            self.above_since = None;
            self.short_since = None;
        }
        self.newcomers += usize::from(waiter.newcomer);
        self.queue.insert(id, waiter);
        Ok(())
    }

    pub(super) fn leave(&mut self, id: WaiterId) -> Option<W> {
        let left = self.queue.remove(&id.number)?;
        Some(self.gone(left))
    }

    fn gone(&mut self, waiter: Waiter<W>) -> W {
        self.newcomers -= usize::from(waiter.newcomer);
        waiter.who
    }

    /// Since when the first in the queue waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(_, first)| first.since)
    }

    /// When the time of the first in the queue is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting_since().map(|since| since + self.limits.queue_timeout)
    }

    /// Takes the first in the queue if its time is over.
    pub(super) fn take_late(&mut self, now: Instant) -> Option<W> {
        let first = self.queue.first_entry()?;
        let is_late = first.get().since + self.limits.queue_timeout <= now;
        let late = is_late.then(|| first.remove())?;
        Some(self.gone(late))
    }

    /// How many of the queue come before one who has waited since then: those who came earlier, or under overload
    /// those who came later.
    pub(super) fn ahead_of(&self, since: Instant, now: Instant) -> usize {
        if self.is_overloaded(now) {
            return self.queue.values().rev().take_while(|waiter| waiter.since > since).count();
        }
        self.queue.values().take_while(|waiter| waiter.since < since).count()
    }

    /// Takes the one who is served next: the first, or under overload the last to come. Those who
    /// have waited longest are then past being helped, and each server given to one of them makes
    /// another too late.
    pub(super) fn next(&mut self, now: Instant, lent: usize) -> Option<W> {
        self.note_delay(now, lent);
        let (_, next) = if self.is_overloaded(now) {
            self.queue.pop_last()?
        } else {
            self.queue.pop_first()?
        };
        if let Some(before) = self.handed.replace(now) {
            let passed = now.saturating_duration_since(before);
            self.pace = Some(self.pace.map_or(passed, |pace| (pace * 7 + passed) / 8));
        }
        Some(self.gone(next))
    }

    /// Whether the queue's delay has been above the target for as long as the target (what CoDel, RFC
    /// 8289, calls its interval), and has been neither empty nor short since.
    pub(super) fn is_overloaded(&self, now: Instant) -> bool {
        let target = self.limits.queue_target;
        self.above_since.is_some_and(|since| now.saturating_duration_since(since) >= target)
    }

    /// The longest wait does not tell when an overload is over: who has waited longest is not served any more
    /// while others come, be they ever so few. What tells is how long it would take to serve all. It must do so for
    /// a while: where servers come back many at a time, the pace seems quick among them.
    fn note_recovery(&mut self, now: Instant, lent: usize) {
        let target = self.limits.queue_target;
        let is_short = || {
            let all = self.crowd(now, lent).expected;
            self.pace.is_some() && all.is_some_and(|all| all <= target)
        };
        if !self.is_overloaded(now) || !is_short() {
            self.short_since = None;
            return;
        }
        let since = *self.short_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= target / SURE {
            self.above_since = None;
            self.short_since = None;
        }
    }

    fn note_delay(&mut self, now: Instant, lent: usize) {
        self.note_recovery(now, lent);
        let target = self.limits.queue_target;
        let above =
            self.waiting_since().is_some_and(|since| now.saturating_duration_since(since) > target);
        match (above, self.above_since) {
            (true, None) => self.above_since = Some(now),
            (false, Some(_)) if !self.is_overloaded(now) => self.above_since = None,
            _ => {}
        }
    }

    /// Takes one who would wait in vain: under overload, the one who came first, if so many are
    /// served before him that his time will be over.
    pub(super) fn shed(&mut self, now: Instant, lent: usize) -> Option<(W, Crowd)> {
        self.note_delay(now, lent);
        if !self.is_overloaded(now) {
            return None;
        }
        let crowd = self.crowd(now, lent);
        let first = self.queue.first_entry()?;
        let left = (first.get().since + self.limits.queue_timeout).saturating_duration_since(now);
        if crowd.expected? <= left {
            return None;
        }
        let first = first.remove();
        Some((self.gone(first), crowd))
    }

    /// The queue as it is, where so many servers are leased to all classes.
    pub(super) fn crowd(&self, now: Instant, lent: usize) -> Crowd {
        let waiting = self.queue.len();
        // Where no server comes back, it is only known that it takes longer than this; all that are lent may come
        // back at once.
        let lent = u32::try_from(lent.max(1)).unwrap_or(u32::MAX);
        let since = self.handed.or(self.began);
        let stuck = since.map(|since| now.saturating_duration_since(since) / lent);
        let pace = match self.pace {
            Some(pace) => Some(pace.max(stuck.unwrap_or_default())),
            None => stuck.filter(|_| self.is_overloaded(now)),
        };
        let expected = pace.map(|pace| pace.saturating_mul(waiting.try_into().unwrap_or(u32::MAX)));
        Crowd { waiting, expected }
    }

    /// Empties the queue, oldest first.
    pub(super) fn take_waiters(&mut self) -> impl Iterator<Item = W> + use<W> {
        self.newcomers = 0;
        std::mem::take(&mut self.queue).into_values().map(|waiting| waiting.who)
    }

    /// Takes the newcomers out of the queue, oldest first.
    pub(super) fn take_newcomers(&mut self) -> impl Iterator<Item = W> + use<W> {
        let is_newcomer = |_: &u64, waiter: &mut Waiter<W>| waiter.newcomer;
        let some = self.newcomers > 0;
        self.newcomers = 0;
        let newcomers: Vec<_> =
            if some { self.queue.extract_if(.., is_newcomer).collect() } else { Vec::new() };
        newcomers.into_iter().map(|(_, waiting)| waiting.who)
    }
}

/// A queue that is short for this part of the target is no longer overloaded.
const SURE: u32 = 4;
