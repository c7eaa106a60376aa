//! Under which labels a pool counts.
//!
//! Labels are never given back ([`MAX_POOLS`]). Where `*` takes any name, whoever logs in to databases that do not
//! exist would use them up: a pool that the configuration does not name has its own from its first server on.
//!
//! [`MAX_POOLS`]: crate::metrics::MAX_POOLS

use std::sync::{Arc, OnceLock};

use super::PoolKey;
use crate::metrics::{ClassTable, Metrics, PoolMetrics, ServersLimit};

/// Under which labels a pool counts.
#[derive(Debug)]
pub struct Labels {
    metrics: Arc<Metrics>,
    own: OnceLock<Own>,
    /// Those of all pools without their own.
    others: OnceLock<PoolMetrics>,
}

#[derive(Debug)]
struct Own {
    metrics: PoolMetrics,
    limit: ServersLimit,
}

impl Labels {
    /// Of a pool that has none of its own yet.
    pub fn later(metrics: &Arc<Metrics>) -> Self {
        let (own, others) = (OnceLock::new(), OnceLock::new());
        Self { metrics: Arc::clone(metrics), own, others }
    }

    /// Of a pool that the configuration names.
    pub fn own(metrics: &Arc<Metrics>, key: &PoolKey) -> Self {
        let labels = Self::later(metrics);
        labels.take(key, 0);
        labels
    }

    /// The pool has its own from now on. Nothing, if it has them already.
    pub(super) fn take(&self, key: &PoolKey, limit: usize) {
        let own = self.own.get_or_init(|| {
            let metrics = self.metrics.pool(&key.database, &key.user);
            // An earlier pool of the name may have been forgotten while it was paused.
            metrics.paused.set(0.0);
            Own { limit: metrics.servers_limit(), metrics }
        });
        own.limit.set(limit);
    }

    /// Where the pool counts now.
    pub(super) fn metrics(&self) -> &PoolMetrics {
        match self.own.get() {
            Some(own) => &own.metrics,
            None => self.others.get_or_init(|| self.metrics.others()),
        }
    }

    /// What is shown of the pool itself, if it has labels of its own.
    pub(super) fn of_its_own(&self) -> Option<&PoolMetrics> {
        self.own.get().map(|own| &own.metrics)
    }

    /// The pool may have so many servers now.
    pub(super) fn set_limit(&self, limit: usize) {
        if let Some(own) = self.own.get() {
            own.limit.set(limit);
        }
    }

    /// Whether the pool is paused.
    pub(super) fn set_paused(&self, paused: bool) {
        if let Some(own) = self.own.get() {
            own.metrics.paused.set(f64::from(u8::from(paused)));
        }
    }

    /// The metrics of classes, which all pools have together.
    pub(super) fn classes(&self) -> &Arc<ClassTable> {
        &self.metrics.classes
    }
}
