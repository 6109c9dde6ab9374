"""The import from the old gateway's database: everything once, to the nano-credit, whatever interrupts it."""

from __future__ import annotations

import asyncio
import datetime
import json
import sqlite3
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from urllib.parse import quote

import old_gateway
from checks import Checks, case
from gateway import SERVER
from old_gateway import BEFORE_CREDITS, OldPostgres, OldSQLite, identity, token
from world import World

NANO, PICO = Decimal("1e-9"), Decimal("1e-12")


@case
async def import_postgres() -> None:
    """What an old gateway on PostgreSQL has comes over once, reconciled; its keys, balances and history work here."""
    async with World(["up:finish"]) as world:
        await import_case(world, OldPostgres(world.gateway.folder))


@case
async def import_sqlite() -> None:
    """The same from SQLite; and what is no old gateway, or one from before there were credits."""
    async with World(["up:finish"]) as world:
        await import_case(world, OldSQLite(world.gateway.folder))
        await unusual_databases(world)


async def start(url: str, *more: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        SERVER, "import", "--from", url, *[str(word) for word in more], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)


async def run(check: Checks, old, *more: object, code: int = 0) -> dict:
    """Runs the import and gives its report; it must end with that exit code, and never tell the password."""
    process = await start(old.url, *more, "--format", "json")
    out, err = await asyncio.wait_for(process.communicate(), 300)
    check.equal(process.returncode, code, f"exit code of the import, which printed {err.decode()[:600]}{out.decode()[-600:]}")
    tells_no_secret(check, old, out + err)
    try:
        return json.loads(out)
    except ValueError:
        raise AssertionError(f"the report is no JSON: {out[:300]!r}…{out[-300:]!r}, {err[:600]!r}") from None


def tells_no_secret(check: Checks, old, output: bytes) -> None:
    if old.secret:
        for secret in (old.secret, old.secret.split("@")[0] + "%40"):
            check.that(secret.encode() not in output, "the output holds the password")


async def import_case(world: World, old) -> None:
    check, gateway = world.check, world.gateway
    # It has run before: its books hold what the configuration says.
    check.equal(await gateway.stop(), 0, "the server's exit code")
    try:
        await old.start()
        with check.about("killed in the middle"):
            await killed(world, old)
        with check.about("the first import"):
            report = await run(check, old, "--config", gateway.config_path)
            reconciled(check, report)
            named(check, report)
            ordinary_rows(check, gateway.database)
            before = await sound(world)
        with check.about("the second import"):
            again = await run(check, old, "--config", gateway.config_path)
            check.equal(again["new_events"], 0, "new events")
            check.equal(again["accounts"], report["accounts"], "the accounts")
            check.equal(await sound(world), before, "the head of the ledger")
        with check.about("as text"):
            await as_text(world, old)
        await gateway.start()
        with check.about("while the server runs"):
            process = await start(old.url, "--config", gateway.config_path)
            out, err = await asyncio.wait_for(process.communicate(), 60)
            check.equal(process.returncode, 2, "exit code")
            check.that(b"open for writing in another process" in err, f"the reason: {err!r}")
        with check.about("served from what was imported"):
            charged = await served(world)
        check.equal(await gateway.stop(), 0, "the server's exit code")
        with check.about("a changed old database"):
            await changed(world, old, charged)
    finally:
        await old.close()
    gateway.users += ["alice", "bob"]
    await gateway.start()
    with check.about("cycles that were paid for there"):
        await running_cycles(world)


async def sound(world: World, database: Path | None = None) -> dict:
    code, report, output = await world.gateway.verify(database=database)
    world.check.equal(code, 0, f"exit code of replay verify, which printed {output.strip()[:1500]}")
    return report.get("head", {})


# -- what has to come over


def expected() -> dict[str | None, dict]:
    """Per account: the old balance exactly, what is granted of it, and the same of the usage."""
    accounts: dict[str | None, dict] = {}

    def of(user: str) -> dict:
        return accounts.setdefault(user, {"old": Decimal(0), "imported": Decimal(0), "rows": 0, "cost": Decimal(0), "imported_cost": Decimal(0)})

    for row in old_gateway.balances():
        if row["expires_at"] is None or row["expires_at"] > old_gateway.NOW:
            amount = Decimal(repr(row["amount"]))
            of(row["user_id"])["old"] += amount
            of(row["user_id"])["imported"] += amount.quantize(NANO, ROUND_HALF_UP)
    for row in old_gateway.usage():
        cost = Decimal(repr(row["cost"] or 0.0))
        of(row["user_id"])["rows"] += 1
        of(row["user_id"])["cost"] += cost
        of(row["user_id"])["imported_cost"] += cost.quantize(PICO, ROUND_HALF_UP)
    return accounts


