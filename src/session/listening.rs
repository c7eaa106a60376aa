//! LISTEN without a server of one's own (docs/semantics.md "Notifications").
//!
//! Between its transactions the client's channels are listened to by one server for the whole pool. With
//! a server of its own, that one listens to them too, so that inside a transaction everything is as
//! PostgreSQL does it; what both tell reaches the client once. Which channels there are after a
//! transaction, its server says.
//!
//! ```text
//!            client's message        nothing more to do
//!   Closed ───────────────────> Open ──────────────────> Closing ──> Closed
//!                                ││ new channels, the pool's server listens     ^
//!                                │└──────────────────> Cutting ────> Closing ───┘
//!                                └ the client is to listen by itself
//!                                   └──> Returning ──> Open, with nothing shared
//! ```

mod returning;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::flow::{Kind, Owner};
use super::inbox::{Expected, Held, Inbox, News, Overflow};
use super::pins::PinReason;
use super::{Backend, Note, ServerFate, Session, TransactionStatus};
use crate::sql::Effects;
use crate::wire::{Malformed, Reader, Report, Severity, SqlState, build};
use crate::without::is_off;

/// What becomes of LISTEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenMode {
    /// One server for all clients of the pool listens.
    Share,
    /// The client keeps its server.
    #[default]
    Pin,
    /// It is refused.
    Refuse,
}

/// Names of channels.
pub type Channels = BTreeSet<Box<[u8]>>;

/// What the pool's listening server says to a client that wants to share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It listens to all of the channels, as it did before.
    Already,
    /// It listens to new ones. The client hears them by it from a notification with this payload on.
    From(u64),
    /// It tells the client what stands before a notification with this payload, and nothing more.
    Until(u64),
    /// It cannot.
    Refused,
}

/// The part of a session that is about notifications.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// What the pool's rule is, and what holds for this client.
    rule: ListenMode,
    mode: ListenMode,
    /// What the pool's server listens to for this client.
    shared: Channels,
    inbox: Option<Arc<Inbox>>,
    ear: Ear,
    ready: Ready,
    handover: Handover,
    /// The pool's server could not be had: the client keeps its own.
    pinned: bool,
    expected: Expected,
    held: Held,
}

/// What the client's own server hears for it besides what its texts listen to.
#[derive(Debug, Default, PartialEq, Eq)]
enum Ear {
    /// Nothing.
    #[default]
    Closed,
    /// The shared channels.
    Open,
    /// It could not listen to them.
    Failed,
    /// Everything up to the cut; it does not tell of the new channels twice.
    Cutting { cut: u64, new: Channels, sent: bool },
    /// Everything, and from a cut on it alone does.
    Returning { cut: u64, stage: Return },
    /// Nothing more that counts: it listens until UNLISTEN is done.
    Closing,
}

/// How far a client is that is to listen by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// Its server is to send the cut.
    Wanted,
    /// It was told to.
    Sent,
    /// It has, and told everything up to it.
    Told,
    /// The pool's server is not waited for.
    Late,
}

/// The ReadyForQuery of a transaction that may have listened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Ready {
    #[default]
    None,
    /// It waits until the pool's server listens.
    Held,
    /// It waits until the pool's server has told what the client's own has.
    Behind,
    /// It is to be sent.
    Due,
}

/// New channels on their way to the pool's server.
#[derive(Debug, Default, PartialEq, Eq)]
enum Handover {
    #[default]
    None,
    /// To be taken by [`Session::take_wanted`].
    Wanted(Channels),
    /// [`Session::on_joined`] is awaited.
    Asked(Channels),
}

impl Listening {
    /// Those who keep their server listen there whatever the rule is.
    pub(super) fn set_mode(&mut self, rule: ListenMode, keeps: bool) {
        self.rule = rule;
        self.mode = if keeps { ListenMode::Pin } else { rule };
    }

    /// Channels would be shared if the client did not keep its server.
    pub(super) fn would_share(&self) -> bool {
        self.rule == ListenMode::Share
    }

    /// Whether channels are shared for the client.
    pub(super) fn is_sharing(&self) -> bool {
        !self.shared.is_empty()
    }

    pub(super) fn shares(&self) -> bool {
        self.mode == ListenMode::Share
    }

    pub(super) fn refuses(&self) -> bool {
        self.mode == ListenMode::Refuse
    }

