//! A throwaway PostgreSQL of our own: the embedded default of the demo, and what the tests run on.
//!
//! Owns: finding the binaries, `initdb` in a temporary folder, the server process and their removal.
//! Invariant: never runs as root, listens on loopback only, and leaves nothing behind, even when
//! this process is killed: a small watching shell holds the other end of a pipe and tidies up at
//! its end-of-file. The API is blocking; call it from async code by `spawn_blocking`.

mod data;
mod system;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use thiserror::Error;

use self::data::{configure, make_data};
use self::system::{Owner, during, owner_of, unprivileged};
use crate::clock::Instant;

pub use self::system::{find_binaries, free_port};

/// Why no throwaway PostgreSQL could be had.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// `PGWEIR_PG_BIN` names another folder.
    #[error(
        "PGWEIR_PG_BIN: {} does not hold `postgres` and `initdb`; expected the bin folder of a \
         PostgreSQL server",
        .0.display()
    )]
    BadBinVariable(PathBuf),
    /// No folder with both `postgres` and `initdb`.
    #[error(
        "no PostgreSQL server found: looked in $PATH and /usr/lib/postgresql/*/bin; \
         install it (Debian: apt-get install postgresql) or set PGWEIR_PG_BIN to its bin folder"
    )]
    NoBinaries,
    /// We are root and know nobody else to run as.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has neither `postgres` nor `nobody`"
    )]
    NoUnprivilegedUser,
    /// A file or process operation failed.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A tool of PostgreSQL ended with an error.
    #[error("{tool} failed: {output}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// What it wrote.
        output: String,
    },
    /// The server ended, or was not ready in time.
    #[error("PostgreSQL did not start; its log ends with:\n{log}")]
    NotReady {
        /// The end of its log.
        log: String,
    },
}

/// What the throwaway server should be like.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Connections that roles without extra rights can hold: `max_connections` is this plus
    /// `superuser_reserved_connections`. PostgreSQL's own default when `None`.
    pub limit: Option<usize>,
    /// Further lines of `postgresql.conf`; they win over ours.
    pub settings: Vec<(String, String)>,
    /// The whole `pg_hba.conf`; SCRAM for everyone when `None`.
    pub hba: Option<String>,
    /// Certificate and key, PEM; switches TLS on.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A folder that keeps what `initdb` made, so that later starts copy it. The superuser's
    /// password is then the same in all of them.
    pub template: Option<PathBuf>,
}

/// A running throwaway PostgreSQL; stopped and deleted on drop.
#[derive(Debug)]
pub struct Embedded {
    bin: PathBuf,
    owner: Option<Owner>,
    folder: PathBuf,
    port: u16,
    password: String,
    server: Option<Child>,
    watcher: Child,
    lifeline: Option<ChildStdin>,
}

impl Embedded {
    /// Makes and starts a server, and waits until it accepts connections.
    pub fn start(options: &Options) -> Result<Self, EmbeddedError> {
        let bin = find_binaries()?;
        let folder = tempfile::Builder::new()
            .prefix("pgweir-pg-")
            .tempdir()
            .map_err(during("create a temporary folder"))?;
        let owner = owner_of(&folder)?;
        let password = make_data(&bin, folder.path(), owner, options.template.as_deref())?;
        let (watcher, lifeline) = watch(folder.path())?;
        let mut embedded = Self {
            bin,
            owner,
            folder: folder.keep(),
            port: 0,
            password,
            server: None,
            watcher,
            lifeline: Some(lifeline),
        };
        for _ in 1..LAUNCH_ATTEMPTS {
            match embedded.launch_anywhere(options) {
                // Somebody else has begun to listen there since.
                Err(EmbeddedError::NotReady { log }) if log.contains("could not bind") => {}
                result => return result.map(|()| embedded),
            }
        }
        embedded.launch_anywhere(options).map(|()| embedded)
    }

    fn launch_anywhere(&mut self, options: &Options) -> Result<(), EmbeddedError> {
        self.port = free_port().map_err(during("find a free port"))?;
        configure(&self.folder, self.owner, self.port, options)?;
        self.launch()
    }

    /// The TCP port, on 127.0.0.1 only.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of the superuser `postgres`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A DSN of the superuser for one database.
    pub fn dsn(&self, dbname: &str) -> String {
        let (password, port) = (&self.password, self.port);
        format!("postgres://postgres:{password}@127.0.0.1:{port}/{dbname}")
    }

