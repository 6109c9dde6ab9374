"""Budgets; and subscriptions, of which a portal tells, or for which a payment is named."""

from __future__ import annotations

import asyncio
import datetime
import re
from decimal import Decimal
from urllib.parse import quote

import wire
from cases_admin import instant, missing
from cases_profile import TIME, UUID, exact, invalid, like
from checks import Checks, case, detail
from gateway import Gateway
from world import World

NANO = 10**9
#: A plan that is better than BASIC; and nothing is recorded but what somebody asks for.
PLANS = {"plans": {"PRO": {"price_usd": 30, "cycle_credits": 300}}, "renewals": {"sweep_seconds": 0}}


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
    """Calls about a subscription have the effect of once, in whatever number they come, by the portal's word or a payment's name; what was paid stays."""
    async with World(["up:finish"], settings=PLANS) as world:
        for about in (refused, subscribed, cancelled, by_key, by_payment, upgraded):
            with world.check.about(about.__name__):
                await about(world)


async def subscribe(gateway: Gateway, user: str, plan: str = "BASIC", payment: object = None, upgrade: object = None, **more: object) -> wire.Response:
    value = {"user_id": user, "plan_name": plan, "payment_id": payment, "upgrade": upgrade}
    return await gateway.api("POST", "/v1/billing/subscription", {name: given for name, given in value.items() if given is not None}, **more)


async def cancel(gateway: Gateway, user: str, **more: object) -> wire.Response:
    return await gateway.api("PATCH", f"/v1/billing/subscription/{quote(user, safe='')}", {"status": "CANCELLED"}, **more)


async def said(gateway: Gateway, user: str, *names: str) -> list[dict]:
    """The events of an account that have one of these names."""
    return [event for event in await gateway.events() if event["account"] == user and event["name"] in names]


def micros(instant: str) -> int:
    """An instant as events hold it."""
    since = datetime.datetime.fromisoformat(instant) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return since // datetime.timedelta(microseconds=1)


async def paid(gateway: Gateway, user: str) -> list[dict]:
    """What the profile has of a user's payments, newest first."""
    return exact(await gateway.api("GET", f"/v1/profile/payments?user={quote(user)}"))["data"]["paymentTransactions"]


def done(check: Checks, response: wire.Response, plan: str = "BASIC", replayed: str | None = None) -> None:
    """A subscription's answer; `replayed` where its key or payment was there before."""
    if check.equal(response.status, 200, f"status of {response}"):
        check.equal(response.json, {"success": True, "detail": f"Subscribed to {plan}"}, "the answer")
    check.equal(response.header("idempotency-replayed"), replayed, "idempotency-replayed")


def error(check: Checks, response: wire.Response, status: int, code: str) -> None:
    check.equal((response.status, response.json.get("code")), (status, code), f"status and code of {response}")


async def refused(world: World) -> None:
    check, gateway = world.check, world.gateway
    key = await gateway.user("alice")
    for payment in (None, "inv-0"):
        detail(check, await subscribe(gateway, "alice", "GOLD", payment), 404, "Plan 'GOLD' not found")
        detail(check, await subscribe(gateway, "nobody", payment=payment), 404, "User not found")
        detail(check, await subscribe(gateway, "alice", payment=payment, key=key), 403, "Master key required")
        check.equal((await subscribe(gateway, "alice", payment=payment, key=None)).status, 401, "status without a credential")
    missing(check, await gateway.api("POST", "/v1/billing/subscription", {"plan_name": "BASIC"}), "user_id")
    missing(check, await gateway.api("POST", "/v1/billing/subscription", {"user_id": "alice"}), "plan_name")
    missing(check, await gateway.api("PATCH", "/v1/billing/subscription/alice", {}), "status")
    for status in ("ACTIVE", "cancelled", ""):
        invalid(check, await gateway.api("PATCH", "/v1/billing/subscription/alice", {"status": status}), "status", "body")
    for payment in ("", "x" * 201, "a\nb", "\u0085", 7, True):
        invalid(check, await subscribe(gateway, "alice", payment=payment), "payment_id", "body")
    invalid(check, await subscribe(gateway, "alice", payment="inv-0", upgrade="yes"), "upgrade", "body")
    error(check, await subscribe(gateway, "alice", "FREE", "inv-0"), 400, "plan_not_for_sale")
    for plan in ("BASIC", "PRO"):
        error(check, await subscribe(gateway, "alice", plan, "inv-0", upgrade=True), 409, "nothing_to_upgrade")
    for user in ("alice", "nobody"):
        response = await cancel(gateway, user)
        detail(check, response, 404, "Active subscription not found")
        check.equal(response.json.get("code"), "subscription_not_found", "code")
    detail(check, await cancel(gateway, "alice", key=key), 403, "Master key required")
    check.equal((await cancel(gateway, "alice", key=None)).status, 401, "status without a credential")
    error(check, await subscribe(gateway, "alice", headers={"idempotency-key": "x" * 256}), 400, "invalid_idempotency_key")
    check.equal([event["name"] for event in await gateway.events() if event["account"] == "alice"], ["account_opened"], "what a refusal led to")


