//! The unnamed statement.

use super::pair::{Pair, Stop};

#[test]
fn the_unnamed_statement_survives_a_change_of_servers_and_other_clients() {
    let mut p = Pair::new(2);
    let other = p.client(&[]);
    p.send(0, "P(,select 1) S");
    p.attach(0, 0);
    p.exchange(0, ["", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.release(0);
    p.send(other, "P(,select 2) S");
    p.attach(other, 0);
    p.exchange(other, ["", "P(,select 2) S", "1 Z(I)", "1 Z(I)"]);
    p.release(other);
    for server in [0, 1] {
        p.send(0, "B() E S");
        p.attach(0, server);
        p.server_got(server, "P(,select 1) B E S");
        p.answer(server, "1 2 D(1) C(SELECT 1) Z(I)");
        p.client_got(0, "2 D(1) C(SELECT 1) Z(I)");
        p.release(0);
    }
}

#[test]
fn it_is_not_prepared_again_on_a_server_that_has_it() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.exchange(0, ["D() S", "D S", "t T Z(I)", "t T Z(I)"]);
    p.exchange(0, ["B() S", "B S", "2 Z(I)", "2 Z(I)"]);
}

#[test]
fn a_query_drops_it_and_a_skipped_query_does_not() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.send(0, "P(s,selec) Q(select 2) S");
    p.answer(0, "E(42601,no) Z(I)");
    p.servers[0].received.clear();
    p.send(0, "B() S");
    p.server_got(0, "P(,select 1) B S");
    p.answer(0, "1 2 Z(I)");
    p.send(0, "Q(select 2)");
    p.answer(0, "T D(2) C(SELECT 1) Z(I)");
    p.servers[0].received.clear();
    p.clients[0].output.clear();
    p.send(0, "B() S");
    p.server_got(0, "B(__pgweir_missing) S");
    p.answer(0, "E(26000,prepared statement \"__pgweir_missing\" does not exist) Z(I)");
    p.client_got(0, "E(26000,unnamed prepared statement does not exist) Z(I)");
}

#[test]
fn a_failed_parse_of_it_drops_it() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.exchange(0, ["P(,selec) S", "P(,selec) S", "E(42601,no) Z(I)", "E(42601,no) Z(I)"]);
    p.send(0, "B() S");
    p.server_got(0, "B(__pgweir_missing) S");
}

#[test]
fn a_client_without_one_never_reaches_another_clients() {
    let mut p = Pair::attached();
    let other = p.client(&[]);
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.release(0);
    p.send(other, "B() S");
    p.attach(other, 0);
    p.server_got(0, "B(__pgweir_missing) S");
    p.answer(0, "E(26000,no) Z(I)");
    p.send(other, "B(x) P(,select 2) P(,select 3) S B() S");
    p.answer(0, "E(26000,no) Z(I)");
    p.server_got(0, "B(__pgweir_missing) P(,select 2) P(,select 3) S B(__pgweir_missing) S");
}

#[test]
fn a_bind_waits_for_a_parse_of_it_in_an_earlier_segment() {
    let mut p = Pair::attached();
    assert_eq!(p.send(0, "P(,select 1) S B() S"), Stop::Wait);
    p.server_got(0, "P(,select 1) S");
    p.answer(0, "1 Z(I)");
    p.server_got(0, "B S");
}

#[test]
fn one_too_long_to_keep_works_until_another_takes_its_place() {
    let mut p = Pair::attached();
    let other = p.client(&[]);
    let text = "x".repeat(2 << 20);
    p.send(0, &format!("P(,select '{text}') S"));
    p.servers[0].received.clear();
    p.answer(0, "1 Z(I)");
    p.exchange(0, ["B() S", "B S", "2 Z(I)", "1 Z(I) 2 Z(I)"]);
    p.release(0);
    p.send(other, "B() S");
    p.attach(other, 0);
    p.exchange(other, ["", "B(__pgweir_missing) S", "E(26000,no) Z(I)", "E(26000,no) Z(I)"]);
    p.send(other, "P(,select 2) S");
    p.exchange(other, ["", "P(,select 2) S", "1 Z(I)", "1 Z(I)"]);
    p.release(other);
    p.send(0, "B() S");
    p.attach(0, 0);
    p.server_got(0, "B(__pgweir_missing) S");
}
