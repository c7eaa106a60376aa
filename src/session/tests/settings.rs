//! Settings that follow a client from server to server.

use super::pair::{Pair, Stop};
use super::script;
use crate::session::pins::PinReason;
use crate::session::settings::Settings;
use crate::session::{Attach, Backend, Leftovers, Parting, SessionError};

const SET: &str = crate::session::own::Own::SetOne.sql();

/// A client that asks for a time zone at login and has server 0 for its first message.
fn in_tokyo(servers: usize) -> Pair {
    let mut p = Pair::new(servers);
    let client = p.client(&[("timezone", "tokyo")]);
    p.clients.swap(0, client);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 0), Attach::Wait);
    p
}

/// What gives a client that began in Tokyo its time zone back.
const BACK: &str = "SET \"timezone\" TO E'Asia/Tokyo'";

/// What a server answers to the change.
const TAKEN: &str = "1 2 D(Asia/Tokyo) C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)";

#[test]
fn an_unproven_value_is_waited_for_and_a_proven_one_goes_ahead() {
    let mut p = in_tokyo(2);
    p.server_got(0, &format!("P(__pgweir_set_1,{SET}) B(__pgweir_set_1:timezone=tokyo) E S"));
    p.answer(0, TAKEN);
    assert_eq!(p.clients[0].settled, Some(Ok(())));
    p.server_got(0, "Q(select 1)");
    p.answer(0, "C(SELECT 1) Z(I)");
    // The client learns how the server spells it before its first ReadyForQuery.
    p.client_got(0, "C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)");
    p.release(0);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 1), Attach::Ready);
    let set = format!("P(__pgweir_set_1,{SET}) B(__pgweir_set_1:timezone=Asia/Tokyo) E S");
    p.server_got(1, &format!("{set} Q(select 1)"));
    p.answer(1, &format!("{TAKEN} C(SELECT 1) Z(I)"));
    p.client_got(0, "C(SELECT 1) Z(I)");
    p.release(0);
    p.send(0, "Q(select 1)");
    assert_eq!(p.attach(0, 0), Attach::Ready);
    p.server_got(0, "Q(select 1)");
}

#[test]
fn values_are_known_as_they_are_shown_beside_others_that_are_as_asked() {
    for names in [["lock_timeout", "timezone"], ["timezone", "work_mem"]] {
        let mut p = Pair::new(1);
        let asked = names.map(|name| (name, if name == "timezone" { "tokyo" } else { "5" }));
        let client = p.client(&asked);
        assert_eq!(p.attach(client, 0), Attach::Wait);
        let shown = names.map(|name| if name == "timezone" { "Asia/Tokyo" } else { "5" });
        let rows = shown.map(|shown| format!("D({shown})")).join(" ");
        p.answer(0, &format!("1 2 {rows} C(SELECT 2) S(TimeZone=Asia/Tokyo) Z(I)"));
        assert_eq!(p.clients[client].settled, Some(Ok(())));
        let mut desired = p.clients[client].session.desired().clone();
        let settings = &mut p.servers[0].backend.settings;
        assert_eq!(desired.get("timezone"), Some(&b"Asia/Tokyo"[..]));
        assert!(settings.changes_to(&mut desired).list.is_empty());
        assert_eq!(settings.changes_to(&mut Settings::default()).list.len(), 2);
    }
}

#[test]
fn a_few_that_go_ahead_are_set_and_told_in_one_row() {
    let asked = [("lock_timeout", "5"), ("timezone", "tokyo"), ("work_mem", "7MB")];
    for (of_another, statement, row) in [
        (None, "__pgweir_set_3", "5|Asia/Tokyo|7MB"),
        (Some("statement_timeout"), "__pgweir_set_4", "5|0|Asia/Tokyo|7MB"),
    ] {
        let mut p = Pair::new(1);
        for (name, value) in asked {
            p.knowledge.accept(name, value.as_bytes(), value.as_bytes());
        }
        if let Some(name) = of_another {
            p.servers[0].backend.settings.on_told(name, Some(b"1min"), false);
        }
        let client = p.client(&asked);
        assert_eq!(p.attach(client, 0), Attach::Ready);
        let sent = script::show_frontend(&p.servers[0].received.split());
        assert!(sent.contains(&format!("B({statement}:lock_timeout=5=")), "{sent}");
        p.answer(0, &format!("1 2 D({row}) C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)"));
        let mut desired = p.clients[client].session.desired().clone();
        let shown: Vec<_> = desired.iter().map(|(_, value)| value).collect();
        assert_eq!(shown, [&b"5"[..], b"Asia/Tokyo", b"7MB"]);
        let settings = &mut p.servers[0].backend.settings;
        assert!(settings.changes_to(&mut desired).list.is_empty());
        assert_eq!(settings.changes_to(&mut Settings::default()).list.len(), 3);
    }
}

