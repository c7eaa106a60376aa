//! Settings: what a client wants, what a server has, and what it takes to make them agree.
//!
//! Values are never inferred from SQL: a server tells them, by ParameterStatus or in the row of
//! `set_config` (`functions-admin.html#FUNCTIONS-ADMIN-SET`; docs/semantics.md "Settings").

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;

use crate::wire::build;
use crate::without::is_off;

/// Name and value.
type Setting = (Arc<str>, Arc<[u8]>);

/// A small sorted map of setting names (as first spelt) to values. Clones share memory until one of
/// them changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    entries: Arc<Vec<Setting>>,
}

impl Settings {
    /// The value of a name, which is compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.find(name).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| &value[..])
    }

    /// A name as it is spelt here.
    pub fn spelling(&self, name: &str) -> Option<&str> {
        self.find(name).ok().and_then(|at| self.entries.get(at)).map(|(name, _)| &**name)
    }

    /// A server that keeps some of them would end its idle session, or wait with a read of pgweir's own
    /// (`runtime-config-client.html`).
    pub fn is_harmful_aside(&self) -> bool {
        // Their lengths tell nearly all others apart, and this is asked at the end of each lease.
        self.entries.iter().any(|(name, value)| match name.len() {
            20 => name.eq_ignore_ascii_case(IDLE_SESSION) && limit(value).is_some(),
            30 => name.eq_ignore_ascii_case(DEFERRABLE) && **value == *b"on",
            _ => false,
        })
    }

    /// How long the session may be idle, if that is limited.
    pub fn idle_session_timeout(&self) -> Option<Duration> {
        let is_it = |name: &str| name.len() == 20 && name.eq_ignore_ascii_case(IDLE_SESSION);
        self.entries.iter().find(|(name, _)| is_it(name)).and_then(|(_, value)| limit(value))
    }

    /// Neither many nor long.
    pub fn is_small(&self) -> bool {
        let bytes = self.entries.iter().map(|(name, value)| name.len() + value.len());
        self.entries.len() <= SMALL && bytes.sum::<usize>() <= SMALL_BYTES
    }

    /// Whether a value has room, in the place of the one that is there.
    pub fn has_room(&self, name: &str, value: &[u8], room: Room) -> bool {
        let size = |(name, value): &Setting| name.len() + value.len();
        let known = self.find(name).ok().and_then(|at| self.entries.get(at)).map(size);
        let names = self.entries.len() + usize::from(known.is_none());
        let others = self.entries.iter().map(size).sum::<usize>() - known.unwrap_or(0);
        names <= room.names && others + name.len() + value.len() <= room.bytes
    }

    /// Sets a value; true if that changed anything.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        match self.find(name) {
            Ok(at) if *self.entries[at].1 == *value => false,
            Ok(at) => {
                Arc::make_mut(&mut self.entries)[at].1 = value.into();
                true
            }
            Err(at) => {
                Arc::make_mut(&mut self.entries).insert(at, (name.into(), value.into()));
                true
            }
        }
    }

    /// The same with a value that is shared.
    pub fn share(&mut self, name: &Arc<str>, value: &Arc<[u8]>) -> bool {
        let setting = (Arc::clone(name), Arc::clone(value));
        match self.find(name) {
            Ok(at) if self.entries[at].1 == *value => return false,
            Ok(at) => Arc::make_mut(&mut self.entries)[at].1 = setting.1,
            Err(at) => Arc::make_mut(&mut self.entries).insert(at, setting),
        }
        true
    }

    /// Whether both are the same. If so they share memory from then on, so that asking again costs
    /// nothing. It is the memory of the lower address, so that in time all clients and servers of a
    /// pool that are alike share one.
    pub fn unify(&mut self, other: &mut Self) -> bool {
        if self.is_shared_with(other) {
            return true;
        }
        let same = self == other;
        if same && Arc::as_ptr(&self.entries) < Arc::as_ptr(&other.entries) {
            other.entries = Arc::clone(&self.entries);
        } else if same {
            self.entries = Arc::clone(&other.entries);
        }
        same
    }

    /// Whether both share memory: then they are the same.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// Removes a name; true if it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.find(name).map(|at| Arc::make_mut(&mut self.entries).remove(at)).is_ok()
    }

    /// Keeps the names that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        Arc::make_mut(&mut self.entries).retain(|(name, _)| keep(name));
    }

    /// All, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|(n, v)| (&**n, &**v))
    }

    /// No names.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A value, with its name as it is spelt here.
    pub fn entry(&self, name: &str) -> Option<(&Arc<str>, &Arc<[u8]>)> {
        let at = self.find(name).ok()?;
        self.entries.get(at).map(|(name, value)| (name, value))
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(n, _)| compare(n, name))
    }
}

