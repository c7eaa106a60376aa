//! One simulated function: it connects, runs its transactions and leaves, or does not leave as it
//! should.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::net::Target;

use super::access::Access;
use super::client::{Client, ClientError};
use super::plan::Class;
use super::profile::{At, Exit, Fate, Profile};
use super::tally::{Gauges, Tally};

/// What every function of a class does, and where it is counted.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) class: Class,
    pub(super) access: Access,
    pub(super) timeout: Duration,
    pub(super) tally: Mutex<Tally>,
    pub(super) gauges: Gauges,
}

impl Work {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts stay true whatever happened to another function.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, client: &mut Client, sql: &str) -> Result<(), ClientError> {
        client.query(self.class.protocol, sql, self.timeout).await?;
        Ok(())
    }

    /// Whether a function that has run so many transactions runs another.
    fn goes_on(&self, run: u64, until: Instant) -> bool {
        let Class { transactions_per_function: wanted, profile, .. } = self.class;
        let in_time = Instant::now() < until;
        match (wanted, profile) {
            (0, _) => in_time,
            (_, Profile::Steady) => run < wanted && (in_time || run == 0),
            _ => run < wanted,
        }
    }

    /// What becomes of a function in the transaction of this number, and where.
    fn fate(&self, number: u64) -> (Fate, At) {
        let is_last = number + 1 == self.class.transactions_per_function;
        (if is_last { self.class.profile.fate() } else { Fate::Plain }, self.class.at)
    }
}

/// A function's whole life; in a steady class, those of its followers too, until the class ends. What
/// fails is counted, not returned.
pub(super) async fn live(work: Arc<Work>, until: Instant) {
    let target = work.class.tls_resume.then(|| work.access.resuming_target());
    loop {
        let went_well = one(&work, target.as_ref(), until).await;
        work.tally().left += 1;
        if work.class.profile != Profile::Steady {
            return;
        }
        if !went_well {
            sleep_until(until.min(Instant::now() + RETRY_AFTER)).await;
        }
        if Instant::now() >= until {
            return;
        }
        work.tally().followed();
    }
}

/// One function, in a process that may remember its last TLS session. Returns whether its connection held until it
/// left.
async fn one(work: &Work, target: Option<&Target>, until: Instant) -> bool {
    let began = Instant::now();
    let connecting = work.gauges.connecting.enter();
    let connected = match target {
        Some(target) => work.access.connect_to(target, work.timeout).await,
        None => work.access.connect(work.timeout).await,
    };
    drop(connecting);
    let stayed = match connected {
        Ok(client) => {
            let _there = work.gauges.connected.enter();
            work.tally().connect.record(began.elapsed());
            stay(work, client, until).await
        }
        Err(error) => Err(error),
    };
    match stayed {
        Ok(()) => true,
        Err(error) => {
            work.tally().failed(&error);
            false
        }
    }
}

/// Its transactions. Returns an error when the connection is over; others are counted.
async fn stay(work: &Work, mut client: Client, until: Instant) -> Result<(), ClientError> {
    let mut number = 0;
    while work.goes_on(number, until) {
        if number > 0 && !work.class.think.is_zero() {
            sleep(work.class.think).await;
        }
        let (fate, at) = work.fate(number);
        if fate == Fate::Abandon {
            return abandon(work, client, at).await;
        }
        match transact(work, &mut client, number, at, fate == Fate::Freeze).await {
            Err(error) if error.is_over() => return Err(error),
            Err(error) => {
                work.tally().failed(&error);
                roll_back(work, &mut client).await?;
            }
            Ok(()) => {}
        }
        number += 1;
    }
    client.leave(work.timeout).await
}

/// A transaction. The time that the function itself lets pass in it is not measured.
async fn transact(
    work: &Work,
    client: &mut Client,
    number: u64,
    at: At,
    freezes: bool,
) -> Result<(), ClientError> {
    if freezes && at == At::Idle {
        freeze(work).await;
    }
    let began = Instant::now();
    begin(work, client, freezes && at == At::Idle).await?;
    let mut paused = Duration::ZERO;
    if freezes && at == At::Answer {
        client.send(work.class.protocol, &work.class.query, work.timeout).await?;
        paused += freeze(work).await;
        client.answer(work.timeout).await?;
        work.tally().thawed += 1;
    } else {
        work.run(client, &work.class.query).await?;
    }
    if number == 0 {
        let time = began.elapsed().saturating_sub(paused);
        work.tally().first_query.record(time);
    }
    paused += pause(work.class.held()).await;
    if freezes && at == At::Transaction {
        paused += freeze(work).await;
    }
    commit(work, client).await?;
    let time = began.elapsed().saturating_sub(paused);
    let mut tally = work.tally();
    tally.thawed += u64::from(freezes && at == At::Transaction);
    tally.committed(time);
    Ok(())
}

/// BEGIN: through a pooling proxy, the wait for a server is here.
async fn begin(work: &Work, client: &mut Client, thaws: bool) -> Result<(), ClientError> {
    let began = Instant::now();
    let waiting = work.gauges.waiting.enter();
    let begun = work.run(client, "BEGIN").await;
    drop(waiting);
    begun?;
    if !client.is_in_transaction() {
        return Err(ClientError::Astray("BEGIN was answered, and no transaction is open"));
    }
    let mut tally = work.tally();
    tally.thawed += u64::from(thaws);
    tally.waited(began.elapsed());
    Ok(())
}

/// COMMIT, which is no error where the transaction has failed, or is another's.
async fn commit(work: &Work, client: &mut Client) -> Result<(), ClientError> {
    let was_open = client.is_in_transaction();
    let reply = client.query(work.class.protocol, "COMMIT", work.timeout).await?;
    if reply.rolled_back || !was_open || client.is_in_transaction() {
        return Err(ClientError::Astray("COMMIT was answered, and the transaction did not commit"));
    }
    Ok(())
}

/// Goes as far as it goes, and is gone without a word.
async fn abandon(work: &Work, mut client: Client, at: At) -> Result<(), ClientError> {
    if at != At::Idle {
        begin(work, &mut client, false).await?;
    }
    match at {
        At::Idle => {}
        At::Transaction => work.run(&mut client, &work.class.query).await?,
        At::Answer => client.send(work.class.protocol, &work.class.query, work.timeout).await?,
    }
    work.tally().abandoned += 1;
    if work.class.abandon == Exit::Silent {
        sleep(work.class.freeze).await;
    }
    drop(client);
    Ok(())
}

/// Says and reads nothing for a time; returns how long.
async fn freeze(work: &Work) -> Duration {
    work.tally().frozen += 1;
    pause(work.class.freeze).await
}

async fn pause(time: Duration) -> Duration {
    let began = Instant::now();
    if !time.is_zero() {
        sleep(time).await;
    }
    began.elapsed()
}

async fn roll_back(work: &Work, client: &mut Client) -> Result<(), ClientError> {
    if client.is_in_transaction() {
        work.run(client, "ROLLBACK").await?;
    }
    Ok(())
}

/// Who follows one whose connection failed comes so much later: a server that is down is not to be
/// asked as fast as this machine can.
const RETRY_AFTER: Duration = Duration::from_millis(100);
