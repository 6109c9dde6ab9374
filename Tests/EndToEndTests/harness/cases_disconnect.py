"""Clients that leave before the end: the provider is listened to, and what it reports is charged once."""

from __future__ import annotations

import asyncio
import random

import wire
from checks import case
from scenarios import FLOOD_CHUNKS, SLOW_CHUNKS, USAGES
from world import World, check_charge, check_estimate, check_released

USAGE = USAGES["slow"]


@case
async def disconnect_boundaries() -> None:
    """A client that leaves after any number of chunks is charged once, with the whole reported usage."""
    async with World(["up:slow", "crlf:slow"]) as world:
        left = []
        key = await world.gateway.user("alice", 1000)
        for model in world.models:
            # All chunks, the usage chunk and [DONE].
            for count in range(0, SLOW_CHUNKS + 3):
                with world.check.about(model, f"client gone after {count} events"):
                    left.append((model, count, await leave_after(world, key, model, count)))
        await world.settled("alice")
        charges = [e for e in await world.gateway.events() if e["name"] in ("request_charged", "hold_released")]
        world.check.equal(len(charges), len(left), "settlements")
        for (model, count, request), event in zip(left, charges):
            with world.check.about("charge of", model, f"after {count} events"):
                outcome = event["data"].get("outcome")
                # The last chunks may be on their way before the server can know that nobody takes them.
                world.check.within(outcome, {"client_gone", "finished"}, "outcome")
                check_charge(world.check, event, USAGE, outcome)
                if request:
                    world.check.equal(event["data"]["request"], request, "request")


async def leave_after(world: World, key: str, model: str, count: int) -> str | None:
    """Lets so many events come, leaves, lets the provider go on, and waits for the settlement."""
    name = world.name("leaving")
    options = {"stream_options": {"include_usage": True}}
    async with world.gateway.chat(key, model, stream=True, case=name, **options) as exchange:
        await world.provider.received(name)
        for number in range(1, count + 1):
            await world.provider.step(name)
            # The last chunks may be kept until the charge is on disk, so wait only for what has to arrive.
            if number <= SLOW_CHUNKS:
                arrived = await asyncio.wait_for(exchange.events(number), 5)
                assert arrived, f"it ended before event {number}: {exchange.response}"
        request = exchange.response.header("x-request-id") if exchange.response else None
        exchange.drop(reset=count % 2 == 1)
    await world.provider.step(name, everything=True)

    async def over():
        return (await world.provider.only(name))["state"] in ("finished", "aborted")

    await wire.eventually(over, "the provider's answer is over")
    world.check.equal((await world.provider.only(name))["state"], "finished", "the provider's answer")
    await world.settled("alice")
    return request


@case(takes_argument=True)
async def disconnect_anywhere(seed: str = "") -> None:
    """A client that leaves at any byte, or before an answer that is no stream, is charged once."""
    chosen = int(seed) if seed else random.SystemRandom().randrange(10**6)
    print(f"disconnect_anywhere: seed {chosen}", flush=True)
    dice = random.Random(chosen)
    async with World(["up:slow-auto", "c7:slow-auto", "utf8:finish", "c1:finish", "up:slow"]) as world:
        key = await world.gateway.user("alice", 1000)
        models = ["up:slow-auto", "c7:slow-auto", "utf8:finish", "c1:finish"]
        total = 0
        for _ in range(4):
            leavers = [leave_at_byte(world, key, dice.choice(models), dice.randrange(0, 9000), dice.random() < 0.5) for _ in range(12)]
            await asyncio.gather(*leavers)
            total += len(leavers)
            await world.settled("alice", 20)
        for early in (True, False):
            with world.check.about("whole answer,", "before it came" if early else "at its first byte"):
                await leave_whole_answer(world, key, early)
                total += 1
        await world.settled("alice", 20)
        events = await world.gateway.events()
        charges = [e for e in events if e["name"] == "request_charged"]
        world.check.equal(len(charges), total, "charges")
        world.check.equal([e["data"] for e in events if e["name"] == "hold_released"], [], "releases")
        for event in charges:
            with world.check.about(event["data"]["model"]):
                world.check.equal(event["data"]["estimated"], False, "estimated")


async def leave_at_byte(world: World, key: str, model: str, count: int, reset: bool) -> None:
    name = world.name("byte")
    async with world.gateway.chat(key, model, stream=True, case=name) as exchange:
        await world.provider.received(name)
        await asyncio.wait_for(exchange.until(lambda body: len(body) >= count), 20)
        exchange.drop(reset)


async def leave_whole_answer(world: World, key: str, early: bool) -> None:
    name = world.name("whole")
    async with world.gateway.chat(key, "up:slow", case=name) as exchange:
        await world.provider.received(name)
        if not early:
            await world.provider.step(name, everything=True)
            await exchange.head()
        exchange.drop(reset=True)
    await world.provider.step(name, everything=True)


