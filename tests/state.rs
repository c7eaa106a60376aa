//! Session state of each kind, made by plain SQL, inside functions in SQL and in PL/pgSQL and inside DO:
//! it stays its client's, and keeps a server for as long as it must and no longer (docs/semantics.md
//! "Settings" and "Pins"). `make versions` writes the results into docs/transparency.md.

use super::support::*;

/// How a client runs a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Plain,
    SqlFunction,
    PlpgsqlFunction,
    Do,
}

const WAYS: [Way; 4] = [Way::Plain, Way::SqlFunction, Way::PlpgsqlFunction, Way::Do];

/// What a client sends to run the statement of this number in this way.
fn text(way: Way, number: usize, statement: &str) -> String {
    match way {
        Way::Plain => statement.into(),
        Way::SqlFunction => format!("select in_sql_{number}()"),
        Way::PlpgsqlFunction => format!("select in_plpgsql_{number}()"),
        Way::Do => format!("do $do$ begin {}; end $do$", performed(statement)),
    }
}

fn performed(statement: &str) -> String {
    statement.strip_prefix("select ").map_or(statement.into(), |rest| format!("perform {rest}"))
}

/// A pgweir before a database with the functions that the ways need, all of whose servers may be pinned.
fn stage(servers: usize, statements: &[&str], also: &str) -> Stage {
    let database = Cluster::shared().database();
    let mut admin = database.admin();
    if !also.is_empty() {
        admin.rows(also);
    }
    for (number, statement) in statements.iter().enumerate() {
        let performed = performed(statement);
        admin.rows(&format!(
            "create function in_sql_{number}() returns void language sql as $f$ {statement} $f$; \
             create function in_plpgsql_{number}() returns void language plpgsql as \
             $f$ begin {performed}; end $f$"
        ));
    }
    Stage::on(database, &Setup::servers(servers).tables("[pins]\nmax_pinned = \"100%\""))
}

fn pinned(stage: &Stage, count: usize, what: &str) {
    let expected = count as f64;
    let is = || (stage.weir.metric("pgweir_clients_pinned", "") - expected).abs() < 0.5;
    wait_until(&format!("{count} pinned: {what}"), is);
}

/// Pins begun so far. Asked after another statement, since a pin may be found behind the reply.
fn pins(stage: &Stage, client: &mut Raw) -> u64 {
    client.rows("select 1");
    stage.weir.metric("pgweir_pins_total", "") as u64
}

fn show(client: &mut Raw, name: &str) -> String {
    client.value(&format!("select coalesce(current_setting('{name}', true), '')"))
}

/// Names, values that PostgreSQL shows as they are, and what another client sees.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("TimeZone", "Asia/Tokyo", ""),
    ("work_mem", "7MB", ""),
    ("search_path", "pg_catalog, public", ""),
    ("app.tenant", "A", ""),
    ("role", "app", "none"),
];

#[test]
fn a_setting_stays_its_clients_however_it_was_set() {
    let sets =
        SETTINGS.map(|(name, value, _)| format!("select set_config('{name}', '{value}', false)"));
    let stage = stage(1, &sets.each_ref().map(String::as_str), "");
    let mut other = stage.client();
    let defaults = SETTINGS.map(|(name, _, _)| show(&mut other, name));
    for (number, (name, value, _)) in SETTINGS.into_iter().enumerate() {
        let texts = WAYS.map(|way| text(way, number, &sets[number]));
        for text in texts.into_iter().chain([format!("set {name} to {}", quoted(name, value))]) {
            let mut client = stage.client();
            client.rows(&text);
            assert_eq!(show(&mut other, name), defaults[number], "another client, after {text}");
            assert_eq!(show(&mut client, name), value, "its own client, after {text}");
        }
    }
    assert_eq!(pins(&stage, &mut other), 0);
}

#[test]
fn a_sign_may_stand_right_behind_the_equals_sign() {
    let stage = stage(1, &[], "");
    let mut other = stage.client();
    for (name, value) in [("extra_float_digits", "-3"), ("my.x", "-5")] {
        let default = show(&mut other, name);
        let mut client = stage.client();
        client.rows(&format!("set {name}={value}"));
        assert_eq!(show(&mut other, name), default);
        assert_eq!(show(&mut client, name), value);
    }
    assert_eq!(pins(&stage, &mut other), 0);
}

