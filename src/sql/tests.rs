//! Tables of texts and what they may do; each text is the name of its case.

use proptest::prelude::*;

use super::{
    Catalogue, Defaults, Effects, Lexer, Options, Token, Whole, classify, is_multibyte_unsafe,
    touched, whole, with_defaults,
};

/// Without the effects that have a table of their own.
fn effects(text: &str) -> Effects {
    all_effects(text).without(Effects::DRAWS | Effects::CLOSE)
}

fn all_effects(text: &str) -> Effects {
    classify(text.as_bytes(), &Options::default())
}

fn check(expected: Effects, texts: &[&str]) {
    for text in texts {
        assert_eq!(effects(text), expected, "{text}");
    }
}

fn shown(text: &str, conforming: bool) -> String {
    let show =
        |token: Token<'_>| format!("{:?} {}", token.kind, String::from_utf8_lossy(token.text));
    Lexer::new(text.as_bytes(), conforming).map(show).collect::<Vec<_>>().join("|")
}

const PURE: &[&str] = &[
    "",
    ";",
    " -- nothing\n",
    "/* nothing */ ;;",
    "SELECT 1",
    "select 1; select 2;",
    "(SELECT 1) UNION (SELECT 2)",
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    "START TRANSACTION",
    "COMMIT",
    "END;",
    "ROLLBACK TO SAVEPOINT s",
    "SAVEPOINT \"s 1\"",
    "RELEASE s",
    "ABORT",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "SET LOCAL work_mem = '1MB'",
    "set local app.tenant to 'x'",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SHOW search_path",
    "NOTIFY ch, 'LISTEN ch'",
    "SELECT pg_notify('ch', 'x')",
    "UPDATE pgbench_accounts SET abalance = abalance + 123 WHERE aid = 4567;",
    "SELECT abalance FROM pgbench_accounts WHERE aid = 4567;",
    "UPDATE pgbench_tellers SET tbalance = tbalance + -99 WHERE tid = 3;",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, -4, CURRENT_TIMESTAMP);",
    "INSERT INTO t(a,b) VALUES($1,$2) ON CONFLICT (a) DO UPDATE SET (b, c) = (EXCLUDED.b, 1) RETURNING (id)",
    "INSERT INTO public.t AS x (a) SELECT * FROM (VALUES (1), (2)) AS v (n) ON CONFLICT ON CONSTRAINT k DO NOTHING",
    "INSERT INTO \"Set\" (\"nextval\") VALUES ('nextval(1)')",
    "INSERT INTO temp (a) VALUES (1)",
    "INSERT INTO t (execute, declare, temp, load) VALUES (1, 2, 3, 4)",
    "SELECT temp, load, listen, discard FROM t",
    "DELETE FROM t USING u WHERE t.id IN (1, 2) AND (t.x = u.x) OR NOT (u.y)",
    "SELECT * FROM a JOIN b USING (id) LEFT JOIN (SELECT 1) AS c ON (true) CROSS JOIN (d CROSS JOIN e)",
    "SELECT a.id FROM a INNER JOIN (b NATURAL JOIN c) ON a.id = b.id WHERE EXISTS (SELECT 1)",
    "SELECT sum(x) FILTER (WHERE x > 0) OVER (PARTITION BY (y) ORDER BY (z)) FROM t GROUP BY (a), (b)",
    "SELECT rank() OVER w FROM t WINDOW w AS (PARTITION BY a ORDER BY b ROWS 1 PRECEDING)",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t",
    "SELECT a FROM t GROUP BY ROLLUP (a), GROUPING SETS ((a), ())",
    "SELECT a FROM t GROUP BY CUBE (a, b)",
    "SELECT ARRAY(SELECT 1), ROW(1, 2), ARRAY[1, 2], x = ANY ($1), y = ALL (ARRAY[1])",
    "SELECT COALESCE(a, b), NULLIF(a, b), GREATEST(1, 2), LEAST(1, 2), CAST(a AS varchar(10))",
    "SELECT EXTRACT(epoch FROM x), SUBSTRING(a FROM 1 FOR 2), TRIM(BOTH 'x' FROM y), POSITION('a' IN b)",
    "SELECT x::numeric(10, 2), y::pg_catalog.varchar(3), z::public.geometry(Point, 4326)",
    "SELECT CAST(x AS character varying(3)), CAST(y AS bit varying(4)), CAST(z AS timestamp(3))",
    "SELECT count(*), max(a), lower(b), now(), date_trunc('day', c), jsonb_build_object('a', 1) FROM t",
    "SELECT pg_catalog.current_setting('work_mem'), \"pg_catalog\".\"lower\"('A'), PG_CATALOG.Upper('a')",
    "SELECT gen_random_uuid(), random(), clock_timestamp(), pg_sleep(1), txid_current()",
    "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)",
    "SELECT pg_backend_pid(), pg_is_in_recovery(), pg_terminate_backend(1)",
    "SELECT lo_create(0), lo_unlink(1)",
    "SELECT left(a, 1), right(a, 1), a LIKE (b), a NOT LIKE (b), a NOT ILIKE (b)",
    "SELECT a AT TIME ZONE ('UTC') FROM t",
    "SELECT 1 FETCH FIRST (1) ROWS ONLY",
    "SELECT CASE WHEN (a) THEN (b) ELSE (c) END, a IS NOT DISTINCT FROM (b), a BETWEEN (1) AND (2)",
    "SELECT DISTINCT ON (a) b FROM t",
    "SELECT (a).b, (f).c, t.nextval FROM t",
    "SELECT * FROM unnest($1::int[]) AS u (x)",
    "SELECT * FROM unnest($1::int[]) u(x), generate_series(1, 2) WITH ORDINALITY AS g(a, b)",
    "SELECT * FROM t my_alias (a, b)",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r(a, b)",
    "SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)",
    "SELECT * FROM json_to_record('{}') AS x(a int, b varchar(3))",
    "WITH x (a, b) AS (SELECT 1, 2) SELECT * FROM x",
    "WITH RECURSIVE tree(id) AS (SELECT 1 UNION ALL SELECT id FROM tree) SELECT * FROM tree",
    "WITH x AS MATERIALIZED (SELECT 1), y AS NOT MATERIALIZED (SELECT 2) SELECT 1",
    "MERGE INTO t USING (SELECT 1) s ON (t.a = s.a) WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
    "COPY t FROM STDIN (FORMAT binary)",
    "COPY t (a, b) FROM STDIN WITH (FORMAT csv)",
    "COPY (SELECT count(*) FROM t) TO STDOUT (FORMAT binary)",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM t",
    "EXPLAIN ANALYZE (SELECT 1)",
    "FETCH 10 FROM c",
    "MOVE c",
    "CLOSE c",
    "CLOSE ALL",
    "LOCK TABLE t IN SHARE MODE",
    "TRUNCATE t",
    "VACUUM (ANALYZE) t",
    "GRANT SELECT (a) ON t TO r",
    "COMMENT ON TABLE t IS 'temp'",
    "VALUES (1), (2)",
    "TABLE t",
    "SELECT 'SET x = 1; DISCARD ALL', $$LISTEN x; set_config('a')$$, $q$nextval($q$, \"set_config\" FROM t",
    "SELECT 1 /* nextval('s') /* SET x */ set_config( */ -- LISTEN x\n",
    "SELECT 'it''s; LISTEN x', E'it\\'s; LISTEN x', 'a\\'",
    "SELECT $a$ $b$ LISTEN x; $b$ $a$",
    "SELECT '/*', nextval, '*/'",
    "SELECT U&'\\0061' UESCAPE '!' IS NULL WHERE false",
    "SELECT n.nspname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid)",
    "SELECT \"django_session\".\"session_key\" FROM \"django_session\" WHERE (\"django_session\".\"expire_date\" > '2024-01-01 00:00:00+00:00'::timestamptz AND \"django_session\".\"session_key\" = 'abc') LIMIT 21",
    "INSERT INTO \"users\" (\"email\", \"created_at\") VALUES ($1, $2) RETURNING \"id\"",
    "SELECT t.oid, t.typname, ROW_NUMBER() OVER (ORDER BY t.oid) FROM pg_type AS t WHERE t.typname IN ('int2', 'int4')",
    "select \"public\".\"User\".\"id\" from \"public\".\"User\" where (\"public\".\"User\".\"id\" = $1 and 1=1) limit $2 offset $3",
];