def reconciled(check: Checks, report: dict) -> None:
    check.equal(report["reconciled"], True, "reconciled")
    wanted = expected()
    found = {account["account"]: account for account in report["accounts"]}
    check.equal(sorted(found), sorted(wanted), "the accounts")
    for user, account in found.items():
        with check.about(user):
            figures = wanted.get(user, {})
            check.equal(Decimal(account["credits_old"]), figures.get("old"), "the old balance")
            check.equal(Decimal(account["credits_imported"]), figures.get("imported"), "the imported balance")
            check.equal(Decimal(account["credits_rounded"]), figures.get("imported") - figures.get("old"), "what rounding added")
            check.equal((account["usage_rows_old"], account["usage_rows_imported"]), (figures.get("rows"),) * 2, "rows of usage")
            check.equal(Decimal(account["cost_usd_old"]), figures.get("cost"), "the old cost")
            check.equal(Decimal(account["cost_usd_imported"]), figures.get("imported_cost"), "the imported cost")
            check.equal((account["credits_unexplained"], account["cost_usd_unexplained"]), ("0", "0"), "what is unexplained")
    total = report["total"]
    for name, key in (("credits_old", "old"), ("credits_imported", "imported"), ("cost_usd_old", "cost"), ("cost_usd_imported", "imported_cost")):
        check.equal(Decimal(total[name]), sum(figures[key] for figures in wanted.values()), f"total {name}")
    check.equal(total["usage_rows_imported"], old_gateway.USAGE_ROWS, "total rows of usage")
    tables = report["tables"]
    check.equal(tables["users"]["imported"], len(old_gateway.users()), "imported users")
    check.equal(tables["api_keys"]["imported"], len(old_gateway.keys()), "imported keys")
    check.equal(tables["usage_logs"], {"imported": old_gateway.USAGE_ROWS, "present": 0, "skipped": 0}, "rows of usage")
    check.equal((tables["model_pricing"]["imported"], tables["model_pricing"]["present"]), (1, 1), "prices new, and here already")


def named(check: Checks, report: dict) -> None:
    """Every figure that was rounded is named with its exact value; what expired and what stays is named, too."""
    rounded = {(note["table"], note["row"], note["column"]): (note["value"], note["became"]) for note in report["notes"] if note["kind"] == "rounded"}
    for n, row in enumerate(old_gateway.balances()):
        amount = Decimal(repr(row["amount"]))
        kept = amount.quantize(NANO, ROUND_HALF_UP)
        found = rounded.pop(("credit_balances", identity(f"balance-{n}"), "amount"), None)
        if kept == amount:
            check.equal(found, None, f"balance {n} is not named as rounded")
        elif check.that(found, f"balance {n} is named as rounded"):
            check.equal((Decimal(found[0]), Decimal(found[1])), (amount, kept), f"balance {n}")
    for row in old_gateway.usage():
        cost = Decimal(repr(row["cost"] or 0.0))
        kept = cost.quantize(PICO, ROUND_HALF_UP)
        found = rounded.pop(("usage_logs", row["id"], "cost"), None)
        if (found is None) != (kept == cost) or found and (Decimal(found[0]), Decimal(found[1])) != (cost, kept):
            check.fail(f"usage {row['id']} of {cost} USD is named as {found}")
    check.equal(rounded, {
        ("budgets", "team", "max_budget"): ("12.3456784", "12.345678"),
        ("model_pricing", "openai:gpt-5", "input_price_per_million"): ("0.15000000000000002", "0.15"),
        ("model_pricing", "openai:gpt-5", "output_price_per_million"): ("0.30000000000000004", "0.3"),
    }, "other roundings")
    expired = [note["row"] for note in report["notes"] if note["kind"] == "expired"]
    check.equal(expired, [identity("balance-3")], "what had expired")
    kept = [note["row"] for note in report["notes"] if note["kind"] == "kept"]
    check.equal(kept, ["BASIC"], "plans whose terms stay ours")


