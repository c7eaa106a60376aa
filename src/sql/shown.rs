//! State of the session that a text shows it makes, and the names of what it makes.
//!
//! [`classify`](super::classify) says what a text *may* do and leans to yes. Here is what it does if
//! it succeeds, and so leans to no: what is not plain to see is not found.

use super::call::watched;
use super::classify::{Options, is_temp_schema};
use super::effects::Effects;
use super::lexer::{Kind, Lexer, Token};
use super::names::Folded;

/// One piece of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its kind: one of the effects LISTEN, CURSOR (WITH HOLD), TEMP_OBJECT, SQL_PREPARE, ADVISORY_LOCK,
    /// LOAD, RETIRE_FUNCTION, and SETTING for SET SESSION AUTHORIZATION.
    pub kind: Effects,
    /// Its name, as it is written, or that of the function; empty if it has none.
    pub object: Box<str>,
}

/// What the text makes, in its order.
pub fn shown(text: &[u8], options: &Options<'_>) -> Vec<Shown> {
    let mut found = Vec::new();
    if options.multibyte_unsafe || options.truncated {
        return found;
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let tokens: Vec<_> = lexer.take(MAX_TOKENS).collect();
    for statement in tokens.split(|token| token.kind == Kind::Semicolon) {
        let made = command(statement).or_else(|| selected(statement));
        found.extend(made.map(|(kind, name)| Shown { kind, object: written(name) }));
        for at in 0..statement.len() {
            found.extend(called(&statement[at..]));
        }
        if found.len() >= MAX_SHOWN {
            found.truncate(MAX_SHOWN);
            break;
        }
    }
    found
}

type Made<'t, 'a> = Option<(Effects, &'t [Token<'a>])>;

/// By the words it begins with.
fn command<'t, 'a>(tokens: &'t [Token<'a>]) -> Made<'t, 'a> {
    let (first, rest) = tokens.split_first()?;
    let name = rest.get(..1).unwrap_or_default();
    if first.is_word(b"listen") {
        return Some((Effects::LISTEN, name));
    }
    if first.is_word(b"load") {
        return Some((Effects::LOAD, &[]));
    }
    if first.is_word(b"declare") {
        let holds = |pair: &[Token<'_>]| pair[0].is_word(b"with") && pair[1].is_word(b"hold");
        let ahead = rest.split(|token| token.is_word(b"for")).next().unwrap_or_default();
        return ahead.windows(2).any(holds).then_some((Effects::CURSOR, name));
    }
    if first.is_word(b"prepare") {
        let transaction = rest.get(1).is_some_and(|token| token.kind == Kind::Text);
        return (!transaction).then_some((Effects::SQL_PREPARE, name));
    }
    if first.is_word(b"set") {
        let rest = if is(rest, &[b"session", b"session"]) { rest.get(1..)? } else { rest };
        let who = rest.get(2..3)?;
        let set = is(rest, &[b"session", b"authorization"]) && !is(who, &[b"default"]);
        return set.then_some((Effects::SETTING, who));
    }
    if first.is_word(b"create") { created(rest) } else { None }
}

/// Behind CREATE (`sql-createtable.html`, `sql-createview.html`, `sql-createsequence.html`).
fn created<'t, 'a>(rest: &'t [Token<'a>]) -> Made<'t, 'a> {
    let kinds = [b"table".as_slice(), b"view", b"sequence", b"function", b"type"];
    let at = rest.iter().take(MAX_HEAD).position(|t| kinds.iter().any(|kind| t.is_word(kind)))?;
    let (head, tail) = rest.split_at(at);
    let mut name = tail.get(1..)?;
    if is(name, &[b"if", b"not", b"exists"]) {
        name = name.get(3..)?;
    }
    let temporary = head.iter().any(is_temp_word);
    let schema = name.first().is_some_and(|token| is_temp_schema(token.unquoted()));
    let drops = tail.windows(3).any(|words| is(words, &[b"on", b"commit", b"drop"]));
    ((temporary || schema) && !drops).then_some((Effects::TEMP_OBJECT, name))
}

