"""What an operator puts right: adjustments, refunds and reversals. Each is an event with a reason; nothing is ever edited."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import wire
from cases_admin import missing
from cases_cycles import Months, settled, trigger
from cases_plans import NANO, PLANS, done, error, micros, paid, said, subscribe
from cases_profile import exact, invalid, like
from checks import case, detail
from clock import Clock
from gateway import MASTER_KEY
from world import World

ADJUST, REFUND = "/v1/billing/adjustments", "/v1/billing/refunds"
BILLING_KEY, AUDITOR_KEY = "billing-key-of-the-end-to-end-tests", "auditor-key-of-the-end-to-end-tests"
SETTINGS = PLANS | {
    "master_keys": {"billing": {"key": BILLING_KEY, "role": "billing"}, "auditor": {"key": AUDITOR_KEY, "role": "auditor"}}}
#: What an answer of `up:finish` costs here: 8 output tokens at 0.01 USD.
CHAT = Decimal("0.8")


@case
async def corrections() -> None:
    """Adjustments, refunds and reversals count once under their key, take and give exactly what they say, and every balance is still proven."""
    with Clock() as clock:
        async with World(["up:finish", "up:slow", "up:overrun"], env=clock.env, settings=SETTINGS) as world:
            price = {"model_key": "up:finish", "input_price_per_million": 0, "output_price_per_million": 10_000}
            await world.gateway.wanted("POST", "/v1/pricing", price)
            desk = Desk(world, clock)
            for part in (wrong, adjusting, refunding, reversing, over_grants, of_a_debt, at_once, refunded_cycles, late):
                with world.check.about(part.__name__):
                    await part(desk)
            with world.check.about("after a restart"):
                await remembered(desk)
            with world.check.about("the sums of the events"):
                await proven(desk)


class Desk:
    """Asks for corrections, and remembers those that have a key."""

    def __init__(self, world: World, clock: Clock):
        self.world, self.check, self.gateway, self.clock = world, world.check, world.gateway, clock
        self.kept: list[tuple[str, dict, str, dict]] = []

    async def ask(self, path: str, value: dict, key: str | None = None, master: str = MASTER_KEY) -> wire.Response:
        return await self.gateway.api("POST", path, value, key=master, headers={"idempotency-key": key} if key else None)

    async def right(self, path: str, value: dict, user: str, credits: object, balance: object, key: str | None = None, position: object = int, **more: object) -> dict:
        """A correction that is made; with a key it is asked for twice, and made once."""
        value = {"reason": "goodwill"} | value
        response = await self.ask(path, value, key)
        if not self.check.equal(response.status, 200, f"status of {response}"):
            return {}
        self.check.equal(response.header("idempotency-replayed"), None, "idempotency-replayed")
        found = exact(response)
        like(self.check, found, {"success": True, "user_id": user, "position": position, "credits": credits, "balance": balance} | more, f"the answer to {value}")
        self.check.equal((await self.gateway.balance(user))["credits"], balance, f"the balance behind {value}")
        if key:
            again = await self.ask(path, value, key)
            self.check.equal((again.header("idempotency-replayed"), exact(again)), ("true", found), "the same again")
            self.kept.append((path, value, key, found))
        return found

    async def adjust(self, user: str, amount: object, balance: object, key: str | None = None) -> dict:
        return await self.right(ADJUST, {"user_id": user, "amount": amount}, user, Decimal(str(amount)), balance, key)

    async def refund(self, payment: str, user: str, usd: object, credits: object, taken: object, owed: object, balance: object, key: str | None = None,
                     amount: object = None) -> dict:
        value = {"payment_id": payment} | ({} if amount is None else {"amount_usd": amount})
        return await self.right(REFUND, value, user, credits, balance, key, amount_usd=usd, taken=taken, owed=owed)

    async def reverse(self, request: str, user: str, credits: object, balance: object, key: str | None = None, amount: object = None) -> dict:
        return await self.right(reversal(request), {} if amount is None else {"amount": amount}, user, credits, balance, key)

    async def chat(self, key: str, user: str, model: str = "up:finish", tokens: int = 8) -> str:
        """A request that is charged; gives its name."""
        answer = await self.gateway.answer(key, model, max_tokens=tokens)
        assert answer.status == 200, f"a chat of {user} gave {answer}"
        await wire.eventually(lambda: settled(self.gateway, user), "the request is settled")
        return answer.header("x-request-id")

    async def last(self, user: str, name: str) -> dict:
        return (await said(self.gateway, user, name))[-1]["data"]


def reversal(request: str) -> str:
    return f"/v1/ledger/charges/{request}/reverse"


async def wrong(desk: Desk) -> None:
    """What cannot be meant is refused, and leads to nothing."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("wrong", 5)
    request = await desk.chat(key, "wrong")
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "wrong", "amount": 10, "payment_id": "wrong-1"})
    before = len(await gateway.events())
    bodies = {ADJUST: {"user_id": "wrong", "amount": 1, "reason": "x"}, REFUND: {"payment_id": "api:wrong-1", "reason": "x"}, reversal(request): {"reason": "x"}}
    for path, body in bodies.items():
        with check.about(path):
            for name in body:
                missing(check, await desk.ask(path, {other: value for other, value in body.items() if other != name}), name)
            for reason in ("", "x" * 501, 7):
                invalid(check, await desk.ask(path, body | {"reason": reason}), "reason", "body")
            error(check, await desk.ask(path, body, "k" * 256), 400, "invalid_idempotency_key")
            error(check, await desk.ask(path, body, master=AUDITOR_KEY), 403, "role_not_sufficient")
            detail(check, await desk.ask(path, body, master=key), 403, "Master key required")
            check.equal((await gateway.api("POST", path, body, key=None)).status, 401, "status without a credential")
            error(check, await gateway.api("POST", path, body=b"[]"), 422, "validation_error")
    for amount in ("much", "0.0000000001", 10**9 + 1, -(10**9) - 1, 10**30, True, [1]):
        invalid(check, await desk.ask(ADJUST, bodies[ADJUST] | {"amount": amount}), "amount", "body")
    error(check, await desk.ask(ADJUST, bodies[ADJUST] | {"amount": 0}), 400, "amount_not_positive")
    error(check, await desk.ask(ADJUST, bodies[ADJUST] | {"user_id": "nobody"}), 404, "user_not_found")
    for amount in (0, -1, "much", "0.0000001", True):
        invalid(check, await desk.ask(REFUND, bodies[REFUND] | {"amount_usd": amount}), "amount_usd", "body")
    error(check, await desk.ask(REFUND, bodies[REFUND] | {"amount_usd": 1.000001}), 400, "refund_exceeds_payment")
    for payment in ("api:wrong-2", "wrong-1", "", "x" * 300, "a\nb"):
        error(check, await desk.ask(REFUND, bodies[REFUND] | {"payment_id": payment}), 404, "payment_not_found")
    for amount in (0, -1, "much", "0.0000000001", True):
        invalid(check, await desk.ask(reversal(request), {"reason": "x", "amount": amount}), "amount", "body")
    error(check, await desk.ask(reversal(request), {"reason": "x", "amount": 0.800000001}), 400, "reversal_exceeds_charge")
    for other in ("req_00000000000000000000000000", "x", "%2e%2e", f"{request}x"):
        error(check, await desk.ask(reversal(other), {"reason": "x"}), 404, "charge_not_found")
    refused = await gateway.answer(key, "up:finish", max_tokens=1_000_000)
    error(check, await desk.ask(reversal(refused.header("x-request-id")), {"reason": "x"}), 404, "charge_not_found")
    check.equal(len(await gateway.events()), before, "events after all that")


