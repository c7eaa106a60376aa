//! SASLprep as PostgreSQL does it (`src/common/saslprep.c`).
//!
//! Not `stringprep::saslprep`: that one looks for prohibited characters after normalization, as
//! RFC 3454 says, PostgreSQL before it. The two differ for passwords such as `🄀`, and then nobody with
//! such a password could log in.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes to derive keys from. A password that SASLprep refuses, or that is not UTF-8, is used as it
/// is (`src/backend/libpq/auth-scram.c`).
pub(super) fn saslprep(password: &[u8]) -> Zeroizing<Vec<u8>> {
    std::str::from_utf8(password)
        .ok()
        .filter(|text| !text.is_ascii())
        .and_then(prepare)
        .unwrap_or_else(|| Zeroizing::new(password.to_vec()))
}

fn prepare(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mapped: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().filter_map(map).collect());
    let (&first, &last) = (mapped.first()?, mapped.last()?);
    if mapped.iter().any(|&c| is_prohibited(c)) {
        return None;
    }
    let right_to_left = mapped.iter().any(|&c| tables::bidi_r_or_al(c));
    let mixed = mapped.iter().any(|&c| tables::bidi_l(c));
    let framed = tables::bidi_r_or_al(first) && tables::bidi_r_or_al(last);
    if right_to_left && (mixed || !framed) {
        return None;
    }
    let normal: String = mapped.iter().copied().nfkc().collect();
    Some(Zeroizing::new(normal.into_bytes()))
}

fn map(c: char) -> Option<char> {
    // U+200B is in both tables; PostgreSQL looks into this one first.
    if tables::non_ascii_space_character(c) {
        return Some(' ');
    }
    (!tables::commonly_mapped_to_nothing(c)).then_some(c)
}

fn is_prohibited(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        let table: [(&str, &str); 11] = [
            ("pencil", "pencil"),
            ("with\u{1}control", "with\u{1}control"),
            ("I\u{AD}X", "IX"),
            ("\u{AA}", "a"),
            ("\u{2168}", "IX"),
            ("a\u{A0}b", "a b"),
            ("a\u{200B}b", "a b"),
            ("\u{AD}", "\u{AD}"),
            ("é\u{7}", "é\u{7}"),
            ("\u{1F100}", "\u{1F100}"),
            ("\u{627}1", "\u{627}1"),
        ];
        for (password, expected) in table {
            assert_eq!(*saslprep(password.as_bytes()), expected.as_bytes(), "{password:?}");
        }
        assert_eq!(*saslprep(b"\xff\xfe"), b"\xff\xfe");
    }
}
