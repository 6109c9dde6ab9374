"""What others can rely on: checkpoints and proofs, erasures, backups, the feed of events, and the commands as their help describes them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import json
import random
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import wire
from cases_auditing import run
from checks import case
from gateway import MASTER_KEY, REPLAY, ROOT, SERVER, StartFailed
from ledgerfile import Forger, copy
from world import World

VERIFIER = Path(ROOT) / "Tests/Proofs/verify_proof.py"
NAME = "ledger.example.com"


def new_key(name: str = NAME) -> tuple[str, str]:
    """A secret and a public key for checkpoints."""
    code, output, error = run(SERVER, "generate-key", "--name", name)
    assert code == 0, error
    words = output.decode().split()
    return words[1], words[3]


class Witness(http.server.BaseHTTPRequestHandler):
    """Takes checkpoints, after it has refused some."""

    taken: list[bytes] = []
    refusals = 2

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        refused = Witness.refusals > 0
        Witness.refusals -= refused
        if not refused:
            Witness.taken.append(body)
        self.send_response(503 if refused else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Proofs:
    """Makes proofs, and asks both verifiers what they think."""

    def __init__(self, world: World, folder: Path, public: str):
        self.world, self.check, self.gateway, self.folder, self.public = world, world.check, world.gateway, folder, public

    def prove(self, *arguments: object, database: Path | None = None, code: int = 0) -> bytes:
        found, output, error = run(REPLAY, "prove", database or self.gateway.database, *arguments)
        self.check.equal(found, code, f"exit code of prove {arguments}: {error}")
        return output

    def verdict(self, proof: bytes, key: str | None = None, old: bytes | None = None) -> bool | None:
        """Whether a proof holds; None where the two disagree, which is told."""
        path, before = self.folder / "a.proof", self.folder / "old.checkpoint"
        path.write_bytes(proof)
        more: list[object] = []
        if old is not None:
            before.write_bytes(old)
            more = ["--old", before]
        ours = run(REPLAY, "check-proof", path, "--key", key or self.public, *more)
        theirs = run(sys.executable, VERIFIER, path, "--key", key or self.public, *more)
        self.check.that(ours[0] in (0, 1) and theirs[0] in (0, 1), f"exit codes {ours[0]} and {theirs[0]}: {ours[2]} {theirs[2]}")
        self.check.equal(ours[0], theirs[0], f"what the two verifiers think: {ours[2]} / {theirs[2]}")
        return ours[0] == 0 if ours[0] == theirs[0] else None

    def holds(self, proof: bytes, what: str, **more) -> None:
        self.check.equal(self.verdict(proof, **more), True, f"{what} holds")

    def refused(self, proof: bytes, what: str, **more) -> None:
        self.check.equal(self.verdict(proof, **more), False, f"{what} holds")


async def signed(gateway, size: int) -> str:
    """The checkpoint of at least so many events, once there is one."""

    async def read() -> str | None:
        response = await gateway.api("GET", "/v1/ledger/checkpoint")
        text = response.body.decode()
        return text if response.status == 200 and int(text.split("\n")[1]) >= size else None

    return await wire.eventually(read, f"a checkpoint of {size} events", 20)


@case
async def proofs() -> None:
    """Signed checkpoints are kept, published and met; each event, statement and checkpoint is proven against them, and two verifiers refuse every forgery."""
    secret, public = new_key()
    Witness.taken, Witness.refusals = [], 2
    witness = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    threading.Thread(target=witness.serve_forever, daemon=True).start()
    checkpoints = {"signing_key": secret, "interval_seconds": 1, "url": f"http://127.0.0.1:{witness.server_port}/add"}
    try:
        async with World(["up:finish"], settings={"checkpoints": checkpoints}) as world:
            check, gateway = world.check, world.gateway
            folder = gateway.folder / "checkpoints"
            checkpoints["directory"] = str(folder)
            gateway.write_config()
            await gateway.restart()
            check.equal((await gateway.api("GET", "/v1/ledger/keys", key=None)).body.decode(), public + "\n", "the public keys")
            check.equal((await gateway.api("GET", "/v1/ledger/checkpoint", key=None)).status, 401, "status without a credential")
            key = await gateway.user("alice", 1)
            answer = await gateway.answer(key, "up:finish", max_tokens=9)
            request = answer.header("x-request-id")
            await world.settled("alice")
            head = (await gateway.events())[-1]["position"]
            old = (await signed(gateway, head)).encode()
            # More than two tiles of the tree.
            for _ in range(30):
                await asyncio.gather(*(gateway.top_up("alice", 1) for _ in range(10)))
            head = (await gateway.events())[-1]["position"]
            check.that(head > 512, f"there are {head} events only")
            newest = (await signed(gateway, head)).encode()
            files = [(folder / f"checkpoint-{int(text.split(bytes([10]))[1]):019}").read_bytes() == text for text in (old, newest)]
            check.equal(files, [True, True], "the files of the directory")

            async def arrived() -> bool:
                return newest in Witness.taken

            await wire.eventually(arrived, "the checkpoint is published in spite of two refusals", 60)
            check.that(old in Witness.taken, "the checkpoint that was refused did not come again")
            p = Proofs(world, gateway.folder, public)
            charge = p.prove("--charge", request)
            with check.about("proofs"):
                p.holds(charge, "the proof of a charge")
                check.that(charge.count(b"tlog-proof@v1") >= 4, "the charge is proven without its price, grant and hold")
                month = (await gateway.events())[-1]["effective_at"][:7]
                p.holds(p.prove("--account", "alice", "--month", month), "the proof of a statement")
                for position in (1, 256, 257, 300, 512, 513, head):
                    p.holds(p.prove("--position", position), f"the proof of event {position}")
                p.prove("--position", head + 100_000, code=2)
                p.prove("--charge", "req_unheard-of", code=3)
                (gateway.folder / "old").write_bytes(old)
                consistency = p.prove("--from-checkpoint", gateway.folder / "old")
                p.holds(consistency, "the proof of consistency", old=old)
                p.holds(newest, "a checkpoint")
            with check.about("forged"):
                forgeries(p, charge, consistency, old, p.prove("--position", 300))
            # The last state is signed when the server stops.
            await gateway.top_up("alice", 1)
            head = (await gateway.events())[-1]["position"]
            check.equal(await gateway.stop(), 0, "the exit code")
            last = sorted(folder.iterdir())[-1]
            check.equal(last.read_text().split("\n")[1], str(head), "the size of the last checkpoint")
            with check.about("another history"):
                await other_histories(p, old, last)
            await gateway.restart()
    finally:
        witness.shutdown()


def forgeries(p: Proofs, charge: bytes, consistency: bytes, old: bytes, single: bytes) -> None:
    """Whatever is changed, nobody believes it."""
    rng = random.Random(5)
    _, other = new_key()
    p.refused(single, "a proof by another key", key=other)
    lines = single.split(b"\n")
    gap = lines.index(b"")
    record = bytearray(base64.b64decode(lines[1].split()[1]))
    for at in (0, 35, 60, len(record) - 2, rng.randrange(len(record))):
        changed = bytes(record[:at]) + bytes([record[at] ^ 1]) + bytes(record[at + 1:])
        p.refused(b"\n".join([lines[0], b"extra " + base64.b64encode(changed), *lines[2:]]), f"a record with another byte at {at}")
    for name, text in {
        "another index": b"index 300", "an index with a zero in front": b"index 0299", "no index": b"index ", "an index that is negative": b"index -299",
    }.items():
        p.refused(b"\n".join([*lines[:2], text, *lines[3:]]), name)
    p.refused(b"\n".join([*lines[:3], *lines[4:]]), "a hash less")
    p.refused(b"\n".join([*lines[:3], lines[3], *lines[3:]]), "a hash more")
    p.refused(b"\n".join([*lines[:3], lines[4], lines[3], *lines[5:]]), "two hashes in another order")
    p.refused(b"\n".join([*lines[:gap + 2], str(int(lines[gap + 2]) + 1).encode(), *lines[gap + 3:]]), "another size")
    p.refused(b"\n".join([*lines[:gap + 3], base64.b64encode(bytes(32)), *lines[gap + 4:]]), "another root")
    p.refused(b"\n".join([*lines[:gap + 1], b"other.example", *lines[gap + 2:]]), "another origin")
    p.refused(b"\n".join([line for line in lines if not line.startswith("\u2014".encode())]), "no signature")
    parts = [b"c2sp.org/tlog-proof@v1" + part for part in charge.split(b"c2sp.org/tlog-proof@v1")[1:]]
    extras = [part.split(b"\n")[1] for part in parts]
    p.refused(parts[0].replace(extras[0], extras[1]), "the record of another event")
    p.refused(charge[:-1], "a file without its last newline")
    p.refused(charge + b"x\n", "a file with something behind it")
    p.refused(b"", "an empty file")
    for _ in range(25):
        at = rng.randrange(len(single))
        p.refused(single[:at] + bytes([single[at] ^ (1 << rng.randrange(7))]) + single[at + 1:], f"a proof with a bit flipped at {at}")
    steps = consistency.split(b"\n")
    p.refused(b"\n".join([steps[0], *steps[2:]]), "a consistency proof with a hash less", old=old)
    p.refused(b"\n".join([b"old 1", *steps[1:]]), "a consistency proof of another size", old=old)
    p.refused(consistency, "a consistency proof without the old checkpoint")
    note = old.split(b"\n")
    p.refused(consistency, "a consistency proof from a checkpoint with another root", old=b"\n".join([*note[:2], base64.b64encode(bytes(32)), *note[3:]]))


async def other_histories(p: Proofs, old: bytes, last: Path) -> None:
    """A history that was rewritten with all its hashes, or ends too early, does not meet what was signed."""
    check, gateway = p.check, p.gateway
    before = gateway.folder / "old"
    rewritten = copy(gateway.database, "rewritten")
    with Forger(rewritten) as forger:
        # A rule is broken nowhere; only who did it is another.
        forger.run("UPDATE events SET data = replace(data, '\"actor\":\"master\"', '\"actor\":\"nobody\"') WHERE type LIKE 'credits_granted%' AND position < 20")
        forger.link_again()
    truncated = copy(gateway.database, "truncated")
    with Forger(truncated) as forger:
        forger.run("DELETE FROM events WHERE position > 400")
    for database in (rewritten, truncated):
        check.equal(run(REPLAY, "verify", database)[0], 1, f"exit code of verify for {database.name}")
        with Forger(database) as forger:
            # Without what it keeps of its own checkpoints, only those elsewhere know.
            forger.run("DELETE FROM signed_checkpoints WHERE size > 400")
        check.equal(run(REPLAY, "verify", database, "--from-checkpoint", last, "--key", p.public)[0], 1, f"exit code of verify from a checkpoint for {database.name}")
    p.prove("--from-checkpoint", before, database=rewritten, code=1)
    check.equal(run(REPLAY, "verify", gateway.database, "--from-checkpoint", before, "--key", p.public)[0], 0, "exit code of verify from a checkpoint")
    check.equal(run(REPLAY, "verify", gateway.database, "--from-checkpoint", before, "--key", new_key()[1])[0], 64, "exit code by another key")
    # A server does not go on where the checkpoints elsewhere are ahead of its ledger.
    own = gateway.database.read_bytes()
    for database, words in ((truncated, "an older copy, or was truncated"), (rewritten, "its history was changed")):
        shutil.copyfile(database, gateway.database)
        try:
            await gateway.start()
            check.fail(f"the server started on the {database.name} ledger")
            await gateway.stop()
        except StartFailed as failed:
            check.that(words in failed.output, f"the message for {database.name}: {failed.output[-600:]}")
    gateway.database.write_bytes(own)


@case
async def key_rotation() -> None:
    """While a key is exchanged, both sign; what the old one signed still holds, and a wrong key in the configuration ends the start without showing it."""
    (first, first_public), (second, second_public) = new_key(), new_key()
    async with World(["up:finish"], settings={"checkpoints": {"signing_key": first, "interval_seconds": 1}}) as world:
        check, gateway = world.check, world.gateway
        await gateway.user("alice", 1)
        p = Proofs(world, gateway.folder, first_public)
        await signed(gateway, 5)
        early = p.prove("--position", 5)
        gateway.config["checkpoints"] = {"signing_key": second, "also_signing_keys": [first], "interval_seconds": 1}
        gateway.write_config()
        await gateway.restart()
        await gateway.top_up("alice", 1)
        both = (await signed(gateway, (await gateway.events())[-1]["position"])).encode()
        check.equal(both.count("\u2014".encode()), 2, "signatures during the rotation")
        for public in (first_public, second_public):
            p.holds(both, "a checkpoint of both keys", key=public)
        gateway.config["checkpoints"] = {"signing_key": second, "retired_keys": [first_public], "interval_seconds": 1}
        gateway.write_config()
        await gateway.restart()
        await gateway.top_up("alice", 1)
        late = (await signed(gateway, (await gateway.events())[-1]["position"])).encode()
        p.holds(late, "a checkpoint of the new key", key=second_public)
        p.refused(late, "a checkpoint of the new key, by the old one", key=first_public)
        keys = (await gateway.api("GET", "/v1/ledger/keys", key=None)).body.decode().split()
        check.equal(keys, [second_public, first_public], "the keys that are published")
        p.holds(early, "an early proof by the old key")
        for wrong, name in (({"signing_key": first[:-3] + "AA="}, "signing_key"), ({"signing_key": second, "also_signing_keys": [new_key("other.example")[0]]}, "also_signing_keys"),
                            ({"signing_key": second, "retired_keys": ["x"]}, "retired_keys"), ({}, "checkpoints"), ({"signing_key": second, "unheard_of": 1}, "unheard_of")):
            await gateway.stop()
            gateway.config["checkpoints"] = wrong
            gateway.write_config()
            try:
                await gateway.start()
                check.fail(f"the server started with {name} wrong")
            except StartFailed as failed:
                check.that(name in failed.output, f"the message does not name {name}: {failed.output}")
                # The base64 of a secret is what follows the fourth `+`, and may hold others.
                check.that(not any(each.split("+", 4)[4][:20] in failed.output for each in (first, second)), "the message shows a secret")
        gateway.config["checkpoints"] = {"signing_key": second}
        gateway.write_config()
        await gateway.start()


PERSON = {"alias": "Persephone Unmistakable", "metadata": {"note": "lives-at-Unmistakable-Street"}}


@case
async def erasure() -> None:
    """Who is erased leaves nothing behind but an account, and one event that it happened, also where kill -9 comes in between."""
    async with World(["up:finish", "up:slow-auto"]) as world:
        check, gateway = world.check, world.gateway

        async def made(user: str) -> None:
            await gateway.wanted("POST", "/v1/users", {"user_id": user} | PERSON)
            await gateway.top_up(user, 5)
            key = await gateway.key(user, metadata={"device": "Unmistakable-Device"})
            await gateway.answer(key, "up:finish", max_tokens=9, headers={"idempotency-key": "Unmistakable-Key"})
            await world.settled(user)

        async def erased(user: str) -> list[dict]:
            return [event for event in await gateway.events() if event["account"] == user and event["name"] == "account_erased"]

        def leftovers() -> list[str]:
            found = []
            for suffix in ("", "-wal"):
                path = Path(f"{gateway.database}{suffix}")
                if path.exists():
                    found += [text.decode() for text in set(re.findall(rb"[\w -]*Unmistakable[\w-]*", path.read_bytes()))]
            return found

        await made("one")
        check.that(leftovers() != [], "the test finds what is there")
        check.equal((await gateway.api("DELETE", "/v1/users/one")).status, 204, "status of the erasure")
        check.equal(leftovers(), [], "what is left of one in the file and its log, with the answer")
        check.equal((await gateway.api("DELETE", "/v1/users/one")).status, 404, "status the second time")
        events = await erased("one")
        check.equal([event["data"] for event in events], [{"actor": "master"}], "the events")
        # Another person under the same id.
        await gateway.wanted("POST", "/v1/users", {"user_id": "one"})
        check.equal((await gateway.api("DELETE", "/v1/users/one")).status, 204, "status of the next erasure")
        check.equal(len(await erased("one")), 2, "events of two people")
        # Two at once erase once, and neither leaves anything.
        await made("both")
        both = await asyncio.gather(*(gateway.api("DELETE", "/v1/users/both") for _ in range(2)))
        check.that(sorted(answer.status for answer in both) in ([204, 204], [204, 404]), f"statuses of two erasures: {[answer.status for answer in both]}")
        check.equal((len(await erased("both")), leftovers()), (1, []), "events of two erasures at once, and what is left")
        # Somebody who reads an older state is not waited for; when they have ended, nothing is left.
        await made("read-of")
        with contextlib.closing(sqlite3.connect(f"file:{gateway.database}?mode=ro", uri=True, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM users").fetchall()
            check.equal((await gateway.api("DELETE", "/v1/users/read-of")).status, 204, "status of the erasure beside a reader")
            await gateway.wanted("POST", "/v1/users", {"user_id": "somebody-else"})
            check.that(leftovers() != [], "the log has what the reader may still read")

        async def is_nothing_left() -> bool:
            return leftovers() == []

        await wire.eventually(is_nothing_left, "the log is emptied when the reader has ended", 10)
        # A request that is under way ends, is charged, and leaves no answer behind.
        await made("under-way")
        late = asyncio.create_task(gateway.answer(await gateway.key("under-way"), "up:slow-auto", stream=True, headers={"idempotency-key": "Unmistakable-Late"}))

        async def is_held() -> bool:
            return (await gateway.balance("under-way"))["held"] != 0

        await wire.eventually(is_held, "the request is under way", 10)
        check.equal((await gateway.api("DELETE", "/v1/users/under-way")).status, 204, "status of the erasure beside a request")
        await asyncio.gather(late, return_exceptions=True)
        rng = random.Random(3)
        for number in range(8):
            user = f"crash-{number}"
            await made(user)
            call = asyncio.create_task(gateway.api("DELETE", f"/v1/users/{user}"))
            # Anywhere between before and after.
            await asyncio.sleep(rng.random() * 0.012)
            await gateway.kill9()
            await asyncio.gather(call, return_exceptions=True)
            await gateway.start()
            if (await gateway.api("GET", f"/v1/users/{user}")).status == 200:
                check.equal(len(await erased(user)), 0, f"events of {user}, who is still there")
                check.equal((await gateway.api("DELETE", f"/v1/users/{user}")).status, 204, f"status of erasing {user} again")
            check.equal(len(await erased(user)), 1, f"events of {user}")
        check.equal(await gateway.stop(), 0, "the exit code")
        check.equal(leftovers(), [], "what is left of people in the file")
        await gateway.start()


@case
async def backup_restore() -> None:
    """A backup of a ledger in use is one sound state of it, can be gone on from, and never takes the place of anything."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 50)
        url = f"sqlite:///{gateway.database}"
        target = gateway.folder / "backup.sqlite"
        busy = True

        async def chats() -> None:
            while busy:
                await gateway.answer(key, "up:finish", max_tokens=9)

        running = [asyncio.create_task(chats()) for _ in range(3)]
        code, output, error = await asyncio.to_thread(run, SERVER, "backup", "--database-url", url, "--to", target)
        busy = False
        await asyncio.gather(*running)
        check.equal(code, 0, f"exit code: {error}")
        check.that(output.decode().rstrip().endswith("sound"), f"{output!r}")
        check.equal(sorted(each.name for each in gateway.folder.glob("backup*")), ["backup.sqlite"], "the files of the backup")
        code, listed, _ = run(REPLAY, "events", target)
        events = [json.loads(line) for line in listed.splitlines()]
        await world.settled("alice")
        whole = [json.loads(line) for line in run(REPLAY, "events", gateway.database)[1].splitlines()]
        check.equal(events == whole[:len(events)], True, "the copy is the beginning of the ledger")
        before = target.read_bytes()
        code, _, error = run(SERVER, "backup", "--database-url", url, "--to", target)
        check.equal((code, target.read_bytes() == before), (2, True), f"onto a file that exists: {error}")
        for wrong in ("sqlite:////nowhere/at/all.sqlite", "sqlite:///" + str(gateway.config_path)):
            other = gateway.folder / "other.sqlite"
            check.equal((run(SERVER, "backup", "--database-url", wrong, "--to", other)[0], other.exists()), (2, False), f"of {wrong}")
        for arguments, wanted, words in ((("--database-url", url, "--to", ""), 64, "--to must name a file"),
                                         (("--config", "/nowhere/at/all.yaml", "--to", target), 2, "/nowhere/at/all.yaml cannot be read"),
                                         (("--database-url", url, "--to", "/nowhere/at/all.sqlite"), 2, "/nowhere/at/all.sqlite")):
            code, _, error = run(SERVER, "backup", *arguments)
            check.that(code == wanted and words in error and "NSCocoa" not in error, f"{arguments}: {code} {error!r}")
        check.equal(await gateway.stop(), 0, "the exit code")
        damaged = copy(gateway.database, "damaged")
        with Forger(damaged) as forger:
            forger.set(5, "data", "{}")
        other = gateway.folder / "other.sqlite"
        code, _, error = run(SERVER, "backup", "--database-url", f"sqlite:///{damaged}", "--to", other)
        check.equal((code, other.exists()), (1, False), f"of a damaged ledger: {error}")
        # As the documents say: the copy in the place of the ledger, without its log.
        for suffix in ("", "-wal", "-shm"):
            Path(f"{gateway.database}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(target, gateway.database)
        await gateway.start()
        charged = sum(event["data"]["credits"] for event in events if event["type"].startswith("request_charged"))
        open_holds = {event["key"].partition(":")[2] for event in events if event["type"].startswith("hold_placed")} - {
            event["key"].partition(":")[2] for event in events if event["key"].startswith("settle:")}
        found = await world.settled("alice")
        check.equal(Decimal(found["credits_exact"]) * 10**9, 50 * 10**9 - charged, f"the balance after the restore ({len(open_holds)} holds were open)")
        check.equal((await gateway.answer(key, "up:finish", max_tokens=9)).status, 200, "status of a request after the restore")


@case
async def event_feed() -> None:
    """Who follows the ledger gets every event once and in order, by pages and live, across restarts; and only who may."""
    async with World(["up:finish"]) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 5)

        def listed() -> list[dict]:
            return [json.loads(line) for line in run(REPLAY, "events", gateway.database)[1].splitlines()]

        found, after = [], 0
        while True:
            page = await gateway.wanted("GET", f"/v1/ledger/events?after={after}&limit=3")
            found += page["events"]
            after = page["next_after"]
            if not page["has_more"]:
                break
        check.equal(found, listed(), "the events by pages")
        check.equal((await gateway.api("GET", "/v1/ledger/events", key=key)).status, 403, "status for a person")

        def parts(body: bytes) -> list[tuple[int, dict]]:
            """The events of a feed that have come whole."""
            blocks = [dict(line.split(": ", 1) for line in block.decode().split("\n") if not line.startswith(":")) for block in body.split(b"\n\n")[:-1]]
            return [(int(block["id"]), json.loads(block["data"])) for block in blocks if block]

        async def read(after: int, count: int, last: int | None = None) -> list[tuple[int, dict]]:
            """So many events of a live feed, or all until it ends."""
            headers = {"authorization": f"Bearer {MASTER_KEY}", "accept": "text/event-stream"} | ({"last-event-id": str(last)} if last is not None else {})

            async def opened() -> wire.Exchange | None:
                feed = await wire.Exchange(gateway.port, "GET", f"/v1/ledger/events?after={after}", headers).send()
                if (await feed.head()).status != 503:
                    open_feeds.append(after)
                    return feed
                # The seat of a feed that was left is free when the server has noticed.
                feed.drop()
                return None

            async with await wire.eventually(opened, "a feed is opened", 20, every=0.1) as feed:
                head = await feed.head()
                check.equal((head.status, (head.header("content-type") or "").partition(";")[0]), (200, "text/event-stream"), "status and type")
                await feed.until(lambda body: len(parts(body)) >= count)
                return parts(feed.response.body)

        open_feeds: list[int] = []
        live = asyncio.create_task(read(2, 12))
        for _ in range(4):
            await gateway.answer(key, "up:finish", max_tokens=9)
        events = await asyncio.wait_for(live, 20)
        check.equal([event for _, event in events], listed()[2:2 + len(events)], "the events live")
        last = events[-1][0]
        await gateway.restart()
        await gateway.answer(key, "up:finish", max_tokens=9)
        again = await asyncio.wait_for(read(0, 2, last), 20)
        check.equal([position for position, _ in again][:2], [last + 1, last + 2], "behind the last one that was seen")
        # A feed does not keep the server from stopping.
        # As many as may be, and no more.
        open_feeds.clear()
        await world.settled("alice")
        end = listed()[-1]["position"]
        waiting = [asyncio.create_task(read(end, 1)) for _ in range(8)]

        async def all_open() -> bool:
            return len(open_feeds) == 8

        await wire.eventually(all_open, "eight feeds are open", 20)
        feed = {"accept": "text/event-stream"}

        async def full() -> bool:
            async with wire.Exchange(gateway.port, "GET", "/v1/ledger/events", feed | {"authorization": f"Bearer {MASTER_KEY}"}) as one:
                return (await one.head()).status == 503 and b"too_many_exports" in (await one.rest()).body

        await wire.eventually(full, "the ninth feed is refused", 20)
        check.equal(await gateway.stop(), 0, "the exit code beside a feed")
        check.equal(await asyncio.wait_for(asyncio.gather(*waiting), 20), [[]] * 8, "what feeds of nothing gave")
        await gateway.start()


