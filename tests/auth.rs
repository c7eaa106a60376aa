//! How clients prove who they are (`sasl-authentication.html`).

use std::time::Duration;

use super::support::events::{Event, detailed, line};
use super::support::raw::sasl_initial;
use super::support::weir::free_addr;
use super::support::*;

/// Everything a login saw, with texts.
fn login(target: &Target) -> Vec<Event> {
    target.open().log_in(&target.startup(V3_0, &[]), &target.password)
}

/// What one SASLInitialResponse is answered with.
fn initial(target: &Target, mechanism: &str, len: i32, data: &str) -> String {
    let mut raw = target.challenged();
    raw.send(&sasl_initial(mechanism, len, data.as_bytes()));
    let first = raw.event();
    if first.is('E') { line(&[first, raw.event()]) } else { line(&[first]) }
}

fn first_message(target: &Target, data: &str) -> String {
    initial(target, "SCRAM-SHA-256", data.len() as i32, data)
}

/// The settings of a pgweir as they hold, and the warnings, as `pgweir check` shows them.
fn check(weir: &Weir, env: &[(String, String)]) -> String {
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(["check", "--config"])
        .arg(weir.config_path())
        .envs(env.iter().cloned())
        .output()
        .expect("pgweir check");
    let streams = [&check.stdout, &check.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let shown = streams.concat();
    assert!(check.status.success(), "{shown}");
    shown
}

#[test]
fn check_tells_which_databases_and_users_postgresql_lets_in() {
    let database = Cluster::shared().database();
    let name = database.name().to_owned();
    let tables = format!(
        "[users.wrong]\npassword = \"secret-of-nobody\"\n[users.proven]\nsecret = \"{VERIFIER}\"\n\
         [databases.nowhere]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"app\"\npassword = \"app\"\n",
        free_addr().port()
    );
    let setup = Setup { secret: cluster::APP_PASSWORD.into(), ..database.auth_query() }
        .tables(&tables)
        .timeouts("server_connect = \"500ms\"");
    let stage = Stage::on(database, &setup);
    let (code, lines) = reach(&stage.weir);
    assert_eq!(code, Some(1), "{lines:?}");
    for (start, told) in [
        (format!("# {name} as app: PostgreSQL "), " connections for such roles"),
        (format!("# {name} as wrong: FAILED: the login was refused: 28P01"), ""),
        (format!("# {name} as proven: not tried: "), "client's own login"),
        ("# nowhere as app: FAILED: ".to_owned(), "refused"),
        (format!("# {name} as lookup, looking users up: it can"), ""),
    ] {
        let found = lines.iter().any(|line| line.starts_with(&start) && line.contains(told));
        assert!(found, "{start} {told}: {lines:?}");
    }
    assert!(!lines.join("").contains("secret-"), "{lines:?}");
    // Where all are let in, all is well.
    let stage = Stage::new(&Setup { secret: cluster::APP_PASSWORD.into(), ..Setup::servers(1) });
    let (code, lines) = reach(&stage.weir);
    assert_eq!(code, Some(0), "{lines:?}");
}

/// The exit code of `pgweir check --connect`, and what it tells of logins.
fn reach(weir: &Weir) -> (Option<i32>, Vec<String>) {
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_pgweir"));
    check.args(["check", "--connect", "--config"]).arg(weir.config_path());
    let output = check.output().expect("pgweir check");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = told.lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect();
    (output.status.code(), lines)
}

/// Of some password.
const VERIFIER: &str = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn an_unknown_user_cannot_be_told_from_a_wrong_password() {
    let seen = both(|target| {
        let users = [("app", "wrong"), ("app", ""), ("nobody_such", "wrong")];
        let events = users.map(|(user, password)| {
            detailed(&login(&target.as_user(user, password))).replace(user, "USER")
        });
        events.to_vec()
    });
    let refused = "E[FATAL 28P01 password authentication failed for user \"USER\"] EOF";
    // After the challenge, however the server's final message is written down.
    assert!(seen.iter().all(|line| line.ends_with(refused)), "{seen:?}");
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn whoever_guesses_passwords_waits_and_nobody_else_does() {
    let setup = Setup { auth: "delay_after = 3\n".into(), ..Setup::servers(1) };
    let stage = Stage::new(&setup);
    let target = stage.weir.target();
    let began = std::time::Instant::now();
    for (user, password) in [("app", "wrong"), ("nobody_such", "wrong")].repeat(2) {
        login(&target.as_user(user, password));
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    // In the place of the next guess, which is not answered yet.
    let mut raw = target.as_user("app", "wrong").challenged();
    let initial = sasl_initial("SCRAM-SHA-256", 11, b"n,,n=,r=abc");
    raw.send(&initial);
    let Event::Message('R', _) = raw.event() else { panic!("no challenge") };
    raw.send(&message('p', b"c=biws,r=abc,p=AAAA"));
    assert_eq!(stage.client().value("select 1"), "1");
    assert!(line(&raw.rest()).ends_with("EOF"));
}

#[test]
fn those_who_guess_passwords_shut_nobody_out() {
    let setup = Setup { auth: "delay_after = 1\n".into(), ..Setup::servers(1) };
    let stage = Stage::new(&setup.limits("max_logins = 8"));
    let target = stage.weir.target().as_user("app", "wrong");
    // All but the first two are kept back, for longer each time, and take all places there are: who finds none comes
    // again.
    let guess = || {
        let target = target.clone();
        std::thread::spawn(move || {
            let answers = std::iter::repeat_with(|| line(&login(&target)));
            let mut answers = answers.inspect(|_| std::thread::sleep(Duration::from_millis(5)));
            answers.find(|answer| answer != "EOF").expect("an answer")
        })
    };
    let guesses: Vec<_> = (0..24).map(|_| guess()).collect();
    wait_until("somebody comes in", || {
        // Not while all who are there are still being asked who they are.
        let answer = line(&login(&stage.weir.target()));
        answer.contains("Z[I]") && guesses.iter().any(|guess| !guess.is_finished())
    });
    let answers: Vec<_> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    assert!(answers.iter().any(|answer| answer == "R[10] EOF"), "one gave way: {answers:?}");
    assert!(answers.iter().any(|answer| answer.contains("E[FATAL 28P01]")), "{answers:?}");
}

#[test]
fn a_client_that_leaves_while_its_user_is_looked_up_keeps_no_place() {
    let database = Cluster::shared().database();
    let middleman = Middleman::before(database.cluster());
    let mut setup = database.auth_query().behind(&middleman);
    setup.timeouts = "checkout = \"1h\"\nserver_connect = \"1h\"".into();
    let stage = Stage::on(database, &setup);
    middleman.set(Fault::Silence);
    let target = stage.weir.target().as_user("somebody", "x");
    let mut raw = target.open();
    raw.send(&target.startup(V3_0, &[]));
    drop(raw);
    // The first is the connection by which the test knows that pgweir accepts.
    wait_until("it is gone", || stage.weir.count("pgweir_logins_total", "gone") == 2);
}

#[test]
fn who_is_looked_up_is_told_that_there_is_no_such_database() {
    let database = Cluster::shared().database();
    database.admin().rows("create role lost login password 'x'");
    let setup = database.auth_query();
    let stage = Stage::on(database, &setup);
    let mut target = stage.weir.target().as_user("lost", "x");
    target.database = "nowhere".into();
    assert!(line(&login(&target)).ends_with("E[FATAL 3D000] EOF"));
    let wrong = target.as_user("lost", "y");
    assert!(line(&login(&wrong)).ends_with("E[FATAL 28P01] EOF"));
}

#[test]
fn an_unknown_user_is_given_the_same_salt_again() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target().as_user("nobody_such", "wrong");
    let salt = || {
        let mut raw = target.challenged();
        raw.send(&sasl_initial("SCRAM-SHA-256", 11, b"n,,n=,r=abc"));
        let Event::Message('R', body) = raw.event() else { panic!("no challenge") };
        let text = String::from_utf8_lossy(&body[4..]).into_owned();
        text.split(',').skip(1).collect::<Vec<_>>().join(",")
    };
    let first = salt();
    assert!(first.starts_with("s=") && first.ends_with("i=4096"), "{first}");
    assert_eq!(salt(), first);
}

#[test]
fn the_name_inside_the_exchange_is_ignored() {
    let seen = both(|target| {
        let mut raw = target.open();
        raw.scram_user = "somebody-else".into();
        raw.log_in(&target.startup(V3_0, &[]), &target.password);
        vec![raw.ask(&query("select current_user"))]
    });
    assert_eq!(seen, ["T D(app) C[SELECT 1] Z[I]"]);
}

#[test]
fn malformed_first_messages_are_refused_as_postgresql_does() {
    let seen = both(|target| {
        vec![
            initial(target, "SCRAM-SHA-256", 99_999, "n,,n=,r=abc"),
            initial(target, "SCRAM-SHA-256", -1, ""),
            initial(target, "SCRAM-SHA-1", 11, "n,,n=,r=abc"),
            initial(target, "", 11, "n,,n=,r=abc"),
            initial(target, "SCRAM-SHA-256", 3, "n,,n=,r=abc"),
            first_message(target, "n,a=app,n=,r=abc"),
            first_message(target, "n,,m=x,n=,r=abc"),
            first_message(target, "p=tls-unique,,n=,r=abc"),
            first_message(target, "p=tls-server-end-point,,n=,r=abc"),
            first_message(target, "x,,n=,r=abc"),
            first_message(target, "n,,n=,r="),
            first_message(target, "n,,n=,r=a\u{7}c"),
            first_message(target, "n,,n="),
            first_message(target, ""),
        ]
    });
    let refused = |code| format!("E[FATAL {code}] EOF");
    assert_eq!(seen[0], refused("08P01"));
    assert_eq!(seen[1], "R[11]");
    assert_eq!(seen[2], refused("08P01"));
    assert_eq!(seen[5..7], [refused("0A000"), refused("0A000")]);
}

#[test]
fn a_client_without_channel_binding_may_say_so_without_tls() {
    let seen = both(|target| vec![first_message(target, "y,,n=,r=abc")]);
    assert_eq!(seen, ["R[11]"]);
}

#[test]
fn malformed_final_messages_are_refused_as_postgresql_does() {
    let seen = both(|target| {
        let answer = |change: &dyn Fn(&str) -> String| {
            let mut raw = target.challenged();
            raw.send(&sasl_initial("SCRAM-SHA-256", 11, b"n,,n=,r=abc"));
            let Event::Message('R', body) = raw.event() else { panic!("no challenge") };
            let first = String::from_utf8_lossy(&body[4..]).into_owned();
            let (last, _) = scram::final_message(&target.password, "n=,r=abc", &first);
            raw.send(&message('p', change(&last).as_bytes()));
            line(&raw.until('E'))
        };
        vec![
            answer(&|last| last.replace("r=abc", "r=abd")),
            answer(&|last| last.replace("c=biws", "c=eSws")),
            answer(&|last| last.replace(",p=", ",p=AAAA")),
            answer(&|last| last.split(",p=").next().unwrap_or_default().to_owned()),
            answer(&|last| format!("{last},x=1")),
            answer(&|_| String::new()),
            answer(&|last| last.replace(",p=", ",p=!")),
            answer(&|_| "c=biws".repeat(300)),
        ]
    });
    assert_eq!(seen[0], "E[FATAL 08P01]");
}

#[test]
fn an_overlong_password_message_ends_the_connection() {
    let seen = both(|target| {
        let cases = [framed('p', 70_000, b"x"), framed('p', 3, b""), framed('p', 0xffff_ffff, b"")];
        let answers = cases.map(|bytes| {
            let mut raw = target.challenged();
            raw.send(&bytes);
            // PostgreSQL 15 says 28P01 first; saying nothing is as good.
            let last = raw.rest().pop();
            last.map(|event| event.to_string()).unwrap_or_default()
        });
        answers.to_vec()
    });
    assert_eq!(seen, ["EOF"; 3]);
}

#[test]
fn servers_are_opened_by_the_clients_own_key() {
    let stage = Stage::new(&Setup::servers(3));
    // Whatever file or variable a password could be from, it would be shown as plain text here.
    let settings = check(&stage.weir, &[]);
    assert!(settings.contains("secret = \"*** (SCRAM verifier)\""), "{settings}");
    assert!(!settings.contains("(plain text)"), "{settings}");

    let mut clients: Vec<Raw> = (0..3).map(|_| stage.client()).collect();
    for client in &mut clients {
        client.rows("begin");
    }
    let pids = clients.iter_mut().map(|client| client.value("select pg_backend_pid()"));
    let pids: std::collections::BTreeSet<String> = pids.collect();
    assert_eq!(pids.len(), 3);
    assert!(!stage.weir.log().contains(cluster::APP_PASSWORD));
}

#[test]
fn the_effective_settings_show_no_secret() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "secret-7-of-a-file\n").expect("a password file");
    let file = file.path().display().to_string();
    let tables = format!(
        "[users.plain]\npassword = \"secret-1-of-a-client\"\n\
         [users.plain_secret]\nsecret = \"secret-2-of-a-client\"\n\
         server_password = \"secret-3-of-a-server\"\n\
         [users.by_variable]\npassword_env = \"CLIENT_SECRET\"\n\
         [users.by_file]\npassword_file = \"{file}\"\nserver_password_file = \"{file}\"\n\
         [databases.forced]\nhost = \"h\"\nuser = \"u\"\npassword = \"secret-4-of-a-database\"\n"
    );
    let auth = "query_user = \"q\"\nquery_password = \"secret-5-of-the-lookup\"\n".to_owned();
    let env = vec![("CLIENT_SECRET".to_owned(), "secret-6-of-a-variable".to_owned())];
    let setup = Setup { auth, env: env.clone(), ..Setup::servers(1).tables(&tables) };
    let stage = Stage::new(&setup);
    let dsn = "postgres://upstream:secret-8-of-the-upstream@h/d";
    let shown = check(&stage.weir, &[&env[..], &[("PGWEIR_UPSTREAM".into(), dsn.into())]].concat());
    for there in ["max_servers", "by_variable", "by_file", "plain_secret", "forced", "upstream"] {
        assert!(shown.contains(there), "{there}: {shown}");
    }
    for text in [shown.as_str(), &stage.weir.log()] {
        assert!(!text.contains("secret-"), "{text}");
        assert!(!text.contains("SCRAM-SHA-256$"), "{text}");
    }
}

