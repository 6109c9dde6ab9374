"""Where money or limits are set, a member that the route does not know is refused by its name, and nothing is changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import wire
from checks import case
from gateway import Gateway
from world import World

PRICE = {"model_key": "up:finish", "input_price_per_million": 3, "output_price_per_million": 4}
LONG = {"above_prompt_tokens": 1000, "input_price_per_million": 5, "output_price_per_million": 6}


@dataclass
class Route:
    """A route, a body that it takes, and members that it must not take in silence."""

    method: str
    path: str
    body: dict
    mistaken: dict[str, object]
    #: The object within the body that the members are put into.
    inner: str | None = None
    headers: dict = field(default_factory=dict)

    def with_member(self, name: str, value: object) -> dict:
        if self.inner is None:
            return self.body | {name: value}
        return self.body | {self.inner: self.body[self.inner] | {name: value}}

    def place(self, name: str) -> str:
        return name if self.inner is None else f"{self.inner}.{name}"


def routes(budget: str, key: str, charge: str) -> list[Route]:
    return [
        Route("POST", "/v1/pricing", PRICE, {
            "cached_price_per_milion": 0.1, "cached_input_price_per_million": 0.1, "Cached_price_per_million": 0.1, "audio_price_per_million": 1,
            "cache_write_price": 1, "web_search_price": 10, "output_cost_per_token": 0.1, "": 1}),
        Route("POST", "/v1/pricing", PRICE | {"long_context": LONG}, {
            "cached_prices_per_million": 1, "above": 1, "web_search_price_per_thousand": 1, "long_context": {}}, inner="long_context"),
        Route("POST", "/v1/budgets", {"max_budget": 5, "budget_duration_sec": 60}, {"max_budgt": 1, "budget_duration": "30d", "soft_budget": 2}),
        Route("PATCH", f"/v1/budgets/{budget}", {"max_budget": 5}, {"max_budgt": 1, "budget_duration": 1, "Max_Budget": 1}),
        Route("POST", "/v1/keys", {"user_id": "newcomer", "key_name": "new"}, {
            "max_budget": 5, "rpm_limit": 1, "models": ["up:finish"], "expires": "2030-01-01", "duration": "30d"}),
        Route("PATCH", f"/v1/keys/{key}", {"key_name": "other", "is_active": False}, {"max_budget": 5, "active": True, "expires": None}),
        Route("PUT", "/v1/users/alice/limits", {"per_month": 9}, {"per_dya": 1, "per_week": 1, "rpm": 1, "tokens_per_minut": 1, "model": "up:finish"}),
        Route("PUT", f"/v1/keys/{key}/limits", {"per_month": 9}, {"perday": 1, "totals": 1, "requests_per_min": 1}),
        Route("POST", "/v1/billing/topup", {"user_id": "alice", "amount": 1}, {"ammount": 2, "amount_usd": 1, "expires_at": "2030-01-01", "payment": "x"}),
        Route("POST", "/v1/billing/adjustments", {"user_id": "alice", "amount": 1, "reason": "test"}, {"amount_usd": 1, "expires_at": None}),
        Route("POST", "/v1/billing/refunds", {"payment_id": "api:paid", "amount_usd": 1, "reason": "test"}, {"amount": 1, "credits": 1, "user_id": "alice"}),
        Route("POST", f"/v1/ledger/charges/{charge}/reverse", {"reason": "test"}, {"amount_usd": 1, "ammount": 0.0001, "credits": 1}),
        Route("POST", "/v1/billing/subscription", {"user_id": "alice", "plan_name": "BASIC"}, {"plan": "FREE", "paymentId": "x", "update": True}),
        Route("PATCH", "/v1/billing/subscription/alice", {"status": "CANCELLED"}, {"at": "2030-01-01", "plan_name": "BASIC"}),
    ]


def named(response: wire.Response) -> tuple[str, str] | None:
    """The kind and the place that a 422 names."""
    detail = response.json.get("detail")
    if response.status != 422 or not isinstance(detail, list) or len(detail) != 1:
        return None
    return detail[0]["type"], detail[0]["loc"][1]


@case
async def strict_money_routes() -> None:
    """A mistyped member of a price, a budget, a limit, a key or a payment is refused by its name and changes nothing; without it the same call does."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 10)
        await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "alice", "amount": 10, "payment_id": "paid"})
        budget = (await gateway.wanted("POST", "/v1/budgets", {"max_budget": 7}))["budget_id"]
        second = (await gateway.wanted("POST", "/v1/keys", {"user_id": "alice", "key_name": "second"}))["id"]
        await gateway.wanted("PUT", "/v1/users/alice/limits", {"per_day": 8})
        await gateway.wanted("PUT", f"/v1/keys/{second}/limits", {"per_day": 8})
        answer = await gateway.answer(key, "up:finish", max_tokens=9)
        await world.settled("alice")
        # What a user spent is read from a projection, which follows the events a little later.
        await wire.eventually(lambda: spent(gateway, "alice"), "what alice spent is shown")
        for route in routes(budget, second, answer.header("x-request-id")):
            before = await state(world)
            for name, value in route.mistaken.items():
                with check.about(route.method, route.path, repr(name)):
                    body = route.with_member(name, value)
                    response = await gateway.api(route.method, route.path, body, headers=route.headers | {"idempotency-key": f"{route.path}-{name}"})
                    check.equal(named(response), ("extra_forbidden", route.place(name)), f"what {response} names")
            with check.about(route.method, route.path):
                check.equal(await state(world), before, "what there is behind the refusals")
                await without(world, route)
        await round_trips(world)
        await users(world)


