"""Storms of clients that want more than there is, each a function by its name that gives figures."""

import subprocess

import contenders
import tls
from sending import connections, resident, send
from stage import ERRORS, GOODPUT, Figure, scenario

# Servers of each proxy, if nothing else is said.
POOL = 20
# Seconds that a client may wait for a server, and how both are told.
DEADLINE = 2
PATIENCE = (f'[timeouts]\ncheckout = "{DEADLINE}s"\n', [f"query_wait_timeout = {DEADLINE}"])


@scenario(
    "2,000 functions log in by SCRAM within 1 s, run one transaction each, and leave",
    ERRORS,
    Figure("arrivals/s reached", "high"),
    Figure("connect p99, ms", digits=1),
    Figure("longest connect, ms", digits=1),
    Figure("wait p99, ms", digits=1),
    Figure("longest wait, ms", digits=1, most=1000 * DEADLINE),
    Figure("transaction p99, ms", digits=1),
    Figure("most servers, sampled", "", most=POOL),
    Figure("most servers, by PostgreSQL's log", "", most=POOL),
    Figure("servers opened", most=POOL),
)
def burst(stage):
    """From nothing: nobody has logged in before, and the proxies have no server yet. None may wait for more than 2 s."""
    with stage.proxies(*PATIENCE) as proxies:
        for one in stage.in_turn([*proxies, stage.straight()]):
            storm = send(stage, one, ["--cold", "--functions", stage.many(2000), "--ramp", "1s", *stage.limit(one)])
            seen = connections(stage.postgres, one.role, storm.began - 1)
            report = storm.report
            yield one.name, [
                storm.errors(),
                report["arrivals"]["achieved_per_second"],
                report["connect"]["p99_ms"],
                report["connect"]["max_ms"],
                report["wait"]["p99_ms"],
                report["wait"]["max_ms"],
                report["transaction"]["p99_ms"],
                report["observed"]["most"],
                seen.most,
                seen.opened,
            ]


@scenario(
    "5,000 clients are connected and silent, 200 more work with 20 ms between transactions",
    ERRORS,
    Figure("idle clients cut", most=0),
    Figure("KiB per idle client", digits=2),
    GOODPUT,
    Figure("wait p99, ms", digits=1),
    Figure("transaction p99, ms", digits=1),
)
def idle(stage):
    """Memory is that of the proxy's process, before the first client and before any works."""
    with stage.proxies() as proxies:
        for one in stage.in_turn(proxies):
            before = resident(one.pid)
            clients = stage.many(5000)
            silent = f"name=silent,functions=0,idle={clients},duration={stage.options.seconds}s"
            busy = f"name=busy,profile=steady,functions={stage.many(200)},transactions=0,think=20ms"
            busy += f",start=4s,ramp=1s,duration={stage.options.seconds}s"
            flags = ["--class", silent, "--class", busy, *stage.limit(one)]
            storm = send(stage, one, flags, {3: lambda one=one: resident(one.pid)})
            found, quiet = storm.of("busy"), storm.of("silent")["idle"]
            yield one.name, [
                storm.errors(),
                quiet["planned"] - quiet["answered"],
                (storm.done[3][2] - before) / clients,
                found["goodput"],
                found["wait"]["p99_ms"],
                found["transaction"]["p99_ms"],
            ]


TIMES = (1, 1.2, 2, 10, 100)
# What pgweir and PgBouncer say when that is over.
REFUSED = ("53300", "08P01")


@scenario(
    f"as many clients as servers, 10 and 100 times as many, each asking again as soon as it has an answer; "
    f"none may wait for more than {DEADLINE} s",
    *(Figure(f"transactions/s at {times}x", "high") for times in TIMES),
    Figure("of those at 1x, at 100x, %", "high", least=90),
    *(Figure(f"transaction p99 at {times}x, ms", digits=1, most=1000 * DEADLINE) for times in TIMES),
    *(Figure(f"longest wait at {times}x, ms", digits=1) for times in TIMES),
    *(Figure(f"refused at {times}x") for times in TIMES),
    Figure("other errors", most=0),
)
def goodput(stage):
    """PostgreSQL alone has no slots for 100 times as many."""
    with stage.proxies(*PATIENCE) as proxies:
        for one in stage.in_turn([*proxies, stage.straight()]):
            storms = [closed(stage, one, times) for times in TIMES if one.pool or times <= 10]
            missing = [None] * (len(TIMES) - len(storms))
            yield one.name, [
                *[storm.report["goodput"] for storm in storms],
                *missing,
                100 * storms[-1].report["goodput"] / storms[0].report["goodput"] if one.pool else None,
                *[storm.report["transaction"]["p99_ms"] for storm in storms],
                *missing,
                *[storm.report["wait"]["max_ms"] for storm in storms],
                *missing,
                *[refused(storm) for storm in storms],
                *missing,
                sum(storm.errors() - refused(storm) for storm in storms),
            ]


def refused(storm):
    """How many waited in vain."""
    errors = storm.report["errors"]
    return sum(errors[code]["count"] for code in REFUSED if code in errors)


