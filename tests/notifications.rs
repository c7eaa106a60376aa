//! LISTEN and NOTIFY: as on PostgreSQL, without a server for each client that listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::support::events::{Event, line};
use super::support::*;

/// Long enough for a notification that must not come.
const WHILE: Duration = Duration::from_millis(150);

/// Whether the sender of the last notification is the client itself.
fn is_own(client: &Raw, seen: &[Event]) -> bool {
    let last = seen.iter().rev().find(|event| event.is('A'));
    matches!(last, Some(Event::Message(_, body)) if body[..4] == client.key[..4])
}

/// A segment of its own.
fn synced(sql: &str) -> Vec<u8> {
    [extended(sql), sync()].concat()
}

fn listeners(stage: &Stage) -> f64 {
    stage.weir.metric("pgweir_servers", "state=\"listening\"")
}

fn leased(stage: &Stage) -> f64 {
    stage.weir.metric("pgweir_servers", "state=\"leased\"")
}

#[test]
fn notifications_reach_who_listens_and_only_between_transactions() {
    both_with(&Setup::servers(3), |target| {
        let [mut one, mut two, mut three] = [(); 3].map(|()| target.connect());
        let mut seen = vec![
            one.ask(&query("listen ch")),
            three.ask(&query("listen other")),
            two.ask(&query("notify ch, 'idle'")),
            line(&one.until('A')),
            one.ask(&query("begin; select 1")),
            two.ask(&query("notify ch, 'busy'")),
            line(&one.within(WHILE)),
            one.ask(&query("commit")),
            line(&one.within(WHILE)),
            line(&two.within(WHILE)),
            line(&three.within(WHILE)),
        ];
        // In the extended protocol too.
        one.send(&[synced("begin"), synced("select 2")].concat());
        seen.push(line(&one.ready(2)));
        seen.push(two.ask(&synced("select pg_notify('ch', 'extended')")));
        seen.push(line(&one.within(WHILE)));
        seen.push(one.ask(&synced("rollback")));
        seen.push(one.ask(&synced("unlisten ch")));
        seen.push(two.ask(&query("notify ch, 'late'")));
        seen.push(line(&one.within(WHILE)));
        seen
    });
}

#[test]
fn listen_and_unlisten_hold_when_they_commit() {
    let programs = [
        "begin; listen ch; rollback",
        "begin; listen ch; unlisten ch; commit",
        "listen ch; unlisten ch; listen ch",
        "unlisten ch",
        "begin; listen ch; savepoint s; unlisten *; rollback to s; commit",
        "begin; savepoint s; unlisten *; rollback to s; commit",
        "begin; unlisten *; rollback",
        "begin; select 1; listen other; unlisten ch; listen ch; commit",
        "unlisten *",
        "listen \"Ch \"\" x\"; listen ch",
        "discard all",
        "do $$ begin execute 'listen ch'; end $$",
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
        "listen ch; select 1/0",
        "begin; listen ch; select 1/0; commit",
        "listen ch; begin; unlisten *; select 1/0",
        "rollback",
        "begin; listen ch; commit; begin; unlisten ch; rollback; select 1",
    ];
    both_with(&Setup::servers(2), |target| {
        let [mut one, mut two] = [(); 2].map(|()| target.connect());
        let mut seen = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            seen.push(format!("{program}: {}", one.ask(&query(program))));
            seen.push(two.ask(&query(&format!("notify ch, '{number}'"))));
            seen.push(two.ask(&query(&format!("notify \"Ch \"\" x\", '{number}'"))));
            seen.push(line(&one.within(WHILE)));
        }
        seen
    });
}

#[test]
fn channels_old_and_new_of_a_transaction_are_heard_in_the_order_of_what_was_sent() {
    let seen = both_with(&Setup::servers(3), |target| {
        let [mut one, mut two] = [(); 2].map(|()| target.connect());
        let mut seen = vec![
            one.ask(&query("listen old")),
            one.ask(&query("begin")),
            two.ask(&query("notify old, '1'")),
            one.ask(&query("listen new")),
        ];
        for (channel, payload) in [("new", 2), ("old", 3), ("new", 4), ("old", 5)] {
            seen.push(two.ask(&query(&format!("notify {channel}, '{payload}'"))));
            if payload == 3 {
                // The pool's server has told it by now.
                seen.push(line(&one.within(WHILE)));
            }
        }
        seen.push(one.ask(&query("commit")));
        seen.push(line(&one.within(WHILE)));
        seen
    });
    let told = "A[old 1] A[new 2] A[old 3] A[new 4] A[old 5]";
    assert!(seen.join(" ").contains(told), "{seen:?}");
}

