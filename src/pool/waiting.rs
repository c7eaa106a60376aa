//! Clients that wait for a server: how they queue, what they are told, and why they got none.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::slots::WaiterId;
use super::{Cleaning, Counts, Crowd, Lease, Pool, lock};
use crate::class::{ClassId, ClassLimits};
use crate::clock::Instant;
use crate::host::Full;
use crate::metrics::{CheckoutRefusal, ClassMetrics};
use crate::server::{OpenError, Server};
use crate::session::settings::Settings;

/// Where a waiter gets it.
pub(super) type Waiter = oneshot::Sender<Handover>;

/// What a waiter gets.
pub(super) type Handover = Result<Box<Server>, Denied>;

/// Why a waiter gets no server.
#[derive(Debug)]
pub(super) enum Denied {
    /// None can be opened.
    NoServer(Arc<OpenError>),
    /// It would have waited in vain.
    Late(Crowd),
    /// It has waited for as long as it may.
    TimedOut,
    /// It needs none: what it wants to learn from one is known.
    Needless,
}

/// What one who waits wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// A server.
    Server,
    /// To learn what servers report, from a server or otherwise.
    Welcome,
}

/// Why a client got no server.
#[derive(Debug, Error, Clone)]
pub enum CheckoutError {
    /// No server came free in time.
    #[error("timed out waiting for a server")]
    Full {
        /// What it waited for.
        cause: Cause,
        /// Who else is there.
        counts: Counts,
        /// Its class.
        class: Arc<str>,
        /// Who waits in it.
        crowd: Crowd,
        /// How long the client waited.
        waited: Duration,
    },
    /// Too many of its class wait already.
    #[error("the queue of class \"{class}\" is full")]
    QueueFull {
        /// Its class.
        class: Arc<str>,
        /// Who waits.
        crowd: Crowd,
        /// Clients of the class that may wait.
        limit: usize,
    },
    /// Its time would be over before it is served.
    #[error("a client of class \"{class}\" would have waited in vain")]
    Late {
        /// Its class.
        class: Arc<str>,
        /// Who waits.
        crowd: Crowd,
        /// How long it may wait.
        timeout: Duration,
        /// How long the client waited.
        waited: Duration,
    },
    /// No server could be opened for so long.
    #[error("no server could be opened: {error}")]
    Unreachable {
        /// The last attempt's.
        error: Arc<OpenError>,
        /// How long the client waited.
        waited: Duration,
    },
    /// PostgreSQL refuses this pool.
    #[error("{0}")]
    Refused(Arc<OpenError>),
    /// The pool was paused for so long.
    #[error("the pool is paused")]
    Paused {
        /// How long the client waited.
        waited: Duration,
    },
}

/// What one who waits is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The pool is paused.
    Paused,
    /// All servers of the pool are taken, so many.
    PoolFull(usize),
    /// All servers that the class may have are taken.
    ClassFull(usize),
    /// What is left of so many servers is kept for other classes.
    Kept(usize),
    /// The host, the database or the user has all the connections that it may.
    HostFull(Full),
    /// Connections to PostgreSQL are being opened, as fast as it keeps up with.
    Opening,
    /// PostgreSQL lets nobody in.
    Unreachable,
    /// PostgreSQL refuses the pool more than the servers it has.
    Refused,
    /// One of its servers, which is to come back before a new one could be there.
    Return,
}

/// How a client's wait stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it waits for.
    pub cause: Cause,
    /// Its class.
    pub class: Arc<str>,
    /// Clients of its class that come before it.
    pub ahead: usize,
}

impl Pool {
    /// What servers report at their login, which the first that is opened tells all who wait here. They queue as if for a
    /// server, so that one is opened and they are told what becomes of it; but no more than one for all, and no
    /// `queue_limit` holds for them. Cancel safe.
    pub async fn first_welcome(
        self: &Arc<Self>,
        class: ClassId,
    ) -> Result<Settings, CheckoutError> {
        let started = Instant::now();
        let mut now = started;
        loop {
            if let Some(reported) = self.welcome() {
                return Ok(reported);
            }
            // Where none is given, it has become known meanwhile, unless servers have just been replaced.
            if let Some(lease) = self.wait(class, Wants::Welcome, (started, now)).await? {
                let reported = lease.backend.settings.baseline().clone();
                lease.uncounted().check_in(Cleaning::None, Instant::now());
                return Ok(reported);
            }
            now = Instant::now();
        }
    }

