//! Settings from the environment: `PGWEIR_<SECTION>_<KEY>`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::keys::{KEYS, Key, Kind};

/// The connection string of the one database.
pub(super) const UPSTREAM: &str = "PGWEIR_UPSTREAM";
/// The path of the file.
pub(super) const CONFIG: &str = "PGWEIR_CONFIG";

const PREFIX: &str = "PGWEIR_";

/// Names with our prefix that others set: the test harness, and container engines, which describe a
/// service called `pgweir` to all its neighbours (`PGWEIR_PORT_6432_TCP_ADDR`).
const FOREIGN: [&str; 6] = [
    "PGWEIR_PG_BIN",
    "PGWEIR_TEST_",
    "PGWEIR_STORM_",
    "PGWEIR_SERVICE_",
    "PGWEIR_PORT",
    "PGWEIR_NAME",
];

/// A copy of the environment. `Debug` prints names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let readable =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Self(std::env::vars_os().filter_map(readable).collect())
    }

    /// The text of the variable `name`; an empty one is as good as none, since compose files write
    /// an unset variable so.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let text = value.to_str().ok_or_else(|| ConfigError::Value {
            origin: Origin::Variable(name.to_owned()),
            key: name.to_owned(),
            problem: "its bytes are not UTF-8".to_owned(),
            expected: "UTF-8 text".to_owned(),
        })?;
        Ok(Some(text))
    }

    /// All settings it holds, as a file would. `named` are variables that the file points to.
    pub(super) fn settings(&self, named: &BTreeSet<String>) -> Result<Table, ConfigError> {
        let mut table = Table::new();
        for name in self.0.keys().filter(|name| name.starts_with(PREFIX)) {
            let key = KEYS.iter().find(|key| key.variable() == *name);
            match (key, self.text(name)?) {
                (Some(key), Some(text)) => insert(&mut table, key, value(key.kind, text)),
                (Some(_), None) => {}
                (None, _) if is_known(name, named) => {}
                (None, _) => return Err(ConfigError::UnknownVariable { name: name.clone() }),
            }
        }
        Ok(table)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, text)| (name, text.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = self.0.keys().filter(|name| name.starts_with(PREFIX));
        f.debug_set().entries(ours).finish()
    }
}

/// Puts a value at its key.
pub(super) fn insert(table: &mut Table, key: &Key, value: Value) {
    if key.section.is_empty() {
        table.insert(key.name.to_owned(), value);
        return;
    }
    let section = table.entry(key.section).or_insert_with(|| Table::new().into());
    if let Value::Table(section) = section {
        section.insert(key.name.to_owned(), value);
    }
}

/// A text that is not of its kind stays a text, and the shape check says what it should be.
pub(super) fn value(kind: Kind, text: &str) -> Value {
    let as_text = || Value::from(text);
    match kind {
        Kind::Text | Kind::Secret | Kind::Duration => as_text(),
        Kind::Number => text.trim().parse().map_or_else(|_| as_text(), Value::Integer),
        Kind::Switch => text.trim().parse().map_or_else(|_| as_text(), Value::Boolean),
        Kind::List => Value::Array(text.split(',').map(|item| item.trim().into()).collect()),
    }
}

fn is_known(name: &str, named: &BTreeSet<String>) -> bool {
    name == UPSTREAM
        || name == CONFIG
        || named.contains(name)
        || FOREIGN.iter().any(|foreign| name.starts_with(foreign))
}
