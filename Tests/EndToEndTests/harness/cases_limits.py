"""Requests that are too much or make no sense: refused with a proper error, at no cost, and without harm to the server."""

from __future__ import annotations

import asyncio
import json

import wire
from checks import case, openai_error
from gateway import MASTER_KEY
from world import World

PATH = "/v1/chat/completions"
CLIENT_ERRORS = set(range(400, 500))
MESSAGES = '"messages":[{"role":"user","content":"hi"}]'


def malformed() -> dict[str, tuple[bytes, set[int]]]:
    """Bodies that no provider should see, and the statuses that are right for them."""
    bad, unknown = {400, 422}, {400, 404}
    good = f'"model":"up:finish",{MESSAGES}'
    texts = {
        "an empty body": ("", bad),
        "no JSON": ("hello", bad),
        "JSON that breaks off": ('{"model":"up:finish","messages":[{"role":"user"', bad),
        "something behind the JSON": (f"{{{good}}} x", bad),
        "two documents": (f"{{{good}}}{{{good}}}", bad),
        "a trailing comma": (f"{{{good},}}", bad),
        "single quotes": ("{'model':'up:finish'}", bad),
        "an array": ("[]", bad),
        "a text": ('"up:finish"', bad),
        "null": ("null", bad),
        "no model": (f"{{{MESSAGES}}}", bad),
        "no messages": ('{"model":"up:finish"}', bad),
        "a model that is a number": (f'{{"model":7,{MESSAGES}}}', bad),
        "a model that is null": (f'{{"model":null,{MESSAGES}}}', bad),
        "an empty model": (f'{{"model":"",{MESSAGES}}}', unknown),
        "a model without provider": (f'{{"model":"nobody-has-it",{MESSAGES}}}', unknown),
        "an unknown provider": (f'{{"model":"nobody:finish",{MESSAGES}}}', unknown),
        "an unpriced model": (f'{{"model":"up:unheard-of",{MESSAGES}}}', {400, 402, 403, 404}),
        "a model with a control character": (f'{{"model":"up:fi\\u0000nish",{MESSAGES}}}', {400, 404, 422}),
        "a very long model": (f'{{"model":"up:{"x" * 5000}",{MESSAGES}}}', {400, 404, 422}),
        "the model twice": (f'{{"model":"up:finish","model":"up:echo-request",{MESSAGES}}}', bad),
        "the model twice, once escaped": (f'{{"model":"up:finish","mod\\u0065l":"up:echo-request",{MESSAGES}}}', bad),
        "max_tokens twice": (f'{{{good},"max_tokens":1,"max_tokens":100000}}', bad),
        "messages that are a text": ('{"model":"up:finish","messages":"hi"}', bad),
        "messages that are an object": ('{"model":"up:finish","messages":{}}', bad),
        "stream that is a text": (f'{{{good},"stream":"yes"}}', bad),
        "max_tokens of 0": (f'{{{good},"max_tokens":0}}', bad),
        "negative max_tokens": (f'{{{good},"max_tokens":-1}}', bad),
        "absurd max_tokens": (f'{{{good},"max_tokens":99999999999999999999999}}', bad),
        "max_tokens beyond 2^31": (f'{{{good},"max_tokens":2147483649}}', bad),
        "broken max_tokens": (f'{{{good},"max_tokens":1.5}}', bad),
        "max_tokens as a text": (f'{{{good},"max_tokens":"100"}}', bad),
        "max_tokens as 1e400": (f'{{{good},"max_tokens":1e400}}', bad),
        "n of 0": (f'{{{good},"n":0}}', bad),
        "n of -1": (f'{{{good},"n":-1}}', bad),
        "n of 10^12": (f'{{{good},"n":1000000000000}}', bad),
        "10,000 open brackets": (f'{{{good},"x":' + "[" * 10_000, bad),
        "10,000 levels of arrays": (f'{{{good},"x":' + "[" * 10_000 + "]" * 10_000 + "}", bad),
        "10,000 levels of objects": (f'{{{good},"x":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}", bad),
        "10,000 levels in messages": ('{"model":"up:finish","messages":' + "[" * 10_000 + "]" * 10_000 + "}", bad),
        "a lone surrogate in the model": (f'{{"model":"up:\\ud800",{MESSAGES}}}', {400, 404, 422}),
    }
    bodies = {name: (text.encode(), statuses) for name, (text, statuses) in texts.items()}
    bodies["invalid UTF-8 in a text"] = (b'{"model":"up:finish","messages":[{"role":"user","content":"\xff\xfe"}]}', bad)
    bodies["an overlong UTF-8 form"] = (b'{"model":"up:finish","messages":[{"role":"user","content":"\xc0\xaf"}]}', bad)
    bodies["invalid UTF-8 in the model"] = (b'{"model":"up:\xff",' + MESSAGES.encode() + b"}", bad | unknown)
    bodies["a raw control character"] = (b'{"model":"up:finish","messages":[{"role":"user","content":"a\x01b"}]}', bad)
    bodies["UTF-16"] = (f"{{{good}}}".encode("utf-16"), bad)
    bodies["zeros"] = (b"\0" * 1000, bad)
    return bodies


@case(name="limits")
async def limits_case() -> None:
    """Malformed, absurd and oversized requests get a 4xx of the right shape, cost nothing, and leave the server well."""
    limits = {"max_body_bytes": 64 << 10, "max_header_bytes": 16 << 10}
    async with World(["up:finish"], limits=limits) as world:
        key = await world.gateway.user("alice", 100_000)
        for name, (body, statuses) in malformed().items():
            with world.check.about(name):
                response = await world.gateway.api("POST", PATH, key=key, body=body)
                openai_error(world.check, response, statuses)
                world.check.that(response.complete, f"the error did not end properly: {response}")
        await too_large(world, key)
        await strange_heads(world, key)
        await other_routes(world, key)
        world.check.equal(await world.provider.log(), [], "requests that the provider saw")
        world.check.equal([e for e in await world.gateway.events() if e["name"] == "hold_placed"], [], "holds")
        with world.check.about("afterwards"):
            world.check.equal((await world.gateway.api("GET", "/health", key=None)).json, {"status": "healthy"}, "health")
            world.check.equal((await world.gateway.answer(key, "up:finish")).status, 200, "a good request's status")


async def too_large(world: World, key: str) -> None:
    check, port = world.check, world.gateway.port
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    large = json.dumps({"model": "up:finish", "messages": [{"role": "user", "content": "x" * (200 << 10)}]}).encode()
    with check.about("a body beyond the limit"):
        openai_error(check, await world.gateway.api("POST", PATH, key=key, body=large), 413)
    with check.about("a chunked body beyond the limit"):
        chunks = b"".join(b"1000\r\n" + large[at: at + 4096] + b"\r\n" for at in range(0, len(large) - 4096, 4096)) + b"0\r\n\r\n"
        openai_error(check, await wire.request(port, "POST", PATH, raw=head.encode() + b"transfer-encoding: chunked\r\n\r\n" + chunks), 413)
    with check.about("an announced body of 1 TB"):
        response = await wire.request(port, "POST", PATH, raw=head.encode() + b"content-length: 1099511627776\r\n\r\n" + large)
        openai_error(check, response, 413)
    with check.about("a large body of a gateway route"):
        value = {"user_id": "big", "alias": "x" * (2 << 20)}
        check.within((await world.gateway.api("POST", "/v1/users", value)).status, {413, 422}, "status")


async def strange_heads(world: World, key: str) -> None:
    """Heads beyond the limit or against HTTP: an answer of 4xx, or a closed connection."""
    check, port = world.check, world.gateway.port
    body = f'{{"model":"up:finish",{MESSAGES}}}'.encode()
    start = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
    end = f"content-length: {len(body)}\r\n\r\n".encode() + body
    heads = {
        "one header of 1 MB": start.encode() + b"x-big: " + b"x" * (1 << 20) + b"\r\n" + end,
        "10,000 headers": start.encode() + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + end,
        "a path of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
        "two content-lengths": start.encode() + b"content-length: 5\r\n" + end,
        "a bad chunk size": start.encode() + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + body,
    }
    for name, raw in heads.items():
        with check.about(name):
            try:
                response = await wire.request(port, "POST", PATH, raw=raw, seconds=10)
                check.that(400 <= response.status < 500, f"the answer was {response}")
            except wire.Broken as broken:
                check.that("no whole answer" not in str(broken), f"neither an answer nor a closed connection: {broken}")
    with check.about("a request that dawdles", ):
        async with wire.Exchange(port, "POST", PATH, raw=start.encode()) as dawdler:
            check.equal((await world.gateway.api("GET", "/health", key=None)).status, 200, "another client's status meanwhile")
            dawdler.drop()


async def other_routes(world: World, key: str) -> None:
    check, gateway = world.check, world.gateway
    with check.about("unknown routes and methods"):
        for method, path in (("GET", "/nothing"), ("POST", "/v1/nothing"), ("DELETE", "/health"), ("GET", PATH), ("PUT", PATH)):
            response = await gateway.api(method, path, key=key)
            check.within(response.status, {404, 405}, f"{method} {path}")
            check.that("detail" in response.json, f"no detail in {response}")
    with check.about("bodies of gateway routes"):
        for path, body in (
            ("/v1/users", b"{"), ("/v1/users", b"[]"), ("/v1/users", b""), ("/v1/users", b'{"user_id":7}'),
            ("/v1/users", b'{"user_id":"' + b"x" * 300 + b'"}'), ("/v1/users", b'{"user_id":"$prices"}'),
            ("/v1/users", b'{"user_id":"a\\u0000b"}'), ("/v1/users", b'{"user_id":""}'),
            ("/v1/keys", b'{"expires_at":"tomorrow"}'), ("/v1/keys", b'{"metadata":7}'),
            ("/v1/billing/topup", b'{"user_id":"alice"}'), ("/v1/billing/topup", b'{"amount":1}'),
            ("/v1/billing/topup", b'{"user_id":"alice","amount":"x"}'), ("/v1/billing/topup", b'{"user_id":"alice","amount":-1}'),
            ("/v1/billing/topup", b'{"user_id":"alice","amount":0}'), ("/v1/billing/topup", b'{"user_id":"alice","amount":1e30}'),
            ("/v1/billing/topup", b'{"user_id":"alice","amount":0.0000000001}'), ("/v1/billing/topup", b'{"user_id":"alice","amount":NaN}'),
            ("/v1/pricing", b'{"model_key":"up:x"}'), ("/v1/pricing", b'{"model_key":"up:x","input_price_per_million":-1,"output_price_per_million":1}'),
            ("/v1/pricing", b'{"model_key":"up:x","input_price_per_million":0.0000001,"output_price_per_million":1}'),
        ):
            response = await gateway.api("POST", path, body=body, key=MASTER_KEY)
            check.within(response.status, {400, 422}, f"status of POST {path} {body[:60]!r}, {response}")
            check.that("detail" in response.json, f"no detail in {response}")
        for query in ("skip=-1", "limit=0", "limit=x", "limit=99999999999999999999"):
            response = await gateway.api("GET", f"/v1/users?{query}")
            check.within(response.status, {400, 422}, f"status of GET /v1/users?{query}")


@case
async def stream_limit() -> None:
    """Requests beyond the limit of streams are refused with retry-after, at no cost, until one has ended."""
    async with World(["up:slow", "up:finish"], limits={"max_concurrent_streams": 3}) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 100)
        running = [gateway.chat(key, "up:slow", stream=True, case=f"running-{n}") for n in range(3)]
        for number, exchange in enumerate(running):
            await exchange.send()
            await world.provider.received(f"running-{number}")
        for stream in (False, True):
            with check.about("the fourth,", "stream" if stream else "whole"):
                response = await gateway.answer(key, "up:finish", stream=stream, case="fourth")
                openai_error(check, response, {429, 503})
                check.that((response.header("retry-after") or "").isdigit(), f"retry-after: {response.header('retry-after')}")
        check.equal(await world.provider.log("fourth"), [], "requests beyond the limit that the provider saw")
        check.equal((await gateway.api("GET", "/health", key=None)).status, 200, "health meanwhile")
        await world.provider.step("running-0", everything=True)
        check.that((await asyncio.wait_for(running[0].rest(), 10)).complete, "the first stream did not end properly")

        async def served() -> bool:
            return (await gateway.answer(key, "up:finish")).status == 200

        await wire.eventually(served, "there is room again")
        for number in (1, 2):
            await world.provider.step(f"running-{number}", everything=True)
            await asyncio.wait_for(running[number].rest(), 10)
        for exchange in running:
            exchange.drop()
        await world.settled("alice")
        holds = [e for e in await gateway.events() if e["name"] == "hold_placed" and e["data"]["model"] == "up:finish"]
        charges = [e for e in await gateway.events() if e["name"] == "request_charged" and e["data"]["model"] == "up:finish"]
        check.equal(len(holds), len(charges), "holds and charges of the others")


@case
async def queue_limit() -> None:
    """A full queue refuses with 503 and retry-after; what was admitted is settled all the same."""
    async with World(["up:finish"], limits={"queue_length": 1}) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 1000)
        statuses: dict[int, int] = {}
        for _ in range(5):
            for response in await asyncio.gather(*(gateway.answer(key, "up:finish", seconds=60) for _ in range(60))):
                statuses[response.status] = statuses.get(response.status, 0) + 1
                if response.status != 200:
                    openai_error(check, response, {429, 503})
                    check.that((response.header("retry-after") or "").isdigit(), f"retry-after: {response.header('retry-after')}")
        check.that(statuses.get(200), f"none was served: {statuses}")
        print(f"queue_limit: statuses {statuses}")
        await world.settled("alice")
        charges = [e for e in await gateway.events() if e["name"] == "request_charged"]
        check.equal(len(charges), statuses.get(200), "charges")
