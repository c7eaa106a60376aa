//! What is decided about a message before those of earlier segments are answered, which may fail.

use super::support::events::line;
use super::support::*;

/// Sends all at one go; gives what comes up to the last ReadyForQuery, without ParameterStatus.
fn at_once(client: &mut Raw, messages: &[Vec<u8>]) -> String {
    let bytes = messages.concat();
    let tags = messages.iter().filter(|message| matches!(message[0], b'Q' | b'S'));
    client.send(&bytes);
    let mut events = client.ready(tags.count());
    events.retain(|event| !event.is('S'));
    line(&events)
}

fn segment(sql: &str) -> Vec<u8> {
    [extended(sql), sync()].concat()
}

/// Holds a segment's answer back for a while.
fn slow() -> Vec<u8> {
    query("select pg_sleep(0.15)")
}

/// Of a client that began with a time zone of its own, and has a function that resets it.
fn in_tokyo(target: &Target) -> Raw {
    let mut client = target.connect_with(&[("TimeZone", "Asia/Tokyo")]);
    client.rows(
        "create or replace function reset_zone() returns int language plpgsql as \
         'begin reset timezone; return 1; end'",
    );
    client
}

#[test]
fn a_reset_behind_the_end_of_a_failed_transaction_gives_what_the_session_began_with() {
    both_with(&Setup::servers(2), |target| {
        let mut one = in_tokyo(target);
        let failed = at_once(&mut one, &[query("begin"), query("selec")]);
        let reset = [
            query("rollback"),
            query("select 1"),
            segment("select reset_zone()"),
            extended("show timezone"),
            sync(),
        ];
        vec![failed, at_once(&mut one, &reset[..3]), at_once(&mut one, &reset[3..])]
    });
    both_with(&Setup::servers(2), |target| {
        let mut one = in_tokyo(target);
        at_once(&mut one, &[query("begin"), query("selec")]);
        let all = [
            query("rollback"),
            query("select 1"),
            [extended("select reset_zone()"), sync(), extended("show timezone"), sync()].concat(),
        ];
        one.send(&all.concat());
        vec![line(&one.ready(4)), one.value("show timezone")]
    });
}

#[test]
fn a_reset_that_holds_though_its_segment_fails_gives_what_the_session_began_with() {
    both_with(&Setup::servers(2), |target| {
        let mut one = in_tokyo(target);
        let failing = [slow(), extended("discard all"), parse("", "selec"), sync()].concat();
        one.send(&[failing, extended("show timezone"), sync()].concat());
        let seen: Vec<_> = one.ready(3).into_iter().filter(|event| !event.is('S')).collect();
        vec![line(&seen), one.value("show timezone")]
    });
}

#[test]
fn a_reset_before_a_savepoint_is_made_up_for_behind_it() {
    both_with(&Setup::servers(2), |target| {
        let mut one = in_tokyo(target);
        one.rows("begin");
        let portal = [parse("", "reset timezone"), bind("p", "", &[]), execute("p", 0)].concat();
        let seen = at_once(&mut one, &[portal, extended("savepoint s"), sync()]);
        vec![seen, at_once(&mut one, &[query("rollback to s"), query("show timezone")])]
    });
}

#[test]
fn a_deallocate_that_is_skipped_takes_no_other_name() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        let prepared = [
            parse("a", "select 1"),
            parse("b", "select 2"),
            parse("da", "deallocate a"),
            parse("db", "deallocate b"),
            sync(),
        ];
        let mut seen = vec![at_once(&mut one, &prepared)];
        let skipped = [parse("x", "selec"), run("da", &[]), sync()];
        one.send(&[skipped.concat(), close('S', ""), run("db", &[]), sync()].concat());
        seen.push(line(&one.ready(2)));
        for name in ["a", "b"] {
            seen.push(at_once(&mut one, &[run(name, &[]), sync()]));
        }
        seen
    });
}

#[test]
fn literals_mean_what_they_did_though_the_settings_are_changing() {
    let zoned = "select '2020-01-01 00:00'::timestamptz at time zone 'UTC'";
    for (first, name) in [
        (segment("set timezone = 'Asia/Tokyo'"), "a"),
        (segment("set timezone = 'Asia/Tokyo'"), ""),
        (query("set work_mem = '5MB'"), "a"),
        (query("set work_mem = 'nonsense'"), "a"),
    ] {
        both_with(&Setup::servers(2), |target| {
            let (mut one, mut other) = (target.connect(), target.connect());
            one.rows("set datestyle = 'ISO'");
            let parsed = at_once(&mut one, &[parse(name, zoned), sync()]);
            if first[0] == b'Q' {
                one.rows("set timezone = 'Asia/Tokyo'");
            }
            // Its server is another's, and the next one lacks the statement.
            other.rows("begin; select 1");
            one.send(&[first.clone(), run(name, &[]), sync()].concat());
            let mut events = one.ready(2);
            events.retain(|event| !event.is('S'));
            vec![parsed, line(&events)]
        });
    }
}

