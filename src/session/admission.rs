//! Who may be pinned: by what the text shows, before it runs; else by what the server tells, after it.

use bytes::BytesMut;

use super::flow::{Kind, Owner};
use super::from_client::ClientFate;
use super::pins::{PinReason, Pins};
use super::preparing::MISSING;
use super::rules::{DynamicSet, Refusal};
use super::{Backend, Note, Out, Session, TransactionStatus};
use crate::sql::{self, Effects, Lexer, Token};
use crate::wire::{Report, SqlState, build};

/// Whether a text begins with the end of a transaction.
fn begins_with_end(text: &[u8]) -> bool {
    let mut tokens = Lexer::new(text, true);
    let first = tokens.find(|token| token.kind != sql::Kind::Semicolon);
    // PREPARE TRANSACTION rolls it back.
    let ends = [b"rollback".as_slice(), b"abort", b"commit", b"end", b"prepare"];
    first.is_some_and(|token: Token<'_>| ends.iter().any(|word| token.is_word(word)))
}

impl Session {
    /// Whether a text may run, which then has its place among the pinned. What the server would refuse
    /// anyway, in a failed transaction, is left to it.
    pub(super) fn admit_text(&mut self, effects: Effects, text: &[u8]) -> Result<(), Refusal> {
        if !effects.intersects(SHOWABLE) || self.status == TransactionStatus::Failed {
            return Ok(());
        }
        if effects.contains(Effects::LISTEN) && self.listening.refuses() {
            return Err(Refusal::Listen);
        }
        self.admit(self.shown_pins(effects, text))
    }

    /// In a failed transaction nothing runs but what begins with its end.
    pub(super) fn cannot_run(&self, text: &[u8]) -> bool {
        if self.status != TransactionStatus::Failed || !self.is_quiet() {
            return false;
        }
        !begins_with_end(text)
    }

    /// Whether the client may be pinned for all of this.
    pub(super) fn admit(&mut self, pins: Pins) -> Result<(), Refusal> {
        let Some(first) = pins.iter().next() else { return Ok(()) };
        if self.pooling.keeps() {
            return Ok(());
        }
        let refused = self.knowledge.rules().refused;
        if let Some(reason) = pins.iter().find(|reason| refused.contains(*reason)) {
            return Err(Refusal::Reason(reason));
        }
        if self.seat.is_none() {
            let seat = self.knowledge.take_seat();
            self.seat = Some(seat.map_err(|max| Refusal::Full { reason: first, max })?);
        }
        Ok(())
    }

    /// Whether a number that is drawn pins its client. Where there is no room, asking for it later fails,
    /// as it does for those who are not known to ask.
    pub(super) fn admits_sequence(&mut self) -> bool {
        self.pins.contains(PinReason::Sequence)
            || (self.knowledge.reads_sequences(self.application_name())
                && self.admit(Pins::NONE.with(PinReason::Sequence)).is_ok())
    }

    fn shown_pins(&self, effects: Effects, text: &[u8]) -> Pins {
        let options = self.reading.options(false, None);
        let mut pins = Pins::NONE;
        for shown in sql::shown(text, &options) {
            pins.set(reason_of(shown.kind), true);
        }
        if self.listening.shares() {
            pins.set(PinReason::Listen, false);
        }
        if effects.contains(Effects::SETTING)
            && self.knowledge.rules().dynamic_set == DynamicSet::Pin
            && sql::touched(text, &options).any
        {
            pins.set(PinReason::Setting, true);
        }
        pins
    }

    /// Answers a Query that may not run. The server is made to fail in its stead, so that its transaction
    /// ends as the client's does.
    pub(super) fn refuse_query(
        &mut self,
        refusal: Refusal,
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        backend.statements.clear_unnamed();
        build::query(out.server, &format!("DEALLOCATE {MISSING}"));
        self.cut_segment(|| false);
        self.flow.sent(Kind::Query, Owner::Client, Note::Refuse(Box::new(refusal.report())));
        ClientFate::Consumed
    }

    /// The report of a Query that was made to fail, if that is what has failed.
    pub(super) fn refused_query(&self, out: &mut BytesMut) -> bool {
        match self.flow.head().map(|head| &head.note) {
            Some(Note::Refuse(report)) => {
                report.encode(out);
                true
            }
            _ => false,
        }
    }
}

impl Refusal {
    /// What a client is told before its text has run.
    pub fn report(self) -> Report {
        match self {
            Self::Reason(reason) => {
                let text = format!("{} is not supported in transaction pooling mode", what(reason));
                Report::error(SqlState::FEATURE_NOT_SUPPORTED, text)
                    .detail(format!("The setting pins.refuse names \"{}\".", reason.text()))
                    .hint(remedy(reason))
            }
            Self::Listen => Report::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                "LISTEN is not supported in transaction pooling mode",
            )
            .detail("The setting pins.listen is \"refuse\".")
            .hint(
                "Connect to PostgreSQL itself for notifications, or set pins.listen to \"share\".",
            ),
            Self::Full { reason, max } => {
                let text = format!(
                    "too many clients keep their database connection to themselves; {} would make one more",
                    what(reason)
                );
                Report::error(SqlState::CONFIGURATION_LIMIT, text)
                    .detail(format!(
                        "Reason: {}. The setting pins.max_pinned allows {max} in this pool.",
                        reason.text()
                    ))
                    .hint(remedy(reason))
            }
        }
    }
}

