"""Logins under attack: guessing, reading the disk, and a server that is killed in the middle; and the SDK as a logged-in client."""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import jwt
import oidc
import scenarios
import wire
from checks import case, openai_error
from gateway import MASTER_KEY
from oidc import Browser
from oidc_standin import Discord, Person, Providers
from world import World, check_settlements

LIMIT = 6
CRASHES, CLIENTS, PEOPLE = 6, 8, 60


# -- guessing ----------------------------------------------------------------------------------------------------------


@case
async def login_limits() -> None:
    """Who guesses credentials or codes is slowed down by address; nobody else is, nor a valid credential from the same address."""
    limits = {"auth_requests_per_minute": LIMIT, "failed_credentials_per_minute": LIMIT}
    async with oidc.world({}, limits=limits, trusted_proxies="127.0.0.1") as world:
        gateway = world.gateway
        tokens, key = await oidc.portal_tokens(gateway, "anna"), await gateway.user("bert", 10)
        await guessed_credentials(world, tokens, key)
        await guessed_codes(world, tokens)
        await forged_addresses(world)
    async with oidc.world({}, limits=limits) as world:
        with world.check.about("addresses named by nobody whom we trust"):
            key = await world.gateway.user("bert", 10)
            await until_limited(world, lambda n: guess(world, f"203.0.113.{n}"))
            world.check.equal((await chat(world, key, "203.0.113.250")).status, 200, "status of a valid key's chat")


async def guess(world: World, address: str, path: str = "/v1/profile/balance") -> wire.Response:
    return await world.gateway.api("GET", path, key="gw-" + secrets.token_urlsafe(48), headers={"x-forwarded-for": address})


async def chat(world: World, credential: str, address: str, **more) -> wire.Response:
    return await world.gateway.answer(credential, "up:finish", headers={"x-forwarded-for": address}, **more)


async def until_limited(world: World, ask) -> wire.Response:
    """Asks until it is too much: not before the limit, and not long after it."""
    check = world.check
    for number in range(LIMIT * 2 + 2):
        response = await ask(number)
        if response.status == 429:
            check.that(number >= LIMIT, f"it was too much after {number}, with a limit of {LIMIT}")
            oidc.refused(check, response, 429, "rate_limited")
            after = response.header("retry-after") or ""
            check.that(after.isdecimal() and 1 <= int(after) <= 60, f"retry-after: {after!r}")
            return response
        check.equal(response.status, 401, f"status before it was too much: {response}")
    raise AssertionError(f"after {LIMIT * 2 + 2} failures at a limit of {LIMIT} a minute it was still not too much")


async def guessed_credentials(world: World, tokens: oidc.Tokens, key: str) -> None:
    check, gateway, address = world.check, world.gateway, "203.0.113.7"
    with check.about("guessed credentials"):
        await until_limited(world, lambda n: guess(world, address))
        openai_error(check, await chat(world, "gw-" + secrets.token_urlsafe(48), address), 429, "rate_limited")
        forged = tokens.access[:-4] + "AAAA"
        check.equal((await gateway.api("GET", "/v1/auth/me", key=forged, headers={"x-forwarded-for": address})).status, 429, "status of a forged token")
    with check.about("what was in force once, from that address and from one that has nothing else"):
        claims = jwt.decode(tokens.access, options={"verify_signature": False})
        old = jwt.encode({**claims, "exp": int(time.time()) - 120}, oidc.JWT_SECRET, "HS256", jwt.get_unverified_header(tokens.access))
        for source in (address, "203.0.113.9"):
            for _ in range(LIMIT * 2):
                response = await gateway.api("GET", "/v1/auth/me", key=old, headers={"x-forwarded-for": source})
                oidc.refused(check, response, 401, "token_expired")
    with check.about("valid credentials from that address"):
        for _ in range(LIMIT * 2):
            check.equal((await chat(world, key, address)).status, 200, "status of a chat by key")
        for path in ("/v1/auth/me", "/v1/profile/balance"):
            check.equal((await gateway.api("GET", path, key=tokens.access, headers={"x-forwarded-for": address})).status, 200, f"status of {path} by JWT")
    with check.about("other addresses"):
        for other in ("203.0.113.8", "2001:db8::7"):
            check.equal((await gateway.api("GET", "/v1/users", headers={"x-forwarded-for": other})).status, 200, f"status for the master key from {other}")
            check.equal((await guess(world, other)).status, 401, f"status of a first failure from {other}")


