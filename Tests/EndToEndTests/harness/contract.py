"""What the cases about the contract share: a world with people in it, and calls whose whole answer is checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import urllib.parse

import wire
from checks import shortened
from description import Description
from gateway import MASTER_KEY
from matching import INSTANT, JWT, REQUEST_ID, SNAKE, TEXT, TEXT_OR_NULL, mismatches
from world import World

JWT_SECRET = "a-secret-of-the-end-to-end-tests-0123456789"
BILLING_KEY, AUDITOR_KEY = "billing-key-of-the-end-to-end-tests", "auditor-key-of-the-end-to-end-tests"
PORTAL = "https://portal.example"
#: A shop at a payment provider: what it signs with, a product that is a plan, credits, and credits that nobody can buy any more.
SHOP_SECRET = "a-shop-secret-of-the-end-to-end-tests"
SHOP = {"lemonsqueezy": {"webhook_secret": SHOP_SECRET, "products": {
    "1001": {"plan": "BASIC", "checkout_url": "https://shop.example/buy/basic"},
    "2001": {"credits": 100, "price_usd": 10, "checkout_url": "https://shop.example/buy/100"}, "2002": {"credits": 2.5, "price_usd": 0.25}}}}
MODELS = [
    "up:finish", "up:slow", "up:echo-request", "up:refuse-400", "up:refuse-401", "up:refuse-404", "up:refuse-429", "up:refuse-500",
    "up:refuse-503", "ant:talk", "gem:talk", "ant-c7:talk", "gem-utf8:talk", "oai:talk", "oai:embed",
]
SETTINGS = {
    "jwt_secret": JWT_SECRET,
    "master_keys": {"billing": {"key": BILLING_KEY, "role": "billing"}, "auditor": {"key": AUDITOR_KEY, "role": "auditor"}},
    "cors_origins": f"tauri://localhost, http://tauri.localhost, {PORTAL}",
    # What is due is recorded when somebody asks for it: a sweep in between would be seen.
    "payments": SHOP, "renewals": {"sweep_seconds": 0},
    "auth": {
        "public_url": "http://127.0.0.1:8000",
        "callbacks": ["cafelua://auth", "http://127.0.0.1/callback", f"{PORTAL}/login/done"],
        "providers": {
            "discord": {"client_id": "discord-client", "client_secret": "discord-secret"},
            "corp": {"kind": "oidc", "issuer": "http://127.0.0.1:9", "client_id": "corp-client", "client_secret": "corp-secret"},
        },
    },
}
#: How often an address may call the login's routes or fail is what other cases are about.
LIMITS = {"auth_requests_per_minute": 0, "failed_credentials_per_minute": 0, "max_body_bytes": 200_000}
ANTHROPIC, OPENAI = {"/v1/messages"}, {"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models"}


def people_world(models: list[str] = MODELS, settings: dict | None = None, **more) -> World:
    """A world with logins, master keys of all roles, and providers that are translated (`ant`, `gem`) or not (`oai`)."""
    instance = World(models, settings={**SETTINGS, **(settings or {})}, limits={**LIMITS, **more.pop("limits", {})}, **more)
    start = instance.provider.start

    async def start_and_configure():
        await start()
        base = f"http://127.0.0.1:{instance.provider.port}"
        kinds = {
            "ant": ("anthropic", "/v1"), "gem": ("gemini", "/v1beta"), "oai": ("openai", "/strict/v1"),
            "ant-c7": ("anthropic", "/c7/v1"), "gem-utf8": ("gemini", "/utf8/v1beta"),
        }
        instance._options["providers"] = {
            name: {"kind": kind, "api_base": base + path, "api_key": "sk-secret-7"} for name, (kind, path) in kinds.items()}

    instance.provider.start = start_and_configure
    return instance


# -- people ------------------------------------------------------------------------------------------------------------


def person(number: int | str = 1, **more) -> dict:
    """What a portal says of somebody who has logged in there."""
    return {
        "provider": "google", "provider_account_id": f"1076915035000615071511308236{number}", "email": f"person-{number}@example.com",
        "email_verified": True, "name": f"Pérson {number}", "avatar_url": f"{PORTAL}/{number}.png", "device_type": "web", **more,
    }


async def login(gateway, number: int | str = 1, **more) -> dict:
    """Logs somebody in as the portal does; gives the tokens."""
    return (await gateway.wanted("POST", "/v1/auth/login", person(number, **more)))["tokens"]


def parts_of(token: str) -> tuple[dict, dict]:
    """Header and claims of a JWT, unverified, as a client reads them."""
    return tuple(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2])


def signed(header: dict, claims: dict, secret: str | None) -> str:
    """A JWT of our own making: HS256 with a secret, or without any signature."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    text = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    if secret is None:
        return text + "."
    return text + "." + encoded(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())


TOKENS = {
    "access_token": JWT, "access_token_expires_at": INSTANT, "refresh_token": TEXT, "refresh_token_expires_at": INSTANT,
}


# -- the shop ----------------------------------------------------------------------------------------------------------


def order_message(number: int | str, user: str | None, product: int = 2001, event: str = "order_created", **more: object) -> bytes:
    """What the shop tells of an order."""
    custom = {} if user is None else {"custom_data": {"user_id": user}}
    attributes = {"status": "paid", "updated_at": "2026-03-01T12:00:00.000000Z", "first_order_item": {"variant_id": product, "quantity": 1}, **more}
    return json.dumps({"meta": {"event_name": event, **custom}, "data": {"type": "orders", "id": str(number), "attributes": attributes}}).encode()


