"""A shop's messages (LemonSqueezy): each payment counts once, in whatever order, number and pace they come, and whatever dies in between."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import itertools
import json
import random
from decimal import Decimal

import wire
from checks import case
from clock import Clock
from gateway import Gateway
from world import World

SECRET, OLD_SECRET, DAY = "shop-secret-of-the-tests", "shop-secret-before", 86_400
ROUTE = "/v1/webhooks/lemonsqueezy"
PERSON = {"user_name": "Grace Hopper", "user_email": "grace.hopper@navy.example", "customer_id": 77}
SETTINGS = {
    "plans": {"PRO": {"price_usd": 30, "cycle_credits": 400}},
    "payments": {"lemonsqueezy": {
        "webhook_secret": SECRET, "webhook_secret_previous": OLD_SECRET,
        "products": {"11": {"plan": "BASIC"}, "12": {"plan": "PRO"}, "21": {"credits": 100, "price_usd": 10}}}},
}


def at(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def message(event: str, kind: str, id_: int, user: str | None, attributes: dict, when: float = 1_770_000_000) -> bytes:
    custom = {} if user is None else {"custom_data": {"user_id": user}}
    attributes = {"store_id": 5, "test_mode": False, "created_at": at(1_770_000_000), "updated_at": at(when), **PERSON, **attributes}
    return json.dumps({
        "meta": {"event_name": event, "test_mode": False, **custom},
        "data": {"type": kind, "id": str(id_), "attributes": attributes, "links": {"self": f"https://api.example/v1/{kind}/{id_}"}}}).encode()


def order(id_: int, user: str | None, variant: int = 21, quantity: int | None = 1, event: str = "order_created", **more: object) -> bytes:
    item = {"id": id_, "order_id": id_, "product_id": 1, "variant_id": variant, "variant_name": "x", "price": 999_999_999}
    item |= {} if quantity is None else {"quantity": quantity}
    return message(event, "orders", id_, user, {
        "identifier": f"order-{id_}", "currency": "USD", "total": 1000, "subtotal": 1, "status": "paid", "refunded": False, "first_order_item": item, **more})


def subscription(id_: int, user: str | None, event: str = "subscription_created", variant: int = 11, status: str = "active", when: float = 1_770_000_000,
                 order_id: int = 0) -> bytes:
    return message(event, "subscriptions", id_, user, {
        "order_id": order_id or id_, "variant_id": variant, "product_id": 1, "status": status, "cancelled": status == "cancelled",
        "renews_at": at(when + 30 * DAY), "ends_at": None}, when)


def invoice(id_: int, of: int, user: str | None = None, event: str = "subscription_payment_success", reason: str = "renewal",
            when: float = 1_770_000_000, **more: object) -> bytes:
    return message(event, "subscription-invoices", id_, user, {
        "created_at": at(when), "subscription_id": of, "billing_reason": reason, "status": "paid", "total": 1000, "refunded": False, **more}, when)


async def send(gateway: Gateway, body: bytes, secret: str | None = SECRET, signature: str | None = None) -> wire.Response:
    headers = {"content-type": "application/json"}
    if secret is not None:
        headers["x-signature"] = signature or hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return await wire.request(gateway.port, "POST", ROUTE, headers, body=body)


async def told(world: World, body: bytes) -> str:
    """Sends a message that has to be taken; gives what became of it."""
    response = await send(world.gateway, body)
    world.check.equal(response.status, 200, f"status of {body[:80]!r}")
    return (response.json or {}).get("status")


async def credits(gateway: Gateway, user: str) -> Decimal:
    return Decimal((await gateway.balance(user))["credits_exact"])


@case
async def shop_once() -> None:
    """The same message five times, one after another, at once, and after SIGKILL: one grant. And what is forged leaves no trace."""
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        for user in ("alice", "bob", "carol"):
            await gateway.user(user)
        first = [order(1, "alice"), subscription(2, "bob"), invoice(3, 2, reason="initial")]
        for body in first:
            for _ in range(5):
                check.equal(await told(world, body), "done", "what became of it")
        many = [order(10 + number, "carol") for number in range(8)]
        answers = await asyncio.gather(*(send(gateway, body) for body in many * 5))
        check.equal({response.status for response in answers}, {200}, "statuses of many at once")
        await gateway.kill9()
        await gateway.start()
        for body in first + many:
            check.equal(await told(world, body), "done", "after SIGKILL")
        check.equal([await credits(gateway, user) for user in ("alice", "bob", "carol")], [100, 100, 800], "credits")
        with check.about("forged"):
            before = len(await gateway.events())
            body = order(99, "alice")
            good = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
            forged = [
                await send(gateway, body, secret=None), await send(gateway, body, "another"), await send(gateway, body + b" ", signature=good),
                await send(gateway, body, signature=good[:-1]), await send(gateway, body, signature=good + "00"), await send(gateway, body, signature="zz" * 32),
                await send(gateway, body, signature=hmac.new(SECRET.encode(), order(98, "alice"), hashlib.sha256).hexdigest()), await send(gateway, b"", "another")]
            check.equal({(response.status, response.json["code"]) for response in forged}, {(401, "invalid_signature")}, "the answers")
            check.equal((await send(gateway, b"x" * (300 << 10))).status, 413, "status of a message that is too long")
            check.equal((await wire.request(gateway.port, "POST", "/v1/webhooks/other", {}, body=b"{}")).status, 404, "status of another provider")
            check.equal(len(await gateway.events()), before, "events")
            check.equal((await send(gateway, body, signature=good.upper())).json["status"], "done", "capital digits")
            check.equal((await send(gateway, order(97, "alice"), OLD_SECRET)).json["status"], "done", "the secret before")
        with check.about("what is kept"):
            kept = gateway.database.read_bytes() + gateway.database.with_name("ledger.sqlite-wal").read_bytes() + "\n".join(gateway.output).encode()
            for text in (b"Hopper", b"grace.hopper", b"navy.example", SECRET.encode()):
                check.that(text not in kept, f"{text!r} is in the database or the log")


@case
async def shop_crash() -> None:
    """SIGKILL while messages come in, again and again: after the shop has sent all of them again, each payment counts once."""
    dice = random.Random(11)
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        users = [f"user-{number}" for number in range(6)]
        for user in users:
            await gateway.user(user)
        sent: list[bytes] = []
        for round_ in range(4):
            bodies = [order(1000 * round_ + number, dice.choice(users)) for number in range(40)]
            sent += bodies
            calls = [asyncio.create_task(send(gateway, body)) for body in bodies]
            await wire.eventually(lambda: sum(call.done() for call in calls) >= dice.randrange(3, 20), "some are answered")
            await gateway.kill9()
            await asyncio.gather(*calls, return_exceptions=True)
            await gateway.start()
            # Those that were written down and not dealt with, the start deals with; the shop sends the others again.
            for body in bodies:
                check.equal(await told(world, body), "done", "sent again")
        total = sum([await credits(gateway, user) for user in users])
        check.equal(total, 100 * len(sent), "credits of all")
        payments = [event["data"]["payment"] for event in await gateway.events() if event["name"] == "payment_recorded"]
        check.equal((len(payments), len(set(payments))), (len(sent), len(sent)), "payments")


@case
async def shop_orders() -> None:
    """A subscription's first day, in each of the orders in which it can be told; and later news that comes before earlier."""
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        with check.about("the first day"):
            for number, arrangement in enumerate(itertools.permutations(range(4))):
                user, id_ = f"user-{number}", 100 + number
                await gateway.user(user)
                story = [
                    order(id_, user, variant=11), subscription(id_, user), invoice(5000 + number, id_, user, reason="initial"),
                    subscription(id_, user, "subscription_updated", when=1_770_000_009)]
                for step in arrangement:
                    await told(world, story[step])
                data = await gateway.balance(user)
                check.equal((data["plan"], data["credits"]), ("BASIC", 100), f"the order {arrangement}")
            check.equal(await gateway.wanted("GET", "/v1/billing/deliveries?status=waiting"), [], "what still waits")
        with check.about("a refund before its payment, and a cancellation before the subscription"):
            await gateway.user("early")
            check.equal(await told(world, order(900, "early", event="order_refunded", refunded=True, refunded_amount=1000)), "waiting", "the refund")
            check.equal(await told(world, order(900, "early")), "done", "the payment")
            await gateway.wanted("POST", "/v1/admin/renewals/trigger")
            await told(world, subscription(901, "early", "subscription_cancelled", status="cancelled", when=1_770_000_500))
            await told(world, subscription(901, "early", when=1_770_000_000))
            await told(world, invoice(902, 901, reason="initial"))
            data = await gateway.balance("early")
            check.equal(data["plan"], "BASIC", "the plan of who has paid")
        with check.about("old news"):
            await told(world, subscription(100, "user-0", "subscription_cancelled", status="cancelled", when=1_770_100_000))
            check.equal((await gateway.balance("user-0"))["cycle"]["next_plan"], "FREE", "after the cancellation")
            await told(world, subscription(100, "user-0", "subscription_updated", when=1_770_050_000))
            check.equal((await gateway.balance("user-0"))["cycle"]["next_plan"], "FREE", "after older news")
            await told(world, subscription(100, "user-0", "subscription_resumed", when=1_770_200_000))
            check.equal((await gateway.balance("user-0"))["cycle"]["next_plan"], None, "after it was resumed")


