//! What the statements of one text do to settings, one after the other, and where its transactions end.

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};
use super::touched::{Touched, touched_by_statement};
use super::whole::statement_name;

/// What one statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may change these settings.
    Touches(Touched),
    /// It ends a transaction, whose changes stay.
    Commits,
    /// It ends a transaction, whose changes are undone.
    RollsBack,
    /// It marks a point to come back to.
    Saves(Box<[u8]>),
    /// It undoes what was changed since such a point.
    ReturnsTo(Box<[u8]>),
}

/// The statements of a Query, in their order; each is answered with one tag. `None` if they cannot be told
/// apart, or if there is only one (`protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT`).
pub fn course(text: &[u8], options: &Options<'_>) -> Option<Vec<Turn>> {
    if options.multibyte_unsafe || options.truncated {
        return None;
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let tokens: Vec<_> = lexer.take(MAX_TOKENS).collect();
    // Semicolons within a rule, or a function's body, end no statement of the text.
    let nested = tokens.iter().any(|token| token.is_word(b"atomic") || token.is_word(b"rule"));
    if tokens.len() == MAX_TOKENS || nested {
        return None;
    }
    let statements = tokens.split(|token| token.kind == Kind::Semicolon);
    let statements: Vec<_> = statements.filter(|tokens| !tokens.is_empty()).collect();
    let turn = |tokens: &&[Token<'_>]| turn(tokens, options);
    (statements.len() > 1).then(|| statements.iter().map(turn).collect())
}

fn turn(tokens: &[Token<'_>], options: &Options<'_>) -> Turn {
    let Some((first, mut rest)) = tokens.split_first() else {
        return Turn::Touches(Touched::default());
    };
    while let [noise, after @ ..] = rest
        && (noise.is_word(b"work") || noise.is_word(b"transaction"))
    {
        rest = after;
    }
    let prepared = rest.first().is_some_and(|word| word.is_word(b"prepared"));
    if (first.is_word(b"commit") || first.is_word(b"end")) && !prepared {
        return Turn::Commits;
    }
    if first.is_word(b"prepare") && tokens.get(1).is_some_and(|word| word.is_word(b"transaction")) {
        return Turn::Commits;
    }
    if first.is_word(b"savepoint") {
        return Turn::Saves(point(rest));
    }
    if (first.is_word(b"rollback") || first.is_word(b"abort")) && !prepared {
        return match rest {
            [to, after @ ..] if to.is_word(b"to") => Turn::ReturnsTo(point(after)),
            _ => Turn::RollsBack,
        };
    }
    Turn::Touches(touched_by_statement(tokens, options))
}

/// The name of a savepoint, which SAVEPOINT may precede.
fn point(tokens: &[Token<'_>]) -> Box<[u8]> {
    let name = tokens.last().and_then(statement_name);
    name.map_or_else(Box::default, |name| name.into_owned().into())
}

/// Tokens of one text that are looked at.
const MAX_TOKENS: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let show = |turn: &Turn| match turn {
            Turn::Touches(touched) => touched.names.join("+"),
            Turn::Commits => "commit".to_owned(),
            Turn::RollsBack => "rollback".to_owned(),
            Turn::Saves(name) => format!("save {}", String::from_utf8_lossy(name)),
            Turn::ReturnsTo(name) => format!("to {}", String::from_utf8_lossy(name)),
        };
        let turns = course(text.as_bytes(), &Options::default());
        turns.map_or("?".to_owned(), |turns| turns.iter().map(show).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn each_statement_has_its_turn() {
        for (text, expected) in [
            ("begin; reset DateStyle; ; commit work;", ", datestyle, commit"),
            ("set a.b = 1; rollback; end transaction", "a.b, rollback, commit"),
            ("savepoint A; rollback to savepoint a", "save a, to a"),
            ("rollback transaction to \"B\"; abort and chain", "to B, rollback"),
            ("rollback prepared 'x'; commit prepared 'y'", ", "),
            ("prepare transaction 'x'; prepare transaction as select 1", "commit, commit"),
            ("select set_config('x', '1', false); select 1", "x, "),
            ("reset all", "?"),
            ("create rule r as on insert to t do (select 1; select 2); reset all", "?"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
