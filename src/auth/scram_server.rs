//! The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (`sasl-authentication.html`).
//!
//! Obeys, for every bad input, what PostgreSQL 15 was seen to answer. A client that does not exist, or
//! may not log in, is led through the same exchange, by the same code, and refused at its end.

use subtle::{Choice, ConstantTimeEq as _};

use super::error::{Refusal, ScramServerError as Error, Syntax};
use super::scram::{
    self, Attributes, END_POINT, KEY_LEN, MAX_SASL_BODY, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS,
    Transcript,
};
use super::secret::{ClientKey, ScramKeys, ScramVerifier};
use super::transport::ChannelBinding;
use crate::wire::Reader;

/// One exchange.
///
/// ```text
/// Offered --SASLInitialResponse--------------------> AwaitFinal --SASLResponse--> Ended
///    \--SASLInitialResponse without data--> AwaitFirst --SASLResponse--^
/// ```
pub(super) struct ScramServer {
    verifier: ScramVerifier,
    refusal: Option<Refusal>,
    nonce: Nonce,
    binding: Option<ChannelBinding>,
    state: State,
}

enum State {
    Offered,
    AwaitFirst(Mechanism),
    AwaitFinal(Exchange),
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Scram,
    ScramPlus,
}

/// What the final message is checked against.
struct Exchange {
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
    /// What `c=` must decode to: the GS2 header and, with PLUS, the binding.
    binding_input: Vec<u8>,
    mechanism: Mechanism,
}

/// What to send.
pub(super) enum Reply {
    /// AuthenticationSASLContinue with this text.
    Continue(Vec<u8>),
    /// AuthenticationSASLFinal with this text: the client has proved its password.
    Final { text: Vec<u8>, keys: ScramKeys },
    /// Nothing: well-formed, but not let in.
    Refused(Refusal),
}

impl ScramServer {
    /// With a `refusal`, the exchange fails at its end whatever the client proves.
    pub(super) fn new(
        verifier: ScramVerifier,
        refusal: Option<Refusal>,
        nonce: Nonce,
        binding: Option<ChannelBinding>,
    ) -> Self {
        Self { verifier, refusal, nonce, binding, state: State::Offered }
    }

    /// The mechanisms of AuthenticationSASL, the best first.
    pub(super) fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
            None => &[SCRAM_SHA_256],
        }
    }

    /// The body of a SASLInitialResponse or SASLResponse.
    pub(super) fn on_message(&mut self, body: &[u8]) -> Result<Reply, Error> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if body.len() > MAX_SASL_BODY {
            return Ok(Reply::Refused(Refusal::Oversized));
        }
        match state {
            State::Offered => self.on_initial(body),
            State::AwaitFirst(mechanism) => self.on_client_first(mechanism, body),
            State::AwaitFinal(exchange) => self.on_client_final(&exchange, body),
            State::Ended => Err(Error::Ended),
        }
    }

    fn on_initial(&mut self, body: &[u8]) -> Result<Reply, Error> {
        let mut reader = Reader::new(body);
        let mechanism = self.mechanism(reader.cstr()?).ok_or(Error::Mechanism)?;
        let len = reader.i32()?;
        if len == -1 {
            // No initial response: the client wants to be asked (RFC 4422 section 3.3).
            reader.finish()?;
            self.state = State::AwaitFirst(mechanism);
            return Ok(Reply::Continue(Vec::new()));
        }
        // Any other negative length becomes one that no message has.
        let message = reader.bytes(usize::try_from(len).unwrap_or(usize::MAX))?;
        reader.finish()?;
        self.on_client_first(mechanism, message)
    }

    fn mechanism(&self, name: &[u8]) -> Option<Mechanism> {
        let offered = self.mechanisms().iter().find(|offered| offered.as_bytes() == name)?;
        Some(if *offered == SCRAM_SHA_256 { Mechanism::Scram } else { Mechanism::ScramPlus })
    }

    fn on_client_first(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Reply, Error> {
        check_text(message)?;
        let bare = self.after_gs2_header(mechanism, message)?;
        let header = &message[..message.len() - bare.len()];
        let client_nonce = read_bare(bare)?;

        let nonce = [client_nonce, self.nonce.as_bytes()].concat();
        let params = &self.verifier.params;
        let (salt, iterations) = (scram::encode(params.salt()), params.iterations().get());
        let mut server_first = [b"r=".as_slice(), &nonce].concat();
        server_first.extend_from_slice(format!(",s={salt},i={iterations}").as_bytes());

        let mut binding_input = header.to_vec();
        if let (Mechanism::ScramPlus, Some(binding)) = (mechanism, &self.binding) {
            binding_input.extend_from_slice(binding.as_bytes());
        }
        self.state = State::AwaitFinal(Exchange {
            client_first_bare: bare.to_vec(),
            server_first: server_first.clone(),
            nonce,
            binding_input,
            mechanism,
        });
        Ok(Reply::Continue(server_first))
    }

    /// Checks `flag,[authzid],` and returns what follows it.
    fn after_gs2_header<'a>(
        &self,
        mechanism: Mechanism,
        message: &'a [u8],
    ) -> Result<&'a [u8], Error> {
        let rest = match message.first() {
            Some(b'p') => after_binding_type(mechanism, message)?,
            Some(b'n' | b'y') if mechanism == Mechanism::ScramPlus => {
                return Err(Syntax::BindingMissing.into());
            }
            Some(b'y') if self.binding.is_some() => return Err(Error::Downgrade),
            Some(b'n' | b'y') => {
                let rest = message.get(1..).unwrap_or_default();
                rest.strip_prefix(b",").ok_or(Syntax::NoComma { found: first_byte(rest) })?
            }
            _ => {
                return Err(Syntax::Flag { found: first_byte(message) }.into());
            }
        };
        match rest.split_first() {
            Some((b',', bare)) => Ok(bare),
            Some((b'a', _)) => Err(Error::AuthorizationIdentity),
            _ => Err(Syntax::FirstAttribute { found: first_byte(rest) }.into()),
        }
    }

    fn on_client_final(&self, exchange: &Exchange, message: &[u8]) -> Result<Reply, Error> {
        check_text(message)?;
        let last = ClientFinal::read(exchange, message)?;
        if !bool::from(exchange.nonce.ct_eq(last.nonce)) {
            return Err(Error::NonceMismatch);
        }
        let transcript = Transcript {
            client_first_bare: &exchange.client_first_bare,
            server_first: &exchange.server_first,
            client_final_without_proof: last.without_proof,
        };
        let signature = transcript.sign(self.verifier.server_key.as_bytes());
        let text = format!("v={}", scram::encode(&signature)).into_bytes();
        Ok(match self.verify(&transcript, &last.proof) {
            Ok(keys) => Reply::Final { text, keys },
            Err(refusal) => Reply::Refused(refusal),
        })
    }

    fn verify(
        &self,
        transcript: &Transcript<'_>,
        proof: &[u8; KEY_LEN],
    ) -> Result<ScramKeys, Refusal> {
        let signature = transcript.sign(self.verifier.stored_key.as_bytes());
        let client_key = ClientKey::new(scram::xor(proof, &signature));
        let proven = client_key.stored_key().ct_eq(&self.verifier.stored_key);
        let allowed = Choice::from(u8::from(self.refusal.is_none()));
        if !bool::from(proven & allowed) {
            return Err(self.refusal.unwrap_or(Refusal::WrongPassword));
        }
        Ok(ScramKeys {
            client_key,
            server_key: self.verifier.server_key.clone(),
            params: self.verifier.params.clone(),
        })
    }
}

