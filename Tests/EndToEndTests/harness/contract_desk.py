"""What auditors, accountants and programs that follow the ledger are answered; that it is right is what the cases of the desk are about."""

from __future__ import annotations

from contract import Contract, field_error
from matching import INSTANT, TEXT, Each, Open

EXPLAIN, EVENTS, KEYS, CHECKPOINT, EXPORT, STATEMENT = (
    "/v1/ledger/charges/{id}/explain", "/v1/ledger/events", "/v1/ledger/keys", "/v1/ledger/checkpoint", "/v1/exports/{kind}", "/v1/profile/statement")
NOT_WHOLE = "Input should be a whole number from {} to {}"
NO_INSTANT = "Input should be a date or an instant in ISO 8601"


async def desk_routes(c: Contract) -> None:
    for part in (explanations, events, checkpoints, exports, statements):
        with c.check.about(part.__name__):
            await part(c)


async def explanations(c: Contract) -> None:
    key = await c.gateway.user("explained", "5")
    request = (await c.gateway.answer(key, "up:finish", max_tokens=9)).header("x-request-id")
    found = await c.ok("GET", EXPLAIN, Open({"request_id": request, "account": "explained", "model": "up:finish", "consistent": True, "balance_before": "5"}), params={"id": request}, key=key)
    await c.ok("GET", EXPLAIN, found, params={"id": request})
    await c.call("GET", EXPLAIN, 200, params={"id": request}, headers={"accept": "text/plain"}, kind="text/plain")
    for name in ("req_unheard-of", "%F0%9F%92%B8"):
        await c.refused("GET", EXPLAIN, 404, "charge_not_found", TEXT, params={"id": name})
    # Another's is as if it were not there.
    other = await c.gateway.user("explained-other", "1")
    await c.refused("GET", EXPLAIN, 404, "charge_not_found", f"There is no charge for request '{request}'", params={"id": request}, key=other)


async def events(c: Contract) -> None:
    event = {"position": int, "account": TEXT, "version": int, "type": TEXT, "recorded_at": INSTANT, "effective_at": INSTANT, "key": TEXT, "data": dict, "hash": TEXT}
    page = await c.ok("GET", EVENTS, {"events": Each(event), "next_after": 2, "head": int, "has_more": True}, query={"limit": 2})
    c.check.equal([each["position"] for each in page["events"]], [1, 2], "the first page")
    head = page["head"]
    await c.ok("GET", EVENTS, {"events": [], "next_after": head, "head": head, "has_more": False}, query={"after": head})
    await c.refused("GET", EVENTS, 409, "position_not_reached", TEXT, query={"after": 2**63 - 1})
    for value in ("-1", "x", "1.5", str(2**63), ""):
        await c.invalid("GET", EVENTS, field_error("int_parsing", "after", NOT_WHOLE.format(0, 2**63 - 1), "query"), query={"after": value})
    for value in ("0", "1001", "x"):
        await c.invalid("GET", EVENTS, field_error("int_parsing", "limit", NOT_WHOLE.format(1, 1000), "query"), query={"limit": value})


async def checkpoints(c: Contract) -> None:
    # None are configured here; where they are, is in the cases of proofs.
    response = await c.call("GET", KEYS, 200, key=None, kind="text/plain")
    c.check.equal(response.body, b"# No checkpoints are signed here.\n", "the keys")
    await c.refused("GET", CHECKPOINT, 404, "checkpoint_not_found", "No checkpoint has been signed yet")


async def exports(c: Contract) -> None:
    kinds = {"csv": "text/csv", "jsonl": "application/jsonl"}
    for name in ("usage", "charges", "grants", "journal", "roll-forward"):
        for form, kind in kinds.items():
            await c.call("GET", EXPORT, 200, params={"kind": name}, query={"format": form}, kind=kind)
    whole = await c.call("GET", EXPORT, 200, params={"kind": "journal"}, query={"format": "hledger"}, kind="text/plain")
    await c.call("GET", EXPORT, 200, params={"kind": "journal"}, query={"format": "beancount", "by": "event"}, kind="text/plain")
    through = {"format": "hledger", "through": whole.header("x-ledger-through")}
    rest = await c.call("GET", EXPORT, 206, params={"kind": "journal"}, query=through, headers={"range": "bytes=10-"}, kind="text/plain",
                        wanted={"content-range": f"bytes 10-{len(whole.body) - 1}/{len(whole.body)}"})
    c.check.equal(rest.body, whole.body[10:], "the rest")
    await c.call("GET", EXPORT, 416, params={"kind": "journal"}, query=through, headers={"range": f"bytes={len(whole.body)}-"},
                 wanted={"content-range": f"bytes */{len(whole.body)}"})
    await c.refused("GET", EXPORT, 404, "export_not_found", "There is no export 'secrets': usage, charges, grants, journal and roll-forward are", params={"kind": "secrets"})
    await c.refused("GET", EXPORT, 400, "invalid_range", "from must be before to", "from", params={"kind": "usage"}, query={"from": "2026-03-02", "to": "2026-03-02"})
    await c.invalid("GET", EXPORT, field_error("enum", "format", "Input should be 'csv' or 'jsonl'", "query"), params={"kind": "usage"}, query={"format": "hledger"})
    await c.invalid("GET", EXPORT, field_error("enum", "format", "Input should be 'csv' or 'jsonl', 'hledger' or 'beancount'", "query"), params={"kind": "journal"},
                    query={"format": "xml"})
    await c.invalid("GET", EXPORT, field_error("enum", "by", "Input should be 'day' or 'event'", "query"), params={"kind": "journal"}, query={"by": "month"})
    for name in ("from", "to"):
        await c.invalid("GET", EXPORT, field_error("datetime_parsing", name, NO_INSTANT, "query"), params={"kind": "usage"}, query={name: "yesterday"})
    await c.invalid("GET", EXPORT, field_error("int_parsing", "through", "Input should be a position", "query"), params={"kind": "usage"}, query={"through": "-1"})


async def statements(c: Contract) -> None:
    key = await c.gateway.user("stated", "5")
    await c.ok("GET", STATEMENT, Open({"account": "stated", "opening": "0", "granted": "5", "closing": "5", "balanced": True}), key=key)
    for form, kind in {"csv": "text/csv", "text": "text/plain", "html": "text/html"}.items():
        await c.call("GET", STATEMENT, 200, query={"format": form}, key=key, kind=kind)
    await c.refused("GET", STATEMENT, 404, "statement_not_found", TEXT, query={"month": "2001-01"}, key=key)
    await c.refused("GET", STATEMENT, 400, "user_required", TEXT)
    await c.refused("GET", STATEMENT, 404, "user_not_found", TEXT, query={"user": "nobody-at-all"})
    for month in ("2026-13", "2026", "03-2026", "2026-3"):
        await c.invalid("GET", STATEMENT, field_error("month", "month", "Input should be a month such as 2026-03", "query"), query={"month": month}, key=key)
    await c.invalid("GET", STATEMENT, field_error("enum", "format", "Input should be 'json', 'csv', 'text' or 'html'", "query"), query={"format": "pdf"}, key=key)
