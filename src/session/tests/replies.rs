//! Which replies come, in which order, and when a server may go.

use super::pair::{Pair, Stop};
use crate::session::TransactionStatus;
use crate::wire::{Report, SqlState};

#[test]
fn pipelined_queries_keep_the_server_until_the_last_answer() {
    let mut p = Pair::attached();
    p.send(0, "Q(select 1) Q(select 2)");
    p.server_got(0, "Q(select 1) Q(select 2)");
    p.answer(0, "T D(1) C(SELECT 1) Z(I)");
    assert!(!p.clients[0].session.may_release());
    p.answer(0, "T D(2) C(SELECT 1) Z(I)");
    p.client_got(0, "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)");
    p.release(0);
}

#[test]
fn an_open_or_failed_transaction_keeps_the_server_until_it_ends() {
    let mut p = Pair::attached();
    for (sql, status) in [("begin", "Z(T)"), ("selec", "Z(E)"), ("commit and chain", "Z(T)")] {
        p.send(0, &format!("Q({sql})"));
        p.answer(0, &format!("C(TAG) {status}"));
        assert!(!p.clients[0].session.may_release());
    }
    p.send(0, "Q(rollback)");
    p.answer(0, "C(ROLLBACK) Z(I)");
    p.release(0);
}

#[test]
fn a_query_behind_a_failed_parse_is_not_answered_and_keeps_the_server() {
    let mut p = Pair::attached();
    p.send(0, "P(,selec) Q(select 1)");
    p.answer(0, "E(42601,syntax error)");
    assert!(!p.clients[0].session.may_release());
    p.send(0, "S");
    p.answer(0, "Z(I)");
    p.client_got(0, "E(42601,syntax error) Z(I)");
    p.release(0);
}

#[test]
fn what_is_sent_behind_a_known_failure_does_not_reach_the_server() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,selec) H", "P(,selec) H", "E(42601,no)", "E(42601,no)"]);
    p.exchange(0, ["P(s,select 1) B(s) C(s) Q(select 1) H S", "S", "Z(I)", "Z(I)"]);
    p.exchange(0, ["B(s) S", "B(__pgweir_missing) S", "E(26000,x) Z(I)", "E(26000,x) Z(I)"]);
}

#[test]
fn a_sync_behind_a_query_in_an_open_segment_commits_on_postgresql_18_too() {
    let heads = ["P(,x) B() E Q(y)", "P(,x) B() E F", "P(,x) B() E Q(y) F H"];
    for (head, last) in heads.into_iter().zip(["C(Y) Z(T)", "V Z(T)", "C(Y) Z(T) V Z(T)"]) {
        let mut p = Pair::attached();
        p.send(0, head);
        p.answer(0, &format!("1 2 C(X) {last}"));
        assert!(!p.clients[0].session.may_release());
        p.servers[0].received.clear();
        p.send(0, "S");
        p.server_got(0, "P(__pgweir_empty,) C(__pgweir_empty) S");
        p.answer(0, "1 3 Z(I)");
        p.client_got(0, &format!("1 2 C(X) {last} Z(I)"));
        p.exchange(0, ["S Q(z) S", "S Q(z) S", "Z(I) C(Z) Z(I) Z(I)", "Z(I) C(Z) Z(I) Z(I)"]);
        p.release(0);
    }
}

#[test]
fn an_error_that_a_commit_meets_reaches_the_client() {
    let mut p = Pair::attached();
    p.send(0, "P(,x) B() E Q(y) S");
    p.answer(0, "1 2 C(X) C(Y) Z(T) E(57014,cancelled) Z(I)");
    p.client_got(0, "1 2 C(X) C(Y) Z(T) E(57014,cancelled) Z(I)");
    p.release(0);
}

#[test]
fn an_open_segment_keeps_the_server_though_everything_is_answered() {
    let mut p = Pair::attached();
    p.exchange(0, ["P(,select 1) D() H", "P(,select 1) D H", "1 t T", "1 t T"]);
    assert!(!p.clients[0].session.may_release());
    p.exchange(0, ["B() E S", "B E S", "2 D(1) C(SELECT 1) Z(I)", "2 D(1) C(SELECT 1) Z(I)"]);
    p.release(0);
}

#[test]
fn copy_swallows_the_sync_before_its_data() {
    let mut p = Pair::attached();
    p.exchange(
        0,
        ["P(,copy t from stdin) B() E S", "P(,copy t from stdin) B E S", "1 2 G", "1 2 G"],
    );
    p.exchange(0, ["d(1) c S", "d(1) c S", "C(COPY 1) Z(I)", "C(COPY 1) Z(I)"]);
    p.release(0);
}

#[test]
fn copy_data_that_comes_late_needs_no_server() {
    let mut p = Pair::attached();
    p.exchange(
        0,
        [
            "Q(copy t from stdin)",
            "Q(copy t from stdin)",
            "G E(22P04,bad) Z(I)",
            "G E(22P04,bad) Z(I)",
        ],
    );
    p.release(0);
    assert_eq!(p.send(0, "d(2) d(3) c f(no)"), Stop::More);
    p.client_got(0, "");
}

