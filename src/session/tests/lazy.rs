//! Transactions that begin without a server.

use super::pair::{Pair, Stop};
use super::script::show_frontend;
use crate::session::SessionError;
use crate::session::pooling::Pooling;
use crate::wire::{Report, SqlState};

/// A client without a server, whose transactions begin lazily.
fn lazy() -> Pair {
    let mut p = Pair::new(1);
    p.clients[0].session.set_lazy_begin(true);
    p
}

#[test]
fn a_begin_takes_no_server_and_goes_ahead_of_what_needs_one() {
    for (begin, tag) in [("begin", "BEGIN"), ("START TRANSACTION;", "START TRANSACTION")] {
        let mut p = lazy();
        assert_eq!(p.send(0, &format!("Q({begin})")), Stop::More);
        p.client_got(0, &format!("C({tag}) Z(T)"));
        assert_eq!(p.send(0, "S"), Stop::More);
        p.client_got(0, "Z(T)");
        assert_eq!(p.send(0, "Q(select 1) Q(commit)"), Stop::NeedServer(b'Q'));
        p.attach(0, 0);
        p.server_got(0, "Q(BEGIN)");
        p.answer(0, "C(BEGIN) Z(T)");
        p.server_got(0, "Q(select 1) Q(commit)");
        p.client_got(0, "");
        p.answer(0, "D(1) C(SELECT 1) Z(T) C(COMMIT) Z(I)");
        p.client_got(0, "D(1) C(SELECT 1) Z(T) C(COMMIT) Z(I)");
        p.release(0);
    }
}

#[test]
fn one_in_which_nothing_was_done_ends_without_a_server() {
    for (end, tag) in [("commit", "COMMIT"), ("END", "COMMIT"), ("abort work", "ROLLBACK")] {
        let mut p = lazy();
        assert_eq!(p.send(0, &format!("Q(begin) Q({end})")), Stop::More);
        p.client_got(0, &format!("C(BEGIN) Z(T) C({tag}) Z(I)"));
        assert_eq!(p.send(0, &format!("Q({end})")), Stop::NeedServer(b'Q'));
        p.attach(0, 0);
        p.server_got(0, &format!("Q({end})"));
    }
}

#[test]
fn so_does_one_by_the_extended_protocol() {
    let mut p = lazy();
    assert_eq!(p.send(0, "P(,begin) B() Dp() E() S"), Stop::More);
    p.client_got(0, "1 2 n C(BEGIN) Z(T)");
    assert_eq!(p.send(0, "P(c,commit) B(c) E(,1) S"), Stop::More);
    p.client_got(0, "1 2 C(COMMIT) Z(I)");
    // They are statements from now on, as others are.
    assert_eq!(p.send(0, "B() E() S B(c) E() S"), Stop::More);
    p.client_got(0, "2 C(BEGIN) Z(T) 2 C(COMMIT) Z(I)");
    p.send(0, "B() E() S P(,select 1) B() E() S");
    p.client_got(0, "2 C(BEGIN) Z(T)");
    p.attach(0, 0);
    // Its portal is there, too.
    p.server_got(0, "P(,BEGIN) B E S");
    p.answer(0, "1 2 C(BEGIN) Z(T)");
    p.server_got(0, "P(,select 1) B E S");
    p.answer(0, "1 2 D(1) C(SELECT 1) Z(T)");
    p.client_got(0, "1 2 D(1) C(SELECT 1) Z(T)");
    // On a server that has never seen its Parse.
    p.exchange(
        0,
        [
            "B(c) E() S",
            "P(__pgweir_1,commit) B(__pgweir_1) E S",
            "1 2 C(COMMIT) Z(I)",
            "2 C(COMMIT) Z(I)",
        ],
    );
}

#[test]
fn a_segment_that_does_more_than_that_is_for_the_server() {
    for segment in [
        "P(,begin) B() E() P(,select 1) B() E() S",
        "P(,begin) B() E()",
        "P(,begin) B() E() H",
        "P(,begin) B() E() E() S",
        "P(,begin) B(,portal) E(portal) S",
        "P(,begin) B(other) E() S",
        "P(,begin) S",
        "P(,begin) D() S",
        "P(,begin read only) B() E() S",
        "P(,commit) B() E() S",
        "B(none) E() S",
    ] {
        let mut p = lazy();
        assert!(matches!(p.send(0, segment), Stop::NeedServer(_)), "{segment}");
        p.client_got(0, "");
    }
    // PostgreSQL says that the name is taken.
    let mut p = lazy();
    p.send(0, "P(b,begin) B(b) E() S P(,rollback) B() E() S");
    p.client_got(0, "1 2 C(BEGIN) Z(T) 1 2 C(ROLLBACK) Z(I)");
    assert_eq!(p.send(0, "P(b,begin) B(b) E() S"), Stop::NeedServer(b'P'));
    // Nor is what stands behind a Parse without a Sync a segment of its own.
    let mut p = lazy();
    assert_eq!(p.send(0, "C(x) P(,begin) B() E() S"), Stop::NeedServer(b'P'));
}

