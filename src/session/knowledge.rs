//! What the sessions of one pool have learnt together: statements by text, accepted settings.
//!
//! Shared by the clients of one (database, user) only, so nothing crosses an identity. Its lock is
//! held for a look-up, never longer.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustc_hash::FxBuildHasher;

use super::rules::{PinRules, SequenceRule, Suspicion};
use super::settings::Settings;
use crate::sql::{Catalogue, Effects};
use crate::without::is_off;

/// A prepared statement as a text that any server of the pool can be given.
#[derive(Debug)]
pub struct Statement {
    /// Unique in its pool.
    pub id: u64,
    /// Text, NUL, and the parameter types: the body of a Parse behind the name. Empty if it was too
    /// long to keep.
    pub body: Box<[u8]>,
    /// The settings that it is parsed under; `None` if nobody knows.
    pub fingerprint: Option<Box<[u8]>>,
    /// What running it may do to the session, as a number, and the catalogue that says so.
    effects: AtomicU64,
    read_under: AtomicU32,
    /// Name on servers.
    pub server_name: Box<[u8]>,
    /// Whether it can begin a COPY, once that was asked.
    may_copy: OnceLock<bool>,
    /// Copies on servers of an older generation are stale, or in doubt.
    changed: AtomicU32,
    doubted: AtomicU32,
    /// A server has accepted it, and another client may be told so without asking again.
    known_good: AtomicBool,
}

impl Statement {
    fn new(
        id: u64,
        fingerprint: Option<&[u8]>,
        body: &[u8],
        effects: Effects,
        version: u32,
    ) -> Self {
        Self {
            id,
            body: body.into(),
            fingerprint: fingerprint.map(Box::from),
            effects: AtomicU64::new(effects.bits()),
            read_under: AtomicU32::new(version),
            server_name: format!("{NAME_PREFIX}{id}").into_bytes().into(),
            may_copy: OnceLock::new(),
            changed: AtomicU32::new(0),
            doubted: AtomicU32::new(0),
            known_good: AtomicBool::new(false),
        }
    }

    /// Its text was too long to keep: it lives on the server that took it, and nowhere else.
    pub fn is_unrepeatable(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether it can begin a COPY.
    pub fn may_copy(&self) -> bool {
        *self.may_copy.get_or_init(|| may_copy(&self.body))
    }

    /// Its text, without types.
    pub fn text(&self) -> &[u8] {
        self.body.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// What running it may do to the session.
    pub fn effects(&self) -> Effects {
        Effects::from_bits(self.effects.load(Ordering::Relaxed))
    }

    /// The version of the catalogue that [`Statement::effects`] were read under.
    pub fn read_under(&self) -> u32 {
        self.read_under.load(Ordering::Relaxed)
    }

    /// It was read again, under this version of the catalogue.
    pub fn reread(&self, effects: Effects, version: u32) {
        self.effects.store(effects.bits(), Ordering::Relaxed);
        self.read_under.store(version, Ordering::Relaxed);
    }

    /// The generation that servers must have.
    pub fn generation(&self) -> Generation {
        Generation {
            changed: self.changed.load(Ordering::Relaxed),
            doubted: self.doubted.load(Ordering::Relaxed),
        }
    }

    /// Makes every server's copy stale.
    pub fn invalidate(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
        self.known_good.store(false, Ordering::Relaxed);
    }

    /// A server accepted it.
    pub fn accepted(&self) {
        self.known_good.store(true, Ordering::Relaxed);
    }

    /// A server refused it, and the next one that needs it must be asked.
    pub fn refused(&self) {
        self.known_good.store(false, Ordering::Relaxed);
    }

    /// See [`Statement::accepted`].
    pub fn is_known_good(&self) -> bool {
        self.known_good.load(Ordering::Relaxed)
    }
}

/// How old a copy of a statement may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generation {
    /// How often it was to be parsed again.
    pub changed: u32,
    /// How often tables had been doubted when it was last parsed.
    pub doubted: u32,
}

/// What makes two statements the same: the bytes, and the settings they are parsed under.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    fingerprint: Box<[u8]>,
    body: Box<[u8]>,
}

