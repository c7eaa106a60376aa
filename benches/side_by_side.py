"""Measures pgweir beside PgBouncer, HAProxy and PostgreSQL alone, each part in one interleaved run.

`make bench` installs what it needs and calls it. What counts is the processor time of the proxy per
1,000 transactions: transactions per second on one machine measure pgbench and PostgreSQL as well,
which share its cores. Nothing here knows a password of the proxies' clients but those clients: the
poolers have SCRAM verifiers and log in to PostgreSQL with what their clients prove.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import secrets
import shutil
import signal
import sys
import tempfile

import bars
import contenders
import report
from parts import PARTS, THEIRS, Result, chosen
from stage import Stage

# Their import registers the parts, in the order of the report.
import work  # isort: skip
import resuming  # isort: skip
import bulk  # isort: skip
import idling  # isort: skip
import growth  # isort: skip


def arguments():
    """The flags."""
    names = list(PARTS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"parts to measure, by commas: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each part and contender")
    parser.add_argument("--seconds", type=int, default=5, help="length of one run")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="threads of pgbench")
    parser.add_argument("--pool", type=int, default=20, help="servers of each proxy")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's scale factor")
    parser.add_argument("--idle", type=int, default=10_000, help="idle clients, and the most of what grows")
    parser.add_argument("--megabytes", type=int, default=100, help="size of a transfer")
    parser.add_argument("--tools", required=True, help="PostgreSQL's bin folder")
    parser.add_argument("--pgweir", default="target/guided/pgweir")
    parser.add_argument("--plain", help="a build of it without a profile")
    parser.add_argument("--switched", help="a build of it in which tracking can be turned off")
    parser.add_argument("--pgbouncer", default=shutil.which("pgbouncer") or "/usr/sbin/pgbouncer")
    parser.add_argument("--newer", help="a newer PgBouncer")
    parser.add_argument("--no-newer", default="none is given", help="why there is no newer PgBouncer")
    parser.add_argument("--haproxy", default=shutil.which("haproxy") or "/usr/sbin/haproxy")
    parser.add_argument("--out", help="where the report goes; printed alone if not given")
    options = parser.parse_args()
    asked = {name for name in options.only.split(",") if name}
    groups = {name.split(":")[0] for name in names}
    if unknown := asked - set(names) - groups:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    options.parts = chosen(asked)
    options.no_newer = None if options.newer else options.no_newer
    return options


@contextlib.contextmanager
def folder():
    """A temporary folder that PostgreSQL's user owns."""
    with tempfile.TemporaryDirectory(prefix="pgweir-bench-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, "postgres", "postgres")
        yield pathlib.Path(name)


def measure(stage, part):
    """All rounds of a part, each way in turn, another one first each time."""
    with part.ways(stage) as ways:
        able = [way for way in ways if not way.missing]
        if part.warm:
            for way in able:
                way.once(WARM_UP)
        runs = {way.name: [] for way in able}
        for turn in range(stage.options.rounds):
            shift = turn % max(len(able), 1)
            for way in able[shift:] + able[:shift]:
                run = way.once(stage.options.seconds)
                runs[way.name].append(run)
                print(report.line(part, way, turn, run), file=sys.stderr, flush=True)
    return Result(part, ways, runs)


def draw(out, results):
    """The ratios to PgBouncer as a picture beside the report; gives its path from there."""
    told = [one for one in report.comparisons(results) if one.ratios and (one.other or "").startswith(THEIRS)]
    if not told:
        return None
    picture = out.with_suffix("") / "ratios.svg"
    title = "pgweir's figure by PgBouncer's: less is better; the black marks are the targets"
    shown = lambda one: f"{one.result.part.name}: {one.target.figure.name}"
    bars.draw(picture, title, [(shown(one), one.other, one.median, one.target.most) for one in told])
    return picture.relative_to(out.parent)


def main():
    """The whole comparison; 1 if a run was void."""
    options = arguments()
    # So that what was started is ended, whoever ends this.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = 2 * options.clients + PROXIES * options.pool + 2 * growth.OTHERS
    with folder() as place, contenders.Postgres(options.tools, place, connections).started() as postgres:
        postgres.fill(options.scale)
        stage = Stage(options, postgres, secrets.token_urlsafe())
        results = [measure(stage, part) for part in options.parts]
        if any(stage.password in text for text in stage.configurations.values()):
            raise SystemExit("a proxy's configuration holds the clients' password")
        out = pathlib.Path(options.out or "target/benchmarks.md")
        text = report.render(options, stage, results, draw(out, results))
        refusals = postgres.refusals()
    print(text)
    if options.out:
        out.write_text(text)
    for refusal in refusals:
        print(f"void: PostgreSQL refused a connection: {refusal}", file=sys.stderr)
    return int(bool(refusals) or any(run.problems for result in results for some in result.runs.values() for run in some))


PROXIES = 7
# Seconds; opens the pools.
WARM_UP = 1

if __name__ == "__main__":
    sys.exit(main())
