//! How the settings of clients and servers are made to agree (docs/semantics.md "Settings").

use super::support::events::line;
use super::support::*;

/// Which server it is, what it was given as a time zone, and how often pgweir has set anything there.
/// PostgreSQL 13 does not count.
const SERVER: &str = "select pg_backend_pid() || ' ' || current_setting('TimeZone') || ' ' || \
    (select coalesce(sum((to_jsonb(p) ->> 'generic_plans')::int + (to_jsonb(p) ->> 'custom_plans')::int), 0) \
    from pg_prepared_statements p where starts_with(name, '__pgweir_set'))";

#[test]
fn a_short_timeout_of_the_clients_is_not_that_of_questions() {
    let stage = Stage::new(&Setup::servers(1));
    let mut one = stage.client();
    // The catalogue is read ahead of the first text.
    one.rows("select 1");
    let (mut blocker, mut watcher) = (stage.database.admin(), stage.database.admin());
    // What a text sets itself is in force when it is asked about, and later ones find it set.
    let set = "set statement_timeout = '250ms'; set lock_timeout = '250ms'; ";
    for text in [set, ""] {
        blocker.rows("begin; lock table pg_depend in access exclusive mode");
        one.rows(&format!("{text}select pg_advisory_lock(1), pg_advisory_unlock(1)"));
        wait_until("a question waits for longer than the client's statements may", || {
            watcher.value(WAITS) == "t"
        });
        blocker.rows("rollback");
        // The only server is free.
        let mut two = stage.client();
        assert_eq!(two.value("show statement_timeout"), "0");
        assert_eq!(two.value("show lock_timeout"), "0");
        assert_eq!(one.value("show statement_timeout"), "250ms");
        assert_eq!(one.value("show lock_timeout"), "250ms");
    }
}

/// Whether some statement of a client's server has waited for a lock for a while.
const WAITS: &str = "select exists (select from pg_stat_activity where usename = 'app' \
    and wait_event_type = 'Lock' and now() - query_start > '600ms')";

#[test]
fn clients_get_servers_that_have_their_settings_already() {
    let stage = Stage::new(&Setup::servers(2));
    let mut clients = ["Asia/Tokyo", "America/Lima"]
        .map(|zone| stage.weir.target().connect_with(&[("TimeZone", zone)]));
    // Both at once, so that each has a server of its own.
    for client in &mut clients {
        client.rows("begin");
    }
    let servers = clients.each_mut().map(|client| client.value(SERVER));
    for client in &mut clients {
        client.rows("commit");
    }
    for _ in 0..10 {
        assert_eq!(clients.each_mut().map(|client| client.value(SERVER)), servers);
    }
}

