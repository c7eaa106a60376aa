//! The client's half of the relay: frames out of its input, into the session machine, onwards.

use bytes::Buf;

use super::Ending;
use crate::net::link::{Link, consume};
use crate::server::Server;
use crate::session::{ClientFate, Out, Session, is_inspectable};
use crate::wire::frame::{self, HEADER};

/// What is left of the client's current message.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Half {
    rest: usize,
    /// Where it goes.
    onwards: Onwards,
    /// The client has a server so that more of its next message is read.
    grows: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Onwards {
    #[default]
    Nowhere,
    Server,
}

/// Why no more of the client's input was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It holds no whole message.
    More,
    /// The server takes no more at the moment, or must answer first.
    Blocked,
    /// The next message needs a server; its type.
    NeedServer(u8),
    /// The client said goodbye.
    Terminate,
}

impl Half {
    /// It is between two messages.
    pub(super) fn is_at_rest(self) -> bool {
        self.rest == 0
    }

    /// Part of a message was sent to the server, and the rest is still to come.
    pub(super) fn is_inside_message(self) -> bool {
        self.rest > 0 && self.onwards == Onwards::Server
    }

    /// The client keeps its server until so much of its next message is there that it can be judged.
    pub(super) fn is_growing(self) -> bool {
        self.grows
    }

    /// Has the next message, of which there is only a part, wait for a server.
    pub(super) fn grow_with_server(&mut self, link: &Link) -> Option<Stop> {
        let header = frame::frontend(&link.input).ok().flatten()?;
        self.grows = true;
        Some(Stop::NeedServer(header.tag))
    }

    /// Whether the input holds all of the next message; the rest of a longer one comes as it comes.
    pub(super) fn has_whole_message(link: &Link) -> bool {
        matches!(frame::frontend(&link.input), Ok(Some(header)) if header.total() <= link.input.len())
    }

    /// Drops the message at the head of the input, which was answered here.
    pub(super) fn drop_message(&mut self, link: &mut Link) {
        if let Ok(Some(header)) = frame::frontend(&link.input) {
            self.rest = header.total();
            self.onwards = Onwards::Nowhere;
            self.grows = false;
            self.pass(link, None);
        }
    }

    /// Uses what the client has sent, as far as possible.
    pub(super) fn pump(
        &mut self,
        link: &mut Link,
        session: &mut Session,
        mut server: Option<&mut Server>,
    ) -> Result<Stop, Ending> {
        loop {
            self.pass(link, server.as_deref_mut());
            if server.as_ref().is_some_and(|s| s.link.is_congested()) || link.is_congested() {
                return Ok(Stop::Blocked);
            }
            if self.rest > 0 {
                return Ok(Stop::More);
            }
            if let Some(stop) = self.next(link, session, server.as_deref_mut())? {
                return Ok(stop);
            }
        }
    }

    fn next(
        &mut self,
        link: &mut Link,
        session: &mut Session,
        server: Option<&mut Server>,
    ) -> Result<Option<Stop>, Ending> {
        let header = match frame::frontend(&link.input) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Some(Stop::More)),
            // What was asked before it is answered first.
            Err(_) if session.awaits_ready() && !session.is_copying_in() => {
                return Ok(Some(Stop::Blocked));
            }
            Err(fault) => return Err(fault.into()),
        };
        let end = link.input.len().min(header.total());
        let body = &link.input[HEADER..end];
        if !is_inspectable(header, body) {
            return Ok(Some(Stop::More));
        }
        if server.is_none()
            && matches!(header.tag, b'P' | b'B')
            && let Some(length) = session.answer_segment_lazily(&link.input, &mut link.output)
        {
            (self.rest, self.onwards, self.grows) = (length, Onwards::Nowhere, false);
            return Ok(None);
        }
        let fate = match server {
            Some(server) => {
                let mut out = Out { client: &mut link.output, server: &mut server.link.output };
                session.on_client(header, body, Some(&mut server.backend), &mut out)
            }
            None => {
                let mut none = bytes::BytesMut::new();
                let mut out = Out { client: &mut link.output, server: &mut none };
                session.on_client(header, body, None, &mut out)
            }
        };
        (self.rest, self.onwards) = match fate {
            ClientFate::Forward => (header.total(), Onwards::Server),
            ClientFate::Rewritten { skip } => {
                link.input.advance(HEADER + skip);
                (header.body - skip, Onwards::Server)
            }
            ClientFate::Consumed => (header.total(), Onwards::Nowhere),
            ClientFate::Wait => return Ok(Some(Stop::Blocked)),
            ClientFate::NeedServer => return Ok(Some(Stop::NeedServer(header.tag))),
            ClientFate::Terminate => return Ok(Some(Stop::Terminate)),
        };
        self.grows = false;
        Ok(None)
    }

    fn pass(&mut self, link: &mut Link, server: Option<&mut Server>) {
        let len = self.rest.min(link.input.len());
        if let (Onwards::Server, Some(server)) = (self.onwards, server) {
            server.link.output.extend_from_slice(&link.input[..len]);
        }
        consume(&mut link.input, len);
        self.rest -= len;
    }
}
