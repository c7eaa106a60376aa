#!/usr/bin/env bash
# Builds target/pgbouncer/pgbouncer from the source package of a later Debian and prints its path: the one that
# is installed may be too old to keep prepared statements. Its hashes are checked by apt, which checks those by the
# archive's signature. Debian's patches are in; PAM and systemd are not, which no run here uses. PGBOUNCER_SUITE picks another suite.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

place=$PWD/target/pgbouncer
suite=${PGBOUNCER_SUITE:-trixie}
built=$place/pgbouncer

if [ "$(cat "$place/suite" 2>/dev/null)" = "$suite" ] && [ -x "$built" ]; then
  echo "$built"
  exit
fi
have apt-get || die "there is no apt-get, by which its source comes"
need_compiler
missing=()
have dpkg-source || missing+=(dpkg-dev)
have pkg-config || missing+=(pkg-config)
for library in libevent libcares:libc-ares openssl:libssl; do
  pkg-config --exists "${library%:*}" 2>/dev/null || missing+=("${library#*:}-dev")
done
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}" >&2

# The mirror that this system's apt has, for source packages alone, and beside its own lists.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' | grep -v security | head -n 1)
[ -n "$mirror" ] || die "apt has no mirror, from which its source would come"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || die "$keys is missing (Debian: debian-archive-keyring)"
rm -rf "$place"
mkdir -p "$place/lists" "$place/cache"
echo "deb-src [signed-by=$keys] $mirror $suite main" >"$place/sources.list"
apt=(-qq -o "Dir::Etc::SourceList=$place/sources.list" -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root)
apt+=(-o "Dir::State::Lists=$place/lists" -o "Dir::Cache=$place/cache")
apt-get "${apt[@]}" update >&2
cd "$place"
apt-get "${apt[@]}" source --download-only pgbouncer >&2
dpkg-source --extract ./*.dsc source >&2
cd source
# As Debian builds its packages.
eval "$(dpkg-buildflags --export=sh)"
./configure --with-cares=yes >&2
make -j"$(nproc)" pgbouncer >&2
cp pgbouncer "$built"
echo "$suite" >"$place/suite"
echo "$built"
