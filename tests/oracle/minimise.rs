//! Drops steps from a program that differs for as long as it still differs in the same kind of step.

use super::compare::Difference;
use super::program::{Act, Login, Message, Program};

/// A smaller program with the same kind of difference; `differs` runs one.
pub fn minimise(
    program: &Program,
    difference: Difference,
    mut differs: impl FnMut(&Program) -> Option<Difference>,
) -> (Program, Difference) {
    let mut best = (program.clone(), difference);
    best.0.steps.truncate(best.1.step + 1);
    let kind = best.1.kind.clone();
    let mut attempt = |best: &mut (Program, Difference), candidate: Program| -> bool {
        let found = differs(&candidate).filter(|found| found.kind == kind);
        let Some(found) = found else { return false };
        *best = (candidate, found);
        let end = best.1.step + 1;
        best.0.steps.truncate(end);
        true
    };
    let mut size = best.0.steps.len() / 2;
    while size > 0 {
        // From the end, so that what is left to try keeps its place.
        let mut end = best.0.steps.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let mut candidate = best.0.clone();
            let upto = end.min(candidate.steps.len());
            candidate.steps.drain(start.min(upto)..upto);
            attempt(&mut best, candidate);
            end = start;
        }
        size /= 2;
    }
    for number in 0..best.0.steps.len() {
        let Some(act) = best.0.steps.get(number).and_then(|step| plainer(&step.act)) else {
            continue;
        };
        let mut candidate = best.0.clone();
        candidate.steps[number].act = act;
        attempt(&mut best, candidate);
    }
    best
}

/// The same in a plainer form, if there is one.
fn plainer(act: &Act) -> Option<Act> {
    match act {
        Act::LogIn(login) if !login.parameters.is_empty() => {
            Some(Act::LogIn(Login { user: login.user, parameters: Vec::new() }))
        }
        Act::Send(messages) => match messages.as_slice() {
            [Message::Parse("", sql), .., Message::Bind(_, _, values), _, Message::Sync]
                if values.is_empty() =>
            {
                Some(Act::Send(vec![Message::Query(sql.clone())]))
            }
            _ => None,
        },
        Act::LogIn(_) => None,
    }
}
