//! Sorted sets of names, written as one text and cut up at compile time.

/// PostgreSQL keeps this many bytes of an identifier
/// (`sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS`).
pub(crate) const LONGEST_NAME: usize = 63;

/// An identifier folded to lower case, on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Folded {
    bytes: [u8; LONGEST_NAME],
    len: usize,
}

impl Folded {
    /// Folds an unquoted identifier; `None` when it is too long to be a name of ours.
    pub(crate) fn new(word: &[u8]) -> Option<Self> {
        let mut folded = Self::exact(word)?;
        folded.bytes.make_ascii_lowercase();
        Some(folded)
    }

    /// A quoted identifier, whose case stands.
    pub(crate) fn exact(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST_NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self {
            bytes,
            len: name.len(),
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Whether a sorted set holds the name.
pub(crate) fn contains(sorted: &[&[u8]], name: &[u8]) -> bool {
    sorted.binary_search(&name).is_ok()
}

/// How many names a text of names separated by single spaces holds.
pub(crate) const fn count(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut total = 1;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b' ' {
            total += 1;
        }
        at += 1;
    }
    total
}

/// Cuts a text of names separated by single spaces.
pub(crate) const fn split<const N: usize>(text: &'static str) -> [&'static [u8]; N] {
    let mut names: [&[u8]; N] = [b""; N];
    let mut rest = text.as_bytes();
    let mut index = 0;
    while index < N {
        let mut end = 0;
        while end < rest.len() && rest[end] != b' ' {
            end += 1;
        }
        let (name, tail) = rest.split_at(end);
        names[index] = name;
        rest = if tail.is_empty() {
            tail
        } else {
            tail.split_at(1).1
        };
        index += 1;
    }
    names
}
