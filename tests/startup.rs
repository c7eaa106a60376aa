//! The first packets of a connection (`protocol-flow.html#PROTOCOL-FLOW-START-UP`).

use std::time::{Duration, Instant};

use super::support::events::{Event, line};
use super::support::*;

/// The events of a login attempt.
fn attempt(target: &Target, packet: &[u8]) -> String {
    line(&target.open().log_in(packet, &target.password))
}

#[test]
fn the_welcome_has_the_order_and_the_parameters_of_postgresql() {
    let seen = both(|target| {
        let mut raw = target.open();
        let packet =
            target.startup(V3_0, &[("application_name", "o'br\\ien"), ("DateStyle", "sql, dmy")]);
        let events = raw.log_in(&packet, &target.password);
        let mut letters: Vec<char> = Vec::new();
        for event in &events {
            if let Event::Message(letter, _) = event
                && letters.last() != Some(letter)
            {
                letters.push(*letter);
            }
        }
        let mut lines = vec![letters.iter().collect(), line(&events[events.len() - 1..])];
        lines.extend(raw.parameters.iter().map(|(name, value)| format!("{name}={value}")));
        lines
    });
    assert_eq!(seen[..2], ["RSKZ", "Z[I]"]);
    assert!(seen.contains(&"DateStyle=SQL, DMY".to_owned()), "{seen:?}");
}

