"""Budgets, the subscriptions that the portal tells of, and what the operator's timer records."""

from __future__ import annotations

import asyncio
import datetime
from decimal import Decimal
from urllib.parse import quote

import wire
from cases_admin import instant, missing
from cases_profile import TIME, UUID, exact, invalid, like
from checks import case, detail
from clock import Clock
from gateway import Gateway
from world import World


@case
async def budgets() -> None:
    """Budgets are made, listed, changed and deleted as the contract says, to the field."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway

        async def body(method: str, path: str, value: object = None) -> object:
            return exact(await gateway.api(method, path, value))

        with check.about("making"):
            made = await body("POST", "/v1/budgets", {"max_budget": 12.5, "budget_duration_sec": 86400})
            like(check, made, {
                "budget_id": UUID, "max_budget": Decimal("12.5"), "budget_duration_sec": 86400, "created_at": TIME, "updated_at": TIME}, "the budget")
            for name in ("created_at", "updated_at"):
                instant(check, made[name], name)
            open_ = await body("POST", "/v1/budgets", {})
            check.equal((open_["max_budget"], open_["budget_duration_sec"]), (None, None), "a budget without bounds")
            response = await gateway.api("POST", "/v1/budgets", body=b'{"max_budget": 999999999.000001}', headers={"content-type": "application/json"})
            check.that(b'"max_budget":999999999.000001,' in response.body, f"six decimals are kept: {response}")
            check.equal((await body("POST", "/v1/budgets", {"max_budget": 0}))["max_budget"], 0, "a budget of nothing")
        with check.about("reading and changing"):
            path = f"/v1/budgets/{made['budget_id']}"
            check.equal(await body("GET", path), made, "the budget read again")
            listed = await body("GET", "/v1/budgets")
            check.equal((len(listed), listed[:2]), (4, [made, open_]), "the list, in the order of creation")
            check.equal(await body("GET", "/v1/budgets?skip=1&limit=2"), listed[1:3], "a page")
            changed = await body("PATCH", path, {"max_budget": 0.000001})
            like(check, changed, made | {"max_budget": Decimal("0.000001"), "updated_at": TIME}, "the changed budget")
            check.that(changed["updated_at"] > made["updated_at"], "updated_at did not move")
            unbound = await body("PATCH", path, {"max_budget": None, "budget_duration_sec": 60})
            check.equal((unbound["max_budget"], unbound["budget_duration_sec"]), (None, 60), "a bound that was taken away, and a new one")
        with check.about("refusals"):
            for field, value in (("max_budget", -1), ("max_budget", 0.0000001), ("max_budget", "much"), ("max_budget", True), ("max_budget", 10**10),
                                 ("budget_duration_sec", 0), ("budget_duration_sec", -5), ("budget_duration_sec", 1.5), ("budget_duration_sec", 10**12)):
                for method, target in (("POST", "/v1/budgets"), ("PATCH", path)):
                    invalid(check, await gateway.api(method, target, {field: value}), field, "body")
            for method in ("GET", "PATCH", "DELETE"):
                response = await gateway.api(method, "/v1/budgets/none", {} if method == "PATCH" else None)
                detail(check, response, 404, "Budget with id 'none' not found")
                check.equal(response.json.get("code"), "budget_not_found", "code")
            key = await gateway.user("alice")
            for method, target in (("POST", "/v1/budgets"), ("GET", "/v1/budgets"), ("GET", path), ("PATCH", path), ("DELETE", path)):
                value = {} if method in ("POST", "PATCH") else None
                detail(check, await gateway.api(method, target, value, key=key), 403, "Master key required")
                check.equal((await gateway.api(method, target, value, key=None)).status, 401, "status without a credential")
        with check.about("users of a budget"):
            detail(check, await gateway.api("POST", "/v1/users", {"user_id": "bob", "budget_id": "none"}), 404, "Budget with id 'none' not found")
            detail(check, await gateway.api("GET", "/v1/users/bob"), 404, "User with id 'bob' not found")
            detail(check, await gateway.api("PATCH", "/v1/users/alice", {"budget_id": "none"}), 404, "Budget with id 'none' not found")
            bob = await gateway.wanted("POST", "/v1/users", {"user_id": "bob", "budget_id": made["budget_id"]})
            check.equal(bob["budget_id"], made["budget_id"], "the new user's budget")
            response = await gateway.api("DELETE", path)
            check.equal((response.status, response.json.get("code")), (409, "budget_in_use"), f"the deletion of a budget in use: {response}")
            await gateway.wanted("PATCH", "/v1/users/alice", {"budget_id": made["budget_id"]})
            await gateway.wanted("PATCH", "/v1/users/bob", {"budget_id": None})
            check.equal((await gateway.api("DELETE", path)).status, 409, "status while one is left")
            check.equal((await gateway.api("DELETE", "/v1/users/alice")).status, 204, "status of the user's deletion")
            gateway.users.remove("alice")
            response = await gateway.api("DELETE", path)
            check.equal((response.status, response.body), (204, b""), "the deletion")
            detail(check, await gateway.api("GET", path), 404, f"Budget with id '{made['budget_id']}' not found")


@case
async def subscriptions() -> None:
    """The portal's calls about a subscription have the effect of once, in whatever number they come, and what was paid stays."""
    async with World(["up:finish"]) as world:
        for about in (refused, subscribed, cancelled, by_key):
            with world.check.about(about.__name__):
                await about(world)


