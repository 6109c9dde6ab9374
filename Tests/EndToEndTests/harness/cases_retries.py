"""What happens when a provider fails before its first byte: another try, another model, or a circuit that opens."""

from __future__ import annotations

import asyncio
import socket

import wire
from checks import case
from dialects import BILLED, TEXT
from cases_providers import check_billed, chunks_of, gathered, whole, world
from world import World, check_released, settlement

LIMITS = {"upstream_attempts": 3, "retry_wait_seconds": 2}
FLAKY = ["flaky-2-503", "flaky-2-500", "flaky-2-429", "flaky-2-reset", "flaky-5-503"]


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def dead(_: str) -> dict:
    return {"kind": "openai", "api_base": f"http://127.0.0.1:{closed_port()}/v1", "api_key": "x"}


async def ask(here: World, key: str, model: str, name: str, is_stream: bool = False, **more) -> wire.Response:
    messages = [{"role": "user", "content": f"[case:{name}] hi"}]
    return await here.gateway.answer(key, model, stream=is_stream, messages=messages, max_tokens=500, **more)


def tries(events: list[dict], base: str) -> list[dict]:
    """The settlements of a request's tries, in their order."""
    return [e for e in events if e["name"] in ("request_charged", "hold_released") and e["data"]["request"].split(".")[0] == base]


@case
async def retries() -> None:
    """What may pass is tried again, each try is in the log, and only the one that answered is charged."""
    models = ["talk", *FLAKY, "refuse-400", "refuse-404", "refuse-401", "refuse-429", "truncate"]
    async with world(models, {"dead": dead}, kinds=["ant", "gem", "oai"], limits=LIMITS) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for provider in ("oai", "ant", "gem-c7"):
            for model in FLAKY[:4]:
                for is_stream in (False, True):
                    with check.about(provider, model, is_stream):
                        await one_retried(here, key, f"{provider}:{model}", is_stream)
        for model, status, count in (("flaky-5-503", 503, 3), ("refuse-400", 400, 1), ("refuse-404", 404, 1), ("refuse-401", 502, 1), ("refuse-429", 429, 1)):
            with check.about(model):
                name = here.name("given-up")
                response = await ask(here, key, f"oai:{model}", name)
                check.equal(response.status, status, f"status of {response}")
                check.equal(len(await here.provider.log(name)), count, "requests that the provider saw")
                await here.settled("alice")
                events = tries(await here.gateway.events(), (response.header("x-request-id") or "").split(".")[0])
                check.equal([event["name"] for event in events], ["hold_released"] * count, "the settlements")
                check.equal(events[-1]["data"]["request"], response.header("x-request-id"), "x-request-id")
                if model == "refuse-429":
                    # It demands more than we wait: that is for the client to know.
                    check.equal(response.header("retry-after"), "7", "retry-after")
        with check.about("nothing listens"):
            response = await ask(here, key, "dead:talk", here.name("dead"))
            check.equal((response.status, response.json["error"]["code"]), (502, "upstream_unreachable"), "the answer")
        with check.about("a stream that breaks is not tried again"):
            name = here.name("broken")
            await ask(here, key, "oai:truncate", name, True)
            check.equal(len(await here.provider.log(name)), 1, "requests that the provider saw")
        await with_a_key(here, key)
        await money_for_one_try(here)


async def one_retried(here: World, key: str, model: str, is_stream: bool) -> None:
    check, name = here.check, here.name("flaky")
    response = await ask(here, key, model, name, is_stream)
    assert response.status == 200 and response.complete, f"the answer was {response}"
    found = gathered(chunks_of(response.body)) if is_stream else whole(response.json)
    check.equal(found["text"], "".join(TEXT), "the text")
    entries = await here.provider.log(name)
    check.equal([entry["violations"] for entry in entries], [[], [], []], "requests that the provider saw")
    request = response.header("x-request-id") or ""
    check.that(request.endswith(".3"), f"x-request-id is {request}")
    await here.settled("alice")
    events = tries(await here.gateway.events(), request.split(".")[0])
    check.equal([event["name"] for event in events], ["hold_released", "hold_released", "request_charged"], "the settlements")
    check.equal([event["data"]["request"] for event in events], [request[:-2], request[:-1] + "2", request], "their requests")
    check_billed(check, events[2], BILLED["talk"])
    reason = "upstream_unreachable" if model.endswith("reset") else "upstream_refused"
    check_released(check, events[0], {reason}, None if model.endswith("reset") else int(model[-3:]))

    async def logged():
        rows = [row for row in await here.gateway.usage("alice") if row["id"].split(".")[0] == request.split(".")[0]]
        return rows if len(rows) == 3 else None

    rows = await wire.eventually(logged, "each try is in the usage log")
    check.equal(sorted(row["status"] for row in rows), ["error", "error", "success"], "their status in the usage log")


