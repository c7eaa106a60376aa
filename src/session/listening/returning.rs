//! A client that shared the pool's listening server listens by itself from now on, as one does that has
//! changed its encoding (docs/semantics.md "Notifications").
//!
//! Its own server listens to its channels already. That one sends a cut: when both servers have told of it,
//! the client gets what the pool's server alone has told, which is older than the lease, and then all that
//! its own has, in the encoding of now.

use bytes::BytesMut;

use super::super::flow::{Kind, Owner};
use super::super::inbox::{News, Overflow};
use super::super::{Backend, Note, Session};
use super::{CUT, Ear, Handover, Return, lost_and_back};
use crate::wire::build;

impl Session {
    /// Whether the client is to listen by itself, on a server that does so already.
    pub fn listens_itself(&self) -> bool {
        let listening = &self.listening;
        listening.pinned && listening.is_sharing() && listening.ear == Ear::Open
    }

    /// Has the own server send the cut. True until the client listens by itself.
    pub(in crate::session) fn return_to_own(
        &mut self,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> bool {
        let Ear::Returning { cut, stage } = &mut self.listening.ear else { return false };
        if *stage == Return::Wanted {
            *stage = Return::Sent;
            build::query(out, &format!("SELECT pg_catalog.pg_notify('{CUT}', '{cut}')"));
            backend.statements.clear_unnamed();
            self.flow.sent(Kind::Query, Owner::Proxy, Note::Returned);
        }
        true
    }

    /// The own server has sent the cut.
    pub(in crate::session) fn on_returned(&mut self) {
        if let Ear::Returning { stage, .. } = &mut self.listening.ear
            && *stage == Return::Sent
        {
            *stage = Return::Told;
        }
    }

    /// Whether the pool's server has to know the client.
    pub fn is_member(&self) -> bool {
        self.listening.is_sharing() || self.listening.handover != Handover::None
    }

    /// Tells what is left to tell once both servers are at the cut.
    pub(super) fn hear_on_return(&mut self, out: &mut BytesMut) -> Result<(), Overflow> {
        let Ear::Returning { cut, stage } = self.listening.ear else { return Ok(()) };
        let inbox = self.listening.inbox.get_or_insert_default();
        let news = match stage {
            Return::Wanted | Return::Sent => return self.check_inbox(),
            Return::Told => match inbox.take_with_cut(cut)? {
                Some(news) => news,
                None => return Ok(()),
            },
            Return::Late => inbox.take()?,
        };
        let mut whole = news.contains(&News::Cut(cut));
        let mut expected = std::mem::take(&mut self.listening.expected);
        let told: Vec<(Box<[u8]>, bool)> =
            expected.told().iter().map(|(body, own)| (Box::from(*body), *own)).collect();
        // What both have told comes from the own server. In another encoding it may not look the same.
        let mut strange = 0;
        for news in news {
            let News::Heard(body) = news else { continue };
            if expected.is_ahead(&body) {
                expected.meet(&body, true);
            } else if is_ascii(&body) {
                build::message(out, b'A', |out| out.extend_from_slice(&body));
            } else {
                strange += 1;
            }
        }
        whole &= strange <= told.iter().filter(|(body, _)| !is_ascii(body)).count();
        for (body, own) in &told {
            if *own {
                self.write_own(body, out);
            } else {
                build::message(out, b'A', |out| out.extend_from_slice(body));
            }
        }
        self.write_held(out);
        self.listening.shared.clear();
        self.listening.ear = Ear::Open;
        if !whole {
            lost_and_back().encode(out);
        }
        self.release_ready();
        self.write_ready(out);
        Ok(())
    }
}

/// Whether a notification is the same in all encodings: behind the number of a process stand texts.
fn is_ascii(body: &[u8]) -> bool {
    body.get(4..).is_some_and(<[u8]>::is_ascii)
}
