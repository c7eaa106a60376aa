//! What pgweir does not start with, and how it says so; and starting it without a file.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use tempfile::NamedTempFile;

use super::support::weir::free_addr;
use super::support::*;

/// Runs `pgweir serve` with a file; it must refuse.
fn refused(toml: &str) -> String {
    refused_by("serve", toml)
}

fn refused_by(command: &str, toml: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bad.toml");
    fs::write(&path, toml).expect("a configuration file");
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args([command, "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("pgweir");
    let text = both_streams(&output);
    assert_eq!(output.status.code(), Some(2), "{toml}: {text}");
    assert!(!text.contains("panicked at"), "{text}");
    text
}

fn both_streams(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn a_bad_setting_is_refused_by_file_and_key() {
    let addr = free_addr();
    let plain = format!("listen = [\"{addr}\"]\n[databases.d]\nhost = \"127.0.0.1\"\n");
    for (lines, key) in [
        ("[limits]\nmax_severs = 3\n", "max_severs"),
        ("[limits]\nmax_servers = \"many\"\n", "max_servers"),
        ("[limits]\nmax_servers = -1\n", "max_servers"),
        ("[timeouts]\ncheckout = \"5 parsecs\"\n", "checkout"),
        ("[tls]\nmode = \"require\"\ncert = \"/nowhere.crt\"\nkey = \"/nowhere.key\"\n", "nowhere"),
        ("[auth]\nmethod = \"handshake\"\n", "method"),
        ("[users.u]\nsecret = \"SCRAM-SHA-256$broken\"\n", "secret"),
        ("[unheard_of]\n", "unheard_of"),
        ("[broken\n", "bad.toml:4"),
    ] {
        let text = refused(&format!("{plain}{lines}"));
        assert!(text.contains("bad.toml"), "{lines}: {text}");
        assert!(text.contains(key), "{lines}: {text}");
    }
}

#[test]
fn observing_what_is_not_pooled_by_session_is_refused_by_file_line_and_key() {
    let database = "[databases.d]\nhost = \"127.0.0.1\"\n";
    for (toml, place) in [
        (format!("observe = true\n{database}"), "bad.toml:1: observe: "),
        (format!("pooling = \"transaction\"\nobserve = true\n{database}"), "bad.toml:2: observe: "),
        (format!("{database}observe = true\n"), "bad.toml:3: databases.d.observe: "),
        (
            format!("pooling = \"session\"\n{database}pooling = \"transaction\"\nobserve = true\n"),
            "bad.toml:5: databases.d.observe: ",
        ),
    ] {
        let text = refused(&toml);
        let told = "expected pooling = \"session\" beside it";
        assert!(text.contains(place) && text.contains(told), "{toml}: {text}");
    }
    let text = refused(&format!("pooling = \"statement\"\n{database}"));
    assert!(text.contains("bad.toml:1: pooling: ") && text.contains("`session`"), "{text}");
}

#[test]
fn what_cannot_be_put_to_use_is_refused_by_file_line_and_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address");
    let free = free_addr();
    let (one, other) = (Certificate::for_loopback(), Certificate::for_loopback());
    let (cert, key) = (one.cert().display().to_string(), other.key().display().to_string());
    let damaged = tempfile::NamedTempFile::new().expect("a file");
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(damaged.path(), pem).expect("a damaged certificate");
    let ca = damaged.path().display().to_string();
    let database = "[databases.d]\nhost = \"127.0.0.1\"\n";
    for (toml, place, told) in [
        (
            format!("workers = 1\nlisten = [\"{addr}\"]\n{database}"),
            "bad.toml:2: listen: ",
            format!("cannot listen on {addr}: the address is in use"),
        ),
        (
            format!("listen = [\"/nowhere/.s.PGSQL.6432\"]\nhttp_listen = \"off\"\n{database}"),
            "bad.toml:1: listen: ",
            "cannot listen on /nowhere/.s.PGSQL.6432: its folder does not exist".to_owned(),
        ),
        (
            format!("listen = [\"{free}\"]\nhttp_listen = \"{addr}\"\n{database}"),
            "bad.toml:2: http_listen: ",
            format!("cannot listen on {addr}: the address is in use"),
        ),
        (
            format!(
                "listen = [\"{free}\"]\nhttp_listen = \"off\"\n[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n{database}"
            ),
            "bad.toml:5: tls.key: ",
            format!("{key} does not belong to the first certificate in {cert}"),
        ),
        (
            format!(
                "listen = [\"{free}\"]\nhttp_listen = \"off\"\n{database}tls = \"verify-ca\"\nca = \"{ca}\"\n"
            ),
            "bad.toml:6: databases.d.ca: ",
            format!("certificate 1 in {ca} is damaged"),
        ),
        (
            format!("listen = [\"{free}\"]\n{database}port = 70000\n"),
            "bad.toml:4: databases.d.port: ",
            "expected a port number, 1 to 65535".to_owned(),
        ),
    ] {
        // Whether an address is taken shows when it is used.
        let commands =
            if told.starts_with("cannot listen") { &["serve"][..] } else { &["serve", "check"] };
        for command in commands {
            let text = refused_by(command, &toml);
            assert!(text.contains(place), "{command}: {toml}: {text}");
            assert!(text.contains(&told) && text.contains("expected"), "{toml}: {text}");
        }
    }
}

#[test]
fn trust_beyond_loopback_must_be_said_twice() {
    let toml = "listen = [\"0.0.0.0:0\"]\n[auth]\nmethod = \"trust\"\n[databases.d]\nhost = \"127.0.0.1\"\n";
    assert!(refused(toml).contains("trust"));
}

/// A pgweir started with a DSN and no file; killed on drop.
struct Quick {
    child: Child,
    addr: SocketAddr,
    log: NamedTempFile,
}

impl Quick {
    fn start(command: &mut Command) -> Self {
        let addr = free_addr();
        let log = NamedTempFile::new().expect("a log file");
        let out = || log.reopen().map(Stdio::from).expect("a log file");
        command.args(["--listen", &addr.to_string(), "--max-servers", "2"]);
        command.env("PGWEIR_HTTP_LISTEN", free_addr().to_string());
        let child = command.stdin(Stdio::null()).stdout(out()).stderr(out()).spawn();
        let mut quick = Self { child: child.expect("pgweir"), addr, log };
        wait_until("pgweir accepts", || {
            assert!(quick.child.try_wait().expect("pgweir's state").is_none(), "{}", quick.log());
            TcpStream::connect(addr).is_ok()
        });
        quick
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).expect("the log")
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pgweir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
    command.arg("serve");
    command
}

/// The DSN of `app` for a database.
fn dsn(database: &Database) -> String {
    let (name, port) = (database.name(), database.cluster().port());
    let password = cluster::APP_PASSWORD.replace(' ', "%20");
    format!("postgres://app:{password}@127.0.0.1:{port}/{name}")
}

#[test]
fn a_demonstration_without_the_postgresql_that_is_named_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["demo", "--once"])
        .env("PGWEIR_PG_BIN", "/nowhere/bin")
        .output()
        .expect("pgweir");
    let text = both_streams(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("PGWEIR_PG_BIN: /nowhere/bin does not hold"), "{text}");
}