async def adjusting(desk: Desk) -> None:
    check, gateway = desk.check, desk.gateway
    await gateway.user("alice", 5)
    await desk.adjust("alice", 2.5, Decimal("7.5"), "adjust-1")
    data = await desk.last("alice", "credits_granted")
    check.equal(
        {name: data.get(name) for name in ("pool", "source", "amount", "expires_at", "reason", "actor")},
        {"pool": "TOPUP", "source": "ADJUSTMENT", "amount": 2_500_000_000, "expires_at": None, "reason": "goodwill", "actor": "master"}, "the event")
    for value in ({"amount": 2}, {"amount": -2.5}, {"reason": "another"}, {"user_id": "wrong"}):
        error(check, await desk.ask(ADJUST, {"user_id": "alice", "amount": 2.5, "reason": "goodwill"} | value, "adjust-1"), 409, "idempotency_conflict")
    await desk.adjust("alice", -1.25, Decimal("6.25"), "adjust-2")
    data = await desk.last("alice", "credits_withdrawn")
    check.equal((data["amount"], data["reason"], data["actor"]), (1_250_000_000, "goodwill", "master"), "the event")
    await desk.adjust("alice", "0.000000001", Decimal("6.250000001"))
    # Without a key, it is asked for anew each time.
    for balance in ("5.25", "4.25"):
        await desk.adjust("alice", -1, Decimal(balance) + Decimal("0.000000001"))
    response = await desk.ask(ADJUST, {"user_id": "alice", "amount": 1, "reason": "ü" * 250}, "adjust-3", BILLING_KEY)
    check.equal((response.status, (await desk.last("alice", "credits_granted"))["actor"]), (200, "master:billing"), "an adjustment with the key of billing")
    with check.about("more than there is"):
        events = len(await gateway.events())
        response = await desk.ask(ADJUST, {"user_id": "alice", "amount": "-5.250000002", "reason": "x"}, "adjust-4")
        error(check, response, 402, "insufficient_credits")
        check.equal(len(await gateway.events()), events, "events")
        # A refusal uses up no key.
        await desk.adjust("alice", "-5.250000001", 0, "adjust-4")
    with check.about("what a request holds"):
        key = await gateway.user("holding", 1)
        async with gateway.chat(key, "up:slow", stream=True, case="holding", max_tokens=10_000) as exchange:
            await desk.world.provider.received("holding")
            data = await gateway.balance("holding")
            check.that(0 < data["available"] < 1, f"the balance: {data}")
            over = data["available"] + Decimal("0.000000001")
            error(check, await desk.ask(ADJUST, {"user_id": "holding", "amount": f"-{over}", "reason": "x"}), 402, "insufficient_credits")
            await desk.adjust("holding", f"-{data['available']}", data["held"])
            await desk.world.provider.step("holding", everything=True)
            await exchange.rest()
    with check.about("grants in the order in which they are burnt"):
        await gateway.user("pools", 5)
        done(check, await subscribe(gateway, "pools"))
        await desk.adjust("pools", -101, 4)
        data = await desk.last("pools", "credits_withdrawn")
        grants = {event["version"]: event["data"]["pool"] for event in await said(gateway, "pools", "credits_granted")}
        check.equal([(grants[grant], amount) for grant, amount in data["allocations"]], [("SUBSCRIPTION", 100 * NANO), ("TOPUP", NANO)], "what it took")