def ordinary_rows(check: Checks, database: Path) -> None:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        plans = dict(connection.execute("SELECT account, plan FROM balances"))
        check.equal((plans.get("alice"), plans.get("bob"), plans.get("carol")), ("BASIC", "PRO", "FREE"), "plans of the accounts")
        check.equal(blocked_in(database), ["carol"], "blocked accounts")
        created = dict(connection.execute("SELECT user_id, created_at FROM users"))
        for user in old_gateway.users():
            check.equal(created.get(user["user_id"]), micros(user["created_at"]), f"created_at of {user['user_id']}")
        found = connection.execute("SELECT provider, subject, user_id, email_verified, last_login_at FROM identities ORDER BY user_id").fetchall()
        wanted = [("google", f"sub-{user}", user, 0, micros(old_gateway.days(-3))) for user in ("alice", "bob")]
        check.equal(found, wanted, "identities")
        check.equal(connection.execute("SELECT email, name FROM users WHERE user_id = 'alice'").fetchone(), ("alice@example.org", "Alice"), "alice")
        check.equal(connection.execute("SELECT count(*) FROM bonus_marks").fetchone(), (4,), "marks of who has had the bonus: two people, each by the provider's name and by e-mail")
        budget = connection.execute("SELECT budget_id, max_budget_micro_usd, duration_seconds FROM budgets").fetchall()
        check.equal(budget, [("team", 12345678, 86400)], "budgets")
        events = "\n".join(data for data, in connection.execute("SELECT data FROM events"))
        check.that("example.org" not in events, "an e-mail got into an event")
    finally:
        connection.close()


def blocked_in(database: Path) -> list[str]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return [account for account, in connection.execute("SELECT account FROM balances WHERE blocked = 1 ORDER BY account")]
    finally:
        connection.close()


