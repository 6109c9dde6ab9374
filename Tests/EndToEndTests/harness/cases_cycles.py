"""Cycles and renewals over months, by a clock that is set ahead: what begins and ends by itself, once, whoever looks and when."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from decimal import Decimal

import wire
from cases_import import events_in
from cases_plans import NANO, PLANS, cancel, done, micros, paid, subscribe
from checks import Checks, case
from clock import Clock
from gateway import Gateway
from world import World

DAY = 86_400
TRIGGER = "/v1/admin/renewals/trigger"


class Months:
    """Days that pass when a case says so; what happens is told in days since the first."""

    def __init__(self, world: World, clock: Clock):
        self.check, self.gateway, self.provider, self.clock = world.check, world.gateway, world.provider, clock
        self.shift, self.began = clock.shift, clock.now()

    def day(self, number: float) -> None:
        """Lets time pass until so many days after the first."""
        self.clock.ahead(int(self.shift + number * DAY) - self.clock.shift)

    def days(self, microseconds: int) -> str:
        # What a case does on a day takes it seconds.
        return f"{(microseconds / 1e6 - self.began) / DAY:.1f}".removesuffix(".0")

    def told(self, event: dict) -> str | None:
        """An event in a few words; None for one of a request."""
        data = event["data"]
        end = f" to {self.days(data['expires_at'])}" if data.get("expires_at") else ""
        words = {
            "payment_recorded": lambda: f"paid {data.get('plan', 'credits')} {credits(data['credits'])}",
            "payment_refunded": lambda: f"refunded {credits(data['credits'])}",
            "renewal_evaluated": lambda: f"{data['outcome']} {data['plan']} to {self.days(data['until'])}",
            "credits_granted": lambda: f"{data['source']} {credits(data['amount'])}{end}",
            "grant_expired": lambda: f"expired {credits(data['amount'])}",
            "plan_scheduled": lambda: f"next {data['plan']}",
            "plan_changed": lambda: f"changed to {data['plan']}",
            "request_charged": lambda: f"charged {credits(data['credits'])}",
        }
        return words[event["name"]]() if event["name"] in words else None

    async def tells(self, user: str, *story: str) -> None:
        """All that happened to an account, each with the day from which it counts."""
        events = [event for event in await self.gateway.events() if event["account"] == user]
        found = [f"{self.days(micros(event['effective_at']))}: {text}" for event in events if (text := self.told(event))]
        self.check.equal("; ".join(found), "; ".join(story), f"what happened to {user}")
        boundaries(self.check, events)

    async def has(self, user: str, plan: str, amount: object, **cycle: object) -> None:
        """A balance, as its owner sees it."""
        data = await self.gateway.balance(user)
        found = {name: data["cycle"][name] for name in cycle}
        self.check.equal((data["plan"], data["credits"], found), (plan, amount, cycle), f"plan, credits and cycle of {user}")


def credits(nanos: int) -> str:
    return format((Decimal(nanos) / NANO).normalize(), "f")


def boundaries(check: Checks, events: list[dict]) -> None:
    """An account's cycles follow each other to the microsecond, and what one grants ends with it."""
    opened = next(event for event in events if event["name"] == "account_opened")
    number, until = 0, micros(opened["effective_at"]) + opened["data"]["cycle_seconds"] * 10**6
    for event in events:
        data, instant = event["data"], micros(event["effective_at"])
        if event["name"] == "renewal_evaluated":
            check.equal(data["cycle"], number + 1, "the number of a cycle")
            check.equal(data["from"], instant if data["outcome"] == "started" else until, "the beginning of a cycle")
            check.equal(instant, data["from"], "from when a cycle counts")
            number, until = data["cycle"], data["until"]
        elif event["name"] == "credits_granted" and data["source"] in ("MONTHLY_FREE", "SUBSCRIPTION"):
            check.equal(data["expires_at"], until, "the end of what a cycle grants")
        elif event["name"] == "grant_expired":
            grant = next(other for other in events if other["version"] == data["grant"])
            check.equal(instant, grant["data"]["expires_at"], "the instant of an expiry")