#[test]
fn settings_of_the_transaction_that_change_texts_are_seen() {
    check(
        Effects::LOCAL_NAMING,
        &[
            "set local role app",
            "set local \"search_path\" = a",
            "set local schema 'a'",
            "set local session authorization a",
        ],
    );
    check(
        Effects::LOCAL_SETTING,
        &["SET LOCAL array_nulls TO off", "set local xml option content"],
    );
    check(Effects::LOCAL_TOLD, &["SET LOCAL TimeZone TO 'UTC'", "set local time zone 'UTC'"]);
    check(
        Effects::LOCAL_TOLD | Effects::LOCAL_LEXING,
        &["set local names 'UTF8'", "SET LOCAL Client_Encoding = 'UTF8'"],
    );
    check(
        Effects::TEMP_OBJECT | Effects::LOCAL_NAMING,
        &["SET LOCAL search_path = pg_temp, public", "SET LOCAL search_path TO 'pg_temp'"],
    );
}

#[test]
fn ordinary_statements_are_pure() {
    for text in PURE {
        let expected = if text.contains("U&'") { Effects::NOW_LITERAL } else { Effects::PURE };
        assert_eq!(effects(text), expected, "{text}");
    }
}

const SETTING: &[&str] = &[
    "SET work_mem = '1MB'",
    "set work_mem to 4",
    "SET SESSION work_mem = 4",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET ROLE app",
    "SET ROLE NONE",
    "SET SESSION AUTHORIZATION app",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET TIME ZONE 'UTC'",
    "SET TIME ZONE -8",
    "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
    "SET TIME ZONE LOCAL",
    "SET NAMES 'LATIN1'",
    "SET SCHEMA 'app'",
    "SET SEED TO 0.5",
    "SET XML OPTION DOCUMENT",
    "SET app.tenant = '7'",
    "SET local.x = 1",
    "SET transaction.x TO 1",
    "SET constraints.x = 1",
    "SET local TO 1",
    "SET \"local\" = 1",
    "SET",
    "RESET work_mem",
    "RESET ALL",
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('work_mem', '1MB', false)",
    "SELECT pg_catalog.Set_Config ('a.b', $1, $2)",
    "SELECT \"set_config\"('a.b', 'c', true)",
    "SELECT set_config /* a */ -- b\n ('a.b', 'c', false)",
    "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
    "BEGIN; SET x = 1; COMMIT",
    "COPY (SELECT set_config('a.b', 'c', false)) TO STDOUT",
    "EXPLAIN ANALYZE SELECT set_config('a.b', 'c', false)",
    "WITH x AS (SELECT set_config('a.b', 'c', false)) SELECT * FROM x",
    "INSERT INTO t SELECT set_config('a.b', 'c', false)",
    "UPDATE t SET a = set_config('a.b', 'c', false)",
    "SELECT 1;/**/SET x = 1",
    "SELECT $$a$$; SET x = 1",
    "SELECT 'a\\'; SET x = 1; --'",
    ";; SET x = 1",
];

