//! What each message from the client does.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::flow::{Kind, Owner};
use super::knowledge::{NAME_PREFIX, Statement};
use super::statements::{Copy, Meaning, Name};
use super::{Backend, Note, Out, Session, TransactionStatus};
use crate::sql::{self, Effects, Whole};
use crate::wire::build;
use crate::wire::frame::{HEADER, Header};
use crate::wire::{Reader, Report, SqlState};

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
        b'd' | b'F' => true,
        b'P' if header.body > MAX_PARSE => enough(MAX_PREFIX),
        b'Q' => enough(MAX_PREFIX),
        b'B' => enough(MAX_PREFIX) || available.iter().filter(|b| **b == 0).nth(1).is_some(),
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
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        if self.flow.is_full() {
            return ClientFate::Wait;
        }
        let fate = match (header.tag, backend) {
            (b'X', _) => ClientFate::Terminate,
            (b'd' | b'c' | b'f', backend) => self.on_copy(header.tag, backend.is_some()),
            // What has a body that it must not have is for PostgreSQL to refuse.
            (b'S', backend) if backend.is_some() || body.is_empty() => {
                self.on_sync(backend.is_some())
            }
            _ if self.flow.is_skipping() => ClientFate::Consumed,
            (b'H', None) if body.is_empty() => ClientFate::Consumed,
            (b'H', Some(_)) => ClientFate::Forward,
            (b'Q', backend) => self.on_query(header, body, backend),
            (b'P', backend) => self.on_parse(header, body, backend, out),
            (b'C', backend) => self.on_close(body, backend.is_some()),
            (_, None) => ClientFate::NeedServer,
            (b'B', Some(backend)) => self.on_bind(header, body, backend, out),
            (b'D', Some(backend)) => self.on_describe(body, backend, out),
            (b'E', Some(_)) => self.pass(Kind::Execute),
            (_, Some(_)) => self.pass(Kind::Call),
        };
        self.write_replies(out.client);
        fate
    }

    /// Writes the replies of pgweir's own whose turn has come.
    pub fn write_replies(&mut self, out: &mut BytesMut) {
        while let Some(note) = self.flow.next_reply() {
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
    }

    /// Sends the barrier that a failed COPY may need (see [`super::flow::Flow::wants_barrier`]).
    pub fn write_barrier(&mut self, out: &mut BytesMut) {
        if self.flow.wants_barrier() {
            build::query(out, "SELECT 'pgweir barrier'");
            self.flow.barrier_sent(Note::Plain);
        }
    }

    fn pass(&mut self, kind: Kind) -> ClientFate {
        match kind {
            Kind::Call => self.end_segment(),
            _ => self.open_segment = true,
        }
        self.counts.queries += u32::from(matches!(kind, Kind::Execute | Kind::Call));
        self.flow.sent(kind, Owner::Client, Note::Plain);
        ClientFate::Forward
    }

    fn end_segment(&mut self) {
        self.open_segment = false;
        self.ticket.segment += 1;
    }

    fn on_sync(&mut self, leased: bool) -> ClientFate {
        self.end_segment();
        if leased {
            self.flow.sent(Kind::Sync, Owner::Client, Note::Plain);
            return ClientFate::Forward;
        }
        self.flow.sync_without_server();
        self.answer(|out, status| build::ready_for_query(out, status.byte()));
        ClientFate::Consumed
    }

    /// The message that needed a server gets none: pgweir answers with an error of its own, and goes
    /// on as a server would after it.
    pub fn refuse(&mut self, tag: u8, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        write(out);
        match tag {
            b'Q' | b'F' => {
                self.end_segment();
                build::ready_for_query(out, self.status.byte());
            }
            _ => self.flow.skip_to_sync(),
        }
    }

    /// CopyData outside a copy is read and forgotten, as PostgreSQL does; without a server it is
    /// what a client still sends after its COPY failed.
    fn on_copy(&mut self, tag: u8, leased: bool) -> ClientFate {
        let kind = if tag == b'd' { Kind::CopyData } else { Kind::CopyEnd };
        if leased && self.flow.sent(kind, Owner::Client, Note::Plain) {
            ClientFate::Forward
        } else {
            ClientFate::Consumed
        }
    }

    fn on_query(
        &mut self,
        header: Header,
        body: &[u8],
        backend: Option<&mut Backend>,
    ) -> ClientFate {
        let effects = self.effects_of(body, body.len() == header.body);
        if effects.intersects(Effects::LOCAL)
            && let Some(whole) = sql::whole(body, &self.reading.options(false))
            && let Some(fate) = self.answer_whole(&whole)
        {
            return fate;
        }
        let Some(backend) = backend else { return ClientFate::NeedServer };
        self.effects |= effects;
        self.statements.forget_unnamed();
        backend.statements.clear_unnamed();
        self.end_segment();
        self.counts.queries += 1;
        self.flow.sent(Kind::Query, Owner::Client, Note::Plain);
        ClientFate::Forward
    }

    /// DEALLOCATE and DISCARD ALL of the client's protocol-level statements: they exist under its
    /// names here only, and other clients' copies on the server must live on.
    fn answer_whole(&mut self, whole: &Whole<'_>) -> Option<ClientFate> {
        if self.open_segment || self.status == TransactionStatus::Failed {
            return None;
        }
        if !self.flow.is_empty() {
            return Some(ClientFate::Wait);
        }
        let tag = match whole {
            Whole::DeallocateAll if !self.effects.contains(Effects::SQL_PREPARE) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Whole::Deallocate(name) if self.statements.remove(name) => "DEALLOCATE",
            Whole::DiscardAll if self.status == TransactionStatus::Idle && self.is_clean() => {
                self.statements.clear();
                self.statements.forget_unnamed();
                self.desired = self.startup.clone();
                "DISCARD ALL"
            }
            _ => return None,
        };
        self.end_segment();
        self.answer(|out, status| {
            build::command_complete(out, tag);
            build::ready_for_query(out, status.byte());
        });
        Some(ClientFate::Consumed)
    }

    /// The server of this lease, if there is one, has nothing of the client's to discard.
    fn is_clean(&self) -> bool {
        let state = Effects::RESET_CLEAN | Effects::SQL_PREPARE | Effects::READS_SEQUENCE;
        !self.effects.intersects(state)
    }

    fn answer(&mut self, write: impl FnOnce(&mut BytesMut, TransactionStatus)) {
        let mut bytes = BytesMut::new();
        write(&mut bytes, self.status);
        self.flow.reply(Note::Answer(bytes.freeze()));
    }

    fn on_parse(
        &mut self,
        header: Header,
        body: &[u8],
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let mut reader = Reader::new(body);
        let whole = body.len() == header.body;
        match reader.cstr() {
            Ok(b"") => self.on_parse_unnamed(reader.rest(), whole, backend),
            Ok(name) if whole => self.on_parse_named(name, reader.rest(), backend, out),
            Ok(_) => self.refuse_parse(backend, out, too_long()),
            // PostgreSQL words the error itself.
            Err(_) if backend.is_some() => {
                self.flow.sent(Kind::Parse, Owner::Client, Note::Plain);
                self.open_segment = true;
                ClientFate::Forward
            }
            Err(_) => ClientFate::NeedServer,
        }
    }

    fn on_parse_unnamed(
        &mut self,
        rest: &[u8],
        whole: bool,
        backend: Option<&mut Backend>,
    ) -> ClientFate {
        let Some(backend) = backend else { return ClientFate::NeedServer };
        self.open_segment = true;
        let current = self.statements.meaning(b"").statement.filter(|s| *s.body == *rest);
        let effects = match &current {
            Some(statement) => statement.effects,
            None => self.effects_of(rest, whole),
        };
        self.effects |= effects;
        if !whole {
            // Too long to keep: it works in this lease, as long as it stays the unnamed statement.
            self.statements.forget_unnamed();
            backend.statements.clear_unnamed();
            self.flow.sent(Kind::Parse, Owner::Client, Note::Plain);
            return ClientFate::Forward;
        }
        let statement = current.unwrap_or_else(|| self.knowledge.private(rest, effects));
        let ticket = self.next_ticket();
        self.statements.begin(b"", ticket, Some(Arc::clone(&statement)));
        backend.statements.begin_unnamed(&statement);
        let note = Note::Parse { name: Name::default(), statement, ticket, sent: true };
        self.flow.sent(Kind::Parse, Owner::Client, note);
        ClientFate::Forward
    }

    fn on_parse_named(
        &mut self,
        name: &[u8],
        rest: &[u8],
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let meaning = self.statements.meaning(name);
        if self.must_wait_for(&meaning) || self.may_have_failed() {
            return ClientFate::Wait;
        }
        if let Some(existing) = meaning.statement {
            return self.refuse_duplicate(name, &existing, backend, out);
        }
        if self.statements.is_full(rest.len()) {
            return self.refuse_parse(backend, out, too_many());
        }
        let effects = self.effects_of(rest, true);
        let statement = if effects.contains(Effects::NOW_LITERAL) {
            self.knowledge.private(rest, effects)
        } else {
            self.knowledge.intern(&self.reading.fingerprint, rest, effects)
        };
        let sent = match backend {
            None if !statement.is_known_good() => return ClientFate::NeedServer,
            None => false,
            Some(backend) => match self.send_parse(&statement, backend, out.server) {
                Some(sent) => sent,
                None => return ClientFate::Wait,
            },
        };
        self.open_segment = true;
        let ticket = self.next_ticket();
        self.statements.begin(name, ticket, Some(Arc::clone(&statement)));
        let note = Note::Parse { name: name.into(), statement, ticket, sent };
        if sent {
            self.flow.sent(Kind::Parse, Owner::Client, note);
        } else {
            self.counts.elided_parses += 1;
            self.flow.reply(note);
        }
        ClientFate::Consumed
    }

    /// Sends a Parse unless the server has the statement: `Some(whether it was sent)`, or `None` if
    /// that depends on what an earlier segment in flight does.
    fn send_parse(
        &mut self,
        statement: &Arc<Statement>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<bool> {
        match backend.statements.copy_of(statement) {
            // In a failed transaction the error must be the server's own.
            Copy::Ready if self.status == TransactionStatus::Failed => {
                self.unprepare(statement, backend, out);
            }
            Copy::Ready => return Some(false),
            Copy::Coming(segment) if segment == self.ticket.segment => return Some(false),
            Copy::Coming(_) => return None,
            Copy::Stale => self.unprepare(statement, backend, out),
            Copy::Missing => self.make_room(backend, out),
        }
        build::parse_body(out, &statement.server_name, &statement.body);
        backend.statements.begin(statement, self.ticket.segment);
        Some(true)
    }

    /// A change of the name in flight decides, and belongs to an earlier segment that may fail.
    fn must_wait_for(&self, meaning: &Meaning) -> bool {
        meaning.in_flight.is_some_and(|ticket| ticket.segment != self.ticket.segment)
    }

    /// A transaction may have failed by now without our having read it, and then PostgreSQL refuses
    /// every Parse.
    fn may_have_failed(&self) -> bool {
        self.status == TransactionStatus::InTransaction
            && !self.open_segment
            && !self.flow.is_empty()
    }

    fn refuse_duplicate(
        &mut self,
        name: &[u8],
        existing: &Arc<Statement>,
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let Some(backend) = backend else { return ClientFate::NeedServer };
        self.ensure(existing, backend, out.server);
        self.open_segment = true;
        build::parse_body(out.server, &existing.server_name, &existing.body);
        let note = Note::Alias { internal: existing.server_name.clone(), name: name.into() };
        self.flow.sent(Kind::Parse, Owner::Client, note);
        ClientFate::Consumed
    }

    /// Makes the server fail where pgweir refuses, so that its transaction ends as the client's does.
    fn refuse_parse(
        &mut self,
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
        report: Report,
    ) -> ClientFate {
        if backend.is_none() {
            return ClientFate::NeedServer;
        }
        self.open_segment = true;
        write_describe(out.server, MISSING.as_bytes());
        self.flow.sent(Kind::Describe, Owner::Client, Note::Refuse(Box::new(report)));
        ClientFate::Consumed
    }

    fn on_bind(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let mut reader = Reader::new(body);
        let (Ok(portal), Ok(name)) = (reader.cstr(), reader.cstr()) else {
            return self.pass(Kind::Bind);
        };
        let Some(target) = self.resolve(name, backend, out.server) else {
            return ClientFate::Wait;
        };
        self.open_segment = true;
        if let Note::Use { statement } = &target.note {
            self.effects |= statement.effects;
        }
        self.flow.sent(Kind::Bind, Owner::Client, target.note);
        let Some(rename) = target.rename else { return ClientFate::Forward };
        out.server.put_u8(b'B');
        out.server.put_u32((4 + header.body - name.len() + rename.len()) as u32);
        build::put_cstr(out.server, portal);
        build::put_cstr(out.server, &rename);
        ClientFate::Rewritten { skip: portal.len() + name.len() + 2 }
    }

    fn on_describe(&mut self, body: &[u8], backend: &mut Backend, out: &mut Out<'_>) -> ClientFate {
        let Some(name) = body.strip_prefix(b"S").and_then(|rest| rest.strip_suffix(b"\0")) else {
            return self.pass(Kind::Describe);
        };
        let Some(target) = self.resolve(name, backend, out.server) else {
            return ClientFate::Wait;
        };
        self.open_segment = true;
        self.flow.sent(Kind::Describe, Owner::Client, target.note);
        let Some(rename) = target.rename else { return ClientFate::Forward };
        write_describe(out.server, &rename);
        ClientFate::Consumed
    }

    fn on_close(&mut self, body: &[u8], leased: bool) -> ClientFate {
        let statement = body.strip_prefix(b"S").and_then(|rest| rest.strip_suffix(b"\0"));
        match statement {
            Some(name) => {
                self.open_segment = true;
                let ticket = self.next_ticket();
                self.statements.begin(name, ticket, None);
                self.flow.reply(Note::Close { name: name.into(), ticket });
                ClientFate::Consumed
            }
            None if leased => self.pass(Kind::Close),
            None => ClientFate::NeedServer,
        }
    }

    /// What a statement's name stands for on this server, making it so where needed; `None` if that
    /// depends on what is in flight.
    fn resolve(
        &mut self,
        name: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<Target> {
        let meaning = self.statements.meaning(name);
        match meaning.statement {
            None if self.must_wait_for(&meaning) => None,
            None if name.is_empty() && backend.statements.unnamed().is_none() => {
                Some(Target { note: Note::Plain, rename: None })
            }
            None => Some(Target::missing(name)),
            Some(statement) if name.is_empty() => {
                self.ensure_unnamed(&statement, backend, out);
                Some(Target { note: Note::Use { statement }, rename: None })
            }
            Some(statement) => {
                self.ensure(&statement, backend, out);
                let rename = Some(statement.server_name.clone());
                Some(Target { note: Note::Use { statement }, rename })
            }
        }
    }

    fn ensure(&mut self, statement: &Arc<Statement>, backend: &mut Backend, out: &mut BytesMut) {
        match backend.statements.copy_of(statement) {
            Copy::Ready | Copy::Coming(_) => return,
            Copy::Stale => self.unprepare(statement, backend, out),
            Copy::Missing => self.make_room(backend, out),
        }
        build::parse_body(out, &statement.server_name, &statement.body);
        backend.statements.begin(statement, self.ticket.segment);
        let note = Note::Prepare { statement: Arc::clone(statement) };
        self.flow.sent(Kind::Parse, Owner::Proxy, note);
    }

    /// The server's unnamed statement may be another client's, or this client's of an earlier lease.
    fn ensure_unnamed(
        &mut self,
        statement: &Arc<Statement>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) {
        if backend.statements.unnamed().is_some_and(|s| Arc::ptr_eq(s, statement)) {
            return;
        }
        build::parse_body(out, b"", &statement.body);
        backend.statements.begin_unnamed(statement);
        let note = Note::PrepareUnnamed { statement: Arc::clone(statement) };
        self.flow.sent(Kind::Parse, Owner::Proxy, note);
    }

    fn make_room(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if let Some(victim) = backend.statements.victim() {
            self.unprepare(&victim, backend, out);
        }
    }

    fn unprepare(&mut self, statement: &Arc<Statement>, backend: &mut Backend, out: &mut BytesMut) {
        let Some(generation) = backend.statements.remove(statement) else { return };
        build::close_statement(out, &statement.server_name);
        let note = Note::Unprepare { statement: Arc::clone(statement), generation };
        self.flow.sent(Kind::Close, Owner::Proxy, note);
    }

    /// What a text may do; it ends at the first NUL, as for PostgreSQL.
    fn effects_of(&mut self, body: &[u8], whole: bool) -> Effects {
        let truncated = !whole && !body.contains(&0);
        let options = self.reading.options(truncated);
        let effects = sql::classify(body, &options);
        if effects.intersects(Effects::SETTING) && !self.startup.is_empty() {
            self.resets.add(sql::resets(body, &options));
        }
        effects
    }
}

/// What a Bind or Describe is sent as.
struct Target {
    note: Note,
    rename: Option<Box<[u8]>>,
}

impl Target {
    /// A name that no server has, so that PostgreSQL itself says so and ends the transaction.
    fn missing(name: &[u8]) -> Self {
        let (internal, name): (&[u8], &[u8]) = if name.is_empty() {
            (b"prepared statement \"__pgweir_missing\"", b"unnamed prepared statement")
        } else {
            (MISSING.as_bytes(), name)
        };
        let note = Note::Alias { internal: internal.into(), name: name.into() };
        Self { note, rename: Some(MISSING.as_bytes().into()) }
    }
}

fn write_describe(out: &mut BytesMut, name: &[u8]) {
    build::message(out, b'D', |out| {
        out.put_u8(b'S');
        build::put_cstr(out, name);
    });
}

fn too_many() -> Report {
    Report::error(SqlState::CONFIGURATION_LIMIT, "too many prepared statements for one client")
        .hint("Close the statements that are no longer used (DEALLOCATE).")
}

fn too_long() -> Report {
    Report::error(SqlState::PROGRAM_LIMIT, "the text of a named prepared statement is too long")
        .detail(format!("It has more than {MAX_PARSE} bytes."))
        .hint("Use the unnamed statement or a simple query for it.")
}

/// A statement name that is never prepared.
const MISSING: &str = "__pgweir_missing";

/// A Parse up to this size is kept, so that it can be prepared on other servers too.
const MAX_PARSE: usize = 1 << 20;

/// Bytes of a longer message that are read before it passes.
const MAX_PREFIX: usize = 64 << 10;

const _: () = assert!(MISSING.len() > NAME_PREFIX.len() && MAX_PREFIX > HEADER);
