//! The sources of settings, one above the other: flags over environment over file.
//!
//! Owns: which source a setting came from, so that an error can say so. Each layer is checked for
//! its shape by itself, so their merger has the right shape too.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::Deserializer;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, Origin};
use super::keys;
use super::raw::Raw;

/// One source of settings.
pub(super) struct Layer {
    from: From,
    table: Table,
}

/// What kind of source.
pub(super) enum From {
    File {
        path: PathBuf,
        text: String,
    },
    /// A connection string, from a flag or a variable.
    Upstream(Origin),
    Environment,
    Flags,
    /// Made while pgweir runs.
    Change,
}

/// All sources, the weakest first.
#[derive(Default)]
pub(super) struct Layers(Vec<Layer>);

impl Layer {
    /// The layer of a file's text.
    pub(super) fn file(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        let parsed = toml::Deserializer::parse(&text).map_err(|error| syntax(&path, &text, &error));
        check_shape(parsed?).map_err(|(key, error)| ConfigError::Shape {
            origin: Origin::File(path.clone(), error.span().map(|span| line_of(&text, &span))),
            message: said(&key, &error),
            key,
        })?;
        let table = text.parse().map_err(|error| syntax(&path, &text, &error))?;
        Ok(Self { from: From::File { path, text }, table })
    }

    /// The layer of settings that were put together from elsewhere.
    pub(super) fn of(from: From, table: Table) -> Result<Self, ConfigError> {
        let layer = Self { from, table };
        check_shape(layer.table.clone()).map_err(|(key, error)| ConfigError::Shape {
            origin: layer.origin(&names(&key)),
            message: said(&key, &error),
            key,
        })?;
        Ok(layer)
    }

    /// The settings as they stand.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    fn origin(&self, path: &[&str]) -> Origin {
        match &self.from {
            From::File { path: file, text } => Origin::File(file.clone(), find_line(text, path)),
            From::Upstream(origin) => origin.clone(),
            From::Environment => Origin::Variable(variable(&self.first_key(path))),
            From::Flags => Origin::Flag(flag(path)),
            From::Change => Origin::Change,
        }
    }

    /// `path`, or the first key that is set there if it is a section: no variable is a whole one.
    fn first_key<'p>(&'p self, path: &[&'p str]) -> Vec<&'p str> {
        let section = lookup(&self.table, path).and_then(Value::as_table);
        let first = section.and_then(|section| section.keys().next());
        path.iter().copied().chain(first.map(String::as_str)).collect()
    }

    /// Whether it says something about `path`.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        lookup(&self.table, path).is_some()
    }
}

impl Layers {
    /// Puts `layer` above the others.
    pub(super) fn push(&mut self, layer: Layer) {
        self.0.push(layer);
    }

    /// Where the setting at `path` comes from; a path that no layer has is sought by its parents,
    /// so that a missing key is reported at its table.
    pub(super) fn origin(&self, path: &[&str]) -> Origin {
        let mut path = path;
        while !path.is_empty() {
            if let Some(layer) = self.top(path) {
                return layer.origin(path);
            }
            path = path.split_last().map_or(&[], |(_, parents)| parents);
        }
        Origin::Default
    }

    /// Whether `path` was changed while pgweir runs.
    pub(super) fn is_changed(&self, path: &[&str]) -> bool {
        self.top(path).is_some_and(|layer| matches!(layer.from, From::Change))
    }

    /// The file that the setting at `path` comes from. Which line of it takes reading it anew.
    pub(super) fn file(&self, path: &[&str]) -> Option<&std::path::Path> {
        match &self.top(path)?.from {
            From::File { path, .. } => Some(path),
            _ => None,
        }
    }

    fn top(&self, path: &[&str]) -> Option<&Layer> {
        self.0.iter().rev().find(|layer| layer.has(path))
    }

    /// Whether any source says something about `path`.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.0.iter().any(|layer| layer.has(path))
    }

    /// What all sources say together.
    pub(super) fn merged(&self) -> Result<Raw, ConfigError> {
        let mut merged = Table::new();
        for layer in &self.0 {
            overlay(&mut merged, &layer.table);
        }
        check_shape(merged).map_err(|(key, error)| ConfigError::Shape {
            origin: self.origin(&names(&key)),
            message: said(&key, &error),
            key,
        })
    }
}

