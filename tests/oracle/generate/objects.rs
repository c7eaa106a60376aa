//! What lives in a session beside its settings: temporary objects, locks, cursors, SQL-prepared
//! statements, notifications, sequences; and functions, triggers, defaults, views and rules that
//! make any of it.

use super::super::program::{Area, Message};
use super::{Generator, Maker, Piece, anyone, holder, own, sql};

pub(super) const MAKERS: &[Maker] = &[
    holder(Area::Temporary, "make a temporary object", 6, |g| sql(g.pick(TEMPORARY))),
    holder(Area::Temporary, "use a temporary object", 8, |g| sql(g.pick(USE_TEMPORARY))).look(),
    holder(Area::Temporary, "drop a temporary object", 3, |g| sql(g.pick(DROP_TEMPORARY))),
    // A server that has had temporary tables refuses it.
    anyone(Area::Temporary, "set the temporary buffers", 2, |g| {
        sql(g.pick(&["set temp_buffers = '2MB'", "set temp_buffers = '9MB'"]))
    }),
    anyone(Area::Temporary, "show the temporary buffers", 2, |_| sql("show temp_buffers")).look(),
    holder(Area::Temporary, "table in pg_temp by search_path", 1, |g| {
        let text = "set search_path = pg_temp, public; create table made_path_% (a int)";
        Piece::Messages(vec![Message::Query(own(g, text))])
    }),
    holder(Area::Advisory, "take a lock", 6, take_lock),
    holder(Area::Advisory, "give a lock back", 5, unlock),
    anyone(Area::Advisory, "list one's locks", 5, |_| sql(LOCKS)).look(),
    anyone(Area::Advisory, "lock for a transaction", 2, |g| {
        sql(g.pick(&[
            "select pg_try_advisory_xact_lock(1)",
            "select pg_try_advisory_xact_lock_shared(2)",
        ]))
    }),
    holder(Area::Listen, "listen", 5, |g| sql(g.pick(LISTENS))),
    anyone(Area::Listen, "notify", 6, notify).look(),
    anyone(Area::Listen, "list channels", 1, |_| sql("select pg_listening_channels() order by 1"))
        .look(),
    anyone(Area::Sequence, "draw a number", 6, |g| {
        let text = g.pick(DRAWS);
        sql(own(g, text))
    }),
    holder(Area::Sequence, "ask for the last number", 4, |g| {
        let text = g.pick(&["select currval('public.seq_%')", "select lastval()"]);
        sql(own(g, text))
    })
    .look(),
    holder(Area::Sequence, "draw and ask at once", 3, |g| {
        let text = g.pick(DRAW_AND_ASK);
        sql(own(g, text))
    }),
    anyone(Area::Sequence, "draw from the shared sequence", 2, |_| {
        sql("select nextval('public.shared_seq') > 0")
    }),
    holder(Area::SqlPrepared, "prepare", 5, |g| sql(g.pick(PREPARES))),
    holder(Area::SqlPrepared, "execute", 6, |g| sql(g.pick(EXECUTES))).look(),
    holder(Area::SqlPrepared, "deallocate", 3, |g| sql(g.pick(DEALLOCATES))),
    anyone(Area::SqlPrepared, "list statements", 2, |_| {
        sql("select name, statement, from_sql from pg_prepared_statements order by 2, 1")
    })
    .look(),
    holder(Area::Cursor, "declare", 4, |g| sql(g.pick(DECLARES))),
    holder(Area::Cursor, "hold at once", 4, |g| {
        sql(g.pick(&[
            "declare held_b cursor with hold for select id from public.lookup order by id",
            "declare held_a scroll cursor with hold for select g from generate_series(1, 9) g",
        ]))
    }),
    holder(Area::Cursor, "fetch", 7, |g| sql(g.pick(FETCHES))).look(),
    holder(Area::Cursor, "close", 2, |g| {
        sql(g.pick(&["close held_a", "close held_b", "close all"]))
    }),
    holder(Area::Cursor, "list cursors", 2, |_| {
        sql("select name, is_holdable, is_scrollable from pg_cursors where name <> '' order by 1")
    })
    .look(),
    holder(Area::Hidden, "hide state in a function", 10, |g| {
        let text = g.pick(HIDDEN);
        sql(own(g, text))
    }),
    holder(Area::Hidden, "see hidden state", 8, |g| sql(g.pick(SEE_HIDDEN))).look(),
];

