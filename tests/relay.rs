//! What passes between a logged-in client and its server, and when the server is given back
//! (`protocol-flow.html`).

use std::time::Duration;

use super::support::events::line;
use super::support::*;

const MOMENT: Duration = Duration::from_millis(300);

/// Two clients of a pool of one server.
fn rivals() -> (Stage, Raw, Raw) {
    let stage = Stage::new(&Setup::servers(1));
    let (one, two) = (stage.client(), stage.client());
    (stage, one, two)
}

#[test]
fn pipelined_queries_are_answered_in_order_and_to_their_client_only() {
    let (_stage, mut one, mut two) = rivals();
    one.send(&[query("select 1"), query("select 2, pg_sleep(0.1)"), query("select 3")].concat());
    two.send(&query("select 'two'"));
    assert_eq!(line(&two.ready(1)), "T D(two) C[SELECT 1] Z[I]");
    assert_eq!(
        line(&one.ready(3)),
        "T D(1) C[SELECT 1] Z[I] T D(2,) C[SELECT 1] Z[I] T D(3) C[SELECT 1] Z[I]"
    );
}

#[test]
fn after_a_failed_parse_everything_is_silent_until_sync() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.send(&[parse("", "selec"), query("select 1")].concat());
        let failed = line(&[client.event()]);
        let silence = line(&client.within(MOMENT));
        vec![failed, silence, client.ask(&sync())]
    });
    assert_eq!(seen, ["E[ERROR 42601]", "", "Z[I]"]);
}

#[test]
fn a_skipping_server_is_kept_until_sync() {
    let (_stage, mut one, mut two) = rivals();
    one.send(&[parse("", "selec"), query("select 1")].concat());
    assert_eq!(line(&[one.event()]), "E[ERROR 42601]");
    two.send(&query("select 2"));
    assert_eq!(line(&two.within(MOMENT)), "");
    assert_eq!(one.ask(&sync()), "Z[I]");
    assert_eq!(line(&two.ready(1)), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn a_query_ends_a_segment_without_sync() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        let mixed = [extended("insert into t values (1)"), query("select 1/0")].concat();
        vec![
            client.ask(&[extended("select 1"), query("select 2")].concat()),
            client.ask(&mixed),
            client.ask(&query("select count(*) from t")),
            client.ask(&query("select 3")),
        ]
    });
    assert_eq!(
        seen,
        [
            &format!("1 2 D(1) C[SELECT 1] T D(2) C[SELECT 1] {}", unsynced()),
            "1 2 C[INSERT 0 1] E[ERROR 22012] Z[I]",
            "T D(0) C[SELECT 1] Z[I]",
            "T D(3) C[SELECT 1] Z[I]",
        ]
    );
}

/// The status behind a Query in a segment that lacks its Sync: from 18 on, the transaction is open.
fn unsynced() -> &'static str {
    if major() >= 18 { "Z[T]" } else { "Z[I]" }
}

#[test]
fn a_sync_behind_a_query_in_an_open_segment_commits() {
    // Not compared: PostgreSQL 18 leaves the transaction open, and the next command fails for it.
    let (_stage, mut one, mut two) = rivals();
    one.rows("create table t (a int)");
    for last in [query("select 2"), function_call(1610)] {
        one.send(&[extended("insert into t values (1)"), last].concat());
        let seen = line(&one.ready(1));
        assert!(seen.starts_with("1 2 C[INSERT 0 1]") && seen.ends_with(unsynced()), "{seen}");
        assert_eq!(one.ask(&sync()), "Z[I]");
    }
    assert_eq!(two.ask(&query("select count(*) from t")), "T D(2) C[SELECT 1] Z[I]");
    assert_eq!(one.ask(&query("select count(*) from t")), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn an_extended_copy_swallows_the_sync_before_its_end() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        client.send(&[extended("copy t from stdin"), sync()].concat());
        let begun = line(&client.until('G'));
        let rest = [copy_data("1\n2\n"), copy_done(), sync()].concat();
        vec![begun, client.ask(&rest), client.ask(&query("select sum(a) from t"))]
    });
    assert_eq!(seen, ["1 2 G", "C[COPY 2] Z[I]", "T D(3) C[SELECT 1] Z[I]"]);
}

