//! What operators can change while pgweir runs, by the console and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// A pool, or all of a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pools {
    /// The database's alias.
    pub database: String,
    /// The user that servers are logged in as; all users if not named.
    pub user: Option<String>,
}

/// One change. But for a pause and the end of a client, it holds until the configuration is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Settings get other values, all of them or none.
    Set(Vec<(String, String)>),
    /// A setting gets the value of the configuration again.
    Reset(String),
    /// Pools get a size of their own.
    Resize {
        /// Which.
        pools: Pools,
        /// Servers at most, a number or per cent.
        max_servers: String,
    },
    /// Servers are kept open for a while.
    Warm {
        /// Which pool.
        pools: Pools,
        /// How many servers, those at work included.
        servers: usize,
        /// For how long.
        time: Duration,
    },
    /// Pools, or all of them, lend no server and open none until they are resumed. It has come about once they have
    /// no connection any more.
    Pause(Option<Pools>),
    /// They do so again.
    Resume(Option<Pools>),
    /// Servers of pools, or of all of them, are replaced as they become free.
    Reconnect(Option<Pools>),
    /// The client of this id is ended.
    Kill(u32),
    /// The configuration is read again.
    Reload,
}

impl Pools {
    /// Whether all of `other` are among these.
    pub fn cover(&self, other: &Self) -> bool {
        self.database == other.database && (self.user.is_none() || self.user == other.user)
    }
}

impl std::fmt::Display for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.database)?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, ".{user}"))
    }
}

/// Who makes changes.
pub type Changer = Arc<dyn Fn(&Change) -> Result<(), ChangeError> + Send + Sync>;

/// Whether a change that was made has come about: some take as long as transactions do, and may be taken back meanwhile.
pub type Finished = Arc<dyn Fn(&Change) -> Result<bool, ChangeError> + Send + Sync>;

/// Why a change was not made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// There is no such setting, database, pool or client.
    #[error("{0}")]
    Unknown(String),
    /// The value cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It cannot be done now.
    #[error("{0}")]
    NotNow(String),
}
