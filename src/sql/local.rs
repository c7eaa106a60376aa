//! Settings under which texts mean something else, and what a text changes of them for its transaction.

use super::effects::Effects;
use super::lexer::Token;
use super::touched::{is_assignment, setting_name};

/// Settings under which a text means something else when it is parsed, and which the server reports. Those of
/// `search_path` and the role it looks after itself (`runtime-config-client.html`).
pub const TOLD: [&str; 5] =
    ["DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "client_encoding"];

/// The same of those that it does not report.
pub const UNTOLD: [&str; 9] = [
    "array_nulls",
    "backslash_quote",
    "default_text_search_config",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// Settings by which strings are read.
pub const LEXED_UNDER: [&str; 2] = ["standard_conforming_strings", "client_encoding"];

/// Settings by which a name without a schema is found (`ddl-schemas.html#DDL-SCHEMAS-PATH`).
pub const NAMED_BY: [&str; 3] = ["search_path", "role", "session_authorization"];

/// Whether a setting is one of these.
pub fn is_one_of(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Settings that a text may change for the transaction at hand, as far as they change what texts mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Local(Effects);

impl Local {
    /// Of that name; any, if that is not known.
    pub(crate) fn of(name: Option<&str>) -> Self {
        let changes =
            |(list, _): &(&[&str], Effects)| name.is_none_or(|name| is_one_of(list, name));
        let found = CHANGING.into_iter().filter(changes);
        Self(found.fold(Effects::PURE, |all, (_, effects)| all | effects))
    }

    /// What stands behind SET LOCAL (`sql-set.html`).
    pub(crate) fn of_set(tokens: &[Token<'_>]) -> Self {
        let is = |word: &[u8]| tokens.first().is_some_and(|token| token.is_word(word));
        let special = [
            (b"schema".as_slice(), "search_path"),
            (b"role", "role"),
            (b"session", "session_authorization"),
            (b"time", "timezone"),
            (b"names", "client_encoding"),
            (b"xml", "xmloption"),
        ];
        if let Some((_, name)) = special.into_iter().find(|(word, _)| is(word)) {
            return Self::of(Some(name));
        }
        let end = tokens.iter().take(FEW).position(is_assignment);
        let name = end.and_then(|end| setting_name(&tokens[..end]));
        Self::of(name.as_deref())
    }

    /// Both.
    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The same as effects.
    pub fn effects(self) -> Effects {
        self.0
    }
}

/// What each of these changes.
const CHANGING: [(&[&str], Effects); 4] = [
    (&UNTOLD, Effects::LOCAL_SETTING),
    (&TOLD, Effects::LOCAL_TOLD),
    (&LEXED_UNDER, Effects::LOCAL_LEXING),
    (&NAMED_BY, Effects::LOCAL_NAMING),
];

/// Tokens behind SET LOCAL that are looked through for the end of the name.
pub(super) const FEW: usize = 16;
