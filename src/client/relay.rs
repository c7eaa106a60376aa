//! A client with a server: messages both ways, until the server can go to somebody else.

mod canceling;
mod deadlines;
mod gathering;

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use self::gathering::Gathering;
use super::abandon::{Canceling, Probe, abandon, close};
use super::half::{Half, Stop};
use super::listening::Joining;
use super::observer::Observer;
use super::{Client, Ending, Fatal, ServerLoss, edge};
use crate::clock::Instant;
use crate::config::OnClientGone;
use crate::ledger::Pinned;
use crate::metrics::{CloseReason, Counted, ErrorSource};
use crate::net::link::{Moved, consume};
use crate::pool::{Cleaning, Lease};
use crate::registry::{Notice, State};
use crate::server::{Server, Work};
use crate::session::listening::Joined;
use crate::session::pooling::Pooling;
use crate::session::{Attach, Parting, ServerFate};
use crate::wire::ErrorFields;
use crate::wire::error;
use crate::wire::frame::{self, HEADER, Header};

/// What belongs to one lease.
struct Relay<'a> {
    client: &'a mut Client,
    lease: &'a mut Lease,
    /// Bytes of the server's current message that are still to come, and whether they pass.
    rest: usize,
    forwarding: bool,
    /// The server has announced its end by a FATAL error.
    fatal: Option<Fatal>,
    /// Something that the client has sent was used in this lease.
    served: bool,
    /// A transaction of this lease is over.
    is_past_one: bool,
    canceling: Option<Canceling>,
    /// Since when a cancel waits for the end of what pgweir itself has sent ahead of the client's request.
    early_cancel: Option<Instant>,
    probe: Probe,
    /// Since when the client waits for what the pool's listening server has still to tell.
    behind_since: Option<Instant>,
    /// The pool's listening server was asked for channels.
    joining: Option<Joining>,
    /// When its transaction began; `None` while the client keeps its server between two of them.
    started: Option<Instant>,
    /// What transaction pooling would have done, where that is asked.
    observer: Option<Box<Observer>>,
    /// The client is pinned, for those who look.
    pinned: Option<(Pinned, Counted)>,
    recheck: Recheck,
    watch: Watch,
    /// When the client was last at work, or the server for it.
    heard: Instant,
    /// The answer that the server owes; only kept while `timeouts.query` is on.
    asked: Option<Asked>,
    /// When the client was first found to have ended its side.
    gone_since: Option<Instant>,
    gathering: Gathering,
}

/// When what pins the client was last asked for without a reason in a text, and whether the client has done
/// something since.
#[derive(Debug, Clone, Copy)]
struct Recheck {
    last: Instant,
    stirred: bool,
}

/// When it was last looked whether both machines are there, and whether the client's is watched closely since.
#[derive(Debug, Clone, Copy)]
struct Watch {
    looked: Instant,
    closely: bool,
}

/// Bytes of the server's input that pass as they are, and where the next message begins.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    begin: usize,
    end: usize,
}

/// An answer that is awaited while nothing moves.
#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Instant,
    /// Bytes that had moved by then.
    moved: u64,
    /// A cancel was sent for it.
    canceled: bool,
}

/// What wakes a relay.
enum Woken {
    Client,
    Server(Moved),
    Told(Notice),
    /// The pool's listening server has answered.
    Joined(Joined),
    Alarm,
}

impl Client {
    /// Relays between the client and a server that was just given to it, for as long as its
    /// transaction lasts.
    pub(super) async fn attached(&mut self, mut lease: Lease) -> Result<(), Ending> {
        self.registration.set_state(State::Active, self.since);
        self.registration.set_server(Some(lease.backend.pid));
        lease.entry.lend(self.card.who.id);
        if self.pool.knowledge().is_first_reading() {
            Box::pin(self.pool.first_reading()).await;
        }
        let server: &mut Server = &mut lease;
        if self.session.attach(&mut server.backend, &mut server.link.output) == Attach::Wait {
            if let Some(refused) = Box::pin(self.settle(&mut lease)).await.transpose() {
                return self.on_settings_refused(lease, refused);
            }
            self.since = Instant::now();
        }
        self.refusals = 0;
        let now = self.since;
        let mut relay = Relay::new(self, &mut lease, now);
        relay.observe();
        let ended = relay.run().await;
        let inside = relay.rest > 0 && relay.forwarding;
        let ended = ended.map_err(|ending| match (ending, relay.fatal.take()) {
            // The client has the server's own FATAL.
            (Ending::Ended(_), Some(fatal)) => Ending::ServerFatal(fatal),
            (ending, _) if inside => ending.inside_message(),
            (ending, _) => ending,
        });
        relay.gathering.stop(&mut relay.lease.link);
        if relay.watch.closely {
            relay.client.link.stream().watch(None);
        }
        let (rest, canceling) = (relay.rest, relay.canceling.take());
        if relay.early_cancel.is_some() {
            // What it is for goes to another server.
            relay.client.registration.mailbox().tell(Notice::Cancel);
        }
        // What counts it must not meet the next client's.
        drop(relay);
        self.count(&lease);
        self.part(lease, ended, rest, canceling)
    }

