//! Where and as whom functions log in.
//!
//! The password's SCRAM keys are derived once and serve every login: 4096 rounds of hashing for each
//! of thousands of functions would make this process the bottleneck, and it is the server that is
//! to be measured.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::auth::{
    ChannelBinding, Nonce, Password, ScramKeys, ServerCredential, ServerLogin, ServerLoginSetup,
    ServerStep, Transport,
};
use crate::config::{Database, Dsn, ServerTls, is_system, trusted, usual_mode};
use crate::net::link::Link;
use crate::net::tls::TlsFileError;
use crate::net::{Connected, Target, connect};
use crate::wire::{Reader, startup};

use super::client::{Client, ClientError};
use super::plan::{APPLICATION, Class};

/// Where and as whom functions log in; shared by all of them.
#[derive(Debug)]
pub struct Access {
    target: Target,
    user: String,
    dbname: String,
    application: String,
    password: Option<Password>,
    keys: Mutex<Option<ScramKeys>>,
    /// Where they come from, in turn.
    sources: Vec<IpAddr>,
    turn: AtomicUsize,
    login: OnceLock<Login>,
    /// Logins whose TLS session went on from an earlier one.
    resumed: AtomicU64,
}

/// How functions log in, by the first login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Login {
    /// Over TLS.
    pub tls: bool,
    /// What the server asked for.
    pub asked: &'static str,
    /// Logins until now whose TLS session went on from an earlier one.
    pub resumed: u64,
}

impl Access {
    /// To what a connection string names; `sslmode` is `prefer` where it says nothing, as in libpq.
    /// Blocks on the file of trusted certificates, if there is one.
    pub fn new(dsn: &Dsn) -> Result<Self, TlsFileError> {
        let password = dsn.password.as_ref();
        Ok(Self {
            target: Target::new(&database(dsn))?,
            user: dsn.user.clone(),
            dbname: dsn.dbname.clone(),
            application: APPLICATION.to_owned(),
            password: password.map(|password| Password::new(password.reveal())),
            keys: Mutex::new(None),
            sources: Vec::new(),
            turn: AtomicUsize::new(0),
            login: OnceLock::new(),
            resumed: AtomicU64::new(0),
        })
    }

    /// As the functions of a class log in.
    pub(super) fn of(class: &Class) -> Result<Self, TlsFileError> {
        let (application, sources) = (class.application_name.clone(), class.sources.clone());
        Ok(Self { application, sources, ..Self::new(&class.dsn)? })
    }

    /// How functions log in, once one has.
    pub(super) fn login(&self) -> Option<Login> {
        let resumed = self.resumed.load(Ordering::Relaxed);
        self.login.get().map(|first| Login { resumed, ..*first })
    }

    /// As one process sees it that goes on from its last TLS session.
    pub(super) fn resuming_target(&self) -> Target {
        self.target.resuming()
    }

    /// Connects and logs in. Not cancel safe: dropped midway, the connection is closed.
    pub async fn connect(&self, limit: Duration) -> Result<Client, ClientError> {
        self.connect_to(&self.target, limit).await
    }

    /// The same, with what a process remembers.
    pub(super) async fn connect_to(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Client, ClientError> {
        let deadline = Instant::now() + limit;
        let connected = match self.source() {
            Some(source) => connect(&target.clone().bound_to(source), deadline).await?,
            None => connect(target, deadline).await?,
        };
        self.resumed.fetch_add(connected.stream.is_resumed().into(), Ordering::Relaxed);
        match timeout_at(deadline, self.log_in(connected)).await {
            Ok(client) => client,
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    fn source(&self) -> Option<IpAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.sources.get(turn % self.sources.len().max(1)).copied()
    }

    async fn log_in(&self, connected: Connected) -> Result<Client, ClientError> {
        let tls = connected.stream.is_tls();
        let mut login = ServerLogin::new(self.setup(&connected));
        let mut client = Client::new(Link::new(connected.stream));
        self.put_startup(client.output());
        loop {
            match client.message().await? {
                (b'R', body) => match self.answer(&mut login, tls, &body) {
                    ServerStep::Send(answer) => client.output().extend_from_slice(&answer),
                    ServerStep::Continue => {}
                    ServerStep::Ok => break,
                    ServerStep::Fail(error) => return Err(error.into()),
                },
                (b'E', body) => return Err(ClientError::of(&body)),
                // NegotiateProtocolVersion has nothing for a client that asks for 3.0.
                (b'N' | b'v', _) => {}
                (tag, _) => return Err(ClientError::Unexpected { tag }),
            }
        }
        self.remember(&login);
        client.reply().await?;
        Ok(client)
    }

    fn answer(&self, login: &mut ServerLogin, tls: bool, body: &[u8]) -> ServerStep {
        self.login.get_or_init(|| Login { tls, asked: asked(body), resumed: 0 });
        login.on_authentication(body)
    }

    fn setup(&self, connected: &Connected) -> ServerLoginSetup {
        let stream = &connected.stream;
        let binding = connected.end_point.clone();
        let transport = match (stream.is_tls(), stream.is_unix()) {
            (true, _) => Transport::Tls(binding.map(ChannelBinding::tls_server_end_point)),
            (false, true) => Transport::Unix,
            (false, false) => Transport::Plain,
        };
        let password = self.password.clone();
        ServerLoginSetup {
            user: self.user.clone(),
            credential: password.map_or(ServerCredential::None, ServerCredential::Password),
            remembered: self.with_keys(|keys| keys.clone()),
            nonce: Nonce::new(rand::random()),
            transport,
            require_channel_binding: false,
        }
    }

    fn put_startup(&self, out: &mut BytesMut) {
        let parameters = [
            ("user", self.user.as_str()),
            ("database", &self.dbname),
            ("application_name", &self.application),
        ];
        startup::build(out, &parameters);
    }

    fn remember(&self, login: &ServerLogin) {
        if let Some(new) = login.keys() {
            self.with_keys(|keys| *keys = Some(new.clone()));
        }
    }

    fn with_keys<T>(&self, change: impl FnOnce(&mut Option<ScramKeys>) -> T) -> T {
        // Nothing can panic while it is locked, and keys are whole or not there.
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut keys)
    }
}

fn database(dsn: &Dsn) -> Database {
    let by_system = dsn.ca.as_deref().is_some_and(is_system);
    Database {
        host: dsn.host.clone(),
        port: dsn.port,
        dbname: None,
        user: None,
        password: None,
        tls: ServerTls {
            mode: dsn.tls.filter(|_| !by_system).unwrap_or_else(|| usual_mode(dsn.ca.as_deref())),
            ca: dsn.ca.clone().map(trusted),
            channel_binding: dsn.channel_binding.unwrap_or_default(),
        },
        init_query: None,
        max_servers: None,
        listen: None,
        pooling: None,
        observe: None,
    }
}

/// What the server's first authentication message asks for (`protocol-message-formats.html`).
fn asked(body: &[u8]) -> &'static str {
    match Reader::new(body).i32() {
        Ok(0) => "nothing",
        Ok(3) => "cleartext",
        Ok(5) => "md5",
        Ok(10) => "SCRAM",
        _ => "unknown",
    }
}
