//! What `/metrics` counts, label by label (`docs/metrics.md`).

use std::time::Duration;

use super::support::events::line;
use super::support::raw::cancel;
use super::support::*;

fn counted(stage: &Stage, name: &str, labels: &str, expected: f64) {
    let what = format!("{name}{{{labels}}} is {expected}");
    wait_until(&what, || (stage.weir.metric(name, labels) - expected).abs() < 0.5);
}

/// Waits until PostgreSQL runs a query whose text contains `what`.
fn running(stage: &Stage, what: &str) {
    let mut admin = stage.database.admin();
    let sql = format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%{what}%' \
         and pid <> pg_backend_pid()"
    );
    wait_until("the query runs", || admin.value(&sql) != "0");
}

#[test]
fn bytes_are_those_of_clients_in_both_directions() {
    let stage = Stage::new(&Setup::servers(1));
    let bytes = || {
        ["pgweir_bytes_received_total", "pgweir_bytes_sent_total"]
            .map(|name| stage.weir.metric(name, ""))
    };
    // Two sessions that differ in the lengths of one message each way.
    let of_session = |asked: usize, answered: usize| {
        let before = bytes();
        let mut client = stage.client();
        client.rows(&format!("select repeat('x', {answered}) /* {} */", "y".repeat(asked)));
        client.send(&terminate());
        client.rest();
        counted(&stage, "pgweir_clients", "", 0.0);
        let after = bytes();
        [after[0] - before[0], after[1] - before[1]]
    };
    // The first session also has its pool opened.
    of_session(1, 1);
    let short = of_session(10_000, 10_000);
    let long = of_session(30_000, 100_000);
    assert!((short[0] - 10_000.0).abs() < 1000.0, "{short:?}");
    assert!((short[1] - 10_000.0).abs() < 2000.0, "{short:?}");
    assert!((long[0] - short[0] - 20_000.0).abs() < 100.0, "{short:?} {long:?}");
    assert!((long[1] - short[1] - 90_000.0).abs() < 100.0, "{short:?} {long:?}");
}

/// Where `*` takes any name.
#[test]
fn only_a_database_that_is_there_gets_labels_of_its_own() {
    let port = Cluster::shared().port();
    let any = format!("[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"disable\"");
    let stage = Stage::new(&Setup::servers(3).tables(&any));
    let login = |database: &str| {
        let target = Target { database: database.into(), ..stage.weir.target() };
        let mut client = target.open();
        let seen = client.log_in(&target.startup(V3_0, &[]), &target.password);
        (client, line(&seen))
    };
    for number in 0..5 {
        assert!(login(&format!("nowhere{number}")).1.contains("3D000"));
    }
    counted(&stage, "pgweir_servers_failed_total", "database=\"other\"", 5.0);
    let there = stage.database.cluster().database();
    let (mut client, _) = login(there.name());
    client.rows("select 1");
    let its_own = format!("database=\"{}\"", there.name());
    counted(&stage, "pgweir_servers_opened_total", &its_own, 1.0);
    counted(&stage, "pgweir_servers", &format!("{its_own},user=\"app\",state=\"idle\""), 1.0);
    counted(&stage, "pgweir_servers", "database=\"other\"", 0.0);
    counted(&stage, "pgweir_pool_servers_limit", &its_own, 3.0);
    counted(&stage, "pgweir_transactions_total", &its_own, 1.0);
    assert!(!stage.weir.http("/metrics").1.contains("nowhere"));
    // The configuration names this one.
    drop(stage.client());
    let named = format!("database=\"{}\"", stage.database.name());
    counted(&stage, "pgweir_pool_servers_limit", &named, 3.0);
}

