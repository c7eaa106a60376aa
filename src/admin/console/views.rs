//! The tables: what is known now, as rows.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::command::{CHANGES, Show, version};
use super::table::{Row, Value};
use crate::admin::change::{Changer, Finished};
use crate::class::ClassId;
use crate::clock::Instant;
use crate::config::{Config, Database};
use crate::host::Host;
use crate::ledger::{Ledger, Pin};
use crate::metrics::{Metrics, PoolStats};
use crate::pool::Pool;
use crate::pool::need::What;
use crate::registry::{Card, Registry, State};
use crate::server;

/// Where the tables get their rows from.
pub struct Sources {
    /// Pins.
    pub ledger: Arc<Ledger>,
    /// Pins that would be.
    pub observed: Arc<Ledger>,
    /// Clients.
    pub registry: Arc<Registry>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The pools that are now.
    pub pools: Box<dyn Fn() -> Vec<Arc<Pool>> + Send + Sync>,
    /// The configuration as it holds.
    pub config: Arc<ArcSwap<Config>>,
    /// The hosts that are now, by address.
    pub hosts: Box<dyn Fn() -> Vec<(String, Arc<Host>)> + Send + Sync>,
    /// The settings as they hold, and which of them were changed.
    pub settings: Box<dyn Fn() -> Vec<Setting> + Send + Sync>,
    /// Who makes changes.
    pub change: Changer,
    /// Whether they have come about.
    pub finished: Finished,
}

/// A setting as it holds; a secret is not shown.
pub struct Setting {
    /// Its name with its section.
    pub key: String,
    /// Its value.
    pub value: String,
    /// It was changed since the configuration was read.
    pub changed: bool,
}

/// The rows of a table now.
pub fn rows(show: Show, sources: &Sources) -> Vec<Row> {
    match show {
        Show::Pins => sources.ledger.current(Instant::now()).iter().map(pin).collect(),
        Show::PinReasons => pin_reasons(&sources.ledger),
        Show::Observed => observed(&sources.observed),
        Show::Databases => {
            let pools = (sources.pools)();
            databases(&sources.config.load(), &pools, &sources.registry.clients())
        }
        Show::Pools => pools((sources.pools)()),
        Show::Stats => sources.metrics.stats().iter().map(stats).collect(),
        Show::Classes => classes((sources.pools)()),
        Show::Hosts => (sources.hosts)().iter().map(|(address, h)| host(address, h)).collect(),
        Show::Config => (sources.settings)().into_iter().map(setting).collect(),
        Show::Clients => {
            let (registry, now) = (&sources.registry, Instant::now());
            let clients = registry.clients();
            clients.iter().map(|(id, card)| client(*id, card, registry.lasted(card, now))).collect()
        }
        Show::Servers => servers((sources.pools)()),
        Show::Help => {
            let shows = Show::ALL.iter().map(|(_, name, what)| (format!("SHOW {name}"), what));
            let changes = CHANGES.iter().map(|(form, what)| ((*form).to_owned(), what));
            shows.chain(changes).map(|(form, what)| vec![form.into(), (**what).into()]).collect()
        }
        Show::Version => vec![vec![version().into()]],
    }
}

fn pin(pin: &Pin) -> Row {
    vec![
        Value::Int(pin.who.id.into()),
        (*pin.who.user).into(),
        (*pin.who.database).into(),
        (*pin.application).into(),
        Value::Int(pin.server.into()),
        pin.reason.text().into(),
        (*pin.cause.object).into(),
        time(pin.began),
        seconds(pin.lasted),
        (*pin.cause.statement).into(),
    ]
}

fn pin_reasons(ledger: &Ledger) -> Vec<Row> {
    let totals = ledger.totals(Instant::now());
    let rows = totals.iter().map(|(reason, application, _, total)| {
        vec![
            reason.text().into(),
            (**application).into(),
            number(total.count),
            number(total.now),
            seconds(total.lasted),
        ]
    });
    rows.collect()
}