/// What goes ahead of a message can hold it back, and then the message still has its turn.
#[test]
fn clients_with_settings_of_their_own_get_on_when_they_wait_for_each_other() {
    let stage = Stage::new(&Setup::servers(2));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let mut client = stage.client();
            std::thread::spawn(move || {
                for round in 0..20 {
                    let (memory, patience) = (4097 + number, 600_001 + round * 10 + number);
                    client.rows(&format!("set work_mem = {memory}"));
                    client.rows(&format!("set lock_timeout = {patience}"));
                    assert_eq!(client.value("show work_mem"), format!("{memory}kB"));
                    let shown =
                        client.value("select setting from pg_settings where name = 'lock_timeout'");
                    assert_eq!(shown, patience.to_string());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("its own settings");
    }
}

#[test]
fn resets_in_one_text_hold_by_the_order_of_its_statements() {
    let lines = both(|target| {
        let startup = [("DateStyle", "German, DMY"), ("work_mem", "1MB")];
        let texts = [
            "begin; listen c; rollback; reset all",
            "set DateStyle = 'ISO'; rollback; reset work_mem",
            "begin; reset all; commit; begin; select 1; rollback",
            "reset all; rollback; set work_mem = '2MB'",
            "reset DateStyle; set DateStyle = 'SQL, MDY'; select 1",
            "begin; reset all; savepoint a; select 1; rollback to a; commit",
            "begin; savepoint a; reset all; rollback to a; commit",
            "begin; reset all; commit; select 1 / 0",
            "reset all; select 1 / 0",
            "set DateStyle = 'SQL, MDY'; begin; reset DateStyle; rollback",
        ];
        let look = "select current_setting('DateStyle') || '; ' || current_setting('work_mem')";
        let run = |text: &&str| {
            let mut client = target.connect_with(&startup);
            client.rows("set DateStyle = 'ISO, YMD'; set work_mem = '3MB'");
            client.ask(&query(text));
            format!("{text}: {} and {}", client.value(look), client.value(look))
        };
        texts.iter().map(run).collect()
    });
    assert!(lines[0].ends_with("German, DMY; 1MB"), "{lines:?}");
}

/// Without what ParameterStatus says, which on PostgreSQL 13 comes at once, and so often.
fn unreported(line: &str) -> String {
    let report = |part: &&str| major() > 13 || !part.starts_with("S[");
    line.split(' ').filter(report).collect::<Vec<_>>().join(" ")
}

/// What is reset shows the value of the startup to the next statement, and no snapshot is taken for it.
#[test]
fn a_reset_holds_at_once_and_takes_no_snapshot() {
    let lines = both(|target| {
        let startup = [("TimeZone", "Asia/Tokyo"), ("work_mem", "1MB"), ("app.tenant", "A")];
        let mut client = target.connect_with(&startup);
        let change = "set TimeZone = 'Asia/Kolkata'; set work_mem = '3MB'; set app.tenant = 'B'";
        let look = "select current_setting('TimeZone'), current_setting('work_mem'), \
            current_setting('app.tenant')";
        let mut seen = Vec::new();
        for reset in
            ["reset app.tenant", "RESET ALL", "reset work_mem; reset \"timezone\"; reset jit"]
        {
            client.rows(change);
            seen.push(client.ask(&query(&format!("{reset} ; {look}; selec"))));
            seen.push(client.ask(&query(&format!("{reset} /* ; */; {look}; select 1 / 0"))));
            seen.push(client.ask(&query(look)));
            seen.push(client.ask(&query(&format!("{reset}; {look}"))));
            seen.push(client.ask(&query(look)));
        }
        let level = "set transaction isolation level repeatable read";
        for reset in ["reset work_mem", "reset all"] {
            client.rows(change);
            seen.push(client.ask(&query("begin")));
            seen.push(client.ask(&query(reset)));
            seen.push(client.ask(&query(level)));
            seen.push(client.ask(&query("rollback")));
            seen.push(client.ask(&query(look)));
            seen.push(client.ask(&query("begin")));
            seen.push(client.ask(&[extended(reset), sync()].concat()));
            seen.push(client.ask(&query(level)));
            seen.push(client.ask(&query("commit")));
            seen.push(client.ask(&query(look)));
            client.rows(change);
            seen.push(client.ask(&[extended(reset), extended(look), sync()].concat()));
            seen.push(client.ask(&query(look)));
        }
        seen.iter().map(|line| unreported(line)).collect()
    });
    assert!(!lines.iter().any(|line| line.contains("25001")), "{lines:?}");
}

/// A text commits before its last statement is told to be complete.
#[test]
fn a_reset_whose_commit_fails_is_not_told_to_be_complete() {
    both(|target| {
        let startup = [("TimeZone", "Asia/Tokyo"), ("work_mem", "1MB")];
        let mut client = target.connect_with(&startup);
        client.rows("create temp table d (a int unique deferrable initially deferred)");
        let insert = "insert into d values (3), (3)";
        ["reset all", "reset work_mem ; ; ", "reset work_mem; reset jit", "reset jit"]
            .iter()
            .flat_map(|reset| [format!("{insert}; {reset}"), format!("{reset}; {insert}")])
            .chain(["reset all".into(), "reset all; select 1".into()])
            .map(|text| unreported(&client.ask(&query(&text))))
            .collect()
    });
}

#[test]
fn a_list_is_reset_to_what_it_was_just_as_it_was_spelt() {
    both(|target| {
        let mut seen = Vec::new();
        for path in ["public,pg_catalog", "\"$user\", \"We\"\"ird\", public", "\"user\"", ""] {
            let mut client = target.connect_with(&[("search_path", path)]);
            for reset in ["reset search_path", "reset all"] {
                client.rows("set search_path = pg_catalog");
                seen.push(client.ask(&query(&format!("{reset}; show search_path"))));
                seen.push(client.value("show search_path"));
                client.rows("set search_path = pg_catalog");
                let show = extended("show search_path");
                seen.push(client.ask(&[extended(reset), show, sync()].concat()));
                seen.push(client.value("show search_path"));
            }
        }
        seen.iter().map(|line| unreported(line)).collect()
    });
}

#[test]
fn code_resets_what_it_comes_to() {
    both(|target| {
        let startup = [("TimeZone", "Asia/Tokyo"), ("work_mem", "1MB"), ("app.tenant", "A")];
        let mut client = target.connect_with(&startup);
        client.rows(
            "create function maybe(b bool) returns void language plpgsql as \
             'begin if b then reset work_mem; reset app.tenant; reset timezone; end if; end'",
        );
        let change = "set TimeZone = 'Asia/Kolkata'; set work_mem = '3MB'; set app.tenant = 'B'";
        let look = "select current_setting('TimeZone'), current_setting('work_mem'), \
            current_setting('app.tenant')";
        let mut seen = Vec::new();
        for run in ["select maybe(false)", "select maybe(true)"] {
            for (before, after) in [("", ""), ("begin", "commit"), ("begin", "rollback")] {
                client.rows(change);
                client.rows(before);
                seen.push(format!("{run} {after}: {}", client.ask(&query(run))));
                seen.push(client.ask(&query(look)));
                client.rows(after);
                seen.push(client.ask(&query(look)));
                client.rows(change);
                client.rows(before);
                seen.push(client.ask(&[extended(run), sync()].concat()));
                seen.push(client.ask(&query(look)));
                client.rows(after);
                seen.push(client.ask(&query(look)));
            }
        }
        seen.iter().map(|line| unreported(line)).collect()
    });
}

#[test]
fn a_discard_that_is_refused_in_a_longer_text_discards_nothing() {
    let setup = Setup::servers(2).tables("[pins]\nmax_pinned = \"100%\"");
    both_with(&setup, |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows(
            "create function hide(n text, v text) returns text language sql \
             as 'select set_config(n, v, false)'",
        );
        let set = "select hide('app.tenant', 'A')";
        let mut seen = Vec::new();
        for text in [
            "rollback; discard all",
            "rollback; discard all;",
            "begin; reset all; rollback",
            "begin; savepoint a; reset all; rollback to a; commit",
            "reset all; select 1 / 0",
        ] {
            client.rows(set);
            seen.push(client.ask(&query(text)));
            seen.push(client.value("select current_setting('app.tenant', true)"));
        }
        for text in ["begin", set, "savepoint a", "reset all", "rollback to a", "commit"] {
            client.rows(text);
        }
        seen.push(client.value("select current_setting('app.tenant', true)"));
        client.rows("reset all");
        seen.push(other.value("select coalesce(current_setting('app.tenant', true), '')"));
        seen
    });
}

#[test]
fn a_long_value_travels() {
    both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        client.rows(&format!("set app.note = '{}'", "x".repeat(300_000)));
        other.rows("begin");
        let seen = vec![client.value("select length(current_setting('app.note'))")];
        other.rows("commit");
        seen
    });
}

