//! Whether a text puts code behind names, which what stands behind it may meet.

use super::lexer::{Kind, Lexer, Token};
use super::runs::is_about;

/// Whether a CREATE or ALTER stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creates {
    /// None does.
    Nothing,
    /// Behind the only one stands no other statement.
    Last,
    /// Another statement stands behind one, and may meet what it has made.
    Ahead,
}

/// Whether a CREATE or ALTER stands in a text; those of tables and their like do not count where they may be
/// `temporary`.
pub fn creates(text: &[u8], conforming: bool, temporary: bool) -> Creates {
    let (mut found, mut ahead) = (Creates::Nothing, false);
    for (first, after) in statements(text, conforming) {
        if ahead {
            return Creates::Ahead;
        }
        let creates = first.is_word(b"create") || first.is_word(b"alter");
        if !creates || (temporary && is_about(&TABLE, after.clone())) {
            continue;
        }
        ahead = true;
        if !is_about(&WITHOUT_CODE, after) {
            found = Creates::Last;
        }
    }
    found
}

/// Whether a text has more than one statement.
pub fn has_more(text: &[u8], conforming: bool) -> bool {
    statements(text, conforming).nth(1).is_some()
}

/// The first word of each statement, and what stands behind it.
fn statements(text: &[u8], conforming: bool) -> impl Iterator<Item = (Token<'_>, Lexer<'_>)> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut lexer = Lexer::new(text, conforming);
    let mut is_first = true;
    std::iter::from_fn(move || {
        loop {
            let token = lexer.next()?;
            if token.kind == Kind::Semicolon {
                is_first = true;
            } else if std::mem::take(&mut is_first) {
                return Some((token, lexer.clone()));
            }
        }
    })
}

/// What has no code, and what may take hours and seldom has any: while it is in flight, nobody else is asked for it.
const WITHOUT_CODE: [&[u8]; 9] = [
    b"database",
    b"group",
    b"index",
    b"publication",
    b"role",
    b"sequence",
    b"subscription",
    b"tablespace",
    b"user",
];

/// What may be temporary.
const TABLE: [&[u8]; 4] = [b"table", b"index", b"sequence", b"view"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_may_be_met_by_what_stands_behind_it() {
        use Creates::{Ahead, Last, Nothing};
        for (text, expected) in [
            ("create function f() returns int language sql as 'select 1'; select f()", Ahead),
            ("select 1;; Alter table t add a int; -- ;\nselect 1", Ahead),
            ("create table t (a int);\0", Last),
            ("create unique index concurrently i on t (a)", Nothing),
            ("create index on t (f(a)); insert into t values (1)", Ahead),
            ("alter role r set x = 1", Nothing),
            ("create table t (a int) ; -- select 1;\n", Last),
            ("create function f() returns int language sql as $$ select 1; select 2; $$;", Last),
            ("drop table t; drop table u;", Nothing),
            ("select 1; create table t (a int)", Last),
        ] {
            assert_eq!(creates(text.as_bytes(), true, false), expected, "{text}");
        }
        for (text, expected) in [
            (
                "create temp table t (a int); create unique index i on t (a); alter table t add b int",
                Nothing,
            ),
            ("create table t (a int); create or replace function f() returns int return 1", Last),
            (
                "create trigger t before insert on u execute function f(); insert into u values (1)",
                Ahead,
            ),
        ] {
            assert_eq!(creates(text.as_bytes(), true, true), expected, "{text}");
        }
        assert!(has_more(b"do $$ a; b $$; select 1", true) && !has_more(b"; do $$ a; b $$;", true));
    }
}
