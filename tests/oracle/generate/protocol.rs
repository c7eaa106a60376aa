//! Statements and portals of the extended protocol, beyond one text sent as Parse, Bind, Execute.

use super::super::program::{Area, Message};
use super::{Generator, Maker, Piece, anyone, holder, own, sql};

pub(super) const MAKERS: &[Maker] = &[
    anyone(Area::Named, "parse a name", 5, |g| {
        let mut messages = vec![Message::Parse(g.pick(NAMES), g.pick(TEXTS).into())];
        if g.below(3) == 0 {
            messages.push(Message::Describe('S', g.pick(NAMES)));
        }
        messages.push(Message::Sync);
        Piece::Messages(messages)
    }),
    anyone(Area::Named, "parse and run a name", 4, |g| {
        let name = g.pick(NAMES);
        let text = g.pick(TEXTS);
        let mut messages = vec![Message::Parse(name, text.into())];
        messages.extend(run(name, text));
        messages.push(Message::Sync);
        Piece::Messages(messages)
    }),
    anyone(Area::Named, "run a name", 8, |g| {
        let mut messages = Vec::new();
        for _ in 0..=g.below(2) {
            messages.extend(run(g.pick(NAMES), g.pick(&["", "$1"])));
        }
        messages.push(Message::Sync);
        Piece::Messages(messages)
    })
    .look(),
    anyone(Area::Named, "describe a name", 2, |g| {
        Piece::Messages(vec![Message::Describe('S', g.pick(NAMES)), Message::Sync])
    }),
    anyone(Area::Named, "close a name", 3, |g| {
        Piece::Messages(vec![Message::Close('S', g.pick(NAMES)), Message::Sync])
    }),
    anyone(Area::Named, "parse with flush", 2, |g| {
        let name = g.pick(NAMES);
        let mut messages = vec![
            Message::Close('S', name),
            Message::Parse(name, "select 'flushed'".into()),
            Message::Describe('S', name),
            Message::Flush,
        ];
        messages.extend(run(name, ""));
        messages.push(Message::Sync);
        Piece::Messages(messages)
    }),
    anyone(Area::Named, "pipeline of names", 3, pipeline),
    anyone(Area::Named, "parse the time", 2, |_| {
        // Its string means the time of the transaction in which it is parsed.
        Piece::Messages(fresh("now", "select 'now'::timestamptz = now()".into()))
    })
    .look(),
    anyone(Area::Named, "parse a known text", 3, |_| {
        Piece::Messages(fresh("known", "select 'known to all'".into()))
    })
    .look(),
    anyone(Area::Reported, "parse a literal", 4, |g| {
        let text = g.pick(&[
            "select extract(epoch from timestamptz '2020-01-01 00:00')::bigint",
            "select date '02/03/2020' - date '2020-01-01'",
        ]);
        Piece::Messages(fresh("literal", text.into()))
    })
    .look(),
    anyone(Area::Shape, "change a table", 4, |g| {
        let column = g.pick(&["a type text", "a type int using 1", "a type bigint using 2"]);
        sql(own(g, &format!("alter table public.shape_% alter {column}")))
    }),
    anyone(Area::Shape, "change a table in code", 2, |g| {
        let column = g.pick(&["a type text", "a type int using 1", "a type bigint using 2"]);
        let text = match g.below(3) {
            0 => format!("do $$ begin alter table public.shape_% alter {column}; end $$"),
            1 => format!("select public.hide_any('alter table public.shape_% alter {column}')"),
            // No text shows this one.
            _ => {
                format!(
                    "select public.hide_any('al' || 'ter table public.shape_% al' || 'ter {column}')"
                )
            }
        };
        sql(own(g, &text))
    }),
    anyone(Area::Shape, "change a table and undo it", 2, |g| {
        let text = own(g, "begin; alter table public.shape_% alter a type numeric; rollback");
        Piece::Messages(vec![Message::Query(text)])
    }),
    anyone(Area::Shape, "parse and read a table that changes", 6, |g| {
        let text = own(g, "select * from public.shape_%");
        Piece::Messages(fresh("shape", text))
    })
    .look(),
    anyone(Area::Unnamed, "parse the unnamed statement", 6, |g| {
        Piece::Messages(vec![
            Message::Parse("", g.pick(TEXTS).into()),
            Message::Describe('S', ""),
            Message::Sync,
        ])
    }),
    anyone(Area::Unnamed, "run the unnamed statement", 8, |g| {
        let mut messages = run("", g.pick(&["", "", "$1"])).to_vec();
        messages.push(Message::Sync);
        Piece::Messages(messages)
    })
    .look(),
    anyone(Area::Unnamed, "run the unnamed statement twice", 1, |g| {
        let mut messages = vec![Message::Parse("", g.pick(TEXTS).into())];
        messages.extend(run("", ""));
        messages.extend(run("", ""));
        messages.push(Message::Sync);
        Piece::Messages(messages)
    }),
    holder(Area::SqlPrepared, "bind a name prepared by SQL", 3, |g| {
        let mut messages = run(g.pick(&["p", "q", "a"]), g.pick(&["", "$1"])).to_vec();
        messages.push(Message::Sync);
        Piece::Messages(messages)
    })
    .look(),
    holder(Area::SqlPrepared, "close a name prepared by SQL", 1, |g| {
        Piece::Messages(vec![Message::Close('S', g.pick(&["p", "q", "a"])), Message::Sync])
    }),
    holder(Area::Cursor, "execute a held cursor", 3, |g| {
        let cursor = g.pick(&["held_a", "held_b"]);
        Piece::Messages(vec![
            Message::Describe('P', cursor),
            Message::Execute(cursor, 2),
            Message::Sync,
        ])
    })
    .look(),
    holder(Area::Cursor, "close a held cursor by message", 1, |g| {
        let cursor = g.pick(&["held_a", "held_b"]);
        Piece::Messages(vec![Message::Close('P', cursor), Message::Sync])
    }),
    anyone(Area::Cursor, "suspend a portal", 3, |g| {
        let portal = g.pick(&["", "c1", "c1"]);
        let text = "select g from generate_series(1, 5) g";
        Piece::Messages(vec![
            Message::Parse("", text.into()),
            Message::Bind(portal, "", vec![]),
            Message::Execute(portal, 2),
            Message::Execute(portal, 1),
            Message::Sync,
        ])
    }),
    anyone(Area::Cursor, "go on with a portal", 3, |_| {
        // Not with the unnamed one: PostgreSQL 15 crashes when that is left from a Query that failed
        // in a transaction.
        Piece::Messages(vec![Message::Execute("c1", 2), Message::Sync])
    })
    .look(),
];