def closed(stage, one, times):
    """So many times more clients than servers, all the while."""
    flags = ["--profile", "steady", "--functions", max(int(stage.options.pool * times), 1)]
    flags += ["--transactions-per-function", 0, "--duration", f"{stage.options.seconds}s", "--ramp", "500ms"]
    return send(stage, one, [*flags, *stage.limit(one)])


CLASSES = """
[[classes]]
name = "greedy"
application_name = "greedy*"

[[classes]]
name = "small"
application_name = "small*"
"""


@scenario(
    "1,000 clients of a greedy class beside 10 of a small one, each transaction held for 5 ms",
    Figure("small's p99 alone, ms", digits=1),
    Figure("small's p99 beside greedy, ms", digits=1),
    Figure("times worse", digits=2, most=2),
    Figure("small's p99 beside greedy, ms, with 10 servers guaranteed to it", digits=1),
    Figure("small's transactions/s alone", "high"),
    Figure("small's transactions/s beside greedy", "high"),
    Figure("all transactions/s", "high"),
    Figure("Jain's index between classes", "high", 3),
    Figure("Jain's index between functions", "", 3),
    ERRORS,
)
def classes(stage):
    """All come as one user, and PgBouncer has one queue for them. Between functions, one queue for all is even."""
    tables = CLASSES if knows_classes(stage) else ""
    length = f"profile=steady,transactions=0,hold=5ms,duration={stage.options.seconds}s"
    # When the others have logged in.
    small = ["--class", f"name=small,application_name=small,functions=10,start=2s,{length}"]
    greedy = ["--class", f"name=greedy,application_name=greedy,functions={stage.many(1000)},{length}"]
    # Only pgweir has such a thing.
    guaranteed = {}
    if tables:
        with stage.proxies(f"{tables}guaranteed = 10\n") as proxies:
            for one in (one for one in proxies if one.name == "pgweir"):
                storm = send(stage, one, [*greedy, *small, *stage.limit(one)])
                guaranteed[one.name] = storm.of("small")["transaction"]["p99_ms"]
    with stage.proxies(tables) as proxies:
        for one in stage.in_turn(proxies):
            alone = send(stage, one, [*small, *stage.limit(one)])
            both = send(stage, one, [*greedy, *small, *stage.limit(one)])
            p99s = [storm.of("small")["transaction"]["p99_ms"] for storm in (alone, both)]
            yield one.name, [
                *p99s,
                p99s[1] / max(p99s[0], 0.001),
                guaranteed.get(one.name),
                *[storm.of("small")["goodput"] for storm in (alone, both)],
                both.report["goodput"],
                both.report["fairness_between_classes"],
                both.report["fairness"],
                alone.errors() + both.errors(),
            ]


@scenario(
    "50 clients are connected over TLS and work; then beside 10 processes that log in over TLS some 40 times a second each",
    Figure("workers' transaction p99 alone, ms", digits=1),
    Figure("workers' transaction p99 beside logins, ms", digits=1),
    Figure("logins/s", "high"),
    Figure("login p99, ms", digits=1),
    Figure("workers' transaction p99 beside logins that may resume, ms", digits=1),
    Figure("logins/s that may resume", "high"),
    Figure("login p99 where they may resume, ms", digits=1),
    Figure("of these logins, resumed, %", "high"),
    ERRORS,
)
def handshakes(stage):
    """By a certificate with an RSA key of 2,048 bits. The harness pays the client's half of each handshake."""
    settings = tls.settings(stage.postgres.folder, "rsa:2048")
    length = f"duration={stage.options.seconds}s"
    workers = f"name=workers,profile=steady,functions=50,transactions=0,think=20ms,{length}"
    logins = f"name=logins,profile=steady,functions=10,transactions=2,think=20ms,{length}"
    with stage.proxies(*settings) as proxies:
        for one in stage.in_turn(proxies):
            flags = ["--sslmode", "require", *stage.limit(one), "--class", workers]
            storms = [send(stage, one, flags), send(stage, one, [*flags, "--class", logins])]
            storms.append(send(stage, one, [*flags, "--class", f"{logins},tls_resume=true"]))
            p99s = [storm.of("workers")["transaction"]["p99_ms"] for storm in storms]
            found = [storm.of("logins") for storm in storms[1:]]
            rates = [logged_in["connect"]["count"] / stage.options.seconds for logged_in in found]
            resumed = 100 * found[1]["login"]["resumed"] / max(found[1]["connect"]["count"], 1)
            yield one.name, [
                p99s[0],
                p99s[1],
                rates[0],
                found[0]["connect"]["p99_ms"],
                p99s[2],
                rates[1],
                found[1]["connect"]["p99_ms"],
                resumed,
                sum(storm.errors() for storm in storms),
            ]


def knows_classes(stage):
    """Whether this pgweir has classes of clients."""
    path = stage.postgres.folder / "classes.toml"
    contenders.write(path, '[databases.a]\nhost = "127.0.0.1"\n' + CLASSES)
    check = [stage.options.pgweir, "check", "--config", path]
    return subprocess.run(check, check=False, capture_output=True).returncode == 0
