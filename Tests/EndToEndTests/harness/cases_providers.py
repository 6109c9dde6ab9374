"""Every provider in its own form: what it is asked, what the client gets of its answer, and what is charged."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import dialects
import wire
from checks import Checks, case
from dialects import BILLED, REASONING, SIGNATURE, TEXT, Billed
from provider import sent
from world import World, check_released, settlement

KINDS = {"ant": ("anthropic", "v1"), "gem": ("gemini", "v1beta"), "xai": ("xai", "xai/v1"), "oai": ("openai", "strict/v1")}
DELIVERIES = ["events", "whole", "c1", "c7", "utf8", "crlf"]
#: USD per million tokens, and per thousand searches, of every model here: no two alike.
PRICE = {
    "input_price_per_million": 1.0, "output_price_per_million": 2.0, "cached_price_per_million": 0.25,
    "cache_write_price_per_million": 1.25, "cache_write_1h_price_per_million": 3.0, "web_search_price_per_thousand": 10,
}
TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "The weather.", "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}},
    {"type": "function", "function": {"name": "now"}},
]
#: A prompt that is as long as what is billed for it.
PADDING = "lorem ipsum " * 200
FINISHES = {"talk": "stop", "think": "stop", "cut": "length", "filtered": "content_filter", "cached": "stop", "schema": "stop", "many": "stop"}


def world(models: list[str], providers: dict | None = None, kinds: list[str] | None = None, **more) -> World:
    """A world whose providers are of each kind, in each delivery: `ant`, `ant-c1`, `ant-c7` …"""
    instance = World([], **more)
    start = instance.provider.start

    async def start_and_configure():
        await start()
        base = f"http://127.0.0.1:{instance.provider.port}"
        found = {}
        for short in kinds or KINDS:
            kind, path = KINDS[short]
            for delivery in DELIVERIES:
                place = path if delivery == "events" else f"{delivery}/{path}"
                name = short if delivery == "events" else f"{short}-{delivery}"
                found[name] = {"kind": kind, "api_base": f"{base}/{place}", "api_key": "sk-secret-7"}
        settings = instance._options.setdefault("settings", {})
        settings["providers"] = found | {name: value(base) for name, value in (providers or {}).items()}
        settings["pricing"] = {f"{name}:{model}": PRICE for name in settings["providers"] for model in models}

    instance.provider.start = start_and_configure
    return instance


def check_billed(check: Checks, event: dict, billed: Billed, flags: list[str] | None = None) -> None:
    if not check.equal(event["name"], "request_charged", f"the settlement ({event['data'].get('reason')})"):
        return
    data = event["data"]
    found = Billed(
        data["prompt_tokens"], data["completion_tokens"], data["cached_tokens"], data["cache_write_tokens"] + data["cache_write_1h_tokens"],
        data["cache_write_1h_tokens"], data.get("web_searches", 0), billed.reasoning)
    check.equal(found, billed, "what is billed")
    check.equal(data.get("flags", []), flags or [], "flags")
    plain = billed.prompt - billed.cached - billed.written
    cost = 1_000_000 * plain + 250_000 * billed.cached + 1_250_000 * (billed.written - billed.written_hour)
    cost += 3_000_000 * billed.written_hour + 2_000_000 * billed.completion + 10_000_000_000 * billed.searches
    check.equal(int(data["cost_pico_usd"]), cost, "cost in pico-USD")


def chunks_of(body: bytes) -> list[dict]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def gathered(chunks: list[dict], index: int = 0) -> dict:
    """What a client makes of a stream: text, reasoning, calls, finish reason and usage."""
    found: dict = {"text": "", "reasoning": "", "calls": {}, "finish": None, "usage": None, "blocks": []}
    for chunk in chunks:
        found["usage"] = chunk.get("usage") or found["usage"]
        for choice in chunk.get("choices", []):
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            found["text"] += delta.get("content") or ""
            found["reasoning"] += delta.get("reasoning_content") or ""
            found["blocks"] += delta.get("thinking_blocks", [])
            found["finish"] = choice["finish_reason"] or found["finish"]
            for call in delta.get("tool_calls", []):
                known = found["calls"].setdefault(call["index"], {"id": call.get("id"), "name": call["function"].get("name"), "arguments": ""})
                known["arguments"] += call["function"]["arguments"]
                known["extra"] = call.get("extra_content") or known.get("extra")
    return found


def whole(answer: dict, index: int = 0) -> dict:
    message = answer["choices"][index]["message"]
    calls = {
        place: {"id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"], "extra": call.get("extra_content")}
        for place, call in enumerate(message.get("tool_calls") or [])}
    return {
        "text": message["content"] or "", "reasoning": message.get("reasoning_content") or "", "calls": calls,
        "finish": answer["choices"][index]["finish_reason"], "usage": answer["usage"], "blocks": message.get("thinking_blocks", []),
    }


def check_usage(check: Checks, usage: dict | None, billed: Billed, kind: str) -> None:
    if usage is None:
        return check.fail("there is no usage")
    completion = billed.completion - (billed.reasoning if kind == "xai" else 0)
    found = (usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"])
    check.equal(found, (billed.prompt, completion, billed.cached), "usage for the client")


async def ask(world: World, key: str, model: str, name: str, is_stream: bool, **more) -> wire.Response:
    messages = [{"role": "system", "content": f"[case:{name}] {PADDING}"}, {"role": "user", "content": "Zähle! 数えて"}]
    return await world.gateway.answer(key, model, stream=is_stream, messages=messages, **more)


@case
async def translated_answers() -> None:
    """Each provider's answers arrive in OpenAI's form, whatever their delivery, and are charged what it bills."""
    models = ["talk", "think", "cut", "filtered", "cached", "schema"]
    async with world(models) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        answered = []
        for short in KINDS:
            for delivery in DELIVERIES:
                provider = short if delivery == "events" else f"{short}-{delivery}"
                for model in models:
                    for is_stream in (False, True):
                        with check.about(f"{provider}:{model}", "stream" if is_stream else "whole"):
                            response = await one_answer(here, key, short, f"{provider}:{model}", is_stream)
                            answered.append((f"{provider}:{model}", model, response.header("x-request-id")))
        await here.settled("alice")
        events = await here.gateway.events()
        for name, model, request in answered:
            with check.about("charge of", name):
                billed = BILLED[model]
                if not name.startswith("ant"):
                    # Only Anthropic tells writes to a cache apart.
                    billed = Billed(billed.prompt, billed.completion, billed.cached, reasoning=billed.reasoning)
                event = settlement(events, request)
                check_billed(check, event, billed)
                if name.startswith("xai"):
                    stated = int(event["data"].get("provider_cost_pico_usd", 0))
                    check.equal(stated, 100 * dialects.ticks(billed), "the provider's own cost")


async def one_answer(here: World, key: str, short: str, model: str, is_stream: bool) -> wire.Response:
    check, name, kind = here.check, here.name("answer"), KINDS[short][0]
    scenario = model.partition(":")[2]
    more: dict = {"max_tokens": 4000}
    if scenario == "think":
        more["reasoning_effort"] = "low"
    if scenario == "schema":
        schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
        more["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    response = await ask(here, key, model, name, is_stream, **more)
    assert response.status == 200 and response.complete, f"the answer was {response}"
    entry = await here.provider.only(name)
    check.equal(entry["violations"], [], "what the provider does not accept")
    found = gathered(chunks_of(response.body)) if is_stream else whole(response.json)
    text = {"cut": "".join(TEXT[:2]), "filtered": TEXT[0], "schema": '{"city": "Paris", "days": 7}'}.get(scenario, "".join(TEXT))
    check.equal(found["text"], text, "the text")
    check.equal(found["reasoning"], "".join(REASONING) if scenario == "think" else "", "the reasoning")
    check.equal(found["finish"], FINISHES[scenario], "the finish reason")
    if kind in ("anthropic", "gemini"):
        # What we build has usage on the finish chunk, without being asked.
        check_usage(check, found["usage"], BILLED[scenario], kind)
        if is_stream:
            check.that(response.body.endswith(b"data: [DONE]\n\n"), "the stream does not end with [DONE]")
            check.equal((response.header("content-type") or "").partition(";")[0], "text/event-stream", "content-type")
    elif is_stream:
        check.equal(response.body, sent(entry, with_usage_chunk=False), "the bytes of a stream that passes")
    if kind == "anthropic" and scenario == "think":
        check.equal([block.get("signature") for block in found["blocks"]], [SIGNATURE], "the signature of the thinking")
    return response


@case
async def tool_loops() -> None:
    """Tools are offered, called in parallel, answered, and the conversation goes on, in each provider's own form."""
    async with world(["tools"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for provider in ("ant", "ant-c1", "gem", "gem-c7", "xai", "oai-utf8"):
            for is_stream in (False, True):
                with check.about(provider, "stream" if is_stream else "whole"):
                    await one_loop(here, key, provider, is_stream)
        for provider, choice, more, wanted in (
            ("ant", "none", {}, []), ("gem", "none", {}, []), ("ant", "required", {"parallel_tool_calls": False}, ["weather"]),
            ("ant", {"type": "function", "function": {"name": "now"}}, {}, ["now"]),
            ("gem", {"type": "function", "function": {"name": "now"}}, {}, ["now"]), ("gem", "auto", {}, ["weather", "now"]),
        ):
            with check.about(provider, "tool_choice", choice):
                response = await ask(here, key, f"{provider}:tools", here.name("choice"), False, tools=TOOLS, tool_choice=choice, **more)
                calls = whole(response.json)["calls"] if response.status == 200 else response
                check.equal([call["name"] for call in calls.values()], wanted, "the calls")


async def one_loop(here: World, key: str, provider: str, is_stream: bool) -> None:
    check = here.check
    name = here.name("loop")
    messages: list[dict] = [{"role": "developer", "content": f"[case:{name}]"}, {"role": "user", "content": "Wetter?"}]
    more = {"tools": TOOLS, "max_tokens": 3000, "reasoning_effort": "low"}
    first = await here.gateway.answer(key, f"{provider}:tools", stream=is_stream, messages=messages, **more)
    assert first.status == 200, f"the first answer was {first}"
    found = gathered(chunks_of(first.body)) if is_stream else whole(first.json)
    check.equal(found["finish"], "tool_calls", "the finish reason")
    check.equal([call["name"] for call in found["calls"].values()], ["weather", "now"], "the calls")
    arguments = [json.loads(call["arguments"]) for call in found["calls"].values()]
    check.equal(arguments, [{"city": "Paris", "days": 7}, {}], "the arguments")
    # As a client sends it back: an assistant's message with calls and no content, then the results.
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]},
         **({"extra_content": call["extra"]} if call.get("extra") else {})}
        for call in found["calls"].values()]
    assistant = {"role": "assistant", "content": found["text"] or None, "tool_calls": calls}
    if found["blocks"]:
        assistant["thinking_blocks"] = found["blocks"]
    messages += [assistant]
    messages += [{"role": "tool", "tool_call_id": call["id"], "content": text} for call, text in zip(calls, ["20 °C", "正午"])]
    second = await here.gateway.answer(key, f"{provider}:tools", stream=is_stream, messages=messages, **more)
    assert second.status == 200, f"the second answer was {second}"
    found = gathered(chunks_of(second.body)) if is_stream else whole(second.json)
    check.equal(found["text"], "So: 20 °C & 正午", "the answer to the results")
    entries = await here.provider.log(name)
    check.equal([entry["violations"] for entry in entries], [[], []], "what the provider does not accept")
    raw = json.dumps(entries[1]["json"], ensure_ascii=False)
    if not provider.startswith(("xai", "oai")):
        check.that(SIGNATURE in raw, "the signature of the thinking did not come back")