#[test]
fn a_reset_of_more_settings_than_a_text_may_name_leaves_none() {
    let stage = Stage::new(&Setup::servers(2));
    let (mut client, mut other) = (stage.client(), stage.client());
    for half in 0..2 {
        let sets = (0..50).map(|n| format!("set app.x{half}_{n} = 'kept'; "));
        client.rows(&sets.collect::<String>());
    }
    client.rows("reset all");
    other.rows("begin");
    let left = "select count(*) from generate_series(0, 1) h, generate_series(0, 49) n \
                where current_setting('app.x' || h || '_' || n, true) = 'kept'";
    assert_eq!(client.value(left), "0");
    other.rows("commit");
    wait_until("nobody is pinned", || stage.weir.metric("pgweir_clients_pinned", "") < 0.5);
    assert!(stage.weir.metric("pgweir_pins_total", "") < 0.5, "nor was it");
}

/// They stay where they are, and the client with them, for as long as they are there.
#[test]
fn settings_of_several_mebibytes_are_kept_and_not_held() {
    let stage = Stage::new(&Setup::servers(4).tables("[pins]\nmax_pinned = 3"));
    let pinned = |count: f64| {
        let what = format!("{count} are pinned");
        wait_until(&what, || (stage.weir.metric("pgweir_clients_pinned", "") - count).abs() < 0.5);
    };
    let mut clients = [(); 3].map(|()| stage.client());
    clients[0].rows("select 1");
    let before = resident_kib(stage.weir.pid());
    for client in &mut clients {
        for note in 0..20 {
            client.rows(&format!("set app.note{note} = '{}'", "x".repeat(900_000)));
        }
        let huge = "select length(set_config('app.huge', repeat('x', 1500000), false))";
        assert_eq!(client.value(huge), "1500000");
    }
    pinned(3.0);
    let mut other = stage.client();
    for client in &mut clients {
        let all =
            "select sum(length(current_setting('app.note' || n))) from generate_series(0, 19) n";
        assert_eq!(client.value(all), "18000000");
        assert_eq!(client.value("select length(current_setting('app.huge'))"), "1500000");
        assert_eq!(other.value("select coalesce(current_setting('app.note9', true), '')"), "");
    }
    let held = resident_kib(stage.weir.pid()).saturating_sub(before);
    assert!(held < 40 << 10, "{held} KiB");
    for client in &mut clients {
        client.rows("reset all");
        assert_eq!(client.value("select current_setting('app.note9', true)"), "");
    }
    pinned(0.0);
}

