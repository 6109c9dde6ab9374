"""A stand-in for providers, on 127.0.0.1.

`python3 upstream.py [--dir FOLDER]` prints `{"port":N}` and serves until it is stopped.

POST <prefix>/chat/completions answers with the scenario that the request's `model` names (scenarios.py), its bytes cut into
writes as the prefix says. Below <prefix>/strict and <prefix>/xai, and by the routes of Anthropic, Gemini and OpenAI's responses and embeddings, it answers as
these do (dialects.py), and refuses what they would refuse (schemas.py). The model `file:<name>` streams a recorded file of FOLDER. Beside it:

    GET  /_log?case=ID   what was received and sent, oldest first; all of it without `case`; only the numbers with `brief=1`
    POST /_reset         forgets the log
    POST /_script        says what a model answers from now on, before anything else: {"model": NAME, "parts": [TEXT …], …}, the other members as
                         in `scenarios.Answer`; a list of headers is of pairs
    GET  /_active        {"active": answers under way, "aborted": clients that vanished in mid-answer}
    POST /_step          lets paced answers send their next part: {"case": ID, "count": N} or {"all": true};
                         answers {"stepped": how many answers it reached}

A request is a case's own where its body has `"metadata": {"case": ID}`, or the text `[case:ID]` anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import socket
import struct
import urllib.parse
from pathlib import Path

import dialects
import scenarios
import schemas

#: How long an answer that is about to be reset waits for a step, so that what it sent before is read first.
RESET_GRACE_SECONDS = 2.0


class Vanished(Exception):
    """The client closed the connection."""


class Ended(Exception):
    """The stand-in itself ended the connection, as the scenario wants it."""


class Entry:
    """A request to a model, and what became of its answer."""

    def __init__(self, number: int, head: Head, body: bytes):
        self.number, self.head, self.body = number, head, body
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None
        request = self.json if isinstance(self.json, dict) else {}
        self.dialect, model = dialect_of(head.path)
        self.model = model or str(request.get("model", ""))
        metadata = request.get("metadata")
        marker = re.search(rb"\[case:([^\]]+)\]", body)
        self.case = (metadata.get("case") if isinstance(metadata, dict) else None) or (marker and marker[1].decode())
        self.violations: list[str] = []
        self.sent: list[scenarios.Part] = []
        self.state = "received"
        self.steps = asyncio.Semaphore(0)
        self.unpaced = asyncio.Event()

    def as_json(self, brief: bool) -> dict:
        numbers = {"n": self.number, "model": self.model, "case": self.case, "state": self.state, "parts": len(self.sent)}
        return numbers if brief else numbers | {
            "path": self.head.path, "query": self.head.target.partition("?")[2], "headers": self.head.headers,
            "dialect": self.dialect, "violations": self.violations,
            "body_base64": base64.b64encode(self.body).decode(), "json": self.json,
            "sent": [{"data": base64.b64encode(part.data).decode(), "usage_only": part.usage_only} for part in self.sent],
        }

    def step(self, count: int, everything: bool) -> None:
        if everything:
            self.unpaced.set()
        for _ in range(count):
            self.steps.release()


ROUTES = {"/chat/completions": "chat", "/messages": "messages", "/responses": "responses", "/embeddings": "embeddings"}


def dialect_of(path: str) -> tuple[str | None, str | None]:
    """The provider's form that a path is of, and the model where the path names it."""
    if found := re.search(r"/models/([^/]+):(?:streamG|g)enerateContent$", path):
        return "gemini", urllib.parse.unquote(found[1])
    if found := re.search(r"/deployments/([^/]+)/chat/completions$", path):
        return "chat", urllib.parse.unquote(found[1])
    if "/xai/" in path and path.endswith("/chat/completions"):
        return "xai", None
    return next((dialect for end, dialect in ROUTES.items() if path.endswith(end)), None), None


class Head:
    def __init__(self, raw: bytes):
        lines = raw.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = [[name.strip(), value.strip()] for name, _, value in (line.partition(":") for line in lines[1:])]
        url = urllib.parse.urlsplit(self.target)
        self.path, self.query = url.path, dict(urllib.parse.parse_qsl(url.query))

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key.lower() == name), default)


