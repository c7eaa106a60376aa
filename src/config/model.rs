//! The shape of a configuration: typed settings with their defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Password;
use super::units::{self, Share};
use super::warm::Warm;
use crate::class::Class;
use crate::session::listening::ListenMode;
use crate::session::pins::Pins;
use crate::session::pooling::Pooling;
use crate::session::rules::{DynamicSet, PinRules, SequenceRule, Suspicion};

/// Everything pgweir can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: Vec<ListenAddr>,
    /// TLS towards clients.
    pub client_tls: ClientTls,
    /// How clients prove who they are.
    pub auth: AuthConfig,
    /// Known users by name.
    pub users: BTreeMap<String, User>,
    /// Databases by alias.
    pub databases: BTreeMap<String, Database>,
    /// The database used for aliases that are not in `databases` (`[databases."*"]`).
    pub fallback: Option<Database>,
    /// Classes of clients, the first that takes a client first.
    pub classes: Vec<Class>,
    /// Pools that are kept warm.
    pub warm: Vec<Warm>,
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// HTTP address of `/metrics`, `/healthz`, `/readyz`; `None` switches it off.
    pub http_listen: Option<SocketAddr>,
    /// Clients that keep their server.
    pub pins: PinsConfig,
    /// The SQL console.
    pub admin: AdminConfig,
    /// What happens to the work of a client that is gone.
    pub on_client_gone: OnClientGone,
    /// For how long clients are lent servers, unless a database says otherwise.
    pub pooling: PoolingMode,
    /// Whether it is found out what transaction pooling would do instead; likewise.
    pub observe: bool,
    /// Log level filter and format.
    pub log: LogConfig,
    /// Worker threads of the runtime; 0 = one per core.
    pub workers: usize,
    /// Whether other processes may listen on the same ports.
    pub reuse_port: bool,
}

/// Clients that keep their server between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinsConfig {
    /// What becomes of LISTEN, unless a database says otherwise.
    pub listen: ListenMode,
    /// How many of a pool's clients may at a time.
    pub max_pinned: Share,
    /// Reasons that nobody may for.
    pub refuse: Pins,
    /// Which texts are suspected of leaving state.
    pub suspicion: Suspicion,
    /// What becomes of numbers drawn from sequences.
    pub sequences: SequenceRule,
    /// What becomes of settings whose name no text shows.
    pub dynamic_set: DynamicSet,
}

/// The SQL console, which is the database [`CONSOLE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Who may use it, and change what it shows; without anybody there is no console.
    pub users: Vec<String>,
    /// Who may look at it.
    pub readers: Vec<String>,
    /// What changes over HTTP are allowed by; without it there are none.
    pub http_token: Option<Password>,
}

/// The name of the console, as a database.
pub const CONSOLE: &str = "pgweir";

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP address, IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix-domain socket path.
    Unix(PathBuf),
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// `disable`, `allow` or `require`.
    pub mode: ClientTlsMode,
    /// Certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

/// Whether clients may or must use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientTlsMode {
    /// `N` to every SSLRequest.
    Disable,
    /// TLS if the client asks for it.
    Allow,
    /// A plaintext StartupMessage is refused.
    Require,
}

/// TLS towards PostgreSQL, with libpq's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTlsMode {
    /// Never.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Always, any certificate.
    Require,
    /// Always, certificate signed by a trusted CA.
    VerifyCa,
    /// As `VerifyCa`, and the host name matches.
    VerifyFull,
}

/// Whether a login to PostgreSQL is bound to its TLS connection, with libpq's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelBindingMode {
    /// If the server offers it.
    #[default]
    Prefer,
    /// Always: who cannot bind it is not logged in to.
    Require,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// The method asked of clients.
    pub method: AuthMethod,
    /// `userlist` file in PgBouncer's format; its users are merged into `users` (the file's own win).
    pub userlist: Option<PathBuf>,
    /// Look users up in PostgreSQL when they are in neither list.
    pub query: Option<AuthQuery>,
    /// How long a looked-up secret is believed.
    pub cache_ttl: Duration,
    /// Failed logins of one address within a minute after which the answers to others are kept back; 0 = never.
    pub delay_after: u32,
    /// `trust` on addresses that are not loopback was said twice.
    pub trust_remote: bool,
}

/// Authentication method asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthMethod {
    /// No proof asked.
    Trust,
    /// SCRAM-SHA-256, and -PLUS on TLS.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// MD5 (off unless chosen).
    Md5,
    /// Cleartext, on TLS or Unix sockets only.
    Cleartext,
}

/// `auth_query`: looking users up over the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthQuery {
    /// The query, with `$1` for the user name; returns name, secret and optionally a valid-until
    /// timestamptz and a can-login bool.
    pub query: String,
    /// The role that runs it.
    pub user: String,
    /// Its password.
    pub password: Option<Password>,
    /// Where it runs; the client's own database when `None`.
    pub dbname: Option<String>,
}