/// How much of settings is kept: names, and bytes of these and their values.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    names: usize,
    bytes: usize,
}

impl Room {
    /// What a client may have set and takes from server to server.
    pub const CLIENT: Self = Self { names: 1_024, bytes: 1 << 20 };
    /// The same and 16 names and 1 MiB more, for the settings under which texts are read: they are few, and must be
    /// known even where there is no room for others.
    pub const CLIENT_READING: Self = Self { names: 1_024 + 16, bytes: 2 << 20 };
    /// What a server may report, and a client be told. PostgreSQL 18 reports 15, of which only `search_path` is ever long.
    pub const REPORTED: Self = Self { names: 200, bytes: 256 << 10 };
}

/// A server reports more settings than [`Room::REPORTED`].
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("more parameters than any server has a use for")]
pub struct TooMany;

fn compare(a: &str, b: &str) -> Ordering {
    let fold = |c: u8| c.to_ascii_lowercase();
    // As it mostly is.
    let firsts = a.bytes().next().map(fold).cmp(&b.bytes().next().map(fold));
    if firsts.is_ne() {
        return firsts;
    }
    if a == b {
        return Ordering::Equal;
    }
    a.bytes().map(fold).cmp(b.bytes().map(fold))
}

/// One value to set on a server; `None` sets the server's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name.
    pub name: Arc<str>,
    /// Value.
    pub value: Option<Arc<[u8]>>,
}

impl Change {
    /// It says how the bytes of the values behind it are read.
    pub fn is_encoding(&self) -> bool {
        is_encoding(&self.name)
    }

    /// When its turn is, among the changes of a server.
    fn turn(&self) -> u8 {
        match &self.value {
            None if is_role(&self.name) => 0,
            _ if self.is_encoding() => 1,
            Some(_) if is_role(&self.name) && !is_off("role_last") => 3,
            _ => 2,
        }
    }
}

const IDLE_SESSION: &str = "idle_session_timeout";
const DEFERRABLE: &str = "default_transaction_deferrable";
const _: () = assert!(IDLE_SESSION.len() == 20 && DEFERRABLE.len() == 30);

/// A time, as PostgreSQL shows it or a client may write it; `None` if it is none.
fn limit(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.saturating_mul(millis));
    (!time.is_zero()).then_some(time)
}

/// A timeout that is set, and under a second.
fn is_short(value: &[u8]) -> bool {
    // As a server shows it, `999ms` is the longest, and most are longer.
    value.len() <= 5 && limit(value).is_some_and(|limit| limit < Duration::from_secs(1))
}

/// What limits the time of statements.
fn is_timeout(name: &str) -> bool {
    TIMEOUTS.iter().any(|timeout| name.eq_ignore_ascii_case(timeout))
}

const TIMEOUTS: [&str; 3] = ["statement_timeout", "transaction_timeout", "lock_timeout"];

/// Values are compared byte by byte: `application_name` tells a from A.
fn agree(has: &[u8], wanted: &[u8]) -> bool {
    has == wanted || (is_off("exact") && has.eq_ignore_ascii_case(wanted))
}

/// It leaves the rest as it was on the server (`datatype-datetime.html#DATATYPE-DATETIME-OUTPUT`): a client's own is
/// what the default has.
fn is_part(name: &str, value: &[u8]) -> bool {
    name.eq_ignore_ascii_case("DateStyle") && !value.contains(&b',')
}

fn is_encoding(name: &str) -> bool {
    name.eq_ignore_ascii_case("client_encoding")
}

fn is_role(name: &str) -> bool {
    name.eq_ignore_ascii_case("role")
}

/// What one server has.
#[derive(Debug, Default)]
pub struct ServerSettings {
    /// Reported values right after login: what RESET gives.
    baseline: Settings,
    /// What RESET gives of those that are not reported, as it became known.
    defaults: Settings,
    /// When the server has read its configuration, as far as it has said.
    loaded: Option<i64>,
    /// Reported values now.
    reported: Settings,
    /// Values that differ from the default, reported or not.
    actual: Settings,
    /// What pgweir has set itself was reported since the last ReadyForQuery.
    hushed: bool,
}

impl ServerSettings {
    /// Starts from the ParameterStatus set of a login.
    pub fn at_login(baseline: Settings) -> Self {
        Self { reported: baseline.clone(), baseline, ..Self::default() }
    }

