//! SIGHUP: reading the configuration again.

use tracing::{error, info, warn};

use super::{Running, logins, spellings};
use crate::config::{self, ConfigError, Loaded};
use crate::registry::Notice;

impl Running {
    /// Reads the configuration again and takes what can change live; a broken one changes nothing.
    pub fn reload(&mut self) {
        if let Err(error) = self.try_reload() {
            error!(%error, "the configuration was not reloaded; the old one holds");
        }
    }

    fn try_reload(&mut self) -> Result<(), ConfigError> {
        let Some(source) = &self.source else { return Ok(()) };
        let Loaded { config, warnings } = source.load()?;
        for warning in warnings {
            warn!("{warning}");
        }
        let shared = &self.shared;
        let (next, mut changes) = config::reload(&shared.config.load(), config);
        let before = shared.login.load_full();
        let login =
            logins::context(&next, &shared.pools, &shared.mock, &shared.room, Some(&before))
                .map_err(|fault| fault.located(source))?;
        let cert = "tls.cert".to_owned();
        if login.has_other_certificate(&before) && !changes.live.contains(&cert) {
            changes.live.push(cert);
        }
        shared.pools.reconfigure(&next).map_err(|fault| fault.located(source))?;
        shared.room.resize(next.limits.max_clients);
        shared.login.store(login.into());
        shared.config.store(next.into());
        shared.registry.tell_all(Notice::Reload);
        info!(changed = ?changes.live, "configuration reloaded");
        if !changes.is_empty() {
            spellings::check(&shared.config.load());
        }
        if !changes.restart.is_empty() {
            warn!(keys = ?changes.restart, "these changes need a restart and do not hold yet");
        }
        Ok(())
    }
}
