//! Environment, flags, connection strings, and which of them wins.

use toml::Value;

use super::keys::Key;
use super::*;

/// What a setting is given in the environment, how it is shown then, and what else must be given.
struct Sample {
    text: String,
    shown: Value,
    company: Vec<(&'static str, String)>,
}

/// `dir` has the files of [`files`].
fn sample(key: &Key, dir: &tempfile::TempDir) -> Sample {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let plain = |text: &str| (text.to_owned(), Value::from(text));
    let list = |items: &[&str]| {
        (items.join(", "), Value::Array(items.iter().map(|item| Value::from(*item)).collect()))
    };
    let hidden = |text: String| (text, Value::from("*** (plain text)"));
    let (text, shown) = match (key.kind, key.path().as_str()) {
        (Kind::Number, "workers" | "limits.min_idle") => ("1".to_owned(), Value::from(1)),
        (Kind::Number, _) => ("7".to_owned(), Value::from(7)),
        (Kind::Duration, _) => plain("8s"),
        (Kind::Switch, _) => ("true".to_owned(), Value::from(true)),
        (Kind::Secret, _) => hidden("a secret".to_owned()),
        (Kind::Text, path) if path.starts_with("limits.") => ("7".to_owned(), Value::from(7)),
        (_, "admin.http_token_env") => hidden("LOOKUP_PASSWORD".to_owned()),
        (_, "admin.http_token_file") => hidden(path("password")),
        (_, "auth.query_password_env") => hidden("LOOKUP_PASSWORD".to_owned()),
        (_, "auth.query_password_file") => hidden(path("password")),
        (_, "tls.cert" | "tls.key" | "auth.userlist") => plain(&path(key.name)),
        (_, "listen") => list(&["127.0.0.1:1", "[::1]:2"]),
        (_, "http_listen") => plain("127.0.0.1:3"),
        (_, "on_client_gone") => plain("complete"),
        (_, "pooling") => plain("session"),
        (_, "tls.mode") => plain("require"),
        (_, "auth.method") => plain("md5"),
        (_, "auth.query_dbname") => plain("app"),
        (_, "pins.listen") => plain("refuse"),
        (_, "pins.max_pinned") => plain("20%"),
        (_, "pins.refuse") => list(&["temp_object", "listen"]),
        (_, "pins.suspicion") => plain("strict"),
        (_, "pins.sequences") => plain("loud"),
        (_, "pins.dynamic_set") => plain("ignore"),
        (_, "log.level") => plain("debug"),
        (Kind::List, _) => list(&["one", "two"]),
        (Kind::Text, _) => plain("some text"),
    };
    let company = match key.path().as_str() {
        "tls.cert" => vec![("PGWEIR_TLS_KEY", path("key"))],
        "tls.key" => vec![("PGWEIR_TLS_CERT", path("cert"))],
        "tls.mode" => vec![("PGWEIR_TLS_CERT", path("cert")), ("PGWEIR_TLS_KEY", path("key"))],
        "observe" => vec![("PGWEIR_POOLING", "session".to_owned())],
        // These say nothing without the user they are about.
        path if path.starts_with("auth.query") && path != "auth.query_user" => {
            vec![("PGWEIR_AUTH_QUERY_USER", "lookup".to_owned())]
        }
        _ => Vec::new(),
    };
    Sample { text, shown, company }
}

fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [
        ("cert", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("userlist", "\"eve\" \"x\"\n"),
        ("password", "of a file"),
    ] {
        file(&dir, name, text, 0o600);
    }
    dir
}

/// The setting as it holds with these variables.
fn shown(key: &Key, pairs: &[(&str, &str)]) -> Option<Value> {
    let mut all = vec![("PGWEIR_UPSTREAM", "postgres://u:p@h/app"), ("LOOKUP_PASSWORD", "hunter2")];
    all.extend(pairs);
    let loaded = Source::new(Flags::default(), environment(&all)).load();
    let Loaded { config, .. } = loaded.unwrap_or_else(|error| panic!("{pairs:?}: {error}"));
    let table = render::table(&config);
    let section = match key.section {
        "" => &table,
        section => table.get(section)?.as_table()?,
    };
    // A password is shown as one, wherever it is from.
    let name = key.name.strip_suffix("_env").or_else(|| key.name.strip_suffix("_file"));
    section.get(name.unwrap_or(key.name)).cloned()
}

#[test]
fn every_key_can_be_given_in_the_environment() {
    let dir = files();
    for key in KEYS {
        let Sample { text, shown: expected, company } = sample(key, &dir);
        let variable = key.variable();
        let mut pairs: Vec<_> = company.iter().map(|(name, text)| (*name, text.as_str())).collect();
        // Half a certificate is refused.
        if key.section != "tls" || key.name == "mode" {
            assert_ne!(shown(key, &pairs), Some(expected.clone()), "{variable} changes nothing");
        }
        pairs.push((&variable, &text));
        assert_eq!(shown(key, &pairs), Some(expected), "{variable}");
    }
}

#[test]
fn a_secret_of_the_environment_is_the_one_that_is_given() {
    let dir = files();
    let path = dir.path().join("password").display().to_string();
    for (variable, text, expected) in [
        ("PGWEIR_AUTH_QUERY_PASSWORD", "a secret", "a secret"),
        ("PGWEIR_AUTH_QUERY_PASSWORD_ENV", "LOOKUP_PASSWORD", "hunter2"),
        ("PGWEIR_AUTH_QUERY_PASSWORD_FILE", path.as_str(), "of a file"),
    ] {
        let pairs =
            [("PGWEIR_AUTH_QUERY_USER", "q"), ("LOOKUP_PASSWORD", "hunter2"), (variable, text)];
        let Loaded { config, .. } = upstream(Some("postgres://u:p@h/app"), &pairs);
        let password = config.auth.query.and_then(|query| query.password);
        assert_eq!(password, Some(Password::new(expected)), "{variable}");
    }
}

#[test]
fn a_bad_variable_is_named_with_what_was_expected() {
    let upstream = ("PGWEIR_UPSTREAM", "postgres://u:p@h/app");
    let cases: &[(&str, &str, &[&str])] = &[
        ("PGWEIR_LIMITS_MAX_SERVERS", "many", &["limits.max_servers", "many", "a whole number"]),
        ("PGWEIR_LIMITS_MAX_SERVERS", "0", &["limits.max_servers", "from 1"]),
        ("PGWEIR_TIMEOUTS_QUERY", "later", &["timeouts.query", "later", "30s"]),
        ("PGWEIR_LOG_JSON", "maybe", &["log.json", "a boolean"]),
        ("PGWEIR_TLS_MODE", "no", &["tls.mode", "`disable`"]),
        ("PGWEIR_TLS_MODE", "require", &["PGWEIR_TLS_MODE: tls.cert: it is missing"]),
        ("PGWEIR_LISTEN", "here", &["listen", "here", "address:port"]),
        ("PGWEIR_TIMEOUT_QUERY", "5s", &["is no setting", "PGWEIR_<SECTION>_<KEY>"]),
        ("PGWEIR_DATABASES_APP_HOST", "h", &["is no setting"]),
    ];
    for (name, text, names) in cases {
        let environment = environment(&[upstream, (name, text)]);
        let error = Source::new(Flags::default(), environment).load();
        let message = error.expect_err(name).to_string();
        assert!(message.starts_with(&format!("environment: {name}")), "{message}");
        for part in *names {
            assert!(message.contains(part), "{part} is missing: {message}");
        }
    }
}

#[test]
fn variables_of_others_are_let_be() {
    let environment = environment(&[
        ("PGWEIR_UPSTREAM", "postgres://u:p@h/app"),
        ("PGWEIR_PG_BIN", "/usr/lib/postgresql/15/bin"),
        ("PGWEIR_SERVICE_HOST", "10.0.0.1"),
        ("PGWEIR_PORT", "tcp://10.0.0.1:6432"),
        ("PGWEIR_PORT_6432_TCP_ADDR", "10.0.0.1"),
        ("PGWEIR_LIMITS_MAX_SERVERS", ""),
        ("HOME", "/root"),
    ]);
    let loaded = Source::new(Flags::default(), environment).load();
    assert_eq!(loaded.expect("none is ours").config.limits.max_servers, Share::Count(20));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let text = format!(
        "listen=['127.0.0.1:1']\nlog.level='warn'\n{LEAST}[limits]\nmax_servers=5\nmin_idle=2\nmax_clients=50\n"
    );
    let flags = Flags {
        config: Some(file(&dir, "pgweir.toml", &text, 0o600)),
        max_servers: Some("7".to_owned()),
        listen: vec!["127.0.0.1:3".to_owned(), "[::1]:3".to_owned()],
        log_json: true,
        ..Flags::default()
    };
    let environment = environment(&[
        ("PGWEIR_LIMITS_MAX_SERVERS", "6"),
        ("PGWEIR_LIMITS_MAX_CLIENTS", "60"),
        ("PGWEIR_LISTEN", "127.0.0.1:2"),
        ("PGWEIR_LOG_LEVEL", "debug"),
    ]);
    let loaded = Source::new(flags, environment).load();
    let Loaded { config, .. } = loaded.expect("all are good");
    assert_eq!(config.limits.max_servers, Share::Count(7));
    assert_eq!(config.limits.max_clients, 60);
    assert_eq!(config.limits.min_idle, 2);
    assert_eq!(config.limits.max_idle, Share::Count(7));
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.listen.len(), 2);
    assert_eq!((config.log.level.as_str(), config.log.json), ("debug", true));
}

