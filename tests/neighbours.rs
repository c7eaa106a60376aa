//! What one client does reaches no other, however well it is hidden; and the client keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::support::events::line;
use super::support::*;

/// One server, which two clients take in turn.
fn scene(setup: &str) -> (Stage, Raw, Raw) {
    let stage = Stage::new(&Setup::servers(1));
    stage.database.target().connect().rows(setup);
    let (one, other) = (stage.client(), stage.client());
    (stage, one, other)
}

/// Nobody's, unless a client has set its own.
const TENANT: &str = "select coalesce(nullif(current_setting('app.tenant', true), ''), 'none')";

const RUN: &str = "create function run(cmd text) returns void language plpgsql as \
                   'begin execute cmd; end'";

#[test]
fn settings_that_code_makes_of_texts_it_is_given() {
    let by_bind =
        [parse("", "select run($1)"), run("", &[Some("set app.tenant = 'acme'")]), sync()];
    let texts = [
        query("select run('set app.tenant = ''acme''')"),
        query("do $$ declare c text := 'set app.tenant = acme'; begin execute c; end $$"),
        by_bind.concat(),
    ];
    for text in texts {
        let (_stage, mut one, mut other) = scene(RUN);
        one.send(&text);
        one.ready(1);
        assert_eq!(other.value(TENANT), "none");
        assert_eq!(one.value(TENANT), "acme");
    }
    // What nobody can see is lost rather than found by others.
    let (_stage, mut one, mut other) = scene(RUN);
    one.rows("select run('se' || 't app.tenant = acme')");
    assert_eq!(other.value(TENANT), "none");
}

#[test]
fn what_a_statement_does_that_sql_executes() {
    let (_stage, mut one, mut other) = scene("create sequence s");
    let prepare = |sql| [parse("a", sql), sync()].concat();
    one.ask(&prepare("select set_config('app.tenant', 'acme', false)"));
    one.rows("execute a");
    assert_eq!(other.value(TENANT), "none");
    assert_eq!(one.value(TENANT), "acme");
    one.rows("select nextval('s')");
    other.ask(&prepare("select lastval()"));
    assert_eq!(other.ask(&query("execute a")), "E[ERROR 55000] Z[I]");
    // By a statement of the protocol that executes another.
    let (_stage, mut one, mut other) = scene("create sequence s");
    one.rows("select nextval('s')");
    other.ask(&prepare("select lastval()"));
    let both = [parse("b", "execute a"), run("b", &[]), sync()].concat();
    assert_eq!(other.ask(&both), "1 2 E[ERROR 55000] Z[I]");
}

#[test]
fn numbers_that_are_asked_for_behind_a_failed_transaction() {
    let asks = [
        [query("rollback"), query("select lastval()")].concat(),
        [query("rollback"), parse("", "select lastval()"), run("", &[]), sync()].concat(),
    ];
    let failed = || {
        let (stage, mut one, mut other) = scene("create sequence s");
        one.rows("select nextval('s')");
        other.ask(&query("begin; select 1/0"));
        (stage, other)
    };
    for ask in asks {
        let (_stage, mut other) = failed();
        other.send(&ask);
        let seen = line(&other.ready(2));
        assert!(seen.contains("E[ERROR 55000]") && !seen.contains("D("), "{seen}");
    }
    let (_stage, mut other) = failed();
    let seen = other.ask(&query("rollback; select lastval()"));
    assert!(!seen.contains("D("), "{seen}");
    other.ask(&query("rollback"));
    // Function calls ask, too.
    let call = framed('F', 4 + 4 + 2 + 2 + 2, &[&2559_u32.to_be_bytes()[..], &[0; 6]].concat());
    let seen = other.ask(&call);
    assert!(seen.starts_with("E[ERROR 55000]"), "{seen}");
}

#[test]
fn settings_behind_what_ends_a_failed_transaction() {
    for end in ["rollback", "commit", "prepare transaction 'g'"] {
        let (_stage, mut one, mut other) = scene("select 1");
        one.ask(&query("begin; select 1/0"));
        one.ask(&query(&format!("{end}; set app.tenant = 'acme'")));
        assert_eq!(other.value(TENANT), "none", "{end}");
        assert_eq!(one.value(TENANT), "acme", "{end}");
    }
}