def shop_signature(body: bytes, secret: str = SHOP_SECRET) -> dict[str, str]:
    return {"x-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def delivery_id(body: bytes, provider: str = "lemonsqueezy") -> str:
    return hashlib.sha256(provider.encode() + b"\0" + body).hexdigest()


# -- calls -------------------------------------------------------------------------------------------------------------


def error_body(path: str, code: object, detail: object, param: object = TEXT_OR_NULL, **figures: object) -> dict:
    """The whole body of an error, in the form of its route's clients."""
    if path in ANTHROPIC:
        return {"type": "error", "error": {"type": SNAKE, "message": detail, "code": code, "param": param, **figures}, "detail": detail}
    if path in OPENAI:
        return {"error": {"message": detail, "type": SNAKE, "param": param, "code": code, **figures}, "detail": detail}
    return {"detail": detail, "code": code}


def code_of(body: object) -> object:
    """The stable code of an error, in whichever form."""
    if not isinstance(body, dict):
        return None
    return body["error"].get("code") if isinstance(body.get("error"), dict) else body.get("code")


def field_error(kind: object, field: object, message: object, place: str = "body") -> dict:
    return {"type": kind, "loc": [place, field], "msg": message, "input": None}


def url(path: str, params: dict, query: dict | None) -> str:
    """A path of the description with its parameters filled in."""
    for name, value in params.items():
        assert "{" + name + "}" in path, f"{path} has no {name}"
        path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=":"))
    return path + ("?" + urllib.parse.urlencode(query) if query else "")


class Contract:
    """Calls routes by the path that the description has for them, and checks all of each answer.

    `seen` has the statuses of each route that were really there.
    """

    def __init__(self, world: World, description: Description):
        self.world, self.check, self.gateway, self.description = world, world.check, world.gateway, description
        self.seen: dict[tuple[str, str], set[str]] = {}

    async def call(self, method: str, path: str, status: int, pattern: object = None, *, value: object = None, key: str | None = MASTER_KEY,
                   query: dict | None = None, headers: dict | None = None, kind: str = "application/json", wanted: dict | None = None,
                   params: dict | None = None, **more) -> wire.Response:
        """One call; `pattern` is the whole JSON body, `wanted` are headers that the answer has to have."""
        target = url(path, params or {}, query)
        response = await self.gateway.api(method, target, value, key=key, headers=headers, **more)
        what = f"{method} {target}" + (f" {shortened(value, 120)}" if value is not None else "")
        with self.check.about(what):
            self._judge(method, path, response, status, pattern, kind, wanted or {})
        return response

    def _judge(self, method: str, path: str, response: wire.Response, status: int, pattern: object, kind: str, wanted: dict) -> None:
        check = self.check
        self.seen.setdefault((method, path), set()).add(str(response.status))
        if not check.equal(response.status, status, f"status of {response}"):
            return
        check.that(response.complete, f"the answer is not complete: {response}")
        # A signature is no credential that a client could be asked for.
        self.headers(response, kind if response.body else None, None if path.startswith("/v1/webhooks/") else "Bearer")
        for name, text in wanted.items():
            check.equal(response.header(name), text, name)
        if pattern is not None:
            try:
                problems = mismatches(response.json, pattern)
            except ValueError:
                problems = [f"the body is no JSON: {response}"]
            check.that(not problems, "; ".join(problems[:8]))
        if status in (204, 302):
            check.equal(response.body, b"", "the body")
        problems = self.description.problems(method, path, response)
        check.that(not problems, "; ".join(problems[:5]))

    def headers(self, response: wire.Response, kind: str | None, challenge: str | None = "Bearer") -> None:
        """What every answer has."""
        check = self.check
        found = response.header("x-request-id") or ""
        check.that(REQUEST_ID.fullmatch(found), f"x-request-id is {found!r}")
        content_type = response.header("content-type")
        check.equal(content_type and content_type.partition(";")[0].strip(), kind, "content-type")
        if response.status == 401:
            check.equal(response.header("www-authenticate"), challenge, "www-authenticate")

    async def ok(self, method: str, path: str, pattern: object, **more) -> object:
        """A 200 with that body; gives it."""
        response = await self.call(method, path, 200, pattern, **more)
        return response.json if response.status == 200 else {}

    async def done(self, method: str, path: str, **more) -> None:
        """A 204."""
        await self.call(method, path, 204, **more)

    async def refused(self, method: str, path: str, status: int, code: object, detail: object, param: object = TEXT_OR_NULL,
                      figures: dict | None = None, **more) -> wire.Response:
        """An error with that code and those words, and nothing else."""
        return await self.call(method, path, status, error_body(path, code, detail, param, **(figures or {})), **more)

    async def invalid(self, method: str, path: str, *errors: dict, **more) -> None:
        """A 422 with exactly these errors."""
        await self.call(method, path, 422, {"detail": list(errors), "code": "validation_error"}, **more)

    async def missing(self, method: str, path: str, field: str, place: str = "body", **more) -> None:
        await self.invalid(method, path, field_error("missing", field, "Field required", place), **more)
