"""What the parts of `make bench` stand on: their register, what one run shows, and what is aimed at."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import contenders

PARTS = {}
OURS = "pgweir"
THEIRS = "PgBouncer"
STRAIGHT = "straight"


@dataclass(frozen=True)
class Figure:
    """What is measured."""

    name: str
    digits: int = 1


@dataclass
class Run:
    """What one run showed. One with problems is void."""

    figures: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)


@dataclass
class Way:
    """One row of a part, and what runs it once for so many seconds."""

    name: str
    once: Callable | None = None
    # Why it is not measured.
    missing: str = ""


@dataclass
class Target:
    """A figure of one way, by that of each other whose name begins so, in the same round. Without `most`, it is told only.

    With no other, the figure itself. `less` is whose figure is taken from both first.
    """

    figure: Figure
    most: float | None = None
    ours: str = OURS
    theirs: str | None = THEIRS
    less: str | None = None
    what: str = ""

    def found(self, runs):
        """The ratios of all rounds that count, by who is compared with."""
        if self.theirs is None:
            return {None: [run.figures[self.figure] for run in runs.get(self.ours, []) if not run.problems]}
        others = [name for name in runs if name.startswith(self.theirs) and name != self.ours]
        return {name: list(self.ratios(runs, name)) for name in others}

    def ratios(self, runs, other):
        """Round by round. What took nothing measurable is no measure for anything."""
        names = [self.ours, other, *([self.less] if self.less else [])]
        for those in zip(*(runs.get(name, []) for name in names)):
            if not any(run.problems for run in those):
                ours, theirs, *less = [run.figures[self.figure] for run in those]
                if theirs > sum(less):
                    yield (ours - sum(less)) / (theirs - sum(less))


@dataclass
class Part:
    """One kind of load, and the ways to measure it."""

    name: str
    what: str
    figures: list
    ways: Callable
    targets: list
    # By which figure all ways are compared with the first.
    grows: Figure | None
    # Whether a short run goes ahead, to open the pools.
    warm: bool
    doc: str


@dataclass
class Result:
    """What came of a part: its ways, and the runs of each by its name."""

    part: Part
    ways: list
    runs: dict

    def times(self, name):
        """What a way of a part that grows takes, by what the first takes, in each round."""
        target = Target(self.part.grows, None, name, self.ways[0].name)
        return list(target.ratios(self.runs, self.ways[0].name))


def part(name, what, *figures, targets=(), grows=None, warm=True):
    """Registers a function that makes ready what a part needs and yields its ways; its doc goes into the report."""

    def register(function):
        ways = contextlib.contextmanager(function)
        PARTS[name] = Part(name, what, list(figures), ways, list(targets), grows, warm, function.__doc__.strip())
        return function

    return register


def chosen(names):
    """The parts of these names, all without any; the name of a group, before a colon, is all of its parts."""
    return [part for part in PARTS.values() if not names or {part.name, part.name.split(":")[0]} & set(names)]


@contextlib.contextmanager
def everybody(stage, *also, table="", lines=()):
    """pgweir and each PgBouncer, and who else is named."""
    options, who = stage.options, (stage.postgres, stage.password)
    with contextlib.ExitStack() as started:
        there = [contenders.straight(*who)] if STRAIGHT in also else []
        proxies = [contenders.pgweir(*who, options.pgweir, options.pool, 1, tables=table)]
        if "threads" in also:
            proxies.append(contenders.pgweir(*who, options.pgweir, options.pool, 0, ", default threads"))
        if "plain" in also and options.plain:
            proxies.append(contenders.pgweir(*who, options.plain, options.pool, 1, ", plain build"))
        proxies += [start() for start in bouncers(stage, lines).values()]
        if "haproxy" in also:
            proxies.append(contenders.haproxy(*who, options.haproxy))
        there += [started.enter_context(proxy) for proxy in proxies]
        yield [stage.told(one, ", TLS" if table else "") for one in there]


def bouncers(stage, lines=()):
    """What starts the PgBouncer that is installed, and the newer one if there is one, by their names."""
    options, who = stage.options, (stage.postgres, stage.password)
    start = {THEIRS: lambda: contenders.pgbouncer(*who, options.pgbouncer, options.pool, lines)}
    if options.newer:
        also = " {}.{}".format(*contenders.pgbouncer_version(options.newer))
        start[THEIRS + also] = lambda: contenders.pgbouncer(*who, options.newer, options.pool, lines, also=also)
    return start
