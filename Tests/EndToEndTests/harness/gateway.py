"""The real server as a process, with a ledger, a configuration and a temporary folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import tempfile
from collections import deque
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import wire

ROOT = Path(__file__).resolve().parents[3]
SERVER = os.environ.get("LEDGER_SERVER") or str(ROOT / ".build/debug/LedgerServer")
REPLAY = os.environ.get("REPLAY") or str(ROOT / ".build/debug/replay")

MASTER_KEY = "master-key-of-the-end-to-end-tests"
#: USD per million tokens of every model that is configured here.
PRICE = {"input_price_per_million": 1.0, "output_price_per_million": 2.0, "cached_price_per_million": 0.25}
LIMITS = {
    "connect_timeout_seconds": 2, "first_byte_timeout_seconds": 20, "idle_timeout_seconds": 20,
    "stream_duration_seconds": 60, "shutdown_grace_seconds": 5,
    # What the provider is asked, it is asked once, unless a case is about asking again.
    "upstream_attempts": 1, "circuit_failures": 0,
}
START_SECONDS = 30.0
LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class StartFailed(AssertionError):
    """The server ended before it listened."""

    def __init__(self, code: int | None, output: str, seconds: float):
        self.code, self.output, self.seconds = code, output, seconds
        super().__init__(f"the server did not start (exit code {code}, after {seconds:.1f} s); its output:\n{output}")


def yaml(value: object, indent: int = 0) -> str:
    """The little YAML that a configuration needs: mappings in lines, everything else as JSON (which is YAML)."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    lines = []
    for key, inner in value.items():
        name = key if re.fullmatch(r"[a-z_][a-z0-9_]*", key) else json.dumps(key)
        text = yaml(inner, indent + 2)
        separator = "\n" if isinstance(inner, dict) and inner else " "
        lines.append(" " * indent + f"{name}:{separator}{text}")
    return "\n".join(lines)


