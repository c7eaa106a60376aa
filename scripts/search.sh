#!/usr/bin/env bash
# Runs the random tests again and again with new random numbers, and with more cases each, until one fails:
# search.sh [ROUNDS]. The seed of each round is printed; PGWEIR_TEST_SEED=SEED make test runs a seed again.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_test_tools
export PGWEIR_TEST_PIPELINES="${PGWEIR_TEST_PIPELINES:-20000}" PGWEIR_TEST_MUTATIONS="${PGWEIR_TEST_MUTATIONS:-4000}"
export PGWEIR_TEST_TEXTS="${PGWEIR_TEST_TEXTS:-5000}" PROPTEST_CASES="${PROPTEST_CASES:-5000}"
random='test(random_) or test(tokens_begin) or test(property::) or test(bytes::) or test(slots) or test(governor)
  or test(shapes) or test(/^sql::tests/) or test(client_login) or test(server_login)'
for ((round = 1; round <= ${1:-1}; round++)); do
  export PGWEIR_TEST_SEED=$((RANDOM * 32768 + RANDOM))
  export PROPTEST_RNG_SEED=$PGWEIR_TEST_SEED
  echo "round $round: PGWEIR_TEST_SEED=$PGWEIR_TEST_SEED PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"
  cargo nextest run --locked --profile long -E "$random"
done
