"""Sessions: their tokens are renewed, they are listed and ended, and the portal begins them."""

from __future__ import annotations

import asyncio
import time

import jwt

import oidc
import oidc_faults
from checks import case, fields, openai_error
from clock import Clock
from oidc_standin import Person, Providers
from world import World

UNKNOWN = (401, "invalid_refresh_token", "Invalid refresh token")
REVOKED = (401, "refresh_token_revoked", "Refresh token revoked")
EXPIRED = (401, "refresh_token_expired", "Refresh token expired")
ENDED = {"session_revoked", "session_not_found", "invalid_token"}
DAY = 24 * 3600
TOKENS = "access_token access_token_expires_at refresh_token refresh_token_expires_at"


@case
async def refresh() -> None:
    """A refresh token is renewed by each use; a lost answer may be asked for again, a stolen token ends the session."""
    with Clock() as clock:
        async with oidc.world({}, env=clock.env) as world:
            check = world.check
            await renewed(world)
            await asked_again(world, clock)
            await stolen(world)
            await all_at_once(world)
            await ended(world)
            await expired(world, clock)
            await blocked_and_erased(world)
            check.that(world.gateway.is_running, "the server ended")


async def renewed(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("one after another"):
        tokens = first = await oidc.portal_tokens(gateway, "renewed")
        seen = {first.refresh}
        for number in range(5):
            tokens = oidc.tokens_of(await oidc.refresh(gateway, tokens.refresh if number % 2 else f"Bearer {tokens.refresh}"))
            fields(check, tokens.data, "accessToken refreshToken tokenType expiresAt userInfo", "the data")
            check.equal((tokens.user, tokens.session), (first.user, first.session), "user and session")
            check.that(tokens.refresh not in seen, "a refresh token came a second time")
            seen.add(tokens.refresh)
            await oidc.credential_works(check, gateway, tokens.access, first.user, f"access token {number}")
        await oidc.credential_works(check, gateway, first.access, first.user, "the first access token, which has not ended")
        check.equal(await oidc.credits(gateway, tokens.access), 20, "credits")
    with check.about("tokens of nobody"):
        for token in ("x", "", "Bearer ", "A" * 43, tokens.access, tokens.refresh[:-1], tokens.refresh + "A", "x" * 5000):
            oidc.refused(check, await oidc.refresh(gateway, token), *UNKNOWN)
        response = await gateway.api("POST", "/v1/auth/refresh", {}, key=None)
        check.equal((response.status, response.json["detail"][0]["loc"]), (422, ["body", "refreshToken"]), f"a body without it: {response}")
        check.equal((await oidc.refresh(gateway, tokens.refresh)).status, 200, "status of the true token afterwards")


async def asked_again(world: World, clock: Clock) -> None:
    check, gateway = world.check, world.gateway
    with check.about("asked again in time"):
        first = await oidc.portal_tokens(gateway, "again")
        second = oidc.tokens_of(await oidc.refresh(gateway, first.refresh))
        for seconds in (0, 5):
            clock.ahead(seconds)
            again = oidc.tokens_of(await oidc.refresh(gateway, first.refresh))
            check.equal(again.refresh, second.refresh, f"the successor {seconds} s later")
            await oidc.credential_works(check, gateway, again.access, first.user, "its access token")
        third = oidc.tokens_of(await oidc.refresh(gateway, second.refresh))
        await oidc.credential_works(check, gateway, third.access, first.user, "the access token of the successor's successor")
    with check.about("asked again too late"):
        first = await oidc.portal_tokens(gateway, "late")
        second = oidc.tokens_of(await oidc.refresh(gateway, first.refresh))
        clock.ahead(11)
        oidc.refused(check, await oidc.refresh(gateway, first.refresh), *REVOKED)
        oidc.refused(check, await oidc.refresh(gateway, second.refresh), *REVOKED)
        await oidc.credential_refused(check, gateway, second.access, "session_revoked")


async def stolen(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a token that both the thief and the owner use"):
        other = await oidc.portal_tokens(gateway, "robbed")
        first = await oidc.portal_tokens(gateway, "robbed")
        second = oidc.tokens_of(await oidc.refresh(gateway, first.refresh))
        third = oidc.tokens_of(await oidc.refresh(gateway, second.refresh))
        oidc.refused(check, await oidc.refresh(gateway, first.refresh), *REVOKED)
        for tokens in (first, second, third):
            oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), *REVOKED)
            await oidc.credential_refused(check, gateway, tokens.access, "session_revoked")
        for source in ("home", "desktop"):
            oidc.refused(check, await oidc.refresh(gateway, third.refresh, source=source), *REVOKED)
        await oidc.credential_works(check, gateway, other.access, other.user, "the same person's other session")
        await gateway.restart()
        await oidc.credential_refused(check, gateway, third.access, "session_revoked")
        oidc.refused(check, await oidc.refresh(gateway, third.refresh, source="home"), *REVOKED)


