//! What must hold whatever happens: PostgreSQL never refuses a connection for want of slots, on a
//! PostgreSQL that has exactly as many as pgweir may take.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::support::events::Event;
use super::support::*;

const SLOTS: usize = 4;
const WORKERS: usize = 10;
/// Transactions that each worker must commit.
const COMMITS: usize = 60;
/// Disturbances.
const ROUNDS: usize = 40;

#[test]
fn a_pool_that_may_be_larger_than_postgresql_is_warned_of_once() {
    let cluster = Cluster::with_slots(SLOTS);
    let warned = |stage: &Stage| stage.weir.log().matches("limits.max_servers_host").count();
    let large = Stage::on(cluster.database(), &Setup::servers(SLOTS + 1));
    let limited = Setup::servers(SLOTS + 1).limits(&format!("max_servers_host = {SLOTS}"));
    let limited = Stage::on(cluster.database(), &limited);
    assert_eq!(warned(&large), 0);
    large.client().rows("select 1");
    limited.client().rows("select 1");
    wait_until("it is said", || warned(&large) == 1);
    let log = large.weir.log();
    let line = log.lines().find(|line| line.contains("limits.max_servers_host")).expect("a line");
    assert!(line.contains("available=4") && line.contains("wanted=5"), "{line}");
    // The next look is as far away as the last.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!((warned(&large), warned(&limited)), (1, 0));
}

#[test]
fn the_limit_of_the_host_holds_in_chaos() {
    let seed = rand::random();
    println!("seed {seed}");
    let cluster = Cluster::with_slots(SLOTS);
    let database = cluster.database();
    let mut setup = database.auth_query();
    setup.auth += "cache_ttl = \"20ms\"\n";
    setup.timeouts = "checkout = \"60s\"\nserver_lifetime = \"1s\"\nserver_idle = \"100ms\"".into();
    setup = setup.limits(&format!("max_servers = {SLOTS}\nmax_servers_host = {SLOTS}"));
    for user in ["ann", "bob"] {
        database.admin().rows(&format!("create role {user} login password '{user}'"));
    }
    // The roles must outlive a crash, and the connections that made them be gone.
    database.admin().rows("checkpoint");
    wait_until("the cluster is left", || backends(&cluster).is_empty());
    let stage = Stage::on(database, &setup);
    let committed = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let target = stage.weir.target();
            let target = match number % 3 {
                0 => target,
                1 => target.as_user("ann", "ann"),
                _ => target.as_user("bob", "bob"),
            };
            let committed = Arc::clone(&committed);
            std::thread::spawn(move || work(&target, number, &committed))
        })
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..ROUNDS {
        let due = round * WORKERS * COMMITS / ROUNDS;
        wait_until("the next round is due", || committed.load(Ordering::Relaxed) >= due);
        disturb(&stage, round, &mut random);
        assert!(backends(&cluster).len() <= SLOTS);
    }
    for worker in workers {
        worker.join().expect("every client is served in the end");
    }
    cluster.assert_never_refused();
}

/// Commits its transactions, whatever the disturbances cost it.
fn work(target: &Target, number: usize, committed: &AtomicUsize) {
    let (mut done, mut lost) = (0, 0);
    while done < COMMITS {
        let Some(mut client) = log_in(target) else {
            lost += 1;
            assert!(lost < 1000, "no login succeeds any more");
            continue;
        };
        for round in number.. {
            let answer = client.ask(&query("begin; select pg_sleep(0.005); commit"));
            if !answer.ends_with("C[COMMIT] Z[I]") {
                lost += 1;
                assert!(lost < 1000, "nothing succeeds any more: {answer}");
                break;
            }
            done += 1;
            committed.fetch_add(1, Ordering::Relaxed);
            match round % 4 {
                0 => {
                    client.send(&query("select pg_sleep(5)"));
                    client.reset();
                    break;
                }
                1 => {
                    client.send(&terminate());
                    break;
                }
                _ => {}
            }
        }
    }
}

fn log_in(target: &Target) -> Option<Raw> {
    let mut client = target.open();
    client.patience = Duration::from_mins(1);
    let seen = client.log_in(&target.startup(V3_0, &[]), &target.password);
    seen.last().is_some_and(|event: &Event| event.is('Z')).then_some(client)
}

fn disturb(stage: &Stage, round: usize, random: &mut StdRng) {
    let victims = backends(stage.database.cluster());
    let victim = (!victims.is_empty()).then(|| victims[random.random_range(0..victims.len())]);
    match (round % 4, victim) {
        (0, Some(pid)) => kill("TERM", pid),
        // PostgreSQL ends all its sessions when one dies so, and recovers.
        (1, Some(pid)) if round % 8 == 1 => kill("KILL", pid),
        (2, _) => stage.weir.reload(|old| {
            let size = random.random_range(1..=SLOTS);
            let sizes = old.lines().map(|line| match line.split(" = ").next() {
                Some("max_servers") => format!("max_servers = {size}\n"),
                _ => format!("{line}\n"),
            });
            sizes.collect()
        }),
        _ => {
            // A burst of clients that go away while they log in.
            for _ in 0..20 {
                stage.weir.target().challenged().reset();
            }
        }
    }
}