    /// The folder of the binaries in use (`psql` and `pgbench` are usually there too).
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The server's log file; each line carries the SQLSTATE after the process id.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Lines of the log that say PostgreSQL refused a connection because it had too many
    /// (SQLSTATE 53300).
    pub fn refusals(&self) -> io::Result<Vec<String>> {
        let log = fs::read(self.log_path())?;
        let log = String::from_utf8_lossy(&log);
        Ok(log.lines().filter(|line| line.contains("] 53300 ")).map(str::to_owned).collect())
    }

    /// Kills the server at once, as a crash would, and waits for its end.
    pub fn crash(&mut self) -> Result<(), EmbeddedError> {
        self.stop("QUIT")
    }

    /// Stops the server in the "fast" way: sessions end with 57P01. Waits for its end.
    pub fn shut_down(&mut self) -> Result<(), EmbeddedError> {
        self.stop("INT")
    }

    /// Starts the server again, on the same port, after [`Self::crash`] or [`Self::shut_down`].
    pub fn launch(&mut self) -> Result<(), EmbeddedError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log_path())
            .map_err(during("open PostgreSQL's log"))?;
        let copy = log.try_clone().map_err(during("open PostgreSQL's log"))?;
        let mut command = unprivileged(&self.bin.join("postgres"), &self.folder, self.owner);
        // A process group of its own: Ctrl-C at the terminal must reach us first, not PostgreSQL.
        command.arg("-D").arg(self.data_dir()).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        let server = command.spawn().map_err(during("start postgres"))?;
        self.server = Some(server);
        self.wait_until_ready()
    }

    /// `postmaster.pid` says `ready`, or `standby`, in its eighth line, which is what pg_ctl waits
    /// for as well.
    fn wait_until_ready(&mut self) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let state = self.data_dir().join("postmaster.pid");
        while Instant::now() < deadline {
            let ended = match &mut self.server {
                Some(server) => server.try_wait().map_err(during("wait for postgres"))?.is_some(),
                None => true,
            };
            if ended {
                break;
            }
            let text = fs::read_to_string(&state).unwrap_or_default();
            if text.lines().nth(7).is_some_and(|line| ["ready", "standby"].contains(&line.trim())) {
                return Ok(());
            }
            std::thread::sleep(START_POLL);
        }
        Err(EmbeddedError::NotReady { log: tail(&self.log_path()) })
    }

    fn stop(&mut self, signal: &str) -> Result<(), EmbeddedError> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        // std has no signals but KILL, which would leave shared memory and children behind.
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(server.id().to_string())
            .status()
            .map_err(during("run kill"))?;
        if !status.success() {
            server.kill().map_err(during("kill postgres"))?;
        }
        server.wait().map_err(during("wait for postgres"))?;
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The watcher ends the server and deletes the folder; the server must be reaped meanwhile,
        // since a zombie looks alive to it. Nobody is left to hear of a failure.
        drop(self.lifeline.take());
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        let _ = self.watcher.wait();
    }
}

/// Starts the shell that ends the server and deletes the folder once our end of its pipe closes.
fn watch(folder: &Path) -> Result<(Child, ChildStdin), EmbeddedError> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(WATCH_SCRIPT).arg("pgweir-watch").arg(folder);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut watcher = shell.spawn().map_err(during("start a shell"))?;
    let lifeline = watcher.stdin.take().ok_or_else(|| EmbeddedError::Io {
        doing: "talk to a shell",
        source: io::ErrorKind::BrokenPipe.into(),
    })?;
    Ok((watcher, lifeline))
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

const LOG_TAIL: usize = 15;
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LAUNCH_ATTEMPTS: usize = 4;
const START_POLL: Duration = Duration::from_millis(5);

/// SIGQUIT is PostgreSQL's immediate shutdown: nothing in there is worth a checkpoint.
const WATCH_SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r _
if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
    kill -QUIT "$pid" 2>/dev/null
    n=0
    while kill -0 "$pid" 2>/dev/null && [ "$n" -lt 200 ]; do sleep 0.05; n=$((n + 1)); done
fi
rm -rf "$1"
"#;
