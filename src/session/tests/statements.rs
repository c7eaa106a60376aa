//! Named prepared statements.

use super::pair::{Pair, Stop};
use crate::session::Attach;

/// A client whose statement `s` is prepared on server 0, which it has given back.
fn prepared(servers: usize) -> Pair {
    let mut p = Pair::new(servers);
    p.send(0, "P(s,select 1) S");
    p.attach(0, 0);
    p.server_got(0, "P(__pgweir_0,select 1) S");
    p.answer(0, "1 Z(I)");
    p.client_got(0, "1 Z(I)");
    p.release(0);
    p
}

#[test]
fn a_named_statement_works_on_every_server() {
    let mut p = prepared(2);
    p.send(0, "D(s) B(s) E S");
    p.attach(0, 1);
    p.server_got(1, "P(__pgweir_0,select 1) D(__pgweir_0) B(__pgweir_0) E S");
    p.answer(1, "1 t T 2 D(1) C(SELECT 1) Z(I)");
    p.client_got(0, "t T 2 D(1) C(SELECT 1) Z(I)");
    p.exchange(
        0,
        ["B(s) E S", "B(__pgweir_0) E S", "2 D(1) C(SELECT 1) Z(I)", "2 D(1) C(SELECT 1) Z(I)"],
    );
}

#[test]
fn the_same_text_is_one_statement_and_the_same_name_may_be_two() {
    let mut p = prepared(1);
    let other = p.client(&[]);
    assert_eq!(p.send(other, "P(t,select 1) H"), Stop::More);
    p.client_got(other, "1");
    assert_eq!(p.send(other, "P(s,select 2) B(t) B(s) S"), Stop::NeedServer(b'P'));
    p.attach(other, 0);
    p.server_got(0, "P(__pgweir_1,select 2) B(__pgweir_0) B(__pgweir_1) S");
}

#[test]
fn an_elided_parse_is_answered_in_its_turn() {
    let mut p = prepared(1);
    p.send(0, "P(,select 2) B() P(t,select 1) E C(t) S");
    p.attach(0, 0);
    p.server_got(0, "P(,select 2) B E S");
    p.answer(0, "1");
    p.client_got(0, "1");
    p.answer(0, "2");
    p.client_got(0, "2 1");
    p.answer(0, "D(2) C(SELECT 1) Z(I)");
    p.client_got(0, "D(2) C(SELECT 1) 3 Z(I)");
}

