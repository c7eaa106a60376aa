//! The log lines of clients that pgweir has ended, and of what it has refused them. A full pool refuses
//! thousands: of one reason and one database there is one line in a while, which says how many had none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use crate::clock::Instant;
use crate::reason::without_numbers;
use crate::registry::Who;
use crate::wire::{Report, SqlState};

/// What has befallen a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// Its connection was ended.
    Ended,
    /// It was refused a server.
    Refused,
    /// What it asked for at its login cannot be.
    Rejected,
    /// Its statement was cancelled.
    Canceled,
}

/// One line.
pub(super) struct Line<'a> {
    pub(super) event: Event,
    pub(super) who: &'a Who,
    pub(super) application: &'a [u8],
    /// What the client was told.
    pub(super) report: &'a Report,
    /// How long that was in coming.
    pub(super) lasted: Duration,
}

/// What the log has been told lately.
#[derive(Debug, Default)]
pub struct Journal {
    told: Mutex<HashMap<Key, Told>>,
}

/// What befell clients of one database for one reason: a code, and its text without numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    event: Event,
    code: SqlState,
    reason: Box<str>,
    database: Arc<str>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How many had no line since.
    left_out: u64,
}

impl Event {
    fn text(self) -> &'static str {
        match self {
            Self::Ended => "a client was ended",
            Self::Refused => "a client got no server",
            Self::Rejected => "a client did not get in",
            Self::Canceled => "a statement was cancelled",
        }
    }
}

impl Journal {
    /// Writes a line, if it is time for one.
    pub(super) fn tell(&self, line: &Line<'_>, now: Instant) {
        let Line { event, who, application, report, lasted } = line;
        let reason = without_numbers(&report.message).into();
        let database = Arc::clone(&who.database);
        let key = Key { event: *event, code: report.code, reason, database };
        let Some(left_out) = self.admit(key, now) else { return };
        info!(
            client = who.id,
            address = &*who.address,
            database = &*who.database,
            user = &*who.user,
            application = &*String::from_utf8_lossy(application),
            code = report.code.text(),
            reason = report.message,
            seconds = lasted.as_millis() as f64 / 1_000.0,
            left_out = (left_out > 0).then_some(left_out),
            "{}",
            event.text()
        );
    }

    /// Says how many have had no line where none has come since, and forgets the rest. To be called every few
    /// seconds.
    pub fn upkeep(&self, now: Instant) {
        for (Key { event, code, reason, database }, left_out) in self.take_old(now) {
            let (code, reason, database) = (code.text(), &*reason, &*database);
            info!(database, code, reason, left_out, "the same again: {}", event.text());
        }
    }

    /// How many have had no line; `None` if this has none either.
    fn admit(&self, key: Key, now: Instant) -> Option<u64> {
        let mut told = self.lock();
        if !told.contains_key(&key) && told.len() >= MOST_TOLD {
            return None;
        }
        let Some(last) = told.get_mut(&key) else {
            told.insert(key, Told { at: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < TOLD_ONCE_IN {
            last.left_out += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.left_out))
    }

    fn take_old(&self, now: Instant) -> Vec<(Key, u64)> {
        let mut told = self.lock();
        let is_old = |told: &Told| now.saturating_duration_since(told.at) >= TOLD_ONCE_IN;
        let old = told.extract_if(|_, told| is_old(told));
        old.map(|(key, told)| (key, told.left_out)).filter(|(_, left_out)| *left_out > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Told>> {
        // It is whole between any two statements that could panic.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long the same has no line again.
const TOLD_ONCE_IN: Duration = Duration::from_secs(5);

/// Reasons and databases in that time; what is more has no line.
const MOST_TOLD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(database: &str) -> Key {
        let (event, code) = (Event::Refused, SqlState::TOO_MANY_CONNECTIONS);
        Key { event, code, reason: "full".into(), database: database.into() }
    }

    #[test]
    fn the_same_has_a_line_once_in_a_while_and_none_is_left_uncounted() {
        let (journal, start) = (Journal::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for (database, millis, expected) in [
            ("shop", 0, Some(0)),
            ("shop", 100, None),
            ("other", 200, Some(0)),
            ("shop", 4_900, None),
            ("shop", 5_000, Some(2)),
            ("shop", 6_000, None),
        ] {
            assert_eq!(journal.admit(key(database), after(millis)), expected, "{millis}");
        }
        assert_eq!(journal.take_old(after(9_000)), []);
        assert_eq!(journal.take_old(after(10_000)), [(key("shop"), 1)]);
        assert!(journal.lock().is_empty());
    }

    #[test]
    fn many_names_take_little_room() {
        let (journal, now) = (Journal::default(), Instant::now());
        let names = (0..2 * MOST_TOLD).map(|number| key(&number.to_string()));
        let told = names.filter(|key| journal.admit(key.clone(), now).is_some()).count();
        assert_eq!((told, journal.lock().len()), (MOST_TOLD, MOST_TOLD));
    }
}
