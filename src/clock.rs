//! Points in time that are cheap to keep, to compare and to subtract: eight bytes of nanoseconds.
//!
//! The standard library keeps seconds and nanoseconds apart, and each difference of two of its instants is a
//! function call; a transaction takes two dozen of them.

use std::ops::{Add, AddAssign, Sub};
use std::sync::LazyLock;
use std::time::{self, Duration};

/// A point in time that never goes back. As precise as the standard library's, of one process, and good for five
/// centuries: what lies beyond is the latest there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        Self::of(time::Instant::now())
    }

    fn of(at: time::Instant) -> Self {
        Self(BEFORE + nanos(at.saturating_duration_since(*FIRST)))
    }

    /// Since then; nothing if it lies ahead.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// From an earlier one to this; nothing if that is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// For timers.
    fn to_std(self) -> time::Instant {
        // What lies before the first look is over as well. Four centuries are no overflow.
        let since = Duration::from_nanos(self.0.saturating_sub(BEFORE));
        FIRST.checked_add(since).unwrap_or(*FIRST)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl From<Instant> for tokio::time::Instant {
    fn from(at: Instant) -> Self {
        Self::from_std(at.to_std())
    }
}

fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_secs().checked_mul(1_000_000_000);
    nanos.map_or(u64::MAX, |nanos| nanos.saturating_add(duration.subsec_nanos().into()))
}

/// When the process looked at the clock first.
static FIRST: LazyLock<time::Instant> = LazyLock::new(time::Instant::now);

/// What lies before the first look: a century, in nanoseconds.
const BEFORE: u64 = 100 * 365 * 86_400 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_as_far_apart_as_they_are() {
        let now = Instant::now();
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 86_400_000_000_123] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!((now + duration) - now, duration);
            assert_eq!(now - (now - duration), duration);
            assert_eq!((now + duration).saturating_duration_since(now), duration);
            assert_eq!(now.saturating_duration_since(now + duration), Duration::ZERO);
        }
        assert!(now <= Instant::now());
    }

    #[test]
    fn what_is_too_far_away_is_the_farthest() {
        let now = Instant::now();
        let last = now + Duration::MAX;
        assert_eq!(last, last + Duration::from_secs(1));
        assert!(now < last && now - Duration::MAX < now);
        assert!(tokio::time::Instant::from(last) > tokio::time::Instant::now());
    }

    #[test]
    fn timers_go_by_the_same_clock() {
        let (before, now) = (time::Instant::now(), Instant::now());
        let timer = tokio::time::Instant::from(now).into_std();
        assert!(before <= timer + Duration::from_nanos(1) && timer <= time::Instant::now());
    }
}
