"""Clients that leave: the provider is read to its end and charged as it reports, within bounds of time and number."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal

import wire
from cases_exposure import JSON_TYPE, NANO, event, exposure, sound, streamed, usage, whole
from cases_providers import world as world_of_kinds
from checks import case
from world import World, check_charge, check_estimate, check_released, settlement

REPORT = usage(11, 8, prompt_tokens_details={"cached_tokens": 3})
#: The parts of a stream: a role, a text, the finish, the usage, [DONE].
ROLE, TEXT, FINISH, USAGE = 1, 2, 3, 4
#: How a client leaves: it closes its connection, resets it, or closes its half of it and then vanishes.
WAYS = ("close", "reset", "half")


@dataclass(frozen=True)
class Point:
    """When a client leaves: after so many steps of the provider, once the head or so many events have come."""

    about: str
    model: str
    steps: int
    has_head: bool = False
    events: int = 0
    is_stream: bool = True


STREAMED = [
    Point("before the head", "held", 0), Point("after the head", "paced", 0, True), Point("after a role-only chunk", "paced", ROLE, True, ROLE),
    Point("in the middle", "paced", TEXT, True, TEXT), Point("right before the usage", "paced", FINISH, True, FINISH),
]
IN_ONE_PIECE = [
    Point("before an answer in one piece", "held-whole", 0, is_stream=False), Point("in an answer in one piece", "halved", 1, is_stream=False),
]
#: Between two steps of a provider: so it needs seconds in all.
PAUSE_SECONDS = 0.4


async def tell(world: World) -> None:
    """What the models answer: with a held head, part by part, and in one piece whose second half waits."""
    parts = streamed(REPORT, "paced", "Guten Tag — 今日は")
    await world.provider.script("paced", parts, pace="step")
    await world.provider.script("held", streamed(REPORT, "held"), pace="step", holds_head=True)
    body = whole(REPORT, "held-whole")
    await world.provider.script("held-whole", [body], headers=JSON_TYPE, framing="length", pace="step")
    half = len(body) // 2
    await world.provider.script("halved", [body[:half], body[half:]], headers=JSON_TYPE, framing="chunked", pace="step")


async def leave(world: World, key: str, point: Point, way: str) -> str:
    """Asks, leaves at a point, and gives the name of the request."""
    name = world.name("leaving")
    messages = [{"role": "user", "content": f"[case:{name}] hi"}]
    exchange = world.gateway.chat(key, f"up:{point.model}", stream=point.is_stream, messages=messages, max_tokens=500)
    async with exchange:
        await world.provider.received(name)
        if point.steps:
            await world.provider.step(name, point.steps)
        if point.has_head:
            await asyncio.wait_for(exchange.head(), 10)
        if point.events:
            await asyncio.wait_for(exchange.events(point.events), 10)
        if not point.is_stream and point.steps:
            await wire.eventually(lambda: sent_parts(world, name, point.steps), "the first half is sent")
        if way == "half":
            exchange.half_close()
        else:
            exchange.drop(reset=way == "reset")
        await asyncio.sleep(PAUSE_SECONDS)
    return name


async def sent_parts(world: World, name: str, count: int) -> bool:
    return (await world.provider.received(name))["parts"] >= count


async def ended(world: World, name: str, *states: str) -> str:
    """How the provider's answer ended."""

    async def state() -> str | None:
        found = (await world.provider.received(name))["state"]
        return found if found in (states or ("finished", "aborted")) else None

    return await wire.eventually(state, f"the provider's answer of {name} is over", 15)


async def settlements(world: World) -> list[dict]:
    return [e for e in await world.gateway.events() if e["name"] in ("request_charged", "hold_released")]


@case
async def leaving() -> None:
    """However and whenever a client leaves, its provider is read to its own end, seconds later, and the request charged as reported."""
    models = ["up:paced", "up:held", "up:held-whole", "up:halved", "up:many"]
    # The bound that there was: a provider was listened to for so long. It binds nobody any more.
    async with World(models, limits={"drain_timeout_seconds": 1}) as world:
        await tell(world)
        key = await world.gateway.user("alice", 1000)
        points = [(point, way) for point in [*STREAMED, *IN_ONE_PIECE] for way in WAYS]
        names = await asyncio.gather(*(leave(world, key, point, way) for point, way in points))
        by_name = dict(zip(names, points))
        await slowly(world, names)
        for name in names:
            with world.check.about(*by_name[name][1:], by_name[name][0].about):
                world.check.equal(await ended(world, name), "finished", "the provider's answer")
        await world.settled("alice")
        events = await sound(world)
        check_as_reported(world, events, len(names))
        await each_alone(world, key)
        await reads_on(world, key)
        await of_many_pieces(world)
        found = await exposure(world)
        world.check.equal((found["unbilled_requests"], found["beyond_bound"]), (0, 0), "exposure")