@case
async def shop_amounts() -> None:
    """What is bought is the configuration's word; what nobody can match waits for an operator, who finds it, says whose it is, or lays it aside."""
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice")
        await gateway.user("bob")
        await told(world, order(1, "alice", total=99_999_999, subtotal_usd=10**12))
        await told(world, order(2, "alice", quantity=3))
        await told(world, order(3, "alice", quantity=None))
        check.equal(await credits(gateway, "alice"), 500, "credits: one pack, three, and one")
        payments = (await gateway.wanted("GET", "/v1/profile/payments?user=alice"))["data"]["paymentTransactions"]
        check.equal([row["amountCents"] for row in payments], [1000, 3000, 1000], "cents, by our own prices")
        dead = {
            "no user": order(10, None), "an unknown user": order(11, "nobody"), "an unknown product": order(12, "alice", variant=404),
            "nothing": order(13, "alice", quantity=0), "less than nothing": order(14, "alice", quantity=-4), "too many": order(15, "alice", quantity=10**12),
            "a test": order(16, "alice", test_mode=True), "not paid": order(17, "alice", status="pending"), "no shape": b'{"meta":{}}', "no JSON": b"hello", "deep": b"[" * 5000}
        for what, body in dead.items():
            check.equal(await told(world, body), "dead", what)
        check.equal(await credits(gateway, "alice"), 500, "credits after them")
        listed = await gateway.wanted("GET", "/v1/billing/deliveries?status=dead&limit=100")
        check.equal(len(listed), len(dead), "dead letters")
        by_order = {row["notice"].get("id"): row["id"] for row in listed}
        retry = f"/v1/billing/deliveries/{by_order['10']}/retry"
        check.equal((await gateway.wanted("POST", retry, {}))["status"], "dead", "tried again as it is")
        check.equal((await gateway.api("POST", retry, {"user_id": "nobody"})).status, 404, "of nobody")
        for _ in range(2):
            check.equal((await gateway.wanted("POST", retry, {"user_id": "bob"}))["status"], "done", "with whose it is")
        check.equal(await told(world, order(10, None)), "done", "the message again")
        check.equal(await credits(gateway, "bob"), 100, "bob's credits")
        resolved = await gateway.wanted("POST", f"/v1/billing/deliveries/{by_order['12']}/resolve", {"reason": "refunded by hand"})
        check.equal((resolved["status"], resolved["detail"]), ("resolved", "refunded by hand"), "laid aside")
        check.equal(await told(world, order(12, "alice", variant=404)), "resolved", "the message of it again")
        check.equal((await gateway.api("GET", "/v1/billing/deliveries", key=key)).status, 403, "with a person's key")


