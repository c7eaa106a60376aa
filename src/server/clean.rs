//! Asking a server whether it is well, and resetting its session.

use std::time::Duration;

use bytes::Buf;

use super::replies::{QUERY_REPLIES, Reply, idle, within};
use super::{Broken, Server, ServerError};
use crate::clock::Instant;
use crate::session::proof;
use crate::session::settings::Settings;
use crate::wire::build;
use crate::wire::frame::{self, HEADER};

/// How a session is reset (docs/semantics.md "Cleaning").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning {
    /// Everything but prepared statements.
    SoftReset,
    /// Everything.
    DiscardAll,
}

impl Cleaning {
    fn sql(self) -> &'static str {
        match self {
            Self::SoftReset => SOFT_RESET,
            Self::DiscardAll => "DISCARD ALL",
        }
    }
}

impl Server {
    /// Asks the server whether it is there, and outside a transaction. A bare Sync is the cheapest
    /// question (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`).
    pub async fn check(&mut self, deadline: Instant) -> Result<(), Broken> {
        build::empty(&mut self.link.output, b'S');
        within(deadline, self.until_idle(b"")).await
    }

    /// Resets the session of a server that is outside a transaction with nothing in flight, has it say
    /// that nothing is left, and runs `init_query` again.
    pub async fn clean(&mut self, cleaning: Cleaning, deadline: Instant) -> Result<(), Broken> {
        within(deadline, self.reset(cleaning)).await
    }

    pub(super) async fn reset(&mut self, cleaning: Cleaning) -> Result<(), Broken> {
        // Alone in its Query, DISCARD ALL is outside a transaction block, as it must be
        // (`sql-discard.html`). UNLISTEN shows once its Query has committed.
        let out = &mut self.link.output;
        build::query(out, cleaning.sql());
        build::query(out, &proof::question());
        self.until_idle(QUERY_REPLIES).await?;
        match cleaning {
            Cleaning::SoftReset => self.backend.on_cleaned(),
            Cleaning::DiscardAll => self.backend.on_discarded(),
        }
        let prepared = self.prove_clean().await?;
        // Code may have deallocated some, and texts may have prepared others.
        if prepared != self.backend.statements.count(0) {
            self.query("DISCARD ALL").await?;
            self.backend.on_discarded();
        }
        match self.init_query.take() {
            Some(sql) => {
                let done = self.query(&sql).await;
                self.init_query = Some(sql);
                done
            }
            None => Ok(()),
        }
    }

    /// Reads the answer to the proof's question, and gives how many statements there are.
    async fn prove_clean(&mut self) -> Result<usize, Broken> {
        let mut proof = None;
        loop {
            let reply = self.answer().await?;
            match reply.tag {
                b'D' => {
                    proof =
                        proof::prepared_if_clean(&reply.body).map_err(Reply::malformed(b'D'))?;
                }
                b'T' | b'C' => {}
                b'E' => return Err(Broken::Refused(ServerError::new(reply.whole()?))),
                b'Z' => {
                    idle(&reply.whole()?)?;
                    break;
                }
                tag => return Err(Broken::OutOfTurn(tag)),
            }
        }
        let settings = &self.backend.settings;
        let user = |settings: &Settings| settings.get("session_authorization").map(<[u8]>::to_vec);
        let own = user(settings.reported()) == user(settings.baseline());
        proof.filter(|_| own).ok_or(Broken::Unclean)
    }

    /// Runs a statement and drops its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<(), Broken> {
        build::query(&mut self.link.output, sql);
        self.until_idle(QUERY_REPLIES).await
    }

    /// Whether the server was used less than `check` ago, so that it need not be asked.
    pub fn was_used(&self, now: Instant, check: Duration) -> bool {
        now.saturating_duration_since(self.idle_since) < check
    }

    /// Whether an idle server has said something that makes it useless: anything but a changed
    /// parameter or a notice. Does not wait.
    pub fn is_stale(&mut self) -> bool {
        self.news().is_err()
    }

    fn news(&mut self) -> Result<(), Broken> {
        for _ in 0..MAX_NEWS {
            match self.link.poll_readable_now()? {
                Some(crate::net::link::Moved::End) => return Err(Broken::Ended),
                Some(_) => self.on_news()?,
                None if self.link.input.is_empty() => return Ok(()),
                // The rest of a message is on its way, and a server that begins one is not idle.
                None => return Err(Broken::TooMuch("news")),
            }
        }
        Err(Broken::TooMuch("news"))
    }

    fn on_news(&mut self) -> Result<(), Broken> {
        while let Some(header) = frame::backend(&self.link.input)? {
            if !matches!(header.tag, b'S' | b'N') {
                return Err(Broken::OutOfTurn(header.tag));
            }
            if self.link.input.len() < header.total() {
                return Ok(());
            }
            self.link.input.advance(HEADER);
            let body = self.link.input.split_to(header.body);
            if header.tag == b'S' {
                self.on_parameter(&body)?;
            }
        }
        Ok(())
    }
}

/// `DISCARD ALL` without `DEALLOCATE ALL` and `DISCARD PLANS` (`sql-discard.html`).
const SOFT_RESET: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; \
    UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Reads that an idle server may give work to.
const MAX_NEWS: usize = 16;
