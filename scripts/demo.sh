#!/usr/bin/env bash
# Installs what the demonstration needs, builds pgweir and runs it: demo.sh [--once] [OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_postgres
cargo build --release --locked
exec target/release/pgweir demo "$@"
