//! Who waits, who gets which server, who is evicted (sans-IO).
//!
//! ```text
//!             opened          hand / take
//!   opening ─────────> free <────────────── idle ──────────┐
//!      │ failed        │  ^ │                 ^  │ hand     │ expired
//!      v          hand │  │ └─── park ────────┘  v          │
//!   (gone)             v  │ returned                        │
//!                    leased, by class                       │
//!                                                           v
//!                   free ──── close ────────────────────> closing
//!                                                           │ closed: the server's EOF was read
//!                                                           v
//!                                                         (gone)
//! ```
//!
//! Invariants: opening + free + leased + idle + closing never grows past the limit and its reserve. Of two classes
//! that wait, the one that has used less of the servers' time by its weight, while anybody waited, is served next. Within
//! one, waiters are served in order, but under overload. A server is idle while somebody waits only
//! if it is kept for another class, which may be for a moment, or the class of those who wait has all that it may. Idle servers go out
//! newest first, so that the others grow old and go, unless one that is little older suits the client better.

mod class;
mod growth;
mod habit;

use std::time::Duration;

use crate::clock::Instant;

pub use class::Crowd;
use class::{Class, Waiter};
use growth::{Growth, Load};

use crate::class::{ClassId, ClassLimits};

/// Sizes of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Servers at most.
    pub max: usize,
    /// Idle servers kept open.
    pub min_idle: usize,
    /// Idle servers kept at most.
    pub max_idle: usize,
    /// Servers beyond `max` while somebody has waited for long.
    pub reserve: usize,
    /// How long somebody must have waited for that.
    pub reserve_after: Duration,
}

/// A place in the queue; a smaller one came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WaiterId {
    class: ClassId,
    number: u64,
}

/// What becomes of a server that is free.
#[derive(Debug, PartialEq, Eq)]
pub enum Freed<W> {
    /// It goes to a waiter of a class, and counts as leased to it.
    Hand(ClassId, W),
    /// It waits for the next; give it to [`Slots::park`].
    Park,
    /// It is too many; tell [`Slots::closing`].
    Evict,
}

/// Whether one more server is to be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// Yes; it counts as opening.
    Now,
    /// Not yet: who waits may be served sooner. It is to be asked again after so long.
    Later(Duration),
    /// No.
    No,
}

/// What a new server depends on.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Servers may be opened for nobody, to keep some idle.
    pub ahead: bool,
    /// How long opening one takes.
    pub cost: Duration,
    /// All wait for what one of them is learning from PostgreSQL, and none is helped by another server.
    pub learning: bool,
}

/// Who wants a pool to be warm; the larger number of the two holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmedBy {
    /// An operator.
    Operator,
    /// The configuration.
    Schedule,
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
    /// By [`ClassId`]; never empty.
    classes: Vec<Class<W>>,
    /// Servers that are kept for some of them, as their limits say.
    guaranteed: usize,
    /// Servers that are kept for a moment for those who gave them back.
    kept: usize,
    next_waiter: u64,
    waiting: usize,
    opening: usize,
    /// Neither idle nor leased: on the way from one to the other.
    free: usize,
    leased: usize,
    closing: usize,
    growth: Growth,
    /// Seconds for which somebody has waited who could have been served.
    contended: f64,
    /// Until when that was counted.
    at: Instant,
    /// So many are kept open, those at work included, until then: by who wants it.
    warm: [Option<(usize, Instant)>; 2],
    /// What the class that was served last had used.
    floor: f64,
    /// No server is lent, kept or opened.
    paused: bool,
    /// All wait for what one of them is learning from PostgreSQL, however many servers there are.
    learning: bool,
    /// And since when, though it may take too long to wait for.
    learning_since: Option<Instant>,
}

impl<S, W> Slots<S, W> {
    /// An empty pool.
    pub fn new(size: Size, classes: &[ClassLimits], now: Instant) -> Self {
        let mut slots = Self {
            size,
            idle: Vec::new(),
            classes: Vec::new(),
            guaranteed: 0,
            kept: 0,
            next_waiter: 0,
            waiting: 0,
            opening: 0,
            free: 0,
            leased: 0,
            closing: 0,
            growth: Growth::new(now),
            contended: 0.0,
            at: now,
            warm: [None; 2],
            floor: 0.0,
            paused: false,
            learning: false,
            learning_since: None,
        };
        slots.set_classes(classes, now);
        slots
    }

