"""What an operator sees of logins, and does about them; and what a portal that says little of a person can lead to."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import urlencode

import oidc
import wire
from checks import case
from oidc import Browser
from oidc_standin import Discord, Person, Providers
from world import World

PORTAL = "https://portal.example/done"


@case
async def security_log() -> None:
    """Each login, refusal, reuse and change of a key is a line of its own, with its stable name, the address and who it was."""
    with Providers() as providers:
        providers["corp"].people["anna"] = Person({"email": "anna@example.org", "email_verified": True})
        limits = {"auth_requests_per_minute": 30, "failed_credentials_per_minute": 30}
        async with oidc.world({"corp": providers["corp"].settings()}, limits=limits) as world:
            check, gateway = world.check, world.gateway

            async def line(name: str, **members: str) -> None:
                def found() -> bool:
                    lines = [text for text in gateway.output if " security: " in text and text.endswith(name)]
                    return any(all(f"{key}={value}" in text for key, value in members.items()) for text in lines)

                async def wanted() -> bool:
                    return found()

                with check.about("the line of", name):
                    await wire.eventually(wanted, f"a line {name} with {members}", 5)

            async with Browser(gateway) as browser:
                back = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp"), "anna"))
            tokens = oidc.tokens_of(await oidc.token(gateway, back["code"]))
            await line("login_started", provider="corp", address="127.0.0.1")
            await line("login_succeeded", provider="corp", user=tokens.user, link="code")
            await line("login_code_exchanged", user=tokens.user, session=tokens.session)
            await oidc.token(gateway, back["code"])
            await line("login_code_reused", session=tokens.session)
            tokens = await oidc.portal_tokens(gateway, "bert")
            await line("login_succeeded", by="portal", user=tokens.user)
            second = oidc.tokens_of(await oidc.refresh(gateway, tokens.refresh))
            await oidc.refresh(gateway, second.refresh)
            await oidc.refresh(gateway, tokens.refresh)
            await line("refresh_token_reused", session=tokens.session, user=tokens.user)
            await oidc.refresh(gateway, tokens.refresh)
            await line("refresh_refused", why="revoked")
            await gateway.api("GET", "/v1/profile", key="gw-" + "A" * 64)
            await line("credential_refused", code="invalid_api_key", address="127.0.0.1")
            made = await gateway.wanted("POST", "/v1/keys", {"user_id": tokens.user})
            await line("key_created", key=made["id"], user=tokens.user, actor="master")
            await gateway.api("GET", "/v1/users", key=made["key"])
            await line("right_missing", actor=f"key:{made['id']}")
            await gateway.wanted("PATCH", f"/v1/keys/{made['id']}", {"is_active": False})
            await line("key_changed", key=made["id"])
            await gateway.api("DELETE", f"/v1/keys/{made['id']}")
            await line("key_deleted", key=made["id"])
            await gateway.api("DELETE", f"/v1/users/{tokens.user}")
            await line("user_erased", user=tokens.user, actor="master")
            for _ in range(40):
                await gateway.api("GET", "/v1/profile", key="nonsense")
            await line("rate_limited", what="credentials", address="127.0.0.1")


@case
async def login_by_the_operator() -> None:
    """An operator ends a person's sessions; an e-mail that nobody verified leads neither a portal nor a bot to a person."""
    with Discord() as discord:
        discord.people["1"] = Person({"email": "victim@example.org", "username": "mallory", "verified": False})
        async with oidc.world({"discord": discord.settings()}) as world:
            check, gateway = world.check, world.gateway
            with check.about("ending sessions"):
                first, second = await oidc.portal_tokens(gateway, "anna"), await oidc.portal_tokens(gateway, "anna")
                key = (await gateway.wanted("POST", "/v1/keys", {"user_id": first.user}))["key"]
                for _ in range(2):
                    check.equal((await gateway.api("DELETE", f"/v1/users/{first.user}/sessions")).status, 204, "status")
                for tokens in (first, second):
                    await oidc.credential_refused(check, gateway, tokens.access, "session_revoked")
                    oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), 401, "refresh_token_revoked")
                await oidc.credential_works(check, gateway, key, first.user, "a key, which is not touched")
                again = await oidc.portal_tokens(gateway, "anna")
                await oidc.credential_works(check, gateway, again.access, first.user, "the next login")
            with check.about("a portal that knows an e-mail and no more"):
                mallory = await oidc.log_in(gateway, "discord", "1")
                victim = await wanted_login(gateway, provider="discord", email="Victim@example.org")
                check.that(victim != mallory.user, "the victim got the account of who had only written the e-mail")
                check.equal(await wanted_login(gateway, provider="discord", email="victim@EXAMPLE.org"), victim, "the account of the next time")
            with check.about("an e-mail that is verified, and the same that is only said, in either order"):
                verified = await wanted_login(gateway, provider="google", email="v@example.org", email_verified=True)
                said = await wanted_login(gateway, provider="google", email="v@example.org")
                check.that(said != verified, "who only says an e-mail got the account of who has it verified")
                said = await wanted_login(gateway, provider="google", email="w@example.org")
                verified = await wanted_login(gateway, provider="google", email="W@example.org", email_verified=True)
                check.that(said != verified, "who has an e-mail verified got the account of who only said it")
                for again, user in (({}, said), ({"email_verified": True}, verified)):
                    check.equal(await wanted_login(gateway, provider="google", email="w@example.org", **again), user, "the account of the next time")
                named = await wanted_login(gateway, provider="google", provider_account_id="w-1", email="w@example.org", email_verified=True)
                check.equal(named, verified, "the account by the provider's name and the verified e-mail")
                for prefix in ("e-mail:", "verified-e-mail:"):
                    response = await gateway.api("POST", "/v1/auth/login", {"provider": "google", "provider_account_id": f"{prefix}w@example.org"})
                    check.equal(response.status, 422, f"status of a name that begins with {prefix}")
            with check.about("a bot that looks an e-mail up"):
                oidc.refused(check, await look_up(gateway, email="victim@example.org"), 409, "ambiguous_email")
                verified = await wanted_login(gateway, provider="google", provider_account_id="7", email="victim@example.org", email_verified=True)
                found = await look_up(gateway, email="victim@example.org")
                check.equal((found.status, found.json.get("user_id")), (200, verified), "who has verified it comes first")


