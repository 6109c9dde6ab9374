"""What auditors, accountants and customers are given: explanations, statements, exports, journals, travels in time, other terms, reconciling."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import html.parser
import http.client
import io
import json
import re
import sqlite3
import subprocess
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from cases_corrections import SETTINGS
from cases_cycles import Months
from cases_plans import NANO, micros, subscribe
from checks import case
from clock import Clock
from contract import AUDITOR_KEY
from gateway import MASTER_KEY, REPLAY
from ledgerfile import Forger, copy
from world import World

PICO = Decimal(10) ** -12
#: What a spreadsheet would run, what breaks a line, and what is no ASCII.
NASTY = ['=1+1', '+cmd', '-2+3', '@SUM(A1)', 'a "quote", a comma\nand a line', 'öäü €']
#: What each event adds to its account's balance, by its data.
CHANGES = {
    "credits_granted": lambda d: d["amount"], "grant_expired": lambda d: -d["amount"], "request_charged": lambda d: -d["credits"],
    "charge_reversed": lambda d: d["amount"], "credits_withdrawn": lambda d: -d["amount"],
    "payment_refunded": lambda d: -sum(part[1] for part in d["taken"]) - d["debt_added"],
}


def credits(nanos: int) -> Decimal:
    return Decimal(nanos) / NANO


def change(event: dict) -> int:
    name = event["name"]
    return CHANGES[name](event["data"]) if name in CHANGES else 0


def run(*arguments: object, timeout: float = 120) -> tuple[int, bytes, str]:
    """A command, in the folder that it is called in; standard output as bytes."""
    ended = subprocess.run([str(each) for each in arguments], capture_output=True, timeout=timeout)
    return ended.returncode, ended.stdout, ended.stderr.decode()


class Books:
    """A gateway that has lived for two months, and its events."""

    def __init__(self, world: World, clock: Clock):
        self.world, self.check, self.gateway, self.clock = world, world.check, world.gateway, clock
        self.keys: dict[str, str] = {}
        self.requests: list[str] = []

    @property
    def database(self) -> Path:
        return self.gateway.database

    def replay(self, *arguments: object) -> tuple[int, bytes, str]:
        return run(REPLAY, *arguments)

    async def chat(self, user: str, model: str, count: int = 1) -> None:
        for _ in range(count):
            answer = await self.gateway.answer(self.keys[user], model, max_tokens=9)
            self.check.that(answer.status in (200, 402), f"{model} for {user}: {answer}")
            if answer.status == 200:
                self.requests.append(answer.header("x-request-id"))

    async def post(self, path: str, value: dict) -> None:
        response = await self.gateway.api("POST", path, {"reason": "because"} | value)
        self.check.equal(response.status, 200, f"{path} {value}: {response}")

    async def live(self) -> None:
        """Sign-ups, packs, a subscription, charges, prices that change, corrections, refunds and expiries."""
        months = Months(self.world, self.clock)
        for user, amount in (("alice", 5), ("bob", 3), ("carol", 1), ("=dave", 2)):
            self.keys[user] = await self.gateway.user(user, amount)
        self.check.equal((await subscribe(self.gateway, "bob", payment="invoice-1")).status, 200, "bob's subscription")
        for user in self.keys:
            await self.chat(user, "up:finish", 2)
        await self.chat("carol", "up:overrun")
        months.day(12)
        price = {"model_key": "up:finish", "input_price_per_million": 3, "output_price_per_million": "7.000001", "cached_price_per_million": 1}
        await self.gateway.wanted("POST", "/v1/pricing", price)
        await self.chat("alice", "up:finish", 3)
        await self.chat("bob", "up:finish", 2)
        for user in self.keys:
            await self.world.settled(user)
        await self.post(f"/v1/ledger/charges/{self.requests[0]}/reverse", {})
        await self.post(f"/v1/ledger/charges/{self.requests[2]}/reverse", {"amount": "0.0001"})
        for reason in NASTY:
            await self.post("/v1/billing/adjustments", {"user_id": "alice", "amount": "0.5", "reason": reason})
        await self.post("/v1/billing/adjustments", {"user_id": "alice", "amount": "-0.7"})
        await self.post("/v1/billing/refunds", {"payment_id": "api:invoice-1", "amount_usd": 4})
        months.day(35)
        # Nobody has looked: what was due at the boundary is recorded now, and counts from then.
        for user in self.keys:
            await self.gateway.balance(user)
        await self.chat("alice", "up:finish", 2)
        await self.chat("=dave", "up:finish")
        months.day(50)
        await self.gateway.top_up("carol", 10)
        await self.chat("carol", "up:finish")
        for user in self.keys:
            await self.world.settled(user)


def balance(events: list[dict], user: str, at: int | None = None, known: int | None = None) -> int:
    return sum(
        change(event) for event in events
        if event["account"] == user and (at is None or micros(event["effective_at"]) <= at) and (known is None or micros(event["recorded_at"]) <= known))


@case
async def auditing() -> None:
    """Over two months of a gateway, every explanation, statement, export, journal and balance is what the events lead to, by command line and by HTTP."""
    with Clock() as clock:
        async with World(["up:finish", "up:overrun"], env=clock.env, settings=SETTINGS) as world:
            books = Books(world, clock)
            await books.live()
            for part in (explanations, statements, exports, resumed, journals, roll_forward, time_travel, what_if, reconciliation):
                with world.check.about(part.__name__):
                    await part(books, await world.gateway.events())


async def explanations(books: Books, events: list[dict]) -> None:
    check, gateway = books.check, books.gateway
    hashes = {event["position"]: event["hash"] for event in events}
    charges = [event for event in events if event["name"] == "request_charged"]
    for event in charges:
        data, user = event["data"], event["account"]
        path = f"/v1/ledger/charges/{data['request']}/explain"
        response = await gateway.api("GET", path, key=books.keys[user])
        if not check.equal(response.status, 200, f"status of {response}"):
            continue
        found = response.json
        check.equal(sum(line["count"] * line["pico_usd_each"] for line in found["usage"]), data["cost_pico_usd"], "the lines' cost")
        check.equal(found["cost_pico_usd"], data["cost_pico_usd"], "the cost")
        exact = Decimal(data["cost_pico_usd"]) * data["micro_credits_per_usd"] / 10**18
        check.equal(Decimal(found["credits_exact"]), exact, "the exact credits")
        worth = -(-data["cost_pico_usd"] * data["micro_credits_per_usd"] // 10**9)
        hold = next(other["data"] for other in events if other["name"] == "hold_placed" and other["data"]["request"] == data["request"])
        check.equal((data["credits"], data["excess"]), (min(worth, hold["amount"]), max(0, worth - hold["amount"])), "what is charged, and what is beyond the hold")
        check.equal(Decimal(found["rounding"]), credits(worth) - exact, "what rounding added")
        check.equal(Decimal(found["excess"]), credits(data["excess"]), "the excess")
        check.equal([(part["grant"], int(Decimal(part["paid"]) * NANO)) for part in found["paid_by"] if part["paid"] != "0"],
                    [tuple(part) for part in data["allocations"]], "who paid")
        before = balance([other for other in events if other["position"] < event["position"]], user)
        check.equal((Decimal(found["balance_before"]), Decimal(found["balance_after"])), (credits(before), credits(data["balance"])), "balances")
        check.equal(found["price"]["version"], data["price"]["version"], "the price's version")
        for item in found["events"]:
            check.equal(item["hash"], hashes[item["position"]], f"the hash of {item}")
        check.equal({item["role"] for item in found["events"]} >= {"hold", "charge", "price"}, True, "the events")
        words = await gateway.api("GET", path, headers={"accept": "text/plain"})
        code, output, _ = books.replay("explain", books.database, data["request"])
        check.equal((code, output), (0, words.body), "the words")
        code, output, _ = books.replay("explain", books.database, data["request"], "--format", "json")
        check.equal((code, json.loads(output)), (0, found), "the command's JSON")
        other = next(key for name, key in books.keys.items() if name != user)
        check.equal((await gateway.api("GET", path, key=other)).status, 404, "status for another")
    check.equal({event["data"]["price"]["version"] for event in charges if event["data"]["model"] == "up:finish"}.__len__(), 2, "prices of up:finish")
    check.equal(books.replay("explain", books.database, "req_unheard-of")[0], 3, "exit code for no charge")


class Tags(html.parser.HTMLParser):
    """What is open, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.wrong = "", []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


