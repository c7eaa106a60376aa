//! Builds everything and hands it down: listeners, hosts, pools, signals, reload, drain.
//!
//! Owns the life of the process. Invariant: the only place that knows all parts; what is shared is
//! built here and passed on, there is no other global state.

mod accept;
mod capacity;
mod controls;
mod drain;
mod fault;
mod lobby;
mod logins;
mod paused;
mod pools;
mod reach;
mod refusals;
mod signals;
mod spellings;
mod warm;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admin::console::views::{self, Sources};
use crate::admin::http::{self, Count, HttpState, Phase};
use crate::admin::remote::Remote;
use crate::auth::Mock;
use crate::client::guest::ClientRooms;
use crate::client::login::LoginContext;
use crate::client::{Common, Journal};
use crate::clock::Instant;
use crate::config::{Config, ConfigError, Limits, ListenAddr, Loaded, Share, Source};
use crate::ledger::Ledgers;
use crate::metrics::Metrics;
use crate::net::{ListenError, Listener, bind_http};
use crate::pool::PoolKey;
use crate::registry::{Registry, Room};
use controls::Controls;
use lobby::{Lobby, LobbyLimits};
use pools::Pools;

pub use controls::SetLogFilter;
pub use fault::TlsFault;
pub use reach::{Outcome, Reached, reach};

