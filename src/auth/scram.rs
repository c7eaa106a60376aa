//! What both ends of SCRAM-SHA-256 share: parameters, keyed hashes, the signed transcript and the
//! attributes of its messages (RFC 5802, RFC 7677).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::Syntax;
use super::saslprep::saslprep;

/// Bytes of every SCRAM-SHA-256 key, proof and signature.
pub(super) const KEY_LEN: usize = 32;

/// Most iterations pgweir works with, in verifiers and from servers: a hostile server could otherwise
/// make it hash for hours. PostgreSQL's default is 4096.
pub const MAX_ITERATIONS: u32 = 100_000;

/// Most bytes of a salt; PostgreSQL makes 16.
pub(super) const MAX_SALT_LEN: usize = 128;

/// Most bytes of a SASL message body; PostgreSQL counts the length word in its limit of 1024.
pub(super) const MAX_SASL_BODY: usize = 1020;

pub(super) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
pub(super) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
pub(super) const END_POINT: &[u8] = b"tls-server-end-point";

/// A count of iterations within 1..=[`MAX_ITERATIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iterations(u32);

impl Iterations {
    /// PostgreSQL's default (`scram_iterations`).
    pub const DEFAULT: Self = Self(4096);

    /// `None` when out of bounds.
    pub fn new(count: u32) -> Option<Self> {
        (1..=MAX_ITERATIONS).contains(&count).then_some(Self(count))
    }

    /// The count.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What a server announces before a client proves its password. Public: it travels in the open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramParams {
    salt: Vec<u8>,
    iterations: Iterations,
}

impl ScramParams {
    /// `None` when the salt is empty or longer than a salt may be.
    pub fn new(salt: impl Into<Vec<u8>>, iterations: Iterations) -> Option<Self> {
        let salt = salt.into();
        (1..=MAX_SALT_LEN).contains(&salt.len()).then_some(Self { salt, iterations })
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The count of iterations.
    pub fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// SaltedPassword of RFC 5802 (PBKDF2 with one block). Takes milliseconds of CPU.
    pub(super) fn salted_password(&self, password: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
        let keyed = keyed(&saslprep(password));
        let mut block = Zeroizing::new(mac(&keyed, &[&self.salt, &1u32.to_be_bytes()]));
        let mut sum = block.clone();
        for _ in 1..self.iterations.get() {
            *block = mac(&keyed, &[block.as_slice()]);
            *sum = xor(&sum, &block);
        }
        sum
    }
}

/// One end's part of the nonce: 18 random bytes as base64, as PostgreSQL makes it.
#[derive(Debug, Clone)]
pub struct Nonce(String);

impl Nonce {
    /// From fresh bytes of a cryptographic source; never use the same twice.
    pub fn new(random: [u8; 18]) -> Self {
        Self(encode(&random))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    #[cfg(test)]
    pub(super) fn fixed(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What both ends sign: AuthMessage of RFC 5802.
#[derive(Clone, Copy)]
pub(super) struct Transcript<'a> {
    pub client_first_bare: &'a [u8],
    pub server_first: &'a [u8],
    pub client_final_without_proof: &'a [u8],
}

impl Transcript<'_> {
    /// ClientSignature with StoredKey, ServerSignature with ServerKey.
    pub(super) fn sign(&self, key: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
        let parts: [&[u8]; 5] = [
            self.client_first_bare,
            b",",
            self.server_first,
            b",",
            self.client_final_without_proof,
        ];
        hmac(key, &parts)
    }
}

/// Reads the `a=value,` attributes of a SCRAM message, with PostgreSQL's complaints.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The value of the next attribute, which must be `wanted`.
    pub(super) fn value(&mut self, wanted: u8) -> Result<&'a [u8], Syntax> {
        let found = self.rest.first().copied();
        if found != Some(wanted) {
            return Err(Syntax::OtherAttribute { wanted, found: found.unwrap_or(0) });
        }
        self.any().map(|(_, value)| value)
    }

    /// The next attribute, whichever it is.
    pub(super) fn any(&mut self) -> Result<(u8, &'a [u8]), Syntax> {
        let (&attribute, rest) = self.rest.split_first().ok_or(Syntax::EndOfString)?;
        if !attribute.is_ascii_alphabetic() {
            return Err(Syntax::NotAnAttribute { found: attribute });
        }
        let rest = rest.strip_prefix(b"=").ok_or(Syntax::NoEqualsSign { attribute })?;
        let mut halves = rest.splitn(2, |&b| b == b',');
        let value = halves.next().unwrap_or_default();
        self.rest = halves.next().unwrap_or_default();
        Ok((attribute, value))
    }
}

/// The characters a nonce may have (`printable` of RFC 5802).
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|&b| b.is_ascii_graphic() && b != b',')
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Decodes at most `max` bytes; `None` when there are more or the text is not base64.
pub(super) fn decode(text: &[u8], max: usize) -> Option<Vec<u8>> {
    if text.len() > max.div_ceil(3) * 4 {
        return None;
    }
    BASE64_STANDARD.decode(text).ok().filter(|bytes| bytes.len() <= max)
}

/// Decodes exactly one key, proof or signature.
pub(super) fn decode_key(text: &[u8]) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let bytes = Zeroizing::new(decode(text, KEY_LEN)?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_LEN] {
    mac(&keyed(key), parts)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; KEY_LEN] {
    Sha256::digest(bytes).into()
}

pub(super) fn xor(a: &[u8; KEY_LEN], b: &[u8; KEY_LEN]) -> [u8; KEY_LEN] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

#[expect(clippy::expect_used, reason = "HMAC takes any key")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; KEY_LEN] {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_order() {
        let mut attributes = Attributes::new(b"n=,r=abc,x=1=2");
        assert_eq!(attributes.value(b'n'), Ok(&b""[..]));
        assert_eq!(attributes.value(b'r'), Ok(&b"abc"[..]));
        assert_eq!(attributes.any(), Ok((b'x', &b"1=2"[..])));
        assert_eq!(attributes.any(), Err(Syntax::EndOfString));
        assert_eq!(attributes.value(b'p'), Err(Syntax::OtherAttribute { wanted: b'p', found: 0 }));
    }

    #[test]
    fn decoding_is_bounded() {
        assert_eq!(decode(encode(&[7; 32]).as_bytes(), 32), Some(vec![7; 32]));
        assert_eq!(decode(encode(&[7; 33]).as_bytes(), 32), None);
        assert_eq!(decode(&[b'A'; 4000], 32), None);
        assert!(decode_key(encode(&[7; 31]).as_bytes()).is_none());
        assert!(decode_key(b"!!!").is_none());
    }

    #[test]
    fn parameters_out_of_bounds_are_refused() {
        assert!(Iterations::new(0).is_none());
        assert!(Iterations::new(MAX_ITERATIONS + 1).is_none());
        assert!(ScramParams::new([], Iterations::DEFAULT).is_none());
        assert!(ScramParams::new([0; MAX_SALT_LEN + 1], Iterations::DEFAULT).is_none());
    }
}
