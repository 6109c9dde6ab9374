"""What is on offer, what a shop tells of payments, and what an operator puts right, answer by answer."""

from __future__ import annotations

import re

from contract import AUDITOR_KEY, BILLING_KEY, Contract, delivery_id, field_error, order_message, shop_signature
from contract_admin import LIMIT_RANGE, SKIP_RANGE, WRONG_TYPES
from gateway import MASTER_KEY
from matching import INSTANT, TEXT, Each, Open

CONFLICT = "This Idempotency-Key was used before for a request with other content"
BAD_KEY = "Idempotency-Key must be 1 to 255 printable ASCII characters"
REASON = "Input should have 1 to 500 bytes"
ADJUST, REFUND, REVERSE = "/v1/billing/adjustments", "/v1/billing/refunds", "/v1/ledger/charges/{id}/reverse"
DELIVERIES, RETRY, RESOLVE, WEBHOOK = (
    "/v1/billing/deliveries", "/v1/billing/deliveries/{id}/retry", "/v1/billing/deliveries/{id}/resolve", "/v1/webhooks/{provider}")
SHOP = {"provider": "lemonsqueezy"}


async def billing_routes(c: Contract) -> None:
    for part in (offers, checkouts, payments, adjustments, refunds, reversals, messages, deliveries, limits, webhooks):
        with c.check.about(part.__name__):
            await part(c)


async def offers(c: Contract) -> None:
    def plan(name: str, price: object, credits: object, top_up: object, bonus: object, grace: object) -> dict:
        return {
            "name": name, "price_usd": price, "cycle_credits": credits, "top_up_to": top_up, "signup_bonus": bonus, "cycle_seconds": 2_592_000,
            "grace_seconds": grace, "credits_per_usd": 10}

    await c.ok("GET", "/v1/billing/plans", [plan("FREE", 0, 0, 10, 20, 0), plan("BASIC", 10, 100, 0, 0, 259_200)], key=None)
    await c.ok("GET", "/v1/billing/products", [
        {"provider": "lemonsqueezy", "product": "1001", "plan": "BASIC", "credits": None, "can_be_bought": True},
        {"provider": "lemonsqueezy", "product": "2001", "plan": None, "credits": 100, "price_usd": 10, "can_be_bought": True},
        {"provider": "lemonsqueezy", "product": "2002", "plan": None, "credits": 2.5, "price_usd": 0.25, "can_be_bought": False}], key=None)


async def checkouts(c: Contract) -> None:
    path, key = "/v1/billing/checkout", await c.gateway.key("ada")
    for product, place in (("1001", "basic"), ("2001", "100")):
        where = {"url": f"https://shop.example/buy/{place}?checkout%5Bcustom%5D%5Buser_id%5D=ada", "provider": "lemonsqueezy"}
        await c.ok("POST", path, where, value={"product": product}, key=key)
        await c.ok("POST", path, where, value={"product": product}, query={"user": "ada"}, key=AUDITOR_KEY)
    await c.gateway.wanted("POST", "/v1/users", {"user_id": "a&b=ü"})
    escaped = "https://shop.example/buy/100?checkout%5Bcustom%5D%5Buser_id%5D=a%26b%3D%C3%BC"
    await c.ok("POST", path, {"url": escaped, "provider": "lemonsqueezy"}, value={"product": "2001"}, query={"user": "a&b=ü"})
    for product in ("2002", "none", ""):
        await c.refused("POST", path, 404, "product_not_found", "There is no such product that can be bought here", value={"product": product}, key=key)
    text = "When using master key, 'user' query parameter is required"
    await c.refused("POST", path, 400, "user_required", text, value={"product": "1001"})
    await c.refused("POST", path, 404, "user_not_found", "User not found", value={"product": "1001"}, query={"user": "nobody"})
    await c.missing("POST", path, "product", value={}, key=key)
    await c.invalid("POST", path, field_error("string_type", "product", WRONG_TYPES["string"][1]), value={"product": 1001}, key=key)


