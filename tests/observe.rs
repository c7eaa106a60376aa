//! Session pooling, and what is found out of transaction pooling meanwhile (docs/semantics.md "Session
//! pooling").

use std::time::Duration;

use super::support::events::line;
use super::support::*;

const SESSION: &str = "pooling = \"session\"";
const OBSERVE: &str = "pooling = \"session\"\nobserve = true";

fn pooled(lines: &str, servers: usize) -> Setup {
    Setup::servers(servers).top(lines).tables("[admin]\nusers = [\"app\"]")
}

/// The rows of a table of the console, cells between `|`.
fn shown(stage: &Stage, table: &str) -> Vec<String> {
    let console = Target { database: "pgweir".into(), ..stage.weir.target() };
    let text = psql(&console, &[], &format!("SHOW {table}"));
    text.lines().map(str::to_owned).collect()
}

/// Columns of the only pool: how it is pooled, and what was observed.
fn pool(stage: &Stage) -> String {
    let rows = shown(stage, "POOLS");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].split('|').skip(10).take(8).collect::<Vec<_>>().join(" ")
}

/// All that lives in one session, by its own names, and what pgweir answers or rewrites elsewhere.
fn life_of_a_session(target: &Target) -> Vec<String> {
    let mut client = target.connect_with(&[("TimeZone", "Asia/Tokyo")]);
    let mut seen = Vec::new();
    for sql in [
        "create table numbered (id serial)",
        "create temp table t (a int)",
        "insert into t values (1)",
        "set app.tenant = 'x'; set work_mem = '5MB'; select 1",
        "insert into numbered default values",
        "select lastval(), currval('numbered_id_seq')",
        "prepare p as select 1",
        "begin; declare c cursor with hold for select 1; commit",
        "fetch c",
        "select pg_advisory_lock(7)",
        "listen x",
        "select * from pg_listening_channels()",
        "notify y",
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
        "select a, current_setting('app.tenant'), current_setting('work_mem') from t",
        "execute p",
        "set TimeZone = 'UTC'",
        "reset TimeZone",
        "show TimeZone",
        "select set_config('TimeZone', null, false)",
        "deallocate p",
        "execute p",
        "unlisten *",
        "discard all",
        "show TimeZone",
        "show work_mem",
        "select a from t",
    ] {
        seen.push(client.ask_in_detail(&query(sql)));
    }
    for messages in [
        vec![parse("s", "select $1::int"), describe('S', "s"), run("s", &[Some("1")])],
        vec![parse("s", "select 2")],
        vec![run("s", &[Some("x")])],
        vec![run("unknown", &[])],
        vec![parse("", "select 3"), bind("", "", &[]), execute("", 0)],
        vec![bind("", "", &[]), execute("", 0), close('S', "")],
        vec![bind("", "", &[])],
    ] {
        seen.push(client.ask_in_detail(&[messages.concat(), sync()].concat()));
    }
    let named = "select name, statement from pg_prepared_statements where name !~ '^__pgweir_'";
    for sql in [named, "deallocate all", named, "begin", "select 1/0", "rollback"] {
        seen.push(client.ask_in_detail(&query(sql)));
    }
    seen.push(client.ask_in_detail(&[run("s", &[Some("1")]), sync()].concat()));
    seen.iter().map(|line| reported_late(line)).collect()
}

#[test]
fn a_session_is_what_it_is_on_postgresql() {
    for lines in [SESSION, OBSERVE] {
        both_with(&pooled(lines, 1), life_of_a_session);
    }
}

#[test]
fn each_client_keeps_its_server_from_its_first_need_on() {
    for lines in [SESSION, OBSERVE] {
        let stage = Stage::new(&pooled(lines, 2));
        let (mut one, mut two) = (stage.client(), stage.client());
        let (first, second) =
            (one.value("select pg_backend_pid()"), two.value("select pg_backend_pid()"));
        assert_ne!(first, second);
        one.rows("listen x");
        two.rows("notify x, 'hello'");
        assert_eq!(line(&one.until('A')), "A[x hello]");
        for _ in 0..3 {
            assert_eq!(one.value("select pg_backend_pid()"), first);
            assert_eq!(two.value("select pg_backend_pid()"), second);
        }
        // No other server listens for it, and nothing is pinned.
        assert!(stage.weir.metric("pgweir_servers", "state=\"leased\"") > 1.5);
        assert!(stage.weir.metric("pgweir_servers", "state=\"listening\"") < 0.5);
        assert!(stage.weir.metric("pgweir_pins_total", "") < 0.5);
        assert!(stage.weir.metric("pgweir_clients_pinned", "") < 0.5);
        assert!(!stage.weir.log().contains("a client is pinned"));
    }
}

