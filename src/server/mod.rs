//! One connection to PostgreSQL: opened, checked, cleaned, cancelled, closed.
//!
//! Owns what pgweir itself says to a server when no client is attached. It knows neither pools nor
//! clients. Invariant: a [`Server`] holds its slot of the host's limit from before it connects until
//! its EOF was read; one that is dropped without [`Server::close`] closes itself in the background.

mod abandon;
mod cancel;
mod clean;
mod close;
mod error;
mod open;
mod replies;
mod roll;

use std::time::Duration;

use crate::clock::Instant;
use crate::host::Slot;
use crate::net::link::Link;
use crate::session::Backend;
use crate::session::settings::Settings;

pub use abandon::Work;
pub use cancel::{CancelAddress, CancelOutcome, cancel};
pub use clean::Cleaning;
pub use close::Held;
pub use error::{Broken, OpenError, ServerError};
pub use open::{OpenRequest, Opened, open};
pub use roll::{Card, Doing, Entry, Roll};

/// One connection to PostgreSQL, logged in.
#[derive(Debug)]
pub struct Server {
    /// The connection.
    pub link: Held<Link>,
    /// What is known of its session.
    pub backend: Backend,
    /// What cancels its queries, and where; `None` if it gave no key.
    pub cancel_key: Option<CancelAddress>,
    /// Unique in this process.
    pub id: u64,
    /// When it was logged in.
    pub opened_at: Instant,
    /// When it was last given back.
    pub idle_since: Instant,
    /// Age at which it is replaced.
    pub lifetime: Duration,
    /// The pool's generation when it was opened; an older one than the pool's is closed when free.
    pub generation: u64,
    /// It has refused a client's write as read-only (25006).
    pub refused_write: bool,
    /// Its place in the metrics, and among those that are shown.
    pub entry: Held<Entry>,
    /// Its slot of the host's limit.
    pub slot: Held<Slot>,
    /// Run again whenever the session was reset.
    init_query: Option<Box<str>>,
    /// How long the server may take to close when nobody waits for it.
    close_timeout: Duration,
    /// A Terminate would be understood.
    logged_in: bool,
    /// It has nothing to do, so that it ends by itself as soon as it is told to.
    pub at_rest: bool,
}

impl Server {
    /// Whether nothing must be set for a client that wants these settings.
    pub fn has_settings(&self, wanted: &Settings) -> bool {
        self.backend.settings.suits(wanted)
    }

    /// It takes no writes, whatever its clients set: a standby, or read-only from its login on. Not
    /// known before PostgreSQL 14 (`runtime-config-preset.html#GUC-IN-HOT-STANDBY`).
    pub fn is_read_only(&self) -> bool {
        let settings = &self.backend.settings;
        settings.reported().get("in_hot_standby") == Some(b"on")
            || settings.baseline().get("default_transaction_read_only") == Some(b"on")
    }
}
