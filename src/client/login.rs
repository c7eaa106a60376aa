//! From an accepted connection to a client that has proved who it is, or a cancel request.
//!
//! Owns everything a client says and is told up to AuthenticationOk. It knows no pool and no server.
//! Invariant: only the time in which pgweir waits for the client counts against `timeouts.login`, so
//! that a slow PostgreSQL never costs a client its login. Obeys
//! `protocol-flow.html#PROTOCOL-FLOW-START-UP`.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::edge;
use super::failures::Failures;
use super::guest::{ClientRooms, Guest, Places};
use super::opening::{Encryption, Purpose};
use super::users::{Lookups, Users};
use crate::auth::{
    AuthError, ChannelBinding, ClientLogin, ClientLoginSetup, ClientStep, Lookup, Method, Mock,
    Nonce, ServerCredential, Transport,
};
use crate::clock::Instant;
use crate::config::{AuthMethod, CONSOLE, ClientTlsMode, Config};
use crate::control::ControlError;
use crate::metrics::{ErrorMetrics, ErrorSource, LoginResult, Metrics};
use crate::net::link::{Link, Moved};
use crate::net::tls::{AcceptError, Acceptor};
use crate::net::{PeerAddr, Stream};
use crate::registry::{Room, Seat};
use crate::wire::frame::HEADER;
use crate::wire::startup::{BadStartup, CancelKey, Startup};
use crate::wire::{Report, build};

/// What logins need to know; built anew at a reload.
#[derive(Debug)]
pub struct LoginContext {
    /// Who may log in.
    pub users: Users,
    pub(super) tls: ClientTlsMode,
    acceptor: Option<Arc<Acceptor>>,
    method: Method,
    trust_remote: bool,
    timeout: Duration,
    mock: Mock,
    room: Arc<Room>,
    /// Room at the console, if there is one: who looks why all others are taken needs some.
    console: Option<Arc<Room>>,
    /// Who may be there.
    admins: Vec<String>,
    /// Password derivations at once; a stranger can ask for them. The same over reloads, as are the turns of handshakes:
    /// what was begun by an older configuration counts.
    derivations: Arc<Semaphore>,
    /// Turns of TLS handshakes to compute: while more ask for one, clients that are connected have theirs.
    pub(super) handshakes: Arc<Semaphore>,
    rooms: Arc<ClientRooms>,
    /// The same over reloads.
    failures: Arc<Failures>,
    delay_after: u32,
}

/// What a connection turned out to be.
#[derive(Debug)]
pub enum Arrival {
    /// A client that has proved who it is.
    Session(Box<LoggedIn>),
    /// A cancel request.
    Cancel(CancelRequest),
}

/// A client that has proved who it is.
#[derive(Debug)]
pub struct LoggedIn {
    /// Its connection. The output ends with AuthenticationOk, unsent; the input may already hold
    /// what the client sent behind its password.
    pub link: Link,
    /// What it asked for.
    pub startup: Startup,
    /// What pgweir can log in to PostgreSQL with for it.
    pub credential: ServerCredential,
    /// It uses TLS.
    pub tls: bool,
    /// Its part of `limits.max_clients`.
    pub seat: Seat,
    /// And of the limits by database, user and address; none at the console.
    pub places: Option<Places>,
}

/// A cancel request. Its connection stays open until the request is [finished](Self::finish): a
/// client takes the end for the sign that the cancel was done.
#[derive(Debug)]
pub struct CancelRequest {
    /// What names the session.
    pub key: CancelKey,
    link: Option<Link>,
}