#[test]
fn settings_of_the_session_are_seen() {
    check(Effects::SETTING, SETTING);
}

#[test]
fn listening_is_seen() {
    check(Effects::LISTEN, &["LISTEN ch", "listen \"Ch\";"]);
    check(Effects::UNLISTEN, &["UNLISTEN ch", "UNLISTEN *"]);
}

#[test]
fn what_may_draw_a_number_or_close_a_cursor_is_seen() {
    for text in ["insert into t values (1)", "with x as (insert into t default values) select 1"] {
        assert!(all_effects(text).contains(Effects::DRAWS), "{text}");
    }
    for text in ["copy (select a from t) to stdout", "copy t to stdout", "copy (table t) to stdout"]
    {
        assert!(!all_effects(text).contains(Effects::DRAWS), "{text}");
    }
    for text in [
        "copy (insert into t values (1) returning a) to stdout",
        "copy t (a) from stdin",
        "copy t from stdin",
        "explain analyze insert into t values (1)",
        "merge into t",
    ] {
        assert!(all_effects(text).contains(Effects::DRAWS), "{text}");
    }
    for text in ["select 1", "begin", "/*x*/ begin", "update t set a = 1", "savepoint s"] {
        assert!(!all_effects(text).contains(Effects::DRAWS), "{text}");
    }
    assert!(all_effects("close all").contains(Effects::CLOSE));
}

#[test]
fn cursors_are_seen() {
    check(
        Effects::CURSOR,
        &[
            "DECLARE c CURSOR FOR SELECT 1",
            "DECLARE c BINARY SCROLL CURSOR WITH HOLD FOR SELECT 1",
            "begin; declare c cursor with hold for select 1; commit",
            "EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT 1",
        ],
    );
}

#[test]
fn temporary_objects_are_seen() {
    check(
        Effects::TEMP_OBJECT | Effects::DDL,
        &[
            "CREATE TEMP TABLE t (a int)",
            "CREATE TEMPORARY TABLE t (a varchar(10), b numeric(10, 2), PRIMARY KEY (a))",
            "create local temp table t as select 1",
            "CREATE GLOBAL TEMPORARY TABLE t (a int) ON COMMIT DROP",
            "CREATE TEMP TABLE IF NOT EXISTS t (a int)",
            "CREATE OR REPLACE TEMP VIEW v (a) AS SELECT 1",
            "CREATE TEMP SEQUENCE s",
            "CREATE TABLE pg_temp.t (a int)",
            "CREATE TABLE \"pg_temp\".t (a int)",
            "CREATE TABLE PG_TEMP_3.t (a int)",
            "CREATE TYPE pg_temp.e AS ENUM ('a')",
            "CREATE DOMAIN pg_temp.d AS int",
            "DROP TABLE pg_temp.t",
        ],
    );
    check(
        Effects::TEMP_OBJECT,
        &[
            "SELECT 1 INTO TEMP t",
            "SELECT 1 AS a INTO TEMPORARY TABLE t",
            "SELECT * INTO LOCAL TEMP t FROM u",
            "WITH x AS (SELECT 1) SELECT * INTO TEMP t FROM x",
            "SELECT 1 FROM pg_temp.t",
            "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
        ],
    );
    check(Effects::TEMP_OBJECT | Effects::SETTING, &["SET search_path = 'pg_temp'"]);
    check(
        Effects::TEMP_OBJECT | Effects::DDL,
        &["CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql RETURN g(1)"],
    );
}

