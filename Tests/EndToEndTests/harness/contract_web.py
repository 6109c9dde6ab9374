"""What every route has in common: headers of credentials, unknown paths and methods, HEAD, trailing slashes, and browsers' origins."""

from __future__ import annotations

import json
import re

import wire
from cases_http import talk
from contract import PORTAL, Contract, error_body
from gateway import MASTER_KEY, Gateway
from matching import TEXT, Either, mismatches

CHAT = "/v1/chat/completions"
NO_HEADER = "Missing X-AnyLLM-Key or Authorization header"
BAD_FORMAT = "Invalid header format. Expected 'Bearer <token>'"
ALLOWED_HEADERS = ["x-anyllm-key", "authorization", "content-type", "idempotency-key", "x-api-key", "anthropic-version"]
EXPOSED_HEADERS = ["x-request-id", "x-ledger-charged-credits", "x-ledger-balance-credits", "idempotency-replayed", "x-dropped-parameters", "retry-after"]


async def common_rules(c: Contract) -> None:
    for part in (health, credentials, unknown_paths, wrong_methods, heads, slashes, origins, any_origin):
        with c.check.about(part.__name__):
            await part(c)


async def health(c: Contract) -> None:
    await c.ok("GET", "/health", {"status": "healthy"}, key=None)
    await c.ok("GET", "/health/liveness", "I'm alive!", key=None)
    providers = {name: "available" for name in c.gateway.config["providers"]}
    ready = {
        "status": "healthy", "database": "connected", "version": re.compile(r"\d+\.\d+\.\d+"), "requests_under_way": 0, "queue_length": int,
        "usage_lag": Either(int, None), "providers": providers}
    exposure = {"exposure": {
            "unbilled_requests": int, "unbilled_held_credits": TEXT, "charges": int, "beyond_bound": int, "excess_credits": TEXT,
            "excess_usd": TEXT, "flags": dict, "slowed_accounts": int}}
    await c.ok("GET", "/health/readiness", ready, key=None)
    await c.ok("GET", "/health/readiness", ready, key="gw-" + "A" * 64)
    await c.ok("GET", "/health/readiness", ready | exposure)
    document = await c.call("GET", "/openapi.yaml", 200, key=None, kind="application/yaml")
    c.check.equal(document.text, c.description.text, "the document")


async def credentials(c: Contract) -> None:
    """Which header counts, and what is wrong with what stands in it."""
    key, other = await c.gateway.key("ada"), await c.gateway.key("headers")
    wrong = "gw-" + "A" * 64
    refused = [
        ({}, "missing_credentials", NO_HEADER),
        ({"authorization": key}, "invalid_header", BAD_FORMAT),
        ({"authorization": f"Basic {key}"}, "invalid_header", BAD_FORMAT),
        ({"authorization": "Bearer"}, "invalid_header", BAD_FORMAT),
        ({"authorization": "Bearer "}, "invalid_header", BAD_FORMAT),
        ({"x-anyllm-key": key, "authorization": f"Bearer {key}"}, "invalid_header", BAD_FORMAT),
        ({"authorization": f"Bearer {wrong}"}, "invalid_api_key", "Invalid API key"),
        ({"authorization": f"Bearer {key[:-1]}"}, "invalid_api_key", "Invalid API key"),
        ({"x-anyllm-key": f"Bearer {wrong}", "authorization": f"Bearer {key}"}, "invalid_api_key", "Invalid API key"),
        ({"authorization": f"Bearer {wrong}", "x-api-key": key}, "invalid_api_key", "Invalid API key"),
        ({"x-api-key": wrong}, "invalid_api_key", "Invalid API key"),
        ({"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA"}, "invalid_token", "Invalid access token"),
    ]
    for headers, code, text in refused:
        with c.check.about({name: value[:14] for name, value in headers.items()}):
            await c.refused("GET", "/v1/profile/balance", 401, code, text, key=None, headers=headers)
            await c.refused("POST", CHAT, 401, code, text, key=None, headers=headers, value={})
            await c.refused("POST", "/v1/messages", 401, code, text, key=None, headers=headers, value={})
            await c.refused("GET", "/v1/models", 401, code, text, key=None, headers=headers)
    taken = [
        ({"authorization": f"Bearer {key}"}, "ada"), ({"X-AnyLLM-Key": f"Bearer {key}"}, "ada"), ({"authorization": f"bearer {key}"}, "ada"),
        ({"x-api-key": key}, "ada"), ({"x-anyllm-key": f"Bearer {other}", "authorization": f"Bearer {key}"}, "headers"),
        ({"authorization": f"Bearer {other}", "x-api-key": key}, "headers"),
        ({"x-anyllm-key": f"Bearer {other}", "authorization": "nonsense", "x-api-key": key}, "headers"),
    ]
    for headers, user in taken:
        with c.check.about({name: value[:14] for name, value in headers.items()}):
            response = await c.call("GET", "/v1/profile/balance", 200, key=None, headers=headers)
            c.check.equal(response.json["data"]["userId"] if response.status == 200 else None, user, "whose balance it is")


