//! What is printed after many programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::compare::{Difference, Verdict};
use super::program::{Area, Program};
use super::rules::Rule;

/// Sums over programs.
#[derive(Debug, Default)]
pub struct Report {
    programs: usize,
    differing: usize,
    compared: BTreeMap<(Area, &'static str), usize>,
    rules: BTreeMap<Rule, usize>,
    kinds: BTreeMap<String, Kind>,
}

/// Programs whose first difference is in the same kind of step.
#[derive(Debug, Default)]
struct Kind {
    seeds: Vec<u64>,
    example: Option<String>,
}

impl Report {
    /// Takes one verdict in; true if an example of its kind of difference is wanted: the first of
    /// each of the first kinds, since making it small takes a hundred runs.
    pub fn add(&mut self, program: &Program, verdict: &Verdict) -> bool {
        self.programs += 1;
        if self.programs.is_multiple_of(PROGRESS) {
            println!("{} programs, {} differing", self.programs, self.differing);
        }
        for (kind, count) in &verdict.compared {
            *self.compared.entry(*kind).or_default() += count;
        }
        for (rule, count) in &verdict.rules {
            *self.rules.entry(*rule).or_default() += count;
        }
        let Some(difference) = &verdict.difference else {
            return false;
        };
        self.differing += 1;
        println!("seed {} differs: {}", program.seed, difference.kind);
        let kind = self.kinds.entry(difference.kind.clone()).or_default();
        kind.seeds.push(program.seed);
        kind.seeds.len() == 1 && self.kinds.len() <= MOST_EXAMPLES
    }

    /// A minimised program for its kind.
    pub fn example(&mut self, program: &Program, difference: &Difference) {
        let mut text = program.to_string();
        let _ = writeln!(text, "  direct:  {}", difference.direct);
        let _ = writeln!(text, "  through: {}", difference.through);
        self.kinds.entry(difference.kind.clone()).or_default().example = Some(text);
    }

    /// Programs with a difference under no rule.
    pub fn differing(&self) -> usize {
        self.differing
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.seeds.len()));
        for (name, kind) in &kinds {
            writeln!(f, "\n## {name}: first in {} programs", kind.seeds.len())?;
            let seeds = kind.seeds.iter().take(8).map(u64::to_string).collect::<Vec<_>>();
            writeln!(f, "seeds {}", seeds.join(" "))?;
            f.write_str(kind.example.as_deref().unwrap_or_default())?;
        }
        writeln!(f, "\nprograms {}, differing {}", self.programs, self.differing)?;
        writeln!(f, "\nfirst difference in a step of the kind:")?;
        for (name, kind) in &kinds {
            writeln!(f, "{:6}  {name}", kind.seeds.len())?;
        }
        writeln!(f, "\nallowed differences:")?;
        for rule in Rule::ALL {
            writeln!(f, "{:6}  {}", self.rules.get(&rule).unwrap_or(&0), rule.name())?;
        }
        writeln!(f, "\nsteps compared, by what they are about:")?;
        for ((area, kind), count) in &self.compared {
            writeln!(f, "{count:6}  {area:?}: {kind}")?;
        }
        Ok(())
    }
}

/// A long run says how far it is, and what it has found, should it not come to its end.
const PROGRESS: usize = 500;
const MOST_EXAMPLES: usize = 25;
