//! Who is connected, by id: cancel keys, mailboxes, and what is shown of each.
//!
//! Plain data behind one lock. Invariant: knows neither sockets nor sessions; a client's task reads
//! its own mailbox, nobody else acts on it.

mod card;
mod room;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use crate::clock::Instant;
use crate::metrics::CancelOutcome;
use crate::wire::startup::CancelKey;

pub use card::{Card, State, Who};
pub use room::{Place, Room, Rooms, Seat};

/// What a client's task can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Its running query is to be cancelled.
    Cancel,
    /// It is to end at the end of its transaction.
    Drain,
    /// It is to end now.
    Terminate,
    /// The configuration has changed.
    Reload,
    /// Notifications have come for it.
    News,
}

/// What a client's task was told and has not acted on.
#[derive(Debug, Default)]
pub struct Mailbox {
    notices: AtomicU8,
    /// Wakes the task; never taken out, so that the task enters it once.
    waker: Mutex<Option<Waker>>,
    /// Who waits for the end of a cancel.
    canceling: Mutex<Vec<Canceler>>,
}

/// Who sent a cancel, and hears what became of it.
pub type Canceler = oneshot::Sender<CancelOutcome>;

impl Mailbox {
    /// Tells the client's task; the same notice twice is one.
    pub fn tell(&self, notice: Notice) {
        self.notices.fetch_or(bit(notice), Ordering::AcqRel);
        if let Some(waker) = &*self.waker() {
            waker.wake_by_ref();
        }
    }

    /// Tells the client's task to cancel what runs; what is returned is ready when that was done, or,
    /// with an error, when there was nothing to do. `None` if too many wait for the same.
    pub fn tell_cancel(&self) -> Option<oneshot::Receiver<CancelOutcome>> {
        let (done, wait) = oneshot::channel();
        let mut canceling = self.canceling.lock().unwrap_or_else(PoisonError::into_inner);
        if canceling.len() >= MAX_CANCELING {
            return None;
        }
        canceling.push(done);
        drop(canceling);
        self.tell(Notice::Cancel);
        Some(wait)
    }

