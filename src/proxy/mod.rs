//! Accept loops, signals, reload, drain; builds everything and hands it down.

use crate::config::{Config, Source};

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// This build has none.
    #[error("the proxy is not part of this build")]
    Missing,
}

/// Serves until a signal ends it; `source` is read again on SIGHUP.
#[expect(clippy::unused_async, reason = "its callers wait for what comes here")]
pub async fn run(_config: Config, _source: Source) -> Result<(), ProxyError> {
    Err(ProxyError::Missing)
}
