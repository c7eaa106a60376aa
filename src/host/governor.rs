//! How many connections to one PostgreSQL host are opened at once (sans-IO).
//!
//! Each new connection costs PostgreSQL a process, and a host that is short of CPU, memory or free
//! slots opens them the slower the more are asked for. So the number in flight is a window as TCP's
//! is: it grows by one a round while opening takes its usual time, and shrinks when it takes much
//! longer or fails. After failures in a row nothing is opened for a while, and then one at a time.
//!
//! ```text
//!              failures in a row                    the pause is over
//!   closed ───────────────────────> open(until) ───────────────────────> probing
//!     ^                                 ^                                 │   │
//!     │                                 └──── the probe fails ────────────┘   │
//!     └───────────── the probe succeeds: the window is 1 ─────────────────────┘
//! ```
//!
//! Invariant: those who ask are served in turns by pool, so that fifty pools make no larger a storm
//! than one, and one with a thousand clients does not keep the others from their first server.

use std::collections::VecDeque;
use std::time::Duration;

use super::slots::PoolId;
use crate::clock::Instant;

/// Ceilings of what is opened; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ceilings {
    /// Connections being opened at once.
    pub at_once: usize,
    /// Connections begun in a second.
    pub per_second: usize,
}

/// One who asks to open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This one may open; it counts as in flight.
    Open(Ticket),
    /// Nothing before then, unless something ends.
    At(Instant),
    /// Nothing until something ends or somebody asks.
    Nothing,
}

/// Why a connection was not opened, as far as it tells of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It has no room for more connections (53300).
    Full,
    /// Nobody listens, or PostgreSQL starts or stops (57P03): soon over, and cheap to try.
    Away,
    /// It did not answer in time.
    Slow,
}

/// The window of one host, and who waits for it.
#[derive(Debug)]
pub struct Governor {
    ceilings: Ceilings,
    /// How many may be in flight; grows by parts.
    window: f64,
    /// Below this the window grows by one for each success.
    threshold: f64,
    in_flight: usize,
    circuit: Circuit,
    /// The usual time of opening one: the shortest lately.
    usual: Option<Duration>,
    /// When that was last looked at.
    timed: Option<Instant>,
    /// The mean time lately.
    mean: Option<Duration>,
    /// What began before then was decided on by the window before.
    shrunk: Option<Instant>,
    /// Connections that may begin now by the ceiling of the rate.
    allowance: f64,
    allowed_at: Instant,
    /// By pool, in the order of turns.
    queue: VecDeque<(PoolId, VecDeque<Ticket>)>,
    waiting: usize,
    next_ticket: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circuit {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

/// What can be seen of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Connections being opened.
    pub in_flight: usize,
    /// How many may be.
    pub window: f64,
    /// Those who wait for their turn.
    pub waiting: usize,
    /// Nothing is opened but a probe now and then.
    pub is_open: bool,
}

impl Governor {
    /// A host of which nothing is known.
    pub fn new(ceilings: Ceilings, now: Instant) -> Self {
        Self {
            ceilings,
            window: FIRST_WINDOW,
            threshold: f64::INFINITY,
            in_flight: 0,
            circuit: Circuit::Closed { failures: 0 },
            usual: None,
            timed: None,
            mean: None,
            shrunk: None,
            allowance: 1.0,
            allowed_at: now,
            queue: VecDeque::new(),
            waiting: 0,
            next_ticket: 0,
        }
    }

    /// Changes the ceilings.
    pub fn set_ceilings(&mut self, ceilings: Ceilings) {
        self.ceilings = ceilings;
    }

    /// What can be seen.
    pub fn seen(&self) -> Seen {
        Seen {
            in_flight: self.in_flight,
            window: self.limit(),
            waiting: self.waiting,
            is_open: !matches!(self.circuit, Circuit::Closed { .. }),
        }
    }

    /// How long one who asks now is likely to need until the connection is open.
    pub fn expected(&self) -> Duration {
        let mean = self.mean.unwrap_or(UNKNOWN_TIME);
        let rounds = (self.waiting + self.in_flight) as f64 / self.limit();
        mean.mul_f64(1.0 + rounds.min(1e6))
    }

    /// Queues one of a pool.
    pub fn ask(&mut self, pool: PoolId) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting += 1;
        match self.queue.iter_mut().find(|(queued, _)| *queued == pool) {
            Some((_, tickets)) => tickets.push_back(ticket),
            None => self.queue.push_back((pool, VecDeque::from([ticket]))),
        }
        ticket
    }

    /// One who waits gives up; `false` if it was told to open meanwhile.
    pub fn give_up(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.queue.iter().position(|(_, tickets)| tickets.contains(&ticket)) else {
            return false;
        };
        let tickets = &mut self.queue[at].1;
        tickets.retain(|waiting| *waiting != ticket);
        if tickets.is_empty() {
            self.queue.remove(at);
        }
        self.waiting -= 1;
        true
    }

