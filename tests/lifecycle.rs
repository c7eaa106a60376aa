//! Limits, timeouts, reload, drain, and PostgreSQL's own comings and goings.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::support::events::{detailed, line};
use super::support::*;

/// A PostgreSQL that refuses every login in these words.
fn refusal(fields: &str) -> Fault {
    let fields = fields.replace(' ', "\0").replace('_', " ");
    Fault::Answer(message('E', format!("{fields}\0\0").as_bytes()))
}

fn short_checkout(servers: usize) -> Setup {
    Setup { timeouts: "checkout = \"300ms\"".into(), ..Setup::servers(servers) }
}

#[test]
fn a_full_pool_refuses_after_the_checkout_timeout_and_the_client_stays() {
    let stage = Stage::on(Cluster::shared().database(), &short_checkout(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    let began = Instant::now();
    let refused = two.ask_in_detail(&query("select 2"));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(refused.starts_with("E[ERROR 53300 ") && refused.ends_with("Z[I]"), "{refused}");
    assert!(refused.contains(stage.database.name()), "names no pool: {refused}");
    let segment = [extended("select 2"), extended("select 3"), sync()].concat();
    assert_eq!(two.ask(&segment), "E[ERROR 53300] Z[I]");
    one.rows("commit");
    assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn a_client_logs_in_while_every_server_is_taken() {
    let stage = Stage::on(Cluster::shared().database(), &short_checkout(1));
    let mut one = stage.client();
    one.rows("begin");
    let mut two = stage.client();
    assert_eq!(two.ask(&query("select 2")), "E[ERROR 53300] Z[I]");
}

#[test]
fn waiting_clients_are_served_in_their_order() {
    let stage = Stage::new(&Setup::servers(1));
    let mut first = stage.client();
    first.rows("begin; create table served (a serial, who int)");
    let mut waiting: Vec<Raw> = (0..5).map(|_| stage.client()).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.send(&query(&format!("insert into served (who) values ({number})")));
        // Its request must be in the queue before the next one's.
        client.within(Duration::from_millis(50));
    }
    first.rows("commit");
    for client in &mut waiting {
        assert_eq!(line(&client.ready(1)), "C[INSERT 0 1] Z[I]");
    }
    assert_eq!(first.value("select string_agg(who::text, '' order by a) from served"), "01234");
}

#[test]
fn a_busy_client_does_not_keep_the_server_from_others() {
    // Few enough for one read: past what it has read, pgweir lets go of the server anyway.
    const TURNS: usize = 10;
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("create table turn (a int)");
    // pgweir answers the second query itself, once the first is done: then the server is free for a
    // moment, and the client has its next turn at hand.
    let turn =
        [query("insert into turn values (1); select pg_sleep(0.2)"), query("deallocate all")];
    let sending = one.send_in_background(turn.concat().repeat(TURNS));
    one.event();
    let taken: usize = two.value("select count(*) from turn").parse().expect("a number");
    assert!(taken < TURNS / 2, "served after {taken} turns of {TURNS}");
    let answers = one.ready(2 * TURNS);
    assert_eq!(answers.iter().filter(|event| event.is('Z')).count(), 2 * TURNS);
    sending.join().expect("everything is sent");
}

#[test]
fn too_many_clients_are_refused() {
    let stage = Stage::new(&Setup::servers(1).limits("max_clients = 2"));
    let target = stage.weir.target();
    let mut one = target.connect();
    let two = target.connect();
    let mut third = target.open();
    let refused = third.log_in(&target.startup(V3_0, &[]), &target.password);
    assert!(line(&refused).ends_with("E[FATAL 53300] EOF"), "{refused:?}");
    assert_eq!(one.value("select 1"), "1");
    drop(two);
    wait_until("a place is free", || {
        let events = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
        events.last().is_some_and(|event| event.is('Z'))
    });
}

#[test]
fn the_limit_of_the_host_holds_exactly_over_databases_and_reconnects() {
    let cluster = Cluster::with_slots(3);
    let (first, second) = (cluster.database(), cluster.database());
    let other = format!(
        "[databases.{}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"disable\"",
        second.name(),
        cluster.port()
    );
    let setup = Setup::servers(3)
        .limits("max_servers_host = 3")
        .timeouts("server_idle = \"50ms\"\nserver_lifetime = \"200ms\"\ncheckout = \"60s\"")
        .tables(&other);
    let stage = Stage::on(first, &setup);
    let targets =
        [stage.weir.target(), Target { database: second.name().into(), ..stage.weir.target() }];
    let clients = (0..16).map(|number: usize| {
        let target = targets[number % 2].clone();
        std::thread::spawn(move || {
            for round in 0..10 {
                let mut client = target.connect();
                client.patience = Duration::from_mins(1);
                client.rows("begin; select pg_sleep(0.01); commit");
                match (number + round) % 3 {
                    0 => client.send(&terminate()),
                    1 => client.reset(),
                    _ => {
                        client.send(&query("select pg_sleep(5)"));
                        client.reset();
                    }
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("every client is served");
    }
    cluster.assert_never_refused();
}

#[test]
fn a_client_of_one_database_gets_a_slot_that_another_leaves_idle() {
    let cluster = Cluster::with_slots(1);
    let (first, second) = (cluster.database(), cluster.database());
    let other = format!(
        "[databases.{}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"disable\"",
        second.name(),
        cluster.port()
    );
    let setup = Setup::servers(1).limits("max_servers_host = 1").tables(&other);
    let stage = Stage::on(first, &setup);
    let mut one = stage.client();
    let target = Target { database: second.name().into(), ..stage.weir.target() };
    one.rows("select 1");
    let mut two = target.connect();
    for _ in 0..3 {
        assert_eq!(two.value("select current_database()"), second.name());
        assert_eq!(one.value("select current_database()"), stage.database.name());
    }
}

#[test]
fn clients_wait_while_postgresql_starts() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(1).behind(&middleman));
    middleman.set(refusal("SFATAL VFATAL C57P03 Mthe_database_system_is_starting_up"));
    let target = stage.weir.target();
    let waiting = std::thread::spawn(move || target.connect().value("select 1"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!waiting.is_finished());
    middleman.set(Fault::None);
    assert_eq!(waiting.join().expect("a login"), "1");
}

#[test]
fn a_refused_server_login_is_passed_on_in_its_own_words() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(1).behind(&middleman));
    let target = stage.weir.target();
    middleman.set(refusal("SFATAL VFATAL C28000 Mrole_is_on_holiday"));
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    let seen = detailed(&seen);
    assert!(seen.ends_with("E[FATAL 28000 role is on holiday] EOF"), "{seen}");
    // What comes after the server's proof is PostgreSQL's own word, whatever its code.
    middleman.set(Fault::None);
    let mut admin = stage.database.admin();
    let broken = "session_preload_libraries";
    let alter = format!("alter role app in database {}", stage.database.name());
    admin.rows(&format!("{alter} set {broken} = 'nosuch'"));
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    let own = "E[FATAL 58P01 could not access file \"nosuch\": No such file or directory] EOF";
    assert!(detailed(&seen).ends_with(own), "{seen:?}");
    admin.rows(&format!("{alter} reset {broken}"));
    // An error without a code must not bring anything down.
    middleman.set(refusal("SFATAL Mwhat"));
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    assert!(line(&seen).contains("E[FATAL"), "{seen:?}");
    middleman.set(Fault::None);
    assert_eq!(target.connect().value("select 1"), "1");
}

#[test]
fn an_unreachable_postgresql_is_reported_after_the_checkout_timeout() {
    let database = Cluster::shared().database();
    let nobody = weir::free_addr().port();
    let stage = Stage::on(database, &Setup { upstream: Some(nobody), ..short_checkout(1) });
    let target = stage.weir.target();
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    assert!(line(&seen).ends_with("E[FATAL 08001] EOF"), "{seen:?}");
}

#[test]
fn a_silent_postgresql_is_given_up_after_the_connect_timeout() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    middleman.set(Fault::Silence);
    let setup = Setup {
        timeouts: "checkout = \"1s\"\nserver_connect = \"200ms\"".into(),
        ..Setup::servers(1)
    };
    let stage = Stage::on(database, &setup.behind(&middleman));
    let target = stage.weir.target();
    let began = Instant::now();
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    assert!(line(&seen).ends_with("EOF"), "{seen:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_reloaded_setting_of_postgresql_reaches_the_client() {
    let cluster = Cluster::with_slots(4);
    let stage = Stage::on(cluster.database(), &Setup::servers(1));
    let mut client = stage.client();
    let mut admin = cluster.admin("postgres");
    admin.rows("alter system set timezone = 'Asia/Tokyo'");
    admin.rows("select pg_reload_conf()");
    wait_until("the client is told", || {
        assert_eq!(client.value("select 1"), "1");
        client.parameters.get("TimeZone").is_some_and(|zone| zone == "Asia/Tokyo")
    });
}

#[test]
fn idle_servers_are_closed_down_to_the_minimum() {
    let setup = Setup::servers(4).limits("min_idle = 1").timeouts("server_idle = \"300ms\"");
    let stage = Stage::new(&setup);
    let mut clients: Vec<Raw> = (0..4).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.rows("begin");
    }
    for client in &mut clients {
        client.rows("commit");
    }
    let mut admin = stage.database.admin();
    let sql = format!(
        "select count(*) from pg_stat_activity where usename = 'app' and datname = '{}'",
        stage.database.name()
    );
    wait_until("one server is left", || admin.value(&sql) == "1");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(admin.value(&sql), "1");
}

#[test]
fn servers_opened_together_are_replaced_one_after_another() {
    let setup = Setup::servers(20).timeouts("server_lifetime = \"6s\"");
    let stage = Stage::new(&setup);
    let mut clients: Vec<Raw> = (0..20).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.rows("begin");
    }
    let mut admin = stage.database.admin();
    let sql = format!(
        "select pid from pg_stat_activity where usename = 'app' and datname = '{}'",
        stage.database.name()
    );
    let mut alive = || -> BTreeSet<String> {
        let rows = admin.rows(&sql);
        rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    };
    let old = alive();
    assert_eq!(old.len(), 20);
    for client in &mut clients {
        client.rows("commit");
    }
    let (mut first, mut last) = (None, None);
    wait_until("all are replaced", || {
        let left = old.intersection(&alive()).count();
        if left < 20 {
            first.get_or_insert_with(Instant::now);
        }
        if left == 0 {
            last = Some(Instant::now());
        }
        left == 0
    });
    let spread = last.zip(first).map(|(last, first)| last - first).unwrap_or_default();
    assert!(spread >= Duration::from_millis(300), "all within {spread:?}");
}

#[test]
fn idle_timeouts_of_clients_end_them() {
    let timeouts = "idle_client = \"500ms\"\nidle_in_transaction = \"300ms\"";
    let stage = Stage::new(&Setup::servers(1).timeouts(timeouts));
    let mut idle = stage.client();
    let mut open = stage.client();
    open.rows("begin; create table t (a int)");
    assert_eq!(line(&open.rest()), "E[FATAL 25P03] EOF");
    assert_eq!(line(&idle.rest()), "E[FATAL 57P05] EOF");
    let gone = "select count(*) from pg_class where relname = 't'";
    assert_eq!(stage.client().value(gone), "0");
}

#[test]
fn a_query_past_its_timeout_is_cancelled() {
    let stage = Stage::new(&Setup::servers(1).timeouts("query = \"300ms\""));
    let mut client = stage.client();
    let seen = client.ask(&query("select pg_sleep(30)"));
    assert!(seen.ends_with("E[ERROR 57014] Z[I]"), "{seen}");
    assert_eq!(client.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");
}

#[test]
fn every_new_server_runs_the_init_query() {
    let setup =
        Setup { database: "init_query = \"set work_mem = '11MB'\"".into(), ..Setup::servers(2) };
    let stage = Stage::new(&setup);
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    assert_eq!(one.value("show work_mem"), "11MB");
    assert_eq!(two.value("show work_mem"), "11MB");
}

#[test]
fn a_reload_changes_pools_and_users_live_and_a_broken_file_nothing() {
    let stage = Stage::on(Cluster::shared().database(), &short_checkout(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    assert_eq!(two.ask(&query("select 2")), "E[ERROR 53300] Z[I]");
    stage.weir.reload(|old| old.replace("max_servers = 1", "max_servers = \"lots\""));
    wait_until("the broken file is reported", || stage.weir.log().contains("max_servers"));
    assert_eq!(two.ask(&query("select 2")), "E[ERROR 53300] Z[I]");
    stage.weir.reload(|old| old.replace("max_servers = \"lots\"", "max_servers = 2"));
    wait_until("the pool has grown", || two.ask(&query("select 2")).starts_with('T'));
    stage.weir.reload(|old| old.replace("[users.app]", "[users.somebody_else]"));
    let target = stage.weir.target();
    wait_until("the user is gone", || {
        let events = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
        line(&events).ends_with("E[FATAL 28P01] EOF")
    });
    assert_eq!(one.ask(&query("commit")), "C[COMMIT] Z[I]");
}

#[test]
fn a_stop_lets_transactions_end_and_loses_no_commit() {
    let mut stage = Stage::new(&Setup::servers(4));
    stage.client().rows("create table t (a int)");
    let mut idle = stage.client();
    let target = stage.weir.target();
    let begun = AtomicBool::new(false);
    let committed: usize = std::thread::scope(|scope| {
        let clients = (0..8).map(|_| scope.spawn(|| commits_until_the_end(&target, &begun)));
        let clients: Vec<_> = clients.collect();
        wait_until("the load runs", || begun.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(300));
        stage.weir.signal("TERM");
        assert_eq!(line(&idle.rest()), "E[FATAL 57P01] EOF");
        clients.into_iter().map(|client| client.join().expect("no other error")).sum()
    });
    assert!(stage.weir.wait().success());
    let rows = stage.database.admin().value("select count(*) from t");
    assert_eq!(rows, committed.to_string());
}

/// Commits transactions until the proxy ends the session; how many were acknowledged.
fn commits_until_the_end(target: &Target, begun: &AtomicBool) -> usize {
    let mut client = target.connect();
    let mut committed = 0;
    loop {
        let answer = client.ask(&query("begin; insert into t values (1)"));
        if answer != "C[BEGIN] C[INSERT 0 1] Z[T]" {
            assert!(["E[FATAL 57P01] EOF", "EOF"].contains(&answer.as_str()), "{answer}");
            return committed;
        }
        assert_eq!(client.ask(&query("commit")), "C[COMMIT] Z[I]");
        committed += 1;
        begun.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_stop_waits_for_open_transactions_until_its_deadline() {
    let mut stage = Stage::new(&Setup::servers(2).timeouts("drain = \"1s\""));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin; create table t (a int)");
    two.rows("begin");
    let began = Instant::now();
    stage.weir.signal("TERM");
    let target = stage.weir.target();
    wait_until("nobody new is let in", || std::net::TcpStream::connect(target.addr).is_err());
    assert_eq!(one.ask(&query("insert into t values (1)")), "C[INSERT 0 1] Z[T]");
    assert_eq!(one.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(line(&one.rest()), "E[FATAL 57P01] EOF");
    assert_eq!(line(&two.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(stage.database.admin().value("select count(*) from t"), "1");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("begin");
    stage.weir.signal("TERM");
    let target = stage.weir.target();
    wait_until("the drain began", || std::net::TcpStream::connect(target.addr).is_err());
    let began = Instant::now();
    stage.weir.signal("TERM");
    stage.weir.wait();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn health_and_metrics_are_served() {
    let stage = Stage::new(&Setup::servers(1));
    stage.client().rows("select 1");
    assert!(stage.weir.http("/healthz").0.contains(" 200 "));
    wait_until("pgweir is ready", || stage.weir.http("/readyz").0.contains(" 200 "));
    let (status, body) = stage.weir.http("/metrics");
    assert!(status.contains(" 200 "), "{status}");
    assert!(body.lines().any(|line| line.starts_with("pgweir_")), "{body}");
    let mut client = stage.client();
    for _ in 0..3 {
        client.ask(&query("select 1/0"));
    }
    let wrong = stage.weir.target().as_user("app", "wrong");
    wrong.open().log_in(&wrong.startup(V3_0, &[]), &wrong.password);
    for (name, labels, expected) in [
        ("pgweir_errors_total", "code=\"22012\"", 3.0),
        ("pgweir_logins_total", "result=\"accepted\"", 2.0),
        ("pgweir_logins_total", "result=\"auth_failed\"", 1.0),
        ("pgweir_transactions_total", "", 4.0),
        ("pgweir_queries_total", "", 4.0),
        ("pgweir_servers", "", 1.0),
        ("pgweir_clients_waiting", "", 0.0),
    ] {
        wait_until(name, || (stage.weir.metric(name, labels) - expected).abs() < 0.5);
    }
    assert!(stage.weir.http("/nowhere").0.contains(" 404 "));
}
