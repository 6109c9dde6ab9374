"""Who somebody is: codes and keys that a login gives, Discord, and which logins belong to one person."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal

import oidc
from checks import case, fields
from clock import Clock
from oidc import Browser
from oidc_standin import Discord, Person, Providers
from world import World

INVALID_CODE = (401, "invalid_code", "invalid or expired code")
AT_ONCE = 20


async def code_of(here: World, sub: str = "anna", provider: str | None = "corp", **more: str) -> str:
    async with Browser(here.gateway) as browser:
        found = oidc.landed(await browser.log_in(await oidc.start(here.gateway, provider, **more), sub))
    assert "code" in found, f"the login of {sub} came back with {found}"
    return found["code"]


def person(name: str, verified: object = True, **more: object) -> Person:
    return Person({"email": f"{name}@example.org", "email_verified": verified, "name": name, **more})


# -- codes -------------------------------------------------------------------------------------------------------------


@case
async def login_codes() -> None:
    """A code is exchanged once, within a minute, by the client that began; a second use ends the session that the first made."""
    with Providers() as providers, Clock() as clock:
        for sub in ("anna", "bert"):
            providers["corp"].people[sub] = person(sub)
        async with oidc.world({"corp": providers["corp"].settings()}, env=clock.env) as here:
            check, gateway = here.check, here.gateway
            with check.about("no code at all"):
                for code in ("x", "", "A" * 43, "code\0"):
                    oidc.refused(check, await oidc.token(gateway, code), *INVALID_CODE)
                response = await gateway.api("POST", "/v1/auth/token", {}, key=None)
                check.equal((response.status, response.json["detail"][0]["loc"]), (422, ["body", "code"]), f"a body without code: {response}")
            with check.about("a second use"):
                other = oidc.tokens_of(await oidc.token(gateway, await code_of(here)))
                code = await code_of(here)
                tokens = oidc.tokens_of(await oidc.token(gateway, code))
                await oidc.credential_works(check, gateway, tokens.access, tokens.user)
                oidc.refused(check, await oidc.token(gateway, code), *INVALID_CODE)
                await oidc.credential_refused(check, gateway, tokens.access, "session_revoked")
                oidc.refused(check, await oidc.refresh(gateway, tokens.refresh), 401, "refresh_token_revoked", "Refresh token revoked")
                await oidc.credential_works(check, gateway, other.access, tokens.user, "another session's token")
            with check.about("the same code, many times at once"):
                code = await code_of(here)
                answers = await asyncio.gather(*(oidc.token(gateway, code) for _ in range(8)))
                check.equal(sorted(answer.status for answer in answers), [200] + [401] * 7, "statuses")
                for answer in answers:
                    if answer.status == 200:
                        await oidc.credential_refused(check, gateway, oidc.tokens_of(answer).access, "session_revoked")
            with check.about("a code that lay about"):
                for seconds, is_late in ((50, False), (61, True)):
                    code = await code_of(here)
                    clock.ahead(seconds)
                    response = await oidc.token(gateway, code)
                    if is_late:
                        oidc.refused(check, response, *INVALID_CODE)
                    else:
                        check.equal(response.status, 200, f"status after {seconds} s: {response}")
            await verifiers(here)


async def verifiers(here: World) -> None:
    check, gateway = here.check, here.gateway

    async def challenged() -> tuple[str, str]:
        verifier, challenge = oidc.pkce()
        return verifier, await code_of(here, "bert", code_challenge=challenge, code_challenge_method="S256")

    with check.about("the right code_verifier"):
        verifier, code = await challenged()
        await oidc.credential_works(check, gateway, oidc.tokens_of(await oidc.token(gateway, code, code_verifier=verifier)).access,
                                    (await oidc.lookup(gateway, provider="corp", provider_account_id="bert"))["user_id"])
    for what, wrong in (("no code_verifier", {}), ("an empty code_verifier", {"code_verifier": ""}), ("another's code_verifier", {"code_verifier": oidc.pkce()[0]})):
        with check.about(what):
            verifier, code = await challenged()
            oidc.refused(check, await oidc.token(gateway, code, **wrong), *INVALID_CODE)
            if "code_verifier" in wrong:
                oidc.refused(check, await oidc.token(gateway, code, code_verifier=verifier), *INVALID_CODE)
    with check.about("the challenge itself as code_verifier"):
        _, challenge = oidc.pkce()
        code = await code_of(here, "bert", code_challenge=challenge, code_challenge_method="S256")
        oidc.refused(check, await oidc.token(gateway, code, code_verifier=challenge), *INVALID_CODE)
    challenge = oidc.pkce()[1]
    for what, wrong in (("plain", {"code_challenge": challenge, "code_challenge_method": "plain"}),
                        ("another method", {"code_challenge": challenge, "code_challenge_method": "S512"}),
                        ("a short challenge", {"code_challenge": challenge[:-1], "code_challenge_method": "S256"}),
                        ("a long challenge", {"code_challenge": challenge + "A", "code_challenge_method": "S256"}),
                        ("a challenge that is no base64url", {"code_challenge": "+" * 43, "code_challenge_method": "S256"})):
        with check.about(what):
            oidc.refused(check, await oidc.authorize(gateway, "corp", **wrong), 400, "invalid_code_challenge")


# -- a key instead of a code -------------------------------------------------------------------------------------------


@case
async def login_link_key() -> None:
    """A desktop that wants a key gets one by its deep link; the next login replaces it, and what was used by the old one stays."""
    with Providers() as providers:
        for sub in ("anna", "bert"):
            providers["corp"].people[sub] = person(sub)
        auth = {"clients": {"desktop": {"link": "key"}}}
        async with oidc.world({"corp": providers["corp"].settings()}, auth) as here:
            check, gateway = here.check, here.gateway
            first = await key_of(here, "anna")
            user = first["user_id"]
            gateway.users.append(user)
            await used(here, first["key"], user)
            with check.about("keys of others by the same name, and others of the same person"):
                extra = await gateway.key(user)
                bert = await key_of(here, "bert")
                alike = (await gateway.wanted("POST", "/v1/keys", {"user_id": bert["user_id"], "key_name": f"desktop-{user}"}))["key"]
            with check.about("the second login"):
                second = await key_of(here, "anna")
                check.equal(second["user_id"], user, "the user")
                check.that(second["key"] != first["key"], "the key is the same")
                await used(here, second["key"], user)
                await oidc.credential_refused(check, gateway, first["key"], {"invalid_api_key", "inactive_api_key"})
                check.equal(await oidc.credits(gateway, second["key"]) < 20, True, "the second login brought no second bonus")
                history = await gateway.usage(user, rows=2)
                check.equal(len(history), 2, "rows of the usage history")
                check.equal(len({row["api_key_id"] for row in history}), 2, "keys in the usage history")
            with check.about("the keys afterwards"):
                listed = await gateway.wanted("GET", f"/v1/keys?user_id={user}")
                desktop = [key for key in listed if key["key_name"] == f"desktop-{user}" and key["is_active"]]
                check.equal(len(desktop), 1, "active keys of the desktop")
                check.equal({key["user_id"] for key in listed}, {user}, "whose keys are listed")
                for key, owner in ((extra, user), (bert["key"], bert["user_id"]), (alike, bert["user_id"])):
                    await oidc.credential_works(check, gateway, key, owner, "a key that was not the desktop's")
            with check.about("another client"):
                code = await code_of(here, "anna", client_type="web")
                check.equal(oidc.tokens_of(await oidc.token(gateway, code)).user, user, "the user of a code")
                await oidc.credential_works(check, gateway, second["key"], user, "the desktop's key after another client's login")
            with check.about("a failed login"):
                providers["corp"].people["anna"].fault = "another nonce"
                async with Browser(gateway) as browser:
                    found = oidc.landed(await browser.log_in(await oidc.start(gateway, client_type="desktop", state="s"), "anna"))
                check.equal(found, {"error": "login_failed", "state": "s"}, "what the client is told")
                await oidc.credential_works(check, gateway, second["key"], user, "the desktop's key after a failed login")
            oidc.check_opened(check, await gateway.events(), [user, bert["user_id"]])


async def key_of(here: World, sub: str) -> dict[str, str]:
    state = f"state of {sub}&="
    with here.check.about("the deep link of", sub):
        async with Browser(here.gateway) as browser:
            found = oidc.landed(await browser.log_in(await oidc.start(here.gateway, client_type="desktop", state=state), sub))
        fields(here.check, found, "key user_id state", "the deep link")
        here.check.that(re.fullmatch(r"gw-[A-Za-z0-9_-]{44,253}", found["key"]), "the key has not the form that the desktop takes")
        here.check.equal(found["state"], state, "state")
        await oidc.credential_works(here.check, here.gateway, found["key"], found["user_id"], "the key")
    return found


async def used(here: World, key: str, user: str) -> None:
    here.check.equal((await here.gateway.answer(key, "up:finish")).status, 200, "status of a chat by the key")
    await here.settled(user)


# -- Discord -----------------------------------------------------------------------------------------------------------


@case
async def login_discord() -> None:
    """Discord logs people in; its tokens count only where they were made for us, and an address only where Discord verified it."""
    with Discord() as discord:
        discord.people["4001"] = Person({"email": "dina@example.org", "verified": True})
        discord.people["4002"] = Person({"email": "dina@example.org", "verified": False})
        discord.people["4003"] = Person({"email": "dina@example.org"})
        discord.people["4004"] = Person({"email": None, "verified": True})
        discord.people["4005"] = Person({"email": "dina@example.org", "verified": "true"})
        discord.people["4006"] = Person({"email": "ede@example.org", "verified": True})
        async with oidc.world({"discord": discord.settings()}) as here:
            check, gateway = here.check, here.gateway
            with check.about("the flow"):
                tokens = await oidc.log_in(gateway, "discord", "4001")
                info = tokens.data["userInfo"]
                check.equal((info["email"], info["name"]), ("dina@example.org", "Ännä"), "e-mail and name")
                check.equal(await oidc.credits(gateway, tokens.access), 20, "credits")
                check.equal((await oidc.log_in(gateway, "discord", "4001")).user, tokens.user, "the account of a second login")
            opened = [tokens.user]
            for sub in ("4002", "4003", "4004", "4005"):
                with check.about("an address that is not verified:", discord.people[sub].claims):
                    found = await own_account(here, "discord", sub, tokens.user)
                    if check.that(found is not None, "it did not log in at all"):
                        opened.append(found.user)
            await discord_tokens(here, discord, tokens, opened)
            oidc.check_opened(check, await gateway.events(), opened)
            check.equal(discord.complaints, [], "what Discord complained of")


async def discord_tokens(here: World, discord: Discord, tokens: oidc.Tokens, opened: list[str]) -> None:
    check, gateway = here.check, here.gateway
    with check.about("a token of Discord"):
        response = await oidc.portal(gateway, None, provider="discord", provider_token=discord.access_token("4001"))
        if check.equal(response.status, 200, f"status of {response}"):
            check.equal(oidc.Tokens(response.json["tokens"]["access_token"], "").user, tokens.user, "whom it logs in")
        # What the client says of itself does not count beside it.
        response = await oidc.portal(gateway, None, provider="discord", provider_token=discord.access_token("4006"), provider_account_id="4001",
                                     email="dina@example.org", email_verified=True)
        if check.equal(response.status, 200, f"status of {response}"):
            opened.append(oidc.Tokens(response.json["tokens"]["access_token"], "").user)
            check.that(opened[-1] != tokens.user, "the client's own words led to another's account")
    before = oidc.rows(gateway.database)
    for what, token in (("for another application", discord.access_token("4001", "1099511627776009999")), ("that nobody made", "discord-nothing"),
                        ("that is empty", ""), ("with a line break", "x\r\nx-evil: 1"), ("that is long", "x" * 5000)):
        with check.about("a token", what):
            oidc.refused(check, await oidc.portal(gateway, None, provider="discord", provider_token=token), 401, "provider_token_invalid")
    check.equal(oidc.rows(gateway.database), before, "rows of the tables after refused tokens")


# -- one person, several logins ----------------------------------------------------------------------------------------


async def own_account(here: World, provider: str, sub: str, victim: str) -> oidc.Tokens | None:
    """Logs in somebody who must not come to the victim's account: their own tokens, or None where the login was refused."""
    async with Browser(here.gateway) as browser:
        found = oidc.landed(await browser.log_in(await oidc.start(here.gateway, provider, state="s"), sub))
    if found == {"error": "login_failed", "state": "s"}:
        return None
    tokens = oidc.tokens_of(await oidc.token(here.gateway, found["code"]))
    here.check.that(tokens.user != victim, f"{sub} of {provider} came to the victim's account")
    here.check.equal(await oidc.credits(here.gateway, tokens.access), 20, "credits of an account of their own")
    return tokens


