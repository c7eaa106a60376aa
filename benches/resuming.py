"""The part in which clients go on from the TLS session of their last login; the client is `pgweir storm`."""

import functools

import process
import tls
from parts import Figure, Run, Target, Way, everybody, part
from sending import send

CPU = Figure("CPU ms per 1,000 logins")
RATE = Figure("logins/s", 0)
RESUMED = Figure("of them resumed, %", 0)
FUNCTIONS = 4


@part(
    "tls_resumed",
    "a login over TLS 1.3 that may resume, one transaction, goodbye",
    CPU,
    RATE,
    RESUMED,
    targets=[Target(CPU, 0.40)],
)
def tls_resumed(stage):
    """By an ECDSA certificate. Who gives no tickets, as PgBouncer, has full handshakes with the same client."""
    table, lines = tls.settings(stage.postgres.folder, *tls.ECDSA, only_13=True)
    with everybody(stage, table=table, lines=lines) as those:
        yield [Way(one.name, functools.partial(storm, stage, one)) for one in those]


def storm(stage, contender, seconds):
    """Whoever leaves is followed by another."""
    logins = f"name=logins,profile=steady,functions={FUNCTIONS},transactions=1,tls_resume=true,duration={seconds}s"
    before = process.spent(contender.pid)
    sent = send(stage, contender, ["--cold", "--sslmode", "require", "--class", logins])
    spent = process.spent(contender.pid) - before
    found = sent.of("logins")
    count = max(found["connect"]["count"], 1)
    figures = {CPU: spent.cpu * 1e6 / count, RATE: count / seconds, RESUMED: 100 * found["login"]["resumed"] / count}
    return Run(figures, [f"{sent.errors()} errors"] if sent.errors() else [])
