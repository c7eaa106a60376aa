//! TLS on both sides (`ssl-tcp.html`, `libpq-ssl.html`).

use pgweir::demo::postgres::Options;

use super::support::events::line;
use super::support::raw::sasl_initial;
use super::support::*;

/// A pgweir with TLS towards its clients.
fn stage(certificate: &Certificate, mode: &str) -> Stage {
    Stage::new(&Setup::servers(2).tables(&certificate.table(mode)))
}

/// A connection that has asked for TLS and got it.
fn encrypted(target: &Target, certificate: &Certificate) -> Raw {
    let mut raw = target.open();
    raw.send(&ssl_request());
    assert_eq!(raw.bytes(1), b"S");
    raw.start_tls(certificate, &[]).expect("a TLS session");
    raw
}

fn log_in(raw: &mut Raw, target: &Target) -> String {
    let events = raw.log_in(&target.startup(V3_0, &[]), &target.password);
    line(&events[events.len().saturating_sub(2)..])
}

#[test]
fn clients_use_tls_as_they_like_where_it_is_allowed() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "allow");
    let target = stage.weir.target();
    let mut raw = encrypted(&target, &certificate);
    assert_eq!(log_in(&mut raw, &target), "K Z[I]");
    let big = query("select repeat('x', 1000000)");
    assert!(raw.ask(&big).ends_with("C[SELECT 1] Z[I]"));
    assert!(raw.cancel().is_empty());
    assert_eq!(raw.value("select 1"), "1");
    assert_eq!(target.connect().value("select 1"), "1");
    assert_eq!(stage.weir.count("pgweir_clients_tls", ""), 1);
    raw.send(&terminate());
    assert_eq!(line(&raw.rest()), "EOF");
    wait_until("it is gone", || stage.weir.count("pgweir_clients_tls", "") == 0);
}

#[test]
fn plaintext_behind_an_ssl_request_is_refused() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "allow");
    let target = stage.weir.target();
    let mut raw = target.open();
    raw.send(&[ssl_request(), target.startup(V3_0, &[])].concat());
    let answer = String::from_utf8_lossy(&raw.bytes(usize::MAX)).into_owned();
    // PostgreSQL says `S` first; before the error it makes no difference.
    let error = answer.strip_prefix('S').unwrap_or(&answer);
    assert!(error.starts_with('E') && error.contains("C08P01"), "{answer:?}");
    assert!(error.contains("received unencrypted data after SSL request"), "{answer:?}");
}

#[test]
fn plaintext_behind_a_gssapi_request_is_refused() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "allow");
    let target = stage.weir.target();
    let mut raw = target.open();
    raw.send(&[gssenc_request(), target.startup(V3_0, &[])].concat());
    let answer = String::from_utf8_lossy(&raw.bytes(usize::MAX)).into_owned();
    let error = answer.strip_prefix('N').unwrap_or(&answer);
    assert!(error.starts_with('E') && error.contains("C08P01"), "{answer:?}");
    let text = "received unencrypted data after GSSAPI encryption request";
    assert!(error.contains(text), "{answer:?}");
}

#[test]
fn direct_tls_needs_its_protocol_name() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "require");
    let target = stage.weir.target();
    let mut direct = target.open();
    direct.start_tls(&certificate, &["postgresql"]).expect("a TLS session");
    assert_eq!(log_in(&mut direct, &target), "K Z[I]");
    assert_eq!(direct.value("select 1"), "1");

    let mut unnamed = target.open();
    unnamed.start_tls(&certificate, &[]).expect("a TLS session");
    assert_eq!(line(&unnamed.rest()), "E[FATAL 08P01] EOF");

    let mut other = target.open();
    assert!(other.start_tls(&certificate, &["h2"]).is_err());
}

