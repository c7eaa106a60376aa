//! Reports of storms that were not.

use std::sync::Mutex;
use std::time::Duration;

use super::super::access::Access;
use super::super::client::ClientError;
use super::super::plan::Class;
use super::super::tally::Gauges;
use super::*;
use crate::config::Dsn;
use crate::storm::sample::Sample;

fn work(name: &str, ramp: Duration, tally: Tally) -> Arc<Work> {
    let class = Class {
        name: name.to_owned(),
        functions: 10,
        ramp,
        ..Class::new(Dsn::parse("postgres://u@h/d").unwrap())
    };
    Arc::new(Work {
        access: Access::of(&class).unwrap(),
        class,
        timeout: Duration::ZERO,
        tally: Mutex::new(tally),
        gauges: Gauges::default(),
    })
}

fn point(at: f64, span: f64, arrived: u64) -> Point {
    let all = Sample {
        connecting: 0,
        connected: 3,
        waiting: 1,
        arrived,
        errors: 0,
        wait: Latency::default(),
        transaction: Latency::default(),
    };
    Point { at, span, all, classes: Vec::new(), servers: None }
}

fn observed(exceeded_by: u64) -> Observed {
    Observed {
        looks: 20,
        failed_looks: 0,
        interval_ms: 50.0,
        longest_gap_ms: 55.0,
        most: 5 + exceeded_by,
        limit: Some(5),
        exceeded_by,
        looks_over: 2,
        seconds_over: 0.1,
    }
}

pub(super) fn report(tallies: Vec<Tally>, ramp: Duration, observed: Option<Observed>) -> Report {
    let names = ["<first> & \"one\"", "second"];
    let works: Vec<_> =
        names.iter().zip(tallies).map(|(name, tally)| work(name, ramp, tally)).collect();
    let clocks = vec![Clock { start: 0.0, arrived: 0.9, ended: 1.5 }; works.len()];
    let series = vec![point(0.5, 0.5, 4), point(1.0, 0.5, 6), point(1.5, 0.5, 0)];
    let busiest = vec![10.0; works.len() + 1];
    Report::new(&works, &clocks, Series { points: series, busiest }, observed)
}

pub(super) fn tally(transactions: u64) -> Tally {
    let mut tally = Tally::new();
    for _ in 0..10 {
        tally.arrived(Duration::from_millis(1));
        tally.connect.record(Duration::from_millis(7));
    }
    for _ in 0..transactions {
        tally.committed(Duration::from_millis(3));
    }
    tally
}

pub(super) fn a_report_of_everything() -> Report {
    let mut failed = tally(5);
    let text = "ERROR 53300: <b>no & \"never\"</b> \u{1}".to_owned();
    failed.failed(&ClientError::Server { code: "53300".to_owned(), text, fatal: true });
    report(vec![failed, tally(15)], Duration::from_secs(1), Some(observed(3)))
}

#[test]
fn a_schedule_that_was_kept_achieves_its_rate() {
    let report = report(vec![tally(0)], Duration::from_secs(1), None);
    let arrivals = &report.total.arrivals;
    assert!((arrivals.achieved_per_second - 10.0).abs() < 0.001);
    assert_eq!(arrivals.planned_per_second, Some(10.0));
    assert!((arrivals.peak_per_second - 10.0).abs() < 0.001);
    assert!(report.is_clean() && report.fairness.is_none());
}

#[test]
fn errors_and_missed_arrivals_are_told() {
    let mut tally = tally(0);
    tally.failed(&ClientError::TimedOut);
    tally.missed = 2;
    let report = report(vec![tally], Duration::from_secs(1), None);
    assert!(!report.is_clean());
    let text = report.to_string();
    for part in ["timeout", "first: no answer in time", "2 missed", "7.00", "  -"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_limit_that_was_passed_is_told_and_makes_the_storm_a_failure() {
    let held = report(vec![tally(1)], Duration::ZERO, Some(observed(0)));
    assert!(held.is_clean() && held.to_string().contains("limit 5, never passed"));
    let passed = report(vec![tally(1)], Duration::ZERO, Some(observed(3)));
    assert_eq!((passed.is_clean(), passed.exceeded_by()), (false, 3));
    assert!(passed.to_string().contains("8 at most, limit 5 PASSED by 3, for 0.10 s"), "{passed}");
}

#[test]
fn classes_stand_side_by_side_with_the_index_of_their_goodput() {
    let report = a_report_of_everything();
    assert_eq!(report.total.transactions, 20);
    assert!(report.fairness.is_some_and(|index| (index - 0.8).abs() < 0.001), "{report}");
    let text = report.to_string();
    for part in [
        "second                       10          0         15",
        "fairness      0.800 between functions, 0.800 between classes",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn programs_read_numbers_even_where_there_is_no_rate() {
    let report = report(vec![tally(2)], Duration::ZERO, None);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["arrivals"]["achieved"], 10);
    assert!(json["arrivals"]["planned_per_second"].is_null());
    assert!(json["connect"]["p99_ms"].is_number() && json["errors"].is_object());
    assert_eq!(json["classes"][0]["transactions"], 2);
    assert_eq!(json["classes"][0]["profile"], "ramp");
    assert_eq!(json["series"][2]["all"]["connected"], 3);
    assert!(json["observed"].is_null() && json["fairness"].is_null());
}