    /// Waits in the queue from `now` on; `None` if what is wanted is known without a server.
    pub(super) async fn wait(
        self: &Arc<Self>,
        class: ClassId,
        wants: Wants,
        (started, now): (Instant, Instant),
    ) -> Result<Option<Lease>, CheckoutError> {
        let queued = self.queue(class, wants, (started, now));
        let mut place = match queued.map_err(|crowd| self.queue_full(class, crowd))? {
            Queued::In(place) => place,
            Queued::Served(server) => {
                return Ok(Some(Lease::new(Arc::clone(self), server, class, now)));
            }
            Queued::Needless => return Ok(None),
            Queued::TimedOut => return Err(self.timed_out(class, started)),
        };
        let _counted = self.metrics().tally.waiting();
        match place.served().await {
            Ok(server) => {
                let now = Instant::now();
                if wants == Wants::Server {
                    let waited = now.saturating_duration_since(started);
                    self.class_metrics(class).waits.record(waited);
                }
                Ok(Some(Lease::new(Arc::clone(self), server, class, now)))
            }
            Err(Denied::Needless) => Ok(None),
            Err(Denied::NoServer(error)) => Err(CheckoutError::Refused(error)),
            Err(Denied::Late(crowd)) => {
                self.metrics().checkout_refusals.count(CheckoutRefusal::Late);
                self.class_metrics(class).refusals.count(CheckoutRefusal::Late);
                Err(self.late(class, crowd, started))
            }
            Err(Denied::TimedOut) => Err(self.timed_out(class, started)),
        }
    }