async def payments(c: Contract) -> None:
    """A payment that is named."""
    subscribe, topup = "/v1/billing/subscription", "/v1/billing/topup"
    words = "Input should have 1 to 200 bytes without control characters"
    await c.gateway.user("payer")
    paid, bought = {"user_id": "payer", "plan_name": "BASIC", "payment_id": "contract-1"}, {"user_id": "payer", "amount": 5, "payment_id": "contract-2"}
    for replayed in (None, "true"):
        await c.call("POST", subscribe, 200, {"success": True, "detail": "Subscribed to BASIC"}, value=paid, wanted={"idempotency-replayed": replayed}, key=BILLING_KEY)
        await c.call("POST", topup, 200, {"success": True, "detail": "Added 5.0 credits"}, value=bought, wanted={"idempotency-replayed": replayed}, key=BILLING_KEY)
    for path, value in ((subscribe, {**paid, "payment_id": "contract-2"}), (subscribe, {**paid, "user_id": "ada"}), (topup, {**bought, "amount": 4}),
                        (topup, {**bought, "payment_id": "contract-1"})):
        await c.refused("POST", path, 409, "idempotency_conflict", CONFLICT, value=value)
    text = "No cycle is running that is paid for, or the plan grants no more than the running one"
    await c.refused("POST", subscribe, 409, "nothing_to_upgrade", text, value={**paid, "payment_id": "contract-3", "upgrade": True})
    await c.refused("POST", subscribe, 400, "plan_not_for_sale", "Plan 'FREE' is free: nothing is paid for it", value={**paid, "plan_name": "FREE", "payment_id": "contract-3"})
    for path, value in ((subscribe, paid), (topup, bought)):
        for payment in ("", "x" * 201, "\u0007"):
            await c.invalid("POST", path, field_error("string_length", "payment_id", words), value={**value, "payment_id": payment})
        await c.invalid("POST", path, field_error("string_type", "payment_id", WRONG_TYPES["string"][1]), value={**value, "payment_id": 1})
    await c.invalid("POST", subscribe, field_error("bool_type", "upgrade", WRONG_TYPES["bool"][1]), value={**paid, "upgrade": "yes"})
    rows = [
        {"paidAt": INSTANT, "creatorId": "payer", "amountCents": 50, "credits": 5, "paymentId": "api:contract-2", "purchase": "credits", "plan": None,
         "refundedCents": 0, "waitsForCycle": False},
        {"paidAt": INSTANT, "creatorId": "payer", "amountCents": 1000, "credits": 100, "paymentId": "api:contract-1", "purchase": "cycle", "plan": "BASIC",
         "refundedCents": 0, "waitsForCycle": False}]
    await c.ok("GET", "/v1/profile/payments", {"success": True, "data": {"paymentTransactions": rows}}, query={"user": "payer"})


def correction(user: str, credits: object, balance: object, position: object = int, **more: object) -> dict:
    return {"success": True, "user_id": user, "position": position, "credits": credits, "balance": balance, **more}


async def corrected(c: Contract, path: str, value: dict, pattern: dict, params: dict, key: str, **other: object) -> None:
    """What all corrections have in common; `other` are members that make it another request under the same key."""
    for replayed in (None, "true"):
        await c.call("POST", path, 200, pattern, value=value, params=params, headers={"idempotency-key": key}, wanted={"idempotency-replayed": replayed})
    await c.refused("POST", path, 409, "idempotency_conflict", CONFLICT, value={**value, **other}, params=params, headers={"idempotency-key": key})
    await c.refused("POST", path, 400, "invalid_idempotency_key", BAD_KEY, value=value, params=params, headers={"idempotency-key": "k" * 256})
    for name in ("reason", "user_id", "payment_id"):
        if name in value:
            await c.missing("POST", path, name, value={member: text for member, text in value.items() if member != name}, params=params)
    for reason in ("", "x" * 501):
        await c.invalid("POST", path, field_error("string_length", "reason", REASON), value={**value, "reason": reason}, params=params)
    await c.invalid("POST", path, field_error("string_type", "reason", WRONG_TYPES["string"][1]), value={**value, "reason": 1}, params=params)


