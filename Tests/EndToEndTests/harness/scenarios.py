"""What the stand-in provider answers: one scenario for each model name.

Pure: a scenario is a function of the request, and an `Answer` says what is to be sent and how it ends. The bytes are
written by hand rather than by a JSON library, with spacing and number forms (`1.50`, `1E2`) that any decoding and
encoding again would change: so a test that compares bytes also finds a gateway that rewrites chunks.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field

WORDS = ["Grüße", " aus", " 日本", " — und", " Καλημέρα", " 🦊🍣", " fin", "."]
SLOW_CHUNKS = 20
SLOW_AUTO_CHUNKS = 50
BIG_CHARACTERS = 50_000  # of four bytes each: a chunk of 200 kB
HUGE_CHARACTERS = 400_000  # an event beyond a mebibyte
FLOOD_CHUNKS = 1000  # of 16 kB each: more than the sockets on the way can hold

USAGE = {
    "prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@dataclass(frozen=True)
class Part:
    """A piece of a body that belongs together: an event of a stream, or a whole JSON body."""

    data: bytes
    #: The extra chunk that only `stream_options.include_usage` brings.
    usage_only: bool = False


@dataclass
class Answer:
    """What is to be sent, and how it ends."""

    parts: list[Part]
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("content-type", "text/event-stream")])
    #: `chunked`, `length` for a body whose length is announced, or `close` for one that ends with the connection.
    framing: str = "chunked"
    #: What comes before the head.
    prelude: bytes = b""
    #: What happens instead of the head: "" (it is sent), `reset` or `stall`.
    instead_of_head: str = ""
    #: After the parts: `clean`, `close` (no final chunk), `reset` or `stall`.
    ending: str = "clean"
    #: None: no pauses; `step`: each part waits to be let go; a number: seconds between parts.
    pace: str | float | None = None
    #: How many of the parts are sent before it ends as `ending` says; None: all.
    stop_after: int | None = None
    #: Whether the last part that is sent breaks off in its middle.
    cut: bool = False
    #: Whether the head, too, waits to be let go.
    holds_head: bool = False


# -- building blocks ---------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ":"))


def chunk_json(model: str, choices: object, usage: str = "", more: str = "") -> str:
    """A chunk with fields that no gateway knows, in a spelling that no encoder writes."""
    return (
        '{"id":"chatcmpl-é1", "object":"chat.completion.chunk","created":1700000000,'
        f'"model":"{model}-2026-01-01","x_vendor":{{"price":1.50, "list":[1E2,null,true],"ü":"\\u00fc/\\/"}},'
        f'"choices":{text(choices)}{more}{usage}}}'
    )


def event(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode()


DONE = event("[DONE]")


def delta(content: str | None = None, finish: str | None = None, role: bool = False) -> list[dict]:
    body: dict = {}
    if role:
        body["role"] = "assistant"
    if content is not None:
        body["content"] = content
    return [{"index": 0, "delta": body, "logprobs": None, "finish_reason": finish}]


def wants_usage(request: dict) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def usage_field(usage: object) -> str:
    return ',"usage": ' + text(usage)


def stream(model: str, request: dict, words: list[str], usage: dict | None = USAGE, done: bool = True) -> list[Part]:
    """The shape of OpenAI's own streams: a role chunk, the text, the finish chunk, usage where it was asked for."""
    asked = wants_usage(request) and usage is not None
    empty = ',"usage":null' if asked else ""
    parts = [Part(event(chunk_json(model, delta("", role=True), empty)))]
    parts += [Part(event(chunk_json(model, delta(word), empty))) for word in words]
    parts.append(Part(event(chunk_json(model, delta(finish="stop"), empty))))
    if asked:
        parts.append(Part(event(chunk_json(model, [], usage_field(usage))), usage_only=True))
    if done:
        parts.append(Part(DONE))
    return parts


def counted(completion: int, **other: object) -> dict:
    return {"prompt_tokens": 11, "completion_tokens": completion, "total_tokens": 11 + completion, **other}


