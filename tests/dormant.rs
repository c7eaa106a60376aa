//! Clients that have said nothing for a while, of which only what they are is kept (docs/semantics.md "Idle
//! clients"): here they fall asleep as soon as they have nothing under way.

use std::time::Duration;

use super::support::events::line;
use super::support::*;

fn asleep_at_once(setup: Setup) -> Setup {
    Setup { env: vec![("PGWEIR_TEST_WITHOUT".into(), "awake".into())], ..setup }
}

/// Where that fails, a client that is awake is tested.
fn fall_asleep() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn what_a_client_has_is_there_when_it_wakes() {
    let lines = both_with(&asleep_at_once(Setup::servers(1)), |target| {
        let startup =
            [("application_name", "sleeper"), ("work_mem", "1MB"), ("options", "-c app.a=b")];
        let mut client = target.connect_with(&startup);
        let mut other = target.connect();
        fall_asleep();
        let mut seen = vec![client.ask_in_detail(&query("show work_mem"))];
        client.rows("set timezone = 'Asia/Tokyo'; set lock_timeout = '7s'; set app.a = 'c'");
        seen.push(client.ask(&[parse("name", "select 1 as one"), sync()].concat()));
        seen.push(client.ask(&[parse("", "select 2 as two"), sync()].concat()));
        for _ in 0..2 {
            fall_asleep();
            other.rows("set work_mem = '3MB'; set application_name = 'other'");
            for text in [
                "show timezone",
                "show application_name",
                "select current_setting('app.a'), current_setting('lock_timeout')",
            ] {
                seen.push(client.ask_in_detail(&query(text)));
                fall_asleep();
            }
            let run = [bind("", "name", &[]), execute("", 0), sync()].concat();
            seen.push(client.ask_in_detail(&run));
            fall_asleep();
            let again = [parse("name", "select 3"), sync()].concat();
            seen.push(client.ask_in_detail(&again));
            client.rows("reset all");
            fall_asleep();
            let look = "select current_setting('app.a'), current_setting('work_mem')";
            seen.push(client.ask_in_detail(&query(look)));
        }
        seen
    });
    assert!(lines[0].contains("1MB"), "{lines:?}");
}

#[test]
fn what_keeps_a_client_awake_goes_on() {
    both_with(&asleep_at_once(Setup::servers(3)), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows("listen c");
        let mut seen = vec![client.ask(&query("begin; create temp table t (a int)"))];
        fall_asleep();
        seen.push(client.ask(&query("commit; select 1 from t")));
        fall_asleep();
        // Part of a message, and the rest later.
        let (first, rest) = (&query("select 7")[..7], &query("select 7")[7..]);
        client.send(first);
        fall_asleep();
        client.send(rest);
        seen.push(line(&client.ready(1)));
        client.rows("drop table t");
        fall_asleep();
        other.rows("notify c, 'x'");
        fall_asleep();
        seen.push(client.ask(&query("select 1")));
        seen
    });
}

#[test]
fn a_sleeping_client_hears_what_it_is_told() {
    let certificate = Certificate::for_loopback();
    let setup = Setup::servers(2).tables(&certificate.table("allow"));
    let setup = asleep_at_once(setup.timeouts("idle_client = \"1h\""));
    let mut stage = Stage::new(&setup);
    let target = stage.weir.target();
    let mut encrypted = target.open();
    encrypted.send(&ssl_request());
    assert_eq!(encrypted.bytes(1), b"S");
    encrypted.start_tls(&certificate, &[]).expect("a TLS session");
    encrypted.log_in(&target.startup(V3_0, &[]), &target.password);
    let mut client = stage.client();
    for round in 0..3 {
        fall_asleep();
        assert_eq!(encrypted.value("select 1"), "1", "{round}");
        fall_asleep();
        // There is nothing to cancel, and no harm done.
        assert!(client.cancel().is_empty());
        assert_eq!(client.value("select 2"), "2", "{round}");
    }
    fall_asleep();
    stage.weir.reload(|old| old.replace("\"1h\"", "\"3s\""));
    assert_eq!(line(&encrypted.rest()), "E[FATAL 57P05] EOF");
    let mut last = stage.client();
    fall_asleep();
    stage.weir.signal("TERM");
    assert_eq!(line(&last.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
}

#[test]
fn who_vanishes_asleep_leaves_nothing() {
    let stage = Stage::new(&asleep_at_once(Setup::servers(2)));
    let clients: Vec<_> = (0..20).map(|_| stage.client()).collect();
    let connected = || stage.weir.metric("pgweir_clients", "");
    fall_asleep();
    assert!((connected() - 20.0).abs() < 0.5, "{}", connected());
    for (number, client) in clients.into_iter().enumerate() {
        if number % 2 == 0 { client.reset() } else { drop(client) }
    }
    wait_until("all have gone", || connected() < 0.5);
}
