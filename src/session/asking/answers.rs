//! What a server answers, and what becomes of it.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

use super::{Leftovers, Parameters};
use crate::session::from_server::MAX_OWN_ROW;
use crate::session::pins::{PinReason, Pins};
use crate::session::reading::is_read_under;
use crate::session::rules::DynamicSet;
use crate::session::sequences::MAY_DRAW;
use crate::session::settings::{self, Room};
use crate::session::{Backend, Session, SessionError};
use crate::sql::{self, Catalogue, Effects, Stored, Touched};
use crate::wire::{Malformed, Reader};
use crate::without::is_off;

/// Rows of the catalogue.
#[derive(Debug, Default)]
pub(super) struct Rows {
    stored: Vec<Stored>,
    bytes: usize,
    /// Of all that they show, in any order.
    mark: u64,
}

/// The row of a question about one setting.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// `None` if there is no such setting.
    shown: Option<Box<[u8]>>,
    /// It was found to be the server's default.
    is_default: bool,
    /// What this is, if that was told apart.
    default: Option<Box<[u8]>>,
    /// When the server has read its configuration, as a number.
    loaded: Option<i64>,
    /// It is too long to be kept.
    left_out: bool,
}

/// The row of the probe.
#[derive(Debug)]
pub(in crate::session) struct Probe {
    /// What ties the session to its server, but for advisory locks.
    pub(in crate::session) pins: Pins,
    pub(in crate::session) role: Box<[u8]>,
    /// The role that a reset gives; `None` if that is not known.
    pub(in crate::session) default_role: Option<Box<[u8]>>,
    /// `None` if it was not asked.
    pub(in crate::session) advisory_lock: Option<bool>,
    /// Statements of the protocol that are prepared.
    pub(in crate::session) prepared: usize,
}

impl Probe {
    pub(in crate::session) fn read(columns: &mut Columns<'_>) -> Result<Self, Malformed> {
        let mut pins = Pins::NONE;
        pins.set(PinReason::TempObject, columns.flag()?.unwrap_or(true));
        pins.set(PinReason::HeldCursor, columns.flag()?.unwrap_or(true));
        let (by_sql, prepared) = statements(columns.next()?.unwrap_or_default());
        pins.set(PinReason::SqlPrepared, by_sql);
        pins.set(PinReason::Listen, columns.flag()?.unwrap_or(true));
        let role = columns.next()?.unwrap_or_default().into();
        let advisory_lock = columns.flag()?;
        let default_role = columns.next()?.map(Box::from);
        Ok(Self { pins, role, default_role, advisory_lock, prepared })
    }
}

