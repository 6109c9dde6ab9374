"""The operator's routes: users, keys, prices, top-ups, and what a user sees of the account."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from decimal import Decimal

import wire
from checks import Checks, case, detail, fields
from gateway import PRICE as FILE_PRICE
from world import World

USER = ("user_id alias email spend budget_id budget_started_at next_budget_reset_at blocked created_at updated_at metadata "
        "linked_accounts")
NEW_KEY = "id key key_name user_id created_at expires_at is_active metadata"
KEY = "id key_name user_id created_at last_used_at expires_at is_active metadata"
PRICE = "model_key input_price_per_million output_price_per_million cached_price_per_million created_at updated_at"
USAGE = ("id user_id api_key_id timestamp model provider endpoint prompt_tokens completion_tokens total_tokens cost status "
         "error_message")
BALANCE = "userId balance credits credits_exact held available pools"


def instant(check: Checks, text: object, what: str) -> None:
    """Times are ISO 8601 in UTC with their offset, and about now."""
    if not check.that(isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", text), f"{what} is {text!r}"):
        return
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(text)
    check.that(abs(age.total_seconds()) < 120, f"{what} is {text}")


def at_least(check: Checks, value: object, names: str, what: str) -> None:
    """Checks that an object has these fields; the contract allows others beside them."""
    if check.that(isinstance(value, dict), f"{what} is no object: {value!r}"):
        missing = set(names.split()) - set(value)
        check.that(not missing, f"{what} lacks {sorted(missing)}: {value!r}")


def missing(check: Checks, response: wire.Response, field: str) -> None:
    """A 422 for a field that is not there."""
    check.equal(response.status, 422, f"status of {response}")
    found = response.json.get("detail")
    if check.that(isinstance(found, list) and found, f"detail is no list: {response}"):
        at_least(check, found[0], "type loc msg", "detail[0]")
        check.equal((found[0].get("type"), found[0].get("loc"), found[0].get("msg")), ("missing", ["body", field], "Field required"), "detail[0]")


@case
async def keys_users_pricing() -> None:
    """Users, keys and prices are made, listed, changed and deleted as the contract says, to the field."""
    async with World(["up:finish", "up:no-usage", "up:slow", "up:comments", "up:dropped"]) as world:
        await users(world)
        await keys(world)
        await prices(world)
        await pages(world)


async def users(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("making a user"):
        made = await gateway.wanted("POST", "/v1/users", {"user_id": "alice", "alias": "Älice", "metadata": {"plan": "x", "n": [1]}})
        fields(check, made, USER, "the user")
        check.equal((made["user_id"], made["alias"], made["metadata"], made["blocked"]), ("alice", "Älice", {"plan": "x", "n": [1]}, False), "what was given")
        check.equal((made["spend"], made["email"], made["budget_id"], made["linked_accounts"]), (0, None, None, []), "what was not given")
        for name in ("created_at", "updated_at"):
            instant(check, made[name], name)
        check.equal(Decimal(str((await gateway.balance("alice"))["credits"])), 0, "credits of a new user: no bonus by this door")
    with check.about("refusals"):
        detail(check, await gateway.api("POST", "/v1/users", {"user_id": "alice"}), 409, "User with id 'alice' already exists")
        missing(check, await gateway.api("POST", "/v1/users", {"alias": "x"}), "user_id")
        for method in ("GET", "PATCH", "DELETE"):
            response = await gateway.api(method, "/v1/users/nobody", {} if method == "PATCH" else None)
            detail(check, response, 404, "User with id 'nobody' not found")
        detail(check, await gateway.api("GET", "/v1/users/nobody/usage"), 404, "User with id 'nobody' not found")
        detail(check, await gateway.api("POST", "/v1/billing/topup", {"user_id": "nobody", "amount": 1}), 404, "User not found")
    with check.about("reading and changing"):
        check.equal(await gateway.wanted("GET", "/v1/users/alice"), made, "the user read again")
        changed = await gateway.wanted("PATCH", "/v1/users/alice", {"alias": "A", "metadata": {"new": True}, "blocked": True})
        check.equal((changed["alias"], changed["metadata"], changed["blocked"]), ("A", {"new": True}, True), "what was changed")
        check.equal(changed["created_at"], made["created_at"], "created_at")
        check.that(changed["updated_at"] > made["updated_at"], f"updated_at did not move: {changed['updated_at']}")
        kept = await gateway.wanted("PATCH", "/v1/users/alice", {"blocked": False})
        check.equal((kept["alias"], kept["metadata"], kept["blocked"]), ("A", {"new": True}, False), "what another change keeps")
    with check.about("odd ids"):
        for name in ("a b", "ü@example.com", "a/b", "x" * 255, "%41"):
            await gateway.wanted("POST", "/v1/users", {"user_id": name})
            found = await gateway.wanted("GET", f"/v1/users/{urllib.parse.quote(name, safe='')}")
            check.equal(found["user_id"], name, "the user's id")
    with check.about("deleting"):
        key = await gateway.user("gone", 5)
        check.equal((await gateway.answer(key, "up:finish")).status, 200, "status of a request before")
        response = await gateway.api("DELETE", "/v1/users/gone")
        check.equal((response.status, response.body), (204, b""), "the deletion")
        gateway.users.remove("gone")
        detail(check, await gateway.api("GET", "/v1/users/gone"), 404, "User with id 'gone' not found")
        check.equal((await gateway.answer(key, "up:finish")).status, 401, "status of a request with the old key")
        listed = {user["user_id"] for user in await gateway.wanted("GET", "/v1/users")}
        check.that("alice" in listed and "gone" not in listed, f"the list of users: {listed}")
        check.that([e for e in await gateway.events() if e["account"] == "gone" and e["name"] == "request_charged"], "the ledger lost the charge")
        again = await gateway.wanted("POST", "/v1/keys", {"user_id": "gone"})
        check.equal((await gateway.answer(again["key"], "up:finish")).status, 200, "status of a request of the user who is created anew with a key")
        check.equal((await gateway.wanted("GET", "/v1/users/gone"))["blocked"], False, "blocked")


async def keys(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("making a key"):
        made = await gateway.wanted("POST", "/v1/keys", {"user_id": "alice", "key_name": "desktop-alice", "metadata": {"a": 1}, "expires_at": "2099-01-01T00:00:00Z"})
        fields(check, made, NEW_KEY, "the new key")
        check.that(re.fullmatch(r"gw-[A-Za-z0-9_-]{64}", made["key"]), f"the key's form: {made['key']}")
        check.equal((made["key_name"], made["user_id"], made["is_active"], made["metadata"]), ("desktop-alice", "alice", True, {"a": 1}), "what was given")
        check.equal(datetime.datetime.fromisoformat(made["expires_at"]), datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc), "expires_at")
        instant(check, made["created_at"], "created_at")
        own = await gateway.wanted("POST", "/v1/keys", {})
        check.equal(own["user_id"], f"apikey-{own['id']}", "the user of a key without user_id")
        newcomer = await gateway.wanted("POST", "/v1/keys", {"user_id": "newcomer"})
        check.equal((await gateway.wanted("GET", "/v1/users/newcomer"))["user_id"], "newcomer", "a user that a key created")
        check.equal((newcomer["key_name"], newcomer["expires_at"], newcomer["metadata"]), (None, None, {}), "what was not given")
    with check.about("reading and changing"):
        found = await gateway.wanted("GET", f"/v1/keys/{made['id']}")
        fields(check, found, KEY, "the key")
        check.equal(found["last_used_at"], None, "last_used_at of an unused key")
        changed = await gateway.wanted("PATCH", f"/v1/keys/{made['id']}", {"key_name": "other", "metadata": {"b": 2}, "expires_at": None})
        check.equal((changed["key_name"], changed["metadata"], changed["expires_at"], changed["is_active"]), ("other", {"b": 2}, None, True), "what was changed")
        fields(check, changed, KEY, "the changed key")
    with check.about("listing"):
        listed = await gateway.wanted("GET", "/v1/keys")
        check.that({made["id"], own["id"], newcomer["id"]} <= {key["id"] for key in listed}, "the list lacks keys")
        for key in listed:
            fields(check, key, KEY, "a listed key")
        check.equal({key["user_id"] for key in await gateway.wanted("GET", "/v1/keys?user_id=alice")}, {"alice"}, "users of the keys of alice")
        check.equal(await gateway.wanted("GET", "/v1/keys?user_id=unheard-of"), [], "keys of an unknown user")
        check.that("gw-" not in (await gateway.api("GET", "/v1/keys")).text, "the list shows keys")
    with check.about("deleting"):
        response = await gateway.api("DELETE", f"/v1/keys/{made['id']}")
        check.equal((response.status, response.body), (204, b""), "the deletion")
        for method in ("GET", "PATCH", "DELETE"):
            response = await gateway.api(method, f"/v1/keys/{made['id']}", {} if method == "PATCH" else None)
            detail(check, response, 404, f"API key with id '{made['id']}' not found")
    with check.about("usage outlives its key"):
        key = await gateway.wanted("POST", "/v1/keys", {"user_id": "newcomer"})
        await gateway.top_up("newcomer", 5)
        check.equal((await gateway.answer(key["key"], "up:finish")).status, 200, "status")
        await gateway.api("DELETE", f"/v1/keys/{key['id']}")
        rows = await wire.eventually(lambda: gateway.usage("newcomer"), "the usage log has the request")
        check.equal([row["api_key_id"] for row in rows], [key["id"]], "keys in the usage log")


async def prices(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("setting a price"):
        given = {"model_key": "up:echo-request", "input_price_per_million": 0.123456, "output_price_per_million": 7.5}
        made = await gateway.wanted("POST", "/v1/pricing", given)
        fields(check, made, PRICE, "the price")
        check.equal({name: made[name] for name in given}, given, "what was given")
        check.equal(made["cached_price_per_million"], None, "the cached price that was not given")
        for name in ("created_at", "updated_at"):
            instant(check, made[name], name)
        check.equal(await gateway.wanted("GET", "/v1/pricing/up:echo-request", key=None), made, "the price read again")
        check.that(made in await gateway.wanted("GET", "/v1/pricing?limit=1000", key=None), "the list lacks the price")
        changed = await gateway.wanted("POST", "/v1/pricing", {**given, "cached_price_per_million": 0.5})
        check.equal((changed["cached_price_per_million"], changed["created_at"]), (0.5, made["created_at"]), "the changed price")
    with check.about("a price of everything that is sold"):
        whole = {**given, "cache_write_price_per_million": 1.5, "cache_write_1h_price_per_million": 2.25, "web_search_price_per_thousand": 10,
                 "long_context": {"above_prompt_tokens": 200000, "input_price_per_million": 2, "output_price_per_million": 6,
                                  "cached_price_per_million": 0.2}}
        made = await gateway.wanted("POST", "/v1/pricing", whole)
        check.equal({name: made.get(name) for name in whole}, whole, "a price with everything")
        check.equal(await gateway.wanted("GET", "/v1/pricing/up:echo-request", key=None), made, "the price with everything read again")
        for field, value in (("above_prompt_tokens", 0), ("above_prompt_tokens", 1.5), ("input_price_per_million", -1)):
            response = await gateway.api("POST", "/v1/pricing", {**whole, "long_context": {**whole["long_context"], field: value}})
            check.equal(response.status, 422, f"status with {field} = {value} in long_context")
        check.equal((await gateway.api("POST", "/v1/pricing", {**whole, "long_context": {"above_prompt_tokens": 5}})).status, 422, "without prices")
        await gateway.wanted("POST", "/v1/pricing", {**given, "cached_price_per_million": 0.5})
    with check.about("refusals"):
        detail(check, await gateway.api("GET", "/v1/pricing/up:none"), 404, "Pricing for model 'up:none' not found")
        detail(check, await gateway.api("DELETE", "/v1/pricing/up:none"), 404, "Pricing for model 'up:none' not found")
        missing(check, await gateway.api("POST", "/v1/pricing", {"input_price_per_million": 1, "output_price_per_million": 1}), "model_key")
        missing(check, await gateway.api("POST", "/v1/pricing", {"model_key": "up:x", "output_price_per_million": 1}), "input_price_per_million")
    with check.about("a model whose name has slashes"):
        name = "up:meta/llama-3/8b"
        await gateway.wanted("POST", "/v1/pricing", {**given, "model_key": name})
        check.equal((await gateway.wanted("GET", f"/v1/pricing/{name}"))["model_key"], name, "model_key")
        check.equal((await gateway.api("DELETE", f"/v1/pricing/{name}")).status, 204, "status of the deletion")
        check.equal((await gateway.api("GET", f"/v1/pricing/{name}")).status, 404, "status afterwards")
    with check.about("the price at admission counts"):
        key = await gateway.user("payer", 10)
        response = await gateway.answer(key, "up:echo-request", max_tokens=50)
        # 8 tokens in at 0.123456, 3 cached at 0.5, 8 out at 7.5 USD per million, 10 credits a dollar
        expected = (Decimal("0.123456") * 8 + Decimal("0.5") * 3 + Decimal("7.5") * 8) / 10**5
        check.equal(Decimal(response.header("x-ledger-charged-credits") or 0), expected.quantize(Decimal("1e-9"), rounding="ROUND_UP"), "charged credits")
    with check.about("a price that changes in mid-request"):
        async with gateway.chat(key, "up:slow", case="repriced", max_tokens=50) as exchange:
            await world.provider.received("repriced")
            await gateway.wanted("POST", "/v1/pricing", {"model_key": "up:slow", "input_price_per_million": 99, "output_price_per_million": 99})
            await world.provider.step("repriced", everything=True)
            response = await exchange.rest()
        # 11 tokens in at 1, 20 out at 2 USD per million
        check.equal(Decimal(response.header("x-ledger-charged-credits") or 0), Decimal("0.00051"), "charged credits")
    with check.about("an API's price outlives a restart; the file's does not overwrite it"):
        await gateway.wanted("POST", "/v1/pricing", {"model_key": "up:finish", "input_price_per_million": 3, "output_price_per_million": 4})
        # Equal to the file's, and the API's all the same.
        await gateway.wanted("POST", "/v1/pricing", {"model_key": "up:comments", **FILE_PRICE})
        gateway.config["pricing"]["up:comments"]["input_price_per_million"] = 5.0
        gateway.config["pricing"]["up:no-usage"]["output_price_per_million"] = 6.0
        del gateway.config["pricing"]["up:dropped"]
        gateway.write_config()
        await gateway.restart()
        check.equal((await gateway.wanted("GET", "/v1/pricing/up:comments"))["input_price_per_million"], 1, "a price that the API set as the file had it")
        check.equal((await gateway.wanted("GET", "/v1/pricing/up:no-usage"))["output_price_per_million"], 6, "a price that follows the file")
        warned = [line for line in gateway.output if "up:dropped" in line and "stays in force" in line]
        check.that(warned, "no warning of a price that the file no longer has")
        check.equal((await gateway.wanted("GET", "/v1/pricing/up:finish"))["input_price_per_million"], 3, "the input price")
        check.equal((await gateway.wanted("GET", "/v1/pricing/up:no-usage"))["input_price_per_million"], 1, "another's input price")
    with check.about("deleting"):
        check.equal((await gateway.api("DELETE", "/v1/pricing/up:finish")).status, 204, "status")
        check.equal((await gateway.answer(key, "up:finish")).status // 100, 4, "class of status of a request without a price")


async def pages(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("pages"):
        for number in range(25):
            await gateway.wanted("POST", "/v1/users", {"user_id": f"paged-{number:02}"})
            await gateway.wanted("POST", "/v1/keys", {"user_id": "paged-00"})
        for path, name in (("/v1/users?", "user_id"), ("/v1/keys?user_id=paged-00&", "id"), ("/v1/pricing?", "model_key")):
            everything = [row[name] for row in await gateway.wanted("GET", f"{path}skip=0&limit=1000")]
            paged: list[str] = []
            while page := await gateway.wanted("GET", f"{path}skip={len(paged)}&limit=7"):
                paged += [row[name] for row in page]
            check.equal(paged, everything, f"{path}: the pages and the whole")
            check.equal(len(set(everything)), len(everything), f"{path}: rows that are there once")


@case
async def balance_and_usage() -> None:
    """A user's balance and usage log show what happened, in the contract's shapes."""
    async with World(["up:finish", "up:no-usage", "up:refuse-500", "up:slow"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice")
        with check.about("top-up"):
            response = await gateway.top_up("alice", "10")
            check.equal(response.json, {"success": True, "detail": "Added 10.0 credits"}, "the answer")
        await balance_shape(world, key)
        for model in ("up:finish", "up:no-usage", "up:refuse-500"):
            await gateway.answer(key, model)
        await gateway.api("POST", "/v1/chat/completions", {"model": "up:finish", "user": "alice", "messages": []})
        await gateway.answer(key, "up/finish", stream=True)
        await usage_shape(world)
        with check.about("the balance afterwards"):
            events = await gateway.events()
            charged = sum(int(e["data"]["credits"]) for e in events if e["name"] == "request_charged")
            data = await world.settled("alice")
            left = 10 - Decimal(charged).scaleb(-9)
            check.equal(Decimal(data["credits_exact"]), left, "credits_exact")
            check.equal(Decimal(str(data["balance"])), left * 100_000, "balance in micro-dollars")
            spend = (await gateway.wanted("GET", "/v1/users/alice"))["spend"]
            check.that(abs(Decimal(str(spend)) - Decimal(charged).scaleb(-10)) < Decimal("1e-8"), f"spend is {spend}")


async def balance_shape(world: World, key: str) -> None:
    check, gateway = world.check, world.gateway
    with check.about("balance"):
        response = await gateway.api("GET", "/v1/profile/balance", key=key)
        check.equal(response.json["success"], True, "success")
        data = response.json["data"]
        at_least(check, data, BALANCE, "data")
        check.equal((data["userId"], data["balance"], data["credits"]), ("alice", 1_000_000, 10), "the account")
        check.that(isinstance(data["balance"], (int, float)) and isinstance(data["credits_exact"], str), "types")
        check.equal((Decimal(data["credits_exact"]), data["held"], data["available"]), (10, 0, 10), "credits, held and available")
        async with gateway.chat(key, "up:slow", case="held", max_tokens=100) as exchange:
            await world.provider.received("held")
            data = await gateway.balance("alice")
            check.that(data["held"] > 0, f"nothing is held: {data}")
            check.equal(data["available"], Decimal(data["credits_exact"]) - data["held"], "available")
            await world.provider.step("held", everything=True)
            await exchange.rest()


async def usage_shape(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("usage log"):
        async def six() -> list | None:
            rows = await gateway.usage("alice")
            return rows if len(rows) == 6 else None

        rows = await wire.eventually(six, "the usage log has six rows")
        for row in rows:
            at_least(check, row, USAGE, "a row")
            instant(check, row["timestamp"], "timestamp")
            check.equal((row["user_id"], row["provider"], row["endpoint"]), ("alice", "up", "/v1/chat/completions"), "a row")
            check.equal(row["total_tokens"], row["prompt_tokens"] + row["completion_tokens"], "total_tokens")
        check.equal([row["model"] for row in rows], ["finish", "finish", "refuse-500", "no-usage", "finish", "slow"], "models, newest first")
        check.equal([row["status"] for row in rows], ["success", "success", "error", "success", "success", "success"], "statuses")
        check.that(rows[2]["error_message"] and rows[0]["error_message"] is None, "error messages")
        check.equal(rows[1]["api_key_id"], None, "the key of a request by the master key")
        check.equal((rows[0]["prompt_tokens"], rows[0]["completion_tokens"]), (11, 8), "tokens")
        check.that(abs(Decimal(str(rows[0]["cost"])) - Decimal("0.00002475")) < Decimal("1e-12"), f"cost is {rows[0]['cost']}")
        page = await gateway.wanted("GET", "/v1/users/alice/usage?skip=1&limit=2")
        check.equal(page, rows[1:3], "a page")