async def with_a_key(here: World, key: str) -> None:
    """The same Idempotency-Key gives the answer of the last try again."""
    with here.check.about("a key"):
        name = here.name("key")
        headers = {"idempotency-key": "once"}
        first = await ask(here, key, "oai:flaky-2-503", name, headers=headers)
        again = await ask(here, key, "oai:flaky-2-503", name, headers=headers)
        here.check.equal((first.status, again.status, again.body), (200, 200, first.body), "both answers")
        here.check.equal(again.header("idempotency-replayed"), "true", "idempotency-replayed")
        here.check.equal(len(await here.provider.log(name)), 3, "requests that the provider saw")


async def money_for_one_try(here: World) -> None:
    """A try gives back what it held before the next one holds it."""
    with here.check.about("money for one try"):
        key = await here.gateway.user("poor", "0.012")
        response = await ask(here, key, "oai:flaky-2-503", here.name("poor"))
        here.check.equal(response.status, 200, f"status of {response}")
        here.check.that(float((await here.settled("poor"))["available"]) >= 0, "the balance is below zero")


@case
async def retry_interrupted() -> None:
    """A client that leaves between two tries is not tried for, and shutdown ends the waiting."""
    limits = {"upstream_attempts": 10, "retry_wait_seconds": 300}
    async with world(["flaky-9-503"], kinds=["oai"], limits=limits) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        with check.about("the client leaves"):
            exchange = here.gateway.chat(key, "oai:flaky-9-503", messages=[{"role": "user", "content": "[case:left]"}])
            async with exchange:
                await wire.eventually(lambda: here.provider.log("left"), "the provider is asked")
            await here.settled("alice")
            count = len(await here.provider.log("left"))
            check.that(count < 9, f"the provider was asked {count} times for nobody")
        with check.about("shutdown"):
            exchange = here.gateway.chat(key, "oai:flaky-9-503", messages=[{"role": "user", "content": "[case:stop]"}])
            async with exchange:
                await wire.eventually(lambda: here.provider.log("stop"), "the provider is asked")
                here.gateway.terminate()
                response = await asyncio.wait_for(exchange.rest(), 20)
                check.within(response.status, {503, None}, "the answer at shutdown")
            check.equal(await here.gateway.ended(20), 0, "exit code")


@case
async def fallbacks() -> None:
    """Where a model's provider does not answer, its fallbacks do, in their order, each at its own price."""
    models = ["talk", "refuse-503", "refuse-401", "refuse-400", "refuse-500"]
    chains = {
        "dead:talk": ["oai:refuse-503", "ant:talk"], "oai:refuse-503": ["gem:talk"], "oai:refuse-401": ["ant:talk"],
        "oai:refuse-400": ["ant:talk"], "oai:refuse-500": ["dear:talk"], "gem:refuse-500": ["dear:talk", "ant:no-price", "ant:talk"], "ant:refuse-503": ["oai:talk", "ant:talk"],
    }
    settings = {"models": {name: {"fallbacks": chain} for name, chain in chains.items()}}
    limits = {"upstream_attempts": 2, "retry_wait_seconds": 1}

    def dear(base: str) -> dict:
        return {"kind": "openai", "api_base": f"{base}/strict/v1", "api_key": "x"}

    async with world(models, {"dead": dead, "dear": dear}, kinds=["ant", "gem", "oai"], limits=limits, settings=settings) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for model, answering, count in (
            ("dead:talk", "ant:talk", 5), ("oai:refuse-503", "gem:talk", 3), ("oai:refuse-401", "ant:talk", 2),
        ):
            for is_stream in (False, True):
                with check.about(model, is_stream):
                    name = here.name("chain")
                    response = await ask(here, key, model, name, is_stream)
                    assert response.status == 200 and response.complete, f"the answer was {response}"
                    found = gathered(chunks_of(response.body)) if is_stream else whole(response.json)
                    check.equal(found["text"], "".join(TEXT), "the text")
                    await here.settled("alice")
                    events = tries(await here.gateway.events(), (response.header("x-request-id") or "").split(".")[0])
                    check.equal(len(events), count, "tries")
                    check.equal((events[-1]["name"], events[-1]["data"]["model"]), ("request_charged", answering), "who answered")
                    check_billed(check, events[-1], BILLED["talk"])
        with check.about("the request's own fault"):
            name = here.name("fault")
            response = await ask(here, key, "oai:refuse-400", name)
            check.equal((response.status, len(await here.provider.log(name))), (400, 1), "status and tries")
        with check.about("messages fall back to Anthropic's models only"):
            value = {"model": "ant:refuse-503", "max_tokens": 9, "messages": [{"role": "user", "content": "[case:native] x"}]}
            response = await here.gateway.api("POST", "/v1/messages", value, key=key)
            check.equal((response.status, response.json.get("type")), (200, "message"), f"{response}")
            check.equal([entry["model"] for entry in await here.provider.log("native")], ["refuse-503", "refuse-503", "talk"], "who was asked")
        with check.about("a fallback that is too dear"):
            # USD 10,000 for a million tokens.
            price = {"model_key": "dear:talk", "input_price_per_million": 10000, "output_price_per_million": 10000}
            await here.gateway.wanted("POST", "/v1/pricing", price)
            poor = await here.gateway.user("poor", 1)
            response = await ask(here, poor, "oai:refuse-500", here.name("dear"))
            check.equal((response.status, response.json["error"]["code"]), (502, "upstream_error"), f"the answer {response}")
            check.equal((await here.settled("poor"))["credits_exact"], "1", "the balance")
            response = await ask(here, poor, "gem:refuse-500", here.name("further"))
            check.equal(response.status, 200, f"behind one that is too dear and one without a price: {response}")


