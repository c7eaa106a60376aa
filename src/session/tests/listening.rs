//! LISTEN by the pool's server, and what comes by which of the two.

use std::sync::Arc;

use bytes::Bytes;

use super::pair::{Pair, Stop};
use super::script;
use crate::session::inbox::{Inbox, News};
use crate::session::listening::{Channels, Joined, ListenMode};
use crate::session::{Attach, Leftovers, Parting};
use crate::wire::frame::HEADER;

/// A client known as process 99 with server 0, which is process 7; the pool's server listens for all.
fn scene() -> Pair {
    let mut p = Pair::new(2);
    p.clients[0].session.set_listen_mode(ListenMode::Share);
    p.clients[0].session.set_pid(99);
    p.servers[0].backend.pid = 7;
    assert_eq!(p.attach(0, 0), Attach::Ready);
    p
}

/// What the server is asked, and its answer when it listens to `channels`.
fn asked(p: &mut Pair, channels: &str) {
    assert_eq!(p.part(0), Parting::Asked);
    let asked = script::show_frontend(&p.servers[0].received.split());
    assert!(asked.contains("B(__pgweir_channels) E"), "{asked}");
    let parses = "1 ".repeat(asked.matches("P(").count());
    let rows: Vec<_> = channels.split_whitespace().map(|name| format!("D({name})")).collect();
    let rows = rows.join(" ");
    let listens = if channels.is_empty() { "f" } else { "t" };
    let probe = format!("2 D(f|f|f 2|{listens}|none|f|none) C(SELECT 1)");
    // Each Parse goes ahead of its own Bind.
    let (first, second) = if parses.is_empty() { ("", "") } else { ("1 ", "1 ") };
    p.answer(0, &format!("{first}2 {rows} C(SELECT 1) {second}{probe} Z(I)"));
}

/// What the session wants of the pool's server.
fn wanted(p: &mut Pair) -> (Channels, Arc<Inbox>) {
    p.clients[0].session.take_wanted().expect("channels for the pool's server")
}

fn channels(names: &str) -> Channels {
    names.split_whitespace().map(|name| name.as_bytes().into()).collect()
}

/// What comes to the client when it looks.
#[track_caller]
fn hears(p: &mut Pair, expected: &str) {
    let side = &mut p.clients[0];
    side.session.hear(&mut side.output).unwrap();
    p.client_got(0, expected);
}

fn told(inbox: &Inbox, notification: &str) {
    let bytes = script::backend(notification);
    inbox.push(News::Heard(Bytes::copy_from_slice(&bytes[HEADER..])));
}

/// The client listens to `ch`, by the pool's server from the cut 5 on, and has parted.
fn sharing() -> (Pair, Arc<Inbox>) {
    let mut p = scene();
    p.exchange(0, ["Q(listen ch)", "Q(listen ch)", "C(LISTEN)", "C(LISTEN)"]);
    p.answer(0, "Z(I)");
    p.client_got(0, "");
    asked(&mut p, "ch");
    let (names, inbox) = wanted(&mut p);
    assert_eq!(names, channels("ch"));
    assert_eq!(p.part(0), Parting::Asked);
    p.client_got(0, "");
    p.clients[0].session.on_joined(Joined::From(5));
    assert_eq!(p.part(0), Parting::Asked);
    let side = &mut p.clients[0];
    side.session.write_replies(&mut side.output);
    p.client_got(0, "Z(I)");
    p.server_got(
        0,
        "Q(LISTEN __pgweir_cut) Q(SELECT pg_catalog.pg_notify('__pgweir_cut', '5')) Q(UNLISTEN *)",
    );
    (p, inbox)
}