#[test]
fn a_bad_flag_is_named() {
    let flags = Flags {
        upstream: Some("postgres://u:p@h/app".to_owned()),
        max_servers: Some("0".to_owned()),
        ..Flags::default()
    };
    let error = Source::new(flags, Environment::default()).load();
    let message = error.expect_err("0 is no size").to_string();
    assert!(message.starts_with("--max-servers: limits.max_servers: "), "{message}");
}

fn upstream(flag: Option<&str>, pairs: &[(&str, &str)]) -> Loaded {
    let flags = Flags { upstream: flag.map(str::to_owned), ..Flags::default() };
    let loaded = Source::new(flags, environment(pairs)).load();
    loaded.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_upstream_is_a_database_a_user_and_the_control_user() {
    let Loaded { config, warnings, .. } = upstream(
        Some("postgres://app:s%2Fecret@db:6000/shop?sslmode=require"),
        &[("PGWEIR_UPSTREAM", "postgres://other:other@other/other")],
    );
    assert_eq!(config.databases.keys().collect::<Vec<_>>(), ["shop"]);
    assert!(config.fallback.is_none());
    let shop = config.database("shop").expect("the one named");
    assert_eq!((shop.host.as_str(), shop.port), ("db", 6000));
    assert_eq!(shop.tls.mode, ServerTlsMode::Require);
    let password = Some(Password::new("s/ecret"));
    let app = config.users.get("app").expect("the one user");
    assert_eq!((&app.secret, &app.server_password), (&password, &password));
    let query = config.auth.query.as_ref().expect("the control user");
    assert_eq!((query.user.as_str(), &query.password), ("app", &password));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_upstream_looks_nobody_up_where_the_operator_says_who_is_known() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let list = file(&dir, "userlist.txt", "\"eve\" \"x\"\n", 0o600);
    let list = list.to_str().expect("a plain path");
    let pairs = [("PGWEIR_UPSTREAM", "postgres://app:p@db/shop"), ("PGWEIR_AUTH_USERLIST", list)];
    let Loaded { config, .. } = upstream(None, &pairs);
    assert!(config.auth.query.is_none());
    assert_eq!(config.users.keys().collect::<Vec<_>>(), ["app", "eve"]);
    let pairs =
        [("PGWEIR_AUTH_QUERY_USER", "lookup"), ("PGWEIR_UPSTREAM", "postgres://app:p@db/shop")];
    let Loaded { config, .. } = upstream(None, &pairs);
    assert_eq!(
        config.auth.query.map(|query| (query.user, query.password)),
        Some(("lookup".to_owned(), None))
    );
}

#[test]
fn a_bad_upstream_is_refused_without_its_password() {
    let environment =
        environment(&[("PGWEIR_UPSTREAM", "postgres://app:hunter2@db/shop?a=hunter2")]);
    let error = Source::new(Flags::default(), environment).load();
    let error = error.expect_err("there is no such parameter");
    let message = error.to_string();
    assert!(message.starts_with("environment: PGWEIR_UPSTREAM: "), "{message}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
