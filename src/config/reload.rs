//! What a reload changes: the difference of two configurations.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::keys::{self, Reload};
use super::model::{Config, LogConfig};
use super::render;

/// The keys that differ, by what becomes of them. No values: some are secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// These hold from now on.
    pub live: Vec<String>,
    /// These need a restart; the old values stay until then.
    pub restart: Vec<String>,
}

impl Changes {
    /// Whether the two were the same.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

/// The configuration to run with from now on, `new` but for what needs a restart, and what changed.
///
/// Files that settings name (certificates, keys) are not compared: whoever uses them reads them
/// again at every reload.
pub fn reload(old: &Config, new: Config) -> (Config, Changes) {
    let changes = diff(old, &new);
    let next = Config {
        listen: old.listen.clone(),
        http_listen: old.http_listen,
        workers: old.workers,
        reuse_port: old.reuse_port,
        log: LogConfig { json: old.log.json, ..new.log },
        ..new
    };
    (next, changes)
}

/// What differs between `old` and `new`: settings by key, users and databases by name.
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    let (before, after) = (render::table(old), render::table(new));
    for path in settings_that_differ(&before, &after) {
        match keys::by_path(&path).map(|key| key.reload) {
            Some(Reload::Restart) => changes.restart.push(path),
            Some(Reload::Live) | None => changes.live.push(path),
        }
    }
    // Rendered, two secrets look alike.
    let password = |config: &Config| config.auth.query.as_ref()?.password.clone();
    let key = "auth.query_password".to_owned();
    if password(old) != password(new) && !changes.live.contains(&key) {
        changes.live.push(key);
    }
    let key = "admin.http_token".to_owned();
    if old.admin.http_token != new.admin.http_token && !changes.live.contains(&key) {
        changes.live.push(key);
    }
    let live = &mut changes.live;
    live.extend(entries_that_differ("users", &old.users, &new.users));
    live.extend(entries_that_differ("databases", &old.databases, &new.databases));
    if old.fallback != new.fallback {
        live.push("databases.\"*\"".to_owned());
    }
    changes
}

fn settings_that_differ(before: &Table, after: &Table) -> BTreeSet<String> {
    let (before, after) = (flat(before), flat(after));
    let paths = before.keys().chain(after.keys());
    paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// The settings outside the named tables, by path.
fn flat(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    let sections = table.iter();
    for (name, value) in
        sections.filter(|(name, _)| !["users", "databases"].contains(&name.as_str()))
    {
        match value {
            Value::Table(section) => {
                let settings = section.iter();
                flat.extend(settings.map(|(key, value)| (format!("{name}.{key}"), value.clone())));
            }
            value => {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
    flat
}

fn entries_that_differ<T: PartialEq>(
    table: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| format!("{table}.{name}"))
        .collect()
}