@case
async def shop_months() -> None:
    """Months as calendars have them: none that was paid is lost, none counts twice; failing, cancelling, changing up and down."""
    with Clock() as clock:
        async with World(["up:finish"], settings=SETTINGS | {"renewals": {"sweep_seconds": 0}}, env=clock.env) as world:
            check, gateway = world.check, world.gateway
            numbers = itertools.count(1)

            async def granted(user: str) -> list[int]:
                return [event["data"]["amount"] // 10**9 for event in await gateway.events()
                        if event["account"] == user and event["name"] == "credits_granted" and event["data"]["source"] == "SUBSCRIPTION"]

            async def begin(user: str, variant: int = 11) -> int:
                id_ = 100 + next(numbers)
                await gateway.user(user)
                await told(world, subscription(id_, user, variant=variant, when=clock.now()))
                await told(world, invoice(9000 + next(numbers), id_, reason="initial", when=clock.now()))
                return id_

            ids = {user: await begin(user) for user in ("monthly", "failing", "leaving", "rising")}
            ids["falling"] = await begin("falling", 12)
            for index, days in enumerate((31, 28, 31, 30, 31)):
                clock.ahead(days * DAY)
                await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                bill = invoice(100_000 + index, ids["monthly"], when=clock.now())
                for _ in range(2):
                    await told(world, bill)
                if index == 0:
                    await told(world, invoice(200_000, ids["failing"], event="subscription_payment_failed", status="pending", when=clock.now()))
                    for user in ("leaving", "rising", "falling"):
                        await told(world, invoice(300_000 + ids[user], ids[user], when=clock.now()))
                    with check.about("changing within the cycle"):
                        clock.ahead(15 * DAY)
                        await told(world, subscription(ids["leaving"], "leaving", "subscription_cancelled", status="cancelled", when=clock.now()))
                        # The invoice of the change comes before the change itself.
                        check.equal(await told(world, invoice(400_000, ids["rising"], reason="updated", when=clock.now())), "waiting", "the invoice")
                        await told(world, subscription(ids["rising"], "rising", "subscription_updated", variant=12, when=clock.now()))
                        await told(world, subscription(ids["falling"], "falling", "subscription_updated", variant=11, when=clock.now()))
                        rising, falling = await gateway.balance("rising"), await gateway.balance("falling")
                        check.equal((rising["plan"], falling["plan"], falling["cycle"]["next_plan"]), ("PRO", "PRO", "BASIC"), "plans")
                        check.equal([round(amount) for amount in await granted("rising")], [100, 100, 149], "half a cycle of the difference, a second less")
                    clock.ahead(16 * DAY)
                    for user in ("rising", "falling"):
                        await told(world, invoice(500_000 + ids[user], ids[user], when=clock.now()))
            check.equal(await granted("monthly"), [100] * 6, "each month that was paid")
            check.equal(await granted("failing"), [100], "a payment that failed grants nothing")
            check.equal((await gateway.balance("failing"))["plan"], "FREE", "where it leads")
            check.equal(await granted("leaving"), [100, 100], "who left")
            check.equal((await gateway.balance("leaving"))["plan"], "FREE", "where they are")
            check.equal((await granted("rising"))[-1], 400, "the better plan's next cycle")
            check.equal((await granted("falling"))[-1], 100, "the lesser plan's next cycle")
            failed = [event for event in await gateway.events() if event["name"] == "payment_failed"]
            check.equal([event["account"] for event in failed], ["failing"], "failed payments")