async def wanted_login(gateway, **body: object) -> str:
    response = await gateway.api("POST", "/v1/auth/login", body)
    assert response.status == 200, f"the portal's login gave {response}"
    return oidc.Tokens(response.json["tokens"]["access_token"], "").user


async def look_up(gateway, **query: str) -> wire.Response:
    return await gateway.api("GET", "/v1/auth/lookup?" + urlencode(query))


@case
async def login_looking_ahead() -> None:
    """HEAD uses up no login; a key is handed to no web address, whatever a client calls itself."""
    with Providers() as providers:
        providers["corp"].people["anna"] = Person({"email": "anna@example.org", "email_verified": True})
        auth = {"clients": {"desktop": {"link": "key"}}, "callbacks": ["cafelua://auth", "http://127.0.0.1/back", PORTAL]}
        async with oidc.world({"corp": providers["corp"].settings()}, auth) as world:
            check, gateway = world.check, world.gateway
            with check.about("HEAD"):
                url = await oidc.start(gateway, "corp")
                async with Browser(gateway) as browser:
                    back = await browser.to_callback(url, "anna")
                    ahead = await browser.look_ahead(back)
                    check.equal((ahead.status_code, ahead.headers.get("allow"), ahead.content), (405, "GET", b""), "the answer to HEAD")
                    found = oidc.landed(await browser.back(back))
                check.that("code" in found, f"the login came back with {found}")
            with check.about("a key for a web address"):
                response = await oidc.authorize(gateway, "corp", PORTAL, client_type="desktop")
                oidc.refused(check, response, 400, "callback_not_allowed")
                check.equal((await oidc.authorize(gateway, "corp", PORTAL, client_type="portal")).status, 200, "status with a code")
                for callback in ("cafelua://auth", "http://127.0.0.1:7777/back"):
                    check.equal((await oidc.authorize(gateway, "corp", callback, client_type="desktop")).status, 200, f"status with {callback}")
            check.equal(json.loads((await gateway.api("GET", "/.well-known/jwks.json", key=None)).body), {"keys": []}, "public keys of a shared secret")


def forged(header: str) -> str:
    """A token with a header of anybody's making; whoever reads it has not looked at the signature yet."""
    payload = '{"iss":"a","aud":"a","sub":"a","sid":"a","jti":"a","iat":1,"nbf":1,"exp":1}'
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (header, payload, "x"))


