"""Runs PostgreSQL's regression scripts on PostgreSQL and through pgweir, and compares what psql prints.

`make regress` fetches the scripts and calls this. PostgreSQL's own driver, pg_regress, runs each side
on a cluster of its own, in the order and the parallel groups of its schedule. On PostgreSQL each script
must match its expected output. Through pgweir each must too, but for those that a table of
docs/transparency.md explains; what differs from there in name or in number of lines is a failure.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

import contenders  # noqa: E402

PAGE = ROOT / "docs/transparency.md"
HEADING = "## PostgreSQL's regression scripts"
OUTCOME = re.compile(
    r"^(?:test )?\s*(?P<old>\S+)\s+\.\.\. (?P<word>ok|FAILED|failed \(ignored\))"
    r"|^(?P<tap>ok|not ok) +\d+ +[-+] (?P<new>\S+)"
)


def arguments():
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", required=True, help="PostgreSQL's bin folder")
    parser.add_argument("--driver", required=True, help="pg_regress")
    parser.add_argument("--suite", required=True, type=pathlib.Path, help="src/test/regress")
    parser.add_argument("--library", required=True, help="the folder of regress.so")
    parser.add_argument("--pgweir", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where outputs and logs are kept")
    parser.add_argument("--pool", type=int, default=5, help="servers of pgweir's pool")
    parser.add_argument("--parallel", type=int, default=20, help="scripts at a time")
    parser.add_argument("--side", choices=["postgres", "pgweir"], help="only this one; nothing is compared")
    parser.add_argument("--schedule", type=pathlib.Path, help="instead of the suite's own")
    parser.add_argument("tests", nargs="*", help="only these, behind test_setup and in this order")
    return parser.parse_args()


class Cluster(contenders.Postgres):
    """A throwaway PostgreSQL as pg_regress would make one, open to all roles on loopback."""

    def settings(self):
        """What the scripts expect. Everybody may come in, since they connect as roles of their own."""
        hba = self.folder / "hba.conf"
        contenders.write(hba, "host all all 127.0.0.1/32 trust\n")
        return super().settings() | {
            "hba_file": hba,
            "autovacuum": "on",
            "shared_buffers": "128MB",
            "max_prepared_transactions": 2,
            "log_disconnections": "on",
        }


@contextlib.contextmanager
def postgres(options, folder):
    """The port of a bare PostgreSQL."""
    cluster = Cluster(options.tools, folder, connections=60)
    with cluster.started():
        yield cluster.port


@contextlib.contextmanager
def pgweir(options, folder):
    """The port of a pgweir before a PostgreSQL."""
    with postgres(options, folder) as upstream:
        port, http = contenders.free_port(), contenders.free_port()
        path = folder / "pgweir.toml"
        path.write_text(CONFIGURATION.format(port=port, http=http, upstream=upstream, pool=options.pool))
        command = [options.pgweir.resolve(), "serve", "--config", path]
        with contenders.running(command, port, folder / "pgweir.log", signal.SIGTERM):
            yield port


def run(options, name, side):
    """Runs all scripts on one side; gives {script: matched its expected output}."""
    out = options.out / name
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="pgweir-regress-") as temporary:
        folder = pathlib.Path(temporary)
        stage(options, folder)
        with side(options, folder) as port:
            said = drive(options, folder, port)
        shutil.copytree(folder / "out", out, dirs_exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, out)
    (out / "said").write_text(said)
    found = {}
    for line in said.splitlines():
        if match := OUTCOME.match(line):
            found[match["old"] or match["new"]] = "ok" in (match["word"], match["tap"])
    return found


def stage(options, folder):
    """Puts all that PostgreSQL's user reads and writes into a folder of that user's."""
    shutil.copytree(options.suite, folder / "suite")
    shutil.copytree(options.library, folder / "library")
    (folder / "out").mkdir()
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "postgres:postgres", folder], check=True)


def drive(options, folder, port):
    """What pg_regress says."""
    suite = folder / "suite"
    command = [options.driver, f"--inputdir={suite}", f"--outputdir={folder / 'out'}"]
    if (suite / "expected").is_dir() and b"--expecteddir" in pathlib.Path(options.driver).read_bytes():
        command.append(f"--expecteddir={suite}")
    command += [f"--dlpath={folder / 'library'}", f"--bindir={options.tools}"]
    command += ["--host=127.0.0.1", f"--port={port}", "--user=postgres", "--dbname=regression"]
    if options.parallel < 20:
        command.append(f"--max-connections={options.parallel}")
    if options.tests:
        command += ["test_setup", *options.tests]
    else:
        shutil.copy(options.schedule or suite / "parallel_schedule", folder / "schedule")
        command += ["--max-concurrent-tests=20", f"--schedule={folder / 'schedule'}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    kept |= {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    return subprocess.run(
        command, env=kept, cwd=folder, check=False, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **contenders.unprivileged()
    ).stdout


def difference(options, script):
    """The unified difference of one script's two outputs, and how many lines it has."""
    files = [options.out / side / "results" / f"{script}.out" for side in ("postgres", "pgweir")]
    command = ["diff", "-w", "-U3", "--label=postgres", "--label=pgweir", *files]
    text = subprocess.run(command, check=False, capture_output=True).stdout.decode(errors="replace")
    return text, sum(line[:1] in "+-" for line in text.splitlines()[2:])


def explained():
    """{script: lines, as text} of the table in docs/transparency.md."""
    part = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (\d+|varies) \|", part, re.M))


def compare(options, bare, through):
    """Prints what differs; true if all of it is explained."""
    broken = sorted(script for script, matched in bare.items() if not matched)
    missing = sorted(set(bare) - set(through))
    differing = {script: difference(options, script) for script, matched in through.items() if not matched}
    expected = explained()
    fine = not broken and not missing
    for script, (text, lines) in sorted(differing.items()):
        (options.out / f"{script}.diff").write_text(text)
        known = expected.get(script) in (str(lines), "varies")
        fine &= known
        print(f"{'explained' if known else 'DIFFERS'}: {script}, {lines} lines")
    for script in sorted(set(expected) & set(through) - set(differing)):
        print(f"does not differ, though it is explained: {script}")
    print(f"on PostgreSQL: {len(bare) - len(broken)} of {len(bare)} match", *broken)
    print(f"through pgweir: {sum(through.values())} of {len(through)} match", *missing)
    return fine


def main():
    """Both sides, one after the other."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("*.diff"):
        old.unlink()
    sides = {"postgres": postgres, "pgweir": pgweir}
    if options.side:
        found = run(options, options.side, sides[options.side])
        print(f"{sum(found.values())} of {len(found)} match:", *sorted(n for n, ok in found.items() if not ok))
        return
    bare, through = (run(options, name, side) for name, side in sides.items())
    if not bare:
        sys.exit(f"pg_regress ran nothing: see {options.out}/postgres/said")
    if not compare(options, bare, through):
        sys.exit(f"not all is as docs/transparency.md says: see {options.out}/*.diff")


# A script may have to wait until scripts of its group are through with their servers, all of which may be pinned.
CONFIGURATION = """\
listen = ["127.0.0.1:{port}"]
http_listen = "127.0.0.1:{http}"
[auth]
method = "trust"
[limits]
max_servers = {pool}
[pins]
max_pinned = "100%"
[timeouts]
checkout = "10min"
[databases."*"]
host = "127.0.0.1"
port = {upstream}
tls = "disable"
"""

if __name__ == "__main__":
    main()
