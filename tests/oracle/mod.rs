//! Random session programs, each run on PostgreSQL and through pgweir, must show their sessions the
//! same. Method, rules and results: `docs/transparency.md`.

mod arena;
mod compare;
mod generate;
mod minimise;
mod pooler;
mod program;
mod proof;
mod report;
mod rules;
mod run;
mod seen;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::arena::{Arena, cluster};
use self::minimise::minimise;
use self::pooler::Kind;
use self::program::{Area, Program};
use self::report::Report;

/// How many programs, how long, and from which seed.
struct Plan {
    seed: u64,
    programs: usize,
    steps: usize,
    workers: usize,
    pooler: Kind,
    focus: Vec<Area>,
}

impl Plan {
    /// As the environment says, or so many programs from a random seed.
    fn from_env(programs: usize) -> Self {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
            Err(_) => default,
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            seed: number("PGWEIR_ORACLE_SEED", SEED),
            programs: number("PGWEIR_ORACLE_PROGRAMS", programs as u64) as usize,
            steps: number("PGWEIR_ORACLE_STEPS", 40) as usize,
            // Some wait while others run.
            workers: number("PGWEIR_ORACLE_WORKERS", MOST_WORKERS.min(2 * cores as u64)) as usize,
            focus: Area::named(&std::env::var("PGWEIR_ORACLE_FOCUS").unwrap_or_default()),
            pooler: match std::env::var("TARGET").as_deref() {
                Ok("pgbouncer") => Kind::Bouncer,
                Ok("postgres") => Kind::Nothing,
                Ok("lazy") => Kind::Lazy,
                Ok("dormant") => Kind::Without("awake"),
                Ok(other) if other != "pgweir" => {
                    panic!("TARGET is pgweir, lazy, dormant, pgbouncer or postgres: {other}")
                }
                _ => Kind::Weir,
            },
        }
    }

    fn program(&self, number: usize) -> Program {
        generate::program(self.seed + number as u64, self.steps, &self.focus)
    }
}

/// Runs all programs of a plan, and minimises one of each kind of difference.
fn run_all(plan: &Plan) -> Report {
    let Plan { seed, programs, steps, workers, pooler, .. } = *plan;
    if pooler == Kind::Bouncer {
        println!("{}", pooler::version());
    }
    println!(
        "PGWEIR_ORACLE_SEED={seed} PGWEIR_ORACLE_PROGRAMS={programs} PGWEIR_ORACLE_STEPS={steps}"
    );
    let cluster = cluster();
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut arena = Arena::new(&cluster, pooler, programs == 1);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= programs {
                        return;
                    }
                    judge(&mut arena, &plan.program(number), &report);
                }
            });
        }
    });
    report.into_inner().expect("no worker panicked")
}

fn judge(arena: &mut Arena, program: &Program, report: &Mutex<Report>) {
    let verdict = arena.judge(program);
    let wanted = report.lock().expect("no worker panicked").add(program, &verdict);
    // What PgBouncer does is counted only.
    let wanted = wanted && arena.kind() != Kind::Bouncer;
    let Some(difference) = verdict.difference.filter(|_| wanted) else {
        return;
    };
    let smaller = |candidate: &Program| arena.judge(candidate).difference;
    let (program, difference) = minimise(program, difference, smaller);
    report.lock().expect("no worker panicked").example(&program, &difference);
}

/// Of the programs that every run of the tests has; `make oracle` takes new ones.
const SEED: u64 = 300_000;

/// The cluster has connections and replication slots for so many.
const MOST_WORKERS: u64 = 12;

#[test]
fn sessions_through_pgweir_are_sessions_on_postgresql() {
    let report = run_all(&Plan::from_env(2000));
    println!("{report}");
    assert_eq!(report.differing(), 0, "programs differ, see above");
}

#[test]
fn they_are_where_transactions_begin_lazily() {
    let report = run_all(&Plan { pooler: Kind::Lazy, ..Plan::from_env(100) });
    assert_eq!(report.differing(), 0, "programs differ:\n{report}");
}

#[test]
fn they_are_where_clients_fall_asleep_at_once() {
    let report = run_all(&Plan { pooler: Kind::Without("awake"), ..Plan::from_env(100) });
    assert_eq!(report.differing(), 0, "programs differ:\n{report}");
}

#[test]
fn they_are_where_names_stand_for_other_objects() {
    let focus = vec![Area::Path, Area::Named, Area::Temporary, Area::Transaction];
    let report = run_all(&Plan { focus, ..Plan::from_env(150) });
    assert_eq!(report.differing(), 0, "programs differ:\n{report}");
}

#[test]
fn postgresql_is_the_same_as_itself() {
    let report = run_all(&Plan { pooler: Kind::Nothing, ..Plan::from_env(20) });
    assert_eq!(report.differing(), 0, "the oracle is at fault:\n{report}");
}

#[test]
fn programs_come_from_their_seed() {
    let twice = [0, 1].map(|_| format!("{}", generate::program(7, 200, &[])));
    assert_eq!(twice[0], twice[1]);
}
