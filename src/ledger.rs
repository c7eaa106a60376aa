//! Who is pinned now and why, and how often and how long that was so far.
//!
//! Plain data behind one lock. Invariant: knows neither sockets nor sessions; a client's task enters its
//! own pins, and a guard takes them out again. What is kept of the past is bounded
//! ([`MAX_APPLICATIONS`]), whatever names clients give themselves.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info};

use crate::metrics::{Metrics, PinMetrics};
use crate::session::Cause;
use crate::session::pins::{PinReason, Pins};

/// Who has a session.
#[derive(Debug, Clone)]
pub struct Who {
    /// The process id that it was told.
    pub id: u32,
    /// Whom it has logged in as.
    pub user: Arc<str>,
    /// The database it named.
    pub database: Arc<str>,
}

/// All pins.
#[derive(Debug)]
pub struct Ledger {
    metrics: PinMetrics,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    current: BTreeMap<u64, Entry>,
    totals: BTreeMap<(PinReason, Arc<str>), Total>,
    applications: HashSet<Arc<str>>,
    seconds: [Duration; PinReason::ALL.len()],
}

/// One pinned client.
#[derive(Debug)]
struct Entry {
    who: Who,
    application: Arc<str>,
    server: u32,
    held: Vec<Held>,
}

/// One reason of its pin.
#[derive(Debug)]
struct Held {
    reason: PinReason,
    cause: Cause,
    since: Instant,
    began: SystemTime,
    /// Up to here it is in the totals.
    counted: Instant,
}

/// What came together of one reason and one application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// Pins that have begun.
    pub count: u64,
    /// How long they have lasted.
    pub lasted: Duration,
    /// Those that are now.
    pub now: u64,
}

/// One pin that is now.
#[derive(Debug, Clone)]
pub struct Pin {
    /// Whose.
    pub who: Who,
    /// Its application's name.
    pub application: Arc<str>,
    /// The process of PostgreSQL that it keeps.
    pub server: u32,
    /// Why.
    pub reason: PinReason,
    /// What brought it about.
    pub cause: Cause,
    /// When it began.
    pub began: SystemTime,
    /// How long ago that was.
    pub lasted: Duration,
}

/// A pinned client's place in the ledger; dropped, it is pinned no longer.
#[derive(Debug)]
pub struct Pinned {
    ledger: Arc<Ledger>,
    id: u64,
    pins: Pins,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(metrics: &Metrics) -> Self {
        let reasons = PinReason::ALL.map(PinReason::text);
        Self { metrics: metrics.pins(&reasons), inner: Mutex::default() }
    }

    /// A client is pinned to the server of this process id; why, it says by [`Pinned::update`].
    pub fn begin(self: &Arc<Self>, who: &Who, application: &[u8], server: u32) -> Pinned {
        let mut inner = self.lock();
        let application = inner.name_of(application);
        let id = inner.next;
        inner.next += 1;
        inner.current.insert(id, Entry { who: who.clone(), application, server, held: Vec::new() });
        drop(inner);
        Pinned { ledger: Arc::clone(self), id, pins: Pins::NONE }
    }

    /// Brings the totals, and the metrics made of them, up to date.
    pub fn upkeep(&self, now: Instant) {
        self.lock().count_all(now, &self.metrics);
    }

    /// All pins that are now, the oldest client's first.
    pub fn current(&self, now: Instant) -> Vec<Pin> {
        let inner = self.lock();
        let pins =
            inner.current.values().flat_map(|entry| entry.held.iter().map(|h| entry.pin(h, now)));
        pins.collect()
    }

