//! Transactions and their errors, logins, tables, COPY, and what drivers send between two users.

use super::super::program::{Area, Message};
use super::{Generator, Maker, Piece, anyone, holder, own, sql};

pub(super) const MAKERS: &[Maker] = &[
    holder(Area::Transaction, "begin", 14, |g| sql(g.pick(BEGINS))),
    holder(Area::Transaction, "end", 8, |g| sql(g.pick(ENDS))),
    holder(Area::Transaction, "savepoint", 8, |g| sql(g.pick(SAVEPOINTS))),
    anyone(Area::Transaction, "fail", 5, |g| sql(g.pick(FAILURES))),
    holder(Area::Transaction, "pipeline that fails", 2, failing_pipeline),
    anyone(Area::Login, "log in again", 1, |_| Piece::Login),
    anyone(Area::Table, "write", 4, |g| {
        let text = g.pick(WRITES);
        sql(own(g, text))
    }),
    anyone(Area::Table, "read", 3, |g| {
        sql(own(g, "select count(*), min(b), max(a) from public.own_%"))
    })
    .look(),
    holder(Area::Table, "fail at commit", 2, |g| {
        sql(own(g, "insert into public.deferred_% values (3), (3)"))
    }),
    anyone(Area::Copy, "copy in", 3, copy_in),
    anyone(Area::Copy, "copy out", 2, |g| {
        sql(own(g, "copy (select a, b from public.own_% order by a, b) to stdout"))
    })
    .look(),
    anyone(Area::Discard, "discard or reset", 5, |g| sql(g.pick(DISCARDS))),
    anyone(Area::Discard, "a driver's reset", 5, |g| {
        Piece::Messages(vec![Message::Query(g.pick(RESETS).to_owned())])
    }),
];

const BEGINS: &[&str] = &[
    "begin",
    "begin",
    "begin",
    "start transaction isolation level repeatable read",
    "begin read only",
    "begin isolation level serializable",
];

const ENDS: &[&str] = &[
    "commit",
    "rollback",
    "commit and chain",
    "rollback and chain",
    "commit and no chain",
    "end",
    "abort",
];

const SAVEPOINTS: &[&str] = &[
    "savepoint s",
    "savepoint s",
    "savepoint t",
    "rollback to s",
    "rollback to s",
    "rollback to t",
    "release s",
];

const FAILURES: &[&str] = &[
    "select 1 / 0",
    "selec",
    "select nosuch from pg_class",
    "select 1; selec",
    "do $$ begin raise exception 'on purpose'; end $$",
    "select 'x'::int",
];

const WRITES: &[&str] = &[
    "insert into public.own_% values (1, 'one')",
    "insert into public.own_% select g, 'many' from generate_series(1, 5) g",
    "update public.own_% set b = 'new' where a = 1",
    "delete from public.own_% where a > 3",
    "insert into public.own_% values (2, 'two') returning a, b",
    "insert into public.own_% values ('x', 'bad')",
];

const DISCARDS: &[&str] = &[
    "discard all",
    "discard all",
    "discard temp",
    "discard plans",
    "discard sequences",
    "reset all",
    "close all",
    "unlisten *",
    "deallocate all",
    "deallocate prepare all",
    "select pg_advisory_unlock_all()",
];

/// asyncpg's; Npgsql's with and without prepared statements; psycopg's; others'.
const RESETS: &[&str] = &[
    "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
    "DISCARD ALL",
    "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;\
     SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP",
    "DEALLOCATE ALL",
    "ROLLBACK; DISCARD ALL",
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; \
     SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES",
];

/// A setting is changed in a segment that then fails, or before another that does not.
fn failing_pipeline(g: &mut Generator) -> Piece {
    let set = g.pick(&[
        "set work_mem = '2MB'",
        "set local work_mem = '3MB'",
        "select set_config('app.tenant', 'B', false)",
        "set timezone = 'Asia/Tokyo'",
        "select pg_try_advisory_lock(3)",
        "select nextval('public.seq_0')",
    ]);
    let run = |text: &str| {
        [Message::Parse("", text.into()), Message::Bind("", "", vec![]), Message::Execute("", 0)]
    };
    let mut messages = run(set).to_vec();
    if g.below(3) == 0 {
        messages.push(Message::Sync);
    }
    messages.extend(run(g.pick(&["select 1 / 0", "selec", "select 2"])));
    messages.extend(run("select 3"));
    messages.push(Message::Sync);
    if g.below(2) == 0 {
        messages.extend(run("show work_mem"));
        messages.push(Message::Sync);
    }
    Piece::Messages(messages)
}

fn copy_in(g: &mut Generator) -> Piece {
    let data = g.pick(&["1\tcopied\n2\tcopied\n", "bad\trow\n", "", "3\t\\N\n"]);
    let text = own(g, "copy public.own_% from stdin");
    let end = if g.below(5) == 0 { Message::CopyFail } else { Message::CopyDone };
    if g.below(2) == 0 {
        return Piece::Messages(vec![Message::Query(text), Message::CopyData(data), end]);
    }
    Piece::Messages(vec![
        Message::Parse("", text),
        Message::Bind("", "", vec![]),
        Message::Execute("", 0),
        Message::CopyData(data),
        end,
        Message::Sync,
    ])
}
