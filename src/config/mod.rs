//! Typed settings, parsed once into valid values.
//!
//! Owns: the shape of the configuration ([`Config`]), its defaults, its sources ([`Source`]: flags
//! over environment over file over defaults) and what a reload changes ([`reload`]). Invariant: a
//! [`Config`] that was loaded is valid; nothing downstream checks a setting again. No error, warning
//! or `Debug` output of this module holds a secret.
//!
//! The reference of all settings is `docs/configuration.md`; [`KEYS`] is the same list for programs.

mod build;
mod classes;
mod context;
mod dsn;
mod env;
mod error;
mod flags;
mod keys;
mod layers;
mod model;
mod raw;
mod reload;
mod render;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod trusted;
mod units;
mod validate;
mod warm;
mod watched;

pub use self::build::{DEFAULT_AUTH_QUERY, DEFAULT_HTTP_LISTEN, DEFAULT_LISTEN};
pub use self::classes::guaranteed;
pub use self::dsn::{Dsn, DsnError};
pub use self::env::Environment;
pub use self::error::{ConfigError, Origin};
pub use self::flags::Flags;
pub use self::keys::{CLASS_KEYS, DATABASE_KEYS, KEYS, Key, Kind, Reload, USER_KEYS, WARM_KEYS};
pub use self::model::{
    AdminConfig, AuthConfig, AuthMethod, AuthQuery, CONSOLE, ChannelBindingMode, ClientTls,
    ClientTlsMode, Config, Database, Limits, ListenAddr, LogConfig, OnClientGone, PinsConfig,
    PoolingMode, ServerTls, ServerTlsMode, Timeouts, User,
};
pub use self::reload::{Changes, diff, reload};
pub use self::render::{render, settings};
pub use self::secret::{Password, SecretKind};
pub use self::source::{Loaded, Overrides, Source};
pub use self::trusted::{is_system, trusted, usual_mode};
pub use self::units::{Share, format_duration, parse_duration};
pub use self::validate::MAX_SERVERS;
pub use self::warm::Warm;
pub use self::watched::Watched;
