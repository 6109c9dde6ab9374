"""The operator's routes: users, keys, prices, budgets and billing, answer by answer."""

from __future__ import annotations

import re

from contract import AUDITOR_KEY, BILLING_KEY, Contract, field_error, shop_signature
from matching import INSTANT, KEY, NUMBER, TEXT, UUID, Each, Either, Open

SKIP_RANGE = "Input should be a whole number from 0 to 1000000000"
LIMIT_RANGE = "Input should be a whole number from 1 to 10000"
PRICE_RANGE = "Input should be a price in USD from 0 to 10000 with at most six decimals"
USER_FORM = "Input should have 1 to 255 bytes without control characters, not beginning with '$'"
WRONG_TYPES = {
    "string": ("string_type", "Input should be a valid string"), "bool": ("bool_type", "Input should be a valid boolean"),
    "object": ("dict_type", "Input should be a valid dictionary"), "number": ("float_type", "Input should be a valid number"),
    "instant": ("datetime_parsing", "Input should be a valid datetime in ISO 8601"),
}


def user_of(name: str, **more: object) -> dict:
    """The whole body of a user, as a fresh one has it."""
    return {
        "user_id": name, "alias": None, "email": None, "spend": 0, "budget_id": None, "budget_started_at": None,
        "next_budget_reset_at": None, "blocked": False, "created_at": INSTANT, "updated_at": INSTANT, "metadata": {}, "linked_accounts": [], **more,
    }


def key_of(user: str, is_new: bool = False, **more: object) -> dict:
    first = {"id": UUID, "key": KEY} if is_new else {"id": UUID, "last_used_at": None}
    return {**first, "key_name": None, "user_id": user, "created_at": INSTANT, "expires_at": None, "is_active": True, "metadata": {}, **more}


def price_of(model: str, input: object, output: object, cached: object = None) -> dict:
    return {
        "model_key": model, "input_price_per_million": input, "output_price_per_million": output, "cached_price_per_million": cached,
        "created_at": INSTANT, "updated_at": INSTANT,
    }


async def operators_routes(c: Contract) -> None:
    for part in (users, keys, pricing, budgets, billing, pages, bodies):
        with c.check.about(part.__name__):
            await part(c)


async def users(c: Contract) -> None:
    path, one = "/v1/users", "/v1/users/{id}"
    await c.ok("POST", path, user_of("ada"), value={"user_id": "ada"})
    given = {"alias": "Bea", "blocked": True, "metadata": {"n": [1, {"x": None}]}}
    await c.ok("POST", path, user_of("bea", **given), value={"user_id": "bea", **given, "unknown_member": 1})
    await c.refused("POST", path, 409, "user_exists", "User with id 'ada' already exists", value={"user_id": "ada"})
    await c.refused("POST", path, 404, "budget_not_found", "Budget with id 'none' not found", value={"user_id": "u", "budget_id": "none"})
    await c.missing("POST", path, "user_id", value={"alias": "x"})
    await c.invalid("POST", path, field_error("string_pattern", "user_id", USER_FORM), value={"user_id": "$books"})
    for name, value, kind in (("alias", 1, "string"), ("blocked", "yes", "bool"), ("metadata", [], "object"), ("budget_id", {}, "string")):
        type_name, message = WRONG_TYPES[kind]
        await c.invalid("POST", path, field_error(type_name, name, message), value={"user_id": "v", name: value})
    await c.ok("GET", path, Each(Open({"user_id": TEXT, "blocked": bool, "spend": NUMBER}), least=2))
    await c.ok("GET", one, user_of("bea", **given), params={"id": "bea"})
    await c.ok("PATCH", one, user_of("bea", alias="B", blocked=False, metadata={"only": "this"}), params={"id": "bea"},
               value={"alias": "B", "blocked": False, "metadata": {"only": "this"}})
    await c.ok("PATCH", one, user_of("bea", metadata={"only": "this"}), params={"id": "bea"}, value={"alias": None})
    await c.refused("PATCH", one, 404, "budget_not_found", "Budget with id 'none' not found", params={"id": "bea"}, value={"budget_id": "none"})
    await c.invalid("PATCH", one, field_error("bool_type", "blocked", WRONG_TYPES["bool"][1]), params={"id": "bea"}, value={"blocked": 1})
    await c.ok("GET", "/v1/users/{id}/usage", [], params={"id": "bea"})
    await c.done("DELETE", "/v1/users/{id}/sessions", params={"id": "bea"})
    for method, route in (("GET", one), ("PATCH", one), ("DELETE", one), ("GET", "/v1/users/{id}/usage"), ("DELETE", "/v1/users/{id}/sessions")):
        await c.refused(method, route, 404, "user_not_found", "User with id 'no/body' not found", params={"id": "no/body"},
                        value={} if method == "PATCH" else None)
    await c.done("DELETE", one, params={"id": "bea"})
    await c.refused("DELETE", one, 404, "user_not_found", "User with id 'bea' not found", params={"id": "bea"})


