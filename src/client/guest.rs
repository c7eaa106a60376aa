//! One who has connected and not logged in, and the places it takes then.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::login::LoginFailure;
use crate::clock::Instant;
use crate::config::Limits;
use crate::registry::{Place, Rooms};
use crate::wire::startup::Startup;

/// One who has connected and not logged in.
#[derive(Debug, Default)]
pub struct Guest {
    /// It has said what it wants.
    heard: AtomicBool,
    /// Since when it is asked for something; `None` while it is pgweir's turn.
    asked: Mutex<Option<Instant>>,
    /// It has failed, and only waits to be told so.
    refused: AtomicBool,
    displaced: AtomicBool,
    leave: Notify,
}

impl Guest {
    /// It has said what it wants.
    pub fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether it is its turn from now on.
    pub fn ask(&self, asked: bool) {
        let since = asked.then(Instant::now);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when it is.
    pub fn asked_since(&self) -> Option<Instant> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has failed: its place is for whoever comes.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// It is to leave, for others have come.
    pub fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
        self.leave.notify_one();
    }

    /// Whether it was told to.
    pub fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }

    pub(super) async fn displaced(&self) {
        self.leave.notified().await;
    }
}

/// Places of clients that are logged in, besides `limits.max_clients`.
#[derive(Debug)]
pub struct ClientRooms {
    /// By database, as clients name it.
    pub databases: Arc<Rooms<Arc<str>>>,
    /// By user.
    pub users: Arc<Rooms<Arc<str>>>,
    /// By address; clients on Unix sockets have none.
    pub sources: Arc<Rooms<IpAddr>>,
}

/// A client's places.
pub type Places = (Place<Arc<str>>, Place<Arc<str>>, Option<Place<IpAddr>>);

impl ClientRooms {
    /// As the configuration says.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            databases: Rooms::new(limits.max_clients_database),
            users: Rooms::new(limits.max_clients_user),
            sources: Rooms::new(limits.max_clients_source),
        })
    }

    /// Other limits hold from now on.
    pub fn resize(&self, limits: &Limits) {
        self.databases.resize(limits.max_clients_database);
        self.users.resize(limits.max_clients_user);
        self.sources.resize(limits.max_clients_source);
    }

    pub(super) fn enter(
        &self,
        startup: &Startup,
        source: Option<IpAddr>,
    ) -> Result<Places, LoginFailure> {
        let database = self.databases.enter(startup.database.as_str().into());
        let database =
            database.map_err(|_| LoginFailure::DatabaseFull(startup.database.clone()))?;
        let user = self.users.enter(startup.user.as_str().into());
        let user = user.map_err(|_| LoginFailure::UserFull(startup.user.clone()))?;
        let source = source.map(|ip| {
            let ip = ip.to_canonical();
            self.sources.enter(ip).map_err(|_| LoginFailure::SourceFull(ip))
        });
        Ok((database, user, source.transpose()?))
    }
}
