//! Servers against real PostgreSQL, and against what is none: opened, checked, cleaned, cancelled,
//! closed, with the slot of the host held for exactly as long as there is a backend.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Buf;
use pgweir::auth::{Password, ServerCredential};
use pgweir::clock::Instant;
use pgweir::config::Share;
use pgweir::config::{self, ChannelBindingMode, ServerTls, ServerTlsMode};
use pgweir::host::{Host, HostLimits, Owner};
use pgweir::metrics::{Metrics, PoolMetrics, ServerState};
use pgweir::net::Target;
use pgweir::server::{
    self, Broken, CancelOutcome, Cleaning, Entry, OpenError, OpenRequest, Opened, Server,
};
use pgweir::wire::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::cluster::APP_PASSWORD;
use super::support::{Cluster, Database, copy_data, extended, parse, query, sync};

/// A database, and a host with a single slot.
pub(super) struct Ground {
    pub(super) database: Database,
    pub(super) target: Target,
    host: Arc<Host>,
    metrics: PoolMetrics,
}

/// What differs from an ordinary opening.
#[derive(Default)]
struct Wanted<'a> {
    dbname: Option<&'a str>,
    credential: Option<ServerCredential>,
    init_query: Option<&'a str>,
    time: Option<Duration>,
}

impl Ground {
    pub(super) fn new() -> Self {
        let database = Cluster::shared().database();
        let port = database.cluster().port();
        Self::at(database, port)
    }

    fn at(database: Database, port: u16) -> Self {
        let metrics = Metrics::new();
        let limits = HostLimits { host: Share::Count(1), ..HostLimits::NONE };
        Self {
            target: target(port),
            host: Host::new(limits, metrics.host("test")),
            metrics: metrics.pool("test", "app"),
            database,
        }
    }

    pub(super) async fn open(&self) -> Server {
        self.try_open(Wanted::default()).await.expect("a server").server
    }

    fn owner(&self) -> Owner {
        Owner { database: self.database.name().into(), user: "app".into() }
    }

    async fn try_open(&self, wanted: Wanted<'_>) -> Result<Opened, OpenError> {
        let slot = self.host.take(self.owner(), soon()).await.expect("a slot");
        let password = || ServerCredential::Password(Password::new(APP_PASSWORD));
        let request = OpenRequest {
            target: &self.target,
            dbname: wanted.dbname.unwrap_or(self.database.name()),
            user: "app",
            credential: wanted.credential.unwrap_or_else(password),
            remembered: None,
            init_query: wanted.init_query,
            deadline: Instant::now() + wanted.time.unwrap_or(Duration::from_secs(10)),
            close_timeout: Duration::from_secs(5),
            lifetime: Duration::from_hours(1),
            generation: 0,
            statement_limit: 100,
            id: 1,
            entry: Entry::new(self.metrics.server(ServerState::Connecting), Arc::default(), 1),
            slot,
        };
        let permit = request.slot.permit().await;
        server::open(request, permit).await
    }

    /// Waits for the slot, and asserts that there was no backend any more when it became free.
    async fn assert_slot_follows_backend(&self) {
        let _slot = self.host.take(self.owner(), soon()).await.expect("the slot becomes free");
        assert_eq!(self.backends(), "0");
    }

    /// Waits until the server runs `pg_sleep`: a cancel that comes before does nothing.
    fn wait_until_asleep(&self) {
        let mut admin = self.database.admin();
        let sql = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' \
             and datname = current_database()";
        let started = Instant::now();
        while admin.value(sql) != "1" {
            assert!(started.elapsed() < Duration::from_secs(10), "it never sleeps");
        }
    }