#[test]
fn a_doubtful_sync_in_a_failed_copy_is_settled_by_a_barrier_even_in_a_failed_transaction() {
    let mut p = Pair::attached();
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    p.exchange(
        0,
        ["P(,copy t from stdin) B() E S", "P(,copy t from stdin) B E S", "1 2 G", "1 2 G"],
    );
    p.send(0, "d(bad) S d(1) c S");
    p.answer(0, "E(22P04,bad) Z(E) Z(E)");
    p.client_got(0, "E(22P04,bad) Z(E) Z(E)");
    p.server_got(0, "d(bad) S d(1) c S Q(SELECT 'pgweir barrier')");
    p.answer(0, "E(25P02,aborted) Z(E)");
    p.client_got(0, "");
    p.exchange(0, ["Q(rollback)", "Q(rollback)", "C(ROLLBACK) Z(I)", "C(ROLLBACK) Z(I)"]);
    p.release(0);
}

#[test]
fn the_barrier_passes_the_replies_of_a_doubtful_sync_before_those_of_a_query() {
    let mut p = Pair::attached();
    p.exchange(0, ["Q(copy t from stdin)", "Q(copy t from stdin)", "G", "G"]);
    p.send(0, "d(bad) S c Q(select 1)");
    p.answer(0, "E(22P04,bad) Z(I) Z(I)");
    p.client_got(0, "E(22P04,bad) Z(I) Z(I)");
    assert!(!p.clients[0].session.may_release());
    p.answer(0, "T D(1) C(SELECT 1) Z(I)");
    p.client_got(0, "T D(1) C(SELECT 1) Z(I)");
}

#[test]
fn what_does_not_belong_into_a_copy_goes_to_the_server_and_never_waits() {
    let mut p = Pair::attached();
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    p.send(0, "P(s,select 1) C(s) S");
    p.answer(0, "1 Z(T)");
    p.clients[0].output.clear();
    p.servers[0].received.clear();
    assert_eq!(p.send(0, "Q(copy t from stdin) P(s,select 1)"), Stop::Wait);
    p.answer(0, "G");
    assert_eq!(p.clients[0].stop, Stop::More);
    p.server_got(0, "Q(copy t from stdin) P(s,select 1)");
    p.answer(0, "E(08P01,unexpected) FATAL(08P01,lost)");
    p.client_got(0, "G E(08P01,unexpected) FATAL(08P01,lost)");
}

#[test]
fn a_reply_of_our_own_behind_a_copy_waits_for_its_end() {
    let mut p = Pair::attached();
    p.exchange(
        0,
        ["P(,copy t from stdin) B() E C(x) S", "P(,copy t from stdin) B E S", "1 2 G", "1 2 G"],
    );
    p.exchange(0, ["d(1) c S", "d(1) c S", "C(COPY 1) Z(I)", "C(COPY 1) 3 Z(I)"]);
    p.release(0);
}

#[test]
fn function_calls_have_one_ready_for_query() {
    let mut p = Pair::attached();
    p.exchange(
        0,
        ["F(good) F(bad)", "F(good) F(bad)", "V Z(I) E(42883,no) Z(I)", "V Z(I) E(42883,no) Z(I)"],
    );
    p.release(0);
}

#[test]
fn a_flush_with_a_body_is_refused_by_the_server() {
    let mut p = Pair::attached();
    p.clients[0].input.extend_from_slice(b"H\0\0\0\x05x");
    p.pump_client(0);
    p.servers[0].received.clear();
    p.answer(0, "E(08P01,invalid message format)");
    p.exchange(0, ["S", "S", "Z(I)", "E(08P01,invalid message format) Z(I)"]);
    p.release(0);
}

#[test]
fn an_answer_that_nobody_asked_for_is_an_error() {
    let mut p = Pair::attached();
    assert!(p.try_answer(0, "Z(I)").is_err());
}

#[test]
fn a_refused_query_leaves_the_client_usable_and_a_refused_segment_ends_at_its_sync() {
    let mut p = Pair::new(1);
    let full = Report::error(SqlState::TOO_MANY_CONNECTIONS, "full");
    assert_eq!(p.send(0, "Q(select 1)"), Stop::NeedServer(b'Q'));
    p.refuse(0, &full);
    p.client_got(0, "E(53300,full) Z(I)");
    assert_eq!(p.send(0, "P(,select 1) B() E Q(select 2) H"), Stop::NeedServer(b'P'));
    p.refuse(0, &full);
    p.client_got(0, "E(53300,full)");
    p.send(0, "S");
    p.client_got(0, "Z(I)");
    assert_eq!(p.clients[0].session.status(), TransactionStatus::Idle);
    assert_eq!(p.send(0, "Q(select 3)"), Stop::NeedServer(b'Q'));
}

#[test]
fn part_of_a_description_does_not_let_our_own_reply_into_its_middle() {
    let mut p = Pair::attached();
    p.send(0, "P(,select 1) D() C(x) S");
    p.answer(0, "1 t");
    let description = [&b"T\0\0\0\x0c"[..], b"columns."].concat();
    let (first, second) = description.split_at(7);
    p.servers[0].sent.extend_from_slice(first);
    p.pump_server(0).unwrap();
    p.client_got(0, "1 t");
    p.servers[0].sent.extend_from_slice(second);
    p.answer(0, "Z(I)");
    p.client_got(0, "T(columns.) 3 Z(I)");
}
