"""The figures as people read them: a line per run, and the whole as Markdown."""

import datetime
import os
import platform
import re
import statistics
import subprocess
from dataclasses import dataclass

from parts import THEIRS

HEAD = """# Benchmarks

Written by `make bench`; do not edit by hand. The machines by themselves: `make micro`.

Where nothing else is said, {clients} clients of pgbench on {threads} threads, a pool of {pool} servers for each \
proxy, scale factor {scale}, and one thread for each proxy. Each figure is the median of {rounds} interleaved runs \
of {seconds} s, with the least and the greatest beside it; ratios are of runs of the same round. Everything runs on \
one machine over loopback, so that transactions per second are shared among pgbench, PostgreSQL and the proxy: what \
compares proxies is their processor time (user and system mode, all threads, from `/proc/PID/stat`), and for one \
client or the slowest transactions the latency.

A run with an error, with less than 95 % of the pool at work, with more connections than the pool has or in which a \
byte is missing is void and is not in the medians. (Logins and a single client want no full pool: pgbench connects one \
client at a time per thread.)

"""


def line(part, way, turn, run):
    """One run, as it goes by."""
    seen = [figure for figure in part.figures if figure in run.figures]
    figures = [f"{figure.name} {run.figures[figure]:,.{figure.digits}f}" for figure in seen]
    void = "".join(f"; VOID: {problem}" for problem in run.problems)
    return f"{part.name} {turn + 1} {way.name}: {', '.join(figures)}{void}"


def render(options, stage, results, picture):
    """The whole report; `picture` is where its picture is, seen from it."""
    found = list(comparisons(results))
    parts = [HEAD.format(**vars(options)), machine(options, stage.postgres.version(), more(options))]
    parts += [summary(options, results, found)]
    parts += [f"![Ratios to {THEIRS}]({picture})\n"] if picture else []
    parts += [section(result, found) for result in results]
    parts.append(configurations(stage.configurations))
    return "\n".join(parts)


@dataclass
class Comparison:
    """A target, and the rounds' ratios to someone, or figures by themselves."""

    result: object
    target: object
    other: str | None
    ratios: list

    @property
    def median(self):
        """Of the rounds."""
        return statistics.median(self.ratios)

    def what(self):
        """In words."""
        return ", ".join(text for text in (self.result.part.what, self.target.what) if text)

    def met(self):
        """Whether it is; by the median."""
        if self.target.most is None:
            return ""
        return "met" if self.median <= self.target.most else "**missed**"

    def row(self):
        """Of the summary."""
        aim = "" if self.target.most is None else f"at most {self.target.most:g}"
        measured = cell(self.ratios, 2) if self.ratios else "not measured"
        return [self.result.part.name, self.what(), aim, self.other or "", measured, self.met() if self.ratios else ""]

    def said(self):
        """As a sentence below the table."""
        whose = f"{self.target.ours} has {cell(self.ratios, 2)}" + (f" times that of {self.other}" if self.other else "")
        which = self.target.what or self.target.figure.name
        aim = "" if self.target.most is None else f"; target: at most {self.target.most:g}, {self.met()}"
        return f"\n{which}: {whose}{aim}.\n"


def comparisons(results):
    """All that were aimed at and measured."""
    for result in results:
        for target in result.part.targets:
            for other, ratios in (target.found(result.runs) or {target.theirs: []}).items():
                yield Comparison(result, target, other, ratios)


def summary(options, results, found):
    """What was aimed at, and what came of it."""
    rows = [comparison.row() for comparison in found]
    rows += [growth(result) for result in results if result.part.grows]
    text = "\n## Targets\n\nRatios of pgweir's figure to that of whom it is beside, unless said otherwise; "
    text += f"those that are met are so by the median. {voids(results)}\n\n"
    text += table(["part", "what", "target", "beside", "measured", ""], rows)
    return text + (f"\nA newer {THEIRS} is not measured: {options.no_newer}.\n" if options.no_newer else "")


def voids(results):
    """How many runs do not count."""
    runs = [run for result in results for some in result.runs.values() for run in some]
    void = sum(bool(run.problems) for run in runs)
    return f"Of {len(runs)} runs, {void} were void."


def growth(result):
    """The summary's row of a part that grows: the last way by the first."""
    first, last = result.ways[0].name, result.ways[-1].name
    ratios = result.times(last)
    what = f"{result.part.what}: CPU with {last}"
    return [result.part.name, what, "flat", first, cell(ratios, 2) if ratios else "not measured", ""]


def section(result, found):
    """One kind of load."""
    part = result.part
    heads = ["", *(figure.name for figure in part.figures), "void"]
    heads += [f"CPU by that of {result.ways[0].name}"] if part.grows else []
    rows = [row(result, way) for way in result.ways]
    text = f"## {part.name}: {part.what}\n\n{part.doc}\n\n" + table(heads, rows)
    return text + "".join(one.said() for one in found if one.result is result and one.ratios)


def row(result, way):
    """One way's medians."""
    figures = result.part.figures
    width = len(figures) + 1 + bool(result.part.grows)
    if way.missing:
        return [way.name, f"not measured: {way.missing}", *[""] * (width - 1)]
    runs = result.runs[way.name]
    good = [run for run in runs if not run.problems]
    void = f"{len(runs) - len(good)} of {len(runs)}"
    seen = ([run.figures[figure] for run in good if figure in run.figures] for figure in figures)
    cells = [cell(values, figure.digits) for values, figure in zip(seen, figures)]
    times = [cell(result.times(way.name), 2)] if result.part.grows else []
    return [way.name, *cells, void, *times]


def machine(options, postgresql, more=()):
    """Where and with what."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        ("date", datetime.date.today().isoformat()),
        ("processor", f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.1f} GiB"),
        ("system", f"Linux {platform.release()}"),
        ("PostgreSQL", postgresql),
        ("pgweir", f"{said(options.pgweir, '--version')} ({commit()})"),
        ("PgBouncer", said(options.pgbouncer, "--version")),
        *more,
        ("authentication", "SCRAM-SHA-256 on both sides, from verifiers; no proxy has a password"),
    ]
    return table(["", ""], rows)


def more(options):
    """Who else is there."""
    newer = said(options.newer, "--version") if options.newer else f"not measured: {options.no_newer}"
    built = ", from Debian's source package" if options.newer else ""
    return [("PgBouncer, newer", newer + built), ("HAProxy", said(options.haproxy, "-v"))]


def configurations(told):
    """What each proxy was told, first of all; long ones have their middle left out."""
    blocks = [f"### {name}\n\n```\n{shortened(text)}```\n" for name, text in told.items()]
    return "## Configurations\n\n" + "\n".join(blocks)


def shortened(text):
    """Without what comes again and again."""
    lines = text.splitlines(keepends=True)
    return text if len(lines) <= LONG else "".join([*lines[:LONG], f"... {len(lines) - LONG} more lines\n"])


LONG = 40


def cell(values, digits):
    """Nothing, a number, or the median and its range."""
    if not values:
        return ""
    return f"{values[0]:,.{digits}f}" if len(set(values)) == 1 else spread(values, digits)


def spread(values, digits):
    """Median (least to greatest)."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(heads, rows):
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in cells) + " |\n" for cells in lines)


def said(*command):
    """The first line of what a command prints."""
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.splitlines()[0]


def commit():
    """Of the tree that was built."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(describe, text=True, capture_output=True, check=False)
    return done.stdout.strip() or "no commit"