@case
async def cycles() -> None:
    """Each payment of a subscription is a cycle, early, on time and late; without one it lapses after a grace; who pays nothing is filled up."""
    with Clock() as clock:
        async with World(["up:finish", "up:slow", "up:overrun"], env=clock.env, settings=PLANS) as world:
            for part in (news, early, words, unpaid, ended, ahead, lesser, free, under_way):
                with world.check.about(part.__name__):
                    await part(Months(world, clock))


async def news(m: Months) -> None:
    """What is told again within a cycle is no payment."""
    for user in ("newsy", "returning", "keyed"):
        await m.gateway.user(user)
        done(m.check, await subscribe(m.gateway, user))
    first = ["0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30"]
    for day in (0, 5, 20):
        m.day(day)
        for response in await asyncio.gather(*(subscribe(m.gateway, "newsy") for _ in range(3))):
            done(m.check, response)
        await cancel(m.gateway, "returning")
        for _ in range(2):
            done(m.check, await subscribe(m.gateway, "returning"))
        done(m.check, await subscribe(m.gateway, "keyed", headers={"idempotency-key": f"news-{day}"}))
    await m.tells("newsy", *first)
    await m.tells("returning", *first, *[f"{day}: next {plan}" for day in (0, 5, 20) for plan in ("FREE", "BASIC")])
    await m.tells("keyed", *first, *[f"{day}: next BASIC" for day in (0, 5, 20)])
    for user in ("newsy", "returning", "keyed"):
        await m.has(user, "BASIC", 100, number=1, is_paid=True, next_plan=None)


async def early(m: Months) -> None:
    """A call in the last three days pays for the next cycle, whose credits come when it begins."""
    for user in ("monthly", "topping", "withdrawn"):
        await m.gateway.user(user)
        done(m.check, await subscribe(m.gateway, user))
    first = ["0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30"]
    m.day(26.9)
    done(m.check, await subscribe(m.gateway, "monthly"))
    await m.tells("monthly", *first)
    m.day(28)
    # Credits that are bought are no payment of the plan.
    await m.gateway.top_up("topping", 3)
    for user in ("monthly", "topping", "withdrawn"):
        for response in await asyncio.gather(*(subscribe(m.gateway, user) for _ in range(5))):
            done(m.check, response)
        await m.has(user, "BASIC", 103 if user == "topping" else 100, number=1)
        waiting = [row["credits"] for row in await paid(m.gateway, user) if row["waitsForCycle"]]
        m.check.equal(waiting, [100], f"payments of {user} that wait")
    m.day(29)
    m.check.equal((await cancel(m.gateway, "withdrawn")).status, 200, "status of the end of a subscription")
    m.check.equal([row["waitsForCycle"] for row in await paid(m.gateway, "withdrawn")], [False, False], "payments that wait")
    await m.has("withdrawn", "BASIC", 100, is_paid=True, next_plan="FREE")
    m.day(31)
    await m.has("monthly", "BASIC", 100, number=2, is_paid=True, is_grace=False, next_plan=None)
    await m.has("topping", "BASIC", 103, number=2, is_paid=True, is_grace=False, next_plan=None)
    await m.has("withdrawn", "FREE", 10, number=2, is_paid=False, is_grace=False, next_plan=None)
    renewed = ["28: paid BASIC 100", "30: expired 100", "30: renewed BASIC to 60", "30: SUBSCRIPTION 100 to 60"]
    await m.tells("monthly", *first, *renewed)
    await m.tells("topping", *first, "28: paid credits 3", "28: PURCHASE 3", *renewed)
    await m.tells("withdrawn", *first, "28: paid BASIC 100", "29: next FREE", "29: refunded 100", "30: expired 100", "30: lapsed FREE to 60", "30: MONTHLY_FREE 10 to 60")
    # What has begun is no news any more, and what was told of the last cycle pays for none.
    done(m.check, await subscribe(m.gateway, "monthly"))
    m.check.equal([row["waitsForCycle"] for row in await paid(m.gateway, "monthly")], [False, False], "payments that wait")
    m.day(33.5)
    await m.has("monthly", "BASIC", 100, number=2)


