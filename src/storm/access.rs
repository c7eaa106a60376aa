//! Where and as whom functions log in.
//!
//! The password's SCRAM keys are derived once and serve every login: 4096 rounds of hashing for each
//! of thousands of functions would make this process the bottleneck, and it is the server that is
//! to be measured.

use std::sync::Mutex;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use crate::auth::{
    ChannelBinding, Nonce, Password, ScramKeys, ServerCredential, ServerLogin, ServerLoginSetup,
    ServerStep, Transport,
};
use crate::config::{Database, Dsn, ServerTls, ServerTlsMode};
use crate::net::link::Link;
use crate::net::tls::TlsFileError;
use crate::net::{Connected, Target, connect};
use crate::wire::startup;

use super::client::{Client, ClientError};

/// Where and as whom functions log in; shared by all of them.
#[derive(Debug)]
pub struct Access {
    target: Target,
    user: String,
    dbname: String,
    password: Option<Password>,
    keys: Mutex<Option<ScramKeys>>,
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
            password: password.map(|password| Password::new(password.reveal())),
            keys: Mutex::new(None),
        })
    }

    /// Connects and logs in. Not cancel safe: dropped midway, the connection is closed.
    pub async fn connect(&self, limit: Duration) -> Result<Client, ClientError> {
        let deadline = Instant::now() + limit;
        let connected = connect(&self.target, deadline).await?;
        match timeout_at(deadline, self.log_in(connected)).await {
            Ok(client) => client,
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    async fn log_in(&self, connected: Connected) -> Result<Client, ClientError> {
        let mut login = ServerLogin::new(self.setup(&connected));
        let mut client = Client::new(Link::new(connected.stream));
        self.put_startup(client.output());
        loop {
            match client.message().await? {
                (b'R', body) => match login.on_authentication(&body) {
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
            ("application_name", APPLICATION),
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
    Database {
        host: dsn.host.clone(),
        port: dsn.port,
        dbname: None,
        user: None,
        password: None,
        tls: ServerTls { mode: dsn.tls.unwrap_or(ServerTlsMode::Prefer), ca: dsn.ca.clone() },
        init_query: None,
        max_servers: None,
        listen: None,
        pooling: None,
        observe: None,
    }
}

/// How the functions call themselves in `pg_stat_activity`.
const APPLICATION: &str = "pgweir-storm";
