//! What goes wrong with a server.

use std::fmt;
use std::io;

use bytes::Bytes;
use thiserror::Error;

use crate::auth::{LoginError, ScramClientError};
use crate::host::Failure;
use crate::net::ConnectError;
use crate::net::tls::TlsError;
use crate::session::settings::TooMany;
use crate::wire::frame::BadFrame;
use crate::wire::{ErrorFields, Malformed};

/// The body of an ErrorResponse. Displays as SQLSTATE and message, printable and of bounded length.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerError(Bytes);

impl ServerError {
    /// Takes the body, whole.
    pub fn new(body: Bytes) -> Self {
        Self(body)
    }

    /// The body as it came.
    pub fn body(&self) -> &Bytes {
        &self.0
    }

    /// Its SQLSTATE; empty if the server sent none.
    pub fn code(&self) -> &[u8] {
        self.fields().code
    }

    /// Its fields.
    pub fn fields(&self) -> ErrorFields<'_> {
        ErrorFields::read(&self.0)
    }

    /// The server lacks something now that it may have later: it starts or stops, or it is out of
    /// connections, memory or disk.
    fn is_passing(&self) -> bool {
        let code = self.code();
        code.starts_with(b"53") || matches!(code, b"57P01" | b"57P02" | b"57P03")
    }
}

impl ServerError {
    /// What the refusal of a login tells of the host. The limits of one role and of one database have the
    /// same SQLSTATE as the host's own, and are found by other routines (`miscinit.c`, `postinit.c`).
    fn of_host(&self) -> Option<Failure> {
        let ErrorFields { code, routine, .. } = self.fields();
        let is_own = matches!(routine, b"InitializeSessionUserId" | b"CheckMyDatabase");
        match code {
            b"57P01" | b"57P02" | b"57P03" => Some(Failure::Away),
            _ if code.starts_with(b"53") && !is_own => Some(Failure::Full),
            _ => None,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fields().for_log())
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({self})")
    }
}

/// Why a server cannot be used any more.
#[derive(Debug, Error)]
pub enum Broken {
    /// Its connection failed.
    #[error("its connection failed: {0}")]
    Lost(#[from] io::Error),
    /// It closed the connection.
    #[error("it closed the connection")]
    Ended,
    /// A message that no server may send.
    #[error("{0}")]
    Frame(#[from] BadFrame),
    /// A message that cannot be read.
    #[error("message of type {:?}: {source}", char::from(*.tag))]
    Message {
        /// Its type.
        tag: u8,
        /// What is wrong with it.
        source: Malformed,
    },
    /// More of something than any server has a use for.
    #[error("more {0} than any server has a use for")]
    TooMuch(&'static str),
    /// It reports settings without end.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// A message that does not belong here.
    #[error("message of type {:?} out of turn", char::from(*.0))]
    OutOfTurn(u8),
    /// An error where none may be.
    #[error("{0}")]
    Refused(ServerError),
    /// Not outside a transaction where it must be.
    #[error("transaction status {:?} instead of 'I'", char::from(*.0))]
    Status(u8),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Its session was reset and is not as after its login.
    #[error("its reset has left something")]
    Unclean,
}

/// Why there is no new server.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No connection.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// An ErrorResponse during the login.
    #[error("the login was refused: {error}")]
    Refused {
        /// The error.
        error: ServerError,
        /// It came after AuthenticationOk. Before, whoever sent it has proved nothing.
        authenticated: bool,
    },
    /// An ErrorResponse to `init_query`.
    #[error("`init_query` failed: {0}")]
    InitQuery(ServerError),
    /// pgweir cannot or will not prove who it is.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The connection was lost, or what came over it is not what a server says.
    #[error("the login failed: {0}")]
    Broken(#[from] Broken),
    /// PostgreSQL asks for what the clients have proved, which it has refused before.
    #[error("PostgreSQL has refused what the clients have proved, and none has logged in since")]
    Forgotten,
    /// The keys of a password were not derived.
    #[error("the keys of the password could not be derived")]
    Derivation,
    /// `timeouts.server_connect` passed.
    #[error("no answer to the login in time")]
    TimedOut,
    /// `timeouts.server_connect` passed behind the login.
    #[error("no answer to init_query in time")]
    InitTimedOut,
}

impl OpenError {
    /// Whether trying again may help, so that clients may go on waiting; else they fail at once.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable(error) => may_pass(error),
            Self::Refused { error, .. } | Self::InitQuery(error) => error.is_passing(),
            Self::Broken(broken) => matches!(broken, Broken::Lost(_) | Broken::Ended),
            Self::Login(_) | Self::Forgotten => false,
            Self::Derivation | Self::TimedOut | Self::InitTimedOut => true,
        }
    }

    /// What it tells of the host, apart from this user and database.
    pub fn of_host(&self) -> Option<Failure> {
        match self {
            Self::Unreachable(ConnectError::TimedOut { .. }) | Self::TimedOut => {
                Some(Failure::Slow)
            }
            Self::Unreachable(error) => may_pass(error).then_some(Failure::Away),
            Self::Refused { error, .. } => error.of_host(),
            Self::Broken(Broken::Lost(_) | Broken::Ended) => Some(Failure::Away),
            _ => None,
        }
    }

    /// PostgreSQL does not accept what the login was made with: the password is another by now.
    pub fn is_bad_credential(&self) -> bool {
        match self {
            Self::Refused { error, .. } => error.code() == b"28P01",
            Self::Login(LoginError::Scram(error)) => *error == ScramClientError::OtherVerifier,
            _ => false,
        }
    }

    /// It cannot be otherwise before there is something else to log in with.
    pub fn needs_credential(&self) -> bool {
        self.is_bad_credential() || self.lacks_credential() || matches!(self, Self::Forgotten)
    }

    /// PostgreSQL asks for what pgweir does not have for this user.
    pub fn lacks_credential(&self) -> bool {
        matches!(self, Self::Login(LoginError::CannotAnswer { .. }))
    }

    /// The server's error, if it may be shown to a client as it is. An error that comes before
    /// AuthenticationOk is the word of somebody who has proved nothing, and is shown only where it
    /// says why a login is refused, which clients rely on.
    pub fn for_client(&self) -> Option<&ServerError> {
        match self {
            Self::Refused { error, authenticated } => {
                (*authenticated || is_login_refusal(error.code())).then_some(error)
            }
            Self::InitQuery(error) => Some(error),
            _ => None,
        }
    }
}

fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Resolve { .. }
        | ConnectError::Connect { .. }
        | ConnectError::TimedOut { .. }
        | ConnectError::Lost { .. }
        // PostgreSQL answers so when it cannot start a process.
        | ConnectError::NotAnAnswer { .. } => true,
        ConnectError::Tls { source, .. } => matches!(source, TlsError::Lost(_)),
        ConnectError::TlsNotOffered { .. } | ConnectError::PlaintextBeforeTls { .. } => false,
    }
}

