//! Settings of logins that PostgreSQL has still to judge: one client asks it for all that come with the same
//! meanwhile, so that a burst on a cold pool does not queue for servers that it has no use for yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{Pool, lock};
use crate::clock::Instant;

/// What is being judged, and how those are told that wait for it.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<HashMap<Box<[u8]>, watch::Receiver<()>>>);

/// Who has settings judged.
#[derive(Debug)]
pub enum Proof {
    /// Who asks, for the others too.
    Own(Proving),
    /// Another, who is at it.
    Others(OthersProof),
}

/// One has settings judged; dropped, it is over, whatever came of it.
#[derive(Debug)]
pub struct Proving {
    pool: Arc<Pool>,
    /// `None` if there are too many for others to hear of it.
    told: Option<(Box<[u8]>, watch::Sender<()>)>,
}

/// Another has the same settings judged.
#[derive(Debug)]
pub struct OthersProof(watch::Receiver<()>);

impl Pool {
    /// Who is to have these settings judged.
    pub fn prove(self: &Arc<Self>, settings: &[u8]) -> Proof {
        let mut proofs = lock(&self.proofs.0);
        if let Some(others) = proofs.get(settings) {
            return Proof::Others(OthersProof(others.clone()));
        }
        let told = (proofs.len() < MOST).then(|| {
            let (sender, receiver) = watch::channel(());
            proofs.insert(settings.into(), receiver);
            (settings.into(), sender)
        });
        Proof::Own(Proving { pool: Arc::clone(self), told })
    }
}

impl OthersProof {
    /// Waits until it is over; false if that is not so by then. Cancel safe.
    pub async fn is_over(mut self, until: Instant) -> bool {
        // Nothing is ever sent: its end is the sign.
        tokio::time::timeout_at(until.into(), self.0.changed()).await.is_ok()
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        if let Some((settings, sender)) = self.told.take() {
            lock(&self.pool.proofs.0).remove(&settings);
            // Who wakes now finds nobody at it.
            drop(sender);
        }
    }
}

/// Different settings that are judged at a time for more than one client; each is of one startup packet's size.
const MOST: usize = 64;
