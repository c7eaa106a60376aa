//! What is shown of a client.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Who has a session.
#[derive(Debug, Clone)]
pub struct Who {
    /// The process id that it was told.
    pub id: u32,
    /// Whom it has logged in as.
    pub user: Arc<str>,
    /// The database it named.
    pub database: Arc<str>,
    /// Where it came from.
    pub address: Box<str>,
}

/// One client, for those who look. There is one for each client, however idle: it is to be small.
#[derive(Debug)]
pub struct Card {
    /// Whose it is.
    pub who: Who,
    /// Its class; at the console there is none.
    pub class: Option<Arc<str>>,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// When it was let in.
    pub since: SystemTime,
    /// The process of PostgreSQL that it has; 0 is none.
    server: AtomicU32,
    /// Its state, and in the bits above since when.
    state: AtomicU64,
    /// Shared with the settings of its session, and those of others.
    application: Mutex<Arc<[u8]>>,
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is outside a transaction and asks for nothing. It has a server under session pooling only.
    Idle,
    /// It waits for a server.
    Waiting,
    /// It has a server, which is at work for it.
    Active,
    /// It keeps its server between transactions.
    Pinned,
    /// It is at the console.
    Console,
    /// It has a server and owes the next message of its transaction.
    IdleInTransaction,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Idle,
        Self::Waiting,
        Self::Active,
        Self::Pinned,
        Self::Console,
        Self::IdleInTransaction,
    ];

    /// Its name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Pinned => "pinned",
            Self::Console => "console",
            Self::IdleInTransaction => "idle in transaction",
        }
    }
}

impl Card {
    /// A client that was just let in; it is idle.
    pub fn new(who: Who, class: Option<Arc<str>>, tls: bool) -> Self {
        Self {
            who,
            class,
            tls,
            since: SystemTime::now(),
            server: AtomicU32::new(0),
            state: AtomicU64::new(State::Idle as u64),
            application: Mutex::new([].into()),
        }
    }

    /// What it is doing now, and since when.
    pub fn state(&self) -> (State, Duration) {
        let packed = self.state.load(Ordering::Relaxed);
        let state = State::ALL.iter().find(|state| **state as u64 == packed & STATE);
        (state.copied().unwrap_or(State::Idle), Duration::from_millis(packed >> STATE_BITS))
    }

    /// The process of PostgreSQL that it has.
    pub fn server(&self) -> Option<u32> {
        Some(self.server.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// What its application calls itself.
    pub fn application(&self) -> Arc<[u8]> {
        Arc::clone(&self.application.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is in its first state since then.
    pub(super) fn begin(&self, since: Duration) {
        let state = self.state.load(Ordering::Relaxed) & STATE;
        self.state.store((since.as_millis() as u64) << STATE_BITS | state, Ordering::Relaxed);
    }

    /// `since` is called only if it is in another state now.
    pub(super) fn set(&self, state: State, since: impl FnOnce() -> Duration) {
        if self.state.load(Ordering::Relaxed) & STATE != state as u64 {
            let since = since().as_millis() as u64;
            self.state.store(since << STATE_BITS | state as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn set_server(&self, pid: Option<u32>) {
        self.server.store(pid.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn set_application(&self, name: &Arc<[u8]>) {
        let mut known = self.application.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known, name) {
            *known = Arc::clone(name);
        }
    }
}

/// Bits of the state.
const STATE_BITS: u32 = 3;
const STATE: u64 = (1 << STATE_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lasts_since_it_began() {
        let (user, database) = ("app".into(), "shop".into());
        let who = Who { id: 7, user, database, address: "10.0.0.1:1".into() };
        let card = Card::new(who, None, false);
        let at = |seconds| move || Duration::from_secs(seconds);
        for (set, seconds, expected) in [
            (State::Active, 3, (State::Active, 3)),
            (State::Active, 4, (State::Active, 3)),
            (State::IdleInTransaction, 5, (State::IdleInTransaction, 5)),
            (State::Idle, 6, (State::Idle, 6)),
        ] {
            card.set(set, at(seconds));
            assert_eq!(card.state(), (expected.0, Duration::from_secs(expected.1)));
        }
        for state in State::ALL {
            card.set(state, at(9));
            assert_eq!(card.state().0, state);
        }
    }
}
