//! Prepared statements of the protocol: each client sees its own, whichever server it gets.

use std::time::Duration;

use super::support::events::line;
use super::support::*;

const MOMENT: Duration = Duration::from_millis(300);

fn prepare(name: &str, sql: &str) -> Vec<u8> {
    [parse(name, sql), sync()].concat()
}

fn fetch(name: &str) -> Vec<u8> {
    [run(name, &[]), sync()].concat()
}

/// Statements of a name made by pgweir on the servers of the pool.
fn prepared_on_server(client: &mut Raw) -> Vec<String> {
    let rows =
        client.rows("select statement from pg_prepared_statements where name ~ '^__pgweir_[0-9]'");
    rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
}

#[test]
fn names_belong_to_their_client() {
    let stage = Stage::new(&Setup::servers(3));
    let mut clients: Vec<Raw> = (0..5).map(|_| stage.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&prepare("mine", &format!("select {number}"))), "1 Z[I]");
        assert_eq!(client.ask(&prepare(&format!("own{number}"), "select 'shared'")), "1 Z[I]");
    }
    let threads = clients.into_iter().enumerate().map(|(number, mut client)| {
        std::thread::spawn(move || {
            for _ in 0..50 {
                let expected = format!("2 D({number}) C[SELECT 1] Z[I]");
                assert_eq!(client.ask(&fetch("mine")), expected);
                let shared = client.ask(&fetch(&format!("own{number}")));
                assert_eq!(shared, "2 D(shared) C[SELECT 1] Z[I]");
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("right answers");
    }
    // One copy of each text per server, however many names it has.
    let mut texts = prepared_on_server(&mut stage.client());
    let total = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), total, "{texts:?}");
}

#[test]
fn a_known_statement_is_answered_at_a_flush() {
    let seen = both(|target| {
        let (mut one, mut two) = (target.connect(), target.connect());
        one.ask(&prepare("s1", "select $1::int"));
        one.ask(&[run("s1", &[Some("1")]), sync()].concat());
        two.send(&[parse("s2", "select $1::int"), flush()].concat());
        let parsed = line(&two.until('1'));
        two.send(&[describe('S', "s2"), flush()].concat());
        let described = line(&two.until('T'));
        vec![parsed, described, two.ask(&[run("s2", &[Some("2")]), sync()].concat())]
    });
    assert_eq!(seen, ["1", "t T", "2 D(2) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_skipped_parse_leaves_no_name() {
    let seen = both(|target| {
        let (mut one, mut two) = (target.connect(), target.connect());
        one.ask(&prepare("s1", "select 1"));
        let skipped = [parse("", "selec"), parse("s1", "select 1"), sync()].concat();
        vec![
            two.ask(&skipped),
            two.ask(&fetch("s1")),
            two.ask(&prepare("s1", "select 1")),
            two.ask(&fetch("s1")),
        ]
    });
    assert_eq!(
        seen,
        ["E[ERROR 42601] Z[I]", "E[ERROR 26000] Z[I]", "1 Z[I]", "2 D(1) C[SELECT 1] Z[I]"]
    );
}

#[test]
fn wrong_names_are_refused_in_postgresqls_words() {
    let seen = both(|target| {
        let mut client = target.connect();
        let mut ask = |bytes: &[Vec<u8>]| client.ask_in_detail(&bytes.concat());
        let sync = sync();
        vec![
            ask(&[prepare("s1", "select 1")]),
            ask(&[prepare("s1", "select 2")]),
            ask(&[fetch("s1")]),
            ask(&[fetch("unknown")]),
            ask(&[describe('S', "unknown"), sync.clone()]),
            ask(&[close('S', "unknown"), sync.clone()]),
            ask(&[describe('P', "unknown"), sync.clone()]),
            ask(&[execute("unknown", 0), sync.clone()]),
            ask(&[close('P', "unknown"), sync.clone()]),
            ask(&[parse("s2", "select 1"), parse("s2", "select 1"), sync.clone()]),
            ask(&[fetch("s2")]),
            ask(&[query("begin")]),
            ask(&[prepare("s1", "select 2")]),
            ask(&[fetch("s1")]),
            ask(&[query("rollback")]),
            ask(&[fetch("s1")]),
        ]
    });
    assert_eq!(seen[1], "E[ERROR 42P05 prepared statement \"s1\" already exists] Z[I]");
    assert_eq!(seen[3], "E[ERROR 26000 prepared statement \"unknown\" does not exist] Z[I]");
    assert_eq!(seen[5], "3 Z[I]");
    assert!(seen[12].ends_with("Z[E]"), "{}", seen[12]);
}

#[test]
fn a_name_that_sql_has_taken_is_taken_for_a_parse() {
    let seen = both(|target| {
        let mut client = target.connect();
        let mut ask = |messages: &[Vec<u8>]| client.ask_in_detail(&messages.concat());
        let sync = sync();
        vec![
            ask(&[query("prepare a as select 'by SQL'")]),
            ask(&[parse("a", "select 2"), describe('S', "unknown"), sync.clone()]),
            ask(&[parse("b", "select 3"), run("b", &[]), sync.clone()]),
            ask(&[prepare("a", "selec")]),
            ask(&[query("execute a")]),
            ask(&[query("deallocate a")]),
            ask(&[parse("a", "select 2"), run("a", &[]), sync.clone()]),
        ]
    });
    assert_eq!(seen[1], "E[ERROR 42P05 prepared statement \"a\" already exists] Z[I]");
}

#[test]
fn while_sql_has_names_of_its_own_others_are_free() {
    both(|target| {
        let mut client = target.connect();
        let mut ask = |messages: &[Vec<u8>]| client.ask_in_detail(&messages.concat());
        let sync = sync();
        vec![
            ask(&[query("prepare a as select 'by SQL'")]),
            ask(&[parse("b", "select 7"), close('S', "b"), sync.clone()]),
            // The server has the text by now.
            ask(&[parse("c", "select 7"), run("c", &[]), sync.clone()]),
            ask(&[parse("d", "select 7"), parse("e", "select 7"), run("e", &[]), sync.clone()]),
            ask(&[query("deallocate a")]),
            // SQL is shown the statement by its name, and no longer has it.
            ask(&[query("begin")]),
            ask(&[query("execute c")]),
            ask(&[close('S', "c"), parse("c", "select 8"), run("c", &[]), sync.clone()]),
            ask(&[query("execute c")]),
            ask(&[query("commit")]),
        ]
    });
}

#[test]
fn closing_and_preparing_anew_takes_effect_in_order() {
    let seen = both(|target| {
        let mut client = target.connect();
        let renewed = [
            parse("s", "select 1"),
            run("s", &[]),
            close('S', "s"),
            parse("s", "select 2"),
            run("s", &[]),
            close('S', "s"),
            run("s", &[]),
            sync(),
        ];
        let failed = [parse("", "selec"), close('S', "kept"), sync()].concat();
        vec![
            client.ask(&renewed.concat()),
            client.ask(&prepare("kept", "select 3")),
            client.ask(&failed),
            client.ask(&fetch("kept")),
            client.ask(&query("begin")),
            client.ask(&[parse("inside", "select 4"), close('S', "kept"), sync()].concat()),
            client.ask(&query("rollback")),
            client.ask(&fetch("inside")),
            client.ask(&fetch("kept")),
        ]
    });
    assert_eq!(seen[0], "1 2 D(1) C[SELECT 1] 3 1 2 D(2) C[SELECT 1] 3 E[ERROR 26000] Z[I]");
    assert_eq!(seen[7..], ["2 D(4) C[SELECT 1] Z[I]", "E[ERROR 26000] Z[I]"]);
}

#[test]
fn a_parse_in_a_failed_transaction_is_refused() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.ask(&prepare("known", "select 1"));
        client.ask(&query("begin; select 1/0"));
        vec![
            client.ask(&prepare("again", "select 1")),
            client.ask(&fetch("known")),
            client.ask(&[close('S', "known"), sync()].concat()),
            client.ask(&prepare("end", "rollback")),
            client.ask(&fetch("end")),
            client.ask(&fetch("again")),
        ]
    });
    assert_eq!(seen[0], "E[ERROR 25P02] Z[E]");
    assert_eq!(seen[2], "3 Z[E]");
    assert_eq!(seen[4..], ["2 C[ROLLBACK] Z[I]", "E[ERROR 26000] Z[I]"]);
}