    /// Waits until the server has taken the client's settings; gives the server's error if it has not.
    pub(super) async fn settle(
        &mut self,
        lease: &mut Lease,
    ) -> Result<Option<bytes::Bytes>, Ending> {
        let mut deadline = Instant::now() + self.context.timeouts().server_connect;
        if self.session.is_asking() {
            deadline += CATALOGUE_TIME;
        }
        let mut relay = Relay::new(self, lease, Instant::now());
        let lost = loop {
            relay.pump_server()?;
            if relay.rest == 0
                && let Some(result) = relay.client.session.sync_result()
            {
                return Ok(result.err());
            }
            let moved = relay.lease.link.moved(true);
            match tokio::time::timeout_at(deadline.into(), moved).await {
                Ok(Ok(Moved::Read | Moved::Drained)) => {}
                Ok(Err(error)) => break error.into(),
                Ok(Ok(Moved::End)) => break ServerLoss::Closed,
                Err(_) => break ServerLoss::Silent,
            }
        };
        drop(relay);
        lease.pool().on_lost();
        Err(Ending::ServerLost(lost))
    }

    /// The server did not take the settings: the message that needed it goes to another, or is refused with the
    /// server's own error, and did not run.
    fn on_settings_refused(
        &mut self,
        lease: Lease,
        refused: Result<bytes::Bytes, Ending>,
    ) -> Result<(), Ending> {
        self.session.detach();
        self.registration.set_server(None);
        let tries = match &refused {
            Ok(_) => self.session.was_refused_proven().then_some(1),
            Err(Ending::ServerLost(loss)) => loss.tries(),
            Err(_) => None,
        };
        if let Some(tries) = tries.filter(|_| self.refusals < MAX_REFUSALS) {
            // The message is still at the head of the input, and goes to another server.
            self.refusals += tries;
            // What it has waited for that server is no wait in the queue.
            self.since = Instant::now();
            lease.evict(CloseReason::Broken);
            return Ok(());
        }
        let body = match refused {
            Ok(body) => body,
            Err(ending) => {
                lease.evict(CloseReason::Broken);
                return Err(ending.before_settings());
            }
        };
        lease.check_in(Cleaning::SoftReset, Instant::now());
        if let Ok(Some(header)) = frame::frontend(&self.link.input) {
            let out = &mut self.link.output;
            self.session.refuse(header.tag, out, |out| error::with_severity(out, &body, "ERROR"));
            self.half.drop_message(&mut self.link);
        }
        Ok(())
    }

    fn count(&mut self, lease: &Lease) {
        let counts = self.session.take_counts();
        let tally = &lease.pool().metrics().tally;
        tally.queries.increment(u64::from(counts.queries));
        if counts.elided_parses > 0 {
            tally.elided_parses.increment(u64::from(counts.elided_parses));
        }
        tally.transactions.increment(u64::from(counts.transactions));
        if counts.lost_numbers > 0 {
            let observed = &lease.pool().metrics().observed;
            observed.lost_numbers.increment(u64::from(counts.lost_numbers));
        }
        self.count_bytes();
    }