async def all_at_once(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("one token, many times at once"):
        first = await oidc.portal_tokens(gateway, "at-once")
        answers = [oidc.tokens_of(answer) for answer in await asyncio.gather(*(oidc.refresh(gateway, first.refresh) for _ in range(12)))]
        check.equal(len({tokens.refresh for tokens in answers}), 1, "different successors")
        check.equal({tokens.session for tokens in answers}, {first.session}, "sessions")
        for tokens in answers:
            await oidc.credential_works(check, gateway, tokens.access, first.user, "each access token")
        check.equal((await oidc.refresh(gateway, answers[0].refresh)).status, 200, "status of the successor's refresh")


async def ended(world: World) -> None:
    check, gateway = world.check, world.gateway

    async def log_out(token: str) -> int:
        return (await gateway.api("POST", "/v1/auth/logout", {"refresh_token": token}, key=None)).status

    with check.about("logout"):
        other, tokens = await oidc.portal_tokens(gateway, "leaver"), await oidc.portal_tokens(gateway, "leaver")
        for token in (tokens.refresh, tokens.refresh, "unknown", "", "x" * 5000):
            check.equal(await log_out(token), 204, f"status of the logout of {token[:12]!r}")
        oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), *REVOKED)
        oidc.refused(check, await oidc.refresh(gateway, tokens.refresh, source="home"), *REVOKED)
        await oidc.credential_refused(check, gateway, tokens.access, "session_revoked")
        await oidc.credential_works(check, gateway, other.access, other.user, "the other session")
        check.equal(await log_out(f"Bearer {other.refresh}"), 204, "status of the logout with 'Bearer '")
        await oidc.credential_refused(check, gateway, other.access, "session_revoked")


async def expired(world: World, clock: Clock) -> None:
    check, gateway = world.check, world.gateway
    with check.about("two weeks later"):
        tokens, ends = await oidc.portal_tokens(gateway, "absent"), await oidc.portal_tokens(gateway, "absent")
        lifetime = oidc.instant(tokens.data["refresh_token_expires_at"]) - clock.now()
        check.that(abs(lifetime - 14 * DAY) < 120, f"the stated life of a refresh token is {lifetime:.0f} s")
        clock.ahead(14 * DAY - 600)
        check.equal((await oidc.refresh(gateway, ends.refresh)).status, 200, "status before its end")
        clock.ahead(1200)
        oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), *EXPIRED)
        oidc.refused(check, await oidc.refresh(gateway, tokens.refresh, source="home"), *EXPIRED)
        await oidc.credential_refused(check, gateway, tokens.access, {"token_expired", "session_expired"})


