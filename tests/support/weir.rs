//! The built pgweir binary, with a configuration and a log of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pgweir::demo::postgres::free_port;
use tempfile::TempDir;

use super::cluster::{Database, Target, app_verifier};
use super::middleman::Middleman;
use super::wait_until;

/// What differs from the plain configuration: lines of TOML for each part.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Before the first table.
    pub top: String,
    /// `auth.method`; SCRAM if empty.
    pub method: String,
    /// The secret of the user `app`; its verifier if empty.
    pub secret: String,
    /// Further listening addresses.
    pub listen: Vec<String>,
    /// `[auth]`.
    pub auth: String,
    /// `[limits]`.
    pub limits: String,
    /// `[timeouts]`.
    pub timeouts: String,
    /// In the table of the test's database.
    pub database: String,
    /// `tls` in that table; `disable` if empty.
    pub server_tls: String,
    /// Further tables.
    pub tables: String,
    /// Where pgweir finds PostgreSQL, if not at its own port.
    pub upstream: Option<u16>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
}

/// A running pgweir; killed on drop.
pub struct Weir {
    child: Child,
    addr: SocketAddr,
    http: SocketAddr,
    database: Database,
    folder: TempDir,
}

impl Setup {
    /// A pool of so many servers.
    pub fn servers(count: usize) -> Self {
        Self { limits: format!("max_servers = {count}"), ..Self::default() }
    }

    /// With further `[timeouts]` lines.
    pub fn timeouts(mut self, lines: &str) -> Self {
        let _ = writeln!(self.timeouts, "{lines}");
        self
    }

    /// With further `[limits]` lines.
    pub fn limits(mut self, lines: &str) -> Self {
        let _ = writeln!(self.limits, "\n{lines}");
        self
    }

    /// With further top-level lines.
    pub fn top(mut self, lines: &str) -> Self {
        let _ = writeln!(self.top, "{lines}");
        self
    }

    /// With a middleman before PostgreSQL.
    pub fn behind(mut self, middleman: &Middleman) -> Self {
        self.upstream = Some(middleman.port());
        self
    }

    /// With further tables, or lines of the last one.
    pub fn tables(mut self, lines: &str) -> Self {
        let _ = writeln!(self.tables, "{lines}");
        self
    }

    fn toml(&self, addr: SocketAddr, http: SocketAddr, database: &Database) -> String {
        let Self { top, auth, limits, timeouts, database: lines, tables, .. } = self;
        let (name, verifier) = (database.name(), app_verifier());
        let port = self.upstream.unwrap_or(database.cluster().port());
        // TOML takes a key once.
        let checkout = if timeouts.contains("checkout") { "" } else { "checkout = \"20s\"\n" };
        // A slow machine makes clients wait, of which they are told.
        let notice = if timeouts.contains("wait_notice") { "" } else { "wait_notice = 0\n" };
        let verifier = if self.secret.is_empty() { verifier } else { &self.secret };
        let method = if self.method.is_empty() { "scram-sha-256" } else { &self.method };
        let mut listen = String::new();
        for addr in &self.listen {
            let _ = write!(listen, ", \"{addr}\"");
        }
        let tls = if self.server_tls.is_empty() { "disable" } else { &self.server_tls };
        format!(
            "listen = [\"{addr}\"{listen}]\nhttp_listen = \"{http}\"\n{top}\n\
             [auth]\nmethod = \"{method}\"\n{auth}\n\
             [limits]\n{limits}\n\
             [timeouts]\n{checkout}{notice}{timeouts}\n\
             [users.app]\nsecret = \"{verifier}\"\n\
             [databases.{name}]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\n{lines}\n\
             {tables}\n"
        )
    }
}

impl Weir {
    /// Starts it before a database and waits until it accepts.
    pub fn start(database: &Database, setup: &Setup) -> Self {
        for _ in 0..MOST_STARTS {
            if let Some(weir) = Self::try_start(database, setup, (free_addr(), free_addr())) {
                return weir;
            }
        }
        panic!("others take each free port first");
    }

    /// Starts another beside it, on the same ports.
    pub fn successor(&self, setup: &Setup) -> Self {
        Self::try_start(&self.database, setup, (self.addr, self.http)).expect("shared ports")
    }

    /// `None` if somebody else has taken its port meanwhile.
    fn try_start(
        database: &Database,
        setup: &Setup,
        (addr, http): (SocketAddr, SocketAddr),
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let toml = setup.toml(addr, http, database);
        fs::write(folder.path().join("pgweir.toml"), toml).expect("a configuration file");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgweir"));
        // pgweir refuses variables that it does not know, and these are for us.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PGWEIR_ORACLE_")) {
            command.env_remove(name);
        }
        let child = command
            .args(["serve", "--config"])
            .arg(folder.path().join("pgweir.toml"))
            .envs(setup.env.iter().cloned())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the pgweir binary");
        let mut weir = Self { child, addr, http, database: database.clone(), folder };
        let mut ended = None;
        // Whoever accepts first may be somebody else's, which a log of errors alone does not tell.
        let listens = format!("listening for clients address={addr}");
        let mut accepted: Option<Instant> = None;
        wait_until("pgweir accepts", || {
            ended = weir.child.try_wait().expect("pgweir's state");
            if accepted.is_none() && TcpStream::connect(addr).is_ok() {
                accepted = Some(Instant::now());
            }
            let silent = || accepted.is_some_and(|since| since.elapsed() > SILENT);
            ended.is_some() || (accepted.is_some() && weir.log().contains(&listens)) || silent()
        });
        let unlucky = ended.is_some() && weir.log().contains("the address is in use");
        assert!(ended.is_none() || unlucky, "pgweir ended: {ended:?}\n{}", weir.log());
        ended.is_none().then_some(weir)
    }

    /// Through it to its database, as `app`.
    pub fn target(&self) -> Target {
        Target { addr: self.addr, ..self.database.target() }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where it answers over HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file, for a reload.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("pgweir.toml")
    }

    /// Changes its configuration file and asks it to read it again.
    pub fn reload(&self, change: impl FnOnce(String) -> String) {
        let old = fs::read_to_string(self.config_path()).expect("the configuration file");
        fs::write(self.config_path(), change(old)).expect("the configuration file");
        self.signal("HUP");
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill").success(), "cannot signal pgweir");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("pgweir ends", || {
            status = self.child.try_wait().expect("pgweir's state");
            status.is_some()
        });
        status.expect("a status")
    }

    /// One HTTP GET: status line and body.
    pub fn http(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.http).expect("pgweir's HTTP address");
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// The same of a metric that counts.
    pub fn count(&self, name: &str, labels: &str) -> u64 {
        self.metric(name, labels).round() as u64
    }

    /// The sum of a metric over all label sets that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let (_, body) = self.http("/metrics");
        let lines = body.lines().filter(|line| !line.starts_with('#') && line.contains(labels));
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
        });
        values.sum()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- pgweir's log ---\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "pgweir panicked:\n{log}");
        }
    }
}

/// An address on loopback that was free a moment ago.
pub fn free_addr() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port().expect("a free port")).into()
}

/// How long it takes at most to end where the address is taken.
const SILENT: Duration = Duration::from_millis(500);

/// How often a port may be taken by others between its choice and its use.
const MOST_STARTS: usize = 5;