async def unknown_paths(c: Contract) -> None:
    for path in ("/", "/v1", "/v2/chat/completions", "/v1/profile/nothing", "/v1/user", "/healthy", "/v1/admin", "/v1/keys/x/y", "/.env"):
        for method in ("GET", "POST", "DELETE"):
            for key in (None, MASTER_KEY):
                with c.check.about(method, path, "with the master key" if key else "without a credential"):
                    response = await c.gateway.api(method, path, {} if method == "POST" else None, key=key)
                    c.check.equal(response.status, 404, f"status of {response}")
                    c.check.equal(response.json, {"detail": "Not Found", "code": "not_found"}, "the body")
                    c.headers(response, "application/json")
    for path in ("/v1/chat/completion", "/v1/models/up:finish/x"):
        with c.check.about("GET", path):
            response = await c.gateway.api("GET", path)
            c.check.equal(response.status, 404, f"status of {response}")
            problems = mismatches(response.json, error_body(CHAT, "not_found", "Not Found"))
            c.check.that(not problems, "; ".join(problems))


async def wrong_methods(c: Contract) -> None:
    """A path that exists says which methods it has."""
    for path in c.description.document["paths"]:
        described = c.description.methods(path)
        target = re.sub(r"{\w+}", "x", path)
        for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE"} - described):
            with c.check.about(method, path):
                response = await c.gateway.api(method, target, {} if method != "GET" else None)
                if not c.check.equal(response.status, 405, f"status of {response}"):
                    continue
                allowed = {name.strip() for name in (response.header("allow") or "").split(",")}
                c.check.that(described <= allowed <= described | {"HEAD", "OPTIONS"}, f"allow is {sorted(allowed)}, described are {sorted(described)}")
                wanted = error_body(path, "method_not_allowed", "Method Not Allowed")
                problems = mismatches(response.json, wanted)
                c.check.that(not problems, "; ".join(problems))
                c.headers(response, "application/json")


async def heads(c: Contract) -> None:
    """HEAD is GET without its body: the same status, and the length that the body has."""
    for path, key in (("/health", None), ("/health/liveness", None), ("/v1/pricing", None), ("/v1/users/nobody", MASTER_KEY), ("/v1/profile/balance", None),
                      ("/openapi.yaml", None), ("/v1/nothing", None)):
        with c.check.about("HEAD", path):
            plain = await c.gateway.api("GET", path, key=key)
            credential = f"authorization: Bearer {key}\r\n" if key else ""
            _, answer = await talk(c.gateway.port, f"HEAD {path} HTTP/1.1\r\nhost: a\r\n{credential}connection: close\r\n\r\n")
            head, _, body = answer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            c.check.equal(lines[0].split(" ")[1], str(plain.status), "status")
            c.check.equal(body, b"", "the body")
            c.check.that(f"content-length: {len(plain.body)}" in lines, f"no length of {len(plain.body)} in {lines}")