/// `c=binding,r=nonce[,extensions],p=proof`.
struct ClientFinal<'a> {
    nonce: &'a [u8],
    proof: zeroize::Zeroizing<[u8; KEY_LEN]>,
    without_proof: &'a [u8],
}

impl<'a> ClientFinal<'a> {
    fn read(exchange: &Exchange, message: &'a [u8]) -> Result<Self, Error> {
        let mut attributes = Attributes::new(message);
        let binding = attributes.value(b'c')?;
        if binding != scram::encode(&exchange.binding_input).as_bytes() {
            return Err(match exchange.mechanism {
                Mechanism::ScramPlus => Error::ChannelBinding,
                Mechanism::Scram => Error::BindingAttribute,
            });
        }
        let nonce = attributes.value(b'r')?;
        let (proof, without_proof) = loop {
            let before = message.len() - attributes.rest().len();
            let (attribute, value) = attributes.any()?;
            if attribute == b'p' {
                break (value, message.get(..before - 1).unwrap_or_default());
            }
        };
        let proof = scram::decode_key(proof).ok_or(Syntax::Proof)?;
        if !attributes.rest().is_empty() {
            return Err(Syntax::Garbage.into());
        }
        Ok(Self { nonce, proof, without_proof })
    }
}

/// Skips `p=tls-server-end-point,`.
fn after_binding_type(mechanism: Mechanism, message: &[u8]) -> Result<&[u8], Error> {
    if mechanism == Mechanism::Scram {
        return Err(Syntax::BindingUnasked.into());
    }
    let mut attributes = Attributes::new(message);
    let kind = attributes.value(b'p')?;
    if kind != END_POINT {
        return Err(Error::ChannelBindingType(kind.escape_ascii().to_string()));
    }
    Ok(attributes.rest())
}

/// Reads `n=user,r=nonce[,extensions]` and returns the nonce. The name is ignored, as in PostgreSQL:
/// the startup packet has it.
fn read_bare(bare: &[u8]) -> Result<&[u8], Error> {
    if bare.first() == Some(&b'm') {
        return Err(Error::Extension);
    }
    let mut attributes = Attributes::new(bare);
    attributes.value(b'n')?;
    let nonce = attributes.value(b'r')?;
    if !scram::is_printable(nonce) {
        return Err(Error::NonceCharacters);
    }
    while !attributes.rest().is_empty() {
        attributes.any()?;
    }
    Ok(nonce)
}

fn check_text(message: &[u8]) -> Result<(), Syntax> {
    if message.is_empty() {
        Err(Syntax::Empty)
    } else if message.contains(&0) {
        Err(Syntax::Nul)
    } else {
        Ok(())
    }
}

fn first_byte(text: &[u8]) -> u8 {
    text.first().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
