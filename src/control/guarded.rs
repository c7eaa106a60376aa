//! A connection over which nobody is given a password in the clear, and nobody says more than a look-up has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use super::frames::Frames;

/// Fails where its peer, without TLS, asks for the password itself (`protocol-flow.html#PROTOCOL-FLOW-START-UP`): it
/// may be anybody between pgweir and PostgreSQL. So it does where its peer [says too much](Frames).
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    /// What the peer has said first, up to its question.
    said: Vec<u8>,
    heeds: Heeds,
    frames: Frames,
}

/// What is looked at of what the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heeds {
    /// Nothing: it is encrypted.
    Nothing,
    /// The answer to the request for TLS, and the rest where that says no.
    Answer,
    /// Its question, and how much it says.
    Question,
    /// How much it says: nobody is in between, or the question was seen.
    Length,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, heeds: Heeds) -> Self {
        Self { stream, said: Vec::new(), heeds, frames: Frames::default() }
    }

    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        if self.heeds == Heeds::Answer
            && let Some((answer, rest)) = bytes.split_first()
        {
            // The driver takes all but this for a refusal.
            self.heeds = if *answer == b'S' { Heeds::Nothing } else { Heeds::Question };
            bytes = rest;
        }
        if matches!(self.heeds, Heeds::Question | Heeds::Length) {
            self.frames.hear(bytes)?;
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
                self.heeds = Heeds::Length;
            }
        }
        Ok(())
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Makes TLS as another does, and guards what comes out of it.
pub(super) struct GuardedTls<C>(pub(super) C);

impl<S, C: MakeTlsConnect<S>> MakeTlsConnect<S> for GuardedTls<C>
where
    C::TlsConnect: Send + 'static,
    <C::TlsConnect as TlsConnect<S>>::Future: Send + 'static,
{
    type Stream = Guarded<C::Stream>;
    type TlsConnect = GuardedTls<C::TlsConnect>;
    type Error = C::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, C::Error> {
        self.0.make_tls_connect(host).map(GuardedTls)
    }
}

impl<S, C: TlsConnect<S>> TlsConnect<S> for GuardedTls<C>
where
    C::Future: Send + 'static,
{
    type Stream = Guarded<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, C::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let made = self.0.connect(stream);
        Box::pin(async move { Ok(Guarded::new(made.await?, Heeds::Length)) })
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

    #[test]
    fn a_message_that_claims_more_than_a_look_up_has_fails() {
        let claimed = b"R\0\x10\0\0\0\0\0\0";
        assert!(!passes(Heeds::Length, claimed) && !passes(Heeds::Question, claimed));
        assert!(!passes(Heeds::Answer, &[b"N", &claimed[..]].concat()));
        assert!(passes(Heeds::Answer, &[b"S", &claimed[..]].concat()));
    }

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
        for refusal in [b"N", b"E", b"\0"] {
            assert!(!passes(Heeds::Answer, &[refusal, CLEARTEXT_PASSWORD].concat()));
        }
        assert!(passes(Heeds::Answer, &[b"N", &other[..], CLEARTEXT_PASSWORD].concat()));
        // Within TLS they would be other bytes.
        assert!(passes(Heeds::Answer, &[b"S", CLEARTEXT_PASSWORD].concat()));
        assert!(passes(Heeds::Length, CLEARTEXT_PASSWORD));
    }
}