@case
async def circuit() -> None:
    """A provider that is down is not asked for a while, everybody is told, and it is found again."""
    limits = {"upstream_attempts": 1, "circuit_failures": 3, "circuit_open_seconds": 2}
    settings = {"models": {"oai:flaky-3-502": {"fallbacks": ["ant:talk"]}}}
    async with world(["flaky-3-502", "refuse-500", "refuse-502", "refuse-503", "talk"], kinds=["oai", "ant", "gem"], limits=limits, settings=settings) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        # One account's own failures take a provider from nobody.
        other = await here.gateway.user("bob", 1000)
        for _ in range(5):
            # Neither an odd request nor one overloaded model takes the provider from everybody.
            await ask(here, key, "gem:refuse-500", here.name("odd"))
            await ask(here, key, "gem:refuse-503", here.name("busy"))
        with check.about("before"):
            check.equal(await providers(here), {"oai": "available", "ant": "available", "gem": "available"}, "readiness")
        for who in (key, other, key):
            response = await ask(here, who, "gem:refuse-502", "down")
            check.equal(response.status, 502, "status while it is closed")
        with check.about("open"):
            await here.settled("alice")
            count = len(await here.gateway.events())
            response = await ask(here, key, "gem:talk", "refused")
            check.equal((response.status, response.json["error"]["code"]), (503, "upstream_unavailable"), f"{response}")
            check.within(response.header("retry-after"), {"1", "2"}, "retry-after")
            check.that("'gem'" in response.json["detail"], "the provider is not named")
            check.equal(len(await here.gateway.events()), count, "events for a request that was refused at once")
            check.equal(await here.provider.log("refused"), [], "requests that the provider saw")
            check.equal((await providers(here))["gem"], "unavailable", "readiness")
            check.equal((await ask(here, key, "oai:talk", here.name("other"))).status, 200, "another provider")

        async def answered():
            return (await ask(here, key, "gem:talk", here.name("again"))).status == 200

        await wire.eventually(answered, "the provider is found again", 20)
        check.equal((await providers(here))["gem"], "available", "readiness in the end")
        await around_it(here, key, other)


async def providers(here: World) -> dict:
    found = {name: state for name, state in (await here.gateway.wanted("GET", "/health/readiness", key=None))["providers"].items()}
    return {name: state for name, state in found.items() if "-" not in name}


async def around_it(here: World, key: str, other: str) -> None:
    """While it is open, the fallback answers at once."""
    check = here.check
    with check.about("around it"):
        for who in (key, other, key):
            response = await ask(here, who, "oai:flaky-3-502", "around")
            check.equal(response.status, 200, "status with a fallback")
        name = here.name("straight")
        response = await ask(here, key, "oai:flaky-3-502", name)
        await here.settled("alice")
        event = settlement(await here.gateway.events(), response.header("x-request-id"))
        check.equal((event["name"], event["data"].get("model")), ("request_charged", "ant:talk"), "who answered")
        check.equal([entry["model"] for entry in await here.provider.log(name)], ["talk"], "who was asked")
