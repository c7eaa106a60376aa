"""One run of pgbench through one contender: its figures, and whether they count."""

import re
import subprocess
import time
from dataclasses import dataclass, field

import process
from contenders import DATABASE
from parts import Figure, Run

# The least part of a pool that must have worked.
POOL_IN_USE = 0.95
# For what a proxy still does when pgbench has left.
SETTLING = 0.2


@dataclass
class Load:
    """What pgbench does. `steady`: its clients stay, so that all of a pool is wanted at once."""

    flags: list
    steady: bool = True
    # Instead of those of the options.
    clients: int | None = None
    threads: int | None = None
    environment: dict = field(default_factory=dict)

    def sized(self, options):
        """Its flags with its numbers of clients and threads."""
        clients, threads = self.clients or options.clients, self.threads or options.threads
        return [*self.flags, "-c", str(clients), "-j", str(threads)]


SCRIPT = "benches/settings.sql"

LOADS = {
    "simple": Load(["-S", "-M", "simple"]),
    "extended": Load(["-S", "-M", "extended"]),
    "prepared": Load(["-S", "-M", "prepared"]),
    "update": Load(["-N", "-M", "simple"]),
    "logins": Load(["-S", "-M", "simple", "-C"], steady=False),
    "plain": Load(["-M", "simple", "-f", SCRIPT, "-D", "done=1"]),
    "settings": Load(["-M", "simple", "-f", SCRIPT, "-D", "done=0"]),
}

TPS = Figure("transactions/s", 0)
LATENCY = Figure("latency, ms", 3)
CPU = Figure("CPU ms per 1,000", 1)
KERNEL = Figure("of it in the kernel, %", 0)
SLEEPS = Figure("sleeps per transaction", 2)
SERVERS = Figure("servers at work", 0)


def run(stage, contender, load, seconds):
    """Runs it once. Whatever is wrong with the run is among its problems."""
    command = [stage.postgres.bin / "pgbench", "-n", *load.sized(stage.options), "-T", str(seconds)]
    command += ["-h", "127.0.0.1", "-p", str(contender.port), "-U", contender.role, DATABASE]
    environment = stage.postgres.environment(stage.password) | load.environment
    since, limit = time.time(), seconds + 60
    before = process.spent(contender.pid) if contender.pid else None
    try:
        done = subprocess.run(
            command, env=environment, text=True, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return Run(problems=[f"pgbench had not ended after {limit} s"])
    result, transactions = read(done)
    if contender.pid and transactions:
        time.sleep(SETTLING)
        result.figures |= by_transaction(process.spent(contender.pid) - before, transactions)
    if contender.pool:
        there, used = stage.postgres.servers(contender.role, since)
        result.figures[SERVERS] = used
        result.problems += pool_problems(contender, load, there, used)
    return result


def read(done):
    """The figures that pgbench printed, and how many transactions they are of."""
    number = lambda pattern: re.search(pattern, done.stdout, re.MULTILINE)
    count = number(r"^number of transactions actually processed: (\d+)")
    tps, latency = number(r"^tps = ([\d.]+)"), number(r"^latency average = ([\d.]+) ms")
    failed = number(r"^number of failed transactions: (\d+)")
    if done.returncode != 0 or not (count and tps and latency):
        return Run(problems=[f"pgbench ended with {done.returncode}: {tail(done.stderr)}"]), 0
    result = Run({TPS: float(tps[1]), LATENCY: float(latency[1])})
    if int(count[1]) == 0 or (failed and int(failed[1]) > 0):
        result.problems.append("transactions failed")
    if re.search(r"error|abort|FATAL", done.stderr):
        result.problems.append(tail(done.stderr))
    return result, int(count[1])


def by_transaction(spent, transactions):
    """What a proxy spent on each."""
    return {
        CPU: spent.cpu * 1e6 / transactions,
        KERNEL: 100 * spent.system / max(spent.cpu, 1e-9),
        SLEEPS: spent.sleeps / transactions,
    }


def pool_problems(contender, load, there, used):
    """A pool that was not used, or not kept to, makes figures that compare nothing."""
    if there > contender.pool + contender.others:
        return [f"{there} connections for a pool of {contender.pool}"]
    if load.steady and used < POOL_IN_USE * contender.pool:
        return [f"only {used} of {contender.pool} servers worked"]
    return []


def tail(text):
    """The end of what a tool had to say."""
    return " / ".join(text.strip().splitlines()[-3:])
