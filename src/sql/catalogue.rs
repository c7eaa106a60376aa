//! What the functions and tables of one database may do to a session, found by reading their code.
//!
//! A text shows only names. What a function does that is called by name, and what functions stand behind
//! a table (triggers, column defaults, rules and views, policies, constraints), is in the catalogue of
//! the database. Names are taken without their schema: several things of one name count together.

use std::collections::{HashMap, VecDeque};

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
    fn sets_anything() -> Self {
        let touched = Touched { any: true, ..Touched::default() };
        Self { effects: Effects::SETTING, touched }
    }

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
        let before = (self.effects, self.touched.size());
        self.effects |= other.effects;
        self.touched.any |= other.touched.any || !other.touched.parameters.is_empty();
        for name in &other.touched.names {
            self.touched.add(name);
        }
        self.touched.may_reset.add(other.touched.may_reset.clone());
        before != (self.effects, self.touched.size())
    }
}

/// A column that a sequence fills where an INSERT leaves it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Its name.
    pub column: Box<[u8]>,
    /// The last part of the name of the sequence, of which there is one in the database.
    pub sequence: Box<[u8]>,
    /// The schema of both.
    pub schema: Box<[u8]>,
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
    /// A table or view, with code that runs when it is written to.
    Written,
    /// The only table of its name, with a column that a sequence fills: the code is the names of both, and of
    /// their schema.
    Drawing,
}

/// The names of one database that matter.
#[derive(Debug, Default)]
pub struct Catalogue {
    functions: HashMap<Box<[u8]>, Option<Box<Deed>>, FxBuildHasher>,
    relations: HashMap<Box<[u8]>, Box<Deed>, FxBuildHasher>,
    written: HashMap<Box<[u8]>, Box<Deed>, FxBuildHasher>,
    drawing: HashMap<Box<[u8]>, Vec<Filled>, FxBuildHasher>,
    has_mentions: bool,
}

impl Catalogue {
    /// Reads the code of everything. Each row is what it is about, its name, and its code. `None` if it uses itself in
    /// so many ways that it would take too long.
    pub fn new<'a, C: AsRef<[u8]>>(
        rows: impl Iterator<Item = (Subject, &'a [u8], C)>,
    ) -> Option<Self> {
        let mut all = Gathered::default();
        let mut drawing: HashMap<_, Vec<_>, _> = HashMap::default();
        for (subject, name, code) in rows {
            let code = code.as_ref();
            if subject == Subject::Drawing {
                drawing.entry(name.into()).or_default().extend(filled(code));
            } else {
                all.add(subject, name, code);
            }
        }
        all.tell_readers();
        let all = all.settle()?;
        let keep = |deed: Deed| (!deed.is_nothing()).then(|| Box::new(deed));
        let of_tables = |entries: Entries| {
            let entries = entries.into_iter().filter(|(_, entry)| !entry.deed.is_only_drawing());
            entries.filter_map(|(n, e)| Some((n, keep(e.deed)?))).collect()
        };
        let mut found = Self {
            functions: all.functions.into_iter().map(|(n, e)| (n, keep(e.deed))).collect(),
            relations: of_tables(all.relations),
            written: of_tables(all.written),
            drawing,
            has_mentions: false,
        };
        let own = |deed: &Deed| deed.effects != Effects::FUNCTION;
        found.has_mentions = !found.relations.is_empty()
            || !found.written.is_empty()
            || found.functions.values().flatten().any(|deed| own(deed));
        Some(found)
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

    /// What writing to a table or view of this name does, besides.
    pub fn written(&self, name: &[u8]) -> Option<&Deed> {
        self.written.get(name).map(|deed| &**deed)
    }

    /// The columns that sequences fill in the table of this name.
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
    /// Its code may write.
    writes: bool,
}

type Entries = HashMap<Box<[u8]>, Entry, FxBuildHasher>;

#[derive(Debug, Default)]
struct Gathered {
    functions: Entries,
    relations: Entries,
    /// What writing to relations does: to what they show, too (`sql-createview.html#SQL-CREATEVIEW-UPDATABLE-VIEWS`).
    written: Entries,
}

impl Gathered {
    fn add(&mut self, subject: Subject, name: &[u8], text: &[u8]) {
        let Code { effects, touched, uses, writes } = match subject {
            Subject::Foreign => code::foreign(text),
            Subject::Opaque => Code { effects: Effects::FUNCTION, ..Code::default() },
            _ => code::read(text),
        };
        if subject == Subject::Relation {
            let written = self.written.entry(name.into()).or_default();
            written.uses.extend(uses.iter().cloned());
            written.writes = true;
            if uses.contains(code::SETTINGS) {
                written.deed.add(&Deed::sets_anything());
            }
        }
        let entry = self.of(subject).entry(name.into()).or_default();
        entry.deed.add(&Deed { effects, touched });
        entry.uses.extend(uses);
        entry.writes |= writes;
    }