async def words(m: Months) -> None:
    """A portal that tells late, on time and early, month by month, pays for each month once."""
    await m.gateway.user("steady")
    for day in (0, 29, 61, 90.5):
        m.day(day)
        for response in await asyncio.gather(*(subscribe(m.gateway, "steady") for _ in range(3))):
            done(m.check, response)
    m.day(92)
    await m.has("steady", "BASIC", 100, number=5)
    await m.tells(
        "steady", "0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30", "29: paid BASIC 100", "30: expired 100", "30: renewed BASIC to 60",
        "30: SUBSCRIPTION 100 to 60", "60: expired 100", "60: unpaid BASIC to 63", "61: paid BASIC 100", "61: started BASIC to 91", "61: SUBSCRIPTION 100 to 91",
        "90.5: paid BASIC 100", "91: expired 100", "91: renewed BASIC to 121", "91: SUBSCRIPTION 100 to 121")


async def unpaid(m: Months) -> None:
    """Without a payment there are three days of grace without credits, then the free plan; a payment begins a cycle whenever it comes."""
    for user in ("unpaid", "late", "much-later"):
        await m.gateway.user(user)
        done(m.check, await subscribe(m.gateway, user))
    first = ["0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30", "30: expired 100", "30: unpaid BASIC to 33"]
    m.day(32)
    for user in ("unpaid", "late"):
        await m.has(user, "BASIC", 0, number=2, is_paid=False, is_grace=True, next_plan=None)
    for response in await asyncio.gather(*(subscribe(m.gateway, "late") for _ in range(3))):
        done(m.check, response)
    await m.has("late", "BASIC", 100, number=3, is_paid=True, is_grace=False)
    m.day(34)
    await m.has("unpaid", "FREE", 10, number=3, is_paid=False, is_grace=False, next_plan=None)
    m.day(40)
    done(m.check, await subscribe(m.gateway, "much-later", payment="much-later"))
    # What the free plan gave stays until it would have expired.
    await m.has("much-later", "BASIC", 110, number=4, is_paid=True, is_grace=False)
    m.day(64)
    await m.has("unpaid", "FREE", 10, number=4)
    await m.has("late", "BASIC", 0, number=4, is_grace=True)
    await m.has("much-later", "BASIC", 100, number=4)
    lapsed = ["33: lapsed FREE to 63", "33: MONTHLY_FREE 10 to 63"]
    await m.tells("unpaid", *first, *lapsed, "63: expired 10", "63: topped_up FREE to 93", "63: MONTHLY_FREE 10 to 93")
    await m.tells("late", *first, "32: paid BASIC 100", "32: started BASIC to 62", "32: SUBSCRIPTION 100 to 62", "62: expired 100", "62: unpaid BASIC to 65")
    await m.tells("much-later", *first, *lapsed, "40: paid BASIC 100", "40: started BASIC to 70", "40: SUBSCRIPTION 100 to 70", "63: expired 10")


async def ended(m: Months) -> None:
    """A subscription that was ended runs to the end of what was paid, and needs no grace; in the grace it ends with it."""
    for user in ("ended", "ended-in-grace"):
        await m.gateway.user(user)
        done(m.check, await subscribe(m.gateway, user))
    first = ["0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30"]
    m.day(1)
    m.check.equal((await cancel(m.gateway, "ended")).status, 200, "status")
    m.day(29)
    await m.has("ended", "BASIC", 100, number=1, is_paid=True, next_plan="FREE")
    m.day(31)
    await m.has("ended", "FREE", 10, number=2, is_paid=False, is_grace=False, next_plan=None)
    await m.tells("ended", *first, "1: next FREE", "30: expired 100", "30: lapsed FREE to 60", "30: MONTHLY_FREE 10 to 60")
    m.check.equal((await cancel(m.gateway, "ended")).status, 404, "status of an end that is over")
    m.check.equal((await cancel(m.gateway, "ended-in-grace")).status, 200, "status")
    m.day(34)
    await m.has("ended-in-grace", "FREE", 10, number=3, next_plan=None)
    await m.tells(
        "ended-in-grace", *first, "30: expired 100", "30: unpaid BASIC to 33", "31: next FREE", "33: lapsed FREE to 63", "33: MONTHLY_FREE 10 to 63")


