//! Prepared statements: names of a client, copies on a server.
//!
//! A name changes hands when the reply is given, not when the request is read
//! (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`), so both maps keep what is confirmed apart from
//! what is in flight.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::knowledge::{Generation, Statement};
use super::names::Names;
use super::own::Own;
use super::shape::{Columns, Told};

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
    /// Its generation when the client parsed it.
    pub generation: Generation,
    /// The client has described or run it.
    pub tried: bool,
    /// The columns that the client was told.
    pub columns: Option<Columns>,
}

/// A statement that a client has parsed.
#[derive(Debug)]
struct Held {
    statement: Arc<Statement>,
    generation: Generation,
    tried: bool,
    /// Of its Parse.
    ticket: Ticket,
    told: Option<Box<Told>>,
}

/// The statements of one client, by its own names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    confirmed: Names<Held>,
    in_flight: Names<(Ticket, Option<Arc<Statement>>)>,
    bytes: usize,
    /// How many names stand for statements that cannot be prepared again.
    unrepeatable: usize,
    /// The unnamed statement is to be bound yet, or was when it was such a one.
    unbound: bool,
}

impl ClientStatements {
    /// Nothing is in flight.
    pub fn are_at_rest(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// There are none, and none is coming.
    pub(super) fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.in_flight.is_empty()
    }

    /// Gives memory back that is not needed now.
    pub fn shrink(&mut self) {
        self.confirmed.shrink();
        self.in_flight.shrink();
    }

    /// What a name means now, taking what is in flight for done.
    pub fn meaning(&self, name: &[u8]) -> Meaning {
        if let Some((ticket, statement)) = self.in_flight.get(name) {
            let generation = statement.as_ref().map(|s| s.generation()).unwrap_or_default();
            let (statement, in_flight) = (statement.clone(), Some(*ticket));
            return Meaning { statement, in_flight, generation, tried: false, columns: None };
        }
        let held = self.confirmed.get(name);
        Meaning {
            statement: held.map(|held| Arc::clone(&held.statement)),
            in_flight: None,
            generation: held.map(|held| held.generation).unwrap_or_default(),
            tried: held.is_some_and(|held| held.tried),
            columns: held.and_then(|held| held.told.as_ref()?.columns.clone()),
        }
    }

    /// Whether the client has this name since before a text of its own.
    pub(super) fn is_older(&self, name: &[u8], text: Ticket) -> bool {
        self.confirmed.get(name).is_some_and(|held| held.ticket <= text)
            && self.in_flight.get(name).is_none()
    }

    /// What the client was told of a statement.
    pub(super) fn told(&self, name: &[u8]) -> Option<&Told> {
        self.confirmed.get(name)?.told.as_deref()
    }

    /// Whether a name stands for this statement, whatever is in flight.
    pub(super) fn holds(&self, name: &[u8], statement: &Arc<Statement>) -> bool {
        self.confirmed.get(name).is_some_and(|held| Arc::ptr_eq(&held.statement, statement))
    }

    /// Whether a name stands for this text, under whatever settings and types.
    pub(super) fn means(&self, name: &[u8], statement: &Statement) -> bool {
        self.confirmed.get(name).is_some_and(|held| held.statement.text() == statement.text())
    }

    /// What the client was told of the columns of a statement, to be added to; `None` if there is no such statement.
    pub(super) fn told_mut(&mut self, name: &[u8]) -> Option<&mut Told> {
        Some(self.confirmed.get_mut(name)?.told.get_or_insert_default())
    }

    /// A server has described or run it for the client.
    pub fn tried(&mut self, name: &[u8]) {
        if let Some(held) = self.confirmed.get_mut(name) {
            held.tried = true;
        }
    }

    /// The client was told that its plan is stale.
    pub fn renew(&mut self, name: &[u8]) {
        if let Some(held) = self.confirmed.get_mut(name) {
            held.generation = held.statement.generation();
        }
    }

