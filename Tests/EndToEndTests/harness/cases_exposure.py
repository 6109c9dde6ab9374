"""What providers report beyond what was held is charged to nobody, told to the operator and in every book; and whose failures open a circuit."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import defaultdict
from decimal import Decimal

import wire
from cases_spending import Listener
from checks import Checks, case
from world import CACHED, INPUT, OUTPUT, World, settlement

NANO = Decimal(10) ** -9
PICO = Decimal(10) ** -12
#: The most tokens of one class that are believed.
MOST = 2**31
#: What a pico-USD figure has to be divided by for nano-credits, at ten credits a dollar.
RATE = 100


# -- what a provider is told to answer ---------------------------------------------------------------------------------


def usage(prompt: int, completion: int, **more: object) -> dict:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def whole(report: dict | None, served: str, text: str | None = "Hello.", finish: str = "stop", **more: object) -> str:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    value = {"id": "chatcmpl-9", "object": "chat.completion", "created": 1, "model": served, "choices": [choice], **more}
    return json.dumps(value | ({"usage": report} if report is not None else {}), ensure_ascii=False)


def event(value: object) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def chunk(delta: dict | None, served: str, finish: str | None = None, **more: object) -> str:
    """A chunk of a chat stream; without a delta, one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return event({"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": served, "choices": choices, **more})


def streamed(report: dict | None, served: str, text: str = "Hello.") -> list[str]:
    parts = [chunk({"role": "assistant", "content": ""}, served), chunk({"content": text}, served), chunk({}, served, "stop")]
    return parts + ([chunk(None, served, usage=report)] if report is not None else []) + ["data: [DONE]\n\n"]


JSON_TYPE = [["content-type", "application/json"]]


async def script(world: World, name: str, report: dict | None, served: str | None = None) -> None:
    """Makes a model answer with a usage report: `NAME` in one piece, and `NAME-s` in a stream."""
    await world.provider.script(name, [whole(report, served or name)], headers=JSON_TYPE, framing="length")
    await world.provider.script(f"{name}-s", streamed(report, served or f"{name}-s"))


def with_streams(names: list[str]) -> list[str]:
    return [f"up:{name}{end}" for name in names for end in ("", "-s")]


async def say_hi(world: World, key: str, model: str, text: str = "hi", **more: object) -> wire.Response:
    return await world.gateway.answer(key, model, messages=[{"role": "user", "content": text}], **more)


# -- what must be true of every charge ---------------------------------------------------------------------------------


async def sound(world: World) -> list[dict]:
    """Waits until nothing is held; then no charge is above its hold, each says what was beyond, and nobody owes anything."""
    check, gateway = world.check, world.gateway
    for user in gateway.users:
        data = await world.settled(user)
        check.that(data["credits"] >= 0 and data["available"] >= 0, f"the balance of {user}: {data}")
    events = await gateway.events()
    holds = {e["data"]["request"]: e["data"] for e in events if e["name"] == "hold_placed"}
    for found in events:
        if found["name"] == "request_charged":
            with check.about("charge of", found["data"]["model"]):
                check_bounded(check, found, holds[found["data"]["request"]])
    return events