#[test]
fn users_are_looked_up_and_their_new_passwords_seen() {
    let database = Cluster::shared().database();
    let setup = database.auth_query();
    let stage = Stage::on(database, &setup);
    let mut admin = stage.database.admin();
    admin.rows("create role changing login password 'old'");
    let target = |password| stage.weir.target().as_user("changing", password);
    let mut early = target("old").connect();
    assert_eq!(early.value("select current_user"), "changing");

    admin.rows("alter role changing password 'new'");
    wait_until("the new password is known", || {
        login(&target("new")).last().is_some_and(|event| event.is('Z'))
    });
    let old = login(&target("old"));
    assert!(line(&old).ends_with("E[FATAL 28P01] EOF"), "{old:?}");
    // A new server for the new key, while the early client keeps the first busy.
    early.rows("begin");
    assert_eq!(target("new").connect().value("select current_user"), "changing");
}

/// A pool that logs in by a client's key, whose role then gets another password, either with a salt
/// of its own (the key visibly no longer fits) or with the same (PostgreSQL has to say so).
#[test]
fn a_key_that_postgresql_no_longer_takes_is_forgotten() {
    for (role, same_salt) in [("rekeyed", false), ("rekeyed_same_salt", true)] {
        let database = Cluster::shared().database();
        let setup = database.auth_query();
        // What is looked up would be believed for longer than the test lasts.
        let setup = Setup { auth: setup.auth + "cache_ttl = \"1h\"\n", ..setup };
        let stage = Stage::on(database, &setup.limits("max_servers = 2"));
        let mut admin = stage.database.admin();
        let secret = |password: &str| {
            if same_salt {
                scram::verifier(password, b"the same salt")
            } else {
                password.to_owned()
            }
        };
        let (old, new) = (secret("old"), secret("new"));
        admin.rows(&format!("create role {role} login password '{old}'"));
        let target = |password| stage.weir.target().as_user(role, password);
        let (mut early, mut waiting) = (target("old").connect(), target("old").connect());
        early.rows("begin");
        admin.rows(&format!("alter role {role} password '{new}'"));
        // Who waits is served by what is there, as long as that is.
        waiting.send(&query("select 1"));
        wait_until("it waits", || stage.weir.metric("pgweir_clients_waiting", "") >= 1.0);
        early.rows("commit");
        assert!(detailed(&waiting.ready(1)).ends_with("C[SELECT 1] Z[I]"));
        admin.rows(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"
        ));
        let servers = || stage.weir.metric("pgweir_servers", "state=\"idle\"");
        wait_until("they are gone", || servers() < 1.0);

        let refused =
            format!("E[ERROR 28P01 password authentication failed for user \"{role}\"] Z[I]");
        // Refused by PostgreSQL, and then for want of anything else to try.
        assert_eq!(waiting.ask_in_detail(&query("select 1")), refused);
        waiting.send(&query("select 1"));
        let seen = waiting.ready(1);
        assert_eq!(detailed(&seen), refused);
        assert!(seen[0].field('H').starts_with("Connect again"), "{}", seen[0].field('H'));
        let client = std::cell::OnceCell::new();
        wait_until("the new password is looked up", || {
            let mut raw = target("new").open();
            let events = raw.log_in(&target("new").startup(V3_0, &[]), "new");
            let ready = events.last().is_some_and(|event| event.is('Z'));
            ready && client.set(raw).is_ok()
        });
        let mut client = client.into_inner().expect("a client");
        assert_eq!(client.value("select current_user"), role);
        assert!(line(&login(&target("old"))).ends_with("E[FATAL 28P01] EOF"));
    }
}

