//! One host under two names has two limits: that is found out and said.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, Share};

/// A host as the configuration spells it, and its addresses.
type Spelling = (String, Vec<SocketAddr>);

/// Warns of hosts that are spelt in two ways, in the background: a resolver may take its time.
pub(super) fn check(config: &Config) {
    let limits = &config.limits;
    let of_host = [limits.max_servers_host, limits.max_servers_database, limits.max_servers_user];
    let hosts = hosts(config);
    if hosts.len() < 2 || of_host == [Share::Count(0); 3] {
        return;
    }
    tokio::spawn(async move {
        let spellings = resolve(hosts).await;
        for (one, other) in pairs(&spellings) {
            warn!(
                "{one} and {other} are one host: the limits hold for each of the two by itself; \
                 write it in one way"
            );
        }
    });
}

fn hosts(config: &Config) -> BTreeSet<(String, u16)> {
    let databases = config.databases.values().chain(&config.fallback);
    databases.map(|database| (database.host.clone(), database.port)).collect()
}

/// Names that cannot be resolved now, and folders of Unix-domain sockets, are left out.
async fn resolve(hosts: BTreeSet<(String, u16)>) -> Vec<Spelling> {
    let mut spellings = Vec::new();
    for (host, port) in hosts {
        let found = tokio::net::lookup_host((host.as_str(), port));
        if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, found).await {
            spellings.push((format!("{host}:{port}"), found.collect()));
        }
    }
    spellings
}

/// Those that share an address.
fn pairs(spellings: &[Spelling]) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    for (at, (name, own)) in spellings.iter().enumerate() {
        for (other, theirs) in &spellings[at + 1..] {
            if own.iter().any(|addr| theirs.contains(addr)) {
                pairs.push((name.as_str(), other.as_str()));
            }
        }
    }
    pairs
}

/// For one name.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_common_address_are_one_host() {
        let spelling = |name: &str, addrs: &[&str]| -> Spelling {
            (name.to_owned(), addrs.iter().map(|addr| addr.parse().unwrap()).collect())
        };
        let spellings = [
            spelling("10.0.0.1:5432", &["10.0.0.1:5432"]),
            spelling("10.0.0.1:5433", &["10.0.0.1:5433"]),
            spelling("db:5432", &["[fd00::1]:5432", "10.0.0.1:5432"]),
            spelling("other:5432", &["10.0.0.2:5432"]),
        ];
        assert_eq!(pairs(&spellings), [("10.0.0.1:5432", "db:5432")]);
    }
}
