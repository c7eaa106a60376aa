"""Who is measured: a throwaway PostgreSQL, straight and behind each proxy.

Each contender logs in as a role of its own, so that PostgreSQL itself tells whose connections are
whose. All are ended by their process, in whatever way the run ends.
"""

import contextlib
import os
import pathlib
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

DATABASE = "bench"
STARTING = 30
ENDING = 15
READY = "database system is ready to accept connections"
RESERVED = 3
SPARE = 5
# Below the range that the kernel gives to outgoing connections.
PORTS = range(20_000, 32_000)
# The oldest PgBouncer that keeps protocol-level prepared statements in transaction mode.
PREPARED_SINCE = (1, 21)
# Of any proxy.
MOST_CLIENTS = 20_000


@dataclass
class Contender:
    """One way to the database; without a proxy there is no `pid`, and without pooling no `pool`."""

    name: str
    role: str
    port: int
    pid: int | None = None
    pool: int | None = None
    # Servers that it may have for other pools.
    others: int = 0
    configuration: str = ""
    prepared: bool = True
    # Where its metrics are.
    http: int | None = None


def free_port():
    """A port on loopback that nobody listens on now."""
    for port in random.sample(PORTS, 50):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no free port")


def unprivileged():
    """Who PostgreSQL and PgBouncer run as, since both refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def write(path, text):
    """Writes a file that PostgreSQL's user can read, and others cannot."""
    path.write_text(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


@contextlib.contextmanager
def running(command, port, log, stop, **who):
    """A process; ended at the end, by force if it must be. With a port, it is waited for until it listens there."""
    # Added to: a server that is started again keeps its log.
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **who
        )
    try:
        if port:
            wait_for(process, port, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process, port, log):
    """Waits until a process listens."""
    deadline = time.monotonic() + STARTING
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args[0]} did not start:\n{pathlib.Path(log).read_text()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)