@case
async def login_linking() -> None:
    """An address that both providers verified makes one person of two logins; any other leads to nobody else's account."""
    with Providers() as providers, Discord() as discord:
        async with oidc.world({"google": providers["google"].settings(), "discord": discord.settings()}) as here:
            opened = await verified_and_not(here, providers, discord)
            opened += await odd_addresses(here, providers)
            opened += await users_by_hand(here, providers)
            opened += await at_once(here, providers, discord)
            oidc.check_opened(here.check, await here.gateway.events(), opened)
            here.check.equal(providers.complaints + discord.complaints, [], "what the providers complained of")


async def verified_and_not(here: World, providers: Providers, discord: Discord) -> list[str]:
    check, gateway, opened = here.check, here.gateway, []
    for number, (google, other, is_one) in enumerate(((True, True, True), (True, False, False), (False, True, False), (False, False, False))):
        for order in (("google", "discord"), ("discord", "google")):
            name, sub = f"p{number}{order[0][0]}", f"{5000 + number * 10 + len(order[0])}"
            with check.about(f"verified by google {google}, by discord {other}, first at {order[0]}"):
                providers["google"].people[sub] = person(name, google)
                discord.people[sub] = Person({"email": f"{name}@example.org", "verified": other})
                first, second = [await oidc.log_in(gateway, provider, sub) for provider in order]
                check.equal(first.user == second.user, is_one, "they are one account")
                opened += [first.user] if first.user == second.user else [first.user, second.user]
                again = await oidc.log_in(gateway, order[0], sub)
                check.equal(again.user, first.user, "the account of a third login")
                if is_one:
                    known = await oidc.lookup(gateway, email=f"{name}@example.org")
                    check.equal((known or {}).get("user_id"), first.user, "whom the lookup finds by the address")
                    check.equal(len((known or {}).get("linked_accounts", [])), 2, "linked accounts")
    return opened