async def keys(c: Contract) -> None:
    path, one = "/v1/keys", "/v1/keys/{id}"
    given = {"key_name": "desktop-ada", "metadata": {"device": "d1"}}
    made = await c.ok("POST", path, key_of("ada", True, **given, expires_at=re.compile(r"2099-01-01T00:00:00(\.0+)?\+00:00")),
                      value={"user_id": "ada", "expires_at": "2099-01-01T01:00:00+01:00", **given})
    own = await c.ok("POST", path, key_of(re.compile(r"apikey-[0-9a-f-]{36}"), True), value={})
    c.check.equal(own.get("user_id"), f"apikey-{own.get('id')}", "the user of a key without user_id")
    await c.ok("GET", "/v1/users/{id}", user_of(own["user_id"]), params={"id": own["user_id"]})
    for name, value, kind in (
            ("key_name", 5, "string"), ("metadata", "x", "object"), ("expires_at", "soon", "instant"), ("expires_at", "2026-02-30T00:00:00Z", "instant")):
        type_name, message = WRONG_TYPES[kind]
        await c.invalid("POST", path, field_error(type_name, name, message), value={"user_id": "ada", name: value})
        await c.invalid("PATCH", one, field_error(type_name, name, message), params={"id": made["id"]}, value={name: value})
    await c.invalid("POST", path, field_error("string_pattern", "user_id", USER_FORM), value={"user_id": ""})
    await c.invalid("POST", path, field_error("too_long", "metadata", "Input should have at most 16384 bytes"), value={"metadata": {"x": "y" * 17_000}})
    stored = key_of("ada", **given, expires_at=INSTANT) | {"id": made["id"]}
    await c.ok("GET", path, [stored], query={"user_id": "ada"})
    await c.ok("GET", path, Each(Open({"id": UUID, "user_id": TEXT, "is_active": bool}), least=2))
    await c.ok("GET", path, [], query={"user_id": "$prices"})
    await c.ok("GET", one, stored, params={"id": made["id"]})
    await c.ok("PATCH", one, stored | {"is_active": False}, params={"id": made["id"]}, value={"is_active": False})
    await c.ok("PATCH", one, key_of("ada", key_name="n") | {"id": made["id"]}, params={"id": made["id"]},
               value={"is_active": True, "key_name": "n", "metadata": {}, "expires_at": None})
    await c.done("DELETE", one, params={"id": made["id"]})
    for method in ("GET", "PATCH", "DELETE"):
        await c.refused(method, one, 404, "key_not_found", f"API key with id '{made['id']}' not found", params={"id": made["id"]},
                        value={} if method == "PATCH" else None)