async def guessed_codes(world: World, tokens: oidc.Tokens) -> None:
    check, gateway = world.check, world.gateway

    def post(path: str, body: dict, address: str):
        return gateway.api("POST", path, body, key=None, headers={"x-forwarded-for": address})

    for number, (path, body) in enumerate((("/v1/auth/token", {"code": "guessed"}), ("/v1/auth/refresh", {"refreshToken": "guessed"}),
                                           ("/v1/auth/login", {"provider": "portal", "email": "anna@example.org"}))):
        with check.about("guessed at", path):
            await until_limited(world, lambda n: post(path, body, f"203.0.113.{20 + number}"))
    with check.about("a refresh from there, and from elsewhere"):
        for address in ("203.0.113.21", "203.0.113.40", "203.0.113.21"):
            response = await post("/v1/auth/refresh", {"refreshToken": tokens.refresh}, address)
            check.equal(response.status, 200, f"status from {address}")
            tokens = oidc.tokens_of(response)


async def forged_addresses(world: World) -> None:
    """Only the last hop that no trusted proxy is counts; what the client itself wrote before it does not."""
    with world.check.about("a client that writes addresses of its own"):
        await until_limited(world, lambda n: guess(world, f"10.9.{n}.1, 203.0.113.60"))
        world.check.equal((await guess(world, "203.0.113.60, 127.0.0.1")).status, 429, "status behind one trusted hop more")
        world.check.equal((await guess(world, "203.0.113.60, 203.0.113.61")).status, 401, "status of another address that the limited one is only claimed to be behind")
    for value in ("garbage", "", ",,,", "203.0.113.62:4711", "[2001:db8::9]:4711", "x" * 2000):
        with world.check.about("x-forwarded-for", value[:30]):
            world.check.within((await guess(world, value)).status, {400, 401, 429}, "status")


# -- reading the disk --------------------------------------------------------------------------------------------------


@case
async def login_secrets() -> None:
    """No token, code, key or secret lies in the ledger's file or the output, no address in events; an erased person leaves nothing."""
    with Providers() as providers, Discord() as discord:
        people = {"corp": {"email": "erna.unique@example.org", "name": "Erna Unverwechselbar", "picture": "https://img.example/erna-unique.png"},
                  "discord": {"email": "dora.unique@example.org", "global_name": "Dora Unverwechselbar"}}
        providers["corp"].people["sub-of-erna-unique"] = Person({**people["corp"], "email_verified": True})
        providers["corp"].people["sub-of-mallory"] = Person({"email": "mallory@example.org"}, "another nonce")
        discord.people["778899001122"] = Person({**people["discord"], "verified": True})
        auth = {"clients": {"desktop": {"link": "key"}}}
        async with oidc.world({"corp": providers["corp"].settings(), "discord": discord.settings()}, auth) as world:
            check, gateway = world.check, world.gateway
            hidden = {"the master key": MASTER_KEY, "the JWT secret": oidc.JWT_SECRET, "a client secret": providers["corp"].client_secret,
                      "Discord's client secret": discord.door.client_secret}
            users = await everything(world, providers, discord, hidden)
            hidden |= {f"what a provider issued ({n})": text for n, text in enumerate(providers.issued + discord.issued)}
            personal = {"an e-mail": "unique@example.org", "a name": "Unverwechselbar", "a picture": "erna-unique.png"}
            check.that(len(hidden) > 25, f"only {len(hidden)} secrets were seen")
            with check.about("while the server runs"):
                search(check, hidden, in_files(gateway.database) | in_tables(gateway.database))
                search(check, hidden | personal, {"the output": "\n".join(gateway.output).encode(), "the events": str(await gateway.events()).encode()})
                stored = b"".join(in_tables(gateway.database).values())
                check.that(b"erna.unique@example.org" in stored, "the tables do not even have the address that `me` shows: the search is blind")
            with check.about("after the erasure"):
                for user in users:
                    check.equal((await gateway.api("DELETE", f"/v1/users/{user}")).status, 204, f"status of the erasure of {user}")
                gone = personal | {"the account at the provider": "sub-of-erna-unique", "the account at Discord": "778899001122"}
                search(check, gone, in_tables(gateway.database))
                check.equal(await gateway.stop(), 0, "the server's exit code")
                search(check, hidden | gone, in_files(gateway.database) | in_tables(gateway.database))
                search(check, hidden | personal, {"the output": "\n".join(gateway.output).encode()})
                events = await gateway.events()
                search(check, gone, {"the events": str(events).encode()})
                check.that(set(users) <= {e["account"] for e in events}, "the ledger lost the accounts of the erased")


