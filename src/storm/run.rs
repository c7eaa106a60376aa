//! A storm from its beginning to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::StormError;
use super::access::Access;
use super::busiest::Busiest;
use super::function::{self, Work};
use super::idle::Idle;
use super::observer::Observer;
use super::plan::{Class, Plan};
use super::progress::{EVERY, Progress};
use super::report::{Clock, Report, Series};
use super::sample::Sampler;
use super::schedule::Schedule;
use super::tally::{Gauges, Tally};

/// Runs a storm to its end. One login of each class ahead of it, which is not counted, tells a wrong
/// connection string early and derives the password's keys; of a cold one, the first functions derive them. Dropped midway, all functions are gone.
pub async fn run(plan: &Plan) -> Result<Report, StormError> {
    run_and_tell(plan, |_| {}, std::future::pending()).await
}

/// As [`run`]; meanwhile tells every second where it is. Once `stop` is over, the storm ends where it is, and so
/// does its report.
pub async fn run_and_tell(
    plan: &Plan,
    mut tell: impl FnMut(&Progress),
    stop: impl Future<Output = ()>,
) -> Result<Report, StormError> {
    plan.check()?;
    let mut works = Vec::new();
    for class in &plan.classes {
        works.push(Arc::new(prepare(class, plan).await?));
    }
    let observer = match &plan.observe {
        Some(observe) => Some(Observer::start(observe, plan).await?),
        None => None,
    };
    let mut idle = Vec::new();
    for work in &works {
        idle.push(Idle::gather(Arc::clone(work)).await);
    }
    let start = Instant::now();
    let mut watch = Watch::new(plan, start, &works, observer.as_ref());
    let whole = async {
        let clocks = storm(plan, &works, start).await;
        leave(idle).await;
        clocks
    };
    let clocks = watch.during(whole, &mut tell, stop).await;
    let interrupted = clocks.is_none();
    let clocks = clocks.unwrap_or_else(|| works.iter().map(|work| clock(work, start)).collect());
    let series = watch.end();
    let observed = observer.map(|observer| observer.observed());
    Ok(Report { interrupted, ..Report::new(&works, &clocks, series, observed) })
}

async fn prepare(class: &Class, plan: &Plan) -> Result<Work, StormError> {
    let (access, timeout) = (Access::of(class)?, plan.timeout);
    if !plan.cold {
        let scout = access.connect(timeout).await;
        let left = scout.map_err(StormError::Login)?.leave(timeout).await;
        left.map_err(StormError::Login)?;
    }
    Ok(Work {
        class: class.clone(),
        access,
        timeout,
        tally: Mutex::new(Tally::new()),
        gauges: Gauges::default(),
    })
}

/// All classes side by side.
async fn storm(plan: &Plan, works: &[Arc<Work>], start: Instant) -> Vec<Clock> {
    let room = Arc::new(Semaphore::new(plan.concurrency.min(Semaphore::MAX_PERMITS)));
    let mut going = JoinSet::new();
    for (number, work) in works.iter().enumerate() {
        let (work, room) = (Arc::clone(work), Arc::clone(&room));
        going.spawn(async move { (number, one_class(work, room, start).await) });
    }
    let mut clocks = vec![Clock::default(); works.len()];
    while let Some(ended) = going.join_next().await {
        if let Ok((number, clock)) = ended
            && let Some(place) = clocks.get_mut(number)
        {
            *place = clock;
        }
    }
    clocks
}

async fn one_class(work: Arc<Work>, room: Arc<Semaphore>, start: Instant) -> Clock {
    let begin = start + work.class.start;
    let mut there = arrivals(&work, &room, begin).await;
    while let Some(ended) = there.join_next().await {
        if ended.is_err() {
            work.tally().broken();
        }
    }
    if work.class.idle > 0 {
        sleep_until(begin + work.class.duration).await;
    }
    clock(&work, start)
}

/// Readings of a class that ends now, in a storm that began at `start`.
fn clock(work: &Work, start: Instant) -> Clock {
    let begin = start + work.class.start;
    let since = |at: Instant| at.saturating_duration_since(begin).as_secs_f64();
    Clock {
        start: work.class.start.as_secs_f64(),
        arrived: work.tally().last_arrival.map_or(0.0, since),
        ended: since(Instant::now()),
    }
}

