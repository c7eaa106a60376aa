"""The parts in which clients are connected and say nothing: what each costs in memory."""

import functools
import time

import contenders
import process
import tls
from client import Client, Crowd
from parts import OURS, Figure, Run, Target, Way, bouncers, part

EACH = Figure("KiB per idle client", 2)
BEFORE = Figure("KiB before", 0)
CLIENTS = Figure("clients", 0)
# Seconds in which a proxy may put away what a login needed.
SETTLING = 3


@part(
    "idle",
    "clients that are logged in and say nothing",
    EACH,
    CLIENTS,
    BEFORE,
    targets=[Target(EACH, 2.0, theirs=None, what="KiB each"), Target(EACH)],
    warm=False,
)
def idle(stage):
    """What the process has more than when one had come and gone (PSS)."""
    yield ways(stage, stage.options.idle)


@part(
    "idle_tls",
    "clients that are logged in over TLS 1.3 and say nothing",
    EACH,
    CLIENTS,
    BEFORE,
    targets=[Target(EACH, 0.50)],
    warm=False,
)
def idle_tls(stage):
    """By a certificate with an ECDSA key; half as many as without TLS."""
    table, lines = tls.settings(stage.postgres.folder, *tls.ECDSA, only_13=True)
    yield ways(stage, stage.options.idle // 2, table, lines, tls.only_13())


def ways(stage, number, table="", lines=(), context=None):
    """Each run has a proxy of its own: what a process has had once it may keep."""
    options, who = stage.options, (stage.postgres, stage.password)
    start = {OURS: lambda: contenders.pgweir(*who, options.pgweir, options.pool, 1, tables=table)}
    start |= bouncers(stage, lines)
    return [Way(name, functools.partial(held, stage, begin, number, context)) for name, begin in start.items()]


def held(stage, begin, number, context, _seconds):
    """Clients come one after the other, and stay until all are counted."""
    with begin() as contender:
        stage.told(contender, ", TLS" if context else "")
        first = Client(contender, stage.password, context=context)
        first.query("select 1")
        first.close()
        time.sleep(SETTLING)
        before = process.memory(contender.pid)
        with Crowd(contender, stage.password, number, context) as crowd:
            time.sleep(SETTLING)
            figures = {EACH: (process.memory(contender.pid) - before) / number, CLIENTS: number, BEFORE: before}
            cut = crowd.cut()
    return Run(figures, [f"{cut} of {number} clients were cut"] if cut else [])
