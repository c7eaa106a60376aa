//! What transaction pooling would have made of a client that keeps its server.

use std::sync::Arc;

use super::Context;
use crate::clock::Instant;
use crate::ledger::Pinned;
use crate::pool::Pool;
use crate::pool::need::{Counted, What};
use crate::registry::Who;
use crate::session::Session;

/// One client with a server of its own, under observation.
pub(super) struct Observer {
    pool: Arc<Pool>,
    server: u32,
    _held: Counted,
    /// Transaction pooling would have lent it a server now.
    needed: Option<Counted>,
    pinned: Option<(Pinned, Counted)>,
}

impl Observer {
    /// A client has just got a server, and has something to do there.
    pub(super) fn new(pool: &Arc<Pool>, server: u32, now: Instant) -> Self {
        Self {
            pool: Arc::clone(pool),
            server,
            _held: pool.count(What::Held, now),
            needed: Some(pool.count(What::Needed, now)),
            pinned: None,
        }
    }

    /// The client's next transaction has begun.
    pub(super) fn begin(&mut self, now: Instant) {
        let pool = &self.pool;
        self.needed.get_or_insert_with(|| pool.count(What::Needed, now));
    }

    /// Its transaction is over, and the server was asked what it left.
    pub(super) fn end(&mut self, session: &Session, who: &Who, context: &Context, now: Instant) {
        if session.pins().is_empty() {
            self.pinned = None;
            self.needed = None;
            return;
        }
        let (pinned, _) = self.pinned.get_or_insert_with(|| {
            let pinned =
                context.common.observed.begin(who, session.application_name(), self.server);
            (pinned, self.pool.count(What::Pinned, now))
        });
        pinned.update(session.pins(), |reason| session.cause(reason), now);
    }
}
