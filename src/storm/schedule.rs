//! When functions arrive: a clock's schedule, which waits for nobody (sans-IO).

use std::time::Duration;

use super::plan::Class;
use super::profile::Profile;

/// Arrivals at even distances, once or in spikes. They are a matter of the clock alone: a slow server
/// changes nothing about them, as it changes nothing about what makes real functions start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    functions: u64,
    ramp: Duration,
    total: u64,
    /// From one spike to the next.
    period: Option<Duration>,
}

impl Schedule {
    /// That of a class, from its own start on.
    pub(super) fn of(class: &Class) -> Self {
        let Class { functions, ramp, duration, period, .. } = *class;
        match class.profile {
            Profile::Burst => Self::new(functions, Duration::ZERO, Duration::ZERO),
            // Those who follow come when others leave: that is no matter of the clock.
            Profile::Steady => Self::new(functions, ramp, Duration::ZERO),
            Profile::Spikes => Self::spikes(functions, ramp, duration, period),
            // They stay until the duration is over; it is not for more of them to come.
            _ if class.transactions_per_function == 0 => Self::new(functions, ramp, Duration::ZERO),
            Profile::Ramp | Profile::Freeze | Profile::Abandon | Profile::Long => {
                Self::new(functions, ramp, duration)
            }
        }
    }

    /// `functions` over `ramp`, and on at that rate until `duration` is over. Without a ramp they
    /// arrive all at once.
    fn new(functions: u64, ramp: Duration, duration: Duration) -> Self {
        let total = if ramp.is_zero() || duration <= ramp {
            functions
        } else {
            let arrivals = u128::from(functions) * duration.as_nanos();
            u64::try_from(arrivals.div_ceil(ramp.as_nanos())).unwrap_or(u64::MAX)
        };
        Self { functions, ramp, total, period: None }
    }

    /// `functions` over `ramp` every `period`, until `duration` is over; without a duration, a few
    /// times.
    fn spikes(functions: u64, ramp: Duration, duration: Duration, period: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        let spikes = match duration.as_nanos() {
            0 => DEFAULT_SPIKES,
            nanos => u64::try_from(nanos.div_ceil(period.as_nanos())).unwrap_or(u64::MAX),
        };
        Self { functions, ramp, total: functions.saturating_mul(spikes), period: Some(period) }
    }

    /// How many arrive in all.
    pub(super) fn total(self) -> u64 {
        self.total
    }

    /// When number `index`, counted from 0, arrives after the start.
    pub(super) fn at(self, index: u64) -> Duration {
        let functions = self.functions.max(1);
        let (spike, index) = match self.period {
            Some(_) => (index / functions, index % functions),
            None => (0, index),
        };
        let nanos = self.ramp.as_nanos() * u128::from(index) / u128::from(functions)
            + self.period.map_or(0, |period| period.as_nanos() * u128::from(spike));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Arrivals per second, those of spikes over the whole period; `None` when all arrive at once.
    pub(super) fn rate(self) -> Option<f64> {
        let over = self.period.unwrap_or(self.ramp);
        (!over.is_zero()).then(|| self.functions as f64 / over.as_secs_f64())
    }

    /// How long the last arrival stands for: the time until another would come.
    pub(super) fn rest(self) -> Duration {
        let last = self.at(self.total.saturating_sub(1));
        match self.period {
            Some(_) => self.at(self.total).saturating_sub(last),
            None => self.ramp / u32::try_from(self.functions.max(1)).unwrap_or(u32::MAX),
        }
    }

    /// From the first arrival to the end of the last one's time.
    pub(super) fn length(self) -> Duration {
        self.at(self.total.saturating_sub(1)).saturating_add(self.rest())
    }
}

/// Spikes where no duration is given.
const DEFAULT_SPIKES: u64 = 3;

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
    fn spikes_come_every_period() {
        let second = Duration::from_secs(1);
        let schedule = Schedule::spikes(100, second, second * 25, second * 10);
        assert_eq!((schedule.total(), schedule.rate()), (300, Some(10.0)));
        assert_eq!(schedule.at(0), Duration::ZERO);
        assert_eq!(schedule.at(50), second / 2);
        assert_eq!(schedule.at(250), second * 20 + second / 2);
        assert_eq!(schedule.length(), second * 30);
        let schedule = Schedule::spikes(100, Duration::ZERO, Duration::ZERO, second);
        assert_eq!((schedule.total(), schedule.at(299)), (300, second * 2));
    }

    #[test]
    fn the_rate_is_that_of_the_ramp() {
        let second = Duration::from_secs(1);
        assert_eq!(Schedule::new(300, second, second * 9).rate(), Some(300.0));
        assert_eq!(Schedule::new(300, Duration::ZERO, second).rate(), None);
        assert_eq!(Schedule::new(10, second, second).rest(), second / 10);
    }

    #[test]
    fn the_longest_schedules_do_not_overflow() {
        let year = Duration::from_hours(365 * 24);
        let schedule = Schedule::new(u64::MAX, Duration::from_nanos(1), year);
        assert_eq!(schedule.total(), u64::MAX);
        assert!(schedule.at(u64::MAX) >= Duration::from_nanos(1));
        let schedule = Schedule::spikes(u64::MAX, year, year, Duration::ZERO);
        assert_eq!(schedule.total(), u64::MAX);
        assert!(schedule.length() >= schedule.at(u64::MAX / 2));
    }
}