fn is_login_refusal(code: &[u8]) -> bool {
    code.starts_with(b"28") || matches!(code, b"3D000" | b"53300" | b"57P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, authenticated: bool) -> OpenError {
        let body = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0").into_bytes();
        OpenError::Refused { error: ServerError::new(body.into()), authenticated }
    }

    #[test]
    fn clients_wait_for_what_may_pass_and_for_nothing_else() {
        for (code, retry) in [
            ("57P03", true),
            ("53300", true),
            ("57P01", true),
            ("53200", true),
            ("28P01", false),
            ("28000", false),
            ("3D000", false),
            ("42501", false),
            ("", false),
        ] {
            assert_eq!(refused(code, true).retry(), retry, "{code}");
        }
        assert!(OpenError::Broken(Broken::Ended).retry());
        assert!(!OpenError::Broken(Broken::OutOfTurn(b'x')).retry());
        assert!(!OpenError::Login(LoginError::NoMechanism).retry());
    }

    #[test]
    fn limits_of_a_role_or_a_database_tell_nothing_of_the_host() {
        let full = |routine: &str| {
            let body = format!("SFATAL\0VFATAL\0C53300\0Mno\0R{routine}\0\0").into_bytes();
            let error = ServerError::new(body.into());
            OpenError::Refused { error, authenticated: true }.of_host()
        };
        assert_eq!(full("InitProcess"), Some(Failure::Full));
        assert_eq!(full("CheckMyDatabase"), None);
        assert_eq!(full("InitializeSessionUserId"), None);
        assert_eq!(refused("57P03", false).of_host(), Some(Failure::Away));
        assert_eq!(refused("28P01", false).of_host(), None);
        assert_eq!(OpenError::TimedOut.of_host(), Some(Failure::Slow));
    }

    #[test]
    fn a_password_that_changed_is_told_from_other_refusals() {
        assert!(refused("28P01", false).is_bad_credential());
        assert!(!refused("28000", false).is_bad_credential());
        let other = LoginError::Scram(ScramClientError::OtherVerifier);
        assert!(OpenError::Login(other).is_bad_credential());
        assert!(!OpenError::Login(LoginError::NoMechanism).is_bad_credential());
    }

    #[test]
    fn errors_of_a_stranger_are_not_shown() {
        assert!(refused("28P01", false).for_client().is_some());
        assert!(refused("3D000", false).for_client().is_some());
        assert!(refused("XX000", false).for_client().is_none());
        assert!(refused("XX000", true).for_client().is_some());
    }

    #[test]
    fn an_error_without_fields_is_an_error() {
        let error = ServerError::new(Bytes::from_static(b"SFATAL\0"));
        assert_eq!(error.fields(), ErrorFields { severity: b"FATAL", ..ErrorFields::default() });
        assert!(!error.is_passing());
    }
}
