"""Stand-ins for identity providers that can be wrong in every way: OpenID Connect (many realms on one port) and Discord.

They run in threads of this process, so that a case sets people, keys and faults directly. Both ask who logs in by the form that
oidc-provider-mock has, check what a real provider checks (client, redirect_uri, PKCE, each code once), and write down as a
complaint what a real provider would have refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
import traceback
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import oidc_faults
from oidc_keys import Key, base64url

FORM = b"""<!doctype html><title>Log in</title>
<form method="post"><input type="text" name="sub" required><button type="submit">Authorize</button></form>
<form method="post"><button type="submit" name="action" value="deny">Deny</button></form>"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers.get("content-length") or 0)))

    def _handle(self, body: bytes) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.route, self.query = urllib.parse.unquote(url.path), dict(urllib.parse.parse_qsl(url.query))
        self.form = dict(urllib.parse.parse_qsl(body.decode("latin-1"))) if self.command == "POST" else {}
        try:
            self.server.owner.answer(self)
        except OSError:
            self.close_connection = True  # whoever asked is gone

    def send(self, status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, status: int, value: object, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), **headers)

    def redirect(self, status: int, location: str) -> None:
        self.send(status, location=location)

    def slowly(self, value: object) -> None:
        """The right answer, at four bytes a second."""
        body = json.dumps(value).encode()
        self.send(200, body[:1], **{"content-length": str(len(body))})
        for byte in body[1:]:
            if self.server.owner.stopping.wait(0.25):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
        self.close_connection = True

    def hugely(self, value: dict, mebibytes: int = 64) -> None:
        """The right answer, with so many MiB of padding before its end."""
        self.server.owner.huge_asked += 1  # before the first byte: who closes at the sight of the length lets nothing be written
        start = json.dumps(value).encode()[:-1] + b', "padding": "'
        self.send(200, start, **{"content-length": str(len(start) + (mebibytes << 20) + 2)})
        for _ in range(mebibytes):
            self.wfile.write(b"a" * (1 << 20))
            self.server.owner.huge_sent += 1 << 20
        self.wfile.write(b'"}')

    def silently(self) -> None:
        """No answer at all."""
        self.server.owner.stopping.wait(120)
        self.close_connection = True

    def abruptly(self) -> None:
        self.close_connection = True

    def client(self) -> tuple[str, str]:
        """How the client says who it is: HTTP Basic, or in the form."""
        scheme, _, value = (self.headers.get("authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            name, _, secret = base64.b64decode(value).decode().partition(":")
            return urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(secret)
        return self.form.get("client_id", ""), self.form.get("client_secret", "")

    def bearer(self) -> str:
        return (self.headers.get("authorization") or "").removeprefix("Bearer ")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: "StandIn"

    def handle_error(self, *_: object) -> None:
        self.owner.complaints.append("the stand-in itself failed: " + traceback.format_exc(limit=-2))


class StandIn:
    """What both stand-ins share: a server in a thread, people, codes, and the form that asks who logs in."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        #: What a real provider would have refused.
        self.complaints: list[str] = []
        #: Every code and token that was given out.
        self.issued: list[str] = []
        #: How many huge answers were asked for, and the bytes that were taken of all of them.
        self.huge_asked = self.huge_sent = 0
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: Handler) -> None:
        raise NotImplementedError

    def token(self, kind: str) -> str:
        made = f"{kind}-{secrets.token_urlsafe(24)}"
        with self.lock:
            self.issued.append(made)
        return made


@dataclass
class Code:
    """An authorization code, and what it was given for."""

    who: str
    asked: dict
    used: bool = False


@dataclass
class Person:
    claims: dict = field(default_factory=dict)
    #: How this person's logins go wrong: one of the names in oidc_faults.py.
    fault: str | None = None


class Door:
    """The authorization endpoint and the checks of the token endpoint, as OAuth 2 has them with PKCE."""

    def __init__(self, standin: StandIn, name: str, required: list[str]):
        self.standin, self.required = standin, required
        self.client_id, self.client_secret = f"client-of-{name}", f"secret-of-{name}-{secrets.token_urlsafe(12)}"
        #: What is registered there; any while None.
        self.redirect_uri: str | None = None
        self.people: dict[str, Person] = {}
        self.codes: dict[str, Code] = {}
        self.counts: Counter[str] = Counter()

    def complain(self, what: str) -> None:
        self.standin.complaints.append(what)

    def authorize(self, handler: Handler) -> None:
        asked = handler.query
        wrong = [name for name in self.required if not asked.get(name)]
        if asked.get("response_type") != "code" or asked.get("client_id") != self.client_id or wrong:
            self.complain(f"authorization request without {wrong} or for another client: {asked}")
            return handler.json(400, {"error": "invalid_request"})
        if self.redirect_uri is not None and asked["redirect_uri"] != self.redirect_uri:
            self.complain(f"redirect_uri {asked['redirect_uri']} is not registered")
            return handler.json(400, {"error": "invalid_request"})
        if handler.command == "GET":
            return handler.send(200, FORM, "text/html; charset=utf-8")
        back = {"state": asked["state"]}
        if handler.form.get("action") == "deny":
            back |= {"error": "access_denied", "error_description": "<b>no</b>"}
        elif (who := handler.form.get("sub", "")) not in self.people:
            return handler.send(200, FORM, "text/html; charset=utf-8")
        else:
            back["code"] = self.standin.token("code")
            self.codes[back["code"]] = Code(who, asked)
        handler.redirect(302, f"{asked['redirect_uri']}?{urllib.parse.urlencode(back)}")

    def redeem(self, handler: Handler) -> Code | None:
        """The code of a token request, where everything about it is right; else the refusal is sent."""
        form, (client, secret) = handler.form, handler.client()
        self.counts["token"] += 1
        if client != self.client_id or not hmac.compare_digest(secret.encode(), self.client_secret.encode()):
            self.complain(f"the token endpoint was asked as client {client!r} with {'a wrong' if secret else 'no'} secret")
            handler.json(401, {"error": "invalid_client"})
            return None
        with self.standin.lock:
            code = self.codes.get(form.get("code", ""))
            problem = self._problem(form, code)
            if code is not None:
                code.used = True
        if problem:
            if code is not None:  # a code that was never given out is an attacker's doing, not the gateway's
                self.complain(problem)
            handler.json(400, {"error": "invalid_grant", "error_description": problem})
            return None
        return code

    def _problem(self, form: dict, code: Code | None) -> str | None:
        if form.get("grant_type") != "authorization_code":
            return f"grant_type {form.get('grant_type')!r}"
        if code is None:
            return "unknown code"
        if code.used:
            return "a code was sent a second time"
        if form.get("redirect_uri") != code.asked["redirect_uri"]:
            return f"redirect_uri {form.get('redirect_uri')!r} is not the one of the authorization request"
        if "code_challenge" in code.asked:
            verifier = form.get("code_verifier", "")
            if code.asked.get("code_challenge_method") != "S256" or not 43 <= len(verifier) <= 128:
                return f"PKCE by {code.asked.get('code_challenge_method')} with a verifier of {len(verifier)} characters"
            if base64url(hashlib.sha256(verifier.encode()).digest()) != code.asked["code_challenge"]:
                return "the code_verifier does not fit the code_challenge"
        return None


class Realm(Door):
    """One OpenID provider, below a path of its own."""

    def __init__(self, standin: "Providers", name: str):
        super().__init__(standin, name, ["redirect_uri", "scope", "state", "nonce", "code_challenge"])
        self.issuer = f"{standin.base}/{name}"
        self.keys = [Key()]
        #: Keys in the JWKS that sign nothing.
        self.other_jwks: list[dict] = []
        self.publishes_alg = True
        #: The token that is only at the address to which a fault redirects.
        self.elsewhere = ""
        #: Faults of the realm itself: one of the names in oidc_faults.py.
        self.fault: str | None = None

    def settings(self, **more: object) -> dict:
        return {"kind": "oidc", "issuer": self.issuer, "client_id": self.client_id, "client_secret": self.client_secret, **more}

    def discovery(self) -> dict:
        return {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo", "jwks_uri": f"{self.issuer}/jwks", "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"], "code_challenge_methods_supported": ["S256"],
        }

    def jwks(self) -> dict:
        more = {"alg": "RS256", "use": "sig"} if self.publishes_alg else {}
        return {"keys": [*self.other_jwks, *(key.jwk(**more) for key in self.keys)]}

    def claims(self, who: str, nonce: str | None, lifetime: int = 3600) -> dict:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": who, "aud": self.client_id, "iat": now, "exp": now + lifetime, **self.people[who].claims}
        return claims | ({"nonce": nonce} if nonce is not None else {})

    def id_token(self, who: str, nonce: str | None = None) -> str:
        """An ID token as the person's fault has it."""
        claims, fault = self.claims(who, nonce), self.people[who].fault
        if fault in oidc_faults.CLAIMS:
            for name, value in oidc_faults.CLAIMS[fault](self).items():
                if value is oidc_faults.GONE:
                    claims.pop(name, None)
                else:
                    claims[name] = value
        sign = oidc_faults.TOKENS.get(fault)
        made = sign(self, claims) if sign else self.keys[-1].sign(claims)
        with self.standin.lock:
            self.standin.issued.append(made)
        return made

    def give_token(self, handler: Handler) -> None:
        code = self.redeem(handler)
        if code is None:
            return
        answer = {"access_token": self.standin.token("access"), "token_type": "Bearer", "expires_in": 3600, "scope": code.asked["scope"],
                  "refresh_token": self.standin.token("refresh"), "id_token": self.id_token(code.who, code.asked["nonce"])}
        fault = oidc_faults.ANSWERS.get(self.people[code.who].fault)
        if fault:
            fault(handler, self, answer)
        else:
            handler.json(200, answer)


class Providers(StandIn):
    """OpenID providers, each a realm: `providers["google"]` makes one."""

    def __init__(self) -> None:
        super().__init__()
        self.realms: dict[str, Realm] = {}

    def __getitem__(self, name: str) -> Realm:
        if name not in self.realms:
            self.realms[name] = Realm(self, name)
        return self.realms[name]

    def answer(self, handler: Handler) -> None:
        name, _, route = handler.route[1:].partition("/")
        realm = self.realms.get(name)
        if realm is None:
            return handler.json(404, {"error": "no such realm"})
        realm.counts[route] += route != "token"
        fault = oidc_faults.REALMS.get(realm.fault)
        if fault and fault[0] == route:
            return fault[1](handler, realm)
        if route == ".well-known/openid-configuration":
            handler.json(200, realm.discovery())
        elif route == "jwks":
            handler.json(200, realm.jwks())
        elif route == "authorize":
            realm.authorize(handler)
        elif route == "token":
            realm.give_token(handler)
        elif route == "elsewhere":  # where nobody should ever be led to
            handler.json(200, {"access_token": "x", "token_type": "Bearer", "id_token": realm.elsewhere})
        else:
            handler.json(404, {"error": "not found"})


class Discord(StandIn):
    """Discord's OAuth 2 and the two routes that tell who somebody is, and for whom a token was made."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door(self, "discord", ["redirect_uri", "scope", "state"])
        self.door.client_id = "1099511627776000001"
        self.people = self.door.people
        #: Access tokens: whose they are, and for which application they were made.
        self.tokens: dict[str, tuple[str, str]] = {}

    def settings(self, **more: object) -> dict:
        return {"client_id": self.door.client_id, "client_secret": self.door.client_secret, "api_base": f"{self.base}/api", **more}

    def access_token(self, who: str, application: str | None = None) -> str:
        made = self.token("discord")
        self.tokens[made] = (who, application or self.door.client_id)
        return made

    def user(self, who: str) -> dict:
        return {"id": who, "username": f"name-of-{who}", "discriminator": "0", "global_name": "Ännä", "avatar": "0123456789abcdef0123456789abcdef",
                **self.people[who].claims}

    def answer(self, handler: Handler) -> None:
        route = handler.route
        if route.endswith("/oauth2/authorize"):
            self.door.authorize(handler)
        elif route.endswith("/oauth2/token"):
            if code := self.door.redeem(handler):
                handler.json(200, {"access_token": self.access_token(code.who), "token_type": "Bearer", "expires_in": 604800,
                                   "refresh_token": self.token("refresh"), "scope": code.asked["scope"]})
        elif handler.bearer() not in self.tokens:
            handler.json(401, {"message": "401: Unauthorized", "code": 0})
        elif route.endswith("/users/@me"):
            handler.json(200, self.user(self.tokens[handler.bearer()][0]))
        elif route.endswith("/oauth2/@me"):
            who, application = self.tokens[handler.bearer()]
            handler.json(200, {"application": {"id": application, "name": "An application"}, "scopes": ["identify", "email"],
                               "expires": "2099-01-01T00:00:00.000000+00:00", "user": self.user(who)})
        else:
            handler.json(404, {"message": "404: Not Found", "code": 0})
