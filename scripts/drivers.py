"""Runs programs of client drivers through pgweir and counts their unpinned transactions.

`make drivers` installs the drivers and calls this. Each program is run once for each phase
(tests/drivers/README.md): eight clients at once on a pool of two. A client that is pinned keeps its server from the other seven, so
a program that comes to its end is a test by itself; what it counts is the share of transactions behind
which no pin began.
"""

import argparse
import contextlib
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

import contenders  # noqa: E402

PHASES = ["startup", "plain", "reset"]
TIME = 120


def drivers(options):
    """{name: (command, how its version is asked for)}."""
    python = options.built / "venv/bin/python"
    here, built = options.programs, options.built
    java = ["java", "-cp", f"{built / 'classes'}:/usr/share/java/postgresql.jar", "WithJdbc"]
    tokio = built / "cargo/release/with-tokio-postgres"
    debian = ["dpkg-query", "-W", "-f", "${Version}"]
    sed = '/name = "tokio-postgres"/{n;s/.*"\\(.*\\)"/\\1/p}'
    locked = ["sed", "-n", sed, here / "with_tokio_postgres/Cargo.lock"]
    return {
        "psycopg": ([python, here / "with_psycopg.py"], None),
        "asyncpg": ([python, here / "with_asyncpg.py"], None),
        "SQLAlchemy on psycopg": ([python, here / "with_sqlalchemy.py"], None),
        "Django on psycopg": ([python, here / "with_django.py"], None),
        "node-postgres": (["node", here / "with_pg.js"], None),
        "postgres.js": (["node", here / "with_postgres.js"], None),
        "pgjdbc": (java, None),
        "ruby-pg": (["/usr/bin/ruby", here / "with_ruby_pg.rb"], None),
        "pgx": ([built / "with_pgx"], [*debian, "golang-github-jackc-pgx-v4-dev"]),
        "lib/pq": ([built / "with_pq"], [*debian, "golang-github-lib-pq-dev"]),
        "tokio-postgres": ([tokio], locked),
    }


