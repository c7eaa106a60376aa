//! The servers that are open, for those who look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;
use crate::metrics::{ServerCount, ServerState};

/// One server that is open.
#[derive(Debug)]
pub struct Card {
    /// Its process of PostgreSQL; 0 if it gave no key.
    pub pid: u32,
    /// Where it is.
    pub address: Box<str>,
    /// Whether its connection is encrypted.
    pub tls: bool,
    /// When it was logged in.
    pub opened_at: Instant,
    doing: AtomicU8,
    /// Who has it; 0 is nobody.
    client: AtomicU32,
    /// When it was last given back: milliseconds after it was opened.
    used: AtomicU64,
}

/// What a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It is free.
    Idle,
    /// A client has it.
    Leased,
    /// What a client left on it is ended or reset.
    Cleaning,
    /// It listens for the clients of its pool.
    Listening,
    /// Its end is awaited.
    Closing,
}

/// The servers of one pool that are open.
#[derive(Debug, Default)]
pub struct Roll(Mutex<BTreeMap<u64, Arc<Card>>>);

/// A server's place in the metrics and, once it is open, on the roll; dropped, it has none.
#[derive(Debug)]
pub struct Entry {
    count: ServerCount,
    roll: Arc<Roll>,
    id: u64,
    card: Option<Arc<Card>>,
}

impl Doing {
    const ALL: [Self; 5] =
        [Self::Idle, Self::Leased, Self::Cleaning, Self::Listening, Self::Closing];

    /// Its name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Leased => "leased",
            Self::Cleaning => "cleaning",
            Self::Listening => "listening",
            Self::Closing => "closing",
        }
    }

    fn of(state: ServerState) -> Self {
        match state {
            // It is on the roll once it is logged in, and free until somebody has it.
            ServerState::Connecting | ServerState::Idle => Self::Idle,
            ServerState::Leased => Self::Leased,
            ServerState::Listening => Self::Listening,
            ServerState::Closing => Self::Closing,
        }
    }
}

impl Card {
    /// A server that was just opened.
    pub(super) fn new(pid: u32, address: &str, tls: bool, opened_at: Instant) -> Self {
        Self {
            pid,
            address: address.into(),
            tls,
            opened_at,
            doing: AtomicU8::new(Doing::Idle as u8),
            client: AtomicU32::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// What it is doing now.
    pub fn doing(&self) -> Doing {
        let doing = usize::from(self.doing.load(Ordering::Relaxed));
        Doing::ALL.get(doing).copied().unwrap_or(Doing::Idle)
    }

    /// Who has it.
    pub fn client(&self) -> Option<u32> {
        Some(self.client.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// For how long nobody has used it.
    pub fn unused(&self, now: Instant) -> Duration {
        match self.doing() {
            Doing::Idle => {
                let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
                now.saturating_duration_since(self.opened_at).saturating_sub(used)
            }
            Doing::Leased | Doing::Cleaning | Doing::Listening | Doing::Closing => Duration::ZERO,
        }
    }

    fn set(&self, doing: Doing, client: u32) {
        self.doing.store(doing as u8, Ordering::Relaxed);
        self.client.store(client, Ordering::Relaxed);
    }
}

impl Roll {
    /// All, the oldest first.
    pub fn servers(&self) -> Vec<Arc<Card>> {
        self.lock().values().map(Arc::clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Card>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Counts it elsewhere.
    pub fn recount(&mut self, count: ServerCount) {
        self.count = count;
    }

    /// Of a server that is being opened, and not on the roll yet.
    pub fn new(count: ServerCount, roll: Arc<Roll>, id: u64) -> Self {
        Self { count, roll, id, card: None }
    }

    /// It is open.
    pub(super) fn open(&mut self, card: Card) {
        let card = Arc::new(card);
        self.roll.lock().insert(self.id, Arc::clone(&card));
        self.card = Some(card);
    }

    /// It is in another state now, and nobody's.
    pub fn set(&mut self, state: ServerState) {
        self.count.set(state);
        self.show(Doing::of(state), 0);
    }

    /// It is free since then.
    pub fn park(&mut self, now: Instant) {
        self.set(ServerState::Idle);
        if let Some(card) = &self.card {
            let used = now.saturating_duration_since(card.opened_at).as_millis() as u64;
            card.used.store(used, Ordering::Relaxed);
        }
    }

    /// This client has it.
    pub fn lend(&self, client: u32) {
        self.show(Doing::Leased, client);
    }

    /// What its client left is ended or reset. In the metrics it is leased still.
    pub fn clean(&self) {
        self.show(Doing::Cleaning, 0);
    }

    fn show(&self, doing: Doing, client: u32) {
        if let Some(card) = &self.card {
            card.set(doing, client);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.card.is_some() {
            self.roll.lock().remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_server_is_on_the_roll_from_its_login_to_its_end() {
        let pool = Metrics::new().pool("shop", "app");
        let (roll, start) = (Arc::<Roll>::default(), Instant::now());
        let mut entry = Entry::new(pool.server(ServerState::Connecting), Arc::clone(&roll), 7);
        assert!(roll.servers().is_empty());
        entry.open(Card::new(99, "10.0.0.1:5432", false, start));
        let card = roll.servers().remove(0);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((card.doing(), card.unused(after(2))), (Doing::Idle, Duration::from_secs(2)));
        entry.set(ServerState::Leased);
        entry.lend(5);
        assert_eq!((card.doing(), card.client()), (Doing::Leased, Some(5)));
        assert_eq!(card.unused(after(9)), Duration::ZERO);
        entry.clean();
        assert_eq!((card.doing(), card.client()), (Doing::Cleaning, None));
        entry.park(after(10));
        assert_eq!((card.doing(), card.unused(after(13))), (Doing::Idle, Duration::from_secs(3)));
        entry.set(ServerState::Closing);
        assert_eq!(card.doing(), Doing::Closing);
        drop(entry);
        assert!(roll.servers().is_empty());
    }
}