    /// What came together, by reason and application.
    pub fn totals(&self, now: Instant) -> Vec<(PinReason, Arc<str>, Total)> {
        let mut inner = self.lock();
        inner.count_all(now, &self.metrics);
        let rows = inner.totals.iter();
        rows.map(|((reason, name), total)| (*reason, Arc::clone(name), *total)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pinned {
    /// The reasons are these now.
    pub fn update<'c>(
        &mut self,
        pins: Pins,
        cause: impl Fn(PinReason) -> Option<&'c Cause>,
        now: Instant,
    ) {
        if pins == self.pins {
            return;
        }
        let began: Vec<_> = pins.iter().filter(|reason| !self.pins.contains(*reason)).collect();
        let metrics = &self.ledger.metrics;
        let mut inner = self.ledger.lock();
        inner.end(self.id, now, metrics, |reason| !pins.contains(reason));
        for reason in began {
            inner.begin(self.id, reason, cause(reason).cloned().unwrap_or_default(), now);
            metrics.count(reason as usize);
        }
        self.pins = pins;
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut inner = self.ledger.lock();
        inner.end(self.id, Instant::now(), &self.ledger.metrics, |_| true);
        inner.current.remove(&self.id);
    }
}

impl Inner {
    /// A name that is known, or that there is still room for; else [`OTHER`].
    fn name_of(&mut self, application: &[u8]) -> Arc<str> {
        let name = String::from_utf8_lossy(application.get(..MAX_NAME).unwrap_or(application));
        if let Some(known) = self.applications.get(&*name) {
            return Arc::clone(known);
        }
        if self.applications.len() >= MAX_APPLICATIONS {
            return OTHER.into();
        }
        let name: Arc<str> = name.into();
        self.applications.insert(Arc::clone(&name));
        name
    }

    fn begin(&mut self, id: u64, reason: PinReason, cause: Cause, now: Instant) {
        let Some(entry) = self.current.get_mut(&id) else { return };
        info!(
            reason = reason.text(),
            object = &*cause.object,
            statement = &*cause.statement,
            application = &*entry.application,
            user = &*entry.who.user,
            database = &*entry.who.database,
            "a client is pinned"
        );
        let total = self.totals.entry((reason, Arc::clone(&entry.application))).or_default();
        total.count += 1;
        total.now += 1;
        let began = SystemTime::now();
        entry.held.push(Held { reason, cause, since: now, began, counted: now });
    }

    fn end(
        &mut self,
        id: u64,
        now: Instant,
        metrics: &PinMetrics,
        ends: impl Fn(PinReason) -> bool,
    ) {
        let Some(entry) = self.current.get_mut(&id) else { return };
        for held in entry.held.iter_mut().filter(|held| ends(held.reason)) {
            let lasted = now.saturating_duration_since(held.since);
            debug!(
                reason = held.reason.text(),
                application = &*entry.application,
                user = &*entry.who.user,
                database = &*entry.who.database,
                seconds = lasted.as_secs_f64(),
                "a client is no longer pinned"
            );
            let total =
                self.totals.entry((held.reason, Arc::clone(&entry.application))).or_default();
            total.now = total.now.saturating_sub(1);
            held.count(now, total, &mut self.seconds, metrics);
        }
        entry.held.retain(|held| !ends(held.reason));
    }

    fn count_all(&mut self, now: Instant, metrics: &PinMetrics) {
        for entry in self.current.values_mut() {
            for held in &mut entry.held {
                let key = (held.reason, Arc::clone(&entry.application));
                let total = self.totals.entry(key).or_default();
                held.count(now, total, &mut self.seconds, metrics);
            }
        }
    }
}

impl Held {
    /// What has passed since it was last counted.
    fn count(
        &mut self,
        now: Instant,
        total: &mut Total,
        seconds: &mut [Duration],
        metrics: &PinMetrics,
    ) {
        let passed = now.saturating_duration_since(self.counted);
        self.counted = self.counted.max(now);
        total.lasted += passed;
        let reason = self.reason as usize;
        if let Some(all) = seconds.get_mut(reason) {
            *all += passed;
            metrics.lasted(reason, all.as_secs());
        }
    }
}

impl Entry {
    fn pin(&self, held: &Held, now: Instant) -> Pin {
        Pin {
            who: self.who.clone(),
            application: Arc::clone(&self.application),
            server: self.server,
            reason: held.reason,
            cause: held.cause.clone(),
            began: held.began,
            lasted: now.saturating_duration_since(held.since),
        }
    }
}

/// Application names with totals of their own; later ones are counted together.
pub const MAX_APPLICATIONS: usize = 100;

/// The name of what exceeds that bound.
const OTHER: &str = "other";

/// Bytes of an application's name; PostgreSQL keeps as many.
const MAX_NAME: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn who(id: u32) -> Who {
        Who { id, user: "app".into(), database: "shop".into() }
    }

    fn pins(reasons: &[PinReason]) -> Pins {
        let mut pins = Pins::NONE;
        for reason in reasons {
            pins.set(*reason, true);
        }
        pins
    }

    #[test]
    fn pins_are_there_until_they_end_and_are_counted_then() {
        let metrics = Metrics::new();
        let ledger = Arc::new(Ledger::new(&metrics));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let cause = Cause { object: "t".into(), statement: "create temp table t ()".into() };
        let mut pinned = ledger.begin(&who(7), b"billing", 99);
        let both = pins(&[PinReason::TempObject, PinReason::Listen]);
        pinned.update(both, |_| Some(&cause), start);
        let now = ledger.current(after(2));
        assert_eq!(now.len(), 2);
        assert_eq!((now[0].reason, &*now[0].cause.object), (PinReason::TempObject, "t"));
        assert_eq!((now[0].lasted, now[0].server), (Duration::from_secs(2), 99));
        pinned.update(pins(&[PinReason::Listen]), |_| None, after(3));
        assert_eq!(ledger.current(after(3)).len(), 1);
        let totals = ledger.totals(after(5));
        let of = |reason| totals.iter().find(|row| row.0 == reason).map(|row| row.2);
        let total =
            |count, seconds, now| Some(Total { count, lasted: Duration::from_secs(seconds), now });
        assert_eq!(of(PinReason::TempObject), total(1, 3, 0));
        assert_eq!(of(PinReason::Listen), total(1, 5, 1));
        drop(pinned);
        assert!(ledger.current(after(5)).is_empty());
        let text = metrics.render();
        assert!(text.contains("pgweir_pins_total{reason=\"listen\"} 1"), "{text}");
        assert!(text.contains("pgweir_pinned_seconds_total{reason=\"temp_object\"} 3"), "{text}");
    }

    #[test]
    fn names_past_the_bound_are_counted_together() {
        let ledger = Arc::new(Ledger::new(&Metrics::new()));
        for number in 0..MAX_APPLICATIONS + 5 {
            let mut pinned = ledger.begin(&who(1), format!("app {number}").as_bytes(), 1);
            pinned.update(pins(&[PinReason::Listen]), |_| None, Instant::now());
        }
        let totals = ledger.totals(Instant::now());
        assert_eq!(totals.len(), MAX_APPLICATIONS + 1);
        let other = totals.iter().find(|row| &*row.1 == OTHER).expect("the row of the rest");
        assert_eq!(other.2.count, 5);
    }
}
