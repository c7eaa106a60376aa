//! What each message from the client does.

use bytes::BytesMut;

use super::asking::{Parameters, SUSPECT};
use super::flow::{Kind, Owner};
use super::knowledge::may_copy;
use super::pins::PinReason;
use super::preparing::NAMES_STATEMENTS;
use super::rules::Refusal;
use super::settings::Settings;
use super::{Backend, Leftovers, Note, Out, Session, TransactionStatus, Unsynced};
use crate::sql::{self, Effects, Whole};
use crate::wire::Reader;
use crate::wire::build;
use crate::wire::frame::{HEADER, Header};
use crate::without::is_off;

/// What happens to a client's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFate {
    /// It passes to the server as it is.
    Forward,
    /// Its beginning was written anew; the body passes from this byte on.
    Rewritten {
        /// Bytes of the body that were replaced.
        skip: usize,
    },
    /// It was answered or dropped here, body and all.
    Consumed,
    /// It cannot be judged before the server has answered what is in flight.
    Wait,
    /// It needs a server.
    NeedServer,
    /// The client is leaving.
    Terminate,
}

/// Whether so much of a body is enough to judge the message.
pub fn is_inspectable(header: Header, available: &[u8]) -> bool {
    let enough = |limit: usize| available.len() >= header.body.min(limit);
    match header.tag {
        b'd' => true,
        b'F' => available.len() >= header.body.min(4),
        b'P' if header.body > MAX_PARSE => enough(MAX_PREFIX),
        // What it does is looked for to its end.
        b'Q' => enough(MAX_PARSE),
        // Its values may name settings.
        b'B' => enough(MAX_PREFIX),
        _ => enough(MAX_PARSE),
    }
}

impl Session {
    /// A message from the client, of which `body` holds what [`is_inspectable`] wants. Without a
    /// backend, what can be answered from what is known is answered; the rest is `NeedServer` and
    /// has changed nothing.
    pub fn on_client(
        &mut self,
        header: Header,
        body: &[u8],
        mut backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        if let Some(backend) = backend.as_deref_mut() {
            self.go_ahead(header, backend, out.server);
        }
        let written = out.server.len();
        let fate = match (header.tag, backend) {
            (b'X', _) => ClientFate::Terminate,
            _ if self.is_beginning() => ClientFate::Wait,
            _ if self.retry.as_ref().is_some_and(|retry| retry.holds_back()) => ClientFate::Wait,
            // The server refuses with FATAL what does not belong into a copy.
            (tag, Some(_)) if self.flow.is_copying_in() => self.on_copy(tag),
            (_, Some(_)) if self.is_full() => self.wait_flushed(out),
            // The server is asked once it is known that the Query has not failed.
            (tag, Some(_)) if self.must_restore() && self.must_answer_before(tag) => {
                ClientFate::Wait
            }
            (b'd' | b'c' | b'f', Some(_)) => self.on_copy(header.tag),
            (_, Some(_)) if !self.flow.is_skipping() && self.must_wait_for_channels() => {
                ClientFate::Wait
            }
            (b'd' | b'c' | b'f', None) => ClientFate::Consumed,
            // What has a body that it must not have is for PostgreSQL to refuse.
            (b'S', backend) if backend.is_some() || body.is_empty() => {
                self.on_sync(backend, out.server)
            }
            _ if self.flow.is_skipping() => ClientFate::Consumed,
            (b'H', None) if body.is_empty() => ClientFate::Consumed,
            (b'H', Some(_)) if body.is_empty() => {
                self.flow.flushed();
                ClientFate::Forward
            }
            // PostgreSQL refuses it, and skips to the next Sync.
            (b'H', Some(_)) => self.pass(Kind::Describe),
            (b'P' | b'B' | b'D' | b'C', Some(backend)) if self.pooling.keeps() => {
                self.pass_statement(header, body, backend, out)
            }
            (tag @ (b'P' | b'B' | b'D' | b'C'), backend) if is_off("names") => {
                self.pass_names(tag, backend.is_some())
            }
            (b'Q', backend) => self.on_query(header, body, backend, out),
            (b'P', backend) => self.on_parse(header, body, backend, out),
            (b'C', backend) => self.on_close(body, backend, out.server),
            (_, None) => ClientFate::NeedServer,
            (b'B', Some(backend)) => self.on_bind(header, body, backend, out),
            (b'D', Some(backend)) => self.on_describe(body, backend, out),
            (b'E', Some(_)) => self.on_execute(body),
            (_, Some(backend)) => self.on_call(body, backend, out),
        };
        if fate != ClientFate::Wait {
            self.load.flushed = false;
        }
        if let Some(retry) = &mut self.retry {
            let start = retry.take_start(written);
            self.record(fate, header, body, out.server.get(start..).unwrap_or_default());
        }
        self.write_replies(out.client);
        fate
    }