/// What a startup parameter leaves open is not what another client has set on the server.
#[test]
fn a_part_of_a_date_style_is_completed_by_the_default() {
    let seen = both_with(&Setup::servers(1), |target| {
        let mut other = target.connect();
        other.rows("set datestyle = 'SQL, DMY'; select 1");
        let mut client = target.connect_with(&[("DateStyle", "ISO")]);
        let seen =
            vec![client.value("select '01/02/2024'::date::text"), client.value("show datestyle")];
        other.rows("select 1");
        [seen, vec![client.value("select '01/02/2024'::date::text")]].concat()
    });
    assert_eq!(seen[0], "2024-01-02");
}

/// A rule makes it a SET (`view-pg-settings.html`).
#[test]
fn an_update_of_pg_settings_is_a_setting_of_its_session() {
    both_with(&Setup::servers(2), |target| {
        let (mut client, mut other) = (target.connect(), target.connect());
        let before = other.value("show work_mem");
        client.rows("update pg_settings set setting = '7777' where name = 'work_mem'");
        let after = [&mut other, &mut client].map(|session| session.value("show work_mem"));
        [vec![before], after.to_vec()].concat()
    });
}

/// Behind an error, what gives a RESET its meaning would be dropped unseen.
#[test]
fn a_reset_before_an_error_harms_nobody_on_the_server() {
    both_with(&Setup::servers(1), |target| {
        let connect = || target.connect_with(&[("TimeZone", "Asia/Tokyo")]);
        let (mut one, mut two) = (connect(), connect());
        one.rows("create table kept (a int)");
        let reset = |portal| {
            [parse("", "reset timezone"), bind(portal, "", &[]), execute(portal, 0)].concat()
        };
        one.send(&[reset("p"), bind("", "nowhere", &[]), flush()].concat());
        let mut seen = vec![line(&one.until('E'))];
        one.send(&sync());
        seen.push(line(&one.ready(1)));
        let insert = extended("insert into kept values (1)");
        seen.push(two.ask(&[insert, reset("q"), sync()].concat()));
        seen.push(two.value("select count(*) from kept"));
        seen.push(one.value("show timezone"));
        without_early_reports(seen)
    });
}

