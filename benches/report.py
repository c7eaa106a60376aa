"""The figures as people read them: a line per run, and the whole as Markdown."""

import datetime
import os
import platform
import re
import statistics
import subprocess

TARGET = 1.1

HEAD = """# Benchmarks

Written by `make bench`; do not edit by hand. The machines by themselves: `make micro`.

{clients} clients of pgbench on {threads} threads, a pool of {pool} servers for each proxy, scale factor \
{scale}. Each figure is the median of {rounds} interleaved runs of {seconds} s, with the least and the \
greatest beside it. Everything runs on one machine over loopback, so that transactions per second are \
shared among pgbench, PostgreSQL and the proxy: what compares proxies is their processor time per 1,000 \
transactions (user and system mode, all threads, from `/proc/PID/stat`).

A run with an error, with less than 95 % of the pool at work or with more connections than the pool has \
is void and is not in the medians. (`logins` wants no full pool: pgbench connects one client at a time \
per thread.)

"""


def line(part, contender, turn, run):
    """One run, as it goes by."""
    cpu = "" if run.cpu is None else f", {run.cpu:.1f} ms CPU per 1,000, {run.used} servers worked"
    void = "".join(f"; VOID: {problem}" for problem in run.problems)
    return f"{part.name} {turn + 1} {contender.name}: {run.tps:.0f} tps{cpu}{void}"


def render(options, postgres, everyone, runs):
    """The whole report."""
    parts = [HEAD.format(**vars(options)), machine(options, postgres.version())]
    parts += [section(options, part, everyone, runs) for part in options.parts]
    parts.append(configurations(everyone))
    return "\n".join(parts)


def machine(options, postgresql):
    """Where and with what."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [
        ("date", datetime.date.today().isoformat()),
        ("processor", f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.1f} GiB"),
        ("system", f"Linux {platform.release()}"),
        ("PostgreSQL", postgresql),
        ("pgweir", f"{said(options.pgweir, '--version')} ({commit()})"),
        ("PgBouncer", said(options.pgbouncer, "--version")),
        ("authentication", "SCRAM-SHA-256 on both sides, from verifiers; no proxy has a password"),
    ]
    return table(["", ""], rows)


def section(options, part, everyone, runs):
    """One kind of load."""
    heads = ["", "transactions/s", "latency, ms", "CPU ms per 1,000", "servers at work", "void"]
    asked = [one for one in everyone if (part.name, one.name) in runs or not (part.own or one.switched)]
    rows = [row(one, runs.get((part.name, one.name))) for one in asked]
    text = f"## {part.name}: {part.what}\n\n`pgbench {' '.join(part.flags)} -c {options.clients} "
    text += f"-j {options.threads}`\n\n" + table(heads, rows)
    return text + RATIOS.get(part.name, ratio)(runs, part)


def row(contender, runs):
    """One contender's medians."""
    if runs is None:
        return [contender.name, "not measured: it does not keep named statements", "", "", "", ""]
    good = [run for run in runs if not run.problems]
    void = len(runs) - len(good)
    if not good:
        return [contender.name, "void", "", "", "", f"{void} of {len(runs)}"]
    cells = [contender.name, spread([run.tps for run in good], 0), spread([run.latency for run in good], 2)]
    if contender.pid is None:
        return [*cells, "", "", void]
    least = min(run.used for run in good)
    return [*cells, spread([run.cpu for run in good], 1), f"{least} of {contender.pool}", void]


def ratio(runs, part):
    """pgweir's processor time against PgBouncer's, both on one thread, round by round."""
    found = ratios(runs.get((part.name, "pgweir"), []), runs.get((part.name, "PgBouncer"), []))
    if not found:
        return ""
    text = f"\npgweir on one thread takes {spread(found, 2)} times PgBouncer's CPU per transaction"
    return text + (f" (target: at most {TARGET}).\n" if part.name == "simple" else ".\n")


def settings_ratio(runs, _part):
    """What settings of a client's own cost, against the same load without."""
    return cost(runs.get(("settings", "pgweir"), []), runs.get(("plain", "pgweir"), []), 1.25)


def tracking_ratio(runs, _part):
    """What the tracking of session state costs, against the same program with it turned off."""
    on, off = (runs.get(("tracking", f"pgweir, tracking {way}"), []) for way in ("on", "off"))
    return cost(on, off, 1.05)


RATIOS = {"settings": settings_ratio, "tracking": tracking_ratio}


def ratios(some, others):
    """Processor time of runs against that of others, round by round."""
    return [one.cpu / other.cpu for one, other in zip(some, others) if not one.problems + other.problems]


def cost(with_it, without, most):
    """What something costs."""
    found = ratios(with_it, without)
    if not found:
        return ""
    return f"\nIt takes {spread(found, 2)} times the CPU of the same without (target: at most {most}).\n"


def configurations(everyone):
    """What each proxy was told."""
    told = [one for one in everyone if one.configuration]
    blocks = [f"### {one.name}\n\n```\n{one.configuration}```\n" for one in told]
    return "## Configurations\n\n" + "\n".join(blocks)


def spread(values, digits):
    """Median (least to greatest)."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(heads, rows):
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in cells) + " |\n" for cells in lines)


def said(*command):
    """The first line of what a command prints."""
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout.splitlines()[0]


def commit():
    """Of the tree that was built."""
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(describe, text=True, capture_output=True, check=False)
    return done.stdout.strip() or "no commit"