#[test]
fn an_error_drops_elided_parses_and_closes_behind_it() {
    let mut p = prepared(1);
    p.send(0, "P(,select bad) P(t,select 1) C(s) S");
    p.attach(0, 0);
    p.exchange(0, ["", "P(,select bad) S", "E(42703,no) Z(I)", "E(42703,no) Z(I)"]);
    p.send(0, "P(t,select 1) H");
    p.client_got(0, "1");
    p.exchange(0, ["B(s) S", "H B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
}

#[test]
fn a_failed_parse_leaves_no_statement() {
    let mut p = Pair::attached();
    p.exchange(
        0,
        ["P(s,selec) S", "P(__pgweir_0,selec) S", "E(42601,no) Z(I)", "E(42601,no) Z(I)"],
    );
    p.exchange(
        0,
        ["P(s,selec) S", "P(__pgweir_0,selec) S", "E(42601,no) Z(I)", "E(42601,no) Z(I)"],
    );
    p.release(0);
    assert_eq!(p.send(0, "P(s,selec) S"), Stop::NeedServer(b'P'));
}

#[test]
fn a_name_in_use_is_refused_by_the_server_under_the_clients_name() {
    let mut p = prepared(2);
    p.send(0, "P(s,select 2) S");
    p.attach(0, 1);
    p.server_got(1, "P(__pgweir_0,select 1) P(__pgweir_0,select 2) S");
    p.answer(1, "1 E(42P05,prepared statement \"__pgweir_0\" already exists) Z(I)");
    p.client_got(0, "E(42P05,prepared statement \"s\" already exists) Z(I)");
    p.exchange(0, ["B(s) S", "B(__pgweir_0) S", "2 Z(I)", "2 Z(I)"]);
}

#[test]
fn an_unknown_name_is_refused_by_the_server_under_the_clients_name() {
    let mut p = Pair::attached();
    for sends in ["B(nope)", "D(nope)"] {
        p.send(0, &format!("{sends} S"));
        p.answer(0, "E(26000,prepared statement \"__pgweir_missing\" does not exist) Z(I)");
        p.client_got(0, "E(26000,prepared statement \"nope\" does not exist) Z(I)");
    }
    p.exchange(0, ["C(nope) S", "B(__pgweir_missing) S D(__pgweir_missing) S S", "Z(I)", "3 Z(I)"]);
}

#[test]
fn the_error_of_a_parse_of_our_own_is_the_binds() {
    let mut p = prepared(2);
    p.send(0, "B(s) E S");
    p.attach(0, 1);
    p.answer(1, "E(42P01,no table) Z(I)");
    p.client_got(0, "E(42P01,no table) Z(I)");
    p.release(0);
    let other = p.client(&[]);
    assert_eq!(p.send(other, "P(t,select 1) S"), Stop::NeedServer(b'P'));
}

#[test]
fn the_oldest_statement_makes_room_and_stays_if_that_is_skipped() {
    let mut p = Pair::with_limit(1, 2);
    p.attach(0, 0);
    for (name, id) in [("a", 0), ("b", 1)] {
        let parse = format!("P({name},select {id}) S");
        p.exchange(0, [&parse, &format!("P(__pgweir_{id},select {id}) S"), "1 Z(I)", "1 Z(I)"]);
    }
    p.send(0, "P(c,select 2) S");
    p.server_got(0, "C(__pgweir_0) P(__pgweir_2,select 2) S");
    p.answer(0, "3 1 Z(I)");
    p.client_got(0, "1 Z(I)");
    p.send(0, "D(x) B(a) S");
    p.server_got(0, "D(__pgweir_missing) C(__pgweir_1) P(__pgweir_0,select 0) B(__pgweir_0) S");
    p.answer(0, "E(42601,no) Z(I)");
    p.client_got(0, "E(42601,no) Z(I)");
    p.exchange(0, ["B(b) S", "B(__pgweir_1) S", "2 Z(I)", "2 Z(I)"]);
}

#[test]
fn a_long_segment_stays_within_the_servers_limit() {
    let mut p = Pair::with_limit(1, 2);
    p.attach(0, 0);
    p.send(0, "P(a,select 0) P(b,select 1) P(c,select 2) S");
    let [a, b, c] = [0, 1, 2].map(|id| format!("P(__pgweir_{id},select {id})"));
    p.server_got(0, &format!("{a} {b} C(__pgweir_0) {c} S"));
    p.answer(0, "1 1 3 1 Z(I)");
    p.client_got(0, "1 1 1 Z(I)");
    assert_eq!(p.servers[0].backend.statements.len(), 2);
}

#[test]
fn a_stale_plan_is_replaced_on_every_server() {
    let mut p = prepared(2);
    p.send(0, "B(s) E S");
    p.attach(0, 0);
    p.server_got(0, "B(__pgweir_0) E S");
    p.answer(0, "2 C(SELECT 0) Z(I)");
    p.client_got(0, "2 C(SELECT 0) Z(I)");
    p.send(0, "B(s) E S");
    p.server_got(0, "B(__pgweir_0) E S");
    p.answer(0, "E(0A000,vertaald,RevalidateCachedQuery) Z(I)");
    p.client_got(0, "E(0A000,vertaald) Z(I)");
    p.exchange(
        0,
        [
            "P(t,select 1) B(t) S",
            "C(__pgweir_0) P(__pgweir_0,select 1) B(__pgweir_0) S",
            "3 1 2 Z(I)",
            "1 2 Z(I)",
        ],
    );
}

#[test]
fn another_feature_not_supported_is_no_stale_plan() {
    let mut p = prepared(1);
    p.send(0, "B(s) E S");
    p.attach(0, 0);
    p.answer(0, "E(0A000,cached plan must not change result type,Other) Z(I)");
    p.servers[0].received.clear();
    p.send(0, "B(s) S");
    p.server_got(0, "B(__pgweir_0) S");
}

#[test]
fn a_statement_that_vanished_is_prepared_anew() {
    let mut p = prepared(1);
    p.send(0, "B(s) S");
    p.attach(0, 0);
    p.answer(0, "E(26000,prepared statement \"__pgweir_0\" does not exist) Z(I)");
    p.client_got(0, "E(26000,prepared statement \"s\" does not exist) Z(I)");
    p.servers[0].received.clear();
    p.send(0, "B(s) S");
    p.server_got(0, "P(__pgweir_0,select 1) B(__pgweir_0) S");
}

#[test]
fn in_a_failed_transaction_a_known_parse_is_the_servers_to_refuse() {
    let mut p = prepared(1);
    p.send(0, "Q(begin; selec)");
    p.attach(0, 0);
    p.answer(0, "E(42601,no) Z(E)");
    p.servers[0].received.clear();
    p.send(0, "P(t,select 1) S");
    // SQL may have taken the name, for all that is known of a text that was refused.
    p.server_got(0, "C(__pgweir_0) P(t,select 1) C(t) P(__pgweir_0,select 1) S");
    p.answer(0, "3 E(25P02,aborted) Z(E)");
    p.client_got(0, "E(42601,no) Z(E) E(25P02,aborted) Z(E)");
}

#[test]
fn a_known_parse_waits_while_the_transaction_may_have_failed_unseen() {
    let mut p = prepared(1);
    p.send(0, "Q(begin)");
    p.attach(0, 0);
    assert_eq!(p.send(0, "Q(select 1/0) P(t,select 1) S"), Stop::Wait);
    p.server_got(0, "Q(begin) Q(select 1/0)");
    p.answer(0, "C(BEGIN) Z(T) E(22012,no) Z(E)");
    p.server_got(0, "C(__pgweir_0) P(__pgweir_0,select 1) S");
}

#[test]
fn a_bind_waits_for_a_parse_of_an_earlier_segment() {
    let mut p = Pair::attached();
    assert_eq!(p.send(0, "D(x) P(s,select 1) S B(s) S"), Stop::Wait);
    p.server_got(0, "D(__pgweir_missing) P(__pgweir_0,select 1) S");
    p.answer(0, "E(42601,no) Z(I)");
    p.server_got(0, "B(__pgweir_missing) S");
    p.answer(0, "E(26000,prepared statement \"__pgweir_missing\" does not exist) Z(I)");
    p.client_got(0, "E(42601,no) Z(I) E(26000,prepared statement \"s\" does not exist) Z(I)");
}

#[test]
fn names_that_no_reader_ends_are_the_servers_to_refuse() {
    let mut p = Pair::attached();
    for body in [&b"Ss"[..], b"Ss\0x\0", b"Ss\0\0"] {
        for tag in [b'D', b'C'] {
            let header = [&[tag, 0, 0, 0, 4 + body.len() as u8], body].concat();
            p.clients[0].input.extend_from_slice(&header);
            assert_eq!(p.pump_client(0), Stop::More);
            assert_eq!(&p.servers[0].received.split()[..], &header[..]);
            p.answer(0, "E(08P01,invalid)");
            p.exchange(0, ["S", "S", "Z(I)", "E(08P01,invalid) Z(I)"]);
        }
    }
}

#[test]
fn under_other_settings_a_text_is_another_statement() {
    let mut p = prepared(2);
    let tokyo = p.client(&[("TimeZone", "Tokyo")]);
    assert_eq!(p.send(tokyo, "P(s,select 1) S"), Stop::NeedServer(b'P'));
    assert_eq!(p.attach(tokyo, 0), Attach::Wait);
    p.servers[0].received.clear();
    p.answer(0, "1 2 D(Tokyo) C(SELECT 1) S(TimeZone=Tokyo) Z(I)");
    p.server_got(0, "P(__pgweir_1,select 1) S");
}

#[test]
fn prepared_anew_under_other_settings_a_text_is_another_statement() {
    let mut p = prepared(2);
    p.send(0, "Q(set timezone to 'Tokyo')");
    p.attach(0, 1);
    p.answer(1, "C(SET) S(TimeZone=Tokyo) Z(I)");
    p.servers[1].received.clear();
    p.send(0, "B(s) S");
    p.server_got(1, "P(__pgweir_1,select 1) B(__pgweir_1) S");
}

#[test]
fn a_text_parsed_while_settings_may_change_is_not_shared() {
    let mut p = Pair::attached();
    p.send(0, "Q(set timezone to 'Tokyo') P(s,select 1) S");
    p.answer(0, "C(SET) S(TimeZone=Tokyo) Z(I) 1 Z(I)");
    p.servers[0].received.clear();
    for (name, id) in [("t", 1), ("u", 1)] {
        p.send(0, &format!("P({name},select 1) B({name}) S"));
        let parse = if name == "t" { "P(__pgweir_1,select 1) " } else { "" };
        p.server_got(0, &format!("{parse}B(__pgweir_{id}) S"));
        p.answer(0, if name == "t" { "1 2 Z(I)" } else { "2 Z(I)" });
    }
}

#[test]
fn texts_that_mean_the_time_of_their_parse_are_not_shared() {
    let mut p = Pair::attached();
    for (name, id) in [("a", 0), ("b", 1)] {
        p.send(0, &format!("P({name},select 'now'::timestamptz) S"));
        p.server_got(0, &format!("P(__pgweir_{id},select 'now'::timestamptz) S"));
        p.answer(0, "1 Z(I)");
    }
}
