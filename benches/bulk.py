"""The parts that move many bytes: rows, and COPY both ways. All lines are of 100 bytes, and all of them must arrive."""

import contextlib
import functools
import subprocess
import time

import process
from contenders import DATABASE
from parts import STRAIGHT, Figure, Run, Target, Way, everybody, part

CPU = Figure("CPU ms per MB", 3)
RATE = Figure("MB/s", 0)
TRANSFERS = Figure("transfers", 0)
LINE = 100
MB = 1_000_000
READ = 1 << 20
# A number of nine digits, a separator, 89 letters, a newline.
TABLES = """
    create unlogged table bulk as select id, repeat('x', 89) as filler
      from generate_series(100000000, 100000000 + {lines} - 1) id;
    create unlogged table sink (like bulk);
    grant all on bulk, sink to public;
    copy bulk to '{file}';
"""
ARRIVED = "select count(*), coalesce(sum(length(id::text) + length(filler) + 2), 0) from sink"


@contextlib.contextmanager
def tables(stage):
    """A table that is full, and an empty one."""
    file = stage.postgres.folder / "bulk.copy"
    stage.postgres.sql(TABLES.format(lines=stage.options.megabytes * MB // LINE, file=file))
    yield file
    stage.postgres.sql("drop table bulk, sink")
    file.unlink()


def ways(stage, those, transfer):
    """One for each contender."""
    return [Way(one.name, functools.partial(repeated, stage, one, transfer)) for one in those]


@part("rows", "100 MB of rows, by Query", CPU, RATE, TRANSFERS, targets=[Target(CPU, 0.60)])
def rows(stage):
    """psql shows them, and what it shows is counted."""
    with tables(stage), everybody(stage, STRAIGHT, "plain", "haproxy") as those:
        yield ways(stage, those, lambda psql: out(stage, psql, "select * from bulk"))


@part("copy_out", "100 MB by COPY TO STDOUT", CPU, RATE, TRANSFERS, targets=[Target(CPU, 0.60)])
def copy_out(stage):
    """Likewise."""
    with tables(stage), everybody(stage, STRAIGHT, "plain", "haproxy") as those:
        yield ways(stage, those, lambda psql: out(stage, psql, "copy bulk to stdout"))


@part("copy_in", "100 MB by COPY FROM STDIN", CPU, RATE, TRANSFERS, targets=[Target(CPU, 0.60)])
def copy_in(stage):
    """What came is counted in the table."""
    with tables(stage) as file, everybody(stage, STRAIGHT, "plain", "haproxy") as those:
        yield ways(stage, those, lambda psql: into(stage, psql, file))


def repeated(stage, contender, transfer, seconds):
    """Transfers, each by a psql of its own, until the time is over. Only their own time counts for the rate."""
    psql = [stage.postgres.bin / "psql", "-XAt", "-h", "127.0.0.1", "-p", str(contender.port)]
    psql += ["-U", contender.role, "-d", DATABASE, "-c"]
    before = process.spent(contender.pid) if contender.pid else None
    began, lasted, problems, number = time.monotonic(), 0, [], 0
    while not problems and (number == 0 or time.monotonic() - began < seconds):
        took, problems = transfer(psql)
        lasted += took
        number += 1
    megabytes = number * stage.options.megabytes
    figures = {RATE: megabytes / lasted, TRANSFERS: number}
    if contender.pid:
        figures[CPU] = (process.spent(contender.pid) - before).cpu * 1000 / megabytes
    return Run(figures, problems)


def out(stage, psql, text):
    """Takes what a statement gives: how long it took, and what was wrong."""
    began, seen = time.monotonic(), 0
    environment = stage.postgres.environment(stage.password)
    with subprocess.Popen([*psql, text], env=environment, stdout=subprocess.PIPE) as showing:
        while data := showing.stdout.read(READ):
            seen += len(data)
    return time.monotonic() - began, wrong(stage, showing.returncode, seen)


def into(stage, psql, file):
    """Gives a file to a table: how long it took, and what was wrong."""
    began = time.monotonic()
    environment = stage.postgres.environment(stage.password)
    with open(file, "rb") as data:
        done = subprocess.run(
            [*psql, "copy sink from stdin"], env=environment, stdin=data, stdout=subprocess.DEVNULL, check=False
        )
    took = time.monotonic() - began
    lines, seen = stage.postgres.sql(ARRIVED).split("|")
    stage.postgres.sql("truncate sink")
    return took, wrong(stage, done.returncode, int(seen)) or wrong(stage, 0, int(lines) * LINE)


def wrong(stage, code, seen):
    """Less than all, or more, is no transfer."""
    wanted = stage.options.megabytes * MB
    return [] if (code, seen) == (0, wanted) else [f"psql ended with {code}, and {seen} of {wanted} bytes arrived"]
