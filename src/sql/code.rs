//! What code that stands in the catalogue may do: bodies of functions, and expressions.
//!
//! PL/pgSQL puts its own words between statements, so that here every word counts wherever it stands.
//! That finds too much rather than too little.

use std::collections::BTreeSet;

use super::call;
use super::composed::constant;
use super::effects::Effects;
use super::lexer::{Kind, Lexer, Token};
use super::names::Folded;
use super::runs;
use super::touched::{self, Touched};

/// What a piece of code may do.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) effects: Effects,
    pub(crate) touched: Touched,
    /// Names in it, each of which may be a function or a table.
    pub(crate) uses: BTreeSet<Box<[u8]>>,
    /// It may write to tables.
    pub(crate) writes: bool,
}

/// Reads SQL or PL/pgSQL.
pub(crate) fn read(text: &[u8]) -> Code {
    let mut code = Code { touched: touched::touched_by_code(text), ..Code::default() };
    read_level(text, 0, &mut code);
    if !code.touched.is_empty() {
        code.effects |= Effects::SETTING;
    }
    code.effects |= code.touched.local.effects();
    code
}

/// Searches code of another language for words that have to do with a session.
pub(crate) fn foreign(text: &[u8]) -> Code {
    let suspicious = FOREIGN_WORDS
        .iter()
        .any(|word| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)));
    Code { effects: if suspicious { Effects::ROUTINE } else { Effects::PURE }, ..Code::default() }
}

/// What code may do by the strings of a text that it is given to run. They may as well be data.
pub fn effects_of_strings(text: &[u8], conforming: bool) -> Effects {
    let mut code = Code::default();
    for token in Lexer::new(text, conforming).take(MAX_TOKENS) {
        if let Some(string) = constant(&token) {
            read_level(&string, 0, &mut code);
        }
    }
    code.effects
}

/// The same by a value.
pub fn effects_of_value(value: &[u8]) -> Effects {
    let mut code = Code::default();
    read_level(value, 0, &mut code);
    code.effects
}

fn read_level(text: &[u8], depth: u8, code: &mut Code) {
    let tokens: Vec<_> = Lexer::new(text, true).take(MAX_TOKENS + 1).collect();
    if tokens.len() > MAX_TOKENS || tokens.iter().any(is_in_doubt) {
        code.effects |= Effects::ROUTINE;
    }
    let runs_text = tokens.iter().any(|token| token.is_word(b"execute")) || calls_runner(&tokens);
    code.touched.any |= updates_settings(&tokens);
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1).copied().unwrap_or(Token::START);
        match token.kind {
            Kind::Word | Kind::QuotedIdentifier => {
                code.writes |= runs::may_write(token);
                word(token, &next, code);
            }
            Kind::Text | Kind::EscapeText | Kind::DollarText if runs_text => {
                if let Some(inner) = constant(token)
                    && depth < MAX_DEPTH
                {
                    read_level(&inner, depth + 1, code);
                }
            }
            // What it calls may run it.
            Kind::Text | Kind::EscapeText | Kind::DollarText => {
                code.effects |= constant(token).map_or(Effects::PURE, |text| made_by(&text));
            }
            _ => {}
        }
    }
    if runs_text && !has_only_plain_texts(&tokens) {
        // What a composed text names nobody can see, but its words mostly stand in it.
        code.effects |= Effects::EXECUTE | Effects::DYNAMIC;
        code.writes = true;
    }
}

/// Whether what stands in a token, or behind it, may be something else than it seems: a name that escapes spell, or a
/// string that ends elsewhere where `standard_conforming_strings` is off.
fn is_in_doubt(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Unterminated | Kind::UnicodeIdentifier => true,
        Kind::Text => token.text.windows(2).any(|pair| pair == br"\'"),
        _ => false,
    }
}