/// Starts functions by the schedule; returns those that are still there when the last has come.
async fn arrivals(work: &Arc<Work>, room: &Arc<Semaphore>, start: Instant) -> JoinSet<()> {
    let schedule = Schedule::of(&work.class);
    let until = start + work.class.duration;
    let mut there = JoinSet::new();
    for index in 0..schedule.total() {
        let due = start + schedule.at(index);
        sleep_until(due).await;
        while let Some(ended) = there.try_join_next() {
            if ended.is_err() {
                work.tally().broken();
            }
        }
        match Arc::clone(room).try_acquire_owned() {
            Ok(place) => {
                there.spawn(with_a_place(Arc::clone(work), due, until, place));
            }
            Err(_) => work.tally().missed += 1,
        }
    }
    there
}

async fn with_a_place(work: Arc<Work>, due: Instant, until: Instant, _place: OwnedSemaphorePermit) {
    // Here, so that the harness's own delays count.
    work.tally().arrived(due.elapsed());
    function::live(work, until).await;
}

async fn leave(idle: Vec<Idle>) {
    for some in idle {
        some.end().await;
    }
}

/// Who takes samples and tells of the progress while something goes on.
struct Watch<'a> {
    works: &'a [Arc<Work>],
    observer: Option<&'a Observer>,
    limit: Option<u64>,
    planned: u64,
    began: Instant,
    tell_at: Instant,
    sampler: Sampler,
    /// Of each class, and behind them of all together.
    busiest: Busiest,
}

impl<'a> Watch<'a> {
    fn new(
        plan: &Plan,
        began: Instant,
        works: &'a [Arc<Work>],
        observer: Option<&'a Observer>,
    ) -> Self {
        let planned = plan.classes.iter().map(|class| Schedule::of(class).total()).sum();
        Self {
            works,
            observer,
            limit: plan.observe.as_ref().and_then(|observe| observe.limit),
            planned,
            began,
            tell_at: began + EVERY,
            sampler: Sampler::new(began, expected(plan)),
            busiest: Busiest::new(began, works.len() + 1),
        }
    }

    /// `None` if `stop` was over first.
    async fn during<T>(
        &mut self,
        what: impl Future<Output = T>,
        tell: &mut impl FnMut(&Progress),
        stop: impl Future<Output = ()>,
    ) -> Option<T> {
        let mut what = std::pin::pin!(what);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                ended = &mut what => return Some(ended),
                () = &mut stop => return None,
                () = sleep_until(self.busiest.due()) => self.count(),
                () = sleep_until(self.sampler.due()) => self.sampler.take(self.works, self.observer),
                () = sleep_until(self.tell_at) => {
                    tell(&self.progress());
                    self.tell_at = Instant::now() + EVERY;
                }
            }
        }
    }

    fn progress(&self) -> Progress {
        let observer = self.observer.map(|observer| (observer, self.limit));
        Progress::of(self.began.elapsed(), self.planned, self.works, observer)
    }

    /// How many have arrived by now.
    fn count(&mut self) {
        let came = |work: &Arc<Work>| {
            let tally = work.tally();
            tally.arrived + tally.followers
        };
        let classes: Vec<u64> = self.works.iter().map(came).collect();
        let all = classes.iter().sum();
        self.busiest.look(Instant::now(), classes.into_iter().chain([all]));
    }

    /// With a last point, so that nothing is left out.
    fn end(mut self) -> Series {
        self.sampler.take(self.works, self.observer);
        self.count();
        Series { points: self.sampler.into_points(), busiest: self.busiest.most() }
    }
}

/// How long a storm lasts if all goes well.
fn expected(plan: &Plan) -> Duration {
    let ends = plan.classes.iter().map(|class| {
        let stays = class.held().max(class.freeze.min(class.duration)) + class.duration;
        class.start + Schedule::of(class).length().max(stays)
    });
    ends.max().unwrap_or_default()
}
