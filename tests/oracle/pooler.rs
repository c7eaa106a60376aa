//! What stands between the sessions and PostgreSQL: pgweir, or PgBouncer for comparison.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::cluster::app_verifier;
use crate::support::weir::free_addr;
use crate::support::{Database, Setup, Target, Weir, wait_until};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// pgweir, with its default settings but for the number of servers, all of which may be pinned.
    Weir,
    /// The same, with transactions that take no server before their first statement.
    Lazy,
    /// pgweir with the handling of one kind of state switched off.
    Without(&'static str),
    /// PgBouncer in transaction mode, with prepared statements if its version knows them.
    Bouncer,
    /// Nothing: PostgreSQL must be the same as itself, or the comparison is at fault.
    Nothing,
}

/// A running one; ended on drop.
pub enum Pooler {
    /// pgweir.
    Weir(Weir),
    /// PgBouncer.
    Bouncer(Bouncer),
    /// PostgreSQL itself.
    Nothing(Target),
}

/// A running PgBouncer.
pub struct Bouncer {
    child: Child,
    target: Target,
    _folder: TempDir,
}

impl Pooler {
    /// Starts one before a database, with so many servers per pool.
    pub fn start(kind: Kind, database: &Database, servers: usize) -> Self {
        match kind {
            Kind::Weir => Self::Weir(Weir::start(database, &setup(servers))),
            Kind::Lazy => {
                let mut setup = setup(servers);
                setup.tables += "[[classes]]\nname = \"all\"\nlazy_begin = true\n";
                Self::Weir(Weir::start(database, &setup))
            }
            Kind::Without(switch) => {
                let mut setup = setup(servers);
                setup.env.push((SWITCH.to_owned(), switch.to_owned()));
                Self::Weir(Weir::start(database, &setup))
            }
            Kind::Bouncer => Self::Bouncer(Bouncer::start(database, servers)),
            Kind::Nothing => Self::Nothing(database.target()),
        }
    }

    /// Through it to its database.
    pub fn target(&self) -> Target {
        match self {
            Self::Weir(weir) => weir.target(),
            Self::Bouncer(bouncer) => bouncer.target.clone(),
            Self::Nothing(target) => target.clone(),
        }
    }
}

fn setup(servers: usize) -> Setup {
    Setup {
        method: "trust".into(),
        // Nobody is asked for it. A verifier, since pgweir would hash a password in each of its starts.
        // Sessions of a program all pin servers, more than a pool lets them by default.
        tables: format!(
            "[users.boss]\nsecret = \"{}\"\n[pins]\nmax_pinned = \"100%\"\n",
            app_verifier()
        ),
        ..Setup::servers(servers)
    }
    // Below the patience of a session, so that it is told rather than left waiting.
    .timeouts("checkout = \"10s\"")
}

impl Bouncer {
    fn start(database: &Database, servers: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(path, everyone).expect("a folder that PgBouncer can write to");
        let addr = free_addr();
        let (name, port, at) = (database.name(), database.cluster().port(), path.display());
        let ini = format!(
            "[databases]\n{name} = host=127.0.0.1 port={port} dbname={name}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {at}/users\npool_mode = transaction\ndefault_pool_size = {servers}\n\
             query_wait_timeout = 10\nmax_client_conn = 100\nlogfile = {at}/log\n\
             ignore_startup_parameters = search_path,options,extra_float_digits\n",
            addr.port()
        );
        fs::write(path.join("users"), "\"app\" \"\"\n\"boss\" \"\"\n").expect("a user list");
        fs::write(path.join("pgbouncer.ini"), ini).expect("a configuration file");
        // It refuses to run as root.
        let child = Command::new("setpriv")
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
            .arg(binary())
            .args(["-q"])
            .arg(path.join("pgbouncer.ini"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv and pgbouncer");
        wait_until("PgBouncer accepts", || TcpStream::connect(addr).is_ok());
        let target = Target { addr, ..database.target() };
        Self { child, target, _folder: folder }
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which PgBouncer this is.
pub fn version() -> String {
    let output = Command::new(binary()).arg("--version").output().expect("pgbouncer");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// Where Debian puts it, or where the PATH says.
fn binary() -> PathBuf {
    let debian = Path::new("/usr/sbin/pgbouncer");
    if debian.exists() { debian.into() } else { "pgbouncer".into() }
}

/// The variable that switches a handling off. No setting: pgweir heeds it in debug builds only.
const SWITCH: &str = "PGWEIR_TEST_WITHOUT";
