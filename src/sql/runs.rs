//! Which code a statement may run that stands behind the names in it.
//!
//! Triggers and column defaults run where a table is written to, not where it is read. Commands that only name a
//! function run none.

use super::lexer::{Kind, Token};

/// What of the code behind its names a statement may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// None of it.
    Nothing,
    /// What runs where a table is read, and functions. A word in it may show that it [writes](writes).
    Reads,
    /// What runs where a table is written to, too.
    Writes,
}

impl Runs {
    /// By the word that a statement begins with, in lower case, and what stands behind that.
    pub(crate) fn of<'a>(first: &[u8], after: impl Iterator<Item = Token<'a>>) -> Self {
        match first {
            b"comment" | b"drop" | b"grant" | b"reassign" | b"revoke" | b"security" => {
                Self::Nothing
            }
            b"alter" | b"create" => {
                if is_about(&CODE, after) {
                    Self::Nothing
                } else {
                    Self::Writes
                }
            }
            b"declare" | b"explain" | b"select" | b"table" | b"values" | b"with" => Self::Reads,
            b"copy" => Self::of_copy(after),
            _ => Self::Writes,
        }
    }

    /// `COPY ... TO` reads, and so does a statement in parentheses that does not write by itself (`sql-copy.html`).
    fn of_copy<'a>(mut after: impl Iterator<Item = Token<'a>>) -> Self {
        let is_statement = after.next().is_some_and(|token| token.kind == Kind::Open);
        let mut rest = after.take_while(|token| token.kind != Kind::Semicolon);
        if is_statement || !rest.any(|token| token.is_word(b"from")) {
            Self::Reads
        } else {
            Self::Writes
        }
    }
}

/// Whether a word shows that the statement writes which it stands in, behind this one: `FOR UPDATE` only locks rows.
pub(crate) fn writes(word: &Token<'_>, before: &Token<'_>) -> bool {
    match word.text.len() {
        5 => word.is_word(b"merge"),
        6 => {
            word.is_word(b"insert")
                || word.is_word(b"delete")
                || (word.is_word(b"update") && !before.is_word(b"for") && !before.is_word(b"key"))
        }
        _ => false,
    }
}

/// Whether code with this word in it may write: it stands behind other words there.
pub(crate) fn may_write(word: &Token<'_>) -> bool {
    WRITING.iter().any(|writing| word.is_word(writing))
}

/// What CREATE and ALTER keep for later use (`sql-createfunction.html`, `sql-createview.html` and their like).
const CODE: [&[u8]; 8] =
    [b"aggregate", b"function", b"policy", b"procedure", b"routine", b"rule", b"trigger", b"view"];

/// Whether what stands behind CREATE or ALTER says that it is about one of these.
pub(crate) fn is_about<'a>(kinds: &[&[u8]], mut after: impl Iterator<Item = Token<'a>>) -> bool {
    let kind = after.find(|token| !BEFORE_KINDS.iter().any(|word| token.is_word(word)));
    kind.is_some_and(|kind| kinds.iter().any(|word| kind.is_word(word)))
}

/// Words before the one that says what is created or altered.
const BEFORE_KINDS: [&[u8]; 11] = [
    b"constraint",
    b"event",
    b"global",
    b"local",
    b"or",
    b"recursive",
    b"replace",
    b"temp",
    b"temporary",
    b"unique",
    b"unlogged",
];

const WRITING: [&[u8]; 7] =
    [b"alter", b"copy", b"delete", b"insert", b"merge", b"truncate", b"update"];

#[cfg(test)]
mod tests {
    use super::super::lexer::Lexer;
    use super::*;

    #[test]
    fn what_a_statement_runs_is_told_by_its_first_words() {
        for (text, expected) in [
            ("grant execute on function f(text) to x", Runs::Nothing),
            ("comment on function f(text) is 'x'", Runs::Nothing),
            ("drop function f(text)", Runs::Nothing),
            ("alter function f(text) cost 1", Runs::Nothing),
            ("create or replace function f() returns int return 1", Runs::Nothing),
            ("create procedure p() language sql as ''", Runs::Nothing),
            ("create or replace temp recursive view v as select f()", Runs::Nothing),
            ("create constraint trigger t after insert on u execute function f()", Runs::Nothing),
            ("create materialized view v as select f()", Runs::Writes),
            ("alter table t add a int default f()", Runs::Writes),
            ("create table t as select f()", Runs::Writes),
            ("create index on t (f(a))", Runs::Writes),
            ("select * from t", Runs::Reads),
            ("copy t to stdout; select 1 from t", Runs::Reads),
            ("copy (select * from t) to stdout", Runs::Reads),
            ("copy t from stdin", Runs::Writes),
            ("insert into t values (1)", Runs::Writes),
            ("truncate t", Runs::Writes),
            ("execute p", Runs::Writes),
            ("call p()", Runs::Writes),
        ] {
            let mut lexer = Lexer::new(text.as_bytes(), true);
            let first = lexer.next().unwrap();
            assert_eq!(Runs::of(first.text, lexer), expected, "{text}");
        }
    }

    #[test]
    fn words_that_write_are_not_those_that_lock() {
        let found = |text: &str| {
            let tokens: Vec<_> = Lexer::new(text.as_bytes(), true).collect();
            tokens.windows(2).any(|pair| writes(&pair[1], &pair[0]))
        };
        assert!(found("with x as (insert into t values (1)) select 1"));
        assert!(found("explain analyze Update t set a = 1"));
        assert!(found("explain merge into t using s"));
        assert!(!found("select 1 from t for update; select 1 from t for no key update"));
        assert!(!found("select \"insert\", 'delete' from t"));
    }
}