#[test]
fn a_name_that_was_deallocated_by_sql_can_be_taken_again() {
    let seen = both(|target| {
        let mut client = target.connect();
        let mut ask = |messages: &[Vec<u8>]| client.ask(&messages.concat());
        let sync = sync();
        vec![
            ask(&[query("prepare p as select 1")]),
            ask(&[prepare("b", "select 2")]),
            ask(&[parse("", "deallocate b"), run("", &[]), sync.clone()]),
            ask(&[prepare("b", "select 3")]),
            ask(&[query("deallocate p")]),
            ask(&[fetch("b")]),
            ask(&[query("begin; execute b; deallocate b; execute b")]),
            ask(&[query("rollback")]),
            ask(&[fetch("b")]),
        ]
    });
    assert_eq!(seen[5], "2 D(3) C[SELECT 1] Z[I]");
    assert_eq!(seen[8], "E[ERROR 26000] Z[I]");
}

#[test]
fn a_taken_name_in_a_failed_transaction_is_refused_for_the_text_first() {
    let texts = ["selec", "select 2", ""];
    let seen = both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.ask(&prepare("known", "select 1"));
        // So that the server at hand has no copy.
        other.rows("begin");
        client.ask(&query("begin; select 1/0"));
        other.rows("commit");
        texts.map(|text| client.ask(&prepare("known", text))).to_vec()
    });
    assert_eq!(seen, ["E[ERROR 42601] Z[E]", "E[ERROR 25P02] Z[E]", "E[ERROR 42P05] Z[E]"]);
}

#[test]
fn a_name_taken_by_sql_is_refused_in_a_failed_transaction_too() {
    let texts = ["selec", "select 2", "", "rollback"];
    let seen = both_with(&Setup::servers(1), |target| {
        let mut client = target.connect();
        client.ask(&query("prepare known as select 1"));
        client.ask(&query("begin; select 1/0"));
        texts.map(|text| client.ask(&prepare("known", text))).to_vec()
    });
    assert_eq!(seen[1..], ["E[ERROR 25P02] Z[E]", "E[ERROR 42P05] Z[E]", "E[ERROR 42P05] Z[E]"]);
}

#[test]
fn a_parse_sent_behind_the_query_that_fails_its_transaction_is_refused() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.ask(&prepare("known", "select 1"));
        client.rows("begin");
        // Nobody knows yet that the transaction has failed when the Parse is read.
        client.send(&[query("select 1/0"), prepare("again", "select 1")].concat());
        let first = line(&client.ready(2));
        client.rows("rollback");
        client.send(&[query("begin; select 1/0"), prepare("again", "select 1")].concat());
        vec![first, line(&client.ready(2))]
    });
    assert!(seen[0].ends_with("Z[E] E[ERROR 25P02] Z[E]"), "{seen:?}");
    assert!(seen[1].ends_with("Z[E] E[ERROR 25P02] Z[E]"), "{seen:?}");
}

#[test]
fn the_unnamed_statement_survives_other_clients() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    assert_eq!(one.ask(&prepare("", "select 'one'")), "1 Z[I]");
    for _ in 0..3 {
        assert_eq!(
            two.ask(&[extended("select 'two'"), sync()].concat()),
            "1 2 D(two) C[SELECT 1] Z[I]"
        );
        assert_eq!(two.ask(&query("select 2")), "T D(2) C[SELECT 1] Z[I]");
        assert_eq!(one.ask(&fetch("")), "2 D(one) C[SELECT 1] Z[I]");
        assert_eq!(one.ask(&[describe('S', ""), sync()].concat()), "t T Z[I]");
    }
}

#[test]
fn the_unnamed_statement_ends_as_in_postgresql() {
    let seen = both(|target| {
        let mut client = target.connect();
        vec![
            client.ask(&fetch("")),
            client.ask(&prepare("", "select 1")),
            client.ask(&query("select 2")),
            client.ask(&fetch("")),
            client.ask(&prepare("", "select 1")),
            client.ask(&prepare("", "selec")),
            client.ask(&fetch("")),
            client.ask(&prepare("", "select 1")),
            client.ask(&[close('S', ""), sync()].concat()),
            client.ask(&fetch("")),
            client.ask(&prepare("", "select 3")),
            client.ask(&prepare("", "select 4")),
            client.ask(&fetch("")),
        ]
    });
    assert_eq!(seen[3], "E[ERROR 26000] Z[I]");
    assert_eq!(seen[12], "2 D(4) C[SELECT 1] Z[I]");
}