/// Whether a function is called that runs a text.
fn calls_runner(tokens: &[Token<'_>]) -> bool {
    let mut calls = tokens.windows(2).filter(|pair| pair[1].kind == Kind::Open);
    calls.any(|pair| {
        call::fold(&pair[0])
            .is_some_and(|name| call::watched(name.as_bytes(), &[]).contains(Effects::DYNAMIC))
    })
}

/// Whether there is an UPDATE of `pg_settings`, which is a SET of whatever it finds (`view-pg-settings.html`).
fn updates_settings(tokens: &[Token<'_>]) -> bool {
    let mut rest = tokens.iter().enumerate().filter(|(_, token)| token.is_word(b"update"));
    rest.any(|(at, _)| {
        let mut name = tokens[at + 1..].iter().skip_while(|token| token.is_word(b"only")).take(3);
        name.any(|part| touched::is_function(part, SETTINGS))
    })
}

/// Whether each EXECUTE has one string and nothing else before its end.
fn has_only_plain_texts(tokens: &[Token<'_>]) -> bool {
    let mut rest = tokens.iter().enumerate().filter(|(_, token)| token.is_word(b"execute"));
    rest.all(|(at, _)| {
        let text = tokens.get(at + 1).is_some_and(|t| touched::body(t).is_some());
        let end =
            tokens.get(at + 2).is_none_or(|t| t.kind == Kind::Semicolon || t.is_word(b"into"));
        text && end
    })
}

fn word(token: &Token<'_>, next: &Token<'_>, code: &mut Code) {
    let folded = match token.kind {
        Kind::Word => Folded::new(token.text),
        _ => Folded::exact(token.unquoted()),
    };
    let name = folded.as_bytes();
    code.effects |= match name {
        b"temp" | b"temporary" => Effects::TEMP_OBJECT,
        b"listen" if next.is_identifier() => Effects::LISTEN,
        b"unlisten" => Effects::UNLISTEN,
        b"hold" => Effects::CURSOR,
        b"prepare" if next.is_identifier() => Effects::SQL_PREPARE,
        b"deallocate" => Effects::DEALLOCATE_ALL.union(Effects::SQL_PREPARE),
        b"load" if matches!(next.kind, Kind::Text | Kind::EscapeText) => Effects::LOAD,
        b"discard" => Effects::DISCARD.union(Effects::SQL_PREPARE),
        b"insert" => Effects::DRAWS,
        b"alter" => Effects::DDL.union(Effects::ALTERS),
        b"create" if token.kind == Kind::Word => created(next),
        b"drop" => Effects::DDL,
        _ if name.starts_with(b"pg_temp") => Effects::TEMP_OBJECT,
        _ if next.kind == Kind::Open => call::watched(name, &[]),
        _ => Effects::PURE,
    };
    if code.uses.len() < MAX_USES {
        if !code.uses.contains(name) {
            code.uses.insert(name.into());
        }
    } else {
        code.effects |= Effects::ROUTINE;
    }
}

/// A view whose rule on UPDATE sets.
pub(crate) const SETTINGS: &[u8] = b"pg_settings";

/// What CREATE makes, by the word behind it.
fn created(next: &Token<'_>) -> Effects {
    let is = |words: &[&[u8]]| words.iter().any(|word| next.is_word(word));
    if is(&WITH_CODE) {
        return Effects::CREATES;
    }
    // That word may be one of those that code puts together.
    if next.kind == Kind::Word && !is(&CODE) {
        return Effects::PURE;
    }
    Effects::CREATES.union(Effects::ALTERS)
}

/// What a text makes if it is run.
fn made_by(text: &[u8]) -> Effects {
    let mut tokens = Lexer::new(text, true);
    let first = tokens.next().filter(|t| t.is_word(b"create") || t.is_word(b"alter"));
    match (first, tokens.next()) {
        (Some(first), Some(kind)) if first.is_word(b"create") => created(&kind),
        (Some(_), Some(kind)) if kind.kind == Kind::Word => Effects::ALTERS,
        _ => Effects::PURE,
    }
}

/// What is made of code, or may be replaced by it, and words before such.
const CODE: [&[u8]; 18] = [
    b"aggregate",
    b"cast",
    b"constraint",
    b"domain",
    b"event",
    b"extension",
    b"function",
    b"materialized",
    b"operator",
    b"or",
    b"policy",
    b"procedure",
    b"recursive",
    b"rule",
    b"schema",
    b"trigger",
    b"type",
    b"view",
];

/// What may hold code, and be temporary.
const WITH_CODE: [&[u8]; 6] =
    [b"foreign", b"index", b"statistics", b"table", b"unique", b"unlogged"];

/// Parts of words that code in other languages has when it touches the session, their global stores
/// included (`plpython-sharing.html`, `plperl-global.html`).
const FOREIGN_WORDS: [&[u8]; 17] = [
    b"set", b"temp", b"lock", b"listen", b"prepare", b"cursor", b"load", b"declare", b"discard",
    b"currval", b"lastval", b"GD", b"SD", b"_SHARED", b"dblink", b"slot", b"to_xml",
];

/// Tokens of one piece of code that are looked at.
const MAX_TOKENS: usize = 32_768;

/// Names of one piece of code that are followed.
const MAX_USES: usize = 1_024;

/// How deep strings are looked into.
const MAX_DEPTH: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_of_pg_settings_may_set_anything() {
        for (text, expected) in [
            ("update pg_settings set setting = 1", true),
            ("begin UPDATE ONLY Pg_Catalog.Pg_Settings set setting = 1; end", true),
            ("begin execute format('update \"pg_settings\" set setting = %L', a); end", true),
            ("update t set a = 1 from pg_settings", false),
            ("select * from pg_settings for update", false),
        ] {
            assert_eq!(read(text.as_bytes()).touched.any, expected, "{text}");
        }
    }

    #[test]
    fn strings_that_code_may_run_are_read() {
        for (text, effects) in [
            ("select run('load ''x''')", Effects::LOAD),
            ("select run($$drop table t$$), 'x'", Effects::DDL),
            ("select run('insert into t values (1)')", Effects::DRAWS),
            ("drop table t", Effects::PURE),
            ("select run('create trigger t')", Effects::CREATES.union(Effects::ALTERS)),
            ("select run('create ' || 'function')", Effects::CREATES.union(Effects::ALTERS)),
            ("select run('create unlogged table t')", Effects::CREATES),
            ("select run('create temp table t')", Effects::TEMP_OBJECT),
            ("select run('they create accounts')", Effects::PURE),
        ] {
            assert_eq!(effects_of_strings(text.as_bytes(), true), effects, "{text}");
        }
        assert_eq!(effects_of_value(b"alter table t add a int"), Effects::DDL | Effects::ALTERS);
        assert_eq!(effects_of_value(b"alteration"), Effects::PURE);
        let makes = Effects::CREATES.union(Effects::ALTERS);
        for (text, effects) in [
            ("begin create or replace function f() returns int return 1; end", makes),
            ("begin perform run('create rule r'); end", makes),
            ("begin perform run('alter table t enable trigger x'); end", Effects::ALTERS),
            ("begin raise notice 'create, alter'; end", makes),
            ("begin raise notice 'alter'; create role r; end", Effects::PURE),
        ] {
            assert_eq!(read(text.as_bytes()).effects, effects, "{text}");
        }
    }
}