    /// pgweir is at work for it on the server, or waits for the pool's.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.ready, Ready::Held | Ready::Behind)
            || self.handover != Handover::None
            || matches!(self.ear, Ear::Cutting { .. } | Ear::Returning { .. } | Ear::Closing)
    }

    /// The client would miss something if its server were lost now.
    pub(super) fn needs_server(&self) -> bool {
        matches!(self.ready, Ready::Held | Ready::Behind)
            || self.handover != Handover::None
            || matches!(self.ear, Ear::Cutting { .. } | Ear::Returning { .. })
    }

    /// The server would go on listening.
    pub(super) fn leaves_ear(&self) -> bool {
        self.ear != Ear::Closed || self.handover != Handover::None
    }

    pub(super) fn is_ready_due(&self) -> bool {
        self.ready == Ready::Due
    }

    /// Texts with these effects decide which channels there are.
    pub(super) fn may_change(&self, effects: Effects) -> bool {
        self.shares()
            && (effects.contains(Effects::LISTEN)
                || (self.is_sharing() && effects.intersects(UNLISTENS)))
    }

    /// What the pool's rule is.
    pub(super) fn rule(&self) -> ListenMode {
        self.rule
    }

    /// The client has never listened, or has no more to do with it.
    pub(super) fn is_at_rest(&self) -> bool {
        let quiet = self.inbox.is_none() && !self.is_sharing() && !self.pinned;
        quiet && self.ready == Ready::None && !self.leaves_ear()
    }

    /// The client's own server listens from now on.
    fn leave(&mut self) {
        if let (true, Some(inbox)) = (self.is_sharing(), &self.inbox) {
            inbox.push(News::Back);
        }
        self.shared.clear();
        self.expected = Expected::default();
    }

    /// The server is gone from the client.
    pub(super) fn detach(&mut self) {
        self.ear = Ear::Closed;
        self.ready = Ready::None;
        self.handover = Handover::None;
        self.pinned = false;
        self.expected = Expected::default();
    }

    /// The client's own server tells a notification: is the client to have it from there?
    fn hears_here(&mut self, body: &[u8], own: bool) -> Result<bool, Malformed> {
        let (channel, payload) = channel_of(body)?;
        if channel == CUT.as_bytes() {
            self.on_cut_here(payload);
            return Ok(false);
        }
        match &self.ear {
            Ear::Closing => return Ok(false),
            Ear::Cutting { new, .. } if new.contains(channel) => return Ok(true),
            _ if !self.shared.contains(channel) => return Ok(true),
            _ => {}
        }
        self.expected.expect(body, own);
        Ok(false)
    }

    fn on_cut_here(&mut self, payload: &[u8]) {
        if let Ear::Cutting { cut, .. } = &self.ear
            && payload == cut.to_string().as_bytes()
        {
            self.ear = Ear::Closing;
        }
    }

    /// The pool's server tells a notification: is the client to have it, and under whose process id?
    fn hears_there(&mut self, body: &[u8]) -> Option<Sender> {
        let (channel, _) = channel_of(body).ok()?;
        if !self.shared.contains(channel) {
            return None;
        }
        let both = matches!(self.ear, Ear::Open | Ear::Cutting { .. } | Ear::Returning { .. });
        Some(if self.expected.meet(body, both) { Sender::Client } else { Sender::Other })
    }
}

/// Who has sent a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// The client that hears it.
    Client,
    Other,
}

impl Session {
    pub(super) fn must_hand_over(&self) -> bool {
        self.listening.handover != Handover::None
    }

    /// The client may have to be told something that is not known yet: its server must not go on to the
    /// next message.
    pub fn must_part(&self) -> bool {
        let unsent = matches!(
            self.listening.ear,
            Ear::Cutting { sent: false, .. } | Ear::Returning { stage: Return::Wanted, .. }
        );
        self.listening.ready == Ready::Held || self.listening.handover != Handover::None || unsent
    }

    /// Channels that the pool's server is to listen to for the client, instead of those before. What
    /// comes of it is for [`Session::on_joined`].
    pub fn take_wanted(&mut self) -> Option<(Channels, Arc<Inbox>)> {
        let Handover::Wanted(channels) = std::mem::take(&mut self.listening.handover) else {
            return None;
        };
        self.listening.handover = Handover::Asked(channels.clone());
        let inbox = self.listening.inbox.get_or_insert_default();
        Some((channels, Arc::clone(inbox)))
    }

