"""Providers that refuse, fail, stall, break off or report nonsense: what the client sees, and what is charged."""

from __future__ import annotations

import asyncio
import socket

import wire
from checks import case, openai_error
from scenarios import REFUSALS, USAGE, USAGES
from world import World, check_charge, check_cost, check_estimate, check_released, settlement

SHORT = {"connect_timeout_seconds": 1, "first_byte_timeout_seconds": 1, "idle_timeout_seconds": 1}

#: What a client is told of a refusal. The provider's 401 is about the gateway's key, and must not look like the client's.
REFUSED = {
    "refuse-400": {400}, "refuse-401": {502}, "refuse-404": {404, 502}, "refuse-429": {429}, "refuse-500": {500, 502},
    "refuse-503": {502, 503}, "refuse-html": {502}, "redirect": {502},
}
#: The refusals whose status is not in their name's table.
STATUSES = {"refuse-html": 502, "redirect": 307}
#: No output came: the status, and why the hold was released.
NOTHING = {
    "ok-html": ({502}, {"upstream_failed", "upstream_refused"}),
    "ok-gzip": ({502}, {"upstream_failed"}),
    "reset-before-head": ({502}, {"upstream_unreachable", "upstream_failed"}),
    "stall-before-head": ({504}, {"timeout"}),
    "stall-before-first": ({504}, {"timeout"}),
    "stall-in-error": ({503, 504}, {"upstream_refused", "timeout"}),
    "error-event-first": ({502, 503, 500}, {"upstream_failed", "upstream_refused"}),
}
#: Breaks after some output: as a stream it is charged; as a whole answer nothing was delivered.
BROKEN = {
    "error-event-mid": ({502, 503, 500}, "upstream_failed"),
    "reset-mid": ({502}, "upstream_failed"),
    "truncate-mid": ({502}, "upstream_failed"),
    "truncate-chunked": ({502}, "upstream_failed"),
    "truncate-usage": ({502}, "upstream_failed"),
    "stall-mid": ({504}, "timeout"),
}
ODD_USAGE = ["negative-usage", "absurd-usage", "cached-gt-prompt", "zero-usage", "overrun"]


@case
async def misbehaviour() -> None:
    """Every misbehaviour of a provider gives a proper error, and exactly what was delivered is charged."""
    names = [*REFUSED, *NOTHING, *BROKEN, *ODD_USAGE, "no-done", "finish"]
    async with World([f"up:{name}" for name in names] + ["down:finish"], limits=SHORT, providers=await dead_provider()) as world:
        key = await world.gateway.user("alice", 100_000)
        outcomes: list[tuple[str, bool, wire.Response]] = []
        for stream in (False, True):
            for name in [*REFUSED, *NOTHING]:
                with world.check.about(label(name, stream)):
                    outcomes.append((name, stream, await nothing_delivered(world, key, name, stream)))
            for name in BROKEN:
                with world.check.about(label(name, stream)):
                    outcomes.append((name, stream, await broken(world, key, name, stream)))
            with world.check.about(label("an unreachable provider", stream)):
                response = await world.gateway.answer(key, "down:finish", stream=stream)
                openai_error(world.check, response, 502)
                outcomes.append(("down", stream, response))
        await odd_reports(world, key, outcomes)
        with world.check.about("a good request afterwards"):
            world.check.equal((await world.gateway.answer(key, "up:finish")).status, 200, "status")
        await world.settled("alice")
        events = await world.gateway.events()
        for name, stream, response in outcomes:
            with world.check.about("settlement of", label(name, stream)):
                check_settlement(world, name, stream, settlement(events, response.header("x-request-id")))
        await usage_of_errors(world)


def label(name: str, stream: bool) -> str:
    return f"{name} ({'stream' if stream else 'whole'})"


