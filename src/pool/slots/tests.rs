use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SIZE: Size =
    Size { max: 3, min_idle: 0, max_idle: 3, reserve: 0, reserve_after: Duration::ZERO };
const MS: Duration = Duration::from_millis(1);
const DEFAULT: ClassId = ClassId(0);
const LONG: Duration = Duration::from_hours(1);

fn limits() -> ClassLimits {
    ClassLimits::none(LONG)
}

fn slots_of(size: Size, classes: &[ClassLimits]) -> (Slots<u32, u32>, Instant) {
    let now = Instant::now();
    (Slots::new(size, classes, now), now)
}

fn slots() -> (Slots<u32, u32>, Instant) {
    slots_of(SIZE, &[limits()])
}

/// Opens at once what somebody waits for.
fn now_if(ahead: bool) -> Demand {
    Demand { ahead, cost: Duration::ZERO, learning: false }
}

fn opens(s: &mut Slots<u32, u32>, ahead: bool, now: Instant) -> bool {
    // Of what comes for free, there is always enough owed.
    matches!(s.open(now_if(ahead), now + MS), Opening::Now)
}

/// A pool of `size` servers, all leased to `class`.
fn full(size: usize, classes: &[ClassLimits], class: ClassId) -> (Slots<u32, u32>, Instant) {
    let (mut s, now) = slots_of(Size { max: size, max_idle: size, ..SIZE }, classes);
    for n in 0..u32::try_from(size).unwrap() {
        s.wait(class, n, now).unwrap();
        assert!(opens(&mut s, false, now));
        s.opened(now);
        assert_eq!(s.freed(now), Freed::Hand(class, n));
    }
    (s, now)
}

fn back(s: &mut Slots<u32, u32>, class: ClassId, now: Instant) -> Freed<u32> {
    s.returned(class, now);
    s.keep(class);
    s.freed(now)
}

/// How often each of two classes is served when servers come back one after the other, oldest lease first.
fn turns(
    s: &mut Slots<u32, u32>,
    mut holders: VecDeque<ClassId>,
    rounds: usize,
    mut now: Instant,
) -> [usize; 2] {
    let mut turns = [0, 0];
    for _ in 0..rounds {
        now += MS;
        let from = holders.pop_front().unwrap();
        let Freed::Hand(class, _) = back(s, from, now) else { panic!("somebody waits") };
        holders.push_back(class);
        turns[usize::from(class.0)] += 1;
    }
    turns
}

#[test]
fn none_is_opened_while_all_wait_for_what_one_learns() {
    let (mut s, now) = full(1, &[limits()], DEFAULT);
    s.resize(Size { max: 20, ..SIZE });
    let learning = Demand { ahead: false, cost: 6 * MS, learning: true };
    for who in 1..=100 {
        s.wait(DEFAULT, who, now + MS).unwrap();
        assert_eq!(s.open(learning, now + MS), Opening::Later(LEARNT));
    }
    // Waits of that time, 100 times 50 ms, and the lease say nothing of how many servers would do.
    let over = now + MS * 51;
    assert_eq!(s.open(learning, over), Opening::Later(LEARNT));
    assert!(matches!(s.open(Demand { learning: false, ..learning }, over), Opening::Later(_)));
    assert_eq!(s.open(Demand { learning: false, ..learning }, over + MS), Opening::Now);
}

#[test]
fn who_has_waited_for_as_long_as_its_class_may_leaves_in_order() {
    let patient = ClassLimits::none(MS * 30);
    let (mut s, now) = full(1, &[ClassLimits::none(MS * 10), patient], DEFAULT);
    assert_eq!(s.next_deadline(), None);
    for (who, after) in [(10, 0), (11, 5)] {
        s.wait(DEFAULT, who, now + MS * after).unwrap();
    }
    let place = s.wait(ClassId(1), 20, now).unwrap();
    assert_eq!(s.next_deadline(), Some(now + MS * 10));
    assert!(s.take_late(now + MS * 9).is_empty());
    assert_eq!(s.take_late(now + MS * 10), [10]);
    assert_eq!((s.counts().waiting, s.next_deadline()), (2, Some(now + MS * 15)));
    // Those who wait have what a reload gives them.
    s.set_classes(&[ClassLimits::none(MS * 10), ClassLimits::none(MS * 12)], now + MS * 11);
    assert_eq!(s.take_late(now + MS * 15), [11, 20]);
    assert_eq!((s.counts().waiting, s.next_deadline()), (0, None));
    assert_eq!(s.leave(place, now + MS * 15), None);
}

