//! PostgreSQL authenticates pgweir: from the first AuthenticationXxx to AuthenticationOk.
//!
//! Believes nothing before it is proved: AuthenticationOk in the middle of a SCRAM exchange is an
//! impostor's, and a cleartext password is sent only where nobody else can read it.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::messages::{
    CLEARTEXT_PASSWORD, MD5_PASSWORD, OK, SASL, SASL_CONTINUE, SASL_FINAL, initial_response,
    password_message, sasl_response,
};
use super::scram::{Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use super::scram_client::{AwaitServerFinal, AwaitServerFirst, Gs2, Proof, ScramClientError};
use super::secret::{Md5Hash, ScramKeys, ServerCredential};
use super::transport::{ChannelBinding, Transport};
use crate::wire::{Malformed, Reader};

/// What one login starts from.
pub struct ServerLoginSetup {
    /// The role to log in as, as in the StartupMessage.
    pub user: String,
    /// What to log in with.
    pub credential: ServerCredential,
    /// Keys of an earlier login with the same password ([`ServerLogin::keys`]): spares deriving them.
    pub remembered: Option<ScramKeys>,
    /// Fresh.
    pub nonce: Nonce,
    /// The connection to the server.
    pub transport: Transport,
    /// Accept nothing but SCRAM-SHA-256-PLUS.
    pub require_channel_binding: bool,
}

/// What to do next.
pub enum ServerStep {
    /// Send, then wait for the next message.
    Send(Bytes),
    /// Wait for the next message.
    Continue,
    /// Logged in.
    Ok,
    /// Close.
    Fail(LoginError),
}

impl fmt::Debug for ServerStep {
    /// Leaves out what is sent: it may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(_) => f.write_str("Send(..)"),
            Self::Continue => f.write_str("Continue"),
            Self::Ok => f.write_str("Ok"),
            Self::Fail(error) => f.debug_tuple("Fail").field(error).finish(),
        }
    }
}

/// The login to one server.
///
/// ```text
/// Start --Ok (trust)------------------------------------------------------------> Ended
///   |\--CleartextPassword | MD5Password--> Answered --Ok--------------------------^
///   \--SASL--> AwaitFirst --SASLContinue--> AwaitFinal --SASLFinal--> Proved --Ok--^
/// ```
pub struct ServerLogin {
    state: State,
    keys: Option<ScramKeys>,
}

enum State {
    Start(Box<ServerLoginSetup>),
    Answered,
    AwaitFirst(Box<AwaitServerFirst>),
    AwaitFinal(Box<AwaitServerFinal>),
    Proved(ScramKeys),
    Ended,
}

impl ServerLogin {
    /// Begins after the StartupMessage was sent.
    pub fn new(setup: ServerLoginSetup) -> Self {
        Self { state: State::Start(Box::new(setup)), keys: None }
    }

    /// The body of an AuthenticationXxx message (`R`). With a password and no fitting remembered keys,
    /// AuthenticationSASLContinue takes milliseconds of CPU.
    pub fn on_authentication(&mut self, body: &[u8]) -> ServerStep {
        self.advance(body).unwrap_or_else(ServerStep::Fail)
    }

    /// After a login by SCRAM: the keys used. Good for further logins while the role's password stays.
    pub fn keys(&self) -> Option<&ScramKeys> {
        self.keys.as_ref()
    }

    fn advance(&mut self, body: &[u8]) -> Result<ServerStep, LoginError> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let mut reader = Reader::new(body);
        let code = reader.i32()?;
        match (state, code) {
            (State::Start(setup), _) => self.on_request(*setup, code, reader),
            (State::AwaitFirst(scram), SASL_CONTINUE) => {
                let (next, message) = scram.on_server_first(reader.rest())?;
                self.state = State::AwaitFinal(Box::new(next));
                Ok(ServerStep::Send(sasl_response(&message)))
            }
            (State::AwaitFinal(scram), SASL_FINAL) => {
                self.state = State::Proved(scram.on_server_final(reader.rest())?);
                Ok(ServerStep::Continue)
            }
            (State::Proved(keys), OK) => {
                self.keys = Some(keys);
                Ok(ServerStep::Ok)
            }
            (State::Answered, OK) => Ok(ServerStep::Ok),
            (State::AwaitFirst(_) | State::AwaitFinal(_), OK) => Err(LoginError::Unproved),
            (
                State::Answered
                | State::AwaitFirst(_)
                | State::AwaitFinal(_)
                | State::Proved(_)
                | State::Ended,
                _,
            ) => Err(LoginError::OutOfTurn { code }),
        }
    }

    fn on_request(
        &mut self,
        setup: ServerLoginSetup,
        code: i32,
        mut reader: Reader<'_>,
    ) -> Result<ServerStep, LoginError> {
        let request = Request::read(code)?;
        if setup.require_channel_binding && request != Request::Sasl {
            return Err(LoginError::NoChannelBinding { request });
        }
        match request {
            Request::Nothing => Ok(ServerStep::Ok),
            Request::Cleartext => {
                self.state = State::Answered;
                setup.cleartext_answer().map(ServerStep::Send)
            }
            Request::Md5 => {
                let salt = reader.bytes(4)?.try_into().map_err(|_| Malformed::Short)?;
                self.state = State::Answered;
                setup.md5_answer(salt).map(ServerStep::Send)
            }
            Request::Sasl => {
                let offer = Offer::read(reader)?;
                let (scram, message) = setup.begin_scram(offer)?;
                self.state = State::AwaitFirst(Box::new(scram));
                Ok(ServerStep::Send(message))
            }
        }
    }
}