    /// There is no room for one more statement of this size.
    pub fn is_full(&self, size: usize) -> bool {
        let names = self.confirmed.len() + self.in_flight.len();
        names >= MAX_NAMES || self.bytes + size > MAX_BYTES
    }

    /// Some name stands for a statement that cannot be prepared on another server. An unnamed one is mostly bound at
    /// once, and then only until it is.
    pub fn has_unrepeatable(&self) -> bool {
        let is_long = |held: &Held| held.statement.is_unrepeatable();
        self.unrepeatable > 0 || (self.unbound && self.confirmed.get(b"").is_some_and(is_long))
    }

    /// The unnamed statement cannot be prepared on another server, and waits to be bound; or no longer.
    pub fn set_unbound(&mut self, unbound: bool) {
        self.unbound = unbound;
    }

    /// There are others than the unnamed statement.
    pub fn has_named(&self) -> bool {
        self.confirmed.has_named()
    }

    /// There is an unnamed statement, or may be soon.
    pub fn has_unnamed(&self) -> bool {
        self.in_flight.get(b"").is_some() || self.confirmed.get(b"").is_some()
    }

    /// A change of a name is in flight: a Parse (`Some`), or a Close or a Query, which drops the
    /// unnamed statement (`None`).
    pub fn begin(&mut self, name: &[u8], ticket: Ticket, statement: Option<Arc<Statement>>) {
        self.in_flight.insert(name, (ticket, statement));
    }

    /// Its reply was given.
    pub fn confirm(&mut self, name: &[u8], ticket: Ticket, statement: Option<Arc<Statement>>) {
        self.undo(name, ticket);
        let size = statement.as_ref().map_or(0, |s| size_of(name, s));
        self.unrepeatable += statement.as_ref().map_or(0, |s| unrepeatable(name, s));
        let old = match statement {
            Some(statement) => {
                let generation = statement.generation();
                let held = Held { statement, generation, tried: false, ticket, told: None };
                self.confirmed.insert(name, held)
            }
            None => self.confirmed.remove(name),
        };
        self.bytes = self.bytes + size - old.as_ref().map_or(0, |s| size_of(name, &s.statement));
        self.unrepeatable -= old.map_or(0, |s| unrepeatable(name, &s.statement));
    }

    /// It was skipped behind an error.
    pub fn undo(&mut self, name: &[u8], ticket: Ticket) {
        if self.in_flight.get(name).is_some_and(|(t, _)| *t == ticket) {
            self.in_flight.remove(name);
        }
    }

    /// DEALLOCATE ALL was run: what is still in flight comes after it.
    pub fn clear(&mut self) {
        self.confirmed.retain_named(|_| false);
        self.recount();
    }

    /// The same, by a text that ran behind this change.
    pub fn clear_before(&mut self, ticket: Ticket) {
        self.confirmed.retain_named(|held| held.ticket > ticket);
        self.recount();
    }

    fn recount(&mut self) {
        let held = || self.confirmed.iter().map(|(name, held)| (name, &*held.statement));
        self.unrepeatable = held().map(|(name, statement)| unrepeatable(name, statement)).sum();
        self.bytes = held().map(|(name, statement)| size_of(name, statement)).sum();
    }

    /// DEALLOCATE of one name, or the end of the unnamed statement; false if there is none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.confirmed.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |s| size_of(name, &s.statement));
        self.unrepeatable -= removed.as_ref().map_or(0, |s| unrepeatable(name, &s.statement));
        removed.is_some()
    }
}

fn size_of(name: &[u8], statement: &Statement) -> usize {
    name.len() + statement.body.len()
}

fn unrepeatable(name: &[u8], statement: &Statement) -> usize {
    usize::from(!name.is_empty() && statement.is_unrepeatable())
}

/// Whether a server has a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// It has, and said so.
    Ready,
    /// Its Parse is in flight in the same segment: what comes behind it is skipped if it fails.
    Coming,
    /// Its Parse or Close is in flight in an earlier segment, and may fail or be skipped.
    Unsettled,
    /// It has an older generation.
    Stale,
    /// It has not.
    Missing,
}

