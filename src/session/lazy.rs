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
use crate::wire::build;

/// Where a session stands with them.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    allowed: bool,
    begun: Begun,
}

/// Who knows that the client has begun a transaction.
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

impl Session {
    /// Whether a BEGIN may be answered without a server from now on.
    pub fn set_lazy_begin(&mut self, allowed: bool) {
        self.lazy.allowed = allowed;
    }

    /// Answers a Query of a client without a server if it begins a transaction, or ends one in which nothing
    /// was done.
    pub(super) fn answer_lazily(&mut self, text: &[u8]) -> bool {
        let here = self.lazy.begun == Begun::Here;
        if !(self.lazy.allowed || here) || !may_start(text, LETTERS) {
            return false;
        }
        // What stands before it without a Sync may be part of the transaction.
        let alone = self.is_quiet() && self.unsynced == Unsynced::Nothing;
        if !alone || self.pooling.keeps() {
            return false;
        }
        let whole = sql::whole(text, &self.reading.options(false, None));
        let (tag, begins) = match (whole, self.status) {
            (Some(Whole::Begin), TransactionStatus::Idle) => ("BEGIN", true),
            (Some(Whole::StartTransaction), TransactionStatus::Idle) => ("START TRANSACTION", true),
            (Some(Whole::Commit), _) if here => ("COMMIT", false),
            (Some(Whole::Rollback), _) if here => ("ROLLBACK", false),
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

    /// Tells the server of the transaction, ahead of the client's first message in it.
    pub(super) fn begin_at_last(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if self.lazy.begun != Begun::Here {
            return;
        }
        build::query(out, "BEGIN");
        backend.statements.clear_unnamed();
        self.inject(Kind::Query, Note::LazyBegin);
        self.lazy.begun = Begun::Sent;
    }

    /// The server has not answered that yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.lazy.begun == Begun::Sent
    }

    /// It has: the client's messages may follow.
    pub(super) fn on_begun(&mut self, status: TransactionStatus) -> Result<(), SessionError> {
        self.lazy.begun = Begun::There;
        match status {
            TransactionStatus::InTransaction => Ok(()),
            TransactionStatus::Idle | TransactionStatus::Failed => Err(SessionError::NotBegun),
        }
    }
}

/// First letters of the commands that begin and end transactions.
const LETTERS: &[u8] = b"bBsScCeErRaA";
