//! Values with units as people write them: durations and counts.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// What a duration looks like, for errors.
pub const DURATION: &str = "a duration such as \"250ms\", \"30s\", \"5min\" or \"1h\" (a bare number is in seconds), of at most 366 days";

/// Longest duration taken: far above every use, and small enough to be added to any clock.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// Reads `30s`, `5min`, `250ms`, `1h`, or a bare number of seconds; `None` if it is none of these or
/// longer than a year.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).ok()?,
    };
    (duration <= LONGEST).then_some(duration)
}

/// Writes a duration so that [`parse_duration`] reads it back.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Deserializes a duration field.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}

/// Deserializes a count field.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Count::deserialize(deserializer).map(|count| count.0)
}

/// A duration as a setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub Duration);

/// A whole number as a setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub usize);

/// A port to connect to as a setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port(pub u16);

/// A part of something: so many, or so many per cent of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many; 0 is no limit.
    Count(usize),
    /// 1 to 100 per cent.
    Percent(u8),
}

impl Share {
    /// Reads `5` or `50%`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim().parse().ok()?;
                (1..=100).contains(&percent).then_some(Self::Percent(percent))
            }
            None => text.trim().parse().ok().map(Self::Count),
        }
    }

    /// Whether it depends on something.
    pub fn is_percent(self) -> bool {
        matches!(self, Self::Percent(_))
    }

    /// How many that is of `all`: rounded down, so that less than all leaves something, but one at least.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (all.saturating_mul(usize::from(percent)) / 100).max(1),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number (0 is no limit) or \"1%\" to \"100%\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
        Share::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Share, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Share, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DURATION)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        parse_duration(text).map(Span).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Span, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Span, E> {
        self.visit_str(&seconds.to_string())
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port number, 1 to 65535")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
        // That 0 is none is checked with the other ranges.
        u16::try_from(number)
            .map(Port)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Port, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, 0 or more")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
        usize::try_from(number)
            .map(Count)
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
        usize::try_from(number)
            .map(Count)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leaves_something_but_never_nothing() {
        let cases = [("75%", 1, 1), ("75%", 2, 1), ("75%", 3, 2), ("75%", 20, 15), ("1%", 20, 1)];
        for (text, all, expected) in cases {
            assert_eq!(
                Share::parse(text).map(|share| share.of(all)),
                Some(expected),
                "{text} {all}"
            );
        }
        assert_eq!(Share::parse("100%").map(|share| share.of(7)), Some(7));
        assert_eq!(Share::parse("5").map(|share| share.of(2)), Some(5));
        for text in ["0%", "101%", "-1", "x", "", "1.5%"] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("30s", Some(30_000)),
            ("5min", Some(300_000)),
            ("250ms", Some(250)),
            ("1h", Some(3_600_000)),
            ("1h 30m", Some(5_400_000)),
            ("45", Some(45_000)),
            ("0", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("5 parsecs", None),
            ("500d", None),
            ("99999999999999999999", None),
        ];
        for (text, millis) in cases {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_written_so_that_they_are_read_back() {
        for millis in [0, 250, 1_000, 90_000, 1_800_000, 3_600_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}