#[test]
fn what_resets_behind_an_error_of_its_segment_is_skipped_like_all_else() {
    both(|target| {
        let (mut one, mut other) =
            (target.connect_with(&[("application_name", "mine")]), target.connect());
        let mut seen = Vec::new();
        for reset in ["discard all", "do $$ begin reset all; end $$", "reset application_name"] {
            one.send(
                &[execute("nope", 0), query(reset), sync(), query("show application_name")]
                    .concat(),
            );
            seen.push(line(&one.ready(2)));
            seen.push(other.ask(&query("show application_name")));
        }
        seen
    });
}

/// PostgreSQL 13 reports a value within the answer of each command that sets it, even to what it was; newer ones
/// report ahead of ReadyForQuery what has changed.
fn without_early_reports(seen: Vec<String>) -> Vec<String> {
    if major() >= 14 {
        return seen;
    }
    let is_kept = |part: &&str| !part.starts_with("S[TimeZone=");
    seen.iter().map(|line| line.split(' ').filter(is_kept).collect::<Vec<_>>().join(" ")).collect()
}

/// A client whose time zone is of its StartupMessage.
fn in_tokyo(target: &Target) -> Raw {
    target.connect_with(&[("TimeZone", "Asia/Tokyo")])
}

#[test]
fn what_may_reset_ends_in_every_order_as_postgresql_does() {
    let reset = "do $$ begin reset timezone; end $$";
    let pipelines = [
        [extended(reset), execute("nope", 0), query("select 1"), sync()].concat(),
        [
            parse("", "reset timezone"),
            bind("p", "", &[]),
            execute("nope", 0),
            query("select 1"),
            sync(),
        ]
        .concat(),
        [
            extended(reset),
            extended("copy t from stdin"),
            sync(),
            copy_data("1\n"),
            copy_done(),
            sync(),
        ]
        .concat(),
        [query("select 1"), parse("", "select 2"), query("reset all")].concat(),
        [query("select 1"), parse("", "select 2"), query("reset timezone; selec")].concat(),
    ];
    both_with(&Setup::servers(2), |target| {
        let (mut one, mut other) = (in_tokyo(target), target.connect());
        other.rows("create table t (a int)");
        let mut seen = Vec::new();
        for pipeline in &pipelines {
            one.send(&[pipeline.clone(), query("show timezone")].concat());
            let shown = one.until_row("Asia/Tokyo");
            seen.push(line(&shown));
            seen.push(other.ask(&query("show timezone")));
        }
        without_early_reports(seen)
    });
}

#[test]
fn a_reset_that_sql_executes_gives_what_the_session_began_with() {
    both(|target| {
        let mut one = in_tokyo(target);
        one.ask(&[parse("x", "reset timezone"), sync()].concat());
        one.rows("set timezone = 'America/New_York'");
        vec![one.ask(&query("execute x")), one.ask(&query("show timezone"))]
    });
}

#[test]
fn a_literal_behind_a_set_of_the_same_pipeline_means_what_it_says_on_every_server() {
    let literal = "select '2020-01-01 00:00'::timestamptz";
    let seen = both_with(&Setup::servers(2), |target| {
        let [mut one, mut other] = [(); 2].map(|()| target.connect());
        let mut seen = Vec::new();
        for name in ["s", ""] {
            one.send(
                &[query("set timezone = 'Asia/Tokyo'"), parse(name, literal), sync()].concat(),
            );
            one.ready(2);
            if name.is_empty() {
                one.ask(&[parse("z", "set timezone = 'UTC'"), run("z", &[]), sync()].concat());
            } else {
                one.rows("set timezone = 'UTC'");
            }
            other.rows("begin");
            seen.push(one.ask(&[run(name, &[]), sync()].concat()));
            other.rows("commit");
        }
        seen
    });
    assert!(seen[0].contains("2019-12-31 15:00:00+00"), "{seen:?}");
}

