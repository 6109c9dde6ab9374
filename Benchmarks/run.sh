#!/usr/bin/env bash
# Builds what is measured and what it is measured against, and measures it: see run.py for what, and for the options.
#   Benchmarks/run.sh [--quick] [--rounds N] [--only PART,…] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
case " $* " in *" -h "* | *" --help "*) exec python3 Benchmarks/run.py --help ;; esac

for product in LedgerServer replay; do
    swift build --configuration release --scratch-path .build-release --product "$product"
done
swift build --configuration release --package-path Benchmarks --scratch-path Benchmarks/.build
make --no-print-directory -f Benchmarks/native.mk
exec python3 Benchmarks/run.py "$@"
