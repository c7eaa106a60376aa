//! Settings of every kind, roles among them, by every way to change and see them.

use super::super::program::{Area, Message};
use super::{Generator, Maker, Piece, anyone, boss, holder, own, sql};

pub(super) const MAKERS: &[Maker] = &[
    anyone(Area::Reported, "set a reported setting", 6, |g| change(g, REPORTED)),
    anyone(Area::Reported, "show a reported setting", 5, |g| show(g, REPORTED)).look(),
    anyone(Area::Reported, "see a reported setting's effect", 5, |g| sql(g.pick(REPORTED_EFFECTS))).look(),
    anyone(Area::Setting, "set a setting", 6, |g| change(g, UNREPORTED)),
    anyone(Area::Setting, "show a setting", 6, |g| show(g, UNREPORTED)).look(),
    anyone(Area::Setting, "see a setting's effect", 4, |g| sql(g.pick(EFFECTS))).look(),
    anyone(Area::Setting, "set with bound values", 3, |g| bound(g, UNREPORTED)),
    holder(Area::Setting, "set by a computed name", 1, |g| sql(g.pick(COMPUTED))),
    anyone(Area::Setting, "set in an odd place", 2, |g| odd_place(g, UNREPORTED)),
    anyone(Area::Setting, "set an invalid value", 1, |g| sql(g.pick(INVALID))),
    anyone(Area::Setting, "reset all", 1, |_| sql("reset all")),
    anyone(Area::Placeholder, "set a placeholder", 6, |g| change(g, PLACEHOLDERS)),
    anyone(Area::Placeholder, "set a placeholder with bound values", 2, |g| bound(g, PLACEHOLDERS)),
    anyone(Area::Placeholder, "set a placeholder in an odd place", 1, |g| {
        odd_place(g, PLACEHOLDERS)
    }),
    anyone(Area::Placeholder, "show a placeholder", 6, placeholder).look(),
    anyone(Area::Placeholder, "read under row security", 4, |_| {
        sql("select tenant, secret from public.tenants order by secret")
    }).look(),
    anyone(Area::Role, "set role", 5, |g| sql(g.pick(ROLES))),
    anyone(Area::Role, "show the role", 5, |_| {
        sql("select current_user, session_user, current_setting('role')")
    }).look(),
    // No other role may set them.
    boss(Area::Role, "set a superuser's setting", 3, |g| sql(g.pick(SUPERUSERS))),
    boss(Area::Role, "show superusers' settings", 3, |_| {
        sql("select current_setting('track_functions'), current_setting('lo_compat_privileges')")
    }).look(),
    holder(Area::Role, "own something as the role", 1, |g| {
        let text = "create table made_role_% as select 1 as a; \
                    select relowner::regrole from pg_class where relname = 'made_role_%'; \
                    drop table made_role_%";
        Piece::Messages(vec![Message::Query(own(g, text))])
    }),
    anyone(Area::Local, "set local", 5, |g| local(g, UNREPORTED)),
    anyone(Area::Local, "set a reported setting locally", 3, |g| local(g, REPORTED)),
    anyone(Area::Local, "set a placeholder locally", 3, |g| local(g, PLACEHOLDERS)),
    holder(Area::Local, "set transaction", 4, |g| sql(g.pick(SET_TRANSACTION))),
    anyone(Area::Local, "show the transaction", 4, |_| {
        sql(
            "select current_setting('transaction_isolation'), current_setting('transaction_read_only')",
        )
    }).look(),
    holder(Area::Local, "set constraints", 2, |g| {
        sql(g.pick(&["set constraints all immediate", "set constraints all deferred"]))
    }),
    holder(Area::Local, "set after set in one transaction", 2, |g| {
        sql(g.pick(&[
            "begin; set work_mem = '6MB'; set local work_mem = '2MB'; commit",
            "begin; set local work_mem = '2MB'; set work_mem = '6MB'; commit",
            "begin; set app.tenant = 'A'; set local app.tenant = 'B'; commit",
            "begin; set timezone = 'Asia/Tokyo'; set local timezone = 'UTC'; rollback",
            "begin; set work_mem = '6MB'; savepoint s; set work_mem = '8MB'; rollback to s; commit",
        ]))
    }),
];