async def odd_addresses(here: World, providers: Providers) -> list[str]:
    """What is not a verified address, word for word, reaches nobody."""
    check, gateway, people = here.check, here.gateway, providers["google"].people
    people["victim"] = person("victim")
    victim = await oidc.log_in(gateway, "google", "victim")
    opened, mail = [victim.user], "victim@example.org"
    odd = [
        {"email": mail, "email_verified": value} for value in (False, "true", "false", "True", 1, 0, None, [True], {"value": True})
    ] + [{"email": mail}] + [
        {"email": value, "email_verified": True} for value in (
            [mail], [mail, "other@example.org"], {"address": mail}, f"{mail}\0", f" {mail}", f"{mail}\n", f"{mail},other@example.org", "", None, 7,
            f"{mail}{'x' * 400}", "vіctim@example.org", f"Victim <{mail}>", "victim@example.org\u200b", "victim@example.org.evil.example")
    ] + [{"email_verified": True}]
    for number, claims in enumerate(odd):
        with check.about("an attacker with", ascii(claims)[:90]):
            people[f"attacker{number}"] = Person(claims)
            found = await own_account(here, "google", f"attacker{number}", victim.user)
            if found is not None:
                opened.append(found.user)
            else:
                check.that(claims != {"email": mail, "email_verified": False}, "an address that is not verified keeps the person out")
                check.equal(await oidc.lookup(gateway, provider="google", provider_account_id=f"attacker{number}"), None, "whom the lookup finds")
    with check.about("the victim afterwards"):
        check.equal((await oidc.log_in(gateway, "google", "victim")).user, victim.user, "the account")
        check.equal((await oidc.lookup(gateway, email=mail) or {}).get("user_id"), victim.user, "whom the lookup finds by the address")
    return opened


