//! `timeouts.query` and `timeouts.transaction`: they end what takes too long, and nothing else.

use std::time::{Duration, Instant};

use super::support::events::line;
use super::support::*;

fn stage() -> Stage {
    Stage::new(&Setup::servers(1).timeouts("query = \"500ms\"\ncancel = \"1s\""))
}

#[test]
fn a_pipeline_of_short_queries_outlives_the_query_timeout() {
    let stage = stage();
    let mut client = stage.client();
    client.send(&query("select pg_sleep(0.1)").repeat(12));
    assert_eq!(line(&client.ready(12)), ["T D() C[SELECT 1] Z[I]"; 12].join(" "));
}

#[test]
fn rows_that_keep_coming_outlive_the_query_timeout() {
    let stage = stage();
    let mut client = stage.client();
    // Each row is longer than PostgreSQL's output buffer, so that it is sent at once.
    client.send(&query("select pg_sleep(0.05), repeat('x', 10000) from generate_series(1, 30)"));
    let seen = line(&client.ready(1));
    assert!(seen.ends_with("C[SELECT 30] Z[I]"), "{seen}");
}

#[test]
fn each_query_of_a_transaction_that_stands_still_is_cancelled() {
    let stage = stage();
    let mut client = stage.client();
    client.rows("begin; savepoint a");
    for _ in 0..2 {
        let seen = client.ask(&query("select pg_sleep(30)"));
        assert!(seen.ends_with("E[ERROR 57014] Z[E]"), "{seen}");
        assert_eq!(client.ask(&query("rollback to a")), "C[ROLLBACK] Z[T]");
    }
}

#[test]
fn a_client_is_told_which_setting_has_its_query_cancelled() {
    let stage = stage();
    let mut client = stage.client();
    let seen = client.ask_in_detail(&query("select pg_sleep(30)"));
    let (notice, error) = seen.split_once("E[").expect("an error");
    assert!(notice.contains("N[NOTICE 57014") && notice.contains("timeouts.query"), "{seen}");
    assert!(notice.contains("500ms"), "{seen}");
    assert!(error.starts_with("ERROR 57014 canceling statement due to user request"), "{seen}");
    assert_eq!(stage.weir.count("pgweir_timeouts_total", "timeout=\"query\""), 1);
    let log = stage.weir.log();
    let told = log.lines().find(|line| line.contains("a statement was cancelled"));
    assert!(told.is_some_and(|line| line.contains("timeouts.query")), "{log}");
}

#[test]
fn a_query_that_heeds_no_cancel_is_cut_off() {
    let stage = stage();
    let mut client = stage.client();
    let deaf = "do $$ begin loop begin perform pg_sleep(30); exception when query_canceled then \
                null; end; end loop; end $$";
    let began = Instant::now();
    client.send(&query(deaf));
    assert_eq!(line(&client.rest()), "N[NOTICE 57014] E[FATAL 57014] EOF");
    assert!(began.elapsed() < Duration::from_secs(4), "after {:?}", began.elapsed());
    assert_eq!(stage.weir.count("pgweir_timeouts_total", "timeout=\"query\""), 1);
}

#[test]
fn who_is_ended_inside_a_row_is_told_nothing_that_it_would_take_for_the_row() {
    let stage = Stage::new(&Setup::servers(1).timeouts("transaction = \"1500ms\""));
    let mut client = stage.client();
    client.send(&query("select repeat('x', 30000000)"));
    let ended = "timeout=\"transaction\"";
    wait_until("it is ended", || stage.weir.count("pgweir_timeouts_total", ended) == 1);
    let seen = client.bytes(usize::MAX);
    let end = &seen[seen.len().saturating_sub(200)..];
    assert!(end.ends_with(b"xxx"), "{} {}", seen.len(), String::from_utf8_lossy(end));
}