async def subscribed(world: World) -> None:
    check, gateway = world.check, world.gateway
    await gateway.top_up("alice", 5)
    for response in await asyncio.gather(*(subscribe(gateway, "alice") for _ in range(10))):
        done(check, response)
    events = await said(gateway, "alice", "payment_recorded", "renewal_evaluated", "credits_granted", "plan_scheduled", "plan_changed")
    if not check.equal([event["name"] for event in events], ["payment_recorded", "credits_granted", "payment_recorded", "renewal_evaluated", "credits_granted"], "events"):
        return
    payment, cycle, grant = (event["data"] for event in events[2:])
    name, begun = f"portal:alice:{events[2]['version']}", micros(events[2]["effective_at"])
    like(check, payment, {
        "payment": name, "purchase": "cycle", "plan": "BASIC", "credits": 100 * NANO, "micro_usd": 10_000_000, "actor": "master"}, "the payment")
    like(check, cycle, {
        "cycle": 1, "from": begun, "until": begun + 30 * 86_400 * 10**6, "plan": "BASIC", "micro_credits_per_usd": 10_000_000, "micro_usd": 10_000_000,
        "cycle_credits": 100 * NANO, "top_up_to": 0, "outcome": "started", "payment": name, "balance": 5 * NANO}, "the cycle")
    check.equal(
        (grant["source"], grant["pool"], grant["amount"], grant["expires_at"], grant["reference"]), ("SUBSCRIPTION", "SUBSCRIPTION", 100 * NANO, cycle["until"], name),
        "the grant")
    data = await gateway.balance("alice")
    check.equal((data["plan"], data["credits"]), ("BASIC", 105), "plan and credits")
    grants = [
        {"id": events[4]["version"], "pool": "SUBSCRIPTION", "source": "SUBSCRIPTION", "amount": 100, "remaining": 100, "expires_at": TIME},
        {"id": int, "pool": "TOPUP", "source": "PURCHASE", "amount": 5, "remaining": 5, "expires_at": None}]
    like(check, data["grants"], grants, "the grants, as they are burnt")
    like(check, data["cycle"], {"number": 1, "began_at": TIME, "ends_at": TIME, "is_paid": True, "is_grace": False, "next_plan": None}, "the cycle")
    check.equal((micros(data["cycle"]["began_at"]), micros(data["cycle"]["ends_at"])), (cycle["from"], cycle["until"]), "its span")
    check.equal(data["expiring_next"], {"credits": 100, "at": data["cycle"]["ends_at"], "grants": [events[4]["version"]]}, "what expires next")
    row = {"paidAt": TIME, "creatorId": "alice", "plan": None, "refundedCents": 0, "waitsForCycle": False}
    like(check, await paid(gateway, "alice"), [
        row | {"amountCents": 1000, "credits": 100, "paymentId": name, "purchase": "cycle", "plan": "BASIC"},
        row | {"amountCents": 50, "credits": 5, "paymentId": re.compile(r"topup:req_[0-9A-Z]{26}"), "purchase": "credits"}], "the payments, newest first")
    done(check, await subscribe(gateway, "alice"))
    check.equal((await gateway.balance("alice"))["credits"], 105, "credits after one more call")


async def cancelled(world: World) -> None:
    check, gateway = world.check, world.gateway
    answers = await asyncio.gather(*(cancel(gateway, "alice") for _ in range(4)))
    # Who comes when it is over is told so.
    check.equal(sorted((response.status, response.json["detail"]) for response in answers), [
        (200, "Status updated to CANCELLED"), *[(404, "Active subscription not found")] * 3], "the answers")
    data = await gateway.balance("alice")
    check.equal((data["plan"], data["cycle"]["next_plan"], data["credits"]), ("BASIC", "FREE", 105), "what was paid stays to the end of its cycle")
    detail(check, await cancel(gateway, "alice"), 404, "Active subscription not found")
    done(check, await subscribe(gateway, "alice"))
    again = await gateway.balance("alice")
    check.equal(again, data | {"cycle": data["cycle"] | {"next_plan": None}}, "the balance of who came back: the cycle that was paid is still good")
    events = await said(gateway, "alice", "plan_scheduled")
    until = micros(data["cycle"]["ends_at"])
    check.equal([event["data"] for event in events], [{"plan": plan, "from": until, "actor": "master"} for plan in ("FREE", "BASIC")], "what was wanted of the next cycle")
    check.equal(len(await said(gateway, "alice", "payment_recorded")), 2, "payments")
    await gateway.wanted("POST", "/v1/users", {"user_id": "a/b ü"})
    check.equal((await subscribe(gateway, "a/b ü")).status, 200, "status of an odd id's subscription")
    check.equal((await cancel(gateway, "a/b ü")).json, {"success": True, "detail": "Status updated to CANCELLED"}, "the answer")