async def slashes(c: Contract) -> None:
    """A slash at the end changes nothing."""
    key = await c.gateway.key("ada")
    for method, path, credential, value in (
            ("GET", "/health", None, None), ("GET", "/v1/users/ada", MASTER_KEY, None), ("GET", "/v1/budgets", MASTER_KEY, None), ("GET", "/v1/profile/payments", key, None),
            ("GET", "/v1/users", None, None), ("POST", "/v1/users", MASTER_KEY, {}), ("POST", CHAT, key, {}), ("POST", CHAT, None, {}), ("POST", "/v1/messages", key, {}),
            ("POST", "/v1/embeddings", None, {}), ("POST", "/v1/responses", key, {}), ("GET", "/v1/models", None, None), ("DELETE", "/v1/pricing", MASTER_KEY, None)):
        with c.check.about(method, path + "/"):
            plain = await c.gateway.api(method, path, value, key=credential)
            slashed = await c.gateway.api(method, path + "/", value, key=credential)
            c.check.equal((slashed.status, slashed.json), (plain.status, plain.json), "status and body")


# -- origins -----------------------------------------------------------------------------------------------------------


def listed(response: wire.Response, name: str) -> list[str]:
    return [part.strip().lower() for part in (response.header(name) or "").split(",") if part.strip()]


def check_origin(c: Contract, response: wire.Response, origin: str | None) -> None:
    """An answer lets this origin read it, with credentials; None: no origin."""
    check = c.check
    check.equal(response.header("access-control-allow-origin"), origin, "access-control-allow-origin")
    check.equal(response.header("access-control-allow-credentials"), "true" if origin else None, "access-control-allow-credentials")
    if origin:
        check.that("origin" in listed(response, "vary"), f"vary is {response.header('vary')}")


async def preflight(c: Contract, port: int, path: str, origin: str, method: str = "POST") -> wire.Response:
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": ",".join(ALLOWED_HEADERS)}
    return await wire.request(port, "OPTIONS", path, asked)


async def allowed(c: Contract, port: int, origin: str) -> None:
    check = c.check
    for path, method in ((CHAT, "POST"), ("/v1/profile/balance", "GET"), ("/v1/keys/x", "PATCH"), ("/v1/auth/sessions", "DELETE")):
        with check.about(f"preflight of {method} {path}"):
            answer = await preflight(c, port, path, origin, method)
            check.within(answer.status, {200, 204}, "status")
            check_origin(c, answer, origin)
            check.that(method.lower() in listed(answer, "access-control-allow-methods"), f"methods: {answer.headers}")
            missing = set(ALLOWED_HEADERS) - set(listed(answer, "access-control-allow-headers"))
            check.that(not missing, f"headers that are not allowed: {sorted(missing)}")
            check.that((answer.header("access-control-max-age") or "").isdigit(), f"max-age: {answer.headers}")
    for method, path in (("GET", "/health"), ("GET", "/v1/profile/balance"), ("POST", CHAT), ("GET", "/v1/nothing"), ("PUT", "/health")):
        with check.about(method, path):
            answer = await wire.request(port, method, path, {"origin": origin}, {} if method != "GET" else None)
            check_origin(c, answer, origin)
            missing = set(EXPOSED_HEADERS) - set(listed(answer, "access-control-expose-headers"))
            check.that(not missing, f"headers that are not exposed: {sorted(missing)}")


