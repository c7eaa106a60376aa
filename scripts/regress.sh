#!/usr/bin/env bash
# Runs PostgreSQL's own regression scripts on PostgreSQL and through pgweir and compares:
# regress.sh [OPTION...]. PGWEIR_TEST_BIN names a pgweir that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_postgres
need_compiler
have python3 || install_packages python3
have psql || install_packages postgresql-client
tools=$(postgres_bin)
driver=$(dirname "$tools")/lib/pgxs/src/test/regress/pg_regress
[ -x "$driver" ] || die "no pg_regress at $driver: this recipe wants Debian's PostgreSQL."
have dpkg-source || install_packages dpkg-dev

# The sources of the very packages that are installed, from where these came.
fetch() {
  local package=postgresql-${major} parts=$work/apt/parts lists=$work/apt/lists file
  mkdir -p "$parts" "$lists/partial"
  for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$parts/${file##*/}"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >"$parts/source-${file##*/}.list"
  done
  local apt=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$parts"
    -o "Dir::State::lists=$lists" -o APT::Sandbox::User=root)
  say "fetching the sources of $package $version"
  # Some of the system's sources may have no source packages; what counts is that ours is there.
  apt-get "${apt[@]}" update --quiet=2 || true
  (cd "$work" && apt-get "${apt[@]}" source --quiet=2 --download-only "$package=$version" &&
    apt-get -o APT::Sandbox::User=root download --quiet=2 "postgresql-server-dev-$major=$version")
}

unpack() {
  mkdir -p "$work/source" "$work/headers"
  tar -xf "$work"/*.orig.tar.* -C "$work/source" --strip-components=1
  dpkg-deb -x "$work"/postgresql-server-dev-*.deb "$work/headers"
}

# The scripts load this library by its place; the other two come with PostgreSQL.
build_library() {
  local library=$work/library
  mkdir -p "$library"
  cc -O1 -w -fPIC -shared -fwrapv -I "$work/headers/usr/include/postgresql/$major/server" \
    -I /usr/include/postgresql -o "$library/regress.so" "$work/source/src/test/regress/regress.c"
  cp "$(dirname "$tools")/lib/autoinc.so" "$(dirname "$tools")/lib/refint.so" "$library"
}

major=$("$tools/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
version=$(dpkg-query -W -f '${source:Version}' "postgresql-$major")
work=$PWD/target/regress/$version
if [ ! -e "$work/done" ]; then
  rm -rf "$work"
  mkdir -p "$work"
  fetch
  unpack
  build_library
  touch "$work/done"
fi
binary=${PGWEIR_TEST_BIN:-}
if [ -z "$binary" ]; then
  need_cargo
  cargo build --locked
  binary=target/debug/pgweir
fi
exec python3 -B scripts/regress.py --tools "$tools" --driver "$driver" --pgweir "$binary" \
  --suite "$work/source/src/test/regress" --library "$work/library" --out target/regress/last "$@"
