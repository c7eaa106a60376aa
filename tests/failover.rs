//! Another PostgreSQL behind the same name: a standby where the primary was, and the way back.

use std::fs;

use pgweir::demo::postgres::Options;

use super::support::*;

/// A cluster with the tables of a primary, in recovery for ever.
fn standby() -> (std::sync::Arc<Cluster>, Database) {
    let cluster = replicating();
    let database = cluster.database();
    database.target().connect().rows("create table t (a int)");
    restart_as_standby(&cluster);
    (cluster, database)
}

fn restart_as_standby(cluster: &Cluster) {
    let mut postgres = cluster.postgres();
    postgres.shut_down().expect("PostgreSQL stops");
    fs::write(postgres.data_dir().join("standby.signal"), "").expect("a signal file");
    postgres.launch().expect("PostgreSQL starts");
}

fn replicating() -> std::sync::Arc<Cluster> {
    let settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    Cluster::start(Options { limit: Some(20), settings, ..Options::default() })
}

#[test]
fn a_standby_behind_the_primarys_name_is_left_after_its_first_refusal_to_write() {
    let (behind, _) = standby();
    let database = replicating().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(3).behind(&middleman));
    let mut clients: Vec<Raw> = (0..3).map(|_| stage.client()).collect();
    let each_its_own = |clients: &mut Vec<Raw>| {
        for client in clients.iter_mut() {
            client.rows("begin");
        }
        for client in clients.iter_mut() {
            client.rows("commit");
        }
    };
    clients[0].rows("create table t (a int)");
    if !clients[0].parameters.contains_key("in_hot_standby") {
        println!("SKIPPED: PostgreSQL 13 does not report that it is a standby");
        return;
    }
    // Its server is asked what the text has left.
    let leased = || stage.weir.count("pgweir_servers", "state=\"leased\"");
    wait_until("no server is at work", || leased() == 0);
    middleman.redirect(behind.port());
    middleman.cut();
    each_its_own(&mut clients);
    middleman.redirect(stage.database.cluster().port());
    assert_eq!(clients[0].ask(&query("insert into t values (1)")), "E[ERROR 25006] Z[I]");
    // The idle servers lead to the same standby.
    for client in &mut clients {
        client.rows("begin; insert into t values (2)");
    }
    for client in &mut clients {
        client.rows("commit");
    }
    assert_eq!(clients[0].value("select count(*) from t"), "3");
    assert!(stage.weir.log().contains("standby"), "{}", stage.weir.log());
}

#[test]
fn a_pool_of_a_standby_keeps_its_servers_when_a_client_tries_to_write() {
    let (_cluster, database) = standby();
    let stage = Stage::on(database, &Setup::servers(1));
    let mut client = stage.client();
    let pid = client.value("select pg_backend_pid()");
    assert_eq!(client.ask(&query("insert into t values (1)")), "E[ERROR 25006] Z[I]");
    assert_eq!(client.value("select pg_backend_pid()"), pid);
}

#[test]
fn a_transaction_that_a_client_made_read_only_keeps_its_server() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("create table t (a int)");
    let pid = client.value("select pg_backend_pid()");
    client.rows("begin read only");
    assert_eq!(client.ask(&query("insert into t values (1)")), "E[ERROR 25006] Z[E]");
    client.rows("rollback");
    assert_eq!(client.value("select pg_backend_pid()"), pid);
    let reading = [("default_transaction_read_only", "on")];
    let mut reader = stage.weir.target().connect_with(&reading);
    assert_eq!(reader.ask(&query("insert into t values (1)")), "E[ERROR 25006] Z[I]");
    assert_eq!(reader.value("select pg_backend_pid()"), pid);
}

#[test]
fn a_session_meets_a_standby_and_writes_again_once_that_is_promoted() {
    let write = query("insert into t values (1)");
    let cluster = replicating();
    let stage = Stage::on(cluster.database(), &Setup::servers(1));
    let mut client = stage.client();
    client.rows("create table t (a int)");
    assert_eq!(client.ask(&write), "C[INSERT 0 1] Z[I]");

    restart_as_standby(&cluster);
    let mut direct = stage.database.target().connect();
    // Reported from 14 on; the client was last told `off`, the direct one logged in to `on`.
    let is_reported = direct.parameters.contains_key("in_hot_standby");
    let report =
        |role| if is_reported { format!("S[in_hot_standby={role}] ") } else { String::new() };
    let error = "E[ERROR 25006 cannot execute INSERT in a read-only transaction]";
    assert_eq!(direct.ask_in_detail(&write), format!("{error} Z[I]"));
    assert_eq!(client.ask_in_detail(&write), format!("{error} {}Z[I]", report("on")));
    assert_eq!(client.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");

    assert_eq!(cluster.admin("postgres").value("select pg_promote()"), "t");
    let written = direct.ask(&write);
    assert_eq!(written, format!("C[INSERT 0 1] {}Z[I]", report("off")));
    assert_eq!(client.ask(&write), written);
    assert_eq!(client.value("select count(*) from t"), "3");
}

/// A machine that is gone ends some connections and says nothing on others.
#[test]
fn where_one_server_was_lost_the_others_are_asked_before_they_are_used() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let setup = Setup::servers(2).timeouts("server_check = \"1h\"").behind(&middleman);
    let stage = Stage::on(database, &setup);
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    two.rows("begin");
    let lost = one.value("select pg_backend_pid()");
    let silent = two.value("select pg_backend_pid()");
    one.rows("commit");
    two.rows("commit");
    middleman.mute();
    stage.database.admin().rows(&format!("select pg_terminate_backend({lost})"));
    wait_until("the loss is seen", || stage.weir.metric("pgweir_servers", "") < 1.5);
    assert_ne!(one.value("select pg_backend_pid()"), silent);
}

#[test]
fn servers_whose_machine_is_gone_are_lost_and_replaced() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let setup = Setup::servers(2).timeouts("server_dead = \"2s\"").behind(&middleman);
    let stage = Stage::on(database, &setup);
    let (mut working, mut silent) = (stage.client(), stage.client());
    silent.rows("begin");
    working.send(&query("select pg_sleep(1000)"));
    let leased = || stage.weir.count("pgweir_servers", "state=\"leased\"");
    wait_until("both have their servers", || leased() == 2);
    middleman.die();
    // What the one asks is never acknowledged, and the other only waits.
    silent.send(&query("select 1"));
    for client in [&mut silent, &mut working] {
        let seen = client.ready(1);
        assert!(seen[0].is('E') && seen[0].field('C').starts_with("08"), "{seen:?}");
    }
    assert_eq!(stage.client().value("select 1"), "1");
}

/// Its machine acknowledges what it is sent, and that it can take no more.
#[test]
fn a_server_that_waits_and_reads_nothing_is_not_lost() {
    let stage = Stage::new(&Setup::servers(2).timeouts("server_dead = \"1s\""));
    let (mut holder, mut client) = (stage.client(), stage.client());
    holder.rows("create table t (a text)");
    holder.rows("begin; lock table t");
    // More than both ends of the connection hold.
    let row = "x".repeat(8_000);
    let insert = extended(&format!("insert into t values ('{row}')"));
    let batch = insert.repeat(2_000);
    let sending = std::thread::spawn(move || {
        client.send(&[&batch[..], &sync()].concat());
        client.ready(1);
        client.value("select count(*) from t")
    });
    let blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    let mut admin = stage.database.admin();
    wait_until("it waits for the lock", || admin.value(blocked) == "1");
    std::thread::sleep(std::time::Duration::from_secs(4));
    holder.rows("commit");
    assert_eq!(sending.join().expect("its count"), "2000");
}