    fn backends(&self) -> String {
        let sql = format!(
            "select count(*) from pg_stat_activity where usename = 'app' and datname = '{}'",
            self.database.name()
        );
        self.database.cluster().admin("postgres").value(&sql)
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn target(port: u16) -> Target {
    let database = config::Database {
        host: "127.0.0.1".into(),
        port,
        dbname: None,
        user: None,
        password: None,
        tls: ServerTls {
            mode: ServerTlsMode::Disable,
            ca: None,
            channel_binding: ChannelBindingMode::Prefer,
        },
        init_query: None,
        max_servers: None,
        listen: None,
        pooling: None,
        observe: None,
    };
    Target::new(&database).expect("a target")
}

/// Sends bytes as a client's lease would.
pub(super) async fn send(server: &mut Server, bytes: &[u8]) {
    server.link.output.extend_from_slice(bytes);
    server.link.flush().await.expect("bytes are sent");
}

/// Reads messages up to one of this type, and returns their types and that one's body.
pub(super) async fn until(server: &mut Server, tag: u8) -> (String, Vec<u8>) {
    let mut seen = String::new();
    loop {
        if let Some(header) = frame::backend(&server.link.input).expect("a header")
            && server.link.input.len() >= header.total()
        {
            seen.push(char::from(header.tag));
            server.link.input.advance(frame::HEADER);
            let body = server.link.input.split_to(header.body).to_vec();
            if header.tag == tag {
                return (seen, body);
            }
            continue;
        }
        let more = server.link.input.len() + 1;
        assert!(server.link.fill(more).await.expect("bytes are read"), "ended after {seen}");
    }
}

/// The one value that a query gives.
pub(super) async fn value(server: &mut Server, sql: &str) -> String {
    send(server, &query(sql)).await;
    let (_, row) = until(server, b'D').await;
    until(server, b'Z').await;
    String::from_utf8(row.get(6..).unwrap_or_default().to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_logs_in_by_scram_and_its_keys_spare_the_password() {
    let ground = Ground::new();
    let opened = ground.try_open(Wanted::default()).await.unwrap();
    let mut server = opened.server;
    assert_eq!(server.backend.settings.reported().get("server_encoding"), Some(&b"UTF8"[..]));
    assert!(server.cancel_key.is_some());
    assert_eq!(value(&mut server, "select current_user").await, "app");
    assert!(server.close(Duration::from_secs(5)).await);
    ground.assert_slot_follows_backend().await;

    let keys = opened.keys.expect("keys of a login by SCRAM");
    let credential = Some(ServerCredential::ScramKeys(keys));
    let again = ground.try_open(Wanted { credential, ..Wanted::default() }).await.unwrap();
    assert!(again.server.close(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusting_postgresql_asks_for_nothing() {
    let cluster = Cluster::start(pgweir::demo::postgres::Options {
        hba: Some(
            "host all app 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n".into(),
        ),
        ..Default::default()
    });
    let ground = Ground::at(cluster.database(), cluster.port());
    let credential = Some(ServerCredential::None);
    let opened = ground.try_open(Wanted { credential, ..Wanted::default() }).await.unwrap();
    assert!(opened.keys.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_says_why_and_gives_its_slot_back() {
    let ground = Ground::new();
    let credential = Some(ServerCredential::Password(Password::new("wrong")));
    let error = ground.try_open(Wanted { credential, ..Wanted::default() }).await.unwrap_err();
    assert!(error.is_bad_credential() && !error.retry(), "{error}");
    assert_eq!(error.for_client().map(|e| e.code().to_vec()), Some(b"28P01".to_vec()));
    ground.assert_slot_follows_backend().await;

    let wanted = Wanted { dbname: Some("nowhere"), ..Wanted::default() };
    let error = ground.try_open(wanted).await.unwrap_err();
    assert!(matches!(&error, OpenError::Refused { authenticated: true, .. }), "{error}");
    assert_eq!(
        error.for_client().unwrap().fields().message,
        b"database \"nowhere\" does not exist"
    );
    ground.assert_slot_follows_backend().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_init_query_holds_through_every_reset() {
    let ground = Ground::new();
    let init_query = Some("set statement_timeout = '7s'; set timezone = 'Asia/Tokyo'");
    let opened = ground.try_open(Wanted { init_query, ..Wanted::default() }).await.unwrap();
    let mut server = opened.server;
    let tokyo = Some(&b"Asia/Tokyo"[..]);
    assert_eq!(server.backend.settings.reported().get("TimeZone"), tokyo);
    for cleaning in [Cleaning::SoftReset, Cleaning::DiscardAll] {
        value(&mut server, "select set_config('timezone', 'UTC', false)").await;
        server.clean(cleaning, soon()).await.unwrap();
        assert_eq!(value(&mut server, "show statement_timeout").await, "7s");
        assert_eq!(server.backend.settings.reported().get("TimeZone"), tokyo);
    }
    drop(server);
    ground.assert_slot_follows_backend().await;

    let init_query = Some("select 1 / 0");
    let error = ground.try_open(Wanted { init_query, ..Wanted::default() }).await.unwrap_err();
    assert!(matches!(&error, OpenError::InitQuery(e) if e.code() == b"22012"), "{error}");
    ground.assert_slot_follows_backend().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_leaves_nothing_that_is_not_known_of() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    let soil = "set work_mem = '7MB'; create temp table t (); select pg_advisory_lock(1); listen x";
    let traces = "select (select count(*) from pg_prepared_statements) || ' ' || \
         (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) \
         || ' ' || (select count(*) from pg_listening_channels()) || ' ' || \
         coalesce(to_regclass('pg_temp.t')::text, 'none') || ' ' || \
         current_setting('work_mem')";
    for cleaning in [Cleaning::SoftReset, Cleaning::DiscardAll] {
        // A soft reset keeps the statements of sessions (tests/cleaning.rs); of this one no session knows.
        send(&mut server, &[parse("stray", "select 1"), sync(), query(soil)].concat()).await;
        until(&mut server, b'Z').await;
        until(&mut server, b'Z').await;
        server.clean(cleaning, soon()).await.unwrap();
        assert_eq!(value(&mut server, traces).await, "0 0 0 none 4MB", "{cleaning:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_inside_a_transaction_is_not_well() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    server.check(soon()).await.unwrap();
    send(&mut server, &query("begin")).await;
    until(&mut server, b'Z').await;
    assert!(matches!(server.check(soon()).await, Err(Broken::Status(b'T'))));
    assert!(matches!(
        server.clean(Cleaning::DiscardAll, soon()).await,
        Err(Broken::Refused(error)) if error.code() == b"25001"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_that_was_ended_is_stale() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    assert!(!server.is_stale());
    let pid = server.cancel_key.as_ref().expect("a key").key.pid;
    ground.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
    assert!(server.link.fill(1).await.unwrap(), "a FATAL comes");
    assert!(server.is_stale());
    assert!(server.close(Duration::from_secs(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_server_keeps_its_slot_until_its_backend_is_gone() {
    let ground = Ground::new();
    for _ in 0..20 {
        drop(ground.open().await);
        ground.assert_slot_follows_backend().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_close_is_dropped_in_time() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    send(&mut server, &query("select pg_sleep(3)")).await;
    // It cannot be cancelled.
    (server.at_rest, server.cancel_key) = (false, None);
    let started = Instant::now();
    assert!(!server.close(Duration::from_millis(200)).await);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_closed_at_its_work_is_cancelled_until_it_ends() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    let work = [query("select pg_sleep(60)"), query("select pg_sleep(60)")].concat();
    send(&mut server, &work).await;
    server.at_rest = false;
    assert!(server.close(Duration::from_secs(20)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_hits_what_runs_and_a_moot_one_nothing() {
    let ground = Ground::new();
    let mut server = ground.open().await;
    let address = server.cancel_key.clone().expect("a key");
    send(&mut server, &query("select pg_sleep(60)")).await;
    ground.wait_until_asleep();
    let (wanted, moot) = (AtomicBool::new(true), AtomicBool::new(false));
    let cancel = |still| server::cancel(&address, still, soon());
    assert_eq!(cancel(&moot).await, CancelOutcome::Moot);
    assert_eq!(cancel(&wanted).await, CancelOutcome::Sent);
    let (_, error) = until(&mut server, b'E').await;
    assert!(error.windows(5).any(|code| code == b"57014"));
    until(&mut server, b'Z').await;
    // Settled means that no signal is on its way: these are never hit.
    for _ in 0..100 {
        assert_eq!(cancel(&wanted).await, CancelOutcome::Sent);
        assert_eq!(value(&mut server, "select 1").await, "1");
    }
}

#[tokio::test]
async fn nobody_there_can_be_waited_for() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ground = Ground::at(Cluster::shared().database(), port);
    let error = ground.try_open(Wanted::default()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable(_)) && error.retry(), "{error}");
    ground.assert_slot_follows_backend().await;
}

#[tokio::test]
async fn what_is_no_postgresql_is_found_out_and_left() {
    let huge = [&b"S\x3f\xff\xff\x00"[..], &b"x".repeat(100_000)].concat();
    let many = b"S\0\0\0\x08a\0b\0".repeat(200);
    let ok = b"R\0\0\0\x08\0\0\0\0";
    for (name, script) in [
        ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("length", b"R\0\0\0\x01".to_vec()),
        ("empty authentication", b"R\0\0\0\x04".to_vec()),
        ("ready before authentication", b"Z\0\0\0\x05I".to_vec()),
        ("negotiation", b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0".to_vec()),
        ("in a transaction", [&ok[..], b"Z\0\0\0\x05T"].concat()),
        ("no status", [&ok[..], b"Z\0\0\0\x04"].concat()),
        ("long parameter", [&ok[..], &huge].concat()),
        ("many parameters", [&ok[..], &many].concat()),
        ("parameter without end", [&ok[..], b"S\0\0\0\x06ab"].concat()),
        ("long key", [&ok[..], b"K\0\0\x02\x08", &[7; 516]].concat()),
        ("error without fields", b"E\0\0\0\x04".to_vec()),
        ("error without end", b"E\0\0\0\x08SFAT".to_vec()),
        ("end", Vec::new()),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(&script).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1024]).await;
        });
        let ground = Ground::at(Cluster::shared().database(), port);
        let started = Instant::now();
        let credential = Some(ServerCredential::None);
        let wanted = Wanted { credential, ..Wanted::default() };
        let error = ground.try_open(wanted).await.expect_err(name);
        assert_eq!(error.retry(), name == "end", "{name}: {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
    }
}

#[tokio::test]
async fn a_silent_host_costs_no_more_than_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut ground = Ground::at(Cluster::shared().database(), port);
    ground.target = target(port);
    let accepted = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Reads to the end, so that the close is answered.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    });
    let wanted = Wanted { time: Some(Duration::from_millis(200)), ..Wanted::default() };
    let error = ground.try_open(wanted).await.unwrap_err();
    assert!(matches!(error, OpenError::TimedOut) && error.retry(), "{error}");
    accepted.await.unwrap().unwrap();
    ground.assert_slot_follows_backend().await;
}

/// Bytes of an unfinished COPY into `t`, in the extended protocol.
pub(super) fn extended_copy() -> Vec<u8> {
    [extended("copy t from stdin"), copy_data("1\n")].concat()
}
