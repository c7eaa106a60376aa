//! Clients that vanish and servers that do.

use std::time::{Duration, Instant};

use super::support::events::{Event, line};
use super::support::*;

/// A pool of one server, a table `t`, and a client.
fn scene() -> (Stage, Raw) {
    scene_with(&Setup::servers(1))
}

fn scene_with(setup: &Setup) -> (Stage, Raw) {
    let stage = Stage::new(setup);
    let mut client = stage.client();
    client.rows("create table t (a int)");
    (stage, client)
}

/// What the next client finds: rows of `t`, and whether it is the same server.
fn aftermath(stage: &Stage, old_pid: &str) -> (String, bool) {
    let mut next = stage.client();
    let pid = next.value("select pg_backend_pid()");
    (next.value("select count(*) from t"), pid == old_pid)
}

fn active_queries(stage: &Stage, what: &str) -> String {
    stage.database.admin().value(&format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%{what}%' \
         and datname = current_database() and pid <> pg_backend_pid()"
    ))
}

#[test]
fn an_open_transaction_of_a_vanished_client_is_rolled_back() {
    let (stage, mut one) = scene();
    one.rows("begin; insert into t values (1)");
    let pid = one.value("select pg_backend_pid()");
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("0".into(), true));
}

#[test]
fn a_failed_transaction_of_a_vanished_client_is_rolled_back() {
    let (stage, mut one) = scene();
    let pid = one.value("select pg_backend_pid()");
    one.ask(&query("begin; insert into t values (1); select 1/0"));
    one.send(&terminate());
    assert_eq!(aftermath(&stage, &pid), ("0".into(), true));
}

#[test]
fn a_segment_without_its_sync_is_never_committed() {
    let (stage, mut one) = scene();
    let pid = one.value("select pg_backend_pid()");
    one.send(&[extended("insert into t values (1)"), flush()].concat());
    assert_eq!(line(&one.until('C')), "1 2 C[INSERT 0 1]");
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("0".into(), true));
}

#[test]
fn a_skipping_segment_of_a_vanished_client_is_cleaned_up() {
    let (stage, mut one) = scene();
    let pid = one.value("select pg_backend_pid()");
    one.send(&[extended("insert into t values (1)"), parse("", "selec"), flush()].concat());
    one.until('E');
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("0".into(), true));
}

#[test]
fn a_running_query_of_a_vanished_client_is_cancelled() {
    let (stage, mut one) = scene_with(&Setup::servers(1).top("on_client_gone = \"cancel\""));
    one.send(&query("insert into t values (1); select pg_sleep(30)"));
    wait_until("the query runs", || active_queries(&stage, "pg_sleep") == "1");
    one.reset();
    let began = Instant::now();
    wait_until("the query is gone", || active_queries(&stage, "pg_sleep") == "0");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(aftermath(&stage, "").0, "0");
}

#[test]
fn a_running_query_of_a_vanished_client_completes_where_that_is_wanted() {
    let (stage, mut one) = scene_with(&Setup::servers(1).top("on_client_gone = \"complete\""));
    let pid = one.value("select pg_backend_pid()");
    one.send(&query("insert into t values (1); select pg_sleep(0.5)"));
    wait_until("the query runs", || active_queries(&stage, "pg_sleep") == "1");
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("1".into(), true));
}

#[test]
fn a_copy_of_a_vanished_client_is_not_committed() {
    for copy in [query("copy t from stdin"), [extended("copy t from stdin"), sync()].concat()] {
        let (stage, mut one) = scene();
        let pid = one.value("select pg_backend_pid()");
        one.send(&[copy, copy_data("1\n2\n3\n")].concat());
        one.until('G');
        one.reset();
        assert_eq!(aftermath(&stage, &pid), ("0".into(), true));
    }
}

#[test]
fn rows_for_a_vanished_client_reach_nobody_else() {
    let (stage, mut one) = scene();
    for sql in [
        "copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout",
        "select repeat('x', 1000) from generate_series(1, 1000000)",
    ] {
        one.send(&query(sql));
        one.event();
        one.event();
        one.reset();
        let began = Instant::now();
        let mut next = stage.client();
        assert_eq!(next.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        one = next;
    }
}

/// A Parse, and part of the Bind behind it.
fn half_a_bind() -> Vec<u8> {
    let head =
        [&[0, 0, 0, 0, 0, 1][..], &1_000_000_u32.to_be_bytes(), &vec![b'x'; 70_000]].concat();
    [parse("", "select length($1::text)"), framed('B', 1_000_012, &head)].concat()
}

#[test]
fn half_a_message_of_a_vanished_client_costs_its_server() {
    let (stage, mut one) = scene();
    let pid = one.value("select pg_backend_pid()");
    one.send(&half_a_bind());
    // Long enough for the half to be on its way; that it arrived cannot be seen from here.
    one.within(Duration::from_millis(200));
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("0".into(), false));
}

