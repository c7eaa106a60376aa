//! Code as the catalogue of a database stores it: what it uses stands there by numbers, which this turns into names.
//!
//! A number says more than a name, of which there may be several. What has no row of its own does nothing to a
//! session, and needs no name.

use std::borrow::Cow;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::builtins;
use super::call::fold;
use super::catalogue::Subject;
use super::lexer::{Kind, Lexer};

/// A row of what is asked of the catalogue.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it is about; `None` for what is only named here.
    subject: Option<Subject>,
    place: Place,
    /// Of the function, relation or type; 0 if nothing refers to it by a number.
    number: u32,
    name: Box<[u8]>,
    /// Its text, if it has one.
    code: Option<Box<[u8]>>,
    /// What it uses, as in trees of expressions: `funcid 12`, `:relid 16384`, `typeid 16390`, `:commandType 3`.
    uses: Box<[u8]>,
}

/// Where a number is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Functions,
    Relations,
    /// The names of which count among those of relations: each of these is a type, too.
    Types,
}

impl Stored {
    /// A row of these columns. Relations are named as `regclass` shows them, functions and what draws as they are.
    pub fn new(
        kind: &[u8],
        number: &[u8],
        name: &[u8],
        code: Option<&[u8]>,
        uses: Option<&[u8]>,
    ) -> Self {
        let number = number_of(number).unwrap_or(0);
        let (subject, place) = match kind {
            b"f" => (Some(Subject::Function), Place::Functions),
            b"x" => (Some(Subject::Foreign), Place::Functions),
            b"p" => (None, Place::Functions),
            b"r" => (Some(Subject::Relation), Place::Relations),
            b"w" => (Some(Subject::Written), Place::Relations),
            b"t" => (Some(Subject::Relation), Place::Types),
            b"v" => (None, Place::Relations),
            b"l" => (Some(Subject::Opaque), Place::Relations),
            b"d" => (Some(Subject::Drawing), Place::Relations),
            // Such as `gen_random_uuid`, which is the default of many a column.
            b"o" if number < FIRST_OF_USERS && builtins::is_harmless(name) => {
                (None, Place::Functions)
            }
            _ => (Some(Subject::Opaque), Place::Functions),
        };
        let is_shown = place != Place::Functions && subject != Some(Subject::Drawing);
        Self {
            subject,
            place,
            number,
            name: if is_shown { last_name(name) } else { doubled(name) },
            code: code.map(Box::from),
            uses: uses.unwrap_or_default().into(),
        }
    }

    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.name.len()
            + self.code.as_ref().map_or(0, |code| code.len())
            + self.uses.len()
    }

    /// The same without what it does.
    #[must_use]
    pub fn harmless(self) -> Self {
        Self { code: None, uses: Box::default(), ..self }
    }
}

/// What `initdb` has made has smaller numbers (`system-catalog-initial-data.html#SYSTEM-CATALOG-OID-ASSIGNMENT`).
const FIRST_OF_USERS: u32 = 16_384;

/// What rows are about, its name, and its code with all that it uses, by name.
pub fn named(rows: &[Stored]) -> impl Iterator<Item = (Subject, &[u8], Cow<'_, [u8]>)> {
    let mut names: HashMap<(Place, u32), &[u8], FxBuildHasher> = HashMap::default();
    for row in rows.iter().filter(|row| row.number != 0) {
        names.insert((row.place, row.number), &*row.name);
    }
    rows.iter().filter_map(move |row| Some((row.subject?, &*row.name, code(row, &names))))
}

fn code<'a>(row: &'a Stored, names: &HashMap<(Place, u32), &[u8], FxBuildHasher>) -> Cow<'a, [u8]> {
    let own = row.code.as_deref().unwrap_or_default();
    if row.uses.is_empty() {
        return own.into();
    }
    let mut code = own.to_vec();
    let updates = row.uses.windows(UPDATES.len()).any(|part| part == UPDATES);
    let mut words = row.uses.split(|byte| *byte == b' ');
    while let (Some(what), Some(number)) = (words.next(), words.next()) {
        let place = match what {
            b":commandType" => {
                code.extend_from_slice(command(number));
                continue;
            }
            b":relid" => Place::Relations,
            b"typeid" => Place::Types,
            // Its call stands in the text, with the name of the setting.
            _ if number == SET_CONFIG && row.code.is_some() => continue,
            _ => Place::Functions,
        };
        if let Some(name) = number_of(number).and_then(|number| names.get(&(place, number))) {
            // What is updated is not told apart from what is read.
            let is_updated = updates && place == Place::Relations;
            code.extend_from_slice(if is_updated { b" update \"" } else { b" \"" });
            code.extend_from_slice(name);
            code.extend_from_slice(if place == Place::Functions { b"\"()" } else { b"\"" });
        }
    }
    code.into()
}