    /// What has come of [`Session::take_wanted`].
    pub fn on_joined(&mut self, joined: Joined) {
        let Handover::Asked(channels) = std::mem::take(&mut self.listening.handover) else {
            return;
        };
        let returns = self.listens_itself();
        let listening = &mut self.listening;
        match joined {
            Joined::Refused if returns => {
                listening.ear = Ear::Returning { cut: 0, stage: Return::Late };
            }
            Joined::Refused => {
                self.pins.set(PinReason::Listen, true);
                listening.pinned = true;
                listening.leave();
            }
            Joined::Already if listening.pinned => listening.leave(),
            Joined::Until(cut) => {
                listening.ear = Ear::Returning { cut, stage: Return::Wanted };
            }
            Joined::Already => {
                // Of those that were left nothing more is told.
                listening.expected = Expected::default();
                listening.shared = channels;
            }
            Joined::From(cut) => {
                let new = channels.difference(&listening.shared).cloned().collect();
                listening.ear = Ear::Cutting { cut, new, sent: false };
                listening.shared = channels;
            }
        }
    }

    /// Tells the client what the pool's server has heard, where a client may be told: outside a
    /// transaction, with nothing in flight (`protocol-flow.html#PROTOCOL-ASYNC`).
    pub fn hear(&mut self, out: &mut BytesMut) -> Result<(), Overflow> {
        if let Ear::Returning { .. } = self.listening.ear {
            return self.hear_on_return(out);
        }
        let idle = self.status == TransactionStatus::Idle
            && !self.open_segment
            && !self.flow.holds_for_client()
            && !self.flow.is_skipping()
            && matches!(self.listening.ready, Ready::None | Ready::Behind)
            && !matches!(self.listening.ear, Ear::Cutting { sent: true, .. });
        if !idle {
            return self.check_inbox();
        }
        self.hear_now(out)?;
        self.release_ready();
        self.write_ready(out);
        Ok(())
    }

    /// Whether notifications for the client were lost here.
    pub fn check_inbox(&self) -> Result<(), Overflow> {
        let overflowed = self.listening.inbox.as_ref().is_some_and(|inbox| inbox.has_overflowed());
        if overflowed { Err(Overflow) } else { Ok(()) }
    }

    pub(super) fn hear_now(&mut self, out: &mut BytesMut) -> Result<(), Overflow> {
        let Some(inbox) = &self.listening.inbox else { return Ok(()) };
        for news in inbox.take()? {
            match news {
                News::Heard(body) => match self.listening.hears_there(&body) {
                    Some(Sender::Client) => self.write_own(&body, out),
                    Some(Sender::Other) => {
                        build::message(out, b'A', |out| out.extend_from_slice(&body));
                    }
                    None => {}
                },
                News::Lost => self.listening.expected = Expected::default(),
                News::Cut(_) => {}
                News::Back => lost_and_back().encode(out),
            }
            self.write_held(out);
        }
        self.write_held(out);
        Ok(())
    }

    /// Tells what the client's own server has told behind what has come by now.
    fn write_held(&mut self, out: &mut BytesMut) {
        while let Some((body, own)) = self.listening.held.take(&self.listening.expected) {
            if own {
                self.write_own(&body, out);
            } else {
                build::message(out, b'A', |out| out.extend_from_slice(&body));
            }
        }
    }

    /// A notification of the client's own server.
    pub(super) fn on_notification(
        &mut self,
        body: &[u8],
        backend: &Backend,
        out: &mut BytesMut,
    ) -> Result<ServerFate, Malformed> {
        let own = backend.pid != 0 && body.starts_with(&backend.pid.to_be_bytes());
        if !self.listening.hears_here(body, own)? {
            return Ok(ServerFate::Swallow);
        }
        if self.listening.expected.is_due() {
            let Listening { held, expected, .. } = &mut self.listening;
            held.push(body, own, expected);
            self.write_held(out);
            return Ok(ServerFate::Swallow);
        }
        if own {
            self.write_own(body, out);
            return Ok(ServerFate::Swallow);
        }
        Ok(ServerFate::Forward)
    }

    /// A client knows what it has sent itself by the process that it was told at its login
    /// (`protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-NOTIFICATIONRESPONSE`).
    fn write_own(&self, body: &[u8], out: &mut BytesMut) {
        build::message(out, b'A', |out| {
            out.put_u32(self.pid);
            out.extend_from_slice(body.get(4..).unwrap_or_default());
        });
    }