/// Why a client did not get in. Displays as the log has it.
#[derive(Debug, Error)]
pub enum LoginFailure {
    /// The connection failed.
    #[error("the connection was lost: {0}")]
    Gone(#[source] io::Error),
    /// The client closed the connection.
    #[error("the client left")]
    Left,
    /// A first packet that cannot be served.
    #[error(transparent)]
    Startup(#[from] BadStartup),
    /// A length word out of range.
    #[error("invalid message length")]
    Length,
    /// Bytes came before the answer to a request for encryption.
    #[error("received unencrypted data after {0} request")]
    Unencrypted(Encryption),
    /// The TLS handshake failed.
    #[error(transparent)]
    Handshake(#[from] AcceptError),
    /// TLS without a request, where there is none.
    #[error("TLS was begun, which is not configured")]
    NoTls,
    /// TLS without a request, and without saying what for.
    #[error("received direct SSL connection request without ALPN protocol negotiation extension")]
    NoAlpn,
    /// No TLS where it is required.
    #[error("SSL connection is required")]
    TlsRequired,
    /// Replication.
    #[error("replication connections are not supported by this proxy")]
    Replication,
    /// Trust is for this machine only.
    #[error("clients from other machines are not trusted without authentication")]
    TrustRemote,
    /// `limits.max_clients` is reached.
    #[error("sorry, too many clients already")]
    TooManyClients(usize),
    /// `limits.max_clients_database` is reached.
    #[error("too many connections for database \"{0}\"")]
    DatabaseFull(String),
    /// `limits.max_clients_user` is reached.
    #[error("too many connections for role \"{0}\"")]
    UserFull(String),
    /// `limits.max_clients_source` is reached.
    #[error("too many connections from address \"{0}\"")]
    SourceFull(IpAddr),
    /// Others have come, and it had not said what it wants.
    #[error("it had said nothing, and others have come")]
    Displaced,
    /// The user did not prove who it is.
    #[error("{}", described(.0))]
    Auth(#[from] AuthError),
    /// PostgreSQL could not be asked who the user is.
    #[error("the user could not be looked up: {0}")]
    LookUp(#[from] ControlError),
    /// The password's keys were not derived.
    #[error("the password could not be checked")]
    Overworked,
    /// `timeouts.login` passed.
    #[error("client login timeout")]
    TimedOut,
    /// pgweir is draining.
    #[error("the connection proxy is shutting down")]
    Draining,
}

impl LoginContext {
    /// Of a configuration. `before` is the one in use, whose derived secrets are kept. The first is made by the
    /// runtime that serves.
    pub fn new(
        config: &Config,
        acceptor: Option<Arc<Acceptor>>,
        lookups: Lookups,
        mock: &Mock,
        (room, rooms): (&Arc<Room>, &Arc<ClientRooms>),
        before: Option<&Self>,
    ) -> Self {
        Self {
            users: Users::new(config, lookups, mock, before.map(|before| &before.users)),
            tls: config.client_tls.mode,
            acceptor: acceptor.filter(|_| config.client_tls.mode != ClientTlsMode::Disable),
            method: match config.auth.method {
                AuthMethod::Trust => Method::Trust,
                AuthMethod::ScramSha256 => Method::Scram,
                AuthMethod::Md5 => Method::Md5,
                AuthMethod::Cleartext => Method::Cleartext,
            },
            trust_remote: config.auth.trust_remote,
            timeout: config.timeouts.login,
            mock: mock.clone(),
            room: Arc::clone(room),
            console: config.admin.is_on().then(|| {
                let kept = before.and_then(|before| before.console.clone());
                kept.unwrap_or_else(|| Room::new(MAX_CONSOLES))
            }),
            admins: [&config.admin.users[..], &config.admin.readers[..]].concat(),
            derivations: before.map_or_else(
                || Arc::new(Semaphore::new(DERIVATIONS)),
                |before| Arc::clone(&before.derivations),
            ),
            handshakes: before.map_or_else(
                || Arc::new(Semaphore::new(Handle::current().metrics().num_workers())),
                |before| Arc::clone(&before.handshakes),
            ),
            rooms: Arc::clone(rooms),
            failures: before.map_or_else(Arc::default, |before| Arc::clone(&before.failures)),
            delay_after: config.auth.delay_after,
        }
    }

    /// Where this user of this database takes its seat. Who may not use the console is refused there, and takes none from
    /// those who may.
    fn room(&self, database: &str, user: &str) -> &Arc<Room> {
        let is_for_console = database == CONSOLE && self.admins.iter().any(|admin| admin == user);
        let console = self.console.as_ref().filter(|_| is_for_console);
        console.unwrap_or(&self.room)
    }

    /// Whether clients are shown another certificate than before, perhaps from a file of the same name.
    pub fn has_other_certificate(&self, before: &Self) -> bool {
        let (now, before) = (self.acceptor(), before.acceptor());
        now.zip(before).is_some_and(|(now, before)| now.differs_from(before))
    }

    pub(super) fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_deref()
    }
}

/// Takes a client in, unless `draining` is ready before that is done or the guest is displaced. One that is refused is told
/// why, which counts among `errors`, and its connection is closed, before this returns. Not cancel safe:
/// dropped midway, the connection is closed without a word.
pub async fn login(
    stream: Stream,
    peer: PeerAddr,
    context: &LoginContext,
    (guest, metrics): (&Guest, &Metrics),
    draining: impl Future<Output = ()>,
) -> Result<Arrival, LoginFailure> {
    let patience = Patience { left: context.timeout };
    let mut door = Door { context, peer, patience, guest, metrics, link: None };
    let admitted = tokio::select! {
        biased;
        admitted = door.admit(stream) => admitted,
        // What was half done goes with the connection, which is refused.
        () = draining => Err(LoginFailure::Draining),
        () = guest.displaced() => Err(LoginFailure::Displaced),
    };
    match admitted {
        Ok(arrival) => Ok(arrival),
        Err(failure) => {
            guest.refuse();
            tokio::select! {
                () = door.turn_away(&failure, &metrics.errors) => {}
                // It has been told, and may not have read it yet.
                () = guest.displaced() => {}
            }
            Err(failure)
        }
    }
}

/// Tells a client why it is refused and closes the connection, in a way that lets it read the
/// reason: a socket closed with bytes unread is reset, and the reason lost.
pub async fn refuse(link: &mut Link, report: &Report, errors: &ErrorMetrics) {
    errors.count(ErrorSource::Pgweir, report.code.as_bytes());
    report.encode(&mut link.output);
    hang_up(link).await;
}

async fn hang_up(link: &mut Link) {
    // The client may be gone or not care; either way the time is bounded.
    let _ = timeout(LINGER, link.close()).await;
}

/// One connection at the door.
pub(super) struct Door<'a> {
    pub(super) context: &'a LoginContext,
    peer: PeerAddr,
    pub(super) patience: Patience,
    guest: &'a Guest,
    pub(super) metrics: &'a Metrics,
    /// `None` before the first byte, and while a TLS handshake has the connection.
    pub(super) link: Option<Link>,
}

impl Door<'_> {
    async fn admit(&mut self, stream: Stream) -> Result<Arrival, LoginFailure> {
        match self.arrive(stream).await? {
            Purpose::Cancel(key) => {
                Ok(Arrival::Cancel(CancelRequest { key, link: self.link.take() }))
            }
            Purpose::Session(startup) => {
                self.guest.hear();
                self.prove(*startup).await.map(Arrival::Session)
            }
        }
    }

    async fn prove(&mut self, startup: Startup) -> Result<Box<LoggedIn>, LoginFailure> {
        let method = self.context.method;
        if method == Method::Trust && !self.context.trust_remote && !self.peer.is_loopback() {
            return Err(LoginFailure::TrustRemote);
        }
        if startup.negotiate {
            negotiate(&mut self.link()?.output, &startup);
        }
        let users = &self.context.users;
        let lookup = self.look_up(&startup).await?;
        let setup = self.setup(&startup, lookup)?;
        let proven = match self.exchange(setup).await {
            Ok(proven) => proven,
            Err(failure) => {
                self.keep_back(&failure).await;
                return Err(failure);
            }
        };
        let credential = users.credential(&startup.database, &startup.user, proven);
        // Who has not proved who it is takes no place from one who can.
        let room = self.context.room(&startup.database, &startup.user);
        let seat = room.enter().map_err(LoginFailure::TooManyClients)?;
        let is_session = Arc::ptr_eq(room, &self.context.room);
        let places =
            is_session.then(|| self.context.rooms.enter(&startup, self.peer.ip())).transpose()?;
        let link = self.link.take().ok_or(LoginFailure::Left)?;
        let tls = link.stream().is_tls();
        Ok(Box::new(LoggedIn { link, startup, credential, tls, seat, places }))
    }

    /// While PostgreSQL is asked about its user, a client is watched: one that has given up keeps no place here.
    async fn look_up(&mut self, startup: &Startup) -> Result<Lookup, LoginFailure> {
        let context = self.context;
        let mut lookup = pin!(context.users.look_up(&startup.database, &startup.user));
        loop {
            let link = self.link()?;
            let read = link.input.len() < EARLY_INPUT;
            tokio::select! {
                biased;
                found = &mut lookup => return Ok(found?),
                moved = link.moved(read) => {
                    if moved.map_err(LoginFailure::Gone)? == Moved::End {
                        return Err(LoginFailure::Left);
                    }
                }
            }
        }
    }

    /// Whoever guesses waits for each answer, in its place here for as long as that is nobody else's and it stays.
    async fn keep_back(&mut self, failure: &LoginFailure) {
        let is_refused = matches!(failure, LoginFailure::Auth(AuthError::Refused { .. }));
        let allowed = self.context.delay_after;
        if let (true, Some(address)) = (is_refused && allowed > 0, self.peer.ip()) {
            let delay = self.context.failures.note(address, allowed, Instant::now());
            self.guest.refuse();
            let Some(link) = &mut self.link else { return };
            let mut kept = pin!(tokio::time::sleep(delay));
            loop {
                let read = link.input.len() < EARLY_INPUT;
                tokio::select! {
                    () = &mut kept => return,
                    moved = link.moved(read) => if !matches!(moved, Ok(Moved::Read | Moved::Drained)) {
                        // It has gone without its answer.
                        self.link = None;
                        return;
                    },
                }
            }
        }
    }

    fn setup(
        &mut self,
        startup: &Startup,
        lookup: Lookup,
    ) -> Result<ClientLoginSetup, LoginFailure> {
        let method = self.context.method;
        let transport = self.transport()?;
        Ok(ClientLoginSetup {
            user: startup.user.clone(),
            method,
            lookup,
            nonce: Nonce::new(rand::random()),
            md5_salt: rand::random(),
            transport,
        })
    }

    fn transport(&mut self) -> Result<Transport, LoginFailure> {
        let binding = self.context.acceptor().and_then(Acceptor::end_point);
        let binding = binding.map(ChannelBinding::tls_server_end_point);
        Ok(match self.link()?.stream() {
            Stream::Tls(_) | Stream::Served(_) => Transport::Tls(binding),
            Stream::Unix(_) => Transport::Unix,
            Stream::Tcp(_) => Transport::Plain,
        })
    }

    /// Up to AuthenticationOk, which is written and not sent.
    async fn exchange(
        &mut self,
        setup: ClientLoginSetup,
    ) -> Result<ServerCredential, LoginFailure> {
        let (login, mut step) = ClientLogin::start(setup, &self.context.mock);
        let mut login = Box::new(login);
        loop {
            match step {
                ClientStep::Send(bytes) => self.link()?.output.extend_from_slice(&bytes),
                ClientStep::Done { send, credential } => {
                    self.link()?.output.extend_from_slice(&send);
                    return Ok(credential);
                }
                ClientStep::Fail(error) => return Err(error.into()),
            }
            self.guest.ask(true);
            let answer = self.answer_of(&mut login).await?;
            self.guest.ask(false);
            (login, step) = self.judge(login, answer).await?;
        }
    }

    /// The body of the client's next message, which must be of type `p`.
    async fn answer_of(&mut self, login: &mut ClientLogin) -> Result<BytesMut, LoginFailure> {
        match self.fill(1).await?.first() {
            Some(b'p') => {}
            tag => return Err(login.on_other_message(tag.copied().unwrap_or_default()).into()),
        }
        let word = self.fill(HEADER).await?.get(1..HEADER);
        let word = word.and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
        let most = if self.context.method == Method::Cleartext { MAX_PASSWORD } else { MAX_PROOF };
        let body = (word as usize).checked_sub(4).filter(|len| *len <= most);
        let body = body.ok_or(LoginFailure::Length)?;
        self.fill(HEADER + body).await?;
        let mut message = self.link()?.input.split_to(HEADER + body);
        message.advance(HEADER);
        Ok(message)
    }

    /// Checking a cleartext password takes milliseconds of CPU, which workers have better uses for.
    async fn judge(
        &self,
        mut login: Box<ClientLogin>,
        answer: BytesMut,
    ) -> Result<(Box<ClientLogin>, ClientStep), LoginFailure> {
        if self.context.method != Method::Cleartext {
            let step = login.on_message(&answer);
            return Ok((login, step));
        }
        let permit = Arc::clone(&self.context.derivations).acquire_owned().await;
        let permit = permit.map_err(|_| LoginFailure::Overworked)?;
        let checked = tokio::task::spawn_blocking(move || {
            let step = login.on_message(&answer);
            // Not before, though the client may be gone: it is for the processor.
            drop(permit);
            (login, step)
        });
        checked.await.map_err(|_| LoginFailure::Overworked)
    }

    /// Waits until so many bytes of the client are there.
    pub(super) async fn fill(&mut self, len: usize) -> Result<&BytesMut, LoginFailure> {
        let link = self.link.as_mut().ok_or(LoginFailure::Left)?;
        while link.input.len() < len {
            let moved = self.patience.with(link.moved(true)).await?;
            if moved.map_err(LoginFailure::Gone)? == Moved::End {
                return Err(LoginFailure::Left);
            }
        }
        Ok(&link.input)
    }

    pub(super) fn link(&mut self) -> Result<&mut Link, LoginFailure> {
        self.link.as_mut().ok_or(LoginFailure::Left)
    }

    async fn turn_away(&mut self, failure: &LoginFailure, errors: &ErrorMetrics) {
        let Some(link) = &mut self.link else { return };
        let Some(report) = edge::login_failed(failure) else { return hang_up(link).await };
        if let LoginFailure::Startup(BadStartup::Version(..3, _)) = failure {
            errors.count(ErrorSource::Pgweir, report.code.as_bytes());
            version_2_error(&mut link.output, &failure.to_string());
            return hang_up(link).await;
        }
        refuse(link, &report, errors).await;
    }
}

impl CancelRequest {
    /// Closes the connection, once the cancel was done or cannot be.
    pub async fn finish(mut self) {
        if let Some(link) = &mut self.link {
            hang_up(link).await;
        }
    }
}

impl LoginFailure {
    /// How it is counted.
    pub fn result(&self) -> LoginResult {
        match self {
            Self::Gone(_) | Self::Left => LoginResult::Gone,
            Self::Startup(_)
            | Self::Length
            | Self::Unencrypted(_)
            | Self::Handshake(_)
            | Self::NoAlpn => LoginResult::Protocol,
            Self::TooManyClients(_)
            | Self::DatabaseFull(_)
            | Self::UserFull(_)
            | Self::SourceFull(_)
            | Self::Displaced => LoginResult::TooManyClients,
            Self::NoTls
            | Self::TlsRequired
            | Self::Replication
            | Self::TrustRemote
            | Self::Draining => LoginResult::Refused,
            Self::Auth(AuthError::Refused { .. } | AuthError::EmptyPassword) => {
                LoginResult::AuthFailed
            }
            Self::Auth(AuthError::CleartextInTheOpen) => LoginResult::Refused,
            Self::Auth(_) => LoginResult::Protocol,
            Self::LookUp(_) | Self::Overworked => LoginResult::ServerFailed,
            Self::TimedOut => LoginResult::TimedOut,
        }
    }
}

/// What is left of the time that a client has for its share of a login.
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    /// Waits for the client.
    pub(super) async fn with<T>(
        &mut self,
        client: impl Future<Output = T>,
    ) -> Result<T, LoginFailure> {
        let started = Instant::now();
        let done = timeout(self.left, client).await;
        self.left = self.left.saturating_sub(started.elapsed());
        done.map_err(|_| LoginFailure::TimedOut)
    }
}

/// NegotiateProtocolVersion: the version that will be spoken, and the options that are not known.
fn negotiate(out: &mut BytesMut, startup: &Startup) {
    build::message(out, b'v', |out| {
        out.put_u32(3 << 16 | u32::from(startup.minor));
        out.put_u32(startup.unknown_options.len() as u32);
        for option in &startup.unknown_options {
            build::put_cstr(out, option.as_bytes());
        }
    });
}

/// The error of protocol 2 had neither length nor fields.
fn version_2_error(out: &mut BytesMut, text: &str) {
    out.put_u8(b'E');
    build::put_cstr(out, format!("FATAL:  {text}\n").as_bytes());
}

/// For the log, where the reason may be told.
fn described(error: &AuthError) -> String {
    match error {
        AuthError::Refused { refusal, .. } => format!("{error}: {refusal}"),
        error => error.to_string(),
    }
}

/// Longest password in clear text (`PG_MAX_AUTH_TOKEN_LENGTH`).
const MAX_PASSWORD: usize = 65_535;

/// Longest message of SCRAM or MD5, which are far shorter.
const MAX_PROOF: usize = 2 << 10;

/// What is read of a client ahead of its turn.
const EARLY_INPUT: usize = 2 << 10;
/// Time for a client to read why it is refused.
const LINGER: Duration = Duration::from_secs(1);

/// Connections for the console at once.
const MAX_CONSOLES: usize = 16;

/// See [`LoginContext::derivations`].
const DERIVATIONS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_time_of_the_client_counts() {
        let mut patience = Patience { left: Duration::from_millis(200) };
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(patience.with(async {}).await.is_ok());
        let slow = || tokio::time::sleep(Duration::from_millis(120));
        assert!(patience.with(slow()).await.is_ok());
        assert!(patience.left <= Duration::from_millis(80), "{:?}", patience.left);
        let never = patience.with(std::future::pending::<()>()).await;
        assert!(matches!(never, Err(LoginFailure::TimedOut)));
    }

