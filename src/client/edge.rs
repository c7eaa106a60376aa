//! Where an error becomes what a client is told: severity, SQLSTATE, message, DETAIL, HINT.
//!
//! Invariant: nothing that a client must not know (why a user is unknown, where PostgreSQL is) is written here. What a
//! session or a login refuses by itself has its SQLSTATE where it is refused (`session/`, `auth/error.rs`), and the
//! console its own. Codes are those
//! that PostgreSQL gives in the same case, so that drivers do what they would do there
//! (`errcodes-appendix.html`; docs/semantics.md "Errors").

mod tls;

use std::time::Duration;

use super::ServerLoss;
use super::login::LoginFailure;
use crate::auth::{AuthError, LoginError};
use crate::config::format_duration;
use crate::control::{ControlError, Step};
use crate::host::Full;
use crate::metrics::Timeout;
use crate::pool::{Cause, CheckoutError, Counts, Crowd, PoolKey, Standing};
use crate::server::OpenError;
use crate::session::inbox::MAX_INBOX;
use crate::session::rules::Refusal;
use crate::wire::frame::BadFrame;
use crate::wire::startup::BadStartup;
use crate::wire::{Report, Severity, SqlState};

/// A login that failed; `None` where PostgreSQL closes without a word, too.
pub fn login_failed(failure: &LoginFailure) -> Option<Report> {
    use LoginFailure as F;
    let text = failure.to_string();
    Some(match failure {
        F::Gone(_) | F::Left | F::Length | F::Handshake(_) | F::NoTls | F::Displaced => {
            return None;
        }
        F::Startup(bad) => return bad_startup(bad),
        F::Unencrypted(_) => Report::fatal(SqlState::PROTOCOL_VIOLATION, text).detail(
            "This could be either a client-software bug or evidence of an attempted \
             man-in-the-middle attack.",
        ),
        F::NoAlpn | F::TimedOut => Report::fatal(SqlState::PROTOCOL_VIOLATION, text),
        F::TlsRequired => Report::fatal(SqlState::INVALID_AUTHORIZATION, text)
            .hint("Connect with sslmode=require or stronger."),
        F::Replication => Report::fatal(SqlState::FEATURE_NOT_SUPPORTED, text)
            .hint("Connect to PostgreSQL itself for replication."),
        F::TrustRemote => Report::fatal(SqlState::INVALID_AUTHORIZATION, text),
        F::TooManyClients(limit) => too_many_clients(*limit),
        F::DatabaseFull(_) | F::UserFull(_) | F::SourceFull(_) => {
            Report::fatal(SqlState::TOO_MANY_CONNECTIONS, text).hint(
                "Close connections that are not needed, or raise limits.max_clients_database, \
                 limits.max_clients_user or limits.max_clients_source.",
            )
        }
        F::Draining => shutting_down(),
        F::Auth(error) => auth(error),
        F::LookUp(error) => look_up(error),
        F::Overworked => Report::fatal(SqlState::INTERNAL, text),
    })
}

fn bad_startup(bad: &BadStartup) -> Option<Report> {
    let code = match bad {
        BadStartup::Length => return None,
        BadStartup::Version(..) | BadStartup::Switch(_) => SqlState::FEATURE_NOT_SUPPORTED,
        BadStartup::Layout => SqlState::PROTOCOL_VIOLATION,
        BadStartup::NoUser => SqlState::INVALID_AUTHORIZATION,
        BadStartup::NotUtf8 => INVALID_BYTES,
    };
    Some(Report::fatal(code, bad.to_string()))
}

fn auth(error: &AuthError) -> Report {
    let report = Report::fatal(error.sqlstate(), error.to_string());
    match error.detail() {
        Some(detail) => report.detail(detail),
        None => report,
    }
}

fn look_up(error: &ControlError) -> Report {
    if let ControlError::Full(full) = error {
        return no_look_up(&full.to_string(), full.setting());
    }
    if matches!(error, ControlError::Busy) {
        let cause = "others are being looked up over all connections for that";
        return no_look_up(cause, "limits.max_servers_host, if it is set,");
    }
    let text = match error {
        ControlError::Query(_) | ControlError::Shape(_) => "could not look the user up",
        ControlError::TimedOut(Step::Asking) => "the user was not looked up in time",
        _ => "could not connect to the database server to look the user up",
    };
    let report = Report::fatal(SqlState::CANNOT_CONNECT, text);
    match error.tls().and_then(tls::refused) {
        Some(refused) => refused.told(report),
        None => report,
    }
}

