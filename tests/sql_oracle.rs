//! The lexer against PostgreSQL's own: where the server reports an error in a text, a token begins;
//! a text that it accepts has as many columns as we see commas.

use pgweir::sql::{Kind, Lexer};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const ROUNDS: usize = 100_000;

const PIECES: &[&str] = &[
    "'", "'", "'", "\\", "\\'", "''", "E'", "e'", "B'", "x'", "N'", "U&'", "u&\"", "\"", "\"", "$",
    "$$", "$a$", "$a$", "$ab$", "$1", "1", "1.5", ".", "..", "e5", "/*", "*/", "/", "*", "--", "-",
    "+", "<", "\n", "\n", " ", " ", "\t", "a", "b ", "_c", ",", ",", "::", ":", "(", ")", "[", "]",
    "'x'", "'y'", "1,", "a.b", " as z,", "+1", "\u{e9}", "@",
];

/// What PostgreSQL makes of a text.
enum Verdict {
    /// It runs, with this many columns.
    Columns(usize),
    /// An error at this byte.
    Error(usize, String),
    /// An error of no place.
    Nowhere,
}

async fn ask(client: &tokio_postgres::Client, text: &str) -> Verdict {
    let error = match client.simple_query(text).await {
        Ok(messages) => {
            let columns = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::RowDescription(columns) => Some(columns.len()),
                _ => None,
            });
            return Verdict::Columns(columns.unwrap_or_default());
        }
        Err(error) => error,
    };
    let Some(error) = error.as_db_error() else {
        return Verdict::Nowhere;
    };
    let Some(ErrorPosition::Original(position)) = error.position() else {
        return Verdict::Nowhere;
    };
    let offset = text.char_indices().nth(*position as usize - 1).map(|(offset, _)| offset);
    offset.map_or(Verdict::Nowhere, |offset| Verdict::Error(offset, error.message().to_owned()))
}

/// One more than the commas outside of parentheses and brackets.
fn columns(text: &str, conforming: bool) -> usize {
    let mut depth = 0;
    let mut commas = 0;
    let mut tokens = 0;
    for token in Lexer::new(text.as_bytes(), conforming) {
        tokens += 1;
        match token.kind {
            Kind::Open | Kind::OpenBracket => depth += 1,
            Kind::Close | Kind::CloseBracket => depth -= 1,
            Kind::Comma if depth == 0 => commas += 1,
            _ => {}
        }
    }
    // SELECT alone has none.
    if tokens == 1 { 0 } else { commas + 1 }
}

/// Whether our tokens agree that something begins at this offset, and what.
fn agrees(text: &str, conforming: bool, offset: usize, message: &str) -> bool {
    let base = text.as_ptr() as usize;
    let starts = |token: &pgweir::sql::Token<'_>| token.text.as_ptr() as usize - base == offset;
    let found = Lexer::new(text.as_bytes(), conforming).find(starts);
    if found.is_none() {
        return is_in_operator(text, conforming, offset);
    }
    match found {
        Some(token) if message.starts_with("unterminated") => token.kind == Kind::Unterminated,
        Some(token) => token.kind != Kind::Unterminated || !message.starts_with("syntax error"),
        None => false,
    }
}

/// PostgreSQL cuts `*-` into two operators; ours stays one.
fn is_in_operator(text: &str, conforming: bool, offset: usize) -> bool {
    let base = text.as_ptr() as usize;
    Lexer::new(text.as_bytes(), conforming).any(|token| {
        let start = token.text.as_ptr() as usize - base;
        token.kind == Kind::Operator && (start..start + token.text.len()).contains(&offset)
    })
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
    client.simple_query("SET backslash_quote = on").await.expect("set");
    let pieces = proptest::collection::vec(proptest::sample::select(PIECES), 1..14);
    client.simple_query("SET backslash_quote = on").await.expect("set");
    let mut runner = TestRunner::default();
    let mut compared = 0;
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let conforming = round % 2 == 0;
        let setting = format!("SET standard_conforming_strings = {conforming}");
        client.simple_query(&setting).await.expect("set");
        let text =
            format!("SELECT {}", pieces.new_tree(&mut runner).expect("pieces").current().concat());
        let (offset, message) = match ask(&client, &text).await {
            Verdict::Columns(expected) => {
                assert_eq!(columns(&text, conforming), expected, "{conforming}: {text:?}");
                accepted += 1;
                continue;
            }
            Verdict::Error(offset, message) => (offset, message),
            Verdict::Nowhere => continue,
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
    assert!(compared > ROUNDS / 2, "only {compared} errors were compared");
    assert!(accepted > ROUNDS / 100, "only {accepted} texts were accepted");
}