    /// Reported values right after login.
    pub fn baseline(&self) -> &Settings {
        &self.baseline
    }

    /// Reported values now.
    pub fn reported(&self) -> &Settings {
        &self.reported
    }

    /// Whether it began with just these; see [`Settings::unify`].
    pub fn began_with(&mut self, baseline: &mut Settings) -> bool {
        baseline.unify(&mut self.baseline)
    }

    /// Whether a client was told just what is reported now.
    pub fn is_told(&mut self, told: &mut Settings) -> bool {
        told.unify(&mut self.reported)
    }

    /// A ParameterStatus came. True if the value is the server's default.
    pub fn on_parameter_status(&mut self, name: &str, value: &[u8]) -> Result<bool, TooMany> {
        if !self.reported.has_room(name, value, Room::REPORTED) {
            return Err(TooMany);
        }
        self.reported.set(name, value);
        let default = self.baseline.get(name) == Some(value);
        if default || !is_settable(name) {
            self.actual.remove(name);
        } else {
            self.actual.set(name, value);
        }
        Ok(default)
    }

    /// A report was kept from the client.
    pub fn on_hushed(&mut self) {
        self.hushed = true;
    }

    /// Reports were kept from the client since the last ReadyForQuery, so that another may only take them back.
    pub fn is_hushed(&self) -> bool {
        self.hushed
    }

    /// All that was to be reported is.
    pub fn on_ready(&mut self) {
        self.hushed = false;
    }

    /// A setting that is not reported was found to have this value, or not to exist. `left` is whether a custom
    /// one that is empty is what is left of it behind a reset. True if the client need not ask for it on another
    /// server.
    pub fn on_told(&mut self, name: &str, value: Option<&[u8]>, left: bool) -> bool {
        let default = match value {
            None => true,
            Some(b"") if name.contains('.') => left,
            Some(value) => self.default_of(name) == Some(value),
        };
        if let (false, Some(value)) = (default, value) {
            self.actual.set(name, value);
        } else {
            self.actual.remove(name);
        }
        default
    }

    /// A setting has a value that is not kept. The server must be reset before another client has it.
    pub fn on_left_out(&mut self, name: &str) {
        self.actual.remove(name);
    }

    /// `set_config` answered a change with the value that is now in force.
    pub fn on_set(&mut self, change: &Change, shown: &[u8]) {
        let name = &*change.name;
        let Some(asked) = &change.value else {
            if self.default_of(name).is_none() && !name.contains('.') {
                self.learn_default(name, shown);
            }
            self.actual.remove(name);
            return;
        };
        if self.default_of(name) == Some(shown) {
            self.actual.remove(name);
        } else if **asked == *shown {
            self.actual.share(&change.name, asked);
        } else {
            self.actual.set(name, shown);
        }
    }

    /// The same, if it is what was asked for.
    pub fn on_set_as_asked(&mut self, change: &Change) {
        if let Some(asked) = &change.value {
            self.on_set(change, asked);
        }
    }

    /// Whether a timeout is set that is under a second.
    pub fn has_short(&self, name: &str) -> bool {
        self.actual.get(name).is_some_and(is_short)
    }

    /// Whether it is known what RESET gives.
    pub fn knows_default(&self, name: &str) -> bool {
        name.contains('.') || self.default_of(name).is_some()
    }

    /// The server has read its configuration then; before, it may have had other defaults.
    pub fn on_loaded(&mut self, at: i64) {
        if self.loaded.replace(at) != Some(at) {
            self.defaults = Settings::default();
        }
    }

    /// RESET gives this.
    pub fn learn_default(&mut self, name: &str, value: &[u8]) {
        // Where there is none, the server is asked each time.
        if self.defaults.has_room(name, value, Room::CLIENT) {
            self.defaults.set(name, value);
        }
    }

    /// What RESET gives, where that is known.
    fn default_of(&self, name: &str) -> Option<&[u8]> {
        self.baseline.get(name).or_else(|| self.defaults.get(name))
    }

    /// Everything was reset on the server; what it reports it says by itself.
    pub fn on_reset_all(&mut self) {
        let reported = &self.reported;
        self.actual.retain(|name| reported.get(name).is_some());
    }

