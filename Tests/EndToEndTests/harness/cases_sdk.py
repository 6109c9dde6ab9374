"""The real `openai` SDK as a client (the interpreter has to have the package)."""

from __future__ import annotations

import asyncio

import scenarios
from checks import case
from world import World, check_charge, settlement

MESSAGES = [{"role": "user", "content": "Wie heißt die Hauptstadt? 首都"}]
TEXT = "".join(scenarios.WORDS)


@case
async def sdk() -> None:
    """The openai SDK chats, streams, cancels, lists the models and reads the errors."""
    try:
        import httpx
        import openai
    except ImportError as error:
        raise AssertionError(f"this interpreter lacks a package: {error}; install requirements.txt") from None

    async with World(["up:finish", "up:slow", "up:refuse-429", "up:error-event-mid", "up:truncate-mid", "c7:finish", "crlf:finish"]) as world:
        key = await world.gateway.user("alice", 100)
        base = f"http://127.0.0.1:{world.gateway.port}/v1"
        # Proxies of the environment must not come between.
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            client = openai.AsyncOpenAI(api_key=key, base_url=base, max_retries=0, http_client=http)
            await chats(world, client)
            await streams(world, client)
            await cancels(world, client)
            await models(world, client)
            await errors(world, client, openai)
            await broken_streams(world, client, openai)
        with world.check.about("the synchronous client"):
            await asyncio.to_thread(synchronous, world, openai, httpx, key, base)


async def chats(world: World, client) -> None:
    check = world.check
    with check.about("chat"):
        raw = await client.chat.completions.with_raw_response.create(model="up:finish", messages=MESSAGES, max_tokens=50)
        answer = raw.parse()
        check.equal(answer.choices[0].message.content, TEXT, "the text")
        check.equal((answer.usage.prompt_tokens, answer.usage.completion_tokens), (11, 8), "usage")
        check.that(raw.headers.get("x-ledger-charged-credits"), "no x-ledger-charged-credits")
        check.equal(getattr(answer, "x_vendor", {}).get("price"), 1.5, "a field that the gateway does not know")
        await world.settled("alice")
        check_charge(check, settlement(await world.gateway.events(), raw.headers.get("x-request-id")), scenarios.USAGE)


async def streams(world: World, client) -> None:
    check = world.check
    for model in ("up:finish", "c7:finish", "crlf:finish"):
        for asked in (False, True):
            with check.about("stream", model, asked):
                options = {"stream_options": {"include_usage": True}} if asked else {}
                stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **options)
                chunks = [chunk async for chunk in stream]
                text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
                check.equal(text, TEXT, "the text")
                usages = [chunk.usage for chunk in chunks if chunk.usage]
                check.equal([usage.completion_tokens for usage in usages], [8] if asked else [], "usage chunks")
                check.equal(chunks[-1].choices == [], asked, "a last chunk without choices")


async def cancels(world: World, client) -> None:
    check = world.check
    with check.about("cancel"):
        stream = await client.chat.completions.create(model="up:slow", messages=MESSAGES, stream=True, metadata={"case": "cancelled"})
        request = stream.response.headers.get("x-request-id")
        await world.provider.received("cancelled")
        await world.provider.step("cancelled", 3)
        received = []
        async for chunk in stream:
            received.append(chunk)
            if len(received) == 3:
                break
        await stream.close()
        await world.provider.step("cancelled", everything=True)
        await world.settled("alice")
        event = settlement(await world.gateway.events(), request)
        check.within(event["data"].get("outcome"), {"client_gone", "finished"}, "outcome")
        check_charge(check, event, scenarios.USAGES["slow"], event["data"].get("outcome"))


async def models(world: World, client) -> None:
    with world.check.about("models"):
        page = await client.models.list()
        world.check.equal(sorted(model.id for model in page.data), sorted(world.models), "ids")
        world.check.equal({model.object for model in page.data}, {"model"}, "objects")
        world.check.equal({model.owned_by for model in page.data}, {"up", "c7", "crlf"}, "owners")


async def errors(world: World, client, openai) -> None:
    check = world.check

    async def error_of(kind, status: int, code: str | None, other=None, **request):
        with check.about(kind.__name__, status):
            try:
                await (other or client).chat.completions.create(**{"model": "up:finish", "messages": MESSAGES, **request})
                check.fail("there was no error")
            except openai.APIStatusError as error:
                check.that(isinstance(error, kind), f"it was {type(error).__name__}: {error}")
                check.equal(error.status_code, status, "status")
                check.that(code is None or error.code == code, f"code: {error.code}")
                check.that(error.request_id, "no request id")
                return error

    poor = client.with_options(api_key=await world.gateway.user("poor"))
    for stream in (False, True):
        error = await error_of(openai.APIStatusError, 402, "insufficient_credits", poor, stream=stream)
        if error is not None:
            check.equal(error.type, "insufficient_quota", "type of the 402")
            check.that(error.body.get("max_tokens_that_fit") == 0 and "needed_credits" in error.body, f"figures of the 402: {error.body}")
    await error_of(openai.AuthenticationError, 401, None, client.with_options(api_key="gw-" + "x" * 64))
    await error_of(openai.NotFoundError, 404, "model_not_found", model="nobody:finish")
    await error_of(openai.BadRequestError, 400, None, max_tokens=0)
    limited = await error_of(openai.RateLimitError, 429, None, model="up:refuse-429")
    check.that(limited is not None and limited.response.headers.get("retry-after") == "7", "retry-after of the 429")


async def broken_streams(world: World, client, openai) -> None:
    """A stream that broke raises in the client: it must never look finished."""
    for model in ("up:error-event-mid", "up:truncate-mid"):
        with world.check.about("a broken stream:", model):
            received = []
            try:
                async for chunk in await client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
                    received.append(chunk)
                world.check.fail("the stream ended as if nothing had happened")
            except openai.APIError as error:
                world.check.that(error.message, "the error has no message")
            world.check.that(len(received) >= 3, f"only {len(received)} chunks came before the error")


def synchronous(world: World, openai, httpx, key: str, base: str) -> None:
    with httpx.Client(trust_env=False, timeout=20) as http:
        client = openai.OpenAI(api_key=key, base_url=base, max_retries=0, http_client=http)
        answer = client.chat.completions.create(model="up:finish", messages=MESSAGES)
        world.check.equal(answer.choices[0].message.content, TEXT, "the text")
        with client.chat.completions.create(model="up:finish", messages=MESSAGES, stream=True) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        world.check.equal(text, TEXT, "the streamed text")
