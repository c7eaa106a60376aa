//! What pins by the text alone, until it is known to be there: a statement that was refused before it ran has left
//! nothing.
//!
//! Leans to having run: where anything has completed since the text was sent, or an error may have come while it
//! ran, what it may do counts as done.

use super::{Owner, Session};
use crate::sql::{Effects, Kind, Lexer};
use crate::wire::ErrorFields;

/// A text that may leave such things, of which nothing has been answered yet. Nothing like it ran before, and what is
/// in flight is of its own segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// It begins with LOAD.
    loads: bool,
    /// Texts before it that are to be read again.
    unread: usize,
}

impl Session {
    /// A text goes to the server.
    pub(super) fn try_text(&mut self, effects: Effects, text: &[u8]) {
        if !effects.intersects(MAY_PIN) {
            return;
        }
        let is_known = self.questions.suspects.intersects(Effects::RETIRE);
        let is_first = !is_known && !self.questions.touched.any;
        self.questions.trial = (is_first && self.flow.is_status_known()).then(|| {
            let mut tokens = Lexer::new(text, !self.reading.escapes_in_strings);
            let first = tokens.find(|token| token.kind != Kind::Semicolon);
            let loads = first.is_some_and(|token| token.is_word(b"load"));
            Trial { loads, unread: self.questions.unread.len() }
        });
    }

    /// A statement is complete, or has given rows.
    pub(super) fn end_trial(&mut self, tag: u8) {
        if matches!(tag, b'C' | b's') {
            self.questions.trial = None;
        }
    }

    /// What was sent last has failed.
    pub(super) fn judge(&mut self, error: &ErrorFields<'_>) {
        let is_clients = self.flow.head().is_some_and(|head| head.owner == Owner::Client);
        let Some(trial) = self.questions.trial.filter(|_| is_clients) else { return };
        self.questions.trial = None;
        if is_refused(error, trial.loads) {
            let suspects = self.questions.suspects;
            self.questions.suspects = suspects.without(Effects::RETIRE);
            self.questions.touched.any = false;
            self.questions.unread.truncate(trial.unread);
        }
    }
}

/// Whether a statement has failed before it ran: as nothing runs in a failed transaction, as its names were looked
/// up, or, of LOAD, as its file was (`errcodes-appendix.html`). What code runs into says where it was (`W`), and names
/// that are looked up later have no position in the text.
fn is_refused(error: &ErrorFields<'_>, loads: bool) -> bool {
    let read = !error.position.is_empty();
    error.context.is_empty()
        && match error.code {
            b"25P02" => true,
            b"58P01" | b"42501" => loads,
            b"3F000" | b"42601" | b"42703" | b"42883" | b"42P01" => read,
            _ => false,
        }
}

/// What pins by the text, or by what the catalogue tells of it later.
const MAY_PIN: Effects = Effects::RETIRE.union(Effects::SETTING).union(Effects::UNREAD);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_ahead_of_the_statement_says_that_it_did_not_run() {
        for (name, fields, loads, expected) in [
            ("no such function", "C42883|P8", false, true),
            ("no such schema", "C3F000|P8", false, true),
            ("within code", "C42883|P8|Wfunction f() line 1", false, false),
            ("a name that was a value", "C42883", false, false),
            ("while it ran", "C08001|P8", false, false),
            ("in a failed transaction", "C25P02", false, true),
            ("no such library", "C58P01", true, true),
            ("no such file, for a function", "C58P01", false, false),
            ("no such library, for a function", "C58P01|Wfunction f() line 1", true, false),
            ("a library that may not be loaded", "C42501", true, true),
            ("a library that failed to begin", "CXX000", true, false),
        ] {
            let body = format!("{}\0\0", fields.replace('|', "\0"));
            let error = ErrorFields::read(body.as_bytes());
            assert_eq!(is_refused(&error, loads), expected, "{name}");
        }
    }
}