#[test]
fn each_time_that_ends_a_client_is_counted() {
    let times = "idle_client = \"300ms\"\nidle_in_transaction = \"350ms\"\npin_idle = \"100ms\"\n\
                 transaction = \"900ms\"";
    let stage = Stage::new(&Setup::servers(4).timeouts(times));
    for (sql, timeout) in [
        ("select 1", "idle_client"),
        ("begin", "idle_in_transaction"),
        ("create temp table t ()", "pin_idle"),
        ("select pg_sleep(30)", "transaction"),
    ] {
        let mut client = stage.client();
        client.send(&query(sql));
        client.rest();
        let labels = format!("timeout=\"{timeout}\"");
        assert_eq!(stage.weir.count("pgweir_timeouts_total", &labels), 1, "{timeout}");
    }
}

/// pgweir asks such a client's server again and again whether it is pinned still.
#[test]
fn a_pinned_client_that_says_nothing_is_ended_however_often_its_server_is_asked() {
    let pinned = |timeouts: &str, own: &str| {
        let stage = Stage::new(&Setup::servers(1).timeouts(timeouts));
        let mut client = stage.client();
        client.rows("select pg_advisory_lock(1)");
        client.rows(own);
        (stage, client)
    };
    let ended = [
        pinned("idle_client = \"32s\"", "select 1"),
        pinned("pin_idle = \"32s\"", "select 1"),
        pinned("query = \"5s\"", "set idle_session_timeout = '32s'"),
    ];
    for (_stage, mut client) in ended {
        let seen = client.within(Duration::from_secs(50));
        assert_eq!(line(&seen), "E[FATAL 57P05] EOF");
    }
}

#[test]
fn the_transaction_timeout_does_not_run_between_the_transactions_of_a_pinned_client() {
    let stage = Stage::new(&Setup::servers(1).timeouts("transaction = \"400ms\""));
    let mut client = stage.client();
    client.rows("create temp table t (a int)");
    for _ in 0..2 {
        assert!(client.within(Duration::from_millis(600)).is_empty());
        client.rows("select 1");
    }
    client.send(&query("select pg_sleep(30)"));
    assert_eq!(line(&client.rest()), "E[FATAL 25P04] EOF");
}

#[test]
fn a_client_that_does_not_read_its_rows_is_no_reason_to_wait_for_ever() {
    let stage = stage();
    let mut client = stage.client();
    client.send(&query("select repeat('x', 100000) from generate_series(1, 1000)"));
    // No byte moves once all buffers are full, and PostgreSQL heeds no cancel while it sends.
    let mut other = stage.client();
    other.patience = Duration::from_secs(20);
    assert_eq!(other.value("select 1"), "1");
}

#[test]
fn a_query_is_cancelled_when_its_time_is_over_and_not_later() {
    let times = "query = \"2s\"\ntransaction = \"3500ms\"";
    let stage = Stage::new(&Setup::servers(1).timeouts(times));
    let mut client = stage.client();
    client.rows("select 1");
    let began = Instant::now();
    let seen = client.ask(&query("select pg_sleep(30)"));
    assert!(began.elapsed() >= Duration::from_secs(2), "after {:?}", began.elapsed());
    // Past the second timeout it would be ended by that: FATAL 25P04.
    assert!(seen.ends_with("E[ERROR 57014] Z[I]"), "{seen}");
}

/// What a client says before it stops, and what it has seen by then. No text is known to pgweir.
fn cut_short(tag: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bind = framed('B', 1 << 20, &[&b"\0s\0"[..], &[0; 997]].concat());
    let half_query = framed('Q', 3_000_000, " ".repeat(1_200_000).as_bytes());
    let segment = |name: &str| extended(&format!("select 1 as {name}{tag}"));
    let long_segment = extended(&format!("select pg_sleep(1.5) as {tag}"));
    vec![
        ("Bind", [parse("s", &format!("select $1::text as {tag}")), bind].concat(), ""),
        ("Query", half_query.clone(), ""),
        ("FunctionCall", framed('F', 100_000, &[0; 1000]), ""),
        ("Query behind a segment", [segment("a"), half_query.clone()].concat(), ""),
        ("no Sync", segment("b"), ""),
        ("Flush, and no Sync", [segment("c"), flush()].concat(), "1 2 D(1) C[SELECT 1] "),
        (
            "Query behind a long one",
            [query("select pg_sleep(1.5)"), half_query].concat(),
            "T D() C[SELECT 1] Z[I] ",
        ),
        (
            "Parse behind a long segment",
            [long_segment, flush(), parse("", &format!("select 2 as {tag}"))].concat(),
            "1 2 D() C[SELECT 1] ",
        ),
    ]
}

