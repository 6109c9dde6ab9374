"""What stand-ins for Anthropic, Gemini, xAI and OpenAI's newer routes answer: one reply for each model name, in each provider's own form.

A reply is made from the request as its provider understands it, and says what it bills in figures that are the same in no two classes: so
what is charged shows which figures were read.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace

from scenarios import Answer, Part, event


@dataclass(frozen=True)
class Billed:
    """What a provider bills: cached and written tokens are part of the prompt, reasoning of the completion."""

    prompt: int
    completion: int
    cached: int = 0
    written: int = 0
    written_hour: int = 0
    searches: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Asked:
    """What a request wants, whatever its form."""

    tools: list[tuple[str, dict]] = field(default_factory=list)
    #: The texts of the tool results at its end.
    results: list[str] = field(default_factory=list)
    #: The name of the tool that must be called, "" where none may be, None where nothing is said.
    forced: str | None = None
    is_parallel: bool = True
    schema: dict | None = None
    choices: int = 1


@dataclass(frozen=True)
class Reply:
    """What is answered; `finish` is stop, calls, length or filter."""

    billed: Billed
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[tuple[str, dict]] = field(default_factory=list)
    finish: str = "stop"


SIGNATURE = "c2lnbmVkLWJ5LXRoZS1zdGFuZC1pbg=="
TEXT = ["Guten ", "Tag — ", "今日は", " 🦊🍣", "."]
REASONING = ["Erst ", "zählen: ", "一、二。"]
BILLED = {
    "talk": Billed(31, 17), "think": Billed(43, 61, reasoning=29), "tools": Billed(97, 53), "schema": Billed(71, 23),
    "cut": Billed(37, 5), "filtered": Billed(41, 3), "blocked": Billed(19, 0), "many": Billed(47, 13),
    "cached": Billed(1117, 19, cached=1009, written=71, written_hour=37), "search": Billed(2203, 67, searches=2),
    "image": Billed(263, 11),
}
#: Scenarios that break in their middle, and how.
BREAKS = ["error-mid", "truncate"]
CITIES = ["Paris", "東京"]


def default(schema: dict, turn: int) -> object:
    """A value that fits a simple schema."""
    kind = schema.get("type")
    if kind == "object":
        return {name: default(inner, turn) for name, inner in schema.get("properties", {}).items()}
    return {"string": CITIES[turn % 2], "integer": 7, "number": 1.5, "boolean": True, "array": []}.get(kind)


def reply(model: str, asked: Asked) -> Reply | None:
    """The reply of a model; None: there is no such model."""
    name = "talk" if model in [*BREAKS, "slow", "whole"] or model.startswith("flaky-") else model
    if name not in BILLED:
        return None
    base = Reply(BILLED[name], TEXT)
    if name == "think":
        return replace(base, reasoning=REASONING)
    if name == "schema" and asked.schema is not None:
        return replace(base, text=pieces_of(json.dumps(default(asked.schema, 0), ensure_ascii=False)))
    if name == "cut":
        return replace(base, text=TEXT[:2], finish="length")
    if name == "filtered":
        return replace(base, text=TEXT[:1], finish="filter")
    if name == "tools" and asked.results:
        return replace(base, text=pieces_of("So: " + " & ".join(asked.results)))
    if name == "tools" and asked.tools and asked.forced != "":
        offered = [tool for tool in asked.tools if asked.forced in (None, tool[0])] or asked.tools
        chosen = (offered * 2)[:2] if asked.is_parallel and asked.forced is None else offered[:1]
        calls = [(tool, default(schema, turn)) for turn, (tool, schema) in enumerate(chosen)]
        return replace(base, text=["Moment, "], reasoning=REASONING, calls=calls, finish="calls")
    return base


def pieces_of(text: str) -> list[str]:
    return [text[at: at + 5] for at in range(0, len(text), 5)] or [""]


def last_results(messages: list[dict], is_result, text_of) -> list[str]:
    """The texts of the results behind the last message of the model."""
    found: list[str] = []
    for message in messages:
        found = found + [text_of(message)] if is_result(message) else []
    return found


# -- Anthropic ---------------------------------------------------------------------------------------------------------


def asked_of_anthropic(request: dict) -> Asked:
    choice = request.get("tool_choice", {})
    last = request["messages"][-1]["content"]
    results = [block.get("content", "") for block in last if isinstance(block, dict) and block.get("type") == "tool_result"]
    return Asked(
        tools=[(tool["name"], tool["input_schema"]) for tool in request.get("tools", []) if "input_schema" in tool],
        results=[text if isinstance(text, str) else "".join(part.get("text", "") for part in text) for text in results],
        forced={"none": "", "tool": choice.get("name")}.get(choice.get("type")),
        is_parallel=not choice.get("disable_parallel_tool_use", False),
        schema=request.get("output_config", {}).get("format", {}).get("schema"))


def anthropic_usage(billed: Billed) -> dict:
    usage: dict = {
        "input_tokens": billed.prompt - billed.cached - billed.written, "cache_read_input_tokens": billed.cached,
        "cache_creation_input_tokens": billed.written, "output_tokens": billed.completion, "service_tier": "standard",
        "cache_creation": {
            "ephemeral_5m_input_tokens": billed.written - billed.written_hour, "ephemeral_1h_input_tokens": billed.written_hour},
    }
    if billed.searches:
        usage["server_tool_use"] = {"web_search_requests": billed.searches}
    return usage


ANTHROPIC_STOPS = {"stop": "end_turn", "calls": "tool_use", "length": "max_tokens", "filter": "refusal"}


def anthropic_blocks(reply: Reply) -> list[dict]:
    blocks: list[dict] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": "".join(reply.reasoning), "signature": SIGNATURE})
    if reply.billed.searches:
        blocks.append({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "今日"}})
        blocks.append({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
    if reply.text:
        blocks.append({"type": "text", "text": "".join(reply.text)})
    for number, (name, arguments) in enumerate(reply.calls, 1):
        blocks.append({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": arguments})
    return blocks


def anthropic_whole(model: str, reply: Reply) -> dict:
    return {
        "id": "msg_7", "type": "message", "role": "assistant", "model": model + "-20260101",
        "content": anthropic_blocks(reply), "stop_reason": ANTHROPIC_STOPS[reply.finish], "stop_sequence": None,
        "usage": anthropic_usage(reply.billed),
    }


def anthropic_stream(model: str, reply: Reply) -> list[Part]:
    usage = anthropic_usage(reply.billed)
    begun = {**anthropic_whole(model, reply), "content": [], "stop_reason": None}
    # Its output is a seed; a search adds to the input later.
    begun["usage"] = {**usage, "output_tokens": 1, "input_tokens": 11 if reply.billed.searches else usage["input_tokens"]}
    events = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(anthropic_blocks(reply)):
        kind = block["type"]
        empty = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}.get(kind, {})
        events.append({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        deltas: list[dict] = []
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in reply.reasoning]
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in reply.text]
        elif kind == "tool_use" and block["input"]:
            fragments = pieces_of(json.dumps(block["input"], ensure_ascii=False))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *fragments]]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    last = usage if reply.billed.searches else {"output_tokens": reply.billed.completion}
    stop = {"stop_reason": ANTHROPIC_STOPS[reply.finish], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": stop, "usage": last}, {"type": "message_stop"}]
    return [named(payload) for payload in events]


def named(payload: dict) -> Part:
    return Part(f"event: {payload['type']}\ndata: {json.dumps(payload, ensure_ascii=False)}\n\n".encode())


# -- Gemini ------------------------------------------------------------------------------------------------------------


def asked_of_gemini(request: dict) -> Asked:
    config = request.get("generationConfig", {})
    calling = request.get("toolConfig", {}).get("functionCallingConfig", {})
    tools = [tool for group in request.get("tools", []) for tool in group["functionDeclarations"]]
    results = [part["functionResponse"]["response"] for part in request["contents"][-1]["parts"] if "functionResponse" in part]
    return Asked(
        tools=[(tool["name"], tool.get("parametersJsonSchema", {"type": "object"})) for tool in tools],
        results=[result.get("result", json.dumps(result, ensure_ascii=False)) for result in results],
        forced="" if calling.get("mode") == "NONE" else next(iter(calling.get("allowedFunctionNames", [])), None),
        schema=config.get("responseJsonSchema"), choices=config.get("candidateCount", 1))


GEMINI_STOPS = {"stop": "STOP", "calls": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}


def gemini_usage(billed: Billed, share: float = 1.0) -> dict:
    """Figures grow with the stream; what is zero is left out."""
    candidates, thoughts = int((billed.completion - billed.reasoning) * share), int(billed.reasoning * share)
    # Of a large prompt some came from a tool.
    tool = 13 if billed.prompt > 200 else 0
    figures = {
        "promptTokenCount": billed.prompt - tool, "cachedContentTokenCount": billed.cached, "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts, "toolUsePromptTokenCount": tool, "totalTokenCount": billed.prompt + candidates + thoughts,
    }
    return {name: count for name, count in figures.items() if count}


def gemini_chunk(model: str, billed: Billed, share: float, *candidates: dict) -> dict:
    found = {"candidates": list(candidates)} if candidates else {}
    return {**found, "usageMetadata": gemini_usage(billed, share), "modelVersion": model + "-001", "responseId": "resp7"}


def gemini_parts(reply: Reply) -> list[dict]:
    parts: list[dict] = [{"text": piece, "thought": True} for piece in reply.reasoning]
    parts += [{"text": piece} for piece in reply.text]
    for number, (name, arguments) in enumerate(reply.calls):
        signature = {} if number else {"thoughtSignature": SIGNATURE}
        parts.append({"functionCall": {"name": name, "args": arguments}, **signature})
    return parts


def gemini_blocked(model: str, reply: Reply) -> dict:
    return {"promptFeedback": {"blockReason": "SAFETY"}, **gemini_chunk(model, reply.billed, 1.0)}


def gemini_whole(model: str, reply: Reply, choices: int) -> dict:
    if model == "blocked":
        return gemini_blocked(model, reply)
    finish = GEMINI_STOPS[reply.finish]
    return gemini_chunk(model, reply.billed, 1.0, *[
        {"content": {"role": "model", "parts": gemini_parts(reply)}, "finishReason": finish, "index": index}
        for index in range(choices)])


def gemini_stream(model: str, reply: Reply, choices: int) -> list[Part]:
    if model == "blocked":
        return [Part(event(json.dumps(gemini_blocked(model, reply))))]
    parts = gemini_parts(reply)
    chunks = []
    for number, part in enumerate(parts, 1):
        for index in range(choices):
            is_last = number == len(parts)
            candidate = {"content": {"role": "model", "parts": [part]}, "index": index}
            if is_last:
                candidate["finishReason"] = GEMINI_STOPS[reply.finish]
            share = 1.0 if is_last and index == choices - 1 else number / len(parts) / 2
            chunks.append(gemini_chunk(model, reply.billed, share, candidate))
    return [Part(event(json.dumps(chunk, ensure_ascii=False))) for chunk in chunks]


# -- OpenAI's chat; as xAI speaks it, with reasoning beside the completion, and with what it costs ----------------------


def asked_of_chat(request: dict) -> Asked:
    choice = request.get("tool_choice")
    forced = choice["function"]["name"] if isinstance(choice, dict) else "" if choice == "none" else None
    return Asked(
        tools=[(tool["function"]["name"], tool["function"].get("parameters", {"type": "object"})) for tool in request.get("tools", [])],
        results=last_results(request["messages"], lambda m: m["role"] == "tool", lambda m: str(m["content"])), forced=forced,
        is_parallel=request.get("parallel_tool_calls", True) is not False,
        schema=request.get("response_format", {}).get("json_schema", {}).get("schema"))


CHAT_STOPS = {"stop": "stop", "calls": "tool_calls", "length": "length", "filter": "content_filter"}


def chat_usage(billed: Billed, is_xai: bool) -> dict:
    usage: dict = {
        "prompt_tokens": billed.prompt, "completion_tokens": billed.completion, "total_tokens": billed.prompt + billed.completion,
        "prompt_tokens_details": {"cached_tokens": billed.cached}, "completion_tokens_details": {"reasoning_tokens": billed.reasoning},
    }
    if is_xai:
        usage |= {
            "completion_tokens": billed.completion - billed.reasoning, "num_sources_used": billed.searches,
            "cost_in_usd_ticks": ticks(billed)}
    return usage


def ticks(billed: Billed) -> int:
    """What xAI says that it costs, at $1 and $2 for a million tokens and $0.25 for cached ones: 10¹⁰ ticks are a dollar."""
    return (billed.prompt - billed.cached) * 10_000 + billed.cached * 2_500 + billed.completion * 20_000


def chat_calls(reply: Reply) -> list[dict]:
    return [
        {"id": f"call_{number}", "type": "function",
         "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}
        for number, (name, arguments) in enumerate(reply.calls, 1)]


def chat_whole(model: str, reply: Reply, is_xai: bool) -> dict:
    message = {"role": "assistant", "content": "".join(reply.text) or None, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = "".join(reply.reasoning)
    if reply.calls:
        message["tool_calls"] = chat_calls(reply)
    return {
        "id": "chatcmpl-7", "object": "chat.completion", "created": 1700000000, "model": model + "-0101",
        "choices": [{"index": 0, "message": message, "finish_reason": CHAT_STOPS[reply.finish]}],
        "usage": chat_usage(reply.billed, is_xai),
    }


def chat_stream(model: str, reply: Reply, is_xai: bool, wants_usage: bool) -> list[Part]:
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1700000000, "model": model + "-0101"}

    def chunk(delta: dict, finish: str | None = None) -> Part:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return Part(event(json.dumps({**head, "choices": [choice]}, ensure_ascii=False)))

    parts = [chunk({"role": "assistant", "content": ""})]
    parts += [chunk({"reasoning_content": piece}) for piece in reply.reasoning]
    parts += [chunk({"content": piece}) for piece in reply.text]
    for index, call in enumerate(chat_calls(reply)):
        named_call = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        parts.append(chunk({"tool_calls": [named_call]}))
        for piece in pieces_of(call["function"]["arguments"]):
            parts.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    parts.append(chunk({}, CHAT_STOPS[reply.finish]))
    if wants_usage:
        parts.append(Part(event(json.dumps({**head, "choices": [], "usage": chat_usage(reply.billed, is_xai)})), usage_only=True))
    return parts + [Part(event("[DONE]"))]


# -- OpenAI's responses and embeddings ---------------------------------------------------------------------------------


def asked_of_responses(request: dict) -> Asked:
    items = request["input"] if isinstance(request["input"], list) else []
    return Asked(
        tools=[(tool["name"], tool.get("parameters", {"type": "object"})) for tool in request.get("tools", []) if tool["type"] == "function"],
        results=last_results(items, lambda i: i.get("type") == "function_call_output", lambda i: str(i["output"])))


def response(model: str, reply: Reply, is_begun: bool = False) -> dict:
    output: list[dict] = []
    for number in range(reply.billed.searches):
        output.append({"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": {"type": "search", "query": "q"}})
    if reply.billed.searches:
        output.append({"type": "web_search_call", "id": "ws_9", "status": "completed", "action": {"type": "open_page", "url": "https://x"}})
    content = [{"type": "output_text", "text": "".join(reply.text), "annotations": []}]
    output.append({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content})
    for number, (name, arguments) in enumerate(reply.calls, 1):
        output.append({
            "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name, "status": "completed",
            "arguments": json.dumps(arguments, ensure_ascii=False)})
    billed = reply.billed
    usage = {
        "input_tokens": billed.prompt, "input_tokens_details": {"cached_tokens": billed.cached}, "output_tokens": billed.completion,
        "output_tokens_details": {"reasoning_tokens": billed.reasoning}, "total_tokens": billed.prompt + billed.completion,
    }
    is_cut = reply.finish == "length"
    return {
        "id": "resp_7", "object": "response", "created_at": 1700000000, "model": model + "-0101", "error": None,
        "status": "in_progress" if is_begun else "incomplete" if is_cut else "completed", "instructions": None, "metadata": {},
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut and not is_begun else None,
        "output": [] if is_begun else output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "temperature": 1.0, "top_p": 1.0, "usage": None if is_begun else usage,
    }


def response_stream(model: str, reply: Reply) -> list[Part]:
    whole = response(model, reply)
    events: list[dict] = [{"type": "response.created", "response": response(model, reply, is_begun=True)}]
    for index, item in enumerate(whole["output"]):
        events.append({"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress"}})
        if item["type"] == "message":
            more = {"item_id": item["id"], "output_index": index, "content_index": 0, "logprobs": []}
            events += [{"type": "response.output_text.delta", "delta": piece, **more} for piece in reply.text]
        elif item["type"] == "function_call":
            more = {"item_id": item["id"], "output_index": index}
            events += [{"type": "response.function_call_arguments.delta", "delta": p, **more} for p in pieces_of(item["arguments"])]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.incomplete" if whole["status"] == "incomplete" else "response.completed", "response": whole})
    return [named({**payload, "sequence_number": number}) for number, payload in enumerate(events)]


def embeddings(model: str, request: dict) -> dict:
    inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
    vectors = [{"object": "embedding", "index": index, "embedding": [0.5, -0.25]} for index in range(len(inputs))]
    return {"object": "list", "data": vectors, "model": model, "usage": {"prompt_tokens": 23, "total_tokens": 23}}


# -- failures ----------------------------------------------------------------------------------------------------------

ANTHROPIC_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "api_error",
    503: "api_error", 529: "overloaded_error",
}
GEMINI_ERRORS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}


def error(dialect: str, status: int, message: str, delay: str | None = None) -> dict:
    """An error body in a provider's form."""
    if dialect == "messages":
        return {"type": "error", "error": {"type": ANTHROPIC_ERRORS.get(status, "api_error"), "message": message}}
    if dialect == "gemini":
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}] if delay else []
        return {"error": {"code": status, "message": message, "status": GEMINI_ERRORS.get(status, "UNKNOWN"), "details": details}}
    return {"error": {"message": message, "type": "server_error" if status >= 500 else "invalid_request_error", "param": None, "code": None}}


