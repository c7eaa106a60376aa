//! Why a client keeps its server past the end of a transaction.
//!
//! State of these kinds exists in one server process and cannot be made again on another
//! (docs/semantics.md "Pins").

use std::fmt;

use crate::without;

/// One kind of state that ties a client to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinReason {
    /// An object in the session's temporary schema.
    TempObject,
    /// A cursor WITH HOLD.
    HeldCursor,
    /// A statement of SQL's PREPARE.
    SqlPrepared,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// LISTEN.
    Listen,
    /// SET SESSION AUTHORIZATION.
    Authorization,
    /// A setting whose name no text shows.
    Setting,
    /// A library that LOAD brought in.
    Library,
    /// What a function left that only the end of the server process removes.
    Permanent,
    /// Numbers drawn from sequences, for a client that is known to ask for them later.
    Sequence,
    /// A named statement whose text is too long to be kept.
    LongStatement,
    /// The server could not be asked.
    Unproven,
}

impl PinReason {
    /// All, in the order of their bits.
    pub const ALL: [Self; 12] = [
        Self::TempObject,
        Self::HeldCursor,
        Self::SqlPrepared,
        Self::AdvisoryLock,
        Self::Listen,
        Self::Authorization,
        Self::Setting,
        Self::Library,
        Self::Permanent,
        Self::Sequence,
        Self::LongStatement,
        Self::Unproven,
    ];

    /// Its name in metrics, logs and tables.
    pub fn text(self) -> &'static str {
        match self {
            Self::TempObject => "temp_object",
            Self::HeldCursor => "held_cursor",
            Self::SqlPrepared => "sql_prepared",
            Self::AdvisoryLock => "advisory_lock",
            Self::Listen => "listen",
            Self::Authorization => "authorization",
            Self::Setting => "setting",
            Self::Library => "library",
            Self::Permanent => "permanent",
            Self::Sequence => "sequence",
            Self::LongStatement => "long_statement",
            Self::Unproven => "unproven",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Pins(u16);

impl Pins {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// Only the end of the server process removes what these name.
    pub const PERMANENT: Self = Self::of(&[PinReason::Library, PinReason::Permanent]);
    /// Statements that are the session's own.
    pub const PREPARED: Self = Self::of(&[PinReason::SqlPrepared, PinReason::LongStatement]);

    const fn of(reasons: &[PinReason]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < reasons.len() {
            bits |= 1 << reasons[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, reason: PinReason) -> Self {
        self.set(reason, true);
        self
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a reason is among them.
    pub const fn contains(self, reason: PinReason) -> bool {
        self.0 & (1 << reason as u16) != 0
    }

    /// Whether any of `other` is among them.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds or removes a reason.
    pub fn set(&mut self, reason: PinReason, there: bool) {
        if there && !without::is_off(reason.text()) {
            self.0 |= 1 << reason as u16;
        } else {
            self.0 &= !(1 << reason as u16);
        }
    }

    /// The reasons.
    pub fn iter(self) -> impl Iterator<Item = PinReason> {
        PinReason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(PinReason::text)).finish()
    }
}
