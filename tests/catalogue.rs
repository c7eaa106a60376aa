//! Code that stands in the catalogue: it is found wherever it stands, and reading it is in nobody's way.

use super::support::cluster::major;
use super::support::*;

/// Takes a lock of the session, and gives 1.
const HOLD: &str =
    "create function hold() returns int language sql as 'select 1 from pg_advisory_lock(7)'";

/// The same in what must be immutable, and tables with a row.
const HELD: &str = "create function held(a int) returns int language plpgsql immutable as \
    'begin perform pg_advisory_lock(7); return a; end'; \
    create table with_index (a int); insert into with_index values (2); \
    create table measured (a int); insert into measured values (1)";

/// What stands where, and a text that runs it.
const PLACES: &[(&str, &str)] = &[
    (
        "create table with_default (a int, b int default hold())",
        "insert into with_default values (1)",
    ),
    ("create table with_check (a int check (a = hold()))", "insert into with_check values (1)"),
    ("create domain checked as int check (value = hold())", "select 1::checked"),
    (
        "create table with_checked (a checked); create domain further as checked; create table with_further (a further)",
        "insert into with_checked values (1)",
    ),
    ("select 1", "insert into with_further values (1)"),
    (
        "create domain filled as int default hold(); create table with_filled (a int, b filled)",
        "insert into with_filled values (1)",
    ),
    (
        "create type pair as (a int, b int); create function paired(a int) returns pair language plpgsql as \
         'begin return row(hold(), a)::pair; end'; create cast (int as pair) with function paired(int) as assignment; \
         create table with_pair (a pair)",
        "select 1::pair",
    ),
    ("select 1", "insert into with_pair values (5)"),
    (
        "create function kept() returns void language plpgsql set search_path = pg_temp as \
         'begin execute ''create table kept (a int)''; end'",
        "select kept()",
    ),
    ("create view with_call as select hold()", "table with_call"),
    (
        "create table ruled (a int); create rule also as on insert to ruled do also insert into with_default values (1)",
        "insert into ruled values (1)",
    ),
    (
        "create table triggered (a int); \
         create function nothing() returns trigger language plpgsql as 'begin return new; end'; \
         create trigger sometimes before insert on triggered for each row when (new.a = hold()) \
         execute function nothing()",
        "insert into triggered values (1)",
    ),
    (
        "create table guarded (a int); alter table guarded enable row level security; \
         alter table guarded force row level security; create policy one on guarded using (a = hold())",
        "insert into guarded values (1)",
    ),
    ("create index with_index_a on with_index (held(a))", "insert into with_index values (1)"),
    (
        "create index with_index_b on with_index (a) where held(a) = 2",
        "update with_index set a = 3",
    ),
    ("select 1", "reindex index with_index_a"),
    ("select 1", "analyze"),
    (
        "create table parted (a int) partition by list (held(a)); \
         create table part partition of parted for values in (1)",
        "insert into parted values (1)",
    ),
    ("select 1", "insert into part values (1)"),
    ("create statistics measured_a on held(a), a from measured", "analyze measured"),
    (
        "create function defaulted(a int default hold()) returns int language sql as 'select a'",
        "select defaulted()",
    ),
    ("create function standard() returns int begin atomic select hold(); end", "select standard()"),
];