#[test]
fn statements_that_were_parsed_under_settings_of_a_transaction() {
    let text = "select array_to_string('{a,NULL}'::text[], ',', '*')";
    let prepare = [parse("s", text), run("s", &[]), sync()].concat();
    for set in ["set local array_nulls = off", "set array_nulls = off"] {
        let (_stage, mut one, mut other) = scene("select 1");
        one.rows("begin");
        one.rows(set);
        assert_eq!(one.ask(&prepare), "1 2 D(a,NULL) C[SELECT 1] Z[T]");
        one.rows("rollback");
        assert_eq!(other.ask(&prepare), "1 2 D(a,*) C[SELECT 1] Z[I]", "{set}");
    }
    // In one go, before anything is answered.
    let (_stage, mut one, mut other) = scene("select 1");
    let text = "select extract(epoch from timestamptz '2020-01-01')::int";
    let prepare = [parse("s", text), run("s", &[]), sync()].concat();
    let local = [parse("", "set local timezone = 'Asia/Tokyo'"), run("", &[])].concat();
    one.send(&[local, prepare.clone()].concat());
    // Before PostgreSQL 14, it is reported at once.
    let seen: Vec<_> = one.ready(1).into_iter().filter(|event| !event.is('S')).collect();
    assert_eq!(line(&seen), "1 2 N[WARNING 25P01] C[SET] 1 2 D(1577804400) C[SELECT 1] Z[I]");
    assert_eq!(other.ask(&prepare), "1 2 D(1577836800) C[SELECT 1] Z[I]");
}

#[test]
fn texts_that_are_read_by_other_rules_as_soon_as_those_change() {
    let (_stage, mut one, mut other) = scene("select 1");
    let hidden = r"select 'a\'', set_config('app.tenant', 'acme', false) --'";
    one.send(&[query("set standard_conforming_strings = off"), query(hidden)].concat());
    one.ready(2);
    assert_eq!(other.value(TENANT), "none");
    assert_eq!(one.value(TENANT), "acme");
}

#[test]
fn settings_at_the_end_of_a_long_text() {
    let (_stage, mut one, mut other) = scene("select 1");
    let padding = "x".repeat(200_000);
    one.rows(&format!("select length('{padding}'); set app.tenant = 'acme'"));
    assert_eq!(other.value(TENANT), "none");
    assert_eq!(one.value(TENANT), "acme");
}

#[test]
fn settings_of_a_transaction_pin_nobody_whatever_they_are_called() {
    let (stage, mut one, mut other) = scene("select 1");
    one.rows(
        "begin; select set_config(k, v, true) from (values ('app.tenant', 'acme')) as x (k, v)",
    );
    one.rows("commit");
    assert_eq!(other.value(TENANT), "none");
    assert_eq!(stage.weir.count("pgweir_pins_total", ""), 0);
}

#[test]
fn operators_of_others_are_not_called_by_questions_of_pgweirs_own() {
    let operator = |name: &str, left: &str, right: &str, gives: &str| {
        format!(
            "create function trap(a {left}, b {right}) returns {gives} language plpgsql as \
             'begin raise exception ''trapped''; end'; \
             create operator {name} (leftarg = {left}, rightarg = {right}, function = trap);"
        )
    };
    let traps = [
        operator("<>", "oid", "int4", "bool"),
        operator("=", "oid", "regclass", "bool"),
        operator("=", "oid", "regnamespace", "bool"),
        operator("=", "regproc", "oid", "bool"),
        operator("||", "text", "oid", "text"),
    ];
    let (stage, mut one, mut other) = scene(&traps.concat());
    one.rows("create temp table t (a int); drop table t");
    one.rows("select pg_advisory_lock(1), pg_advisory_unlock(1)");
    assert_eq!(other.value("select 1"), "1");
    // The catalogue was read, so that this is known to do nothing.
    stage
        .database
        .target()
        .connect()
        .rows("create function calm() returns int language sql as 'select 7'");
    other.rows("select calm()");
    let unproven = stage.weir.count("pgweir_pins_total", "reason=\"unproven\"");
    assert_eq!(unproven, 0, "{}", stage.weir.log());
}

#[test]
fn statements_that_code_deallocates() {
    for text in
        ["select run('deallocate all')", "do $$ begin execute 'deal' || 'locate all'; end $$"]
    {
        let (_stage, mut one, mut other) = scene(RUN);
        for (client, name, memory) in [(&mut one, "a", "7MB"), (&mut other, "b", "8MB")] {
            client.rows(&format!("set work_mem = '{memory}'"));
            client.ask(&[parse(name, "select 1"), sync()].concat());
        }
        one.rows(text);
        assert_eq!(other.value("show work_mem"), "8MB");
        assert_eq!(other.ask(&[run("b", &[]), sync()].concat()), "2 D(1) C[SELECT 1] Z[I]");
        // Its own are gone, as on PostgreSQL.
        assert_eq!(one.ask(&[run("a", &[]), sync()].concat()), "E[ERROR 26000] Z[I]");
        assert_eq!(one.value("show work_mem"), "7MB");
    }
}