#[test]
fn a_client_too_many_waits_for_one_that_leaves() {
    let stage = Stage::new(&pooled(SESSION, 1).timeouts("checkout = \"300ms\""));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("select 1");
    assert_eq!(two.ask(&query("select 1")), "E[ERROR 53300] Z[I]");
    stage.weir.reload(|old| old.replace("checkout = \"300ms\"", "checkout = \"20s\""));
    wait_until("it is reloaded", || stage.weir.log().contains("configuration reloaded"));
    two.send(&query("select 1"));
    assert!(two.within(Duration::from_millis(300)).is_empty());
    one.send(&terminate());
    assert_eq!(line(&two.ready(1)), "T D(1) C[SELECT 1] Z[I]");
}

#[test]
fn nothing_is_left_for_the_next_client() {
    let left = "select pg_backend_pid() || ' ' || \
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) || ' ' || \
        (select count(*) from pg_class where relpersistence = 't') || ' ' || \
        (select count(*) from pg_prepared_statements) || ' ' || \
        (select count(*) from pg_listening_channels()) || ' ' || \
        current_setting('work_mem') || ' ' || coalesce(current_setting('app.x', true), '')";
    for lines in [SESSION, OBSERVE] {
        let stage = Stage::new(&pooled(lines, 1));
        stage.database.admin().rows(
            "create function bring() returns int language plpgsql security definer as \
             'begin load ''plpgsql''; return 1; end'",
        );
        let mut one = stage.client();
        let server = one.value("select pg_backend_pid()");
        let work_mem = one.value("show work_mem");
        one.rows("create temp table t (a int)");
        one.rows("select pg_advisory_lock(1), pg_advisory_lock(1)");
        one.rows("prepare p as select 1; listen x; set work_mem = '7MB'; set app.x = 'mine'");
        one.send(&terminate());
        one.rest();
        assert_eq!(stage.client().value(left), format!("{server} 0 0 0 0 {work_mem} "), "{lines}");
        // Nor is what others get on well with.
        let mut one = stage.client();
        one.ask(&[parse("named", "select 1"), sync()].concat());
        one.send(&terminate());
        one.rest();
        assert_eq!(stage.client().value(left), format!("{server} 0 0 0 0 {work_mem} "), "{lines}");
        // What no reset removes goes with its server.
        let mut two = stage.client();
        two.rows("select bring()");
        two.send(&terminate());
        two.rest();
        let next = stage.client().value("select pg_backend_pid()");
        assert_ne!(next, server, "{lines}");
    }
}

#[test]
fn an_open_transaction_of_a_client_that_leaves_is_rolled_back() {
    let stage = Stage::new(&pooled(OBSERVE, 1));
    stage.client().rows("create table t (a int)");
    let mut one = stage.client();
    one.rows("begin; insert into t values (1)");
    one.send(&terminate());
    assert_eq!(stage.client().value("select count(*) from t"), "0");
}

#[test]
fn times_hold_for_transactions_and_not_between_them() {
    for lines in [SESSION, OBSERVE] {
        let limits = "transaction = \"400ms\"\npin_idle = \"100ms\"";
        let stage = Stage::new(&pooled(lines, 1).timeouts(limits));
        let mut client = stage.client();
        client.rows("create temp table t (a int)");
        assert!(client.within(Duration::from_millis(600)).is_empty());
        client.rows("select 1");
        client.send(&query("begin; select pg_sleep(30)"));
        assert_eq!(line(&client.rest()), "E[FATAL 25P04] EOF");
    }
    let limits = "idle_client = \"300ms\"\nidle_in_transaction = \"300ms\"";
    let stage = Stage::new(&pooled(OBSERVE, 1).timeouts(limits));
    for (sql, code) in [("select 1", "57P05"), ("begin", "25P03")] {
        let mut client = stage.client();
        client.rows(sql);
        assert_eq!(line(&client.rest()), format!("E[FATAL {code}] EOF"));
    }
}

