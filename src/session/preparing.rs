//! Making a client's statements exist on the server at hand.

use std::sync::Arc;

use bytes::BytesMut;

use super::asking::{DEALLOCATES, Parameters};
use super::extended::write_describe;
use super::flow::Kind;
use super::knowledge::{Generation, NAME_PREFIX, Statement};
use super::own::Own;
use super::shape::{self, Known};
use super::statements::{Copy, Meaning, Name};
use super::texts::RUNS_CODE;
use super::{Altered, Backend, Note, Session, TransactionStatus};
use crate::sql::{self, Effects, Mention};
use crate::wire::build;
use crate::without::is_off;

impl Session {
    /// The statement of a text that is parsed now. It is shared with whoever parses the text under
    /// the same settings, unless these are not known, its meaning depends on the time, it may name temporary
    /// objects, or PostgreSQL may warn whoever parses it (22P06).
    pub(super) fn statement_of(&self, body: &[u8], effects: Effects) -> Arc<Statement> {
        let depends_on_time = effects.contains(Effects::NOW_LITERAL) && !is_off("now");
        let warns = self.reading.escapes_in_strings && body.contains(&b'\\');
        match self.fingerprint() {
            Some(fingerprint) if !depends_on_time && !warns && !self.reading.is_apart() => {
                self.knowledge.intern(fingerprint, body, effects)
            }
            fingerprint => self.knowledge.private(fingerprint, body, effects),
        }
    }

    /// What a statement is from now on that was parsed under other settings, or beside other objects.
    fn statement_now(&self, statement: &Statement) -> Arc<Statement> {
        let (body, effects) = (&statement.body, statement.effects());
        match self.fingerprint() {
            // So that the next Bind finds it.
            Some(fingerprint) if self.reading.is_apart() => {
                self.knowledge.intern(fingerprint, body, effects)
            }
            _ => self.statement_of(body, effects),
        }
    }

    /// The settings that a text is parsed under now, if they are known.
    pub(super) fn fingerprint(&self) -> Option<&[u8]> {
        self.fingerprint_if(!self.is_reading_in_doubt())
    }

    /// The same, where it is known whether they are.
    pub(super) fn fingerprint_if(&self, known: bool) -> Option<&[u8]> {
        known.then(|| if is_off("fingerprint") { &b""[..] } else { &self.reading.fingerprint })
    }

