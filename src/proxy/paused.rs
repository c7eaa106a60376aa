//! Which pools are paused (sans-IO): all, those of a database, or one, also if they are not there yet.

use std::collections::HashSet;

use crate::admin::change;
use crate::pool::PoolKey;

/// What was paused, as it was named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paused {
    all: bool,
    some: HashSet<change::Pools>,
}

impl Paused {
    /// False if too many are named already.
    pub(super) fn add(&mut self, which: Option<&change::Pools>) -> bool {
        let Some(pools) = which else {
            self.all = true;
            return true;
        };
        if self.some.len() >= MOST && !self.some.contains(pools) {
            return false;
        }
        self.some.insert(pools.clone());
        true
    }

    /// Forgets these and all among them; or says why they stay paused, or were not.
    pub(super) fn remove(&mut self, which: Option<&change::Pools>) -> Result<(), String> {
        let Some(pools) = which else {
            let was_any = std::mem::take(self) != Self::default();
            return if was_any { Ok(()) } else { Err("nothing is paused".to_owned()) };
        };
        if self.all {
            return Err("all pools are paused together: RESUME without a name".to_owned());
        }
        let wider = self.some.iter().find(|some| some.cover(pools) && *some != pools);
        if let Some(wider) = wider {
            return Err(format!("{pools} is paused with all of {wider}: RESUME {wider}"));
        }
        let before = self.some.len();
        self.some.retain(|some| !pools.cover(some));
        if self.some.len() == before {
            return Err(format!("{pools} is not paused"));
        }
        Ok(())
    }

    /// Whether a pool is among them.
    pub(super) fn holds(&self, key: &PoolKey) -> bool {
        self.all || self.some.iter().any(|some| is_among(Some(some), key))
    }
}

/// Whether a pool is one of these; all are, if none is named.
pub(super) fn is_among(which: Option<&change::Pools>, key: &PoolKey) -> bool {
    which.is_none_or(|pools| {
        *pools.database == *key.database && pools.user.as_ref().is_none_or(|u| **u == *key.user)
    })
}

/// Pools and databases that can be paused by name.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(database: &str, user: Option<&str>) -> change::Pools {
        change::Pools { database: database.to_owned(), user: user.map(str::to_owned) }
    }

    fn key(database: &str, user: &str) -> PoolKey {
        PoolKey { database: database.into(), user: user.into() }
    }

    #[test]
    fn a_pause_ends_as_it_was_named_or_wider() {
        let (shop, app) = (pools("shop", None), pools("shop", Some("app")));
        let mut paused = Paused::default();
        assert!(paused.remove(None).is_err() && paused.remove(Some(&shop)).is_err());
        assert!(paused.add(Some(&app)));
        let held = |paused: &Paused| {
            [("shop", "app"), ("shop", "other"), ("bank", "app")]
                .map(|(database, user)| paused.holds(&key(database, user)))
        };
        assert_eq!(held(&paused), [true, false, false]);
        assert!(paused.add(Some(&shop)));
        assert_eq!(held(&paused), [true, true, false]);
        assert!(paused.remove(Some(&app)).unwrap_err().contains("RESUME shop"));
        assert_eq!(paused.remove(Some(&shop)), Ok(()));
        assert_eq!(held(&paused), [false; 3]);
        assert!(paused.add(None) && paused.add(Some(&app)));
        assert_eq!(held(&paused), [true; 3]);
        assert!(paused.remove(Some(&app)).is_err());
        assert_eq!(paused.remove(None), Ok(()));
        assert_eq!(held(&paused), [false; 3]);
    }
}
