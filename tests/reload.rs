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
    let running = "select count(*) from pg_stat_activity where query like 'insert into t select%'";
    wait_until("it runs", || stage.database.admin().value(running) == "1");
    reload(&stage, |old| old.replace("\"cancel\"", "\"complete\""));
    client.reset();
    assert_eq!(stage.client().value("select count(*) from t"), "1");
}

#[test]
fn a_changed_password_reaches_the_clients_that_are_connected() {
    let database = Cluster::shared().database();
    let mut admin = database.admin();
    admin.rows("create role rotated login password 'old'");
    let (port, name) = (database.cluster().port(), database.name());
    let table = format!(
        "[databases.rotated]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{name}\"\n\
         user = \"rotated\"\npassword = \"old\""
    );
    let stage = Stage::on(database, &Setup::servers(2).tables(&table));
    let mut target = stage.weir.target();
    target.database = "rotated".into();
    let mut client = target.connect();
    let first = client.value("select pg_backend_pid()");
    admin.rows("alter role rotated password 'new'");
    reload(&stage, |old| old.replace("password = \"old\"", "password = \"new\""));
    let second = client.value("select pg_backend_pid()");
    assert_ne!(first, second, "the server of the old password is kept");
    // Refused before the file says so: nobody logs in anew meanwhile.
    admin.rows("alter role rotated password 'newest'");
    admin.rows(&format!("select pg_terminate_backend({second})"));
    wait_until("its end is seen", || stage.weir.metric("pgweir_servers", "") < 0.5);
    let refused = client.ask_in_detail(&query("select 1"));
    assert!(refused.contains("28P01"), "{refused}");
    reload(&stage, |old| old.replace("password = \"new\"", "password = \"newest\""));
    assert_eq!(client.value("select 1"), "1");
    drop(client);
    drop(stage);
    admin.rows("drop role rotated");
}

#[test]
fn a_password_file_that_is_replaced_is_followed_and_an_edited_configuration_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("secret");
    let replace = |text: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, text).expect("a file");
        std::fs::rename(&next, &file).expect("a file in the place of the other");
    };
    replace("old\n");
    let table = format!(
        "[admin]\nusers = [\"app\"]\n[users.rotating]\npassword_file = \"{}\"\nserver_password = \"own\"",
        file.display()
    );
    let database = Cluster::shared().database();
    database.admin().rows("create role rotating login password 'own'");
    let stage = Stage::on(database, &Setup::servers(2).tables(&table));
    let enters = |password: &str| {
        let target = stage.weir.target().as_user("rotating", password);
        let seen = target.open().log_in(&target.startup(V3_0, &[]), password);
        !line(&seen).contains("28P01")
    };
    assert!(enters("old") && !enters("new"));
    let path = stage.weir.config_path();
    let edited = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, edited.replace("max_servers = 2", "max_servers = 1")).expect("an edit");
    replace("new\n");
    wait_until("the new password is taken", || enters("new"));
    assert!(!enters("old"));
    let mut console = stage.weir.target();
    console.database = "pgweir".into();
    let mut console = console.connect();
    console.rows("set max_idle = 2");
    // Nobody has asked for the edit yet.
    let rows = console.rows("show config");
    let row = rows.iter().find(|row| row[0].as_deref() == Some("limits.max_servers"));
    assert_eq!(row.and_then(|row| row[1].as_deref()), Some("2"));
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
    wait_until("the log tells", || stage.weir.log().contains("need a restart"));
    let log = stage.weir.log();
    let named = log.lines().find(|line| line.contains("need a restart")).unwrap_or_default();
    assert!(named.contains("workers") && !named.contains("max_servers"), "{log}");
}

#[test]
fn the_limit_of_the_host_holds_when_a_database_moves_to_it() {
    let (old, new) = (Cluster::with_slots(4), Cluster::with_slots(2));
    let (first, same, second) = (old.database(), new.database(), new.database());
    assert_eq!(first.name(), same.name());
    let setup = Setup::servers(2).limits("max_servers_host = 2").tables(&table_of(&second));
    let stage = Stage::on(first, &setup);
    let here = stage.weir.target();
    let there = Target { database: second.name().into(), ..here.clone() };
    let mut staying = [here.connect(), here.connect()];
    for client in &mut staying {
        client.rows("begin");
    }
    for client in &mut staying {
        client.rows("commit");
    }
    let ports = [old.port(), new.port()].map(|port| format!("port = {port}"));
    reload(&stage, |file| file.replace(&ports[0], &ports[1]));
    let mut clients = Vec::from(staying);
    clients.extend((0..4).map(|number| if number < 2 { here.connect() } else { there.connect() }));
    work_at_once(clients);
    new.assert_never_refused();
    let used = |port: u16| {
        stage.weir.metric("pgweir_host_slots_used", &format!("host=\"127.0.0.1:{port}\""))
    };
    assert!((1.0..=2.0).contains(&used(new.port())), "{}", used(new.port()));
    wait_until("the old host is left", || used(old.port()) < 0.5);
}

#[test]
fn the_limit_of_a_database_holds_when_another_name_comes_to_mean_it() {
    let cluster = Cluster::with_slots(4);
    let (first, second) = (cluster.database(), cluster.database());
    cluster.admin("postgres").rows(&format!("alter database {} connection limit 1", second.name()));
    let setup = Setup {
        database: format!("dbname = \"{}\"", first.name()),
        ..Setup::servers(2).limits("max_servers_database = 1").tables(&table_of(&second))
    };
    let stage = Stage::on(first, &setup);
    let here = stage.weir.target();
    let there = Target { database: second.name().into(), ..here.clone() };
    let mut staying = here.connect();
    staying.rows("select 1");
    let names = [stage.database.name(), second.name()].map(|name| format!("dbname = \"{name}\""));
    reload(&stage, |file| file.replace(&names[0], &names[1]));
    work_at_once(vec![staying, here.connect(), there.connect(), there.connect()]);
}

fn table_of(database: &Database) -> String {
    format!(
        "[databases.{}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"disable\"",
        database.name(),
        database.cluster().port()
    )
}

/// All of them want servers again and again.
fn work_at_once(clients: Vec<Raw>) {
    let workers = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            for _ in 0..30 {
                client.rows("begin; select pg_sleep(0.005); commit");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().expect("every client is served");
    }
}