#: What the examples of the help name, and what it is here.
FILES = ("ledger.sqlite", "prices.json", "usage.csv", "charge.tlog-proof")


@case
async def help_examples() -> None:
    """Each subcommand's help has an example that works as it stands, and says what its exit codes mean."""
    secret, public = new_key()
    async with World(["up:finish"], settings={"checkpoints": {"signing_key": secret}}) as world:
        check, gateway = world.check, world.gateway
        key = await gateway.user("alice", 5)
        request = (await gateway.answer(key, "up:finish", max_tokens=9)).header("x-request-id")
        await world.settled("alice")
        prices = (await gateway.api("GET", "/v1/pricing", key=None)).body
        check.equal(await gateway.stop(), 0, "the exit code")
        folder = gateway.folder / "example"
        folder.mkdir()
        shutil.copyfile(gateway.database, folder / "ledger.sqlite")
        (folder / "prices.json").write_bytes(prices)
        (folder / "usage.csv").write_text("date,model,input_tokens,output_tokens\n2026-01-01,nothing,0,0\n")
        (folder / "charge.tlog-proof").write_bytes(run(REPLAY, "prove", gateway.database, "--charge", request)[1])
        events = [json.loads(line) for line in run(REPLAY, "events", gateway.database)[1].splitlines()]
        month = events[-1]["recorded_at"][:7]
        listed = run(REPLAY, "--help")[1].decode().partition("SUBCOMMANDS:")[2]
        names = re.findall(r"^  ([a-z-]+)", listed, re.M)
        check.that(len(names) >= 12, f"the subcommands are {names}")
        commands = [(REPLAY, "replay", name) for name in names] + [(SERVER, "LedgerServer", name) for name in ("backup", "generate-key", "serve", "import")]
        for binary, program, name in commands:
            text = run(binary, name, "--help")[1].decode()
            # It is a paragraph of its own, which is broken where the terminal ends.
            example = re.search(rf"^Example: ({program} {name} .*?)\n\s*\n", text, re.M | re.S)
            if not check.that(example, f"{program} {name}: the help has no example"):
                continue
            if binary == REPLAY:
                check.that(re.search(r"[Ee]xit codes?", text), f"{name}: the help says nothing of exit codes")
            if name in ("serve", "import"):
                continue
            line = " ".join(example[1].split()).replace("req_0000000000000000000000", request).replace("ledger.example.com+1a2b3c4d+AbCd…", public)
            # A statement is of a month in which the account was open.
            line = line.replace("--month 2026-03", f"--month {month}")
            ended = subprocess.run([str(binary), *shlex.split(line)[1:]], cwd=folder, capture_output=True, text=True, timeout=60)
            # The file of usage is of other days, and a balance may be asked for before the account was opened.
            allowed = {"reconcile": (0, 1), "balance": (0, 3)}.get(name, (0,))
            check.that(ended.returncode in allowed, f"`{line}` ended with {ended.returncode}: {ended.stderr[-400:]}")
        await gateway.start()
