#!/usr/bin/env bash
# Installs what a bare Debian 12 machine with Swift 6.3 lacks. Running it again changes nothing.
#   scripts/setup.sh         for building, the demo and the tests
#   scripts/setup.sh bench   also for the benchmarks
set -euo pipefail
cd "$(dirname "$0")/.."

swift --version 2>/dev/null | grep -q 'Swift version 6\.' || {
    echo "Swift 6.3 is needed: https://www.swift.org/install/linux/" >&2
    exit 1
}

packages=(libsqlite3-dev libpq-dev nettle-dev pkg-config postgresql sqlite3 hledger beancount curl jq git python3 python3-venv)
[ "${1:-}" = bench ] && packages+=(gcc libc6-dev libssl-dev make)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# The Python peers of the end-to-end tests: a virtual environment of the project's own, remade when they change.
wanted=Tests/EndToEndTests/harness/requirements.txt
if ! cmp -s "$wanted" .venv/requirements.txt; then
    echo "installing the Python peers of the tests into .venv"
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" .venv/requirements.txt
fi
