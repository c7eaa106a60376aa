//! What a file may say, and how it is refused.

use std::time::Duration;

use super::*;
use crate::session::listening::ListenMode;
use crate::session::pooling::Pooling;

#[test]
fn defaults_hold_where_nothing_is_said() {
    let Loaded { config, .. } = load(LEAST);
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.listen[0].to_string(), DEFAULT_LISTEN);
    assert_eq!(config.http_listen, DEFAULT_HTTP_LISTEN.parse().ok());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.auth.method, AuthMethod::ScramSha256);
    assert_eq!(config.client_tls.mode, ClientTlsMode::Disable);
    let app = config.database("app").expect("the one named");
    assert_eq!((app.port, app.tls.mode), (5432, ServerTlsMode::Prefer));
    assert_eq!(app.dbname_for("app"), "app");
    assert!(config.database("other").is_none());
}

#[test]
fn a_whole_file_is_read() {
    let text = format!(
        r#"
        listen = ["127.0.0.1:6432", "[::1]:6432", "/run/pgweir/.s.PGSQL.6432"]
        http_listen = "off"
        workers = 2
        on_client_gone = "complete"
        [auth]
        method = "scram-sha-256"
        query_user = "lookup"
        query_dbname = "app"
        cache_ttl = "2s"
        [users.app]
        secret = '{VERIFIER}'
        [databases.app]
        host = "/run/postgresql"
        port = 6000
        dbname = "app_live"
        user = "app_owner"
        password = "hunter2"
        tls = "require"
        init_query = "SET search_path = app"
        max_servers = 5
        listen = "refuse"
        [databases."*"]
        host = "other"
        [limits]
        max_servers = 12
        min_idle = 3
        [timeouts]
        idle_in_transaction = 0
        checkout = 7
        server_lifetime = "1h 30m"
        [pins]
        listen = "pin"
        [log]
        level = "info,pgweir::pool=debug"
        json = true
        "#
    );
    let Loaded { config, .. } = load(&text);
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:6432", "[::1]:6432", "/run/pgweir/.s.PGSQL.6432"]);
    assert_eq!((config.http_listen, config.workers), (None, 2));
    assert_eq!(config.on_client_gone, OnClientGone::Complete);
    assert_eq!(config.auth.cache_ttl, Duration::from_secs(2));
    let query = config.auth.query.as_ref().expect("query_user is given");
    assert_eq!((query.user.as_str(), query.dbname.as_deref()), ("lookup", Some("app")));
    let app = config.database("app").expect("the one named");
    assert_eq!((app.port, app.max_servers), (6000, Some(Share::Count(5))));
    assert_eq!((app.listen, config.pins.listen), (Some(ListenMode::Refuse), ListenMode::Pin));
    assert_eq!(app.dbname_for("app"), "app_live");
    let other = config.database("else").expect("the fallback");
    assert_eq!(other.dbname_for("else"), "else");
    assert_eq!((config.limits.min_idle, config.limits.max_idle), (3, Share::Count(12)));
    assert_eq!(config.timeouts.idle_in_transaction, Duration::ZERO);
    assert_eq!(config.timeouts.checkout, Duration::from_secs(7));
    assert_eq!(config.timeouts.server_lifetime, Duration::from_mins(90));
    assert!(config.log.json);
}

#[test]
fn each_database_is_pooled_as_it_says_or_as_all_are() {
    use Pooling::{Observe, Session, Transaction};
    for (top, own, expected) in [
        ("", "", Transaction),
        ("", "pooling = 'session'", Session),
        ("", "pooling = 'session'\nobserve = true", Observe),
        ("pooling = 'session'", "", Session),
        ("pooling = 'session'", "observe = true", Observe),
        ("pooling = 'session'\nobserve = true", "", Observe),
        ("pooling = 'session'\nobserve = true", "observe = false", Session),
        ("pooling = 'session'\nobserve = true", "pooling = 'transaction'", Transaction),
    ] {
        let Loaded { config, .. } = load(&format!("{top}\n[databases.d]\nhost = 'h'\n{own}"));
        let database = config.database("d").expect("the one named");
        assert_eq!(config.pooling_of(database), expected, "{top} {own}");
        assert!(render(&config).contains("pooling = "));
    }
}