async def adjustments(c: Contract) -> None:
    await c.gateway.user("adjusted", 5)
    value = {"user_id": "adjusted", "amount": 2.5, "reason": "An outage"}
    await corrected(c, ADJUST, value, correction("adjusted", 2.5, 7.5), {}, "adjust-1", amount=2)
    await c.ok("POST", ADJUST, correction("adjusted", -1.5, 6), value={**value, "amount": "-1.5"}, key=BILLING_KEY)
    await c.refused("POST", ADJUST, 402, "insufficient_credits", re.compile("Insufficient credits: .+"), value={**value, "amount": -6.000000001})
    await c.refused("POST", ADJUST, 400, "amount_not_positive", "The amount must be above zero", value={**value, "amount": 0})
    await c.refused("POST", ADJUST, 404, "user_not_found", "User not found", value={**value, "user_id": "nobody"})
    words = "Input should be a number of credits with at most nine decimals, from -1000000000 to 1000000000"
    for amount in ("much", 2e9, -2e9, "0.0000000001"):
        await c.invalid("POST", ADJUST, field_error("amount", "amount", words), value={**value, "amount": amount})
    await c.invalid("POST", ADJUST, field_error("float_type", "amount", WRONG_TYPES["number"][1]), value={**value, "amount": True})
    await c.missing("POST", ADJUST, "amount", value={"user_id": "adjusted", "reason": "x"})


async def refunds(c: Contract) -> None:
    await c.gateway.user("refunded")
    await c.gateway.wanted("POST", "/v1/billing/topup", {"user_id": "refunded", "amount": 10, "payment_id": "refunded-1"})
    await c.gateway.wanted("POST", ADJUST, {"user_id": "refunded", "amount": -8, "reason": "x"})
    value = {"payment_id": "api:refunded-1", "amount_usd": 0.5, "reason": "Withdrawn"}
    await corrected(c, REFUND, value, correction("refunded", 5, -3, amount_usd=0.5, taken=2, owed=3), {}, "refund-1", amount_usd=0.25)
    await c.refused("POST", REFUND, 400, "refund_exceeds_payment", "Only 0.5 USD of the payment are left", value={**value, "amount_usd": "0.500001"})
    rest = {"payment_id": "api:refunded-1", "reason": "Withdrawn"}
    await c.ok("POST", REFUND, correction("refunded", 5, -8, amount_usd=0.5, taken=0, owed=5), value={**rest, "amount_usd": None}, key=BILLING_KEY)
    await c.ok("POST", REFUND, correction("refunded", 0, -8, None), value=rest)
    await c.refused("POST", REFUND, 404, "payment_not_found", "Payment 'refunded-1' not found", value={**rest, "payment_id": "refunded-1"})
    words = "Input should be a number of US dollars above 0 with at most six decimals"
    for amount in (0, -1, "much", "0.0000001"):
        await c.invalid("POST", REFUND, field_error("amount", "amount_usd", words), value={**rest, "amount_usd": amount})
    await c.invalid("POST", REFUND, field_error("float_type", "amount_usd", WRONG_TYPES["number"][1]), value={**rest, "amount_usd": [1]})


