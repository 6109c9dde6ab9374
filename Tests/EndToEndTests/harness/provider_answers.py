"""A provider within the test's own process, and answers in each provider's form that bill exactly what they are told to.

It answers at once and whole, with as little work as can be: it is made for cases of many thousands of requests. What an answer bills is
decided by whoever starts it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Callable

from dialects import Billed

#: What a request is answered with: the path with its query, the headers as they came, and the body.
Handler = Callable[[str, bytes, bytes], bytes]

#: The forms of answers, by where a provider is in the stand-in and by the route below it.
ROUTES = {"/messages": "messages", "/responses": "responses", "/embeddings": "embeddings"}


class Listener:
    """A provider that a `World` can have in the place of its own: `start`, `stop` and `port`."""

    def __init__(self, handler: Handler):
        self.handler = handler
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None

    async def start(self) -> "Listener":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self.handler), sock=self._socket, backlog=1024)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, kept alive; requests have a `content-length`, as the gateway's always do."""

    def __init__(self, handler: Handler):
        self.handler = handler
        self.buffer = bytearray()
        self.head: tuple[str, bytes, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            if self.head is None:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                raw = bytes(self.buffer[:end + 2])
                del self.buffer[:end + 4]
                self.head = (raw[:raw.index(b"\r\n")].split(b" ")[1].decode(), raw, length_of(raw))
            target, raw, length = self.head
            if len(self.buffer) < length:
                return
            body = bytes(self.buffer[:length])
            del self.buffer[:length]
            self.head = None
            self.transport.write(self.handler(target, raw, body))


def length_of(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return int(lower[at + 17: lower.index(b"\r\n", at + 2)]) if at >= 0 else 0


def header(head: bytes, name: str) -> str | None:
    """The values of a header of a raw head, joined by commas."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    found = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip().lower() == name]
    return ", ".join(found) if found else None


def framed(body: bytes, content_type: str, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Stand-in\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        status, content_type.encode(), len(body), body)


def refusal(form: str, message: str) -> bytes:
    """A 400 of a form."""
    error: dict = {"message": message, "type": "invalid_request_error"}
    value = {"type": "error", "error": error} if form == "messages" else {"error": error | {"code": "invalid"}}
    if form == "gemini":
        value = {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    return framed(json.dumps(value).encode(), "application/json", 400)


def form_of(target: str) -> str:
    """The form that a request's path asks for: chat, xai, gemini-openai, messages, responses, embeddings or gemini."""
    path = target.partition("?")[0]
    if path.endswith("enerateContent"):
        return "gemini"
    if path.endswith("/chat/completions"):
        place = path.split("/")[1]
        return place if place in ("xai", "gemini-openai") else "chat"
    return next(form for end, form in ROUTES.items() if path.endswith(end))


def usage(form: str, billed: Billed) -> dict:
    """What is billed, as a form reports it."""
    total = billed.prompt + billed.completion
    if form in ("chat", "xai", "gemini-openai"):
        found: dict = {
            "prompt_tokens": billed.prompt, "completion_tokens": billed.completion, "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": billed.cached, "cache_write_tokens": billed.written},
        }
        if form != "chat":
            found["completion_tokens"] -= billed.reasoning
        if form == "xai":
            found |= {"completion_tokens_details": {"reasoning_tokens": billed.reasoning}, "num_sources_used": billed.searches}
        return found
    if form == "messages":
        return {
            "input_tokens": billed.prompt - billed.cached - billed.written, "cache_read_input_tokens": billed.cached,
            "cache_creation_input_tokens": billed.written, "output_tokens": billed.completion,
            "cache_creation": {
                "ephemeral_5m_input_tokens": billed.written - billed.written_hour, "ephemeral_1h_input_tokens": billed.written_hour},
            "server_tool_use": {"web_search_requests": billed.searches},
        }
    if form == "responses":
        return {
            "input_tokens": billed.prompt, "output_tokens": billed.completion, "total_tokens": total,
            "input_tokens_details": {"cached_tokens": billed.cached}, "output_tokens_details": {"reasoning_tokens": billed.reasoning},
        }
    if form == "embeddings":
        return {"prompt_tokens": billed.prompt, "total_tokens": billed.prompt}
    return {
        "promptTokenCount": billed.prompt, "candidatesTokenCount": billed.completion - billed.reasoning,
        "thoughtsTokenCount": billed.reasoning, "cachedContentTokenCount": billed.cached, "totalTokenCount": total,
    }


def answer(form: str, billed: Billed, is_stream: bool) -> bytes:
    """An answer of one word that bills so much: head and body."""
    value = whole(form, usage(form, billed), billed.searches)
    if not is_stream:
        return framed(json.dumps(value).encode(), "application/json")
    return framed(b"".join(stream(form, value)), "text/event-stream")


def whole(form: str, used: dict, searches: int) -> dict:
    if form == "messages":
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "ok"}],
            "stop_reason": "end_turn", "stop_sequence": None, "usage": used}
    if form == "responses":
        calls = [{"type": "web_search_call", "id": f"ws_{i}", "status": "completed", "action": {"type": "search"}} for i in range(searches)]
        said = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]}
        return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [*calls, said], "usage": used}
    if form == "embeddings":
        return {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": used}
    if form == "gemini":
        candidate = {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP", "index": 0}
        return {"candidates": [candidate], "usageMetadata": used, "modelVersion": "m", "responseId": "r"}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": used,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}


def stream(form: str, value: dict) -> list[bytes]:
    """The events of a stream that comes to the same."""
    if form == "gemini":
        return [event(value)]
    if form == "messages":
        begun = value | {"content": [], "stop_reason": None, "usage": value["usage"] | {"output_tokens": 1}}
        text = {"type": "text_delta", "text": "ok"}
        return [named(payload) for payload in (
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": text}, {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": value["usage"]},
            {"type": "message_stop"})]
    if form == "responses":
        begun = value | {"status": "in_progress", "output": [], "usage": None}
        return [named(payload) for payload in (
            {"type": "response.created", "response": begun}, {"type": "response.output_text.delta", "delta": "ok"},
            {"type": "response.completed", "response": value})]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"role": "assistant", "content": "ok"}, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [event(head | {"choices": [choice]}), event(head | {"choices": [last]}),
            event(head | {"choices": [], "usage": value["usage"]}), b"data: [DONE]\n\n"]


def event(value: dict) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def named(payload: dict) -> bytes:
    return f"event: {payload['type']}\n".encode() + event(payload)
