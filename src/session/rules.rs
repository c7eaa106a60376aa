//! What the configuration says of pins, and the room that a pool has for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::knowledge::Knowledge;
use super::pins::{PinReason, Pins};

/// The rules of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinRules {
    /// Pinned clients at most; 0 is no limit.
    pub max_pinned: usize,
    /// Reasons that nobody may be pinned for.
    pub refused: Pins,
    /// Which texts are suspected of leaving state.
    pub suspicion: Suspicion,
    /// What becomes of numbers drawn from sequences.
    pub sequences: SequenceRule,
    /// Whether a setting whose name no text shows pins.
    pub dynamic_set: DynamicSet,
}

/// Which texts are suspected of leaving state of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspicion {
    /// Also those that call functions of one's own which the catalogue shows to be harmless.
    Strict,
    /// Those that say so, and those that call code which does, or which nobody can read.
    #[default]
    Standard,
    /// Those that say so.
    Off,
}

/// What becomes of the numbers that a client has drawn when its transaction is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SequenceRule {
    /// Asking for them fails, and who is of a kind that has asked is pinned from then on.
    #[default]
    Learn,
    /// Who draws is pinned.
    Pin,
    /// Asking for them fails.
    Loud,
}

/// What becomes of a client that sets a setting whose name no text shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DynamicSet {
    /// It is pinned.
    #[default]
    Pin,
    /// It is not, and may lose the setting; nobody else gets it.
    Ignore,
}

/// Why a client may not be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody may listen.
    Listen,
    /// The rules refuse this reason.
    Reason(PinReason),
    /// As many clients are pinned as may be.
    Full {
        /// Why this one would be.
        reason: PinReason,
        /// How many may be.
        max: usize,
    },
}

/// A pinned client's part of the room; dropped, it is free.
#[derive(Debug)]
pub(super) struct Seat(Arc<Knowledge>);

impl Knowledge {
    /// The rules now.
    pub fn rules(&self) -> PinRules {
        **self.rules.load()
    }

    /// Takes other rules. Texts are read again under another suspicion.
    pub fn set_rules(&self, rules: PinRules) {
        let before = self.rules.swap(Arc::new(rules));
        if before.suspicion != rules.suspicion {
            self.forget_catalogue();
        }
    }

    /// Clients that are pinned, or about to be.
    pub fn pinned(&self) -> usize {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(super) fn take_seat(self: &Arc<Self>) -> Result<Seat, usize> {
        let max = self.rules().max_pinned;
        let room = |taken: usize| (max == 0 || taken < max).then_some(taken + 1);
        match self.pinned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(Seat(Arc::clone(self))),
            Err(_) => Err(max),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.pinned.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_as_many_as_the_rules_say_and_are_given_back() {
        let knowledge = Arc::<Knowledge>::default();
        knowledge.set_rules(PinRules { max_pinned: 2, ..PinRules::default() });
        let first = knowledge.take_seat().unwrap();
        let _second = knowledge.take_seat().unwrap();
        assert_eq!(knowledge.take_seat().unwrap_err(), 2);
        drop(first);
        let _third = knowledge.take_seat().unwrap();
        assert_eq!(knowledge.pinned(), 2);
        knowledge.set_rules(PinRules::default());
        assert!(knowledge.take_seat().is_ok());
    }
}
