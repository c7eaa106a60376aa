//! Asking a server what a transaction left behind, after the client has its answer.
//!
//! Texts tell which settings may have changed and what else may be there; what is so, only the server
//! knows. The questions go out as one pipeline of named statements outside any transaction, so that the
//! client's unnamed statement and its next transaction are left alone (docs/semantics.md "Asking").

use bytes::BytesMut;

use super::flow::{Kind, Owner};
use super::listening::{Channels, UNLISTENS};
use super::own::Own;
use super::pins::{PinReason, Pins};
use super::pooling::Pooling;
use super::rules::{DynamicSet, Refusal, Suspicion};
use super::{Backend, Note, Session, SessionError, TransactionStatus};
use crate::sql::{self, Catalogue, Effects, Resets, Subject, Touched};
use crate::wire::{Malformed, Reader, build};
use crate::without::is_off;

/// What the lease did that must be asked about before it can end.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// What texts may have done since the last answer.
    pub(crate) suspects: Effects,
    /// Settings that may have changed.
    pub(crate) touched: Touched,
    /// Settings that the statements of SQL's PREPARE may change when they are executed.
    prepared: Touched,
    /// The catalogue has changed.
    catalogue: bool,
    /// Texts that call what the catalogue does not have yet.
    unread: Vec<Box<[u8]>>,
    /// What was asked and is not answered.
    asked: Option<Asked>,
    /// Answers that failed in a row.
    pub(super) failures: u8,
}

/// One round of questions.
#[derive(Debug, Default)]
struct Asked {
    names: Vec<Box<str>>,
    values: Vec<Value>,
    probe: Option<Probe>,
    channels: Option<Channels>,
    catalogue: Option<Rows>,
    failed: bool,
}

/// Rows of the catalogue.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    bytes: usize,
}

/// The row of a question about one setting.
#[derive(Debug)]
struct Value {
    /// `None` if there is no such setting.
    value: Option<Box<[u8]>>,
    /// It was found to be the server's default.
    is_default: bool,
}

/// The row of the probe.
#[derive(Debug)]
pub(super) struct Probe {
    /// What ties the session to its server, but for advisory locks.
    pub(super) pins: Pins,
    pub(super) role: Box<[u8]>,
    /// `None` if it was not asked.
    pub(super) advisory_lock: Option<bool>,
}

impl Probe {
    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Self, Malformed> {
        let mut pins = Pins::NONE;
        for reason in PROBED {
            pins.set(reason, columns.flag()?.unwrap_or(true));
        }
        let role = columns.next()?.unwrap_or_default().into();
        Ok(Self { pins, role, advisory_lock: columns.flag()? })
    }
}

/// A row of the catalogue: what it is about, its name, and its code.
type Row = (Subject, Box<[u8]>, Box<[u8]>);

/// Whether a lease may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It may, once the server is rid of [`Session::leftovers`].
    Free,
    /// The server was asked first.
    Asked,
    /// The client keeps its server.
    Pinned,
    /// It does so whatever it has done.
    Kept,
    /// It would keep its server, and may not.
    Refused(Refusal),
}

/// What a lease would leave on its server if it ended now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftovers {
    /// Nothing that the next client could see.
    Nothing,
    /// What a soft reset removes.
    Resettable,
    /// Statements of SQL's PREPARE as well.
    Prepared,
    /// What stays until the server process ends.
    Permanent,
}

impl Questions {
    fn are_open(&self, pins: Pins) -> bool {
        let suspects = if pins.is_empty() { SUSPECT } else { SUSPECT.union(MAY_UNPIN) };
        self.suspects.intersects(suspects) || !self.touched.is_empty() || self.catalogue
    }
}

impl Session {
    /// Whether the server was asked and has not answered, or the pool's listening server has not.
    pub fn is_asking(&self) -> bool {
        self.questions.asked.is_some() || self.listening.is_busy()
    }

    /// Why the client keeps its server.
    pub fn pins(&self) -> Pins {
        self.pins
    }