async def blocked_and_erased(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a person who is blocked"):
        tokens = await oidc.portal_tokens(gateway, "blocked")
        await gateway.wanted("PATCH", f"/v1/users/{tokens.user}", {"blocked": True})
        openai_error(check, await gateway.answer(tokens.access, "up:finish"), 403)
        response = await oidc.refresh(gateway, tokens.refresh)
        if response.status == 200:
            openai_error(check, await gateway.answer(oidc.tokens_of(response).access, "up:finish"), 403)
        else:
            check.within(response.status, {401, 403}, f"status of the refresh: {response}")
    with check.about("a person who is erased"):
        tokens = await oidc.portal_tokens(gateway, "erased")
        key = await gateway.key(tokens.user)
        check.equal((await gateway.api("DELETE", f"/v1/users/{tokens.user}")).status, 204, "status of the erasure")
        await oidc.credential_refused(check, gateway, tokens.access, ENDED)
        await oidc.credential_refused(check, gateway, key, {"invalid_api_key", "inactive_api_key"})
        check.equal((await oidc.refresh(gateway, tokens.refresh)).status, 401, "status of the refresh")
        check.equal(await oidc.lookup(gateway, provider="portal", provider_account_id="erased"), None, "whom the lookup finds")


@case
async def sessions() -> None:
    """A person sees where they are logged in, ends one session or all of them, and reaches nobody else's."""
    async with oidc.world({}) as world:
        check, gateway = world.check, world.gateway
        devices = [{"device_type": "web"}, {"device_type": "desktop", "os": "linux", "app_version": "1.2.3"}, {"device_type": "phone", "user_agent": "Tests/1 (ü)"}]
        first, second, third = [await oidc.portal_tokens(gateway, "anna", **device) for device in devices]
        bert = await oidc.portal_tokens(gateway, "bert")
        key = await gateway.key(first.user)
        with check.about("the list"):
            listed = await sessions_of(world, first.access)
            check.equal([entry["id"] for entry in listed], [third.session, second.session, first.session], "sessions, newest first")
            check.equal([entry["current"] for entry in listed], [False, False, True], "which is the current one")
            for entry, device in zip(reversed(listed), devices):
                fields(check, entry, "id createdAt lastUsedAt expiresAt current device", "a session")
                wanted = {name: device.get(given) for name, given in (("type", "device_type"), ("os", "os"), ("appVersion", "app_version"), ("userAgent", "user_agent"))}
                check.equal({name: value for name, value in entry["device"].items() if value is not None},
                            {name: value for name, value in wanted.items() if value is not None}, "the device")
                check.that(abs(oidc.instant(entry["createdAt"]) - time.time()) < 120, f"createdAt {entry['createdAt']}")
                check.that(oidc.instant(entry["expiresAt"]) - time.time() > 13 * DAY, f"expiresAt {entry['expiresAt']}")
            check.equal([entry["current"] for entry in await sessions_of(world, key)], [False] * 3, "current, seen by a key")
            check.that(first.refresh not in str(listed) and first.access not in str(listed), "the list has tokens in it")
        with check.about("another's session"):
            for session in (bert.session, "unknown", "x" * 300):
                oidc.refused(check, await delete(world, first.access, f"/{session}"), 404, "session_not_found", "Session not found")
            await oidc.credential_works(check, gateway, bert.access, bert.user, "the other person's token")
            oidc.refused(check, await gateway.api("GET", "/v1/auth/sessions"), 403, "master_key_not_allowed", "Master key is not allowed")
        with check.about("one is ended"):
            check.equal((await delete(world, first.access, f"/{second.session}")).status, 204, "status")
            await oidc.credential_refused(check, gateway, second.access, "session_revoked")
            oidc.refused(check, await oidc.refresh(gateway, second.refresh), *REVOKED)
            check.equal([entry["id"] for entry in await sessions_of(world, first.access)], [third.session, first.session], "the sessions left")
            oidc.refused(check, await delete(world, first.access, f"/{second.session}"), 404, "session_not_found", "Session not found")
        with check.about("a refresh and the list"):
            renewed = oidc.tokens_of(await oidc.refresh(gateway, third.refresh))
            check.equal(len(await sessions_of(world, first.access)), 2, "sessions after a refresh")
        with check.about("all are ended"):
            check.equal((await delete(world, first.access)).status, 204, "status")
            for tokens in (first, third, renewed):
                await oidc.credential_refused(check, gateway, tokens.access, "session_revoked")
                oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), *REVOKED)
            check.equal(await sessions_of(world, key), [], "the sessions left")
            await oidc.credential_works(check, gateway, key, first.user, "the same person's key")
            await oidc.credential_works(check, gateway, bert.access, bert.user, "the other person's token")


async def sessions_of(world: World, credential: str) -> list[dict]:
    return (await world.gateway.wanted("GET", "/v1/auth/sessions", key=credential))["data"]["sessions"]