fn shared() -> (Pair, Arc<Inbox>) {
    let (mut p, inbox) = sharing();
    p.answer(0, "C(LISTEN) Z(I) D() C(SELECT 1) A(7,__pgweir_cut,5) Z(I) C(UNLISTEN) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
    assert_eq!(p.clients[0].session.leftovers(), Leftovers::Nothing);
    p.release(0);
    (p, inbox)
}

#[test]
fn until_the_cut_the_own_server_tells_and_then_the_pools() {
    let (mut p, inbox) = sharing();
    assert_eq!(p.clients[0].session.leftovers(), Leftovers::Resettable);
    told(&inbox, "A(8,ch,later)");
    hears(&mut p, "");
    p.answer(0, "C(LISTEN) Z(I) A(8,ch,one) D() C(SELECT 1) A(7,__pgweir_cut,4) A(8,ch,two)");
    p.client_got(0, "A(8,ch,one) A(8,ch,two)");
    p.answer(0, "A(7,__pgweir_cut,5) A(8,ch,later) Z(I)");
    hears(&mut p, "A(8,ch,later)");
    p.answer(0, "C(UNLISTEN) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
    hears(&mut p, "");
}

#[test]
fn what_follows_a_listen_waits_until_the_pools_server_listens() {
    let mut p = scene();
    assert_eq!(p.send(0, "Q(listen ch) Q(select 1)"), Stop::Wait);
    p.server_got(0, "Q(listen ch)");
    p.answer(0, "C(LISTEN) Z(I)");
    asked(&mut p, "ch");
    wanted(&mut p);
    assert_eq!(p.pump_client(0), Stop::Wait);
    p.server_got(0, "");
    // In a transaction it need not, nor after one that has undone it.
    let mut p = scene();
    p.send(0, "Q(begin) Q(listen ch) Q(rollback)");
    p.server_got(0, "Q(begin) Q(listen ch)");
    p.answer(0, "C(BEGIN) Z(T) C(LISTEN) Z(T)");
    p.server_got(0, "Q(rollback)");
    p.answer(0, "C(ROLLBACK) Z(I)");
    p.client_got(0, "C(BEGIN) Z(T) C(LISTEN) Z(T) C(ROLLBACK)");
    asked(&mut p, "");
    assert!(p.clients[0].session.take_wanted().is_none());
    assert_eq!(p.part(0), Parting::Free);
    let side = &mut p.clients[0];
    side.session.write_replies(&mut side.output);
    p.client_got(0, "Z(I)");
}

#[test]
fn on_a_server_of_its_own_the_client_waits_for_what_that_has_told() {
    let (mut p, inbox) = shared();
    p.send(0, "Q(notify ch)");
    assert_eq!(p.attach(0, 0), Attach::Ready);
    p.server_got(0, "Q(LISTEN \"ch\"; ) Q(notify ch)");
    p.answer(0, "C(LISTEN) Z(I) C(NOTIFY) A(8,ch,theirs) A(7,ch,own) Z(I)");
    p.client_got(0, "C(NOTIFY)");
    told(&inbox, "A(8,ch,theirs)");
    hears(&mut p, "A(8,ch,theirs)");
    told(&inbox, "A(7,ch,own)");
    hears(&mut p, "A(99,ch,own) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.server_got(0, "Q(UNLISTEN *)");
    assert_eq!(p.send(0, "Q(select 1)"), Stop::Wait);
    p.answer(0, "C(UNLISTEN) Z(I)");
    // The lease may go on, and the server listens again.
    p.server_got(0, "Q(LISTEN \"ch\"; ) Q(select 1)");
    // Told by the pool's server first, it is not waited for; nor in a transaction.
    p.answer(0, "C(LISTEN) Z(I)");
    told(&inbox, "A(8,ch,x)");
    hears(&mut p, "");
    p.answer(0, "C(SELECT 1) A(8,ch,x) Z(I)");
    p.client_got(0, "C(SELECT 1) A(8,ch,x) Z(I)");
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    told(&inbox, "A(8,ch,y)");
    hears(&mut p, "");
}

#[test]
fn what_never_comes_is_not_waited_for_for_ever() {
    for lost in [true, false] {
        let (mut p, inbox) = shared();
        p.send(0, "Q(notify ch)");
        p.attach(0, 0);
        p.answer(0, "C(LISTEN) Z(I) C(NOTIFY) A(7,ch,) Z(I)");
        p.client_got(0, "C(NOTIFY)");
        assert!(p.clients[0].session.is_behind());
        if lost {
            inbox.push(News::Lost);
            hears(&mut p, "Z(I)");
            inbox.push(News::Back);
            hears(&mut p, "N");
        } else {
            let side = &mut p.clients[0];
            side.session.go_on();
            side.session.write_replies(&mut side.output);
            p.client_got(0, "Z(I)");
        }
    }
}

#[test]
fn channels_end_with_the_transaction_that_leaves_them() {
    let (mut p, inbox) = shared();
    p.send(0, "Q(unlisten *)");
    p.attach(0, 0);
    p.servers[0].received.clear();
    p.answer(0, "C(LISTEN) Z(I) A(8,ch,never) C(UNLISTEN)");
    told(&inbox, "A(8,ch,before)");
    p.answer(0, "Z(I)");
    p.client_got(0, "C(UNLISTEN)");
    asked(&mut p, "");
    let (names, _) = wanted(&mut p);
    assert!(names.is_empty());
    p.clients[0].session.on_joined(Joined::Already);
    told(&inbox, "A(8,ch,after)");
    assert_eq!(p.part(0), Parting::Asked);
    let side = &mut p.clients[0];
    side.session.write_replies(&mut side.output);
    p.client_got(0, "Z(I)");
    p.answer(0, "C(UNLISTEN) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
    hears(&mut p, "");
}

#[test]
fn without_the_pools_server_the_client_keeps_its_own() {
    let mut p = scene();
    p.send(0, "Q(listen ch)");
    p.answer(0, "C(LISTEN) Z(I)");
    asked(&mut p, "ch");
    wanted(&mut p);
    p.clients[0].session.on_joined(Joined::Refused);
    assert_eq!(p.part(0), Parting::Pinned);
    let side = &mut p.clients[0];
    side.session.write_replies(&mut side.output);
    p.client_got(0, "C(LISTEN) Z(I)");
    p.answer(0, "A(8,ch,x) A(7,ch,y)");
    p.client_got(0, "A(8,ch,x) A(99,ch,y)");
}

#[test]
fn a_server_that_could_not_listen_leaves_the_channels_as_they_were() {
    let (mut p, inbox) = shared();
    p.send(0, "Q(listen more)");
    p.attach(0, 0);
    p.servers[0].received.clear();
    p.answer(0, "E(25006,standby) Z(I) C(LISTEN) Z(I)");
    p.client_got(0, "C(LISTEN)");
    asked(&mut p, "more");
    assert_eq!(wanted(&mut p).0, channels("ch more"));
    told(&inbox, "A(8,ch,x)");
    p.clients[0].session.on_joined(Joined::From(6));
    assert_eq!(p.part(0), Parting::Asked);
    let side = &mut p.clients[0];
    side.session.write_replies(&mut side.output);
    p.client_got(0, "A(8,ch,x) Z(I)");
}

#[test]
fn a_refused_listen_fails_on_the_server_and_says_why() {
    let mut p = scene();
    p.clients[0].session.set_listen_mode(ListenMode::Refuse);
    p.exchange(0, ["Q(begin)", "Q(begin)", "C(BEGIN) Z(T)", "C(BEGIN) Z(T)"]);
    p.send(0, "Q(listen ch)");
    p.server_got(0, "Q(DEALLOCATE __pgweir_missing)");
    p.answer(0, "E(26000,missing) Z(E)");
    p.client_got(0, "E(0A000,LISTEN is not supported in transaction pooling mode) Z(E)");
}

/// The client that shares `ch` has told its server to use another encoding; what has come by then.
fn returning(told: &str) -> (Pair, Arc<Inbox>) {
    let (mut p, inbox) = shared();
    p.send(0, "Q(set client_encoding = latin1)");
    p.attach(0, 0);
    p.answer(0, "C(LISTEN) Z(I)");
    p.servers[0].received.clear();
    p.answer(0, &format!("C(SET) {told} S(client_encoding=LATIN1) Z(I)"));
    p.client_got(0, "C(SET) S(client_encoding=LATIN1)");
    asked(&mut p, "ch");
    assert!(p.clients[0].session.listens_itself());
    assert!(wanted(&mut p).0.is_empty());
    (p, inbox)
}

#[test]
fn a_client_that_changes_its_encoding_goes_on_with_its_own_server_at_a_cut() {
    let (mut p, inbox) = returning("A(8,ch,one) A(8,ch,é) A(7,ch,own)");
    p.clients[0].session.on_joined(Joined::Until(6));
    assert_eq!(p.part(0), Parting::Asked);
    p.server_got(0, "Q(SELECT pg_catalog.pg_notify('__pgweir_cut', '6'))");
    for notification in ["A(8,ch,before)", "A(8,ch,one)", "A(8,ch,other é)", "A(7,ch,own)"] {
        told(&inbox, notification);
    }
    p.answer(0, "D() C(SELECT 1) A(8,ch,two) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    told(&inbox, "A(8,ch,two)");
    hears(&mut p, "");
    inbox.push(News::Cut(6));
    hears(&mut p, "A(8,ch,before) A(8,ch,one) A(8,ch,é) A(99,ch,own) A(8,ch,two) Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    assert!(!p.clients[0].session.is_member());
    p.answer(0, "A(8,ch,three)");
    p.client_got(0, "A(8,ch,three)");
}

#[test]
fn where_the_cut_does_not_come_the_client_is_told_that_it_may_have_missed_something() {
    for (lost, tells) in [("late", "A(8,ch,one) N Z(I)"), ("lost", "A(8,ch,one) N Z(I)")] {
        let (mut p, inbox) = returning("A(8,ch,one)");
        p.clients[0].session.on_joined(Joined::Until(6));
        assert_eq!(p.part(0), Parting::Asked);
        p.answer(0, "D() C(SELECT 1) Z(I)");
        assert!(p.clients[0].session.is_behind());
        match lost {
            "late" => p.clients[0].session.go_on(),
            _ => inbox.push(News::Lost),
        }
        hears(&mut p, tells);
        assert_eq!(p.part(0), Parting::Pinned);
    }
    let (mut p, _) = returning("A(8,ch,one)");
    p.clients[0].session.on_joined(Joined::Refused);
    assert_eq!(p.part(0), Parting::Asked);
    hears(&mut p, "A(8,ch,one) N Z(I)");
    // What it has heard in the other encoding only may have been anything.
    let (mut p, inbox) = returning("");
    p.clients[0].session.on_joined(Joined::Until(6));
    p.part(0);
    p.answer(0, "D() C(SELECT 1) Z(I)");
    told(&inbox, "A(8,ch,é)");
    inbox.push(News::Cut(6));
    hears(&mut p, "N Z(I)");
}
