"""What the scenarios of storms stand on: their register, and a PostgreSQL with fresh proxies."""

import contextlib
import pathlib
from dataclasses import dataclass, field

import contenders

SCENARIOS = {}


@dataclass
class Figure:
    """What is measured; `better` is "low", "high" or "" where neither is.

    `most` and `least` are what pgweir's median is to keep.
    """

    name: str
    better: str = "low"
    digits: int = 0
    most: float | None = None
    least: float | None = None

    def aim(self):
        """In words; empty without one."""
        most = "" if self.most is None else f"at most {self.most:g}"
        least = "" if self.least is None else f"at least {self.least:g}"
        return ", ".join(text for text in (least, most) if text)

    def is_met(self, number):
        """Whether a number keeps it; none does not."""
        if number is None:
            return False
        return (self.most is None or number <= self.most) and (self.least is None or number >= self.least)


@dataclass
class Scenario:
    """A storm and what is measured in it."""

    what: str
    figures: list
    send: object


@dataclass
class Stage:
    """What a scenario stands on."""

    options: object
    postgres: object
    password: str
    # Rounds before this one.
    turn: int = 0
    # What each proxy was told, by its name.
    configurations: dict = field(default_factory=dict)

    @property
    def pictures(self):
        """Where pictures go: beside the report."""
        return pathlib.Path(self.options.out or "target/storms.md").with_suffix("")

    def many(self, number):
        """So many clients, or fewer if it is to be a small run."""
        return max(int(number * self.options.size), 2)

    def told(self, contender, also=""):
        """The same contender; what it was told first is kept for the report, `also` being said of it."""
        if contender.configuration:
            self.configurations.setdefault(contender.name + also, contender.configuration)
        return contender

    @contextlib.contextmanager
    def proxies(self, tables="", lines=(), upstreams=(None, None)):
        """pgweir and PgBouncer, fresh; `upstreams` are the ports on which they find PostgreSQL."""
        options = self.options
        who = (self.postgres, self.password)
        many = {"tables": tables, "upstream": upstreams[0]}
        weir = contenders.pgweir(*who, options.pgweir, options.pool, options.workers, **many)
        bouncer = contenders.pgbouncer(*who, options.pgbouncer, options.pool, lines, upstreams[1])
        with weir as one, bouncer as other:
            yield [one, other]

    def in_turn(self, contenders):
        """The same, beginning with another in each round: who comes first finds the machine as no other does."""
        all_of_them = list(contenders)
        first = self.turn % len(all_of_them)
        return all_of_them[first:] + all_of_them[:first]

    def straight(self):
        """PostgreSQL itself."""
        return contenders.straight(self.postgres, self.password)

    def limit(self, contender):
        """Flags that watch the pool's limit."""
        return ["--limit", contender.pool] if contender.pool else []


def scenario(what, *figures):
    """Registers one."""

    def register(function):
        SCENARIOS[function.__name__] = Scenario(what, list(figures), function)
        return function

    return register


ERRORS = Figure("errors", most=0)
GOODPUT = Figure("transactions/s", "high")