/// As SET takes it: names of schemas by themselves.
fn quoted(name: &str, value: &str) -> String {
    if name == "search_path" { value.into() } else { format!("'{value}'") }
}

#[test]
fn a_bound_set_config_stays_its_clients() {
    let stage = stage(1, &[], "");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.ask(&[parse("", "select set_config($1, $2, false)"), sync()].concat());
    for (name, value, _) in SETTINGS {
        let default = show(&mut other, name);
        let mut bound = parse("", "select set_config($1, $2, false)");
        bound.extend([bind("", "", &[Some(name), Some(value)]), execute("", 0), sync()].concat());
        let said = client.ask(&bound);
        assert!(said.contains("C[SELECT 1]") && said.ends_with("Z[I]"), "{said}");
        assert_eq!(show(&mut other, name), default);
        assert_eq!(show(&mut client, name), value);
    }
}

#[test]
fn what_a_transaction_undoes_is_not_kept() {
    let set = "select set_config('work_mem', '7MB', false)";
    let stage = stage(1, &[set], "");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("set work_mem = '5MB'");
    for way in WAYS {
        let set = text(way, 0, set);
        let undone = [
            vec![query("begin"), query(&set), query("rollback")],
            vec![query(&format!("{set}; select 1/0"))],
            vec![[extended(&set), extended("select 1/0"), sync()].concat()],
            vec![query("begin"), query("savepoint s"), query(&set), query("rollback to s; commit")],
            vec![query("begin"), query(&set), query("select 1/0"), query("commit")],
        ];
        for messages in undone {
            for message in &messages {
                client.ask(message);
            }
            assert_ne!(show(&mut other, "work_mem"), "7MB", "{way:?}");
            assert_eq!(show(&mut client, "work_mem"), "5MB", "{way:?}");
        }
    }
}

#[test]
fn a_local_setting_ends_with_its_transaction() {
    let set = "select set_config('work_mem', '9MB', true)";
    let stage = stage(1, &[set], "");
    let (mut client, mut other) = (stage.client(), stage.client());
    for way in WAYS {
        client.rows("begin; set work_mem = '7MB'");
        client.rows(&text(way, 0, set));
        assert_eq!(show(&mut client, "work_mem"), "9MB", "{way:?}");
        client.rows("commit");
        assert_ne!(show(&mut other, "work_mem"), "9MB", "{way:?}");
        assert_eq!(show(&mut client, "work_mem"), "7MB", "{way:?}");
    }
}

#[test]
fn a_reset_gives_the_value_of_the_startup() {
    let resets = ["reset work_mem", "reset all", "discard all"];
    let stage = stage(1, &resets[..2], "");
    let mut client = stage.weir.target().connect_with(&[("work_mem", "6MB")]);
    let mut other = stage.client();
    for (number, reset) in resets.into_iter().enumerate() {
        // DISCARD ALL runs in no function.
        let ways = if number == 2 { &WAYS[..1] } else { &WAYS };
        for way in ways.iter().copied() {
            client.rows("set work_mem = '7MB'");
            other.rows("select 1");
            client.rows(&text(way, number, reset));
            assert_ne!(show(&mut other, "work_mem"), "6MB", "{reset} {way:?}");
            assert_eq!(show(&mut client, "work_mem"), "6MB", "{reset} {way:?}");
        }
    }
}

