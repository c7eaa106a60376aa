//! The client's messages of the extended protocol that name statements: Parse, Bind, Describe, Close
//! (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`).

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::asking::Parameters;
use super::flow::Kind;
use super::from_client::{ClientFate, MAX_PARSE, MAX_PREFIX};
use super::knowledge::Statement;
use super::pins::{PinReason, Pins};
use super::preparing::MISSING;
use super::statements::{Copy, Name};
use super::{Backend, Note, Out, Session, TransactionStatus};
use crate::sql::{Effects, Resets};
use crate::wire::build;
use crate::wire::frame::Header;
use crate::wire::{Reader, Report, SqlState};
use crate::without::is_off;

impl Session {
    pub(super) fn on_parse(
        &mut self,
        header: Header,
        body: &[u8],
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        if backend.is_some() && self.is_lexing_in_doubt() {
            return self.wait_flushed(out);
        }
        let mut reader = Reader::new(body);
        // By its length, whatever part of it happens to be here.
        let whole = header.body <= MAX_PARSE && body.len() == header.body;
        match reader.cstr() {
            Ok(b"") => self.on_parse_unnamed(reader.rest(), whole, backend, out),
            Ok(name) if whole => self.on_parse_named(name, reader.rest(), backend, out),
            Ok(name) if header.body > MAX_PARSE => {
                self.on_parse_long(header, name, reader.rest(), backend, out)
            }
            // PostgreSQL words the error itself.
            Err(_) if whole && backend.is_some() => self.pass(Kind::Parse),
            Ok(_) | Err(_) => self.refuse_message(backend.is_some(), out.server, too_long_name()),
        }
    }

    fn on_parse_unnamed(
        &mut self,
        rest: &[u8],
        whole: bool,
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let Some(backend) = backend else { return ClientFate::NeedServer };
        if whole && self.must_know_settings(rest) {
            return self.wait_flushed(out);
        }
        let current = self.statements.meaning(b"").statement;
        let current = current.filter(|s| whole && *s.body == *rest && self.reads_as(s));
        let effects = match &current {
            Some(statement) => self.effects_of_statement(statement),
            None if whole => self.effects_by_shape(rest, &mut backend.shapes),
            None => self.effects_of(rest, whole),
        };
        if self.must_know_names(effects) {
            return self.wait_flushed(out);
        }
        // What is too long to keep is not seen again when it is bound.
        if !whole && let Err(refusal) = self.admit_text(effects, rest) {
            return self.refuse_message(true, out.server, refusal.report());
        }
        let known = !self.is_reading_in_doubt();
        self.open_segment = true;
        let made = if whole { self.with_defaults(effects, rest, false) } else { None };
        let rest = made.as_ref().map_or(rest, |made| &made.text);
        self.lend(effects, rest, false, backend, out.server);
        self.note_effects(if whole { Effects::PURE } else { effects }, rest, &Parameters::NONE);
        // What is too long to keep works as long as it stays the server's unnamed statement.
        let kept = if whole { rest } else { &[] };
        let private = || self.knowledge.private(self.fingerprint_if(known), kept, effects);
        let statement = current.unwrap_or_else(private);
        backend.statements.begin_unnamed(&statement, self.ticket.segment);
        self.statements.set_unbound(!whole);
        self.begin_parse(b"", statement, true);
        if made.is_none() {
            return ClientFate::Forward;
        }
        build::parse_body(out.server, b"", rest);
        ClientFate::Consumed
    }

    fn on_parse_named(
        &mut self,
        name: &[u8],
        rest: &[u8],
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let meaning = self.statements.meaning(name);
        if self.must_wait_for(&meaning) {
            return ClientFate::Wait;
        }
        if self.statements.is_full(name.len() + rest.len()) {
            return self.refuse_message(backend.is_some(), out.server, too_many());
        }
        if backend.is_some() && self.must_know_settings(rest) {
            return self.wait_flushed(out);
        }
        let effects = self.effects_of(rest, true);
        let made = self.with_defaults(effects, rest, false);
        let statement = self.statement_of(made.as_ref().map_or(rest, |made| &made.text), effects);
        if let Some(existing) = meaning.statement.filter(|_| !is_off("duplicates")) {
            return self.refuse_duplicate(name, &existing, statement, backend, out);
        }
        let sent = match backend {
            None if !statement.is_known_good() => return ClientFate::NeedServer,
            None => false,
            Some(backend) => match self.send_parse(name, &statement, backend, out.server) {
                Some(sent) => sent,
                None => return ClientFate::Wait,
            },
        };
        self.open_segment = true;
        self.begin_parse(name, statement, sent);
        ClientFate::Consumed
    }

