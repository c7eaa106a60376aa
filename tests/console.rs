//! The SQL console: the database `pgweir` (docs/console.md).

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clients::{command, printed, script, tool};
use super::support::events::{Event, detailed, line};
use super::support::*;

/// A word that stands in constants only.
const SECRET: &str = "hunter2";

fn setup(servers: usize) -> Setup {
    let guest = "[users.guest]\npassword = \"guest\"";
    Setup::servers(servers).tables(&format!("[admin]\nusers = [\"app\"]\n{guest}"))
}

fn console(stage: &Stage) -> Target {
    Target { database: "pgweir".into(), ..stage.weir.target() }
}

/// All that was said, hints too.
fn said(events: &[Event]) -> String {
    let bodies = events.iter().map(|event| match event {
        Event::Message(_, body) => String::from_utf8_lossy(body).into_owned(),
        Event::Eof | Event::Silence => String::new(),
    });
    bodies.collect()
}

/// The cells of one table, rows between lines and columns between `|`.
fn shown(stage: &Stage, sql: &str) -> String {
    psql(&console(stage), &[], sql)
}

#[test]
fn psql_shows_who_is_pinned_why_and_by_what() {
    let stage = Stage::new(&setup(3));
    let mut client = stage.weir.target().connect_with(&[("application_name", "billing")]);
    assert_eq!(shown(&stage, "SHOW PINS"), "");
    client.rows(&format!("create temp table basket (owner text default '{SECRET}')"));
    wait_until("the pin is shown", || !shown(&stage, "SHOW PINS").is_empty());
    let pins = shown(&stage, "SHOW PINS");
    let cells: Vec<_> = pins.split('|').collect();
    let server = client.value("select pg_backend_pid()");
    let expected = ["app", stage.database.name(), "billing", &server, "temp_object", "basket"];
    assert_eq!(cells[1..7], expected, "{pins}");
    assert_eq!(cells[9], "create temp table basket (owner text default ?)");
    let reasons = shown(&stage, "SHOW PIN_REASONS");
    assert!(reasons.starts_with("temp_object|billing|1|1|"), "{reasons}");
    assert!(shown(&stage, "SHOW CLIENTS").contains("|pinned|"));
    client.rows("drop table basket");
    wait_until("the pin is gone", || shown(&stage, "SHOW PINS").is_empty());
    let reasons = shown(&stage, "SHOW PIN_REASONS");
    assert!(reasons.starts_with("temp_object|billing|1|0|"), "{reasons}");
    assert!(!stage.weir.log().contains(SECRET));
}

/// Of the client of this application: state, class and server, and for how many seconds it has been so.
fn client_shown(stage: &Stage, application: &str) -> ([String; 3], f64) {
    let clients = shown(stage, "SHOW CLIENTS");
    let rows = clients.lines().map(|row| row.split('|').map(str::to_owned).collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row[8] == application);
    let row = row.unwrap_or_else(|| panic!("no {application} in {clients}"));
    ([row[5].clone(), row[9].clone(), row[10].clone()], row[7].parse().expect("seconds"))
}

#[test]
fn clients_show_who_holds_a_server_and_since_when() {
    let class = "[[classes]]\nname = \"jobs\"\napplication_name = \"job*\"";
    let stage = Stage::new(&setup(2).tables(class));
    let mut client = stage.weir.target().connect_with(&[("application_name", "job 1")]);
    let is = |application: &str, state: &str, server: &str| {
        wait_until(&format!("{application} is {state}"), || {
            let expected = [state, "jobs", server].map(str::to_owned);
            client_shown(&stage, application).0 == expected
        });
    };
    is("job 1", "idle", "");
    client.rows("begin");
    let server = client.value("select pg_backend_pid()");
    is("job 1", "idle in transaction", &server);
    let (_, before) = client_shown(&stage, "job 1");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (_, after) = client_shown(&stage, "job 1");
    assert!(after >= before + 0.3, "{before}, {after}");
    client.send(&query("select pg_sleep(1)"));
    is("job 1", "active", &server);
    client.ready(1);
    client.rows("set application_name = 'job 2'; commit");
    is("job 2", "idle", "");
    // Without a Sync the transaction is as open.
    client.send(&[parse("", "select 1"), bind("", "", &[]), execute("", 0), flush()].concat());
    client.until('C');
    wait_until("it holds a server", || client_shown(&stage, "job 2").0[0] == "idle in transaction");
    client.ask(&sync());
    client.rows("create temp table kept ()");
    wait_until("it is pinned", || client_shown(&stage, "job 2").0[0] == "pinned");
    assert_ne!(client_shown(&stage, "job 2").0[2], "");
    client.send(&query("select pg_sleep(1)"));
    wait_until("it is at work", || client_shown(&stage, "job 2").0[0] == "active");
    client.ready(1);
    wait_until("it is pinned again", || client_shown(&stage, "job 2").0[0] == "pinned");
}

