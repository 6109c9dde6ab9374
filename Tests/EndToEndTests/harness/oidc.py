"""Logging in as people do: the real oidc-provider-mock as a process, a browser that fills in its form, and the client application."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
import re
import secrets
import sqlite3
import sys
import urllib.parse
from base64 import urlsafe_b64encode
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import httpx
import jwt

import wire
from checks import Checks, openai_error
from gateway import MASTER_KEY, Gateway
from world import World

#: What the providers redirect to. The browser goes to the gateway's own port instead, as if a proxy stood there: so a login
#: that began before a restart ends after it.
PUBLIC_URL = "http://127.0.0.1:8199"
DESKTOP, LOOPBACK, PORTAL = "cafelua://auth", "http://127.0.0.1/callback", "https://portal.example/login/done"
JWT_SECRET = "a secret of the end-to-end tests that signs access tokens"
#: No case but the one about limits is to feel them.
NO_LIMITS = {"auth_requests_per_minute": 100_000, "failed_credentials_per_minute": 100_000}
MODELS = ["up:finish"]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
BONUS = 20_000_000_000


def world(providers: dict, auth: dict | None = None, limits: dict | None = None, models: list[str] | None = None,
          env: dict | None = None, is_audited: bool = True, **settings: object) -> World:
    """A world whose gateway logs people in by these providers."""
    login = {"public_url": PUBLIC_URL, "callbacks": [DESKTOP, LOOPBACK, PORTAL], **({"providers": providers} if providers else {})} | (auth or {})
    wanted = {"jwt_secret": JWT_SECRET, "auth": login} | settings
    return World(models or MODELS, is_audited=is_audited, limits=NO_LIMITS | (limits or {}), env=env,
                 settings={name: value for name, value in wanted.items() if value is not None})


# -- the real provider -------------------------------------------------------------------------------------------------


class Mock:
    """`oidc-provider-mock` as a process of its own, on a port that the system chose."""

    client_id, client_secret = "gateway", "secret-of-the-mock-0123456789"

    def __init__(self) -> None:
        self.issuer = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task | None = None
        self._lines: list[str] = []

    async def __aenter__(self) -> "Mock":
        environment = {**os.environ, "NO_COLOR": "1"}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oidc_provider_mock", "--port", "0", "--require-nonce", env=environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
        listening = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(listening))
        self.issuer = await asyncio.wait_for(listening, 30)
        return self

    async def _read(self, listening: asyncio.Future) -> None:
        while line := await self._process.stderr.readline():
            text = line.decode("utf-8", "replace").rstrip()
            self._lines.append(text)
            found = re.search(r"running on (http://127\.0\.0\.1:\d+)", text)
            if found and not listening.done():
                listening.set_result(found[1])
        if not listening.done():
            lines = "\n".join(self._lines)
            listening.set_exception(AssertionError(f"oidc-provider-mock did not start (install requirements.txt?):\n{lines}"))

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def person(self, sub: str, **claims: object) -> None:
        """Says what the provider knows of somebody: email, email_verified, name, picture."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.put(f"{self.issuer}/users/{urllib.parse.quote(sub)}", json=claims)
            assert answer.status_code == 204, f"the mock answered {answer.status_code}: {answer.text[:300]}"

    def settings(self, **more: object) -> dict:
        return {"kind": "oidc", "issuer": self.issuer, "client_id": self.client_id, "client_secret": self.client_secret, **more}


# -- the browser -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The forms and links of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.forms: list[tuple[dict, list[dict]]] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        if tag == "form":
            self.forms.append((values, []))
        elif tag in ("input", "button") and self.forms and values.get("name"):
            self.forms[-1][1].append(values)
        elif tag == "a" and values.get("href"):
            self.links.append(values["href"])

    def form_with(self, name: str, value: str | None = None) -> dict | None:
        """The attributes of the form that has such a field."""
        return next((form for form, fields in self.forms
                     if any(f["name"] == name and value in (None, f.get("value")) for f in fields)), None)


