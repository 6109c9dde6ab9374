"""Usage in answers that are odd: beside errors, in what is too long to be kept, in what is no answer; and reports that say less at the end than before."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import wire
from cases_exposure import JSON_TYPE, chunk, event, exposure, sound, streamed, usage, whole
from cases_providers import world as world_of_kinds
from checks import case
from world import World, check_charge, check_released, settlement

REPORT = usage(11, 8, prompt_tokens_details={"cached_tokens": 3})
#: The same, as the others write it.
INPUT_OUTPUT = {"input_tokens": 11, "output_tokens": 8, "total_tokens": 19, "input_tokens_details": {"cached_tokens": 3}}
ANTHROPIC = {"input_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 8}
GEMINI = {"promptTokenCount": 11, "cachedContentTokenCount": 3, "candidatesTokenCount": 8, "totalTokenCount": 19}
FAILURE = {"message": "The model is overloaded.", "type": "server_error", "param": None, "code": "overloaded"}
DONE = "data: [DONE]\n\n"
MEBIBYTE = 1 << 20
#: Letters of Base64 that are no word, and words.
PICTURE = "iVBORw0KGgoAAAANSUhEUg9+/" * (3 * MEBIBYTE // 25)
LONG_TEXT = "Es war einmal ein König. " * (3 * MEBIBYTE // 25)


@dataclass
class Odd:
    """An odd answer; `charged`: the usage that is charged, "estimated" for a small estimate, None where nothing is."""

    about: str
    model: str
    parts: list[str]
    charged: dict | str | None
    #: What the client gets: "answer", "error" (a 502) or "error event".
    told: str
    is_stream: bool = False
    path: str = "/v1/chat/completions"
    outcome: str = "finished"
    #: The provider's status.
    status: int = 200
    #: What of a stream the client gets, where it passes as it is; None: it is translated, or does not matter.
    passes: list[str] | None = None
    #: What must be in the body.
    holds: list[str] = field(default_factory=list)

    @property
    def is_answer(self) -> bool:
        return self.told == "answer"


def named(*payloads: dict) -> list[str]:
    return [f"event: {payload['type']}\n{event(payload)}" for payload in payloads]


def message_start() -> dict:
    """Anthropic's first event: its output is a seed."""
    report = ANTHROPIC | {"output_tokens": 1}
    return {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": report}}


def error_beside_usage() -> list[Odd]:
    """Usage beside an error object of a 200, in each form."""
    found = []
    for model, value in {
        "up:error": {"error": FAILURE, "usage": REPORT}, "up:error-behind": {"usage": REPORT, "error": FAILURE},
        "ant:error": {"type": "error", "error": {"type": "api_error", "message": "no"}, "usage": ANTHROPIC},
        "gem:error": {"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}, "usageMetadata": GEMINI},
    }.items():
        found.append(Odd("usage beside an error", model, [json.dumps(value)], REPORT, "error", outcome="upstream_failed"))
    found.append(Odd("an error without usage", "up:only-error", [json.dumps({"error": FAILURE})], None, "error"))
    parts = [chunk({"role": "assistant", "content": "H"}, "s"), event({"error": FAILURE, "usage": REPORT})]
    found.append(Odd("usage beside an error", "up:error-s", parts, REPORT, "error event", True, outcome="upstream_failed"))
    found.append(Odd("usage beside an error, first of all", "up:error-first-s", parts[1:], REPORT, "error event", True, outcome="upstream_failed"))
    return found


def failed_choices() -> list[Odd]:
    """Choices that end with an error."""
    failed, with_text = ("error", ""), ("error", "Hello.")
    found = []
    for number, (finish, text) in enumerate((failed, with_text)):
        body = whole(None, "m", text or None, finish)
        told = "answer" if text else "error"
        found.append(Odd("a failed choice", f"up:failed-{number}", [body], "estimated" if text else None, told))
        pieces = [chunk({"role": "assistant", "content": ""}, "m"), *([chunk({"content": text}, "m")] if text else []), chunk({}, "m", finish), DONE]
        found.append(Odd("a failed choice", f"up:failed-{number}-s", pieces, "estimated" if text else None, "error event", True, outcome="upstream_failed"))
    found.append(Odd("a failed choice with usage", "up:failed-usage", [whole(REPORT, "m", None, "error")], REPORT, "error", outcome="upstream_failed"))
    pieces = [chunk({"role": "assistant", "content": ""}, "m"), chunk({}, "m", "error"), chunk(None, "m", usage=REPORT), DONE]
    found.append(Odd("a failed choice with usage", "up:failed-usage-s", pieces, REPORT, "error event", True, outcome="upstream_failed"))
    return found


def streams_unasked() -> list[Odd]:
    """Streams where an answer in one piece was asked for: no answer, though the provider bills them."""
    chunks = [chunk({"role": "assistant", "content": "Hello."}, "m"), chunk({}, "m", "stop"), chunk(None, "m", usage=REPORT), DONE]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ANTHROPIC}
    messages = named(message_start(), end, {"type": "message_stop"})
    about = "a stream that was not asked for"
    return [
        Odd(about, "up:unasked", chunks, REPORT, "error", outcome="upstream_failed"),
        Odd(about + ", longer than is kept", "up:unasked-long", [chunk({"content": "x " * 20_000}, "m"), *chunks], REPORT, "error", outcome="upstream_failed"),
        Odd(about, "ant:unasked", messages, REPORT, "error", path="/v1/messages", outcome="upstream_failed"),
        Odd(about + ", translated", "ant:unasked", messages, REPORT, "error", outcome="upstream_failed"),
        Odd(about + ", without anything in it", "up:unasked-empty", [": processing\n\n", DONE], None, "error"),
    ]


def other_statuses() -> list[Odd]:
    """Statuses of success that are not 200."""
    body = whole(REPORT, "m")
    return [Odd("another status of success", f"up:status-{status}", [body], REPORT, "answer", status=status) for status in (201, 202, 206)]


def long_answers() -> list[Odd]:
    """Answers in one piece that are longer than is kept (`max_answer_bytes` is small here), with usage before or behind what is long."""
    text = "x " * 20_000
    before = {"id": "a", "usage": REPORT, "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    message = {"type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    gemini = {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]}
    bodies = {
        "up:long-before": before, "up:long-behind": json.loads(whole(REPORT, "m", text)), "ant:long-behind": message | {"usage": ANTHROPIC},
        "ant:long-before": {"usage": ANTHROPIC} | message, "gem:long-behind": gemini | {"usageMetadata": GEMINI},
        "up:long-unknown": {"padding": [text, {"usage": usage(10**6, 10**6)}]} | {"usage": REPORT},
    }
    found = [Odd("too long", model, [json.dumps(body)], REPORT, "error", outcome="upstream_failed") for model, body in bodies.items()]
    found.append(Odd("too long, of responses", "oai:long-resp", [json.dumps({
        "object": "response", "status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
        "usage": INPUT_OUTPUT})], REPORT, "error", path="/v1/responses", outcome="upstream_failed"))
    # Many texts, of which each is short enough to be kept.
    items = [{"type": "message", "content": [{"type": "output_text", "text": "word " * 800}]}] * 600
    body = {"object": "response", "status": "completed", "output": items, "usage": INPUT_OUTPUT}
    found.append(Odd("too long, of many parts", "oai:many-resp", [json.dumps(body)], REPORT, "error", path="/v1/responses", outcome="upstream_failed"))
    many = named({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}, {
        "type": "response.completed", "response": {"id": "r", "status": "completed", "output": items, "usage": INPUT_OUTPUT}})
    found.append(Odd("a long last event of many parts", "oai:many-resp-s", many, REPORT, "answer", True, "/v1/responses", passes=many))
    return found + [Odd("too long, without usage", "up:long-nothing", [whole(None, "m", text)], None, "error")]


def long_events() -> list[Odd]:
    """Events of 3 MiB: what passes as it is arrives complete."""
    completed = {"type": "response.completed", "response": {
        "id": "r", "status": "completed", "model": "m", "usage": INPUT_OUTPUT,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": LONG_TEXT}]}]}}
    responses = named({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}, completed)
    start = message_start()
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": LONG_TEXT}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}}
    messages = named(start, block, delta, {"type": "content_block_stop", "index": 0}, stop, {"type": "message_stop"})
    apart = streamed(REPORT, "m", LONG_TEXT)
    # As Gemini's endpoint in OpenAI's form and others write it: usage with the text.
    together = [chunk({"role": "assistant", "content": LONG_TEXT}, "m", "stop", usage=REPORT), DONE]
    pictures = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]
    picture = [chunk({"role": "assistant", "content": "", "images": pictures}, "m"), *streamed(REPORT, "m")[1:]]
    gemini = [event({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "usageMetadata": GEMINI | {"candidatesTokenCount": 2}})
              for part in ({"text": "Hier: "}, {"inlineData": {"mimeType": "image/png", "data": PICTURE}})]
    gemini.append(event({"candidates": [{"content": {"parts": [{"text": "."}]}, "finishReason": "STOP", "index": 0}], "usageMetadata": GEMINI}))
    # Over many lines, each of them with a field's name.
    spread = json.loads(together[0][len("data: "):]) | {"x": [[number] for number in range(9000)]}
    lines = "".join(f"data: {line}\n" for line in json.dumps(spread, indent=1).split("\n"))
    return [
        Odd("a long chunk over many lines", "c7:lines", [lines + "\n", DONE], REPORT, "answer", True, passes=[lines + "\n", DONE]),
        Odd("a long chunk with usage, in small pieces", "c7:together", together, REPORT, "answer", True, passes=together),
        Odd("a long last event, with other ends of lines", "crlf:resp", responses, REPORT, "answer", True, "/v1/responses", passes=responses),
        Odd("a long last event", "oai:resp", responses, REPORT, "answer", True, "/v1/responses", passes=responses),
        Odd("a long delta", "ant:mess", messages, REPORT, "answer", True, "/v1/messages", passes=messages),
        Odd("a long delta, translated", "ant:chat", messages, REPORT, "answer", True, holds=[LONG_TEXT[:3 * MEBIBYTE // 2]]),
        Odd("a long chunk", "up:apart", apart, REPORT, "answer", True, passes=[part for part in apart if '"choices": []' not in part]),
        Odd("a long chunk with usage", "up:together", together, REPORT, "answer", True, passes=together),
        Odd("a long chunk with usage", "geo:together", together, REPORT, "answer", True, passes=together),
        Odd("a long chunk with a picture", "geo:picture", picture, REPORT, "answer", True, passes=[part for part in picture if '"choices": []' not in part]),
        Odd("a long picture, translated", "gem:picture", gemini, REPORT, "answer", True, holds=[f"data:image/png;base64,{PICTURE}"]),
    ]


def no_answers() -> list[Odd]:
    """Bodies that are no answer and say what was used."""
    bodies = {
        "up:nothing": {"usage": REPORT}, "ant:nothing": {"usage": ANTHROPIC},
        "gem:nothing": {"usageMetadata": GEMINI},
    }
    found = [Odd("no answer", model, [json.dumps(body)], REPORT, "error", outcome="upstream_failed") for model, body in bodies.items()]
    cut = json.dumps({"usage": REPORT, "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}}]})[:-25]
    found.append(Odd("an answer that breaks off behind its usage", "up:cut", [cut], REPORT, "error", outcome="upstream_failed"))
    return found


def later_reports() -> list[Odd]:
    """Reports that say less than those before, or nothing; and what was never reported."""
    zero, empty = usage(0, 0, prompt_tokens_details={"cached_tokens": 0}), {}
    start = message_start()
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}}
    zeros = {name: 0 for name in ANTHROPIC} | {"output_tokens": 8}
    stops = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": zeros}, {"type": "message_stop"}]
    late = [stops[0], {"type": "message_delta", "delta": {}, "usage": {name: 0 for name in ANTHROPIC}}, stops[1]]
    found = [
        Odd("later zeros", "ant:zeros", named(start, text, *stops), REPORT, "answer", True, "/v1/messages"),
        Odd("later zeros, translated", "ant:zeros-chat", named(start, text, *stops), REPORT, "answer", True),
        Odd("zeros at the very end", "ant:zero-end", named(start, text, *late), REPORT, "answer", True, "/v1/messages"),
    ]
    for number, last in enumerate(([zero], [empty], [None], [empty, zero, None])):
        body = streamed(REPORT, "m")
        body[-1:-1] = [chunk(None, "m", usage=report) for report in last]
        found.append(Odd("a relay's empty usage", f"up:relay-{number}", body, REPORT, "answer", True))
    embedding = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": {"total_tokens": 7}}
    found.append(Odd("embeddings with a total only", "oai:embed", [json.dumps(embedding)], usage(7, 0), "answer", path="/v1/embeddings"))
    small = PICTURE[: MEBIBYTE // 2]
    for number, (letters, parts) in enumerate(((small, 1), (PICTURE, 1), (small, 3))):
        pictures = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{letters}"}}]
        body = [chunk({"role": "assistant", "content": "", "images": pictures}, "m")] * parts + streamed(None, "m")[1:]
        found.append(Odd("a picture without usage", f"up:picture-{number}", body, "estimated", "answer", True))
    gemini = [event({"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": small}}]}, "index": 0}]}),
              event({"candidates": [{"content": {"parts": [{"text": "."}]}, "finishReason": "STOP", "index": 0}]})]
    return found + [Odd("a picture without usage", "gem:picture-0", gemini, "estimated", "answer", True)]