async def ahead(m: Months) -> None:
    """Payments that are named are cycles one behind the other, in the order in which they came; who ends the subscription has what was paid."""
    await m.gateway.user("ahead")
    for number in range(3):
        done(m.check, await subscribe(m.gateway, "ahead", payment=f"ahead-{number}"))
    m.check.equal((await cancel(m.gateway, "ahead")).status, 200, "status")
    m.day(100)
    await m.has("ahead", "FREE", 10, number=4)
    story = ["0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30", "0: paid BASIC 100", "0: paid BASIC 100", "0: next FREE"]
    for day in (30, 60):
        story += [f"{day}: expired 100", f"{day}: renewed BASIC to {day + 30}", f"{day}: SUBSCRIPTION 100 to {day + 30}"]
    await m.tells("ahead", *story, "90: expired 100", "90: lapsed FREE to 120", "90: MONTHLY_FREE 10 to 120")
    events = [event["data"] for event in await m.gateway.events() if event["account"] == "ahead" and event["name"] == "renewal_evaluated"]
    m.check.equal([data.get("payment") for data in events], ["api:ahead-0", "api:ahead-1", "api:ahead-2", None], "what paid for the cycles")


async def lesser(m: Months) -> None:
    """A better plan begins at once, for what is left of the cycle; a lesser one at the boundary, once it is paid."""
    await m.gateway.user("climber")
    done(m.check, await subscribe(m.gateway, "climber"))
    m.day(15)
    done(m.check, await subscribe(m.gateway, "climber", "PRO"), "PRO")
    data = await m.gateway.balance("climber")
    # Some seconds less than a half of the cycle was left.
    m.check.that(199 < data["credits"] <= 200, f"credits after half a cycle: {data['credits']}")
    m.day(20)
    done(m.check, await subscribe(m.gateway, "climber", "BASIC"))
    await m.has("climber", "PRO", data["credits"], number=1, is_paid=True, next_plan="BASIC")
    m.day(31)
    await m.has("climber", "BASIC", 0, number=2, is_paid=False, is_grace=True, next_plan=None)
    done(m.check, await subscribe(m.gateway, "climber", "BASIC"))
    await m.has("climber", "BASIC", 100, number=3, is_paid=True, is_grace=False, next_plan=None)
    # A dearer plan than the one that waits begins at once where it is paid as a cycle of its own.
    done(m.check, await subscribe(m.gateway, "climber", "PRO", "climber-pro"), "PRO")
    await m.has("climber", "PRO", 400, number=4, is_paid=True, next_plan=None)


