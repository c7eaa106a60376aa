//! What is answered without a server.

use super::pair::{Pair, Stop};

/// A client that has a statement `s`, known on server 0, and no server.
fn with_statement() -> Pair {
    let mut p = Pair::attached();
    p.exchange(0, ["P(s,select 1) S", "P(__pgweir_0,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.release(0);
    p
}

#[test]
fn known_parses_closes_syncs_and_flushes_need_no_server() {
    let mut p = with_statement();
    assert_eq!(p.send(0, "P(t,select 1) H"), Stop::More);
    p.client_got(0, "1");
    assert!(!p.clients[0].session.is_quiet());
    p.send(0, "C(t) C(nope) S H S d(stray) c");
    p.client_got(0, "3 3 Z(I) Z(I)");
    assert!(p.clients[0].session.is_quiet());
}

#[test]
fn deallocate_is_answered_for_the_clients_own_names_only() {
    let mut p = with_statement();
    p.send(0, "Q(deallocate s)");
    p.client_got(0, "C(DEALLOCATE) Z(I)");
    assert_eq!(p.send(0, "Q(deallocate s)"), Stop::NeedServer(b'Q'));
    p.attach(0, 0);
    p.server_got(0, "Q(deallocate s)");
    p.answer(0, "E(26000,no) Z(I)");
}

#[test]
fn deallocate_all_and_discard_all_leave_other_clients_statements() {
    for (sql, tag) in [("DEALLOCATE ALL", "DEALLOCATE ALL"), ("DISCARD ALL;", "DISCARD ALL")] {
        let mut p = with_statement();
        let other = p.client(&[]);
        p.send(other, "P(s,select 1) S");
        p.client_got(other, "1 Z(I)");
        p.send(other, &format!("Q({sql})"));
        p.client_got(other, &format!("C({tag}) Z(I)"));
        p.send(other, "B(s) S");
        p.attach(other, 0);
        p.exchange(other, ["", "B(__pgweir_missing) S", "E(26000,no) Z(I)", "E(26000,no) Z(I)"]);
        p.release(other);
        p.send(0, "B(s) S");
        p.attach(0, 0);
        p.server_got(0, "B(__pgweir_0) S");
    }
}

#[test]
fn they_drop_the_unnamed_statement_as_every_query_does() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.exchange(0, ["Q(deallocate all)", "", "", "C(DEALLOCATE ALL) Z(I)"]);
    p.send(0, "B() S");
    p.server_got(0, "B(__pgweir_missing) S");
}

#[test]
fn in_a_transaction_they_have_its_status_and_in_a_failed_one_the_server_refuses() {
    let mut p = with_statement();
    p.send(0, "Q(begin)");
    p.attach(0, 0);
    p.exchange(0, ["", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    p.exchange(0, ["Q(deallocate all)", "", "", "C(DEALLOCATE ALL) Z(T)"]);
    p.exchange(0, ["Q(discard all)", "Q(discard all)", "E(25001,no) Z(E)", "E(25001,no) Z(E)"]);
    p.exchange(
        0,
        ["Q(deallocate all)", "Q(deallocate all)", "E(25P02,no) Z(E)", "E(25P02,no) Z(E)"],
    );
}

#[test]
fn they_wait_for_what_is_in_flight() {
    let mut p = Pair::attached();
    assert_eq!(p.send(0, "P(s,select 1) S Q(deallocate s)"), Stop::Wait);
    p.answer(0, "1 Z(I)");
    p.client_got(0, "1 Z(I) C(DEALLOCATE) Z(I)");
}

#[test]
fn statements_of_sql_make_deallocate_all_the_servers() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(s,select 1) S", "P(__pgweir_0,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.exchange(
        0,
        [
            "Q(prepare x as select 1)",
            "Q(prepare x as select 1)",
            "C(PREPARE) Z(I)",
            "C(PREPARE) Z(I)",
        ],
    );
    let all = "Q(deallocate all)";
    p.exchange(0, [all, all, "C(DEALLOCATE ALL) Z(I)", "C(DEALLOCATE ALL) Z(I)"]);
    assert!(p.servers[0].backend.statements.is_empty());
    p.send(0, "B(s) S");
    p.server_got(0, "B(s) S");
}

#[test]
fn discard_all_is_the_servers_where_there_is_more_to_discard() {
    let mut p = Pair::attached();
    let set = "Q(set timezone to 'Tokyo')";
    p.exchange(0, [set, set, "C(SET) S(TimeZone=Tokyo) Z(I)", "C(SET) S(TimeZone=Tokyo) Z(I)"]);
    p.release(0);
    assert_eq!(p.send(0, "Q(discard all)"), Stop::NeedServer(b'Q'));
}

#[test]
fn a_goodbye_needs_no_server() {
    assert_eq!(Pair::new(1).send(0, "X"), Stop::Terminate);
}