#[test]
fn a_client_that_stops_inside_a_message_or_segment_does_not_keep_its_server() {
    let setup = Setup::servers(1).timeouts("idle_in_transaction = \"500ms\"");
    let stage = Stage::new(&setup);
    for begin in [false, true] {
        for (name, said, before) in cut_short(&format!("begun_{begin}")) {
            let mut client = stage.client();
            if begin {
                client.rows("begin");
            }
            client.send(&said);
            let before = if begin { before.replace("Z[I]", "Z[T]") } else { before.to_owned() };
            let seen = line(&client.rest());
            assert_eq!(seen, format!("{before}E[FATAL 25P03] EOF"), "{name}, begin: {begin}");
            assert_eq!(stage.client().value("select 1"), "1", "{name}, begin: {begin}");
        }
    }
}

#[test]
fn a_copy_that_stands_still_is_not_idle_as_in_postgresql() {
    let times = "idle_in_transaction = \"500ms\"\ntransaction = \"2s\"";
    let stage = Stage::new(&Setup::servers(1).timeouts(times));
    let mut client = stage.client();
    client.rows("create table t (a int)");
    client.send(&[query("copy t from stdin"), copy_data("1\n")].concat());
    assert_eq!(line(&client.rest()), "G E[FATAL 25P04] EOF");
}

#[test]
fn who_cannot_send_on_since_its_server_does_not_read_is_waited_for_asleep() {
    let stage = Stage::new(&Setup::servers(1).timeouts("idle_in_transaction = \"300ms\""));
    let mut admin = stage.database.admin();
    admin.rows("create table counted (n int); insert into counted values (0)");
    admin.rows("grant all on counted to app");
    admin.rows("begin; lock counted");
    let mut client = stage.client();
    // More than all buffers on the way hold, and the Sync last, so that nothing is to be answered yet.
    let long = extended(&format!("select '{}'", "x".repeat(1 << 20))).repeat(40);
    let sent = [extended("update counted set n = n + 1"), long, sync()].concat();
    let sending = client.send_in_background(sent);
    std::thread::sleep(Duration::from_secs(1));
    let before = cpu_seconds(stage.weir.pid());
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_seconds(stage.weir.pid()) - before;
    assert!(spent < 0.5, "{spent} s of processor time in one second");
    assert!(!sending.is_finished(), "the buffers are longer than what was sent");
    admin.rows("rollback");
    let seen: Vec<_> = client.ready(1).iter().filter(|event| !event.is('D')).cloned().collect();
    let each = " 1 2 C[SELECT 1]".repeat(40);
    assert_eq!(line(&seen), format!("1 2 C[UPDATE 1]{each} Z[I]"));
}

#[test]
fn what_pgweir_asks_for_itself_for_too_long_costs_the_next_query_nothing() {
    let stage = stage();
    let mut client = stage.client();
    let mut admin = stage.database.admin();
    client.rows("select pg_advisory_lock(6)");
    client.rows("select 1");
    admin.rows("begin; lock table pg_catalog.pg_depend in access exclusive mode");
    // Which state there is now, cannot be found out for a while.
    client.rows("select pg_advisory_lock(7)");
    client.send(&query("select pg_sleep(0.2)"));
    std::thread::sleep(Duration::from_millis(900));
    admin.rows("rollback");
    assert_eq!(line(&client.ready(1)), "T D() C[SELECT 1] Z[I]");
}
