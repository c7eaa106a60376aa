//! What the functions and tables of one database may do to a session, found by reading their code.
//!
//! A text shows only names. What a function does that is called by name, and what functions stand behind
//! a table (triggers, column defaults, rules and views, policies, constraints), is in the catalogue of
//! the database. Names are taken without their schema: several things of one name count together.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::call::fold;
use super::code::{self, Code};
use super::effects::Effects;
use super::lexer::Lexer;
use super::touched::Touched;

/// What is known of one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deed {
    /// What it may do.
    pub effects: Effects,
    /// Settings that it may change.
    pub touched: Touched,
}

impl Deed {
    fn is_nothing(&self) -> bool {
        self.effects.without(Effects::DRAWS) == Effects::PURE && self.touched.is_empty()
    }

    /// A table whose columns draw numbers is like any other: INSERT is suspected of that anyway.
    fn is_only_drawing(&self) -> bool {
        let drawing = Effects::DRAWS | Effects::SEQUENCE;
        self.effects.without(drawing) == Effects::PURE && self.touched.is_empty()
    }

    /// Adds what something else does; true if that is new.
    fn add(&mut self, other: &Self) -> bool {
        let before = (self.effects, self.touched.clone());
        self.effects |= other.effects;
        self.touched.any |= other.touched.any || !other.touched.parameters.is_empty();
        for name in &other.touched.names {
            self.touched.add(name);
        }
        self.touched.may_reset.add(other.touched.may_reset.clone());
        before != (self.effects, self.touched.clone())
    }
}

/// A column that a sequence fills where an INSERT leaves it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Its name.
    pub column: Box<[u8]>,
    /// The last part of the name of the sequence.
    pub sequence: Box<[u8]>,
}

/// What a row of the catalogue is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A function whose code is SQL or PL/pgSQL, or that has none of its own.
    Function,
    /// A function in another language: its code is only searched for words.
    Foreign,
    /// A function of which nobody knows what it does.
    Opaque,
    /// A table or view, with code that runs when it is used.
    Relation,
    /// A table with a column that a sequence fills: the code is the names of both.
    Drawing,
}

/// The names of one database that matter.
#[derive(Debug, Default)]
pub struct Catalogue {
    functions: HashMap<Box<[u8]>, Option<Box<Deed>>, FxBuildHasher>,
    relations: HashMap<Box<[u8]>, Box<Deed>, FxBuildHasher>,
    drawing: HashMap<Box<[u8]>, Vec<Filled>, FxBuildHasher>,
    has_mentions: bool,
}

impl Catalogue {
    /// Reads the code of everything. Each row is what it is about, its name, and its code.
    pub fn new<'a>(rows: impl Iterator<Item = (Subject, &'a [u8], &'a [u8])>) -> Self {
        let mut all = Gathered::default();
        let mut drawing: HashMap<_, Vec<_>, _> = HashMap::default();
        for (subject, name, code) in rows {
            if subject == Subject::Drawing {
                drawing.entry(name.into()).or_default().extend(filled(code));
            } else {
                all.add(subject, name, code);
            }
        }
        all.settle();
        let keep = |deed: Deed| (!deed.is_nothing()).then(|| Box::new(deed));
        let relations = all.relations.into_iter();
        let mut found = Self {
            functions: all.functions.into_iter().map(|(n, e)| (n, keep(e.deed))).collect(),
            relations: relations
                .filter(|(_, entry)| !entry.deed.is_only_drawing())
                .filter_map(|(n, e)| Some((n, keep(e.deed)?)))
                .collect(),
            drawing,
            has_mentions: false,
        };
        let own = |deed: &Deed| deed.effects != Effects::FUNCTION;
        found.has_mentions =
            !found.relations.is_empty() || found.functions.values().flatten().any(|deed| own(deed));
        found
    }

    /// What a function of this name does; `None` if there is none, `Some(None)` if it does nothing.
    pub fn function(&self, name: &[u8]) -> Option<Option<&Deed>> {
        self.functions.get(name).map(Option::as_deref)
    }

    /// What use of a table, view or function of this name does, standing without parentheses.
    pub fn mention(&self, name: &[u8]) -> Option<&Deed> {
        let relation = self.relations.get(name).map(|deed| &**deed);
        // `row.f` calls `f(row)` (`sql-expressions.html#FIELD-SELECTION`).
        relation.or_else(|| {
            self.functions.get(name)?.as_deref().filter(|d| d.effects != Effects::FUNCTION)
        })
    }

    /// The columns that sequences fill in all tables of this name.
    pub fn drawing(&self, table: &[u8]) -> &[Filled] {
        self.drawing.get(table).map_or(&[], Vec::as_slice)
    }

    /// Whether any name without parentheses can matter.
    pub fn has_mentions(&self) -> bool {
        self.has_mentions
    }
}

