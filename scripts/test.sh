#!/usr/bin/env bash
# Installs what the tests need and runs them: test.sh [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_test_tools
# The same random cases each time, so that a failure is of what was changed; `make search` looks for new ones.
export PGWEIR_TEST_SEED="${PGWEIR_TEST_SEED:-1}" PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-1}"
if have cargo-nextest; then
  cargo nextest run --locked --no-tests=warn "$@" -- "${skip[@]}"
else
  cargo test --locked "$@" -- "${skip[@]}"
fi