#[test]
fn an_ssl_request_without_tls_is_declined_and_the_login_goes_on() {
    let seen = both(|target| {
        let mut raw = target.open();
        raw.send(&ssl_request());
        let declined = String::from_utf8_lossy(&raw.bytes(1)).into_owned();
        raw.log_in(&target.startup(V3_0, &[]), &target.password);
        vec![declined, raw.ask(&query("select 1"))]
    });
    assert_eq!(seen, ["N", "T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_second_ssl_request_is_a_protocol_we_do_not_speak() {
    let seen = both(|target| {
        let mut raw = target.open();
        raw.send(&ssl_request());
        let declined = String::from_utf8_lossy(&raw.bytes(1)).into_owned();
        raw.send(&ssl_request());
        vec![declined, line(&raw.rest())]
    });
    assert_eq!(seen, ["N", "E[FATAL 0A000] EOF"]);
}

#[test]
fn encryption_is_answered_once_for_each_kind() {
    // Not compared: a PostgreSQL built with GSSAPI would answer `G`.
    let stage = Stage::new(&Setup::servers(1));
    for (kinds, version) in [
        ([gssenc_request(), ssl_request()], "1234.5679"),
        ([ssl_request(), gssenc_request()], "1234.5680"),
    ] {
        let mut raw = stage.weir.target().open();
        for request in &kinds {
            raw.send(request);
            assert_eq!(raw.bytes(1), b"N");
        }
        raw.send(&kinds[1]);
        let refused = format!(
            "E[FATAL 0A000 unsupported frontend protocol {version}: server supports 3.0 to 3.2] EOF"
        );
        assert_eq!(events::detailed(&raw.rest()), refused);
    }
}

#[test]
fn a_length_word_out_of_range_ends_the_connection_without_a_word() {
    let seen = both(|target| {
        let lengths = [0_u32, 3, 7, 10_005, 0x7fff_ffff, 0xffff_ffff];
        let attempts = lengths.map(|len| {
            let mut raw = target.open();
            raw.send(&[&len.to_be_bytes()[..], &V3_0.to_be_bytes()].concat());
            line(&raw.rest())
        });
        attempts.to_vec()
    });
    assert_eq!(seen, ["EOF"; 6]);
}

/// Nothing is allocated for what a length word claims.
#[test]
fn a_length_word_costs_no_memory() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    stage.client().rows("select 1");
    let claim = |len: u32| {
        let mut raw = target.open();
        raw.send(&[&len.to_be_bytes()[..], &V3_0.to_be_bytes()].concat());
        raw
    };
    let before = resident_kib(stage.weir.pid());
    // The last is allowed, and its connections wait for the rest of their packets.
    let lengths = [0, 3, 7, 10_005, 0x7fff_ffff, 0xffff_ffff, 10_004];
    let open: Vec<Raw> = lengths.into_iter().cycle().take(140).map(claim).collect();
    wait_until("all are taken", || stage.weir.metric("pgweir_logins_total", "protocol") >= 120.0);
    let grown = resident_kib(stage.weir.pid()).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more for {} connections", open.len());
}

#[test]
fn a_tls_hello_where_tls_is_off_ends_the_connection_without_a_word() {
    let seen = both(|target| {
        let mut raw = target.open();
        raw.send(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        vec![line(&raw.rest())]
    });
    assert_eq!(seen, ["EOF"]);
}

#[test]
fn unknown_protocol_options_are_named_before_the_login() {
    let seen = both(|target| {
        let options = [("_pq_.foo", "1"), ("application_name", "x"), ("_pq_.bar", "2")];
        let mut raw = target.open();
        let events = raw.log_in(&target.startup(V3_0, &options), &target.password);
        vec![line(&events[..2]), raw.ask(&query("show application_name"))]
    });
    assert_eq!(seen, ["v[3.0 _pq_.foo _pq_.bar] R[10]", "T D(x) C[SHOW] Z[I]"]);
}

#[test]
fn minor_versions_are_negotiated() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    let first = |version| {
        let mut raw = target.open();
        let events = raw.log_in(&target.startup(version, &[]), &target.password);
        assert!(events.last().is_some_and(|event| event.is('Z')), "{events:?}");
        (events[0].to_string(), raw.key.len())
    };
    assert_eq!(first(V3_0), ("R[10]".into(), 8));
    assert_eq!(first(0x0003_0001), ("v[3.0 ]".into(), 8));
    assert_eq!(first(V3_2), ("R[10]".into(), 36));
    assert_eq!(first(0x0003_0000 + 9999), ("v[3.2 ]".into(), 36));
}

#[test]
fn other_major_versions_are_refused() {
    let seen = both(|target| {
        vec![
            attempt(target, &target.startup(0x0004_0000, &[])),
            refused_in_the_old_way(target, 1).to_string(),
            // PostgreSQL 13 is the last that speaks it.
            (major() == 13 || refused_in_the_old_way(target, 2)).to_string(),
        ]
    });
    assert_eq!(seen, ["E[FATAL 0A000] EOF", "true", "true"]);
    let stage = Stage::new(&Setup::servers(1));
    assert!(refused_in_the_old_way(&stage.weir.target(), 2));
}

/// Whether a major protocol version is refused in the format of errors that version 2 had.
fn refused_in_the_old_way(target: &Target, version: u32) -> bool {
    let mut raw = target.open();
    raw.send(&target.startup(version << 16, &[]));
    let answer = String::from_utf8_lossy(&raw.bytes(usize::MAX)).into_owned();
    let start = format!("EFATAL:  unsupported frontend protocol {version}.0");
    answer.starts_with(&start) && answer.ends_with("\n\0")
}

#[test]
fn a_malformed_startup_packet_is_refused() {
    let seen = both(|target| {
        let good = target.startup(V3_0, &[]);
        let body = &good[4..];
        vec![
            attempt(target, &packet(&body[..body.len() - 1])),
            attempt(target, &packet(&[body, b"junk"].concat())),
            attempt(target, &startup(V3_0, &[("database", "postgres")])),
            attempt(target, &startup(V3_0, &[("user", ""), ("database", "postgres")])),
        ]
    });
    assert_eq!(
        seen,
        ["E[FATAL 08P01] EOF", "E[FATAL 08P01] EOF", "E[FATAL 28000] EOF", "E[FATAL 28000] EOF"]
    );
}

#[test]
fn without_a_database_it_is_named_as_the_user() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let alias = format!(
        "[databases.app]\nhost = \"127.0.0.1\"\nport = {}\ndbname = \"{}\"\ntls = \"disable\"",
        cluster.port(),
        database.name()
    );
    let stage = Stage::on(database, &Setup::servers(1).tables(&alias));
    let target = stage.weir.target();
    for parameters in [&[("user", "app")][..], &[("user", "app"), ("database", "")]] {
        let mut raw = target.open();
        raw.log_in(&startup(V3_0, parameters), &target.password);
        assert_eq!(raw.value("select current_database()"), stage.database.name());
    }
}