    fn of(&mut self, subject: Subject) -> &mut Entries {
        match subject {
            Subject::Relation | Subject::Drawing => &mut self.relations,
            Subject::Written => &mut self.written,
            Subject::Function | Subject::Foreign | Subject::Opaque => &mut self.functions,
        }
    }

    /// Some functions read tables and views that no text need name (`functions-xml.html#FUNCTIONS-XML-MAPPING`).
    fn tell_readers(&mut self) {
        let [first, others @ ..] = READERS;
        self.functions.entry(first.into()).or_default().uses =
            self.relations.keys().cloned().collect();
        for name in others {
            self.functions.entry(name.into()).or_default().uses.push(first.into());
        }
    }

    /// Who uses what does something does it too. That ends, since what is known of a name only grows, up to all there
    /// is.
    fn settle(self) -> Option<Self> {
        let mut web = Web::of(self);
        web.settle()?;
        Some(web.untied())
    }
}

/// The code of all names, and who uses which.
#[derive(Debug, Default)]
struct Web {
    nodes: Vec<Node>,
    /// By number, as the nodes.
    users: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Node {
    kind: Subject,
    name: Box<[u8]>,
    entry: Entry,
}

impl Web {
    fn of(all: Gathered) -> Self {
        let kinds = [
            (Subject::Function, all.functions),
            (Subject::Relation, all.relations),
            (Subject::Written, all.written),
        ];
        let nodes = kinds.into_iter().flat_map(|(kind, entries)| {
            entries.into_iter().map(move |(name, entry)| Node { kind, name, entry })
        });
        let mut web = Self { nodes: nodes.collect(), users: Vec::new() };
        web.tie();
        web
    }

    fn tie(&mut self) {
        let mut named: HashMap<&[u8], Vec<usize>, FxBuildHasher> = HashMap::default();
        for (number, node) in self.nodes.iter().enumerate() {
            named.entry(&*node.name).or_default().push(number);
        }
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (user, node) in self.nodes.iter().enumerate() {
            for used in node.entry.uses.iter().filter_map(|name| named.get(&**name)).flatten() {
                if node.entry.writes || self.nodes[*used].kind != Subject::Written {
                    users[*used].push(user);
                }
            }
        }
        self.users = users;
    }

    fn settle(&mut self) -> Option<()> {
        let mut left = MAX_STEPS;
        let does = |number: &usize| !self.nodes[*number].entry.deed.is_nothing();
        let mut waiting: VecDeque<_> = (0..self.nodes.len()).filter(does).collect();
        let mut waits: Vec<_> = (0..self.nodes.len()).map(|number| does(&number)).collect();
        while let Some(number) = waiting.pop_front() {
            waits[number] = false;
            let deed = self.nodes[number].entry.deed.clone();
            let names = deed.touched.names.len();
            left = left.checked_sub(self.users[number].len() * (1 + names * names))?;
            for user in &self.users[number] {
                let is_new = self.nodes[*user].entry.deed.add(&deed);
                if is_new && !std::mem::replace(&mut waits[*user], true) {
                    waiting.push_back(*user);
                }
            }
        }
        Some(())
    }

    fn untied(self) -> Gathered {
        let mut all = Gathered::default();
        for Node { kind, name, entry } in self.nodes {
            all.of(kind).insert(name, entry);
        }
        all
    }
}

fn filled(code: &[u8]) -> Option<Filled> {
    let mut names = Lexer::new(code, true);
    let mut name = || Some(Box::from(fold(&names.next()?)?.as_bytes()));
    Some(Filled { column: name()?, sequence: name()?, schema: name()? })
}

/// They read all that there is.
const READERS: [&[u8]; 7] = [
    b"table_to_xml",
    b"table_to_xml_and_xmlschema",
    b"schema_to_xml",
    b"schema_to_xml_and_xmlschema",
    b"database_to_xml",
    b"database_to_xml_and_xmlschema",
    b"cursor_to_xml",
];

/// Names that are compared while it is found what uses what: tenths of a second.
const MAX_STEPS: usize = 20_000_000;

#[cfg(test)]
mod tests {
    use super::super::classify::{Options, classify};
    use super::*;

