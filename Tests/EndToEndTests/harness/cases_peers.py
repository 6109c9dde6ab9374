"""Real clients against every provider: the `openai` and `anthropic` SDKs, and an agent framework that runs tools in a loop."""

from __future__ import annotations

import json

from checks import case
from cases_providers import check_billed, world
from dialects import BILLED, REASONING, SIGNATURE, TEXT, Billed
from world import World, settlement

ANSWER = "".join(TEXT)
#: A prompt in which a case's name travels to the provider.
HELLO = [{"role": "user", "content": "Guten Tag, 世界"}]


async def charged(here: World, request: str, billed: Billed) -> None:
    await here.settled("alice")
    check_billed(here.check, settlement(await here.gateway.events(), request), billed)


@case
async def openai_sdk() -> None:
    """The openai SDK talks to Gemini, Anthropic and xAI, parses what a schema formed, and uses responses and embeddings."""
    import httpx
    import openai
    from pydantic import BaseModel

    class Trip(BaseModel):
        city: str
        days: int

    async with world(["talk", "think", "tools", "schema", "cut", "error-mid", "embed"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            client = openai.AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{here.gateway.port}/v1", max_retries=0, http_client=http)
            for provider in ("ant", "gem-c7", "xai-utf8"):
                with check.about("chat", provider):
                    raw = await client.chat.completions.with_raw_response.create(model=f"{provider}:think", messages=HELLO, max_tokens=3000, reasoning_effort="low")
                    answer = raw.parse()
                    check.equal(answer.choices[0].message.content, ANSWER, "the text")
                    check.equal(answer.choices[0].message.reasoning_content, "".join(REASONING), "the reasoning")
                    await charged(here, raw.headers["x-request-id"], BILLED["think"])
                with check.about("parse", provider):
                    parsed = await client.chat.completions.parse(model=f"{provider}:schema", messages=HELLO, response_format=Trip)
                    check.equal(parsed.choices[0].message.parsed, Trip(city="Paris", days=7), "what a schema formed")
                with check.about("stream", provider):
                    options = {"include_usage": True}
                    chunks = [c async for c in await client.chat.completions.create(model=f"{provider}:talk", messages=HELLO, stream=True, stream_options=options)]
                    check.equal("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), ANSWER, "the text")
                    check.equal((chunks[-1].choices, chunks[-1].usage.completion_tokens), ([], 17), "the usage chunk")
                with check.about("an error in the stream", provider):
                    try:
                        async for _ in await client.chat.completions.create(model=f"{provider}:error-mid", messages=HELLO, stream=True):
                            pass
                        check.fail("the stream ended as if nothing had happened")
                    except openai.APIError as error:
                        check.that("overloaded" in error.message, f"the message: {error.message}")
            await responses(here, client)
            with check.about("embeddings"):
                found = await client.embeddings.create(model="oai:embed", input=["eins", "zwei"], encoding_format="float")
                check.equal([row.embedding for row in found.data], [[0.5, -0.25]] * 2, "the vectors")


async def responses(here: World, client) -> None:
    check = here.check
    with check.about("responses"):
        answer = await client.responses.create(model="oai:talk", input="Tag")
        check.equal((answer.output_text, answer.usage.output_tokens), (ANSWER, 17), "text and usage")
        pieces, last = "", None
        async for event in await client.responses.create(model="oai-c7:talk", input="Tag", stream=True):
            pieces, last = pieces + (event.delta if event.type == "response.output_text.delta" else ""), event
        check.equal((pieces, last.type), (ANSWER, "response.completed"), "the stream")
        cut = await client.responses.create(model="oai:cut", input="Tag", max_output_tokens=16)
        check.equal((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"), "an answer that was cut")


@case
async def anthropic_sdk() -> None:
    """The anthropic SDK sends messages, streams them, uses tools, and reads the errors."""
    import anthropic

    async with world(["talk", "think", "tools", "refuse-429", "refuse-529", "error-mid"], kinds=["ant"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        async with anthropic.DefaultAsyncHttpxClient(trust_env=False, timeout=20) as http:
            client = anthropic.AsyncAnthropic(api_key=key, base_url=f"http://127.0.0.1:{here.gateway.port}", max_retries=0, http_client=http)
            with check.about("a message"):
                raw = await client.messages.with_raw_response.create(
                    model="ant:think", max_tokens=3000, messages=HELLO, thinking={"type": "enabled", "budget_tokens": 1024})
                answer = await raw.parse()
                check.equal([block.type for block in answer.content], ["thinking", "text"], "the blocks")
                check.equal((answer.content[0].signature, answer.content[1].text), (SIGNATURE, ANSWER), "signature and text")
                await charged(here, raw.headers["x-request-id"], BILLED["think"])
            with check.about("a stream"):
                async with client.messages.stream(model="ant-utf8:talk", max_tokens=3000, messages=HELLO) as stream:
                    text = "".join([piece async for piece in stream.text_stream])
                    final = await stream.get_final_message()
                check.equal((text, final.usage.output_tokens, final.stop_reason), (ANSWER, 17, "end_turn"), "text, usage and reason")
            with check.about("tools"):
                await message_tools(here, client)
            await message_errors(here, client, anthropic)


async def message_tools(here: World, client) -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
    messages: list = [*HELLO]
    first = await client.messages.create(model="ant:tools", max_tokens=900, messages=messages, tools=tools)
    calls = [block for block in first.content if block.type == "tool_use"]
    here.check.equal([call.input for call in calls], [{"city": "Paris"}, {"city": "東京"}], "the calls")
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": call.input["city"] + "!"} for call in calls]
    content = [block.model_dump(exclude_none=True) for block in first.content]
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    last = await client.messages.create(model="ant:tools", max_tokens=900, messages=messages, tools=tools)
    here.check.equal(last.content[0].text, "So: Paris! & 東京!", "the answer to the results")


async def message_errors(here: World, client, anthropic) -> None:
    check = here.check

    async def error_of(kind, status: int, other=None, **request) -> None:
        with check.about(kind.__name__, status):
            try:
                await (other or client).messages.create(**{"model": "ant:talk", "max_tokens": 9, "messages": HELLO, **request})
                check.fail("there was no error")
            except anthropic.APIStatusError as error:
                check.that(isinstance(error, kind), f"it was {type(error).__name__}: {error}")
                check.equal(error.status_code, status, "status")
                check.that(error.body["error"]["message"], "there is no message")

    await error_of(anthropic.AuthenticationError, 401, client.with_options(api_key="gw-" + "x" * 64))
    await error_of(anthropic.APIStatusError, 402, client.with_options(api_key=await here.gateway.user("poor")))
    await error_of(anthropic.NotFoundError, 404, model="nobody:talk")
    await error_of(anthropic.BadRequestError, 400, max_tokens=0)
    await error_of(anthropic.RateLimitError, 429, model="ant:refuse-429")
    await error_of(anthropic.InternalServerError, 503, model="ant:refuse-529")
    with check.about("an error in the stream"):
        try:
            async with client.messages.stream(model="ant:error-mid", max_tokens=9, messages=HELLO) as stream:
                async for _ in stream:
                    pass
            check.fail("the stream ended as if nothing had happened")
        except anthropic.APIStatusError as error:
            check.that("overloaded" in str(error), f"the error: {error}")


@case
async def agents() -> None:
    """An agent of a well-known framework runs its tools in a loop with every provider, streamed and not."""
    import httpx
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with world(["tools"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            provider = OpenAIProvider(base_url=f"http://127.0.0.1:{here.gateway.port}/v1", api_key=key, http_client=http)
            for name in ("ant", "ant-c1", "gem", "gem-utf8", "xai", "oai-c7"):
                with check.about(name):
                    agent = Agent(OpenAIChatModel(f"{name}:tools", provider=provider), instructions="Antworte.")

                    @agent.tool_plain
                    def weather(city: str, days: int) -> str:
                        """The weather of a city for some days."""
                        return f"{city}, {days}: 20 °C"

                    @agent.tool_plain
                    def now() -> str:
                        """The time."""
                        return "正午"

                    result = await agent.run("Wetter?")
                    check.equal(result.output, "So: Paris, 7: 20 °C & 正午", "the answer")
                    async with agent.run_stream_events("Wetter?") as stream:
                        last = [event async for event in stream][-1]
                    check.equal(last.result.output, "So: Paris, 7: 20 °C & 正午", "the streamed answer")
        await here.settled("alice")
        events = [e for e in await here.gateway.events() if e["name"] == "request_charged"]
        check.equal(len(events), 6 * 4, "requests that were charged")
        for entry in await here.provider.log():
            check.equal(entry["violations"], [], f"what {entry['path']} does not accept: {json.dumps(entry['json'])[:300]}")
