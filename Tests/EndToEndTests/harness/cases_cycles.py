"""Cycles and renewals over months, by a clock that is set ahead: what begins and ends by itself, once, whoever looks and when."""

from __future__ import annotations

import asyncio
import shutil
from decimal import Decimal

import wire
from cases_import import events_in
from cases_plans import NANO, PLANS, cancel, done, micros, paid, said, subscribe
from checks import Checks, case
from clock import Clock
from gateway import Gateway
from world import World, settlement

DAY = 86_400
TRIGGER = "/v1/admin/renewals/trigger"
#: What comes due by itself.
DUE = ("grant_expired", "renewal_evaluated", "credits_granted")


class Months:
    """A world whose days pass when a case says so; what happened in it is told in days since it began."""

    def __init__(self, world: World, clock: Clock):
        self.world, self.check, self.gateway, self.clock = world, world.check, world.gateway, clock
        self.began = clock.now()

    def day(self, number: int) -> None:
        """Lets time pass until so many days after the beginning."""
        self.clock.ahead(number * DAY - self.clock.shift)

    def days(self, microseconds: int) -> str:
        # What a case does on a day takes it seconds.
        return f"{(microseconds / 1e6 - self.began) / DAY:.1f}".removesuffix(".0")

    def told(self, event: dict) -> str | None:
        data = event["data"]
        credits = {name: format((Decimal(data[name]) / NANO).normalize(), "f") for name in ("credits", "amount") if name in data}
        match event["name"]:
            case "payment_recorded": return f"paid {data['plan'] or 'credits'} {credits['credits']}"
            case "renewal_evaluated": return f"{data['outcome']} {data['plan']} to {self.days(data['until'])}"
            case "credits_granted": return f"{data['source']} {credits['amount']}" + (f" to {self.days(data['expires_at'])}" if data.get("expires_at") else "")
            case "grant_expired": return f"expired {credits['amount']}"
            case "plan_scheduled": return f"next {data['plan']}"
            case "plan_changed": return f"changed {data['plan']}"
            case "payment_refunded": return f"refunded {credits['credits']}"
        return None

    async def story(self, user: str) -> list[str]:
        """What happened in an account, each with the day from which it counts; its holds and charges left out."""
        events = [event for event in await self.gateway.events() if event["account"] == user]
        self.boundaries(events)
        return [f"{self.days(micros(event['effective_at']))}: {text}" for event in events if (text := self.told(event))]

    def boundaries(self, events: list[dict]) -> None:
        """Cycles follow each other to the microsecond, and what a cycle grants begins and ends with it."""
        until, cycle = None, {}
        for event in events:
            data = event["data"]
            if event["name"] == "renewal_evaluated":
                if until is not None and data["outcome"] != "started":
                    self.check.equal((data["from"], data["cycle"]), (until, cycle["cycle"] + 1), "the beginning and the number of a cycle")
                self.check.equal(micros(event["effective_at"]), data["from"], "from when a cycle counts")
                until, cycle = data["until"], data
            elif event["name"] == "credits_granted" and data["source"] == "MONTHLY_FREE":
                self.check.equal((micros(event["effective_at"]), data["expires_at"]), (cycle["from"], until), "from when a grant counts, and its end")
            elif event["name"] == "grant_expired":
                grant = next(other for other in events if other["version"] == data["grant"])
                self.check.equal(micros(event["effective_at"]), grant["data"]["expires_at"], "the instant of an expiry")

    async def is_told(self, user: str, *story: str) -> None:
        self.check.equal(await self.story(user), list(story), f"what happened to {user}")

    async def has(self, user: str, plan: str, credits: object, **cycle: object) -> None:
        """Looks at a balance, as its owner would."""
        data = await self.gateway.balance(user)
        found = {name: data["cycle"][name] for name in cycle}
        self.check.equal((data["plan"], data["credits"], found), (plan, credits, cycle), f"plan, credits and cycle of {user}")


@case
async def cycles() -> None:
    """Each payment of a subscription is a cycle, early, on time and late; without one it lapses after a grace, and who pays nothing is filled up."""
    with Clock() as clock:
        async with World(["up:finish", "up:slow"], env=clock.env, settings=PLANS) as world:
            months = Months(world, clock)
            for part in (news, ahead, endings, lesser, free, under_way):
                with world.check.about(part.__name__):
                    clock.ahead(-clock.shift) if False else None
                    await part(months)