async def reversals(c: Contract) -> None:
    key = await c.gateway.user("reversed", 1)
    request = (await c.gateway.answer(key, "up:finish", max_tokens=9)).header("x-request-id")
    await c.world.settled("reversed")
    params = {"id": request}
    # One answer of `up:finish` costs 0.0002475.
    value = {"amount": "0.0001", "reason": "It was cut off"}
    await corrected(c, REVERSE, value, correction("reversed", 0.0001, 0.9998525), params, "reverse-1", amount="0.00005")
    await c.refused("POST", REVERSE, 400, "reversal_exceeds_charge", "Only 0.0001475 credits of the charge are left", params=params, value={**value, "amount": 0.0001476})
    await c.ok("POST", REVERSE, correction("reversed", 0.0001475, 1), params=params, value={"reason": "x", "amount": None}, key=BILLING_KEY)
    await c.ok("POST", REVERSE, correction("reversed", 0, 1, None), params=params, value={"reason": "x"})
    for other in ("req_01JZK3V4W5X6Y7Z8A9B0C1D2E3", "none"):
        await c.refused("POST", REVERSE, 404, "charge_not_found", f"There is no charge for request '{other}'", params={"id": other}, value=value)
    words = "Input should be a number of credits above 0 with at most nine decimals"
    for amount in (0, -1, "much", "0.0000000001"):
        await c.invalid("POST", REVERSE, field_error("amount", "amount", words), params=params, value={**value, "amount": amount})
    await c.invalid("POST", REVERSE, field_error("float_type", "amount", WRONG_TYPES["number"][1]), params=params, value={**value, "amount": {}})


async def told(c: Contract, body: bytes, status: str, key: str | None = None) -> str:
    """An authentic message; gives its delivery."""
    answer = await c.ok("POST", WEBHOOK, {"success": True, "delivery": delivery_id(body), "status": status}, params=SHOP, body=body, headers=shop_signature(body), key=key)
    return answer.get("delivery", "")


async def messages(c: Contract) -> None:
    await c.gateway.user("buyer")
    body = order_message("contract-1", "buyer")
    for key in (None, None, "gw-" + "A" * 64, MASTER_KEY):
        await told(c, body, "done", key)
    c.check.equal((await c.gateway.balance("buyer"))["credits"], 100, "what four messages of one order bought")
    text = "The signature is not that of this message: set the same secret here and at the provider"
    good = shop_signature(body)["x-signature"]
    for headers in ({}, {"x-signature": ""}, {"x-signature": "0" * 64}, {"x-signature": good[:-1]}, {"x-signature": good + "0"}, {"x-signature": f"sha256={good}"},
                    shop_signature(body, "another secret"), shop_signature(body + b" ")):
        for key in (None, MASTER_KEY):
            await c.refused("POST", WEBHOOK, 401, "invalid_signature", text, params=SHOP, body=body, headers=headers, key=key)
    for provider in ("paddle", "LemonSqueezy", "x%2Fy"):
        await c.refused("POST", WEBHOOK, 404, "provider_not_found", "There is no such payment provider here", params={"provider": provider}, body=body,
                        headers=shop_signature(body), key=None)
    # What is signed is theirs, and may be about money: what cannot be read is for an operator.
    for body in (b"", b"[]", b"{", b'{"meta":{}}', b'{"a":"\xff"}', b'{"meta":{"event_name":1},"data":{"id":"1","attributes":{}}}',
                 b'{"meta":{"event_name":"order_created"},"data":{"id":"../1","attributes":{}}}', order_message("contract-6", "buyer", updated_at="soon")):
        id = await told(c, body, "dead")
        unread = {"id": id, "provider": "lemonsqueezy", "name": "unreadable", "status": "dead", "detail": TEXT, "received_at": INSTANT, "attempts": 0, "notice": {}}
        await c.ok("GET", DELIVERIES, [unread], query={"limit": 1})
        await c.ok("POST", RETRY, {**unread, "attempts": 1}, params={"id": id})
    long = b"{" + b" " * (256 << 10) + b"}"
    await c.refused("POST", WEBHOOK, 413, "body_too_large", "The request body is longer than 262144 bytes", params=SHOP, body=long, headers=shop_signature(long), key=None)
    await told(c, order_message("contract-2", "buyer", event="license_key_created"), "done")
    c.check.equal((await c.gateway.balance("buyer"))["credits"], 100, "the balance in the end")


