//! Where a text asks for the default of a setting: `SET name TO DEFAULT`, `set_config(name, NULL, ...)`.
//!
//! What a session means by it is the value of its StartupMessage, which no server knows as its own
//! default: it is put in the place of the word (`sql-set.html`, `functions-admin.html#FUNCTIONS-ADMIN-SET`).

use std::ops::Range;

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};
use super::touched::{is_assignment, is_function, parameter, setting_name, string};

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

fn place(text: &[u8], token: &Token<'_>) -> Option<Range<usize>> {
    let start = token.text.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(start..start + token.text.len())
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

/// The text with the session's own defaults where it asks for them; `None` if it does not. What is not
/// plain ASCII stays, since nobody knows its encoding.
pub fn with_defaults<'d>(
    text: &[u8],
    options: &Options<'_>,
    default: impl Fn(&str) -> Option<&'d [u8]>,
) -> Option<Made> {
    if options.multibyte_unsafe || options.truncated {
        return None;
    }
    let value = |name: &str| default(name).filter(|value| value.is_ascii());
    let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for (name, value_at) in defaulting(text, options) {
        if let (Argument::Text(name), Argument::Null(place)) = (name, value_at) {
            changes.extend(value(name).map(|value| (place, literal(value))));
        }
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let tokens: Vec<_> = lexer.take(MAX_TOKENS).collect();
    for statement in tokens.split(|token| token.kind == Kind::Semicolon) {
        if let Some((name, place)) = set(text, statement) {
            changes.extend(value(&name).map(|value| (place, in_set(&name, value))));
        }
    }
    if changes.is_empty() {
        return None;
    }
    changes.sort_by_key(|(place, _)| place.start);
    let mut made = Made::default();
    let mut rest = 0;
    for (place, value) in changes {
        made.text.extend_from_slice(text.get(rest..place.start)?);
        made.text.extend_from_slice(&value);
        made.moves.push((characters(&made.text), value.len() as isize - place.len() as isize));
        rest = place.end;
    }
    made.text.extend_from_slice(text.get(rest..)?);
    Some(made)
}

/// A text with other words in the place of some.
#[derive(Debug, Default)]
pub struct Made {
    /// The text.
    pub text: Vec<u8>,
    /// How many characters end with each such word, and how much longer it is.
    moves: Vec<(usize, isize)>,
}

impl Made {
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

/// A value as SET takes it. Lists of names are shown as they are written.
fn in_set(name: &str, value: &[u8]) -> Vec<u8> {
    let list = LISTS.iter().any(|list| name.eq_ignore_ascii_case(list)) && !value.is_empty();
    if list { [b" ", value].concat() } else { literal(value) }
}

/// A string that reads the same under all settings.
fn literal(value: &[u8]) -> Vec<u8> {
    let mut literal = b" E'".to_vec();
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            literal.push(*byte);
        }
        literal.push(*byte);
    }
    literal.push(b'\'');
    literal
}

/// Lists of names, which as one string would be one name (`GUC_LIST_QUOTE`).
const LISTS: [&str; 2] = ["search_path", "temp_tablespaces"];

/// Tokens of a text that are looked at.
const MAX_TOKENS: usize = 16_384;

/// A name with a cast behind it, and the comma.
const MAX_CAST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> String {
        let default = |name: &str| match name {
            "TimeZone" => Some(&b"Asia/Tokyo"[..]),
            "application_name" => Some(&b"o'br\\ien"[..]),
            "app.name" => Some("é".as_bytes()),
            "search_path" => Some(&b"\"$user\", public"[..]),
            "timezone" => Some(&b"UTC"[..]),
            "client_encoding" => Some(&b"UTF8"[..]),
            _ => None,
        };
        let made = with_defaults(text.as_bytes(), &Options::default(), default);
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
            ("begin; set local TimeZone to DEFAULT; x", "begin; set local TimeZone to  E'UTC'; x"),
            ("set session time zone local", "set session time zone  E'UTC'"),
            ("set time zone default", "set time zone  E'UTC'"),
            ("SET NAMES DEFAULT", "SET NAMES  E'UTF8'"),
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
        let default = |_: &str| Some(&b"UTC"[..]);
        let made = with_defaults(text.as_bytes(), &Options::default(), default).unwrap();
        let sent = std::str::from_utf8(&made.text).unwrap();
        let at = |text: &str| text.chars().position(|c| c == 'é').unwrap() + 1;
        assert_ne!(at(sent), 4);
        assert_eq!(made.original(at(sent)), at(text));
        assert_eq!(made.original(5), 5);
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
