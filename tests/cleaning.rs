//! What clients leave on their servers is gone before the next gets them (docs/semantics.md "Cleaning").

use super::support::*;

/// Which server it is, and all that could be left of an earlier client.
const LEFT: &str = "select pg_backend_pid() || ' ' || \
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) || ' ' || \
    (select count(*) from pg_class where relpersistence = 't') || ' ' || \
    (select count(*) from pg_cursors where is_holdable) || ' ' || \
    (select count(*) from pg_prepared_statements where from_sql) || ' ' || current_user";

fn cleans(stage: &Stage, kind: &str, expected: f64) {
    let labels = format!("kind=\"{kind}\"");
    wait_until(&format!("{expected} {kind}"), || {
        (stage.weir.metric("pgweir_cleans_total", &labels) - expected).abs() < 0.5
    });
}

#[test]
fn nothing_is_left_of_a_pinned_client_that_leaves() {
    let stage = Stage::new(&Setup::servers(1));
    stage.database.admin().rows("create role leaver; grant leaver to app");
    for (prepare, kind) in [("", "soft_reset"), ("prepare p as select 1", "discard_all")] {
        let mut one = stage.client();
        let server = one.value("select pg_backend_pid()");
        one.rows("create temp table t (a int)");
        one.rows("begin; declare c cursor with hold for select 1; commit");
        one.rows("select pg_advisory_lock(1), pg_advisory_lock(1)");
        one.rows(prepare);
        one.rows("set role leaver");
        one.send(&terminate());
        one.rest();
        assert_eq!(stage.client().value(LEFT), format!("{server} 0 0 0 0 app"));
        cleans(&stage, kind, 1.0);
    }
}

#[test]
fn a_server_that_its_reset_leaves_unclean_is_closed() {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    let server = one.value("select pg_backend_pid()");
    // Nothing shows what this does, and the client is gone before the server can be asked.
    let hidden = "do $$ begin execute 'pre' || 'pare p as select 1'; end $$";
    one.send(&[query(hidden), terminate()].concat());
    one.rest();
    let left = stage.client().value(LEFT);
    let (next, left) = left.split_once(' ').expect("a process and what is left");
    assert_eq!(left, "0 0 0 0 app");
    assert_ne!(next, server);
    cleans(&stage, "unclean", 1.0);
}

#[test]
fn statements_survive_a_soft_reset() {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    one.rows("set work_mem = '7MB'");
    one.ask(&[parse("a", "select 'survivor'"), sync()].concat());
    one.send(&[query("select pg_advisory_lock(1)"), terminate()].concat());
    one.rest();
    let kept = "select count(*) from pg_prepared_statements where statement like '%survivor'''";
    assert_eq!(stage.client().value(kept), "1");
}
