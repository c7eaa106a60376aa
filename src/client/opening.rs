//! What comes before a StartupMessage: TLS, refused GSSAPI, cancel requests.
//!
//! Obeys `protocol-flow.html#PROTOCOL-FLOW-SSL`, `#PROTOCOL-FLOW-GSSAPI` and
//! `#PROTOCOL-FLOW-CANCELING-REQUESTS`.

use bytes::{Buf, BytesMut};

use super::login::{Door, LoginFailure};
use crate::config::ClientTlsMode;
use crate::metrics::TlsHandshake;
use crate::net::Stream;
use crate::net::link::Link;
use crate::net::tls::{Acceptor, Step};
use crate::wire::startup::{self, CancelKey, GSSENC_REQUEST, Opening, SSL_REQUEST, Startup};

/// What a connection turned out to be.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A session.
    Session(Box<Startup>),
    /// A cancel.
    Cancel(CancelKey),
}

/// Which encryptions were asked for; each may be once, in either order.
#[derive(Debug, Default)]
struct Asked {
    ssl: bool,
    gss: bool,
}

/// The encryption that a request asked for. Displays as PostgreSQL names the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    Gss,
}

impl std::fmt::Display for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ssl => "SSL",
            Self::Gss => "GSSAPI encryption",
        })
    }
}

impl Door<'_> {
    /// Reads up to the packet that says what the connection is for.
    pub(super) async fn arrive(&mut self, stream: Stream) -> Result<Purpose, LoginFailure> {
        let mut asked = Asked::default();
        self.begin(stream, &mut asked).await?;
        loop {
            let packet = self.packet().await?;
            match startup::read(&packet)? {
                Opening::Ssl if !asked.ssl => {
                    asked.ssl = true;
                    self.answer_ssl().await?;
                }
                Opening::Gss if !asked.gss => {
                    asked.gss = true;
                    self.must_be_alone(Encryption::Gss)?;
                    self.answer(b'N').await?;
                }
                Opening::Ssl => return Err(startup::repeated_request(SSL_REQUEST).into()),
                Opening::Gss => return Err(startup::repeated_request(GSSENC_REQUEST).into()),
                Opening::Cancel(key) => return Ok(Purpose::Cancel(key)),
                Opening::Startup(startup) => return self.check(startup),
            }
        }
    }

    /// A client may begin with TLS itself, if it says by ALPN that it means PostgreSQL.
    async fn begin(&mut self, stream: Stream, asked: &mut Asked) -> Result<(), LoginFailure> {
        let direct = self.patience.with(stream.starts_tls()).await?;
        if !direct.map_err(LoginFailure::Gone)? {
            self.link = Some(Link::new(stream));
            return Ok(());
        }
        asked.ssl = true;
        let acceptor = self.context.acceptor().ok_or(LoginFailure::NoTls)?;
        if self.secure(acceptor, stream).await? { Ok(()) } else { Err(LoginFailure::NoAlpn) }
    }

    async fn answer_ssl(&mut self) -> Result<(), LoginFailure> {
        self.must_be_alone(Encryption::Ssl)?;
        // As PostgreSQL, no TLS on a Unix-domain socket.
        let acceptor = self.context.acceptor().filter(|_| !self.is_unix());
        let Some(acceptor) = acceptor else { return self.answer(b'N').await };
        if self.link()?.stream().has_unread_bytes().map_err(LoginFailure::Gone)? {
            return Err(LoginFailure::Unencrypted(Encryption::Ssl));
        }
        self.answer(b'S').await?;
        let (stream, _) = self.link.take().ok_or(LoginFailure::Left)?.into_parts();
        self.secure(acceptor, stream).await.map(|_alpn| ())
    }

    /// Makes TLS; tells whether ALPN named PostgreSQL.
    async fn secure(&mut self, acceptor: &Acceptor, stream: Stream) -> Result<bool, LoginFailure> {
        let mut handshake = self.patience.with(acceptor.hello(stream)).await??;
        // A turn takes as long as what it computes, so that waiting for one is bounded by those who are ahead.
        let accepted = loop {
            handshake = match handshake.step(&self.context.handshakes).await {
                Step::Done(accepted) => break accepted?,
                Step::More(handshake) => handshake,
            };
            self.patience.with(handshake.more()).await?;
        };
        self.metrics.clients.handshakes.count(if accepted.resumed {
            TlsHandshake::Resumed
        } else {
            TlsHandshake::Full
        });
        self.link = Some(Link::new(accepted.stream));
        Ok(accepted.alpn)
    }

    /// Whatever follows a request for encryption before its answer was put there by somebody who
    /// wants it taken for encrypted.
    fn must_be_alone(&mut self, encryption: Encryption) -> Result<(), LoginFailure> {
        if self.link()?.input.is_empty() {
            Ok(())
        } else {
            Err(LoginFailure::Unencrypted(encryption))
        }
    }

    async fn answer(&mut self, byte: u8) -> Result<(), LoginFailure> {
        let link = self.link.as_mut().ok_or(LoginFailure::Left)?;
        link.output.extend_from_slice(&[byte]);
        self.patience.with(link.flush()).await?.map_err(LoginFailure::Gone)
    }

    /// What follows the length word of a packet.
    async fn packet(&mut self) -> Result<BytesMut, LoginFailure> {
        let head = self.fill(LENGTH_WORD).await?.get(..LENGTH_WORD);
        let word = head.and_then(|head| head.try_into().ok()).map_or(0, u32::from_be_bytes);
        let len = startup::check_length(word)?;
        self.fill(len).await?;
        let mut packet = self.link()?.input.split_to(len);
        packet.advance(LENGTH_WORD);
        Ok(packet)
    }

    fn check(&self, startup: Box<Startup>) -> Result<Purpose, LoginFailure> {
        let open = !self.is_tls() && !self.is_unix();
        if open && self.context.tls == ClientTlsMode::Require {
            return Err(LoginFailure::TlsRequired);
        }
        if startup.replication {
            return Err(LoginFailure::Replication);
        }
        Ok(Purpose::Session(startup))
    }

    fn is_tls(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.stream().is_tls())
    }

    fn is_unix(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.stream().is_unix())
    }
}

/// Bytes of a length word.
const LENGTH_WORD: usize = 4;