async def free(m: Months) -> None:
    """The free plan fills the balance up at each boundary, over all pools and from a debt, and gives nothing to who has enough."""
    keys = {"idle": await m.gateway.user("idle"), "poor": await m.gateway.user("poor", 4), "rich": await m.gateway.user("rich", 25), "owing": await m.gateway.user("owing")}
    # Who uses what was paid for, and takes the money back, owes it.
    await m.gateway.wanted("POST", "/v1/billing/topup", {"user_id": "owing", "amount": 1, "payment_id": "owing-1"})
    await m.gateway.answer(keys["owing"], "up:finish")
    await wire.eventually(lambda: unheld(m.gateway, "owing"), "the charge is recorded")
    await m.gateway.wanted("POST", "/v1/billing/refunds", {"payment_id": "api:owing-1", "reason": "did not like it"})
    before = await m.gateway.balance("owing")
    m.check.equal((Decimal(before["credits_exact"]), before["debt"]), (-Decimal("0.0002475"), Decimal("0.0002475")), "what owing owes")
    m.day(31)
    for user, amount in (("idle", 10), ("poor", 10), ("rich", 25), ("owing", 10)):
        await m.has(user, "FREE", amount, number=1, is_paid=False, is_grace=False, next_plan=None)
    data = await m.gateway.balance("poor")
    m.check.equal(data["expiring_next"], {"credits": 6, "at": data["cycle"]["ends_at"], "grants": [data["grants"][0]["id"]]}, "what of it expires next")
    m.check.equal((await m.gateway.answer(keys["idle"], "up:finish")).status, 200, "status of a request that the free plan pays")
    spent = Decimal("0.0002475")
    m.day(61)
    await m.has("idle", "FREE", 10, number=2)
    await m.tells(
        "idle", "30: topped_up FREE to 60", "30: MONTHLY_FREE 10 to 60", f"31: charged {spent}", f"60: expired {10 - spent}", "60: topped_up FREE to 90",
        "60: MONTHLY_FREE 10 to 90")
    await m.has("poor", "FREE", 10, number=2)
    await m.tells(
        "poor", "0: paid credits 4", "0: PURCHASE 4", "30: topped_up FREE to 60", "30: MONTHLY_FREE 6 to 60", "60: expired 6", "60: topped_up FREE to 90",
        "60: MONTHLY_FREE 6 to 90")
    await m.tells("rich", "0: paid credits 25", "0: PURCHASE 25", "30: sufficient FREE to 60")
    grant = next(event["data"] for event in await m.gateway.events() if event["account"] == "owing" and event["data"].get("source") == "MONTHLY_FREE")
    owed = int(-Decimal(before["credits_exact"]) * NANO)
    m.check.equal((grant["amount"], grant["debt_repaid"], grant["balance"]), (10 * NANO + owed, owed, 10 * NANO), "what fills up a debt")


async def unheld(gateway: Gateway, user: str) -> dict | None:
    data = await gateway.balance(user)
    return data if data["held"] == 0 and data["credits"] < 1 else None


async def under_way(m: Months) -> None:
    """A request that was admitted before a boundary is paid by what it was admitted for, and delays no renewal."""
    key = await m.gateway.user("across")
    done(m.check, await subscribe(m.gateway, "across"))
    m.day(29)
    async with m.gateway.chat(key, "up:slow", stream=True, case="across") as exchange:
        await m.provider.received("across")
        await m.provider.step("across")
        await exchange.events(1)
        m.day(31)
        data = await m.gateway.balance("across")
        m.check.equal((data["credits"], data["cycle"]["is_grace"]), (0, True), "credits and grace behind the boundary")
        done(m.check, await subscribe(m.gateway, "across"))
        await m.has("across", "BASIC", 100, number=3, is_paid=True)
        await m.provider.step("across", everything=True)
        m.check.that((await exchange.rest()).complete, "the stream is not complete")
    data = await wire.eventually(lambda: settled(m.gateway, "across"), "the request is settled")
    m.check.equal(data["credits"], 100, "credits of the new cycle")
    charged = next(event["data"] for event in await m.gateway.events() if event["account"] == "across" and event["name"] == "request_charged")
    await m.tells(
        "across", "0: paid BASIC 100", "0: started BASIC to 30", "0: SUBSCRIPTION 100 to 30", "30: unpaid BASIC to 33", "31: paid BASIC 100", "31: started BASIC to 61",
        "31: SUBSCRIPTION 100 to 61", f"31: charged {credits(charged['credits'])}", f"30: expired {credits(100 * NANO - charged['credits'])}")


async def settled(gateway: Gateway, user: str) -> dict | None:
    data = await gateway.balance(user)
    return data if data["held"] == 0 else None


# -- once, whoever looks and when --------------------------------------------------------------------------------------


