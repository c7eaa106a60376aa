//! What is in flight between one client and its server, until ReadyForQuery.
//!
//! A FIFO of everything that was *sent*, since a count of Syncs is wrong in three ways: a server
//! that failed skips to the next Sync and drops what is before it, COPY IN swallows Syncs, and an
//! error can answer a Sync itself (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`, docs/semantics.md
//! "The reply FIFO"). Between the entries stand replies that pgweir gives itself.
//!
//! ```text
//!            error at P B D E C, no Sync sent yet
//!  Normal ────────────────────────────────────────> Skipping
//!    │  ^                                              │ Sync sent
//!    │  └──────────────────────────────────────────────┘
//!    │ CopyInResponse, its CopyDone not sent yet
//!    ├──────────────────────────────────────────────> CopyIn
//!    │                CopyDone/CopyFail sent, or error │
//!    └<────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: knows nothing of statements or settings; what belongs to an entry travels as its note.

use std::collections::VecDeque;

use thiserror::Error;

use crate::without::is_off;

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Parse
    Parse,
    /// Bind
    Bind,
    /// Describe
    Describe,
    /// Execute
    Execute,
    /// Close
    Close,
    /// Sync
    Sync,
    /// Query
    Query,
    /// FunctionCall
    Call,
    /// CopyDone or CopyFail
    CopyEnd,
    /// A run of CopyData
    CopyData,
    /// A Query of pgweir's own that proves where the replies stand
    Barrier,
    /// The same, its row description seen: the next ReadyForQuery is its own
    BarrierSeen,
}

/// Who sent it, and so who gets the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The client: replies are forwarded.
    Client,
    /// pgweir: replies are swallowed.
    Proxy,
}

/// One message in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent<N> {
    /// What.
    pub kind: Kind,
    /// Whose.
    pub owner: Owner,
    /// What its reply will change.
    pub note: N,
    /// How many Syncs, Queries and FunctionCalls the client sent before it.
    segment: u64,
}

/// One place in the FIFO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<N> {
    /// Sent to the server; its reply is awaited.
    Sent(Sent<N>),
    /// A reply of pgweir's own, due when it reaches the head.
    Reply(N),
}

/// What a message from the server does.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction<N> {
    /// Belongs to the head, which stays.
    Pass(Owner),
    /// Ends the head.
    Popped(Sent<N>),
    /// An error ended the head: it and what the server skips are in [`Flow::take_dropped`].
    Failed(Owner),
}

/// A server that answers what nobody asked.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
#[error("unexpected message type '{}' from the server", char::from(*.0))]
pub struct OutOfStep(pub u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Normal,
    Skipping,
    /// `synced`: a Sync was sent after CopyData of this copy.
    CopyIn {
        synced: bool,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Flow<N> {
    queue: VecDeque<Entry<N>>,
    phase: Phase,
    dropped: Vec<Entry<N>>,
    doubt: Doubt,
    /// Syncs, Queries and FunctionCalls of the client.
    segment: u64,
    /// The head was answered in part.
    begun: bool,
    unasked: Unasked,
}

/// Places at the end of the queue that the server need not answer yet: it may keep replies until a
/// Sync, Query, FunctionCall or Flush asks for them.
#[derive(Debug, Clone, Copy, Default)]
struct Unasked {
    now: usize,
    /// Before the last place was taken.
    before: usize,
}

/// Whether Syncs that were sent between CopyData are answered: the server swallows those that it
/// reads during the copy and answers those that it reads after the copy failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// More ReadyForQuery may come than Syncs are known.
    Syncs,
}

impl<N> Default for Flow<N> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            phase: Phase::Normal,
            dropped: Vec::new(),
            doubt: Doubt::None,
            segment: 0,
            begun: false,
            unasked: Unasked::default(),
        }
    }
}