    fn queue(
        self: &Arc<Self>,
        class: ClassId,
        wants: Wants,
        (started, now): (Instant, Instant),
    ) -> Result<Queued<'_>, Crowd> {
        let (sender, receiver) = oneshot::channel();
        let mut slots = lock(&self.slots);
        let timeout = slots.queue_timeout(class);
        if now.saturating_duration_since(started) >= timeout {
            return Ok(Queued::TimedOut);
        }
        // Parked since the caller looked: nobody else would hand it to one who queues now.
        if let Some(server) = slots.take(class, now) {
            return Ok(Queued::Served(server));
        }
        let id = match wants {
            Wants::Server => slots.wait(class, sender, now),
            // It was told since the caller looked, and those who were in the queue then have left it.
            Wants::Welcome if lock(&self.welcome).is_some() => return Ok(Queued::Needless),
            Wants::Welcome => slots.wait_as_newcomer(class, sender, now),
        };
        drop(slots);
        let id = id.map_err(|(_, crowd)| crowd)?;
        self.watch_deadline(now + timeout);
        self.keep_opening();
        Ok(Queued::In(Place { pool: self, id, class, receiver, is_left: false }))
    }

    /// What servers report is known from now on, as one of this generation has said, and told to all who waited for it.
    pub(super) fn learn_welcome(&self, reported: Settings, generation: u64) {
        {
            let mut welcome = lock(&self.welcome);
            // What was retired meanwhile says nothing about those who come.
            if generation != self.generation() {
                return;
            }
            *welcome = Some(reported);
        }
        let newcomers = lock(&self.slots).take_newcomers(Instant::now());
        for waiter in newcomers {
            // It may have gone.
            let _ = waiter.send(Err(Denied::Needless));
        }
    }

    pub(super) fn class_limits(&self, class: ClassId) -> ClassLimits {
        self.settings.load().classes.limits_of(class)
    }

    fn class_name(&self, class: ClassId) -> Arc<str> {
        Arc::clone(self.settings.load().classes.name(class))
    }

    fn class_metrics(&self, class: ClassId) -> Arc<ClassMetrics> {
        let handles = self.class_metrics.load();
        // There are as many as classes, and one at least.
        Arc::clone(handles.get(usize::from(class.0)).unwrap_or(&handles[0]))
    }

    fn queue_full(&self, class: ClassId, crowd: Crowd) -> CheckoutError {
        self.metrics().checkout_refusals.count(CheckoutRefusal::QueueFull);
        self.class_metrics(class).refusals.count(CheckoutRefusal::QueueFull);
        let limit = self.class_limits(class).queue_limit.unwrap_or(crowd.waiting);
        CheckoutError::QueueFull { class: self.class_name(class), crowd, limit }
    }

    fn late(&self, class: ClassId, crowd: Crowd, started: Instant) -> CheckoutError {
        if let Some(error) = lock(&self.trouble).waited_for() {
            return CheckoutError::Unreachable { error, waited: started.elapsed() };
        }
        let timeout = self.class_limits(class).queue_timeout;
        let (class, waited) = (self.class_name(class), started.elapsed());
        CheckoutError::Late { class, crowd, timeout, waited }
    }

    fn timed_out(&self, class: ClassId, started: Instant) -> CheckoutError {
        self.metrics().checkout_timeouts.increment(1);
        self.class_metrics(class).timeouts.increment(1);
        let waited = started.elapsed();
        if self.is_paused() {
            return CheckoutError::Paused { waited };
        }
        let trouble = lock(&self.trouble).waited_for();
        match trouble {
            Some(error) => CheckoutError::Unreachable { error, waited },
            None => {
                let (cause, name) = (self.cause(class), self.class_name(class));
                let slots = lock(&self.slots);
                let (counts, crowd) = (slots.counts(), slots.crowd(class, Instant::now()));
                CheckoutError::Full { cause, counts, class: name, crowd, waited }
            }
        }
    }

    /// Tells those who would wait in vain.
    pub(super) fn refuse(shed: Vec<(ClassId, Waiter, Crowd)>) {
        for (_, waiter, crowd) in shed {
            // It may have gone.
            let _ = waiter.send(Err(Denied::Late(crowd)));
        }
    }

    /// How the wait of a client stands that has waited since then.
    pub fn standing(&self, class: ClassId, since: Instant) -> Standing {
        let ahead = lock(&self.slots).ahead_of(class, since, Instant::now());
        Standing { cause: self.cause(class), class: self.class_name(class), ahead }
    }

    fn cause(&self, class: ClassId) -> Cause {
        if self.is_paused() {
            return Cause::Paused;
        }
        if lock(&self.trouble).waited_for().is_some() {
            return Cause::Unreachable;
        }
        let limit = self.class_limits(class).max_servers;
        let seat = self.seat.load();
        let (is_host_down, full) = (seat.host().governor().is_open, seat.full());
        let is_refused = lock(&self.trouble).pause(Instant::now()).is_some();
        let slots = lock(&self.slots);
        let (opening, max) = (slots.counts().opening, slots.size().max);
        match limit {
            Some(limit) if slots.is_class_full(class) => Cause::ClassFull(limit),
            _ if slots.total() - opening >= max => Cause::PoolFull(max),
            // Another pool has found that out.
            _ if opening > 0 && is_host_down => Cause::Unreachable,
            _ if opening > 0 => Cause::Opening,
            _ if !slots.may_have(class) => Cause::Kept(max),
            _ if is_refused => Cause::Refused,
            _ => full.map_or(Cause::Return, Cause::HostFull),
        }
    }
}

/// What becomes of one who is to queue.
enum Queued<'a> {
    /// It waits.
    In(Place<'a>),
    /// It gets one at once.
    Served(Box<Server>),
    /// Its time is over.
    TimedOut,
    /// It needs none.
    Needless,
}

/// A place in the queue; dropped, it is left.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    id: WaiterId,
    class: ClassId,
    receiver: oneshot::Receiver<Handover>,
    /// It was taken out of the queue, and knows why.
    is_left: bool,
}

impl Place<'_> {
    /// What came.
    async fn served(&mut self) -> Handover {
        let came = (&mut self.receiver).await;
        self.is_left = true;
        // Who takes a waiter out of the queue tells it why.
        came.unwrap_or(Err(Denied::TimedOut))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_left || lock(&self.pool.slots).leave(self.id, Instant::now()).is_some() {
            return;
        }
        self.receiver.close();
        if let Ok(Ok(server)) = self.receiver.try_recv() {
            self.pool.free(server, Some(self.class), Instant::now());
        }
    }
}