const NAMES: &[&str] = &["a", "b", "c"];

const TEXTS: &[&str] = &[
    "select 'text one'",
    "select 'text two', 2",
    "select $1::text || '!'",
    "select word from lookup where id = $1::int",
    "select extract(epoch from timestamptz '2020-01-01 00:00')::bigint",
    "select date '02/03/2020'",
    "select current_setting('work_mem'), current_user",
    "select 'a\\nb'",
    "select count(*) from tt_0",
    "select nextval('public.shared_seq') > 0",
    "set work_mem = '10MB'",
    "select set_config('app.tenant', $1, false)",
    "selec",
    "",
];

/// Bind and Execute; with one value if the text wants one.
fn run(name: &'static str, text: &str) -> [Message; 2] {
    let values = if text.contains("$1") { vec![Some("2".to_owned())] } else { vec![] };
    [Message::Bind("", name, values), Message::Execute("", 0)]
}

/// A statement that is parsed and run in one segment, and never bound in another.
fn fresh(name: &'static str, text: String) -> Vec<Message> {
    vec![
        Message::Close('S', name),
        Message::Parse(name, text),
        Message::Describe('S', name),
        Message::Bind("", name, vec![]),
        Message::Execute("", 0),
        Message::Sync,
    ]
}

/// Several segments in one write, each of which may fail.
fn pipeline(g: &mut Generator) -> Piece {
    let mut messages = Vec::new();
    for _ in 0..=g.below(3) {
        for _ in 0..=g.below(2) {
            let (name, text) = (g.pick(NAMES), g.pick(TEXTS));
            match g.below(4) {
                0 => messages.push(Message::Parse(name, text.into())),
                1 => messages.push(Message::Close('S', name)),
                _ => messages.extend(run(name, text)),
            }
        }
        messages.push(Message::Sync);
    }
    Piece::Messages(messages)
}
