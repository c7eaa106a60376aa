//! Whether a text that asks for numbers of sequences asks for what other texts have drawn for certain.
//!
//! Meant for the rare case in which a session has drawn on a server where others have drawn before
//! (docs/semantics.md "Pins"): leans to no. Sequences are known by the last part of their names.

use super::call::fold;
use super::catalogue::Catalogue;
use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};
use super::touched;

/// Whether each number that `asking` asks for was drawn by one of `drawing`, of which each is a whole text
/// that has told of rows (`functions-sequence.html`).
pub fn is_drawn<'t>(
    asking: &[u8],
    drawing: impl Iterator<Item = &'t [u8]>,
    options: &Options<'_>,
) -> bool {
    if options.multibyte_unsafe || options.truncated {
        return false;
    }
    let reader = Reader { options };
    let mut known = Drawn::default();
    for text in drawing {
        reader.draw(text, &mut known);
    }
    reader.asks_for(asking).is_some_and(|asked| {
        !asked.is_empty()
            && asked.iter().all(|asked| match asked {
                Asked::Last => known.last,
                Asked::Of(sequence) => known.sequences.contains(sequence),
            })
    })
}

/// Numbers that a session has.
#[derive(Default)]
struct Drawn {
    sequences: Vec<Box<[u8]>>,
    /// One of them at least was drawn, not only set.
    last: bool,
}

/// A number that is asked for.
enum Asked {
    /// By `lastval`.
    Last,
    /// By `currval`.
    Of(Box<[u8]>),
}

struct Reader<'o> {
    options: &'o Options<'o>,
}

impl Reader<'_> {
    fn tokens<'t>(&self, text: &'t [u8]) -> Vec<Token<'t>> {
        Lexer::new(text, self.options.standard_conforming_strings).take(MAX_TOKENS).collect()
    }

    /// What a text asks for, as far as it shows; `None` if that does not tell all.
    fn asks_for(&self, text: &[u8]) -> Option<Vec<Asked>> {
        let tokens = self.tokens(text);
        let mut asked = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let rest = tokens.get(at + 1..).unwrap_or_default();
            let [open, arguments @ ..] = rest else { continue };
            let Some(name) = fold(token).filter(|_| open.kind == Kind::Open) else { continue };
            match name.as_bytes() {
                b"lastval" => asked.push(Asked::Last),
                b"currval" => asked.push(Asked::Of(self.sequence(arguments)?)),
                _ => {}
            }
        }
        (tokens.len() < MAX_TOKENS).then_some(asked)
    }

    /// The only argument of a call, behind its parenthesis.
    fn sequence(&self, arguments: &[Token<'_>]) -> Option<Box<[u8]>> {
        match arguments {
            [of, open, table, comma, column, close, rest @ ..]
                if of.is_word(b"pg_get_serial_sequence")
                    && (open.kind, comma.kind, close.kind)
                        == (Kind::Open, Kind::Comma, Kind::Close) =>
            {
                ends(rest).then_some(())?;
                // The column is named as it is, the table as in a text.
                let (table, column) = (last_name(table)?, touched::body(column)?);
                let columns = self.catalogue()?.drawing(&table);
                let found = columns.iter().find(|filled| *filled.column == *column)?;
                Some(found.sequence.clone())
            }
            [name, rest @ ..] if ends(rest) => last_name(name),
            _ => None,
        }
    }

    fn catalogue(&self) -> Option<&Catalogue> {
        self.options.catalogue
    }

    fn draw(&self, text: &[u8], known: &mut Drawn) {
        let mut tokens = self.tokens(text);
        while tokens.last().is_some_and(|token| token.kind == Kind::Semicolon) {
            tokens.pop();
        }
        if tokens.len() >= MAX_TOKENS || tokens.iter().any(|t| t.kind == Kind::Semicolon) {
            return;
        }
        match &tokens[..] {
            [select, rest @ ..] if select.is_word(b"select") && !combines(rest) => {
                self.select(rest, known);
            }
            [insert, into, rest @ ..] if insert.is_word(b"insert") && into.is_word(b"into") => {
                self.insert(rest, known);
            }
            _ => {}
        }
    }

    /// The calls that a SELECT begins with, which are made for each of its rows.
    fn select(&self, mut tokens: &[Token<'_>], known: &mut Drawn) {
        while let [function, open, rest @ ..] = unqualified(tokens)
            && open.kind == Kind::Open
        {
            let Some(close) = closing(rest) else { return };
            let (arguments, after) = rest.split_at(close);
            if function.is_word(b"nextval") {
                known.last = true;
                known.sequences.extend(self.sequence(&rest[..=close]));
            } else if let [name, comma, arguments @ ..] = arguments
                && function.is_word(b"setval")
                && comma.kind == Kind::Comma
                // A third argument may say that no number was given out yet.
                && !arguments.iter().any(|token| token.kind == Kind::Comma)
            {
                known.sequences.extend(last_name(name));
            } else {
                return;
            }
            match after {
                [_, comma, rest @ ..] if comma.kind == Kind::Comma => tokens = rest,
                _ => return,
            }
        }
    }

    /// Columns that are left out get their defaults, which draw numbers (`sql-insert.html`).
    fn insert(&self, tokens: &[Token<'_>], known: &mut Drawn) {
        let mut tokens = unqualified(tokens);
        let Some((table, rest)) = tokens.split_first() else { return };
        let Some(name) = fold(table) else { return };
        tokens = rest;
        if let [as_, _, rest @ ..] = tokens
            && as_.is_word(b"as")
        {
            tokens = rest;
        }
        let given = match tokens {
            [default, values, ..] if default.is_word(b"default") && values.is_word(b"values") => {
                &[][..]
            }
            [open, rest @ ..] if open.kind == Kind::Open => match closing(rest) {
                Some(close) => &rest[..close],
                None => return,
            },
            _ => return,
        };
        // What begins with a parenthesis may be a query, too.
        let is_list = given.iter().enumerate().all(|(at, token)| match at % 2 {
            0 => token.is_identifier(),
            _ => token.kind == Kind::Comma,
        });
        let columns = self.catalogue().map_or(&[][..], |c| c.drawing(name.as_bytes()));
        for filled in columns.iter().filter(|_| is_list) {
            let mut names = given.iter().step_by(2).map(fold);
            if !names.any(|name| name.is_none_or(|name| *name.as_bytes() == *filled.column)) {
                known.last = true;
                known.sequences.push(filled.sequence.clone());
            }
        }
    }
}

/// Without the schema before a name.
fn unqualified<'a, 't>(mut tokens: &'a [Token<'t>]) -> &'a [Token<'t>] {
    while let [_, dot, rest @ ..] = tokens
        && dot.kind == Kind::Dot
    {
        tokens = rest;
    }
    tokens
}