    /// The client has no more work for its server at the moment: may it go? Asks the server first if
    /// texts raise doubts. Only while [`Session::may_release`].
    pub fn part(&mut self, backend: &mut Backend, out: &mut BytesMut) -> Parting {
        if self.pooling == Pooling::Session {
            return self.keep_unasked(backend, out);
        }
        if is_off("tracking") {
            self.release_ready();
            return Parting::Free;
        }
        self.pins.set(PinReason::LongStatement, self.statements.has_unrepeatable());
        if self.leaves_channels(backend) {
            self.questions.suspects |= Effects::LISTEN;
        }
        let open = self.questions.are_open(self.pins)
            || self.listening.may_change(self.questions.suspects)
            || backend.statements.has_lent();
        if open && self.questions.failures < MAX_FAILURES {
            self.ask(backend, out);
        }
        if self.questions.asked.is_some() || self.must_hand_over() {
            return Parting::Asked;
        }
        if self.return_to_own(backend, out) {
            return Parting::Asked;
        }
        self.release_ready();
        if self.is_behind() {
            return Parting::Asked;
        }
        if self.close_ear(backend, out) {
            return Parting::Asked;
        }
        if self.pooling == Pooling::Observe {
            return self.keep_asked(backend);
        }
        self.settle_causes();
        if self.pins.is_empty() {
            self.seat = None;
            return Parting::Free;
        }
        self.admit(self.pins).map_or_else(Parting::Refused, |()| Parting::Pinned)
    }

    /// Asks a pinned client's server again, which may have lost what pins it in a way that no text shows.
    pub fn ask_again(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        self.questions.failures = 0;
        self.questions.suspects |= Effects::UNKNOWN;
        self.ask(backend, out);
    }

    /// What the lease would leave behind, if it ended now.
    pub fn leftovers(&self) -> Leftovers {
        if is_off("cleaning") {
            return Leftovers::Nothing;
        }
        let listens = self.listening.leaves_ear();
        let ear = if listens { Leftovers::Resettable } else { Leftovers::Nothing };
        let kept = self.pooling.keeps();
        let kept = if kept { Leftovers::Prepared } else { Leftovers::Nothing };
        self.own_leftovers().max(ear).max(kept)
    }

    fn own_leftovers(&self) -> Leftovers {
        let suspects = self.questions.suspects;
        let now = if self.pins.intersects(Pins::PERMANENT) || suspects.intersects(Effects::RETIRE) {
            Leftovers::Permanent
        } else if self.pins.intersects(Pins::PREPARED) || suspects.intersects(Effects::SQL_PREPARE)
        {
            Leftovers::Prepared
        } else if !self.pins.is_empty()
            || !self.questions.touched.is_empty()
            || suspects.intersects(SUSPECT)
        {
            Leftovers::Resettable
        } else {
            Leftovers::Nothing
        };
        now.max(self.owed)
    }

    /// Whether the client can do without its server: only pgweir itself is at work there, and has no
    /// need of an answer.
    pub fn survives_loss(&self) -> bool {
        let own = self.flow.head().is_some_and(|head| head.owner == Owner::Proxy);
        !self.pooling.keeps()
            && self.status == TransactionStatus::Idle
            && !self.open_segment
            && self.is_asking()
            && own
            && !self.flow.holds_for_client()
            && !self.listening.needs_server()
            && self.own_leftovers() == Leftovers::Nothing
    }

    /// Takes notice of settings that a text may change. `parameters` are the values that were bound.
    pub(super) fn note_touched(&mut self, touched: Touched, parameters: &Parameters<'_>) {
        let all = &mut self.questions.touched;
        all.any |= touched.any;
        for name in &touched.names {
            all.add(name);
        }
        for number in touched.parameters {
            match parameters.text(number) {
                Some(name) => all.add(name),
                None => all.any = true,
            }
        }
        all.names.retain(|name| !is_off(kind_of(name)));
        if touched.resets == Resets::All {
            let unnamed = std::mem::take(&mut all.any);
            self.reset_all = Some(self.reset_all.unwrap_or_default() || unnamed);
            for (name, _) in self.desired.iter().chain(self.startup.iter()) {
                all.add(name);
            }
        }
    }