/// A known user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What a client's proof is checked against: a plain text, `SCRAM-SHA-256$...` or `md5...`.
    pub secret: Option<Password>,
    /// What pgweir logs in to PostgreSQL with, when it is not `secret` (plain) or the ClientKey
    /// recovered from the client's proof.
    pub server_password: Option<Password>,
}

/// One database that clients can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Host name, address, or the directory of a Unix socket (starts with `/`).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name at PostgreSQL; the alias itself when `None`.
    pub dbname: Option<String>,
    /// Log in to PostgreSQL as this user, whoever the client is.
    pub user: Option<String>,
    /// The forced user's password.
    pub password: Option<Password>,
    /// TLS to PostgreSQL.
    pub tls: ServerTls,
    /// Run on each new server connection (RDS InitQuery).
    pub init_query: Option<String>,
    /// Overrides `limits.max_servers` for pools of this database.
    pub max_servers: Option<Share>,
    /// Overrides `pins.listen` for this database.
    pub listen: Option<ListenMode>,
    /// Overrides `pooling` for this database.
    pub pooling: Option<PoolingMode>,
    /// Overrides `observe` for this database.
    pub observe: Option<bool>,
}

/// TLS to one PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// Mode.
    pub mode: ServerTlsMode,
    /// Trusted certificates, PEM; required by the verify modes.
    pub ca: Option<PathBuf>,
    /// Whether logins are bound to it.
    pub channel_binding: ChannelBindingMode,
}

/// Sizes; every one is a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients that are logged in.
    #[serde(deserialize_with = "units::count")]
    pub max_clients: usize,
    /// Clients that are logged in, per database as they name it; 0 = no limit.
    #[serde(deserialize_with = "units::count")]
    pub max_clients_database: usize,
    /// Likewise per user; 0 = no limit.
    #[serde(deserialize_with = "units::count")]
    pub max_clients_user: usize,
    /// Likewise per source address; 0 = no limit.
    #[serde(deserialize_with = "units::count")]
    pub max_clients_source: usize,
    /// Connections that have not logged in yet; 0 = no limit of its own.
    #[serde(deserialize_with = "units::count")]
    pub max_logins: usize,
    /// Likewise per source address; 0 = no limit.
    #[serde(deserialize_with = "units::count")]
    pub max_logins_source: usize,
    /// Servers per pool (database, user); a share is one of what PostgreSQL has, here and below.
    pub max_servers: Share,
    /// Servers per database over its users; 0 = no limit of its own.
    pub max_servers_database: Share,
    /// Servers per user over databases, on each PostgreSQL host; 0 = no limit of its own.
    pub max_servers_user: Share,
    /// Servers per PostgreSQL host over databases and users, control connections included; 0 = no limit of its own.
    pub max_servers_host: Share,
    /// Connections to one PostgreSQL host that are being opened at once; 0 = as many as it keeps up with.
    #[serde(deserialize_with = "units::count")]
    pub connects_at_once: usize,
    /// Connections to one PostgreSQL host that are begun in a second; 0 = no limit.
    #[serde(deserialize_with = "units::count")]
    pub connects_per_second: usize,
    /// Servers kept open per pool that has been used.
    #[serde(deserialize_with = "units::count")]
    pub min_idle: usize,
    /// Idle servers kept per pool at most.
    pub max_idle: Share,
    /// It is not set: a pool with a size of its own may keep all of it.
    #[serde(skip)]
    pub idle_follows: bool,
    /// Servers of a pool beyond `max_servers` while a client has waited for `timeouts.reserve`.
    #[serde(deserialize_with = "units::count")]
    pub reserve: usize,
}

/// Times; zero switches those off that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// The client's share of its login.
    #[serde(deserialize_with = "units::duration")]
    pub login: Duration,
    /// Waiting for a server.
    #[serde(deserialize_with = "units::duration")]
    pub checkout: Duration,
    /// A client that has waited for so long may be given a server of `limits.reserve`.
    #[serde(deserialize_with = "units::duration")]
    pub reserve: Duration,
    /// A client that waits for a server is told why; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub wait_notice: Duration,
    /// TCP, TLS and login to PostgreSQL.
    #[serde(deserialize_with = "units::duration")]
    pub server_connect: Duration,
    /// An idle server above `min_idle` is closed.
    #[serde(deserialize_with = "units::duration")]
    pub server_idle: Duration,
    /// Age at which a server is replaced, times 0.9 to 1.1.
    #[serde(deserialize_with = "units::duration")]
    pub server_lifetime: Duration,
    /// Idle time after which a server is checked before use.
    #[serde(deserialize_with = "units::duration")]
    pub server_check: Duration,
    /// How long a client's machine may acknowledge nothing while the client has a server.
    #[serde(deserialize_with = "units::duration")]
    pub client_dead: Duration,
    /// How long a server's machine may leave unacknowledged what was sent.
    #[serde(deserialize_with = "units::duration")]
    pub server_dead: Duration,
    /// Waiting for a closing server's EOF.
    #[serde(deserialize_with = "units::duration")]
    pub server_close: Duration,
    /// A cancel connection.
    #[serde(deserialize_with = "units::duration")]
    pub cancel: Duration,
    /// Cleaning up behind a client that is gone.
    #[serde(deserialize_with = "units::duration")]
    pub client_gone: Duration,
    /// Waiting for transactions to end at shutdown.
    #[serde(deserialize_with = "units::duration")]
    pub drain: Duration,
    /// Accepting clients still, while `/readyz` says that pgweir is leaving, before that; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub drain_delay: Duration,
    /// Serving those who are connected, with the listeners closed, before they are ended; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub drain_clients: Duration,
    /// A client without a transaction and without a request; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub idle_client: Duration,
    /// A client inside a transaction without a request; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub idle_in_transaction: Duration,
    /// A transaction as a whole; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub transaction: Duration,
    /// A query; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub query: Duration,
    /// A pinned client without a request; 0 = off.
    #[serde(deserialize_with = "units::duration")]
    pub pin_idle: Duration,
}

