//! Where pgweir may differ from PostgreSQL, one rule each. Whatever is under no rule is a fault.

use std::collections::BTreeSet;

use super::program::{Act, Message, Step};
use super::seen::{Line, Seen};

/// A difference that is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A currval or lastval that fails on both sides says more through pgweir.
    SequenceHint,
    /// The first currval or lastval of a later transaction fails loudly.
    LoudSequence,
    /// A placeholder that some session has set is empty rather than missing.
    PlaceholderResidue,
    /// The other way round: the session touched it on another server, and left it empty.
    PlaceholderForgotten,
    /// pg_prepared_statements shows pgweir's names, and all that share the server.
    StatementNames,
    /// The error of a Parse that pgweir answered comes at its Bind.
    LateParseError,
    /// A Bind in a failed transaction of a statement that its server lacks: the transaction's error hides
    /// the Bind's own.
    FailedBind,
    /// A server that has had temporary objects knows `pg_temp`, if only as an empty schema.
    TemporaryResidue,
    /// Where a text asks for a number behind setting the level of isolation, others' numbers cannot be
    /// discarded ahead of it.
    LateIsolation,
    /// A Parse that pgweir answered has taken no snapshot, so that the level of isolation can still be set.
    EarlyIsolation,
    /// A server that has had temporary tables refuses to change temp_buffers; a session that has had some may be
    /// on another.
    TemporaryBuffers,
    /// PL/pgSQL compiles a function once in a server process, and names it in the context of errors as the
    /// search_path was then.
    FunctionContext,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SequenceHint,
        Self::LoudSequence,
        Self::PlaceholderResidue,
        Self::PlaceholderForgotten,
        Self::StatementNames,
        Self::LateParseError,
        Self::FailedBind,
        Self::TemporaryResidue,
        Self::LateIsolation,
        Self::EarlyIsolation,
        Self::TemporaryBuffers,
        Self::FunctionContext,
    ];

    /// How the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SequenceHint => "hint of a currval or lastval that fails anyway",
            Self::LoudSequence => "first currval or lastval fails loudly",
            Self::PlaceholderResidue => "placeholder is empty, not missing",
            Self::PlaceholderForgotten => "placeholder is missing, not empty",
            Self::StatementNames => "names in pg_prepared_statements",
            Self::LateParseError => "error of a Parse comes later",
            Self::FailedBind => "error of a Bind in a failed transaction",
            Self::TemporaryResidue => {
                "pg_temp is empty instead of missing, or missing instead of empty"
            }
            Self::LateIsolation => "level of isolation behind DISCARD SEQUENCES",
            Self::EarlyIsolation => "level of isolation behind a Parse",
            Self::TemporaryBuffers => "temp_buffers is refused, or is not",
            Self::FunctionContext => "schema of a function in the context of an error",
        }
    }

    /// Whether the sessions' states are the same after it.
    pub fn goes_on(self) -> bool {
        !matches!(
            self,
            Self::LoudSequence
                | Self::LateIsolation
                | Self::EarlyIsolation
                | Self::LateParseError
                | Self::PlaceholderResidue
                | Self::PlaceholderForgotten
                | Self::TemporaryBuffers
        )
    }
}

/// The rule under which two different sights of one step stand, if there is one. `texts` are those that
/// the step may run.
pub fn allowed(
    step: &Step,
    texts: &str,
    direct: &Seen,
    through: &Seen,
    past: &Past,
) -> Option<Rule> {
    // An error that only one side has may have kept a later statement from setting something.
    let failed = |seen: &Seen| seen.lines.iter().any(|line| line.is('E'));
    let told = direct.parameters == through.parameters || failed(direct) != failed(through);
    if direct.early != through.early || !told {
        return None;
    }
    if !shows_statements(texts, &through.lines) {
        return differing(step, texts, &direct.lines, &through.lines, past);
    }
    // What else the step shows may differ as well.
    let own = named_by_sql(&direct.lines);
    if !named_by_sql(&through.lines).iter().all(|row| own.contains(row)) {
        return None;
    }
    let [theirs, ours] = [&direct.lines, &through.lines].map(|lines| without_protocols(lines));
    let same = theirs == ours;
    if same { Some(Rule::StatementNames) } else { differing(step, texts, &theirs, &ours, past) }
}

