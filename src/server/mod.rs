//! One connection to PostgreSQL: opened, checked, cleaned, cancelled, closed.
//!
//! Owns what pgweir itself says to a server when no client is attached. It knows neither pools nor
//! clients. Invariant: a [`Server`] holds its slot of the host's limit from before it connects until
//! its EOF was read.

use std::time::{Duration, Instant};

use crate::host::Slot;
use crate::metrics::ServerCount;
use crate::net::link::Link;
use crate::session::Backend;
use crate::wire::startup::CancelKey;

/// One connection to PostgreSQL, logged in.
#[derive(Debug)]
pub struct Server {
    /// The connection.
    pub link: Link,
    /// What is known of its session.
    pub backend: Backend,
    /// What cancels its queries; `None` if it gave no key.
    pub cancel_key: Option<CancelKey>,
    /// Unique in its pool.
    pub id: u64,
    /// When it was logged in.
    pub opened_at: Instant,
    /// When it was last given back.
    pub idle_since: Instant,
    /// Age at which it is replaced.
    pub lifetime: Duration,
    /// The pool's generation when it was opened; an older one than the pool's is closed when free.
    pub generation: u64,
    /// Its place in the metrics.
    pub count: ServerCount,
    /// Its slot of the host's limit.
    pub slot: Slot,
}
