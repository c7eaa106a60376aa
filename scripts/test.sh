#!/usr/bin/env bash
# Installs what the tests need and runs them: test.sh [NAME...]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_postgres
missing=()
have openssl || missing+=(openssl)
have psql || missing+=(postgresql-client)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  install_packages "${missing[@]}"
fi

filter='all()'
if ! have npm && may_install; then
  install_packages nodejs npm
fi
if ! have npm; then
  say "SKIPPED: the tests with node-postgres, since there is no npm (Debian: nodejs npm)."
  filter='not test(node)'
fi
if [ -x tests/clients/install.sh ] && ! tests/clients/install.sh && have npm; then
  die "the drivers that the tests run cannot be installed (see above)"
fi

if have cargo-nextest; then
  cargo nextest run --locked --no-tests=warn -E "$filter" "$@"
else
  skip=()
  [ "$filter" = 'all()' ] || skip=(--skip node)
  cargo test --locked "$@" -- "${skip[@]}"
fi