USAGES: dict[str, dict] = {
    "zero-usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "negative-usage": {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12},
    "absurd-usage": {"prompt_tokens": 11, "completion_tokens": 2**31 + 5, "total_tokens": 2**31 + 16},
    "cached-gt-prompt": {
        "prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 161},
    },
    "overrun": {"prompt_tokens": 11, "completion_tokens": 50_000, "total_tokens": 50_011},
    "slow": counted(SLOW_CHUNKS),
    "slow-auto": counted(SLOW_AUTO_CHUNKS),
    "flood": counted(FLOOD_CHUNKS),
}


def usage_of(model: str) -> dict | None:
    """What a model reports in the end; None: nothing."""
    return None if model == "no-usage" else USAGES.get(model, USAGE)


def words_of(model: str) -> list[str]:
    if model == "slow":
        return [f"{n}·" for n in range(1, SLOW_CHUNKS - 1)]  # with the role chunk and the finish chunk: 20
    if model == "slow-auto":
        return [f"{n}·" for n in range(1, SLOW_AUTO_CHUNKS - 1)]
    if model == "big":
        return ["a", "🦊" * BIG_CHARACTERS, "z"]
    if model == "huge":
        return ["a", "🦊" * HUGE_CHARACTERS, "z"]
    return WORDS


# -- streams -----------------------------------------------------------------------------------------------------------


def usage_on_finish(model: str, request: dict) -> list[Part]:
    parts = stream(model, request, WORDS, usage=None, done=False)
    parts[-1] = Part(event(chunk_json(model, delta(finish="stop"), usage_field(USAGE))))
    return parts + [Part(DONE)]


def usage_every_chunk(model: str, request: dict) -> list[Part]:
    parts = [Part(event(chunk_json(model, delta("", role=True), usage_field(counted(0)))))]
    for count, word in enumerate(WORDS[:-1], 1):
        parts.append(Part(event(chunk_json(model, delta(word), usage_field(counted(count))))))
    last = {**USAGE, "x_note": "cumulative"}
    parts.append(Part(event(chunk_json(model, delta(WORDS[-1], finish="stop"), usage_field(last)))))
    return parts + [Part(DONE)]


def azure_first(model: str, request: dict) -> list[Part]:
    filters = ',"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]'
    return [Part(event(chunk_json(model, [], more=filters)))] + stream(model, request, WORDS)


def comments(model: str, request: dict) -> list[Part]:
    """Everything that the event stream format allows beside plain `data:` lines."""
    plain = stream(model, request, WORDS)
    parts = [Part(b": connected\n\n"), Part(b"retry: 1000\n\n")]
    for number, part in enumerate(plain):
        payload = part.data.decode()[len("data: "):-2]
        if payload == "[DONE]":
            data = DONE
        elif part.usage_only or number % 4 == 1:
            first, second = payload.split(',"model"', 1)
            data = f'event: message\nid: {number}\ndata: {first},\ndata: "model"{second}\n\n'.encode()
        elif number % 4 == 2:
            data = f"data:{payload}\n: between the lines\nx-unknown: 1\n\n".encode()
        elif number % 4 == 3:
            data = f": PROCESSING\n\nid: {number}\ndata: {payload}\n\n".encode()
        else:
            data = part.data
        parts.append(Part(data, part.usage_only))
    return parts


def error_payload(message: str, kind: str, code: object, param: object = None) -> str:
    return text({"error": {"message": message, "type": kind, "param": param, "code": code}})


STREAM_ERROR = event(error_payload("The model is overloaded (überlastet).", "server_error", "overloaded"))


def flood(model: str, request: dict) -> list[Part]:
    first, word, *rest = stream(model, request, ["x" * 16_000], USAGES["flood"])
    return [first, *[word] * FLOOD_CHUNKS, *rest]


def echo(model: str, request: dict) -> list[Part]:
    return stream(model, request, [text(request)])


# -- refusals ----------------------------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[int, str]] = {
    "refuse-400": (400, error_payload("Unsupported value: 'temperature'.", "invalid_request_error", "unsupported_value", "temperature")),
    "refuse-401": (401, error_payload("Incorrect API key provided: test.", "invalid_request_error", "invalid_api_key")),
    "refuse-404": (404, error_payload("The model does not exist.", "invalid_request_error", "model_not_found")),
    "refuse-429": (429, error_payload("Rate limit reached.", "requests", "rate_limit_exceeded")),
    "refuse-500": (500, error_payload("The server had an error.", "server_error", None)),
    "refuse-503": (503, error_payload("The engine is overloaded.", "server_error", "overloaded")),
}
HTML = b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>502</h1></body></html>\n"


