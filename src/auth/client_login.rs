//! pgweir authenticates a client: from the first AuthenticationXxx to AuthenticationOk.
//!
//! Knows nothing of where users come from or how an error reaches the client. A user who may not log
//! in goes the same way as one with a wrong password: same messages, same work, same error.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq as _;

use super::error::{AuthError, Refusal};
use super::lookup::{Account, Lookup, Mock};
use super::messages::{
    CLEARTEXT_PASSWORD, MD5_PASSWORD, OK, SASL, SASL_CONTINUE, SASL_FINAL, authentication,
    mechanism_list, put_authentication,
};
use super::scram::Nonce;
use super::scram_server::{Reply, ScramServer};
use super::secret::{Md5Hash, Password, ScramKeys, ScramVerifier, Secret, ServerCredential};
use super::transport::Transport;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It need not.
    Trust,
    /// SCRAM-SHA-256, and -PLUS where the transport allows it.
    Scram,
    /// MD5; a user with a SCRAM verifier is asked for SCRAM, as in `auth-password.html`.
    Md5,
    /// The password itself, refused on a connection in the open.
    Cleartext,
}

/// What one login starts from.
pub struct ClientLoginSetup {
    /// Of the startup packet.
    pub user: String,
    /// By the rules for this address, user and database.
    pub method: Method,
    /// Ignored under trust.
    pub lookup: Lookup,
    /// Fresh.
    pub nonce: Nonce,
    /// Fresh.
    pub md5_salt: [u8; 4],
    /// The client's connection.
    pub transport: Transport,
}

/// What to do next.
#[derive(Debug)]
pub enum ClientStep {
    /// Send, then wait for a PasswordMessage, SASLInitialResponse or SASLResponse (`p`).
    Send(Bytes),
    /// Send, and go on: the last message in it is AuthenticationOk.
    Done {
        /// What is left to send.
        send: Bytes,
        /// What pgweir can now log in to PostgreSQL with, as this user.
        credential: ServerCredential,
    },
    /// Send a FATAL and close.
    Fail(AuthError),
}

/// The login of one client.
///
/// ```text
/// start() --> Scram --p...p--> Ended
///      \----> Md5 | Cleartext --p--^
///       \---> Ended (trust)
/// ```
pub struct ClientLogin {
    user: String,
    state: State,
}

enum State {
    Scram { scram: Box<ScramServer>, credential: ServerCredential },
    Md5(Md5Check),
    Cleartext(CleartextCheck),
    Ended,
}

struct Md5Check {
    hash: Md5Hash,
    salt: [u8; 4],
    verdict: Result<ServerCredential, Refusal>,
}

struct CleartextCheck {
    verifier: ScramVerifier,
    lookup: Lookup,
}

impl ClientLogin {
    /// Begins a login and says what to send first. Costs little: whatever is derived from a password
    /// is derived by [`Account::new`].
    pub fn start(setup: ClientLoginSetup, mock: &Mock) -> (Self, ClientStep) {
        let user = setup.user.clone();
        let (state, step) = match setup.method {
            Method::Trust => trust(&setup.lookup),
            Method::Md5 if has_md5(&setup.lookup, &setup.user, mock) => ask_md5(&setup, mock),
            Method::Md5 | Method::Scram => ask_scram(setup, mock),
            Method::Cleartext => ask_cleartext(setup, mock),
        };
        (Self { user, state }, step)
    }

    /// The body of a `p` message. Under [`Method::Cleartext`] it takes milliseconds of CPU.
    pub fn on_message(&mut self, body: &[u8]) -> ClientStep {
        self.advance(body).unwrap_or_else(ClientStep::Fail)
    }

    /// A message with another tag than `p`.
    pub fn on_other_message(&mut self, tag: u8) -> AuthError {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let expected = if matches!(state, State::Scram { .. }) { "SASL" } else { "password" };
        AuthError::UnexpectedMessage { expected, tag }
    }

    fn advance(&mut self, body: &[u8]) -> Result<ClientStep, AuthError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Scram { scram, credential } => self.on_sasl(scram, credential, body),
            State::Md5(check) => {
                let answer = password_message(body)?;
                let credential = check.verify(answer).map_err(|r| self.refused(r))?;
                Ok(ClientStep::Done { send: authentication(OK, b""), credential })
            }
            State::Cleartext(check) => {
                let password = Password::new(password_message(body)?);
                check.verify(&self.user, &password).map_err(|r| self.refused(r))?;
                let credential = ServerCredential::Password(password);
                Ok(ClientStep::Done { send: authentication(OK, b""), credential })
            }
            State::Ended => Err(AuthError::Ended),
        }
    }

    fn on_sasl(
        &mut self,
        mut scram: Box<ScramServer>,
        credential: ServerCredential,
        body: &[u8],
    ) -> Result<ClientStep, AuthError> {
        Ok(match scram.on_message(body)? {
            Reply::Refused(refusal) => ClientStep::Fail(self.refused(refusal)),
            Reply::Continue(text) => {
                self.state = State::Scram { scram, credential };
                ClientStep::Send(authentication(SASL_CONTINUE, &text))
            }
            Reply::Final { text, keys } => {
                let mut send = BytesMut::new();
                put_authentication(&mut send, SASL_FINAL, &text);
                put_authentication(&mut send, OK, b"");
                let credential = or_keys(credential, keys);
                ClientStep::Done { send: send.freeze(), credential }
            }
        })
    }

    fn refused(&self, refusal: Refusal) -> AuthError {
        AuthError::Refused { user: self.user.clone(), refusal }
    }
}