@case
async def shop_refunds() -> None:
    """What goes back at the shop is taken here once: whole, in parts in any order, and of a subscription by either of its two names."""
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        for user in ("alice", "bob", "carol"):
            await gateway.user(user)
        with check.about("whole, after some was used"):
            await told(world, order(1, "alice"))
            await gateway.wanted("POST", "/v1/billing/adjustments", {"user_id": "alice", "amount": -30, "reason": "as if it were used"})
            for _ in range(3):
                await told(world, order(1, "alice", event="order_refunded", refunded=True, refunded_amount=1000))
            data = await gateway.balance("alice")
            check.equal((data["credits"], data["debt"]), (-30, 30), "the balance and the debt")
        with check.about("parts"):
            await told(world, order(2, "bob"))
            for part in (250, 750, 250, 500, 750):
                await told(world, order(2, "bob", event="order_refunded", refunded_amount=part, status="partial_refund"))
            check.equal(await credits(gateway, "bob"), 25, "three quarters went back")
        with check.about("a subscription's order and its invoice are one payment"):
            await told(world, order(3, "carol", variant=11))
            await told(world, subscription(30, "carol", order_id=3))
            await told(world, invoice(31, 30, reason="initial"))
            check.equal(await credits(gateway, "carol"), 100, "before")
            for body in (order(3, "carol", variant=11, event="order_refunded", refunded=True, refunded_amount=1000),
                         invoice(31, 30, event="subscription_payment_refunded", refunded=True, refunded_amount=1000)):
                for _ in range(2):
                    check.equal(await told(world, body), "done", "the refund")
            data = await gateway.balance("carol")
            check.equal((data["credits"], data["debt"], data["cycle"]["next_plan"]), (0, 0, "FREE"), "after")
            refunds = [event for event in await gateway.events() if event["name"] == "payment_refunded" and event["account"] == "carol"]
            check.equal(len(refunds), 1, "refunds")


