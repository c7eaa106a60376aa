//! Where secrets come from, and that none is shown.

use super::*;

#[test]
fn secrets_that_cannot_answer_are_refused_by_method() {
    let md5 = format!("md5{}", "0".repeat(32));
    let cases = [("md5", VERIFIER, "a SCRAM verifier"), ("scram-sha-256", &md5, "an md5 hash")];
    for (method, secret, what) in cases {
        let text = format!("[auth]\nmethod='{method}'\n[users.a]\nsecret='{secret}'\n{LEAST}");
        let message = refusal(&text);
        assert!(message.contains(what) && message.contains("users.a.secret"), "{message}");
        assert!(!message.contains(secret), "{message}");
    }
    load(&format!(
        "[auth]\nmethod='md5'\n[users.a]\nsecret='{md5}'\n[users.b]\npassword='x'\n{LEAST}"
    ));
}

#[test]
fn no_error_shows_a_secret_of_the_file() {
    let cases = [
        "[users.a]\npassword = 48151623",
        "[users.a]\npassword = true48151623",
        "[users.a]\npassword = '48151623",
        "[users.a]\npassword = ['48151623']",
        "[users.a]\nsecret = '48151623'\npassword = '48151623'",
        "[databases.a]\nhost = 'h'\npassword = '48151623'",
        "[users.a]\npassword = '48151623'\npassword = '48151623'",
        "[users]\na = '48151623'",
        "[users]\na = 48151623",
        "[users]\na = ['48151623']",
        "[users]\n\"a.b\" = '48151623'",
        "[databases]\n\"a.b\" = 'host=h password=48151623'",
        "users = '48151623'",
        "[databases]\na = 'host=h password=48151623, expected x'",
        "auth = '48151623'",
        "admin = '48151623'",
        "[admin]\nhttp_token = 48151623",
    ];
    for text in cases {
        let error = Source::of_text(text).load().expect_err(text);
        assert!(!format!("{error} {error:?}").contains("48151623"), "{error:?}");
    }
}

#[test]
fn passwords_come_from_texts_variables_and_files() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let secret = file(&dir, "secret", "from file\n", 0o600);
    let text = format!(
        "{LEAST}[users.a]\npassword='from text'\n[users.b]\npassword_env='PGWEIR_B'\n[users.c]\npassword_file={secret:?}\n"
    );
    let flags = Flags { config: Some(file(&dir, "pgweir.toml", &text, 0o600)), ..Flags::default() };
    let loaded = Source::new(flags, environment(&[("PGWEIR_B", "from variable")])).load();
    let Loaded { config, warnings, .. } = loaded.expect("all are good");
    for (name, secret) in [("a", "from text"), ("b", "from variable"), ("c", "from file")] {
        let user = config.users.get(name).expect("as configured");
        assert_eq!(user.secret, Some(Password::new(secret)), "{name}");
    }
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn files_with_secrets_that_all_can_read_are_warned_of() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let secret = file(&dir, "secret", "x", 0o644);
    let list = file(&dir, "userlist.txt", "\"u\" \"x\"\n\"a\" \"y\"\n", 0o604);
    let text = format!(
        "auth.userlist={list:?}\n{LEAST}[users.a]\npassword_file={secret:?}\n[users.b]\npassword='x'\n"
    );
    let config = file(&dir, "pgweir.toml", &text, 0o644);
    let flags = Flags { config: Some(config.clone()), ..Flags::default() };
    let loaded = Source::new(flags, Environment::default()).load();
    let Loaded { config: loaded, warnings, .. } = loaded.expect("warned of, not refused");
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for path in [secret, list, config] {
        let path = path.display().to_string();
        assert!(warnings.iter().any(|warning| warning.starts_with(&path)), "{warnings:?}");
    }
    // The file's own users win over those of the list.
    let a = loaded.users.get("a").expect("in both");
    assert_eq!(a.secret, Some(Password::new("x")));
}

#[test]
fn what_is_rendered_shows_no_secret_and_is_read_back() {
    let text = format!(
        "auth.query_user='lookup'\nauth.query_password='hunter2'\n[users.a]\nsecret='{VERIFIER}'\nserver_password='hunter2'\n\
         [users.b]\npassword='hunter2'\n[databases.d]\nhost='h'\nuser='u'\npassword='hunter2'\n[databases.'*']\nhost='h'\n"
    );
    let Loaded { config, .. } = load(&text);
    let rendered = render(&config);
    for secret in ["hunter2", VERIFIER, "c2FsdA=="] {
        assert!(!rendered.contains(secret), "{rendered}");
        assert!(!format!("{config:?}").contains(secret));
    }
    for shown in
        ["*** (plain text)", "*** (SCRAM verifier)", "checkout = \"2m\"", "max_clients = 10000"]
    {
        assert!(rendered.contains(shown), "{shown} is missing\n{rendered}");
    }
    let Loaded { config: again, .. } = load(&rendered);
    let all_plain = rendered.replace("(SCRAM verifier)", "(plain text)");
    assert_eq!(render(&again), all_plain);
}

#[test]
fn debug_of_a_source_shows_no_secret() {
    let flags =
        Flags { upstream: Some("postgres://app:hunter2@db/shop".to_owned()), ..Flags::default() };
    let environment = environment(&[("PGWEIR_UPSTREAM", "postgres://app:hunter2@db/shop")]);
    let shown = format!("{:?}", Source::new(flags, environment));
    assert!(!shown.contains("hunter2"), "{shown}");
}