/// A domain, an aggregate, a cast and so on of code, and texts that name it at most by way of something else.
const DETOURS: &[(&str, &str)] = &[
    (
        "create table split (a int) partition by list (a); \
         create table split_1 partition of split for values in (1); \
         create function on_split() returns trigger language plpgsql as \
         'begin perform held(1); return new; end'; \
         create trigger on_split before insert on split for each row execute function on_split()",
        "insert into split_1 values (1)",
    ),
    (
        "create function step(a int, b int) returns int language plpgsql strict as \
         'begin return held(a) + b; end'; \
         create aggregate moved(int) (sfunc = int4pl, stype = int, initcond = 0, \
         msfunc = step, minvfunc = int4mi, mstype = int, minitcond = 0)",
        "select moved(a) over (order by a rows between 1 preceding and current row) \
         from generate_series(1, 3) a",
    ),
    (
        "create aggregate finished(int) (sfunc = int4pl, stype = int, initcond = 0, \
         msfunc = int4pl, minvfunc = int4mi, mstype = int, minitcond = 0, mfinalfunc = held)",
        "select finished(a) over (order by a rows between 1 preceding and current row) \
         from generate_series(1, 3) a",
    ),
    (
        "create domain narrow as int check (held(value) = value); \
         create function takes(a narrow) returns int language plpgsql as 'begin return 1; end'",
        "select takes(1)",
    ),
    (
        "create function gives() returns narrow language plpgsql as 'begin return 1; end'",
        "select gives()",
    ),
    (
        "create function puts(out a narrow, out b int) language plpgsql as 'begin a = 1; b = 1; end'",
        "select puts()",
    ),
    ("create table listed (a narrow[])", "insert into listed values ('{1}')"),
    ("create type holding as (a narrow)", "select '(1)'::holding"),
    (
        "create table nested (a holding[])",
        "insert into nested values (array['(1)'::text]::holding[])",
    ),
    ("create domain lists as narrow[]", "select '{1}'::lists"),
    ("create type spans as range (subtype = narrow)", "select '[1,2]'::spans"),
    ("select 1", "select jsonb_populate_record(null::listed, '{\"a\": [1]}')"),
    ("select 1", "select jsonb_populate_recordset(null::nested, '[{\"a\": [{\"a\": 1}]}]')"),
    (
        "create table plain (a int); insert into plain values (1); \
         create view narrowed as select a::narrow from plain",
        "table narrowed",
    ),
    ("create table ready (a int default 1::narrow)", "insert into ready default values"),
    (
        "create domain nearer as int check (value::narrow > 0); \
         create function takes_nearer(a nearer) returns int language plpgsql as 'begin return 1; end'",
        "select takes_nearer(1)",
    ),
    (
        "create table keyed (a int); create index on keyed ((a::narrow::int))",
        "insert into keyed values (1)",
    ),
    (
        "create table owned (a int); insert into owned values (1); alter table owned enable row level security; \
         alter table owned force row level security; create policy one on owned using (a::narrow = 1)",
        "select from owned",
    ),
    (
        "create table omitting (a narrow default 1, b int); create view over_it as select b from omitting",
        "insert into over_it values (1)",
    ),
    (
        "create function casts(a int) returns int begin atomic select a::narrow::int; end",
        "select casts(1)",
    ),
    (
        "create type one as (a int); create function to_one(a int) returns one language plpgsql as \
         'begin return row(held(a))::one; end'; create cast (int as one) with function to_one(int) as implicit; \
         create function takes_one(a one) returns int language plpgsql as 'begin return 1; end'",
        "select takes_one(1)",
    ),
    (
        "create function from_one(a one) returns bigint language plpgsql as \
         'begin return held(1); end'; create cast (one as bigint) with function from_one(one) as implicit; \
         create table ones (a one); insert into ones values ('(1)'::one)",
        "select abs(a) from ones",
    ),
    (
        "create function late() returns void language plpgsql set search_path = nonex, pg_temp as \
         'begin create table late (a int); end'",
        "select late()",
    ),
    (
        "create function makes() returns void language plpgsql as 'begin create table made (a int); end'; \
         create function later() returns void language plpgsql set search_path = nonex, pg_temp as \
         'begin perform public.makes(); end'",
        "select later()",
    ),
    (
        "create view settings as select * from pg_settings",
        "update settings set setting = '1024' where name = 'work_mem'",
    ),
    (
        "create view more_settings as table settings",
        "update more_settings set setting = '1024' where name = 'work_mem'",
    ),
    (
        "create function updates() returns void language sql as \
         $$ update pg_catalog.pg_settings set setting = '1024' where name = 'work_mem' $$",
        "select updates()",
    ),
    (
        "create function updates_more() returns void language sql as \
         $$ update only more_settings set setting = '1024' where name = 'work_mem' $$",
        "select updates_more()",
    ),
    (
        "create function tells(a regclass) returns xml language sql as $$ select table_to_xml(a, true, false, '') $$; \
         create schema small; create view small.with_more as select held(1)",
        "select tells((select oid from pg_class where relname = 'with' || '_more')::regclass)",
    ),
    (
        "create function tells_all() returns xml language plpgsql as \
         $$ begin return schema_to_xml('small', true, false, ''); end $$",
        "select tells_all()",
    ),
    ("create view told as select schema_to_xml('small', true, false, '')::text", "table told"),
    ("select 1", "select schema_to_xml('small', true, false, '')"),
];

