//! What a client that is gone leaves on its server is rolled back in every state, and the server
//! is good for the next client.

use std::time::Duration;

use bytes::Buf;
use pgweir::clock::Instant;
use pgweir::server::{Broken, Server, Work};

use super::servers::{Ground, extended_copy, send, soon, until, value};
use super::support::{copy_data, execute, extended, flush, parse, query, run, sync};

/// One state to leave a server in.
struct Left {
    name: &'static str,
    sent: Vec<u8>,
    /// The message types that are read before the client is gone.
    read: &'static str,
    work: Work,
}

const NOTHING: Work = Work { outstanding: false, copying_in: false, unread: 0, cancel: true };
const RUNNING: Work = Work { outstanding: true, ..NOTHING };
const COPYING: Work = Work { copying_in: true, ..RUNNING };

fn states() -> Vec<Left> {
    let insert = || extended("insert into t values (1)");
    let bad = || extended("insert into t values (1 / 0)");
    let begin = || query("begin; insert into t values (1)");
    let left =
        |name, sent: Vec<Vec<u8>>, read, work| Left { name, sent: sent.concat(), read, work };
    vec![
        left("nothing", vec![], "", NOTHING),
        left("pipeline without Sync", vec![insert()], "", RUNNING),
        left("pipeline without Sync, flushed", vec![insert(), flush()], "C", RUNNING),
        left("failed pipeline", vec![insert(), bad(), flush()], "E", RUNNING),
        left("pipeline with Sync", vec![query("select 1"), insert(), bad(), sync()], "", RUNNING),
        left("open transaction", vec![begin()], "Z", NOTHING),
        left("failed transaction", vec![begin(), query("select 1 / 0")], "ZZ", NOTHING),
        left("failed pipeline, answered", vec![insert(), bad(), flush()], "E", NOTHING),
        left("pipeline without Sync, answered", vec![insert(), flush()], "C", NOTHING),
        left("open transaction, failed pipeline", vec![begin(), bad()], "ZE", RUNNING),
        left("COPY", vec![query("copy t from stdin"), copy_data("1\n")], "G", COPYING),
        left("extended COPY", vec![extended_copy()], "G", COPYING),
        left("extended COPY in a transaction", vec![begin(), extended_copy()], "ZG", COPYING),
        left("COPY that was not seen to begin", vec![query("copy t from stdin")], "", RUNNING),
        left("COPY that failed", vec![query("copy t from stdin"), copy_data("x\n")], "G", COPYING),
        left("sleep", vec![query("insert into t values (1); select pg_sleep(60)")], "", RUNNING),
        left(
            "sleeps, one after the other",
            vec![query("select pg_sleep(60)"), query("select pg_sleep(60)")],
            "",
            RUNNING,
        ),
        left("sleep in a pipeline", vec![insert(), extended("select pg_sleep(60)")], "", RUNNING),
        left(
            "COPY out",
            vec![query("copy (select repeat('x', 99) from generate_series(1, 1000000)) to stdout")],
            "H",
            RUNNING,
        ),
        left(
            "suspended portal",
            vec![parse("", "select generate_series(1, 9)"), bind(), execute("", 1), flush()],
            "s",
            RUNNING,
        ),
        left(
            "statement prepared",
            vec![insert(), parse("s", "select 1"), run("s", &[]), bad()],
            "",
            RUNNING,
        ),
    ]
}

fn bind() -> Vec<u8> {
    super::support::bind("", "", &[])
}

async fn table(server: &mut Server) {
    send(server, &query("create table if not exists t (a int); truncate t")).await;
    until(server, b'Z').await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_state_is_left_and_nothing_is_committed() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    for Left { name, sent, read, work } in states() {
        table(&mut server).await;
        send(&mut server, &sent).await;
        for tag in read.bytes() {
            until(&mut server, tag).await;
        }
        let started = Instant::now();
        let ended = server.abandon(work, soon()).await;
        assert!(ended.is_ok(), "{name}: {ended:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
        server.check(soon()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(value(&mut server, "select count(*) from t").await, "0", "{name}");
        let prepared = value(&mut server, "select count(*) from pg_prepared_statements").await;
        assert_eq!(prepared, "0", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_message_is_dropped_first() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    send(&mut server, &query("select repeat('x', 10000000)")).await;
    until(&mut server, b'T').await;
    assert!(server.link.fill(1000).await.unwrap());
    assert_eq!(server.link.input.first(), Some(&b'D'));
    let used = server.link.input.len();
    server.link.input.advance(used);
    let work = Work { unread: 10_000_000 + 11 - used, ..RUNNING };
    server.abandon(work, soon()).await.unwrap();
    assert_eq!(value(&mut server, "select 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_may_end_by_itself_is_not_cancelled() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    table(&mut server).await;
    send(&mut server, &query("insert into t select 1 from pg_sleep(0.3)")).await;
    let work = Work { cancel: false, ..RUNNING };
    server.abandon(work, soon()).await.unwrap();
    assert_eq!(value(&mut server, "select count(*) from t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_does_not_end_in_time_breaks_the_server() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    send(&mut server, &query("select pg_sleep(3)")).await;
    let work = Work { cancel: false, ..RUNNING };
    let deadline = Instant::now() + Duration::from_millis(300);
    let ended = server.abandon(work, deadline).await;
    assert!(matches!(ended, Err(Broken::TimedOut)), "{ended:?}");
}