/// SELECT INTO TEMP (`sql-selectinto.html`).
fn selected<'t, 'a>(tokens: &'t [Token<'a>]) -> Made<'t, 'a> {
    let first = tokens.first()?;
    if !first.is_word(b"select") && !first.is_word(b"with") {
        return None;
    }
    let into = tokens.iter().position(|token| token.is_word(b"into"))?;
    let mut rest = tokens.get(into + 1..)?;
    if is(rest, &[b"local"]) || is(rest, &[b"global"]) {
        rest = rest.get(1..)?;
    }
    if !is_temp_word(rest.first()?) {
        return None;
    }
    rest = rest.get(1..)?;
    Some((Effects::TEMP_OBJECT, if is(rest, &[b"table"]) { rest.get(1..)? } else { rest }))
}

/// A function that keeps something for the session.
fn called(tokens: &[Token<'_>]) -> Option<Shown> {
    let [name, open, ..] = tokens else { return None };
    if open.kind != Kind::Open || !matches!(name.kind, Kind::Word | Kind::QuotedIdentifier) {
        return None;
    }
    let folded = match name.kind {
        Kind::Word => Folded::new(name.text),
        _ => Folded::exact(name.unquoted()),
    };
    let kind = watched(folded.as_bytes(), &[]);
    let locks = kind == Effects::ADVISORY_LOCK && !folded.as_bytes().starts_with(b"pg_advisory_un");
    let keeps = locks || kind == Effects::RETIRE_FUNCTION;
    keeps.then(|| Shown { kind, object: text_of(name).into() })
}

fn is(tokens: &[Token<'_>], words: &[&[u8]]) -> bool {
    words.iter().enumerate().all(|(i, word)| tokens.get(i).is_some_and(|t| t.is_word(word)))
}

fn is_temp_word(token: &Token<'_>) -> bool {
    token.is_word(b"temp") || token.is_word(b"temporary")
}

/// The name at the beginning of these, with its schema.
fn written(tokens: &[Token<'_>]) -> Box<str> {
    let parts = tokens.iter().enumerate().take_while(|(at, token)| match at % 2 {
        0 => token.is_identifier(),
        _ => token.kind == Kind::Dot,
    });
    parts.map(|(_, token)| text_of(token)).collect::<String>().into()
}

fn text_of(token: &Token<'_>) -> String {
    let text = token.text.get(..MAX_NAME).unwrap_or(token.text);
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Tokens of a text that are looked at.
const MAX_TOKENS: usize = 4_096;

/// Words between CREATE and the kind of what is created.
const MAX_HEAD: usize = 6;

/// Pieces of state of one text.
const MAX_SHOWN: usize = 16;

/// Bytes of one part of a name; PostgreSQL keeps 63.
const MAX_NAME: usize = 66;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_named() {
        let cases = [
            ("listen orders", "listen orders"),
            ("unlisten orders", ""),
            ("declare c cursor with hold for select 1", "cursor c"),
            ("declare c cursor for select 1 /* with hold */", ""),
            ("declare c cursor without hold for select with hold", ""),
            ("prepare p (int) as select $1", "sql_prepare p"),
            ("prepare transaction 'x'", ""),
            ("create temp table t (a int)", "temp_object t"),
            ("CREATE OR REPLACE TEMPORARY VIEW \"V v\" as select 1", "temp_object \"V v\""),
            ("create local temp sequence if not exists s", "temp_object s"),
            ("create table pg_temp.x (a int)", "temp_object pg_temp.x"),
            ("create temp table t (a int) on commit drop", ""),
            ("create table t (temp int)", ""),
            ("create table t as select from pg_temp.x", ""),
            ("select 1 into temp table t from x", "temp_object t"),
            ("insert into temp values (1)", ""),
            ("set session authorization alice", "setting alice"),
            ("set session session authorization alice", "setting alice"),
            ("set session authorization default", ""),
            ("set local role alice", ""),
            ("load 'x'", "load "),
            (
                "select pg_advisory_lock(1), pg_advisory_xact_lock(2)",
                "advisory_lock pg_advisory_lock",
            ),
            ("select pg_advisory_unlock(1)", ""),
            ("select \"dblink_connect\"('x')", "retire_function \"dblink_connect\""),
            ("begin; listen a; prepare b as select 1", "listen a, sql_prepare b"),
            ("select 'listen x; create temp table y'", ""),
        ];
        for (text, expected) in cases {
            let found = shown(text.as_bytes(), &Options::default());
            let found = found.iter().map(|made| {
                let kind = made.kind.reasons().next().unwrap_or_default();
                format!("{kind} {}", made.object)
            });
            assert_eq!(found.collect::<Vec<_>>().join(", "), expected, "{text}");
        }
    }
}
