"""What Linux says of a process: its processor time, its memory, and how often its threads slept."""

import os
import pathlib
import re
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    """Seconds of processor time of all threads, and how often one of them went to sleep."""

    user: float = 0.0
    system: float = 0.0
    sleeps: int = 0

    @property
    def cpu(self):
        """In both modes."""
        return self.user + self.system

    def __sub__(self, before):
        return Spent(self.user - before.user, self.system - before.system, self.sleeps - before.sleeps)


def spent(pid):
    """By a process so far."""
    place = pathlib.Path(f"/proc/{pid}")
    fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
    sleeps = [number("voluntary_ctxt_switches", status) for status in place.glob("task/*/status")]
    return Spent(int(fields[11]) / TICKS, int(fields[12]) / TICKS, sum(sleeps))


def memory(pid):
    """KiB that are its own, and its share of what others have as well (PSS)."""
    return number("Pss", f"/proc/{pid}/smaps_rollup")


def number(name, path):
    """Of a file with a name and a number in each line."""
    return int(re.search(rf"^{name}:\s+(\d+)", pathlib.Path(path).read_text(), re.MULTILINE)[1])
