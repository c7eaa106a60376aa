//! What is counted about clients.

use ::metrics::{Counter, Gauge};

use super::labels::{CancelOutcome, LoginResult, Timeout, TlsHandshake};
use super::{Counted, Counters, Registry, names};

/// Clients, logins and cancels.
#[derive(Debug, Clone)]
pub struct ClientMetrics {
    connected: Gauge,
    /// Clients that have logged in over TLS.
    pub encrypted: Gauge,
    /// `limits.max_clients`.
    pub limit: Gauge,
    accepted: Counter,
    /// Logins by result.
    pub logins: Counters<LoginResult>,
    /// TLS handshakes done, by kind.
    pub handshakes: Counters<TlsHandshake>,
    /// Cancel requests by outcome.
    pub cancels: Counters<CancelOutcome>,
    /// Times that have passed for clients that are logged in.
    pub timeouts: Counters<Timeout>,
}

impl ClientMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            connected: registry.gauge(names::CLIENTS, &[]),
            encrypted: registry.gauge(names::CLIENTS_TLS, &[]),
            limit: registry.gauge(names::CLIENTS_LIMIT, &[]),
            accepted: registry.counter(names::CLIENT_CONNECTIONS, &[]),
            logins: registry.counters(names::LOGINS, &[]),
            handshakes: registry.counters(names::TLS_HANDSHAKES, &[]),
            cancels: registry.counters(names::CANCELS, &[]),
            timeouts: registry.counters(names::TIMEOUTS, &[]),
        }
    }

    /// Counts a client for as long as the guard lives.
    pub fn connected(&self) -> Counted {
        self.accepted.increment(1);
        Counted::new(&self.connected)
    }
}