async def refunding(desk: Desk) -> None:
    """Of what is given back the credits are taken, used ones are owed, and the next grant pays them first."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("bob")
    for number in (1, 2):
        await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "bob", "amount": 10, "payment_id": f"order-{number}"})
    await desk.chat(key, "bob")
    half = {"usd": Decimal("0.5"), "credits": 5, "amount": 0.5}
    await desk.refund("api:order-1", "bob", taken=5, owed=0, balance=15 - CHAT, key="refund-1", **half)
    error(check, await desk.ask(REFUND, {"payment_id": "api:order-1", "amount_usd": 0.4, "reason": "goodwill"}, "refund-1"), 409, "idempotency_conflict")
    error(check, await desk.ask(REFUND, {"payment_id": "api:order-2", "amount_usd": 0.5, "reason": "goodwill"}, "refund-1"), 409, "idempotency_conflict")
    error(check, await desk.ask(REFUND, {"payment_id": "api:order-1", "amount_usd": 0.500001, "reason": "x"}), 400, "refund_exceeds_payment")
    # All that is left: 4.2 of the credits are there, 0.8 were used.
    await desk.refund("api:order-1", "bob", Decimal("0.5"), 5, 5 - CHAT, CHAT, 10 - CHAT, "refund-2")
    data = await gateway.balance("bob")
    check.equal((data["credits"], data["debt"], sum(grant["remaining"] for grant in data["grants"])), (10 - CHAT, CHAT, 10), "what is owed")
    # Of what has been given back nothing is left, and no event tells of it.
    await desk.right(REFUND, {"payment_id": "api:order-1"}, "bob", 0, 10 - CHAT, position=None)
    rows = {row["paymentId"]: (row["amountCents"], row["credits"], row["refundedCents"]) for row in await paid(gateway, "bob")}
    check.equal(rows, {"api:order-1": (100, 10, 100), "api:order-2": (100, 10, 0)}, "the payments")
    data = await desk.last("bob", "payment_refunded")
    check.equal((data["micro_usd"], data["credits"], data["debt_added"], data["reason"], data["actor"]), (500_000, 5 * NANO, 800_000_000, "goodwill", "master"), "the event")
    await gateway.top_up("bob", 1)
    data = await gateway.balance("bob")
    check.equal((data["credits"], data["debt"]), (11 - CHAT, 0), "the next grant pays what is owed")
    # A third of a cent more or less: credits are rounded down, and the rest is the rest.
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "bob", "amount": "0.000000007", "payment_id": "order-3"})
    await desk.refund("api:order-3", "bob", Decimal("0.000001"), Decimal("0.000000007"), Decimal("0.000000007"), 0, 11 - CHAT)
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "bob", "amount": "0.00004", "payment_id": "order-4"})
    parts = [(await desk.ask(REFUND, {"payment_id": "api:order-4", "amount_usd": 0.000003, "reason": "x"})) for _ in range(2)]
    check.equal([response.status for response in parts], [200, 400], "statuses")
    check.equal((await gateway.balance("bob"))["credits"], 11 - CHAT + Decimal("0.00001"), "what is left of it")


async def reversing(desk: Desk) -> None:
    """What was charged goes back to the grants that bore it, in parts or whole, and never more than it was."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("carol", 5)
    first, second = await desk.chat(key, "carol"), await desk.chat(key, "carol")
    await desk.reverse(first, "carol", Decimal("0.3"), Decimal("3.7"), "reverse-1", "0.3")
    data = await desk.last("carol", "charge_reversed")
    check.equal((data["request"], data["amount"], data["reason"], data["actor"]), (first, 300_000_000, "goodwill", "master"), "the event")
    for request, value in ((first, {"amount": "0.2"}), (second, {"amount": "0.3"}), (first, {"amount": "0.3", "reason": "another"})):
        error(check, await desk.ask(reversal(request), {"reason": "goodwill"} | value, "reverse-1"), 409, "idempotency_conflict")
    error(check, await desk.ask(reversal(first), {"reason": "x", "amount": "0.500000001"}), 400, "reversal_exceeds_charge")
    await desk.reverse(first, "carol", Decimal("0.5"), Decimal("4.2"), "reverse-2")
    await desk.right(reversal(first), {}, "carol", 0, Decimal("4.2"), position=None)
    error(check, await desk.ask(reversal(first), {"reason": "x", "amount": "0.000000001"}), 400, "reversal_exceeds_charge")
    check.equal([grant["remaining"] for grant in (await gateway.balance("carol"))["grants"]], [Decimal("4.2")], "the grant")

    async def shown() -> list | None:
        rows = {row["id"]: Decimal(str(row["credits_reversed"])) for row in await gateway.usage("carol")}
        return rows if rows.get(first) == CHAT else None

    rows = await wire.eventually(shown, "the usage log has the reversals")
    check.equal(rows, {first: CHAT, second: 0}, "what was reversed of carol's requests")
    # Nothing was charged for what failed.
    failed = await gateway.answer(key, "up:finish", max_tokens=10**7)
    error(check, await desk.ask(reversal(failed.header("x-request-id")), {"reason": "x"}), 404, "charge_not_found")


