//! What brought a client's pins about, for those who look: the text, without its constants, and the
//! object that it names.

use super::Session;
use super::asking::SUSPECT;
use super::pins::PinReason;
use super::pooling::Pooling;
use crate::sql::{self, Effects};

/// What brought a pin about.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// The object, where the text names one: a table, a cursor, a channel, a function.
    pub object: Box<str>,
    /// The text without its constants; empty if none is known.
    pub statement: Box<str>,
}

/// Causes of the pins that are, and of those that may come of it.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Texts since the server was last asked.
    recent: Vec<Recent>,
    /// Of the pins that are.
    known: Vec<(PinReason, Cause)>,
}

#[derive(Debug)]
struct Recent {
    effects: Effects,
    shown: Vec<sql::Shown>,
    statement: Box<str>,
}

impl Session {
    /// What brought a pin about that is in force.
    pub fn cause(&self, reason: PinReason) -> Option<&Cause> {
        let found = self.causes.known.iter().find(|(known, _)| *known == reason);
        found.map(|(_, cause)| cause)
    }

    /// A text runs that may pin the client.
    pub(super) fn note_cause(&mut self, effects: Effects, text: &[u8]) {
        // Nobody looks at them.
        if self.pooling == Pooling::Session {
            return;
        }
        let draws =
            self.pins.contains(PinReason::Sequence) && self.cause(PinReason::Sequence).is_none();
        if !effects.intersects(CAUSES) && !draws {
            return;
        }
        let options = self.reading.options(false, None);
        let statement = sql::redact(text, &options, MAX_STATEMENT).into();
        let shown = sql::shown(text, &options);
        let recent = &mut self.causes.recent;
        // The last of too many takes the place of the one before it.
        recent.truncate(MAX_RECENT - 1);
        recent.push(Recent { effects, shown, statement });
    }

    /// The server has told which pins there are.
    pub(super) fn settle_causes(&mut self) {
        if self.pins.is_empty() && self.causes.recent.is_empty() && self.causes.known.is_empty() {
            return;
        }
        let recent = std::mem::take(&mut self.causes.recent);
        let pins = self.pins;
        self.causes.known.retain(|(reason, _)| pins.contains(*reason));
        for reason in pins.iter() {
            if self.cause(reason).is_none() {
                self.causes.known.push((reason, likeliest(reason, &recent)));
            }
        }
    }

    pub(super) fn forget_causes(&mut self) {
        self.causes = Causes::default();
    }
}

/// The first text that shows it, else the last that may hide it.
fn likeliest(reason: PinReason, recent: &[Recent]) -> Cause {
    // No text is kept of it, and what else ran has nothing to do with it.
    if reason == PinReason::LongStatement {
        return Cause::default();
    }
    let (shows, may) = effects_of(reason);
    for text in recent {
        if let Some(shown) = text.shown.iter().find(|shown| shown.kind == shows) {
            return Cause { object: shown.object.clone(), statement: text.statement.clone() };
        }
    }
    let last = |effects: Effects| recent.iter().rev().find(|text| text.effects.intersects(effects));
    let text = last(may).or_else(|| last(SUSPECT)).or(recent.last());
    let statement = text.map_or_else(Box::default, |text| text.statement.clone());
    Cause { object: Box::default(), statement }
}

/// What a text shows that makes this reason, and what a text may do that hides it.
fn effects_of(reason: PinReason) -> (Effects, Effects) {
    match reason {
        PinReason::TempObject => (Effects::TEMP_OBJECT, Effects::TEMP_OBJECT),
        PinReason::HeldCursor => (Effects::CURSOR, Effects::CURSOR),
        PinReason::SqlPrepared => (Effects::SQL_PREPARE, Effects::SQL_PREPARE),
        PinReason::AdvisoryLock => (Effects::ADVISORY_LOCK, Effects::ADVISORY_LOCK),
        PinReason::Listen => (Effects::LISTEN, Effects::LISTEN),
        PinReason::Authorization => (Effects::SETTING, Effects::SETTING),
        PinReason::Setting => (Effects::PURE, Effects::SETTING),
        PinReason::Library => (Effects::LOAD, Effects::LOAD),
        PinReason::Permanent => (Effects::RETIRE_FUNCTION, Effects::RETIRE_FUNCTION),
        PinReason::Sequence => (Effects::PURE, Effects::SEQUENCE.union(Effects::DRAWS)),
        PinReason::LongStatement => (Effects::PURE, Effects::PURE),
        PinReason::Unproven => (Effects::PURE, SUSPECT),
    }
}

/// Texts that are kept: what may pin.
const CAUSES: Effects = SUSPECT.union(Effects::SETTING);

/// Texts of one transaction that are kept, and the bytes of each.
const MAX_RECENT: usize = 8;
const MAX_STATEMENT: usize = 300;