#[test]
fn a_bad_file_is_refused_with_line_key_and_what_was_expected() {
    for (text, line, names) in BAD {
        let message = refusal(text);
        let place = format!("text:{line}: ");
        assert!(message.starts_with(&place), "{text}\n{message}");
        for name in *names {
            assert!(message.contains(name), "{name} is missing\n{text}\n{message}");
        }
    }
}

#[test]
fn guarantees_of_classes_that_share_no_pool_are_not_added_up() {
    let databases = "[databases.a]\nhost='h'\nmax_servers=5\n[databases.b]\nhost='h'\n";
    let class = |name: &str, rule: &str, kept| {
        format!("[[classes]]\nname='{name}'\n{rule}\nguaranteed={kept}\n")
    };
    let by_database = class("x", "database='a'", 4) + &class("y", "database='b'", 19);
    let users = "[auth]\nmethod='trust'\n";
    let by_user = class("x", "user='u'", 4) + &class("y", "user='v'", 4);
    for classes in [by_database, users.to_owned() + &by_user] {
        let text = format!("{databases}{classes}");
        assert_eq!(load(&text).config.classes.len(), 2, "{text}");
    }
    let both = class("x", "user='u'", 3) + &class("y", "database='a'", 2);
    let message = refusal(&format!("{databases}{users}{both}"));
    assert!(message.contains("databases.a.max_servers, 5"), "{message}");
}