    /// A statement of SQL's PREPARE may do this whenever it is executed.
    pub(super) fn note_prepared(&mut self, touched: &Touched) {
        for name in &touched.names {
            self.questions.prepared.add(name);
        }
        self.questions.prepared.any |= touched.any || !touched.parameters.is_empty();
    }

    /// Some statement of SQL's PREPARE may run.
    pub(super) fn note_executed(&mut self) {
        let prepared = self.questions.prepared.clone();
        self.note_touched(prepared, &Parameters::NONE);
    }

    /// A command may have put code behind a name; temporary objects are their own session's.
    pub(super) fn expect_catalogue(&mut self) {
        self.questions.catalogue |= !self.questions.suspects.contains(Effects::TEMP_OBJECT)
            && self.knowledge.rules().suspicion != Suspicion::Off;
    }

    /// A text calls what the catalogue does not have: it is read again when the catalogue was.
    pub(super) fn note_unread(&mut self, text: &[u8]) {
        let questions = &mut self.questions;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        if questions.unread.len() < MAX_UNREAD && text.len() <= MAX_UNREAD_TEXT {
            questions.unread.push(text.into());
            questions.catalogue = true;
        } else {
            questions.suspects |= Effects::UNKNOWN;
        }
    }

    /// Has the catalogue read, ahead of what the client sends.
    pub(super) fn ask_for_catalogue(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        self.send_catalogue(backend, out);
        build::empty(out, b'S');
        self.flow.sent(Kind::Sync, Owner::Proxy, Note::Answered);
    }

    fn send_catalogue(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        self.execute_own(Own::Calm, &[], Note::Plain, backend, out);
        self.execute_own(Own::Catalogue, &[], Note::Catalogued, backend, out);
        self.questions.asked.get_or_insert_default().catalogue = Some(Rows::default());
    }

    fn ask(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        self.take_back(backend, out);
        self.restore(backend, out);
        let touched = &self.questions.touched;
        let reported = backend.settings.reported();
        let asked = |name: &str| name != "session_authorization" && reported.get(name).is_none();
        let names: Vec<_> = touched.names.iter().filter(|name| asked(name)).cloned().collect();
        let probes = self.questions.suspects.intersects(SUSPECT.union(MAY_UNPIN));
        let names = self.ask_for_values(names, probes, backend, out);
        if probes {
            self.ask_for_channels(backend, out);
            let locks = self.questions.suspects.intersects(MAY_LOCK)
                || self.pins.contains(PinReason::AdvisoryLock);
            let locks: &[u8] = if locks { b"t" } else { b"f" };
            self.execute_own(Own::Probe, &[Some(locks)], Note::Probed, backend, out);
        }
        // Last, since it changes a setting for itself.
        if std::mem::take(&mut self.questions.catalogue) {
            self.send_catalogue(backend, out);
        }
        let asked = !self.flow.is_empty();
        self.questions.asked.get_or_insert_default().names = names;
        if !asked {
            // ParameterStatus has told all there is to know.
            return self.on_answered(backend);
        }
        build::empty(out, b'S');
        self.flow.sent(Kind::Sync, Owner::Proxy, Note::Answered);
    }

