use super::*;

/// Made by PostgreSQL 15 for the password `pencil`.
const VERIFIER: &str = "SCRAM-SHA-256$4096:QxGLnJjx36naa0bGlrUIdA==$eGDZbsfinkldGyJxTtt2ZwvYZFLKmbE8AqKhzv5X+SA=:WufJF37nG9k08JdcLUPrxktXJ2p53+V3yiFR99XGaMc=";

#[test]
fn derived_verifier_is_the_one_postgresql_stores() {
    let stored = ScramVerifier::parse(VERIFIER).unwrap();
    let derived = ScramVerifier::derive(&Password::new("pencil"), stored.params());
    assert_eq!(*derived.format(), VERIFIER);
}

#[test]
fn kinds_are_told_apart_as_postgresql_does() {
    let kind = |text: &str| match Secret::parse(text) {
        Ok(Secret::Plain(_)) => "plain",
        Ok(Secret::Scram(_)) => "scram",
        Ok(Secret::Md5(_)) => "md5",
        Err(_) => "error",
    };
    let table = [
        ("pencil", "plain"),
        (VERIFIER, "scram"),
        ("md5d504967f44e0c6062c7e5c2a8d42aac1", "md5"),
        ("md5D504967F44E0C6062C7E5C2A8D42AAC1", "plain"),
        ("md5d504967f44e0c6062c7e5c2a8d42aac", "plain"),
        ("md5", "plain"),
        ("SCRAM-SHA-256", "plain"),
        ("", "error"),
        ("nul\0within", "error"),
    ];
    for (text, expected) in table {
        assert_eq!(kind(text), expected, "{text}");
    }
}

#[test]
fn broken_verifier_is_an_error_and_no_password() {
    let (salt, key) = ("QxGLnJjx36naa0bGlrUIdA==", "eGDZbsfinkldGyJxTtt2ZwvYZFLKmbE8AqKhzv5X+SA=");
    let long_salt = scram::encode(&[1; MAX_SALT_LEN + 1]);
    let table = [
        ("SCRAM-SHA-256$".to_owned(), SecretError::Shape),
        (format!("SCRAM-SHA-256$4096{salt}${key}:{key}"), SecretError::Shape),
        (format!("SCRAM-SHA-256$4096:{salt}${key}"), SecretError::Shape),
        (format!("SCRAM-SHA-256$4096:{salt}${key}:{key}$"), SecretError::Shape),
        (format!("SCRAM-SHA-256$0:{salt}${key}:{key}"), SecretError::Iterations),
        (format!("SCRAM-SHA-256$-1:{salt}${key}:{key}"), SecretError::Iterations),
        (format!("SCRAM-SHA-256$100001:{salt}${key}:{key}"), SecretError::Iterations),
        (format!("SCRAM-SHA-256$99999999999:{salt}${key}:{key}"), SecretError::Iterations),
        (format!("SCRAM-SHA-256$4096:${key}:{key}"), SecretError::Salt),
        (format!("SCRAM-SHA-256$4096:***${key}:{key}"), SecretError::Salt),
        (format!("SCRAM-SHA-256$4096:{long_salt}${key}:{key}"), SecretError::Salt),
        (format!("SCRAM-SHA-256$4096:{salt}${salt}:{key}"), SecretError::Key),
        (format!("SCRAM-SHA-256$4096:{salt}${key}:{key}{key}"), SecretError::Key),
        (format!("SCRAM-SHA-256$4096:{salt}${key}:"), SecretError::Key),
    ];
    for (text, expected) in table {
        assert_eq!(Secret::parse(&text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let keys = ScramKeys::derive(
        &Password::new("hunter2"),
        &ScramParams::new(*b"salt", Iterations::new(1).unwrap()).unwrap(),
    );
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        Password::new("hunter2"),
        Secret::parse("hunter2"),
        ServerCredential::Password(Password::new("hunter2")),
        keys.verifier(),
        keys,
    );
    assert_eq!(
        shown,
        "Password(..) Ok(Secret(..)) ServerCredential(..) ScramVerifier(..) ScramKeys(..)"
    );
}

#[test]
fn a_verifier_alone_logs_in_nowhere() {
    let credential = Secret::parse(VERIFIER).unwrap().credential();
    assert!(matches!(credential, ServerCredential::None));
}
