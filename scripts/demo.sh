#!/usr/bin/env bash
# Installs what the demonstration needs, builds pgweir and runs it: demo.sh [--once] [OPTION...]; DEMO_BUILD=dev takes
# the build without optimization.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
if [ -n "$(postgres_bin)" ]; then need_compiler; else need_compiler postgresql; fi
need_postgres
case "${DEMO_BUILD:-release}" in
  dev)
    cargo build --locked
    exec target/debug/pgweir demo "$@"
    ;;
  *)
    cargo build --release --locked
    exec target/release/pgweir demo "$@"
    ;;
esac
