//! What a storm consists of: classes of functions, and who looks at PostgreSQL meanwhile.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use super::client::Protocol;
use super::profile::{At, Exit, Fate, Profile};
use crate::config::{Dsn, ServerTlsMode};

/// What a storm consists of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The classes, which come side by side.
    pub classes: Vec<Class>,
    /// Functions there at once, at most, of all classes; those that arrive beyond it are counted as
    /// missed.
    pub concurrency: usize,
    /// Given to a login, and to each statement, before it counts as failed.
    pub timeout: Duration,
    /// Who looks at PostgreSQL.
    pub observe: Option<Observe>,
    /// Nobody logs in ahead of the storm.
    pub cold: bool,
}

/// Functions of one kind.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name in the report.
    pub name: String,
    /// Where and as whom they log in.
    pub dsn: Dsn,
    /// What they call themselves.
    pub application_name: String,
    /// The addresses that they come from, in turn; none = the system's choice.
    pub sources: Vec<IpAddr>,
    /// When they come and what they do.
    pub profile: Profile,
    /// How many come during the ramp, or are there at a time.
    pub functions: u64,
    /// Further clients, which are logged in ahead of the storm and say nothing until the class ends.
    pub idle: u64,
    /// The class begins so long after the storm.
    pub start: Duration,
    /// They come at even distances over this time; zero = all at once.
    pub ramp: Duration,
    /// How long they go on coming, or stay.
    pub duration: Duration,
    /// From one spike to the next.
    pub period: Duration,
    /// Transactions of each function; 0 = until the duration is over.
    pub transactions_per_function: u64,
    /// What stands between BEGIN and COMMIT.
    pub query: String,
    /// How statements are sent.
    pub protocol: Protocol,
    /// How long each transaction is held open between the query's answer and COMMIT.
    pub hold: Duration,
    /// What passes between two transactions of a function.
    pub think: Duration,
    /// How long a frozen function stops, and a silent one stays.
    pub freeze: Duration,
    /// Where a function freezes, or is gone.
    pub at: At,
    /// How a function abandons its connection.
    pub abandon: Exit,
    /// Who follows a steady function goes on from its TLS session, as a process does that connects again.
    pub tls_resume: bool,
    /// What is said of TLS apart from connection strings, which it wins over.
    pub sslmode: Option<ServerTlsMode>,
}

/// Who looks at `pg_stat_activity`.
#[derive(Debug, Clone)]
pub struct Observe {
    /// Straight to PostgreSQL.
    pub dsn: Dsn,
    /// How often.
    pub interval: Duration,
    /// How many connections there should be at most.
    pub limit: Option<u64>,
    /// Count every client's connection, not only those of the classes' users and databases.
    pub all: bool,
}

/// A class that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A rate without an end.
    #[error(
        "class {class}: a duration of {duration:?} needs a ramp: without one all functions arrive \
         at once"
    )]
    NoRamp {
        /// Its name.
        class: String,
        /// The duration.
        duration: Duration,
    },
    /// Nobody would come.
    #[error("class {class}: there are no functions; expected 1 or more")]
    NoFunctions {
        /// Its name.
        class: String,
    },
    /// What goes on until the duration is over, without one.
    #[error("class {class}: {what} needs a duration, such as 30s")]
    NoDuration {
        /// Its name.
        class: String,
        /// What goes on.
        what: &'static str,
    },
    /// A last transaction in which something happens, and no last transaction.
    #[error("class {class}: profile {profile} needs a number of transactions above 0")]
    NoLast {
        /// Its name.
        class: String,
        /// Its profile.
        profile: String,
    },
    /// Spikes that follow each other without an end.
    #[error("class {class}: the period of spikes must be longer than 0 and than the ramp")]
    Period {
        /// Its name.
        class: String,
    },
    /// Two classes with one name.
    #[error("two classes are called {class}")]
    Twice {
        /// The name.
        class: String,
    },
    /// None at all, or too many.
    #[error("{found} classes; expected 1 to {MAX_CLASSES}")]
    Number {
        /// How many.
        found: usize,
    },
}

impl Plan {
    /// One class, and nobody who looks.
    pub fn of(class: Class) -> Self {
        Self {
            classes: vec![class],
            concurrency: DEFAULT_CONCURRENCY,
            timeout: DEFAULT_TIMEOUT,
            observe: None,
            cold: false,
        }
    }

    /// Whether it can be run.
    pub fn check(&self) -> Result<(), PlanError> {
        if !(1..=MAX_CLASSES).contains(&self.classes.len()) {
            return Err(PlanError::Number { found: self.classes.len() });
        }
        for (number, class) in self.classes.iter().enumerate() {
            class.check()?;
            if self.classes.iter().take(number).any(|other| other.name == class.name) {
                return Err(PlanError::Twice { class: class.name.clone() });
            }
        }
        Ok(())
    }

