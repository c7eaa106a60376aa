//! Code behind names that changes while texts are judged by what it was.
//!
//! The catalogue is read behind a change of code, so that it is behind for a while: from the moment at which the
//! change may be there, which only its server knows, until the reading was answered. Whoever is judged meanwhile, in
//! whatever pool of the database, is asked about whatever it has run (docs/semantics.md "Asking").

use super::rules::Suspicion;
use super::{Session, TransactionStatus};
use crate::sql::{self, Creates, Effects};

/// Whether the texts of a lease put code behind names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Making {
    #[default]
    Nothing,
    /// Code that is in flight may.
    MayByCode,
    /// CREATE or ALTER is in flight.
    May,
    /// They have, since the catalogue was last asked for.
    Has,
}

/// What the texts of a lease were judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// The change of code that was known; `None` if not all was.
    code: Option<u64>,
    /// The client's segment at the time.
    segment: u64,
}

impl Session {
    /// The transaction, what is in flight, or the text itself may have put other code behind the names of the text: it
    /// is judged again when the catalogue was read.
    pub(super) fn effects_in_doubt(&mut self, effects: Effects, text: &[u8]) -> Effects {
        let before = self.questions.is_code_changed() || self.questions.making != Making::Nothing;
        let maybe = effects.intersects(MAKES);
        if !before && !maybe || self.knowledge.rules().suspicion == Suspicion::Off {
            return Effects::PURE;
        }
        let (making, ahead) = if maybe { self.makes(effects, text) } else { Default::default() };
        self.questions.making = self.questions.making.max(making);
        self.announce();
        let keeps = self.pooling.keeps();
        if self.questions.is_code_changed() || ((before || ahead) && !keeps) {
            return self.in_doubt();
        }
        // It may call what it makes.
        if making == Making::MayByCode && !keeps { Effects::FUNCTION } else { Effects::PURE }
    }

    fn in_doubt(&self) -> Effects {
        // What code makes, it may make all the time.
        let questions = &self.questions;
        let is_read = questions.is_code_changed() || questions.making == Making::May;
        if is_read || self.knowledge.may_read_again() {
            return Effects::FUNCTION.union(Effects::UNREAD);
        }
        Effects::FUNCTION
    }

    /// What a text may put behind names, and whether another statement stands behind that. Temporary objects are their
    /// own session's, and whoever keeps its server is asked nothing.
    fn makes(&self, effects: Effects, text: &[u8]) -> (Making, bool) {
        let temporary = (effects | self.questions.suspects).contains(Effects::TEMP_OBJECT);
        let by_code = makes_by_code(effects, temporary);
        let conforming = !self.reading.escapes_in_strings;
        let creates = sql::creates(text, conforming, temporary);
        let ahead = creates == Creates::Ahead || (by_code && sql::has_more(text, conforming));
        match creates {
            Creates::Nothing if by_code => (Making::MayByCode, ahead),
            Creates::Nothing => (Making::Nothing, false),
            Creates::Last | Creates::Ahead => (Making::May, ahead),
        }
    }

    /// What was bound is executed, maybe behind what was made meanwhile.
    pub(super) fn execute_in_doubt(&mut self) {
        if self.questions.making != Making::Nothing {
            self.announce();
            self.questions.suspects |= Effects::FUNCTION;
        }
    }

    /// From now on what the lease has made, or is to make, may be there for others.
    fn announce(&mut self) {
        if self.questions.making != Making::Nothing && self.questions.announced.is_none() {
            self.questions.announced = Some(self.knowledge.announce());
        }
    }

    /// Code has run of which no tag tells what it has made.
    pub(super) fn on_code_run(&mut self) {
        let suspects = self.questions.suspects;
        let makes = makes_by_code(suspects, suspects.contains(Effects::TEMP_OBJECT));
        if !(makes || suspects.contains(Effects::DYNAMIC))
            || self.knowledge.rules().suspicion == Suspicion::Off
        {
            return;
        }
        if makes {
            self.questions.making = Making::Has;
        } else if !self.questions.catalogue && self.knowledge.claim_doubted() {
            // Of a text that nobody has seen, no word says so, and most are queries: others hear of it if it was none.
            self.questions.catalogue = true;
            self.questions.doubts = true;
        } else {
            self.knowledge.code_doubted();
        }
    }

    /// Nothing is in flight: what was made, tags have told. Until the end of its transaction it is nobody else's.
    pub(super) fn settle_making(&mut self, status: TransactionStatus) {
        let questions = &mut self.questions;
        if questions.making != Making::Has {
            questions.making = Making::Nothing;
        }
        if questions.making == Making::Nothing || status != TransactionStatus::Idle {
            questions.announced = None;
        }
    }

    /// Texts are judged by what is known now.
    pub(super) fn judge_anew(&mut self) {
        self.judged = Some(Judged { code: self.code_known(), segment: self.ticket.segment });
    }

    /// The same, by a reading that was asked for behind this change.
    pub(super) fn judge_by(&mut self, code: u64) {
        self.judged = Some(Judged { code: Some(code), segment: self.ticket.segment });
    }

    /// What has run may have met code that nobody knew when it was judged.
    pub(super) fn look_back(&mut self) {
        if self.is_misjudged() {
            self.questions.suspects |= Effects::FUNCTION;
            self.judge_anew();
        } else if let Some(judged) = &mut self.judged {
            judged.segment = self.ticket.segment;
        }
    }

    /// Whether anything has run since, and code has changed, or is changing.
    pub(super) fn is_misjudged(&self) -> bool {
        let Some(Judged { code, segment }) = self.judged else { return false };
        let has_run =
            segment != self.ticket.segment || self.open_segment || self.flow.holds_for_client();
        has_run
            && (code.is_none() || code != self.code_known())
            && self.knowledge.rules().suspicion != Suspicion::Off
    }

    fn code_known(&self) -> Option<u64> {
        self.knowledge.code_known(self.questions.announced.is_some())
    }
}

/// Whether code with these effects may make code, or tables with some. What only it can be meant by is not
/// `temporary`, whatever else is.
fn makes_by_code(effects: Effects, temporary: bool) -> bool {
    effects.contains(Effects::ALTERS) || (effects.contains(Effects::CREATES) && !temporary)
}

/// Effects of what may make code.
pub(super) const MAKES: Effects = Effects::DDL.union(Effects::ALTERS).union(Effects::CREATES);
