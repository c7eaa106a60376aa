//! Bytes that are no good session (`protocol-message-formats.html`): PostgreSQL's answers, and
//! nobody else is troubled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::support::events::{detailed, line};
use super::support::*;

/// Each in a session of its own: what comes until the end or, behind it, the answer to a probe.
fn each(target: &Target, cases: &[Vec<u8>]) -> Vec<String> {
    let probe = [sync(), query("select 'lives'")].concat();
    let answers = cases.iter().map(|bytes| {
        let mut client = target.connect();
        client.send(&[&bytes[..], &probe].concat());
        let mut seen = Vec::new();
        loop {
            let event = client.event();
            let alive = event.row().is_some_and(|row| row[0].as_deref() == Some("lives"));
            let end = alive || !matches!(event, events::Event::Message(..));
            seen.push(event);
            if end {
                return detailed(&seen);
            }
        }
    });
    answers.collect()
}

#[test]
fn malformed_queries_are_refused_and_the_session_lives() {
    let seen = both(|target| {
        let cases = [
            message('Q', b"select 1\0junk\0"),
            message('Q', b"select 1"),
            message('Q', b""),
            message('Q', b"select '\xff'\0"),
        ];
        each(target, &cases)
    });
    for answer in &seen {
        assert!(answer.starts_with("E[ERROR ") && answer.ends_with("D(lives)"), "{answer}");
    }
}

#[test]
fn malformed_extended_messages_are_refused_and_the_session_lives() {
    let seen = both(|target| {
        let one = parse("", "select $1::text");
        let bound = |value: &[u8]| [&one[..], &message('B', value)].concat();
        let cases = [
            message('S', b"x"),
            message('H', b"x"),
            message('D', b"X\0"),
            message('C', b"X\0"),
            message('D', b"Sname"),
            message('D', b""),
            message('C', b"S"),
            message('P', b"\0select 1"),
            message('P', b"name"),
            message('P', b"\0select 1\0\0\x05"),
            message('P', b"\0select 1\0\0\0junk"),
            message('P', b""),
            message('E', b"\0\0"),
            message('E', b"\0\0\0\0\0junk"),
            bound(b""),
            bound(b"\0"),
            bound(b"\0\0\0\0\0\x02\0\0\0\x01a\0\0\0\x01b\0\0"),
            bound(b"\0\0\0\0\0\x01\0\0\0\x63a\0\0"),
            bound(b"\0\0\0\0\0\x01\xff\xff\xff\xf0\0\0"),
            bound(b"\0\0\0\0\0\x01\0\0\0\x03a\0b\0\0"),
            bound(b"\0\0\0\0\0\x01\0\0\0\x01\xff\0\0"),
            bound(b"\0\0\0\0\0\x01\0\0\0\x01a\0\0junk"),
            bound(b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\x01a\0\0"),
            bound(b"\0\0\0\x01\0\x09\0\x01\0\0\0\x01a\0\0"),
            bound(b"\0\0\0\0\0\x01\0\0\0\x01a\0\x01\0\x09"),
            message('F', b""),
            message('F', &[&1598_u32.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0]].concat()),
            message('f', b"no terminator"),
        ];
        each(target, &cases)
    });
    for answer in &seen {
        assert!(answer.ends_with("D(lives)"), "{answer}");
    }
    assert!(seen[0].starts_with("E[ERROR 08P01"), "{}", seen[0]);
}

#[test]
fn an_unknown_message_type_ends_the_session() {
    let seen = both(|target| {
        let cases = ['z', '\u{1}', 'R', 'p', 'Z', '\0'].map(|letter| message(letter, b""));
        each(target, &cases)
    });
    for (answer, number) in seen.iter().zip([122, 1, 82, 112, 90, 0]) {
        let text = format!("E[FATAL 08P01 invalid frontend message type {number}] EOF");
        assert_eq!(*answer, text);
    }
}

#[test]
fn a_length_word_out_of_range_ends_the_session_without_a_word() {
    let short = [
        framed('Q', 0, b""),
        framed('Q', 3, b""),
        framed('Q', 0xffff_ffff, b"x"),
        framed('d', 3, b""),
        framed('X', 3, b""),
    ];
    assert_eq!(both(|target| each(target, &short)), ["EOF"; 5]);
    let long =
        [framed('Q', 0x7fff_ffff, b"x"), framed('E', 10_001, b"x"), framed('S', 10_001, b"x")];
    // PostgreSQL 13 has no such limits.
    let seen = if major() == 13 {
        each(&Stage::new(&Setup::servers(1)).weir.target(), &long)
    } else {
        both(|target| each(target, &long))
    };
    assert_eq!(seen, ["EOF"; 3]);
}

#[test]
fn the_longest_short_message_is_taken() {
    let seen = both(|target| each(target, &[describe('S', &"n".repeat(9_994))]));
    assert!(seen[0].starts_with("E[ERROR 26000"), "{seen:?}");
}

#[test]
fn long_names_of_statements_and_portals_work() {
    let seen = both(|target| {
        let mut client = target.connect();
        let name = "n".repeat(5000);
        let bytes = [parse(&name, "select 1"), bind(&name, &name, &[]), execute(&name, 0), sync()];
        vec![client.ask(&bytes.concat())]
    });
    assert_eq!(seen, ["1 2 D(1) C[SELECT 1] Z[I]"]);
}