fn observed(ledger: &Ledger) -> Vec<Row> {
    let totals = ledger.totals(Instant::now());
    let rows = totals.iter().map(|(reason, application, origin, total)| {
        vec![
            (*origin.database).into(),
            (*origin.user).into(),
            (**application).into(),
            reason.text().into(),
            (*origin.cause.object).into(),
            number(total.count),
            number(total.now),
            seconds(total.lasted),
            seconds(total.longest),
            (*origin.cause.statement).into(),
        ]
    });
    rows.collect()
}

/// Means of nothing are 0, and so are those before the first period is over.
fn stats(pool: &PoolStats) -> Row {
    let PoolStats { total, recent, recent_seconds, .. } = pool;
    let float = |value: f64| Value::Float((value * 1000.0).round() / 1000.0);
    let share = |of: f64, by: f64| float(if by > 0.0 { of / by } else { 0.0 });
    let rate = |count: u64| share(count as f64, *recent_seconds);
    vec![
        (*pool.database).into(),
        (*pool.user).into(),
        number(total.transactions),
        number(total.queries),
        number(total.bytes_received),
        number(total.bytes_sent),
        number(total.checkouts),
        float(total.wait_seconds),
        number(total.leases),
        float(total.lease_seconds),
        rate(recent.transactions),
        rate(recent.queries),
        rate(recent.bytes_received),
        rate(recent.bytes_sent),
        share(recent.wait_seconds * 1000.0, recent.checkouts as f64),
        share(recent.lease_seconds * 1000.0, recent.leases as f64),
    ]
}

/// In the order of their names, and last the one that stands for those that are not named.
fn databases(config: &Config, pools: &[Arc<Pool>], clients: &[(u32, Arc<Card>)]) -> Vec<Row> {
    let row = |name: Option<&str>, database: &Database| {
        let is_its = |alias: &str| match name {
            Some(name) => alias == name,
            None => !config.databases.contains_key(alias),
        };
        let is_client =
            |card: &Card| card.state().0 != State::Console && is_its(&card.who.database);
        let clients = clients.iter().filter(|(_, card)| is_client(card)).count();
        let pools: Vec<_> = pools.iter().filter(|pool| is_its(&pool.key().database)).collect();
        let servers: usize = pools.iter().map(|pool| pool.servers().len()).sum();
        let is_paused = !pools.is_empty() && pools.iter().all(|pool| pool.is_paused());
        vec![
            name.unwrap_or("*").into(),
            (*database.host).into(),
            Value::Int(database.port.into()),
            database.dbname.as_deref().or(name).into(),
            database.user.as_deref().into(),
            database.tls.mode.to_string().into(),
            config.pooling_of(database).text().into(),
            database.max_servers.unwrap_or(config.limits.max_servers).to_string().into(),
            clients.into(),
            pools.len().into(),
            servers.into(),
            is_paused.into(),
        ]
    };
    let named = config.databases.iter().map(|(name, database)| row(Some(name), database));
    named.chain(config.fallback.iter().map(|database| row(None, database))).collect()
}

fn pools(mut pools: Vec<Arc<Pool>>) -> Vec<Row> {
    pools.sort_by(|a, b| a.key().cmp(b.key()));
    let row = |pool: &Arc<Pool>| {
        let (counts, size) = (pool.counts(), pool.size());
        let (settings, now) = (pool.settings(), Instant::now());
        let [held, needed, pinned] =
            [What::Held, What::Needed, What::Pinned].map(|what| pool.seen(what, now));
        vec![
            (*pool.key().database).into(),
            (*pool.key().user).into(),
            counts.waiting.into(),
            counts.leased.into(),
            counts.idle.into(),
            counts.opening.into(),
            counts.closing.into(),
            size.max.into(),
            pool.knowledge().pinned().into(),
            settings.pins.rules(size.max).max_pinned.into(),
            settings.pooling.text().into(),
            held.now.into(),
            held.peak.into(),
            needed.now.into(),
            needed.mostly.into(),
            needed.peak.into(),
            pinned.now.into(),
            pinned.peak.into(),
            pool.is_paused().into(),
            seconds(pool.longest_wait(now)),
        ]
    };
    pools.iter().map(row).collect()
}

