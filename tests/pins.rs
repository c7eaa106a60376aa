//! Clients that keep their server: who sees it, and where it ends (docs/semantics.md "Pins").

use super::support::*;

fn is(stage: &Stage, name: &str, labels: &str, expected: f64) {
    let what = format!("{name}{{{labels}}} is {expected}");
    wait_until(&what, || (stage.weir.metric(name, labels) - expected).abs() < 0.5);
}

fn pinned(stage: &Stage, count: usize) {
    is(stage, "pgweir_clients_pinned", "", count as f64);
}

/// A word that stands in a constant only.
const SECRET: &str = "hunter2";

#[test]
fn a_pin_is_counted_and_logged_without_constants() {
    let setup = Setup::servers(2).tables("[log]\nlevel = \"debug\"");
    let stage = Stage::new(&setup);
    let mut client = stage.weir.target().connect_with(&[("application_name", "billing")]);
    client.rows(&format!("create temp table basket (owner text default '{SECRET}')"));
    pinned(&stage, 1);
    is(&stage, "pgweir_pins_total", "reason=\"temp_object\"", 1.0);
    client.rows("listen orders");
    is(&stage, "pgweir_pins_total", "reason=\"listen\"", 1.0);
    is(&stage, "pgweir_pins_total", "", 2.0);
    client.rows("drop table basket");
    client.rows("unlisten *");
    pinned(&stage, 0);
    let log = stage.weir.log();
    let begun: Vec<_> = log.lines().filter(|line| line.contains("a client is pinned")).collect();
    assert_eq!(begun.len(), 2, "{begun:#?}");
    for part in [
        "temp_object",
        "object=\"basket\"",
        "create temp table basket (owner text default ?)",
        "billing",
        "user=\"app\"",
        stage.database.name(),
    ] {
        assert!(begun[0].contains(part), "{part}: {}", begun[0]);
    }
    assert!(begun[1].contains("object=\"orders\""), "{}", begun[1]);
    assert_eq!(log.matches("no longer pinned").count(), 2, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn the_seconds_of_a_pin_are_counted_while_it_lasts() {
    let stage = Stage::new(&Setup::servers(1));
    let mut client = stage.client();
    client.rows("select pg_advisory_lock(1)");
    let labels = "reason=\"advisory_lock\"";
    wait_until("seconds are counted", || {
        stage.weir.metric("pgweir_pinned_seconds_total", labels) > 0.5
    });
    pinned(&stage, 1);
    client.send(&terminate());
    pinned(&stage, 0);
}