#[test]
fn waiters_are_served_in_order_and_nobody_overtakes() {
    let (mut s, now) = slots();
    let first = s.wait(DEFAULT, 1, now).unwrap();
    s.wait(DEFAULT, 2, now + Duration::from_secs(1)).unwrap();
    assert_eq!(s.waiting_since(), Some(now));
    let later = now + Duration::from_secs(2);
    assert!(
        opens(&mut s, true, later) && opens(&mut s, true, later) && !opens(&mut s, true, later)
    );
    s.opened(now);
    assert_eq!(s.leave(first, later), Some(1));
    assert_eq!(s.freed(later), Freed::Hand(DEFAULT, 2));
    s.opened(now);
    assert_eq!(s.freed(later), Freed::Park);
    s.park(7);
    assert_eq!(s.take(DEFAULT, later), Some(7));
    s.wait(DEFAULT, 3, later).unwrap();
    assert_eq!(back(&mut s, DEFAULT, later), Freed::Hand(DEFAULT, 3));
}

#[test]
fn idle_servers_go_out_newest_first_and_expire_oldest_first() {
    let (mut s, now) = full(3, &[limits()], DEFAULT);
    for n in 0..3 {
        assert_eq!(back(&mut s, DEFAULT, now), Freed::Park);
        s.park(n);
    }
    assert_eq!(s.take(DEFAULT, now), Some(2));
    assert_eq!(s.expire(1, |_| true), [0]);
    assert_eq!(s.total(), 3);
    s.closed();
    assert_eq!(s.total(), 2);
}

#[test]
fn of_the_newest_few_the_one_that_suits_is_taken_else_the_newest() {
    let max = u32::try_from(CHOICE).unwrap() + 2;
    let (mut s, now) = full(CHOICE + 2, &[limits()], DEFAULT);
    for n in 0..max {
        back(&mut s, DEFAULT, now);
        s.park(n);
    }
    let newest = max - 1;
    assert_eq!(s.take_if(DEFAULT, now, |n| *n == 4, |_| false), None);
    assert_eq!(s.take_if(DEFAULT, now, |n| *n == 4, |_| true), Some(4));
    // Too far back.
    assert_eq!(s.take_if(DEFAULT, now, |n| *n == 0, |_| true), Some(newest));
    assert_eq!(s.take_if(DEFAULT, now, |n| *n < newest - 1, |_| true), Some(newest - 2));
    assert_eq!(s.counts().idle, CHOICE - 1);
}

#[test]
fn a_smaller_size_is_reached_as_servers_become_free() {
    let (mut s, now) = full(3, &[limits()], DEFAULT);
    s.resize(Size { max: 2, ..SIZE });
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Evict);
    s.closing();
    // Still three connections, until the EOF; and no more than two after it.
    assert_eq!((s.total(), s.surplus(now)), (3, 0));
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Park);
    s.park(1);
    s.wait(DEFAULT, 7, now).unwrap();
    assert!(!opens(&mut s, true, now + LONG));
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Hand(DEFAULT, 7));
    s.closed();
    assert_eq!(s.total(), 2);
}

#[test]
fn min_idle_opens_without_waiters() {
    let (mut s, now) = slots_of(Size { min_idle: 2, ..SIZE }, &[limits()]);
    assert!(!opens(&mut s, false, now));
    assert!(opens(&mut s, true, now) && opens(&mut s, true, now) && !opens(&mut s, true, now));
}

#[test]
fn a_warm_pool_keeps_so_many_open_for_a_while() {
    let (mut s, now) = slots_of(Size { max: 3, max_idle: 0, ..SIZE }, &[limits()]);
    let until = now + Duration::from_mins(1);
    s.warm(WarmedBy::Operator, 2, until);
    s.warm(WarmedBy::Schedule, 1, until);
    assert!(opens(&mut s, true, now) && opens(&mut s, true, now) && !opens(&mut s, true, now));
    assert!(!s.is_opening_too_many(true, now) && s.is_opening_too_many(false, now));
    for n in 0..2 {
        s.opened(now);
        assert_eq!(s.freed(now), Freed::Park, "though none may be idle else");
        s.park(n);
    }
    assert_eq!((s.spare(now), s.surplus(now)), (0, 0));
    // One that works is one of them.
    s.take(DEFAULT, now);
    assert!(!opens(&mut s, true, now));
    assert_eq!((s.spare(until), s.surplus(until)), (1, 1));
    assert_eq!(back(&mut s, DEFAULT, until), Freed::Evict);
}

#[test]
fn a_cold_pool_opens_one_and_more_as_waiting_comes_to_what_they_cost() {
    let (mut s, now) = slots();
    for n in 0..3 {
        s.wait(DEFAULT, n, now).unwrap();
    }
    let demand = Demand { ahead: false, cost: 6 * MS, learning: false };
    assert_eq!(s.open(demand, now), Opening::Now);
    // It may do for all of them.
    assert_eq!(s.open(demand, now + MS), Opening::Later(11 * MS + 3 * MS));
    s.opened(now);
    assert_eq!(s.freed(now + 2 * MS), Freed::Hand(DEFAULT, 0));
    // Two wait on, and nobody returns.
    let Opening::Later(after) = s.open(demand, now + 2 * MS) else { panic!("not yet") };
    assert!(after <= 3 * MS, "{after:?}");
    assert_eq!(s.open(demand, now + 3 * MS + after), Opening::Now);
}

