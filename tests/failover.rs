//! Another PostgreSQL behind the same name: a standby where the primary was, and the way back.

use std::fs;

use pgweir::demo::postgres::Options;

use super::support::*;

/// A cluster with the tables of a primary, in recovery for ever.
fn standby() -> (std::sync::Arc<Cluster>, Database) {
    let cluster = replicating();
    let database = cluster.database();
    database.target().connect().rows("create table t (a int)");
    let mut postgres = cluster.postgres();
    postgres.shut_down().expect("PostgreSQL stops");
    fs::write(postgres.data_dir().join("standby.signal"), "").expect("a signal file");
    postgres.launch().expect("PostgreSQL starts");
    drop(postgres);
    (cluster, database)
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
        // PostgreSQL 13 does not say what it is.
        return;
    }
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
