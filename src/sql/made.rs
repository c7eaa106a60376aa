//! Texts of which pgweir sends another version: with other words, and with statements of its own between the
//! client's, whose replies the client does not get.

use std::collections::VecDeque;
use std::ops::Range;

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};
use super::touched::Resets;

/// A text that asks for numbers of sequences behind the end of a failed transaction, with what discards others'
/// numbers in between (`sql-discard.html`); `None` if it does not begin with that end. Before it, PostgreSQL
/// runs nothing.
pub fn with_discarded(text: &[u8], options: &Options<'_>) -> Option<Made> {
    if options.multibyte_unsafe || options.truncated {
        return None;
    }
    let mut lexer = Lexer::new(text, options.standard_conforming_strings);
    let ends = ["commit", "end", "rollback", "abort"];
    let first =
        lexer.next().filter(|first| ends.iter().any(|word| first.is_word(word.as_bytes())))?;
    let rest = lexer.take(MAX_TOKENS).take_while(|token| token.kind != Kind::Semicolon);
    let end = place(text, &rest.last().unwrap_or(first))?.end;
    let mut made = Made::default();
    made.add(b"ROLLBACK\0", 1, Resets::None);
    made.ends = false;
    made.replace(text, vec![(end..end, b"; DISCARD SEQUENCES".to_vec())])?;
    Some(made)
}

/// Where a token of a text stands.
pub(super) fn place(text: &[u8], token: &Token<'_>) -> Option<Range<usize>> {
    let start = token.text.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(start..start + token.text.len())
}

/// Tokens of a text that are looked at.
pub(super) const MAX_TOKENS: usize = 16_384;

/// A text with other words in the place of some.
#[derive(Debug, Default)]
pub struct Made {
    /// The text.
    pub text: Vec<u8>,
    /// How many characters end with each such word, and how much longer it is.
    moves: Vec<(usize, isize)>,
    /// What was put behind statements that were not answered yet.
    added: VecDeque<Added>,
    /// What of it is answered next.
    due: Added,
    /// The last statement is such a one.
    pub(super) ends: bool,
    /// It would have become too long, and is the text as it was.
    pub gave_up: bool,
}

/// Statements that were put behind one of the text's own.
#[derive(Debug, Default)]
struct Added {
    /// The tag of that one.
    behind: &'static [u8],
    /// How many.
    count: usize,
    /// What they put back.
    resets: Resets,
}

/// What a CommandComplete is to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Its own.
    Own,
    /// Its own, of the text's last statement: the commit is still to come, which a failing one is not told
    /// without.
    Early,
    /// Of a statement that it does not know of.
    Added,
    /// The last of these: what came early is due.
    Due,
}

impl Made {
    /// The next of the text's own statements with this tag has so many behind it, which put back what was reset.
    pub(super) fn add(&mut self, behind: &'static [u8], count: usize, resets: Resets) {
        self.added.push_back(Added { behind, count, resets });
        self.ends = count > 0;
    }

    pub(super) fn replace(
        &mut self,
        text: &[u8],
        changes: Vec<(Range<usize>, Vec<u8>)>,
    ) -> Option<()> {
        let (mut rest, mut ends) = (0, 0);
        for (place, value) in changes {
            let before = text.get(rest..place.start)?;
            self.text.extend_from_slice(before);
            self.text.extend_from_slice(&value);
            let longer = value.len() as isize - place.len() as isize;
            ends += characters(before) + characters(&value);
            self.moves.push((ends, longer));
            rest = place.end;
        }
        self.text.extend_from_slice(text.get(rest..)?);
        Some(())
    }

    /// The text as it was.
    pub(super) fn given_up(text: &[u8]) -> Self {
        Self { text: text.to_vec(), gave_up: true, ..Self::default() }
    }

    /// Whether a statement that is not answered yet puts back a setting behind its RESET.
    pub fn puts_back(&self, name: &str) -> bool {
        let mut pending = self.added.iter().chain([&self.due]).filter(|added| added.count > 0);
        pending.any(|added| added.resets.contains(name))
    }

    /// It has failed: what is not answered yet will not be.
    pub fn fail(&mut self) {
        self.added.clear();
        self.due = Added::default();
    }

    /// A statement that was put there is answered next.
    pub fn is_adding(&self) -> bool {
        self.due.count > 0
    }

    /// A statement is done.
    pub fn on_command(&mut self, tag: &[u8]) -> Completion {
        let ends = |made: &Self| made.ends && made.added.is_empty();
        if let Some(left) = self.due.count.checked_sub(1) {
            self.due.count = left;
            return if ends(self) && left == 0 { Completion::Due } else { Completion::Added };
        }
        if self.added.front().is_none_or(|added| added.behind != tag) {
            return Completion::Own;
        }
        self.due = self.added.pop_front().unwrap_or_default();
        if ends(self) { Completion::Early } else { Completion::Own }
    }

    /// Where in the text as it was a position of the new one is, both from 1, in characters.
    pub fn original(&self, position: usize) -> usize {
        let before = self.moves.iter().filter(|(end, _)| position > *end);
        position.saturating_add_signed(-before.map(|(_, by)| by).sum::<isize>())
    }
}

/// Characters of a text in UTF-8, or in an encoding of single bytes that uses none above.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_discarded_behind_the_end_of_a_failed_transaction() {
        for (text, expected) in [
            ("end; select lastval()", Some("end; DISCARD SEQUENCES; select lastval()")),
            (
                "/* a; */ Rollback To a ;select 1",
                Some("/* a; */ Rollback To a; DISCARD SEQUENCES ;select 1"),
            ),
            ("select lastval(); end", None),
            ("", None),
        ] {
            let made = with_discarded(text.as_bytes(), &Options::default());
            let made = made.map(|made| String::from_utf8(made.text).unwrap());
            assert_eq!(made.as_deref(), expected, "{text}");
        }
        let mut made = with_discarded(b"end; select lastval()", &Options::default()).unwrap();
        let tags: [&[u8]; 3] = [b"ROLLBACK\0", b"DISCARD SEQUENCES\0", b"SELECT 1\0"];
        let seen = tags.map(|tag| made.on_command(tag));
        assert_eq!(seen, [Completion::Own, Completion::Added, Completion::Own]);
    }
}
