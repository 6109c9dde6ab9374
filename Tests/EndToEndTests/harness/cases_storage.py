"""The disk fails: nothing is acknowledged that is not on it."""

from __future__ import annotations

import asyncio

import wire
from checks import case, openai_error
from world import World, check_settlements

LIMIT_BYTES = 2 << 20


@case
async def disk_full() -> None:
    """A write that fails fails its command, turns health red, and loses nothing that was acknowledged."""
    async with World(["up:finish", "up:slow-auto"], is_audited=False) as world:
        check, gateway = world.check, world.gateway
        keys = [await gateway.user(f"user-{n}", 1000) for n in range(4)]
        await gateway.stop()
        gateway.file_size_limit = LIMIT_BYTES
        await gateway.start()
        acknowledged, failed = await until_it_fails(world, keys)
        check.that(acknowledged, "nothing was served before the disk was full")
        for response in failed:
            openai_error(check, response, {500, 503})
        await red(world)
        asked = len(await world.provider.log())
        for key in keys:
            with check.about("a request with a failed disk"):
                openai_error(check, await gateway.answer(key, "up:finish"), {500, 503})
                topped = await gateway.top_up("user-0", 1, {"idempotency-key": "on-a-full-disk"})
                check.within(topped.status, {500, 503}, "status of a top-up")
        check.equal(len(await world.provider.log()) - asked, 0, "requests without a durable hold that the provider saw")
        await gateway.stop()
        gateway.file_size_limit = None
        await gateway.start()
        with check.about("with room again"):
            for user in gateway.users:
                check.equal((await gateway.balance(user))["held"], 0, f"held of {user}")
            check.equal((await gateway.answer(keys[0], "up:finish")).status, 200, "status")
            check.equal((await gateway.top_up("user-0", 1, {"idempotency-key": "on-a-full-disk"})).status, 200, "status of the repeated top-up")
            check.equal((await gateway.api("GET", "/health/readiness", key=None)).status, 200, "readiness")
        await gateway.stop()
        events = await gateway.events()
        charged = {e["data"]["request"] for e in events if e["name"] == "request_charged"}
        lost = {request: kind for request, kind in acknowledged.items() if request not in charged}
        check.that(not lost, f"ended properly towards the client, and not charged: {lost}")
        check_settlements(check, events)
        code, _, output = await gateway.verify()
        check.equal(code, 0, f"exit code of replay verify: {output[:800]}")


async def until_it_fails(world: World, keys: list[str]) -> tuple[dict[str, str], list[wire.Response]]:
    """Asks until the disk is full: the requests whose answers ended properly, and the failures."""
    acknowledged: dict[str, str] = {}
    failed: list[wire.Response] = []

    async def work(key: str, stream: bool) -> None:
        for _ in range(2000):
            if failed:
                return
            response = await world.gateway.answer(key, "up:finish", stream=stream)
            if response.status == 200 and response.complete:
                acknowledged[response.header("x-request-id")] = "stream" if stream else "whole"
            elif response.status != 200:
                failed.append(response)
            else:
                return  # a stream that was cut: it was not acknowledged

    await asyncio.gather(*(work(key, number % 2 == 0) for number, key in enumerate(keys)))
    world.check.that(failed, "the disk never became full")
    return acknowledged, failed


async def red(world: World) -> None:
    with world.check.about("health"):

        async def is_red() -> bool:
            return (await world.gateway.api("GET", "/health/readiness", key=None)).status == 503

        await wire.eventually(is_red, "readiness turns 503", 5)