#[test]
fn a_login_that_pgweir_has_nothing_for_says_which_setting_is_missing() {
    let setup = Setup { method: "trust".into(), ..Setup::servers(1) };
    let stage = Stage::new(&setup);
    let seen = login(&stage.weir.target());
    let refused = "E[FATAL 28P01 password authentication failed for user \"app\"] EOF";
    assert!(detailed(&seen).ends_with(refused), "{seen:?}");
    let hint = seen.iter().map(|event| event.field('H')).collect::<String>();
    assert!(hint.contains("users.app.server_password"), "{hint}");
}

#[test]
fn expired_and_locked_roles_are_refused() {
    let database = Cluster::shared().database();
    let setup = database.auth_query();
    let stage = Stage::on(database, &setup);
    let mut admin = stage.database.admin();
    admin.rows("create role expired login password 'x' valid until '2001-01-01'");
    admin.rows("create role locked nologin password 'x'");
    admin.rows("create role empty login");
    admin.rows("create role valid login password 'x' valid until '2901-01-01'");
    for (user, welcome) in
        [("expired", false), ("locked", false), ("empty", false), ("valid", true)]
    {
        for target in [&stage.database.target(), &stage.weir.target()] {
            let events = login(&target.as_user(user, "x"));
            let ready = events.last().is_some_and(|event| event.is('Z'));
            assert_eq!(ready, welcome, "{user}: {events:?}");
        }
    }
    let events = login(&stage.weir.target().as_user("expired", "x"));
    assert!(line(&events).ends_with("E[FATAL 28P01] EOF"), "{events:?}");
}