/// There was no connection to ask over.
fn no_look_up(cause: &str, setting: &str) -> Report {
    let text = "timed out waiting for a database connection to look the user up";
    Report::fatal(SqlState::TOO_MANY_CONNECTIONS, format!("{text}: {cause}"))
        .hint(format!("Make transactions shorter, or raise {setting} or timeouts.checkout."))
}

/// `limits.max_clients` is reached.
pub fn too_many_clients(limit: usize) -> Report {
    Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
        .detail(format!("limits.max_clients is {limit}."))
}

/// A database that the configuration does not have.
pub fn unknown_database(name: &str) -> Report {
    let text = format!("database \"{name}\" does not exist");
    Report::fatal(SqlState::INVALID_CATALOG_NAME, text)
        .detail("The configuration of pgweir has no database of this name, and no \"*\".")
}

/// A user who has logged in, and may not use the console.
pub fn no_admin(user: &str) -> Report {
    let text = format!("permission denied: user \"{user}\" may not use the console of pgweir");
    Report::fatal(PERMISSION_DENIED, text)
        .hint("The settings admin.users and admin.readers name those who may.")
}

/// pgweir is draining, to a client that is not in yet.
pub fn shutting_down() -> Report {
    Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the connection proxy is shutting down")
}

/// pgweir is draining, to a client that is there.
pub fn draining() -> Report {
    let text = "terminating connection due to administrator command";
    Report::fatal(SqlState::ADMIN_SHUTDOWN, text)
}

/// A time has passed, and the client is ended for it.
pub fn timed_out(timeout: Timeout) -> Report {
    match timeout {
        Timeout::Query => query_timeout(),
        Timeout::Transaction => transaction_timeout(),
        Timeout::IdleInTransaction => idle_in_transaction(),
        Timeout::IdleClient => idle_client(),
        Timeout::PinIdle => idle_pinned(),
    }
}

/// `timeouts.idle_client` passed.
pub fn idle_client() -> Report {
    Report::fatal(SqlState::IDLE_SESSION, "terminating connection due to idle-session timeout")
}

/// `timeouts.pin_idle` passed.
fn idle_pinned() -> Report {
    Report::fatal(SqlState::IDLE_SESSION, "terminating connection due to idle-session timeout")
        .detail(
            "The session kept its database connection to itself, and timeouts.pin_idle has passed.",
        )
}

/// Notifications were sent faster than the client took them.
pub fn too_many_notifications() -> Report {
    let text = "terminating connection because notifications are not taken";
    Report::fatal(SqlState::CONFIGURATION_LIMIT, text)
        .detail(format!("More than {MAX_INBOX} bytes of them were waiting."))
        .hint("Read notifications while idle, and keep transactions of sessions that listen short.")
}

/// The server has shown state that the client may not keep.
pub fn pin_refused(refusal: Refusal) -> Report {
    Report { severity: Severity::Fatal, ..refusal.report() }
}

/// `timeouts.idle_in_transaction` passed.
fn idle_in_transaction() -> Report {
    let text = "terminating connection due to idle-in-transaction timeout";
    Report::fatal(SqlState::IDLE_IN_TRANSACTION, text)
}

