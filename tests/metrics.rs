//! What `/metrics` counts, label by label (`docs/metrics.md`).

use super::support::*;

fn counted(stage: &Stage, name: &str, labels: &str, expected: f64) {
    let what = format!("{name}{{{labels}}} is {expected}");
    wait_until(&what, || (stage.weir.metric(name, labels) - expected).abs() < 0.5);
}

#[test]
fn bytes_are_those_of_clients_in_both_directions() {
    let stage = Stage::new(&Setup::servers(1));
    let bytes = || {
        ["pgweir_bytes_received_total", "pgweir_bytes_sent_total"]
            .map(|name| stage.weir.metric(name, ""))
    };
    // Two sessions that differ in the lengths of one message each way.
    let of_session = |asked: usize, answered: usize| {
        let before = bytes();
        let mut client = stage.client();
        client.rows(&format!("select repeat('x', {answered}) /* {} */", "y".repeat(asked)));
        client.send(&terminate());
        client.rest();
        counted(&stage, "pgweir_clients", "", 0.0);
        let after = bytes();
        [after[0] - before[0], after[1] - before[1]]
    };
    // The first session also has its pool opened.
    of_session(1, 1);
    let short = of_session(10_000, 10_000);
    let long = of_session(30_000, 100_000);
    assert!((short[0] - 10_000.0).abs() < 1000.0, "{short:?}");
    assert!((short[1] - 10_000.0).abs() < 2000.0, "{short:?}");
    assert!((long[0] - short[0] - 20_000.0).abs() < 100.0, "{short:?} {long:?}");
    assert!((long[1] - short[1] - 90_000.0).abs() < 100.0, "{short:?} {long:?}");
}

#[test]
fn each_checkout_is_in_the_histogram_of_waits() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    for _ in 0..4 {
        client.rows("select 1");
    }
    // And one at the first login, to learn what the server reports.
    counted(&stage, "pgweir_checkouts_total", "", 5.0);
    counted(&stage, "pgweir_checkout_wait_seconds_count", "", 5.0);
    counted(&stage, "pgweir_checkout_wait_seconds_bucket", "le=\"+Inf\"", 5.0);
    let waited = stage.weir.metric("pgweir_checkout_wait_seconds_sum", "");
    assert!(waited > 0.0 && waited < 10.0, "{waited}");
}
