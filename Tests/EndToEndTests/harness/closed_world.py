"""A gateway with a provider of every kind, for cases about what requests may say: the world, and requests to it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import provider_answers
import wire
from dialects import Billed
from provider_answers import Listener
from world import World

PRICE = {
    "input_price_per_million": 1.0, "output_price_per_million": 2.0, "cached_price_per_million": 0.25,
    "cache_write_price_per_million": 1.0, "cache_write_1h_price_per_million": 1.0, "web_search_price_per_thousand": 10,
}
#: The context window of every model here that has one.
WINDOW = 77_777
#: The providers, by their kinds; those that are not here are `openai`.
KINDS = {"azure": "azure", "xai": "xai", "gemo": "gemini-openai", "ant": "anthropic", "gem": "gemini"}
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses", "embeddings": "/v1/embeddings"}


@dataclass
class Sent:
    """What reached the provider."""

    target: str
    head: bytes
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class ClosedWorld(World):
    """A gateway with a provider of every kind, which are all one stand-in that takes everything; and one that is never asked."""

    def __init__(self, models: dict | None = None, providers: dict | None = None, **more):
        self.received: list[Sent] = []
        self._holds: dict[str, dict] = {}
        #: Of the last event that was read.
        self._position = 0
        listener = Listener(self.handle)
        base = f"http://127.0.0.1:{listener.port}"
        found = {name: {"kind": kind, "api_base": f"{base}/{kind}/v1", "api_key": "sk-7"} for name, kind in KINDS.items()}
        found["own"] = {"kind": "openai", "api_base": f"{base}/openai/v1", "api_key": "sk-7"}
        found["closed"] = found["own"] | {"unknown_members": "refuse"}
        # Of OpenAI itself no request may come through: it is asked by those only who have no credits.
        found["maker"] = {"kind": "openai", "api_base": "https://api.openai.com/v1", "api_key": "sk-7"}
        for name, value in (providers or {}).items():
            found[name] = found["own"] | value
        names = {"m": {"context_tokens": WINDOW}, "blind": {}} | (models or {})
        super().__init__([], settings={
            "providers": found, "pricing": {f"{provider}:{name}": PRICE for provider in found for name in names},
            "models": {f"{provider}:{name}": value for provider in found for name, value in names.items() if value},
        }, **more)
        self.provider = listener

    def handle(self, target: str, head: bytes, body: bytes) -> bytes:
        self.received.append(Sent(target, head, body))
        form = provider_answers.form_of(target)
        is_stream = "streamGenerate" in target or b'"stream":true' in body.replace(b" ", b"")
        return provider_answers.answer(form, Billed(3, 0 if form == "embeddings" else 2), is_stream)

    async def ask(self, key: str, route: str, body: str | dict, **headers: str) -> wire.Response:
        data = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
        return await self.gateway.api("POST", PATHS[route], body=data, key=key, headers=headers)

    async def holds(self) -> dict[str, dict]:
        """The holds, by their requests."""
        for event in await self.gateway.events(self._position):
            self._position = max(self._position, int(event["position"]))
            if event["name"] == "hold_placed":
                self._holds[event["data"]["request"]] = event["data"]
        return self._holds

    async def hold(self, key: str, route: str, body: str | dict, **headers: str) -> dict:
        """What is held for a request that is answered."""
        response = await self.ask(key, route, body, **headers)
        assert response.status == 200, f"the answer was {response}"
        return (await self.holds())[response.header("x-request-id")]


def request(model: str, route: str, members: str) -> str:
    """A plain request with further members, which may take the place of its own."""
    own = {"model": f'"{model}"'}
    if route in ("chat", "messages"):
        own["messages"] = '[{"role":"user","content":"hi"}]'
    if route == "messages":
        own["max_tokens"] = "1000"
    given = {name for name, _ in json.loads("{" + members + "}", object_pairs_hook=list)}
    plain = [f'"{name}":{value}' for name, value in own.items() if name not in given]
    return "{" + ",".join([*plain, *([members] if members else [])]) + "}"


def names_a_place(param: str, body: str) -> bool:
    """Whether all but the last step of a place is in a request."""
    value = json.loads(body)
    steps = re.findall(r"[^.\[\]]+|\[\d+\]", param)
    for step in steps[:-1]:
        try:
            value = value[int(step[1:-1])] if step.startswith("[") else value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(steps)
