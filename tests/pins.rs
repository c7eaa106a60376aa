//! Clients that keep their server: who sees it, and where it ends (docs/semantics.md "Pins").

use super::support::events::line;
use super::support::*;

fn is(stage: &Stage, name: &str, labels: &str, expected: f64) {
    let what = format!("{name}{{{labels}}} is {expected}");
    wait_until(&what, || (stage.weir.metric(name, labels) - expected).abs() < 0.5);
}

fn pinned(stage: &Stage, count: usize) {
    is(stage, "pgweir_clients_pinned", "", count as f64);
}

/// A word that stands in a constant only.
const SECRET: &str = "hunter2";

#[test]
fn a_pin_is_counted_and_logged_without_constants() {
    let setup = Setup::servers(2).tables("[log]\nlevel = \"debug\"\n[pins]\nlisten = \"pin\"");
    let stage = Stage::new(&setup);
    let mut client = stage.weir.target().connect_with(&[("application_name", "billing")]);
    client.rows(&format!("create temp table basket (owner text default '{SECRET}')"));
    pinned(&stage, 1);
    is(&stage, "pgweir_pins_total", "reason=\"temp_object\"", 1.0);
    client.rows("listen orders");
    is(&stage, "pgweir_pins_total", "reason=\"listen\"", 1.0);
    is(&stage, "pgweir_pins_total", "", 2.0);
    client.rows("drop table basket");
    client.rows("unlisten *");
    pinned(&stage, 0);
    // It is counted before it is logged.
    wait_until("both ends are logged", || {
        stage.weir.log().matches("no longer pinned").count() == 2
    });
    let log = stage.weir.log();
    let begun: Vec<_> = log.lines().filter(|line| line.contains("a client is pinned")).collect();
    assert_eq!(begun.len(), 2, "{begun:#?}");
    for part in [
        "temp_object",
        "object=\"basket\"",
        "create temp table basket (owner text default ?)",
        "billing",
        "user=\"app\"",
        "address=\"127.0.0.1:",
        "client=",
        stage.database.name(),
    ] {
        assert!(begun[0].contains(part), "{part}: {}", begun[0]);
    }
    assert!(begun[1].contains("object=\"orders\""), "{}", begun[1]);
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn the_seconds_of_a_pin_are_counted_while_it_lasts() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("select pg_advisory_lock(1)");
    let labels = "reason=\"advisory_lock\"";
    wait_until("seconds are counted", || {
        stage.weir.metric("pgweir_pinned_seconds_total", labels) > 0.5
    });
    pinned(&stage, 1);
    client.send(&terminate());
    pinned(&stage, 0);
}

fn ruled(servers: usize, rules: &str) -> Stage {
    Stage::new(&Setup::servers(servers).tables(&format!("[pins]\nlisten = \"pin\"\n{rules}")))
}

/// A function that takes a lock of the session, which no text that calls it shows.
fn hide_a_lock(stage: &Stage) {
    stage.database.admin().rows(
        "create function hide() returns int language plpgsql as \
         'begin perform pg_advisory_lock(5); return 1; end'",
    );
}

/// What pins, why, and what it is made with.
const PINNING: [(&str, &str); 6] = [
    ("temp_object", "create temp table t (a int)"),
    ("held_cursor", "declare c cursor with hold for select 1"),
    ("sql_prepared", "prepare p as select 1"),
    ("advisory_lock", "select pg_advisory_lock(1)"),
    ("listen", "listen x"),
    ("setting", "select set_config('app.' || 'x', 'y', false)"),
];

