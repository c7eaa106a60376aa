//! Pools may have more servers together than PostgreSQL has connections for them: that is found out and
//! said, once it is known what PostgreSQL has.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::Shared;
use crate::host::Host;

/// What PostgreSQL had at each address when that was said.
pub(super) type Told = HashMap<String, usize>;

impl Shared {
    /// Warns of each host once, and again when PostgreSQL has another number.
    pub(super) fn check_capacity(&self, told: &mut Told) {
        for (address, host) in self.pools.hosts() {
            let Some(capacity) = host.capacity() else { continue };
            if told.get(&address) == Some(&capacity) {
                continue;
            }
            let (limit, sizes) = (host.limits().host, self.sizes_at(&host));
            if let Some(wanted) = too_many(capacity, limit, &sizes) {
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
    }

    /// How many servers each pool of a host may have.
    fn sizes_at(&self, host: &Arc<Host>) -> Vec<usize> {
        let pools = self.pools.all();
        let of_host = pools.iter().filter(|pool| Arc::ptr_eq(&pool.settings().host, host));
        of_host.map(|pool| pool.size().max).collect()
    }
}

/// How many servers there may be, if that is more than there can be. A limit of 0 is none.
fn too_many(capacity: usize, limit: usize, sizes: &[usize]) -> Option<usize> {
    let sum = sizes.iter().fold(0, |sum: usize, size| sum.saturating_add(*size));
    let wanted = if limit == 0 { sum } else { sum.min(limit) };
    (wanted > capacity).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_host_is_what_saves_it() {
        for (capacity, limit, sizes, expected) in [
            (97, 0, vec![20, 20], None),
            (97, 0, vec![98], Some(98)),
            (97, 0, vec![60, 60], Some(120)),
            (97, 90, vec![60, 60], None),
            (97, 110, vec![60, 60], Some(110)),
            (97, 110, vec![20], None),
            (97, 0, vec![usize::MAX, 1], Some(usize::MAX)),
            (97, 0, vec![], None),
        ] {
            assert_eq!(too_many(capacity, limit, &sizes), expected, "{limit} {sizes:?}");
        }
    }
}