def refusal(model: str) -> Answer | None:
    if model == "refuse-html":
        return Answer([Part(HTML)], 502, [("content-type", "text/html; charset=utf-8")], "length")
    if model == "ok-html":
        return Answer([Part(HTML)], 200, [("content-type", "text/html; charset=utf-8")], "length")
    if model == "ok-gzip":
        body = gzip.compress(b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n')
        return Answer([Part(body)], 200, [("content-type", "text/event-stream"), ("content-encoding", "gzip")], "length")
    if model == "redirect":
        body = error_payload("Moved.", "redirect", None).encode()
        return Answer([Part(body)], 307, [("content-type", "application/json"), ("location", "/v1/elsewhere")], "length")
    if model == "stall-in-error":
        body = error_payload("The engine is overloaded.", "server_error", "overloaded").encode()
        return Answer(halves(body), 503, [("content-type", "application/json")], "length", ending="stall", stop_after=1)
    if model not in REFUSALS:
        return None
    status, body = REFUSALS[model]
    headers = [("content-type", "application/json"), ("x-request-id", "upstream-7")]
    if status == 429:
        headers.append(("retry-after", "7"))
    return Answer([Part(body.encode())], status, headers, "length")


# -- all scenarios -----------------------------------------------------------------------------------------------------

SHAPED = {
    "finish-usage-on-finish": usage_on_finish,
    "usage-every-chunk": usage_every_chunk,
    "azure-first": azure_first,
    "comments": comments,
    "flood": flood,
    "echo-request": echo,
}
#: Streams of the ordinary shape, with their own words or usage.
ORDINARY = ["finish", "no-usage", "zero-usage", "negative-usage", "absurd-usage", "cached-gt-prompt", "overrun", "big", "huge"]
PACED = {"slow": "step", "slow-auto": 0.01}
#: Streams that break: after how many parts, how, and whether in the middle of the last part.
BROKEN: dict[str, tuple[int, str, bool]] = {
    "reset-mid": (4, "reset", True),
    "truncate-mid": (4, "clean", False),
    "truncate-chunked": (4, "close", False),
    "stall-mid": (4, "stall", False),
    "stall-before-first": (0, "stall", False),
    "truncate-usage": (4, "clean", False),
}
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"
UNANSWERED = {"reset-before-head": "reset", "stall-before-head": "stall"}
ERRORS = {"error-event-first": 0, "error-event-mid": 4}

#: Answers that say nothing, say it without events, or spread it over lines.
ODD = ["done-only", "foreign-text", "pretty"]

#: Good answers in unusual frames.
FRAMES = {
    "early-hints": {"prelude": EARLY_HINTS}, "close-delimited": {"framing": "close"},
}
#: Good streams whose connection then stays open, or is reset.
LINGERING = {"stay-open": "stall", "reset-after-done": "reset"}

NAMES = [*ORDINARY, *SHAPED, *PACED, *FRAMES, *LINGERING, *BROKEN, *UNANSWERED, *ERRORS, "no-done", *REFUSALS, "refuse-html", "ok-html", "ok-gzip", "redirect", "stall-in-error", *ODD]


def answer(model: str, request: dict) -> Answer | None:
    """The answer of a model; None: there is no such model."""
    refused = refusal(model)
    if refused is not None:
        return refused
    if model not in NAMES:
        return None
    return streamed(model, request) if request.get("stream") is True else whole(model, request)


def streamed(model: str, request: dict) -> Answer:
    if model in UNANSWERED:
        return Answer([], instead_of_head=UNANSWERED[model])
    if model in SHAPED:
        return Answer(SHAPED[model](model, request))
    if model in ERRORS:
        return Answer(stream(model, request, WORDS)[: ERRORS[model]] + [Part(STREAM_ERROR)])
    if model == "done-only":
        return Answer([Part(b"data: [DONE]\n\n")])
    if model == "foreign-text":
        return Answer([Part(b"These are words that are no event. " * 20)])
    if model == "no-done":
        return Answer(stream(model, request, WORDS, done=False))
    parts = stream(model, request, words_of(model), usage_of(model))
    if model == "truncate-usage":
        parts = usage_every_chunk(model, request)
    if model in BROKEN:
        count, ending, cut = BROKEN[model]
        return Answer(parts, ending=ending, stop_after=count, cut=cut)
    return Answer(parts, pace=PACED.get(model), ending=LINGERING.get(model, "clean"), **FRAMES.get(model, {}))


def whole(model: str, request: dict) -> Answer:
    """The same scenario for a request that asks for no stream."""
    headers = [("content-type", "application/json"), ("x-request-id", "upstream-8")]
    if model in UNANSWERED:
        return Answer([], instead_of_head=UNANSWERED[model])
    if model in ERRORS:
        return Answer([Part(STREAM_ERROR[len(b"data: "):-2])], 200, headers, "length")
    content = text(request) if model == "echo-request" else "".join(words_of(model))
    usage = usage_of(model)
    filters = ',"prompt_filter_results":[]' if model == "azure-first" else ""
    message = [{"index": 0, "message": {"role": "assistant", "content": content, "refusal": None}, "finish_reason": "stop"}]
    body = chunk_json(model, message, usage_field(usage) if usage else "", filters).replace("completion.chunk", "completion", 1)
    if model == "done-only":
        body = '{"choices":[]}'
    if model == "pretty":
        body = json.dumps(json.loads(body), indent=2)
    if model == "comments":
        body = "\n\n  \n" + body + "\n"  # providers keep a connection open with white space before the document
    parts = halves(body.encode())
    if model in BROKEN:
        count, ending, _ = BROKEN[model]
        # A body that is cut short but properly ended can only be sent without an announced length.
        framing = "chunked" if ending == "clean" else "length"
        return Answer(parts, 200, headers, framing, ending=ending, stop_after=min(count, 1))
    answer = Answer([Part(body.encode())], 200, headers, **{"framing": "length", **FRAMES.get(model, {})})
    if model == "slow":
        answer.pace = "step"
    elif model == "slow-auto":
        answer.pace = SLOW_AUTO_CHUNKS * 0.01
    return answer


def halves(body: bytes) -> list[Part]:
    return [Part(body[: len(body) // 2]), Part(body[len(body) // 2:])]


# -- delivery ----------------------------------------------------------------------------------------------------------

#: How the bytes of a body are cut into writes, by the first part of the path; otherwise event by event.
DELIVERIES = ["whole", "c1", "c7", "utf8", "crlf"]


def delivered(parts: list[Part], delivery: str) -> list[Part]:
    """The parts as a delivery sends them: its line ends may be others."""
    if delivery != "crlf":
        return parts
    return [Part(part.data.replace(b"\n", b"\r\n"), part.usage_only) for part in parts]


def pieces(data: bytes, delivery: str) -> list[bytes]:
    """Cuts bytes into writes."""
    if delivery == "c1":
        return small(data, 1)
    if delivery == "c7":
        return small(data, 7)
    if delivery == "utf8":
        return between(data, awkward_cuts(data))
    return [data]


def small(data: bytes, size: int) -> list[bytes]:
    """Pieces of `size` bytes; the middle of what is very long goes in larger ones (of a prime length)."""
    edge = 2000 * size
    if len(data) <= 4 * edge:
        return [data[at: at + size] for at in range(0, len(data), size)]
    head, middle, tail = data[:edge], data[edge:-edge], data[-edge:]
    return small(head, size) + [middle[at: at + 1009] for at in range(0, len(middle), 1009)] + small(tail, size)


def awkward_cuts(data: bytes) -> list[int]:
    """Places inside multi-byte characters, and the middle of each line."""
    cuts: list[int] = []
    start = 0
    for at, byte in enumerate(data):
        if 0x80 <= byte < 0xC0:
            cuts.append(at)
        if byte == 0x0A:
            cuts.append((start + at) // 2)
            start = at + 1
    cuts = sorted(set(cuts))
    return cuts if len(cuts) <= 2000 else cuts[:500] + cuts[500:-500:101] + cuts[-500:]


def between(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:]) if a < b]
