//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, towards PostgreSQL.
//!
//! Logs in with a password or, without one, with the ClientKey that a client's own proof gave away.
//! Nothing the server says is trusted before its signature is verified; every length is bounded.

use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::error::Syntax;
use super::scram::{
    self, Attributes, END_POINT, Iterations, KEY_LEN, MAX_ITERATIONS, MAX_SALT_LEN, Nonce,
    ScramParams, Transcript,
};
use super::secret::{Password, ScramKeys};
use super::transport::ChannelBinding;

/// Most bytes of a server's message.
const MAX_SERVER_MESSAGE: usize = 2048;
/// Most bytes of both ends' nonces together; PostgreSQL makes 48.
const MAX_NONCE_LEN: usize = 512;
/// Most characters kept of a server's `e=`.
const MAX_SERVER_ERROR: usize = 100;

/// What to prove knowledge of.
pub(super) enum Proof {
    /// A password. `remembered` saves deriving while the server's parameters stay the same.
    Password { password: Password, remembered: Option<ScramKeys> },
    /// Keys of one verifier.
    Keys(ScramKeys),
}

/// What the client says of channel binding in the GS2 header (RFC 5802 section 6).
pub(super) enum Gs2 {
    /// `n`: it cannot.
    Unable,
    /// `y`: it can, but the server did not offer it. A server that did offer it must then refuse.
    NotOffered,
    /// `p=`: it does.
    Bound(ChannelBinding),
}

impl Gs2 {
    fn header(&self) -> Vec<u8> {
        match self {
            Self::Unable => b"n,,".to_vec(),
            Self::NotOffered => b"y,,".to_vec(),
            Self::Bound(_) => [b"p=".as_slice(), END_POINT, b",,"].concat(),
        }
    }

    fn binding_input(&self) -> Vec<u8> {
        let mut input = self.header();
        if let Self::Bound(binding) = self {
            input.extend_from_slice(binding.as_bytes());
        }
        input
    }
}

/// The exchange after client-first-message.
pub(super) struct AwaitServerFirst {
    proof: Proof,
    gs2: Gs2,
    nonce: Nonce,
    bare: Vec<u8>,
}

impl AwaitServerFirst {
    /// Returns client-first-message too. It names no user: PostgreSQL takes the name from the startup
    /// packet.
    pub(super) fn start(proof: Proof, gs2: Gs2, nonce: Nonce) -> (Self, Vec<u8>) {
        Self::start_as(b"", proof, gs2, nonce)
    }

    fn start_as(name: &[u8], proof: Proof, gs2: Gs2, nonce: Nonce) -> (Self, Vec<u8>) {
        let bare = [b"n=", name, b",r=", nonce.as_bytes()].concat();
        let message = [gs2.header(), bare.clone()].concat();
        (Self { proof, gs2, nonce, bare }, message)
    }

    /// Takes server-first-message and returns client-final-message too.
    pub(super) fn on_server_first(
        self,
        message: &[u8],
    ) -> Result<(AwaitServerFinal, Vec<u8>), ScramClientError> {
        let first = ServerFirst::read(message, self.nonce.as_bytes())?;
        let keys = keys_for(self.proof, &first.params)?;
        let binding = scram::encode(&self.gs2.binding_input());
        let mut text = [b"c=", binding.as_bytes(), b",r=", first.nonce].concat();
        let transcript = Transcript {
            client_first_bare: &self.bare,
            server_first: message,
            client_final_without_proof: &text,
        };
        let signature = transcript.sign(keys.client_key.stored_key().as_bytes());
        let expected = transcript.sign(keys.server_key.as_bytes());
        let proof = scram::xor(keys.client_key.as_bytes(), &signature);
        text.extend_from_slice(format!(",p={}", scram::encode(&proof)).as_bytes());
        Ok((AwaitServerFinal { keys, expected }, text))
    }
}

/// The exchange after client-final-message.
pub(super) struct AwaitServerFinal {
    keys: ScramKeys,
    expected: [u8; KEY_LEN],
}

impl AwaitServerFinal {
    /// Takes server-final-message: the server knows the verifier if its signature is right. Returns
    /// the keys used, to be remembered.
    pub(super) fn on_server_final(self, message: &[u8]) -> Result<ScramKeys, ScramClientError> {
        check_len(message)?;
        let mut attributes = Attributes::new(message);
        if message.starts_with(b"e=") {
            return Err(ScramClientError::Refused(printable(attributes.value(b'e')?)));
        }
        let signature =
            scram::decode_key(attributes.value(b'v')?).ok_or(ScramClientError::SignatureText)?;
        if !bool::from(self.expected.ct_eq(signature.as_slice())) {
            return Err(ScramClientError::Signature);
        }
        Ok(self.keys)
    }
}