/// A statement of which the server has a copy, or will have, or will not have any more.
#[derive(Debug)]
struct Prepared {
    statement: Arc<Statement>,
    /// The generation that the server has said to have.
    confirmed: Option<Generation>,
    /// The generation that was sent last.
    sent: Generation,
    /// Parses and Closes in flight, all of them sent in `segment`.
    in_flight: u32,
    segment: u64,
    /// Whether there is a copy, taking what is in flight for done.
    expected: bool,
    used: u64,
    /// The columns that the server has described it with.
    columns: Option<Columns>,
}

impl Prepared {
    /// Something in flight was answered, or failed or was skipped.
    fn land(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.expected = self.confirmed.is_some();
        }
    }

    fn does(&self, has: Generation, wanted: Generation) -> bool {
        let changed = [self.statement.generation().changed, wanted.changed];
        changed.contains(&has.changed) && has.doubted >= wanted.doubted
    }

    /// Its client could not prepare it again.
    fn is_needed(&self) -> bool {
        self.statement.is_unrepeatable() && Arc::strong_count(&self.statement) > 1
    }

    fn is_gone(&self) -> bool {
        self.in_flight == 0 && self.confirmed.is_none()
    }
}

/// The copies of statements that one server has.
#[derive(Debug)]
pub struct ServerStatements {
    copies: HashMap<u64, Prepared, FxBuildHasher>,
    clock: u64,
    limit: usize,
    /// What the unnamed statement is, taking what is in flight for done; `None` if nobody knows.
    unnamed: Option<Arc<Statement>>,
    /// The segment of the Parse that makes it so.
    unnamed_coming: Option<u64>,
    /// Statements of the client that are prepared under its own names as well.
    lent: Vec<Name>,
    /// Which of pgweir's own statements are prepared, by their bits.
    own: u32,
    /// What is not in `own` may be there all the same.
    pub(crate) own_in_doubt: bool,
}

