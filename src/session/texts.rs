//! What the client's texts may do, and taking notice of it.

use super::asking::{DEALLOCATES, Parameters};
use super::knowledge::Statement;
use super::making::MAKES;
use super::pins::PinReason;
use super::rules::Suspicion;
use super::sequences::MAY_DRAW;
use super::{Session, TransactionStatus};
use crate::sql::{self, Effects, Resets};
use crate::without::is_off;

impl Session {
    /// A text may run: what it may do is done to the lease and, maybe, to settings. Gives what its own RESET
    /// resets.
    pub(super) fn note_effects(
        &mut self,
        effects: Effects,
        text: &[u8],
        parameters: &Parameters<'_>,
    ) -> Resets {
        if is_off("tracking") {
            return Resets::None;
        }
        if effects.intersects(MAY_DRAW) && self.admits_sequence() {
            self.pins.set(PinReason::Sequence, true);
        }
        let effects = effects | self.effects_in_doubt(effects, text);
        self.note_cause(effects, text);
        let listens = effects.contains(Effects::UNLISTEN) && self.listening.is_sharing();
        if effects.is_pure() && self.pins.is_empty() && !effects.intersects(MAKES) && !listens {
            return Resets::None;
        }
        self.try_text(effects, text);
        self.questions.suspects |= effects;
        self.note_renamed(effects, None);
        if effects.intersects(RUNS_CODE) {
            self.questions.ran_code = Some(self.ticket);
        }
        if effects.contains(Effects::DDL) && self.creates_in_pg_temp() {
            self.questions.suspects |= Effects::TEMP_OBJECT;
        }
        if self.questions.suspects.contains(Effects::TEMP_OBJECT) {
            self.read_apart();
        }
        self.reading.touched |= effects.intersects(MAY_SET);
        if effects.contains(Effects::UNREAD) {
            self.note_unread(text);
        }
        if !effects.intersects(NAMES_SETTINGS) {
            return Resets::None;
        }
        let catalogue = self.knowledge.catalogue();
        let touched = sql::touched(text, &self.reading.options(false, catalogue.as_deref()));
        drop(catalogue);
        if effects.contains(Effects::SQL_PREPARE) {
            self.note_prepared(&touched);
        }
        if effects.contains(Effects::EXECUTE) {
            self.note_executed();
        }
        self.suspect_resets(&touched.may_reset);
        self.note_touched(&touched, parameters);
        self.questions.suspects |= touched.local.effects();
        self.note_renamed(touched.local.effects(), Some(&touched));
        if effects.contains(Effects::DYNAMIC) {
            self.note_strings(text, parameters);
        }
        touched.resets
    }

    /// Code runs texts of its own making, which this text may have given it.
    fn note_strings(&mut self, text: &[u8], parameters: &Parameters<'_>) {
        let options = self.reading.options(false, None);
        let mut effects = sql::effects_of_strings(text, options.standard_conforming_strings);
        let mut found = vec![sql::touched_by_strings(text, &options)];
        for value in (1..=MAX_GIVEN).filter_map(|number| parameters.text(number)) {
            effects |= sql::effects_of_value(value.as_bytes());
            found.push(sql::touched_by_value(value.as_bytes()));
        }
        self.questions.suspects |= effects;
        for touched in found {
            self.suspect_resets(&touched.may_reset);
            self.note_touched(&touched, &Parameters::NONE);
        }
    }

    /// Whether texts may mean something else by now than the settings say that are known: the open transaction
    /// may have changed one of them, and is not over.
    pub(super) fn is_reading_in_doubt(&self) -> bool {
        let questions = &self.questions;
        let untold = |name: &str| {
            [&sql::UNTOLD[..], &sql::NAMED_BY].iter().any(|list| sql::is_one_of(list, name))
        };
        let in_flight = !self.is_quiet();
        self.reading.touched
            // Where nothing is parsed, nothing is misread.
            && (self.status != TransactionStatus::Failed || in_flight)
            && (in_flight
                || questions.touched.any
                || questions.suspects.intersects(UNTOLD_HERE)
                || questions.touched.names.iter().any(|name| untold(name)))
    }

    /// The names of a text may be those of temporary objects, which are nobody else's.
    pub(super) fn read_apart(&mut self) {
        let knowledge = &self.knowledge;
        self.reading.set_apart(|| knowledge.number());
    }