/// The id of the only client that is not at the console.
fn client_id(stage: &Stage) -> String {
    let clients = shown(stage, "SHOW CLIENTS");
    let mut rows = clients.lines().filter(|row| !row.contains("|console|"));
    let id = rows.next().and_then(|row| row.split('|').next());
    id.expect("the client").to_owned()
}

#[test]
fn kill_ends_a_client_and_its_transaction_wherever_it_is() {
    let stage = Stage::new(&setup(1));
    stage.database.admin().rows("create table t (a int)");
    stage.database.admin().rows("grant all on t to app");
    let mut admin = console(&stage).connect();
    let told = |client: &mut Raw| line(&client.rest());
    let mut idle = stage.client();
    assert_eq!(admin.ask(&query(&format!("kill {}", client_id(&stage)))), "C[KILL] Z[I]");
    assert_eq!(told(&mut idle), "E[FATAL 57P01] EOF");
    drop(idle);
    wait_until("it is gone", || !shown(&stage, "SHOW CLIENTS").contains("|idle"));

    let mut idle = stage.client();
    idle.rows("begin; insert into t values (1)");
    admin.ask(&query(&format!("kill {}", client_id(&stage))));
    assert_eq!(told(&mut idle), "E[FATAL 57P01] EOF");
    drop(idle);
    wait_until("it is gone", || !shown(&stage, "SHOW CLIENTS").contains("|idle"));

    let mut busy = stage.client();
    busy.send(&query("insert into t values (2); select pg_sleep(60)"));
    wait_until("it is at work", || shown(&stage, "SHOW CLIENTS").contains("|active|"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    let id = client_id(&stage);
    admin.ask(&query(&format!("kill {id}")));
    assert_eq!(told(&mut busy), "E[FATAL 57P01] EOF");

    // The only server is free, and nothing was committed.
    assert_eq!(stage.client().value("select count(*) from t"), "0");
    wait_until("it is gone", || !shown(&stage, "SHOW CLIENTS").contains(&id));
    admin.send(&query(&format!("kill {id}")));
    let answer = detailed(&admin.ready(1));
    assert!(answer.contains("42704") && answer.contains(&id), "{answer}");
    let log = stage.weir.log();
    assert!(log.contains(&format!("Kill({id})")));
    let told = log.lines().filter(|line| line.contains("an administrator ends a client"));
    assert_eq!(told.filter(|line| line.contains("address=\"127.0.0.1:")).count(), 3, "{log}");
}

#[test]
fn kill_ends_who_waits_and_who_is_at_the_console() {
    let stage = Stage::new(&setup(1));
    let mut admin = console(&stage).connect();
    let mut holder = stage.client();
    holder.rows("begin");
    let mut waiting = stage.client();
    waiting.send(&query("select 1"));
    let id_of = |state: &str| {
        wait_until(state, || shown(&stage, "SHOW CLIENTS").contains(&format!("|{state}|")));
        let clients = shown(&stage, "SHOW CLIENTS");
        let row =
            clients.lines().find(|row| row.contains(&format!("|{state}|"))).map(str::to_owned);
        row.and_then(|row| row.split('|').next().map(str::to_owned)).expect("the client")
    };
    admin.ask(&query(&format!("kill {}", id_of("waiting"))));
    assert_eq!(line(&waiting.rest()), "E[FATAL 57P01] EOF");
    admin.send(&query(&format!("kill {}", id_of("console"))));
    assert!(line(&admin.rest()).ends_with("E[FATAL 57P01] EOF"));
    holder.rows("commit");
}

/// Of the only server: process, state and client.
fn server_shown(stage: &Stage) -> Vec<String> {
    let servers = shown(stage, "SHOW SERVERS");
    assert_eq!(servers.lines().count(), 1, "{servers}");
    servers.split('|').skip(2).take(3).map(str::to_owned).collect()
}

#[test]
fn servers_show_who_has_them() {
    let stage = Stage::new(&setup(1).top("on_client_gone = \"complete\""));
    let mut client = stage.client();
    let server = client.value("select pg_backend_pid()");
    wait_until("it is idle", || server_shown(&stage) == [&server, "idle", ""]);
    client.rows("begin");
    assert_eq!(server_shown(&stage), [server.clone(), "leased".into(), client_id(&stage)]);
    let row = shown(&stage, "SHOW SERVERS");
    let cells: Vec<_> = row.split('|').collect();
    assert_eq!(cells[..2], [stage.database.name(), "app"]);
    assert_eq!(cells[6..9], ["0", &format!("127.0.0.1:{}", stage.database.cluster().port()), "f"]);
    client.rows("commit");
    wait_until("it is idle again", || server_shown(&stage) == [&server, "idle", ""]);
    let unused = |row: &str| row.split('|').nth(6).and_then(|s| s.parse::<f64>().ok());
    wait_until("nobody uses it", || unused(&shown(&stage, "SHOW SERVERS")) > Some(0.1));
    client.send(&query("select pg_sleep(5)"));
    wait_until("it is at work", || server_shown(&stage)[1] == "leased");
    drop(client);
    wait_until("it is cleaned", || server_shown(&stage) == [&server, "cleaning", ""]);
}

#[test]
fn all_tables_can_be_shown_in_one_session() {
    let stage = Stage::new(&setup(2));
    let _client = stage.client();
    let mut admin = console(&stage).connect();
    for (table, rows) in
        [("PINS", 0), ("PIN_REASONS", 0), ("POOLS", 1), ("CLIENTS", 2), ("VERSION", 1)]
    {
        assert_eq!(admin.rows(&format!("SHOW {table}")).len(), rows, "{table}");
    }
    let help = admin.rows("show help");
    assert!(help.iter().any(|row| row[0].as_deref() == Some("SHOW PINS")), "{help:?}");
    assert!(admin.value("show version").starts_with("pgweir "));
    let pool = admin.rows("show pools").remove(0);
    assert_eq!(pool[0].as_deref(), Some(stage.database.name()));
    assert_eq!(pool[7].as_deref(), Some("2"));
}

#[test]
fn what_the_console_does_not_know_is_refused_with_what_it_knows() {
    let stage = Stage::new(&setup(1));
    let mut admin = console(&stage).connect();
    admin.send(&query(&format!("drop table t; select '{SECRET}'")));
    let answer = said(&admin.ready(1));
    assert!(answer.contains("42601") && answer.contains("SHOW PINS"), "{answer}");
    assert!(!answer.contains(SECRET), "{answer}");
    assert_eq!(admin.ask(&[extended("show secrets"), sync()].concat()), "E[ERROR 42601] Z[I]");
    // What clients say by habit does not disturb it.
    for habit in ["set application_name = 'x'", "begin", "select 1", "commit", "discard all", ""] {
        let answer = admin.ask(&query(habit));
        assert!(!answer.contains("E["), "{habit}: {answer}");
    }
    admin.cancel();
    assert_eq!(admin.rows("show version").len(), 1);
}

#[test]
fn only_admins_get_in_and_only_after_they_have_proved_who_they_are() {
    let stage = Stage::new(&setup(1));
    let guest = console(&stage).as_user("guest", "guest");
    let mut raw = guest.open();
    let seen = said(&raw.log_in(&guest.startup(V3_0, &[]), "guest"));
    assert!(seen.contains("42501") && seen.contains("admin.users"), "{seen}");
    assert!(!stage.weir.log().contains("is at the console"));
    for (user, password) in [("guest", "wrong"), ("app", "wrong"), ("nobody", "x")] {
        let target = console(&stage).as_user(user, password);
        let mut raw = target.open();
        let seen = raw.log_in(&target.startup(V3_0, &[]), password);
        let refusal = line(&seen);
        assert!(refusal.contains("E[FATAL 28P01]"), "{user}: {refusal}");
        assert!(!detailed(&seen).contains("console"), "{user}");
    }
    // The console's own name leads nowhere else.
    assert!(stage.client().value("select current_database()").starts_with("test_"));
}

#[test]
fn a_reader_looks_and_changes_nothing() {
    let readers = "users = [\"app\"]\nreaders = [\"guest\"]";
    let guest = format!("[admin]\n{readers}\n[users.guest]\npassword = \"guest\"");
    let stage = Stage::new(&Setup::servers(2).tables(&guest));
    let mut reader = console(&stage).as_user("guest", "guest").connect();
    assert_eq!(reader.rows("show version").len(), 1);
    assert_eq!(reader.ask(&query("set timezone = 'UTC'")), "C[SET] Z[I]");
    for change in ["set max_servers = 5", "pause", "kill 1", "reload", "reset max_servers"] {
        assert_eq!(reader.ask(&query(change)), "E[ERROR 42501] Z[I]", "{change}");
        let said = reader.ask(&[extended(change), sync()].concat());
        assert!(said.ends_with("E[ERROR 42501] Z[I]"), "{change}: {said}");
    }
    let held = reader.rows("show config");
    let is_kept = |row: &Vec<Option<String>>| row[2].as_deref() == Some("f");
    assert!(held.iter().all(is_kept) && stage.client().value("select 1") == "1");
    // What a reader may do follows the configuration.
    stage.weir.reload(|old| old.replace(readers, "users = [\"app\", \"guest\"]"));
    wait_until("it may", || reader.ask(&query("set max_servers = 1")) == "C[SET] Z[I]");
    stage.weir.reload(|old| old.replace("[\"app\", \"guest\"]", "[\"app\"]"));
    assert_eq!(line(&reader.rest()), "E[FATAL 57P01] EOF");
}

#[test]
fn databases_show_what_is_there_of_each() {
    let stage = Stage::new(&setup(2));
    let name = stage.database.name().to_owned();
    let port = stage.database.cluster().port();
    let more = format!(
        "[databases.other]\nhost = \"localhost\"\nport = {port}\ndbname = \"{name}\"\nuser = \"app\"\n\
         pooling = \"session\"\nmax_servers = \"50%\"\ntls = \"disable\"\n"
    );
    stage.weir.reload(|old| format!("{old}\n{more}"));
    wait_until("it is taken", || shown(&stage, "show databases").lines().count() > 1);
    let mut clients = [stage.client(), stage.client()];
    clients[0].rows("begin");
    let all = shown(&stage, "show databases");
    let expected = format!("other|localhost|{port}|{name}|app|disable|session|50%|0|0|0|f");
    assert!(all.lines().any(|line| line == expected), "{all}");
    let used = format!("{name}|127.0.0.1|{port}|{name}||disable|transaction|2|2|1|1|f");
    assert!(all.lines().any(|line| line == used), "{all}");
    clients[0].rows("commit");
    shown(&stage, &format!("pause {name}"));
    let paused = format!("{name}|127.0.0.1|{port}|{name}||disable|transaction|2|2|1|0|t");
    let all = shown(&stage, "show databases");
    assert!(all.lines().any(|line| line == paused), "{all}");
}

#[test]
fn without_admins_there_is_no_console() {
    let stage = Stage::new(&Setup::servers(1));
    let target = console(&stage);
    let seen = line(&target.open().log_in(&target.startup(V3_0, &[]), &target.password));
    assert!(seen.ends_with("E[FATAL 3D000] EOF"), "{seen}");
}

#[test]
fn a_database_of_the_consoles_name_is_refused_beside_it() {
    let stage = Stage::new(&setup(1));
    stage.client();
    stage.weir.reload(|old| format!("{old}\n[databases.pgweir]\nhost = \"x\"\n"));
    wait_until("it is refused", || stage.weir.log().contains("this is the name of the console"));
}

#[test]
fn the_console_is_there_when_all_seats_are_taken_and_ends_with_pgweir() {
    let mut stage = Stage::new(&setup(1).limits("max_clients = 1"));
    let _client = stage.client();
    let mut admin = console(&stage).connect();
    assert_eq!(admin.rows("show clients").len(), 2);
    stage.weir.reload(|old| old.replace("users = [\"app\"]", "users = [\"guest\"]"));
    assert_eq!(line(&admin.rest()), "E[FATAL 57P01] EOF");
    stage.weir.reload(|old| old.replace("users = [\"guest\"]", "users = [\"app\"]"));
    wait_until("the console is open again", || stage.weir.log().matches("reloaded").count() == 2);
    let mut admin = console(&stage).connect();
    stage.weir.signal("TERM");
    assert_eq!(line(&admin.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
}

#[test]
fn psycopg_reads_the_console_in_both_protocols() {
    let python = tool("venv/bin/python");
    let stage = Stage::new(&setup(2));
    let mut client = stage.client();
    client.rows(&format!("declare kept cursor with hold for select '{SECRET}'"));
    wait_until("the pin is shown", || !shown(&stage, "SHOW PINS").is_empty());
    let mut psycopg = command(Path::new(&python), &console(&stage));
    let seen = printed(psycopg.arg(script("console_psycopg.py")));
    let row = "held_cursor kept declare kept cursor with hold for select ? float";
    assert_eq!(seen[..4], [row; 4], "{seen:#?}");
    assert!(seen[4].starts_with("42601 Commands: SHOW PINS"), "{seen:#?}");
    assert_eq!(seen[5], "1");
}

#[test]
fn no_bytes_at_the_console_harm_pgweir() {
    let stage = Stage::new(&setup(1));
    let mut random = StdRng::seed_from_u64(seed());
    let good = [
        parse("a", "show pins"),
        bind("", "a", &[]),
        describe('S', "a"),
        describe('P', ""),
        execute("", 1),
        close('S', "a"),
        query("begin; show pins"),
        sync(),
    ];
    for _ in 0..number("PGWEIR_TEST_MUTATIONS").unwrap_or(300) {
        let mut admin = console(&stage).connect();
        let mut bytes = Vec::new();
        for _ in 0..8 {
            let mut message = good[random.random_range(0..good.len())].clone();
            let body = message.split_off(5);
            let mut body: Vec<u8> = body[..random.random_range(0..=body.len())].to_vec();
            if !body.is_empty() && random.random_bool(0.5) {
                let at = random.random_range(0..body.len());
                body[at] = random.random();
            }
            bytes.extend(super::support::message(char::from(message[0]), &body));
        }
        admin.send(&[bytes, sync()].concat());
        admin.send(&terminate());
        let seen = admin.rest();
        assert!(seen.iter().any(|event| event.is('Z')), "{seen:?}");
        assert_eq!(seen.last(), Some(&Event::Eof));
    }
    assert_eq!(console(&stage).connect().rows("show version").len(), 1);
}

#[test]
fn a_setting_that_there_is_not_is_refused_by_its_name() {
    let stage = Stage::new(&setup(1));
    let mut admin = console(&stage).connect();
    admin.send(&query("set limits.max_server = 5"));
    let answer = said(&admin.ready(1));
    assert!(
        answer.contains("there is no setting") && answer.contains("limits.max_server"),
        "{answer}"
    );
    assert_eq!(admin.ask(&query("set client_tls.mode = 'off'")), "E[ERROR 42601] Z[I]");
}
