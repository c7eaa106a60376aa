//! Random pipelines: through the proxy every client must see exactly the messages that it would
//! have seen without.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::support::events::{Event, line};
use super::support::*;

/// How many, unless `PGWEIR_TEST_PIPELINES` says so.
const PIPELINES: u64 = 1500;

/// One random pipeline; ends with a marker that cannot be skipped.
fn pipeline(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..=7) {
        let step = STEPS.choose(random).expect("there are steps");
        bytes.extend(step_bytes(step, random));
    }
    bytes.extend([synced(), query("rollback"), query("select 'END'")].concat());
    bytes
}

const STEPS: [&str; 28] = [
    "extended",
    "extended",
    "extended",
    "bad parse",
    "bad execute",
    "describe",
    "close",
    "flush",
    "sync",
    "query",
    "bad query",
    "empty query",
    "several queries",
    "function",
    "begin",
    "commit",
    "deferred extended",
    "deferred query",
    "stray copy",
    "suspended",
    "extended copy",
    "bad extended copy",
    "missing extended copy",
    "copy",
    "bad copy",
    "named",
    "run named",
    "close named",
];

fn step_bytes(step: &str, random: &mut StdRng) -> Vec<u8> {
    let deferred = "insert into deferred values (3), (3)";
    match step {
        "extended" => extended("select 1"),
        "suspended" => {
            let sql = "select g from generate_series(1, 5) g";
            [parse("", sql), bind("", "", &[]), execute("", 2)].concat()
        }
        "bad parse" => parse("", "selec"),
        "bad execute" => extended("select 1 / g from generate_series(0, 1) g"),
        "describe" => [parse("", "select 1 where $1 = 2"), describe('S', "")].concat(),
        "close" => close('S', "nope"),
        "flush" => flush(),
        "sync" => synced(),
        "query" => query("select 2"),
        "empty query" => query(""),
        "bad query" => query("select 1; selec"),
        "several queries" => query("select 1; select 1/0; select 2"),
        "function" => function_call(1610),
        "begin" => [extended("begin"), sync()].concat(),
        "commit" => query("commit"),
        "deferred extended" => extended(deferred),
        "deferred query" => query(deferred),
        "stray copy" => [copy_data("1\n"), copy_done()].concat(),
        "named" => parse(["a", "b"].choose(random).expect("a name"), "select 3"),
        "run named" => run(["a", "b"].choose(random).expect("a name"), &[]),
        "close named" => close('S', ["a", "b"].choose(random).expect("a name")),
        "copy" | "bad copy" => copy(query("copy plain from stdin"), step == "bad copy", random),
        "missing extended copy" => {
            [copy(extended("copy missing from stdin"), false, random), sync()].concat()
        }
        _ => {
            let begin = extended("copy plain from stdin");
            [copy(begin, step == "bad extended copy", random), sync()].concat()
        }
    }
}

/// Sync. PostgreSQL 18 does not commit at one that is right behind a Query in an open segment (see
/// `relay::a_sync_behind_a_query_in_an_open_segment_commits`), where pgweir makes it: a message
/// between spares both.
fn synced() -> Vec<u8> {
    if major() >= 18 { [parse("", ""), sync()].concat() } else { sync() }
}

/// A COPY begun by `begin`: stray Sync and Flush, rows, and one of its two ends.
fn copy(begin: Vec<u8>, bad: bool, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = begin;
    for _ in 0..random.random_range(0..=2) {
        bytes.extend(if random.random() { sync() } else { flush() });
    }
    for _ in 0..random.random_range(0..=2) {
        bytes.extend(copy_data(if bad { "x\n" } else { "1\n" }));
    }
    bytes.extend(if random.random() { copy_done() } else { copy_fail() });
    bytes
}

fn prepare(target: &Target) -> Raw {
    let mut client = target.connect();
    client.rows("create table plain (a int)");
    client.rows("create table deferred (a int unique deferrable initially deferred)");
    client
}

/// Up to the answer of the marker, and the end of anything that follows it.
fn replies(client: &mut Raw, bytes: &[u8]) -> String {
    client.send(bytes);
    let mut seen: Vec<Event> = Vec::new();
    let mut marked = false;
    loop {
        let event = client.event();
        marked |= event.row().is_some_and(|row| row[0].as_deref() == Some("END"));
        let end = (marked && event.is('Z')) || !matches!(event, Event::Message(..));
        seen.push(event);
        if end {
            return line(&seen);
        }
    }
}

#[test]
fn random_pipelines_are_answered_as_by_postgresql() {
    let seed = seed();
    let count = number("PGWEIR_TEST_PIPELINES").unwrap_or(PIPELINES);
    let oracle = Cluster::shared().database();
    let mut direct = prepare(&oracle.target());
    let stage = Stage::new(&Setup::servers(1));
    let mut through = prepare(&stage.weir.target());
    // On the same single server: nothing of the first client's may reach it.
    let mut other = stage.client();
    for number in 0..count {
        let mut random = StdRng::seed_from_u64(seed + number);
        let bytes = pipeline(&mut random);
        let expected = replies(&mut direct, &bytes);
        let got = replies(&mut through, &bytes);
        assert_eq!(got, expected, "pipeline {number} of seed {seed}: {:?}", Printed(&bytes));
        assert_eq!(other.ask(&query("select 7")), "T D(7) C[SELECT 1] Z[I]", "{number} of {seed}");
    }
}

/// The letters of a pipeline, for a failure's report.
struct Printed<'a>(&'a [u8]);

impl std::fmt::Debug for Printed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0).replace(|c: char| c.is_control(), " "))
    }
}