impl Md5Check {
    fn verify(self, answer: &[u8]) -> Result<ServerCredential, Refusal> {
        let proven = self.hash.accepts(self.salt, answer);
        self.verdict
            .and_then(|credential| proven.then_some(credential).ok_or(Refusal::WrongPassword))
    }
}

impl CleartextCheck {
    /// Derives keys whatever is stored, so that the time it takes says nothing of the user.
    fn verify(&self, user: &str, password: &Password) -> Result<(), Refusal> {
        let derived = ScramVerifier::derive(password, &self.verifier.params);
        let account = match &self.lookup {
            Lookup::Found(account) => account,
            Lookup::Refused(refusal) => return Err(*refusal),
        };
        let proven = match account.secret() {
            Secret::Plain(stored) => stored.ct_eq(password),
            Secret::Scram(stored) => stored.stored_key.ct_eq(&derived.stored_key),
            Secret::Md5(stored) => stored.ct_eq(&Md5Hash::of(password, user)),
        };
        if bool::from(proven) { Ok(()) } else { Err(Refusal::WrongPassword) }
    }
}

fn trust(lookup: &Lookup) -> (State, ClientStep) {
    let credential =
        account(lookup).map_or(ServerCredential::None, |account| account.secret().credential());
    (State::Ended, ClientStep::Done { send: authentication(OK, b""), credential })
}

fn ask_scram(setup: ClientLoginSetup, mock: &Mock) -> (State, ClientStep) {
    let (refusal, credential) = match &setup.lookup {
        Lookup::Found(account) if account.verifier().is_some() => {
            (None, account.secret().credential())
        }
        Lookup::Found(_) => (Some(Refusal::Md5Hash), ServerCredential::None),
        Lookup::Refused(refusal) => (Some(*refusal), ServerCredential::None),
    };
    let verifier = verifier(&setup.lookup).unwrap_or_else(|| mock.verifier(&setup.user));
    let binding = setup.transport.channel_binding().cloned();
    let scram = Box::new(ScramServer::new(verifier, refusal, setup.nonce, binding));
    let request = authentication(SASL, &mechanism_list(scram.mechanisms()));
    (State::Scram { scram, credential }, ClientStep::Send(request))
}

fn ask_md5(setup: &ClientLoginSetup, mock: &Mock) -> (State, ClientStep) {
    let decoy = || Md5Hash::of(&Password::new(mock.params(&setup.user).salt()), &setup.user);
    let (hash, verdict) = match &setup.lookup {
        Lookup::Refused(refusal) => (decoy(), Err(*refusal)),
        Lookup::Found(account) => match account.secret() {
            Secret::Plain(password) => {
                (Md5Hash::of(password, &setup.user), Ok(account.secret().credential()))
            }
            Secret::Md5(hash) => (hash.clone(), Ok(account.secret().credential())),
            Secret::Scram(_) => (decoy(), Err(Refusal::NoPassword)),
        },
    };
    let request = authentication(MD5_PASSWORD, &setup.md5_salt);
    (State::Md5(Md5Check { hash, salt: setup.md5_salt, verdict }), ClientStep::Send(request))
}

fn ask_cleartext(setup: ClientLoginSetup, mock: &Mock) -> (State, ClientStep) {
    if !setup.transport.is_confidential() {
        return (State::Ended, ClientStep::Fail(AuthError::CleartextInTheOpen));
    }
    let verifier = verifier(&setup.lookup).unwrap_or_else(|| mock.verifier(&setup.user));
    let check = CleartextCheck { verifier, lookup: setup.lookup };
    (State::Cleartext(check), ClientStep::Send(authentication(CLEARTEXT_PASSWORD, b"")))
}

fn account(lookup: &Lookup) -> Option<&Arc<Account>> {
    match lookup {
        Lookup::Found(account) => Some(account),
        Lookup::Refused(_) => None,
    }
}

fn verifier(lookup: &Lookup) -> Option<ScramVerifier> {
    account(lookup).and_then(|account| account.verifier()).cloned()
}

/// Whether the hash that MD5 needs is there; for who may not log in, as for others.
fn has_md5(lookup: &Lookup, user: &str, mock: &Mock) -> bool {
    match account(lookup) {
        Some(account) => !matches!(account.secret(), Secret::Scram(_)),
        None => mock.is_md5(user),
    }
}

/// A stored password is good for every method; recovered keys for SCRAM only.
fn or_keys(credential: ServerCredential, keys: ScramKeys) -> ServerCredential {
    match credential {
        ServerCredential::None => ServerCredential::ScramKeys(keys),
        known => known,
    }
}

/// The text of a PasswordMessage.
fn password_message(body: &[u8]) -> Result<&[u8], AuthError> {
    match body.split_last() {
        Some((0, text)) if text.contains(&0) => Err(AuthError::PasswordPacket),
        Some((0, [])) => Err(AuthError::EmptyPassword),
        Some((0, text)) => Ok(text),
        _ => Err(AuthError::PasswordPacket),
    }
}

#[cfg(test)]
mod tests;
