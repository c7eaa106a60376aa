//! Opening a server: from TCP to the first ReadyForQuery.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout_at;

use super::cancel::CancelAddress;
use super::replies::{self, QUERY_REPLIES, Reply, idle};
use super::{Broken, Card, Entry, OpenError, Server, ServerError};
use crate::auth::{
    ChannelBinding, Nonce, ScramKeys, ServerCredential, ServerLogin, ServerLoginSetup, ServerStep,
    Transport,
};
use crate::clock::Instant;
use crate::config::ChannelBindingMode;
use crate::host::{Permit, Slot};
use crate::net::connect::{Connected, Place};
use crate::net::link::Link;
use crate::net::{self, Target};
use crate::session::Backend;
use crate::session::settings::Settings;
use crate::sql;
use crate::wire::startup::{self, CancelKey, MAX_CANCEL_KEY};
use crate::wire::{Reader, build};

/// What one server is opened with.
#[derive(Debug)]
pub struct OpenRequest<'a> {
    /// Where PostgreSQL is.
    pub target: &'a Target,
    /// The database's name there.
    pub dbname: &'a str,
    /// The user to log in as.
    pub user: &'a str,
    /// What to log in with.
    pub credential: ServerCredential,
    /// Keys of an earlier login with the same password.
    pub remembered: Option<ScramKeys>,
    /// Run once logged in, and again after each reset.
    pub init_query: Option<&'a str>,
    /// For all of it.
    pub deadline: Instant,
    /// For the end of the connection, if it fails or is dropped later.
    pub close_timeout: Duration,
    /// Age at which the server is to be replaced.
    pub lifetime: Duration,
    /// See [`Server::generation`].
    pub generation: u64,
    /// Prepared statements it may hold.
    pub statement_limit: usize,
    /// Unique in this process.
    pub id: u64,
    /// Counts it as connecting.
    pub entry: Entry,
    /// Taken for it.
    pub slot: Slot,
}

/// A server that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The server, idle.
    pub server: Server,
    /// The keys it was logged in with by SCRAM, for the next [`OpenRequest::remembered`].
    pub keys: Option<ScramKeys>,
    /// Connections that PostgreSQL has for roles without extra rights, if it says so.
    pub capacity: Option<usize>,
}

/// Opens a server. When it fails or is dropped after PostgreSQL has begun a session, the slot is
/// free only after the connection's end. What is derived from a password is derived on a thread
/// that may block.
///
/// `permit` is told how the login went; what comes behind that is no sign of how the host does.
pub async fn open(request: OpenRequest<'_>, permit: Permit) -> Result<Opened, OpenError> {
    let mut permit = Some(permit);
    let opened = open_with(request, &mut permit).await;
    if let (Err(error), Some(permit)) = (&opened, permit) {
        permit.failed(error.of_host());
    }
    opened
}

async fn open_with(
    request: OpenRequest<'_>,
    permit: &mut Option<Permit>,
) -> Result<Opened, OpenError> {
    // What fails in here has no session yet, and takes none of PostgreSQL's connections: one counts
    // from the StartupMessage on.
    let connected = net::connect(request.target, request.deadline.into()).await?;
    let (deadline, close_timeout) = (request.deadline, request.close_timeout);
    let login = Login::new(&request, transport(&connected));
    let mut opening = Opening {
        dbname: request.dbname,
        user: request.user,
        target: request.target,
        place: connected.place,
        capacity: None,
        statement_limit: request.statement_limit,
        server: Server {
            link: Link::new(connected.stream).into(),
            backend: Backend::at_login(Settings::default(), 0, 0),
            cancel_key: None,
            id: request.id,
            opened_at: Instant::now(),
            idle_since: Instant::now(),
            lifetime: request.lifetime,
            generation: request.generation,
            refused_write: false,
            entry: request.entry.into(),
            slot: request.slot.into(),
            init_query: request.init_query.map(Into::into),
            close_timeout,
            logged_in: false,
            at_rest: false,
        },
    };
    let opened = timeout_at(deadline.into(), opening.log_in(login, permit)).await;
    let (server, capacity) = (opening.server, opening.capacity);
    let late = if permit.is_some() { OpenError::TimedOut } else { OpenError::InitTimedOut };
    match opened.unwrap_or(Err(late)) {
        Ok(keys) => Ok(Opened { server, keys, capacity }),
        Err(error) => {
            server.close(close_timeout).await;
            Err(error)
        }
    }
}