async def by_key(world: World) -> None:
    check, gateway = world.check, world.gateway
    for user in ("bob", "carol"):
        await gateway.user(user)
    first = {"idempotency-key": "webhook-1"}
    done(check, await subscribe(gateway, "bob", headers=first))
    done(check, await subscribe(gateway, "bob", headers=first), replayed="true")
    # A second webhook with a key of its own tells the same, and is remembered, too.
    for replayed in (None, "true"):
        done(check, await subscribe(gateway, "bob", headers={"idempotency-key": "webhook-2"}), replayed=replayed)
    check.equal((await gateway.balance("bob"))["credits"], 100, "credits")
    for user, plan in (("bob", "FREE"), ("carol", "BASIC")):
        for key in ("webhook-1", "webhook-2"):
            error(check, await subscribe(gateway, user, plan, headers={"idempotency-key": key}), 409, "idempotency_conflict")
    ended = {"idempotency-key": "webhook-3"}
    check.equal((await cancel(gateway, "bob", headers=ended)).header("idempotency-replayed"), None, "idempotency-replayed")
    response = await cancel(gateway, "bob", headers=ended)
    check.equal((response.status, response.header("idempotency-replayed")), (200, "true"), "the same again")
    # An old webhook that comes late brings no subscription back.
    await gateway.restart()
    for key in ("webhook-1", "webhook-2"):
        done(check, await subscribe(gateway, "bob", headers={"idempotency-key": key}), replayed="true")
    data = await gateway.balance("bob")
    check.equal((data["plan"], data["cycle"]["next_plan"], data["credits"]), ("BASIC", "FREE", 100), "the plan after it")
    for response in await asyncio.gather(*(subscribe(gateway, "carol", headers={"idempotency-key": f"carol-{number}"}) for number in range(6))):
        done(check, response)
    check.equal([len(await said(gateway, "carol", name)) for name in ("payment_recorded", "renewal_evaluated", "credits_granted")], [1, 1, 1], "payments, cycles and grants")
    check.equal((await gateway.balance("carol"))["credits"], 100, "credits")


async def by_payment(world: World) -> None:
    """A payment that is named counts once in the whole ledger; who pays ahead loses nothing."""
    check, gateway = world.check, world.gateway
    for user in ("dave", "erin"):
        await gateway.user(user)
    answers = await asyncio.gather(*(subscribe(gateway, "dave", payment="inv-1") for _ in range(6)))
    check.equal([response.status for response in answers], [200] * 6, "statuses of the same payment at the same time")
    check.equal(sorted(response.header("idempotency-replayed") or "" for response in answers), ["", *["true"] * 5], "idempotency-replayed")
    check.equal((await gateway.balance("dave"))["credits"], 100, "credits")
    # In the running cycle it is no news, whatever it is: it waits for the next.
    for number in (2, 3):
        done(check, await subscribe(gateway, "dave", payment=f"inv-{number}"))
    data = await gateway.balance("dave")
    check.equal((data["credits"], data["plan"], data["cycle"]["number"]), (100, "BASIC", 1), "the balance of who has paid ahead")
    row = {"paidAt": TIME, "creatorId": "dave", "amountCents": 1000, "credits": 100, "purchase": "cycle", "plan": "BASIC", "refundedCents": 0}
    payments = {pay["paymentId"]: pay for pay in await paid(gateway, "dave")}
    like(check, payments, {f"api:inv-{number}": row | {"paymentId": f"api:inv-{number}", "waitsForCycle": number > 1} for number in (1, 2, 3)}, "the payments")
    await gateway.restart()
    for number in (1, 2, 3):
        done(check, await subscribe(gateway, "dave", payment=f"inv-{number}"), replayed="true")
        # The key's rule is the payment's: the header adds nothing.
        done(check, await subscribe(gateway, "dave", payment=f"inv-{number}", headers={"idempotency-key": f"late-{number}"}), replayed="true")
        error(check, await subscribe(gateway, "erin", payment=f"inv-{number}"), 409, "idempotency_conflict")
        error(check, await subscribe(gateway, "dave", "PRO", f"inv-{number}"), 409, "idempotency_conflict")
        error(check, await subscribe(gateway, "dave", payment=f"inv-{number}", upgrade=True), 409, "idempotency_conflict")
        error(check, await gateway.api("POST", "/v1/billing/topup", {"user_id": "dave", "amount": 100, "payment_id": f"inv-{number}"}), 409, "idempotency_conflict")
    # And the other way round: what paid for credits pays for no cycle.
    order = {"user_id": "erin", "amount": 2.5, "payment_id": "order-1"}
    for replayed in (None, "true"):
        response = await gateway.api("POST", "/v1/billing/topup", order)
        check.equal((response.status, response.header("idempotency-replayed")), (200, replayed), "status of the top-up")
    error(check, await gateway.api("POST", "/v1/billing/topup", order | {"amount": 2}), 409, "idempotency_conflict")
    error(check, await subscribe(gateway, "erin", payment="order-1"), 409, "idempotency_conflict")
    data = await gateway.balance("erin")
    check.equal((data["plan"], data["credits"], [row["paymentId"] for row in await paid(gateway, "erin")]), ("FREE", Decimal("2.5"), ["api:order-1"]), "what erin has")
    check.equal([event["data"]["payment"] for event in await said(gateway, "dave", "payment_recorded")], ["api:inv-1", "api:inv-2", "api:inv-3"], "dave's payments")


