//! Prepared statements: names of a client, copies on a server.
//!
//! A name changes hands when the reply is given, not when the request is read
//! (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`), so both maps keep what is confirmed apart from
//! what is in flight.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::knowledge::Statement;

/// A client's name for a statement; empty = the unnamed statement.
pub type Name = Box<[u8]>;

/// Where a change of the client's map stands: counted per Parse or Close, and per segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticket {
    /// Grows with every Sync and Query that is sent.
    pub segment: u64,
    /// Grows with every change.
    pub sequence: u64,
}

/// What a name means to a client.
#[derive(Debug, Clone)]
pub struct Meaning {
    /// The statement, if there is one.
    pub statement: Option<Arc<Statement>>,
    /// The change that is still in flight.
    pub in_flight: Option<Ticket>,
}

/// The statements of one client, by its own names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    confirmed: HashMap<Name, Arc<Statement>, FxBuildHasher>,
    in_flight: HashMap<Name, (Ticket, Option<Arc<Statement>>), FxBuildHasher>,
    bytes: usize,
}

impl ClientStatements {
    /// What a name means now, taking what is in flight for done.
    pub fn meaning(&self, name: &[u8]) -> Meaning {
        match self.in_flight.get(name) {
            Some((ticket, statement)) => {
                Meaning { statement: statement.clone(), in_flight: Some(*ticket) }
            }
            None => Meaning { statement: self.confirmed.get(name).cloned(), in_flight: None },
        }
    }

    /// There is no room for one more statement of this size.
    pub fn is_full(&self, size: usize) -> bool {
        let names = self.confirmed.len() + self.in_flight.len();
        names >= MAX_NAMES || self.bytes + size > MAX_BYTES
    }

    /// A Parse (`Some`) or Close (`None`) of a name is in flight.
    pub fn begin(&mut self, name: &[u8], ticket: Ticket, statement: Option<Arc<Statement>>) {
        self.in_flight.insert(name.into(), (ticket, statement));
    }

    /// Its reply was given.
    pub fn confirm(&mut self, name: &[u8], ticket: Ticket, statement: Option<Arc<Statement>>) {
        self.forget_flight(name, ticket);
        let size = statement.as_ref().map_or(0, |s| s.body.len());
        let old = match statement {
            Some(statement) => self.confirmed.insert(name.into(), statement),
            None => self.confirmed.remove(name),
        };
        self.bytes = self.bytes + size - old.map_or(0, |s| s.body.len());
    }

    /// The reply to a Parse of the unnamed statement was given; a Query or another Parse may have
    /// replaced it since.
    pub fn confirm_unnamed(&mut self, ticket: Ticket, statement: Arc<Statement>) {
        if self.in_flight.get(&b""[..]).is_some_and(|(t, _)| *t == ticket) {
            self.confirm(b"", ticket, Some(statement));
        }
    }

    /// The unnamed statement is dropped: by a Query, or by a Parse of it that failed.
    pub fn forget_unnamed(&mut self) {
        self.in_flight.remove(&b""[..]);
        self.remove(b"");
    }

    /// It was skipped behind an error.
    pub fn undo(&mut self, name: &[u8], ticket: Ticket) {
        self.forget_flight(name, ticket);
    }

    /// DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.confirmed.retain(|name, _| name.is_empty());
        self.bytes = self.confirmed.values().map(|s| s.body.len()).sum();
    }

    /// DEALLOCATE of one name; false if there is none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.confirmed.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |s| s.body.len());
        removed.is_some()
    }

    /// The client's name of a statement.
    pub fn name_of(&self, statement: &Arc<Statement>) -> Option<&[u8]> {
        let confirmed = self.confirmed.iter().find(|(_, s)| Arc::ptr_eq(s, statement));
        let flying = || {
            let same =
                |s: &Option<Arc<Statement>>| s.as_ref().is_some_and(|s| Arc::ptr_eq(s, statement));
            self.in_flight.iter().find(|(_, (_, s))| same(s)).map(|(name, _)| &**name)
        };
        confirmed.map(|(name, _)| &**name).or_else(flying)
    }

    fn forget_flight(&mut self, name: &[u8], ticket: Ticket) {
        if self.in_flight.get(name).is_some_and(|(t, _)| *t == ticket) {
            self.in_flight.remove(name);
        }
    }
}

/// Whether a server has a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// It has, and said so.
    Ready,
    /// Its Parse is in flight, in this segment.
    Coming(u64),
    /// It has an older generation.
    Stale,
    /// It has not.
    Missing,
}

#[derive(Debug)]
struct Prepared {
    statement: Arc<Statement>,
    generation: u32,
    /// The segment of a Parse in flight.
    coming: Option<u64>,
    used: u64,
}

/// The copies of statements that one server has.
#[derive(Debug)]
pub struct ServerStatements {
    copies: HashMap<u64, Prepared, FxBuildHasher>,
    clock: u64,
    limit: usize,
    /// What the unnamed statement is, taking what is in flight for done.
    unnamed: Option<Arc<Statement>>,
    /// What it is if the Parse in flight is skipped.
    unnamed_before: Option<Arc<Statement>>,
    /// The settings statement is prepared.
    pub has_set_statement: bool,
}

