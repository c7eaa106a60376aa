# Shared by the scripts: finding and installing what they need. To be sourced by bash.

say() {
  printf '%s\n' "$*" >&2
}

die() {
  say "$*"
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# Prints the folder of PostgreSQL's server binaries, the newest if there are several.
postgres_bin() {
  local found
  if [ -n "${PGWEIR_PG_BIN:-}" ] && [ -x "$PGWEIR_PG_BIN/postgres" ]; then
    echo "$PGWEIR_PG_BIN"
  elif have postgres; then
    dirname "$(readlink -f "$(command -v postgres)")"
  else
    found=$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)
    [ -n "$found" ] && dirname "$found"
  fi
}

may_install() {
  have apt-get && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Installs Debian packages, or ends with the one command that does.
install_packages() {
  if ! have apt-get; then
    die "missing: $*. Install them with this system's package manager and run this again."
  fi
  if ! may_install; then
    say "missing: $*. No right to install them; run this once, then this again:"
    die "  sudo apt-get install --yes --no-install-recommends $*"
  fi
  say "installing $*"
  as_root apt-get update --quiet=2
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet=2 --no-install-recommends "$@"
}

# Installs PostgreSQL if there is none, without the server that Debian would start with it: the
# demonstration and the tests start their own.
need_postgres() {
  if [ -n "$(postgres_bin)" ]; then
    return
  fi
  local drop_in=/etc/postgresql-common/createcluster.d/pgweir-install.conf
  if may_install && [ ! -e /etc/postgresql-common ]; then
    as_root mkdir -p "$(dirname "$drop_in")"
    echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
  fi
  local failed=
  (install_packages postgresql) || failed=yes
  if [ -e "$drop_in" ]; then
    as_root rm "$drop_in"
  fi
  [ -z "$failed" ] || exit 1
  [ -n "$(postgres_bin)" ] || die "PostgreSQL was installed, but no postgres binary is found."
}

need_cargo() {
  if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
  fi
  have cargo || die "cargo is missing: install a Rust toolchain, 1.91 or newer (rustup), first."
}

# Installs what pgweir is measured with and against.
need_contenders() {
  need_postgres
  have python3 || install_packages python3
  install_daemon pgbouncer
}

# Installs a package whose program is in sbin. Debian starts one of its own, which nobody here asked for.
install_daemon() {
  if have "$1" || [ -x "/usr/sbin/$1" ]; then return; fi
  install_packages "$1"
  if have service; then as_root service "$1" stop >/dev/null 2>&1 || true; fi
}

# Installs what `make bench` needs beyond that.
need_bench_tools() {
  need_contenders
  have openssl || install_packages openssl
  install_daemon haproxy
}

# Some dependencies are built from C. Where nothing may be installed, what else is named is told in the same command.
need_compiler() {
  local missing=()
  have cc || missing+=(gcc libc6-dev)
  have make || missing+=(make)
  may_install || missing+=("$@")
  if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}"
  fi
}

# Installs what the tests need; part of a test's name in $skip says that it cannot run here.
need_test_tools() {
  need_cargo
  need_compiler
  need_postgres
  local missing=()
  have openssl || missing+=(openssl)
  have psql || missing+=(postgresql-client)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}"
  fi
  skip=()
  if ! have npm && may_install; then
    install_packages nodejs npm
  fi
  if ! have npm; then
    say "SKIPPED: the tests with node-postgres, since there is no npm (Debian: nodejs npm)."
    skip=(--skip node)
  fi
  if [ -x tests/clients/install.sh ] && ! tests/clients/install.sh && have npm; then
    die "the drivers that the tests run cannot be installed (see above)"
  fi
}
