"""Random requests of every table, to providers that take nothing else and bill as much as they may: no charge is beyond its hold."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import Counter
from dataclasses import dataclass, replace
from random import Random

import provider_answers
from checks import case
from dialects import Billed
from gateway import REPLAY
from provider_answers import Listener
from request_generator import Files, Generator, text_of
from request_tables import Table, tables
from strict_upstream import GEMINI, SEARCH_TOKENS, Refuses, StrictReader
from world import World

PRICE = {
    "input_price_per_million": 1.0, "output_price_per_million": 2.0, "cached_price_per_million": 0.25, "web_search_price_per_thousand": 10,
}
#: Pico-USD for a token, or a search; writing to a cache costs what it does where no price is given.
INPUT, OUTPUT, WRITE, WRITE_HOUR, SEARCH = 1_000_000, 2_000_000, 1_250_000, 2_000_000, 10_000_000_000
WINDOW = 20_000
CONNECTIONS = 32
#: Providers: their kind, how they are called in paths, and the family of their model.
PROVIDERS = {
    "own": ("openai", "m"), "closed": ("openai", "m"), "azure": ("azure", "gpt-4o"), "xai": ("xai", "grok-4"), "gemo": ("gemini-openai", "gemini-2.5-flash"),
    "ant": ("anthropic", "claude-sonnet-4-5"), "gem": ("gemini", "gemini-2.5-flash"),
}
BOTH = ["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True)
class Door:
    """A table, and where a client finds it; `sent`: the table of what the provider gets, `heeded`: by which names it is bounded."""

    table: str
    provider: str
    route: str
    sent: str
    heeded: tuple[str, ...]

    @property
    def is_translated(self) -> bool:
        return self.table != self.sent


def door(table: str, provider: str, route: str, *heeded: str, sent: str | None = None) -> Door:
    return Door(table, provider, route, sent or table, heeded)


DOORS = [
    door("compatible-chat", "own", "chat", *BOTH), door("compatible-chat", "closed", "chat", *BOTH),
    door("azure-chat", "azure", "chat", "max_completion_tokens"), door("xai-chat", "xai", "chat", *BOTH),
    door("gemini-openai-chat", "gemo", "chat", *BOTH), door("anthropic-chat", "ant", "chat", "max_tokens", sent="anthropic-messages"),
    door("gemini-chat", "gem", "chat", "maxOutputTokens", sent="gemini"), door("anthropic-messages", "ant", "messages", "max_tokens"),
    door("openai-responses", "azure", "responses", "max_output_tokens"), door("responses-compatible", "own", "responses", "max_output_tokens"), door("xai-responses", "xai", "responses", "max_output_tokens"),
    door("embeddings", "azure", "embeddings"), door("embeddings-compatible", "own", "embeddings"),
]


class Slot:
    """A connection of a client, with a model of its own at every provider: so what is sent for it is known by the model's name."""

    def __init__(self, number: int):
        self.number = number
        self.key = ""
        self.door = DOORS[0]
        #: What the provider has billed for the request that is under way, and whether by its rules; None: it was not asked.
        self.billed: tuple[Billed, bool] | None = None
        self.refused = False
        self.document = ""


class StrictWorld(World):
    def __init__(self, seed: int):
        self.random = Random(seed)
        self.files = Files()
        self.tables = tables()
        self.slots = [Slot(number) for number in range(CONNECTIONS)]
        found = self.tables | {"gemini": Table("gemini", [GEMINI])}
        self.readers = {
            door: StrictReader(found[door.sent], self.files.known, PROVIDERS[door.provider][1], WINDOW, passes=door.provider == "own") for door in DOORS}
        self.problems: Counter = Counter()
        #: What was billed, by request.
        self.expected: dict[str, tuple[Billed | None, bool, str]] = {}
        listener = Listener(self.answer)
        base = f"http://127.0.0.1:{listener.port}"
        providers = {name: {"kind": kind, "api_base": f"{base}/{kind}/v1", "api_key": "sk-7"} for name, (kind, _) in PROVIDERS.items()}
        providers["closed"]["unknown_members"] = "refuse"
        names = [f"{provider}:{self.model(provider, slot)}" for provider in PROVIDERS for slot in self.slots]
        super().__init__([], is_audited=False, settings={
            "providers": providers, "pricing": {name: PRICE for name in names},
            "models": {name: {"context_tokens": WINDOW, "search_tokens": SEARCH_TOKENS} for name in names},
        }, limits={"max_connections": 1000})
        self.provider = listener

    async def __aenter__(self) -> "StrictWorld":
        await super().__aenter__()
        # A line for each request would take longer than some requests.
        await self.gateway.stop()
        await self.gateway.start("--log-level", "notice")
        return self

    def model(self, provider: str, slot: Slot) -> str:
        return f"{PROVIDERS[provider][1]}-slot{slot.number}"

    def answer(self, target: str, head: bytes, body: bytes) -> bytes:
        """What the provider answers; whatever it should not have got is a failure of the gateway's."""
        form = provider_answers.form_of(target)
        at = target.find("-slot") if form == "gemini" else -1
        number = target[at + 5: target.index(":", at)] if at >= 0 else body[(found := body.index(b"-slot") + 5): body.index(b'"', found)].decode()
        slot = self.slots[int(number)]
        reader = self.readers[slot.door]
        kept = True
        try:
            read = reader.read(body)
            billed = reader.bill(form, list(slot.door.heeded))
        except Refuses:
            slot.refused = True
            return provider_answers.refusal(form, "no")
        for problem in read.problems:
            self.problem(slot, f"the provider got what it does not take: {problem}")
        if slot.billed is not None:
            self.problem(slot, "the provider was asked twice")
        if self.random.random() < 0.04:
            # It misbehaves.
            kept = False
            more = self.random.choice([1000, 10**6])
            completion = billed.completion + more if billed.completion else 0
            billed = replace(billed, prompt=billed.prompt * 2 + more, completion=completion)
        if billed.prompt + billed.completion > 2**31:
            # No figure beyond it is believed.
            billed = replace(billed, completion=2**31 - billed.prompt, reasoning=0)
        slot.billed = (billed, kept)
        return provider_answers.answer(form, billed, read.is_stream or "streamGenerate" in target)

    def problem(self, slot: Slot, what: str) -> None:
        self.tell(slot.door.table, f"{slot.door.table} at {slot.door.provider}: {what}; the client sent {slot.document[:1500]}")

    def tell(self, table: str, what: str) -> None:
        """Notes a problem; of each table the first few are told, the others counted."""
        self.problems[table] += 1
        if self.problems[table] <= 5:
            self.check.fail(what)