def delivery(delivery_name: str, name: str, status: str, attempts: object, kind: str, id: str, product: str, **account: str) -> dict:
    """A message about an order, as an operator sees it."""
    notice = {"kind": kind, "id": id, "product": product, "changed_at": 1_772_366_400_000_000, "quantity": 1, "test": False, "status": "paid", **account}
    return {
        "id": delivery_name, "provider": "lemonsqueezy", "name": name, "status": status, "detail": TEXT, "received_at": INSTANT, "attempts": attempts, "notice": notice}


async def deliveries(c: Contract) -> None:
    nobodys, unknown, early = order_message("contract-3", None), order_message("contract-4", "buyer", 9999), order_message("contract-5", "buyer", event="order_refunded")
    lost, odd, waits = await told(c, nobodys, "dead"), await told(c, unknown, "dead"), await told(c, early, "waiting")
    rows = {
        waits: delivery(waits, "order_refunded", "waiting", int, "order_refunded", "contract-5", "2001", account="buyer"),
        odd: delivery(odd, "order_created", "dead", 1, "order_paid", "contract-4", "9999", account="buyer"),
        lost: delivery(lost, "order_created", "dead", 1, "order_paid", "contract-3", "2001")}
    for query, pattern in (({"status": "dead", "limit": 2}, [rows[odd], rows[lost]]), ({"status": "waiting"}, [rows[waits]]), ({"limit": 2}, [rows[waits], rows[odd]]),
                           ({"skip": 1, "limit": 2}, [rows[odd], rows[lost]]), ({"status": "resolved"}, []), ({"status": "done"}, Each(Open({"status": "done"}), least=2)),
                           ({}, Each(Open({"id": TEXT, "status": TEXT}), least=5))):
        await c.ok("GET", DELIVERIES, pattern, query=query, key=AUDITOR_KEY)
    words = "Input should be 'waiting', 'done', 'dead' or 'resolved'"
    await c.invalid("GET", DELIVERIES, field_error("enum", "status", words, "query"), query={"status": "gone"})
    for name, value, message in (("skip", "-1", SKIP_RANGE), ("limit", "0", LIMIT_RANGE), ("limit", "10001", LIMIT_RANGE)):
        await c.invalid("GET", DELIVERIES, field_error("int_parsing", name, message, "query"), query={name: value})
    with c.check.about("retrying"):
        await c.ok("POST", RETRY, {**rows[lost], "attempts": 2}, params={"id": lost})
        await c.ok("POST", RETRY, {**rows[lost], "attempts": 3}, params={"id": lost}, value={"user_id": None}, key=BILLING_KEY)
        await c.refused("POST", RETRY, 404, "user_not_found", "User not found", params={"id": lost}, value={"user_id": "nobody"})
        before = (await c.gateway.balance("buyer"))["credits"]
        found = {**rows[lost], "status": "done", "attempts": 4}
        for _ in range(2):
            await c.ok("POST", RETRY, found, params={"id": lost}, value={"user_id": "buyer"})
        c.check.equal((await c.gateway.balance("buyer"))["credits"], before + 100, "credits after an operator has said whose it is, twice")
    with c.check.about("resolving"):
        resolved = {**rows[odd], "status": "resolved", "detail": "A test", "attempts": 2}
        await c.ok("POST", RESOLVE, resolved, params={"id": odd}, value={"reason": "A test"}, key=BILLING_KEY)
        await c.ok("POST", RETRY, resolved, params={"id": odd})
        await c.ok("POST", RESOLVE, Open({"status": "done"}), params={"id": lost}, value={"reason": "A test"})
        await told(c, unknown, "resolved")
        for reason in ("", "x" * 501):
            await c.invalid("POST", RESOLVE, field_error("string_length", "reason", REASON), params={"id": waits}, value={"reason": reason})
        await c.missing("POST", RESOLVE, "reason", params={"id": waits}, value={})
    for path, value in ((RETRY, {}), (RESOLVE, {"reason": "x"})):
        await c.refused("POST", path, 404, "delivery_not_found", "There is no such delivery", params={"id": "0" * 64}, value=value)
    with c.check.about("what it waited for"):
        # The refund came before its order; both are done in the end.
        await told(c, order_message("contract-5", "buyer"), "done")
        await c.ok("POST", RETRY, {**rows[waits], "status": "done"}, params={"id": waits})