#[test]
fn where_tls_is_required_only_cancels_may_do_without() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "require");
    let target = stage.weir.target();
    let mut plain = target.open();
    assert_eq!(log_in(&mut plain, &target), "E[FATAL 28000] EOF");

    let mut raw = encrypted(&target, &certificate);
    assert_eq!(log_in(&mut raw, &target), "K Z[I]");
    for over_tls in [false, true] {
        raw.send(&query("select pg_sleep(30)"));
        let mut events = Vec::new();
        wait_until("the cancel hits", || {
            if over_tls {
                let mut canceller = encrypted(&target, &certificate);
                canceller.send(&cancel_request(&raw.key));
                assert_eq!(line(&canceller.rest()), "EOF");
            } else {
                raw.cancel();
            }
            events = raw.within(std::time::Duration::from_millis(100));
            !events.is_empty()
        });
        assert!(line(&events).ends_with("E[ERROR 57014] Z[I]"), "{events:?}");
    }
}

#[test]
fn tls_inside_tls_is_not_spoken() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "allow");
    let mut raw = encrypted(&stage.weir.target(), &certificate);
    raw.send(&ssl_request());
    let answer = line(&raw.rest());
    assert!(["EOF", "E[FATAL 0A000] EOF"].contains(&answer.as_str()), "{answer}");
}