    /// Asks for settings, and gives their names in the order of the answers. Timeouts come first: the
    /// questions behind them must not meet those of the client.
    fn ask_for_values(
        &mut self,
        mut names: Vec<Box<str>>,
        probes: bool,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Vec<Box<str>> {
        names.sort_by_key(|name| !TIMEOUTS.contains(&&**name));
        if probes || !names.is_empty() {
            for name in TIMEOUTS {
                if backend.settings.has_short(name) && !names.iter().any(|n| **n == *name) {
                    let name = Some(name.as_bytes());
                    self.execute_own(Own::Lift, &[name], Note::Plain, backend, out);
                }
            }
        }
        for name in &names {
            let own = match &**name {
                name if TIMEOUTS.contains(&name) => Own::Lift,
                name if backend.settings.knows_default(name) => Own::Get,
                _ => Own::Weigh,
            };
            self.execute_own(own, &[Some(name.as_bytes())], Note::Asked, backend, out);
        }
        names
    }

    fn execute_own(
        &mut self,
        own: Own,
        parameters: &[Option<&[u8]>],
        note: Note,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) {
        self.prepare_own(own, backend, out);
        build::bind_text(out, own.name(), parameters);
        build::execute(out);
        self.flow.sent(Kind::Bind, Owner::Proxy, Note::Plain);
        self.flow.sent(Kind::Execute, Owner::Proxy, note);
    }

    fn ask_for_channels(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if !self.asks_for_channels() {
            return;
        }
        self.execute_own(Own::Channels, &[], Note::Channels, backend, out);
        self.questions.asked.get_or_insert_default().channels = Some(Channels::new());
    }

    /// The name of a channel that the server listens to.
    pub(super) fn on_channel_row(&mut self, row: &[u8]) -> Result<(), SessionError> {
        let channels = self.questions.asked.as_mut().and_then(|asked| asked.channels.as_mut());
        let Some(channels) = channels else { return Ok(()) };
        let name = Columns::new(row)?.next()?.unwrap_or_default();
        if channels.len() <= MAX_LISTENED {
            channels.insert(name.into());
        }
        Ok(())
    }

    pub(super) fn prepare_own(&mut self, own: Own, backend: &mut Backend, out: &mut BytesMut) {
        if backend.statements.has_own(own) {
            return;
        }
        if backend.statements.own_in_doubt {
            build::close_statement(out, own.name().as_bytes());
            self.flow.sent(Kind::Close, Owner::Proxy, Note::Plain);
        }
        let body = [own.sql().as_bytes(), &[0, 0, 0]].concat();
        build::parse_body(out, own.name().as_bytes(), &body);
        self.flow.sent(Kind::Parse, Owner::Proxy, Note::PrepareOwn(own));
        backend.statements.set_own(own, true);
    }

    /// A row of an answer, of which the note of the place in the FIFO says which.
    pub(super) fn on_answer_row(&mut self, probe: bool, row: &[u8]) -> Result<(), SessionError> {
        let Some(asked) = &mut self.questions.asked else { return Ok(()) };
        let mut columns = Columns::new(row)?;
        if probe {
            asked.probe = Some(Probe::read(&mut columns)?);
        } else {
            let value = columns.next()?.map(Box::from);
            let is_default = columns.count > 1 && columns.flag()?.unwrap_or(false);
            asked.values.push(Value { value, is_default });
        }
        Ok(())
    }

    /// A row of the catalogue.
    pub(super) fn on_catalogue_row(&mut self, row: &[u8]) -> Result<(), SessionError> {
        let Some(asked) = &mut self.questions.asked else { return Ok(()) };
        let Some(rows) = &mut asked.catalogue else { return Ok(()) };
        let mut columns = Columns::new(row)?;
        let subject = match columns.next()? {
            Some(b"f") => Subject::Function,
            Some(b"r") => Subject::Relation,
            Some(b"x") => Subject::Foreign,
            Some(b"d") => Subject::Drawing,
            _ => Subject::Opaque,
        };
        let name: Box<[u8]> = columns.next()?.unwrap_or_default().into();
        let code: Box<[u8]> = columns.next()?.unwrap_or_default().into();
        rows.bytes += name.len() + code.len();
        if rows.bytes <= MAX_CATALOGUE {
            rows.rows.push((subject, name, code));
        } else {
            // Nothing is known then, and everything suspect.
            rows.rows = Vec::new();
        }
        Ok(())
    }

    /// A question failed: it may have met a statement_timeout, or its statement may be gone.
    pub(super) fn on_answer_failed(&mut self) {
        if let Some(asked) = &mut self.questions.asked {
            asked.failed = true;
        }
    }

    /// All answers have come.
    pub(super) fn on_answered(&mut self, backend: &mut Backend) {
        let Some(asked) = self.questions.asked.take() else { return };
        if asked.failed || asked.values.len() != asked.names.len() {
            backend.statements.forget_own();
            if asked.catalogue.is_some() {
                self.knowledge.expire_catalogue();
            }
            if self.questions.are_open(self.pins) {
                self.questions.failures += 1;
                self.pins.set(PinReason::Unproven, true);
            }
            return;
        }
        self.questions.failures = 0;
        for (name, value) in asked.names.iter().zip(&asked.values) {
            if let (true, Some(shown)) = (value.is_default, &value.value) {
                backend.settings.learn_default(name, shown);
            }
            self.on_told_value(name, value.value.as_deref(), backend);
            self.note_initial(name, backend);
        }
        if let Some(probe) = asked.probe {
            self.on_probed(&probe, backend);
        }
        let mut suspects = std::mem::take(&mut self.questions.suspects);
        let touched = std::mem::take(&mut self.questions.touched);
        if let Some(rows) = asked.catalogue {
            suspects = suspects.without(UNREAD) | self.on_catalogue(&rows);
        }
        if suspects.intersects(DEALLOCATES) {
            self.owed = Leftovers::Prepared;
        } else if suspects.intersects(DOUBTFUL) {
            self.owed = self.owed.max(Leftovers::Resettable);
        }
        self.on_channels(asked.channels, backend);
        self.pin_for(suspects, touched.any);
        if !self.pins.contains(PinReason::SqlPrepared) {
            self.questions.prepared = Touched::default();
        }
        self.reading.touched = false;
        self.reading.begin(&mut self.desired, &mut backend.settings);
    }

    /// Pins for what no question tells: settings without a name, and what only texts show.
    fn pin_for(&mut self, suspects: Effects, anything: bool) {
        if anything {
            match self.knowledge.rules().dynamic_set {
                DynamicSet::Pin => self.pins.set(PinReason::Setting, true),
                DynamicSet::Ignore => self.owed = self.owed.max(Leftovers::Resettable),
            }
        }
        if suspects.intersects(Effects::DISCARD_SEQUENCES | Effects::DISCARD_ALL) {
            self.pins.set(PinReason::Sequence, false);
        }
        if suspects.contains(Effects::LOAD) {
            self.pins.set(PinReason::Library, true);
        }
        if suspects.contains(Effects::RETIRE_FUNCTION) {
            self.pins.set(PinReason::Permanent, true);
        }
    }

    /// A setting has this value on the server now, and so the client has it.
    fn on_told_value(&mut self, name: &str, value: Option<&[u8]>, backend: &mut Backend) {
        let default = backend.settings.on_told(name, value);
        match value {
            Some(value) if !default || self.startup.get(name).is_some() => {
                if self.desired.set(name, value) {
                    self.knowledge.accept(name, value, value);
                }
            }
            _ => {
                self.desired.remove(name);
            }
        }
    }

    /// The catalogue was read. What texts do that could not be read before: settings they touch are
    /// asked for in another round.
    fn on_catalogue(&mut self, rows: &Rows) -> Effects {
        if rows.bytes <= MAX_CATALOGUE {
            let rows = rows.rows.iter().map(|(subject, name, code)| {
                let code: &[u8] = if is_off("functions") { b"" } else { code };
                (*subject, &**name, code)
            });
            self.knowledge.learn_catalogue(Catalogue::new(rows));
        }
        let mut found = Effects::PURE;
        for text in std::mem::take(&mut self.questions.unread) {
            let catalogue = self.knowledge.catalogue();
            let options = self.reading.options(false, catalogue.as_deref());
            let effects = sql::classify(&text, &options);
            let touched = sql::touched(&text, &options);
            drop(catalogue);
            found |= effects;
            self.note_touched(touched, &Parameters::NONE);
        }
        found
    }

    fn on_probed(&mut self, probe: &Probe, backend: &mut Backend) {
        if !is_off("role") {
            self.on_told_value("role", Some(&probe.role), backend);
        }
        for reason in PROBED {
            self.pins.set(reason, probe.pins.contains(reason));
        }
        self.pins.set(PinReason::Unproven, false);
        if let Some(locked) = probe.advisory_lock {
            self.pins.set(PinReason::AdvisoryLock, locked);
        }
    }
}

/// What a test turns off the handling of ([`crate::without`]).
fn kind_of(setting: &str) -> &'static str {
    match setting {
        "role" => "role",
        custom if custom.contains('.') => "placeholders",
        _ => "settings",
    }
}

