//! A client that has said nothing for a while, as small as it can be: most of those who are connected are.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use super::ahead::Ahead;
use super::alarm::Alarm;
use super::half::Half;
use super::{Client, Context};
use crate::class::ClassId;
use crate::clock::Instant;
use crate::net::Stream;
use crate::net::link::{Link, Traffic};
use crate::pool::Pool;
use crate::registry::{Card, Notice, Registration};
use crate::session::Packed;
use crate::session::settings::Settings;

/// A [`Client`] without a server, without buffers and without anything under way.
pub(super) struct Dormant {
    stream: Stream,
    traffic: Traffic,
    counted: Traffic,
    session: Packed,
    card: Arc<Card>,
    class: ClassId,
    pool: Arc<Pool>,
    registration: Registration,
    context: Context,
    alarm: Alarm,
    since: Instant,
    draining: bool,
    refusals: u8,
}

impl Client {
    /// Whether it may sleep: nothing but its next message, or a notice, concerns it.
    pub(super) fn may_sleep(&self) -> bool {
        self.rests
            && self.membership.is_none()
            && self.half.is_at_rest()
            && self.link.is_at_rest()
            && self.session.may_pack()
    }

    /// Only while [`Client::may_sleep`].
    pub(super) fn sleep(self: Box<Self>) -> Dormant {
        let Self { link, counted, session, card, class, pool, registration, .. } = *self;
        let traffic = link.traffic();
        let session = session.pack();
        // What is shown takes no memory that packing has given back.
        if let Some(name) = session.application() {
            registration.set_application(name);
        }
        Dormant {
            stream: link.into_parts().0,
            traffic,
            counted,
            session,
            card,
            class,
            pool,
            registration,
            context: self.context,
            alarm: self.alarm,
            since: self.since,
            draining: self.draining,
            refusals: self.refusals,
        }
    }
}

impl Dormant {
    /// Waits until there is something to do: bytes have come, a deadline may have passed, or there is a notice.
    pub(super) async fn disturbed(&mut self) -> io::Result<Option<Notice>> {
        poll_fn(|cx| {
            let notice = self.registration.poll_notice(cx);
            if let Poll::Ready(notice) = notice
                && notice != Notice::Cancel
            {
                return Poll::Ready(Ok(Some(notice)));
            }
            if let Poll::Ready(arrived) = self.stream.poll_arrival(cx) {
                if notice.is_ready() {
                    // It is for what has come before it.
                    self.registration.mailbox().tell(Notice::Cancel);
                }
                return Poll::Ready(arrived.map(|()| None));
            }
            if let Poll::Ready(notice) = notice {
                return Poll::Ready(Ok(Some(notice)));
            }
            self.alarm.poll(cx).map(|()| Ok(None))
        })
        .await
    }

    /// The client as it was.
    pub(super) fn wake(self) -> Box<Client> {
        Box::new(Client {
            link: Link::of(self.stream, self.traffic),
            counted: self.counted,
            half: Half::default(),
            ahead: Ahead::new(&self.context.common.backlog),
            session: self.session.unpack(),
            shown: Settings::default(),
            card: self.card,
            class: self.class,
            pool: self.pool,
            registration: self.registration,
            membership: None,
            context: self.context,
            alarm: self.alarm,
            since: self.since,
            rests: false,
            draining: self.draining,
            refusals: self.refusals,
        })
    }
}