class State:
    def __init__(self, folder: Path | None):
        self.folder = folder
        self.entries: list[Entry] = []
        #: What models answer that a case has told.
        self.scripts: dict[str, scenarios.Answer] = {}
        self.under_way: set[Entry] = set()
        self.aborted = 0
        self.count = 0


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; it always knows at once when its client is gone."""

    def __init__(self, state: State):
        self.state = state
        self.buffer = bytearray()
        self.news = asyncio.Event()
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    # -- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.socket = transport.get_extra_info("socket")
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.task = asyncio.get_running_loop().create_task(self.serve())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.news.set()

    def eof_received(self) -> bool:
        # A client that half-closes no longer wants its answer.
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()
        self.news.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    # -- reading

    async def more(self) -> None:
        self.news.clear()
        if self.gone.is_set():
            raise Vanished
        await self.news.wait()

    async def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self.more()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def until(self, mark: bytes) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            await self.more()
        data = await self.take(at + len(mark))
        return data[: -len(mark)]

    async def body(self, head: Head) -> bytes:
        if head.get("transfer-encoding").lower() != "chunked":
            return await self.take(int(head.get("content-length", "0")))
        body = b""
        while True:
            size = int((await self.until(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                await self.until(b"\r\n")
                return body
            body += await self.take(size)
            await self.take(2)

    # -- writing

    async def write(self, data: bytes) -> None:
        if self.gone.is_set():
            raise Vanished
        self.transport.write(data)
        await self.writable.wait()
        # Lets the loop see whether the client is gone, and the segment leave before the next.
        await asyncio.sleep(0)
        if self.gone.is_set():
            raise Vanished

    async def unless_gone(self, awaitable, seconds: float | None = None) -> bool:
        """Waits for something, at most so long; False where the time ran out. Raises where the client is gone."""
        wanted = asyncio.ensure_future(awaitable)
        gone = asyncio.ensure_future(self.gone.wait())
        done, pending = await asyncio.wait({wanted, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if gone in done:
            raise Vanished
        return wanted in done

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def respond(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        head = [f"HTTP/1.1 {status} Stand-in", f"content-length: {len(body)}"] + [f"{k}: {v}" for k, v in headers]
        await self.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def respond_json(self, value: object, status: int = 200) -> None:
        await self.respond(status, json.dumps(value).encode(), [("content-type", "application/json")])

    # -- serving

    async def serve(self) -> None:
        try:
            while True:
                head = Head(await self.until(b"\r\n\r\n"))
                body = await self.body(head)
                await self.route(head, body)
        except (Vanished, Ended):
            pass
        finally:
            if not self.gone.is_set():
                self.transport.close()

    async def route(self, head: Head, body: bytes) -> None:
        state = self.state
        if dialect_of(head.path)[0] and head.method == "POST":
            await self.complete(head, body)
        elif head.path == "/_log":
            case = head.query.get("case")
            chosen = [entry for entry in state.entries if case is None or entry.case == case]
            await self.respond_json([entry.as_json("brief" in head.query) for entry in chosen])
        elif head.path == "/_reset":
            state.entries.clear()
            await self.respond_json({})
        elif head.path == "/_script":
            order = json.loads(body)
            model, parts = order.pop("model"), order.pop("parts")
            state.scripts[model] = scenarios.Answer([scenarios.Part(part.encode()) for part in parts], **order)
            await self.respond_json({})
        elif head.path == "/_active":
            await self.respond_json({"active": len(state.under_way), "aborted": state.aborted})
        elif head.path == "/_step":
            order = json.loads(body or b"{}")
            case = order.get("case")
            chosen = [entry for entry in state.under_way if case is None or entry.case == case]
            for entry in chosen:
                entry.step(int(order.get("count", 1)), bool(order.get("all")))
            await self.respond_json({"stepped": len(chosen)})
        else:
            await self.respond_json({"error": {"message": "no such route", "type": "invalid_request_error"}}, 404)

    async def complete(self, head: Head, body: bytes) -> None:
        state = self.state
        state.count += 1
        entry = Entry(state.count, head, body)
        state.entries.append(entry)
        state.under_way.add(entry)
        try:
            first = head.path.split("/")[1]
            delivery = first if first in scenarios.DELIVERIES else "events"
            request = entry.json if isinstance(entry.json, dict) else {}
            answer = state.scripts.get(entry.model) or self.recorded(entry.model) or self.answer(entry, request)
            if answer is None:
                message = f"The model '{entry.model}' does not exist."
                await self.respond_json(
                    {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_found"}}, 404)
                entry.state = "refused"
                return
            await self.send(entry, answer, delivery)
        except Vanished:
            entry.state = "aborted"
            state.aborted += 1
            raise
        finally:
            state.under_way.discard(entry)

    def answer(self, entry: Entry, request: dict) -> scenarios.Answer | None:
        """The plain chat route knows no rules: clients send odd things there on purpose."""
        head = entry.head
        earlier = sum(1 for other in self.state.entries if other is not entry and other.model == entry.model and other.case == entry.case)
        is_stream = "streamGenerateContent" in head.path or request.get("stream") is True
        is_strict = entry.dialect != "chat" or "/strict/" in head.path or "/deployments/" in head.path
        if not is_strict and not entry.model.startswith("flaky-"):
            return scenarios.answer(entry.model, request)
        headers = {name.lower(): value for name, value in head.headers}
        if is_strict:
            entry.violations = schemas.violations(entry.dialect, headers, head.target.partition("?")[2], entry.json)
            if ("alt=sse" in head.target) != (entry.dialect == "gemini" and is_stream):
                entry.violations.append("alt=sse is for streams of Gemini")
        if entry.violations:
            return dialects.refusal(entry.dialect, 400, "; ".join(entry.violations))
        key = headers.get("x-api-key") or headers.get("x-goog-api-key") or headers.get("api-key") or headers.get("authorization", "")
        return dialects.answer(entry.dialect, entry.model, request, is_stream, key, earlier)

    def recorded(self, model: str) -> scenarios.Answer | None:
        if not model.startswith("file:") or self.state.folder is None:
            return None
        path = self.state.folder / Path(model.removeprefix("file:")).name
        if not path.is_file():
            return None
        events = [block + b"\n\n" for block in path.read_bytes().split(b"\n\n") if block.strip()]
        return scenarios.Answer([scenarios.Part(block) for block in events])

    async def send(self, entry: Entry, answer: scenarios.Answer, delivery: str) -> None:
        if answer.instead_of_head == "reset":
            entry.state = "reset"
            self.reset()
            raise Ended
        if answer.instead_of_head == "stall":
            entry.state = "stalled"
            await self.unless_gone(asyncio.Event().wait())
        parts = scenarios.delivered(answer.parts, delivery)
        if answer.holds_head or (answer.framing == "length" and isinstance(answer.pace, (str, float))):
            await self.pause(entry, answer.pace or "step")
        entry.state = "sending"
        await self.write(answer.prelude + self.head_of(answer, sum(len(part.data) for part in parts)))
        for group in grouped(parts, answer, delivery):
            if answer.framing == "chunked" and answer.pace is not None:
                await self.pause(entry, answer.pace)
            for piece in scenarios.pieces(b"".join(part.data for part in group), delivery):
                await self.write(framed(piece) if answer.framing == "chunked" else piece)
            entry.sent += group
        await self.end(entry, answer)

    async def pause(self, entry: Entry, pace: str | float) -> None:
        if entry.unpaced.is_set():
            return
        if pace != "step":
            await self.unless_gone(asyncio.sleep(float(pace)))
            return

        async def let_go() -> None:
            waits = [asyncio.ensure_future(entry.steps.acquire()), asyncio.ensure_future(entry.unpaced.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

        await self.unless_gone(let_go())

    def head_of(self, answer: scenarios.Answer, length: int) -> bytes:
        lines = [f"HTTP/1.1 {answer.status} Stand-in"] + [f"{name}: {value}" for name, value in answer.headers]
        frames = {"chunked": "transfer-encoding: chunked", "length": f"content-length: {length}", "close": "connection: close"}
        lines.append(frames[answer.framing])
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    async def end(self, entry: Entry, answer: scenarios.Answer) -> None:
        if answer.ending == "stall":
            entry.state = "stalled"
            await self.unless_gone(asyncio.Event().wait())
        elif answer.ending == "reset":
            await self.unless_gone(entry.steps.acquire(), RESET_GRACE_SECONDS)
            entry.state = "reset"
            self.reset()
            raise Ended
        elif answer.ending == "close":
            # An HTTP client may drop what it has read and not yet handed on when the connection ends under it.
            await self.unless_gone(entry.steps.acquire(), RESET_GRACE_SECONDS)
            entry.state = "closed"
            self.transport.close()
            raise Ended
        else:
            if answer.framing == "chunked":
                await self.write(b"0\r\n\r\n")
            entry.state = "finished"
            if answer.framing == "close":
                self.transport.close()
                raise Ended


def framed(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def grouped(parts: list[scenarios.Part], answer: scenarios.Answer, delivery: str) -> list[list[scenarios.Part]]:
    """The parts that are sent, in the groups that go out together; the last may be cut in two."""
    if answer.stop_after is not None:
        parts = parts[: answer.stop_after]
    if answer.cut and parts:
        last = parts[-1].data
        parts = parts[:-1] + [scenarios.Part(last[: len(last) // 2])]
    if delivery == "whole" and answer.pace is None:
        return [parts] if parts else []
    return [[part] for part in parts]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, help="folder of recorded streams")
    arguments = parser.parse_args()
    state = State(arguments.dir)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