#[test]
fn the_server_of_an_extended_copy_is_free_afterwards() {
    let (stage, mut one, mut two) = rivals();
    one.rows("create table t (a int)");
    one.send(&[extended("copy t from stdin"), sync()].concat());
    assert_eq!(line(&one.until('G')), "1 2 G");
    two.send(&query("select count(*) from t"));
    assert_eq!(line(&two.within(MOMENT)), "");
    assert_eq!(one.ask(&[copy_data("1\n"), copy_done(), sync()].concat()), "C[COPY 1] Z[I]");
    assert_eq!(line(&two.ready(1)), "T D(1) C[SELECT 1] Z[I]");
    drop(stage);
}

#[test]
fn a_bad_row_of_an_extended_copy_is_answered_by_the_last_sync() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        client.send(&[extended("copy t from stdin"), sync()].concat());
        client.until('G');
        client.send(&copy_data("oops\n"));
        let failed = line(&client.until('E'));
        client.send(&copy_done());
        let silence = line(&client.within(MOMENT));
        vec![failed, silence, client.ask(&sync()), client.ask(&query("select 1"))]
    });
    assert_eq!(seen, ["E[ERROR 22P02]", "", "Z[I]", "T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn late_data_of_a_failed_copy_is_swallowed_while_others_use_the_server() {
    let (_stage, mut one, mut two) = rivals();
    one.rows("create table t (a int)");
    one.send(&query("copy t from stdin"));
    one.until('G');
    assert_eq!(one.ask(&copy_data("oops\n")), "E[ERROR 22P02] Z[I]");
    let late = copy_data(&"1\n".repeat(25_000)).repeat(100);
    let sending = one.send_in_background([late, copy_done()].concat());
    for _ in 0..20 {
        assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
    }
    sending.join().expect("everything is taken");
    assert_eq!(one.ask(&query("select count(*) from t")), "T D(0) C[SELECT 1] Z[I]");
}

#[test]
fn a_failed_copy_and_the_next_query_in_one_write_are_both_answered() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        let bytes = [
            query("copy t from stdin"),
            copy_data("oops\n"),
            copy_data("1\n"),
            copy_done(),
            query("select 42"),
        ];
        client.send(&bytes.concat());
        vec![line(&client.ready(2)), client.ask(&query("select count(*) from t"))]
    });
    assert_eq!(seen[0], "G E[ERROR 22P02] Z[I] T D(42) C[SELECT 1] Z[I]");
}

#[test]
fn a_copy_in_several_statements_is_answered_by_one_ready() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        let script = query("select 1; copy t from stdin; select 2");
        let good = [&script[..], &copy_data("1\n"), &copy_done()].concat();
        let failed = [&script[..], &copy_data("1\n"), &copy_fail()].concat();
        let stray = [&script[..], &sync(), &flush(), &copy_data("1\n"), &sync(), &copy_done()];
        vec![client.ask(&good), client.ask(&failed), client.ask(&stray.concat())]
    });
    assert_eq!(
        seen,
        [
            "T D(1) C[SELECT 1] G C[COPY 1] T D(2) C[SELECT 1] Z[I]",
            "T D(1) C[SELECT 1] G E[ERROR 57014] Z[I]",
            "T D(1) C[SELECT 1] G C[COPY 1] T D(2) C[SELECT 1] Z[I]",
        ]
    );
}

#[test]
fn copy_out_is_relayed() {
    let seen = both(|target| {
        let mut client = target.connect();
        let sql = "copy (select g from generate_series(1, 3) g) to stdout";
        vec![client.ask(&query(sql)), client.ask(&[extended(sql), sync()].concat())]
    });
    assert_eq!(seen, ["H d d d c C[COPY 3] Z[I]", "1 2 H d d d c C[COPY 3] Z[I]"]);
}

