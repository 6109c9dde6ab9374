"""Logging in by OpenID Connect: the whole way, every way in which a provider can be wrong, and what belongs to one login only."""

from __future__ import annotations

import asyncio
import secrets
import urllib.parse
from decimal import Decimal

import oidc
import oidc_faults
import wire
from checks import case, fields
from oidc import DESKTOP, PUBLIC_URL, Browser
from oidc_keys import Key, ec_jwk, oct_jwk
from oidc_standin import Person, Providers
from world import World, settlement

#: Longer than the gateway may wait for a provider.
PROVIDER_SECONDS = 60.0
#: Within this a rotated key has to be known; nobody but the first who comes with it may feel that.
ROTATION_SECONDS = 15.0
ANNA = {"email": "anna@example.org", "email_verified": True, "name": "Änna 首都", "picture": "https://img.example/anna.png"}


@case
async def login_oidc() -> None:
    """A person logs in by the real oidc-provider-mock: one account, one bonus, a code, tokens, and a chat by the access token."""
    async with oidc.Mock() as mock:
        await mock.person("anna", **ANNA)
        with Providers() as providers:
            async with oidc.world({"corp": mock.settings(), "other": providers["other"].settings()}) as world:
                await the_request(world, mock.issuer)
                first = await the_first_login(world)
                await the_second_login(world, first)
                await several_providers(world, providers)
                await odd_secret(world, providers)
    await own_address()


async def the_request(world: World, issuer: str) -> None:
    """What the provider is asked: everything of OpenID Connect and PKCE, and nothing twice."""
    check, asked = world.check, []
    with check.about("the authorization request"):
        for _ in range(2):
            head, _, query = (await oidc.start(world.gateway, "corp", state="the-client's")).partition("?")
            check.equal(head, f"{issuer}/oauth2/authorize", "the authorization endpoint")
            asked.append(dict(urllib.parse.parse_qsl(query, strict_parsing=True)))
        found = asked[0]
        fixed = {name: found.get(name) for name in ("response_type", "client_id", "redirect_uri", "code_challenge_method")}
        check.equal(fixed, {"response_type": "code", "client_id": oidc.Mock.client_id, "redirect_uri": f"{PUBLIC_URL}/v1/auth/callback",
                            "code_challenge_method": "S256"}, "the fixed parameters")
        check.that({"openid", "email"} <= set(found.get("scope", "").split()), f"scope: {found.get('scope')!r}")
        check.equal(len(found.get("code_challenge", "")), 43, "characters of the code_challenge")
        for name in ("state", "nonce", "code_challenge"):
            check.that(len(found.get(name, "")) >= 22, f"{name} is easily guessed: {found.get(name)!r}")
            check.that(asked[0].get(name) != asked[1].get(name), f"two logins have the same {name}")
        check.that("the-client's" not in str(found), f"the client's state went to the provider: {found}")


async def the_first_login(world: World) -> oidc.Tokens:
    check, gateway = world.check, world.gateway
    with check.about("the deep link"):
        async with Browser(gateway) as browser:
            link = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp", state="st-42"), "anna"))
        fields(check, link, "code state", "the deep link")
        check.equal(link.get("state"), "st-42", "state")
        check.that(len(link.get("code", "")) >= 32, f"the code is easily guessed: {link.get('code')!r}")
    tokens = oidc.tokens_of(await oidc.token(gateway, link["code"], client_type="desktop"))
    world.gateway.users.append(tokens.user)
    with check.about("the tokens"):
        fields(check, tokens.data, "accessToken refreshToken tokenType expiresAt userInfo", "the data")
        check.that(abs(oidc.instant(tokens.data["expiresAt"]) - tokens.claims["exp"]) < 1, f"expiresAt {tokens.data['expiresAt']} is not the token's exp")
        info = tokens.data["userInfo"]
        fields(check, info, "id email name subject photoUrl accounts", "userInfo")
        check.equal((info["id"], info["email"], info["name"], info["photoUrl"]), (tokens.user, ANNA["email"], ANNA["name"], ANNA["picture"]), "userInfo")
        check.that(oidc.UUID.fullmatch(tokens.user), f"the user id is no random UUID: {tokens.user}")
    with check.about("me"):
        me = (await gateway.wanted("GET", "/v1/auth/me", key=tokens.access))["data"]
        fields(check, me, "id email displayName photoUrl createdAt updatedAt organizations", "me")
        check.equal((me["id"], me["email"], me["displayName"], me["photoUrl"], me["organizations"]),
                    (tokens.user, ANNA["email"], ANNA["name"], ANNA["picture"], []), "me")
        oidc.refused(check, await gateway.api("GET", "/v1/auth/me"), 403, "master_key_not_allowed", "Master key is not allowed")
    with check.about("the balance and a chat"):
        check.equal(await oidc.credits(gateway, tokens.access), 20, "credits after the first login")
        answer = await gateway.answer(tokens.access, "up:finish", user="somebody-else")
        check.equal(answer.status, 200, f"status of the chat: {answer}")
        await world.settled(tokens.user)
        charge = settlement(await gateway.events(), answer.header("x-request-id"))
        check.equal(charge["account"], tokens.user, "who was charged")
        left = Decimal(20) - Decimal(int(charge["data"]["credits"])).scaleb(-9)
        check.equal(await oidc.credits(gateway, tokens.access), left, "credits after the chat")
        check.that(left < 20, "the chat cost nothing")
    return tokens


