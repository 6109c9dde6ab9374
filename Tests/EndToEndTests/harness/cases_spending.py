"""Limits on what may be spent, how fast and on what; and the notices of what happens to credits."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
import json

import wire
from checks import case
from clock import Clock
from gateway import Gateway
from world import World

DAY = 86_400
#: A request of `up:finish` with so many `max_tokens` may cost a little over so many credits: $2 for a million, 10 credits a dollar.
TENTH = 4_900


def error(response: wire.Response) -> dict:
    return (response.json or {}).get("error") or {}


@case
async def spending_limits() -> None:
    """A cap holds however many requests come at once and whatever dies in between; each refusal says the numbers and when to come again."""
    with Clock() as clock:
        async with World(["up:finish", "up:no-usage"], settings={"time_zone": "+09:00"}, env=clock.env) as world:
            check, gateway = world.check, world.gateway
            key = await gateway.user("alice", 100)
            other = (await gateway.wanted("POST", "/v1/keys", {"user_id": "alice"}))
            limits = "/v1/users/alice/limits"

            async def burst(key: str, count: int, model: str = "up:finish", **more: object) -> list[wire.Response]:
                return await asyncio.gather(*(gateway.answer(key, model, max_tokens=TENTH, **more) for _ in range(count)))

            with check.about("a day's cap under a burst"):
                state = await gateway.wanted("PUT", limits, {"per_day": 0.35, "per_month": 1.5})
                check.equal((state["per_day"], state["total"], state["time_zone"]), (0.35, None, "+09:00"), "the limits as set")
                answers = await burst(key, 12)
                check.within({response.status for response in answers}, [{200, 429}], "statuses of twelve at once, each of which may cost a tenth")
                check.that(sum(response.status == 200 for response in answers) >= 3, "three fit at once")
                refused = next(response for response in answers if response.status == 429)
                check.equal((error(refused)["code"], error(refused)["type"]), ("spending_limit_reached", "insufficient_quota"), "the refusal")
                check.equal(error(refused)["limit"], 0.35, "its figure")
                check.that(1 <= int(refused.header("retry-after")) <= DAY, f"retry-after is {refused.header('retry-after')}")
                # Whatever is held at once, no more than the cap is spent.
                used = {row["window"]: row for row in (await gateway.wanted("GET", limits))["used"]}
                check.that(used["day"]["spent"] + used["day"]["held"] <= 0.35, f"the day's use: {used['day']}")
                check.equal(used["day"]["resets_at"][11:19], "15:00:00", "midnight in Tokyo")
            with check.about("after a crash"):
                await gateway.kill9()
                await gateway.start()
                again = {row["window"]: row for row in (await gateway.wanted("GET", limits))["used"]}
                check.equal(again["day"]["spent"], used["day"]["spent"], "what was spent today")
            with check.about("the next day"):
                clock.ahead(DAY)
                check.equal((await gateway.answer(key, "up:finish", max_tokens=TENTH)).status, 200, "status")
            with check.about("a total, and a request that names no bound"):
                await gateway.wanted("PUT", f"/v1/keys/{other['id']}/limits", {"total": 0.05})
                response = await gateway.answer(other["key"], "up:finish", max_tokens=TENTH)
                check.equal((response.status, error(response)["code"], response.header("retry-after")), (402, "spending_limit_reached", None), "the total's refusal")
                fits = int(error(response)["max_tokens_that_fit"])
                check.equal((await gateway.answer(other["key"], "up:finish", max_tokens=fits)).status, 200, "with what fits")
                response = await gateway.answer(other["key"], "up:finish")
                check.within(response.status, [200, 402], "without a bound it shrinks, where enough is left")
            with check.about("models"):
                await gateway.wanted("PUT", limits, {"models": ["up:finish"]})
                response = await gateway.answer(key, "up:no-usage", max_tokens=10)
                check.equal((response.status, error(response)["code"]), (403, "model_not_allowed"), "another model")
                check.equal((await gateway.answer(key, "up:finish", max_tokens=10)).status, 200, "the allowed one")
            with check.about("pace"):
                await gateway.wanted("PUT", limits, {"requests_per_minute": 4})
                answers = await asyncio.gather(*(gateway.answer(key, "up:finish", max_tokens=10) for _ in range(10)))
                check.equal(sum(response.status == 200 for response in answers), 4, "of ten at once")
                refused = next(response for response in answers if response.status == 429)
                check.equal(error(refused)["code"], "rate_limit_reached", "code")
                check.that(1 <= int(refused.header("retry-after")) <= 60, f"retry-after is {refused.header('retry-after')}")
                clock.ahead(61)
                check.equal((await gateway.answer(key, "up:finish", max_tokens=10)).status, 200, "a minute later")
                await gateway.wanted("PUT", limits, {"tokens_per_minute": 1000})
                response = await gateway.answer(key, "up:finish", max_tokens=2000)
                check.equal((response.status, error(response)["code"]), (402, "rate_limit_reached"), "more than a minute may have")
            with check.about("what is not bounded any more"):
                check.equal((await gateway.wanted("PUT", limits, {}))["used"], [], "use")
                check.equal((await gateway.answer(key, "up:finish", max_tokens=2000)).status, 200, "status")
            with check.about("refusals"):
                for body in ({"per_day": -1}, {"per_day": "much"}, {"per_day": 10**10}, {"requests_per_minute": 1.5}, {"requests_per_minute": 10**9},
                             {"models": "up:finish"}, {"models": ["finish"]}, {"models": [1]}, {"total": True}):
                    check.equal((await gateway.api("PUT", limits, body)).status, 422, f"status of {body}")
                for method, path in (("GET", limits), ("PUT", limits), ("PUT", f"/v1/keys/{other['id']}/limits")):
                    value = {} if method == "PUT" else None
                    check.equal((await gateway.api(method, path, value, key=key)).status, 403, f"{method} {path} with a person's key")
                    check.equal((await gateway.api(method, path, value, key=None)).status, 401, f"{method} {path} without a key")
                check.equal((await gateway.api("PUT", "/v1/users/nobody/limits", {})).status, 404, "nobody's")
                check.equal((await gateway.api("GET", "/v1/keys/none/limits")).status, 404, "no key's")
                own = await gateway.api("GET", "/v1/profile/limits", key=key)
                check.equal((own.status, list(own.json["keys"])), (200, [other["id"]]), "one's own limits")


@case
async def budgets_bind() -> None:
    """A user's budget is a cap for a rolling period from when it was attached; a change of it binds at once."""
    with Clock() as clock:
        async with World(["up:finish"], env=clock.env) as world:
            check, gateway = world.check, world.gateway
            budget = await gateway.wanted("POST", "/v1/budgets", {"max_budget": 0.01, "budget_duration_sec": 3600})
            key = await gateway.user("alice", 100)
            shown = await gateway.wanted("PATCH", "/v1/users/alice", {"budget_id": budget["budget_id"]})
            began, ends = (datetime.datetime.fromisoformat(shown[name]) for name in ("budget_started_at", "next_budget_reset_at"))
            check.equal(ends - began, datetime.timedelta(hours=1), "the period")
            check.equal((await gateway.answer(key, "up:finish", max_tokens=TENTH)).status, 200, "within a cent")
            response = await gateway.answer(key, "up:finish", max_tokens=TENTH + 200)
            check.equal((response.status, error(response)["code"], error(response)["limit"]), (429, "spending_limit_reached", 0.1), "beyond it")
            await gateway.wanted("PATCH", f"/v1/budgets/{budget['budget_id']}", {"max_budget": 0.02})
            check.equal((await gateway.answer(key, "up:finish", max_tokens=TENTH + 200)).status, 200, "after it was raised")
            await gateway.wanted("PATCH", f"/v1/budgets/{budget['budget_id']}", {"max_budget": 0.000001})
            check.equal((await gateway.answer(key, "up:finish", max_tokens=10)).status, 429, "after it was lowered")
            await gateway.restart()
            check.equal((await gateway.answer(key, "up:finish", max_tokens=10)).status, 429, "after a restart")
            await gateway.wanted("PATCH", "/v1/users/alice", {"budget_id": None})
            check.equal((await gateway.answer(key, "up:finish", max_tokens=10)).status, 200, "without a budget")


