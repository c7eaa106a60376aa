//! Asking a server what a transaction left behind, after the client has its answer.
//!
//! Texts tell which settings may have changed and what else may be there; what is so, only the server
//! knows. The questions go out as one pipeline of named statements outside any transaction, so that the
//! client's unnamed statement and its next transaction are left alone (docs/semantics.md "Asking").

mod answers;

use bytes::BytesMut;

use super::flow::{Kind, Owner};
use super::knowledge::Announced;
use super::listening::{Channels, UNLISTENS};
use super::making::Making;
use super::own::Own;
use super::pins::{PinReason, Pins};
use super::pooling::Pooling;
use super::rules::{Refusal, Suspicion};
use super::statements::Ticket;
use super::trial::Trial;
use super::{Backend, Note, Session, TransactionStatus};
use crate::sql::{Effects, Touched};
use crate::wire::{Reader, build};
use crate::without::is_off;
pub(super) use answers::{Columns, DEALLOCATES, Probe};
use answers::{Rows, Value};

/// What the lease did that must be asked about before it can end.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// What texts may have done since the last answer.
    pub(crate) suspects: Effects,
    /// Settings that may have changed.
    pub(crate) touched: Touched,
    /// Settings that the statements of SQL's PREPARE may change when they are executed.
    prepared: Touched,
    /// The catalogue is to be read.
    pub(super) catalogue: bool,
    /// It is, since code may have changed it of which nobody has seen anything.
    pub(super) doubts: bool,
    /// See [`super::making`].
    pub(super) making: Making,
    /// While others may meet what is made.
    pub(super) announced: Option<Announced>,
    /// The client's last change of names when the last text was sent that may run code.
    pub(super) ran_code: Option<Ticket>,
    /// What is not known yet to have run.
    pub(super) trial: Option<Trial>,
    /// Texts that call what the catalogue does not have yet.
    pub(super) unread: Vec<Box<[u8]>>,
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
    /// Of their rows.
    bytes: usize,
    probe: Option<Probe>,
    /// Statements that the server is thought to have.
    prepared: usize,
    channels: Option<Channels>,
    catalogue: Option<Rows>,
    /// The change of code that this was asked for behind.
    code: u64,
    /// Only what it shows tells whether there is one.
    doubts: bool,
    failed: bool,
}

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
    /// The catalogue has changed, or may have, and was not read since.
    pub(super) fn awaits_catalogue(&self) -> bool {
        let makes = self.making != Making::Nothing;
        makes
            || self.catalogue
            || self.asked.as_ref().is_some_and(|asked| asked.catalogue.is_some())
    }

    /// The catalogue is to be read, since a command of the open transaction has changed it. What only may have, is asked
    /// about all the same for the texts that it has run.
    pub(super) fn is_code_changed(&self) -> bool {
        self.catalogue && !self.doubts
    }

    fn are_open(&self, pins: Pins) -> bool {
        let suspects = if pins.is_empty() { SUSPECT } else { SUSPECT.union(MAY_UNPIN) };
        self.suspects.intersects(suspects)
            || !self.touched.is_empty()
            || self.catalogue
            || self.making == Making::Has
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
        self.look_back();
        if is_off("gone") && self.questions.suspects.intersects(MAY_UNPIN) {
            self.pins = Pins::NONE;
            self.questions.suspects = self.questions.suspects.without(SUSPECT.union(MAY_UNPIN));
        }
        let open = self.questions.are_open(self.pins)
            || self.listening.may_change(self.questions.suspects)
            || self.suspects_resets()
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
        let aside = self.desired.is_harmful_aside();
        let aside = if aside { Leftovers::Resettable } else { Leftovers::Nothing };
        self.own_leftovers().max(ear).max(kept).max(aside)
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
            || self.is_misjudged()
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
    pub(super) fn note_touched(&mut self, touched: &Touched, parameters: &Parameters<'_>) {
        let all = &mut self.questions.touched;
        let before = std::mem::replace(&mut all.any, touched.any);
        for name in &touched.names {
            all.add(name);
        }
        for number in &touched.parameters {
            match parameters.text(*number) {
                Some(name) => all.add(name),
                None => all.any = true,
            }
        }
        all.names.retain(|name| !is_off(kind_of(name)));
        if touched.resets.are_all() || touched.may_reset.are_all() {
            self.note_all_touched();
        }
        if self.questions.touched.any {
            self.doubt_reset();
        }
        self.questions.touched.any |= before;
    }

    /// Takes notice of all that the client has, which is no more than it has room for.
    fn note_all_touched(&mut self) {
        let all = &mut self.questions.touched;
        self.startup.iter().for_each(|(name, _)| all.add(name));
        let noted = all.names.clone();
        let is_noted = |name: &str| noted.iter().any(|known| known.eq_ignore_ascii_case(name));
        let names = self.desired.iter().map(|(name, _)| name).filter(|name| !is_noted(name));
        let spelt = |name: &str| {
            if name.contains('.') { name.into() } else { name.to_ascii_lowercase().into() }
        };
        all.names.extend(names.map(spelt));
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
        self.note_touched(&prepared, &Parameters::NONE);
    }

    /// A command may have put code behind a name; what `may_be_temporary` is its own session's then.
    pub(super) fn expect_catalogue(&mut self, may_be_temporary: bool) {
        let temporary = may_be_temporary && self.questions.suspects.contains(Effects::TEMP_OBJECT);
        if !temporary && self.knowledge.rules().suspicion != Suspicion::Off {
            self.questions.catalogue = true;
            self.questions.doubts = false;
            self.questions.making = Making::Has;
        }
    }

    /// A text calls what the catalogue does not have: it is read again when the catalogue was.
    pub(super) fn note_unread(&mut self, text: &[u8]) {
        let questions = &mut self.questions;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        if questions.unread.iter().any(|unread| **unread == *text) {
            return;
        }
        if questions.unread.len() < MAX_UNREAD && text.len() <= MAX_UNREAD_TEXT {
            questions.unread.push(text.into());
            questions.catalogue = true;
        } else {
            questions.suspects |= Effects::UNKNOWN;
        }
    }

    /// Has the catalogue read, ahead of what the client sends.
    pub(super) fn ask_for_catalogue(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        let code = self.knowledge.code_number();
        self.send_catalogue(code, backend, out);
        build::empty(out, b'S');
        self.flow.sent(Kind::Sync, Owner::Proxy, Note::Answered);
    }

    /// Tells others that code has changed, and has the catalogue read.
    fn ask_what_was_made(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        let is_made = std::mem::take(&mut self.questions.making) == Making::Has;
        // So that what code makes all the time has it read once a second.
        let may = is_made && self.knowledge.claim_another();
        let is_wanted = std::mem::take(&mut self.questions.catalogue) || may;
        let code = match (is_made, is_wanted) {
            (true, true) => self.knowledge.code_changed_here(),
            (true, false) => self.knowledge.code_changed_again(),
            (false, _) => self.knowledge.code_number(),
        };
        self.questions.announced = None;
        if is_wanted {
            self.send_catalogue(code, backend, out);
        }
    }

    fn send_catalogue(&mut self, code: u64, backend: &mut Backend, out: &mut BytesMut) {
        self.execute_own(Own::Calm, &[], Note::Plain, backend, out);
        self.execute_own(Own::Catalogue, &[], Note::Catalogued, backend, out);
        let doubts = std::mem::take(&mut self.questions.doubts);
        let asked = self.questions.asked.get_or_insert_default();
        (asked.catalogue, asked.code, asked.doubts) = (Some(Rows::default()), code, doubts);
    }

    fn ask(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        let earlier = backend.statements.own();
        // A question that fails ends more than itself: a temporary slot goes with any error.
        if self.questions.suspects.intersects(DEALLOCATES) {
            backend.statements.forget_own();
        }
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
            self.questions.asked.get_or_insert_default().prepared =
                backend.statements.count(earlier);
        }
        // Last, since it changes a setting for itself.
        self.ask_what_was_made(backend, out);
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
                custom if custom.contains('.') => Own::Custom,
                name if backend.settings.knows_default(name) => Own::Get,
                "role" => Own::Role,
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
        build::bind_text(out, "", own.name(), parameters);
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

/// What may take a lock of the session.
const MAY_LOCK: Effects = Effects::ADVISORY_LOCK.union(Effects::VOUCHED).union(OPAQUE);

/// What may remove the reason for a pin.
const MAY_UNPIN: Effects = Effects::DDL
    .union(Effects::CLOSE)
    .union(Effects::DEALLOCATE)
    .union(Effects::DEALLOCATE_ALL)
    .union(Effects::DISCARD)
    .union(UNLISTENS);

/// Texts that are kept to be read again, and the longest of them.
const MAX_UNREAD: usize = 16;
const MAX_UNREAD_TEXT: usize = 16 << 10;

/// What may end a question before its answer. Other timeouts of PostgreSQL's do not run inside a pipeline
/// (`runtime-config-client.html`).
const TIMEOUTS: [&str; 3] = ["statement_timeout", "lock_timeout", "transaction_timeout"];

/// Rounds of questions that may fail in a row.
const MAX_FAILURES: u8 = 2;