async def over_grants(desk: Desk) -> None:
    """What two grants bore, the last of them gets back first."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("dave", 5)
    done(check, await subscribe(gateway, "dave"))
    await desk.adjust("dave", "-99.5", Decimal("5.5"))
    request = await desk.chat(key, "dave")
    grants = {event["version"]: event["data"]["pool"] for event in await said(gateway, "dave", "credits_granted")}
    charged = await desk.last("dave", "request_charged")
    check.equal([(grants[grant], amount) for grant, amount in charged["allocations"]], [("SUBSCRIPTION", 500_000_000), ("TOPUP", 300_000_000)], "who bore it")
    for amount, balance, restored in (("0.4", "5.1", [("TOPUP", 300_000_000), ("SUBSCRIPTION", 100_000_000)]), (None, "5.5", [("SUBSCRIPTION", 400_000_000)])):
        await desk.reverse(request, "dave", Decimal("0.4"), Decimal(balance), amount=amount)
        found = (await desk.last("dave", "charge_reversed"))["restored"]
        check.equal([(grants[grant], part) for grant, part in found], restored, "who got it back")


async def of_a_debt(desk: Desk) -> None:
    """A charge that became a debt: what is still owed of it is forgiven first, then what later grants have paid goes back to them."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("erin")
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "erin", "amount": 1, "payment_id": "erin-1"})
    request = await desk.chat(key, "erin")
    await desk.refund("api:erin-1", "erin", Decimal("0.1"), 1, 1 - CHAT, CHAT, -CHAT)
    balance = (await gateway.balance("erin"))["credits"]
    await desk.reverse(request, "erin", Decimal("0.5"), balance + Decimal("0.5"), amount="0.5")
    await gateway.top_up("erin", 1)
    await desk.reverse(request, "erin", CHAT - Decimal("0.5"), 1)
    data = await desk.last("erin", "charge_reversed")
    check.equal(
        (data["debt_reduced"], [amount for _, amount in data["repayments_returned"]], [amount for _, amount in data["restored"]]),
        (0, [300_000_000], []), "what was forgiven, returned and restored")
    check.equal(sorted(grant["remaining"] for grant in (await gateway.balance("erin"))["grants"]), [1], "the grants")