#[test]
fn clients_that_take_turns_send_the_same_each_time() {
    let mut p = Pair::new(1);
    let clients = ["1MB", "2MB"].map(|memory| (p.client(&[("work_mem", memory)]), memory));
    for round in 0..4 {
        for (client, memory) in clients {
            let waits = p.attach(client, 0);
            assert_eq!(waits == Attach::Wait, round == 0, "once it is proven, it goes ahead");
            let parse = if round == 0 && memory == "1MB" { "1 " } else { "" };
            let sent = script::show_frontend(&p.servers[0].received.split());
            assert!(sent.ends_with(&format!("B(__pgweir_set_1:work_mem={memory}) E S")), "{sent}");
            p.answer(0, &format!("{parse}2 D({memory}) C(SELECT 1) Z(I)"));
            p.send(client, "Q(select 1)");
            p.answer(0, "C(SELECT 1) Z(I)");
            p.servers[0].received.clear();
            p.release(client);
        }
    }
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
    p.server_got(0, "B(__pgweir_set_1:timezone=NULL) E S Q(select 2)");
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
fn settings_are_not_to_blame_for_a_catalogue_that_cannot_be_read() {
    let mut p = Pair::new(1);
    p.knowledge.expire_catalogue();
    let client = p.client(&[("TimeZone", "Asia/Tokyo")]);
    p.send(client, "Q(select 1)");
    assert_eq!(p.attach(client, 0), Attach::Wait);
    let sent = script::show_frontend(&p.servers[0].received.split());
    let questions = sent.split(' ').position(|message| message == "S").expect("a Sync");
    assert!(questions > 0 && sent.ends_with('S'), "{sent}");
    p.answer(0, "1 E(57014,too slow) Z(I)");
    assert_eq!(p.clients[client].settled, None);
    p.answer(0, "1 2 D(Asia/Tokyo) C(SELECT 1) Z(I)");
    assert_eq!(p.clients[client].settled, Some(Ok(())));
    p.server_got(0, "Q(select 1)");
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
    assert_eq!(p.servers[0].backend.statements.own_count(), 0);
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
    p.server_got(1, &format!("P(__pgweir_set_1,{SET}) B(__pgweir_set_1:TimeZone=Tokyo) E S"));
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
    p.servers[0].received.clear();
    p.clients[0].output.clear();
    p.send(0, "Q(reset timezone; select 1)");
    p.server_got(0, &format!("Q(reset timezone; {BACK}; select 1)"));
    p.answer(0, "C(RESET) C(SET) T D(1) C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)");
    p.client_got(0, "C(RESET) T D(1) C(SELECT 1) S(TimeZone=Asia/Tokyo) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Asia/Tokyo"[..]));
}

#[test]
fn a_list_that_set_would_spell_otherwise_is_reset_by_set_config() {
    let mut p = Pair::new(1);
    let client = p.client(&[("search_path", "a,b")]);
    p.knowledge.accept("search_path", b"a,b", b"a,b");
    assert_eq!(p.attach(client, 0), Attach::Wait);
    p.answer(0, "1 2 D(a,b) C(SELECT 1) Z(I)");
    p.servers[0].received.clear();
    p.clients[client].output.clear();
    p.send(client, "Q(reset search_path)");
    let back = "SELECT pg_catalog.set_config(E'search_path', E'a,b', false)";
    p.server_got(0, &format!("Q(reset search_path; {back})"));
    p.answer(0, "C(RESET) T D(a,b) C(SELECT 1) Z(I)");
    p.client_got(client, "C(RESET) Z(I)");
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
    p.servers[0].backend.settings.on_parameter_status("in_hot_standby", b"on").unwrap();
    p.send(0, "Q(select 1)");
    p.attach(0, 0);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.client_got(0, "C(SELECT 1) S(in_hot_standby=on) Z(I)");
    p.exchange(
        0,
        ["Q(select 2)", "Q(select 1) Q(select 2)", "C(SELECT 1) Z(I)", "C(SELECT 1) Z(I)"],
    );
}

