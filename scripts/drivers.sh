#!/usr/bin/env bash
# Runs client drivers through pgweir and counts the transactions behind which the client was free to
# change servers: drivers.sh [NAME...]. PGWEIR_TEST_BIN names a pgweir that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

here=$PWD/tests/drivers
tools=$PWD/target/drivers
gopath=/usr/share/gocode

need_cargo
need_compiler
need_postgres
packages=()
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
have npm || packages+=(nodejs npm)
have javac || packages+=(default-jdk-headless)
[ -e /usr/share/java/postgresql.jar ] || packages+=(libpostgresql-jdbc-java)
# Debian's own, for its ruby-pg.
[ -e /usr/lib/ruby/vendor_ruby/pg.rb ] && [ -x /usr/bin/ruby ] || packages+=(ruby ruby-pg)
have go || packages+=(golang-go)
[ -d $gopath/src/github.com/jackc/pgx ] || packages+=(golang-github-jackc-pgx-v4-dev)
[ -d $gopath/src/github.com/lib/pq ] || packages+=(golang-github-lib-pq-dev)
[ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"

mkdir -p "$tools"
if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
  python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$tools/requirements.txt"
fi
if ! cmp -s "$here/package.json" "$tools/installed.json"; then
  cp "$here/package.json" "$tools/package.json"
  npm install --prefix "$tools" --silent --no-audit --no-fund
  cp "$here/package.json" "$tools/installed.json"
fi
for name in pgx pq; do
  GO111MODULE=off GOPATH=$gopath GOCACHE=$tools/gocache GOFLAGS= \
    go build -o "$tools/with_$name" "$here/with_$name/main.go"
done
CARGO_TARGET_DIR=$tools/cargo \
  cargo build --release --locked --quiet --manifest-path "$here/with_tokio_postgres/Cargo.toml"
javac -cp /usr/share/java/postgresql.jar -d "$tools/classes" "$here/WithJdbc.java"

binary=${PGWEIR_TEST_BIN:-}
if [ -z "$binary" ]; then
  cargo build --locked
  binary=target/debug/pgweir
fi
exec python3 -B scripts/drivers.py --tools "$(postgres_bin)" --pgweir "$binary" \
  --programs "$here" --built "$tools" "$@"