/// A name, and values as they stand in SET.
type Setting = (&'static str, &'static [&'static str]);

const REPORTED: &[Setting] = &[
    ("TimeZone", &["'UTC'", "'Asia/Tokyo'", "'America/New_York'", "'<+05:30>-05:30'", "default"]),
    ("DateStyle", &["'iso'", "'SQL, DMY'", "'German'", "'Postgres, MDY'", "default"]),
    ("IntervalStyle", &["'iso_8601'", "'postgres'", "'sql_standard'"]),
    ("client_encoding", &["'UTF8'", "'LATIN1'", "'utf-8'"]),
    ("application_name", &["'a'", "'A'", "'o''br\\ien'", "''", "default"]),
    ("standard_conforming_strings", &["on", "off", "on"]),
];

const UNREPORTED: &[Setting] = &[
    ("work_mem", &["'1MB'", "'7MB'", "'64kB'", "4096", "default"]),
    ("statement_timeout", &["0", "'55s'", "'10min'", "123456"]),
    ("lock_timeout", &["'5s'", "'6000ms'"]),
    ("search_path", &["public", "other, public", "\"$user\", \"We\"\"ird\", public", "default"]),
    ("search_path", &["other, public", "pg_catalog", "public, other", "public, pg_temp"]),
    ("extra_float_digits", &["0", "3", "-5"]),
    ("bytea_output", &["'hex'", "'escape'"]),
    ("jit", &["on", "off"]),
    ("enable_seqscan", &["on", "off"]),
    ("row_security", &["on", "off"]),
    ("transform_null_equals", &["on", "off"]),
    ("array_nulls", &["on", "off"]),
    ("default_transaction_isolation", &["'repeatable read'", "'read committed'"]),
    ("default_transaction_read_only", &["on", "off", "off"]),
    ("default_text_search_config", &["'pg_catalog.english'", "'pg_catalog.simple'"]),
    ("client_min_messages", &["'warning'", "'notice'", "'debug1'"]),
    ("xmloption", &["document", "content"]),
    ("temp_buffers", &["'2MB'", "'9MB'"]),
    ("plan_cache_mode", &["'force_generic_plan'", "'auto'"]),
    ("session_replication_role", &["'replica'", "'origin'"]),
];

const PLACEHOLDERS: &[Setting] = &[
    ("app.tenant", &["'A'", "'B'", "'C'", "''"]),
    ("app.tenant", &["'A'", "'B'", "default"]),
    ("app.user", &["'ann'", "'bob'", "'o''neill'"]),
    ("my.\"Mixed\"", &["'x'", "'y'"]),
    // The role has a value for it.
    ("app.level", &["'high'", "''", "default"]),
];

const REPORTED_EFFECTS: &[&str] = &[
    "select timestamptz '2020-01-01 00:00+00', date '2020-02-03', interval '1 day 2 hours'",
    "select extract(epoch from timestamptz '2020-01-01 00:00')",
    "select date '02/03/2020'",
    "select chr(233)",
    "select 'a\\nb'",
];

const EFFECTS: &[&str] = &[
    "select word from lookup order by id",
    "select 1.0::float8 / 3, '\\x61ff'::bytea",
    "select 0.1::float8 + 0.2::float8",
    "select count(*) from lookup where (word = null) is null",
    "select array_to_string('{a,NULL}'::text[], ',', '*')",
    "select to_tsvector('the cats')",
    "select current_schemas(false)",
    "select with_set_clause(), current_setting('work_mem')",
    "select name, setting from pg_settings where name in ('work_mem', 'statement_timeout') order by name",
    "do $$ begin raise notice 'noticed'; end $$",
];

const COMPUTED: &[&str] = &[
    "select set_config('work_' || 'mem', '3MB', false)",
    "select set_config(word, '3MB', false) from (values ('work_mem')) as t (word)",
    "select set_config('app.' || 'tenant', 'B', false)",
    "do $$ begin execute 'set statement_timeout = ' || 33000; end $$",
    "do $$ begin perform set_config('work_mem', '4MB', false); end $$",
    "do $$ begin set search_path = other; end $$",
];

const INVALID: &[&str] = &[
    "set work_mem = 'bogus'",
    "set timezone = 'No/Where'",
    "set nosuch_setting = 1",
    "set statement_timeout = -5",
    "set server_version = '1'",
    "set client_encoding = 'nonsense'",
    "select set_config('work_mem', '1', false)",
    "set shared_buffers = '1MB'",
];

const ROLES: &[&str] = &[
    "set role r1",
    "set role r2",
    "set role none",
    "reset role",
    "set session role r1",
    "set local role r2",
    "select set_config('role', 'r1', false)",
    "select set_config('role', 'none', false)",
    "set role nobody_at_all",
    "set role postgres",
    "set session authorization app",
    "reset session authorization",
];

const SUPERUSERS: &[&str] = &[
    "set track_functions = 'pl'",
    "set track_functions = 'all'",
    "set lo_compat_privileges = on",
    "set lo_compat_privileges = off",
];

const SET_TRANSACTION: &[&str] = &[
    "set transaction isolation level repeatable read",
    "set transaction read only",
    "set transaction read write",
    "set session characteristics as transaction isolation level repeatable read",
    "set session characteristics as transaction read only",
    "set session characteristics as transaction read write",
];

/// As `set_config` takes it: without quotes, unless they are part of it.
fn plain(name: &str, value: &str) -> Option<String> {
    match value {
        "default" => None,
        quoted if quoted.starts_with('\'') => Some(quoted[1..quoted.len() - 1].replace("''", "'")),
        other => Some(other.to_owned()),
    }
    .filter(|_| name != "my.\"Mixed\"")
}

fn literal(value: Option<&str>) -> String {
    value.map_or("null".into(), |text| format!("'{}'", text.replace('\'', "''")))
}

fn change(g: &mut Generator, from: &[Setting]) -> Piece {
    let (name, values) = g.pick(from);
    let value = g.pick(values);
    let as_text = literal(plain(name, value).as_deref());
    let quoted = name.replace('"', "");
    sql(match g.below(14) {
        0..=4 => format!("set {name} = {value}"),
        5 | 6 => format!("set session {name} to {value}"),
        7 | 8 => format!("select set_config('{quoted}', {as_text}, false)"),
        9 => format!(
            "select 1, set_config('{quoted}', {as_text}, false), current_setting('{quoted}', true)"
        ),
        10 | 11 => format!("reset {name}"),
        12 => alias(g).to_owned(),
        _ => format!("set {name} to default"),
    })
}

fn alias(g: &mut Generator) -> &'static str {
    g.pick(&[
        "set time zone 'Asia/Tokyo'",
        "set time zone local",
        "set time zone -3.5",
        "set time zone interval '+02:00' hour to minute",
        "set names 'LATIN1'",
        "set names default",
        "set schema 'other'",
        "set xml option document",
        "set session characteristics as transaction read write",
    ])
}

fn local(g: &mut Generator, from: &[Setting]) -> Piece {
    let (name, values) = g.pick(from);
    let value = g.pick(values);
    let as_text = literal(plain(name, value).as_deref());
    let quoted = name.replace('"', "");
    sql(match g.below(4) {
        0 => format!("select set_config('{quoted}', {as_text}, true)"),
        _ => format!("set local {name} = {value}"),
    })
}

fn show(g: &mut Generator, from: &[Setting]) -> Piece {
    let (name, _) = g.pick(from);
    sql(match g.below(3) {
        0 => format!("select current_setting('{}', true)", name.replace('"', "")),
        _ => format!("show {name}"),
    })
}

fn placeholder(g: &mut Generator) -> Piece {
    let (name, _) = g.pick(PLACEHOLDERS);
    let quoted = name.replace('"', "");
    sql(match g.below(4) {
        0 => format!("show {name}"),
        1 => format!("select nullif(current_setting('{quoted}', true), '')"),
        _ => format!("select current_setting('{quoted}', true)"),
    })
}

fn bound(g: &mut Generator, from: &[Setting]) -> Piece {
    let (name, values) = g.pick(from);
    let value = plain(name, g.pick(values));
    let name = name.replace('"', "");
    let statement = g.pick(&["", "", "setter"]);
    let (text, values) = match g.below(3) {
        0 => (format!("select set_config('{name}', $1, false)"), vec![value]),
        1 => ("select set_config($1, $2, false)".to_owned(), vec![Some(name), value]),
        _ => {
            ("select set_config($2, $1, $3)".to_owned(), vec![value, Some(name), Some("f".into())])
        }
    };
    Piece::Messages(vec![
        Message::Close('S', statement),
        Message::Parse(statement, text),
        Message::Bind("", statement, values),
        Message::Execute("", 0),
        Message::Sync,
    ])
}

fn odd_place(g: &mut Generator, from: &[Setting]) -> Piece {
    let (name, values) = g.pick(from);
    let value = literal(plain(name, g.pick(values)).as_deref());
    let name = name.replace('"', "");
    let call = format!("set_config('{name}', {value}, false)");
    sql(match g.below(7) {
        0 => format!("with w as (select {call} as v) select v from w"),
        1 => format!("copy (select {call}) to stdout"),
        2 => format!(
            "explain (analyze, costs off, buffers off, timing off, summary off) select {call}"
        ),
        3 => format!("select pg_catalog.{call}"),
        4 => own(g, &format!("insert into public.own_% values (1, {call})")),
        5 => format!("select \"set_config\" ('{name}' /* a */ , {value}, false)"),
        _ => format!("values (1, {call})"),
    })
}