async def the_second_login(world: World, first: oidc.Tokens) -> None:
    check, gateway = world.check, world.gateway
    with check.about("the second login"):
        before = await oidc.credits(gateway, first.access)
        second = await oidc.log_in(gateway, "corp", "anna")
        check.equal(second.user, first.user, "the account")
        check.that(second.session != first.session, "both logins share a session")
        check.equal(await oidc.credits(gateway, second.access), before, "credits: no second bonus")
        await oidc.credential_works(check, gateway, first.access, first.user, "the first login's token")
        oidc.check_opened(check, await gateway.events(), [first.user])
        known = await oidc.lookup(gateway, provider="corp", provider_account_id="anna")
        check.equal((known or {}).get("user_id"), first.user, "whom the lookup finds")


async def several_providers(world: World, providers: Providers) -> None:
    check, gateway = world.check, world.gateway
    with check.about("no provider named"):
        url = await oidc.start(gateway, state="\"><script>alert(1)</script>")
        check.that(url.startswith(f"{PUBLIC_URL}/v1/auth/login?"), f"it begins at {url}")
        async with Browser(gateway) as browser:
            response = await browser.open(url)
            check.equal(response.status_code, 200, "status of the page")
            check.that("text/html" in response.headers.get("content-type", ""), f"content-type: {response.headers.get('content-type')}")
            check.that("<script>alert" not in response.text, "the client's state is a script in the page")
            written = oidc.Page(response.text).links
            check.that(written and not any(link.startswith("/") for link in written), f"links that a path before ours would break: {written}")
            links = [urllib.parse.urljoin(url, link) for link in written if "provider=other" in link]
            if check.equal(len(links), 1, f"links to one of the providers in {response.text[:600]!r}"):
                providers["other"].people["olga"] = Person({"email": "olga@example.org", "email_verified": True})
                found = oidc.landed(await browser.log_in(links[0], "olga"))
                check.equal((found.get("state"), "code" in found), ("\"><script>alert(1)</script>", True), f"what came back: {found}")
    with check.about("a provider that is not configured"):
        oidc.refused(check, await oidc.authorize(gateway, "nobody"), 400, "unknown_provider")
    with check.about("no callback"):
        response = await oidc.authorize(gateway, "corp", callback=None)
        check.equal(response.status, 422, f"status of {response}")
        found = response.json["detail"][0]
        check.equal((found["type"], found["loc"]), ("missing", ["query", "callback_url"]), "detail[0]")
    with check.about("redirect_uri instead of callback_url"):
        response = await oidc.authorize(gateway, "corp", callback=None, redirect_uri=DESKTOP)
        check.equal(response.status, 200, f"status of {response}")
    check.equal(providers.complaints, [], "what the provider complained of")


async def odd_secret(world: World, providers: Providers) -> None:
    """RFC 6749, section 2.3.1: in HTTP Basic both parts are form-encoded first."""
    with world.check.about("a secret with odd characters"):
        realm = providers["other"]
        realm.client_secret = world.gateway.config["auth"]["providers"]["other"]["client_secret"] = "s3cret %+/:=&~"
        world.gateway.write_config()
        await world.gateway.restart()
        realm.people["oda"] = Person({"email": "oda@example.org", "email_verified": True})
        tokens = await oidc.log_in(world.gateway, "other", "oda")
        world.check.equal(await oidc.credits(world.gateway, tokens.access), 20, "credits")
        world.check.equal(providers.complaints, [], "what the provider complained of")