#[test]
fn copy_messages_outside_a_copy_are_ignored() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.send(&[copy_data("1\n"), copy_done(), copy_fail()].concat());
        let silence = line(&client.within(MOMENT));
        let stray = [copy_data("x"), copy_done(), query("select 1")].concat();
        vec![silence, client.ask(&stray)]
    });
    assert_eq!(seen, ["", "T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_query_inside_a_copy_loses_the_connection() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        client.send(&query("copy t from stdin"));
        client.until('G');
        client.send(&query("select 1"));
        let answer = line(&if major() == 13 { client.ready(1) } else { client.rest() });
        drop(client);
        vec![answer, target.connect().ask(&query("select count(*) from t"))]
    });
    // PostgreSQL 13 takes the query for a part of the failed copy, and the session lives.
    let answer =
        if major() == 13 { "E[ERROR 08P01] Z[I]" } else { "E[ERROR 08P01] E[FATAL 08P01] EOF" };
    assert_eq!(seen, [answer, "T D(0) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_deferred_constraint_fails_after_command_complete() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table d (a int unique deferrable initially deferred)");
        let insert = [extended("insert into d values (3), (3)"), sync()].concat();
        vec![
            client.ask(&insert),
            client.ask(&query("insert into d values (3), (3)")),
            client.ask(&query("select count(*) from d")),
        ]
    });
    assert_eq!(seen[0], "1 2 C[INSERT 0 2] E[ERROR 23505] Z[I]");
    assert_eq!(seen[2], "T D(0) C[SELECT 1] Z[I]");
}

#[test]
fn every_sync_is_answered() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.send(&sync().repeat(3));
        vec![line(&client.ready(3)), line(&client.within(MOMENT))]
    });
    assert_eq!(seen, ["Z[I] Z[I] Z[I]", ""]);
}

#[test]
fn a_sync_between_copy_data_is_answered_as_the_copy_went() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        let script = |row| {
            let head = [extended("copy t from stdin"), copy_data(row), sync()].concat();
            [head, copy_data("2\n"), copy_done(), sync(), query("select 'end'")].concat()
        };
        client.send(&script("oops\n"));
        let bad = line(&client.ready(3));
        client.send(&script("1\n"));
        vec![bad, line(&client.ready(2)), line(&client.within(MOMENT))]
    });
    assert_eq!(
        seen,
        [
            "1 2 G E[ERROR 22P02] Z[I] Z[I] T D(end) C[SELECT 1] Z[I]",
            "1 2 G C[COPY 2] Z[I] T D(end) C[SELECT 1] Z[I]",
            "",
        ]
    );
}