fn differing(
    step: &Step,
    texts: &str,
    theirs: &[Line],
    ours: &[Line],
    past: &Past,
) -> Option<Rule> {
    let sql = step.sql();
    if has_hint(theirs, ours) {
        return Some(Rule::SequenceHint);
    }
    let loud = loud_error(theirs, ours);
    // Of an error that both have, one may say more in what differs under another rule.
    let ours = &without_hints(ours.to_vec());
    let rules: [(Rule, bool); 10] = [
        (Rule::PlaceholderResidue, is_residue(texts, theirs, ours)),
        (Rule::PlaceholderForgotten, is_residue(texts, ours, theirs)),
        (Rule::LoudSequence, loud.is_some_and(|error| !past.remembers(step.session, error))),
        (Rule::TemporaryResidue, is_temporary_residue(theirs, ours)),
        (Rule::LateIsolation, is_late_isolation(&sql, theirs, ours)),
        (Rule::EarlyIsolation, past.has_parsed(step) && is_early_isolation(&sql, theirs, ours)),
        (Rule::TemporaryBuffers, refuses_buffers(theirs, ours) || refuses_buffers(ours, theirs)),
        (Rule::LateParseError, is_late(theirs, ours)),
        (Rule::FailedBind, is_failed_bind(theirs, ours)),
        (Rule::FunctionContext, is_function_context(theirs, ours)),
    ];
    rules.into_iter().find_map(|(rule, holds)| holds.then_some(rule))
}

/// What the sessions have done before.
#[derive(Debug, Default)]
pub struct Past {
    /// Sessions that have sent a Parse in the open transaction.
    parsed: BTreeSet<usize>,
    /// Users and application names that were told loudly that there is no number.
    learnt: BTreeSet<String>,
    /// Which sequences a session must be able to ask for: those that it has drawn from since clients of
    /// its kind were first told.
    drawn: BTreeSet<(usize, &'static str, String)>,
    /// Sessions that have made a temporary replication slot, which PostgreSQL drops at any error.
    slots: BTreeSet<usize>,
}

impl Past {
    /// After a step that stood under `rule`, if any, by a client of this class. What has failed, or
    /// was only parsed, may have drawn nothing.
    pub fn on_step(&mut self, step: &Step, class: &str, rule: Option<Rule>, ran: bool) {
        if matches!(step.act, Act::LogIn(_)) {
            self.drawn.retain(|(session, ..)| *session != step.session);
            self.slots.remove(&step.session);
        }
        if step.sql().contains("pg_create_physical_replication_slot") {
            self.slots.insert(step.session);
        }
        if rule == Some(Rule::LoudSequence) {
            self.learnt.insert(class.to_owned());
        } else if self.learnt.contains(class) && ran {
            let sql = step.sql();
            let idle = IDLE.iter().any(|word| sql.contains(word));
            for (word, sequence) in DRAWS.iter().filter(|_| !idle) {
                let numbers = numbers(&sql, word);
                self.drawn.extend(numbers.map(|number| (step.session, *sequence, number)));
            }
        }
    }

    /// After a step, behind which the session's last ReadyForQuery on PostgreSQL is this line.
    pub fn on_ready(&mut self, step: &Step, ready: Option<&Line>) {
        if ready.is_some_and(|line| line.text == "Z[I]") {
            self.parsed.remove(&step.session);
        } else if has_parse(step) {
            self.parsed.insert(step.session);
        }
    }

    /// Whether a step that failed on one side only has dropped what the session has on the other.
    pub fn loses_slots(&self, step: &Step, rule: Rule) -> bool {
        rule == Rule::LoudSequence && self.slots.contains(&step.session)
    }

    fn has_parsed(&self, step: &Step) -> bool {
        self.parsed.contains(&step.session) || has_parse(step)
    }

    /// Whether the session must know the number that this error says it does not.
    fn remembers(&self, session: usize, error: &str) -> bool {
        let any = self.drawn.iter().any(|(of, sequence, _)| *of == session && *sequence != SET);
        let knows = |word, sequences: &[&'static str]| {
            numbers(error, word).any(|number| {
                let mut drawn = sequences.iter().map(|of| (session, *of, number.clone()));
                drawn.any(|drawn| self.drawn.contains(&drawn))
            })
        };
        (error.contains("lastval is not") && any)
            || knows("sequence \"seq_", &[SEQ, SET])
            || knows("sequence \"serial_", &[SERIAL])
    }
}

/// The numbers behind a word: tables and sequences have those of their sessions.
fn numbers(sql: &str, word: &str) -> impl Iterator<Item = String> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect();
    sql.split(word).skip(1).map(digits).collect::<Vec<_>>().into_iter()
}

fn has_parse(step: &Step) -> bool {
    let Act::Send(messages) = &step.act else { return false };
    messages.iter().any(|message| matches!(message, Message::Parse(..)))
}

const SEQ: &str = "seq";
const SERIAL: &str = "serial";
const SHARED: &str = "shared";
/// `currval` is known then, and `lastval` is not.
const SET: &str = "set";

