#!/bin/sh
# Installs the drivers that tests/clients.rs runs, below target/test-tools. Does nothing if they
# are there already in these versions.
set -eu
cd "$(dirname "$0")/../.."
here=tests/clients
tools=target/test-tools
mkdir -p "$tools"

if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/requirements.txt"
fi
if ! cmp -s "$here/package.json" "$tools/package.json"; then
    cp "$here/package.json" "$tools/package.json.new"
    mv "$tools/package.json.new" "$tools/package.json"
    npm install --prefix "$tools" --silent --no-audit --no-fund || { rm "$tools/package.json"; exit 1; }
fi