#[test]
fn what_a_client_tells_itself_comes_before_its_ready_for_query_under_its_own_pid() {
    both_with(&Setup::servers(2), |target| {
        let [mut one, mut two] = [(); 2].map(|()| target.connect());
        let mut seen = Vec::new();
        let steps = [
            query("begin; listen ch; notify ch, 'first'; commit"),
            query("notify ch, 'again'"),
            query("begin; notify ch, 'in a block'"),
            query("select pg_notify('ch', 'twice'), pg_notify('ch', 'twice')"),
            query("commit"),
            synced("select pg_notify('ch', 'extended')"),
            query("do $$ begin perform pg_notify('ch', 'hidden'); end $$"),
            query("begin; savepoint s; notify ch, 'undone'; rollback to s; commit"),
            query("unlisten ch; notify ch, 'unheard'"),
        ];
        for step in steps {
            one.send(&step);
            let events = one.ready(1);
            seen.push(format!("{} {}", line(&events), is_own(&one, &events)));
            two.rows("select 1");
        }
        two.rows("listen ch");
        one.rows("listen ch");
        seen.push(two.ask(&query("notify ch, 'theirs'")));
        let events = one.until('A');
        seen.push(format!("{} {}", line(&events), is_own(&one, &events)));
        seen.push(line(&one.within(WHILE)));
        seen.push(line(&two.within(WHILE)));
        seen
    });
}

#[test]
fn clients_that_listen_hold_no_server() {
    let stage = Stage::new(&Setup::servers(1));
    let [mut one, mut two, mut three] = [(); 3].map(|()| stage.client());
    for client in [&mut one, &mut two] {
        client.rows("listen ch");
    }
    assert_eq!(three.ask(&query("notify ch, 'x'")), "C[NOTIFY] Z[I]");
    for client in [&mut one, &mut two] {
        assert_eq!(line(&client.until('A')), "A[ch x]");
    }
    assert_eq!(three.ask(&query("begin")), "C[BEGIN] Z[T]");
    assert_eq!((leased(&stage), listeners(&stage)), (1.0, 1.0));
    three.ask(&query("notify ch, 'y'; commit"));
    for client in [&mut one, &mut two] {
        assert_eq!(line(&client.until('A')), "A[ch y]");
        assert_eq!(client.value("select count(*) from pg_listening_channels()"), "1");
        assert_eq!(line(&client.within(WHILE)), "");
    }
    assert_eq!(three.value("select count(*) from pg_listening_channels()"), "0");
}

#[test]
fn the_server_that_listens_is_closed_behind_the_last_client() {
    let stage = Stage::new(&Setup::servers(1));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen ch");
    two.rows("listen ch; listen other");
    assert!((listeners(&stage) - 1.0).abs() < 0.1);
    two.reset();
    wait_until("the other client's channel is left", || {
        let sql = "select count(*) from pg_stat_activity where query like '%UNLISTEN \"other\"%'";
        stage.database.admin().value(&format!("{sql} and pid <> pg_backend_pid()")) == "1"
    });
    assert_eq!(one.ask(&query("notify ch")), "C[NOTIFY] A[ch ] Z[I]");
    one.rows("unlisten ch");
    wait_until("nobody listens", || listeners(&stage) < 0.5);
    one.rows("listen ch");
    assert!((listeners(&stage) - 1.0).abs() < 0.1);
    one.send(&terminate());
    wait_until("nobody listens", || listeners(&stage) < 0.5);
}

fn pid_that_listens(stage: &Stage) -> String {
    let sql = "select pid from pg_stat_activity where datname = current_database() and query like \
               'LISTEN \"%' and pid <> pg_backend_pid()";
    stage.database.admin().value(sql)
}

#[test]
fn a_lost_server_is_replaced_and_clients_are_told() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen ch");
    for round in 0..3 {
        let pid = pid_that_listens(&stage);
        stage.database.admin().rows(&format!("select pg_terminate_backend({pid})"));
        assert_eq!(line(&one.until('N')), "N[NOTICE 08006]");
        two.rows(&format!("notify ch, '{round}'"));
        assert_eq!(line(&one.until('A')), format!("A[ch {round}]"));
        // Nothing that it had told itself is counted against what comes.
        assert_eq!(one.ask(&query("notify ch, 'own'")), "C[NOTIFY] A[ch own] Z[I]");
        assert_eq!(line(&one.within(WHILE)), "");
    }
}