#[test]
fn without_a_file_one_dsn_is_enough() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    for by_environment in [false, true] {
        let mut command = pgweir();
        if by_environment {
            command.env("PGWEIR_UPSTREAM", dsn(&database));
        } else {
            command.args(["--upstream", &dsn(&database)]);
        }
        let quick = Quick::start(&mut command);
        let target = Target { addr: quick.addr, ..database.target() };
        assert_eq!(
            target.connect().value("select current_user || current_database()"),
            format!("app{}", database.name())
        );
    }
    cluster.assert_never_refused();
}

/// The upstream's user is an ordinary role, which may not read `pg_authid`.
#[test]
fn where_nobody_can_be_looked_up_all_names_look_alike() {
    let cluster = Cluster::with_slots(3);
    let database = cluster.database();
    let mut command = pgweir();
    command.env("PGWEIR_UPSTREAM", dsn(&database)).env("PGWEIR_AUTH_CACHE_TTL", "1h");
    let quick = Quick::start(&mut command);
    let target = Target { addr: quick.addr, ..database.target() };
    let names = ["app", "postgres", "lookup", "nobody_such"];
    let attempt = |name: &str| {
        let wrong = target.as_user(name, "wrong");
        let seen = wrong.open().log_in(&wrong.startup(V3_0, &[]), &wrong.password);
        events::detailed(&seen).replace(name, "USER")
    };
    let refused = "R[10] E[FATAL 28P01 password authentication failed for user \"USER\"] EOF";
    for name in names.iter().cycle().take(3 * names.len()) {
        let mut raw = target.as_user(name, "wrong").challenged();
        raw.send(&raw::sasl_initial("SCRAM-SHA-256", 11, b"n,,n=,r=abc"));
        assert_eq!(raw.event().to_string(), "R[11]", "{name} is asked for a proof");
        assert_eq!(attempt(name), refused, "{name}");
    }
    let log = fs::read_to_string(cluster.postgres().log_path()).expect("PostgreSQL's log");
    let asked = log.lines().filter(|line| line.contains("permission denied for table pg_authid"));
    assert_eq!(asked.count(), names.len() - 1, "one question for each name:\n{log}");
    wait_until("it is told", || quick.log().contains("auth.query_user"));
    assert_eq!(quick.log().matches("auth.query_user").count(), 1, "{}", quick.log());
    assert_eq!(target.connect().value("select 1"), "1");
    cluster.assert_never_refused();
}