#[test]
fn a_reserve_is_there_for_those_who_have_waited_long_and_goes_when_nobody_waits() {
    let (mut s, now) = full(2, &[limits()], DEFAULT);
    s.resize(Size { max: 2, reserve: 1, reserve_after: 100 * MS, ..SIZE });
    s.wait(DEFAULT, 7, now).unwrap();
    s.wait(DEFAULT, 8, now).unwrap();
    assert_eq!(s.open(now_if(true), now + 30 * MS), Opening::Later(70 * MS));
    let late = now + 100 * MS;
    assert_eq!(s.open(now_if(true), late), Opening::Now);
    assert_eq!(s.open(now_if(true), late), Opening::No, "the reserve is one");
    assert!(!s.is_opening_too_many(false, late));
    s.opened(now);
    assert_eq!(s.freed(late), Freed::Hand(DEFAULT, 7));
    assert_eq!(back(&mut s, DEFAULT, late), Freed::Hand(DEFAULT, 8));
    assert_eq!(back(&mut s, DEFAULT, late), Freed::Evict);
    s.closing();
    s.closed();
    assert_eq!(back(&mut s, DEFAULT, late), Freed::Park);
}

#[test]
fn what_was_opened_for_those_who_are_served_is_too_much() {
    let (mut s, now) = full(2, &[limits()], DEFAULT);
    s.resize(Size { max: 4, max_idle: 4, ..SIZE });
    s.wait(DEFAULT, 9, now).unwrap();
    assert!(opens(&mut s, false, now + LONG));
    assert!(!s.is_opening_too_many(false, now));
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Hand(DEFAULT, 9));
    assert!(s.is_opening_too_many(false, now));
    s.open_failed(now);
    assert_eq!(s.total(), 2);
}

#[test]
fn classes_share_the_servers_time_by_weight() {
    // Of one server; both always have somebody in the queue, and one holds a server ten times as long.
    let heavy = ClassLimits { weight: 3, ..limits() };
    let (mut s, mut now) = full(1, &[limits(), heavy], DEFAULT);
    let (quick, slow) = (ClassId(0), ClassId(1));
    for n in 0..10 {
        s.wait(quick, n, now).unwrap();
        s.wait(slow, n, now).unwrap();
    }
    let (mut holder, mut used) = (quick, [Duration::ZERO; 2]);
    for n in 0..2000 {
        let time = if holder == quick { MS } else { 10 * MS };
        now += time;
        used[usize::from(holder.0)] += time;
        let Freed::Hand(class, _) = back(&mut s, holder, now) else { panic!("somebody waits") };
        s.wait(class, n, now).unwrap();
        holder = class;
    }
    let ratio = used[1].as_secs_f64() / used[0].as_secs_f64();
    assert!((2.8..3.2).contains(&ratio), "{ratio}");
}

#[test]
fn two_classes_take_turns_beside_one_for_which_a_server_is_kept() {
    let kept = ClassLimits { guaranteed: 1, ..limits() };
    let (one, other) = (ClassId(0), ClassId(1));
    let (mut s, now) = full(2, &[limits(), limits(), limits()], one);
    s.resize(Size { max: 3, max_idle: 3, ..SIZE });
    s.set_classes(&[limits(), limits(), kept], now);
    for n in 0..100 {
        s.wait(one, n, now).unwrap();
        s.wait(other, n, now).unwrap();
    }
    let turns = turns(&mut s, [one, one].into(), 60, now);
    assert!(turns.iter().all(|served| (25..=35).contains(served)), "{turns:?}");
}

#[test]
fn an_idle_server_that_is_kept_for_a_class_is_dispatched_to_no_other() {
    let kept = |guaranteed| ClassLimits { guaranteed, ..limits() };
    let (mut s, now) = slots_of(Size { max: 4, max_idle: 4, ..SIZE }, &[limits(), limits()]);
    for n in 0..4 {
        s.wait(DEFAULT, n, now).unwrap();
        assert!(opens(&mut s, false, now));
        s.opened(now);
        assert_eq!(s.freed(now), Freed::Hand(DEFAULT, n));
    }
    s.set_classes(&[limits(), kept(2)], now);
    for n in 0..2 {
        assert_eq!(back(&mut s, DEFAULT, now), Freed::Park);
        s.park(n);
    }
    s.wait(DEFAULT, 8, now).unwrap();
    s.wait(DEFAULT, 9, now).unwrap();
    assert_eq!(s.dispatch(now), None);
    s.set_classes(&[limits(), kept(1)], now);
    assert_eq!(s.dispatch(now), Some((1, DEFAULT, 8)));
    assert_eq!(s.dispatch(now), None, "the last is kept");
    assert_eq!(s.counts(), Counts { leased: 3, idle: 1, waiting: 1, ..Counts::default() });
}

