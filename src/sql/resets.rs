//! Which settings a text takes back to their session default.

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};

/// Settings that a text resets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resets {
    /// None.
    #[default]
    None,
    /// These, in lower case.
    Names(Vec<String>),
    /// `RESET ALL`, `DISCARD ALL`, or more names than are worth keeping.
    All,
}

impl Resets {
    /// Both.
    pub fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::None) | (Self::All, _) => {}
            (Self::Names(names), Self::Names(more)) if names.len() < MAX_NAMES => {
                names.extend(more);
            }
            (Self::None, other) => *self = other,
            (Self::Names(_), _) => *self = Self::All,
        }
    }

    /// Whether a setting is among them.
    pub fn contains(&self, setting: &str) -> bool {
        match self {
            Self::None => false,
            Self::Names(names) => names.iter().any(|name| name.eq_ignore_ascii_case(setting)),
            Self::All => true,
        }
    }
}

/// Finds `RESET name`, `RESET ALL`, `SET name TO DEFAULT` and `DISCARD ALL` in a text
/// (`sql-reset.html`, `sql-set.html`). Meant for texts whose [`Effects`](super::Effects) say SETTING.
pub fn resets(text: &[u8], options: &Options<'_>) -> Resets {
    let mut found = Resets::None;
    if options.multibyte_unsafe {
        return found;
    }
    let tokens: Vec<_> =
        Lexer::new(text, options.standard_conforming_strings).take(MAX_TOKENS).collect();
    for statement in tokens.split(|token| token.kind == Kind::Semicolon) {
        found.add(of_statement(statement));
    }
    found
}

fn of_statement(tokens: &[Token<'_>]) -> Resets {
    match tokens {
        [first, all] if first.is_word(b"discard") && all.is_word(b"all") => Resets::All,
        [first, all] if first.is_word(b"reset") && all.is_word(b"all") => Resets::All,
        [first, name @ ..] if first.is_word(b"reset") => one(name),
        [first, name @ .., to, default]
            if first.is_word(b"set")
                && default.is_word(b"default")
                && (to.is_word(b"to") || to.text == b"=") =>
        {
            let session = name.first().is_some_and(|word| word.is_word(b"session"));
            one(&name[usize::from(session)..])
        }
        _ => Resets::None,
    }
}

fn one(name: &[Token<'_>]) -> Resets {
    if let [time, zone] = name
        && time.is_word(b"time")
        && zone.is_word(b"zone")
    {
        return Resets::Names(vec!["timezone".to_owned()]);
    }
    let bytes: Vec<u8> = name.iter().flat_map(|token| token.text).copied().collect();
    match String::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => {
            Resets::Names(vec![name.replace('"', "").to_ascii_lowercase()])
        }
        _ => Resets::None,
    }
}

/// Names kept of one transaction.
const MAX_NAMES: usize = 64;

/// Tokens of a text that are looked at; a RESET is short.
const MAX_TOKENS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_found_by_name() {
        let names = |names: &[&str]| Resets::Names(names.iter().map(|n| (*n).to_owned()).collect());
        for (text, expected) in [
            ("reset all", Resets::All),
            ("select 1; DISCARD ALL;", Resets::All),
            ("RESET work_mem", names(&["work_mem"])),
            ("reset Time Zone", names(&["timezone"])),
            ("reset app.tenant; set session x to default", names(&["app.tenant", "x"])),
            ("set x = default", names(&["x"])),
            ("set x = 'default'", Resets::None),
            ("select 'reset all'", Resets::None),
        ] {
            assert_eq!(resets(text.as_bytes(), &Options::default()), expected, "{text}");
        }
    }
}
