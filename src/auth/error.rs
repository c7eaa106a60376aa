//! Why a client is not let in. SQLSTATEs, messages and details are PostgreSQL's.

use std::fmt;

use thiserror::Error;

use crate::wire::{Malformed, SqlState};

/// Why a login with a well-formed answer is refused. For the log; the client never learns it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such user.
    #[error("there is no such user")]
    Unknown,
    /// No such user in the configuration, which names no PostgreSQL to be asked: of no user, or of none of this database,
    /// which it may not have.
    #[error(
        "the user is not configured, and nothing is configured to look users of this database up"
    )]
    NowhereKnown,
    /// PostgreSQL would have to be asked, and lets nobody ask.
    #[error("the user is not configured, and PostgreSQL denies looking users up")]
    LookUpDenied,
    /// The role's `valid_until` has passed.
    #[error("the password has expired")]
    Expired,
    /// The role may not log in.
    #[error("the role is not permitted to log in")]
    NoLogin,
    /// The user has no password, or none that this method can check.
    #[error("no password is stored that this method can check")]
    NoPassword,
    /// An MD5 hash is stored, and SCRAM is asked for.
    #[error("the stored password is an md5 hash, which SCRAM cannot check")]
    Md5Hash,
    /// The password is not the user's.
    #[error("the password is wrong")]
    WrongPassword,
    /// More bytes than an answer may have.
    #[error("the answer is too long")]
    Oversized,
}

/// A login that failed. `Display` is the primary message for the client.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// The same for every refusal.
    #[error("password authentication failed for user \"{user}\"")]
    Refused {
        /// As in the startup packet.
        user: String,
        /// For the log.
        refusal: Refusal,
    },
    /// An empty password, which PostgreSQL refuses whatever is stored.
    #[error("empty password returned by client")]
    EmptyPassword,
    /// No NUL at the end of a password, or one before it.
    #[error("invalid password packet size")]
    PasswordPacket,
    /// A message that is no answer.
    #[error("expected {expected} response, got message type {tag}")]
    UnexpectedMessage {
        /// `SASL` or `password`.
        expected: &'static str,
        /// Its tag.
        tag: u8,
    },
    /// Cleartext is switched on for a connection that shows it to everybody.
    #[error("cleartext password authentication needs TLS or a Unix socket")]
    CleartextInTheOpen,
    /// A message after the end.
    #[error("authentication has already ended")]
    Ended,
    /// A bad SCRAM exchange.
    #[error(transparent)]
    Scram(#[from] ScramServerError),
}

impl AuthError {
    /// SQLSTATE of the FATAL.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::Refused { .. } | Self::EmptyPassword => SqlState::INVALID_PASSWORD,
            Self::PasswordPacket | Self::UnexpectedMessage { .. } | Self::Ended => {
                SqlState::PROTOCOL_VIOLATION
            }
            Self::CleartextInTheOpen => SqlState::INVALID_AUTHORIZATION,
            Self::Scram(error) => error.sqlstate(),
        }
    }

    /// DETAIL for the client.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Scram(error) => error.detail(),
            _ => None,
        }
    }
}

/// What is wrong with a client's side of a SCRAM exchange.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ScramServerError {
    /// The message around it does not hold.
    #[error(transparent)]
    Message(#[from] Malformed),
    /// A mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// The SCRAM message does not hold.
    #[error("malformed SCRAM message")]
    Syntax(#[from] Syntax),
    /// An `a=`.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// An `m=`.
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    /// A nonce that could not be quoted back.
    #[error("non-printable characters in SCRAM nonce")]
    NonceCharacters,
    /// A `p=` other than `tls-server-end-point`.
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    ChannelBindingType(String),
    /// `y` though PLUS was offered: somebody between removed the offer.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The client speaks to another certificate: somebody is between.
    #[error("SCRAM channel binding check failed")]
    ChannelBinding,
    /// `c=` does not repeat the first message.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    BindingAttribute,
    /// The final nonce is not the one we sent.
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// The exchange is over, one way or the other.
    #[error("authentication has already ended")]
    Ended,
}

impl ScramServerError {
    fn sqlstate(&self) -> SqlState {
        match self {
            Self::AuthorizationIdentity | Self::Extension => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Downgrade | Self::ChannelBinding => SqlState::INVALID_AUTHORIZATION,
            Self::Message(_)
            | Self::Mechanism
            | Self::Syntax(_)
            | Self::NonceCharacters
            | Self::ChannelBindingType(_)
            | Self::BindingAttribute
            | Self::NonceMismatch
            | Self::Ended => SqlState::PROTOCOL_VIOLATION,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Syntax(syntax) => Some(syntax.to_string()),
            Self::NonceMismatch => Some("Nonce does not match.".to_owned()),
            Self::Downgrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// What is wrong with the text of a SCRAM message. `Display` is a DETAIL.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// No text.
    #[error("The message is empty.")]
    Empty,
    /// A NUL within.
    #[error("Message length does not match input length.")]
    Nul,
    /// Neither `n`, `y` nor `p`.
    #[error("Unexpected channel-binding flag \"{}\".", Shown(*.found))]
    Flag {
        /// What stands there; 0 for the end.
        found: u8,
    },
    /// Nothing but a comma may follow the flag.
    #[error("Comma expected, but found character \"{}\".", Shown(*.found))]
    NoComma {
        /// What stands there; 0 for the end.
        found: u8,
    },
    /// Neither `a=` nor a comma after the flag.
    #[error("Unexpected attribute \"{}\" in client-first-message.", Shown(*.found))]
    FirstAttribute {
        /// What stands there; 0 for the end.
        found: u8,
    },
    /// PLUS without its data.
    #[error(
        "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel \
         binding data."
    )]
    BindingMissing,
    /// The data of PLUS without PLUS.
    #[error(
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes \
         channel binding data."
    )]
    BindingUnasked,
    /// Another attribute than the one whose turn it is.
    #[error("Expected attribute \"{}\" but found \"{}\".", char::from(*.wanted), Shown(*.found))]
    OtherAttribute {
        /// Whose turn it is.
        wanted: u8,
        /// What stands there; 0 for the end.
        found: u8,
    },
    /// No letter where an attribute begins.
    #[error("Attribute expected, but found invalid character \"{}\".", Shown(*.found))]
    NotAnAttribute {
        /// What stands there.
        found: u8,
    },
    /// Nothing where an attribute begins.
    #[error("Attribute expected, but found end of string.")]
    EndOfString,
    /// An attribute without a value.
    #[error("Expected character \"=\" for attribute \"{}\".", char::from(*.attribute))]
    NoEqualsSign {
        /// The attribute.
        attribute: u8,
    },
    /// Not 32 bytes of base64.
    #[error("Malformed proof in client-final-message.")]
    Proof,
    /// More after the proof.
    #[error("Garbage found at the end of client-final-message.")]
    Garbage,
}

/// A byte of the peer's, made printable.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() {
            write!(f, "'{}'", char::from(self.0))
        } else {
            write!(f, "0x{:02x}", self.0)
        }
    }
}
