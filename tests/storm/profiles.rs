//! Each profile, as PostgreSQL sees it.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use pgweir::demo::postgres::Options;
use pgweir::storm::{At, Class, Exit, Observe, Plan, Profile, Report};

use super::{Cluster, Database, Setup, Stage, class, run, run_plan};
use crate::support::wait_until;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A storm meanwhile; `look` is called while it runs.
fn during<T>(class: Class, look: impl FnOnce() -> T) -> (Report, T) {
    thread::scope(|scope| {
        let storm = scope.spawn(|| run(class));
        let seen = look();
        (storm.join().expect("the storm"), seen)
    })
}

/// How many of `app`'s connections are in a state.
fn count(database: &Database, condition: &str) -> usize {
    let sql = format!(
        "select count(*) from pg_stat_activity where usename = 'app' \
         and datname = current_database() and {condition}"
    );
    database.admin().value(&sql).parse().expect("a number")
}

#[test]
fn steady_clients_stay_connected_and_work_until_the_end() {
    let database = Cluster::shared().database();
    let class = Class {
        profile: Profile::Steady,
        functions: 8,
        ramp: ms(100),
        duration: ms(1_000),
        transactions_per_function: 0,
        think: ms(5),
        ..class(&database.target())
    };

    let report = run(class);

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.total.connects, report.total.left), (8, 8), "{report}");
    assert_eq!(report.total.arrivals.followers, 0, "{report}");
    assert!(report.total.transactions > 8 * 10, "{report}");
    assert!((0.95..5.0).contains(&report.total.seconds), "{report}");
    let most = report.series.iter().map(|point| point.all.connected).max();
    assert_eq!(most, Some(8), "{report}");
}

#[test]
fn steady_functions_that_leave_are_followed_by_others() {
    let database = Cluster::shared().database();
    let class = Class {
        profile: Profile::Steady,
        functions: 4,
        duration: ms(600),
        ramp: Duration::ZERO,
        hold: ms(20),
        ..class(&database.target())
    };

    let report = run(class);

    let total = &report.total;
    assert!(report.is_clean() && total.arrivals.followers > 4, "{report}");
    assert_eq!(total.connects, 4 + total.arrivals.followers, "{report}");
    assert_eq!((total.transactions, total.left), (total.connects, total.connects), "{report}");
}

#[test]
fn spikes_come_again_every_period() {
    let database = Cluster::shared().database();
    let class = Class {
        profile: Profile::Spikes,
        functions: 10,
        ramp: ms(50),
        period: ms(400),
        duration: ms(1_000),
        ..class(&database.target())
    };

    let report = run(class);

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.total.arrivals.planned, report.total.transactions), (30, 30));
    let busy = report.series.iter().filter(|point| point.all.arrived >= 5).count();
    let calm = report.series.iter().filter(|point| point.all.arrived == 0).count();
    assert!(busy <= 6 && calm >= 3, "{:?}", report.series);
}

#[test]
fn frozen_functions_hold_their_transactions_open_and_go_on() {
    let database = Cluster::shared().database();
    let class = Class {
        profile: Profile::Freeze,
        functions: 5,
        ramp: Duration::ZERO,
        freeze: ms(1_500),
        transactions_per_function: 2,
        ..class(&database.target())
    };

    let (report, ()) = during(class, || {
        wait_until("five transactions are idle", || {
            count(&database, "state = 'idle in transaction'") == 5
        });
    });

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.total.frozen, report.total.thawed), (5, 5), "{report}");
    assert_eq!(report.total.transactions, 10);
    assert!(report.total.transaction.max_ms < 1_400.0, "the freeze is not measured: {report}");
}

#[test]
fn functions_freeze_without_a_transaction_and_without_reading_an_answer() {
    let database = Cluster::shared().database();
    // More than the buffers of two sockets: PostgreSQL has to wait until it is read.
    let query = "SELECT repeat('x', 1000) FROM generate_series(1, 30000)".to_owned();
    let frozen = |at| Class {
        profile: Profile::Freeze,
        functions: 2,
        ramp: Duration::ZERO,
        freeze: ms(1_500),
        at,
        query: query.clone(),
        ..class(&database.target())
    };
    let cases = [
        (At::Answer, "state = 'active' and wait_event = 'ClientWrite'"),
        (At::Idle, "state = 'idle' or state is null"),
    ];
    for (at, condition) in cases {
        let (report, ()) = during(frozen(at), || {
            wait_until("two functions are frozen", || {
                count(&database, &format!("({condition})")) == 2
            });
        });
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.total.thawed, report.total.transactions), (2, 2), "{report}");
    }
}

#[test]
fn transactions_that_are_cut_while_their_functions_are_frozen_are_counted() {
    let stage = Stage::new(&Setup::servers(3).timeouts("idle_in_transaction = \"500ms\""));
    let class = Class {
        profile: Profile::Freeze,
        functions: 3,
        ramp: Duration::ZERO,
        freeze: ms(2_000),
        ..class(&stage.weir.target())
    };

    let report = run(class);

    assert_eq!((report.total.frozen, report.total.thawed), (3, 0), "{report}");
    assert_eq!((report.error_count(), report.total.transactions), (3, 0), "{report}");
}