#[test]
fn the_client_after_an_ambiguous_copy_gets_its_own_answers() {
    let (_stage, mut one, mut two) = rivals();
    one.rows("create table t (a int)");
    for row in ["oops\n", "1\n"] {
        let head = [extended("copy t from stdin"), copy_data(row), sync()].concat();
        one.send(&[head, copy_data("2\n"), copy_done(), sync()].concat());
        assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
        one.ready(if row == "1\n" { 1 } else { 2 });
        assert_eq!(line(&one.within(MOMENT)), "");
    }
    assert_eq!(one.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");
}

#[test]
fn an_error_skips_to_sync_and_the_next_segment_runs() {
    let seen = both(|target| {
        let mut client = target.connect();
        let failing = [extended("select 1"), parse("", "select 1/0"), run("", &[])].concat();
        let skipped = [parse("x", "select 4"), sync()].concat();
        let second = [extended("select 2"), sync()].concat();
        client.send(&[failing, skipped, second].concat());
        let events = line(&client.ready(2));
        vec![events, client.ask(&[describe('S', "x"), sync()].concat())]
    });
    assert_eq!(
        seen,
        [
            "1 2 D(1) C[SELECT 1] 1 E[ERROR 22012] Z[I] 1 2 D(2) C[SELECT 1] Z[I]",
            "E[ERROR 26000] Z[I]",
        ]
    );
}

#[test]
fn a_portal_is_suspended_without_ready_and_gone_after_sync() {
    let seen = both(|target| {
        let mut client = target.connect();
        let sql = "select g from generate_series(1, 3) g";
        client.send(&[parse("", sql), bind("p", "", &[]), execute("p", 2), flush()].concat());
        let first = line(&client.until('s'));
        let silence = line(&client.within(MOMENT));
        let more = client.ask(&[execute("p", 2), sync()].concat());
        vec![first, silence, more, client.ask(&[execute("p", 2), sync()].concat())]
    });
    assert_eq!(seen, ["1 2 D(1) D(2) s", "", "D(3) C[SELECT 1] Z[I]", "E[ERROR 34000] Z[I]"]);
}

#[test]
fn a_portal_survives_syncs_inside_a_transaction() {
    let seen = both(|target| {
        let mut client = target.connect();
        let sql = "select g from generate_series(1, 3) g";
        vec![
            client.ask(&query("begin")),
            client.ask(&[parse("", sql), bind("p", "", &[]), execute("p", 1), sync()].concat()),
            client.ask(&[execute("p", 1), sync()].concat()),
            client.ask(&[describe('P', "p"), close('P', "p"), sync()].concat()),
            client.ask(&query("commit")),
        ]
    });
    assert_eq!(seen[1..3], ["1 2 D(1) s Z[T]", "D(2) s Z[T]"]);
}

#[test]
fn the_server_is_kept_while_the_status_is_not_idle() {
    let (_stage, mut one, mut two) = rivals();
    let steps = ["begin", "commit and chain", "select 1/0", "rollback and chain", "savepoint a"];
    two.rows("select 1");
    for step in steps {
        let answer = one.ask(&query(step));
        assert!(!answer.ends_with("Z[I]"), "{step}: {answer}");
        if step == "begin" {
            two.send(&query("select 2"));
        }
        assert_eq!(line(&two.within(Duration::from_millis(100))), "", "{step}");
    }
    assert_eq!(one.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(line(&two.ready(1)), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn transaction_control_in_pipelines_is_told_by_the_status() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int)");
        let insert = || extended("insert into t values (1)");
        let mut lines = vec![
            client.ask(&[insert(), extended("begin"), insert(), sync()].concat()),
            client.ask(&query("rollback")),
            client.ask(&[insert(), extended("commit"), extended("select 1/0"), sync()].concat()),
            client.ask(&query("begin; insert into t values (2); commit; begin")),
            client.ask(&query("select 1/0")),
            client.ask(&query("commit")),
            client.ask(&query("commit")),
        ];
        lines.push(client.ask(&query("select count(*) from t")));
        lines
    });
    assert!(seen[0].ends_with("Z[T]"), "{seen:?}");
    assert_eq!(seen[5], "C[ROLLBACK] Z[I]");
    assert_eq!(seen[6], "N[WARNING 25P01] C[COMMIT] Z[I]");
}

#[test]
fn function_calls_are_answered() {
    let seen = both(|target| {
        let mut client = target.connect();
        let pi = 1610;
        client.send(&[parse("", "selec"), function_call(pi)].concat());
        let failed = line(&[client.event()]);
        let silence = line(&client.within(MOMENT));
        vec![
            failed,
            silence,
            client.ask(&sync()),
            client.ask(&function_call(pi)),
            client.ask(&function_call(99_999_999)),
            client.ask(&[extended("select 1"), function_call(pi)].concat()),
        ]
    });
    assert_eq!(seen[..4], ["E[ERROR 42601]", "", "Z[I]", "V Z[I]"]);
    assert_eq!(seen[5], format!("1 2 D(1) C[SELECT 1] V {}", unsynced()));
}

#[test]
fn a_function_call_that_fails_in_an_open_segment_ends_it() {
    let seen = both(|target| {
        let mut client = target.connect();
        let head = [extended("select 1"), parse("s", "select $1::int + 1")].concat();
        let bytes = [head, function_call(99_999_999), run("s", &[Some("41")]), sync()].concat();
        client.send(&bytes);
        vec![line(&client.ready(2)), client.ask(&query("select 2"))]
    });
    let first = "1 2 D(1) C[SELECT 1] 1 E[ERROR 42883] Z[I] 2 D(42) C[SELECT 1] Z[I]";
    assert_eq!(seen, [first, "T D(2) C[SELECT 1] Z[I]"]);
}

