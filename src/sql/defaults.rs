//! Where a text asks for the default of a setting: `SET name TO DEFAULT`, `set_config(name, NULL, ...)`, RESET.
//!
//! What a session means by it is the value of its StartupMessage, which no server knows as its own
//! default: it is put in the place of the word (`sql-set.html`, `functions-admin.html#FUNCTIONS-ADMIN-SET`), or
//! set behind the RESET (`sql-reset.html`).

use std::ops::Range;

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};
use super::made::{MAX_TOKENS, Made, place};
use super::setting::{is_list, literal, setting};
use super::touched::{Resets, is_assignment, is_function, parameter, setting_name, string};

/// What stands for the name or the value in a call of `set_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A plain string.
    Text(&'a str),
    /// `$1` is 1.
    Parameter(u16),
    /// NULL, and where in the text.
    Null(Range<usize>),
}

/// The names and values of calls whose value is NULL, or may be.
pub fn defaulting<'a>(text: &'a [u8], options: &Options<'_>) -> Vec<(Argument<'a>, Argument<'a>)> {
    if options.multibyte_unsafe || options.truncated {
        return Vec::new();
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let tokens: Vec<_> = lexer.take(MAX_TOKENS).collect();
    (0..tokens.len()).filter_map(|at| call(text, tokens.get(at..)?)).collect()
}

fn call<'a>(text: &'a [u8], tokens: &[Token<'a>]) -> Option<(Argument<'a>, Argument<'a>)> {
    let [function, open, arguments @ ..] = tokens else { return None };
    if open.kind != Kind::Open || !is_function(function, b"set_config") {
        return None;
    }
    let comma = arguments.iter().take(MAX_CAST).position(|token| token.kind == Kind::Comma)?;
    let name = argument(text, arguments.first()?)?;
    match argument(text, arguments.get(comma + 1)?)? {
        Argument::Text(_) => None,
        value => Some((name, value)),
    }
}

fn argument<'a>(text: &'a [u8], token: &Token<'a>) -> Option<Argument<'a>> {
    if token.is_word(b"null") {
        return place(text, token).map(Argument::Null);
    }
    let number = parameter(token).map(Argument::Parameter);
    number.or_else(|| string(token).map(Argument::Text))
}

/// A SET to DEFAULT: the name, and where the word stands.
fn set(text: &[u8], statement: &[Token<'_>]) -> Option<(String, Range<usize>)> {
    let [first, tokens @ .., word] = statement else { return None };
    if !first.is_word(b"set") || !(word.is_word(b"default") || word.is_word(b"local")) {
        return None;
    }
    let name = match tokens {
        [scope, rest @ ..] if scope.is_word(b"session") || scope.is_word(b"local") => {
            target(rest, word).or_else(|| target(tokens, word))
        }
        _ => target(tokens, word),
    };
    Some((name?, place(text, word)?))
}

/// What stands between SET and DEFAULT, or LOCAL, which is for time zones only.
fn target(tokens: &[Token<'_>], word: &Token<'_>) -> Option<String> {
    match tokens {
        [time, zone] if time.is_word(b"time") && zone.is_word(b"zone") => Some("timezone".into()),
        _ if word.is_word(b"local") => None,
        [names] if names.is_word(b"names") => Some("client_encoding".into()),
        [name @ .., assignment] if is_assignment(assignment) => setting_name(name),
        _ => None,
    }
}

/// What a session means by a default.
#[derive(Debug)]
pub struct Defaults<'d> {
    /// Names and values.
    pub values: Vec<(&'d str, &'d [u8])>,
    /// Whether a text may become several statements.
    pub several: bool,
}

impl<'d> Defaults<'d> {
    fn get(&self, name: &str) -> Option<&'d [u8]> {
        let is = |known: &&(&str, &[u8])| known.0.eq_ignore_ascii_case(name);
        self.values.iter().find(is).map(|(_, value)| *value)
    }

    /// What must follow a RESET, and how many statements that is.
    fn behind(&self, reset: &Resets) -> (usize, Vec<u8>) {
        let meant = self.values.iter().filter(|(name, _)| reset.contains(name));
        let sets: Vec<_> = meant.filter_map(|(name, value)| setting(name, value)).collect();
        (sets.len(), sets.iter().flat_map(|set| [b"; ", &set[..]].concat()).collect())
    }
}