fn reason_of(shown: Effects) -> PinReason {
    const KINDS: [(Effects, PinReason); 7] = [
        (Effects::TEMP_OBJECT, PinReason::TempObject),
        (Effects::CURSOR, PinReason::HeldCursor),
        (Effects::SQL_PREPARE, PinReason::SqlPrepared),
        (Effects::ADVISORY_LOCK, PinReason::AdvisoryLock),
        (Effects::LISTEN, PinReason::Listen),
        (Effects::LOAD, PinReason::Library),
        (Effects::RETIRE_FUNCTION, PinReason::Permanent),
    ];
    let found = KINDS.iter().find(|(kind, _)| *kind == shown);
    found.map_or(PinReason::Authorization, |(_, reason)| *reason)
}

fn what(reason: PinReason) -> &'static str {
    match reason {
        PinReason::TempObject => "a temporary object",
        PinReason::HeldCursor => "a cursor WITH HOLD",
        PinReason::SqlPrepared => "PREPARE",
        PinReason::AdvisoryLock => "a session-level advisory lock",
        PinReason::Listen => "LISTEN",
        PinReason::Authorization => "SET SESSION AUTHORIZATION",
        PinReason::Setting => "setting a parameter whose name the statement does not show",
        PinReason::Library => "LOAD",
        PinReason::Permanent => "state that ends only with the session",
        PinReason::Sequence => "keeping the numbers of sequences",
        PinReason::LongStatement => "a named prepared statement with a long text",
        PinReason::Unproven => "a session whose state could not be found out",
    }
}

fn remedy(reason: PinReason) -> &'static str {
    match reason {
        PinReason::TempObject => "Use ON COMMIT DROP, or a common table expression.",
        PinReason::HeldCursor => {
            "Declare the cursor without WITH HOLD and read it in one transaction."
        }
        PinReason::SqlPrepared => "Prepare by messages of the protocol, as drivers do.",
        PinReason::AdvisoryLock => "Use pg_advisory_xact_lock, which ends with the transaction.",
        PinReason::Authorization => "Use SET ROLE, which follows the client.",
        PinReason::LongStatement => "Use the unnamed statement or a simple query for it.",
        PinReason::Setting => "Write the name of the setting as a constant or a parameter.",
        PinReason::Listen
        | PinReason::Library
        | PinReason::Permanent
        | PinReason::Sequence
        | PinReason::Unproven => "Connect to PostgreSQL itself for this.",
    }
}

/// Effects of texts that may show that they pin.
const SHOWABLE: Effects = Effects::LISTEN
    .union(Effects::CURSOR)
    .union(Effects::TEMP_OBJECT)
    .union(Effects::ADVISORY_LOCK)
    .union(Effects::SQL_PREPARE)
    .union(Effects::LOAD)
    .union(Effects::RETIRE_FUNCTION)
    .union(Effects::SETTING);
