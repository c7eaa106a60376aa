"""One run of pgbench through one contender: its figures, and whether they count."""

import os
import re
import subprocess
import time
from dataclasses import dataclass, field

from contenders import DATABASE

# The least part of a pool that must have worked.
POOL_IN_USE = 0.95
TICKS = os.sysconf("SC_CLK_TCK")
# For what a proxy still does when pgbench has left.
SETTLING = 0.2


@dataclass
class Part:
    """One kind of load. `steady`: its clients stay, so that all of a pool is wanted at once."""

    name: str
    flags: list
    what: str
    steady: bool = True
    # Whether only pgweir is measured: the load is about what it alone does.
    own: bool = False
    # Whether it is measured once more with the tracking of session state turned off.
    untracked: bool = False


SCRIPT = "benches/settings.sql"

PARTS = [
    Part("simple", ["-S", "-M", "simple"], "one SELECT by Query"),
    Part("extended", ["-S", "-M", "extended"], "one SELECT by Parse, Bind, Describe, Execute, Sync"),
    Part("prepared", ["-S", "-M", "prepared"], "one SELECT of a named statement"),
    Part("tracking", ["-S", "-M", "prepared"], "the same, with and without tracking", own=True, untracked=True),
    Part("update", ["-N", "-M", "simple"], "UPDATE, SELECT, INSERT in a transaction, by Query"),
    Part("logins", ["-S", "-M", "simple", "-C"], "a login by SCRAM, one SELECT, goodbye", steady=False),
    Part("plain", ["-M", "simple", "-f", SCRIPT, "-D", "done=1"], "the next one's SELECT alone", own=True),
    Part("settings", ["-M", "simple", "-f", SCRIPT, "-D", "done=0"], "three settings a client", own=True),
]


@dataclass
class Run:
    """What one run showed."""

    transactions: int = 0
    tps: float = 0.0
    latency: float = 0.0
    cpu: float | None = None
    servers: int = 0
    used: int = 0
    problems: list = field(default_factory=list)


def cpu_seconds(pid):
    """Processor time of a process so far, in user and system mode, all threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(postgres, contender, password, part, options, seconds):
    """Runs it once. Whatever is wrong with the run is among its problems."""
    command = [postgres.bin / "pgbench", "-n", *part.flags, "-c", str(options.clients)]
    command += ["-j", str(options.threads), "-T", str(seconds), "-h", "127.0.0.1"]
    command += ["-p", str(contender.port), "-U", contender.role, DATABASE]
    since = time.time()
    before = cpu_seconds(contender.pid) if contender.pid else 0.0
    limit = seconds + 60
    environment = postgres.environment(password)
    try:
        done = subprocess.run(
            command, env=environment, text=True, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return Run(problems=[f"pgbench had not ended after {limit} s"])
    result = read(done)
    if contender.pid:
        time.sleep(SETTLING)
        spent = cpu_seconds(contender.pid) - before
        result.cpu = spent * 1e6 / max(result.transactions, 1)
        result.servers, result.used = postgres.servers(contender.role, since)
        result.problems += pool_problems(contender, part, result)
    return result


def read(done):
    """The figures that pgbench printed."""
    result = Run()
    number = lambda pattern: re.search(pattern, done.stdout, re.MULTILINE)
    count = number(r"^number of transactions actually processed: (\d+)")
    tps, latency = number(r"^tps = ([\d.]+)"), number(r"^latency average = ([\d.]+) ms")
    failed = number(r"^number of failed transactions: (\d+)")
    if done.returncode != 0 or not (count and tps and latency):
        result.problems.append(f"pgbench ended with {done.returncode}: {tail(done.stderr)}")
        return result
    result.transactions, result.tps = int(count[1]), float(tps[1])
    result.latency = float(latency[1])
    if result.transactions == 0 or (failed and int(failed[1]) > 0):
        result.problems.append("transactions failed")
    if re.search(r"error|abort|FATAL", done.stderr):
        result.problems.append(tail(done.stderr))
    return result


def pool_problems(contender, part, result):
    """A pool that was not used, or not kept to, makes figures that compare nothing."""
    if result.servers > contender.pool:
        return [f"{result.servers} connections for a pool of {contender.pool}"]
    if part.steady and result.used < POOL_IN_USE * contender.pool:
        return [f"only {result.used} of {contender.pool} servers worked"]
    return []


def tail(text):
    """The end of what a tool had to say."""
    return " / ".join(text.strip().splitlines()[-3:])