async def slowly(world: World, names: list[str]) -> None:
    """Lets the providers go on over seconds, all of them at once; none may have been given up meanwhile."""
    for _ in range(USAGE + 3):
        await asyncio.sleep(PAUSE_SECONDS * 2)
        for name in names:
            state = (await world.provider.received(name))["state"]
            world.check.that(state != "aborted", f"the provider of {name} was given up")
            await world.provider.step(name)
    await asyncio.gather(*(world.provider.step(name, everything=True) for name in names))


def check_as_reported(world: World, events: list[dict], count: int) -> None:
    charges = [e for e in events if e["name"] == "request_charged"]
    world.check.equal((len(charges), [e for e in events if e["name"] == "hold_released"]), (count, []), "charges and releases")
    for charge in charges:
        check_charge(world.check, charge, REPORT, charge["data"]["outcome"])
        world.check.within(charge["data"]["outcome"], {"client_gone", "finished"}, "outcome")


async def each_alone(world: World, key: str) -> None:
    """One after the other, so that it is known whose settlement it is: a stream whose pieces cannot be delivered any more ends as `client_gone`."""
    for point in [*STREAMED, *IN_ONE_PIECE]:
        for way in ("close", "reset"):
            with world.check.about(way, point.about, "alone"):
                before = len(await settlements(world))
                name = await leave(world, key, point, way)
                # With time between the pieces: by what is written it becomes known that nobody is there.
                for _ in range(USAGE if point.steps <= ROLE and point.is_stream else 0):
                    await world.provider.step(name)
                    await asyncio.sleep(PAUSE_SECONDS / 2)
                await world.provider.step(name, everything=True)
                world.check.equal(await ended(world, name), "finished", "the provider's answer")
                await world.settled("alice")
                found = (await settlements(world))[before:]
                world.check.equal(len(found), 1, "settlements")
                allowed = {"client_gone"} if point.steps <= ROLE and point.is_stream else {"client_gone", "finished"}
                world.check.within(found[0]["data"].get("outcome"), allowed, "outcome")
                check_charge(world.check, found[0], REPORT, found[0]["data"].get("outcome"))


async def reads_on(world: World, key: str) -> None:
    """A client that closes its half of the connection and reads on gets all of its answer."""
    for model in ("paced", "held", "held-whole", "halved"):
        with world.check.about("a client that reads on,", model):
            name = world.name("half")
            messages = [{"role": "user", "content": f"[case:{name}] hi"}]
            is_stream = model in ("paced", "held")
            async with world.gateway.chat(key, f"up:{model}", stream=is_stream, messages=messages, max_tokens=500) as exchange:
                await world.provider.received(name)
                exchange.half_close()
                for _ in range(3):
                    await asyncio.sleep(PAUSE_SECONDS)
                    await world.provider.step(name)
                await world.provider.step(name, everything=True)
                response = await asyncio.wait_for(exchange.rest(), 10)
            world.check.that(response.status == 200 and response.complete, f"the answer was {response}")
            world.check.that("今日は" in response.text or "Hello." in response.text, f"the answer's text: {response}")
            await world.settled("alice")
            found = (await settlements(world))[-1]
            check_charge(world.check, found, REPORT)


async def of_many_pieces(world: World) -> None:
    """A provider of a client that has gone is never made to wait: more pieces come than anything on the way can keep."""
    count = 60
    text = [event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]})] * count
    parts = text + streamed(REPORT, "many")
    await world.provider.script("many", parts, pace="step", holds_head=True)
    for steps, way in ((0, "close"), (0, "reset"), (2, "close"), (2, "reset")):
        with world.check.about(way, f"after {steps} of many pieces"):
            point = Point("", "many", steps, steps > 0, max(0, steps - 1))
            user = world.name("leaver")
            name = await leave(world, await world.gateway.user(user, 10), point, way)
            for _ in range(len(parts)):
                await world.provider.step(name)
                await asyncio.sleep(0.01)
            await world.provider.step(name, everything=True)
            # Sooner than a client that takes nothing is given up.
            await world.settled(user, 8)
            found = [e for e in await settlements(world) if e["account"] == user]
            check_charge(world.check, found[0], REPORT, "client_gone")