#[test]
fn an_unknown_database_is_refused_as_postgresql_does() {
    let seen = both(|target| {
        let nowhere = Target { database: "nowhere".into(), ..target.clone() };
        let events = nowhere.open().log_in(&nowhere.startup(V3_0, &[]), &nowhere.password);
        vec![line(&events[events.len() - 2..])]
    });
    assert_eq!(seen, ["E[FATAL 3D000] EOF"]);
}

#[test]
fn startup_settings_follow_the_client_to_every_server() {
    let stage = Stage::new(&Setup::servers(2));
    let options = "-c work_mem=9MB --statement-timeout=5s";
    let [mut client, mut twin] =
        [(); 2].map(|()| stage.weir.target().connect_with(&[("options", options)]));
    let mut other = stage.client();
    let mut pids = std::collections::BTreeSet::new();
    for round in 0..4 {
        // In every second round the server that has the settings is held, so that both are met.
        twin.rows(if round % 2 == 0 { "commit" } else { "begin; select pg_backend_pid()" });
        pids.insert(client.value("select pg_backend_pid()"));
        assert_eq!(client.value("show work_mem"), "9MB");
        assert_eq!(client.value("show statement_timeout"), "5s");
        assert_eq!(other.value("show work_mem"), "4MB");
    }
    assert_eq!(pids.len(), 2, "{pids:?}");
}

#[test]
fn startup_settings_are_taken_in_the_order_of_postgresql() {
    let seen = both(|target| {
        let cases: [&[(&str, &str)]; 3] = [
            &[("WORK_MEM", "7MB"), ("options", "-c work_mem=9MB")],
            &[("options", "-cwork_mem=9MB --statement_timeout=5s -c application_name=a\\ b")],
            &[("work_mem", "5MB"), ("work_mem", "6MB")],
        ];
        let show = "show work_mem; show statement_timeout; show application_name";
        cases.iter().map(|case| target.connect_with(case).ask(&query(show))).collect()
    });
    assert!(seen[0].starts_with("T D(7MB) C[SHOW] T D(0)"), "{seen:?}");
}

#[test]
fn reset_returns_to_the_startup_value() {
    let seen = both(|target| {
        let mut client = target.connect_with(&[("timezone", "Asia/Tokyo"), ("work_mem", "9MB")]);
        let resets = ["set timezone to utc", "reset all", "show timezone", "show work_mem"];
        resets.iter().map(|sql| reported_late(&client.ask(&query(sql)))).collect()
    });
    assert_eq!(seen[2..], ["T D(Asia/Tokyo) C[SHOW] Z[I]", "T D(9MB) C[SHOW] Z[I]"]);
}

#[test]
fn a_bad_startup_setting_fails_that_client_only() {
    let seen = both(|target| {
        let mut other = target.connect();
        let tail = |parameters: &[(&str, &str)]| {
            let packet = target.startup(V3_0, parameters);
            let events = target.open().log_in(&packet, &target.password);
            events::detailed(&events[events.len() - 2..])
        };
        vec![
            tail(&[("work_mem", "bogus")]),
            tail(&[("nosuch", "1")]),
            tail(&[("options", "-c nosuch=1")]),
            other.ask(&query("select 1")),
        ]
    });
    assert_eq!(
        seen,
        [
            "E[FATAL 22023 invalid value for parameter \"work_mem\": \"bogus\"] EOF",
            "E[FATAL 42704 unrecognized configuration parameter \"nosuch\"] EOF",
            "E[FATAL 42704 unrecognized configuration parameter \"nosuch\"] EOF",
            "T D(1) C[SELECT 1] Z[I]",
        ]
    );
}

#[test]
fn logins_are_counted_by_what_became_of_them() {
    let stage = Stage::new(&Setup::servers(1).timeouts("checkout = \"200ms\""));
    let target = stage.weir.target();
    let count =
        |result: &str| stage.weir.count("pgweir_logins_total", &format!("result=\"{result}\""));
    let mut holder = target.connect();
    let refused = attempt(&target, &target.startup(V3_0, &[("work_mem", "much")]));
    assert!(refused.ends_with("E[FATAL 22023] EOF"), "{refused}");
    wait_until("its setting was refused", || count("refused") == 1);
    holder.rows("begin");
    let late = attempt(&target, &target.startup(V3_0, &[("work_mem", "7MB")]));
    assert!(late.ends_with("E[FATAL 53300] EOF"), "{late}");
    wait_until("it got no server", || count("no_server") == 1);
    assert_eq!((count("accepted"), count("server_failed")), (1, 0));
}

