//! A server in the hands of one client.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::{Pool, lock};
use crate::class::ClassId;
use crate::clock::Instant;
use crate::metrics::{Clean, CloseReason, ServerState};
use crate::server::{self, Broken, Server};
use crate::session::Leftovers;

/// What must happen to a server before another client gets it (docs/semantics.md "Cleaning").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cleaning {
    /// Nothing.
    None,
    /// A soft reset, which keeps prepared statements.
    SoftReset,
    /// `DISCARD ALL`.
    DiscardAll,
    /// It cannot be cleaned.
    Close,
}

impl Cleaning {
    /// What a server needs on which a lease left this.
    pub fn after(leftovers: Leftovers) -> Self {
        match leftovers {
            Leftovers::Nothing => Self::None,
            Leftovers::Resettable => Self::SoftReset,
            Leftovers::Prepared => Self::DiscardAll,
            Leftovers::Permanent => Self::Close,
        }
    }
}

/// A server in the hands of one client. Dropped, the server is closed: only [`Lease::check_in`]
/// vouches for it.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    server: Option<Box<Server>>,
    class: ClassId,
    /// When the client got it; nothing once it has given it back.
    began: Option<Instant>,
}

impl Lease {
    pub(super) fn new(
        pool: Arc<Pool>,
        mut server: Box<Server>,
        class: ClassId,
        now: Instant,
    ) -> Self {
        server.entry.set(ServerState::Leased);
        server.at_rest = false;
        Self { pool, server: Some(server), class, began: Some(now) }
    }

    /// It is for pgweir's own use, whose time nobody wants to know.
    pub(super) fn uncounted(mut self) -> Self {
        self.began = None;
        self
    }

    /// When the client got it, if anybody wants to know.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether an idle server is there: nothing unexpected came, and after a long time idle it
    /// is asked.
    pub(super) async fn ask(&mut self) -> Sign {
        let now = Instant::now();
        let check = self.pool.unasked(now);
        let timeout = self.pool.settings.load().timeouts.server_connect.min(SIGN_OF_LIFE);
        if self.is_stale() {
            return Sign::Gone;
        }
        if self.was_used(now, check) {
            return Sign::Sound;
        }
        // In a box: it is rare, and the future of who waits is to stay small.
        match Box::pin(self.check(now + timeout)).await {
            Ok(()) => Sign::Sound,
            Err(Broken::TimedOut) => Sign::Silent,
            Err(_) => Sign::Gone,
        }
    }

    /// Gives the server back at the time `now`. It must be outside a transaction with nothing in flight.
    pub fn check_in(mut self, cleaning: Cleaning, now: Instant) {
        self.record(now);
        let how = match cleaning {
            Cleaning::None => {
                let Some(server) = self.server.take() else { return };
                return self.pool.free(server, Some(self.class), now);
            }
            Cleaning::Close => {
                self.at_rest = true;
                return self.evict(CloseReason::Dirty);
            }
            Cleaning::SoftReset => server::Cleaning::SoftReset,
            Cleaning::DiscardAll => server::Cleaning::DiscardAll,
        };
        let mut lease = self;
        lease.entry.clean();
        tokio::spawn(async move {
            let timeout = lease.pool.settings.load().timeouts.client_gone;
            match lease.clean(how, Instant::now() + timeout).await {
                Ok(()) => {
                    lease.pool.metrics().cleans.count(match how {
                        server::Cleaning::SoftReset => Clean::SoftReset,
                        server::Cleaning::DiscardAll => Clean::DiscardAll,
                    });
                    lease.check_in(Cleaning::None, Instant::now());
                }
                Err(error) => {
                    let unclean = matches!(error, Broken::Unclean);
                    let kind = if unclean { Clean::Unclean } else { Clean::Failed };
                    lease.pool.metrics().cleans.count(kind);
                    lease.evict(CloseReason::Dirty);
                }
            }
        });
    }

    /// Closes the server.
    pub fn evict(mut self, reason: CloseReason) {
        self.close(reason);
    }

    fn record(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.pool.metrics().tally.leases.record(now.saturating_duration_since(began));
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if let Some(server) = self.server.take() {
            let now = Instant::now();
            self.record(now);
            lock(&self.pool.slots).returned(self.class, now);
            self.pool.evict(server, reason);
        }
    }
}

/// Whether an idle server is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Sound,
    /// It has ended its connection, or said what it must not.
    Gone,
    /// It has not answered.
    Silent,
}

/// An answer to a bare Sync takes a round trip.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

impl Drop for Lease {
    fn drop(&mut self) {
        self.close(CloseReason::Dirty);
    }
}

impl Deref for Lease {
    type Target = Server;

    #[expect(clippy::expect_used, reason = "emptied by what consumes the lease")]
    fn deref(&self) -> &Server {
        self.server.as_ref().expect("a lease holds its server until it is consumed")
    }
}

impl DerefMut for Lease {
    #[expect(clippy::expect_used, reason = "as above")]
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("a lease holds its server until it is consumed")
    }
}
