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

#[test]
fn clients_are_served_until_the_delay_is_over_though_no_more_are_asked_for() {
    let mut stage = Stage::new(&Setup::servers(1).timeouts("drain_delay = \"2s\""));
    let mut early = stage.client();
    let ready = |stage: &Stage| stage.weir.http("/readyz").0;
    assert!(ready(&stage).contains(" 200 "));
    let began = Instant::now();
    stage.weir.signal("TERM");
    wait_until("it is not ready", || ready(&stage).contains(" 503 "));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(stage.client().value("select 1"), "1");
    assert_eq!(early.value("select 2"), "2");
    // A reload is none of the signals that end the delay.
    stage.weir.signal("HUP");
    assert_eq!(stage.client().value("select 3"), "3");
    assert_eq!(line(&early.rest()), "E[FATAL 57P01] EOF");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(stage.weir.wait().success());
}

#[test]
fn a_second_signal_ends_the_delay_and_not_the_transactions() {
    let mut stage = Stage::new(&Setup::servers(1).timeouts("drain_delay = \"60s\""));
    let mut busy = stage.client();
    let mut idle = stage.client();
    busy.rows("begin");
    stage.weir.signal("TERM");
    wait_until("it leaves", || stage.weir.http("/readyz").0.contains(" 503 "));
    assert_eq!(idle.within(Duration::from_millis(300)), []);
    stage.weir.signal("TERM");
    assert_eq!(line(&idle.rest()), "E[FATAL 57P01] EOF");
    assert_eq!(busy.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(line(&busy.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
}

#[test]
fn another_takes_over_the_port_and_who_is_connected_stays_until_it_leaves() {
    let setup = Setup::servers(1).top("reuse_port = true").timeouts("drain_clients = \"60s\"");
    let mut stage = Stage::new(&setup);
    let [mut early, mut leaving] = [(); 2].map(|()| stage.client());
    early.rows("set work_mem = '7MB'");
    let next = stage.weir.successor(&setup);
    stage.weir.signal("TERM");
    wait_until("it has closed its port", || stage.weir.log().contains("no new clients"));
    for _ in 0..8 {
        assert_eq!(next.target().connect().value("select 1"), "1");
    }
    assert_eq!(next.count("pgweir_logins_total", "result=\"accepted\""), 8);
    leaving.rows("begin; select 1; commit");
    drop(leaving);
    assert_eq!(early.value("show work_mem"), "7MB");
    assert_eq!(early.within(Duration::from_millis(300)), []);
    drop(early);
    assert!(stage.weir.wait().success());
    assert_eq!(next.target().connect().value("select 1"), "1");
}

#[test]
fn who_stays_for_too_long_is_ended_and_a_second_signal_says_so_at_once() {
    for (patience, told) in [("1s", false), ("60s", true)] {
        let timeouts = format!("drain_clients = \"{patience}\"");
        let mut stage = Stage::new(&Setup::servers(2).timeouts(&timeouts));
        let mut busy = stage.client();
        let mut idle = stage.client();
        busy.rows("begin");
        stage.weir.signal("TERM");
        wait_until("it accepts none", || stage.weir.log().contains("no new clients"));
        assert_eq!(idle.value("show server_version_num").len(), 6);
        if told {
            stage.weir.signal("TERM");
        }
        assert_eq!(line(&idle.rest()), "E[FATAL 57P01] EOF");
        assert_eq!(busy.ask(&query("commit")), "C[COMMIT] Z[I]");
        assert_eq!(line(&busy.rest()), "E[FATAL 57P01] EOF");
        assert!(stage.weir.wait().success());
    }
}