async def pricing(c: Contract) -> None:
    path, one = "/v1/pricing", "/v1/pricing/{model_key}"
    whole = {"model_key": "up:priced", "input_price_per_million": 0.1, "output_price_per_million": 10000, "cached_price_per_million": "0.000001"}
    await c.ok("POST", path, price_of("up:priced", 0.1, 10000, 0.000001), value=whole)
    await c.ok("POST", path, price_of("up:priced", 0.1, 10000), value={**whole, "model_key": "up/priced", "cached_price_per_million": None})
    # Digits in a text are as good: a portal may hold decimals so.
    await c.ok("POST", path, price_of("up:priced", 1.25, 2), value={**whole, "input_price_per_million": "1.25", "output_price_per_million": "2", "cached_price_per_million": None})
    for name in ("model_key", "input_price_per_million", "output_price_per_million"):
        await c.missing("POST", path, name, value={key: value for key, value in whole.items() if key != name})
        await c.missing("POST", path, name, value={**whole, name: None})
    await c.invalid("POST", path, field_error("string_pattern", "model_key", "Input should be named provider:model"), value={**whole, "model_key": "bare"})
    for value in (-1, 10000.1, 0.1234567, "cheap", "NaN"):
        await c.invalid("POST", path, field_error("price", "input_price_per_million", PRICE_RANGE), value={**whole, "input_price_per_million": value})
    await c.invalid("POST", path, field_error("float_type", "cached_price_per_million", WRONG_TYPES["number"][1]), value={**whole, "cached_price_per_million": True})
    await c.ok("GET", one, price_of("up:priced", 1.25, 2), params={"model_key": "up:priced"}, key=None)
    await c.ok("GET", path, Each(Open({"model_key": re.compile(r"[^:]+:.+"), "input_price_per_million": NUMBER, "updated_at": INSTANT}), least=3), key=None)
    await c.done("DELETE", one, params={"model_key": "up:priced"})
    for method in ("GET", "DELETE"):
        await c.refused(method, one, 404, "price_not_found", "Pricing for model 'up:priced' not found", params={"model_key": "up:priced"})


async def budgets(c: Contract) -> None:
    path, one = "/v1/budgets", "/v1/budgets/{id}"

    def budget(maximum: object, seconds: object, id: object = TEXT) -> dict:
        return {"budget_id": id, "max_budget": maximum, "budget_duration_sec": seconds, "created_at": INSTANT, "updated_at": INSTANT}

    made = await c.ok("POST", path, budget(12.5, 86400), value={"max_budget": 12.5, "budget_duration_sec": 86400})
    open_end = await c.ok("POST", path, budget(None, None), value={})
    id = made["budget_id"]
    await c.ok("GET", path, Each(budget((int, float, type(None)), (int, type(None))), least=2))
    await c.ok("GET", one, budget(12.5, 86400, id), params={"id": id})
    await c.ok("PATCH", one, budget(20, 86400, id), params={"id": id}, value={"max_budget": 20})
    await c.ok("PATCH", one, budget(20, 3600, id), params={"id": id}, value={"budget_duration_sec": 3600})
    for name, value in (("max_budget", "much"), ("max_budget", -1), ("budget_duration_sec", 1.5), ("budget_duration_sec", 0)):
        error = field_error(TEXT, name, TEXT)
        await c.invalid("POST", path, error, value={name: value})
        await c.invalid("PATCH", one, error, params={"id": id}, value={name: value})
    attached = user_of("ada", budget_id=id, budget_started_at=Either(INSTANT, None), next_budget_reset_at=Either(INSTANT, None))
    await c.ok("PATCH", "/v1/users/{id}", attached, params={"id": "ada"}, value={"budget_id": id})
    await c.refused("DELETE", one, 409, "budget_in_use", f"Budget with id '{id}' is the budget of users", params={"id": id})
    await c.ok("PATCH", "/v1/users/{id}", user_of("ada"), params={"id": "ada"}, value={"budget_id": None})
    await c.done("DELETE", one, params={"id": id})
    await c.done("DELETE", one, params={"id": open_end["budget_id"]})
    for method in ("GET", "PATCH", "DELETE"):
        await c.refused(method, one, 404, "budget_not_found", f"Budget with id '{id}' not found", params={"id": id}, value={} if method == "PATCH" else None)


