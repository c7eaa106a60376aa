#!/usr/bin/env bash
# Installs what the tests need and runs them: test.sh [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_test_tools
if have cargo-nextest; then
  cargo nextest run --locked --no-tests=warn "$@" -- "${skip[@]}"
else
  cargo test --locked "$@" -- "${skip[@]}"
fi
