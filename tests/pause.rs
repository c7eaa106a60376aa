//! Pools that are paused at the console, and what their clients see of it.

use std::time::Duration;

use super::support::events::line;
use super::support::*;

fn stage(servers: usize, timeouts: &str) -> Stage {
    let admin = "[admin]\nusers = [\"app\"]\nhttp_token = \"open sesame\"";
    Stage::new(&Setup::servers(servers).timeouts(timeouts).tables(admin))
}

fn console(stage: &Stage) -> Raw {
    let mut target = stage.weir.target();
    target.database = "pgweir".into();
    target.connect()
}

fn backends(stage: &Stage) -> usize {
    let name = stage.database.name();
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{name}' and usename = 'app'"
    );
    stage.database.admin().value(&sql).parse().expect("a number")
}

fn waiting(stage: &Stage) -> u64 {
    stage.weir.count("pgweir_clients_waiting", "")
}

fn is_paused(stage: &Stage) -> bool {
    stage.weir.count("pgweir_pool_paused", "") == 1
}

/// A pause that waits for the transaction of a client.
fn pausing() -> (Stage, Raw, Raw) {
    let stage = stage(2, "");
    let mut working = stage.weir.target().connect();
    working.rows("begin");
    let mut console = console(&stage);
    console.send(&query("pause"));
    wait_until("it is paused", || is_paused(&stage));
    (stage, working, console)
}

#[test]
fn a_pause_waits_for_transactions_closes_servers_and_makes_clients_wait() {
    let stage = stage(3, "");
    let mut working = stage.weir.target().connect();
    assert_eq!(working.ask(&query("begin")), "C[BEGIN] Z[T]");
    let mut idle = stage.weir.target().connect();
    idle.rows("select 1");
    let mut console = console(&stage);
    console.send(&query("pause"));
    wait_until("the idle server is closed", || backends(&stage) == 1);
    assert!(console.within(Duration::from_millis(200)).is_empty(), "a transaction is open");
    idle.send(&query("select 2"));
    wait_until("it waits", || waiting(&stage) == 1);
    // Who comes now is let in, and waits as well.
    let mut newcomer = stage.weir.target().connect();
    newcomer.send(&query("select 3"));
    wait_until("both wait", || waiting(&stage) == 2);
    assert_eq!(working.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(line(&console.ready(1)), "C[PAUSE] Z[I]");
    assert_eq!((backends(&stage), waiting(&stage)), (0, 2));
    let shown = console.rows("show pools").remove(0);
    let last: Vec<_> = shown.iter().rev().take(2).map(|value| value.as_deref().unwrap()).collect();
    assert_eq!(last[1], "t");
    assert!(last[0].parse::<f64>().unwrap() > 0.0, "{last:?}");
    assert_eq!(console.ask(&query("resume")), "C[RESUME] Z[I]");
    assert_eq!(line(&idle.ready(1)), "T D(2) C[SELECT 1] Z[I]");
    assert_eq!(line(&newcomer.ready(1)), "T D(3) C[SELECT 1] Z[I]");
    assert!(!is_paused(&stage));
}

#[test]
fn who_waits_out_a_pause_in_vain_is_told_so() {
    let stage = stage(2, "checkout = \"1s\"\nwait_notice = \"300ms\"");
    let mut client = stage.weir.target().connect();
    let mut console = console(&stage);
    let name = stage.database.name();
    assert_eq!(console.ask(&query(&format!("pause {name}.app"))), "C[PAUSE] Z[I]");
    client.send(&query("select 1"));
    let seen = client.ready(1);
    assert!(seen[0].is('N') && seen[0].field('M').contains("paused"), "{seen:?}");
    assert_eq!((seen[1].field('S'), seen[1].field('C')), ("ERROR".into(), "57P03".into()));
    assert!(seen[1].field('M').contains("paused") && seen[1].field('M').contains(name));
    assert_eq!(console.ask(&query(&format!("resume {name}"))), "C[RESUME] Z[I]");
    assert_eq!(client.value("select 1"), "1");
}

#[test]
fn the_wait_for_a_pause_can_be_cancelled_and_the_pause_holds() {
    let (stage, mut working, mut console) = pausing();
    console.cancel();
    let seen = console.ready(1);
    assert_eq!(seen[0].field('C'), "57014", "{seen:?}");
    // The same over HTTP waits for nothing, and one who leaves while it waits ends nothing either.
    console.send(&query("pause"));
    console.reset();
    let mut console = self::console(&stage);
    working.rows("commit");
    wait_until("its server is closed", || backends(&stage) == 0);
    for (text, part) in [
        ("resume nowhere", "no database"),
        (&*format!("resume {}", stage.database.name()), "without a name"),
        ("pause nowhere", "no database"),
    ] {
        console.send(&query(text));
        let seen = console.ready(1);
        assert!(seen[0].is('E') && seen[0].field('M').contains(part), "{text}: {seen:?}");
    }
    assert_eq!(console.ask(&query("resume")), "C[RESUME] Z[I]");
    console.send(&query("resume"));
    assert_eq!(console.ready(1)[0].field('C'), "55000");
    assert_eq!(working.value("select 7"), "7");
}

#[test]
fn what_listens_goes_last_and_listens_again() {
    let stage = stage(2, "");
    let mut client = stage.weir.target().connect();
    assert_eq!(client.ask(&query("listen news")), "C[LISTEN] Z[I]");
    let mut console = console(&stage);
    assert_eq!(console.ask(&query("pause")), "C[PAUSE] Z[I]");
    assert_eq!(backends(&stage), 0);
    assert_eq!(console.ask(&query("resume")), "C[RESUME] Z[I]");
    let seen = client.until('N');
    assert!(seen.iter().any(|event| event.is('N')), "it is told that some may be missing");
    stage.database.target().connect().rows("notify news, 'again'");
    assert!(client.until('A').last().is_some_and(|event| event.is('A')));
}

#[test]
fn servers_are_replaced_as_they_become_free_and_nobody_waits() {
    let stage = stage(2, "");
    let [mut busy, mut idle] = [(); 2].map(|()| stage.weir.target().connect());
    let mut console = console(&stage);
    busy.rows("begin");
    let old = busy.value("select pg_backend_pid()");
    let other = idle.value("select pg_backend_pid()");
    let name = stage.database.name();
    assert_eq!(console.ask(&query(&format!("reconnect {name}"))), "C[RECONNECT] Z[I]");
    assert_eq!(busy.value("select pg_backend_pid()"), old, "a transaction goes on");
    busy.rows("commit");
    let fresh = [busy.value("select pg_backend_pid()"), idle.value("select pg_backend_pid()")];
    assert!(!fresh.contains(&old) && !fresh.contains(&other), "{fresh:?} {old} {other}");
    assert_eq!(console.ask(&query("reconnect nosuch")), "E[ERROR 42704] Z[I]");
    assert_eq!(console.ask(&query("reconnect")), "C[RECONNECT] Z[I]");
}

#[test]
fn a_pause_that_is_ended_before_it_holds_is_no_success() {
    let (stage, mut working, mut console) = pausing();
    let mut late = stage.weir.target().connect();
    late.send(&query("select 1"));
    let longest = || stage.weir.metric("pgweir_longest_wait_seconds", "");
    wait_until("it waits", || longest() > 0.01);
    assert_eq!(self::console(&stage).ask(&query("resume")), "C[RESUME] Z[I]");
    assert_eq!(console.ready(1)[0].field('C'), "55000");
    assert_eq!(line(&late.ready(1)), "T D(1) C[SELECT 1] Z[I]");
    assert!(longest() < 0.000_001);
    working.rows("commit");
}