/// Why pgweir cannot serve.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The HTTP address cannot be listened on.
    #[error("HTTP: {0}")]
    Http(#[source] ListenError),
    /// A certificate, key or CA file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// One of these, with the place of the setting that is to blame.
    #[error("{0}")]
    Config(#[source] ConfigError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// What all connections share.
struct Shared {
    config: Arc<ArcSwap<Config>>,
    login: ArcSwap<LoginContext>,
    mock: Mock,
    room: Arc<Room>,
    rooms: Arc<ClientRooms>,
    lobby: Arc<Lobby>,
    metrics: Arc<Metrics>,
    ledgers: Ledgers,
    clients: Arc<Common>,
    registry: Arc<Registry>,
    pools: Pools,
    /// Connections accepted and not yet ended, logged in or not.
    connections: AtomicUsize,
    phase: watch::Sender<Phase>,
    /// Of open files.
    shortage: accept::Shortage,
    refusals: refusals::Refusals,
    controls: Controls,
}

/// pgweir at work.
pub struct Running {
    shared: Arc<Shared>,
    addresses: Vec<ListenAddr>,
    http_addr: Option<SocketAddr>,
    accepting: JoinSet<()>,
    /// HTTP, upkeep and what is to be forgotten; ended with the rest.
    tasks: JoinSet<()>,
}

impl StartError {
    fn located(self, source: &Source) -> Self {
        Self::Config(match &self {
            Self::Listen(error) => source.unusable(&["listen"], error.to_string()),
            Self::Http(error) => source.unusable(&["http_listen"], error.to_string()),
            Self::Tls(fault) => fault.located(source),
            Self::Config(_) | Self::Signals(_) => return self,
        })
    }
}

/// Serves until a signal ends it.
pub async fn run(loaded: Loaded, source: Source, log: SetLogFilter) -> Result<(), StartError> {
    let Loaded { config, files, .. } = loaded;
    let running = start(config).map_err(|error| error.located(&source))?;
    running.shared.controls.set_source(source, files, log);
    signals::serve(running).await.map_err(StartError::Signals)
}

/// Whether the certificates and keys that the configuration names can be put to use. Blocks on their files.
pub fn check(config: &Config, source: &Source) -> Result<(), ConfigError> {
    let usable = pools::targets(config).and_then(|_| logins::load_acceptor(config).map(drop));
    usable.map_err(|fault| fault.located(source))
}

/// Starts to serve, inside a tokio runtime; the caller ends it by [`Running::shutdown`].
pub fn start(config: Config) -> Result<Running, StartError> {
    raise_file_limit(&config);
    spellings::check(&config);
    let metrics = Arc::new(Metrics::new());
    let bind = |addr| Listener::bind(addr, config.reuse_port);
    let listeners = config.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
    let http = config.http_listen.map(|addr| bind_http(addr, config.reuse_port));
    let http = http.transpose().map_err(StartError::Http)?;
    let (refused, to_forget) = mpsc::channel(REFUSED);
    let config = Arc::new(config);
    let pools = Pools::new(&config, Arc::clone(&metrics), refused)?;
    let mock = logins::mock();
    let room = Room::new(config.limits.max_clients);
    metrics.clients.limit.set(config.limits.max_clients as f64);
    let rooms = ClientRooms::new(&config.limits);
    let login = logins::context(&config, &pools, &mock, (&room, &rooms), None)?;
    let lobby = Arc::<Lobby>::default();
    lobby.set_limits(lobby_limits(&config));
    let ledgers = Ledgers::new(&metrics);
    let config = Arc::new(ArcSwap::new(config));
    let clients = Arc::new(Common {
        config: Arc::clone(&config),
        metrics: Arc::clone(&metrics),
        ledger: Arc::clone(&ledgers.pins),
        observed: Arc::clone(&ledgers.observed),
        journal: Journal::default(),
        backlog: Arc::default(),
    });
    let shared = Arc::new(Shared {
        login: ArcSwap::from_pointee(login),
        mock,
        room,
        rooms,
        lobby,
        ledgers,
        clients,
        metrics,
        registry: Arc::default(),
        pools,
        connections: AtomicUsize::new(0),
        phase: watch::Sender::new(Phase::Accepting),
        shortage: accept::Shortage::default(),
        refusals: refusals::Refusals::default(),
        controls: Controls::default(),
        config,
    });
    let mut running = Running::new(shared, listeners, http);
    running.tasks.spawn(forget_refused(Arc::clone(&running.shared), to_forget));
    Ok(running)
}

impl Running {
    fn new(shared: Arc<Shared>, listeners: Vec<Listener>, http: Option<TcpListener>) -> Self {
        let addresses: Vec<_> = listeners.iter().map(|l| l.addr().clone()).collect();
        let http_addr = http.as_ref().and_then(|l| l.local_addr().ok());
        let mut accepting = JoinSet::new();
        let acceptors = ACCEPTORS.min(Handle::current().metrics().num_workers());
        for listener in listeners {
            info!(address = %listener.addr(), "listening for clients");
            let listener = Arc::new(listener);
            for _ in 0..acceptors {
                accepting.spawn(accept::run(Arc::clone(&shared), Arc::clone(&listener)));
            }
        }
        let mut tasks = JoinSet::new();
        if let Some(listener) = http {
            let (changer, counter) = (Arc::clone(&shared), Arc::clone(&shared));
            let sources = shared.sources();
            let state = HttpState {
                metrics: Arc::clone(&shared.metrics),
                count: Count(Arc::new(move || counter.count_what_is_shown())),
                phase: shared.phase.subscribe(),
                remote: Remote {
                    config: Arc::clone(&shared.config),
                    change: Arc::new(move |change| changer.change(change)),
                    rows: Arc::new(move |show| views::rows(show, &sources)),
                },
            };
            let mut phase = shared.phase.subscribe();
            let is_shared = shared.config.load().reuse_port;
            tasks.spawn(http::serve(listener, state, async move {
                // Else it would answer for the one that takes over.
                if !is_shared || phase.wait_for(|phase| phase.has_left()).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }));
        }
        tasks.spawn(upkeep(Arc::clone(&shared)));
        Self { shared, addresses, http_addr, accepting, tasks }
    }

    /// Where clients connect; port 0 is resolved.
    pub fn addresses(&self) -> &[ListenAddr] {
        &self.addresses
    }

    /// Where `/metrics` is served.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// Ends it: see [`drain`].
    pub async fn shutdown(mut self) {
        drain::drain(&mut self).await;
    }
}

/// Keeps the metrics tidy and drops pools that nobody uses.
async fn upkeep(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    let mut cold = warm::Cold::default();
    let mut told = capacity::Told::default();
    loop {
        ticks.tick().await;
        shared.metrics.upkeep(Instant::now());
        shared.ledgers.upkeep(Instant::now());
        shared.clients.journal.upkeep(Instant::now());
        shared.pools.reap(Instant::now(), &shared.lasting());
        shared.check_capacity(&mut told);
        // Who drains closes servers.
        if *shared.phase.borrow() != Phase::Draining {
            shared.follow_files();
            shared.keep_idle();
            shared.keep_warm(&mut cold);
        }
    }
}

/// PostgreSQL has refused a user with what was looked up for it: it is asked anew at the next login.
async fn forget_refused(shared: Arc<Shared>, mut refused: mpsc::Receiver<PoolKey>) {
    while let Some(PoolKey { database, user }) = refused.recv().await {
        shared.login.load().users.forget(&database, &user);
    }
}

impl Shared {
    /// What the console shows.
    fn sources(self: &Arc<Self>) -> Sources {
        let [pools, hosts, settings, change, finished] = [(); 5].map(|()| Arc::clone(self));
        Sources {
            ledger: Arc::clone(&self.ledgers.pins),
            observed: Arc::clone(&self.ledgers.observed),
            registry: Arc::clone(&self.registry),
            metrics: Arc::clone(&self.metrics),
            pools: Box::new(move || pools.pools.all()),
            config: Arc::clone(&self.config),
            hosts: Box::new(move || hosts.pools.hosts()),
            settings: Box::new(move || settings.settings()),
            change: Arc::new(move |wanted| change.change(wanted)),
            finished: Arc::new(move |made| finished.has_come_about(made)),
        }
    }

    /// What is counted only when it is looked at.
    fn count_what_is_shown(&self) {
        self.metrics.clients.encrypted.set(self.registry.encrypted() as f64);
        let pools = self.pools.all();
        self.metrics.classes.show(pools.iter().flat_map(|pool| pool.class_counts()));
        let now = Instant::now();
        for pool in &pools {
            pool.metrics().tally.note_wait(pool.longest_wait(now));
        }
    }

    fn max_clients(&self) -> usize {
        self.config.load().limits.max_clients
    }

    fn connected(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn lobby_limits(config: &Config) -> LobbyLimits {
    LobbyLimits { total: config.limits.max_logins, source: config.limits.max_logins_source }
}

/// Each client and each server is an open file; the soft limit is often far below what is allowed.
fn raise_file_limit(config: &Config) {
    let needed = files(config);
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < needed => warn!(
            limit,
            needed,
            "the limit of open files is too low for limits.max_clients; raise it (ulimit -n)"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Open files that are needed, as far as the limits tell: with users beyond those of the configuration, or without a
/// limit of the host, there can be more servers.
fn files(config: &Config) -> u64 {
    // What PostgreSQL has by default, where the limit is a part of it.
    let count = |share: Share| share.of(100);
    let databases = config.databases.values().chain(&config.fallback);
    let pools = databases.map(|db| count(db.max_servers.unwrap_or(config.limits.max_servers)));
    let servers = match count(config.limits.max_servers_host) {
        0 => pools.sum(),
        host => host,
    };
    let Limits { max_clients, max_logins, .. } = config.limits;
    (max_clients + max_logins.min(LOGIN_FILES) + servers) as u64 + SPARE_FILES
}

/// Connections that are logging in: there are rarely more than so many beside `max_clients` that are.
const LOGIN_FILES: usize = 256;

/// Open files besides: listeners, control connections, cancels.
const SPARE_FILES: u64 = 128;

/// Tasks that accept on each address, if there are as many workers: while one hands a connection on, another takes
/// the next.
const ACCEPTORS: usize = 2;

/// Pools that say at the same time that PostgreSQL refuses their users; more need not be heard.
const REFUSED: usize = 64;

/// How often metrics and pools are looked after.
const UPKEEP: Duration = Duration::from_secs(5);