#[test]
fn limits_are_shown_as_they_hold() {
    let stage = Stage::new(&Setup::servers(7).limits("max_clients = 50"));
    let _client = stage.client();
    let pool = format!("database=\"{}\"", stage.database.name());
    counted(&stage, "pgweir_pool_servers_limit", &pool, 7.0);
    counted(&stage, "pgweir_clients_limit", "", 50.0);
    counted(&stage, "pgweir_clients_tls", "", 0.0);
    stage.weir.reload(|toml| {
        toml.replace("max_servers = 7", "max_servers = 3")
            .replace("max_clients = 50", "max_clients = 60")
    });
    counted(&stage, "pgweir_pool_servers_limit", &pool, 3.0);
    counted(&stage, "pgweir_clients_limit", "", 60.0);
}

#[test]
fn each_checkout_is_in_the_histogram_of_waits() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut client, mut other) = (stage.client(), stage.client());
    for _ in 0..3 {
        client.rows("select 1");
    }
    other.rows("begin");
    client.send(&query("select 1"));
    wait_until("it waits", || stage.weir.metric("pgweir_clients_waiting", "") > 0.5);
    other.rows("commit");
    client.ready(1);
    // The first login has waited for what the first server reports, and not for the server.
    counted(&stage, "pgweir_checkouts_total", "", 5.0);
    counted(&stage, "pgweir_checkout_wait_seconds_count", "", 5.0);
    counted(&stage, "pgweir_checkout_wait_seconds_bucket", "le=\"+Inf\"", 5.0);
    let waited = stage.weir.metric("pgweir_checkout_wait_seconds_sum", "");
    assert!(waited > 0.0 && waited < 10.0, "{waited}");
}

#[test]
fn how_long_clients_have_their_servers_is_in_a_histogram_and_on_the_console() {
    let stage = Stage::new(&Setup::servers(1).tables("[admin]\nusers = [\"app\"]\n"));
    let mut client = stage.client();
    client.rows("select 1");
    client.rows("begin");
    std::thread::sleep(Duration::from_millis(300));
    client.rows("commit");
    counted(&stage, "pgweir_lease_seconds_count", "", 2.0);
    counted(&stage, "pgweir_lease_seconds_bucket", "le=\"0.25\"", 1.0);
    let had = stage.weir.metric("pgweir_lease_seconds_sum", "");
    assert!((0.3..10.0).contains(&had), "{had}");
    let console = Target { database: "pgweir".into(), ..stage.weir.target() };
    let row = console.connect().rows("show stats").remove(0);
    let shown = |at: usize| row[at].clone().expect("a value");
    assert_eq!(
        (shown(0), shown(2), shown(3)),
        (stage.database.name().to_owned(), "2".into(), "3".into())
    );
    assert_eq!((shown(6), shown(8)), ("2".to_owned(), "2".to_owned()));
    assert!((shown(9).parse::<f64>().expect("a number") - had).abs() < 0.01, "{row:?}");
}

#[test]
fn cancels_are_counted_by_what_became_of_them() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    let is = |outcome: &str, count: f64| {
        counted(&stage, "pgweir_cancels_total", &format!("outcome=\"{outcome}\""), count);
    };
    for _ in 0..3 {
        one.cancel();
    }
    is("nothing", 3.0);
    one.send(&query("select pg_sleep(30)"));
    running(&stage, "pg_sleep");
    one.cancel();
    assert!(line(&one.ready(1)).ends_with("E[ERROR 57014] Z[I]"));
    is("forwarded", 1.0);
    one.rows("begin");
    one.cancel();
    is("nothing", 4.0);
    two.send(&query("select 2"));
    wait_until("two waits", || stage.weir.metric("pgweir_clients_waiting", "") > 0.5);
    two.cancel();
    assert_eq!(line(&two.ready(1)), "E[ERROR 57014] Z[I]");
    is("waiting", 1.0);
    let mut wrong = two.key.clone();
    *wrong.last_mut().expect("a key") ^= 1;
    cancel(stage.weir.target().addr, &wrong);
    is("unknown_key", 1.0);
    for (outcome, count) in [("forwarded", 1.0), ("failed", 0.0), ("too_many", 0.0)] {
        is(outcome, count);
    }
}