    #[tokio::test]
    async fn turns_are_one_for_each_worker_and_the_same_over_reloads() {
        let source = crate::config::Source::of_text("[databases.app]\nhost = 'db'\n");
        let config = source.load().expect("a configuration").config;
        let mock = Mock::new(crate::auth::Key::new([7; 32]), crate::auth::Iterations::DEFAULT);
        let (room, rooms) = (Room::new(1), ClientRooms::new(&config.limits));
        let context = |before: Option<&LoginContext>| {
            LoginContext::new(&config, None, Lookups::default(), &mock, (&room, &rooms), before)
        };
        let before = context(None);
        assert_eq!(before.handshakes.available_permits(), 1, "this runtime has one");
        let after = context(Some(&before));
        assert!(Arc::ptr_eq(&before.handshakes, &after.handshakes));
        assert!(Arc::ptr_eq(&before.derivations, &after.derivations));
    }

    #[test]
    fn unknown_options_are_named() {
        let startup = Startup {
            minor: 0,
            negotiate: true,
            unknown_options: vec!["_pq_.a".into(), "_pq_.b".into()],
            user: "u".into(),
            database: "u".into(),
            settings: Vec::new(),
            replication: false,
        };
        let mut out = BytesMut::new();
        negotiate(&mut out, &startup);
        assert_eq!(&out[..], b"v\0\0\0\x1a\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.b\0");
    }

    #[test]
    fn the_log_knows_why_a_password_was_refused() {
        let error = AuthError::Refused { user: "u".into(), refusal: crate::auth::Refusal::Unknown };
        let text = LoginFailure::Auth(error).to_string();
        assert!(text.ends_with(": there is no such user"), "{text}");
    }
}
