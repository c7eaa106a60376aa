//! What the tests stand on: real clusters, the built pgweir, a raw client, and scenarios that run
//! against both.

pub mod certificates;
pub mod cluster;
pub mod events;
pub mod messages;
pub mod middleman;
pub mod raw;
pub mod scram;
pub mod weir;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::certificates::Certificate;
pub use self::cluster::{Cluster, Database, Target, major, major_of};
pub use self::messages::*;
pub use self::middleman::{Fault, Middleman};
pub use self::raw::Raw;
pub use self::weir::{Setup, Weir};

/// A database of its own with a pgweir before it. At the end of the test, PostgreSQL must never
/// have refused a connection for want of slots.
pub struct Stage {
    /// Behind the proxy.
    pub database: Database,
    /// The proxy.
    pub weir: Weir,
}

impl Stage {
    /// On the cluster that the tests of one process share.
    pub fn new(setup: &Setup) -> Self {
        Self::on(Cluster::shared().database(), setup)
    }

    /// Before a given database.
    pub fn on(database: Database, setup: &Setup) -> Self {
        let weir = Weir::start(&database, setup);
        Self { database, weir }
    }

    /// A logged-in client of the proxy.
    pub fn client(&self) -> Raw {
        self.weir.target().connect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.database.cluster().assert_never_refused();
        }
    }
}

/// Runs a scenario against PostgreSQL and, on a fresh database, through a pgweir with one server;
/// asserts that the transcripts are equal and returns them.
///
/// With `PGWEIR_TEST_ORACLE` set, only PostgreSQL is asked: to check an expectation itself.
pub fn both(scenario: impl Fn(&Target) -> Vec<String>) -> Vec<String> {
    both_with(&Setup::servers(1), scenario)
}

/// As [`both`], with a pgweir of one's own wishes.
pub fn both_with(setup: &Setup, scenario: impl Fn(&Target) -> Vec<String>) -> Vec<String> {
    let direct = {
        let database = Cluster::shared().database();
        anonymous(scenario(&database.target()), &database)
    };
    if std::env::var_os("PGWEIR_TEST_ORACLE").is_some() {
        return direct;
    }
    let stage = Stage::new(&as_told(setup));
    let through = anonymous(scenario(&stage.weir.target()), &stage.database);
    for (number, (through, direct)) in through.iter().zip(&direct).enumerate() {
        assert_eq!(through, direct, "line {number} through pgweir (left) and directly (right)");
    }
    assert_eq!(through.len(), direct.len(), "the lines that follow");
    direct
}

/// With `PGWEIR_TEST_POOLING` set to `session` or `observe`, scenarios are run in that mode, with a server
/// for each of their clients.
fn as_told(setup: &Setup) -> Setup {
    let Ok(mode) = std::env::var("PGWEIR_TEST_POOLING") else { return setup.clone() };
    let lines = match &*mode {
        "session" => "pooling = \"session\"",
        "observe" => "pooling = \"session\"\nobserve = true",
        _ => panic!("PGWEIR_TEST_POOLING is neither session nor observe: {mode}"),
    };
    let limits = setup.limits.replace("max_servers = 1", "max_servers = 9");
    Setup { limits, ..setup.clone().top(lines) }
}

/// PostgreSQL 13 reports a setting the moment it changes, later versions and pgweir ahead of
/// ReadyForQuery (`protocol-flow.html#PROTOCOL-ASYNC`): there too, on 13.
pub fn reported_late(line: &str) -> String {
    let is_report = |part: &&str| part.starts_with("S[");
    if major() > 13 || !line.ends_with(" Z[I]") || line.matches(" S[").count() > 1 {
        return line.to_owned();
    }
    let (reports, mut parts): (Vec<&str>, Vec<&str>) = line.split(' ').partition(is_report);
    parts.splice(parts.len() - 1..parts.len() - 1, reports);
    parts.join(" ")
}

fn anonymous(lines: Vec<String>, database: &Database) -> Vec<String> {
    lines.into_iter().map(|line| line.replace(database.name(), "DATABASE")).collect()
}

/// Clients that run a statement over and over, each of which must be answered as expected.
pub struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many, until [`Load::stop`].
    pub fn start(
        target: &Target,
        clients: usize,
        sql: &'static str,
        expected: &'static str,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (target, over) = (target.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut client = target.connect();
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(&query(sql)), expected);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { over, clients }
    }

    /// Fails if one of them has met anything else.
    pub fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client");
        }
    }
}

/// The seed of a random test: `PGWEIR_TEST_SEED`, or any. Printed, so that a failure can be seen again.
pub fn seed() -> u64 {
    let seed = number("PGWEIR_TEST_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("PGWEIR_TEST_SEED={seed}");
    seed
}

/// A number in an environment variable of the tests.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Waits for a condition that only polling can see; panics after ten seconds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status();
    assert!(status.expect("kill").success());
}

/// What psql prints for one query, on both streams; `environment` overrides the target's.
pub fn psql(target: &Target, environment: &[(&str, &str)], sql: &str) -> String {
    let output = Command::new("psql")
        .args(["-X", "-A", "-t", "-c", sql])
        .env("PGHOST", target.addr.ip().to_string())
        .env("PGPORT", target.addr.port().to_string())
        .env("PGDATABASE", &target.database)
        .env("PGUSER", &target.user)
        .env("PGPASSWORD", &target.password)
        .env("PGCONNECT_TIMEOUT", "20")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("psql");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The resident memory of a process now, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("process status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number of kB")
}

/// The processor time of a process until now, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("process status");
    // The name before may hold anything; behind it, user and system time are the 12th and 13th.
    let (_, behind) = stat.rsplit_once(')').expect("a name");
    let ticks = behind.split_whitespace().skip(11).take(2);
    // `USER_HZ` is 100 on all that Linux runs on here.
    ticks.map(|ticks| ticks.parse::<f64>().expect("ticks")).sum::<f64>() / 100.0
}
