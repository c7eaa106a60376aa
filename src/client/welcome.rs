//! From a login to a session: what the client is told first.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::journal::Event;
use super::relay::MAX_REFUSALS;
use super::waiting::Phase;
use super::{Client, Context, Ending, Fatal};
use crate::class::{ClassId, Traits};
use crate::clock::Instant;
use crate::metrics::{CloseReason, LoginResult};
use crate::net::PeerAddr;
use crate::net::link::{Link, Traffic};
use crate::pool::{CheckoutError, Cleaning, Lease, Pool, Proof, Proving};
use crate::registry::{Card, Registration, State, Who};
use crate::server::Server;
use crate::session::{Attach, Session, settings::Settings};
use crate::wire::build;
use crate::wire::error::{self, ErrorFields};
use crate::wire::startup::CancelKey;

/// What a client that has proved who it is brings.
pub struct Welcomed {
    /// Its connection, AuthenticationOk at the end of its output.
    pub link: Link,
    /// Settings of its StartupMessage.
    pub settings: Vec<(String, String)>,
    /// Who it is.
    pub who: Who,
    /// Where it comes from.
    pub peer: PeerAddr,
    /// Its pool.
    pub pool: Arc<Pool>,
    /// Its place in the registry.
    pub registration: Registration,
    /// What cancels its queries.
    pub cancel_key: CancelKey,
    /// What its task works with.
    pub context: Context,
}

/// How long others are waited for that have the same settings judged.
const FIRST_PROOF: Duration = Duration::from_secs(5);

/// What a client says of its class at its login.
const CLASS_OPTION: &str = "pgweir.class";