async def subscribe(gateway: Gateway, user: str, plan: str = "BASIC", **more: object) -> wire.Response:
    return await gateway.api("POST", "/v1/billing/subscription", {"user_id": user, "plan_name": plan}, **more)


async def cancel(gateway: Gateway, user: str, **more: object) -> wire.Response:
    return await gateway.api("PATCH", f"/v1/billing/subscription/{quote(user, safe='')}", {"status": "CANCELLED"}, **more)


async def said(gateway: Gateway, user: str, *names: str) -> list[dict]:
    """The events of an account that have one of these names."""
    return [event for event in await gateway.events() if event["account"] == user and event["name"] in names]


async def refused(world: World) -> None:
    check, gateway = world.check, world.gateway
    key = await gateway.user("alice")
    detail(check, await subscribe(gateway, "alice", "GOLD"), 404, "Plan 'GOLD' not found")
    detail(check, await subscribe(gateway, "nobody"), 404, "User not found")
    missing(check, await gateway.api("POST", "/v1/billing/subscription", {"plan_name": "BASIC"}), "user_id")
    missing(check, await gateway.api("POST", "/v1/billing/subscription", {"user_id": "alice"}), "plan_name")
    missing(check, await gateway.api("PATCH", "/v1/billing/subscription/alice", {}), "status")
    for status in ("ACTIVE", "cancelled", ""):
        invalid(check, await gateway.api("PATCH", "/v1/billing/subscription/alice", {"status": status}), "status", "body")
    for user in ("alice", "nobody"):
        response = await cancel(gateway, user)
        detail(check, response, 404, "Active subscription not found")
        check.equal(response.json.get("code"), "subscription_not_found", "code")
    detail(check, await subscribe(gateway, "alice", key=key), 403, "Master key required")
    detail(check, await cancel(gateway, "alice", key=key), 403, "Master key required")
    for response in (await subscribe(gateway, "alice", key=None), await cancel(gateway, "alice", key=None)):
        check.equal(response.status, 401, "status without a credential")
    response = await subscribe(gateway, "alice", headers={"idempotency-key": "x" * 256})
    check.equal((response.status, response.json.get("code")), (400, "invalid_idempotency_key"), "a key that is too long")
    check.equal(await said(gateway, "alice", "plan_changed", "credits_granted"), [], "what a refusal led to")