/// How often tables and code of one database have changed, as far as pgweir's clients have changed them, in all its
/// pools: what one changes, others use.
#[derive(Debug, Default)]
pub struct Changes {
    tables: AtomicU64,
    /// How often code may have changed tables, for all that is known.
    doubts: AtomicU32,
    code: AtomicU64,
    /// How often code may have changed code, for all that is known.
    code_doubts: AtomicU64,
    /// Leases that change code, or are about to, which others may meet from any moment on.
    announced: AtomicUsize,
}

/// A lease that changes code, for as long as it is not said in `code` that it has.
#[derive(Debug)]
pub(super) struct Announced(Arc<Changes>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.announced.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The knowledge of one pool.
#[derive(Debug, Default)]
pub struct Knowledge {
    inner: Mutex<Inner>,
    changes: ArcSwap<Changes>,
    /// The changes of code that the catalogue at hand was read behind, and those behind which it was last asked for.
    code_seen: AtomicU64,
    code_asked: AtomicU64,
    code_doubts_seen: AtomicU64,
    /// For so many whiles it is not read for these again: most are about queries, and some code runs all the time.
    doubt_rest: AtomicU32,
    /// What was read last, as a number.
    catalogue_mark: AtomicU64,
    /// It was read for changes that others make, not long ago: reading takes a while, and some make them all the time.
    was_read: AtomicBool,
    next_id: AtomicU64,
    /// There are sequence readers.
    has_sequence_readers: AtomicBool,
    /// See [`super::rules`].
    pub(super) rules: ArcSwap<PinRules>,
    pub(super) pinned: AtomicUsize,
    catalogue: ArcSwapOption<Catalogue>,
    /// Grows with every catalogue.
    catalogue_version: AtomicU32,
    accepted_version: AtomicU32,
    /// The catalogue was read, and is not too old.
    catalogue_fresh: AtomicBool,
    /// It was too large, or could not be read.
    catalogue_refused: AtomicBool,
    /// How often it could not be read since it was.
    catalogue_failures: AtomicU32,
    /// It was read once, or found to be too large.
    catalogue_settled: AtomicBool,
    /// Somebody reads it for the first time.
    catalogue_first: AtomicBool,
}

/// Name, NUL, value as a client wrote it, to the value as the server shows it, if that is another.
type Accepted = HashMap<Box<[u8]>, Option<Box<[u8]>>, FxBuildHasher>;

#[derive(Debug, Default)]
struct Inner {
    statements: HashMap<Key, Arc<Statement>, FxBuildHasher>,
    statement_bytes: usize,
    sweep_at: usize,
    /// The changes of tables that the statements were parsed behind.
    tables_seen: u64,
    /// Application names of clients that ask for numbers of sequences in later transactions.
    sequence_readers: HashSet<Box<[u8]>, FxBuildHasher>,
    accepted: Accepted,
    accepted_bytes: usize,
    /// The key that was looked for last; kept for its memory.
    key: Vec<u8>,
    /// Settings that idle clients have had, the latest first.
    shared: VecDeque<Settings>,
}

impl Inner {
    /// What was parsed before tables changed is parsed again for whoever parses it from now on.
    fn invalidate_behind(&mut self, changes: u64) {
        if self.tables_seen != changes {
            self.tables_seen = changes;
            self.statements.values().for_each(|statement| statement.invalidate());
        }
    }

    /// The value as the server shows it; leaves its key in `key`.
    fn find_accepted<'a>(&'a mut self, name: &str, value: &'a [u8]) -> Option<&'a [u8]> {
        if !is_kept(name, value) {
            return None;
        }
        self.key.clear();
        self.key.extend(name.bytes().map(|c| c.to_ascii_lowercase()));
        self.key.push(0);
        self.key.extend_from_slice(value);
        let shown = self.accepted.get(&self.key[..])?;
        Some(shown.as_deref().unwrap_or(value))
    }

    /// The value with the key that was looked for last is shown so, if not as it is.
    fn remember(&mut self, shown: Option<Box<[u8]>>) {
        let size = |shown: Option<&[u8]>| self.key.len() + shown.map_or(0, <[u8]>::len);
        let (added, key) = (size(shown.as_deref()), self.key[..].into());
        let replaced = self.accepted.insert(key, shown);
        let freed = replaced.map_or(0, |shown| size(shown.as_deref()));
        self.accepted_bytes = self.accepted_bytes + added - freed;
    }

    fn forget_accepted(&mut self) {
        self.accepted.clear();
        self.accepted_bytes = 0;
    }
}

/// What is longer is judged by each server anew.
fn is_kept(name: &str, value: &[u8]) -> bool {
    name.len() + value.len() <= MAX_ACCEPTED_VALUE
}

/// Every server takes an `application_name` and shows it as it is, if it is short and of printable ASCII
/// (`runtime-config-logging.html#GUC-APPLICATION-NAME`): a client with a name of its own needs none to log in.
fn is_always_taken(name: &str, value: &[u8]) -> bool {
    name.eq_ignore_ascii_case("application_name")
        && value.len() < NAME_LENGTH
        && value.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// Settings of idle clients that are looked among for the same ones.
const MAX_SHARED: usize = 32;

/// `NAMEDATALEN`, with its zero byte.
const NAME_LENGTH: usize = 64;

impl Knowledge {
    /// Of a pool that shares these with others.
    pub fn new(changes: Arc<Changes>) -> Self {
        let found = Self::default();
        found.changes.store(changes);
        found
    }

    /// The pool is another database's from now on.
    pub fn follow(&self, changes: &Arc<Changes>) {
        let learning = self.lock();
        if !Arc::ptr_eq(&self.changes.swap(Arc::clone(changes)), changes) {
            // They are counted anew there.
            self.code_seen.store(0, Ordering::Release);
            self.code_asked.store(0, Ordering::Release);
            self.forget_catalogue();
        }
        drop(learning);
    }

    /// The shared statement of a text under a fingerprint of settings.
    pub fn intern(&self, fingerprint: &[u8], body: &[u8], effects: Effects) -> Arc<Statement> {
        let told_by = if is_off("texts") { body.get(..12).unwrap_or(body) } else { body };
        let key = Key { fingerprint: fingerprint.into(), body: told_by.into() };
        let mut inner = self.lock();
        inner.sweep();
        let changes = self.changes.load();
        inner.invalidate_behind(changes.tables.load(Ordering::Acquire));
        let size = body.len() + fingerprint.len() + STATEMENT_OVERHEAD;
        let is_full = inner.statement_bytes + size > MAX_STATEMENT_BYTES;
        let statement = match inner.statements.entry(key) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(_) if is_full => return self.private(Some(fingerprint), body, effects),
            Entry::Vacant(free) => {
                let statement = self.statement(Some(fingerprint), body, effects);
                let statement = Arc::clone(free.insert(statement));
                inner.statement_bytes += size;
                statement
            }
        };
        statement.doubted.store(changes.doubts.load(Ordering::Acquire), Ordering::Relaxed);
        statement
    }

    /// Makes settings share the memory of the same ones that other clients had lately.
    pub fn share(&self, settings: &mut Settings) {
        if !settings.is_small() {
            return;
        }
        let mut inner = self.lock();
        if let Some(at) = inner.shared.iter_mut().position(|known| known.unify(settings)) {
            inner.shared.swap(0, at);
            return;
        }
        inner.shared.truncate(MAX_SHARED - 1);
        inner.shared.push_front(settings.clone());
    }

    /// Tables or types have changed: whoever parses a text from now on gets it parsed.
    pub fn tables_changed(&self) {
        self.changes.load().tables.fetch_add(1, Ordering::AcqRel);
    }

    /// Code ran that may have changed tables: whoever parses a text from now on, to use it in a transaction, gets it
    /// parsed. Outside of one, a plan of old is repaired.
    pub fn tables_doubted(&self) {
        self.changes.load().doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Functions have changed, or what runs them: the catalogue is read again, in every pool of the database.
    pub fn code_changed(&self) {
        self.was_read.store(false, Ordering::Release);
        self.changes.load().code.fetch_add(1, Ordering::AcqRel);
    }

    /// The same, by what runs ahead of a reading of the code here, which has yet to be answered. Gives the number of the
    /// change.
    pub fn code_changed_here(&self) -> u64 {
        let code = self.code_changed_again();
        self.code_asked.fetch_max(code, Ordering::AcqRel);
        code
    }

    /// The same, by a reading behind the change `read`, which shows more than was known: it shows the new one too, unless
    /// others have changed code meanwhile. Gives the number of the last change that it shows.
    pub fn code_found_changed(&self, read: u64) -> u64 {
        let code = self.code_changed_again();
        if code != read + 1 {
            return read;
        }
        self.code_asked.fetch_max(code, Ordering::AcqRel);
        code
    }

    /// The same, by code that may do so all the time: it is read again once it is time.
    pub fn code_changed_again(&self) -> u64 {
        self.changes.load().code.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Code may have changed in a way that no text shows: it is read again in a while.
    pub fn code_doubted(&self) {
        self.changes.load().code_doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Code changes from now on, in a way that is not known yet.
    pub(super) fn announce(&self) -> Announced {
        let changes = self.changes.load_full();
        changes.announced.fetch_add(1, Ordering::AcqRel);
        Announced(changes)
    }

    /// The number of the last change of code.
    pub fn code_number(&self) -> u64 {
        self.changes.load().code.load(Ordering::Acquire)
    }

    /// The same, if all of it is known here, and none is about to change. Of those who announce changes, `own` is the
    /// caller.
    pub fn code_known(&self, own: bool) -> Option<u64> {
        let changes = self.changes.load();
        // In this order: what is no longer announced has its number.
        let changing = changes.announced.load(Ordering::Acquire) > usize::from(own);
        let code = changes.code.load(Ordering::Acquire);
        (!changing && self.code_seen.load(Ordering::Acquire) >= code).then_some(code)
    }

    /// A statement that no other client shares; the settings that it is parsed under, if they are known.
    pub fn private(
        &self,
        fingerprint: Option<&[u8]>,
        body: &[u8],
        effects: Effects,
    ) -> Arc<Statement> {
        self.statement(fingerprint, body, effects)
    }

    fn statement(
        &self,
        fingerprint: Option<&[u8]>,
        body: &[u8],
        effects: Effects,
    ) -> Arc<Statement> {
        let id = self.number();
        Arc::new(Statement::new(id, fingerprint, body, effects, self.catalogue_version()))
    }

    /// One that nobody else is given.
    pub fn number(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// What the functions and tables of the database do; nothing before it was read.
    pub fn catalogue(&self) -> arc_swap::Guard<Option<Arc<Catalogue>>> {
        self.catalogue.load()
    }

    /// Which catalogue this is.
    pub fn catalogue_version(&self) -> u32 {
        self.catalogue_version.load(Ordering::Acquire)
    }

    /// Whether another catalogue was read than before.
    pub fn is_another(&self, mark: u64) -> bool {
        self.catalogue_mark.swap(mark, Ordering::AcqRel) != mark
    }

    /// The catalogue was read behind this change of code.
    pub fn learn_catalogue(&self, catalogue: Catalogue, code: u64) {
        self.first_reading_over();
        let learning = self.lock();
        // One that was asked for later may have come first, and one of another database is none.
        if code < self.code_seen.load(Ordering::Acquire) || code > self.code_number() {
            return;
        }
        self.catalogue_refused.store(false, Ordering::Relaxed);
        self.catalogue_failures.store(0, Ordering::Relaxed);
        let old = self.catalogue.swap(Some(Arc::new(catalogue)));
        self.catalogue_version.fetch_add(1, Ordering::AcqRel);
        self.catalogue_settled.store(true, Ordering::Release);
        self.code_seen.store(code, Ordering::Release);
        drop(learning);
        drop(old);
    }

    /// It has more code than is read: functions are suspected, and what tables have behind them is not seen.
    pub fn refuse_catalogue(&self, code: u64) {
        self.code_seen.fetch_max(code.min(self.code_number()), Ordering::AcqRel);
        self.catalogue.store(None);
        self.catalogue_refused.store(true, Ordering::Relaxed);
        self.catalogue_settled.store(true, Ordering::Relaxed);
        self.catalogue_version.fetch_add(1, Ordering::AcqRel);
        self.first_reading_over();
    }

    /// Whether somebody is reading it for the first time: who waits for that need not read it as well.
    pub fn is_first_reading(&self) -> bool {
        self.catalogue_first.load(Ordering::Acquire)
    }

    /// Whoever was reading it for the first time has done so, or is lost.
    pub fn first_reading_over(&self) {
        self.catalogue_first.store(false, Ordering::Release);
    }

    /// It could not be read. One that never can is not to hold up everybody.
    pub fn on_catalogue_failed(&self) {
        self.first_reading_over();
        self.expire_catalogue();
        let failures = self.catalogue_failures.fetch_add(1, Ordering::Relaxed);
        if failures >= 1 && self.catalogue.load().is_none() {
            self.refuse_catalogue(self.code_number());
        }
    }

    /// Whether the code could not be read, so that nobody tries for now.
    pub fn is_catalogue_refused(&self) -> bool {
        self.catalogue_refused.load(Ordering::Relaxed)
    }

    /// Makes the caller the one who has the catalogue read, if it is to be: whoever comes before it was read, and one
    /// after it was found to be old.
    pub fn claim_reading(&self) -> bool {
        let is_settled = self.catalogue_settled.load(Ordering::Acquire);
        let code = self.changes.load().code.load(Ordering::Acquire);
        let is_behind = self.code_asked.load(Ordering::Acquire) != code;
        if is_behind && (!is_settled || self.claim_another()) {
            self.code_asked.store(code, Ordering::Release);
            self.expire_catalogue();
        }
        if is_settled && self.catalogue_fresh.load(Ordering::Relaxed) {
            return false;
        }
        if self.rules.load().suspicion == Suspicion::Off {
            return false;
        }
        let was_fresh = self.catalogue_fresh.swap(true, Ordering::Relaxed);
        if !is_settled {
            self.catalogue_first.store(true, Ordering::Release);
        }
        !is_settled || !was_fresh
    }

    /// Whether code has changed behind what is known of it, which is being read, or not to be read yet.
    pub fn is_catalogue_behind(&self) -> bool {
        self.code_known(false).is_none() && self.rules.load().suspicion != Suspicion::Off
    }

    /// Whether the catalogue may be read for what others have changed, or code.
    pub fn may_read_again(&self) -> bool {
        !self.was_read.load(Ordering::Acquire)
    }

    /// The same, and the caller has it read, or will.
    pub fn claim_another(&self) -> bool {
        !self.was_read.swap(true, Ordering::AcqRel)
    }

    /// The same, where nobody has seen what code has run.
    pub fn claim_doubted(&self) -> bool {
        let may = self.doubt_rest.load(Ordering::Acquire) == 0 && self.claim_another();
        if may {
            self.doubt_rest.store(DOUBT_REST, Ordering::Release);
        }
        may
    }

    /// A while has passed: the catalogue may be read for what others have changed, and is, now and then, for what code
    /// may have.
    pub fn allow_reading(&self) {
        self.was_read.store(false, Ordering::Release);
        let rest = self.doubt_rest.load(Ordering::Acquire);
        if rest > 0 {
            self.doubt_rest.store(rest - 1, Ordering::Release);
            return;
        }
        let doubts = self.changes.load().code_doubts.load(Ordering::Acquire);
        if self.code_doubts_seen.swap(doubts, Ordering::AcqRel) != doubts {
            self.doubt_rest.store(DOUBT_REST, Ordering::Release);
            self.expire_catalogue();
        }
    }

    /// What was read of the catalogue no longer counts, nor what texts were taken for by it.
    pub fn forget_catalogue(&self) {
        self.catalogue.store(None);
        self.catalogue_settled.store(false, Ordering::Relaxed);
        self.catalogue_version.fetch_add(1, Ordering::AcqRel);
        self.expire_catalogue();
    }

    /// The catalogue may have changed.
    pub fn expire_catalogue(&self) {
        self.catalogue_fresh.store(false, Ordering::Relaxed);
    }

    /// How the server shows a value that it has accepted before in this pool.
    pub fn accepted(&self, name: &str, value: &[u8]) -> Option<Box<[u8]>> {
        if is_always_taken(name, value) {
            return Some(value.into());
        }
        let mut inner = self.lock();
        inner.find_accepted(name, value).map(Box::from)
    }

    /// Changes when accepted values are forgotten.
    pub fn accepted_version(&self) -> u32 {
        self.accepted_version.load(Ordering::Relaxed)
    }

    /// Whether a server of this pool has accepted a value.
    pub fn has_accepted(&self, name: &str, value: &[u8]) -> bool {
        is_always_taken(name, value) || self.lock().find_accepted(name, value).is_some()
    }

    /// The server accepted a value and shows it so.
    pub fn accept(&self, name: &str, value: &[u8], shown: &[u8]) {
        if is_always_taken(name, value) || !is_kept(name, value) || !is_kept(name, shown) {
            return;
        }
        let mut inner = self.lock();
        if inner.find_accepted(name, value).is_some_and(|known| known == shown) {
            return;
        }
        if inner.accepted.len() >= MAX_ACCEPTED || inner.accepted_bytes >= MAX_ACCEPTED_BYTES {
            inner.forget_accepted();
            self.accepted_version.fetch_add(1, Ordering::Relaxed);
        }
        for value in [value, shown] {
            inner.find_accepted(name, value);
            inner.remember((value != shown).then(|| shown.into()));
        }
    }

    /// Clients of this kind ask for numbers that they have drawn in earlier transactions.
    pub fn learn_sequences(&self, class: &[u8]) {
        let readers = &mut self.lock().sequence_readers;
        if readers.len() < MAX_SEQUENCE_READERS {
            readers.insert(class.into());
            self.has_sequence_readers.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a client of this kind may ask for numbers that it draws: it is known to, or all are taken to,
    /// by the rules or because there are more kinds than are kept.
    pub fn asks(&self, class: &[u8]) -> bool {
        if self.rules.load().sequences == SequenceRule::Pin {
            return true;
        }
        if !self.has_sequence_readers.load(Ordering::Relaxed) {
            return false;
        }
        let readers = &self.lock().sequence_readers;
        readers.contains(class) || readers.len() >= MAX_SEQUENCE_READERS
    }

    /// Whether a client of this kind is pinned once it has drawn numbers, by the rules and by
    /// [`Knowledge::learn_sequences`].
    pub fn reads_sequences(&self, class: &[u8]) -> bool {
        match self.rules.load().sequences {
            SequenceRule::Learn => {
                self.has_sequence_readers.load(Ordering::Relaxed)
                    && self.lock().sequence_readers.contains(class)
            }
            SequenceRule::Pin => true,
            SequenceRule::Loud => false,
        }
    }

    /// Forgets which values were accepted: the server or its configuration may be another now.
    pub fn forget_accepted(&self) {
        self.lock().forget_accepted();
        self.accepted_version.fetch_add(1, Ordering::Relaxed);
        self.expire_catalogue();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops statements that nobody but this map holds, once they take too much.
    fn sweep(&mut self) {
        if self.statement_bytes < self.sweep_at.max(SWEEP_STEP) {
            return;
        }
        self.statements.retain(|_, statement| Arc::strong_count(statement) > 1);
        let size = |key: &Key| key.body.len() + key.fingerprint.len() + STATEMENT_OVERHEAD;
        self.statement_bytes = self.statements.keys().map(size).sum();
        self.sweep_at = self.statement_bytes + SWEEP_STEP;
    }
}

/// Kinds of clients that are learnt.
const MAX_SEQUENCE_READERS: usize = 1_000;

/// In seconds: reading a large catalogue takes a tenth of one.
const DOUBT_REST: u32 = 10;

/// Start of every statement name that pgweir makes on a server.
pub const NAME_PREFIX: &str = "__pgweir_";

/// Bytes of statement texts that one pool shares; past it, statements are not shared.
const MAX_STATEMENT_BYTES: usize = 256 << 20;

/// Growth between two sweeps.
const SWEEP_STEP: usize = 16 << 20;

/// What an entry costs besides its texts (which are held twice).
const STATEMENT_OVERHEAD: usize = 256;

/// Remembered values of settings, and their bytes.
const MAX_ACCEPTED: usize = 10_000;
const MAX_ACCEPTED_BYTES: usize = 8 << 20;

/// The longest that is remembered, with its name: all that a StartupMessage can hold.
const MAX_ACCEPTED_VALUE: usize = 16 << 10;

/// Whether a text can begin a COPY.
pub(super) fn may_copy(text: &[u8]) -> bool {
    text.windows(4).any(|word| word.eq_ignore_ascii_case(b"copy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_text_under_same_settings_is_one_statement() {
        let k = Knowledge::default();
        let none = Effects::default();
        let a = k.intern(b"UTC", b"select 1\0\0\0", none);
        assert!(Arc::ptr_eq(&a, &k.intern(b"UTC", b"select 1\0\0\0", none)));
        assert!(!Arc::ptr_eq(&a, &k.intern(b"Tokyo", b"select 1\0\0\0", none)));
        assert!(!Arc::ptr_eq(&a, &k.intern(b"UTC", b"select 2\0\0\0", none)));
        assert!(!Arc::ptr_eq(&a, &k.private(None, b"select 1\0\0\0", none)));
    }

    #[test]
    fn memory_is_bounded_by_sweeps_and_then_by_not_sharing() {
        let k = Knowledge::default();
        let body = |i: usize| [i.to_string().into_bytes(), vec![b'x'; 1 << 20]].concat();
        for i in 0..64 {
            k.intern(b"", &body(i), Effects::default());
        }
        assert!(k.lock().statement_bytes <= SWEEP_STEP + (2 << 20));
        let held: Vec<_> = (0..300).map(|i| k.intern(b"", &body(i), Effects::default())).collect();
        assert!(k.lock().statement_bytes <= MAX_STATEMENT_BYTES);
        assert!(!Arc::ptr_eq(&held[299], &k.intern(b"", &body(299), Effects::default())));
    }

    #[test]
    fn a_plain_application_name_needs_no_server() {
        let k = Knowledge::default();
        assert_eq!(k.accepted("Application_Name", b"resize-1").as_deref(), Some(&b"resize-1"[..]));
        assert!(!k.has_accepted("application_name", "größe".as_bytes()));
        assert!(!k.has_accepted("application_name", &[b'x'; 64]));
        assert!(!k.has_accepted("work_mem", b"resize-1"));
        k.accept("application_name", b"resize-1", b"resize-1");
        assert!(k.lock().accepted.is_empty());
    }

    #[test]
    fn what_others_change_is_read_once_in_a_while_and_counts_as_changed_until_then() {
        let changes = Arc::default();
        let (one, two) = (Knowledge::new(Arc::clone(&changes)), Knowledge::new(changes));
        for pool in [&one, &two] {
            assert!(pool.claim_reading());
            pool.learn_catalogue(Catalogue::default(), 0);
        }
        let read = |pool: &Knowledge| {
            assert!(pool.claim_reading() && pool.is_catalogue_behind());
            pool.learn_catalogue(Catalogue::default(), pool.code_number());
            !pool.is_catalogue_behind()
        };
        // Who changes it reads it.
        let change = one.code_changed_here();
        assert!(!one.claim_reading() && one.is_catalogue_behind());
        one.learn_catalogue(Catalogue::default(), change);
        assert!(!one.is_catalogue_behind() && read(&two));
        one.code_changed_here();
        assert!(!two.claim_reading() && two.is_catalogue_behind());
        two.allow_reading();
        assert!(read(&two));
        // Nobody read it of those whose clients changed it.
        two.code_changed();
        assert!(read(&two));
        two.follow(&Arc::default());
        assert!(two.claim_reading() && two.catalogue().is_none());
        // One of the old database comes late.
        two.learn_catalogue(Catalogue::default(), one.code_number());
        assert!(two.catalogue().is_none());
        two.learn_catalogue(Catalogue::default(), two.code_number());
        assert!(two.catalogue().is_some() && !two.claim_reading() && !two.is_catalogue_behind());
    }

    #[test]
    fn code_is_not_known_while_somebody_changes_it_nor_by_what_was_read_before() {
        let pool = Knowledge::default();
        pool.learn_catalogue(Catalogue::default(), 0);
        assert_eq!(pool.code_known(false), Some(0));
        let announced = pool.announce();
        assert_eq!((pool.code_known(false), pool.code_known(true)), (None, Some(0)));
        let change = pool.code_changed_here();
        drop(announced);
        assert_eq!(pool.code_known(false), None);
        let version = pool.catalogue_version();
        pool.learn_catalogue(Catalogue::default(), change);
        assert_eq!(pool.code_known(false), Some(change));
        pool.learn_catalogue(Catalogue::default(), change - 1);
        assert_eq!(pool.catalogue_version(), version + 1);
        // A reading that others have overtaken shows what it showed when it was asked for.
        assert_eq!(pool.code_found_changed(change), change + 1);
        pool.learn_catalogue(Catalogue::default(), change + 1);
        let other = pool.code_changed_here();
        assert_eq!(pool.code_found_changed(change + 1), change + 1);
        pool.learn_catalogue(Catalogue::default(), other);
        assert_eq!(pool.code_known(false), None);
        pool.learn_catalogue(Catalogue::default(), pool.code_number());
        // By whom nobody knows, and once.
        pool.claim_reading();
        pool.code_doubted();
        assert!(!pool.claim_reading());
        pool.allow_reading();
        assert!(pool.claim_reading() && !pool.claim_reading());
        pool.allow_reading();
        assert!(!pool.claim_reading());
        // Code that runs all the time has it read now and then.
        pool.code_doubted();
        let whiles = (1..30).filter(|_| {
            pool.allow_reading();
            pool.code_doubted();
            pool.claim_reading()
        });
        assert!((2..=3).contains(&whiles.count()));
    }

    #[test]
    fn accepted_values_are_remembered_as_the_server_shows_them() {
        let k = Knowledge::default();
        assert_eq!(k.accepted("DateStyle", b"iso"), None);
        k.accept("DateStyle", b"iso", b"ISO, MDY");
        assert_eq!(k.accepted("datestyle", b"iso").as_deref(), Some(&b"ISO, MDY"[..]));
        assert_eq!(k.accepted("datestyle", b"ISO, MDY").as_deref(), Some(&b"ISO, MDY"[..]));
        assert_eq!(k.accepted("datestyle", b"ISO"), None);
        k.accept("DateStyle", b"iso", b"ISO, DMY");
        assert_eq!(k.accepted("datestyle", b"iso").as_deref(), Some(&b"ISO, DMY"[..]));
    }

    #[test]
    fn accepted_values_are_bounded_in_bytes_too() {
        let k = Knowledge::default();
        let long = vec![b'x'; MAX_ACCEPTED_VALUE];
        k.accept("app.note", &long, b"short");
        k.accept("app.note", b"short", &long);
        assert!(k.lock().accepted.is_empty());
        for i in 0..1_500 {
            let value = [i.to_string().as_bytes(), &vec![b'x'; 8 << 10]].concat();
            k.accept("app.note", &value, &value);
            assert!(k.has_accepted("app.note", &value));
            assert!(k.lock().accepted_bytes <= MAX_ACCEPTED_BYTES + 2 * MAX_ACCEPTED_VALUE);
        }
        assert!(k.accepted_version() > 0, "those who rely on them are told");
        k.accept("app.note", b"a", b"b");
        k.accept("app.note", b"a", b"a");
        let inner = k.lock();
        let shown = inner.accepted.values().flatten().map(|shown| shown.len());
        let held = inner.accepted.keys().map(|key| key.len()).chain(shown).sum::<usize>();
        assert_eq!(inner.accepted_bytes, held);
    }
}
