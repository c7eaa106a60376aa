//! What can be said to the console.

use crate::sql::{Kind, Lexer, Token};

/// A table that the console shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Pins that are now.
    Pins,
    /// What came together, by reason and application.
    PinReasons,
    /// What transaction pooling would pin, by what brings it about.
    Observed,
    /// Pools and their servers.
    Pools,
    /// Clients.
    Clients,
    /// The commands.
    Help,
    /// The version of pgweir.
    Version,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A table.
    Show(Show),
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// What drivers send by habit and what changes nothing here; its tag.
    Accepted(&'static str),
    /// A row of one column, likewise: its name and value.
    Answer(&'static str, String),
}

/// A text that the console does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The first words of the statement, if they can be shown.
    pub near: String,
}

impl Show {
    /// All, with their names and what they show.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Pins, "PINS", "clients that keep their server, why, and by which statement"),
        (Self::PinReasons, "PIN_REASONS", "pins since the start, by reason and application"),
        (Self::Observed, "OBSERVED", "pins that transaction pooling would make, by statement"),
        (Self::Pools, "POOLS", "servers and waiting clients of each pool"),
        (Self::Clients, "CLIENTS", "clients that are logged in"),
        (Self::Version, "VERSION", "the version of pgweir"),
        (Self::Help, "HELP", "these commands"),
    ];
}

/// The statements of a text, without empty ones.
pub fn parse(text: &[u8]) -> Result<Vec<Command>, Unknown> {
    let tokens: Vec<_> = Lexer::new(text, true).take(MAX_TOKENS).collect();
    let statements = tokens.split(|token| token.kind == Kind::Semicolon);
    statements.filter(|tokens| !tokens.is_empty()).map(statement).collect()
}

fn statement(tokens: &[Token<'_>]) -> Result<Command, Unknown> {
    let [first, rest @ ..] = tokens else { return Err(unknown(tokens)) };
    if first.kind != Kind::Word {
        return Err(unknown(tokens));
    }
    let word = first.text.to_ascii_lowercase();
    Ok(match (&word[..], rest) {
        (b"show", [name]) => show(name).ok_or_else(|| unknown(tokens))?,
        (b"begin" | b"start", _) => Command::Begin,
        (b"commit" | b"end", _) => Command::Commit,
        (b"rollback" | b"abort", _) => Command::Rollback,
        (b"set", [_, ..]) => Command::Accepted("SET"),
        (b"reset", [_, ..]) => Command::Accepted("RESET"),
        (b"discard", [_]) => Command::Accepted("DISCARD ALL"),
        (b"deallocate", [_, ..]) => Command::Accepted("DEALLOCATE"),
        (b"unlisten", [_]) => Command::Accepted("UNLISTEN"),
        (b"close", [_]) => Command::Accepted("CLOSE CURSOR"),
        (b"select", rest) => select(rest).ok_or_else(|| unknown(tokens))?,
        _ => return Err(unknown(tokens)),
    })
}

fn show(name: &Token<'_>) -> Option<Command> {
    let named = |known: &str| name.text.eq_ignore_ascii_case(known.as_bytes());
    let table = Show::ALL.iter().find(|(_, known, _)| named(known));
    if let Some((show, ..)) = table {
        return Some(Command::Show(*show));
    }
    let parameter = PARAMETERS.iter().find(|(known, _)| named(known));
    parameter.map(|(name, value)| Command::Answer(name, (*value).to_owned()))
}

/// What pools and drivers ask to see whether a connection lives.
fn select(tokens: &[Token<'_>]) -> Option<Command> {
    match tokens {
        [one] if one.text == b"1" => Some(Command::Answer("?column?", "1".to_owned())),
        [.., name, open, close] if open.kind == Kind::Open && close.kind == Kind::Close => {
            if name.is_word(b"version") {
                Some(Command::Answer("version", version()))
            } else if name.is_word(b"pg_advisory_unlock_all") {
                Some(Command::Answer("pg_advisory_unlock_all", String::new()))
            } else {
                None
            }
        }
        _ => None,
    }
}

fn unknown(tokens: &[Token<'_>]) -> Unknown {
    let words = tokens.iter().take(2).take_while(|token| token.kind == Kind::Word);
    let words = words.map(|token| String::from_utf8_lossy(token.text).chars().take(40).collect());
    Unknown { near: words.collect::<Vec<String>>().join(" ") }
}

/// `pgweir 0.1.0`.
pub fn version() -> String {
    format!("pgweir {}", env!("CARGO_PKG_VERSION"))
}

/// What the console reports at login. The version is the oldest of PostgreSQL that pgweir speaks to:
/// clients look at it to know what they may ask for, and old ones warn of newer ones.
pub const PARAMETERS: [(&str, &str); 9] = [
    ("server_version", concat!("13.0 (pgweir ", env!("CARGO_PKG_VERSION"), ")")),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
];

/// Tokens of one text that are read; what follows is cut off and so not known.
const MAX_TOKENS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_their_words() {
        use Command::{Accepted, Begin, Show as Shows};
        let cases = [
            ("show pins", vec![Shows(Show::Pins)]),
            (" SHOW /* now */ PIN_REASONS ; ", vec![Shows(Show::PinReasons)]),
            ("begin; show Help", vec![Begin, Shows(Show::Help)]),
            ("set extra_float_digits = 3", vec![Accepted("SET")]),
            ("select 1", vec![Command::Answer("?column?", "1".into())]),
            ("show TimeZone", vec![Command::Answer("TimeZone", "UTC".into())]),
            ("", vec![]),
            (" ; -- nothing", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_without_constants() {
        for (text, near) in [
            ("show secrets", "show secrets"),
            ("show pins now", "show pins"),
            ("select 'hunter2'", "select"),
            ("kill 7", "kill"),
            ("\"show\" pins", ""),
            ("'", ""),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Unknown { near: near.into() }), "{text}");
        }
    }
}
