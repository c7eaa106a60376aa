use proptest::prelude::*;

use super::*;

/// Who has the slots; the others have none.
const HELD: PoolId = PoolId(1000);

fn slots(host: usize, database: usize) -> Slots {
    Slots::new(limits(host, database))
}

fn limits(host: usize, database: usize) -> SlotLimits {
    SlotLimits { host, database, user: 0 }
}

fn name(database: u16) -> Owner {
    Owner { database: format!("d{database}").into(), user: "u".into() }
}

fn pool_of(grant: Option<Grant>) -> Option<u64> {
    grant.map(|g| g.pool.0)
}

#[test]
fn nobody_is_offered_what_it_has_itself() {
    let mut slots = slots(1, 0);
    let a = name(0);
    slots.try_take(HELD, &a).unwrap();
    slots.starve(HELD, &a, Instant::now());
    assert!(!slots.offer(HELD, &a));
    slots.starve(PoolId(1), &a, Instant::now());
    assert!(slots.offer(HELD, &a));
    assert_eq!(pool_of(slots.release(HELD, &a, true)), Some(HELD.0));
}

#[test]
fn a_share_is_the_same_for_all_who_have_some_or_want_some() {
    let mut slots = slots(60, 0);
    let a = name(0);
    assert_eq!(slots.share(&a), 30);
    for pool in [1, 1, 1, 2, 3, 4, 5] {
        slots.try_take(PoolId(pool), &a).unwrap();
    }
    assert_eq!(slots.share(&a), 12);
    slots.resize(limits(7, 0));
    for pool in [5, 6] {
        assert_eq!(slots.starve(PoolId(pool), &a, Instant::now()), None);
    }
    slots.resize(limits(60, 0));
    assert_eq!(slots.share(&a), 10);
    for pool in [1, 1, 1] {
        slots.release(PoolId(pool), &a, false);
    }
    assert_eq!(slots.share(&a), 12);
}

#[test]
fn a_share_of_a_limit_is_for_those_under_it() {
    let of = |n: u64| Owner { database: "d".into(), user: format!("u{n}").into() };
    let mut slots = Slots::new(SlotLimits { host: 100, database: 0, user: 6 });
    for pool in 0..50 {
        slots.try_take(PoolId(pool), &of(pool)).unwrap();
    }
    assert_eq!(slots.share(&of(0)), 2, "of the host's");
    slots.resize(SlotLimits { host: 0, database: 0, user: 6 });
    assert_eq!(slots.share(&of(0)), 3, "of the user's own");
}

#[test]
fn no_limit_never_fills() {
    let mut slots = slots(0, 0);
    for _ in 0..1000 {
        slots.try_take(HELD, &name(0)).unwrap();
    }
    assert_eq!(slots.used(), 1000);
}

#[test]
fn full_names_the_limit() {
    let mut slots = slots(3, 2);
    let (a, b) = (name(0), name(1));
    slots.try_take(HELD, &a).unwrap();
    slots.try_take(HELD, &a).unwrap();
    assert_eq!(slots.try_take(HELD, &a), Err(Full::Database { limit: 2 }));
    slots.try_take(HELD, &b).unwrap();
    assert_eq!(slots.try_take(HELD, &b), Err(Full::Host { limit: 3 }));
}

#[test]
fn a_freed_slot_passes_to_the_oldest_and_cannot_be_overtaken() {
    let mut slots = slots(1, 0);
    let (a, now) = (name(0), Instant::now());
    slots.try_take(HELD, &a).unwrap();
    for pool in 0..3 {
        assert_eq!(slots.starve(PoolId(pool), &a, now), None);
    }
    slots.starve(PoolId(0), &a, now);
    assert_eq!(slots.starving(), 3);
    assert!(!slots.goes_round(&a, now));
    assert!(slots.goes_round(&a, now + Duration::from_secs(1)), "somebody has none");
    for pool in 0..3 {
        assert_eq!(pool_of(slots.release(HELD, &a, false)), Some(pool));
        assert!(slots.try_take(HELD, &a).is_err());
    }
    assert_eq!(slots.release(HELD, &a, false), None);
    assert_eq!(slots.used(), 0);
}

