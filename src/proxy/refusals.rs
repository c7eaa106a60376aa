//! The log lines of logins that came to nothing. Anybody can cause as many as it likes: of one reason
//! and one user (or address, where no user is known) there is one line in a while, and few in all.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem::discriminant;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::auth::{AuthError, Refusal};
use crate::client::login::LoginFailure;
use crate::clock::Instant;
use crate::net::PeerAddr;

/// What the log has been told lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// When, by a hash of reason and user: what a stranger sends takes no room here.
    told: Mutex<HashMap<u64, Instant>>,
    hasher: RandomState,
    md5_told: AtomicBool,
}

impl Refusals {
    /// Writes down why a client did not get in.
    pub(super) fn tell(&self, peer: PeerAddr, failure: &LoginFailure, now: Instant) {
        // As a text, which is quoted: it has names in it that a stranger chose.
        let text = failure.to_string();
        let text = &text[..text.floor_char_boundary(LONGEST)];
        if !is_worth_telling(failure) || !self.is_news(peer, failure, now) {
            debug!(%peer, failure = text, "a client did not get in");
            return;
        }
        info!(%peer, failure = text, "a client did not get in");
        if let LoginFailure::Auth(AuthError::Refused { user, refusal: Refusal::Md5Hash }) = failure
            && !self.md5_told.swap(true, Ordering::Relaxed)
        {
            warn!(
                user,
                "PostgreSQL has an md5 hash of this user's password, with which no SCRAM is \
                 possible: set the password anew under password_encryption = 'scram-sha-256', or \
                 set auth.method = \"md5\""
            );
        }
    }

    /// A client that has proved who it is wants a database that there is not.
    pub(super) fn tell_unknown(&self, peer: PeerAddr, database: &str, now: Instant) {
        let database = &database[..database.floor_char_boundary(LONGEST)];
        if self.is_first(self.hasher.hash_one(database), now) {
            info!(%peer, database, "a client did not get in: there is no such database");
        } else {
            debug!(%peer, database, "a client did not get in: there is no such database");
        }
    }

    fn is_news(&self, peer: PeerAddr, failure: &LoginFailure, now: Instant) -> bool {
        let key = self.hasher.hash_one((discriminant(failure), subject(peer, failure)));
        self.is_first(key, now)
    }

    fn is_first(&self, key: u64, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < TOLD_ONCE_IN);
        if told.contains_key(&key) || told.len() >= MOST_TOLD {
            return false;
        }
        told.insert(key, now);
        true
    }
}

/// Clients that leave by themselves, as a health check does, are no refusals.
fn is_worth_telling(failure: &LoginFailure) -> bool {
    !matches!(failure, LoginFailure::Gone(_) | LoginFailure::Left | LoginFailure::Draining)
}

/// Whom a failure is about.
#[derive(Hash)]
enum Subject<'a> {
    User(&'a str, Refusal),
    Host(IpAddr),
    ThisMachine,
}

fn subject(peer: PeerAddr, failure: &LoginFailure) -> Subject<'_> {
    match (failure, peer) {
        (LoginFailure::Auth(AuthError::Refused { user, refusal }), _) => {
            Subject::User(user, *refusal)
        }
        (_, PeerAddr::Tcp(addr)) => Subject::Host(addr.ip()),
        (_, PeerAddr::Unix) => Subject::ThisMachine,
    }
}

/// For how long the same is not told again.
const TOLD_ONCE_IN: Duration = Duration::from_secs(5);

/// Lines in that time.
const MOST_TOLD: usize = 64;

/// Bytes of a reason.
const LONGEST: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(user: &str) -> LoginFailure {
        LoginFailure::Auth(AuthError::Refused {
            user: user.to_owned(),
            refusal: Refusal::WrongPassword,
        })
    }

    fn peer(last: u8, port: u16) -> PeerAddr {
        PeerAddr::Tcp(([10, 0, 0, last], port).into())
    }

    #[test]
    fn the_same_is_told_once_in_a_while() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = |peer, failure: &LoginFailure, seconds| {
            refusals.is_news(peer, failure, start + Duration::from_secs(seconds))
        };
        let expired = LoginFailure::Auth(AuthError::Refused {
            user: "a".to_owned(),
            refusal: Refusal::Expired,
        });
        for (peer, failure, seconds, expected) in [
            (peer(1, 1), wrong("a"), 0, true),
            (peer(1, 2), wrong("a"), 1, false),
            (peer(2, 1), wrong("a"), 1, false),
            (peer(1, 3), wrong("b"), 1, true),
            (peer(1, 4), expired, 1, true),
            (peer(1, 5), LoginFailure::TlsRequired, 2, true),
            (peer(1, 6), LoginFailure::TlsRequired, 2, false),
            (peer(1, 6), LoginFailure::TimedOut, 2, true),
            (peer(2, 6), LoginFailure::TlsRequired, 2, true),
            (peer(1, 7), wrong("a"), 5, true),
        ] {
            assert_eq!(told(peer, &failure, seconds), expected, "{peer} {failure} {seconds}");
        }
    }

    #[test]
    fn many_names_make_few_lines() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let names = (0..1_000).map(|number| wrong(&number.to_string()));
        let told = names.filter(|failure| refusals.is_news(peer(1, 1), failure, now)).count();
        assert_eq!(told, MOST_TOLD);
        assert_eq!(refusals.told.lock().unwrap().len(), MOST_TOLD);
        assert!(refusals.is_news(peer(1, 1), &wrong("late"), now + TOLD_ONCE_IN));
    }
}
