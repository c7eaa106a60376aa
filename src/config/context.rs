//! What building a configuration needs at hand: where each setting came from, the environment, the
//! files that settings name, and the warnings so far.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::env::Environment;
use super::error::ConfigError;
use super::layers::Layers;
use super::secret::Password;
use super::watched::Watched;

/// Largest file read whole: far above any list of users.
const MAX_FILE: u64 = 64 << 20;
/// Lets everyone on the machine read.
const WORLD_READABLE: u32 = 0o004;

/// See the module.
pub(super) struct Context<'a> {
    pub layers: &'a Layers,
    pub env: &'a Environment,
    pub warnings: Vec<String>,
    pub files: Vec<Watched>,
}

/// The ways to give one password, and the key of each.
pub(super) struct Ways<'a> {
    pub table: &'a [&'a str],
    pub key: &'static str,
    pub text: Option<Password>,
    pub env: Option<String>,
    pub file: Option<PathBuf>,
}

impl Context<'_> {
    /// The error for a value that cannot be.
    pub(super) fn bad(
        &self,
        path: &[&str],
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            origin: self.layers.origin(path),
            key: key_text(path),
            problem: problem.into(),
            expected: expected.into(),
        }
    }

    /// The password given in one of three ways.
    pub(super) fn password(&mut self, ways: Ways<'_>) -> Result<Option<Password>, ConfigError> {
        let given = [ways.text.is_some(), ways.env.is_some(), ways.file.is_some()];
        let key = ways.key;
        let at = |suffix: &str| format!("{key}{suffix}");
        if given.into_iter().filter(|given| *given).count() > 1 {
            let expected = format!("one of {key}, {key}_env and {key}_file");
            return Err(self.bad(&join(ways.table, key), "given in two ways", expected));
        }
        if let Some(name) = ways.env {
            return self.read_variable(&join(ways.table, &at("_env")), &name);
        }
        if let Some(file) = ways.file {
            return self.read_file(&join(ways.table, &at("_file")), &file);
        }
        let path = join(ways.table, key);
        if ways.text.is_some()
            && let Some(file) = self.layers.file(&path)
        {
            self.warn_if_open(file);
        }
        ways.text.map(|text| self.usable(&path, text)).transpose()
    }

    fn read_variable(&self, path: &[&str], name: &str) -> Result<Option<Password>, ConfigError> {
        let text = self.env.text(name)?;
        let text = text.ok_or_else(|| {
            let problem = format!("the environment variable {name} is not set");
            self.bad(path, problem, "a variable that holds the password")
        })?;
        self.usable(path, Password::new(text)).map(Some)
    }

    fn read_file(&mut self, path: &[&str], file: &Path) -> Result<Option<Password>, ConfigError> {
        let text = Password::new(self.read(path, file)?);
        self.warn_if_open(file);
        // Editors and `echo` end a file with a newline, which is no part of a password.
        let password = text.reveal().trim_end_matches(['\r', '\n']);
        self.usable(path, Password::new(password)).map(Some)
    }

    fn usable(&self, path: &[&str], password: Password) -> Result<Password, ConfigError> {
        if password.reveal().is_empty() {
            return Err(self.bad(path, "the password is empty", "at least one character"));
        }
        if password.reveal().contains('\0') {
            let problem = "the password has a zero byte in it";
            return Err(self.bad(path, problem, "a text that PostgreSQL can take"));
        }
        Ok(password)
    }

    /// The text of a file that a setting names.
    pub(super) fn read(&mut self, path: &[&str], file: &Path) -> Result<String, ConfigError> {
        self.files.push(Watched::new(file));
        let read = || {
            let size = std::fs::metadata(file)?.len();
            if size > MAX_FILE {
                return Err(io::Error::other(format!("{size} bytes are too much")));
            }
            std::fs::read_to_string(file)
        };
        read().map_err(|error| self.unreadable(path, file, &error))
    }

    /// The error for a file that cannot be read.
    pub(super) fn unreadable(&self, path: &[&str], file: &Path, error: &io::Error) -> ConfigError {
        let problem = format!("{} cannot be read: {error}", file.display());
        self.bad(path, problem, "a file that pgweir's user may read")
    }

    /// Warns, once per file, if everyone on the machine can read the secrets in `file`.
    pub(super) fn warn_if_open(&mut self, file: &Path) {
        let mode = std::fs::metadata(file).map(|data| data.permissions().mode());
        if mode.is_ok_and(|mode| mode & WORLD_READABLE != 0) {
            let file = file.display();
            self.warn(format!(
                "{file} holds secrets and every user of this machine can read it: chmod 640 {file}"
            ));
        }
    }

    /// Adds a warning, once.
    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// `key` under `table`.
pub(super) fn join<'k>(table: &[&'k str], key: &'k str) -> Vec<&'k str> {
    let mut path = table.to_vec();
    path.push(key);
    path
}

/// A key as it is written in the file, with quotes where a name needs them. An entry of a list is
/// counted from 0.
pub(super) fn key_text(path: &[&str]) -> String {
    if let [list @ ("classes" | "warm"), at, rest @ ..] = path {
        let entry = format!("{list}[{at}]");
        return [&[entry.as_str()], rest].concat().join(".");
    }
    let is_bare = |name: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        !name.is_empty() && name.bytes().all(allowed)
    };
    let quoted = |name: &&str| {
        if is_bare(name) { (*name).to_owned() } else { format!("{name:?}") }
    };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}