async def at_once(desk: Desk) -> None:
    """Of many at the same time, so many count as there is something left."""
    check, gateway = desk.check, desk.gateway
    key = await gateway.user("frank")
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "frank", "amount": 10, "payment_id": "many-1"})
    request = await desk.chat(key, "frank")
    adjustment = {"user_id": "frank", "amount": 1, "reason": "x"}
    answers = await asyncio.gather(*(desk.ask(ADJUST, adjustment, "many-adjust") for _ in range(8)))
    check.equal([response.status for response in answers], [200] * 8, "statuses")
    check.equal(sum(response.header("idempotency-replayed") == "true" for response in answers), 7, "answers that are replayed")
    check.equal((await gateway.balance("frank"))["credits"], 11 - CHAT, "the balance")
    answers = [exact(response) for response in await asyncio.gather(*(desk.ask(reversal(request), {"reason": "x"}) for _ in range(8)))]
    check.equal(sorted(answer["credits"] for answer in answers), [0] * 7 + [CHAT], "what was reversed")
    part = {"payment_id": "api:many-1", "amount_usd": 0.3, "reason": "x"}
    answers = await asyncio.gather(*(desk.ask(REFUND, part) for _ in range(8)))
    check.equal(sorted(response.status for response in answers), [200] * 3 + [400] * 5, "statuses")
    answers = [exact(response) for response in await asyncio.gather(*(desk.ask(REFUND, {"payment_id": "api:many-1", "reason": "x"}) for _ in range(8)))]
    check.equal(sorted(answer["credits"] for answer in answers), [0] * 7 + [1], "what was given back in the end")
    check.equal((await gateway.balance("frank"))["credits"], 1, "the balance")


