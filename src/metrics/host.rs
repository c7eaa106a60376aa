//! What is counted about one PostgreSQL host.

use ::metrics::Gauge;

use super::{Registry, names};

/// The slots of one PostgreSQL host.
#[derive(Debug, Clone)]
pub struct HostMetrics {
    /// Slots taken.
    pub used: Gauge,
    /// The limit; 0 is none.
    pub limit: Gauge,
    /// Pools that wait for a slot.
    pub starving: Gauge,
}

impl HostMetrics {
    pub(super) fn new(registry: &Registry, address: &str) -> Self {
        let labels = [("host", address)];
        Self {
            used: registry.gauge(names::HOST_SLOTS_USED, &labels),
            limit: registry.gauge(names::HOST_SLOTS_LIMIT, &labels),
            starving: registry.gauge(names::HOST_STARVING, &labels),
        }
    }
}
