//! What can be said to the console.

use crate::admin::change::{Change, Pools};
use crate::config::{self, KEYS, Key, Reload};
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
    /// Databases of the configuration.
    Databases,
    /// Pools and their servers.
    Pools,
    /// What each pool has done.
    Stats,
    /// Classes of clients, by pool.
    Classes,
    /// PostgreSQL hosts, and how connections to them are opened.
    Hosts,
    /// Settings as they hold.
    Config,
    /// Clients.
    Clients,
    /// Servers.
    Servers,
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
    /// A change.
    Change(Change),
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
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::Pins, "PINS", "clients that keep their server, why, and by which statement"),
        (Self::PinReasons, "PIN_REASONS", "pins since the start, by reason and application"),
        (Self::Observed, "OBSERVED", "pins that transaction pooling would make, by statement"),
        (Self::Databases, "DATABASES", "databases of the configuration, and what is there of each"),
        (Self::Pools, "POOLS", "servers and waiting clients of each pool"),
        (
            Self::Stats,
            "STATS",
            "what each pool has done since the start, and in the last 15 seconds",
        ),
        (Self::Classes, "CLASSES", "classes of clients in each pool, their limits and queues"),
        (Self::Hosts, "HOSTS", "connections to each PostgreSQL host, and how they are opened"),
        (Self::Config, "CONFIG", "settings as they hold, and which SET has changed"),
        (Self::Clients, "CLIENTS", "clients that are logged in, and who of them has a server"),
        (Self::Servers, "SERVERS", "connections to PostgreSQL that are open, and who has them"),
        (Self::Version, "VERSION", "the version of pgweir"),
        (Self::Help, "HELP", "these commands"),
    ];

    /// By its name, in whatever letters.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(show, ..)| *show)
    }
}

/// What changes something, and how it is written.
pub const CHANGES: [(&str, &str); 9] = [
    ("SET key = value", "changes a setting of limits, timeouts, pins or log until the next reload"),
    ("RESET key", "gives it the value of the configuration again"),
    (
        "RESIZE database[.user] servers",
        "gives the pools of a database a size until the next reload",
    ),
    ("WARM database.user servers FOR duration", "keeps so many servers open for a while"),
    (
        "PAUSE [database[.user]]",
        "lets transactions end, closes the servers, and has clients wait until RESUME",
    ),
    ("RESUME [database[.user]]", "ends a pause"),
    (
        "RECONNECT [database[.user]]",
        "replaces the servers as they become free, and has nobody wait",
    ),
    ("KILL client_id", "ends a client, whose transaction is rolled back"),
    ("RELOAD", "reads the configuration again"),
];

/// The statements of a text, without empty ones.
pub fn parse(text: &[u8]) -> Result<Vec<Command>, Unknown> {
    let tokens: Vec<_> = Lexer::new(text, true).take(MAX_TOKENS + 1).collect();
    if tokens.len() > MAX_TOKENS {
        return Err(Unknown { near: format!("a text of more than {MAX_TOKENS} words and signs") });
    }
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
        (b"set", [_, ..]) => set(rest).ok_or_else(|| unknown(tokens))?,
        (b"reset", [_, ..]) => reset(rest).ok_or_else(|| unknown(tokens))?,
        (b"resize", rest) => resize(rest).ok_or_else(|| unknown(tokens))?,
        (b"warm", rest) => warm(rest).ok_or_else(|| unknown(tokens))?,
        (b"pause", rest) => Command::Change(Change::Pause(which(rest, tokens)?)),
        (b"resume", rest) => Command::Change(Change::Resume(which(rest, tokens)?)),
        (b"reconnect", rest) => Command::Change(Change::Reconnect(which(rest, tokens)?)),
        (b"kill", [id]) => kill(id).ok_or_else(|| unknown(tokens))?,
        (b"reload", []) => Command::Change(Change::Reload),
        (b"discard", [_]) => Command::Accepted("DISCARD ALL"),
        (b"deallocate", [_, ..]) => Command::Accepted("DEALLOCATE"),
        (b"unlisten", [_]) => Command::Accepted("UNLISTEN"),
        (b"close", [_]) => Command::Accepted("CLOSE CURSOR"),
        (b"select", rest) => select(rest).ok_or_else(|| unknown(tokens))?,
        _ => return Err(unknown(tokens)),
    })
}

