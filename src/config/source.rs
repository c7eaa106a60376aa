//! Loading: every source is read, laid over the weaker ones, and built into a [`Config`].
//!
//! A [`Source`] is kept by whoever reloads: loading again reads the files again, with the same
//! flags and environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::build;
use super::context::key_text;
use super::dsn::Dsn;
use super::env::{self, Environment};
use super::error::{ConfigError, Origin};
use super::flags::Flags;
use super::keys;
use super::layers::{From, Layer, Layers};
use super::model::Config;
use super::watched::Watched;

/// Where the settings are: flags over environment over file over defaults. `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub struct Source {
    flags: Flags,
    env: Environment,
    text: Option<String>,
    /// The file, if it was read to be kept.
    kept: Option<(PathBuf, String)>,
}

/// A configuration and what its reader should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What is allowed and still looks like a slip, one sentence each.
    pub warnings: Vec<String>,
    /// Files that it names.
    pub files: Vec<Watched>,
}

/// Settings that were changed while pgweir runs, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// Overrides one setting, whose value is checked when it is loaded; `false` if there is none of that name.
    pub fn set(&mut self, key: &str, value: &str) -> bool {
        let is_key = keys::by_path(key).is_some();
        if is_key {
            self.0.insert(key.to_owned(), value.to_owned());
        }
        is_key
    }

    /// Takes a change back.
    pub fn reset(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Whether a setting is changed.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        for (path, text) in &self.0 {
            if let Some(key) = keys::by_path(path) {
                env::insert(&mut table, key, env::value(key.kind, text));
            }
        }
        table
    }
}

impl Source {
    /// Settings from these flags and this environment, and the file that they name.
    pub fn new(flags: Flags, env: Environment) -> Self {
        Self { flags, env, ..Self::default() }
    }

    /// Settings from a text in the file's format, and from nowhere else.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// The file that is read, if one is named.
    pub fn file(&self) -> Result<Option<PathBuf>, ConfigError> {
        match &self.flags.config {
            Some(path) => Ok(Some(path.clone())),
            None => Ok(self.env.text(env::CONFIG)?.map(PathBuf::from)),
        }
    }

    /// Reads everything anew.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(&Overrides::default())
    }

    /// Reads everything anew, with what was changed since on top of it.
    pub fn load_with(&self, overrides: &Overrides) -> Result<Loaded, ConfigError> {
        let mut layers = self.layers()?;
        layers.push(Layer::of(From::Change, overrides.table())?);
        build::config(&layers, &self.env)
    }

    /// The error for the setting at `path`, which could not be put to use; it says where the setting
    /// comes from.
    pub fn unusable(&self, path: &[&str], message: String) -> ConfigError {
        let origin = match self.layers() {
            Ok(layers) => layers.origin(path),
            Err(error) => return error,
        };
        ConfigError::Unusable { origin, key: key_text(path), message }
    }

    /// The same with its file as it is now, whatever that becomes.
    pub fn read(&self) -> Result<Self, ConfigError> {
        let mut read = Self { kept: None, ..self.clone() };
        if let (None, Some(path)) = (&self.text, self.file()?) {
            let text = read_file(&path)?;
            read.kept = Some((path, text));
        }
        Ok(read)
    }

    fn layers(&self) -> Result<Layers, ConfigError> {
        let mut layers = Layers::default();
        let mut named = BTreeSet::new();
        if let Some(file) = self.file_layer()? {
            named = named_variables(file.table());
            layers.push(file);
        }
        let settings = Layer::of(From::Environment, self.env.settings(&named)?)?;
        let (flag, variable) = self.upstreams()?;
        // Whoever says where users are looked up means there and nowhere else.
        let says_where = |key: &&str| layers.has(&["auth", key]) || settings.has(&["auth", key]);
        let control = !["userlist", "query_user"].iter().any(says_where);
        if let Some(text) = variable.filter(|_| flag.is_none()) {
            let origin = Origin::Variable(env::UPSTREAM.to_owned());
            layers.push(upstream(origin, text, control)?);
        }
        layers.push(settings);
        if let Some(text) = flag {
            layers.push(upstream(Origin::Flag("--upstream"), text, control)?);
        }
        layers.push(Layer::of(From::Flags, self.flags.settings())?);
        Ok(layers)
    }

    fn upstreams(&self) -> Result<(Option<&str>, Option<&str>), ConfigError> {
        let variable = self.env.text(env::UPSTREAM)?;
        Ok((self.flags.upstream.as_deref(), variable))
    }

    fn file_layer(&self) -> Result<Option<Layer>, ConfigError> {
        if let Some(text) = &self.text {
            return Layer::file(PathBuf::from("text"), text.clone()).map(Some);
        }
        if let Some((path, text)) = self.kept.clone() {
            return Layer::file(path, text).map(Some);
        }
        let Some(path) = self.file()? else {
            return Ok(None);
        };
        let text = read_file(&path)?;
        Layer::file(path, text).map(Some)
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })
}

/// The variables that the file points to, which are therefore no slips of the pen.
fn named_variables(table: &Table) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => named.extend(named_variables(inner)),
            Value::String(name) if key.ends_with("_env") => {
                named.insert(name.clone());
            }
            _ => {}
        }
    }
    named
}

/// The settings that a connection string stands for: its database, its user, and, if `control`, the
/// same user for looking others up.
fn upstream(origin: Origin, text: &str, control: bool) -> Result<Layer, ConfigError> {
    let dsn = Dsn::parse(text)
        .map_err(|source| ConfigError::Upstream { origin: origin.clone(), source })?;
    let mut table = Table::new();
    table.insert("databases".into(), one(&dsn.dbname, database(&dsn)));
    table.insert("users".into(), one(&dsn.user, user(&dsn)));
    if control {
        table.insert("auth".into(), lookups(&dsn).into());
    }
    Layer::of(From::Upstream(origin), table)
}

fn one(name: &str, inner: Table) -> Value {
    Value::Table(Table::from_iter([(name.to_owned(), inner.into())]))
}

fn database(dsn: &Dsn) -> Table {
    let mut table = Table::new();
    table.insert("host".into(), dsn.host.clone().into());
    table.insert("port".into(), i64::from(dsn.port).into());
    if let Some(mode) = dsn.tls.and_then(|mode| Value::try_from(mode).ok()) {
        table.insert("tls".into(), mode);
    }
    if let Some(ca) = &dsn.ca {
        table.insert("ca".into(), ca.to_string_lossy().into_owned().into());
    }
    if let Some(mode) = dsn.channel_binding.and_then(|mode| Value::try_from(mode).ok()) {
        table.insert("channel_binding".into(), mode);
    }
    table
}

fn user(dsn: &Dsn) -> Table {
    let mut table = Table::new();
    if let Some(password) = &dsn.password {
        table.insert("password".into(), password.reveal().into());
        table.insert("server_password".into(), password.reveal().into());
    }
    table
}

fn lookups(dsn: &Dsn) -> Table {
    let mut table = Table::new();
    table.insert("query_user".into(), dsn.user.clone().into());
    if let Some(password) = &dsn.password {
        table.insert("query_password".into(), password.reveal().into());
    }
    table
}
