//! What the servers of a pool log in with: what its clients have proved, or what the configuration says.

use std::sync::Arc;
use std::time::Duration;

use super::{Pool, lock};
use crate::auth::{ScramKeys, ServerCredential};
use crate::clock::Instant;

/// What servers of this pool log in with.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) credential: Option<ServerCredential>,
    /// Derived from a password once, since deriving takes milliseconds.
    pub(super) keys: Option<ScramKeys>,
    /// There was a credential, and PostgreSQL has refused it then.
    pub(super) forgotten: Option<Instant>,
    /// PostgreSQL has let a server in that had none.
    pub(super) needless: bool,
}

impl Login {
    fn prove(&mut self, credential: ServerCredential) {
        (self.credential, self.forgotten) = (Some(credential), None);
    }
}

impl Pool {
    /// This is what there is to log in with by the configuration: servers that are to be idle need no client.
    pub fn know(self: &Arc<Self>, known: ServerCredential) {
        self.adopt(known, false);
        self.keep_opening();
    }

    /// What a client has proved since is newer. What PostgreSQL has refused is tried again once in a while, unless
    /// that is `insisted` on: it may lock the role.
    pub(super) fn adopt(&self, known: ServerCredential, insisted: bool) {
        if matches!(known, ServerCredential::None) {
            return;
        }
        {
            let mut login = lock(&self.login);
            let is_refused = login.forgotten.is_some_and(|at| at.elapsed() < TRIED_AGAIN);
            if login.credential.is_some() || (is_refused && !insisted) {
                return;
            }
            login.prove(known);
        }
        lock(&self.trouble).on_credential();
    }

    /// A client of this pool has logged in: servers can be logged in with what it proved.
    pub fn learn_credential(&self, credential: ServerCredential) {
        if matches!(credential, ServerCredential::None) {
            return;
        }
        lock(&self.login).prove(credential);
        lock(&self.trouble).on_credential();
    }

    /// The configuration has another credential than before: servers of the old one are replaced as they become free.
    pub fn replace_credential(self: &Arc<Self>, credential: ServerCredential) {
        {
            let mut login = lock(&self.login);
            if login.credential.as_ref().is_some_and(|now| now.is_same(&credential)) {
                return;
            }
            let needless = login.needless;
            *login = Login { credential: Some(credential), needless, ..Login::default() };
        }
        lock(&self.trouble).on_credential();
        self.replace_servers();
        self.keep_opening();
    }

    /// What the configuration knows may have been refused a while ago: PostgreSQL may have the new password by now.
    pub fn try_again(self: &Arc<Self>, known: impl FnOnce() -> Option<ServerCredential>) {
        let is_forgotten = lock(&self.login).forgotten.is_some();
        if let Some(known) = is_forgotten.then(known).flatten() {
            self.adopt(known, false);
        }
    }
}

/// What PostgreSQL has refused, it is not asked again before.
const TRIED_AGAIN: Duration = Duration::from_secs(30);