@case
async def drain_bound() -> None:
    """A provider is listened to for as long as it goes on after the client has gone; one that stands still is given up, and what came is estimated."""
    limits = {"idle_timeout_seconds": 2, "drain_timeout_seconds": 1}
    async with World(["up:slow"], limits=limits) as world:
        check, gateway = world.check, world.gateway
        warned = [line for line in gateway.output if "'limits.drain_timeout_seconds' is ignored" in line]
        check.equal(len(warned), 1, "warnings of the key that is gone")
        key = await gateway.user("alice", 10)
        with check.about("one that goes on"):
            name = await left_after(world, key, 4)
            # Longer than the old bound, and never as long as a provider may be silent.
            for _ in range(3):
                await asyncio.sleep(0.7)
                check.equal((await world.provider.received(name))["state"], "sending", "the provider's answer")
                await world.provider.step(name)
            await world.provider.step(name, everything=True)
            await world.settled("alice", 8)
            check_charge(check, await last_settlement(world), USAGE, "client_gone")
        for count in (0, 4):
            with check.about(f"one that stands still after {count} chunks"):
                name = await left_after(world, key, count)
                await world.settled("alice", 8)

                async def aborted():
                    return (await world.provider.only(name))["state"] == "aborted"

                await wire.eventually(aborted, "the provider's connection is closed")
                event = await last_settlement(world)
                if count:
                    check_estimate(check, event, {"timeout"})
                else:
                    check_released(check, event, {"timeout"})


async def left_after(world: World, key: str, count: int) -> str:
    """A client that leaves after so many chunks, and the name of its request."""
    name = world.name("stuck")
    async with world.gateway.chat(key, "up:slow", stream=True, case=name) as exchange:
        await world.provider.received(name)
        if count:
            await world.provider.step(name, count)
            await asyncio.wait_for(exchange.events(count), 5)
        exchange.drop()
    return name


async def last_settlement(world: World) -> dict:
    return [e for e in await world.gateway.events() if e["name"] in ("request_charged", "hold_released")][-1]


@case
async def slow_reader() -> None:
    """A client that does not read stops its provider, costs the server no memory, and loses nothing if it goes on in time."""
    async with World(["up:flood", "up:finish"], limits={"idle_timeout_seconds": 8}) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 100)
        check.equal((await gateway.answer(key, "up:finish")).status, 200, "status of a first request")
        before = resident_bytes(gateway.process.pid)
        readers = [gateway.chat(key, "up:flood", stream=True, case=f"idle-{n}", receive_buffer=8192) for n in range(6)]
        for number, exchange in enumerate(readers):
            await exchange.send()
            await world.provider.received(f"idle-{number}")
        # All stand still, well before their end: the sockets are full, and the server does not take more.
        stopped = await wire.eventually(lambda: standing_still(world, len(readers)), "the providers are stopped", 7, 0.3)
        check.that(max(stopped) < FLOOD_CHUNKS * 3 // 4, f"the providers could send {stopped} of {FLOOD_CHUNKS} chunks")
        print(f"slow_reader: {stopped} of {FLOOD_CHUNKS} chunks were sent", flush=True)
        grown = resident_bytes(gateway.process.pid) - before
        check.that(grown < 24 << 20, f"the server grew by {grown >> 20} MB for {len(readers)} clients that do not read")
        check.equal((await gateway.answer(key, "up:finish")).status, 200, "another client's status beside them")
        first = readers[0]
        await asyncio.wait_for(first.head(), 5)
        with check.about("one that goes on"):
            response = await asyncio.wait_for(first.rest(), 60)
            check.that(response.complete, f"it was cut off: {response.failure}")
            check.equal(len(wire.events(response.body)), FLOOD_CHUNKS + 3, "events")
        # The others never read: they count as gone, and their providers are heard to the end.
        await world.settled("alice", 60)
        events = await gateway.events()
        charges = [e for e in events if e["name"] == "request_charged" and e["data"]["model"] == "up:flood"]
        check.equal(len(charges), len(readers), "charges")
        for event in charges:
            check_charge(check, event, USAGES["flood"], event["data"]["outcome"])
        outcomes = sorted(event["data"]["outcome"] for event in charges)
        check.equal(outcomes, ["client_gone"] * (len(readers) - 1) + ["finished"], "outcomes")
        for exchange in readers:
            exchange.drop()


async def standing_still(world: World, count: int) -> list[int] | None:
    """How many parts each provider has sent, once that no longer changes."""

    async def numbers() -> list[int]:
        return [(await world.provider.received(f"idle-{n}"))["parts"] for n in range(count)]

    first = await numbers()
    await asyncio.sleep(0.25)
    return first if min(first) > 0 and await numbers() == first else None


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096