#[test]
fn a_cancel_that_postgresql_does_not_take_has_failed() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let setup = Setup::servers(1).timeouts("cancel = \"300ms\"").behind(&middleman);
    let stage = Stage::on(database, &setup);
    let mut client = stage.client();
    client.send(&query("select pg_sleep(2)"));
    running(&stage, "pg_sleep");
    middleman.set(Fault::SwallowCancels);
    client.cancel();
    counted(&stage, "pgweir_cancels_total", "outcome=\"failed\"", 1.0);
    counted(&stage, "pgweir_cancels_total", "outcome=\"forwarded\"", 0.0);
}

#[test]
fn cancels_beyond_their_bound_are_too_many() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    let mut tenants = ["1", "2"].map(|tenant| target.connect_with(&[("app.tenant", tenant)]));
    tenants[1].rows("select 1");
    let server = tenants[0].value("select pg_backend_pid()");
    // A server that does not answer to its client's settings: nobody looks at cancels meanwhile.
    signal("STOP", &server);
    tenants[1].send(&query("select 2"));
    counted(&stage, "pgweir_servers", "state=\"leased\"", 1.0);
    let (addr, key) = (target.addr, tenants[1].key.clone());
    let cancels: Vec<_> = (0..20)
        .map(|_| {
            let key = key.clone();
            std::thread::spawn(move || cancel(addr, &key))
        })
        .collect();
    counted(&stage, "pgweir_cancels_total", "outcome=\"too_many\"", 4.0);
    signal("CONT", &server);
    for cancel in cancels {
        cancel.join().expect("the cancel ends");
    }
    tenants[1].ready(1);
    counted(&stage, "pgweir_cancels_total", "", 20.0);
}

#[test]
fn abandoned_work_is_counted_by_what_became_of_it() {
    let stage = Stage::new(&Setup::servers(1));
    let is = |outcome: &str, count: f64| {
        counted(&stage, "pgweir_abandoned_clients_total", &format!("outcome=\"{outcome}\""), count);
    };
    let mut open = stage.client();
    open.rows("begin");
    open.reset();
    is("rolled_back", 1.0);
    let mut busy = stage.client();
    busy.send(&query("select pg_sleep(30)"));
    running(&stage, "pg_sleep");
    busy.reset();
    is("cancelled", 1.0);
    let mut half = stage.client();
    half.rows("begin");
    // Longer than what is read of it before it passes.
    half.send(&framed('Q', 3_000_000, &vec![b' '; 1_100_000]));
    half.within(Duration::from_millis(50));
    half.reset();
    is("closed", 1.0);
    counted(&stage, "pgweir_abandoned_clients_total", "", 3.0);
}

#[test]
fn work_that_is_let_run_to_its_end_is_completed() {
    let stage = Stage::new(&Setup::servers(1).top("on_client_gone = \"complete\""));
    let mut client = stage.client();
    client.send(&query("select pg_sleep(0.5)"));
    running(&stage, "pg_sleep");
    client.reset();
    counted(&stage, "pgweir_abandoned_clients_total", "outcome=\"completed\"", 1.0);
    counted(&stage, "pgweir_abandoned_clients_total", "", 1.0);
}

/// Runs a text that pgweir does not see into.
const OPAQUE: &str = "select query_to_xml('select 1', true, true, '')";

#[test]
fn cleans_are_counted_by_their_kind() {
    // It succeeds on the first server, and never again.
    let database = "init_query = \"create table once (a int)\"".into();
    let broken = Stage::new(&Setup { database, ..Setup::servers(1) });
    let mut client = broken.client();
    client.rows(OPAQUE);
    counted(&broken, "pgweir_cleans_total", "kind=\"failed\"", 1.0);
    counted(&broken, "pgweir_cleans_total", "", 1.0);

    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows(OPAQUE);
    counted(&stage, "pgweir_cleans_total", "kind=\"soft_reset\"", 1.0);
    client.rows("prepare a as select 1; deallocate a");
    counted(&stage, "pgweir_cleans_total", "kind=\"discard_all\"", 1.0);
    counted(&stage, "pgweir_cleans_total", "", 2.0);
}