async def upgraded(world: World) -> None:
    """A better plan within a cycle grants what it grants more, for the time that is left, once; a lesser one waits for the boundary."""
    check, gateway = world.check, world.gateway
    for user in ("frank", "grace"):
        await gateway.user(user)
        done(check, await subscribe(gateway, user))
    answers = await asyncio.gather(*(subscribe(gateway, "frank", "PRO") for _ in range(5)), *(subscribe(gateway, "grace", "PRO", "up-1", True) for _ in range(5)))
    check.equal([response.status for response in answers], [200] * 10, "statuses")
    for user in ("frank", "grace"):
        with check.about(user):
            events = await said(gateway, user, "payment_recorded", "renewal_evaluated", "plan_changed", "credits_granted")
            names = ["payment_recorded", "renewal_evaluated", "credits_granted", "payment_recorded", "plan_changed", "credits_granted"]
            if check.equal([event["name"] for event in events], names, "events"):
                prorated(check, events[1]["data"], *events[3:])
            data = await gateway.balance(user)
            check.equal((data["plan"], data["cycle"]["number"], data["cycle"]["next_plan"]), ("PRO", 1, None), "plan and cycle")
            for plan in ("BASIC", "PRO", "BASIC"):
                done(check, await subscribe(gateway, user, plan), plan)
            again = await gateway.balance(user)
            check.equal((again["plan"], again["cycle"]["next_plan"], again["credits"]), ("PRO", "BASIC", data["credits"]), "after it went to and fro")
    error(check, await subscribe(gateway, "grace", "BASIC", "up-2", True), 409, "nothing_to_upgrade")
    error(check, await subscribe(gateway, "grace", "PRO", "up-2", True), 409, "nothing_to_upgrade")
    error(check, await subscribe(gateway, "grace", "PRO", "up-1"), 409, "idempotency_conflict")
    done(check, await subscribe(gateway, "grace", "PRO", "up-1", True), "PRO", "true")


def prorated(check: Checks, cycle: dict, payment: dict, change: dict, grant: dict) -> None:
    """What an upgrade from BASIC to PRO led to: credits rounded down, the price up."""
    now = micros(payment["effective_at"])
    left, length = cycle["until"] - now, cycle["until"] - cycle["from"]
    check.that(0 < left < length, f"it was upgraded within the cycle: {left} of {length} µs were left")
    credits, price = 200 * NANO * left // length, -(-20_000_000 * left // length)
    check.equal(
        {name: payment["data"][name] for name in ("purchase", "plan", "credits", "micro_usd")},
        {"purchase": "upgrade", "plan": "PRO", "credits": credits, "micro_usd": price}, "the payment")
    check.equal(change["data"], {
        "plan": "PRO", "micro_credits_per_usd": 10_000_000, "micro_usd": 30_000_000, "cycle_credits": 300 * NANO, "top_up_to": 0}, "the plan's terms")
    data = grant["data"]
    check.equal(
        (data["source"], data["amount"], data["expires_at"], data["reference"]), ("SUBSCRIPTION", credits, cycle["until"], payment["data"]["payment"]), "the grant")