/// Functions with a body in standard SQL came with 14, as did statistics of expressions.
fn places(
    of: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let is_newer = |made: &str| made.contains("begin atomic") || made.contains("statistics");
    of.iter().filter(move |(made, _)| major() >= 14 || !is_newer(made))
}

fn furnished(setup: &Setup) -> Stage {
    furnished_with(PLACES, setup)
}

fn furnished_with(of: &'static [(&'static str, &'static str)], setup: &Setup) -> Stage {
    let database = Cluster::shared().database();
    let mut owner = database.target().connect();
    owner.rows(HOLD);
    owner.rows(HELD);
    for (made, _) in places(of) {
        owner.rows(made);
    }
    Stage::on(database, setup)
}

#[test]
fn what_code_in_the_catalogue_does_pins() {
    let stage = furnished(&Setup::servers(1).timeouts("checkout = \"1s\""));
    let mut other = stage.client();
    for (_, text) in places(PLACES) {
        wait_until("the server is free", || stage.weir.metric("pgweir_servers", "leased") == 0.0);
        let mut holder = stage.client();
        holder.rows(text);
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{text}: {refused}");
    }
}

/// What code does that does not stand there as it is run.
const HIDDEN: &[&str] = &[
    // Strings whose escapes and quotes are others' letters and comments.
    r"do E'begin\ncreate\ntemp\ntable secret (a int);\nperform\npg_advisory_lock(7);\nend'",
    r"do $$begin execute E'create\ntemp\ntable secret (a int)'; end$$",
    r"do 'begin perform ''--''; create temp table secret (a int); end'",
    r"do $$begin execute 'select ''--'', pg_advisory_lock(7)'; end$$",
    r"select unconforming()",
    r"select escaped()",
    // Functions that are known by name alone, or not at all.
    r"do $$begin perform made_elsewhere(); end$$",
    r"do $$begin perform long(); end$$",
    // Names of which PostgreSQL keeps a part.
    r"select a23456789_123456789_123456789_123456789_123456789_123456789_12345()",
    r"select cut()",
    r"insert into b23456789_123456789_123456789_123456789_123456789_123456789_12345 values (1)",
    // Names of settings that are put together.
    r"select set_config('app.'::text || 'hidden', 'x', false)",
    r"select set_config('app.hid'::text || 'den', 'x', false)",
    r"do $$begin perform set_config('app.'::varchar || 'hidden', 'x', false); end$$",
];