#[test]
fn a_server_that_must_be_closed_at_its_work_is_cancelled_first() {
    // One more connection than the limit would be refused.
    let cluster = Cluster::with_slots(1);
    let stage = Stage::on(cluster.database(), &Setup::servers(1));
    let mut one = stage.client();
    one.rows("create table t (a int)");
    let pid = one.value("select pg_backend_pid()");
    one.send(&[query("insert into t values (1); select pg_sleep(60)"), half_a_bind()].concat());
    wait_until("it runs", || active_queries(&stage, "pg_sleep") == "1");
    // Long enough for the half to be on its way; that it arrived cannot be seen from here.
    one.within(Duration::from_millis(200));
    one.reset();
    assert_eq!(aftermath(&stage, &pid), ("0".into(), false));
    assert_eq!(stage.weir.count("pgweir_server_close_timeouts_total", ""), 0);
}

#[test]
fn the_server_of_a_pinned_client_ends_while_nothing_runs() {
    let (stage, mut one) = scene();
    one.rows("create temp table mine (a int)");
    let pid = one.value("select pg_backend_pid()");
    let pinned = || stage.weir.count("pgweir_clients_pinned", "");
    wait_until("it is pinned", || pinned() == 1);
    stage.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
    let (told, end) = (one.event(), one.event());
    assert_eq!((told.field('S'), told.field('C')), ("FATAL".into(), "57P01".into()));
    assert_eq!(line(&[end]), "EOF");
    wait_until("it is pinned no more", || pinned() == 0);
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn a_server_that_ends_before_it_has_its_clients_settings_is_replaced() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    let mut tenants = ["1", "2"].map(|tenant| target.connect_with(&[("app.tenant", tenant)]));
    assert_eq!(tenants[1].value("show app.tenant"), "2");
    let server = tenants[0].value("select pg_backend_pid()");
    // So that it does not answer.
    signal("STOP", &server);
    tenants[1].send(&query("show app.tenant"));
    let leased = || stage.weir.count("pgweir_servers", "state=\"leased\"");
    wait_until("the client has that server", || leased() == 1);
    stage.database.admin().rows(&format!("select pg_terminate_backend({server})"));
    signal("CONT", &server);
    assert_eq!(line(&tenants[1].ready(1)), "T D(2) C[SHOW] Z[I]");
    assert_eq!(tenants[0].value("show app.tenant"), "1");
}

#[test]
fn a_server_that_ends_while_a_client_logs_in_is_replaced() {
    let stage = Stage::new(&Setup::servers(1));
    let server = stage.client().value("select pg_backend_pid()");
    signal("STOP", &server);
    let target = stage.weir.target();
    // No server has judged that yet.
    let coming = std::thread::spawn(move || {
        target.connect_with(&[("work_mem", "7MB")]).value("show work_mem")
    });
    let leased = || stage.weir.count("pgweir_servers", "state=\"leased\"");
    wait_until("the client has that server", || leased() == 1);
    stage.database.admin().rows(&format!("select pg_terminate_backend({server})"));
    signal("CONT", &server);
    assert_eq!(coming.join().expect("its value"), "7MB");
}

/// It reads late, but its machine acknowledges what it is sent.
#[test]
fn a_client_that_reads_late_is_not_gone() {
    let stage = Stage::new(&Setup::servers(1).timeouts("client_dead = \"1s\""));
    let mut client = stage.client();
    // More than both ends of the connection hold.
    let many = "select repeat('x', 8000) from generate_series(1, 4000)";
    client.send(&query(many));
    std::thread::sleep(Duration::from_secs(4));
    let events = client.ready(1);
    assert_eq!(line(&events[events.len() - 2..]), "C[SELECT 4000] Z[I]");
}