/// A word for what a command of a tree does (`CmdType` of `nodes.h`). 5 is MERGE since 15, and was a command that cannot
/// stand in a tree.
fn command(number: &[u8]) -> &'static [u8] {
    match number {
        b"3" | b"5" => b" insert",
        b"2" | b"4" => b" update",
        _ => b"",
    }
}

fn number_of(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// As it stands between quotes.
fn doubled(name: &[u8]) -> Box<[u8]> {
    let parts =
        name.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"')));
    parts.collect()
}

/// Of a name that may have a schema before it, without quotes; doubled ones stay.
fn last_name(shown: &[u8]) -> Box<[u8]> {
    let mut last = None;
    for token in Lexer::new(shown, true) {
        match token.kind {
            Kind::Word | Kind::QuotedIdentifier => last = fold(&token),
            _ if token.text == b"." => {}
            _ => break,
        }
    }
    last.map_or_else(|| shown.into(), |name| name.as_bytes().into())
}

/// An UPDATE in a tree.
const UPDATES: &[u8] = b":commandType 2";

/// The number of `set_config` (`pg_proc.dat`).
const SET_CONFIG: &[u8] = b"2078";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, number: &str, name: &str, code: Option<&str>, uses: &str) -> Stored {
        let uses = (!uses.is_empty()).then_some(uses.as_bytes());
        Stored::new(
            kind.as_bytes(),
            number.as_bytes(),
            name.as_bytes(),
            code.map(str::as_bytes),
            uses,
        )
    }

    fn told(rows: &[Stored]) -> Vec<(Subject, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        named(rows).map(|(subject, name, code)| (subject, text(name), text(&code))).collect()
    }

    #[test]
    fn what_is_used_by_number_is_named() {
        let rows = [
            row("p", "1574", "nextval", Some(""), ""),
            row("v", "12000", "pg_settings", None, ""),
            row("l", "16405", "app.long", Some(""), ""),
            row("f", "16390", "O\"n", Some("select 1"), ""),
            row(
                "w",
                "16400",
                "app.\"My.T\"",
                None,
                "funcid 1574 funcid 16390 :relid 16410 :relid 7",
            ),
            row(
                "r",
                "16410",
                "shown",
                None,
                ":commandType 2 :commandType 3 :relid 12000 :relid 16405 funcid 99",
            ),
            row("t", "16420", "app.narrow", None, "typeid 0"),
            row("t", "16421", "app.narrow[]", None, "typeid 16420"),
            row("f", "16422", "takes", None, "typeid 16421 typeid 16410"),
        ];
        assert_eq!(
            told(&rows),
            [
                (Subject::Opaque, "long".into(), String::new()),
                (Subject::Function, "O\"\"n".into(), "select 1".into()),
                (Subject::Written, "My.T".into(), " \"nextval\"() \"O\"\"n\"() \"shown\"".into()),
                (
                    Subject::Relation,
                    "shown".into(),
                    " update insert update \"pg_settings\" update \"long\"".into()
                ),
                (Subject::Relation, "narrow".into(), String::new()),
                (Subject::Relation, "narrow".into(), " \"narrow\"".into()),
                (Subject::Function, "takes".into(), " \"narrow\"".into()),
            ]
        );
    }

    #[test]
    fn what_postgresql_brings_and_is_known_to_do_nothing_is_no_suspect() {
        let rows = [
            row("o", "3432", "gen_random_uuid", Some(""), ""),
            row("o", "16500", "gen_random_uuid", Some(""), ""),
            row("o", "2880", "pg_advisory_lock", Some(""), ""),
            row("w", "16501", "t", None, "funcid 3432"),
        ];
        let names = told(&rows).into_iter().map(|(subject, name, _)| (subject, name));
        let expected = [
            (Subject::Opaque, "gen_random_uuid".into()),
            (Subject::Opaque, "pg_advisory_lock".into()),
            (Subject::Written, "t".into()),
        ];
        assert_eq!(names.collect::<Vec<(Subject, String)>>(), expected);
    }

    #[test]
    fn set_config_is_named_where_no_text_calls_it() {
        let rows = [
            row("o", "2078", "set_config", Some(""), ""),
            row("r", "0", "a", Some("set_config('x', 'y', false)"), "funcid 2078"),
            row("r", "0", "b", None, "fnoid 2078"),
        ];
        let told = told(&rows);
        assert_eq!(told[1].2, "set_config('x', 'y', false)");
        assert_eq!(told[2].2, " \"set_config\"()");
    }

    #[test]
    fn names_are_the_last_of_several() {
        for (shown, name) in [
            ("t", "t"),
            ("app.t", "t"),
            ("\"A b\".\"T\"\"x\"", "T\"\"x"),
            ("pg_temp_3.t[]", "t"),
            ("16999", "16999"),
            ("", ""),
        ] {
            assert_eq!(*last_name(shown.as_bytes()), *name.as_bytes(), "{shown}");
        }
    }
}