def refusal(dialect: str, status: int, message: str, delay: float | None = None) -> Answer:
    headers = [("content-type", "application/json")]
    in_body = None
    if delay is not None and dialect == "gemini":
        in_body = f"{delay:g}s"
    elif delay is not None:
        headers.append(("retry-after", str(math.ceil(delay))))
    return Answer([Part(json.dumps(error(dialect, status, message, in_body)).encode())], status, headers, "length")


def broken(dialect: str, name: str, parts: list[Part]) -> Answer:
    """A stream that ends in its middle, with an error or without."""
    if name == "truncate":
        return Answer(parts[:4])
    payload = error(dialect, 529 if dialect == "messages" else 503, "The model is overloaded.")
    if dialect == "messages":
        return Answer(parts[:5] + [named(payload)])
    if dialect == "responses":
        return Answer(parts[:3] + [named({"type": "error", "code": "server_error", "message": "overloaded", "param": None})])
    return Answer(parts[:3] + [Part(event(json.dumps(payload)))])


def answer(dialect: str, model: str, request: dict, is_stream: bool, key: str, earlier: int) -> Answer | None:
    """The answer of a model; None: there is no such model. `earlier`: how many requests of the same case came before."""
    if found := re.fullmatch(r"refuse-(\d{3})", model):
        status = int(found[1])
        return refusal(dialect, status, f"Refused with {status}; the key was {key}.", 6.5 if status == 429 else None)
    if model == "refuse-key" and dialect == "gemini":
        payload = error(dialect, 400, "API key not valid. Please pass a valid API key.")
        payload["error"]["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
        return Answer([Part(json.dumps([payload]).encode())], 400, [("content-type", "application/json")], "length")
    if model == "error-json" and dialect == "gemini":
        return Answer([Part(json.dumps(error(dialect, 503, "The model is overloaded."), indent=2).encode())])
    if found := re.fullmatch(r"flaky-(\d+)-(\d{3}|reset)", model):
        if earlier < int(found[1]):
            if found[2] == "reset":
                return Answer([], instead_of_head="reset")
            return refusal(dialect, int(found[2]), "Not now.", 0 if found[2] == "429" else None)
    if dialect == "embeddings":
        return document(embeddings(model, request))
    wanted = {
        "messages": asked_of_anthropic, "gemini": asked_of_gemini, "chat": asked_of_chat, "xai": asked_of_chat,
        "responses": asked_of_responses,
    }[dialect](request)
    found_reply = reply(model, wanted)
    if found_reply is None:
        return refusal(dialect, 404, f"model: {model}")
    if not is_stream or model == "whole":
        return document({
            "messages": lambda: anthropic_whole(model, found_reply), "responses": lambda: response(model, found_reply),
            "gemini": lambda: gemini_whole(model, found_reply, wanted.choices),
            "chat": lambda: chat_whole(model, found_reply, False), "xai": lambda: chat_whole(model, found_reply, True),
        }[dialect]())
    wants_usage = request.get("stream_options", {}).get("include_usage") is True
    parts = {
        "messages": lambda: anthropic_stream(model, found_reply), "responses": lambda: response_stream(model, found_reply),
        "gemini": lambda: gemini_stream(model, found_reply, wanted.choices),
        "chat": lambda: chat_stream(model, found_reply, False, wants_usage),
        "xai": lambda: chat_stream(model, found_reply, True, wants_usage),
    }[dialect]()
    return broken(dialect, model, parts) if model in BREAKS else Answer(parts, pace="step" if model == "slow" else None)


def document(value: dict) -> Answer:
    return Answer([Part(json.dumps(value, ensure_ascii=False).encode())], 200, [("content-type", "application/json")], "length")