/// It sends no FIN and no RST, as when a function's machine is frozen for good or unplugged.
#[test]
fn a_client_whose_machine_is_gone_gives_its_server_back() {
    let many = query("select repeat('x', 8000) from generate_series(1, 40000)");
    for last in [query("begin"), query("select pg_sleep(1000)"), many] {
        let stage = Stage::new(&Setup::servers(1).timeouts("client_dead = \"2s\""));
        let mut gone = stage.client();
        gone.send(&last);
        let leased = || stage.weir.count("pgweir_servers", "state=\"leased\"");
        wait_until("it has its server", || leased() == 1);
        gone.die();
        assert_eq!(stage.client().value("select 1"), "1");
        wait_until("nobody holds on to it", || stage.weir.count("pgweir_clients", "") == 0);
        assert_eq!(active_queries(&stage, "pg_sleep(1000)"), "0");
    }
}

#[test]
fn a_client_whose_machine_is_gone_leaves_the_queue() {
    // What one is told while it waits is never acknowledged.
    for notice in ["0", "\"100ms\""] {
        let timeouts = format!("client_dead = \"2s\"\ncheckout = \"1h\"\nwait_notice = {notice}");
        let stage = Stage::new(&Setup::servers(1).timeouts(&timeouts));
        let mut holder = stage.client();
        holder.rows("begin");
        let mut gone = stage.client();
        gone.send(&query("select 1"));
        let waiting = || stage.weir.count("pgweir_clients_waiting", "");
        wait_until("it waits", || waiting() == 1);
        gone.die();
        let clients = || stage.weir.count("pgweir_clients", "");
        wait_until("it has left", || waiting() == 0 && clients() == 1);
        assert_eq!(holder.value("select 1"), "1");
    }
}