#[test]
fn advisory_locks_of_the_session_are_seen() {
    check(
        Effects::ADVISORY_LOCK,
        &[
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_try_advisory_lock(1, 2)",
            "SELECT pg_advisory_lock_shared(1)",
            "SELECT pg_try_advisory_lock_shared(1)",
            "SELECT pg_advisory_unlock(1)",
            "SELECT pg_advisory_unlock_shared(1)",
            "SELECT pg_advisory_unlock_all()",
            "SELECT pg_advisory_lock(1), pg_advisory_xact_lock(2)",
        ],
    );
    check(
        Effects::ADVISORY_LOCK | Effects::UNLISTEN | Effects::SETTING,
        &["SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"],
    );
}

#[test]
fn an_update_of_the_view_of_settings_sets_them() {
    check(
        Effects::SETTING,
        &[
            "UPDATE pg_settings SET setting = '1'",
            "update Pg_Catalog.PG_SETTINGS s set setting = 1",
        ],
    );
    check(Effects::PURE, &["SELECT setting FROM pg_settings", "UPDATE pg_setting SET a = 1"]);
}

#[test]
fn sequences_are_seen() {
    check(
        Effects::SEQUENCE,
        &["SELECT nextval('s')", "SELECT setval('s', 1)", "INSERT INTO t VALUES (NEXTVAL ('s'))"],
    );
    check(
        Effects::READS_SEQUENCE,
        &["SELECT currval('s')", "SELECT lastval()", "SELECT pg_catalog.lastval()"],
    );
}

#[test]
fn code_that_the_text_does_not_show_is_suspected() {
    check(
        Effects::ROUTINE,
        &[
            "CALL p(1)",
            "CALL app.p()",
            "DO $$BEGIN PERFORM 1; END$$",
            "DO LANGUAGE plpgsql 'BEGIN END'",
            "DO LANGUAGE plperl 'x'",
            "DO 'x' LANGUAGE plperl",
        ],
    );
    check(Effects::EXECUTE, &["EXECUTE p", "EXECUTE p (1, 'a')", "EXPLAIN ANALYZE EXECUTE p(1)"]);
    check(Effects::EXECUTE | Effects::DDL, &["CREATE TABLE t AS EXECUTE p"]);
}

#[test]
fn code_is_read_in_the_language_that_is_known_alone() {
    let nothing = Catalogue::default();
    let options = Options { catalogue: Some(&nothing), ..Options::default() };
    let effects = |text: &str| classify(text.as_bytes(), &options);
    for text in
        ["DO $$begin end$$", "DO LANGUAGE plpgsql 'begin end'", "do 'begin end' language PLpgSQL"]
    {
        assert!(!effects(text).contains(Effects::ROUTINE), "{text}");
    }
    for text in
        ["DO LANGUAGE plperl 'x'", "DO 'x' LANGUAGE plperl", "do language 'plpython3u' $$x$$"]
    {
        assert!(effects(text).contains(Effects::ROUTINE), "{text}");
    }
}

#[test]
fn functions_that_run_a_text_are_code_that_does() {
    check(
        Effects::EXECUTE | Effects::DYNAMIC,
        &[
            "SELECT query_to_xml('select 1', true, true, '')",
            "SELECT pg_catalog.ts_stat('select 1')",
            "SELECT * FROM crosstab('select 1, 2, 3') AS x (a int, b int)",
        ],
    );
}