/// Two clients of one server, of whom the first has read a table that code will change.
fn beside_a_reader() -> (Stage, Raw, Raw) {
    let setup = format!("create table changing (a int); alter table changing owner to app; {RUN}");
    let (stage, mut one, other) = scene(&setup);
    assert_eq!(one.ask(&read_changing("a")), "1 t T 2 C[SELECT 0] Z[I]");
    (stage, one, other)
}

fn read_changing(name: &str) -> Vec<u8> {
    let parse = parse(name, "select * from changing");
    [parse, describe('S', name), run(name, &[]), sync()].concat()
}

const CHANGES: [&str; 2] = [
    "do $$ begin alter table changing alter a type text; end $$",
    "select run('alter table changing alter a type text')",
];

#[test]
fn tables_that_code_changes() {
    let hidden = "select run('al' || 'ter table changing al' || 'ter a type text')";
    for text in CHANGES.into_iter().chain([hidden]) {
        for pins in [false, true] {
            let (_stage, _one, mut other) = beside_a_reader();
            other.rows(text);
            if pins {
                other.rows("prepare p as select 1");
            }
            assert_eq!(other.ask(&read_changing("b")), "1 t T 2 C[SELECT 0] Z[I]", "{text}");
        }
    }
}

#[test]
fn a_table_that_code_changes_beside_a_temporary_one() {
    for text in CHANGES {
        let (_stage, _one, mut other) = beside_a_reader();
        other.rows("create temp table own (a int)");
        other.rows(text);
        // Where nothing can be sent again, as the transaction would have failed.
        other.rows("begin");
        assert_eq!(other.ask(&read_changing("b")), "1 t T 2 C[SELECT 0] Z[T]", "{text}");
    }
}

#[test]
fn names_of_statements_that_sql_was_lent() {
    let leave: [fn(Raw); 2] = [
        |mut one| {
            one.send(&[query("execute a"), terminate()].concat());
            one.rest();
        },
        |mut one| {
            one.ask(&query("begin; execute a"));
            one.reset();
        },
    ];
    for leave in leave {
        for has_one in [true, false] {
            let (_stage, mut one, mut other) = scene("");
            one.ask(&[parse("a", "select 'of one'"), sync()].concat());
            leave(one);
            let mut expected = "E[ERROR 26000] Z[I]";
            if has_one {
                other.ask(&[parse("a", "select 'of the other'"), sync()].concat());
                expected = "T D(of the other) C[SELECT 1] Z[I]";
            }
            assert_eq!(other.ask(&query("execute a")), expected);
        }
    }
    // Its Close is skipped behind an error.
    let (_stage, mut one, mut other) = scene("");
    one.ask(&[parse("a", "select 'of one'"), sync()].concat());
    one.ask(&query("begin"));
    one.ask(&query("execute a"));
    one.ask(&[parse("x", "selec"), close('S', "a"), sync()].concat());
    one.ask(&query("rollback"));
    assert_eq!(other.ask(&query("execute a")), "E[ERROR 26000] Z[I]");
    assert_eq!(one.ask(&query("execute a")), "T D(of one) C[SELECT 1] Z[I]");
}

#[test]
fn statements_behind_code_whose_client_has_left() {
    let (_stage, mut one, mut other) = scene("");
    for (client, memory) in [(&mut one, "7MB"), (&mut other, "8MB")] {
        client.rows(&format!("set work_mem = '{memory}'"));
        client.ask(&[parse("a", "select 1"), run("a", &[]), sync()].concat());
    }
    let deallocate = query("do $$ begin execute 'deal' || 'locate all'; end $$");
    one.send(&[deallocate, terminate()].concat());
    one.rest();
    assert_eq!(other.value("show work_mem"), "8MB");
    assert_eq!(other.ask(&[run("a", &[]), sync()].concat()), "2 D(1) C[SELECT 1] Z[I]");
}

#[test]
fn empty_settings_where_the_role_has_another() {
    let stage = Stage::new(&Setup::servers(1));
    let name = stage.database.name();
    let default = format!("alter role app in database \"{name}\" set app.level = 'low'");
    stage.database.admin().rows(&default);
    let (mut one, mut other) = (stage.client(), stage.client());
    let level = "select current_setting('app.level')";
    one.rows("set app.level = ''");
    assert_eq!(other.value(level), "low");
    assert_eq!(one.value(level), "");
    one.rows("reset app.level");
    assert_eq!(one.value(level), "low");
    other.rows("set app.level = 'high'");
    assert_eq!(one.value(level), "low");
}

