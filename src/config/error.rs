//! Why a configuration is refused: where it stands, which key, and what was expected there.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::dsn::DsnError;

/// Why a configuration is refused. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file itself.
    #[error("{}: the configuration file cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// File and line.
        origin: Origin,
        /// What the parser met and expected.
        message: String,
    },
    /// A key that does not exist, or a value of the wrong shape.
    #[error("{origin}: {key}: {message}")]
    Shape {
        /// Where the key stands.
        origin: Origin,
        /// The key with its section.
        key: String,
        /// What was found and expected.
        message: String,
    },
    /// A value of the right shape that cannot be.
    #[error("{origin}: {key}: {problem}; expected {expected}")]
    Value {
        /// Where the key stands.
        origin: Origin,
        /// The key with its section.
        key: String,
        /// What is wrong.
        problem: String,
        /// What would be right.
        expected: String,
    },
    /// A value that reads well and could not be put to use.
    #[error("{origin}: {key}: {message}")]
    Unusable {
        /// Where the key stands.
        origin: Origin,
        /// The key with its section.
        key: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A variable with pgweir's prefix that is none of its own.
    #[error(
        "environment: {name} is no setting of pgweir; expected PGWEIR_<SECTION>_<KEY>, such as \
         PGWEIR_LIMITS_MAX_SERVERS (docs/configuration.md lists them all)"
    )]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// A connection string that cannot be used.
    #[error("{origin}: {source}")]
    Upstream {
        /// The flag or variable.
        origin: Origin,
        /// Why.
        source: DsnError,
    },
    /// Nothing to connect to.
    #[error(
        "no database is configured: name one with --upstream postgres://user@host:5432/dbname, \
         with its password too in the environment as PGWEIR_UPSTREAM, or as [databases.NAME] in a \
         file given by --config FILE"
    )]
    NoDatabase,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, and the line if it is known.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
    /// A change while pgweir runs.
    Change,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment: {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Change => f.write_str("change"),
            Self::Default => f.write_str("default"),
        }
    }
}