    /// Something is in flight that is answered without a message of this type.
    fn must_answer_before(&self, tag: u8) -> bool {
        !self.flow.is_empty() && (tag != b'S' || self.flow.awaits_server(false))
    }

    /// Sends what belongs before the client's message.
    fn go_ahead(&mut self, header: Header, backend: &mut Backend, out: &mut BytesMut) {
        self.write_behind(out);
        let failed = self.status == TransactionStatus::Failed;
        if self.must_restore() && self.flow.is_empty() && !failed {
            self.restore(backend, out);
            build::empty(out, b'S');
            self.inject(Kind::Sync, Note::Plain);
        }
        if header.tag != b'X' {
            self.listen_here(backend, out);
            self.begin_at_last(backend, out);
        }
    }

    /// Waits for replies. The server may hold back all of them until it is asked for them.
    pub(super) fn wait_flushed(&mut self, out: &mut Out<'_>) -> ClientFate {
        if !self.load.flushed && !self.flow.is_skipping() {
            build::empty(out.server, b'H');
            self.flow.flushed();
            self.load.flushed = true;
        }
        ClientFate::Wait
    }

    /// Writes the replies of pgweir's own whose turn has come.
    pub fn write_replies(&mut self, out: &mut BytesMut) {
        while let Some(note) = self.flow.next_reply() {
            self.load.bytes -= note.size();
            match note {
                Note::Parse { name, statement, ticket, .. } => {
                    build::empty(out, b'1');
                    self.statements.confirm(&name, ticket, Some(statement));
                }
                Note::Close { name, ticket } => {
                    build::empty(out, b'3');
                    self.statements.confirm(&name, ticket, None);
                }
                Note::Answer(bytes) => out.extend_from_slice(&bytes),
                _ => {}
            }
        }
        self.write_ready(out);
    }

    /// Sends a failed segment again, or the barrier that a failed COPY may need (see [`super::flow::Flow::wants_barrier`]).
    pub fn write_barrier(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        self.write_retry(backend, out);
        if self.flow.wants_barrier() {
            build::query(out, "SELECT 'pgweir barrier'");
            backend.statements.clear_unnamed();
            self.flow.barrier_sent(Note::Plain);
        }
    }

    pub(super) fn pass(&mut self, kind: Kind) -> ClientFate {
        match kind {
            Kind::Call => self.cut_segment(|| false),
            _ => self.open_segment = true,
        }
        self.counts.queries += u32::from(matches!(kind, Kind::Execute | Kind::Call));
        self.send(kind, Note::Plain);
        ClientFate::Forward
    }

    /// Names of statements pass as the client wrote them.
    fn pass_names(&mut self, tag: u8, leased: bool) -> ClientFate {
        let kind = match tag {
            b'P' => Kind::Parse,
            b'B' => Kind::Bind,
            b'D' => Kind::Describe,
            _ => Kind::Close,
        };
        if leased { self.pass(kind) } else { ClientFate::NeedServer }
    }

    /// A FunctionCall names its function by number (`protocol-message-formats.html`).
    fn on_call(&mut self, body: &[u8], backend: &mut Backend, out: &mut Out<'_>) -> ClientFate {
        let function = Reader::new(body).i32().unwrap_or_default();
        let effects = match function {
            _ if READS_SEQUENCE.contains(&function) => Effects::READS_SEQUENCE,
            _ if DRAWS.contains(&function) => Effects::SEQUENCE,
            _ => Effects::PURE,
        };
        if self.mind_sequences(effects, b"", backend, out.server) {
            return self.wait_flushed(out);
        }
        if !LARGE_OBJECTS.contains(&function) {
            self.note_effects(effects | Effects::FUNCTION, b"", &Parameters::NONE);
            self.note_draw(effects, b"");
            self.questions.touched.any |= function == SET_CONFIG;
        }
        self.doubt_reset();
        self.pass(Kind::Call)
    }