@case
async def renewal_trigger() -> None:
    """Each renewal happens once: by eight sweeps at once, the server's own, after a restart, a crash, and 70 days of downtime, with the same events."""
    with Clock() as clock, Clock() as other:
        async with World(["up:finish", "up:overrun"], env=clock.env, settings=PLANS) as world:
            months = Months(world, clock)
            with world.check.about("the day before anything is due"):
                key = await cast(months)
                world.check.equal(await trigger(world.gateway), (0, 0), "the answer")
            # From here on two servers go on with the same ledger.
            world.check.equal(await world.gateway.stop(), 0, "the server's exit code")
            twin = Gateway(world.provider.port, world.models, settings=PLANS | {"renewals": {"sweep_seconds": 0, "batch": 8}}, env=other.env)
            try:
                shutil.copyfile(world.gateway.database, twin.database)
                shared = len(await world.gateway.events())
                with world.check.about("swept every day"):
                    await swept(months, shared)
                with world.check.about("asleep for 70 days"):
                    other.ahead(clock.shift)
                    await asleep(world.check, twin, key, await due(world.gateway, shared), shared)
                with world.check.about("killed while it sweeps"):
                    await cut_off(world.check, twin, other)
                world.check.equal((await twin.verify())[0], 0, "exit code of replay verify")
            finally:
                await twin.close()
            with world.check.about("the server's own sweep"):
                await by_itself(months)


async def trigger(gateway: Gateway, times: int = 1) -> tuple[int, int]:
    """Cycles that began and accounts in which something expired, over some sweeps at once."""
    answers = await asyncio.gather(*(gateway.wanted("POST", TRIGGER) for _ in range(times)))
    return sum(answer["renewed"] for answer in answers), sum(answer["expired_accounts"] for answer in answers)


async def cast(m: Months) -> str:
    """Accounts in every state in which one can come to a boundary; gives a key of one that has credits."""
    gateway = m.gateway
    for user, amount in (("idle", None), ("poor", 4), ("owing", 0.01), ("unpaid", None), ("ended", None), ("word", None), ("ahead", 1), ("climber", None), ("blocked", None)):
        key = await gateway.user(user, amount)
        if user == "owing":
            await gateway.answer(key, "up:overrun", max_tokens=1)
            await wire.eventually(lambda: unheld(gateway, "owing"), "the charge is recorded")
    await gateway.wanted("PATCH", "/v1/users/blocked", {"blocked": True})
    for user in ("unpaid", "ended", "word"):
        done(m.check, await subscribe(gateway, user))
    m.check.equal((await cancel(gateway, "ended")).status, 200, "status")
    for number in range(2):
        done(m.check, await subscribe(gateway, "ahead", payment=f"ahead-{number}"))
    for plan in ("BASIC", "PRO", "BASIC"):
        done(m.check, await subscribe(gateway, "climber", plan), plan)
    m.day(28)
    done(m.check, await subscribe(gateway, "word"))
    return await gateway.user("rich", 25)


async def due(gateway: Gateway, behind: int) -> dict[str, list[tuple]]:
    """What came due by itself behind a position, account by account, to the byte and the instant."""
    found: dict[str, list[tuple]] = {}
    for event in await gateway.events(behind):
        if event["name"] in ("renewal_evaluated", "grant_expired", "credits_granted"):
            found.setdefault(event["account"], []).append((event["version"], event["type"], event["effective_at"], event["key"], event["data"]))
    return found


def begun(events: dict[str, list[tuple]]) -> int:
    return sum(kind.startswith("renewal_evaluated") for story in events.values() for _, kind, *_ in story)


async def swept(m: Months, shared: int) -> None:
    check, gateway = m.check, m.gateway
    await gateway.start()
    counted = 0
    for day in range(29, 99):
        m.day(day)
        # Eight at once where most is due.
        renewed, expired = await trigger(gateway, 8 if day in (30, 33, 58, 60, 90) else 1)
        counted += renewed
        if day == 30:
            # All but the one who came two days ago; of these only some have credits that expire.
            check.equal((renewed, expired), (9, 5), "cycles that began and accounts in which something expired, over eight calls at once")
            check.equal(await trigger(gateway), (0, 0), "the next answer")
            await gateway.restart()
            check.equal(await trigger(gateway, 8), (0, 0), "the answers after a restart")
    events = await due(gateway, shared)
    check.equal(counted, begun(events), "cycles that were told, and cycles that began")
    whole = await gateway.events()
    for user in gateway.users:
        with check.about(user):
            boundaries(check, [event for event in whole if event["account"] == user])
    plans = {user: (data["plan"], data["credits"]) for user in gateway.users for data in [await gateway.balance(user)]}
    check.equal(plans, {
        "idle": ("FREE", 10), "poor": ("FREE", 10), "owing": ("FREE", 10), "blocked": ("FREE", 0), "unpaid": ("FREE", 10), "ended": ("FREE", 10),
        "word": ("FREE", 10), "ahead": ("FREE", 10), "climber": ("FREE", 10), "rich": ("FREE", 25)}, "plans and credits in the end")