#[test]
fn a_pool_whose_database_is_full_is_passed_over() {
    let mut slots = slots(3, 2);
    let (a, b, now) = (name(0), name(1), Instant::now());
    for database in [&a, &a, &b] {
        slots.try_take(HELD, database).unwrap();
    }
    slots.starve(PoolId(1), &a, now);
    slots.starve(PoolId(2), &b, now);
    assert_eq!(pool_of(slots.release(HELD, &b, false)), Some(2));
    assert_eq!(pool_of(slots.release(HELD, &a, false)), Some(1));
}

#[test]
fn a_pool_that_left_is_not_granted() {
    let mut slots = slots(1, 0);
    let (a, now) = (name(0), Instant::now());
    slots.try_take(HELD, &a).unwrap();
    slots.starve(PoolId(1), &a, now);
    slots.starve(PoolId(2), &a, now);
    slots.sated(PoolId(1));
    assert_eq!(pool_of(slots.release(HELD, &a, false)), Some(2));
}

#[test]
fn starving_with_room_is_granted_at_once() {
    let mut slots = slots(1, 0);
    assert_eq!(pool_of(slots.starve(PoolId(7), &name(0), Instant::now())), Some(7));
    assert_eq!((slots.used(), slots.starving()), (1, 0));
}

#[test]
fn growing_grants_as_many_as_fit_and_shrinking_takes_none_away() {
    let mut slots = slots(1, 0);
    let (a, now) = (name(0), Instant::now());
    slots.try_take(HELD, &a).unwrap();
    for pool in 0..4 {
        slots.starve(PoolId(pool), &a, now);
    }
    let granted = slots.resize(limits(3, 0));
    assert_eq!(granted.iter().map(|g| g.pool.0).collect::<Vec<_>>(), [0, 1]);
    assert!(slots.resize(limits(2, 0)).is_empty());
    assert_eq!(slots.used(), 3);
    assert_eq!(slots.release(HELD, &a, false), None);
    assert_eq!(pool_of(slots.release(HELD, &a, false)), Some(2));
}

#[test]
fn one_offer_is_taken_for_each_starving_pool() {
    let mut slots = slots(3, 0);
    let (a, b, now) = (name(0), name(1), Instant::now());
    for _ in 0..3 {
        slots.try_take(HELD, &a).unwrap();
    }
    assert!(!slots.offer(HELD, &a));
    slots.starve(PoolId(1), &b, now);
    assert!(slots.offer(HELD, &a));
    assert!(!slots.offer(HELD, &a));
    assert_eq!(pool_of(slots.release(HELD, &a, true)), Some(1));
    slots.starve(PoolId(2), &b, now);
    assert!(slots.offer(HELD, &a));
}

#[test]
fn an_offer_that_would_not_feed_is_not_taken() {
    let mut slots = slots(0, 1);
    let (a, b, now) = (name(0), name(1), Instant::now());
    slots.try_take(HELD, &a).unwrap();
    slots.try_take(HELD, &b).unwrap();
    slots.starve(PoolId(1), &b, now);
    assert!(!slots.offer(HELD, &a));
    assert!(slots.offer(HELD, &b));
}

#[test]
fn a_user_has_no_more_than_its_limit_over_all_databases() {
    let mut slots = Slots::new(SlotLimits { host: 0, database: 0, user: 2 });
    let of = |database: &str, user: &str| Owner { database: database.into(), user: user.into() };
    let (now, ann) = (Instant::now(), of("a", "ann"));
    slots.try_take(HELD, &ann).unwrap();
    slots.try_take(HELD, &of("b", "ann")).unwrap();
    slots.try_take(HELD, &of("c", "bob")).unwrap();
    assert_eq!(slots.try_take(HELD, &of("c", "ann")), Err(Full::User { limit: 2 }));
    slots.starve(PoolId(1), &of("c", "ann"), now);
    assert!(!slots.offer(HELD, &of("c", "bob")), "it does not help her");
    assert!(slots.offer(HELD, &of("b", "ann")));
    assert_eq!(slots.release(HELD, &of("c", "bob"), false), None);
    assert_eq!(pool_of(slots.release(HELD, &of("b", "ann"), true)), Some(1));
}

