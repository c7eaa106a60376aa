//! How many connections to PostgreSQL are opened at once, and what happens when that fails.

use std::time::{Duration, Instant};

use super::support::events::line;
use super::support::*;

/// What answers `pg_sleep`.
const SLEPT: &str = "T D() C[SELECT 1] Z[I]";
const OPENED: &str = "pgweir_servers_opened_total";

/// Connections that PostgreSQL's log has of this database.
fn connections(cluster: &Cluster, database: &str) -> usize {
    let log = std::fs::read(cluster.postgres().log_path()).expect("PostgreSQL's log");
    let log = String::from_utf8_lossy(&log);
    let mark = format!("database={database}");
    log.lines().filter(|l| l.contains("connection authorized") && l.contains(&mark)).count()
}

/// So many clients that each do one transaction of that length, all at once.
fn burst(target: &Target, clients: usize, seconds: f64) -> Vec<String> {
    let running: Vec<_> = (0..clients)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || {
                let mut client = target.connect();
                client.ask(&query(&format!("select pg_sleep({seconds})")))
            })
        })
        .collect();
    running.into_iter().map(|client| client.join().expect("a client")).collect()
}

#[test]
fn clients_that_take_turns_share_one_server() {
    let stage = Stage::new(&Setup::servers(20));
    let mut clients: Vec<_> = (0..10).map(|_| stage.client()).collect();
    for _ in 0..20 {
        for client in &mut clients {
            assert_eq!(client.value("select 1"), "1");
        }
    }
    assert_eq!(stage.weir.count(OPENED, ""), 1);
}

#[test]
fn a_burst_on_a_cold_pool_opens_no_more_than_its_size_and_is_served() {
    let cluster = Cluster::start(options_with_log());
    let stage = Stage::on(cluster.database(), &Setup::servers(5));
    let seen = burst(&stage.weir.target(), 100, 0.01);
    assert!(seen.iter().all(|seen| seen == SLEPT), "{seen:?}");
    let opened = stage.weir.count(OPENED, "");
    assert!((2..=5).contains(&opened), "{opened}");
    // PostgreSQL has seen no other.
    assert_eq!(connections(&cluster, stage.database.name()) as u64, opened);
}

#[test]
fn a_burst_on_a_cold_pool_has_its_settings_judged_by_one() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let stage = Stage::on(cluster.database(), &Setup::servers(3).behind(&middleman));
    // All are there before the first server is.
    middleman.set(Fault::Slow(Duration::from_millis(300)));
    let log_in = |work_mem: &'static str| {
        let target = stage.weir.target();
        std::thread::spawn(move || {
            let startup = target.startup(V3_0, &[("work_mem", work_mem)]);
            line(&target.open().log_in(&startup, &target.password))
        })
    };
    let good: Vec<_> = (0..30).map(|_| log_in("7MB")).collect();
    let bad: Vec<_> = (0..3).map(|_| log_in("much")).collect();
    for client in good {
        assert!(client.join().expect("a client").ends_with("Z[I]"));
    }
    for client in bad {
        assert!(client.join().expect("a client").ends_with("E[FATAL 22023] EOF"));
    }
    // Each of the bad ones is told by PostgreSQL, one after the other.
    let checkouts = stage.weir.count("pgweir_checkouts_total", "");
    assert!(checkouts < 15, "{checkouts} servers were taken");
}

fn options_with_log() -> pgweir::demo::postgres::Options {
    pgweir::demo::postgres::Options {
        limit: Some(50),
        settings: vec![("log_connections".into(), "on".into())],
        ..pgweir::demo::postgres::Options::default()
    }
}

#[test]
fn a_ceiling_of_the_rate_holds() {
    let stage = Stage::new(&Setup::servers(20).limits("connects_per_second = 5"));
    let started = Instant::now();
    let seen = burst(&stage.weir.target(), 10, 1.5);
    assert!(seen.iter().all(|seen| seen == SLEPT), "{seen:?}");
    // Whoever came late has waited for his server, or for one that came back.
    let (opened, took) = (stage.weir.count(OPENED, ""), started.elapsed().as_secs_f64());
    assert!((opened - 1) as f64 <= took * 5.0, "{opened} in {took} s");
}

#[test]
fn a_database_that_is_down_is_tried_by_one_at_a_time_and_found_again_soon() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let stage = Stage::on(cluster.database(), &Setup::servers(10).behind(&middleman));
    let mut clients: Vec<_> = (0..10).map(|_| stage.client()).collect();
    stage.client().rows("select 1");
    // As a PostgreSQL that starts up answers.
    let starting = message('E', b"SFATAL\0VFATAL\0C57P03\0Mstarting up\0\0");
    middleman.set(Fault::Answer(starting));
    middleman.cut();
    for client in &mut clients {
        client.send(&query("select 1"));
    }
    wait_until("the circuit is open", || stage.weir.count("pgweir_host_circuit_open", "") == 1);
    let before = stage.weir.count("pgweir_servers_failed_total", "");
    std::thread::sleep(Duration::from_secs(4));
    let tried = stage.weir.count("pgweir_servers_failed_total", "") - before;
    assert!((1..=16).contains(&tried), "{tried} attempts in 4 s");
    middleman.set(Fault::None);
    let started = Instant::now();
    for client in &mut clients {
        assert_eq!(client.ready(1).len(), 4);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(stage.weir.count("pgweir_host_circuit_open", ""), 0);
}

