//! The flags of `pgweir storm`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::StormError;
use super::classes;
use super::client::Protocol;
use super::plan::{APPLICATION, Class, DEFAULT_CONCURRENCY, Observe, Plan};
use super::profile::{At, Exit, Profile};
use super::source;
use crate::config::{self, Dsn};

/// What the storm does.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Clone, Args)]
pub struct StormOptions {
    /// Connect here: postgres://user:password@host:port/dbname. Given as PGWEIR_STORM_DSN instead,
    /// it does not show in the list of processes.
    #[arg(long, value_name = "DSN", env = "PGWEIR_STORM_DSN", hide_env_values = true)]
    pub dsn: String,
    /// When functions come and what they do.
    #[arg(long, value_enum, default_value_t = Profile::Ramp)]
    pub profile: Profile,
    /// How many functions arrive during the ramp, or are there at a time.
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub functions: u64,
    /// They arrive at even distances over this time; 0 = all at once.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    pub ramp: Duration,
    /// If longer than the ramp, functions go on arriving at its rate until this is over; steady ones
    /// stay as long.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub duration: Duration,
    /// From one spike to the next.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub period: Duration,
    /// How many transactions each runs before it leaves; 0 = until the duration is over.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub transactions_per_function: u64,
    /// What each transaction runs between BEGIN and COMMIT.
    #[arg(long, default_value = "SELECT 1", value_name = "SQL")]
    pub query: String,
    /// Send statements by this protocol of PostgreSQL's.
    #[arg(long, value_enum, default_value_t = Protocol::Simple)]
    pub protocol: Protocol,
    /// How long each transaction is held open before COMMIT; of profile long, 10s if this is 0.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub hold: Duration,
    /// What passes between two transactions of a function.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration)]
    pub think: Duration,
    /// How long a frozen function stops, and a silent one stays.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub freeze: Duration,
    /// Where a function freezes or is gone.
    #[arg(long, value_enum, default_value_t = At::Transaction)]
    pub at: At,
    /// How functions of profile abandon are gone.
    #[arg(long, value_enum, default_value_t = Exit::Close)]
    pub abandon: Exit,
    /// Further clients, logged in ahead of the storm, that say nothing until it ends.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub idle: u64,
    /// What functions call themselves.
    #[arg(long, default_value = APPLICATION, value_name = "NAME")]
    pub application_name: String,
    /// Connect from these addresses in turn, as in 127.0.0.0/24, 127.0.0.2-127.0.0.9 or ::1+127.0.0.1.
    #[arg(long, value_name = "ADDRESSES", value_parser = sources)]
    pub source: Option<Sources>,
    /// Use TLS as libpq's sslmode says: disable, prefer, require, verify-ca or verify-full.
    #[arg(long, value_name = "MODE", value_parser = sslmode)]
    pub sslmode: Option<config::ServerTlsMode>,
    /// Who follows a function of profile steady goes on from its TLS session, if the server gives tickets.
    #[arg(long)]
    pub tls_resume: bool,
    /// One of several classes, as name=greedy,functions=1000,hold=50ms; may be repeated. What it does
    /// not say is as the other flags say.
    #[arg(long = "class", value_name = "KEY=VALUE,...")]
    pub classes: Vec<String>,
    /// Nobody logs in ahead of the storm to find out whether that works: a pooler that has no server yet has none
    /// when the first function comes.
    #[arg(long)]
    pub cold: bool,
    /// Functions there at once, at most; those that arrive beyond it are counted as missed.
    #[arg(long, default_value_t = DEFAULT_CONCURRENCY, value_name = "NUMBER")]
    pub concurrency: usize,
    /// Give up a login or a statement after this time.
    #[arg(long, default_value = "150s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
    /// Look at PostgreSQL's connections over this one, straight to it.
    #[arg(long, value_name = "DSN", env = "PGWEIR_STORM_OBSERVE", hide_env_values = true)]
    pub observe: Option<String>,
    /// How many connections PostgreSQL should have at most.
    #[arg(long, value_name = "NUMBER", requires = "observe")]
    pub limit: Option<u64>,
    /// How often PostgreSQL is looked at.
    #[arg(long, default_value = "50ms", value_name = "DURATION", value_parser = duration)]
    pub observe_interval: Duration,
    /// Count all clients' connections, not only those of the storm's users and databases.
    #[arg(long, requires = "observe")]
    pub observe_all: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write the report as a page with pictures, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Say nothing while it runs.
    #[arg(long)]
    pub quiet: bool,
}

/// Addresses that functions come from.
#[derive(Debug, Clone)]
pub struct Sources(Vec<IpAddr>);

