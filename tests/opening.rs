//! Servers that cannot be opened: how often that is tried, and how often it is said.

use std::time::Duration;

use super::support::*;

const FAILED: &str = "pgweir_servers_failed_total";

/// Attempts that have failed, after a while in which a loop without pauses makes hundreds.
fn failed_after_a_while(stage: &Stage) -> f64 {
    wait_until("an attempt has failed", || stage.weir.metric(FAILED, "") >= 1.0);
    std::thread::sleep(Duration::from_secs(3));
    stage.weir.metric(FAILED, "")
}

fn complaints(stage: &Stage) -> usize {
    stage.weir.log().matches("cannot open a server").count()
}

fn idle(stage: &Stage) -> f64 {
    stage.weir.metric("pgweir_servers", "state=\"idle\"")
}

#[test]
fn a_server_that_nobody_waits_for_is_not_tried_again_and_again() {
    let stage = Stage::new(&Setup::servers(2).limits("min_idle = 1"));
    let mut client = stage.client();
    let table = format!("[databases.{}]\n", stage.database.name());
    let with = |query: &str| format!("{table}init_query = \"{query}\"\n");
    stage.weir.reload(|old| old.replace(&table, &with("selec 1")));
    let failed = failed_after_a_while(&stage);
    assert!(failed <= 10.0, "{failed} attempts");
    assert_eq!(complaints(&stage), 1, "{}", stage.weir.log());
    // Who wants a server is told at once, however long the pause is by now.
    let seen = client.ask(&query("select 1"));
    assert_eq!(seen, "E[ERROR 42601] Z[I]");
    assert_eq!(complaints(&stage), 1, "{}", stage.weir.log());

    stage.weir.reload(|old| old.replace("selec 1", "select 1"));
    wait_until("a server is idle", || idle(&stage) >= 1.0);
    assert!(stage.weir.log().contains("servers can be opened again"), "{}", stage.weir.log());
    assert_eq!(client.value("select 1"), "1");
}

#[test]
fn an_init_query_that_does_not_end_piles_no_connections_up() {
    // Besides the administrator's, one more connection than the limit would be refused.
    let cluster = Cluster::with_slots(2);
    let database = "init_query = \"select pg_advisory_xact_lock(7)\"".into();
    let setup = Setup { database, ..Setup::servers(1) }.timeouts("server_connect = \"1s\"");
    let stage = Stage::on(cluster.database(), &setup);
    let mut admin = stage.database.admin();
    admin.rows("select pg_advisory_lock(7)");
    let target = stage.weir.target();
    let client = std::thread::spawn(move || target.connect().value("select 1"));
    wait_until("attempts have failed", || stage.weir.metric(FAILED, "") >= 3.0);
    assert_eq!(stage.weir.count("pgweir_server_close_timeouts_total", ""), 0);
    admin.rows("select pg_advisory_unlock(7)");
    assert_eq!(client.join().expect("a client"), "1");
}

#[test]
fn without_a_credential_no_server_is_opened_for_nobody() {
    let database = Cluster::shared().database();
    let setup = database.auth_query();
    let stage = Stage::on(database, &setup.limits("max_servers = 3\nmin_idle = 2"));
    let mut admin = stage.database.admin();
    admin.rows("create role moved login password 'old'");
    let target = |password| stage.weir.target().as_user("moved", password);
    let early = target("old").connect();
    wait_until("servers are idle", || idle(&stage) >= 2.0);
    admin.rows("alter role moved password 'new'");
    admin.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'moved'");
    let failed = failed_after_a_while(&stage);
    assert!(failed <= 3.0, "{failed} attempts");
    assert!(complaints(&stage) <= 2, "{}", stage.weir.log());
    drop(early);

    let _late = target("new").connect();
    wait_until("servers are idle", || idle(&stage) >= 2.0);
}

#[test]
fn who_waits_is_served_by_the_servers_that_work_though_no_other_can_be_opened() {
    // The password is one cluster's.
    let cluster = Cluster::with_slots(8);
    let setup = Setup::servers(3).timeouts("checkout = \"30s\"");
    let stage = Stage::on(cluster.database(), &setup);
    let mut holder = stage.client();
    holder.rows("begin");
    stage.database.admin().rows("alter role app password 'another'");
    let mut waiting: Vec<_> = (0..5).map(|_| stage.client()).collect();
    for client in &mut waiting {
        client.send(&query("select 1"));
    }
    let failed = failed_after_a_while(&stage);
    assert!(failed <= 10.0, "{failed} attempts");
    holder.rows("commit");
    for client in &mut waiting {
        assert!(client.ready(1).iter().any(|event| event.is('D')));
    }
}

#[test]
fn who_waits_is_told_at_once_where_only_servers_of_older_settings_are_left() {
    let stage = Stage::new(&Setup::servers(2).timeouts("checkout = \"1h\""));
    let (mut holder, mut client) = (stage.client(), stage.client());
    holder.rows("begin");
    let table = format!("[databases.{}]\n", stage.database.name());
    let wrong = format!("{table}init_query = \"selec 1\"\n");
    stage.weir.reload(|old| old.replace(&table, &wrong));
    assert_eq!(client.ask(&query("select 1")), "E[ERROR 42601] Z[I]");
    holder.rows("commit");
}