    /// Takes those who wait for the end of a cancel; dropped, they are told that there was nothing
    /// to do.
    pub fn take_canceling(&self) -> Vec<Canceler> {
        std::mem::take(&mut self.canceling.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Notice> {
        if self.notices.load(Ordering::Acquire) == 0 {
            return None;
        }
        let order =
            [Notice::Terminate, Notice::Cancel, Notice::Drain, Notice::Reload, Notice::News];
        order
            .into_iter()
            .find(|n| self.notices.fetch_and(!bit(*n), Ordering::AcqRel) & bit(*n) != 0)
    }
}

fn bit(notice: Notice) -> u8 {
    1 << notice as u8
}

/// All clients that are logged in.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// Clients whose connection is encrypted, of those who were introduced.
    encrypted: AtomicUsize,
    /// What times are counted from that are kept of each client.
    start: Instant,
}

impl Default for Registry {
    fn default() -> Self {
        Self { inner: Mutex::default(), encrypted: AtomicUsize::new(0), start: Instant::now() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    clients: HashMap<u32, Registered, FxBuildHasher>,
    draining: bool,
}

#[derive(Debug)]
struct Registered {
    secret: Vec<u8>,
    /// `None` until it is introduced.
    card: Option<Arc<Card>>,
    mailbox: Arc<Mailbox>,
}

/// A client's place in the registry; dropped, it is gone.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    pid: u32,
    card: Option<Arc<Card>>,
    mailbox: Arc<Mailbox>,
    /// The mailbox knows whom to wake.
    armed: bool,
}

impl Registration {
    /// Says who this is, for those who look.
    pub fn introduce(&mut self, card: Card) -> Arc<Card> {
        card.begin(self.registry.start.elapsed());
        let card = Arc::new(card);
        if card.tls {
            self.registry.encrypted.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(client) = self.registry.lock().clients.get_mut(&self.pid) {
            client.card = Some(Arc::clone(&card));
        }
        self.card = Some(Arc::clone(&card));
        card
    }

    /// Says what it is doing, and since when if it did something else before.
    pub fn set_state(&self, state: State, since: Instant) {
        if let Some(card) = &self.card {
            card.set(state, || since.saturating_duration_since(self.registry.start));
        }
    }

    /// How long it has been doing that.
    pub fn lasted(&self, now: Instant) -> Duration {
        self.card.as_ref().map_or(Duration::ZERO, |card| self.registry.lasted(card, now))
    }

    /// Says which process of PostgreSQL it has.
    pub fn set_server(&self, pid: Option<u32>) {
        if let Some(card) = &self.card {
            card.set_server(pid);
        }
    }

    /// Says what its application calls itself.
    pub fn set_application(&self, name: &Arc<[u8]>) {
        if let Some(card) = &self.card {
            card.set_application(name);
        }
    }

    /// The client's mailbox.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Takes a notice, the most urgent first. One task polls all its life.
    pub fn poll_notice(&mut self, cx: &mut Context<'_>) -> Poll<Notice> {
        if !self.armed {
            *self.mailbox.waker() = Some(cx.waker().clone());
            self.armed = true;
        }
        self.mailbox.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.card.as_ref().is_some_and(|card| card.tls) {
            self.registry.encrypted.fetch_sub(1, Ordering::Relaxed);
        }
        self.registry.lock().clients.remove(&self.pid);
    }
}

impl Registry {
    /// Enters a client; `None` since [`Registry::drain`]. `random` gives fresh random bytes: the
    /// secret, of `secret_len`, then the pid.
    pub fn enter(
        self: &Arc<Self>,
        secret_len: usize,
        mut random: impl FnMut(&mut [u8]),
    ) -> Option<(Registration, CancelKey)> {
        let mailbox = Arc::<Mailbox>::default();
        let mut secret = vec![0; secret_len];
        random(&mut secret);
        let mut inner = self.lock();
        if inner.draining {
            return None;
        }
        loop {
            let mut pid = [0; 4];
            random(&mut pid);
            // Positive, as a process id.
            let pid = u32::from_be_bytes(pid) & 0x7fff_ffff;
            if pid == 0 {
                continue;
            }
            if let Entry::Vacant(free) = inner.clients.entry(pid) {
                let shared = Arc::clone(&mailbox);
                free.insert(Registered { secret: secret.clone(), card: None, mailbox: shared });
                drop(inner);
                let registry = Arc::clone(self);
                let registration =
                    Registration { registry, pid, card: None, mailbox, armed: false };
                return Some((registration, CancelKey { pid, secret }));
            }
        }
    }

    /// The mailbox of the client that a key belongs to; compared in constant time.
    pub fn find(&self, key: &CancelKey) -> Option<Arc<Mailbox>> {
        let inner = self.lock();
        let client = inner.clients.get(&key.pid)?;
        bool::from(client.secret.ct_eq(&key.secret)).then(|| Arc::clone(&client.mailbox))
    }

    /// The client of this id, for those who need no key: they look after all.
    pub fn named(&self, id: u32) -> Option<(Arc<Card>, Arc<Mailbox>)> {
        let inner = self.lock();
        let client = inner.clients.get(&id)?;
        Some((Arc::clone(client.card.as_ref()?), Arc::clone(&client.mailbox)))
    }

    /// Tells every client.
    pub fn tell_all(&self, notice: Notice) {
        self.lock().tell(notice);
    }

    /// Lets nobody in any more, and tells those who are there: nobody is missed in between.
    pub fn drain(&self) {
        let mut inner = self.lock();
        inner.draining = true;
        inner.tell(Notice::Drain);
    }

