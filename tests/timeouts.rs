//! `timeouts.query`: it ends what stands still, and nothing else.

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