#[test]
fn what_is_not_spelt_out_reaches_nobody_else() {
    let database = Cluster::shared().database();
    let mut owner = database.target().connect();
    let take = "begin perform pg_advisory_lock(7); return null; end";
    for made in [
        r"create function unconforming() returns void language plpgsql set standard_conforming_strings = off as
          $$declare x text; begin x := 'a\'b'; create temp table secret (a int); x := 'c\'d'; end$$",
        r"create function leaky() returns int language sql as 'select 1 from pg_advisory_lock(7)'",
        r#"create function escaped() returns int language plpgsql as 'begin return U&"leak\0079"(); end'"#,
        "create function a23456789_123456789_123456789_123456789_123456789_123456789_123() returns int \
         language sql as 'select 1 from pg_advisory_lock(7)'",
        "create function cut() returns int language plpgsql as \
         'begin return a23456789_123456789_123456789_123456789_123456789_123456789_123456(); end'",
        "create table b23456789_123456789_123456789_123456789_123456789_123456789_123 (a int)",
        &format!("create function taking() returns trigger language plpgsql as '{take}'"),
        "create trigger taking before insert on \
         b23456789_123456789_123456789_123456789_123456789_123456789_123 for each row execute function taking()",
        &format!(
            "create function long() returns int language plpgsql as $$begin {} perform pg_advisory_lock(7); \
             return 1; end$$",
            "perform 1; ".repeat(2_000)
        ),
    ] {
        owner.rows(made);
    }
    let stage = Stage::on(database, &Setup::servers(1).timeouts("checkout = \"300ms\""));
    stage.client().rows("select 1");
    // pgweir has read the catalogue by now.
    owner.rows("create function made_elsewhere() returns int language sql as 'select 1 from pg_advisory_lock(7)'");
    let seen = "select concat(current_setting('app.hidden', true), to_regclass('pg_temp.secret'), \
                (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))";
    for text in HIDDEN {
        let mut one = stage.client();
        one.rows(text);
        let mut other = stage.client();
        let answer = other.ask(&query(seen));
        // Its server is another's for as long as that has something there.
        assert!(
            ["E[ERROR 53300] Z[I]", "T D(0) C[SELECT 1] Z[I]"].contains(&&*answer),
            "{text}: {answer}"
        );
        let own = one.value(seen);
        assert_ne!(own, "0", "{text}");
        one.send(&terminate());
        wait_until("it is gone", || stage.weir.count("pgweir_clients", "") == 1);
        let mut last = String::new();
        wait_until("the server is free", || {
            last = other.ask(&query(seen));
            last != "E[ERROR 53300] Z[I]"
        });
        assert_eq!(last, "T D(0) C[SELECT 1] Z[I]", "{text}");
    }
}