    /// Parts with the server: back to the pool when it is free, cleaned up behind the client when
    /// that is gone, closed when it is lost.
    fn part(
        &mut self,
        lease: Lease,
        ended: Result<(), Ending>,
        rest: usize,
        canceling: Option<Canceling>,
    ) -> Result<(), Ending> {
        self.registration.set_server(None);
        if matches!(&ended, Err(Ending::ServerLost(loss)) if loss.is_of_connection()) {
            lease.pool().on_lost();
        }
        let lost = matches!(ended, Err(Ending::ServerLost(_) | Ending::ServerFatal(_)));
        if lost && self.session.survives_loss() {
            self.session.detach();
            lease.evict(CloseReason::Broken);
            return Ok(());
        }
        let cleaning = Cleaning::after(self.session.leftovers());
        let free = self.session.may_release() && rest == 0 && !self.half.is_inside_message();
        // An administrator wants an end of what runs, too.
        let is_killed = !self.draining && ended.as_ref().is_err_and(Ending::is_termination);
        let work = Work {
            outstanding: !self.session.is_quiet(),
            copying_in: self.session.is_copying_in(),
            unread: rest,
            cancel: is_killed || self.context.now.on_client_gone == OnClientGone::Cancel,
        };
        self.session.detach();
        match &ended {
            Err(Ending::ServerLost(_) | Ending::ServerFatal(_)) => lease.evict(CloseReason::Broken),
            _ if self.half.is_inside_message() => close(lease),
            _ if free => match canceling {
                Some(canceling) => canceling.check_in_after(lease, cleaning),
                None if ended.is_ok() => lease.check_in(cleaning, self.since),
                None => lease.check_in(cleaning, Instant::now()),
            },
            _ => abandon(lease, work, canceling, cleaning),
        }
        ended
    }
}

impl<'a> Relay<'a> {
    fn new(client: &'a mut Client, lease: &'a mut Lease, started: Instant) -> Self {
        let gathering = Gathering::new(lease.link.traffic(), started);
        Self {
            client,
            lease,
            rest: 0,
            forwarding: false,
            fatal: None,
            served: false,
            is_past_one: false,
            canceling: None,
            early_cancel: None,
            probe: Probe::default(),
            behind_since: None,
            joining: None,
            started: Some(started),
            observer: None,
            pinned: None,
            recheck: Recheck { last: started, stirred: false },
            watch: Watch { looked: started, closely: false },
            heard: started,
            asked: None,
            gone_since: None,
            gathering,
        }
    }

    async fn run(&mut self) -> Result<(), Ending> {
        loop {
            let inside = self.rest > 0;
            self.client.hear(inside)?;
            let stop = self.pump_client()?;
            self.mind_early_cancel();
            if self.try_to_part().await? {
                return Ok(());
            }
            self.note_asked();
            match stop {
                Stop::Terminate => self.on_client_ended()?,
                Stop::More if self.client.link.has_ended() => self.on_client_ended()?,
                // It may have requests that are still to be answered.
                _ if self.client.link.has_ended() => self.suspect_gone(),
                _ => {}
            }
            self.show_state();
            self.set_alarm();
            // Also of a client that must wait: so it is seen to be gone.
            let reads = stop == Stop::More || self.reads_ahead();
            match self.woken(reads).await? {
                Woken::Server(moved) => {
                    let canceled =
                        self.canceling.is_some() && self.client.session.runs_for_client();
                    self.pump_server()?;
                    if canceled {
                        self.on_answered();
                    }
                    self.note_asked();
                    if moved == Moved::End {
                        return Err(self.server_lost(ServerLoss::Closed));
                    }
                    if self.try_to_part().await? {
                        return Ok(());
                    }
                }
                Woken::Client => {}
                Woken::Joined(joined) => {
                    self.joining = None;
                    self.client.session.on_joined(joined);
                    if self.try_to_part().await? {
                        return Ok(());
                    }
                }
                Woken::Told(notice) => self.on_notice(notice)?,
                Woken::Alarm => self.on_alarm()?,
            }
        }
    }

