//! MD5 passwords (`protocol-flow.html`, AuthenticationMD5Password). PostgreSQL 18 deprecates them; a
//! hash is as good as the password at every server that asks for MD5.

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::secret::{Md5Hash, Password};

impl Md5Hash {
    /// The hash PostgreSQL stores for a user's password.
    pub fn of(password: &Password, user: &str) -> Self {
        Self::new(hex_digest(&[password.as_bytes(), user.as_bytes()]))
    }

    /// The answer to a server's salt, without its NUL.
    pub(super) fn answer(&self, salt: [u8; 4]) -> Zeroizing<Vec<u8>> {
        let digits = hex_digest(&[self.as_bytes(), &salt]);
        Zeroizing::new([b"md5".as_slice(), &digits].concat())
    }

    /// Whether a client's answer to our salt is right.
    pub(super) fn accepts(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        self.answer(salt).ct_eq(answer).into()
    }
}

fn hex_digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let digest: [u8; 16] = hash.finalize().into();
    std::array::from_fn(|i| {
        let nibble = if i % 2 == 0 { digest[i / 2] >> 4 } else { digest[i / 2] & 15 };
        b"0123456789abcdef"[usize::from(nibble)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_one_postgresql_stores() {
        let hash = Md5Hash::of(&Password::new("pencil"), "mdu");
        assert_eq!(hash.as_bytes(), b"d504967f44e0c6062c7e5c2a8d42aac1");
    }

    #[test]
    fn only_the_answer_to_this_salt_is_right() {
        let hash = Md5Hash::of(&Password::new("pencil"), "u");
        let answer = hash.answer([1, 2, 3, 4]);
        assert!(hash.accepts([1, 2, 3, 4], &answer));
        assert!(!hash.accepts([1, 2, 3, 5], &answer));
        assert!(!hash.accepts([1, 2, 3, 4], b""));
        assert!(!Md5Hash::of(&Password::new("pencil"), "v").accepts([1, 2, 3, 4], &answer));
    }
}