async def delete(world: World, credential: str, path: str = ""):
    return await world.gateway.api("DELETE", f"/v1/auth/sessions{path}", key=credential)


# -- the portal --------------------------------------------------------------------------------------------------------


@case
async def portal_login() -> None:
    """The portal logs people in by the master key; without it only the provider's own token counts, and nothing else at all."""
    roles = {role: {"key": f"master-key-of-the-{role}-0123456789", "role": role} for role in ("auditor", "billing", "operator")}
    with Providers() as providers:
        realm = providers["corp"]
        for sub in ("anna", "bert"):
            realm.people[sub] = Person({"email": f"{sub}@example.org", "email_verified": True})
        async with oidc.world({"corp": realm.settings(audiences=["the-app-on-the-phone"])}, master_keys=roles) as world:
            check = world.check
            anna = await by_the_master_key(world)
            await without_the_master_key(world, anna, {role: entry["key"] for role, entry in roles.items()})
            bert = await by_the_providers_token(world, providers)
            with check.about("a blocked person"):
                await world.gateway.wanted("PATCH", f"/v1/users/{anna.user}", {"blocked": True})
                response = await oidc.portal(world.gateway, provider_account_id="anna")
                if response.status == 200:
                    access = response.json["tokens"]["access_token"]
                    check.equal(oidc.Tokens(access, "").user, anna.user, "the account")
                    openai_error(check, await world.gateway.answer(access, "up:finish"), 403)
                else:
                    check.equal(response.status, 403, f"status of {response}")
            events = await world.gateway.events()
            check.that({anna.user, bert} <= {e["account"] for e in events}, "no events of those who logged in")
            opened = {e["account"] for e in events if e["name"] == "account_opened"}
            oidc.check_opened(check, events, opened)
            check.equal(len(opened), 3, "accounts: two by the portal, one by a provider's token")
    await another_portal()


async def by_the_master_key(world: World) -> oidc.Tokens:
    check, gateway = world.check, world.gateway
    body = {"provider": "google", "email": "anna@example.org", "name": "Änna", "avatar_url": "https://img.example/a.png", "provider_account_id": "anna", "device_type": "web"}
    with check.about("in the contract's shape"):
        response = await gateway.api("POST", "/v1/auth/login", body | {"provider": "portal"})
        check.equal(response.status, 200, f"status of {response}")
        fields(check, response.json, "tokens", "the answer")
        fields(check, response.json["tokens"], TOKENS, "the tokens")
        anna = await oidc.portal_tokens(gateway, "anna")
        check.equal(oidc.Tokens(response.json["tokens"]["access_token"], "").user, anna.user, "the account of a second login")
        jwt.decode(anna.access, oidc.JWT_SECRET, algorithms=["HS256"], audience="gateway")
        check.equal(await oidc.credits(gateway, anna.access), 20, "credits")
        me = (await gateway.wanted("GET", "/v1/auth/me", key=anna.access))["data"]
        check.equal((me["email"], me["displayName"], me["photoUrl"]), (body["email"], body["name"], body["avatar_url"]), "me, after a login that said less")
    with check.about("a body that lacks something"):
        for lacking, found in (("provider_account_id", await gateway.api("POST", "/v1/auth/login", {"provider": "portal"})),
                               ("provider", await gateway.api("POST", "/v1/auth/login", {"provider_account_id": "x"}))):
            check.equal((found.status, found.json["detail"][0]["type"], found.json["detail"][0]["loc"]), (422, "missing", ["body", lacking]), f"{found}")
    with check.about("an id that is no text"):
        for half in ("\\ud800", "\\udfff"):
            response = await gateway.api("POST", "/v1/auth/login", body=f'{{"provider":"portal","provider_account_id":"{half}"}}'.encode(),
                                         headers={"content-type": "application/json"})
            check.equal((response.status, response.json["detail"][0]["type"]), (422, "string_unicode"), f"{response}")
    with check.about("an address that nobody verified"):
        before = len(await gateway.events())
        other = await oidc.portal_tokens(gateway, "anna", provider="other", email="anna@example.org")
        check.that(other.user != anna.user, "it led to the account of the one who has the address")
        check.that(len(await gateway.events()) > before, "no account was opened")
    return anna