#[test]
fn a_database_whose_logins_become_slow_gets_fewer_at_once() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    // Servers do not live long: there is always one to be opened.
    let setup = Setup::servers(12)
        .behind(&middleman)
        .timeouts("server_lifetime = \"20ms\"\nserver_connect = \"20s\"");
    let stage = Stage::on(cluster.database(), &setup);
    let window = || stage.weir.metric("pgweir_host_opening_window", "");
    let load = Load::start(&stage.weir.target(), 12, "select pg_sleep(0.03)", SLEPT);
    wait_until("logins go well", || window() >= 4.0);
    middleman.set(Fault::Slow(Duration::from_millis(700)));
    wait_until("there are fewer at once", || window() <= 2.0);
    middleman.set(Fault::None);
    wait_until("there are more again", || window() >= 3.0);
    load.stop();
}

/// A pool for each of so many users, all of them cold, and a client of each that comes now.
fn cold_pools(users: usize, limits: &str) -> usize {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let mut setup = Setup::servers(5).limits(limits).behind(&middleman);
    let mut names = Vec::new();
    for number in 0..users {
        let name = format!("{}_user_{number}", database.name());
        database.admin().rows(&format!("create role {name} login password 'x'"));
        setup = setup.tables(&format!("[users.{name}]\nsecret = \"x\""));
        names.push(name);
    }
    let stage = Stage::on(database, &setup);
    middleman.set(Fault::Slow(Duration::from_millis(300)));
    let clients: Vec<_> = names
        .iter()
        .map(|name| {
            let target = stage.weir.target().as_user(name, "x");
            std::thread::spawn(move || target.connect().value("select current_user"))
        })
        .collect();
    for (client, name) in clients.into_iter().zip(&names) {
        assert_eq!(client.join().expect("a client"), *name);
    }
    assert_eq!(stage.weir.count(OPENED, ""), users as u64, "one for each");
    middleman.most_slowed()
}

#[test]
fn many_cold_pools_together_are_no_storm_on_their_host() {
    let most = cold_pools(24, "");
    // It finds out how many the host keeps up with: two, four, eight, and what is left.
    assert!(most <= 12, "{most} at once");
    let most = cold_pools(12, "connects_at_once = 3");
    assert!(most <= 3, "{most} at once");
}

#[test]
fn a_database_that_says_nothing_is_tried_by_one_at_a_time() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let setup = Setup::servers(10).timeouts("server_connect = \"200ms\"").behind(&middleman);
    let stage = Stage::on(cluster.database(), &setup);
    let mut clients: Vec<_> = (0..5).map(|_| stage.client()).collect();
    middleman.set(Fault::Silence);
    middleman.cut();
    for client in &mut clients {
        client.send(&query("select 1"));
    }
    wait_until("the circuit is open", || stage.weir.count("pgweir_host_circuit_open", "") == 1);
    let failed = || stage.weir.count("pgweir_servers_failed_total", "");
    let before = failed();
    std::thread::sleep(Duration::from_secs(2));
    let tried = failed() - before;
    assert!(tried <= 8, "{tried} attempts in 2 s");
    middleman.set(Fault::None);
    for client in &mut clients {
        assert_eq!(client.ready(1).len(), 4);
    }
    assert_eq!(stage.weir.count("pgweir_host_circuit_open", ""), 0);
}

/// What a pool of the test's database may have now.
fn max_servers(stage: &Stage) -> String {
    let mut console = stage.weir.target();
    console.database = "pgweir".into();
    let pools = console.connect().rows("show pools");
    pools[0][MAX_SERVERS].clone().expect("a number")
}

/// The column of `SHOW POOLS`.
const MAX_SERVERS: usize = 7;

#[test]
fn limits_in_per_cent_follow_what_postgresql_has() {
    let cluster = Cluster::with_slots(8);
    let setup = Setup { limits: "max_servers = \"50%\"".into(), ..Setup::default() }
        .limits("max_servers_host = \"75%\"")
        .tables("[admin]\nusers = [\"app\"]");
    let stage = Stage::on(cluster.database(), &setup);
    let seen = burst(&stage.weir.target(), 30, 0.05);
    assert!(seen.iter().all(|seen| seen == SLEPT), "{seen:?}");
    assert_eq!(max_servers(&stage), "4");
    assert_eq!(stage.weir.count("pgweir_host_slots_limit", ""), 6);
    assert!(stage.weir.count(OPENED, "") <= 4);
    // With another number of connections, PostgreSQL must be started again.
    stage.database.admin().rows("alter system set max_connections = 23");
    {
        let mut postgres = cluster.postgres();
        postgres.shut_down().expect("it stops");
        postgres.launch().expect("it starts");
    }
    assert_eq!(stage.client().value("select 1"), "1");
    assert_eq!(stage.weir.count("pgweir_host_slots_limit", ""), 15);
    assert_eq!(max_servers(&stage), "10");
    stage.weir.reload(|old| old.replace("max_servers = \"50%\"", "max_servers = \"10%\""));
    wait_until("the pool is smaller", || max_servers(&stage) == "2");
}

#[test]
fn a_user_has_no_more_servers_than_it_may_over_all_databases() {
    let cluster = Cluster::shared();
    let (first, second) = (cluster.database(), cluster.database());
    let also =
        format!("[databases.{}]\nhost = \"127.0.0.1\"\nport = {}", second.name(), cluster.port());
    let stage = Stage::on(first, &Setup::servers(5).limits("max_servers_user = 1").tables(&also));
    let mut here = stage.client();
    here.rows("begin");
    let mut target = stage.weir.target();
    target.database = second.name().into();
    let there = std::thread::spawn(move || target.connect().value("select 1"));
    wait_until("it waits for a slot", || stage.weir.count("pgweir_host_starving_pools", "") == 1);
    here.rows("commit");
    assert_eq!(there.join().expect("the client"), "1");
}
