//! Looking users up in PostgreSQL (`auth_query`).
//!
//! Owns: what is believed about a user and for how long. Invariant: an answer is a secret only if
//! PostgreSQL would let the user log in now: it exists under exactly this name, may log in, has
//! not expired by the server's clock, and has a password (`get_role_password` in PostgreSQL's
//! `libpq/crypt.c`). That nothing could be asked is an error, and never a wrong password; but where
//! PostgreSQL denies the question, nobody can be looked up, and every name is unknown alike.

mod cache;
mod row;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::Object;
use tokio::time::timeout;

use self::cache::Cache;
use self::row::Answer;
use super::{Control, ControlError, MAX_CONNECTIONS, Step};
use crate::auth::{Account, Lookup, Mock, Refusal, Secret};
use crate::clock::Instant;
use crate::metrics::LookupResult;

/// The users of one database's PostgreSQL.
#[derive(Debug)]
pub struct Users {
    control: Control,
    query: String,
    ttl: Duration,
    mock: Mock,
    cache: Cache,
    /// The log has it that nobody can be looked up.
    denial_told: AtomicBool,
    /// When it was last told that one cannot be.
    failure_told: Mutex<Option<Instant>>,
}

impl Users {
    /// Closes the connections: nobody is looked up any more.
    pub fn close(&self) {
        self.control.close();
    }

    /// Asks over `control` with `query`, and believes an answer for `ttl`.
    pub fn new(control: Control, query: String, ttl: Duration, mock: Mock) -> Self {
        let (cache, denial_told) = (Cache::default(), AtomicBool::new(false));
        Self { control, query, ttl, mock, cache, denial_told, failure_told: Mutex::default() }
    }

    /// What PostgreSQL says of a user. Look-ups of one user made at the same time share one query
    /// and its answer, error or not. Cancel safe: another of those who wait goes on.
    pub async fn look_up(&self, user: &str) -> Result<Lookup, ControlError> {
        if !could_be_a_role(user) {
            return Ok(Lookup::Refused(Refusal::Unknown));
        }
        let entry = self.cache.entry(user);
        // Apart from the login's own state, which most would carry in vain.
        entry.get_or_ask(|| Box::pin(self.ask(user))).await
    }

    /// Forgets a user: PostgreSQL has refused what was believed.
    pub fn forget(&self, user: &str) {
        self.cache.forget(user);
    }

    /// The answer, and until when it is believed.
    async fn ask(&self, user: &str) -> (Result<Lookup, ControlError>, Instant) {
        let answer = self.ask_until_answered(user).await;
        let now = Instant::now();
        let (lookup, expires) = match answer {
            Ok(answer) => {
                let expires = now + self.ttl.min(answer.valid_for());
                (Ok(self.judge(user, answer).await), expires)
            }
            Err(error) if error.is_denied() => {
                self.tell_denial(&error);
                (Ok(Lookup::Refused(Refusal::LookUpDenied)), now + self.ttl)
            }
            // No role has a name that the database's encoding cannot write.
            Err(error) if error.is_untranslatable() => {
                (Ok(Lookup::Refused(Refusal::Unknown)), now + self.ttl)
            }
            Err(error) => {
                self.tell_failure(&error, now);
                (Err(error), now)
            }
        };
        self.control.host().metrics().lookups.count(match &lookup {
            Ok(Lookup::Found(_)) => LookupResult::Found,
            Ok(Lookup::Refused(Refusal::LookUpDenied)) | Err(_) => LookupResult::Failed,
            Ok(Lookup::Refused(_)) => LookupResult::Refused,
        });
        (lookup, expires)
    }

    /// Now and then: any stranger can cause it as often as it likes.
    fn tell_failure(&self, error: &ControlError, now: Instant) {
        let mut told = self.failure_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_ONCE_IN) {
            *told = Some(now);
            tracing::warn!(error = error.to_string(), "a user cannot be looked up");
        }
    }

    /// Once: any stranger can cause it as often as it likes.
    fn tell_denial(&self, error: &ControlError) {
        if !self.denial_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = error.to_string(),
                "auth.query_user may not look users up: only users of the configuration can log \
                 in; let it read pg_authid, or name a SECURITY DEFINER function as auth.query"
            );
        }
    }

    /// Keeps trying while PostgreSQL starts or restarts, as a client that waits for a server does.
    async fn ask_until_answered(&self, user: &str) -> Result<Answer, ControlError> {
        let deadline = Instant::now() + self.control.patience();
        let (mut pause, mut lost) = (FIRST_PAUSE, 0);
        loop {
            let error = match self.ask_once(user).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // An idle connection may have been cut unnoticed. Not for ever: if it is the query
            // that ends its backend, it must not go on doing so.
            lost += usize::from(matches!(error, ControlError::Query(_)));
            let hopeless = !error.is_transient() || lost > MAX_CONNECTIONS;
            if hopeless || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn judge(&self, user: &str, answer: Answer) -> Lookup {
        let secret = match answer.judge() {
            Ok(secret) => secret,
            Err(refusal) => return Lookup::Refused(refusal),
        };
        let secret = match Secret::parse(&secret) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::warn!(user, %error, "the secret of a user cannot be used");
                return Lookup::Refused(Refusal::NoPassword);
            }
        };
        let (user, mock) = (user.to_owned(), self.mock.clone());
        let account = match secret {
            Secret::Scram(_) | Secret::Md5(_) => Ok(Account::new(&user, secret, &mock)),
            // Deriving a verifier takes milliseconds, which the workers have better uses for.
            Secret::Plain(_) => {
                tokio::task::spawn_blocking(move || Account::new(&user, secret, &mock)).await
            }
        };
        account.map_or(Lookup::Refused(Refusal::NoPassword), |a| Lookup::Found(Arc::new(a)))
    }

    async fn ask_once(&self, user: &str) -> Result<Answer, ControlError> {
        let connection = self.control.connection().await?;
        // PostgreSQL's own limit comes first, unless it does not answer at all.
        let limit = Object::pool(&connection)
            .map_or(Duration::ZERO, |pool| pool.manager().query_time())
            .saturating_add(GRACE);
        let answer = timeout(limit, row::ask(&connection, &self.query, user))
            .await
            .unwrap_or(Err(ControlError::TimedOut(Step::Asking)));
        if answer.as_ref().is_err_and(|error| !error.is_denied()) {
            // Its statements may be stale, its server may be stuck: the next one starts afresh.
            drop(Object::take(connection));
        }
        answer
    }
}

/// Whether PostgreSQL could have a role of this name. The others are not asked for: they would
/// fail as a parameter instead of finding nothing.
fn could_be_a_role(user: &str) -> bool {
    !user.is_empty() && user.len() < NAMEDATALEN && !user.contains('\0')
}

/// Length of a name's storage, its end included (`sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS`).
/// Between two lines of the log about look-ups that fail.
const TOLD_ONCE_IN: Duration = Duration::from_secs(5);
const NAMEDATALEN: usize = 64;

/// Pause after the first attempt that failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Added to PostgreSQL's own time limit of a query.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_role_has() {
        for (name, expected) in [
            ("app", true),
            ("", false),
            ("a\0b", false),
            (&"x".repeat(63), true),
            (&"x".repeat(64), false),
            ("' or 1=1 --", true),
        ] {
            assert_eq!(could_be_a_role(name), expected, "{name:?}");
        }
    }
}
