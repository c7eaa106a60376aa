//! Secrets. All are wiped when dropped, print as `..`, and are compared in constant time only.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use zeroize::Zeroizing;

use super::scram::{self, Iterations, KEY_LEN, MAX_SALT_LEN, SCRAM_SHA_256, ScramParams};

/// A password in the clear, as bytes: PostgreSQL does not ask for UTF-8.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes the bytes over without copying them.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl ConstantTimeEq for Password {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// A key of 32 bytes: StoredKey, ServerKey, or one of the proxy's own.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    /// Takes a copy of the bytes.
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn decode(text: &str) -> Option<Self> {
        scram::decode_key(text.as_bytes()).map(Self)
    }
}

impl ConstantTimeEq for Key {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(other.0.as_slice())
    }
}

/// ClientKey of RFC 5802. As good as the password at every server that holds the same verifier.
#[derive(Clone)]
pub struct ClientKey(Key);

impl ClientKey {
    pub(super) fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Key::new(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }

    /// StoredKey of RFC 5802.
    pub(super) fn stored_key(&self) -> Key {
        Key::new(scram::sha256(self.as_bytes()))
    }
}

/// What PostgreSQL keeps in `pg_authid.rolpassword` for a role with a SCRAM password.
#[derive(Clone)]
pub struct ScramVerifier {
    pub(super) params: ScramParams,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl ScramVerifier {
    /// Derives the verifier of a password. Takes milliseconds of CPU.
    pub fn derive(password: &Password, params: &ScramParams) -> Self {
        ScramKeys::derive(password, params).verifier()
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let mut sections = text.split('$');
        let (scheme, params, keys) = (sections.next(), sections.next(), sections.next());
        if scheme != Some(SCRAM_SHA_256) || sections.next().is_some() {
            return Err(SecretError::Shape);
        }
        let params = Self::parse_params(params.ok_or(SecretError::Shape)?)?;
        let (stored, server) = keys.and_then(|k| k.split_once(':')).ok_or(SecretError::Shape)?;
        let stored_key = Key::decode(stored).ok_or(SecretError::Key)?;
        let server_key = Key::decode(server).ok_or(SecretError::Key)?;
        Ok(Self { params, stored_key, server_key })
    }

    /// Writes what [`ScramVerifier::parse`] reads.
    pub fn format(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{SCRAM_SHA_256}${}:{}${}:{}",
            self.params.iterations().get(),
            scram::encode(self.params.salt()),
            scram::encode(self.stored_key.as_bytes()),
            scram::encode(self.server_key.as_bytes()),
        ))
    }

    /// Salt and iterations.
    pub fn params(&self) -> &ScramParams {
        &self.params
    }

    fn parse_params(text: &str) -> Result<ScramParams, SecretError> {
        let (count, salt) = text.split_once(':').ok_or(SecretError::Shape)?;
        let iterations =
            count.parse().ok().and_then(Iterations::new).ok_or(SecretError::Iterations)?;
        let salt = scram::decode(salt.as_bytes(), MAX_SALT_LEN).ok_or(SecretError::Salt)?;
        ScramParams::new(salt, iterations).ok_or(SecretError::Salt)
    }
}

/// What it takes to log in by SCRAM without the password: derived from it, or recovered from a
/// client's proof. Works only at servers that announce the same [`ScramParams`].
#[derive(Clone)]
pub struct ScramKeys {
    pub(super) client_key: ClientKey,
    pub(super) server_key: Key,
    pub(super) params: ScramParams,
}

impl ScramKeys {
    /// Derives the keys of a password. Takes milliseconds of CPU.
    pub fn derive(password: &Password, params: &ScramParams) -> Self {
        let salted = params.salted_password(password.as_bytes());
        Self {
            client_key: ClientKey::new(scram::hmac(salted.as_slice(), &[b"Client Key"])),
            server_key: Key::new(scram::hmac(salted.as_slice(), &[b"Server Key"])),
            params: params.clone(),
        }
    }

    /// The verifier these keys belong to.
    pub fn verifier(&self) -> ScramVerifier {
        ScramVerifier {
            params: self.params.clone(),
            stored_key: self.client_key.stored_key(),
            server_key: self.server_key.clone(),
        }
    }

    /// Salt and iterations they belong to.
    pub fn params(&self) -> &ScramParams {
        &self.params
    }
}