fn kill(signal: &str, pid: u32) {
    // It may be gone by itself.
    let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).output();
}

/// The processes of PostgreSQL that serve connections. Asking PostgreSQL itself would take a slot.
fn backends(cluster: &Cluster) -> Vec<u32> {
    let pid_file = cluster.postgres().data_dir().join("postmaster.pid");
    let text = fs::read_to_string(pid_file).expect("postmaster.pid");
    let postmaster: u32 = text.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid");
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| is_backend(*pid, postmaster)).collect()
}

fn is_backend(pid: u32, postmaster: u32) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let parent = read("status");
    let parent = parent.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or_default();
    // The title has the client's address and port.
    parent.trim() == postmaster.to_string() && read("cmdline").contains("127.0.0.1(")
}

/// One more database, by a name of its host.
fn table(database: &Database, host: &str) -> String {
    let (name, port) = (database.name(), database.cluster().port());
    format!("[databases.{name}]\nhost = \"{host}\"\nport = {port}\ntls = \"disable\"")
}

#[test]
fn pools_that_only_want_idle_servers_take_none_from_each_other() {
    let cluster = Cluster::shared();
    let (first, second) = (cluster.database(), cluster.database());
    let other = table(&second, "127.0.0.1");
    let name = second.name().to_owned();
    let setup = Setup::servers(3).limits("min_idle = 3\nmax_servers_host = 4").tables(&other);
    let stage = Stage::on(first, &setup);
    let mut target = stage.weir.target();
    stage.client().rows("select 1");
    target.database = name;
    target.connect().rows("select 1");
    let opened = || stage.weir.count("pgweir_servers_opened_total", "");
    wait_until("the host is full", || stage.weir.count("pgweir_host_slots_used", "") == 4);
    let before = opened();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(opened(), before, "nobody waits for any");
}

/// A pool that the host leaves less than it may have keeps what it has got.
#[test]
fn a_pool_does_not_give_way_to_itself() {
    let stage = Stage::new(&Setup::servers(8).limits("max_servers_host = 4"));
    let mut clients: Vec<_> = (0..6).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.send(&query("begin; select pg_backend_pid()"));
    }
    let moment = Duration::from_millis(50);
    let has_begun = |client: &mut Raw| client.within(moment).iter().any(|event| event.is('Z'));
    let (mut begun, mut waiting) = (Vec::new(), clients);
    for count in [4, 2] {
        wait_until("all that the host leaves are taken", || {
            for mut client in std::mem::take(&mut waiting) {
                let place = if has_begun(&mut client) { &mut begun } else { &mut waiting };
                place.push(client);
            }
            begun.len() == count
        });
        begun.clear();
    }
    assert_eq!(stage.weir.count("pgweir_servers_opened_total", ""), 4);
}