#[test]
fn a_setting_hidden_anywhere_never_reaches_another_client() {
    let set = "set_config('app.tenant', 'A', false)";
    let stage = stage(
        1,
        &[],
        &format!(
            "create table t (a text default {set}); grant all on t to app; \
             create view v as select {set}; grant all on v to app; \
             create function note() returns trigger language plpgsql as \
             $f$ begin perform {set}; return new; end $f$; \
             create table noted (a int); grant all on noted to app; \
             create trigger note before insert on noted for each row execute function note(); \
             create function sets(a int) returns int language plpgsql as \
             $f$ begin perform {set}; return a; end $f$; \
             create domain narrow as int check (sets(value) = value); \
             create type holding as (a narrow); \
             create view narrowed as select 1::narrow; grant all on narrowed to app; \
             create function takes(a narrow) returns int language plpgsql as 'begin return 1; end'; \
             create function tells() returns xml language sql as \
             $f$ select table_to_xml('v', true, false, '') $f$"
        ),
    );
    let mut other = stage.client();
    for hidden in [
        "insert into t default values".to_owned(),
        format!("with c as materialized (select {set}) select * from c"),
        format!("copy (select {set}) to stdout"),
        format!("explain analyze select {set}"),
        format!("declare c cursor with hold for select {set}; fetch c; close c"),
        "select * from v".to_owned(),
        "insert into noted values (1)".to_owned(),
        "select takes(1)".to_owned(),
        "select '(1)'::holding".to_owned(),
        "select * from narrowed".to_owned(),
        "select tells()".to_owned(),
    ] {
        let mut client = stage.client();
        client.rows(&hidden);
        assert_eq!(show(&mut other, "app.tenant"), "", "after {hidden}");
        assert_eq!(show(&mut client, "app.tenant"), "A", "after {hidden}");
    }
}

#[test]
fn a_wrong_value_is_refused_at_once_in_postgresqls_words() {
    let wrong = "select set_config('work_mem', 'a lot', false)";
    both(|target| {
        let mut client = target.connect();
        let texts = [wrong.to_owned(), "set work_mem = 'a lot'".into(), text(Way::Do, 0, wrong)];
        texts.iter().map(|text| client.ask_in_detail(&query(text))).collect()
    });
}