async def statements(books: Books, events: list[dict]) -> None:
    check, gateway = books.check, books.gateway
    instants = [event["effective_at"] for event in events if not event["account"].startswith("$")]
    months = sorted({instant[:7] for instant in instants})
    for user, key in books.keys.items():
        closing = None
        for month in months:
            response = await gateway.api("GET", f"/v1/profile/statement?month={month}", key=key)
            code, output, _ = books.replay("statement", books.database, "--account", user, "--month", month, "--format", "json")
            if response.status == 404:
                check.equal(code, 3, "exit code of a month before the account")
                continue
            found = response.json
            check.equal((code, found["balanced"]), (0, True), "whether it adds up")
            opening = Decimal(found["opening"])
            if closing is not None:
                check.equal(opening, closing, f"what {month} opens with")
            moved = sum(Decimal(line["credits"]) for line in found["lines"])
            charged = sum(Decimal(line["credits"]) for line in found["charges_by_day"])
            check.equal(sum(Decimal(line["credits"]) for line in found["charges_by_model"]), charged, "charges by model and by day")
            closing = Decimal(found["closing"])
            check.equal(opening + moved - charged, closing, "opening + movements")
            of_month = [event for event in events if event["account"] == user and event["effective_at"].startswith(month)]
            known = sum(change(event) for event in of_month)
            due = sum(Decimal(line["credits"]) for line in found["lines"] if line["pending"])
            check.equal(closing - opening, credits(known) + due, f"what moved in {month}")
            tags = Tags()
            page = await gateway.api("GET", f"/v1/profile/statement?month={month}&format=html", key=key)
            tags.feed(page.body.decode())
            check.equal((tags.open, tags.wrong), ([], []), "tags that are open, or closed twice")
            for reason in (line["reason"] for line in found["lines"] if line["reason"]):
                check.that(reason.split("\n")[0] in tags.text, f"the page does not say {reason!r}")
            sheet = await gateway.api("GET", f"/v1/profile/statement?month={month}&format=csv", key=key)
            rows = list(csv.DictReader(io.StringIO(sheet.body.decode())))
            check.equal(sum(Decimal(row["credits"]) for row in rows[1:-1]), closing - opening, "the rows of the CSV")
            check.that(not any(cell[:1] in "=+@" and cell for row in rows for cell in row.values()), "a cell is a formula")
            text = await gateway.api("GET", f"/v1/profile/statement?month={month}&format=text", key=key)
            check.that(b"add up to the closing balance" in text.body, "the text does not say that it adds up")
        with check.about("the balance"):
            check.equal(closing, Decimal((await gateway.balance(user))["credits_exact"]), f"the last closing of {user}")


