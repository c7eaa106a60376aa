//! A long result is read in large pieces.
//!
//! Waking up for each of the small pieces that a server sends is most of what relaying a long result costs. So when
//! much has come in a short time, the server's connection is left alone until more of it is there, for [`PAUSE`] at
//! most. The end of a result, behind which nothing comes, is read so much later: next to nothing where as much as
//! [`MUCH`] came before it.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::Instant;
use crate::net::link::{Link, Traffic};

/// How the server's connection is read.
#[derive(Debug)]
pub(super) struct Gathering {
    /// The stretch that is judged: when it began, and what had been read by then.
    since: Instant,
    before: u64,
    /// There while bytes are gathered: how long nothing may be read.
    pause: Option<Pin<Box<Sleep>>>,
    /// The pause has begun.
    pausing: bool,
}

impl Gathering {
    /// One by one at first.
    pub(super) fn new(traffic: Traffic, now: Instant) -> Self {
        Self { since: now, before: traffic.read, pause: None, pausing: false }
    }

    /// Something was read.
    pub(super) fn on_read(&mut self, link: &mut Link, now: Instant) {
        self.pausing = false;
        let read = link.traffic().read;
        if read - self.before < MUCH {
            return;
        }
        if self.pause.is_none() && now - self.since < QUICKLY && link.gather(true) {
            self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
        }
        (self.since, self.before) = (now, read);
    }

    /// There is nothing to read, or not enough. What is there will be reported after the pause.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link) {
        let Some(pause) = &mut self.pause else { return };
        if !self.pausing {
            self.pausing = true;
            pause.as_mut().reset(tokio::time::Instant::now() + PAUSE);
        }
        if pause.as_mut().poll(cx).is_ready() {
            self.stop(link);
        }
    }

    /// One by one again.
    pub(super) fn stop(&mut self, link: &mut Link) {
        if self.pause.take().is_some() {
            link.gather(false);
            self.before = link.traffic().read;
        }
    }
}

/// What must have come for the next to be gathered: at 250 MB/s it takes 17 ms.
const MUCH: u64 = 4 << 20;

/// How long that may have taken.
const QUICKLY: Duration = Duration::from_millis(100);

/// How long nothing may be read, though less is there than is gathered.
const PAUSE: Duration = Duration::from_millis(1);