class Listener:
    """Takes notices, refuses as many as it is told to, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[tuple[dict, dict]] = []
        self.refuse = 0

    async def __aenter__(self) -> "Listener":
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.came.append((headers, json.loads(body)))
                headers["raw"] = body.decode()
                status = "500 No" if self.refuse > 0 else "204 Taken"
                self.refuse -= 1
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def of(self, kind: str, user: str) -> list[dict]:
        return [body for _, body in self.came if (body["type"], body["data"]["user_id"]) == (kind, user)]


def is_signed(headers: dict, secret: str) -> bool:
    """As Standard Webhooks 1.0.0 says, by the standard library alone."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{headers['raw']}".encode()
    wanted = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(wanted, headers["webhook-signature"])


@case
async def notices() -> None:
    """The operator and an account are told what happens to credits: signed, again until it is taken, once each, also across a crash."""
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    with Clock() as clock:
        async with Listener() as operator, Listener() as own:
            settings = {"notices": {"url": operator.url, "secret": secret, "low_balance": 1}}
            async with World(["up:overrun", "up:finish"], settings=settings, env=clock.env) as world:
                check, gateway = world.check, world.gateway

                async def told(listener: Listener, kind: str, user: str, count: int = 1) -> list[dict]:
                    return await wire.eventually(
                        lambda: found if len(found := listener.of(kind, user)) >= count else None, f"{kind} of {user} is told", 20)

                key = await gateway.user("alice", 1.001)
                await gateway.user("bob")
                hook = await gateway.wanted("PUT", "/v1/users/alice/webhook", {"url": own.url})
                check.that(hook["secret"].startswith("whsec_"), "a secret is given")
                check.equal(await gateway.wanted("GET", "/v1/users/alice/webhook"), {"url": own.url}, "the secret is shown once")
                # What was before is passed by; the service has begun to follow when it tells of this.
                await gateway.wanted("POST", "/v1/billing/subscription", {"user_id": "bob", "plan_name": "BASIC"})
                await told(operator, "plan.renewed", "bob")
                own.refuse = 2
                with check.about("a balance that falls"):
                    await gateway.answer(key, "up:finish", max_tokens=TENTH)
                    await gateway.wanted("POST", "/v1/billing/adjustments", {"user_id": "alice", "amount": -0.5, "reason": "test"})
                    notice = (await told(operator, "credits.low_balance", "alice"))[0]
                    check.equal(notice["data"]["user_id"], "alice", "whose")
                    clock.ahead(3600)
                    await told(own, "credits.low_balance", "alice", 2)
                with check.about("signatures"):
                    for listener, key_ in ((operator, secret), (own, hook["secret"])):
                        for headers, _ in list(listener.came):
                            check.that(is_signed(headers, key_), f"{headers['webhook-id']} is signed")
                            check.that(not is_signed(headers, "whsec_" + base64.b64encode(b"x" * 32).decode()), "another key does not fit")
                with check.about("a cycle that ends unpaid"):
                    clock.ahead(28 * DAY)
                    await told(operator, "credits.expiring_soon", "bob")
                    clock.ahead(3 * DAY)
                    await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                    await told(operator, "payment.failed", "bob")
                    clock.ahead(3 * DAY)
                    await gateway.wanted("POST", "/v1/admin/renewals/trigger")
                    await told(operator, "plan.lapsed", "bob")
                with check.about("a crash"):
                    operator.refuse = 10**6
                    await gateway.wanted("POST", "/v1/billing/subscription", {"user_id": "alice", "plan_name": "BASIC"})
                    await wire.eventually(lambda: operator.of("plan.renewed", "alice"), "it is tried", 20)
                    await gateway.kill9()
                    operator.refuse = 0
                    operator.came.clear()
                    await gateway.start()
                    clock.ahead(3600)
                    await told(operator, "plan.renewed", "alice")
                with check.about("ids"):
                    ids = [headers["webhook-id"] for headers, _ in operator.came]
                    check.equal(len(ids), len(set(ids)), "what was taken comes once")
                with check.about("an account that is told no more"):
                    check.equal((await gateway.api("DELETE", "/v1/users/alice/webhook")).status, 204, "status")
                    check.equal((await gateway.api("GET", "/v1/users/alice/webhook")).status, 404, "status after it")
                    for url in ("ftp://example.com", "http://example.com/", "https://user@example.com/", "nonsense"):
                        check.equal((await gateway.api("PUT", "/v1/users/alice/webhook", {"url": url})).status, 422, f"status of {url}")
                    check.equal((await gateway.api("PUT", "/v1/users/alice/webhook", {"url": own.url}, key=key)).status, 403, "with a person's key")
