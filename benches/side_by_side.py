"""Measures pgweir beside PgBouncer and beside PostgreSQL alone, in one interleaved run.

`make bench` installs what it needs and calls it. What counts is the processor time of the proxy per
1,000 transactions: transactions per second on one machine measure pgbench and PostgreSQL as well,
which share its cores. Nothing here knows a password of the proxies' clients but pgbench itself: both
proxies have SCRAM verifiers and log in to PostgreSQL with what their clients prove.
"""

import argparse
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import sys
import tempfile

import contenders
import pgbench
import report


def arguments():
    """The flags."""
    names = [part.name for part in pgbench.PARTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"parts to measure, by commas: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each part and contender")
    parser.add_argument("--seconds", type=int, default=5, help="length of one run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="threads of pgbench")
    parser.add_argument("--pool", type=int, default=20, help="servers of each proxy")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's scale factor")
    parser.add_argument("--tools", required=True, help="PostgreSQL's bin folder")
    parser.add_argument("--pgweir", default="target/guided/pgweir")
    parser.add_argument("--plain", help="a build of it without a profile")
    parser.add_argument("--switched", help="a build of it in which tracking can be turned off")
    parser.add_argument("--pgbouncer", default=shutil.which("pgbouncer") or "/usr/sbin/pgbouncer")
    parser.add_argument("--out", help="where the report goes; printed alone if not given")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name]
    if unknown := set(chosen) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    options.parts = [part for part in pgbench.PARTS if not chosen or part.name in chosen]
    return options


@contextlib.contextmanager
def folder():
    """A temporary folder that PostgreSQL's user owns."""
    with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, "postgres", "postgres")
        yield pathlib.Path(name)


@contextlib.contextmanager
def everybody(options, postgres, password):
    """All contenders, ready for clients."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        yield [
            contenders.straight(postgres, password),
            enter(contenders.pgweir(postgres, password, options.pgweir, options.pool, workers=1)),
            enter(contenders.pgweir(postgres, password, options.pgweir, options.pool, workers=0)),
            *contenders.plain(enter, postgres, password, options.plain, options.pool),
            *contenders.switched(enter, postgres, password, options.switched, options.pool),
            enter(contenders.pgbouncer(postgres, password, options.pgbouncer, options.pool)),
        ]


def measure(options, postgres, everyone, password):
    """Rounds of all parts, each contender in turn, another one first each time."""
    runs = {}
    for part in options.parts:
        able = [one for one in everyone if not one.switched and (part.name != "prepared" or one.prepared)]
        if part.own:
            able = [one for one in everyone if one.name == "pgweir"]
        if part.untracked:
            able = [one for one in everyone if one.switched]
        for one in able:
            pgbench.run(postgres, one, password, part, options, WARM_UP)
        for turn in range(options.rounds):
            shift = turn % len(able)
            for one in able[shift:] + able[:shift]:
                run = pgbench.run(postgres, one, password, part, options, options.seconds)
                runs.setdefault((part.name, one.name), []).append(run)
                print(report.line(part, one, turn, run), file=sys.stderr, flush=True)
    return runs


def main():
    """The whole comparison; 1 if a run was void."""
    options = arguments()
    # So that what was started is ended, whoever ends this.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    password = secrets.token_urlsafe()
    connections = options.clients + PROXIES * options.pool
    with folder() as place, contenders.Postgres(options.tools, place, connections).started() as postgres:
        postgres.fill(options.scale)
        with everybody(options, postgres, password) as everyone:
            if any(password in one.configuration for one in everyone):
                raise SystemExit("a proxy's configuration holds the clients' password")
            runs = measure(options, postgres, everyone, password)
        text = report.render(options, postgres, everyone, runs)
        refusals = postgres.refusals()
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)
    for refusal in refusals:
        print(f"void: PostgreSQL refused a connection: {refusal}", file=sys.stderr)
    return int(bool(refusals) or any(run.problems for some in runs.values() for run in some))


PROXIES = 6
# Seconds; opens the pools.
WARM_UP = 1

if __name__ == "__main__":
    sys.exit(main())
