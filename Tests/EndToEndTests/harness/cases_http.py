"""What HTTP itself asks of the server: interim answers, HEAD, and clients of HTTP/1.0."""

from __future__ import annotations

import asyncio

from checks import case
from world import World

PATH = "/v1/chat/completions"


async def talk(port: int, head: str, body: bytes = b"", wait_for: bytes | None = None) -> tuple[bytes, bytes]:
    """Sends a head, waits for what must come before the body, sends the body; gives that and all that follows to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode())
        before = await asyncio.wait_for(reader.readuntil(wait_for), 10) if wait_for else b""
        writer.write(body)
        return before, await asyncio.wait_for(reader.read(-1), 20)
    finally:
        writer.close()


@case
async def http() -> None:
    """A client that waits for 100 gets it, HEAD is GET without a body, and HTTP/1.0 gets no chunks."""
    async with World(["up:finish"]) as world:
        check, port = world.check, world.gateway.port
        key = await world.gateway.user("alice", 100_000)
        start = f"POST {PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
        with check.about("Expect: 100-continue"):
            body = b'{"model":"up:finish","messages":[{"role":"user","content":"hi"}]}'
            head = start + f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
            interim, answer = await talk(port, head, body, wait_for=b"\r\n\r\n")
            check.equal(interim, b"HTTP/1.1 100 Continue\r\n\r\n", "the interim answer")
            check.that(answer.startswith(b"HTTP/1.1 200 "), f"the answer was {answer[:300]!r}")
        with check.about("Expect: 100-continue with a body that is too long"):
            _, answer = await talk(port, start + "expect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n")
            check.that(answer.startswith(b"HTTP/1.1 413 "), f"the answer was {answer[:300]!r}")
        with check.about("two requests at once on one connection"):
            body = b'{"model":"up:finish","messages":[{"role":"user","content":"hi"}]}'
            head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"
            first = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
            last = head.encode() + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            _, answer = await talk(port, "", first + last)
            check.equal(answer.count(b"HTTP/1.1 200 "), 2, "answers")
        with check.about("HEAD"):
            _, answer = await talk(port, "HEAD /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            lines, _, rest = answer.partition(b"\r\n\r\n")
            check.that(lines.startswith(b"HTTP/1.1 200 "), f"the answer was {answer[:300]!r}")
            check.that(b"content-length: 20" in lines.lower(), f"no length of the body in {lines!r}")
            check.equal(rest, b"", "the body")
        for stream in ("false", "true"):
            with check.about(f"HTTP/1.0, stream {stream}"):
                body = f'{{"model":"up:finish","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}'.encode()
                head = f"POST {PATH} HTTP/1.0\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
                _, answer = await talk(port, head, body)
                lines, _, rest = answer.partition(b"\r\n\r\n")
                check.that(lines.startswith(b"HTTP/1.0 200 "), f"the answer was {answer[:300]!r}")
                check.that(b"transfer-encoding" not in lines.lower(), f"it is chunked: {lines!r}")
                end = b"data: [DONE]\n\n" if stream == "true" else b"}"
                check.that(rest.strip(b"\n").endswith(end.strip(b"\n")), f"the body ends with {rest[-100:]!r}")
        await world.settled("alice")
        charged = [event for event in await world.gateway.events() if event["name"] == "request_charged"]
        check.equal(len(charged), 5, "charges")