/// The text with the session's own defaults where it asks for them; `None` if it does not. What is not
/// plain ASCII stays, since nobody knows its encoding.
pub fn with_defaults(text: &[u8], options: &Options<'_>, defaults: &Defaults<'_>) -> Option<Made> {
    if options.multibyte_unsafe || options.truncated {
        return None;
    }
    let value = |name: &str| defaults.get(name).filter(|value| value.is_ascii());
    let mut made = Made::default();
    let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for (name, value_at) in defaulting(text, options) {
        if let (Argument::Text(name), Argument::Null(place)) = (name, value_at) {
            changes.extend(value(name).map(|value| (place, spaced(value))));
        }
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let tokens: Vec<_> = lexer.take(MAX_TOKENS).collect();
    let mut added = 0;
    for statement in tokens.split(|token| token.kind == Kind::Semicolon) {
        made.ends &= statement.is_empty();
        if let Some((name, place)) = set(text, statement) {
            changes.extend(value(&name).map(|value| (place, in_set(&name, value))));
        }
        if let (true, Some((reset, end))) = (defaults.several, reset(text, statement)) {
            let (count, sets) = defaults.behind(&reset);
            made.add(b"RESET\0", count, reset);
            added += sets.len();
            if added > MAX_ADDED {
                return Some(Made::given_up(text));
            }
            changes.extend((count > 0).then_some((end..end, sets)));
        }
    }
    if changes.is_empty() {
        return None;
    }
    if changes.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_ADDED {
        return Some(Made::given_up(text));
    }
    changes.sort_by_key(|(place, _)| place.start);
    made.replace(text, changes)?;
    Some(made)
}

/// A RESET: of what, and where it ends.
fn reset(text: &[u8], statement: &[Token<'_>]) -> Option<(Resets, usize)> {
    let [first, tokens @ ..] = statement else { return None };
    let end = place(text, statement.last()?)?.end;
    first.is_word(b"reset").then(|| (Resets::of(tokens), end))
}

/// A value as SET takes it. Lists of names are shown as they are written.
fn in_set(name: &str, value: &[u8]) -> Vec<u8> {
    let list = is_list(name) && !value.is_empty();
    if list { [b" ", value].concat() } else { spaced(value) }
}

fn spaced(value: &[u8]) -> Vec<u8> {
    [b" ", &literal(value)[..]].concat()
}

/// Bytes that a text may become longer by.
const MAX_ADDED: usize = 1 << 20;

/// A name with a cast behind it, and the comma.
const MAX_CAST: usize = 6;

#[cfg(test)]
mod tests {
    use super::super::made::Completion;
    use super::*;

    fn defaults<'d>(values: &[(&'d str, &'d str)], several: bool) -> Defaults<'d> {
        let values = values.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Defaults { values, several }
    }

    fn made(text: &str) -> String {
        let values = [
            ("TimeZone", "Asia/Tokyo"),
            ("application_name", "o'br\\ien"),
            ("app.name", "é"),
            ("search_path", "\"$user\", public"),
            ("client_encoding", "UTF8"),
        ];
        let made = with_defaults(text.as_bytes(), &Options::default(), &defaults(&values, false));
        made.map_or_else(|| "same".into(), |made| String::from_utf8(made.text).unwrap())
    }

    #[test]
    fn null_becomes_the_value_of_the_startup() {
        for (text, expected) in [
            (
                "select set_config('TimeZone', null, false)",
                "select set_config('TimeZone',  E'Asia/Tokyo', false)",
            ),
            (
                "select pg_catalog.set_config('TimeZone'::text,NULL::text,true), set_config('application_name', null, false)",
                "select pg_catalog.set_config('TimeZone'::text, E'Asia/Tokyo'::text,true), set_config('application_name',  E'o''br\\\\ien', false)",
            ),
            ("set search_path = default", "set search_path =  \"$user\", public"),
            (
                "begin; set local TimeZone to DEFAULT; x",
                "begin; set local TimeZone to  E'Asia/Tokyo'; x",
            ),
            ("set session time zone local", "set session time zone  E'Asia/Tokyo'"),
            ("set time zone default", "set time zone  E'Asia/Tokyo'"),
            ("SET NAMES DEFAULT", "SET NAMES  E'UTF8'"),
            ("reset all", "same"),
            ("set work_mem to default", "same"),
            ("set session authorization default", "same"),
            ("set local to default", "same"),
            ("select set_config('work_mem', null, false)", "same"),
            ("select set_config('app.name', null, false)", "same"),
            ("select set_config('TimeZone', 'UTC', false)", "same"),
            ("select set_config($1, null, false)", "same"),
            ("select 'set_config(''TimeZone'', null, false)'", "same"),
        ] {
            assert_eq!(made(text), expected, "{text}");
        }
    }

    #[test]
    fn positions_are_those_of_the_text_as_it_was() {
        let text = "set timezone = default; é; selec";
        let default = defaults(&[("timezone", "UTC")], true);
        let made = with_defaults(text.as_bytes(), &Options::default(), &default).unwrap();
        let sent = std::str::from_utf8(&made.text).unwrap();
        let at = |text: &str| text.chars().position(|c| c == 'é').unwrap() + 1;
        assert_ne!(at(sent), 4);
        assert_eq!(made.original(at(sent)), at(text));
        assert_eq!(made.original(5), 5);
    }

    #[test]
    fn values_of_the_startup_are_set_behind_a_reset() {
        let values = [("app.x", "A"), ("name", "é"), ("role", "r"), ("TimeZone", "UTC")];
        let default = defaults(&values, true);
        let (x, zone) = ("SET \"app.x\" TO E'A'", "SET \"TimeZone\" TO E'UTC'");
        for (text, expected, answers) in [
            ("reset app.X; select 1", format!("reset app.X; {x}; select 1"), "1 0 1"),
            ("RESET ALL -- all", format!("RESET ALL; {x}; {zone} -- all"), "early 0 due"),
            (
                "reset work_mem; reset time zone; reset role;",
                format!(
                    "reset work_mem; reset time zone; {zone}; reset role; SET \"role\" TO E'r';"
                ),
                "1 1 0 early due",
            ),
        ] {
            let mut made = with_defaults(text.as_bytes(), &Options::default(), &default).unwrap();
            assert_eq!(String::from_utf8(made.text.clone()).unwrap(), expected);
            let statements = expected.split("; ").filter(|statement| !statement.is_empty());
            let seen: Vec<_> = statements
                .map(|statement| {
                    let reset = statement.to_lowercase().starts_with("reset");
                    let tag: &[u8] = if reset { b"RESET\0" } else { b"SET\0" };
                    match made.on_command(tag) {
                        Completion::Own => "1",
                        Completion::Early => "early",
                        Completion::Added => "0",
                        Completion::Due => "due",
                    }
                })
                .collect();
            assert_eq!(seen.join(" "), answers, "{text}");
        }
        for text in ["reset work_mem", "reset name", "reset session authorization", "select 1"] {
            assert!(with_defaults(text.as_bytes(), &Options::default(), &default).is_none());
        }
    }

    #[test]
    fn bound_values_are_found_by_number() {
        let text = b"select set_config($2, $1, $3), set_config('a.b', $4, false)";
        let found = defaulting(text, &Options::default());
        let expected = [
            (Argument::Parameter(2), Argument::Parameter(1)),
            (Argument::Text("a.b"), Argument::Parameter(4)),
        ];
        assert_eq!(found, expected);
    }
}