#[test]
fn what_code_does_that_is_reached_by_a_detour_pins() {
    let stage = furnished_with(DETOURS, &Setup::servers(1).timeouts("checkout = \"300ms\""));
    let mut other = stage.client();
    let mut missed = Vec::new();
    for (_, text) in places(DETOURS) {
        wait_until("the server is free", || stage.weir.metric("pgweir_servers", "leased") == 0.0);
        let mut holder = stage.client();
        holder.rows(text);
        let is_pinned = other.ask_in_detail(&query("select 1")).contains("53300");
        if !is_pinned {
            missed.push(*text);
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn the_catalogue_is_read_while_tables_are_locked() {
    let stage = furnished(&Setup::servers(1));
    let mut locking = stage.database.target().connect();
    locking
        .rows("begin; lock table with_default, with_check, with_call, ruled, triggered, guarded");
    let mut client = stage.client();
    for _ in 0..3 {
        // The catalogue is read behind it.
        client.rows("create or replace function other() returns int language sql as 'select 1'");
        assert_eq!(client.value("select other()"), "1");
    }
    locking.rows("commit");
}

#[test]
fn a_burst_on_a_cold_pool_does_not_read_the_catalogue_on_every_server() {
    let stage = Stage::new(&Setup::servers(8));
    let mut clients: Vec<Raw> = (0..8).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.send(&query("begin"));
    }
    for client in &mut clients {
        client.ready(1);
    }
    // Each holds a server now.
    let read = "select count(*) from pg_prepared_statements where name = '__pgweir_catalogue'";
    let readers = clients.iter_mut().filter_map(|client| (client.value(read) == "1").then_some(()));
    let readers = readers.count();
    assert!((1..4).contains(&readers), "{readers} of 8");
}

#[test]
fn code_counts_in_the_transaction_that_makes_it() {
    let harmless = "create or replace function early() returns int language sql as 'select 1'";
    let table = "create table early_table (a int); \
                 create function watch() returns trigger language plpgsql as \
                 'begin perform hold(); return new; end'";
    let locks = "create or replace function early() returns int language sql as 'select hold()'";
    let watches =
        "create trigger watch before insert on early_table for each row execute function watch()";
    let inserts = "insert into early_table values (1)";
    let ways: [&[&str]; 5] = [
        &["begin", locks, "select early()", "commit"],
        &["begin", watches, inserts, "commit"],
        &["begin", &format!("{locks}; {watches}"), inserts, "commit"],
        &[&format!("{locks}; select early()")],
        &[&format!("{watches}; {inserts};")],
    ];
    for way in ways {
        let stage = furnished(&Setup::servers(1).timeouts("checkout = \"1s\""));
        let mut owner = stage.database.target().connect();
        owner.rows(harmless);
        owner.rows(table);
        let (mut holder, mut other) = (stage.client(), stage.client());
        // They are known as they are before.
        holder.rows("select early()");
        holder.rows(inserts);
        assert_eq!(other.value("select 1"), "1");
        for text in way {
            holder.rows(text);
        }
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{way:?}: {refused}");
    }
}

#[test]
fn settings_of_code_that_is_new_to_its_transaction_follow_their_client() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("create function sets() returns text language sql as 'select null::text'");
    client.rows("select sets()");
    client.rows(
        "begin; create or replace function sets() returns text language sql as \
         $$ select set_config('work_mem', '7MB', false) $$; select sets(); commit",
    );
    assert_eq!(other.value("show work_mem"), "4MB");
    assert_eq!(client.value("show work_mem"), "7MB");
}

/// What code runs that it has put together, and that changes no setting of the session.
const EXECUTED: [&str; 8] = [
    "format('update %I set n = n + 1 where a = $1', 'counted') using 1",
    "format('set local app.tenant = %L', 'x')",
    "'set local app.tenant = ''x'''",
    "format('set local role %I', current_user)",
    "format('alter table %I alter a set default 1', 'counted')",
    "format('select 1 offset %s', 0)",
    "format('select ''asset'' from %I', 'pg_class')",
    "replace('update @ set n = 1', '@', 'counted')",
];

#[test]
fn code_that_executes_another_command_than_set_pins_nobody() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"1s\""));
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows("create table counted (a int, n int)");
    for (number, executed) in EXECUTED.into_iter().enumerate() {
        client.rows(&format!(
            "create function executes_{number}() returns void language plpgsql as \
             $f$ begin execute {executed}; end $f$"
        ));
        client.rows(&format!("select executes_{number}()"));
        assert_eq!(other.value("select 1"), "1", "{executed}");
    }
    assert!(stage.weir.metric("pgweir_pins_total", "").abs() < 0.5);
    client.rows(
        "create function sets(name text) returns void language plpgsql as \
         $f$ begin execute format('set app.%I = %L', name, 'mine'); end $f$",
    );
    client.rows("select sets('ten' || 'ant')");
    let refused = other.ask_in_detail(&query("select 1"));
    assert!(refused.contains("53300"), "{refused}");
    assert_eq!(client.value("show app.tenant"), "mine");
}

#[test]
fn settings_of_a_text_that_code_returns_the_rows_of_follow_their_client() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut client, mut other) = (stage.client(), stage.client());
    client.rows(
        "create function gives() returns setof text language plpgsql as $f$ begin \
         return query execute 'select set_config(''app.tenant'', ''mine'', false)'; end $f$",
    );
    client.rows("select gives()");
    assert_eq!(other.value("select coalesce(current_setting('app.tenant', true), '')"), "");
    assert_eq!(client.value("show app.tenant"), "mine");
}

