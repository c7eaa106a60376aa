"""psycopg 3 and its pool. See README.md for what each phase does."""

import sys
import threading

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

CLIENTS, ROUNDS = 8, 25


def connect():
    return psycopg.connect("", connect_timeout=20)


def startup(who, conn):
    assert conn.execute("select %s::int", (who,)).fetchone() == (who,)
    conn.commit()


def plain(who, conn):
    insert = "insert into visit values (%s, %s, %s, %s, %s)"
    for number in range(ROUNDS):
        row = (who, number, "happy", ["a", "b c"], Jsonb({"round": number}))
        with conn.transaction():
            conn.execute(insert, row)
            count = conn.execute("select count(*) from visit where who = %s", (who,)).fetchone()
            assert count == (number + 1,), count
        try:
            conn.execute(insert, row)
            raise AssertionError("a duplicate was taken")
        except psycopg.errors.UniqueViolation:
            conn.rollback()
        select = "select mood, tags, facts from visit where who = %s and round = %s"
        seen = conn.execute(select, (who, number)).fetchone()
        assert seen == ("happy", ["a", "b c"], {"round": number}), seen
        conn.commit()
    with conn.cursor().copy("copy bulk from stdin") as copy:
        for number in range(100):
            copy.write_row((who, number, "word"))
    conn.commit()
    with conn.cursor().copy("copy (select * from bulk where who = %s) to stdout", (who,)) as copy:
        assert len(list(copy.rows())) == 100
    conn.commit()
    cancelled = threading.Event()
    canceller = threading.Thread(target=cancel_until, args=(conn, cancelled))
    canceller.start()
    try:
        conn.execute("select pg_sleep(30)")
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        cancelled.set()
        canceller.join()
        conn.rollback()
    startup(who, conn)


def cancel_until(conn, cancelled):
    """Again and again: one that comes between the BEGIN, which may wait for a server, and the query does nothing."""
    while not cancelled.wait(0.3):
        conn.cancel_safe()


def discard(conn):
    conn.autocommit = True
    conn.execute("discard all")
    conn.autocommit = False


def reset(who, pool):
    for number in range(ROUNDS):
        with pool.connection() as conn:
            assert conn.execute("show statement_timeout").fetchone() == ("0",)
            conn.commit()
            conn.execute("set statement_timeout = '20s'")
            conn.commit()
            for turn in range(3):
                twice = conn.execute("select %s::int * 2", (number,), prepare=True).fetchone()
                assert twice == (number * 2,), twice
                conn.commit()


def everybody(work, things):
    """Runs it in a thread for each client; the first failure is ours."""
    failures = []

    def one(who):
        try:
            work(who, things[who])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(who,)) for who in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def main(phase):
    if phase == "version":
        return print(psycopg.__version__)
    if phase == "reset":
        pool = ConnectionPool("", min_size=CLIENTS, max_size=CLIENTS, open=True, reset=discard)
        everybody(reset, [pool] * CLIENTS)
    else:
        connections = [connect() for _ in range(CLIENTS)]
        everybody({"startup": startup, "plain": plain}[phase], connections)
    print("idle", flush=True)
    sys.stdin.readline()


main(sys.argv[1])