    /// What must change so that the server has what a client wants. `role` comes last, since the
    /// values before it may need the session user's rights; its reset comes first.
    pub fn changes_to(&mut self, desired: &mut Settings) -> Changes {
        if desired.unify(&mut self.actual) {
            return Changes { list: Vec::new(), first: 0, whole: true, part: None };
        }
        let mut first = 0;
        let (mut list, mut whole) = (Vec::with_capacity(desired.entries.len()), true);
        let (mut kept_role, mut in_order) = (None, true);
        let (mut part, mut at) = (0, 0);
        for pair in InStep::new(&self.actual, desired) {
            let has = pair.0.map(|(_, value)| &**value);
            let place = 1_u64.checked_shl(at).unwrap_or(0);
            at += u32::from(pair.1.is_some());
            let (name, value) = match pair {
                (Some((_, has)), Some((name, wanted))) if agree(has, wanted) => {
                    kept_role = kept_role.or(is_role(name).then_some(wanted));
                    continue;
                }
                (None, Some((name, wanted))) if self.default_of(name) == Some(wanted) => {
                    whole = false;
                    continue;
                }
                (has, Some((name, wanted))) => {
                    if has.is_some() && is_part(name, wanted) {
                        list.push(Change { name: Arc::clone(name), value: None });
                    }
                    (name, Some(Arc::clone(wanted)))
                }
                (Some((name, _)), None) => (name, None),
                (None, None) => continue,
            };
            // It would cut off what sets the others.
            if has.is_some_and(|has| is_timeout(name) && is_short(has)) {
                list.insert(first, Change { name: Arc::clone(name), value });
                first += 1;
                in_order = false;
                continue;
            }
            in_order &= !is_role(name) && !is_encoding(name);
            part |= if value.is_some() { place } else { 0 };
            list.push(Change { name: Arc::clone(name), value });
        }
        // Under another role than the session's user, not every value may be set.
        if let (Some(kept), false) = (kept_role, list.is_empty() || is_off("role_last")) {
            list.push(Change { name: "role".into(), value: None });
            list.push(Change { name: "role".into(), value: Some(Arc::clone(kept)) });
            in_order = false;
        }
        if !in_order && let Some(others) = list.get_mut(first..) {
            others.sort_by_key(Change::turn);
        }
        let is_part = in_order && list.len() == part.count_ones() as usize;
        Changes { list, first, whole, part: is_part.then_some(part) }
    }

    /// All changes to these settings were made, and their values are shown as they are.
    pub fn on_changed(&mut self, desired: Settings) {
        self.actual = desired;
    }

    /// Whether [`ServerSettings::changes_to`] would give nothing.
    pub fn suits(&self, desired: &Settings) -> bool {
        let suits = |pair: (Option<&Setting>, Option<&Setting>)| match pair {
            (Some((_, has)), Some((_, wanted))) => agree(has, wanted),
            (None, Some((name, wanted))) => self.default_of(name) == Some(wanted),
            (Some(_), None) => false,
            (None, None) => true,
        };
        self.actual.is_shared_with(desired) || InStep::new(&self.actual, desired).all(suits)
    }
}

/// What to change on a server.
#[derive(Debug)]
pub struct Changes {
    /// In their order.
    pub list: Vec<Change>,
    /// How many of them go ahead of the others.
    pub first: usize,
    /// All that the client wants is set then, and nothing of it is there by default.
    pub whole: bool,
    /// If they set nothing but what the client wants, in order of name: which of it, of its first 64 settings.
    pub part: Option<u64>,
}

/// The settings of two maps side by side, in order of name.
struct InStep<'a> {
    one: &'a [Setting],
    other: &'a [Setting],
}

impl<'a> InStep<'a> {
    fn new(one: &'a Settings, other: &'a Settings) -> Self {
        Self { one: &one.entries, other: &other.entries }
    }
}

impl<'a> Iterator for InStep<'a> {
    type Item = (Option<&'a Setting>, Option<&'a Setting>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.one.first(), self.other.first()) {
            (Some((one, _)), Some((other, _))) if Arc::ptr_eq(one, other) => Ordering::Equal,
            (Some((one, _)), Some((other, _))) => compare(one, other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let next = |side: &mut &'a [Setting], takes: bool| {
            side.split_first().filter(|_| takes).map(|(first, rest)| {
                *side = rest;
                first
            })
        };
        Some((next(&mut self.one, order.is_le()), next(&mut self.other, order.is_ge())))
    }
}

/// Whether a reported name can be set at all; the others only tell what the server is.
pub fn is_settable(name: &str) -> bool {
    !READ_ONLY.iter().any(|n| name.eq_ignore_ascii_case(n))
}

