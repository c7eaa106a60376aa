//! The answer: a set of things that a text may do.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// What a text may do to the session that runs it; a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Effects(u64);

impl Effects {
    /// Nothing that outlives the transaction.
    pub const PURE: Self = Self(0);
    /// SET, RESET or `set_config` of a setting for the session.
    pub const SETTING: Self = Self(1);
    /// LISTEN.
    pub const LISTEN: Self = Self(1 << 1);
    /// DECLARE: a cursor, which may be WITH HOLD.
    pub const CURSOR: Self = Self(1 << 2);
    /// An object in the session's temporary schema.
    pub const TEMP_OBJECT: Self = Self(1 << 3);
    /// An advisory lock of the session, taken or given back.
    pub const ADVISORY_LOCK: Self = Self(1 << 4);
    /// `nextval` or `setval`.
    pub const SEQUENCE: Self = Self(1 << 5);
    /// CALL or DO: code that the text does not show.
    pub const ROUTINE: Self = Self(1 << 6);
    /// EXECUTE of a statement prepared earlier.
    pub const EXECUTE: Self = Self(1 << 7);
    /// A function that is not known to be harmless.
    pub const FUNCTION: Self = Self(1 << 8);
    /// A text that could not be read to its end, or a statement that is not known.
    pub const UNKNOWN: Self = Self(1 << 9);
    /// PREPARE of a statement (not PREPARE TRANSACTION).
    pub const SQL_PREPARE: Self = Self(1 << 10);
    /// DEALLOCATE of one name.
    pub const DEALLOCATE: Self = Self(1 << 11);
    /// DEALLOCATE ALL.
    pub const DEALLOCATE_ALL: Self = Self(1 << 12);
    /// DISCARD ALL.
    pub const DISCARD_ALL: Self = Self(1 << 13);
    /// DISCARD TEMP.
    pub const DISCARD_TEMP: Self = Self(1 << 14);
    /// DISCARD PLANS.
    pub const DISCARD_PLANS: Self = Self(1 << 15);
    /// DISCARD SEQUENCES.
    pub const DISCARD_SEQUENCES: Self = Self(1 << 16);
    /// LOAD: the library stays in the server process.
    pub const LOAD: Self = Self(1 << 17);
    /// A function whose trace only the end of the server process removes.
    pub const RETIRE_FUNCTION: Self = Self(1 << 18);
    /// `currval` or `lastval`: reads what the session's sequences gave before.
    pub const READS_SEQUENCE: Self = Self(1 << 19);
    /// CREATE, ALTER, DROP or IMPORT.
    pub const DDL: Self = Self(1 << 20);
    /// A string that may mean the time of its parsing, such as `'now'`.
    pub const NOW_LITERAL: Self = Self(1 << 21);

    /// CLOSE of a cursor.
    pub const CLOSE: Self = Self(1 << 22);
    /// A statement that may draw a number from a sequence, as a column default does.
    pub const DRAWS: Self = Self(1 << 23);

    /// A function or procedure that the catalogue at hand does not have.
    pub const UNREAD: Self = Self(1 << 24);
    /// UNLISTEN.
    pub const UNLISTEN: Self = Self(1 << 25);

    /// Code of one's own in which the catalogue shows nothing, to those who do not take its word.
    pub const VOUCHED: Self = Self(1 << 26);

    /// Code that runs a text of its own making.
    pub const DYNAMIC: Self = Self(1 << 27);
    /// SET LOCAL of a setting that changes what texts mean, and that the server does not report.
    pub const LOCAL_SETTING: Self = Self(1 << 28);
    /// The same of one that it reports.
    pub const LOCAL_TOLD: Self = Self(1 << 30);
    /// ALTER in code, and CREATE of functions and their like: what they change is seldom temporary, as what code
    /// creates and drops often is.
    pub const ALTERS: Self = Self(1 << 31);
    /// CREATE in code, of what may hold code.
    pub const CREATES: Self = Self(1 << 33);

    /// The same of one by which strings are read.
    pub const LOCAL_LEXING: Self = Self(1 << 29);
    /// The same of one by which names without a schema are found.
    pub const LOCAL_NAMING: Self = Self(1 << 32);

