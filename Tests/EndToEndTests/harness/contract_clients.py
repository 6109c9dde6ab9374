"""The clients as they are: the desktop's readers of streams and balances, and the portal's sequence of calls."""

from __future__ import annotations

import asyncio
import json
import re

from contract import AUDITOR_KEY, TOKENS, Contract, login, parts_of, person
from contract_admin import key_of, price_of, user_of
from dialects import BILLED, TEXT as SPOKEN
from matching import INSTANT, NUMBER, TEXT, UUID, Each, Open
from scenarios import WORDS

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Guten Tag"}]


async def clients(c: Contract) -> None:
    for part in (desktop_balance, desktop_streams, desktop_requests, portal):
        with c.check.about(part.__name__):
            await part(c)


# -- desktop -----------------------------------------------------------------------------------------------------------


def shown_balance(body: dict) -> float | None:
    """What the desktop shows: `balance / 100000` at the top or in `data`, else `credits` where that is a number."""
    for place in (body, body.get("data")):
        if isinstance(place, dict):
            if isinstance(place.get("balance"), (int, float)):
                return place["balance"] / 100_000
            if isinstance(place.get("credits"), (int, float)):
                return place["credits"]
    return None


class DesktopReader:
    """The desktop's reader of a stream: lines that begin with exactly `data: `, up to `[DONE]`; chunks without a delta are skipped unread."""

    def __init__(self) -> None:
        self.pending = b""
        self.text, self.usage, self.finish, self.is_done, self.skipped = "", None, None, False, 0

    def take(self, data: bytes) -> None:
        self.pending += data
        while not self.is_done and b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            if not line.startswith(b"data: "):
                continue
            payload = line[6:].decode().strip()
            if payload == "[DONE]":
                self.is_done = True
                return
            chunk = json.loads(payload)
            choices = chunk.get("choices") or []
            if not choices or "delta" not in choices[0]:
                self.skipped += 1
                continue
            self.text += choices[0]["delta"].get("content") or ""
            self.finish = choices[0].get("finish_reason") or self.finish
            self.usage = chunk.get("usage") or self.usage


async def read_as_desktop(c: Contract, key: str, **body: object) -> tuple[DesktopReader, str | None]:
    """Reads a stream as the desktop does, which drops the connection at `[DONE]`; gives the request's id, too."""
    reader = DesktopReader()
    headers = {"X-AnyLLM-Key": f"Bearer {key}"}
    exchange = c.gateway.chat(key, body.pop("model"), stream=True, headers=headers, messages=HELLO, **body)

    async def run() -> str | None:
        async with exchange:
            response = await exchange.head()
            c.check.equal(response.status, 200, f"status of {response}")
            taken = 0
            while not reader.is_done and await exchange.some():
                reader.take(response.body[taken:])
                taken = len(response.body)
            return response.header("x-request-id")

    return reader, await asyncio.wait_for(run(), 30)


async def desktop_balance(c: Contract) -> None:
    for user, amount in (("desk-rich", "12.5"), ("desk-poor", None)):
        key = await c.gateway.user(user, amount)
        response = await c.gateway.api("GET", "/v1/profile/balance", key=None, headers={"X-AnyLLM-Key": f"Bearer {key}"})
        # Without credits, too: a 401 would mean to log in again.
        c.check.equal(response.status, 200, f"status of the balance of {user}")
        c.check.equal(shown_balance(response.json), float(amount or 0), f"what the desktop shows of {user}")
        data = response.json.get("data", {})
        c.check.equal(data.get("credits"), float(amount or 0), "credits, as other versions read it")