/// Whether a statement must not run before the server has confirmed this name: under another
/// client's value it would see another tenant's rows or other objects.
pub fn is_fail_closed(name: &str) -> bool {
    name.contains('.') || FAIL_CLOSED.iter().any(|n| name.eq_ignore_ascii_case(n))
}

/// Whether a client may have set this under a role with more rights than its own (`superuser` settings, and what is
/// called like them). `RESET ALL` resets it without them.
pub fn may_need_a_role(name: &str) -> bool {
    let begins = |with: &&str| name.get(..with.len()).is_some_and(|n| n.eq_ignore_ascii_case(with));
    SUPERUSERS_LIKE.iter().any(begins) || SUPERUSERS.iter().any(|n| name.eq_ignore_ascii_case(n))
}

const SUPERUSERS_LIKE: [&str; 6] = ["allow_", "debug_", "jit_", "log_", "track_", "wal_"];

const SUPERUSERS: [&str; 14] = [
    "backtrace_functions",
    "commit_delay",
    "compute_query_id",
    "deadlock_timeout",
    "dynamic_library_path",
    "ignore_checksum_failure",
    "lc_messages",
    "lo_compat_privileges",
    "max_stack_depth",
    "session_preload_libraries",
    "session_replication_role",
    "temp_file_limit",
    "update_process_title",
    "zero_damaged_pages",
];

const READ_ONLY: [&str; 6] = [
    "is_superuser",
    "session_authorization",
    "server_version",
    "server_encoding",
    "integer_datetimes",
    "in_hot_standby",
];

const FAIL_CLOSED: [&str; 6] = [
    "search_path",
    "role",
    "row_security",
    "session_replication_role",
    "default_transaction_read_only",
    // A server that has had temporary tables refuses it.
    "temp_buffers",
];

/// Appends Bind and Execute of changes, which are made in their order. Bound values need no quoting,
/// whatever the server's string settings are.
pub fn write_changes(out: &mut BytesMut, statement: &str, changes: &[Change]) {
    bind_changes(out, "", statement, changes);
    build::execute(out);
}

/// The same by a statement that takes each name and each value as a parameter of its own.
pub fn write_few_changes(out: &mut BytesMut, statement: &str, changes: &[Change]) {
    let mut parameters = [None; 2 * MAX_FEW];
    for (pair, change) in parameters.chunks_exact_mut(2).zip(changes) {
        pair.copy_from_slice(&[Some(change.name.as_bytes()), change.value.as_deref()]);
    }
    build::bind_text(out, "", statement, &parameters[..2 * changes.len().min(MAX_FEW)]);
    build::execute(out);
}

/// So many changes are few.
pub const MAX_FEW: usize = 4;

/// Bind of one of pgweir's own statements to a portal, for an array of names and one of values.
pub fn bind_changes(out: &mut BytesMut, portal: &str, statement: &str, changes: &[Change]) {
    let names = changes.iter().map(|change| Some(change.name.as_bytes()));
    let values = changes.iter().map(|change| change.value.as_deref());
    build::bind_arrays(out, portal, statement, names, values);
}

