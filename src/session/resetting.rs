//! What the client's RESET means: the values of its StartupMessage, which no server knows as defaults
//! (docs/semantics.md "Settings").
//!
//! Statements of one Query reset, set and undo in turn; what holds in the end, and what if one of them
//! fails, is worked out ahead, and their tags tell how far they are.

use super::Session;
use super::pins::PinReason;
use super::settings::{Change, Settings};
use crate::sql::{self, Resets, Touched, Turn};
use crate::without::is_off;

/// Where the statements of a Query take the settings of the StartupMessage.
#[derive(Debug)]
pub(super) struct Course {
    /// Before the first statement, and behind each.
    stages: Vec<Stage>,
    done: usize,
}

/// While a statement runs, or behind the last.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Stage {
    /// Settings that are reset if it succeeds.
    then: Vec<Box<str>>,
    /// The same if it fails.
    kept: Vec<Box<str>>,
}

impl Course {
    fn new(turns: &[Turn], startup: &Settings) -> Self {
        let mut stages = Vec::with_capacity(turns.len() + 1);
        let (mut now, mut kept): (Vec<Box<str>>, Vec<Box<str>>) = Default::default();
        let mut points: Vec<(&[u8], Vec<Box<str>>)> = Vec::new();
        for turn in turns {
            let before = kept.clone();
            match turn {
                Turn::Touches(touched) => touch(&mut now, touched, startup),
                Turn::Saves(name) => points.push((name, now.clone())),
                Turn::ReturnsTo(name) => {
                    let point = points.iter().rev().find(|(point, _)| *point == &**name);
                    now = point.map_or_else(|| kept.clone(), |(_, then)| then.clone());
                }
                Turn::Commits => {
                    kept.clone_from(&now);
                    points.clear();
                }
                Turn::RollsBack => {
                    now.clone_from(&kept);
                    points.clear();
                }
            }
            stages.push(Stage { then: now.clone(), kept: before });
        }
        stages.push(Stage { then: now, kept });
        Self { stages, done: 0 }
    }

    fn stage(&self) -> Stage {
        self.stages.get(self.done).cloned().unwrap_or_default()
    }
}

/// What a statement resets, and sets anew.
fn touch(now: &mut Vec<Box<str>>, touched: &Touched, startup: &Settings) {
    let is = |names: &[Box<str>], name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    for (name, _) in startup.iter() {
        if touched.resets.contains(name) {
            if !is(now, name) {
                now.push(name.into());
            }
        } else if is(&touched.names, name) {
            now.retain(|known| !known.eq_ignore_ascii_case(name));
        }
    }
}

impl Session {
    /// A text may reset settings. Of a Query its statements count in their order.
    pub(super) fn note_resets(&mut self, touched: &Touched, text: Option<&[u8]>) {
        if touched.resets == Resets::None || is_off("startup_on_reset") {
            return;
        }
        if let Some(text) = text.filter(|_| !self.startup.is_empty()) {
            let catalogue = self.knowledge.catalogue();
            let options = self.reading.options(false, catalogue.as_deref());
            let turns = sql::course(text, &options);
            drop(catalogue);
            self.course = turns.map(|turns| Course::new(&turns, &self.startup));
        }
        if let Some(course) = &self.course {
            let then = course.stage().then;
            return self.reset_only(then);
        }
        for (name, value) in self.startup.iter().filter(|(name, _)| touched.resets.contains(name)) {
            self.restoring.push(Change { name: name.into(), value: Some(value.into()) });
        }
        self.resets.add(touched.resets.clone());
    }

    fn reset_only(&mut self, names: Vec<Box<str>>) {
        let is_reset = |name: &str| names.iter().any(|n| **n == *name);
        let values = self.startup.iter().filter(|(name, _)| is_reset(name));
        let change =
            |(name, value): (&str, &[u8])| Change { name: name.into(), value: Some(value.into()) };
        self.restoring = values.map(change).collect();
        self.resets = if names.is_empty() { Resets::None } else { Resets::Names(names) };
    }

    /// A statement of the client's Query is done.
    pub(super) fn on_statement_done(&mut self) {
        let Some(course) = &mut self.course else { return };
        course.done += 1;
        let then = course.stage().then;
        self.reset_only(then);
    }

    /// The client's transaction is over, and all that was reset in it is.
    pub(super) fn on_resets_kept(&mut self) {
        if self.reset_all.take().is_some() {
            self.pins.set(PinReason::Setting, false);
        }
    }

    /// What was reset since the last ReadyForQuery was rolled back, unless a Query goes on behind that, or
    /// had committed some of it.
    pub(super) fn on_resets_undone(&mut self, failed: bool) {
        if let Some(unnamed) = self.reset_all.take() {
            self.questions.touched.any |= unnamed;
        }
        if let Some(course) = &self.course {
            if failed {
                let kept = course.stage().kept;
                self.reset_only(kept);
            }
            return;
        }
        self.resets = Resets::None;
        if !self.open_segment {
            self.restoring.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Options;

    /// What is reset in the end, and what if the statement behind so many fails.
    fn ends(text: &str, fails: usize) -> (String, String) {
        let mut startup = Settings::default();
        startup.set("DateStyle", b"German");
        startup.set("work_mem", b"1MB");
        let turns = sql::course(text.as_bytes(), &Options::default()).unwrap();
        let mut course = Course::new(&turns, &startup);
        course.done = fails;
        let kept = course.stage().kept.join(" ");
        course.done = turns.len();
        (course.stage().then.join(" "), kept)
    }

    #[test]
    fn resets_hold_by_the_order_of_statements() {
        for (text, fails, then, kept) in [
            ("begin; select 1; rollback; reset all", 3, "DateStyle work_mem", ""),
            ("reset all; rollback; reset work_mem; select 1", 3, "work_mem", ""),
            (
                "reset all; commit; begin; select 1; rollback",
                3,
                "DateStyle work_mem",
                "DateStyle work_mem",
            ),
            ("reset DateStyle; set datestyle = 'ISO'; select 1", 2, "", ""),
            ("reset all; savepoint a; rollback to a; commit", 1, "DateStyle work_mem", ""),
            ("savepoint a; reset all; rollback to a; reset work_mem", 4, "work_mem", ""),
            ("reset all; rollback to earlier; select 1", 2, "", ""),
        ] {
            assert_eq!(ends(text, fails), (then.to_owned(), kept.to_owned()), "{text}");
        }
    }
}
