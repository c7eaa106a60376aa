//! When functions arrive: a clock's schedule, which waits for nobody (sans-IO).

use std::time::Duration;

/// Arrivals at even distances. They are a matter of the clock alone: a slow server changes nothing
/// about them, as it changes nothing about what makes real functions start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    functions: u64,
    ramp: Duration,
    total: u64,
}

impl Schedule {
    /// `functions` over `ramp`, and on at that rate until `duration` is over. Without a ramp they
    /// arrive all at once.
    pub(super) fn new(functions: u64, ramp: Duration, duration: Duration) -> Self {
        let total = if ramp.is_zero() || duration <= ramp {
            functions
        } else {
            let arrivals = u128::from(functions) * duration.as_nanos();
            u64::try_from(arrivals.div_ceil(ramp.as_nanos())).unwrap_or(u64::MAX)
        };
        Self { functions, ramp, total }
    }

    /// How many arrive in all.
    pub(super) fn total(self) -> u64 {
        self.total
    }

    /// When number `index`, counted from 0, arrives after the start.
    pub(super) fn at(self, index: u64) -> Duration {
        let nanos = self.ramp.as_nanos() * u128::from(index) / u128::from(self.functions.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Arrivals per second; `None` when all arrive at once.
    pub(super) fn rate(self) -> Option<f64> {
        (!self.ramp.is_zero()).then(|| self.functions as f64 / self.ramp.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_spread_over_the_ramp_and_go_on_until_the_duration_ends() {
        let ms = Duration::from_millis;
        let cases = [
            ("all at once", 300, 0, 0, 300, (299, 0)),
            ("over a second", 300, 1_000, 0, 300, (150, 500)),
            ("a duration within the ramp adds none", 10, 1_000, 500, 10, (9, 900)),
            ("four ramps long", 10, 1_000, 4_000, 40, (39, 3_900)),
            ("not a whole number of ramps", 10, 1_000, 1_001, 11, (10, 1_000)),
            ("nobody", 0, 1_000, 0, 0, (0, 0)),
        ];
        for (name, functions, ramp, duration, total, (index, at)) in cases {
            let schedule = Schedule::new(functions, ms(ramp), ms(duration));
            assert_eq!(schedule.total(), total, "{name}");
            assert_eq!(schedule.at(index), ms(at), "{name}");
        }
    }

    #[test]
    fn the_rate_is_that_of_the_ramp() {
        let second = Duration::from_secs(1);
        assert_eq!(Schedule::new(300, second, second * 9).rate(), Some(300.0));
        assert_eq!(Schedule::new(300, Duration::ZERO, second).rate(), None);
    }

    #[test]
    fn the_longest_schedules_do_not_overflow() {
        let year = Duration::from_hours(365 * 24);
        let schedule = Schedule::new(u64::MAX, Duration::from_nanos(1), year);
        assert_eq!(schedule.total(), u64::MAX);
        assert!(schedule.at(u64::MAX) >= Duration::from_nanos(1));
    }
}
