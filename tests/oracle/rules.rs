//! Where pgweir may differ from PostgreSQL, one rule each. Whatever is under no rule is a fault.

use super::program::Step;
use super::seen::{Line, Seen};

/// A difference that is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The first currval or lastval of a later transaction fails loudly.
    LoudSequence,
    /// A placeholder that some session has set is empty rather than missing.
    PlaceholderResidue,
    /// pg_prepared_statements shows pgweir's names, and all that share the server.
    StatementNames,
    /// The error of a Parse that pgweir answered comes at its Bind.
    LateParseError,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::LoudSequence, Self::PlaceholderResidue, Self::StatementNames, Self::LateParseError];

    /// How the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoudSequence => "first currval or lastval fails loudly",
            Self::PlaceholderResidue => "placeholder is empty, not missing",
            Self::StatementNames => "names in pg_prepared_statements",
            Self::LateParseError => "error of a Parse comes later",
        }
    }

    /// Whether the sessions' states are the same after it.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::PlaceholderResidue | Self::StatementNames)
    }
}

/// The rule under which two different sights of one step stand, if there is one. `drawn` says
/// whether the session has drawn a number since it was first told loudly.
pub fn allowed(step: &Step, direct: &Seen, through: &Seen, drawn: bool) -> Option<Rule> {
    if direct.early != through.early {
        return None;
    }
    let (ours, theirs) = (&through.lines, &direct.lines);
    if step.kind == LIST_STATEMENTS && same_statements(theirs, ours) {
        return Some(Rule::StatementNames);
    }
    if is_residue(step, theirs, ours) {
        return Some(Rule::PlaceholderResidue);
    }
    if !drawn && is_loud(theirs, ours) {
        return Some(Rule::LoudSequence);
    }
    is_late(theirs, ours).then_some(Rule::LateParseError)
}

/// Whether this step draws a number from a sequence.
pub fn draws(step: &Step) -> bool {
    let sql = step.sql();
    ["nextval", "setval", "serial_"].iter().any(|word| sql.contains(word))
}

/// Those prepared by SQL are the same.
fn same_statements(direct: &[Line], through: &[Line]) -> bool {
    let by_sql = |lines: &[Line]| -> Vec<Vec<Option<String>>> {
        let rows = lines.iter().filter_map(|line| line.row.clone());
        rows.filter(|row| row.last() == Some(&Some("t".to_owned()))).collect()
    };
    let others = |lines: &[Line]| -> Vec<Line> {
        lines.iter().filter(|line| line.row.is_none() && !line.is('C')).cloned().collect()
    };
    by_sql(direct) == by_sql(through) && others(direct) == others(through)
}

/// NULL became an empty text, in rows that are the same otherwise; or SHOW knows the name.
fn is_residue(step: &Step, direct: &[Line], through: &[Line]) -> bool {
    let sql = step.sql();
    if !["app.", "my."].iter().any(|prefix| sql.contains(prefix)) {
        return false;
    }
    let is_unknown = |line: &Line| line.text.starts_with("E[ERROR 42704]");
    let shows = through.iter().any(|line| line.row.as_deref() == Some(&[Some(String::new())]));
    if direct.iter().any(is_unknown) && shows {
        return through.last() == direct.last();
    }
    let same_row = |(direct, through): (&Line, &Line)| match (&direct.row, &through.row) {
        (Some(theirs), Some(ours)) => theirs.iter().zip(ours).all(|(theirs, ours)| {
            theirs == ours || (theirs.is_none() && ours.as_deref() == Some(""))
        }),
        _ => direct == through,
    };
    direct.len() == through.len() && direct.iter().zip(through).all(same_row)
}

/// PostgreSQL gave a number, pgweir 55000.
fn is_loud(direct: &[Line], through: &[Line]) -> bool {
    let loud = |line: &Line| {
        line.text.starts_with("E[ERROR 55000]")
            && line.text.contains("is not yet defined in this session")
    };
    through.iter().any(loud) && !direct.iter().any(|line| line.is('E'))
}

/// The same error, after a ParseComplete; or only that ParseComplete, if no Bind follows.
fn is_late(direct: &[Line], through: &[Line]) -> bool {
    let common = direct.iter().zip(through).take_while(|(theirs, ours)| theirs == ours).count();
    let (Some(theirs), Some(ours)) = (direct.get(common), through.get(common)) else {
        return false;
    };
    let later = through[common..].iter().find(|line| line.is('E'));
    theirs.is('E') && ours.text == "1" && later.is_none_or(|later| later == theirs)
}

/// The step that [`Rule::StatementNames`] is about.
pub const LIST_STATEMENTS: &str = "list statements";