impl ServerLoginSetup {
    fn cleartext_answer(&self) -> Result<Bytes, LoginError> {
        match &self.credential {
            ServerCredential::Password(_) if !self.transport.is_confidential() => {
                Err(LoginError::CleartextInTheOpen)
            }
            ServerCredential::Password(password) => Ok(password_message(password.as_bytes())),
            other => Err(cannot_answer(Request::Cleartext, other)),
        }
    }

    fn md5_answer(&self, salt: [u8; 4]) -> Result<Bytes, LoginError> {
        let hash = match &self.credential {
            ServerCredential::Password(password) => Md5Hash::of(password, &self.user),
            ServerCredential::Md5Hash(hash) => hash.clone(),
            other => return Err(cannot_answer(Request::Md5, other)),
        };
        Ok(password_message(&hash.answer(salt)))
    }

    fn begin_scram(self, offer: Offer) -> Result<(AwaitServerFirst, Bytes), LoginError> {
        let binding = self.transport.channel_binding().cloned();
        let (mechanism, gs2) = offer.choose(binding, self.require_channel_binding)?;
        let proof = match self.credential {
            ServerCredential::Password(password) => {
                Proof::Password { password, remembered: self.remembered }
            }
            ServerCredential::ScramKeys(keys) => Proof::Keys(keys),
            other => return Err(cannot_answer(Request::Sasl, &other)),
        };
        let (scram, first) = AwaitServerFirst::start(proof, gs2, self.nonce);
        Ok((scram, initial_response(mechanism, &first)))
    }
}

/// What a server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Nothing: AuthenticationOk at once.
    Nothing,
    /// AuthenticationCleartextPassword.
    Cleartext,
    /// AuthenticationMD5Password.
    Md5,
    /// AuthenticationSASL.
    Sasl,
}

impl Request {
    fn read(code: i32) -> Result<Self, LoginError> {
        match code {
            OK => Ok(Self::Nothing),
            CLEARTEXT_PASSWORD => Ok(Self::Cleartext),
            MD5_PASSWORD => Ok(Self::Md5),
            SASL => Ok(Self::Sasl),
            SASL_CONTINUE | SASL_FINAL => Err(LoginError::OutOfTurn { code }),
            2 => Err(LoginError::Unsupported { method: "Kerberos V5", code }),
            6 => Err(LoginError::Unsupported { method: "SCM credentials", code }),
            7 | 8 => Err(LoginError::Unsupported { method: "GSSAPI", code }),
            9 => Err(LoginError::Unsupported { method: "SSPI", code }),
            _ => Err(LoginError::Unsupported { method: "an unknown method", code }),
        }
    }

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Cleartext => "a cleartext password",
            Self::Md5 => "an MD5 password",
            Self::Sasl => "SCRAM",
        }
    }
}

/// The mechanisms of AuthenticationSASL that pgweir knows.
#[derive(Clone, Copy, Default)]
struct Offer {
    scram: bool,
    plus: bool,
}

impl Offer {
    fn read(mut list: Reader<'_>) -> Result<Self, LoginError> {
        let mut offer = Self::default();
        loop {
            match list.cstr()? {
                b"" => return Ok(offer),
                name if name == SCRAM_SHA_256.as_bytes() => offer.scram = true,
                name if name == SCRAM_SHA_256_PLUS.as_bytes() => offer.plus = true,
                _ => {}
            }
        }
    }

    fn choose(
        self,
        binding: Option<ChannelBinding>,
        required: bool,
    ) -> Result<(&'static str, Gs2), LoginError> {
        match binding {
            Some(binding) if self.plus => Ok((SCRAM_SHA_256_PLUS, Gs2::Bound(binding))),
            _ if required => Err(LoginError::NoChannelBinding { request: Request::Sasl }),
            // With `y`, a server that did offer PLUS notices that somebody removed the offer.
            Some(_) if self.scram => Ok((SCRAM_SHA_256, Gs2::NotOffered)),
            None if self.scram => Ok((SCRAM_SHA_256, Gs2::Unable)),
            _ => Err(LoginError::NoMechanism),
        }
    }
}

/// Why pgweir could not log in. PostgreSQL's own refusal is an ErrorResponse, not one of these.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LoginError {
    /// The message does not hold.
    #[error("the server's authentication message is malformed: {0}")]
    Message(#[from] Malformed),
    /// The SCRAM exchange failed.
    #[error(transparent)]
    Scram(#[from] ScramClientError),
    /// Not a method pgweir has.
    #[error("the server asks for {method} (authentication code {code}), which pgweir does not do")]
    Unsupported {
        /// Its name.
        method: &'static str,
        /// The code in the message.
        code: i32,
    },
    /// No SASL mechanism in common.
    #[error("the server offers no SASL mechanism that pgweir can use on this connection")]
    NoMechanism,
    /// Nothing at hand that answers the request.
    #[error("the server asks for {}, but pgweir has {have} for this user", request.name())]
    CannotAnswer {
        /// What it asks for.
        request: Request,
        /// [`ServerCredential::kind`].
        have: &'static str,
    },
    /// Everybody on the way could read it.
    #[error("the server asks for a cleartext password on a connection without TLS")]
    CleartextInTheOpen,
    /// Channel binding is required.
    #[error("channel binding is required, but the server asks for {} without it", request.name())]
    NoChannelBinding {
        /// What it asks for instead.
        request: Request,
    },
    /// AuthenticationOk before the server's signature.
    #[error("the server ended the SCRAM exchange before it proved that it knows the user")]
    Unproved,
    /// Another message than the one whose turn it is.
    #[error("the server sent authentication code {code} out of turn")]
    OutOfTurn {
        /// The code in the message.
        code: i32,
    },
}

fn cannot_answer(request: Request, have: &ServerCredential) -> LoginError {
    LoginError::CannotAnswer { request, have: have.kind() }
}

#[cfg(test)]
mod tests;
