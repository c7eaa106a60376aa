//! What pgweir does not start with, and how it says so; and starting it without a file.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use super::support::weir::free_addr;
use super::support::*;

/// Runs `pgweir serve` with a file; it must refuse.
fn refused(toml: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bad.toml");
    fs::write(&path, toml).expect("a configuration file");
    let output = Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["serve", "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("pgweir");
    let text = both_streams(&output);
    assert!(!output.status.success(), "accepted: {toml}");
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
        ("[broken\n", "broken"),
    ] {
        let text = refused(&format!("{plain}{lines}"));
        assert!(text.contains("bad.toml"), "{lines}: {text}");
        assert!(text.contains(key), "{lines}: {text}");
    }
}

#[test]
fn a_port_in_use_is_refused_by_its_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address");
    let text = refused(&format!("listen = [\"{addr}\"]\n[databases.d]\nhost = \"127.0.0.1\"\n"));
    assert!(text.contains(&addr.to_string()), "{text}");
}

#[test]
fn trust_beyond_loopback_must_be_said_twice() {
    let toml = "listen = [\"0.0.0.0:0\"]\n[auth]\nmethod = \"trust\"\n[databases.d]\nhost = \"127.0.0.1\"\n";
    assert!(refused(toml).contains("trust"));
}

/// Killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_file_one_dsn_is_enough() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let (name, port) = (database.name(), cluster.port());
    let password = cluster::APP_PASSWORD.replace(' ', "%20");
    let dsn = format!("postgres://app:{password}@127.0.0.1:{port}/{name}");
    for by_environment in [false, true] {
        let addr = free_addr();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        command.args(["serve", "--listen", &addr.to_string(), "--max-servers", "2"]);
        command.env("PGWEIR_HTTP_LISTEN", free_addr().to_string());
        if by_environment {
            command.env("PGWEIR_UPSTREAM", &dsn);
        } else {
            command.args(["--upstream", &dsn]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut running = Running(child.expect("pgweir"));
        wait_until("pgweir accepts", || {
            assert!(running.0.try_wait().expect("pgweir's state").is_none(), "pgweir ended");
            TcpStream::connect(addr).is_ok()
        });
        let target = Target { addr, ..database.target() };
        assert_eq!(
            target.connect().value("select current_user || current_database()"),
            format!("app{name}")
        );
        let wrong = target.as_user("app", "wrong");
        let seen = wrong.open().log_in(&wrong.startup(V3_0, &[]), &wrong.password);
        assert!(events::line(&seen).ends_with("E[FATAL 28P01] EOF"), "{seen:?}");
    }
    cluster.assert_never_refused();
}
