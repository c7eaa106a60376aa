//! Which prepared statements a text names.

use std::borrow::Cow;

use super::classify::Options;
use super::lexer::{Kind, Lexer};
use super::whole::statement_name;

/// A prepared statement that a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mention<'a> {
    /// By EXECUTE or PREPARE.
    Uses(Cow<'a, [u8]>),
    /// By DEALLOCATE.
    Deallocates(Cow<'a, [u8]>),
}

/// The names behind EXECUTE, PREPARE and DEALLOCATE, in their order (`sql-execute.html`). What stands
/// there as some other word is found too: nobody has prepared it.
pub fn mentions<'a>(text: &'a [u8], options: &Options<'_>) -> Vec<Mention<'a>> {
    let mut found = Vec::new();
    if options.multibyte_unsafe || options.truncated {
        return found;
    }
    let mut lexer = Lexer::new(text, options.standard_conforming_strings);
    while let Some(token) = lexer.next()
        && found.len() < MAX_MENTIONS
    {
        let deallocates = token.is_word(b"deallocate");
        if !deallocates && !token.is_word(b"execute") && !token.is_word(b"prepare") {
            continue;
        }
        let mut after = lexer.clone();
        let mut name = after.next();
        if deallocates && name.is_some_and(|word| word.is_word(b"prepare")) {
            name = after.next().filter(|t| t.kind != Kind::Semicolon).or(name);
        }
        if deallocates {
            lexer = after;
        }
        let Some(name) = name.as_ref().and_then(statement_name) else { continue };
        found.push(if deallocates { Mention::Deallocates(name) } else { Mention::Uses(name) });
    }
    found
}

/// Whether a CREATE or ALTER stands in a text with another statement behind it, which may meet what it has made.
pub fn creates_ahead(text: &[u8], conforming: bool) -> bool {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (mut is_first, mut creates) = (true, false);
    for token in Lexer::new(text, conforming) {
        if token.kind == Kind::Semicolon {
            is_first = true;
        } else if std::mem::take(&mut is_first) {
            if creates {
                return true;
            }
            creates = token.is_word(b"create") || token.is_word(b"alter");
        }
    }
    false
}

/// Names of one text that are followed.
const MAX_MENTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_may_be_met_by_what_stands_behind_it() {
        for (text, expected) in [
            ("create function f() returns int language sql as 'select 1'; select f()", true),
            ("select 1;; Alter table t add a int; -- ;\nselect 1", true),
            ("create table t (a int);\0", false),
            ("create table t (a int) ; -- select 1;\n", false),
            ("create function f() returns int language sql as $$ select 1; select 2; $$;", false),
            ("drop table t; drop table u;", false),
            ("select 1; create table t (a int)", false),
        ] {
            assert_eq!(creates_ahead(text.as_bytes(), true), expected, "{text}");
        }
    }

    #[test]
    fn names_are_found_where_they_stand() {
        let text =
            b"execute a; explain execute \"B\" (1); prepare C as select 1; deallocate prepare d; \
            create table t as execute e; select 'execute f'; deallocate all";
        let found = mentions(text, &Options::default());
        let shown: Vec<_> = found
            .iter()
            .map(|mention| match mention {
                Mention::Uses(name) => format!("+{}", String::from_utf8_lossy(name)),
                Mention::Deallocates(name) => format!("-{}", String::from_utf8_lossy(name)),
            })
            .collect();
        assert_eq!(shown.join(" "), "+a +B +c -d +e");
    }
}
