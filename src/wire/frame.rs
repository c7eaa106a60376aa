//! Frame headers: one type byte and one length word.
//!
//! The limits are PostgreSQL's own (`src/backend/tcop/postgres.c`, `SocketBackend`), applied before
//! a single byte of the body is read.

use thiserror::Error;

/// Bytes of a header: type and length word.
pub const HEADER: usize = 5;

/// Longest length word of the short messages (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SHORT_LIMIT: usize = 10_000;

/// Longest length word of the long ones (`PQ_LARGE_MESSAGE_LIMIT`).
pub const LONG_LIMIT: usize = 0x3fff_fffe;

/// One frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The type byte.
    pub tag: u8,
    /// Bytes of the body, without the length word.
    pub body: usize,
}

impl Header {
    /// Bytes of the whole frame.
    pub fn total(self) -> usize {
        HEADER + self.body
    }
}

/// A header that no peer may send.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum BadFrame {
    /// A type byte that does not exist in this direction.
    #[error("invalid message type {0}")]
    Type(u8),
    /// A length word out of range.
    #[error("invalid message length {1} for type {0}")]
    Length(u8, u32),
}

/// Reads the header of a message from a client; `None` until enough bytes are there.
pub fn frontend(buf: &[u8]) -> Result<Option<Header>, BadFrame> {
    let Some(&tag) = buf.first() else { return Ok(None) };
    let limit = match tag {
        b'E' | b'D' | b'C' | b'S' | b'H' | b'X' | b'c' | b'f' => SHORT_LIMIT,
        b'Q' | b'P' | b'B' | b'F' | b'd' => LONG_LIMIT,
        _ => return Err(BadFrame::Type(tag)),
    };
    header(buf, tag, limit)
}

/// Reads the header of a message from a server; `None` until enough bytes are there.
pub fn backend(buf: &[u8]) -> Result<Option<Header>, BadFrame> {
    let Some(&tag) = buf.first() else { return Ok(None) };
    match tag {
        b'1' | b'2' | b'3' | b'A' | b'C' | b'D' | b'E' | b'G' | b'H' | b'I' | b'K' | b'N'
        | b'R' | b'S' | b'T' | b'V' | b'W' | b'Z' | b'c' | b'd' | b'n' | b's' | b't' | b'v' => {}
        _ => return Err(BadFrame::Type(tag)),
    }
    // PostgreSQL's own messages never pass its allocation limit.
    header(buf, tag, LONG_LIMIT)
}

/// Bytes at the front of `buf` that are whole messages of one type, as a server sends rows.
pub fn alike(buf: &[u8], tag: u8) -> usize {
    let mut end = 0;
    while let Some(next) = buf.get(end..)
        && next.first() == Some(&tag)
        && let Ok(Some(header)) = header(next, tag, LONG_LIMIT)
        && header.total() <= next.len()
    {
        end += header.total();
    }
    end
}

fn header(buf: &[u8], tag: u8, limit: usize) -> Result<Option<Header>, BadFrame> {
    let Some(word) = buf.get(1..HEADER).and_then(|b| <[u8; 4]>::try_from(b).ok()) else {
        return Ok(None);
    };
    let word = u32::from_be_bytes(word);
    match word as usize {
        len if len < 4 || len > limit => Err(BadFrame::Length(tag, word)),
        len => Ok(Some(Header { tag, body: len - 4 })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_postgresql_own() {
        let frame = |tag: u8, len: u32| {
            let mut b = vec![tag];
            b.extend(len.to_be_bytes());
            frontend(&b)
        };
        for len in [0, 3, 0x3fff_ffff, 0x7fff_ffff, u32::MAX] {
            assert_eq!(frame(b'Q', len), Err(BadFrame::Length(b'Q', len)));
        }
        assert_eq!(frame(b'E', 10_000), Ok(Some(Header { tag: b'E', body: 9_996 })));
        assert_eq!(frame(b'E', 10_001), Err(BadFrame::Length(b'E', 10_001)));
        assert_eq!(frame(b'd', 4), Ok(Some(Header { tag: b'd', body: 0 })));
        for tag in [b'z', 1, b'R', b'p'] {
            assert_eq!(frame(tag, 4), Err(BadFrame::Type(tag)));
        }
        assert_eq!(frontend(b"Q\0\0\0"), Ok(None));
        assert_eq!(backend(b""), Ok(None));
        assert_eq!(backend(b"p\0\0\0\x04"), Err(BadFrame::Type(b'p')));
    }

    #[test]
    fn whole_messages_of_one_type_are_alike() {
        let row = b"D\0\0\0\x06ab";
        for (behind, more) in [
            (&b""[..], 0),
            (&b"D"[..], 0),
            (&b"D\0\0\0\x06a"[..], 0),
            (&b"D\0\0\0\x04C"[..], 5),
            (&b"D\0\0\0\x03"[..], 0),
            (&b"D\xff\xff\xff\xff"[..], 0),
            (&b"C\0\0\0\x04"[..], 0),
        ] {
            let buf = [&row[..], &row[..], behind].concat();
            assert_eq!(alike(&buf, b'D'), 2 * row.len() + more, "{behind:?}");
            assert_eq!(alike(&buf, b'd'), 0);
        }
    }
}