impl<N> Flow<N> {
    /// Nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.phase == Phase::Normal
            && self.doubt == Doubt::None
            && self.queue.iter().all(Self::answers_nothing)
    }

    /// Nothing is in flight, and nothing is to be answered.
    pub fn is_at_rest(&self) -> bool {
        self.is_empty() && self.queue.is_empty()
    }

    /// No more may be sent until replies have come.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_IN_FLIGHT
    }

    /// The server drops everything until the next Sync: so may pgweir.
    pub fn is_skipping(&self) -> bool {
        self.phase == Phase::Skipping
    }

    /// The server waits for CopyData.
    pub fn is_copying_in(&self) -> bool {
        matches!(self.phase, Phase::CopyIn { .. })
    }

    /// Every ReadyForQuery that is due has come, so that the transaction's status is known as it
    /// was when the open segment began.
    pub fn is_status_known(&self) -> bool {
        self.doubt == Doubt::None && self.head().is_none_or(|head| head.segment == self.segment)
    }

    /// The oldest thing in flight.
    pub fn head(&self) -> Option<&Sent<N>> {
        self.queue.iter().find_map(|e| match e {
            Entry::Sent(s) if !matches!(s.kind, Kind::CopyEnd | Kind::CopyData) => Some(s),
            _ => None,
        })
    }

    /// Whether a ReadyForQuery will come: a segment without its Sync may stay unanswered for ever.
    pub fn awaits_ready(&self) -> bool {
        let ends = |kind| matches!(kind, Kind::Sync | Kind::Query | Kind::Call);
        self.queue.iter().any(|e| matches!(e, Entry::Sent(sent) if ends(sent.kind)))
    }

    /// Whether the server is to answer something before the client need send more. `cut`: of what
    /// was sent last, the rest is still to come.
    pub fn awaits_server(&self, cut: bool) -> bool {
        let Unasked { now, before } = self.unasked;
        let (len, unasked) = if cut {
            (self.queue.len().saturating_sub(1), before)
        } else {
            (self.queue.len(), now)
        };
        len > unasked
    }

    /// A Flush is being sent.
    pub fn flushed(&mut self) {
        self.unasked = Unasked::default();
    }

    /// Whether a statement of the client's is in flight, not only its messages about some.
    pub fn runs_something(&self) -> bool {
        let runs = |kind| matches!(kind, Kind::Query | Kind::Execute | Kind::Call);
        self.queue
            .iter()
            .any(|e| matches!(e, Entry::Sent(s) if runs(s.kind) && s.owner == Owner::Client))
    }

    /// Whether a Bind of the client's is in flight.
    pub fn binds(&self) -> bool {
        let binds = |e: &Entry<N>| {
            matches!(e, Entry::Sent(Sent { kind: Kind::Bind, owner: Owner::Client, .. }))
        };
        self.queue.iter().any(binds)
    }

    /// Whether something the client itself sent is in flight.
    pub fn runs_for_client(&self) -> bool {
        self.head().is_some_and(|sent| sent.owner == Owner::Client)
    }

    /// Whether anything of the client's is in flight, or a reply to it is due.
    pub fn holds_for_client(&self) -> bool {
        let own = |e: &Entry<N>| matches!(e, Entry::Sent(s) if s.owner == Owner::Proxy);
        !self.queue.iter().all(own)
    }

    /// `asks`: everything up to it is to be answered.
    fn push(&mut self, entry: Entry<N>, asks: bool) {
        let before = self.unasked.now;
        self.unasked = Unasked { now: if asks { 0 } else { before + 1 }, before };
        self.queue.push_back(entry);
    }

    /// Records a message that is being sent.
    ///
    /// Returns false if the server will drop it without an answer, so that it need not be sent.
    pub fn sent(&mut self, kind: Kind, owner: Owner, note: N) -> bool {
        match (self.phase, kind) {
            (Phase::Skipping, Kind::Sync) => self.phase = Phase::Normal,
            (Phase::Skipping, _) => return false,
            (Phase::CopyIn { .. }, Kind::Sync) => {
                self.phase = Phase::CopyIn { synced: true };
                return true;
            }
            (Phase::CopyIn { .. }, Kind::CopyEnd) => {
                self.leave_copy();
                return true;
            }
            (Phase::CopyIn { .. }, Kind::CopyData) => return true,
            (Phase::CopyIn { .. } | Phase::Normal, _) => {}
        }
        if kind == Kind::CopyData && self.last_is(Kind::CopyData) {
            return true;
        }
        let segment = self.segment;
        let ends = matches!(kind, Kind::Sync | Kind::Query | Kind::Call);
        self.segment += u64::from(ends && owner == Owner::Client);
        self.push(Entry::Sent(Sent { kind, owner, note, segment }), ends || kind == Kind::Barrier);
        true
    }

    /// What belongs to what is in flight.
    pub fn notes(&self) -> impl Iterator<Item = &N> {
        self.queue.iter().map(|entry| match entry {
            Entry::Sent(sent) => &sent.note,
            Entry::Reply(note) => note,
        })
    }

    /// What was sent last.
    pub fn last_note(&self) -> Option<&N> {
        match self.queue.back() {
            Some(Entry::Sent(sent)) => Some(&sent.note),
            _ => None,
        }
    }

    /// Entries, whoever's.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Messages of the client's that are in flight.
    pub fn client_messages(&self) -> usize {
        let own = |e: &&Entry<N>| matches!(e, Entry::Sent(s) if s.owner == Owner::Client);
        self.queue.iter().filter(own).count()
    }

    /// Records what is being sent a second time, as [`Flow::take_dropped`] gave it.
    pub fn again(&mut self, entries: Vec<Entry<N>>) {
        self.queue.extend(entries);
        self.flushed();
    }

    /// Records a reply of pgweir's own; it is due when [`Flow::next_reply`] gives it.
    pub fn reply(&mut self, note: N) {
        if self.phase != Phase::Skipping {
            self.push(Entry::Reply(note), false);
        }
    }

    /// pgweir itself refused a message of a client without a server: as a server would, it skips to
    /// the next Sync.
    pub fn skip_to_sync(&mut self) {
        self.phase = Phase::Skipping;
    }

    /// A Sync came while there is no server.
    pub fn sync_without_server(&mut self) {
        self.phase = Phase::Normal;
    }

    /// The server is gone, and every answer with it.
    pub fn reset(&mut self) {
        self.queue.clear();
        self.phase = Phase::Normal;
        self.doubt = Doubt::None;
        self.begun = false;
        self.flushed();
    }

    /// Whether [`Flow::next_reply`] would give one.
    pub fn is_reply_due(&mut self) -> bool {
        self.settle();
        matches!(self.queue.front(), Some(Entry::Reply(_)))
    }

    /// A reply of pgweir's own whose turn has come.
    pub fn next_reply(&mut self) -> Option<N> {
        if !self.is_reply_due() {
            return None;
        }
        match self.queue.pop_front() {
            Some(Entry::Reply(note)) => Some(note),
            _ => None,
        }
    }

    /// What the last error made the server skip, oldest first; the failed message itself is first.
    pub fn take_dropped(&mut self) -> impl Iterator<Item = Entry<N>> + '_ {
        self.dropped.drain(..)
    }

    /// Behind what failed: whether its segment is the client's, whose Sync ends it or is still to come.
    pub fn fails_client(&self) -> bool {
        self.head().is_none_or(|sync| sync.owner == Owner::Client)
    }

    /// A COPY failed while Syncs stood between its data: whether the server swallowed them or
    /// answers them depends on where it failed, so only a barrier query tells when all replies came.
    pub fn wants_barrier(&self) -> bool {
        self.doubt == Doubt::Syncs && self.queue.is_empty() && self.phase == Phase::Normal
    }

    /// The barrier of [`Flow::wants_barrier`] is being sent.
    pub fn barrier_sent(&mut self, note: N) {
        self.doubt = Doubt::None;
        self.sent(Kind::Barrier, Owner::Proxy, note);
    }

    /// Passes a message from the server if it is one of the many that change nothing here: a row of a Query or
    /// Execute of the client's, a line of its COPY among them, or the description of such rows.
    pub fn pass_row(&mut self, tag: u8) -> bool {
        let Some(Entry::Sent(head)) = self.queue.front() else { return false };
        let passes = match tag {
            b'D' | b'd' => matches!(head.kind, Kind::Query | Kind::Execute),
            b'T' => head.kind == Kind::Query,
            _ => false,
        };
        let passes = passes && head.owner == Owner::Client;
        self.begun |= passes;
        passes
    }

    /// A message came from the server. Not for `S`, `N` and `A`, which come at any time.
    pub fn on_backend(&mut self, tag: u8) -> Result<Reaction<N>, OutOfStep> {
        self.settle();
        let Some(Entry::Sent(head)) = self.queue.front_mut() else {
            return self.on_unasked(tag);
        };
        let (owner, kind) = (head.owner, head.kind);
        if kind == Kind::Barrier && matches!(tag, b'T' | b'E') {
            head.kind = Kind::BarrierSeen;
            return Ok(Reaction::Pass(owner));
        }
        if tag == b'Z' && self.is_in_doubt(kind) {
            return Ok(Reaction::Pass(Owner::Client));
        }
        self.begun = true;
        match (tag, kind) {
            (b'1', Kind::Parse)
            | (b'2', Kind::Bind)
            | (b'3', Kind::Close)
            | (b'T' | b'n', Kind::Describe)
            | (b'C' | b'I' | b's', Kind::Execute)
            | (b'Z', Kind::Sync | Kind::Query | Kind::Call | Kind::BarrierSeen) => self.pop(tag),
            (b'C', Kind::Query) => {
                self.doubt = Doubt::None;
                Ok(Reaction::Pass(owner))
            }
            (b'E', Kind::Query | Kind::Call) => {
                self.leave_copy();
                Ok(Reaction::Pass(owner))
            }
            (b'E', Kind::Sync) => Ok(Reaction::Pass(owner)),
            (b'E', Kind::Parse | Kind::Bind | Kind::Describe | Kind::Execute | Kind::Close) => {
                self.leave_copy();
                self.skip();
                Ok(Reaction::Failed(owner))
            }
            (b'G', Kind::Query | Kind::Execute) => {
                self.enter_copy();
                Ok(Reaction::Pass(owner))
            }
            (b't', Kind::Describe)
            | (b'D' | b'H' | b'd' | b'c', Kind::Execute)
            | (b'T' | b'D' | b'I' | b'H' | b'd' | b'c', Kind::Query)
            | (b'V', Kind::Call)
            | (b'D' | b'C', Kind::BarrierSeen) => Ok(Reaction::Pass(owner)),
            _ => Err(OutOfStep(tag)),
        }
    }

    /// A ReadyForQuery now would be that of a Sync which the failed copy had not swallowed: the head
    /// has other replies first.
    fn is_in_doubt(&self, kind: Kind) -> bool {
        let own = matches!(kind, Kind::Sync | Kind::BarrierSeen) || self.begun;
        kind == Kind::Barrier || (self.doubt == Doubt::Syncs && !own)
    }

    fn on_unasked(&mut self, tag: u8) -> Result<Reaction<N>, OutOfStep> {
        if tag == b'Z' && self.doubt == Doubt::Syncs {
            self.phase = Phase::Normal;
            return Ok(Reaction::Pass(Owner::Client));
        }
        Err(OutOfStep(tag))
    }

    /// Ends the head. If it could have been sent behind a doubtful Sync, the doubt is over.
    fn pop(&mut self, tag: u8) -> Result<Reaction<N>, OutOfStep> {
        self.begun = false;
        if !matches!(tag, b'Z') {
            self.doubt = Doubt::None;
        }
        match self.queue.pop_front() {
            Some(Entry::Sent(sent)) => Ok(Reaction::Popped(sent)),
            _ => Err(OutOfStep(tag)),
        }
    }

    /// Takes from the head what has no reply: CopyData and CopyDone outside a copy, which the
    /// server reads and forgets.
    fn settle(&mut self) {
        while self.queue.front().is_some_and(Self::answers_nothing) {
            self.queue.pop_front();
        }
    }

    fn answers_nothing(entry: &Entry<N>) -> bool {
        matches!(entry, Entry::Sent(s) if matches!(s.kind, Kind::CopyEnd | Kind::CopyData))
    }

    fn last_is(&self, kind: Kind) -> bool {
        matches!(self.queue.back(), Some(Entry::Sent(s)) if s.kind == kind)
    }

    /// The server drops everything up to, not including, the next Sync; Query and FunctionCall too.
    fn skip(&mut self) {
        let sync = |e: &Entry<N>| matches!(e, Entry::Sent(s) if s.kind == Kind::Sync);
        let end = self.queue.iter().position(sync);
        self.begun = false;
        self.dropped.extend(self.queue.drain(..end.unwrap_or(self.queue.len())));
        if is_off("skipped") {
            let replies = self.dropped.extract_if(.., |e| matches!(e, Entry::Reply(_)));
            let replies: Vec<_> = replies.collect();
            replies.into_iter().rev().for_each(|reply| self.queue.push_front(reply));
        }
        if end.is_none() {
            self.phase = Phase::Skipping;
        }
    }

    /// The server swallows every Sync and Flush up to the CopyDone or CopyFail.
    fn enter_copy(&mut self) {
        let mut seen_data = false;
        let mut synced = false;
        // Behind the head.
        let mut at = 1;
        while let Some(entry) = self.queue.get(at) {
            let kind = match entry {
                Entry::Reply(_) => {
                    at += 1;
                    continue;
                }
                Entry::Sent(sent) => sent.kind,
            };
            match kind {
                Kind::Sync => synced |= seen_data,
                Kind::CopyData => seen_data = true,
                Kind::CopyEnd => {
                    self.queue.remove(at);
                    self.doubt_if(synced);
                    return;
                }
                // The server will refuse it with FATAL; nothing behind it matters.
                _ => return,
            }
            self.queue.remove(at);
        }
        self.phase = Phase::CopyIn { synced };
        if matches!(self.queue.front(), Some(Entry::Sent(head)) if head.kind == Kind::Execute) {
            // The copy's own answer, too, is asked for by a Sync behind its CopyDone only.
            self.unasked = Unasked { now: self.queue.len(), before: self.queue.len() };
        }
    }

    fn leave_copy(&mut self) {
        if let Phase::CopyIn { synced } = self.phase {
            self.doubt_if(synced);
            self.phase = Phase::Normal;
        }
    }

    fn doubt_if(&mut self, synced: bool) {
        if synced {
            self.doubt = Doubt::Syncs;
        }
    }
}

