"""The contract with the clients of the gateway that is replaced: every route and every error, and its configuration file."""

from __future__ import annotations

import re
from pathlib import Path

from checks import case
from contract import Contract, people_world
from contract_admin import operators_routes
from contract_billing import billing_routes
from contract_clients import clients
from contract_desk import desk_routes
from contract_people import peoples_routes
from contract_web import common_rules, models_refusals
from description import Description
from gateway import ROOT, Gateway
from world import World

DOCUMENT = Path(ROOT) / "Sources/COpenAPI/openapi.yaml"
#: Statuses that take a broken server, disk, network or clock: other cases have them.
ELSEWHERE = {"429", "500", "502", "503", "504"}
#: Documented answers that other cases show, and which.
SHOWN_BY: dict[tuple[str, str], dict[str, str]] = {
    ("POST", "/v1/auth/token"): {"200": "the cases of logins"},
    ("POST", "/v1/auth/login"): {"409": "the cases of logins"},
    ("GET", "/v1/auth/lookup"): {"409": "the case login_by_the_operator"},
    ("GET", "/v1/auth/me"): {"404": "nobody: whose person is erased has no credential"},
    ("PATCH", "/v1/billing/subscription/{user_id}"): {"409": "the cases of subscriptions"},
    ("GET", "/v1/ledger/checkpoint"): {"200": "the case proofs"},
}
#: What a provider answered and is passed on, whatever its status.
PASSED_ON = {"405", "415", "422"}


@case
async def contract() -> None:
    """Every route answers as the contract says, to the field and to the word, and so that the desktop and the portal read it."""
    async with people_world() as world:
        description = await Description.of(world.gateway.port)
        world.check.equal(description.text, DOCUMENT.read_text(), "the served description and its file")
        c = Contract(world, description)
        for part in (operators_routes, billing_routes, desk_routes, peoples_routes, models_refusals, common_rules, clients):
            with world.check.about(part.__name__):
                await part(c)
        everything_was_seen(c)


def everything_was_seen(c: Contract) -> None:
    """Each answer that the description has for a route was really there."""
    for (method, path), operation in c.description.operations.items():
        wanted = set(operation["responses"]) - ELSEWHERE - set(SHOWN_BY.get((method, path), {}))
        if "models" in operation["tags"]:
            wanted -= PASSED_ON
        # A body that breaks off is what `limits` and `http` are about; no other 400 is described so.
        if operation["responses"].get("400", {}).get("$ref", "").endswith("/BadBody"):
            wanted.discard("400")
        # Who may do what is what `rights` goes through.
        if operation.get("security") != []:
            wanted -= {"401", "403"}
        unseen = wanted - c.seen.get((method, path), set())
        c.check.that(not unseen, f"{method} {path}: {sorted(unseen)} are described, and were never answered")


# -- the old gateway's file --------------------------------------------------------------------------------------------

OLD_SECRET = "old-jwt-secret-with-more-than-32-bytes-in-it"
OLD_FILE = """\
# gateway.yml of the gateway that is replaced, as its operator has it
database_url: "sqlite:///{folder}/gateway.db"
auto_migrate: true
host: "0.0.0.0"
port: 8000
master_key: ${{OLD_MASTER_KEY}}
jwt_secret: "${{OLD_JWT_SECRET:-{secret}}}"
access_token_exp_minutes: 45
refresh_token_exp_days: 30
auth_base_url: https://portal.example
test_model_override: "up:slow"
image_dump_enabled: true
image_dump_dir: "${{OLD_DUMPS:-/tmp/dumps}}"

providers:
  up:
    api_key: "${{OLD_UP_KEY:-test}}"
    api_base: "http://127.0.0.1:{port}/v1"
    client_args:
      timeout: 60
      headers: {{x-team: cafe}}
  gemini:
    api_key: ${{OLD_GEMINI_KEY}}
    api_base: "http://127.0.0.1:{port}/v1beta"

pricing:
  "up:finish":
    input_price_per_million: 1.0
    output_price_per_million: 2.0
    cached_price_per_million: 0.25
  gemini:talk:
    input_price_per_million: 0.15
    output_price_per_million: 0.60
"""
#: Keys that have no effect here, each of which the operator is told of.
IGNORED = ["auto_migrate", "test_model_override", "image_dump_enabled", "image_dump_dir", "client_args"]
OLD_ENVIRONMENT = {
    "OLD_MASTER_KEY": "overridden-below-by-the-environment", "OLD_GEMINI_KEY": "sk-old-gemini", "GATEWAY_MASTER_KEY": "master-key-of-the-environment-0123456789",
    "GATEWAY_ACCESS_TOKEN_EXP_MINUTES": "20", "GATEWAY_AUTH_BASE_URL": "https://other-portal.example/app",
}