#[test]
fn a_reset_counts_when_it_runs_and_not_when_it_is_parsed() {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "Q(set timezone to 'Paris')");
    p.answer(0, "C(SET) S(TimeZone=Paris) Z(I)");
    let desired = |p: &Pair| p.clients[0].session.desired().get("TimeZone").map(<[u8]>::to_vec);
    p.send(0, "P(r,reset timezone) S");
    p.answer(0, "1 Z(I)");
    assert_eq!(desired(&p).as_deref(), Some(&b"Paris"[..]));
    assert_eq!(p.send(0, "Q(select 1) B(r) E S"), Stop::More);
    p.answer(0, "C(SELECT 1) Z(I)");
    assert_eq!(desired(&p).as_deref(), Some(&b"Paris"[..]));
    p.servers[0].received.clear();
    p.clients[0].output.clear();
    p.answer(0, "2 C(RESET) 3 1 2 C(SET) S(TimeZone=Asia/Tokyo) Z(I)");
    assert_eq!(desired(&p).as_deref(), Some(&b"Asia/Tokyo"[..]));
    p.client_got(0, "2 C(RESET) S(TimeZone=Asia/Tokyo) Z(I)");
}

#[test]
fn an_executed_reset_is_followed_at_once_by_the_value_of_the_startup() {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "Q(begin)");
    p.answer(0, "C(BEGIN) Z(T)");
    p.servers[0].received.clear();
    p.clients[0].output.clear();
    p.send(0, "P(,reset all) B() E P(,select 1) B() E S");
    let back = format!("C(__pgweir_reset) P(__pgweir_reset,{BACK}) B(__pgweir_reset) E");
    p.server_got(0, &format!("P(,reset all) B E {back} P(,select 1) B E S"));
    p.answer(0, "1 2 C(RESET) 3 1 2 S(TimeZone=UTC) S(TimeZone=Asia/Tokyo) C(SET)");
    p.answer(0, "1 2 D(1) C(SELECT 1) Z(T)");
    let zones = "S(TimeZone=UTC) S(TimeZone=Asia/Tokyo)";
    p.client_got(0, &format!("1 2 C(RESET) {zones} 1 2 D(1) C(SELECT 1) Z(T)"));
    // Of a portal that is not executed, nothing.
    p.servers[0].received.clear();
    p.send(0, "P(,reset all) B() S");
    p.server_got(0, "P(,reset all) B S");
}

#[test]
fn a_reset_that_fails_or_is_undone_is_followed_by_nothing() {
    for (query, answer) in [
        ("reset timezone", "C(RESET) E(22012,division by zero) Z(I)"),
        ("begin; reset timezone; rollback", "C(BEGIN) C(RESET) C(SET) C(ROLLBACK) Z(I)"),
    ] {
        let mut p = in_tokyo(1);
        p.answer(0, TAKEN);
        p.answer(0, "C(SELECT 1) Z(I)");
        p.send(0, "Q(set timezone to 'Paris')");
        p.answer(0, "C(SET) S(TimeZone=Paris) Z(I)");
        p.send(0, &format!("Q({query})"));
        p.answer(0, answer);
        p.servers[0].received.clear();
        p.send(0, "Q(select 1)");
        p.server_got(0, "Q(select 1)");
        assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Paris"[..]));
    }
}

