//! Settings that read well and could not be put to use: which key each belongs to.

use std::path::Path;

use thiserror::Error;

use crate::config::{Config, ConfigError, Source};
use crate::net::tls::TlsFileError;

/// A certificate, key or CA file that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {source}", .setting.join("."))]
pub struct TlsFault {
    /// The setting that names it.
    setting: Vec<String>,
    /// Why.
    source: TlsFileError,
}

impl TlsFault {
    /// In `[tls]`.
    pub(super) fn of_clients(config: &Config, source: TlsFileError) -> Self {
        let cert = config.client_tls.cert.as_deref();
        let is_cert = source.path().is_some_and(|path: &Path| Some(path) == cert);
        let key = if is_cert { "cert" } else { "key" };
        Self { setting: vec!["tls".into(), key.into()], source }
    }

    /// In the table of a database.
    pub(super) fn of_database(alias: &str, source: TlsFileError) -> Self {
        Self { setting: ["databases", alias, "ca"].map(str::to_owned).into(), source }
    }

    /// The same as a fault of the configuration that came from `source`.
    pub(super) fn located(&self, source: &Source) -> ConfigError {
        let setting: Vec<&str> = self.setting.iter().map(String::as_str).collect();
        source.unusable(&setting, self.source.to_string())
    }
}
