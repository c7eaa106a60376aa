//! Compares what the two sides showed, up to the first difference under no rule.

use std::collections::BTreeMap;

use super::program::{Area, Program};
use super::rules::{Rule, allowed, draws};
use super::seen::{Line, Record, Seen};

/// What came of a program.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The first difference under no rule.
    pub difference: Option<Difference>,
    /// How often each rule was needed before.
    pub rules: BTreeMap<Rule, usize>,
    /// How many steps were compared, by area.
    pub compared: BTreeMap<Area, usize>,
}

/// The first difference of a program.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step, or the number of steps if only notifications differ.
    pub step: usize,
    /// What kind of step it is.
    pub kind: String,
    /// What was to be seen.
    pub direct: String,
    /// What was seen.
    pub through: String,
}

/// Compares step by step.
pub fn compare(program: &Program, direct: &Record, through: &Record) -> Verdict {
    let mut verdict = Verdict::default();
    // By session: whether it was told loudly, and whether it has drawn since.
    let mut loud = vec![(false, false); program.sessions];
    for (number, step) in program.steps.iter().enumerate() {
        let (theirs, ours) = (&direct.steps[number], &through.steps[number]);
        let told = &mut loud[step.session];
        let same = differs(theirs, ours).is_none();
        let rule = if same { None } else { allowed(step, theirs, ours, told.0 && told.1) };
        if !same && rule.is_none() {
            let (direct, through) = differs(theirs, ours).unwrap_or_default();
            let kind = format!("{:?}: {}", step.area, step.kind);
            verdict.difference = Some(Difference { step: number, kind, direct, through });
            return verdict;
        }
        *verdict.compared.entry(step.area).or_default() += 1;
        if let Some(rule) = rule {
            *verdict.rules.entry(rule).or_default() += 1;
            let ends = |seen: &Seen| seen.lines.last().map(|line| line.text.clone());
            // In a transaction, an error that only one side has changes all that follows.
            if !rule.goes_on() && ends(theirs) != ends(ours) {
                return verdict;
            }
        }
        told.0 |= rule == Some(Rule::LoudSequence);
        told.1 |= told.0 && rule.is_none() && draws(step);
    }
    for (session, (theirs, ours)) in direct.notes.iter().zip(&through.notes).enumerate() {
        if theirs != ours {
            verdict.difference = Some(Difference {
                step: program.steps.len(),
                kind: "Listen: notifications received".to_owned(),
                direct: format!("s{session} got {theirs:?}"),
                through: format!("s{session} got {ours:?}"),
            });
            return verdict;
        }
    }
    verdict
}

/// What differs, as text of both sides.
fn differs(direct: &Seen, through: &Seen) -> Option<(String, String)> {
    let text = |lines: &[Line]| lines.iter().map(Line::to_string).collect::<Vec<_>>().join(" ");
    if direct.lines != through.lines {
        return Some((text(&direct.lines), text(&through.lines)));
    }
    if direct.early != through.early {
        let early = |seen: &Seen| format!("{} notifications inside a transaction", seen.early);
        return Some((early(direct), early(through)));
    }
    let names = direct.parameters.keys().chain(through.parameters.keys());
    let changed = |name: &&String| direct.parameters.get(*name) != through.parameters.get(*name);
    let name = names.into_iter().find(changed)?;
    let value = |seen: &Seen| format!("ParameterStatus {name}={:?}", seen.parameters.get(name));
    Some((value(direct), value(through)))
}