    /// A name is to mean a statement when its Parse is answered: by the server, or here.
    pub(super) fn begin_parse(&mut self, name: &[u8], statement: Arc<Statement>, sent: bool) {
        let ticket = self.next_ticket();
        self.statements.begin(name, ticket, Some(Arc::clone(&statement)));
        let note = Note::Parse { name: name.into(), statement, ticket, sent };
        if sent {
            self.send(Kind::Parse, note);
        } else {
            self.counts.elided_parses += 1;
            self.reply(note);
        }
    }

    /// The text is too long to be kept. It passes to the server, and the client stays with that one.
    fn on_parse_long(
        &mut self,
        header: Header,
        name: &[u8],
        start: &[u8],
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let meaning = self.statements.meaning(name);
        if self.must_wait_for(&meaning) {
            return ClientFate::Wait;
        }
        if meaning.statement.is_some() || self.statements.is_full(name.len()) {
            let report = if meaning.statement.is_some() { duplicate(name) } else { too_many() };
            return self.refuse_message(backend.is_some(), out.server, report);
        }
        let Some(backend) = backend else { return ClientFate::NeedServer };
        if let Err(refusal) = self.admit(Pins::NONE.with(PinReason::LongStatement)) {
            return self.refuse_message(true, out.server, refusal.report());
        }
        if backend.statements.is_crowded(self.ticket.segment) {
            return ClientFate::Wait;
        }
        self.make_room(backend, out.server);
        self.open_segment = true;
        let statement = self.knowledge.private(None, &[], self.effects_of(start, false));
        backend.statements.begin(&statement, self.ticket.segment);
        out.server.put_u8(b'P');
        out.server.put_u32((4 + header.body - name.len() + statement.server_name.len()) as u32);
        build::put_cstr(out.server, &statement.server_name);
        self.begin_parse(name, statement, true);
        ClientFate::Rewritten { skip: name.len() + 1 }
    }

    fn refuse_duplicate(
        &mut self,
        name: &[u8],
        existing: &Arc<Statement>,
        statement: Arc<Statement>,
        backend: Option<&mut Backend>,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let Some(backend) = backend else { return ClientFate::NeedServer };
        // Nothing can be prepared for it to meet then.
        let failed = self.status == TransactionStatus::Failed && self.flow.is_status_known();
        let mut existing = Arc::clone(existing);
        let generation = existing.generation();
        if !failed {
            // A transaction may have failed by now, and then nothing can be prepared.
            let copy = self.copy_of(&existing, generation, backend);
            // Beside objects of its own, the client may be given another copy than the one that is there.
            let is_there = matches!(copy, Copy::Ready | Copy::Coming) && !self.reading.is_apart();
            let must_prepare = !is_there && copy != Copy::Unsettled;
            if must_prepare && !self.flow.is_status_known() {
                return ClientFate::Wait;
            }
            let Some(ensured) = self.ensure(&existing, generation, backend, out.server) else {
                return ClientFate::Wait;
            };
            existing = ensured;
        } else if !matches!(
            self.copy_of(&existing, generation, backend),
            Copy::Ready | Copy::Coming
        ) {
            // The segment itself may have ended the transaction, so that the server takes any text.
            self.try_name(name, &statement, out.server);
            return self.refuse_message(true, out.server, duplicate(name));
        }
        self.open_segment = true;
        // Its own text, which may be at fault before its name is.
        build::parse_body(out.server, &existing.server_name, &statement.body);
        let ticket = self.next_ticket();
        self.statements.begin(name, ticket, Some(Arc::clone(&statement)));
        self.send(Kind::Parse, Note::Duplicate { name: name.into(), existing, statement, ticket });
        ClientFate::Consumed
    }

    /// Makes the server fail where pgweir refuses, so that its transaction ends as the client's does.
    fn refuse_message(&mut self, leased: bool, out: &mut BytesMut, report: Report) -> ClientFate {
        if !leased {
            return ClientFate::NeedServer;
        }
        self.open_segment = true;
        write_describe(out, MISSING.as_bytes());
        self.send(Kind::Describe, Note::Refuse(Box::new(report)));
        ClientFate::Consumed
    }