#[test]
fn what_the_rules_refuse_does_not_run() {
    let names: Vec<_> = PINNING.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let stage = ruled(1, &format!("refuse = [{}]", names.join(", ")));
    let mut client = stage.client();
    let refused = "E[ERROR 0A000]";
    for (reason, sql) in PINNING {
        assert_eq!(client.ask(&query(sql)), format!("{refused} Z[I]"), "{reason}");
        let messages = [extended(sql), sync()].concat();
        assert_eq!(client.ask(&messages), format!("1 {refused} Z[I]"), "{reason}");
        client.rows("begin");
        assert_eq!(client.ask(&query(sql)), format!("{refused} Z[E]"), "{reason}");
        assert_eq!(client.ask(&query(sql)), "E[ERROR 25P02] Z[E]", "{reason}");
        client.rows("rollback");
    }
    let said = client.ask_in_detail(&query("begin; listen x"));
    assert!(said.contains("is not supported in transaction pooling mode"), "{said}");
    // What ends with its transaction does not pin.
    client.rows("begin");
    client.rows("create temp table t (a int) on commit drop");
    client.rows("declare c cursor for select 1");
    client.rows("select pg_advisory_xact_lock(1)");
    client.rows("commit");
    assert_eq!(
        client.value(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        ),
        "0"
    );
    pinned(&stage, 0);
    is(&stage, "pgweir_pins_total", "", 0.0);
}

#[test]
fn what_the_rules_refuse_and_no_text_shows_ends_the_client() {
    let stage = ruled(1, "refuse = [\"advisory_lock\"]");
    hide_a_lock(&stage);
    let mut client = stage.client();
    client.send(&query("select hide()"));
    let seen = line(&client.rest());
    assert_eq!(seen, "T D(1) C[SELECT 1] Z[I] E[FATAL 0A000] EOF");
    // The server is clean again.
    let locks =
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    assert_eq!(stage.client().value(locks), "0");
}

#[test]
fn no_more_clients_are_pinned_than_may_be() {
    let stage = ruled(3, "max_pinned = 1");
    hide_a_lock(&stage);
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("create temp table t (a int)");
    pinned(&stage, 1);
    // One that is pinned may have more than one reason.
    one.rows("listen x");
    for sql in ["listen x", "create temp table t (a int)"] {
        let said = two.ask_in_detail(&query(sql));
        assert!(said.starts_with("E[ERROR 53400") && said.ends_with("Z[I]"), "{said}");
        assert_eq!(two.ask(&[extended(sql), sync()].concat()), "1 E[ERROR 53400] Z[I]");
    }
    two.rows("begin");
    two.rows("declare c cursor for select 1");
    two.rows("commit");
    let mut three = stage.client();
    three.send(&query("select hide()"));
    assert!(line(&three.rest()).ends_with("Z[I] E[FATAL 53400] EOF"));
    one.rows("discard temp; unlisten *");
    pinned(&stage, 0);
    two.rows("listen x");
    pinned(&stage, 1);
}

#[test]
fn a_refused_transaction_gives_its_place_back() {
    let stage = ruled(2, "max_pinned = 1");
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("begin");
    one.rows("create temp table t (a int)");
    // Taken already, while nothing is pinned yet.
    assert_eq!(two.ask(&query("listen x")), "E[ERROR 53400] Z[I]");
    one.rows("rollback");
    wait_until("there is room", || two.ask(&query("listen x")) == "C[LISTEN] Z[I]");
}

#[test]
fn by_default_a_pool_cannot_be_pinned_whole() {
    let listening = "[pins]\nlisten = \"pin\"";
    let stage = Stage::new(&Setup::servers(2).tables(listening));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen x");
    assert_eq!(two.ask(&query("listen x")), "E[ERROR 53400] Z[I]");
    let alone = Stage::new(&Setup::servers(1).tables(listening));
    alone.client().rows("listen x");
}

#[test]
fn limits_change_with_a_reload() {
    let stage = ruled(3, "max_pinned = 1");
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen x");
    assert_eq!(two.ask(&query("listen x")), "E[ERROR 53400] Z[I]");
    stage.weir.reload(|old| old.replace("max_pinned = 1", "max_pinned = \"70%\""));
    wait_until("it is reloaded", || stage.weir.log().contains("configuration reloaded"));
    assert_eq!(two.ask(&query("listen x")), "C[LISTEN] Z[I]");
    pinned(&stage, 2);
}

#[test]
fn suspicion_says_what_the_server_is_asked_about() {
    for (suspicion, harmless, hidden) in [("off", "0", 0), ("standard", "0", 1), ("strict", "1", 1)]
    {
        let stage = ruled(1, &format!("suspicion = \"{suspicion}\""));
        hide_a_lock(&stage);
        let plain = "create function plain() returns int language sql as 'select 1'";
        stage.database.admin().rows(plain);
        let mut client = stage.client();
        client.rows("select plain()");
        let asked = "select count(*) from pg_prepared_statements where name = '__pgweir_probe'";
        assert_eq!(client.value(asked), harmless, "{suspicion}");
        client.rows("select hide()");
        client.rows("select 1");
        pinned(&stage, hidden);
        client.rows("listen x");
        pinned(&stage, 1);
    }
}