impl StormOptions {
    pub(super) fn plan(self) -> Result<Plan, StormError> {
        let default = self.class()?;
        let mut classes = Vec::new();
        for (number, text) in self.classes.iter().enumerate() {
            let class = classes::parse(text, &default);
            classes.push(class.map_err(|error| StormError::Class { number: number + 1, error })?);
        }
        if classes.is_empty() {
            classes.push(default);
        }
        let observe = self.observer()?;
        let Self { concurrency, timeout, cold, .. } = self;
        let plan = Plan { classes, concurrency, timeout, observe, cold };
        plan.check()?;
        Ok(plan)
    }

    /// What the flags say of functions.
    fn class(&self) -> Result<Class, StormError> {
        let mut dsn = Dsn::parse(&self.dsn)?;
        dsn.tls = self.sslmode.or(dsn.tls);
        Ok(Class {
            application_name: self.application_name.clone(),
            sources: self.source.clone().map(|sources| sources.0).unwrap_or_default(),
            profile: self.profile,
            functions: self.functions,
            idle: self.idle,
            ramp: self.ramp,
            duration: self.duration,
            period: self.period,
            transactions_per_function: self.transactions_per_function,
            query: self.query.clone(),
            protocol: self.protocol,
            hold: self.hold,
            think: self.think,
            freeze: self.freeze,
            at: self.at,
            abandon: self.abandon,
            tls_resume: self.tls_resume,
            sslmode: self.sslmode,
            ..Class::new(dsn)
        })
    }

    fn observer(&self) -> Result<Option<Observe>, StormError> {
        let Some(dsn) = &self.observe else { return Ok(None) };
        Ok(Some(Observe {
            dsn: Dsn::parse(dsn).map_err(StormError::ObserveDsn)?,
            interval: self.observe_interval,
            limit: self.limit,
            all: self.observe_all,
        }))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "expected 30s, 5min, 250ms or 1h".to_owned())
}

fn sources(text: &str) -> Result<Sources, String> {
    source::parse(text).map(Sources).ok_or_else(|| format!("expected {}", classes::SOURCES))
}

fn sslmode(text: &str) -> Result<config::ServerTlsMode, String> {
    classes::sslmode(text).ok_or_else(|| format!("expected {}", classes::SSLMODES))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        storm: StormOptions,
    }

    const DSN: [&str; 2] = ["--dsn", "postgres://u:p@h/d"];

    fn plan(flags: &[&str]) -> Result<Plan, StormError> {
        let flags = [&["storm"], flags].concat();
        Cli::try_parse_from(flags).expect("flags").storm.plan()
    }

    #[test]
    fn flags_become_a_plan_and_the_defaults_are_the_plans_own() {
        let plan = plan(&[&DSN[..], &["--ramp", "250ms"]].concat()).unwrap();
        let class = &plan.classes[0];
        let default = Plan::of(Class::new(class.dsn.clone()));
        assert_eq!(class.ramp, Duration::from_millis(250));
        let same = Class { ramp: Duration::from_secs(1), ..class.clone() };
        assert_eq!(format!("{same:?}"), format!("{:?}", default.classes[0]));
        assert_eq!((plan.concurrency, plan.timeout), (default.concurrency, default.timeout));
        assert!(plan.observe.is_none());
    }

    #[test]
    fn classes_take_what_they_do_not_say_from_the_flags() {
        let flags = ["--hold", "5ms", "--class", "name=a", "--class", "name=b,hold=1s,functions=7"];
        let plan = plan(&[&DSN[..], &flags].concat()).unwrap();
        let said: Vec<_> = plan
            .classes
            .iter()
            .map(|c| (c.name.as_str(), c.hold.as_millis(), c.functions))
            .collect();
        assert_eq!(said, [("a", 5, 300), ("b", 1_000, 7)]);
    }

    #[test]
    fn a_wrong_class_is_said_by_its_number_and_key() {
        let flags = ["--class", "name=a", "--class", "name=b,hold=soon"];
        let error = plan(&[&DSN[..], &flags].concat()).unwrap_err();
        assert!(error.to_string().starts_with("--class 2: hold: expected 30s"), "{error}");
    }

    #[test]
    fn no_error_about_a_connection_string_repeats_it() {
        let wrong = "postgres://u:hunter2/x@h/d";
        for flags in [&["--dsn", wrong][..], &[&DSN[..], &["--observe", wrong]].concat()] {
            let error = plan(flags).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
            assert!(error.to_string().starts_with(flags[flags.len() - 2]), "{error}");
        }
    }
}
