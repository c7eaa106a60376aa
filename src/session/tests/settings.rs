//! Settings that follow a client from server to server.

use super::pair::Pair;
use crate::session::{Attach, SessionError};

const SET: &str = "SELECT pg_catalog.set_config($1, $2, false)";

/// A client that asks for a time zone at login and has server 0 for its first message.
fn in_tokyo(servers: usize) -> Pair {
    let mut p = Pair::new(servers);
    let client = p.client(&[("timezone", "tokyo")]);
    p.clients.swap(0, client);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 0), Attach::Wait);
    p
}

/// What a server answers to the change.
const TAKEN: &str = "1 2 D(Asia/Tokyo) C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)";

#[test]
fn an_unproven_value_is_waited_for_and_a_proven_one_goes_ahead() {
    let mut p = in_tokyo(2);
    p.server_got(0, &format!("P(__pgweir_set,{SET}) B(__pgweir_set:timezone=tokyo) E S"));
    p.answer(0, TAKEN);
    assert_eq!(p.clients[0].settled, Some(Ok(())));
    p.server_got(0, "Q(select 1)");
    p.answer(0, "C(SELECT 1) Z(I)");
    // The client learns how the server spells it before its first ReadyForQuery.
    p.client_got(0, "C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)");
    p.release(0);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 1), Attach::Ready);
    let set = format!("P(__pgweir_set,{SET}) B(__pgweir_set:timezone=Asia/Tokyo) E S");
    p.server_got(1, &format!("{set} Q(select 1)"));
    p.answer(1, &format!("{TAKEN} C(SELECT 1) Z(I)"));
    p.client_got(0, "C(SELECT 1) Z(I)");
    p.release(0);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 0), Attach::Ready);
    p.server_got(0, "Q(select 1)");
}

#[test]
fn the_next_client_gets_the_servers_default_back() {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.release(0);
    p.servers[0].received.clear();
    p.send(1, "Q(select 2)");
    assert_eq!(p.attach(1, 0), Attach::Ready);
    p.server_got(0, "B(__pgweir_set:timezone=NULL) E S Q(select 2)");
    p.answer(0, "2 D(UTC) C(SELECT 1) S(TimeZone=UTC) Z(I) C(SELECT 1) Z(I)");
    p.client_got(1, "C(SELECT 1) Z(I)");
}

#[test]
fn a_refused_value_is_told_and_nothing_ran() {
    let mut p = in_tokyo(1);
    p.servers[0].received.clear();
    p.answer(0, "1 2 E(22023,no such zone) Z(I)");
    assert!(matches!(p.clients[0].settled, Some(Err(_))));
    p.server_got(0, "");
    p.client_got(0, "");
}

#[test]
fn a_proven_value_that_is_refused_ends_the_lease() {
    let mut p = in_tokyo(2);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.release(0);
    assert_eq!(p.attach(0, 1), Attach::Ready);
    let refused = p.try_answer(1, "1 2 E(22023,no) Z(I)");
    assert!(matches!(refused, Err(SessionError::SettingLost)));
}

#[test]
fn a_refused_parse_of_our_own_is_sent_again() {
    let mut p = in_tokyo(1);
    p.answer(0, "E(57014,canceled) Z(I)");
    assert!(!p.servers[0].backend.statements.has_set_statement);
}

#[test]
fn names_that_decide_whose_rows_are_seen_are_always_waited_for() {
    let mut p = Pair::new(2);
    let client = p.client(&[("search_path", "a")]);
    p.knowledge.accept("search_path", b"a", b"a");
    assert_eq!(p.attach(client, 0), Attach::Wait);
}

#[test]
fn a_change_of_the_clients_own_follows_it() {
    let mut p = Pair::new(2);
    let set = "Q(set timezone to 'Tokyo')";
    p.send(0, set);
    p.attach(0, 0);
    p.exchange(0, ["", set, "C(SET) S(TimeZone=Tokyo) Z(I)", "C(SET) S(TimeZone=Tokyo) Z(I)"]);
    p.release(0);
    assert_eq!(p.attach(0, 1), Attach::Ready);
    p.server_got(1, &format!("P(__pgweir_set,{SET}) B(__pgweir_set:TimeZone=Tokyo) E S"));
}

#[test]
fn a_change_that_is_rolled_back_does_not_follow_it() {
    let mut p = Pair::new(2);
    p.attach(0, 0);
    p.send(0, "Q(begin; set timezone to 'Tokyo') Q(rollback)");
    p.answer(0, "C(BEGIN) C(SET) S(TimeZone=Tokyo) Z(T) C(ROLLBACK) S(TimeZone=UTC) Z(I)");
    p.release(0);
    assert_eq!(p.attach(0, 1), Attach::Ready);
    p.server_got(1, "");
}

#[test]
fn reset_gives_the_value_of_the_startup_message() {
    let mut p = in_tokyo(2);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "Q(set timezone to 'Paris')");
    p.answer(0, "C(SET) S(TimeZone=Paris) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Paris"[..]));
    p.send(0, "Q(reset timezone)");
    p.answer(0, "C(RESET) S(TimeZone=UTC) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Asia/Tokyo"[..]));
}

#[test]
fn a_value_set_to_the_servers_default_is_not_a_reset() {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "Q(set timezone to 'UTC')");
    p.answer(0, "C(SET) S(TimeZone=UTC) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"UTC"[..]));
}

#[test]
fn what_only_the_server_decides_is_told_before_the_next_ready_for_query() {
    let mut p = Pair::new(1);
    p.servers[0].backend.settings.on_parameter_status("in_hot_standby", b"on");
    p.send(0, "Q(select 1)");
    p.attach(0, 0);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.client_got(0, "C(SELECT 1) S(in_hot_standby=on) Z(I)");
    p.exchange(
        0,
        ["Q(select 2)", "Q(select 1) Q(select 2)", "C(SELECT 1) Z(I)", "C(SELECT 1) Z(I)"],
    );
}
