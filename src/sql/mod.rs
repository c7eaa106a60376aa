//! What a text of SQL may do to the session that runs it.
//!
//! Owns a lexer that cuts a text as PostgreSQL's own does
//! (`sql-syntax-lexical.html`) and a classifier over its tokens. Invariant: this module never parses
//! and never evaluates. It answers "may this text change session state, and by what?", and leans to
//! yes: a false suspicion costs one cleaning of the server, a missed one leaks state to another client.
//!
//! What no text can show (functions behind triggers, views, operators, casts, column defaults and
//! attribute notation; functions of one's own that stand in for a built-in one of the same name) is
//! outside its reach.

mod builtins;
mod call;
mod catalogue;
mod classify;
mod code;
mod composed;
mod creates;
mod defaults;
mod draws;
mod effects;
mod keywords;
mod lexer;
mod made;
mod literals;
mod local;
mod names;
mod redact;
mod runs;
mod setting;
mod shapes;
mod shown;
mod statements;
mod stored;
mod touched;
mod whole;

#[cfg(test)]
mod tests;

pub use self::catalogue::{Catalogue, Deed, Subject};
pub use self::classify::{Options, classify};
pub use self::code::{effects_of_strings, effects_of_value};
pub use self::creates::{Creates, creates, has_more};
pub use self::defaults::{Argument, Defaults, defaulting, with_defaults};
pub use self::draws::is_drawn;
pub use self::effects::Effects;
pub use self::lexer::{Kind, Lexer, Token};
pub use self::local::{LEXED_UNDER, Local, NAMED_BY, TOLD, UNTOLD, is_one_of};
pub use self::made::{Completion, Made, with_discarded};
pub use self::redact::redact;
pub use self::setting::setting;
pub use self::shapes::Shapes;
pub use self::shown::{Shown, shown};
pub use self::statements::{Mention, mentions};
pub use self::stored::{Stored, named};
pub use self::touched::{Resets, Touched, touched, touched_by_strings, touched_by_value};
pub use self::whole::{Whole, is_empty, whole};

/// Whether a text in this client encoding may hold quotes or backslashes inside its characters.
///
/// In these encodings 0x5C may be the second byte of a character, so that no lexer that looks at
/// bytes can find the end of a string (`multibyte.html#MULTIBYTE-CHARSET-SUPPORTED`). The name is
/// compared as PostgreSQL does, by its letters and digits alone, aliases included.
pub fn is_multibyte_unsafe(encoding: &[u8]) -> bool {
    let name = encoding.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let mut folded = [0; LONGEST_ENCODING];
    let mut len = 0;
    for byte in name {
        let Some(slot) = folded.get_mut(len) else {
            return false;
        };
        *slot = byte.to_ascii_lowercase();
        len += 1;
    }
    UNSAFE_ENCODINGS.iter().any(|unsafe_name| folded.get(..len) == Some(*unsafe_name))
}

const LONGEST_ENCODING: usize = 64;

/// The encodings and their aliases (`encnames.c`).
const UNSAFE_ENCODINGS: [&[u8]; 17] = [
    b"big5",
    b"gb18030",
    b"gbk",
    b"johab",
    b"mskanji",
    b"shiftjis",
    b"shiftjis2004",
    b"sjis",
    b"uhc",
    b"win932",
    b"win936",
    b"win949",
    b"win950",
    b"windows932",
    b"windows936",
    b"windows949",
    b"windows950",
];
