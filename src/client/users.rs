//! Who clients may log in as: the configuration's own users first, then those of PostgreSQL.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::warn;

use crate::auth::{self, Account, Lookup, Mock, Refusal, Secret, ServerCredential};
use crate::config::{Config, Password, SecretKind, User};
use crate::control::{self, ControlError};

/// Looks users up, and says what pgweir logs in to PostgreSQL with on their behalf.
#[derive(Debug)]
pub struct Users {
    own: HashMap<String, Own>,
    databases: BTreeMap<String, Forced>,
    fallback: Forced,
    lookups: Lookups,
}

/// Users of PostgreSQL (`auth.query`), by the database a client names.
#[derive(Debug, Default)]
pub struct Lookups {
    /// Of the databases of the configuration.
    pub databases: HashMap<String, Arc<control::Users>>,
    /// Of the database `*`: one for all names, since any client may make up another.
    pub fallback: Option<Arc<control::Users>>,
    /// Of names that are no database: where all users are looked up in one place, they can be told who they are before
    /// they are told that.
    pub unknown: Option<Arc<control::Users>>,
}

/// One user of the configuration.
#[derive(Debug)]
struct Own {
    configured: User,
    account: Option<Arc<Account>>,
    server_password: Option<ServerCredential>,
}

/// What a database logs in with whoever the client is; `None` where it is the client's own login.
type Forced = Option<ServerCredential>;

impl Users {
    /// Of a configuration. Derives the verifiers of plain passwords, milliseconds of CPU each, but
    /// for those that `before` has.
    pub fn new(config: &Config, lookups: Lookups, mock: &Mock, before: Option<&Self>) -> Self {
        let own = config.users.iter().map(|(name, user)| {
            let known = before.and_then(|before| before.own.get(name));
            (name.clone(), Own::new(name, user, mock, known))
        });
        let forced = |database: &crate::config::Database| {
            database.user.as_ref().map(|_| credential(database.password.as_ref()))
        };
        let databases = config.databases.iter();
        Self {
            own: own.collect(),
            databases: databases.map(|(alias, db)| (alias.clone(), forced(db))).collect(),
            fallback: config.fallback.as_ref().and_then(forced),
            lookups,
        }
    }

    /// What is known of a user who wants a database. Cancel safe.
    pub async fn look_up(&self, database: &str, user: &str) -> Result<Lookup, ControlError> {
        if let Some(own) = self.own.get(user) {
            let account = own.account.clone();
            return Ok(account.map_or(Lookup::Refused(Refusal::NoPassword), Lookup::Found));
        }
        match self.asked_of(database) {
            Some(users) => users.look_up(user).await,
            None => Ok(Lookup::Refused(Refusal::NowhereKnown)),
        }
    }

    /// The same by PostgreSQL alone; `None` if users of this database are not looked up.
    pub async fn look_up_there(
        &self,
        database: &str,
        user: &str,
    ) -> Option<Result<Lookup, ControlError>> {
        Some(self.asked_of(database)?.look_up(user).await)
    }

    /// PostgreSQL has refused what was believed of a user of this database.
    pub fn forget(&self, database: &str, user: &str) {
        if let Some(users) = self.asked_of(database) {
            users.forget(user);
        }
    }

    /// What to log in to PostgreSQL with for a user who has proved who it is.
    pub fn credential(
        &self,
        database: &str,
        user: &str,
        proven: ServerCredential,
    ) -> ServerCredential {
        let forced = self.databases.get(database).unwrap_or(&self.fallback);
        if let Some(forced) = forced {
            return forced.clone();
        }
        let own = self.own.get(user).and_then(|own| own.server_password.clone());
        own.unwrap_or(proven)
    }

    /// What to log in to PostgreSQL with for a user of whom no client has come yet, if the configuration has it.
    pub fn known_credential(&self, database: &str, user: &str) -> Option<ServerCredential> {
        let forced = self.databases.get(database).unwrap_or(&self.fallback);
        if let Some(forced) = forced {
            return Some(forced.clone());
        }
        let own = self.own.get(user)?;
        let plain =
            own.configured.secret.as_ref().filter(|s| s.kind() != SecretKind::ScramVerifier);
        own.server_password.clone().or_else(|| plain.map(|secret| credential(Some(secret))))
    }