class Browser:
    """Keeps cookies, follows redirects to the provider and back, and fills in the form there."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway
        self.http = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=60, headers={"accept": "text/html,application/xhtml+xml"})

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def _address(self, url: str) -> str:
        return f"http://127.0.0.1:{self.gateway.port}{url[len(PUBLIC_URL):]}" if url.startswith(PUBLIC_URL + "/") else url

    async def look_ahead(self, url: str) -> httpx.Response:
        """Asks for the head of an address, as what previews links does."""
        return await self.http.head(self._address(url))

    async def open(self, url: str) -> httpx.Response:
        return await self.http.get(self._address(url))

    async def _submit(self, url: str, page: Page, fields: dict) -> httpx.Response:
        (name, value), = fields.items()
        form = page.form_with(name, value if name == "action" else None)
        assert form is not None, f"the page {url} has no form with {name}"
        return await self.http.post(urllib.parse.urljoin(self._address(url), form.get("action") or ""), data=fields)

    async def to_callback(self, url: str, sub: str, deny: bool = False) -> str:
        """Logs in at the provider, and gives the address of the gateway's callback, which was not visited yet."""
        response = await self.open(url)
        for _ in range(8):
            if response.status_code in (302, 303, 307):
                url = urllib.parse.urljoin(url, response.headers["location"])
                if url.startswith(f"{PUBLIC_URL}/v1/auth/callback?"):
                    return url
                response = await self.open(url)
            elif response.status_code == 200:
                response = await self._submit(url, Page(response.text), {"action": "deny"} if deny else {"sub": sub})
            else:
                break
        raise AssertionError(f"the login of {sub} came to {url}, which answered {response.status_code}: {response.text[:300]!r}")

    async def back(self, callback: str) -> str:
        """Visits the gateway's callback, and gives the client's own address that it leads to."""
        response = await self.open(callback)
        assert response.status_code in (302, 303), f"the callback answered {response.status_code}: {response.text[:300]!r}"
        return response.headers["location"]

    async def log_in(self, url: str, sub: str, deny: bool = False) -> str:
        return await self.back(await self.to_callback(url, sub, deny))


# -- the client application --------------------------------------------------------------------------------------------


async def authorize(gateway: Gateway, provider: str | None = None, callback: str | None = DESKTOP, state: str | None = "st-1", **more: str) -> wire.Response:
    query = {"callback_url": callback, "provider": provider, "state": state, **more}
    query = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    return await gateway.api("GET", f"/v1/auth/authorize?{query}", key=None)


async def start(gateway: Gateway, provider: str | None = None, **more) -> str:
    """Where a login begins."""
    response = await authorize(gateway, provider, **more)
    assert response.status == 200, f"authorize gave {response}"
    return response.json["redirect_url"]


def landed(url: str, callback: str = DESKTOP) -> dict[str, str]:
    """What came back to the client; every name once."""
    head, _, query = url.partition("?")
    assert head == callback and "#" not in query, f"the login ended at {url!r} instead of {callback}"
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), f"a name is there twice in {url!r}"
    return dict(pairs)


def pkce() -> tuple[str, str]:
    """A code_verifier and its code_challenge."""
    verifier = secrets.token_urlsafe(48)
    return verifier, urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Tokens:
    access: str
    refresh: str
    data: dict = field(default_factory=dict)

    @property
    def claims(self) -> dict:
        """Unverified: what is in it, not whether it may be believed."""
        return jwt.decode(self.access, options={"verify_signature": False})

    @property
    def user(self) -> str:
        return self.claims["sub"]

    @property
    def session(self) -> str:
        return self.claims["sid"]


def tokens_of(response: wire.Response) -> Tokens:
    """The tokens of an answer of /token and /refresh."""
    assert response.status == 200, f"no tokens: {response}"
    body = response.json
    assert body.get("success") is True and body["data"].get("tokenType") == "Bearer", f"not the shape of tokens: {response}"
    return Tokens(body["data"]["accessToken"], body["data"]["refreshToken"], body["data"])


async def token(gateway: Gateway, code: str, **more: str) -> wire.Response:
    return await gateway.api("POST", "/v1/auth/token", {"code": code, **more}, key=None)


async def refresh(gateway: Gateway, refresh_token: str, **more: str) -> wire.Response:
    return await gateway.api("POST", "/v1/auth/refresh", {"refreshToken": refresh_token, **more}, key=None)


async def log_in(gateway: Gateway, provider: str, sub: str) -> Tokens:
    """A whole login in a browser of its own."""
    async with Browser(gateway) as browser:
        found = landed(await browser.log_in(await start(gateway, provider), sub))
    assert "code" in found, f"the login of {sub} by {provider} came back with {found}"
    return tokens_of(await token(gateway, found["code"]))