/// One name while its code is being read.
#[derive(Debug, Default)]
struct Entry {
    deed: Deed,
    /// Names in its code.
    uses: Vec<Box<[u8]>>,
}

type Entries = HashMap<Box<[u8]>, Entry, FxBuildHasher>;

#[derive(Debug, Default)]
struct Gathered {
    functions: Entries,
    relations: Entries,
}

impl Gathered {
    fn add(&mut self, subject: Subject, name: &[u8], text: &[u8]) {
        let Code { effects, touched, uses } = match subject {
            Subject::Foreign => code::foreign(text),
            Subject::Opaque => Code { effects: Effects::FUNCTION, ..Code::default() },
            Subject::Function | Subject::Relation | Subject::Drawing => code::read(text),
        };
        let entries = match subject {
            Subject::Relation | Subject::Drawing => &mut self.relations,
            Subject::Function | Subject::Foreign | Subject::Opaque => &mut self.functions,
        };
        let entry = entries.entry(name.into()).or_default();
        entry.deed.add(&Deed { effects, touched });
        entry.uses.extend(uses);
    }

    /// Who uses what does something does it too.
    fn settle(&mut self) {
        let known = |names: &Entries, name: &[u8]| names.contains_key(name);
        let (functions, relations) = (&self.functions, &self.relations);
        let strangers: Vec<_> = [functions, relations]
            .into_iter()
            .flat_map(Entries::values)
            .map(|entry| {
                let uses = entry.uses.iter();
                uses.filter(|n| known(functions, n) || known(relations, n)).cloned().collect()
            })
            .collect::<Vec<Vec<Box<[u8]>>>>();
        let entries = self.functions.values_mut().chain(self.relations.values_mut());
        for (entry, uses) in entries.zip(strangers) {
            entry.uses = uses;
        }
        for _ in 0..MAX_ROUNDS {
            if !self.spread() {
                return;
            }
        }
    }

    fn spread(&mut self) -> bool {
        let deeds: HashMap<Box<[u8]>, Deed, FxBuildHasher> = {
            let mut deeds: HashMap<Box<[u8]>, Deed, FxBuildHasher> = HashMap::default();
            for (name, entry) in self.functions.iter().chain(&self.relations) {
                if !entry.deed.is_nothing() {
                    deeds.entry(name.clone()).or_default().add(&entry.deed);
                }
            }
            deeds
        };
        let mut changed = false;
        for entry in self.functions.values_mut().chain(self.relations.values_mut()) {
            for name in &entry.uses {
                if let Some(deed) = deeds.get(name) {
                    changed |= entry.deed.add(deed);
                }
            }
        }
        changed
    }
}

fn filled(code: &[u8]) -> Option<Filled> {
    let mut names = Lexer::new(code, true);
    let mut name = || Some(Box::from(fold(&names.next()?)?.as_bytes()));
    Some(Filled { column: name()?, sequence: name()? })
}

/// Calls within calls that are followed.
const MAX_ROUNDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(rows: &[(Subject, &str, &str)]) -> Catalogue {
        Catalogue::new(rows.iter().map(|(s, n, c)| (*s, n.as_bytes(), c.as_bytes())))
    }

    #[test]
    fn who_calls_what_hides_state_hides_it_too() {
        use Subject::{Function, Relation};
        let found = catalogue(&[
            (Function, "deep", "begin return middle(1); end"),
            (Function, "middle", "select set_config('a.b', 'x', false), pg_advisory_lock(1)"),
            (Function, "plain", "begin return new; end"),
            (Relation, "with_trigger", "\"deep\"()"),
            (Relation, "plain_table", "nextval('x'::regclass)"),
            (Relation, "parent", "with_trigger"),
        ]);
        for name in ["deep", "middle", "with_trigger", "parent"] {
            let deed = found.mention(name.as_bytes()).unwrap();
            assert!(deed.effects.contains(Effects::SETTING | Effects::ADVISORY_LOCK), "{name}");
            assert_eq!(&*deed.touched.names[0], "a.b");
        }
        assert_eq!(found.function(b"plain"), Some(None));
        assert_eq!(found.function(b"unknown"), None);
        assert!(found.mention(b"plain_table").is_none());
    }
}
