//! SIGHUP: what holds at once, what holds as servers become free, and what needs a restart.

use super::support::events::line;
use super::support::*;

/// Reloads a changed configuration and waits until it holds.
fn reload(stage: &Stage, change: impl FnOnce(String) -> String) {
    let done = |stage: &Stage| stage.weir.log().matches("configuration reloaded").count();
    let before = done(stage);
    stage.weir.reload(change);
    wait_until("the configuration is reloaded", || done(stage) > before);
}

#[test]
fn timeouts_hold_at_once_for_clients_that_are_connected() {
    let timeouts = "idle_client = \"1h\"\nidle_in_transaction = \"1h\"\nquery = \"1h\"";
    let stage = Stage::new(&Setup::servers(2).timeouts(timeouts));
    let (mut idle, mut open, mut running) = (stage.client(), stage.client(), stage.client());
    idle.rows("select 1");
    open.rows("begin");
    running.send(&query("select pg_sleep(30)"));
    reload(&stage, |old| old.replace("\"1h\"", "\"500ms\""));
    assert_eq!(line(&open.rest()), "E[FATAL 25P03] EOF");
    assert_eq!(line(&idle.rest()), "E[FATAL 57P05] EOF");
    assert!(line(&running.ready(1)).ends_with("E[ERROR 57014] Z[I]"));
}

#[test]
fn what_becomes_of_a_vanished_clients_work_changes_at_once() {
    let stage = Stage::new(&Setup::servers(1).top("on_client_gone = \"cancel\""));
    let mut client = stage.client();
    client.rows("create table t (a int)");
    client.send(&query("insert into t select 1 from pg_sleep(1)"));
    reload(&stage, |old| old.replace("\"cancel\"", "\"complete\""));
    client.reset();
    assert_eq!(stage.client().value("select count(*) from t"), "1");
}

#[test]
fn a_smaller_pool_shrinks_as_transactions_end() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    two.rows("begin");
    reload(&stage, |old| old.replace("max_servers = 2", "max_servers = 1"));
    let servers = || stage.weir.metric("pgweir_servers", "");
    assert_eq!((one.value("select 1"), two.value("select 2")), ("1".into(), "2".into()));
    assert!((servers() - 2.0).abs() < 0.5, "a transaction was ended: {}", servers());
    one.rows("commit");
    wait_until("the freed server is closed", || (servers() - 1.0).abs() < 0.5);
    one.send(&query("select 3"));
    wait_until("one waits", || stage.weir.metric("pgweir_clients_waiting", "") > 0.5);
    two.rows("commit");
    assert_eq!(line(&one.ready(1)), "T D(3) C[SELECT 1] Z[I]");
    assert!((servers() - 1.0).abs() < 0.5);
}

#[test]
fn what_needs_a_restart_is_named_in_the_log_and_does_not_hold() {
    let stage = Stage::new(&Setup::servers(1));
    reload(&stage, |old| {
        format!("workers = 3\n{}", old.replace("max_servers = 1", "max_servers = 2"))
    });
    let log = stage.weir.log();
    let named = log.lines().find(|line| line.contains("need a restart")).unwrap_or_default();
    assert!(named.contains("workers") && !named.contains("max_servers"), "{log}");
}
