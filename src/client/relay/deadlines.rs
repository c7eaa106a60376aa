//! The times that a lease must keep, and what happens when one has passed.

use std::io;
use std::time::Duration;

use super::{Asked, Recheck, Relay};
use crate::client::alarm::{LOOKS, due};
use crate::client::journal::Event;
use crate::client::{Client, Ending, ServerLoss, edge};
use crate::clock::Instant;
use crate::config::{OnClientGone, Timeouts};
use crate::metrics::Timeout;
use crate::server::Server;
use crate::session::pooling::Pooling;

impl Relay<'_> {
    pub(super) fn set_alarm(&mut self) {
        let behind = self.client.session.is_behind();
        self.behind_since = behind.then(|| self.behind_since.unwrap_or_else(Instant::now));
        let earliest = [
            self.idle_due(),
            self.transaction_due(),
            self.query_due(),
            self.gone_due(),
            self.recheck_due(),
            self.behind_due(),
            self.dead_due(),
            self.probe.due(),
        ];
        self.client.alarm.set(earliest.into_iter().flatten().min());
    }

    fn idle_due(&self) -> Option<Instant> {
        let heard = self.is_clients_turn().then_some(self.heard)?;
        due(heard, self.idle_limit().0)
    }

    /// For how long the client may say nothing, and what it is told then.
    fn idle_limit(&self) -> (Duration, Timeout) {
        let Timeouts { idle_in_transaction, idle_client, pin_idle, .. } =
            *self.client.context.timeouts();
        if !self.is_idle_keeper() {
            return (idle_in_transaction, Timeout::IdleInTransaction);
        }
        // Who would keep its server anyway is not ended for that, and by what it has set the server itself ends it.
        if self.client.session.keeps_server() {
            return (idle_client, Timeout::IdleClient);
        }
        let own = self.client.session.idle_session_timeout().unwrap_or_default();
        let limits = [
            (idle_client, Timeout::IdleClient),
            (own, Timeout::IdleClient),
            (pin_idle, Timeout::PinIdle),
        ];
        let limits = limits.into_iter().filter(|(limit, _)| !limit.is_zero());
        limits.min_by_key(|(limit, _)| *limit).unwrap_or((Duration::ZERO, Timeout::IdleClient))
    }

    /// The client holds a server and is to go on: in a transaction, in a segment without Sync, inside a
    /// message of its own, or pinned.
    pub(super) fn is_clients_turn(&self) -> bool {
        let Client { session, half, .. } = &*self.client;
        if session.is_asking() {
            return false;
        }
        let inside = self.rest > 0;
        !session.awaits_reply() || (!inside && !session.awaits_server(half.is_inside_message()))
    }

    fn on_idle(&self) -> Ending {
        self.client.times_out(self.idle_limit().1)
    }

    /// What pins a client may end in a way that no text shows.
    fn recheck_due(&self) -> Option<Instant> {
        let pause = if self.recheck.stirred { PIN_PAUSE } else { PIN_RECHECK };
        let session = &self.client.session;
        let asks = match session.pooling() {
            Pooling::Transaction => true,
            // Asked again and again, its session would never be idle for PostgreSQL.
            Pooling::Observe => self.recheck.stirred,
            Pooling::Session => false,
        };
        let pinned = asks && self.is_idle_keeper() && !session.pins().is_empty();
        pinned.then(|| due(self.recheck.last.max(self.client.since), pause))?
    }

    fn recheck(&mut self) {
        self.recheck = Recheck { last: Instant::now(), stirred: false };
        let Server { link, backend, .. } = &mut **self.lease;
        self.client.session.ask_again(backend, &mut link.output);
    }

    fn transaction_due(&self) -> Option<Instant> {
        due(self.started?, self.client.context.timeouts().transaction)
    }

    fn query_due(&self) -> Option<Instant> {
        let Timeouts { query, cancel, .. } = *self.client.context.timeouts();
        let asked = self.asked?;
        due(asked.since, if asked.canceled { query.saturating_add(cancel) } else { query })
    }

    /// Whether the server owes an answer, and since when no byte of it has moved.
    pub(super) fn note_asked(&mut self) {
        if self.client.context.timeouts().query.is_zero() || !self.client.session.awaits_reply() {
            self.asked = None;
            return;
        }
        let moved = self.moved(self.asked.is_some_and(|asked| asked.canceled));
        if self.asked.is_none_or(|asked| asked.moved != moved) {
            let moved = self.moved(false);
            self.asked = Some(Asked { since: Instant::now(), moved, canceled: false });
        }
    }

    /// Bytes move without waking anybody, too: the time counts from then, not from when that is found
    /// out.
    pub(super) fn note_moved(&mut self) {
        if self.asked.is_some() {
            self.note_asked();
        }
    }

    /// Bytes that have moved, in either direction. A client that has ended its side is sent bytes
    /// only to see whether it reads, and one whose query was cancelled is told so.
    fn moved(&self, canceled: bool) -> u64 {
        let (server, client) = (self.lease.link.traffic(), self.client.link.traffic());
        let probing = self.gone_since.is_some() || canceled;
        server.read + server.written + if probing { 0 } else { client.read + client.written }
    }

    fn gone_due(&self) -> Option<Instant> {
        match self.client.context.now.on_client_gone {
            OnClientGone::Cancel => {
                due(self.gone_since?, self.client.context.timeouts().client_gone)
            }
            OnClientGone::Complete => None,
        }
    }

    /// What the pool's listening server has still to tell is not waited for any longer.
    fn behind_due(&self) -> Option<Instant> {
        due(self.behind_since?, BEHIND)
    }

    /// A server may think for as long as it likes, and a client read as late as it likes, but their machines acknowledge
    /// what they are sent.
    fn dead_due(&self) -> Option<Instant> {
        due(self.watch.looked, self.pause())
    }

    fn pause(&self) -> Duration {
        let Timeouts { server_dead, client_dead, .. } = *self.client.context.timeouts();
        server_dead.min(client_dead) / LOOKS
    }

    fn look(&mut self, now: Instant) -> Result<(), Ending> {
        self.watch.looked = now;
        let Timeouts { server_dead, .. } = *self.client.context.timeouts();
        // It is found out at the next look at the latest.
        let pause = self.pause();
        if self.lease.link.stream().owes_acknowledgement(server_dead.saturating_sub(pause)) {
            let timed_out = io::ErrorKind::TimedOut.into();
            return Err(self.server_lost(ServerLoss::Io(timed_out)));
        }
        self.client.look_at_machine(pause, &mut self.watch.closely)
    }

    pub(super) fn on_alarm(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        let passed = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if passed(self.dead_due()) {
            self.look(now)?;
        }
        if passed(self.idle_due()) {
            if self.lease.link.output.is_empty() {
                return Err(self.on_idle());
            }
            // The server has yet to take what the client has sent.
            self.heard = now;
        }
        if passed(self.recheck_due()) {
            self.recheck();
        }
        if passed(self.behind_due()) {
            self.behind_since = None;
            self.client.session.go_on();
            self.client.session.write_replies(&mut self.client.link.output);
        }
        if passed(self.transaction_due()) {
            return Err(self.client.times_out(Timeout::Transaction));
        }
        if passed(self.gone_due()) {
            return Err(Ending::Left);
        }
        if passed(self.query_due()) {
            self.on_query_timeout()?;
        }
        if passed(self.probe.due()) {
            let inside = self.rest > 0;
            self.probe.send(&self.client.session, &mut self.client.link, inside)?;
        }
        Ok(())
    }

    /// A query that runs too long is cancelled first; one that does not heed is cut off.
    fn on_query_timeout(&mut self) -> Result<(), Ending> {
        let Some(asked) = self.asked.filter(|asked| !asked.canceled) else {
            // It was counted when it was cancelled.
            return Err(Ending::Ended(Box::new(edge::timed_out(Timeout::Query))));
        };
        // What pgweir itself asks is nobody's statement, nor is what comes behind it.
        if self.has_work() && self.cancel() {
            self.tell_canceled(asked.since.elapsed());
        }
        self.asked = Some(Asked { canceled: true, moved: self.moved(true), ..asked });
        Ok(())
    }

    /// The client is told where it can read it: never inside a message of the server.
    fn tell_canceled(&mut self, lasted: Duration) {
        let inside = self.rest > 0 && self.forwarding;
        let client = &mut *self.client;
        client.context.common.metrics.clients.timeouts.count(Timeout::Query);
        let notice = edge::query_canceled(client.context.timeouts().query);
        client.tell_of(Event::Canceled, &notice, lasted);
        if !inside {
            notice.encode(&mut client.link.output);
        }
    }
}

/// A pinned client has said nothing for so long: its pins are looked at.
const PIN_PAUSE: Duration = Duration::from_secs(1);

/// How often they are looked at from then on.
const PIN_RECHECK: Duration = Duration::from_secs(30);

/// How long a ReadyForQuery waits for notifications that the client's own server has told already.
const BEHIND: Duration = Duration::from_secs(2);