async def limits(c: Contract) -> None:
    nothing = {
        "per_day": None, "per_month": None, "total": None, "requests_per_minute": None, "tokens_per_minute": None, "models": None, "time_zone": "UTC", "used": []}
    user, key_limits, own = "/v1/users/{id}/limits", "/v1/keys/{id}/limits", "/v1/profile/limits"
    await c.gateway.wanted("POST", "/v1/users", {"user_id": "bounded"})
    key = await c.gateway.wanted("POST", "/v1/keys", {"user_id": "bounded"})
    use = {"window": "total", "limit": 2.5, "spent": 0, "held": 0, "began_at": INSTANT, "resets_at": None}
    bound = nothing | {"total": 2.5, "models": ["up:*"], "used": [use]}
    for path, id_ in ((user, "bounded"), (key_limits, key["id"])):
        params = {"id": id_}
        await c.ok("GET", path, nothing, params=params)
        await c.ok("PUT", path, bound, value={"total": 2.5, "models": ["up:*"]}, params=params)
        await c.ok("GET", path, bound, params=params, key=AUDITOR_KEY)
        text = "Input should be a number of credits from 0 to 1000000000 with at most nine decimals"
        await c.invalid("PUT", path, field_error("amount", "per_day", text), value={"per_day": -1}, params=params)
        await c.invalid(
            "PUT", path, field_error("range", "requests_per_minute", "Input should be a whole number from 0 to 100000"),
            value={"requests_per_minute": 100_001}, params=params)
        await c.invalid("PUT", path, field_error("list_type", "models", "Input should be a valid list"), value={"models": "up:*"}, params=params)
    for method in ("GET", "PUT"):
        value = {} if method == "PUT" else None
        await c.refused(method, user, 404, "user_not_found", "User with id 'nobody' not found", value=value, params={"id": "nobody"})
        await c.refused(method, key_limits, 404, "key_not_found", "API key with id 'none' not found", value=value, params={"id": "none"})
    await c.ok("GET", own, {"account": bound, "keys": {key["id"]: bound}}, key=key["key"])
    await c.refused("GET", own, 400, "user_required", "When using master key, 'user' query parameter is required")
    await c.refused("GET", own, 404, "user_not_found", "User not found", query={"user": "nobody"})


async def webhooks(c: Contract) -> None:
    path, params, url = "/v1/users/{id}/webhook", {"id": "bounded"}, "https://hooks.example/credits"
    for method in ("GET", "DELETE"):
        await c.refused(method, path, 404, "webhook_not_found", "The user has no webhook", params=params)
        await c.refused(method, path, 404, "user_not_found", "User with id 'nobody' not found", params={"id": "nobody"})
    await c.refused("PUT", path, 404, "user_not_found", "User with id 'nobody' not found", value={"url": url}, params={"id": "nobody"})
    await c.ok("PUT", path, {"url": url, "secret": re.compile(r"whsec_[A-Za-z0-9+/]{43}=")}, value={"url": url}, params=params)
    await c.ok("PUT", path, {"url": url, "secret": "0123456789abcdef"}, value={"url": url, "secret": "0123456789abcdef"}, params=params)
    await c.ok("GET", path, {"url": url}, params=params, key=AUDITOR_KEY)
    await c.missing("PUT", path, "url", value={}, params=params)
    text = "Input should be an https address, or an http address of the machine itself"
    await c.invalid("PUT", path, field_error("url", "url", text), value={"url": "http://hooks.example"}, params=params)
    await c.invalid("PUT", path, field_error("string_length", "secret", "Input should have 16 to 256 bytes"), value={"url": url, "secret": "short"}, params=params)
    await c.call("DELETE", path, 204, None, params=params)