#[test]
fn settings_at_parse_decide_what_a_literal_means() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    let sql = "select extract(epoch from timestamptz '2020-01-01 00:00')::int";
    let epoch = |zone| {
        let mut client = target.connect_with(&[("timezone", zone)]);
        assert_eq!(client.ask(&prepare("s", sql)), "1 Z[I]");
        client.ask(&fetch("s"))
    };
    assert_eq!(epoch("UTC"), "2 D(1577836800) C[SELECT 1] Z[I]");
    assert_eq!(epoch("Asia/Tokyo"), "2 D(1577804400) C[SELECT 1] Z[I]");
}

#[test]
fn a_literal_means_on_every_server_what_it_meant_at_its_parse() {
    let setup = Setup::servers(2);
    let seen = both_with(&setup, |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        let sql = "select extract(epoch from timestamptz '2020-01-01 00:00')::int, $$x$$::text";
        client.ask(&prepare("s", sql));
        // The server that has it is taken, and goes with its client.
        other.rows("begin");
        client.rows("set time zone 'Asia/Tokyo'; set intervalstyle = iso_8601");
        let mut seen = vec![client.ask(&fetch("s")), client.ask(&query("execute s"))];
        client.rows("begin; set local time zone 'UTC'");
        seen.push(client.ask(&fetch("s")));
        client.rows("commit");
        seen.push(client.value("show time zone") + &client.value("show intervalstyle"));
        // A value that looks like a name is none.
        client.rows("set search_path = array_nulls");
        client.ask(&prepare("n", "select date '02/03/2020'"));
        client.rows("set datestyle = 'iso, mdy'; set datestyle = 'sql, dmy'");
        let mut third = target.connect();
        other.rows("commit");
        third.rows("begin");
        seen.push(client.ask(&fetch("n")));
        third.rows("commit");
        client.rows("reset search_path; reset datestyle");
        other.rows("begin");
        // What fails in between leaves nothing behind.
        client.ask(&prepare("t", "select 'text'::int, date '02/03/2020'"));
        client.ask(&prepare("u", "select date '02/03/2020'"));
        client.rows("set datestyle = 'iso, dmy'");
        let mut third = target.connect();
        other.rows("commit");
        third.rows("begin");
        client.send(&[run("t", &[]), run("u", &[]), sync(), fetch("u")].concat());
        seen.push(line(&client.ready(2)));
        seen.push(client.value("show datestyle") + &client.value("select date '02/03/2020'"));
        seen
    });
    assert_eq!(seen[0], "2 D(1577836800,x) C[SELECT 1] Z[I]");
    assert_eq!(seen[3], "Asia/Tokyoiso_8601");
    assert_eq!(seen[6], "ISO, DMY2020-03-02");
}

/// A function that runs what no text shows.
const RUN: &str =
    "create function run(t text) returns void language plpgsql as 'begin execute t; end'";

#[test]
fn code_that_deallocates_where_there_is_nothing_deallocates_all_the_same() {
    both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows(RUN);
        client.ask(&prepare("s", "select 1"));
        other.rows("begin");
        client.rows("select run('deallocate all')");
        let mut seen = vec![client.ask(&fetch("s"))];
        // What is prepared from then on stays.
        seen.push(client.ask(&prepare("s", "select 2")));
        client.rows("select run('prepare p as select 3')");
        seen.push(client.ask(&fetch("s")));
        client.rows("select run('deallocate p')");
        seen.push(client.ask(&fetch("s")));
        seen
    });
}

#[test]
fn code_that_deallocates_in_an_open_transaction_does_so_on_a_server_that_has_nothing() {
    let seen = both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows(RUN);
        client.ask(&prepare("s", "select $1::int"));
        client.ask(&prepare("t", "select 2"));
        other.rows("begin");
        client.rows("begin; select run('select 1')");
        let mut seen = vec![client.ask(&fetch("t"))];
        client.rows("select run('deallocate all')");
        client.ask(&prepare("u", "select 3"));
        seen.push(client.ask(&fetch("u")));
        // It wants a parameter, if it is there.
        seen.push(client.ask_in_detail(&fetch("s")));
        client.rows("rollback");
        seen.extend(["s", "t", "u"].map(|name| client.ask(&fetch(name))));
        seen
    });
    assert_eq!(seen[2], "E[ERROR 26000 prepared statement \"s\" does not exist] Z[E]");
}

#[test]
fn a_failed_transaction_ends_by_a_named_rollback_that_the_server_never_had() {
    both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows(RUN);
        client.ask(&prepare("end", "rollback"));
        other.rows("begin");
        let mut seen = Vec::new();
        for (text, last) in [("select 1/0", "end"), ("select 1", "end"), ("deallocate all", "end")]
        {
            client.rows("begin");
            let run = query(&format!("select run('{text}')"));
            // Before it is known how that ends, and after.
            client.send(&[&run[..], &fetch(last)].concat());
            seen.push(line(&client.ready(2)));
            client.ask(&query("rollback"));
            client.rows("begin");
            seen.push(client.ask(&run));
            seen.push(client.ask(&fetch(last)));
            client.rows("rollback");
        }
        seen
    });
}

#[test]
fn a_long_error_of_a_named_statement_comes_whole() {
    let value = "x".repeat(100_000);
    let seen = both(|target| {
        let mut client = target.connect();
        client.ask(&prepare("s", "select $1::int"));
        let bind = bind("", "s", &[Some(&value)]);
        vec![client.ask_in_detail(&[bind, execute("", 0), sync()].concat())]
    });
    assert!(seen[0].len() > value.len() && seen[0].contains("22P02"), "{:.200}", seen[0]);
}

#[test]
fn who_parses_is_warned_though_another_was() {
    both_with(&Setup::servers(1), |target| {
        let mut client = target.connect();
        client.rows("set standard_conforming_strings = off");
        let sql = r"select 'a\nb'";
        client.send(&[prepare("one", sql), prepare("two", sql)].concat());
        vec![line(&client.ready(2)), client.ask(&prepare("three", sql))]
    });
}

