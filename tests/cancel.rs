//! CancelRequest (`protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS`): it ends the query of the
//! client that it names, and never anybody else's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::support::events::line;
use super::support::raw::cancel;
use super::support::*;

/// What answers `pg_sleep` in a transaction.
const SLEPT_ON: &str = "T D() C[SELECT 1] Z[T]";

/// Waits until PostgreSQL runs a query whose text contains `what`.
fn running(stage: &Stage, what: &str) {
    let mut admin = stage.database.admin();
    let sql = format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%{what}%' \
         and pid <> pg_backend_pid()"
    );
    wait_until("the query runs", || admin.value(&sql) != "0");
}

/// Asks for a cancel and waits for its end, beside what the test does.
fn cancel_beside(client: &Raw, addr: SocketAddr) -> JoinHandle<Vec<u8>> {
    let key = client.key.clone();
    std::thread::spawn(move || cancel(addr, &key))
}

#[test]
fn a_running_query_is_cancelled_and_the_request_not_answered() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.send(&query("select pg_sleep(30)"));
        // Repeated, since the first may arrive before the query does.
        let mut answered = 0;
        let events = loop {
            answered += client.cancel().len();
            let events = client.within(Duration::from_millis(100));
            if !events.is_empty() {
                break events;
            }
        };
        // Whether the row was described before the cancel came is chance.
        let events = line(&events).trim_start_matches("T ").to_owned();
        vec![events, answered.to_string(), client.ask(&query("select 1"))]
    });
    assert_eq!(seen, ["E[ERROR 57014] Z[I]", "0", "T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_cancel_waits_for_what_goes_ahead_of_the_query() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut client, mut other) = (stage.weir.target().connect(), stage.weir.target().connect());
    let server = client.value("select pg_backend_pid()");
    client.rows("set work_mem = '9MB'");
    other.rows("set work_mem = '8MB'");
    // Each time, one's own settings go ahead; once the server has taken them, what follows does not wait.
    for _ in 0..2 {
        assert_eq!(client.value("show work_mem"), "9MB");
        assert_eq!(other.value("show work_mem"), "8MB");
    }
    signal("STOP", &server);
    client.send(&query("select pg_sleep(30)"));
    // Long enough for the query to be with the server, and the cancel with the client.
    assert!(client.within(Duration::from_millis(200)).is_empty());
    let canceling = cancel_beside(&client, stage.weir.target().addr);
    std::thread::sleep(Duration::from_millis(200));
    signal("CONT", &server);
    let events = line(&client.ready(1)).trim_start_matches("T ").to_owned();
    assert_eq!(events, "E[ERROR 57014] Z[I]");
    assert_eq!(canceling.join().expect("a cancel"), b"");
    assert_eq!(client.value("show work_mem"), "9MB");
}

#[test]
fn a_cancel_that_names_nobody_or_an_idle_client_does_nothing() {
    let seen = both(|target| {
        let mut client = target.connect();
        let mut answered = 0;
        let mut wrong_secret = client.key.clone();
        *wrong_secret.last_mut().expect("a key") ^= 1;
        let mut wrong_pid = client.key.clone();
        wrong_pid[3] ^= 1;
        let long = [&client.key[..], &[0; 100]].concat();
        client.send(&query("select pg_sleep(0.5)"));
        for key in [&wrong_secret, &wrong_pid, &long, &vec![0; 4], &vec![]] {
            answered += cancel(target.addr, key).len();
        }
        let slept = line(&client.ready(1));
        answered += client.cancel().len();
        let idle = client.ask(&query("select 1"));
        client.rows("begin");
        answered += client.cancel().len();
        vec![slept, idle, client.ask(&query("select 2")), answered.to_string()]
    });
    assert_eq!(
        seen,
        ["T D() C[SELECT 1] Z[I]", "T D(1) C[SELECT 1] Z[I]", "T D(2) C[SELECT 1] Z[T]", "0"]
    );
}

#[test]
fn a_waiting_client_is_cancelled_out_of_the_queue() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    two.send(&[query("select 2"), query("select 3")].concat());
    wait_until("the second client waits", || {
        two.cancel();
        !two.within(Duration::from_millis(50)).is_empty()
    });
    assert_eq!(one.ask(&query("commit")), "C[COMMIT] Z[I]");
    // The first of its two queries went with the cancel; the second runs.
    assert!(line(&two.ready(1)).ends_with("D(3) C[SELECT 1] Z[I]"));
    assert_eq!(two.ask(&query("select 4")), "T D(4) C[SELECT 1] Z[I]");
}

#[test]
fn an_extended_waiting_client_is_cancelled_up_to_its_sync() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    two.send(&[extended("select 2"), sync()].concat());
    let mut events = Vec::new();
    wait_until("the second client is told", || {
        two.cancel();
        events = two.within(Duration::from_millis(50));
        !events.is_empty()
    });
    assert_eq!(line(&events), "E[ERROR 57014] Z[I]");
    one.rows("commit");
    assert_eq!(two.ask(&query("select 4")), "T D(4) C[SELECT 1] Z[I]");
}

