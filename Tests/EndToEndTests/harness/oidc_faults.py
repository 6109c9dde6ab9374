"""What an identity provider's answers may have wrong: each entry alone has to end a login, whatever else is right."""

from __future__ import annotations

import time
from typing import Callable

from oidc_keys import Key, base64url, compact, hs256

GONE = object()
HOUR = 3600


def _now() -> int:
    return int(time.time())


#: Claims of the ID token, by realm; the signature is right.
CLAIMS: dict[str, Callable[[object], dict]] = {
    "another nonce": lambda realm: {"nonce": "another-nonce"},
    "no nonce": lambda realm: {"nonce": GONE},
    "an empty nonce": lambda realm: {"nonce": ""},
    "another's aud": lambda realm: {"aud": "another-client"},
    "several aud without us": lambda realm: {"aud": ["another-client", "a-third"]},
    "an aud that only begins alike": lambda realm: {"aud": realm.client_id + "-too"},
    "an empty list of aud": lambda realm: {"aud": []},
    "no aud": lambda realm: {"aud": GONE},
    "several aud, made for another (azp)": lambda realm: {"aud": [realm.client_id, "another-client"], "azp": "another-client"},
    "another iss": lambda realm: {"iss": "https://accounts.google.com"},
    "an iss that only begins alike": lambda realm: {"iss": realm.issuer + ".evil.example"},
    "no iss": lambda realm: {"iss": GONE},
    "expired": lambda realm: {"iat": _now() - 2 * HOUR, "exp": _now() - HOUR},
    "no exp": lambda realm: {"exp": GONE},
    "an exp that is no number": lambda realm: {"exp": "never"},
    "made in the future": lambda realm: {"iat": _now() + HOUR, "exp": _now() + 2 * HOUR},
    "not yet valid": lambda realm: {"nbf": _now() + HOUR},
    "no sub": lambda realm: {"sub": GONE},
    "an empty sub": lambda realm: {"sub": ""},
    "a sub that is an object": lambda realm: {"sub": {"id": "x"}},
}


def _tampered(realm, claims: dict) -> str:
    """Somebody else's claims over a signature that was right for others."""
    head, _, signature = realm.keys[-1].sign({**claims, "sub": "somebody"}).split(".")
    return ".".join([head, realm.keys[-1].sign(claims).split(".")[1], signature])


def _own_key_in_the_header(realm, claims: dict) -> str:
    rogue = Key(realm.keys[-1].kid)
    return rogue.sign(claims, jwk=rogue.jwk())


def _header(realm, algorithm: str) -> dict:
    return {"alg": algorithm, "typ": "JWT", "kid": realm.keys[-1].kid}


#: How the ID token is signed; the claims are right. The realm announces RS256 and nothing else.
TOKENS: dict[str, Callable[[object, dict], str]] = {
    "alg none": lambda realm, claims: compact(_header(realm, "none"), claims, b""),
    "alg nOnE": lambda realm, claims: compact(_header(realm, "nOnE"), claims, b""),
    "alg none over a signature": lambda realm, claims: compact(_header(realm, "none"), claims, b"x" * 256),
    "no alg": lambda realm, claims: compact({"typ": "JWT", "kid": realm.keys[-1].kid}, claims, b"x" * 256),
    "RS256 without a signature": lambda realm, claims: compact(_header(realm, "RS256"), claims, b""),
    "RS512, which is not the key's alg": lambda realm, claims: realm.keys[-1].sign(claims, "RS512"),
    "HS256 by the public key (PEM)": lambda realm, claims: compact(_header(realm, "HS256"), claims, hs256(realm.keys[-1].pem())),
    "HS256 by the public key (modulus)": lambda realm, claims: compact(
        _header(realm, "HS256"), claims, hs256(realm.keys[-1].jwk()["n"].encode())),
    "HS256 by the oct key of the JWKS": lambda realm, claims: compact(
        {"alg": "HS256", "typ": "JWT", "kid": "published-secret"}, claims, hs256(b"a secret that everybody can read here")),
    "an unknown kid": lambda realm, claims: Key("kid-that-nobody-knows").sign(claims),
    "a known kid over a rogue key": lambda realm, claims: Key(realm.keys[-1].kid).sign(claims),
    "a rogue key in the header": _own_key_in_the_header,
    "the EC key's kid over an RSA signature": lambda realm, claims: realm.keys[-1].sign(claims, kid="an-ec-key"),
    "claims that were changed": _tampered,
    "a truncated signature": lambda realm, claims: realm.keys[-1].sign(claims)[:-8],
    "two parts": lambda realm, claims: ".".join(realm.keys[-1].sign(claims).split(".")[:2]),
    "a critical header that nobody knows": lambda realm, claims: realm.keys[-1].sign(claims, crit=["exp-override"], **{"exp-override": 1}),
    "claims that are no object": lambda realm, claims: compact(_header(realm, "RS256"), ["sub"], b"x" * 256),
    "no base64": lambda realm, claims: "a!b.c!d.e!f",
    "empty": lambda realm, claims: "",
}