async def own_address() -> None:
    """Without `public_url` the provider leads back to the address on which the server listens."""
    with Providers() as providers:
        async with World(oidc.MODELS, settings={"jwt_secret": oidc.JWT_SECRET, "auth": {"providers": {"corp": providers["corp"].settings()}}}) as world:
            url = await oidc.start(world.gateway)
            asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
            world.check.equal(asked["redirect_uri"], f"http://127.0.0.1:{world.gateway.port}/v1/auth/callback", "redirect_uri")
            providers["corp"].people["ole"] = Person({"email": "ole@example.org", "email_verified": True})
            async with Browser(world.gateway) as browser:
                # The form by hand: the browser's own way ends at PUBLIC_URL.
                back = (await browser.http.post(url, data={"sub": "ole"})).headers["location"]
                found = oidc.landed(await browser.back(back))
            world.check.that("code" in found, f"the login came back with {found}")
        async with World(oidc.MODELS, settings={"jwt_secret": oidc.JWT_SECRET}) as world:
            oidc.refused(world.check, await oidc.authorize(world.gateway), 404, "login_not_configured")


# -- a provider that is wrong ------------------------------------------------------------------------------------------


@case
async def login_provider_faults() -> None:
    """Whatever is wrong with the provider's answer ends as login_failed at the client: no account, no event; then a right login works."""
    with Providers() as providers:
        realm = providers["corp"]
        realm.other_jwks = [ec_jwk("an-ec-key"), oct_jwk("published-secret", b"a secret that everybody can read here")]
        faults = [*oidc_faults.CLAIMS, *oidc_faults.TOKENS, *oidc_faults.ANSWERS]
        broken = {f"broken{number}": fault for number, fault in enumerate(oidc_faults.REALMS)}
        realms = {name: providers[name].settings() for name in ["corp", *broken]}
        async with oidc.world(realms) as world:
            # The right login first: what fails afterwards does not fail for want of a working provider.
            realm.people["right"] = Person({"email": "right@example.org", "email_verified": True})
            right = await oidc.log_in(world.gateway, "corp", "right")
            before = len(await world.gateway.events()), await users(world)
            await asyncio.gather(*(
                wrong_login(world, providers, "corp", f"person{number}", fault) for number, fault in enumerate(faults) if fault in oidc_faults.SLOW))
            for number, fault in enumerate(faults):
                if fault not in oidc_faults.SLOW:
                    await wrong_login(world, providers, "corp", f"person{number}", fault)
            for name, fault in broken.items():
                await wrong_realm(world, providers, name, fault)
            with world.check.about("after all of them"):
                world.check.equal((len(await world.gateway.events()), await users(world)), before, "events and users")
                world.check.that(realm.counts["elsewhere"] == 0, "a redirect of the token endpoint was followed")
                world.check.that(providers.huge_asked >= 3, f"{providers.huge_asked} answers of 64 MiB were asked for, of three")
                world.check.that(providers.huge_sent < 64 << 20, f"{providers.huge_sent >> 20} MiB were taken of three answers of 64 MiB")
                again = await oidc.log_in(world.gateway, "corp", "right")
                world.check.equal(again.user, right.user, "the account of a right login")
                oidc.check_opened(world.check, await world.gateway.events(), [right.user])
            await the_faults_gone(world, providers, broken)
            world.check.equal(providers.complaints, [], "what the provider complained of")


async def users(world: World) -> list[str]:
    return sorted(user["user_id"] for user in await world.gateway.wanted("GET", "/v1/users?skip=0&limit=500"))


async def wrong_login(world: World, providers: Providers, provider: str, sub: str, fault: str) -> None:
    with world.check.about(fault):
        providers[provider].people[sub] = Person({"email": f"{sub}@example.org", "email_verified": True}, fault)
        await failed_at_the_callback(world, provider, sub)


async def failed_at_the_callback(world: World, provider: str, sub: str) -> None:
    check, state = world.check, f"state-{secrets.token_hex(4)}"
    async with Browser(world.gateway) as browser:
        callback = await browser.to_callback(await oidc.start(world.gateway, provider, state=state), sub)
        url = await asyncio.wait_for(browser.back(callback), PROVIDER_SECONDS)
        check.equal(oidc.landed(url), {"error": "login_failed", "state": state}, "what the client is told")
        check.equal((await browser.open(callback)).status_code, 400, "status of the callback once more")
    check.equal(await oidc.lookup(world.gateway, provider=provider, provider_account_id=sub), None, "whom the lookup finds")


