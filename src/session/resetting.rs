//! What the client's RESET means: the values of its StartupMessage, which no server knows as defaults
//! (docs/semantics.md "Settings").
//!
//! What a RESET in the client's own text means is set at once: behind it in the text of a Query
//! ([`sql::with_defaults`]), and behind its Execute. What code may have reset, the server is asked.

use bytes::BytesMut;

use super::flow::Kind;
use super::own::Own;
use super::pins::PinReason;
use super::settings::{self, Change};
use super::{Backend, Note, Session, TransactionStatus, Unsynced};
use crate::sql::{self, Resets};
use crate::wire::build;
use crate::without::is_off;

/// What there is to do about resets.
#[derive(Debug, Default)]
pub(super) struct Resetting {
    /// Values of the StartupMessage of settings that may have been reset.
    pub(super) suspected: Vec<Change>,
    /// Some are being restored, or were, in segments of the client's, since nothing was in flight.
    pub(super) restoring: bool,
    /// What was restored since the last ReadyForQuery, which an error would undo.
    restored: Vec<Change>,
    /// What the text resets that the unnamed portal runs.
    bound: Resets,
    /// The segment that this portal was bound in.
    bound_in: u64,
    /// What the portals of the open transaction may reset, whenever they are executed.
    portals: Resets,
    /// Statements that belong behind the Execute that was sent last.
    behind: Vec<Vec<u8>>,
    /// DISCARD ALL was done.
    pub(super) discarded: bool,
    /// A reset of all settings that may become certain: nothing that was sent behind it sets one whose name no
    /// text shows.
    all: Option<All>,
}