    /// Clients of all classes that are there before the storm begins.
    pub fn idle(&self) -> u64 {
        self.classes.iter().map(|class| class.idle).sum()
    }
}

impl Class {
    /// 300 functions over a second, with one transaction of `SELECT 1` each.
    pub fn new(dsn: Dsn) -> Self {
        Self {
            name: "all".to_owned(),
            dsn,
            application_name: APPLICATION.to_owned(),
            sources: Vec::new(),
            profile: Profile::Ramp,
            functions: 300,
            idle: 0,
            start: Duration::ZERO,
            ramp: Duration::from_secs(1),
            duration: Duration::ZERO,
            period: Duration::from_secs(10),
            transactions_per_function: 1,
            query: "SELECT 1".to_owned(),
            protocol: Protocol::Simple,
            hold: Duration::ZERO,
            think: Duration::ZERO,
            freeze: Duration::from_secs(10),
            at: At::Transaction,
            abandon: Exit::Close,
            tls_resume: false,
            sslmode: None,
        }
    }

    /// How long each transaction is held open.
    pub(super) fn held(&self) -> Duration {
        let long = self.profile == Profile::Long && self.hold.is_zero();
        if long { DEFAULT_LONG } else { self.hold }
    }

    fn check(&self) -> Result<(), PlanError> {
        let class = self.name.clone();
        let (no_ramp, no_end) = (self.ramp.is_zero(), self.duration.is_zero());
        let ends_by_time = self.transactions_per_function == 0;
        match self.profile {
            _ if self.functions == 0 && self.idle == 0 => Err(PlanError::NoFunctions { class }),
            Profile::Steady if no_end => {
                Err(PlanError::NoDuration { class, what: "profile steady" })
            }
            _ if ends_by_time && no_end => {
                Err(PlanError::NoDuration { class, what: "0 transactions of a function" })
            }
            profile if ends_by_time && profile.fate() != Fate::Plain => {
                Err(PlanError::NoLast { class, profile: profile.name() })
            }
            Profile::Spikes if self.period.is_zero() || self.period < self.ramp => {
                Err(PlanError::Period { class })
            }
            Profile::Ramp | Profile::Freeze | Profile::Abandon | Profile::Long
                if no_ramp && !no_end && !ends_by_time =>
            {
                Err(PlanError::NoRamp { class, duration: self.duration })
            }
            _ => Ok(()),
        }
    }
}

/// How the functions call themselves in `pg_stat_activity`.
pub const APPLICATION: &str = "pgweir-storm";

/// Memory and file descriptors of some tens of megabytes.
pub const DEFAULT_CONCURRENCY: usize = 5_000;

/// Classes side by side: each has its histograms.
const MAX_CLASSES: usize = 32;

/// Longer than pgweir lets a client wait for a server, so that its own error is what is counted.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(150);

/// How long a transaction of profile `long` is held where nothing is said.
const DEFAULT_LONG: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is said of a class with a change.
    type Case = (&'static str, fn(&mut Class));

    fn problem(change: impl FnOnce(&mut Class)) -> Option<String> {
        let mut class = Class::new(Dsn::parse("postgres://u@h/d").unwrap());
        change(&mut class);
        Plan::of(class).check().err().map(|error| error.to_string())
    }

    #[test]
    fn classes_without_an_end_or_a_rate_are_refused() {
        assert_eq!(problem(|_| {}), None);
        let cases: [Case; 5] = [
            ("profile steady needs a duration", |c| c.profile = Profile::Steady),
            ("0 transactions of a function needs", |c| c.transactions_per_function = 0),
            ("needs a ramp", |c| (c.ramp, c.duration) = (Duration::ZERO, SECOND)),
            ("profile abandon needs a number", |c| {
                (c.profile, c.transactions_per_function) = (Profile::Abandon, 0);
                c.duration = SECOND;
            }),
            ("the period of spikes", |c| (c.profile, c.period) = (Profile::Spikes, SECOND / 2)),
        ];
        for (part, change) in cases {
            let said = problem(change).unwrap_or_default();
            assert!(said.contains("class all") && said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn burst_and_steady_need_no_ramp() {
        for profile in [Profile::Burst, Profile::Steady] {
            let said = problem(|class| {
                (class.profile, class.ramp, class.duration) = (profile, Duration::ZERO, SECOND);
            });
            assert_eq!(said, None);
        }
    }

    #[test]
    fn two_classes_cannot_have_one_name() {
        let class = Class::new(Dsn::parse("postgres://u@h/d").unwrap());
        let plan = Plan { classes: vec![class.clone(), class.clone()], ..Plan::of(class.clone()) };
        assert_eq!(plan.check(), Err(PlanError::Twice { class: "all".to_owned() }));
        let plan = Plan { classes: Vec::new(), ..Plan::of(class) };
        assert_eq!(plan.check(), Err(PlanError::Number { found: 0 }));
    }
}