#[test]
fn the_log_says_why_a_login_was_refused() {
    let database = Cluster::shared().database();
    let setup = database.auth_query();
    let stage = Stage::on(database, &setup);
    let hash = "md5d504967f44e0c6062c7e5c2a8d42aac1";
    let roles = ["hashed_once", "hashed_too"];
    for role in roles {
        stage.database.admin().rows(&format!("create role {role} login password '{hash}'"));
    }
    let forged = "eve\n2026-01-01T00:00:00Z  INFO pgweir: all is well";
    for user in [roles[0], roles[1], roles[0], "app", "app", forged] {
        let events = login(&stage.weir.target().as_user(user, "wrong"));
        assert!(line(&events).ends_with("E[FATAL 28P01] EOF"), "{user}: {events:?}");
    }
    let reasons = [
        ("hashed_once", "is an md5 hash, which SCRAM cannot check"),
        ("hashed_too", "is an md5 hash, which SCRAM cannot check"),
        ("\"app", "the password is wrong"),
        ("eve", "there is no such user"),
    ];
    wait_until("the last is logged", || stage.weir.log().contains("no such user"));
    let log = stage.weir.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("did not get in")).collect();
    assert_eq!(refused.len(), reasons.len(), "{log}");
    for (line, (user, reason)) in refused.iter().zip(reasons) {
        assert!(line.contains(" INFO ") && line.contains(user) && line.contains(reason), "{line}");
    }
    let warned = log.lines().filter(|line| line.contains(" WARN ") && line.contains("md5 hash"));
    assert_eq!(warned.count(), 1, "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");
}