    /// What is to be done now; to be asked again until it is nothing, or at its time.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.waiting == 0 {
            return Next::Nothing;
        }
        if let Circuit::Open { until, pause } = self.circuit {
            if now < until {
                return Next::At(until);
            }
            self.circuit = Circuit::Probing { pause };
        }
        if self.in_flight as f64 + 1.0 > self.limit() {
            return Next::Nothing;
        }
        if let Some(at) = self.next_allowed(now) {
            return Next::At(at);
        }
        match self.take_turn() {
            Some(ticket) => {
                self.in_flight += 1;
                Next::Open(ticket)
            }
            None => Next::Nothing,
        }
    }

    /// A connection was opened, in so much time.
    pub fn on_opened(&mut self, began: Instant, now: Instant) {
        self.in_flight -= 1;
        let took = now.saturating_duration_since(began);
        if matches!(self.circuit, Circuit::Probing { .. } | Circuit::Open { .. }) {
            self.window = 1.0;
        }
        self.circuit = Circuit::Closed { failures: 0 };
        let usual = self.note_time(took, now);
        if took > usual.mul_f64(SLOW) + SLACK {
            self.shrink(GENTLY, began, now);
        } else if self.in_flight as f64 + 1.0 >= self.window / 2.0 {
            // What is not used does not show that more would do.
            let step = if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
            self.window = (self.window + step).min(MOST);
        }
    }

    /// A connection failed in a way that tells of the host. `jitter`, about 1, keeps several
    /// proxies from trying in step.
    pub fn on_failed(&mut self, failure: Failure, began: Instant, jitter: f64, now: Instant) {
        self.in_flight -= 1;
        self.shrink(0.5, began, now);
        let (first, longest) = failure.pauses();
        self.circuit = match self.circuit {
            Circuit::Closed { failures } if failures + 1 < failure.patience() => {
                Circuit::Closed { failures: failures + 1 }
            }
            Circuit::Closed { .. } => {
                Circuit::Open { until: now + first.mul_f64(jitter), pause: first }
            }
            Circuit::Probing { pause } => {
                let pause = (pause * 2).clamp(first, longest);
                Circuit::Open { until: now + pause.mul_f64(jitter), pause }
            }
            // It began before the circuit opened.
            open @ Circuit::Open { .. } => open,
        };
    }

    /// A connection was given up or failed in a way that tells nothing of the host.
    pub fn on_ended(&mut self) {
        self.in_flight -= 1;
    }

    fn limit(&self) -> f64 {
        let window = match self.circuit {
            Circuit::Closed { .. } => self.window,
            Circuit::Open { .. } | Circuit::Probing { .. } => 1.0,
        };
        match self.ceilings.at_once {
            0 => window,
            most => window.min(most as f64),
        }
    }

    fn take_turn(&mut self) -> Option<Ticket> {
        let (pool, mut tickets) = self.queue.pop_front()?;
        let ticket = tickets.pop_front()?;
        if !tickets.is_empty() {
            self.queue.push_back((pool, tickets));
        }
        self.waiting -= 1;
        Some(ticket)
    }

    /// `None`, and it is taken, if one may begin by the rate; else when one may.
    fn next_allowed(&mut self, now: Instant) -> Option<Instant> {
        if self.ceilings.per_second == 0 {
            return None;
        }
        let rate = self.ceilings.per_second as f64;
        let passed = now.saturating_duration_since(self.allowed_at).as_secs_f64();
        // No more than this can be saved up: a second that saw none is no claim to two at once.
        self.allowance = (self.allowance + passed * rate).min(1.0);
        self.allowed_at = self.allowed_at.max(now);
        if self.allowance >= 1.0 {
            self.allowance -= 1.0;
            return None;
        }
        let missing = Duration::from_secs_f64((1.0 - self.allowance) / rate);
        Some(now + missing.max(Duration::from_micros(1)))
    }

    /// Takes a time into what is usual, and gives that.
    fn note_time(&mut self, took: Duration, now: Instant) -> Duration {
        let mean = self.mean.map_or(took, |mean| (mean * 7 + took) / 8);
        self.mean = Some(mean);
        // A shorter one is believed at once; that a host has become slower for good, in time.
        let passed = self.timed.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let part = (passed.as_secs_f64() / MEMORY.as_secs_f64()).min(1.0);
        let usual = self.usual.map_or(took, |usual| match took.checked_sub(usual) {
            Some(more) => usual + more.mul_f64(part),
            None => took,
        });
        (self.usual, self.timed) = (Some(usual), Some(now));
        usual
    }

    /// Once for all that were in flight together.
    fn shrink(&mut self, factor: f64, began: Instant, now: Instant) {
        if self.shrunk.is_some_and(|shrunk| began < shrunk) {
            return;
        }
        self.shrunk = Some(now);
        self.window = (self.window * factor).max(1.0);
        self.threshold = self.window;
    }
}

impl Failure {
    /// The pause after the first, and the longest.
    fn pauses(self) -> (Duration, Duration) {
        let (first, longest) = match self {
            // Who is told so by every attempt lets those connect who PostgreSQL has room for.
            Self::Full => (600, 2_000),
            Self::Away => (50, 1_000),
            Self::Slow => (50, 5_000),
        };
        (Duration::from_millis(first), Duration::from_millis(longest))
    }

    /// How many in a row open the circuit.
    fn patience(self) -> u32 {
        match self {
            Self::Full | Self::Away => 1,
            Self::Slow => 3,
        }
    }
}

/// In flight at first: as many as the smallest host has cores.
const FIRST_WINDOW: f64 = 2.0;
/// In flight at most.
const MOST: f64 = 256.0;
/// So many times the usual time is slow: those opened together on one core take turns.
const SLOW: f64 = 3.0;
/// What may always come on top of that: a busy machine's scheduling.
const SLACK: Duration = Duration::from_millis(10);
/// How long it takes until a slower time is the usual one.
const MEMORY: Duration = Duration::from_secs(30);
/// What slow ones shrink the window by.
const GENTLY: f64 = 0.7;
/// What opening takes as long as nobody knows.
const UNKNOWN_TIME: Duration = Duration::from_millis(5);

#[cfg(test)]
#[path = "governor_tests.rs"]
mod tests;
