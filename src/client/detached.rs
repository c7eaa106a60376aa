//! A client without a server: idle, or waiting for one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;

use super::alarm::due;
use super::half::Stop;
use super::journal::Event;
use super::waiting::Phase;
use super::{Client, Ending, edge};
use crate::clock::Instant;
use crate::config::Timeouts;
use crate::metrics::Timeout;
use crate::net::link::Traffic;
use crate::pool::Lease;
use crate::registry::{Notice, State};
use crate::wire::frame::HEADER;
use crate::wire::{Report, SqlState};
use crate::without::is_off;

/// What wakes a client without a server.
enum Woken {
    Moved,
    Told(Notice),
    Alarm,
}

impl Client {
    /// Answers what can be answered without a server, until a message needs one; that one is still
    /// at the head of the input. `None`: the client may sleep.
    pub(super) async fn detached(&mut self) -> Result<Option<Lease>, Ending> {
        self.registration.set_state(State::Idle, self.since);
        self.show_application();
        self.rests = false;
        loop {
            let stop = self.half.pump(&mut self.link, &mut self.session, None)?;
            let Some(stop) = self.bounded(stop) else { continue };
            match stop {
                Stop::NeedServer(tag) => match self.checkout(tag).await? {
                    Some(lease) => {
                        self.ahead.hold(0);
                        return Ok(Some(lease));
                    }
                    None => continue,
                },
                Stop::Terminate => {
                    self.link.input.advance(HEADER);
                    return Err(Ending::Left);
                }
                Stop::More | Stop::Blocked => {}
            }
            self.hear(false)?;
            if self.link.has_ended() {
                return Err(Ending::Left);
            }
            if self.draining && self.link.input.is_empty() {
                return Err(Ending::Ended(Box::new(edge::draining())));
            }
            self.link.release_larger_buffers(SMALL_BUFFER);
            self.alarm.set(self.idle_due());
            match self.woken(stop == Stop::More).await? {
                Woken::Moved => {
                    self.since = Instant::now();
                    self.rests = false;
                }
                Woken::Told(notice) => {
                    // What it is told may take a buffer.
                    self.rests = false;
                    self.on_idle_notice(notice)?;
                }
                Woken::Alarm => {
                    self.check_idle()?;
                    if self.may_sleep() {
                        self.alarm.set(self.idle_due());
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The same, unless the client would need more room for its next message than there is; `None` if that is
    /// dropped.
    fn bounded(&mut self, stop: Stop) -> Option<Stop> {
        if self.ahead.hold(self.link.input.len()) || stop != Stop::More {
            return Some(stop);
        }
        if self.session.is_skipping() {
            self.half.drop_message(&mut self.link);
            return None;
        }
        Some(self.half.grow_with_server(&self.link).unwrap_or(stop))
    }

    async fn woken(&mut self, read: bool) -> Result<Woken, Ending> {
        poll_fn(|cx| {
            let notice = self.registration.poll_notice(cx);
            if let Poll::Ready(notice) = notice
                && notice != Notice::Cancel
            {
                return Poll::Ready(Ok(Woken::Told(notice)));
            }
            if let Poll::Ready(moved) = self.link.poll_moved(cx, read) {
                moved?;
                if notice.is_ready() {
                    // It is for what has come before it.
                    self.registration.mailbox().tell(Notice::Cancel);
                }
                return Poll::Ready(Ok(Woken::Moved));
            }
            if let Poll::Ready(notice) = notice {
                return Poll::Ready(Ok(Woken::Told(notice)));
            }
            self.alarm.poll(cx).map(|()| Ok(Woken::Alarm))
        })
        .await
    }

    pub(super) fn on_idle_notice(&mut self, notice: Notice) -> Result<(), Ending> {
        match notice {
            Notice::Cancel => drop(self.registration.mailbox().take_canceling()),
            Notice::Drain => self.draining = true,
            Notice::Reload => self.on_reload(),
            // The client is told before it waits again.
            Notice::News => {}
            Notice::Terminate => return Err(Ending::Ended(Box::new(edge::draining()))),
        }
        Ok(())
    }

    pub(super) fn on_reload(&mut self) {
        self.context.refresh();
        self.follow_pool();
    }

    /// Does as the settings of the pool say now.
    pub(super) fn follow_pool(&mut self) {
        let settings = self.pool.settings();
        self.session.set_listen_mode(settings.listen);
        self.session.set_lazy_begin(settings.classes.limits_of(self.class).lazy_begin);
    }

    /// How long the client may say nothing, and what it is told then. It may be in a transaction that no
    /// server knows of.
    fn idle_limit(&self) -> (Duration, Timeout) {
        let Timeouts { idle_client, idle_in_transaction, .. } = *self.context.timeouts();
        if self.session.is_in_transaction() {
            (idle_in_transaction, Timeout::IdleInTransaction)
        } else {
            // On a server of its own, that one would end it.
            let own = self.session.idle_session_timeout();
            let limits = [Some(idle_client).filter(|limit| !limit.is_zero()), own];
            (limits.into_iter().flatten().min().unwrap_or_default(), Timeout::IdleClient)
        }
    }

    fn idle_due(&self) -> Option<Instant> {
        let timeout = due(self.since, self.idle_limit().0);
        let pause = (!self.rests).then(|| self.since + self.pause());
        [timeout, pause].into_iter().flatten().min()
    }

    fn pause(&self) -> Duration {
        if is_off("awake") {
            Duration::ZERO
        } else if self.counted == Traffic::default() {
            PAUSE_AT_LOGIN
        } else {
            PAUSE
        }
    }

    fn check_idle(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        if self.since + self.pause() <= now {
            self.rests = true;
            self.link.release_buffers();
        }
        let (limit, timeout) = self.idle_limit();
        if due(self.since, limit).is_some_and(|due| due <= now) {
            return Err(self.times_out(timeout));
        }
        Ok(())
    }

    /// Waits for a server for a message of type `tag`; `None` if the message was refused instead.
    async fn checkout(&mut self, tag: u8) -> Result<Option<Lease>, Ending> {
        match self.wait_for_server().await? {
            Ok(lease) => Ok(Some(lease)),
            Err(report) => {
                self.refuse(tag, &report);
                Ok(None)
            }
        }
    }

    fn refuse(&mut self, tag: u8, report: &Report) {
        self.context
            .common
            .metrics
            .errors
            .count(crate::metrics::ErrorSource::Pgweir, report.code.as_bytes());
        self.session.refuse(tag, &mut self.link.output, |out| report.encode(out));
        self.half.drop_message(&mut self.link);
    }

    /// Takes a server, waiting for one if need be.
    async fn wait_for_server(&mut self) -> Result<Result<Lease, Report>, Ending> {
        if let Some(lease) = self.pool.checkout_now(self.class, self.session.desired(), self.since)
        {
            return Ok(Ok(lease));
        }
        self.registration.set_state(State::Waiting, self.since);
        let (pool, class) = (Arc::clone(&self.pool), self.class);
        let wanted = self.session.desired().clone();
        let coming = pin!(pool.checkout(class, &wanted, self.since));
        let waited = self.wait_in_queue(Phase::Session, self.since, coming).await;
        // Who cancels its own wait was not refused.
        if let Ok(Err(report)) = &waited
            && report.code != SqlState::QUERY_CANCELED
        {
            let lasted = self.registration.lasted(Instant::now());
            self.tell_of(Event::Refused, report, lasted);
        }
        let began = waited.as_ref().ok().and_then(|got| got.as_ref().ok()?.began());
        self.since = began.unwrap_or_else(Instant::now);
        self.registration.set_state(State::Idle, self.since);
        waited
    }
}

/// A client that has said nothing for so long gives its buffers back, and sleeps if it can. Before, the next
/// message is likely to need them at once, and each client that is at work is woken once in so long for nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// The same for one that has logged in and has asked for nothing: many come at once, and hold their connection.
const PAUSE_AT_LOGIN: Duration = Duration::from_millis(50);

/// Bytes in buffers that a client keeps until then.
const SMALL_BUFFER: usize = 2 << 10;
