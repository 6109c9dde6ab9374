"""Answers that end well: what arrives is what was sent, and what is charged is what was reported."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import os
from decimal import Decimal
from pathlib import Path

import scenarios
import wire
from checks import Checks, case
from provider import parts, sent
from scenarios import FRAMES, LINGERING, USAGE, usage_of
from world import DELIVERIES, World, check_charge, check_estimate, settlement

STREAMED = ["finish", "finish-usage-on-finish", "usage-every-chunk", "azure-first", "comments", "big", "zero-usage", "no-usage"]
#: A body as a client may write it: all of this has to reach the provider as it is.
ODDITIES = '"x_unknown":{"price":1.50,"list":[1E2, null],"ü":"\\u00fc"}'


def reported(model: str) -> dict | None:
    return {**USAGE, "x_note": "cumulative"} if model == "usage-every-chunk" else usage_of(model)


def raw_chat(world: World, key: str, model: str, name: str, more: str) -> wire.Exchange:
    """A request whose body is written by hand."""
    body = (
        f'{{ "model" : {json.dumps(model)}, "messages":[{{"role":"user","content":"Grüße, 世界 \\ud83e\\udd8a"}}],\n'
        f' "metadata":{{"case":"{name}"}}, {ODDITIES}{more} }}'
    ).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return wire.Exchange(world.gateway.port, "POST", "/v1/chat/completions", headers, body)


@case
async def streams() -> None:
    """Streams arrive byte for byte whatever their delivery, and are charged as reported."""
    models = [f"{provider}:{name}" for provider in DELIVERIES for name in STREAMED]
    models += [f"up:{name}" for name in ("huge", *FRAMES, *LINGERING)]
    async with World(models) as world:
        key = await world.gateway.user("alice", 1000)
        answered: list[tuple[str, str, str]] = []
        for model in models:
            for asked in (False, True):
                with world.check.about(model, "with include_usage" if asked else "without include_usage"):
                    request = await one_stream(world, key, model, asked)
                    answered.append((model, str(asked), request))
        await charged_as_reported(world, answered)


async def one_stream(world: World, key: str, model: str, asked: bool) -> str:
    check, name = world.check, world.name("stream")
    options = ',"stream":true,"stream_options":{"include_obfuscation":false' + (',"include_usage":true}' if asked else "}")
    async with raw_chat(world, key, model, name, options) as exchange:
        response = await asyncio.wait_for(exchange.rest(), 60)
    assert response.status == 200, f"the answer was {response}"
    check.that(response.complete, f"the body did not end properly: {response.failure}")
    check.that((response.header("content-type") or "").startswith("text/event-stream"), f"content-type: {response.header('content-type')}")
    entry = await world.provider.only(name)
    check.equal(response.body, sent(entry, with_usage_chunk=asked), "the bytes")
    if model.partition(":")[2] not in LINGERING:
        check.equal(entry["state"], "finished", "the provider's end of it")
    received_request(check, entry, model.partition(":")[2])
    return response.header("x-request-id") or ""


def received_request(check: Checks, entry: dict, model: str) -> None:
    """What the provider is asked, and what it must not learn."""
    headers = {name.lower(): value for name, value in entry["headers"]}
    check.equal(headers.get("authorization"), "Bearer test", "the credential that the provider saw")
    check.that("x-anyllm-key" not in headers, "the client's key went to the provider")
    check.that("identity" in headers.get("accept-encoding", "identity"), "a compressed answer was asked for")
    request = entry["json"]
    check.equal(request["model"], model, "the model that the provider saw")
    if request.get("stream"):
        check.equal(request.get("stream_options", {}).get("include_usage"), True, "include_usage towards the provider")
        check.equal(request["stream_options"].get("include_obfuscation"), False, "the client's other stream options")
    bound = request.get("max_tokens", request.get("max_completion_tokens"))
    check.equal(bound, 8192, "the output bound towards the provider")
    raw = base64.b64decode(entry["body_base64"]).decode()
    check.that(ODDITIES in raw, f"unknown fields were written anew: {raw[:600]}")


async def charged_as_reported(world: World, answered: list[tuple[str, str, str]]) -> None:
    await world.settled("alice")
    events = await world.gateway.events()
    for model, asked, request in answered:
        with world.check.about("charge of", model, "asked" if asked == "True" else "not asked"):
            event, usage = settlement(events, request), reported(model.partition(":")[2])
            if usage is None:
                check_estimate(world.check, event, {"finished"})
                continue
            check_charge(world.check, event, usage)
            flags = event["data"].get("flags", [])
            world.check.equal(flags, ["zero_usage"] if model.endswith("zero-usage") else [], "flags")
            world.check.equal(event["data"].get("raw_usage"), usage, "the provider's own usage object in the event")
            world.check.equal(event["data"]["model"], model, "model")
    total = sum(int(e["data"]["credits"]) for e in events if e["name"] == "request_charged")
    balance = (await world.gateway.balance("alice"))["credits_exact"]
    world.check.equal(Decimal(balance), 1000 - Decimal(total).scaleb(-9), "balance")


@case
async def stream_options() -> None:
    """However a client says that it wants no usage chunk, the provider is asked for one and the client gets none."""
    async with World(["up:finish"]) as world:
        key = await world.gateway.user("alice", 100)
        variants = ["", ',"stream_options":null', ',"stream_options":{}', ',"stream_options": { "include_usage" : false }',
                    ',"stream_options":{"include_usage":null,"include_obfuscation":true}', ',"stream_options":{"x":[1.50]}',
                    ',"max_tokens":null,"max_completion_tokens":null']
        for variant in variants:
            with world.check.about(variant or "nothing"):
                name = world.name("options")
                async with raw_chat(world, key, "up:finish", name, ', "stream" : true' + variant) as exchange:
                    response = await asyncio.wait_for(exchange.rest(), 20)
                world.check.equal(response.status, 200, f"status of {response}")
                entry = await world.provider.only(name)
                world.check.equal(response.body, sent(entry, with_usage_chunk=False), "the bytes")
                world.check.equal(entry["json"].get("stream_options", {}).get("include_usage"), True, "include_usage towards the provider")
                if "x" in entry["json"]["stream_options"]:
                    world.check.that('"x":[1.50]' in base64.b64decode(entry["body_base64"]).decode(), "another option was written anew")
                bounds = [entry["json"].get(field) for field in ("max_tokens", "max_completion_tokens")]
                world.check.that(8192 in bounds, f"the output bounds towards the provider: {bounds}")
        with world.check.about("a chunked request"):
            body = b'{"model":"up:finish","messages":[{"role":"user","content":"hi"}],"metadata":{"case":"chunked"}}'
            head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
                    "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").encode()
            chunks = b"".join(b"1\r\n" + body[at: at + 1] + b"\r\n" for at in range(len(body))) + b"0\r\n\r\n"
            response = await wire.request(world.gateway.port, "POST", "/v1/chat/completions", raw=head + chunks)
            world.check.equal(response.status, 200, f"status of {response}")
            await world.provider.only("chunked")


@case
async def whole_answers() -> None:
    """Answers that are no streams arrive byte for byte, with what they cost in the headers."""
    names = [*STREAMED, "huge", "no-done", "echo-request", "slow-auto", "early-hints", "close-delimited"]
    models = [f"{provider}:{name}" for provider in DELIVERIES for name in names]
    async with World(models) as world:
        key = await world.gateway.user("alice", 1000)
        answered = []
        for model in models:
            with world.check.about(model):
                name = world.name("whole")
                async with raw_chat(world, key, model, name, "") as exchange:
                    response = await asyncio.wait_for(exchange.rest(), 60)
                assert response.status == 200 and response.complete, f"the answer was {response}"
                entry = await world.provider.only(name)
                world.check.equal(response.body, sent(entry), "the bytes")
                received_request(world.check, entry, model.partition(":")[2])
                answered.append((model, response))
        await world.settled("alice")
        events = await world.gateway.events()
        for model, response in answered:
            with world.check.about("charge of", model):
                event, usage = settlement(events, response.header("x-request-id")), usage_of(model.partition(":")[2])
                if usage is None:
                    check_estimate(world.check, event, {"finished"})
                else:
                    check_charge(world.check, event, usage)
                world.check.equal(nanos(response.header("x-ledger-charged-credits")), int(event["data"]["credits"]), "x-ledger-charged-credits")
                world.check.equal(nanos(response.header("x-ledger-balance-credits")), int(event["data"]["balance"]), "x-ledger-balance-credits")


def nanos(text: str | None) -> int | None:
    return int(Decimal(text).scaleb(9)) if text else None


@case
async def chunk_by_chunk() -> None:
    """Each chunk reaches the client before the provider sends the next one."""
    async with World(["up:slow", "c1:slow", "crlf:slow", "utf8:slow"]) as world:
        key = await world.gateway.user("alice", 100)
        for model in world.models:
            for asked in (False, True):
                with world.check.about(model, asked):
                    name = world.name("paced")
                    options = {"stream_options": {"include_usage": True}} if asked else {}
                    async with world.gateway.chat(key, model, stream=True, case=name, **options) as exchange:
                        await world.provider.received(name)
                        total = scenarios.SLOW_CHUNKS
                        for count in range(1, total + 1):
                            await world.provider.step(name)
                            arrived = await asyncio.wait_for(exchange.events(count), 5)
                            assert arrived, f"the answer ended before chunk {count}: {exchange.response}"
                        world.check.equal(len(wire.events(exchange.response.body)), total, "chunks so far")
                        await world.provider.step(name, everything=True)
                        response = await asyncio.wait_for(exchange.rest(), 10)
                        world.check.that(response.complete, f"incomplete: {response.failure}")
                        world.check.equal(response.body, sent(await world.provider.only(name), asked), "the bytes")


@case
async def recordings() -> None:
    """Recorded streams of real providers arrive byte for byte and are charged what was billed (RECORDED_STREAMS_DIR)."""
    folder = os.environ.get("RECORDED_STREAMS_DIR")
    if not folder:
        print("skipped: RECORDED_STREAMS_DIR is not set")
        return
    with open(Path(folder, "INDEX.tsv"), encoding="utf-8") as index:
        rows = [row for row in csv.DictReader(index, delimiter="\t") if is_chat_shape(row)]
    assert rows, f"no recordings of the chat shape in {folder}"
    models = [f"{provider}:file:{row['file']}" for row in rows for provider in ("up", "c7")]
    async with World(models, folder=folder) as world:
        key = await world.gateway.user("alice", 1000)
        for model, row in zip(models, [row for row in rows for _ in range(2)]):
            with world.check.about(model):
                name = world.name("recorded")
                options = {"stream_options": {"include_usage": True}}
                response = await world.gateway.answer(key, model, stream=True, case=name, **options)
                world.check.that(response.status == 200 and response.complete, f"the answer was {response}")
                world.check.equal(response.body, b"".join(part.data for part in parts(await world.provider.only(name))), "the bytes")
                await world.settled("alice")
                data = settlement(await world.gateway.events(), response.header("x-request-id"))["data"]
                if not row["prompt_tokens"]:
                    world.check.equal(data["estimated"], True, "estimated")
                    continue
                found = (data["prompt_tokens"], data["cached_tokens"], data["completion_tokens"])
                world.check.equal(found, tuple(int(row[n]) for n in ("prompt_tokens", "cached_tokens", "completion_tokens")), "tokens")


def is_chat_shape(row: dict) -> bool:
    """Whether a recording is of OpenAI's chat shape, with all output inside `completion_tokens`."""
    return row["provider"] in ("openai", "deepseek", "mistral", "azure-xai") and "responses" not in row["file"]
