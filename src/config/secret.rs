//! Secret texts.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::auth::Secret;

/// A secret text. `Debug` prints no part of it, comparing takes the same time wherever two differ,
/// and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// What kind of secret a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The password itself.
    Plain,
    /// `SCRAM-SHA-256$...`: proves nothing to a server by itself.
    ScramVerifier,
    /// `md5` and 32 hexadecimal digits.
    Md5,
}

impl Password {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one who proves with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What kind of secret this is.
    pub fn kind(&self) -> SecretKind {
        match Secret::parse(&self.0) {
            Ok(Secret::Scram(_)) => SecretKind::ScramVerifier,
            Ok(Secret::Md5(_)) => SecretKind::Md5,
            Ok(Secret::Plain(_)) | Err(_) => SecretKind::Plain,
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PasswordVisitor)
    }
}

/// Takes texts only, and names no other value in its error: a password of digits without quotes is
/// still a password.
struct PasswordVisitor;

impl Visitor<'_> for PasswordVisitor {
    type Value = Password;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Password, E> {
        Ok(Password::new(text))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Password, E> {
        Err(unquoted())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Password, E> {
        Err(unquoted())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Password, E> {
        Err(unquoted())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Password, E> {
        Err(unquoted())
    }
}

fn unquoted<E: Error>() -> E {
    E::custom("not a text (the value is not shown), expected a text in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(***)");
    }

    #[test]
    fn kinds_are_told_apart() {
        let md5 = format!("md5{}", "0f".repeat(16));
        let key = format!("{}=", "A".repeat(43));
        let scram = format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}");
        let cases = [
            ("hunter2", SecretKind::Plain),
            (scram.as_str(), SecretKind::ScramVerifier),
            (md5.as_str(), SecretKind::Md5),
            ("md5 is no hash", SecretKind::Plain),
        ];
        for (text, kind) in cases {
            assert_eq!(Password::new(text).kind(), kind, "{text}");
        }
    }
}