/// What in a text says that it draws from which sequence.
const DRAWS: [(&str, &str); 5] = [
    ("nextval('public.seq_", SEQ),
    ("setval('public.seq_", SET),
    ("hide_next('public.seq_", SEQ),
    ("insert into public.serial_", SERIAL),
    ("nextval('public.shared_seq", SHARED),
];

/// What in a text of one of these says that it draws nothing.
const IDLE: [&str; 2] = ["(id, a) values", "where false"];

/// Whether a step shows pg_prepared_statements; the text may be one that an earlier step has parsed.
fn shows_statements(sql: &str, through: &[Line]) -> bool {
    let ours = |line: &Line| line.text.starts_with("D(__pgweir_");
    sql.contains("pg_prepared_statements") || through.iter().any(ours)
}

/// Rows of protocol-level statements under other names than pgweir's: those that it has lent to SQL.
fn named_by_sql(lines: &[Line]) -> Vec<Vec<Option<String>>> {
    let rows = lines.iter().filter_map(|line| line.row.clone());
    rows.filter(|row| {
        matches!(&row[..], [Some(name), _, Some(by_sql)]
        if by_sql == "f" && !name.starts_with("__pgweir_"))
    })
    .collect()
}

/// Without the rows of statements that no PREPARE has made, which `SELECT n` does not count either.
fn without_protocols(lines: &[Line]) -> Vec<Line> {
    let mut kept = Vec::new();
    let mut dropped = 0;
    for line in lines {
        if matches!(line.row.as_deref(), Some([_, _, Some(by_sql)]) if by_sql == "f") {
            dropped += 1;
            continue;
        }
        let mut line = line.clone();
        if let Some([_, Some(text), Some(_)]) = line.row.as_deref_mut() {
            // What pgweir has put behind a RESET of the same Query, or in the place of a default.
            *text = without_sets(text);
            line.text.clear();
        }
        if line.row.is_none() {
            let count = line.text.strip_prefix("C[SELECT ").and_then(|text| text.strip_suffix(']'));
            if let Some(count) = count.and_then(|count| count.parse::<usize>().ok()) {
                line.text = format!("C[SELECT {}]", count.saturating_sub(dropped));
            }
            dropped = 0;
        }
        kept.push(line);
    }
    kept
}

fn without_sets(text: &str) -> String {
    let mut kept = String::new();
    for (number, part) in text.split("; ").enumerate() {
        if !(part.starts_with("SET \"") && part.contains("\" TO E'")) {
            kept.push_str(if number > 0 { "; " } else { "" });
            kept.push_str(without_default(part));
        }
    }
    kept
}

/// `set a = default` and what stands for it, without the value.
fn without_default(part: &str) -> &str {
    let is_set = part.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("set "));
    // What stands for it has a space of its own before it, quotes or none around it, and may be the last of a text.
    let ours = part.find("  ").map(|at| &part[..at]);
    let bare = part.strip_suffix(';').unwrap_or(part);
    let theirs = || [" default", " local"].iter().find_map(|word| bare.strip_suffix(word));
    if is_set { ours.or_else(theirs).unwrap_or(part) } else { part }
}

/// Errors that differ in whether a function in their context has its schema.
fn is_function_context(theirs: &[Line], ours: &[Line]) -> bool {
    let without =
        |line: &Line| line.text.replace("PL/pgSQL function public.", "PL/pgSQL function ");
    let same = |(a, b): (&Line, &Line)| a.row == b.row && without(a) == without(b);
    theirs.len() == ours.len() && theirs.iter().zip(ours).all(same)
}

/// NULL on one side is an empty text on the other, in rows that are the same otherwise; or SHOW
/// knows the name on that side only, behind such rows.
fn is_residue(sql: &str, missing: &[Line], empty: &[Line]) -> bool {
    if !["app.", "my."].iter().any(|prefix| sql.contains(prefix)) {
        return false;
    }
    let is_unknown =
        |line: &Line| line.text.starts_with("E[ERROR 42704] unrecognized configuration parameter");
    let same_row = |(missing, empty): (&Line, &Line)| match (&missing.row, &empty.row) {
        (Some(theirs), Some(ours)) => theirs.iter().zip(ours).all(|(theirs, ours)| {
            theirs == ours || (theirs.is_none() && ours.as_deref() == Some(""))
        }),
        _ => missing == empty,
    };
    let common = missing.iter().zip(empty).take_while(|pair| same_row(*pair)).count();
    if missing.get(common).is_some_and(is_unknown) {
        let shown = empty[common..].iter().find(|line| line.row.is_some() || line.is('E'));
        // A Bind that does not fit is refused for that where the name is known.
        return shown.is_some_and(|line| {
            line.row.as_deref() == Some(&[Some(String::new())])
                || line.text.starts_with("E[ERROR 08P01] bind message supplies")
        });
    }
    common == missing.len() && common == empty.len()
}