    fn catalogue(rows: &[(Subject, &str, &str)]) -> Catalogue {
        Catalogue::new(rows.iter().map(|(s, n, c)| (*s, n.as_bytes(), c.as_bytes()))).unwrap()
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

    #[test]
    fn what_runs_where_a_table_is_written_to_does_not_where_it_is_read() {
        use Subject::{Function, Relation, Written};
        let found = catalogue(&[
            (Function, "deep", "begin perform pg_advisory_lock(1); return new; end"),
            (Written, "triggered", "\"deep\"()"),
            (Relation, "view", "triggered"),
            (Relation, "guarded", "deep()"),
            (Function, "inserts", "begin insert into triggered values (1); end"),
            (Function, "composes", "begin execute 'table ' || a || ' triggered'; end"),
            (Function, "reads", "select count(*) from triggered"),
            (Relation, "writing_view", "inserts()"),
        ]);
        for name in ["triggered", "view", "guarded"] {
            let written = found.written(name.as_bytes()).expect(name);
            assert!(written.effects.contains(Effects::ADVISORY_LOCK), "{name}");
        }
        for name in ["triggered", "view", "reads"] {
            assert_eq!(found.mention(name.as_bytes()), None, "{name}");
        }
        for name in ["guarded", "inserts", "composes", "writing_view"] {
            let used = found.mention(name.as_bytes()).expect(name);
            assert!(used.effects.contains(Effects::ADVISORY_LOCK), "{name}");
        }
        let options = Options { catalogue: Some(&found), ..Options::default() };
        for (text, expected) in [
            ("select * from triggered for update", false),
            ("insert into triggered values (1)", true),
            ("select 1; with x as (select * from view) update view set a = 1", true),
            ("with x as (delete from triggered) select 1", true),
            ("insert into other values (1); select * from triggered", false),
            ("copy triggered to stdout", false),
            ("copy triggered from stdin", true),
            ("truncate triggered", true),
            ("do $$ begin perform 1 from triggered; end $$", false),
            ("do $$ begin update triggered set a = 1; end $$", true),
            ("select deep()", true),
            ("grant execute on function other(text), deep(text) to x", false),
            ("drop function deep(text); select deep('x')", true),
            ("comment on function public.deep(text) is 'x'", false),
            ("create or replace function deep() returns int return 1", false),
            ("alter table t add a int default deep()", true),
        ] {
            let effects = classify(text.as_bytes(), &options);
            assert_eq!(effects.contains(Effects::ADVISORY_LOCK), expected, "{text}");
        }
        for text in ["analyze", "VACUUM", "reindex database d", "cluster"] {
            let (known, unknown) = (options, Options::default());
            assert_eq!(classify(text.as_bytes(), &known), Effects::FUNCTION, "{text}");
            assert_eq!(classify(text.as_bytes(), &unknown), Effects::PURE, "{text}");
        }
    }

    #[test]
    fn what_reads_all_tables_does_what_any_of_them_does() {
        use Subject::{Function, Relation};
        let quiet = catalogue(&[(Relation, "plain", "abs(1)")]);
        assert_eq!(quiet.function(b"schema_to_xml"), Some(None));
        let found = catalogue(&[
            (Relation, "view", "pg_advisory_lock(1)"),
            (Function, "tells", "select cursor_to_xml(a, 1, true, false, '')"),
            (Relation, "further", "\"table_to_xml\"()"),
        ]);
        for name in ["tells", "further", "database_to_xml_and_xmlschema"] {
            let deed = found.mention(name.as_bytes()).expect(name);
            assert!(deed.effects.contains(Effects::ADVISORY_LOCK), "{name}");
        }
    }

    #[test]
    fn what_writes_to_a_view_of_pg_settings_may_set_anything() {
        use Subject::{Function, Relation};
        let found = catalogue(&[
            (Relation, "shown", "\"pg_settings\""),
            (Relation, "further", "\"shown\""),
            (Relation, "ruled", " update \"pg_settings\""),
            (Function, "sets", "update further set setting = 1"),
            (Function, "reads", "select * from further"),
        ]);
        for name in ["shown", "further"] {
            assert!(found.written(name.as_bytes()).is_some_and(|deed| deed.touched.any), "{name}");
            assert_eq!(found.mention(name.as_bytes()), None, "{name}");
        }
        for name in ["ruled", "sets"] {
            assert!(found.mention(name.as_bytes()).is_some_and(|deed| deed.touched.any), "{name}");
        }
        assert_eq!(found.function(b"reads"), Some(None));
    }

    #[test]
    fn calls_are_followed_however_deep_they_are() {
        let names: Vec<_> = (0..2_000).map(|number| format!("f{number}")).collect();
        let calls = names.iter().skip(1).map(|name| format!("select {name}()"));
        let code: Vec<_> = calls.chain(["select pg_advisory_lock(1)".into()]).collect();
        let rows = names.iter().zip(&code);
        let found = Catalogue::new(
            rows.map(|(name, code)| (Subject::Function, name.as_bytes(), code.as_bytes())),
        )
        .unwrap();
        let first = found.function(b"f0").flatten().expect("it does something");
        assert!(first.effects.contains(Effects::ADVISORY_LOCK));
    }

    #[test]
    fn what_would_take_too_long_is_given_up() {
        let names: Vec<_> = (0..1_000).map(|number| format!("f{number}")).collect();
        let all: Vec<_> = names.iter().map(|name| format!("perform {name}();")).collect();
        let all = all.concat();
        let code: Vec<_> = (0..1_000).map(|n| format!("set a.b{n} = 1; {all}")).collect();
        let rows = names.iter().zip(&code);
        let rows = rows.map(|(n, c)| (Subject::Function, n.as_bytes(), c.as_bytes()));
        assert!(Catalogue::new(rows).is_none());
    }
}