    /// Clients that have been introduced, the oldest first.
    pub fn clients(&self) -> Vec<(u32, Arc<Card>)> {
        let inner = self.lock();
        let cards = inner.clients.iter().filter_map(|(pid, c)| Some((*pid, c.card.clone()?)));
        let mut cards: Vec<_> = cards.collect();
        drop(inner);
        cards.sort_by_key(|(_, card)| card.since);
        cards
    }

    /// How long a client has been in its state.
    pub fn lasted(&self, card: &Card, now: Instant) -> Duration {
        now.saturating_duration_since(self.start).saturating_sub(card.state().1)
    }

    /// Clients logged in.
    pub fn len(&self) -> usize {
        self.lock().clients.len()
    }

    /// Clients that are there over TLS.
    pub fn encrypted(&self) -> usize {
        self.encrypted.load(Ordering::Relaxed)
    }

    /// No clients.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&self, notice: Notice) {
        for client in self.clients.values() {
            client.mailbox.tell(notice);
        }
    }
}

/// Cancel requests for one client at once.
const MAX_CANCELING: usize = 16;

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_key_finds_its_client_and_no_other() {
        let registry = Arc::<Registry>::default();
        let mut next = 0u8;
        let mut random = |bytes: &mut [u8]| {
            next += 1;
            bytes.fill(next);
        };
        let (one, key) = registry.enter(4, &mut random).unwrap();
        let (_two, other) = registry.enter(32, &mut random).unwrap();
        assert_eq!((key.secret.len(), other.secret.len()), (4, 32));
        let found = registry.find(&key).unwrap();
        assert!(Arc::ptr_eq(&found, one.mailbox()));
        let wrong = CancelKey { secret: other.secret.clone(), ..key.clone() };
        assert!(registry.find(&wrong).is_none());
        drop(one);
        assert!(registry.find(&key).is_none());
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_drain_reaches_all_who_are_in_and_lets_nobody_in() {
        let registry = Arc::<Registry>::default();
        let (one, _) = registry.enter(4, |bytes| bytes.fill(1)).unwrap();
        registry.drain();
        assert_eq!(one.mailbox().take(), Some(Notice::Drain));
        assert!(registry.enter(4, |bytes| bytes.fill(2)).is_none());
    }

    #[test]
    fn every_notice_wakes_the_task_that_polled_once() {
        let registry = Arc::<Registry>::default();
        let (mut registration, _key) = registry.enter(4, |bytes| bytes.fill(1)).unwrap();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(registration.poll_notice(&mut cx).is_pending());
        for (times, notice) in [(1, Notice::Drain), (2, Notice::Cancel)] {
            registration.mailbox().tell(notice);
            assert_eq!(woken.0.load(Ordering::Relaxed), times);
            assert_eq!(registration.poll_notice(&mut cx), Poll::Ready(notice));
            assert!(registration.poll_notice(&mut cx).is_pending());
        }
    }

    #[test]
    fn cancels_past_their_bound_are_not_taken() {
        let mailbox = Mailbox::default();
        let waiting: Vec<_> = (0..MAX_CANCELING).map(|_| mailbox.tell_cancel().unwrap()).collect();
        assert!(mailbox.tell_cancel().is_none());
        for canceler in mailbox.take_canceling() {
            canceler.send(CancelOutcome::Forwarded).unwrap();
        }
        for mut told in waiting {
            assert_eq!(told.try_recv(), Ok(CancelOutcome::Forwarded));
        }
        assert!(mailbox.tell_cancel().is_some());
    }

    #[test]
    fn notices_come_out_most_urgent_first_and_once() {
        use Notice::{Cancel, Drain, Reload, Terminate};
        let mailbox = Mailbox::default();
        for notice in [Reload, Drain, Cancel, Terminate, Cancel] {
            mailbox.tell(notice);
        }
        let taken: Vec<_> = std::iter::from_fn(|| mailbox.take()).collect();
        assert_eq!(taken, [Terminate, Cancel, Drain, Reload]);
    }
}
