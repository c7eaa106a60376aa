//! Stale plans that a client meets before it knows anything of its statement.

use super::pair::Pair;

const STALE: &str = "E(0A000,vertaald,RevalidateCachedQuery)";

/// A client that has server 0, where its statement `s` is prepared.
fn prepared() -> Pair {
    let mut p = Pair::attached();
    p.exchange(0, ["P(s,select 1) S", "P(__pgweir_0,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p
}

#[test]
fn a_segment_that_begins_with_it_is_sent_again() {
    let mut p = prepared();
    p.exchange(0, ["B(s) E D(s) S", "B(__pgweir_0) E D(__pgweir_0) S", STALE, ""]);
    p.exchange(0, ["B(s) E S", "", "Z(I)", ""]);
    // What came meanwhile follows.
    p.server_got(
        0,
        "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) E D(__pgweir_0) S B(__pgweir_0) E S",
    );
    p.answer(0, "3 1 2 D(1) C(SELECT 1) t T Z(I)");
    p.client_got(0, "2 D(1) C(SELECT 1) t T Z(I)");
}

#[test]
fn without_a_sync_the_server_is_given_one() {
    let mut p = prepared();
    p.exchange(0, ["D(s) H", "D(__pgweir_0) H", &format!("t {STALE}"), "t"]);
    p.server_got(0, "S");
    p.answer(0, "Z(I)");
    p.client_got(0, "");
    p.server_got(0, "C(__pgweir_0) P(__pgweir_0,select 1) D(__pgweir_0) H");
    // The description of parameters was passed on before.
    p.answer(0, "3 1 t T");
    p.client_got(0, "T");
    p.exchange(0, ["B(s) E S", "B(__pgweir_0) E S", "2 C(SELECT 0) Z(I)", "2 C(SELECT 0) Z(I)"]);
}

#[test]
fn elided_parses_and_closes_in_it_are_answered_once() {
    let mut p = prepared();
    let other = p.client(&[]);
    p.release(0);
    p.send(other, "P(t,select 1) B(t) E C(t) P(u,select 1) S");
    p.attach(other, 0);
    p.server_got(0, "B(__pgweir_0) E S");
    p.client_got(other, "1");
    p.answer(0, &format!("{STALE} Z(I)"));
    p.server_got(0, "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) E S");
    p.answer(0, "3 1 2 C(SELECT 0) Z(I)");
    p.client_got(other, "2 C(SELECT 0) 3 1 Z(I)");
    p.exchange(other, ["B(u) S", "B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
}

#[test]
fn a_second_failure_is_the_clients() {
    let mut p = prepared();
    p.exchange(0, ["B(s) E S", "B(__pgweir_0) E S", &format!("{STALE} Z(I)"), ""]);
    p.server_got(0, "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) E S");
    p.answer(0, &format!("3 1 {STALE} Z(I)"));
    p.client_got(0, "E(0A000,vertaald) Z(I)");
    let mut p = prepared();
    p.exchange(0, ["B(s) E S", "B(__pgweir_0) E S", &format!("{STALE} Z(I)"), ""]);
    p.server_got(0, "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) E S");
    p.answer(0, "3 E(42P01,gone) Z(I)");
    p.client_got(0, "E(42P01,gone) Z(I)");
}

#[test]
fn where_more_hangs_on_it_the_error_is_the_clients() {
    // In a transaction, which has failed.
    let mut p = prepared();
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    p.exchange(
        0,
        ["B(s) S", "B(__pgweir_0) S", &format!("{STALE} Z(E)"), "E(0A000,vertaald) Z(E)"],
    );
    // Behind other work of the segment.
    let mut p = prepared();
    p.send(0, "P(,select 2) B() E B(s) E S");
    p.servers[0].received.clear();
    p.answer(0, &format!("1 2 C(SELECT 0) {STALE} Z(I)"));
    p.client_got(0, "1 2 C(SELECT 0) E(0A000,vertaald) Z(I)");
    // With another segment behind it, which would overtake it.
    let mut p = prepared();
    p.send(0, "B(s) E S Q(select 2)");
    p.servers[0].received.clear();
    p.answer(0, &format!("{STALE} Z(I)"));
    p.client_got(0, "E(0A000,vertaald) Z(I)");
    // When the client has seen how its rows look.
    let mut p = prepared();
    p.exchange(0, ["D(s) S", "D(__pgweir_0) S", "t T Z(I)", "t T Z(I)"]);
    p.exchange(
        0,
        ["B(s) S", "B(__pgweir_0) S", &format!("{STALE} Z(I)"), "E(0A000,vertaald) Z(I)"],
    );
}

#[test]
fn after_ddl_a_parse_is_one_and_older_statements_meet_their_own_fate() {
    let mut p = prepared();
    p.exchange(0, ["B(s) S", "B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
    p.exchange(
        0,
        ["Q(alter table a)", "Q(alter table a)", "C(ALTER TABLE) Z(I)", "C(ALTER TABLE) Z(I)"],
    );
    // It was parsed before, so that PostgreSQL would tell it if its rows look different now.
    p.exchange(0, ["B(s) S", "B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
    p.exchange(
        0,
        [
            "P(t,select 1) B(t) S",
            "C(__pgweir_0) P(t,select 1) C(t) P(__pgweir_0,select 1) B(__pgweir_0) S",
            "3 1 3 1 2 Z(I)",
            "1 2 Z(I)",
        ],
    );
}

#[test]
fn a_parse_behind_ddl_of_its_own_transaction_is_one() {
    let mut p = prepared();
    p.exchange(0, ["B(s) S", "B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    let alter = "Q(alter table a)";
    p.exchange(0, [alter, alter, "C(ALTER TABLE) Z(T)", "C(ALTER TABLE) Z(T)"]);
    p.exchange(
        0,
        [
            "P(t,select 1) B(t) S",
            "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) S",
            "3 1 2 Z(T)",
            "1 2 Z(T)",
        ],
    );
}
