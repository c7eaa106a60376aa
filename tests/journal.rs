//! The log lines of clients that pgweir has ended, and of what it has refused them.

use std::time::Duration;

use super::support::events::line;
use super::support::*;

/// Lines of the log with this text.
fn lines(stage: &Stage, text: &str) -> Vec<String> {
    let log = stage.weir.log();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

fn assert_names(line: &str, stage: &Stage, application: &str, code: &str) {
    let database = format!("database=\"{}\"", stage.database.name());
    let (application, code) =
        (format!("application=\"{application}\""), format!("code=\"{code}\""));
    let named = [&database, &application, &code, "user=\"app\"", "address=\"127.0.0.1:", "client="];
    for name in named {
        assert!(line.contains(name), "{name} is missing: {line}");
    }
}

fn seconds(line: &str) -> f64 {
    let after = line.split("seconds=").nth(1).expect("seconds");
    after.split_whitespace().next().and_then(|s| s.parse().ok()).expect("a number")
}

/// Where `*` takes any name, a client may name its database as it likes.
#[test]
fn a_name_makes_no_line_of_its_own() {
    let port = Cluster::shared().port();
    let any =
        format!("[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"disable\"\n");
    let stage = Stage::new(&Setup::servers(1).tables(&format!("{any}[log]\nlevel = \"debug\"")));
    let name = "x\n2026-01-01 ERROR forged: \x1b[31mred";
    let target = Target { database: name.into(), ..stage.weir.target() };
    let mut client = target.open();
    let seen = client.log_in(&target.startup(V3_0, &[]), &target.password);
    assert!(line(&seen).contains("3D000"), "{seen:?}");
    for text in ["cannot open a server", "a client got no server", "a client did not get in"] {
        wait_until(text, || !lines(&stage, text).is_empty());
    }
    let log = stage.weir.log();
    assert!(!log.contains('\x1b') && !log.contains("\n2026-01-01 ERROR forged"), "{log}");
    assert!(log.contains("x\\n2026-01-01 ERROR forged"), "{log}");
}

#[test]
fn a_client_that_is_ended_has_a_line_that_says_who_it_was() {
    let stage = Stage::new(&Setup::servers(1).timeouts("idle_in_transaction = \"300ms\""));
    let mut client = stage.weir.target().connect_with(&[("application_name", "forgetful")]);
    client.rows("begin; select 1");
    assert_eq!(line(&client.rest()), "E[FATAL 25P03] EOF");
    wait_until("it is told", || !lines(&stage, "a client was ended").is_empty());
    let told = lines(&stage, "a client was ended").remove(0);
    assert_names(&told, &stage, "forgetful", "25P03");
    assert!((0.25..3.0).contains(&seconds(&told)), "{told}");
}

#[test]
fn the_same_has_one_line_in_a_while_and_the_rest_is_counted() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"100ms\""));
    let mut holder = stage.client();
    holder.rows("begin");
    let mut client = stage.weir.target().connect_with(&[("application_name", "hasty")]);
    for _ in 0..4 {
        assert_eq!(client.ask(&query("select 1")), "E[ERROR 53300] Z[I]");
    }
    let told = lines(&stage, "a client got no server");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_names(&told[0], &stage, "hasty", "53300");
    assert!((0.1..3.0).contains(&seconds(&told[0])), "{told:?}");
    wait_until("the rest is told", || !lines(&stage, "the same again").is_empty());
    let rest = lines(&stage, "the same again").remove(0);
    assert!(rest.contains("left_out=3") && rest.contains("53300"), "{rest}");
}

#[test]
fn each_reason_has_a_line_of_its_own() {
    let classes = "[[classes]]\nname = \"short\"\napplication_name = \"short\"\nqueue_limit = 0\n";
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"100ms\"").tables(classes));
    let mut holder = stage.client();
    holder.rows("begin");
    for (application, reason) in
        [("patient", "timed out waiting"), ("short", "too many clients of")]
    {
        let mut client = stage.weir.target().connect_with(&[("application_name", application)]);
        assert_eq!(client.ask(&query("select 1")), "E[ERROR 53300] Z[I]");
        let told = || lines(&stage, "a client got no server");
        wait_until(reason, || told().iter().any(|line| line.contains(reason)));
    }
}

#[test]
fn one_whose_server_is_ended_has_a_line() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("begin");
    let pid = client.value("select pg_backend_pid()");
    stage.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
    assert_eq!(line(&client.rest()), "E[FATAL 57P01] EOF");
    wait_until("it is told", || !lines(&stage, "a client was ended").is_empty());
    assert_names(&lines(&stage, "a client was ended")[0], &stage, "", "57P01");
}

#[test]
fn who_leaves_gives_up_or_is_drained_has_no_line() {
    let setup = Setup::servers(1).timeouts("checkout = \"10s\"");
    let mut stage = Stage::new(&setup);
    let mut holder = stage.client();
    let waiting = stage.client();
    holder.rows("begin");
    let mut canceled = stage.client();
    canceled.send(&query("select 1"));
    std::thread::sleep(Duration::from_millis(200));
    canceled.cancel();
    assert_eq!(line(&canceled.ready(1)), "E[ERROR 57014] Z[I]");
    drop(waiting);
    stage.weir.signal("TERM");
    holder.rows("commit");
    assert_eq!(line(&holder.rest()), "E[FATAL 57P01] EOF");
    drop((holder, canceled));
    stage.weir.wait();
    for text in ["a client was ended", "a client got no server"] {
        assert_eq!(lines(&stage, text), Vec::<String>::new());
    }
}

#[test]
fn a_server_that_is_lost_has_a_line_for_its_client() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let stage = Stage::on(cluster.database(), &Setup::servers(1).behind(&middleman));
    let mut client = stage.client();
    client.rows("begin");
    middleman.cut();
    assert_eq!(line(&client.rest()), "E[FATAL 08006] EOF");
    wait_until("it is told", || !lines(&stage, "a client was ended").is_empty());
    assert!(lines(&stage, "a client was ended")[0].contains("code=\"08006\""));
}

#[test]
fn logins_are_told_to_those_who_ask_for_more() {
    let setup = Setup::servers(1).tables("[log]\nlevel = \"debug\"");
    let stage = Stage::new(&setup);
    let _client = stage.weir.target().connect_with(&[("application_name", "quiet")]);
    wait_until("it is told", || !lines(&stage, "a client has logged in").is_empty());
    let told = lines(&stage, "a client has logged in").remove(0);
    assert!(told.contains("application=\"quiet\"") && told.contains("class=\"default\""), "{told}");
}
