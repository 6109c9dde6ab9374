#!/usr/bin/env bash
# The gateway on a temporary ledger: a streamed completion is charged to an account, and the balance is proven from the events alone.
#   scripts/demo.sh BUILD_FOLDER
set -euo pipefail
bin=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; fi
    rm -rf "$folder"
}
trap finish EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

export GATEWAY_MASTER_KEY=demo-master-key
"$bin/LedgerServer" serve --config "$root/examples/gateway.yaml" --port 0 \
    --database-url "sqlite:///$folder/ledger.sqlite" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do
    url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$folder/log")
    [ -n "$url" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { cat "$folder/log" >&2; exit 1; }
master=(-H "X-AnyLLM-Key: Bearer $GATEWAY_MASTER_KEY" -H 'content-type: application/json')

say "1. An account with 5 credits, and a key"
curl -sf "${master[@]}" "$url/v1/users" -d '{"user_id":"alice"}' | jq -c '{user_id, blocked, spend}'
curl -sf "${master[@]}" "$url/v1/billing/topup" -d '{"user_id":"alice","amount":5}' | jq -c .
key=$(curl -sf "${master[@]}" "$url/v1/keys" -d '{"user_id":"alice","key_name":"demo"}' | jq -r .key)
echo "key: ${key:0:7}… (shown once, stored as its SHA-256)"

say "2. A streamed completion"
curl -sfN "$url/v1/chat/completions" -H "Authorization: Bearer $key" -H 'content-type: application/json' \
    -d '{"model":"demo:echo","stream":true,"messages":[{"role":"user","content":"Hello, ledger!"}]}' |
    sed -un 's/^data: {/{/p' | jq --unbuffered -rj '.choices[0].delta.content // empty'
echo

say "3. What it cost: the balance, and the line of the usage log"
curl -sf "$url/v1/profile/balance" -H "Authorization: Bearer $key" | jq -c '.data | {credits_exact, held, available}'
for _ in $(seq 50); do
    line=$(curl -sf "${master[@]}" "$url/v1/users/alice/usage" | jq -c '.[0] // empty | {model, prompt_tokens, completion_tokens, cost, credits, status}')
    [ -n "$line" ] && break
    sleep 0.1
done
echo "$line"

say "4. The events behind it (replay events, while the server runs)"
"$bin/replay" events "$folder/ledger.sqlite" --account alice | jq -c '{position, type, data: (.data | {amount, credits, balance, allocations} | with_entries(select(.value != null)))}'

say "5. The whole ledger proven anew (replay verify)"
"$bin/replay" verify "$folder/ledger.sqlite"
"$bin/replay" balance "$folder/ledger.sqlite" --account alice | grep -E '^(balance|events)'
