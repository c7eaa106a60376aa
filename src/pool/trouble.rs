//! How opening servers goes: how long to pause, what is worth saying, and whether to open any that
//! nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::server::OpenError;

/// Since when and why no server can be opened; forgotten as soon as one is.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    error: Option<Arc<OpenError>>,
    /// Since when.
    since: Option<Instant>,
    /// What the log says of it already, and when it was told last.
    said: Option<(String, Instant)>,
    hold: Hold,
    /// All that was where the pool no longer is.
    elsewhere: bool,
}

/// Whether servers are opened that nobody waits for. Without a hold, an error that is no use
/// waiting out would be met again as fast as PostgreSQL gives it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Hold {
    #[default]
    None,
    Until(Instant),
    /// Until there is something else to log in with; where others do the work, until then.
    Credential(Instant),
}

/// An attempt that has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// How long to wait before the next.
    pub(super) pause: Duration,
    /// The log does not say so yet, or has not for long.
    pub(super) is_news: bool,
    /// For how long none could be opened.
    pub(super) lasted: Duration,
}

impl Trouble {
    /// The last attempt has failed.
    pub(super) fn is_on(&self) -> bool {
        self.failures > 0
    }

    /// It has, and one attempt at a time is enough.
    pub(super) fn is_here(&self) -> bool {
        self.is_on() && !self.elsewhere
    }

    /// Why the last attempt failed, if that may pass: it is what clients wait for.
    pub(super) fn waited_for(&self) -> Option<Arc<OpenError>> {
        self.error.clone().filter(|error| error.retry())
    }

    /// `jitter` keeps pools from trying in step.
    pub(super) fn failed(&mut self, error: Arc<OpenError>, jitter: f64, now: Instant) -> Failed {
        self.failures = self.failures.saturating_add(1);
        self.elsewhere = false;
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(10));
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(jitter);
        self.hold = if error.needs_credential() {
            Hold::Credential(now + pause)
        } else if error.retry() {
            Hold::None
        } else {
            Hold::Until(now + pause)
        };
        let text = error.to_string();
        let is_known = |(said, at): &(String, Instant)| {
            *said == text && now.saturating_duration_since(*at) < SAID_AGAIN
        };
        let is_news = !self.said.as_ref().is_some_and(is_known);
        if is_news {
            self.said = Some((text, now));
        }
        self.error = Some(error);
        let since = *self.since.get_or_insert(now);
        Failed { pause, is_news, lasted: now.saturating_duration_since(since) }
    }

    /// Whether servers may be opened for nobody.
    pub(super) fn lets_open_ahead(&self, now: Instant) -> bool {
        match self.hold {
            Hold::None => true,
            Hold::Until(then) => now >= then,
            Hold::Credential(_) => false,
        }
    }

    /// For how long none is to be opened while others do the work.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        match self.hold {
            Hold::None => None,
            Hold::Until(then) | Hold::Credential(then) => {
                Some(then.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
            }
        }
    }

    /// There is something else to log in with.
    pub(super) fn on_credential(&mut self) {
        if matches!(self.hold, Hold::Credential(_)) {
            self.hold = Hold::None;
        }
    }

    /// The pool's servers are to be opened elsewhere, or by another login: what is under way has nothing to do with that.
    pub(super) fn on_other_place(&mut self) {
        self.elsewhere = true;
    }

    /// The configuration is another: whether that helps is to be seen, and to be said.
    pub(super) fn on_reload(&mut self) {
        self.hold = Hold::None;
        self.said = None;
    }
}

/// How often the log says what goes on.
const SAID_AGAIN: Duration = Duration::from_mins(1);

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{LoginError, ScramClientError};
    use crate::server::ServerError;

    fn refused(code: &str) -> Arc<OpenError> {
        let error = ServerError::new(format!("SERROR\0C{code}\0Mno\0\0").into_bytes().into());
        Arc::new(OpenError::InitQuery(error))
    }

    fn other_password() -> Arc<OpenError> {
        Arc::new(OpenError::Login(LoginError::Scram(ScramClientError::OtherVerifier)))
    }

    #[test]
    fn what_is_no_use_waiting_out_is_tried_ever_more_rarely() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        assert!(trouble.lets_open_ahead(now));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let Failed { pause, .. } = trouble.failed(refused("42601"), 1.0, now);
            assert!(pause > last || pause == LONGEST_PAUSE, "{pause:?}");
            assert!(!trouble.lets_open_ahead(now));
            assert!(trouble.lets_open_ahead(now + pause));
            last = pause;
        }
        assert_eq!(last, LONGEST_PAUSE);
        assert!(trouble.waited_for().is_none());
    }

    #[test]
    fn without_a_credential_nothing_is_opened_ahead_until_there_is_another() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let for_ever = now + Duration::from_hours(24);
        trouble.failed(other_password(), 1.0, now);
        assert!(!trouble.lets_open_ahead(for_ever));
        trouble.on_credential();
        assert!(trouble.lets_open_ahead(now));
        trouble.failed(other_password(), 1.0, now);
        trouble.on_reload();
        assert!(trouble.lets_open_ahead(now));
        trouble.failed(refused("42601"), 1.0, now);
        trouble.on_credential();
        assert!(!trouble.lets_open_ahead(now), "another login does not mend an `init_query`");
    }

    #[test]
    fn what_may_pass_holds_nothing_up() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        trouble.failed(refused("57P03"), 1.0, now);
        assert!(trouble.is_on() && trouble.lets_open_ahead(now));
        assert!(trouble.waited_for().is_some());
    }

    #[test]
    fn the_log_says_a_thing_once_a_minute() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        for (code, seconds, is_news) in [
            ("42601", 0, true),
            ("42601", 1, false),
            ("42501", 2, true),
            ("42501", 61, false),
            ("42501", 62, true),
            ("42501", 63, false),
            ("42501", 122, true),
        ] {
            let lasted = Duration::from_secs(seconds);
            let failed = trouble.failed(refused(code), 1.0, now + lasted);
            assert_eq!((failed.is_news, failed.lasted), (is_news, lasted), "{code} {seconds}");
        }
        let now = now + Duration::from_secs(123);
        trouble.on_reload();
        assert!(trouble.failed(refused("42501"), 1.0, now).is_news);
    }
}