class Gateway:
    """Starts, kills and asks the server.

    `models` are the `provider:model` keys that get a price; `settings` replaces top-level keys of the configuration; `providers`
    adds to the providers `up`, `whole`, `c1`, `c7`, `utf8` and `crlf`, which are the stand-in's deliveries.
    """

    def __init__(self, provider_port: int, models: list[str], limits: dict | None = None, settings: dict | None = None,
                 providers: dict | None = None, folder: str | None = None, env: dict | None = None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="ledger-e2e-"))
        self.owns_folder = folder is None
        self.database = self.folder / "ledger.sqlite"
        self.config_path = self.folder / "config.yaml"
        base = f"http://127.0.0.1:{provider_port}"
        deliveries = {"up": "/v1", **{name: f"/{name}/v1" for name in ("whole", "c1", "c7", "utf8", "crlf")}}
        self.config: dict = {
            "database_url": f"sqlite:///{self.database}",
            "master_key": MASTER_KEY,
            "providers": {name: {"api_base": base + path, "api_key": "test"} for name, path in deliveries.items()} | (providers or {}),
            "pricing": {model: dict(PRICE) for model in models},
            "limits": {**LIMITS, **(limits or {})},
        } | (settings or {})
        self.env = env or {}
        #: Beyond so many bytes no file can be written, as if the disk were full; None: no limit.
        self.file_size_limit: int | None = None
        self.port = 0
        self.users: list[str] = []
        #: What the server printed since it was last started, bounded.
        self.output: deque[str] = deque(maxlen=5000)
        self.process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task | None = None
        self.write_config()

    def write_config(self, text: str | None = None) -> None:
        self.config_path.write_text(text if text is not None else yaml(self.config) + "\n")

    # -- the process

    async def start(self, *more: str) -> "Gateway":
        loop = asyncio.get_running_loop()
        began = loop.time()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")} | self.env
        self.output.clear()
        listening = loop.create_future()
        self.process = await asyncio.create_subprocess_exec(
            SERVER, "serve", "--config", str(self.config_path), "--host", "127.0.0.1", "--port", "0", *more,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=environment, limit=2**22, cwd=self.folder, preexec_fn=self._limit_file_size if self.file_size_limit else None)
        self._reading = asyncio.create_task(self._read(self.process.stdout, listening))
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait({listening, ended}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            code = self.process.returncode
            if code is None:
                self.process.kill()
            await ended
            await self._reading
            listening.cancel()
            raise StartFailed(code, "\n".join(self.output), loop.time() - began)
        ended.cancel()
        self.port = listening.result()
        return self

    def _limit_file_size(self) -> None:
        # Ignored, the signal leaves the failed write to tell.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size_limit, self.file_size_limit))

    async def _read(self, stream: asyncio.StreamReader, listening: asyncio.Future) -> None:
        while line := await stream.readline():
            text = line.decode("utf-8", "replace").rstrip("\n")
            self.output.append(text)
            found = LISTENING.search(text)
            if found and not listening.done():
                listening.set_result(int(found[1]))

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, seconds: float) -> int:
        """Waits for the process to end, and gives its exit code."""
        try:
            code = await asyncio.wait_for(self.process.wait(), seconds)
        except asyncio.TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"the server had not ended {seconds:g} s after it was asked to; it was killed") from None
        await self._reading
        return code

    async def stop(self, seconds: float = 20.0) -> int:
        """Asks the server to end (SIGTERM), waits, and gives its exit code."""
        if not self.is_running:
            return self.process.returncode if self.process else 0
        self.terminate()
        return await self.ended(seconds)

    async def kill9(self) -> None:
        if self.is_running:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            await self._reading

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def close(self) -> None:
        if self.is_running:
            self.process.kill()
            await self.process.wait()
            await self._reading
        if self.owns_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def last_output(self, lines: int = 80) -> str:
        return "\n".join(list(self.output)[-lines:])

    # -- asking it

    async def api(self, method: str, path: str, value: object = None, key: str | None = MASTER_KEY,
                  headers: dict | None = None, **more) -> wire.Response:
        headers = dict(headers or {})
        if key is not None:
            headers.setdefault("authorization", f"Bearer {key}")
        return await wire.request(self.port, method, path, headers, value, **more)

    async def wanted(self, method: str, path: str, value: object = None, **more) -> object:
        """As `api`, for calls that have to succeed; gives the JSON."""
        response = await self.api(method, path, value, **more)
        assert response.status == 200 and response.complete, f"{method} {path} gave {response}"
        return response.json

    async def user(self, user: str, credits: str | float | None = None) -> str:
        """Creates a user, with credits if any are given, and gives a key of theirs."""
        await self.wanted("POST", "/v1/users", {"user_id": user})
        self.users.append(user)
        if credits is not None:
            await self.top_up(user, credits)
        return await self.key(user)

    async def top_up(self, user: str, credits: str | float, headers: dict | None = None) -> wire.Response:
        # Written by hand, so that all nine decimals arrive as they are.
        body = f'{{"user_id": {json.dumps(user)}, "amount": {credits}}}'.encode()
        response = await self.api("POST", "/v1/billing/topup", None, body=body, headers=headers)
        assert response.status == 200 or headers, f"the top-up of {user} gave {response}"
        return response

    async def key(self, user: str, **more) -> str:
        return (await self.wanted("POST", "/v1/keys", {"user_id": user, "key_name": "test", **more}))["key"]

    async def balance(self, user: str) -> dict:
        response = await self.api("GET", f"/v1/profile/balance?user={quote(user)}")
        assert response.status == 200, f"the balance of {user} gave {response}"
        # Exact: no number of a balance passes through binary floating point here.
        return json.loads(response.body, parse_float=Decimal)["data"]

    async def usage(self, user: str, limit: int = 500, rows: int = 0) -> list[dict]:
        """A user's usage log; as it is, or once it has so many rows (it follows the ledger some instants behind)."""

        async def read() -> list[dict] | None:
            found = await self.wanted("GET", f"/v1/users/{quote(user)}/usage?skip=0&limit={limit}")
            return found if len(found) >= rows else None

        return await wire.eventually(read, f"the usage log of {user} has {rows} rows") if rows else await read()

    def chat(self, key: str, model: str, *, stream: bool = False, case: str | None = None, headers: dict | None = None,
             receive_buffer: int | None = None, **more) -> wire.Exchange:
        """A chat request that has not been sent yet (`async with`, or `await …send()`)."""
        body: dict = {"model": model, "messages": [{"role": "user", "content": "Wie heißt die Hauptstadt? 首都"}]}
        if stream:
            body["stream"] = True
        if case:
            body["metadata"] = {"case": case}
        body |= more
        data = json.dumps(body, ensure_ascii=False).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", **(headers or {})}
        return wire.Exchange(self.port, "POST", "/v1/chat/completions", headers, data, receive_buffer=receive_buffer)

    async def answer(self, key: str, model: str, seconds: float = 30.0, **more) -> wire.Response:
        """A chat request and its whole answer."""

        async def run() -> wire.Response:
            async with self.chat(key, model, **more) as exchange:
                return await exchange.rest()

        try:
            return await asyncio.wait_for(run(), seconds)
        except asyncio.TimeoutError:
            raise AssertionError(f"no whole answer of {model} within {seconds:g} s") from None

    # -- the ledger

    async def replay(self, *arguments: object, seconds: float = 120.0) -> tuple[int, str, str]:
        """Runs the auditor's tool: exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            REPLAY, *[str(argument) for argument in arguments], stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        try:
            out, err = await asyncio.wait_for(process.communicate(), seconds)
        except asyncio.TimeoutError:
            process.kill()
            raise AssertionError(f"replay {arguments} took longer than {seconds:g} s") from None
        return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    async def events(self, after: int = 0) -> list[dict]:
        """The ledger's events behind a position, as `replay events` prints them."""
        more = ["--from", after + 1] if after else []
        code, out, err = await self.replay("events", self.database, *more)
        assert code == 0, f"replay events gave exit code {code}: {err or out}"
        # Texts within an event may have what Python takes for the end of a line, too.
        return [_normal(json.loads(line)) for line in out.split("\n") if line.strip()]

    async def verify(self, *more: object, database: Path | None = None) -> tuple[int, dict, str]:
        """`replay verify`: exit code, what it printed as JSON, and all that it printed."""
        code, out, err = await self.replay("verify", database or self.database, "--format", "json", *more)
        try:
            report = json.loads(out)
        except ValueError:
            report = {}
        return code, report, out + err


def _normal(event: dict) -> dict:
    """An event with its data as an object and its type without the schema version."""
    if isinstance(event.get("data"), str):
        event["data"] = json.loads(event["data"])
    event["name"] = re.sub(r"\.v\d+$", "", event["type"])
    return event
