"""One storm of `pgweir storm` through a contender, and what PostgreSQL's log says of it."""

import datetime
import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from contenders import DATABASE

EVENTS = "connection received|connection authorized|disconnection|database system is ready"
LINE = re.compile(rf"^(\S+ \S+) UTC \[(\d+)\] \S+ (\S*) (?:LOG:  ({EVENTS})|(FATAL):  )(.*)")
# The harness's own role.
OWN = "postgres"


@dataclass
class Storm:
    """What a storm reported; times are seconds since the epoch."""

    report: dict
    began: float
    # What was done meanwhile, by the second it was due: when it began, when it was over, what it gave.
    done: dict = field(default_factory=dict)

    def errors(self, found=None):
        """How many, by SQLSTATE or kind."""
        errors = (found or self.report)["errors"]
        return sum(error["count"] for error in errors.values())

    def of(self, name):
        """What a class found."""
        return next(one for one in self.report["classes"] if one["name"] == name)

    def points(self, since, until=float("inf")):
        """The storm over time, between two seconds of it."""
        return [point for point in self.report["series"] if since <= point["at"] < until]


def dsn(role, password, port):
    """For the harness."""
    return f"postgres://{role}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"


def send(stage, contender, flags, at=None):
    """Sends a storm; `at` says what is to be done at which second of it."""
    observe = dsn("postgres", stage.postgres.password, stage.postgres.port)
    environment = os.environ | {
        "PGWEIR_STORM_DSN": dsn(contender.role, stage.password, contender.port),
        "PGWEIR_STORM_OBSERVE": observe,
    }
    command = [stage.options.pgweir, "storm", "--json", "--observe-interval", "20ms", *map(str, flags)]
    at = dict(at or {})
    done = {}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
        last = ""
        for line in process.stderr:
            last = line
            second = re.match(r" *(\d+) s ", line)
            for due in [due for due in at if second and int(second[1]) >= due]:
                began = time.time()
                result = at.pop(due)()
                done[due] = (began, time.time(), result)
        process.wait()
        ended = time.time()
        out.seek(0)
        text = out.read()
    if not text:
        raise SystemExit(f"the storm through {contender.name} failed: {last}")
    report = json.loads(text)
    return Storm(report, ended - report["series"][-1]["at"], done)


class Stops:
    """Looks at a role's transactions in which nothing is asked, until it is left."""

    # Shorter ones are those of clients that work.
    LEAST = 0.25

    def __init__(self, postgres, role):
        self.postgres = postgres
        state = f"usename = '{role}' and state = 'idle in transaction'"
        idle = "extract(epoch from clock_timestamp() - min(state_change))"
        self.query = f"select extract(epoch from now()), coalesce({idle}, 0) from pg_stat_activity where {state}"

    def __enter__(self):
        self.out = tempfile.TemporaryFile("w+")
        self.psql = self.postgres.psql(stdin=subprocess.PIPE, stdout=self.out, stderr=subprocess.DEVNULL)
        self.psql.stdin.write(f"{self.query} \\watch 0.1\n")
        self.psql.stdin.flush()
        return self

    def __exit__(self, *_):
        self.psql.kill()
        self.psql.wait()
        self.psql.stdin.close()
        self.out.seek(0)
        lines = [line.strip().split("|") for line in self.out if line.count("|") == 1]
        self.out.close()
        self.seen = [(float(when), float(idle)) for when, idle in lines if float(idle) >= self.LEAST]

    def longest(self):
        """The longest, in seconds."""
        return max((idle for _, idle in self.seen), default=0)

    def last(self):
        """When one was seen last."""
        return max((when for when, _ in self.seen), default=None)


@dataclass
class Connections:
    """What PostgreSQL's log says of a role's connections."""

    # The most at one time, and how many were made.
    most: int = 0
    opened: int = 0
    # The most that came in one second, and the most that had come and were not let in yet.
    per_second: int = 0
    in_flight: int = 0


def connections(postgres, role, since, until=float("inf")):
    """A role's connections between two times. Those that came and were not let in have no role yet."""
    there, coming, arrivals = set(), {}, []
    found = Connections()
    for when, pid, what, rest in events(postgres):
        if when >= until:
            break
        match what:
            case "connection received":
                coming[pid] = when
                arrivals += [when] * (when >= since)
            case "connection authorized":
                coming.pop(pid, None)
                if f"user={role} " in rest:
                    there.add(pid)
                    found.opened += when >= since
            case "disconnection" | "FATAL":
                coming.pop(pid, None)
                there.discard(pid)
            case _:
                there.clear()
                coming.clear()
        forget_old(coming, when)
        if when >= since:
            found.most = max(found.most, len(there))
            found.in_flight = max(found.in_flight, len(coming))
    found.per_second = densest(arrivals)
    return found


# Seconds in which a connection is let in or not: the log does not tell of those that only cancel, or go away.
LONG = 3


def forget_old(coming, now):
    """Drops those who came long ago."""
    for pid in [pid for pid, when in coming.items() if now - when > LONG]:
        del coming[pid]


def coming(postgres):
    """When the number of connections that had come and were not let in yet changed, and to what."""
    under_way, changes = {}, []
    for when, pid, what, _ in events(postgres):
        before = len(under_way)
        if what == "connection received":
            under_way[pid] = when
        else:
            under_way.pop(pid, None)
        forget_old(under_way, when)
        if len(under_way) != before:
            changes.append((when, len(under_way)))
    return changes


def ready_at(postgres, since):
    """When PostgreSQL let clients in again."""
    return next(when for when, _, what, _ in events(postgres) if what.startswith("database") and when >= since)


def events(postgres):
    """Connections that came and went or were refused, in order, without the harness's own."""
    lines = [line for line in map(LINE.match, postgres.log.read_text(errors="replace").splitlines()) if line]
    ours = own(lines)
    for place, line in enumerate(lines):
        if place not in ours:
            when = datetime.datetime.strptime(line[1], "%Y-%m-%d %H:%M:%S.%f")
            yield when.replace(tzinfo=datetime.timezone.utc).timestamp(), line[2], line[4] or line[5], line[6]


def own(lines):
    """Places of the lines of the harness's own connections. Who came is known only later, and processes' numbers come again."""
    places, of_process = set(), {}
    for place, line in enumerate(lines):
        if line[4] == "connection received":
            of_process[line[2]] = []
        of_process.setdefault(line[2], []).append(place)
        if line[3] == OWN:
            places.update(of_process[line[2]])
    return places


def densest(times):
    """The most of them within one second."""
    most, first = 0, 0
    for last, when in enumerate(times):
        while times[first] < when - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def resident(pid):
    """A process's memory, in KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])