#[derive(Debug, Clone)]
enum Step {
    Take(u16),
    Starve(u64),
    Sated(u64),
    Release(usize),
    Resize(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..DATABASES).prop_map(Step::Take),
        4 => (0..POOLS).prop_map(Step::Starve),
        1 => (0..POOLS).prop_map(Step::Sated),
        4 => any::<usize>().prop_map(Step::Release),
        1 => (0..6usize, 0..4usize).prop_map(|(host, each)| Step::Resize(host, each)),
    ]
}

/// The plainest thing that could be right: two lists, counted anew at each question.
#[derive(Default)]
struct Model {
    host: usize,
    each: usize,
    held: Vec<u16>,
    queue: Vec<u64>,
}

/// Pool `n` is one of database `n % DATABASES`.
fn database_of(pool: u64) -> u16 {
    (pool % u64::from(DATABASES)) as u16
}

impl Model {
    fn room(&self, database: u16) -> bool {
        let of_database = self.held.iter().filter(|d| **d == database).count();
        (self.host == 0 || self.held.len() < self.host)
            && (self.each == 0 || of_database < self.each)
    }

    fn grant(&mut self) -> Option<u64> {
        let index = self.queue.iter().position(|p| self.room(database_of(*p)))?;
        let pool = self.queue.remove(index);
        self.held.push(database_of(pool));
        Some(pool)
    }

    /// Does the step on both and compares what they say.
    fn step(&mut self, slots: &mut Slots, step: &Step, now: Instant) {
        match *step {
            Step::Take(database) => {
                let room = self.room(database);
                assert_eq!(slots.try_take(HELD, &name(database)).is_ok(), room);
                self.held.extend(room.then_some(database));
            }
            Step::Starve(pool) => {
                if !self.queue.contains(&pool) {
                    self.queue.push(pool);
                }
                let granted = slots.starve(PoolId(pool), &name(database_of(pool)), now);
                assert_eq!(pool_of(granted), self.grant());
            }
            Step::Sated(pool) => {
                self.queue.retain(|p| *p != pool);
                slots.sated(PoolId(pool));
            }
            Step::Release(_) if self.held.is_empty() => {}
            Step::Release(index) => {
                let database = self.held.remove(index % self.held.len());
                assert_eq!(pool_of(slots.release(HELD, &name(database), false)), self.grant());
            }
            Step::Resize(host, each) => {
                (self.host, self.each) = (host, each);
                let granted = slots.resize(limits(host, each));
                let expected: Vec<_> = std::iter::from_fn(|| self.grant()).collect();
                assert_eq!(granted.iter().map(|g| g.pool.0).collect::<Vec<_>>(), expected);
            }
        }
    }

    fn check(&self, slots: &Slots) {
        assert_eq!((slots.used(), slots.starving()), (self.held.len(), self.queue.len()));
        for database in 0..DATABASES {
            let held = self.held.iter().filter(|d| **d == database).count();
            assert_eq!(slots.used_by(&name(database).database), held);
        }
        assert!(!self.queue.iter().any(|p| self.room(database_of(*p))), "a slot lies idle");
    }
}

proptest! {
    #[test]
    fn slots_do_what_the_model_does(
        host in 0..6usize,
        each in 0..4usize,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let now = Instant::now();
        let mut slots = slots(host, each);
        let mut model = Model { host, each, ..Model::default() };
        for step in &steps {
            let before = slots.used();
            model.step(&mut slots, step, now);
            model.check(&slots);
            let limit = slots.limits().host;
            prop_assert!(limit == 0 || slots.used() <= limit.max(before), "above the limit");
        }
        while !model.held.is_empty() {
            model.step(&mut slots, &Step::Release(0), now);
        }
        prop_assert_eq!(slots.starving(), 0, "somebody starves for ever");
    }
}

const DATABASES: u16 = 3;
const POOLS: u64 = 7;