#[test]
fn flush_alone_brings_answers_and_keeps_the_server() {
    let (_stage, mut one, mut two) = rivals();
    one.send(&[parse("", "select $1::int"), describe('S', ""), flush()].concat());
    assert_eq!(line(&one.until('T')), "1 t T");
    two.send(&query("select 2"));
    assert_eq!(line(&two.within(MOMENT)), "");
    assert_eq!(one.ask(&[run("", &[Some("7")]), sync()].concat()), "2 D(7) C[SELECT 1] Z[I]");
    assert_eq!(line(&two.ready(1)), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn empty_queries_notices_and_null_values_pass() {
    let seen = both(|target| {
        let mut client = target.connect();
        vec![
            client.ask(&query("")),
            client.ask(&query(" ; ;")),
            client.ask(&[extended(""), sync()].concat()),
            client.ask(&query("select null, '', 'a'")),
            client.ask(&query("drop table if exists nothing_such")),
            client.ask(&query("set timezone to 'Asia/Tokyo'")),
            client.ask(&[extended("set timezone to 'UTC'"), sync()].concat()),
            client.ask(&[parse("", "select 1"), describe('S', ""), sync()].concat()),
            client.ask(&[parse("", "begin"), describe('S', ""), sync()].concat()),
        ]
    });
    assert_eq!(seen[0], "I Z[I]");
    assert_eq!(seen[3], "T D(NULL,,a) C[SELECT 1] Z[I]");
    assert_eq!(seen[4], "N[NOTICE 00000] C[DROP TABLE] Z[I]");
    assert_eq!(reported_late(&seen[5]), "C[SET] S[TimeZone=Asia/Tokyo] Z[I]");
}

#[test]
fn errors_pass_byte_for_byte() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.rows("create table t (a int check (a > 0))");
        let fields = |events: Vec<events::Event>| {
            let error = events.into_iter().find(|event| event.is('E')).expect("an error");
            let events::Event::Message(_, body) = error else { unreachable!() };
            String::from_utf8_lossy(&body).into_owned()
        };
        let mut lines = Vec::new();
        for bytes in [
            query("insert into t values (-1)"),
            query("select nothing"),
            [parse("", "select 1 +"), sync()].concat(),
        ] {
            client.send(&bytes);
            lines.push(fields(client.ready(1)));
        }
        lines
    });
    assert!(seen[0].contains("violates check constraint"), "{seen:?}");
}

#[test]
fn a_huge_row_streams_through_in_little_memory() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("select 1");
    two.rows("select 1");
    let before = resident_kib(stage.weir.pid());
    one.patience = Duration::from_mins(1);
    one.send(&query("select repeat('x', 200000000)"));
    one.until('T');
    let mut left = 200_000_000;
    let mut highest = 0;
    while left > 0 {
        let taken = one.bytes(left.min(4_000_000)).len();
        assert!(taken > 0, "the row ended with {left} bytes missing");
        left -= taken;
        highest = highest.max(resident_kib(stage.weir.pid()));
        assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
    }
    // The row's own header, 4 + 2 + 4 bytes and a letter, came first.
    one.bytes(11);
    assert_eq!(line(&one.ready(1)), "C[SELECT 1] Z[I]");
    assert!(highest < before + 2048, "{before} KiB grew to {highest} KiB");
}

/// Of the server's output only what fills its own buffer of 8 KiB is sent before the end.
#[test]
fn what_has_come_of_a_long_result_does_not_wait_for_the_rest() {
    let (stage, mut one, mut two) = rivals();
    let mut holder = stage.database.admin();
    holder.rows("select pg_advisory_lock(1)");
    one.patience = Duration::from_mins(1);
    let many = "select repeat('x', 1000) from generate_series(1, 20000)";
    one.send(&query(&format!("{many}; select pg_advisory_xact_lock(1)")));
    one.until('T');
    assert_eq!(one.bytes(20_000 * 1011 - (8 << 10)).len(), 20_000 * 1011 - (8 << 10));
    holder.rows("select pg_advisory_unlock(1)");
    one.bytes(8 << 10);
    assert_eq!(line(&one.ready(1)), "C[SELECT 20000] T D() C[SELECT 1] Z[I]");
    for _ in 0..2 {
        assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
    }
}