async def desktop_streams(c: Contract) -> None:
    key = await c.gateway.user("desk-streams", 100)
    asked: dict[str, str | None] = {}
    for model in ("up:finish", "ant:talk", "gem:talk", "ant-c7:talk", "gem-utf8:talk"):
        for options in ({}, {"stream_options": {"include_usage": True}}):
            with c.check.about(model, options or "plain"):
                reader, request = await read_as_desktop(c, key, model=model, max_tokens=500, **options)
                is_translated = model.endswith(":talk")
                c.check.equal(reader.text, "".join(SPOKEN if is_translated else WORDS), "the text")
                c.check.equal((reader.finish, reader.is_done), ("stop", True), "finish reason, and whether [DONE] came")
                c.check.that(request, "there is no x-request-id")
                asked[request or ""] = model
                if is_translated:
                    # We build these chunks: usage rides where the desktop looks.
                    usage = reader.usage or {}
                    billed = BILLED["talk"]
                    c.check.equal((usage.get("prompt_tokens"), usage.get("completion_tokens")), (billed.prompt, billed.completion), "usage on the finish chunk")
                c.check.equal(reader.skipped, 1 if options else 0, "chunks that the desktop skips")
    await c.world.settled("desk-streams")
    rows = {row["id"]: row for row in await c.gateway.usage("desk-streams", rows=len(asked))}
    for request, model in asked.items():
        with c.check.about("charge of", model):
            row = rows.get(request, {})
            wanted = (31, 17) if model.endswith(":talk") else (11, 8)
            found = (row.get("status"), row.get("prompt_tokens"), row.get("completion_tokens"), row.get("estimated"))
            c.check.equal(found, ("success", *wanted, False), "the row")
    with c.check.about("no credits"):
        poor = await c.gateway.key("desk-poor")
        await c.refused("POST", CHAT, 402, "insufficient_credits", re.compile("Insufficient credits: .+"), None,
                        {"needed_credits": NUMBER, "available_credits": 0, "held_credits": 0, "max_tokens_that_fit": 0},
                        value={"model": "up:finish", "stream": True, "messages": HELLO}, key=None, headers={"X-AnyLLM-Key": f"Bearer {poor}"})


async def desktop_requests(c: Contract) -> None:
    """Tool results, and calls of the assistant without a text; every member reaches the provider."""
    key = await c.gateway.key("desk-streams")
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        *HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "noon"}]
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    sent = {"messages": messages, "tools": tools, "temperature": 0.7, "seed": 7, "metadata": {"case": "desktop-tools"}, "x_vendor": {"a": 1}}
    await c.call("POST", CHAT, 200, value={"model": "up:finish", **sent}, key=key)
    entry = await c.world.provider.only("desktop-tools")
    received = {name: entry["json"].get(name) for name in sent}
    c.check.equal(received, sent, "what the provider got")
    for model in ("ant:talk", "gem:talk"):
        await c.call("POST", CHAT, 200, value={"model": model, "messages": messages, "tools": tools}, key=key)
    reader, _ = await read_as_desktop(c, key, model="up/finish")
    c.check.equal(reader.text, "".join(WORDS), "the text of provider/model")


# -- portal ------------------------------------------------------------------------------------------------------------


