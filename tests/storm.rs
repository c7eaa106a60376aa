//! The load harness, through pgweir and straight to PostgreSQL, and the demonstration.

mod profiles;
mod reports;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pgweir::config::Dsn;
use pgweir::storm::{self, Class, Plan, Protocol, Report};
use serde_json::Value;

use crate::support::{Cluster, Database, Setup, Stage, Target};

#[test]
fn five_hundred_functions_share_five_servers_without_an_error() {
    // One slot more, for the connection that looks.
    let cluster = Cluster::with_slots(6);
    let stage = Stage::on(cluster.database(), &Setup::servers(5));
    let class = Class {
        functions: 500,
        transactions_per_function: 2,
        query: "SELECT pg_sleep(0.002)".to_owned(),
        ..class(&stage.weir.target())
    };

    let (report, most) = watched(&stage.database, || run(class));

    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.total.arrivals.achieved, report.total.connects, report.total.transactions),
        (500, 500, 1000)
    );
    assert_eq!((report.total.first_query.count, report.total.left), (500, 500));
    assert!((1..=5).contains(&most), "{most} connections to PostgreSQL");
}

#[test]
fn both_protocols_go_through_and_arrivals_go_on_after_the_ramp() {
    let stage = Stage::new(&Setup::servers(2));
    let class = Class {
        functions: 20,
        ramp: Duration::from_millis(200),
        duration: Duration::from_millis(600),
        protocol: Protocol::Extended,
        ..class(&stage.weir.target())
    };

    let report = run(class);

    assert!(report.is_clean(), "{report}");
    assert_eq!((report.total.arrivals.planned, report.total.transactions), (60, 60));
    assert_eq!(report.total.arrivals.planned_per_second, Some(100.0));
    assert!(report.total.seconds >= 0.58, "{report}");
}

#[test]
fn refusals_of_postgres_are_counted_by_sqlstate() {
    let cluster = Cluster::with_slots(2);
    let class = Class {
        functions: 40,
        ramp: Duration::ZERO,
        query: "SELECT pg_sleep(0.2)".to_owned(),
        ..class(&cluster.database().target())
    };

    let report = run(class);

    let refused = report.total.errors.get("53300").map_or(0, |error| error.count);
    assert_eq!(report.total.errors.len(), 1, "{report}");
    assert!(refused >= 30 && report.total.connects + refused == 40, "{report}");
    assert_eq!((report.total.transactions, report.total.left), (report.total.connects, 40));
}

#[test]
fn a_query_that_fails_leaves_the_function_able_to_go_on() {
    let database = Cluster::shared().database();
    let class = Class {
        functions: 5,
        ramp: Duration::ZERO,
        transactions_per_function: 3,
        query: "SELECT 1/0".to_owned(),
        ..class(&database.target())
    };

    let report = run(class);

    let counts: Vec<_> = report.total.errors.iter().map(|(c, e)| (c.as_str(), e.count)).collect();
    assert_eq!(counts, [("22012", 15)], "{report}");
    assert_eq!((report.total.connects, report.total.transactions), (5, 0));
}

#[test]
fn functions_beyond_the_bound_are_missed_and_said_to_be() {
    let database = Cluster::shared().database();
    let class = Class {
        functions: 30,
        ramp: Duration::from_millis(30),
        query: "SELECT pg_sleep(0.5)".to_owned(),
        ..class(&database.target())
    };

    let report = run_plan(&Plan { concurrency: 3, ..Plan::of(class) });

    assert_eq!((report.total.arrivals.achieved, report.total.arrivals.missed), (3, 27), "{report}");
    assert!(report.total.errors.is_empty() && !report.is_clean());
}

#[test]
fn nobody_logs_in_ahead_of_a_cold_storm() {
    let stage = Stage::new(&Setup::servers(2));
    for (flags, logins) in [(&["--functions", "5", "--cold"][..], 5), (&["--functions", "5"], 11)] {
        let output = storm_command(&stage.weir.target(), flags);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(stage.weir.count("pgweir_logins_total", "result=\"accepted\""), logins);
    }
}

#[test]
fn a_wrong_password_is_told_before_the_storm() {
    let database = Cluster::shared().database();
    let wrong = database.target().as_user("app", "wrong");
    let output = storm_command(&wrong, &["--functions", "50"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(said.contains("ahead of the storm") && said.contains("28P01"), "{said}");
}

#[test]
fn a_class_may_be_of_idle_clients_alone() {
    let stage = Stage::new(&Setup::servers(3));
    let silent = "name=silent,functions=0,idle=20,duration=1s";
    let busy =
        "name=busy,profile=steady,functions=5,transactions=0,think=5ms,ramp=100ms,duration=1s";
    let flags = ["--json", "--class", silent, "--class", busy];
    let output = storm_command(&stage.weir.target(), &flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let idle = &report["classes"][0]["idle"];
    assert_eq!((&idle["planned"], &idle["answered"]), (&20.into(), &20.into()), "{report}");
    let nobody = storm_command(&stage.weir.target(), &["--functions", "0"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("expected 1 or more"));
}

#[test]
fn programs_read_the_report_as_json() {
    let stage = Stage::new(&Setup::servers(3));
    let flags = ["--functions", "50", "--ramp", "100ms", "--json"];
    let output = storm_command(&stage.weir.target(), &flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["arrivals"]["achieved"], 50);
    assert_eq!((&report["connects"], &report["transactions"]), (&50.into(), &50.into()));
    assert_eq!(report["errors"], serde_json::json!({}));
    for times in ["connect", "wait", "first_query", "transaction"] {
        for quantile in ["p50_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"] {
            assert!(report[times][quantile].as_f64() > Some(0.0), "{times} {quantile}: {report}");
        }
    }
}

#[test]
fn the_demonstration_holds_its_limit_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // PostgreSQL runs as another user when we are root.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("permissions");

    let output = pgweir()
        .args(["demo", "--once", "--functions", "100", "--max-servers", "4"])
        .env("TMPDIR", folder.path())
        .output()
        .expect("the pgweir binary");

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["connects      100", "errors        none", "limit 4; PostgreSQL refused 0"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

fn class(target: &Target) -> Class {
    Class::new(Dsn::parse(&dsn(target)).expect("a connection string"))
}

fn dsn(target: &Target) -> String {
    let Target { addr, database, user, password } = target;
    format!("postgres://{user}:{}@{addr}/{database}", password.replace(' ', "%20"))
}

fn run(class: Class) -> Report {
    run_plan(&Plan::of(class))
}

fn run_plan(plan: &Plan) -> Report {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(storm::run(plan)).expect("a storm")
}

/// Runs something while looking at PostgreSQL; also returns the most client connections seen there.
fn watched<T>(database: &Database, run: impl FnOnce() -> T) -> (T, usize) {
    let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut admin = database.admin();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let count = admin.value(
                    "select count(*) from pg_stat_activity \
                     where backend_type = 'client backend' and pid <> pg_backend_pid()",
                );
                most.fetch_max(count.parse().expect("a number"), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let result = run();
        over.store(true, Ordering::Relaxed);
        result
    });
    (result, most.into_inner())
}

fn storm_command(target: &Target, flags: &[&str]) -> Output {
    let mut command = pgweir();
    command.arg("storm").args(flags).env("PGWEIR_STORM_DSN", dsn(target));
    command.output().expect("the pgweir binary")
}

fn pgweir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pgweir"))
}