#[test]
fn who_abandons_a_connection_says_no_goodbye() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database();
    let gone = |at, abandon| Class {
        profile: Profile::Abandon,
        functions: 3,
        ramp: Duration::ZERO,
        freeze: ms(1_500),
        query: "SELECT pg_sleep(0.05)".to_owned(),
        at,
        abandon,
        ..class(&database.target())
    };
    let (report, ()) = during(gone(At::Transaction, Exit::Silent), || {
        wait_until("three transactions are silent", || {
            count(&database, "state = 'idle in transaction'") == 3
        });
    });
    assert!(report.is_clean() && report.total.abandoned == 3, "{report}");
    assert_eq!(report.total.transactions, 0);

    for at in [At::Idle, At::Transaction, At::Answer] {
        let report = run(gone(at, Exit::Close));
        assert!(report.is_clean() && report.total.abandoned == 3, "{report}");
    }
    // PostgreSQL tells of connections that end within a transaction without a Terminate.
    wait_until("PostgreSQL has noticed", || {
        let log = std::fs::read_to_string(cluster.postgres().log_path()).expect("the log");
        log.matches("unexpected EOF on client connection with an open transaction").count() >= 6
    });
    wait_until("nobody is there", || count(&database, "true") == 0);
}

#[test]
fn long_transactions_are_open_for_as_long_as_is_said() {
    let database = Cluster::shared().database();
    let class = Class {
        profile: Profile::Long,
        functions: 2,
        ramp: Duration::ZERO,
        hold: ms(1_000),
        ..class(&database.target())
    };
    let began = Instant::now();

    let (report, ()) = during(class, || {
        wait_until("two transactions are held", || {
            count(&database, "state = 'idle in transaction'") == 2
        });
    });

    assert!(report.is_clean() && began.elapsed() >= ms(1_000), "{report}");
}

#[test]
fn idle_clients_are_there_all_the_while_and_are_asked_in_the_end() {
    let stage = Stage::new(&Setup::servers(3));
    let class = Class {
        profile: Profile::Steady,
        functions: 5,
        idle: 200,
        ramp: Duration::ZERO,
        duration: ms(500),
        transactions_per_function: 0,
        think: ms(2),
        ..class(&stage.weir.target())
    };

    let report = run(class);

    let idle = report.total.idle;
    assert!(report.is_clean(), "{report}");
    assert_eq!((idle.planned, idle.connected, idle.answered), (200, 200, 200), "{report}");
    assert_eq!(report.total.connects, 5);
    let most = report.series.iter().map(|point| point.all.connected).max();
    assert_eq!(most, Some(205));
}

#[test]
fn functions_come_from_the_addresses_that_are_given() {
    let hba = Some("host all all 127.0.0.0/8 scram-sha-256\n".to_owned());
    let database = Cluster::start(Options { hba, ..Options::default() }).database();
    let sources: Vec<IpAddr> =
        (2..6).map(|last| format!("127.0.0.{last}").parse().expect("an address")).collect();
    let class = Class {
        functions: 8,
        ramp: Duration::ZERO,
        hold: ms(1_000),
        sources,
        application_name: "from elsewhere".to_owned(),
        ..class(&database.target())
    };

    let (report, ()) = during(class, || {
        wait_until("eight functions from four addresses", || {
            database.admin().value(
                "select count(*) || ' ' || count(distinct client_addr) from pg_stat_activity \
                 where application_name = 'from elsewhere'",
            ) == "8 4"
        });
    });

    assert!(report.is_clean(), "{report}");
}

#[test]
fn classes_come_side_by_side_each_by_its_own_rules() {
    let stage = Stage::new(&Setup::servers(4));
    let target = stage.weir.target();
    let steady = |name: &str, functions, hold| Class {
        name: name.to_owned(),
        profile: Profile::Steady,
        functions,
        ramp: Duration::ZERO,
        duration: ms(1_000),
        transactions_per_function: 0,
        hold,
        ..class(&target)
    };
    let late = Class { start: ms(400), ..steady("late", 1, ms(5)) };
    let classes = vec![steady("greedy", 20, ms(20)), steady("small", 2, ms(5)), late];

    let report = run_plan(&Plan { classes, ..Plan::of(class(&target)) });

    assert!(report.is_clean(), "{report}");
    let names: Vec<_> = report.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["greedy", "small", "late"]);
    let committed: u64 = report.classes.iter().map(|class| class.found.transactions).sum();
    assert_eq!(report.total.transactions, committed);
    assert!(report.classes.iter().all(|class| class.found.transactions > 0), "{report}");
    assert!(report.fairness.is_some_and(|index| (1.0 / 3.0..=1.0).contains(&index)), "{report}");
    let first = report.series.iter().find(|point| point.classes[2].connected > 0);
    assert!(first.is_some_and(|point| point.at >= 0.4), "{:?}", report.series);
}

#[test]
fn a_limit_that_is_passed_is_told_with_by_how_much_and_for_how_long() {
    let database = Cluster::shared().database();
    let class =
        Class { functions: 20, ramp: Duration::ZERO, hold: ms(800), ..class(&database.target()) };
    let observe =
        |limit| Some(Observe { dsn: admin(&database), interval: ms(20), limit, all: false });

    let report = run_plan(&Plan { observe: observe(Some(5)), ..Plan::of(class.clone()) });

    let seen = report.observed.as_ref().expect("what was seen");
    assert_eq!((seen.most, seen.exceeded_by), (20, 15), "{report}");
    assert!(seen.seconds_over > 0.5 && seen.looks_over > 5, "{report}");
    assert!(!report.is_clean() && report.total.errors.is_empty(), "{report}");
    assert!(report.to_string().contains("limit 5 PASSED by 15"), "{report}");
    let most = report.series.iter().filter_map(|point| point.servers).map(|servers| servers.all);
    assert_eq!(most.max(), Some(20));

    let report = run_plan(&Plan { observe: observe(Some(20)), ..Plan::of(class) });
    assert!(report.is_clean() && report.exceeded_by() == 0, "{report}");
}

/// The superuser's, straight to PostgreSQL.
pub(super) fn admin(database: &Database) -> pgweir::config::Dsn {
    let text = database.cluster().postgres().dsn(database.name());
    pgweir::config::Dsn::parse(&text).expect("a connection string")
}
