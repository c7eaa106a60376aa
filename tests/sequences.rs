//! Numbers of sequences: nobody is given another client's (docs/semantics.md "Pins").

use super::support::events::Event;
use super::support::events::line;
use super::support::*;

/// One server, on which a client has drawn from the sequences there are.
fn stage() -> (Stage, Raw) {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    for text in [
        "create table numbered (n serial, a int)",
        "create table small (n smallserial, a int)",
        "create table identified (i int generated always as identity, a int)",
        "create table plain (a int)",
        "create sequence s",
        "insert into numbered (a) values (0)",
        "insert into small (a) values (0)",
        "insert into identified (a) values (0)",
        "select nextval('s')",
    ] {
        one.rows(text);
    }
    (stage, one)
}

/// In one transaction of a client of a new kind, behind `text`: what comes of `asking`.
#[track_caller]
fn asks(stage: &Stage, kind: usize, text: &str, asking: &str) -> String {
    let kind = format!("kind {kind}");
    let mut client = stage.weir.target().connect_with(&[("application_name", &*kind)]);
    client.rows("begin");
    client.rows(text);
    let said = client.ask(&query(asking));
    client.ask(&query("rollback"));
    said
}

#[test]
fn what_a_transaction_has_drawn_is_shown_in_it_the_first_time() {
    let (stage, _one) = stage();
    for (kind, (text, asking)) in [
        ("insert into numbered (a) values (1)", "select lastval() * 0"),
        ("insert into numbered (a) values (1)", "select currval('numbered_n_seq') * 0"),
        (
            "insert into public.numbered default values",
            "select currval(pg_get_serial_sequence('numbered', 'n')) * 0",
        ),
        ("insert into small (a) select 1", "select lastval() * 0"),
        ("insert into identified (a) values (1) returning i", "select lastval() * 0"),
        ("select nextval('s')", "select lastval() * 0"),
        ("select nextval('public.s')", "select currval('Public.S') * 0"),
        ("select setval('s', 7)", "select currval('s') * 0"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = asks(&stage, kind, text, asking);
        assert_eq!(said, "T D(0) C[SELECT 1] Z[T]", "{text}; {asking}");
    }
}

#[test]
fn who_is_pinned_is_shown_what_it_has_drawn_whatever_drew_it() {
    let (stage, mut one) = stage();
    one.rows("create function hides() returns bigint language sql as $$select nextval('s')$$");
    let mut client = stage.weir.target().connect_with(&[("application_name", "pinned")]);
    client.rows("create temporary table mine (a int)");
    client.rows("select hides()");
    assert_eq!(client.ask(&query("select currval('s')")), "T D(2) C[SELECT 1] Z[I]");
    // Another's number is not, nor are errors that the client has not made.
    let missing = client.ask(&query("select currval('numbered_n_seq')"));
    assert!(missing.contains("55000"), "{missing}");
}

#[test]
fn behind_an_error_in_its_pipeline_a_pinned_client_has_no_number_of_others() {
    let (stage, _one) = stage();
    for failing in ["select nextval('missing')", "selec"] {
        for draws in ["select nextval('missing')", "insert into plain values (1)"] {
            let mut client = stage.client();
            client.rows("create temporary table mine (a int)");
            let draw = [parse("", draws), bind("", "", &[]), execute("", 0)].concat();
            client.ask(&[parse("f", failing), draw, sync()].concat());
            let said = client.ask(&query("select lastval()"));
            assert!(said.contains("55000"), "{failing}, {draws}: {said}");
        }
    }
}

#[test]
fn what_a_transaction_has_not_drawn_is_not_shown_in_it() {
    let (stage, mut one) = stage();
    for (kind, (text, asking)) in [
        ("select 1", "select lastval()"),
        ("select setval('s', 7)", "select lastval()"),
        ("insert into plain (a) values (1)", "select lastval()"),
        ("insert into numbered (n) values (1)", "select lastval()"),
        ("insert into numbered (a) select 1 where false", "select lastval()"),
        ("select nextval('s') where false", "select lastval()"),
        ("explain insert into numbered (a) values (1)", "select lastval()"),
        ("insert into numbered (a) values (1)", "select currval('s')"),
        ("select nextval('s')", "select currval('public.s')"),
        ("select setval('s', 7, false)", "select currval('s')"),
    ]
    .into_iter()
    .enumerate()
    {
        one.rows("select nextval('s')");
        let said = asks(&stage, kind, text, asking);
        assert_eq!(said, "T E[ERROR 55000] Z[E]", "{text}; {asking}");
    }
}

#[test]
fn who_has_asked_before_asks_for_its_own_numbers_only() {
    let (stage, mut one) = stage();
    let mut two = stage.weir.target().connect_with(&[("application_name", "two")]);
    assert_eq!(two.ask(&query("select lastval()")), "T E[ERROR 55000] Z[I]");
    one.rows("select nextval('s')");
    // In a segment that changes something: it stays one transaction.
    let segment =
        |asking| [extended("insert into plain values (1)"), extended(asking), sync()].concat();
    assert_eq!(two.ask(&segment("select lastval()")), "1 2 C[INSERT 0 1] 1 2 E[ERROR 55000] Z[I]");
    assert_eq!(two.value("select count(*) from plain"), "0");
    assert_eq!(
        two.ask(&segment("select nextval('s') * 0 + lastval() * 0")),
        "1 2 C[INSERT 0 1] 1 2 D(0) C[SELECT 1] Z[I]"
    );
    // It keeps its server, and so its number.
    assert_eq!(two.ask(&query("select lastval() * 0")), "T D(0) C[SELECT 1] Z[I]");
    two.rows("discard sequences");
    assert_eq!(two.ask(&query("select lastval()")), "T E[ERROR 55000] Z[I]");
}

#[test]
fn a_discard_that_is_refused_leaves_the_numbers() {
    let (_stage, mut one) = stage();
    assert_eq!(one.ask(&query("select lastval()")), "T E[ERROR 55000] Z[I]");
    one.rows("select nextval('s')");
    for texts in [&["begin", "discard all", "rollback"][..], &["select 1; discard all"]] {
        for text in texts {
            one.send(&query(text));
            one.ready(1);
        }
        assert_eq!(one.ask(&query("select lastval() * 0")), "T D(0) C[SELECT 1] Z[I]");
    }
    // The level of isolation can be set ahead of what draws.
    one.rows("discard sequences");
    one.rows("begin");
    one.rows("set transaction isolation level serializable; select nextval('s')");
    assert_eq!(one.value("show transaction_isolation"), "serializable");
}

#[test]
fn behind_the_end_of_a_failed_transaction_there_is_no_number_either() {
    let (stage, _one) = stage();
    for (kind, (text, expected)) in [
        ("end; select lastval()", "C[ROLLBACK] T E[ERROR 55000] Z[I]"),
        ("select lastval(); end", "E[ERROR 25P02] Z[E]"),
        (
            "rollback to a; select 1; select currval('s')",
            "C[ROLLBACK] T D(1) C[SELECT 1] T E[ERROR 55000] Z[E]",
        ),
        ("rollback; selec; select lastval()", "E[ERROR 42601] Z[E]"),
        (
            "abort; select nextval('s') * 0; select lastval() * 0",
            "C[ROLLBACK] T D(0) C[SELECT 1] T D(0) C[SELECT 1] Z[I]",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let kind = format!("failed {kind}");
        let mut client = stage.weir.target().connect_with(&[("application_name", &*kind)]);
        client.rows("begin; savepoint a");
        client.ask(&query("select 1 / 0"));
        assert_eq!(client.ask(&query(text)), expected, "{text}");
        // Nor afterwards.
        client.ask(&query("rollback"));
        if text.starts_with("rollback") {
            assert_eq!(client.ask(&query("select lastval()")), "T E[ERROR 55000] Z[I]", "{text}");
        }
    }
}

/// All of a message, as text.
fn text(event: &Event) -> String {
    match event {
        Event::Message(_, body) => String::from_utf8_lossy(body).into_owned(),
        Event::Eof | Event::Silence => String::new(),
    }
}

#[test]
fn the_error_behind_a_failed_transactions_end_says_why() {
    let (stage, _one) = stage();
    for (kind, asking, code, hinted) in
        [("why", "currval('s'), selec", "42703", false), ("how", "lastval()", "55000", true)]
    {
        let mut client = stage.weir.target().connect_with(&[("application_name", kind)]);
        client.rows("begin; savepoint a; select nextval('s')");
        client.ask(&query("select 1 / 0"));
        client.send(&query(&format!("rollback to a; select {asking}")));
        let said = format!("{:?}", client.ready(1).iter().map(text).collect::<Vec<_>>());
        let told = said.contains("pgweir could not tell");
        assert!(said.contains(code) && told == hinted, "{said}");
        client.ask(&query("rollback"));
    }
}

#[test]
fn what_an_open_segment_may_have_ended_is_not_taken_for_failed() {
    let (stage, _one) = stage();
    for (kind, ahead) in
        [close('S', "none"), [extended("rollback"), flush()].concat()].iter().enumerate()
    {
        let kind = format!("segment {kind}");
        let mut client = stage.weir.target().connect_with(&[("application_name", &*kind)]);
        client.rows("begin");
        client.ask(&query("select 1 / 0"));
        let said = client.ask(&[ahead.clone(), query("end; select lastval()")].concat());
        assert!(
            said.contains(" E[") && !said.contains("DISCARD") && said.contains(" Z["),
            "{said}"
        );
        client.ask(&query("rollback"));
        assert_eq!(client.value("select 7"), "7");
    }
}

#[test]
fn what_the_server_skips_stays_skipped_whoever_asks_for_numbers() {
    let seen = both(|target| {
        let mut one = target.connect();
        one.rows("create table t (a int)");
        one.ask(&query("select lastval()"));
        let mut seen = Vec::new();
        for text in ["insert into t values (1)", "insert into t values (2); select lastval()"] {
            one.send(&[execute("nope", 0), query("select 1"), query(text), sync()].concat());
            seen.push(line(&one.ready(1)));
        }
        one.ask(&[parse("s", "select lastval()"), sync()].concat());
        one.send(&[query("select 1"), parse("", "select 2"), query("execute s"), sync()].concat());
        seen.push(line(&one.ready(3)));
        seen.push(one.value("select count(*) from t"));
        seen
    });
    assert_eq!(seen[3], "0");
}

/// What a client of each of these programs is told, where another has drawn from all sequences: the same as by
/// PostgreSQL. A step is what is sent at once, and how often the server is ready then.
fn each_is_told_the_same(asked_before: bool, programs: &[&[(Vec<u8>, usize)]]) {
    both_with(&Setup::servers(1), |target| {
        let mut one = target.connect_with(&[("application_name", "one")]);
        one.rows(
            "create table u (id serial, v int); create sequence s; create table kept (a int);
            create function runs(text) returns void language plpgsql as $$begin execute $1; end$$;
            create function hides() returns bigint language sql as $$select currval('s')$$",
        );
        one.rows("select nextval('s'), nextval('u_id_seq')");
        let mut admin = target.connect_with(&[("application_name", "admin")]);
        admin.rows(
            "create schema other; create table other.u (id serial, v int);
            create schema bare; create table bare.u (id int, v int)",
        );
        drop(admin);
        let mut seen = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            let kind = format!("kind {number}");
            let mut two = target.connect_with(&[("application_name", &*kind)]);
            if asked_before {
                two.ask(&query("select lastval()"));
            }
            one.rows("select nextval('u_id_seq'), nextval('s')");
            for (bytes, readies) in *program {
                two.send(bytes);
                seen.push(format!("{number}: {}", line(&two.ready(*readies))));
            }
            two.send(&query("rollback"));
            two.ready(1);
            drop(two);
            seen.push(one.value("select count(*) from kept"));
        }
        seen
    });
}

fn asked(text: &str) -> (Vec<u8>, usize) {
    (query(text), 1)
}

const LAST: &str = "select lastval()";
const FAILS: &str = "select 1 / 0";

#[test]
fn a_discard_that_was_skipped_does_not_count() {
    let skipped = [extended(FAILS), extended(LAST), sync()].concat();
    let behind = |more: Vec<u8>| ([skipped.clone(), more].concat(), 2);
    let savepoint = [skipped.clone(), query("rollback to a"), query(LAST)].concat();
    let programs = [
        &[behind([extended(LAST), sync()].concat())][..],
        &[behind(query(LAST))],
        &[behind(function_call(2559))],
        &[asked("begin; savepoint a"), (savepoint, 3)],
        &[asked("begin; savepoint a"), (skipped.clone(), 1), asked("rollback to a"), asked(LAST)],
    ];
    each_is_told_the_same(false, &programs);
    each_is_told_the_same(true, &programs);
}

#[test]
fn a_transaction_that_fails_in_flight_has_no_number_of_others_behind_it() {
    let ends = query("rollback; select lastval()");
    let queries = [query("begin"), query(FAILS), ends.clone()].concat();
    let segment = [extended("begin"), extended(FAILS), sync(), ends].concat();
    let segments =
        [query("begin"), query(FAILS), extended("rollback"), sync(), extended(LAST), sync()];
    each_is_told_the_same(
        false,
        &[&[(queries, 3)], &[(segment, 2)], &[(segments.concat(), 4), asked(LAST)]],
    );
}

#[test]
fn code_that_deallocates_leaves_nobody_a_number_of_others() {
    let by_code = "do $$begin execute 'deal' || 'locate all'; end$$";
    let by_call = "select runs('deal' || 'locate all')";
    for code in [by_code, by_call] {
        let queries = [query(code), query(LAST)].concat();
        let segments = [extended(code), sync(), extended(LAST), sync()].concat();
        let segment = [
            extended(code),
            extended("insert into kept values (1)"),
            extended("select currval('s') where false"),
            sync(),
        ];
        each_is_told_the_same(
            true,
            &[
                &[(queries, 2)],
                &[(segments, 2)],
                &[asked("begin"), asked(code), asked(LAST)],
                &[(segment.concat(), 1)],
            ],
        );
    }
}

#[test]
fn rows_of_a_portal_are_not_those_of_one_that_was_not_bound() {
    let texts = [
        ("rows", "select generate_series(1, 5)"),
        ("save", "savepoint a"),
        ("back", "rollback to a"),
        ("draw", "select nextval('s')"),
        ("fail", FAILS),
    ];
    let parses = texts.map(|(name, text)| parse(name, text)).concat();
    let begins = [
        parses,
        bind("back", "back", &[]),
        bind("save", "save", &[]),
        bind("", "rows", &[]),
        execute("", 1),
        execute("save", 0),
        sync(),
    ];
    let fails = [
        bind("fail", "fail", &[]),
        execute("fail", 0),
        bind("", "draw", &[]),
        execute("", 0),
        sync(),
    ];
    each_is_told_the_same(
        false,
        &[&[
            asked("begin"),
            (begins.concat(), 1),
            (fails.concat(), 1),
            ([execute("back", 0), sync()].concat(), 1),
            ([execute("", 0), sync()].concat(), 1),
            asked("select currval('s')"),
        ]],
    );
    let at_once = [fails.concat(), execute("back", 0), execute("", 0), sync()].concat();
    each_is_told_the_same(
        false,
        &[&[asked("begin"), (begins.concat(), 1), (at_once, 2), asked("select currval('s')")]],
    );
}

#[test]
fn a_sequence_is_not_another_one_of_that_name() {
    each_is_told_the_same(
        false,
        &[
            &[
                asked("begin"),
                asked("select nextval('other.u_id_seq')"),
                asked("select currval('public.u_id_seq')"),
            ],
            &[
                asked("begin"),
                asked("set local search_path = other"),
                asked("select nextval('u_id_seq')"),
                asked("set local search_path = public"),
                asked("select currval('u_id_seq')"),
            ],
            &[
                asked("begin"),
                asked("insert into other.u (v) values (1)"),
                asked("select currval('public.u_id_seq')"),
            ],
            &[asked("begin"), asked("insert into bare.u (v) values (1)"), asked(LAST)],
            &[
                asked("begin"),
                asked("create temp table u (id int, v int)"),
                asked("insert into u (v) values (1)"),
                asked(LAST),
            ],
            &[
                asked("set search_path = other"),
                asked("begin"),
                asked("select nextval('u_id_seq')"),
                asked("set search_path = public; select currval('u_id_seq')"),
            ],
            &[
                asked("begin"),
                asked("select nextval('u_id_seq')"),
                asked("select currval('u_id_seq') > 0, hides()"),
            ],
            &[
                asked("set search_path = bare"),
                asked("begin"),
                asked("insert into u (v) values (1)"),
                asked(LAST),
            ],
        ],
    );
}

#[test]
fn a_table_that_was_made_since_is_not_taken_for_another_of_its_name() {
    let (stage, _one) = stage();
    stage.database.admin().rows(
        "create schema other; create table other.numbered (n int, a int);
        grant all on schema other to public; grant all on other.numbered to public",
    );
    let said = asks(&stage, 0, "insert into other.numbered (a) values (1)", LAST);
    assert_eq!(said, "T E[ERROR 55000] Z[E]");
    let mut client = stage.weir.target().connect_with(&[("application_name", "moved")]);
    client.rows("set search_path = other");
    client.rows("begin");
    client.rows("insert into numbered (a) values (1)");
    assert_eq!(client.ask(&query(LAST)), "T E[ERROR 55000] Z[E]");
}

#[test]
fn a_portal_that_is_bound_ahead_of_a_question_is_executed_behind_it() {
    both_with(&Setup::servers(1), |target| {
        let mut one = target.connect();
        one.rows("create table t (a int); create sequence s");
        one.ask(&[parse("i", "insert into t values (1)"), sync()].concat());
        one.ask(&[parse("q", "select currval('s') where false"), sync()].concat());
        let pipeline = [bind("", "i", &[]), bind("p", "q", &[]), execute("", 0), sync()].concat();
        vec![one.ask(&pipeline), one.ask(&query("select count(*) from t"))]
    });
}

/// FunctionCall of `nextval` with a sequence's number, and of `lastval`.
#[test]
fn numbers_drawn_by_function_calls_are_kept_once_they_are_asked_for() {
    let stage = Stage::new(&Setup::servers(2));
    let mut client = stage.client();
    client.rows("create sequence s");
    let oid = client.value("select 's'::regclass::oid").parse::<u32>().expect("a number");
    let next = message(
        'F',
        &[
            &1574_u32.to_be_bytes()[..],
            &[0, 1, 0, 1, 0, 1],
            &4_u32.to_be_bytes(),
            &oid.to_be_bytes(),
            &[0, 0],
        ]
        .concat(),
    );
    let both = |client: &mut Raw| {
        client.rows("begin");
        client.ask(&next);
        let last = client.ask(&function_call(2559));
        client.rows("rollback");
        last
    };
    assert!(both(&mut client).starts_with("E[ERROR 55000]"));
    for _ in 0..2 {
        let last = both(&mut client);
        assert!(last.starts_with('V'), "it is known to ask: {last}");
    }
}