def _redirected(status: int):
    def answer(handler, realm, good: dict) -> None:
        realm.elsewhere = good["id_token"]
        handler.redirect(status, f"{realm.issuer}/elsewhere")

    return answer


#: What the token endpoint answers; the ID token would be right.
ANSWERS: dict[str, Callable] = {
    "400 invalid_grant": lambda handler, realm, good: handler.json(400, {"error": "invalid_grant"}),
    "500 over the right body": lambda handler, realm, good: handler.json(500, good),
    "HTML": lambda handler, realm, good: handler.send(200, b"<html>maintenance</html>", "text/html"),
    "an empty body": lambda handler, realm, good: handler.send(200),
    "a list": lambda handler, realm, good: handler.json(200, [good]),
    "no id_token": lambda handler, realm, good: handler.json(200, {k: v for k, v in good.items() if k != "id_token"}),
    "an id_token that is a number": lambda handler, realm, good: handler.json(200, {**good, "id_token": 7}),
    "a redirect (302)": _redirected(302),
    "a redirect (307)": _redirected(307),
    "64 MiB": lambda handler, realm, good: handler.hugely(good),
    "a closed connection": lambda handler, realm, good: handler.abruptly(),
    "four bytes a second": lambda handler, realm, good: handler.slowly(good),
    "silence": lambda handler, realm, good: handler.silently(),
}


def _discovery(**changes: Callable[[object], object]):
    def answer(handler, realm) -> None:
        handler.json(200, {**realm.discovery(), **{name: value(realm) for name, value in changes.items()}})

    return DISCOVERY, answer


DISCOVERY, JWKS = ".well-known/openid-configuration", "jwks"
#: What is wrong with a whole realm: the route, and what it answers.
REALMS: dict[str, tuple[str, Callable]] = {
    "another issuer": _discovery(issuer=lambda realm: "https://accounts.google.com"),
    "no issuer": _discovery(issuer=lambda realm: None),
    "a token endpoint without TLS elsewhere": _discovery(token_endpoint=lambda realm: "http://evil.example/token"),
    "an authorization endpoint that is a script": _discovery(authorization_endpoint=lambda realm: "javascript:alert(1)"),
    "discovery that is HTML": (DISCOVERY, lambda handler, realm: handler.send(200, b"<html></html>", "text/html")),
    "discovery that fails": (DISCOVERY, lambda handler, realm: handler.json(503, realm.discovery())),
    "discovery of 64 MiB": (DISCOVERY, lambda handler, realm: handler.hugely(realm.discovery())),
    "keys that are HTML": (JWKS, lambda handler, realm: handler.send(200, b"<html></html>", "text/html")),
    "keys that fail": (JWKS, lambda handler, realm: handler.json(503, realm.jwks())),
    "no keys": (JWKS, lambda handler, realm: handler.json(200, {"keys": []})),
    "keys that are nonsense": (JWKS, lambda handler, realm: handler.json(200, {"keys": [
        7, None, {"kty": "RSA"}, {"kty": "RSA", "kid": realm.keys[-1].kid, "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": realm.keys[-1].kid, "n": base64url(b"\0"), "e": base64url(b"\0")}]})),
    "keys of 64 MiB": (JWKS, lambda handler, realm: handler.hugely(realm.jwks())),
    "keys behind a redirect": (JWKS, lambda handler, realm: handler.redirect(302, f"{realm.issuer}/jwks-elsewhere")),
}
DISCOVERY_FAULTS = [name for name, (route, _) in REALMS.items() if route == DISCOVERY]
KEY_FAULTS = [name for name, (route, _) in REALMS.items() if route == JWKS]
#: Those that only time out: the gateway has to give up by itself.
SLOW = {"four bytes a second", "silence"}
