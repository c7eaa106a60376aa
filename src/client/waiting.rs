//! A client in its pool's queue, at its login or later.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::abandon::Probe;
use super::alarm::{LOOKS, due};
use super::{Client, Ending, edge};
use crate::clock::Instant;
use crate::config::Timeouts;
use crate::metrics::CancelOutcome;
use crate::net::link::Moved;
use crate::pool::{CheckoutError, PoolKey};
use crate::registry::Notice;
use crate::wire::Report;

/// When a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before it was welcomed: it has asked for nothing yet.
    Login,
    /// For a message of its own.
    Session,
}

/// What wakes a client in the queue.
enum Woken<T> {
    Came(Result<T, CheckoutError>),
    Told(Notice),
    Moved(Moved),
    Alarm,
}

/// One wait.
struct Wait {
    phase: Phase,
    since: Instant,
    /// When the client is to be told of it.
    notice: Option<Instant>,
    /// When it is looked next whether its machine is there.
    look: Instant,
    /// Whether that is watched closely.
    watched: bool,
    probe: Probe,
}

impl Client {
    /// Waits for what the pool is asked for since then, watching the client meanwhile: one that is gone leaves the queue, as
    /// the caller drops `coming`.
    pub(super) async fn wait_in_queue<T>(
        &mut self,
        phase: Phase,
        since: Instant,
        mut coming: Pin<&mut impl Future<Output = Result<T, CheckoutError>>>,
    ) -> Result<Result<T, Report>, Ending> {
        let Timeouts { wait_notice, client_dead, .. } = *self.context.timeouts();
        let notice = due(since, wait_notice);
        let look = since + LONG.min(client_dead / LOOKS);
        let mut wait = Wait { phase, since, notice, look, watched: false, probe: Probe::default() };
        let waited = self.waited(&mut wait, coming.as_mut()).await;
        if wait.watched {
            self.link.stream().watch(None);
        }
        waited
    }

    async fn waited<T>(
        &mut self,
        wait: &mut Wait,
        mut coming: Pin<&mut impl Future<Output = Result<T, CheckoutError>>>,
    ) -> Result<Result<T, Report>, Ending> {
        let phase = wait.phase;
        loop {
            if self.link.input.len() >= WAITING_INPUT {
                // What is not read does not tell that its side has ended.
                wait.probe.start();
            }
            let due = [Some(wait.look), wait.probe.due(), wait.notice];
            self.alarm.set(due.into_iter().flatten().min());
            match self.woken_in_queue(coming.as_mut()).await? {
                Woken::Came(came) => {
                    return Ok(came.map_err(|error| phase.report(&error, self.pool.key())));
                }
                Woken::Told(notice) => {
                    if let Some(report) = self.on_notice_in_queue(phase, notice)? {
                        return Ok(Err(report));
                    }
                }
                Woken::Moved(moved) => wait.on_moved(moved)?,
                Woken::Alarm => {
                    self.look_in_queue(wait)?;
                    self.tell_standing(wait);
                    wait.probe.send(&self.session, &mut self.link, false)?;
                }
            }
        }
    }

    async fn woken_in_queue<T>(
        &mut self,
        mut coming: Pin<&mut impl Future<Output = Result<T, CheckoutError>>>,
    ) -> Result<Woken<T>, Ending> {
        let read = self.link.input.len() < WAITING_INPUT && !self.link.has_ended();
        poll_fn(|cx| {
            if let Poll::Ready(came) = coming.as_mut().poll(cx) {
                return Poll::Ready(Ok(Woken::Came(came)));
            }
            if let Poll::Ready(notice) = self.registration.poll_notice(cx) {
                return Poll::Ready(Ok(Woken::Told(notice)));
            }
            if let Poll::Ready(moved) = self.link.poll_moved(cx, read) {
                return Poll::Ready(Ok(Woken::Moved(moved?)));
            }
            self.alarm.poll(cx).map(|()| Ok(Woken::Alarm))
        })
        .await
    }

    /// What the client is told if that ends its wait.
    fn on_notice_in_queue(
        &mut self,
        phase: Phase,
        notice: Notice,
    ) -> Result<Option<Report>, Ending> {
        match (notice, phase) {
            (Notice::Cancel, _) => {
                for canceler in self.registration.mailbox().take_canceling() {
                    // It may have given up.
                    let _ = canceler.send(CancelOutcome::Waiting);
                }
                return Ok((phase == Phase::Session).then(edge::canceled));
            }
            // A login is no transaction to be waited for.
            (Notice::Drain, Phase::Login) => {
                return Err(Ending::Ended(Box::new(edge::shutting_down())));
            }
            (Notice::Terminate, _) => {
                return Err(Ending::Ended(Box::new(edge::draining())));
            }
            (Notice::Drain, Phase::Session) => self.draining = true,
            (Notice::Reload, _) => self.on_reload(),
            // They come ahead of the next ReadyForQuery.
            (Notice::News, _) => {}
        }
        Ok(None)
    }

    /// Tells a client how its wait stands, if that is due.
    fn tell_standing(&mut self, wait: &mut Wait) {
        if wait.notice.take_if(|due| *due <= Instant::now()).is_some() {
            let standing = self.pool.standing(self.class, wait.since);
            edge::waiting(&standing, self.pool.key()).encode(&mut self.link.output);
        }
    }

    /// Looks whether a client that waits for long is still there when its turn comes, if that is due.
    fn look_in_queue(&self, wait: &mut Wait) -> Result<(), Ending> {
        let now = Instant::now();
        if now < wait.look {
            return Ok(());
        }
        let pause = self.context.timeouts().client_dead / LOOKS;
        wait.look = now + pause;
        self.look_at_machine(pause, &mut wait.watched)
    }

    /// Looks whether the client's machine acknowledges what it is sent, as is done again after that pause; probes it
    /// from now on while it is sent nothing, which the system does not do where anything is unacknowledged.
    pub(super) fn look_at_machine(
        &self,
        pause: Duration,
        watched: &mut bool,
    ) -> Result<(), Ending> {
        let (stream, dead) = (self.link.stream(), self.context.timeouts().client_dead);
        // It is found out at the next look at the latest.
        if stream.owes_acknowledgement(dead.saturating_sub(pause)) {
            return Err(Ending::Lost(io::ErrorKind::TimedOut.into()));
        }
        if !std::mem::replace(watched, true) {
            stream.watch(Some(dead));
        }
        Ok(())
    }
}

impl Wait {
    fn on_moved(&mut self, moved: Moved) -> Result<(), Ending> {
        match (moved, self.phase) {
            // It has asked for nothing, so there is no answer that it may still read.
            (Moved::End, Phase::Login) => return Err(Ending::Left),
            (Moved::End, Phase::Session) => self.probe.start(),
            (Moved::Read | Moved::Drained, _) => {}
        }
        Ok(())
    }
}

impl Phase {
    fn report(self, error: &CheckoutError, pool: &PoolKey) -> Report {
        match self {
            Self::Login => edge::checkout_at_login(error, pool),
            Self::Session => edge::checkout(error, pool),
        }
    }
}

/// After so long a wait is a long one.
const LONG: Duration = Duration::from_secs(5);

/// Bytes read ahead from a client that waits for a server.
const WAITING_INPUT: usize = 64 << 10;