async def origins(c: Contract) -> None:
    port = c.gateway.port
    for origin in ("tauri://localhost", "http://tauri.localhost", PORTAL):
        with c.check.about(origin):
            await allowed(c, port, origin)
    with c.check.about("a stream"):
        key = await c.gateway.key("ada")
        headers = {"origin": "tauri://localhost", "x-anyllm-key": f"Bearer {key}"}
        value = {"model": "up:finish", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        answer = await wire.request(port, "POST", CHAT, headers, value)
        c.check.equal(answer.status, 200, f"status of {answer}")
        check_origin(c, answer, "tauri://localhost")
    for origin in ("https://evil.example", "null", f"{PORTAL}.evil.example", PORTAL.upper(), f"{PORTAL}:8443", "http://localhost"):
        with c.check.about("a foreign origin,", origin):
            for method, path in (("GET", "/health"), ("POST", CHAT), ("GET", "/v1/nothing")):
                check_origin(c, await wire.request(port, method, path, {"origin": origin}, {} if method == "POST" else None), None)
            check_origin(c, await preflight(c, port, CHAT, origin), None)
    with c.check.about("no origin"):
        check_origin(c, await wire.request(port, "GET", "/health"), None)


async def any_origin(c: Contract) -> None:
    """`*` lets every origin in, by its name: browsers take no `*` with credentials. And without providers and a secret there is no login."""
    gateway = Gateway(c.world.provider.port, ["up:finish"], settings={"cors_origins": "*"})
    try:
        await gateway.start()
        for origin in ("https://anything.example", "tauri://localhost"):
            with c.check.about(origin):
                await allowed(c, gateway.port, origin)
        for method, path, query, value in (
                ("GET", "/v1/auth/authorize", "?callback_url=cafelua://auth", None), ("GET", "/v1/auth/login", "?callback_url=cafelua://auth", None),
                ("POST", "/v1/auth/login", "", {"provider": "google", "provider_account_id": "1"}), ("POST", "/v1/auth/token", "", {"code": "x"}),
                ("POST", "/v1/auth/refresh", "", {"refreshToken": "x"})):
            with c.check.about(method, path):
                answer = await gateway.api(method, path + query, value)
                c.seen.setdefault((method, path), set()).add(str(answer.status))
                c.check.equal(answer.status, 404, f"status of {answer}")
                problems = mismatches(answer.json, error_body(path, "login_not_configured", TEXT))
                c.check.that(not problems, "; ".join(problems))
    finally:
        await gateway.close()


# -- models ------------------------------------------------------------------------------------------------------------


async def models_refusals(c: Contract) -> None:
    """What the model routes refuse, in the words of each route's clients."""
    key, poor = await c.gateway.key("ada"), await c.gateway.user("poor")
    hello = [{"role": "user", "content": "hi"}]
    good = {
        CHAT: {"model": "up:finish", "messages": hello}, "/v1/messages": {"model": "ant:talk", "max_tokens": 9, "messages": hello},
        "/v1/responses": {"model": "oai:talk", "input": "hi"}, "/v1/embeddings": {"model": "oai:embed", "input": "hi"},
    }
    for path, body in good.items():
        with c.check.about(path):
            prompt = "input" if "input" in body else "messages"
            field = "metadata.user_id" if path == "/v1/messages" else "user"
            text = f"When using master key, '{field}' field is required in request body"
            await c.refused("POST", path, 400, "user_required", text, field, value=body)
            foreign = {"metadata": {"user_id": "nobody"}} if path == "/v1/messages" else {"user": "nobody"}
            await c.refused("POST", path, 404, "user_not_found", "User not found", None, value={**body, **foreign})
            wants = "a text or an array" if prompt == "input" else "an array"
            for value, code, message, param in (
                    ({**body, "model": 1}, "invalid_value", "'model' must be a text", "model"),
                    ({k: v for k, v in body.items() if k != "model"}, "missing_field", "'model' is required and must be a text", "model"),
                    ({k: v for k, v in body.items() if k != prompt}, "missing_field", f"'{prompt}' is required", prompt),
                    ({**body, prompt: 1}, "invalid_value", f"'{prompt}' must be {wants}", prompt),
                    ({**body, "stream": "yes"}, "invalid_value", "'stream' must be true or false", "stream")):
                await c.refused("POST", path, 400, code, message, param, value=value, key=key)
            for raw, code in ((b"", "invalid_json"), (b"[]", "invalid_json"), (b'{"model":', "invalid_json"), (b"\xff", "invalid_utf8")):
                await c.refused("POST", path, 400, code, TEXT, None, body=raw, key=key)
            twice = b'{"model":' + json.dumps(body["model"]).encode() + b"," + json.dumps(body).encode()[1:]
            await c.refused("POST", path, 400, "duplicate_field", "'model' is there twice", "model", body=twice, key=key)
            await c.refused("POST", path, 404, "model_not_found", re.compile("The model 'nobody:x' does not exist: .+"), "model", value={**body, "model": "nobody:x"}, key=key)
            await c.refused("POST", path, 413, "body_too_large", "The request body is longer than 200000 bytes", None, body=b" " * 200_001, key=key)
            await c.refused("POST", path, 400, "invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters", None,
                            value=body, key=key, headers={"idempotency-key": "k" * 256})
            figures = {"needed_credits": (int, float), "available_credits": 0, "held_credits": 0, "max_tokens_that_fit": 0}
            await c.refused("POST", path, 402, "insufficient_credits", re.compile("Insufficient credits: .+"), None, figures, value=body, key=poor,
                            wanted={"x-should-retry": "false"})
            await c.gateway.wanted("PATCH", "/v1/users/poor", {"blocked": True})
            await c.refused("POST", path, 403, "account_blocked", "The account is blocked", None, value=body, key=poor)
            await c.gateway.wanted("PATCH", "/v1/users/poor", {"blocked": False})
            again = {"idempotency-key": f"again-{path}"}
            await c.call("POST", path, 200, value=body, key=key, headers=again)
            await c.call("POST", path, 200, value=body, key=key, headers=again, wanted={"idempotency-replayed": "true"})
            text = "This Idempotency-Key was used before for a request with other content"
            await c.refused("POST", path, 409, "idempotency_conflict", text, None, value={**body, "temperature": 0.5}, key=key, headers=again)
    await c.refused("POST", "/v1/messages", 400, "missing_field", "'max_tokens' is required and must be a whole number", "max_tokens",
                    value={"model": "ant:talk", "messages": hello}, key=key)
    text = re.compile("The model 'ant:talk' cannot be asked by /v1/responses: use .+")
    await c.refused("POST", "/v1/responses", 400, "unsupported_endpoint", text, "model", value={"model": "ant:talk", "input": "hi"}, key=key)
    for change, param in (({"service_tier": "priority"}, "service_tier"), ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type")):
        await c.refused("POST", CHAT, 400, "not_offered", TEXT, param, value={**good[CHAT], **change}, key=key)
    await c.refused("POST", CHAT, 400, "unsupported_parameter", TEXT, TEXT, value={**good[CHAT], "model": "ant:talk", "logprobs": True}, key=key)
    for name, status, code, text, param in (
            ("refuse-400", 400, "unsupported_value", "Unsupported value: 'temperature'.", "temperature"),
            ("refuse-404", 404, "model_not_found", "The model does not exist.", None), ("refuse-429", 429, "rate_limit_exceeded", "Rate limit reached.", None),
            ("refuse-401", 502, "upstream_credentials", "The provider refused the gateway's credentials; ask the operator", None),
            ("refuse-500", 502, "upstream_error", "The server had an error.", None), ("refuse-503", 503, "overloaded", "The engine is overloaded.", None)):
        wanted = {"retry-after": "7"} if status == 429 else {}
        await c.refused("POST", CHAT, status, code, text, param, value={**good[CHAT], "model": f"up:{name}"}, key=key, wanted=wanted)
    models = await c.ok("GET", "/v1/models", {"object": "list", "data": list}, key=key)
    named = {model["id"]: model for model in models.get("data", [])}
    c.check.equal(named.get("up:finish"), {"id": "up:finish", "object": "model", "created": named.get("up:finish", {}).get("created"), "owned_by": "up"}, "a model")
    c.check.that(isinstance(named.get("up:finish", {}).get("created"), int), "the model's time is no whole number")
