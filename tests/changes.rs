//! What operators change while clients work: by the console and over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use super::support::events::line;
use super::support::*;

/// What answers `pg_sleep`.
const SLEPT: &str = "T D() C[SELECT 1] Z[I]";
const ADMIN: &str = "[admin]\nusers = [\"app\"]\nhttp_token = \"open sesame\"";

fn stage(servers: usize) -> Stage {
    Stage::new(&Setup::servers(servers).tables(ADMIN))
}

fn console(stage: &Stage) -> Raw {
    let mut target = stage.weir.target();
    target.database = "pgweir".into();
    target.connect()
}

/// A column of the first row of a table.
fn shown(console: &mut Raw, table: &str, column: usize) -> String {
    console.rows(&format!("show {table}"))[0][column].clone().expect("no NULL")
}

fn setting(console: &mut Raw, key: &str) -> (String, String) {
    let rows = console.rows("show config");
    let row = rows.iter().find(|row| row[0].as_deref() == Some(key)).expect("the setting");
    (row[1].clone().unwrap(), row[2].clone().unwrap())
}

fn backends(stage: &Stage) -> usize {
    let name = stage.database.name();
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{name}' and usename = 'app'"
    );
    stage.database.admin().value(&sql).parse().expect("a number")
}

#[test]
fn a_smaller_limit_of_the_host_closes_servers_as_they_become_free() {
    for limit in ["max_servers_host", "max_servers_database", "max_servers_user"] {
        let stage = stage(6);
        let mut console = console(&stage);
        let mut clients: Vec<Raw> = (0..6).map(|_| stage.client()).collect();
        for client in &mut clients {
            client.rows("begin");
            client.rows("select 1");
        }
        console.rows(&format!("set {limit} = 2"));
        for client in &mut clients {
            assert_eq!(client.value("select 1"), "1", "nobody is cut");
        }
        for client in &mut clients[..3] {
            client.rows("commit");
        }
        wait_until("freed servers are closed", || backends(&stage) == 3);
        for client in &mut clients[3..] {
            client.rows("commit");
        }
        wait_until("and no more than that", || backends(&stage) == 2);
        console.rows(&format!("set {limit} = 1"));
        wait_until("an idle one is closed", || backends(&stage) == 1);
        for client in &mut clients {
            assert_eq!(client.value("select 1"), "1");
        }
    }
}

#[test]
fn max_servers_is_changed_under_load_exactly_and_no_client_sees_it() {
    let stage = stage(10);
    let load = Load::start(&stage.weir.target(), 30, "select pg_sleep(0.02)", SLEPT);
    let mut console = console(&stage);
    wait_until("the pool is full", || backends(&stage) == 10);
    for size in [3, 20, 1, 10] {
        assert_eq!(console.ask(&query(&format!("set max_servers = {size}"))), "C[SET] Z[I]");
        assert_eq!(shown(&mut console, "pools", 7), size.to_string());
        wait_until("the pool has that size", || backends(&stage) == size);
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            assert!(backends(&stage) <= size);
        }
    }
    load.stop();
}

#[test]
fn what_cannot_be_is_refused_by_name_and_changes_nothing() {
    let stage = stage(4);
    let mut console = console(&stage);
    for (text, code, parts) in [
        ("set max_servers = 0", "22023", &["limits.max_servers", "0", "from 1"][..]),
        ("set max_servers = '101%'", "22023", &["limits.max_servers", "101%", "100%"]),
        ("set min_idle = 9", "22023", &["limits.min_idle", "9", "limits.max_idle"]),
        ("set timeouts.checkout = soon", "22023", &["timeouts.checkout", "soon", "30s"]),
        ("set max_server = 5", "42601", &["set"]),
        ("set auth.method = 'trust'", "42601", &["set"]),
        ("resize nowhere 5", "42704", &["nowhere"]),
        (&format!("resize {} 0", stage.database.name()), "22023", &["0", "from 1"]),
        (&format!("resize {} {}", stage.database.name(), usize::MAX), "22023", &["262143"]),
        ("warm nowhere.app 1 for 1min", "42704", &["nowhere"]),
        ("set local max_servers = 5", "42601", &["set"]),
    ] {
        console.send(&query(text));
        let refusal = console.event();
        assert_eq!(refusal.field('C'), code, "{text}");
        for part in parts {
            assert!(refusal.field('M').contains(part), "{text}: {}", refusal.field('M'));
        }
        assert!(console.event().is('Z'));
    }
    assert_eq!(setting(&mut console, "limits.max_servers"), ("4".into(), "f".into()));
}