/// A client that began in Tokyo and is in Paris has run code that may reset its time zone; what it sends
/// next, with what goes ahead.
fn code_that_may_reset(answer: &str) -> Pair {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "Q(set timezone to 'Paris')");
    p.answer(0, "C(SET) S(TimeZone=Paris) Z(I)");
    p.clients[0].output.clear();
    let text = "Q(do $$ begin if random() < 0.5 then reset timezone; end if; end $$)";
    assert_eq!(p.send(0, &format!("{text} Q(select 1)")), Stop::Wait);
    p.servers[0].received.clear();
    p.answer(0, answer);
    let restore = crate::session::own::Own::Restore.sql();
    let name = "__pgweir_restore";
    let ahead = format!("C({name}) P({name},{restore}) B({name},{name}:timezone=Asia/Tokyo)");
    p.server_got(0, &format!("{ahead} E({name}) Cp({name}) S Q(select 1)"));
    p
}

#[test]
fn code_that_came_to_its_reset_is_followed_by_the_value_of_the_startup() {
    let mut p = code_that_may_reset("C(DO) S(TimeZone=UTC) Z(I)");
    p.client_got(0, "C(DO) S(TimeZone=Asia/Tokyo) Z(I)");
    p.answer(0, "3 1 2 D(timezone|Asia/Tokyo) C(SELECT 1) 3 S(TimeZone=Asia/Tokyo) Z(I)");
    p.clients[0].output.clear();
    p.answer(0, "C(SELECT 1) Z(I)");
    p.client_got(0, "C(SELECT 1) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Asia/Tokyo"[..]));
}

#[test]
fn code_that_did_not_come_to_its_reset_has_reset_nothing() {
    let mut p = code_that_may_reset("C(DO) Z(I)");
    p.client_got(0, "C(DO) Z(I)");
    p.answer(0, "3 1 2 D(timezone|Paris) C(SELECT 1) 3 Z(I)");
    p.clients[0].output.clear();
    p.answer(0, "C(SELECT 1) Z(I)");
    p.client_got(0, "C(SELECT 1) Z(I)");
    assert_eq!(p.clients[0].session.desired().get("TimeZone"), Some(&b"Paris"[..]));
}

#[test]
fn null_for_set_config_means_the_value_of_the_startup() {
    let sets = "select set_config('TimeZone', null, false)";
    let meant = "select set_config('TimeZone',  E'Asia/Tokyo', false)";
    for (sent, reaches) in [
        (format!("Q({sets})"), format!("Q({meant})")),
        (format!("P(,{sets})"), format!("P(,{meant})")),
        (format!("P(s,{sets})"), format!("P(__pgweir_0,{meant})")),
    ] {
        let mut p = in_tokyo(1);
        p.answer(0, TAKEN);
        p.answer(0, "C(SELECT 1) Z(I)");
        p.servers[0].received.clear();
        p.send(0, &sent);
        p.server_got(0, &reaches);
    }
}

#[test]
fn a_bound_null_for_set_config_means_the_value_of_the_startup() {
    let mut p = in_tokyo(1);
    p.answer(0, TAKEN);
    p.answer(0, "C(SELECT 1) Z(I)");
    p.send(0, "P(,select set_config('TimeZone', $1, false))");
    p.servers[0].received.clear();
    let mut bind = bytes::BytesMut::new();
    // No portal, no statement, no formats; one value, which is NULL; no formats of the row.
    let body = [0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0];
    crate::wire::build::message(&mut bind, b'B', |out| out.extend_from_slice(&body));
    p.clients[0].input.extend_from_slice(&bind);
    p.send(0, "E S");
    p.server_got(0, "B(:Asia/Tokyo) E S");
}

/// Client 0 has asked for something and server 0 has answered; what is asked behind it.
fn asked(query: &str, answer: &str) -> (Pair, String) {
    let mut p = Pair::new(2);
    p.send(0, query);
    p.attach(0, 0);
    p.servers[0].received.clear();
    p.answer(0, answer);
    assert_eq!(p.part(0), Parting::Asked);
    let received = p.servers[0].received.split();
    (p, script::show_frontend(&received))
}