#[test]
fn values_of_any_kind_reach_the_next_server_as_they_are() {
    let values = [
        ("app.words", r"o'br\ien"),
        ("search_path", r#""$user", "We""ird""#),
        ("TimeZone", "<+05:30>-05:30"),
        ("search_path", r#""""#),
        ("app.words", "naïve — 你好 \t\n"),
    ];
    let stage = stage(2, &[], "");
    let mut holder = stage.client();
    for strings in ["on", "off"] {
        for (name, value) in values {
            let mut client = stage.client();
            client.rows(&format!("set standard_conforming_strings = {strings}"));
            let mut bound = parse("", "select set_config($1, $2, false)");
            bound.extend(
                [bind("", "", &[Some(name), Some(value)]), execute("", 0), sync()].concat(),
            );
            assert!(client.ask(&bound).ends_with("Z[I]"));
            // Whoever comes first takes the server that the client had.
            let had = client.value("select pg_backend_pid()");
            holder.rows("begin");
            let has = client.value("select pg_backend_pid()");
            let shown = show(&mut client, name);
            holder.rows("rollback");
            assert_ne!(had, has, "{name} was not taken to another server");
            assert_eq!(shown, value, "standard_conforming_strings = {strings}");
        }
    }
}

#[test]
fn a_statement_does_not_run_without_the_role_that_its_client_has_set() {
    let stage = stage(
        1,
        &[],
        "create role tenant_of_state; grant tenant_of_state to app; create table t (a text)",
    );
    let mut admin = stage.database.admin();
    admin.rows("grant all on t to app, tenant_of_state");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("set role tenant_of_state");
    assert_eq!(other.value("select current_user"), "app");
    assert_eq!(client.value("select current_user"), "tenant_of_state");
    other.rows("select 1");
    admin.rows("revoke tenant_of_state from app");
    let said = client.ask_in_detail(&query("insert into t values (current_user)"));
    admin.rows("drop owned by tenant_of_state; drop role tenant_of_state");
    assert!(said.contains("E["), "{said}");
    assert_eq!(admin.value("select count(*) from t"), "0");
}

#[test]
fn a_user_who_has_a_role_from_the_start_may_be_without_it_alone() {
    for in_code in [false, true] {
        let stage = stage(
            2,
            &["select set_config('role', 'none', false)"],
            "do $do$ begin create role owner_of_state; exception when duplicate_object then null; end $do$; \
             grant owner_of_state to app",
        );
        let name = stage.database.name();
        stage
            .database
            .admin()
            .rows(&format!("alter role app in database {name} set role = owner_of_state"));
        let (mut client, mut other) = (stage.client(), stage.client());
        client.rows(if in_code { "select in_plpgsql_0()" } else { "set role none" });
        assert_eq!(other.value("select current_user"), "owner_of_state");
        other.rows("begin; select 1");
        assert_eq!(client.value("select current_user"), "app", "on another server, {in_code}");
        other.rows("commit");
        client.rows("begin; select 1");
        assert_eq!(
            other.value("select current_user"),
            "owner_of_state",
            "on another server, {in_code}"
        );
        client.rows("commit; reset role");
        assert_eq!(client.value("select current_user"), "owner_of_state");
        client.rows("set role owner_of_state");
        assert_eq!(client.value("select current_user"), "owner_of_state");
        assert_eq!(pins(&stage, &mut client), 0);
    }
}

#[test]
fn what_must_run_first_or_alone_does_so_behind_settings() {
    let stage = stage(1, &[], "alter role app createdb");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("set work_mem = '7MB'");
    let name = format!("{}_more", stage.database.name());
    let (create, drop) = (format!("create database {name}"), format!("drop database {name}"));
    for texts in [
        ["vacuum pg_catalog.pg_am", "select 1", "select 1"],
        ["begin isolation level serializable", "select 1", "commit"],
        [&create, &drop, "select 1"],
        ["begin", "set transaction isolation level serializable", "commit"],
    ] {
        other.rows("select 1");
        for text in texts {
            client.rows(text);
        }
    }
    assert_eq!(show(&mut client, "work_mem"), "7MB");
    stage.database.admin().rows("alter role app nocreatedb");
}

#[test]
fn a_value_that_postgresql_spells_otherwise_is_set_once() {
    let stage = stage(1, &[], "");
    let mut client = stage.weir.target().connect_with(&[("DateStyle", "iso")]);
    let count = "select coalesce(sum((to_jsonb(p) ->> 'generic_plans')::int + \
         (to_jsonb(p) ->> 'custom_plans')::int), 0) \
         from pg_prepared_statements p where starts_with(name, '__pgweir_set')";
    let first = client.value(count);
    for _ in 0..100 {
        client.rows("select 1");
    }
    assert_eq!(client.value(count), first);
}

#[test]
fn a_placeholder_of_another_client_has_no_value() {
    let stage = stage(1, &[], "");
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("set app.x = 'mine'");
    assert_eq!(show(&mut other, "app.x"), "");
}

/// What pins, what of it ends it again.
const PINNING: [(&str, &str); 5] = [
    ("create temp table t (a int)", "drop table t"),
    ("create temp view v as select 1 as a", "drop view v"),
    ("create type pg_temp.e as enum ('x')", "drop type pg_temp.e"),
    ("select pg_advisory_lock(75)", "select pg_advisory_unlock(75)"),
    ("prepare p as select 1", "deallocate p"),
];

#[test]
fn state_that_cannot_travel_pins_however_it_was_made_until_it_is_gone() {
    let statements: Vec<&str> = PINNING.iter().flat_map(|(make, drop)| [*make, *drop]).collect();
    let stage = stage(2, &statements, "");
    let (mut client, mut other) = (stage.client(), stage.client());
    for (kind, (make, drop)) in PINNING.into_iter().enumerate() {
        for way in WAYS {
            client.rows(&text(way, 2 * kind, make));
            pinned(&stage, 1, &format!("{make} {way:?}"));
            let pid = client.value("select pg_backend_pid()");
            other.rows("select 1");
            assert_eq!(client.value("select pg_backend_pid()"), pid, "{make} {way:?}");
            client.rows(&text(way, 2 * kind + 1, drop));
            pinned(&stage, 0, &format!("{drop} {way:?}"));
        }
    }
}

#[test]
fn a_table_made_by_select_pins_and_so_does_a_function_of_ones_own() {
    let stage = stage(2, &[], "");
    let mut client = stage.client();
    client.rows("select 1 as a into temp t");
    pinned(&stage, 1, "SELECT INTO");
    client.rows("drop table t");
    pinned(&stage, 0, "dropped");
    client.rows("create function pg_temp.f() returns int language sql as 'select 1'");
    pinned(&stage, 1, "a function in pg_temp");
    assert_eq!(client.value("select pg_temp.f()"), "1");
    client.rows("drop function pg_temp.f()");
    pinned(&stage, 0, "dropped");
}

#[test]
fn what_ends_with_its_transaction_pins_nobody() {
    let statements = [
        "create temp table t (a int) on commit drop",
        "select pg_advisory_xact_lock(76)",
        "create temp table u as select 1 as a",
    ];
    let stage = stage(1, &statements, "");
    let (mut client, mut other) = (stage.client(), stage.client());
    for (number, statement) in statements.into_iter().enumerate() {
        let end = if number == 2 { "rollback" } else { "commit" };
        for way in WAYS {
            client.rows("begin");
            client.rows(&text(way, number, statement));
            client.rows(end);
            // There is one server: it is free.
            other.rows("select 1");
        }
    }
    client.rows("begin; declare c cursor for select 1; fetch c; commit");
    client.ask(&query("begin; create temp table w (a int); select 1/0"));
    client.rows("rollback");
    other.rows("select 1");
    assert_eq!(pins(&stage, &mut other), 0);
}

#[test]
fn an_advisory_lock_pins_as_often_as_it_was_taken() {
    let lock = "select pg_advisory_lock(77)";
    let stage = stage(2, &[lock], "");
    for way in WAYS {
        let mut client = stage.client();
        client.rows(&text(way, 0, lock));
        client.rows(&text(way, 0, lock));
        client.rows("select pg_advisory_unlock(77)");
        client.rows("select 1");
        pinned(&stage, 1, "unlocked once of twice");
        client.rows("select pg_advisory_unlock(77)");
        pinned(&stage, 0, "unlocked");
        client.rows("begin");
        client.rows(&text(way, 0, lock));
        client.rows("rollback");
        pinned(&stage, 1, "a lock of the session outlives a rollback");
        client.rows("select pg_advisory_unlock_all()");
        pinned(&stage, 0, "all unlocked");
    }
}

#[test]
fn a_held_cursor_and_a_prepared_statement_work_until_they_are_closed() {
    let stage = stage(1, &[], "");
    let mut client = stage.client();
    client.rows("begin; declare c cursor with hold for values (1), (2), (3); commit");
    assert_eq!(client.value("fetch c"), "1");
    assert_eq!(client.ask(&[execute("c", 1), sync()].concat()), "D(2) s Z[I]");
    client.rows("close c");
    pinned(&stage, 0, "closed");
    client.rows("prepare p (int) as select $1 + 1");
    pinned(&stage, 1, "prepared");
    assert_eq!(client.value("execute p (4)"), "5");
    client.rows("deallocate p");
    pinned(&stage, 0, "deallocated");
}

#[test]
fn numbers_of_sequences_are_never_another_clients() {
    let draws = ["insert into t default values", "select nextval('numbers')"];
    let stage = stage(
        2,
        &draws,
        "create table t (id serial); create sequence numbers; grant all on t to app; \
         grant all on all sequences in schema public to app",
    );
    for (number, draw) in draws.into_iter().enumerate() {
        for way in WAYS {
            let (mut client, mut other) = (stage.client(), stage.client());
            client.rows(&text(way, number, draw));
            other.rows(&text(way, number, draw));
            let others = other.ask(&query("select lastval()"));
            let own = client.ask(&query("select lastval()"));
            assert!(own.contains("55000") || own.contains("D("), "{draw} {way:?}: {own}");
            assert!(own.contains("55000") || own != others, "{draw} {way:?}: {own}");
        }
    }
}

#[test]
fn a_server_is_clean_behind_a_client_that_leaves() {
    let makes: Vec<&str> = PINNING.iter().map(|(make, _)| *make).collect();
    let stage = stage(1, &makes, "");
    let left = "select (select count(*) from pg_locks where locktype = 'advisory' and \
         pid = pg_backend_pid()) + (select count(*) from pg_class where relnamespace = pg_my_temp_schema()) \
         + (select count(*) from pg_type where typnamespace = pg_my_temp_schema()) \
         + (select count(*) from pg_prepared_statements where from_sql)";
    for (kind, make) in makes.iter().enumerate() {
        for way in WAYS {
            let mut client = stage.client();
            client.rows(&text(way, kind, make));
            let pid = client.value("select pg_backend_pid()");
            client.send(&terminate());
            let mut other = stage.client();
            assert_eq!(other.value(left), "0", "{make} {way:?}");
            assert_eq!(other.value("select pg_backend_pid()"), pid, "{make} {way:?}");
        }
    }
}
