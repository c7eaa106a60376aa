//! What is counted about one PostgreSQL host.

use ::metrics::{Counter, Gauge};

use super::labels::LookupResult;
use super::{Counted, Counters, Registry, names};

/// The slots and the control plane of one PostgreSQL host.
#[derive(Debug, Clone)]
pub struct HostMetrics {
    /// Slots taken.
    pub used: Gauge,
    /// The limit; 0 is none.
    pub limit: Gauge,
    /// Pools that wait for a slot.
    pub starving: Gauge,
    /// Connections being opened.
    pub opening: Gauge,
    /// How many may be.
    pub opening_window: Gauge,
    /// Those that wait until they may.
    pub opening_waiting: Gauge,
    /// 1 while nothing is opened but a probe now and then.
    pub circuit_open: Gauge,
    canceling: Gauge,
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
            opening: registry.gauge(names::HOST_OPENING, &labels),
            opening_window: registry.gauge(names::HOST_OPENING_WINDOW, &labels),
            opening_waiting: registry.gauge(names::HOST_OPENING_WAITING, &labels),
            circuit_open: registry.gauge(names::HOST_CIRCUIT_OPEN, &labels),
            canceling: registry.gauge(names::HOST_CANCELING, &labels),
            lookups: registry.counters(names::LOOKUPS, &labels),
            control_close_timeouts: registry.counter(names::CONTROL_CLOSE_TIMEOUTS, &labels),
        }
    }

    /// Counts a connection that cancels something, for as long as the guard lives.
    pub fn canceling(&self) -> Counted {
        Counted::new(&self.canceling)
    }
}