@case
async def provider_features() -> None:
    """Several choices, pictures, blocked prompts, caches and searches; what cannot be translated is refused by name and costs nothing."""
    models = ["talk", "many", "blocked", "search", "cached", "whole"]
    async with world(models, kinds=["ant", "gem", "oai"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for is_stream in (False, True):
            with check.about("many", is_stream):
                response = await ask(here, key, "gem:many", here.name("many"), is_stream, n=3)
                found = [gathered(chunks_of(response.body), i) if is_stream else whole(response.json, i) for i in range(3)]
                check.equal([choice["text"] for choice in found], ["".join(TEXT)] * 3, "the choices")
                check_usage(check, found[2]["usage"], BILLED["many"], "gemini")
            with check.about("blocked", is_stream):
                response = await ask(here, key, "gem:blocked", here.name("blocked"), is_stream)
                found = gathered(chunks_of(response.body)) if is_stream else whole(response.json)
                check.equal((found["finish"], found["text"]), ("content_filter", ""), "the answer")
                await here.settled("alice")
                check_billed(check, settlement(await here.gateway.events(), response.header("x-request-id")), BILLED["blocked"])
        for provider in ("gem", "ant"):
            with check.about("a whole answer where a stream was asked for", provider):
                response = await ask(here, key, f"{provider}:whole", here.name("whole"), True)
                found = gathered(chunks_of(response.body))
                check.equal((found["text"], found["finish"]), ("".join(TEXT), "stop"), "the stream")
                await here.settled("alice")
                check_billed(check, settlement(await here.gateway.events(), response.header("x-request-id")), BILLED["talk"])
        await pictures(here, key)
        await untranslatable(here, key)


#: The header of a picture of one pixel: it says how large it is.
HEADER = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
PIXEL = f"data:image/png;base64,{HEADER}"


async def pictures(here: World, key: str) -> None:
    for provider, wanted in (
        ("ant", {"type": "base64", "media_type": "image/png", "data": HEADER}),
        ("gem", {"mimeType": "image/png", "data": HEADER}),
    ):
        with here.check.about("a picture for", provider):
            name = here.name("picture")
            parts = [{"type": "text", "text": f"[case:{name}]"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
            response = await here.gateway.answer(key, f"{provider}:talk", messages=[{"role": "user", "content": parts}])
            here.check.equal(response.status, 200, f"status of {response}")
            entry = await here.provider.only(name)
            here.check.equal(entry["violations"], [], "what the provider does not accept")
            here.check.that(json.dumps(wanted) in json.dumps(entry["json"]), f"the picture is not there: {entry['json']}")


async def untranslatable(here: World, key: str) -> None:
    check = here.check
    before = await here.gateway.balance("alice")
    count = len(await here.gateway.events())
    remote = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]}]
    for provider, more, param in (
        ("ant", {"n": 2}, "n"), ("ant", {"logit_bias": {"7": 1}}, "logit_bias"),
        ("ant", {"temperature": 1.5}, "temperature"), ("ant", {"response_format": {"type": "json_object"}}, "response_format.type"),
        ("gem", {"logprobs": True}, "logprobs"), ("gem", {"parallel_tool_calls": False}, "parallel_tool_calls"),
        ("gem", {"messages": remote}, "messages[0].content[0].image_url"), ("gem", {"x_unknown": 1}, "x_unknown"),
    ):
        with check.about(provider, "refuses", param):
            for is_stream in (False, True):
                response = await here.gateway.answer(key, f"{provider}:talk", stream=is_stream, case=None, **more)
                check.equal(response.status, 400, f"status of {response}")
                error = response.json["error"]
                check.equal((error["code"], error["param"]), ("unsupported_parameter", param), "code and param")
    check.equal(await here.gateway.balance("alice"), before, "the balance")
    check.equal(len(await here.gateway.events()), count, "the number of events")


@case
async def doors() -> None:
    """Messages, responses and embeddings pass as they are, are charged exactly once, and lead to no other provider."""
    models = ["talk", "think", "search", "cut", "cached", "truncate", "error-mid", "refuse-429", "embed"]
    async with world(models, kinds=["ant", "oai", "gem"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        answered: list[tuple[str, Billed, str | None]] = []
        for delivery in DELIVERIES:
            for is_stream in (False, True):
                for model in ("talk", "think", "search", "cut", "cached"):
                    with check.about("messages", delivery, model, is_stream):
                        answered.append(await one_message(here, key, delivery, model, is_stream))
                    with check.about("responses", delivery, model, is_stream):
                        answered.append(await one_response(here, key, delivery, model, is_stream))
        with check.about("embeddings"):
            value = {"model": "oai:embed", "input": ["[case:vectors] eins", "zwei"]}
            response = await here.gateway.api("POST", "/v1/embeddings", value, key=key)
            check.equal([len(row["embedding"]) for row in response.json["data"]], [2, 2], "the vectors")
            check.equal((await here.provider.only("vectors"))["violations"], [], "what the provider does not accept")
            answered.append(("embeddings", Billed(23, 0), response.header("x-request-id")))
        await here.settled("alice")
        events = await here.gateway.events()
        for name, billed, request in answered:
            with check.about("charge of", name):
                event = settlement(events, request)
                check_billed(check, event, billed)
                check.equal(event["data"]["endpoint"], "/v1/" + name.split()[0], "endpoint")
        await broken_doors(here, key)
        await refused_doors(here, key)


async def one_message(here: World, key: str, delivery: str, model: str, is_stream: bool) -> tuple[str, Billed, str | None]:
    check, name = here.check, here.name("message")
    provider = "ant" if delivery == "events" else f"ant-{delivery}"
    value: dict = {
        "model": f"{provider}:{model}", "max_tokens": 4000, "stream": is_stream,
        "messages": [{"role": "user", "content": f"[case:{name}] {PADDING}"}],
    }
    if model == "search":
        value["tools"] = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]
    if model == "cached":
        value["system"] = [{"type": "text", "text": "lang", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01", "anthropic-beta": "effort-2025-11-24"}
    response = await here.gateway.api("POST", "/v1/messages", value, key=None, headers=headers)
    assert response.status == 200 and response.complete, f"the answer was {response}"
    entry = await here.provider.only(name)
    check.equal(entry["violations"], [], "what the provider does not accept")
    check.equal(response.body, sent(entry), "the bytes")
    received = {header.lower(): text for header, text in entry["headers"]}
    check.equal((received.get("x-api-key"), received.get("anthropic-beta")), ("sk-secret-7", "effort-2025-11-24"), "key and beta of the provider's request")
    return f"messages {provider} {model}", BILLED[model], response.header("x-request-id")


async def one_response(here: World, key: str, delivery: str, model: str, is_stream: bool) -> tuple[str, Billed, str | None]:
    check, name = here.check, here.name("response")
    provider = "oai" if delivery == "events" else f"oai-{delivery}"
    value: dict = {"model": f"{provider}:{model}", "stream": is_stream, "input": f"[case:{name}] {PADDING}"}
    if model == "search":
        value |= {"tools": [{"type": "web_search"}], "max_tool_calls": 4}
    response = await here.gateway.api("POST", "/v1/responses", value, key=key)
    assert response.status == 200 and response.complete, f"the answer was {response}"
    entry = await here.provider.only(name)
    check.equal(entry["violations"], [], "what the provider does not accept")
    check.equal(entry["json"]["max_output_tokens"], 8192, "the output bound towards the provider")
    check.equal(response.body, sent(entry), "the bytes")
    billed = BILLED[model]
    return f"responses {provider} {model}", Billed(
        billed.prompt, billed.completion, billed.cached, searches=billed.searches, reasoning=billed.reasoning), response.header("x-request-id")


async def broken_doors(here: World, key: str) -> None:
    """What breaks is charged as estimated, and looks broken in each format."""
    check = here.check
    for path, model, value in (
        ("/v1/messages", "ant:truncate", {"max_tokens": 900, "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/messages", "ant:error-mid", {"max_tokens": 900, "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", "oai:truncate", {"input": "x"}), ("/v1/responses", "oai:error-mid", {"input": "x"}),
    ):
        with check.about(path, model):
            response = await here.gateway.api("POST", path, {"model": model, "stream": True, **value}, key=key)
            check.equal(response.status, 200, "status")
            check.that(b"event: error\n" in response.body, f"no error event in {response.body[-300:]!r}")
            if "messages" in path:
                check.that(b'"type": "error"' in response.body or b'"type":"error"' in response.body, "no error of Anthropic's form")
            await here.settled("alice")
            event = settlement(await here.gateway.events(), response.header("x-request-id"))
            check.equal(event["data"].get("outcome"), "upstream_failed", f"outcome of {event['name']}")


async def refused_doors(here: World, key: str) -> None:
    check = here.check
    hi = [{"role": "user", "content": "x"}]
    for path, value, status, code in (
        ("/v1/messages", {"model": "oai:talk", "max_tokens": 9, "messages": hi}, 400, "unsupported_endpoint"),
        ("/v1/responses", {"model": "ant:talk", "input": "x"}, 400, "unsupported_endpoint"),
        ("/v1/embeddings", {"model": "gem:talk", "input": "x"}, 400, "unsupported_endpoint"),
        ("/v1/messages", {"model": "ant:talk", "messages": hi}, 400, "missing_field"),
        ("/v1/messages", {"model": "ant:nope", "max_tokens": 9, "messages": hi}, 400, "model_not_priced"),
        ("/v1/responses", {"model": "oai:talk", "input": "x", "previous_response_id": "resp_1"}, 400, "not_offered"),
        ("/v1/responses", {"model": "oai:talk", "input": "x", "tools": [{"type": "web_search"}]}, 400, "missing_field"),
        ("/v1/responses", {"model": "oai:talk", "input": "x", "tools": [{"type": "code_interpreter"}]}, 400, "not_offered"),
        ("/v1/messages", {"model": "ant:refuse-429", "max_tokens": 9, "messages": hi}, 429, "rate_limit_exceeded"),
    ):
        with check.about(path, code):
            response = await here.gateway.api("POST", path, value, key=key)
            check.equal(response.status, status, f"status of {response}")
            check.equal(response.json["error"].get("code"), code, "code")
            check.equal(response.json["detail"], response.json["error"]["message"], "detail")
            if path == "/v1/messages":
                check.equal(response.json["type"], "error", "Anthropic's form")
                check.within(response.json["error"]["type"], {"invalid_request_error", "rate_limit_error"}, "type")
    for method, path in (("GET", "/v1/responses/resp_7"), ("POST", "/v1/completions"), ("POST", "/v1/messages/batches"), ("POST", "/v1/messages/count_tokens")):
        with check.about(method, path):
            response = await here.gateway.api(method, path, {} if method == "POST" else None, key=key)
            check.equal(response.status, 404, "status")


@case
async def provider_errors() -> None:
    """Each provider's errors become OpenAI's, with the right status and delay, and never with our key."""
    models = ["refuse-400", "refuse-401", "refuse-404", "refuse-429", "refuse-500", "refuse-503", "refuse-529", "refuse-key", "error-mid", "error-json", "truncate"]
    told = {"400": 400, "401": 502, "404": 404, "429": 429, "500": 502, "503": 503, "529": 503, "key": 502}
    async with world(models, kinds=["ant", "gem", "xai"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for provider in ("ant", "gem", "xai"):
            for model in models[:8]:
                status = model.removeprefix("refuse-")
                if (status == "529" and provider != "ant") or (status == "key" and provider != "gem"):
                    continue
                for is_stream in (False, True):
                    with check.about(provider, model, is_stream):
                        response = await ask(here, key, f"{provider}:{model}", here.name("error"), is_stream)
                        check.equal(response.status, told[status], f"status of {response}")
                        check.that(b"sk-secret-7" not in response.body, "the answer quotes our key")
                        check.that(response.json["error"]["message"] == response.json["detail"], "detail")
                        if status == "429":
                            check.equal(response.header("retry-after"), "7", "retry-after")
                        await here.settled("alice")
                        event = settlement(await here.gateway.events(), response.header("x-request-id"))
                        check_released(check, event, {"upstream_refused"}, 400 if status == "key" else int(status))
            for model in ("error-mid", "error-json", "truncate"):
                if model == "error-json" and provider != "gem":
                    continue
                with check.about(provider, model):
                    response = await ask(here, key, f"{provider}:{model}", here.name("error"), True)
                    check.that(response.status == 200, f"the answer was {response}")
                    check.that(b"[DONE]" not in response.body and b'"finish_reason":"' not in response.body.replace(b" ", b""), "it looks finished")
                    check.that(b'"error"' in response.body, f"no error is told: {response.body[-300:]!r}")
        check.that("sk-secret-7" not in "\n".join(here.gateway.output), "the log has our key")
        check.that("sk-secret-7" not in json.dumps(await here.gateway.events()), "an event has our key")


@case
async def recorded_providers() -> None:
    """Recorded streams of every provider, by every door that leads to it, are charged what was billed (RECORDED_STREAMS_DIR)."""
    folder = os.environ.get("RECORDED_STREAMS_DIR")
    if not folder:
        print("skipped: RECORDED_STREAMS_DIR is not set")
        return
    with open(Path(folder, "INDEX.tsv"), encoding="utf-8") as index:
        rows = list(csv.DictReader(index, delimiter="\t"))
    models = [f"file:{row['file']}" for row in rows]
    async with world(models, folder=folder) as here:
        check, key = here.check, await here.gateway.user("alice", 100_000)
        for row in rows:
            for delivery in ("events", "c7", "utf8", "crlf"):
                for short, path in recorded_doors(row):
                    provider = short if delivery == "events" else f"{short}-{delivery}"
                    with check.about(row["file"], provider, path):
                        await one_recording(here, key, f"{provider}:file:{row['file']}", path, row)


def recorded_doors(row: dict) -> list[tuple[str, str]]:
    if "-responses-" in row["file"]:
        return [("xai" if row["provider"] == "xai" else "oai", "/v1/responses")]
    found = {"gemini": "gem", "anthropic": "ant", "xai": "xai"}.get(row["provider"], "oai")
    return [(found, "/v1/chat/completions")] + ([("ant", "/v1/messages")] if found == "ant" else [])


async def one_recording(here: World, key: str, model: str, path: str, row: dict) -> None:
    check, name = here.check, here.name("recorded")
    prompt = {"input": f"[case:{name}]"} if path == "/v1/responses" else {"messages": [{"role": "user", "content": f"[case:{name}]"}]}
    bound = {"max_output_tokens": 4000} if path == "/v1/responses" else {"max_tokens": 4000}
    # What the recorded requests may have searched must be bounded, to be admitted.
    if path == "/v1/messages":
        prompt["tools"] = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]
    response = await here.gateway.api("POST", path, {"model": model, "stream": True, **bound, **prompt}, key=key)
    check.that(response.status == 200 and response.complete, f"the answer was {response.status} {response.body[:300]!r} {response.failure}")
    entry = await here.provider.only(name)
    check.equal(entry["violations"], [], "what the provider does not accept")
    if path != "/v1/chat/completions":
        check.equal(response.body, sent(entry), "the bytes")
    elif not row["provider"].startswith(("xai", "openai", "deepseek", "mistral", "azure")):
        found = gathered(chunks_of(response.body))
        check.that(found["finish"] is not None and found["usage"] is not None, "a translated stream has no end")
        check.equal(found["usage"]["completion_tokens"], int(row["completion_tokens"]), "completion tokens for the client")
    await here.settled("alice")
    data = settlement(await here.gateway.events(), response.header("x-request-id"))["data"]
    if not row["prompt_tokens"]:
        check.equal(data["estimated"], True, "estimated")
        return
    found = [data["prompt_tokens"], data["cached_tokens"], data["completion_tokens"]]
    found += [data["cache_write_tokens"] + data["cache_write_1h_tokens"], data["cache_write_1h_tokens"]]
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "cache_write_tokens", "cache_write_1h")
    check.equal(found, [int(row[n]) for n in names], "tokens")
    if row["provider_cost_usd"]:
        cost = round(float(row["provider_cost_usd"]) * 1e12)
        check.equal(int(data.get("provider_cost_pico_usd", 0)), cost, "the provider's own cost")


@case
async def translated_money() -> None:
    """What is translated is admitted, shrunk, charged and replayed like what passes; a client that leaves is charged what is billed."""
    async with world(["talk", "think", "slow"], kinds=["ant", "gem"]) as here:
        check, key = here.check, await here.gateway.user("alice", 1000)
        for provider in ("ant", "gem"):
            with check.about(provider, "given again under its key"):
                name, headers = here.name("again"), {"idempotency-key": f"{provider}-1"}
                both = [await ask(here, key, f"{provider}:talk", name, False, headers=headers) for _ in range(2)]
                check.equal(both[1].body, both[0].body, "the answers")
                check.equal(both[1].header("idempotency-replayed"), "true", "idempotency-replayed")
                await here.provider.only(name)
            with check.about(provider, "a client that leaves"):
                await left(here, key, provider)
        with check.about("a bound that shrinks, and thinking within it"):
            poor = await here.gateway.user("poor", "0.115")
            name = here.name("shrunk")
            response = await ask(here, poor, "ant:think", name, False, reasoning_effort="high")
            check.equal(response.status, 200, f"status of {response}")
            sent_body = (await here.provider.only(name))["json"]
            await here.settled("poor")
            hold = next(e["data"] for e in await here.gateway.events() if e["name"] == "hold_placed" and e["account"] == "poor")
            check.that(1024 < hold["output_bound"] < 8192, f"the bound: {hold['output_bound']}")
            check.equal(sent_body["max_tokens"], hold["output_bound"], "max_tokens towards the provider")
            check.equal(sent_body["thinking"]["budget_tokens"], max(1024, hold["output_bound"] // 2), "the budget of the thinking")
        with check.about("too little to think"):
            poorer = await here.gateway.user("poorer", "0.087")
            before = len(await here.gateway.events())
            response = await ask(here, poorer, "ant:think", here.name("refused"), False, reasoning_effort="low")
            check.equal((response.status, response.json["error"]["code"]), (402, "insufficient_credits"), f"{response}")
            check.that(256 <= response.json["error"]["max_tokens_that_fit"] <= 1024, f"what would fit: {response.json}")
            check.equal(len(await here.gateway.events()), before, "the number of events")


async def left(here: World, key: str, provider: str) -> None:
    name = here.name("left")
    messages = [{"role": "user", "content": f"[case:{name}]"}]
    async with here.gateway.chat(key, f"{provider}:slow", stream=True, messages=messages) as exchange:
        await here.provider.received(name)
        await here.provider.step(name, 5)
        await exchange.events(1)
        request = exchange.response.header("x-request-id")
    await here.provider.step(name, everything=True)
    await here.settled("alice")
    event = settlement(await here.gateway.events(), request)
    check_billed(here.check, event, BILLED["talk"])
    here.check.within(event["data"].get("outcome"), {"client_gone", "finished"}, "outcome")


@case
async def names_and_secrets() -> None:
    """The default prices are in force, a bare name stands for the one model that has it, and keys come from files and the environment."""
    models = ["talk"]
    settings: dict = {}

    def second(base: str) -> dict:
        return {"kind": "openai", "api_base": f"{base}/strict/v1", "api_key": "x"}

    async with world(models, {"second": second}, kinds=["oai", "gem"], settings=settings) as here:
        check, gateway = here.check, here.gateway
        base = f"http://127.0.0.1:{here.provider.port}"
        secret = gateway.folder / "gemini-key"
        secret.write_text("sk-from-a-file-7\n")
        master = gateway.folder / "master-key"
        master.write_text(gateway.config.pop("master_key") + "\n")
        gateway.config["master_key_file"] = str(master)
        gateway.config["providers"] |= {
            "gemini": {"api_base": f"{base}/v1beta", "api_key_file": str(secret)},
            "xai": {"api_base": f"{base}/xai/v1"},
        }
        gateway.config["model_map"] = {"talk-to-me": "gem:talk"}
        gateway.env["XAI_API_KEY"] = "sk-from-the-environment-7"
        gateway.write_config()
        await gateway.restart()
        key = await gateway.user("alice", 100)
        prices = {row["model_key"]: row for row in await gateway.wanted("GET", "/v1/pricing?limit=1000", key=None)}
        for name, wanted in (
            ("gemini:gemini-2.5-flash", (0.15, 0.6, 0.04)), ("gemini:gemini-2.5-pro", (1.25, 10, 0.31)),
            ("gemini:gemini-2.0-flash", (0.1, 0.4, 0.03)), ("xai:grok-3-mini", (0.3, 0.5, None)), ("xai:grok-3", (3, 15, None)),
        ):
            row = prices.get(name, {})
            found = tuple(row.get(f"{kind}_price_per_million") for kind in ("input", "output", "cached"))
            check.equal(found, wanted, f"the default price of {name}")
        check.that(not any(name.startswith("anthropic:") for name in prices), "a price of a provider that is not configured")
        for name, status, wanted in (
            ("gemini-2.5-flash", 404, "gemini-2.5-flash"), ("grok-3-mini", 404, "grok-3-mini"), ("talk-to-me", 200, "talk"),
            ("gem/talk", 200, "talk"),
        ):
            with check.about(name):
                label = here.name("named")
                response = await ask(here, key, name, label, False)
                # The stand-in knows no such model: that it was asked says what the name stands for.
                check.equal(response.status, status, f"status of {response}")
                check.equal((await here.provider.only(label))["model"], wanted, "the model that was asked")
        with check.about("a name that several have"):
            response = await ask(here, key, "talk", here.name("named"), False)
            check.equal((response.status, response.json["error"]["code"]), (400, "ambiguous_model"), f"{response}")
            check.that("oai:talk" in response.json["detail"] and "second:talk" in response.json["detail"], response.json["detail"])
        entries = await here.provider.log()
        keys = {value for entry in entries for name, value in entry["headers"] if name.lower() in ("x-goog-api-key", "authorization")}
        check.that({"sk-from-a-file-7", "Bearer sk-from-the-environment-7"} <= keys, f"the keys that the provider saw: {keys}")
        told = "\n".join(gateway.output) + json.dumps(await gateway.events())
        check.that("sk-from" not in told and gateway.config["master_key_file"] not in told, "a secret was told")
