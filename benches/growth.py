"""The parts in which there is more and more of something beside the same work, through a pgweir of its own each."""

import contextlib
import functools

import contenders
import pgbench
from client import Client, Crowd
from contenders import DATABASE
from parts import Way, part
from pgbench import CPU, LATENCY, LOADS, SERVERS, TPS

STEPS = (1, 10, 100, 1_000, 10_000, 100_000)
USUAL = (TPS, LATENCY, CPU, SERVERS)


def grown(stage, what, steps, load, fill, shape=lambda number: {}):
    """A way for each number; `fill` gives, as a context, what there is of so many, and `shape` what pgweir is told."""
    options = stage.options
    with contextlib.ExitStack() as stack:
        ways = []
        for number in steps:
            build = (stage.postgres, stage.password, options.pgweir, options.pool, 1, f", {number} {what}")
            weir = stack.enter_context(contenders.pgweir(*build, **shape(number)))
            stack.enter_context(fill(weir, number))
            ways.append(Way(f"{what}: {number:,}", functools.partial(pgbench.run, stage, weir, load)))
        yield ways


def beside(stage, load):
    """Idle clients in their thousands."""
    steps = [number for number in STEPS if 10 <= number <= stage.options.idle]
    return grown(stage, "idle clients", steps, load, lambda weir, number: Crowd(weir, stage.password, number))


@part("growth:clients", "one SELECT by Query, beside idle clients", *USUAL, grows=CPU)
def clients(stage):
    """They are logged in and say nothing."""
    yield from beside(stage, LOADS["simple"])


@part("growth:logins", "a login, one SELECT, goodbye, beside idle clients", *USUAL, grows=CPU)
def logins(stage):
    """As above."""
    yield from beside(stage, LOADS["logins"])


@part("growth:pools", "one SELECT by Query in one of so many pools", *USUAL, grows=CPU)
def pools(stage):
    """Each pool has a client; all are of one database of PostgreSQL's, which has room for a hundred servers of theirs."""
    steps = [number for number in STEPS if number in (1, 100, 10_000) and number <= stage.options.idle]
    fill = functools.partial(each_pool, stage)
    yield from grown(stage, "pools", steps, LOADS["simple"], fill, lambda _: aliases(stage))


# Servers of pools in which nothing is done any more.
OTHERS = 100


def aliases(stage):
    """Whatever database is asked for is the same one, in a pool of its own. The work is done in the first of all pools."""
    table = f'[databases."*"]\nhost = "127.0.0.1"\nport = {stage.postgres.port}\ndbname = "{DATABASE}"\n'
    limits = f"\nmax_servers_host = {stage.options.pool + OTHERS}"
    return {"tables": table + 'tls = "disable"\nmax_servers = 1\n', "limits": limits}


@contextlib.contextmanager
def each_pool(stage, weir, number):
    """A client in each that has run something."""
    weir.others = OTHERS
    with contextlib.ExitStack() as stack:
        for place in range(1, number):
            one = stack.enter_context(contextlib.closing(Client(weir, stage.password, f"p{place}")))
            one.query("select 1")
        yield


@part("growth:statements", "one SELECT of a named statement, beside others", *USUAL, grows=CPU)
def statements(stage):
    """No two have the same text; they are of clients with up to 5,000 each, which keep them."""
    steps = [number for number in STEPS if number in (1, 1_000, 100_000)]
    yield from grown(stage, "statements", steps, LOADS["prepared"], functools.partial(kept, stage))


# A client of pgweir's may have 10,000.
OF_EACH = 5_000
BATCH = 500


@contextlib.contextmanager
def kept(stage, weir, number):
    """Clients with so many statements."""
    with Crowd(weir, stage.password, -(-number // OF_EACH)) as crowd:
        for first in range(0, number, BATCH):
            places = range(first, min(first + BATCH, number))
            crowd.clients[first // OF_EACH].prepare({f"s{place}": STATEMENT.format(place) for place in places})
        yield


STATEMENT = "select abalance as c{} from pgbench_accounts where aid = $1"