#[test]
fn two_names_of_one_host_are_warned_of() {
    let cluster = Cluster::shared();
    let (first, second) = (cluster.database(), cluster.database());
    let other = table(&second, "localhost");
    let setup = Setup::servers(2).limits("max_servers_host = 2").tables(&other);
    let stage = Stage::on(first, &setup);
    let (here, there) =
        (format!("127.0.0.1:{}", cluster.port()), format!("localhost:{}", cluster.port()));
    let warned = |log: &str| {
        let warning =
            |line: &&str| line.contains("WARN") && line.contains(&here) && line.contains(&there);
        log.lines().filter(warning).count()
    };
    wait_until("it is warned of", || warned(&stage.weir.log()) == 1);
    stage.weir.reload(|old| old.replace("localhost", "127.0.0.1"));
    wait_until("the new configuration holds", || {
        stage.weir.log().contains("configuration reloaded")
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(warned(&stage.weir.log()), 1);
}

#[test]
fn a_shortage_of_files_is_logged_once_in_a_while() {
    let stage = Stage::new(&Setup::servers(1));
    stage.client().rows("select 1");
    let pid = stage.weir.pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("pgweir's files").count();
    let set_limit = |limit: usize| {
        let limit = format!("--nofile={limit}:");
        let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
        assert!(status.expect("prlimit").success());
    };
    set_limit(open + 5);
    let target = stage.weir.target();
    let crowd: Vec<Raw> = (0..20).map(|_| target.open()).collect();
    let warnings = || stage.weir.log().matches("out of open files").count();
    wait_until("the shortage is logged", || warnings() > 0);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(warnings(), 1);
    drop(crowd);
    wait_until("files are free again", || log_in(&target).is_some());
}

/// What a client is told that may not come in.
fn refusal(target: &Target) -> Vec<Event> {
    let mut raw = target.open();
    raw.log_in(&target.startup(V3_0, &[]), &target.password)
}

#[test]
fn clients_are_limited_by_database_user_and_address() {
    for (key, text) in [
        ("max_clients_database", "too many connections for database \"test_"),
        ("max_clients_user", "too many connections for role \"app\""),
        ("max_clients_source", "too many connections from address \"127.0.0.1\""),
    ] {
        let admin = "[admin]\nusers = [\"app\"]";
        let setup = Setup::servers(2).limits(&format!("{key} = 2")).tables(admin);
        let stage = Stage::new(&setup);
        let held = [stage.client(), stage.client()];
        let events = refusal(&stage.weir.target());
        let error = events.iter().find(|event| event.is('E')).expect("a refusal");
        assert_eq!((error.field('S'), error.field('C')), ("FATAL".into(), "53300".into()));
        assert!(error.field('M').starts_with(text), "{}", error.field('M'));
        // Who has not proved who it is takes no place, and the console has room.
        let mut wrong = stage.weir.target();
        wrong.password = "another".into();
        let events = refusal(&wrong);
        assert!(events.iter().any(|event| event.is('E') && event.field('C') == "28P01"));
        let mut console = stage.weir.target();
        console.database = "pgweir".into();
        console.connect().rows(&format!("set {key} = 3"));
        let third = stage.client();
        drop((held, third));
        wait_until("they have gone", || stage.weir.count("pgweir_clients", "") == 0);
        stage.client().rows("select 1");
    }
}

#[test]
fn connections_that_say_nothing_shut_nobody_out() {
    let stage = Stage::new(&Setup::servers(2).limits("max_logins = 20"));
    let silent: Vec<_> = (0..100).map(|_| stage.weir.target().open()).collect();
    for _ in 0..10 {
        assert_eq!(stage.client().value("select 1"), "1");
    }
    let count =
        |result: &str| stage.weir.count("pgweir_logins_total", &format!("result=\"{result}\""));
    wait_until("the oldest were closed", || count("too_many_clients") >= 80);
    assert_eq!(count("accepted"), 10);
    for mut one in silent.into_iter().take(50) {
        assert!(one.bytes(usize::MAX).is_empty(), "closed without a word");
    }
}

#[test]
fn connections_that_do_not_log_in_shut_nobody_out_where_there_is_little_room_for_clients() {
    // Beside those who are logged in, there is room for 256.
    const CROWD: usize = 300;
    let setup = Setup::servers(2).limits("max_clients = 3").timeouts("login = \"10min\"");
    let stage = Stage::new(&setup);
    let target = stage.weir.target();
    let first = stage.client();
    let silent: Vec<_> = (0..CROWD).map(|_| target.open()).collect();
    assert_eq!(stage.client().value("select 1"), "1");
    drop(silent);
    wait_until("they have gone", || stage.weir.count("pgweir_clients", "") == 1);
    // Who has said what it wants gives way when it owes an answer for long, and takes no client's seat meanwhile.
    let slow: Vec<_> = (0..4).map(|_| target.challenged()).collect();
    assert_eq!(stage.client().value("select 1"), "1");
    let slower: Vec<_> = (0..CROWD).map_while(|_| challenged(&target)).collect();
    assert!(slower.len() > 200);
    wait_until("one gives way", || log_in(&target).is_some());
    drop((first, slow, slower));
}

/// A connection that was asked for a proof of who it is, if there was room for it.
fn challenged(target: &Target) -> Option<Raw> {
    let mut raw = target.open();
    raw.send(&target.startup(V3_0, &[]));
    raw.event().is('R').then_some(raw)
}

#[test]
fn one_address_has_so_many_logins_at_once_and_no_more() {
    let stage = Stage::new(&Setup::servers(2).limits("max_logins_source = 3"));
    // The one that found out whether pgweir accepts.
    wait_until("nobody is there", || stage.weir.count("pgweir_clients", "") == 0);
    let silent: Vec<_> = (0..3).map(|_| stage.weir.target().open()).collect();
    wait_until("they are there", || stage.weir.count("pgweir_clients", "") == 3);
    let mut fourth = stage.weir.target().open();
    fourth.send(&stage.weir.target().startup(V3_0, &[]));
    assert!(fourth.bytes(usize::MAX).is_empty(), "closed without a word");
    drop(silent);
    wait_until("they have gone", || stage.weir.count("pgweir_clients", "") == 0);
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn who_is_gone_while_it_waits_to_be_welcomed_leaves_its_place() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    middleman.set(Fault::Silence);
    let setup = Setup { method: "trust".into(), ..Setup::servers(1) }
        .limits("max_clients = 2")
        .timeouts("checkout = \"10min\"\nwait_notice = \"200ms\"");
    let stage = Stage::on(cluster.database(), &setup.behind(&middleman));
    let target = stage.weir.target();
    let join = || {
        let mut client = target.open();
        client.send(&target.startup(V3_0, &[]));
        let seen = client.until('N');
        assert!(
            seen.last().is_some_and(|event| event.is('N')),
            "it is told why it waits: {seen:?}"
        );
        client
    };
    let waiting = || stage.weir.count("pgweir_clients_waiting", "");
    let (mut half_closed, closed) = (join(), join());
    wait_until("both wait", || waiting() == 2);
    half_closed.shut_down_write();
    drop(closed);
    wait_until("none waits", || waiting() == 0);
    wait_until("none is there", || stage.weir.count("pgweir_clients", "") == 0);
    drop((join(), join()));
}