async def billing(c: Contract) -> None:
    subscribe, cancel, topup = "/v1/billing/subscription", "/v1/billing/subscription/{user_id}", "/v1/billing/topup"
    for amount, shown in ((10, "10.0"), (0.5, "0.5"), ("2.25", "2.25"), (1e-9, "0.000000001")):
        await c.ok("POST", topup, {"success": True, "detail": f"Added {shown} credits"}, value={"user_id": "ada", "amount": amount, "source": "LEMONSQUEEZY"})
    same = {"user_id": "ada", "amount": 3}
    first = await c.call("POST", topup, 200, {"success": True, "detail": "Added 3.0 credits"}, value=same, headers={"idempotency-key": "order-1"})
    c.check.equal(first.header("idempotency-replayed"), None, "idempotency-replayed of the first")
    await c.call("POST", topup, 200, {"success": True, "detail": "Added 3.0 credits"}, value=same, headers={"idempotency-key": "order-1"},
                 wanted={"idempotency-replayed": "true"})
    text = "This Idempotency-Key was used before for a request with other content"
    await c.refused("POST", topup, 409, "idempotency_conflict", text, value={**same, "amount": 4}, headers={"idempotency-key": "order-1"})
    await c.refused("POST", topup, 400, "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters", value=same,
                    headers={"idempotency-key": "x" * 256})
    await c.refused("POST", topup, 404, "user_not_found", "User not found", value={"user_id": "nobody", "amount": 1})
    for amount in (0, -1):
        await c.refused("POST", topup, 400, "amount_not_positive", "The amount must be above zero", value={"user_id": "ada", "amount": amount})
    words = "Input should be a number of credits with at most nine decimals, up to 1000000000"
    for amount in ("much", 2e9, "0.0000000001"):
        await c.invalid("POST", topup, field_error("amount", "amount", words), value={"user_id": "ada", "amount": amount})
    await c.invalid("POST", topup, field_error("float_type", "amount", WRONG_TYPES["number"][1]), value={"user_id": "ada", "amount": [1]})
    await c.missing("POST", topup, "amount", value={"user_id": "ada"})
    await c.missing("POST", topup, "user_id", value={"amount": 1})
    await c.ok("POST", topup, {"success": True, "detail": "Added 1.0 credits"}, value={"user_id": "ada", "amount": 1}, key=BILLING_KEY)
    role = "This master key's role does not allow this"
    await c.refused("POST", topup, 403, "role_not_sufficient", role, value={"user_id": "ada", "amount": 1}, key=AUDITOR_KEY)

    await c.refused("PATCH", cancel, 404, "subscription_not_found", "Active subscription not found", params={"user_id": "ada"}, value={"status": "CANCELLED"})
    await c.ok("POST", subscribe, {"success": True, "detail": "Subscribed to BASIC"}, value={"user_id": "ada", "plan_name": "BASIC"})
    await c.refused("POST", subscribe, 404, "plan_not_found", "Plan 'GOLD' not found", value={"user_id": "ada", "plan_name": "GOLD"})
    await c.refused("POST", subscribe, 404, "user_not_found", "User not found", value={"user_id": "nobody", "plan_name": "BASIC"})
    for name in ("user_id", "plan_name"):
        await c.missing("POST", subscribe, name, value={key: value for key, value in {"user_id": "ada", "plan_name": "BASIC"}.items() if key != name})
    await c.missing("PATCH", cancel, "status", params={"user_id": "ada"}, value={})
    await c.invalid("PATCH", cancel, field_error("enum", "status", "Input should be 'CANCELLED'"), params={"user_id": "ada"}, value={"status": "PAUSED"})
    await c.ok("PATCH", cancel, {"success": True, "detail": "Status updated to CANCELLED"}, params={"user_id": "ada"}, value={"status": "CANCELLED"}, key=BILLING_KEY)
    await keyed_subscriptions(c, text)
    await c.ok("POST", "/v1/admin/renewals/trigger", {"renewed": 0, "expired_accounts": 0}, key=BILLING_KEY)
    for user in ("ada", "nobody"):
        await c.refused("PATCH", cancel, 404, "subscription_not_found", "Active subscription not found", params={"user_id": user}, value={"status": "CANCELLED"})