async def asleep(check: Checks, twin: Gateway, key: str, expected: dict[str, list[tuple]], shared: int) -> None:
    """What has come due meanwhile is found by whoever comes first: an owner, a request, eight sweeps at once."""
    await twin.start()
    looked = await asyncio.gather(*(twin.balance(user) for user in ("poor", "word", "unpaid") for _ in range(4)))
    check.equal({(data["userId"], data["plan"], data["credits"]) for data in looked}, {(user, "FREE", 10) for user in ("poor", "word", "unpaid")}, "what the owners see")
    check.equal((await twin.api("GET", "/v1/profile?user=ended")).status, 200, "status of a profile")
    check.equal((await twin.answer(key, "up:finish")).status, 200, "status of a request")
    found = await due(twin, shared)
    check.equal(sorted(found), ["ended", "poor", "rich", "unpaid", "word"], "accounts that were touched")
    renewed, _ = await trigger(twin, 8)
    check.equal(await trigger(twin), (0, 0), "the next answer")
    everything = await due(twin, shared)
    check.equal(renewed, begun(everything) - begun(found), "cycles that were told, and cycles that began")
    check.equal(sorted(everything), sorted(expected), "accounts")
    for user, story in expected.items():
        for number, (one, another) in enumerate(itertools.zip_longest(everything.get(user, []), story)):
            if not check.equal(one, another, f"event {number} of what came due of {user}"):
                break
    await twin.restart()
    check.equal(await trigger(twin, 8), (0, 0), "the answers after a restart")


async def cut_off(check: Checks, twin: Gateway, clock: Clock) -> None:
    """SIGKILL in the middle of a sweep: the next one does what is left."""
    crowd = [f"crowd-{number}" for number in range(300)]
    for start in range(0, len(crowd), 50):
        await asyncio.gather(*(twin.wanted("POST", "/v1/users", {"user_id": user}) for user in crowd[start:start + 50]))
    before = len(await twin.events())
    clock.ahead(30 * DAY)
    sweep = asyncio.create_task(twin.api("POST", TRIGGER))
    while not sweep.done() and events_in(twin.database) < before + 40:
        await asyncio.sleep(0.001)
    await twin.kill9()
    check.that(isinstance((await asyncio.gather(sweep, return_exceptions=True))[0], Exception), "the sweep had ended before it was killed")
    survived = begun(await due(twin, before))
    await twin.start()
    renewed, _ = await trigger(twin, 8)
    events = await due(twin, before)
    check.that(0 < survived and 0 < renewed, f"{survived} cycles began before the crash, {renewed} after it")
    check.equal(survived + renewed, begun(events), "cycles before the crash and after it")
    for user in crowd:
        kinds = [(kind.partition(".")[0], key) for _, kind, _, key, _ in events.get(user, [])]
        check.equal(kinds, [("renewal_evaluated", f"renewal:{user}:1"), ("credits_granted", f"cycle:{user}:1")], f"what came due of {user}")
    check.equal(await trigger(twin), (0, 0), "the next answer")
    check.equal(await twin.stop(), 0, "the server's exit code")


async def by_itself(m: Months) -> None:
    """Nobody asks, and it is recorded."""
    check, gateway = m.check, m.gateway
    check.equal(await gateway.stop(), 0, "the server's exit code")
    before = len(await gateway.events())
    m.day(130)
    gateway.config["renewals"] = {"sweep_seconds": 1}
    gateway.write_config()
    await gateway.start()

    async def all_of_them() -> bool:
        return len(await due(gateway, before)) == len(gateway.users)

    await wire.eventually(all_of_them, "what is due in all accounts is recorded", every=0.2)
    check.equal(await trigger(gateway), (0, 0), "the answer of one more sweep")