#[test]
fn logins_are_counted_by_their_result() {
    let setup = Setup::servers(1).limits("max_clients = 2").timeouts("login = \"300ms\"");
    let stage = Stage::new(&setup);
    let target = stage.weir.target();
    let is = |result: &str, count: f64| {
        counted(&stage, "pgweir_logins_total", &format!("result=\"{result}\""), count);
    };
    // Only the harness has connected so far, to see that pgweir listens.
    is("accepted", 0.0);
    let one = target.connect();
    is("accepted", 1.0);
    let wrong = target.as_user("app", "wrong");
    wrong.open().log_in(&wrong.startup(V3_0, &[]), &wrong.password);
    is("auth_failed", 1.0);
    target.open().log_in(&target.startup(V3_0, &[("replication", "true")]), &target.password);
    is("refused", 1.0);
    let mut odd = target.open();
    odd.send(&[0, 0, 0, 8, 9, 9, 9, 9]);
    odd.rest();
    is("protocol", 1.0);
    let mut slow = target.challenged();
    slow.rest();
    is("timed_out", 1.0);
    let two = target.connect();
    target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    is("too_many_clients", 1.0);
    drop((one, two));
}

#[test]
fn errors_before_a_session_are_counted_by_their_code() {
    let setup = Setup::servers(1).limits("max_clients = 1").timeouts("login = \"300ms\"");
    let stage = Stage::new(&setup);
    let target = stage.weir.target();
    let is = |code: &str, count: f64| {
        let labels = format!("code=\"{code}\",source=\"pgweir\"");
        counted(&stage, "pgweir_errors_total", &labels, count);
    };
    let wrong = target.as_user("app", "wrong");
    wrong.open().log_in(&wrong.startup(V3_0, &[]), &wrong.password);
    is("28P01", 1.0);
    target.open().log_in(&target.startup(V3_0, &[("replication", "true")]), &target.password);
    is("0A000", 1.0);
    let mut version_2 = target.open();
    version_2.send(&packet(&[&0x0002_0000_u32.to_be_bytes()[..], &[0; 32]].concat()));
    version_2.rest();
    is("0A000", 2.0);
    let elsewhere = Target { database: "no_such_database".into(), ..target.clone() };
    elsewhere.open().log_in(&elsewhere.startup(V3_0, &[]), &elsewhere.password);
    is("3D000", 1.0);
    target.challenged().rest();
    is("08P01", 1.0);
    let _one = target.connect();
    target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    is("53300", 1.0);
    // Who leaves, or is left, without a word is told nothing.
    target.open().send(&[0, 0, 0, 3]);
    is("08P01", 1.0);
    counted(&stage, "pgweir_errors_total", "", 6.0);
}

#[test]
fn connections_count_from_accept_to_their_end_logged_in_or_not() {
    let stage = Stage::new(&Setup::servers(1).limits("max_clients = 1"));
    let target = stage.weir.target();
    counted(&stage, "pgweir_clients", "", 0.0);
    let before = stage.weir.metric("pgweir_client_connections_total", "");
    let are = |now: f64, ever: f64| {
        counted(&stage, "pgweir_clients", "", now);
        counted(&stage, "pgweir_client_connections_total", "", before + ever);
    };
    let silent = target.open();
    are(1.0, 1.0);
    let logged_in = target.connect();
    are(2.0, 2.0);
    let mut refused = target.open();
    refused.log_in(&target.startup(V3_0, &[]), &target.password);
    drop(refused);
    are(2.0, 3.0);
    drop((silent, logged_in));
    are(0.0, 3.0);
}

#[test]
fn the_end_of_the_process_closes_servers_for_a_drain() {
    let stage = Stage::new(&Setup::servers(1));
    let server = stage.client().value("select pg_backend_pid()");
    // It does not end while it is stopped, and pgweir waits for it with its HTTP server up.
    signal("STOP", &server);
    stage.weir.signal("TERM");
    counted(&stage, "pgweir_servers_closed_total", "reason=\"drain\"", 1.0);
    signal("CONT", &server);
}
