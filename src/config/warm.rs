//! `[[warm]]`: pools that are kept warm, always or at times.

use std::time::{Duration, SystemTime};

use super::context::Context;
use super::error::ConfigError;
use super::model::Config;
use super::raw::RawWarm;
use super::units::{Share, format_duration};
use super::validate::{self, MAX_SERVERS};

/// Entries at most: each is looked at every few seconds.
const MOST: usize = 64;
const DAY: u64 = 24 * 60 * 60;
/// The days by name; the first of January 1970 was a Thursday.
const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];

/// One pool, and when it is kept warm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm {
    /// The database's alias.
    pub database: String,
    /// The user that servers are logged in as; the database's own if it has one.
    pub user: Option<String>,
    /// Servers that are kept open, those at work included.
    pub servers: usize,
    /// When; `None` is always.
    pub schedule: Option<Schedule>,
}

/// A time of the day, on some days of the week, in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds after midnight.
    at: u64,
    /// By day of the week, as in `DAYS`.
    days: [bool; 7],
    /// For how long.
    time: Duration,
}

impl Schedule {
    /// How much is left of it, if it is now; it may have begun the day before.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let last = self.time.as_secs() / DAY + 1;
        let begins = (0..=last).filter_map(|back| (now / DAY).checked_sub(back)).filter(|day| {
            let index = usize::try_from(day % 7).unwrap_or_default();
            self.days[index]
        });
        let ends = begins.map(|day| day * DAY + self.at).filter(|begin| *begin <= now);
        let end = ends.map(|begin| begin + self.time.as_secs()).max()?;
        end.checked_sub(now).filter(|left| *left > 0).map(Duration::from_secs)
    }

    /// `08:30`.
    pub(super) fn at_text(&self) -> String {
        format!("{:02}:{:02}", self.at / 3600, self.at / 60 % 60)
    }

    /// The names of its days.
    pub(super) fn day_names(&self) -> Vec<&'static str> {
        DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|(name, _)| *name).collect()
    }

    /// For how long.
    pub(super) fn time_text(&self) -> String {
        format_duration(self.time)
    }
}

/// The list in its order.
pub(super) fn build(context: &Context<'_>, raw: Vec<RawWarm>) -> Result<Vec<Warm>, ConfigError> {
    if raw.len() > MOST {
        let problem = format!("there are {} of them", raw.len());
        return Err(context.bad(&["warm"], problem, format!("at most {MOST}")));
    }
    raw.into_iter().enumerate().map(|(at, raw)| warm(context, &at.to_string(), raw)).collect()
}

fn warm(context: &Context<'_>, at: &str, raw: RawWarm) -> Result<Warm, ConfigError> {
    let path = |key| ["warm", at, key];
    let missing = |key, expected: &str| context.bad(&path(key), "it is missing", expected);
    let database = raw.database.ok_or_else(|| missing("database", "one of [databases]"))?;
    let servers = raw.servers.ok_or_else(|| missing("servers", "how many to keep open"))?.0;
    validate::range(context, &path("servers"), servers, 1..=MAX_SERVERS)?;
    let schedule = match (raw.at, raw.time) {
        (None, None) if raw.days.is_none() => None,
        (Some(text), Some(time)) => Some(Schedule {
            at: time_of_day(&text).ok_or_else(|| {
                context.bad(
                    &path("at"),
                    format!("{text:?} is no time"),
                    "one in UTC, such as 08:30",
                )
            })?,
            days: days(context, &path("days"), raw.days)?,
            time: time.0,
        }),
        (None, _) => return Err(missing("at", "a time in UTC, such as 08:30, beside the others")),
        (Some(_), None) => return Err(missing("for", "a duration beside `at`")),
    };
    Ok(Warm { database, user: raw.user, servers, schedule })
}

fn time_of_day(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

fn days(
    context: &Context<'_>,
    path: &[&str],
    names: Option<Vec<String>>,
) -> Result<[bool; 7], ConfigError> {
    let Some(names) = names else { return Ok([true; 7]) };
    let mut days = [false; 7];
    for name in &names {
        let day = DAYS.iter().position(|day| day == name).ok_or_else(|| {
            context.bad(path, format!("{name:?} is no day"), "of mon, tue, wed, thu, fri, sat, sun")
        })?;
        days[day] = true;
    }
    if names.is_empty() {
        return Err(context.bad(path, "no day is named", "some days, or no `days` for all"));
    }
    Ok(days)
}

/// Checks what the entries and the rest say of each other.
pub(super) fn check(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    for (at, warm) in config.warm.iter().enumerate() {
        let at = at.to_string();
        let Some(database) = config.database(&warm.database) else {
            let problem = format!("there is no database {:?}", warm.database);
            return Err(context.bad(&["warm", &at, "database"], problem, "one of [databases]"));
        };
        if warm.user.is_none() && database.user.is_none() {
            let expected = "the user that servers are logged in as";
            return Err(context.bad(&["warm", &at, "user"], "it is missing", expected));
        }
        if let Share::Count(max) = database.max_servers.unwrap_or(config.limits.max_servers)
            && warm.servers > max
        {
            let problem = format!("{} is more than the pool may have", warm.servers);
            let expected = format!("at most its max_servers, {max}");
            return Err(context.bad(&["warm", &at, "servers"], problem, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_on_at_its_days_and_past_midnight() {
        // 2026-11-26, a Thursday.
        let midnight = 1_795_651_200;
        let at = |seconds: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs((midnight + seconds).try_into().unwrap())
        };
        let mut days = [false; 7];
        days[0] = true;
        let night = Schedule { at: 22 * 3600, days, time: Duration::from_hours(4) };
        let left = |hours: i64| night.left(at(hours * 3600)).map(|left| left.as_secs() / 3600);
        assert_eq!([left(21), left(22), left(25), left(26)], [None, Some(4), Some(1), None]);
        assert_eq!(left(22 + 24), None, "Friday is none of its days");
        assert_eq!(left(22 + 7 * 24), Some(4));
        assert_eq!((night.at_text(), night.day_names()), ("22:00".to_owned(), vec!["thu"]));
    }
}