#[test]
fn limits_of_one_clients_idle_session_hold_for_it_and_nobody_else() {
    if major() < 14 {
        return println!("SKIPPED: PostgreSQL 13 has no idle_session_timeout");
    }
    let ended = both(|target| {
        let [mut one, mut other] = [(); 2].map(|()| target.connect());
        one.rows("set idle_session_timeout = '400ms'");
        let mut seen = vec![line(&one.rest())];
        for _ in 0..4 {
            seen.push(other.ask(&query("select 1")));
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        seen
    });
    assert!(ended[0].contains("FATAL 57P05"), "{ended:?}");
}

/// Sets a setting that the text does not name, and so pins.
const UNNAMED: &str = "select set_config(x, '7MB', false) from (values ('work_mem')) v(x)";

/// A failure in the extended protocol.
fn failing() -> Vec<u8> {
    extended("select 1 / 0")
}

/// Room for clients that are pinned.
fn pinning(servers: usize) -> Setup {
    Setup::servers(servers).tables("[pins]\nmax_pinned = \"100%\"")
}

/// Only a RESET ALL or DISCARD ALL that is there for good takes back what no text names.
#[test]
fn a_reset_of_all_that_does_not_hold_gives_nobody_what_its_client_has_set() {
    let slow = [extended("select pg_sleep(0.2)"), sync()].concat();
    let bound = |text| [parse("", text), bind("", "", &[]), sync()].concat();
    let named =
        [parse("x", UNNAMED), parse("y", "reset all"), sync(), bind("q", "x", &[])].concat();
    let behind = |portal| [bind(portal, "y", &[]), execute(portal, 0), execute("q", 0), sync()];
    let reset = extended("reset all");
    let twice = [reset.clone(), sync(), extended(UNNAMED), sync(), reset.clone()].concat();
    // What is sent, up to a ReadyForQuery each time.
    let mut programs = vec![
        vec![bound("reset all")],
        vec![bound("discard all")],
        vec![[slow.clone(), reset.clone()].concat(), [failing(), sync()].concat()],
        vec![[slow.clone(), extended("begin"), reset.clone()].concat(), sync(), query("rollback")],
        vec![[named.clone(), behind("p").concat()].concat(), Vec::new()],
        vec![[named, behind("").concat()].concat(), Vec::new()],
        vec![[slow, twice, failing(), sync()].concat(), Vec::new(), Vec::new(), Vec::new()],
        vec![
            [query("reset work_mem"), reset.clone(), failing(), sync(), query(UNNAMED)].concat(),
            Vec::new(),
            Vec::new(),
        ],
        vec![[reset, query(UNNAMED), sync()].concat(), Vec::new()],
    ];
    if major() >= 18 {
        // There a Query instead of the Sync leaves PostgreSQL with XX000 (18.4).
        programs.pop();
    }
    both_with(&pinning(2), |target| {
        let mut seen = Vec::new();
        for (number, program) in programs.iter().enumerate() {
            let (mut one, mut other) = (target.connect(), target.connect());
            one.rows(UNNAMED);
            one.rows("select set_config('app.' || x, '42', false) from (values ('tenant')) v(x)");
            for message in program {
                one.ask(message);
            }
            let tenant = "select coalesce(current_setting('app.tenant', true), '')";
            for client in [&mut other, &mut one] {
                seen.push(format!("{number}: {}", client.value("show work_mem")));
                seen.push(format!("{number}: {}", client.value(tenant)));
            }
        }
        seen
    });
}

#[test]
fn a_reset_of_all_that_holds_ends_the_pin() {
    let stage = Stage::new(&pinning(1));
    let (mut one, mut other) = (stage.client(), stage.client());
    for reset in [
        query("reset all"),
        query("discard all"),
        query("close all; reset all; unlisten *"),
        [extended("reset all"), sync()].concat(),
        [extended("discard all"), sync()].concat(),
    ] {
        one.rows(UNNAMED);
        one.ask(&reset);
        assert_eq!(other.value("show work_mem"), "4MB");
    }
}

/// RESET ALL leaves the role alone.
#[test]
fn a_role_that_no_text_names_outlives_a_reset_of_all_and_is_nobody_elses() {
    Cluster::shared().admin("postgres").rows("grant pg_monitor to app");
    let seen = both_with(&pinning(1), |target| {
        let (mut one, mut other) = (target.connect(), target.connect());
        let role = "select set_config(x, 'pg_monitor', false) from (values ('role')) v(x)";
        let mut seen = Vec::new();
        for reset in [query("reset all"), [extended("reset all"), sync()].concat()] {
            one.rows(role);
            one.ask(&reset);
            seen.push(other.value("select current_user"));
            seen.push(one.value("select current_user"));
            one.rows("reset role");
        }
        seen
    });
    assert_eq!(seen[0], "app");
}

/// The error behind it undoes the reset, or what was to make up for one that is there to stay.
#[test]
fn a_reset_behind_which_an_error_comes_gives_the_value_of_the_startup() {
    let resets = "do $$ begin reset timezone; reset app.tenant; end $$";
    both_with(&Setup::servers(1), |target| {
        let mut admin = target.connect();
        admin.rows("create procedure commits() language plpgsql as 'begin commit; end'");
        let startup = [("TimeZone", "Asia/Tokyo"), ("app.tenant", "42")];
        let mut seen = Vec::new();
        for (before, program, after) in [
            ("", [extended("begin"), extended(resets), extended("commit")].concat(), ""),
            ("", [extended(resets), extended("call commits()")].concat(), ""),
            ("", extended(resets), ""),
            ("begin", [extended(resets), extended("savepoint a")].concat(), "rollback to a"),
        ] {
            let mut one = target.connect_with(&startup);
            one.rows(before);
            one.ask(&[program, failing(), sync()].concat());
            one.rows(after);
            seen.extend(startup_values_to_the_end(&mut one));
        }
        seen
    });
}

/// What a client has of its StartupMessage, within its transaction and behind it.
fn startup_values_to_the_end(client: &mut Raw) -> Vec<String> {
    let mut seen = Vec::new();
    for end in ["", "commit"] {
        client.rows(end);
        seen.push(client.value("show timezone"));
        seen.push(client.value("select current_setting('app.tenant')"));
    }
    seen
}

/// What was to make up for the reset is undone by what comes behind it.
#[test]
fn a_reset_gives_the_value_of_the_startup_whatever_fails_behind_it() {
    let resets = "do $$ begin reset timezone; reset app.tenant; end $$";
    let code = "do $$ begin execute 'deal' || 'locate all'; reset app.tenant; end $$";
    let insert = extended("insert into late values (1), (1)");
    // Each up to its ReadyForQuery.
    let programs = [
        vec![query(resets), query(code)],
        vec![[extended("begin"), extended(resets), extended("commit"), insert, sync()].concat()],
        vec![
            query("begin"),
            [extended(resets), extended("savepoint a"), sync()].concat(),
            query("rollback to a"),
        ],
    ];
    both_with(&Setup::servers(1), |target| {
        let late = "create table late (a int unique deferrable initially deferred)";
        target.connect().rows(late);
        let mut seen = Vec::new();
        for program in &programs {
            let mut one = target.connect_with(&[("TimeZone", "Asia/Tokyo"), ("app.tenant", "42")]);
            for message in program {
                one.ask(message);
            }
            seen.extend(startup_values_to_the_end(&mut one));
        }
        seen
    });
}

/// What follows a reset is sent in the client's own segment, which must not fail for it unseen.
#[test]
fn what_makes_up_for_a_reset_takes_no_work_of_its_segment_with_it() {
    let reset = |portal| [bind(portal, "r", &[]), execute(portal, 0)].concat();
    let insert = extended("insert into kept values (1)");
    let code = "do $$ begin execute 'deal' || 'locate all'; reset timezone; end $$";
    both_with(&Setup::servers(1), |target| {
        target.connect().rows("create table kept (a int)");
        let mut one = in_tokyo(target);
        let mut seen = vec![one.ask(&[parse("r", "reset timezone"), sync()].concat())];
        one.send(&[reset("p"), failing(), sync(), reset("p"), insert.clone(), sync()].concat());
        seen.push(line(&one.ready(2)));
        seen.push(one.value("select count(*) from kept"));
        seen.push(one.ask(&[extended(code), insert.clone(), sync()].concat()));
        seen.push(one.value("select count(*) from kept"));
        seen.push(one.value("show timezone"));
        seen.push(one.ask(&query(code)));
        seen.push(one.value("show timezone"));
        without_early_reports(seen)
    });
}

/// PostgreSQL gives a role back that is not the user's any more. pgweir cannot, and says so.
#[test]
fn a_role_that_cannot_be_given_back_fails_the_segment_that_has_reset_it() {
    let stage = Stage::new(&Setup::servers(1));
    let mut admin = stage.database.admin();
    admin.rows(
        "create role lent_for_now; grant lent_for_now to app; create table kept (a int); \
         grant all on kept to public",
    );
    let mut one = stage.weir.target().connect_with(&[("role", "lent_for_now")]);
    assert_eq!(one.value("select current_user"), "lent_for_now");
    admin.rows("revoke lent_for_now from app");
    let reset = extended("do $$ begin reset role; end $$");
    let said = one.ask(&[reset, extended("insert into kept values (1)"), sync()].concat());
    let count = admin.value("select count(*) from kept");
    admin.rows("drop role lent_for_now");
    assert!(said.contains("42501") || count == "1", "{said} and {count} rows");
}

#[test]
fn a_reset_that_an_earlier_segment_has_bound_gives_the_value_of_the_startup() {
    both(|target| {
        let mut seen = Vec::new();
        for (text, portal) in [
            ("reset timezone", "p"),
            ("reset timezone", ""),
            ("do $$ begin reset timezone; end $$", "p"),
            ("do $$ begin reset timezone; end $$", ""),
        ] {
            let mut one = in_tokyo(target);
            one.rows("begin");
            one.ask(&[parse("", text), bind(portal, "", &[]), sync()].concat());
            seen.push(one.ask(&[execute(portal, 0), sync()].concat()));
            seen.push(one.value("show timezone"));
            one.rows("commit");
            seen.push(one.value("show timezone"));
        }
        without_early_reports(seen)
    });
}

#[test]
fn what_is_set_by_the_rights_of_a_role_stays_with_its_client_and_ends_nobody() {
    let stage = Stage::new(&Setup::servers(2));
    stage.database.admin().rows("create role boss superuser; grant boss to app");
    let [mut one, mut other] = [(); 2].map(|()| stage.client());
    let show = "show log_min_duration_statement";
    one.rows("set role boss");
    one.rows("set log_min_duration_statement = 77000");
    one.rows("reset role");
    for _ in 0..2 {
        assert_eq!(other.value(show), "-1");
        assert_eq!(one.value(show), "77s");
    }
    one.rows("reset all");
    wait_until("nobody is pinned", || stage.weir.count("pgweir_clients_pinned", "") == 0);
    // Not even its own client could reset this alone.
    let mut third = stage.client();
    third.rows("begin; set local role boss; set log_min_duration_statement = 88000; commit");
    let mut clients = [(); 2].map(|()| stage.client());
    for client in &mut clients {
        client.rows("begin");
        assert_eq!(client.value(show), "-1");
    }
}

#[test]
fn a_default_that_was_learnt_ends_when_postgresql_reads_its_configuration_again() {
    let stage = Stage::on(Cluster::with_slots(8).database(), &Setup::servers(1));
    let [mut one, mut other] = [(); 2].map(|()| stage.client());
    one.rows("set work_mem = '5MB'");
    assert_eq!(other.value("show work_mem"), "4MB");
    let mut admin = stage.database.admin();
    admin.rows("alter system set work_mem = '16MB'");
    admin.rows("select pg_reload_conf()");
    wait_until("it is read", || other.value("show work_mem") == "16MB");
    one.rows("set work_mem = '4MB'");
    assert_eq!(other.value("show work_mem"), "16MB");
    assert_eq!(one.value("show work_mem"), "4MB");
    one.rows("set work_mem = '16MB'");
    assert_eq!(other.value("show work_mem"), "16MB");
}
