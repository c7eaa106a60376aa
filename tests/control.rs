//! The control plane against real PostgreSQL: who is let in, and at what cost in connections.

use std::sync::Arc;
use std::time::Duration;

use pgweir::auth::{Iterations, Key, Lookup, Mock, Secret};
use pgweir::config::Share;
use pgweir::config::{ChannelBindingMode, DEFAULT_AUTH_QUERY, Password, ServerTls, ServerTlsMode};
use pgweir::control::{Control, ControlError, ControlTarget, Users};
use pgweir::host::{Host, HostLimits, Owner};
use pgweir::metrics::Metrics;
use pgweir::net::Target;
use tokio::io::AsyncWriteExt;

use pgweir::clock::Instant;
use pgweir::demo::postgres::Options;

use super::support::cluster::LOOKUP_PASSWORD;
use super::support::{Cluster, Database};

/// A database with a control plane that logs in as the superuser.
struct Plane {
    database: Database,
    host: Arc<Host>,
    control: Control,
}

impl Plane {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ControlTarget)) -> Self {
        let database = Cluster::shared().database();
        let limits = HostLimits { host: Share::Count(2), ..HostLimits::NONE };
        let host = Host::new(limits, Metrics::new().host("test"));
        let cluster = database.cluster();
        let mut target = ControlTarget {
            server: server(cluster.port()),
            dbname: database.name().into(),
            user: "postgres".into(),
            password: Some(Password::new(cluster.postgres().password())),
            slots: Arc::clone(&host),
            slot_wait: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            close: Duration::from_secs(5),
        };
        change(&mut target);
        let control = Control::new(target);
        Self { database, host, control }
    }

    fn users(&self, query: &str, ttl: Duration) -> Users {
        let mock = Mock::new(Key::new([7; 32]), Iterations::DEFAULT);
        Users::new(self.control.clone(), query.into(), ttl, mock)
    }

    /// Runs statements as the superuser.
    fn run(&self, sql: &str) {
        self.database.admin().rows(sql);
    }

    /// The control plane's backends, as PostgreSQL sees them.
    fn backends(&self) -> String {
        let sql = format!(
            "select count(*) from pg_stat_activity \
             where application_name = 'pgweir-control' and datname = '{}'",
            self.database.name()
        );
        format!("{:?}", self.database.cluster().admin("postgres").rows(&sql))
    }

    /// A name for a role of this test's own: roles belong to the cluster.
    fn role(&self, what: &str) -> String {
        format!("{}_{what}", self.database.name())
    }
}

/// PostgreSQL on a port of this machine, without TLS.
fn server(port: u16) -> Target {
    server_in(ServerTlsMode::Disable, port)
}

fn server_in(mode: ServerTlsMode, port: u16) -> Target {
    let tls = ServerTls { mode, ca: None, channel_binding: ChannelBindingMode::Prefer };
    let database = pgweir::config::Database {
        host: "127.0.0.1".into(),
        port,
        dbname: None,
        user: None,
        password: None,
        tls,
        init_query: None,
        max_servers: None,
        listen: None,
        pooling: None,
        observe: None,
    };
    Target::new(&database).expect("no file is read")
}

fn told(lookup: &Result<Lookup, ControlError>) -> String {
    match lookup {
        Ok(Lookup::Found(account)) => match account.secret() {
            Secret::Plain(_) => "plain".into(),
            Secret::Scram(_) => "scram".into(),
            Secret::Md5(_) => "md5".into(),
        },
        Ok(Lookup::Refused(refusal)) => format!("{refusal:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn roles_are_judged_as_postgresql_judges_them() {
    let plane = Plane::new();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    for (what, options, expected) in [
        ("usual", "login password 'x'", "scram"),
        ("later", "login password 'x' valid until '2100-01-01'", "scram"),
        ("forever", "login password 'x' valid until 'infinity'", "scram"),
        ("expired", "login password 'x' valid until 'yesterday'", "Expired"),
        ("never", "login password 'x' valid until '-infinity'", "Expired"),
        ("group", "nologin password 'x'", "NoLogin"),
        ("bare", "login", "NoPassword"),
    ] {
        let role = plane.role(what);
        plane.run(&format!("create role {role} {options}"));
        assert_eq!(told(&users.look_up(&role).await), expected, "{what}");
        plane.run(&format!("drop role {role}"));
        assert_eq!(told(&users.look_up(&role).await), "Unknown", "{what}, dropped");
    }
}

#[tokio::test]
async fn no_password_is_given_in_the_clear() {
    let hba = "host all lookup all password\nhost all all all scram-sha-256\n";
    let cluster =
        Cluster::start(Options { limit: Some(5), hba: Some(hba.into()), ..Options::default() });
    for mode in [ServerTlsMode::Disable, ServerTlsMode::Prefer] {
        let plane = Plane::with(|target| {
            target.server = server_in(mode, cluster.port());
            target.dbname = "postgres".into();
            target.user = "lookup".into();
            target.password = Some(Password::new(LOOKUP_PASSWORD));
        });
        let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
        let said = told(&users.look_up("app").await);
        assert!(said.contains("asks for the password in the clear"), "{mode:?}: {said}");
    }
}

/// Whoever is there may claim a message of any length, and tell parameters without end.
#[tokio::test]
async fn a_server_that_says_more_than_a_look_up_has_is_left() {
    let ok = b"R\0\0\0\x08\0\0\0\0";
    let value = [&b"a\0"[..], &b"x".repeat(60_000), b"\0"].concat();
    let parameter = [&b"S"[..], &(value.len() as u32 + 4).to_be_bytes(), &value].concat();
    for (script, expected) in [
        (b"R\x3f\xff\xff\x00".to_vec(), "a message of 1073741564 bytes"),
        ([&ok[..], &parameter.repeat(20)].concat(), "an answer of"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let script = script.clone();
                tokio::spawn(async move {
                    let _ = stream.write_all(&script).await;
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                });
            }
        });
        let plane = Plane::with(|target| target.server = server(port));
        let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
        let said = told(&users.look_up("app").await);
        assert!(said.contains(expected), "{said}");
        serving.abort();
    }
}