/// What happens to the work of a client that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnClientGone {
    /// It is cancelled and rolled back.
    Cancel,
    /// It runs to its end, and what is left open is rolled back.
    Complete,
}

/// For how long clients are lent servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolingMode {
    /// For a transaction, or as long as something pins them.
    #[default]
    Transaction,
    /// Until they leave.
    Session,
}

/// Log output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A `tracing` filter, `info` by default.
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_clients_database: 0,
            max_clients_user: 0,
            max_clients_source: 0,
            max_logins: 5_000,
            max_logins_source: 0,
            max_servers: Share::Count(20),
            max_servers_database: Share::Count(0),
            max_servers_user: Share::Count(0),
            max_servers_host: Share::Count(0),
            connects_at_once: 0,
            connects_per_second: 0,
            min_idle: 0,
            max_idle: Share::Count(20),
            idle_follows: true,
            reserve: 0,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            login: secs(15),
            checkout: secs(120),
            reserve: secs(5),
            wait_notice: secs(5),
            server_connect: secs(5),
            server_idle: secs(600),
            server_lifetime: secs(3600),
            server_check: secs(30),
            client_dead: secs(60),
            server_dead: secs(15),
            server_close: secs(5),
            cancel: secs(5),
            client_gone: secs(5),
            drain: secs(30),
            drain_delay: Duration::ZERO,
            drain_clients: Duration::ZERO,
            idle_client: secs(1800),
            idle_in_transaction: secs(300),
            transaction: Duration::ZERO,
            query: Duration::ZERO,
            pin_idle: Duration::ZERO,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

impl Config {
    /// The database a client means by `alias`: its own entry, else the fallback.
    pub fn database(&self, alias: &str) -> Option<&Database> {
        self.databases.get(alias).or(self.fallback.as_ref())
    }

    /// Whose the servers of a database are. A database that is pooled by transaction has nothing to
    /// observe.
    pub fn pooling_of(&self, database: &Database) -> Pooling {
        match database.pooling.unwrap_or(self.pooling) {
            PoolingMode::Transaction => Pooling::Transaction,
            PoolingMode::Session if database.observe.unwrap_or(self.observe) => Pooling::Observe,
            PoolingMode::Session => Pooling::Session,
        }
    }
}

impl Default for PinsConfig {
    fn default() -> Self {
        Self {
            listen: ListenMode::Share,
            max_pinned: Share::Percent(75),
            refuse: Pins::NONE,
            suspicion: Suspicion::default(),
            sequences: SequenceRule::default(),
            dynamic_set: DynamicSet::default(),
        }
    }
}

impl PinsConfig {
    /// The rules of a pool of so many servers.
    pub fn rules(&self, max_servers: usize) -> PinRules {
        PinRules {
            max_pinned: self.max_pinned.of(max_servers),
            refused: self.refuse,
            suspicion: self.suspicion,
            sequences: self.sequences,
            dynamic_set: self.dynamic_set,
        }
    }
}

impl AdminConfig {
    /// Whether there is a console.
    pub fn is_on(&self) -> bool {
        !self.users.is_empty() || !self.readers.is_empty()
    }

    /// Whether a user who has logged in may use it.
    pub fn lets_in(&self, user: &str) -> bool {
        self.lets_change(user) || self.readers.iter().any(|reader| reader == user)
    }

    /// Whether such a user may change what it shows.
    pub fn lets_change(&self, user: &str) -> bool {
        self.users.iter().any(|admin| admin == user)
    }
}

impl Database {
    /// The name at PostgreSQL of the database that a client calls `alias`.
    pub fn dbname_for<'a>(&'a self, alias: &'a str) -> &'a str {
        self.dbname.as_deref().unwrap_or(alias)
    }
}

impl ListenAddr {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// As `sslmode` has it.
impl fmt::Display for ServerTlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}