#[test]
fn requests_before_terminate_run_and_later_ones_do_not() {
    let seen = both(|target| {
        let mut one = target.connect();
        one.rows("create table t (a int)");
        let insert = |value| query(&format!("insert into t values ({value})"));
        one.send(&[insert(1), terminate(), insert(2)].concat());
        let events = line(&one.rest());
        vec![events, target.connect().ask(&query("select sum(a) from t"))]
    });
    assert_eq!(seen, ["C[INSERT 0 1] Z[I] EOF", "T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn requests_before_a_half_close_are_answered() {
    let seen = both(|target| {
        let mut one = target.connect();
        one.send(&[query("select 1"), extended("select 2, pg_sleep(0.2)"), sync()].concat());
        one.shut_down_write();
        // To find out whether such a client still reads, pgweir repeats a ParameterStatus.
        let events: Vec<Event> = one.rest().into_iter().filter(|event| !event.is('S')).collect();
        vec![line(&events)]
    });
    assert_eq!(seen, ["T D(1) C[SELECT 1] Z[I] 1 2 D(2,) C[SELECT 1] Z[I] EOF"]);
}

#[test]
fn a_client_that_vanishes_in_the_queue_leaves_it() {
    let (stage, mut one) = scene();
    one.rows("begin");
    let mut gone = stage.client();
    gone.send(&query("insert into t values (1)"));
    let mut third = stage.client();
    gone.within(Duration::from_millis(100));
    gone.reset();
    third.send(&query("select count(*) from t"));
    one.rows("commit");
    assert_eq!(line(&third.ready(1)), "T D(0) C[SELECT 1] Z[I]");
}

#[test]
fn what_a_vanished_client_was_preparing_is_prepared_anew_for_others() {
    let (stage, mut other) = scene();
    for segments in 0..3 {
        let text = format!("select {segments}");
        let mut gone = stage.client();
        gone.send(&parse("s", &text));
        // Its answer is never seen: PostgreSQL holds it back until it is asked for.
        assert_eq!(line(&gone.within(Duration::from_millis(100))), "");
        gone.reset();
        let mut next = stage.client();
        for _ in 0..segments {
            next.rows("select 7");
        }
        let bytes = [parse("mine", &text), run("mine", &[]), sync()].concat();
        assert_eq!(next.ask(&bytes), format!("1 2 D({segments}) C[SELECT 1] Z[I]"));
        other.rows("select 8");
    }
}

#[test]
fn a_server_ended_while_idle_is_replaced_unseen() {
    let (stage, mut one) = scene();
    let mut admin = stage.database.admin();
    for _ in 0..3 {
        let pid = one.value("select pg_backend_pid()");
        admin.rows(&format!("select pg_terminate_backend({pid})"));
        let left = format!("select count(*) from pg_stat_activity where pid = {pid}");
        wait_until("it has ended", || admin.value(&left) == "0");
        assert_eq!(one.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");
    }
}

#[test]
fn a_server_ended_in_a_query_is_reported_as_it_said_itself() {
    let (stage, mut one) = scene();
    let pid = one.value("select pg_backend_pid()");
    one.send(&query("select pg_sleep(30)"));
    wait_until("the query runs", || active_queries(&stage, "pg_sleep") == "1");
    stage.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
    assert!(line(&one.rest()).ends_with("E[FATAL 57P01] EOF"));
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn a_server_lost_in_a_transaction_ends_the_client_on_the_spot() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(1).behind(&middleman));
    let mut one = stage.client();
    one.rows("begin");
    middleman.cut();
    assert_eq!(line(&one.rest()), "E[FATAL 08006] EOF");
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn a_server_ended_in_a_transaction_ends_the_client_on_the_spot() {
    let (stage, mut one) = scene();
    one.rows("begin");
    let pid = one.value("select pg_backend_pid()");
    stage.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
    let seen = line(&one.rest());
    // The server's own last word if it came before its end, else ours.
    assert!(["E[FATAL 57P01] EOF", "E[FATAL 08006] EOF"].contains(&seen.as_str()), "{seen}");
}

#[test]
fn a_server_lost_in_a_query_is_reported_as_lost() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(1).behind(&middleman));
    let mut one = stage.client();
    one.send(&query("select pg_sleep(30)"));
    wait_until("the query runs", || active_queries(&stage, "pg_sleep") == "1");
    middleman.cut();
    assert!(line(&one.rest()).ends_with("E[FATAL 08006] EOF"));
}

#[test]
fn a_server_lost_within_a_row_ends_the_client_without_further_bytes() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let stage = Stage::on(database, &Setup::servers(1).behind(&middleman));
    let mut one = stage.client();
    one.rows("select 1");
    middleman.set(Fault::CutAfter(500_000));
    one.send(&query("select repeat('x', 1000000)"));
    assert!(one.until('T').last().is_some_and(|event| event.is('T')));
    let half = one.bytes(usize::MAX);
    let (head, row) = half.split_at(11);
    assert_eq!(head[0], b'D');
    assert!(row.iter().all(|byte| *byte == b'x') && row.len() < 500_000, "{}", row.len());
    middleman.set(Fault::None);
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn a_crash_of_postgresql_is_survived() {
    let cluster = Cluster::with_slots(4);
    let stage = Stage::on(cluster.database(), &Setup::servers(2));
    let mut idle = stage.client();
    let mut busy = stage.client();
    idle.rows("select 1");
    busy.rows("begin");
    cluster.postgres().crash().expect("the end of PostgreSQL");
    let seen = busy.rest();
    assert!(seen.iter().any(|event| event.is('E')) && seen.contains(&Event::Eof), "{seen:?}");
    idle.send(&query("select 2"));
    cluster.postgres().launch().expect("PostgreSQL again");
    assert_eq!(line(&idle.ready(1)), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn a_client_that_is_gone_leaves_the_queue_though_not_all_it_sent_was_read() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"10min\""));
    let mut holder = stage.client();
    holder.rows("begin");
    let mut client = stage.client();
    client.send(&query(&format!("select 1 -- {}", "x".repeat(200_000))));
    let waiting = || stage.weir.count("pgweir_clients_waiting", "");
    wait_until("it waits", || waiting() == 1);
    drop(client);
    wait_until("it is gone", || waiting() == 0);
    holder.rows("commit");
}

#[test]
fn who_vanishes_with_more_requests_behind_the_one_that_runs_is_noticed() {
    let (stage, mut one) = scene();
    // The second has to wait for the first.
    one.send(&[query("select pg_sleep(60)"), query("discard all")].concat());
    wait_until("it runs", || active_queries(&stage, "pg_sleep") == "1");
    one.reset();
    wait_until("it is cancelled", || active_queries(&stage, "pg_sleep") == "0");
    assert_eq!(stage.client().value("select 1"), "1");
}

#[test]
fn requests_that_wait_are_answered_after_a_half_close() {
    let seen = both(|target| {
        let mut one = target.connect();
        one.send(
            &[query("select pg_sleep(0.5)"), query("discard all"), query("select 2")].concat(),
        );
        one.shut_down_write();
        let events: Vec<Event> = one.rest().into_iter().filter(|event| !event.is('S')).collect();
        vec![line(&events)]
    });
    assert!(seen[0].ends_with("C[DISCARD ALL] Z[I] T D(2) C[SELECT 1] Z[I] EOF"), "{seen:?}");
}