    /// Lets the server go if it can: nothing is in flight, and if the client has sent more, somebody else was
    /// waiting before. What must be known of the session first is asked. True if it may go.
    async fn try_to_part(&mut self) -> Result<bool, Ending> {
        let client = &*self.client;
        if !client.session.may_release()
            || self.rest > 0
            || client.half.is_inside_message()
            || client.half.is_growing()
        {
            return Ok(false);
        }
        // More of the client's own is here already, and nobody was before it; or all of it, when it was
        // held back by what went ahead of it: it is its turn still.
        if !client.session.must_part()
            && Half::has_whole_message(&client.link)
            && (!self.served || !self.is_wanted() || client.session.keeps_server())
        {
            self.started = Some(client.since);
            return Ok(false);
        }
        let Server { link, backend, .. } = &mut **self.lease;
        let client = &mut *self.client;
        let parting = client.session.part(backend, &mut link.output);
        client.session.write_replies(&mut client.link.output);
        if self.joining.is_none() {
            self.joining = client.join_listener();
        }
        match parting {
            Parting::Free => self.pinned = None,
            Parting::Asked => return Ok(false),
            Parting::Pinned => {
                self.enter_pins();
                return self.on_kept().map(|()| false);
            }
            Parting::Kept => return self.on_kept().map(|()| false),
            Parting::Refused(refusal) => {
                return Err(Ending::Ended(Box::new(edge::pin_refused(refusal))));
            }
        }
        self.flush_server().await.map_err(|error| self.server_lost(error.into()))?;
        Ok(true)
    }

