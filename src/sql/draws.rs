//! Whether a text that asks for numbers of sequences asks for what other texts have drawn for certain.
//!
//! Meant for the rare case in which a session has drawn on a server where others have drawn before
//! (docs/semantics.md "Pins"): leans to no. A name stands for one sequence only where it is spelt the same, by a session
//! that has done nothing by which it may stand for another; the catalogue tells of tables whose names are theirs alone.

use super::call::fold;
use super::catalogue::{Deed, Filled};
use super::classify::Options;
use super::effects::Effects;
use super::lexer::{Kind, Lexer, Token};
use super::names::Folded;
use super::touched;

/// Whether each number that `asking` asks for was drawn by one of `drawing`, of which each is a whole text
/// that has told of rows (`functions-sequence.html`). `tables`: names of tables mean what they do to the catalogue.
pub fn is_drawn<'t>(
    asking: &[u8],
    drawing: impl Iterator<Item = &'t [u8]>,
    tables: bool,
    options: &Options<'_>,
) -> bool {
    if options.multibyte_unsafe || options.truncated {
        return false;
    }
    let reader = Reader { options, tables };
    let mut known = Drawn::default();
    for text in drawing {
        reader.draw(text, &mut known);
    }
    reader.asks_for(asking).is_some_and(|asked| {
        !asked.is_empty()
            && asked.iter().all(|asked| match asked {
                Asked::Last => known.last,
                Asked::Of(sequence) => {
                    known.sequences.contains(sequence)
                        || known.filled.iter().any(|filled| filled.is_called(sequence))
                }
            })
    })
}

/// Numbers that a session has.
#[derive(Default)]
struct Drawn<'c> {
    /// By name.
    sequences: Vec<Name>,
    /// By a column that it fills.
    filled: Vec<&'c Filled>,
    /// One of them at least was drawn, not only set.
    last: bool,
}

/// A number that is asked for.
enum Asked {
    /// By `lastval`.
    Last,
    /// By `currval`.
    Of(Name),
}

/// A name as it is spelt: the schema, and the last part.
type Name = (Option<Box<[u8]>>, Box<[u8]>);

impl Filled {
    /// Whether this is its sequence, which has the only one of that name.
    fn is_called(&self, (schema, name): &Name) -> bool {
        self.sequence == *name && schema.as_ref().is_none_or(|schema| self.schema == *schema)
    }
}

struct Reader<'o> {
    options: &'o Options<'o>,
    tables: bool,
}