#[test]
fn a_server_that_dies_after_a_long_result_is_found_dead() {
    let (stage, mut one, mut two) = rivals();
    one.patience = Duration::from_mins(1);
    one.send(&query("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout"));
    assert_eq!(one.ready(1).iter().filter(|event| event.is('d')).count(), 20_000);
    let pid = one.value("select pg_backend_pid()");
    let mut admin = stage.database.admin();
    admin.rows(&format!("select pg_terminate_backend({pid})"));
    let left = format!("select count(*) from pg_stat_activity where pid = {pid}");
    wait_until("the server has ended", || admin.value(&left) == "0");
    assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
}

#[test]
fn a_huge_parameter_streams_through_in_little_memory() {
    let stage = Stage::new(&Setup::servers(2));
    let mut one = stage.client();
    one.rows("select 1");
    let before = resident_kib(stage.weir.pid());
    let size: u32 = 200_000_000;
    one.send(&parse("", "select length($1::text)"));
    // Portal, statement, no formats, one value, its length; after it, no result formats.
    let head = [&[0, 0, 0, 0, 0, 1][..], &size.to_be_bytes()].concat();
    one.send(&framed('B', 4 + head.len() as u32 + size + 2, &head));
    let chunk = vec![b'x'; 4_000_000];
    let mut highest = 0;
    for _ in 0..size as usize / chunk.len() {
        one.send(&chunk);
        highest = highest.max(resident_kib(stage.weir.pid()));
    }
    one.send(&[&[0, 0][..], &execute("", 0), &sync()].concat());
    one.patience = Duration::from_mins(1);
    assert_eq!(line(&one.ready(1)), "1 2 D(200000000) C[SELECT 1] Z[I]");
    assert!(highest < before + 2048, "{before} KiB grew to {highest} KiB");
}

#[test]
fn ten_thousand_pipelined_queries_wait_for_their_reader() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("select 1");
    let before = resident_kib(stage.weir.pid());
    let sending = client.send_in_background(query("select repeat('x', 2000)").repeat(10_000));
    client.event();
    std::thread::sleep(MOMENT);
    let stalled = resident_kib(stage.weir.pid());
    assert!(stalled < before + 4096, "{before} KiB grew to {stalled} KiB");
    client.patience = Duration::from_mins(1);
    let seen = client.ready(10_000);
    assert_eq!(seen.iter().filter(|event| event.is('D')).count(), 10_000);
    sending.join().expect("everything is sent");
}

#[test]
fn nobody_reads_the_number_that_another_client_drew() {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    // What one kind of client is learnt to do, another need not.
    let mut two = stage.weir.target().connect_with(&[("application_name", "two")]);
    one.rows("create table numbered (n serial)");
    one.rows("insert into numbered default values");
    assert_eq!(two.ask(&query("select lastval()")), "T E[ERROR 55000] Z[I]");
    one.rows("insert into numbered default values");
    assert_eq!(two.ask(&query("begin")), "C[BEGIN] Z[T]");
    assert_eq!(two.ask(&query("select lastval()")), "T E[ERROR 55000] Z[E]");
    assert_eq!(two.ask(&query("rollback")), "C[ROLLBACK] Z[I]");
    one.rows("insert into numbered default values");
    assert_eq!(
        two.ask(&[extended("select lastval()"), sync()].concat()),
        "1 2 E[ERROR 55000] Z[I]"
    );
    one.rows("begin");
    one.rows("insert into numbered default values");
    assert_eq!(one.ask(&query("select lastval()")), "T D(4) C[SELECT 1] Z[T]");
    one.rows("commit");
}
