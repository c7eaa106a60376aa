//! The end of the process as clients in every stage of their life see it.

use std::time::{Duration, Instant};

use super::support::events::line;
use super::support::*;

#[test]
fn a_login_in_progress_is_refused_when_the_drain_begins() {
    let mut stage = Stage::new(&Setup::servers(1).timeouts("drain = \"20s\""));
    stage.client().rows("select 1");
    let target = stage.weir.target();
    let mut silent = target.open();
    // Accepted after the silent one.
    let mut proving = target.challenged();
    let began = Instant::now();
    stage.weir.signal("TERM");
    assert_eq!(line(&proving.rest()), "E[FATAL 57P03] EOF");
    assert_eq!(line(&silent.rest()), "EOF");
    assert!(stage.weir.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_login_that_waits_for_a_server_is_refused_when_the_drain_begins() {
    let mut stage = Stage::new(&Setup::servers(1).timeouts("drain = \"20s\""));
    let mut busy = stage.client();
    busy.rows("begin; create table t (a int)");
    let target = stage.weir.target();
    let waiting = std::thread::spawn(move || {
        // Nobody has asked for this setting before, so that PostgreSQL must judge it.
        let startup = target.startup(V3_0, &[("work_mem", "7MB")]);
        target.open().log_in(&startup, &target.password)
    });
    wait_until("the login waits", || stage.weir.metric("pgweir_clients_waiting", "") > 0.5);
    stage.weir.signal("TERM");
    let seen = line(&waiting.join().expect("an answer"));
    assert!(seen.ends_with("E[FATAL 57P03] EOF"), "{seen}");
    assert_eq!(busy.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(line(&busy.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
}