/// The values of a Bind, by number from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters<'a> {
    /// The body of a Bind behind the two names, or nothing.
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// None are known.
    pub(crate) const NONE: Self = Self { rest: b"" };

    /// Those of a Bind; `rest` is its body behind the two names.
    pub(crate) fn of_bind(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// A value as text, which text in binary format is too; `None` if it is not there or NULL.
    pub(super) fn text(&self, number: u16) -> Option<&'a str> {
        let mut reader = Reader::new(self.rest);
        for _ in 0..reader.u16().ok()? {
            reader.u16().ok()?;
        }
        let count = reader.u16().ok()?;
        if number == 0 || number > count {
            return None;
        }
        for at in 1..=number {
            let len = usize::try_from(reader.i32().ok()?).ok();
            let value = match len {
                Some(len) => Some(reader.bytes(len).ok()?),
                None => None,
            };
            if at == number {
                return std::str::from_utf8(value?).ok();
            }
        }
        None
    }
}

/// The columns of a DataRow in text format.
pub(super) struct Columns<'a> {
    reader: Reader<'a>,
    count: u16,
}

impl<'a> Columns<'a> {
    pub(super) fn new(row: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        let count = reader.u16()?;
        Ok(Self { reader, count })
    }

    fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.reader.i32()? {
            -1 => Ok(None),
            len => self.reader.bytes(usize::try_from(len).map_err(|_| Malformed::Short)?).map(Some),
        }
    }

    pub(super) fn flag(&mut self) -> Result<Option<bool>, Malformed> {
        Ok(self.next()?.map(|value| value == b"t"))
    }
}

