"""What belongs to one login only: its state, its browser, and the address to which it may lead back."""

from __future__ import annotations

import urllib.parse

import oidc
from checks import case
from clock import Clock
from oidc import DESKTOP, PORTAL, PUBLIC_URL, Browser
from oidc_standin import Person, Providers
from world import World

ODD_STATES = [
    "x", "a+b c%20d%2B", "&code=evil&key=gw-evil#frag?x=1", "=;,:/\\|\"'<>{}[]()^`~!@$*", "%", "%%0a%00", "a" * 512, "  spaces  ", "state",
    "eyJhIjoiYiJ9.eyJjIjoiZCJ9_-", "../../x", "${jndi:ldap://x}",
]
BAD_STATES = ["a" * 513, "line\r\nlocation: https://evil.example", "nul\0", "bell\a", "\x7f"]
EVIL = "https://evil.example"
#: What a client may not be led back to, though some of it looks like what is allowed.
FORBIDDEN = [
    EVIL, f"{EVIL}/callback", "//evil.example/callback", "/callback", "callback", "javascript:alert(1)", "javascript://auth/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>", "file:///etc/passwd", "about:blank",
    # The desktop's scheme.
    "cafelua://auth.evil", "cafelua://auth.evil.example", "cafelua://evil/auth", "cafelua://auth@evil", "cafelua://user@auth", "cafelua://auth:80",
    "cafelua://auth/", "cafelua://auth/x", "cafelua://auth\\@evil", "cafelua://auth?x=1", "cafelua://auth?", "cafelua://auth#x", "cafelua://auth#",
    "CAFELUA://auth", "cafelua:auth", "cafelua:/auth", "cafelua:///auth", "cafelua://auth%00", "cafelua://auth\0", "cafelua://auth ", " cafelua://auth",
    "\tcafelua://auth", "cafelua://auth\r\nlocation: https://evil.example", "cafelua://auth\r\n\r\n<script>", "cafelua://au\nth", "xcafelua://auth",
    "cafelua://аuth", "cafelua://auth%2e%2e",
    # The loopback address: any port, and nothing else of it.
    "http://127.0.0.1@evil.example/callback", "http://127.0.0.1:80@evil.example/callback", "http://evil@127.0.0.1/callback",
    "http://127.0.0.1.evil.example/callback", "http://127.0.0.1:5000.evil.example/callback", "http://evil.example\\@127.0.0.1/callback",
    "http://127.0.0.1\\.evil.example/callback", "http://127.0.0.1:5000/callback/", "http://127.0.0.1:5000/callback/x", "http://127.0.0.1:5000/Callback",
    "http://127.0.0.1:5000/x/../callback", "http://127.0.0.1:5000/%63allback", "http://127.0.0.1:5000//callback", "http://127.0.0.1:5000/",
    "http://127.0.0.1:5000/callback?next=https://evil.example", "http://127.0.0.1:5000/callback#x", "https://127.0.0.1:5000/callback",
    "HTTP://127.0.0.1:5000/callback", "http://127.0.0.1:99999/callback", "http://127.0.0.1:-1/callback", "http://127.0.0.1:5000:80/callback",
    "http://127.0.0.1:x/callback", "http://127.0.0.2/callback", "http://0x7f000001/callback", "http://2130706433/callback", "http://localhost:5000/callback",
    "http://[::1]:5000/callback", "http://0.0.0.0:5000/callback", "http:/127.0.0.1/callback", "http:127.0.0.1/callback", "http:///127.0.0.1/callback",
    # The portal.
    "http://portal.example/login/done", "https://portal.example:8443/login/done", "https://portal.example.evil.example/login/done",
    "https://evil.example/portal.example/login/done", "https://portal.example@evil.example/login/done", "https://xportal.example/login/done",
    "https://evil.portal.example/login/done", "https://portal.example/login/done/../../evil", "https://portal.example/login/done?x=1",
    "https://portal.example/login/done;x", "https://portal.example/login/donee", "https://portal.example/login", "HTTPS://portal.example/login/done",
    "https://portal.example\\login\\done", "https://portal.example/login/done%0d%0aset-cookie:x=1", "https://portal.example./login/done",
]


def world(providers: Providers, **more) -> World:
    realm = providers["corp"]
    realm.redirect_uri = f"{PUBLIC_URL}/v1/auth/callback"
    for sub in ("anna", "bert", "carl"):
        realm.people[sub] = Person({"email": f"{sub}@example.org", "email_verified": True, "name": sub})
    return oidc.world({"corp": realm.settings()}, **more)


def is_refused(check, response, what: str) -> None:
    """The callback's own refusal: no redirect, to nowhere."""
    check.equal((response.status_code, response.headers.get("location")), (400, None), f"status and location of {what}: {response.text[:200]!r}")
    check.that('"invalid_state"' in response.text, f"code of {what}: {response.text[:200]!r}")