@case
async def login_hostile_ends() -> None:
    """What somebody writes into a token, a device or a proof stops nothing and leads nowhere; who is erased keeps nothing."""
    with Providers() as providers:
        realm = providers["corp"]
        realm.people["anna"] = Person({"email": "anna@example.org", "email_verified": True})
        async with oidc.world({"corp": realm.settings()}) as world:
            check, gateway = world.check, world.gateway
            with check.about("numbers in a token's header"):
                for number in ("1e19", "-1e400", "1e308", "9223372036854775808", '{"a":[1e19]}', "1"):
                    for algorithm in ("HS256", "RS256"):
                        token = forged(f'{{"alg":"{algorithm}","kid":"k","x":{number}}}')
                        oidc.refused(check, await gateway.api("GET", "/v1/profile", key=token), 401, "invalid_token")
                        response = await oidc.portal(gateway, None, provider="corp", provider_token=token)
                        oidc.refused(check, response, 401, "provider_token_invalid")
                check.that(gateway.is_running, "the server ended")
            with check.about("a proof where no challenge was sent"):
                async with Browser(gateway) as browser:
                    back = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp"), "anna"))
                oidc.refused(check, await oidc.token(gateway, back["code"], code_verifier=oidc.pkce()[0]), 401, "invalid_code")
                oidc.refused(check, await oidc.token(gateway, back["code"]), 401, "invalid_code")
            with check.about("an answer that names another issuer"):
                async with Browser(gateway) as browser:
                    back = await browser.to_callback(await oidc.start(gateway, "corp"), "anna")
                    found = oidc.landed(await browser.back(back + "&iss=https%3A%2F%2Fother.example"))
                check.equal(found.get("error"), "login_failed", "what came back")
            with check.about("a client that still sends an old credential"):
                for stale in ("gw-" + "A" * 64, forged('{"alg":"HS256"}'), "nonsense"):
                    response = await oidc.portal(gateway, stale, provider="corp", provider_token=realm.id_token("anna"))
                    check.equal(response.status, 200, f"status with {stale[:9]}: {response}")
                    oidc.refused(check, await oidc.portal(gateway, stale, provider="corp", provider_account_id="anna"), 401, "invalid_master_key" if "." not in stale else "invalid_token")
            with check.about("a device of a hundred thousand bytes in a character"):
                huge = "a" + "\u0301" * 50_000
                response = await oidc.portal(gateway, provider_account_id="huge", device_type=huge, os=huge)
                access = response.json["tokens"]["access_token"]
                listed = await gateway.api("GET", "/v1/auth/sessions", key=access)
                check.that(len(listed.body) < 2000, f"the list of one session has {len(listed.body)} bytes")
            with check.about("a provider's person whose name stands for somebody's e-mail"):
                for name in ("e-mail:victim@example.org", "verified-e-mail:victim@example.org"):
                    realm.people[name] = Person({"email": "mallory@example.org"})
                    response = await oidc.portal(gateway, None, provider="corp", provider_token=realm.id_token(name))
                    oidc.refused(check, response, 401, "provider_token_invalid")
            await erased_in_between(world)


async def erased_in_between(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("an erasure beside logins and new keys"):
        for number in range(15):
            user = (await oidc.portal_tokens(gateway, f"gone-{number}")).user
            answers = await asyncio.gather(
                oidc.portal(gateway, provider_account_id=f"gone-{number}"), gateway.api("POST", "/v1/keys", {"user_id": user}),
                gateway.api("DELETE", f"/v1/users/{user}"), gateway.api("POST", "/v1/keys", {"user_id": user}))
            if (await gateway.api("GET", f"/v1/users/{user}")).status != 404:
                continue  # a key made the user anew, behind the erasure
            for answer in (answers[1], answers[3]):
                if answer.status == 200:
                    await oidc.credential_refused(check, gateway, answer.json["key"], {"invalid_api_key", "inactive_api_key"})
            if answers[0].status == 200:
                tokens = oidc.Tokens(answers[0].json["tokens"]["access_token"], answers[0].json["tokens"]["refresh_token"])
                if tokens.user == user:
                    await oidc.credential_refused(check, gateway, tokens.access, {"session_not_found", "session_revoked"})
