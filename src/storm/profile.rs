//! What kinds of storms there are: when functions come, and what each of them does.

use clap::ValueEnum;
use serde::Serialize;

/// When functions come and what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// All at once.
    Burst,
    /// Evenly over the ramp, and on at its rate until the duration is over.
    Ramp,
    /// As many at a time until the duration is over: whoever leaves is followed by another.
    Steady,
    /// A ramp again every period, until the duration is over.
    Spikes,
    /// As a ramp; each stops for a time, and then goes on.
    Freeze,
    /// As a ramp; each is gone without a Terminate.
    Abandon,
    /// As a ramp; each holds its transaction open for long.
    Long,
}

/// Where a function stops, or is gone: in its last transaction, or right before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// Outside a transaction.
    Idle,
    /// Within a transaction, with nothing asked.
    Transaction,
    /// Within a transaction, with a query sent and its answer not read.
    Answer,
}

/// How a function abandons its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It closes the socket.
    Close,
    /// It says and reads nothing for the time of a freeze, and then closes the socket.
    Silent,
}

/// What becomes of a function in its last transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing out of the ordinary.
    Plain,
    /// It stops there, and goes on.
    Freeze,
    /// It is gone.
    Abandon,
}

impl Profile {
    pub(super) fn fate(self) -> Fate {
        match self {
            Self::Freeze => Fate::Freeze,
            Self::Abandon => Fate::Abandon,
            Self::Burst | Self::Ramp | Self::Steady | Self::Spikes | Self::Long => Fate::Plain,
        }
    }

    /// As it is written.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A value by its name, as flags and the keys of `--class` take it.
pub(super) fn by_name<T: ValueEnum>(name: &str) -> Option<T> {
    T::from_str(name, false).ok()
}