#[test]
fn a_pool_is_not_made_too_small_for_what_is_kept_in_it() {
    let classes = "[[classes]]\nname = \"vip\"\nuser = \"app\"\nguaranteed = 3\n";
    let setup = Setup::servers(6).tables(ADMIN).tables(classes).limits("min_idle = 2");
    let stage = Stage::new(&setup);
    let mut console = console(&stage);
    let name = stage.database.name();
    for (what, size, parts) in [
        ("", 3, &["3 servers are too few", "3 are guaranteed", "classes.guaranteed"][..]),
        (".app", 2, &["3 are guaranteed", "classes.guaranteed"]),
        (".lookup", 1, &["fewer than limits.min_idle, 2"]),
    ] {
        console.send(&query(&format!("resize {name}{what} {size}")));
        let refusal = console.event();
        assert_eq!(refusal.field('C'), "22023", "{what} {size}");
        for part in parts {
            assert!(refusal.field('M').contains(part), "{part}: {}", refusal.field('M'));
        }
        assert!(console.event().is('Z'));
    }
    // Nothing is kept for anybody in pools of others.
    console.rows(&format!("resize {name}.lookup 2; resize {name} 4"));
    stage.client();
    assert_eq!(shown(&mut console, "pools", 7), "4");
}

/// Nobody has to be asked first, when there may be no room to ask.
#[test]
fn a_limit_becomes_a_share_of_what_the_host_has_at_once() {
    let stage = stage(20);
    let mut console = console(&stage);
    let mut clients: Vec<_> = (0..12).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.rows("begin");
    }
    let most = || -> usize {
        let sql = "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int";
        stage.database.admin().value(sql).parse().expect("a number")
    };
    assert_eq!(console.ask(&query("set max_servers = '50%'")), "C[SET] Z[I]");
    assert_eq!(shown(&mut console, "pools", 7), (most() / 2).to_string());
    for client in &mut clients {
        client.rows("commit");
    }
    assert_eq!(backends(&stage), 12);
}

#[test]
fn a_change_holds_until_it_is_taken_back_or_the_configuration_is_read_again() {
    let stage = stage(4);
    let mut console = console(&stage);
    stage.client().rows("select 1");
    console.rows("set max_servers = 2; set timeouts.checkout = '7s'");
    assert_eq!(setting(&mut console, "limits.max_servers"), ("2".into(), "t".into()));
    assert_eq!(setting(&mut console, "timeouts.checkout"), ("7s".into(), "t".into()));
    // What drivers send between two users of a connection undoes nothing, and says so.
    assert_eq!(console.ask(&query("reset all")), "N[NOTICE 00000] C[RESET] Z[I]");
    assert_eq!(setting(&mut console, "limits.max_servers"), ("2".into(), "t".into()));
    console.rows("reset max_servers");
    assert_eq!(setting(&mut console, "limits.max_servers"), ("4".into(), "f".into()));
    let name = stage.database.name();
    console.rows(&format!("resize {name} 9; resize {name}.app 3"));
    assert_eq!(shown(&mut console, "pools", 7), "3");
    console.rows("set max_servers = 5");
    assert_eq!(shown(&mut console, "pools", 7), "3", "what is given to a pool wins");
    console.rows("reload");
    assert_eq!(shown(&mut console, "pools", 7), "4");
    assert_eq!(setting(&mut console, "timeouts.checkout"), ("20s".into(), "f".into()));
    console.rows("set max_servers = 2");
    stage.weir.reload(|old| old);
    wait_until("it is read again", || shown(&mut console, "pools", 7) == "4");
}

