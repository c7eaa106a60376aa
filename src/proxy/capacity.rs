//! Pools may have more servers together than PostgreSQL has connections for them: that is found out and
//! said, once it is known what PostgreSQL has.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::Shared;
use crate::host::{Host, SlotLimits};
use crate::pool::Pool;

/// What PostgreSQL had at each address when that was said.
pub(super) type Told = HashMap<String, usize>;

impl Shared {
    /// Warns of each host once, and again when PostgreSQL has another number, or when it was right meanwhile.
    pub(super) fn check_capacity(&self, told: &mut Told) {
        for (address, host) in self.pools.hosts() {
            let Some(capacity) = host.capacity() else { continue };
            let sizes = self.sizes_at(&host);
            let Some(wanted) = too_many(capacity, host.limits(), &sizes) else {
                told.remove(&address);
                continue;
            };
            if told.get(&address) == Some(&capacity) {
                continue;
            }
            warn!(
                host = address,
                available = capacity,
                wanted,
                pools = sizes.len(),
                "pools may open more servers than PostgreSQL has connections for pgweir, which it will \
                 refuse: lower max_servers, or set limits.max_servers_host to what is available at most"
            );
            told.insert(address, capacity);
        }
    }

    /// How many servers each pool of a host may have.
    fn sizes_at(&self, host: &Arc<Host>) -> Vec<Wanted> {
        let pools = self.pools.all();
        let of_host = pools.iter().filter(|pool| Arc::ptr_eq(&pool.settings().host, host));
        let wanted = |pool: &Arc<Pool>| Wanted {
            database: Arc::clone(&pool.settings().dbname),
            user: Arc::clone(&pool.key().user),
            servers: pool.size().max,
        };
        of_host.map(wanted).collect()
    }
}

/// What one pool may have.
#[derive(Debug, Clone)]
struct Wanted {
    database: Arc<str>,
    user: Arc<str>,
    servers: usize,
}

/// How many servers there may be at most, if that is more than there can be. A limit of 0 is none.
fn too_many(capacity: usize, limits: SlotLimits, pools: &[Wanted]) -> Option<usize> {
    let within = |sum: usize, limit: usize| if limit == 0 { sum } else { sum.min(limit) };
    let by = |name: fn(&Wanted) -> &Arc<str>, limit| {
        let mut sums = HashMap::<_, usize>::new();
        for pool in pools {
            let sum = sums.entry(name(pool)).or_default();
            *sum = sum.saturating_add(pool.servers);
        }
        sums.values().fold(0, |all: usize, sum| all.saturating_add(within(*sum, limit)))
    };
    let of_databases = by(|pool| &pool.database, limits.database);
    let of_users = by(|pool| &pool.user, limits.user);
    let wanted = within(of_databases.min(of_users), limits.host);
    (wanted > capacity).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_host_are_what_saves_it() {
        let limits = |host, database, user| SlotLimits { host, database, user };
        let pools = |sizes: &[usize]| {
            let pool = |(number, servers): (usize, &usize)| Wanted {
                database: "shop".into(),
                user: number.to_string().into(),
                servers: *servers,
            };
            sizes.iter().enumerate().map(pool).collect::<Vec<_>>()
        };
        for (limits, sizes, expected) in [
            (limits(0, 0, 0), &[20, 20][..], None),
            (limits(0, 0, 0), &[98], Some(98)),
            (limits(0, 0, 0), &[60, 60], Some(120)),
            (limits(90, 0, 0), &[60, 60], None),
            (limits(110, 0, 0), &[60, 60], Some(110)),
            (limits(110, 0, 0), &[20], None),
            (limits(0, 50, 0), &[60, 60], None),
            (limits(0, 0, 40), &[60, 60], None),
            (limits(0, 0, 50), &[60, 60], Some(100)),
            (limits(0, 0, 0), &[usize::MAX, 1], Some(usize::MAX)),
            (limits(0, 0, 0), &[], None),
        ] {
            assert_eq!(too_many(97, limits, &pools(sizes)), expected, "{limits:?} {sizes:?}");
        }
    }
}
