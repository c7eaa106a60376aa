//! Failed logins, by address: whoever guesses passwords waits for the answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

/// How often logins have failed lately, by address. Those that succeed are never made to wait: many functions may share
/// the address of one with an old password.
#[derive(Debug, Default)]
pub struct Failures {
    counts: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failed: u32,
    since: Instant,
}

impl Failures {
    /// One more. How long its answer is kept back, once there were more than `allowed` within a minute.
    pub fn note(&self, address: IpAddr, allowed: u32, now: Instant) -> Duration {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |count: &Count| now.saturating_duration_since(count.since) >= WINDOW;
        let address = network(address);
        if !counts.contains_key(&address) && counts.len() >= MOST_ADDRESSES {
            counts.retain(|_, count| !is_over(count));
            if counts.len() >= MOST_ADDRESSES {
                return Duration::ZERO;
            }
        }
        let count = counts.entry(address).or_insert(Count { failed: 0, since: now });
        if is_over(count) {
            *count = Count { failed: 0, since: now };
        }
        count.failed = count.failed.saturating_add(1);
        (STEP * count.failed.saturating_sub(allowed)).min(LONGEST)
    }
}

/// An IPv6 host has all addresses of its network (RFC 4291, section 2.5.1).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Failures are counted for so long.
const WINDOW: Duration = Duration::from_mins(1);
/// Each failure too many waits so much longer.
const STEP: Duration = Duration::from_millis(500);
/// And no longer than this.
const LONGEST: Duration = Duration::from_secs(5);
/// Addresses that are counted at once.
const MOST_ADDRESSES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_later_and_later_until_the_minute_is_over() {
        let failures = Failures::default();
        let now = Instant::now();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let waits: Vec<_> = (0..5).map(|_| failures.note(one, 3, now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 500, 1000]);
        for _ in 0..100 {
            assert!(failures.note(one, 3, now) <= LONGEST);
        }
        assert_eq!(failures.note("192.0.2.2".parse().unwrap(), 3, now), Duration::ZERO);
        assert_eq!(failures.note(one, 3, now + WINDOW), Duration::ZERO);
    }

    #[test]
    fn a_network_of_version_6_and_a_mapped_address_are_one() {
        let failures = Failures::default();
        let now = Instant::now();
        let note = |address: &str| failures.note(address.parse().unwrap(), 1, now);
        assert_eq!(note("2001:db8::1"), Duration::ZERO);
        assert_eq!(note("2001:db8::ffff:2"), STEP);
        assert_eq!(note("2001:db8:0:1::1"), Duration::ZERO);
        assert_eq!(note("192.0.2.1"), Duration::ZERO);
        assert_eq!(note("::ffff:192.0.2.1"), STEP);
    }

    #[test]
    fn addresses_have_a_bound() {
        let failures = Failures::default();
        let now = Instant::now();
        for number in 0..20_000_u32 {
            failures.note(IpAddr::V4(number.into()), 0, now);
        }
        assert_eq!(failures.counts.lock().unwrap().len(), MOST_ADDRESSES);
        failures.note("192.0.2.1".parse().unwrap(), 0, now + WINDOW);
        assert_eq!(failures.counts.lock().unwrap().len(), 1);
    }
}
