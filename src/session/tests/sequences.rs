//! Whose numbers `currval` and `lastval` give.

use super::pair::{Pair, Stop};
use crate::session::SessionError;
use crate::sql::{Catalogue, Subject};

/// A client with a server, in a database where `orders.id` is filled by a sequence.
fn scene() -> Pair {
    let p = Pair::attached();
    let rows = [(Subject::Drawing, b"orders".as_slice(), b"id orders_id_seq public".as_slice())];
    p.knowledge.learn_catalogue(Catalogue::new(rows.into_iter()).unwrap(), 0);
    p
}

const FORGET: &str = "P(__pgweir_forget,DISCARD SEQUENCES) B(__pgweir_forget) E S";
const ANEW: &str = "C(__pgweir_forget_anew) P(__pgweir_forget_anew,DISCARD SEQUENCES) \
                    B(__pgweir_forget_anew) E C(__pgweir_forget_anew)";
/// Within a transaction, by a portal of its own.
const FORGET_WITHIN: &str = "P(__pgweir_forget,DISCARD SEQUENCES) \
    B(__pgweir_forget,__pgweir_forget) E(__pgweir_forget) Cp(__pgweir_forget)";
const FORGOT_WITHIN: &str = "1 2 C(DISCARD SEQUENCES) 3 Z(T)";
const ANEW_WITHIN: &str = "C(__pgweir_forget_anew) P(__pgweir_forget_anew,DISCARD SEQUENCES) \
    B(__pgweir_forget_anew,__pgweir_forget_anew) E(__pgweir_forget_anew) \
    Cp(__pgweir_forget_anew) C(__pgweir_forget_anew)";

/// In a transaction, `texts` run and tell of their tags; then `asking` reaches the server behind `ahead`.
#[track_caller]
fn asks_behind(texts: &[(&str, &str)], asking: &str, ahead: &str) {
    let mut p = scene();
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    for (text, tag) in texts {
        let (text, tag) = (format!("Q({text})"), format!("C({tag}) Z(T)"));
        p.exchange(0, [&text, &text, &tag, &tag]);
    }
    let asking = format!("Q({asking})");
    if !ahead.is_empty() {
        assert_eq!(p.send(0, &asking), Stop::Wait);
        p.server_got(0, &format!("{ahead} H"));
        p.answer(0, FORGOT_WITHIN);
        return p.server_got(0, &asking);
    }
    p.send(0, &asking);
    p.server_got(0, &asking);
}

#[test]
fn what_the_transaction_has_drawn_for_certain_is_shown_to_whoever_asks_first() {
    for texts in [
        &[("insert into orders (a) values (1)", "INSERT 0 1")][..],
        &[("select 1", "SELECT 1"), ("select nextval('s')", "SELECT 1")],
        &[("insert into plain values (1)", "INSERT 0 1"), ("select nextval('s')", "SELECT 1")],
    ] {
        asks_behind(texts, "select lastval()", "");
    }
    let set = [("select setval('s', 5)", "SELECT 1")];
    asks_behind(&set, "select currval('s')", "");
}

#[test]
fn what_others_may_have_drawn_is_discarded_before_the_client_asks() {
    for text in [
        ("select 1", "SELECT 1"),
        ("select setval('s', 5)", "SELECT 1"),
        ("select nextval('s') where false", "SELECT 0"),
        ("insert into plain (a) values (1)", "INSERT 0 1"),
        ("insert into orders (a) select 1 where false", "INSERT 0 0"),
        ("insert into orders (id) values (1)", "INSERT 0 1"),
        ("with x as (select 1) select * from x", "SELECT 1"),
    ] {
        asks_behind(&[text], "select lastval()", &format!("{FORGET_WITHIN} S"));
    }
    let drawn = [("select nextval('s')", "SELECT 1")];
    asks_behind(&drawn, "select currval('t')", &format!("{FORGET_WITHIN} S"));
}

#[test]
fn who_is_known_to_ask_draws_where_nobody_elses_numbers_are() {
    let mut p = scene();
    p.knowledge.learn_sequences(b"");
    p.send(0, "Q(insert into plain values (1)) Q(select lastval())");
    p.server_got(0, &format!("{FORGET} H"));
    p.answer(0, "1 2 C(DISCARD SEQUENCES) Z(I)");
    p.server_got(0, "Q(insert into plain values (1)) Q(select lastval())");
    // In a segment it is part of that one.
    let mut p = scene();
    p.knowledge.learn_sequences(b"");
    p.send(0, "P(,insert into orders values (1)) B E P(,select lastval()) B E S");
    p.server_got(
        0,
        &format!(
            "P(,insert into orders values (1)) {FORGET_WITHIN} B E P(,select lastval()) B E S"
        ),
    );
    p.answer(0, "1 1 2 C(DISCARD SEQUENCES) 3 2 C(INSERT 0 1) 1 2 D(7) C(SELECT 1) Z(I)");
    p.client_got(0, "1 2 C(INSERT 0 1) 1 2 D(7) C(SELECT 1) Z(I)");
}