/// Whether statements are there that SQL has prepared, and how many others. What cannot be read tells of none
/// that can be relied on.
fn statements(told: &[u8]) -> (bool, usize) {
    let told = std::str::from_utf8(told).ok();
    let parts = told.and_then(|told| told.split_once(' '));
    let (by_sql, others) = parts.unwrap_or(("t", ""));
    (by_sql == "t", others.parse().unwrap_or(0))
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Session {
    /// The name of a channel that the server listens to.
    pub(in crate::session) fn on_channel_row(&mut self, row: &[u8]) -> Result<(), SessionError> {
        let channels = self.questions.asked.as_mut().and_then(|asked| asked.channels.as_mut());
        let Some(channels) = channels else { return Ok(()) };
        let name = Columns::new(row)?.next()?.unwrap_or_default();
        if channels.len() <= MAX_LISTENED && name.len() <= LONGEST_NAME {
            channels.insert(name.into());
        }
        Ok(())
    }

    /// A row of an answer, of which the note of the place in the FIFO says which.
    pub(in crate::session) fn on_answer_row(
        &mut self,
        probe: bool,
        row: &[u8],
    ) -> Result<(), SessionError> {
        let Some(asked) = &mut self.questions.asked else { return Ok(()) };
        let mut columns = Columns::new(row)?;
        if probe {
            asked.probe = Some(Probe::read(&mut columns)?);
            return Ok(());
        }
        if asked.values.len() == asked.names.len() {
            asked.failed = true;
            return Ok(());
        }
        asked.bytes += row.len();
        // Of a longer row, only the beginning is here.
        if row.len() >= MAX_OWN_ROW || asked.bytes > MAX_ANSWERS {
            asked.values.push(Value { left_out: true, ..Value::default() });
        } else {
            let shown = columns.next()?.map(Box::from);
            let is_default = columns.count > 1 && columns.flag()?.unwrap_or(false);
            // The role's, whose last column only sets it again.
            let default = if columns.count > 3 { columns.next()?.map(Box::from) } else { None };
            let loaded =
                if columns.count > 4 { columns.skip()?.next()?.and_then(number) } else { None };
            asked.values.push(Value { shown, is_default, default, loaded, left_out: false });
        }
        Ok(())
    }

    /// A row of the catalogue.
    pub(in crate::session) fn on_catalogue_row(&mut self, row: &[u8]) -> Result<(), SessionError> {
        let Some(asked) = &mut self.questions.asked else { return Ok(()) };
        let Some(rows) = &mut asked.catalogue else { return Ok(()) };
        let mut columns = Columns::new(row)?;
        let kind = columns.next()?.unwrap_or_default();
        let number = columns.next()?.unwrap_or_default();
        let name = columns.next()?.unwrap_or_default();
        let (code, uses) = (columns.next()?, columns.next()?);
        // Names, and code that is shown by them, depend on the reader's `search_path`.
        let body = code.filter(|_| matches!(kind, b"f" | b"x"));
        rows.mark = rows.mark.wrapping_add(FxBuildHasher.hash_one((kind, number, body, uses)));
        let row = Stored::new(kind, number, name, code, uses);
        rows.bytes += row.bytes();
        if rows.bytes <= MAX_CATALOGUE {
            rows.stored.push(if is_off("functions") { row.harmless() } else { row });
        } else {
            // Nothing is known then, and everything suspect.
            rows.stored = Vec::new();
        }
        Ok(())
    }

    /// A question failed: it may have met a statement_timeout, or its statement may be gone.
    pub(in crate::session) fn on_answer_failed(&mut self) {
        if let Some(asked) = &mut self.questions.asked {
            asked.failed = true;
        }
    }

    /// All answers have come.
    pub(in crate::session) fn on_answered(&mut self, backend: &mut Backend) {
        let Some(asked) = self.questions.asked.take() else { return };
        if asked.failed || asked.values.len() != asked.names.len() {
            backend.statements.forget_own();
            if asked.catalogue.is_some() {
                self.knowledge.on_catalogue_failed();
            }
            if asked.doubts {
                self.knowledge.code_doubted();
            }
            if self.questions.are_open(self.pins) || self.suspects_resets() {
                self.questions.failures += 1;
                self.pins.set(PinReason::Unproven, true);
            }
            return;
        }
        self.questions.failures = 0;
        for (name, value) in asked.names.iter().zip(&asked.values) {
            self.note_initial(name, backend);
            if value.left_out {
                self.leave_out(name, backend);
                continue;
            }
            if let Some(loaded) = value.loaded {
                backend.settings.on_loaded(loaded);
            }
            let known = value.shown.as_ref().filter(|_| value.is_default);
            if let Some(default) = value.default.as_ref().or(known) {
                backend.settings.learn_default(name, default);
            }
            self.on_told_value(name, value.shown.as_deref(), value.is_default, backend);
        }
        if let Some(probe) = asked.probe {
            self.on_probed(&probe, asked.prepared, backend);
        }
        let mut suspects = std::mem::take(&mut self.questions.suspects);
        self.questions.ran_code = None;
        self.questions.trial = None;
        let touched = std::mem::take(&mut self.questions.touched);
        if let Some(rows) = asked.catalogue {
            suspects =
                suspects.without(UNREAD) | self.on_catalogue(&rows, asked.code, asked.doubts);
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
        if self.pins.contains(PinReason::TempObject) {
            self.read_apart();
        }
    }

    /// Pins for what no question tells: settings without a name, and what only texts show.
    fn pin_for(&mut self, suspects: Effects, anything: bool) {
        if anything {
            match self.knowledge.rules().dynamic_set {
                DynamicSet::Pin => self.pins.set(PinReason::Setting, true),
                DynamicSet::Ignore => self.owed = self.owed.max(Leftovers::Resettable),
            }
        }
        // What the text has drawn behind that, nobody knows.
        if self.sequences.take_discarded() && !suspects.intersects(MAY_DRAW) {
            self.pins.set(PinReason::Sequence, false);
        }
        if suspects.contains(Effects::LOAD) {
            self.pins.set(PinReason::Library, true);
        }
        if suspects.contains(Effects::RETIRE_FUNCTION) {
            self.pins.set(PinReason::Permanent, true);
        }
    }

    /// A setting has this value on the server now, and so the client has it; see [`ServerSettings::on_told`] for
    /// `left`.
    ///
    /// [`ServerSettings::on_told`]: crate::session::settings::ServerSettings::on_told
    pub(in crate::session) fn on_told_value(
        &mut self,
        name: &str,
        value: Option<&[u8]>,
        left: bool,
        backend: &mut Backend,
    ) {
        let default = backend.settings.on_told(name, value, left);
        if !default && settings::may_need_a_role(name) {
            // Nobody else may be able to reset it alone, nor its own client to set it elsewhere.
            self.owed = self.owed.max(Leftovers::Resettable);
            let pins = self.knowledge.rules().dynamic_set == DynamicSet::Pin;
            if pins && self.desired.get("role").is_some() {
                self.pins.set(PinReason::Setting, true);
            }
        }
        match value {
            Some(value) if !default || self.startup.get(name).is_some() => {
                if !self.adopt(name, value) {
                    self.leave_out(name, backend);
                }
            }
            _ => {
                self.desired.remove(name);
            }
        }
    }

    /// The client has this from now on, wherever it is; false if it has too much already.
    pub(in crate::session) fn adopt(&mut self, name: &str, value: &[u8]) -> bool {
        let room = if is_read_under(name) { Room::CLIENT_READING } else { Room::CLIENT };
        let fits = self.desired.has_room(name, value, room);
        if fits && self.desired.set(name, value) {
            self.knowledge.accept(name, value, value);
        }
        fits
    }

    /// The client has a value that is not kept, and so stays where it has it.
    pub(in crate::session) fn leave_out(&mut self, name: &str, backend: &mut Backend) {
        backend.settings.on_left_out(name);
        self.pin_setting();
    }

    /// The catalogue was read. What texts do that could not be read before: settings they touch are
    /// asked for in another round.
    fn on_catalogue(&mut self, rows: &Rows, code: u64, doubts: bool) -> Effects {
        let is_another = self.knowledge.is_another(rows.mark);
        let code =
            if doubts && is_another { self.knowledge.code_found_changed(code) } else { code };
        let is_whole = rows.bytes <= MAX_CATALOGUE;
        match Catalogue::new(sql::named(&rows.stored)).filter(|_| is_whole) {
            Some(catalogue) => self.knowledge.learn_catalogue(catalogue, code),
            None => self.knowledge.refuse_catalogue(code),
        }
        self.judge_by(code);
        let mut found = Effects::PURE;
        for text in std::mem::take(&mut self.questions.unread) {
            let catalogue = self.knowledge.catalogue();
            let options = self.reading.options(false, catalogue.as_deref());
            let effects = sql::classify(&text, &options);
            let touched = sql::touched(&text, &options);
            drop(catalogue);
            // What the text does by itself was known when it ran, or was refused.
            let own = sql::classify(&text, &self.reading.options(false, None));
            let retires = [Effects::LOAD, Effects::RETIRE_FUNCTION].into_iter();
            found |= retires.filter(|e| own.contains(*e)).fold(effects, Effects::without);
            self.note_touched(&touched, &Parameters::NONE);
        }
        found
    }

    /// `prepared` statements were thought to be on the server when it was asked.
    fn on_probed(&mut self, probe: &Probe, prepared: usize, backend: &mut Backend) {
        if !is_off("role") {
            if let Some(default) = &probe.default_role {
                backend.settings.learn_default("role", default);
            }
            self.on_told_value("role", Some(&probe.role), false, backend);
        }
        for reason in PROBED {
            self.pins.set(reason, probe.pins.contains(reason));
        }
        self.pins.set(PinReason::Unproven, false);
        if let Some(locked) = probe.advisory_lock {
            self.pins.set(PinReason::AdvisoryLock, locked);
        }
        if probe.prepared < prepared {
            self.on_statements_lost(backend);
        } else if probe.prepared > prepared {
            self.owed = Leftovers::Prepared;
        }
    }

    /// Code that no tag tells of has deallocated statements. Which ones, nobody asks: it is all, as a rule.
    pub(in crate::session) fn on_statements_lost(&mut self, backend: &mut Backend) {
        if is_off("forgotten") {
            return;
        }
        backend.statements.doubt();
        self.owed = Leftovers::Prepared;
        // Whoever has run nothing since its lease began has met what another left.
        if let Some(ticket) = self.questions.ran_code {
            self.statements.clear_before(ticket);
        }
    }
}

/// The columns of a DataRow in text format.
pub(in crate::session) struct Columns<'a> {
    reader: Reader<'a>,
    count: u16,
}

impl<'a> Columns<'a> {
    pub(in crate::session) fn new(row: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(row);
        let count = reader.u16()?;
        Ok(Self { reader, count })
    }

    pub(in crate::session) fn count(&self) -> u16 {
        self.count
    }

    pub(in crate::session) fn next(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.reader.i32()? {
            -1 => Ok(None),
            len => self.reader.bytes(usize::try_from(len).map_err(|_| Malformed::Short)?).map(Some),
        }
    }

    fn skip(&mut self) -> Result<&mut Self, Malformed> {
        self.next()?;
        Ok(self)
    }

    pub(in crate::session) fn flag(&mut self) -> Result<Option<bool>, Malformed> {
        Ok(self.next()?.map(|value| value == b"t"))
    }
}

/// What cannot be asked about in whole.
const DOUBTFUL: Effects =
    Effects::ROUTINE.union(Effects::FUNCTION).union(Effects::UNKNOWN).union(Effects::DYNAMIC);

/// What may close statements that pgweir has prepared, as code that no tag tells of does.
pub(in crate::session) const DEALLOCATES: Effects =
    Effects::DEALLOCATE.union(Effects::DEALLOCATE_ALL).union(Effects::DISCARD_ALL);

/// What a text is suspected of because the catalogue lacks a name.
const UNREAD: Effects = Effects::FUNCTION.union(Effects::ROUTINE).union(Effects::UNREAD);

/// Bytes of the rows of one round of questions about settings.
const MAX_ANSWERS: usize = 4 << 20;

/// Bytes of the catalogue that are read.
const MAX_CATALOGUE: usize = 16 << 20;

/// Channels of one server that are read.
const MAX_LISTENED: usize = 10_000;

/// Bytes of a name, in whatever encoding (`NAMEDATALEN`): 63 characters of 4 at most.
const LONGEST_NAME: usize = 63 * 4;

/// What the probe's row tells in any case.
const PROBED: [PinReason; 4] =
    [PinReason::TempObject, PinReason::HeldCursor, PinReason::SqlPrepared, PinReason::Listen];