async def dead_provider() -> dict:
    """A provider at a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"down": {"api_base": f"http://127.0.0.1:{free.getsockname()[1]}/v1", "api_key": "test"}}


async def nothing_delivered(world: World, key: str, name: str, stream: bool) -> wire.Response:
    check, label = world.check, world.name("nothing")
    response = await world.gateway.answer(key, f"up:{name}", stream=stream, case=label, seconds=15)
    if name in REFUSED:
        error = openai_error(check, response, REFUSED[name])
        if name == "refuse-400":
            check.equal(error.get("message"), "Unsupported value: 'temperature'.", "the provider's message")
            check.equal(error.get("param"), "temperature", "the provider's param")
        if name == "refuse-401":
            check.that("test" not in (error.get("message") or ""), "the provider's words about our key were passed on")
        if name == "refuse-429":
            check.equal(response.header("retry-after"), "7", "retry-after")
        if name == "refuse-html":
            check.that("<html" not in response.text, "the provider's page was passed on")
    elif stream and response.status == 200:
        # The head may be on its way before the provider fails; then it has to end as a broken stream does.
        check.that(name in ("stall-before-first", "error-event-first"), f"a 200: {response}")
        ends_broken(world, response, aborted=name != "error-event-first")
    else:
        openai_error(check, response, NOTHING[name][0])
    check.that(response.complete or response.status == 200, f"the error did not end properly: {response}")
    check.that(response.header("x-ledger-charged-credits") in (None, "0"), "an error that names a charge")
    check.equal(len(await world.provider.log(label)), 1, "requests that the provider saw")
    return response


async def broken(world: World, key: str, name: str, stream: bool) -> wire.Response:
    check, label = world.check, world.name("broken")
    options = {"stream_options": {"include_usage": True}} if name != "truncate-mid" else {}
    async with world.gateway.chat(key, f"up:{name}", stream=stream, case=label, **(options if stream else {})) as exchange:
        if name in ("reset-mid", "truncate-chunked"):
            await world.provider.received(label)
            if stream:
                await asyncio.wait_for(exchange.events(3), 5)
            await wire.eventually(lambda: world.provider.step(label), "the break is let go")
        response = await asyncio.wait_for(exchange.rest(), 15)
    if not stream:
        openai_error(check, response, BROKEN[name][0])
        check.that(response.complete, f"the error did not end properly: {response}")
        return response
    check.equal(response.status, 200, "status")
    deltas = [e for e in wire.events(response.body) if isinstance(e.json, dict) and e.json.get("choices")]
    check.that(len(deltas) >= 3, f"only {len(deltas)} chunks of the output before the break arrived")
    ends_broken(world, response, aborted=name != "error-event-mid")
    return response


def ends_broken(world: World, response: wire.Response, aborted: bool) -> None:
    """A stream that must not look finished."""
    check, found = world.check, wire.events(response.body)
    check.that(not any(event.is_done for event in found), "there is a [DONE]")
    finished = [e for e in found if isinstance(e.json, dict) for c in e.json.get("choices") or [] if c.get("finish_reason")]
    check.that(not finished, "there is a finish_reason")
    errors = [event.json["error"] for event in found if event.is_error]
    if check.that(errors, f"there is no error event: {response.text[-400:]!r}"):
        check.that(found[-1].is_error, "the error event is not the last")
        for name in ("message", "type", "code"):
            check.that(name in errors[-1], f"`error.{name}` is missing in {errors[-1]}")
    if aborted:
        check.that(not response.complete, "the connection was not aborted: the body looks complete")


def check_settlement(world: World, name: str, stream: bool, event: dict) -> None:
    check = world.check
    if name in REFUSED:
        status = STATUSES.get(name) or REFUSALS[name][0]
        check_released(check, event, {"upstream_refused"}, status)
    elif name == "down":
        check_released(check, event, {"upstream_unreachable"})
    elif name in NOTHING:
        check_released(check, event, NOTHING[name][1])
    elif name in BROKEN and not stream:
        check_released(check, event, {BROKEN[name][1], "upstream_refused"})
    elif name == "truncate-usage":
        data = event["data"]
        check.equal((event["name"], data.get("outcome"), data.get("estimated")), ("request_charged", "upstream_failed", False), "settlement")
        check.equal((data.get("prompt_tokens"), data.get("completion_tokens")), (11, 3), "the last tokens that were reported")
    elif name in BROKEN:
        check_estimate(check, event, {BROKEN[name][1]})


async def odd_reports(world: World, key: str, outcomes: list) -> None:
    """Usage that contradicts itself, or that nobody can believe; and an end without [DONE]."""
    answered = []
    for name in [*ODD_USAGE, "no-done"]:
        for stream in (False, True):
            with world.check.about(label(name, stream)):
                more = {"max_tokens": 10} if name == "overrun" else {}
                response = await world.gateway.answer(key, f"up:{name}", stream=stream, **more)
                world.check.that(response.status == 200 and response.complete, f"the answer was {response}")
                answered.append((name, stream, response))
    await world.settled("alice")
    events = await world.gateway.events()
    for name, stream, response in answered:
        with world.check.about("charge of", label(name, stream)):
            odd_charge(world, name, settlement(events, response.header("x-request-id")))


def odd_charge(world: World, name: str, event: dict) -> None:
    check, data = world.check, event["data"]
    flags = data.get("flags", [])
    if name == "no-done":
        check_charge(check, event, {"prompt_tokens": 11, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 3}})
    elif name in ("negative-usage", "absurd-usage"):
        check.equal(data["estimated"], True, "estimated")
        check.that("rejected_usage" in flags, f"not flagged: {flags}")
        check.that(0 < data["completion_tokens"] <= 8192, f"completion tokens: {data['completion_tokens']}")
        check.that(data["prompt_tokens"] > 0, f"prompt tokens: {data['prompt_tokens']}")
        check_cost(check, data)
    elif name == "cached-gt-prompt":
        check_charge(check, event, USAGES[name])
        check.that("usage_mismatch" in flags, f"not flagged: {flags}")
        check.equal(data["raw_usage"], USAGES[name], "raw usage")
    elif name == "zero-usage":
        check_charge(check, event, USAGES[name])
        check.equal(int(data["credits"]), 0, "credits")
        check.that("zero_usage" in flags, f"not flagged: {flags}")
    else:
        check_charge(check, event, USAGES[name])


async def usage_of_errors(world: World) -> None:
    """The usage log shows what was released as errors that cost nothing."""
    with world.check.about("usage log"):
        rows = await world.gateway.usage("alice")
        errors = [row for row in rows if row["status"] == "error"]
        world.check.that(errors, "there are no errors in it")
        world.check.that(all(float(row["cost"]) == 0 for row in errors), "an error has a cost")
        world.check.that(all(row["error_message"] for row in errors), "an error has no error_message")


@case
async def odd_answers() -> None:
    """An answer that says nothing is not charged, one that is no stream of events is, and one over many lines stays one event."""
    async with World(["up:done-only", "up:foreign-text", "up:pretty"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 10)
        empty = [await gateway.answer(key, "up:done-only", stream=stream) for stream in (False, True)]
        check.equal([response.status for response in empty], [502, 200], "the statuses of answers that say nothing")
        foreign = await gateway.answer(key, "up:foreign-text", stream=True)
        check.that(b"no event" in foreign.body and not foreign.complete, f"the words and a break: {foreign}")
        pretty = await gateway.answer(key, "up:pretty")
        check.equal(pretty.status, 200, "the status of an answer over many lines")
        await world.settled("alice")
        # It reads `replay events` line by line.
        events = await gateway.events()
        for response in empty:
            check_released(check, settlement(events, response.header("x-request-id")), {"upstream_failed"})
        event = settlement(events, foreign.header("x-request-id"))
        check_estimate(check, event, {"upstream_failed"})
        check.that(event["data"]["completion_tokens"] >= 170, f"the delivered words are counted: {event['data']['completion_tokens']}")
        check_charge(check, settlement(events, pretty.header("x-request-id")), USAGE)
        code, out, err = await gateway.replay("events", gateway.database, "--format", "text")
        check.equal(len(out.splitlines()), len(events), "lines of text")
        code, out, err = await gateway.replay("events", gateway.database, "--account", "nobody")
        check.equal((code, out), (3, ""), f"events of nobody: {err}")


@case
async def connect_timeout() -> None:
    """A provider that takes no connections is given up in time, and nothing is charged."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        # A full queue: the kernel drops further connection attempts.
        fillers = [await filler(port) for _ in range(3)]
        providers = {"deaf": {"api_base": f"http://127.0.0.1:{port}/v1", "api_key": "test"}}
        async with World(["deaf:finish"], limits=SHORT, providers=providers) as world:
            key = await world.gateway.user("alice", 10)
            for stream in (False, True):
                with world.check.about("stream" if stream else "whole"):
                    response = await world.gateway.answer(key, "deaf:finish", stream=stream, seconds=8)
                    openai_error(world.check, response, {502, 504})
                    await world.settled("alice")
                    event = settlement(await world.gateway.events(), response.header("x-request-id"))
                    check_released(world.check, event, {"upstream_unreachable", "timeout"})
        for sock in fillers:
            sock.close()


async def filler(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port)), 0.2)
    except asyncio.TimeoutError:
        pass
    return sock


@case
async def stream_duration() -> None:
    """A stream that never ends is ended at its longest duration, and charged for what it delivered."""
    async with World(["up:slow"], limits={"stream_duration_seconds": 2}) as world:
        key = await world.gateway.user("alice", 10)
        async with world.gateway.chat(key, "up:slow", stream=True, case="long") as exchange:
            await world.provider.received("long")
            await world.provider.step("long", 5)
            response = await asyncio.wait_for(exchange.rest(), 15)
        ends_broken(world, response, aborted=True)
        await world.settled("alice")
        check_estimate(world.check, settlement(await world.gateway.events(), response.header("x-request-id")), {"timeout"})