class Client(asyncio.Protocol):
    """A connection that is kept alive: the answer to a request is its status, its request's name and its body."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiting: asyncio.Future | None = None
        self.end = -1
        self.is_chunked = False
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(AssertionError(f"the gateway closed the connection in mid-answer: {bytes(self.buffer[:300])!r}"))

    def ask(self, data: bytes) -> asyncio.Future:
        self.buffer.clear()
        self.end = -1
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        if self.end < 0:
            at = buffer.find(b"\r\n\r\n")
            if at < 0:
                return
            head = bytes(buffer[:at + 2])
            self.is_chunked = b"transfer-encoding: chunked" in head.lower()
            self.end = at + 4 + (0 if self.is_chunked else provider_answers.length_of(head))
        is_over = buffer.endswith(b"\r\n0\r\n\r\n") if self.is_chunked else len(buffer) >= self.end
        if is_over and not self.waiting.done():
            head, _, body = bytes(buffer).partition(b"\r\n\r\n")
            self.waiting.set_result((int(head[9:12]), provider_answers.header(head + b"\r\n", "x-request-id"), body))


@case(takes_argument=True)
async def strict_billing(argument: str = "3000") -> None:
    """Random requests of every table, allowed and not, never lead to a charge beyond its hold; the argument is their number, or number-seed."""
    count, _, seed = argument.partition("-")
    seed = int(seed or time.time())
    print(f"strict_billing: {count} requests, seed {seed}")
    threshold = gc.get_threshold()
    gc.set_threshold(200_000)
    try:
        async with StrictWorld(seed) as here:
            for slot in here.slots:
                slot.key = await here.gateway.user(f"user{slot.number}", 1_000_000_000)
            counts: Counter = Counter()
            began = time.monotonic()
            numbers = iter(range(int(count)))
            await asyncio.gather(*[client(here, slot, numbers, Random(f"{seed}-{slot.number}"), counts) for slot in here.slots])
            rate = int(count) / (time.monotonic() - began)
            print(f"strict_billing: {rate:.0f} requests a second")
            tell(here, counts)
            for slot in here.slots:
                await here.settled(f"user{slot.number}")
            here.check.equal(await here.gateway.stop(), 0, "the server's exit code")
            await settlements(here)
            code, report, output = await here.gateway.verify()
            here.check.equal(code, 0, f"exit code of replay verify, which found {report.get('findings') or output[-3000:]}")
    finally:
        gc.set_threshold(*threshold)


def tell(here: StrictWorld, counts: Counter) -> None:
    """How many requests passed, by table: of those that the table allows, and of their mutations."""
    for name in here.tables:
        allowed, refused, odd, other = (counts[name, kind, status] for kind in ("allowed", "mutated") for status in ("passed", "refused"))
        print(f"  {name:24} allowed: {allowed} passed, {refused} refused; mutated: {odd} passed, {other} refused")
        here.check.that(allowed * 3 >= allowed + refused, f"{name}: only {allowed} of {allowed + refused} requests passed that the table allows")
        here.check.that(other > 0, f"{name}: no mutation was refused")
    for key, number in counts.most_common():
        if key[0] == "message" and number * 1000 > counts.total():
            print(f"  {number} times of {key[1]}: {key[2]}")


async def client(here: StrictWorld, slot: Slot, numbers, random: Random, counts: Counter) -> None:
    """Sends requests, one after the other, until there are enough."""
    generator = Generator(random, here.files)
    loop = asyncio.get_running_loop()
    connection: Client | None = None
    for _ in numbers:
        slot.door = door = random.choice(DOORS)
        slot.billed, slot.refused = None, False
        document = generator.request(here.tables[door.table], f"{door.provider}:{here.model(door.provider, slot)}", door.route, door.is_translated)
        kind = "mutated" if random.random() < 0.4 else "allowed"
        slot.document = generator.mutated(document) if kind == "mutated" else text_of(document)
        body = slot.document.encode()
        head = f"POST /v1/{PATHS[door.route]} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {slot.key}\r\ncontent-type: application/json\r\n"
        if connection is None or not connection.is_open:
            _, connection = await loop.create_connection(Client, "127.0.0.1", here.gateway.port)
        status, request, answer = await asyncio.wait_for(connection.ask(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body), 30)
        answered(here, slot, kind, status, request, answer, counts)


PATHS = {"chat": "chat/completions", "messages": "messages", "responses": "responses", "embeddings": "embeddings"}


def answered(here: StrictWorld, slot: Slot, kind: str, status: int, request: str | None, answer: bytes, counts: Counter) -> None:
    name = slot.door.table
    if status == 200:
        counts[name, kind, "passed"] += 1
        if slot.billed is None:
            return here.problem(slot, "was answered without the provider")
        here.expected[request] = (*slot.billed, f"{name} {slot.door.provider} {slot.document}")
        if b'"error"' in answer:
            here.problem(slot, f"the answer has an error: {answer[:300]!r}")
    elif 400 <= status < 500:
        counts[name, kind, "refused"] += 1
        if slot.billed is not None:
            here.problem(slot, f"was refused although the provider has billed it: {answer[:300]!r}")
        if slot.refused:
            here.expected[request] = (None, True, name)
        elif kind == "allowed":
            error = json.loads(answer.partition(b"\r\n\r\n")[2] if answer.startswith(b"HTTP") else answer).get("error", {})
            counts["message", name, str(error.get("message"))[:160]] += 1
    else:
        here.problem(slot, f"was answered {status}: {answer[:300]!r}")


async def settlements(here: StrictWorld) -> None:
    """Each request that reached a provider has one hold and one settlement, of exactly what it billed, and nobody has less than nothing."""
    check, holds, settled = here.check, {}, set()
    process = await asyncio.create_subprocess_exec(REPLAY, "events", str(here.gateway.database), stdout=asyncio.subprocess.PIPE, limit=2**24)
    async for line in process.stdout:
        if b"hold_" not in line and b"request_charged" not in line:
            continue
        event = json.loads(line)
        data = event["data"] if isinstance(event["data"], dict) else json.loads(event["data"])
        request = data["request"]
        if event["type"].startswith("hold_placed"):
            check.that(request not in holds and request not in settled, f"{request} was held for twice")
            check.that(request in here.expected, f"{request} was held for, and nothing was billed or refused by the provider")
            holds[request] = data
            continue
        hold = holds.pop(request, None)
        settled.add(request)
        if check.that(hold is not None, f"{request} was settled without a hold, or twice"):
            one_settlement(here, event["type"], data, hold)
    check.equal(await process.wait(), 0, "exit code of replay events")
    for table, number in here.problems.items():
        if number > 5:
            check.fail(f"{table}: {number} problems, of which the first are told")
    check.that(not holds, f"{len(holds)} holds were not settled")
    check.equal(len(set(here.expected) - settled), 0, "requests that were billed or refused by the provider and are not in the ledger")


def one_settlement(here: StrictWorld, kind: str, data: dict, hold: dict) -> None:
    check = here.check
    billed, kept, what = here.expected.get(data["request"], (None, True, ""))
    if billed is None:
        check.that(kind.startswith("hold_released"), f"what the provider had refused was charged: {what}")
        return
    if not check.that(kind.startswith("request_charged"), f"what was billed was not charged: {kind} {data.get('reason')} {what[:600]}"):
        return
    found = (data["prompt_tokens"], data["completion_tokens"], data["cache_write_tokens"] + data["cache_write_1h_tokens"], data.get("web_searches", 0))
    check.equal(found, (billed.prompt, billed.completion, billed.written, billed.searches), f"what is billed of {what[:300]}")
    cost = INPUT * (billed.prompt - billed.written) + WRITE * (billed.written - billed.written_hour) + WRITE_HOUR * billed.written_hour
    worth = -(-(cost + OUTPUT * billed.completion + SEARCH * billed.searches) // 100)
    amount, charged, excess = int(hold["amount"]), int(data["credits"]), int(data.get("excess", 0))
    check.equal((charged, excess), (min(worth, amount), worth - min(worth, amount)), f"charge and excess of {what[:300]}")
    if kept and excess > 0:
        here.tell(what.partition(" ")[0], f"more was billed than was held: {billed}, the hold has prompt_bound {hold['prompt_bound']}, output_bound "
                  f"{hold['output_bound']}, search_bound {hold.get('search_bound', 0)}: {what[:1200]}")
    check.that(int(data["balance"]) >= 0, f"a balance below zero: {data['balance']}")