@case
async def login_state() -> None:
    """A state counts once, for ten minutes, in the browser that began; the client's own comes back byte for byte."""
    with Providers() as providers, Clock() as clock:
        async with world(providers, env=clock.env) as here:
            check, gateway = here.check, here.gateway
            await states_of_nobody(here)
            await states_that_are_used_up(here, clock)
            await other_browsers(here)
            await states_of_clients(here)
            with check.about("a person who says no"):
                async with Browser(gateway) as browser:
                    url = await browser.to_callback(await oidc.start(gateway, state="n&?"), "anna", deny=True)
                    check.equal(oidc.landed(await browser.back(url)), {"error": "access_denied", "state": "n&?"}, "what the client is told")
                    is_refused(check, await browser.open(url), "the same callback again")
            with check.about("another error of the provider"):
                async with Browser(gateway) as browser:
                    url = await browser.to_callback(await oidc.start(gateway, state="s"), "anna", deny=True)
                    found = oidc.landed(await browser.back(url.replace("error=access_denied", "error=server_error")))
                    check.equal(found, {"error": "login_failed", "state": "s"}, "what the client is told")
            # One code was sent a second time on purpose, with a new state; no other may have been.
            check.equal(providers.complaints, ["a code was sent a second time"], "what the provider complained of")


async def states_of_nobody(here: World) -> None:
    check, before = here.check, oidc.rows(here.gateway.database)
    async with Browser(here.gateway) as browser:
        for query in ("code=x&state=unknown", "code=x&state=" + "A" * 43, "error=access_denied&state=unknown", "code=x&state=a&state=b"):
            with check.about(query[:40]):
                is_refused(check, await browser.open(f"{PUBLIC_URL}/v1/auth/callback?{query}"), "the callback")
        for query in ("code=x", "code=x&state=", ""):
            with check.about("no state", query):
                response = await browser.open(f"{PUBLIC_URL}/v1/auth/callback?{query}")
                check.within(response.status_code, {400, 422}, "status")
                check.equal(response.headers.get("location"), None, "location")
    check.equal(oidc.rows(here.gateway.database), before, "rows of the tables")


async def states_that_are_used_up(here: World, clock: Clock) -> None:
    check, gateway = here.check, here.gateway
    with check.about("a callback that is opened again"):
        async with Browser(gateway) as browser:
            url = await browser.to_callback(await oidc.start(gateway), "anna")
            code = oidc.landed(await browser.back(url))["code"]
            is_refused(check, await browser.open(url), "the callback")
            tokens = oidc.tokens_of(await oidc.token(gateway, code))
            await oidc.credential_works(check, gateway, tokens.access, tokens.user, "the token of the first")
    with check.about("a used code of the provider with a new state"):
        async with Browser(gateway) as browser:
            fresh = await browser.to_callback(await oidc.start(gateway, state="s-2"), "anna")
            first, second = (dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(u).query)) for u in (url, fresh))
            query = urllib.parse.urlencode({"code": first["code"], "state": second["state"]})
            found = oidc.landed(await browser.back(f"{PUBLIC_URL}/v1/auth/callback?{query}"))
            check.equal(found, {"error": "login_failed", "state": "s-2"}, "what the client is told")
    with check.about("no code"):
        async with Browser(gateway) as browser:
            url = await browser.to_callback(await oidc.start(gateway, state="s-3"), "anna")
            state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["state"]
            response = await browser.open(f"{PUBLIC_URL}/v1/auth/callback?state={urllib.parse.quote(state)}")
            check.that("code=" not in response.headers.get("location", ""), f"it led to {response.headers.get('location')}")
            check.within(response.status_code, {302, 303, 400, 422}, "status")
    with check.about("a login that took its time"):
        async with Browser(gateway) as browser:
            for seconds, is_late in ((9 * 60, False), (10 * 60 + 5, True)):
                url = await browser.to_callback(await oidc.start(gateway), "anna")
                clock.ahead(seconds)
                if is_late:
                    is_refused(check, await browser.open(url), f"the callback after {seconds} s")
                else:
                    check.that("code" in oidc.landed(await browser.back(url)), f"the login failed after {seconds} s")


async def other_browsers(here: World) -> None:
    """Where a browser began, only this browser ends: nobody is logged in as the one who sent the link."""
    check, gateway = here.check, here.gateway
    began = f"{PUBLIC_URL}/v1/auth/authorize?" + urllib.parse.urlencode({"callback_url": DESKTOP, "provider": "corp", "state": "b"})
    with check.about("the cookie"):
        async with Browser(gateway) as browser, Browser(gateway) as other:
            response = await browser.open(began)
            check.within(response.status_code, {302, 303}, f"status of a navigation: {response.text[:200]!r}")
            cookie = response.headers.get("set-cookie", "")
            check.that(cookie.startswith("gateway_login="), f"set-cookie: {cookie!r}")
            flags = {part.strip().lower() for part in cookie.split(";")[1:]}
            check.that({"httponly", "samesite=lax"} <= flags, f"set-cookie: {cookie!r}")
            url = await browser.to_callback(began, "bert")
            response = await other.open(url)
            location = response.headers.get("location", "")
            check.that("code=" not in location and "key=" not in location, f"the other browser was led to {location}")
            check.that(response.status_code == 400 or "error=" in location, f"the other browser got {response.status_code} {location}")
            check.equal(await oidc.lookup(gateway, provider="corp", provider_account_id="bert"), None, "whom the lookup finds after the other browser")
    with check.about("the browser that began"):
        async with Browser(gateway) as browser:
            found = oidc.landed(await browser.back(await browser.to_callback(began, "bert")))
            check.equal((found.get("state"), "code" in found), ("b", True), f"what came back: {found}")
    with check.about("another login's cookie"):
        async with Browser(gateway) as browser, Browser(gateway) as other:
            url = await browser.to_callback(began, "carl")
            await other.to_callback(began, "carl")
            location = (await other.open(url)).headers.get("location", "")
            check.that("code=" not in location, f"the other browser was led to {location}")