async def users_by_hand(here: World, providers: Providers) -> list[str]:
    """A user whom the operator made belongs to nobody who logs in, whatever it is called."""
    check, gateway, opened = here.check, here.gateway, []
    for number, body in enumerate((lambda mail, sub: {"user_id": mail}, lambda mail, sub: {"user_id": f"hand-{sub}", "alias": mail},
                                   lambda mail, sub: {"user_id": sub}, lambda mail, sub: {"user_id": f"meta-{sub}", "metadata": {"email": mail}})):
        sub = f"hand{number}"
        made = body(f"{sub}@example.org", sub)
        with check.about("a user made by hand:", made):
            await gateway.wanted("POST", "/v1/users", made)
            await gateway.top_up(made["user_id"], 100)
            gateway.users.append(made["user_id"])
            providers["google"].people[sub] = person(sub)
            tokens = await own_account(here, "google", sub, made["user_id"])
            if check.that(tokens is not None, "the login was refused"):
                opened.append(tokens.user)
            check.equal(Decimal((await gateway.balance(made["user_id"]))["credits_exact"]), 100, "credits of the user made by hand")
    return opened


async def at_once(here: World, providers: Providers, discord: Discord) -> list[str]:
    check, gateway = here.check, here.gateway
    providers["google"].people["9001"] = person("many")
    providers["google"].people["9002"] = person("both")
    discord.people["9002"] = Person({"email": "both@example.org", "verified": True})
    opened = []
    for what, ways in (("one provider", [("google", "9001")] * AT_ONCE), ("two providers", [("google", "9002"), ("discord", "9002")] * (AT_ONCE // 2))):
        with check.about(f"{AT_ONCE} first logins at once by {what}"):
            browsers = [Browser(gateway) for _ in ways]
            try:
                callbacks = await asyncio.gather(*(
                    oidc.start(gateway, provider) for provider, _ in ways))
                callbacks = await asyncio.gather(*(b.to_callback(url, sub) for b, url, (_, sub) in zip(browsers, callbacks, ways)))
                links = await asyncio.gather(*(b.back(url) for b, url in zip(browsers, callbacks)))
            finally:
                for browser in browsers:
                    await browser.http.aclose()
            codes = [oidc.landed(link).get("code", "") for link in links]
            answers = await asyncio.gather(*(oidc.token(gateway, code) for code in codes))
            users = {oidc.tokens_of(answer).user for answer in answers}
            check.equal(len(users), 1, "accounts")
            opened += users
    with check.about(f"{AT_ONCE} first logins at once by the portal"):
        answers = await asyncio.gather(*(
            oidc.portal(gateway, provider=f"web{n % 2}", provider_account_id="9003", email="web@example.org", email_verified=True) for n in range(AT_ONCE)))
        check.equal({answer.status for answer in answers}, {200}, "statuses")
        users = {oidc.Tokens(answer.json["tokens"]["access_token"], "").user for answer in answers}
        check.equal(len(users), 1, "accounts")
        opened += users
    return opened