    /// Effects that a soft reset of the server undoes.
    pub const RESET_CLEAN: Self = Self(
        Self::SETTING.0
            | Self::LISTEN.0
            | Self::CURSOR.0
            | Self::TEMP_OBJECT.0
            | Self::ADVISORY_LOCK.0
            | Self::SEQUENCE.0
            | Self::ROUTINE.0
            | Self::EXECUTE.0
            | Self::DYNAMIC.0
            | Self::FUNCTION.0
            | Self::UNKNOWN.0,
    );
    /// Effects that only closing the server undoes.
    pub const RETIRE: Self = Self(Self::LOAD.0 | Self::RETIRE_FUNCTION.0);
    /// The kinds of DISCARD.
    pub const DISCARD: Self = Self(
        Self::DISCARD_ALL.0
            | Self::DISCARD_TEMP.0
            | Self::DISCARD_PLANS.0
            | Self::DISCARD_SEQUENCES.0,
    );
    /// Statements that a text consists of alone when drivers clean up ([`whole`](super::whole)).
    pub const LOCAL: Self = Self(Self::DEALLOCATE.0 | Self::DEALLOCATE_ALL.0 | Self::DISCARD_ALL.0);
    /// Effects of a text that nobody could read. Besides its state, its literals are in doubt.
    pub(crate) const UNREADABLE: Self = Self(Self::UNKNOWN.0 | Self::NOW_LITERAL.0);

    /// The set as a number, to be kept where only numbers can be.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// What [`Effects::bits`] gave.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The effects of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every effect of `other` is here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any effect of `other` is here.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the server needs no care at all after this text: nothing to clean, forget or close.
    ///
    /// [`DDL`](Self::DDL), [`ALTERS`](Self::ALTERS) and [`NOW_LITERAL`](Self::NOW_LITERAL) concern statements, not the session;
    /// [`CLOSE`](Self::CLOSE) and [`UNLISTEN`](Self::UNLISTEN) only take state away, and what
    /// [`DRAWS`](Self::DRAWS) leaves is asked for by name.
    pub const fn is_pure(self) -> bool {
        let harmless = Self::DDL.union(Self::NOW_LITERAL).union(Self::CLOSE).union(Self::DRAWS);
        self.without(harmless).without(Self::UNLISTEN.union(Self::ALTERS)).0 == 0
    }

    /// The effects by name, for logs and metrics.
    pub fn reasons(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| name)
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.reasons()).finish()
    }
}

const NAMES: [(Effects, &str); 34] = [
    (Effects::SETTING, "setting"),
    (Effects::LISTEN, "listen"),
    (Effects::CURSOR, "cursor"),
    (Effects::TEMP_OBJECT, "temp_object"),
    (Effects::ADVISORY_LOCK, "advisory_lock"),
    (Effects::SEQUENCE, "sequence"),
    (Effects::ROUTINE, "routine"),
    (Effects::EXECUTE, "execute"),
    (Effects::FUNCTION, "function"),
    (Effects::UNKNOWN, "unknown"),
    (Effects::SQL_PREPARE, "sql_prepare"),
    (Effects::DEALLOCATE, "deallocate"),
    (Effects::DEALLOCATE_ALL, "deallocate_all"),
    (Effects::DISCARD_ALL, "discard_all"),
    (Effects::DISCARD_TEMP, "discard_temp"),
    (Effects::DISCARD_PLANS, "discard_plans"),
    (Effects::DISCARD_SEQUENCES, "discard_sequences"),
    (Effects::LOAD, "load"),
    (Effects::RETIRE_FUNCTION, "retire_function"),
    (Effects::READS_SEQUENCE, "reads_sequence"),
    (Effects::DDL, "ddl"),
    (Effects::NOW_LITERAL, "now_literal"),
    (Effects::CLOSE, "close"),
    (Effects::DRAWS, "draws"),
    (Effects::UNREAD, "unread"),
    (Effects::UNLISTEN, "unlisten"),
    (Effects::VOUCHED, "vouched"),
    (Effects::DYNAMIC, "dynamic"),
    (Effects::LOCAL_SETTING, "local_setting"),
    (Effects::LOCAL_LEXING, "local_lexing"),
    (Effects::LOCAL_TOLD, "local_told"),
    (Effects::LOCAL_NAMING, "local_naming"),
    (Effects::ALTERS, "alters"),
    (Effects::CREATES, "creates"),
];
