"""Admission: what is held before a request is sent on, and what is refused."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import wire
from checks import Checks, case, openai_error
from world import World, check_charge, settlement

FIGURES = ("needed_credits", "available_credits", "held_credits", "max_tokens_that_fit")


def exact(response: wire.Response) -> dict:
    """The error of a 402, its figures as decimals."""
    error = json.loads(response.body, parse_float=Decimal)["error"]
    return {name: Decimal(str(error[name])) for name in FIGURES if name in error}


def shortage(check: Checks, response: wire.Response) -> dict:
    """Checks a 402 and gives its figures."""
    openai_error(check, response, 402, "insufficient_credits")
    check.equal(response.json["error"].get("type"), "insufficient_quota", "error.type")
    figures = exact(response)
    check.equal(sorted(figures), sorted(FIGURES), "the figures of the 402")
    return figures


async def price_of_hold(world: World, **more) -> Decimal:
    """What a request needs, asked with an account that has nothing."""
    name = world.name("poor")
    key = await world.gateway.user(name)
    response = await world.gateway.answer(key, **more)
    figures = shortage(world.check, response)
    world.check.equal(figures["available_credits"], 0, "available_credits of an empty account")
    world.check.equal(figures["held_credits"], 0, "held_credits of an empty account")
    world.check.equal(figures["max_tokens_that_fit"], 0, "max_tokens_that_fit of an empty account")
    return figures["needed_credits"]


@case
async def concurrency_money_for_one() -> None:
    """Of 50 simultaneous requests with credits for one, one is served and 49 are refused with the numbers."""
    async with World(["up:slow", "up:finish"]) as world:
        for model in ("up:slow", "up:finish"):
            for stream in (False, True):
                with world.check.about(model, "stream" if stream else "whole"):
                    await money_for_one(world, model, stream)


async def money_for_one(world: World, model: str, stream: bool, count: int = 50) -> None:
    check, user, name = world.check, world.name("user"), world.name("race")
    request = {"model": model, "stream": stream, "case": name, "max_tokens": 100}
    needed = await price_of_hold(world, **request)
    key = await world.gateway.user(user, needed)
    check.equal(Decimal(str((await world.gateway.balance(user))["credits_exact"])), needed, "the balance before")
    finished = asyncio.Event()
    lowest = asyncio.create_task(watch_balance(world, user, finished))
    calls = [asyncio.create_task(world.gateway.answer(key, **request)) for _ in range(count)]
    if model == "up:slow":
        # The one that is served stays open until all the others have been refused.
        await world.provider.received(name)
        await wire.eventually(lambda: sum(call.done() for call in calls) == count - 1, "all others are answered", 30)
        check.equal((await world.gateway.balance(user))["held"], needed, "held while it is under way")
        await world.provider.step(name, everything=True)
    answers = await asyncio.gather(*calls)
    served = [answer for answer in answers if answer.status == 200]
    check.equal(len(served), 1, "requests that were served")
    for answer in answers:
        if answer.status != 200:
            figures = shortage(check, answer)
            check.equal(figures.get("needed_credits"), needed, "needed_credits")
            check.that(figures.get("available_credits", -1) >= 0, f"available_credits: {figures}")
    await world.settled(user)
    finished.set()
    check.that(await lowest >= 0, "the balance or what is available was below zero")
    check.equal(len(await world.provider.log(name)), 1, "requests that the provider saw")


async def watch_balance(world: World, user: str, finished: asyncio.Event) -> Decimal:
    """The least that the balance, or what is available of it, ever was."""
    lowest = Decimal(0)
    while not finished.is_set():
        data = await world.gateway.balance(user)
        lowest = min(lowest, Decimal(str(data["credits_exact"])), Decimal(str(data["available"])))
        await asyncio.sleep(0.01)
    return lowest


@case
async def admission() -> None:
    """Holds fit the credits: the output bound shrinks to what fits, and never below 256 tokens or the client's own limit."""
    async with World(["up:finish", "up:slow", "up:overrun", "up:echo-request"]) as world:
        gateway, check = world.gateway, world.check
        one = await price_of_hold(world, model="up:echo-request", max_tokens=1)
        two = await price_of_hold(world, model="up:echo-request", max_tokens=2)
        token = two - one
        check.equal(token, Decimal("0.00002"), "the price of one output token in credits")
        without_limit = await price_of_hold(world, model="up:echo-request")

        with check.about("credits for 1000 tokens of output"):
            key = await gateway.user("thousand", without_limit - 7192 * token)
            response = await gateway.answer(key, "up:echo-request", case="shrunk")
            check.equal(response.status, 200, f"status of {response}")
            bound = (await world.provider.only("shrunk"))["json"].get("max_tokens")
            # The metadata of this request are not in the prompt, but a gateway may count them.
            check.that(bound is not None and 900 <= bound <= 1000, f"the output bound was {bound}")
        with check.about("credits for 200 tokens of output"):
            key = await gateway.user("twohundred", without_limit - 7992 * token)
            figures = shortage(check, await gateway.answer(key, "up:echo-request"))
            fitting = int(figures.get("max_tokens_that_fit", 0))
            check.that(190 <= fitting <= 200, f"max_tokens_that_fit is {fitting}")
            shortage(check, await gateway.answer(key, "up:echo-request", max_tokens=fitting + 1))
            check.equal((await gateway.answer(key, "up:echo-request", max_tokens=fitting)).status, 200, "status with what fits")
        with check.about("a client's own limit is not shrunk"):
            key = await gateway.user("own", without_limit - 4000 * token)
            for name in ("max_tokens", "max_completion_tokens"):
                shortage(check, await gateway.answer(key, "up:echo-request", **{name: 8000}))
                response = await gateway.answer(key, "up:echo-request", case=f"own-{name}", **{name: 300})
                check.equal(response.status, 200, f"status of {response}")
                sent = (await world.provider.only(f"own-{name}"))["json"]
                check.equal(sent.get(name), 300, f"{name} towards the provider")
                await world.settled("own")
        with check.about("several choices"):
            three = await price_of_hold(world, model="up:echo-request", max_tokens=100, n=3)
            once = await price_of_hold(world, model="up:echo-request", max_tokens=100, n=1)
            check.equal(three - once, 200 * token, "what two more choices of 100 tokens need")
        await tools_are_counted(world)
        await held_by_another(world)
        await overrun_is_excess(world)


