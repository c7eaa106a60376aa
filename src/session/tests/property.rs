//! Random pipelines: whatever clients send, each sees what it would see on a server of its own.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::postgres::Postgres;
use super::script;
use super::world::{OWN_ZONES, Step, Then, World};
use crate::session::flow::{Flow, Kind, Owner};

const NAMES: [&str; 4] = ["", "a", "b", "c"];
const PORTALS: [&str; 3] = ["", "p", "q"];

/// Texts of named statements, and of the others.
const TEXTS: [&str; 9] = [
    "select 1",
    "select 2",
    "select 3",
    "select literal",
    "show timezone",
    "select rows",
    "select 1/0",
    "insert deferred",
    "copy t to stdout",
];
const EXITS: [&str; 3] = ["begin", "commit", "rollback"];

fn zone(client: usize) -> impl Strategy<Value = String> {
    select(vec!["UTC", OWN_ZONES[client]]).prop_map(|zone| format!("set timezone to {zone}"))
}

fn text(client: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        10 => select(&TEXTS[..]).prop_map(String::from),
        2 => zone(client),
        1 => Just("reset timezone".into()),
    ]
}

fn unnamed_text(client: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        6 => text(client),
        2 => select(&EXITS[..]).prop_map(String::from),
        1 => Just("selec 1".into()),
        1 => Just(String::new()),
    ]
}

/// One message of the extended protocol, or a few that belong together.
fn extended(client: usize) -> impl Strategy<Value = String> {
    let name = || select(&NAMES[..]);
    let named = || select(&NAMES[1..]);
    let portal = || select(&PORTALS[..]);
    prop_oneof![
        3 => (named(), text(client)).prop_map(|(n, t)| format!("P({n},{t})")),
        3 => (named(), text(client)).prop_map(|(n, t)| format!("C({n}) P({n},{t})")),
        1 => named().prop_map(|n| format!("P({n}x,selec 1)")),
        2 => unnamed_text(client).prop_map(|t| format!("P(,{t})")),
        3 => unnamed_text(client).prop_map(|t| format!("P(,{t}) B() E()")),
        6 => name().prop_map(|n| format!("B({n}) E()")),
        2 => (name(), portal()).prop_map(|(n, p)| format!("B({n},{p})")),
        2 => (portal(), 0..3_u32).prop_map(|(p, limit)| format!("E({p},{limit})")),
        2 => name().prop_map(|n| format!("D({n})")),
        1 => portal().prop_map(|p| format!("Dp({p})")),
        1 => name().prop_map(|n| format!("C({n})")),
        1 => portal().prop_map(|p| format!("Cp({p})")),
        1 => Just("H".into()),
        1 => Just("d(1) c".into()),
    ]
}

fn query(client: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => text(client),
        4 => select(&EXITS[..]).prop_map(String::from),
        1 => Just("selec 1".into()),
        1 => Just(String::new()),
        1 => Just("select 1; select 1/0; select 2".into()),
        1 => Just("select 1; selec 2".into()),
        1 => Just("begin; select 1; commit; select 2".into()),
    ]
    .prop_map(|text| format!("Q({text})"))
}

fn copy_data() -> impl Strategy<Value = String> {
    let line = select(vec!["d(1)", "d(1)", "d(2)", "d(bad)"]);
    let end = select(vec!["c", "c", "f(no)"]);
    (prop::collection::vec(line, 0..4), end).prop_map(|(lines, end)| lines.join(" ") + " " + end)
}

fn copy() -> impl Strategy<Value = String> {
    let stray = || prop::collection::vec(select(vec!["S", "H"]), 0..3).prop_map(|s| s.join(" "));
    let start = select(vec![
        "P(copy,copy t from stdin) B(copy,copy) E(copy)",
        "C(copy) P(copy,copy t from stdin) B(copy,copy) E(copy)",
        "P(copy,copy t from stdin) B(missing,copy) E(copy)",
        "P(,selec 1) P(copy,copy t from stdin) B(copy,copy) E(copy)",
    ]);
    let simple = select(vec![
        "Q(copy t from stdin)",
        "Q(select 1; copy t from stdin; select 2)",
        "Q(select 1/0; copy t from stdin)",
    ]);
    prop_oneof![
        (start, stray(), copy_data()).prop_map(|(s, x, d)| format!("{s} {x} {d} Cp(copy) S")),
        (simple, stray(), copy_data()).prop_map(|(s, x, d)| format!("{s} {x} {d}")),
    ]
}

/// What pgweir answers itself leaves the server's unnamed portal, which a Query would drop.
fn local() -> impl Strategy<Value = String> {
    select(vec![
        "Cp() S Q(deallocate a)",
        "Cp() S Q(deallocate b)",
        "Cp() S Q(deallocate all)",
        "P(,select 1) Q(deallocate all)",
        "Cp() S Q(discard all)",
        "P(,deallocate all) B() E() S",
        "P(z,deallocate all) B(z) E() C(z) S",
    ])
    .prop_map(String::from)
}

fn group(client: usize) -> impl Strategy<Value = String> {
    let segment = prop::collection::vec(extended(client), 1..6).prop_map(|m| m.join(" "));
    prop_oneof![
        8 => (segment, select(vec!["S", "S", "S", "H", "", "Q(select 7)", "F(bad)"]))
            .prop_map(|(s, end)| format!("{s} {end}")),
        4 => query(client),
        2 => copy(),
        1 => local(),
        1 => Just("F(good)".into()),
        1 => Just("F(bad)".into()),
        1 => Just("S S".into()),
        1 => Just("S Q(begin)".into()),
    ]
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        3 => Just(Then::Nothing),
        2 => (0..60_usize).prop_map(Then::Part),
        3 => Just(Then::Drain),
    ]
}

