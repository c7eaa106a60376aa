//! The lexer against PostgreSQL's own: where the server reports an error in a text, a token begins;
//! a text that it accepts has as many columns as we see commas.

use pgweir::sql::{Kind, Lexer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::support::*;

/// Texts, unless `PGWEIR_TEST_TEXTS` says how many.
const ROUNDS: usize = 4_000;

const PIECES: &[&str] = &[
    "'", "'", "'", "\\", "\\'", "''", "E'", "e'", "B'", "x'", "N'", "U&'", "u&\"", "\"", "\"", "$",
    "$$", "$a$", "$a$", "$ab$", "$1", "1", "1.5", ".", "..", "e5", "/*", "*/", "/", "*", "--", "-",
    "+", "<", "\n", "\n", " ", " ", "\t", "a", "b ", "_c", ",", ",", "::", ":", "(", ")", "[", "]",
    "'x'", "'y'", "1,", "a.b", " as z,", "+1", "\u{e9}", "@", "=-", "%+", "*",
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

async fn connect(target: Target) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host(target.addr.ip().to_string()).port(target.addr.port());
    config.dbname(target.database).user(target.user).password(target.password);
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// What a text showed.
enum Compared {
    Accepted,
    Error,
    Nothing,
}

async fn compare(client: &tokio_postgres::Client, text: &str, conforming: bool) -> Compared {
    let (offset, message) = match ask(client, text).await {
        Verdict::Columns(expected) => {
            assert_eq!(columns(text, conforming), expected, "{conforming}: {text:?}");
            return Compared::Accepted;
        }
        Verdict::Error(offset, message) => (offset, message),
        Verdict::Nowhere => return Compared::Nothing,
    };
    if is_inside_a_token(&message) || offset == text.len() {
        return Compared::Nothing;
    }
    let agreed = agrees(text, conforming, offset, &message);
    assert!(agreed, "{conforming} {offset} {message}: {text:?}");
    Compared::Error
}

#[tokio::test]
async fn tokens_begin_where_postgres_finds_errors() {
    let rounds = number("PGWEIR_TEST_TEXTS").map_or(ROUNDS, |rounds| rounds as usize);
    let mut random = StdRng::seed_from_u64(seed());
    let client = connect(Cluster::shared().database().target()).await;
    client.simple_query("SET backslash_quote = on").await.expect("set");
    let (mut errors, mut accepted) = (0, 0);
    for conforming in [true, false] {
        let setting = format!("SET standard_conforming_strings = {conforming}");
        client.simple_query(&setting).await.expect("set");
        for _ in 0..rounds / 2 {
            let count = random.random_range(1..14);
            let pieces = (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]);
            let text = format!("SELECT {}", pieces.collect::<String>());
            match compare(&client, &text, conforming).await {
                Compared::Accepted => accepted += 1,
                Compared::Error => errors += 1,
                Compared::Nothing => {}
            }
        }
    }
    assert!(errors > rounds / 2, "only {errors} errors were compared");
    assert!(accepted > rounds / 100, "only {accepted} texts were accepted");
}