async def everything(world: World, providers: Providers, discord: Discord, hidden: dict[str, str]) -> list[str]:
    """Logs in by every door, right and wrong, and remembers every secret that came by."""
    gateway = world.gateway
    verifier, challenge = oidc.pkce()
    async with Browser(gateway) as browser:
        url = await browser.to_callback(await oidc.start(gateway, "corp", code_challenge=challenge, code_challenge_method="S256"), "sub-of-erna-unique")
        code = oidc.landed(await browser.back(url))["code"]
        tokens = oidc.tokens_of(await oidc.token(gateway, code, code_verifier=verifier))
        unused = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp"), "sub-of-erna-unique"))["code"]
        key = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp", client_type="desktop"), "sub-of-erna-unique"))["key"]
        failed = oidc.landed(await browser.log_in(await oidc.start(gateway, "corp"), "sub-of-mallory"))
        world.check.equal(failed.get("error"), "login_failed", "what a failed login brought")
    renewed = oidc.tokens_of(await oidc.refresh(gateway, tokens.refresh))
    again = oidc.tokens_of(await oidc.refresh(gateway, tokens.refresh))
    dora = await oidc.log_in(gateway, "discord", "778899001122")
    by_token = await oidc.portal(gateway, None, provider="corp", provider_token=providers["corp"].id_token("sub-of-erna-unique"))
    by_discord = await oidc.portal(gateway, None, provider="discord", provider_token=discord.access_token("778899001122"))
    for what, response in (("an ID token", by_token), ("Discord's token", by_discord)):
        world.check.equal(response.status, 200, f"status of the login by {what}: {response}")
        found = response.json["tokens"]
        hidden |= {f"access token by {what}": found["access_token"], f"refresh token by {what}": found["refresh_token"]}
    wrong = {"a guessed key": "gw-" + secrets.token_urlsafe(48), "a guessed master key": "wrong-master-key-" + secrets.token_hex(8),
             "a guessed token": tokens.access[:-6] + "AAAAAA", "a guessed code": secrets.token_urlsafe(32), "a guessed refresh token": secrets.token_urlsafe(32)}
    for name in ("a guessed key", "a guessed master key", "a guessed token"):
        world.check.equal((await gateway.answer(wrong[name], "up:finish")).status, 401, f"status of {name}")
        world.check.equal((await gateway.api("GET", "/v1/users", key=wrong[name])).status, 401, f"status of {name}")
    await oidc.token(gateway, wrong["a guessed code"])
    await oidc.refresh(gateway, wrong["a guessed refresh token"])
    await gateway.api("POST", "/v1/auth/logout", {"refresh_token": renewed.refresh}, key=None)
    for credential in (key, dora.access):
        world.check.equal((await gateway.answer(credential, "up:finish")).status, 200, "status of a chat")
    for user in {tokens.user, dora.user}:
        await world.settled(user)
    hidden |= wrong | {"the code": code, "an unused code": unused, "the code_verifier": verifier, "the key": key, "the access token": tokens.access,
                       "the refresh token": tokens.refresh, "its successor": renewed.refresh, "a renewed access token": renewed.access,
                       "an access token asked for again": again.access, "Discord's access token": dora.access, "Discord's refresh token": dora.refresh}
    return [tokens.user, dora.user]


def in_files(database: Path) -> dict[str, bytes]:
    """The bytes of the database, its write-ahead log, and whatever else lies beside it but the configuration."""
    return {str(path.name): path.read_bytes() for path in database.parent.iterdir() if path.is_file() and path.name != "config.yaml"}


