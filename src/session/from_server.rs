//! What each message from the server does.

use bytes::{Bytes, BytesMut};

use super::asking::Columns;
use super::flow::{Entry, Kind, Owner, Reaction, Sent};
use super::knowledge::Statement;
use super::own::Own;
use super::pins::PinReason;
use super::settings::{self, Room, TooMany};
use super::shape::Described;
use super::{Altered, Backend, Note, Session, SessionError, TransactionStatus, Unsynced};
use crate::sql::{self, Completion, Effects};
use crate::wire::build;
use crate::wire::error::{self, ErrorFields};
use crate::wire::frame::Header;
use crate::wire::{Malformed, Reader};
use crate::without::is_off;

/// What happens to a server's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFate {
    /// It passes to the client as it is.
    Forward,
    /// It was for pgweir, or another message was written in its place.
    Swallow,
}

impl Session {
    /// Whether so much of a body is enough to judge the message.
    pub fn is_server_inspectable(&self, header: Header, available: &[u8]) -> bool {
        let enough = |limit: usize| available.len() >= header.body.min(limit);
        match header.tag {
            b'S' | b'Z' | b'C' | b'E' => enough(MAX_PREFIX),
            // Behind these a reply of pgweir's own may be due, which must not stand inside them.
            b'N' | b'A' => enough(MAX_PREFIX),
            b'T' | b't' => enough(MAX_ROW_DESCRIPTION),
            b'D' => {
                !self.flow.head().is_some_and(|h| h.owner == Owner::Proxy) || enough(MAX_OWN_ROW)
            }
            _ => true,
        }
    }

    /// Passes a message, if it passes whatever is in it and nothing follows from it: [`Session::on_server`] would
    /// forward it, too.
    pub fn pass_row(&mut self, header: Header) -> bool {
        let added = self.made.as_ref().is_some_and(sql::Made::is_adding);
        !added && self.flow.pass_row(header.tag)
    }