#[tokio::test]
async fn names_that_no_role_can_have_are_not_asked_for() {
    let plane = Plane::new();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    for name in ["", "postgres\0x", &"x".repeat(64)] {
        assert_eq!(told(&users.look_up(name).await), "Unknown");
    }
    assert_eq!(plane.host.used(), 0);
    for name in ["' or true --", "POSTGRES", " postgres", "postgres ", "*"] {
        assert_eq!(told(&users.look_up(name).await), "Unknown");
    }
}

#[tokio::test]
async fn a_query_that_finds_somebody_else_lets_nobody_in() {
    let plane = Plane::new();
    let users = plane.users("select 'postgres'::text, $1 || 'secret'", Duration::ZERO);
    assert_eq!(told(&users.look_up("mallory").await), "Unknown");
    assert_eq!(told(&users.look_up("postgres").await), "plain");
}

#[tokio::test]
async fn shadowing_objects_change_nothing() {
    let plane = Plane::new();
    let (role, other) = (plane.role("victim"), plane.role("other"));
    plane.run(&format!("create role {role} login password 'x' valid until 'yesterday'"));
    plane.run(&format!(
        "create schema evil; \
         create table evil.pg_authid as \
           select '{role}'::name rolname, 'known'::text rolpassword, \
                  null::timestamptz rolvaliduntil, true rolcanlogin; \
         create function evil.same(name, name) returns bool language sql as 'select true'; \
         create operator evil.= (leftarg = name, rightarg = name, function = evil.same); \
         create function evil.clock_timestamp() returns timestamptz language sql as \
           $$select '1970-01-01'::timestamptz$$; \
         alter database {} set search_path = evil, pg_catalog; \
         alter role postgres in database {} set search_path = evil, pg_catalog",
        plane.database.name(),
        plane.database.name(),
    ));
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    assert_eq!(told(&users.look_up(&role).await), "Expired");
    assert_eq!(told(&users.look_up(&other).await), "Unknown");
    let connection = plane.control.connection().await.unwrap();
    let path: String = connection.query_one("show search_path", &[]).await.unwrap().get(0);
    assert_eq!(path, "pg_catalog");
}

#[tokio::test]
async fn look_ups_at_the_same_time_share_one_query() {
    let plane = Plane::new();
    plane.run(
        "create sequence public.asked; \
         create function public.find(wanted text, out name text, out secret text) \
         language plpgsql as $$ begin \
           perform nextval('public.asked'); perform pg_sleep(0.2); \
           name := wanted; secret := 's' || currval('public.asked'); end $$",
    );
    let ttl = Duration::from_mins(1);
    let users = Arc::new(plane.users("select * from public.find($1)", ttl));
    let ask = |user: &'static str| {
        let users = Arc::clone(&users);
        tokio::spawn(async move { told(&users.look_up(user).await) })
    };
    let asking: Vec<_> = (0..30).map(|_| ask("a")).collect();
    let (leaving, other) = (ask("b"), ask("b"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    leaving.abort();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), "plain");
    }
    assert_eq!(other.await.unwrap(), "plain");
    assert_eq!(told(&users.look_up("a").await), "plain");
    let asked = plane.database.admin().rows("select last_value <= 3 from public.asked");
    assert!(format!("{asked:?}").contains('t'), "{asked:?}");
}