impl ServerStatements {
    /// An empty map for at most `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self {
            copies: HashMap::default(),
            clock: 0,
            limit,
            unnamed: None,
            unnamed_coming: None,
            lent: Vec::new(),
            own: 0,
            own_in_doubt: false,
        }
    }

    /// Whether the server has a statement, for a message of this segment; counts as a use. A copy of an
    /// older generation does for a client that parsed the statement then: what became of the tables
    /// since is for PostgreSQL to tell it.
    pub fn copy_of(&mut self, statement: &Statement, wanted: Generation, segment: u64) -> Copy {
        self.clock += 1;
        let Some(copy) = self.copies.get_mut(&statement.id) else { return Copy::Missing };
        copy.used = self.clock;
        match copy.in_flight {
            0 if copy.confirmed.is_some_and(|has| copy.does(has, wanted)) => Copy::Ready,
            0 => Copy::Stale,
            _ if copy.segment != segment => Copy::Unsettled,
            _ if copy.expected => Copy::Coming,
            _ => Copy::Missing,
        }
    }

    /// The statement to close before one more is prepared in this segment, when the map is full.
    pub fn victim(&self, segment: u64) -> Option<Arc<Statement>> {
        if !self.is_full() {
            return None;
        }
        let mut settled = self.settled(segment);
        let first = settled.next()?;
        let oldest = settled.fold(first, |a, b| if b.used < a.used { b } else { a });
        Some(Arc::clone(&oldest.statement))
    }

    /// The map is full of statements whose fate is not known yet: one more must wait for replies. Those that the
    /// session cannot do without are none of its business, and may be more than it has room for.
    pub fn is_crowded(&self, segment: u64) -> bool {
        self.is_full()
            && self.settled(segment).next().is_none()
            && self.copies.values().any(|copy| copy.in_flight > 0 && copy.segment != segment)
    }

    fn is_full(&self) -> bool {
        self.copies.len() >= self.limit
            && self.copies.values().filter(|copy| copy.expected).count() >= self.limit
    }

    fn settled(&self, segment: u64) -> impl Iterator<Item = &Prepared> {
        let known = move |copy: &&Prepared| copy.in_flight == 0 || copy.segment == segment;
        self.copies.values().filter(|copy| copy.expected && !copy.is_needed()).filter(known)
    }

    /// A Parse is being sent.
    pub fn begin(&mut self, statement: &Arc<Statement>, segment: u64) {
        self.clock += 1;
        let copy = self.copies.entry(statement.id).or_insert_with(|| Prepared {
            statement: Arc::clone(statement),
            confirmed: None,
            sent: Generation::default(),
            in_flight: 0,
            segment,
            expected: true,
            used: 0,
            columns: None,
        });
        copy.columns = None;
        copy.sent = statement.generation();
        copy.in_flight += 1;
        copy.segment = segment;
        copy.expected = true;
        copy.used = self.clock;
    }

    /// The columns of a statement's rows here, if they were described.
    pub fn columns_of(&self, statement: &Statement) -> Option<&Columns> {
        self.copies.get(&statement.id)?.columns.as_ref()
    }

    /// The server has described it.
    pub fn set_columns(&mut self, statement: &Statement, columns: Columns) {
        if let Some(copy) = self.copies.get_mut(&statement.id) {
            copy.columns = Some(columns);
        }
    }

    /// ParseComplete came.
    pub fn confirm(&mut self, statement: &Statement) {
        self.land(statement, |copy| copy.confirmed = Some(copy.sent));
    }

    /// A Close is being sent.
    pub fn begin_close(&mut self, statement: &Statement, segment: u64) {
        if let Some(copy) = self.copies.get_mut(&statement.id) {
            copy.in_flight += 1;
            copy.segment = segment;
            copy.expected = false;
        }
    }

    /// CloseComplete came.
    pub fn confirm_close(&mut self, statement: &Statement) {
        self.land(statement, |copy| copy.confirmed = None);
    }

    /// A Parse or Close failed or was skipped.
    pub fn undo(&mut self, statement: &Statement) {
        self.land(statement, |_| {});
    }

    /// The server turned out not to have it.
    pub fn remove(&mut self, statement: &Statement) {
        if let Some(copy) = self.copies.get_mut(&statement.id) {
            copy.confirmed = None;
            copy.expected = copy.in_flight > 0 && copy.expected;
            if copy.is_gone() {
                self.copies.remove(&statement.id);
            }
        }
    }

    /// DEALLOCATE ALL was run: what is still in flight comes after it.
    pub fn clear(&mut self) {
        self.copies.retain(|_, copy| {
            copy.confirmed = None;
            !copy.is_gone()
        });
        self.lent.clear();
        self.forget_own();
    }

    /// Which of pgweir's own the server has for certain, by their bits.
    pub(crate) fn own(&self) -> u32 {
        self.own
    }

    /// How many it has for certain, pgweir's own included, if those of these are still there that were `earlier`.
    pub(crate) fn count(&self, earlier: u32) -> usize {
        self.present().count() + (self.own | earlier).count_ones() as usize
    }

    /// There is one that is not prepared again when the server is asked for what code has left.
    pub(crate) fn has_witness(&self) -> bool {
        self.has_own(Own::Forget) || self.present().next().is_some()
    }

    fn present(&self) -> impl Iterator<Item = &Prepared> {
        let is_there =
            |copy: &Prepared| copy.confirmed.is_some_and(|of| of.changed != NO_GENERATION);
        self.copies.values().filter(move |copy| is_there(copy) && copy.in_flight == 0)
    }

    /// Nobody knows which of them are still there: they are prepared again, after a Close.
    pub(crate) fn doubt(&mut self) {
        for copy in self.copies.values_mut().filter(|copy| copy.confirmed.is_some()) {
            copy.confirmed = Some(Generation { changed: NO_GENERATION, doubted: 0 });
        }
        self.lent.clear();
        self.forget_own();
    }

    /// There are none, and what a client that is gone had in flight is never answered.
    pub fn reset(&mut self) {
        self.copies.clear();
        self.lent.clear();
        self.own = 0;
        self.own_in_doubt = false;
        self.clear_unnamed();
    }

    fn land(&mut self, statement: &Statement, change: impl FnOnce(&mut Prepared)) {
        let Some(copy) = self.copies.get_mut(&statement.id) else { return };
        change(copy);
        copy.land();
        if copy.is_gone() {
            self.copies.remove(&statement.id);
        }
    }

    /// Whether the unnamed statement is this one, for a message of this segment: [`Copy::Ready`],
    /// [`Copy::Coming`], [`Copy::Unsettled`] or [`Copy::Missing`].
    pub fn unnamed(&self, statement: &Arc<Statement>, segment: u64) -> Copy {
        match self.unnamed_coming {
            Some(coming) if coming != segment => Copy::Unsettled,
            coming => match &self.unnamed {
                Some(unnamed) if !Arc::ptr_eq(unnamed, statement) => Copy::Missing,
                Some(_) if coming.is_some() => Copy::Coming,
                Some(_) => Copy::Ready,
                None => Copy::Missing,
            },
        }
    }

    /// A Parse of the unnamed statement is being sent.
    pub fn begin_unnamed(&mut self, statement: &Arc<Statement>, segment: u64) {
        self.unnamed = Some(Arc::clone(statement));
        self.unnamed_coming = Some(segment);
    }

    /// ParseComplete came.
    pub fn confirm_unnamed(&mut self, statement: &Arc<Statement>) {
        if self.unnamed.as_ref().is_some_and(|s| Arc::ptr_eq(s, statement)) {
            self.unnamed_coming = None;
        }
    }

    /// A Query dropped the unnamed statement, or a Parse of it failed or was skipped, and nobody
    /// knows what it is now.
    pub fn clear_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_coming = None;
    }

    /// A name of the client's is to be prepared; false if it is already, or there are too many.
    pub fn lend(&mut self, name: &[u8]) -> bool {
        let new = self.lent.len() < MAX_LENT && !self.is_lent(name);
        if new {
            self.lent.push(name.into());
        }
        new
    }

    /// A name of the client's is to be closed; false if it is not there.
    pub fn take_back(&mut self, name: &[u8]) -> bool {
        let at = self.lent.iter().position(|lent| **lent == *name);
        at.map(|at| self.lent.swap_remove(at)).is_some()
    }

    /// All names of the client's are to be closed.
    pub fn take_back_all(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.lent)
    }

    /// Whether this one is.
    pub fn is_lent(&self, name: &[u8]) -> bool {
        self.lent.iter().any(|lent| **lent == *name)
    }

    /// Whether names of the client's are prepared.
    pub fn has_lent(&self) -> bool {
        !self.lent.is_empty()
    }

    /// Whether one of pgweir's own statements is prepared.
    pub(crate) fn has_own(&self, own: Own) -> bool {
        self.own & (1 << own as u8) != 0
    }

    /// One of pgweir's own statements was prepared, or was not.
    pub(crate) fn set_own(&mut self, own: Own, prepared: bool) {
        if prepared {
            self.own |= 1 << own as u8;
        } else {
            self.own &= !(1 << own as u8);
        }
    }

    /// Nobody knows whether pgweir's own statements are there: they are prepared again, after a Close,
    /// which is no error where there is nothing.
    pub(crate) fn forget_own(&mut self) {
        self.own = 0;
        self.own_in_doubt = true;
    }

    /// The same of one of them.
    pub(crate) fn doubt_own(&mut self, own: Own) {
        self.set_own(own, false);
        self.own_in_doubt = true;
    }

    /// How many of pgweir's own statements are prepared.
    #[cfg(test)]
    pub(crate) fn own_count(&self) -> usize {
        self.own.count_ones() as usize
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

/// Names of a client's that are prepared on one server.
const MAX_LENT: usize = 64;

/// Names one client may hold.
const MAX_NAMES: usize = 10_000;

/// Bytes of statement texts one client may hold.
const MAX_BYTES: usize = 64 << 20;

/// Of a copy that may be there, or not: no statement comes to have so many.
const NO_GENERATION: u32 = u32::MAX;

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
            assert!(server.victim(1).is_none());
            server.begin(s, 0);
            server.confirm(s);
        }
        assert_eq!(server.copy_of(&all[0], all[0].generation(), 1), Copy::Ready);
        assert!(Arc::ptr_eq(&server.victim(1).unwrap(), &all[1]));
        server.begin_close(&all[1], 1);
        assert!(server.victim(1).is_none());
    }

    #[test]
    fn a_copy_in_flight_is_settled_only_for_its_own_segment() {
        let k = Knowledge::default();
        let a = statement(&k, "a");
        let mut server = ServerStatements::new(3);
        server.begin(&a, 7);
        assert_eq!(
            (server.copy_of(&a, a.generation(), 7), server.copy_of(&a, a.generation(), 8)),
            (Copy::Coming, Copy::Unsettled)
        );
        server.confirm(&a);
        assert_eq!(server.copy_of(&a, a.generation(), 8), Copy::Ready);
        server.begin_close(&a, 8);
        assert_eq!(
            (server.copy_of(&a, a.generation(), 8), server.copy_of(&a, a.generation(), 9)),
            (Copy::Missing, Copy::Unsettled)
        );
        server.confirm_close(&a);
        assert_eq!(server.copy_of(&a, a.generation(), 9), Copy::Missing);
    }

    #[test]
    fn a_skipped_replacement_leaves_the_stale_copy() {
        let k = Knowledge::default();
        let a = statement(&k, "a");
        let mut server = ServerStatements::new(3);
        server.begin(&a, 0);
        server.confirm(&a);
        a.invalidate();
        assert_eq!(server.copy_of(&a, a.generation(), 1), Copy::Stale);
        server.begin_close(&a, 1);
        server.begin(&a, 1);
        server.undo(&a);
        server.undo(&a);
        assert_eq!(server.copy_of(&a, a.generation(), 2), Copy::Stale);
        server.begin_close(&a, 2);
        server.begin(&a, 2);
        server.confirm_close(&a);
        server.undo(&a);
        assert_eq!(server.copy_of(&a, a.generation(), 3), Copy::Missing);
    }

    #[test]
    fn what_comes_behind_deallocate_all_stays() {
        let k = Knowledge::default();
        let (a, b) = (statement(&k, "a"), statement(&k, "b"));
        let mut server = ServerStatements::new(3);
        server.begin(&a, 0);
        server.confirm(&a);
        server.begin(&b, 0);
        server.clear();
        server.confirm(&b);
        assert_eq!(
            (server.copy_of(&a, a.generation(), 1), server.copy_of(&b, b.generation(), 1)),
            (Copy::Missing, Copy::Ready)
        );
    }

    #[test]
    fn after_a_skipped_parse_nobody_knows_the_unnamed_statement() {
        let k = Knowledge::default();
        let (a, b) = (statement(&k, "a"), statement(&k, "b"));
        let mut server = ServerStatements::new(3);
        server.begin_unnamed(&a, 0);
        assert_eq!((server.unnamed(&a, 0), server.unnamed(&a, 1)), (Copy::Coming, Copy::Unsettled));
        server.confirm_unnamed(&a);
        assert_eq!((server.unnamed(&a, 1), server.unnamed(&b, 1)), (Copy::Ready, Copy::Missing));
        server.begin_unnamed(&b, 1);
        server.clear_unnamed();
        assert_eq!((server.unnamed(&a, 2), server.unnamed(&b, 2)), (Copy::Missing, Copy::Missing));
    }
}