#[test]
fn a_cancel_never_hits_the_next_client_of_the_server() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    let mut two = stage.client();
    let stop = AtomicBool::new(false);
    let mut cancelled = 0;
    std::thread::scope(|scope| {
        let hammering = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
                count += 1;
            }
            count
        });
        for _ in 0..1000 {
            let key = one.key.clone();
            let addr = stage.weir.target().addr;
            let delay = Duration::from_micros(random.random_range(0..6000));
            let firing = scope.spawn(move || {
                std::thread::sleep(delay);
                cancel(addr, &key);
            });
            let answer = one.ask(&query("select pg_sleep(0.003)"));
            cancelled += usize::from(answer.ends_with("E[ERROR 57014] Z[I]"));
            assert!(answer.ends_with("Z[I]"), "{answer}");
            firing.join().expect("the cancel ends");
        }
        stop.store(true, Ordering::Relaxed);
        let count = hammering.join().expect("the other client was never disturbed");
        println!("{cancelled} of 1000 cancelled, {count} queries beside them");
    });
    assert!(cancelled > 0, "no cancel hit anything");
}

#[test]
fn a_cancel_never_hits_what_the_proxy_runs_itself() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    // Different settings, so that each turn begins with work of the proxy's own.
    let mut tokyo = target.connect_with(&[("timezone", "Asia/Tokyo"), ("work_mem", "9MB")]);
    let mut rome = target.connect_with(&[("timezone", "Europe/Rome"), ("work_mem", "5MB")]);
    for _ in 0..200 {
        let key = tokyo.key.clone();
        let delay = Duration::from_micros(random.random_range(0..1000));
        let firing = std::thread::spawn(move || {
            std::thread::sleep(delay);
            cancel(target.addr, &key);
        });
        let answer = tokyo.ask(&query("select current_setting('timezone')"));
        let whole = answer == "T D(Asia/Tokyo) C[SELECT 1] Z[I]";
        assert!(whole || answer.ends_with("E[ERROR 57014] Z[I]"), "{answer}");
        assert_eq!(rome.value("show timezone"), "Europe/Rome");
        assert_eq!(rome.value("show work_mem"), "5MB");
        firing.join().expect("the cancel ends");
    }
}

#[test]
fn a_server_is_not_used_again_while_a_cancel_hangs() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let setup = Setup::servers(1).timeouts("cancel = \"1s\"").behind(&middleman);
    let stage = Stage::on(database, &setup);
    let (mut one, mut two) = (stage.client(), stage.client());
    let old = one.value("select pg_backend_pid()");
    middleman.set(Fault::SwallowCancels);
    one.send(&query("select pg_sleep(0.7)"));
    running(&stage, "pg_sleep");
    let cancelling = cancel_beside(&one, stage.weir.target().addr);
    let began = Instant::now();
    let new = two.value("select pg_backend_pid()");
    assert_ne!(new, old);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(line(&one.ready(1)), "T D() C[SELECT 1] Z[I]");
    assert!(cancelling.join().expect("the cancel ends").is_empty());
}

#[test]
fn a_full_pool_can_still_be_cancelled() {
    let cluster = Cluster::with_slots(2);
    let stage = Stage::on(cluster.database(), &Setup::servers(2).limits("max_servers_host = 2"));
    let mut clients = [stage.client(), stage.client()];
    for client in &mut clients {
        client.send(&query("select pg_sleep(30)"));
    }
    for client in &mut clients {
        wait_until("the cancel hits", || {
            client.cancel();
            !client.within(Duration::from_millis(100)).is_empty()
        });
        assert_eq!(client.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");
    }
}

#[test]
fn a_cancel_that_comes_late_never_hits_the_next_statement_of_its_client() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    let addr = stage.weir.target().addr;
    for round in 0..5 {
        client.rows("begin");
        client.send(&query("select pg_sleep(0.02)"));
        // A cancel of who has just begun is kept back for a moment, in which the statement ends by itself.
        let canceler = cancel_beside(&client, addr);
        let first = line(&client.ready(1));
        if first.contains("E[ERROR 57014]") {
            // Else it was slower than that.
            client.rows("rollback");
            canceler.join().expect("the cancel");
            continue;
        }
        assert_eq!(client.ask(&query("select pg_sleep(0.3)")), SLEPT_ON, "round {round}");
        client.rows("commit");
        canceler.join().expect("the cancel");
    }
}

#[test]
fn a_cancel_that_is_read_before_its_query_cancels_it() {
    let stage = Stage::new(&Setup::servers(2));
    let mut client = stage.client();
    let addr = stage.weir.target().addr;
    for round in 0..10 {
        if round % 2 == 0 {
            client.rows("begin");
        }
        // Both come while pgweir does not look.
        stage.weir.signal("STOP");
        client.send(&query("select pg_sleep(30)"));
        let canceler = cancel_beside(&client, addr);
        std::thread::sleep(Duration::from_millis(50));
        stage.weir.signal("CONT");
        let seen = line(&client.ready(1)).trim_start_matches("T ").to_owned();
        let status = if round % 2 == 0 { 'E' } else { 'I' };
        assert_eq!(seen, format!("E[ERROR 57014] Z[{status}]"), "round {round}");
        canceler.join().expect("the cancel");
        if round % 2 == 0 {
            client.rows("rollback");
        }
    }
}