#[test]
fn what_only_names_code_does_not_run_it() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"1s\""));
    let (mut client, mut other) = (stage.client(), stage.client());
    let sets = "create or replace function gf(n text) returns text language sql as \
                $$ select set_config('app.' || n, 'x', false) $$";
    for text in [
        sets,
        "create table ev (a int)",
        "create function on_ev() returns trigger language plpgsql as \
         $$ begin perform gf('a'); return new; end $$",
        "create trigger on_ev before insert on ev for each row execute function on_ev()",
        "create view shown as select * from ev",
        "create view calling as select gf('a')",
        sets,
        "grant execute on function gf(text) to public",
        "comment on function gf(text) is 'it sets'",
        "alter function gf(text) cost 5",
        "revoke execute on function gf(text) from public",
        "select count(*) from ev, shown",
        "select * from ev for update",
        "drop view calling",
        "drop function gf(text)",
        sets,
    ] {
        client.rows(text);
        assert_eq!(other.value("select 1"), "1", "{text}");
    }
    assert!(stage.weir.metric("pgweir_pins_total", "").abs() < 0.5);
    for text in ["insert into shown values (1)", "select gf('a')"] {
        wait_until("the server is free", || stage.weir.metric("pgweir_servers", "leased") == 0.0);
        let mut client = stage.client();
        client.rows(text);
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{text}: {refused}");
        assert_eq!(client.value("show app.a"), "x");
    }
}

/// One more name of a database, with pools of its own.
fn named(alias: &str, database: &Database) -> String {
    let (port, name) = (database.cluster().port(), database.name());
    format!(
        "[databases.{alias}]\nhost = \"127.0.0.1\"\nport = {port}\ndbname = \"{name}\"\n\
         tls = \"disable\"\n"
    )
}

#[test]
fn code_that_changes_in_one_database_is_not_read_in_another() {
    if major() < 14 {
        println!("SKIPPED: this PostgreSQL does not say how often a statement was run");
        return;
    }
    let second = Cluster::shared().database();
    let stage = Stage::new(&Setup::servers(1).tables(&named("second", &second)));
    let other = Target { database: "second".into(), ..stage.weir.target() };
    let (mut busy, mut other) = (stage.client(), other.connect());
    let mut readings = || -> usize {
        let read = "select generic_plans + custom_plans from pg_prepared_statements \
                    where name = '__pgweir_catalogue'";
        other.value(read).parse().expect("a number")
    };
    let before = readings();
    for _ in 0..20 {
        busy.rows("create or replace view busy as select 1");
        readings();
    }
    // It is read once a minute, whatever happens.
    assert!(readings() < before + 10, "{before}");
}

#[test]
fn what_other_pools_of_the_database_make_of_code_counts_at_once() {
    let database = Cluster::shared().database();
    let setup = Setup::servers(1).timeouts("checkout = \"1s\"").tables(&named("again", &database));
    let stage = Stage::on(database, &setup);
    let again = Target { database: "again".into(), ..stage.weir.target() };
    let (mut owner, mut client, mut other) = (stage.client(), again.connect(), again.connect());
    owner.rows(HOLD);
    for round in 0..4 {
        owner.rows("create or replace function early() returns int language sql as 'select 1'");
        client.rows("select early()");
        assert_eq!(other.value("select 1"), "1", "{round}");
        owner.rows("create or replace view busy as select 1");
        owner
            .rows("create or replace function early() returns int language sql as 'select hold()'");
        client.rows("select early()");
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{round}: {refused}");
        client.rows("select pg_advisory_unlock(7)");
    }
}

/// What does nothing, and what becomes of it.
const HARMLESS: &str =
    "create or replace function g() returns int language plpgsql as 'begin return 1; end'";
const LEAKS: &str = "create or replace function g() returns int language plpgsql as \
    $g$ begin perform set_config('app.x', 'secret', false); perform pg_advisory_lock(7); return 1; end $g$";

/// A table that nothing stands behind, and a trigger that does the same.
const QUIET: &str = "create table quiet (a int, b int); create table ddl (text text); \
    create function watch() returns trigger language plpgsql as \
    'begin perform pg_advisory_lock(7); return new; end'";
const WATCH: &str =
    "create trigger watch before insert on quiet for each row execute function watch()";
const INSERT: &str = "insert into quiet values (1)";