async def without_the_master_key(world: World, anna: oidc.Tokens, roles: dict[str, str]) -> None:
    check, gateway = world.check, world.gateway
    key = await gateway.key(anna.user)
    before = oidc.rows(gateway.database)
    body = {"email": "anna@example.org", "email_verified": True, "provider_account_id": "anna"}
    for what, credential, status, code in (
        ("no credential", None, 401, "missing_credentials"), ("a key", key, 403, "master_key_required"), ("a JWT", anna.access, 403, "master_key_required"),
        ("the auditor's key", roles["auditor"], 403, "role_not_sufficient"), ("the biller's key", roles["billing"], 403, "role_not_sufficient"),
    ):
        with check.about(what):
            response = await oidc.portal(gateway, credential, **body)
            oidc.refused(check, response, status, code)
            check.that("token" not in response.text.lower(), f"there are tokens in {response}")
    with check.about("a wrong master key"):
        response = await oidc.portal(gateway, "master-key-that-is-none-0123456789", **body)
        check.equal(response.status, 401, f"status of {response}")
        check.within(response.json.get("code"), {"invalid_master_key", "invalid_api_key"}, "code")
    check.equal(oidc.rows(gateway.database), before, "rows of the tables: nothing stored")
    with check.about("another operator's key"):
        response = await oidc.portal(gateway, roles["operator"], **body)
        check.equal(response.status, 200, f"status of {response}")


async def by_the_providers_token(world: World, providers: Providers) -> str:
    check, gateway, realm = world.check, world.gateway, providers["corp"]
    with check.about("an ID token"):
        response = await oidc.portal(gateway, None, provider="corp", provider_token=realm.id_token("bert"), provider_account_id="anna", email="anna@example.org")
        assert response.status == 200, f"the login gave {response}"
        bert = oidc.Tokens(response.json["tokens"]["access_token"], "").user
        fields(check, response.json["tokens"], TOKENS, "the tokens")
        known = await oidc.lookup(gateway, provider="corp", provider_account_id="bert")
        check.equal(((known or {}).get("user_id"), (known or {}).get("email")), (bert, "bert@example.org"), "whom it logged in: the token counts, not the body")
    with check.about("an ID token for another of our clients"):
        token = realm.keys[-1].sign(realm.claims("bert", None) | {"aud": "the-app-on-the-phone"})
        response = await oidc.portal(gateway, None, provider="corp", provider_token=token)
        check.equal(response.status, 200, f"status of {response}")
    before = oidc.rows(gateway.database)
    realm.people["mallory"] = Person({"email": "anna@example.org", "email_verified": True})
    nonce = {"another nonce", "no nonce", "an empty nonce"}  # nobody asked for one here

    for fault in [*oidc_faults.CLAIMS, *oidc_faults.TOKENS]:
        if fault not in nonce:
            with check.about("an ID token with", fault):
                realm.people["mallory"].fault = fault
                response = await oidc.portal(gateway, None, provider="corp", provider_token=realm.id_token("mallory"))
                oidc.refused(check, response, 401, "provider_token_invalid")
    with check.about("a provider that is not configured"):
        response = await oidc.portal(gateway, None, provider="nobody", provider_token=realm.id_token("bert"))
        check.within((response.status, response.json.get("code")), {(401, "provider_token_invalid"), (400, "unknown_provider")}, "status and code")
    check.equal(oidc.rows(gateway.database), before, "rows of the tables after refused tokens")
    return bert


async def another_portal() -> None:
    """Where `auth_base_url` names a portal, a login begins there."""
    async with oidc.world({}, auth_base_url="https://portal.example") as world:
        response = await oidc.authorize(world.gateway, state=None, client_type="desktop")
        world.check.equal(response.json.get("redirect_url"), "https://portal.example/login?client_type=desktop&callback_url=cafelua%3A%2F%2Fauth", "redirect_url")
        oidc.refused(world.check, await oidc.authorize(world.gateway, callback="https://evil.example"), 400, "callback_not_allowed")