/// In one row; what a version does not have is NULL. Where names are looked for is a role's own to say, hence
/// the schema.
const CAPACITY: &str = "SELECT pg_catalog.current_setting('max_connections'), \
     pg_catalog.current_setting('superuser_reserved_connections'), \
     pg_catalog.current_setting('reserved_connections', true)";

/// The first number of a DataRow less the others.
fn read_capacity(body: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(body);
    let columns = reader.u16().ok()?;
    let mut left: Option<usize> = None;
    for _ in 0..columns.min(3) {
        // NULL has a negative length.
        let Ok(len) = usize::try_from(reader.i32().ok()?) else { continue };
        let number: usize = std::str::from_utf8(reader.bytes(len).ok()?).ok()?.parse().ok()?;
        left = Some(left.map_or(number, |left| left.saturating_sub(number)));
    }
    left
}

/// A server that is being opened.
struct Opening<'a> {
    dbname: &'a str,
    user: &'a str,
    target: &'a Target,
    place: Place,
    capacity: Option<usize>,
    statement_limit: usize,
    server: Server,
}

impl Opening<'_> {
    async fn log_in(
        &mut self,
        login: Login,
        permit: &mut Option<Permit>,
    ) -> Result<Option<ScramKeys>, OpenError> {
        // Nothing else is ever put here: what a client wants is set later, by values it is known to
        // have proved a right to.
        let parameters = [("user", self.user), ("database", self.dbname)];
        startup::build(&mut self.server.link.output, &parameters);
        let keys = self.authenticate(login).await?;
        let parameters = self.start_up().await?;
        self.server.logged_in = true;
        self.server.backend = self.backend(parameters);
        self.capacity = self.ask_capacity().await?;
        if let Some(permit) = permit.take() {
            permit.opened();
        }
        if self.server.init_query.is_some() {
            self.initialize().await?;
        }
        self.server.opened_at = Instant::now();
        self.server.idle_since = self.server.opened_at;
        self.server.at_rest = true;
        self.enter();
        Ok(keys)
    }

    /// It can be seen from now on.
    fn enter(&mut self) {
        let Server { link, backend, opened_at, .. } = &self.server;
        let (address, tls) = (self.place.to_string(), link.stream().is_tls());
        let card = Card::new(backend.pid, &address, tls, *opened_at);
        self.server.entry.open(card);
    }

    /// Up to AuthenticationOk.
    async fn authenticate(&mut self, mut login: Login) -> Result<Option<ScramKeys>, OpenError> {
        loop {
            let reply = replies::next(&mut self.server.link).await?;
            match reply.tag {
                b'R' => match login.step(reply.whole()?).await? {
                    ServerStep::Send(bytes) => self.server.link.output.extend_from_slice(&bytes),
                    ServerStep::Continue => {}
                    ServerStep::Ok => return Ok(login.keys()),
                    ServerStep::Fail(error) => return Err(error.into()),
                },
                b'E' => return Err(refused(reply, false)?),
                b'N' => {}
                tag => return Err(Broken::OutOfTurn(tag).into()),
            }
        }
    }

    /// From AuthenticationOk to ReadyForQuery.
    async fn start_up(&mut self) -> Result<Settings, OpenError> {
        let mut parameters = Parameters::default();
        loop {
            let reply = replies::next(&mut self.server.link).await?;
            match reply.tag {
                b'S' => parameters.take(&reply.whole()?)?,
                b'K' => {
                    let key = cancel_key(&reply.whole()?)?;
                    let (target, place) = (self.target.clone(), self.place.clone());
                    let host = Arc::clone(self.server.slot.host());
                    self.server.cancel_key = Some(CancelAddress { host, target, place, key });
                }
                b'N' => {}
                b'Z' => {
                    idle(&reply.whole()?)?;
                    return Ok(parameters.settings);
                }
                b'E' => return Err(refused(reply, true)?),
                // Nothing was asked for that a NegotiateProtocolVersion could answer.
                tag => return Err(Broken::OutOfTurn(tag).into()),
            }
        }
    }

    /// `max_connections` less what is reserved (`runtime-config-connection.html`); `None` if that is no number.
    /// They change by a restart of PostgreSQL only, which ends all servers: who asks each new one is never
    /// out of date.
    async fn ask_capacity(&mut self) -> Result<Option<usize>, OpenError> {
        build::query(&mut self.server.link.output, CAPACITY);
        let mut capacity = None;
        loop {
            let reply = self.server.answer().await?;
            match reply.tag {
                b'D' => capacity = read_capacity(&reply.whole()?),
                b'Z' => {
                    idle(&reply.whole()?)?;
                    return Ok(capacity);
                }
                b'T' | b'C' => {}
                b'E' => return Err(refused(reply, true)?),
                tag => return Err(Broken::OutOfTurn(tag).into()),
            }
        }
    }

    /// Runs `init_query`. What it changes is what this server starts from: it is not undone when a
    /// client leaves.
    async fn initialize(&mut self) -> Result<(), OpenError> {
        let query = self.server.init_query.clone().unwrap_or_default();
        build::query(&mut self.server.link.output, &query);
        match self.server.until_idle(QUERY_REPLIES).await {
            Ok(()) => {}
            Err(Broken::Refused(error)) => return Err(OpenError::InitQuery(error)),
            Err(broken) => return Err(broken.into()),
        }
        let parameters = self.server.backend.settings.reported().clone();
        self.server.backend = self.backend(parameters);
        self.server.backend.initial = sql::touched(query.as_bytes(), &sql::Options::default());
        Ok(())
    }

    fn backend(&self, parameters: Settings) -> Backend {
        let pid = self.server.cancel_key.as_ref().map_or(0, |address| address.key.pid);
        Backend::at_login(parameters, self.statement_limit, pid)
    }
}

