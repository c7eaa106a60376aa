"""Sends storms through pgweir, through PgBouncer and to PostgreSQL alone, side by side.

`make storm` installs what it needs and calls it. Each scenario has a PostgreSQL and proxies of its own;
the contenders take turns in it, and another begins in each round. What they cannot do has no figure. The
harness is `pgweir storm`, which knows nothing of what it is sent through.
"""

import argparse
import pathlib
import resource
import secrets
import shutil
import signal
import statistics
import sys

import contenders
import loads
import report
import side_by_side
import troubles
from stage import SCENARIOS, Stage


def arguments():
    """The flags."""
    names = list(SCENARIOS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"scenarios to run, by commas: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each scenario")
    parser.add_argument("--seconds", type=int, default=20, help="length of those that have one")
    parser.add_argument("--size", type=float, default=1.0, help="clients, as a part of what is said")
    parser.add_argument("--pool", type=int, default=20, help="servers of each proxy")
    parser.add_argument("--workers", type=int, default=1, help="threads of pgweir; PgBouncer has one")
    parser.add_argument("--tools", required=True, help="PostgreSQL's bin folder")
    parser.add_argument("--pgweir", default="target/guided/pgweir", type=pathlib.Path)
    parser.add_argument("--pgbouncer", default=shutil.which("pgbouncer") or "/usr/sbin/pgbouncer")
    parser.add_argument("--out", help="where the report goes; printed alone if not given")
    options = parser.parse_args()
    options.pgweir = options.pgweir.resolve()
    options.chosen = [name for name in options.only.split(",") if name] or names
    if unknown := set(options.chosen) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    return options


def once(options, name, turn):
    """One round of one scenario, after so many: figures by contender."""
    password = secrets.token_urlsafe()
    with (
        side_by_side.folder() as place,
        contenders.Postgres(options.tools, place, SLOTS, SETTINGS).started() as postgres,
    ):
        postgres.sql(f"create database {contenders.DATABASE}", "postgres")
        stage = Stage(options, postgres, password, turn)
        found = {}
        for who, figures in SCENARIOS[name].send(stage):
            found[who] = figures
            print(f"{name}, {who}: {line(name, figures)}", file=sys.stderr, flush=True)
        return found, postgres.version()


def line(name, figures):
    """A round's figures, as they go by."""
    said = zip(SCENARIOS[name].figures, figures)
    return "; ".join(f"{figure.name} {value(figure, [number])}" for figure, number in said)


def value(figure, numbers):
    """A figure's rounds as text; those without one are left out."""
    numbers = [number for number in numbers if number is not None]
    if not numbers:
        return "none"
    if len(set(numbers)) == 1:
        return f"{numbers[0]:,.{figure.digits}f}"
    return report.spread(numbers, figure.digits)


def section(name, rounds):
    """One scenario's table."""
    scenario = SCENARIOS[name]
    names = list(rounds[0])
    rows = [
        [figure.name, *(value(figure, [one[who][number] for one in rounds]) for who in names)]
        for number, figure in enumerate(scenario.figures)
    ]
    text = f"## {name}: {scenario.what}\n\n{scenario.send.__doc__.strip()}\n\n"
    return text + report.table(["", *names], rows)


def aims(results):
    """What pgweir is to keep: a row for each, and whether it does, by medians."""
    for name, rounds in results.items():
        for number, figure in enumerate(SCENARIOS[name].figures):
            if figure.aim():
                found = median(rounds, "pgweir", number)
                is_met = figure.is_met(found)
                shown = value(figure, [found])
                yield is_met, [name, figure.name, figure.aim(), shown, "met" if is_met else "**missed**"]


def verdict(results):
    """Those rows as a table."""
    rows = [row for _, row in aims(results)]
    return "## What pgweir is to keep\n\n" + report.table(["scenario", "", "aim", "pgweir", ""], rows)


def losses(results):
    """Where pgweir does worse than PgBouncer, by medians."""
    rows = []
    for name, rounds in results.items():
        for number, figure in enumerate(SCENARIOS[name].figures):
            ours, theirs = (median(rounds, who, number) for who in ("pgweir", "PgBouncer"))
            if figure.better and worse(figure, ours, theirs):
                rows.append([name, figure.name, *(value(figure, [one]) for one in (ours, theirs))])
    text = f"## Where pgweir does worse than PgBouncer\n\nBy more than {MARGIN:.0%}, of the medians.\n\n"
    return text + (report.table(["scenario", "", "pgweir", "PgBouncer"], rows) if rows else "Nowhere.\n")


def median(rounds, who, number):
    """Of a figure's rounds."""
    numbers = [one[who][number] for one in rounds if who in one and one[who][number] is not None]
    return statistics.median(numbers) if numbers else None


def worse(figure, ours, theirs):
    """Whether one is worse than the other by more than a margin; without a figure, it is."""
    if theirs is None:
        return False
    if ours is None:
        return True
    if figure.better == "low":
        return ours > theirs * (1 + MARGIN)
    return ours < theirs * (1 - MARGIN)


def main():
    """All scenarios that were chosen; 1 if pgweir does not keep what it is to."""
    options = arguments()
    # So that what was started is ended, whoever ends this.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results, version = {}, ""
    for name in options.chosen:
        for turn in range(options.rounds):
            found, version = once(options, name, turn)
            results.setdefault(name, []).append(found)
    # What is asked of a running PostgreSQL is known by now.
    machine = report.machine(options, version)
    parts = [HEAD.format(**vars(options), slots=SLOTS), machine]
    parts.append(verdict(results))
    parts += [section(name, rounds) for name, rounds in results.items()]
    text = "\n".join([*parts, losses(results)])
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text)
    return int(not all(is_met for is_met, _ in aims(results)))


# The modules whose import registers the scenarios.
MODULES = (loads, troubles)
# Of PostgreSQL: some for those who come to it without a proxy.
SLOTS = 250
MARGIN = 0.05
SETTINGS = {"log_connections": "on", "log_disconnections": "on", "log_timezone": "UTC"}

HEAD = """# Storms

Written by `make storm`; do not edit by hand. What the words mean is in [storm.md](storm.md).

Each figure is the median of {rounds} rounds, with the least and the greatest beside it where they differ. \
pgweir is as `make release` builds it. Each proxy has a pool of {pool} servers and logs its clients in by SCRAM; threads of pgweir: {workers}, \
PgBouncer has one. PostgreSQL has {slots} slots. Everything runs on one machine over loopback, the harness too, so that rates \
and latencies are of all together. Sizes are {size:g} times what the headings say; storms that last, last \
{seconds} s. `none`: it has no such figure, or did not get there.
"""

if __name__ == "__main__":
    sys.exit(main())