#[test]
fn what_is_more_than_that_is_for_the_server() {
    for text in ["begin read only", "begin; select 1", "commit", "rollback", "start transaction;;x"]
    {
        let mut p = lazy();
        assert_eq!(p.send(0, &format!("Q({text})")), Stop::NeedServer(b'Q'), "{text}");
        p.attach(0, 0);
        p.server_got(0, &format!("Q({text})"));
    }
    // In a transaction already, with a modifier, or behind what waits for its Sync.
    for text in ["Q(begin)", "Q(commit and chain)", "Q(rollback to s)", "P(,select 1) Q(commit)"] {
        let mut p = lazy();
        p.send(0, "Q(begin)");
        assert!(matches!(p.send(0, text), Stop::NeedServer(_)), "{text}");
        p.attach(0, 0);
        p.server_got(0, "Q(BEGIN)");
        p.answer(0, "C(BEGIN) Z(T)");
        p.server_got(0, text);
    }
}

#[test]
fn it_takes_a_server_where_that_is_not_asked_for_or_kept_anyway() {
    let mut eager = Pair::new(1);
    assert_eq!(eager.send(0, "Q(begin)"), Stop::NeedServer(b'Q'));
    let mut keeper = lazy();
    keeper.clients[0].session.set_pooling(Pooling::Session);
    assert_eq!(keeper.send(0, "Q(begin)"), Stop::NeedServer(b'Q'));
    // Whose setting is taken away while its transaction has no server goes on.
    let mut changed = lazy();
    changed.send(0, "Q(begin)");
    changed.clients[0].session.set_lazy_begin(false);
    assert_eq!(changed.send(0, "Q(rollback)"), Stop::More);
    changed.client_got(0, "C(BEGIN) Z(T) C(ROLLBACK) Z(I)");
    assert_eq!(changed.send(0, "Q(begin)"), Stop::NeedServer(b'Q'));
}

#[test]
fn it_drops_the_unnamed_statement_as_every_query_does() {
    let mut p = lazy();
    p.attach(0, 0);
    p.exchange(0, ["P(,select 1) S", "P(,select 1) S", "1 Z(I)", "1 Z(I)"]);
    p.release(0);
    p.send(0, "Q(begin) B() S");
    p.client_got(0, "C(BEGIN) Z(T)");
    p.attach(0, 0);
    p.server_got(0, "Q(BEGIN)");
    p.answer(0, "C(BEGIN) Z(T)");
    p.server_got(0, "B(__pgweir_missing) S");
}

#[test]
fn nothing_runs_outside_of_a_transaction_that_the_server_did_not_begin() {
    let mut p = lazy();
    p.send(0, "Q(begin) Q(insert)");
    p.attach(0, 0);
    p.server_got(0, "Q(BEGIN)");
    let answer = p.try_answer(0, "E(57014,canceling statement due to statement timeout) Z(I)");
    assert!(matches!(answer, Err(SessionError::NotBegun)), "{answer:?}");
    p.server_got(0, "");
}

#[test]
fn one_that_was_refused_a_server_has_failed() {
    let full = Report::error(SqlState::TOO_MANY_CONNECTIONS, "full");
    let mut p = lazy();
    assert_eq!(p.send(0, "Q(begin) Q(insert)"), Stop::NeedServer(b'Q'));
    p.refuse(0, &full);
    p.client_got(0, "C(BEGIN) Z(T) E(53300,full) Z(E)");
    // What follows runs neither here nor there.
    p.send(0, "Q(insert) Q(deallocate all) Q(commit)");
    let vain = "E(25P02,current transaction is aborted, commands ignored until end of transaction block) Z(E)";
    p.client_got(0, &format!("{vain} {vain} C(ROLLBACK) Z(I)"));
    // The same by the extended protocol.
    assert_eq!(p.send(0, "Q(begin) P(,insert) B() E() S"), Stop::NeedServer(b'P'));
    p.refuse(0, &full);
    p.client_got(0, "C(BEGIN) Z(T) E(53300,full) Z(E)");
    assert_eq!(p.send(0, "P(,insert) S"), Stop::NeedServer(b'P'));
    p.attach(0, 0);
    p.server_got(0, "Q(BEGIN; ROLLBACK TO SAVEPOINT pgweir)");
    p.answer(0, "C(BEGIN) E(3B001,savepoint \"pgweir\" does not exist) Z(E)");
    p.exchange(
        0,
        [
            "Q(rollback)",
            "P(,insert) S Q(rollback)",
            "E(25P02,no) Z(E) C(ROLLBACK) Z(I)",
            "E(25P02,no) Z(E) C(ROLLBACK) Z(I)",
        ],
    );
}

#[test]
fn settings_go_ahead_of_it() {
    let mut p = Pair::new(1);
    let client = p.client(&[("timezone", "Tokyo")]);
    p.clients[client].session.set_lazy_begin(true);
    p.send(client, "Q(begin) Q(show timezone)");
    p.attach(client, 0);
    let sent = show_frontend(&p.servers[0].received.split());
    assert!(sent.contains("timezone=Tokyo") && !sent.contains("BEGIN"), "{sent}");
    p.answer(0, "1 2 D(Tokyo) C(SELECT 1) S(TimeZone=Tokyo) Z(I)");
    p.server_got(0, "Q(BEGIN)");
    p.answer(0, "C(BEGIN) Z(T)");
    p.server_got(0, "Q(show timezone)");
}