#[test]
fn what_is_set_behind_discard_all_in_its_segment_holds() {
    both_with(&Setup::servers(2), |target| {
        let mut one = in_tokyo(target);
        let both = [extended("discard all"), extended("set timezone = 'Europe/Berlin'"), sync()];
        let seen = at_once(&mut one, &both);
        let told = one.parameters.get("TimeZone").cloned().unwrap_or_default();
        vec![seen, told, one.value("show timezone"), segment_of(&mut one, "discard all")]
    });
}

fn segment_of(client: &mut Raw, sql: &str) -> String {
    let seen = at_once(client, &[extended(sql), sync()]);
    let told = client.parameters.get("TimeZone").cloned().unwrap_or_default();
    format!("{seen} {told} {}", client.value("show timezone"))
}

#[test]
fn a_close_that_is_skipped_leaves_sql_its_name() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        let prepared = [
            parse("a", "select 1"),
            parse("e", "execute a"),
            parse("z", "select 1 / $1::int"),
            sync(),
        ];
        let mut seen = vec![at_once(&mut one, &prepared)];
        seen.push(at_once(&mut one, &[query("begin"), query("savepoint s")]));
        let failing = [bind("", "z", &[Some("0")]), execute("", 0), run("e", &[]), sync()];
        one.send(&[failing.concat(), parse("", "selec"), close('S', "a"), sync()].concat());
        seen.push(line(&one.ready(2)));
        seen.push(at_once(&mut one, &[query("rollback to s"), query("execute a")]));
        seen
    });
}

#[test]
fn sql_finds_a_name_behind_a_rollback_in_its_segment() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        let mut seen = vec![at_once(&mut one, &[parse("a", "select 1"), sync()])];
        seen.push(at_once(&mut one, &[query("begin"), query("selec")]));
        seen.push(at_once(&mut one, &[extended("rollback"), extended("execute a"), sync()]));
        // And nothing where the transaction is still one that has failed.
        seen.push(at_once(&mut one, &[query("begin"), query("selec")]));
        seen.push(at_once(&mut one, &[close('S', "no"), extended("execute a"), sync()]));
        seen.push(at_once(&mut one, &[query("rollback"), query("execute a")]));
        seen
    });
}

#[test]
fn numbers_drawn_behind_a_rollback_in_flight_are_the_clients_own() {
    both_with(&Setup::servers(2), |target| {
        let mut other = target.connect();
        other.rows("create table ts (a serial)");
        // The first of their kind is told that there is none, and learnt from.
        other.ask(&query("insert into ts values (default)"));
        other.ask(&query("select lastval()"));
        let mut one = target.connect();
        let mut seen = vec![at_once(&mut one, &[query("begin"), query("selec")])];
        let drawn = [query("rollback"), extended("insert into ts values (default)"), sync()];
        seen.push(at_once(&mut one, &drawn));
        seen.push(one.ask(&query("select lastval()")));
        seen
    });
}

#[test]
fn a_taken_name_is_one_in_a_transaction_that_fails_in_flight_beside_a_temporary_table() {
    both_with(&Setup::servers(2), |target| {
        let mut one = target.connect();
        one.rows(
            "create function run(text) returns void language plpgsql as 'begin execute $1; end'; \
             create table shape (a int)",
        );
        one.rows("begin; create table pg_temp.own (a int)");
        one.rows("select run('alter table shape alter a type text')");
        let mut seen = vec![at_once(&mut one, &[parse("a", "select 1"), run("a", &[]), sync()])];
        let failing = [run("a", &[]), bind("", "no", &[]), execute("", 0), sync()].concat();
        one.send(&[failing, parse("a", ""), run("a", &[]), sync()].concat());
        seen.push(line(&one.ready(2)));
        seen
    });
}

#[test]
fn nobody_runs_what_others_have_prepared_by_the_names_of_the_server() {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    one.ask(&[parse("a", "select 'of another'"), sync()].concat());
    let mut other = stage.client();
    other.rows("prepare mine as select 1");
    for number in 0..3 {
        let name = format!("__pgweir_{number}");
        assert_eq!(other.ask(&[run(&name, &[]), sync()].concat()), "E[ERROR 26000] Z[I]");
    }
}