impl<'o> Reader<'o> {
    fn tokens<'t>(&self, text: &'t [u8]) -> Vec<Token<'t>> {
        Lexer::new(text, self.options.standard_conforming_strings).take(MAX_TOKENS).collect()
    }

    /// What a text asks for, as far as it shows; `None` if that does not tell all.
    fn asks_for(&self, text: &[u8]) -> Option<Vec<Asked>> {
        let tokens = self.tokens(text);
        let mut asked = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            if self.hides(token) {
                return None;
            }
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
    fn sequence(&self, arguments: &[Token<'_>]) -> Option<Name> {
        match arguments {
            [of, open, table, comma, column, close, rest @ ..]
                if of.is_word(b"pg_get_serial_sequence")
                    && (open.kind, comma.kind, close.kind)
                        == (Kind::Open, Kind::Comma, Kind::Close) =>
            {
                ends(rest).then_some(())?;
                // The column is named as it is, the table as in a text.
                let ((schema, table), column) = (spelt(table)?, touched::body(column)?);
                let columns = self.filled(schema.as_deref(), &table);
                let found = columns.iter().find(|filled| *filled.column == *column)?;
                Some((Some(found.schema.clone()), found.sequence.clone()))
            }
            [name, rest @ ..] if ends(rest) => spelt(name),
            _ => None,
        }
    }

    /// Whether a function or view asks for numbers.
    fn hides(&self, token: &Token<'_>) -> bool {
        let (Some(catalogue), Some(name)) = (self.options.catalogue, fold(token)) else {
            return false;
        };
        let deeds =
            [catalogue.function(name.as_bytes()).flatten(), catalogue.mention(name.as_bytes())];
        let asks = |deed: &Deed| deed.effects.contains(Effects::READS_SEQUENCE);
        deeds.into_iter().flatten().any(asks)
    }

    /// The columns of a table that sequences fill.
    fn filled(&self, schema: Option<&[u8]>, table: &[u8]) -> &'o [Filled] {
        let catalogue = self.options.catalogue.filter(|_| self.tables);
        let columns = catalogue.map_or(&[][..], |c| c.drawing(table));
        let elsewhere = |filled: &Filled| schema.is_some_and(|schema| *filled.schema != *schema);
        if columns.iter().any(elsewhere) { &[] } else { columns }
    }

    fn draw(&self, text: &[u8], known: &mut Drawn<'o>) {
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
    fn select(&self, mut tokens: &[Token<'_>], known: &mut Drawn<'o>) {
        while let [function, open, rest @ ..] = of_catalogue(tokens)
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
                known.sequences.extend(spelt(name));
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
    fn insert(&self, tokens: &[Token<'_>], known: &mut Drawn<'o>) {
        let (schema, table, mut tokens) = match tokens {
            [schema, dot, table, rest @ ..] if dot.kind == Kind::Dot => (Some(schema), table, rest),
            [table, rest @ ..] => (None, table, rest),
            [] => return,
        };
        let Some(name) = fold(table) else { return };
        let schema = schema.map(fold);
        if schema.as_ref().is_some_and(Option::is_none) {
            return;
        }
        let schema = schema.flatten();
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
        let columns = self.filled(schema.as_ref().map(Folded::as_bytes), name.as_bytes());
        for filled in columns.iter().filter(|_| is_list) {
            let mut names = given.iter().step_by(2).map(fold);
            if !names.any(|name| name.is_none_or(|name| *name.as_bytes() == *filled.column)) {
                known.last = true;
                known.filled.push(filled);
            }
        }
    }
}

/// Without PostgreSQL's own schema before a name.
fn of_catalogue<'a, 't>(tokens: &'a [Token<'t>]) -> &'a [Token<'t>] {
    match tokens {
        [schema, dot, rest @ ..] if dot.kind == Kind::Dot && schema.is_word(b"pg_catalog") => rest,
        _ => tokens,
    }
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

/// The name in a string, as `regclass` reads it.
fn spelt(token: &Token<'_>) -> Option<Name> {
    let text =
        touched::body(token).filter(|text| !text.contains(&b'\'') && !text.contains(&b'\\'))?;
    let tokens: Vec<_> = Lexer::new(text, true).take(4).collect();
    let folded = |token| Some(Box::from(fold(token)?.as_bytes()));
    match &tokens[..] {
        [name] => Some((None, folded(name)?)),
        [schema, dot, name] if dot.kind == Kind::Dot => {
            Some((Some(folded(schema)?), folded(name)?))
        }
        _ => None,
    }
}

/// Tokens of one text that are looked at.
const MAX_TOKENS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::super::catalogue::{Catalogue, Subject};
    use super::*;

    fn is_drawn(asking: &str, drawing: &[&str]) -> bool {
        let rows = [
            ("orders", "id orders_id_seq public"),
            ("two", "a two_a_seq app"),
            ("two", "b \"B\" app"),
        ];
        let rows = rows.map(|(name, code)| (Subject::Drawing, name.as_bytes(), code.as_bytes()));
        let hidden = (Subject::Function, b"hidden".as_slice(), b"select lastval()".as_slice());
        let catalogue = Catalogue::new(rows.into_iter().chain([hidden])).unwrap();
        let options = Options { catalogue: Some(&catalogue), ..Options::default() };
        let drawing = drawing.iter().map(|text| text.as_bytes());
        super::is_drawn(asking.as_bytes(), drawing, true, &options)
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
            ("insert into other.orders (a) values (1)", false),
            ("select other.nextval('s')", false),
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
            ("select currval('app.s')", true),
            ("select pg_catalog.currval('App.S'::regclass)", true),
            ("select currval('s')", false),
            ("select currval('other.s')", false),
            ("select currval('\"Quoted\"'), lastval()", true),
            ("select currval('quoted')", false),
            ("select currval('t')", false),
            ("select currval('orders_id_seq')", true),
            ("select currval(pg_get_serial_sequence('public.orders', 'id'))", true),
            ("select currval(pg_get_serial_sequence('orders', 'a'))", false),
            ("select currval(pg_get_serial_sequence('two', 'b')::regclass)", false),
            ("select currval($1)", false),
            ("select currval('s' || '')", false),
            ("select currval('app.s'), currval('u')", false),
            ("select currval('public.orders_id_seq')", true),
            ("select currval('other.orders_id_seq')", false),
            ("select currval(pg_get_serial_sequence('other.orders', 'id'))", false),
            ("select hidden()", false),
            ("select currval('app.s'), hidden()", false),
        ] {
            assert_eq!(is_drawn(asking, &drawing), expected, "{asking}");
        }
        assert!(!is_drawn("select currval('B')", &["insert into two (a) values (1)"]));
        assert!(is_drawn("select currval('\"B\"')", &["insert into two (a) values (1)"]));
    }
}