/// A word that stands in a constant only.
const SECRET: &str = "hunter2";

#[test]
fn what_would_pin_is_shown_with_its_statement_and_how_long() {
    let stage = Stage::new(&pooled(&format!("{OBSERVE}\n"), 3));
    let mut client = stage.weir.target().connect_with(&[("application_name", "billing")]);
    client.rows("select 1");
    client.rows("select count(*) from pg_class");
    assert!(shown(&stage, "OBSERVED").is_empty());
    client.rows(&format!("create temp table basket (owner text default '{SECRET}')"));
    wait_until("it is seen", || shown(&stage, "OBSERVED").len() == 1);
    let row = shown(&stage, "OBSERVED").remove(0);
    let cells: Vec<_> = row.split('|').collect();
    let name = stage.database.name();
    assert_eq!(cells[..7], [name, "app", "billing", "temp_object", "basket", "1", "1"], "{row}");
    assert_eq!(cells[9], "create temp table basket (owner text default ?)");
    assert_eq!(pool(&stage), "observe 1 1 1 1 1 1 1");
    assert!(client.within(Duration::from_millis(200)).is_empty());
    client.rows("drop table basket");
    let ended = format!("{name}|app|billing|temp_object|basket|1|0|");
    wait_until("its end is seen", || shown(&stage, "OBSERVED")[0].starts_with(&ended));
    let row = shown(&stage, "OBSERVED").remove(0);
    let seconds: f64 = row.split('|').nth(7).and_then(|s| s.parse().ok()).expect("seconds");
    assert!(seconds >= 0.2, "{row}");
    // It lasts no longer.
    assert_eq!(shown(&stage, "OBSERVED"), [row]);
    assert_eq!(pool(&stage), "observe 1 1 0 1 1 0 1");
    // None of it is said of a pin that is.
    assert!(shown(&stage, "PINS").is_empty() && shown(&stage, "PIN_REASONS").is_empty());
    let (log, metric) = (stage.weir.log(), |name| stage.weir.metric(name, ""));
    assert!(log.contains("transaction pooling would pin a client"), "{log}");
    assert!(!log.contains("a client is pinned") && !log.contains(SECRET), "{log}");
    for (name, expected) in [
        ("pgweir_observed_pins_total", 1.0),
        ("pgweir_observed_servers_held", 1.0),
        ("pgweir_observed_servers_needed", 0.0),
        ("pgweir_observed_servers_needed_peak", 1.0),
        ("pgweir_observed_clients_pinned", 0.0),
        ("pgweir_observed_clients_pinned_peak", 1.0),
        ("pgweir_pins_total", 0.0),
    ] {
        assert!((metric(name) - expected).abs() < 0.1, "{name}: {}", metric(name));
    }
}

#[test]
fn what_code_hides_and_what_follows_a_client_is_told_apart() {
    let stage = Stage::new(&pooled(OBSERVE, 3));
    stage.database.admin().rows(
        "create function hide() returns int language plpgsql as \
         'begin perform pg_advisory_lock(5); return 1; end'",
    );
    let mut client = stage.client();
    // Shared, or following the client from server to server.
    client.rows("listen x");
    client.rows("set work_mem = '5MB'; set role none");
    client.ask(&[parse("s", "select 1"), run("s", &[]), sync()].concat());
    client.rows("begin; create temp table t (a int) on commit drop; commit");
    assert_eq!(client.value("select count(*) from pg_listening_channels()"), "1");
    assert!(shown(&stage, "OBSERVED").is_empty());
    let bound = [parse("h", "select hide()"), run("h", &[]), sync()].concat();
    assert_eq!(client.ask(&bound), "1 2 D(1) C[SELECT 1] Z[I]");
    wait_until("it is seen", || shown(&stage, "OBSERVED").len() == 1);
    let row = shown(&stage, "OBSERVED").remove(0);
    assert!(row.contains("|advisory_lock||1|1|") && row.ends_with("|select hide()"), "{row}");
    client.rows("select pg_advisory_unlock_all()");
    wait_until("its end is seen", || shown(&stage, "OBSERVED")[0].contains("|advisory_lock||1|0|"));
}