#[test]
fn tables_that_are_changed_beside_temporary_ones_or_by_another_pool() {
    let database = Cluster::shared().database();
    let again = format!(
        "[databases.again]\nhost = \"127.0.0.1\"\nport = {}\ndbname = \"{}\"\ntls = \"disable\"\n",
        database.cluster().port(),
        database.name()
    );
    let setup = Setup { tables: again, ..Setup::servers(1) };
    let weir = Weir::start(&database, &setup);
    let elsewhere = Target { database: "again".into(), ..weir.target() };
    for (number, mut who) in [weir.target().connect(), elsewhere.connect()].into_iter().enumerate()
    {
        let table = format!("changing_{number}");
        database.target().connect().rows(&format!("create table {table} (a int)"));
        let mut one = weir.target().connect();
        let text = format!("select 1 from {table} where a = $1");
        let find = |name| [parse(name, &text), run(name, &[Some("x")]), sync()].concat();
        one.ask(&[parse("a", &text), describe('S', "a"), sync()].concat());
        who.rows("create temp table mine (a int)");
        who.rows(&format!("alter table {table} alter a type text"));
        who.rows("drop table mine");
        assert_eq!(one.ask(&find("b")), "1 2 C[SELECT 0] Z[I]", "{number}");
    }
}

/// Keeps several queries under way, whatever comes.
fn pipelining(mut client: Raw, stop: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let stop = Arc::clone(stop);
    let one = query("select pg_sleep(0.01)");
    thread::spawn(move || {
        client.send(&one.repeat(4));
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            client.ready(1);
            client.send(&one);
            answered += 1;
        }
        client.ready(4);
        answered
    })
}

#[test]
fn who_always_has_something_under_way_lets_others_have_the_server() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"20s\"\ntransaction = \"2s\""));
    let stop = Arc::new(AtomicBool::new(false));
    let busy = [(); 2].map(|()| pipelining(stage.client(), &stop));
    let mut other = stage.client();
    for _ in 0..20 {
        assert_eq!(other.value("select 1"), "1");
    }
    // Longer than a transaction may last: each by itself is short.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        other.rows("begin; select 1; commit");
    }
    stop.store(true, Ordering::Relaxed);
    for client in busy {
        assert!(client.join().unwrap() > 0);
    }
}

#[test]
fn who_is_held_back_for_others_may_still_copy_and_end_its_transaction() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"20s\""));
    stage.database.target().connect().rows("create table copied (a int)");
    let mut client = stage.client();
    let mut others: Vec<_> = (0..3).map(|_| stage.client()).collect();
    for round in 0..20 {
        for other in &mut others {
            other.send(&query("select pg_sleep(0.002)"));
        }
        let copy = query("copy copied from stdin");
        let data = [message('d', b"1\n"), message('c', b"")].concat();
        match round % 4 {
            0 => {
                client.send(&[query("select 1"), copy, data, query("select 2")].concat());
                client.ready(3);
            }
            1 => {
                client.send(&[query("select 1"), copy].concat());
                client.ready(1);
                client.send(&[message('f', b"no\0"), query("select 2")].concat());
                client.ready(2);
            }
            2 => {
                client.send(&[query("select 1"), query("begin"), query("select 2")].concat());
                client.ready(3);
                client.send(&query("commit"));
                client.ready(1);
            }
            _ => {
                client.send(&[query("select 1"), extended("select 2"), sync()].concat());
                client.send(&[extended("select 3"), sync(), query("select 4")].concat());
                client.ready(4);
            }
        }
        for other in &mut others {
            other.ready(1);
        }
    }
    assert_eq!(client.value("select count(*) from copied"), "5");

    // libpq ends a COPY of the extended protocol with a Sync of its own, which alone has it answered.
    let copy = [extended("copy copied from stdin"), sync()].concat();
    client.send(&[query("select 1"), copy].concat());
    client.ready(1);
    while !client.event().is('G') {}
    for other in &mut others {
        other.send(&query("select 1"));
    }
    wait_until("they wait", || stage.weir.metric("pgweir_clients_waiting", "") >= 3.0);
    client.send(&[message('d', b"1\n"), message('c', b"")].concat());
    thread::sleep(Duration::from_millis(100));
    client.send(&sync());
    client.ready(1);
    for other in &mut others {
        other.ready(1);
    }
}