    pub(super) fn send(&mut self, kind: Kind, note: Note) {
        self.begins(kind);
        self.load.bytes += note.size();
        self.flow.sent(kind, Owner::Client, note);
    }

    pub(super) fn inject(&mut self, kind: Kind, note: Note) {
        self.begins(kind);
        self.load.bytes += note.size();
        self.load.flushed = false;
        self.flow.sent(kind, Owner::Proxy, note);
    }

    /// These make the Sync behind them commit.
    fn begins(&mut self, kind: Kind) {
        if matches!(kind, Kind::Parse | Kind::Bind | Kind::Describe | Kind::Execute) {
            self.unsynced = Unsynced::Nothing;
        }
    }

    pub(super) fn reply(&mut self, note: Note) {
        self.load.bytes += note.size();
        self.flow.reply(note);
    }

    pub(super) fn end_segment(&mut self) {
        self.open_segment = false;
        self.ticket.segment += 1;
    }

    /// A Query or FunctionCall ends a segment too, but what went before it waits for a Sync.
    pub(super) fn cut_segment(&mut self, may_copy: impl FnOnce() -> bool) {
        if self.open_segment || self.unsynced != Unsynced::Nothing {
            let now = if may_copy() { Unsynced::Copy } else { Unsynced::Command };
            self.unsynced = self.unsynced.max(now);
        }
        self.end_segment();
    }

    fn on_sync(&mut self, backend: Option<&mut Backend>, out: &mut BytesMut) -> ClientFate {
        let unsynced = std::mem::take(&mut self.unsynced);
        let within = self.open_segment;
        let restores = within || self.flow.is_empty();
        if backend.is_some() && !self.flow.is_skipping() {
            match unsynced {
                Unsynced::Nothing => {}
                // A COPY swallows a Sync but fails at a Parse.
                Unsynced::Copy if !self.flow.is_empty() => self.owed = Leftovers::Permanent,
                Unsynced::Command | Unsynced::Copy => self.begin_command(out),
            }
        }
        self.end_segment();
        if let Some(backend) = backend {
            if restores && !self.may_be_copying() {
                self.resetting.restoring |= within;
                self.restore(backend, out);
            }
            self.send(Kind::Sync, Note::Plain);
            return ClientFate::Forward;
        }
        self.flow.sync_without_server();
        self.answer(|out, status| build::ready_for_query(out, status.byte()));
        ClientFate::Consumed
    }

    /// PostgreSQL 18 commits at a Sync only what a command has begun since the last Query, and
    /// says `I` all the same (docs/semantics.md "The reply FIFO"). An empty Parse begins one.
    fn begin_command(&mut self, out: &mut BytesMut) {
        build::parse_body(out, EMPTY_STATEMENT, &[0, 0, 0]);
        self.inject(Kind::Parse, Note::Begin);
        build::close_statement(out, EMPTY_STATEMENT);
        self.inject(Kind::Close, Note::Begin);
    }

    /// The message that needed a server gets none: pgweir answers with an error of its own, and goes
    /// on as a server would after it.
    pub fn refuse(&mut self, tag: u8, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        write(out);
        self.fail_lazily();
        match tag {
            b'Q' | b'F' => {
                self.end_segment();
                build::ready_for_query(out, self.status.byte());
            }
            _ => self.flow.skip_to_sync(),
        }
    }

    /// CopyData, and what comes between: outside a copy PostgreSQL reads and forgets it, and so it
    /// is what a client without a server still sends after its COPY failed.
    fn on_copy(&mut self, tag: u8) -> ClientFate {
        let kind = match tag {
            b'd' => Kind::CopyData,
            b'c' | b'f' => Kind::CopyEnd,
            b'S' => Kind::Sync,
            b'Q' => Kind::Query,
            b'F' => Kind::Call,
            b'H' => return ClientFate::Forward,
            _ => Kind::Execute,
        };
        if self.flow.sent(kind, Owner::Client, Note::Plain) {
            ClientFate::Forward
        } else {
            ClientFate::Consumed
        }
    }

