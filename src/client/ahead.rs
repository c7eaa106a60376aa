//! What clients without a server have sent of messages that are not whole yet.
//!
//! A message is read up to a mebibyte before it is judged, which thousands of clients may begin and not end. They
//! have so much room together; who would need more reads on with a server, of which there are few.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all clients without a server hold beyond what each may.
#[derive(Debug, Default)]
pub struct Backlog(AtomicUsize);

/// One client's part of it; dropped, none.
#[derive(Debug)]
pub(super) struct Ahead {
    backlog: Arc<Backlog>,
    held: usize,
}

impl Ahead {
    pub(super) fn new(backlog: &Arc<Backlog>) -> Self {
        Self { backlog: Arc::clone(backlog), held: 0 }
    }

    /// The client holds so many bytes now; false if there is no room for them.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(OWN);
        let Backlog(all) = &*self.backlog;
        if wanted > self.held {
            let grown = |all: usize| Some(all + wanted - self.held).filter(|all| *all <= MOST);
            if all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
                return false;
            }
        } else if wanted < self.held {
            all.fetch_sub(self.held - wanted, Ordering::Relaxed);
        }
        self.held = wanted;
        true
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// What each client may hold, as much as while it waits for a server, with the last read.
const OWN: usize = 72 << 10;

/// What all may hold beyond that.
const MOST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_so_much_together_and_each_a_little() {
        let backlog = Arc::default();
        let client = || Ahead::new(&backlog);
        let mut many: Vec<_> = (0..64).map(|_| client()).collect();
        assert!(many.iter_mut().all(|ahead| ahead.hold(OWN + (1 << 20))));
        let mut last = client();
        assert!(last.hold(OWN) && !last.hold(OWN + 1));
        // Less is always to be had, and what one gives back another may take.
        assert!(many[0].hold(OWN + 10) && last.hold(OWN + (1 << 20) - 10));
        assert!(!many[0].hold(OWN + 11));
        drop(last);
        assert!(many[0].hold(OWN + (1 << 20)));
        drop(many);
        assert_eq!(backlog.0.load(Ordering::Relaxed), 0);
    }
}
