//! Whose a server is between the transactions of its client (docs/semantics.md "Session pooling").

use bytes::BytesMut;

use super::asking::Questions;
use super::flow::{Kind, Owner};
use super::listening::ListenMode;
use super::making::Making;
use super::pins::PinReason;
use super::{Backend, Leftovers, Note, Parting, Session};
use crate::sql::Effects;
use crate::wire::build;

/// Whose a server is between the transactions of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Anybody's, unless something pins the client.
    #[default]
    Transaction,
    /// The client's, until it leaves.
    Session,
    /// The same, and it is found out what would pin the client otherwise.
    Observe,
}

impl Pooling {
    /// Whether clients keep their servers whatever they do, and find there what they would on a
    /// connection of their own.
    pub fn keeps(self) -> bool {
        self != Self::Transaction
    }

    /// Its name in tables.
    pub fn text(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "session",
            Self::Observe => "observe",
        }
    }
}

impl Session {
    /// Says whose servers are. Before the first of them.
    pub fn set_pooling(&mut self, pooling: Pooling) {
        self.pooling = pooling;
    }

    /// Whose servers are.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Whether the client keeps its server until it leaves.
    pub fn keeps_server(&self) -> bool {
        self.pooling.keeps()
    }

    /// What becomes of LISTEN from now on.
    pub fn set_listen_mode(&mut self, mode: ListenMode) {
        self.listening.set_mode(mode, self.pooling.keeps());
    }

    /// Questions that failed behind the last transaction may be answered behind the next.
    pub fn ask_anew(&mut self) {
        self.questions.failures = 0;
    }

    /// Under transaction pooling the numbers would be gone, and clients of this kind kept from then on.
    pub(super) fn would_forget_sequences(&mut self) {
        if self.pooling == Pooling::Observe {
            self.counts.lost_numbers += u32::from(self.sequences.has_drawn_earlier());
            self.knowledge.learn_sequences(self.application_name());
        }
    }

    /// Nobody is asked: what texts may have left is for the end of the session.
    pub(super) fn keep_unasked(&mut self, backend: &mut Backend, out: &mut BytesMut) -> Parting {
        self.restore(backend, out);
        // What code it called is not known, and some of that outlives every reset.
        if self.questions.suspects.contains(Effects::UNREAD) {
            self.owed = Leftovers::Permanent;
        }
        self.owed = self.leftovers();
        self.tell_made();
        self.questions = Questions::default();
        self.judge_anew();
        self.reading.touched = false;
        self.forget_causes();
        if self.flow.is_empty() {
            return Parting::Kept;
        }
        build::empty(out, b'S');
        self.flow.sent(Kind::Sync, Owner::Proxy, Note::Plain);
        Parting::Asked
    }

    /// The catalogue is not asked for here: it is by the next lease of each pool.
    fn tell_made(&self) {
        let has_made = self.questions.making == Making::Has;
        if has_made && self.questions.is_code_changed() {
            self.knowledge.code_changed();
        } else if has_made {
            self.knowledge.code_changed_again();
        } else if self.questions.doubts {
            self.knowledge.code_doubted();
        }
    }

    /// The server has told what there is. Under transaction pooling, a lease would end here unless that
    /// pins the client.
    pub(super) fn keep_asked(&mut self, backend: &Backend) -> Parting {
        if self.listening.would_share() && self.has_encoding_of(backend) {
            self.pins.set(PinReason::Listen, false);
        }
        self.owed = self.leftovers();
        self.settle_causes();
        if self.pins.is_empty() {
            self.sequences.end();
        }
        Parting::Kept
    }
}