@case
async def leaving_between_tries() -> None:
    """For a client that leaves while the gateway waits to try again, nobody is asked: what would come of it would be charged for nothing."""
    async with World(["up:busy"], limits={"upstream_attempts": 10, "retry_wait_seconds": 300}) as world:
        headers = [*JSON_TYPE, ["retry-after", "1"]]
        await world.provider.script("busy", ['{"error": {"message": "Not now."}}'], status=503, headers=headers, framing="length")
        key = await world.gateway.user("alice", 10)

        def waiting() -> int:
            return sum("trying an upstream again" in line for line in world.gateway.output)

        for way in WAYS:
            with world.check.about(way, "between two tries"):
                name = world.name("between")
                messages = [{"role": "user", "content": f"[case:{name}] hi"}]
                waits = waiting()
                async with world.gateway.chat(key, "up:busy", messages=messages, max_tokens=500) as exchange:
                    await wire.eventually(lambda: waiting() > waits, "the gateway waits to try again")
                    if way == "half":
                        exchange.half_close()
                    else:
                        exchange.drop(reset=way == "reset")
                await world.settled("alice")
                world.check.equal(len(await world.provider.log(name)), 1, "how often the provider was asked")


@case
async def leaving_bounds() -> None:
    """Providers without a client are bounded in time and in number, and accounts in how often they cause it; what was not charged is counted."""
    await too_long()
    await too_many()
    await again_and_again()


async def too_long() -> None:
    """What takes longer than any request may is given up: released where nothing came, which is counted, and else estimated."""
    async with World(["up:paced", "up:held", "up:held-whole", "up:halved"], limits={"stream_duration_seconds": 3}) as world:
        await tell(world)
        check, gateway = world.check, world.gateway
        points = {f"user-{number}": point for number, point in enumerate([*STREAMED, *IN_ONE_PIECE])}
        keys = {user: await gateway.user(user, 100) for user in points}
        loop = asyncio.get_running_loop()
        began = loop.time()
        names = dict(zip(points, await asyncio.gather(*(leave(world, keys[user], points[user], "close") for user in points))))
        for user, point in points.items():
            with check.about("too long,", point.about):
                check.equal(await ended(world, names[user], "aborted"), "aborted", "the provider's answer")
                check.that(2.5 <= loop.time() - began <= 9, f"it was given up after {loop.time() - began:.1f} s")
                await world.settled(user)
                found = [e for e in await settlements(world) if e["account"] == user]
                if point.steps >= TEXT:
                    # The finish of an answer that has no usage yet is not its end.
                    check_estimate(check, found[0], {"timeout"})
                else:
                    check_released(check, found[0], {"timeout"})
        await check_exposure(world, await sound(world))


async def check_exposure(world: World, events: list[dict]) -> None:
    """What was released although its provider had it is counted, with what was held for it."""
    released = [e["data"] for e in events if e["name"] == "hold_released" and e["data"]["reason"] in ("timeout", "client_gone")]
    found = await exposure(world)
    world.check.that(released, "nothing was released")
    world.check.equal(found["unbilled_requests"], len(released), "requests that may have been billed")
    world.check.equal(Decimal(found["unbilled_held_credits"]), sum(int(d["amount"]) for d in released) * NANO, "what was held for them")
    lines = [line for line in world.gateway.output if "a provider may have billed a request that was not charged" in line]
    world.check.equal(len(lines), len(released), "lines of the server's log")


async def too_many() -> None:
    """Of more providers without a client than are allowed, those that were left first are given up."""
    async with World(["up:paced"], limits={"max_abandoned_requests": 2}) as world:
        await tell(world)
        check = world.check
        key = await world.gateway.user("alice", 1000)
        names = []
        for number in range(5):
            # Two of them with some output.
            names.append(await leave(world, key, STREAMED[3] if number in (1, 4) else STREAMED[1], "close"))
        states = [await ended(world, name, "aborted") for name in names[:3]]
        check.equal(states, ["aborted"] * 3, "the oldest")
        for name in names[3:]:
            check.equal((await world.provider.received(name))["state"], "sending", "one of the newest")
        await asyncio.gather(*(world.provider.step(name, everything=True) for name in names[3:]))
        check.equal([await ended(world, name) for name in names[3:]], ["finished"] * 2, "the newest")
        await world.settled("alice")
        events = await sound(world)
        found = [e for e in events if e["name"] in ("request_charged", "hold_released")]
        for settled in (found[0], found[2]):
            check_released(check, settled, {"client_gone"})
        check_estimate(check, found[1], {"client_gone"})
        for settled in found[3:]:
            # What comes at once may all be written before it is known that nobody is there.
            check.within(settled["data"].get("outcome"), {"client_gone", "finished"}, "outcome")
            check_charge(check, settled, REPORT, settled["data"].get("outcome"))
        await check_exposure(world, events)