#[test]
fn functions_that_are_not_known_are_suspected() {
    check(
        Effects::FUNCTION,
        &[
            "SELECT f()",
            "SELECT app.lower('x')",
            "SELECT public.now()",
            "SELECT db.app.f()",
            "SELECT \"Lower\"('x')",
            "SELECT \"f\"\"g\"(1)",
            "SELECT setseed(0.1)",
            "SELECT * FROM f(1)",
            "SELECT * FROM t, LATERAL f(t.a)",
            "SELECT * FROM ROWS FROM (f(1))",
            "SELECT DISTINCT f(1)",
            "SELECT DISTINCT ON (a) f(1) FROM t",
            "UPDATE t SET a = 1 RETURNING WITH (OLD AS o) f(o.a)",
            "SELECT 1 OPERATOR(pg_catalog.+) f(1)",
            "SELECT a FROM t WHERE f(a) AND NOT g(a)",
            "SELECT a FROM t ORDER BY f(a)",
            "SELECT a FROM t ORDER BY cube(a)",
            "SELECT a AT TIME ZONE f(a) FROM t",
            "SELECT a FROM t JOIN u ON f(a)",
            "SELECT a FROM t JOIN u ON conflict(a)",
            "SELECT -f(1)",
            "SELECT 1 +f(1)",
            "SELECT ARRAY[f(1)]",
            "SELECT a LIKE b ESCAPE f(1)",
            "SELECT CASE WHEN a THEN insert(1) END",
            "SELECT join(1)",
            "SELECT over(1)",
            "SELECT count(a := f(1))",
            "SELECT a FROM t LIMIT f(1)",
            "UPDATE t SET a = f(1)",
            "DELETE FROM t USING f(1)",
            "INSERT INTO t VALUES (f(1)) RETURNING g(1)",
            "SELECT xmlparse(CONTENT f(1))",
            "SELECT pg_replication_origin_session_reset()",
        ],
    );
    check(
        Effects::FUNCTION | Effects::DDL,
        &["CREATE TABLE t AS SELECT f(1)", "ALTER TABLE t ADD a int DEFAULT f(1)"],
    );
    let long = format!("SELECT {}(1)", "f".repeat(200));
    check(Effects::FUNCTION, &[long.as_str()]);
}

#[test]
fn prepared_statements_of_sql_are_seen() {
    check(
        Effects::SQL_PREPARE,
        &[
            "PREPARE p AS SELECT 1",
            "PREPARE p (int, varchar(3)) AS SELECT $1",
            "PREPARE transaction AS SELECT 1",
            "PREPARE transaction (int) AS SELECT $1",
            "PREPARE \"transaction\" AS SELECT 1",
        ],
    );
    check(Effects::SQL_PREPARE | Effects::FUNCTION, &["PREPARE p AS SELECT f(1)"]);
    check(
        Effects::DEALLOCATE,
        &["DEALLOCATE p", "deallocate prepare \"all\"", "DEALLOCATE PREPARE", "DEALLOCATE \"p\""],
    );
    check(
        Effects::DEALLOCATE_ALL,
        &["DEALLOCATE ALL", "deallocate prepare all;", "SELECT 1; DEALLOCATE ALL"],
    );
    check(Effects::DISCARD_ALL, &["DISCARD ALL", "discard/**/all", "DISCARD ALL; SELECT 1"]);
    check(Effects::DISCARD_TEMP, &["DISCARD TEMP", "DISCARD TEMPORARY"]);
    check(Effects::DISCARD_PLANS, &["DISCARD PLANS"]);
    check(Effects::DISCARD_SEQUENCES, &["DISCARD SEQUENCES"]);
}

#[test]
fn what_only_closing_the_server_removes_is_seen() {
    check(Effects::LOAD, &["LOAD 'auto_explain'"]);
    check(
        Effects::RETIRE_FUNCTION,
        &[
            "SELECT pg_create_logical_replication_slot('s', 'test_decoding', true)",
            "SELECT pg_create_physical_replication_slot('s', temporary => true)",
            "SELECT pg_copy_logical_replication_slot('a', 'b', true)",
            "SELECT pg_backup_start('x')",
            "SELECT pg_start_backup('x', false, false)",
            "SELECT pg_replication_origin_session_setup('o')",
            "SELECT dblink_connect('c', '')",
            "SELECT * FROM public.dblink('c', 'select 1') AS t(a int)",
        ],
    );
    let retire = [Box::from(b"pgv_set".as_slice())];
    let options = Options { retire_functions: &retire, ..Options::default() };
    let text = b"SELECT app.PGV_Set('a', 'b', 1)";
    assert_eq!(classify(text, &options), Effects::RETIRE_FUNCTION);
}

#[test]
fn definitions_are_told_apart_from_calls() {
    check(
        Effects::DDL,
        &[
            "CREATE TABLE t (a varchar(10), b numeric(10, 2), PRIMARY KEY (a), CHECK (a > b))",
            "CREATE TABLE IF NOT EXISTS s.t (a vector(3), b int REFERENCES u (x))",
            "CREATE INDEX ON t (a)",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON ONLY s.t USING btree (a, lower(b))",
            "CREATE INDEX i ON t USING gin (a) WHERE (b > 1)",
            "CREATE VIEW v (a, b) AS SELECT 1, 2",
            "CREATE TYPE c AS (a int)",
            "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS $$SELECT set_config('a','b',true); SELECT 1$$",
            "ALTER TABLE t ADD COLUMN temp int",
            "ALTER ROLE r SET work_mem = '1MB'",
            "DROP FUNCTION f(int)",
            "DROP TABLE t",
        ],
    );
}

