#!/usr/bin/env bash
# Builds target/guided/pgweir: pgweir laid out by what it does under load. A first build counts what runs
# while pgbench works through it, and the compiler makes the second one from that (PGO). It takes two
# release builds and a minute of load.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_cargo
need_compiler
need_postgres
have python3 || install_packages python3

host=$(rustc --version --verbose | sed -n 's/^host: //p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
  have rustup || die "llvm-profdata is missing: it comes with rustup's component llvm-tools."
  rustup component add llvm-tools
fi

profile=$PWD/target/profile
# With --target, the flags are not for what runs during the build.
build() {
  RUSTFLAGS=$1 cargo build --release --locked --bin pgweir --target "$host" --target-dir "target/$2"
}

rm -rf "$profile"
mkdir -p "$profile"
build "-Cprofile-generate=$profile" counting
python3 -B benches/train.py --tools "$(postgres_bin)" --pgweir "target/counting/$host/release/pgweir"
"$profdata" merge -o "$profile/merged.profdata" "$profile"
build "-Cprofile-use=$profile/merged.profdata" guided
cp "target/guided/$host/release/pgweir" target/guided/pgweir
say "built target/guided/pgweir"