def body_of(odd: Odd) -> dict:
    value: dict = {"model": odd.model} | ({"stream": True} if odd.is_stream else {})
    if odd.path == "/v1/embeddings":
        return value | {"input": "hi"}
    if odd.path == "/v1/responses":
        return value | {"input": "hi", "max_output_tokens": 500}
    return value | {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 500}


@case
async def usage_in_odd_answers() -> None:
    """What an odd answer says of its usage is charged, and never anything else; and the client is told what it is."""
    odds = [*error_beside_usage(), *failed_choices(), *streams_unasked(), *other_statuses(), *long_answers(), *long_events(), *no_answers(), *later_reports()]
    providers = {
        **{name: lambda base, path=path: {"kind": "openai", "api_base": f"{base}{path}", "api_key": "x"}
           for name, path in (("up", "/v1"), ("c7", "/c7/v1"), ("crlf", "/crlf/v1"))},
        "geo": lambda base: {"kind": "gemini-openai", "api_base": f"{base}/v1", "api_key": "x"},
    }
    models = [odd.model.split(":")[1] for odd in odds]
    async with world_of_kinds(models, providers, kinds=["ant", "gem", "oai"], limits={"max_answer_bytes": 32 << 10}) as world:
        check = world.check
        key = await world.gateway.user("alice", 1000)
        requests = []
        for odd in odds:
            with check.about(odd.about, odd.model):
                requests.append((odd, await one(world, key, odd)))
        events = await sound(world)
        for odd, request in requests:
            with check.about("settlement of", odd.about, odd.model):
                check_odd(world, odd, settlement(events, request))
        found = await exposure(world)
        check.equal((found["beyond_bound"], found["unbilled_requests"]), (0, 0), "exposure")


