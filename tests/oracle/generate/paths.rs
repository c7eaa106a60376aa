//! What the names of texts stand for, which statements of one text are then about different things. Programs are about
//! it only where that is asked for (`PGWEIR_ORACLE_FOCUS=path`).

use super::super::program::{Area, Message};
use super::{Maker, Piece, anyone, holder, sql};

pub(super) const MAKERS: &[Maker] = &[
    anyone(Area::Path, "set a path for the transaction", 5, |g| {
        let path = g.pick(PATHS);
        sql(match g.below(4) {
            0 => format!("begin; set local search_path = {path}"),
            1 => format!("begin; select set_config('search_path', '{path}', true)"),
            2 => format!("set local search_path = {path}"),
            _ => format!("begin; set local role r1; set local search_path = {path}"),
        })
    }),
    anyone(Area::Path, "set a path", 2, |g| sql(format!("set search_path = {}", g.pick(PATHS)))),
    anyone(Area::Path, "reset the path", 2, |_| sql("reset search_path")),
    holder(Area::Path, "shadow a table", 2, |g| {
        let columns = g.pick(&["id text, word int", "id int", "id int, word text"]);
        sql(format!("create temp table lookup ({columns})"))
    }),
    holder(Area::Path, "shadow a table for the transaction", 2, |_| {
        sql("begin; create temp table lookup (id text) on commit drop")
    }),
    // `IF EXISTS` would tell a temporary schema that is empty from one that is not there.
    holder(Area::Path, "drop the shadow", 3, |g| {
        sql(g.pick(&[
            "discard temp",
            "do $$ begin if to_regclass('pg_temp.lookup') is not null then drop table pg_temp.lookup; end if; end $$",
        ]))
    }),
    anyone(Area::Path, "parse what has names and run it", 8, |g| {
        let (name, text) = (g.pick(NAMES), g.pick(TEXTS));
        let mut messages = vec![Message::Close('S', name), Message::Parse(name, text.into())];
        messages.extend(run(name, text));
        Piece::Messages(messages)
    })
    .look(),
    anyone(Area::Path, "run what has names", 4, |g| {
        let (name, text) = (g.pick(NAMES), g.pick(TEXTS));
        Piece::Messages(run(name, text))
    }),
];

/// Bind, Execute and Sync; with one value if the text wants one.
fn run(name: &'static str, text: &str) -> Vec<Message> {
    let values = if text.contains("$1") { vec![Some("02".to_owned())] } else { vec![] };
    vec![Message::Bind("", name, values), Message::Execute("", 0), Message::Sync]
}

const PATHS: &[&str] = &["other, public", "apart, public", "public, other", "apart"];

const NAMES: &[&str] = &["p", "q"];

const TEXTS: &[&str] = &[
    "select * from lookup order by 1",
    "select count(*) from lookup where id::text = $1",
    "select current_schemas(false)::text, count(*) from lookup",
];
