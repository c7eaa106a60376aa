//! Ending the work of a client that is gone.
//!
//! ```text
//!  cancel --> CopyFail, ROLLBACK, Sync --> barrier --> DISCARD ALL --> idle
//!  (what is in flight)                                 (if something was in flight)
//! ```
//! A bare Sync would commit what came before it. `ROLLBACK; Sync` never does: where the server runs
//! the ROLLBACK, it ends the transaction, and where it skips it, the transaction has failed
//! (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`). How many ReadyForQuery come back depends on
//! which of the two it was, so they are not counted: the barrier's row says where we are, and its
//! own ROLLBACK ends a failed block in which the first was skipped. A CopyFail outside COPY is
//! ignored by PostgreSQL.

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use tokio::time::timeout;

use super::replies::{self, Reply, idle, within};
use super::{Broken, CancelAddress, Cleaning, Server, ServerError, cancel};
use crate::clock::Instant;
use crate::wire::{ErrorFields, Reader, build};

/// What a client that is gone left on its server. A message of which it sent only a part must have
/// been finished or the server be closed instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Something was sent that is not answered yet.
    pub outstanding: bool,
    /// The server waits for CopyData.
    pub copying_in: bool,
    /// Bytes at the head of the server's input that belong to a message whose head was used.
    pub unread: usize,
    /// What runs is cancelled; else it may end by itself before `deadline`.
    pub cancel: bool,
}

impl Server {
    /// Ends it: nothing is committed that the server had not begun to commit by itself. Afterwards
    /// the server is outside a transaction, and what it has prepared is known. Not cancel safe: after
    /// an error the server is to be closed.
    pub async fn abandon(&mut self, work: Work, deadline: Instant) -> Result<(), Broken> {
        let runs = work.outstanding && !work.copying_in;
        match self.cancel_key.clone().filter(|_| runs && work.cancel) {
            Some(address) => self.cut_short(&address, work, deadline).await,
            None => within(deadline, self.roll_back(work)).await,
        }
    }

    /// Cancels what runs, and again while it goes on: a signal that comes before a statement has
    /// begun does nothing, and there may be more statements behind the first.
    async fn cut_short(
        &mut self,
        address: &CancelAddress,
        work: Work,
        deadline: Instant,
    ) -> Result<(), Broken> {
        // What the client sent last must be on the server before the cancel is.
        within(deadline, async { Ok(self.link.flush().await?) }).await?;
        cancel_settled(address, deadline).await?;
        let mut rolled_back = pin!(within(deadline, self.roll_back(work)));
        loop {
            match timeout(CANCEL_AGAIN, &mut rolled_back).await {
                Ok(done) => return done,
                Err(_) => cancel_settled(address, deadline).await?,
            }
        }
    }

    async fn roll_back(&mut self, work: Work) -> Result<(), Broken> {
        let out = &mut self.link.output;
        build::copy_fail(out, "the client is gone");
        build::query(out, "ROLLBACK");
        build::empty(out, b'S');
        let token = Alphanumeric.sample_string(&mut rand::rng(), TOKEN_LEN);
        build::query(out, &format!("ROLLBACK; SELECT '{token}'"));
        replies::skip(&mut self.link, work.unread).await?;
        self.until_token(token.as_bytes()).await?;
        if work.outstanding || work.copying_in {
            // Which of the statements in flight were prepared, nobody has seen.
            return self.reset(Cleaning::DiscardAll).await;
        }
        Ok(())
    }

    /// Drops what comes before the barrier's row and its end.
    async fn until_token(&mut self, token: &[u8]) -> Result<(), Broken> {
        loop {
            let reply = self.answer().await?;
            match reply.tag {
                b'D' if is_row_of(&reply.body, token) => break,
                b'E' => not_fatal(reply)?,
                _ => {}
            }
        }
        loop {
            let reply = self.answer().await?;
            match reply.tag {
                b'C' => {}
                b'Z' => return idle(&reply.whole()?),
                tag => return Err(Broken::OutOfTurn(tag)),
            }
        }
    }
}

async fn cancel_settled(address: &CancelAddress, deadline: Instant) -> Result<(), Broken> {
    let outcome = cancel(address, &AtomicBool::new(true), deadline).await;
    if outcome.is_settled() { Ok(()) } else { Err(Broken::TimedOut) }
}

fn not_fatal(reply: Reply) -> Result<(), Broken> {
    if ErrorFields::read(&reply.body).is_fatal() {
        return Err(Broken::Refused(ServerError::new(reply.body)));
    }
    Ok(())
}

/// A DataRow of one column with this value.
fn is_row_of(body: &[u8], value: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    let one = reader.u16() == Ok(1);
    let len = reader.i32();
    one && len == Ok(value.len() as i32) && reader.rest() == value
}

/// Time after which what still runs is cancelled once more.
pub(super) const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// Long enough that no row of a client is taken for the barrier's.
const TOKEN_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_barriers_row_is_its_row() {
        for (body, expected) in [
            (&b"\0\x01\0\0\0\x03abc"[..], true),
            (b"\0\x01\0\0\0\x03abd", false),
            (b"\0\x02\0\0\0\x03abc\xff\xff\xff\xff", false),
            (b"\0\x01\0\0\0\x03abcd", false),
            (b"\0\x01\xff\xff\xff\xff", false),
            (b"", false),
        ] {
            assert_eq!(is_row_of(body, b"abc"), expected, "{body:?}");
        }
    }
}
