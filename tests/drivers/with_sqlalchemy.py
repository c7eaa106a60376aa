"""SQLAlchemy on psycopg, with its pool. See README.md for what each phase does."""

import sys
import threading

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError, OperationalError

CLIENTS, ROUNDS = 8, 25

visit = sa.Table(
    "visit",
    sa.MetaData(),
    sa.Column("who", sa.Integer, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("mood", postgresql.ENUM("sad", "happy", name="mood", create_type=False)),
    sa.Column("tags", postgresql.ARRAY(sa.Text)),
    sa.Column("facts", postgresql.JSONB),
)


def startup(who, engine):
    with engine.begin() as conn:
        assert conn.scalar(sa.select(sa.cast(who, sa.Integer))) == who


def plain(who, engine):
    mine = visit.c.who == who
    for number in range(ROUNDS):
        row = dict(who=who, round=number, mood="happy", tags=["a", "b c"], facts={"round": number})
        with engine.begin() as conn:
            conn.execute(sa.insert(visit), row)
            count = conn.scalar(sa.select(sa.func.count()).select_from(visit).where(mine))
            assert count == number + 1, count
        try:
            with engine.begin() as conn:
                conn.execute(sa.insert(visit), row)
            raise AssertionError("a duplicate was taken")
        except IntegrityError as error:
            assert error.orig.sqlstate == "23505", error
        with engine.connect() as conn:
            seen = conn.execute(sa.select(visit).where(mine, visit.c.round == number)).one()
            assert tuple(seen)[2:] == ("happy", ["a", "b c"], {"round": number}), seen
    with engine.connect() as conn:
        timer = threading.Timer(0.3, conn.connection.driver_connection.cancel_safe)
        timer.start()
        try:
            conn.execute(sa.text("select pg_sleep(30)"))
            raise AssertionError("not cancelled")
        except OperationalError as error:
            assert error.orig.sqlstate == "57014", error
        timer.join()
    startup(who, engine)


def reset(who, engine):
    for number in range(ROUNDS):
        with engine.begin() as conn:
            assert conn.scalar(sa.text("show statement_timeout")) == "0"
            conn.execute(sa.text("set statement_timeout = '20s'"))
        startup(who, engine)


def discard(dbapi_connection, _record, state):
    if not state.terminate_only:
        dbapi_connection.rollback()
        dbapi_connection.autocommit = True
        dbapi_connection.execute("discard all")
        dbapi_connection.autocommit = False


def main(phase):
    if phase == "version":
        return print(sa.__version__)
    engine = sa.create_engine("postgresql+psycopg://", pool_size=CLIENTS, max_overflow=0)
    if phase == "reset":
        sa.event.listen(engine, "reset", discard)
    work, failures = {"startup": startup, "plain": plain, "reset": reset}[phase], []

    def one(who):
        try:
            work(who, engine)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(who,)) for who in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    print("idle", flush=True)
    sys.stdin.readline()


main(sys.argv[1])