async def tools_are_counted(world: World) -> None:
    with world.check.about("tools and schemas in the prompt"):
        tool = {"type": "function", "function": {"name": "f", "description": "x" * 3000, "parameters": {"type": "object"}}}
        with_tool = await price_of_hold(world, model="up:finish", max_tokens=1, tools=[tool])
        without = await price_of_hold(world, model="up:finish", max_tokens=1)
        world.check.that(with_tool - without >= 3000 * Decimal("0.00001"), f"3000 bytes of a tool added {with_tool - without} credits")


async def held_by_another(world: World) -> None:
    with world.check.about("credits that another request holds"):
        needed = await price_of_hold(world, model="up:slow", max_tokens=50, case="holding")
        key = await world.gateway.user("holder", needed)
        async with world.gateway.chat(key, "up:slow", max_tokens=50, case="holding") as exchange:
            await world.provider.received("holding")
            data = await world.gateway.balance("holder")
            world.check.equal((data["held"], data["available"]), (needed, 0), "held and available")
            figures = shortage(world.check, await world.gateway.answer(key, "up:slow", max_tokens=50, case="holding"))
            world.check.equal(figures, {"needed_credits": needed, "available_credits": 0, "held_credits": needed, "max_tokens_that_fit": 0}, "figures")
            await world.provider.step("holding", everything=True)
            await exchange.rest()


async def overrun_is_excess(world: World) -> None:
    """A provider that breaks its limit: no more is charged than was held, the rest is recorded, and there is no debt."""
    check, gateway = world.check, world.gateway
    with check.about("overrun"):
        needed = await price_of_hold(world, model="up:overrun", max_tokens=10)
        key = await gateway.user("overrunner", needed)
        response = await gateway.answer(key, "up:overrun", max_tokens=10)
        check.equal(response.status, 200, f"status of {response}")
        check.equal(Decimal(response.header("x-ledger-charged-credits")), needed, "what the client is told")
        data = await world.settled("overrunner")
        event = settlement(await gateway.events(), response.header("x-request-id"))
        check_charge(check, event, {"prompt_tokens": 11, "completion_tokens": 50_000})
        charged, excess, shortfall = (Decimal(int(event["data"][name])).scaleb(-9) for name in ("credits", "excess", "shortfall"))
        check.equal((event["type"], charged, shortfall), ("request_charged.v2", needed, 0), "version, credits and shortfall")
        check.equal(charged + excess, Decimal("1.00011"), "what 50,000 output tokens are worth")
        check.equal(Decimal(str(data["credits_exact"])), 0, "the balance, which is no debt")
        shortage(check, await gateway.answer(key, "up:finish", max_tokens=1))
        await gateway.top_up("overrunner", "5")
        data = await gateway.balance("overrunner")
        check.equal(Decimal(str(data["credits_exact"])), 5, "the balance after a top-up")
        check.equal((await gateway.answer(key, "up:finish", max_tokens=1)).status, 200, "status after the top-up")


@case
async def old_status() -> None:
    """The configuration can answer 403 where credits run out, as older clients expect."""
    async with World(["up:finish"], settings={"insufficient_credits_status": 403}) as world:
        key = await world.gateway.user("poor")
        error = openai_error(world.check, await world.gateway.answer(key, "up:finish"), 403, "insufficient_credits")
        world.check.equal(error.get("message"), "Insufficient credits", "message")


@case
async def unpriced() -> None:
    """A model without a price is refused before the provider is called, unless the operator gives it away."""
    async with World(["up:finish"]) as world:
        key = await world.gateway.user("alice", 10)
        response = await world.gateway.answer(key, "up:echo-request", case="unpriced")
        openai_error(world.check, response, {400, 402, 403, 404}, "model_not_priced")
        world.check.equal(await world.provider.log("unpriced"), [], "requests that the provider saw")
    async with World(["up:finish"], settings={"allow_unpriced": True}) as world:
        key = await world.gateway.user("alice", 10)
        response = await world.gateway.answer(key, "up:echo-request")
        world.check.equal(response.status, 200, f"status of {response}")
        await world.settled("alice")
        event = settlement(await world.gateway.events(), response.header("x-request-id"))
        world.check.equal((event["name"], int(event["data"].get("credits", -1))), ("request_charged", 0), "the settlement")


@case
async def names_that_look_alike() -> None:
    """Two users whose names differ only in how a letter is composed have two accounts, also after a restart."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway
        composed, decomposed = "jos\u00e9", "jose\u0301"
        keys = {}
        for name, credits in ((composed, 5), (decomposed, 7)):
            keys[name] = await gateway.user(name, credits)
        await gateway.restart()
        await gateway.top_up(decomposed, 1)
        await gateway.top_up(composed, 2)
        check.equal((await gateway.answer(keys[decomposed], "up:finish")).status, 200, "the answer's status")
        settled = await world.settled(decomposed)
        check.that(settled["credits"] < 8, f"the one that asked pays: {settled}")
        check.equal((await gateway.balance(composed))["credits"], 7, "the other's credits")