fn class_of(
    who: &Who,
    source: Option<IpAddr>,
    settings: &[(String, String)],
    pool: &Pool,
) -> ClassId {
    let of = |wanted: &str| {
        settings.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let traits = Traits {
        user: &who.user,
        database: &who.database,
        application_name: of("application_name").unwrap_or_default(),
        source: source.map(|source| source.to_canonical()),
        option: of(CLASS_OPTION),
    };
    pool.settings().classes.of(&traits)
}

impl Client {
    /// Tells a client the server's parameters and its cancel key (`protocol-flow.html#PROTOCOL-FLOW-START-UP`).
    ///
    /// Needs a server only if the pool has had none yet, or if the client asks for a setting that no
    /// server of the pool has accepted before: then PostgreSQL judges it now, as it does at a login.
    pub async fn welcome(welcomed: Welcomed) -> Result<Box<Self>, Ending> {
        let Welcomed { link, settings, who, peer, pool, mut registration, cancel_key, context } =
            welcomed;
        let class = class_of(&who, peer.ip(), &settings, &pool);
        let shown = Arc::clone(pool.settings().classes.name(class));
        let tls = link.stream().is_tls();
        let card = registration.introduce(Card::new(who, Some(shown), tls));
        let mut startup = Settings::default();
        for (name, value) in settings.iter().filter(|(name, _)| name != CLASS_OPTION) {
            startup.set(name, value.as_bytes());
        }
        let mut client = Box::new(Self {
            link,
            counted: Traffic::default(),
            half: super::Half::default(),
            ahead: super::Ahead::new(&context.common.backlog),
            session: Session::new(Arc::clone(pool.knowledge()), startup),
            shown: Settings::default(),
            card,
            class,
            pool,
            registration,
            membership: None,
            context,
            alarm: super::Alarm::default(),
            since: Instant::now(),
            rests: false,
            draining: false,
            refusals: 0,
        });
        client.session.set_pooling(client.pool.settings().pooling);
        client.follow_pool();
        match client.greet(&cancel_key).await {
            Ok(()) => Ok(client),
            Err(ending) => {
                let event = match ending.at_login() {
                    LoginResult::Refused => Event::Rejected,
                    _ => Event::Refused,
                };
                client.tell(event, &ending);
                client.say_goodbye(&ending).await;
                Err(ending)
            }
        }
    }

    /// Writes down that it is in.
    pub fn tell_login(&self) {
        let Who { id, user, database, address } = &self.card.who;
        debug!(
            client = id,
            address = &**address,
            user = &**user,
            database = &**database,
            application = &*String::from_utf8_lossy(self.session.application_name()),
            class = &**self.pool.settings().classes.name(self.class),
            tls = self.link.stream().is_tls(),
            "a client has logged in"
        );
    }

    async fn greet(&mut self, cancel_key: &CancelKey) -> Result<(), Ending> {
        let proving = self.first_proof().await?;
        let reported = if self.session.has_unproven_settings() {
            let reported = self.try_settings().await?;
            drop(proving);
            reported
        } else if let Some(reported) = self.pool.welcome() {
            reported
        } else {
            let (pool, class) = (Arc::clone(&self.pool), self.class);
            self.wait_at_login(async move { pool.first_welcome(class).await }).await?
        };
        self.session.set_pid(cancel_key.pid);
        let out = &mut self.link.output;
        self.session.welcome(&reported, out);
        self.show_application();
        let out = &mut self.link.output;
        build::backend_key_data(out, cancel_key);
        build::ready_for_query(out, b'I');
        Ok(())
    }

    /// Waits while another client has the same settings judged. Not for long: who has waited in vain has it done, too.
    async fn first_proof(&mut self) -> Result<Option<Proving>, Ending> {
        let patience = self.pool.settings().classes.limits_of(self.class).queue_timeout;
        let until = Instant::now() + FIRST_PROOF.min(patience);
        while self.session.has_unproven_settings() {
            let others = match self.pool.prove(&self.session.unproven_settings()) {
                Proof::Own(proving) => return Ok(Some(proving)),
                Proof::Others(others) => others,
            };
            let is_over = async move { Ok(others.is_over(until).await) };
            if !self.wait_at_login(is_over).await? {
                break;
            }
        }
        Ok(None)
    }

    /// Takes a server for a moment, to learn what it reports and whether it takes the settings.
    async fn try_settings(&mut self) -> Result<Settings, Ending> {
        let mut lost = 0;
        loop {
            let mut lease = self.first_lease().await?;
            self.registration.set_server(Some(lease.backend.pid));
            lease.entry.lend(self.card.who.id);
            let server: &mut Server = &mut lease;
            let settled = match self.session.attach(&mut server.backend, &mut server.link.output) {
                Attach::Ready if self.session.is_quiet() => Ok(None),
                Attach::Ready | Attach::Wait => self.settle(&mut lease).await,
            };
            let tries = match &settled {
                Err(Ending::ServerLost(loss)) => loss.tries(),
                _ => None,
            };
            let Some(tries) = tries.filter(|_| lost < MAX_REFUSALS) else {
                return self.on_settings_tried(lease, settled);
            };
            lost += tries;
            self.session.detach();
            self.registration.set_server(None);
            lease.evict(CloseReason::Broken);
        }
    }

    async fn first_lease(&mut self) -> Result<Lease, Ending> {
        let (pool, class) = (Arc::clone(&self.pool), self.class);
        let wanted = self.session.desired().clone();
        self.wait_at_login(async move { pool.checkout(class, &wanted, Instant::now()).await }).await
    }

    /// In boxes, as it is only sometimes needed.
    async fn wait_at_login<T>(
        &mut self,
        coming: impl Future<Output = Result<T, CheckoutError>>,
    ) -> Result<T, Ending> {
        self.registration.set_state(State::Waiting, self.since);
        let mut coming = Box::pin(coming);
        let waited =
            Box::pin(self.wait_in_queue(Phase::Login, Instant::now(), coming.as_mut())).await;
        // Who is refused has waited until its end.
        let waited = waited?.map_err(|report| Ending::Ended(Box::new(report)))?;
        self.since = Instant::now();
        self.registration.set_state(State::Idle, self.since);
        Ok(waited)
    }

    fn on_settings_tried(
        &mut self,
        lease: Lease,
        settled: Result<Option<bytes::Bytes>, Ending>,
    ) -> Result<Settings, Ending> {
        let cleaning = Cleaning::after(self.session.leftovers());
        self.session.detach();
        self.registration.set_server(None);
        match settled {
            Ok(None) => {
                let reported = lease.backend.settings.baseline().clone();
                lease.check_in(cleaning, Instant::now());
                Ok(reported)
            }
            Ok(Some(body)) => {
                lease.check_in(Cleaning::SoftReset, Instant::now());
                error::with_severity(&mut self.link.output, &body, "FATAL");
                Err(Ending::ServerFatal(Fatal::new(&ErrorFields::read(&body))))
            }
            Err(ending) => {
                lease.evict(CloseReason::Broken);
                Err(ending.before_settings())
            }
        }
    }
}