#[test]
fn idle_clients_that_listen_are_ended_when_pgweir_drains() {
    let mut stage = Stage::new(&Setup::servers(2).timeouts("drain = \"20s\""));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen ch");
    two.rows("listen ch; begin");
    let began = Instant::now();
    stage.weir.signal("TERM");
    assert_eq!(line(&one.rest()), "E[FATAL 57P01] EOF");
    assert_eq!(two.ask(&query("notify ch, 'x'")), "C[NOTIFY] Z[T]");
    assert_eq!(two.ask(&query("commit")), "C[COMMIT] A[ch x] Z[I]");
    assert_eq!(line(&two.rest()), "E[FATAL 57P01] EOF");
    assert!(stage.weir.wait().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn the_server_that_listens_counts_for_the_host() {
    let cluster = Cluster::with_slots(2);
    let setup = Setup::servers(1).limits("max_servers_host = 2");
    let stage = Stage::on(cluster.database(), &setup);
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen ch");
    two.rows("notify ch, 'x'");
    assert_eq!(line(&one.until('A')), "A[ch x]");
    assert!((stage.weir.metric("pgweir_host_slots_used", "") - 2.0).abs() < 0.1);
}

#[test]
fn without_a_slot_for_it_the_client_keeps_its_own_server() {
    for limit in ["max_servers_host = 1", "max_servers_database = 1", "max_servers_user = 1"] {
        keeps_its_own_server_under(limit);
    }
}

fn keeps_its_own_server_under(limit: &str) {
    let cluster = Cluster::shared();
    let setup = Setup::servers(1).limits(limit).timeouts("checkout = \"1s\"");
    let stage = Stage::on(cluster.database(), &setup);
    let mut one = stage.client();
    let began = Instant::now();
    assert_eq!(one.ask(&query("listen ch")), "C[LISTEN] Z[I]");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!((leased(&stage), listeners(&stage)), (1.0, 0.0));
    assert_eq!(one.ask(&query("notify ch, 'x'")), "C[NOTIFY] A[ch x] Z[I]");
    assert_eq!(one.ask(&query("unlisten *")), "C[UNLISTEN] Z[I]");
    wait_until("it gives its server back", || leased(&stage) < 0.5);
}

#[test]
fn listen_can_keep_the_server_or_be_refused() {
    let stage = Stage::new(&Setup::servers(1).tables("[pins]\nlisten = \"pin\""));
    let mut one = stage.client();
    one.rows("listen ch");
    assert_eq!((leased(&stage), listeners(&stage)), (1.0, 0.0));
    assert_eq!(one.ask(&query("notify ch, 'x'")), "C[NOTIFY] A[ch x] Z[I]");
    stage.weir.reload(|old| old.replace("\"pin\"", "\"refuse\""));
    wait_until("the reload", || stage.weir.log().contains("pins.listen"));
    let mut two = stage.client();
    one.rows("unlisten *");
    for sql in ["listen ch", "select 1; listen ch"] {
        two.send(&query(sql));
        let seen = two.ready(1);
        assert_eq!(line(&seen), "E[ERROR 0A000] Z[I]");
        assert!(seen[0].field('H').contains("share"), "{}", seen[0].field('H'));
        // Two commands are more than a Parse may hold.
        let parsed =
            if sql.contains(';') { "E[ERROR 42601] Z[I]" } else { "1 E[ERROR 0A000] Z[I]" };
        assert_eq!(two.ask(&synced(sql)), parsed);
    }
    assert_eq!(two.ask(&query("begin")), "C[BEGIN] Z[T]");
    assert_eq!(two.ask(&query("listen ch")), "E[ERROR 0A000] Z[E]");
    assert_eq!(two.ask(&query("commit")), "C[ROLLBACK] Z[I]");
    two.rows("unlisten *");
    assert_eq!(two.ask(&query("notify ch")), "C[NOTIFY] Z[I]");
}

#[test]
fn a_client_in_another_encoding_hears_in_its_own() {
    let setup = Setup::servers(2).tables("[pins]\nmax_pinned = \"100%\"");
    both_with(&setup, |target| {
        let mut one = target.connect_with(&[("client_encoding", "LATIN1")]);
        let mut two = target.connect();
        let mut seen = vec![one.ask(&query("listen ch")), two.ask(&query("notify ch, 'é'"))];
        seen.extend(one.until('A').iter().map(|event| format!("{:?}", bytes(event))));
        seen.push(two.ask(&query("listen ch")));
        // Its notifications come another way from now on.
        seen.push(two.ask(&query("set client_encoding to latin1")));
        seen.push(one.ask(&query("notify ch, 'x'")));
        seen.push(format!("{:?}", two.until('A').last().map(bytes)));
        seen
    });
}

#[test]
fn a_client_that_changes_its_encoding_misses_nothing_and_is_not_disturbed() {
    let setup = Setup::servers(3).tables("[pins]\nmax_pinned = \"100%\"");
    let lines = both_with(&setup, |target| {
        let (mut one, mut two) = (target.connect(), target.connect());
        let mut seen = Vec::new();
        for texts in [
            &["set client_encoding to latin1"][..],
            &["begin", "set client_encoding to latin1", "notify ch, 'own \u{e9}'", "commit"],
        ] {
            one.rows("set client_encoding to utf8");
            one.rows("listen ch; listen more");
            two.rows("notify ch, 'before \u{e9}'");
            seen.push(format!("{:?}", one.until('A').last().map(bytes)));
            for text in texts {
                seen.extend(heard(&mut one, &query(text)));
                // Outside a transaction it is a matter of time which answer they come with.
                for payload in ["x", "\u{e9}", "x", "y"].iter().filter(|_| texts.len() > 1) {
                    two.rows(&format!("notify ch, '{payload}'"));
                    two.rows(&format!("notify more, '{payload}'"));
                }
                if *text == "commit" {
                    for _ in 0..8 {
                        seen.push(format!("{:?}", one.until('A').last().map(bytes)));
                    }
                }
            }
            two.rows("notify ch, 'last \u{e9}'");
            seen.push(format!("{:?}", one.until('A').last().map(bytes)));
            seen.extend(heard(&mut one, &query("unlisten *")));
        }
        seen
    });
    assert!(lines.iter().filter(|line| line.starts_with("A ")).count() > 20, "{lines:?}");
}

/// What a client is told up to the ReadyForQuery of a message, the texts of notifications byte by byte.
fn heard(client: &mut Raw, message: &[u8]) -> Vec<String> {
    client.send(message);
    let told = |event: &Event| match event {
        Event::Message('A', _) => format!("A {}", bytes(event).escape_ascii()),
        other => line(std::slice::from_ref(other)),
    };
    client.ready(1).iter().map(told).collect()
}

/// Channel and payload.
fn bytes(event: &Event) -> Vec<u8> {
    match event {
        Event::Message('A', body) => body[4..].to_vec(),
        _ => Vec::new(),
    }
}

#[test]
fn a_client_that_does_not_take_its_notifications_is_ended() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut one, mut two) = (stage.client(), stage.client());
    one.rows("listen ch");
    one.rows("begin");
    let flood = "select pg_notify('ch', repeat('x', 7000) || n) from generate_series(1, 200) n";
    for _ in 0..4 {
        two.rows(flood);
    }
    let seen = line(&one.rest());
    assert_eq!(seen, "E[FATAL 53400] EOF");
    assert!(stage.weir.metric("pgweir_notification_overflows_total", "") > 0.5);
    wait_until("the queue of PostgreSQL is read", || {
        stage.database.admin().value("select pg_notification_queue_usage()") == "0"
    });
}

