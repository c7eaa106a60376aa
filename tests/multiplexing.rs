//! Many clients on few servers, whatever state they have had: what is dropped keeps no server.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::support::{Cluster, Raw, Setup, Weir, bind, close, execute, parse, query, sync};

/// What makes state of one kind, and what drops it again.
const KINDS: [(&str, &str); 16] = [
    ("set timezone = 'Asia/Tokyo'", "reset timezone"),
    ("set work_mem = '7MB'", "reset work_mem"),
    ("select set_config('work_' || 'mem', '8MB', false)", "reset all"),
    ("set app.tenant = 'a'", "reset app.tenant"),
    ("set role app", "reset role"),
    ("set session authorization app", "reset session authorization"),
    ("prepare p as select 1", "deallocate p"),
    ("begin; declare held cursor with hold for select 1; commit", "close held"),
    ("create temp table t (a int)", "drop table t"),
    ("create temp view v as select 1 as a", "discard temp"),
    ("create type pg_temp.e as enum ('x')", "drop type pg_temp.e"),
    (
        "select pg_advisory_lock(%), pg_advisory_lock(%)",
        "select pg_advisory_unlock(%), pg_advisory_unlock(%)",
    ),
    ("do $$ begin perform pg_advisory_lock(%); end $$", "select pg_advisory_unlock_all()"),
    ("listen channel", "unlisten channel"),
    ("select nextval('numbers'), currval('numbers')", "discard sequences"),
    ("set work_mem = '9MB'; create temp table u (a int); listen channel", "discard all"),
];

/// One client's way: all kinds of state, beginning with another one each.
fn make_and_drop(client: &mut Raw, number: usize) {
    for at in 0..KINDS.len() {
        let (make, drop) = KINDS[(at + number) % KINDS.len()];
        for text in [make, drop] {
            let text = text.replace('%', &number.to_string());
            let answer = client.ask(&query(&text));
            assert!(answer.ends_with("Z[I]") && !answer.contains("E["), "{text}: {answer}");
        }
    }
    let named = [parse("s", "select $1::int"), sync()].concat();
    let used = [bind("", "s", &[Some("5")]), execute("", 0), close('S', "s"), sync()].concat();
    assert_eq!(client.ask(&named), "1 Z[I]");
    assert_eq!(client.ask(&used), "2 D(5) C[SELECT 1] 3 Z[I]");
}

/// A transaction that takes a moment, in which everything must be as in a new session.
fn transact(client: &mut Raw, fresh: &[Vec<Option<String>>]) {
    client.rows("begin");
    assert_eq!(client.rows(STATE), fresh);
    client.rows("commit");
}

#[test]
fn clients_that_have_dropped_their_state_share_the_servers_again() {
    let database = Cluster::shared().database();
    let mut admin = database.admin();
    admin.rows("create sequence numbers; grant usage on sequence numbers to app");
    let fresh = database.target().connect().rows(STATE);
    let all = "[pins]\nmax_pinned = \"100%\"";
    let setup = Setup::servers(SERVERS).timeouts("checkout = \"60s\"").tables(all);
    let weir = Weir::start(&database, &setup);
    let dropped = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (weir, dropped, fresh) = (&weir, &dropped, &fresh);
            scope.spawn(move || {
                let mut client = weir.target().connect();
                client.patience = Duration::from_mins(1);
                make_and_drop(&mut client, number);
                dropped.wait();
                for _ in 0..10 {
                    transact(&mut client, fresh);
                }
                // All stay connected until the last is done.
                dropped.wait();
            });
        }
    });
    let servers = "select count(*) from pg_stat_activity \
         where usename = 'app' and datname = current_database()";
    assert_eq!(admin.value(servers), SERVERS.to_string());
}

/// PostgreSQL refuses `temp_buffers` where temporary tables were used (`runtime-config-resource.html`).
#[test]
fn a_server_that_cannot_take_a_clients_settings_is_replaced() {
    let database = Cluster::shared().database();
    let weir = Weir::start(&database, &Setup::servers(2));
    let [mut client, mut busy, mut other] = [(); 3].map(|()| weir.target().connect());
    client.rows("set temp_buffers = '9MB'");
    busy.rows("begin");
    other.rows("create temp table t as select 1 as a");
    other.rows("drop table t");
    assert_eq!(client.value("show temp_buffers"), "9MB");
    let closed = weir.metric("pgweir_servers_closed_total", "reason=\"broken\"");
    assert!((closed - 1.0).abs() < f64::EPSILON, "{closed} servers were closed");
}

const STATE: &str = "select current_setting('work_mem'), current_setting('timezone'), current_user, \
     coalesce(current_setting('app.tenant', true), ''), pg_sleep(0.01)::text, \
     (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
     (select count(*) from pg_class where relnamespace = pg_my_temp_schema()), \
     (select count(*) from pg_cursors where name <> ''), \
     (select count(*) from pg_prepared_statements where from_sql)";

const SERVERS: usize = 3;
const CLIENTS: usize = 24;
