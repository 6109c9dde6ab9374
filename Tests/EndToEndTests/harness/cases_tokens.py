"""Access tokens as anybody can verify them, what is forged, and the secret that changes."""

from __future__ import annotations

import base64
import json
import time
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import oidc
from checks import Checks, case
from clock import Clock
from gateway import Gateway, StartFailed
from oidc_keys import base64url, compact, hs256
from world import World

CLAIMS = {"iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"}
ISSUERS = {"credit-ledger-gateway", oidc.PUBLIC_URL}
SECOND_SECRET = "another secret of the end-to-end tests, for afterwards"
#: What a token is refused as that is well-formed and not ours; and one that is no token at all.
FORGED, NO_TOKEN = "invalid_token", {"invalid_token", "invalid_api_key"}


def ed25519_pem() -> tuple[ed25519.Ed25519PrivateKey, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    return key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@case
async def tokens() -> None:
    """PyJWT verifies every access token and all its claims, forged ones are refused, and keys and secrets change without logging anybody out."""
    with Clock() as clock:
        async with oidc.world({}, env=clock.env, access_token_exp_minutes=7) as world:
            found = [await oidc.portal_tokens(world.gateway, f"person-{n // 2}") for n in range(4)]
            check_claims(world.check, found, lambda token: (oidc.JWT_SECRET, "HS256"), 7 * 60)
            world.check.equal(await wanted_keys(world), [], "the keys of a server that signs by a secret")
            await forged(world, found[0], found[2], lambda claims, **header: jwt.encode(
                claims, oidc.JWT_SECRET, "HS256", headers={"kid": jwt.get_unverified_header(found[0].access)["kid"], **header}))
            await expired(world, clock)
        await secrets_change()
    await eddsa()
    await bad_secrets()


async def wanted_keys(world: World) -> list[dict]:
    response = await world.gateway.api("GET", "/.well-known/jwks.json", key=None)
    assert response.status == 200, f"the keys: {response}"
    return response.json["keys"]


def check_claims(check: Checks, found: list[oidc.Tokens], key_of, lifetime: int) -> None:
    seen: dict[str, list[str]] = {"jti": [], "sid": [], "kid": []}
    for number, tokens in enumerate(found):
        with check.about("token", number):
            key, algorithm = key_of(tokens.access)
            claims = jwt.decode(tokens.access, key, algorithms=[algorithm], audience="gateway", options={"require": sorted(CLAIMS)}, leeway=2)
            header = jwt.get_unverified_header(tokens.access)
            check.equal((header.get("alg"), header.get("typ"), set(header)), (algorithm, "JWT", {"alg", "typ", "kid"}), "the header")
            check.equal(set(claims), CLAIMS, "the names of the claims")
            check.within(claims["iss"], ISSUERS, "iss")
            check.that(oidc.UUID.fullmatch(claims["sub"]), f"sub is no random UUID: {claims['sub']}")
            check.equal(claims["exp"] - claims["iat"], lifetime, "seconds of its life")
            check.that(all(isinstance(claims[name], int) for name in ("iat", "nbf", "exp")), f"times that are no whole numbers: {claims}")
            check.that(claims["nbf"] <= claims["iat"] and abs(claims["iat"] - time.time()) < 60, f"iat and nbf: {claims}")
            for name in ("jti", "sid"):
                seen[name].append(claims[name])
            seen["kid"].append(header.get("kid"))
            stamp = tokens.data.get("access_token_expires_at") or tokens.data.get("expiresAt")
            check.that(abs(oidc.instant(stamp) - claims["exp"]) <= 1, f"the stated end {stamp} is not exp {claims['exp']}")
    for name in ("jti", "sid"):
        check.equal(len(set(seen[name])), len(found), f"different {name} of {len(found)} logins")
    check.equal(len(set(seen["kid"])), 1, "different kid")


async def forged(world: World, own: oidc.Tokens, other: oidc.Tokens, sign) -> None:
    """`sign` signs as the server does; everything here is refused though the claims are a living session's."""
    check, gateway, claims = world.check, world.gateway, own.claims
    head, payload, signature = own.access.split(".")
    flipped = base64.urlsafe_b64decode(signature + "==")
    flipped = base64url(flipped[:5] + bytes([flipped[5] ^ 1]) + flipped[6:])
    header = jwt.get_unverified_header(own.access)
    without = lambda name: {key: value for key, value in claims.items() if key != name}
    tokens: list[tuple[str, str, str | set[str]]] = [
        ("expired", sign({**claims, "exp": int(time.time()) - 120}), "token_expired"),
        ("for another audience", sign({**claims, "aud": "portal"}), FORGED),
        ("for several audiences without us", sign({**claims, "aud": ["portal", "other"]}), FORGED),
        ("without an audience", sign(without("aud")), FORGED),
        ("of another issuer", sign({**claims, "iss": "https://accounts.google.com"}), FORGED),
        ("without an issuer", sign(without("iss")), FORGED),
        ("without an end", sign(without("exp")), FORGED),
        ("without a session", sign(without("sid")), FORGED),
        ("without a user", sign(without("sub")), FORGED),
        ("not valid yet", sign({**claims, "nbf": int(time.time()) + 600}), FORGED),
        ("of a session that never was", sign({**claims, "sid": str(uuid.uuid4())}), "session_not_found"),
        ("of another's session", sign({**claims, "sub": other.user}), {"session_not_found", FORGED}),
        ("with another kid", sign(claims, kid="another-kid"), FORGED),
        ("with a kid that is a path", sign(claims, kid="../../etc/passwd"), FORGED),
        ("alg none", compact({**header, "alg": "none"}, claims, b""), FORGED),
        ("alg none over its signature", compact({**header, "alg": "none"}, claims, flipped.encode()), FORGED),
        ("alg None", compact({**header, "alg": "None"}, claims, b""), FORGED),
        ("without alg", compact({"typ": "JWT", "kid": header["kid"]}, claims, hs256(b"")), FORGED),
        ("HS256 by an empty secret", compact({**header, "alg": "HS256"}, claims, hs256(b"")), FORGED),
        ("HS256 by the kid", compact({**header, "alg": "HS256"}, claims, hs256(header["kid"].encode())), FORGED),
        ("with a critical header", sign(claims, crit=["x"], x=1), FORGED),
        ("with another signature", f"{head}.{payload}.{flipped}", FORGED),
        ("with another's claims", f"{head}.{other.access.split('.')[1]}.{signature}", FORGED),
        ("without its signature", f"{head}.{payload}.", FORGED),
        ("cut short", own.access[:-6], FORGED),
        ("of two parts", f"{head}.{payload}", NO_TOKEN),
        ("of four parts", own.access + ".x", NO_TOKEN),
        ("no base64", "a!b.c!d.e!f", NO_TOKEN),
        ("no JSON", ".".join([base64url(b"{"), base64url(b"{"), signature]), NO_TOKEN),
        ("the refresh token", own.refresh, NO_TOKEN | {"token_expired"}),
    ]
    for what, token, codes in tokens:
        with check.about("a token", what):
            await oidc.credential_refused(check, gateway, token, codes)
    with check.about("after all of them"):
        for tokens in (own, other):
            await oidc.credential_works(check, gateway, tokens.access, tokens.user, "the true token")
        copy = sign({**claims, "jti": str(uuid.uuid4())})
        await oidc.credential_works(check, gateway, copy, own.user, "a token signed like the server's (so that the others were not refused for their signature)")


async def expired(world: World, clock: Clock) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a token of yesterday"):
        tokens = await oidc.portal_tokens(gateway, "patient")
        clock.ahead(6 * 60)
        await oidc.credential_works(check, gateway, tokens.access, tokens.user, "the token after six of its seven minutes")
        clock.ahead(2 * 60)
        await oidc.credential_refused(check, gateway, tokens.access, "token_expired")
        me = await gateway.api("GET", "/v1/auth/me", key=tokens.access)
        check.equal(me.json.get("detail"), "Session expired", "detail")
        fresh = oidc.tokens_of(await oidc.refresh(gateway, tokens.refresh))
        await oidc.credential_works(check, gateway, fresh.access, tokens.user, "the refreshed token")


async def secrets_change() -> None:
    async with oidc.world({}) as world:
        check, gateway = world.check, world.gateway
        old = await oidc.portal_tokens(gateway, "person")
        gateway.config |= {"jwt_secret": SECOND_SECRET, "jwt_previous_secrets": [oidc.JWT_SECRET]}
        gateway.write_config()
        await gateway.restart()
        with check.about("a new secret, the old one still known"):
            await oidc.credential_works(check, gateway, old.access, old.user, "the old token")
            fresh = await oidc.portal_tokens(gateway, "person")
            check_claims(check, [fresh], lambda token: (SECOND_SECRET, "HS256"), 30 * 60)
            kids = [jwt.get_unverified_header(tokens.access)["kid"] for tokens in (old, fresh)]
            check.that(kids[0] != kids[1], f"both secrets have the kid {kids[0]}")
            crossed = jwt.encode(old.claims, oidc.JWT_SECRET, "HS256", headers={"kid": kids[1]})
            await oidc.credential_refused(check, gateway, crossed, FORGED)
        del gateway.config["jwt_previous_secrets"]
        gateway.write_config()
        await gateway.restart()
        with check.about("without the old one"):
            await oidc.credential_refused(check, gateway, old.access, FORGED)
            await oidc.credential_works(check, gateway, fresh.access, fresh.user, "the new token")
            again = oidc.tokens_of(await oidc.refresh(gateway, old.refresh))
            check.equal(jwt.get_unverified_header(again.access)["kid"], kids[1], "kid of a refreshed token")
            await oidc.credential_works(check, gateway, again.access, old.user, "the refreshed token")


async def eddsa() -> None:
    key, pem = ed25519_pem()
    async with oidc.world({}, jwt_secret=None, jwt_algorithm="EdDSA", jwt_private_key=pem) as world:
        check, gateway = world.check, world.gateway
        found = [await oidc.portal_tokens(gateway, f"person-{n}") for n in range(2)]
        with check.about("the published keys"):
            keys = await wanted_keys(world)
            check.equal(len(keys), 1, "keys")
            check.equal({name: keys[0].get(name) for name in ("kty", "crv", "alg", "use")}, {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}, "the key")
            public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            check.equal(keys[0].get("x"), base64url(public), "the public key")
            check.that("d" not in keys[0], "the private key is published")
        check_claims(check, found, published(keys), 30 * 60)
        await forged(world, found[0], found[1], lambda claims, **header: jwt.encode(
            claims, key, "EdDSA", headers={"kid": keys[0]["kid"], **header}))
        header = {"alg": "HS256", "typ": "JWT", "kid": keys[0]["kid"]}
        spki = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for what, secret in (("its bytes", public), ("its PEM", spki), ("its x", keys[0]["x"].encode()), ("its JWK", json.dumps(keys[0]).encode())):
            with check.about("HS256 by the public key:", what):
                await oidc.credential_refused(check, gateway, compact(header, found[0].claims, hs256(secret)), FORGED)
        with check.about("signed by another Ed25519 key"):
            rogue = jwt.encode(found[0].claims, ed25519_pem()[0], "EdDSA", headers={"kid": keys[0]["kid"]})
            await oidc.credential_refused(check, gateway, rogue, FORGED)
        await keys_change(world, pem, found[0])


def published(keys: list[dict]):
    """Takes the key as a stranger would: by the token's kid out of the published set."""
    return lambda token: (jwt.PyJWKSet.from_dict({"keys": keys})[jwt.get_unverified_header(token)["kid"]].key, "EdDSA")


async def keys_change(world: World, pem: str, old: oidc.Tokens) -> None:
    check, gateway = world.check, world.gateway
    with check.about("a new key, the old one still known"):
        gateway.config |= {"jwt_private_key": ed25519_pem()[1], "jwt_previous_private_keys": [pem]}
        gateway.write_config()
        await gateway.restart()
        keys = await wanted_keys(world)
        check.equal(len({entry["kid"] for entry in keys}), 2, "published keys")
        fresh = await oidc.portal_tokens(gateway, "person-0")
        check_claims(check, [fresh], published(keys), 30 * 60)
        check_claims(check, [old], published(keys), 30 * 60)
        check.that(jwt.get_unverified_header(fresh.access)["kid"] != jwt.get_unverified_header(old.access)["kid"], "both keys have one kid")
        for tokens in (old, fresh):
            await oidc.credential_works(check, gateway, tokens.access, old.user, "the token")
    with check.about("without the old one"):
        del gateway.config["jwt_previous_private_keys"]
        gateway.write_config()
        await gateway.restart()
        check.equal(len(await wanted_keys(world)), 1, "published keys")
        await oidc.credential_refused(check, gateway, old.access, FORGED)
        await oidc.credential_works(check, gateway, fresh.access, fresh.user, "the new token")


async def bad_secrets() -> None:
    """A secret or key that is none is refused at the start, by its name and without its text."""
    text = "-----BEGIN PRIVATE KEY-----\nTk9LRVlOT0tFWU5PS0VZ\n-----END PRIVATE KEY-----\n"
    async with oidc.world({}) as world:
        for what, settings, name in (("an unknown algorithm", {"jwt_secret": "x" * 32, "jwt_algorithm": "none"}, "jwt_algorithm"),
                                     ("EdDSA without a key", {"jwt_secret": "x" * 32, "jwt_algorithm": "EdDSA"}, "jwt_private_key"),
                                     ("a key that is none", {"jwt_algorithm": "EdDSA", "jwt_private_key": text}, "jwt_private_key")):
            with world.check.about(what):
                server = Gateway(world.provider.port, oidc.MODELS, settings=settings)
                try:
                    await server.start()
                    world.check.fail("the server started")
                except StartFailed as failed:
                    world.check.that(failed.code not in (None, 0), f"exit code {failed.code}")
                    world.check.that(name in failed.output, f"the message does not name {name}: {failed.output}")
                    world.check.that("Tk9LRVlO" not in failed.output, "the message shows the secret")
                finally:
                    await server.close()
        with world.check.about("a short secret, as old files have it"):
            server = Gateway(world.provider.port, oidc.MODELS, settings={"jwt_secret": "fifteen-bytes-x"})
            await server.start()
            try:
                warned = [line for line in server.output if "'jwt_secret'" in line]
                world.check.that(warned and "fifteen" not in "".join(server.output), f"warnings: {warned}")
            finally:
                await server.close()