    /// Sends a Parse unless the server has the statement: `Some(whether it was sent)`, or `None` if
    /// that depends on what an earlier segment in flight does.
    pub(super) fn send_parse(
        &mut self,
        name: &[u8],
        statement: &Arc<Statement>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<bool> {
        let mut sent = true;
        match self.copy_of(statement, statement.generation(), backend) {
            Copy::Unsettled => return None,
            Copy::Coming => sent = false,
            // Its copy is of the tables as others see them.
            Copy::Ready if self.alters() || self.may_have_deallocated() => {
                self.unprepare(statement, backend, out);
            }
            // A transaction may have failed by now, and then PostgreSQL refuses every Parse.
            Copy::Ready if !self.flow.is_status_known() => return None,
            Copy::Ready if self.status != TransactionStatus::Failed || is_off("failed") => {
                sent = false;
            }
            // The error must be the server's own.
            Copy::Ready | Copy::Stale => self.unprepare(statement, backend, out),
            Copy::Missing if backend.statements.is_crowded(self.ticket.segment) => return None,
            Copy::Missing => self.make_room(backend, out),
        }
        if self.may_have_sql_prepared() {
            self.try_name(name, statement, out);
        }
        if sent {
            build::parse_body(out, &statement.server_name, &statement.body);
            backend.statements.begin(statement, self.ticket.segment);
        }
        Some(sent)
    }

    /// SQL's PREPARE may have taken this name on this server, which then says so itself. Statements of
    /// the client's Parse have other names there. In a transaction that has failed, too: it takes an empty text.
    pub(super) fn try_name(&mut self, name: &[u8], statement: &Statement, out: &mut BytesMut) {
        // With its text, which may be at fault before the name is.
        build::parse_body(out, name, &statement.body);
        self.inject(Kind::Parse, Note::Lent { name: Name::default(), apart: false });
        build::close_statement(out, name);
        self.inject(Kind::Close, Note::Plain);
    }

    /// A change of the name in flight decides, and belongs to an earlier segment that may fail.
    pub(super) fn must_wait_for(&self, meaning: &Meaning) -> bool {
        let changing =
            meaning.in_flight.is_some_and(|ticket| ticket.segment != self.ticket.segment);
        let deallocating =
            self.questions.suspects.intersects(Effects::LOCAL) && !self.flow.is_status_known();
        changing || deallocating
    }

    /// What a statement's name stands for on this server, making it so where needed; `None` if that
    /// depends on what is in flight.
    pub(super) fn resolve(
        &mut self,
        name: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<Target> {
        let meaning = self.statements.meaning(name);
        if self.must_wait_for(&meaning) {
            return None;
        }
        match meaning.statement {
            // One of SQL's PREPARE has the same name here and there.
            None if self.may_have_sql_prepared() && may_be_sqls(name) => {
                self.questions.suspects |= Effects::EXECUTE;
                self.note_executed();
                Some(Target { note: Note::Plain, rename: None })
            }
            // The server's own unnamed statement may be another client's.
            None => Some(Target::missing(name)),
            Some(statement) if name.is_empty() => self.resolve_unnamed(statement, backend, out),
            Some(statement) if self.is_lost(&statement, backend) => Some(Target::missing(name)),
            Some(statement) => {
                let known = (&statement, meaning.generation);
                self.ask_witness(name, (&statement, meaning.generation), backend, out)?;
                Some(match self.ensure_as_told(name, known, meaning.columns, backend, out)? {
                    Known::Changed => Target::changed(),
                    Known::Same(statement) => {
                        let rename = Some(statement.server_name.clone());
                        Target { note: Note::Use { name: name.into(), statement }, rename }
                    }
                })
            }
        }
    }

    /// Whether a statement would have to be prepared for the message at hand while what is in flight may change what its
    /// literals mean.
    pub(super) fn is_parsed_in_doubt(
        &self,
        name: &[u8],
        meaning: &Meaning,
        backend: &mut Backend,
    ) -> bool {
        let Some(statement) = &meaning.statement else { return false };
        if !self.must_know_settings(&statement.body) {
            return false;
        }
        let copy = if name.is_empty() {
            backend.statements.unnamed(statement, self.ticket.segment)
        } else {
            self.copy_of(statement, meaning.generation, backend)
        };
        matches!(copy, Copy::Missing | Copy::Stale)
    }

    /// Prepares a statement where the server lacks it. Under other settings than the client's Parse
    /// the text is another statement, which nobody who has the first must be given.
    pub(super) fn ensure(
        &mut self,
        statement: &Arc<Statement>,
        generation: Generation,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<Arc<Statement>> {
        let segment = self.ticket.segment;
        let mut statement = Arc::clone(statement);
        let mut copy = self.copy_of(&statement, generation, backend);
        let as_it_was = if copy == Copy::Missing { self.as_it_was(&statement) } else { None };
        // One that is there was parsed when the session had no temporary objects.
        let is_suspect = matches!(copy, Copy::Missing | Copy::Stale) || self.reading.is_apart();
        let differs = is_suspect && !self.reads_as(&statement);
        if differs && as_it_was.is_none() {
            statement = self.statement_now(&statement);
            copy = self.copy_of(&statement, statement.generation(), backend);
        }
        match copy {
            Copy::Unsettled => return None,
            Copy::Ready | Copy::Coming => return Some(statement),
            Copy::Stale | Copy::Missing if is_off("named") => return Some(statement),
            Copy::Stale => self.unprepare(&statement, backend, out),
            Copy::Missing if backend.statements.is_crowded(segment) => return None,
            Copy::Missing => self.make_room(backend, out),
        }
        backend.statements.begin(&statement, segment);
        let note = Note::Prepare { statement: Arc::clone(&statement) };
        let parse = (&*statement.server_name, &statement, note);
        self.parse_as(as_it_was.as_ref(), parse, out);
        Some(statement)
    }

    /// Whether the server has a statement, for a message that comes now.
    pub(super) fn copy_of(
        &self,
        statement: &Statement,
        wanted: Generation,
        backend: &mut Backend,
    ) -> Copy {
        // A plan that turns out to be of old is made again, unless there is a transaction to lose.
        let idle = self.status == TransactionStatus::Idle && self.flow.is_status_known();
        let doubted = if idle { 0 } else { wanted.doubted };
        let wanted = Generation { doubted, ..wanted };
        backend.statements.copy_of(statement, wanted, self.ticket.segment)
    }

    /// The open transaction has changed tables, or is about to.
    pub(super) fn alters(&self) -> bool {
        self.altered == Altered::Tables || self.may_alter() == Altered::Tables
    }

    /// What the texts of the open lease may change of tables.
    pub(super) fn may_alter(&self) -> Altered {
        let suspects = self.questions.suspects;
        if suspects.contains(Effects::DDL) && !is_off("ddl") {
            Altered::Tables
        } else if suspects.contains(Effects::DYNAMIC) {
            Altered::Doubtful
        } else {
            Altered::Nothing
        }
    }

    /// Others hear of what a transaction has changed when it is over, whatever became of it.
    pub(super) fn tell_altered(&mut self, in_flight: Altered) {
        match std::mem::replace(&mut self.altered, Altered::Nothing).max(in_flight) {
            Altered::Tables => self.knowledge.tables_changed(),
            Altered::Doubtful => self.knowledge.tables_doubted(),
            Altered::Nothing => {}
        }
    }

    /// Code of the open lease may have deallocated statements.
    fn may_have_deallocated(&self) -> bool {
        self.questions.suspects.intersects(Effects::DYNAMIC.union(DEALLOCATES))
    }

    /// The server has not a statement that no server can be given again.
    fn is_lost(&self, statement: &Statement, backend: &mut Backend) -> bool {
        if !statement.is_unrepeatable() {
            return false;
        }
        let generation = statement.generation();
        let copy = self.copy_of(statement, generation, backend);
        matches!(copy, Copy::Missing | Copy::Stale)
    }

    pub(super) fn reads_as(&self, statement: &Statement) -> bool {
        let unsettled = self.is_reading_in_doubt();
        let same = |fingerprint: &[u8]| *fingerprint == *self.reading.fingerprint && !unsettled;
        statement.fingerprint.as_deref().is_none_or(same) || is_off("fingerprint")
    }

    /// The server's unnamed statement may be another client's, or this client's of an earlier lease.
    pub(super) fn resolve_unnamed(
        &mut self,
        statement: Arc<Statement>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<Target> {
        let segment = self.ticket.segment;
        match backend.statements.unnamed(&statement, segment) {
            Copy::Unsettled => return None,
            Copy::Ready | Copy::Coming => {}
            Copy::Stale | Copy::Missing if is_off("unnamed") => {}
            Copy::Stale | Copy::Missing if statement.is_unrepeatable() => {
                return Some(Target::missing(b""));
            }
            Copy::Stale | Copy::Missing => {
                backend.statements.begin_unnamed(&statement, segment);
                let note = Note::PrepareUnnamed { statement: Arc::clone(&statement) };
                let as_it_was = self.as_it_was(&statement);
                self.parse_as(as_it_was.as_ref(), (b"", &statement, note), out);
            }
        }
        Some(Target { note: Note::Use { name: Name::default(), statement }, rename: None })
    }

    /// A statement that this server lacks is there for the client unless code of the open lease has deallocated it, of
    /// which nobody has asked yet: the error is that of the one that was left as a witness then. `None` if it may not be
    /// there, for what an earlier segment in flight does. It returns no rows, so that a Describe of it is let through in a
    /// failed transaction, too (`exec_describe_statement_message`).
    fn ask_witness(
        &mut self,
        name: &[u8],
        (statement, generation): (&Statement, Generation),
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<()> {
        let ran_code = self.questions.ran_code;
        if !ran_code.is_some_and(|text| self.statements.is_older(name, text))
            || !self.may_have_deallocated()
            || !backend.statements.has_own(Own::Forget)
            || self.copy_of(statement, generation, backend) != Copy::Missing
            || is_off("forgotten")
        {
            return Some(());
        }
        if !self.flow.is_status_known() {
            return None;
        }
        let witness = Own::Forget.name().as_bytes();
        write_describe(out, witness);
        self.inject(Kind::Describe, Note::Alias { internal: witness.into(), name: name.into() });
        Some(())
    }

    /// Ahead of code that may deallocate a client's statements: that shows by one that was there before. It takes
    /// no snapshot, so that the text may still set the level of isolation.
    pub(super) fn leave_witness(
        &mut self,
        effects: Effects,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) {
        if !effects.intersects(RUNS_CODE) || !self.statements.has_named() {
            return;
        }
        // Behind it, nobody may ask before the client goes on: its own error has to tell.
        let asks_later = self.open_segment || self.status != TransactionStatus::Idle;
        let shows = backend.statements.has_own(Own::Forget)
            || (!asks_later && backend.statements.has_witness());
        // Behind what is in flight, a Sync may end a segment that has failed, and in a failed transaction a
        // Parse fails that the client has not sent.
        let can = self.flow.is_empty() || (self.open_segment && self.flow.is_status_known());
        if shows || self.pooling.keeps() || !can || self.status == TransactionStatus::Failed {
            return;
        }
        self.prepare_own(Own::Forget, backend, out);
        if !self.open_segment {
            build::empty(out, b'S');
            self.inject(Kind::Sync, Note::Plain);
        }
    }

    /// A text names statements of the client's, and what these are depends on segments that are not answered yet.
    pub(super) fn must_know_names(&self, effects: Effects) -> bool {
        effects.intersects(NAMES_STATEMENTS)
            && !self.pooling.keeps()
            && !self.flow.is_status_known()
            && !is_off("lend")
    }

    /// SQL knows the client's statements by the client's names: those that a text names are prepared
    /// under these as well, until the lease ends. `apart` is whether that can be a segment of its own.
    pub(super) fn lend(
        &mut self,
        effects: Effects,
        text: &[u8],
        apart: bool,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) {
        let names = effects.intersects(NAMES_STATEMENTS) && !is_off("lend");
        // What the open segment has run may have ended a transaction that had failed.
        let failed = self.status == TransactionStatus::Failed && !self.open_segment;
        if !names || self.pooling.keeps() || failed {
            return;
        }
        // The Sync of its own would end what the client has begun.
        let apart = apart && !self.open_segment;
        let mut lent = false;
        for mention in sql::mentions(text, &self.reading.options(false, None)) {
            let (Mention::Uses(name) | Mention::Deallocates(name)) = &mention;
            let Some(statement) = self.statements.meaning(name).statement else { continue };
            let name = Name::from(&name[..]);
            if statement.is_unrepeatable() || !backend.statements.lend(&name) {
                continue;
            }
            let as_it_was = self.as_it_was(&statement);
            let note = Note::Lent { name: name.clone(), apart };
            self.parse_as(as_it_was.as_ref(), (&name, &statement, note), out);
            lent = true;
        }
        if lent && apart {
            build::empty(out, b'S');
            self.inject(Kind::Sync, Note::Plain);
        }
    }

    /// A text that is sent deallocates statements of the client's by their names, each of which its tag will tell of.
    pub(super) fn note_deallocating(&mut self, effects: Effects, text: &[u8]) {
        if !effects.contains(Effects::DEALLOCATE) || self.pooling.keeps() {
            return;
        }
        let segment = self.ticket.segment;
        // What an earlier one has left has failed, or was skipped.
        self.deallocating.retain(|(sent, _)| *sent == segment);
        for mention in sql::mentions(text, &self.reading.options(false, None)) {
            if let Mention::Deallocates(name) = mention {
                let own = self.statements.meaning(&name).statement.is_some();
                self.deallocating.push_back((segment, own.then(|| Name::from(&name[..]))));
            }
        }
    }

    /// The client's own statements that a text executes by their names.
    pub(super) fn executed(&self, effects: Effects, text: &[u8]) -> Vec<Arc<Statement>> {
        if !effects.contains(Effects::EXECUTE) || self.pooling.keeps() || is_off("lend") {
            return Vec::new();
        }
        let mentions = sql::mentions(text, &self.reading.options(false, None));
        let used = mentions.into_iter().filter_map(|mention| match mention {
            Mention::Uses(name) => self.statements.meaning(&name).statement,
            Mention::Deallocates(_) => None,
        });
        used.collect()
    }

    /// What these may do, besides.
    pub(super) fn with_executed(&self, effects: Effects, executed: &[Arc<Statement>]) -> Effects {
        executed.iter().fold(effects, |all, statement| all | self.effects_of_statement(statement))
    }

    pub(super) fn note_executed_here(&mut self, executed: &[Arc<Statement>]) {
        for statement in executed {
            let effects = self.effects_of_statement(statement);
            let resets = self.note_effects(effects, &statement.body, &Parameters::NONE);
            self.suspect_resets(&resets);
        }
    }

    /// Closes what [`Session::lend`] has prepared.
    pub(super) fn take_back(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        for name in backend.statements.take_back_all() {
            build::close_statement(out, &name);
            self.inject(Kind::Close, Note::Plain);
        }
    }

    pub(super) fn make_room(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        while let Some(victim) = backend.statements.victim(self.ticket.segment) {
            self.unprepare(&victim, backend, out);
        }
    }

    pub(super) fn unprepare(
        &mut self,
        statement: &Arc<Statement>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) {
        backend.statements.begin_close(statement, self.ticket.segment);
        build::close_statement(out, &statement.server_name);
        self.inject(Kind::Close, Note::Unprepare { statement: Arc::clone(statement) });
    }
}

/// What a Bind or Describe is sent as.
pub(super) struct Target {
    pub(super) note: Note,
    pub(super) rename: Option<Box<[u8]>>,
}

impl Target {
    /// The same, so that pgweir says that its columns are not what they were.
    fn changed() -> Self {
        let note = Note::Refuse(Box::new(shape::changed()));
        Self { note, rename: Some(MISSING.as_bytes().into()) }
    }

    /// A name that no server has, so that PostgreSQL itself says so and ends the transaction.
    pub(super) fn missing(name: &[u8]) -> Self {
        let (internal, name): (&[u8], &[u8]) = if name.is_empty() {
            (b"prepared statement \"__pgweir_missing\"", b"unnamed prepared statement")
        } else {
            (MISSING.as_bytes(), name)
        };
        let note = Note::Alias { internal: internal.into(), name: name.into() };
        Self { note, rename: Some(MISSING.as_bytes().into()) }
    }
}

/// A statement name that is never prepared.
pub(super) const MISSING: &str = "__pgweir_missing";

/// Effects of texts that name prepared statements.
pub(super) const NAMES_STATEMENTS: Effects =
    Effects::EXECUTE.union(Effects::SQL_PREPARE).union(Effects::DEALLOCATE);

/// A name that the server may have by SQL's PREPARE; pgweir's own are other clients' statements there.
fn may_be_sqls(name: &[u8]) -> bool {
    !name.is_empty() && !name.starts_with(NAME_PREFIX.as_bytes())
}

const _: () = assert!(MISSING.len() > NAME_PREFIX.len());