fn classes(mut pools: Vec<Arc<Pool>>) -> Vec<Row> {
    pools.sort_by(|a, b| a.key().cmp(b.key()));
    pools.iter().flat_map(|pool| classes_of(pool)).collect()
}

/// -1 is no limit, and a wait that nobody can tell yet.
fn classes_of(pool: &Pool) -> Vec<Row> {
    let (settings, now) = (pool.settings(), Instant::now());
    let row = |(id, name): (ClassId, &Arc<str>)| {
        let (limits, leased, crowd) = pool.class(id, now);
        vec![
            (*pool.key().database).into(),
            (*pool.key().user).into(),
            (**name).into(),
            Value::Int(limits.weight.into()),
            leased.into(),
            limits.max_servers.map_or(Value::Int(-1), Value::from),
            limits.guaranteed.into(),
            crowd.waiting.into(),
            limits.queue_limit.map_or(Value::Int(-1), Value::from),
            crowd.expected.map_or(Value::Float(-1.0), seconds),
        ]
    };
    settings.classes.in_use().map(row).collect()
}

/// 0 is no limit, and -1 what PostgreSQL has not been asked.
fn host(address: &str, host: &Arc<Host>) -> Row {
    let governor = host.governor();
    vec![
        address.into(),
        host.connections().into(),
        host.limits().host.into(),
        host.capacity().map_or(Value::Int(-1), Value::from),
        host.starving().into(),
        governor.in_flight.into(),
        Value::Float((governor.window * 100.0).round() / 100.0),
        governor.waiting.into(),
        seconds(host.opening_time()),
        if governor.is_open { "open" } else { "closed" }.into(),
    ]
}

fn setting(setting: Setting) -> Row {
    vec![setting.key.into(), setting.value.into(), setting.changed.into()]
}

fn client(id: u32, card: &Card, lasted: Duration) -> Row {
    vec![
        Value::Int(id.into()),
        (*card.who.user).into(),
        (*card.who.database).into(),
        (*card.who.address).into(),
        card.tls.into(),
        card.state().0.text().into(),
        time(card.since),
        seconds(lasted),
        String::from_utf8_lossy(&card.application()).into_owned().into(),
        card.class.as_deref().into(),
        card.server().map(|pid| Value::Int(pid.into())).into(),
    ]
}

fn servers(mut pools: Vec<Arc<Pool>>) -> Vec<Row> {
    pools.sort_by(|a, b| a.key().cmp(b.key()));
    let now = Instant::now();
    let row = |pool: &Pool, card: &server::Card| {
        vec![
            (*pool.key().database).into(),
            (*pool.key().user).into(),
            Value::Int(card.pid.into()),
            card.doing().text().into(),
            card.client().map(|id| Value::Int(id.into())).into(),
            seconds(now.saturating_duration_since(card.opened_at)),
            seconds(card.unused(now)),
            (*card.address).into(),
            card.tls.into(),
        ]
    };
    let of_pool = |pool: &Arc<Pool>| {
        let servers = pool.servers();
        servers.iter().map(|card| row(pool, card)).collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}

fn number(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// In UTC.
fn time(at: SystemTime) -> Value {
    humantime::format_rfc3339_seconds(at).to_string().into()
}

/// To the millisecond, which is as exact as anybody reads it.
fn seconds(lasted: Duration) -> Value {
    Value::Float(lasted.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::super::columns::columns;
    use super::*;

    #[test]
    fn help_names_each_command_and_every_table_has_columns() {
        for (show, ..) in Show::ALL {
            assert!(!columns(show).is_empty(), "{show:?}");
        }
        assert_eq!(columns(Show::Help).len(), 2);
    }
}
