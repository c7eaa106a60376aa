"""The parts in which pgbench works."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
import tempfile

import contenders
import pgbench
import tls
from parts import OURS, STRAIGHT, Figure, Target, Way, everybody, part
from pgbench import CPU, KERNEL, LATENCY, LOADS, SERVERS, SLEEPS, TPS

USUAL = (TPS, LATENCY, CPU, SERVERS)


def ways(stage, load, those):
    """One for each contender."""
    return [Way(one.name, functools.partial(pgbench.run, stage, one, load)) for one in those]


@part("simple", "one SELECT by Query", *USUAL, targets=[Target(CPU, 0.95)])
def simple(stage):
    """HAProxy's clients have a server each."""
    with everybody(stage, STRAIGHT, "threads", "plain", "haproxy") as those:
        yield ways(stage, LOADS["simple"], those)


@part("extended", "one SELECT by Parse, Bind, Describe, Execute, Sync", *USUAL, targets=[Target(CPU, 0.90)])
def extended(stage):
    """As above."""
    with everybody(stage, STRAIGHT, "threads", "plain", "haproxy") as those:
        yield ways(stage, LOADS["extended"], those)


@part("prepared", "one SELECT of a named statement", *USUAL, targets=[Target(CPU, 0.85)])
def prepared(stage):
    """Not every PgBouncer can."""
    with everybody(stage, STRAIGHT, "threads", "plain", "haproxy") as those:
        found = ways(stage, LOADS["prepared"], [one for one in those if one.prepared])
        found += [Way(one.name, missing="it does not keep named statements") for one in those if not one.prepared]
        yield found


ON, OFF = ", tracking on", ", tracking off"


@part(
    "tracking",
    "one SELECT of a named statement, with and without tracking of session state",
    *USUAL,
    targets=[Target(CPU, 1.05, OURS + ON, OURS + OFF)],
)
def tracking(stage):
    """By a build in which it can be turned off."""
    options = stage.options
    if not options.switched:
        yield [Way(OURS + ON, missing="there is no build in which it can be turned off")]
        return
    with contextlib.ExitStack() as stack:
        those = []
        for also, without in ((ON, None), (OFF, "tracking")):
            build = (stage.postgres, stage.password, options.switched, options.pool, 1)
            those.append(stage.told(stack.enter_context(contenders.pgweir(*build, also, without))))
        yield ways(stage, LOADS["prepared"], those)


@part("update", "UPDATE, SELECT, INSERT in a transaction, by Query", *USUAL, targets=[Target(CPU, 0.90)])
def update(stage):
    """Five round trips a transaction."""
    with everybody(stage, STRAIGHT, "threads", "plain") as those:
        yield ways(stage, LOADS["update"], those)


MIDDLE = Figure("latency, mean of the middle half, ms", 4)
P99 = Figure("p99, ms", 2)
P999 = Figure("p99.9, ms", 2)


@part(
    "one",
    "one client, by Query",
    MIDDLE,
    LATENCY,
    CPU,
    targets=[Target(MIDDLE, 0.95, less=STRAIGHT, what="latency added to that without a proxy")],
)
def one(stage):
    """Nobody waits for anybody: what is added is the way through the proxy. The slowest quarter tells of others' work."""
    with everybody(stage, STRAIGHT, "haproxy") as those:
        load = dataclasses.replace(LOADS["simple"], steady=False, clients=1, threads=1)
        yield [Way(one.name, functools.partial(logged, stage, one, load)) for one in those]


# For the logins to be over.
LONGER = 3


@part(
    "tail",
    "200 clients that share the pool, by Query",
    TPS,
    P99,
    P999,
    CPU,
    SERVERS,
    targets=[Target(P999, 1.0, what="p99.9"), Target(P99, what="p99")],
)
def tail(stage):
    """Of each transaction's latency, waiting for a server included. Runs are three times as long."""
    with everybody(stage) as those:
        load = dataclasses.replace(LOADS["simple"], clients=200)
        longer = lambda one: lambda seconds: logged(stage, one, load, LONGER * seconds)
        yield [Way(one.name, longer(one)) for one in those]


def logged(stage, contender, load, seconds):
    """A run of which each transaction is written down."""
    with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as place:
        flags = [*load.flags, "-l", f"--log-prefix={place}/log"]
        run = pgbench.run(stage, contender, dataclasses.replace(load, flags=flags), seconds)
        # The third column is of microseconds.
        lines = (line for log in pathlib.Path(place).iterdir() for line in log.read_text().splitlines())
        latencies = sorted(int(line.split()[2]) / 1000 for line in lines)
    if latencies:
        quarter = len(latencies) // 4
        run.figures[MIDDLE] = statistics.fmean(latencies[quarter : len(latencies) - quarter])
        run.figures[P99], run.figures[P999] = (latencies[int(share * len(latencies))] for share in (0.99, 0.999))
    return run


@part("logins", "a login by SCRAM, one SELECT, goodbye", *USUAL, targets=[Target(CPU, 0.70)])
def logins(stage):
    """No full pool is wanted: pgbench connects one client at a time per thread."""
    with everybody(stage, STRAIGHT, "threads", "plain") as those:
        yield ways(stage, LOADS["logins"], those)


@part(
    "tls_logins",
    "a login over TLS 1.3 with an ECDSA certificate, one SELECT, goodbye",
    TPS,
    LATENCY,
    CPU,
    targets=[Target(CPU, 0.80)],
)
def tls_logins(stage):
    """By libpq, which never resumes."""
    table, lines = tls.settings(stage.postgres.folder, *tls.ECDSA, only_13=True)
    with everybody(stage, table=table, lines=lines) as those:
        yield ways(stage, dataclasses.replace(LOADS["logins"], environment=tls.ENVIRONMENT), those)


THREE, NONE = "three settings a client", "none"


@part("settings", "clients with settings of their own", *USUAL, targets=[Target(CPU, 1.25, THREE, NONE)])
def settings(stage):
    """What they cost, against the same load without."""
    options = stage.options
    with contenders.pgweir(stage.postgres, stage.password, options.pgweir, options.pool, 1) as weir:
        those = [(THREE, LOADS["settings"]), (NONE, LOADS["plain"])]
        yield [Way(name, functools.partial(pgbench.run, stage, weir, load)) for name, load in those]


@part(
    "threads",
    "two worker threads beside one, 64 clients, by Query",
    TPS,
    LATENCY,
    CPU,
    KERNEL,
    SLEEPS,
    SERVERS,
    targets=[Target(figure, None, "2 threads", "1 thread", what=figure.name) for figure in (TPS, CPU)],
)
def threads(stage):
    """A sleep is a thread of the proxy that had nothing to do and was woken again."""
    options = stage.options
    with contextlib.ExitStack() as stack:
        found = []
        for number, name in ((1, "1 thread"), (2, "2 threads")):
            build = (stage.postgres, stage.password, options.pgweir, options.pool, number, f", {name}")
            weir = stage.told(stack.enter_context(contenders.pgweir(*build)))
            load = dataclasses.replace(LOADS["simple"], clients=64)
            found.append(Way(name, functools.partial(pgbench.run, stage, weir, load)))
        yield found