#[test]
fn one_of_a_small_class_is_next_whatever_the_queue_of_a_greedy_one() {
    let (greedy, small) = (ClassId(0), ClassId(1));
    let (mut s, mut now) = full(4, &[limits(), limits()], greedy);
    for n in 0..1000 {
        s.wait(greedy, n, now).unwrap();
    }
    for n in 0..50 {
        now += MS;
        assert_eq!(back(&mut s, greedy, now), Freed::Hand(greedy, n));
    }
    s.wait(small, 7, now).unwrap();
    now += MS;
    assert_eq!(back(&mut s, greedy, now), Freed::Hand(small, 7));
    // And it cannot save up: it waits its turn when it comes with many.
    for n in 0..1000 {
        s.wait(small, n, now).unwrap();
    }
    let turns = turns(&mut s, [greedy, greedy, greedy, small].into(), 200, now);
    assert!(turns.iter().all(|served| (90..=110).contains(served)), "{turns:?}");
}

/// Two clients of a small class that are away for so long after each lease, beside a greedy one of which many wait; all
/// leases take 8 ms and begin together. How often each class was served in a second behind the first, and how often
/// the small one waited.
fn beside_a_greedy_one(away: u32) -> ([usize; 2], usize) {
    let small = ClassId(1);
    let (mut s, start) = full(4, &[limits(), limits()], DEFAULT);
    let mut busy: Vec<_> = (0..4).map(|n| (n, DEFAULT, n, 8)).collect();
    let mut coming = vec![(1, 100), (1, 101)];
    (10..90).for_each(|who| _ = s.wait(DEFAULT, who, start).unwrap());
    let (mut served, mut waited) = ([0, 0], 0);
    for ms in 1..2_000 {
        let (now, counts) = (start + ms * MS, ms >= 1_000);
        s.unkeep(now);
        let mut lent: Vec<_> = std::iter::from_fn(|| s.dispatch(now)).collect();
        for (_, who) in coming.extract_if(.., |(at, _)| *at <= ms) {
            match s.take(small, now) {
                Some(server) => lent.push((server, small, who)),
                None => {
                    s.wait(small, who, now).unwrap();
                    waited += usize::from(counts);
                }
            }
        }
        for (server, class, who, _) in busy.extract_if(.., |(.., until)| *until <= ms) {
            match class {
                DEFAULT => _ = s.wait(DEFAULT, who, now).unwrap(),
                _ => coming.push((ms + away, who)),
            }
            match back(&mut s, class, now) {
                Freed::Hand(class, who) => lent.push((server, class, who)),
                Freed::Park => s.park(server),
                Freed::Evict => panic!("it is not too many"),
            }
        }
        for (server, class, who) in lent {
            served[usize::from(class.0)] += usize::from(counts);
            busy.push((server, class, who, ms + 8));
        }
    }
    (served, waited)
}

#[test]
fn what_a_class_gives_back_is_kept_for_it_for_a_moment_while_it_uses_least() {
    let (served, waited) = beside_a_greedy_one(2);
    assert!((199..=201).contains(&served[1]) && waited == 0, "{served:?}, {waited} waited");
    assert!(served[0] >= 245, "two servers of four are theirs: {served:?}");
}

#[test]
fn nothing_is_kept_for_who_is_away_for_longer() {
    let (served, _) = beside_a_greedy_one(7);
    assert!(served.iter().sum::<usize>() >= 490, "no server is ever idle: {served:?}");
}

#[test]
fn one_who_comes_late_does_not_wait_behind_what_a_guarantee_has_used() {
    let kept = ClassLimits { guaranteed: 3, ..limits() };
    let (greedy, guaranteed, late) = (ClassId(0), ClassId(1), ClassId(2));
    let (mut s, mut now) = full(4, &[limits(), limits(), limits()], greedy);
    s.set_classes(&[limits(), kept, limits()], now);
    for n in 0..1000 {
        s.wait(greedy, n, now).unwrap();
        s.wait(guaranteed, n, now).unwrap();
    }
    let mut holders = VecDeque::from([greedy; 4]);
    let mut next = |s: &mut Slots<u32, u32>, now: &mut Instant| {
        *now += MS;
        let Freed::Hand(class, _) = back(s, holders.pop_front().unwrap(), *now) else {
            panic!("somebody waits")
        };
        holders.push_back(class);
        class
    };
    let served: Vec<_> = (0..400).map(|_| next(&mut s, &mut now)).collect();
    assert!((290..=310).contains(&served.iter().filter(|class| **class == guaranteed).count()));
    s.wait(late, 0, now).unwrap();
    assert!((0..9).any(|_| next(&mut s, &mut now) == late));
}

