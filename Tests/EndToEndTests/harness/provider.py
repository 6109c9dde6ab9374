"""The stand-in provider as a process of its own, so that it never shares a loop with what is measured or checked."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

import wire
from scenarios import Part


class Provider:
    """Starts and steers `upstream.py`."""

    def __init__(self, folder: str | None = None):
        self.folder = folder
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Provider":
        command = [sys.executable, str(Path(__file__).with_name("upstream.py"))]
        if self.folder:
            command += ["--dir", self.folder]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        line = await asyncio.wait_for(self._process.stdout.readline(), 10)
        self.port = json.loads(line)["port"]
        return self

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _call(self, method: str, path: str, value: object = None) -> object:
        return (await wire.request(self.port, method, path, value=value)).json

    async def log(self, case: str | None = None) -> list[dict]:
        return await self._call("GET", "/_log" + (f"?case={case}" if case else ""))

    async def reset(self) -> None:
        await self._call("POST", "/_reset", {})

    async def script(self, model: str, parts: list[str], **more: object) -> None:
        """Says what a model answers from now on: `more` are the other fields of `scenarios.Answer`."""
        await self._call("POST", "/_script", {"model": model, "parts": parts, **more})

    async def active(self) -> dict:
        return await self._call("GET", "/_active")

    async def step(self, case: str | None = None, count: int = 1, everything: bool = False) -> int:
        """Lets paced answers go on; gives how many it reached."""
        order = {"count": count, "all": everything} | ({"case": case} if case else {})
        return (await self._call("POST", "/_step", order))["stepped"]

    async def only(self, case: str) -> dict:
        """The one request of a case."""
        entries = await self.log(case)
        assert len(entries) == 1, f"the provider was asked {len(entries)} times for {case}, not once"
        return entries[0]

    async def brief(self, case: str) -> list[dict]:
        """The numbers of a case's requests: their state, and how many parts were sent."""
        return await self._call("GET", f"/_log?case={case}&brief=1")

    async def received(self, case: str) -> dict:
        """The numbers of the one request of a case, once it has arrived."""
        entries = await wire.eventually(lambda: self.brief(case), f"the provider receives the request of {case}")
        assert len(entries) == 1, f"the provider was asked {len(entries)} times for {case}, not once"
        return entries[0]


def parts(entry: dict) -> list[Part]:
    """What was sent, as the log has it."""
    return [Part(base64.b64decode(part["data"]), part["usage_only"]) for part in entry["sent"]]


def sent(entry: dict, with_usage_chunk: bool = True) -> bytes:
    return b"".join(part.data for part in parts(entry) if with_usage_chunk or not part.usage_only)