@case
async def shop_changes() -> None:
    """An invoice pays for what the subscription was on when it was written: for no later change, and no change pays with an older invoice."""
    with Clock() as clock:
        async with World(["up:finish"], settings=SETTINGS | {"renewals": {"sweep_seconds": 0}}, env=clock.env) as world:
            check, gateway = world.check, world.gateway

            async def begin(user: str, id_: int) -> None:
                await gateway.user(user)
                await told(world, subscription(id_, user, when=clock.now()))
                check.equal(await told(world, invoice(10 * id_, id_, reason="initial", when=clock.now())), "done", "the first invoice")

            async def change(user: str, id_: int, variant: int) -> None:
                await told(world, subscription(id_, user, "subscription_updated", variant=variant, when=clock.now()))

            with check.about("an invoice over nothing, and one for something else, before an upgrade"):
                for user, id_, total in (("nothing", 50, 0), ("else", 51, 500)):
                    await begin(user, id_)
                    other = invoice(10 * id_ + 1, id_, reason="updated", total=total, when=clock.now())
                    check.equal(await told(world, other), "waiting" if total else "done", f"an invoice over {total}")
                clock.ahead(DAY)
                for user, id_ in (("nothing", 50), ("else", 51)):
                    await change(user, id_, 12)
                    await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                    check.equal(await credits(gateway, user), 100, f"{user}: nobody has paid for the change")
                    bill = invoice(10 * id_ + 2, id_, reason="updated", when=clock.now())
                    check.equal(await told(world, bill), "done", "its own invoice")
                    check.that(await credits(gateway, user) > 380, "nearly 300 more")
                    back = invoice(10 * id_ + 2, id_, event="subscription_payment_refunded", reason="updated", refunded=True, when=clock.now())
                    check.equal(await told(world, back), "done", "its refund")
                    check.equal(await credits(gateway, user), 100, "after the refund")
                waiting = [row["notice"]["id"] for row in await gateway.wanted("GET", "/v1/billing/deliveries?status=waiting")]
                check.equal(waiting, ["511"], "what waits")
            with check.about("an invoice that comes after the next change"):
                await begin("late", 52)
                bills = []
                for variant in (12, 11):
                    clock.ahead(DAY)
                    await change("late", 52, variant)
                    bills.append(invoice(523 + variant, 52, reason="updated" if variant == 12 else "renewal", when=clock.now()))
                check.equal([await told(world, bill) for bill in bills], ["done", "done"], "both invoices")
                kinds = [(event["data"]["purchase"], event["data"]["plan"]) for event in await gateway.events()
                         if event["name"] == "payment_recorded" and event["account"] == "late"]
                check.equal(kinds, [("cycle", "BASIC"), ("upgrade", "PRO"), ("cycle", "BASIC")], "what was bought")
            with check.about("a subscription that another has followed"):
                await begin("again", 60)
                await told(world, subscription(60, "again", "subscription_cancelled", status="cancelled", when=clock.now()))
                check.equal((await gateway.balance("again"))["cycle"]["next_plan"], "FREE", "cancelled")
                clock.ahead(29 * DAY)
                await told(world, subscription(61, "again", when=clock.now()))
                check.equal(await told(world, invoice(610, 61, reason="initial", when=clock.now())), "done", "the second subscription")
                clock.ahead(2 * DAY)
                await told(world, subscription(60, "again", "subscription_expired", status="expired", when=clock.now()))
                await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                data = await gateway.balance("again")
                check.equal((data["plan"], data["credits"], data["cycle"]["next_plan"]), ("BASIC", 100, None), "the old one's end ends nothing")
                await told(world, subscription(61, "again", "subscription_cancelled", status="cancelled", when=clock.now()))
                check.equal((await gateway.balance("again"))["cycle"]["next_plan"], "FREE", "the new one's end does")


