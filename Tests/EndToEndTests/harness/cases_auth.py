"""Who may do what: every refusal in its words."""

from __future__ import annotations

import asyncio
import datetime

import wire
from checks import case, detail, openai_error
from gateway import MASTER_KEY
from world import World

CHAT = "/v1/chat/completions"
BODY = {"model": "up:finish", "messages": [{"role": "user", "content": "hi"}]}
MASTER_ROUTES = [
    ("POST", "/v1/users"), ("GET", "/v1/users"), ("GET", "/v1/users/alice"), ("PATCH", "/v1/users/alice"), ("DELETE", "/v1/users/alice"),
    ("GET", "/v1/users/alice/usage"), ("POST", "/v1/keys"), ("GET", "/v1/keys"), ("GET", "/v1/keys/x"), ("PATCH", "/v1/keys/x"),
    ("DELETE", "/v1/keys/x"), ("POST", "/v1/pricing"), ("DELETE", "/v1/pricing/up:finish"), ("POST", "/v1/billing/topup"),
]
NO_HEADER = "Missing X-AnyLLM-Key or Authorization header"
BAD_FORMAT = "Invalid header format. Expected 'Bearer <token>'"


@case
async def auth() -> None:
    """Every refusal of a credential has its status and its words, and keys reach only their own user."""
    async with World(["up:finish"]) as world:
        key = await world.gateway.user("alice", 10)
        await bad_credentials(world, key)
        await keys_that_do_not_count(world)
        await both_headers(world, key)
        await master_with_a_user(world)
        await own_user_only(world, key)
        await blocked_users(world)
        await public_routes(world)


async def call(world: World, method: str, path: str, headers: dict, value: object = None) -> wire.Response:
    return await wire.request(world.gateway.port, method, path, headers, value)


async def bad_credentials(world: World, key: str) -> None:
    check = world.check
    wrong = "gw-" + "A" * 64
    credentials = [
        ({}, NO_HEADER),
        ({"authorization": key}, BAD_FORMAT),
        ({"authorization": f"Basic {key}"}, BAD_FORMAT),
        ({"authorization": "Bearer"}, BAD_FORMAT),
        ({"x-anyllm-key": key}, BAD_FORMAT),
        ({"authorization": f"Bearer {wrong}"}, "Invalid API key"),
        ({"authorization": "Bearer sk-something"}, "Invalid API key"),
        ({"authorization": f"Bearer {key[:-1]}"}, "Invalid API key"),
        ({"authorization": f"Bearer {MASTER_KEY}x"}, "Invalid API key"),
        ({"x-anyllm-key": f"Bearer {wrong}", "authorization": f"Bearer {key}"}, "Invalid API key"),
    ]
    for headers, text in credentials:
        with check.about("credential", {name: value[:12] for name, value in headers.items()}):
            response = await call(world, "POST", CHAT, headers, BODY)
            check.equal(openai_error(check, response, 401).get("message"), text, "message")
            detail(check, await call(world, "GET", "/v1/profile/balance", headers), 401, text)
            check.that(response.status == 401 and key not in response.text, "the answer repeats the key")
    with check.about("models"):
        openai_error(check, await call(world, "GET", "/v1/models", {}), 401)
    for method, path in MASTER_ROUTES:
        with check.about(method, path):
            value = {} if method in ("POST", "PATCH") else None
            detail(check, await call(world, method, path, {}, value), 401, NO_HEADER)
            detail(check, await call(world, method, path, {"authorization": MASTER_KEY}, value), 401, BAD_FORMAT)
            detail(check, await call(world, method, path, {"authorization": f"Bearer {key}"}, value), 403, "Master key required")
            response = await call(world, method, path, {"authorization": "Bearer nonsense"}, value)
            check.equal(response.status, 401, f"status of {response}")
            check.within(response.json.get("detail"), {"Invalid API key", "Invalid master key"}, "detail")


async def keys_that_do_not_count(world: World) -> None:
    check, gateway = world.check, world.gateway
    past = "2020-01-01T00:00:00+00:00"
    with check.about("an expired key"):
        key = await gateway.key("alice", expires_at=past)
        await refused(world, key, "API key has expired")
    with check.about("a key that expires while it is known"):
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
        key = await gateway.key("alice", expires_at=soon.isoformat())
        check.equal((await gateway.api("GET", "/v1/profile/balance", key=key)).status, 200, "status before")

        async def expired() -> bool:
            return (await gateway.api("GET", "/v1/profile/balance", key=key)).status == 401

        await wire.eventually(expired, "the key expires", 5)
        await refused(world, key, "API key has expired")
    with check.about("an inactive key"):
        made = await gateway.wanted("POST", "/v1/keys", {"user_id": "alice"})
        check.equal((await gateway.answer(made["key"], "up:finish")).status, 200, "status before")
        await gateway.wanted("PATCH", f"/v1/keys/{made['id']}", {"is_active": False})
        await refused(world, made["key"], "API key is inactive")
        await gateway.wanted("PATCH", f"/v1/keys/{made['id']}", {"is_active": True})
        check.equal((await gateway.answer(made["key"], "up:finish")).status, 200, "status once it is active again")
    with check.about("a deleted key"):
        check.equal((await gateway.api("DELETE", f"/v1/keys/{made['id']}")).status, 204, "status of the deletion")
        await refused(world, made["key"], "Invalid API key")


