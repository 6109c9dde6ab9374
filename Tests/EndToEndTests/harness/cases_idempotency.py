"""Requests that are sent again under their `Idempotency-Key`: the effect of once, also across restarts and crashes."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import wire
from checks import Checks, case, openai_error
from provider import sent
from world import World, check_released, settlement

REPLAYED = "idempotency-replayed"


def keyed(key: str) -> dict:
    return {"idempotency-key": key}


async def charges(world: World, user: str) -> list[dict]:
    return [e for e in await world.gateway.events() if e["name"] == "request_charged" and e["account"] == user]


@case
async def idempotency() -> None:
    """A completion or a top-up under the same key has the effect of once, before and after a restart and a crash."""
    async with World(["up:finish", "up:slow", "up:refuse-429", "up:big", "up:huge"]) as world:
        key = await world.gateway.user("alice", 100)
        first = await whole(world, key)
        await others(world, key)
        await simultaneous(world, key)
        await streamed(world, key)
        await gone_before_the_answer(world, key)
        await refused(world, key)
        await top_ups(world)
        before = await world.settled("alice")
        count = len(await charges(world, "alice"))
        for how in ("restart", "kill -9"):
            with world.check.about("after", how):
                if how == "restart":
                    await world.gateway.restart()
                else:
                    await world.gateway.kill9()
                    await world.gateway.start()
                await all_again(world, key, first)
        world.check.equal((await world.settled("alice"))["credits_exact"], before["credits_exact"], "the balance in the end")
        world.check.equal(len(await charges(world, "alice")), count, "charges in the end")
        await crash_in_mid_request(world, key)


async def whole(world: World, key: str) -> wire.Response:
    check = world.check
    with check.about("whole answers"):
        first = await world.gateway.answer(key, "up:finish", case="whole", headers=keyed("k-whole"))
        check.equal(first.status, 200, f"status of {first}")
        check.equal(first.header(REPLAYED), None, "idempotency-replayed of the first answer")
        for number in range(3):
            again = await world.gateway.answer(key, "up:finish", case="whole", headers=keyed("k-whole"))
            same_answer(check, again, first)
        check.equal(len(await world.provider.log("whole")), 1, "requests that the provider saw")
        other = await world.gateway.answer(key, "up:finish", case="whole", max_tokens=9, headers=keyed("k-whole"))
        openai_error(check, other, 409)
        without = await world.gateway.answer(key, "up:finish", case="whole")
        check.equal((without.status, without.header(REPLAYED)), (200, None), "an answer without a key")
        return first


def same_answer(check: Checks, again: wire.Response, first: wire.Response) -> None:
    check.equal(again.status, first.status, f"status of {again}")
    check.equal(again.body, first.body, "the body of the replayed answer")
    check.equal(again.header(REPLAYED), "true", REPLAYED)
    check.equal(again.header("content-type"), first.header("content-type"), "content-type")
    check.equal(again.header("x-ledger-charged-credits"), first.header("x-ledger-charged-credits"), "x-ledger-charged-credits")


async def others(world: World, key: str) -> None:
    """Keys belong to an account; bad keys are refused; a large answer is kept as well."""
    check = world.check
    with check.about("another user's same key"):
        other = await world.gateway.user("bob", 100)
        response = await world.gateway.answer(other, "up:finish", case="bob", headers=keyed("k-whole"))
        check.equal((response.status, response.header(REPLAYED)), (200, None), "their own answer")
        check.equal(len(await world.provider.log("bob")), 1, "requests that the provider saw")
    with check.about("a key of 300 characters"):
        openai_error(check, await world.gateway.answer(key, "up:finish", headers=keyed("k" * 300)), 400)
    with check.about("a large answer"):
        first = await world.gateway.answer(key, "up:big", case="big", headers=keyed("k-big"))
        again = await world.gateway.answer(key, "up:big", case="big", headers=keyed("k-big"))
        same_answer(check, again, first)
        check.equal(len(await world.provider.log("big")), 1, "requests that the provider saw")
    with check.about("an answer that is too long to be kept"):
        first = await world.gateway.answer(key, "up:huge", case="huge", headers=keyed("k-huge"))
        check.equal(first.status, 200, "status")
        openai_error(check, await world.gateway.answer(key, "up:huge", case="huge", headers=keyed("k-huge")), 409)
        check.equal(len(await world.provider.brief("huge")), 1, "requests that the provider saw")


async def simultaneous(world: World, key: str) -> None:
    check = world.check
    for stream in (False, True):
        with check.about("at the same time,", "stream" if stream else "whole"):
            name = f"same-{stream}"
            request = {"case": name, "stream": stream, "headers": keyed(name)}
            calls = [asyncio.create_task(world.gateway.answer(key, "up:slow", **request)) for _ in range(8)]
            await world.provider.received(name)
            await wire.eventually(lambda: sum(call.done() for call in calls) == 7, "all but one are answered")
            await world.provider.step(name, everything=True)
            answers = await asyncio.gather(*calls)
            check.equal(sorted(answer.status for answer in answers), [200] + [409] * 7, "statuses")
            for answer in answers:
                if answer.status == 409:
                    openai_error(check, answer, 409)
            check.equal(len(await world.provider.log(name)), 1, "requests that the provider saw")


async def streamed(world: World, key: str) -> None:
    check = world.check
    with check.about("streams"):
        request = {"stream": True, "case": "streamed", "headers": keyed("k-stream")}
        first = await world.gateway.answer(key, "up:finish", **request)
        check.that(first.status == 200 and first.complete, f"the answer was {first}")
        openai_error(check, await world.gateway.answer(key, "up:finish", **request), 409)
        check.equal(len(await world.provider.log("streamed")), 1, "requests that the provider saw")


async def gone_before_the_answer(world: World, key: str) -> None:
    """The very thing that keys are for: the client lost its connection, and asks again."""
    check = world.check
    with check.about("a client that lost its connection"):
        async with world.gateway.chat(key, "up:slow", case="lost", headers=keyed("k-lost")) as exchange:
            await world.provider.received("lost")
            exchange.drop(reset=True)
        await world.provider.step("lost", everything=True)

        async def answered() -> wire.Response | None:
            response = await world.gateway.answer(key, "up:slow", case="lost", headers=keyed("k-lost"))
            return response if response.status != 409 else None

        again = await wire.eventually(answered, "the repeated request is answered")
        check.equal((again.status, again.header(REPLAYED)), (200, "true"), f"the repeated request's answer: {again}")
        check.equal(again.body, sent(await world.provider.only("lost")), "the body")


async def refused(world: World, key: str) -> None:
    """What was released may be tried again under the same key."""
    check = world.check
    with check.about("a refusal"):
        for number in (1, 2):
            response = await world.gateway.answer(key, "up:refuse-429", case="refused", headers=keyed("k-refused"))
            openai_error(check, response, 429)
            check.equal(len(await world.provider.log("refused")), number, "requests that the provider saw")
            check_released(check, settlement(await world.gateway.events(), response.header("x-request-id")), {"upstream_refused"}, 429)
    with check.about("a refusal for want of credits"):
        poor = await world.gateway.user("poor")
        check.equal((await world.gateway.answer(poor, "up:finish", headers=keyed("k-poor"))).status, 402, "status")
        await world.gateway.top_up("poor", 10)
        check.equal((await world.gateway.answer(poor, "up:finish", headers=keyed("k-poor"))).status, 200, "status once there are credits")


async def top_ups(world: World) -> None:
    check, gateway = world.check, world.gateway
    await gateway.user("carol")
    with check.about("top-ups"):
        first = await gateway.top_up("carol", "12.5", keyed("t-1"))
        check.equal((first.status, first.json), (200, {"success": True, "detail": "Added 12.5 credits"}), "the answer")
        again = await gateway.top_up("carol", "12.5", keyed("t-1"))
        check.equal((again.status, again.body, again.header(REPLAYED)), (200, first.body, "true"), "the answer again")
        for other in (await gateway.top_up("carol", "13", keyed("t-1")), await gateway.top_up("bob", "12.5", keyed("t-1"))):
            check.equal(other.status, 409, f"status of {other}")
            check.that(isinstance(other.json.get("detail"), str), f"no detail in {other}")
        many = await asyncio.gather(*(gateway.top_up("carol", "1", keyed("t-many")) for _ in range(20)))
        check.equal({response.status for response in many}, {200}, "statuses of 20 at once")
        check.equal(Decimal(str((await gateway.balance("carol"))["credits_exact"])), Decimal("13.5"), "the balance")
        await gateway.top_up("carol", "1")
        await gateway.top_up("carol", "1")
        check.equal(Decimal(str((await gateway.balance("carol"))["credits_exact"])), Decimal("15.5"), "the balance with two more, without keys")


async def all_again(world: World, key: str, first: wire.Response) -> None:
    """Everything that was done under a key, once more."""
    check, gateway = world.check, world.gateway
    asked = len(await world.provider.log())
    same_answer(check, await gateway.answer(key, "up:finish", case="whole", headers=keyed("k-whole")), first)
    other = await gateway.answer(key, "up:finish", case="whole", max_tokens=9, headers=keyed("k-whole"))
    openai_error(check, other, 409)
    openai_error(check, await gateway.answer(key, "up:finish", stream=True, case="streamed", headers=keyed("k-stream")), 409)
    again = await gateway.top_up("carol", "12.5", keyed("t-1"))
    check.equal((again.status, again.json, again.header(REPLAYED)), (200, {"success": True, "detail": "Added 12.5 credits"}, "true"), "the top-up")
    check.equal((await gateway.top_up("carol", "13", keyed("t-1"))).status, 409, "status of another top-up")
    check.equal(Decimal(str((await gateway.balance("carol"))["credits_exact"])), Decimal("15.5"), "the balance of the topped-up user")
    check.equal(len(await world.provider.log()) - asked, 0, "requests that the provider saw")


async def crash_in_mid_request(world: World, key: str) -> None:
    """A request that a crash interrupted is released; its key does not lead to a second charge, nor to an answer for ever withheld."""
    check, gateway = world.check, world.gateway
    with check.about("a crash in mid-request"):
        async with gateway.chat(key, "up:slow", case="crash", headers=keyed("k-crash")):
            await world.provider.received("crash")
            await gateway.kill9()
        await gateway.start()
        released = [e for e in await gateway.events() if e["name"] == "hold_released"][-1]
        check_released(check, released, {"interrupted"})
        again = asyncio.create_task(gateway.answer(key, "up:slow", case="crash", headers=keyed("k-crash")))

        async def let_go():
            await world.provider.step("crash", everything=True)
            return again.done()

        await wire.eventually(let_go, "the repeated request is answered")
        response = await again
        check.within(response.status, {200, 409}, f"status of {response}")
        if response.status == 409:
            openai_error(check, response, 409)
        else:
            same_answer(check, await gateway.answer(key, "up:slow", case="crash", headers=keyed("k-crash")), response)
