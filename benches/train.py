"""Gives a pgweir that counts what it runs the work that it is to be built for.

Called by `make release`. The loads are those of the benchmarks, through one worker thread and a pool that
is too small for all clients.
"""

import argparse
import pathlib
import secrets
import sys

import contenders
import pgbench
import side_by_side
from stage import Stage


def arguments():
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2, help="threads of pgbench")
    parser.add_argument("--pool", type=int, default=20, help="servers")
    parser.add_argument("--tools", required=True, help="PostgreSQL's bin folder")
    parser.add_argument("--pgweir", required=True, type=pathlib.Path)
    return parser.parse_args()


def main():
    """All loads, one after the other; 1 if one of them failed."""
    options = arguments()
    password = secrets.token_urlsafe()
    failed = 0
    with (
        side_by_side.folder() as place,
        contenders.Postgres(options.tools, place, options.pool).started() as postgres,
    ):
        postgres.fill(1)
        binary = options.pgweir.resolve()
        with contenders.pgweir(postgres, password, binary, options.pool, workers=1) as pgweir:
            stage = Stage(options, postgres, password)
            for name, load in pgbench.LOADS.items():
                run = pgbench.run(stage, pgweir, load, options.seconds)
                failed += bool(run.problems)
                print(f"{name}: {run.figures.get(pgbench.TPS, 0):.0f} transactions/s", *run.problems, file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