async def subscribed(world: World) -> None:
    check, gateway = world.check, world.gateway
    await gateway.top_up("alice", 5)
    answers = await asyncio.gather(*(subscribe(gateway, "alice") for _ in range(10)))
    for response in answers:
        check.equal((response.status, response.json), (200, {"success": True, "detail": "Subscribed to BASIC"}), "the answer")
        check.equal(response.header("idempotency-replayed"), None, "idempotency-replayed")
    check.equal([event["data"]["plan"] for event in await said(gateway, "alice", "plan_changed")], ["BASIC"], "changes of the plan")
    granted = [event["data"]["source"] for event in await said(gateway, "alice", "credits_granted")]
    check.equal(granted, ["PURCHASE", "SUBSCRIPTION"], "grants")
    data = await gateway.balance("alice")
    check.equal((data["plan"], data["credits"]), ("BASIC", 105), "plan and credits")
    like(check, data["grants"], [
        {"id": int, "pool": "SUBSCRIPTION", "source": "SUBSCRIPTION", "amount": 100, "remaining": 100, "expires_at": TIME},
        {"id": int, "pool": "TOPUP", "source": "PURCHASE", "amount": 5, "remaining": 5, "expires_at": None}], "the grants, as they are burnt")
    left = datetime.datetime.fromisoformat(data["grants"][0]["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)
    check.that(datetime.timedelta(days=30, minutes=-2) < left <= datetime.timedelta(days=30), f"the cycle ends in {left}")
    payments = exact(await gateway.api("GET", "/v1/profile/payments?user=alice"))["data"]["paymentTransactions"]
    check.equal([(row["amountCents"], row["credits"]) for row in payments], [(1000, 100), (50, 5)], "the payments, newest first")
    check.equal((await subscribe(gateway, "alice")).status, 200, "status of one more call")
    check.equal((await gateway.balance("alice"))["credits"], 105, "credits after it")


async def cancelled(world: World) -> None:
    check, gateway = world.check, world.gateway
    answers = await asyncio.gather(*(cancel(gateway, "alice") for _ in range(4)))
    check.that(any(response.status == 200 for response in answers), f"no call ended the subscription: {answers[0]}")
    for response in answers:
        # Who comes when it is over is told so.
        check.within((response.status, response.json["detail"]), [
            (200, "Status updated to CANCELLED"), (404, "Active subscription not found")], "the answer")
    check.equal([event["data"]["plan"] for event in await said(gateway, "alice", "plan_changed")], ["BASIC", "FREE"], "changes of the plan")
    data = await gateway.balance("alice")
    check.equal((data["plan"], data["credits"]), ("FREE", 105), "plan and credits: what was paid stays")
    detail(check, await cancel(gateway, "alice"), 404, "Active subscription not found")
    check.equal((await subscribe(gateway, "alice")).json, {"success": True, "detail": "Subscribed to BASIC"}, "the answer to coming back")
    data = await gateway.balance("alice")
    check.equal((data["plan"], data["credits"]), ("BASIC", 105), "plan and credits: the cycle that was paid is still good")
    await gateway.wanted("POST", "/v1/users", {"user_id": "a/b ü"})
    check.equal((await subscribe(gateway, "a/b ü")).status, 200, "status of an odd id's subscription")
    check.equal((await cancel(gateway, "a/b ü")).json, {"success": True, "detail": "Status updated to CANCELLED"}, "the answer")


async def by_key(world: World) -> None:
    check, gateway = world.check, world.gateway
    for user in ("bob", "carol"):
        await gateway.user(user)
    first = {"idempotency-key": "webhook-1"}
    response = await subscribe(gateway, "bob", headers=first)
    check.equal((response.status, response.header("idempotency-replayed")), (200, None), "the first call")
    response = await subscribe(gateway, "bob", headers=first)
    check.equal((response.status, response.json, response.header("idempotency-replayed")), (
        200, {"success": True, "detail": "Subscribed to BASIC"}, "true"), "the same again")
    # A second webhook with a key of its own tells the same.
    check.equal((await subscribe(gateway, "bob", headers={"idempotency-key": "webhook-2"})).status, 200, "status of another webhook")
    check.equal((await gateway.balance("bob"))["credits"], 100, "credits")
    for user, plan in (("bob", "FREE"), ("carol", "BASIC")):
        response = await subscribe(gateway, user, plan, headers=first)
        check.equal((response.status, response.json.get("code")), (409, "idempotency_conflict"), f"the key of bob's with {user} and {plan}")
    ended = {"idempotency-key": "webhook-3"}
    check.equal((await cancel(gateway, "bob", headers=ended)).header("idempotency-replayed"), None, "idempotency-replayed")
    response = await cancel(gateway, "bob", headers=ended)
    check.equal((response.status, response.header("idempotency-replayed")), (200, "true"), "the same again")
    # An old webhook that comes late brings no subscription back.
    await gateway.restart()
    response = await subscribe(gateway, "bob", headers=first)
    check.equal((response.status, response.header("idempotency-replayed")), (200, "true"), "the first again, late")
    check.equal((await gateway.balance("bob"))["plan"], "FREE", "the plan after it")
    answers = await asyncio.gather(*(subscribe(gateway, "carol", headers={"idempotency-key": f"carol-{number}"}) for number in range(6)))
    check.equal({response.status for response in answers}, {200}, "statuses of webhooks at the same time")
    check.equal(len(await said(gateway, "carol", "credits_granted")), 1, "grants")
    check.equal((await gateway.balance("carol"))["credits"], 100, "credits")


@case
async def cycles() -> None:
    """Each payment of a subscription is a cycle, early, on time and late; what is news and no payment is none."""
    day = 86_400
    with Clock() as clock:
        async with World(["up:finish"], env=clock.env) as world:
            check, gateway = world.check, world.gateway

            async def granted(user: str) -> list[float]:
                """When each cycle ends, in days from now."""
                events = await said(gateway, user, "credits_granted")
                return [round((event["data"]["expires_at"] / 1e6 - clock.now()) / day, 1) for event in events if event["data"]["source"] == "SUBSCRIPTION"]

            for user in ("monthly", "returning", "keyed", "newsy"):
                await gateway.user(user)
                check.equal((await subscribe(gateway, user)).status, 200, "status")
            with check.about("news of the day, and in mid-cycle"):
                for days in (0, 5, 15):
                    clock.ahead(days * day)
                    await asyncio.gather(*(subscribe(gateway, "newsy") for _ in range(3)))
                check.equal(await granted("newsy"), [10.0], "cycles")
            with check.about("cancelling and coming back in mid-cycle, day after day"):
                for _ in range(3):
                    await cancel(gateway, "returning")
                    await subscribe(gateway, "returning")
                    await subscribe(gateway, "returning")
                check.equal(await granted("returning"), [10.0], "cycles: what was paid is still good, and no more was")
                check.equal((await gateway.balance("returning"))["plan"], "BASIC", "the plan")
            with check.about("news under keys of their own"):
                for number in range(3):
                    await subscribe(gateway, "keyed", headers={"idempotency-key": f"payment-{number}"})
                check.equal(await granted("keyed"), [10.0], "cycles")
            with check.about("a payment that comes two days before the end of the cycle"):
                clock.ahead(8 * day)
                await asyncio.gather(*(subscribe(gateway, "monthly") for _ in range(5)))
                check.equal(await granted("monthly"), [2.0, 32.0], "cycles")
                clock.ahead(3 * day)
                check.equal((await gateway.balance("monthly"))["credits"], 100, "credits in the next cycle")
            with check.about("a payment that comes late"):
                clock.ahead(40 * day)
                await subscribe(gateway, "monthly")
                check.equal(await granted("monthly"), [-41.0, -11.0, 30.0], "cycles")


@case
async def renewal_trigger() -> None:
    """What has expired is recorded by the operator's timer, at its own instant, once, however often and by how many it is asked."""
    with Clock() as clock:
        async with World(["up:finish"], env=clock.env) as world:
            check, gateway = world.check, world.gateway
            trigger = "/v1/admin/renewals/trigger"
            key = await gateway.user("early", 1)
            for user in ("early", "late"):
                if user != "early":
                    await gateway.user(user)
                await gateway.wanted("POST", "/v1/billing/subscription", {"user_id": user, "plan_name": "BASIC"})
            with check.about("before anything is due"):
                check.equal(await gateway.wanted("POST", trigger), {"renewed": 0, "expired_accounts": 0}, "the answer")
            clock.ahead(31 * 86_400)
            with check.about("after the cycle"):
                check.equal((await gateway.balance("late"))["credits"], 0, "what is left of the cycle, before its end is recorded")
                answers = await asyncio.gather(*(gateway.wanted("POST", trigger) for _ in range(8)))
                check.equal(sum(answer["expired_accounts"] for answer in answers), 2, "accounts that expired, over eight calls at once")
                check.equal(await gateway.wanted("POST", trigger), {"renewed": 0, "expired_accounts": 0}, "the next answer")
            with check.about("events"):
                events = await gateway.events()
                expired = [event for event in events if event["name"] == "grant_expired"]
                check.equal(sorted(event["account"] for event in expired), ["early", "late"], "accounts of the expiries")
                for event in expired:
                    granted = next(e for e in events if e["account"] == event["account"] and e["version"] == event["data"]["grant"])
                    instant_of = datetime.datetime.fromisoformat(event["effective_at"]) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
                    check.equal(instant_of // datetime.timedelta(microseconds=1), granted["data"]["expires_at"], "the instant of an expiry")
            check.equal((await gateway.answer(key, "up:finish")).status, 200, "status of a request that the rest pays")