    /// What the client has sent behind its answers, as CopyData of a COPY that has failed, the server takes or is lost.
    async fn flush_server(&mut self) -> io::Result<()> {
        if self.lease.link.output.is_empty() {
            return Ok(());
        }
        let patience = self.client.context.timeouts().server_close;
        let flushed = tokio::time::timeout(patience, self.lease.link.flush()).await;
        flushed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the server is wanted back.
    fn is_wanted(&self) -> bool {
        self.client.draining || self.client.pool.wants_back(self.lease)
    }

    /// What a client sends ahead of its answers is kept back behind a transaction of this lease, if the server is wanted
    /// back: else one who always has something in flight would never be done with it.
    fn makes_way(&self) -> bool {
        let Client { session, half, link, .. } = &*self.client;
        self.is_past_one
            // A COPY's end is answered at the Sync behind it only.
            && session.awaits_ready()
            && session.is_between_transactions()
            && !session.keeps_server()
            && session.pins().is_empty()
            && !half.is_inside_message()
            && link.input.first().is_some_and(|tag| BEGINS.contains(tag))
            && self.is_wanted()
    }

    /// The client keeps its server between transactions.
    fn on_kept(&mut self) -> Result<(), Ending> {
        self.started = None;
        self.client.count(self.lease);
        self.client.show_application();
        let client = &mut *self.client;
        if client.draining && client.link.input.is_empty() {
            return Err(Ending::Ended(Box::new(edge::draining())));
        }
        client.link.release_buffers();
        self.lease.link.release_buffers();
        if let Some(observer) = &mut self.observer {
            let Client { session, card, context, .. } = &*self.client;
            observer.end(session, &card.who, context, Instant::now());
        }
        Ok(())
    }

    fn observe(&mut self) {
        let Client { session, pool, since, .. } = &*self.client;
        if session.pooling() == Pooling::Observe {
            let observer = Observer::new(pool, self.lease.backend.pid, *since);
            self.observer = Some(Box::new(observer));
        }
    }

    /// The client has begun something on the server that it has kept.
    fn on_begun(&mut self) {
        self.started = Some(self.client.since);
        if let Some(observer) = &mut self.observer {
            observer.begin(self.client.since);
            self.client.session.ask_anew();
        }
    }

    /// Enters what pins the client where it can be seen.
    fn enter_pins(&mut self) {
        let Client { session, card, context, .. } = &*self.client;
        let (pinned, _) = self.pinned.get_or_insert_with(|| {
            let name = session.application_name();
            let pinned = context.common.ledger.begin(&card.who, name, self.lease.backend.pid);
            (pinned, self.lease.pool().metrics().pinned())
        });
        pinned.update(session.pins(), |reason| session.cause(reason), Instant::now());
    }

    /// Says what the client is doing, for those who look.
    fn show_state(&self) {
        let Client { session, half, registration, since, .. } = &*self.client;
        // What pgweir itself asks is none of the client's doing.
        if session.is_asking() {
            return;
        }
        let state = if !self.is_clients_turn() || half.is_inside_message() || half.is_growing() {
            State::Active
        } else if !self.is_idle_keeper() {
            State::IdleInTransaction
        } else if self.pinned.is_some() {
            State::Pinned
        } else {
            State::Idle
        };
        registration.set_state(state, *since);
    }

    /// The client has its server though it is outside a transaction.
    fn is_idle_keeper(&self) -> bool {
        let session = &self.client.session;
        (session.keeps_server() || !session.pins().is_empty()) && session.may_release()
    }

    fn pump_client(&mut self) -> Result<Stop, Ending> {
        // Its next transaction may be for another server.
        if self.client.session.is_asking() || self.makes_way() {
            return Ok(Stop::Blocked);
        }
        let client = &mut *self.client;
        let before = client.link.input.len();
        let stop = client.half.pump(&mut client.link, &mut client.session, Some(self.lease));
        let used = client.link.input.len() < before;
        self.served |= used;
        self.recheck.stirred |= used;
        if self.started.is_none() && !self.client.session.may_release() {
            self.on_begun();
        }
        stop
    }

    async fn woken(&mut self, read: bool) -> Result<Woken, Ending> {
        poll_fn(|cx| {
            if let Poll::Ready(notice) = self.client.registration.poll_notice(cx) {
                return self.poll_told(cx, notice, read);
            }
            // A client that does not read must not make us hold its rows.
            let read_server = !self.client.link.is_congested();
            if let Poll::Ready(moved) = self.lease.link.poll_moved(cx, read_server) {
                let lost = |error: std::io::Error| self.server_lost(error.into());
                return Poll::Ready(moved.map(Woken::Server).map_err(lost));
            }
            if read_server {
                self.gathering.poll(cx, &mut self.lease.link);
            }
            if let Poll::Ready(moved) = self.client.link.poll_moved(cx, read) {
                return Poll::Ready(moved.map(|_| Woken::Client).map_err(Ending::Lost));
            }
            if let Some(joining) = &mut self.joining
                && let Poll::Ready(joined) = joining.as_mut().poll(cx)
            {
                let joined = joined.ok().and_then(Result::ok).unwrap_or(Joined::Refused);
                return Poll::Ready(Ok(Woken::Joined(joined)));
            }
            self.note_moved();
            self.client.alarm.poll(cx).map(|()| Ok(Woken::Alarm))
        })
        .await
        .inspect(|woken| {
            if matches!(woken, Woken::Client | Woken::Server(_)) {
                self.client.since = Instant::now();
                // What pgweir asks for itself is no sign of life of the client's.
                if matches!(woken, Woken::Client) || !self.client.session.is_asking() {
                    self.heard = self.client.since;
                }
            }
            if matches!(woken, Woken::Server(Moved::Read)) {
                self.gathering.on_read(&mut self.lease.link, self.client.since);
            }
        })
    }

    /// Uses what the server has sent. Runs of messages that pass are copied at once.
    fn pump_server(&mut self) -> Result<(), Ending> {
        self.pass_rest();
        let mut run = Run::default();
        while self.rest == 0 && self.take_message(&mut run)? {}
        self.finish_run(run);
        Ok(())
    }

    /// Uses the message behind the run, if enough of it is there.
    fn take_message(&mut self, run: &mut Run) -> Result<bool, Ending> {
        let input = &self.lease.link.input[run.end..];
        let header = frame::backend(input).map_err(ServerLoss::from).map_err(Ending::ServerLost)?;
        let Some(header) = header else { return Ok(false) };
        let session = &mut self.client.session;
        let len = input.len().min(header.total());
        if session.pass_row(header) {
            self.forwarding = true;
            run.end += len;
            self.rest = header.total() - len;
            run.end += frame::alike(&self.lease.link.input[run.end..], header.tag);
            return Ok(true);
        }
        if !session.is_server_inspectable(header, &input[HEADER..len]) {
            return Ok(false);
        }
        self.judge(header, len, run)?;
        run.end += len;
        if !self.forwarding {
            run.begin = run.end;
        }
        self.rest = header.total() - len;
        if self.client.session.is_reply_due() {
            self.pass(run);
            self.client.session.write_replies(&mut self.client.link.output);
        }
        Ok(true)
    }

    /// Lets the session decide about a message of which `len` bytes are there.
    fn judge(&mut self, header: Header, len: usize, run: &mut Run) -> Result<(), Ending> {
        // What the session writes comes behind what passes.
        if matches!(header.tag, b'E' | b'Z' | b'A' | b'S') {
            self.pass(run);
        }
        let Client { session, link: client, context, .. } = &mut *self.client;
        let Server { link, backend, refused_write, .. } = &mut **self.lease;
        let body = &link.input[run.end..][HEADER..len];
        let fate = session
            .on_server(header, body, backend, &mut client.output)
            .map_err(ServerLoss::from)
            .map_err(Ending::ServerLost)?;
        if header.tag == b'E' {
            let fields = ErrorFields::read(body);
            context.common.metrics.errors.count(ErrorSource::Server, fields.code);
            if fields.is_fatal() && fate == ServerFate::Forward {
                self.fatal = Some(Fatal::new(&fields));
            }
            *refused_write |= fields.code == READ_ONLY;
        }
        session.write_barrier(backend, &mut link.output);
        self.forwarding = fate == ServerFate::Forward;
        if header.tag == b'Z' && self.forwarding && session.is_between_transactions() {
            self.is_past_one = true;
            // The next one, if it is on its way already.
            self.started = self.started.map(|_| self.client.since);
        }
        if !self.forwarding {
            self.pass(run);
        }
        Ok(())
    }

    /// Passes the run as it is so far.
    fn pass(&mut self, run: &mut Run) {
        let passing = &self.lease.link.input[run.begin..run.end];
        self.client.link.output.extend_from_slice(passing);
        run.begin = run.end;
    }

    /// The last run passes; when it is long and all there is, the buffer itself changes hands.
    fn finish_run(&mut self, run: Run) {
        let (input, output) = (&mut self.lease.link.input, &mut self.client.link.output);
        if run.begin == 0
            && run.end == input.len()
            && run.end >= WORTH_SWAPPING
            && output.is_empty()
        {
            std::mem::swap(input, output);
        } else {
            output.extend_from_slice(&input[run.begin..run.end]);
            consume(input, run.end);
        }
    }

    fn pass_rest(&mut self) {
        let input = &mut self.lease.link.input;
        let len = self.rest.min(input.len());
        if self.forwarding {
            self.client.link.output.extend_from_slice(&input[..len]);
        }
        consume(input, len);
        self.rest -= len;
    }

    /// The client sends no more. It may still read: its answers are finished, its open transaction
    /// is not.
    fn on_client_ended(&mut self) -> Result<(), Ending> {
        let session = &self.client.session;
        if !session.awaits_ready()
            || session.is_copying_in()
            || self.client.half.is_inside_message()
        {
            return Err(Ending::Left);
        }
        self.suspect_gone();
        Ok(())
    }

    /// Not while pgweir asks something: what comes next may be for another server. Nor where one side takes no more:
    /// of a message that passes, all that is read goes on at once.
    fn reads_ahead(&self) -> bool {
        let Client { link, session, half, .. } = &*self.client;
        let flows = !link.is_congested() && !self.lease.link.is_congested() && half.is_at_rest();
        flows && !session.is_asking() && link.input.len() < READ_AHEAD
    }

    /// The client sends no more: it is gone, or waits for its answers.
    fn suspect_gone(&mut self) {
        self.gone_since.get_or_insert_with(Instant::now);
        self.probe.start();
    }

    fn on_notice(&mut self, notice: Notice) -> Result<(), Ending> {
        match notice {
            Notice::Cancel => {
                self.cancel();
            }
            Notice::Drain => self.client.draining = true,
            Notice::Reload => self.client.on_reload(),
            // The client is told, if it may be, before it waits again.
            Notice::News => {}
            Notice::Terminate => return Err(Ending::Ended(Box::new(edge::draining()))),
        }
        Ok(())
    }

    fn server_lost(&self, loss: ServerLoss) -> Ending {
        if let Some(fatal) = &self.fatal {
            Ending::ServerFatal(fatal.clone())
        } else if self.rest > 0 && self.forwarding {
            Ending::ServerLost(ServerLoss::InsideMessage)
        } else {
            Ending::ServerLost(loss)
        }
    }
}

/// What a request begins with; COPY's data go on with one.
const BEGINS: &[u8] = b"QPBDECFS";

/// Bytes of a client that must wait which are read ahead.
const READ_AHEAD: usize = 16 << 10;

/// How long the catalogue may take that a server reads before it takes settings.
const CATALOGUE_TIME: Duration = Duration::from_mins(1);

/// Servers that may refuse a client's settings though others took them, or be lost before they have, until it is told.
pub(super) const MAX_REFUSALS: u8 = 4;

/// `read_only_sql_transaction` (`errcodes-appendix.html`).
const READ_ONLY: &[u8] = b"25006";

/// Bytes of a run below which copying it costs less than growing the buffer that comes in exchange.
const WORTH_SWAPPING: usize = 4 << 10;
