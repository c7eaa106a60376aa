//! Accepting connections, and what becomes of each.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tracing::{debug, info, warn};

use super::Shared;
use super::lobby::Waiting;
use crate::admin::console::{self, Visitor};
use crate::admin::http::Phase;
use crate::client::guest::Places;
use crate::client::login::{self, Arrival, CancelRequest, LoggedIn};
use crate::client::{Client, Context, Welcomed, edge};
use crate::clock::Instant;
use crate::config::CONSOLE;
use crate::metrics::{CancelOutcome, Counted, LoginResult};
use crate::net::link::Link;
use crate::net::{Listener, PeerAddr, Stream, is_fd_exhaustion};
use crate::pool::PoolKey;
use crate::registry::{Card, Registration, Seat, State, Who};
use crate::wire::Report;
use crate::wire::startup::{CancelKey, Startup};

/// Accepts until it is dropped.
pub(super) async fn run(shared: Arc<Shared>, listener: Arc<Listener>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(&shared, stream, peer),
            Err(error) if is_fd_exhaustion(&error) => {
                if shared.shortage.is_news(Instant::now()) {
                    warn!(%error, "out of open files: clients wait in the listen queue");
                }
                tokio::time::sleep(OUT_OF_FILES).await;
            }
            Err(error) => {
                debug!(%error, "a connection was gone before it was accepted");
            }
        }
    }
}

/// Something that goes on for a while, and is logged once in a while.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    logged: Mutex<Option<Instant>>,
}

impl Shortage {
    /// Whether it is to be logged now.
    fn is_news(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let news = logged.is_none_or(|at| now.saturating_duration_since(at) >= SAID_ONCE_IN);
        if news {
            *logged = Some(now);
        }
        news
    }
}

/// A connection counts from here on; far too many are closed without a word.
fn admit(shared: &Arc<Shared>, stream: Stream, peer: PeerAddr) {
    let connected = shared.connections.fetch_add(1, Ordering::Relaxed);
    let admitted =
        Admitted { shared: Arc::clone(shared), _counted: shared.metrics.clients.connected() };
    let room = shared.max_clients() + LOGIN_MARGIN;
    // Those who are not logged in may be all that is too many: then one of them gives way, as in a full lobby.
    let entered = (connected < room + LEAVING)
        .then(|| shared.lobby.enter(peer.ip(), connected >= room))
        .flatten();
    let Some(waiting) = entered else {
        shared.metrics.clients.logins.count(LoginResult::TooManyClients);
        return;
    };
    // What a connection needs until it is a session is in a box, which is gone before that begins: it may be idle
    // for long.
    let opening = Box::pin(admitted.open(stream, peer, waiting));
    tokio::spawn(async move {
        if let Some(opened) = opening.await {
            opened.client.serve().await;
        }
    });
}

/// One connection, counted.
struct Admitted {
    shared: Arc<Shared>,
    _counted: Counted,
}