#[test]
fn what_a_class_used_while_nobody_waited_is_not_held_against_it() {
    let (old, new) = (ClassId(0), ClassId(1));
    let (mut s, mut now) = full(2, &[limits(), limits()], old);
    // It has worked all day.
    now += 8 * LONG;
    for n in 0..100 {
        s.wait(new, n, now).unwrap();
        s.wait(old, n, now).unwrap();
    }
    let turns = turns(&mut s, [old, old].into(), 40, now);
    assert!(turns.iter().all(|served| (15..=25).contains(served)), "{turns:?}");
}

#[test]
fn more_guaranteed_than_there_is_leaves_one_to_others() {
    // As with a limit in per cent, before it is known of how many.
    let kept = ClassLimits { guaranteed: 3, ..limits() };
    let (mut s, now) = slots_of(SIZE, &[limits(), kept]);
    s.wait(DEFAULT, 1, now).unwrap();
    s.wait(DEFAULT, 2, now).unwrap();
    assert!(opens(&mut s, false, now + LONG));
    assert!(!opens(&mut s, false, now + LONG), "two are kept");
    s.opened(now);
    assert_eq!(s.freed(now), Freed::Hand(DEFAULT, 1));
}

#[test]
fn a_guarantee_of_all_there_is_starves_nobody_while_its_class_waits() {
    let kept = ClassLimits { guaranteed: 5, ..limits() };
    let (mut s, now) = full(4, &[limits(), kept], ClassId(1));
    for n in 0..100 {
        s.wait(DEFAULT, n, now).unwrap();
        s.wait(ClassId(1), 1000 + n, now).unwrap();
    }
    let served = (0..20).filter(|_| {
        let Freed::Hand(class, _) = back(&mut s, ClassId(1), now) else { panic!("both wait") };
        if class == DEFAULT {
            // It is done at once, and the other has its place.
            let Freed::Hand(next, _) = back(&mut s, DEFAULT, now) else { panic!("both wait") };
            assert_eq!(next, DEFAULT, "one is left to it");
        }
        class == DEFAULT
    });
    assert!(served.count() > 0);
}

#[test]
fn a_queue_of_nobody_refuses_only_whom_no_server_is_coming_for() {
    let none = ClassLimits { queue_limit: Some(0), ..limits() };
    let (mut s, now) = slots_of(SIZE, &[none]);
    for n in 0..SIZE.max as u32 {
        s.wait(DEFAULT, n, now).unwrap();
    }
    assert!(s.wait(DEFAULT, 100, now).is_err());
    let (mut s, now) = full(2, &[none], DEFAULT);
    assert!(s.wait(DEFAULT, 100, now).is_err());
}

#[test]
fn the_reserve_is_for_those_whom_one_more_helps() {
    let capped = ClassLimits { max_servers: Some(1), ..limits() };
    let kept = ClassLimits { guaranteed: 1, ..limits() };
    let (mut s, now) = full(2, &[limits(), capped, kept], ClassId(2));
    s.resize(Size { max: 2, min_idle: 1, reserve: 1, reserve_after: 100 * MS, ..SIZE });
    assert_eq!(back(&mut s, ClassId(2), now), Freed::Park);
    s.park(1);
    let batch = ClassId(1);
    assert_eq!(s.take(batch, now), Some(1));
    s.wait(batch, 1, now).unwrap();
    let late = now + 100 * MS;
    assert_eq!(s.open(now_if(true), late), Opening::No, "nobody is helped");
    // Another class has its own time to wait.
    s.wait(DEFAULT, 2, late).unwrap();
    assert_eq!(s.open(now_if(true), late + 30 * MS), Opening::Later(70 * MS));
    assert_eq!(s.open(now_if(true), late + 100 * MS), Opening::Now);
    s.opened(late);
    assert_eq!(s.freed(late + 100 * MS), Freed::Hand(DEFAULT, 2));
}

#[test]
fn a_class_has_no_more_than_its_limit_and_idle_servers_stay() {
    let capped = ClassLimits { max_servers: Some(1), ..limits() };
    let (mut s, now) = slots_of(SIZE, &[limits(), capped]);
    let batch = ClassId(1);
    for n in 0..3 {
        s.wait(batch, n, now).unwrap();
    }
    let later = now + LONG;
    assert!(opens(&mut s, false, later));
    assert!(!opens(&mut s, false, later), "two of them cannot have one");
    s.opened(now);
    assert_eq!(s.freed(later), Freed::Hand(batch, 0));
    s.wait(DEFAULT, 9, later).unwrap();
    assert!(opens(&mut s, false, later + LONG));
    s.opened(now);
    assert_eq!(s.freed(later), Freed::Hand(DEFAULT, 9));
    assert_eq!(back(&mut s, DEFAULT, later), Freed::Park);
    s.park(5);
    assert_eq!(s.dispatch(later), None);
    assert_eq!(s.take(batch, later), None);
    assert_eq!(back(&mut s, batch, later), Freed::Hand(batch, 1));
    // Until it may have more.
    s.set_classes(&[limits(), ClassLimits { max_servers: Some(2), ..limits() }], later);
    assert_eq!(s.dispatch(later), Some((5, batch, 2)));
}

