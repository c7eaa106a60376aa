//! What logins go by: users, certificate, method; built at the start and at each reload.

use std::sync::Arc;

use super::fault::TlsFault;
use super::pools::Pools;
use crate::auth::{Iterations, Key, Mock};
use crate::client::guest::ClientRooms;
use crate::client::login::LoginContext;
use crate::client::users::Lookups;
use crate::config::{AuthQuery, Config, Database};
use crate::control::{Control, ControlTarget, Users};
use crate::net::Target;
use crate::net::tls::Acceptor;
use crate::registry::Room;

/// Of a configuration. `before` is the context in use, if there is one.
pub(super) fn context(
    config: &Config,
    pools: &Pools,
    mock: &Mock,
    rooms: (&Arc<Room>, &Arc<ClientRooms>),
    before: Option<&LoginContext>,
) -> Result<LoginContext, TlsFault> {
    let acceptor = load_acceptor(config)?;
    let lookups = lookups(config, pools, mock)?;
    Ok(LoginContext::new(config, acceptor, lookups, mock, rooms, before))
}

/// What stands in for users that do not exist, for the life of the process.
pub(super) fn mock() -> Mock {
    Mock::new(Key::new(rand::random()), Iterations::DEFAULT)
}

pub(super) fn load_acceptor(config: &Config) -> Result<Option<Arc<Acceptor>>, TlsFault> {
    match (&config.client_tls.cert, &config.client_tls.key) {
        (Some(cert), Some(key)) => Acceptor::load(cert, key)
            .map(|acceptor| Some(Arc::new(acceptor)))
            .map_err(|source| TlsFault::of_clients(config, source)),
        _ => Ok(None),
    }
}

fn lookups(config: &Config, pools: &Pools, mock: &Mock) -> Result<Lookups, TlsFault> {
    let mut lookups = Lookups::default();
    let Some(query) = &config.auth.query else { return Ok(lookups) };
    for (alias, database) in &config.databases {
        let dbname = database.dbname_for(alias);
        let users = users(&Lookup { config, query, alias, database, dbname }, pools, mock)?;
        lookups.databases.insert(alias.clone(), users);
    }
    if let Some(database) = &config.fallback {
        // Roles are the same in all databases of a host, and this one is in nearly all of them.
        let dbname = database.dbname.as_deref().unwrap_or("postgres");
        let lookup = Lookup { config, query, alias: "*", database, dbname };
        lookups.fallback = Some(users(&lookup, pools, mock)?);
    }
    let place = query.dbname.as_ref().or(config.databases.keys().next());
    if query.dbname.is_some() || config.databases.len() == 1 {
        lookups.unknown = place.and_then(|alias| lookups.databases.get(alias)).cloned();
    }
    Ok(lookups)
}

/// Where the users of one database are looked up.
struct Lookup<'a> {
    config: &'a Config,
    query: &'a AuthQuery,
    alias: &'a str,
    database: &'a Database,
    dbname: &'a str,
}

impl<'a> Lookup<'a> {
    /// In the client's own database, or in the one that `auth.query_dbname` names by its alias.
    fn place(&self) -> (&'a str, &'a Database, &'a str) {
        let named = self.query.dbname.as_deref();
        let named = named.and_then(|alias| Some((alias, self.config.database(alias)?)));
        let own = (self.alias, self.database, self.dbname);
        named.map_or(own, |(alias, db)| (alias, db, db.dbname_for(alias)))
    }
}

fn users(lookup: &Lookup<'_>, pools: &Pools, mock: &Mock) -> Result<Arc<Users>, TlsFault> {
    let (alias, database, dbname) = lookup.place();
    let Lookup { config, query, .. } = *lookup;
    let server = Target::new(database).map_err(|source| TlsFault::of_database(alias, source))?;
    let control = Control::new(ControlTarget {
        server: server.dead_after(config.timeouts.server_dead),
        dbname: dbname.to_owned(),
        user: query.user.clone(),
        password: query.password.clone(),
        slots: pools.host(config, database),
        slot_wait: config.timeouts.checkout,
        connect: config.timeouts.server_connect,
        close: config.timeouts.server_close,
    });
    let ttl = config.auth.cache_ttl;
    Ok(Arc::new(Users::new(control, query.query.clone(), ttl, mock.clone())))
}