/// Where the parenthesis is closed that was opened before.
fn closing(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0usize;
    tokens.iter().position(|token| match token.kind {
        Kind::Open => {
            depth += 1;
            false
        }
        Kind::Close if depth == 0 => true,
        Kind::Close => {
            depth -= 1;
            false
        }
        _ => false,
    })
}

/// Nothing more belongs to the argument but a cast.
fn ends(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [close, ..] if close.kind == Kind::Close => true,
        [cast, regclass, close, ..] => {
            cast.kind == Kind::Cast && regclass.is_word(b"regclass") && close.kind == Kind::Close
        }
        _ => false,
    }
}

/// Rows may come of one part of it alone.
fn combines(tokens: &[Token<'_>]) -> bool {
    let words = [b"union".as_slice(), b"intersect", b"except"];
    tokens.iter().any(|token| words.iter().any(|word| token.is_word(word)))
}

/// The last part of the name in a string, as `regclass` reads it.
fn last_name(token: &Token<'_>) -> Option<Box<[u8]>> {
    let text =
        touched::body(token).filter(|text| !text.contains(&b'\'') && !text.contains(&b'\\'))?;
    let name = Lexer::new(text, true).last()?;
    Some(fold(&name)?.as_bytes().into())
}

/// Tokens of one text that are looked at.
const MAX_TOKENS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::super::catalogue::Subject;
    use super::*;

    fn is_drawn(asking: &str, drawing: &[&str]) -> bool {
        let rows = [("orders", "id orders_id_seq"), ("two", "a two_a_seq"), ("two", "b \"B\"")];
        let rows = rows.map(|(name, code)| (Subject::Drawing, name.as_bytes(), code.as_bytes()));
        let catalogue = Catalogue::new(rows.into_iter());
        let options = Options { catalogue: Some(&catalogue), ..Options::default() };
        super::is_drawn(asking.as_bytes(), drawing.iter().map(|text| text.as_bytes()), &options)
    }

    #[test]
    fn the_last_number_is_known_where_one_was_drawn_for_certain() {
        for (drawing, expected) in [
            ("select nextval('s')", true),
            ("SELECT pg_catalog.nextval('s'::regclass) > 0;", true),
            ("select nextval($1)", true),
            ("select a, nextval('s')", false),
            ("select nextval('s') where false union select 1", false),
            ("select setval('s', 5)", false),
            ("select setval('s', 5), nextval('s')", true),
            ("select f('s')", false),
            ("insert into orders (a) values (1)", true),
            ("insert into public.orders as o (a, \"b\") select 1, 2", true),
            ("insert into orders default values returning id", true),
            ("insert into orders (id, a) values (1, 2)", false),
            ("insert into orders (\"id\") values (1)", false),
            ("insert into orders values (1)", false),
            ("insert into orders (select 1)", false),
            ("insert into plain (a) values (1)", false),
            ("insert into two (a) values (1)", true),
            ("insert into two (a, b) values (1, 2)", false),
            ("insert into orders (a) values (1); select 1", false),
            ("with x as (insert into orders (a) values (1)) select 1", false),
            ("", false),
        ] {
            assert_eq!(is_drawn("select lastval()", &[drawing]), expected, "{drawing}");
        }
    }

    #[test]
    fn a_number_of_a_sequence_is_known_where_that_one_was_drawn_or_set() {
        let drawing = [
            "select setval('app.s', 5), nextval('\"Quoted\"'), setval('t', 1, false)",
            "insert into orders (a) values (1)",
        ];
        for (asking, expected) in [
            ("select currval('s')", true),
            ("select pg_catalog.currval('S'::regclass)", true),
            ("select currval('\"Quoted\"'), lastval()", true),
            ("select currval('quoted')", false),
            ("select currval('t')", false),
            ("select currval('orders_id_seq')", true),
            ("select currval(pg_get_serial_sequence('public.orders', 'id'))", true),
            ("select currval(pg_get_serial_sequence('orders', 'a'))", false),
            ("select currval(pg_get_serial_sequence('two', 'b')::regclass)", false),
            ("select currval($1)", false),
            ("select currval('s' || '')", false),
            ("select currval('s'), currval('u')", false),
            ("select hidden()", false),
        ] {
            assert_eq!(is_drawn(asking, &drawing), expected, "{asking}");
        }
        assert!(!is_drawn("select currval('B')", &["insert into two (a) values (1)"]));
        assert!(is_drawn("select currval('\"B\"')", &["insert into two (a) values (1)"]));
    }
}
