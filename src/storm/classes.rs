//! `--class`: one class as a list of keys and values, `name=greedy,functions=1000,hold=50ms`.

use std::time::Duration;

use thiserror::Error;

use super::plan::Class;
use super::profile::by_name;
use super::source;
use crate::config::{Dsn, DsnError, parse_duration};

/// A class that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassError {
    /// Not `key=value`.
    #[error("{part:?} is no key=value; a value with commas stands in quotes, as in query='a, b'")]
    NoPair {
        /// What stands there.
        part: String,
    },
    /// A quote that nothing ends.
    #[error("{key}: the quote is not closed")]
    Quote {
        /// The key.
        key: String,
    },
    /// Not a key.
    #[error("{key}: there is no such key; there are: {}", KEYS.join(", "))]
    Unknown {
        /// What stands there.
        key: String,
    },
    /// Said twice.
    #[error("{key}: given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A class needs a name.
    #[error("name: missing")]
    NoName,
    /// A value that cannot be.
    #[error("{key}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// A connection string that cannot be; the variable that should hold it included.
    #[error("{key}: {error}")]
    Dsn {
        /// The key.
        key: &'static str,
        /// Why.
        error: DsnError,
    },
}

/// The keys of a class, as docs/storm.md has them.
pub(super) const KEYS: [&str; 23] = [
    "name",
    "profile",
    "functions",
    "idle",
    "start",
    "ramp",
    "duration",
    "period",
    "transactions",
    "query",
    "protocol",
    "hold",
    "think",
    "freeze",
    "at",
    "abandon",
    "application_name",
    "source",
    "dsn",
    "dsn_env",
    "sslmode",
    "sslrootcert",
    "tls_resume",
];

/// Reads a class. What it does not say is as in `default`; it calls itself by its name, unless it says
/// otherwise.
pub(super) fn parse(text: &str, default: &Class) -> Result<Class, ClassError> {
    let pairs = pairs(text)?;
    let named = pairs.iter().find(|(key, _)| key == "name").ok_or(ClassError::NoName)?;
    let mut class = Class { name: named.1.clone(), ..default.clone() };
    if class.name.is_empty() {
        return Err(value("name", "a name"));
    }
    // The connection string first: others change it.
    let (strings, others): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(key, _)| key.starts_with("dsn"));
    for (key, value) in strings.iter().chain(&others) {
        set(&mut class, key, value)?;
    }
    Ok(class)
}

fn set(class: &mut Class, key: &str, text: &str) -> Result<(), ClassError> {
    match key {
        "name" => {}
        "functions" => class.functions = number("functions", text)?,
        "idle" => class.idle = number("idle", text)?,
        "transactions" => class.transactions_per_function = number("transactions", text)?,
        "start" => class.start = duration("start", text)?,
        "ramp" => class.ramp = duration("ramp", text)?,
        "duration" => class.duration = duration("duration", text)?,
        "period" => class.period = duration("period", text)?,
        "hold" => class.hold = duration("hold", text)?,
        "think" => class.think = duration("think", text)?,
        "freeze" => class.freeze = duration("freeze", text)?,
        "query" => text.clone_into(&mut class.query),
        "application_name" => text.clone_into(&mut class.application_name),
        _ => set_choice(class, key, text)?,
    }
    Ok(())
}

fn set_choice(class: &mut Class, key: &str, text: &str) -> Result<(), ClassError> {
    match key {
        "profile" => {
            let expected = "burst, ramp, steady, spikes, freeze, abandon or long";
            class.profile = by_name(text).ok_or(value("profile", expected))?;
        }
        "protocol" => {
            class.protocol = by_name(text).ok_or(value("protocol", "simple or extended"))?;
        }
        "at" => class.at = by_name(text).ok_or(value("at", "idle, transaction or answer"))?,
        "abandon" => {
            class.abandon = by_name(text).ok_or(value("abandon", "close or silent"))?;
        }
        "source" => class.sources = source::parse(text).ok_or(value("source", SOURCES))?,
        _ => set_place(class, key, text)?,
    }
    Ok(())
}

fn set_place(class: &mut Class, key: &str, text: &str) -> Result<(), ClassError> {
    let dsn = |key, text: &str| Dsn::parse(text).map_err(|error| ClassError::Dsn { key, error });
    match key {
        "dsn" => turn(class, dsn("dsn", text)?),
        "dsn_env" => {
            let text = std::env::var(text).map_err(|_| value("dsn_env", "a variable that is set"));
            turn(class, dsn("dsn_env", &text?)?);
        }
        "tls_resume" => {
            class.tls_resume = text.parse().map_err(|_| value("tls_resume", "true or false"))?;
        }
        "sslmode" => class.dsn.tls = Some(sslmode(text).ok_or(value("sslmode", SSLMODES))?),
        "sslrootcert" => class.dsn.ca = Some(text.into()),
        _ => return Err(ClassError::Unknown { key: key.to_owned() }),
    }
    Ok(())
}

/// To another place; what is said of TLS outside holds on.
fn turn(class: &mut Class, dsn: Dsn) {
    let ca = class.dsn.ca.take();
    class.dsn = dsn;
    class.dsn.tls = class.sslmode.or(class.dsn.tls);
    class.dsn.ca = class.dsn.ca.take().or(ca);
}

