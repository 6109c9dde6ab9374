"""The stand-in provider by itself: what the other cases believe of it has to be true."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import scenarios
import wire
from checks import Checks, case
from provider import Provider, parts, sent

PREFIXES = ["/v1", *(f"/{delivery}/v1" for delivery in scenarios.DELIVERIES)]
BROKEN_BODIES = {"reset-mid", "truncate-chunked"}
STALLS = {"stall-mid", "stall-before-first", "stall-before-head", "stall-in-error"}


def body(model: str, case: str, stream: bool, usage: bool = False) -> dict:
    request: dict = {"model": model, "messages": [], "metadata": {"case": case}}
    if stream:
        request["stream"] = True
    if usage:
        request["stream_options"] = {"include_usage": True}
    return request


def exchange(provider: Provider, prefix: str, request: dict) -> wire.Exchange:
    data = json.dumps(request).encode()
    return wire.Exchange(provider.port, "POST", f"{prefix}/chat/completions", {"content-type": "application/json"}, data)


@case
async def upstream() -> None:
    """The stand-in provider sends what its scenarios and deliveries say, and logs what it saw."""
    check = Checks()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "small.sse").write_bytes(b'data: {"choices":[]}\n\ndata: [DONE]\n\n')
        provider = await Provider(folder).start()
        try:
            deliveries(check)
            await ordinary_answers(check, provider)
            await broken_answers(check, provider)
            await paced_answers(check, provider)
            await recorded_answers(check, provider)
            await vanishing_clients(check, provider)
        finally:
            await provider.stop()
    check.raise_problems()


async def ordinary_answers(check: Checks, provider: Provider) -> None:
    special = BROKEN_BODIES | STALLS | {"reset-before-head", "slow", "flood", *scenarios.LINGERING, *scenarios.ODD}
    for prefix in PREFIXES:
        for model in scenarios.NAMES:
            if model in special or (model == "slow-auto" and prefix != "/v1"):
                continue
            for stream, usage in ((False, False), (True, False), (True, True)):
                with check.about(prefix, model, "stream" if stream else "whole", "usage" if usage else ""):
                    name = f"{prefix}-{model}-{stream}-{usage}"
                    request = body(model, name, stream, usage)
                    async with exchange(provider, prefix, request) as call:
                        response = await asyncio.wait_for(call.rest(), 20)
                    check.that(response.complete, f"incomplete: {response.failure}")
                    expected = scenarios.answer(model, request)
                    if not (stream is False and model == "truncate-mid"):
                        check.equal(response.status, expected.status, "status")
                    entry = await provider.only(name)
                    check.equal(sent(entry), response.body, "the log's bytes and the received ones")
                    check.equal(entry["json"], request, "the logged request")
                    if stream and response.status == 200 and model not in ("ok-html", "ok-gzip"):
                        stream_shape(check, model, response.body, usage, prefix)
        await provider.reset()
    check.equal(await provider.log(), [], "the log after a reset")


def stream_shape(check: Checks, model: str, data: bytes, usage: bool, prefix: str) -> None:
    found = wire.events(data)
    joined = b"".join(event.raw for event in found)
    check.equal(joined, data, "events make up the whole body")
    check.equal(b"\r\n" in data, prefix == "/crlf/v1", "CRLF")
    check.that(b"\n" not in data.replace(b"\r\n", b"") if prefix == "/crlf/v1" else True, "a bare LF among CRLFs")
    check.equal(found[-1].is_done, model not in {"no-done", "truncate-mid", "truncate-usage", *scenarios.ERRORS}, "[DONE] at the end")
    documents = [event.json for event in found if event.data and not event.is_done]
    check.that(all(isinstance(document, dict) for document in documents), "every data is a JSON object")
    only = [d for d in documents if d.get("choices") == [] and d.get("usage")]
    cut_off = {"no-usage", "finish-usage-on-finish", "usage-every-chunk", "truncate-mid", "truncate-usage", *scenarios.ERRORS}
    check.equal(len(only), 1 if usage and model not in cut_off else 0, "usage-only chunks")


def deliveries(check: Checks) -> None:
    """The cuts are where the deliveries promise them, and lose nothing."""
    data = b"".join(part.data for part in scenarios.answer("finish", body("finish", "x", True)).parts)
    for delivery, size in (("c1", 1), ("c7", 7)):
        check.equal({len(piece) for piece in scenarios.pieces(data, delivery)[:-1]}, {size}, f"sizes of {delivery}")
    broken = 0
    for piece in scenarios.pieces(data, "utf8"):
        try:
            piece.decode()
        except UnicodeDecodeError:
            broken += 1
    check.that(broken > 20, f"only {broken} pieces break a character")
    check.that(all(piece.count(b"\n") <= 2 for piece in scenarios.pieces(data, "utf8")), "a piece has more than an event's end")
    for delivery in ["events", *scenarios.DELIVERIES]:
        for payload in (data, data * 40, b"", b"x"):
            check.equal(b"".join(scenarios.pieces(payload, delivery)), payload, f"all pieces of {delivery}")


async def broken_answers(check: Checks, provider: Provider) -> None:
    for stream in (False, True):
        for model in sorted(BROKEN_BODIES | {"reset-before-head"}):
            with check.about(model, "stream" if stream else "whole"):
                name = f"broken-{model}-{stream}"
                async with exchange(provider, "/v1", body(model, name, stream)) as call:
                    try:
                        await call.head()
                        check.that(model != "reset-before-head", "there was a head")
                        check.that(await call.until(lambda data: len(data) > 0), "no output before the break")
                        if model in BROKEN_BODIES:
                            # What has not been read when the reset comes is lost.
                            await wire.eventually(lambda: has_sent(provider, name, 4 if stream else 1), "all parts are sent")
                            expected = sent(await provider.only(name))
                            check.that(await call.until(lambda data: len(data) >= len(expected)), "it broke too early")
                            check.equal(await provider.step(name), 1, "answers that were stepped")
                        response = await call.rest()
                        check.that(not response.complete, "the body ended properly")
                        check.equal(response.body, sent(await provider.only(name)), "what came before the break")
                        if model == "reset-mid":
                            check.that("reset" in response.failure.lower(), f"not a reset: {response.failure}")
                    except wire.Broken as error:
                        check.that(model == "reset-before-head", f"no head: {error}")
                        check.that("reset" in str(error).lower(), f"not a reset: {error}")
        for model in sorted(STALLS):
            with check.about(model, "stream" if stream else "whole"):
                name = f"stalled-{model}-{stream}"
                async with exchange(provider, "/v1", body(model, name, stream)) as call:
                    if model != "stall-before-head":
                        await call.head()

                    async def stalls():
                        return (await provider.received(name))["state"] == "stalled"

                    await wire.eventually(stalls, "it stalls")
                    expected = sent(await provider.only(name))
                    if model != "stall-before-head":
                        await call.until(lambda data: len(data) >= len(expected))
                        check.equal(call.response.body, expected, "what came before")
                        check.that(not call.response.complete, "it ended")
                    try:
                        await asyncio.wait_for(call.some() if call.response else call.head(), 0.1)
                        check.fail("something more came")
                    except asyncio.TimeoutError:
                        pass
    await wire.eventually(lambda: idle(provider), "nothing is under way any more")


async def has_sent(provider: Provider, name: str, count: int) -> bool:
    return (await provider.received(name))["parts"] == count


async def idle(provider: Provider) -> bool:
    return (await provider.active())["active"] == 0


async def paced_answers(check: Checks, provider: Provider) -> None:
    with check.about("slow"):
        request = body("slow", "paced", True, usage=True)
        total = len(scenarios.answer("slow", request).parts)
        check.equal(total, scenarios.SLOW_CHUNKS + 2, "events of slow")
        async with exchange(provider, "/v1", request) as call:
            await call.head()
            for count in range(1, 6):
                check.equal(len(wire.events(call.response.body)), count - 1, "events before the step")
                check.equal(await provider.step("paced"), 1, "answers that were stepped")
                check.that(await call.events(count), "it ended early")
            check.equal((await provider.active())["active"], 1, "answers under way")
            await provider.step("paced", everything=True)
            response = await call.rest()
            check.that(response.complete, "incomplete")
            check.equal(len(wire.events(response.body)), total, "events in the end")
        check.equal(await provider.step("paced"), 0, "answers that a late step reaches")
    with check.about("slow, whole"):
        async with exchange(provider, "/v1", body("slow", "paced-whole", False)) as call:
            await provider.received("paced-whole")
            await provider.step("paced-whole")
            check.equal((await call.rest()).status, 200, "status")


async def recorded_answers(check: Checks, provider: Provider) -> None:
    with check.about("a recorded file"):
        async with exchange(provider, "/c1/v1", body("file:small.sse", "file", True)) as call:
            response = await call.rest()
        check.equal(response.body, b'data: {"choices":[]}\n\ndata: [DONE]\n\n', "its bytes")
        check.equal(len(parts(await provider.only("file"))), 2, "its parts")
        async with exchange(provider, "/v1", body("file:../../etc/passwd", "escape", True)) as call:
            check.equal((await call.rest()).status, 404, "status of a file outside")


async def vanishing_clients(check: Checks, provider: Provider) -> None:
    before = (await provider.active())["aborted"]
    for reset in (False, True):
        async with exchange(provider, "/v1", body("slow", f"gone-{reset}", True)) as call:
            await call.head()
            call.drop(reset)
    await wire.eventually(lambda: gone(provider, before + 2), "vanished clients are counted")
    check.equal((await provider.active())["active"], 0, "answers under way")


async def gone(provider: Provider, count: int) -> bool:
    return (await provider.active())["aborted"] == count