def csv_rows(body: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(body.decode(), newline="")))


async def exports(books: Books, events: list[dict]) -> None:
    check, gateway = books.check, books.gateway
    own = [event for event in events if not event["account"].startswith("$")]
    months = sorted({event["recorded_at"][:7] for event in own})
    following = [f"{int(month[:4]) + int(month[5:]) // 12:04}-{int(month[5:]) % 12 + 1:02}" for month in months]
    for kind in ("usage", "charges", "grants", "journal"):
        for form in ("csv", "jsonl"):
            code, output, error = books.replay("export", kind, books.database, "--format", form)
            response = await gateway.api("GET", f"/v1/exports/{kind}?format={form}", key=AUDITOR_KEY)
            check.equal((code, response.status, output == response.body), (0, 200, True), f"{kind} as {form}: {error}")
            parts = [books.replay("export", kind, books.database, "--format", form, "--from", f"{start}-01", "--to", f"{end}-01")[1]
                     for start, end in zip(months, following)]
            if form == "csv":
                parts = [parts[0], *(part.partition(b"\r\n")[2] for part in parts[1:])]
            check.equal(b"".join(parts) == output, True, f"{kind} as {form}: the months together")
        table = csv_rows(books.replay("export", kind, books.database)[1])
        lines = [json.loads(line) for line in books.replay("export", kind, books.database, "--format", "jsonl")[1].splitlines()]
        plain = [{name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value) for name, value in line.items()} for line in lines]
        # In CSV what looks like a formula has an apostrophe in front.
        bare = [{name: value[1:] if re.match(r"'[=+\-@\t\r]", value) else value for name, value in row.items()} for row in table]
        check.equal(bare, plain, f"{kind}: CSV and JSON")
        check.that(not any(re.match(r"[=+@\t\r]|-[^0-9]", value) for row in table for value in row.values()), f"{kind}: a cell is a formula")
        columns = books.replay("export", kind, books.database, "--columns")[1].decode()
        check.equal([line.split()[0] for line in columns.splitlines()], list(table[0]), f"{kind}: the columns that are described")
    usage = csv_rows(books.replay("export", "usage", books.database)[1])
    charged = [event for event in own if event["name"] == "request_charged"]
    check.equal([(int(row["position"]), Decimal(row["credits"]), Decimal(row["cost_usd"]), int(row["prompt_tokens"])) for row in usage if row["status"] == "success"],
                [(event["position"], credits(event["data"]["credits"]), event["data"]["cost_pico_usd"] * PICO, event["data"]["prompt_tokens"]) for event in charged],
                "the rows of usage")
    sums = [Decimal(row["paid"]) + Decimal(row["promotional"]) + Decimal(row["owed"]) == Decimal(row["credits"])
            for row in csv_rows(books.replay("export", "charges", books.database)[1])]
    check.equal(all(sums), True, "paid + promotional + owed = credits")
    moved = sum(Decimal(row["credits"] or 0) for row in csv_rows(books.replay("export", "grants", books.database)[1]))
    expected = sum(change(event) for event in own if event["name"] not in ("request_charged", "charge_reversed"))
    check.equal(moved, credits(expected), "the sum of grants")


async def resumed(books: Books, events: list[dict]) -> None:
    """A download that broke off goes on where it was, while the ledger grows."""
    check, gateway = books.check, books.gateway
    first = await gateway.api("GET", "/v1/exports/usage?format=csv")
    tag, through = first.header("etag"), first.header("x-ledger-through")
    await books.chat("alice", "up:finish")
    await books.world.settled("alice")
    for headers, query in (({"if-range": tag}, f"&through={through}"), ({}, f"&through={through}")):
        rest = await gateway.api("GET", f"/v1/exports/usage?format=csv{query}", headers={"range": "bytes=1000-"} | headers)
        check.equal((rest.status, rest.body == first.body[1000:]), (206, True), f"the rest: {rest}")
        check.equal(rest.header("content-range"), f"bytes 1000-{len(first.body) - 1}/{len(first.body)}", "content-range")
    # What has grown is another thing: all of it is given.
    whole = await gateway.api("GET", "/v1/exports/usage?format=csv", headers={"range": "bytes=1000-", "if-range": tag})
    check.equal((whole.status, whole.body.startswith(first.body)), (200, True), "after the ledger has grown")