/// One server, and its clients, to whom code is known that does nothing yet.
fn unaware(also: &[&str]) -> (Stage, Raw, Raw) {
    let stage = furnished(&Setup::servers(1).timeouts("checkout = \"1s\""));
    let mut owner = stage.database.target().connect();
    for text in [HARMLESS, QUIET].iter().chain(also) {
        owner.rows(text);
    }
    let (mut holder, mut other) = (stage.client(), stage.client());
    for text in ["select g()", INSERT] {
        holder.rows(text);
        assert_eq!(other.value("select 1"), "1");
    }
    (stage, holder, other)
}

/// Code that runs this.
fn running(text: &str) -> String {
    format!("do $do$ begin {text}; end $do$")
}

fn migration(text: &str) -> String {
    format!("create function mig() returns void language plpgsql as $mig$ begin {text}; end $mig$")
}

#[test]
fn code_that_code_makes_counts_at_once() {
    let run = "create function run(text text) returns void language plpgsql as \
               $r$ begin execute text; end $r$";
    let stored = format!("insert into ddl values ('{WATCH}')");
    let procedure = migration(WATCH).replace("function mig() returns void", "procedure mig()");
    let calls = ["select mig()", INSERT];
    let none: [&str; 0] = [];
    let ways: Vec<(Vec<String>, Vec<String>)> = [
        (none.to_vec(), vec![&*running(LEAKS), "select g()"]),
        (none.to_vec(), vec!["begin", &running(LEAKS), "select g()", "commit"]),
        (none.to_vec(), vec![&format!("{}; select g()", running(LEAKS))]),
        (none.to_vec(), vec![&running(WATCH), INSERT]),
        (none.to_vec(), vec![&running(&format!("execute '{WATCH}'")), INSERT]),
        (vec![&migration(WATCH)], calls.to_vec()),
        (vec![&migration("alter table quiet alter b set default hold()")], calls.to_vec()),
        (vec![&migration(&format!("execute '{WATCH}'"))], calls.to_vec()),
        (
            vec![&migration(
                "execute format('alter table %I alter b set default hold()', 'quiet')",
            )],
            calls.to_vec(),
        ),
        (vec![run, &migration(&format!("perform run('{WATCH}')"))], calls.to_vec()),
        (vec![run], vec![&format!("select run('{WATCH}')"), INSERT]),
        (vec![&stored, &migration("execute (select text from ddl)")], calls.to_vec()),
        (vec![&procedure], vec!["call mig()", INSERT]),
    ]
    .into_iter()
    .map(|(also, way)| {
        let own = |texts: Vec<&str>| texts.into_iter().map(String::from).collect();
        (own(also), own(way))
    })
    .collect();
    for (also, way) in ways {
        let also: Vec<_> = also.iter().map(String::as_str).collect();
        let (_stage, mut holder, mut other) = unaware(&also);
        for text in &way {
            holder.rows(text);
        }
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{way:?}: {refused}");
    }
}

#[test]
fn code_that_code_makes_again_and_again_counts_at_once_in_all_pools() {
    let database = Cluster::shared().database();
    database.target().connect().rows(HARMLESS);
    let setup = Setup::servers(1).timeouts("checkout = \"1s\"").tables(&named("again", &database));
    let stage = Stage::on(database, &setup);
    let again = Target { database: "again".into(), ..stage.weir.target() };
    let (mut owner, mut client, mut other) = (stage.client(), again.connect(), again.connect());
    for round in 0..4 {
        owner.rows(&running(HARMLESS));
        for (user, next) in [(&mut client, &mut other), (&mut stage.client(), &mut owner)] {
            user.rows("select g()");
            assert_eq!(next.value("select 1"), "1", "{round}");
        }
        owner.rows(&running(LEAKS));
        client.rows("select g()");
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{round}: {refused}");
        client.rows("select pg_advisory_unlock(7); reset app.x");
    }
}