#[test]
fn a_taken_name_behind_the_failure_of_a_transaction_is_refused_for_the_text_first() {
    let seen = both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.ask(&prepare("known", "select 1"));
        other.rows("begin");
        client.rows("begin");
        other.rows("commit");
        client.send(&[fetch("none"), prepare("known", "selec")].concat());
        vec![line(&client.ready(2))]
    });
    assert!(seen[0].ends_with("E[ERROR 42601] Z[E]"), "{seen:?}");
}

#[test]
fn the_present_is_not_shared() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    let sql = "select extract(epoch from 'now'::timestamptz)";
    let time = |client: &mut Raw| {
        client.ask(&prepare("s", sql));
        client.send(&fetch("s"));
        let row = client.ready(1).iter().find_map(events::Event::row).expect("a row");
        row[0].as_deref().and_then(|text| text.parse::<f64>().ok()).expect("a time")
    };
    let first = time(&mut one);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(time(&mut two) >= first + 1.0);
}

#[test]
fn after_a_change_of_shape_a_new_parse_works_everywhere() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("create table t (a int); insert into t values (1)");
    let sql = "select * from t";
    one.ask(&prepare("s", sql));
    // On both servers.
    assert_eq!(one.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    two.rows("begin");
    assert_eq!(one.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    two.rows("commit");
    one.rows("alter table t add column b int default 2");

    let first = one.ask(&fetch("s"));
    let refused = "E[ERROR 0A000] Z[I]";
    assert!([refused, "2 D(1,2) C[SELECT 1] Z[I]"].contains(&first.as_str()), "{first}");
    for round in 0..4 {
        two.rows(if round % 2 == 0 { "begin" } else { "commit" });
        let name = format!("again{round}");
        assert_eq!(one.ask(&prepare(&name, sql)), "1 Z[I]");
        assert_eq!(one.ask(&fetch(&name)), "2 D(1,2) C[SELECT 1] Z[I]");
    }
}

#[test]
fn more_statements_than_a_server_keeps_all_work() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    for number in 0..300 {
        client.send(&prepare(&format!("s{number}"), &format!("select {number}")));
    }
    client.ready(300);
    for number in (0..300).chain((0..300).rev()) {
        let expected = format!("2 D({number}) C[SELECT 1] Z[I]");
        assert_eq!(client.ask(&fetch(&format!("s{number}"))), expected);
    }
    let kept = prepared_on_server(&mut client).len();
    assert!(kept <= 200, "{kept}");
}

#[test]
fn deallocate_and_discard_reach_only_their_client() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    for client in [&mut one, &mut two] {
        client.ask(&prepare("s", "select 1"));
        client.ask(&prepare("Other", "select 2"));
    }
    assert_eq!(one.ask(&query("deallocate s")), "C[DEALLOCATE] Z[I]");
    assert_eq!(one.ask(&fetch("s")), "E[ERROR 26000] Z[I]");
    assert_eq!(one.ask(&query("DEALLOCATE PREPARE \"Other\";")), "C[DEALLOCATE] Z[I]");
    assert_eq!(one.ask(&fetch("Other")), "E[ERROR 26000] Z[I]");
    for (sql, tag) in [("deallocate all", "DEALLOCATE ALL"), ("discard all", "DISCARD ALL")] {
        one.ask(&prepare("s", "select 1"));
        assert_eq!(one.ask(&query(sql)), format!("C[{tag}] Z[I]"));
        assert_eq!(one.ask(&fetch("s")), "E[ERROR 26000] Z[I]");
        assert_eq!(two.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    }
}

#[test]
fn deallocate_and_discard_answer_as_postgresql_does() {
    let seen = both(|target| {
        let mut client = target.connect();
        client.ask(&prepare("s", "select 1"));
        let mut lines = Vec::new();
        for sql in [
            "deallocate nothing",
            "begin",
            "discard all",
            "rollback",
            "begin; select 1/0",
            "deallocate all",
            "deallocate s",
            "rollback",
        ] {
            lines.push(client.ask(&query(sql)));
        }
        lines.push(client.ask(&fetch("s")));
        lines.push(client.ask(&[extended("deallocate all"), sync()].concat()));
        lines.push(client.ask(&fetch("s")));
        lines
    });
    assert_eq!(seen[0], "E[ERROR 26000] Z[I]");
    assert_eq!(seen[2], "E[ERROR 25001] Z[E]");
    assert_eq!(seen[5], "E[ERROR 25P02] Z[E]");
    assert_eq!(seen[8], "2 D(1) C[SELECT 1] Z[I]");
    assert_eq!(seen[10], "E[ERROR 26000] Z[I]");
}

#[test]
fn a_segment_of_known_answers_takes_no_server() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.ask(&prepare("s", "select 1"));
    one.rows("begin");
    // The only server is taken: what comes back was known.
    assert_eq!(two.ask(&prepare("s2", "select 1")), "1 Z[I]");
    assert_eq!(two.ask(&[close('S', "s2"), close('S', "none"), sync()].concat()), "3 3 Z[I]");
    assert_eq!(two.ask(&sync()), "Z[I]");
    two.send(&[parse("s3", "select 1"), flush()].concat());
    assert_eq!(line(&two.until('1')), "1");
    assert_eq!(two.ask(&sync()), "Z[I]");
    two.send(&fetch("s2"));
    assert_eq!(line(&two.within(MOMENT)), "");
    one.rows("commit");
    assert_eq!(line(&two.ready(1)), "E[ERROR 26000] Z[I]");
}