#[test]
fn texts_that_cannot_be_read_are_unknown() {
    check(
        Effects::UNREADABLE,
        &["SELECT 'a", "SELECT \"a", "SELECT $$a", "SELECT /* a /* b */", "SELECT E'a\\'"],
    );
    check(
        Effects::UNKNOWN,
        &[
            "FROBNICATE x",
            "\"SELECT\" 1",
            "1",
            "SELECT \\",
            "SELECT U&\"\\0061\"",
            "DISCARD x",
            "{",
        ],
    );
    let unsafe_encoding = Options { multibyte_unsafe: true, ..Options::default() };
    assert_eq!(classify(b"SELECT 1", &unsafe_encoding), Effects::UNREADABLE);
    let truncated = Options { truncated: true, ..Options::default() };
    assert_eq!(classify(b"SELECT 1", &truncated), Effects::UNREADABLE);
}

#[test]
fn the_text_ends_at_its_first_nul() {
    check(Effects::PURE, &["SELECT 1\0", "SELECT 1\0; SET x = 1"]);
}

#[test]
fn backslashes_count_when_strings_are_not_conforming() {
    let options = Options { standard_conforming_strings: false, ..Options::default() };
    assert_eq!(classify(b"SELECT 'a\\'; SET x = 1; --'", &options), Effects::PURE);
    assert_eq!(classify(b"SELECT 'a\\\\'; SET x = 1", &options), Effects::SETTING);
    assert_eq!(classify(b"SELECT B'1\\'; SET x = 1", &options), Effects::SETTING);
    assert_eq!(classify(b"SELECT U&'a'", &options), Effects::UNREADABLE);
}

#[test]
fn strings_that_move_with_time_are_seen() {
    check(
        Effects::NOW_LITERAL,
        &[
            "SELECT 'now'::timestamptz",
            "SELECT date 'today'",
            "SELECT ' NOW '",
            "SELECT 'Tomorrow 04:05'",
            "SELECT $$yesterday$$",
            "SELECT '{now,2020-01-01}'::date[]",
            "SELECT 'do it now!'",
            "SELECT E'\\tnow'",
            "SELECT E'n\\x6fw'",
            "SELECT U&'n\\006fw'",
            "SELECT 'no'\n'w'",
        ],
    );
    check(
        Effects::PURE,
        &[
            "SELECT now()",
            "SELECT 'nowhere', 'snow', 'knowtoday'",
            "SELECT \"now\", today FROM t",
            "SELECT E'a\\nb''c'",
            "SELECT 'a''b''c'",
            "SELECT 1 -- 'now'\n",
        ],
    );
}