/// A session, and the room that it takes.
struct Opened {
    client: Box<Client>,
    _seat: Seat,
    _places: Option<Places>,
    _admitted: Admitted,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admitted {
    /// A session comes of it, or it ends here.
    async fn open(self, stream: Stream, peer: PeerAddr, waiting: Waiting) -> Option<Opened> {
        match Box::pin(self.arrive(stream, peer, waiting)).await? {
            Arrival::Session(arrived) if self.is_for_console(&arrived) => {
                self.console(arrived, peer).await;
            }
            Arrival::Session(arrived) => return self.welcome(arrived, peer).await,
            Arrival::Cancel(request) => self.cancel(request).await,
        }
        None
    }

    async fn arrive(&self, stream: Stream, peer: PeerAddr, waiting: Waiting) -> Option<Arrival> {
        let context = self.shared.login.load_full();
        let mut phase = self.shared.phase.subscribe();
        let draining = async move {
            // The sender lives as long as all that is shared.
            let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
        };
        let told = (&*waiting.guest, &*self.shared.metrics);
        match login::login(stream, peer, &context, told, draining).await {
            Ok(arrival) => Some(arrival),
            Err(failure) => {
                self.shared.metrics.clients.logins.count(failure.result());
                self.shared.refusals.tell(peer, &failure, Instant::now());
                None
            }
        }
    }

    fn is_for_console(&self, arrived: &LoggedIn) -> bool {
        arrived.startup.database == CONSOLE && self.shared.config.load().admin.is_on()
    }

    /// Who may not use the console learns so only now, having proved who it is.
    async fn console(&self, arrived: Box<LoggedIn>, peer: PeerAddr) {
        let shared = &self.shared;
        let LoggedIn { mut link, startup, tls, seat: _seat, .. } = *arrived;
        if !shared.config.load().admin.lets_in(&startup.user) {
            info!(%peer, user = startup.user, "a user who is no admin asked for the console");
            return self.refuse(&mut link, &edge::no_admin(&startup.user)).await;
        }
        let Some((mut registration, cancel_key)) = self.enter(&startup) else {
            return self.refuse(&mut link, &edge::shutting_down()).await;
        };
        shared.metrics.clients.logins.count(LoginResult::Accepted);
        let who = Who {
            id: cancel_key.pid,
            user: startup.user.as_str().into(),
            database: startup.database.as_str().into(),
            address: peer.to_string().into(),
        };
        registration.introduce(Card::new(who, None, tls));
        registration.set_state(State::Console, Instant::now());
        let Startup { user, .. } = startup;
        let config = Arc::clone(&shared.config);
        info!(%peer, user, "a user is at the console");
        let visitor = Visitor { link, user, registration, cancel_key, config };
        let ending = console::serve(visitor, &shared.sources()).await;
        debug!(%peer, %ending, "a user has left the console");
    }

    /// Of a client that has proved who it is.
    async fn refuse(&self, link: &mut Link, report: &Report) {
        self.shared.metrics.clients.logins.count(LoginResult::Refused);
        login::refuse(link, report, &self.shared.metrics.errors).await;
    }

    fn enter(&self, startup: &Startup) -> Option<(Registration, CancelKey)> {
        let secret_len = if startup.minor >= 2 { LONG_SECRET } else { SHORT_SECRET };
        self.shared.registry.enter(secret_len, |bytes| rand::rng().fill_bytes(bytes))
    }

    /// Welcomes a client; `None` if it was refused instead.
    async fn welcome(self, arrived: Box<LoggedIn>, peer: PeerAddr) -> Option<Opened> {
        let shared = &self.shared;
        let LoggedIn { mut link, startup, credential, seat, places, .. } = *arrived;
        let Some(pool) = shared.pools.pool(&startup.database, &startup.user) else {
            shared.refusals.tell_unknown(peer, &startup.database, Instant::now());
            self.refuse(&mut link, &edge::unknown_database(&startup.database)).await;
            return None;
        };
        // A reload since its login began may have brought another.
        let known = shared.login.load().users.known_credential(&startup.database, &startup.user);
        pool.learn_credential(known.unwrap_or(credential));
        let Some((registration, cancel_key)) = self.enter(&startup) else {
            self.refuse(&mut link, &edge::shutting_down()).await;
            return None;
        };
        // After it is entered: a reload from now on reaches it.
        let context = Context::new(Arc::clone(&shared.clients));
        // Whoever comes to the pool shares its names, but for a user whom the database logs in as another.
        let PoolKey { database, user } = pool.key().clone();
        let user = if *user == *startup.user { user } else { startup.user.as_str().into() };
        let address = peer.to_string().into();
        let who = Who { id: cancel_key.pid, user: Arc::clone(&user), database, address };
        let settings = startup.settings;
        let welcomed =
            Welcomed { link, settings, who, peer, pool, registration, cancel_key, context };
        match Client::welcome(welcomed).await {
            Ok(client) => {
                shared.metrics.clients.logins.count(LoginResult::Accepted);
                client.tell_login();
                Some(Opened { client, _seat: seat, _places: places, _admitted: self })
            }
            Err(ending) => {
                shared.metrics.clients.logins.count(ending.at_login());
                // Why, the client's own task has said.
                debug!(%peer, user = &*user, ending = ending.to_string(), "a login failed");
                None
            }
        }
    }

    /// A CancelRequest has no answer but the end of its connection, which comes when the cancel was
    /// sent on (`protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS`).
    async fn cancel(&self, request: CancelRequest) {
        let client = self.shared.registry.find(&request.key);
        let outcome = match client.map(|mailbox| mailbox.tell_cancel()) {
            Some(Some(told)) => {
                let within = self.shared.config.load().timeouts.cancel;
                match tokio::time::timeout(within, told).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => CancelOutcome::Nothing,
                    Err(_) => CancelOutcome::Failed,
                }
            }
            Some(None) => CancelOutcome::TooMany,
            // Who guesses keys is told nothing, and keeps no place.
            None => return self.shared.metrics.clients.cancels.count(CancelOutcome::UnknownKey),
        };
        self.shared.metrics.clients.cancels.count(outcome);
        request.finish().await;
    }
}

/// Connections beyond `limits.max_clients` that are heard: they may be cancel requests, and a client
/// that is too many deserves to be told.
const LOGIN_MARGIN: usize = 256;

/// Connections beyond that whose places others have taken, and which leave in a moment.
const LEAVING: usize = 64;

/// Pause of an accept loop that ran out of files.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// How often a shortage that goes on is logged.
const SAID_ONCE_IN: Duration = Duration::from_secs(5);

/// Bytes of a cancel secret in protocol 3.0, and in 3.2.
const SHORT_SECRET: usize = 4;
/// See [`SHORT_SECRET`].
const LONG_SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_news_once_in_a_while() {
        let shortage = Shortage::default();
        let start = Instant::now();
        let news: Vec<_> = (0..12)
            .filter(|second| shortage.is_news(start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(news, [0, 5, 10]);
    }
}
