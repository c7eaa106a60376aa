#!/usr/bin/env bash
# Sends storms through pgweir, PgBouncer and to PostgreSQL alone: storms.sh [OPTION...]; ONLY=NAME,... picks scenarios.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_contenders
# As it is to be run, like the package that stands beside it.
scripts/release.sh
options=(--tools "$(postgres_bin)")
if [ -n "${ONLY:-}" ]; then
  options+=(--only "$ONLY")
else
  # Scenarios alone are for looking; the report always has them all.
  options+=(--out docs/storms.md)
fi
exec python3 -B benches/storms.py "${options[@]}" "$@"