/// How far a reset of all settings has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct All {
    /// Of its Execute; `None` if it is a Query.
    segment: Option<u64>,
    /// It is complete: the ReadyForQuery that comes next says whether it holds.
    done: bool,
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
        self.resetting.portals.add(resets.clone());
        let meant = self.startup.iter().filter(|(name, _)| resets.contains(name));
        let meant =
            meant.map(|(name, value)| Change { name: name.into(), value: Some(value.into()) });
        self.resetting.suspect(meant);
    }

    /// These were to be restored, and were not.
    pub(super) fn suspect_again(&mut self, changes: Vec<Change>) {
        self.resetting.suspect(changes.into_iter());
    }

    /// These are restored, if their segment does not fail after all.
    pub(super) fn on_restored(&mut self, changes: Vec<Change>) {
        self.resetting.restored = changes;
    }

    /// What was restored holds, as far as its transaction does.
    pub(super) fn keep_restored(&mut self) {
        self.resetting.restored = Vec::new();
    }

    /// An error has undone it.
    pub(super) fn undo_restored(&mut self) {
        let changes = std::mem::take(&mut self.resetting.restored);
        self.suspect_again(changes);
        // It commits at once, and what stood behind it did not.
        if self.resetting.discarded {
            self.suspect_resets(&Resets::Everything);
        }
    }

    /// What the open transaction may have reset, it may reset now, or have reset before a savepoint behind which it
    /// was restored.
    pub(super) fn suspect_once_more(&mut self) {
        let resets = std::mem::take(&mut self.resetting.portals);
        self.suspect_resets(&resets);
    }

    /// A text that is sent may go back to a savepoint behind which something was restored.
    pub(super) fn suspect_undone(&mut self, text: &[u8]) {
        let goes_back =
            || text.windows(ROLLBACK.len()).any(|part| part.eq_ignore_ascii_case(ROLLBACK));
        if self.resetting.portals != Resets::None && goes_back() {
            self.suspect_once_more();
        }
    }

    /// Whether something may have been reset that was not made up for.
    pub(super) fn suspects_resets(&self) -> bool {
        !self.resetting.suspected.is_empty()
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

    /// A Query resets these settings, if it `resets` any for certain; what that means `is_written` behind each RESET in
    /// it, or else nowhere.
    pub(super) fn note_query_resets(&mut self, settings: &Resets, resets: bool, is_written: bool) {
        if !is_written || (resets && !settings.are_all()) {
            self.doubt_reset();
        }
        if is_written {
            self.suspect_unwritten(settings);
        } else {
            self.suspect_resets(settings);
        }
    }

    /// The text that a portal runs resets these settings.
    pub(super) fn note_bound_resets(&mut self, portal: &[u8], resets: Resets) {
        if !portal.is_empty() {
            return self.suspect_resets(&resets);
        }
        self.suspect_unwritten(&resets);
        self.resetting.bound = resets;
        self.resetting.bound_in = self.ticket.segment;
    }

    /// A portal is executed. Gives the segment if it resets all settings, and may make that certain.
    pub(super) fn execute_resets(&mut self, portal: &[u8]) -> Option<u64> {
        self.doubt_reset_here();
        if !portal.is_empty() || self.resetting.bound_in != self.ticket.segment {
            // It may be of a segment behind which the server was asked already.
            self.suspect_once_more();
        }
        if !portal.is_empty() {
            return None;
        }
        let resets = std::mem::take(&mut self.resetting.bound);
        self.write_resets(&resets);
        let segment = resets.are_all().then_some(self.ticket.segment)?;
        self.resetting.all = Some(All { segment: Some(segment), done: false });
        Some(segment)
    }

    fn write_resets(&mut self, resets: &Resets) {
        if is_off("startup_on_reset") {
            return;
        }
        let meant = self.startup.iter().filter(|(name, _)| resets.contains(name));
        let behind: Vec<_> = meant.filter_map(|(name, value)| sql::setting(name, value)).collect();
        if !behind.is_empty() {
            self.resetting.behind = behind;
            self.resetting.restoring |= *resets == Resets::Everything;
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
            build::bind_text(out, "", WRITTEN, &[]);
            build::execute(out);
            for kind in [Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute] {
                self.inject(kind, Note::Written);
            }
        }
    }

    /// The client's message may have reset settings that have a value of the StartupMessage, and what is sent to make
    /// up for that may fail with its segment.
    pub(super) fn must_restore(&self) -> bool {
        let is_restoring = |note: &Note| matches!(note, Note::Restored(_) | Note::Written);
        let restoring = || self.resetting.restoring && self.flow.notes().any(is_restoring);
        // What is in flight may end a transaction that has failed.
        let fails = self.status == TransactionStatus::Failed && self.flow.is_status_known();
        (!self.resetting.suspected.is_empty() || restoring())
            && !self.open_segment
            && !self.flow.is_skipping()
            && !fails
    }

    /// The server may be in a COPY, which takes none of pgweir's messages.
    pub(super) fn may_be_copying(&self) -> bool {
        let copies = |note: &Note| match note {
            Note::Use { statement, .. } | Note::Parse { statement, .. } => statement.may_copy(),
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
        // Code may have deallocated it, and what has prepared it may be of a segment that fails.
        backend.statements.doubt_own(Own::Restore);
        let mut suspected = std::mem::take(&mut self.resetting.suspected);
        // The values before it may need the rights of the session's user.
        suspected.sort_by_key(|change| change.name.eq_ignore_ascii_case("role"));
        self.prepare_own(Own::Restore, backend, out);
        // The unnamed portal is the client's, which it may execute later in its transaction.
        let name = Own::Restore.name();
        settings::bind_changes(out, name, name, &suspected);
        build::execute_once(out, name);
        self.inject(Kind::Bind, Note::Plain);
        self.inject(Kind::Execute, Note::Restored(suspected));
        self.inject(Kind::Close, Note::Plain);
    }

    /// A reported setting went back to the server's default, by the client's own work. Tells the client the value of its
    /// StartupMessage instead, if that holds for it; true if so.
    pub(super) fn tell_startup(&mut self, name: &str, out: &mut BytesMut) -> bool {
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

    /// DISCARD ALL is done: what that means, the server has before the client's next message.
    pub(super) fn on_discarded(&mut self) {
        self.resetting.discarded = true;
        for (name, value) in self.startup.iter() {
            self.desired.set(name, value);
        }
    }

    /// Behind a DISCARD ALL: tells the client what it means. What is not the server's own was set behind it.
    pub(super) fn tell_discarded(&mut self, backend: &Backend, out: &mut BytesMut) {
        if !std::mem::take(&mut self.resetting.discarded) {
            return;
        }
        let baseline = backend.settings.baseline();
        let is_default = |name: &str, told: &[u8]| baseline.get(name) == Some(told);
        for (name, value) in self.startup.iter() {
            if self.told.get(name).is_some_and(|told| told != value && is_default(name, told)) {
                self.desired.set(name, value);
                self.told.set(name, value);
                let name = self.told.spelling(name).unwrap_or(name);
                build::parameter_status(out, name, value);
            }
        }
    }

    /// A Query goes to the server, as the only thing in flight if it `may` reset all settings.
    pub(super) fn query_resets(&mut self, may: bool) {
        self.doubt_reset_here();
        if may {
            let apart = !self.open_segment && self.unsynced == Unsynced::Nothing;
            self.resetting.all = apart.then_some(All { segment: None, done: false });
        }
    }

    /// What was sent behind a reset of all settings may set one whose name no text shows, or an error may have
    /// undone it.
    pub(super) fn doubt_reset(&mut self) {
        self.resetting.all = None;
    }

    /// Another statement runs behind a reset in its segment, and may have been bound before it.
    fn doubt_reset_here(&mut self) {
        let here = Some(self.ticket.segment);
        if self.resetting.all.is_some_and(|all| all.segment == here) {
            self.doubt_reset();
        }
    }

    /// A statement is complete, of a Query or of an Execute in this segment that resets all settings.
    pub(super) fn on_reset_tag(&mut self, segment: Option<u64>, tag: &[u8]) {
        let Some(all) = self.resetting.all.as_mut().filter(|all| all.segment == segment) else {
            return;
        };
        match tag {
            b"RESET\0" | b"DISCARD ALL\0" => all.done = true,
            b"ROLLBACK\0" if all.done => self.doubt_reset(),
            _ => {}
        }
    }

    /// The client's ReadyForQuery: a reset of all settings that is complete holds if no transaction is open.
    pub(super) fn end_reset(&mut self, status: TransactionStatus) {
        if !self.resetting.all.is_some_and(|all| all.done) {
            return;
        }
        self.doubt_reset();
        let touched = &mut self.questions.touched;
        let unnamed = touched.any || self.pins.contains(PinReason::Setting);
        if status != TransactionStatus::Idle || !unnamed {
            return;
        }
        touched.any = false;
        // Of what has no name in any text, it alone outlives RESET ALL.
        if !touched.names.iter().any(|name| **name == *"role") {
            touched.names.insert(0, "role".into());
        }
        self.pins.set(PinReason::Setting, false);
    }

    /// The client has set what is not kept, and so stays where it has it.
    pub(super) fn pin_setting(&mut self) {
        self.doubt_reset();
        self.pins.set(PinReason::Setting, true);
    }

    /// The transaction is over, and its portals are gone.
    pub(super) fn forget_portals(&mut self) {
        self.resetting.portals = Resets::None;
    }
}

impl Resetting {
    fn suspect(&mut self, changes: impl Iterator<Item = Change>) {
        for change in changes {
            if !self.suspected.iter().any(|known| known.name == change.name) {
                self.suspected.push(change);
            }
        }
    }
}

/// Goes back to a savepoint, or ends its transaction.
const ROLLBACK: &[u8] = b"rollback";

/// Name of the statement that is put behind an Execute.
const WRITTEN: &str = "__pgweir_reset";