async def keyed_subscriptions(c: Contract, conflict: str) -> None:
    """The webhooks of a shop come again: under the same key they are done once."""
    subscribe, cancel = "/v1/billing/subscription", "/v1/billing/subscription/{user_id}"
    value, key, params = {"user_id": "ada", "plan_name": "BASIC"}, {"idempotency-key": "event-1"}, {"user_id": "ada"}
    for replayed in (None, "true"):
        await c.call("POST", subscribe, 200, {"success": True, "detail": "Subscribed to BASIC"}, value=value, headers=key, wanted={"idempotency-replayed": replayed})
    await c.refused("POST", subscribe, 409, "idempotency_conflict", conflict, value={**value, "plan_name": "FREE"}, headers=key)
    for replayed in (None, "true"):
        await c.call("PATCH", cancel, 200, {"success": True, "detail": "Status updated to CANCELLED"}, params=params, value={"status": "CANCELLED"}, headers=key,
                     wanted={"idempotency-replayed": replayed})
    long = {"idempotency-key": "k" * 256}
    text = "Idempotency-Key must be 1 to 255 printable ASCII characters"
    await c.refused("POST", subscribe, 400, "invalid_idempotency_key", text, value=value, headers=long)
    await c.refused("PATCH", cancel, 400, "invalid_idempotency_key", text, params=params, value={"status": "CANCELLED"}, headers=long)


async def pages(c: Contract) -> None:
    """Lists are pages: what is no number, or no number for a page, is refused."""
    for path, params in (("/v1/users", {}), ("/v1/keys", {}), ("/v1/pricing", {}), ("/v1/budgets", {}), ("/v1/users/{id}/usage", {"id": "ada"})):
        for name, value, message in (
                ("skip", "-1", SKIP_RANGE), ("skip", "x", SKIP_RANGE), ("limit", "0", LIMIT_RANGE), ("limit", "10001", LIMIT_RANGE), ("limit", "", LIMIT_RANGE)):
            await c.invalid("GET", path, field_error("int_parsing", name, message, "query"), params=params, query={name: value})
        await c.ok("GET", path, [], params=params, query={"skip": 1_000_000, "limit": 10_000})


async def bodies(c: Contract) -> None:
    """A body that is none is refused in the same words on every route that wants one."""
    broken = re.compile(r"JSON decode error: .+")
    for (method, path), operation in c.description.operations.items():
        if "requestBody" not in operation or "models" in operation["tags"]:
            continue
        params = {name: "ada" for name in re.findall(r"{(\w+)}", path)}
        if path.startswith("/v1/keys/{id}"):
            params = {"id": (await c.gateway.wanted("POST", "/v1/keys", {}))["id"]}
        if path == "/v1/budgets/{id}":
            params = {"id": (await c.gateway.wanted("POST", "/v1/budgets", {}))["budget_id"]}
        # Who pays is named in the query. A message counts by its signature alone, and what is in it is nobody's fault who could be told.
        query = {"user": "ada"} if path == "/v1/billing/checkout" else None
        params |= {"provider": "lemonsqueezy"} if "webhooks" in path else {}
        longest = 2**18 if "webhooks" in path else 2**20

        def sent(body: bytes) -> dict:
            return {"params": params, "query": query, "body": body, "headers": shop_signature(body) if "webhooks" in path else None}

        for body in (b"", b"[]", b"{", b'{"a":1} x', b'{"a":1,"a":2}'):
            if "webhooks" not in path and (body or operation["requestBody"]["required"]):
                await c.invalid(method, path, field_error("json_invalid", re.compile(r"\d+"), broken), **sent(body))
        if "webhooks" not in path:
            await c.invalid(method, path, field_error("json_invalid", "0", "The body is not valid UTF-8"), **sent(b'{"a":"\xff"}'))
        await c.refused(method, path, 413, "body_too_large", f"The request body is longer than {longest} bytes", **sent(b"{" + b" " * longest + b"}"))