async def one(world: World, key: str, odd: Odd) -> str | None:
    check = world.check
    how = {} if odd.is_stream else {"headers": JSON_TYPE, "framing": "chunked"}
    await world.provider.script(odd.model.split(":")[1], odd.parts, status=odd.status, **how)
    response = await world.gateway.api("POST", odd.path, body_of(odd), key=key)
    if odd.told == "error":
        check.equal((response.status, response.complete), (502, True), f"status, and whether it is complete: {response}")
        error = response.json.get("error") or {}
        check.equal(error.get("code"), "upstream_failed", "error.code")
        check.equal("was charged" in error.get("message", "") and "nothing was" not in error["message"], odd.charged is not None, f"the message {error}")
        check.equal(response.header("x-ledger-charged-credits"), None, "what is said of a charge in the head")
        return response.header("x-request-id")
    check.equal(response.status, 200, f"status of {response}")
    found = wire.events(response.body)
    errors = [each.json for each in found if each.is_error or each.name == "error"]
    if odd.told == "error event":
        check.that(errors, f"there is no error event: {response}")
        return response.header("x-request-id")
    check.that(response.complete and not errors, f"complete is {response.complete}, errors: {errors}")
    if odd.passes is not None:
        ends = "\r\n" if odd.model.startswith("crlf:") else "\n"
        check.equal(response.body, "".join(odd.passes).replace("\n", ends).encode(), "what the client gets")
    for text in odd.holds:
        check.that(text in response.text, f"{text[:50]!r}… is not in the answer of {len(response.body)} bytes")
    if odd.is_stream and odd.path == "/v1/chat/completions":
        check.that(found and found[-1].is_done, f"its end is {response.text[-200:]!r}")
    return response.header("x-request-id")


def check_odd(world: World, odd: Odd, found: dict) -> None:
    check = world.check
    if odd.charged is None:
        return check_released(check, found, {"upstream_failed"})
    if odd.charged != "estimated":
        return check_charge(check, found, odd.charged, odd.outcome)
    if check.equal(found["name"], "request_charged", f"the settlement ({found['data'].get('reason')})"):
        data = found["data"]
        check.equal((data["outcome"], data["estimated"]), (odd.outcome, True), "outcome and estimated")
        # A few words, and the names of a picture's members; no token for each four letters of it.
        check.that(0 < data["completion_tokens"] < 60, f"{data['completion_tokens']} output tokens were estimated")