#[test]
fn what_is_guaranteed_to_a_class_is_kept_for_it() {
    let kept = ClassLimits { guaranteed: 1, ..limits() };
    let (mut s, now) = full(2, &[limits(), limits()], DEFAULT);
    s.resize(Size { max: 3, max_idle: 3, ..SIZE });
    s.set_classes(&[limits(), kept], now);
    let dear = ClassId(1);
    s.wait(DEFAULT, 1, now).unwrap();
    assert!(!opens(&mut s, false, now + LONG), "the third is kept");
    s.wait(dear, 2, now).unwrap();
    assert!(opens(&mut s, false, now + LONG));
    s.opened(now);
    assert_eq!(s.freed(now), Freed::Hand(dear, 2));
    assert_eq!(back(&mut s, dear, now), Freed::Park);
    s.park(3);
    assert_eq!(s.take(DEFAULT, now), None);
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Hand(DEFAULT, 1));
    assert_eq!(s.take(dear, now), Some(3));
}

#[test]
fn a_full_queue_refuses_and_says_how_long_it_is() {
    let short = ClassLimits { queue_limit: Some(2), ..limits() };
    let (mut s, mut now) = full(1, &[short], DEFAULT);
    s.wait(DEFAULT, 1, now).unwrap();
    s.wait(DEFAULT, 2, now).unwrap();
    let crowd = Crowd { waiting: 2, expected: None };
    assert_eq!(s.wait(DEFAULT, 3, now), Err((3, crowd)));
    for n in 3..6 {
        now += 100 * MS;
        assert!(matches!(back(&mut s, DEFAULT, now), Freed::Hand(..)));
        s.wait(DEFAULT, n, now).unwrap();
    }
    let crowd = Crowd { waiting: 2, expected: Some(200 * MS) };
    assert_eq!(s.wait(DEFAULT, 9, now), Err((9, crowd)));
}

#[test]
fn newcomers_want_one_server_together_and_leave_when_they_know_enough() {
    let short = ClassLimits { queue_limit: Some(1), ..limits() };
    let (mut s, now) = slots_of(Size { max: 1, ..SIZE }, &[short]);
    let ids: Vec<_> = (0..100).map(|n| s.wait_as_newcomer(DEFAULT, n, now).unwrap()).collect();
    assert!(opens(&mut s, false, now));
    assert!(!opens(&mut s, false, now + LONG), "one does for all of them");
    assert_eq!(s.leave(ids[0], now), Some(0));
    s.wait(DEFAULT, 200, now).unwrap();
    // The one server that there may be is for the first.
    let other = s.wait(DEFAULT, 201, now).unwrap();
    assert_eq!(s.wait(DEFAULT, 299, now).unwrap_err().0, 299);
    assert!(s.leave(other, now).is_some());
    assert_eq!(s.take_newcomers(now), (1..100).collect::<Vec<_>>());
    assert_eq!((s.counts().waiting, s.leave(ids[1], now)), (1, None));
    s.opened(now);
    assert_eq!(s.freed(now), Freed::Hand(DEFAULT, 200));
    assert!(!s.is_opening_too_many(false, now));
    // One that is served before, by chance, is none any more.
    s.wait_as_newcomer(DEFAULT, 300, now).unwrap();
    assert_eq!(back(&mut s, DEFAULT, now), Freed::Hand(DEFAULT, 300));
    assert!(s.take_newcomers(now).is_empty());
    s.wait(DEFAULT, 301, now).unwrap();
    assert!(s.wait(DEFAULT, 302, now).is_err());
}

/// Three times as many come as can be served, for a while; gives who was served when, and who was
/// refused.
fn overload(limits: ClassLimits) -> (Vec<Duration>, Vec<Duration>) {
    let (mut s, start) = full(1, &[limits], DEFAULT);
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    let mut came: Vec<(Instant, WaiterId)> = Vec::new();
    for n in 0..30_000u32 {
        let now = start + n * MS;
        let id = s.wait(DEFAULT, n, now).unwrap();
        came.push((now, id));
        if n % 3 == 0 {
            if let Freed::Hand(_, n) = back(&mut s, DEFAULT, now) {
                served.push(now - came[n as usize].0);
            }
            for (_, n, _) in s.shed(now) {
                refused.push(now - came[n as usize].0);
            }
        }
        // Those whose time is over leave by themselves.
        for (since, id) in came.iter().rev().skip(2000).take(3) {
            assert!(*since + LONG > now);
            if now - *since >= limits.queue_timeout {
                s.leave(*id, now);
            }
        }
    }
    (served, refused)
}