#[test]
fn a_burst_of_first_logins_looks_each_user_up_once() {
    let database = Cluster::shared().database();
    let setup = database.auth_query();
    database.admin().rows(
        "create sequence public.asked; \
         create function public.counted(wanted text, out name text, out secret text) \
         language plpgsql security definer set search_path = pg_catalog as $$ begin \
         perform nextval('public.asked'), pg_sleep(0.3); \
         select rolname, rolpassword into name, secret from pg_authid where rolname = wanted; \
         end $$; \
         create role crowd login password 'x'",
    );
    let auth = setup.auth.replace("public.user_lookup", "public.counted") + "cache_ttl = \"1h\"\n";
    let setup = Setup { auth, ..setup };
    let stage = Stage::on(database, &setup.limits("max_servers = 2"));
    let target = stage.weir.target().as_user("crowd", "x");
    let logins: Vec<_> = (0..20)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || target.connect().value("select 1"))
        })
        .collect();
    assert!(logins.into_iter().all(|login| login.join().expect("a login") == "1"));
    let asked = stage.database.admin().value("select last_value from public.asked");
    assert_eq!(asked, "1");
    let counted = stage.weir.metric("pgweir_user_lookups_total", "result=\"found\"");
    assert!((counted - 1.0).abs() < 0.5, "{counted} look-ups are counted");
}

