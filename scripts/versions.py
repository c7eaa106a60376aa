"""Makes the table of docs/postgresql-versions.md, and that of session state in docs/transparency.md, from the
logs of the runs: FOLDER [PAGE] [STATE_PAGE]. `-` for a page: leaves that one as it is.

FOLDER has for each major version MAJOR.version (what `postgres --version` said) and MAJOR.log (what
`cargo test -- --show-output` said). Without pages, the tables are printed.
"""

import re
import sys
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

BEGIN = "<!-- Written by `make versions`; edits up to the end mark are lost. -->"
END = "<!-- The end mark: what follows is written by hand. -->"
OUTCOMES = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}


def outcomes(log):
    """{test: (outcome, reason)} of one version."""
    said = outputs(log)
    found = {}
    for test, word, reason in re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)(?:, (.*))?$", log, re.M):
        what, output = OUTCOMES[word], said.get(test, "")
        skipped = re.search(r"^SKIPPED: (.*)$", output, re.M)
        if what == "failed":
            panic = re.search(r"panicked at .*\n(.*)", output)
            reason = panic[1] if panic else "no message"
        elif skipped:
            what, reason = "skipped", skipped[1]
        found[test] = (what, reason)
    total = sum(map(int, re.findall(r"(\d+) (?:passed|failed|ignored);", log)))
    if total != len(found):
        sys.exit(f"{total} tests are summed up, but {len(found)} were read")
    return found


def outputs(log):
    """What each test printed."""
    parts = re.split(r"^---- (\S+) stdout ----$", log, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def row(cells):
    return "| " + " | ".join(cells) + " |"


def counts(results, module):
    of = Counter(what for test, (what, _) in results.items() if module in ("", test.split("::")[0]))
    return " / ".join(str(of[what]) for what in ("passed", "failed", "skipped"))


def notes(runs):
    """A line for each way in which a test did not pass."""
    where = defaultdict(list)
    for major, results in runs.items():
        for test, (what, reason) in results.items():
            if what != "passed":
                where[test, what, reason].append(str(major))
    return [
        f"- `{test}` {what} on {', '.join(majors)}: {reason}"
        for (test, what, reason), majors in sorted(where.items())
    ]


def read(folder):
    """The outcomes of each major version, and what each server calls itself."""
    majors = sorted(int(path.stem) for path in folder.glob("*.version"))
    runs = {major: outcomes((folder / f"{major}.log").read_text(errors="replace")) for major in majors}
    servers = [(folder / f"{major}.version").read_text().split()[-1] for major in majors]
    return runs, servers


def state_table(runs, servers):
    """A line for each scenario about session state."""
    tests = sorted({test for results in runs.values() for test in results if test.startswith("state::")})
    lines = [f"Run on {date.today()}.", "", row(["scenario"] + servers), row(["---"] * (len(servers) + 1))]
    for test in tests:
        what = [results.get(test, ("not run", ""))[0] for results in runs.values()]
        lines.append(row([test.removeprefix("state::").replace("_", " ")] + what))
    return lines


def table(runs, servers):
    majors = list(runs)
    modules = sorted({test.split("::")[0] for results in runs.values() for test in results})
    lines = [
        f"Run on {date.today()}. In each cell: passed / failed / skipped.",
        "",
        row(["module of `tests/`"] + servers),
        row(["---"] * (len(servers) + 1)),
    ]
    for module in modules:
        lines.append(row([f"`{module}`"] + [counts(runs[major], module) for major in majors]))
    lines.append(row(["all"] + [counts(runs[major], "") for major in majors]))
    return lines + ["", "What did not pass:", ""] + (notes(runs) or ["- nothing"])


def main():
    runs, servers = read(Path(sys.argv[1]))
    tables = [table(runs, servers), state_table(runs, servers)]
    pages = [Path(page) for page in sys.argv[2:]]
    for lines in tables[len(pages):]:
        print("\n".join(lines), end="\n\n")
    for page, lines in zip(pages, tables):
        if page != Path("-"):
            write(page, lines)


def write(page, lines):
    """Puts a table between the marks of its page."""
    head, _, rest = page.read_text().partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        sys.exit(f"{page} lacks its marks")
    page.write_text("\n".join([head + BEGIN, ""] + lines + ["", END + tail]))


main()