def micros(instant: datetime.datetime) -> int:
    return round((instant - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


# -- what must not disturb it


def events_in(database: Path) -> int:
    """How many events a ledger that is being written has; 0 where there is none yet."""
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)
        try:
            return connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


async def killed(world: World, old) -> None:
    """kill -9 at several places, one behind the other, in one ledger that is then completed."""
    check, ledger = world.check, world.gateway.folder / "killed.sqlite"
    url, interrupted = f"sqlite:///{ledger}", 0
    for least in (1, 20, 900, 1800):
        process = await start(old.url, "--database-url", url)
        ended = asyncio.create_task(process.communicate())
        while not ended.done() and events_in(ledger) < least:
            await asyncio.sleep(0.001)
        if process.returncode is None:
            process.kill()
        await ended
        interrupted += process.returncode == -9
        if events_in(ledger):
            await sound(world, ledger)
    check.that(interrupted, "no import was ever interrupted")
    report = await run(check, old, "--database-url", url)
    check.equal(report["reconciled"], True, "reconciled in the end")
    check.equal(report["total"]["usage_rows_imported"], old_gateway.USAGE_ROWS, "rows of usage in the end")
    await sound(world, ledger)
    again = await run(check, old, "--database-url", url)
    check.equal((again["new_events"], again["total"]), (0, report["total"]), "new events and totals of another run")


async def as_text(world: World, old) -> None:
    check = world.check
    process = await start(old.url, "--config", world.gateway.config_path)
    out, err = await asyncio.wait_for(process.communicate(), 300)
    text = out.decode()
    check.equal(process.returncode, 0, f"exit code: {err[:600]!r}")
    tells_no_secret(check, old, out + err)
    balance = identity("balance-0")
    check.that(f"credit_balances {balance} (alice): amount 9.999999999999998 became 10\n" in text, f"the rounding is not named:\n{text[:2000]}")
    check.that("\ntotal    " in text and text.endswith("reconciled\n"), f"the end of the report:\n{text[-1000:]}")
    for url in (old.url.replace(f":{getattr(old, 'port', 0)}/", ":1/"), old.url + "-nowhere"):
        process = await start(url, "--config", world.gateway.config_path)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        if url != old.url:
            check.equal(process.returncode, 2, f"exit code where there is no old database: {err!r}")
        tells_no_secret(check, old, out + err)


async def served(world: World) -> Decimal:
    """The old keys, balances and history in use; gives what a chat has cost."""
    check, gateway = world.check, world.gateway
    before = Decimal(str((await gateway.balance("alice"))["credits_exact"]))
    check.equal(before, Decimal("10.3000001"), "alice's balance")
    rows = await gateway.usage("alice", limit=2000)
    old = [row for row in old_gateway.usage() if row["user_id"] == "alice"]
    check.equal(len(rows), len(old), "rows of alice's usage")
    for row, was in zip(rows, sorted(old, key=lambda row: row["timestamp"], reverse=True)):
        cost = Decimal(repr(was["cost"] or 0.0)).quantize(PICO, ROUND_HALF_UP)
        found = (row["id"], datetime.datetime.fromisoformat(row["timestamp"]), row["status"], row["api_key_id"], row["prompt_tokens"])
        if found != ("import_" + was["id"], was["timestamp"], was["status"], was["api_key_id"], was["prompt_tokens"] or 0):
            check.fail(f"a row of usage: expected {was}, found {row}")
            break
        check.equal(Decimal(str(row["cost"])).quantize(PICO), cost, "cost")
    for key in old_gateway.keys():
        found = await gateway.wanted("GET", f"/v1/keys/{quote(key['id'], safe='')}")
        check.equal((found["id"], found["user_id"], found["is_active"]), (key["id"], key["user_id"], key["is_active"]), "a key by its id")
    answer = await gateway.answer(token("alice"), "up:finish")
    check.equal(answer.status, 200, f"a chat with alice's old key: {answer}")
    await world.settled("alice")
    after = Decimal(str((await gateway.balance("alice"))["credits_exact"]))
    check.that(after < before, "the chat was not charged")
    for user, what in (("carol", "blocked"), ("dora", "whose key is inactive")):
        answer = await gateway.answer(token(user), "up:finish")
        check.within(answer.status, {401, 403}, f"a chat of {user}, {what}")
    for user, credits in (("jos\u00e9", "1.5"), ("jose\u0301", "2.5"), ("bob", "19.75")):
        check.equal(Decimal(str((await gateway.balance(user))["credits_exact"])), Decimal(credits), f"balance of {user}")
    return before - after


async def changed(world: World, old, charged: Decimal) -> None:
    """The old gateway went on: what is new comes over, what changed is named and not carried twice."""
    check, gateway = world.check, world.gateway
    await old.run(f"""
        UPDATE credit_balances SET amount = 4 WHERE id = '{identity("balance-0")}';
        DELETE FROM credit_balances WHERE id = '{identity("balance-6")}';
        UPDATE usage_logs SET cost = 9 WHERE id = '{identity("usage-6")}';
        UPDATE users SET blocked = {'true' if old.name == 'postgres' else 1} WHERE user_id = 'dora';
        UPDATE users SET blocked = {'false' if old.name == 'postgres' else 0} WHERE user_id = 'carol';
    """)
    more = [{**old_gateway.balances()[0], "id": identity(f"new-{n}"), "user_id": "dora", "amount": amount} for n, amount in enumerate((3.0, -5.0))]
    await old.insert("credit_balances", more)
    await old.insert("usage_logs", [{**old_gateway.usage(1)[0], "id": identity("new usage"), "timestamp": old_gateway.days(-0.001), "cost": 0.5}])
    await old.insert("api_keys", [{**old_gateway.keys()[0], "id": "odd", "key_hash": "not a hash"}])
    for attempt in ("the first time", "again"):
        with check.about(attempt):
            report = await run(check, old, "--config", gateway.config_path, code=1)
            # A block and the end of one, three credits less as many of the five, and a request.
            check.equal(report["new_events"], 5 if attempt == "the first time" else 0, "new events")
            notes = {(note["kind"], note["table"], note.get("row")) for note in report["notes"] if note["kind"] in ("changed", "skipped")}
            check.equal(notes, {
                ("changed", "credit_balances", identity("balance-0")), ("changed", "credit_balances", identity("balance-6")),
                ("changed", "usage_logs", identity("usage-6")), ("skipped", "credit_balances", identity("new-1")), ("skipped", "api_keys", "odd"),
            }, "what is named")
            accounts = {account["account"]: account for account in report["accounts"]}
            check.equal(accounts["alice"]["credits_unexplained"], "6", "alice: 10 were imported of what is 4 now")
            check.equal(accounts["dora"]["credits_unexplained"], "2", "dora: a debt that no row covers")
            check.equal(accounts["bob"]["reconciled"], True, "bob")
            check.equal(blocked_in(gateway.database), ["dora"], "blocked accounts")
            await sound(world)
    code, out, err = await gateway.replay("balance", gateway.database, "--account", "alice", "--format", "json")
    check.equal((code, Decimal(json.loads(out)["balance"])), (0, Decimal("10.3000001") - charged), f"alice's balance: {err}")


async def running_cycles(world: World) -> None:
    """What runs on when it comes over was paid for: a call about it grants nothing, and a better plan what it grants more for the rest, once."""
    check, gateway = world.check, world.gateway
    ends = micros(old_gateway.days(10))

    async def said(user: str, *names: str) -> list[dict]:
        return [event for event in await gateway.events() if event["account"] == user and event["name"] in names]

    async def granted(user: str) -> list[tuple[int, int]]:
        """Credits of each cycle's part that was granted here, and when it ends."""
        return [(event["data"]["amount"], event["data"]["expires_at"]) for event in await said(user, "credits_granted") if event["data"]["source"] == "SUBSCRIPTION"]

    async def subscribe(user: str, plan: str) -> None:
        await gateway.wanted("POST", "/v1/billing/subscription", {"user_id": user, "plan_name": plan})

    cycles: dict[str, dict] = {}
    for user, plan, cost in (("alice", "BASIC", 10_000_000), ("bob", "PRO", 29_990_000)):
        payment, cycle = (event["data"] for event in await said(user, "payment_recorded", "renewal_evaluated"))
        check.equal((payment["purchase"], payment["plan"], payment["micro_usd"]), ("imported", plan, cost), f"the payment of {user}")
        check.equal((cycle["outcome"], cycle["plan"], cycle["payment"], cycle["until"]), ("imported", plan, payment["payment"], ends), f"the cycle of {user}")
        data = await gateway.balance(user)
        found = (data["plan"], data["cycle"]["is_paid"], micros(datetime.datetime.fromisoformat(data["cycle"]["ends_at"])))
        check.equal(found, (plan, True, ends), f"the plan of {user}")
        payments = (await gateway.wanted("GET", f"/v1/profile/payments?user={user}"))["data"]["paymentTransactions"]
        check.equal(payments, [], f"what {user} has paid here")
        cycles[user] = cycle
    check.equal(await said("carol", "payment_recorded", "renewal_evaluated"), [], "the cycle of who had cancelled")
    for user, plan in (("alice", "BASIC"), ("bob", "PRO"), ("bob", "PRO")):
        await subscribe(user, plan)
        check.equal(await granted(user), [], f"cycles of {user}")
    await asyncio.gather(*(subscribe("alice", "PRO") for _ in range(5)))
    upgrade = (await said("alice", "payment_recorded"))[-1]
    left, length = ends - micros(datetime.datetime.fromisoformat(upgrade["effective_at"])), ends - cycles["alice"]["from"]
    more = 200 * 10**9 * left // length
    check.that(0 < left < length and 199 * 10**9 < more, f"of {length} µs {left} are left, for {more} nano-credits")
    check.equal(await granted("alice"), [(more, ends)], "what PRO grants beyond BASIC for the rest of the cycle, until its end")
    for plan in ("BASIC", "PRO") * 3:
        for user in ("alice", "bob"):
            await subscribe(user, plan)
    check.equal((await granted("alice"), await granted("bob")), ([(more, ends)], []), "cycles after they went to and fro")


async def unusual_databases(world: World) -> None:
    check, gateway = world.check, world.gateway
    folder = gateway.folder / "before"
    folder.mkdir()
    with check.about("a gateway from before there were credits"):
        old = await OldSQLite(folder, BEFORE_CREDITS).start()
        report = await run(check, old, "--database-url", f"sqlite:///{folder}/ledger.sqlite")
        absent = sorted(note["table"] for note in report["notes"] if note["kind"] == "absent")
        check.equal(absent, ["billing_plans", "billing_subscriptions", "caret_users", "credit_balances"], "absent tables")
        check.equal((report["reconciled"], report["total"]["credits_imported"]), (True, "0"), "the verdict")
        await sound(world, folder / "ledger.sqlite")
    with check.about("a table that lacks a column"):
        for table, column in (("credit_balances", "expires_at"), ("users", "blocked"), ("usage_logs", "cost"), ("api_keys", "is_active")):
            place = folder / f"without-{column}"
            place.mkdir()
            old = await OldSQLite(place).start()
            await old.run(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
            process = await start(old.url, "--database-url", f"sqlite:///{place}/ledger.sqlite")
            out, err = await asyncio.wait_for(process.communicate(), 60)
            check.equal((process.returncode, out), (2, b""), f"exit code and output without {column}: {err!r}")
            check.that(table.encode() in err and column.encode() in err, f"it does not say what is missing: {err!r}")
            check.that(not (place / "ledger.sqlite").exists(), "a ledger was made for nothing")
    with check.about("keys that were voided there since"):
        await voided_keys(world, folder / "voided")
    with check.about("no old gateway"):
        other = folder / "other.db"
        sqlite3.connect(other).execute("CREATE TABLE things (x)")
        (folder / "noise.db").write_bytes(b"no database at all" * 100)
        for url in (f"sqlite:///{other}", f"sqlite:///{folder}/noise.db", f"sqlite:///{folder}/missing.db", "mysql://db/x", "old.db"):
            process = await start(url, "--database-url", f"sqlite:///{folder}/never.sqlite")
            out, err = await asyncio.wait_for(process.communicate(), 60)
            check.equal((process.returncode, out), (2, b""), f"exit code and output of {url}: {err!r}")
            check.that(err.strip() and b"Fatal error" not in err, f"{url} does not say why: {err!r}")
        check.that(not (folder / "never.sqlite").exists(), "a ledger was made for nothing")


async def voided_keys(world: World, folder: Path) -> None:
    """A rehearsal, then keys are deactivated, cut short and deleted there, then the import in earnest: none of them counts here."""
    check = world.check
    folder.mkdir()
    old = await OldSQLite(folder).start()
    ledger = f"sqlite:///{folder}/ledger.sqlite"
    await run(check, old, "--database-url", ledger)
    names = [key["id"] for key in old_gateway.keys() if key["is_active"]][:3]
    await old.run(f"""
        UPDATE api_keys SET is_active = 0 WHERE id = '{names[0]}';
        UPDATE api_keys SET expires_at = '2020-01-01 00:00:00' WHERE id = '{names[1]}';
        DELETE FROM api_keys WHERE id = '{names[2]}';
    """)

    async def imported(code: int, *named: str) -> None:
        report = await run(check, old, "--database-url", ledger, code=code)
        changed = sorted(note["row"] for note in report["notes"] if note["kind"] == "changed" and note["table"] == "api_keys")
        check.equal(changed, sorted(named), "keys that are named")

    await imported(1, *names)
    await imported(0)
    connection = sqlite3.connect(folder / "ledger.sqlite")
    alive = {row[0] for row in connection.execute(
        "SELECT id FROM api_keys WHERE is_active = 1 AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > 1600000000000000)")}
    connection.close()
    check.equal(alive & set(names), set(), "keys that live on")
    with check.about("what an import took, an import gives back"):
        await old.run(f"UPDATE api_keys SET is_active = 1 WHERE id = '{names[0]}';")
        await old.insert("api_keys", [key for key in old_gateway.keys() if key["id"] == names[2]])
        await imported(1, names[0], names[2])
        await imported(0)
    with check.about("another database"):
        extra = [{**old_gateway.keys()[0], "id": identity(f"extra-{n}"), "key_hash": f"{n:064x}"} for n in range(9)]
        await old.insert("api_keys", extra)
        await run(check, old, "--database-url", ledger)
        await old.run("DELETE FROM api_keys")
        report = await run(check, old, "--database-url", ledger, code=1)
        said = [note["detail"] for note in report["notes"] if note["table"] == "api_keys" and note["kind"] == "changed"]
        check.that(len(said) == 1 and "is it the right one" in said[0], f"what is said: {said}")
    with check.about("who was erased here"):
        connection = sqlite3.connect(folder / "ledger.sqlite")
        connection.execute("UPDATE users SET deleted_at = 1 WHERE user_id = 'carol'")
        connection.commit()
        await old.run("UPDATE users SET blocked = 0 WHERE user_id = 'carol'")
        connection.execute("DELETE FROM identities WHERE user_id = 'alice'")
        connection.commit()
        report = await run(check, old, "--database-url", ledger, code=1)
        found = connection.execute("SELECT count(*) FROM identities WHERE user_id = 'alice'").fetchone()
        connection.close()
        check.equal(found, (0,), "identities that came back")
        check.equal(blocked_in(folder / "ledger.sqlite"), ["carol"], "blocked accounts")
