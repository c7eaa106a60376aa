#!/usr/bin/env bash
# Runs random session programs on PostgreSQL and through pgweir and compares: oracle.sh
# PGWEIR_ORACLE_PROGRAMS (2000), PGWEIR_ORACLE_STEPS (40), PGWEIR_ORACLE_SEED (random). ORACLE_TEST names another
# test of the comparison.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_postgres
export PGWEIR_ORACLE_PROGRAMS="${PGWEIR_ORACLE_PROGRAMS:-2000}"
export PGWEIR_ORACLE_SEED="${PGWEIR_ORACLE_SEED:-$((RANDOM * 32768 + RANDOM))}"
exec cargo test --locked --test it -- --exact --nocapture \
  "${ORACLE_TEST:-oracle::sessions_through_pgweir_are_sessions_on_postgresql}" "$@"