def checked(tool: list[str], text: bytes, folder: Path, name: str) -> tuple[int, str]:
    path = folder / name
    path.write_bytes(text)
    code, output, error = run(*[part.format(path) for part in tool])
    return code, (output.decode() + error)[-600:]


async def journals(books: Books, events: list[dict]) -> None:
    """hledger and Beancount accept the journal, and no other; and it says what verify proves."""
    check, folder = books.check, books.gateway.folder
    tools = {"hledger": ["hledger", "-f", "{}", "check", "--strict"], "beancount": ["bean-check", "{}"]}
    middle = sorted({event["recorded_at"][:7] for event in events})[1]
    total = json.loads(books.replay("verify", books.database, "--format", "json")[1])["totals_nano_credits"]["balance"]
    for form, tool in tools.items():
        for by in ("day", "event"):
            code, text, error = books.replay("export", "journal", books.database, "--format", form, "--by", by)
            check.equal(code, 0, f"{form}: {error}")
            check.equal(checked(tool, text, folder, f"whole.{form}"), (0, ""), f"{form}, by {by}")
            amounts = [found for found in re.finditer(rb"\d+\.\d{9}(?= (?:~ 0 )?CREDIT)", text) if found[0] != b"0.000000000"]
            check.that(amounts, "no amount has nine decimals")
            for found in (amounts[0], amounts[len(amounts) // 2], amounts[-1]):
                last = found.end() - 1
                forged = text[:last] + bytes([text[last] ^ 1]) + text[last + 1:]
                check.equal(checked(tool, forged, folder, f"forged.{form}")[0], 1, f"{form} with {found[0]!r} off by a billionth")
        text = books.replay("export", "journal", books.database, "--format", form, "--from", f"{middle}-01")[1]
        check.equal(checked(tool, text, folder, f"part.{form}"), (0, ""), f"{form} from {middle} on")
    code, output, error = run("hledger", "-f", folder / "whole.hledger", "balance", "-N", "-O", "csv", "--layout", "bare")
    sums: dict[tuple[str, str], Decimal] = {(row["account"], row["commodity"]): Decimal(row["balance"]) for row in csv_rows(output)}
    customers = -sum(value for (account, _), value in sums.items() if account.startswith("liabilities:credits") or account == "assets:receivable:debt")
    check.equal(customers, credits(total), f"what customers have, by hledger: {error}")
    usd = sum((event["data"]["micro_usd"] for event in events if event["name"] == "payment_recorded"), 0)
    back = sum((event["data"]["micro_usd"] for event in events if event["name"] == "payment_refunded"), 0)
    check.equal(sums[("assets:cash", "USD")], Decimal(usd - back) / 10**6, "the cash, by hledger")
    postings = defaultdict(Decimal)
    for row in csv_rows(books.replay("export", "journal", books.database)[1]):
        postings[(row["ledger_account"], row["commodity"])] += Decimal(row["amount"])
    check.equal({key: value for key, value in postings.items() if value}, sums, "the postings' sums, and hledger's")


async def roll_forward(books: Books, events: list[dict]) -> None:
    check = books.check
    rows = csv_rows(books.replay("export", "roll-forward", books.database)[1])
    months: dict[str, dict[str, dict]] = defaultdict(dict)
    costs: dict[tuple, Decimal] = {}
    for row in rows:
        if row["line"] in ("cost", "excess"):
            costs[row["month"], row["line"], row["model"]] = Decimal(row["usd"])
            continue
        months[row["month"]][row["line"]] = {name: Decimal(row[name]) for name in ("paid", "promotional", "owed", "total")}
    expected: dict[tuple, Decimal] = defaultdict(Decimal)
    for event in (each for each in events if each["name"] == "request_charged"):
        data, month = event["data"], event["recorded_at"][:7]
        expected[month, "cost", data["model"]] -= Decimal(data["cost_pico_usd"]) / 10**12
        if data["excess"]:
            # What the hold covers at ten credits a dollar.
            expected[month, "excess", data["model"]] -= Decimal(data["cost_pico_usd"] - data["credits"] * 100) / 10**12
    check.equal(costs, {key: cost for key, cost in expected.items() if cost}, "what requests cost, by model")
    check.that(any(line == "excess" for _, line, _ in costs), "no provider reported more than was held")
    before = None
    for month, lines in sorted(months.items()):
        for column in ("paid", "promotional", "owed", "total"):
            moved = sum(line[column] for name, line in lines.items() if name not in ("opening", "closing"))
            check.equal(lines["opening"][column] + moved, lines["closing"][column], f"{column} of {month}")
        if before:
            check.equal(lines["opening"], before, f"what {month} opens with")
        before = lines["closing"]
        recorded = [event for event in events if event["recorded_at"].startswith(month)]
        used = sum(event["data"]["credits"] for event in recorded if event["name"] == "request_charged")
        check.equal(-lines["consumed"]["total"], credits(used), f"consumed in {month}")
    total = json.loads(books.replay("verify", books.database, "--format", "json")[1])["totals_nano_credits"]["balance"]
    check.equal(before["total"], credits(total), "the last closing")


def comes_due(event: dict) -> bool:
    """Whether it is recorded because its time has come."""
    return event["name"] == "grant_expired" or (event["name"] == "credits_granted" and event["data"]["source"] in ("MONTHLY_FREE", "SUBSCRIPTION"))


async def time_travel(books: Books, events: list[dict]) -> None:
    """What was late is known late: a balance at an instant depends on when it is asked."""
    check = books.check
    late = [event for event in events if micros(event["recorded_at"]) - micros(event["effective_at"]) > 86_400 * 10**6 and change(event)]
    check.that(late, "nothing was recorded late")
    # What comes due counts from then on, recorded or not.
    told = [event | {"recorded_at": event["effective_at"]} if comes_due(event) else event for event in events]
    for event in late[:3]:
        user, effective, recorded = event["account"], event["effective_at"], event["recorded_at"]
        for at in (effective, recorded):
            for known in (effective, recorded, None):
                more = ["--known-at", known] if known else []
                code, output, error = books.replay("balance", books.database, "--account", user, "--at", at, "--format", "json", *more)
                if not check.equal(code, 0, f"exit code at {at} known at {known}: {error}"):
                    continue
                found = json.loads(output)
                # What has expired counts no more, whether or not that was recorded.
                lapsed = [grant for grant in found["grants"] if grant["expires_at"] and micros(grant["expires_at"]) <= micros(at)]
                posted = balance(told, user, micros(at), micros(known) if known else None)
                check.equal(Decimal(found["balance"]), credits(posted) - sum(Decimal(grant["remaining"]) for grant in lapsed), f"balance at {at} known at {known}")
        code, output, _ = books.replay("diff", books.database, "--known-at", effective, recorded, "--account", user, "--format", "json")
        since = [other for other in told if other["account"] == user and micros(effective) < micros(other["recorded_at"]) <= micros(recorded)
                 and micros(other["effective_at"]) <= micros(effective) and change(other)]
        found = json.loads(output)["accounts"]
        check.equal((code, [each["position"] for each in found[0]["events"]] if found else []), (1 if since else 0, [each["position"] for each in since]), "the difference")
        check.equal(sum(Decimal(each["difference"]) for each in found), credits(sum(change(each) for each in since)), "what it comes to")
    head = events[-1]["recorded_at"]
    check.equal(books.replay("diff", books.database, "--known-at", head, head)[0], 0, "exit code where nothing differs")
    check.equal(books.replay("balance", books.database, "--account", "alice", "--at", "1999-01-01")[0], 3, "exit code before the account")


async def what_if(books: Books, events: list[dict]) -> None:
    check, folder = books.check, books.gateway.folder
    terms = folder / "terms.json"

    def told(*arguments: object) -> dict:
        code, output, error = books.replay("what-if", books.database, "--format", "json", *arguments)
        check.equal(code, 0, f"exit code: {error}")
        return json.loads(output)

    current = (await books.gateway.api("GET", "/v1/pricing", key=None)).json
    terms.write_text(json.dumps([price for price in current if price["model_key"] == "up:overrun"]))
    same = told("--prices", terms)
    pairs = [line[name] for line in same["usage"] for name in ("cost_usd", "credits")] + [same["balance"], same["accounts_below_zero"]]
    check.equal([pair for pair in pairs + same["months"] if pair["was"] != pair["would"]], [], "what differs under the same terms")
    doubled = {"model_key": "up:finish", "input_price_per_million": 10, "output_price_per_million": 20, "cached_price_per_million": 5}
    terms.write_text(json.dumps([doubled]))
    charges = [event["data"] for event in events if event["name"] == "request_charged" and event["data"]["model"] == "up:finish"]
    expected = sum(-(-((d["prompt_tokens"] - d["cached_tokens"]) * 10**7 + d["cached_tokens"] * 5 * 10**6 + d["completion_tokens"] * 2 * 10**7) // 100) for d in charges)
    found = sum(Decimal(line["credits"]["would"]) for line in told("--prices", terms)["usage"] if line["model"] == "up:finish")
    check.equal(found, credits(expected), "what other prices would have charged")
    terms.write_text(json.dumps({"FREE": {"top_up_to": 0}}))
    given = [line for line in told("--plans", terms)["months"] if line["line"] == "credits_given"]
    check.that(sum(Decimal(line["would"]) for line in given) < sum(Decimal(line["was"]) for line in given), "no top-up was saved")
    for wrong in ("", "{", "[]]", "[1]", '[{"model_key": "up:finish"}]', '[{"model_key": "up:finish", "input_price_per_million": 0.0000001, "output_price_per_million": 1}]',
                  json.dumps([doubled | {"unheard_of": 1}]), json.dumps([doubled, doubled]), '[{"model_key":"x"}]'):
        terms.write_text(wrong)
        code, output, error = books.replay("what-if", books.database, "--prices", terms)
        check.equal((code, output), (64, b""), f"{wrong!r}: {error}")
        check.that("terms.json" in error, f"{wrong!r}: the message names no file: {error}")


async def reconciliation(books: Books, events: list[dict]) -> None:
    """A provider's export agrees, or the day and model that do not are named."""
    check, folder = books.check, books.gateway.folder
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for event in (each for each in events if each["name"] == "request_charged"):
        data = event["data"]
        line = sums[(event["recorded_at"][:10], data.get("served_model") or data["model"].split(":")[1])]
        for index, value in enumerate((1, data["prompt_tokens"], data["cached_tokens"], data["completion_tokens"])):
            line[index] += value

    def verdict(provider: str, head: str, lines: list[str], *more: object) -> tuple[int, list[tuple[str, str]]]:
        path = folder / "usage.csv"
        path.write_text("\r\n".join([head, *lines]) + "\r\n")
        code, output, error = books.replay("reconcile", books.database, "--provider", provider, "--file", path, "--name", "up", "--format", "json", *more)
        check.that(code in (0, 1), f"exit code {code}: {error}")
        return code, [(line["day"], line["verdict"]) for line in json.loads(output)["lines"] if line["verdict"] != "equal"] if code in (0, 1) else []

    openai = "start_time_iso,model,num_model_requests,input_tokens,input_cached_tokens,output_tokens"
    rows = [f"{day}T00:00:00+00:00,{model},{line[0]},{line[1]},{line[2]},{line[3]}" for (day, model), line in sorted(sums.items())]
    check.equal(verdict("openai", openai, rows), (0, []), "OpenAI's export")
    anthropic = "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens"
    check.equal(verdict("anthropic", anthropic, [f"{day},{model},k,{line[1] - line[2]},0,0,{line[2]},{line[3]}" for (day, model), line in sorted(sums.items())]), (0, []),
                "Anthropic's export")
    plain = [f"{day},{model},{line[1]},{line[3]}" for (day, model), line in sorted(sums.items())]
    for provider in ("gemini", "xai"):
        check.equal(verdict(provider, "date,model,input_tokens,output_tokens", plain), (0, []), f"the plain form for {provider}")
    (day, model), line = sorted(sums.items())[-1]
    off = [*plain[:-1], f"{day},{model},{line[1] + 1},{line[3]}"]
    check.equal(verdict("xai", "date,model,input_tokens,output_tokens", off), (1, [(day, "differs")]), "one token more")
    check.equal(verdict("xai", "date,model,input_tokens,output_tokens", off, "--tolerance", "10"), (0, [(day, "tolerated")]), "one token more, tolerated")
    check.equal(verdict("xai", "date,model,input_tokens,output_tokens", [*plain, f"{day},unheard-of,1,1"]), (1, [(day, "only_there")]), "a model that nobody asked")
    first = sorted(sums)[0][0]
    check.that((first, "only_here") in verdict("xai", "date,model,input_tokens,output_tokens", [f"{first},nothing,0,0"])[1], "what only we have")
    for wrong in ("", "date,model\n", "date,model,input_tokens,output_tokens\n2026-01-01,m,1\n", "date,model,input_tokens,output_tokens\n2026-01-01,m,-1,1\n",
                  "date,model,input_tokens,output_tokens\nyesterday,m,1,1\n", 'date,model,input_tokens,output_tokens\n"2026-01-01,m,1,1\n',
                  "date,model,input_tokens,output_tokens\n2026-01-01,m,1e30,1\n", "\x00\n"):
        path = folder / "usage.csv"
        path.write_text(wrong)
        code, output, error = books.replay("reconcile", books.database, "--provider", "xai", "--file", path)
        check.equal((code, output), (64, b""), f"{wrong!r}: {error}")
        check.that("line" in error, f"{wrong!r}: no line is named: {error}")


@case
async def verify_passes() -> None:
    """Every table belongs to a pass of replay verify, whatever is wrong in an ordinary table is found, and the number of threads changes nothing."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 5)
        await gateway.user("erased", 5)
        answer = await gateway.answer(key, "up:finish", max_tokens=9, headers={"idempotency-key": "kept"})
        check.equal(answer.status, 200, f"{answer}")
        await world.settled("alice")
        check.equal((await gateway.api("DELETE", "/v1/users/erased")).status, 204, "status of the erasure")
        check.equal(await gateway.stop(), 0, "the exit code")

        def verify(database: Path, *more: object) -> tuple[int, dict]:
            code, output, error = run(REPLAY, "verify", database, "--format", "json", *more)
            return code, json.loads(output) if output else {"error": error}

        _, whole = verify(gateway.database)
        tables = {table for each in whole["passes"] for table in each["tables"]}
        with sqlite3.connect(gateway.database) as db:
            there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
        check.equal(tables, there, "the tables that a pass covers")
        for jobs in (1, 2, 4):
            code, found = verify(gateway.database, "--jobs", jobs)
            check.equal((code, found["head"], found["root"], found["totals_nano_credits"]), (0, whole["head"], whole["root"], whole["totals_nano_credits"]), f"with {jobs} threads")
        code, found = verify(gateway.database, "--account", "alice")
        check.equal((code, found["sound"], found["accounts"]), (0, True, 1), "one account")
        check.equal(verify(gateway.database, "--account", "nobody")[0], 3, "exit code for no account")
        for what, sql in {
            "another table": "CREATE TABLE more (x)",
            "an e-mail of who was erased": "UPDATE users SET email = 'a@example.com' WHERE user_id = 'erased'",
            "another charge in a kept answer": "UPDATE request_keys SET charged = charged + 1",
            "a kept answer without its charge": "UPDATE request_keys SET charged = NULL",
            "another balance in a kept answer": "UPDATE request_keys SET balance = balance + 1",
            "a key's name of who was erased": "UPDATE api_keys SET key_name = 'Ada' WHERE user_id = 'erased'",
            "a webhook of who was erased": "INSERT INTO webhooks VALUES ('erased', 'https://example.com', 'secret')",
            "a notice of who was erased": "INSERT INTO notices VALUES ('x', 1, 'erased', '{}', 0, 0, 0, NULL)",
            "a notice that cannot be read": "INSERT INTO notices VALUES ('x', 1, 'alice', '{', 0, 0, 0, NULL)",
            "an erasure of which no event says": "DELETE FROM request_keys; UPDATE api_keys SET key_name = NULL, is_active = 0, deleted_at = 1 WHERE user_id = 'alice'; "
                                                "UPDATE users SET deleted_at = 1, alias = NULL, email = NULL, name = NULL WHERE user_id = 'alice'",
            "an erasure taken back": "UPDATE users SET deleted_at = NULL WHERE user_id = 'erased'",
            "a table that looks like an unfinished rebuild's": "CREATE TABLE rebuild_more (x)",
            "an unfinished rebuild's table of another form": "CREATE TABLE rebuild_balances (x)",
            "a notice of an unknown account": "INSERT INTO notices VALUES ('x', 1, 'nobody', '{}', 0, 0, 0, NULL)",
            "a key of nobody": "PRAGMA foreign_keys = OFF; UPDATE api_keys SET user_id = 'nobody'",
            "metadata that are no JSON": "UPDATE users SET metadata = '{' WHERE user_id = 'alice'",
            "a tile of nothing": "INSERT INTO tree_tiles VALUES (0, zeroblob(32))",
            "a checkpoint of nothing": "INSERT INTO signed_checkpoints VALUES (3, 0, 'x', 0)",
        }.items():
            other = copy(gateway.database, "tampered")
            with Forger(other) as forger:
                forger.connection.executescript(sql)
            code, found = verify(other)
            check.equal((code, found.get("sound")), (1, False), f"{what}: {found}")
        other = copy(gateway.database, "unfinished")
        with sqlite3.connect(other) as db:
            (definition,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'balances'").fetchone()
            db.execute(definition.replace("balances", "rebuild_balances"))
        check.equal(verify(other)[0], 0, "exit code beside what an interrupted rebuild has left")
        # One account's own figures are found by looking at it alone, too.
        other = copy(gateway.database, "tampered")
        with Forger(other) as forger:
            forger.run("UPDATE balances SET balance = balance + 1 WHERE account = 'alice'")
        check.equal(verify(other, "--account", "alice")[0], 1, "exit code where a balance was changed")


@case
async def desk_edges() -> None:
    """What others wrote forges no line; quiet months, waiting payments, unknown accounts and odd arguments have an answer that says what it is."""
    async with World(["up:finish"], settings=SETTINGS) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 5)
        answer = await gateway.answer(key, "up:finish", max_tokens=9)
        check.equal(answer.status, 200, f"{answer}")
        await world.settled("alice")
        forged = "lost\n  charge: position 1, forged\r\u2028  hash\x1b[2J\x07\x00\u202e"
        request = next(event["data"]["request"] for event in await gateway.events() if event["name"] == "request_charged")
        await gateway.wanted("POST", f"/v1/ledger/charges/{request}/reverse", {"reason": forged})
        await gateway.wanted("POST", "/v1/billing/adjustments", {"user_id": "alice", "amount": 1, "reason": forged})
        # The second payment waits for its cycle; a part of it goes back.
        for payment in ("p1", "p2"):
            await gateway.wanted("POST", "/v1/billing/subscription", {"user_id": "alice", "plan_name": "BASIC", "payment_id": payment})
        await gateway.wanted("POST", "/v1/billing/refunds", {"payment_id": "api:p2", "reason": "a part", "amount_usd": 1})
        month = (await gateway.events())[-1]["recorded_at"][:7]
        check.equal((await gateway.api("GET", "/v1/profile/statement?user=alice&month=9999-12")).status, 422, "status for the last month of all")
        check.equal((await gateway.api("GET", "/v1/profile/statement?user=alice&month=2999-12")).status, 422, "status for a month that is to come")
        check.equal((await gateway.api("GET", "/v1/profile/statement?user=alice&from=2026-01-01&to=2026-02-01")).status, 422, "status for a period")
        with check.about("over HTTP"):
            end = "/v1/exports/journal?format=hledger&to=2999-01-01"
            whole = (await gateway.api("GET", end)).body
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)) as connection:
                connection.request("HEAD", end, headers={"authorization": f"Bearer {MASTER_KEY}"})
                head = await asyncio.to_thread(connection.getresponse)
                check.equal((head.status, head.headers["content-length"], head.read()), (200, str(len(whole)), b""), "the head of an export")
            part = await gateway.api("GET", end, headers={"range": "bytes=5-"})
            check.equal(part.status, 200, "status of a range of what is still growing")
            past = await gateway.api("GET", "/v1/exports/journal?format=hledger&to=2020-01-01", headers={"range": "bytes=1-"})
            check.that(past.status in (206, 416), f"status of a range of what is over: {past.status}")
            last = (await gateway.events())[-1]["position"]
            for accept in ({}, {"accept": "text/event-stream"}):
                ahead = await gateway.api("GET", f"/v1/ledger/events?after={last + 1000}", headers=accept)
                check.equal((ahead.status, ahead.json["code"]), (409, "position_not_reached"), "events behind the end")
            check.equal((await gateway.api("GET", f"/v1/ledger/events?after={last}")).json["events"], [], "events behind the last")
        check.equal(await gateway.stop(), 0, "the exit code")
        database = gateway.database

        def replay(command: str, *arguments: object) -> tuple[int, str]:
            code, output, _ = run(REPLAY, command, database, *arguments)
            return code, output.decode()

        with check.about("texts"):
            explained = replay("explain", request)[1]
            pages = {"explain": explained, **{form: replay("statement", "--account", "alice", "--month", month, "--format", form)[1] for form in ("text", "html")}}
            for form, text in pages.items():
                odd = {character for character in text if ord(character) < 32 and character not in "\n\r\t" or character in "\x7f\u2028\u202e"}
                check.equal(odd, set(), f"what is no text in {form}")
                check.that("forged" in text, f"{form} lacks the reason")
            check.equal([line for line in explained.split("\n") if line.startswith("  charge: ") and "forged" in line], [], "forged lines")
        with check.about("figures that do not fit"):
            for name, member in (("price_set", '"input":'), ("request_charged", '"balance":'), ("credits_granted", '"amount":')):
                damaged = copy(database, f"another-{name}")
                with contextlib.closing(sqlite3.connect(damaged)) as opened:
                    position, data = opened.execute("SELECT position, data FROM events WHERE type GLOB ? AND data GLOB '*' ORDER BY account = 'alice' DESC, data GLOB '*up:finish*' DESC LIMIT 1", (f"{name}.*",)).fetchone()
                with Forger(damaged) as forger:
                    forger.set(position, "data", data.replace(member, member + "1", 1))
                code, output, _ = run(REPLAY, "explain", damaged, request)
                check.equal((code, b"DO NOT FIT" in output), (1, True), f"another {name}")
        with check.about("exports"):
            grants = csv_rows(run(REPLAY, "export", "grants", database)[1])
            check.equal([(row["kind"], Decimal(row["usd"])) for row in grants if row["reference"] == "api:p2"], [("payment", 10), ("refunded", -1)], "the payment that waits")
            quiet = csv_rows(run(REPLAY, "export", "roll-forward", database, "--from", "2031-03-01")[1])
            check.equal([(row["month"], row["line"]) for row in quiet if row["line"] in ("opening", "closing")], [("2031-03", "opening"), ("2031-03", "closing")], "a quiet month")
            check.equal(csv_rows(run(REPLAY, "export", "roll-forward", database, "--from", "1999-01-01", "--to", "1999-06-01")[1]), [], "months before there was a ledger")
            check.equal(len({row["total"] for row in quiet if row["line"] in ("opening", "closing")}), 1, "nothing moved in it")
        with check.about("arguments"):
            plans = database.parent / "desk-plans.json"
            plans.write_text('{"FREE": {"top_up_to": 1, "top_up_to": 2}}')
            unknown = database.parent / "desk-unknown.json"
            unknown.write_text('{"FREEE": {"top_up_to": 1}}')
            with open("/dev/full", "wb") as full:
                for command in ("verify", "events"):
                    ended = subprocess.run([REPLAY, command, database], stdout=full, stderr=subprocess.PIPE, timeout=60)
                    check.equal((ended.returncode, b"No space left" in ended.stderr), (2, True), f"{command} onto a full disk: {ended.stderr!r}")
            prices = database.parent / "desk-prices.json"
            prices.write_text('[{"model_key": "up:finish", "input_price_per_million": 1, "output_price_per_million": 1, "long_context": {"above_prompt_tokens": 9}}]')
            code, _, error = run(REPLAY, "what-if", database, "--prices", prices)
            check.that(code == 64 and "long_context needs input_price_per_million" in error, f"long_context without prices: {code} {error!r}")
            for what, wanted, arguments in [
                ("members that are there twice", 64, ("what-if", "--plans", plans)), ("no year", 64, ("statement", "--account", "alice", "--month", "+026-03")),
                ("the last month of all", 64, ("statement", "--account", "alice", "--month", "9999-12")),
                ("a plan that nobody knows", 64, ("what-if", "--plans", unknown)),
                ("one account and a head", 64, ("verify", "--account", "alice", "--expect-head", f"1:{'0' * 64}")),
                ("an unknown account", 3, ("diff", "--account", "nobody", "--known-at", "2026-01-01", "2026-02-01")),
            ]:
                check.equal(replay(*arguments)[0], wanted, f"exit code for {what}")
            check.equal(json.loads(replay("verify", "--account", "alice", "--format", "json")[1])["root"], None, "the root of one account")
