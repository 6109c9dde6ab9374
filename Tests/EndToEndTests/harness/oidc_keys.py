"""The keys of identity providers, and tokens put together as no library would."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def integer(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Key:
    """An RSA key that signs ID tokens."""

    def __init__(self, kid: str | None = None):
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = kid or f"kid-{secrets.token_hex(4)}"

    def jwk(self, **more: str) -> dict:
        numbers = self.private.public_key().public_numbers()
        return {"kty": "RSA", "kid": self.kid, "n": integer(numbers.n), "e": integer(numbers.e), **more}

    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, claims: dict, algorithm: str = "RS256", **header) -> str:
        return jwt.encode(claims, self.private, algorithm, headers={"kid": self.kid, **header})


def ec_jwk(kid: str) -> dict:
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
            "x": base64url(point.x.to_bytes(32, "big")), "y": base64url(point.y.to_bytes(32, "big"))}


def oct_jwk(kid: str, secret: bytes) -> dict:
    return {"kty": "oct", "kid": kid, "alg": "HS256", "k": base64url(secret)}


def compact(header: dict, claims: object, signature: bytes | Callable[[bytes], bytes]) -> str:
    """A token put together by hand, for what no library signs."""
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    made = signature(signed.encode()) if callable(signature) else signature
    return f"{signed}.{base64url(made)}"


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.new(secret, signed, hashlib.sha256).digest()
