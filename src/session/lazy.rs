//! Transactions that no server knows of yet (docs/semantics.md "Lazy BEGIN").
//!
//! A function that begins a transaction and then goes about something else would hold a server for nothing.
//! Where its class says so, its BEGIN is answered at once, and is sent ahead of the first message that needs a
//! server; that message waits for it, so that it never runs outside of the transaction.

use bytes::BytesMut;

use super::flow::Kind;
use super::from_client::may_start;
use super::{Backend, Note, Session, SessionError, TransactionStatus, Unsynced};
use crate::sql::{self, Whole};
use crate::wire::{Report, SqlState, build};

/// Where a session stands with them.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    allowed: bool,
    begun: Begun,
}

/// Who knows of the transaction that the client has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Begun {
    /// Its server, or it has not.
    #[default]
    There,
    /// pgweir alone.
    Here,
    /// A server has been told, and has not answered.
    Sent,
}

impl Lazy {
    /// No transaction is begun that no server knows of.
    pub(super) fn is_at_rest(&self) -> bool {
        self.begun == Begun::There
    }
}

impl Session {
    /// Whether a BEGIN may be answered without a server from now on.
    pub fn set_lazy_begin(&mut self, allowed: bool) {
        self.lazy.allowed = allowed;
    }

    /// Answers a Query of a client without a server if it begins a transaction, ends one in which nothing was done,
    /// or is in vain since that one has failed.
    pub(super) fn answer_lazily(&mut self, text: &[u8]) -> bool {
        let here = self.lazy.begun == Begun::Here;
        if !(self.lazy.allowed || here) {
            return false;
        }
        // What stands before it without a Sync may be part of the transaction.
        let alone = self.is_quiet() && self.unsynced == Unsynced::Nothing;
        if !alone || self.pooling.keeps() {
            return false;
        }
        let failed = here && self.status == TransactionStatus::Failed;
        if failed && self.cannot_run(text) && !sql::is_empty(text) {
            self.answer_in_vain();
            return true;
        }
        let whole =
            may_start(text, LETTERS).then(|| sql::whole(text, &self.reading.options(false, None)));
        let (tag, begins) = match (whole.flatten(), self.status) {
            (Some(Whole::Begin), TransactionStatus::Idle) => ("BEGIN", true),
            (Some(Whole::StartTransaction), TransactionStatus::Idle) => ("START TRANSACTION", true),
            (Some(Whole::Commit), _) if here && !failed => ("COMMIT", false),
            (Some(Whole::Commit | Whole::Rollback), _) if here => ("ROLLBACK", false),
            _ => return false,
        };
        (self.lazy.begun, self.status) = if begins {
            (Begun::Here, TransactionStatus::InTransaction)
        } else {
            (Begun::There, TransactionStatus::Idle)
        };
        self.answer_query(tag);
        true
    }

    fn answer_in_vain(&mut self) {
        let report = Report::error(SqlState::new(*b"25P02"), IN_VAIN);
        self.answer_query_by(|out| report.encode(out));
    }

    /// A message of the client's was refused: as on PostgreSQL, that fails its transaction.
    pub(super) fn fail_lazily(&mut self) {
        if self.lazy.begun == Begun::Here {
            self.status = TransactionStatus::Failed;
        }
    }

    /// Tells the server of the transaction, ahead of the client's first message in it.
    pub(super) fn begin_at_last(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if self.lazy.begun != Begun::Here {
            return;
        }
        let failed = self.status == TransactionStatus::Failed;
        // The second statement of the second fails.
        build::query(out, if failed { "BEGIN; ROLLBACK TO SAVEPOINT pgweir" } else { "BEGIN" });
        backend.statements.clear_unnamed();
        self.inject(Kind::Query, Note::LazyBegin);
        self.lazy.begun = Begun::Sent;
    }

    /// The client is in a transaction that no server knows of.
    pub(super) fn is_begun_here(&self) -> bool {
        self.lazy.begun == Begun::Here
    }

    /// The server has not answered that yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.lazy.begun == Begun::Sent
    }

    /// It has: the client's messages may follow.
    pub(super) fn on_begun(&mut self, status: TransactionStatus) -> Result<(), SessionError> {
        self.lazy.begun = Begun::There;
        if status == self.status { Ok(()) } else { Err(SessionError::NotBegun) }
    }
}

/// What PostgreSQL says.
const IN_VAIN: &str =
    "current transaction is aborted, commands ignored until end of transaction block";

/// First letters of the commands that begin and end transactions.
const LETTERS: &[u8] = b"bBsScCeErRaA";
