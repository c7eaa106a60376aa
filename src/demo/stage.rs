//! What a demonstration stands on: a role and a database, and pgweir before them.

use std::net::SocketAddr;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString as _};

use super::DemoError;
use super::observer::Observer;
use super::postgres::Embedded;
use crate::auth::{Iterations, Password, ScramParams, ScramVerifier};
use crate::config::{Config, Dsn, ListenAddr, Source};
use crate::proxy::{self, Running};
use crate::storm::{Access, Class, Plan, command};

/// pgweir before a database.
pub(super) struct Stage {
    running: Running,
    addr: SocketAddr,
    dsn: String,
}

impl Stage {
    /// Makes the role and the database `app`, and starts pgweir with the role's verifier: it never
    /// hears of the password, which is known to functions only. The connection that made them
    /// becomes the observer's.
    pub(super) async fn build(
        postgres: &Embedded,
        max_servers: u16,
    ) -> Result<(Self, Observer), DemoError> {
        let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LEN);
        let verifier = verifier(&password);
        let admin = Access::new(&Dsn::parse(&postgres.dsn("postgres"))?)?;
        let mut client = admin.connect(PATIENCE).await?;
        let role = format!("CREATE ROLE app LOGIN PASSWORD '{verifier}'");
        for sql in [role.as_str(), "CREATE DATABASE app OWNER app"] {
            client.simple(sql, PATIENCE).await?;
        }
        let running = proxy::start(config(postgres.port(), max_servers, &verifier)?)?;
        let addr = tcp_address(&running)?;
        let dsn = format!("postgres://app:{password}@{addr}/app");
        Ok((Self { running, addr, dsn }, Observer::new(client)))
    }

    /// Where pgweir serves.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A connection string for people.
    pub(super) fn dsn(&self) -> &str {
        &self.dsn
    }

    /// Functions that come within a second. Their transactions take long enough to need most of ten
    /// servers at once, and not so long that the last ones wait for ever.
    pub(super) fn burst(&self, functions: u64) -> Result<Plan, DemoError> {
        let class = Class::new(Dsn::parse(&self.dsn)?);
        let plan = Plan::of(Class { functions, query: QUERY.to_owned(), ..class });
        Ok(Plan {
            // Both ends of each connection are in this process.
            concurrency: plan.concurrency.min(command::room(2)),
            ..plan
        })
    }

    /// Ends pgweir: clients first, then its servers.
    pub(super) async fn end(self) {
        self.running.shutdown().await;
    }
}

fn config(port: u16, max_servers: u16, verifier: &str) -> Result<Config, DemoError> {
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nhttp_listen = \"off\"\n\
         [limits]\nmax_servers = {max_servers}\nmax_servers_host = {max_servers}\n\
         [timeouts]\ndrain = \"1s\"\n\
         [users.app]\nsecret = \"{verifier}\"\n\
         [databases.app]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"disable\"\n"
    );
    Ok(Source::of_text(text).load()?.config)
}

#[expect(clippy::expect_used, reason = "the salt is made here")]
fn verifier(password: &str) -> String {
    let salt: [u8; 16] = rand::random();
    let params = ScramParams::new(salt, Iterations::DEFAULT).expect("a salt of 16 bytes");
    let verifier = ScramVerifier::derive(&Password::new(password), &params);
    verifier.format().as_str().to_owned()
}

fn tcp_address(running: &Running) -> Result<SocketAddr, DemoError> {
    let tcp = running.addresses().iter().find_map(|addr| match addr {
        ListenAddr::Tcp(addr) => Some(*addr),
        ListenAddr::Unix(_) => None,
    });
    tcp.ok_or(DemoError::Nowhere)
}

/// What each function runs in its transaction: 30 ms stand for the work of a real one.
pub(super) const QUERY: &str = "SELECT pg_sleep(0.03)";

/// For anything that a server of this machine does when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);

const PASSWORD_LEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_hold_a_verifier_and_no_password() {
        let verifier = verifier("open sesame");
        let config = config(5432, 7, &verifier).unwrap();
        let secret = config.users["app"].secret.as_ref().map(|secret| secret.reveal().to_owned());
        assert_eq!(secret.as_deref(), Some(verifier.as_str()));
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:"));
        let seven = crate::config::Share::Count(7);
        assert_eq!((config.limits.max_servers, config.limits.max_servers_host), (seven, seven));
        assert!(config.users["app"].server_password.is_none() && config.auth.query.is_none());
    }
}