/// One login after the other, so that the machine's load is shared by all kinds.
#[test]
fn an_unknown_user_is_refused_as_fast_as_a_wrong_password() {
    const ROUNDS: usize = 25;
    let database = Cluster::shared().database();
    let mut setup = database.auth_query();
    setup.auth.push_str("delay_after = 0\n");
    database.admin().rows("create role timed login password 'x'");
    let stage = Stage::on(database, &setup);
    let target = stage.weir.target();
    // Configured, looked up, and not there; a cached answer is the usual case for each.
    let kinds = ["app", "timed", "nobody_such"].map(|name| target.as_user(name, "wrong"));
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (kind, times) in kinds.iter().zip(&mut times) {
            let began = std::time::Instant::now();
            login(kind);
            times.push(began.elapsed());
        }
    }
    let medians = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    });
    let (least, most) = (medians.iter().min(), medians.iter().max());
    // Deriving a verifier for one kind alone would make it several times slower.
    let apart = most.zip(least).map(|(most, least)| most.as_secs_f64() / least.as_secs_f64());
    eprintln!("medians: {medians:?}");
    // On a busy machine times prove nothing.
    if std::env::var_os("PGWEIR_TEST_TIMES").is_some() {
        assert!(apart.is_some_and(|apart| apart < 2.5), "medians: {medians:?}");
    }
}

#[test]
fn after_a_restart_the_first_client_brings_the_key() {
    let setup = Setup::servers(2).limits("min_idle = 1");
    let database = Cluster::shared().database();
    let backends = format!(
        "select count(*) from pg_stat_activity where usename = 'app' and datname = '{}'",
        database.name()
    );
    let mut admin = database.admin();
    for start in ["first", "second"] {
        let weir = Weir::start(&database, &setup);
        // min_idle asks for a server, and without a client there is nothing to log in with.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(admin.value(&backends), "0", "{start} start");
        assert_eq!(weir.target().connect().value("select current_user"), "app", "{start} start");
        assert_ne!(admin.value(&backends), "0", "{start} start");
        drop(weir);
        wait_until("the servers have ended", || admin.value(&backends) == "0");
    }
}
