//! Strings whose meaning is the time of their parsing.

use super::lexer::{Kind, Token};

/// Whether a string may be read as a date or time that moves: `'now'`, `' Today 04:05'`.
///
/// PostgreSQL turns such a string of unknown type into a constant when it parses the statement
/// (`datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES`). Strings whose content is spelled with
/// escapes, or in parts over several lines, are taken for one.
pub(crate) fn may_mean_now(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Text => is_continued(token.text, false) || has_moving_word(token.text),
        Kind::EscapeText => {
            is_continued(token.text, true)
                || has_spelling(token.text)
                || has_moving_word(token.text)
        }
        Kind::DollarText => has_moving_word(token.text),
        Kind::UnicodeText => true,
        _ => false,
    }
}

/// Whether a quote inside ends one line's part of the string.
fn is_continued(text: &[u8], escapes: bool) -> bool {
    let Some(open) = text.iter().position(|byte| *byte == b'\'') else {
        return false;
    };
    let mut rest = text.get(open + 1..text.len().saturating_sub(1)).unwrap_or_default();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\'' || (escapes && *byte == b'\\'))
    {
        if rest.get(at) == Some(&b'\'') && rest.get(at + 1) != Some(&b'\'') {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Whether a backslash may spell a letter (`\x6e`, `\o`) or glue one to a word (`\tnow`).
fn has_spelling(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        match rest.get(at + 1) {
            Some(b'\'' | b'"' | b'\\' | b'%' | b'_') => {}
            Some(b'n' | b'r' | b't' | b'b' | b'f') if !glues(rest.get(at + 2..)) => {}
            _ => return true,
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Whether what follows an escape for a blank begins with a word that moves.
fn glues(after: Option<&[u8]>) -> bool {
    let word = after.unwrap_or_default().split(|byte| !byte.is_ascii_alphabetic()).next();
    word.is_some_and(is_moving)
}

fn has_moving_word(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_alphabetic()).any(is_moving)
}

fn is_moving(word: &[u8]) -> bool {
    match word.len() {
        3 => word.eq_ignore_ascii_case(b"now"),
        5 => word.eq_ignore_ascii_case(b"today"),
        8 => word.eq_ignore_ascii_case(b"tomorrow"),
        9 => word.eq_ignore_ascii_case(b"yesterday"),
        _ => false,
    }
}
