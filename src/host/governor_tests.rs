use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A host that opens each connection in a time of its own choosing.
struct World {
    governor: Governor,
    now: Instant,
    /// When each of those in flight is done.
    flights: Vec<(Instant, Instant)>,
    began: Vec<Instant>,
}

impl World {
    fn new(ceilings: Ceilings) -> Self {
        let now = Instant::now();
        let governor = Governor::new(ceilings, now);
        Self { governor, now, flights: Vec::new(), began: Vec::new() }
    }

    fn ask(&mut self, count: usize) {
        for _ in 0..count {
            self.governor.ask(PoolId(1));
        }
    }

    /// Opens what may be opened; each takes what `time` says for so many in flight.
    fn start(&mut self, time: impl Fn(usize) -> Duration) -> Next {
        loop {
            match self.governor.next(self.now) {
                Next::Open(_) => {
                    let took = time(self.flights.len() + 1);
                    self.flights.push((self.now, self.now + took));
                    self.began.push(self.now);
                }
                other => return other,
            }
        }
    }

    /// Runs until `count` have been opened, and gives the most that were in flight.
    fn run(&mut self, count: usize, time: impl Fn(usize) -> Duration + Copy) -> usize {
        self.ask(count);
        let mut most = 0;
        while self.governor.waiting > 0 || !self.flights.is_empty() {
            let next = self.start(time);
            most = most.max(self.flights.len());
            let done = self.flights.iter().map(|(_, end)| *end).min();
            let at = if let Next::At(at) = next { Some(at) } else { None };
            self.now = self.now.max([done, at].into_iter().flatten().min().unwrap());
            let now = self.now;
            let (ended, rest) = self.flights.iter().partition(|(_, end)| *end <= now);
            self.flights = rest;
            let ended: Vec<(Instant, Instant)> = ended;
            for (began, end) in ended {
                self.governor.on_opened(began, end);
            }
        }
        most
    }
}

#[test]
fn the_window_grows_on_a_host_that_keeps_up() {
    let mut world = World::new(Ceilings::default());
    let most = world.run(500, |_| 3 * MS);
    assert!(most > 16, "{most}");
}

#[test]
fn the_window_falls_when_opening_becomes_slow_and_recovers() {
    let mut world = World::new(Ceilings::default());
    world.run(200, |_| 5 * MS);
    let wide = world.governor.seen().window;
    world.run(400, |_| 50 * MS);
    let narrow = world.governor.seen().window;
    assert!(narrow < wide / 3.0 && narrow >= 1.0, "{wide} to {narrow}");
    world.run(600, |_| 5 * MS);
    let recovered = world.governor.seen().window;
    assert!(recovered > narrow * 2.0, "{narrow} to {recovered}");
}

#[test]
fn a_host_that_slows_down_with_each_is_not_flooded() {
    let mut world = World::new(Ceilings::default());
    // One core: so many at once take so many times as long.
    let most = world.run(500, |together| 10 * MS * u32::try_from(together).unwrap());
    assert!(most < 12, "{most}");
}

#[test]
fn ceilings_hold() {
    let mut world = World::new(Ceilings { at_once: 2, per_second: 0 });
    assert_eq!(world.run(100, |_| 3 * MS), 2);
    let mut world = World::new(Ceilings { at_once: 0, per_second: 10 });
    let began = world.now;
    world.run(31, |_| 3 * MS);
    let took = world.now - began;
    assert!(took >= 3000 * MS && took < 3200 * MS, "{took:?}");
    for pair in world.began.windows(2) {
        assert!(pair[1] - pair[0] >= 99 * MS, "{:?}", pair[1] - pair[0]);
    }
}

#[test]
fn refusals_open_the_circuit_and_one_probe_at_a_time_closes_it() {
    let mut world = World::new(Ceilings::default());
    world.ask(100);
    world.start(|_| 3 * MS);
    for (began, _) in std::mem::take(&mut world.flights) {
        world.governor.on_failed(Failure::Away, began, 1.0, world.now);
    }
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let Next::At(at) = world.start(|_| 3 * MS) else { panic!("it waits for a time") };
        assert!(world.flights.is_empty());
        pauses.push(at - world.now);
        world.now = at;
        assert_eq!(world.start(|_| 3 * MS), Next::Nothing);
        assert_eq!(world.flights.len(), 1, "one probe");
        let (began, _) = world.flights.remove(0);
        world.governor.on_failed(Failure::Away, began, 1.0, world.now);
    }
    assert_eq!(pauses[..4], [50 * MS, 100 * MS, 200 * MS, 400 * MS]);
    assert_eq!(pauses[5..], [1000 * MS; 3]);
    let Next::At(at) = world.start(|_| 3 * MS) else { panic!("it waits for a time") };
    world.now = at;
    world.start(|_| 3 * MS);
    let (began, end) = world.flights.remove(0);
    world.now = end;
    world.governor.on_opened(began, end);
    assert!(!world.governor.seen().is_open);
    world.start(|_| 3 * MS);
    let after = world.flights.len();
    assert!((1..=2).contains(&after), "it begins with few: {after}");
}

