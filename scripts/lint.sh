#!/usr/bin/env bash
# Checks format, lints and dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
cargo fmt --all --check
cargo clippy --all-targets --locked -- -D warnings

# cargo-deny: the one in PATH, else the one in target/tools, installed there if need be.
tools="$PWD/target/tools"
for folder in "$tools/bin" /opt/*/bin; do
  if ! have cargo-deny && [ -x "$folder/cargo-deny" ]; then
    PATH="$folder:$PATH"
  fi
done
if ! have cargo-deny; then
  say "installing cargo-deny into target/tools"
  cargo install --locked --root "$tools" cargo-deny
  PATH="$tools/bin:$PATH"
fi
cargo deny --locked check bans licenses sources

# The database of advisories is a repository of its own, which not every machine can reach; without
# it, the least versions in deny.toml still hold.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if cargo deny --locked check advisories >"$log" 2>&1; then
  say "advisories: none"
elif grep -qE 'failed to (fetch|load|open|clone|acquire).*advisor|advisory database' "$log"; then
  say "SKIPPED: advisories, since their database cannot be had here; deny.toml's least versions hold"
else
  cat "$log" >&2
  exit 1
fi