#[test]
fn code_that_is_sent_ahead_of_its_use_counts() {
    let select = "select g()";
    let bound = [
        parse("made", LEAKS),
        parse("used", select),
        bind("used", "used", &[]),
        bind("made", "made", &[]),
        execute("made", 0),
        execute("used", 0),
        sync(),
    ];
    let ways: [(usize, &[Vec<u8>]); 6] = [
        (2, &[query(LEAKS), query(select)]),
        (2, &[query(&running(LEAKS)), query(select)]),
        (2, &[query(WATCH), query(INSERT)]),
        (2, &[extended(LEAKS), sync(), extended(select), sync()]),
        (1, &[extended(LEAKS), extended(select), sync()]),
        (1, &bound),
    ];
    for (number, (count, way)) in ways.into_iter().enumerate() {
        let (_stage, mut holder, mut other) = unaware(&[]);
        holder.send(&way.concat());
        assert!(!holder.ready(count).iter().any(|event| event.is('E')), "{number}");
        let refused = other.ask_in_detail(&query("select 1"));
        assert!(refused.contains("53300"), "{number}: {refused}");
    }
}

/// What a server has of the code that leaks.
const LEFT: &str = "select coalesce(current_setting('app.x', true), '') || count(*) \
    from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";

#[test]
fn code_that_another_client_replaces_counts_while_the_catalogue_is_read() {
    let stage = furnished(&Setup::servers(2).timeouts("checkout = \"1s\""));
    stage.database.target().connect().rows(
        "do $$ begin for n in 1..1000 loop execute format('create function many_%s() returns int \
         language plpgsql as ''begin return 1; end''', n); end loop; end $$",
    );
    let (mut owner, mut client, mut other) = (stage.client(), stage.client(), stage.client());
    for round in 0..8 {
        owner.rows(HARMLESS);
        client.rows("select g()");
        owner.rows(LEAKS);
        client.rows("select g()");
        // The only other server.
        owner.rows("begin");
        let refused = other.ask_in_detail(&query(LEFT));
        assert!(refused.contains("53300"), "{round}: {refused}");
        owner.rows("commit");
        client.rows("select pg_advisory_unlock(7); reset app.x");
    }
}

#[test]
fn code_that_another_client_replaces_counts_from_its_commit_on() {
    let stage = furnished(&Setup::servers(2).timeouts("checkout = \"1s\""));
    let (mut owner, mut client, mut other) = (stage.client(), stage.client(), stage.client());
    let mut met = 0;
    for round in 0..24 {
        let ends = round % 2 == 0;
        owner.rows(HARMLESS);
        client.rows("select g()");
        if ends {
            owner.rows(&format!("begin; {LEAKS}"));
        }
        owner.send(&query(if ends { "commit" } else { LEAKS }));
        client.rows("select g()");
        owner.ready(1);
        owner.rows("begin");
        let said = other.ask_in_detail(&query(LEFT));
        assert!(said.contains("53300") || said.contains("D(0)"), "{round}: {said}");
        met += usize::from(said.contains("53300"));
        owner.rows("commit");
        client.rows("select pg_advisory_unlock_all(); reset app.x");
    }
    println!("met in {met} of 24");
}

#[test]
fn code_that_code_makes_of_what_nobody_sees_counts_in_other_pools_once_it_was_read() {
    let database = Cluster::shared().database();
    let mut admin = database.target().connect();
    for text in [
        HARMLESS,
        "create table ddl (text text)",
        &format!("insert into ddl values ($ddl$ {LEAKS} $ddl$)"),
        &migration("execute (select text from ddl)"),
    ] {
        admin.rows(text);
    }
    let setup = Setup::servers(1).timeouts("checkout = \"1s\"").tables(&named("again", &database));
    let stage = Stage::on(database, &setup);
    let again = Target { database: "again".into(), ..stage.weir.target() };
    let (mut owner, mut client, mut other) = (stage.client(), again.connect(), again.connect());
    client.rows("select g()");
    assert_eq!(other.value("select 1"), "1");
    owner.rows("select mig()");
    // Behind the reading, which is on the only server.
    owner.rows("select 1");
    client.rows("select g()");
    let refused = other.ask_in_detail(&query("select 1"));
    assert!(refused.contains("53300"), "{refused}");
}
