"""Every route with every kind of credential, and that refusals tell nobody what exists."""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import dataclass

import wire
from checks import case
from contract import (
    AUDITOR_KEY, BILLING_KEY, JWT_SECRET, Contract, code_of, login, order_message, parts_of, people_world, shop_signature, signed, url)
from description import Description
from gateway import MASTER_KEY
from rights_table import CREDENTIALS, FAULTS, KINDS, MASTERS, OK, OTHERS, OWNERS, ROUTES, Route
from world import World

MASTER_KEYS = {"operator": MASTER_KEY, "billing": BILLING_KEY, "auditor": AUDITOR_KEY}


@case
async def rights() -> None:
    """Each route gives each kind of credential what the table of rights says, and no refusal tells what exists."""
    async with people_world() as world:
        description = await Description.of(world.gateway.port)
        table_is_whole(world, description)
        walk = Walk(Contract(world, description))
        await walk.prepare()
        for route in ROUTES:
            for credential in CREDENTIALS:
                with world.check.about(route.method, route.path, route.query or "", "with", credential):
                    await walk.cell(route, credential)
        with world.check.about("another's resources"):
            await own_data_only(walk)
        with world.check.about("what does not exist"):
            await no_oracle(walk)


def table_is_whole(world: World, description: Description) -> None:
    """The table has the routes of the description, no more and no fewer, and a cell for every credential."""
    tabled, described = {(route.method, route.path) for route in ROUTES}, set(description.operations)
    world.check.that(not described - tabled, f"routes that the table lacks: {sorted(described - tabled)}")
    world.check.that(not tabled - described, f"routes that the description lacks: {sorted(tabled - described)}")
    for kind, cells in KINDS.items():
        world.check.equal(set(cells), set(CREDENTIALS), f"credentials of the kind {kind}")
    for (method, path), operation in description.operations.items():
        is_open = any(route.kind == "open" for route in ROUTES if (route.method, route.path) == (method, path))
        world.check.equal(operation.get("security") == [], is_open, f"whether {method} {path} is described as open")


@dataclass
class Person:
    user: str
    key: str
    access: str
    refresh: str

    @property
    def session(self) -> str:
        return parts_of(self.access)[1]["sid"]


