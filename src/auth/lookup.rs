//! What a user lookup returns, and what stands in for a user who may not log in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::error::Refusal;
use super::scram::{self, Iterations, ScramParams};
use super::secret::{Key, ScramVerifier, Secret};

/// Length of a made-up salt: that of PostgreSQL, or it would show.
const MOCK_SALT_LEN: usize = 16;

/// Shown to users who do not exist: a salt that is always the same for one name, and the iterations and the method
/// that users have here, as far as is known.
#[derive(Debug, Clone)]
pub struct Mock {
    key: Key,
    iterations: Arc<AtomicU32>,
    /// Where `auth.method` is `md5`, PostgreSQL asks those for a SCRAM proof who have a verifier: whether there are such
    /// users, and whether there are others.
    kinds: Arc<[AtomicBool; 2]>,
}

impl Mock {
    /// `key` is a secret of this proxy, from a cryptographic source. Processes that serve the same
    /// users should share it, else a user who does not exist has another salt at each.
    pub fn new(key: Key, iterations: Iterations) -> Self {
        Self { key, iterations: Arc::new(iterations.get().into()), kinds: Arc::default() }
    }

    /// A user that there is: those that do not exist are asked in the same way from now on.
    fn learn(&self, secret: &Secret) {
        if let Secret::Scram(verifier) = secret {
            self.iterations.store(verifier.params.iterations().get(), Ordering::Relaxed);
        }
        let [scram, others] = &*self.kinds;
        let kind = if matches!(secret, Secret::Scram(_)) { scram } else { others };
        kind.store(true, Ordering::Relaxed);
    }

    /// Whether one who does not exist is asked for an MD5 hash where that may be: as all others, or where there are some
    /// of each kind, always the same for one name.
    pub(super) fn is_md5(&self, user: &str) -> bool {
        let [scram, others] = &*self.kinds;
        match (scram.load(Ordering::Relaxed), others.load(Ordering::Relaxed)) {
            (true, true) => self.params(user).salt().first().is_some_and(|byte| byte % 2 == 0),
            (_, others) => others,
        }
    }

    /// Salt and iterations for a name.
    #[expect(clippy::expect_used, reason = "the salt is cut to its length here")]
    pub(super) fn params(&self, user: &str) -> ScramParams {
        let mut salt = scram::hmac(self.key.as_bytes(), &[user.as_bytes()]).to_vec();
        salt.truncate(MOCK_SALT_LEN);
        let iterations = Iterations::new(self.iterations.load(Ordering::Relaxed));
        ScramParams::new(salt, iterations.unwrap_or(Iterations::DEFAULT))
            .expect("a mock salt has the length of a salt")
    }

    /// A verifier that no password has. The exchange made with it must be refused anyway.
    pub(super) fn verifier(&self, user: &str) -> ScramVerifier {
        let nothing = Key::new([0; scram::KEY_LEN]);
        ScramVerifier {
            params: self.params(user),
            stored_key: nothing.clone(),
            server_key: nothing,
        }
    }
}

/// A user who may log in, with the verifier to do so by SCRAM.
#[derive(Debug)]
pub struct Account {
    secret: Secret,
    verifier: Option<ScramVerifier>,
}

impl Account {
    /// Derives the verifier of a plain password here, once, and not at each login: it takes
    /// milliseconds of CPU, and the time would tell such a user from one who does not exist. Its salt
    /// is the one that `mock` shows for the name, so that it survives a restart.
    pub fn new(user: &str, secret: Secret, mock: &Mock) -> Self {
        mock.learn(&secret);
        let verifier = match &secret {
            Secret::Plain(password) => Some(ScramVerifier::derive(password, &mock.params(user))),
            Secret::Scram(verifier) => Some(verifier.clone()),
            Secret::Md5(_) => None,
        };
        Self { secret, verifier }
    }

    /// What is stored for the user.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// `None` where only an MD5 hash is stored.
    pub(super) fn verifier(&self) -> Option<&ScramVerifier> {
        self.verifier.as_ref()
    }
}

/// The result of looking up a user. `valid_until` and the right to log in are judged by who looked.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// May log in with this secret.
    Found(Arc<Account>),
    /// May not, and must not learn why.
    Refused(Refusal),
}
