"""What people see of themselves (`/v1/profile`)."""

from __future__ import annotations

import csv
import datetime
import io
import json
import random
import re
import sqlite3
import zoneinfo
from decimal import Decimal
from urllib.parse import urlencode

import wire
from cases_admin import instant
from checks import Checks, case, detail
from gateway import MASTER_KEY, Gateway
from world import World

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
REQUEST = re.compile(r"req_[0-9A-Z]{26}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cost": 0}
#: What one answer of the stand-in's `finish` is: 8 standard and 3 cached tokens in, 8 out, at 1, 0.25 and 2 USD per million.
FINISH = {"prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19, "cost": Decimal("0.00002475")}


def like(check: Checks, found: object, expected: object, what: str) -> None:
    """Compares a whole body: members and their number exactly, texts with a pattern where one is given, types where one is named."""
    if isinstance(expected, dict):
        if check.that(isinstance(found, dict), f"{what} is no object: {found!r}") and check.equal(sorted(found), sorted(expected), f"the members of {what}"):
            for name, value in expected.items():
                like(check, found[name], value, f"{what}.{name}")
    elif isinstance(expected, list):
        if check.that(isinstance(found, list), f"{what} is no list: {found!r}") and check.equal(len(found), len(expected), f"the length of {what}"):
            for index, value in enumerate(expected):
                like(check, found[index], value, f"{what}[{index}]")
    elif isinstance(expected, re.Pattern):
        check.that(isinstance(found, str) and expected.fullmatch(found), f"{what} is {found!r}")
    elif isinstance(expected, type):
        check.that(isinstance(found, expected), f"{what} is {found!r}")
    else:
        check.equal((found, type(found) is bool), (expected, type(expected) is bool), what)


def exact(response: wire.Response) -> object:
    """The JSON of an answer, with decimals as they were written."""
    assert response.status == 200 and response.complete, f"it gave {response}"
    return json.loads(response.body, parse_float=Decimal)


def invalid(check: Checks, response: wire.Response, field: str, location: str = "query") -> None:
    """A 422 that names a field."""
    if check.equal(response.status, 422, f"status of {response}"):
        check.equal(response.json["detail"][0]["loc"], [location, field], "where the fault is")
        check.equal(response.json.get("code"), "validation_error", "code")


class Reader:
    """Asks the profile's routes as one user does."""

    def __init__(self, gateway: Gateway, key: str):
        self.gateway, self.key = gateway, key

    async def ask(self, path: str, headers: dict | None = None, **query: object) -> wire.Response:
        text = urlencode({name: value for name, value in query.items() if value is not None})
        return await self.gateway.api("GET", f"/v1/profile{path}" + (f"?{text}" if text else ""), key=self.key, headers=headers)

    async def get(self, path: str, **query: object) -> object:
        return exact(await self.ask(path, **query))

    async def table(self, path: str, **query: object) -> tuple[wire.Response, list[dict]]:
        """CSV, read by a reader that is not ours."""
        response = await self.ask(path, **query)
        assert response.status == 200 and response.complete, f"it gave {response}"
        return response, list(csv.DictReader(io.StringIO(response.body.decode(), newline="")))


def unguarded(cell: str) -> str:
    """A cell without the apostrophe that keeps spreadsheets from running it."""
    return cell[1:] if re.match(r"'[=+\-@\t\r]", cell) else cell


def plain(value: object) -> str:
    """A value of JSON as a cell of CSV."""
    if value is None:
        return ""
    if isinstance(value, (int, Decimal)):
        return format(Decimal(value), "f")
    return str(value)


def check_table(check: Checks, response: wire.Response, table: list[dict], rows: list[dict], what: str) -> None:
    """CSV says what JSON says."""
    with check.about(what):
        check.equal(response.header("content-type"), "text/csv; charset=utf-8; header=present", "content-type")
        disposition = response.header("content-disposition") or ""
        check.that(re.fullmatch(r'attachment; filename="[a-z0-9-]+\.csv"', disposition), f"content-disposition is {disposition!r}")
        check.that(response.body.endswith(b"\r\n"), "the last line has no end")
        if not check.equal(len(table), len(rows), "rows"):
            return
        for cells, row in zip(table, rows):
            if not check.equal(list(cells), list(row), "columns"):
                return
            for name, value in row.items():
                cell = unguarded(cells[name])
                if isinstance(value, dict):
                    check.equal(json.loads(cell, parse_float=Decimal), value, name)
                elif isinstance(value, (int, Decimal)):
                    check.equal(Decimal(cell), value, name)
                    check.that("e" not in cell.lower(), f"{name} has an exponent: {cell}")
                else:
                    check.equal(cell, plain(value), name)


def item(row_of: str, status: str, key: str | None, **figures: object) -> dict:
    """A row of the log of one user, as the contract shows it."""
    success = status == "success"
    cost = FINISH["cost"] if success else 0
    return {
        "aiInferenceProviderName": "up", "aiModelName": "finish" if success else "refuse-500", "aiModelTypeName": "chat",
        "completionTokens": 8 if success else 0, "costUsd": cost, "createdAt": TIME, "creditsUsed": cost * 1_000_000,
        "generationId": REQUEST, "id": REQUEST, "organizationId": None, "promptTokens": 11 if success else 0,
        "totalTokens": 19 if success else 0, "userId": row_of,
        "metadata": {
            "endpoint": "/v1/chat/completions", "status": status, "errorMessage": None if success else str, "apiKeyId": key,
            "cachedTokens": 3 if success else 0, "estimated": False, "credits": cost * 10, "creditsReversed": 0,
        },
    } | figures


def noon() -> str:
    """A zone in which it is about noon: nothing that is done now passes a midnight of it."""
    hours = 12 - datetime.datetime.now(datetime.timezone.utc).hour
    return f"{'-' if hours < 0 else '+'}{abs(hours):02}:00"


@case
async def profile() -> None:
    """People see who they are, what they used, their keys, requests and payments: as the contract says, to the field."""
    async with World(["up:finish", "up:refuse-500"]) as world:
        gateway = world.gateway
        key = await gateway.user("alice", 10)
        other = await gateway.user("bob", 10)
        reader = Reader(gateway, key)
        with world.check.about("before anything was asked"):
            await empty(world, reader)
        for model in ("up:finish", "up:refuse-500", "up:finish"):
            await gateway.answer(key, model)
        await gateway.answer(other, "up:finish")

        async def three() -> bool:
            return len(await gateway.usage("alice")) == 3 and len(await gateway.usage("bob")) == 1

        await wire.eventually(three, "the usage log has the requests")
        with world.check.about("the profile"):
            await windows(world, reader)
        with world.check.about("the sums"):
            await sums(world, reader)
        with world.check.about("the log"):
            await log(world, reader)
        with world.check.about("keys, payments and balance"):
            await belongings(world, reader)
        with world.check.about("who may see it"):
            await rights(world, reader)


def person(**more: object) -> dict:
    return {
        "user_id": "alice", "provider": None, "role": None, "name": None, "email": None, "avatar_url": None, "refresh_token": None,
        "blocked": False, "spend": 0, "metadata": {}, "caret_metadata": {}, "last_login_at": None,
    } | more


async def empty(world: World, reader: Reader) -> None:
    check = world.check
    usage = {name: NOTHING for name in ("today", "this_week", "this_month")}
    like(check, await reader.get(""), {"profile": person(), "usage": usage}, "the profile")
    for grouping in ("day", "week", "month", "model", None):
        like(check, await reader.get("/usage", group_by=grouping), {
            "group_by": grouping or "day", "start": TIME, "end": TIME, "buckets": [], "total": NOTHING}, f"usage by {grouping}")
    total = await reader.get("/usage", group_by="total")
    like(check, total["buckets"], [{"period": "total", **NOTHING}], "the one bucket")
    length = datetime.datetime.fromisoformat(total["end"]) - datetime.datetime.fromisoformat(total["start"])
    check.equal(length, datetime.timedelta(days=30), "the range that is summed by default")
    like(check, await reader.get("/logs"), {"success": True, "data": {"items": [], "nextCursor": None}}, "the log")
    response, table = await reader.table("/logs", format="csv")
    check.equal(table, [], "rows of CSV")
    check.that(response.body.startswith(b"aiInferenceProviderName,"), f"the header line of nothing: {response.body!r}")


async def windows(world: World, reader: Reader) -> None:
    check, gateway = world.check, world.gateway
    await gateway.wanted("PATCH", "/v1/users/alice", {"metadata": {"theme": "dark"}, "blocked": True})
    window = {"requests": 2, "prompt_tokens": 22, "completion_tokens": 16, "total_tokens": 38, "cost": 2 * FINISH["cost"]}
    like(check, await reader.get("", tz=noon()), {
        "profile": person(blocked=True, spend=2 * FINISH["cost"], metadata={"theme": "dark"}),
        "usage": {name: window for name in ("today", "this_week", "this_month")}}, "the profile")
    await gateway.wanted("PATCH", "/v1/users/alice", {"blocked": False})
    invalid(check, await reader.ask("", tz="Mars/Olympus"), "tz")
    invalid(check, await reader.ask("", tz="+25:00"), "tz")


async def sums(world: World, reader: Reader) -> None:
    check = world.check
    zone = noon()
    offset = datetime.timezone(datetime.timedelta(hours=int(zone[:3])))
    today = datetime.datetime.now(offset).date()
    total = {"requests": 2, "prompt_tokens": 22, "completion_tokens": 16, "total_tokens": 38, "cost": 2 * FINISH["cost"]}
    periods = {
        "day": today.isoformat(), "week": (today - datetime.timedelta(days=today.weekday())).isoformat(),
        "month": today.strftime("%Y-%m"), "model": "up:finish", "total": "total",
    }
    for grouping, period in periods.items():
        answer = await reader.get("/usage", group_by=grouping, tz=zone)
        like(check, answer, {
            "group_by": grouping, "start": TIME, "end": TIME, "buckets": [{"period": period, **total}], "total": total}, f"usage by {grouping}")
        response, table = await reader.table("/usage", group_by=grouping, tz=zone, format="csv")
        check_table(check, response, table, answer["buckets"], f"CSV by {grouping}")
    begin, end = today.isoformat(), (today + datetime.timedelta(days=1)).isoformat()
    answer = await reader.get("/usage", start=begin, end=end, tz=zone)
    check.equal(answer["total"], total, "the sum of today")
    check.equal(datetime.datetime.fromisoformat(answer["start"]).astimezone(offset).isoformat()[:19], f"{begin}T00:00:00", "the start of today")
    check.equal(datetime.datetime.fromisoformat(answer["end"]).astimezone(offset).isoformat()[:19], f"{end}T00:00:00", "the end of today")
    check.equal((await reader.get("/usage", end=begin, tz=zone))["total"], NOTHING, "the sum up to today")
    response = await reader.ask("/usage", start=end, end=begin)
    detail(check, response, 400, "start must be before end")
    check.equal(response.json.get("code"), "invalid_range", "code")
    detail(check, await reader.ask("/usage", start=begin, end=begin), 400, "start must be before end")
    detail(check, await reader.ask("/usage", start="2999-01-01"), 400, "start must be before end")
    for field, text in (("start", "yesterday"), ("end", "2026-02-30"), ("start", ""), ("tz", "Nowhere"), ("tz", ""), ("group_by", "year"),
                        ("format", "xml"), ("start", "1999-01-01")):
        invalid(check, await reader.ask("/usage", **{field: text}), field)


async def log(world: World, reader: Reader) -> None:
    check, gateway = world.check, world.gateway
    key = (await gateway.wanted("GET", "/v1/keys?user_id=alice"))[0]["id"]
    rows = [item("alice", status, key) for status in ("success", "error", "success")]
    whole = await reader.get("/logs")
    like(check, whole, {"success": True, "data": {"items": rows, "nextCursor": None}}, "the log")
    found = whole["data"]["items"]
    check.equal([row["createdAt"] for row in found], sorted((row["createdAt"] for row in found), reverse=True), "times, newest first")
    for row in found:
        instant(check, row["createdAt"], "createdAt")
    for filters, expected in (
        ({"status": "success"}, [found[0], found[2]]), ({"status": "error"}, [found[1]]), ({"model": "finish"}, [found[0], found[2]]),
        ({"model": "up:refuse-500"}, [found[1]]), ({"model": "other"}, []), ({"api_key_id": key}, found), ({"api_key_id": "other"}, []),
        ({"model": "finish", "status": "error"}, []), ({"end": found[0]["createdAt"]}, found[1:]), ({"start": found[1]["createdAt"]}, found[:2]),
        ({"start": found[2]["createdAt"], "end": found[1]["createdAt"]}, [found[2]]), ({"limit": 2}, found[:2]), ({"limit": 1000}, found),
    ):
        check.equal((await reader.get("/logs", **filters))["data"]["items"], expected, f"the log with {filters}")
        response, table = await reader.table("/logs", format="csv", **filters)
        check_table(check, response, table, expected, f"CSV with {filters}")
    response = await reader.ask("/logs", headers={"accept": "text/csv"})
    check_table(check, response, list(csv.DictReader(io.StringIO(response.body.decode(), newline=""))), found, "CSV by the header")
    for accept in ("application/json, text/csv", "*/*", "text/html", "text/csv;q=0", "text/csv;q=0.1, application/json;q=0.9", "text/csv;q=x"):
        response = await reader.ask("/logs", headers={"accept": accept})
        check.equal(response.header("content-type"), "application/json", f"content-type for {accept}")
    response = await reader.ask("/logs", headers={"accept": "text/csv"}, format="json")
    check.equal(response.header("content-type"), "application/json", "content-type where the query says JSON")
    detail(check, await reader.ask("/logs", start="2026-02-02", end="2026-02-01"), 400, "start must be before end")
    for field, text in (("limit", "0"), ("limit", "1001"), ("limit", "x"), ("cursor", "x"), ("cursor", ""), ("cursor", "l1.1.1.1"),
                        ("status", "odd"), ("start", "x"), ("end", "x"), ("tz", "x y"), ("format", "pdf")):
        invalid(check, await reader.ask("/logs", **{field: text}), field)


async def belongings(world: World, reader: Reader) -> None:
    check, gateway = world.check, world.gateway
    await gateway.wanted("POST", "/v1/keys", {"user_id": "alice", "key_name": "second", "metadata": {"n": 1}})
    keys = await reader.get("/keys")
    key = {"id": UUID, "key_name": "test", "user_id": "alice", "created_at": TIME, "last_used_at": None, "expires_at": None, "is_active": True,
           "metadata": {}}
    keys[0]["last_used_at"] = None  # written now and then
    like(check, keys, [key, key | {"key_name": "second", "metadata": {"n": 1}}], "the keys")
    check.equal(await reader.get("/keys", skip=1, limit=1), keys[1:], "a page of the keys")
    await gateway.top_up("alice", "2.5")
    payment = {
        "paidAt": TIME, "creatorId": "alice", "amountCents": 25, "credits": Decimal("2.5"), "paymentId": re.compile(f"topup:{REQUEST.pattern}"),
        "purchase": "credits", "plan": None, "refundedCents": 0, "waitsForCycle": False}
    paid = await reader.get("/payments")
    like(check, paid, {"success": True, "data": {"paymentTransactions": [payment, payment | {"amountCents": 100, "credits": 10}]}}, "the payments")
    check.equal(await reader.get("/payments", skip=1, limit=1), {"success": True, "data": {"paymentTransactions": paid["data"]["paymentTransactions"][1:]}}, "a page of them")
    for row in paid["data"]["paymentTransactions"]:
        instant(check, row["paidAt"], "paidAt")
    spent = 2 * FINISH["cost"] * 10
    grant = {"id": int, "pool": "TOPUP", "source": "PURCHASE", "amount": 10, "remaining": 10 - spent, "expires_at": None}
    data = await gateway.balance("alice")
    like(check, data["grants"], [grant, grant | {"amount": Decimal("2.5"), "remaining": Decimal("2.5")}], "the grants")
    like(check, data["cycle"], {"number": 0, "began_at": TIME, "ends_at": TIME, "is_paid": False, "is_grace": False, "next_plan": None}, "the cycle")
    length = datetime.datetime.fromisoformat(data["cycle"]["ends_at"]) - datetime.datetime.fromisoformat(data["cycle"]["began_at"])
    check.equal((length, data["expiring_next"]), (datetime.timedelta(days=30), None), "how long it is, and what expires next")


async def rights(world: World, reader: Reader) -> None:
    check, gateway = world.check, world.gateway
    master = Reader(gateway, MASTER_KEY)
    for path in ("", "/usage", "/logs", "/keys", "/payments"):
        with check.about(path or "/"):
            detail(check, await master.ask(path), 400, "When using master key, 'user' query parameter is required")
            detail(check, await master.ask(path, user="nobody"), 404, "User not found")
            check.equal((await gateway.api("GET", f"/v1/profile{path}", key=None)).status, 401, "status without a credential")
            # A key's own user wins.
            own, named = await reader.ask(path, user="bob"), await master.ask(path, user="alice")
            check.equal((own.status, named.status), (200, 200), "statuses")
            if path != "/usage":
                check.equal(own.json, named.json, "what the master key sees of the same user")


@case
async def profile_history() -> None:
    """Sums by day, week and month are exact in every zone, and pages do not move, also where old history is imported meanwhile."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    # Rows are put into the read model by hand, which the audit at the end would find.
    async with World(["up:finish"], is_audited=False) as world:
        key = await world.gateway.user("alice", 10)
        reader = Reader(world.gateway, key)
        history = History(world.gateway, random.Random(seed))
        with world.check.about(f"seed {seed}"):
            for begin, end in (("2020-02-20", "2020-03-05"), ("2021-10-20", "2021-11-15"), ("2021-12-25", "2022-01-05"), ("2022-03-01", "2022-04-05")):
                history.add(150, begin, end)
            await every_zone(world, reader, history)
            await every_page(world, reader, history)
            await spreadsheets(world, reader, history)


class History:
    """Rows of the usage log that are put there as an import would have them: old times at new positions."""

    MODELS = ["up:finish", "other:a,b", "up:=cmd|'/C'!A0", "up:-1+1", "no provider", "up:ü"]

    def __init__(self, gateway: Gateway, generator: random.Random):
        self.database, self.generator = gateway.database, generator
        self.rows: list[dict] = []
        self.position = 1_000_000

    def add(self, count: int, begin: str, end: str) -> list[dict]:
        """So many requests between two dates, in no order of time; several at the same instant."""
        first, last = (int(datetime.datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp()) for text in (begin, end))
        added: list[dict] = []
        for _ in range(count):
            self.position += 1
            quarter = self.generator.randrange(first // 900, last // 900) * 900_000_000
            moment = quarter + self.generator.choice([0, 0, -1, 1, self.generator.randrange(900_000_000)])
            success = self.generator.random() < 0.8
            added.append({
                "position": self.position, "account": "alice", "request": f"import-{self.position}", "recorded_at": moment, "key_id": None,
                "model": self.generator.choice(self.MODELS), "endpoint": "/v1/chat/completions", "status": "success" if success else "error",
                "detail": "finished" if success else "upstream_error", "prompt_tokens": self.generator.randrange(10**6) if success else 0,
                "cached_tokens": 0, "completion_tokens": self.generator.randrange(10**6) if success else 0, "estimated": 0,
                "cost_pico_usd": str(self.generator.randrange(10**self.generator.randrange(1, 22)) if success else 0), "credits": 0, "reversed": 0,
            })
        with sqlite3.connect(self.database, timeout=10) as connection:
            names = list(added[0])
            connection.executemany(
                f"INSERT INTO usage_log ({', '.join(names)}) VALUES ({', '.join(':' + name for name in names)})", added)
        connection.close()
        self.rows += added
        return added

    def newest_first(self, begin: int = 0, end: int = 2**62) -> list[str]:
        """The ids of the rows of a stretch of time, in microseconds."""
        rows = [row for row in self.rows if begin <= row["recorded_at"] < end]
        return [row["request"] for row in sorted(rows, key=lambda row: (row["recorded_at"], row["position"]), reverse=True)]

    def sums(self, name) -> dict[str, dict]:
        """The sums of what was charged, by what `name` makes of a row."""
        sums: dict[str, dict] = {}
        for row in self.rows:
            if row["status"] != "success":
                continue
            sum_ = sums.setdefault(name(row), dict(NOTHING))
            sum_["requests"] += 1
            sum_["prompt_tokens"] += row["prompt_tokens"]
            sum_["completion_tokens"] += row["completion_tokens"]
            sum_["total_tokens"] += row["prompt_tokens"] + row["completion_tokens"]
            sum_["cost"] += int(row["cost_pico_usd"])
        return sums


def pico(bucket: dict) -> dict:
    """A bucket with its cost as the integer that it was."""
    scaled = Decimal(bucket["cost"]).scaleb(12)
    assert scaled == int(scaled), f"a cost has more than twelve decimals: {bucket}"
    return bucket | {"cost": int(scaled)}


def zone_of(name: str) -> datetime.tzinfo:
    if name[0] in "+-":
        sign = -1 if name[0] == "-" else 1
        return datetime.timezone(sign * datetime.timedelta(hours=int(name[1:3]), minutes=int(name[4:6])))
    return zoneinfo.ZoneInfo(name)


def date_of(row: dict, zone: datetime.tzinfo) -> datetime.date:
    moment = datetime.datetime.fromtimestamp(row["recorded_at"] // 1_000_000, datetime.timezone.utc)
    return moment.astimezone(zone).date()


async def every_zone(world: World, reader: Reader, history: History) -> None:
    check = world.check
    span = {"start": "2020-01-01", "end": "2022-06-01"}
    for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Seoul", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "+13:00", "-03:30"):
        zone = zone_of(name)
        groupings = {
            "day": lambda row: date_of(row, zone).isoformat(),
            "week": lambda row: (date_of(row, zone) - datetime.timedelta(days=date_of(row, zone).weekday())).isoformat(),
            "month": lambda row: date_of(row, zone).strftime("%Y-%m"),
            "model": lambda row: row["model"],
            "total": lambda row: "total",
        }
        for grouping, key in groupings.items():
            with check.about(grouping, "in", name):
                answer = await reader.get("/usage", group_by=grouping, tz=name, **span)
                found = [pico(bucket) for bucket in answer["buckets"]]
                expected = history.sums(key)
                check.equal([bucket["period"] for bucket in found], sorted(expected), "periods")
                check.equal({bucket.pop("period"): bucket for bucket in found}, expected, "sums")
                check.equal(pico(answer["total"]), history.sums(lambda row: "")[""], "the total")
                response, table = await reader.table("/usage", group_by=grouping, tz=name, format="csv", **span)
                check_table(check, response, table, answer["buckets"], "CSV")
    with check.about("days that follow each other"):
        # Half-open: no request is in two days, and none is in no day.
        total = Decimal(0)
        for day in range(1, 32):
            begin, end = datetime.date(2022, 3, day), datetime.date(2022, 3, day) + datetime.timedelta(days=1)
            total += (await reader.get("/usage", start=begin, end=end, tz="Europe/Berlin", group_by="total"))["total"]["cost"]
        month = await reader.get("/usage", start="2022-03-01", end="2022-04-01", tz="Europe/Berlin", group_by="total")
        check.equal(total, month["total"]["cost"], "the sum of the days of a month")


async def every_page(world: World, reader: Reader, history: History) -> None:
    check = world.check
    with check.about("pages"):
        span = {"start": "2020-01-01", "end": "2022-06-01"}
        for limit in (200, 37):
            before = set(history.newest_first())
            found, cursor, older = [], None, []
            while True:
                data = (await reader.get("/logs", limit=limit, cursor=cursor, **span))["data"]
                found += [row["id"] for row in data["items"]]
                cursor = data["nextCursor"]
                if cursor is None:
                    break
                check.equal(len(data["items"]), limit, "rows of a page that is not the last")
                check.that(re.fullmatch(r"[A-Za-z0-9._-]+", cursor), f"the cursor needs no quoting: {cursor}")
                # What is recorded meanwhile: newer than all that is paged through, which moves nothing, and older, which is still to come.
                history.add(3, "2022-05-01", "2022-05-02")
                if len(older) < 5:
                    older += history.add(1, "2020-01-02", "2020-01-03")
            shown = before | {row["request"] for row in older}
            check.equal(found, [name for name in history.newest_first() if name in shown], f"the pages of {limit}")
    with check.about("a page's stretch of time"):
        # The cursor has it: without start and end, the next page goes on in the same one.
        first = (await reader.get("/logs", limit=10, **span))["data"]
        again = (await reader.get("/logs", limit=10, cursor=first["nextCursor"]))["data"]
        both = (await reader.get("/logs", limit=20, **span))["data"]
        check.equal(first["items"] + again["items"], both["items"], "two pages and one of both")
        narrower = (await reader.get("/logs", limit=1000, cursor=first["nextCursor"], start="2022-03-20"))["data"]["items"]
        wanted = history.newest_first(int(datetime.datetime(2022, 3, 20, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000)
        check.equal([row["id"] for row in narrower], wanted[10:], "a page with another start")
    with check.about("the default"):
        check.equal((await reader.get("/logs"))["data"], {"items": [], "nextCursor": None}, "the last seven days")
        check.equal(len((await reader.get("/logs", **span))["data"]["items"]), 30, "rows of a page")
    with check.about("an operator's page"):
        rows = await world.gateway.usage("alice", limit=10_000)
        check.equal([row["id"] for row in rows], history.newest_first(), "the user's log, newest first")


async def spreadsheets(world: World, reader: Reader, history: History) -> None:
    check = world.check
    with check.about("CSV of the whole log"):
        span = {"start": "2020-01-01", "end": "2022-06-01"}
        rows, cursor = [], None
        while True:
            data = (await reader.get("/logs", limit=1000, cursor=cursor, **span))["data"]
            rows += data["items"]
            cursor = data["nextCursor"]
            if cursor is None:
                break
        response, table = await reader.table("/logs", format="csv", **span)
        check.equal(len(table), len(history.rows), "rows")
        check_table(check, response, table, rows, "all of it")
        check.equal(response.header("content-disposition"), 'attachment; filename="requests-2020-01-01-to-2022-06-01.csv"', "content-disposition")
        cells = {cells["aiModelName"] for cells in table}
        check.that({"'=cmd|'/C'!A0", "'-1+1", "a,b"} <= cells, f"the models' names: {cells}")
        for cell in (cell for cells in table for cell in cells.values()):
            check.that(not re.match(r"[=+@\t\r]|-(?!\d+(\.\d+)?$)", cell), f"a formula: {cell}")