    fn on_query(
        &mut self,
        header: Header,
        body: &[u8],
        mut backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        if backend.is_some() && self.is_lexing_in_doubt() {
            return self.wait_flushed(out);
        }
        if backend.is_none() {
            if body.len() == header.body && self.answer_lazily(body) {
                return ClientFate::Consumed;
            }
            // Nearly every text needs a server, and is read once it has one.
            if !may_start(body, b"dD") {
                return ClientFate::NeedServer;
            }
        }
        let effects = match &mut backend {
            Some(backend) if body.len() == header.body => {
                self.effects_by_shape(body, &mut backend.shapes)
            }
            _ => self.effects_of(body, body.len() == header.body),
        };
        if effects.intersects(Effects::LOCAL)
            && let Some(whole) = sql::whole(body, &self.reading.options(false, None))
            && let Some(fate) = self.answer_whole(&whole, backend.as_deref())
        {
            return fate;
        }
        match backend {
            Some(backend) => {
                self.send_query(body.len() == header.body, body, effects, backend, out)
            }
            None => ClientFate::NeedServer,
        }
    }

    /// A Query, of which `body` is the `whole` or the beginning, is for the server.
    fn send_query(
        &mut self,
        whole: bool,
        body: &[u8],
        effects: Effects,
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let effects = if self.cannot_run(body) { Effects::PURE } else { effects };
        let executed = self.executed(effects, body);
        let effects = self.with_executed(effects, &executed);
        let asks = self.asks_behind_failure(effects);
        let discarding = if asks { self.with_discarded(whole, effects, body) } else { None };
        if asks && discarding.is_none() {
            let refusal = Refusal::Reason(PinReason::Sequence);
            return self.refuse_query(refusal, backend, out);
        }
        if let Err(refusal) = self.admit_text(effects, body) {
            return self.refuse_query(refusal, backend, out);
        }
        // What is known of its resets is known of one Query at a time.
        if effects.intersects(RESETS) {
            if !self.open_segment && !self.flow.is_empty() {
                return ClientFate::Wait;
            }
            if !self.flow.is_status_known() {
                return self.wait_flushed(out);
            }
        }
        if self.mind_sequences(effects, body, backend, out.server) {
            return self.wait_flushed(out);
        }
        let defaulting = || if whole { self.with_defaults(effects, body, true) } else { None };
        let made = discarding.or_else(defaulting);
        let text = made.as_ref().map_or(body, |made| &made.text);
        let is_written = whole && !made.as_ref().is_some_and(|made| made.gave_up);
        // The Sync behind what is lent would end a segment that has failed.
        if effects.intersects(NAMES_STATEMENTS) && !self.flow.is_empty() && !self.pooling.keeps() {
            return self.wait_flushed(out);
        }
        self.leave_witness(effects, backend, out.server);
        self.lend(effects, text, true, backend, out.server);
        self.note_deallocating(effects, text);
        self.query_resets(effects.intersects(RESETS));
        let resets = self.note_effects(effects, text, &Parameters::NONE);
        self.note_executed_here(&executed);
        self.note_query_resets(&resets, effects.intersects(RESETS), is_written);
        self.suspect_undone(text);
        backend.statements.clear_unnamed();
        self.cut_segment(|| !whole || may_copy(body));
        self.counts.queries += 1;
        let drops = self.statements.has_unnamed() && !is_off("query");
        let unnamed = drops.then(|| self.next_ticket());
        if let Some(ticket) = unnamed {
            self.statements.begin(b"", ticket, None);
        }
        let draw = self.note_draw(effects, text);
        self.send(Kind::Query, Note::Query { unnamed, draw });
        if made.is_none() {
            return ClientFate::Forward;
        }
        build::message(out.server, b'Q', |out| out.extend_from_slice(text));
        self.made = made;
        ClientFate::Consumed
    }

