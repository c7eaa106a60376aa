//! A bounded reader of one message body.

use thiserror::Error;

/// A body that does not hold what its message type must hold.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum Malformed {
    /// Fewer bytes than a field needs.
    #[error("insufficient data left in message")]
    Short,
    /// A string without its NUL.
    #[error("invalid string in message")]
    Unterminated,
    /// Bytes after the last field.
    #[error("invalid message format")]
    Trailing,
    /// A string that is not UTF-8 where text is needed.
    #[error("invalid byte sequence in message")]
    NotUtf8,
}

/// Reads fields of one body in order; never past its end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of a body (after the length word).
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Malformed::Short)?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    /// Int16, big-endian, read as unsigned.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let b = self.bytes(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    /// Int32, big-endian.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        let b = self.bytes(4)?;
        Ok(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Bytes up to a NUL, which is consumed and not returned.
    pub fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&b| b == 0).ok_or(Malformed::Unterminated)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// As [`Reader::cstr`], as text.
    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.cstr()?).map_err(|_| Malformed::NotUtf8)
    }

    /// Fails if anything is left.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_never_past_the_end() {
        let mut r = Reader::new(b"ab\0\x00\x07\x00\x00\x00\x09z");
        assert_eq!(r.cstr(), Ok(&b"ab"[..]));
        assert_eq!(r.u16(), Ok(7));
        assert_eq!(r.i32(), Ok(9));
        assert_eq!(r.cstr(), Err(Malformed::Unterminated));
        assert_eq!(r.i32(), Err(Malformed::Short));
        assert_eq!(r.finish(), Err(Malformed::Trailing));
    }
}