/// Entries at most; well above the replies that fit a server's own output buffer, so that waiting
/// for replies always ends.
pub const MAX_IN_FLIGHT: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends by letter (`P B D E C S Q F c d`), receives by letter, and tells what is left.
    struct Script(Flow<()>);

    impl Script {
        fn new() -> Self {
            Self(Flow::default())
        }

        fn send(&mut self, letters: &str) -> &mut Self {
            for letter in letters.chars() {
                let kind = match letter {
                    'H' => {
                        self.0.flushed();
                        continue;
                    }
                    'P' => Kind::Parse,
                    'B' => Kind::Bind,
                    'D' => Kind::Describe,
                    'E' => Kind::Execute,
                    'C' => Kind::Close,
                    'S' => Kind::Sync,
                    'Q' => Kind::Query,
                    'F' => Kind::Call,
                    'c' => Kind::CopyEnd,
                    'd' => Kind::CopyData,
                    _ => panic!("{letter}"),
                };
                self.0.sent(kind, Owner::Client, ());
            }
            self
        }

        fn receive(&mut self, letters: &str) -> &mut Self {
            for letter in letters.bytes() {
                self.0.on_backend(letter).unwrap_or_else(|e| panic!("{e} in {letters}"));
                let _ = self.0.take_dropped().count();
            }
            self
        }

        fn busy(&mut self) -> &mut Self {
            assert!(!self.0.is_empty(), "{:?}", self.0);
            self
        }

        fn done(&mut self) {
            assert!(self.0.is_empty(), "{:?}", self.0);
        }
    }

    #[test]
    fn every_query_and_every_sync_has_one_ready_for_query() {
        Script::new().send("QQQ").receive("TDCZTDCZ").busy().receive("TDCZ").done();
        Script::new().send("SSS").receive("ZZ").busy().receive("Z").done();
        Script::new().send("PBDES").receive("12TDC").busy().receive("Z").done();
    }

    #[test]
    fn a_query_ends_a_segment_without_sync() {
        Script::new().send("PBEQ").receive("12DC").busy().receive("TDCZ").done();
        Script::new().send("PBEF").receive("12DC").busy().receive("VZ").done();
    }

    #[test]
    fn a_failed_segment_drops_queries_up_to_the_next_sync() {
        Script::new()
            .send("PQ")
            .receive("E")
            .busy()
            .send("QF")
            .busy()
            .send("S")
            .receive("Z")
            .done();
        Script::new().send("PBEPBEPSPBES").receive("12DC1EZ").busy().receive("12DCZ").done();
    }

    #[test]
    fn an_error_at_sync_drops_nothing() {
        Script::new().send("PBES").receive("12CE").busy().receive("Z").done();
        Script::new().send("PBESPBES").receive("12CEZ").busy().receive("12CZ").done();
    }

    #[test]
    fn who_has_to_go_on_shows_in_what_was_asked_for() {
        // Sent, received, cut inside the last message, whether it is the server's turn. `H`: Flush.
        for (sent, received, cut, server) in [
            ("", "", false, false),
            ("Q", "", false, true),
            ("Q", "", true, false),
            ("QQ", "", true, true),
            ("QQ", "TDCZ", true, false),
            ("F", "", true, false),
            ("PBE", "", false, false),
            ("PBES", "", false, true),
            ("PBES", "12DC", false, true),
            ("PB", "1", true, false),
            ("PBEQ", "", true, false),
            ("PBESB", "", true, true),
            ("PBESB", "12DCZ", true, false),
            ("PBEH", "", false, true),
            ("PBEH", "12DC", false, false),
            ("PBEHPB", "12", false, true),
            ("PBEHPB", "12DC", false, false),
            ("PBEHPB", "12DC", true, false),
            ("PBESdc", "12G", false, false),
            ("PBESdcS", "12G", false, true),
            ("Qdc", "G", false, true),
        ] {
            let mut script = Script::new();
            let (head, copy) = sent.split_at(sent.find('d').unwrap_or(sent.len()));
            script.send(head).receive(received).send(copy);
            assert_eq!(script.0.awaits_server(cut), server, "{sent} {received} {cut}");
        }
    }

    #[test]
    fn copy_in_swallows_syncs() {
        Script::new()
            .send("PBES")
            .receive("12G")
            .busy()
            .send("dcS")
            .receive("C")
            .busy()
            .receive("Z")
            .done();
        Script::new().send("PBEdcS").receive("12GCZ").done();
        Script::new().send("PBESSdcS").receive("12GCZ").done();
        Script::new().send("Qdddc").receive("GCZ").done();
    }

    #[test]
    fn a_copy_that_fails_is_silent_until_a_later_sync() {
        Script::new()
            .send("PBES")
            .receive("12G")
            .send("d")
            .receive("E")
            .busy()
            .send("dcS")
            .receive("Z")
            .done();
        Script::new().send("Q").receive("G").send("d").receive("EZ").done();
        let mut late = Script::new();
        late.send("Q").receive("G").send("d").receive("EZ").send("ddc").done();
        late.send("Q").receive("TDCZ").done();
        Script::new().send("QddcQ").receive("GEZ").busy().receive("TDCZ").done();
        Script::new().send("PBEddcS").receive("E").busy().receive("Z").done();
    }

    #[test]
    fn syncs_between_copy_data_need_a_barrier_only_when_the_copy_failed() {
        Script::new().send("PBEdSdcS").receive("12GCZ").done();
        for extra in ["", "Z"] {
            let mut s = Script::new();
            s.send("PBEdSdcS").receive("12GEZ").busy();
            assert!(s.0.wants_barrier());
            s.0.barrier_sent(());
            s.send("Q").receive(extra).busy().receive("TDCZ").busy().receive("TDCZ").done();
        }
        let mut s = Script::new();
        s.send("PBES").receive("12G").send("dS").receive("EZ").busy();
        assert!(s.0.wants_barrier());
        s.0.barrier_sent(());
        s.receive("TDCZ").done();
    }

    #[test]
    fn replies_of_our_own_wait_for_their_turn_and_die_with_their_segment() {
        let mut flow: Flow<u8> = Flow::default();
        flow.sent(Kind::Parse, Owner::Client, 1);
        flow.reply(2);
        assert_eq!(flow.next_reply(), None);
        flow.on_backend(b'1').unwrap();
        assert_eq!(flow.next_reply(), Some(2));

        flow.sent(Kind::Parse, Owner::Client, 3);
        flow.reply(4);
        flow.sent(Kind::Sync, Owner::Client, 5);
        flow.reply(6);
        assert_eq!(flow.on_backend(b'E'), Ok(Reaction::Failed(Owner::Client)));
        assert_eq!(flow.take_dropped().count(), 2);
        assert_eq!(flow.next_reply(), None);
        flow.on_backend(b'Z').unwrap();
        assert_eq!(flow.next_reply(), Some(6));
        assert!(flow.is_empty());
    }

    #[test]
    fn an_answer_to_nothing_is_out_of_step() {
        let mut flow: Flow<()> = Flow::default();
        assert_eq!(flow.on_backend(b'Z'), Err(OutOfStep(b'Z')));
        flow.sent(Kind::Parse, Owner::Client, ());
        assert_eq!(flow.on_backend(b'2'), Err(OutOfStep(b'2')));
    }
}