#[test]
fn a_question_in_a_pipeline_waits_until_it_is_known_what_was_drawn() {
    let pipeline = "P(,insert into orders (a) values (1)) B E P(,select lastval()) B E S";
    for (tag, ahead) in
        [("INSERT 0 1", &String::new()), ("INSERT 0 0", &format!("{FORGET_WITHIN} "))]
    {
        let mut p = scene();
        assert_eq!(p.send(0, pipeline), Stop::Wait);
        p.server_got(0, "P(,insert into orders (a) values (1)) B E P(,select lastval()) H");
        p.answer(0, &format!("1 2 C({tag}) 1"));
        p.server_got(0, &format!("{ahead}B E S"));
    }
}

#[test]
fn where_nothing_can_be_discarded_the_numbers_stay_those_of_others() {
    let mut p = scene();
    p.send(0, "Q(begin) Q(bad) Q(rollback; select lastval())");
    p.server_got(0, "Q(begin) Q(bad) H");
    p.answer(0, "C(BEGIN) Z(T) E(42601,no) Z(E)");
    p.server_got(0, "Q(rollback; DISCARD SEQUENCES; select lastval())");
    // In a segment, the error is that of the message that is skipped for it.
    let mut p = scene();
    assert_eq!(p.send(0, "Q(begin) Q(bad) P(,select lastval()) B E S"), Stop::Wait);
    p.server_got(0, "Q(begin) Q(bad) P(,select lastval()) H");
    p.answer(0, "C(BEGIN) Z(T) E(42601,no) Z(E) 1");
    p.server_got(0, &format!("{ANEW_WITHIN} B E S"));
    p.answer(0, "3 E(25P02,no) Z(E)");
    p.client_got(0, "C(BEGIN) Z(T) E(42601,no) Z(E) 1 E(25P02,no) Z(E)");
}

#[test]
fn a_query_that_cuts_an_open_segment_waits_until_it_is_known_whether_the_transaction_failed() {
    let mut p = scene();
    assert_eq!(p.send(0, "Q(begin) Q(bad) C(S) Q(select lastval())"), Stop::Wait);
    p.server_got(0, "Q(begin) Q(bad) C(S) H");
    p.answer(0, "C(BEGIN) Z(T) E(42601,no) Z(E) 3");
    p.client_got(0, "C(BEGIN) Z(T) E(42601,no) Z(E) 3");
}

#[test]
fn the_first_error_says_why_there_is_no_number() {
    let error = "E(55000,lastval is not yet defined in this session,lastval)";
    for (text, hinted) in [("insert into plain values (1)", true), ("select 1", false)] {
        let mut p = scene();
        p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
        p.send(0, &format!("Q({text})"));
        p.answer(0, "C(INSERT 0 1) Z(T)");
        p.send(0, "Q(select lastval())");
        p.answer(0, FORGOT_WITHIN);
        p.clients[0].output.clear();
        p.answer(0, &format!("{error} Z(E)"));
        let said = String::from_utf8_lossy(&p.clients[0].output).into_owned();
        assert_eq!(said.contains("could not tell"), hinted, "{said}");
    }
}

#[test]
fn what_is_refused_again_and_again_ends_the_client() {
    let mut p = scene();
    assert_eq!(p.send(0, "Q(select lastval())"), Stop::Wait);
    p.server_got(0, &format!("{FORGET} H"));
    let anew = format!("{ANEW} S H");
    for refused in ["1 E(26000,gone) Z(I)", "3 1 2 E(42501,no) Z(I)"] {
        p.answer(0, refused);
        p.server_got(0, &anew);
    }
    assert!(matches!(p.try_answer(0, "3 1 2 E(42501,no)"), Err(SessionError::NumbersKept)));
}

#[test]
fn after_a_discard_of_its_own_the_client_has_its_own_numbers_only() {
    let mut p = scene();
    for sent in
        ["Q(discard sequences)", "Q(insert into orders (id) values (1))", "Q(select lastval())"]
    {
        p.send(0, sent);
        p.server_got(0, sent);
        p.answer(0, "C(DISCARD SEQUENCES) Z(I)");
    }
}