#[test]
fn under_overload_the_newest_are_served_and_the_oldest_refused_before_their_time() {
    let timeout = 1000 * MS;
    let limits = ClassLimits { queue_target: timeout / 2, ..ClassLimits::none(timeout) };
    let (served, refused) = overload(limits);
    // Every server that was free went to somebody whose time was not over.
    assert!(served.len() >= 9_990, "{}", served.len());
    assert!(served.iter().all(|wait| *wait < timeout), "{:?}", served.iter().max());
    let quick = served.iter().filter(|wait| **wait < 10 * MS).count();
    assert!(quick > served.len() / 4, "{quick} of {}", served.len());
    let (early, all) = (refused.iter().filter(|wait| **wait < timeout).count(), refused.len());
    assert!(early == all && all > 15_000, "{early} of {all}");
}

/// Clients that ask again as soon as they are answered, on 20 servers that take so long for each: how many are refused
/// in each second, and whether that is for overload at its end.
fn closed_loop(clients: u32, seconds: u32, takes: impl Fn(u32) -> u32) -> Vec<(usize, bool)> {
    let timeout = 2000 * MS;
    let limits = ClassLimits { queue_target: timeout / 2, ..ClassLimits::none(timeout) };
    let (mut s, start) = full(20, &[limits], DEFAULT);
    let mut busy: Vec<(u32, u32)> = (0..20).map(|n| (n, n + 1)).collect();
    let mut since: Vec<Option<(u32, WaiterId)>> = vec![None; clients as usize];
    for n in 20..clients {
        since[n as usize] = Some((0, s.wait(DEFAULT, n, start).unwrap()));
    }
    let mut seen = vec![(0, false); seconds as usize];
    for ms in 1..seconds * 1000 {
        let (now, second) = (start + ms * MS, (ms / 1000) as usize);
        let mut again = Vec::new();
        for server in &mut busy {
            let (who, until) = *server;
            if until > ms {
                continue;
            }
            // It asks again before its server is free: a queue that was never empty.
            since[who as usize] = Some((ms, s.wait(DEFAULT, who, now).unwrap()));
            let Freed::Hand(_, next) = back(&mut s, DEFAULT, now) else { panic!("many wait") };
            since[next as usize] = None;
            *server = (next, ms + takes(ms));
            again.extend(s.shed(now).into_iter().map(|(_, who, _)| who));
        }
        for (who, place) in (0..).zip(&since) {
            if let Some((came, id)) = place
                && ms - came >= 2000
                && s.leave(*id, now).is_some()
            {
                again.push(who);
            }
        }
        seen[second] = (seen[second].0 + again.len(), s.classes[0].is_overloaded(now));
        for who in again {
            since[who as usize] = Some((ms, s.wait(DEFAULT, who, now).unwrap()));
        }
    }
    seen
}

#[test]
fn who_waited_through_an_overload_is_served_after_it_though_many_still_wait() {
    // Everything takes a hundred times as long for five seconds.
    let slow = |ms| if (2000..7000).contains(&ms) { 1000 } else { 10 };
    let seen = closed_loop(200, 15, slow);
    let refused: Vec<_> = seen.iter().map(|(refused, _)| *refused).collect();
    assert_eq!(refused[..2], [0; 2], "{refused:?}");
    assert!(refused[4..7].iter().all(|refused| *refused > 0), "{refused:?}");
    assert_eq!(refused[9..], [0; 6], "{refused:?}");
}

#[test]
fn servers_that_come_back_all_at_once_do_not_hide_an_overload() {
    // 20 of 200 each second, and none may wait for more than two.
    let seen = closed_loop(200, 30, |_| 1000);
    assert!(seen[10..].iter().all(|(_, overloaded)| *overloaded), "{seen:?}");
}

#[test]
fn who_would_wait_in_vain_is_found_though_no_server_comes_back() {
    let limits = ClassLimits { queue_target: 100 * MS, ..ClassLimits::none(10_000 * MS) };
    let (mut s, start) = full(1, &[limits], DEFAULT);
    for n in 0..50 {
        s.wait(DEFAULT, n, start).unwrap();
    }
    assert_eq!(s.crowd(DEFAULT, start).expected, None, "nobody was served yet");
    assert_eq!(s.shed(start + 150 * MS), [], "above the target, and not for long");
    // Nobody was served for 250 ms: no more than 39 can be in the 9.75 s that are left.
    let shed: Vec<_> = s.shed(start + 250 * MS).into_iter().map(|(_, who, _)| who).collect();
    assert_eq!(shed, (0..11).collect::<Vec<_>>());
    assert_eq!(s.shed(start + 1000 * MS).len(), 30);
}

#[test]
fn who_waits_for_many_that_may_come_back_at_once_is_not_given_up() {
    let limits = ClassLimits { queue_target: 1000 * MS, ..ClassLimits::none(30_000 * MS) };
    let (mut s, start) = full(50, &[limits], DEFAULT);
    for n in 0..50 {
        s.wait(DEFAULT, n, start).unwrap();
    }
    for second in 1..=14 {
        assert_eq!(s.shed(start + second * 1000 * MS), [], "{second}");
    }
    assert!(matches!(back(&mut s, DEFAULT, start + 14_500 * MS), Freed::Hand(DEFAULT, _)));
}

