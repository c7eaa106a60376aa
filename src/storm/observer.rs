//! Looks at PostgreSQL from beside whatever is stormed: how many connections it has.
//!
//! Owns one connection, which it does not count, and makes another when that one breaks. Obeys
//! `monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::StormError;
use super::access::Access;
use super::client::{Client, ClientError};
use super::plan::{Observe, Plan};

/// What was seen of PostgreSQL.
#[derive(Debug, Clone, Serialize)]
pub struct Observed {
    /// How often it was looked at.
    pub looks: u64,
    /// Looks that failed.
    pub failed_looks: u64,
    /// From one look to the next, on average.
    pub interval_ms: f64,
    /// The longest time between two looks: what came and went within it was not seen.
    pub longest_gap_ms: f64,
    /// The most connections at one time.
    pub most: u64,
    /// How many there should have been at most.
    pub limit: Option<u64>,
    /// By how much the limit was passed; 0 if it never was.
    pub exceeded_by: u64,
    /// Looks that saw it passed.
    pub looks_over: u64,
    /// How long it was passed, from the looks that saw it to the next ones.
    pub seconds_over: f64,
}

/// Connections at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Servers {
    /// All of them.
    pub all: u64,
    /// Running something.
    pub active: u64,
    /// In a transaction and not running anything.
    pub idle_in_transaction: u64,
}

/// The task that looks; gone when dropped.
#[derive(Debug)]
pub(super) struct Observer {
    sight: Arc<Mutex<Sight>>,
    _task: JoinSet<()>,
}

/// What was seen so far.
#[derive(Debug)]
struct Sight {
    limit: Option<u64>,
    began: Instant,
    last: Option<(Instant, Servers)>,
    /// When something was seen last.
    seen: Instant,
    looks: u64,
    failed: u64,
    most: u64,
    looks_over: u64,
    over: Duration,
    gap: Duration,
    /// The most since it was last taken.
    recent: Option<Servers>,
}

impl Observer {
    /// Connects, looks once, and goes on looking.
    pub(super) async fn start(observe: &Observe, plan: &Plan) -> Result<Self, StormError> {
        let look = Look {
            access: Access::new(&observe.dsn)?,
            sql: sql(observe, plan),
            interval: observe.interval.max(SHORTEST_INTERVAL),
            patience: plan.timeout.min(PATIENCE),
        };
        let mut client = look.access.connect(look.patience).await.map_err(StormError::Observer)?;
        let sight = Arc::new(Mutex::new(Sight::new(observe.limit)));
        let seen = look.once(&mut client).await.map_err(StormError::Observer)?;
        lock(&sight).saw(Instant::now(), seen);
        let mut task = JoinSet::new();
        task.spawn(go_on(look, client, Arc::clone(&sight)));
        Ok(Self { sight, _task: task })
    }

    /// The most since it was last asked, or what there is now.
    pub(super) fn take(&self) -> Option<Servers> {
        let mut sight = lock(&self.sight);
        let recent = sight.recent.take();
        recent.or(sight.last.map(|(_, servers)| servers))
    }

    /// What there is now.
    pub(super) fn now(&self) -> Option<Servers> {
        lock(&self.sight).last.map(|(_, servers)| servers)
    }

    pub(super) fn observed(&self) -> Observed {
        lock(&self.sight).summary(Instant::now())
    }
}

/// How it is looked.
#[derive(Debug)]
struct Look {
    access: Access,
    sql: String,
    interval: Duration,
    patience: Duration,
}

impl Look {
    async fn once(&self, client: &mut Client) -> Result<Servers, ClientError> {
        let reply = client.simple(&self.sql, self.patience).await?;
        reply.value.as_deref().and_then(read).ok_or(ClientError::Unexpected { tag: b'D' })
    }
}

async fn go_on(look: Look, client: Client, sight: Arc<Mutex<Sight>>) {
    let mut client = Some(client);
    let mut ticks = interval(look.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let seen = match client.as_mut() {
            Some(there) => look.once(there).await,
            None => match look.access.connect(look.patience).await {
                Ok(mut there) => {
                    let seen = look.once(&mut there).await;
                    client = Some(there);
                    seen
                }
                Err(error) => Err(error),
            },
        };
        let now = Instant::now();
        if let Ok(servers) = seen {
            lock(&sight).saw(now, servers);
        } else {
            client = None;
            lock(&sight).was_blind(now);
            sleep(RETRY_AFTER).await;
        }
    }
}