#[test]
fn listening_would_pin_where_it_is_not_shared() {
    let stage = Stage::new(&pooled(OBSERVE, 2).tables("[pins]\nlisten = \"pin\""));
    let mut client = stage.client();
    client.rows("listen x");
    wait_until("it is seen", || shown(&stage, "OBSERVED").len() == 1);
    client.send(&terminate());
    client.rest();
    let ended = || shown(&stage, "OBSERVED")[0].contains("|listen|x|1|0|");
    wait_until("it ends with its client", ended);
}

#[test]
fn numbers_that_transaction_pooling_would_lose_are_counted_and_not_lost() {
    let stage = Stage::new(&pooled(OBSERVE, 2));
    let mut client = stage.client();
    client.rows("create table t (id serial)");
    for number in ["1", "2"] {
        client.rows("insert into t default values");
        assert_eq!(client.value("select currval('t_id_seq')"), number);
    }
    wait_until("it is counted", || {
        (stage.weir.metric("pgweir_observed_lost_numbers_total", "") - 1.0).abs() < 0.1
    });
    // Whoever has asked once would be pinned from then on.
    wait_until("it is seen", || shown(&stage, "OBSERVED").len() == 1);
    assert!(shown(&stage, "OBSERVED")[0].contains("|sequence|"));
}

#[test]
fn clients_one_after_the_other_would_have_needed_one_server() {
    let stage = Stage::new(&pooled(OBSERVE, 6));
    let mut clients: Vec<_> = (0..6).map(|_| stage.client()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.rows("select 1");
        }
    }
    assert_eq!(pool(&stage), "observe 6 6 0 1 1 0 0");
    // Two that overlap need two.
    clients[0].rows("begin");
    clients[1].rows("select 1");
    let seen = pool(&stage);
    // For how much of the time they did, is not for a test to say.
    assert!(seen.starts_with("observe 6 6 1 ") && seen.ends_with(" 2 0 0"), "{seen}");
    clients[0].rows("commit");
    drop(clients);
    wait_until("all are gone", || pool(&stage).starts_with("observe 0 6 0 "));
}

#[test]
fn pools_say_how_they_pool_and_a_reload_is_for_new_sessions() {
    let stage = Stage::new(&pooled(OBSERVE, 2));
    let mut old = stage.client();
    let server = old.value("select pg_backend_pid()");
    stage.weir.reload(|text| text.replace(OBSERVE, ""));
    wait_until("it is reloaded", || stage.weir.log().contains("configuration reloaded"));
    assert!(pool(&stage).starts_with("transaction 1 1 0"), "{}", pool(&stage));
    let mut new = stage.client();
    new.rows("select 1");
    old.rows("create temp table t (a int)");
    assert_eq!(old.value("select pg_backend_pid()"), server);
    wait_until("the new one has given its server back", || {
        stage.weir.metric("pgweir_servers", "state=\"idle\"") > 0.5
    });
    new.rows("create temp table t (a int)");
    wait_until("the new one is pinned", || shown(&stage, "PINS").len() == 1);
    assert_eq!(shown(&stage, "OBSERVED").len(), 1);
}

#[test]
fn one_database_may_be_observed_and_others_not() {
    let stage = Stage::new(&Setup { database: OBSERVE.into(), ..pooled("", 2) });
    let mut client = stage.client();
    client.rows("create temp table t (a int)");
    wait_until("it is seen", || shown(&stage, "OBSERVED").len() == 1);
    let other =
        Stage::new(&Setup { database: "pooling = \"transaction\"".into(), ..pooled(OBSERVE, 2) });
    other.client().rows("create temp table t (a int)");
    assert!(pool(&other).starts_with("transaction 0 0 0"), "{}", pool(&other));
}

#[test]
fn the_environment_says_it_too() {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut setup = pooled("", 1);
    setup.env = vec![variable("PGWEIR_POOLING", "session"), variable("PGWEIR_OBSERVE", "true")];
    let stage = Stage::new(&setup);
    stage.client().rows("select 1");
    assert!(pool(&stage).starts_with("observe "), "{}", pool(&stage));
}