/// The login's machine, and whether its steps may take long.
struct Login {
    /// `None` if a step was lost with its thread.
    machine: Option<Box<ServerLogin>>,
    derives: bool,
}

impl Login {
    fn new(request: &OpenRequest<'_>, transport: Transport) -> Self {
        let setup = ServerLoginSetup {
            user: request.user.to_owned(),
            credential: request.credential.clone(),
            remembered: request.remembered.clone(),
            nonce: Nonce::new(rand::random()),
            transport,
            require_channel_binding: request.target.channel_binding()
                == ChannelBindingMode::Require,
        };
        Self {
            derives: matches!(request.credential, ServerCredential::Password(_)),
            machine: Some(Box::new(ServerLogin::new(setup))),
        }
    }

    /// The pool bounds how many of these there are: one for each slot.
    async fn step(&mut self, body: Bytes) -> Result<ServerStep, OpenError> {
        let mut machine = self.machine.take().ok_or(OpenError::Derivation)?;
        let work = move || {
            let step = machine.on_authentication(&body);
            (machine, step)
        };
        let (machine, step) = if self.derives {
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|_| OpenError::Derivation)?
        } else {
            work()
        };
        self.machine = Some(machine);
        Ok(step)
    }

    fn keys(&self) -> Option<ScramKeys> {
        self.machine.as_ref().and_then(|machine| machine.keys()).cloned()
    }
}

/// What ParameterStatus says at login.
#[derive(Default)]
struct Parameters {
    settings: Settings,
    count: usize,
    bytes: usize,
}

impl Parameters {
    fn take(&mut self, body: &[u8]) -> Result<(), Broken> {
        self.count += 1;
        self.bytes += body.len();
        if self.count > MAX_PARAMETERS || self.bytes > MAX_PARAMETER_BYTES {
            return Err(Broken::TooMuch("parameters"));
        }
        let (name, value) = replies::parameter(body)?;
        self.settings.set(name, value);
        Ok(())
    }
}

fn transport(connected: &Connected) -> Transport {
    if connected.stream.is_tls() {
        let hash = connected.end_point.clone();
        Transport::Tls(hash.map(ChannelBinding::tls_server_end_point))
    } else if connected.stream.is_unix() {
        Transport::Unix
    } else {
        Transport::Plain
    }
}

fn cancel_key(body: &[u8]) -> Result<CancelKey, Broken> {
    let mut reader = Reader::new(body);
    let pid = reader.i32().map_err(Reply::malformed(b'K'))? as u32;
    let secret = reader.rest().to_vec();
    if !(4..=MAX_CANCEL_KEY).contains(&secret.len()) {
        return Err(Broken::TooMuch("or fewer bytes in a cancel key"));
    }
    Ok(CancelKey { pid, secret })
}

fn refused(reply: Reply, authenticated: bool) -> Result<OpenError, Broken> {
    let error = ServerError::new(reply.whole()?);
    Ok(OpenError::Refused { error, authenticated })
}

/// PostgreSQL 18 reports 15; a pooler before it may add its own.
const MAX_PARAMETERS: usize = 100;

/// Names and values of all of them.
const MAX_PARAMETER_BYTES: usize = 64 << 10;