#[test]
fn a_full_host_is_asked_twice_a_second_at_most() {
    let mut world = World::new(Ceilings::default());
    world.ask(1000);
    let began = world.now;
    let mut attempts = 0;
    while world.now < began + 10_000 * MS {
        match world.start(|_| 3 * MS) {
            Next::At(at) => world.now = at,
            _ => world.now += 3 * MS,
        }
        for (began, _) in std::mem::take(&mut world.flights) {
            attempts += 1;
            world.governor.on_failed(Failure::Full, began, 0.8, world.now);
        }
    }
    assert!(attempts <= 4 + 20, "{attempts}");
}

#[test]
fn pools_take_turns() {
    let mut governor = Governor::new(Ceilings { at_once: 1, per_second: 0 }, Instant::now());
    let now = Instant::now();
    let many: Vec<_> = (0..3).map(|_| governor.ask(PoolId(1))).collect();
    let one = governor.ask(PoolId(2));
    let mut order = Vec::new();
    while let Next::Open(ticket) = governor.next(now) {
        order.push(ticket);
        governor.on_ended();
    }
    assert_eq!(order, [many[0], one, many[1], many[2]]);
}

#[test]
fn one_who_gives_up_is_passed_over() {
    let mut governor = Governor::new(Ceilings { at_once: 1, per_second: 0 }, Instant::now());
    let tickets: Vec<_> = (0..3).map(|_| governor.ask(PoolId(1))).collect();
    assert!(governor.give_up(tickets[0]));
    assert!(!governor.give_up(tickets[0]));
    assert_eq!(governor.next(Instant::now()), Next::Open(tickets[1]));
    assert!(!governor.give_up(tickets[1]));
    assert_eq!(governor.seen().waiting, 1);
}

proptest! {
    #[test]
    fn no_more_are_in_flight_than_the_window_and_nobody_is_forgotten(
        ops in prop::collection::vec((0u8..6, 0u64..4), 1..300),
        at_once in 0usize..4,
    ) {
        let ceilings = Ceilings { at_once, per_second: 0 };
        let (mut now, mut waiting, mut flights) = (Instant::now(), Vec::new(), Vec::new());
        let mut governor = Governor::new(ceilings, now);
        for (op, number) in ops {
            now += MS * u32::try_from(number).unwrap();
            match op {
                0 | 1 => waiting.push(governor.ask(PoolId(number))),
                2 if !waiting.is_empty() => prop_assert!(governor.give_up(waiting.remove(0))),
                3 if !flights.is_empty() => governor.on_opened(flights.remove(0), now),
                4 if !flights.is_empty() => {
                    governor.on_failed(Failure::Slow, flights.remove(0), 1.0, now);
                }
                5 if !flights.is_empty() => {
                    flights.remove(0);
                    governor.on_ended();
                }
                _ => {}
            }
            let window = governor.seen().window;
            let before = flights.len();
            while let Next::Open(ticket) = governor.next(now) {
                let at = waiting.iter().position(|known| *known == ticket);
                prop_assert!(at.is_some());
                waiting.remove(at.unwrap());
                flights.push(now);
            }
            prop_assert!(flights.len() <= before.max(governor.seen().window.max(window) as usize));
            let seen = governor.seen();
            prop_assert_eq!((seen.in_flight, seen.waiting), (flights.len(), waiting.len()));
            if at_once > 0 {
                prop_assert!(seen.window <= at_once as f64);
            }
        }
        // Everything is opened in the end.
        let end = now + Duration::from_mins(1);
        while !waiting.is_empty() || !flights.is_empty() {
            for began in std::mem::take(&mut flights) {
                governor.on_opened(began, end);
            }
            while let Next::Open(ticket) = governor.next(end) {
                waiting.retain(|known| *known != ticket);
                flights.push(end);
            }
        }
    }
}
