//! Compares what the two sides showed, up to the first difference under no rule.

use std::collections::BTreeMap;

use super::program::{Act, Area, Message, Program, Step};
use super::rules::{Past, Rule, allowed};
use super::seen::{Record, Seen};

/// What came of a program.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The first difference under no rule.
    pub difference: Option<Difference>,
    /// How often each rule was needed before.
    pub rules: BTreeMap<Rule, usize>,
    /// How many steps were compared, by area and kind.
    pub compared: BTreeMap<(Area, &'static str), usize>,
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
    let mut past = Past::default();
    let mut users = vec![""; program.sessions];
    let mut texts = Texts::default();
    for (number, step) in program.steps.iter().enumerate() {
        let (theirs, ours) = (&direct.steps[number], &through.steps[number]);
        if let Act::LogIn(login) = &step.act {
            users[step.session] = login.user;
        }
        let same = differs(theirs, ours).is_none();
        let run = texts.on_step(step);
        let rule = if same { None } else { allowed(step, &run, theirs, ours, &past) };
        if !same && rule.is_none() {
            let (direct, through) = differs(theirs, ours).unwrap_or_default();
            let kind = format!("{:?}: {}", step.area, step.kind);
            verdict.difference = Some(Difference { step: number, kind, direct, through });
            return verdict;
        }
        *verdict.compared.entry((step.area, step.kind)).or_default() += 1;
        if let Some(rule) = rule {
            *verdict.rules.entry(rule).or_default() += 1;
            let ends = |seen: &Seen| seen.lines.last().map(|line| line.text.clone());
            // In a transaction, an error that only one side has changes all that follows.
            let elsewhere = ends(theirs) != ends(ours) || skips(step, theirs, ours);
            // From then on the setting is another.
            let is_over = rule == Rule::TemporaryBuffers || past.loses_slots(step, rule);
            if is_over || !rule.goes_on() && elsewhere {
                return verdict;
            }
        }
        let has = |letter| theirs.lines.iter().any(|line| line.is(letter));
        let ran = has('C') && !has('E');
        let name = theirs.parameters.get("application_name").map_or("", String::as_str);
        past.on_step(step, &format!("{} {name}", users[step.session]), rule, ran);
        past.on_ready(step, theirs.lines.last());
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

/// An error that only one side has has kept the rest of the step from being run there.
fn skips(step: &Step, direct: &Seen, through: &Seen) -> bool {
    let failed = |seen: &Seen| {
        let error = seen.lines.iter().find(|line| line.is('E'));
        error.map(|line| line.text.split(" | ").next().unwrap_or_default().to_owned())
    };
    let alone = match &step.act {
        Act::Send(messages) => {
            matches!(messages.as_slice(), [Message::Query(sql)] if !sql.contains(';'))
        }
        Act::LogIn(_) => true,
    };
    failed(direct) != failed(through) && !alone
}

/// What each session has parsed, by the name of its statement.
#[derive(Default)]
struct Texts(BTreeMap<(usize, &'static str), String>);

impl Texts {
    /// All texts that a step may run: its own, and those behind the names that it binds.
    fn on_step(&mut self, step: &Step) -> String {
        let mut run = String::new();
        let Act::Send(messages) = &step.act else { return run };
        for message in messages {
            match message {
                Message::Query(sql) => run.push_str(sql),
                Message::Parse(name, sql) => {
                    run.push_str(sql);
                    self.0.insert((step.session, name), sql.clone());
                }
                Message::Bind(_, name, _) => {
                    run.push_str(self.0.get(&(step.session, *name)).map_or("", String::as_str));
                }
                _ => {}
            }
            run.push_str(" ; ");
        }
        run
    }
}

/// What differs, as text of both sides.
fn differs(direct: &Seen, through: &Seen) -> Option<(String, String)> {
    if direct.lines != through.lines {
        return Some((direct.to_string(), through.to_string()));
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
