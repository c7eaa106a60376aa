//! What is shown of a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

/// One client, for those who look.
#[derive(Debug)]
pub struct Card {
    /// Whom it has logged in as.
    pub user: Arc<str>,
    /// The database it named.
    pub database: Arc<str>,
    /// Where it came from.
    pub address: String,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// When it was let in.
    pub since: SystemTime,
    state: AtomicU8,
}

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no server and needs none.
    Idle,
    /// It waits for a server.
    Waiting,
    /// It has a server.
    Active,
    /// It keeps its server between transactions.
    Pinned,
    /// It is at the console.
    Console,
}

impl State {
    const ALL: [Self; 5] = [Self::Idle, Self::Waiting, Self::Active, Self::Pinned, Self::Console];

    /// Its name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Pinned => "pinned",
            Self::Console => "console",
        }
    }
}

impl Card {
    /// A client that was just let in.
    pub fn new(
        (user, database): (Arc<str>, Arc<str>),
        address: String,
        tls: bool,
        state: State,
    ) -> Self {
        let state = AtomicU8::new(state as u8);
        Self { user, database, address, tls, since: SystemTime::now(), state }
    }

    /// What it is doing now.
    pub fn state(&self) -> State {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        State::ALL.get(state).copied().unwrap_or(State::Idle)
    }

    pub(super) fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}