/// Settings that many clients may have the same of.
const SMALL: usize = 64;
/// See [`SMALL`].
const SMALL_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut s = Settings::default();
        for (name, value) in pairs {
            s.set(name, value.as_bytes());
        }
        s
    }

    fn change(name: &str, value: &str) -> Change {
        Change { name: name.into(), value: Some(value.as_bytes().into()) }
    }

    fn changes(
        server: &mut ServerSettings,
        desired: &[(&str, &str)],
    ) -> Vec<(String, Option<String>)> {
        let text = |v: Arc<[u8]>| String::from_utf8(v.to_vec()).unwrap();
        let suits = server.suits(&settings(desired));
        let changes = server.changes_to(&mut settings(desired)).list;
        assert_eq!(suits, changes.is_empty(), "{desired:?}");
        changes.into_iter().map(|c| (c.name.to_string(), c.value.map(text))).collect()
    }

    #[test]
    fn the_limit_of_an_idle_session_is_read_in_each_unit() {
        for (value, millis) in [
            ("0", None),
            ("500", Some(500)),
            ("25ms", Some(25)),
            ("3s", Some(3_000)),
            ("2min", Some(120_000)),
            ("x", None),
        ] {
            let shown = settings(&[("idle_session_timeout", value)]).idle_session_timeout();
            assert_eq!(shown, millis.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn names_have_no_case() {
        let mut s = settings(&[("TimeZone", "UTC"), ("b", "1")]);
        assert_eq!(s.get("timezone"), Some(&b"UTC"[..]));
        assert!(s.set("TIMEZONE", b"Asia/Tokyo"));
        assert!(!s.set("timezone", b"Asia/Tokyo"));
        assert!(s.remove("B"));
        assert_eq!(s.iter().count(), 1);
    }

    #[test]
    fn what_is_the_same_is_shared_until_it_changes() {
        let (mut a, mut b) = (settings(&[("x", "1")]), settings(&[("x", "1")]));
        assert!(a.unify(&mut b) && a.is_shared_with(&b));
        assert!(b.set("x", b"2") && !a.unify(&mut b));
        assert_eq!(a.get("x"), Some(&b"1"[..]));
    }

    #[test]
    fn clients_that_use_one_server_in_turn_come_to_share() {
        let [mut server, mut one, mut two] = [0; 3].map(|_| settings(&[("x", "1")]));
        for _ in 0..2 {
            assert!(one.unify(&mut server) && two.unify(&mut server));
        }
        assert!(one.is_shared_with(&two));
    }

    #[test]
    fn room_is_for_so_many_names_and_bytes() {
        let room = Room { names: 2, bytes: 10 };
        let mut s = settings(&[("ab", "123")]);
        for (name, value, fits) in [
            ("cd", "123", true),
            ("cd", "1234", false),
            ("AB", "12345678", true),
            ("ab", "123456789", false),
        ] {
            assert_eq!(s.has_room(name, value.as_bytes(), room), fits, "{name}={value}");
        }
        s.set("c", b"");
        assert!(s.has_room("C", b"1234", room) && !s.has_room("d", b"", room));
    }

    #[test]
    fn only_differences_are_sent() {
        let mut server = ServerSettings::at_login(settings(&[("TimeZone", "UTC"), ("x", "0")]));
        assert!(changes(&mut server, &[]).is_empty());
        assert!(changes(&mut server, &[("timezone", "UTC")]).is_empty());
        let tokyo = ("TimeZone".to_owned(), Some("Tokyo".to_owned()));
        assert_eq!(changes(&mut server, &[("TimeZone", "Tokyo")]), [tokyo]);
        server.on_parameter_status("TimeZone", b"Tokyo").unwrap();
        assert!(changes(&mut server, &[("timezone", "Tokyo")]).is_empty());
        assert_eq!(changes(&mut server, &[]), [("TimeZone".to_owned(), None)]);
        server.on_parameter_status("TimeZone", b"UTC").unwrap();
        server.on_set(&change("work_mem", "7MB"), b"7MB");
        assert_eq!(changes(&mut server, &[]), [("work_mem".to_owned(), None)]);
        server.on_reset_all();
        assert!(changes(&mut server, &[]).is_empty());
    }

    #[test]
    fn what_a_client_has_of_its_own_is_a_part_of_what_it_wants() {
        let wanted = [("application_name", "x"), ("lock_timeout", "2s"), ("work_mem", "2MB")];
        for (has, part) in [
            (vec![], Some(0b111)),
            (vec![("application_name", "x"), ("lock_timeout", "1s")], Some(0b110)),
            (vec![("application_name", "x"), ("work_mem", "2MB")], Some(0b010)),
            (vec![("application_name", "x"), ("jit", "off")], None),
            (vec![("lock_timeout", "10ms")], None),
        ] {
            let mut server = ServerSettings::default();
            server.on_changed(settings(&has));
            assert_eq!(server.changes_to(&mut settings(&wanted)).part, part, "{has:?}");
        }
        let role = &mut settings(&[("role", "r")]);
        assert_eq!(ServerSettings::default().changes_to(role).part, None);
    }

    #[test]
    fn a_timeout_under_a_second_is_short() {
        for (shown, short) in
            [("1ms", true), ("999ms", true), ("1500ms", false), ("1s", false), ("0", false)]
        {
            assert_eq!(is_short(shown.as_bytes()), short, "{shown}");
        }
    }

    #[test]
    fn role_is_reset_first_and_set_last() {
        let mut server = ServerSettings::default();
        let order =
            |c: Vec<(String, Option<String>)>| c.into_iter().map(|c| c.0).collect::<Vec<_>>();
        let wanted = [("a", "1"), ("role", "r"), ("z", "2")];
        assert_eq!(order(changes(&mut server, &wanted)), ["a", "z", "role"]);
        server.on_set(&change("role", "r"), b"r");
        assert_eq!(order(changes(&mut server, &[("a", "1")])), ["role", "a"]);
    }
}