def check_bounded(check: Checks, found: dict, hold: dict) -> None:
    data = found["data"]
    credits, excess, held = int(data["credits"]), int(data["excess"]), int(hold["amount"])
    worth = -(-int(data["cost_pico_usd"]) * int(data["micro_credits_per_usd"]) // 10**9)
    check.equal(found["type"], "request_charged.v2", "the event")
    check.that(credits <= held, f"{credits} nano-credits were charged, and {held} held")
    check.equal((credits, excess), (min(worth, held), max(0, worth - held)), "what is charged, and what is beyond")
    check.equal("beyond_bound" in data.get("flags", []), excess > 0, "flagged as beyond the bound")
    check.that(int(data["balance"]) >= 0, f"the balance behind it: {data['balance']}")
    check.equal(int(data["shortfall"]), 0, "shortfall")


async def exposure(world: World) -> dict:
    """What `GET /health/readiness` tells the operator of it, its amounts exact."""
    response = await world.gateway.api("GET", "/health/readiness")
    return json.loads(response.body, parse_float=Decimal)["exposure"]


# -- beyond the bound --------------------------------------------------------------------------------------------------

SOUND = {"prompt_tokens_details": {"audio_tokens": 5}, "completion_tokens_details": {"audio_tokens": 4}}
#: By model: what it reports, the flags, and the bound of the output that is asked for. A usage of 11 and 8 costs 27 micro-USD.
REPORTS: dict[str, tuple[dict, list[str], int]] = {
    # Both figures are believed; their sum, the total, is not.
    "billions": (usage(MOST, MOST), ["rejected_usage", "beyond_bound", "prompt_beyond_bytes", "output_beyond_bound"], 50),
    "long-prompt": (usage(5000, 8), ["prompt_beyond_bytes"], 5000),
    "long-output": (usage(1, 51), ["output_beyond_bound"], 50),
    "two-per-cent": (usage(2, 8, cost=0.00001836), ["cost_mismatch"], 50),
    "half-per-cent": (usage(2, 8, cost=0.00001809), [], 50),
    "no-cost": (usage(2, 8, cost=0), [], 50),
    "voice": (usage(9, 8, **SOUND), ["unpriced_modality"], 50),
    "searching": (usage(2, 8, num_sources_used=3), ["unpriced_search"], 50),
}
SERVED = {
    "impostor": ("other-model", ["other_model"]), "dated": ("dated-2026-01-01", []), "smaller": ("smaller-mini", ["other_model"]),
    "owned": ("vendor/owned", []),
}


def cost_of(report: dict) -> int:
    cached = report.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return (report["prompt_tokens"] - cached) * INPUT + cached * CACHED + report["completion_tokens"] * OUTPUT


@case
async def beyond_bound() -> None:
    """Whatever a provider reports, no more is charged than was held: what is beyond is in the event, the counters, the notice and every book."""
    names = [*REPORTS, *SERVED, "modal", "finish"]
    async with Listener() as operator, Listener() as own:
        settings = {"notices": {"url": operator.url, "secret": "a-secret-of-the-operator", "low_balance": 1}}
        async with World(with_streams(names), settings=settings) as world:
            check, gateway = world.check, world.gateway
            key = await gateway.user("alice", 1000)
            await gateway.wanted("PUT", "/v1/users/alice/webhook", {"url": own.url})
            await follows(world, operator)
            for name, (report, _, _) in REPORTS.items():
                await script(world, name, report)
            for name, (served, _) in SERVED.items():
                await script(world, name, usage(2, 8), served)
                await world.provider.script(f"{name}-s", streamed(usage(2, 8), served.replace(name, f"{name}-s")))
            asked = [(name, end, *REPORTS[name]) for name in REPORTS for end in ("", "-s")]
            asked += [(name, end, usage(2, 8), SERVED[name][1], 50) for name in SERVED for end in ("", "-s")]
            requests = [(row, await odd_report(world, key, row)) for row in asked]
            events = await sound(world)
            for (name, end, report, flags, bound), request in requests:
                with check.about(name + end):
                    check_report(check, settlement(events, request), report, flags)
            await counters(world, events)
            await told(world, operator, own, events)
            await modal_prices(world, key)
            await books(world, await sound(world), requests[0][1])
            await a_burst(world)


async def follows(world: World, operator: Listener) -> None:
    """Waits until the notices follow the ledger: what was before is passed by."""
    await world.gateway.user("first")
    await world.gateway.wanted("POST", "/v1/billing/subscription", {"user_id": "first", "plan_name": "BASIC"})
    await wire.eventually(lambda: operator.of("plan.renewed", "first"), "the operator is told of a plan", 20)


async def odd_report(world: World, key: str, row: tuple) -> str | None:
    name, end, _, _, bound = row
    with world.check.about(name + end):
        response = await say_hi(world, key, f"up:{name}{end}", stream=bool(end), max_tokens=bound)
        assert response.status == 200 and response.complete, f"the answer was {response}"
        return response.header("x-request-id")
    return None


def check_report(check: Checks, found: dict, report: dict, flags: list[str]) -> None:
    data = found["data"]
    check.equal(data.get("flags", []), flags, "flags")
    check.equal((data["prompt_tokens"], data["completion_tokens"]), (report["prompt_tokens"], report["completion_tokens"]), "tokens")
    check.equal((data["estimated"], data["outcome"]), (False, "finished"), "estimated and outcome")
    check.equal(int(data["cost_pico_usd"]), cost_of(report), "cost in pico-USD")
    if "cost" in report:
        check.equal(int(data["provider_cost_pico_usd"]), round(report["cost"] * 10**12), "what the provider says")
    check.equal(data.get("web_searches", 0), report.get("num_sources_used", 0), "searches")


async def counters(world: World, events: list[dict]) -> None:
    """The readiness tells the sums of what the events say."""
    charges = [e["data"] for e in events if e["name"] == "request_charged"]
    beyond = [data for data in charges if int(data["excess"]) > 0]
    found = await exposure(world)
    with world.check.about("exposure"):
        check, gateway = world.check, world.gateway
        for key in (None, await gateway.key("alice"), "a-wrong-key"):
            response = await gateway.api("GET", "/health/readiness", key=key)
            check.equal((response.status, "exposure" in response.json), (200, False), "what others are told")
        check.equal((found["charges"], found["beyond_bound"]), (len(charges), len(beyond)), "charges, and those beyond")
        check.that(len(beyond) == 2, f"{len(beyond)} charges were beyond their hold, not two")
        check.equal(Decimal(found["excess_credits"]), sum(int(data["excess"]) for data in beyond) * NANO, "excess in credits")
        check.equal(Decimal(found["excess_usd"]), sum(excess_pico(data) for data in beyond) * PICO, "excess in USD")
        counted: dict[str, int] = defaultdict(int)
        for data in charges:
            for flag in data.get("flags", []):
                counted[flag] += 1
        check.equal({flag: count for flag, count in found["flags"].items() if count}, dict(counted), "flags")
        check.equal((found["unbilled_requests"], found["slowed_accounts"]), (0, 0), "what was not charged at all")


def excess_pico(data: dict) -> int:
    return int(data["cost_pico_usd"]) - int(data["credits"]) * RATE if int(data["excess"]) > 0 else 0


async def told(world: World, operator: Listener, own: Listener, events: list[dict]) -> None:
    """The operator is told of each charge beyond its hold, and the account is not."""
    check, gateway = world.check, world.gateway
    with check.about("notices"):
        beyond = [e for e in events if e["name"] == "request_charged" and int(e["data"]["excess"]) > 0]
        kind = "charge.beyond_bound"
        came = await wire.eventually(
            lambda: found if len(found := operator.of(kind, "alice")) >= len(beyond) else None, "the operator is told of what is beyond", 20)
        check.equal(sorted(notice["id"] for notice in came), sorted(f"{kind}:{e['position']}" for e in beyond), "ids")
        for notice in came:
            found = next(e["data"] for e in beyond if notice["id"].endswith(f":{e['position']}"))
            check.equal(
                (notice["data"]["model"], Decimal(str(notice["data"]["credits"]))), (found["model"], int(found["excess"]) * NANO), "what it says")
        # The account is told of what comes behind.
        amount = Decimal("0.5") - (await gateway.balance("alice"))["credits"]
        await gateway.wanted("POST", "/v1/billing/adjustments", {"user_id": "alice", "amount": str(amount), "reason": "test"})
        await wire.eventually(lambda: own.of("credits.low_balance", "alice"), "the account is told of a low balance", 20)
        check.equal(own.of(kind, "alice"), [], "what the account is told of it")
        await gateway.top_up("alice", 1000)


# -- prices of sound and pictures --------------------------------------------------------------------------------------

MODAL_PRICE = {
    "input_price_per_million": 1, "output_price_per_million": 2, "cached_price_per_million": 0.25, "audio_input_price_per_million": 10,
    "audio_cached_price_per_million": 4, "audio_output_price_per_million": 20, "image_output_price_per_million": 30,
}
MODAL = usage(
    90, 9, prompt_tokens_details={"cached_tokens": 5, "audio_tokens": 19, "cached_tokens_details": {"audio_tokens": 4}},
    completion_tokens_details={"audio_tokens": 3, "image_tokens": 2})
#: By kind: how many, and pico-USD for each.
MODAL_LINES = {
    "prompt": (70, 1_000_000), "audio": (15, 10_000_000), "cached": (1, 250_000), "audio_cached": (4, 4_000_000),
    "completion": (4, 2_000_000), "audio_output": (3, 20_000_000), "image_output": (2, 30_000_000),
}


async def modal_prices(world: World, key: str) -> None:
    """Sound and pictures cost what their own prices say, line by line."""
    check, gateway = world.check, world.gateway
    await script(world, "modal", MODAL)
    for end in ("", "-s"):
        with check.about("prices of sound and pictures", end):
            set_ = await gateway.wanted("POST", "/v1/pricing", {"model_key": f"up:modal{end}", **MODAL_PRICE})
            check.equal({name: float(set_[name]) for name in MODAL_PRICE}, MODAL_PRICE, "the price as set")
            response = await say_hi(world, key, f"up:modal{end}", "hi " * 40, stream=bool(end), max_tokens=500)
            await world.settled("alice")
            data = settlement(await gateway.events(), response.header("x-request-id"))["data"]
            check.equal(data.get("flags", []), [], "flags")
            check.equal(int(data["cost_pico_usd"]), sum(count * each for count, each in MODAL_LINES.values()), "cost in pico-USD")
            check.equal((int(data["excess"]), int(data["credits"])), (0, int(data["cost_pico_usd"]) // RATE), "excess and credits")
            figures = ("audio_tokens", "audio_cached_tokens", "audio_output_tokens", "image_output_tokens")
            check.equal([data.get(name) for name in figures], [19, 4, 3, 2], "figures of the event")
            code, out, err = await gateway.replay("explain", gateway.database, data["request"], "--format", "json")
            check.equal(code, 0, f"exit code of explain: {err}")
            lines = {line["kind"]: (line["count"], line["pico_usd_each"]) for line in json.loads(out)["usage"]}
            check.equal(lines, MODAL_LINES, "lines of the explanation")


# -- the books ---------------------------------------------------------------------------------------------------------


async def books(world: World, events: list[dict], request: str) -> None:
    """Explanations, exports, the roll-forward and the statement say the same of what was beyond."""
    check, gateway = world.check, world.gateway
    charges = {e["data"]["request"]: e["data"] for e in events if e["name"] == "request_charged"}
    data = charges[request]
    held = next(e["data"] for e in events if e["name"] == "hold_placed" and e["data"]["request"] == request)["amount"]
    excess, excess_usd = int(data["excess"]) * NANO, excess_pico(data) * PICO
    with check.about("explain"):
        code, out, _ = await gateway.replay("explain", gateway.database, request)
        check.equal(code, 0, "exit code")
        found = [line for line in out.splitlines() if "are the operator's" in line]
        for figure in (f"Only {plain(int(held) * NANO)} had been", f"{plain(excess)} credits beyond", f"({plain(excess_usd)} USD)"):
            check.that(len(found) == 1 and figure in found[0], f"it does not say {figure!r}: {found}")
        code, out, _ = await gateway.replay("explain", gateway.database, request, "--format", "json")
        value = json.loads(out)
        check.equal((code, value["consistent"]), (0, True), "exit code, and whether it fits together")
        check.equal((Decimal(value["excess"]), int(value["excess_pico_usd"])), (excess, excess_pico(data)), "excess")
        check.equal(value["flags"], data["flags"], "flags")
        check.equal(Decimal(value["credits"]), Decimal(value["held"]), "credits, and what was held")
    for kind in ("usage", "charges"):
        with check.about("export", kind):
            rows = {row["request_id"]: row for row in await table(world, kind) if row["request_id"] in charges}
            check.equal(set(rows), set(charges), "requests")
            for name, row in rows.items():
                told_excess = (Decimal(row["excess"]), Decimal(row.get("excess_usd", excess_pico(charges[name]) * PICO)))
                check.equal(told_excess, (int(charges[name]["excess"]) * NANO, excess_pico(charges[name]) * PICO), f"excess of {name}")
                if kind == "usage":
                    check.equal(row["flags"].split(), charges[name].get("flags", []), f"flags of {name}")
    with check.about("roll-forward"):
        check_roll_forward(check, await table(world, "roll-forward"), list(charges.values()))
    with check.about("statement"):
        month = data_month(events)
        code, out, err = await gateway.replay("statement", gateway.database, "--account", "alice", "--month", month, "--format", "json")
        check.equal(code, 0, f"exit code: {err}")
        value = json.loads(out, parse_float=Decimal)
        balance = (await gateway.balance("alice"))["credits_exact"]
        check.equal(Decimal(str(value["closing"])), Decimal(str(balance)), "closing balance")
        code, out, _ = await gateway.replay("statement", gateway.database, "--account", "alice", "--month", month)
        line = next(line for line in out.splitlines() if "Charged for" in line)
        check.equal(-Decimal(line.split()[-1]), sum(int(d["credits"]) for d in charges.values()) * NANO, "what was charged in all")


def plain(value: Decimal) -> str:
    """A decimal as the tools write it: without trailing zeros."""
    return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"


def data_month(events: list[dict]) -> str:
    return next(e for e in events if e["name"] == "request_charged")["effective_at"][:7]


async def table(world: World, kind: str) -> list[dict]:
    code, out, err = await world.gateway.replay("export", kind, world.gateway.database)
    assert code == 0, f"export {kind} gave {code}: {err}"
    return list(csv.DictReader(io.StringIO(out.lstrip("\ufeff"))))


def check_roll_forward(check: Checks, rows: list[dict], charges: list[dict]) -> None:
    costs: dict[str, int] = defaultdict(int)
    beyond: dict[str, int] = defaultdict(int)
    credits: dict[str, int] = defaultdict(int)
    for data in charges:
        costs[data["model"]] += int(data["cost_pico_usd"])
        beyond[data["model"]] += excess_pico(data)
        credits[data["model"]] += int(data["excess"])
    found = {row["model"]: -Decimal(row["usd"]) for row in rows if row["line"] == "cost"}
    check.equal(found, {model: cost * PICO for model, cost in costs.items()}, "costs by model")
    lines = {row["model"]: (-Decimal(row["usd"]), Decimal(row["total"])) for row in rows if row["line"] == "excess"}
    wanted = {model: (beyond[model] * PICO, credits[model] * NANO) for model in beyond if beyond[model]}
    check.equal(lines, wanted, "excess by model")


async def a_burst(world: World, count: int = 400) -> None:
    """Many requests at once of somebody with 20 credits cost no more than these, whatever their provider reports."""
    check, gateway = world.check, world.gateway
    with check.about("a burst"):
        key = await gateway.user("burst", 20)
        answers = await asyncio.gather(*(say_hi(world, key, "up:billions", max_tokens=4900, seconds=120) for _ in range(count)))
        check.within({answer.status for answer in answers}, [{200, 402}], "statuses")
        events = await sound(world)
        holders = {e["data"]["request"] for e in events if e["account"] == "burst" and e["name"] == "hold_placed"}
        charged = [e["data"] for e in events if e["name"] == "request_charged" and e["data"]["request"] in holders]
        check.equal(len(charged), sum(answer.status == 200 for answer in answers), "charges, and answers")
        check.that(len(charged) >= 20, f"only {len(charged)} were served")
        total = sum(int(data["credits"]) for data in charged) * NANO
        balance = Decimal(str((await gateway.balance("burst"))["credits_exact"]))
        check.that(total <= 20 and balance >= 0, f"{total} credits were charged, and {balance} are left")
        check.equal(total + balance, 20, "what was charged, and what is left")


# -- whose failures open a circuit -------------------------------------------------------------------------------------


@case
async def circuit_of_one() -> None:
    """One account's failures never take a provider from the others; those of several do."""
    limits = {"circuit_failures": 3, "circuit_open_seconds": 60, "first_byte_timeout_seconds": 1, "unbilled_requests_per_hour": 0}
    dead = {"dead": {"api_base": "http://127.0.0.1:9/v1", "api_key": "x"}}
    models = ["up:stall-before-head", "up:finish", "dead:finish"]
    async with World(models, limits=limits, providers=dead) as world:
        check, gateway = world.check, world.gateway
        keys = {name: await gateway.user(name, 100) for name in ("alice", "bob", "carol")}
        for model, status, code in (("up:stall-before-head", 504, "upstream_timeout"), ("dead:finish", 502, "upstream_unreachable")):
            provider = model.split(":")[0]

            async def fail(user: str, count: int) -> None:
                answers = await asyncio.gather(*(gateway.answer(keys[user], model) for _ in range(count)))
                found = {(answer.status, answer.json["error"]["code"]) for answer in answers}
                check.equal(found, {(status, code)}, f"answers of {user}")

            async def state() -> str:
                return (await gateway.wanted("GET", "/health/readiness", key=None))["providers"][provider]

            with check.about("the failures of one at", model):
                for count in (8, 1, 1):
                    await fail("alice", count)
                    check.equal(await state(), "available", "the provider")
                if provider == "up":
                    check.equal((await gateway.answer(keys["carol"], "up:finish")).status, 200, "another account's status")
                    # That it lives is known again; the one fails on.
                    await fail("alice", 8)
            with check.about("the failures of several at", model):
                await fail("bob", 1)
                check.equal(await state(), "unavailable", "the provider")
                response = await gateway.answer(keys["carol"], model)
                check.equal((response.status, response.json["error"]["code"]), (503, "upstream_unavailable"), "another account's answer")
        events = await sound(world)
        released = [e for e in events if e["name"] == "hold_released" and e["data"]["reason"] == "timeout"]
        with check.about("exposure"):
            found = await exposure(world)
            check.equal(found["unbilled_requests"], len(released), "requests that may have been billed")
            held = sum(int(e["data"]["amount"]) for e in released) * NANO
            check.equal((Decimal(found["unbilled_held_credits"]), found["slowed_accounts"]), (held, 0), "what was held, and who is slowed")