class Postgres:
    """A throwaway PostgreSQL with pgbench's tables. `more` are settings that win over ours."""

    def __init__(self, tools, folder, connections, more=None):
        self.more = more or {}
        self.bin = pathlib.Path(tools)
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_urlsafe()
        self.connections = connections + RESERVED + SPARE
        self.log = folder / "postgresql.log"
        self.process = self.stack = None

    @contextlib.contextmanager
    def started(self):
        """The server, from initdb to its end."""
        data = self.folder / "data"
        write(self.folder / "password", self.password)
        initdb = [self.bin / "initdb", "-D", data, "--username=postgres", "--auth=scram-sha-256"]
        initdb += ["--pwfile", self.folder / "password", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **unprivileged())
        with open(data / "postgresql.conf", "a") as file:
            file.write("".join(f"{key} = '{value}'\n" for key, value in self.settings().items()))
        with contextlib.ExitStack() as self.stack:
            self.launch()
            yield self

    def launch(self):
        """Starts the process and waits until it accepts connections."""
        command = [self.bin / "postgres", "-D", self.folder / "data"]
        before = self.times_ready()
        process = running(command, None, self.log, signal.SIGINT, cwd=self.folder, **unprivileged())
        self.process = self.stack.enter_context(process)
        self.wait_until_up(before)

    def restart(self):
        """Stops it, without waiting for clients, and starts it again."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(ENDING)
        self.launch()

    def settings(self):
        """What differs from PostgreSQL's defaults."""
        return {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": self.connections,
            "superuser_reserved_connections": RESERVED,
            "shared_buffers": "256MB",
            "fsync": "off",
            "autovacuum": "off",
            "log_line_prefix": "%m [%p] %e %u ",
        } | self.more

    def times_ready(self):
        """How often it has been ready, by its log: to connect would be seen there among those who are counted."""
        return self.log.read_text(errors="replace").count(READY) if self.log.exists() else 0

    def wait_until_up(self, before):
        """It listens before it lets anybody in."""
        deadline = time.monotonic() + STARTING
        while self.times_ready() == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.1)

    def environment(self, password):
        """For libpq: no file of the user's own, no TLS on loopback."""
        return os.environ | {"PGPASSWORD": password, "PGSSLMODE": "disable", "PGPASSFILE": "/dev/null"}

    def sql(self, text, database=DATABASE):
        """Runs a text as superuser and gives its rows as text."""
        command, environment = self.superuser(database)
        done = subprocess.run(command, input=text, env=environment, check=True, text=True, capture_output=True)
        return done.stdout.strip()

    def superuser(self, database=DATABASE):
        """psql, and its environment."""
        command = [self.bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", "postgres", "-d", database]
        return command, self.environment(self.password)

    def psql(self, **pipes):
        """A psql of the superuser's that goes on."""
        command, environment = self.superuser()
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    def fill(self, scale):
        """Makes pgbench's tables, open to everybody."""
        self.sql(f"create database {DATABASE}", "postgres")
        command = [self.bin / "pgbench", "-i", "-q", "-s", str(scale), "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", "postgres", DATABASE]
        subprocess.run(command, env=self.environment(self.password), check=True, capture_output=True)
        self.sql("grant all on all tables in schema public to public; checkpoint")

    def role(self, name, password):
        """Makes a role, anew if it is there, and gives the verifier that PostgreSQL keeps of its password."""
        self.sql(f"drop role if exists {name}; create role {name} login password '{password}'")
        return self.sql(f"select rolpassword from pg_authid where rolname = '{name}'")

    def version(self):
        """As the server says it."""
        return self.sql("show server_version")

    def servers(self, role, since):
        """A role's connections: all, and those that ran something since a time."""
        used = f"count(*) filter (where query_start >= to_timestamp({since:.3f}))"
        row = self.sql(f"select count(*), {used} from pg_stat_activity where usename = '{role}'")
        return tuple(int(number) for number in row.split("|"))

    def refusals(self):
        """Connections that it refused for want of slots."""
        return [line for line in self.log.read_text().splitlines() if " 53300 " in line]


def straight(postgres, password):
    """No proxy."""
    postgres.role("straight", password)
    return Contender("straight", "straight", postgres.port)


@contextlib.contextmanager
def pgweir(postgres, password, binary, pool, workers, also="", without=None, tables="", limits="", upstream=None):
    """pgweir with so many worker threads; 0 = one per core. `also` is said of it; `without` is turned off.

    `tables` are further ones of its configuration, and `limits` further lines of that one; ROLE in them is its
    clients' name. `upstream` is the port on which it finds PostgreSQL, if that is not PostgreSQL's own.
    """
    role = f"pgweir_{workers}" + "".join(letter for letter in also if letter.isalnum())
    verifier = postgres.role(role, password)
    port, http = free_port(), free_port()
    text = "\n".join(
        [
            f'listen = ["127.0.0.1:{port}"]',
            f'http_listen = "127.0.0.1:{http}"',
            f"workers = {workers}",
            "[limits]",
            f"max_clients = {MOST_CLIENTS}",
            f"max_servers = {pool}{limits}",
            "[auth]",
            'method = "scram-sha-256"',
            f"[users.{role}]",
            f'secret = "{verifier}"',
            f"[databases.{DATABASE}]",
            'host = "127.0.0.1"',
            f"port = {upstream or postgres.port}",
            'tls = "disable"\n',
            tables.replace("ROLE", role),
        ]
    )
    path = postgres.folder / f"{role}.toml"
    write(path, text)
    command = [binary, "serve", "--config", path]
    environment = os.environ | ({"PGWEIR_TEST_WITHOUT": without} if without else {})
    assert_no_password([binary, "check", "--config", path], environment)
    log = postgres.folder / f"{role}.log"
    with running(command, port, log, signal.SIGTERM, env=environment) as process:
        shown = text.replace(verifier, VERIFIER)
        yield Contender(f"pgweir{also}", role, port, process.pid, pool, configuration=shown, http=http)


def assert_no_password(check, environment):
    """Ends it if a password is among the settings as they hold, from whatever file or variable."""
    settings = subprocess.run(check, env=environment, check=True, text=True, capture_output=True).stdout
    if "(SCRAM verifier)" not in settings or "(plain text)" in settings:
        raise SystemExit(f"pgweir has a password among its settings:\n{settings}")


@contextlib.contextmanager
def pgbouncer(postgres, password, binary, pool, lines=(), upstream=None, also=""):
    """PgBouncer with the same pool and the same way to log in. `lines` are further settings; `also` is said of it."""
    version = pgbouncer_version(binary)
    role = "pgbouncer" + "".join(letter for letter in also if letter.isalnum())
    verifier = postgres.role(role, password)
    users = postgres.folder / f"{role}.txt"
    write(users, f'"{role}" "{verifier}"\n')
    port = free_port()
    settings = [
        "[databases]",
        f"{DATABASE} = host=127.0.0.1 port={upstream or postgres.port} dbname={DATABASE}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {users}",
        "pool_mode = transaction",
        f"default_pool_size = {pool}",
        f"max_client_conn = {MOST_CLIENTS}",
        "server_tls_sslmode = disable",
    ]
    prepared = version >= PREPARED_SINCE
    if prepared:
        settings.append("max_prepared_statements = 200")
    text = "\n".join([*settings, *lines]) + "\n"
    path = postgres.folder / f"{role}.ini"
    write(path, text)
    log = postgres.folder / f"{role}.log"
    with running([binary, path], port, log, signal.SIGTERM, **unprivileged()) as process:
        shown = text + f'; {users.name}: "{role}" "{VERIFIER}"\n'
        yield Contender(f"PgBouncer{also}", role, port, process.pid, pool, configuration=shown, prepared=prepared)


@contextlib.contextmanager
def haproxy(postgres, password, binary):
    """HAProxy, which relays bytes and knows nothing of PostgreSQL: a server for each client, on one thread."""
    postgres.role("haproxy", password)
    port = free_port()
    path = postgres.folder / "haproxy.cfg"
    text = HAPROXY.format(clients=MOST_CLIENTS // 4, port=port, postgres=postgres.port)
    write(path, text)
    log = postgres.folder / "haproxy.log"
    with running([binary, "-db", "-f", path], port, log, signal.SIGTERM, **unprivileged()) as process:
        yield Contender("HAProxy", "haproxy", port, process.pid, configuration=text)


HAPROXY = """global
    nbthread 1
    maxconn {clients}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend clients
    bind 127.0.0.1:{port}
    default_backend postgres
backend postgres
    server postgres 127.0.0.1:{postgres}
"""


def pgbouncer_version(binary):
    """Major and minor."""
    text = subprocess.run([binary, "--version"], check=True, text=True, capture_output=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]))


VERIFIER = "<SCRAM verifier, copied from pg_authid>"
