//! Opening control connections: a slot first, then TCP, TLS and login, each in its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;

use super::guarded::{Guarded, GuardedTls, Heeds};
use super::lent::{Lent, hold, lend};
use super::{ControlError, Step, is_lost, text};
use crate::clock::Instant;
use crate::config::{ChannelBindingMode, Password};
use crate::host::{Host, Owner, Slot};
use crate::net::tls::postgres::ssl_mode;
use crate::net::{Stream, Target, dial};

/// Where and as whom the control plane connects.
#[derive(Debug, Clone)]
pub struct ControlTarget {
    /// The server.
    pub server: Target,
    /// Name of the database at PostgreSQL.
    pub dbname: String,
    /// The control user.
    pub user: String,
    /// Its password.
    pub password: Option<Password>,
    /// The host whose slots its connections take, in the name of `dbname`.
    pub slots: Arc<Host>,
    /// How long to wait for a slot, and for a server that is starting.
    pub slot_wait: Duration,
    /// How long connecting may take, and how long a query.
    pub connect: Duration,
    /// How long to wait for a closing server's EOF.
    pub close: Duration,
}

/// Opens and checks the connections of one control plane.
pub struct ControlManager {
    target: ControlTarget,
    login: tokio_postgres::Config,
    owner: Owner,
    wake: Arc<Notify>,
    failed: Mutex<Option<(Instant, ControlError)>>,
}

impl ControlManager {
    pub(super) fn new(target: ControlTarget) -> Self {
        let mut login = tokio_postgres::Config::new();
        login.user(&target.user).dbname(&target.dbname).application_name(APPLICATION_NAME);
        // Set at startup, so that they hold over those of the role and the database. Schema
        // qualification alone does not do: operators and casts are looked up by the path, too.
        let limit = target.connect.as_millis().max(1);
        login.options(format!(
            "-c search_path=pg_catalog -c statement_timeout={limit} -c lock_timeout={limit}"
        ));
        let server = &target.server;
        login.ssl_mode(ssl_mode(server.connector().mode(), server.host()));
        if server.channel_binding() == ChannelBindingMode::Require {
            login.channel_binding(tokio_postgres::config::ChannelBinding::Require);
        }
        if let Some(password) = &target.password {
            login.password(password.reveal());
        }
        let (database, user) = (target.dbname.as_str().into(), target.user.as_str().into());
        let owner = Owner { database, user };
        Self { target, login, owner, wake: Arc::default(), failed: Mutex::default() }
    }

    pub(super) fn host(&self) -> &Host {
        &self.target.slots
    }

    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    pub(super) fn patience(&self) -> Duration {
        self.target.slot_wait
    }

    pub(super) fn query_time(&self) -> Duration {
        self.target.connect
    }

    async fn open(&self) -> Result<ClientWrapper, ControlError> {
        let deadline = Instant::now() + self.target.slot_wait;
        let slot = self.target.slots.take(self.owner.clone(), deadline).await?;
        let permit = timeout_at(deadline.into(), slot.permit())
            .await
            .map_err(|_| ControlError::TimedOut(Step::Waiting))?;
        let opened = self.connect(slot).await;
        match &opened {
            Ok(_) => permit.opened(),
            Err(error) => permit.failed(error.of_host()),
        }
        opened
    }

    async fn connect(&self, slot: Slot) -> Result<ClientWrapper, ControlError> {
        let deadline = tokio::time::Instant::now() + self.target.connect;
        let (stream, _) = dial(&self.target.server, deadline)
            .await
            .map_err(|error| ControlError::Connect(Arc::new(error)))?;
        let client = self.log_in(stream, slot, deadline).await?;
        self.wake.notify_one();
        Ok(client)
    }

    async fn log_in(
        &self,
        stream: Stream,
        slot: Slot,
        deadline: tokio::time::Instant,
    ) -> Result<ClientWrapper, ControlError> {
        let heeds = match (&stream, self.login.get_ssl_mode()) {
            (Stream::Unix(_), _) => Heeds::Length,
            (_, SslMode::Disable) => Heeds::Question,
            _ => Heeds::Answer,
        };
        let (stream, back) = lend(stream);
        let stream = Guarded::new(stream, heeds);
        let late = self.target.slots.metrics().control_close_timeouts.clone();
        tokio::spawn(hold(slot, back, self.target.close, late));
        let server = &self.target.server;
        let mut connector = GuardedTls(server.connector().clone());
        let tls = MakeTlsConnect::<Guarded<Lent<Stream>>>::make_tls_connect(
            &mut connector,
            server.host(),
        )
        .map_err(|error| ControlError::Tls(Arc::new(error)))?;
        let (client, connection) = timeout_at(deadline, self.login.connect_raw(stream, tls))
            .await
            .map_err(|_| ControlError::TimedOut(Step::LoggingIn))?
            .map_err(|error| ControlError::Login(Arc::new(error)))?;
        let running = tokio::spawn(async move {
            if let Err(error) = connection.await {
                let text = text(&error);
                if is_lost(&error) {
                    tracing::debug!(error = text, "control connection failed");
                } else {
                    tracing::warn!(error = text, "control connection failed");
                }
            }
        });
        // deadpool-postgres aborts the task it is given as soon as the client is dropped. The
        // connection runs in one of its own, so that its Terminate still goes out.
        let abortable = tokio::spawn(async move {
            let _ = running.await;
        });
        Ok(ClientWrapper::new(client, abortable))
    }

    /// What failed just now fails again at once, instead of one attempt for each waiting login.
    fn fresh_failure(&self) -> Option<ControlError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| at.elapsed() < BACK_OFF).map(|(_, error)| error.clone())
    }
}

impl Manager for ControlManager {
    type Type = ClientWrapper;
    type Error = ControlError;

    async fn create(&self) -> Result<ClientWrapper, ControlError> {
        if let Some(error) = self.fresh_failure() {
            return Err(error);
        }
        let opened = self.open().await;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        opened
    }

    async fn recycle(
        &self,
        client: &mut ClientWrapper,
        _: &Metrics,
    ) -> RecycleResult<ControlError> {
        if client.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

impl Drop for ControlManager {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// What `pg_stat_activity` shows.
const APPLICATION_NAME: &str = "pgweir-control";

/// How long a failed attempt to connect stands for those that would follow it.
const BACK_OFF: Duration = Duration::from_millis(200);
