//! A storm from its beginning to its end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::StormError;
use super::access::Access;
use super::function::{self, Work};
use super::idle::Idle;
use super::observer::Observer;
use super::plan::{Class, Plan};
use super::progress::{EVERY, Progress};
use super::report::{Clock, Report};
use super::sample::Sampler;
use super::schedule::Schedule;
use super::tally::{Gauges, Tally};

/// Runs a storm to its end. One login of each class ahead of it, which is not counted, tells a wrong
/// connection string early and derives the password's keys; of a cold one, the first functions derive them. Dropped midway, all functions are gone.
pub async fn run(plan: &Plan) -> Result<Report, StormError> {
    run_and_tell(plan, |_| {}).await
}

/// As [`run`]; meanwhile tells every second where it is.
pub async fn run_and_tell(
    plan: &Plan,
    mut tell: impl FnMut(&Progress),
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
    let clocks = watch.during(storm(plan, &works, start), &mut tell).await;
    watch.during(leave(idle), &mut tell).await;
    let points = watch.end();
    let observed = observer.map(|observer| observer.observed());
    Ok(Report::new(&works, &clocks, points, observed))
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
    let start = start + work.class.start;
    let mut there = arrivals(&work, &room, start).await;
    let arrived = start.elapsed().as_secs_f64();
    while let Some(ended) = there.join_next().await {
        if ended.is_err() {
            work.tally().broken();
        }
    }
    if work.class.idle > 0 {
        sleep_until(start + work.class.duration).await;
    }
    let ended = start.elapsed().as_secs_f64();
    Clock { start: work.class.start.as_secs_f64(), arrived, ended }
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
                work.tally().arrived(due.elapsed());
                there.spawn(with_a_place(Arc::clone(work), until, place));
            }
            Err(_) => work.tally().missed += 1,
        }
    }
    there
}

async fn with_a_place(work: Arc<Work>, until: Instant, _place: OwnedSemaphorePermit) {
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
        }
    }

    async fn during<T>(
        &mut self,
        what: impl Future<Output = T>,
        tell: &mut impl FnMut(&Progress),
    ) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                ended = &mut what => return ended,
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

    /// With a last point, so that nothing is left out.
    fn end(mut self) -> Vec<super::sample::Point> {
        self.sampler.take(self.works, self.observer);
        self.sampler.into_points()
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
