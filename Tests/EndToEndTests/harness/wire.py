"""A raw HTTP/1.1 client over asyncio: it shows the exact bytes, whether a body ended properly, and can vanish at any byte."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field

DEADLINE_SECONDS = 30.0


class Broken(Exception):
    """The server closed or reset the connection before it had answered."""


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    #: Whether the body came to the end that its framing promises.
    complete: bool = False
    #: Why it did not.
    failure: str = ""
    received: bytearray = field(default_factory=bytearray)

    @property
    def body(self) -> bytes:
        return bytes(self.received)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self) -> object:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def __str__(self) -> str:
        end = "" if self.complete else f" (incomplete: {self.failure})"
        return f"{self.status} {self.text[:600]!r}{end}"


@dataclass
class Event:
    """A server-sent event: its bytes, its data, and what the data say where they are JSON."""

    raw: bytes
    data: str | None = None
    name: str = ""
    json: object = field(default=None)

    @property
    def is_done(self) -> bool:
        return self.data == "[DONE]"

    @property
    def is_error(self) -> bool:
        return isinstance(self.json, dict) and isinstance(self.json.get("error"), dict)


def events(body: bytes) -> list[Event]:
    """Reads an event stream; an event that has not ended is left out."""
    found: list[Event] = []
    block: list[bytes] = []
    for line in body.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        block.append(line)
        if line in (b"\n", b"\r\n"):
            found.append(_event(block))
            block = []
    return found


def _event(lines: list[bytes]) -> Event:
    event = Event(b"".join(lines))
    data = []
    for line in lines:
        name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event.name = value
    if data:
        event.data = "\n".join(data)
        try:
            event.json = json.loads(event.data)
        except ValueError:
            pass
    return event


class Exchange:
    """One request and its answer on a connection of its own, read as far as the caller wants."""

    def __init__(self, port: int, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None,
                 raw: bytes | None = None, receive_buffer: int | None = None):
        self.port = port
        #: Bytes that the kernel may keep for us; a small figure makes a reader that does not read felt soon.
        self.receive_buffer = receive_buffer
        lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        self.bytes_to_send = raw if raw is not None else "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")
        self.response: Response | None = None
        self._pending = b""  # of the chunked framing
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self) -> "Exchange":
        if self._writer is not None:
            return self
        try:
            if self.receive_buffer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
            else:
                self._reader, self._writer = await self._connect_narrow()
        except OSError as error:
            raise Broken(f"cannot connect: {error}") from error
        try:
            self._writer.write(self.bytes_to_send)
            await self._writer.drain()
        except OSError:
            pass  # a server that answers before it has read everything may close; its answer is still to be read
        return self

    async def _connect_narrow(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        # A small limit: the stream stops reading from the socket until somebody takes what there is.
        return await asyncio.open_connection(sock=sock, limit=self.receive_buffer)

    async def head(self) -> Response:
        """Reads the answer's head."""
        if self.response is not None:
            return self.response
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise Broken(f"no answer: {error}") from error
        lines = raw.decode("latin-1").split("\r\n")
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        status = int(lines[0].split(" ")[1])
        if 100 <= status < 200:
            return await self.head()
        self.response = Response(status, headers)
        if status == 204 or (self._length == 0 and not self._chunked):
            self.response.complete = True
        return self.response

    @property
    def _chunked(self) -> bool:
        return (self.response.header("transfer-encoding") or "").lower() == "chunked"

    @property
    def _length(self) -> int | None:
        length = self.response.header("content-length")
        return int(length) if length is not None else None

    async def some(self) -> bool:
        """Reads what comes next of the body; False where nothing more comes."""
        response = await self.head()
        if response.complete or response.failure:
            return False
        try:
            data = await self._reader.read(65536)
        except OSError as error:
            response.failure = str(error) or type(error).__name__
            return False
        if not data:
            if not self._chunked and self._length is None:
                response.complete = True
            else:
                response.failure = "closed in mid-body"
            return False
        if self._chunked:
            self._unframe(data)
        else:
            response.received += data
            if self._length is not None and len(response.received) >= self._length:
                response.complete = True
        return True

    def _unframe(self, data: bytes) -> None:
        pending, at = self._pending + data, 0
        while (end := pending.find(b"\r\n", at)) >= 0:
            size = int(pending[at:end].split(b";")[0], 16)
            if len(pending) < end + 2 + size + 2:
                break
            if size == 0:
                self.response.complete = True
                break
            self.response.received += pending[end + 2: end + 2 + size]
            at = end + 2 + size + 2
        self._pending = pending[at:]

    async def until(self, enough) -> bool:
        """Reads until `enough(body)`; False where the answer ended before."""
        await self.head()
        while not enough(self.response.body):
            if not await self.some():
                return enough(self.response.body)
        return True

    async def events(self, count: int) -> bool:
        """Reads until so many events have come."""
        return await self.until(lambda body: len(events(body)) >= count)

    async def rest(self) -> Response:
        while await self.some():
            pass
        return self.response

    def drop(self, reset: bool = False) -> None:
        """Vanishes: closes the connection, or resets it."""
        if self._writer is None:
            return
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self._writer = None

    def half_close(self) -> None:
        """Sends no more, and reads on."""
        self._writer.write_eof()

    async def __aenter__(self) -> "Exchange":
        return await self.send()

    async def __aexit__(self, *_: object) -> None:
        self.drop()


async def request(port: int, method: str, path: str, headers: dict[str, str] | None = None, value: object = None,
                  body: bytes | None = None, raw: bytes | None = None, seconds: float = DEADLINE_SECONDS) -> Response:
    """One request and its whole answer; `value` is sent as JSON."""
    headers = dict(headers or {})
    if value is not None:
        body = json.dumps(value, ensure_ascii=False).encode()
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["content-type"] = "application/json"

    async def run() -> Response:
        async with Exchange(port, method, path, headers, body, raw) as exchange:
            return await exchange.rest()

    try:
        return await asyncio.wait_for(run(), seconds)
    except asyncio.TimeoutError:
        raise Broken(f"{method} {path}: no whole answer within {seconds} s") from None


async def eventually(condition, what: str, seconds: float = 10.0, every: float = 0.02):
    """Polls until `condition()` (which may be a coroutine function) gives something true, and gives that."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if loop.time() > deadline:
            raise AssertionError(f"within {seconds:g} s it did not happen that {what}")
        await asyncio.sleep(every)