class Walk:
    def __init__(self, contract: Contract):
        self.c, self.check, self.gateway = contract, contract.check, contract.gateway
        self.numbers = itertools.count(1)
        self.faulty: dict[str, dict[str, str]] = {}
        self.owner: Person | None = None
        self.other: Person | None = None

    # -- credentials

    async def person(self, number: int | str) -> Person:
        tokens = await login(self.gateway, number)
        user = parts_of(tokens["access_token"])[1]["sub"]
        return Person(user, await self.gateway.key(user), tokens["access_token"], tokens["refresh_token"])

    async def prepare(self) -> None:
        """Two people, and a credential of each kind that does not count."""
        self.owner, self.other = await self.person(1), await self.person(2)
        for each in (self.owner, self.other):
            self.gateway.users.append(each.user)
            await self.gateway.top_up(each.user, 100)
        header, claims = parts_of(self.owner.access)
        now = int(time.time())
        hour_ago = {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}
        inactive = await self.gateway.wanted("POST", "/v1/keys", {"user_id": self.owner.user})
        await self.gateway.wanted("PATCH", f"/v1/keys/{inactive['id']}", {"is_active": False})
        deleted = await self.gateway.wanted("POST", "/v1/keys", {"user_id": self.owner.user})
        await self.gateway.api("DELETE", f"/v1/keys/{deleted['id']}")
        revoked = await login(self.gateway, 1)
        await self.gateway.api("POST", "/v1/auth/logout", {"refresh_token": revoked["refresh_token"]}, key=None)
        erased = await self.person(3)
        await self.gateway.api("DELETE", f"/v1/users/{erased.user}")
        bearers = {
            "unknown key": "gw-" + "A" * 64, "key in another case": self.owner.key[:3] + self.owner.key[3:].swapcase(), "inactive key": inactive["key"],
            "expired key": await self.gateway.key(self.owner.user, expires_at="2020-01-01T00:00:00Z"), "deleted key": deleted["key"],
            "expired JWT": signed(header, claims | hour_ago, JWT_SECRET), "JWT of another secret": signed(header, claims, JWT_SECRET + "x"),
            "JWT without signature": signed({**header, "alg": "none"}, claims, None), "JWT of another audience": signed(header, {**claims, "aud": "portal"}, JWT_SECRET),
            "JWT of another issuer": signed(header, {**claims, "iss": "https://evil.example"}, JWT_SECRET),
            "JWT of another user's session": signed(header, {**claims, "sid": self.other.session}, JWT_SECRET),
            "JWT of no session": signed(header, {**claims, "sid": "unheard-of"}, JWT_SECRET), "JWT of a revoked session": revoked["access_token"],
            "key of an erased user": erased.key, "JWT of an erased user": erased.access,
        }
        self.faulty = {name: {"authorization": f"Bearer {token}"} for name, token in bearers.items()}
        self.faulty |= {"none": {}, "malformed": {"authorization": self.owner.key}}
        self.check.equal(set(self.faulty), set(FAULTS), "faulty credentials")
        with self.check.about("a token that we signed ourselves"):
            # Else the forgeries would be refused for how we sign.
            own = signed(header, {**claims, "jti": "of-our-own"}, JWT_SECRET)
            response = await self.gateway.api("GET", "/v1/auth/me", key=own)
            self.check.equal(response.status, 200, f"status of {response}")

    async def headers(self, credential: str, people: dict[str, Person]) -> dict[str, str]:
        if credential in FAULTS:
            return self.faulty[credential]
        if credential in MASTERS:
            return {"authorization": f"Bearer {MASTER_KEYS[credential]}"}
        whose = people["owner" if credential in OWNERS else "other"]
        return {"authorization": f"Bearer {whose.key if credential.endswith('key') else whose.access}"}

    # -- cells

    async def made(self, name: str) -> str:
        """Something of the owner's that one call may destroy."""
        number = next(self.numbers)
        if name == "n":
            return str(number)
        if name == "owner":
            return self.owner.user
        if name == "session":
            return self.owner.session
        if name == "key":
            return (await self.gateway.wanted("POST", "/v1/keys", {"user_id": self.owner.user}))["id"]
        if name == "budget":
            return (await self.gateway.wanted("POST", "/v1/budgets", {"max_budget": 1}))["budget_id"]
        if name == "price":
            price = {"model_key": f"up:price-{number}", "input_price_per_million": 1, "output_price_per_million": 1}
            return (await self.gateway.wanted("POST", "/v1/pricing", price))["model_key"]
        if name == "charge":
            return (await self.gateway.answer(self.owner.key, "up:finish", max_tokens=9)).header("x-request-id")
        if name == "delivery":
            # Of nobody: it waits for an operator.
            body = order_message(f"rights-{number}", None)
            return (await self.gateway.wanted("POST", "/v1/webhooks/lemonsqueezy", body=body, headers=shop_signature(body), key=None))["delivery"]
        user = f"{name}-{number}"
        await self.gateway.wanted("POST", "/v1/users", {"user_id": user})
        if name == "subscriber":
            await self.gateway.wanted("POST", "/v1/billing/subscription", {"user_id": user, "plan_name": "BASIC"})
        if name == "hooked":
            await self.gateway.wanted("PUT", f"/v1/users/{user}/webhook", {"url": "http://127.0.0.1:9/hook"})
        if name == "payment":
            await self.gateway.wanted("POST", "/v1/billing/topup", {"user_id": user, "amount": 1, "payment_id": user})
            return f"api:{user}"
        return user

    async def filled(self, route: Route) -> tuple[object, dict, dict]:
        """Value, parameters and query of a route, with what they name made anew."""
        text = json.dumps([route.value, route.params, route.query])
        for name in dict.fromkeys(re.findall(r"{([a-z]+)}", text)):
            text = text.replace("{" + name + "}", await self.made(name))
        return tuple(json.loads(text))

    async def cell(self, route: Route, credential: str) -> None:
        cell = KINDS[route.kind][credential]
        if "/v1/auth/sessions" in route.path and credential in OWNERS + OTHERS:
            # What ends sessions must not end those of the other cells.
            self.owner, self.other = await self.person(1), await self.person(2)
        headers = await self.headers(credential, {"owner": self.owner, "other": self.other})
        value, params, query = await self.filled(route)
        status, code = (route.status, route.code) if cell == OK else cell
        response = await self.c.call(route.method, route.path, status, value=value, key=None, headers=headers, params=params, query=query, kind=self.kind_of(route, status))
        if response.status == status and (code is not None or status >= 400):
            self.check.equal(code_of(response.json), code, "the code")
        if response.status >= 400:
            for text in (*headers.values(), self.owner.key, MASTER_KEY):
                self.check.that(text.removeprefix("Bearer ") not in response.text, "the answer repeats a credential")
        if cell == OK and route.kind.startswith("profile") and credential in OWNERS + OTHERS:
            self.names_only(response, self.owner if credential in OWNERS else self.other)

    @staticmethod
    def kind_of(route: Route, status: int) -> str:
        if status != 200:
            return "application/json"
        kinds = {"/openapi.yaml": "application/yaml", "/v1/auth/login": "text/html", "/v1/ledger/keys": "text/plain", "/v1/exports/{kind}": "text/csv"}
        return kinds.get(route.path if route.method == "GET" else "", "application/json")

    def names_only(self, response: wire.Response, person: Person) -> None:
        """An answer is about this person and not about the other."""
        stranger = self.other if person is self.owner else self.owner
        self.check.that(stranger.user not in response.text, f"it names somebody else: {response}")


