"""The part in which clients go on from the TLS session of their last login, as libpq never does."""

import functools
import time

import process
import tls
from client import Client
from parts import Figure, Run, Target, Way, everybody, part

CPU = Figure("CPU ms per 1,000 logins")
RATE = Figure("logins/s", 0)
RESUMED = Figure("of them resumed, %", 0)
FULL = ", full handshakes"


@part(
    "tls_resumed",
    "a login over TLS 1.3 that resumes, one SELECT, goodbye",
    CPU,
    RATE,
    RESUMED,
    targets=[Target(CPU, 0.40)],
)
def tls_resumed(stage):
    """One login after the other, by a client of our own; for full handshakes the same client does not ask to resume."""
    table, lines = tls.settings(stage.postgres.folder, *tls.ECDSA, only_13=True)
    with everybody(stage, table=table, lines=lines) as those:
        found = [Way(one.name, functools.partial(repeated, stage, one, True)) for one in those]
        yield found + [Way(one.name + FULL, functools.partial(repeated, stage, one, False)) for one in those]


def repeated(stage, contender, resume, seconds):
    """Logins until the time is over."""
    context, session, logins, resumed = tls.only_13(), None, 0, 0
    before, began = process.spent(contender.pid), time.monotonic()
    while time.monotonic() - began < seconds:
        client = Client(contender, stage.password, context=context, session=session if resume else None)
        client.query("select abalance from pgbench_accounts where aid = 1")
        resumed += client.socket.session_reused
        session = client.socket.session
        client.close()
        logins += 1
    lasted = time.monotonic() - began
    spent = process.spent(contender.pid) - before
    return Run({CPU: spent.cpu * 1e6 / logins, RATE: logins / lasted, RESUMED: 100 * resumed / logins})