/// `r=nonce,s=salt,i=iterations[,extensions]`.
struct ServerFirst<'a> {
    nonce: &'a [u8],
    params: ScramParams,
}

impl<'a> ServerFirst<'a> {
    fn read(message: &'a [u8], ours: &[u8]) -> Result<Self, ScramClientError> {
        check_len(message)?;
        let mut attributes = Attributes::new(message);
        let nonce = attributes.value(b'r')?;
        if nonce.len() > MAX_NONCE_LEN {
            return Err(ScramClientError::NonceTooLong { len: nonce.len() });
        }
        // The server must add something of its own: else it could replay an old exchange.
        let added = nonce.strip_prefix(ours).ok_or(ScramClientError::Nonce)?;
        if added.is_empty() || !scram::is_printable(added) {
            return Err(ScramClientError::Nonce);
        }
        let salt = attributes.value(b's')?;
        let salt = scram::decode(salt, MAX_SALT_LEN).ok_or(ScramClientError::Salt)?;
        let iterations = read_iterations(attributes.value(b'i')?)?;
        let params = ScramParams::new(salt, iterations).ok_or(ScramClientError::Salt)?;
        Ok(Self { nonce, params })
    }
}

fn read_iterations(text: &[u8]) -> Result<Iterations, ScramClientError> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    let text = text.ok_or(ScramClientError::IterationsText)?;
    // A number too big for the type is a number too big.
    let count = text.parse().unwrap_or(u64::MAX);
    u32::try_from(count)
        .ok()
        .and_then(Iterations::new)
        .ok_or(ScramClientError::Iterations { count })
}

fn keys_for(proof: Proof, params: &ScramParams) -> Result<ScramKeys, ScramClientError> {
    match proof {
        Proof::Password { remembered: Some(keys), .. } if keys.params == *params => Ok(keys),
        Proof::Password { password, .. } => Ok(ScramKeys::derive(&password, params)),
        Proof::Keys(keys) if keys.params == *params => Ok(keys),
        Proof::Keys(_) => Err(ScramClientError::OtherVerifier),
    }
}

fn check_len(message: &[u8]) -> Result<(), ScramClientError> {
    if message.len() > MAX_SERVER_MESSAGE {
        return Err(ScramClientError::TooLong { len: message.len() });
    }
    Ok(())
}

fn printable(text: &[u8]) -> String {
    text.iter()
        .filter(|b| b.is_ascii_graphic())
        .take(MAX_SERVER_ERROR)
        .copied()
        .map(char::from)
        .collect()
}

/// Why a server's side of the exchange is refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ScramClientError {
    /// Not the attributes of SCRAM.
    #[error("the server's SCRAM message is malformed: {0}")]
    Syntax(#[from] Syntax),
    /// Beyond every sensible length.
    #[error("the server's SCRAM message has {len} bytes, more than {max}", max = MAX_SERVER_MESSAGE)]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Beyond every sensible length.
    #[error("the server's SCRAM nonce has {len} bytes, more than {max}", max = MAX_NONCE_LEN)]
    NonceTooLong {
        /// Its length.
        len: usize,
    },
    /// Does not begin with ours, or adds nothing to it.
    #[error("the server's SCRAM nonce does not extend ours")]
    Nonce,
    /// Not base64, empty or too long.
    #[error("the server's SCRAM salt is not base64 of 1 to {max} bytes", max = MAX_SALT_LEN)]
    Salt,
    /// No number.
    #[error("the server's SCRAM iteration count is not a number")]
    IterationsText,
    /// So many that deriving would be a denial of service, or none.
    #[error("the server asks for {count} SCRAM iterations, not 1 to {max}", max = MAX_ITERATIONS)]
    Iterations {
        /// What it asks for.
        count: u64,
    },
    /// The role's password was set anew, or the verifier is of another server.
    #[error("the SCRAM keys at hand belong to another verifier than the server's")]
    OtherVerifier,
    /// An `e=`.
    #[error("the server refused the SCRAM exchange: {0}")]
    Refused(String),
    /// Not base64 of 32 bytes.
    #[error("the server's SCRAM signature is malformed")]
    SignatureText,
    /// The server does not know the verifier: it is not the server we think.
    #[error("the server's SCRAM signature is wrong")]
    Signature,
}

#[cfg(test)]
mod tests;