#[test]
fn sequences_pin_or_fail_as_the_rules_say() {
    for (rule, expected, pins) in [("pin", "D(1)", 1), ("loud", "E[ERROR 55000]", 0)] {
        let stage = ruled(2, &format!("sequences = \"{rule}\""));
        let mut client = stage.client();
        client.rows("create table t (id serial)");
        for _ in 0..2 {
            client.rows("insert into t default values");
            let said = client.ask(&query("select currval('t_id_seq') * 0 + 1 as one"));
            assert!(said.contains(expected), "{rule}: {said}");
        }
        pinned(&stage, pins);
    }
}

#[test]
fn a_setting_without_a_name_may_be_let_go() {
    let stage = ruled(1, "dynamic_set = \"ignore\"");
    let mut client = stage.client();
    client.rows("select set_config('app.' || 'x', 'mine', false)");
    pinned(&stage, 0);
    let mut other = stage.client();
    assert_eq!(other.value("select current_setting('app.x', true)"), "");
    is(&stage, "pgweir_pins_total", "", 0.0);
}

#[test]
fn an_idle_pinned_client_is_ended_in_time() {
    let stage = Stage::new(
        &Setup::servers(1).timeouts("pin_idle = \"300ms\"").tables("[pins]\nlisten = \"pin\""),
    );
    let mut client = stage.client();
    client.rows("listen x");
    assert_eq!(line(&client.rest()), "E[FATAL 57P05] EOF");
    assert_eq!(stage.client().value("select count(*) from pg_listening_channels()"), "0");
}

#[test]
fn what_was_refused_before_it_ran_does_not_pin() {
    let stage = ruled(1, "");
    let mut admin = stage.database.admin();
    admin.rows(
        "create function loads() returns void language plpgsql security definer as \
         $$ begin load 'plpgsql'; perform nosuch(); end $$",
    );
    let mut other = stage.client();
    let mut client = stage.client();
    for sql in [
        "load 'nosuch'",
        "load 'plpgsql'",
        "select dblink_connect('x')",
        "select nosuch.dblink_connect('x')",
        "select dblink_connect(a) from nosuch",
        "select set_config('app.' || a, 'x', false) from nosuch",
    ] {
        for messages in [query(sql), [extended(sql), sync()].concat()] {
            let said = client.ask(&messages);
            assert!(said.contains("E[ERROR"), "{sql}: {said}");
            assert_eq!(other.value("select 1"), "1", "{sql}");
        }
    }
    client.ask(&query("select dblink_connect('x'); select 1"));
    assert_eq!(other.value("select 1"), "1");
    client.rows("begin");
    for sql in ["select nosuch()", "load 'nosuch'"] {
        assert!(client.ask(&query(sql)).ends_with("Z[E]"), "{sql}");
    }
    client.rows("rollback");
    assert_eq!(other.value("select 1"), "1");
    is(&stage, "pgweir_pins_total", "", 0.0);
    let said = client.ask(&query("select loads()"));
    assert!(said.contains("42883"), "{said}");
    is(&stage, "pgweir_pins_total", "reason=\"library\"", 1.0);
}

#[test]
fn what_ran_before_a_refused_statement_pins() {
    for (ran, refused, expected) in
        [(true, "load 'nosuch'", 1.0), (false, "select loads(), nosuch()", 0.0)]
    {
        let stage = ruled(1, "");
        let mut admin = stage.database.admin();
        admin.rows(
            "create function loads() returns void language plpgsql security definer as \
             $$ begin load 'plpgsql'; end $$",
        );
        let mut client = stage.client();
        client.rows("begin");
        if ran {
            client.rows("select loads()");
        }
        let said = client.ask(&query(refused));
        assert!(said.contains("E[ERROR"), "{said}");
        client.rows("rollback");
        is(&stage, "pgweir_pins_total", "", expected);
    }
}