    /// Sizes now.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Changes sizes: a larger one holds at once, a smaller one as servers become free.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        self.guarantee();
    }

    /// Changes what holds for classes. A class keeps its place for ever, and no list is shorter than the one
    /// before.
    pub fn set_classes(&mut self, classes: &[ClassLimits], now: Instant) {
        self.pass(now);
        for (at, limits) in classes.iter().enumerate() {
            match self.classes.get_mut(at) {
                Some(class) => {
                    // What was used by the old weight stays so.
                    class.used(self.contended);
                    if class.limits != *limits {
                        class.forgive(self.floor);
                    }
                    class.limits = *limits;
                }
                None => self.classes.push(Class::new(*limits, self.contended)),
            }
        }
        if self.classes.len() > 1 {
            self.classes.iter_mut().for_each(|class| class.is_among_others(now));
        }
        self.guarantee();
    }

    /// What is guaranteed holds as far as it leaves one server to the others: a limit in per cent may come to less than was
    /// thought of.
    fn guarantee(&mut self) {
        for class in &mut self.classes {
            class.guaranteed = class.limits.guaranteed.min(self.size.max);
        }
        self.guaranteed = self.classes.iter().map(|class| class.guaranteed).sum();
        while self.guaranteed >= self.size.max.max(1) {
            let Some(most) = self.classes.iter_mut().max_by_key(|class| class.guaranteed) else {
                return;
            };
            most.guaranteed -= 1;
            self.guaranteed -= 1;
        }
    }

    /// To be called before anything changes.
    fn pass(&mut self, now: Instant) {
        // Several things change at a time.
        if now <= self.at {
            return;
        }
        let before = std::mem::replace(&mut self.at, now);
        if self.kept > 0 {
            self.kept -= self.classes.iter_mut().map(|class| class.unkeep(now)).sum::<usize>();
        }
        let somebody = self.waiting > 0 && !self.paused;
        // What classes use while nobody waits whom one more server would help is nobody's loss.
        if somebody && self.classes.iter().any(|class| class.waiting() > 0 && class.room() > 0) {
            self.contended += now.saturating_duration_since(before).as_secs_f64();
        }
        let waiting = if somebody { self.classes.iter().map(Class::wanted).sum() } else { 0 };
        let load = Load { leased: self.leased, waiting, opening: self.opening };
        if self.learning {
            self.growth.skip(now);
        } else {
            self.growth.pass(load, now);
        }
    }

    /// Lends, keeps and opens no server; who waits waits on.
    pub fn pause(&mut self, now: Instant) {
        self.pass(now);
        self.paused = true;
    }

    /// Lends, keeps and opens servers again. What was waited meanwhile says nothing of how long it will take.
    pub fn resume(&mut self, now: Instant) {
        self.pass(now);
        self.paused = false;
        self.classes.iter_mut().for_each(|class| class.resume(now));
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Counts by state.
    pub fn counts(&self) -> Counts {
        Counts {
            opening: self.opening,
            leased: self.leased + self.free,
            idle: self.idle.len(),
            closing: self.closing,
            waiting: self.waiting,
        }
    }

    /// Servers leased to a class, and its clients in the queue.
    pub fn counts_of(&self, class: ClassId) -> (usize, usize) {
        self.class(class).map_or((0, 0), |class| (class.leased(), class.waiting()))
    }

    /// Connections to PostgreSQL, opening and closing ones included.
    pub fn total(&self) -> usize {
        self.opening + self.free + self.leased + self.idle.len() + self.closing
    }

    /// Those that are to stay, as far as it is known: one that is closing makes room for nobody yet, and is no
    /// reason to close another.
    fn open_or_opening(&self) -> usize {
        self.total() - self.closing
    }

    /// Takes the newest idle server, unless somebody came earlier.
    pub fn take(&mut self, class: ClassId, now: Instant) -> Option<S> {
        self.take_if(class, now, |_| false, |_| true)
    }

    /// Takes the newest of the few newest idle servers that `suits` says so of, or else the newest, if
    /// `fits` says so of that one; none if somebody came earlier or the class has all it may.
    pub fn take_if(
        &mut self,
        class: ClassId,
        now: Instant,
        suits: impl FnMut(&S) -> bool,
        fits: impl FnOnce(&mut S) -> bool,
    ) -> Option<S> {
        let at = self.choose_idle(suits)?;
        if self.class(class)?.waiting() > 0 || !self.may_have(class) || !fits(&mut self.idle[at]) {
            return None;
        }
        self.pass(now);
        let server = self.idle.remove(at);
        self.free += 1;
        self.want(class);
        self.lease(class);
        Some(server)
    }

    fn choose_idle(&self, mut suits: impl FnMut(&S) -> bool) -> Option<usize> {
        let newest = self.idle.len().checked_sub(1)?;
        if newest == 0 {
            return Some(newest);
        }
        let mut few = self.idle.iter().enumerate().rev().take(CHOICE);
        Some(few.find(|(_, server)| suits(server)).map_or(newest, |(at, _)| at))
    }

    /// Queues, unless so many of the class wait already.
    pub fn wait(
        &mut self,
        class: ClassId,
        waiter: W,
        now: Instant,
    ) -> Result<WaiterId, (W, Crowd)> {
        self.queue(class, Waiter { since: now, who: waiter, newcomer: false })
    }

    /// Queues one who waits until it is known what servers report: a server would tell, and so will
    /// [`Slots::take_newcomers`].
    pub fn wait_as_newcomer(
        &mut self,
        class: ClassId,
        waiter: W,
        now: Instant,
    ) -> Result<WaiterId, (W, Crowd)> {
        self.queue(class, Waiter { since: now, who: waiter, newcomer: true })
    }

    fn queue(&mut self, class: ClassId, waiter: Waiter<W>) -> Result<WaiterId, (W, Crowd)> {
        self.pass(waiter.since);
        if !waiter.newcomer {
            self.want(class);
        }
        let id = WaiterId { class, number: self.next_waiter };
        let (floor, contended) = (self.floor, self.contended);
        let most = floor + MOST_DEBT * self.size.max as f64;
        // Those that are being opened, or may be.
        let coming = self.size.max.saturating_sub(self.leased + self.closing);
        let coming = if self.paused { 0 } else { coming };
        let Some(class) = self.classes.get_mut(usize::from(class.0)) else {
            return Err((waiter.who, Crowd { waiting: 0, expected: None }));
        };
        class.wait(id.number, waiter, contended, (floor, most), (self.leased, coming))?;
        self.next_waiter += 1;
        self.waiting += 1;
        Ok(id)
    }

    /// Leaves the queue; `None` if a server was handed over meanwhile.
    pub fn leave(&mut self, id: WaiterId, now: Instant) -> Option<W> {
        self.pass(now);
        let left = self.classes.get_mut(usize::from(id.class.0))?.leave(id)?;
        self.waiting -= 1;
        Some(left)
    }

    /// How long a client of a class may wait.
    pub fn queue_timeout(&self, class: ClassId) -> Duration {
        self.class(class).map_or(Duration::MAX, |class| class.limits.queue_timeout)
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        self.waiting > 0
    }

    /// Whether there are servers that are lent, or may be.
    pub fn works(&self) -> bool {
        self.leased + self.free + self.idle.len() > 0
    }

    /// Whether anybody waits who may have one more server.
    pub fn has_admissible(&self) -> bool {
        self.admissible(self.held()) > 0
    }

    /// Since when the one waits who has waited longest.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.classes.iter().filter_map(Class::waiting_since).min()
    }

    /// How many of a class come before one who has waited since then.
    pub fn ahead_of(&self, class: ClassId, since: Instant, now: Instant) -> usize {
        self.class(class).map_or(0, |class| class.ahead_of(since, now))
    }

    /// Who waits in a class.
    pub fn crowd(&self, class: ClassId, now: Instant) -> Crowd {
        let nobody = Crowd { waiting: 0, expected: None };
        self.class(class).map_or(nobody, |class| class.crowd(now, self.leased))
    }

    /// Whether a class has all the servers that it may have by its own limit.
    pub fn is_class_full(&self, class: ClassId) -> bool {
        self.class(class).is_some_and(|class| class.room() == 0)
    }

    /// Whether the limit, with its reserve, leaves room for one more server.
    pub fn has_room(&self) -> bool {
        self.total() < self.size.max.saturating_add(self.size.reserve)
    }

    /// Whether one more server is to be opened.
    pub fn open(&mut self, demand: Demand, now: Instant) -> Opening {
        self.pass(now);
        let since = demand.learning.then(|| self.learning_since.unwrap_or(now));
        self.learning_since = since;
        self.learning =
            since.is_some_and(|since| now.saturating_duration_since(since) < LONGEST_LESSON);
        if self.paused {
            return Opening::No;
        }
        if self.learning && self.open_or_opening() > 0 {
            return Opening::Later(LEARNT);
        }
        let reserve = self.total() >= self.size.max;
        if reserve {
            match self.until_reserve(now) {
                Some(Duration::ZERO) => {}
                Some(after) => return Opening::Later(after),
                None => return Opening::No,
            }
        }
        let waiting = self.admissible(if reserve { self.with_reserve() } else { self.size.max });
        if self.opening < waiting {
            // Those that are being opened have somebody to go to already.
            let waiting = waiting - self.opening;
            let load = Load { leased: self.leased + self.free, waiting, opening: self.opening };
            return match self.growth.wants(load, demand.cost, now) {
                Ok(()) => self.opens(),
                Err(after) => Opening::Later(after),
            };
        }
        if demand.ahead && !reserve && self.opening < self.lacking(now) {
            return self.opens();
        }
        Opening::No
    }

    /// Keeps so many servers open until then, those at work included.
    pub fn warm(&mut self, by: WarmedBy, servers: usize, until: Instant) {
        self.warm[by as usize] = Some((servers, until));
    }

    /// Has no servers opened for nobody any more.
    pub fn keep_none(&mut self) {
        self.size.min_idle = 0;
        self.warm = [None; 2];
    }

    /// Whether somebody wants that.
    pub fn is_to_be_warm(&self, now: Instant) -> bool {
        self.warmed(now) > 0
    }

    /// Servers that are to be opened for nobody.
    fn lacking(&self, now: Instant) -> usize {
        if self.paused {
            return 0;
        }
        let idle = self.size.min_idle.saturating_sub(self.idle.len());
        let open = self.idle.len() + self.leased + self.free;
        idle.max(self.warmed(now).saturating_sub(open))
    }

    fn warmed(&self, now: Instant) -> usize {
        let warm = self.warm.iter().flatten().filter(|(_, until)| now < *until);
        warm.map(|(servers, _)| *servers).max().unwrap_or(0)
    }

    /// Idle servers that may be kept.
    fn most_idle(&self, now: Instant) -> usize {
        self.size.max_idle.max(self.warmed(now))
    }

    /// How long it is until a server of the reserve may be opened; `None` if that is not to be expected.
    fn until_reserve(&self, now: Instant) -> Option<Duration> {
        if !self.has_room() {
            return None;
        }
        // Others are not helped by one more server.
        let limit = self.with_reserve();
        let helped = self.classes.iter().filter(|class| self.may_have_of(class, limit));
        let waited = now.saturating_duration_since(helped.filter_map(Class::waiting_since).min()?);
        Some(self.size.reserve_after.saturating_sub(waited))
    }

    fn opens(&mut self) -> Opening {
        self.opening += 1;
        Opening::Now
    }

    /// Whether one of those that are being opened would go to nobody.
    pub fn is_opening_too_many(&self, ahead: bool, now: Instant) -> bool {
        let lacking = if ahead { self.lacking(now) } else { 0 };
        self.opening > self.admissible(self.held()).max(lacking) || self.total() > self.most()
    }

    /// A server was opened; it is free until [`Slots::freed`] says where it goes.
    pub fn opened(&mut self, now: Instant) {
        self.pass(now);
        self.opening -= 1;
        self.free += 1;
    }

    /// A server could not be opened, and its connection is gone.
    pub fn open_failed(&mut self, now: Instant) {
        self.pass(now);
        self.opening -= 1;
    }

    /// A client of a class has done with its server; it is free.
    pub fn returned(&mut self, class: ClassId, now: Instant) {
        self.pass(now);
        self.growth.on_returned();
        if let Some(class) = self.classes.get_mut(usize::from(class.0)) {
            class.on_returned(self.contended, self.at);
        }
        self.leased -= 1;
        self.free += 1;
    }

    /// Has a server that came back, and may be parked, wait for a client of its class, if the others who wait have used
    /// more.
    pub fn keep(&mut self, class: ClassId) {
        if self.waiting == 0 || self.paused || self.idle.len() >= self.most_idle(self.at) {
            return;
        }
        let contended = self.contended;
        let waiting =
            self.classes.iter_mut().filter(|class| class.waiting() > 0 && class.room() > 0);
        let least = waiting.map(|class| class.used(contended)).min_by(f64::total_cmp);
        let (Some(least), Some(class)) = (least, self.classes.get_mut(usize::from(class.0))) else {
            return;
        };
        self.kept += usize::from(class.keep(contended, self.floor, least, self.at));
    }

    /// Until when the first of the servers is kept that are kept for a moment.
    pub fn kept_until(&self) -> Option<Instant> {
        if self.kept == 0 {
            return None;
        }
        self.classes.iter().filter_map(Class::kept_until).min()
    }

    /// Keeps those no longer whose moment is over; tells when the next one's is.
    pub fn unkeep(&mut self, now: Instant) -> Option<Instant> {
        self.pass(now);
        self.kept_until()
    }

    /// A client of a class wants a server.
    fn want(&mut self, class: ClassId) {
        if let Some(class) = self.classes.get_mut(usize::from(class.0)) {
            class.on_wanted(self.at);
        }
    }

    /// Where a server goes that is free.
    pub fn freed(&mut self, now: Instant) -> Freed<W> {
        if self.paused || self.open_or_opening() > self.most() {
            return Freed::Evict;
        }
        match self.next(now) {
            Some((class, waiter)) => Freed::Hand(class, waiter),
            None if self.idle.len() >= self.most_idle(now) => Freed::Evict,
            None => Freed::Park,
        }
    }

    /// Keeps a free server for the next.
    pub fn park(&mut self, server: S) {
        self.free -= 1;
        self.idle.push(server);
    }

    /// Takes an idle server for one who waits, if a change of limits lets him have it now.
    pub fn dispatch(&mut self, now: Instant) -> Option<(S, ClassId, W)> {
        self.dispatch_if(now, |_| true)
    }

    /// The same, if the newest idle one `fits`.
    pub fn dispatch_if(
        &mut self,
        now: Instant,
        fits: impl FnOnce(&mut S) -> bool,
    ) -> Option<(S, ClassId, W)> {
        if self.waiting == 0 || !self.idle.last_mut().is_some_and(fits) {
            return None;
        }
        let server = self.idle.pop()?;
        self.free += 1;
        let Some((class, waiter)) = self.next(now) else {
            self.park(server);
            return None;
        };
        Some((server, class, waiter))
    }

    /// Takes those who would wait in vain, and who is in the queue with them.
    pub fn shed(&mut self, now: Instant) -> Vec<(ClassId, W, Crowd)> {
        self.pass(now);
        let mut shed = Vec::new();
        if self.paused {
            return shed;
        }
        for (class, at) in self.classes.iter_mut().zip(0..) {
            while let Some((waiter, crowd)) = class.shed(now, self.leased) {
                shed.push((ClassId(at), waiter, crowd));
            }
        }
        self.waiting -= shed.len();
        shed
    }

    /// Takes those whose time in the queue is over.
    pub fn take_late(&mut self, now: Instant) -> Vec<W> {
        self.pass(now);
        let mut late = Vec::new();
        for class in &mut self.classes {
            late.extend(std::iter::from_fn(|| class.take_late(now)));
        }
        self.waiting -= late.len();
        late
    }

    /// When there is to be asked for them next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.classes.iter().filter_map(Class::deadline).min()
    }

    /// A free server is being closed.
    pub fn closing(&mut self) {
        self.free -= 1;
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
    pub fn spare(&self, now: Instant) -> usize {
        let kept = self.size.min_idle.max(self.warmed(now).saturating_sub(self.leased + self.free));
        self.idle.len().saturating_sub(kept)
    }

    /// Idle servers that are too many for the size.
    pub fn surplus(&self, now: Instant) -> usize {
        let over = self.open_or_opening().saturating_sub(self.size.max);
        over.max(self.idle.len().saturating_sub(self.most_idle(now))).min(self.idle.len())
    }

    /// Empties the queue, oldest first by class.
    pub fn take_waiters(&mut self) -> impl Iterator<Item = W> + use<S, W> {
        self.waiting = 0;
        let classes = self.classes.iter_mut();
        classes.flat_map(Class::take_waiters).collect::<Vec<_>>().into_iter()
    }

    /// Takes those out of the queue who waited for what is known now.
    pub fn take_newcomers(&mut self, now: Instant) -> Vec<W> {
        self.pass(now);
        let newcomers: Vec<_> = self.classes.iter_mut().flat_map(Class::take_newcomers).collect();
        self.waiting -= newcomers.len();
        newcomers
    }

    /// What the reserve has opened works on until nobody waits.
    fn most(&self) -> usize {
        let reserve = if self.waiting > 0 { self.size.reserve } else { 0 };
        self.size.max + reserve
    }

    fn class(&self, id: ClassId) -> Option<&Class<W>> {
        self.classes.get(usize::from(id.0))
    }

    /// Servers that there are or may be without the reserve.
    fn held(&self) -> usize {
        self.size.max.max(self.open_or_opening())
    }

    /// The same with one more of the reserve.
    fn with_reserve(&self) -> usize {
        self.size.max.max(self.open_or_opening() + 1)
    }

    /// Whether one more server may go to a class: it has not all that it may, and what is kept for
    /// others is left.
    pub fn may_have(&self, id: ClassId) -> bool {
        !self.paused && self.class(id).is_some_and(|class| self.may_have_of(class, self.held()))
    }

    fn may_have_of(&self, class: &Class<W>, limit: usize) -> bool {
        class.room() > 0 && (class.unmet() > 0 || self.unkept(class, limit) > 0)
    }

    /// Of so many servers, those that are neither leased nor kept for classes but this one.
    fn unkept(&self, but: &Class<W>, limit: usize) -> usize {
        if self.guaranteed + self.kept == 0 {
            return usize::MAX;
        }
        let kept: usize = self.classes.iter().map(Class::unmet).sum();
        let kept = kept - but.unmet();
        limit.saturating_sub(self.leased + kept)
    }

    /// How many of those who wait could have one of so many servers each.
    fn admissible(&self, limit: usize) -> usize {
        if self.waiting == 0 || self.paused {
            return 0;
        }
        let could = |class: &Class<W>| {
            let most = class.room().min(class.unmet().saturating_add(self.unkept(class, limit)));
            class.wanted().min(most)
        };
        self.classes.iter().map(could).sum()
    }

    /// Leases a free server to the one who is served next.
    fn next(&mut self, now: Instant) -> Option<(ClassId, W)> {
        if self.waiting == 0 {
            return None;
        }
        self.pass(now);
        let id = self.next_class()?;
        let class = self.classes.get_mut(usize::from(id.0))?;
        // Who is served out of turn, by its guarantee, may have used more than those whose turn it is.
        let in_turn = class.unmet() == 0;
        let waiter = class.next(now, self.leased)?;
        if in_turn {
            self.floor = self.floor.max(class.used(self.contended));
        }
        self.lease(id);
        self.waiting -= 1;
        Some((id, waiter))
    }

    /// Who has less than is kept for it comes first; then who has used least.
    fn next_class(&mut self) -> Option<ClassId> {
        let mut best: Option<(ClassId, (bool, f64))> = None;
        for at in 0..self.classes.len() {
            let id = ClassId(at.try_into().ok()?);
            if self.classes[at].waiting() == 0 || !self.may_have(id) {
                continue;
            }
            let class = &mut self.classes[at];
            let rank = (class.unmet() == 0, class.used(self.contended));
            if best.is_none_or(|(_, least)| rank < least) {
                best = Some((id, rank));
            }
        }
        best.map(|(id, _)| id)
    }

    fn lease(&mut self, id: ClassId) {
        if let Some(class) = self.classes.get_mut(usize::from(id.0)) {
            self.kept -= usize::from(class.on_leased(self.contended, self.at));
        }
        self.free -= 1;
        self.leased += 1;
    }
}

/// Seconds of all servers of a pool that a class may have used more than others when it begins to wait: what it used while
/// nobody else had a claim to it for longer is not to keep it waiting as long.
const MOST_DEBT: f64 = 10.0;

/// How long nobody is helped by another server because something is being learnt.
const LONGEST_LESSON: Duration = Duration::from_secs(1);

/// When to ask again whether that has been learnt.
const LEARNT: Duration = Duration::from_millis(2);

/// Idle servers that one is chosen from: all are looked at while the pool is locked.
const CHOICE: usize = 8;

#[cfg(test)]
mod tests;