@case
async def shop_patience() -> None:
    """What waits for nothing that will come keeps nobody waiting, is tried in turn, and is an operator's after three days; without any sweep."""
    with Clock() as clock:
        products = SETTINGS["payments"]["lemonsqueezy"]["products"] | {"31": {"credits": 5, "price_usd": 1, "checkout_url": "https://shop.example/buy/31?media=0"}}
        settings = SETTINGS | {"renewals": {"sweep_seconds": 0}}
        settings["payments"] = {"lemonsqueezy": SETTINGS["payments"]["lemonsqueezy"] | {"products": products}}
        async with World(["up:finish"], settings=settings, env=clock.env) as world:
            check, gateway = world.check, world.gateway
            await gateway.user("alice")
            check.equal(await told(world, invoice(71, 70, reason="initial")), "waiting", "an invoice before its subscription")
            strangers = [invoice(10_000 + number, 5_000 + number) for number in range(520)]
            for start in range(0, len(strangers), 40):
                check.equal({answer.json["status"] for answer in await asyncio.gather(*(send(gateway, body) for body in strangers[start:start + 40]))},
                            {"waiting"}, "of subscriptions that are not ours")
            check.equal(await told(world, subscription(70, "alice")), "done", "the subscription")
            check.equal(await credits(gateway, "alice"), 100, "her invoice did not wait behind the others")
            with check.about("a payment for which its refund waits"):
                check.equal(await told(world, order(80, "alice", event="order_refunded", refunded=True, refunded_amount=1000)), "waiting", "the refund")
                check.equal(await told(world, order(80, "alice")), "done", "the payment")
                check.equal(await credits(gateway, "alice"), 100, "it came and went")
            with check.about("an operator's answer"):
                check.equal(await told(world, invoice(91, 90, reason="initial")), "waiting", "an invoice")
                check.equal(await told(world, subscription(90, None)), "dead", "its subscription names nobody")
                await gateway.user("bob")
                dead = (await gateway.wanted("GET", "/v1/billing/deliveries?status=dead"))[0]
                check.equal((await gateway.wanted("POST", f"/v1/billing/deliveries/{dead['id']}/retry", {"user_id": "bob"}))["status"], "done", "whose it is")
                check.equal(await credits(gateway, "bob"), 100, "what waited for it")
            with check.about("after three days"):
                clock.ahead(3 * DAY + 60)
                for _ in range(2):
                    await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                check.equal(await gateway.wanted("GET", "/v1/billing/deliveries?status=waiting"), [], "what waits")
                check.equal(len(await gateway.wanted("GET", "/v1/billing/deliveries?status=dead&limit=1000")), len(strangers), "dead letters")
            with check.about("odd ids"):
                odd = json.loads(order(900, "alice"))
                odd["data"]["id"] = 9e2
                body = json.dumps(odd).encode().replace(b"900.0", b"9e2")
                check.that(b": 9e2" in body, "the id as it is sent")
                check.equal(await told(world, body), "dead", "9e2 is no id")
            answer = await gateway.wanted("POST", "/v1/billing/checkout?user=alice", {"product": "31"})
            check.equal(answer["url"], "https://shop.example/buy/31?media=0&checkout%5Bcustom%5D%5Buser_id%5D=alice", "a checkout whose URL has a query")