/// The names of which a path consists: those of `classes[0].weight` are `classes`, `0` and `weight`.
fn names(path: &str) -> Vec<&str> {
    path.split(['.', '[', ']']).filter(|name| !name.is_empty()).collect()
}

/// Lays `above` over `below`: key by key in sections, and each user and database as a whole, since
/// half of one and half of another would be a third that nobody wrote.
fn overlay(below: &mut Table, above: &Table) {
    for (name, value) in above {
        match (below.get_mut(name), value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                forget_other_passwords(old, new);
                old.extend(new.clone());
            }
            _ => {
                below.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A password given by one source replaces one given another way by a source below it.
fn forget_other_passwords(old: &mut Table, new: &Table) {
    const WAYS: [[&str; 3]; 2] = [
        ["query_password", "query_password_env", "query_password_file"],
        ["http_token", "http_token_env", "http_token_file"],
    ];
    for ways in WAYS {
        if ways.iter().any(|way| new.contains_key(*way)) {
            for way in ways {
                old.remove(way);
            }
        }
    }
}

/// Reads settings from any deserializer; an error comes with the key it is about.
fn check_shape<'de, D>(source: D) -> Result<Raw, (String, toml::de::Error)>
where
    D: Deserializer<'de, Error = toml::de::Error>,
{
    let mut track = serde_path_to_error::Track::new();
    Raw::deserialize(serde_path_to_error::Deserializer::new(source, &mut track))
        .map_err(|error| (track.path().to_string(), error))
}

/// What is wrong with the value of a key. Where a table belongs that may hold a password, the value is not shown: it
/// may be the password.
fn said(key: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let section = names(key).first().copied().unwrap_or_default();
    let holds_secrets = ["users", "databases", "auth", "admin"].contains(&section);
    let parts = ["invalid type: ", "invalid value: "].into_iter().find_map(|start| {
        let (value, expected) = message.strip_prefix(start)?.rsplit_once(", expected ")?;
        let kind = value.split([' ', '`']).next().unwrap_or_default();
        // The type's name says nothing to those who write the file.
        let is_table = expected == "a map" || expected.starts_with("struct ");
        let value = if is_table && holds_secrets { kind } else { value };
        Some((start, value, if is_table { "a table" } else { expected }))
    });
    match parts {
        Some((start, value, expected)) => format!("{start}{value}, expected {expected}"),
        None => message.to_owned(),
    }
}

fn syntax(path: &std::path::Path, text: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::Syntax {
        origin: Origin::File(path.to_owned(), error.span().map(|span| line_of(text, &span))),
        // The parser's Display shows the line itself, which may hold a password.
        message: error.message().to_owned(),
    }
}

fn lookup<'t>(table: &'t Table, path: &[&str]) -> Option<&'t Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, name| match value {
        Value::Table(table) => table.get(*name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn find_line(text: &str, path: &[&str]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?.into_inner();
    let (first, rest) = path.split_first()?;
    let (key, value) = root.get_key_value(*first)?;
    let (mut span, mut value) = (key.span(), value);
    for name in rest {
        match value.get_ref() {
            DeValue::Table(table) => {
                let (key, inner) = table.get_key_value(*name)?;
                (span, value) = (key.span(), inner);
            }
            DeValue::Array(list) => {
                value = list.get(name.parse::<usize>().ok()?)?;
                span = value.span();
            }
            _ => return None,
        }
    }
    Some(line_of(text, &span))
}

fn variable(path: &[&str]) -> String {
    format!("PGWEIR_{}", path.join("_")).to_ascii_uppercase()
}

fn flag(path: &[&str]) -> &'static str {
    let key = match path {
        [name] => keys::find("", name),
        [section, name, ..] => keys::find(section, name),
        [] => None,
    };
    key.and_then(|key| key.flag).unwrap_or("flags")
}