async def own_data_only(walk: Walk) -> None:
    """Naming somebody else changes nothing: one's own credential counts."""
    check, gateway, owner, other = walk.check, walk.gateway, walk.owner, walk.other
    for credential in (other.key, other.access):
        for user in (owner.user, "nobody-at-all", ""):
            for path in ("/v1/profile/balance", "/v1/profile", "/v1/auth/me"):
                with check.about(path, f"?user={user}"):
                    response = await gateway.api("GET", f"{path}?user={user}", key=credential)
                    check.equal(response.status, 200, f"status of {response}")
                    check.that(other.user in response.text and owner.user not in response.text, f"it is not about who asks: {response}")
    for path, body in (
            ("/v1/chat/completions", {"model": "up:finish", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "user": owner.user}),
            ("/v1/messages", {"model": "ant:talk", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": owner.user}})):
        with check.about(path, "in another's name"):
            before = (await walk.c.world.settled(owner.user))["credits_exact"], (await walk.c.world.settled(other.user))["credits_exact"]
            response = await gateway.api("POST", path, body, key=other.access)
            check.equal(response.status, 200, f"status of {response}")
            after = (await walk.c.world.settled(owner.user))["credits_exact"], (await walk.c.world.settled(other.user))["credits_exact"]
            check.equal(after[0], before[0], "the balance of who was named")
            check.that(after[1] != before[1], "who asked was not charged")


async def no_oracle(walk: Walk) -> None:
    """To who may not see it, what exists and what does not look the same: status, body and headers."""
    check, gateway = walk.check, walk.gateway
    key = (await gateway.wanted("POST", "/v1/keys", {"user_id": walk.owner.user}))["id"]
    budget = (await gateway.wanted("POST", "/v1/budgets", {"max_budget": 1}))["budget_id"]
    model = {"model": "up:finish", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    pairs: list[tuple[str, str, str, object]] = [
        (method, path, id, value)
        for path, id in (("/v1/keys/{id}", key), ("/v1/budgets/{id}", budget), ("/v1/users/{id}", walk.owner.user))
        for method, value in (("GET", None), ("PATCH", {}), ("DELETE", None))]
    pairs += [
        ("GET", "/v1/users/{id}/usage", walk.owner.user, None), ("PATCH", "/v1/billing/subscription/{id}", walk.owner.user, {"status": "CANCELLED"}),
        ("DELETE", "/v1/pricing/{id}", "up:finish", None), ("DELETE", "/v1/auth/sessions/{id}", walk.owner.session, None),
        ("POST", "/v1/users", walk.owner.user, {"user_id": "{id}"}), ("POST", "/v1/keys", walk.owner.user, {"user_id": "{id}"}),
        ("POST", "/v1/billing/topup", walk.owner.user, {"user_id": "{id}", "amount": 1}),
        ("POST", "/v1/billing/subscription", walk.owner.user, {"user_id": "{id}", "plan_name": "BASIC"}),
        ("POST", "/v1/billing/adjustments", walk.owner.user, {"user_id": "{id}", "amount": 1, "reason": "x"}),
        ("POST", "/v1/billing/refunds", await walk.made("payment"), {"payment_id": "{id}", "reason": "x"}),
        ("POST", "/v1/ledger/charges/{id}/reverse", await walk.made("charge"), {"reason": "x"}),
        *[("POST", "/v1/billing/deliveries/{id}/" + what, await walk.made("delivery"), {"reason": "x"}) for what in ("retry", "resolve")],
        ("POST", "/v1/billing/checkout?user={id}", walk.owner.user, {"product": "1001"}),
        ("GET", "/v1/auth/lookup?email={id}", "person-1@example.com", None), ("POST", "/v1/auth/login", "google", {"provider": "{id}", "provider_account_id": "1"}),
        ("GET", "/v1/profile/balance?user={id}", walk.owner.user, None), ("GET", "/v1/profile/logs?api_key_id={id}", key, None),
        ("GET", "/v1/profile/usage?user={id}", walk.owner.user, None), ("GET", "/v1/profile/keys?user={id}", walk.owner.user, None),
        ("POST", "/v1/auth/logout", walk.owner.refresh, {"refresh_token": "{id}"}),
    ]
    credentials = {"nobody": None, "another's key": walk.other.key, "another's JWT": walk.other.access}
    for method, path, id, value in pairs:
        for name, credential in credentials.items():
            if path == "/v1/auth/logout" and name != "nobody":
                continue
            with check.about(method, path, "for", name):
                answers = [await seen(gateway, method, path, one, value, credential) for one in (id, unheard_of(id))]
                check.equal(answers[0], answers[1], "the answer for what exists, and for what does not")
    with check.about("in another's name"):
        answers = []
        for user in (walk.owner.user, unheard_of(walk.owner.user)):
            response = await gateway.api("POST", "/v1/chat/completions", {**model, "user": user}, key=walk.other.key)
            answers.append((response.status, response.json.get("choices")))
        check.equal(answers[0], answers[1], "the answers")
    with check.about("in the end"):
        # The refusals above really did nothing.
        for path, id in (("/v1/keys/{id}", key), ("/v1/budgets/{id}", budget), ("/v1/users/{id}", walk.owner.user)):
            check.equal((await gateway.api("GET", url(path, {"id": id}, None))).status, 200, f"status of {path}")


def unheard_of(id: str) -> str:
    """An id of the same form and length, which nothing has."""
    swapped = {"0": "1", "a": "b", "e": "f", "n": "m"}
    changed = "".join(swapped.get(letter, letter) if letter in "0aen" else letter for letter in id)
    return changed if changed != id else "z" + id[1:]


async def seen(gateway, method: str, path: str, id: str, value: object, credential: str | None) -> tuple:
    """An answer without what differs between any two: the echoed id, and the names of the request."""
    filled = json.loads(json.dumps(value).replace("{id}", id))
    response = await gateway.api(method, path.replace("{id}", id.replace("@", "%40")), filled, key=credential)
    headers = sorted((name.lower(), text) for name, text in response.headers if name.lower() not in ("date", "x-request-id"))
    # Instants within a window that ends now differ by when it was asked.
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "{instant}", response.text.replace(id, "{id}"))
    return response.status, text, headers
