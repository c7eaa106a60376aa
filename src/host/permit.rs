//! Leave to open one connection, by the host's governor.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::Host;
use super::governor::{Ceilings, Failure, Governor, Next, Seen, Ticket};
use super::slots::PoolId;
use crate::clock::Instant;

/// The governor, and who waits for it.
#[derive(Debug)]
pub(super) struct Governed {
    governor: Governor,
    waiters: FxHashMap<Ticket, oneshot::Sender<Permit>>,
    /// When the governor will be asked again in any case.
    alarm: Option<Instant>,
}

impl Governed {
    pub(super) fn new(ceilings: Ceilings) -> Self {
        let governor = Governor::new(ceilings, Instant::now());
        Self { governor, waiters: FxHashMap::default(), alarm: None }
    }
}

/// Leave to open one connection. Dropped without a word, it tells nothing of the host.
#[derive(Debug)]
#[must_use = "a permit that is dropped is over"]
pub struct Permit {
    host: Arc<Host>,
    began: Instant,
    result: Option<Result<(), Failure>>,
}

impl Permit {
    /// The connection was opened.
    pub fn opened(mut self) {
        self.result = Some(Ok(()));
    }

    /// The connection was not opened, and this is what it tells of the host, if anything.
    pub fn failed(mut self, failure: Option<Failure>) {
        self.result = failure.map(Err);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (began, now) = (self.began, Instant::now());
        self.host.govern(|governor| match self.result {
            Some(Ok(())) => governor.on_opened(began, now),
            Some(Err(failure)) => {
                let jitter = rand::rng().random_range(0.75..1.25);
                governor.on_failed(failure, began, jitter, now);
            }
            None => governor.on_ended(),
        });
    }
}

/// A place in the governor's queue; dropped, it is left.
struct Turn<'a> {
    host: &'a Arc<Host>,
    ticket: Ticket,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut governed = self.host.governed();
        governed.waiters.remove(&self.ticket);
        // If it was its turn meanwhile, the permit ends in the channel.
        governed.governor.give_up(self.ticket);
    }
}

impl Host {
    /// Waits for leave to open a connection. Cancel safe: a turn that came meanwhile passes on.
    pub(super) async fn permit(self: &Arc<Self>, pool: PoolId) -> Permit {
        let (sender, receiver) = oneshot::channel();
        let ticket = {
            let mut governed = self.governed();
            let ticket = governed.governor.ask(pool);
            governed.waiters.insert(ticket, sender);
            ticket
        };
        let turn = Turn { host: self, ticket };
        self.govern(|_| ());
        let permit = receiver.await;
        drop(turn);
        // The sender is only dropped with the ticket.
        permit.unwrap_or_else(|_| Permit {
            host: Arc::clone(self),
            began: Instant::now(),
            result: None,
        })
    }

    /// How long opening a connection is likely to take.
    pub fn opening_time(&self) -> Duration {
        self.governed().governor.expected()
    }

    /// What can be seen of the governor.
    pub fn governor(&self) -> Seen {
        self.governed().governor.seen()
    }

    /// Changes the ceilings of what is opened.
    pub fn set_ceilings(self: &Arc<Self>, ceilings: Ceilings) {
        self.govern(|governor| governor.set_ceilings(ceilings));
    }

    /// Changes the governor under the lock, and gives the permits it grants after it.
    fn govern(self: &Arc<Self>, change: impl FnOnce(&mut Governor)) {
        let now = Instant::now();
        let mut governed = self.governed();
        change(&mut governed.governor);
        let mut granted = Vec::new();
        let next = loop {
            match governed.governor.next(now) {
                Next::Open(ticket) => granted.extend(governed.waiters.remove(&ticket)),
                next => break next,
            }
        };
        let alarm = match next {
            Next::At(at) if governed.alarm.is_none_or(|alarm| at < alarm) => Some(at),
            _ => None,
        };
        if alarm.is_some() {
            governed.alarm = alarm;
        }
        self.publish_governor(governed.governor.seen());
        drop(governed);
        for waiter in granted {
            // Nobody there: the permit is dropped, and so tells nothing.
            let _ = waiter.send(Permit { host: Arc::clone(self), began: now, result: None });
        }
        if let Some(at) = alarm {
            self.ask_again(at);
        }
    }

    fn ask_again(self: &Arc<Self>, at: Instant) {
        let host = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(host) = host.upgrade() {
                {
                    let mut governed = host.governed();
                    governed.alarm = governed.alarm.filter(|alarm| *alarm > at);
                }
                host.govern(|_| ());
            }
        });
    }

    fn publish_governor(&self, seen: Seen) {
        self.metrics.opening.set(seen.in_flight as f64);
        self.metrics.opening_window.set(seen.window);
        self.metrics.opening_waiting.set(seen.waiting as f64);
        self.waiting.store(seen.waiting, Ordering::Relaxed);
        self.publish_connections();
        self.metrics.circuit_open.set(f64::from(u8::from(seen.is_open)));
    }

    fn governed(&self) -> MutexGuard<'_, Governed> {
        // It is whole between any two statements that could panic.
        self.governed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostLimits;
    use crate::metrics::Metrics;

    fn host(at_once: usize) -> Arc<Host> {
        let host = Host::new(HostLimits::NONE, Metrics::new().host("test"));
        host.set_ceilings(Ceilings { at_once, per_second: 0 });
        host
    }

    #[tokio::test]
    async fn a_permit_that_is_dropped_lets_the_next_one_open() {
        let host = host(1);
        let first = host.permit(PoolId(0)).await;
        let second = tokio::spawn({
            let host = Arc::clone(&host);
            async move { host.permit(PoolId(1)).await }
        });
        while host.governor().waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(host.governor().in_flight, 1);
        first.opened();
        second.await.unwrap().failed(None);
        assert_eq!((host.governor().in_flight, host.governor().waiting), (0, 0));
    }

    #[tokio::test]
    async fn one_who_gives_up_leaves_no_trace() {
        let host = host(1);
        let held = host.permit(PoolId(0)).await;
        let waiting = tokio::time::timeout(Duration::from_millis(5), host.permit(PoolId(1))).await;
        assert!(waiting.is_err());
        assert_eq!(host.governor().waiting, 0);
        drop(held);
        assert_eq!(host.governor().in_flight, 0);
    }

    #[tokio::test]
    async fn an_open_circuit_closes_by_itself() {
        let host = host(0);
        host.permit(PoolId(0)).await.failed(Some(Failure::Away));
        assert!(host.governor().is_open);
        host.permit(PoolId(0)).await.opened();
        assert!(!host.governor().is_open);
    }
}