async def portal(gateway: Gateway, key: str | None = MASTER_KEY, **body: object) -> wire.Response:
    """The portal's login."""
    return await gateway.api("POST", "/v1/auth/login", {"provider": "portal", **body}, key=key)


async def portal_tokens(gateway: Gateway, account: str, **body: object) -> Tokens:
    response = await portal(gateway, provider_account_id=account, **body)
    assert response.status == 200, f"the portal's login of {account} gave {response}"
    found = response.json["tokens"]
    return Tokens(found["access_token"], found["refresh_token"], found)


# -- checks ------------------------------------------------------------------------------------------------------------


def refused(check: Checks, response: wire.Response, status: int, code: str, text: str | None = None) -> None:
    """Checks a refusal of the gateway's own routes by its stable code, and by its words where the contract has them."""
    check.equal(response.status, status, f"status of {response}")
    try:
        body = response.json
    except ValueError:
        body = None
    if check.that(isinstance(body, dict) and isinstance(body.get("detail"), str), f"no `detail` in {response}"):
        check.equal(body.get("code"), code, "code")
        if text is not None:
            check.equal(body["detail"], text, "detail")


async def credential_refused(check: Checks, gateway: Gateway, credential: str, codes: str | set[str]) -> None:
    """A credential that is no longer, or never was, one: at the routes of identity and of models, with `www-authenticate`."""
    codes = {codes} if isinstance(codes, str) else codes
    for path in ("/v1/auth/me", "/v1/profile/balance"):
        response = await gateway.api("GET", path, key=credential)
        check.equal(response.status, 401, f"status of {path}: {response}")
        if response.status == 401:
            check.within(response.json.get("code"), codes, f"code of {path}")
            check.equal(response.header("www-authenticate"), "Bearer", f"www-authenticate of {path}")
    check.within(openai_error(check, await gateway.answer(credential, "up:finish"), 401).get("code"), codes, "code of a chat")


async def credential_works(check: Checks, gateway: Gateway, credential: str, user: str, what: str = "the credential") -> None:
    me = await gateway.api("GET", "/v1/auth/me", key=credential)
    if check.equal(me.status, 200, f"status of me with {what}: {me}"):
        check.equal(me.json["data"]["id"], user, f"whose {what} is")


async def credits(gateway: Gateway, credential: str) -> Decimal:
    data = (await gateway.wanted("GET", "/v1/profile/balance", key=credential))["data"]
    return Decimal(data["credits_exact"])


def instant(value: object) -> float:
    """An instant in ISO 8601 with its offset, in seconds."""
    assert isinstance(value, str), f"{value!r} is no instant"
    found = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    assert found.tzinfo is not None, f"{value!r} has no offset"
    return found.timestamp()


def check_opened(check: Checks, events: list[dict], users: set[str] | list[str]) -> None:
    """Every one of these accounts was opened once on FREE with one sign-up bonus, and no other account has such a bonus."""
    for user in users:
        own = [e for e in events if e["account"] == user]
        opened = [e["data"].get("plan") for e in own if e["name"] == "account_opened"]
        check.equal(opened, ["FREE"], f"the openings of {user}")
        grants = [(e["key"], e["data"].get("pool"), int(e["data"]["amount"])) for e in own if e["name"] == "credits_granted"]
        check.equal(grants, [(f"signup:{user}", "BONUS", BONUS)], f"the grants of {user}")
    others = {e["account"] for e in events if e["key"].startswith("signup:")} - set(users)
    check.equal(others, set(), "other accounts with a sign-up bonus")


def rows(database: Path) -> dict[str, int]:
    """How many rows each table has: nothing stored, nothing changed. Checkpoints, which follow the events by themselves, are left out."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [name for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'checkpoints' ORDER BY name")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


async def lookup(gateway: Gateway, **query: str) -> dict | None:
    """Whom the gateway knows by a provider's account or by an e-mail address."""
    response = await gateway.api("GET", f"/v1/auth/lookup?{urllib.parse.urlencode(query)}")
    assert response.status in (200, 404), f"the lookup of {query} gave {response}"
    return response.json if response.status == 200 else None