/// What a client of the storm has heard: numbers of one sender, in their order.
struct Heard {
    client: Raw,
    numbers: Vec<u64>,
}

impl Heard {
    fn note(&mut self, events: &[Event]) {
        for event in events {
            assert!(!event.is('E'), "{event:?}");
            let payload = bytes(event).split(|byte| *byte == 0).nth(1).map(<[u8]>::to_vec);
            let payload = payload.and_then(|text| String::from_utf8(text).ok());
            self.numbers.extend(payload.and_then(|text| text.parse::<u64>().ok()));
        }
    }

    fn ask(&mut self, sql: &str) {
        self.client.send(&query(sql));
        let events = self.client.ready(1);
        assert!(events.last().is_some_and(|event| event.is('Z')), "{sql}: {}", line(&events));
        self.note(&events);
    }
}

#[test]
fn each_notification_comes_once_and_in_order_whatever_the_client_does_meanwhile() {
    let seed = seed();
    let stage = Stage::new(&Setup::servers(3));
    let done = Arc::new(AtomicBool::new(false));
    let sender = {
        let (target, done) = (stage.weir.target(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut client = target.connect();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                client.rows(&format!("notify ch, '{number}'"));
                // So that there are no more of them than can be compared in seconds.
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        })
    };
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let mut heard = Heard { client: stage.client(), numbers: Vec::new() };
            let mut random = StdRng::seed_from_u64(seed + worker);
            std::thread::spawn(move || {
                heard.ask("listen ch");
                let end = Instant::now() + Duration::from_secs(4);
                while Instant::now() < end {
                    match random.random_range(0..8) {
                        0 => heard.ask("listen ch"),
                        1 => heard.ask(&format!("listen other_{}", random.random_range(0..50))),
                        2 => heard.ask("begin; unlisten *; rollback"),
                        3 => heard.ask("unlisten other_1; select pg_sleep(0.002)"),
                        4 => {
                            heard.ask("begin; select 1");
                            std::thread::sleep(Duration::from_millis(5));
                            heard.ask("notify other_2; commit");
                        }
                        5 => {
                            let events = heard.client.within(Duration::from_millis(10));
                            heard.note(&events);
                        }
                        6 => heard.ask("begin; listen own; notify own, 'x'; commit; select 1"),
                        _ => heard.ask("select 1"),
                    }
                }
                heard
            })
        })
        .collect();
    let heard: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("heard")).collect();
    done.store(true, Ordering::Relaxed);
    let last = sender.join().expect("the last number");
    for (worker, mut heard) in heard.into_iter().enumerate() {
        while !heard.numbers.contains(&last) {
            let events = heard.client.until('A');
            assert!(events.last().is_some_and(|event| event.is('A')), "{worker}: {last} is lost");
            heard.note(&events);
        }
        let late = heard.client.within(WHILE);
        heard.note(&late);
        let first = heard.numbers.iter().copied().min().expect("something was heard");
        let expected: Vec<u64> = (first..=last).collect();
        assert!(
            heard.numbers == expected,
            "{worker}: in another order, or wrong: {}",
            difference(&expected, &heard.numbers)
        );
    }
}