/// A setting of pgweir, or what drivers set by habit; other names are slips of the pen.
fn set(tokens: &[Token<'_>]) -> Option<Command> {
    // Nothing here is of a transaction, so that LOCAL could not be obeyed.
    if let [scope, rest @ ..] = tokens
        && (scope.is_word(b"session") || scope.is_word(b"local"))
        && path(rest).is_some_and(|(name, _)| changeable(&name).is_some())
    {
        return if scope.is_word(b"session") { set(rest) } else { None };
    }
    let (name, rest) = path(tokens)?;
    let assigned = match rest {
        [sign, value @ ..] if sign.text == b"=" || sign.is_word(b"to") => Some(value),
        _ => None,
    };
    let key = match changeable(&name) {
        Some(key) => Some(key.path()),
        // So that it is refused for what is wrong with it.
        None => is_misspelt(&name).then(|| name.clone()),
    };
    let (Some(key), Some(value)) = (key, assigned) else {
        return is_habit(&name).then_some(Command::Accepted("SET"));
    };
    Some(Command::Change(Change::Set(vec![(key, joined(value)?)])))
}

fn reset(tokens: &[Token<'_>]) -> Option<Command> {
    let (name, rest) = path(tokens)?;
    match changeable(&name) {
        Some(key) if rest.is_empty() => Some(Command::Change(Change::Reset(key.path()))),
        Some(_) => None,
        None => {
            let is_known = is_habit(&name) || ["all", "role"].contains(&&*name);
            is_known.then_some(Command::Accepted(RESET))
        }
    }
}

/// The tag of what a driver sends before it gives a connection to its next user.
pub const RESET: &str = "RESET";

/// It would be in a section that can be changed, which has no such key.
fn is_misspelt(name: &str) -> bool {
    let section = name.split_once('.').map(|(section, _)| section);
    section.is_some_and(|section| SECTIONS.contains(&section))
        && !KEYS.iter().any(|key| key.path() == name)
}

fn is_habit(name: &str) -> bool {
    HABITS.contains(&name.split('.').next().unwrap_or_default())
}

/// `RESIZE shop 30`, `RESIZE shop.app = 50%`.
fn resize(tokens: &[Token<'_>]) -> Option<Command> {
    let (pools, rest) = pools(tokens)?;
    let value = match rest {
        [sign, value @ ..] if sign.text == b"=" || sign.is_word(b"to") => value,
        value => value,
    };
    Some(Command::Change(Change::Resize { pools, max_servers: joined(value)? }))
}

/// `WARM shop.app 10 FOR 5min`.
fn warm(tokens: &[Token<'_>]) -> Option<Command> {
    let (pools, rest) = pools(tokens)?;
    let [servers, word, time @ ..] = rest else { return None };
    let servers = std::str::from_utf8(servers.text).ok()?.parse().ok()?;
    let time = config::parse_duration(&joined(time)?).filter(|_| word.is_word(b"for"))?;

    Some(Command::Change(Change::Warm { pools, servers, time }))
}

/// `KILL 12345`, as `SHOW CLIENTS` names it.
fn kill(id: &Token<'_>) -> Option<Command> {
    let id = std::str::from_utf8(id.text).ok()?.parse().ok()?;
    Some(Command::Change(Change::Kill(id)))
}

/// `shop`, `shop.app`, or nothing, which is all.
fn which(rest: &[Token<'_>], tokens: &[Token<'_>]) -> Result<Option<Pools>, Unknown> {
    match pools(rest) {
        Some((pools, [])) => Ok(Some(pools)),
        None if rest.is_empty() => Ok(None),
        _ => Err(unknown(tokens)),
    }
}

fn pools<'t, 's>(tokens: &'t [Token<'s>]) -> Option<(Pools, &'t [Token<'s>])> {
    match tokens {
        [database, dot, user, rest @ ..] if dot.text == b"." => {
            Some((Pools { database: name(database)?, user: Some(name(user)?) }, rest))
        }
        [database, rest @ ..] => Some((Pools { database: name(database)?, user: None }, rest)),
        [] => None,
    }
}

/// A name as it is written: of databases and users, `Shop` and `shop` are two.
fn name(token: &Token<'_>) -> Option<String> {
    let text = String::from_utf8(token.text.to_vec()).ok()?;
    match token.kind {
        Kind::Word => Some(text),
        Kind::QuotedIdentifier => Some(text.trim_matches('"').replace("\"\"", "\"")),
        _ => None,
    }
}

/// `max_servers`, `limits.max_servers`.
fn path<'t, 's>(tokens: &'t [Token<'s>]) -> Option<(String, &'t [Token<'s>])> {
    match tokens {
        [section, dot, key, rest @ ..] if dot.text == b"." => {
            Some((format!("{}.{}", lower(section)?, lower(key)?), rest))
        }
        [key, rest @ ..] => Some((lower(key)?, rest)),
        [] => None,
    }
}

fn lower(token: &Token<'_>) -> Option<String> {
    let text = std::str::from_utf8(token.text).ok()?;
    (token.kind == Kind::Word).then(|| text.to_ascii_lowercase())
}

