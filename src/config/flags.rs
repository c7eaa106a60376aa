//! Settings from the command line.

use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::env::insert;
use super::keys::{self, Key};

/// The settings that have a flag. `Debug` prints no connection string.
#[derive(Clone, Default, clap::Args)]
pub struct Flags {
    /// Read settings from this TOML file [env: PGWEIR_CONFIG].
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve the database of this connection string: postgres://user:password@host:port/dbname.
    /// Given as PGWEIR_UPSTREAM instead, it does not show in the list of processes.
    #[arg(long, value_name = "DSN")]
    pub upstream: Option<String>,
    /// Accept clients at this address: 127.0.0.1:6432, [::1]:6432 or /run/pgweir/.s.PGSQL.6432. May
    /// be repeated [env: PGWEIR_LISTEN, separated by commas].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Open at most this many connections to PostgreSQL per pool, one pool being a database and a
    /// user; or a share of what PostgreSQL has, 50% [env: PGWEIR_LIMITS_MAX_SERVERS].
    #[arg(long, value_name = "NUMBER")]
    pub max_servers: Option<String>,
    /// Serve /metrics, /healthz and /readyz at this address, or "off" [env: PGWEIR_HTTP_LISTEN].
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// Write each log line as one JSON object [env: PGWEIR_LOG_JSON].
    #[arg(long)]
    pub log_json: bool,
    /// Log at this level: error, warn, info, debug, trace, or a filter such as
    /// info,pgweir::pool=debug [env: PGWEIR_LOG_LEVEL].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Flags {
    /// What they say, as a file would.
    pub(super) fn settings(&self) -> Table {
        let listen = (!self.listen.is_empty()).then(|| Value::from(self.listen.clone()));
        let settings = [
            ("--listen", listen),
            ("--max-servers", self.max_servers.clone().map(Value::from)),
            ("--http-listen", self.http_listen.clone().map(Value::from)),
            ("--log-json", self.log_json.then(|| Value::from(true))),
            ("--log-level", self.log_level.clone().map(Value::from)),
        ];
        let mut table = Table::new();
        for (flag, value) in settings {
            if let (Some(key), Some(value)) = (key_of(flag), value) {
                insert(&mut table, key, value);
            }
        }
        table
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("config", &self.config)
            .field("upstream", &self.upstream.as_ref().map(|_| "***"))
            .field("settings", &self.settings())
            .finish_non_exhaustive()
    }
}

fn key_of(flag: &str) -> Option<&'static Key> {
    keys::KEYS.iter().find(|key| key.flag == Some(flag))
}
