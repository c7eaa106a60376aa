"""psycopg 3 in its usual ways. Prints one line a step; the lines must not depend on the server."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import errors


def say(step, value):
    print(f"{step}: {value}", flush=True)


def connect(**options):
    return psycopg.connect("", connect_timeout=20, **options)


def transactions():
    with connect() as conn:
        conn.execute("create table account (id int primary key, sum int)")
        conn.execute("insert into account values (1, 100), (2, 100)")
        conn.commit()
        conn.execute("update account set sum = 0")
        conn.rollback()
        with conn.transaction():
            conn.execute("update account set sum = sum - 10 where id = 1")
            try:
                with conn.transaction():
                    conn.execute("update account set sum = 1 / 0")
            except errors.DivisionByZero as error:
                say("savepoint", error.sqlstate)
        say("sums", conn.execute("select id, sum from account order by id").fetchall())


def errors_and_recovery():
    with connect() as conn:
        for sql in ["insert into account values (1, 1)", "select nothing", "selec"]:
            try:
                conn.execute(sql)
            except psycopg.Error as error:
                say("error", (error.sqlstate, error.diag.message_primary))
            try:
                conn.execute("select 1")
            except errors.InFailedSqlTransaction as error:
                say("in failed transaction", error.sqlstate)
            conn.rollback()
        say("alive", conn.execute("select 1").fetchone())


def prepared():
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        for number in range(12):
            for each in (conn, other):
                row = each.execute("select %s::int * 2", (number,), prepare=True).fetchone()
                assert row == (number * 2,), row
        # psycopg sends DEALLOCATE ALL after such a statement.
        conn.execute("create table later (a int)")
        conn.execute("drop table later")
        say("after deallocate", conn.execute("select %s::int", (7,), prepare=True).fetchone())
        say("other", other.execute("select %s::int * 2", (7,), prepare=True).fetchone())
        conn.prepare_threshold = 1
        for number in range(150):
            assert conn.execute(f"select {number} + %s", (1,)).fetchone() == (number + 1,)
        say("evicting", "done")


def copies():
    with connect() as conn:
        conn.execute("create table bulk (a int, b text)")
        with conn.cursor().copy("copy bulk from stdin") as copy:
            for number in range(20000):
                copy.write_row((number, f"row {number}\t\\"))
        with conn.cursor().copy("copy bulk to stdout (format binary)") as copy:
            size = sum(len(block) for block in copy)
        say("binary copy", size)
        try:
            with conn.cursor().copy("copy bulk from stdin") as copy:
                copy.write("oops\n")
        except psycopg.Error as error:
            say("bad copy", error.sqlstate)
        conn.rollback()
        say("rows", conn.execute("select to_regclass('bulk')").fetchone())


def large_results():
    with connect() as conn:
        rows = conn.execute("select g, repeat('x', 100) from generate_series(1, 100000) g")
        say("rows", sum(row[0] for row in rows))
        say("wide", len(conn.execute("select repeat('x', 20000000)").fetchone()[0]))
        with conn.cursor(name="named") as cursor:
            cursor.itersize = 100
            cursor.execute("select generate_series(1, 1000)")
            say("named cursor", sum(row[0] for row in cursor))


def pipelines():
    with connect(autocommit=True) as conn, conn.pipeline():
        cursors = [conn.execute("select %s::int", (number,)) for number in range(200)]
        say("pipeline", sum(cursor.fetchone()[0] for cursor in cursors))


def cancels():
    with connect(autocommit=True) as conn:
        timer = threading.Timer(1.0, conn.cancel_safe)
        timer.start()
        try:
            conn.execute("select pg_sleep(30)")
        except errors.QueryCanceled as error:
            say("cancelled", error.sqlstate)
        timer.join()
        say("alive", conn.execute("select 1").fetchone())


def settings():
    with connect(autocommit=True, options="-c statement_timeout=200") as conn:
        try:
            conn.execute("select pg_sleep(30)")
        except errors.QueryCanceled as error:
            say("statement timeout", error.sqlstate)
        conn.execute("set timezone to 'Asia/Tokyo'")
        say("timezone", (conn.info.timezone.key, conn.execute("show timezone").fetchone()))


def notifications():
    with connect(autocommit=True) as one, connect(autocommit=True) as two:
        one.execute("listen jobs")
        two.execute("select pg_notify('jobs', 'first')")
        say("idle", [(n.channel, n.payload) for n in one.notifies(timeout=10, stop_after=1)])
        with one.transaction():
            one.execute("select 1")
            two.execute("notify jobs, 'second'")
        say("after a transaction", [n.payload for n in one.notifies(timeout=10, stop_after=1)])
        heard = []
        one.add_notify_handler(lambda n: heard.append((n.payload, n.pid == one.info.backend_pid)))
        one.execute("notify jobs, 'own'")
        say("own", heard)
        one.execute("unlisten *")
        two.execute("notify jobs, 'late'")
        say("late", [n.payload for n in one.notifies(timeout=0.3)])


def crowd():
    """Eight clients at once, more than there are servers behind a proxy."""
    with connect() as conn:
        conn.execute("create table crowd (who int, round int, primary key (who, round))")
    everybody = threading.Barrier(8)

    def work(who):
        with connect() as conn:
            everybody.wait()
            for number in range(25):
                with conn.transaction():
                    conn.execute("insert into crowd values (%s, %s)", (who, number), prepare=True)
                try:
                    conn.execute("insert into crowd values (%s, %s)", (who, number), prepare=True)
                except errors.UniqueViolation:
                    conn.rollback()
                with conn.cursor().copy("copy (select round from crowd where who = %s) to stdout", (who,)) as copy:
                    assert len(list(copy.rows())) == number + 1
                mine = conn.execute("select max(round) from crowd where who = %s", (who,), prepare=True).fetchone()
                assert mine == (number,), mine
                conn.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with connect() as conn:
        say("crowd", conn.execute("select count(*), count(distinct who) from crowd").fetchone())


for part in (transactions, errors_and_recovery, prepared, copies, large_results, pipelines, cancels, settings, notifications, crowd):
    print(f"# {part.__name__}")
    part()