/// A value, with or without quotes: `5`, `50%`, `'1h 30m'`, `5min`.
fn joined(tokens: &[Token<'_>]) -> Option<String> {
    // `5 0` is not 50.
    let is_apart = |pair: &[Token<'_>]| pair[0].text.as_ptr_range().end != pair[1].text.as_ptr();
    if tokens.windows(2).any(is_apart) {
        return None;
    }
    let parts = tokens.iter().map(|token| std::str::from_utf8(token.text).ok());
    let text = parts.collect::<Option<String>>()?;
    let text = text.trim_matches(['\'', '"']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// The setting of this name, if it can be changed here. Without its section it is sought in all of them.
pub fn changeable(name: &str) -> Option<&'static Key> {
    let is_it =
        |key: &&Key| SECTIONS.contains(&key.section) && (key.path() == name || key.name == name);
    KEYS.iter().filter(|key| key.reload == Reload::Live).find(is_it)
}

/// Sections whose settings can be changed. Who may log in, and how, is for the configuration to say.
const SECTIONS: [&str; 4] = ["limits", "timeouts", "pins", "log"];

/// What drivers and tools set at their start, and reset.
const HABITS: [&str; 25] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "constraints",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lc_messages",
    "local",
    "lock_timeout",
    "names",
    "search_path",
    "session",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronize_seqscans",
    "time",
    "timezone",
    "transaction",
];

fn show(name: &Token<'_>) -> Option<Command> {
    let name = std::str::from_utf8(name.text).ok()?;
    if let Some(show) = Show::named(name) {
        return Some(Command::Show(show));
    }
    let parameter = PARAMETERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
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
            ("RESET ALL", vec![Accepted("RESET")]),
            ("reset search_path", vec![Accepted("RESET")]),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", vec![Accepted("SET")]),
            ("set transaction isolation level serializable", vec![Accepted("SET")]),
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
    fn changes_are_read_with_and_without_quotes() {
        let set = |key: &str, value: &str| {
            Command::Change(Change::Set(vec![(key.to_owned(), value.to_owned())]))
        };
        let pool = |database: &str, user: Option<&str>| Pools {
            database: database.to_owned(),
            user: user.map(str::to_owned),
        };
        let resize = |pools, servers: &str| {
            Command::Change(Change::Resize { pools, max_servers: servers.to_owned() })
        };
        let warm = |pools, servers, secs| {
            let time = std::time::Duration::from_secs(secs);
            Command::Change(Change::Warm { pools, servers, time })
        };
        let cases = [
            ("set max_servers = 5", set("limits.max_servers", "5")),
            ("SET limits.max_servers TO '50%'", set("limits.max_servers", "50%")),
            ("set session max_servers = 5", set("limits.max_servers", "5")),
            ("set max_servers = 50%", set("limits.max_servers", "50%")),
            ("set timeouts.checkout = 5min", set("timeouts.checkout", "5min")),
            ("set limits.max_server = 5", set("limits.max_server", "5")),
            ("reset max_servers", Command::Change(Change::Reset("limits.max_servers".into()))),
            ("resize shop 30", resize(pool("shop", None), "30")),
            ("RESIZE shop.app TO 50%", resize(pool("shop", Some("app")), "50%")),
            ("resize \"My-Shop\".\"a\"\"b\" = 3", resize(pool("My-Shop", Some("a\"b")), "3")),
            ("WARM shop.app 10 FOR 5min", warm(pool("shop", Some("app")), 10, 300)),
            ("warm shop 10 for '1h 30m'", warm(pool("shop", None), 10, 5400)),
            ("pause", Command::Change(Change::Pause(None))),
            ("PAUSE shop", Command::Change(Change::Pause(Some(pool("shop", None))))),
            ("resume shop.app", Command::Change(Change::Resume(Some(pool("shop", Some("app")))))),
            ("reconnect", Command::Change(Change::Reconnect(None))),
            ("Reconnect shop", Command::Change(Change::Reconnect(Some(pool("shop", None))))),
            ("kill 1234567890", Command::Change(Change::Kill(1_234_567_890))),
            ("reload", Command::Change(Change::Reload)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(vec![expected]), "{text}");
        }
        for text in [
            "set max_server = 5",
            "reset max_server",
            "set max_servers",
            "set max_servers = 5 0",
            "set max_servers =",
            "warm shop",
            "warm shop ten for 5min",
            "warm shop 10 for ever",
            "resize shop",
            "pause shop.",
            "kill",
            "kill -7",
            "kill all",
            "kill 99999999999",
            "pause shop now",
            "set auth.method = 'trust'",
            "set local max_servers = 5",
            &"pause shop;".repeat(400),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_without_constants() {
        for (text, near) in [
            ("show secrets", "show secrets"),
            ("show pins now", "show pins"),
            ("select 'hunter2'", "select"),
            ("end_it 7", "end_it"),
            ("\"show\" pins", ""),
            ("'", ""),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Unknown { near: near.into() }), "{text}");
        }
    }
}
