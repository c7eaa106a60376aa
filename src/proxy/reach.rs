//! Whether PostgreSQL can be reached with a configuration: one login for each database and user that it has
//! something to log in with for, by the same way as those of clients, and one look-up where users are looked up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::fault::TlsFault;
use super::pools::Pools;
use super::{REFUSED, logins};
use crate::auth::{Lookup, Refusal};
use crate::class::ClassId;
use crate::client::guest::ClientRooms;
use crate::client::login::LoginContext;
use crate::clock::Instant;
use crate::config::{AuthQuery, Config};
use crate::metrics::Metrics;
use crate::pool::{Cleaning, Pool, WarmedBy};
use crate::registry::Room;
use crate::session::settings::Settings;

/// What came of trying one database and user.
#[derive(Debug)]
pub struct Reached {
    /// The database, as clients name it.
    pub database: String,
    /// As whom, or nobody if there is nothing to try with.
    pub user: Option<String>,
    /// It is who looks users up.
    pub looks_up: bool,
    /// What was found, or why nothing was.
    pub outcome: Outcome,
}

/// What was found.
#[derive(Debug)]
pub enum Outcome {
    /// PostgreSQL let the user in; its version, and how many connections it has for such users.
    Server(String, Option<usize>),
    /// Users can be looked up.
    Lookup,
    /// It was not tried, and why.
    Skipped(&'static str),
    /// It failed, and why.
    Failed(String),
}

impl Reached {
    /// Whether it was tried in vain.
    pub fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)?;
        if let Some(user) = &self.user {
            write!(f, " as {user}")?;
        }
        if self.looks_up {
            f.write_str(", looking users up")?;
        }
        match &self.outcome {
            Outcome::Server(version, capacity) => {
                write!(f, ": PostgreSQL {version}")?;
                match capacity {
                    Some(capacity) => write!(f, ", {capacity} connections for such roles"),
                    None => Ok(()),
                }
            }
            Outcome::Lookup => f.write_str(": it can"),
            Outcome::Skipped(why) => write!(f, ": not tried: {why}"),
            Outcome::Failed(why) => write!(f, ": FAILED: {why}"),
        }
    }
}

/// Tries each database of a configuration, one after the other; `tell` hears of each as it ends.
pub async fn reach(mut config: Config, mut tell: impl FnMut(&Reached)) -> Result<bool, TlsFault> {
    let patience = config.timeouts.checkout.min(config.timeouts.server_connect);
    config.timeouts.checkout = patience;
    let config = Arc::new(config);
    let (refused, _heard) = mpsc::channel(REFUSED);
    let pools = Pools::new(&config, Arc::new(Metrics::new()), refused)?;
    let rooms = (Room::new(1), ClientRooms::new(&config.limits));
    let login = logins::context(&config, &pools, &logins::mock(), (&rooms.0, &rooms.1), None)?;
    let mut all_well = true;
    for (database, user) in pairs(&config) {
        let outcome = match &user {
            Some(user) => try_user(&pools, &login, (&database, user), patience).await,
            None if database == "*" => Outcome::Skipped("databases of any name have none to try"),
            None => Outcome::Skipped("no user is configured for it"),
        };
        let reached = Reached { database, user, looks_up: false, outcome };
        all_well &= !reached.has_failed();
        tell(&reached);
    }
    for (database, user) in lookups(&config) {
        let outcome = match login.users.look_up_there(&database, &user).await {
            None => Outcome::Skipped("users of this database are not looked up"),
            Some(Err(error)) => Outcome::Failed(error.to_string()),
            Some(Ok(Lookup::Refused(Refusal::LookUpDenied))) => Outcome::Failed(
                "it may not look users up; let it read pg_authid, or name a SECURITY DEFINER \
                 function as auth.query"
                    .to_owned(),
            ),
            Some(Ok(_)) => Outcome::Lookup,
        };
        let reached = Reached { database, user: Some(user), looks_up: true, outcome };
        all_well &= !reached.has_failed();
        tell(&reached);
    }
    login.users.close();
    close(&pools.all()).await;
    Ok(all_well)
}

/// Says Terminate, and waits a moment for the ends of the connections.
async fn close(pools: &[Arc<Pool>]) {
    pools.iter().for_each(Pool::close_idle);
    let until = Instant::now() + A_MOMENT;
    while pools.iter().any(|pool| !pool.is_empty()) && Instant::now() < until {
        sleep(A_LITTLE).await;
    }
}

/// Each database whose users are looked up, and as whom.
fn lookups(config: &Config) -> Vec<(String, String)> {
    let each = |query: &AuthQuery| {
        let user = query.user.clone();
        config.databases.keys().map(move |alias| (alias.clone(), user.clone())).collect()
    };
    config.auth.query.as_ref().map_or_else(Vec::new, each)
}

/// Each database with its own user or those that are configured.
fn pairs(config: &Config) -> Vec<(String, Option<String>)> {
    let mut pairs = Vec::new();
    for (alias, database) in &config.databases {
        let users: Vec<_> = match &database.user {
            Some(own) => vec![own.clone()],
            None => config.users.keys().cloned().collect(),
        };
        if users.is_empty() {
            pairs.push((alias.clone(), None));
        }
        pairs.extend(users.into_iter().map(|user| (alias.clone(), Some(user))));
    }
    if config.fallback.is_some() {
        pairs.push(("*".to_owned(), None));
    }
    pairs
}

async fn try_user(
    pools: &Pools,
    login: &LoginContext,
    (database, user): (&str, &str),
    patience: Duration,
) -> Outcome {
    let known = login.users.known_credential(database, user);
    let Some((known, pool)) = known.zip(pools.pool(database, user)) else {
        return Outcome::Skipped(
            "there is nothing to log in with before a client's own login, whose proof is used",
        );
    };
    if pool.warm(WarmedBy::Operator, Some(known), 1, Instant::now() + patience).is_err() {
        return Outcome::Skipped("there is nothing to log in with");
    }
    match pool.checkout(ClassId::default(), &Settings::default(), Instant::now()).await {
        Ok(lease) => {
            let version = lease.backend.settings.baseline().get("server_version");
            let version = String::from_utf8_lossy(version.unwrap_or_default()).into_owned();
            lease.check_in(Cleaning::None, Instant::now());
            Outcome::Server(version, pool.settings().host.capacity())
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

const A_MOMENT: Duration = Duration::from_secs(1);
const A_LITTLE: Duration = Duration::from_millis(5);
