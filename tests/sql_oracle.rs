//! The lexer against PostgreSQL's own: where the server reports an error in a text, a token begins.

use pgweir::sql::{Kind, Lexer};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio_postgres::NoTls;
use tokio_postgres::error::ErrorPosition;

const ROUNDS: usize = 100_000;

const PIECES: &[&str] = &[
    "'", "'", "'", "\\", "\\'", "''", "E'", "e'", "B'", "x'", "N'", "U&'", "u&\"", "\"", "\"", "$",
    "$$", "$a$", "$a$", "$ab$", "$1", "1", "1.5", ".", "..", "e5", "/*", "*/", "/", "*", "--", "-",
    "+", "<", "\n", "\n", " ", " ", "\t", "a", "b ", "_c", ",", ",", "::", ":", "(", ")", "[", "]",
    "'x'", "'y'", "1,", "a.b", " as z,", "+1", "\u{e9}", "@",
];

/// Where PostgreSQL found the error of a text, in bytes; `None` when it accepted it or names no place.
async fn error_offset(client: &tokio_postgres::Client, text: &str) -> Option<(usize, String)> {
    let error = client.simple_query(text).await.err()?;
    let error = error.as_db_error()?;
    let ErrorPosition::Original(position) = error.position()? else {
        return None;
    };
    let (offset, _) = text.char_indices().nth(*position as usize - 1)?;
    Some((offset, error.message().to_owned()))
}

/// Whether our tokens agree that something begins at this offset, and what.
fn agrees(text: &str, conforming: bool, offset: usize, message: &str) -> bool {
    let base = text.as_ptr() as usize;
    let starts = |token: &pgweir::sql::Token<'_>| token.text.as_ptr() as usize - base == offset;
    let found = Lexer::new(text.as_bytes(), conforming).find(starts);
    match found {
        Some(token) if message.starts_with("unterminated") => token.kind == Kind::Unterminated,
        Some(token) => token.kind != Kind::Unterminated || !message.starts_with("syntax error"),
        None => false,
    }
}

/// Errors that PostgreSQL reports in the midst of a token, or about one that it cuts shorter.
fn is_inside_a_token(message: &str) -> bool {
    [
        "invalid Unicode",
        "trailing junk",
        "unsafe use",
        "zero-length",
        "invalid hexadecimal",
        "invalid binary",
    ]
    .iter()
    .any(|known| message.contains(known))
}

#[tokio::test]
#[ignore = "needs a server: PGWEIR_ORACLE=postgres://postgres@127.0.0.1:5432/postgres"]
async fn tokens_begin_where_postgres_finds_errors() {
    let dsn = std::env::var("PGWEIR_ORACLE").expect("PGWEIR_ORACLE");
    let (client, connection) = tokio_postgres::connect(&dsn, NoTls).await.expect("connect");
    tokio::spawn(connection);
    let pieces = proptest::collection::vec(proptest::sample::select(PIECES), 1..14);
    let mut runner = TestRunner::default();
    let mut compared = 0;
    for round in 0..ROUNDS {
        let conforming = round % 2 == 0;
        if round < 2 || round == ROUNDS / 2 {
            client
                .simple_query("SET backslash_quote = on")
                .await
                .expect("set");
        }
        let setting = format!("SET standard_conforming_strings = {conforming}");
        client.simple_query(&setting).await.expect("set");
        let text = format!(
            "SELECT {}",
            pieces
                .new_tree(&mut runner)
                .expect("pieces")
                .current()
                .concat()
        );
        let Some((offset, message)) = error_offset(&client, &text).await else {
            continue;
        };
        if is_inside_a_token(&message) || offset == text.len() {
            continue;
        }
        compared += 1;
        assert!(
            agrees(&text, conforming, offset, &message),
            "{conforming} {offset} {message}: {text:?}"
        );
    }
    assert!(compared > ROUNDS / 2, "only {compared} texts were compared");
}