#[test]
fn each_effect_has_a_name() {
    let all = effects("SET x = 1; LISTEN x; SELECT f()");
    assert_eq!(all.reasons().collect::<Vec<_>>(), ["setting", "listen", "function"]);
    assert_eq!(format!("{all:?}"), r#"{"setting", "listen", "function"}"#);
    assert!(all.intersects(Effects::RESET_CLEAN) && !all.intersects(Effects::RETIRE));
    assert!(effects("SELECT 'now'").is_pure() && !all.is_pure());
}

#[test]
fn whole_commands_are_recognised() {
    let cases: &[(&str, Option<Whole<'_>>)] = &[
        ("DEALLOCATE ALL", Some(Whole::DeallocateAll)),
        (" ;/* a */deallocate prepare all; -- b\n;", Some(Whole::DeallocateAll)),
        ("DISCARD ALL\0", Some(Whole::DiscardAll)),
        ("DEALLOCATE p", Some(Whole::Deallocate(b"p".as_slice().into()))),
        ("DEALLOCATE PREPARE P_1;", Some(Whole::Deallocate(b"p_1".as_slice().into()))),
        ("DEALLOCATE PREPARE", Some(Whole::Deallocate(b"PREPARE".to_ascii_lowercase().into()))),
        ("DEALLOCATE \"_pg3_1\"", Some(Whole::Deallocate(b"_pg3_1".as_slice().into()))),
        ("DEALLOCATE \"A\"\"b\"", Some(Whole::Deallocate(b"A\"b".as_slice().into()))),
        ("DEALLOCATE \"all\"", Some(Whole::Deallocate(b"all".as_slice().into()))),
        ("DEALLOCATE coalesce", Some(Whole::Deallocate(b"coalesce".as_slice().into()))),
        ("DEALLOCATE select", None),
        ("DEALLOCATE left", None),
        ("DEALLOCATE \"\"", None),
        ("DEALLOCATE", None),
        ("DEALLOCATE p q", None),
        ("DEALLOCATE p; SELECT 1", None),
        ("SELECT 1; DEALLOCATE ALL", None),
        ("DISCARD PLANS", None),
        ("DISCARD \"all\"", None),
        ("DISCARD ALL 'x", None),
        ("begin", Some(Whole::Begin)),
        ("/* from here */ BEGIN WORK;", Some(Whole::Begin)),
        (";Begin Transaction;;\0", Some(Whole::Begin)),
        ("START TRANSACTION", Some(Whole::StartTransaction)),
        ("END", Some(Whole::Commit)),
        ("commit work", Some(Whole::Commit)),
        ("COMMIT TRANSACTION;", Some(Whole::Commit)),
        ("rollback", Some(Whole::Rollback)),
        ("ABORT WORK", Some(Whole::Rollback)),
        ("START", None),
        ("START TRANSACTION READ ONLY", None),
        ("START WORK", None),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", None),
        ("BEGIN WORK TRANSACTION", None),
        ("BEGIN; SELECT 1", None),
        ("BEGIN; COMMIT", None),
        ("BEGIN 'x", None),
        ("\"begin\"", None),
        ("COMMIT AND CHAIN", None),
        ("COMMIT PREPARED 'x'", None),
        ("ROLLBACK TO SAVEPOINT s", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(whole(text.as_bytes(), &Options::default()), *expected, "{text}");
    }
}

#[test]
fn names_are_cut_where_postgres_cuts_them() {
    let text = format!("DEALLOCATE {}é{}", "a".repeat(62), "b".repeat(9));
    let expected = "a".repeat(62);
    let found = whole(text.as_bytes(), &Options::default());
    assert_eq!(found, Some(Whole::Deallocate(expected.as_bytes().into())));
}

#[test]
fn encodings_are_compared_as_postgres_does() {
    for name in ["SJIS", "big5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004", "Shift-JIS"] {
        assert!(is_multibyte_unsafe(name.as_bytes()), "{name}");
    }
    for name in ["UTF8", "LATIN1", "EUC_JP", "SQL_ASCII", "", "MULE_INTERNAL"] {
        assert!(!is_multibyte_unsafe(name.as_bytes()), "{name}");
    }
}

/// Text, `standard_conforming_strings`, tokens.
const TOKENS: &[(&str, bool, &str)] = &[
    ("a.b", true, "Word a|Dot .|Word b"),
    ("é$1", true, "Word é$1"),
    ("$1a", true, "Parameter $1|Word a"),
    ("1$a$x$a$", true, "Number 1|DollarText $a$x$a$"),
    ("a$$b", true, "Word a$$b"),
    ("$a$$b$a$a$", true, "DollarText $a$$b$a$|Word a$"),
    ("$a b", true, "Other $|Word a|Word b"),
    ("$1$a$", true, "Parameter $1|Unterminated $a$"),
    ("1..2", true, "Number 1|Dot .|Number .2"),
    ("1.5e-3e", true, "Number 1.5e-3|Word e"),
    ("1e'\\''", true, "Number 1|EscapeText e'\\''"),
    ("a--b\nc", true, "Word a|Word c"),
    ("a+--b", true, "Word a|Operator +"),
    ("*/*x*/-", true, "Operator *|Operator -"),
    ("x=-3", true, "Word x|Operator =|Operator -|Number 3"),
    ("+-+1", true, "Operator +|Operator -|Operator +|Number 1"),
    ("a=+*-+-- 1", true, "Word a|Operator =+*|Operator -|Operator +"),
    (
        "a@-1 #>>-'b' ?-c",
        true,
        "Word a|Operator @-|Number 1|Operator #>>-|Text 'b'|Operator ?-|Word c",
    ),
    ("a->-1", true, "Word a|Operator ->|Operator -|Number 1"),
    ("/*/*/**/*/*/a", true, "Word a"),
    ("a::b:=c", true, "Word a|Cast ::|Word b|Colon :=|Word c"),
    ("'a''b'", true, "Text 'a''b'"),
    ("'a\\'", true, "Text 'a\\'"),
    ("'a\\'b'", false, "EscapeText 'a\\'b'"),
    ("'a' 'b'", true, "Text 'a'|Text 'b'"),
    ("'a' \n 'b'", true, "Text 'a' \n 'b'"),
    ("'a' --x\n --y\n'b'", true, "Text 'a' --x\n --y\n'b'"),
    ("'a'\n/**/'b'", true, "Text 'a'|Text 'b'"),
    ("E'a'\n'b\\'c'", true, "EscapeText E'a'\n'b\\'c'"),
    ("ae'b'", true, "Word ae|Text 'b'"),
    ("B'0''1'", true, "Bits B'0'|Text '1'"),
    ("N'a'", true, "Word N|Text 'a'"),
    ("u&'a'u&\"b\"", true, "UnicodeText u&'a'|UnicodeIdentifier u&\"b\""),
    ("u & 'a'", true, "Word u|Operator &|Text 'a'"),
    ("\"a\"\"b\"\"", true, "Unterminated \"a\"\"b\"\""),
    ("\"a\nb\"", true, "QuotedIdentifier \"a\nb\""),
];

#[test]
fn tokens_are_cut_as_postgres_does() {
    for (text, conforming, expected) in TOKENS {
        assert_eq!(shown(text, *conforming), *expected, "{text}");
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    let seeds = [
        "$a",
        "$a$ $b",
        "'",
        "/*",
        "--\n",
        "+",
        "E'\\",
        "'a'\n",
        "(",
        "a.",
        "\"",
        "u&'",
        "create ",
        "set ",
        "prepare ",
        ";",
        "'a' --\n",
        "$a$a",
        "discard;",
        "f(",
        "''",
        "deallocate ",
        "*/",
        "copy;",
        "call;",
        "begin set ",
        "do $$",
    ];
    let catalogue = Catalogue::default();
    let options = Options { catalogue: Some(&catalogue), ..Options::default() };
    for seed in seeds {
        let text = seed.repeat(1 << 18);
        let _ = classify(text.as_bytes(), &options);
        let _ = touched(text.as_bytes(), &options);
        let _ = whole(text.as_bytes(), &Options::default());
    }
}

/// Code that runs texts is read again for each that it may run.
#[test]
fn code_within_code_is_read_so_many_times_at_most() {
    let inner = "execute($c$x$c$ ".repeat(40);
    let middle = format!("execute($b$ {inner} $b$ ").repeat(400);
    let text = format!("do $a$ {} $a$", middle.repeat(3));
    let found = touched(text.as_bytes(), &Options::default());
    assert!(found.any, "it is not read to its end");
}

#[test]
fn a_text_does_not_grow_without_end_by_what_its_defaults_mean() {
    let value = vec![b'x'; 9_900];
    let defaults = Defaults { values: vec![("a.b", &value)], several: true };
    for (text, count) in [("reset all;", 5_000), ("set a.b to default;", 3_000)] {
        let text = text.repeat(count);
        let made = with_defaults(text.as_bytes(), &Options::default(), &defaults).unwrap();
        assert!(made.gave_up);
        assert_eq!(made.text, text.as_bytes());
    }
    let few = "reset all;".repeat(100);
    let made = with_defaults(few.as_bytes(), &Options::default(), &defaults).unwrap();
    assert!(!made.gave_up && made.text.len() > 990_000, "{}", made.text.len());
}

const BLANKS: [&str; 8] = [
    " ",
    "\n",
    "\t\r\n ",
    " -- nextval('s') \n",
    " /* set_config( /* ' */ ; SET x */ ",
    " /**/",
    " --'\n ",
    " /* $$ \" */",
];

/// The tokens of a text with other blanks between them.
fn respaced(text: &str, choices: &[usize]) -> Vec<u8> {
    let mut spaced = Vec::new();
    let mut choices = choices.iter().cycle();
    for token in Lexer::new(text.as_bytes(), true) {
        spaced.extend_from_slice(token.text);
        let choice = choices.next().copied().unwrap_or_default();
        spaced.extend_from_slice(BLANKS[choice % BLANKS.len()].as_bytes());
    }
    spaced
}

proptest! {
    #[test]
    fn blanks_and_comments_change_nothing(
        index in 0..PURE.len() + SETTING.len(),
        choices in proptest::collection::vec(0..BLANKS.len(), 1..40),
    ) {
        let text = PURE.iter().chain(SETTING).nth(index).copied().unwrap_or_default();
        let spaced = respaced(text, &choices);
        prop_assert_eq!(
            classify(&spaced, &Options::default()),
            all_effects(text),
            "{}", String::from_utf8_lossy(&spaced)
        );
    }

    #[test]
    fn a_statement_inside_a_literal_is_not_read(
        index in 0..SETTING.len(),
        tag in "[a-z]{0,3}",
    ) {
        let inner = SETTING[index];
        let quoted = inner.replace('\'', "''");
        for text in [
            format!("SELECT '{quoted}'"),
            format!("SELECT ${tag}${inner}${tag}$"),
            format!("SELECT E'{}'", quoted.replace('\\', "\\\\")),
            format!("SELECT \"{}\"", inner.replace('"', "\"\"")),
            format!("SELECT 1 /*{}*/", inner.replace("/*", "").replace("*/", "")),
        ] {
            let found = effects(&text);
            // The tag may close the quote early where the text holds the same one.
            if !text.contains("$$a$$") {
                prop_assert!(found.is_pure(), "{text}: {found:?}");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(
        text in proptest::collection::vec(
            prop_oneof![
                any::<u8>(),
                proptest::sample::select(b"'\"$\\/*-eEuU&;(). \nab1:".to_vec()),
            ],
            0..200,
        ),
        conforming in any::<bool>(),
    ) {
        let options = Options { standard_conforming_strings: conforming, ..Options::default() };
        let _ = classify(&text, &options);
        let _ = whole(&text, &options);
        let covered: usize = Lexer::new(&text, conforming).map(|token| token.text.len()).sum();
        prop_assert!(covered <= text.len());
        prop_assert!(Lexer::new(&text, conforming).all(|token| !token.text.is_empty()));
    }
}