/// PostgreSQL gave a number, pgweir this 55000.
fn loud_error<'a>(direct: &[Line], through: &'a [Line]) -> Option<&'a str> {
    let loud = |line: &Line| {
        line.text.starts_with("E[ERROR 55000]")
            && line.text.contains("is not yet defined in this session")
    };
    let mut differing = direct.iter().zip(through).filter(|(theirs, ours)| theirs != ours);
    let (theirs, ours) = differing.next()?;
    (loud(ours) && !theirs.is('E')).then_some(&*ours.text)
}

/// The first difference is between these two errors.
fn is_failed_bind(direct: &[Line], through: &[Line]) -> bool {
    let hidden = |(theirs, ours): (&Line, &Line)| {
        theirs == ours
            || (theirs.text.starts_with("E[ERROR 08P01] bind message supplies")
                && ours.text.starts_with("E[ERROR 25P02]"))
    };
    direct.len() == through.len() && direct.iter().zip(through).all(hidden)
}

/// The same but for the hint.
fn has_hint(direct: &[Line], through: &[Line]) -> bool {
    let unhinted = without_hints(through.to_vec());
    unhinted != through && unhinted == direct
}

fn without_hints(mut lines: Vec<Line>) -> Vec<Line> {
    for line in &mut lines {
        let hints = ["The number was drawn in an earlier", "pgweir could not tell whether"];
        let starts = hints.iter().filter_map(|hint| line.text.find(&format!(" | {hint}")));
        line.text.truncate(starts.min().unwrap_or(line.text.len()));
    }
    lines
}

/// The same error, after a ParseComplete; or only that ParseComplete, if nothing asks the server for more
/// before the Sync.
fn is_late(direct: &[Line], through: &[Line]) -> bool {
    let common = direct.iter().zip(through).take_while(|(theirs, ours)| theirs == ours).count();
    let (Some(theirs), Some(ours)) = (direct.get(common), through.get(common)) else {
        return false;
    };
    let segment = through[common..].split(|line| line.is('Z')).next().unwrap_or_default();
    // In a failed transaction pgweir answers no Parse, and whether a name is taken it knows.
    let known = ["E[ERROR 25P02]", "E[ERROR 42P05]", "E[ERROR 26000]", "E[ERROR 08P01]"];
    let known = known.iter().any(|error| theirs.text.starts_with(error));
    let same = match segment.iter().find(|line| line.is('E')) {
        Some(later) => later == theirs,
        None => segment.iter().all(|line| ["1", "3"].contains(&line.text.as_str())),
    };
    theirs.is('E') && !known && ours.text == "1" && same
}

/// Both fail, and one because its server has had no temporary object.
fn is_temporary_residue(direct: &[Line], through: &[Line]) -> bool {
    let common = direct.iter().zip(through).take_while(|(theirs, ours)| theirs == ours).count();
    let (Some(theirs), Some(ours)) = (direct.get(common), through.get(common)) else {
        return false;
    };
    let no_schema =
        |line: &Line| line.text.starts_with("E[ERROR 3F000] schema \"pg_temp\" does not exist");
    let nothing_there = |line: &Line| {
        let codes = ["E[ERROR 42883]", "E[ERROR 42704]", "E[ERROR 42P01]"];
        codes.iter().any(|code| line.text.starts_with(code))
    };
    let one_way = no_schema(theirs) && nothing_there(ours);
    let other_way = nothing_there(theirs) && no_schema(ours);
    (one_way || other_way) && direct[common + 1..] == through[common + 1..]
}

/// In a transaction that has run nothing yet, one text sets the level and asks.
fn is_late_isolation(sql: &str, direct: &[Line], through: &[Line]) -> bool {
    let asks = sql.contains("lastval()") || sql.contains("currval(");
    asks && sql.contains("isolation level") && is_late_level(through) && !is_late_level(direct)
}

/// In a transaction that has done nothing but parse, the level is set.
fn is_early_isolation(sql: &str, direct: &[Line], through: &[Line]) -> bool {
    sql.contains("isolation level") && is_late_level(direct) && !is_late_level(through)
}

fn is_late_level(lines: &[Line]) -> bool {
    let late = "E[ERROR 25001] SET TRANSACTION ISOLATION LEVEL must be called before any query";
    lines.iter().any(|line| line.text.starts_with(late))
}

/// The first difference is that error, on the second side.
fn refuses_buffers(direct: &[Line], through: &[Line]) -> bool {
    let refused = "E[ERROR 22023] invalid value for parameter \"temp_buffers\"";
    let mut differing = direct.iter().zip(through).filter(|(theirs, ours)| theirs != ours);
    differing.next().is_some_and(|(theirs, ours)| ours.text.starts_with(refused) && !theirs.is('E'))
}