#[test]
fn an_unreported_setting_is_asked_for_and_follows() {
    let (mut p, questions) = asked("Q(set work_mem to '7MB')", "C(SET) Z(I)");
    assert!(questions.ends_with("B(__pgweir_weigh:work_mem) E S"), "{questions}");
    assert_eq!(p.send(0, "Q(select 1)"), Stop::Wait);
    p.clients[0].input.clear();
    p.answer(0, "1 2 D(7MB|f) C(SELECT 1) Z(I)");
    p.client_got(0, "C(SET) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
    p.release(0);
    assert_eq!(p.attach(0, 1), Attach::Ready);
    p.server_got(1, &format!("P(__pgweir_set_1,{SET}) B(__pgweir_set_1:work_mem=7MB) E S"));
    // The server that still has it goes back to its default for another client.
    let other = p.client(&[]);
    p.attach(other, 0);
    p.server_got(0, &format!("P(__pgweir_set_1,{SET}) B(__pgweir_set_1:work_mem=NULL) E S"));
}

#[test]
fn a_setting_without_a_name_outlives_a_reset_before_it() {
    for (text, parting) in [
        ("reset all; select set_config('a' || '.b', 'x', false)", Parting::Pinned),
        ("reset all; select 1", Parting::Free),
    ] {
        let mut p = Pair::new(1);
        p.send(0, &format!("Q({text})"));
        p.attach(0, 0);
        p.answer(0, "C(RESET) T D(x) C(SELECT 1) Z(I)");
        assert_eq!(p.part(0), parting, "{text}");
    }
}

#[test]
fn a_setting_that_did_not_change_is_not_the_clients() {
    let (mut p, _) = asked("Q(set work_mem to 'x')", "E(22023,invalid value) Z(I)");
    p.answer(0, "1 2 D(4MB|t) C(SELECT 1) Z(I)");
    assert!(p.clients[0].session.desired().is_empty());
    assert_eq!(p.part(0), Parting::Free);
}

#[test]
fn what_the_server_still_has_pins_the_client_until_it_is_gone() {
    let none = "2 D(f|f|f 1|f|none|f|none) C(SELECT 1) Z(I)";
    let (mut p, _) = asked("Q(create temp table t ())", "C(CREATE TABLE) Z(I)");
    p.answer(0, "1 2 D(t|f|f 1|f|none|f|none) C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    let session = |p: &Pair| p.clients[0].session.leftovers();
    assert_eq!(session(&p), Leftovers::Resettable);
    p.send(0, "Q(select 1)");
    p.answer(0, "C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    p.send(0, "Q(drop table t)");
    p.answer(0, "C(DROP TABLE) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.answer(0, none);
    assert_eq!(p.part(0), Parting::Free);
    assert_eq!(session(&p), Leftovers::Nothing);
}

#[test]
fn a_close_reaches_what_sql_has_prepared() {
    let (mut p, _) = asked("Q(prepare p as select 1)", "C(PREPARE) Z(I)");
    p.answer(0, "1 2 D(f|f|t 1|f|none|f|none) C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    p.servers[0].received.clear();
    p.clients[0].output.clear();
    p.send(0, "C(p) S");
    p.server_got(0, "C(p) S");
    p.answer(0, "3 Z(I)");
    p.client_got(0, "3 Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.answer(0, "2 D(f|f|f 1|f|none||none) C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
}

#[test]
fn a_suspicion_that_proves_false_pins_nothing() {
    let (mut p, _) = asked("Q(select f())", "C(SELECT 1) Z(I)");
    p.answer(0, "1 2 D(f|f|f 1|f|none|f|none) C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Free);
}

#[test]
fn a_server_that_cannot_be_asked_is_not_let_go() {
    let (mut p, _) = asked("Q(select f())", "C(SELECT 1) Z(I)");
    p.answer(0, "1 E(57014,canceled) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.answer(0, "E(57014,canceled) Z(I)");
    assert_eq!(p.part(0), Parting::Pinned);
    assert_ne!(p.clients[0].session.leftovers(), Leftovers::Nothing);
}

/// A setting was set to a value that the server tells in full.
fn set(p: &mut Pair, number: usize, value: &str) -> Parting {
    p.send(0, &format!("Q(set app.x{number} = 1)"));
    p.answer(0, "C(SET) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.servers[0].received.clear();
    let parsed = if number == 0 { "1 " } else { "" };
    p.answer(0, &format!("{parsed}2 D({value}|f) C(SELECT 1) Z(I)"));
    p.part(0)
}

#[test]
fn settings_beyond_the_room_for_them_keep_the_client_where_it_has_them() {
    let mut p = Pair::attached();
    let long = "x".repeat(300_000);
    for number in 0..4 {
        let parting = if number < 3 { Parting::Free } else { Parting::Pinned };
        assert_eq!(set(&mut p, number, &long), parting, "{number}");
    }
    let session = &p.clients[0].session;
    assert!(session.pins().contains(PinReason::Setting));
    assert_eq!(session.leftovers(), Leftovers::Resettable);
    assert_eq!(session.desired().get("app.x3"), None);
    // A shorter one has room, and another than it has for the first has none.
    assert_eq!(set(&mut p, 4, "short"), Parting::Pinned);
    reset_all(&mut p, 4);
}

/// A client resets all that it has, so many settings.
fn reset_all(p: &mut Pair, count: usize) {
    p.send(0, "Q(reset all)");
    p.answer(0, "C(RESET) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    // The role is none of what it resets.
    let role = "1 2 D(none|f|none|none) C(SELECT 1)";
    p.answer(0, &format!("{role} {} Z(I)", "2 D(|t) C(SELECT 1) ".repeat(count)));
    assert_eq!(p.part(0), Parting::Free);
    assert!(p.clients[0].session.desired().is_empty());
}

#[test]
fn too_many_settings_and_one_that_is_too_long_do_the_same() {
    let mut p = Pair::attached();
    for number in 0..1_024 {
        assert_eq!(set(&mut p, number, "v"), Parting::Free, "{number}");
    }
    assert_eq!(set(&mut p, 1_024, "v"), Parting::Pinned);
    reset_all(&mut p, 1_024);
    let mut p = Pair::attached();
    assert_eq!(set(&mut p, 0, &"x".repeat(1 << 20)), Parting::Pinned);
    assert!(p.clients[0].session.desired().is_empty());
}

#[test]
fn a_server_that_reports_without_end_breaks_the_protocol() {
    let last = |reports: &mut dyn Iterator<Item = String>| {
        let mut p = Pair::attached();
        p.send(0, "Q(select 1)");
        let taken = reports.map_while(|report| p.try_answer(0, &report).ok()).count();
        let held = [p.clients[0].session.told(), p.clients[0].session.desired()];
        assert!(held.iter().all(|settings| settings.iter().count() <= 200));
        taken
    };
    assert!(last(&mut (0..1_000).map(|n| format!("S(new{n}=1)"))) < 200);
    let long = "x".repeat(60_000);
    assert!(last(&mut (0..1_000).map(|n| format!("S(new{n}={long})"))) < 5);
    assert_eq!(last(&mut (0..1_000).map(|n| format!("S(TimeZone={n})"))), 1_000);
}

#[test]
fn a_client_is_not_told_ever_more_by_one_server_after_the_other() {
    let mut p = Pair::new(3);
    for server in 0..3 {
        let mut reported = Settings::default();
        for n in 0..90 {
            reported.set(&format!("s{server}_{n}"), b"1");
        }
        p.servers[server].backend = Backend::at_login(reported, 200, 0);
        p.send(0, "Q(select 1)");
        assert_eq!(p.attach(0, server), Attach::Ready);
        let told = p.try_answer(server, "C(SELECT 1) Z(I)");
        assert_eq!(told.is_ok(), server < 2, "{server}");
        p.clients[0].server = None;
        p.clients[0].session.detach();
    }
    assert!(p.clients[0].session.told().iter().count() <= 200);
}

#[test]
fn more_answers_than_questions_are_no_answer() {
    let mut p = Pair::attached();
    p.send(0, "Q(set app.x = 1)");
    p.answer(0, "C(SET) Z(I)");
    assert_eq!(p.part(0), Parting::Asked);
    p.answer(0, "1 2 D(1|f) D(2|f) C(SELECT 1) Z(I)");
    assert_eq!(p.part(0), Parting::Asked, "it is asked again");
    assert!(p.clients[0].session.desired().is_empty());
}

#[test]
fn a_discard_that_changes_what_the_server_reports_is_left_to_a_server() {
    for (name, expected) in [("work_mem", Stop::More), ("role", Stop::NeedServer(b'Q'))] {
        let mut p = Pair::new(1);
        p.clients[0].session.desired.set(name, b"x");
        assert_eq!(p.send(0, "Q(discard all)"), expected, "{name}");
    }
}
