"""What an auditor relies on: tampering is found and named, and projections are what the events say."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path

import ledgerfile
import wire
from checks import case
from gateway import REPLAY
from ledgerfile import Forger
from world import World, check_settlements


async def traffic(world: World) -> None:
    """A little of everything, so that there is an event of each kind that requests lead to."""
    gateway = world.gateway
    alice, bob = await gateway.user("alice", 10), await gateway.user("bob", 5)
    for model in ("up:finish", "up:usage-every-chunk", "up:no-usage", "up:refuse-500", "up:cached-gt-prompt"):
        for key in (alice, bob):
            await gateway.answer(key, model, stream=model != "up:finish")
    await gateway.answer(alice, "up:overrun", max_tokens=5)
    await gateway.top_up("bob", "0.123456789")
    await gateway.wanted("PATCH", "/v1/users/bob", {"blocked": True})
    await gateway.wanted("PATCH", "/v1/users/bob", {"blocked": False})
    await gateway.wanted("POST", "/v1/pricing", {"model_key": "up:finish", "input_price_per_million": 3, "output_price_per_million": 4})
    await gateway.answer(alice, "up:finish")
    for user in ("alice", "bob"):
        await world.settled(user)


@case
async def tamper() -> None:
    """Any change of the stored events is found by `replay verify`, which names the place and the account."""
    async with World() as world:
        await traffic(world)
        world.check.equal(await world.gateway.stop(), 0, "the server's exit code")
        database = world.gateway.database
        events = ledgerfile.rows(database)
        with world.check.about("the chain computed from its specification"):
            world.check.equal([row["hash"] for row in events], ledgerfile.chain(events), "the hashes")
        head = await untouched(world, database)
        ledgerfile.fold_journal(database)
        await columns(world, database, events)
        await bytes_of_the_file(world, database, events)
        await missing_rows(world, database, events, head)
        await forged_chains(world, database, events, head)
        await projections_changed(world, database)
        await unusable_files(world, database)


async def untouched(world: World, database: Path) -> str:
    check = world.check
    with check.about("an untouched copy"):
        copy = ledgerfile.copy(database, "copy")
        before = hashlib.sha256(copy.read_bytes()).hexdigest()
        code, report, output = await world.gateway.verify(database=copy)
        check.equal((code, report.get("sound")), (0, True), f"the verdict: {output[:800]}")
        head = f"{report['head']['position']}:{report['head']['hash']}"
        code, _, output = await world.gateway.verify("--expect-head", head, database=copy)
        check.equal(code, 0, f"exit code with its own head: {output[:800]}")
        check.equal(hashlib.sha256(copy.read_bytes()).hexdigest(), before, "the file after it was verified")
        return head


async def unsound(world: World, database: Path, positions: set[int] | None = None, account: str | None = None, *more: object) -> None:
    """Expects exit code 1, and a finding at one of the positions for that account."""
    check = world.check
    code, report, output = await world.gateway.verify(*more, database=database)
    if not check.equal(code, 1, f"exit code, with {output.strip()[:400]}"):
        return
    findings = report.get("findings") or []
    if not check.that(findings, f"no findings: {output.strip()[:400]}"):
        return
    if positions is not None:
        named = [finding.get("position") for finding in findings]
        check.that(named[0] in positions, f"the first finding is at {named[0]}, not at {sorted(positions)}: {findings[0]}")
    if account is not None:
        check.that(any(finding.get("account") == account for finding in findings), f"no finding names {account!r}: {findings[:3]}")
    check.that(all(finding.get("check") and finding.get("detail") for finding in findings), f"a finding says too little: {findings}")


async def columns(world: World, database: Path, events: list[dict]) -> None:
    """Each column of one event of each type, and of the last, with one byte changed through SQLite."""
    chosen = {row["type"]: row for row in events}
    chosen["the last event"] = events[-1]
    for kind, row in chosen.items():
        for column in ledgerfile.COLUMNS:
            with world.check.about(column, "of", kind, "at", row["position"]):
                copy = ledgerfile.copy(database, "copy")
                value = ledgerfile.flipped(row[column], 20 if column in ("position", "version") else 0)
                if column == "account" and value.startswith("%"):
                    value = "x" + value[1:]
                with Forger(copy) as forger:
                    forger.set(row["position"], column, value)
                places = {row["position"]}
                if column == "position":
                    # Seen at the event that follows, or where the moved one now is.
                    places |= {row["position"] + 1, value}
                await unsound(world, copy, places, None if column in ("account", "position") else row["account"])


async def bytes_of_the_file(world: World, database: Path, events: list[dict]) -> None:
    """Bits of the file itself, within the stored values of events."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"tamper: seed {seed}", flush=True)
    dice = random.Random(seed)
    whole = database.read_bytes()
    found = [(row, place) for row in events if (place := ledgerfile.record_range(whole, row))]
    world.check.that(len(found) > len(events) // 2, f"only {len(found)} of {len(events)} events were found in the file")
    for row, (start, end) in dice.sample(found, min(30, len(found))):
        offset, bit = dice.randrange(start, end), dice.randrange(8)
        with world.check.about(f"seed {seed}, byte {offset}, bit {bit}, in the event at", row["position"]):
            copy = ledgerfile.copy(database, "copy")
            changed = bytearray(whole)
            changed[offset] ^= 1 << bit
            copy.write_bytes(changed)
            in_account = offset < start + len(row["account"].encode())
            await unsound(world, copy, {row["position"]}, None if in_account else row["account"])


async def missing_rows(world: World, database: Path, events: list[dict], head: str) -> None:
    check, last = world.check, events[-1]["position"]
    middle = events[len(events) // 2]["position"]
    for what, sql, values, places in (
        ("a deleted row", "DELETE FROM events WHERE position = ?", [middle], {middle + 1}),
        ("a deleted first row", "DELETE FROM events WHERE position = ?", [1], {2}),
    ):
        with check.about(what):
            copy = ledgerfile.copy(database, "copy")
            with Forger(copy) as forger:
                forger.run(sql, *values)
            await unsound(world, copy, places)
            code, out, err = await world.gateway.replay("rebuild", copy)
            check.that(code == 1 and "nothing was rebuilt" in err, f"rebuild gave {code}: {(out + err)[:300]}")
    with check.about("swapped rows"):
        copy = ledgerfile.copy(database, "copy")
        with Forger(copy) as forger:
            for old, new in ((middle, -1), (middle + 1, middle), (-1, middle + 1)):
                forger.run("UPDATE events SET position = ? WHERE position = ?", new, old)
        await unsound(world, copy, {middle})
    with check.about("a row that is there twice"):
        copy = ledgerfile.copy(database, "copy")
        with Forger(copy) as forger:
            forger.run("DROP INDEX events_by_account")
            forger.run("DROP INDEX events_by_key")
            forger.run(f"INSERT INTO events SELECT position + {last}, account, version, type, recorded_at, effective_at, key, data, hash "
                       "FROM events WHERE position = ?", middle)
        await unsound(world, copy)
    for count in (1, 3):
        with check.about("the last", count, "rows cut off"):
            copy = ledgerfile.copy(database, "copy")
            with Forger(copy) as forger:
                forger.run("DELETE FROM events WHERE position > ?", last - count)
            code, out, err = await world.gateway.replay("rebuild", copy)
            check.that(code == 1 and "events are missing" in err, f"rebuild gave {code}: {(out + err)[:300]}")
            await unsound(world, copy, None, None, "--expect-head", head)
            code, out, err = await world.gateway.replay("verify", copy, "--expect-head", head)
            check.that(code == 1 and f"position {last}" in out + err, f"exit code {code}; the kept head's position is not named: {(out + err)[:600]}")


async def forged_chains(world: World, database: Path, events: list[dict], head: str) -> None:
    """Changes with a chain that was computed anew: only the rules, or a kept head, can tell."""
    check = world.check
    charge = next(row for row in events if row["type"].startswith("request_charged") and json.loads(row["data"])["credits"] > 0)
    grant = next(row for row in events if row["type"].startswith("credits_granted"))
    hold = next(row for row in events if row["type"].startswith("hold_placed"))

    def less(name: str):
        return lambda text: re.sub(rf'"{name}":(-?\d+)', lambda m: f'"{name}":{int(m[1]) - 100}', text, count=1)

    forgeries = [
        ("a cheaper charge", charge, less("credits")),
        ("a lower cost", charge, less("cost_pico_usd")),
        ("fewer tokens", charge, lambda text: re.sub(r'"completion_tokens":\d+', '"completion_tokens":0', text, count=1)),
        ("another balance", charge, less("balance")),
        ("a smaller hold", hold, less("amount")),
        ("a smaller grant", grant, less("amount")),
        ("an unknown field", charge, lambda text: text[:-1] + ',"x":1}'),
        ("white space", charge, lambda text: text.replace(",", ", ", 1)),
    ]
    for what, row, change in forgeries:
        with check.about(what, "at", row["position"], "with a new chain"):
            copy = ledgerfile.copy(database, "copy")
            with Forger(copy) as forger:
                forger.set(row["position"], "data", change(row["data"]))
                forger.link_again()
            await unsound(world, copy, {row["position"]}, row["account"])
            await unsound(world, copy, None, None, "--expect-head", head)
    with check.about("a new chain over the same events"):
        copy = ledgerfile.copy(database, "copy")
        with Forger(copy) as forger:
            forger.link_again()
        code, _, output = await world.gateway.verify("--expect-head", head, database=copy)
        check.equal(code, 0, f"exit code: {output[:400]}")
    with check.about("a rewritten past that obeys the rules"):
        copy = ledgerfile.copy(database, "copy")
        with Forger(copy) as forger:
            for row in events:
                for column in ("recorded_at", "effective_at"):
                    forger.set(row["position"], column, row[column] - 1)
                if '"valid_from":' in row["data"]:
                    earlier = re.sub(r'"valid_from":(\d+)', lambda m: f'"valid_from":{int(m[1]) - 1}', row["data"])
                    forger.set(row["position"], "data", earlier)
            forger.link_again()
        await unsound(world, copy, None, None, "--expect-head", head)


async def projections_changed(world: World, database: Path) -> None:
    """What people read differs from the events."""
    for sql, account in (
        ("UPDATE balances SET balance = balance + 1 WHERE account = 'alice'", "alice"),
        ("UPDATE balances SET held = held + 1 WHERE account = 'bob'", "bob"),
        ("UPDATE balances SET charged = '0' WHERE account = 'bob'", "bob"),
        ("DELETE FROM balances WHERE account = 'bob'", None),
        ("UPDATE grants SET remaining = remaining - 1 WHERE account = 'bob'", "bob"),
        ("DELETE FROM grants WHERE account = 'bob'", "bob"),
        ("UPDATE usage_log SET completion_tokens = completion_tokens + 1 WHERE account = 'alice'", "alice"),
        ("UPDATE usage_log SET credits = credits - 1 WHERE position = (SELECT max(position) FROM usage_log WHERE account = 'alice')", "alice"),
        ("UPDATE usage_log SET status = 'error' WHERE position = (SELECT min(position) FROM usage_log WHERE account = 'alice')", "alice"),
        ("DELETE FROM usage_log WHERE position = (SELECT min(position) FROM usage_log)", None),
        ("UPDATE usage_days SET requests = requests + 1 WHERE account = 'alice'", "alice"),
        ("DELETE FROM usage_days WHERE account = 'bob'", "bob"),
    ):
        with world.check.about(sql):
            copy = ledgerfile.copy(database, "copy")
            with Forger(copy) as forger:
                forger.run(sql)
            await unsound(world, copy, None, account)


async def unusable_files(world: World, database: Path) -> None:
    check, folder = world.check, world.gateway.folder
    other = folder / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE events (x)")
    connection.commit()
    connection.close()
    (folder / "empty.sqlite").write_bytes(b"")
    (folder / "noise.sqlite").write_bytes(random.Random(1).randbytes(8192))
    (folder / "half.sqlite").write_bytes(database.read_bytes()[:1000])
    newer = ledgerfile.copy(database, "newer")
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    for name in ("missing.sqlite", "other.sqlite", "empty.sqlite", "noise.sqlite", "half.sqlite", "newer.sqlite", ""):
        with check.about("the file", name or "(a folder)"):
            for command in (["verify"], ["events"], ["balance", "--account", "alice"]):
                code, out, err = await world.gateway.replay(command[0], folder / name, *command[1:])
                check.equal(code, 2, f"exit code of {command[0]}, which printed {(out + err).strip()[:300]}")
                check.that(err.strip() and "Fatal error" not in err, f"{command[0]} does not say why: {err[:300]!r}")
                if name in ("", "noise.sqlite"):
                    check.that(("is not a ledger" if name else "it is a folder") in err, f"{command[0]} gives another reason: {err!r}")
    check.that(not (folder / "missing.sqlite").exists(), "a missing file was created")


@case
async def reader_without_rights() -> None:
    """An auditor who may only read audits a ledger that was closed, and one that is served."""
    async with World() as world:
        check, gateway = world.check, world.gateway
        await traffic(world)
        outside = Path(tempfile.mkdtemp(prefix="auditor-"))
        try:
            # Somebody else's: its program where everybody can reach it, and the ledger where nobody else can write.
            program = shutil.copy(REPLAY, outside / "replay")
            served = gateway.database.parent
            for folder in (outside, served):
                folder.chmod(0o755)
            await as_nobody(check, program, gateway.database, "served")
            check.equal(await gateway.stop(), 0, "the server's exit code")
            closed = shutil.copy(gateway.database, outside / "100% closed?#.sqlite")
            outside.chmod(0o555)
            await as_nobody(check, program, closed, "closed")
            check.equal(sorted(path.name for path in outside.iterdir()), ["100% closed?#.sqlite", "replay"], "the folder")
        finally:
            outside.chmod(0o755)
            shutil.rmtree(outside)


async def as_nobody(check, program: Path, database: Path, what: str) -> None:
    # Rights do not bind root: the program is run as a user without any. Who is not root has no right to write either.
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    for command in (["verify"], ["events", "--format", "text"], ["balance", "--account", "alice"]):
        with check.about(command[0], "of a ledger that is", what):
            process = await asyncio.create_subprocess_exec(
                program, command[0], database, *command[1:], stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **other)
            out, err = await asyncio.wait_for(process.communicate(), 60)
            check.equal(process.returncode, 0, f"exit code: {err.decode()[:300]}")
            if command[0] == "events":
                check.that(b"  price:" in out or b"  alice:" in out, f"the columns: {out[:300]!r}")


@case
async def projections() -> None:
    """Usage log, per-day sums and balances are what the events say, live, rebuilt, and after a crash."""
    async with World() as world:
        check, gateway = world.check, world.gateway
        await traffic(world)
        events = await gateway.events()
        for user in ("alice", "bob"):
            with check.about("usage log of", user):
                await usage_equals(world, user, events)
        with check.about("verified while the server runs"):
            code, report, output = await gateway.verify()
            check.equal((code, report.get("sound")), (0, True), f"the verdict: {output[:600]}")
        await balances_at(world, events)
        check.equal(await gateway.stop(), 0, "the server's exit code")
        days(world, events)
        await rebuild(world)
        await gateway.start()
        with check.about("after kill -9"):
            key = await gateway.key("alice")
            for _ in range(10):
                await gateway.answer(key, "up:finish")
            await gateway.kill9()
            await gateway.start()
            await usage_equals(world, "alice", await gateway.events())
        check_settlements(check, await gateway.events())


async def usage_equals(world: World, user: str, events: list[dict]) -> None:
    expected = [e for e in events if e["account"] == user and e["name"] in ("request_charged", "hold_released")]

    async def caught_up():
        rows = await world.gateway.usage(user)
        return rows if len(rows) == len(expected) else None

    rows = await wire.eventually(caught_up, f"the usage log has {len(expected)} rows")
    for row, event in zip(rows, reversed(expected)):
        data = event["data"]
        charged = event["name"] == "request_charged"
        world.check.equal(row["status"], "success" if charged else "error", "status")
        world.check.equal(f"{row['provider']}:{row['model']}", data["model"], "model")
        found = (row["prompt_tokens"], row["completion_tokens"], Decimal(str(row["cost"])).scaleb(12))
        tokens = (data["prompt_tokens"], data["completion_tokens"], Decimal(charged_pico_usd(data))) if charged else (0, 0, 0)
        world.check.equal(found, tokens, "tokens and cost in pico-USD")
        stamp = datetime.datetime.fromisoformat(row["timestamp"])
        world.check.equal(stamp, datetime.datetime.fromisoformat(event["recorded_at"]), "timestamp")


def charged_pico_usd(data: dict) -> int:
    """What of a request's cost was charged: where it was more than was held, what the charge buys."""
    return int(data["credits"]) * 10**9 // int(data["micro_credits_per_usd"]) if int(data["excess"]) > 0 else int(data["cost_pico_usd"])


def days(world: World, events: list[dict]) -> None:
    """The per-day sums, as stored."""
    with world.check.about("per-day sums"):
        expected: dict[tuple, list[int]] = {}
        for event in events:
            if event["name"] not in ("request_charged", "hold_released"):
                continue
            data, charged = event["data"], event["name"] == "request_charged"
            day = datetime.datetime.fromisoformat(event["recorded_at"]).date().toordinal() - datetime.date(1970, 1, 1).toordinal()
            sums = expected.setdefault((event["account"], day, data["model"]), [0] * 6)
            sums[0 if charged else 1] += 1
            if charged:
                for at, value in enumerate((data["prompt_tokens"], data["completion_tokens"], charged_pico_usd(data), data["credits"]), 2):
                    sums[at] += int(value)
        connection = sqlite3.connect(f"file:{world.gateway.database}?mode=ro", uri=True)
        rows = connection.execute("SELECT account, day, model, requests, errors, prompt_tokens, completion_tokens, "
                                  "cost_pico_usd, credits FROM usage_days").fetchall()
        connection.close()
        found = {tuple(row[:3]): [int(value) for value in row[3:]] for row in rows}
        world.check.equal(found, expected, "the sums")


async def balances_at(world: World, events: list[dict]) -> None:
    """`replay balance`, now and at an instant, against the route and the events."""
    check, gateway = world.check, world.gateway
    for user in ("alice", "bob"):
        with check.about("replay balance of", user):
            code, out, err = await gateway.replay("balance", gateway.database, "--account", user, "--format", "json")
            check.equal(code, 0, f"exit code: {err}")
            shown = json.loads(out)
            data = await gateway.balance(user)
            check.equal(Decimal(shown["balance"]), Decimal(data["credits_exact"]), "balance")
            check.equal((Decimal(shown["held"]), Decimal(shown["available"])), (data["held"], data["available"]), "held and available")
            stated = [e for e in events if e["account"] == user and "balance" in e["data"]]
            for event in stated[:: max(1, len(stated) // 4)]:
                code, out, err = await gateway.replay(
                    "balance", gateway.database, "--account", user, "--at", event["effective_at"], "--format", "json")
                check.equal(code, 0, f"exit code at {event['effective_at']}: {err}")
                found = Decimal(json.loads(out)["balance"]).scaleb(9)
                check.equal(int(found), int(event["data"]["balance"]), f"balance at {event['effective_at']}")
    with check.about("replay balance of nobody"):
        code, out, err = await gateway.replay("balance", gateway.database, "--account", "nobody")
        check.that(code == 3 and "nobody" in err, f"exit code {code}: {err}")


async def rebuild(world: World) -> None:
    check, gateway = world.check, world.gateway
    with check.about("rebuild"):
        _, before, _ = await gateway.verify("--dump-hash")
        check.that(before.get("projections"), f"verify prints no hash of the projections: {before}")
        code, out, err = await gateway.replay("rebuild", gateway.database)
        check.equal(code, 0, f"exit code: {err or out}")
        code, after, output = await gateway.verify("--dump-hash")
        check.equal(code, 0, f"exit code of verify afterwards: {output[:400]}")
        check.equal(after.get("projections"), before.get("projections"), "the hash of the projections after a rebuild")
        check.equal(after.get("head"), before.get("head"), "the head")
    with check.about("rebuild of damaged projections"):
        copy = ledgerfile.copy(gateway.database, "damaged")
        with Forger(copy) as forger:
            forger.run("DELETE FROM usage_log WHERE account = 'alice'")
            forger.run("UPDATE usage_days SET credits = 0")
            forger.run("UPDATE balances SET balance = 7 WHERE account = 'bob'")
        check.equal((await gateway.verify(database=copy))[0], 1, "exit code of verify before")
        code, out, err = await gateway.replay("rebuild", copy)
        check.equal(code, 0, f"exit code of rebuild: {err or out}")
        code, repaired, output = await gateway.verify("--dump-hash", database=copy)
        check.equal((code, repaired.get("projections")), (0, before.get("projections")), f"the projections afterwards: {output[:400]}")
    with check.about("rebuild while the server runs"):
        await gateway.start()
        code, out, err = await gateway.replay("rebuild", gateway.database)
        check.equal(code, 2, f"exit code: {err or out}")
        check.that("lock" in (out + err).lower(), f"the message does not name the lock: {out + err}")
        await gateway.stop()
