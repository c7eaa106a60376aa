//! What the client's RESET means: the values of its StartupMessage, which no server knows as defaults
//! (docs/semantics.md "Settings").
//!
//! What a RESET in the client's own text means is set at once: behind it in the text of a Query
//! ([`sql::with_defaults`]), and behind its Execute. What code may have reset, the server is asked.

use bytes::BytesMut;

use super::flow::Kind;
use super::from_client::may_copy;
use super::own::Own;
use super::pins::PinReason;
use super::settings::{self, Change};
use super::{Backend, Note, Session, TransactionStatus};
use crate::sql::{self, Effects, Resets};
use crate::wire::build;
use crate::without::is_off;

/// What there is to do about resets.
#[derive(Debug, Default)]
pub(super) struct Resetting {
    /// Values of the StartupMessage of settings that may have been reset.
    pub(super) suspected: Vec<Change>,
    /// What the text resets that the unnamed portal runs.
    bound: Resets,
    /// Statements that belong behind the Execute that was sent last.
    behind: Vec<Vec<u8>>,
    /// DISCARD ALL was done.
    pub(super) discarded: bool,
    /// All settings were reset in the open transaction: whether some had been set before whose names no
    /// text shows.
    pub(super) all: Option<bool>,
}

impl Resetting {
    /// A Bind has failed, or was skipped.
    pub(super) fn on_unbound(&mut self) {
        self.bound = Resets::None;
    }
}

impl Session {
    /// These settings may be reset by the client's message.
    pub(super) fn suspect_resets(&mut self, resets: &Resets) {
        if *resets == Resets::None || is_off("startup_on_reset") {
            return;
        }
        let suspected = &mut self.resetting.suspected;
        for (name, value) in self.startup.iter().filter(|(name, _)| resets.contains(name)) {
            if !suspected.iter().any(|known| *known.name == *name) {
                suspected.push(Change { name: name.into(), value: Some(value.into()) });
            }
        }
    }

    /// Whether a setting may have been reset by what the client has sent last.
    pub(super) fn suspects_reset(&self, name: &str) -> bool {
        self.resetting.suspected.iter().any(|change| change.name.eq_ignore_ascii_case(name))
    }

    /// These are reset by the client's text, and their values set behind it as far as they can be written.
    pub(super) fn suspect_unwritten(&mut self, resets: &Resets) {
        if *resets == Resets::None {
            return;
        }
        let unwritten = |(name, value): &(&str, &[u8])| {
            resets.contains(name) && sql::setting(name, value).is_none()
        };
        let names = self.startup.iter().filter(unwritten).map(|(name, _)| name.into()).collect();
        self.suspect_resets(&Resets::Names(names));
    }

    /// The text that a portal runs resets these settings.
    pub(super) fn note_bound_resets(&mut self, portal: &[u8], resets: Resets) {
        if !portal.is_empty() {
            return self.suspect_resets(&resets);
        }
        self.suspect_unwritten(&resets);
        self.resetting.bound = resets;
    }

    /// A portal is executed.
    pub(super) fn execute_resets(&mut self, portal: &[u8]) {
        if !portal.is_empty() || is_off("startup_on_reset") {
            return;
        }
        let resets = std::mem::take(&mut self.resetting.bound);
        let meant = self.startup.iter().filter(|(name, _)| resets.contains(name));
        let behind: Vec<_> = meant.filter_map(|(name, value)| sql::setting(name, value)).collect();
        if !behind.is_empty() {
            self.resetting.behind = behind;
            // It would be sent without them.
            self.retry = None;
        }
    }

    /// Sends what belongs behind the Execute that was sent last.
    pub(super) fn write_behind(&mut self, out: &mut BytesMut) {
        let behind = std::mem::take(&mut self.resetting.behind);
        if self.flow.is_skipping() {
            return;
        }
        for mut text in behind {
            text.extend_from_slice(&[0, 0, 0]);
            build::close_statement(out, WRITTEN.as_bytes());
            build::parse_body(out, WRITTEN.as_bytes(), &text);
            build::bind_text(out, WRITTEN, &[]);
            build::execute(out);
            for kind in [Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute] {
                self.inject(kind, Note::Written);
            }
        }
    }

    /// The client's message may have reset settings that have a value of the StartupMessage.
    pub(super) fn must_restore(&self) -> bool {
        !self.resetting.suspected.is_empty()
            && !self.open_segment
            && !self.flow.is_skipping()
            && self.status != TransactionStatus::Failed
    }

    /// The server may be in a COPY, which takes none of pgweir's messages.
    pub(super) fn may_be_copying(&self) -> bool {
        let copies = |note: &Note| match note {
            Note::Use { statement, .. } | Note::Parse { statement, .. } => {
                may_copy(&statement.body)
            }
            _ => false,
        };
        !self.resetting.suspected.is_empty()
            && (self.flow.is_copying_in() || self.flow.notes().any(copies))
    }

    /// Behind the client's message, what it has reset is made to mean what it does on a connection of its
    /// own.
    pub(super) fn restore(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if self.resetting.suspected.is_empty() || self.status == TransactionStatus::Failed {
            return;
        }
        // The server would drop it, and nothing would tell.
        if self.flow.is_skipping() {
            return;
        }
        // The message may have deallocated it.
        if self.questions.suspects.intersects(Effects::LOCAL) {
            backend.statements.doubt_own(Own::Restore);
        }
        let mut suspected = std::mem::take(&mut self.resetting.suspected);
        // The values before it may need the rights of the session's user.
        suspected.sort_by_key(|change| change.name.eq_ignore_ascii_case("role"));
        self.prepare_own(Own::Restore, backend, out);
        settings::write_changes(out, Own::Restore.name(), &suspected);
        self.inject(Kind::Bind, Note::Plain);
        self.inject(Kind::Execute, Note::Restored);
    }

    /// A reported setting went back to the server's default, by the client's own work. True if the client
    /// is told the value of its StartupMessage instead.
    pub(super) fn is_told_startup(&mut self, name: &str, out: &mut BytesMut) -> bool {
        if !self.suspects_reset(name) {
            return false;
        }
        let Some(value) = self.startup.get(name) else { return false };
        self.desired.set(name, value);
        self.reading.set(name, value);
        if self.told.set(name, value) {
            build::parameter_status(out, name, value);
        }
        true
    }

    /// DISCARD ALL is done: tells the client what it means. The server has it before the client's next
    /// message.
    pub(super) fn tell_discarded(&mut self, out: &mut BytesMut) {
        if !std::mem::take(&mut self.resetting.discarded) {
            return;
        }
        for (name, value) in self.startup.iter() {
            self.desired.set(name, value);
            if self.told.get(name).is_some_and(|told| told != value) {
                self.told.set(name, value);
                let name = self.told.spelling(name).unwrap_or(name);
                build::parameter_status(out, name, value);
            }
        }
    }

    /// The client's transaction is over, and all that was reset in it is.
    pub(super) fn on_resets_kept(&mut self) {
        if self.resetting.all.take().is_some() {
            self.pins.set(PinReason::Setting, false);
        }
    }

    /// What was reset since the last ReadyForQuery was rolled back.
    pub(super) fn on_resets_undone(&mut self) {
        if let Some(unnamed) = self.resetting.all.take() {
            self.questions.touched.any |= unnamed;
        }
    }
}

/// Name of the statement that is put behind an Execute.
const WRITTEN: &str = "__pgweir_reset";