const TEMPORARY: &[&str] = &[
    "create temp table tt_0 (a int)",
    "create temporary table tt_1 as select 7 as a",
    "create temp table tt_0 (a int) on commit drop",
    "create temp table tt_1 (a int) on commit delete rows",
    "create table pg_temp.tt_2 (a int)",
    "select 5 as a into temp tt_2",
    "select 6 as a into temporary table tt_0",
    "create temp view tv as select 1 as a",
    "create view made_view as select a from tt_0",
    "create temp sequence ts",
    "create function pg_temp.tf() returns int language sql as 'select 11'",
    "create type pg_temp.ty as enum ('x', 'y')",
    "create domain pg_temp.td as int check (value > 0)",
    "create local temp table if not exists tt_1 (a int)",
    "do $$ begin create temp table tt_0 (a int); end $$",
    "create type pg_temp.tc as (a int)",
    "create unlogged table pg_temp.tt_1 (a serial)",
];

const USE_TEMPORARY: &[&str] = &[
    "select count(*), max(a) from tt_0",
    "select count(*), max(a) from tt_1",
    "select count(*), max(a) from tt_2",
    "insert into tt_0 values (1)",
    "insert into tt_1 values (2) returning a",
    "select a from tv",
    "select nextval('ts')",
    "select pg_temp.tf()",
    "select 'x'::pg_temp.ty",
    "select 0::pg_temp.td",
    "select count(*) from made_view",
    "select count(*) from pg_class where relnamespace = pg_my_temp_schema() and relkind in ('r', 'v', 'S')",
];

const DROP_TEMPORARY: &[&str] = &[
    "drop table tt_0",
    "drop table if exists tt_1, tt_2",
    "drop view tv",
    "drop function pg_temp.tf()",
    "drop type pg_temp.ty",
    "discard temp",
    "drop table tt_0 cascade",
];

const LOCKS: &str = "select classid, objid, objsubid, mode from pg_locks \
                     where locktype = 'advisory' and pid = pg_backend_pid() order by 1, 2, 3, 4";

fn take_lock(g: &mut Generator) -> Piece {
    let function = g.pick(&["pg_try_advisory_lock", "pg_try_advisory_lock_shared"]);
    let shared = g.below(3);
    sql(match g.below(8) {
        0 => own(g, "select pg_try_advisory_lock(1, %)"),
        // Nobody else takes it, so that this never waits.
        1 => own(g, "select pg_advisory_lock(10%)"),
        2 => format!("begin; select {function}({shared}); rollback"),
        _ => format!("select {function}({shared})"),
    })
}

fn unlock(g: &mut Generator) -> Piece {
    let key = g.below(3);
    sql(match g.below(6) {
        0 => own(g, "select pg_advisory_unlock(1, %)"),
        1 => own(g, "select pg_advisory_unlock(10%)"),
        2 => format!("select pg_advisory_unlock_shared({key})"),
        3 => "select pg_advisory_unlock_all()".to_owned(),
        _ => format!("select pg_advisory_unlock({key})"),
    })
}

const LISTENS: &[&str] = &[
    "listen ch_a",
    "listen ch_b",
    "listen \"Ch C\"",
    "unlisten ch_a",
    "unlisten *",
    "begin; listen ch_b; rollback",
    "begin; listen ch_a; commit",
];

fn notify(g: &mut Generator) -> Piece {
    let payload = g.below(1000);
    let channel = g.pick(&["ch_a", "ch_a", "ch_b", "\"Ch C\""]);
    sql(match g.below(5) {
        0 => format!("select pg_notify('{}', '{payload}')", channel.replace('"', "")),
        1 => format!("notify {channel}"),
        _ => format!("notify {channel}, '{payload}'"),
    })
}