/// Splits at commas that stand outside quotes. A value may be quoted by ' or "; a quote within is
/// doubled.
fn pairs(text: &str) -> Result<Vec<(String, String)>, ClassError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| no_pair(rest))?;
        if key.contains(',') {
            return Err(no_pair(key));
        }
        let key = key.trim().to_owned();
        let (value, after) = match after.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                quoted(&after[1..], quote).ok_or_else(|| ClassError::Quote { key: key.clone() })?
            }
            _ => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(ClassError::Twice { key });
        }
        pairs.push((key, value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// What stands before the closing quote, and what follows the comma after it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote)?;
        value.push_str(before);
        match after.strip_prefix(quote) {
            Some(after) => {
                value.push(quote);
                rest = after;
            }
            None => {
                let after = after.trim_start();
                let after = if after.is_empty() { after } else { after.strip_prefix(',')? };
                return Some((value, after));
            }
        }
    }
}

pub(super) fn sslmode(text: &str) -> Option<crate::config::ServerTlsMode> {
    use crate::config::ServerTlsMode as Mode;
    Some(match text {
        "disable" => Mode::Disable,
        "prefer" => Mode::Prefer,
        "require" => Mode::Require,
        "verify-ca" => Mode::VerifyCa,
        "verify-full" => Mode::VerifyFull,
        _ => return None,
    })
}

fn number(key: &'static str, text: &str) -> Result<u64, ClassError> {
    text.parse().map_err(|_| value(key, "a whole number"))
}

fn duration(key: &'static str, text: &str) -> Result<Duration, ClassError> {
    parse_duration(text).ok_or(value(key, "30s, 5min, 250ms or 1h"))
}

fn value(key: &'static str, expected: &'static str) -> ClassError {
    ClassError::Value { key, expected }
}

fn no_pair(part: &str) -> ClassError {
    ClassError::NoPair { part: part.to_owned() }
}

pub(super) const SOURCES: &str =
    "addresses, ranges as 127.0.0.2-127.0.0.9 and networks as 127.0.1.0/24, with + between";
pub(super) const SSLMODES: &str = "disable, prefer, require, verify-ca or verify-full";

#[cfg(test)]
mod tests {
    use super::super::profile::{At, Exit, Profile};
    use super::*;
    use crate::config::ServerTlsMode;

    fn read(text: &str) -> Result<Class, ClassError> {
        parse(text, &Class::new(Dsn::parse("postgres://u@h/d").unwrap()))
    }

    fn problem(text: &str) -> String {
        read(text).map_or_else(|error| error.to_string(), |class| format!("none: {class:?}"))
    }

    #[test]
    fn a_class_says_what_is_other_than_the_flags() {
        let class = read(
            "name=greedy,functions=1000, application_name=x,transactions=10,hold=50ms,\
             profile=steady,duration=30s,source=127.0.0.2-127.0.0.5,at=answer,abandon=silent",
        )
        .unwrap();
        assert_eq!((class.name.as_str(), class.functions), ("greedy", 1000));
        assert_eq!((class.application_name.as_str(), class.transactions_per_function), ("x", 10));
        assert_eq!((class.hold, class.ramp), (Duration::from_millis(50), Duration::from_secs(1)));
        assert_eq!((class.profile, class.at), (Profile::Steady, At::Answer));
        assert_eq!((class.abandon, class.sources.len()), (Exit::Silent, 4));
        assert_eq!(class.query, "SELECT 1");
    }

    #[test]
    fn quotes_keep_commas_and_equals_signs() {
        let class = read("query='SELECT ''a'', 1=1' , name=\"b,c\"").unwrap();
        assert_eq!((class.query.as_str(), class.name.as_str()), ("SELECT 'a', 1=1", "b,c"));
    }

    #[test]
    fn what_is_said_of_tls_holds_for_the_classs_own_connection_string() {
        let class = read("sslmode=require,name=a,dsn=postgres://other@elsewhere/b").unwrap();
        assert_eq!((class.dsn.user.as_str(), class.dsn.host.as_str()), ("other", "elsewhere"));
        assert_eq!(class.dsn.tls, Some(ServerTlsMode::Require));
    }

    #[test]
    fn what_is_wrong_is_said_by_its_key() {
        let cases = [
            ("functions=1", "name: missing"),
            ("name=", "name: expected a name"),
            ("name=a,functions=many", "functions: expected a whole number"),
            ("name=a,functions=-1", "functions: expected a whole number"),
            ("name=a,hold=soon", "hold: expected 30s"),
            ("name=a,profile=calm", "profile: expected burst, ramp"),
            ("name=a,at=home", "at: expected idle"),
            ("name=a,source=here", "source: expected addresses"),
            ("name=a,sslmode=allow", "sslmode: expected disable"),
            ("name=a,dsn=here", "dsn: not a PostgreSQL URI"),
            ("name=a,dsn_env=NO_SUCH_VARIABLE_HERE", "dsn_env: expected a variable"),
            ("name=a,hodl=1s", "hodl: there is no such key; there are: name, profile"),
            ("name=a,ramp=1s,ramp=2s", "ramp: given twice"),
            ("name=a,query='SELECT 1", "query: the quote is not closed"),
            ("name=a,query=SELECT 1, 2", "\"2\" is no key=value"),
            ("name=a,query=SELECT 1, 2,hold=1s", "is no key=value"),
        ];
        for (text, said) in cases {
            let problem = problem(text);
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }

    #[test]
    fn every_key_is_taken_and_in_the_documentation() {
        let documentation = include_str!("../../docs/storm.md");
        for key in KEYS {
            let known = !problem(&format!("name=a,{key}=?")).contains("no such key");
            assert!(known, "{key}");
            assert!(documentation.contains(&format!("| `{key}` |")), "{key} is not documented");
        }
    }
}