@dataclass
class Stage:
    """A PostgreSQL and the pgweir before it."""

    postgres: contenders.Postgres
    port: int
    http: int
    environment: dict

    def count(self, metric, labels=""):
        """The sum of a metric over the series with these labels; 0 if there is none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics") as answer:
            text = answer.read().decode()
        series = re.findall(rf"^{metric}(?:\{{(.*)\}})? (\S+)$", text, re.M)
        return int(sum(float(value) for found, value in series if labels in found))


@contextlib.contextmanager
def stage(options):
    """Everything up, with the tables of the programs."""
    password = secrets.token_urlsafe()
    with tempfile.TemporaryDirectory(prefix="pgweir-drivers-") as name:
        folder = pathlib.Path(name)
        if os.geteuid() == 0:
            subprocess.run(["chown", "postgres:postgres", folder], check=True)
        postgres = contenders.Postgres(options.tools, folder, connections=20)
        with postgres.started():
            postgres.sql(f"create database {contenders.DATABASE}", "postgres")
            verifier = postgres.role("driver", password)
            postgres.sql(TABLES)
            port, http = contenders.free_port(), contenders.free_port()
            path = folder / "pgweir.toml"
            text = CONFIGURATION.format(port=port, http=http, verifier=verifier, upstream=postgres.port)
            contenders.write(path, text)
            command = [options.pgweir.resolve(), "serve", "--config", path]
            environment = os.environ | {
                "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGDATABASE": contenders.DATABASE,
                "PGUSER": "driver", "PGPASSWORD": password, "PGSSLMODE": "disable",
                "NODE_PATH": str(options.built / "node_modules"), "NODE_NO_WARNINGS": "1",
            }
            with contenders.running(command, port, folder / "pgweir.log", signal.SIGTERM):
                yield Stage(postgres, port, http, environment)


def run(stage, command, phase):
    """One phase: the clients are connected and idle when it is measured. Gives transactions and pins."""
    stage.postgres.sql("truncate visit, bulk, visit_django")
    before = totals(stage)
    process = subprocess.Popen(
        [*command, phase], env=stage.environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )
    stop = signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.alarm(TIME)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "idle\n":
                break
        held = settled(stage)
        tail, _ = process.communicate("\n" if process.poll() is None else None)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, stop)
    if process.returncode != 0 or not said or said[-1] != "idle\n":
        raise RuntimeError("".join(said) + tail)
    after = totals(stage)
    return after[0] - before[0], max(after[1] - before[1], held)


def totals(stage):
    """Transactions so far, and times that a client was pinned."""
    return stage.count("pgweir_transactions_total"), stage.count("pgweir_pins_total")


def prove(stage):
    """What counts pins must see one. A pgweir without that metric shows only pins that last."""
    _, before = totals(stage)
    command = [stage.postgres.bin / "psql", "-Xqc", "create temp table pinned (a int)", "-c", "drop table pinned"]
    subprocess.run(command, env=stage.environment, check=True)
    deadline = time.monotonic() + 5
    while totals(stage)[1] == before:
        if time.monotonic() > deadline:
            print("no pgweir_pins_total: pins that end within a phase are not counted", file=sys.stderr)
            break
        time.sleep(0.1)


def settled(stage):
    """Clients that hold a server while all are idle: what is asked or cleaned is given a moment."""
    deadline = time.monotonic() + 5
    while held := stage.count("pgweir_servers", 'state="leased"'):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return held


def version(stage, command, ask):
    """As the driver says it."""
    ask = ask or [*command, "version"]
    done = subprocess.run(ask, env=stage.environment, check=True, text=True, capture_output=True)
    return done.stdout.strip()


def measure(stage, name, command, ask):
    """A row of the table, and whether all phases came to their end."""
    cells, fine = [name, version(stage, command, ask)], True
    for phase in PHASES:
        try:
            transactions, pins = run(stage, command, phase)
            share = 100 * max(0, transactions - pins) / max(1, transactions)
            cells.append(f"{share:.4g} % of {transactions}")
            fine &= phase != "plain" or pins == 0
        except RuntimeError as failure:
            print(f"{name}, {phase}:\n{failure}", file=sys.stderr)
            cells.append("failed")
            fine = False
    return cells, fine


def arguments():
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", required=True, type=pathlib.Path, help="PostgreSQL's bin folder")
    parser.add_argument("--pgweir", required=True, type=pathlib.Path)
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--built", required=True, type=pathlib.Path, help="where drivers are installed")
    parser.add_argument("names", nargs="*", help="only these")
    options = parser.parse_args()
    if unknown := set(options.names) - set(drivers(options)):
        parser.error(f"no such driver: {', '.join(unknown)}; there are: {', '.join(drivers(options))}")
    return options


def main():
    """All drivers, or those that are named."""
    options = arguments()
    all_fine = True
    with stage(options) as place:
        prove(place)
        print("| driver | version | start-up | plain use | reset |\n|---|---|---|---|---|", flush=True)
        for name, (command, ask) in drivers(options).items():
            if options.names and name not in options.names:
                continue
            cells, fine = measure(place, name, command, ask)
            all_fine &= fine
            print("| " + " | ".join(cells) + " |", flush=True)
    if not all_fine:
        sys.exit("not all went as it should")


TABLES = """
create type mood as enum ('sad', 'happy');
create table visit (who int, round int, mood mood not null, tags text[] not null, facts jsonb not null,
    primary key (who, round));
create table visit_django (id bigint generated by default as identity primary key, who int, round int,
    mood text not null, tags text[] not null, facts jsonb not null, unique (who, round));
create table bulk (who int, n int, word text);
grant all on all tables in schema public to driver;
"""

CONFIGURATION = """\
listen = ["127.0.0.1:{port}"]
http_listen = "127.0.0.1:{http}"
[limits]
max_servers = 2
[timeouts]
checkout = "20s"
[users.driver]
secret = "{verifier}"
[databases.bench]
host = "127.0.0.1"
port = {upstream}
tls = "disable"
"""

if __name__ == "__main__":
    main()