    pub(super) fn on_bind(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let mut reader = Reader::new(body);
        let (Ok(portal), Ok(name)) = (reader.cstr(), reader.cstr()) else {
            // PostgreSQL words the error itself, where it sees the same bytes.
            if body.len() < header.body {
                return self.refuse_message(true, out.server, too_long_name());
            }
            return self.pass(Kind::Bind);
        };
        if self.is_lexing_in_doubt() {
            return self.wait_flushed(out);
        }
        let meaning = self.statements.meaning(name);
        if self.is_parsed_in_doubt(name, &meaning, backend) {
            return self.wait_flushed(out);
        }
        let ahead = meaning.statement.map(|statement| self.before_bind(&statement, backend, out));
        let executed = match ahead.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(executed) => executed,
            Err(fate) => return fate,
        };
        let before = (self.flow.len(), out.server.len());
        let Some(target) = self.resolve(name, backend, out.server) else {
            return ClientFate::Wait;
        };
        self.open_segment = true;
        if name.is_empty() {
            self.statements.set_unbound(false);
        }
        self.portal = None;
        let mut made = None;
        if let Note::Use { statement, .. } = &target.note {
            let statement = Arc::clone(statement);
            self.note_use(portal, &statement, reader.rest(), &executed);
            // What it was told, this server's copy has as well.
            if meaning.columns.is_none() && !name.is_empty() {
                self.note_portal(portal, name, &statement);
            }
            if body.len() == header.body {
                made = self.bound_defaults(&statement, reader.rest());
            }
        } else {
            self.note_bound(portal, None);
            self.note_bound_resets(portal, Resets::None);
        }
        self.send(Kind::Bind, target.note);
        self.begin_retry(meaning.tried, before);
        if let Some(rest) = made {
            write_bind(out.server, portal, target.rename.as_deref().unwrap_or(name), &rest);
            return ClientFate::Consumed;
        }
        let Some(rename) = target.rename else { return ClientFate::Forward };
        out.server.put_u8(b'B');
        out.server.put_u32((4 + header.body - name.len() + rename.len()) as u32);
        build::put_cstr(out.server, portal);
        build::put_cstr(out.server, &rename);
        ClientFate::Rewritten { skip: portal.len() + name.len() + 2 }
    }

    /// Does what must be done ahead of a statement that is bound; gives what it executes by SQL, or what becomes of the
    /// Bind instead.
    fn before_bind(
        &mut self,
        statement: &Statement,
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> Result<Vec<Arc<Statement>>, ClientFate> {
        let effects = self.effects_of_statement(statement);
        let executed = self.executed(effects, &statement.body);
        let effects = self.with_executed(effects, &executed);
        if let Err(refusal) = self.admit_text(effects, &statement.body) {
            return Err(self.refuse_message(true, out.server, refusal.report()));
        }
        if self.must_know_names(effects)
            || self.mind_sequences(effects, &statement.body, backend, out.server)
        {
            return Err(self.wait_flushed(out));
        }
        self.leave_witness(effects, backend, out.server);
        self.lend(effects, &statement.body, false, backend, out.server);
        Ok(executed)
    }

    /// A statement of the client's is bound to a portal; `rest` is the Bind behind the two names, and `executed` what
    /// the statement executes by SQL.
    fn note_use(
        &mut self,
        portal: &[u8],
        statement: &Statement,
        rest: &[u8],
        executed: &[Arc<Statement>],
    ) {
        let parameters = Parameters::of_bind(rest);
        let resets = self.note_effects(statement.effects(), &statement.body, &parameters);
        self.note_executed_here(executed);
        self.note_deallocating(statement.effects(), &statement.body);
        let draw = self.note_draw(statement.effects(), &statement.body);
        self.note_bound(portal, draw);
        self.note_bound_resets(portal, resets);
        self.suspect_undone(&statement.body);
    }

    pub(super) fn on_execute(&mut self, body: &[u8]) -> ClientFate {
        let portal = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let note = match self.execute_resets(portal) {
            Some(segment) => Note::ResetsAll(segment),
            None => self.executes_draw(body).map_or(Note::Plain, Note::Draws),
        };
        self.open_segment = true;
        self.execute_in_doubt();
        self.counts.queries += 1;
        self.send(Kind::Execute, note);
        ClientFate::Forward
    }

    pub(super) fn on_describe(
        &mut self,
        body: &[u8],
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let Some(name) = statement_name(body) else {
            self.open_segment = true;
            let note = self.describes_portal(body);
            self.send(Kind::Describe, note);
            return ClientFate::Forward;
        };
        let meaning = self.statements.meaning(name);
        if self.is_parsed_in_doubt(name, &meaning, backend) {
            return self.wait_flushed(out);
        }
        let tried = meaning.tried;
        let before = (self.flow.len(), out.server.len());
        let Some(target) = self.resolve(name, backend, out.server) else {
            return ClientFate::Wait;
        };
        self.open_segment = true;
        // PostgreSQL finds that columns have changed behind the types of the parameters.
        if matches!(target.note, Note::Refuse(_)) {
            self.tell_types(name);
        }
        self.send(Kind::Describe, target.note);
        self.begin_retry(tried, before);
        let Some(rename) = target.rename else { return ClientFate::Forward };
        write_describe(out.server, &rename);
        ClientFate::Consumed
    }

    pub(super) fn on_close(
        &mut self,
        body: &[u8],
        backend: Option<&mut Backend>,
        out: &mut BytesMut,
    ) -> ClientFate {
        let leased = backend.is_some();
        match statement_name(body) {
            Some(name) if backend.as_deref().is_some_and(|b| self.closes_in_doubt(name, b)) => {
                ClientFate::Wait
            }
            Some(name) => {
                self.open_segment = true;
                if let Some(backend) = backend {
                    self.close_on_server(name, backend, out);
                }
                if is_off("order") {
                    self.statements.remove(name);
                }
                let ticket = self.next_ticket();
                self.statements.begin(name, ticket, None);
                self.reply(Note::Close { name: name.into(), ticket });
                ClientFate::Consumed
            }
            None if leased => self.pass(Kind::Close),
            None => ClientFate::NeedServer,
        }
    }

    /// Which statement a Close is about depends on earlier segments in flight: one of SQL's PREPARE where a Parse of its
    /// name fails, and one that was lent where that does.
    fn closes_in_doubt(&self, name: &[u8], backend: &Backend) -> bool {
        let meaning = self.statements.meaning(name);
        let is_lent = backend.statements.is_lent(name) && !self.flow.is_status_known();
        is_lent || (self.may_have_sql_prepared() && self.must_wait_for(&meaning))
    }

    /// Closes what only this client can have a use for.
    fn close_on_server(&mut self, name: &[u8], backend: &mut Backend, out: &mut BytesMut) {
        let statement = self.statements.meaning(name).statement;
        let by_sql = statement.is_none() && !name.is_empty() && self.may_have_sql_prepared();
        let lent = backend.statements.take_back(name);
        if lent || by_sql {
            build::close_statement(out, name);
            let name = Name::from(name);
            self.inject(Kind::Close, if lent { Note::TakenBack { name } } else { Note::Plain });
            self.questions.suspects |= Effects::CLOSE;
        }
        if let Some(statement) = statement.filter(|s| s.is_unrepeatable() && !name.is_empty()) {
            self.unprepare(&statement, backend, out);
        }
    }
}

