//! Typed settings, parsed once into valid values.
//!
//! Owns: the shape of the configuration, its defaults, its sources (file, environment, flags) and
//! what a reload changes. Invariant: a [`Config`] that exists is valid; nothing downstream checks a
//! setting again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything pgweir can be told.
#[derive(Debug, Clone)]
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
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// HTTP address of `/metrics`, `/healthz`, `/readyz`; `None` switches it off.
    pub http_listen: Option<SocketAddr>,
    /// What happens to the work of a client that is gone.
    pub on_client_gone: OnClientGone,
    /// Log level filter and format.
    pub log: LogConfig,
    /// Worker threads of the runtime; 0 = one per core.
    pub workers: usize,
}
