#!/usr/bin/env bash
# Feeds the meter and the translations with what libFuzzer makes of the streams in fixtures/, for so many seconds.
#   scripts/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
swift build --package-path Fuzz --scratch-path Fuzz/.build --configuration release --sanitize fuzzer
corpus=Fuzz/.build/corpus
mkdir -p "$corpus"
# The first three bytes say what is checked and how the rest is cut.
for stream in fixtures/streams/*.sse; do
    for check in $(seq 0 15); do
        printf "\\x$(printf %02x "$check")\\x07\\x1f" | cat - "$stream" >"$corpus/$check-$(basename "$stream" .sse)"
    done
done
SWIFT_BACKTRACE=enable=no Fuzz/.build/release/MeterFuzz -max_total_time="${1:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
    -artifact_prefix=Fuzz/.build/ -print_final_stats=1 "$corpus"