def in_tables(database: Path) -> dict[str, bytes]:
    """The values of every table: a long one is not in one piece in the file."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [name for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            values = (value for row in connection.execute(f'SELECT * FROM "{name}"') for value in row)
            found[f"table {name}"] = b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
        return found


def search(check, wanted: dict[str, str], places: dict[str, bytes]) -> None:
    """Looks for each secret, and for its last part: what stands before may be a prefix that all share."""
    for what, text in wanted.items():
        parts = {text.encode(), text[-24:].encode()} if len(text) > 40 else {text.encode()}
        where = [place for place, data in places.items() if any(part in data for part in parts)]
        check.equal(where, [], f"places where {what} can be read")


# -- a server that is killed -------------------------------------------------------------------------------------------


@case
async def login_crash() -> None:
    """SIGKILL in the middle of first logins: whoever comes again has one account and one bonus, and nobody acknowledged is lost."""
    chosen = random.SystemRandom().randrange(10**6)
    print(f"login_crash: {CRASHES} kills, seed {chosen}", flush=True)
    dice = random.Random(chosen)
    async with oidc.world({}, is_audited=False) as world:
        check, gateway = world.check, world.gateway
        told: dict[str, set[str]] = {}
        cut: set[str] = set()
        for number in range(CRASHES):
            with check.about(f"seed {chosen}, kill {number}"):
                before = set(told)
                work = [asyncio.create_task(first_logins(world, f"person-{number}-{n}", told, cut)) for n in range(CLIENTS)]
                await asyncio.sleep(dice.uniform(0.03, 0.25))
                await gateway.kill9()
                await asyncio.gather(*work)
                await gateway.start()
                for name in set(told) - before:
                    told[name].add((await oidc.portal_tokens(gateway, name, email=f"{name}@example.org")).user)
                    check.equal(len(told[name]), 1, f"accounts of {name}, before and after the kill")
            if check.problems:
                break
        print(f"login_crash: {len(told)} people, {len(cut)} were cut off", flush=True)
        check.that(cut and len(told) > len(cut), f"{len(cut)} of {len(told)} first logins were cut off: the kills show nothing")
        users = {user for found in told.values() for user in found}
        check.equal(len(users), len(told), "accounts of as many people")
        for user in users:
            check.equal((await gateway.balance(user))["credits"], 20, f"credits of {user}")
        listed: list[str] = []
        while page := await gateway.wanted("GET", f"/v1/users?skip={len(listed)}&limit=500"):
            listed += [user["user_id"] for user in page]
            if len(page) < 500:
                break
        check.equal(sorted(listed), sorted(users), "the users that there are")
        check.equal(await gateway.stop(), 0, "the server's exit code")
        events = await gateway.events()
        oidc.check_opened(check, events, users)
        check.equal({e["account"] for e in events if e["name"] == "account_opened"} - users, set(), "accounts of nobody")
        check_settlements(check, events)
        code, _, output = await gateway.verify()
        check.equal(code, 0, f"exit code of replay verify, which printed {output.strip()[:1500]}")


async def first_logins(world: World, prefix: str, told: dict[str, set[str]], cut: set[str]) -> None:
    """One new person after the other, each twice at once, until the server is gone."""
    for number in range(PEOPLE):
        name = f"{prefix}-{number}"
        told[name] = set()
        await asyncio.gather(*(first_login(world, name, told, cut) for _ in range(2)))
        if name in cut:
            return


async def first_login(world: World, name: str, told: dict[str, set[str]], cut: set[str]) -> None:
    try:
        response = await oidc.portal(world.gateway, provider_account_id=name, email=f"{name}@example.org")
    except wire.Broken:
        cut.add(name)  # the server is gone
        return
    if not response.complete:
        cut.add(name)
    elif world.check.equal(response.status, 200, f"status under load: {response}"):
        told[name].add(oidc.Tokens(response.json["tokens"]["access_token"], "").user)


# -- the SDK -----------------------------------------------------------------------------------------------------------


@case
async def login_sdk() -> None:
    """The openai SDK chats with an access token and with the key of a login, streams, and reads that a session has ended."""
    import httpx
    import openai

    with Providers() as providers:
        providers["corp"].people["anna"] = Person({"email": "anna@example.org", "email_verified": True})
        auth = {"clients": {"desktop": {"link": "key"}}}
        async with oidc.world({"corp": providers["corp"].settings()}, auth) as world:
            check, gateway = world.check, world.gateway
            tokens = await oidc.log_in(gateway, "corp", "anna")
            gateway.users.append(tokens.user)
            async with Browser(gateway) as browser:
                key = oidc.landed(await browser.log_in(await oidc.start(gateway, client_type="desktop"), "anna"))["key"]
            async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
                make = lambda credential: openai.AsyncOpenAI(api_key=credential, base_url=f"http://127.0.0.1:{gateway.port}/v1", max_retries=0, http_client=http)
                for what, credential in (("an access token", tokens.access), ("a key", key)):
                    with check.about(what):
                        await sdk_chats(world, make(credential), tokens.user)
                with check.about("a session that has ended"):
                    await gateway.api("POST", "/v1/auth/logout", {"refresh_token": tokens.refresh}, key=None)
                    try:
                        await make(tokens.access).chat.completions.create(model="up:finish", messages=[{"role": "user", "content": "hi"}])
                        check.fail("there was no error")
                    except openai.AuthenticationError as error:
                        check.equal((error.status_code, error.code), (401, "session_revoked"), "status and code")
                    await oidc.credential_works(check, gateway, key, tokens.user, "the key")


async def sdk_chats(world: World, client, user: str) -> None:
    check, text = world.check, "".join(scenarios.WORDS)
    before = len(await world.gateway.usage(user))
    messages = [{"role": "user", "content": "Wie heißt die Hauptstadt? 首都"}]
    answer = await client.chat.completions.create(model="up:finish", messages=messages, user="somebody-else")
    check.equal(answer.choices[0].message.content, text, "the text")
    stream = await client.chat.completions.create(model="up:finish", messages=messages, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    check.equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), text, "the streamed text")
    check.equal(chunks[-1].usage.completion_tokens, 8, "completion tokens of the stream")
    check.equal([model.id for model in (await client.models.list()).data], ["up:finish"], "models")
    await world.settled(user)

    async def counted() -> bool:
        return len(await world.gateway.usage(user)) == before + 2

    await wire.eventually(counted, "two requests more are in the person's usage")