async def without(world: World, route: Route) -> None:
    """What was refused with a mistyped member is done without it, under the same key."""
    if route.path == "/v1/billing/refunds":
        # The payment is found by the name that it was given under; what it bought was credits without a price.
        return
    headers = {"idempotency-key": f"{route.path}-{next(iter(route.mistaken))}"}
    before = await state(world)
    response = await world.gateway.api(route.method, route.path, route.body, headers=headers)
    world.check.equal(response.status, 200, f"status of {response}")
    world.check.that(await state(world) != before, "it changed nothing")


async def spent(gateway: Gateway, user: str) -> bool:
    return (await gateway.wanted("GET", f"/v1/users/{user}"))["spend"] > 0


async def state(world: World) -> dict:
    """All that these routes could change."""
    gateway = world.gateway
    found = {"events": len(await gateway.events())}
    for path in ("/v1/pricing", "/v1/budgets", "/v1/keys", "/v1/users", "/v1/users/alice/limits", "/v1/profile/balance?user=alice"):
        found[path] = (await gateway.api("GET", path)).body
    return found


async def round_trips(world: World) -> None:
    """What a route answers can be sent back to it, where it always could."""
    check, gateway = world.check, world.gateway
    with check.about("a price as it is shown"):
        await gateway.wanted("POST", "/v1/pricing", PRICE | {"long_context": LONG, "web_search_price_per_thousand": 10, "image_output_price_per_million": 9})
        shown = await gateway.wanted("GET", "/v1/pricing/up:finish")
        again = await gateway.wanted("POST", "/v1/pricing", shown)
        check.equal({k: v for k, v in again.items() if k != "updated_at"}, {k: v for k, v in shown.items() if k != "updated_at"}, "the price")
    with check.about("a user as it is shown"):
        shown = await gateway.wanted("GET", "/v1/users/alice")
        again = await gateway.wanted("PATCH", "/v1/users/alice", shown)
        check.equal({k: v for k, v in again.items() if k != "updated_at"}, {k: v for k, v in shown.items() if k != "updated_at"}, "the user")
    with check.about("a member twice"):
        body = b'{"user_id": "alice", "amount": 1, "amount": 2}'
        before = await state(world)
        check.equal((await gateway.api("POST", "/v1/billing/topup", body=body)).status, 422, "status")
        check.equal(await state(world), before, "what there is behind it")


HARMLESS = {"email": "a@example.com", "user_role": "internal_user", "nickname": "x", "teams": ["t"], "send_invite_email": False, "sso_user_id": None}
#: What would be money, or a limit, by the names of this gateway's own routes and of those that it takes the place of.
MISTAKEN = {
    "max_budget": 5, "budget_duration": "30d", "Max_Budget": 1, "budgetid": "x", "tpm_limit": 1, "rpm_limit": 1, "credits": 5, "balance": 5,
    "plan": "BASIC", "plan_name": "BASIC", "max_spend": 1, "is_blocked": True, "credit_limit": 3, "per_day": 1, "per_month": 1,
    "requests_per_minute": 1, "tokens_per_minute": 1, "max_parallel_requests": 1,
}


async def users(world: World) -> None:
    """A user's routes ignore what is harmless, as they always did, and refuse what would be money or limits."""
    check, gateway = world.check, world.gateway
    for number, (name, value) in enumerate(HARMLESS.items()):
        with check.about("harmless", name):
            for method, path, body in (("POST", "/v1/users", {"user_id": f"user-{number}"}), ("PATCH", "/v1/users/alice", {"alias": f"a{number}"})):
                response = await gateway.api(method, path, body | {name: value})
                check.equal(response.status, 200, f"status of {method}: {response}")
    await gateway.wanted("PATCH", "/v1/users/alice", {"alias": "same"})
    before = await state(world)
    for name, value in MISTAKEN.items():
        for method, path, body in (("POST", "/v1/users", {"user_id": "nobody"}), ("PATCH", "/v1/users/alice", {"alias": "changed"})):
            with check.about(method, path, name):
                response = await gateway.api(method, path, body | {name: value})
                check.equal(named(response), ("extra_forbidden", name), f"what {response} names")
                if response.status == 200 and method == "POST":
                    await gateway.api("DELETE", "/v1/users/nobody")
    check.that(await state(world) == before, "what was refused changed something")
    check.equal((await gateway.api("GET", "/v1/users/nobody")).status, 404, "a user that was refused")