/// `timeouts.transaction` passed.
fn transaction_timeout() -> Report {
    Report::fatal(TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
}

/// `timeouts.query` passed, and the server did not heed the cancel.
fn query_timeout() -> Report {
    Report::fatal(SqlState::QUERY_CANCELED, "canceling statement due to query timeout")
}

/// `timeouts.query` passed, and what runs is being cancelled: PostgreSQL's own error, which follows, can only say
/// that somebody asked for it.
pub fn query_canceled(limit: Duration) -> Report {
    let limit = format_duration(limit);
    let text = format!("canceling statement due to timeouts.query of pgweir, {limit}");
    Report { code: SqlState::QUERY_CANCELED, ..Report::notice(text) }
}

/// A client that waited for a server cancelled its request.
pub fn canceled() -> Report {
    Report::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

/// A frame that no client may send; PostgreSQL closes without a word at a bad length.
pub fn bad_frame(error: BadFrame) -> Option<Report> {
    match error {
        BadFrame::Length(..) => None,
        BadFrame::Type(tag) => Some(Report::fatal(
            SqlState::PROTOCOL_VIOLATION,
            format!("invalid frontend message type {tag}"),
        )),
    }
}

/// A server was lost while a client depended on it.
pub fn server_lost(loss: &ServerLoss) -> Report {
    match loss {
        ServerLoss::Io(_) | ServerLoss::Closed | ServerLoss::Silent | ServerLoss::InsideMessage => {
            Report::fatal(
                SqlState::CONNECTION_FAILURE,
                "server connection lost while executing a statement",
            )
            .hint("Whether a statement that was running took effect is not known.")
        }
        ServerLoss::Unready => Report::fatal(
            SqlState::CONNECTION_FAILURE,
            "server connections were lost before they had the client's settings",
        )
        .hint("Nothing of the last request ran. Connect again."),
        ServerLoss::BadFrame(_) | ServerLoss::Session(_) => {
            Report::fatal(SqlState::PROTOCOL_VIOLATION, "the database server broke the protocol")
                .detail(format!("{loss}."))
        }
    }
}

/// A client that is logged in got no server: its request failed, and it may try again.
pub fn checkout(error: &CheckoutError, pool: &PoolKey) -> Report {
    match error {
        CheckoutError::Full { cause, counts, class, crowd, waited } => {
            full(pool, cause, (class, *crowd), *counts, *waited)
        }
        CheckoutError::QueueFull { class, crowd, limit } => queue_full(class, *crowd, *limit),
        CheckoutError::Late { class, crowd, timeout, waited } => {
            late(class, *crowd, *timeout, *waited)
        }
        CheckoutError::Unreachable { error, waited } => unreachable(error, pool, Some(*waited)),
        CheckoutError::Refused(error) => unreachable(error, pool, None),
        CheckoutError::Paused { waited } => paused(pool, *waited),
    }
}

/// A client has waited for a server for a while: what for, and how long still.
pub fn waiting(standing: &Standing, pool: &PoolKey) -> Report {
    let Standing { cause, class, ahead } = standing;
    let PoolKey { database, user } = pool;
    let cause = match cause {
        Cause::Paused => "they are paused by an administrator".to_owned(),
        Cause::PoolFull(1) => "its one server is taken".to_owned(),
        Cause::PoolFull(size) => format!("all {size} servers are taken"),
        Cause::ClassFull(size) => format!("all {size} servers that the class may have are taken"),
        Cause::Kept(size) => format!("what is left of {size} servers is kept for other classes"),
        Cause::HostFull(full) => full.to_string(),
        Cause::Opening => "connections to the database server are being opened".to_owned(),
        Cause::Unreachable => "the database server cannot be reached".to_owned(),
        Cause::Refused => "the database server refuses more than it has".to_owned(),
        Cause::Return => "one that is in use is to come back soon".to_owned(),
    };
    let text = format!(
        "waiting for a database connection of database \"{database}\", user \"{user}\": {cause}"
    );
    Report::notice(text).detail(format!("Class: \"{class}\"; clients ahead: {ahead}."))
}

/// A client at its login got no server that it needed.
pub fn checkout_at_login(error: &CheckoutError, pool: &PoolKey) -> Report {
    Report { severity: Severity::Fatal, ..checkout(error, pool) }
}

fn paused(pool: &PoolKey, waited: Duration) -> Report {
    let PoolKey { database, user } = pool;
    let text = format!(
        "timed out waiting for a database connection: database \"{database}\", user \"{user}\" are \
         paused by an administrator"
    );
    Report::error(SqlState::CANNOT_CONNECT_NOW, text)
        .detail(format!("Waited {:.1} s.", waited.as_secs_f64()))
        .hint("Try again later; RESUME at the console ends a pause.")
}

fn full(
    pool: &PoolKey,
    cause: &Cause,
    (class, crowd): (&str, Crowd),
    counts: Counts,
    waited: Duration,
) -> Report {
    let (what, hint) = match cause {
        Cause::PoolFull(size) => (
            format!("one of the {size} servers"),
            "Make transactions shorter, or raise limits.max_servers, or max_servers of the database.",
        ),
        Cause::ClassFull(limit) => (
            format!("one of the {limit} servers that clients of class \"{class}\" may have"),
            "Make transactions shorter, or raise max_servers or queue_timeout of the class.",
        ),
        Cause::Kept(size) => (
            format!("one of {size} servers, of which others are kept for other classes"),
            "Make transactions shorter, raise limits.max_servers, or lower guaranteed of the other classes.",
        ),
        Cause::HostFull(limit) => (
            format!("a server ({limit})"),
            match limit {
                Full::Host { .. } => "Make transactions shorter, or raise limits.max_servers_host.",
                Full::Database { .. } => {
                    "Make transactions shorter, or raise limits.max_servers_database."
                }
                Full::User { .. } => "Make transactions shorter, or raise limits.max_servers_user.",
            },
        ),
        Cause::Refused => (
            "one of the servers that it has, since PostgreSQL refuses more".to_owned(),
            "The log of pgweir says why PostgreSQL refuses them.",
        ),
        Cause::Return => (
            "a server, of which one was to come back soon".to_owned(),
            "Make transactions shorter, or raise queue_timeout of the class.",
        ),
        Cause::Opening | Cause::Unreachable | Cause::Paused => (
            "a server, which was being opened".to_owned(),
            "SHOW HOSTS at the console tells how connections are opened, and how long that takes.",
        ),
    };
    let PoolKey { database, user } = pool;
    let text = format!(
        "timed out waiting for a database connection from the pool: waited {:.1} s for {what} of \
         database \"{database}\", user \"{user}\"",
        waited.as_secs_f64(),
    );
    let detail = format!("{} {}", queue(class, crowd), counted(counts));
    Report::error(SqlState::TOO_MANY_CONNECTIONS, text).detail(detail).hint(hint)
}

fn counted(counts: Counts) -> String {
    format!(
        "Servers in use: {}, idle: {}, opening: {}, closing: {}; clients waiting in all classes: {}.",
        counts.leased, counts.idle, counts.opening, counts.closing, counts.waiting,
    )
}

fn queue_full(class: &str, crowd: Crowd, limit: usize) -> Report {
    let text = format!(
        "too many clients of class \"{class}\" wait for a database connection already (queue_limit {limit})"
    );
    Report::error(SqlState::TOO_MANY_CONNECTIONS, text)
        .detail(queue(class, crowd))
        .hint("Try again later, or raise queue_limit, max_servers or the weight of the class.")
}

fn late(class: &str, crowd: Crowd, timeout: Duration, waited: Duration) -> Report {
    let text = format!(
        "gave up waiting for a database connection after {:.1} s: clients of class \"{class}\" may wait \
         {:.1} s, which would be over first",
        waited.as_secs_f64(),
        timeout.as_secs_f64(),
    );
    Report::error(SqlState::TOO_MANY_CONNECTIONS, text)
        .detail(queue(class, crowd))
        .hint("Try again later, or raise max_servers or the weight of the class.")
}

/// Class, length of the queue and expected wait, for people and for programs that look for them.
fn queue(class: &str, crowd: Crowd) -> String {
    let expected = match crowd.expected {
        Some(wait) if crowd.waiting > 0 => format!("{:.3} s", wait.as_secs_f64()),
        _ => "not known yet".to_owned(),
    };
    format!("Class: \"{class}\"; clients waiting: {}; expected wait: {expected}.", crowd.waiting)
}

fn unreachable(error: &OpenError, pool: &PoolKey, waited: Option<Duration>) -> Report {
    let report = match error.for_client() {
        Some(error) => Report::quoting(Severity::Error, &error.fields()),
        None => no_login(error, pool),
    };
    let report = report.unwrap_or_else(|| no_connection(error));
    let Some(waited) = waited else { return report };
    let waited = format!("Waited {:.1} s.", waited.as_secs_f64());
    match &report.detail {
        Some(detail) => {
            let detail = format!("{detail} {waited}");
            report.detail(detail)
        }
        None => report.detail(waited),
    }
}

/// What PostgreSQL would say if it were asked; that it is no use asking shows before.
fn no_login(error: &OpenError, pool: &PoolKey) -> Option<Report> {
    let user = &pool.user;
    let text = format!("password authentication failed for user \"{user}\"");
    let report = Report::error(SqlState::INVALID_PASSWORD, text);
    match error {
        OpenError::Login(LoginError::CannotAnswer { request, have }) => Some(
            report
                .detail(format!(
                    "PostgreSQL asks for {}, and the proxy has {have} for this user.",
                    request.name()
                ))
                .hint(format!(
                    "Set users.{user}.server_password in the configuration of pgweir, or the \
                     password of the database if that names its user."
                )),
        ),
        error if error.needs_credential() => Some(
            report
                .detail("PostgreSQL has another password for this user than the proxy was shown.")
                .hint("Connect again with the password that PostgreSQL has."),
        ),
        _ => None,
    }
}

fn no_connection(error: &OpenError) -> Report {
    let report =
        Report::error(SqlState::CANNOT_CONNECT, "could not connect to the database server");
    if let OpenError::Unreachable(error) = error
        && let Some(refused) = tls::connection_refused(error)
    {
        return refused.told(report);
    }
    let message = format!("{}: {}", report.message, public_text(error));
    Report { message, ..report }
}

/// What a client may know of a failed connection; addresses and the rest are in the log.
fn public_text(error: &OpenError) -> &'static str {
    match error {
        OpenError::Unreachable(_) => "it cannot be reached",
        OpenError::Refused { .. } | OpenError::InitQuery(_) => "it refused the connection",
        OpenError::Login(_) | OpenError::Forgotten | OpenError::Derivation => {
            "the proxy could not log in"
        }
        OpenError::Broken(_) => "the connection was lost during the login",
        OpenError::TimedOut => "it did not answer in time",
        OpenError::InitTimedOut => "it did not answer init_query in time",
    }
}

/// `invalid byte sequence for encoding`, as for any text in a wrong encoding.
const INVALID_BYTES: SqlState = SqlState::new(*b"22021");
/// `insufficient_privilege`
const PERMISSION_DENIED: SqlState = SqlState::new(*b"42501");
/// `transaction_timeout` of PostgreSQL 17.
const TRANSACTION_TIMEOUT: SqlState = SqlState::new(*b"25P04");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::{Refusal, Request, ScramClientError};
    use crate::server::ServerError;

    fn key() -> PoolKey {
        PoolKey { database: "shop".into(), user: "app".into() }
    }

    fn refused(code: &str, authenticated: bool) -> CheckoutError {
        let body = format!("SFATAL\0C{code}\0Mbecause\0Dof it\0\0").into_bytes();
        let error = ServerError::new(body.into());
        CheckoutError::Refused(Arc::new(OpenError::Refused { error, authenticated }))
    }

    #[test]
    fn a_full_pool_says_which_how_large_and_how_long() {
        let error = CheckoutError::Full {
            cause: Cause::PoolFull(7),
            counts: Counts::default(),
            class: "default".into(),
            crowd: Crowd { waiting: 3, expected: None },
            waited: Duration::from_millis(2500),
        };
        let report = checkout(&error, &key());
        assert_eq!(
            (report.severity, report.code),
            (Severity::Error, SqlState::TOO_MANY_CONNECTIONS)
        );
        for part in ["timed out waiting for", "\"shop\"", "\"app\"", "7 servers", "2.5 s"] {
            assert!(report.message.contains(part), "{}", report.message);
        }
        assert!(report.hint.is_some());
        let detail = report.detail.expect("who waits");
        assert!(detail.starts_with("Class: \"default\"; clients waiting: 3; expected"), "{detail}");
        assert_eq!(checkout_at_login(&error, &key()).severity, Severity::Fatal);
    }

    #[test]
    fn a_refusal_by_a_class_names_it_its_queue_and_the_wait() {
        let class: Arc<str> = "batch".into();
        let crowd = Crowd { waiting: 70, expected: Some(Duration::from_millis(8250)) };
        let waited = Duration::from_millis(1500);
        let errors = [
            CheckoutError::QueueFull { class: Arc::clone(&class), crowd, limit: 70 },
            CheckoutError::Late { class, crowd, timeout: Duration::from_secs(5), waited },
        ];
        for error in errors {
            let report = checkout(&error, &key());
            assert_eq!(
                (report.severity, report.code),
                (Severity::Error, SqlState::TOO_MANY_CONNECTIONS)
            );
            let expected = "Class: \"batch\"; clients waiting: 70; expected wait: 8.250 s.";
            assert_eq!(report.detail.as_deref(), Some(expected));
        }
    }

    #[test]
    fn postgresqls_own_refusal_keeps_its_code_and_text() {
        for (code, authenticated, expected) in [
            ("3D000", true, "3D000 because"),
            ("0Z123", true, "0Z123 because"),
            ("28000", false, "28000 because"),
            (
                "0Z123",
                false,
                "08001 could not connect to the database server: it refused the connection",
            ),
            ("", true, "08001 could not connect to the database server: it refused the connection"),
        ] {
            let report = checkout(&refused(code, authenticated), &key());
            assert_eq!(format!("{:?} {}", report.code, report.message), expected, "{code}");
            assert_eq!(report.severity, Severity::Error);
        }
        let report = checkout_at_login(&refused("0Z123", true), &key());
        assert_eq!((report.severity, report.detail.as_deref()), (Severity::Fatal, Some("of it")));
    }

    #[test]
    fn a_password_that_changed_is_no_failure_to_connect() {
        let other = OpenError::Login(LoginError::Scram(ScramClientError::OtherVerifier));
        let missing = LoginError::CannotAnswer { request: Request::Sasl, have: "no credential" };
        for (error, hint) in [
            (other, "Connect again"),
            (OpenError::Forgotten, "Connect again"),
            (OpenError::Login(missing), "users.app.server_password"),
        ] {
            let report = checkout(&CheckoutError::Refused(Arc::new(error)), &key());
            assert_eq!(report.code, SqlState::INVALID_PASSWORD);
            assert_eq!(report.message, "password authentication failed for user \"app\"");
            assert!(report.hint.as_ref().is_some_and(|text| text.contains(hint)), "{report:?}");
        }
    }

    #[test]
    fn a_client_learns_nothing_of_why_its_password_was_refused() {
        for refusal in [Refusal::Unknown, Refusal::Expired, Refusal::WrongPassword] {
            let error = AuthError::Refused { user: "u".into(), refusal };
            let report = login_failed(&LoginFailure::Auth(error)).unwrap();
            assert_eq!(report.code, SqlState::INVALID_PASSWORD);
            assert_eq!(report.message, "password authentication failed for user \"u\"");
            assert_eq!((report.detail, report.hint), (None, None));
        }
    }

    #[test]
    fn a_look_up_that_no_limit_leaves_a_connection_for_is_no_failure_to_connect() {
        for (error, code, hint) in [
            (ControlError::Full(Full::Host { limit: 3 }), "53300", "limits.max_servers_host or"),
            (ControlError::Full(Full::Database { limit: 3 }), "53300", "max_servers_database or"),
            (ControlError::Busy, "53300", "limits.max_servers_host"),
            (ControlError::Closed, "08001", ""),
        ] {
            let report = login_failed(&LoginFailure::LookUp(error)).unwrap();
            assert_eq!(report.code.text(), code, "{report:?}");
            assert!(report.hint.unwrap_or_default().contains(hint), "{hint}");
        }
    }

    #[test]
    fn a_bad_length_gets_no_answer() {
        assert!(login_failed(&LoginFailure::Startup(BadStartup::Length)).is_none());
        assert!(bad_frame(BadFrame::Length(b'Q', 3)).is_none());
        let text = bad_frame(BadFrame::Type(b'z')).unwrap().message;
        assert_eq!(text, "invalid frontend message type 122");
    }
}