async def again_and_again() -> None:
    """An account of which request after request ends unbilled has to wait; another has not."""
    limits = {"unbilled_requests_per_hour": 3, "first_byte_timeout_seconds": 1, "max_abandoned_requests": 0}
    async with World(["up:stall-before-head", "up:finish", "up:paced", "up:held-whole"], limits=limits) as world:
        check, gateway = world.check, world.gateway
        alice, bob = await gateway.user("alice", 100), await gateway.user("bob", 100)
        with check.about("again and again"):
            once = {"idempotency-key": "once"}
            first = await gateway.answer(alice, "up:finish", headers=once)
            for number in range(3):
                check.equal((await gateway.answer(alice, "up:finish")).status, 200, f"status after {number}")
                check.equal((await gateway.answer(alice, "up:stall-before-head")).status, 504, "status of one without an answer")
            count = len(await gateway.events())
            for stream in (False, True):
                response = await gateway.answer(alice, "up:finish", stream=stream)
                check.equal((response.status, response.json["error"]["code"]), (429, "too_many_unfinished"), f"the answer {response}")
                check.equal(response.json["error"]["type"], "rate_limit_error", "error.type")
                check.that(3500 < int(response.header("retry-after") or 0) <= 3600, f"retry-after is {response.header('retry-after')}")
            again = await gateway.answer(alice, "up:finish", headers=once)
            check.equal((again.status, again.header("idempotency-replayed")), (200, "true"), "an answer that was charged before, asked for again")
            check.equal(again.body, first.body, "its body")
            check.equal(len(await gateway.events()), count, "events of what was refused at once")
            check.equal((await gateway.answer(bob, "up:finish")).status, 200, "another account's status")
            found = await exposure(world)
            check.equal((found["unbilled_requests"], found["slowed_accounts"]), (3, 1), "exposure")
        with check.about("one that leaves again and again"):
            await tell(world)
            carol = await gateway.user("carol", 100)
            for point in (STREAMED[1], IN_ONE_PIECE[0], STREAMED[2]):
                name = await leave(world, carol, point, "close")
                check.equal(await ended(world, name, "aborted"), "aborted", f"the provider's answer {point.about}")
                await world.settled("carol")
            check.equal((await gateway.answer(carol, "up:finish")).status, 429, "status")
            check.equal((await gateway.answer(bob, "up:finish")).status, 200, "another account's status")
            check.equal((await exposure(world))["slowed_accounts"], 2, "who is slowed")
        await check_exposure(world, await sound(world))


@case
async def leaving_other_forms() -> None:
    """Clients of responses and messages that leave are charged as reported, too."""
    responses = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress", "model": "resp", "output": []}},
        {"type": "response.output_text.delta", "delta": "Guten"},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "model": "resp", "output": [], "usage": {
            "input_tokens": 11, "output_tokens": 8, "total_tokens": 19, "input_tokens_details": {"cached_tokens": 3}}}},
    ]
    messages = [
        {"type": "message_start", "message": {"id": "m", "type": "message", "model": "mess", "content": [], "usage": {
            "input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Guten"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}}, {"type": "message_stop"},
    ]
    async with world_of_kinds(["resp", "mess"], kinds=["oai", "ant"]) as world:
        check, gateway = world.check, world.gateway
        await world.provider.script("resp", [event(each) for each in responses], pace="step")
        await world.provider.script("mess", [f"event: {each['type']}\n{event(each)}" for each in messages], pace="step")
        key = await gateway.user("alice", 100)
        for path, model, count in (("/v1/responses", "oai:resp", len(responses)), ("/v1/messages", "ant:mess", len(messages))):
            for steps in range(count):
                with check.about(path, f"after {steps} events"):
                    name = world.name("form")
                    body: dict = {"model": model, "stream": True}
                    text = f"[case:{name}] hi"
                    body |= {"input": text, "max_output_tokens": 500} if "responses" in path else {
                        "messages": [{"role": "user", "content": text}], "max_tokens": 500}
                    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
                    async with wire.Exchange(gateway.port, "POST", path, headers, json.dumps(body).encode()) as exchange:
                        await world.provider.received(name)
                        if steps:
                            await world.provider.step(name, steps)
                            await asyncio.wait_for(exchange.events(steps), 10)
                    await asyncio.sleep(PAUSE_SECONDS)
                    await world.provider.step(name, everything=True)
                    check.equal(await ended(world, name), "finished", "the provider's answer")
                    await world.settled("alice")
                    found = (await settlements(world))[-1]
                    check_charge(check, found, REPORT, found["data"].get("outcome"))
                    check.within(found["data"].get("outcome"), {"client_gone", "finished"}, "outcome")
        await sound(world)