    /// Has the client's server listen to its channels, ahead of its first message there. A Query of
    /// pgweir's own ends nothing of the client's outside a transaction but the unnamed statement.
    pub(super) fn listen_here(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        // Of a transaction that only pgweir knows of, the server is told behind it.
        let outside = (self.status == TransactionStatus::Idle || self.is_begun_here())
            && !self.open_segment
            && !self.flow.holds_for_client()
            && !self.flow.is_skipping();
        if !self.listening.is_sharing() || self.listening.ear != Ear::Closed || !outside {
            return;
        }
        write_statements(out, "LISTEN", &self.listening.shared);
        backend.statements.clear_unnamed();
        self.inject(Kind::Query, Note::Listened);
        self.listening.ear = Ear::Open;
    }

    /// What follows a text that may listen would run before the pool's server listens.
    pub(super) fn must_wait_for_channels(&self) -> bool {
        self.listening.may_change(self.questions.suspects) && !self.flow.is_status_known()
    }

    /// The client's transaction is over. Writes what was heard meanwhile ahead of its ReadyForQuery, and holds that
    /// back until the pool's server listens, or has told all that the client's own has. True if it is held back.
    pub(super) fn hold_ready(&mut self, backend: &Backend, out: &mut BytesMut) -> bool {
        if self.leaves_channels(backend) {
            self.questions.suspects |= Effects::LISTEN;
        }
        if self.listening.may_change(self.questions.suspects) && self.is_quiet() {
            // What it may be told is known when its channels are.
            self.listening.ready = Ready::Held;
            return true;
        }
        // What is in flight may be a NOTIFY, which is not to be heard before it is answered; and behind it may be
        // replies that cannot wait.
        if !self.is_quiet() {
            return false;
        }
        // An overflow is found when the client's task looks again.
        let _ = self.hear_now(out);
        if !self.listening.expected.is_due() {
            return false;
        }
        self.listening.ready = Ready::Behind;
        true
    }

    /// Nothing more is waited for but what the client's own server has told already.
    pub(super) fn release_ready(&mut self) {
        if matches!(self.listening.ready, Ready::Held | Ready::Behind) {
            let behind = self.listening.expected.is_due();
            self.listening.ready = if behind { Ready::Behind } else { Ready::Due };
        }
    }

    /// The client waits for what the pool's server has still to tell.
    pub fn is_behind(&self) -> bool {
        let returns = matches!(self.listening.ear, Ear::Returning { stage: Return::Told, .. });
        self.listening.ready == Ready::Behind || returns
    }

    /// The client does not wait for it any longer: it will come when it comes.
    pub fn go_on(&mut self) {
        if let Ear::Returning { stage, .. } = &mut self.listening.ear {
            *stage = Return::Late;
            return;
        }
        self.listening.expected = Expected::default();
        self.release_ready();
    }

    /// Writes the ReadyForQuery that was held.
    pub(super) fn write_ready(&mut self, out: &mut BytesMut) {
        if self.listening.ready == Ready::Due {
            self.listening.ready = Ready::None;
            // An overflow is found when the client's task looks again.
            let _ = self.hear_now(out);
            build::ready_for_query(out, self.status.byte());
        }
    }

    /// What the client's server listens to is only known by asking.
    pub(super) fn asks_for_channels(&self) -> bool {
        // Else it was not told of the shared ones.
        let told = !self.listening.is_sharing() || self.listening.ear != Ear::Closed;
        (self.listening.shares() || self.listening.is_sharing())
            && told
            && (self.listening.is_sharing()
                || self.pins.contains(PinReason::Listen)
                || self.questions.suspects.contains(Effects::LISTEN))
    }

    /// A client that changes its encoding must not be told in that of the pool's server.
    pub(super) fn leaves_channels(&self, backend: &Backend) -> bool {
        let stays = || self.listening.shares() && self.has_encoding_of(backend);
        // It may be on its way already.
        self.listening.is_sharing() && !self.listening.pinned && !stays()
    }

    /// Notifications come in the encoding of the session that listens; the pool's server has its default.
    pub(super) fn has_encoding_of(&self, backend: &Backend) -> bool {
        let encoding = "client_encoding";
        self.told.get(encoding) == backend.settings.baseline().get(encoding)
    }

