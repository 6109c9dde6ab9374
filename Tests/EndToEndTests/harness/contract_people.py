"""Logins and sessions, and what people see of their own account, answer by answer."""

from __future__ import annotations

import csv
import io
import re
import urllib.parse

import wire
from contract import PORTAL, TOKENS, Contract, field_error, login, parts_of, person
from contract_admin import key_of
from gateway import MASTER_KEY
from matching import INSTANT, JWT, NUMBER, TEXT, TEXT_OR_NULL, UUID, Each

NO_USER = "When using master key, 'user' query parameter is required"
NOT_FOR_MASTER = "Master key is not allowed"
TOTALS = {"requests": int, "prompt_tokens": int, "completion_tokens": int, "total_tokens": int, "cost": NUMBER}
NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0}
#: What one answer of `up:finish` is: 8 standard and 3 cached tokens in, 8 out.
ONE_ANSWER = {"requests": 1, "prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19, "cost": 0.00002475}
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
PROFILE_ROUTES = ["/v1/profile", "/v1/profile/balance", "/v1/profile/usage", "/v1/profile/keys", "/v1/profile/logs", "/v1/profile/payments"]


async def peoples_routes(c: Contract) -> None:
    for part in (logins, authorizing, tokens, sessions, own_account, own_usage):
        with c.check.about(part.__name__):
            await part(c)


async def logins(c: Contract) -> None:
    path, lookup = "/v1/auth/login", "/v1/auth/lookup"
    first = (await c.ok("POST", path, {"tokens": TOKENS}, value=person(1)))["tokens"]
    again = (await c.ok("POST", path, {"tokens": TOKENS}, value={**person(1), "unknown_member": 1}))["tokens"]
    header, claims = parts_of(first["access_token"])
    user = claims["sub"]
    c.check.equal(parts_of(again["access_token"])[1]["sub"], user, "the user of a second login")
    c.check.equal((header["alg"], header["typ"], sorted(header)), ("HS256", "JWT", ["alg", "kid", "typ"]), "the header of an access token")
    c.check.equal(sorted(claims), ["aud", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"], "the claims of an access token")
    c.check.equal((claims["aud"], claims["exp"] - claims["iat"]), ("gateway", 30 * 60), "aud and lifetime")
    c.check.that(UUID.fullmatch(user), f"the user id of a new person is {user}")
    minimal = {"provider": "github", "provider_account_id": "7"}
    await c.ok("POST", path, {"tokens": TOKENS}, value=minimal)
    await c.missing("POST", path, "provider", value={"provider_account_id": "7"})
    await c.missing("POST", path, "provider_account_id", value={"provider": "github"})
    await c.invalid("POST", path, field_error("string_type", "email", "Input should be a valid string"), value={**minimal, "email": 7})
    await c.refused("POST", path, 401, "missing_credentials", "Missing X-AnyLLM-Key or Authorization header", value=minimal, key=None)
    for provider in ("corp", "nobody"):
        text = "The provider's token is not valid here"
        await c.refused("POST", path, 401, "provider_token_invalid", text, value={"provider": provider, "provider_token": "none"}, key=None)
    await c.refused("POST", path, 403, "master_key_required", "Master key required", value=minimal, key=await c.gateway.key("ada"))
    found = {
        "user_id": user, "alias": TEXT_OR_NULL, "provider": "google", "provider_account_id": person(1)["provider_account_id"],
        "email": "person-1@example.com", "name": "Pérson 1", "avatar_url": f"{PORTAL}/1.png",
        "linked_accounts": [{name: value for name, value in person(1).items() if name in ("provider", "provider_account_id", "email", "name", "avatar_url")}],
    }
    await c.ok("GET", lookup, found, query={"provider": "google", "provider_account_id": person(1)["provider_account_id"]})
    await c.ok("GET", lookup, found, query={"email": "person-1@example.com"})
    await c.refused("GET", lookup, 404, "user_not_found", "User not found", query={"email": "nobody@example.com"})
    await c.refused("GET", lookup, 404, "user_not_found", "User not found", query={"provider": "discord", "provider_account_id": "1"})
    await c.refused("GET", lookup, 400, "lookup_incomplete", TEXT)
    await c.refused("GET", lookup, 400, "lookup_incomplete", TEXT, query={"provider": "google"})
    me = {
        "id": user, "email": "person-1@example.com", "displayName": "Pérson 1", "photoUrl": f"{PORTAL}/1.png", "createdAt": INSTANT,
        "updatedAt": INSTANT, "organizations": [],
    }
    key = await c.gateway.key(user)
    for credential in (first["access_token"], key):
        await c.ok("GET", "/v1/auth/me", {"success": True, "data": me}, key=credential)
    await c.refused("GET", "/v1/auth/me", 403, "master_key_not_allowed", NOT_FOR_MASTER)


async def authorizing(c: Contract) -> None:
    path, page, callback = "/v1/auth/authorize", "/v1/auth/login", "/v1/auth/callback"
    good = {"callback_url": "cafelua://auth", "client_type": "desktop", "state": "s/~ ?&1"}
    discord = {**good, "provider": "discord", "code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    found = await c.ok("GET", path, {"redirect_url": TEXT}, query=discord, key=None)
    target = urllib.parse.urlsplit(found.get("redirect_url", ""))
    asked = dict(urllib.parse.parse_qsl(target.query))
    c.check.that(target.scheme == "https" and target.netloc == "discord.com" and target.path.endswith("/authorize"), f"the provider's URL is {found}")
    c.check.equal(
        {name: asked.get(name) for name in ("response_type", "client_id", "redirect_uri", "code_challenge_method")},
        {"response_type": "code", "client_id": "discord-client", "redirect_uri": "http://127.0.0.1:8000/v1/auth/callback", "code_challenge_method": "S256"},
        "what the provider is asked")
    c.check.that(asked.get("state") and asked["state"] != good["state"], "the provider gets the client's own state")
    c.check.that(asked.get("code_challenge") not in (None, CHALLENGE), "the provider gets the client's own code_challenge")
    several = await c.ok("GET", path, {"redirect_url": re.compile(r"http://127\.0\.0\.1:8000/v1/auth/login\?.+")}, query=good, key=None)
    await c.ok("GET", path, {"redirect_url": TEXT}, query={"redirect_uri": f"{PORTAL}/login/done", "provider": "discord"}, key=None)
    await c.ok("GET", path, {"redirect_url": TEXT}, query={"callback_url": "http://127.0.0.1:49152/callback", "provider": "discord"}, key=None)
    browser = await c.call("GET", path, 302, query=discord, key=None, headers={"accept": "text/html,*/*;q=0.8"})
    c.check.that((browser.header("location") or "").startswith("https://discord.com/"), f"location is {browser.header('location')}")
    cookie = browser.header("set-cookie") or ""
    c.check.that(cookie.startswith("gateway_login=") and "httponly" in cookie.lower(), f"set-cookie is {cookie!r}")
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(several.get("redirect_url", "")).query))
    listed = await c.call("GET", page, 200, query=query or good, key=None, kind="text/html")
    for name in ("discord", "corp"):
        c.check.that(name in listed.text.lower(), f"the page does not name {name}")
    refusals = [
        ({"callback_url": "https://evil.example/"}, "callback_not_allowed"), ({"callback_url": "cafelua://auth.evil"}, "callback_not_allowed"),
        ({"callback_url": "http://127.0.0.1/other"}, "callback_not_allowed"), ({"callback_url": "javascript:alert(1)"}, "callback_not_allowed"),
        ({"provider": "nobody"}, "unknown_provider"), ({"state": "x" * 513}, "invalid_state"),
        ({"code_challenge": "short"}, "invalid_code_challenge"), ({"code_challenge_method": "plain"}, "invalid_code_challenge"),
    ]
    for change, code in refusals:
        await c.refused("GET", path, 400, code, TEXT, query={**discord, **change}, key=None)
    await c.refused("GET", page, 400, "callback_not_allowed", TEXT, query={"callback_url": "https://evil.example/"}, key=None)
    for route in (path, page):
        await c.missing("GET", route, "callback_url", "query", query={"provider": "discord"}, key=None)
    denied = await c.call("GET", callback, 302, query={"error": "access_denied", "state": asked.get("state", "")}, key=None)
    ended = urllib.parse.urlsplit(denied.header("location") or "")
    c.check.equal((ended.scheme, ended.netloc), ("cafelua", "auth"), "where a refusal ends")
    c.check.equal(dict(urllib.parse.parse_qsl(ended.query)), {"error": "access_denied", "state": good["state"]}, "what the client is told")
    for query in ({"error": "access_denied", "state": asked.get("state", "")}, {"code": "x", "state": "unheard-of"}, {"code": "x"}, {}):
        await c.refused("GET", callback, 400, "invalid_state", TEXT, query=query, key=None)


async def tokens(c: Contract) -> None:
    token, refresh, logout = "/v1/auth/token", "/v1/auth/refresh", "/v1/auth/logout"
    await c.refused("POST", token, 401, "invalid_code", "invalid or expired code", value={"code": "x" * 43}, key=None)
    await c.missing("POST", token, "code", value={"client_type": "desktop"}, key=None)
    first = await login(c.gateway, 2)
    user = parts_of(first["access_token"])[1]["sub"]
    info = {"id": user, "email": "person-2@example.com", "name": "Pérson 2", "subject": user, "photoUrl": f"{PORTAL}/2.png", "accounts": []}
    pair = {"accessToken": JWT, "refreshToken": TEXT, "tokenType": "Bearer", "expiresAt": INSTANT, "userInfo": info}
    answer = {"success": True, "data": pair}
    second = await c.ok("POST", refresh, answer, value={"refreshToken": "Bearer " + first["refresh_token"], "source": "home"}, key=None)
    c.check.that(second["data"]["refreshToken"] != first["refresh_token"], "the refresh token did not rotate")
    retried = await c.ok("POST", refresh, answer, value={"refreshToken": first["refresh_token"]}, key=None)
    c.check.equal(retried["data"]["refreshToken"], second["data"]["refreshToken"], "the successor of a token that is used again at once")
    await c.refused("POST", refresh, 401, "invalid_refresh_token", "Invalid refresh token", value={"refreshToken": "x"}, key=None)
    await c.missing("POST", refresh, "refreshToken", value={}, key=None)
    await c.invalid("POST", refresh, field_error("string_type", "refreshToken", "Input should be a valid string"), value={"refreshToken": 1}, key=None)
    await c.done("POST", logout, value={"refresh_token": second["data"]["refreshToken"]}, key=None)
    await c.done("POST", logout, value={"refresh_token": "unheard-of"}, key=None)
    await c.missing("POST", logout, "refresh_token", value={}, key=None)
    for source in ({}, {"source": "home"}):
        value = {"refreshToken": second["data"]["refreshToken"], **source}
        await c.refused("POST", refresh, 401, "refresh_token_revoked", "Refresh token revoked", value=value, key=None)
    await c.refused("GET", "/v1/auth/me", 401, "session_revoked", "Session revoked", key=second["data"]["accessToken"])
    await c.ok("GET", "/.well-known/jwks.json", {"keys": []}, key=None)


async def sessions(c: Contract) -> None:
    path, one = "/v1/auth/sessions", "/v1/auth/sessions/{id}"
    old = await login(c.gateway, 3, device_type="desktop", os="macOS", app_version="1.2.3", user_agent="Cafe/1")
    new = await login(c.gateway, 3)
    ids = [parts_of(each["access_token"])[1]["sid"] for each in (old, new)]

    def session(id: str, is_current: bool, device: dict) -> dict:
        return {"id": id, "createdAt": INSTANT, "lastUsedAt": INSTANT, "expiresAt": INSTANT, "current": is_current, "device": device}

    plain = {"type": "web", "os": None, "appVersion": None, "userAgent": None}
    desktop = {"type": "desktop", "os": "macOS", "appVersion": "1.2.3", "userAgent": "Cafe/1"}
    both = [session(ids[1], True, plain), session(ids[0], False, desktop)]
    await c.ok("GET", path, {"success": True, "data": {"sessions": both}}, key=new["access_token"])
    stranger = (await login(c.gateway, 4))["access_token"]
    for credential in (stranger, new["access_token"]):
        id = ids[0] if credential == stranger else "unheard-of"
        await c.refused("DELETE", one, 404, "session_not_found", "Session not found", params={"id": id}, key=credential)
    await c.done("DELETE", one, params={"id": ids[0]}, key=new["access_token"])
    await c.refused("GET", path, 401, "session_revoked", "Session revoked", key=old["access_token"])
    await c.ok("GET", path, {"success": True, "data": {"sessions": both[:1]}}, key=new["access_token"])
    await c.done("DELETE", path, key=new["access_token"])
    await c.refused("GET", path, 401, "session_revoked", "Session revoked", key=new["access_token"])
    await c.ok("GET", path, {"success": True, "data": {"sessions": Each(dict, least=1)}}, key=stranger)
    for method, route, params in (("GET", path, {}), ("DELETE", path, {}), ("DELETE", one, {"id": ids[0]})):
        await c.refused(method, route, 403, "master_key_not_allowed", NOT_FOR_MASTER, params=params)


async def own_account(c: Contract) -> None:
    token = (await login(c.gateway, 5))["access_token"]
    user = parts_of(token)[1]["sub"]
    c.gateway.users.append(user)
    profile = {
        "user_id": user, "provider": "google", "role": TEXT_OR_NULL, "name": "Pérson 5", "email": "person-5@example.com",
        "avatar_url": f"{PORTAL}/5.png", "refresh_token": None, "blocked": False, "spend": 0, "metadata": {},
        "caret_metadata": {}, "last_login_at": INSTANT,
    }
    empty = {"today": NOTHING, "this_week": NOTHING, "this_month": NOTHING}
    balance = {
        "userId": user, "balance": 2_000_000, "credits": 20, "credits_exact": "20", "held": 0, "available": 20, "debt": 0, "plan": "FREE",
        "pools": [
            {"pool": "BONUS", "priority": 1, "credits": 20, "next_expiry": None},
            {"pool": "SUBSCRIPTION", "priority": 2, "credits": 0, "next_expiry": None},
            {"pool": "TOPUP", "priority": 3, "credits": 0, "next_expiry": None}],
        "grants": [{"id": int, "pool": "BONUS", "source": "SIGNUP_BONUS", "amount": 20, "remaining": 20, "expires_at": None}],
        "cycle": {"number": 0, "began_at": INSTANT, "ends_at": INSTANT, "is_paid": False, "is_grace": False, "next_plan": None}, "expiring_next": None,
    }
    made = await c.gateway.wanted("POST", "/v1/keys", {"user_id": user})
    whole = {
        "/v1/profile": {"profile": profile, "usage": empty}, "/v1/profile/balance": {"success": True, "data": balance},
        "/v1/profile/keys": [key_of(user) | {"id": made["id"]}], "/v1/profile/logs": {"success": True, "data": {"items": [], "nextCursor": None}},
        "/v1/profile/payments": {"success": True, "data": {"paymentTransactions": []}},
        "/v1/profile/usage": {"group_by": "day", "start": INSTANT, "end": INSTANT, "buckets": [], "total": NOTHING},
    }
    for path in PROFILE_ROUTES:
        pattern = whole[path]
        await c.ok("GET", path, pattern, key=token)
        await c.ok("GET", path, pattern, query={"user": user})
        await c.ok("GET", path, pattern, query={"user": "ada"}, key=token)
        await c.refused("GET", path, 400, "user_required", NO_USER)
        await c.refused("GET", path, 400, "user_required", NO_USER, query={"user": ""})
        await c.refused("GET", path, 404, "user_not_found", "User not found", query={"user": "nobody"})
        await c.refused("GET", path, 401, "missing_credentials", "Missing X-AnyLLM-Key or Authorization header", key=None)
    await c.gateway.wanted("POST", "/v1/billing/topup", {"user_id": user, "amount": 100, "source": "LEMONSQUEEZY"})
    payment = {
        "paidAt": INSTANT, "creatorId": user, "amountCents": 1000, "credits": 100, "paymentId": re.compile("topup:req_[0-9A-Z]{26}"), "purchase": "credits",
        "plan": None, "refundedCents": 0, "waitsForCycle": False}
    await c.ok("GET", "/v1/profile/payments", {"success": True, "data": {"paymentTransactions": [payment]}}, key=token)


async def own_usage(c: Contract) -> None:
    usage, logs = "/v1/profile/usage", "/v1/profile/logs"
    user = "usage-of-one"
    key = await c.gateway.user(user, 10)
    answered = await c.gateway.answer(key, "up:finish")
    await c.gateway.answer(key, "up:refuse-500")
    request = answered.header("x-request-id")

    async def both() -> bool:
        return len(await c.gateway.usage(user)) == 2

    await wire.eventually(both, "the usage log has both requests")
    for group in ("day", "week", "month", "model", "total"):
        answer = await c.ok("GET", usage, {
            "group_by": group, "start": INSTANT, "end": INSTANT, "total": {**TOTALS, "prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19, "cost": 0.00002475},
            "buckets": Each({"period": TEXT, **TOTALS}, least=1)}, query={"group_by": group}, key=key)
        for name in TOTALS:
            found = sum(bucket.get(name, 0) for bucket in answer.get("buckets", []))
            c.check.that(abs(found - answer.get("total", {}).get(name, -1)) < 1e-12, f"{group}: the buckets' {name} is {found}, the total's {answer.get('total')}")
    await c.ok("GET", usage, {"group_by": "day", "start": INSTANT, "end": INSTANT, "buckets": list, "total": {**TOTALS, "cost": 0.00002475}},
               query={"tz": "Asia/Seoul"}, key=key)
    await c.ok("GET", usage, {"group_by": "day", "start": INSTANT, "end": INSTANT, "buckets": [], "total": NOTHING},
               query={"start": "2020-01-01", "end": "2020-01-02T00:00:00Z"}, key=key)
    for path in (usage, logs):
        late = {"start": "2026-02-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
        await c.refused("GET", path, 400, "invalid_range", "start must be before end", query=late, key=key)
        for name, value in (("start", "soon"), ("end", "2026-13-01"), ("format", "xml")):
            await c.invalid("GET", path, {"type": TEXT, "loc": ["query", name], "msg": TEXT, "input": None}, query={name: value}, key=key)
        table = await c.call("GET", path, 200, query={"format": "csv"}, key=key, kind="text/csv")
        rows = list(csv.reader(io.StringIO(table.text)))
        c.check.that(len(rows) >= 2 and all(len(row) == len(rows[0]) for row in rows), f"{path} as CSV: {table}")
    for path, name, value in (
            (usage, "group_by", "hour"), (usage, "tz", "Mars/Olympus"), (usage, "start", "1999-01-01"), ("/v1/profile", "tz", "Mars/Olympus"),
            ("/v1/profile/keys", "limit", "0"), ("/v1/profile/payments", "skip", "-1")):
        await c.invalid("GET", path, {"type": TEXT, "loc": ["query", name], "msg": TEXT, "input": None}, query={name: value}, key=key)
    for name, value in (("limit", "0"), ("limit", "1001"), ("limit", "x"), ("status", "fine"), ("cursor", "\0none")):
        await c.invalid("GET", logs, {"type": TEXT, "loc": ["query", name], "msg": TEXT, "input": None}, query={name: value}, key=key)

    def item(**more: object) -> dict:
        return {
            "aiInferenceProviderName": "up", "aiModelName": TEXT, "aiModelTypeName": "chat", "completionTokens": int, "costUsd": NUMBER,
            "createdAt": INSTANT, "creditsUsed": NUMBER, "generationId": TEXT, "id": TEXT, "metadata": dict,
            "organizationId": None, "promptTokens": int, "totalTokens": int, "userId": user, **more}

    charged = item(aiModelName="finish", completionTokens=8, promptTokens=11, totalTokens=19, costUsd=0.00002475, creditsUsed=24.75, id=request)
    failed = item(aiModelName="refuse-500", costUsd=0, creditsUsed=0)
    for query, items in (({}, [failed, charged]), ({"status": "success"}, [charged]), ({"status": "error"}, [failed]), ({"model": "up:finish"}, [charged]),
                         ({"model": "up:none"}, []), ({"api_key_id": "none"}, []), ({"start": "2020-01-01", "end": "2020-02-01"}, [])):
        await c.ok("GET", logs, {"success": True, "data": {"items": items, "nextCursor": None}}, query=query, key=key)
    page = await c.ok("GET", logs, {"success": True, "data": {"items": [failed], "nextCursor": TEXT}}, query={"limit": 1}, key=key)
    cursor = page.get("data", {}).get("nextCursor") or ""
    await c.ok("GET", logs, {"success": True, "data": {"items": [charged], "nextCursor": None}}, query={"limit": 1, "cursor": cursor}, key=key)
    today = {"today": {**TOTALS, "cost": 0.00002475}, "this_week": {**TOTALS, "cost": 0.00002475}, "this_month": {**TOTALS, "cost": 0.00002475}}
    await c.ok("GET", "/v1/profile", {"profile": dict, "usage": today}, key=key)
    row = {
        "id": request, "user_id": user, "api_key_id": UUID, "timestamp": INSTANT, "model": "finish", "provider": "up", "endpoint": "/v1/chat/completions",
        "prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19, "cached_tokens": 3, "cost": 0.00002475, "credits": 0.0002475, "credits_reversed": 0,
        "estimated": False, "status": "success", "error_message": None}
    await c.ok("GET", "/v1/users/{id}/usage", [row], params={"id": user}, query={"skip": 1, "limit": 500}, key=MASTER_KEY)
