//! Who is pinned now and why, and how often and how long that was so far; or would be, where clients are
//! observed.
//!
//! Plain data behind one lock. Invariant: knows no sockets, and of sessions only why they pin; a client's task enters its
//! own pins, and a guard takes them out again. What is kept of the past is bounded
//! ([`MAX_APPLICATIONS`]), whatever names clients give themselves.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::{debug, info};

use crate::clock::Instant;
use crate::metrics::{Metrics, PinMetrics};
use crate::registry::Who;
use crate::session::Cause;
use crate::session::pins::{PinReason, Pins};

/// The two that there are.
#[derive(Debug)]
pub struct Ledgers {
    /// Pins.
    pub pins: Arc<Ledger>,
    /// Pins that transaction pooling would have made of clients that keep their servers anyway.
    pub observed: Arc<Ledger>,
}

/// All pins.
#[derive(Debug)]
pub struct Ledger {
    metrics: PinMetrics,
    inner: Mutex<Inner>,
}

/// Whether a ledger is of pins that are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// They are.
    #[default]
    Real,
    /// They would be; what would bring them about is totalled apart.
    Observed,
}

#[derive(Debug, Default)]
struct Inner {
    kind: Kind,
    next: u64,
    current: BTreeMap<u64, Entry>,
    totals: BTreeMap<Key, Total>,
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

/// What has a total of its own. Without an origin unless it is observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The database that clients name.
    pub database: Arc<str>,
    /// Their user.
    pub user: Arc<str>,
    /// What brings the pin about.
    pub cause: Cause,
}

type Key = (PinReason, Arc<str>, Origin);

/// One reason of its pin.
#[derive(Debug)]
struct Held {
    reason: PinReason,
    key: Key,
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
    /// How long the longest has lasted.
    pub longest: Duration,
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

    /// An empty ledger of pins that would be.
    pub fn observed(metrics: &Metrics) -> Self {
        let reasons = PinReason::ALL.map(PinReason::text);
        let inner = Inner { kind: Kind::Observed, ..Inner::default() };
        Self { metrics: metrics.observed_pins(&reasons), inner: Mutex::new(inner) }
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

    /// What came together, by reason, application and origin.
    pub fn totals(&self, now: Instant) -> Vec<(PinReason, Arc<str>, Origin, Total)> {
        let mut inner = self.lock();
        inner.count_all(now, &self.metrics);
        let rows = inner.totals.iter();
        let row = |((reason, name, origin), total): (&Key, &Total)| {
            (*reason, Arc::clone(name), origin.clone(), *total)
        };
        rows.map(row).collect()
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
        let Some(entry) = self.current.get(&id) else { return };
        info!(
            reason = reason.text(),
            object = &*cause.object,
            statement = &*cause.statement,
            application = &*entry.application,
            client = entry.who.id,
            address = &*entry.who.address,
            user = &*entry.who.user,
            database = &*entry.who.database,
            "{}",
            self.kind.begins()
        );
        let key = self.key(reason, entry, &cause);
        let total = self.totals.entry(key.clone()).or_default();
        total.count += 1;
        total.now += 1;
        let began = SystemTime::now();
        if let Some(entry) = self.current.get_mut(&id) {
            entry.held.push(Held { reason, key, cause, since: now, began, counted: now });
        }
    }

    /// Where it is totalled. Causes past the bound are counted together.
    fn key(&self, reason: PinReason, entry: &Entry, cause: &Cause) -> Key {
        let application = Arc::clone(&entry.application);
        if self.kind == Kind::Real {
            return (reason, application, Origin::default());
        }
        let Who { database, user, .. } = entry.who.clone();
        let key = (reason, application, Origin { database, user, cause: cause.clone() });
        if self.totals.len() < MAX_ORIGINS || self.totals.contains_key(&key) {
            return key;
        }
        let other = Cause { object: Box::default(), statement: OTHER.into() };
        (reason, OTHER.into(), Origin { cause: other, ..Origin::default() })
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
                client = entry.who.id,
                user = &*entry.who.user,
                database = &*entry.who.database,
                seconds = lasted.as_secs_f64(),
                "{}",
                self.kind.ends()
            );
            let total = self.totals.entry(held.key.clone()).or_default();
            total.now = total.now.saturating_sub(1);
            held.count(now, total, &mut self.seconds, metrics);
        }
        entry.held.retain(|held| !ends(held.reason));
    }

    fn count_all(&mut self, now: Instant, metrics: &PinMetrics) {
        for entry in self.current.values_mut() {
            for held in &mut entry.held {
                let total = self.totals.entry(held.key.clone()).or_default();
                held.count(now, total, &mut self.seconds, metrics);
            }
        }
    }
}

impl Kind {
    fn begins(self) -> &'static str {
        match self {
            Self::Real => "a client is pinned",
            Self::Observed => "transaction pooling would pin a client",
        }
    }

    fn ends(self) -> &'static str {
        match self {
            Self::Real => "a client is no longer pinned",
            Self::Observed => "transaction pooling would no longer pin a client",
        }
    }
}

impl Ledgers {
    /// Both empty.
    pub fn new(metrics: &Metrics) -> Self {
        let (pins, observed) = (Ledger::new(metrics), Ledger::observed(metrics));
        Self { pins: Arc::new(pins), observed: Arc::new(observed) }
    }

    /// Brings the totals of both up to date.
    pub fn upkeep(&self, now: Instant) {
        self.pins.upkeep(now);
        self.observed.upkeep(now);
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
        total.longest = total.longest.max(now.saturating_duration_since(self.since));
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

/// Totals of observed pins; what would be more is counted together, by reason.
const MAX_ORIGINS: usize = 2_000;

/// The name of what exceeds a bound.
const OTHER: &str = "other";

/// Bytes of an application's name; PostgreSQL keeps as many.
const MAX_NAME: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn who(id: u32) -> Who {
        Who { id, user: "app".into(), database: "shop".into(), address: "10.0.0.1:9".into() }
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
        let of = |reason| totals.iter().find(|row| row.0 == reason).map(|row| row.3);
        let total = |count, seconds, now| {
            let lasted = Duration::from_secs(seconds);
            Some(Total { count, lasted, now, longest: lasted })
        };
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
        assert_eq!(other.3.count, 5);
    }

    #[test]
    fn what_would_pin_is_totalled_by_what_brings_it_about_up_to_a_bound() {
        let metrics = Metrics::new();
        let ledger = Arc::new(Ledger::observed(&metrics));
        let start = Instant::now();
        for number in 0..MAX_ORIGINS + 3 {
            let cause = Cause { object: Box::default(), statement: format!("s{number}").into() };
            for _ in 0..2 {
                let mut pinned = ledger.begin(&who(1), b"x", 1);
                pinned.update(pins(&[PinReason::TempObject]), |_| Some(&cause), start);
            }
        }
        let totals = ledger.totals(start);
        assert_eq!(totals.len(), MAX_ORIGINS + 1);
        let of = |text: &str| totals.iter().find(|row| &*row.2.cause.statement == text);
        assert_eq!(of("s7").map(|row| (&*row.2.database, row.3.count)), Some(("shop", 2)));
        assert_eq!(of(OTHER).map(|row| row.3.count), Some(6));
        let text = metrics.render();
        assert!(text.contains("pgweir_observed_pins_total{reason=\"temp_object\"} 4006"), "{text}");
        assert!(
            text.contains("pgweir_pins_total{reason=\"temp_object\"} 0")
                || !text.contains("pgweir_pins_total"),
            "{text}"
        );
    }
}