/// The name in a Describe or Close of a statement, if PostgreSQL would read one there.
pub(super) fn statement_name(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body.strip_prefix(b"S")?);
    let name = reader.cstr().ok()?;
    reader.finish().ok().map(|()| name)
}

pub(super) fn write_bind(out: &mut BytesMut, portal: &[u8], name: &[u8], rest: &[u8]) {
    build::message(out, b'B', |out| {
        build::put_cstr(out, portal);
        build::put_cstr(out, name);
        out.put_slice(rest);
    });
}

pub(super) fn write_describe(out: &mut BytesMut, name: &[u8]) {
    build::message(out, b'D', |out| {
        out.put_u8(b'S');
        build::put_cstr(out, name);
    });
}

fn too_many() -> Report {
    Report::error(SqlState::CONFIGURATION_LIMIT, "too many prepared statements for one client")
        .hint("Close the statements that are no longer used (DEALLOCATE).")
}

fn duplicate(name: &[u8]) -> Report {
    let name = String::from_utf8_lossy(name);
    let message = format!("prepared statement \"{name}\" already exists");
    Report::error(SqlState::DUPLICATE_STATEMENT, message)
}

fn too_long_name() -> Report {
    Report::error(SqlState::PROGRAM_LIMIT, "the name of a portal or prepared statement is too long")
        .detail(format!("It has more than {MAX_PREFIX} bytes."))
}