impl Sight {
    fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            began: Instant::now(),
            last: None,
            seen: Instant::now(),
            looks: 0,
            failed: 0,
            most: 0,
            looks_over: 0,
            over: Duration::ZERO,
            gap: Duration::ZERO,
            recent: None,
        }
    }

    fn saw(&mut self, now: Instant, servers: Servers) {
        self.pass(now);
        if self.looks > 0 {
            self.gap = self.gap.max(now.saturating_duration_since(self.seen));
        }
        self.seen = now;
        self.last = Some((now, servers));
        self.looks += 1;
        self.most = self.most.max(servers.all);
        self.looks_over += u64::from(self.is_over(servers));
        if self.recent.is_none_or(|most| most.all <= servers.all) {
            self.recent = Some(servers);
        }
    }

    fn was_blind(&mut self, now: Instant) {
        self.pass(now);
        self.last = None;
        self.failed += 1;
    }

    /// The time since the last look counts as that look saw it.
    fn pass(&mut self, now: Instant) {
        let Some((then, servers)) = self.last else { return };
        let passed = now.saturating_duration_since(then);
        if self.is_over(servers) {
            self.over += passed;
        }
    }

    fn is_over(&self, servers: Servers) -> bool {
        self.limit.is_some_and(|limit| servers.all > limit)
    }

    fn summary(&self, now: Instant) -> Observed {
        let Self { limit, looks, failed, most, looks_over, .. } = *self;
        let gap = self.gap.max(now.saturating_duration_since(self.seen));
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64() * 1000.0;
        Observed {
            looks,
            failed_looks: failed,
            interval_ms: elapsed / (looks.max(1) as f64),
            longest_gap_ms: gap.as_secs_f64() * 1000.0,
            most,
            limit,
            exceeded_by: limit.map_or(0, |limit| most.saturating_sub(limit)),
            looks_over,
            seconds_over: self.over.as_secs_f64(),
        }
    }
}

/// Counts of clients' connections but its own; of the classes' users and databases, unless all are
/// asked for. Who may not read others' statistics sees neither what kind theirs are nor what they do
/// (`monitoring-stats.html`); connections of clients have a user and a database.
fn sql(observe: &Observe, plan: &Plan) -> String {
    let mut pairs: Vec<_> = plan
        .classes
        .iter()
        .map(|class| format!("({}, {})", literal(&class.dsn.dbname), literal(&class.dsn.user)))
        .collect();
    pairs.sort();
    pairs.dedup();
    let mut whose = String::new();
    if !observe.all {
        whose = format!(" AND (datname::text, usename::text) IN ({})", pairs.join(", "));
    }
    format!(
        "SELECT pg_catalog.concat_ws(' ', count(*), count(*) FILTER (WHERE state = 'active'), \
         count(*) FILTER (WHERE state LIKE 'idle in transaction%')) \
         FROM pg_catalog.pg_stat_activity \
         WHERE coalesce(backend_type = 'client backend', usename IS NOT NULL AND datname IS NOT NULL) AND pid <> pg_catalog.pg_backend_pid(){whose}"
    )
}

/// A text as SQL writes it whatever `standard_conforming_strings` is
/// (`sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE`).
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn read(text: &str) -> Option<Servers> {
    let mut numbers = text.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Servers { all: next()?, active: next()?, idle_in_transaction: next()? })
}

fn lock(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    // Nothing can panic while it is locked.
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It is not to be a load of its own.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A look takes milliseconds; a server that is down is to be noticed.
const PATIENCE: Duration = Duration::from_secs(10);

const RETRY_AFTER: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(all: u64) -> Servers {
        Servers { all, active: 1, idle_in_transaction: 0 }
    }

    #[test]
    fn the_passing_of_a_limit_is_measured_from_look_to_look() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut sight = Sight::new(Some(5));
        for (at, all) in [(0, 5), (100, 8), (200, 6), (300, 4), (450, 7)] {
            sight.saw(ms(at), servers(all));
        }
        // What comes after a look that failed is not known.
        sight.was_blind(ms(500));
        sight.saw(ms(5_000), servers(1));
        let seen = sight.summary(ms(5_000));
        assert_eq!((seen.most, seen.exceeded_by, seen.looks_over), (8, 3, 3));
        assert!((seen.seconds_over - 0.25).abs() < 0.001, "{}", seen.seconds_over);
        assert!((seen.longest_gap_ms - 4_550.0).abs() < 0.001, "{}", seen.longest_gap_ms);
        assert_eq!((seen.looks, seen.failed_looks), (6, 1));
    }

    #[test]
    fn the_most_since_the_last_sample_is_what_a_sample_has() {
        let now = Instant::now();
        let mut sight = Sight::new(None);
        for all in [3, 9, 2] {
            sight.saw(now, servers(all));
        }
        assert_eq!(sight.recent, Some(servers(9)));
        assert_eq!(sight.summary(now).exceeded_by, 0);
    }

    #[test]
    fn names_are_quoted_and_answers_read() {
        assert_eq!(literal(r"o'b\"), r"E'o''b\\'");
        assert_eq!(read("12 3 4"), Some(Servers { all: 12, active: 3, idle_in_transaction: 4 }));
        assert_eq!(read("12 3"), None);
    }
}
