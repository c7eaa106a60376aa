#!/usr/bin/env bash
# Measures pgweir beside PgBouncer, HAProxy and PostgreSQL alone: bench.sh [OPTION...]; ONLY=PART,... picks parts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_bench_tools
# What is compared is the fastest build; the plain one stands beside it.
scripts/release.sh
options=(--tools "$(postgres_bin)")
case ",${ONLY:-tracking}," in
  *,tracking,*)
    cargo build --release --locked --features switches
    cp target/release/pgweir target/guided/switched
    options+=(--switched target/guided/switched)
    ;;
esac
if newer=$(scripts/newer_pgbouncer.sh 2>target/newer_pgbouncer.log); then
  options+=(--newer "$newer")
else
  options+=(--no-newer "$(tail -n 1 target/newer_pgbouncer.log)")
fi
cargo build --release --locked
options+=(--plain target/release/pgweir)
if [ -n "${ONLY:-}" ]; then
  options+=(--only "$ONLY")
else
  # Parts alone are for looking; the report always has them all.
  options+=(--out docs/benchmarks.md)
fi
exec python3 -B benches/side_by_side.py "${options[@]}" "$@"