async def wrong_realm(world: World, providers: Providers, name: str, fault: str) -> None:
    """A wrong discovery keeps a login from beginning, or ends it; wrong keys end it."""
    check = world.check
    with check.about(fault):
        providers[name].people["person"] = Person({"email": f"{name}@example.org", "email_verified": True})
        providers[name].fault = fault
        response = await oidc.authorize(world.gateway, name)
        if response.status == 200:
            url = response.json["redirect_url"]
            check.that(url.startswith(f"{providers[name].issuer}/authorize?"), f"the login would begin at {url}")
            check.that(fault not in ("another issuer", "no issuer"), "a login begins on the word of another issuer's document")
            await failed_at_the_callback(world, name, "person")
        elif check.that(fault in oidc_faults.DISCOVERY_FAULTS, f"the login did not begin: {response}"):
            check.within(response.status, {502, 503, 504}, f"status of {response}")
            check.that(isinstance(response.json.get("code"), str) and isinstance(response.json.get("detail"), str), f"no code and detail in {response}")
        check.that(providers[name].counts["jwks-elsewhere"] == 0, "a redirect was followed")


async def the_faults_gone(world: World, providers: Providers, broken: dict[str, str]) -> None:
    for name, fault in broken.items():
        with world.check.about("once it is over:", fault):
            providers[name].fault = None

            async def works(name: str = name) -> oidc.Tokens | None:
                if (await oidc.authorize(world.gateway, name)).status != 200:
                    return None
                async with Browser(world.gateway) as browser:
                    found = oidc.landed(await browser.log_in(await oidc.start(world.gateway, name), "person"))
                return oidc.tokens_of(await oidc.token(world.gateway, found["code"])) if "code" in found else None

            tokens = await wire.eventually(works, "a login works", ROTATION_SECONDS, every=0.5)
            world.check.equal(await oidc.credits(world.gateway, tokens.access), 20, "credits")


@case
async def login_jwks_rotation() -> None:
    """A provider's keys change under way: new ones are learnt, gone ones no longer count, and others beside them do no harm."""
    with Providers() as providers:
        realm = providers["corp"]
        async with oidc.world({"corp": realm.settings()}) as world:
            check = world.check
            realm.people["anna"] = Person(ANNA)
            first = await oidc.log_in(world.gateway, "corp", "anna")
            with check.about("a key of a cached set"):
                asked = realm.counts["jwks"]
                for _ in range(5):
                    await oidc.log_in(world.gateway, "corp", "anna")
                check.equal(realm.counts["jwks"], asked, "times that the keys were fetched for five logins more")
            old = realm.keys[0]
            with check.about("a new key, the old one gone"):
                realm.keys = [Key()]
                await until_known(world, first.user)
            with check.about("the old key"):
                realm.people["carl"] = Person({"email": "carl@example.org", "email_verified": True})
                current, realm.keys = realm.keys, [old]
                token = realm.id_token("carl")
                realm.keys = current
                response = await oidc.portal(world.gateway, None, provider="corp", provider_token=token)
                oidc.refused(check, response, 401, "provider_token_invalid")
            with check.about("several keys without alg and use"):
                realm.publishes_alg, realm.keys = False, [Key(), Key(), Key()]
                realm.other_jwks = [ec_jwk("an-ec-key"), oct_jwk("published-secret", b"a secret that everybody can read here")]
                await until_known(world, first.user)
            with check.about("kids that nobody knows"):
                asked = realm.counts["jwks"]
                realm.people["mallory"] = Person({}, "an unknown kid")
                for _ in range(12):
                    response = await oidc.portal(world.gateway, None, provider="corp", provider_token=realm.id_token("mallory"))
                    oidc.refused(check, response, 401, "provider_token_invalid")
                fetched = realm.counts["jwks"] - asked
                check.that(fetched <= 12, f"the keys were fetched {fetched} times for 12 tokens")
                check.equal((await oidc.log_in(world.gateway, "corp", "anna")).user, first.user, "the account of a right login")
            oidc.check_opened(check, await world.gateway.events(), [first.user])
            check.equal(providers.complaints, [], "what the provider complained of")


async def until_known(world: World, user: str) -> None:
    async def works() -> str | None:
        async with Browser(world.gateway) as browser:
            found = oidc.landed(await browser.log_in(await oidc.start(world.gateway, "corp"), "anna"))
        return oidc.tokens_of(await oidc.token(world.gateway, found["code"])).user if "code" in found else None

    world.check.equal(await wire.eventually(works, "a login with the new key works", ROTATION_SECONDS, every=0.5), user, "the account")
