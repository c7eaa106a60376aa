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

/// Names of one text that are followed.
const MAX_MENTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

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