async def refunded_cycles(desk: Desk) -> None:
    """A cycle whose payment is given back ends at its boundary, and nothing is waited for; one that waits does not begin, or with less."""
    check, gateway = desk.check, desk.gateway
    m = Months(desk.world, desk.clock)
    keys = {user: await gateway.user(user) for user in ("grace", "heidi", "ivan")}
    for user in keys:
        for number in range(2):
            done(check, await subscribe(gateway, user, payment=f"{user}-{number}"))
    await desk.chat(keys["grace"], "grace")
    # The next cycle is paid all the same.
    await desk.refund("api:grace-0", "grace", 10, 100, 100 - CHAT, CHAT, -CHAT, "refund-cycle")
    await m.has("grace", "BASIC", -CHAT, number=1, is_paid=False, next_plan="FREE")
    await desk.refund("api:heidi-1", "heidi", 10, 100, 0, 0, 100)
    await desk.refund("api:heidi-0", "heidi", 10, 100, 100, 0, 0)
    check.equal([(row["waitsForCycle"], row["refundedCents"]) for row in await paid(gateway, "heidi")], [(False, 1000)] * 2, "heidi's payments")
    await desk.refund("api:ivan-1", "ivan", Decimal("2.5"), 25, 0, 0, 100, amount=2.5)
    check.equal([(row["waitsForCycle"], row["refundedCents"]) for row in await paid(gateway, "ivan")], [(True, 250), (False, 0)], "ivan's payments")
    m.day(31)
    await m.has("grace", "BASIC", 100 - CHAT, number=2, is_paid=True, is_grace=False)
    await m.has("heidi", "FREE", 10, number=2, is_paid=False, is_grace=False, next_plan=None)
    await m.has("ivan", "BASIC", 75, number=2, is_paid=True, is_grace=False, next_plan=None)
    # Of the rest, too, the grant is what is left of it.
    await desk.refund("api:ivan-1", "ivan", Decimal("7.5"), 75, 75, 0, 0)
    await m.has("ivan", "BASIC", 0, number=2, is_paid=False, next_plan="FREE")
    m.day(61)
    await m.has("ivan", "FREE", 10, number=3, is_grace=False)


async def late(desk: Desk) -> None:
    """What has expired meanwhile expires again at once, where it is given back, and is not taken twice, where it was paid."""
    check, gateway = desk.check, desk.gateway
    m = Months(desk.world, desk.clock)
    for user in ("judy", "kim"):
        key = await gateway.user(user, 1)
        done(check, await subscribe(gateway, user, payment=f"{user}-0"))
        request = await desk.chat(key, user)
        if user == "judy":
            charged = request
    m.day(31)
    await trigger(gateway)
    await desk.reverse(charged, "judy", CHAT, 1, "reverse-late")
    events = [event for event in await gateway.events() if event["account"] == "judy"][-2:]
    check.equal([event["name"] for event in events], ["charge_reversed", "grant_expired"], "the events")
    check.equal((events[1]["data"]["amount"], m.days(micros(events[1]["effective_at"]))), (800_000_000, "30"), "what expired again, and from when it counts")
    # Of kim's hundred 0.8 were used; the rest is gone.
    await desk.refund("api:kim-0", "kim", 10, 100, 0, CHAT, 1 - CHAT)
    m.day(34)
    await m.has("kim", "FREE", 10, number=3)


async def remembered(desk: Desk) -> None:
    """Keys count for ever."""
    check, gateway = desk.check, desk.gateway
    events = len(await gateway.events())
    await gateway.kill9()
    await gateway.start()
    check.that(len(desk.kept) >= 8, f"corrections under keys: {len(desk.kept)}")
    for path, value, key, found in desk.kept:
        with check.about(path, key):
            response = await desk.ask(path, value, key)
            if check.equal(response.status, 200, f"status of {response}"):
                # The balance is that of now.
                check.equal((response.header("idempotency-replayed"), exact(response) | {"balance": 0}), ("true", found | {"balance": 0}), "the answer")
    check.equal(len(await gateway.events()), events, "events")


async def proven(desk: Desk) -> None:
    """The balances are what the events add up to, by a sum that is not the server's."""
    check, gateway = desk.check, desk.gateway
    await trigger(gateway)
    sums: dict[str, int] = {}
    for event in await gateway.events():
        data = event["data"]
        change = {
            "credits_granted": lambda: data["amount"], "grant_expired": lambda: -data["amount"], "request_charged": lambda: -int(data["credits"]),
            "charge_reversed": lambda: data["amount"], "credits_withdrawn": lambda: -data["amount"],
            "payment_refunded": lambda: -sum(amount for _, amount in data["taken"]) - data["debt_added"],
        }.get(event["name"], lambda: 0)()
        sums[event["account"]] = sums.get(event["account"], 0) + change
    for user in gateway.users:
        found = await gateway.balance(user)
        check.equal(int(found["credits"] * NANO), sums[user], f"the balance of {user}")
        grants = sum(grant["remaining"] for grant in found["grants"])
        check.equal(found["credits"], grants - found["debt"], f"grants and debt of {user}")
        code, out, _ = await gateway.replay("balance", gateway.database, "--account", user, "--format", "json")
        check.equal((code, Decimal(json.loads(out)["balance"])), (0, found["credits"]), f"what replay says of {user}")