    /// The client's server listens to these channels, its transaction being over. `None` if it was only
    /// asked whether to any.
    pub(super) fn on_channels(&mut self, told: Option<Channels>, backend: &Backend) {
        if !self.listening.shares() && !self.listening.is_sharing() {
            return;
        }
        let Some(mut channels) = told else {
            let unknown = self.listening.shares() && !self.listening.is_sharing();
            if unknown && self.pins.contains(PinReason::Listen) {
                self.questions.suspects |= Effects::LISTEN;
            }
            return;
        };
        let listening = &mut self.listening;
        if listening.ear == Ear::Failed {
            channels.extend(listening.shared.iter().cloned());
        }
        channels.remove(CUT.as_bytes());
        if is_off("listen") {
            channels.clear();
        }
        let shareable = channels.len() <= MAX_CHANNELS && self.has_encoding_of(backend);
        // Who waited for the pool's server in vain waits again only with a LISTEN of its own.
        let waits = !self.listening.pinned || self.listening.ready == Ready::Held;
        let shared = shareable && waits && self.listening.shares();
        let pinned = !shared && !channels.is_empty();
        self.pins.set(PinReason::Listen, pinned);
        self.listening.pinned = pinned;
        if pinned {
            channels.clear();
        }
        if channels != self.listening.shared {
            self.listening.handover = Handover::Wanted(channels);
        }
    }

    /// Brings to an end what the server hears for the client. True if it is at work on it.
    pub(super) fn close_ear(&mut self, backend: &mut Backend, out: &mut BytesMut) -> bool {
        match &mut self.listening.ear {
            Ear::Closed => return false,
            Ear::Cutting { sent: true, .. } | Ear::Returning { .. } | Ear::Closing => return true,
            Ear::Cutting { cut, sent, .. } => {
                *sent = true;
                build::query(out, &format!("LISTEN {CUT}"));
                build::query(out, &format!("SELECT pg_catalog.pg_notify('{CUT}', '{cut}')"));
                self.flow.sent(Kind::Query, Owner::Proxy, Note::Plain);
                self.flow.sent(Kind::Query, Owner::Proxy, Note::Plain);
            }
            Ear::Open | Ear::Failed if !self.pins.is_empty() => return false,
            Ear::Open | Ear::Failed => self.listening.ear = Ear::Closing,
        }
        build::query(out, "UNLISTEN *");
        backend.statements.clear_unnamed();
        self.flow.sent(Kind::Query, Owner::Proxy, Note::Unlistened);
        true
    }

    /// pgweir's own UNLISTEN was answered. Without a cut the new channels must be told at once.
    pub(super) fn on_unlistened(&mut self) {
        let ear = std::mem::take(&mut self.listening.ear);
        self.listening.expected = Expected::default();
        if let Ear::Cutting { .. } = ear {
            self.listening.handover = Handover::Wanted(self.listening.shared.clone());
        }
    }

    /// pgweir's own LISTEN or UNLISTEN failed.
    pub(super) fn on_listen_failed(&mut self, unlisten: bool) {
        if unlisten {
            self.owed = self.owed.max(super::Leftovers::Resettable);
        } else {
            self.listening.ear = Ear::Failed;
        }
    }
}

/// A notification's channel and payload.
fn channel_of(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new(body);
    reader.i32()?;
    Ok((reader.cstr()?, reader.cstr()?))
}

/// The body of a notification, for whoever routes it: its channel and payload.
pub fn notification(body: &Bytes) -> Option<(&[u8], &[u8])> {
    channel_of(body).ok()
}

/// A Query of one statement for each channel. Names are bytes in the encoding they came in.
pub fn write_statements<'a>(
    out: &mut BytesMut,
    command: &str,
    channels: impl IntoIterator<Item = &'a Box<[u8]>>,
) {
    build::message(out, b'Q', |out| {
        for channel in channels {
            out.put_slice(command.as_bytes());
            out.put_slice(b" \"");
            for byte in channel {
                // A quote in a name is doubled.
                out.put_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
            }
            out.put_slice(b"\"; ");
        }
        out.put_u8(0);
    });
}

fn lost_and_back() -> Report {
    let text = "the connection that listens for this session was lost and is another now";
    let report = Report::error(SqlState::CONNECTION_FAILURE, text)
        .detail("Notifications that were sent meanwhile may be missing.");
    Report { severity: Severity::Notice, ..report }
}

/// The channel on which a server that listens says where in the queue of notifications it is.
pub const CUT: &str = "__pgweir_cut";

/// Channels of one client that are shared.
const MAX_CHANNELS: usize = 1_000;

/// What may end a LISTEN.
pub(super) const UNLISTENS: Effects = Effects::UNLISTEN.union(Effects::DISCARD_ALL);