/// What is missing and what is too many.
fn difference(expected: &[u64], heard: &[u64]) -> String {
    let count = |one: u64| heard.iter().filter(|number| **number == one).count();
    let wrong = expected.iter().map(|number| (number, count(*number))).filter(|(_, n)| *n != 1);
    wrong.map(|(number, times)| format!("{number} x{times}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_follows_a_listen_sees_all_that_is_not_told() {
    let stage = Stage::new(&Setup::servers(3));
    stage.client().rows("create table log (n int)");
    let done = Arc::new(AtomicBool::new(false));
    let sender = {
        let (target, done) = (stage.weir.target(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut client = target.connect();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                client.rows(&format!(
                    "begin; insert into log values ({number}); notify ch, '{number}'; commit"
                ));
            }
        })
    };
    for round in 0..40 {
        let mut heard = Heard { client: stage.client(), numbers: Vec::new() };
        // At one go, so that nothing of pgweir's own can come between.
        heard
            .client
            .send(&[query("listen ch"), query("select coalesce(max(n), 0) from log")].concat());
        let events = heard.client.ready(2);
        heard.note(&events);
        let known: u64 = events.iter().rev().find_map(Event::row).expect("a row")[0]
            .as_ref()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        while heard.numbers.iter().filter(|number| **number > known).count() < 3 {
            let events = heard.client.until('A');
            assert!(events.last().is_some_and(|event| event.is('A')), "round {round}");
            heard.note(&events);
        }
        let next: Vec<_> = heard.numbers.iter().copied().filter(|n| *n > known).take(3).collect();
        assert_eq!(next, [known + 1, known + 2, known + 3], "round {round}");
    }
    done.store(true, Ordering::Relaxed);
    sender.join().expect("the sender");
}

#[test]
fn what_a_client_sends_itself_in_a_pipeline_is_heard_behind_its_answer() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        one.rows("listen ch");
        let mut seen = Vec::new();
        for number in 0..10 {
            one.send(&[query("select 1"), query(&format!("notify ch, '{number}'"))].concat());
            let events = one.ready(2);
            seen.push(format!("{} {}", line(&events), is_own(&one, &events)));
        }
        seen
    });
}

#[test]
fn a_listen_ahead_of_a_copy_that_fails_between_its_data_is_answered() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        one.rows("create table t (a int)");
        let copy = [extended("copy t from stdin"), copy_data("x\n"), sync(), copy_done(), sync()];
        one.send(&[extended("listen x"), copy.concat(), query("select 'END'")].concat());
        vec![line(&one.until_row("END")).replace("Z[I] Z[I]", "Z[I]")]
    });
}