    /// Closes the connections over which users are looked up; for the end.
    pub fn close(&self) {
        let Lookups { databases, fallback, unknown } = &self.lookups;
        for users in databases.values().chain(fallback).chain(unknown) {
            users.close();
        }
    }

    fn asked_of(&self, database: &str) -> Option<&Arc<control::Users>> {
        if self.databases.contains_key(database) {
            self.lookups.databases.get(database)
        } else {
            self.lookups.fallback.as_ref().or(self.lookups.unknown.as_ref())
        }
    }
}

impl Own {
    fn new(name: &str, user: &User, mock: &Mock, known: Option<&Self>) -> Self {
        let account = match known {
            Some(known) if known.configured == *user => known.account.clone(),
            _ => user.secret.as_ref().and_then(|secret| account(name, secret, mock)),
        };
        Self {
            configured: user.clone(),
            account,
            server_password: user.server_password.as_ref().map(|p| credential(Some(p))),
        }
    }
}

fn account(name: &str, secret: &Password, mock: &Mock) -> Option<Arc<Account>> {
    match Secret::parse(secret.reveal()) {
        Ok(secret) => Some(Arc::new(Account::new(name, secret, mock))),
        Err(error) => {
            warn!(user = name, %error, "the secret of a user cannot be used");
            None
        }
    }
}

/// A password for PostgreSQL, or the hash that can stand in for one.
fn credential(password: Option<&Password>) -> ServerCredential {
    let Some(password) = password else { return ServerCredential::None };
    match Secret::parse(password.reveal()) {
        Ok(secret @ Secret::Md5(_)) => secret.credential(),
        _ => ServerCredential::Password(auth::Password::new(password.reveal())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> ServerCredential {
        ServerCredential::Password(auth::Password::new(text))
    }

    fn own(secret: Option<&str>, server_password: Option<&str>) -> Own {
        let user = User {
            secret: secret.map(Password::new),
            server_password: server_password.map(Password::new),
        };
        let mock = Mock::new(auth::Key::new([7; 32]), auth::Iterations::DEFAULT);
        Own::new("u", &user, &mock, None)
    }

    fn users() -> Users {
        let own = [
            ("proven", own(Some("md5d504967f44e0c6062c7e5c2a8d42aac1"), None)),
            ("given", own(Some("md5d504967f44e0c6062c7e5c2a8d42aac1"), Some("p"))),
            ("none", own(None, None)),
        ];
        Users {
            own: own.into_iter().map(|(name, own)| (name.to_owned(), own)).collect(),
            databases: [("free".to_owned(), None), ("forced".to_owned(), Some(password("f")))]
                .into(),
            fallback: Some(ServerCredential::None),
            lookups: Lookups::default(),
        }
    }

    #[test]
    fn servers_are_logged_in_to_with_what_stands_nearest() {
        let users = users();
        for (database, user, expected) in [
            ("free", "proven", "SCRAM keys or what else was proven"),
            ("free", "given", "a password"),
            ("free", "stranger", "SCRAM keys or what else was proven"),
            ("forced", "proven", "a password"),
            ("forced", "given", "a password"),
            ("another", "given", "no credential"),
        ] {
            let proven = ServerCredential::Md5Hash(
                auth::Md5Hash::parse("md5d504967f44e0c6062c7e5c2a8d42aac1").unwrap(),
            );
            let kind = match users.credential(database, user, proven) {
                ServerCredential::Md5Hash(_) => "SCRAM keys or what else was proven",
                other => other.kind(),
            };
            assert_eq!(kind, expected, "{user} at {database}");
        }
    }

    #[tokio::test]
    async fn only_users_with_a_secret_are_found() {
        let users = users();
        for (user, expected) in [
            ("proven", None),
            ("none", Some(Refusal::NoPassword)),
            ("stranger", Some(Refusal::NowhereKnown)),
        ] {
            let found = match users.look_up("free", user).await.unwrap() {
                Lookup::Found(_) => None,
                Lookup::Refused(refusal) => Some(refusal),
            };
            assert_eq!(found, expected, "{user}");
        }
    }
}
