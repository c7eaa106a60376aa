"""Storms in which something goes wrong or is changed, each a function by its name that gives figures."""

import contextlib
import statistics
import subprocess

from curve import Sampler, draw
from middleman import Middleman
from sending import Stops, coming, connections, densest, ready_at, send
from stage import ERRORS, GOODPUT, Figure, scenario


@scenario(
    "PostgreSQL is restarted under 200 clients that work, and they go on",
    Figure("connections in the densest second afterwards"),
    Figure("most connections under way at once afterwards"),
    Figure("seconds to 90 % of the throughput, after PostgreSQL accepts", digits=2),
    GOODPUT,
    Figure("errors of clients"),
)
def restart(stage):
    """The log of PostgreSQL says who came, and when it let them in."""
    with stage.proxies() as proxies:
        for one in stage.in_turn([*proxies, stage.straight()]):
            flags = ["--profile", "steady", "--functions", stage.many(200), "--transactions-per-function", 0]
            # Proxies that wait before they try again are to be waited for.
            flags += ["--think", "5ms", "--duration", f"{2 * stage.options.seconds}s", *stage.limit(one)]
            middle = max(stage.options.seconds // 3, 2)
            storm = send(stage, one, flags, {middle: stage.postgres.restart})
            stopped = storm.done[middle][0]
            ready = ready_at(stage.postgres, stopped)
            seen = connections(stage.postgres, one.role, stopped)
            yield one.name, [
                seen.per_second,
                seen.in_flight,
                recovery(storm, stopped - storm.began, ready - storm.began),
                storm.report["goodput"],
                storm.errors(),
            ]


def recovery(storm, stopped, ready):
    """Seconds from when PostgreSQL was ready until as much is committed as before it stopped."""
    rate = lambda point: point["all"]["transaction"]["count"] / max(point["span"], 0.001)
    before = statistics.median(rate(point) for point in storm.points(1, stopped))
    return lasting(storm, ready, lambda point: rate(point) >= 0.9 * before)


def lasting(storm, since, is_good):
    """Seconds from then on until all points of a second are good: one may be what was held back before."""
    for point in storm.points(since):
        second = storm.points(point["at"], point["at"] + 1)
        if all(is_good(one) for one in second):
            return point["at"] - since
    return None


# Seconds of the storm at which logins become slow, are refused, and are as in the beginning; and its end.
SLOW, REFUSED, RELENTED, OVER = 10, 20, 30, 50
TIMES = 10


@scenario(
    f"logins to PostgreSQL take {TIMES} times as long for 10 s, and are refused for 10 s; servers live for 0.1 s",
    Figure("connections under way at once before, at most"),
    Figure("while logins are slow"),
    Figure("afterwards", ""),
    Figure("fewer while they are slow than before and afterwards (1: yes)", "high", least=1),
    Figure("connections tried in the densest second, while they are refused"),
    Figure("seconds to 90 % of the throughput, when they are let in", digits=2),
    Figure("transactions/s before", "high"),
    Figure("transactions/s while logins are slow", "high"),
    Figure("transactions/s afterwards", "high"),
    ERRORS,
)
def governor(stage):
    """By a middleman before PostgreSQL, whose log says what was under way. [As a curve](storms/governor.svg)."""
    tables, lines = '[timeouts]\nserver_lifetime = "100ms"\n', ["server_lifetime = 0.1"]
    curves = {}
    with contextlib.ExitStack() as stack:
        between = [stack.enter_context(Middleman(stage.postgres.port)) for _ in range(2)]
        ports = [one.port for one in between]
        proxies = stack.enter_context(stage.proxies(tables, lines, ports))
        for one, middle in stage.in_turn(zip(proxies, between)):
            at = {SLOW: lambda middle=middle: middle.slow(TIMES), REFUSED: middle.refuse, RELENTED: middle.relent}
            flags = ["--profile", "steady", "--functions", 60, "--transactions-per-function", 0]
            flags += ["--hold", "5ms", "--duration", f"{OVER}s"]
            with Sampler(one.http, "pgweir_host_opening_window") as window:
                storm = send(stage, one, flags, at)
            slow, refused, relented = (storm.done[due][1] for due in (SLOW, REFUSED, RELENTED))
            under_way = lambda since, until: connections(stage.postgres, one.role, since, until).in_flight
            rates = lambda since, until: goodput(storm.points(since, until))
            before = rates(2, SLOW)
            is_back = lambda point, before=before: goodput([point]) >= 0.9 * before
            yield one.name, [
                under_way(storm.began + 2, slow),
                # Those that began before are over by then.
                under_way(slow + 1, refused),
                under_way(relented + 5, float("inf")),
                int(under_way(slow + 1, refused) < min(under_way(storm.began + 2, slow), under_way(relented + 5, float("inf")))),
                densest([when for when in middle.arrivals if refused + 0.1 <= when < relented]),
                lasting(storm, relented - storm.began, is_back),
                before,
                rates(slow - storm.began + 1, refused - storm.began),
                rates(relented - storm.began + 5, OVER),
                storm.errors(),
            ]
            curves[f"{one.name}: connections under way"] = since(coming(stage.postgres), storm.began)
            if window.seen:
                curves[f"{one.name}: as many as may be"] = since(window.seen, storm.began)
    marks = {SLOW: f"logins {TIMES} times slower", REFUSED: "refused", RELENTED: "let in"}
    draw(stage.pictures / "governor.svg", "Connections to PostgreSQL being opened", curves, marks, OVER)


def since(changes, began):
    """Those of a storm, by its seconds."""
    return [(when - began, value) for when, value in changes if 0 <= when - began <= OVER]


def goodput(points):
    """Transactions a second."""
    seconds = sum(point["span"] for point in points)
    return sum(point["all"]["transaction"]["count"] for point in points) / max(seconds, 0.001)


FROZEN = 0.5
# Seconds of the storm in which the clients stop; it lasts until the last of them has gone on.
STOP, LENGTH = 5, 45


@scenario(
    f"500 clients stop in mid-transaction for 30 s beside 50 that work; transactions may be idle for {FROZEN} s",
    Figure("longest idle transaction, s", digits=2),
    Figure("seconds until all servers are back", digits=1),
    Figure("others' wait p99 before, ms", digits=1),
    Figure("others' longest wait, ms", digits=1),
    Figure("seconds until others' p99 is within twice what it was", digits=1),
    Figure("errors of others", most=0),
    Figure("frozen clients cut", ""),
)
def freeze(stage):
    """Only as many as there are servers can stop at a time: the next ones stop when these are cut."""
    tables = f'[timeouts]\nidle_in_transaction = "{int(FROZEN * 1000)}ms"\n'
    with stage.proxies(tables, [f"idle_transaction_timeout = {FROZEN}"]) as proxies:
        for one in stage.in_turn(proxies):
            others = f"name=others,profile=steady,functions=50,transactions=0,think=20ms,duration={LENGTH}s"
            frozen = f"name=frozen,profile=freeze,functions={stage.many(500)},ramp=0,freeze=30s,start={STOP}s"
            with Stops(stage.postgres, one.role) as stops:
                storm = send(stage, one, ["--class", others, "--class", frozen, *stage.limit(one)])
            before = usual_wait(storm.points(1, STOP))
            calm = [second for second in range(STOP, LENGTH - 3) if is_calm(storm, second, before)]
            yield one.name, [
                stops.longest(),
                (stops.last() or storm.began + STOP) - storm.began - STOP,
                before,
                storm.of("others")["wait"]["max_ms"],
                calm[0] - STOP if calm else None,
                storm.errors(storm.of("others")),
                storm.errors(storm.of("frozen")),
            ]


def usual_wait(points):
    """The first class's p99, by the median of the points; without a transaction, there is none."""
    waits = [point["classes"][0]["wait"] for point in points]
    waits = [wait["p99_ms"] for wait in waits if wait["count"]]
    return statistics.median(waits) if waits else None


def is_calm(storm, second, usual):
    """Whether the first class waits at most twice as long as usual from a second on, for three of them."""
    waits = [usual_wait(storm.points(one, one + 1)) for one in range(second, second + 3)]
    return all(wait is not None and wait <= 2 * usual for wait in waits)


@scenario(
    "the pool is set from 20 to 5 to 40 servers under 60 clients that work",
    Figure("most servers at 20", "", most=20),
    Figure("seconds until there are 5", digits=2),
    Figure("most servers at 5, afterwards", "", most=5),
    Figure("seconds until there are 40", digits=2),
    Figure("most servers at 40", "", least=40, most=40),
    ERRORS,
)
def resize(stage):
    """By each one's console."""
    third = max(stage.options.seconds // 3, 4)
    tables = '[admin]\nusers = ["ROLE"]\n'
    with stage.proxies(tables, ["admin_users = pgbouncer"]) as proxies:
        for one, console in stage.in_turn(zip(proxies, ("SET max_servers = {}", "SET default_pool_size = {}"))):
            name = "pgbouncer" if "default" in console else "pgweir"
            steps = {third: 5, 2 * third: 40}
            at = {
                due: lambda one=one, name=name, text=console.format(size): command(stage, one, name, text)
                for due, size in steps.items()
            }
            flags = ["--profile", "steady", "--functions", 60, "--transactions-per-function", 0]
            flags += ["--hold", "2ms", "--duration", f"{3 * third}s"]
            storm = send(stage, one, flags, at)
            fell, grew = (storm.done[due][1] - storm.began for due in steps)
            down = [p for p in storm.points(fell, grew) if p["servers"]["all"] <= 5]
            up = [p for p in storm.points(grew) if p["servers"]["all"] >= 40]
            settled = down[0]["at"] if down else grew
            yield one.name, [
                most(storm.points(0, fell)),
                settled - fell if down else None,
                most(storm.points(settled, grew)) if down else None,
                up[0]["at"] - grew if up else None,
                most(storm.points(grew)),
                storm.errors(),
            ]


def most(points):
    """Servers."""
    return max((point["servers"]["all"] for point in points), default=None)


def command(stage, contender, database, text):
    """Says something on a proxy's console."""
    psql = [stage.postgres.bin / "psql", "-XAtq", "-h", "127.0.0.1", "-p", str(contender.port)]
    psql += ["-U", contender.role, "-d", database, "-c", text]
    environment = stage.postgres.environment(stage.password)
    done = subprocess.run(psql, env=environment, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{contender.name} refused {text!r}: {done.stderr}")