@case
async def old_config() -> None:
    """The old gateway's configuration file starts unchanged, its overrides hold, and what has no effect is named."""
    async with World(["up:finish"], is_audited=False) as world:
        gateway = Gateway(world.provider.port, [], env=OLD_ENVIRONMENT)
        gateway.write_config(OLD_FILE.format(folder=gateway.folder, port=world.provider.port, secret=OLD_SECRET))
        master = OLD_ENVIRONMENT["GATEWAY_MASTER_KEY"]
        try:
            await gateway.start()
            warnings(world, gateway)
            with world.check.about("the environment's master key"):
                world.check.equal((await gateway.api("GET", "/v1/users", key=master)).status, 200, "status with the environment's")
                world.check.equal((await gateway.api("GET", "/v1/users", key=OLD_ENVIRONMENT["OLD_MASTER_KEY"])).status, 401, "status with the file's")
            with world.check.about("the database"):
                world.check.that((gateway.folder / "gateway.db").exists(), f"there is no database where the file says: {sorted(gateway.folder.iterdir())}")
            with world.check.about("prices"):
                cached = [(row["model_key"], row["input_price_per_million"], row["output_price_per_million"], row["cached_price_per_million"])
                          for row in await gateway.wanted("GET", "/v1/pricing", key=None)]
                for row in (("up:finish", 1, 2, 0.25), ("gemini:talk", 0.15, 0.6, None)):
                    world.check.that(row in cached, f"no price {row} in {cached}")
            with world.check.about("logins"):
                await logins(world, gateway, master)
            with world.check.about("models"):
                await models(world, gateway, master)
            world.check.equal(await gateway.stop(), 0, "the exit code")
        finally:
            await gateway.close()


def warnings(world: World, gateway: Gateway) -> None:
    lines = [line for line in gateway.output if "warning" in line.lower()]
    for key in IGNORED:
        found = [line for line in lines if re.search(rf"[\s'.]{key}'", line)]
        world.check.that(found, f"no warning names {key}: {lines}")
    for key in ("jwt_secret", "access_token_exp_minutes", "refresh_token_exp_days", "auth_base_url", "master_key", "database_url"):
        found = [line for line in lines if f"'{key}'" in line]
        world.check.that(not found, f"a key that has its effect is warned of: {found}")
    for secret in (OLD_SECRET, *OLD_ENVIRONMENT.values()):
        if not secret.startswith("https") and len(secret) > 5:
            world.check.that(secret not in "\n".join(gateway.output), "the log shows a secret")


async def logins(world: World, gateway: Gateway, master: str) -> None:
    from contract import parts_of, person

    tokens = (await gateway.wanted("POST", "/v1/auth/login", person(1), key=master))["tokens"]
    _, claims = parts_of(tokens["access_token"])
    world.check.equal(claims["exp"] - claims["iat"], 20 * 60, "seconds that an access token lives, as the environment has it")
    portal = await gateway.wanted("GET", "/v1/auth/authorize?callback_url=cafelua%3A%2F%2Fauth&client_type=desktop", key=None)
    url = portal.get("redirect_url", "")
    world.check.that(url.startswith("https://other-portal.example/app/login?"), f"the portal's login is {url}")
    world.check.that("client_type=desktop" in url and "callback_url=cafelua%3A%2F%2Fauth" in url, f"what the portal is told: {url}")
    me = await gateway.wanted("GET", "/v1/auth/me", key=tokens["access_token"])
    world.check.equal(me["data"]["id"], claims["sub"], "whose token it is")


async def models(world: World, gateway: Gateway, master: str) -> None:
    key = (await gateway.wanted("POST", "/v1/keys", {"user_id": "old"}, key=master))["key"]
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "old", "amount": 10}, key=master)
    for model, tokens in (("up:finish", (11, 8)), ("up/finish", (11, 8)), ("gemini:talk", (31, 17))):
        answer = await gateway.answer(key, model, max_tokens=100)
        if world.check.equal(answer.status, 200, f"status of {model}: {answer}"):
            usage = answer.json["usage"]
            # An override of models for tests would have asked up:slow, which waits.
            world.check.equal((usage["prompt_tokens"], usage["completion_tokens"]), tokens, f"usage of {model}")
