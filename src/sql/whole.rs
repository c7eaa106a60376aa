//! Texts that are one command about prepared statements and nothing else.

use std::borrow::Cow;

use super::classify::Options;
use super::keywords;
use super::lexer::{Kind, Lexer, Token};
use super::names::{Folded, kept};

/// A text that is exactly one command, whatever comments and semicolons stand around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole<'a> {
    /// `DEALLOCATE [PREPARE] ALL`.
    DeallocateAll,
    /// `DEALLOCATE [PREPARE] name`: the name as PostgreSQL folds, unquotes and shortens it.
    ///
    /// Only ASCII letters are folded, as in a UTF-8 database.
    Deallocate(Cow<'a, [u8]>),
    /// `DISCARD ALL`.
    DiscardAll,
    /// `BEGIN [WORK | TRANSACTION]` without modes.
    Begin,
    /// `START TRANSACTION` without modes.
    StartTransaction,
    /// `COMMIT [WORK | TRANSACTION]` or `END`, without a chain.
    Commit,
    /// `ROLLBACK [WORK | TRANSACTION]` or `ABORT`, without a chain.
    Rollback,
}

/// Whether a text is one of these commands, and nothing else (`sql-deallocate.html`, `sql-discard.html`,
/// `sql-begin.html`, `sql-commit.html`).
pub fn whole<'a>(text: &'a [u8], options: &Options<'_>) -> Option<Whole<'a>> {
    if options.multibyte_unsafe || options.truncated {
        return None;
    }
    let mut lexer = Lexer::new(text, options.standard_conforming_strings);
    let command = lexer.find(|token| token.kind != Kind::Semicolon)?;
    let is = |word: &[u8]| command.is_word(word);
    let whole = if is(b"discard") {
        lexer.next()?.is_word(b"all").then_some(Whole::DiscardAll)?
    } else if is(b"deallocate") {
        deallocate(lexer.next()?, &mut lexer)?
    } else if is(b"start") {
        lexer.next()?.is_word(b"transaction").then_some(Whole::StartTransaction)?
    } else {
        let whole = transaction(&command)?;
        match lexer.next() {
            None | Some(Token { kind: Kind::Semicolon, .. }) => {}
            Some(token) if token.is_word(b"work") || token.is_word(b"transaction") => {}
            Some(_) => return None,
        }
        whole
    };
    lexer.all(|token| token.kind == Kind::Semicolon).then_some(whole)
}

/// Whether a text holds nothing to run.
pub fn is_empty(text: &[u8]) -> bool {
    Lexer::new(text, true).all(|token| token.kind == Kind::Semicolon)
}

/// What a command does that may have WORK or TRANSACTION behind it.
fn transaction(command: &Token<'_>) -> Option<Whole<'static>> {
    let commands: [(&[u8], _); 5] = [
        (b"begin", Whole::Begin),
        (b"commit", Whole::Commit),
        (b"end", Whole::Commit),
        (b"rollback", Whole::Rollback),
        (b"abort", Whole::Rollback),
    ];
    commands.into_iter().find(|(word, _)| command.is_word(word)).map(|(_, whole)| whole)
}

fn deallocate<'a>(object: Token<'a>, lexer: &mut Lexer<'a>) -> Option<Whole<'a>> {
    let mut name = object;
    if object.is_word(b"prepare") {
        match lexer.next() {
            // PREPARE is not reserved: alone it is the name.
            None | Some(Token { kind: Kind::Semicolon, .. }) => {}
            Some(token) => name = token,
        }
    }
    if name.is_word(b"all") {
        return Some(Whole::DeallocateAll);
    }
    statement_name(&name).map(Whole::Deallocate)
}

pub(crate) fn statement_name<'a>(token: &Token<'a>) -> Option<Cow<'a, [u8]>> {
    match token.kind {
        Kind::Word => {
            let keyword = Folded::new(token.text);
            if !keywords::may_name_statement(keyword.as_bytes()) {
                return None;
            }
            Some(shorten(lower(token.text)))
        }
        Kind::QuotedIdentifier if !token.unquoted().is_empty() => {
            Some(shorten(undouble(token.unquoted())))
        }
        _ => None,
    }
}

fn lower(word: &[u8]) -> Cow<'_, [u8]> {
    if word.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(word.to_ascii_lowercase())
    } else {
        Cow::Borrowed(word)
    }
}

fn undouble(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'"') {
        return Cow::Borrowed(name);
    }
    let mut single = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        single.push(byte);
        rest = if byte == b'"' { tail.get(1..).unwrap_or_default() } else { tail };
    }
    Cow::Owned(single)
}

/// Cuts a name to the length that PostgreSQL keeps, at the end of a UTF-8 character.
fn shorten(name: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let len = kept(&name);
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(..len).unwrap_or_default()),
        Cow::Owned(mut name) => {
            name.truncate(len);
            Cow::Owned(name)
        }
    }
}
