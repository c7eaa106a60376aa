//! The oracle itself is proven: with one piece of pgweir's handling turned off, it must notice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Plan;
use super::arena::{Arena, cluster};
use super::generate;
use super::pooler::Kind;
use super::program::Area::{
    self, Advisory, Authorization, Backup, Cursor, Discard, Extension, Hidden, Listen, Load, Login,
    Named, Origin, Placeholder, Reported, Role, Sequence, Setting, Shape, Slot, SqlPrepared,
    Temporary, Transaction, Unnamed,
};

/// A handling that can be turned off (`pgweir::without`), what it is for, and what programs are about
/// that must then differ.
struct Switch {
    name: &'static str,
    handles: &'static str,
    focus: &'static [Area],
}

const fn switch(name: &'static str, handles: &'static str, focus: &'static [Area]) -> Switch {
    Switch { name, handles, focus }
}

const SWITCHES: &[Switch] = &[
    // Kinds of session state.
    switch("reported", "settings that PostgreSQL reports follow the client", &[Reported]),
    switch("settings", "settings that it does not report follow it", &[Setting]),
    switch("placeholders", "custom settings follow it", &[Placeholder]),
    switch("role", "the role follows it", &[Role]),
    switch("authorization", "a session authorization pins", &[Authorization]),
    switch("sql_prepared", "a statement of SQL's PREPARE pins", &[SqlPrepared]),
    switch("named", "named statements are prepared where they are used", &[Named]),
    switch("unnamed", "so is the unnamed statement", &[Unnamed]),
    switch("held_cursor", "a cursor WITH HOLD pins", &[Cursor]),
    switch("temp_object", "a temporary object pins", &[Temporary]),
    switch("advisory_lock", "a session-level advisory lock pins", &[Advisory]),
    switch("listen", "what is listened to follows the client", &[Listen]),
    switch("sequences", "currval and lastval never give another client's number", &[Sequence]),
    switch("sequence", "clients that ask for their numbers are pinned by them", &[Sequence]),
    switch("library", "LOAD pins, and its server is closed", &[Load]),
    switch("slots", "so it is with replication slots", &[Slot]),
    switch("backups", "and with backups", &[Backup]),
    switch("origins", "and with replication origins", &[Origin]),
    switch("dblink", "and with dblink", &[Extension]),
    switch("cleaning", "a server is cleaned behind a client that leaves", &[Login, Advisory]),
    switch("gone", "what may end a pin does not until the server says so", &[Advisory, Temporary]),
    // How settings are followed.
    switch("startup", "values of the StartupMessage are set on servers", &[Login, Setting]),
    switch("startup_on_reset", "RESET gives them back", &[Setting, Login, Discard]),
    switch("rollback", "what a transaction undoes is not followed", &[Reported, Transaction]),
    switch("set_config", "set_config counts wherever it stands in a text", &[Setting]),
    switch("setting", "a setting whose name no text shows pins", &[Setting]),
    switch("aliases", "SET TIME ZONE and its like name a setting too", &[Setting, Transaction]),
    switch("canonical", "a value is known as the server shows it", &[Login]),
    switch("exact", "values that differ in case are different", &[Reported, Login]),
    switch("role_last", "a role is set behind what it may not set", &[Role, Transaction]),
    switch("waits", "what a server may refuse is waited for", &[Temporary, Discard]),
    switch("functions", "code in the catalogue counts where a text names it", &[Hidden]),
    // Prepared statements.
    switch("names", "each client has its own names for statements", &[Named]),
    switch("texts", "a statement is all of its text", &[Named]),
    switch("missing", "errors show the client's own names", &[Named]),
    switch("duplicates", "a name is taken until it is closed", &[Named]),
    switch("failed", "no Parse is answered in a failed transaction", &[Named, Transaction]),
    switch("order", "a Close counts when it is answered, not when it is read", &[Named]),
    switch("skipped", "behind an error no Parse is answered before the Sync", &[Named]),
    switch("undo", "a Parse that fails or is skipped has made nothing", &[Named]),
    switch("query", "a Query ends the unnamed statement", &[Unnamed]),
    switch("fingerprint", "a text is shared under equal settings only", &[Named, Reported]),
    switch("now", "a text that means the time of its Parse is not shared", &[Named]),
    switch("ddl", "a text is parsed anew once a table has changed", &[Shape]),
    switch("repair", "and when the server says that its plan is of old", &[Shape]),
    switch(
        "deallocate",
        "DEALLOCATE and DISCARD ALL are about one's own statements",
        &[Named, Discard],
    ),
    switch("status", "in a failed transaction they are refused", &[Named, Discard, Transaction]),
    switch("forgotten", "what functions have deallocated is prepared again", &[Named, Hidden]),
    switch("lend", "SQL knows the client's statements by its names", &[Named, SqlPrepared]),
];

/// Runs programs until one differs; the same program must not differ with everything on. Gives the line of
/// the table, or what is wrong.
fn prove(arena: &mut Arena, switch: &Switch, plan: &Plan) -> Result<String, String> {
    for seed in (plan.seed..).take(MOST_PROGRAMS) {
        let program = generate::program(seed, plan.steps, switch.focus);
        arena.set_kind(Kind::Without(switch.name));
        let Some(difference) = arena.judge(&program).difference else {
            continue;
        };
        arena.set_kind(Kind::Weir);
        if let Some(with) = arena.judge(&program).difference {
            return Err(format!("{}: program {seed} differs anyway: {with:?}", switch.name));
        }
        let (programs, kind) = (seed - plan.seed + 1, difference.kind);
        return Ok(format!("| `{}` | {} | {programs} | {kind} |", switch.name, switch.handles));
    }
    Err(format!("{}: nothing differs without it", switch.name))
}

/// Proves these, each with what came of it.
fn prove_all(switches: &[&'static Switch], plan: &Plan) -> Vec<(usize, Result<String, String>)> {
    let cluster = cluster();
    let next = AtomicUsize::new(0);
    let proven = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..plan.workers {
            scope.spawn(|| {
                let mut arena = Arena::new(&cluster, Kind::Weir, false);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(switch) = switches.get(number) else { return };
                    let found = prove(&mut arena, switch, plan);
                    println!("{found:?}");
                    proven.lock().expect("no worker panicked").push((number, found));
                }
            });
        }
    });
    proven.into_inner().expect("no worker panicked")
}

#[test]
fn each_handling_that_is_turned_off_is_noticed() {
    let only = std::env::var("PGWEIR_ORACLE_WITHOUT").unwrap_or_default();
    let wanted = |switch: &&Switch| only.is_empty() || only.split(',').any(|n| n == switch.name);
    let switches: Vec<_> = SWITCHES.iter().filter(wanted).collect();
    let mut proven = prove_all(&switches, &Plan { seed: SEED, ..Plan::from_env(0) });
    proven.sort_by_key(|(number, _)| *number);
    let (lines, faults): (Vec<_>, Vec<_>) =
        proven.into_iter().partition(|(_, found)| found.is_ok());
    let lines: Vec<_> = lines.into_iter().filter_map(|(_, found)| found.ok()).collect();
    println!("{HEAD}\n{}", lines.join("\n"));
    assert!(faults.is_empty(), "{faults:#?}");
}

const HEAD: &str =
    "| without | what is turned off | programs | first difference |\n|---|---|---|---|";

/// The same in each run: nothing is left to chance but the programs' timing.
const SEED: u64 = 1;

/// Programs of one switch.
const MOST_PROGRAMS: usize = 1000;
