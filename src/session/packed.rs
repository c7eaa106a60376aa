//! A session that has nothing under way, as small as it can be: there may be thousands for each server.

use std::sync::Arc;

use super::knowledge::Knowledge;
use super::lazy::Lazy;
use super::listening::ListenMode;
use super::pooling::Pooling;
use super::reading::Reading;
use super::sequences::Sequences;
use super::settings::Settings;
use super::statements::{ClientStatements, Ticket};
use super::{Counts, Fault, Session, TransactionStatus, Unsynced};

/// What is left of a session between its transactions. Settings share their memory with those of other
/// clients.
#[derive(Debug)]
pub struct Packed {
    knowledge: Arc<Knowledge>,
    /// Most have none.
    statements: Option<Box<ClientStatements>>,
    startup: Settings,
    desired: Settings,
    told: Settings,
    in_force: Settings,
    ticket: Ticket,
    pid: u32,
    fault: Fault,
    listen_mode: ListenMode,
    lazy: Lazy,
    drew_earlier: bool,
    counts: Counts,
}

impl Session {
    /// Whether nothing is lost if it is packed: it has no server, so that [`Session::detach`] has dropped what
    /// belongs to one, and nothing is begun that no server knows of.
    pub fn may_pack(&self) -> bool {
        self.status == TransactionStatus::Idle
            && self.pooling == Pooling::Transaction
            && self.is_quiet()
            && self.unsynced == Unsynced::Nothing
            && self.flow.is_at_rest()
            && self.statements.are_at_rest()
            && self.lazy.is_at_rest()
            && self.listening.is_at_rest()
            && !self.tell
            && self.retry.is_none()
    }

    /// Only while [`Session::may_pack`].
    pub fn pack(self) -> Packed {
        let Self { knowledge, mut statements, mut startup, mut desired, mut told, .. } = self;
        let mut in_force = self.reading.in_force;
        for settings in [&mut startup, &mut desired, &mut told, &mut in_force] {
            knowledge.share(settings);
        }
        statements.shrink();
        Packed {
            knowledge,
            statements: (!statements.is_empty()).then(|| Box::new(statements)),
            startup,
            desired,
            told,
            in_force,
            ticket: self.ticket,
            pid: self.pid,
            fault: self.fault,
            listen_mode: self.listening.rule(),
            lazy: self.lazy,
            drew_earlier: self.sequences.has_drawn_earlier(),
            counts: self.counts,
        }
    }
}

impl Packed {
    /// As [`Session::application`].
    pub fn application(&self) -> Option<&Arc<[u8]>> {
        self.told.entry("application_name").map(|(_, name)| name)
    }

    /// The session as it was.
    pub fn unpack(self) -> Session {
        let Self { knowledge, statements, startup, desired, told, in_force, ticket, .. } = self;
        let mut session = Session::new(knowledge, startup);
        session.reading = Reading::of(in_force, &desired);
        session.statements = statements.map(|kept| *kept).unwrap_or_default();
        session.desired = desired;
        session.told = told;
        session.ticket = ticket;
        session.pid = self.pid;
        session.fault = self.fault;
        session.counts = self.counts;
        session.lazy = self.lazy;
        session.sequences = Sequences::between(self.drew_earlier);
        session.set_listen_mode(self.listen_mode);
        session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_session_is_small() {
        assert!(size_of::<Packed>() <= 184, "{}", size_of::<Packed>());
    }
}