#[test]
fn synchronous_preparing_by_more_clients_than_servers_never_hangs() {
    // What pgbench -M prepared does: inside BEGIN it prepares one statement at a time.
    let stage = Stage::new(&Setup::servers(2));
    let target = stage.weir.target();
    target.connect().rows("create table t (a int)");
    let clients = (0..8).map(|_| {
        let target = target.clone();
        std::thread::spawn(move || {
            let mut client = target.connect();
            for round in 0..5 {
                if round == 0 {
                    for (name, sql) in
                        [("b", "begin"), ("i", "insert into t values ($1)"), ("e", "end")]
                    {
                        assert_eq!(client.ask(&prepare(name, sql)), "1 Z[I]");
                    }
                }
                assert_eq!(client.ask(&fetch("b")), "2 C[BEGIN] Z[T]");
                let insert = [run("i", &[Some("1")]), sync()].concat();
                assert_eq!(client.ask(&insert), "2 C[INSERT 0 1] Z[T]");
                assert_eq!(client.ask(&fetch("e")), "2 C[COMMIT] Z[I]");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().expect("no client hangs");
    }
    assert_eq!(target.connect().value("select count(*) from t"), "40");
}

/// A text of 2 MiB that gives its parameter back.
fn long(value: &str) -> String {
    format!("select '{value}' || $1 /* {} */", "x".repeat(2 << 20))
}

#[test]
fn a_named_statement_of_any_length_works_as_in_postgresql() {
    let seen = both(|target| {
        let mut client = target.connect();
        let fetch = |name: &str| [run(name, &[Some("!")]), sync()].concat();
        vec![
            client.ask(&prepare("s", &long("one"))),
            client.ask(&fetch("s")),
            client.ask(&[describe('S', "s"), sync()].concat()),
            client.ask(&prepare("s", &long("two"))),
            client.ask(&[parse("t", &long("three")), run("t", &[Some("!")]), sync()].concat()),
            client.ask(&fetch("s")),
            client.ask(&query("begin; select 1/0")),
            client.ask(&prepare("u", &long("four"))),
            client.ask(&query("rollback")),
            client.ask(&[close('S', "s"), sync()].concat()),
            client.ask(&fetch("s")),
            client.ask(&fetch("t")),
            client.ask(&query("deallocate all")),
            client.ask(&fetch("t")),
            client.ask(&prepare("t", &long("five"))),
            client.ask(&fetch("t")),
        ]
    });
    assert_eq!(seen[1], "2 D(one!) C[SELECT 1] Z[I]");
    assert_eq!(seen[3], "E[ERROR 42P05] Z[I]");
    assert_eq!(seen[10], "E[ERROR 26000] Z[I]");
}

#[test]
fn a_statement_too_long_to_keep_pins_until_it_is_closed() {
    let both = "[pins]\nmax_pinned = \"100%\"";
    let stage = Stage::new(&Setup::servers(2).tables(both));
    let (mut one, mut two, mut three) = (stage.client(), stage.client(), stage.client());
    one.ask(&prepare("s", &long("one")));
    two.ask(&prepare("s", &long("two")));
    let fetch = || [run("s", &[Some("!")]), sync()].concat();
    for _ in 0..3 {
        assert_eq!(one.ask(&fetch()), "2 D(one!) C[SELECT 1] Z[I]");
        assert_eq!(two.ask(&fetch()), "2 D(two!) C[SELECT 1] Z[I]");
        // Beside temporary objects it cannot be prepared anew.
        two.rows("create temp table if not exists beside (a int)");
    }
    one.ask(&[close('S', "s"), sync()].concat());
    assert_eq!(three.value("select 3"), "3");
    // Nothing of it is left there, nor of a client that leaves without closing it.
    drop(two);
    let (mut four, mut five) = (stage.client(), stage.client());
    four.ask(&query("begin"));
    five.ask(&query("begin"));
    for client in [&mut four, &mut five] {
        let left = client
            .rows("select name from pg_prepared_statements where length(statement) > 1000000");
        assert_eq!(left.len(), 0);
    }
}

#[test]
fn an_unnamed_statement_too_long_to_keep_waits_for_its_bind() {
    let both = "[pins]\nmax_pinned = \"100%\"";
    let stage = Stage::new(&Setup::servers(2).tables(both));
    let [mut one, mut two, mut three] = [(); 3].map(|()| stage.client());
    for (client, value) in [(&mut one, "one"), (&mut two, "two")] {
        assert_eq!(client.ask(&[parse("", &long(value)), sync()].concat()), "1 Z[I]");
    }
    for (client, value) in [(&mut one, "one"), (&mut two, "two")] {
        let bound = client.ask(&[describe('S', ""), run("", &[Some("!")]), sync()].concat());
        assert_eq!(bound, format!("t T 2 D({value}!) C[SELECT 1] Z[I]"));
    }
    // From then on, and where it is bound at once, it keeps nobody's server.
    let pinned = || stage.weir.count("pgweir_clients_pinned", "");
    wait_until("it is gone", || pinned() == 0);
    let at_once = [parse("", &long("three")), run("", &[Some("!")]), sync()].concat();
    assert_eq!(three.ask(&at_once), "1 2 D(three!) C[SELECT 1] Z[I]");
    assert_eq!(pinned(), 0);
}

#[test]
fn an_old_plan_is_known_in_whatever_language_it_is_told() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let stage = Stage::on(cluster.database(), &Setup::servers(1).behind(&middleman));
    let mut owner = stage.database.target().connect();
    owner.rows("create table t (a int); insert into t values (1)");
    let (told, other) =
        (b"cached plan must not change result type", b"gecacht plan mag resultaattype houden!!");
    middleman.set(Fault::Replace(told, other));
    let mut first = stage.client();
    first.ask(&prepare("s", "select * from t"));
    assert_eq!(first.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    owner.rows("alter table t add column b int default 2");
    let mut late = stage.client();
    late.ask(&prepare("s", "select * from t"));
    assert_eq!(late.ask(&fetch("s")), "2 D(1,2) C[SELECT 1] Z[I]");
    // So it is told.
    let mut direct =
        Target { addr: ([127, 0, 0, 1], middleman.port()).into(), ..stage.database.target() }
            .connect();
    direct.ask(&prepare("s", "select * from t"));
    owner.rows("alter table t add column c int");
    direct.send(&fetch("s"));
    let seen = direct.event();
    assert_eq!(seen.field('C'), "0A000");
    assert_eq!(seen.field('M').as_bytes(), other);
}

#[test]
fn who_parses_behind_code_that_changed_a_table_meets_no_old_plan_in_a_transaction() {
    let stage = Stage::new(&Setup::servers(1));
    let mut first = stage.client();
    first.rows("create table t (a int); insert into t values (1)");
    let sql = "select * from t";
    first.ask(&prepare("s", sql));
    assert_eq!(first.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    let alter = "do $$begin execute 'al' || 'ter table t add column b int default 2'; end$$";
    first.rows(alter);
    let mut late = stage.client();
    let mut later = stage.client();
    assert_eq!(later.ask(&prepare("later", sql)), "1 Z[I]");
    late.rows("begin");
    late.ask(&prepare("s", sql));
    assert_eq!(late.ask(&fetch("s")), "2 D(1,2) C[SELECT 1] Z[T]");
    late.rows("commit");
    late.rows(alter.replace(" b ", " c ").as_str());
    // Who parsed ahead of that is told, as on a server of its own.
    late.rows("begin");
    let old = "E[ERROR 0A000] Z[E]";
    assert_eq!(late.ask(&fetch("s")), old);
    late.rows("rollback");
    let mut last = stage.client();
    assert_eq!(last.ask(&prepare("last", sql)), "1 Z[I]");
    last.rows("begin");
    assert_eq!(last.ask(&fetch("last")), "2 D(1,2,2) C[SELECT 1] Z[T]");
}

#[test]
fn who_parses_after_the_tables_changed_never_meets_an_old_plan() {
    let stage = Stage::new(&Setup::servers(1));
    let mut owner = stage.database.target().connect();
    owner.rows("create table t (a int); insert into t values (1)");
    let sql = "select * from t";
    let mut first = stage.client();
    first.ask(&prepare("s", sql));
    assert_eq!(first.ask(&fetch("s")), "2 D(1) C[SELECT 1] Z[I]");
    let mut columns = String::from("1");
    for (number, through_pgweir) in [true, false, true, false].into_iter().enumerate() {
        let ddl = format!("alter table t add column c{number} int default {number}");
        let mut through = stage.client();
        if through_pgweir {
            through.rows(&ddl)
        } else {
            owner.rows(&ddl)
        };
        columns = format!("{columns},{number}");
        let answer = format!("2 D({columns}) C[SELECT 1] Z[I]");
        let mut late = stage.client();
        let described = [parse("d", sql), describe('S', "d"), flush()].concat();
        late.send(&described);
        assert_eq!(line(&late.until('T')), "1 t T");
        assert_eq!(late.ask(&fetch("d")), answer);
        let mut late = stage.client();
        let at_once = [parse("d", sql), run("d", &[]), sync()].concat();
        assert_eq!(late.ask(&at_once), format!("1 {answer}"));
        // It knows how its rows looked, and so does the driver of one that has described them.
        assert_eq!(late.ask(&fetch("d")), answer);
    }
}

#[test]
fn a_query_behind_a_close_is_answered_in_a_transaction_that_failed_in_the_same_pipeline() {
    let seen = both_with(&Setup::servers(2), |target| {
        let mut client = target.connect();
        client.ask(&prepare("known", "select 1"));
        let mut seen = Vec::new();
        // Of either, nobody can say what it does before it has run.
        for suspect in ["select 1; selec", "do 'begin perform lastval(); end'", "select lastval()"]
        {
            client.send(
                &[query("begin"), query("selec"), close('S', "nope"), query(suspect)].concat(),
            );
            client.send(&[extended("select 2"), sync(), query("rollback")].concat());
            seen.push(line(&client.ready(5)));
        }
        seen
    });
    assert_eq!(seen.len(), 3);
}

/// Runs a statement with one parameter of eight bytes.
fn run_binary(name: &str, value: [u8; 8]) -> Vec<u8> {
    let mut body = [b"\0", name.as_bytes(), b"\0"].concat();
    body.extend([0, 1, 0, 1, 0, 1, 0, 0, 0, 8]);
    body.extend(value);
    body.extend([0, 0]);
    [message('B', &body), execute("", 0), sync()].concat()
}

#[test]
fn parameters_keep_the_types_that_were_told_on_every_server() {
    let seen = both_with(&Setup::servers(2), |target| {
        let [mut one, mut migration, mut other] = [(); 3].map(|()| target.connect());
        migration.rows("create table t (v int8)");
        let prepared = [parse("s", "insert into t values ($1)"), describe('S', "s"), sync()];
        let mut seen = vec![one.ask(&prepared.concat())];
        seen.push(one.ask(&run_binary("s", 1000_i64.to_be_bytes())));
        migration.rows("alter table t alter v type float8");
        // Somebody else has the server where it was prepared.
        other.rows("begin");
        seen.push(one.ask(&run_binary("s", 2000_i64.to_be_bytes())));
        other.rows("commit");
        seen.push(migration.value("select string_agg(v::text, ' ' order by v) from t"));
        seen
    });
    assert_eq!(seen[3], "1000 2000");
}

#[test]
fn a_client_is_told_that_columns_are_not_what_it_knows_on_every_server() {
    let run = |name: &str| [run(name, &[]), sync()].concat();
    let described = |name: &str| {
        let portal = [bind("", name, &[]), describe('P', ""), execute("", 0)];
        [portal.concat(), sync()].concat()
    };
    let seen = both_with(&Setup::servers(2), |target| {
        let [mut one, mut migration, mut other] = [(); 3].map(|()| target.connect());
        migration.rows("create table t (a int8); insert into t values (1000)");
        let sql = "select * from t";
        let mut seen = vec![
            one.ask(&[parse("s", sql), describe('S', "s"), sync()].concat()),
            one.ask(&run("s")),
            // By the description of a portal, too.
            one.ask(&[parse("p", sql), sync()].concat()),
            one.ask(&described("p")),
        ];
        let mut changed = |change: &str, first: bool| {
            // What is idle is on the server of the change, or on the other one.
            if first {
                other.rows("begin");
            }
            migration.rows(change);
            if !first {
                other.rows("begin");
            }
            for name in ["s", "p"] {
                seen.push(one.ask(&run(name)));
                seen.push(one.ask(&described(name)));
            }
            seen.push(one.ask(&[describe('S', "s"), sync()].concat()));
            other.rows("commit");
        };
        for first in [true, false] {
            changed("alter table t alter a type float8", first);
            changed("alter table t alter a type int8", first);
        }
        changed("alter table t add b text", false);
        // Whoever prepares anew has what there is now.
        seen.push(
            one.ask(&[close('S', "s"), parse("s", sql), describe('S', "s"), sync()].concat()),
        );
        other.rows("begin");
        seen.push(one.ask(&run("s")));
        seen
    });
    assert_eq!(seen.iter().filter(|line| line.contains("0A000")).count(), 15, "{seen:?}");
}

#[test]
fn what_runs_no_plan_may_have_other_columns_each_time() {
    both_with(&Setup::servers(2), |target| {
        let [mut one, mut other] = [(); 2].map(|()| target.connect());
        one.rows("create table t (a int)");
        let mut seen = Vec::new();
        for (name, sql) in [("f", "fetch 1 from c"), ("u", "update t set a = 1")] {
            one.rows("begin; declare c cursor for select 1");
            seen.push(one.ask(&[parse(name, sql), describe('S', name), sync()].concat()));
            seen.push(one.ask(&[run(name, &[]), sync()].concat()));
            one.rows("commit");
        }
        other.rows("alter table t add b int");
        other.rows("begin");
        one.rows("begin; declare c cursor for select 'x'::text, 2");
        for name in ["f", "u"] {
            seen.push(one.ask(&[run(name, &[]), sync()].concat()));
        }
        one.rows("commit");
        seen
    });
}

#[test]
fn a_deallocate_of_a_name_that_sql_has_prepared_is_no_other_names() {
    both(|target| {
        let mut one = target.connect();
        one.ask(&prepare("s", "select 1"));
        one.rows("prepare sp as select 2");
        vec![one.ask(&query("deallocate sp; select 1/0; deallocate s")), one.ask(&fetch("s"))]
    });
}

#[test]
fn a_known_statement_is_described_once_where_settings_are_in_doubt() {
    both_with(&Setup::servers(2), |target| {
        let [mut one, mut other] = [(); 2].map(|()| target.connect());
        one.ask(&[parse("s", "select 1"), describe('S', "s"), sync()].concat());
        other.rows("begin");
        let doubt = "begin; do $$ begin perform set_config('my.x', '1', false); end $$";
        vec![
            one.ask(&query(doubt)),
            one.ask(&[run("s", &[]), run("s", &[]), sync()].concat()),
            one.ask(&query("commit")),
        ]
    });
}

/// What comes of all segments that are sent at once.
fn all_of(client: &mut Raw, pipeline: &[u8]) -> String {
    client.send(pipeline);
    let (mut rest, mut segments) = (pipeline, 0);
    while let [tag, length @ ..] = rest {
        segments += usize::from(matches!(tag, b'S' | b'Q'));
        let length = u32::from_be_bytes(*length.first_chunk().unwrap()) as usize;
        rest = &rest[1 + length..];
    }
    line(&client.ready(segments))
}

/// One server and a client that has run `before`; the same straight and through pgweir.
fn after_pipelines(before: &[&str], pipelines: &[Vec<u8>]) -> Vec<String> {
    both_with(&Setup::servers(1), |target| {
        let mut one = target.connect();
        for text in before {
            one.ask(&query(text));
        }
        let mut seen: Vec<_> =
            pipelines.iter().map(|pipeline| all_of(&mut one, pipeline)).collect();
        seen.push(one.ask(&query("select count(*) from t")));
        seen
    })
}

#[test]
fn what_sql_executes_within_a_segment_commits_nothing_of_it() {
    let failing = [parse("a", "select 1/0"), sync()].concat();
    let insert = || extended("insert into t values (1)");
    let pipeline = [insert(), query("execute a"), sync()].concat();
    let flushed = [insert(), flush(), query("execute a"), sync()].concat();
    let seen = after_pipelines(&["create table t (a int)"], &[failing, pipeline, flushed]);
    assert_eq!(seen.last().map(String::as_str), Some("T D(0) C[SELECT 1] Z[I]"));
}

#[test]
fn names_that_sql_uses_are_those_that_earlier_segments_leave() {
    let fails = || extended("select 1/0");
    for change in
        [extended("execute a"), close('S', "a"), parse("c", "select 33"), extended("deallocate a")]
    {
        let prepare = [parse("a", "select 11"), parse("b", "select 22"), sync()].concat();
        for uses in ["execute a", "execute c", "deallocate b"] {
            let pipeline = [fails(), change.clone(), sync(), extended(uses), sync()].concat();
            let rest = [run("a", &[]), sync(), run("b", &[]), sync()].concat();
            after_pipelines(&["create table t (a int)"], &[prepare.clone(), pipeline, rest]);
        }
    }
}

#[test]
fn names_parsed_behind_code_that_deallocates_all_stay() {
    let deallocates = "do $$begin execute 'deal'||'locate all'; end$$";
    let pipeline = [extended(deallocates), parse("c", "select 3"), sync()].concat();
    let uses = [run("c", &[]), sync()].concat();
    let before = ["create table t (a int)"];
    after_pipelines(&before, &[prepare("a", "select 1"), pipeline, uses]);
}

#[test]
fn a_segment_that_is_sent_again_leaves_out_what_went_ahead_of_it() {
    let stage = Stage::new(&Setup::servers(1));
    let mut owner = stage.database.target().connect();
    owner.rows("create table u (id serial, v int)");
    let kind = || stage.weir.target().connect_with(&[("application_name", "asks")]);
    kind().ask(&query("select lastval()"));
    let text = "insert into u (v) values (1) returning *";
    let mut first = stage.client();
    first.ask(&prepare("s", text));
    first.ask(&fetch("s"));
    owner.rows("alter table u add column w int default 7");
    let mut late = kind();
    let at_once = [parse("s", text), run("s", &[]), sync()].concat();
    assert_eq!(all_of(&mut late, &at_once), "1 2 D(2,1,7) C[INSERT 0 1] Z[I]");
}

#[test]
fn a_portal_whose_bind_was_skipped_tells_nothing_of_the_statement() {
    let seen = both_with(&Setup::servers(2), |target| {
        let [mut one, mut other] = [(); 2].map(|()| target.connect());
        one.rows("declare c cursor with hold for select 1 as x");
        one.ask(&prepare("s", "select 'q'::text as y"));
        one.ask(&[extended("select 1/0"), bind("c", "s", &[]), sync()].concat());
        let mut seen = vec![one.ask(&[describe('P', "c"), sync()].concat())];
        one.rows("close c");
        other.rows("begin");
        seen.push(one.ask(&fetch("s")));
        other.rows("commit");
        seen
    });
    assert_eq!(seen[1], "2 D(q) C[SELECT 1] Z[I]");
}

/// A pool of one server, whose clients share what they parse; its database was given this.
fn shared(setup: &str) -> (Stage, [Raw; 3]) {
    let stage = Stage::new(&Setup::servers(1));
    stage.database.target().connect().rows(setup);
    let clients = [(); 3].map(|()| stage.client());
    (stage, clients)
}

fn one_run(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
    [parse("s", sql), run("s", values), sync()].concat()
}

#[test]
fn what_is_parsed_under_a_search_path_of_the_transaction_is_shared_with_nobody() {
    let setup = "create schema a; create schema b; create table a.w (v int, more int); \
                 create table b.w (v text); create table public.w (v numeric, a int, b int)";
    for set in [
        "set local search_path = SCHEMA",
        "select set_config('search_path', 'SCHEMA', true)",
        "set search_path = SCHEMA",
    ] {
        let (_stage, mut clients) = shared(setup);
        for (client, schema, kept) in [(0, "a", "7"), (1, "b", "007"), (2, "public", "7")] {
            let client = &mut clients[client];
            client.rows("begin");
            client.rows(&set.replace("SCHEMA", schema));
            let inserted = client.ask(&one_run("insert into w(v) values ($1)", &[Some("007")]));
            assert_eq!(inserted, "1 2 C[INSERT 0 1] Z[T]", "{set}, {schema}");
            assert_eq!(client.value("select v from w"), kept, "{set}, {schema}");
            client.rows("rollback");
        }
        // Who has set nothing is not given what they had.
        let plain =
            clients[2].ask(&[parse("p", "select * from w"), run("p", &[]), sync()].concat());
        assert_eq!(plain, "1 2 C[SELECT 0] Z[I]", "{set}");
    }
}

#[test]
fn what_another_has_parsed_gives_a_role_no_rights() {
    let (stage, [mut one, mut other, _]) = shared("create schema sec; create table sec.x (a int)");
    let admin = "create role reader; grant reader to app; grant select on sec.x to reader";
    stage.database.admin().rows(admin);
    let sql = "select * from sec.x";
    assert_eq!(one.ask(&one_run(sql, &[])), "1 2 C[SELECT 0] Z[I]");
    for set in ["set local role reader", "set role reader"] {
        other.rows("begin");
        other.rows(set);
        assert_eq!(other.ask(&one_run(sql, &[])), "E[ERROR 42501] Z[E]", "{set}");
        other.rows("rollback");
    }
}

#[test]
fn what_is_parsed_beside_temporary_objects_is_shared_with_nobody() {
    let (_stage, [mut one, mut other, mut third]) =
        shared("create table t (a int); insert into t values (1)");
    // From then on the server has a schema for them.
    third.rows("create temp table q (a int); drop table q");
    let (select, insert) = ("select * from t", "insert into t values ($1)");
    assert_eq!(other.ask(&[parse("before", select), sync()].concat()), "1 Z[I]");
    assert_eq!(other.ask(&one_run(select, &[])), "1 2 D(1) C[SELECT 1] Z[I]");
    other.rows("deallocate s");
    one.rows("create temp table t (a text); insert into t values ('mine')");
    assert_eq!(one.ask(&one_run(select, &[])), "1 2 D(mine) C[SELECT 1] Z[I]");
    one.ask(&[close('S', "s"), one_run(insert, &[Some("too")])].concat());
    assert_eq!(one.value("select count(*) from t"), "2");
    // A table of the same name is another.
    one.rows("drop table t; create temp table t (a text, b int)");
    let anew = [close('S', "s"), one_run(select, &[])].concat();
    assert_eq!(one.ask(&anew), "3 1 2 C[SELECT 0] Z[I]");
    one.rows("drop table t");
    assert_eq!(other.ask(&one_run(insert, &[Some("5")])), "1 2 C[INSERT 0 1] Z[I]");
    assert_eq!(third.ask(&one_run(select, &[])), "1 2 D(1) D(5) C[SELECT 2] Z[I]");
    // What was parsed before finds the temporary table too, and others do not.
    let drop = "begin; create temp table t (a int) on commit drop; insert into t values (7)";
    third.rows("create temp table other (a int); drop table other");
    other.rows(drop);
    other.ask(&[parse("now", select), run("now", &[]), sync()].concat());
    other.rows("commit");
    assert_eq!(third.ask(&fetch("s")), "2 D(1) D(5) C[SELECT 2] Z[I]");
    assert_eq!(other.ask(&fetch("now")), "2 D(1) D(5) C[SELECT 2] Z[I]");
}

#[test]
fn what_is_made_ahead_on_the_search_path_is_found_by_who_parses_then() {
    let setup = "create schema late; create table late.t (a int); insert into late.t values (1); \
                 create sequence late.s start 101; create aggregate late.g(int) \
                 (sfunc = int4pl, stype = int, initcond = '100')";
    let (_stage, mut clients) = shared(setup);
    let both = &mut clients[..2];
    for (sql, then, make, now) in [
        ("select a from t", "D(1) C[SELECT 1]", "create table public.t (a int)", "C[SELECT 0]"),
        ("select nextval('s')", "D(101) C[SELECT 1]", "create sequence s", "D(1) C[SELECT 1]"),
        (
            "select g(1)",
            "D(101) C[SELECT 1]",
            "create aggregate public.g(int) (sfunc = int4pl, stype = int, initcond = '0')",
            "D(1) C[SELECT 1]",
        ),
    ] {
        for client in both.iter_mut() {
            client.rows("set search_path = public, late");
        }
        assert_eq!(both[0].ask(&one_run(sql, &[])), format!("1 2 {then} Z[I]"), "{sql}");
        both[0].rows(make);
        assert_eq!(both[1].ask(&one_run(sql, &[])), format!("1 2 {now} Z[I]"), "{sql}");
        for client in both.iter_mut() {
            client.rows("deallocate s");
        }
    }
}

#[test]
fn a_close_behind_a_parse_that_failed_closes_what_sql_has_prepared() {
    let stage = Stage::new(&Setup::servers(2));
    let mut client = stage.client();
    client.rows("prepare a as select 'by SQL'");
    let pipeline = [
        parse("a", "select 'by Parse'"),
        sync(),
        close('S', "a"),
        parse("a", "select 'anew'"),
        sync(),
    ];
    let seen = "E[ERROR 42P05] Z[I] 3 1 Z[I]";
    client.send(&pipeline.concat());
    assert_eq!(line(&client.ready(2)), seen);
    assert_eq!(client.ask(&[run("a", &[]), sync()].concat()), "2 D(anew) C[SELECT 1] Z[I]");
}
