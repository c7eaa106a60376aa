//! What functions met with, counted while the storm goes on. Its size does not grow with theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::client::ClientError;
use super::report::ErrorCount;
use super::times::Times;
use crate::reason::without_numbers;

/// Counts of one class.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) arrived: u64,
    pub(super) last_arrival: Option<Instant>,
    /// Those who came in place of one who left.
    pub(super) followers: u64,
    pub(super) missed: u64,
    pub(super) left: u64,
    pub(super) frozen: u64,
    pub(super) thawed: u64,
    pub(super) abandoned: u64,
    pub(super) idle: IdleCounts,
    pub(super) late: Times,
    pub(super) connect: Times,
    pub(super) wait: Times,
    pub(super) first_query: Times,
    pub(super) transaction: Times,
    /// Since it was last taken.
    pub(super) recent: Recent,
    errors: BTreeMap<String, ErrorCount>,
}

/// Clients that only stay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct IdleCounts {
    pub(super) connected: u64,
    /// They were still there at the end: they were asked.
    pub(super) answered: u64,
}

/// What has happened since the last look at it.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) arrived: u64,
    pub(super) errors: u64,
    pub(super) wait: Times,
    pub(super) transaction: Times,
}

/// How many are in a state now.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU64);

/// One of them; gone when dropped.
#[derive(Debug)]
pub(super) struct Counted<'a>(&'a Gauge);

/// How many functions of a class are in which state now.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Not logged in yet.
    pub(super) connecting: Gauge,
    /// Logged in; idle clients too.
    pub(super) connected: Gauge,
    /// Their transaction's first message is not answered yet.
    pub(super) waiting: Gauge,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            arrived: 0,
            last_arrival: None,
            followers: 0,
            missed: 0,
            left: 0,
            frozen: 0,
            thawed: 0,
            abandoned: 0,
            idle: IdleCounts::default(),
            late: Times::new(),
            connect: Times::new(),
            wait: Times::new(),
            first_query: Times::new(),
            transaction: Times::new(),
            recent: Recent::new(),
            errors: BTreeMap::new(),
        }
    }

    /// A function arrives, so much after its time.
    pub(super) fn arrived(&mut self, late: Duration) {
        self.arrived += 1;
        self.last_arrival = Some(Instant::now());
        self.recent.arrived += 1;
        self.late.record(late);
    }

    /// One comes in place of one who left.
    pub(super) fn followed(&mut self) {
        self.followers += 1;
        self.recent.arrived += 1;
    }

    /// The first message of a transaction was answered.
    pub(super) fn waited(&mut self, time: Duration) {
        self.wait.record(time);
        self.recent.wait.record(time);
    }

    /// A transaction was committed.
    pub(super) fn committed(&mut self, time: Duration) {
        self.transaction.record(time);
        self.recent.transaction.record(time);
    }

    /// Something failed; the first of each class is kept as an example.
    pub(super) fn failed(&mut self, error: &ClientError) {
        self.count(error.class(), one(error.to_string()));
        self.recent.errors += 1;
    }

    /// A task of ours ended by a panic.
    pub(super) fn broken(&mut self) {
        self.count("harness", one("a task of the harness ended early".to_owned()));
        self.recent.errors += 1;
    }

    pub(super) fn errors(&self) -> &BTreeMap<String, ErrorCount> {
        &self.errors
    }

    /// How many errors there were, of all classes.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Counts what another counted, too. What is recent is left as it is.
    pub(super) fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.followers += other.followers;
        self.missed += other.missed;
        self.left += other.left;
        self.frozen += other.frozen;
        self.thawed += other.thawed;
        self.abandoned += other.abandoned;
        self.idle.connected += other.idle.connected;
        self.idle.answered += other.idle.answered;
        self.late.add(&other.late);
        self.connect.add(&other.connect);
        self.wait.add(&other.wait);
        self.first_query.add(&other.first_query);
        self.transaction.add(&other.transaction);
        for (class, error) in &other.errors {
            self.count(class, error.clone());
        }
    }

    fn count(&mut self, class: &str, more: ErrorCount) {
        let known = self.errors.contains_key(class) || self.errors.len() < MAX_CLASSES;
        let class = if known { class } else { "other" };
        let Some(entry) = self.errors.get_mut(class) else {
            self.errors.insert(class.to_owned(), more);
            return;
        };
        entry.count += more.count;
        for (text, count) in more.texts {
            let known = entry.texts.contains_key(&text) || entry.texts.len() < MAX_TEXTS;
            let text = if known { text } else { "other".to_owned() };
            *entry.texts.entry(text).or_default() += count;
        }
    }
}

fn one(text: String) -> ErrorCount {
    let texts = BTreeMap::from([(without_numbers(&text), 1)]);
    ErrorCount { count: 1, example: text, texts }
}

/// Texts told apart of one class.
const MAX_TEXTS: usize = 8;

impl Recent {
    pub(super) fn new() -> Self {
        Self { arrived: 0, errors: 0, wait: Times::new(), transaction: Times::new() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.errors += other.errors;
        self.wait.add(&other.wait);
        self.transaction.add(&other.transaction);
    }

    pub(super) fn clear(&mut self) {
        self.arrived = 0;
        self.errors = 0;
        self.wait.clear();
        self.transaction.clear();
    }
}

impl Gauge {
    pub(super) fn enter(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Classes of errors told apart; a hostile server could invent SQLSTATEs without end.
const MAX_CLASSES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, text: &str) -> ClientError {
        ClientError::Server { code: code.to_owned(), text: text.to_owned(), fatal: false }
    }

    #[test]
    fn errors_are_counted_by_class_with_the_first_as_example() {
        let mut tally = Tally::new();
        tally.failed(&error("53300", "first"));
        tally.failed(&error("53300", "second"));
        tally.failed(&ClientError::TimedOut);
        let counts: Vec<_> = tally.errors().iter().map(|(c, e)| (c.as_str(), e.count)).collect();
        assert_eq!(counts, [("53300", 2), ("timeout", 1)]);
        assert_eq!(tally.errors()["53300"].example, "first");
        tally.failed(&error("53300", "waited 1.5 s"));
        tally.failed(&error("53300", "waited 12 s for 3"));
        tally.failed(&error("53300", "waited 0.3 s"));
        let texts = &tally.errors()["53300"].texts;
        assert_eq!((texts.len(), texts["waited #.# s"]), (4, 2));
        assert_eq!((tally.error_count(), tally.recent.errors), (6, 6));
    }

    #[test]
    fn invented_classes_do_not_grow_the_tally() {
        let mut tally = Tally::new();
        for number in 10_000..20_000 {
            tally.failed(&error(&number.to_string(), ""));
        }
        assert_eq!(tally.errors().len(), MAX_CLASSES + 1);
        assert_eq!(tally.errors()["other"].count, 10_000 - MAX_CLASSES as u64);
    }

    #[test]
    fn what_others_counted_is_added() {
        let (mut all, mut one) = (Tally::new(), Tally::new());
        one.arrived(Duration::ZERO);
        one.committed(Duration::from_millis(2));
        one.failed(&error("53300", "first"));
        all.add(&one);
        all.add(&one);
        assert_eq!((all.arrived, all.transaction.count(), all.errors()["53300"].count), (2, 2, 2));
        assert_eq!(all.recent.arrived, 0);
    }

    #[test]
    fn a_gauge_counts_those_who_are_there() {
        let gauge = Gauge::default();
        let (one, other) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.now(), 2);
        drop(one);
        assert_eq!(gauge.now(), 1);
        drop(other);
        assert_eq!(gauge.now(), 0);
    }
}
