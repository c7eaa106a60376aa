//! Real PostgreSQL: one shared cluster per process, or one of a test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use pgweir::demo::postgres::{Embedded, Options, find_binaries};

use super::messages::{V3_0, startup};
use super::raw::Raw;
use super::scram::verifier;
use super::weir::Setup;

/// A running PostgreSQL with the role `app`.
pub struct Cluster {
    postgres: Mutex<Embedded>,
    port: u16,
    admin_password: String,
    bin: PathBuf,
    databases: AtomicUsize,
}

/// One database of a cluster, owned by `app`.
#[derive(Clone)]
pub struct Database {
    cluster: Arc<Cluster>,
    name: String,
}

/// Where and as whom a client connects.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub addr: SocketAddr,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Cluster {
    /// The cluster that the tests of this process share; its process ends with ours.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(Options { limit: Some(100), ..Options::default() }))
            .clone()
    }

    /// A cluster with exactly so many slots for roles without extra rights.
    pub fn with_slots(slots: usize) -> Arc<Self> {
        Self::start(Options { limit: Some(slots), ..Options::default() })
    }

    /// A cluster of one's own.
    pub fn start(mut options: Options) -> Arc<Self> {
        let small = [
            ("shared_buffers", "16MB"),
            ("autovacuum", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("timezone", "UTC"),
            // Whether it can be had is said by each server once, at DEBUG.
            ("jit", "off"),
        ];
        let small = small.map(|(key, value)| (key.to_owned(), value.to_owned()));
        options.settings.splice(0..0, small);
        options.template = Some(template());
        let postgres = Embedded::start(&options).expect("a throwaway PostgreSQL");
        let cluster = Self {
            port: postgres.port(),
            admin_password: postgres.password().to_owned(),
            bin: postgres.bin().to_owned(),
            postgres: Mutex::new(postgres),
            databases: AtomicUsize::new(0),
        };
        let mut admin = cluster.admin("postgres");
        admin.rows(&format!("create role app login password '{}'", app_verifier()));
        admin.rows(&format!("create role lookup login password '{LOOKUP_PASSWORD}'"));
        Arc::new(cluster)
    }

    /// A new database.
    pub fn database(self: &Arc<Self>) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.admin("postgres").rows(&format!("create database {name} owner app"));
        Database { cluster: Arc::clone(self), name }
    }

    /// A superuser's connection, straight to PostgreSQL. It may use the reserved slots.
    pub fn admin(&self, database: &str) -> Raw {
        self.target(database, "postgres", &self.admin_password).connect()
    }

    /// Straight to PostgreSQL, as anyone.
    pub fn target(&self, database: &str, user: &str, password: &str) -> Target {
        Target {
            addr: (Ipv4Addr::LOCALHOST, self.port).into(),
            database: database.into(),
            user: user.into(),
            password: password.into(),
        }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its binaries.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The process itself: to crash and start it again.
    pub fn postgres(&self) -> std::sync::MutexGuard<'_, Embedded> {
        self.postgres.lock().expect("no test panicked while holding PostgreSQL")
    }

    /// PostgreSQL must never have refused a connection for want of slots.
    pub fn assert_never_refused(&self) {
        let refusals = self.postgres().refusals().expect("PostgreSQL's log");
        assert!(refusals.is_empty(), "PostgreSQL refused connections: {refusals:?}");
    }
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it lives.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Straight to it, as `app`.
    pub fn target(&self) -> Target {
        self.cluster.target(&self.name, "app", APP_PASSWORD)
    }

    /// Lets the role `lookup` read users, and says to pgweir how.
    pub fn auth_query(&self) -> Setup {
        self.admin().rows(
            "create function public.user_lookup(wanted text, out name text, out secret text, \
             out valid_until timestamptz, out can_login bool) language sql security definer \
             set search_path = pg_catalog as 'select rolname::text, rolpassword, rolvaliduntil, \
             rolcanlogin from pg_catalog.pg_authid where rolname = wanted'; \
             revoke execute on function public.user_lookup from public; \
             grant execute on function public.user_lookup to lookup",
        );
        Setup {
            auth: format!(
                "query = \"select * from public.user_lookup($1)\"\n\
                 query_user = \"lookup\"\nquery_password = \"{LOOKUP_PASSWORD}\"\n"
            ),
            ..Setup::default()
        }
    }

    /// A superuser's connection straight to it.
    pub fn admin(&self) -> Raw {
        self.cluster.admin(&self.name)
    }
}

impl Target {
    /// A connection without a login.
    pub fn open(&self) -> Raw {
        Raw::open(self.addr)
    }

    /// A logged-in client.
    pub fn connect(&self) -> Raw {
        self.connect_with(&[])
    }

    /// A logged-in client with further startup parameters.
    pub fn connect_with(&self, parameters: &[(&str, &str)]) -> Raw {
        let mut raw = self.open();
        let seen = raw.log_in(&self.startup(V3_0, parameters), &self.password);
        let ready = seen.last().is_some_and(|event| event.is('Z'));
        assert!(ready, "login as {} failed: {seen:?}", self.user);
        raw
    }

    /// A connection that has sent its startup packet and been asked for SCRAM.
    pub fn challenged(&self) -> Raw {
        let mut raw = self.open();
        raw.send(&self.startup(V3_0, &[]));
        let asked = raw.event();
        assert!(asked.is('R'), "expected an authentication request, got {asked:?}");
        raw
    }

    /// Its startup packet.
    pub fn startup(&self, version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let ours = [("user", self.user.as_str()), ("database", self.database.as_str())];
        startup(version, &[&ours[..], parameters].concat())
    }

    /// The same place as another role.
    pub fn as_user(&self, user: &str, password: &str) -> Self {
        Self { user: user.into(), password: password.into(), ..self.clone() }
    }
}

/// The major version of PostgreSQL, for expectations that follow it.
pub fn major() -> u32 {
    major_of(version())
}

/// The same of what one of its programs says of itself.
pub fn major_of(version: &str) -> u32 {
    let digits = |c: char| c.is_ascii_digit();
    let number = version.split(|c| !digits(c)).find(|part| !part.is_empty());
    number.and_then(|number| number.parse().ok()).expect("a number in PostgreSQL's version")
}

/// What `postgres --version` prints.
fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let postgres = find_binaries().expect("a PostgreSQL").join("postgres");
        let output = Command::new(postgres).arg("--version").output().expect("postgres");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// Where this PostgreSQL's data directory is kept as `initdb` made it; each build has its own.
fn template() -> PathBuf {
    let name = version().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster-templates").join(name)
}

/// What `pg_authid` and pgweir's configuration hold for `app`: the same text in both, so that
/// pgweir can log in by the client's own key.
pub fn app_verifier() -> &'static str {
    static VERIFIER: OnceLock<String> = OnceLock::new();
    VERIFIER.get_or_init(|| verifier(APP_PASSWORD, b"salt of the test"))
}

/// The password of `app`; known to clients only.
pub const APP_PASSWORD: &str = "open sesame 17";

pub const LOOKUP_PASSWORD: &str = "librarian";