/// An MD5 password hash: 32 hexadecimal digits, without the `md5` before them.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<[u8; 32]>);

impl Md5Hash {
    /// Reads `md5` and 32 lowercase digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then(|| Self::new(digits))
    }

    pub(super) fn new(digits: [u8; 32]) -> Self {
        Self(Zeroizing::new(digits))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ConstantTimeEq for Md5Hash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(other.0.as_slice())
    }
}

/// What is stored for a user to log in with.
#[derive(Clone)]
pub enum Secret {
    /// The password itself.
    Plain(Password),
    /// A SCRAM verifier.
    Scram(ScramVerifier),
    /// An MD5 hash.
    Md5(Md5Hash),
}

impl Secret {
    /// Tells the kinds apart as PostgreSQL does in `rolpassword`. Unlike PostgreSQL, a broken verifier
    /// is an error and not a password: it would let in whoever has read it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(hash) = Md5Hash::parse(text) {
            return Ok(Self::Md5(hash));
        }
        if text.starts_with("SCRAM-SHA-256$") {
            return ScramVerifier::parse(text).map(Self::Scram);
        }
        if text.is_empty() || text.contains('\0') {
            return Err(SecretError::Password);
        }
        Ok(Self::Plain(Password::new(text)))
    }

    /// The text that [`Secret::parse`] read.
    pub fn format(&self) -> Zeroizing<String> {
        match self {
            Self::Plain(password) => {
                String::from_utf8_lossy(password.as_bytes()).into_owned().into()
            }
            Self::Scram(verifier) => verifier.format(),
            Self::Md5(hash) => format!("md5{}", String::from_utf8_lossy(hash.as_bytes())).into(),
        }
    }

    /// What it lets pgweir log in with before the user has proved anything: a verifier by itself lets
    /// nobody in.
    pub fn credential(&self) -> ServerCredential {
        match self {
            Self::Plain(password) => ServerCredential::Password(password.clone()),
            Self::Md5(hash) => ServerCredential::Md5Hash(hash.clone()),
            Self::Scram(_) => ServerCredential::None,
        }
    }
}

/// Why a stored secret is of no use. Says nothing of its text.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SecretError {
    /// Not the five fields.
    #[error("SCRAM verifier is not of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
    Shape,
    /// No count, or out of bounds.
    #[error("iterations of the SCRAM verifier are not a number from 1 to {max}", max = scram::MAX_ITERATIONS)]
    Iterations,
    /// Not base64, empty or too long.
    #[error("salt of the SCRAM verifier is not base64 of 1 to {max} bytes", max = MAX_SALT_LEN)]
    Salt,
    /// StoredKey or ServerKey is not 32 bytes.
    #[error("a key of the SCRAM verifier is not base64 of 32 bytes")]
    Key,
    /// A password that no client could send.
    #[error("password is empty or contains a NUL byte")]
    Password,
}

/// What pgweir can log in to PostgreSQL with.
#[derive(Clone)]
pub enum ServerCredential {
    /// Nothing: trust and peer servers only.
    None,
    /// A password: every method.
    Password(Password),
    /// Keys: SCRAM only, and only while the role's verifier stays the same.
    ScramKeys(ScramKeys),
    /// A hash: MD5 only.
    Md5Hash(Md5Hash),
}

impl ServerCredential {
    /// Whether the other is no news to PostgreSQL. Compares in constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Password(one), Self::Password(other)) => one.ct_eq(other).into(),
            (Self::ScramKeys(one), Self::ScramKeys(other)) => {
                one.params == other.params
                    && bool::from(one.client_key.0.ct_eq(&other.client_key.0))
            }
            (Self::Md5Hash(one), Self::Md5Hash(other)) => {
                one.0.as_slice().ct_eq(other.0.as_slice()).into()
            }
            _ => false,
        }
    }

    /// Its kind in words, for errors and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "no credential",
            Self::Password(_) => "a password",
            Self::ScramKeys(_) => "SCRAM keys",
            Self::Md5Hash(_) => "an MD5 hash",
        }
    }
}

macro_rules! redacted {
    ($($secret:ident),*) => {$(
        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($secret), "(..)"))
            }
        }
    )*};
}

redacted!(Password, Key, ClientKey, ScramVerifier, ScramKeys, Md5Hash, Secret, ServerCredential);

#[cfg(test)]
mod tests;
