//! The oracle itself is proven: with the handling of one kind of state switched off, it must see it.

use super::Plan;
use super::arena::{Arena, cluster};
use super::generate;
use super::pooler::Kind;
use super::program::Area;

/// Handlings that can be switched off, and what programs are about that must then differ.
const SWITCHES: &[(&str, &[Area])] = &[
    // Values that the client said at its login, and those it has set since.
    ("startup", &[Area::Login, Area::Setting]),
    ("reported", &[Area::Reported]),
    ("settings", &[Area::Setting]),
    ("placeholders", &[Area::Placeholder]),
    ("role", &[Area::Role]),
    ("authorization", &[Area::Authorization]),
    // What a transaction has undone is taken for set.
    ("rollback", &[Area::Setting, Area::Transaction]),
    ("local", &[Area::Local]),
    ("reset", &[Area::Setting, Area::Discard]),
    // Statements.
    ("sql-prepared", &[Area::SqlPrepared]),
    ("named", &[Area::Named]),
    ("unnamed", &[Area::Unnamed]),
    ("fingerprint", &[Area::Named, Area::Reported]),
    ("deallocate", &[Area::Named, Area::Discard]),
    // Pins.
    ("cursors", &[Area::Cursor]),
    ("temporary", &[Area::Temporary]),
    ("locks", &[Area::Advisory]),
    ("listen", &[Area::Listen]),
    ("sequences", &[Area::Sequence]),
    ("load", &[Area::Load]),
    ("slots", &[Area::Slot]),
    ("backup", &[Area::Backup]),
    ("origins", &[Area::Origin]),
    ("extensions", &[Area::Extension]),
    ("functions", &[Area::Hidden]),
    // What a client leaves behind stays.
    ("cleaning", &[Area::Login, Area::Advisory]),
];

/// Runs programs until one differs; the same programs must not differ with everything on.
fn prove(arena: &mut Arena, switch: &'static str, focus: &[Area], plan: &Plan) -> Option<String> {
    for seed in (plan.seed..).take(MOST_PROGRAMS) {
        let program = generate::program(seed, plan.steps, focus);
        arena.set_kind(Kind::Without(switch));
        let Some(difference) = arena.judge(&program).difference else {
            continue;
        };
        arena.set_kind(Kind::Weir);
        let with = arena.judge(&program).difference;
        assert!(with.is_none(), "program {seed} differs with everything on: {with:?}");
        let programs = seed - plan.seed + 1;
        return Some(format!("| {switch} | {programs} | {seed} | {} |", difference.kind));
    }
    None
}

#[test]
#[ignore = "pgweir has no switches yet"]
fn each_switch_makes_the_oracle_differ() {
    let plan = Plan::from_env(0);
    let mut arena = Arena::new(&cluster(), Kind::Weir, false);
    let mut blind = Vec::new();
    println!("| without | programs until it shows | seed | first difference |\n|---|---|---|---|");
    for (switch, focus) in SWITCHES {
        match prove(&mut arena, switch, focus, &plan) {
            Some(line) => println!("{line}"),
            None => blind.push(*switch),
        }
    }
    assert!(blind.is_empty(), "nothing differs without {blind:?}");
}

const MOST_PROGRAMS: usize = 300;