#[test]
fn a_warm_pool_has_its_servers_before_anybody_asks() {
    let setup = Setup::servers(5).tables(ADMIN).timeouts("server_idle = \"500ms\"");
    let stage = Stage::on(Cluster::shared().database(), &setup);
    let mut console = console(&stage);
    let warm = format!("warm {}.app 3 for 3s", stage.database.name());
    // Of a verifier alone, nobody can log in.
    console.send(&query(&warm));
    let refusal = console.event();
    assert_eq!(refusal.field('C'), "55000");
    assert!(refusal.field('M').contains("before a client has logged in"), "{}", refusal.field('M'));
    console.event();
    stage.client();
    assert_eq!(console.ask(&query(&warm)), "C[WARM] Z[I]");
    wait_until("they are open", || backends(&stage) == 3);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(backends(&stage), 3, "idle for longer than they may be else");
    wait_until("they are let go", || backends(&stage) == 0);
    console.send(&query(&warm.replace(" 3 for", " 6 for")));
    let refusal = console.event();
    assert!(
        refusal.field('M').contains("more than the pool may have, 5"),
        "{}",
        refusal.field('M')
    );
}

#[test]
fn a_schedule_warms_a_pool_for_its_time_and_lets_it_go() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a date").as_secs();
    let at = format!("{:02}:{:02}", now / 3600 % 24, now / 60 % 60);
    let database = Cluster::shared().database();
    let warm = format!(
        "[[warm]]\ndatabase = \"{}\"\nuser = \"app\"\nservers = 3\nat = \"{at}\"\nfor = \"1h\"",
        database.name()
    );
    let setup = Setup { secret: database.target().password, ..Setup::servers(5) };
    let setup = setup.tables(ADMIN).tables(&warm).timeouts("server_idle = \"200ms\"");
    let stage = Stage::on(database, &setup);
    wait_until("it is warm before any client", || backends(&stage) == 3);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(backends(&stage), 3, "idle for longer than they may be else");
    stage.weir.reload(|old| old.replace("for = \"1h\"", "for = \"1s\""));
    // What was wanted last time holds for 15 s.
    let until = Instant::now() + Duration::from_secs(40);
    while backends(&stage) > 0 {
        assert!(Instant::now() < until, "it is still warm");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn post(stage: &Stage, path: &str, token: &str, body: &str) -> (u16, String) {
    request(stage, "POST", path, token, body)
}

fn request(stage: &Stage, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(stage.weir.http_addr()).expect("the HTTP address");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn changes_over_http_need_the_token() {
    let stage = stage(4);
    let mut console = console(&stage);
    stage.client().rows("select 1");
    let both = r#"{"max_servers": 2, "timeouts.checkout": "7s"}"#;
    let (status, body) = post(&stage, "/limits", "wrong", both);
    assert_eq!((status, body.contains("token")), (401, true), "{body}");
    assert_eq!(setting(&mut console, "limits.max_servers"), ("4".into(), "f".into()));
    assert_eq!(post(&stage, "/limits", "open sesame", both).0, 200);
    assert_eq!(setting(&mut console, "limits.max_servers"), ("2".into(), "t".into()));
    assert_eq!(setting(&mut console, "timeouts.checkout"), ("7s".into(), "t".into()));
    // All of it or nothing.
    let (status, body) =
        post(&stage, "/limits", "open sesame", r#"{"max_idle": 1, "min_idle": 3}"#);
    assert_eq!((status, body.contains("limits.min_idle")), (422, true), "{body}");
    assert_eq!(setting(&mut console, "limits.max_idle").1, "f");
    let name = stage.database.name();
    let resize = format!(r#"{{"database": "{name}", "max_servers": 3}}"#);
    assert_eq!(post(&stage, "/resize", "open sesame", &resize).0, 200);
    assert_eq!(shown(&mut console, "pools", 7), "3");
    let warm = format!(r#"{{"database": "{name}", "user": "app", "servers": 2, "for": "1min"}}"#);
    assert_eq!(post(&stage, "/warm", "open sesame", &warm).0, 200);
    wait_until("they are open", || backends(&stage) == 2);
    assert_eq!(post(&stage, "/reload", "open sesame", "").0, 200);
    assert_eq!(shown(&mut console, "pools", 7), "4");
    assert!(!stage.weir.log().contains("open sesame"));
}

#[test]
fn tables_over_http_need_the_token() {
    let stage = stage(4);
    let mut client = stage.client();
    client.rows("begin");
    let get = |path: &str, token: &str| request(&stage, "GET", path, token, "");
    let read = |path: &str| -> Vec<serde_json::Value> {
        let (status, body) = get(path, "open sesame");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    };
    assert_eq!(get("/show/pools", "wrong").0, 401);
    let (status, body) = get("/show/secrets", "open sesame");
    assert!(status == 404 && body.contains("pin_reasons"), "{body}");
    assert_eq!(request(&stage, "POST", "/show/pools", "open sesame", "").0, 405);
    let pool = &read("/show/pools")[0];
    assert_eq!(
        (&pool["database"], &pool["servers_leased"]),
        (&stage.database.name().into(), &1.into())
    );
    assert_eq!(read("/show/PINS").len(), 0);
    let id = read("/show/clients")[0]["client_id"].clone();
    assert_eq!(post(&stage, "/kill", "open sesame", &format!("{{\"client_id\": {id}}}")).0, 200);
    assert_eq!(line(&client.rest()), "E[FATAL 57P01] EOF");
    wait_until("it is gone", || read("/show/clients").is_empty());
    assert_eq!(post(&stage, "/kill", "open sesame", &format!("{{\"client_id\": {id}}}")).0, 404);
}

#[test]
fn the_log_follows_its_level() {
    let stage = stage(2);
    let mut console = console(&stage);
    let says_debug = || stage.weir.log().contains(" DEBUG ");
    stage.client().rows("select 1");
    assert!(!says_debug(), "{}", stage.weir.log());
    console.rows("set log.level = 'pgweir=debug'");
    assert_eq!(setting(&mut console, "log.level"), ("pgweir=debug".into(), "t".into()));
    wait_until("there is more in it", || {
        stage.client().rows("select 1");
        says_debug()
    });
    console.send(&query("set log.level = 'loud'"));
    assert_eq!(console.event().field('C'), "22023");
    console.event();
    console.rows("set log.level = 'error'");
    console.rows("pause; resume");
    console.rows("reset log.level");
    wait_until("it says so again", || stage.weir.log().contains("Reset("));
    assert!(!stage.weir.log().contains("Pause("), "{}", stage.weir.log());
}

#[test]
fn hosts_and_classes_are_shown() {
    let classes = "[[classes]]\nname = \"batch\"\napplication_name = \"batch\"\nmax_servers = 1\nqueue_limit = 9\n";
    let setup =
        Setup::servers(3).limits("max_servers_host = 7").tables(&format!("{ADMIN}\n{classes}"));
    let stage = Stage::on(Cluster::shared().database(), &setup);
    let mut console = console(&stage);
    let mut batch = stage.weir.target().connect_with(&[("application_name", "batch")]);
    batch.rows("begin");
    let rows = console.rows("show classes");
    let of = |name: &str| {
        let row = rows.iter().find(|row| row[2].as_deref() == Some(name)).expect("the class");
        row[3..].iter().map(|value| value.clone().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("batch"), "1 1 1 0 0 9 -1");
    assert_eq!(of("default"), "1 0 -1 0 0 -1 -1");
    let host = console.rows("show hosts").remove(0);
    let part: Vec<_> = host[1..6].iter().flatten().map(String::as_str).collect();
    assert_eq!([part[0], part[1], part[3], part[4]], ["1", "7", "0", "0"]);
    assert!(part[2].parse::<usize>().is_ok_and(|capacity| capacity >= 7), "{part:?}");
    assert_eq!(host[9].as_deref(), Some("closed"));
}

/// The time of day in UTC, twelve hours from now.
fn far_from_now() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let then = (now.as_secs() / 3600 + 12) % 24;
    format!("{then:02}:00")
}

#[test]
fn a_pool_with_a_schedule_keeps_what_a_client_has_proved() {
    let database = Cluster::shared().database();
    let (name, port) = (database.name().to_owned(), database.cluster().port());
    let tables = format!(
        "[databases.other]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"disable\"\ndbname = \"{name}\"\n\
         [[warm]]\ndatabase = \"{name}\"\nuser = \"app\"\nservers = 2\nat = \"{}\"\nfor = \"1min\"\n{ADMIN}",
        far_from_now()
    );
    let setup = Setup::servers(5).tables(&tables).timeouts("server_idle = \"200ms\"");
    let stage = Stage::on(database, &setup);
    let mut console = console(&stage);
    let other = Target { database: "other".into(), ..stage.weir.target() };
    for target in [&stage.weir.target(), &other] {
        target.connect().rows("select 1");
    }
    wait_until("the servers are gone", || backends(&stage) == 0);
    // Without a schedule a pool is forgotten, with what it knew, but not while it is shown: it is looked at
    // every few seconds.
    let mut pools = 2;
    for _ in 0..60 {
        if pools == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        pools = console.rows("show pools").len();
    }
    assert_eq!(pools, 1);
    let refused = console.ask(&query("warm other.app 2 for 1min"));
    assert_eq!(refused, "E[ERROR 55000] Z[I]");
    assert_eq!(console.ask(&query(&format!("warm {name}.app 2 for 1min"))), "C[WARM] Z[I]");
    wait_until("they are open", || backends(&stage) == 2);
}

#[test]
fn idle_servers_are_kept_from_the_start_where_no_client_is_needed_to_log_in() {
    let setup = Setup { secret: cluster::APP_PASSWORD.into(), ..Setup::servers(5) };
    let setup = setup.limits("min_idle = 2").timeouts("server_idle = \"200ms\"");
    let mut stage = Stage::on(Cluster::shared().database(), &setup);
    wait_until("they are open", || backends(&stage) == 2);
    let idle = || stage.weir.count("pgweir_servers", "state=\"idle\"");
    wait_until("they are idle", || idle() == 2);
    stage.weir.reload(|old| old.replace("min_idle = 2", "min_idle = 3"));
    wait_until("there is one more", || backends(&stage) == 3);
    stage.client().rows("select 1");
    wait_until("they are idle again", || idle() == 3);
    stage.weir.signal("TERM");
    assert!(stage.weir.wait().success());
    assert!(!stage.weir.log().contains("did not end in time"), "none is opened at the end");
}

#[test]
fn the_configuration_keeps_a_pool_warm_without_any_client() {
    let database = Cluster::shared().database();
    let warm = format!(
        "[[warm]]\ndatabase = \"{0}\"\nuser = \"app\"\nservers = 2\n\
         [[warm]]\ndatabase = \"{0}\"\nuser = \"nobody\"\nservers = 1\n",
        database.name()
    );
    let setup = Setup { secret: cluster::APP_PASSWORD.into(), ..Setup::servers(5).tables(&warm) };
    let stage = Stage::on(database, &setup);
    wait_until("they are open", || backends(&stage) == 2);
    let told = || stage.weir.log().matches("a pool cannot be kept warm").count();
    wait_until("what cannot be is told", || told() == 1);
    stage.weir.reload(|old| old.replace("servers = 2", "servers = 4"));
    wait_until("there are more", || backends(&stage) == 4);
    assert_eq!(told(), 1, "once");
    stage.weir.reload(|old| old.replace("servers = 4", "servers = 1"));
    let seen = stage.weir.count("pgweir_servers", "state=\"idle\"");
    assert_eq!(seen, 4, "what is open is not closed at once");
}