    /// A message from the server, of which `body` holds what [`Session::is_server_inspectable`]
    /// wants. What is written to `out` comes before the message itself; replies that come after it
    /// are written by [`Session::write_replies`].
    pub fn on_server(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, SessionError> {
        match header.tag {
            b'S' => self.on_parameter_status(body, backend, out),
            b'N' => Ok(self.owner_fate()),
            b'A' => Ok(self.on_notification(body, backend, out)?),
            b'E' => self.on_error(body, backend, out),
            b'Z' => self.on_ready(body, backend, out),
            tag => self.on_reply(tag, body, backend, out),
        }
    }

    fn owner_fate(&self) -> ServerFate {
        match self.flow.head() {
            Some(head) if head.owner == Owner::Proxy => ServerFate::Swallow,
            _ => ServerFate::Forward,
        }
    }

    fn on_parameter_status(
        &mut self,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, SessionError> {
        let mut reader = Reader::new(body);
        let (name, value) = (reader.str()?, reader.cstr()?);
        let default = backend.settings.on_parameter_status(name, value)?;
        // What follows the client's RESET is its own work.
        let written = matches!(self.flow.head(), Some(Sent { note: Note::Written, .. }));
        let fate = if written { ServerFate::Forward } else { self.owner_fate() };
        if name == "session_authorization" {
            self.pins.set(PinReason::Authorization, !default);
        }
        if fate == ServerFate::Swallow {
            backend.settings.on_hushed();
            return Ok(fate);
        }
        // Before PostgreSQL 14, the end of a transaction tells of each value that comes back behind another.
        if backend.settings.is_hushed() && self.told.get(name) == Some(value) {
            return Ok(ServerFate::Swallow);
        }
        if default && self.tell_startup(name, out) {
            return Ok(ServerFate::Swallow);
        }
        // Before PostgreSQL 14, what the RESET does is told before the statement behind it puts the value back.
        let put_back = default && self.startup.get(name).is_some();
        if put_back && self.made.as_ref().is_some_and(|made| made.puts_back(name)) {
            return Ok(ServerFate::Swallow);
        }
        self.note_initial(name, backend);
        self.note_told(name, value)?;
        self.on_own_change(name, value, default);
        Ok(fate)
    }

    /// The client is told this. True if it is news.
    fn note_told(&mut self, name: &str, value: &[u8]) -> Result<bool, TooMany> {
        if !self.told.has_room(name, value, Room::REPORTED) {
            return Err(TooMany);
        }
        Ok(self.told.set(name, value))
    }

    /// The client's own work changed a reported setting.
    fn on_own_change(&mut self, name: &str, value: &[u8], default: bool) {
        self.reading.set(name, value);
        let undone = default && self.status != TransactionStatus::Idle && is_off("rollback");
        if !settings::is_settable(name) || undone || is_off("reported") {
            return;
        }
        if default && self.startup.get(name).is_none() {
            self.desired.remove(name);
        } else if !self.adopt(name, value) {
            self.pin_setting();
        }
    }

    fn on_reply(
        &mut self,
        tag: u8,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, SessionError> {
        match self.flow.on_backend(tag)? {
            Reaction::Pass(Owner::Proxy) => {
                match tag {
                    b'D' => self.on_proxy_row(body, backend)?,
                    b't' => self.note_types(body),
                    _ => {}
                }
                Ok(ServerFate::Swallow)
            }
            Reaction::Pass(Owner::Client) if tag == b't' && self.note_description() => {
                Ok(ServerFate::Swallow)
            }
            Reaction::Pass(Owner::Client) | Reaction::Failed(Owner::Client) => {
                if tag == b't' {
                    self.note_types(body);
                }
                if let Some(Note::Query { draw, .. }) = self.flow.head().map(|head| &head.note) {
                    let draw = *draw;
                    if tag == b'C' {
                        self.on_reset_tag(None, body);
                    }
                    if self.take_added(tag, body, out) {
                        return Ok(ServerFate::Swallow);
                    }
                    if tag == b'C' {
                        self.on_drawn(draw, body);
                    }
                }
                self.note_command(tag, body, backend);
                Ok(ServerFate::Forward)
            }
            Reaction::Failed(Owner::Proxy) => Ok(ServerFate::Swallow),
            Reaction::Popped(sent) => {
                if let (b'C', Note::Draws(draw)) = (tag, &sent.note) {
                    self.on_drawn(Some(*draw), body);
                }
                if let (b'C', Note::ResetsAll(segment)) = (tag, &sent.note) {
                    self.on_reset_tag(Some(*segment), body);
                }
                if matches!(tag, b'T' | b'n') {
                    self.note_columns(tag, body, &sent.note, backend);
                }
                if sent.owner == Owner::Client {
                    self.note_command(tag, body, backend);
                }
                Ok(self.on_popped(sent, backend))
            }
        }
    }

    /// Takes what answers a statement that was put behind one of the client's Query; true if it did. Behind
    /// the last of the text, it gets that of the RESET: PostgreSQL commits before it says that the last
    /// statement is complete (`exec_simple_query`).
    fn take_added(&mut self, tag: u8, body: &[u8], out: &mut BytesMut) -> bool {
        let Some(made) = &mut self.made else { return false };
        if tag != b'C' {
            return made.is_adding();
        }
        let completion = made.on_command(body);
        if completion == Completion::Due {
            build::message(out, b'C', |out| out.extend_from_slice(b"RESET\0"));
        }
        if completion == Completion::Added && body == b"DISCARD SEQUENCES\0" {
            self.sequences.on_others_discarded();
        }
        completion != Completion::Own
    }

    fn on_popped(&mut self, sent: Sent<Note>, backend: &mut Backend) -> ServerFate {
        self.load.bytes -= sent.note.size();
        match sent.note {
            Note::Parse { name, statement, ticket, .. } => {
                if name.is_empty() {
                    backend.statements.confirm_unnamed(&statement);
                } else {
                    statement.accepted();
                    backend.statements.confirm(&statement);
                }
                self.statements.confirm(&name, ticket, Some(statement));
            }
            Note::Duplicate { name, existing, statement, ticket } => {
                // The server has the new text under the old one's name.
                backend.statements.begin(&existing, ticket.segment);
                backend.statements.confirm(&existing);
                existing.invalidate();
                self.statements.confirm(&name, ticket, Some(statement));
            }
            Note::Prepare { statement } => {
                statement.accepted();
                backend.statements.confirm(&statement);
            }
            Note::PrepareUnnamed { statement } => backend.statements.confirm_unnamed(&statement),
            Note::Unprepare { statement } => backend.statements.confirm_close(&statement),
            Note::Close { name, ticket } => self.statements.confirm(&name, ticket, None),
            Note::Query { unnamed: Some(ticket), .. } => {
                self.statements.confirm(b"", ticket, None);
            }
            Note::Answered => self.on_answered(backend),
            Note::Restored(changes) => self.on_restored(changes),
            Note::Use { name, .. } => {
                self.statements.tried(&name);
                self.retry = None;
            }
            Note::Columns { .. } => self.described.iter_mut().for_each(Described::answer),
            Note::Forgot if sent.kind == Kind::Execute => self.sequences.on_others_discarded(),
            Note::Unlistened => self.on_unlistened(),
            Note::Returned => self.on_returned(),
            _ => {}
        }
        match sent.owner {
            Owner::Client => ServerFate::Forward,
            Owner::Proxy => ServerFate::Swallow,
        }
    }

    /// A row for pgweir: an answer, or the value that a setting has now.
    fn on_proxy_row(&mut self, body: &[u8], backend: &mut Backend) -> Result<(), SessionError> {
        match self.flow.head().map(|head| &head.note) {
            Some(Note::Asked) => self.on_answer_row(false, body),
            Some(Note::Probed) => self.on_answer_row(true, body),
            Some(Note::Channels) => self.on_channel_row(body),
            Some(Note::Catalogued) => self.on_catalogue_row(body),
            Some(Note::Restored(_)) => self.on_restored_row(body, backend),
            Some(Note::Set) => self.on_set_row(body, backend),
            _ => Ok(()),
        }
    }

    /// What the server shows of settings that it was given, in their order.
    fn on_set_row(&mut self, body: &[u8], backend: &mut Backend) -> Result<(), SessionError> {
        let mut columns = Columns::new(body)?;
        for _ in 0..columns.count() {
            self.on_shown(columns.next()?.unwrap_or_default(), backend)?;
        }
        Ok(())
    }

    fn on_shown(&mut self, shown: &[u8], backend: &mut Backend) -> Result<(), SessionError> {
        let Some(syncing) = &mut self.syncing else { return Ok(()) };
        let (before, rest) = syncing.changes.split_at(syncing.done.min(syncing.changes.len()));
        let Some(change) = rest.first() else { return Ok(()) };
        syncing.done += 1;
        // As it mostly is.
        if change.value.as_deref() == Some(shown) && syncing.whole.is_some() {
            if syncing.waits {
                self.knowledge.accept(&change.name, shown, shown);
            }
            return Ok(());
        }
        if change.value.is_some() && syncing.whole.take().is_some() {
            for change in before {
                backend.settings.on_set_as_asked(change);
            }
        }
        backend.settings.on_set(change, shown);
        if let Some(asked) = &change.value {
            let shown = if is_off("canonical") { asked } else { shown };
            // Known as it is, for what is not waited for.
            if syncing.waits || **asked != *shown {
                self.knowledge.accept(&change.name, asked, shown);
            }
            if self.startup.get(&change.name) == Some(asked) {
                self.startup.set(&change.name, shown);
            }
            if !self.desired.has_room(&change.name, shown, Room::CLIENT_READING) {
                return Err(TooMany.into());
            }
            self.desired.set(&change.name, shown);
            self.reading.set(&change.name, shown);
        }
        Ok(())
    }

    /// What a setting has now that may have been reset.
    fn on_restored_row(&mut self, body: &[u8], backend: &mut Backend) -> Result<(), SessionError> {
        if body.len() >= MAX_OWN_ROW {
            self.pin_setting();
            return Ok(());
        }
        let mut columns = Columns::new(body)?;
        let name = columns.next()?.unwrap_or_default();
        let value = columns.next()?;
        if let Ok(name) = std::str::from_utf8(name) {
            self.on_told_value(name, value, true, backend);
            self.reading.set(name, value.unwrap_or_default());
            self.tell = true;
        }
        Ok(())
    }

    /// Reads a command tag for what the text did not show (`sql-*.html`, each command's Outputs).
    fn note_command(&mut self, tag: u8, body: &[u8], backend: &mut Backend) {
        self.end_trial(tag);
        if tag != b'C' {
            return;
        }
        match body {
            b"DEALLOCATE\0" => {
                if let Some((_, Some(name))) = self.deallocating.pop_front() {
                    self.statements.remove(&name);
                    backend.statements.take_back(&name);
                }
            }
            b"DEALLOCATE ALL\0" => self.on_statements_gone(backend),
            b"ROLLBACK\0" => self.suspect_once_more(),
            b"DISCARD SEQUENCES\0" => self.sequences.on_discarded(),
            b"DISCARD ALL\0" => {
                self.sequences.on_discarded();
                self.on_statements_gone(backend);
                backend.settings.on_reset_all();
                self.on_discarded();
            }
            tag => {
                if changes_catalogue(tag) {
                    self.expect_catalogue(may_be_temporary(tag));
                } else if runs_code(tag) {
                    self.on_code_run();
                }
                self.altered = self.altered.max(self.altered_by(tag));
            }
        }
    }

    /// What a command has changed of the tables that others use.
    fn altered_by(&self, tag: &[u8]) -> Altered {
        let (code, suspects) = (runs_code(tag), self.questions.suspects);
        let may = if code { self.may_alter() } else { Altered::Nothing };
        let others = code && suspects.contains(Effects::ALTERS);
        if (changes_plans(tag) || may == Altered::Tables)
            && (others || !is_done_with_temporary(tag) || !self.is_about_temporary())
        {
            return Altered::Tables;
        }
        may.min(Altered::Doubtful)
    }

    /// What is made or dropped may be one of the objects that no other session sees, for all that is known.
    fn is_about_temporary(&self) -> bool {
        self.questions.suspects.contains(Effects::TEMP_OBJECT)
            || self.pins.contains(PinReason::TempObject)
    }

    fn on_statements_gone(&mut self, backend: &mut Backend) {
        if is_off("deallocate") {
            return;
        }
        backend.statements.clear();
        self.statements.clear();
    }

    fn on_error(
        &mut self,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, SessionError> {
        let fields = ErrorFields::read(body);
        if fields.is_fatal() {
            // Ahead of what the client sends, its settings are taken elsewhere.
            let is_ahead = self.syncing.is_some() && !self.flow.holds_for_client();
            let unseen = is_ahead || self.survives_loss();
            return Ok(if unseen { ServerFate::Swallow } else { ServerFate::Forward });
        }
        self.doubt_reset();
        self.undo_restored();
        self.judge(&fields);
        let is_made = self.flow.head().is_some_and(|head| matches!(head.note, Note::Query { .. }));
        if let Some(made) = self.made.as_mut().filter(|_| is_made) {
            made.fail();
        }
        match self.flow.on_backend(b'E')? {
            Reaction::Failed(owner) => {
                let mut dropped: Vec<_> = self.flow.take_dropped().collect();
                if is_stale_plan(&fields) {
                    dropped = match self.recover(dropped) {
                        Ok(()) => return Ok(ServerFate::Swallow),
                        Err(dropped) => dropped,
                    };
                }
                let fate = match dropped.first() {
                    Some(Entry::Sent(sent)) => self.on_failed(sent, owner, body, backend, out),
                    _ => ServerFate::Forward,
                };
                // Newest first: a replaced copy is removed before the old one is put back.
                let last = dropped.len().saturating_sub(1);
                let unbound = dropped.iter().any(binds);
                for (back, entry) in dropped.into_iter().rev().enumerate() {
                    let (Entry::Sent(Sent { note, .. }) | Entry::Reply(note)) = entry;
                    self.undo(note, back == last, backend);
                }
                // What was bound since says itself what it is.
                if unbound && !self.flow.binds() {
                    self.on_unbound();
                }
                if self.keeps_others_numbers() {
                    return Err(SessionError::NumbersKept);
                }
                Ok(fate)
            }
            Reaction::Pass(Owner::Proxy) => {
                self.on_own_query_failed();
                Ok(ServerFate::Swallow)
            }
            _ => Ok(self.explain(body, out)),
        }
    }

    /// The Bind that was sent last has failed, or was skipped: what the unnamed portal runs is not what it would
    /// have bound.
    fn on_unbound(&mut self) {
        self.sequences.on_unbound();
        self.resetting.on_unbound();
        self.portal = None;
    }

    fn on_own_query_failed(&mut self) {
        match self.flow.head().map(|head| &head.note) {
            Some(Note::Listened) => self.on_listen_failed(false),
            Some(Note::Unlistened) => self.on_listen_failed(true),
            Some(Note::Returned) => self.go_on(),
            _ => {}
        }
    }

    /// Says what the client is to be told in place of an error, or besides: why a Query was refused; why
    /// there is no number of a sequence, where PostgreSQL would have had one.
    fn explain(&self, body: &[u8], out: &mut BytesMut) -> ServerFate {
        let fields = ErrorFields::read(body);
        if fields.code == b"26000" && self.refused_query(out) {
            return ServerFate::Swallow;
        }
        let hint = self.hint_of_sequence(&fields);
        if (hint.is_none() && self.made.is_none()) || !error::is_whole(body) {
            return ServerFate::Forward;
        }
        let made = self.made.as_ref();
        let original = |position| made.map_or(position, |made| made.original(position));
        error::explained(out, body, hint, original);
        ServerFate::Swallow
    }

    fn on_failed(
        &mut self,
        sent: &Sent<Note>,
        owner: Owner,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> ServerFate {
        let fields = ErrorFields::read(body);
        // Of a segment of its own, the client hears nothing.
        let apart = !self.flow.fails_client();
        // A longer one is about values, and passes as it is.
        let is_whole = error::is_whole(body);
        match &sent.note {
            Note::Alias { internal, name } if is_whole && !is_off("missing") => {
                error::rewrite_message(out, body, internal, name);
                ServerFate::Swallow
            }
            Note::Duplicate { name, existing, .. } if is_whole => {
                error::rewrite_message(out, body, &existing.server_name, name);
                ServerFate::Swallow
            }
            Note::Refuse(report) => {
                report.encode(out);
                ServerFate::Swallow
            }
            Note::Use { name, statement } | Note::Columns { name, statement }
                if is_stale_plan(&fields) =>
            {
                if !statement.is_unrepeatable() {
                    statement.invalidate();
                    self.statements.renew(name);
                }
                ServerFate::Forward
            }
            // Whatever is wrong with it, the client knows it by its own name.
            Note::Use { name, statement } | Note::Columns { name, statement } if is_whole => {
                if fields.code == b"26000" {
                    backend.statements.remove(statement);
                    backend.statements.clear_unnamed();
                }
                error::rewrite_message(out, body, &statement.server_name, name);
                ServerFate::Swallow
            }
            Note::Parse { statement, .. } | Note::Prepare { statement }
                if is_own_fault(&fields) =>
            {
                statement.refused();
                ServerFate::Forward
            }
            Note::PrepareOwn(Own::Forget) | Note::Forgot => {
                let fate = self.on_forget_failed();
                if apart { fate } else { ServerFate::Forward }
            }
            Note::Asked | Note::Probed | Note::Channels | Note::Catalogued => {
                self.on_answer_failed();
                ServerFate::Swallow
            }
            Note::Set | Note::PrepareOwn(_) | Note::Plain if owner == Owner::Proxy && apart => {
                self.on_own_failed(&fields, body, backend);
                ServerFate::Swallow
            }
            Note::Restored(_) if apart => {
                self.on_answer_failed();
                ServerFate::Swallow
            }
            Note::Lent { apart: true, .. } => ServerFate::Swallow,
            // The client's Bind made pgweir prepare: the error is the Bind's.
            _ => self.explain(body, out),
        }
    }

    /// A question or a change of settings failed. Questions stand before settings, which are not to blame for what
    /// fails there.
    fn on_own_failed(&mut self, fields: &ErrorFields<'_>, body: &[u8], backend: &mut Backend) {
        if self.is_asking() {
            self.on_answer_failed();
            if fields.code == b"26000" {
                self.on_statements_lost(backend);
            }
        } else if let Some(syncing) = &mut self.syncing {
            syncing.error = Some(Bytes::copy_from_slice(body));
        }
    }

    /// Takes back what a message that failed (`itself`) or was skipped would have changed.
    fn undo(&mut self, note: Note, itself: bool, backend: &mut Backend) {
        self.load.bytes -= note.size();
        match note {
            Note::Parse { name, statement, ticket, sent } => {
                self.statements.undo(&name, ticket);
                if name.is_empty() {
                    backend.statements.clear_unnamed();
                } else if sent {
                    take_back(backend, &statement);
                }
                if name.is_empty() && itself {
                    self.statements.remove(b"");
                }
            }
            Note::Close { name, ticket } | Note::Duplicate { name, ticket, .. } => {
                self.statements.undo(&name, ticket);
            }
            Note::Query { unnamed: Some(ticket), .. } => self.statements.undo(b"", ticket),
            Note::Prepare { statement } => take_back(backend, &statement),
            Note::PrepareUnnamed { .. } => backend.statements.clear_unnamed(),
            Note::Unprepare { statement } => backend.statements.undo(&statement),
            Note::PrepareOwn(own) => backend.statements.set_own(own, false),
            Note::Lent { name, .. } => {
                backend.statements.take_back(&name);
            }
            Note::TakenBack { name } => {
                backend.statements.lend(&name);
            }
            Note::Forgot => self.sequences.on_forget_skipped(),
            Note::Restored(changes) => self.suspect_again(changes),
            Note::Columns { .. } => self.described = None,
            Note::Use { .. }
            | Note::Described { .. }
            | Note::Alias { .. }
            | Note::Refuse(_)
            | Note::Plain
            | Note::Set
            | Note::Synced
            | Note::Asked
            | Note::Probed
            | Note::Catalogued
            | Note::Channels
            | Note::Listened
            | Note::Unlistened
            | Note::Returned
            | Note::Answered
            | Note::ResetsAll(_)
            | Note::Written
            | Note::ReadAs
            | Note::Begin
            | Note::LazyBegin
            | Note::Query { unnamed: None, .. }
            | Note::Draws(_)
            | Note::Answer(_) => {}
        }
    }

    fn on_ready(
        &mut self,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, SessionError> {
        let status = Reader::new(body).u8()?;
        let status = TransactionStatus::from_byte(status).ok_or(Malformed::Trailing)?;
        backend.settings.on_ready();
        self.keep_restored();
        let owner = match self.flow.on_backend(b'Z')? {
            Reaction::Pass(owner) | Reaction::Failed(owner) => owner,
            Reaction::Popped(sent) => {
                let sent = match self.take_recovered(sent) {
                    Ok(()) => return Ok(ServerFate::Swallow),
                    Err(sent) => sent,
                };
                let owner = sent.owner;
                match sent.note {
                    Note::Synced => self.check_pipelined_sync(backend)?,
                    Note::LazyBegin => self.on_begun(status)?,
                    _ => {}
                }
                self.on_popped(sent, backend);
                owner
            }
        };
        if owner == Owner::Proxy {
            return Ok(ServerFate::Swallow);
        }
        self.status = status;
        self.made = None;
        if self.is_quiet() {
            // Of what failed or was skipped.
            self.deallocating.clear();
            self.resetting.restoring = false;
            self.settle_making(status);
            if status == TransactionStatus::Idle {
                self.sequences.on_transaction_end();
            }
        }
        if status == TransactionStatus::Idle {
            self.on_transaction_over();
        }
        if std::mem::take(&mut self.tell) {
            self.tell_changes(backend, out)?;
        }
        self.end_reset(status);
        self.tell_discarded(backend, out);
        if status == TransactionStatus::Idle && self.hold_ready(backend, out) {
            return Ok(ServerFate::Swallow);
        }
        Ok(ServerFate::Forward)
    }

    fn on_transaction_over(&mut self) {
        self.counts.transactions += 1;
        self.tell_altered(Altered::Nothing);
        if self.is_quiet() {
            self.forget_local_settings();
            self.forget_portals();
            if self.questions.touched.is_empty() {
                self.reading.touched = false;
                self.unsynced = Unsynced::Nothing;
            }
        }
    }

    /// Settings that went ahead of the client's own messages must have been taken: those messages
    /// run behind them without waiting.
    fn check_pipelined_sync(&mut self, backend: &mut Backend) -> Result<(), SessionError> {
        if let Some(syncing) = &mut self.syncing
            && let Some(whole) = syncing.whole.take()
            && syncing.error.is_none()
        {
            backend.settings.on_changed(whole);
        }
        match &self.syncing {
            Some(syncing) if syncing.waits => Ok(()),
            Some(syncing) if syncing.error.is_some() => Err(SessionError::SettingLost),
            _ => {
                self.syncing = None;
                Ok(())
            }
        }
    }

    /// Tells the client what this server reports otherwise than the last one it had.
    fn tell_changes(&mut self, backend: &mut Backend, out: &mut BytesMut) -> Result<(), TooMany> {
        // As it mostly is, since servers of one pool are alike.
        if backend.settings.is_told(&mut self.told) {
            return Ok(());
        }
        for (name, value) in backend.settings.reported().iter() {
            // What it has by a reset, the client is told otherwise.
            if !self.suspects_reset(name) && self.note_told(name, value)? {
                build::parameter_status(out, name, value);
            }
        }
        Ok(())
    }
}

/// The client's Bind.
fn binds(entry: &Entry<Note>) -> bool {
    matches!(entry, Entry::Sent(Sent { kind: Kind::Bind, owner: Owner::Client, .. }))
}

/// A Parse failed, or was skipped.
fn take_back(backend: &mut Backend, statement: &Statement) {
    if is_off("undo") {
        backend.statements.confirm(statement);
    } else {
        backend.statements.undo(statement);
    }
}

/// Commands that can put code behind a name. What is dropped is only suspected for longer.
fn changes_catalogue(tag: &[u8]) -> bool {
    tag.starts_with(b"CREATE ") || tag.starts_with(b"ALTER ")
}

/// Whether what such a command makes may be the session's own. What it makes for others may have code.
fn may_be_temporary(tag: &[u8]) -> bool {
    let kind = tag.split(|byte| matches!(byte, b' ' | 0)).nth(1).unwrap_or_default();
    [b"TABLE".as_slice(), b"INDEX", b"SEQUENCE", b"VIEW"].contains(&kind)
}

/// Commands after which names in a text may mean other objects, and its columns and parameters may have other types.
fn changes_plans(tag: &[u8]) -> bool {
    let words = [b"CREATE ".as_slice(), b"ALTER ", b"DROP "];
    words.iter().any(|word| tag.starts_with(word))
        && !tag.starts_with(b"CREATE INDEX")
        && !is_off("ddl")
}

/// Commands that may make or drop temporary objects.
fn is_done_with_temporary(tag: &[u8]) -> bool {
    let words = [b"CREATE ".as_slice(), b"DROP ", b"DISCARD "];
    words.iter().any(|word| tag.starts_with(word)) || runs_code(tag)
}

/// Commands that may have run code, by which more was done than they tell.
fn runs_code(tag: &[u8]) -> bool {
    let word = tag.split(|byte| matches!(byte, b' ' | 0)).next().unwrap_or_default();
    let rows = [b"SELECT".as_slice(), b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"COPY", b"FETCH"];
    word == b"DO" || word == b"CALL" || rows.contains(&word)
}

/// The text itself was refused, whatever the state of the transaction.
fn is_own_fault(fields: &ErrorFields<'_>) -> bool {
    !matches!(fields.code, b"25P02" | b"57014")
}

/// `cached plan must not change result type`: its text is translated, its routine is not.
fn is_stale_plan(fields: &ErrorFields<'_>) -> bool {
    fields.code == b"0A000" && fields.routine == b"RevalidateCachedQuery"
}

/// Bytes of a message that are read before it passes.
const MAX_PREFIX: usize = 64 << 10;

/// Bytes of an answer to pgweir, which may hold settings of any length.
pub(super) const MAX_OWN_ROW: usize = 1 << 20;

/// More than the description of a row with PostgreSQL's limit of columns has.
const MAX_ROW_DESCRIPTION: usize = 256 << 10;
