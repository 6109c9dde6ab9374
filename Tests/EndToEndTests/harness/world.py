"""A provider, a gateway and the checks of one case; and what must be true at the end of every case."""

from __future__ import annotations

import itertools

import wire
from checks import Checks
from gateway import Gateway
from provider import Provider
from scenarios import NAMES

DELIVERIES = ["up", "whole", "c1", "c7", "utf8", "crlf"]
#: Pico-USD per token, as `gateway.PRICE` has it in USD per million tokens.
INPUT, OUTPUT, CACHED = 1_000_000, 2_000_000, 250_000


def every_model(providers: list[str] | None = None) -> list[str]:
    return [f"{provider}:{name}" for provider in providers or ["up"] for name in NAMES]


class World:
    """`async with World(…) as world:` runs a case; leaving it makes the checks that every case ends with.

    `is_audited` is false where the case does the final checks itself, or ends with a ledger that it has broken.
    """

    def __init__(self, models: list[str] | None = None, is_audited: bool = True, folder: str | None = None, **gateway):
        self.models = models or every_model()
        self.is_audited = is_audited
        self.check = Checks()
        self.provider = Provider(folder)
        self._options = gateway
        self.gateway: Gateway | None = None
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> "World":
        await self.provider.start()
        try:
            self.gateway = Gateway(self.provider.port, self.models, **self._options)
            await self.gateway.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind, error, trace) -> None:
        try:
            if isinstance(error, AssertionError):
                self.check.fail(f"gave up: {error}")
            if self.is_audited and (error is None or isinstance(error, AssertionError)):
                with self.check.about("at the end"):
                    await self.audit()
            if error is not None or self.check.problems:
                print(f"--- the last output of the server\n{self.gateway.last_output()}\n---")
        finally:
            await self.close()
        if error is None or isinstance(error, AssertionError):
            self.check.raise_problems()

    async def close(self) -> None:
        if self.gateway is not None:
            await self.gateway.close()
        await self.provider.stop()

    def name(self, prefix: str = "case") -> str:
        return f"{prefix}-{next(self._numbers)}"

    # -- what has to be true

    async def settled(self, user: str, seconds: float = 15.0) -> dict:
        """Waits until nothing is held for a user, and gives the balance."""

        async def free():
            data = await self.gateway.balance(user)
            return data if data["held"] == 0 else None

        return await wire.eventually(free, f"every hold of {user} is settled", seconds)

    async def audit(self) -> list[dict]:
        """Nothing is held, the server ends cleanly, every hold was settled once, and the ledger verifies."""
        gateway, check = self.gateway, self.check
        if gateway.is_running:
            for user in gateway.users:
                with check.about(user):
                    await self.settled(user)
            check.equal(await gateway.stop(), 0, "the server's exit code")
        events = await gateway.events()
        check_settlements(check, events)
        code, _, output = await gateway.verify()
        check.equal(code, 0, f"exit code of replay verify, which printed {output.strip()[:1500]}")
        return events


def check_settlements(check: Checks, events: list[dict]) -> None:
    """Each hold has exactly one settlement, and each settlement its hold."""
    holds: dict[str, int] = {}
    settlements: dict[str, list[str]] = {}
    for event in events:
        if event["name"] == "hold_placed":
            request = event["data"]["request"]
            holds[request] = holds.get(request, 0) + 1
        elif event["name"] in ("request_charged", "hold_released"):
            settlements.setdefault(event["data"]["request"], []).append(event["name"])
    for request, count in holds.items():
        check.equal(count, 1, f"holds of request {request}")
        found = settlements.get(request, [])
        check.that(len(found) == 1, f"request {request} was settled {len(found)} times: {found}")
    for request in settlements:
        check.that(request in holds, f"request {request} was settled without a hold")


def settlement(events: list[dict], request: str | None) -> dict:
    """The one event that settled a request."""
    assert request, "the answer has no x-request-id"
    found = [e for e in events if e["name"] in ("request_charged", "hold_released") and e["data"]["request"] == request]
    assert len(found) == 1, f"request {request} was settled {len(found)} times"
    return found[0]


def check_charge(check: Checks, event: dict, usage: dict, outcome: str = "finished") -> None:
    """Checks a charge against what the provider reported."""
    if not check.equal(event["name"], "request_charged", f"the settlement ({event['data'].get('reason')})"):
        return
    data = event["data"]
    check.equal(data["outcome"], outcome, "outcome")
    check.equal(data["estimated"], False, "estimated")
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    check.equal(
        (data["prompt_tokens"], data["cached_tokens"], data["completion_tokens"]),
        (usage["prompt_tokens"], cached, usage["completion_tokens"]), "prompt, cached and completion tokens")
    check_cost(check, data)


def check_cost(check: Checks, data: dict) -> None:
    """Checks the arithmetic of a charge by itself."""
    cached = min(data["cached_tokens"], data["prompt_tokens"])
    cost = (data["prompt_tokens"] - cached) * INPUT + cached * CACHED + data["completion_tokens"] * OUTPUT
    check.equal(int(data["cost_pico_usd"]), cost, "cost in pico-USD")
    # What is beyond the hold is not charged; a charge of before there was such a bound has no excess.
    check.equal(int(data["credits"]) + int(data.get("excess", 0)), -(-cost // 100), "credits and excess in nano-credits")


def check_estimate(check: Checks, event: dict, outcomes: set[str]) -> None:
    """Checks a charge for what no usage report came for."""
    if not check.equal(event["name"], "request_charged", f"the settlement ({event['data'].get('reason')})"):
        return
    data = event["data"]
    check.within(data["outcome"], outcomes, "outcome")
    check.equal(data["estimated"], True, "estimated")
    check.that(data["prompt_tokens"] > 0 and data["completion_tokens"] > 0, f"the estimate has no tokens: {data}")
    check.that("estimated" in data.get("flags", []), f"the charge is not flagged as an estimate: {data}")
    check_cost(check, data)


def check_released(check: Checks, event: dict, reasons: set[str], status: int | None = None) -> None:
    if not check.equal(event["name"], "hold_released", f"the settlement ({event['data'].get('outcome')})"):
        return
    check.within(event["data"]["reason"], reasons, "reason of the release")
    if status is not None:
        check.equal(event["data"].get("upstream_status"), status, "upstream_status of the release")