fn step(clients: usize) -> impl Strategy<Value = Step> {
    (0..clients).prop_flat_map(|client| {
        (group(client), then(), 0..4_usize).prop_map(move |(script, then, choice)| Step {
            client,
            script,
            then,
            choice,
        })
    })
}

fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(cases);
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

fn check<T: std::fmt::Debug>(result: Result<(), TestError<T>>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn a_client_sees_what_it_would_see_alone() {
    let steps = prop::collection::vec(step(1), 1..12);
    check(
        runner(600)
            .run(&steps, |steps| World::new(1, 2, 2).run(&steps).map_err(TestCaseError::fail)),
    );
}

/// The segment ends its failed transaction itself, and the server has lost what the name stands for.
#[test]
fn a_taken_name_is_refused_behind_the_end_of_a_failed_transaction() {
    let step =
        |script: &str| Step { client: 0, script: script.into(), then: Then::Drain, choice: 0 };
    let failed = [step("Q(begin)"), step("C(a) P(a,select 3) C(b) P(b,select 1) P(ax,selec 1) S")];
    for text in ["select 1", "select 3", "commit", "", "selec 1"] {
        for end in ["P(,commit) B() E()", "P(,rollback) B() E()", "P(,) B() E()", "P(,commit) B()"]
        {
            let mut steps = failed.to_vec();
            steps.push(step(&format!("{end} P(a,{text}) S")));
            steps.push(step("B(a) E() S Q(commit)"));
            World::new(1, 2, 2)
                .run(&steps)
                .unwrap_or_else(|error| panic!("{end}, then {text}: {error}"));
        }
    }
}

#[test]
fn clients_that_share_servers_see_nothing_of_each_other() {
    let steps = prop::collection::vec(step(3), 1..24);
    check(
        runner(400)
            .run(&steps, |steps| World::new(3, 3, 3).run(&steps).map_err(TestCaseError::fail)),
    );
}

#[test]
fn transactions_that_begin_without_a_server_are_the_same() {
    let steps = prop::collection::vec(step(3), 1..24);
    check(runner(400).run(&steps, |steps| {
        World::new(3, 3, 3).lazily().run(&steps).map_err(TestCaseError::fail)
    }));
}

/// What decides when a server may be released.
trait Fifo: Default {
    fn sent(&mut self, tag: u8);
    fn answered(&mut self, tag: u8) -> Result<(), String>;
    fn is_free(&self) -> bool;
}

#[derive(Default)]
struct Ours(Flow<()>);

impl Fifo for Ours {
    fn sent(&mut self, tag: u8) {
        let kind = match tag {
            b'P' => Kind::Parse,
            b'B' => Kind::Bind,
            b'D' => Kind::Describe,
            b'E' => Kind::Execute,
            b'C' => Kind::Close,
            b'S' => Kind::Sync,
            b'Q' => Kind::Query,
            b'F' => Kind::Call,
            b'd' => Kind::CopyData,
            b'c' | b'f' => Kind::CopyEnd,
            _ => return,
        };
        self.0.sent(kind, Owner::Client, ());
    }

    fn answered(&mut self, tag: u8) -> Result<(), String> {
        if matches!(tag, b'S' | b'N') {
            return Ok(());
        }
        self.0.on_backend(tag).map_err(|e| e.to_string())?;
        let _ = self.0.take_dropped().count();
        Ok(())
    }

    fn is_free(&self) -> bool {
        self.0.is_empty()
    }
}

/// The mutant: one ReadyForQuery for every Sync, Query and FunctionCall.
#[derive(Default)]
struct CountsSyncs(i64);

impl Fifo for CountsSyncs {
    fn sent(&mut self, tag: u8) {
        self.0 += i64::from(matches!(tag, b'S' | b'Q' | b'F'));
    }

    fn answered(&mut self, tag: u8) -> Result<(), String> {
        self.0 -= i64::from(tag == b'Z');
        if self.0 < 0 { Err("too many".into()) } else { Ok(()) }
    }

    fn is_free(&self) -> bool {
        self.0 == 0
    }
}

/// Everything is sent at once, then answered: free exactly after the last answer.
fn is_free_exactly_at_the_end<F: Fifo>(script: &str) -> Result<(), String> {
    let (mut fifo, mut server) = (F::default(), Postgres::default());
    let bytes = script::frontend(&format!("{script} S"));
    let mut rest = &bytes[..];
    while let Some((tag, _, after)) = script::split(rest) {
        fifo.sent(tag);
        rest = after;
    }
    server.feed(&bytes);
    let mut rest = &server.out[..];
    while let Some((tag, _, after)) = script::split(rest) {
        if fifo.is_free() {
            return Err("free too early".into());
        }
        fifo.answered(tag)?;
        rest = after;
    }
    if fifo.is_free() { Ok(()) } else { Err("never free".into()) }
}

fn pipelines_fail<F: Fifo>(cases: u32) -> Result<(), TestError<Vec<String>>> {
    let groups = prop::collection::vec(group(0), 1..6);
    runner(cases).run(&groups, |groups| {
        is_free_exactly_at_the_end::<F>(&groups.join(" ")).map_err(TestCaseError::fail)
    })
}

#[test]
fn the_fifo_is_empty_exactly_at_the_last_answer() {
    check(pipelines_fail::<Ours>(1500));
}

#[test]
fn counting_syncs_instead_is_found_out() {
    assert!(matches!(pipelines_fail::<CountsSyncs>(1500), Err(TestError::Fail(..))));
}