async def refused(world: World, key: str, text: str) -> None:
    world.check.equal(openai_error(world.check, await world.gateway.answer(key, "up:finish"), 401).get("message"), text, "message")
    detail(world.check, await world.gateway.api("GET", "/v1/profile/balance", key=key), 401, text)


async def both_headers(world: World, key: str) -> None:
    check = world.check
    with check.about("both headers"):
        bob = await world.gateway.user("bob", 5)
        headers = {"x-anyllm-key": f"Bearer {bob}", "authorization": f"Bearer {key}"}
        response = await call(world, "GET", "/v1/profile/balance", headers)
        check.equal(response.json["data"]["userId"], "bob", "whose balance it is")
    with check.about("either header"):
        for name in ("X-AnyLLM-Key", "x-anyllm-key", "Authorization"):
            check.equal((await call(world, "POST", CHAT, {name: f"Bearer {key}"}, BODY)).status, 200, f"status with {name}")


async def master_with_a_user(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("the master key"):
        text = "When using master key, 'user' field is required in request body"
        error = openai_error(check, await gateway.api("POST", CHAT, BODY), 400)
        check.equal(error.get("message"), text, "message without user")
        text = "When using master key, 'user' query parameter is required"
        detail(check, await gateway.api("GET", "/v1/profile/balance"), 400, text)
        response = await gateway.api("POST", CHAT, {**BODY, "user": "alice"})
        check.equal(response.status, 200, f"status with user: {response}")
        response = await gateway.api("POST", CHAT, {**BODY, "user": "nobody"})
        openai_error(check, response, 404)
        detail(check, await gateway.api("GET", "/v1/profile/balance?user=nobody"), 404, "User not found")


async def own_user_only(world: World, key: str) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a key and another user"):
        bob = await gateway.balance("bob")
        response = await gateway.api("GET", "/v1/profile/balance?user=bob", key=key)
        check.equal(response.json["data"]["userId"], "alice", "whose balance it is")
        response = await gateway.api("POST", CHAT, {**BODY, "user": "bob"}, key=key)
        check.equal(response.status, 200, "status of a request that names another user")
        check.equal((await world.settled("bob"))["credits_exact"], bob["credits_exact"], "the other user's balance")


async def blocked_users(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a blocked user"):
        key = await gateway.user("carol", 10)
        await gateway.wanted("PATCH", "/v1/users/carol", {"blocked": True})
        openai_error(check, await gateway.answer(key, "up:finish"), 403)
        openai_error(check, await gateway.api("POST", CHAT, {**BODY, "user": "carol"}), 403)
        check.equal((await gateway.api("GET", "/v1/profile/balance", key=key)).status, 200, "status of their own balance")
        await gateway.wanted("PATCH", "/v1/users/carol", {"blocked": False})
        check.equal((await gateway.answer(key, "up:finish")).status, 200, "status once unblocked")
    with check.about("a user who is blocked in mid-request"):
        answers = [asyncio.create_task(gateway.answer(key, "up:finish", stream=True)) for _ in range(4)]
        await gateway.wanted("PATCH", "/v1/users/carol", {"blocked": True})
        for answer in await asyncio.gather(*answers):
            check.within(answer.status, {200, 403}, "status")
            check.that(answer.complete, f"incomplete: {answer}")


async def public_routes(world: World) -> None:
    check = world.check
    with check.about("public routes"):
        check.equal((await call(world, "GET", "/health", {})).json, {"status": "healthy"}, "health")
        check.equal((await call(world, "GET", "/health/liveness", {})).json, "I'm alive!", "liveness")
        ready = await call(world, "GET", "/health/readiness", {})
        check.equal((ready.status, ready.json.get("status"), ready.json.get("database")), (200, "healthy", "connected"), "readiness")
        check.that(isinstance(ready.json.get("version"), str), f"no version in {ready}")
        check.equal((await call(world, "GET", "/v1/pricing", {})).status, 200, "status of the price list")
    with check.about("CORS"):
        origin = {"origin": "tauri://localhost"}
        asked = "x-anyllm-key,authorization,content-type,idempotency-key"
        before = await call(world, "OPTIONS", CHAT, {**origin, "access-control-request-method": "POST", "access-control-request-headers": asked})
        check.within(before.status, {200, 204}, "status of the preflight")
        check.equal(before.header("access-control-allow-origin"), "tauri://localhost", "allowed origin")
        allowed = (before.header("access-control-allow-headers") or "").lower()
        check.that(all(name in allowed for name in asked.split(",")), f"allowed headers: {allowed}")
        foreign = await call(world, "GET", "/health", {"origin": "https://evil.example"})
        check.equal(foreign.header("access-control-allow-origin"), None, "allowed origin for a foreign page")