    /// Whether it is not known yet by which rules strings are read.
    pub(super) fn is_lexing_in_doubt(&self) -> bool {
        let lexing = |name: &str| sql::is_one_of(&sql::LEXED_UNDER, name);
        let questions = &self.questions;
        let local = questions.suspects.contains(Effects::LOCAL_LEXING);
        self.reading.touched
            && self.flow.runs_something()
            && (local || questions.touched.any || questions.touched.names.iter().any(|n| lexing(n)))
    }

    /// The transaction is over, and with it what was set for it.
    pub(super) fn forget_local_settings(&mut self) {
        self.questions.suspects = self.questions.suspects.without(READ_UNDER);
    }

    /// Whether objects without a schema are temporary ones.
    fn creates_in_pg_temp(&self) -> bool {
        let path = self.desired.get("search_path").unwrap_or_default();
        path.windows(7).any(|part| part.eq_ignore_ascii_case(b"pg_temp"))
    }

    /// What a text may do; it ends at the first NUL, as for PostgreSQL.
    pub(super) fn effects_of(&self, body: &[u8], whole: bool) -> Effects {
        if is_off("tracking") {
            return Effects::PURE;
        }
        let truncated = !whole && !body.contains(&0);
        let catalogue = self.knowledge.catalogue();
        let (options, unseen) = self.suspicious(truncated, catalogue.as_deref());
        sql::classify(body, &options).without(unseen)
    }

    /// The same of a whole text, which is often like one that ran before.
    pub(super) fn effects_by_shape(&self, text: &[u8], shapes: &mut sql::Shapes) -> Effects {
        if is_off("tracking") {
            return Effects::PURE;
        }
        if !self.reading.is_plain() {
            return self.effects_of(text, true);
        }
        // Before the catalogue itself: one that comes meanwhile is then read again.
        let version = self.knowledge.catalogue_version();
        shapes.find(text, version).unwrap_or_else(|| {
            let effects = self.effects_of(text, true);
            shapes.learn(text, effects, version);
            effects
        })
    }

    /// How texts are read, and which effects of them do not count, by the pool's suspicion.
    fn suspicious<'a>(
        &self,
        truncated: bool,
        catalogue: Option<&'a sql::Catalogue>,
    ) -> (sql::Options<'a>, Effects) {
        let options = self.reading.options(truncated, catalogue);
        match self.knowledge.rules().suspicion {
            Suspicion::Strict => {
                (sql::Options { vouched: Effects::VOUCHED, ..options }, Effects::PURE)
            }
            Suspicion::Standard => (options, Effects::PURE),
            Suspicion::Off => (options, UNSEEN),
        }
    }

    /// The same of a statement, read again when the catalogue is another.
    pub(super) fn effects_of_statement(&self, statement: &Statement) -> Effects {
        if is_off("tracking") {
            return Effects::PURE;
        }
        let version = self.knowledge.catalogue_version();
        if statement.read_under() != version && !statement.is_unrepeatable() {
            statement.reread(self.effects_of(&statement.body, true), version);
        }
        statement.effects()
    }
}

/// Effects of which the text may name the settings.
const NAMES_SETTINGS: Effects = Effects::SETTING
    .union(Effects::ROUTINE)
    .union(Effects::EXECUTE)
    .union(Effects::UNKNOWN)
    .union(Effects::SQL_PREPARE)
    .union(Effects::DISCARD_ALL);

/// Effects of what may run code that no tag tells of.
pub(super) const RUNS_CODE: Effects =
    UNSEEN.union(Effects::EXECUTE).union(Effects::UNKNOWN).union(DEALLOCATES);

/// What only the code behind a name would show.
const UNSEEN: Effects =
    Effects::FUNCTION.union(Effects::ROUTINE).union(Effects::UNREAD).union(Effects::DYNAMIC);

/// Values of a Bind that are read as code.
const MAX_GIVEN: u16 = 32;

/// Effects that may change a setting.
const MAY_SET: Effects = Effects::SETTING
    .union(Effects::FUNCTION)
    .union(Effects::ROUTINE)
    .union(Effects::EXECUTE)
    .union(Effects::UNKNOWN)
    .union(READ_UNDER)
    .union(Effects::DISCARD_ALL);

/// What is over with the transaction: it changes what texts mean until then.
const READ_UNDER: Effects = UNTOLD_HERE.union(Effects::LOCAL_TOLD).union(Effects::LOCAL_LEXING);

/// Of that, what no server tells of.
const UNTOLD_HERE: Effects = Effects::LOCAL_SETTING.union(Effects::LOCAL_NAMING);