#[test]
fn without_a_database_the_error_says_what_to_do() {
    for message in [refusal(""), refusal("[limits]\nmax_servers = 5")] {
        for way in ["--upstream", "PGWEIR_UPSTREAM", "--config", "[databases.NAME]"] {
            assert!(message.contains(way), "{message}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let flags = Flags { config: Some("/nowhere/pgweir.toml".into()), ..Flags::default() };
    let error = Source::new(flags, Environment::default()).load();
    let message = error.expect_err("there is no such file").to_string();
    assert!(message.starts_with("/nowhere/pgweir.toml: "), "{message}");
}

#[test]
fn trust_is_for_loopback_unless_said_twice() {
    load(&format!("listen=['127.0.0.1:1','[::1]:1','/tmp/s']\nauth.method='trust'\n{LEAST}"));
    let open = "listen=['0.0.0.0:1']\nauth.method='trust'\nauth.trust_remote=true\n";
    load(&format!("{open}{LEAST}"));
}

/// The keys that the file takes, as its parser names them in the error for one that it does not.
fn keys_taken(section: &str) -> Vec<String> {
    let message = refusal(&format!("{section}\nnot_a_key = 1"));
    let (_, list) = message.split_once("expected").expect("a list of keys");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_list_of_keys_is_what_the_file_takes() {
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    for section in sections {
        let header = if section.is_empty() { String::new() } else { format!("[{section}]") };
        let mut taken = keys_taken(&header);
        let sections = [
            "tls",
            "auth",
            "users",
            "databases",
            "classes",
            "warm",
            "limits",
            "timeouts",
            "pins",
            "admin",
            "log",
        ];
        taken.retain(|key| !section.is_empty() || !sections.contains(&key.as_str()));
        let listed: Vec<_> =
            KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        assert_eq!(taken, listed, "[{section}]");
    }
    assert_eq!(keys_taken("[users.a]"), USER_KEYS);
    assert_eq!(keys_taken("[databases.a]"), DATABASE_KEYS);
    assert_eq!(keys_taken("[[classes]]"), CLASS_KEYS);
    assert_eq!(keys_taken("[[warm]]"), WARM_KEYS);
}

/// Text, line of the fault, what the error names.
const BAD: &[(&str, usize, &[&str])] = &[
    ("listen = 5", 1, &["listen", "expected a sequence"]),
    ("\nlisten = ['x']", 2, &["listen", "\"x\"", "address:port"]),
    ("listen = []", 1, &["listen", "at least one"]),
    ("listen = ['[::1]:1','[::1]:1']", 1, &["listen", "twice", "once"]),
    ("http_listen = 'x'", 1, &["http_listen", "\"off\""]),
    ("lissten = []", 1, &["lissten", "expected one of", "`listen`"]),
    ("[limits]\nmax_server = 1", 2, &["limits.max_server", "unknown", "`max_servers`"]),
    ("[limits]\n\nmax_servers = 'x'", 3, &["limits.max_servers", "a whole number"]),
    ("[limits]\nmax_servers = -1", 2, &["limits.max_servers", "-1", "a whole number"]),
    ("[limits]\nmax_servers = 0", 2, &["limits.max_servers", "0", "from 1 to"]),
    ("[limits]\nmax_servers = '101%'", 2, &["limits.max_servers", "101%", "\"1%\" to \"100%\""]),
    ("[limits]\nmax_servers_host = '0%'", 2, &["limits.max_servers_host", "0%", "100%"]),
    (
        "[limits]\nmax_servers = '20%'\nmax_idle = '30%'",
        3,
        &["limits.max_idle", "30%", "20%", "limits.max_servers"],
    ),
    ("[limits]\nmax_clients = 0", 2, &["limits.max_clients", "from 1 to"]),
    (
        "[databases.a]\nhost = 'h'\nca = 'system'\ntls = 'require'",
        4,
        &["databases.a.tls", "verify-full"],
    ),
    (
        "[databases.a]\nhost = 'h'\ntls = 'disable'\nchannel_binding = 'require'",
        4,
        &["databases.a.channel_binding", "nothing to bind to"],
    ),
    ("[limits]\nmin_idle = 30", 2, &["limits.min_idle", "limits.max_idle"]),
    (
        "[limits]\nmin_idle = 10\n[databases.a]\nhost='h'\nmax_servers = 2",
        2,
        &["limits.min_idle", "10", "at most 2 (databases.a.max_servers)"],
    ),
    (
        "[limits]\nmin_idle = 10\nmax_servers_user = 9",
        2,
        &["limits.min_idle", "10", "at most 9 (limits.max_servers_user)"],
    ),
    ("[limits]\nmax_idle = 30", 2, &["limits.max_idle", "limits.max_servers"]),
    ("[timeouts]\nlogin = 'soon'", 2, &["timeouts.login", "soon", "30s"]),
    ("[timeouts]\nlogin = 1.5", 2, &["timeouts.login", "30s"]),
    ("[timeouts]\nlogin = 0", 2, &["timeouts.login", "above zero"]),
    ("[timeouts]\nquery = -5", 2, &["timeouts.query", "-5", "30s"]),
    ("[pins]\nlisten = 'hope'", 2, &["pins.listen", "`share`", "`pin`", "`refuse`"]),
    ("on_client_gone = 'hope'", 1, &["on_client_gone", "`cancel`", "`complete`"]),
    ("pooling = 'statement'", 1, &["pooling", "`transaction`", "`session`"]),
    ("observe = true", 1, &["observe", "pooled by session", "pooling = \"session\""]),
    ("[pins]\nmax_pinned = '0%'", 2, &["pins.max_pinned", "0%", "100%"]),
    ("[pins]\nmax_pinned = -1", 2, &["pins.max_pinned", "-1", "no limit"]),
    ("[pins]\nrefuse = ['temp']", 2, &["pins.refuse", "\"temp\"", "temp_object"]),
    ("[pins]\nrefuse = ['sequence']", 2, &["pins.refuse", "\"sequence\""]),
    ("[pins]\nsuspicion = 'some'", 2, &["pins.suspicion", "`strict`", "`off`"]),
    ("[pins]\nsequences = 'some'", 2, &["pins.sequences", "`learn`", "`loud`"]),
    ("[pins]\ndynamic_set = 'some'", 2, &["pins.dynamic_set", "`ignore`"]),
    ("[admin]\nusers = 'a'", 2, &["admin.users", "sequence"]),
    ("[admin]\nusers = ['a', ' ']", 2, &["admin.users", "empty"]),
    ("[auth]\nmethod = 'ldap'", 2, &["auth.method", "`scram-sha-256`"]),
    ("[auth]\nquery = 'select 1'", 2, &["auth.query", "auth.query_user"]),
    ("[auth]\nquery_user='a'\nquery_dbname='b'", 3, &["auth.query_dbname", "[databases]"]),
    ("listen=['0.0.0.0:1']\n[auth]\nmethod='trust'", 3, &["auth.method", "trust_remote"]),
    ("[auth]\nmethod = 'cleartext'", 2, &["auth.method", "[tls]"]),
    ("[auth]\nuserlist = '/nowhere'", 2, &["auth.userlist", "/nowhere", "read"]),
    ("[tls]\nmode = 'require'", 1, &["tls.cert", "missing", "PEM"]),
    ("[tls]\ncert = '/nowhere'", 1, &["tls.key", "missing"]),
    ("[tls]\nkey='/nowhere'\ncert='/nowhere'", 3, &["tls.cert", "/nowhere", "read"]),
    ("[tls]\nmode = 'maybe'", 2, &["tls.mode", "`require`"]),
    ("workers = 9999", 1, &["workers", "from 0 to"]),
    ("[log]\nlevel = 'a=b=c'", 2, &["log.level", "info"]),
    ("[log]\nlevel = 'warning'", 2, &["log.level", "warn"]),
    ("[log]\nlevel = 'pgweir=debug,loud'", 2, &["log.level", "info"]),
    ("[log]\njson = 'yes'", 2, &["log.json", "expected a boolean"]),
    ("[users.a]\npasword = 'x'", 2, &["users.a.pasword", "`password`"]),
    ("[users.a]\nsecret='x'\npassword='y'", 2, &["users.a.secret", "either"]),
    ("[users.a]\npassword='x'\npassword_file='y'", 2, &["users.a.password", "one of"]),
    ("[users.a]\npassword = ''", 2, &["users.a.password", "empty"]),
    (
        "[users.a]\nsecret = 'SCRAM-SHA-256$x'",
        2,
        &["users.a.secret", "of the form", "as in pg_authid"],
    ),
    ("[users.a]\npassword_env = 'NOT_SET'", 2, &["users.a.password_env", "NOT_SET"]),
    ("[users.a]\npassword_file = '/nowhere'", 2, &["users.a.password_file", "/nowhere"]),
    ("[databases.a]\nport = 5", 1, &["databases.a.host", "missing", "a name"]),
    ("[databases.a]\nhost='h'\nport = 0", 3, &["databases.a.port", "1 to 65535"]),
    (
        "[databases.a]\nhost='h'\nport = 70000",
        3,
        &["databases.a.port", "70000", "a port number, 1 to 65535"],
    ),
    ("[databases.a]\nhost=''", 2, &["databases.a.host", "empty"]),
    ("[databases.a]\nhost='h'\npassword='p'", 3, &["databases.a.password", "`user`"]),
    ("[databases.a]\nhost='h'\ntls='verify-full'", 1, &["databases.a.ca", "PEM"]),
    ("[databases.a]\nhost='h'\nca='/nowhere'", 3, &["databases.a.ca", "/nowhere"]),
    ("[databases.a]\nhost='h'\nmax_servers=0", 3, &["databases.a.max_servers", "from 1"]),
    ("[databases.\"a.b\"]\nhost='h'\nport=0", 3, &["databases.\"a.b\".port"]),
    ("[[classes]]\nname='a'\n[[classes]]\nweight=1", 3, &["classes[1]", "no name", "`name`"]),
    ("[[warm]]\nservers=1", 1, &["warm[0].database", "missing", "[databases]"]),
    ("[[warm]]\ndatabase='a'\nservers=0", 3, &["warm[0].servers", "from 1"]),
    ("[[warm]]\ndatabase='a'\nservers=1\nat='8'\nfor='1h'", 4, &["warm[0].at", "08:30"]),
    ("[[warm]]\ndatabase='a'\nservers=1\nat='08:00'", 1, &["warm[0].for", "missing"]),
    (
        "[[warm]]\ndatabase='a'\nservers=1\nat='08:00'\nfor='1h'\ndays=['Monday']",
        6,
        &["warm[0].days", "\"Monday\"", "mon, tue"],
    ),
    ("[[warm]]\ndatabase='a'\nservers=1", 2, &["warm[0].database", "no database \"a\""]),
    ("[databases.a]\nhost='h'\n[[warm]]\ndatabase='a'\nservers=1", 3, &["warm[0].user", "missing"]),
    (
        "[databases.a]\nhost='h'\n[[warm]]\ndatabase='a'\nuser='u'\nservers=21",
        6,
        &["warm[0].servers", "21 is more", "max_servers, 20"],
    ),
    ("[[classes]]\nname='a'\nweight=0", 3, &["classes[0].weight", "from 1 to 1000"]),
    ("[[classes]]\nname='a'\nwait='1s'", 3, &["classes[0].wait", "`queue_timeout`"]),
    ("[[classes]]\nname='a'\nqueue_timeout='soon'", 3, &["classes[0].queue_timeout", "30s"]),
    ("[[classes]]\nname='a'\nmax_servers=0", 3, &["classes[0].max_servers", "from 1"]),
    ("[[classes]]\nname='a'\nsource='10.0.0.0/33'", 3, &["classes[0].source", "10.1.0.0/16"]),
    (
        "[[classes]]\nname='a'\nmax_servers=2\nguaranteed=3",
        4,
        &["classes[0].guaranteed", "3 is more", "max_servers, 2"],
    ),
    (
        "[[classes]]\nname='a'\nqueue_timeout='2s'\nqueue_target='3s'",
        4,
        &["classes[0].queue_target", "3s", "queue_timeout, 2s"],
    ),
    (
        "[databases.a]\nhost='h'\n[[classes]]\nname='a'\ndatabase='b'",
        5,
        &["classes[0].database", "takes nobody", "\"b\""],
    ),
    ("[[classes]]\nname='a'\nuser='nobody'", 3, &["classes[0].user", "takes nobody"]),
    ("[[classes]]\nname='a'\n[[classes]]\nname='b'", 3, &["classes[1]", "\"b\" takes nobody"]),
    (
        "[[classes]]\nname='a'\noption='x'\n[[classes]]\nname='a'",
        5,
        &["classes[1].name", "two classes"],
    ),
    ("[[classes]]\nname='default'\noption='x'", 2, &["classes[0].name", "no other takes"]),
    (
        "[databases.a]\nhost='h'\n[[classes]]\nname='a'\nguaranteed=20",
        5,
        &["classes[0].guaranteed", "20 servers", "limits.max_servers, 20"],
    ),
    (
        "[limits]\nmax_servers_host=10\n[databases.a]\nhost='h'\n[[classes]]\nname='a'\nguaranteed=15",
        7,
        &["classes[0].guaranteed", "15 servers", "limits.max_servers_host, 10"],
    ),
    (
        "[databases.a]\nhost='h'\nmax_servers=5\n[[classes]]\nname='a'\nguaranteed=5",
        6,
        &["classes[0].guaranteed", "5 servers", "databases.a.max_servers, 5"],
    ),
    (
        "[limits]\nmax_servers_user=10\nmax_servers=8\nreserve=4\n[databases.a]\nhost='h'\n[[classes]]\nname='a'\nguaranteed=6",
        9,
        &["classes[0].guaranteed", "6 servers", "limits.reserve, 4", "limits.max_servers_user, 10"],
    ),
    (
        "[databases.a]\nhost='h'\nmax_servers=5\n[databases.b]\nhost='h'\n[[classes]]\nname='a'\ndatabase='b'\nguaranteed=9\n[[classes]]\nname='b'\ndatabase='a'\nguaranteed=3\n[[classes]]\nname='c'\nguaranteed=2",
        13,
        &["classes[1].guaranteed", "5 servers", "databases.a.max_servers, 5"],
    ),
    (
        "[databases.a]\nhost='h'\nuser='u'\nmax_servers=5\n[auth]\nmethod='trust'\n[[classes]]\nname='a'\nuser='x'\nguaranteed=3\n[[classes]]\nname='b'\nuser='y'\nguaranteed=2",
        10,
        &["classes[0].guaranteed", "5 servers", "databases.a.max_servers, 5"],
    ),
    ("[limits]\nmax_servers = 1\nmax_servers = 2", 3, &["duplicate key"]),
    ("[limits\n", 1, &["]"]),
];
