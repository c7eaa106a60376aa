//! A connection over which nobody is given a password in the clear.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Fails where its peer, without TLS, asks for the password itself (`protocol-flow.html#PROTOCOL-FLOW-START-UP`): it
/// may be anybody between pgweir and PostgreSQL.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    /// What the peer has said first, up to its question.
    said: Vec<u8>,
    heeds: Heeds,
}

/// Which of the peer's first bytes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heeds {
    /// None: nobody is in between, or they were seen.
    Nothing,
    /// The answer to the request for TLS, and its question where that says no.
    Answer,
    /// Its question.
    Question,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, heeds: Heeds) -> Self {
        Self { stream, said: Vec::new(), heeds }
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        if self.heeds == Heeds::Answer && !bytes.is_empty() {
            self.heeds = if bytes[0] == b'N' { Heeds::Question } else { Heeds::Nothing };
            bytes = &bytes[1..];
        }
        if self.heeds == Heeds::Question {
            let missing = CLEARTEXT_PASSWORD.len() - self.said.len();
            self.said.extend(bytes.iter().take(missing));
            if self.said == CLEARTEXT_PASSWORD {
                let text =
                    "the server asks for the password in the clear, over a connection without TLS";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            if !CLEARTEXT_PASSWORD.starts_with(&self.said) {
                self.heeds = Heeds::Nothing;
            }
        }
        Ok(())
    }
}

/// AuthenticationCleartextPassword (`protocol-message-formats.html`).
const CLEARTEXT_PASSWORD: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 3];

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.heeds != Heeds::Nothing {
            self.hear(&buf.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(heeds: Heeds, said: &[u8]) -> bool {
        [1, 2, said.len()].iter().all(|part| {
            let mut guarded = Guarded::new((), heeds);
            said.chunks(*part).all(|chunk| guarded.hear(chunk).is_ok())
        })
    }

    #[test]
    fn only_a_question_for_the_password_itself_without_tls_fails() {
        let other = &[b'R', 0, 0, 0, 8, 0, 0, 0, 0];
        assert!(passes(Heeds::Question, other) && passes(Heeds::Question, b"E\0\0\0\x08rest"));
        assert!(!passes(Heeds::Question, CLEARTEXT_PASSWORD));
        assert!(!passes(Heeds::Answer, &[b"N", CLEARTEXT_PASSWORD].concat()));
        assert!(passes(Heeds::Answer, &[b"N", &other[..], CLEARTEXT_PASSWORD].concat()));
        // Within TLS they would be other bytes.
        assert!(passes(Heeds::Answer, &[b"S", CLEARTEXT_PASSWORD].concat()));
        assert!(passes(Heeds::Nothing, CLEARTEXT_PASSWORD));
    }
}