#[tokio::test]
async fn answers_are_believed_until_forgotten_or_expired() {
    let plane = Plane::new();
    let role = plane.role("app");
    plane.run(&format!("create role {role} login password 'x' valid until 'infinity'"));
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::from_mins(1));
    assert_eq!(told(&users.look_up(&role).await), "scram");
    plane.run(&format!("alter role {role} nologin"));
    assert_eq!(told(&users.look_up(&role).await), "scram");
    users.forget(&role);
    assert_eq!(told(&users.look_up(&role).await), "NoLogin");

    plane.run(&format!(
        "do $$ begin execute format('alter role {role} login valid until %L', \
         clock_timestamp() + interval '700 ms'); end $$"
    ));
    users.forget(&role);
    assert_eq!(told(&users.look_up(&role).await), "scram");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(told(&users.look_up(&role).await), "Expired", "cached past its expiry");
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_refusal() {
    let nowhere = Plane::with(|target| {
        target.server = server(1);
        target.slot_wait = Duration::from_millis(200);
    });
    let users = nowhere.users(DEFAULT_AUTH_QUERY, Duration::from_mins(1));
    let error = users.look_up("a").await.unwrap_err();
    assert!(matches!(error, ControlError::Connect(_)), "{error:?}");

    let stranger = Plane::with(|target| target.password = Some(Password::new("wrong")));
    let users = stranger.users(DEFAULT_AUTH_QUERY, Duration::from_mins(1));
    let error = users.look_up("a").await.unwrap_err();
    assert!(matches!(error, ControlError::Login(_)), "{error:?}");
    assert!(error.to_string().contains("28P01"), "{error}");
    assert!(!format!("{error:?}").contains("wrong"));

    let plane = Plane::new();
    for (query, expected) in [
        ("select $1::text", "1 columns"),
        ("select $1::text, 's'::text from generate_series(1, 2)", "2 rows"),
        ("select $1::text, 's'::text, 'tomorrow'::text", "column 3"),
        ("select $1::text, 1", "column 2"),
        ("select nonsense, $1::text", "42703"),
        ("select $1::text, pg_sleep(60)::text", "57014"),
    ] {
        let quick = Plane::with(|target| target.connect = Duration::from_millis(500));
        let plane = if query.contains("sleep") { &quick } else { &plane };
        let users = plane.users(query, Duration::from_mins(1));
        let told = told(&users.look_up("a").await);
        assert!(told.contains(expected), "{query}: {told}");
    }
}

#[tokio::test]
async fn a_slot_is_held_from_before_connecting_until_the_backend_is_gone() {
    let plane = Plane::new();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    assert_eq!(told(&users.look_up("nobody").await), "Unknown");
    assert_eq!(plane.host.used(), 1);
    let one = plane.backends();
    plane.control.close();
    let deadline = Instant::now() + Duration::from_secs(5);
    while plane.host.used() > 0 {
        assert!(Instant::now() < deadline, "the slot was not given back");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let none = plane.backends();
    assert!(one.contains('1') && !none.contains('1') && none.contains('0'), "{one} {none}");
    assert!(matches!(users.look_up("nobody").await, Err(ControlError::Closed)));
}

#[tokio::test]
async fn without_a_slot_nothing_is_opened() {
    let plane = Plane::with(|target| target.slot_wait = Duration::from_millis(100));
    let owner = Owner { database: plane.database.name().into(), user: "app".into() };
    let soon = Instant::now() + Duration::from_secs(5);
    let first = plane.host.take(owner.clone(), soon).await.unwrap();
    let second = plane.host.take(owner.clone(), soon).await.unwrap();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    let error = users.look_up("nobody").await.unwrap_err();
    assert!(matches!(error, ControlError::Full(_)), "{error:?}");
    assert!(plane.backends().contains('0'));
    drop((first, second));
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_who_waits() {
    let plane = Plane::new();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    assert_eq!(told(&users.look_up("nobody").await), "Unknown");
    let owner = Owner { database: plane.database.name().into(), user: "app".into() };
    let deadline = Instant::now() + Duration::from_secs(5);
    let held = plane.host.take(owner.clone(), deadline).await.unwrap();
    let second = plane.host.take(owner.clone(), deadline).await;
    assert!(second.is_ok(), "{second:?}");
    drop((held, second));
    assert_eq!(told(&users.look_up("nobody").await), "Unknown");
}

#[tokio::test]
async fn a_connection_that_postgresql_ended_is_replaced_unseen() {
    let plane = Plane::new();
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(told(&users.look_up("nobody").await), "Unknown");
        plane.run(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where application_name = 'pgweir-control' and datname = '{}'",
            plane.database.name()
        ));
    }
    assert!(plane.host.used() <= 2);
}

#[tokio::test]
async fn a_look_up_waits_for_a_server_that_is_starting() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let plane = Plane::with(|target| target.server = server(addr.port()));
    let postgres = plane.database.cluster().port();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
        let (mut ours, _) = listener.accept().await.unwrap();
        let mut theirs = tokio::net::TcpStream::connect(("127.0.0.1", postgres)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    });
    let users = plane.users(DEFAULT_AUTH_QUERY, Duration::ZERO);
    assert_eq!(told(&users.look_up("nobody").await), "Unknown");
}