/// What a text may do that the server must be asked about.
pub(super) const SUSPECT: Effects = Effects::LISTEN
    .union(Effects::CURSOR)
    .union(Effects::TEMP_OBJECT)
    .union(Effects::ADVISORY_LOCK)
    .union(Effects::SQL_PREPARE)
    .union(Effects::LOAD)
    .union(Effects::RETIRE_FUNCTION)
    .union(Effects::VOUCHED)
    .union(OPAQUE);

/// What runs code that the text does not show.
const OPAQUE: Effects =
    Effects::ROUTINE.union(Effects::EXECUTE).union(Effects::FUNCTION).union(Effects::UNKNOWN);

/// What cannot be asked about in whole.
const DOUBTFUL: Effects = Effects::ROUTINE.union(Effects::FUNCTION).union(Effects::UNKNOWN);

/// What may close statements that pgweir has prepared, as code that no tag tells of does.
const DEALLOCATES: Effects =
    Effects::DEALLOCATE.union(Effects::DEALLOCATE_ALL).union(Effects::DISCARD_ALL);

/// What a text is suspected of because the catalogue lacks a name.
const UNREAD: Effects = Effects::FUNCTION.union(Effects::ROUTINE).union(Effects::UNREAD);

/// What may take a lock of the session.
const MAY_LOCK: Effects = Effects::ADVISORY_LOCK.union(Effects::VOUCHED).union(OPAQUE);

/// What may remove the reason for a pin.
const MAY_UNPIN: Effects = Effects::DDL
    .union(Effects::CLOSE)
    .union(Effects::DEALLOCATE)
    .union(Effects::DEALLOCATE_ALL)
    .union(Effects::DISCARD)
    .union(UNLISTENS);

/// Bytes of the catalogue that are read.
const MAX_CATALOGUE: usize = 16 << 20;

/// Texts that are kept to be read again, and the longest of them.
const MAX_UNREAD: usize = 16;
const MAX_UNREAD_TEXT: usize = 16 << 10;

/// Channels of one server that are read.
const MAX_LISTENED: usize = 10_000;

/// What may end a question before its answer. Other timeouts of PostgreSQL's do not run inside a pipeline
/// (`runtime-config-client.html`).
const TIMEOUTS: [&str; 3] = ["statement_timeout", "lock_timeout", "transaction_timeout"];

/// Rounds of questions that may fail in a row.
const MAX_FAILURES: u8 = 2;

/// What the first columns of the probe's row tell.
const PROBED: [PinReason; 4] =
    [PinReason::TempObject, PinReason::HeldCursor, PinReason::SqlPrepared, PinReason::Listen];
