//! The machines on the path of every transaction, without sockets: what they cost by themselves.
//!
//! Each figure is one transaction of `pgbench -S` (or one statement, for the lexer). `make bench`
//! measures the whole proxy beside others.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgweir::class::{ClassId, ClassLimits};
use pgweir::clock::Instant;
use pgweir::pool::slots::{Demand, Freed, Size, Slots};
use pgweir::session::flow::{Flow, Kind, Owner};
use pgweir::session::knowledge::Knowledge;
use pgweir::session::settings::Settings;
use pgweir::session::{Backend, Out, Session};
use pgweir::sql::{Options, classify};
use pgweir::wire::frame::{self, BadFrame, HEADER, Header};

const SELECT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 456789;";

const STATEMENTS: &[(&str, &[u8])] = &[
    ("begin", b"BEGIN;"),
    ("select", SELECT),
    ("update", b"UPDATE pgbench_accounts SET abalance = abalance + 1234 WHERE aid = 456789;"),
    (
        "insert",
        b"INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
          VALUES (3, 1, 456789, 1234, CURRENT_TIMESTAMP);",
    ),
];

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
    [&[tag], &len[..], body].concat()
}

/// What PostgreSQL answers to one SELECT by Query: RowDescription, DataRow, CommandComplete, Z.
fn simple_reply() -> Vec<u8> {
    let row_description = [
        b"\0\x01abalance\0",
        &[0, 0, 0x40, 0x0b, 0, 3, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0][..],
    ];
    [
        message(b'T', &row_description.concat()),
        message(b'D', b"\0\x01\0\0\0\x0512345"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn extended_reply() -> Vec<u8> {
    [message(b'1', b""), message(b'2', b""), simple_reply()].concat()
}

fn simple_request() -> Vec<u8> {
    message(b'Q', &[SELECT, b"\0"].concat())
}

fn extended_request() -> Vec<u8> {
    [
        message(b'P', b"\0SELECT abalance FROM pgbench_accounts WHERE aid = $1;\0\0\0"),
        message(b'B', b"\0\0\0\0\0\x01\0\0\0\x06456789\0\0"),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat()
}

/// Cuts a buffer into messages.
fn messages(
    bytes: &[u8],
    header: impl Fn(&[u8]) -> Result<Option<Header>, BadFrame>,
) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let found = header(rest).expect("a good header")?;
        let (whole, behind) = rest.split_at(found.total());
        rest = behind;
        Some((found, &whole[HEADER..]))
    })
}

fn framing(c: &mut Criterion) {
    const TRANSACTIONS: usize = 100;
    let replies = simple_reply().repeat(TRANSACTIONS);
    let requests = extended_request().repeat(TRANSACTIONS);
    let mut group = c.benchmark_group("framing");
    group.throughput(Throughput::Elements(TRANSACTIONS as u64));
    group.bench_function("replies of 100 transactions", |b| {
        b.iter(|| messages(black_box(&replies), frame::backend).count());
    });
    group.bench_function("extended requests of 100 transactions", |b| {
        b.iter(|| messages(black_box(&requests), frame::frontend).count());
    });
    group.finish();
}

fn in_flight(c: &mut Criterion) {
    let segments: [(&str, &[Kind], &[u8]); 2] = [
        ("simple", &[Kind::Query], b"TDCZ"),
        (
            "extended",
            &[Kind::Parse, Kind::Bind, Kind::Describe, Kind::Execute, Kind::Sync],
            b"12TDCZ",
        ),
    ];
    let mut group = c.benchmark_group("flow");
    for (name, sent, received) in segments {
        let mut flow: Flow<u64> = Flow::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                for kind in sent {
                    flow.sent(*kind, Owner::Client, 0);
                }
                for tag in black_box(received) {
                    let _ = black_box(flow.on_backend(*tag));
                }
                flow.is_empty()
            });
        });
    }
    group.finish();
}

/// A client's messages through the whole machine to a server and its replies back.
fn whole_session(c: &mut Criterion) {
    let segments = [
        ("simple", simple_request(), simple_reply()),
        ("extended", extended_request(), extended_reply()),
    ];
    let mut group = c.benchmark_group("session");
    for (name, request, reply) in segments {
        let mut session = Session::new(Arc::new(Knowledge::default()), Settings::default());
        let mut backend = Backend::at_login(Settings::default(), 100, 0);
        let (mut client, mut server) = (BytesMut::new(), BytesMut::new());
        group.bench_function(name, |b| {
            b.iter(|| {
                session.attach(&mut backend, &mut server);
                for (header, body) in messages(black_box(&request), frame::frontend) {
                    let mut out = Out { client: &mut client, server: &mut server };
                    session.on_client(header, body, Some(&mut backend), &mut out);
                }
                for (header, body) in messages(black_box(&reply), frame::backend) {
                    session.on_server(header, body, &mut backend, &mut client).expect("in step");
                }
                assert!(session.may_release());
                client.clear();
                server.clear();
                session.detach();
            });
        });
    }
    group.finish();
}

/// A pool of 20 whose servers are all idle.
fn full_pool(now: Instant) -> Slots<u64, u64> {
    const SERVERS: usize = 20;
    let size = Size {
        max: SERVERS,
        min_idle: SERVERS,
        max_idle: SERVERS,
        reserve: 0,
        reserve_after: Duration::ZERO,
    };
    let mut slots = Slots::new(size, &[ClassLimits::none(Duration::from_mins(1))], now);
    for server in 0..SERVERS as u64 {
        slots.open(Demand { ahead: true, cost: Duration::ZERO, learning: false }, now);
        slots.opened(now);
        assert_eq!(slots.freed(now), Freed::Park);
        slots.park(server);
    }
    slots
}

/// The class of all of them.
const CLASS: ClassId = ClassId(0);

fn checkout(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("slots");
    let mut slots = full_pool(now);
    group.bench_function("checkout of an idle server and its return", |b| {
        b.iter(|| {
            let server = slots.take(CLASS, now).expect("an idle server");
            slots.returned(CLASS, now);
            assert_eq!(slots.freed(now), Freed::Park);
            slots.park(server);
        });
    });
    let mut slots = full_pool(now);
    while slots.take(CLASS, now).is_some() {}
    for waiter in 0..WAITERS {
        slots.wait(CLASS, waiter, now).expect("no limit");
    }
    group.bench_function("hand-over to the first of 1,000 waiters", |b| {
        b.iter(|| {
            slots.returned(CLASS, now);
            let Freed::Hand(_, waiter) = slots.freed(now) else { panic!("nobody waits") };
            slots.wait(CLASS, waiter, now)
        });
    });
    group.finish();
}

fn classification(c: &mut Criterion) {
    let options = Options::default();
    let mut group = c.benchmark_group("classify");
    for (name, text) in STATEMENTS {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |b| b.iter(|| classify(black_box(text), &options)));
    }
    group.finish();
}

/// Short, since `cargo bench` is for looking at a change, and these vary little.
fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

const WAITERS: u64 = 1_000;

criterion_group! {
    name = machines;
    config = quick();
    targets = framing, in_flight, whole_session, checkout, classification
}
criterion_main!(machines);