#[test]
fn a_queue_that_keeps_its_target_is_served_in_order() {
    let (mut s, mut now) = full(1, &[ClassLimits::none(LONG)], DEFAULT);
    for n in 0..1000 {
        s.wait(DEFAULT, n, now).unwrap();
    }
    for n in 0..1000 {
        now += 100 * MS;
        assert_eq!(back(&mut s, DEFAULT, now), Freed::Hand(DEFAULT, n));
        assert_eq!(s.shed(now), []);
    }
}

/// What the property below compares with: lists instead of counts.
#[derive(Default)]
struct Model {
    opening: usize,
    closing: usize,
    leased: Vec<(ClassId, u32)>,
    idle: Vec<u32>,
    queues: [Vec<(WaiterId, u32)>; 2],
}

proptest! {
    /// The limits hold, each class is served in order, and nobody waits for a server that he may have.
    #[test]
    fn limits_hold_and_nobody_is_forgotten(ops in prop::collection::vec((0u8..9, 0u16..2), 1..300)) {
        let capped = ClassLimits { max_servers: Some(2), ..limits() };
        let (mut s, mut now) = slots_of(SIZE, &[limits(), capped]);
        let mut m = Model::default();
        let mut next = 0u32;
        for (op, class) in ops {
            next += 1;
            now += MS;
            let class = ClassId(class);
            let queue = usize::from(class.0);
            match op {
                0 | 1 => match s.take_if(class, now, |n| n % 3 == 0, |_| true) {
                    Some(server) => {
                        prop_assert!(m.queues[queue].is_empty());
                        let at = m.idle.iter().rposition(|n| n % 3 == 0);
                        let taken = m.idle.remove(at.unwrap_or(m.idle.len() - 1));
                        prop_assert_eq!(server, taken);
                        m.leased.push((class, server));
                    }
                    None => {
                        let id = s.wait(class, next, now).unwrap();
                        m.queues[queue].push((id, next));
                    }
                },
                2 => m.opening += usize::from(opens(&mut s, true, now)),
                3 | 5 => {
                    let server = if op == 3 && m.opening > 0 {
                        m.opening -= 1;
                        s.opened(now);
                        next
                    } else if op == 5 && !m.leased.is_empty() {
                        let (class, server) = m.leased.remove(0);
                        s.returned(class, now);
                        s.keep(class);
                        server
                    } else {
                        continue;
                    };
                    match s.freed(now) {
                        Freed::Hand(class, waiter) => {
                            let queue = &mut m.queues[usize::from(class.0)];
                            prop_assert_eq!(queue.remove(0).1, waiter);
                            m.leased.push((class, server));
                        }
                        Freed::Park => {
                            prop_assert!(m.queues[0].is_empty() || s.kept_until().is_some());
                            s.park(server);
                            m.idle.push(server);
                        }
                        Freed::Evict => {
                            s.closing();
                            m.closing += 1;
                        }
                    }
                }
                4 if m.opening > 0 => {
                    m.opening -= 1;
                    s.open_failed(now);
                }
                6 if m.closing > 0 => {
                    m.closing -= 1;
                    s.closed();
                }
                7 if !m.queues[queue].is_empty() => {
                    let at = m.queues[queue].len() / 2;
                    let (id, waiter) = m.queues[queue].remove(at);
                    prop_assert_eq!(s.leave(id, now), Some(waiter));
                }
                8 => {
                    let gone = s.expire(1, |_| true);
                    m.closing += gone.len();
                    let oldest = (!m.idle.is_empty()).then(|| m.idle.remove(0));
                    prop_assert_eq!(gone.first().copied(), oldest);
                }
                _ => {}
            }
            // As the pool's timer does.
            s.unkeep(now);
            while let Some((server, class, waiter)) = s.dispatch(now) {
                prop_assert_eq!(m.idle.pop(), Some(server));
                prop_assert_eq!(m.queues[usize::from(class.0)].remove(0).1, waiter);
                m.leased.push((class, server));
            }
            let expected = Counts {
                opening: m.opening,
                leased: m.leased.len(),
                idle: m.idle.len(),
                closing: m.closing,
                waiting: m.queues[0].len() + m.queues[1].len(),
            };
            prop_assert_eq!(s.counts(), expected);
            prop_assert!(s.total() <= SIZE.max);
            let capped = m.leased.iter().filter(|(class, _)| class.0 == 1).count();
            prop_assert!(capped <= 2);
            prop_assert_eq!(s.counts_of(ClassId(1)).0, capped);
            if !m.idle.is_empty() && s.kept_until().is_none() {
                prop_assert!(m.queues[0].is_empty());
                prop_assert!(m.queues[1].is_empty() || capped == 2);
            }
        }
    }
}
