//! How long a classification takes; a figure to look at, not a verdict.

use std::hint::black_box;
use std::time::Instant;

use pgweir::sql::{Options, classify};

const TEXTS: &[(&str, &str)] = &[
    ("begin", "BEGIN;"),
    (
        "pgbench update",
        "UPDATE pgbench_accounts SET abalance = abalance + 1234 WHERE aid = 456789;",
    ),
    ("pgbench select", "SELECT abalance FROM pgbench_accounts WHERE aid = 456789;"),
    (
        "pgbench insert",
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
         VALUES (3, 1, 456789, 1234, CURRENT_TIMESTAMP);",
    ),
    (
        "orm select",
        "SELECT \"u\".\"id\", \"u\".\"email\", count(*), coalesce(max(\"o\".\"at\"), 'epoch') \
         FROM \"users\" AS \"u\" LEFT JOIN \"orders\" \"o\" ON (\"o\".\"user_id\" = \"u\".\"id\") \
         WHERE (\"u\".\"email\" = 'someone@example.com' AND lower(\"u\".\"name\") LIKE $1) \
         GROUP BY 1, 2 ORDER BY \"u\".\"id\" ASC LIMIT 21",
    ),
];

#[test]
#[ignore = "prints nanoseconds; run it with --release --no-capture"]
fn classification_takes_nanoseconds() {
    const ROUNDS: u32 = 1_000_000;
    let options = Options::default();
    for (name, text) in TEXTS {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(classify(black_box(text.as_bytes()), &options));
        }
        let each = start.elapsed() / ROUNDS;
        println!("{name:>15}: {each:?} for {} bytes", text.len());
    }
}
