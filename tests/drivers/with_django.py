"""Django on psycopg, with connections that last. See README.md for what each phase does."""

import os
import sys
import threading

import django
from django.conf import settings

CLIENTS, ROUNDS = 8, 25

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
        }
    },
    TIME_ZONE="Asia/Tokyo",
    USE_TZ=True,
)
django.setup()

from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.db import IntegrityError, OperationalError, close_old_connections  # noqa: E402
from django.db import connection, models, reset_queries, transaction  # noqa: E402


class Visit(models.Model):
    """Django writes no table without an identity column of its own."""

    who = models.IntegerField()
    round = models.IntegerField()
    mood = models.TextField()
    tags = ArrayField(models.TextField())
    facts = models.JSONField()

    class Meta:
        app_label = "drivers"
        db_table = "visit_django"


def startup(who):
    with connection.cursor() as cursor:
        cursor.execute("select %s::int", [who])
        assert cursor.fetchone() == (who,)


def plain(who):
    for number in range(ROUNDS):
        row = dict(who=who, round=number, mood="happy", tags=["a", "b c"], facts={"round": number})
        with transaction.atomic():
            Visit.objects.create(**row)
            assert Visit.objects.filter(who=who).count() == number + 1
        try:
            Visit.objects.create(**row)
            raise AssertionError("a duplicate was taken")
        except IntegrityError as error:
            assert error.__cause__.sqlstate == "23505", error
        seen = Visit.objects.get(who=who, round=number)
        assert (seen.tags, seen.facts) == (["a", "b c"], {"round": number})
        with transaction.atomic():
            # A server-side cursor.
            assert sum(1 for _ in Visit.objects.filter(who=who).iterator()) == number + 1
        close_old_connections()
        reset_queries()
    cancelled = threading.Event()
    canceller = threading.Thread(target=cancel_until, args=(connection.connection, cancelled))
    canceller.start()
    try:
        with connection.cursor() as cursor:
            cursor.execute("select pg_sleep(30)")
        raise AssertionError("not cancelled")
    except OperationalError as error:
        assert error.__cause__.sqlstate == "57014", error
    cancelled.set()
    canceller.join()
    startup(who)


def cancel_until(conn, cancelled):
    """Again and again: one that comes before the query is sent does nothing."""
    while not cancelled.wait(0.3):
        conn.cancel_safe()


def reset(who):
    for number in range(ROUNDS):
        with connection.cursor() as cursor:
            cursor.execute("show statement_timeout")
            assert cursor.fetchone() == ("0",)
            cursor.execute("set statement_timeout = '20s'")
        startup(who)
        with connection.cursor() as cursor:
            cursor.execute("discard all")
        # What Django does between two requests.
        close_old_connections()


def main(phase):
    if phase == "version":
        return print(django.__version__)
    work, failures = {"startup": startup, "plain": plain, "reset": reset}[phase], []
    done, leave = threading.Barrier(CLIENTS + 1), threading.Event()

    def one(who):
        try:
            work(who)
        except BaseException as failure:
            failures.append(failure)
        done.wait()
        # A connection ends with its thread.
        leave.wait()

    for who in range(CLIENTS):
        threading.Thread(target=one, args=(who,), daemon=True).start()
    done.wait()
    if failures:
        raise failures[0]
    print("idle", flush=True)
    sys.stdin.readline()
    leave.set()


main(sys.argv[1])