const DRAWS: &[&str] = &[
    "select nextval('public.seq_%')",
    "select setval('public.seq_%', 50)",
    "insert into public.serial_% (a) values (1)",
    "insert into public.serial_% (a) values (1), (2) returning id",
    "insert into public.serial_% default values",
    "insert into public.serial_% (id, a) values (70, 1)",
    "insert into public.serial_% (a) select 1 where false",
    "insert into public.own_% (a) select 1 where false",
];

const DRAW_AND_ASK: &[&str] = &[
    "select nextval('public.seq_%'), currval('public.seq_%'), lastval()",
    "insert into public.serial_% (a) values (9); select lastval()",
    "begin; insert into public.serial_% (a) values (9); select currval('public.serial_%_id_seq'); commit",
];

const PREPARES: &[&str] = &[
    "prepare p as select 'p one'",
    "prepare p as select 'p two'",
    "prepare q (int) as select $1 + 1",
    "prepare \"P q\" as select word from public.lookup where id = 1",
    "begin; prepare q (int) as select $1 * 2; rollback",
    "prepare a as select 'a by SQL'",
];

const EXECUTES: &[&str] = &[
    "execute p",
    "execute q (4)",
    "execute \"P q\"",
    "execute a",
    "execute b",
    "execute a ('x')",
    "execute c (2)",
    "explain (costs off) execute p",
];

const DEALLOCATES: &[&str] = &[
    "deallocate p",
    "deallocate prepare q",
    "deallocate \"P q\"",
    "deallocate all",
    "deallocate a",
    "deallocate nobody",
];

const DECLARES: &[&str] = &[
    "begin; declare held_a cursor with hold for select id from public.lookup order by id; commit",
    "begin; declare held_a cursor with hold for select 1; rollback",
    "declare plain cursor for select id from public.lookup order by id",
    "begin; declare plain cursor for select 1; fetch plain; commit",
];

const FETCHES: &[&str] = &[
    "fetch held_a",
    "fetch 2 from held_b",
    "fetch all from held_a",
    "move 1 from held_b",
    "fetch first from held_a",
    "fetch plain",
];

const HIDDEN: &[&str] = &[
    "select public.hide_set('work_mem', '2MB')",
    "select public.hide_set('app.tenant', 'A')",
    "select public.hide_set_pl('statement_timeout', '44s')",
    "select public.hide_set_pl('app.tenant', 'B')",
    "select public.hide_deep('work_mem', '6MB')",
    "select public.hide_set_fixed()",
    "select public.hide_temp('tt_0')",
    "select public.hide_temp('tt_1')",
    "select public.hide_temp_sql()",
    "select public.hide_lock(1)",
    "select public.hide_lock_pl(2)",
    "select public.hide_next('public.seq_%')",
    "select public.hide_listen()",
    "select public.hide_notify('hidden')",
    "select public.hide_cursor()",
    "select public.hide_role('r1')",
    "call public.hide_proc('called')",
    "select public.hide_any('set work_mem = ''12MB''')",
    "select public.hide_any('prepare p as select 3')",
    "select public.hide_any('deallocate all')",
    "select public.hide_any('create temp table tt_1 as select 4 as a')",
    "do $$ begin perform public.hide_set('work_mem', '11MB'); end $$",
    "do $$ begin perform pg_try_advisory_lock(3); end $$",
    "do $$ begin perform nextval('public.seq_%'); end $$",
    "insert into public.trig_% values ('C')",
    "insert into public.defs_% (a) values (1)",
    "insert into public.ruled_% values (1)",
    "select * from public.hide_view",
    "with w as (insert into public.trig_% values ('B') returning v) select v from w",
];

const SEE_HIDDEN: &[&str] = &[
    "show work_mem",
    "show statement_timeout",
    "select tenant, secret from public.tenants order by secret",
    "select nullif(current_setting('app.tenant', true), ''), nullif(current_setting('app.user', true), '')",
    "select count(*) from tt_0",
    "select count(*) from tt_1",
    LOCKS,
    "select lastval()",
    "fetch held_a",
    "select current_user",
    "notify ch_a, 'who hears'",
];