impl ServerStatements {
    /// An empty map for at most `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self {
            copies: HashMap::default(),
            clock: 0,
            limit,
            unnamed: None,
            unnamed_before: None,
            has_set_statement: false,
        }
    }

    /// Whether the server has a statement; counts as a use.
    pub fn copy_of(&mut self, statement: &Statement) -> Copy {
        self.clock += 1;
        match self.copies.get_mut(&statement.id) {
            None => Copy::Missing,
            Some(copy) => {
                copy.used = self.clock;
                match copy.coming {
                    _ if copy.generation != statement.generation() => Copy::Stale,
                    Some(segment) => Copy::Coming(segment),
                    None => Copy::Ready,
                }
            }
        }
    }

    /// The statement to close before one more is prepared, when the map is full.
    pub fn victim(&self) -> Option<Arc<Statement>> {
        if self.copies.len() < self.limit {
            return None;
        }
        let oldest = self.copies.values().min_by_key(|copy| copy.used);
        oldest.map(|copy| Arc::clone(&copy.statement))
    }

    /// A Parse is being sent.
    pub fn begin(&mut self, statement: &Arc<Statement>, segment: u64) {
        self.clock += 1;
        let copy = Prepared {
            statement: Arc::clone(statement),
            generation: statement.generation(),
            coming: Some(segment),
            used: self.clock,
        };
        self.copies.insert(statement.id, copy);
    }

    /// ParseComplete came.
    pub fn confirm(&mut self, statement: &Statement) {
        if let Some(copy) = self.copies.get_mut(&statement.id) {
            copy.coming = None;
        }
    }

    /// The server has it no longer: closed, failed or skipped. Returns the generation it had.
    pub fn remove(&mut self, statement: &Statement) -> Option<u32> {
        self.copies.remove(&statement.id).map(|copy| copy.generation)
    }

    /// A Close was skipped: the server still has it.
    pub fn restore(&mut self, statement: &Arc<Statement>, generation: u32) {
        let used = self.clock;
        let copy = Prepared { statement: Arc::clone(statement), generation, coming: None, used };
        self.copies.insert(statement.id, copy);
    }

    /// The server has none at all.
    pub fn clear(&mut self) {
        self.copies.clear();
        self.clear_unnamed();
        self.has_set_statement = false;
    }

    /// What the server's unnamed statement is.
    pub fn unnamed(&self) -> Option<&Arc<Statement>> {
        self.unnamed.as_ref()
    }

    /// A Parse of the unnamed statement is being sent.
    pub fn begin_unnamed(&mut self, statement: &Arc<Statement>) {
        self.unnamed_before = self.unnamed.replace(Arc::clone(statement));
    }

    /// It was skipped behind an error: the one before it is still there.
    pub fn undo_unnamed(&mut self, statement: &Arc<Statement>) {
        if self.unnamed.as_ref().is_some_and(|s| Arc::ptr_eq(s, statement)) {
            self.unnamed = self.unnamed_before.take();
        }
    }

    /// A Query, or a Parse of it that failed, dropped the unnamed statement.
    pub fn clear_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_before = None;
    }

    /// Statements held.
    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// None held.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }
}

/// Names one client may hold.
const MAX_NAMES: usize = 10_000;

/// Bytes of statement texts one client may hold.
const MAX_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::knowledge::Knowledge;
    use crate::sql::Effects;

    fn statement(k: &Knowledge, text: &str) -> Arc<Statement> {
        k.intern(b"", text.as_bytes(), Effects::default())
    }

    fn ticket(segment: u64, sequence: u64) -> Ticket {
        Ticket { segment, sequence }
    }

    #[test]
    fn a_name_changes_hands_when_the_reply_is_given() {
        let k = Knowledge::default();
        let (a, b) = (statement(&k, "a"), statement(&k, "b"));
        let mut client = ClientStatements::default();
        client.begin(b"s", ticket(0, 1), Some(Arc::clone(&a)));
        assert_eq!(client.meaning(b"s").in_flight, Some(ticket(0, 1)));
        client.confirm(b"s", ticket(0, 1), Some(Arc::clone(&a)));
        client.begin(b"s", ticket(1, 2), None);
        assert!(client.meaning(b"s").statement.is_none());
        client.undo(b"s", ticket(1, 2));
        assert!(Arc::ptr_eq(&client.meaning(b"s").statement.unwrap(), &a));
        client.begin(b"t", ticket(2, 3), Some(Arc::clone(&b)));
        client.undo(b"t", ticket(2, 3));
        assert!(client.meaning(b"t").statement.is_none());
        assert!(client.remove(b"s") && !client.remove(b"s"));
        assert_eq!(client.bytes, 0);
    }

    #[test]
    fn the_oldest_used_copy_is_the_victim() {
        let k = Knowledge::default();
        let all: Vec<_> = (0..3).map(|i| statement(&k, &i.to_string())).collect();
        let mut server = ServerStatements::new(3);
        for s in &all {
            assert!(server.victim().is_none());
            server.begin(s, 0);
            server.confirm(s);
        }
        assert_eq!(server.copy_of(&all[0]), Copy::Ready);
        assert!(Arc::ptr_eq(&server.victim().unwrap(), &all[1]));
        all[0].invalidate();
        assert_eq!(server.copy_of(&all[0]), Copy::Stale);
        let generation = server.remove(&all[0]).unwrap();
        server.restore(&all[0], generation);
        assert_eq!(server.copy_of(&all[0]), Copy::Stale);
    }

    #[test]
    fn a_skipped_parse_leaves_the_unnamed_statement_before_it() {
        let k = Knowledge::default();
        let (a, b) = (statement(&k, "a"), statement(&k, "b"));
        let mut server = ServerStatements::new(3);
        server.begin_unnamed(&a);
        server.begin_unnamed(&b);
        server.undo_unnamed(&b);
        assert!(Arc::ptr_eq(server.unnamed().unwrap(), &a));
        server.clear_unnamed();
        assert!(server.unnamed().is_none());
    }
}