async def states_of_clients(here: World) -> None:
    check, gateway = here.check, here.gateway
    for state in ODD_STATES:
        with check.about("state", ascii(state[:40])):
            async with Browser(gateway) as browser:
                url = await browser.log_in(await oidc.start(gateway, state=state), "anna")
            check.that(all(0x20 < ord(char) < 0x7F for char in url), f"the deep link is no clean URL: {url!r}")
            check.equal(oidc.landed(url).get("state"), state, "the state that came back")
            check.equal(set(oidc.landed(url)), {"code", "state"}, "what came back")
    with check.about("no state"):
        async with Browser(gateway) as browser:
            url = await browser.log_in(await oidc.start(gateway, state=None), "anna")
        check.equal(set(oidc.landed(url)), {"code"}, "what came back")
    for state in BAD_STATES:
        with check.about("state", ascii(state[:20])):
            oidc.refused(check, await oidc.authorize(gateway, "corp", state=state), 400, "invalid_state")
    with check.about("a state that is no ASCII"):
        response = await oidc.authorize(gateway, "corp", state="zurück 首都")
        if response.status == 200:
            async with Browser(gateway) as browser:
                url = await browser.log_in(response.json["redirect_url"], "anna")
            check.equal(oidc.landed(url).get("state"), "zurück 首都", "the state that came back")
        else:
            oidc.refused(check, response, 400, "invalid_state")


@case
async def login_redirects() -> None:
    """Nobody is led to an address that is not listed, however it is spelled; of a loopback address any port will do."""
    with Providers() as providers:
        async with world(providers) as here:
            check, gateway = here.check, here.gateway
            before = oidc.rows(gateway.database)
            for callback in FORBIDDEN:
                with check.about(ascii(callback[:80])):
                    for name in ("callback_url", "redirect_uri"):
                        response = await oidc.authorize(gateway, "corp", callback=None, **{name: callback})
                        oidc.refused(check, response, 400, "callback_not_allowed")
                        check.equal(response.header("location"), None, "location")
            async with Browser(gateway) as browser:
                for callback in (EVIL, "javascript:alert(1)", "cafelua://auth.evil"):
                    with check.about("the page, with", callback):
                        for path in ("login", "authorize"):
                            response = await browser.open(f"{PUBLIC_URL}/v1/auth/{path}?{urllib.parse.urlencode({'callback_url': callback})}")
                            check.equal((response.status_code, response.headers.get("location")), (400, None), f"status and location of {path}")
                            check.that(f'href="{callback}' not in response.text, f"a link to it in {response.text[:300]!r}")
            check.equal(oidc.rows(gateway.database), before, "rows of the tables: nothing stored")
            check.equal(providers["corp"].counts["token"], 0, "times that the provider was asked for tokens")
            await two_callbacks(here)
            for callback in (DESKTOP, "http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback", PORTAL):
                with check.about("allowed:", callback):
                    async with Browser(gateway) as browser:
                        url = await browser.log_in(await oidc.start(gateway, callback=callback), "anna")
                    check.equal(set(oidc.landed(url, callback)), {"code", "state"}, "what came back")
            check.equal(providers.complaints, [], "what the provider complained of")


async def two_callbacks(here: World) -> None:
    """An allowed one and another: it is refused, or the allowed one counts to the end."""
    check, gateway = here.check, here.gateway
    for names in (("callback_url", "callback_url"), ("callback_url", "redirect_uri"), ("redirect_uri", "callback_url")):
        for values in ((DESKTOP, EVIL), (EVIL, DESKTOP)):
            with check.about("two callbacks", dict(enumerate(zip(names, values)))):
                query = urllib.parse.urlencode([*zip(names, values), ("provider", "corp"), ("state", "s")])
                response = await gateway.api("GET", f"/v1/auth/authorize?{query}", key=None)
                if response.status == 200:
                    async with Browser(gateway) as browser:
                        url = await browser.log_in(response.json["redirect_url"], "anna")
                    check.that(url.startswith(f"{DESKTOP}?"), f"it led to {url}")
                else:
                    check.within(response.status, {400, 422}, f"status of {response}")