#[test]
fn a_claimed_length_is_not_allocated() {
    let stage = Stage::new(&Setup::servers(2));
    let mut other = stage.client();
    let mut clients: Vec<Raw> = (0..8).map(|_| stage.client()).collect();
    other.rows("select 1");
    let before = resident_kib(stage.weir.pid());
    for (client, letter) in clients.iter_mut().zip("PBQdFPBQ".chars()) {
        client.send(&framed(letter, 0x3fff_fff0, b"0123456789"));
    }
    for client in &mut clients {
        assert_eq!(line(&client.within(Duration::from_millis(50))), "");
    }
    let after = resident_kib(stage.weir.pid());
    assert!(after < before + 2048, "{before} KiB grew to {after} KiB");
    drop(clients);
    assert_eq!(other.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]");
}

/// What is not whole waits in memory up to a mebibyte, for all clients together no more than 64; who would need
/// more takes a server first.
#[test]
fn clients_that_begin_long_messages_have_so_much_memory_together() {
    const CLIENTS: usize = 120;
    let stage = Stage::new(&Setup::servers(2));
    let clients: Vec<Raw> = (0..CLIENTS).map(|_| stage.client()).collect();
    stage.client().rows("select 1");
    let before = resident_kib(stage.weir.pid());
    let text = query(&format!("select 1 -- {}", "x".repeat(1_000_000)));
    let (begin, end) = text.split_at(990_000);
    let goes_on = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut client in clients {
            let goes_on = &goes_on;
            scope.spawn(move || {
                client.patience = Duration::from_mins(1);
                client.send(begin);
                let until = Instant::now() + Duration::from_secs(20);
                while !goes_on.load(Ordering::Relaxed) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // Who waits is asked whether it is still there.
                let seen = client.ask(end);
                assert!(seen.ends_with("T D(1) C[SELECT 1] Z[I]"), "{seen}");
            });
        }
        wait_until("the rest of them wait for servers", || {
            let waiting = stage.weir.metric("pgweir_clients_waiting", "");
            let leased = stage.weir.metric("pgweir_servers", "state=\"leased\"");
            leased > 1.5 && waiting > 40.0
        });
        let grown = resident_kib(stage.weir.pid()).saturating_sub(before);
        goes_on.store(true, Ordering::Relaxed);
        assert!(grown < 95 << 10, "{grown} KiB");
    });
    // It was not for want of room that this one is answered.
    assert_eq!(stage.client().value("select 1"), "1");
}

/// A session with a bit of everything.
fn sample_session() -> Vec<u8> {
    [
        query("select 1; select 2"),
        extended("select generate_series(1, 5)"),
        parse("s1", "select $1::int + 1"),
        describe('S', "s1"),
        run("s1", &[Some("41")]),
        close('S', "s1"),
        sync(),
        query("begin"),
        query("copy (select 1) to stdout"),
        extended("copy sample from stdin"),
        copy_data("1\n"),
        copy_done(),
        sync(),
        function_call(1610),
        query("rollback"),
        flush(),
        terminate(),
    ]
    .concat()
}

/// How many bytes are changed in all, unless `PGWEIR_TEST_MUTATIONS` says so.
fn mutations(usual: u64) -> u64 {
    number("PGWEIR_TEST_MUTATIONS").unwrap_or(usual)
}

/// Changes, drops or adds a few bytes, and tells how many.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) -> u64 {
    let count = random.random_range(1..4);
    for _ in 0..count {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.random()),
        }
    }
    count
}

#[test]
fn random_mutations_of_a_session_trouble_nobody_else() {
    let seed = seed();
    let setup = Setup::servers(2).timeouts("client_gone = \"1s\"");
    let stage = Stage::new(&setup);
    stage.database.target().connect().rows("create table sample (a int)");
    let target = stage.weir.target();
    let mut other = stage.client();
    let (mut round, mut left) = (0, mutations(600));
    while left > 0 {
        let mut bytes = sample_session();
        let mut random = StdRng::seed_from_u64(seed + round);
        left = left.saturating_sub(mutate(&mut bytes, &mut random));
        let mut client = target.connect();
        client.send(&bytes);
        client.patience = Duration::from_millis(20);
        client.rest();
        if round % 2 == 0 {
            client.reset();
        }
        assert_eq!(other.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]", "{round} of {seed}");
        round += 1;
    }
}

#[test]
fn random_mutations_of_a_startup_packet_trouble_nobody_else() {
    let seed = seed();
    let stage = Stage::new(&Setup::servers(1));
    let target = stage.weir.target();
    let mut other = stage.client();
    let (mut round, mut left) = (0, mutations(1000));
    while left > 0 {
        let options = [("options", "-c work_mem=5MB"), ("_pq_.x", "1"), ("timezone", "UTC")];
        let mut bytes = target.startup(V3_0, &options);
        let mut random = StdRng::seed_from_u64(seed + round);
        left = left.saturating_sub(mutate(&mut bytes, &mut random));
        let mut client = target.open();
        client.send(&bytes);
        client.shut_down_write();
        client.rest();
        assert_eq!(other.ask(&query("select 1")), "T D(1) C[SELECT 1] Z[I]", "{round} of {seed}");
        round += 1;
    }
}

#[test]
fn what_was_asked_before_a_malformed_message_is_done() {
    for bad in [b"z\0\0\0\x04", b"Q\0\0\0\x03"] {
        let seen = both(|target| {
            let mut client = target.connect();
            client.rows("create table t (a int)");
            let insert = query("insert into t values (1)");
            client.send(&[&insert[..], &insert, bad].concat());
            vec![line(&client.rest()), target.connect().value("select count(*) from t")]
        });
        assert_eq!(seen[1], "2");
    }
}
