//! The tables: what is known now, as rows.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::command::{Show, version};
use super::table::{Column, Row, Type, Value};
use crate::ledger::{Ledger, Pin};
use crate::pool::Pool;
use crate::pool::need::What;
use crate::registry::{Card, Registry};

/// Where the tables get their rows from.
pub struct Sources {
    /// Pins.
    pub ledger: Arc<Ledger>,
    /// Pins that would be.
    pub observed: Arc<Ledger>,
    /// Clients.
    pub registry: Arc<Registry>,
    /// The pools that are now.
    pub pools: Box<dyn Fn() -> Vec<Arc<Pool>> + Send + Sync>,
}

/// The columns of a table.
pub fn columns(show: Show) -> &'static [Column] {
    use Type::{Float, Int, Text};
    match show {
        Show::Pins => &[
            ("client_id", Int),
            ("user", Text),
            ("database", Text),
            ("application_name", Text),
            ("server_pid", Int),
            ("reason", Text),
            ("object", Text),
            ("began", Text),
            ("seconds", Float),
            ("statement", Text),
        ],
        Show::PinReasons => &[
            ("reason", Text),
            ("application_name", Text),
            ("pins", Int),
            ("pinned_now", Int),
            ("seconds", Float),
        ],
        Show::Observed => &[
            ("database", Text),
            ("user", Text),
            ("application_name", Text),
            ("reason", Text),
            ("object", Text),
            ("pins", Int),
            ("pinned_now", Int),
            ("seconds", Float),
            ("longest_seconds", Float),
            ("statement", Text),
        ],
        Show::Pools => &[
            ("database", Text),
            ("user", Text),
            ("clients_waiting", Int),
            ("servers_leased", Int),
            ("servers_idle", Int),
            ("servers_opening", Int),
            ("servers_closing", Int),
            ("max_servers", Int),
            ("clients_pinned", Int),
            ("max_pinned", Int),
            ("pooling", Text),
            ("observed_held", Int),
            ("observed_held_peak", Int),
            ("observed_needed", Int),
            ("observed_needed_99", Int),
            ("observed_needed_peak", Int),
            ("observed_pinned", Int),
            ("observed_pinned_peak", Int),
        ],
        Show::Clients => &[
            ("client_id", Int),
            ("user", Text),
            ("database", Text),
            ("address", Text),
            ("tls", Text),
            ("state", Text),
            ("connected", Text),
        ],
        Show::Help => &[("command", Text), ("shows", Text)],
        Show::Version => &[("version", Text)],
    }
}

/// The rows of a table now.
pub fn rows(show: Show, sources: &Sources) -> Vec<Row> {
    match show {
        Show::Pins => sources.ledger.current(Instant::now()).iter().map(pin).collect(),
        Show::PinReasons => pin_reasons(&sources.ledger),
        Show::Observed => observed(&sources.observed),
        Show::Pools => pools((sources.pools)()),
        Show::Clients => {
            let clients = sources.registry.clients();
            clients.iter().map(|(id, card)| client(*id, card)).collect()
        }
        Show::Help => Show::ALL
            .iter()
            .map(|(_, name, shows)| vec![format!("SHOW {name}").into(), (*shows).into()])
            .collect(),
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
        ]
    };
    pools.iter().map(row).collect()
}

fn client(id: u32, card: &Card) -> Row {
    vec![
        Value::Int(id.into()),
        (*card.user).into(),
        (*card.database).into(),
        (*card.address).into(),
        if card.tls { "t" } else { "f" }.into(),
        card.state().text().into(),
        time(card.since),
    ]
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
    Value::Float(Duration::from_millis(lasted.as_millis() as u64).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_each_command_and_every_table_has_columns() {
        for (show, ..) in Show::ALL {
            assert!(!columns(show).is_empty(), "{show:?}");
        }
        assert_eq!(columns(Show::Help).len(), 2);
    }
}
