//! Bounds, and that waiting at them ends.

use bytes::BytesMut;

use super::pair::{Pair, Stop};
use super::script;
use crate::session::flow::MAX_IN_FLIGHT;
use crate::session::pins::PinReason;
use crate::session::{Attach, Parting};

#[test]
fn a_text_too_long_to_keep_passes_and_keeps_the_client_at_its_server() {
    let mut p = Pair::attached();
    let text = "x".repeat(2 << 20);
    p.send(0, &format!("P(s,{text}) S"));
    p.server_got(0, &format!("P(__pgweir_0,{text}) S"));
    p.answer(0, "1 Z(I)");
    p.client_got(0, "1 Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    assert!(p.clients[0].session.pins().contains(PinReason::LongStatement));
    // Its name is taken, though nobody knows its text any more.
    p.send(0, &format!("P(s,{text}) S"));
    p.server_got(0, "D(__pgweir_missing) S");
    p.answer(0, "E(26000,no) Z(I)");
    p.client_got(0, "E(42P05,prepared statement \"s\" already exists) Z(I)");
    p.send(0, "C(s) S");
    p.server_got(0, "C(__pgweir_0) S");
    p.answer(0, "3 Z(I)");
    p.client_got(0, "3 Z(I)");
    assert_eq!(p.part(0), Parting::Free);
    p.send(0, "B(s) S");
    p.server_got(0, "B(__pgweir_missing) S");
}

#[test]
fn a_long_statement_is_not_closed_to_make_room_and_gone_for_good_when_deallocated() {
    let mut p = Pair::with_limit(1, 2);
    p.send(0, &format!("P(long,{}) S", "x".repeat(2 << 20)));
    assert_eq!(p.attach(0, 0), Attach::Ready);
    p.servers[0].received.clear();
    p.answer(0, "1 Z(I)");
    for name in ["a", "b", "c"] {
        p.send(0, &format!("P({name},select {name}) S"));
        p.servers[0].received.clear();
        p.answer(0, if matches!(name, "a") { "1 Z(I)" } else { "3 1 Z(I)" });
    }
    p.send(0, "B(long) E S");
    p.server_got(0, "B(__pgweir_0) E S");
    p.answer(0, "2 C(SELECT 0) Z(I)");
    // By a function, which no text shows.
    p.send(0, "Q(select f())");
    p.servers[0].received.clear();
    p.answer(0, "C(DEALLOCATE ALL) Z(I)");
    // The server may have a statement of SQL's PREPARE under this name, for all that is known.
    p.send(0, "B(long) S");
    p.server_got(0, "B(long) S");
}

#[test]
fn a_name_too_long_to_read_is_refused() {
    let mut p = Pair::attached();
    let name = "n".repeat(2 << 20);
    for message in [format!("P({name},select 1)"), format!("B({name})")] {
        // The rest of it is on its way.
        let bytes = script::frontend(&message);
        let (first, rest) = bytes.split_at(100_000);
        p.clients[0].input.extend_from_slice(first);
        assert_eq!(p.pump_client(0), Stop::More);
        p.clients[0].input.extend_from_slice(rest);
        p.send(0, "S");
        p.server_got(0, "D(__pgweir_missing) S");
        p.answer(0, "E(26000,no) Z(I)");
        assert!(script::show_backend(&p.clients[0].output.split()).starts_with("E(54000,"));
    }
}

#[test]
fn a_client_may_have_so_many_statements_and_no_more() {
    let mut p = Pair::attached();
    for i in 0..10_000 {
        p.send(0, &format!("P(s{i},select 1) S"));
        p.answer(0, if i == 0 { "1 Z(I)" } else { "Z(I)" });
    }
    p.clients[0].output.clear();
    p.servers[0].received.clear();
    p.send(0, "P(more,select 1) S");
    p.server_got(0, "D(__pgweir_missing) S");
    p.answer(0, "E(26000,no) Z(I)");
    p.client_got(0, "E(53400,too many prepared statements for one client) Z(I)");
}

#[test]
fn a_full_pipeline_asks_the_server_for_its_replies() {
    let mut p = Pair::attached();
    let mut binds = BytesMut::new();
    for _ in 0..=MAX_IN_FLIGHT {
        binds.extend_from_slice(&script::frontend("C(x)"));
    }
    p.send(0, "P(,select 1)");
    p.clients[0].input.extend_from_slice(&binds);
    assert_eq!(p.pump_client(0), Stop::Wait);
    assert_eq!(p.pump_client(0), Stop::Wait);
    p.server_got(0, "P(,select 1) H");
    p.answer(0, "1");
    assert_eq!(p.clients[0].stop, Stop::More);
}

#[test]
fn texts_in_flight_are_bounded_by_their_bytes() {
    let mut p = Pair::attached();
    let text = "x".repeat(1 << 19);
    let script = format!("P(,{text}) ").repeat(20);
    assert_eq!(p.send(0, &script), Stop::Wait);
    assert!(p.servers[0].received.len() < 6 << 20);
    assert!(p.servers[0].received.ends_with(b"H\0\0\0\x04"));
    for _ in 0..20 {
        p.try_answer(0, "1").unwrap();
    }
    assert_eq!(p.clients[0].stop, Stop::More);
}

#[test]
fn copy_data_never_fills_a_pipeline() {
    let mut p = Pair::attached();
    p.exchange(0, ["Q(copy t from stdin)", "Q(copy t from stdin)", "G", "G"]);
    for _ in 0..=MAX_IN_FLIGHT {
        assert_eq!(p.send(0, "d(1) S H"), Stop::More);
    }
    assert!(!p.clients[0].session.is_full());
}