    /// DEALLOCATE and DISCARD ALL of the client's protocol-level statements: they exist under its
    /// names here only, and other clients' copies on the server must live on.
    fn answer_whole(&mut self, whole: &Whole<'_>, backend: Option<&Backend>) -> Option<ClientFate> {
        if self.open_segment || self.pooling.keeps() || is_off("deallocate") {
            return None;
        }
        if !self.flow.is_empty() {
            return Some(ClientFate::Wait);
        }
        if self.status == TransactionStatus::Failed && !is_off("status") {
            return None;
        }
        let tag = match whole {
            Whole::DeallocateAll if !self.may_have_sql_prepared() => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            // SQL knows it by that name.
            Whole::Deallocate(name) if backend.is_some_and(|b| b.statements.is_lent(name)) => {
                return None;
            }
            Whole::Deallocate(name) if self.statements.remove(name) => "DEALLOCATE",
            // Where there is more to discard than statements, the server does it.
            Whole::DiscardAll if self.may_discard_here(backend.is_some()) => {
                self.statements.clear();
                self.desired = self.startup.clone();
                self.sequences.disown();
                "DISCARD ALL"
            }
            _ => return None,
        };
        self.answer_query(tag);
        Some(ClientFate::Consumed)
    }

    /// The answer to a Query that pgweir itself has run.
    pub(super) fn answer_query(&mut self, tag: &str) {
        self.answer_query_by(|out| build::command_complete(out, tag));
    }

    pub(super) fn answer_query_by(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.statements.remove(b"");
        self.end_segment();
        self.answer(|out, status| {
            write(out);
            build::ready_for_query(out, status.byte());
        });
    }

    pub(super) fn may_have_sql_prepared(&self) -> bool {
        self.pins.contains(PinReason::SqlPrepared) || self.questions.suspects.intersects(SUSPECT)
    }

    /// All there is to discard is what pgweir keeps. What a server reports differently afterwards, it
    /// must tell itself, as it does `is_superuser` with the role.
    fn may_discard_here(&self, leased: bool) -> bool {
        let reported = |settings: &Settings| {
            settings
                .iter()
                .filter(|(name, _)| self.told.get(name).is_some())
                .map(|(n, v)| (Box::from(n), Box::from(v)))
                .collect::<Vec<(Box<str>, Box<[u8]>)>>()
        };
        (self.status == TransactionStatus::Idle || is_off("status"))
            && self.leftovers() == Leftovers::Nothing
            && !self.listening.is_sharing()
            && (self.desired == self.startup
                || (!leased
                    && self.desired.get("role") == self.startup.get("role")
                    && reported(&self.desired) == reported(&self.startup)))
    }

    pub(super) fn answer(&mut self, write: impl FnOnce(&mut BytesMut, TransactionStatus)) {
        let mut bytes = BytesMut::new();
        write(&mut bytes, self.status);
        self.reply(Note::Answer(bytes.freeze()));
    }
}

/// Whether a text can start with a word of one of these letters, behind spaces, comments and semicolons.
pub(super) fn may_start(text: &[u8], letters: &[u8]) -> bool {
    let space = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b'\x0b';
    let first = text.iter().find(|byte| !space(byte));
    first.is_some_and(|byte| letters.contains(byte) || b"-/;".contains(byte))
}

/// The functions of large objects, which libpq calls by FunctionCall: they leave nothing behind that
/// outlives the transaction (`lo-interfaces.html`; numbers from `pg_proc.dat`).
const LARGE_OBJECTS: [i32; 15] =
    [715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171];

/// `set_config`.
const SET_CONFIG: i32 = 2078;

/// `nextval` and `setval`.
const DRAWS: [i32; 3] = [1574, 1576, 1765];

/// `currval` and `lastval`.
const READS_SEQUENCE: [i32; 2] = [1575, 2559];

/// Effects of what may reset a setting.
const RESETS: Effects = Effects::SETTING.union(Effects::DISCARD_ALL);

/// Name of a statement without a text; it is closed as soon as it was parsed.
const EMPTY_STATEMENT: &[u8] = b"__pgweir_empty";

/// A Parse up to this size is kept, so that it can be prepared on other servers too.
pub(super) const MAX_PARSE: usize = 1 << 20;

/// Bytes of names and texts that a client may have in flight.
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 4 << 20;

/// Bytes of a longer message that are read before it passes.
pub(super) const MAX_PREFIX: usize = 64 << 10;

const _: () = assert!(MAX_PREFIX > HEADER);
