//! What is counted about one PostgreSQL host.

use ::metrics::{Counter, Gauge};

use super::labels::LookupResult;
use super::{Counters, Registry, names};

/// The slots and the control plane of one PostgreSQL host.
#[derive(Debug, Clone)]
pub struct HostMetrics {
    /// Slots taken.
    pub used: Gauge,
    /// The limit; 0 is none.
    pub limit: Gauge,
    /// Pools that wait for a slot.
    pub starving: Gauge,
    /// User look-ups by result.
    pub lookups: Counters<LookupResult>,
    /// Closed control connections whose EOF did not come in time.
    pub control_close_timeouts: Counter,
}

impl HostMetrics {
    pub(super) fn new(registry: &Registry, address: &str) -> Self {
        let labels = [("host", address)];
        Self {
            used: registry.gauge(names::HOST_SLOTS_USED, &labels),
            limit: registry.gauge(names::HOST_SLOTS_LIMIT, &labels),
            starving: registry.gauge(names::HOST_STARVING, &labels),
            lookups: registry.counters(names::LOOKUPS, &labels),
            control_close_timeouts: registry.counter(names::CONTROL_CLOSE_TIMEOUTS, &labels),
        }
    }
}