#[test]
fn replication_is_refused_with_a_reason() {
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    for value in ["database", "true", "on", "1"] {
        let seen = attempt(&target, &target.startup(V3_0, &[("replication", value)]));
        assert!(seen.ends_with("E[FATAL 0A000] EOF"), "{seen}");
    }
    let seen = attempt(&target, &target.startup(V3_0, &[("replication", "off")]));
    assert!(seen.ends_with("Z[I]"), "{seen}");
}

#[test]
fn a_query_instead_of_the_password_is_refused() {
    let seen = both(|target| {
        let mut raw = target.challenged();
        raw.send(&query("select 1"));
        vec![line(&raw.rest())]
    });
    assert_eq!(seen, ["E[FATAL 08P01] EOF"]);
}

#[test]
fn a_query_sent_together_with_the_password_is_answered() {
    let seen = both(|target| {
        let mut raw = target.open();
        raw.eager = [query("select 'early'"), extended("select 2"), sync()].concat();
        raw.log_in(&target.startup(V3_0, &[]), &target.password);
        vec![line(&raw.ready(2))]
    });
    assert_eq!(seen, ["T D(early) C[SELECT 1] Z[I] 1 2 D(2) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_startup_packet_in_single_bytes_is_understood() {
    let seen = both(|target| {
        let mut raw = target.open();
        let packet = target.startup(V3_0, &[]);
        let (last, first) = packet.split_last().expect("a packet");
        for byte in first {
            raw.send(&[*byte]);
        }
        raw.log_in(&[*last], &target.password);
        vec![raw.ask(&query("select 1"))]
    });
    assert_eq!(seen, ["T D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_client_that_never_finishes_its_login_is_closed() {
    let stage = Stage::new(&Setup::servers(1).timeouts("login = \"1s\""));
    let target = stage.weir.target();
    let began = Instant::now();
    let mut silent = target.open();
    let mut halfway = target.challenged();
    let mut slow = target.open();
    let packet =
        target.startup(V3_0, &[("application_name", "0123456789012345678901234567890123")]);
    for byte in packet {
        slow.send(&[byte]);
        if slow.within(Duration::from_millis(100)).contains(&Event::Eof) {
            break;
        }
    }
    assert_eq!(line(&halfway.rest()), "E[FATAL 08P01] EOF");
    assert!(silent.rest().contains(&Event::Eof));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_search_path_of_a_client_does_not_reach_the_user_lookup() {
    let database = Cluster::shared().database();
    // Written without schemas: what the path says first is what is read.
    let setup = database.auth_query();
    let auth = setup.auth.replace(
        "select * from public.user_lookup($1)",
        "select rolname::text, rolpassword from pg_authid where rolname = $1",
    );
    assert!(auth.contains("from pg_authid"), "{auth}");
    let setup = Setup { auth: auth + "cache_ttl = 0\n", ..setup };
    let planted = scram::verifier("planted", b"salt of the planter");
    database.admin().rows(&format!(
        "create role looked_up login password 'found'; \
         grant select on pg_catalog.pg_authid to lookup; \
         create schema evil; grant usage on schema evil to public; \
         create table evil.pg_authid as select 'looked_up' as rolname, '{planted}' as rolpassword; \
         grant select on evil.pg_authid to public"
    ));
    let stage = Stage::on(database, &setup);
    let path = [("search_path", "evil, pg_catalog")];
    let target = stage.weir.target().as_user("looked_up", "found");
    let mut client = target.connect_with(&path);
    assert_eq!(client.value("show search_path"), "evil, pg_catalog");
    assert_eq!(client.value("select count(*) from pg_authid"), "1", "the client sees its own path");
    for _ in 0..3 {
        let packet = target.startup(V3_0, &path);
        let seen = line(&target.open().log_in(&packet, "planted"));
        assert!(seen.ends_with("E[FATAL 28P01] EOF"), "{seen}");
        assert_eq!(target.connect_with(&path).value("select 1"), "1");
    }
}