async def portal(c: Contract) -> None:
    """The portal's server, call by call, always with the master key."""
    tokens = (await c.ok("POST", "/v1/auth/login", {"tokens": TOKENS}, value=person(9)))["tokens"]
    user = parts_of(tokens["access_token"])[1]["sub"]
    c.gateway.users.append(user)
    name = f"desktop-{user}"

    async def pools() -> dict:
        data = (await c.gateway.wanted("GET", f"/v1/profile/balance?user={user}"))["data"]
        return {pool["pool"]: pool["credits"] for pool in data["pools"]} | {"shown": shown_balance({"data": data})}

    c.check.equal(await pools(), {"BONUS": 20, "SUBSCRIPTION": 0, "TOPUP": 0, "shown": 20.0}, "the balance of a new person")
    again = await login(c.gateway, 9)
    c.check.equal(parts_of(again["access_token"])[1]["sub"], user, "the user of the next login")
    c.check.equal((await pools())["BONUS"], 20, "the bonus after a second login")
    seen = user_of(user, alias=(str, type(None)), email="person-9@example.com", linked_accounts=list)
    await c.ok("GET", "/v1/users/{id}", seen, params={"id": user})
    with c.check.about("the desktop's key"):
        old = await new_desktop_key(c, user, name)
        balance = await c.gateway.api("GET", "/v1/profile/balance", key=old)
        c.check.equal(balance.status, 200, "status with the key")
        new = await new_desktop_key(c, user, name)
        await c.refused("GET", "/v1/profile/balance", 401, "invalid_api_key", "Invalid API key", key=old)
        c.check.equal((await c.gateway.answer(new, "up:finish")).status, 200, "status of a request with the new key")
        await c.world.settled(user)
    with c.check.about("usage"):
        row = Open({"id": TEXT, "user_id": user, "api_key_id": UUID, "timestamp": INSTANT, "model": "finish", "cost": NUMBER, "status": "success"})
        await c.gateway.usage(user, rows=1)
        for query, pattern in (({"skip": 0, "limit": 500}, [row]), ({"skip": 0, "limit": 10_000}, [row]), ({"skip": 1, "limit": 500}, [])):
            await c.ok("GET", "/v1/users/{id}/usage", pattern, params={"id": user}, query=query)
    with c.check.about("prices"):
        await c.ok("GET", "/v1/pricing", Each(price_of(re.compile("[^:]+:.+"), NUMBER, NUMBER, (int, float, type(None))), least=3))
        await c.ok("GET", "/v1/pricing/{model_key}", price_of("up:finish", 1, 2, 0.25), params={"model_key": "up:finish"})
    with c.check.about("the webhooks of the shop"):
        before = await pools()
        value = {"user_id": user, "plan_name": "BASIC"}
        await c.ok("POST", "/v1/billing/subscription", {"success": True, "detail": "Subscribed to BASIC"}, value=value)
        c.check.equal((await pools())["SUBSCRIPTION"], 100, "what BASIC gives")
        value = {"user_id": user, "amount": 10, "source": "LEMONSQUEEZY"}
        await c.ok("POST", "/v1/billing/topup", {"success": True, "detail": "Added 10.0 credits"}, value=value)
        path, params = "/v1/billing/subscription/{user_id}", {"user_id": user}
        await c.ok("PATCH", path, {"success": True, "detail": "Status updated to CANCELLED"}, params=params, value={"status": "CANCELLED"})
        after = await pools()
        c.check.equal((after["BONUS"], after["TOPUP"], after["SUBSCRIPTION"]), (before["BONUS"], 10, 100), "the pools in the end")
        await c.ok("GET", "/v1/profile/payments", {"success": True, "data": {"paymentTransactions": Each(dict, least=1)}}, query={"user": user})
    with c.check.about("a bot"):
        found = await c.ok("GET", "/v1/auth/lookup", Open({"user_id": user}), query={"provider": "google", "provider_account_id": person(9)["provider_account_id"]})
        # A bare name that one provider alone has a price for.
        value = {"model": "slow", "max_tokens": 1, "user": found.get("user_id"), "messages": HELLO, "metadata": {"case": "bot"}}
        asked = asyncio.create_task(c.gateway.api("POST", CHAT, value))
        await c.world.provider.received("bot")
        await c.world.provider.step("bot", everything=True)
        c.check.equal((await asked).status, 200, "status of a request with a bare name")
        await c.world.settled(user)
    await c.ok("GET", "/v1/users/{id}", Open({"user_id": user, "spend": NUMBER}), params={"id": user}, key=AUDITOR_KEY)


async def new_desktop_key(c: Contract, user: str, name: str) -> str:
    """Deletes the key of the desktop by its name, where there is one, and makes it anew."""
    for key in await c.gateway.wanted("GET", f"/v1/keys?user_id={user}&skip=0&limit=500"):
        c.check.equal(key["user_id"], user, "the user of a listed key")
        if key["key_name"] == name:
            await c.done("DELETE", "/v1/keys/{id}", params={"id": key["id"]})
    made = await c.ok("POST", "/v1/keys", key_of(user, True, key_name=name), value={"user_id": user, "key_name": name})
    listed = [key["key_name"] for key in await c.gateway.wanted("GET", f"/v1/keys?user_id={user}")]
    c.check.equal(listed.count(name), 1, f"keys that are called {name}")
    return made["key"]