#[test]
fn a_client_that_could_bind_the_channel_must_not_say_the_server_cannot() {
    let certificate = Certificate::for_loopback();
    let stage = stage(&certificate, "allow");
    let target = stage.weir.target();
    let mut raw = encrypted(&target, &certificate);
    raw.send(&target.startup(V3_0, &[]));
    let events::Event::Message('R', body) = raw.event() else { panic!("no challenge") };
    assert_eq!(&body[4..], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    raw.send(&sasl_initial("SCRAM-SHA-256", 11, b"y,,n=,r=abc"));
    let seen = line(&raw.rest());
    assert!(["E[FATAL 28000] EOF", "E[FATAL 08P01] EOF"].contains(&seen.as_str()), "{seen}");
}

#[test]
fn libpq_binds_the_channel_and_checks_the_certificate() {
    let certificate = Certificate::for_name("localhost");
    let stage = stage(&certificate, "require");
    let target = stage.weir.target();
    let cert = certificate.cert().display().to_string();
    let encrypted = |mode| {
        let environment = [
            ("PGHOST", "localhost"),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGCHANNELBINDING", "require"),
            ("PGSSLMODE", mode),
            ("PGSSLROOTCERT", &cert),
        ];
        psql(&target, &environment, "select 'encrypted'")
    };
    assert_eq!(encrypted("require"), "encrypted");
    assert_eq!(encrypted("verify-full"), "encrypted");
}

#[test]
fn a_renewed_certificate_is_read_at_a_reload() {
    let (old, new) = (Certificate::for_loopback(), Certificate::for_loopback());
    let stage = stage(&old, "allow");
    let target = stage.weir.target();
    let handshake = |trusted: &Certificate| {
        let mut raw = target.open();
        raw.send(&ssl_request());
        assert_eq!(raw.bytes(1), b"S");
        raw.start_tls(trusted, &[])
    };
    assert!(handshake(&new).is_err());
    old.replace_by(&new);
    stage.weir.signal("HUP");
    wait_until("the new certificate is shown", || handshake(&new).is_ok());
    stage.weir.signal("HUP");
    let reloads = || {
        let log = stage.weir.log();
        let lines = log.lines().filter(|line| line.contains("configuration reloaded"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("the same is read again", || reloads().len() == 2);
    let changed = |line: &String| line.contains("changed=[\"tls.cert\"]");
    assert_eq!(reloads().iter().map(changed).collect::<Vec<_>>(), [true, false]);
}

/// A PostgreSQL that lets only the superuser in without TLS.
fn tls_cluster(certificate: &Certificate) -> std::sync::Arc<Cluster> {
    let tls = Some((certificate.cert(), certificate.key()));
    let hba = "host all postgres all scram-sha-256\nhostssl all all all scram-sha-256\n";
    let options = Options { limit: Some(5), tls, hba: Some(hba.into()), ..Options::default() };
    Cluster::start(options)
}

/// A PostgreSQL with TLS and a pgweir that connects to it in one mode.
fn before_tls(certificate: &Certificate, mode: &str, ca: Option<&Certificate>) -> Stage {
    let cluster = tls_cluster(certificate);
    let ca = ca.map(|ca| format!("\nca = \"{}\"", ca.cert().display())).unwrap_or_default();
    // The plain setup says `tls = "disable"` and TOML takes a key once.
    let setup = Setup { server_tls: mode.into(), database: ca, ..Setup::servers(2) };
    Stage::on(cluster.database(), &setup)
}

const IS_ENCRYPTED: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[test]
fn servers_are_reached_by_tls_in_every_mode_that_has_it() {
    let certificate = Certificate::for_loopback();
    for (mode, ca) in [
        ("prefer", None),
        ("require", None),
        ("verify-ca", Some(&certificate)),
        ("verify-full", Some(&certificate)),
    ] {
        let stage = before_tls(&certificate, mode, ca);
        let (mut one, mut two) = (stage.client(), stage.client());
        one.rows("begin");
        for client in [&mut one, &mut two] {
            assert_eq!(client.value(IS_ENCRYPTED), "t", "{mode}");
        }
    }
}

/// A database that is reached as `localhost` in a mode that checks the name.
fn by_name(database: &Database, ca: &Certificate) -> String {
    format!(
        "[databases.by_name]\nhost = \"localhost\"\nport = {}\ndbname = \"{}\"\n\
         tls = \"verify-full\"\nca = \"{}\"\nchannel_binding = \"require\"\n",
        database.cluster().port(),
        database.name(),
        ca.cert().display()
    )
}

/// Both recipes of the manual put the host's name into the CN and nowhere else
/// (`ssl-tcp.html#SSL-CERTIFICATE-CREATION`).
#[test]
fn certificates_by_the_manuals_recipes_are_good_enough() {
    let own = Certificate::for_name("localhost");
    let (issued, ca) = Certificate::issued("localhost");
    for (recipe, certificate, ca) in [("self-signed", &own, &own), ("issued", &issued, &ca)] {
        let database = tls_cluster(certificate).database();
        let setup = database.auth_query().limits("max_servers = 2").tables(&by_name(&database, ca));
        let mut admin = database.admin();
        admin.rows("create role looked_up login password 'x'");
        let stage = Stage::on(database, &setup);
        let target = Target { database: "by_name".into(), ..stage.weir.target() };
        assert_eq!(target.connect().value(IS_ENCRYPTED), "t", "{recipe}");
        let mut looked_up = target.as_user("looked_up", "x").connect();
        assert_eq!(looked_up.value(IS_ENCRYPTED), "t", "{recipe}");
        let control = "select count(*) || ' ' || bool_and(ssl) from pg_stat_ssl \
                       join pg_stat_activity using (pid) where application_name = 'pgweir-control'";
        assert_eq!(admin.value(control), "1 true", "{recipe}");
    }
}

#[test]
fn a_look_up_tells_why_a_server_is_refused_too() {
    let certificate = Certificate::for_name("elsewhere");
    let database = tls_cluster(&certificate).database();
    let setup = database.auth_query().tables(&by_name(&database, &certificate));
    let stage = Stage::on(database, &setup);
    let target = Target { database: "by_name".into(), ..stage.weir.target() };
    let (code, message, hint) = refusal(&target.as_user("somebody", "x"));
    assert_eq!(code, "08001", "{message}");
    assert!(message.contains("look the user up: its certificate is for another host"), "{message}");
    assert!(hint.contains("verify-ca"), "{hint}");
    wait_until("the reason is logged", || stage.weir.log().contains("the server's certificate"));
}

/// The methods that are older than SCRAM; nothing else lets this role in.
#[test]
fn servers_that_ask_for_md5_or_a_cleartext_password_are_logged_in_to() {
    let certificate = Certificate::for_loopback();
    for (method, encryption) in [("md5", "md5"), ("password", "md5"), ("password", "scram-sha-256")]
    {
        let tls = Some((certificate.cert(), certificate.key()));
        let hba = format!("host all postgres all scram-sha-256\nhostssl all older all {method}\n");
        let options = Options { limit: Some(5), tls, hba: Some(hba), ..Options::default() };
        let database = Cluster::start(options).database();
        database.admin().rows(&format!(
            "set password_encryption = '{encryption}'; create role older login password 'olden'"
        ));
        let kind = "select lower(left(rolpassword, 3)) from pg_authid where rolname = 'older'";
        assert_eq!(database.admin().value(kind), encryption[..3]);
        let setup = Setup {
            server_tls: "require".into(),
            database: "user = \"older\"\npassword = \"olden\"".into(),
            ..Setup::servers(2)
        };
        let stage = Stage::on(database, &setup);
        assert_eq!(stage.client().value("select current_user"), "older", "{method}");
        let bound = Setup {
            database: format!("{}\nchannel_binding = \"require\"", setup.database),
            ..setup
        };
        let stage = Stage::on(stage.database.cluster().database(), &bound);
        let (code, message, _) = refusal(&stage.weir.target());
        assert_eq!(code, "08001", "{message}");
        wait_until("the reason is logged", || stage.weir.log().contains("channel binding"));
    }
}

/// Where anybody could listen, a password is not said.
#[test]
fn no_password_is_said_to_a_server_without_tls() {
    let hba = "host all postgres all scram-sha-256\nhost all older all password\n";
    let options = Options { limit: Some(5), hba: Some(hba.into()), ..Options::default() };
    let database = Cluster::start(options).database();
    database.admin().rows("create role older login password 'olden'");
    let setup =
        Setup { database: "user = \"older\"\npassword = \"olden\"".into(), ..Setup::servers(1) };
    let stage = Stage::on(database, &setup);
    let (code, message, _) = refusal(&stage.weir.target());
    assert_eq!(code, "08001", "{message}");
    assert!(message.ends_with("the proxy could not log in"), "{message}");
}

/// The FATAL that a login ends with: code, message and hint.
fn refusal(target: &Target) -> (String, String, String) {
    let seen = target.open().log_in(&target.startup(V3_0, &[]), &target.password);
    let error = seen.iter().find(|event| event.is('E')).expect("a refusal");
    (error.field('C'), error.field('M'), error.field('H'))
}

#[test]
fn a_server_whose_certificate_is_not_good_enough_is_refused_with_cause_and_remedy() {
    let (certificate, other) = (Certificate::for_name("elsewhere"), Certificate::for_loopback());
    for (mode, ca, cause, remedy) in [
        ("verify-ca", &other, "self-signed and not trusted", "databases.ALIAS.ca"),
        ("verify-full", &certificate, "certificate is for another host", "verify-ca"),
    ] {
        let stage = before_tls(&certificate, mode, Some(ca));
        let (code, message, hint) = refusal(&stage.weir.target());
        assert_eq!(code, "08001", "{mode}: {message}");
        assert!(message.contains(cause) && hint.contains(remedy), "{mode}: {message} {hint}");
        let said = format!("{message} {hint}");
        let path = ca.cert().display().to_string();
        assert!(!said.contains(&path) && !said.contains("127.0.0.1"), "{mode}: {said}");
        // The log is written behind the scenes.
        wait_until("the reason is logged", || {
            stage.weir.log().contains("the server's certificate")
        });
    }
}

#[test]
fn a_server_that_says_more_than_one_byte_before_tls_is_dropped() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    let setup = Setup {
        server_tls: "require".into(),
        timeouts: "checkout = \"1s\"".into(),
        ..Setup::servers(1)
    };
    let stage = Stage::on(cluster.database(), &setup.behind(&middleman));
    let target = stage.weir.target();
    // The second would be the start of an error of a server that is not known to be ours.
    for (answer, cause) in [
        ("SX", "it sent unencrypted bytes before the TLS handshake"),
        ("ESFATAL", "it cannot be reached"),
        ("N", "it does not offer TLS, which the proxy demands"),
        ("", "it cannot be reached"),
    ] {
        middleman.set(Fault::Answer(answer.into()));
        let failed = stage.weir.metric("pgweir_servers_failed_total", "");
        let (code, message, _) = refusal(&target);
        assert_eq!(code, "08001", "{answer}: {message}");
        assert!(message.ends_with(cause), "{answer}: {message}");
        let failed = stage.weir.metric("pgweir_servers_failed_total", "") - failed;
        assert!(failed >= 1.0, "{answer}: no attempt is counted");
    }
}
