//! Sets of names, each written as one text and made a table at compile time.

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
    /// Folds an unquoted identifier.
    pub(crate) fn new(word: &[u8]) -> Self {
        let mut folded = Self::exact(word);
        folded.bytes.make_ascii_lowercase();
        folded
    }

    /// A quoted identifier, whose case stands.
    pub(crate) fn exact(name: &[u8]) -> Self {
        let name = &name[..kept(name)];
        let mut bytes = [0; LONGEST_NAME];
        bytes[..name.len()].copy_from_slice(name);
        Self { bytes, len: name.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Bytes of a name that PostgreSQL keeps: as many characters, of UTF-8, as have room.
pub(crate) fn kept(name: &[u8]) -> usize {
    if name.len() <= LONGEST_NAME {
        return name.len();
    }
    let goes_on = |byte: u8| byte & 0xC0 == 0x80;
    (1..=LONGEST_NAME).rev().find(|end| !goes_on(name[*end])).unwrap_or(LONGEST_NAME)
}

/// A fixed set of names, hashed at compile time.
pub(crate) struct Names<const N: usize, const SLOTS: usize> {
    names: [&'static [u8]; N],
    /// One more than the index of a name; zero is free. Open addressing, linear probing.
    slots: [u16; SLOTS],
}

impl<const N: usize, const SLOTS: usize> Names<N, SLOTS> {
    /// Names separated by single spaces; `SLOTS` is a power of two with room to spare.
    pub(crate) const fn new(text: &'static str) -> Self {
        assert!(SLOTS.is_power_of_two() && SLOTS > N && N < u16::MAX as usize);
        let names = split(text);
        let mut slots = [0; SLOTS];
        let mut index = 0;
        while index < N {
            let mut slot = hash(names[index]) as usize % SLOTS;
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            index += 1;
            slots[slot] = index as u16;
        }
        Self { names, slots }
    }

    /// Whether the set holds the name whose [`hash`] this is.
    pub(crate) fn contains(&self, name: &[u8], hash: u32) -> bool {
        let mut slot = hash as usize % SLOTS;
        while let Some(&index) = self.slots.get(slot)
            && let Some(index) = usize::from(index).checked_sub(1)
        {
            if self.names.get(index) == Some(&name) {
                return true;
            }
            slot = (slot + 1) % SLOTS;
        }
        false
    }
}

/// Spreads short names well enough (FNV-1a); the tables are fixed, and so are their longest chains.
pub(crate) const fn hash(name: &[u8]) -> u32 {
    let mut hash = name.len() as u32;
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    hash ^ (hash >> 15)
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
const fn split<const N: usize>(text: &'static str) -> [&'static [u8]; N] {
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
        rest = if tail.is_empty() { tail } else { tail.split_at(1).1 };
        index += 1;
    }
    names
}
