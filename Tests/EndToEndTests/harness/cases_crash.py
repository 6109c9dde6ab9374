"""The server is killed, stopped, or started twice."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal

import wire
from checks import case, openai_error
from gateway import Gateway, StartFailed
from world import World, check_estimate, check_settlements, settlement

CLIENTS = 12
ROUND_SECONDS = 2.5


class Records:
    """What the clients were told: the server may lose none of it."""

    def __init__(self) -> None:
        #: Requests whose answer arrived whole, with the user.
        self.answered: dict[str, str] = {}
        #: Requests of which a head arrived, answered or not.
        self.begun: set[str] = set()
        #: Acknowledged top-ups, and those that may or may not have been taken.
        self.topped_up: dict[str, list[str]] = {}
        self.uncertain: dict[str, tuple[str, str]] = {}


@case(takes_argument=True)
async def kill9(rounds: str = "3:") -> None:
    """SIGKILL under load, again and again: nothing acknowledged is lost, each hold is settled once (kill9:ROUNDS[:SEED])."""
    count, _, seed = rounds.partition(":")
    chosen = int(seed) if seed else random.SystemRandom().randrange(10**6)
    print(f"kill9: {count} rounds, seed {chosen}", flush=True)
    dice = random.Random(chosen)
    models = ["up:finish", "up:finish", "up:finish", "up:slow-auto", "up:usage-every-chunk", "up:no-usage", "c7:finish"]
    async with World(models, is_audited=False) as world:
        keys = {user: await world.gateway.user(user, 1000) for user in (f"user-{n}" for n in range(CLIENTS))}
        records = Records()
        # The users' first credits, given without a key.
        position, durations, slowest = 0, [], 0.0
        for number in range(1, int(count) + 1):
            began = time.monotonic()
            with world.check.about(f"seed {chosen}, round {number}"):
                await one_kill(world, keys, records, dice, models)
                position = await after_the_kill(world, keys, records, position)
            if world.check.problems:
                break
            durations.append(time.monotonic() - began)
        if durations:
            slowest = max(durations)
            print(f"kill9: {len(records.answered)} answers and {sum(map(len, records.topped_up.values()))} top-ups were acknowledged; "
                  f"a round took {sum(durations) / len(durations):.2f} s, the slowest {slowest:.2f} s (aim: {ROUND_SECONDS} s)", flush=True)
        await world.gateway.stop()
        events = await world.gateway.events()
        check_settlements(world.check, events)
        check_all_records(world, records, events)
        interrupted = sum(1 for e in events if e["name"] == "hold_released" and e["data"]["reason"] == "interrupted")
        print(f"kill9: {interrupted} requests were interrupted", flush=True)
        world.check.that(interrupted > 0 or int(count) < 5, "no kill interrupted a request: the load is too small to show anything")


async def one_kill(world: World, keys: dict[str, str], records: Records, dice: random.Random, models: list[str]) -> None:
    """Lets the clients work, and kills the server at some moment."""
    stop = asyncio.Event()
    workers = [asyncio.create_task(work(world, user, key, records, random.Random(dice.random()), models, stop)) for user, key in keys.items()]
    await asyncio.sleep(dice.uniform(0.05, 1.2))
    await world.gateway.kill9()
    stop.set()
    await asyncio.gather(*workers)


async def work(world: World, user: str, key: str, records: Records, dice: random.Random, models: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            if dice.random() < 0.25:
                await top_up(world, user, records, dice)
            else:
                await ask(world, user, key, records, dice, models)
        except wire.Broken:
            pass  # the server is gone
        if not world.gateway.is_running:
            return


async def top_up(world: World, user: str, records: Records, dice: random.Random) -> None:
    name, amount = f"topup-{dice.getrandbits(64):x}", f"0.{dice.randrange(1, 10**9):09}"
    records.uncertain[name] = (user, amount)
    response = await world.gateway.top_up(user, amount, {"idempotency-key": name})
    if response.complete and response.status == 200:
        del records.uncertain[name]
        records.topped_up.setdefault(user, []).append(amount)
        if dice.random() < 0.3:
            await world.gateway.top_up(user, amount, {"idempotency-key": name})


async def ask(world: World, user: str, key: str, records: Records, dice: random.Random, models: list[str]) -> None:
    stream = dice.random() < 0.6
    async with world.gateway.chat(key, dice.choice(models), stream=stream, max_tokens=dice.choice([100, 1000])) as exchange:
        head = await asyncio.wait_for(exchange.head(), 20)
        request = head.header("x-request-id")
        world.check.equal(head.status, 200, "status under load")
        records.begun.add(request)
        if stream and dice.random() < 0.2:
            await asyncio.wait_for(exchange.events(dice.randrange(1, 6)), 20)
            exchange.drop(reset=True)
            return
        response = await asyncio.wait_for(exchange.rest(), 20)
        if response.complete and response.status == 200:
            records.answered[request] = user


async def after_the_kill(world: World, keys: dict[str, str], records: Records, position: int) -> int:
    """Starts the server again, and compares the ledger with what the clients were told. Gives the ledger's new end."""
    gateway, check = world.gateway, world.check
    await gateway.start()
    # What the crash left uncertain is asked for again under its key: now it has to be there exactly once.
    for name, (user, amount) in list(records.uncertain.items()):
        response = await gateway.top_up(user, amount, {"idempotency-key": name})
        if check.equal(response.status, 200, f"status of the repeated top-up: {response}"):
            del records.uncertain[name]
            records.topped_up.setdefault(user, []).append(amount)
    for user in keys:
        check.equal((await gateway.balance(user))["held"], 0, f"held of {user} after the restart")
    fresh = await gateway.events(after=position)
    settled = {e["data"]["request"]: e for e in fresh if e["name"] in ("request_charged", "hold_released")}
    for event in settled.values():
        if event["name"] == "hold_released":
            check.equal(event["data"]["reason"], "interrupted", f"reason of the release of {event['data']['request']}")
    check_settlements(check, fresh)
    code, _, output = await gateway.verify()
    check.equal(code, 0, f"exit code of replay verify, which printed {output.strip()[:1500]}")
    return fresh[-1]["position"] if fresh else position


def check_all_records(world: World, records: Records, events: list[dict]) -> None:
    """Every acknowledged answer is charged once, every acknowledged top-up is there once."""
    check = world.check
    charged: dict[str, list[str]] = {}
    granted: dict[str, list[Decimal]] = {}
    for event in events:
        if event["name"] == "request_charged":
            charged.setdefault(event["data"]["request"], []).append(event["account"])
        elif event["name"] == "credits_granted":
            granted.setdefault(event["account"], []).append(Decimal(int(event["data"]["amount"])).scaleb(-9))
    for request, user in records.answered.items():
        check.equal(charged.get(request), [user], f"charges of the acknowledged request {request}")
    for user, amounts in records.topped_up.items():
        expected = sorted([Decimal(1000)] + [Decimal(amount) for amount in amounts])
        check.equal(sorted(granted.get(user, [])), expected, f"grants of {user}")


@case
async def shutdown() -> None:
    """SIGTERM: streams that end within the grace are complete, others end with an error event; all are settled, exit code 0."""
    async with World(["up:slow", "up:slow-auto", "up:finish"], limits={"shutdown_grace_seconds": 2}) as world:
        gateway, check = world.gateway, world.check
        key = await gateway.user("alice", 100)
        quick = [gateway.chat(key, "up:slow-auto", stream=True, case=f"quick-{n}") for n in range(4)]
        whole = gateway.chat(key, "up:slow-auto", case="whole")
        stuck = [gateway.chat(key, "up:slow", stream=True, case=f"stuck-{n}") for n in range(3)]
        silent = gateway.chat(key, "up:slow", case="silent")
        everyone = [*quick, whole, *stuck, silent]
        for exchange in everyone:
            await exchange.send()
        for name in [*(f"quick-{n}" for n in range(4)), "whole", *(f"stuck-{n}" for n in range(3)), "silent"]:
            await world.provider.received(name)
        for number, exchange in enumerate(stuck):
            await world.provider.step(f"stuck-{number}", 3)
            await asyncio.wait_for(exchange.events(3), 5)
        for exchange in quick:
            await asyncio.wait_for(exchange.events(2), 5)
        gateway.terminate()
        began = time.monotonic()
        answers = asyncio.gather(*(finished(exchange) for exchange in everyone))
        await refuses_new_requests(world, key)
        answers = await asyncio.wait_for(answers, 20)
        code = await gateway.ended(15)
        check.equal(code, 0, "exit code")
        elapsed = time.monotonic() - began
        check.that(elapsed < 2 + 5, f"it took {elapsed:.1f} s to end, with a grace of 2 s")
        await after_the_shutdown(world, answers)
        for exchange in everyone:
            exchange.drop()


async def finished(exchange: wire.Exchange) -> wire.Response | None:
    try:
        await exchange.head()
        return await exchange.rest()
    except wire.Broken:
        return None


async def refuses_new_requests(world: World, key: str) -> None:
    """From the signal on, new connections are refused, or their requests with 503."""

    async def refused() -> bool:
        try:
            response = await world.gateway.answer(key, "up:finish", seconds=5)
        except wire.Broken:
            return True
        if response.status == 503:
            openai_error(world.check, response, 503)
        return response.status == 503

    with world.check.about("new requests"):
        await wire.eventually(refused, "new requests are refused", 1.5)


async def after_the_shutdown(world: World, answers: list[wire.Response | None]) -> None:
    check = world.check
    events = await world.gateway.events()
    for number, answer in enumerate(answers[:4]):
        with check.about(f"quick stream {number}"):
            assert answer is not None and answer.status == 200, f"the answer was {answer}"
            check.that(answer.complete, f"it was cut off: {answer.failure}")
            check.that(any(event.is_done for event in wire.events(answer.body)), "no [DONE]")
            check.equal(settlement(events, answer.header("x-request-id"))["data"].get("outcome"), "finished", "outcome")
    with check.about("quick whole answer"):
        check.that(answers[4] is not None and answers[4].status == 200 and answers[4].complete, f"the answer was {answers[4]}")
    for number, answer in enumerate(answers[5:8]):
        with check.about(f"stuck stream {number}"):
            assert answer is not None and answer.status == 200, f"the answer was {answer}"
            found = wire.events(answer.body)
            check.that(not answer.complete, "the connection was not aborted: the body looks complete")
            check.that(not any(event.is_done for event in found), "there is a [DONE]")
            check.that(found and found[-1].is_error, f"the last event is no error: {answer.text[-300:]!r}")
            check_estimate(check, settlement(events, answer.header("x-request-id")), {"shutdown"})
    with check.about("a whole answer that did not come"):
        if answers[8] is not None:
            openai_error(check, answers[8], {503, 504, 502})
        released = [e for e in events if e["name"] == "hold_released"]
        check.equal([e["data"]["reason"] for e in released], ["shutdown"], "releases")


@case
async def second_writer() -> None:
    """A second server on the same ledger ends at once, and says who has it."""
    async with World(["up:finish"]) as world:
        key = await world.gateway.user("alice", 10)
        second = Gateway(world.provider.port, world.models)
        second.config["database_url"] = world.gateway.config["database_url"]
        second.write_config()
        try:
            await second.start()
            world.check.fail("the second server started")
        except StartFailed as failed:
            world.check.that(failed.code not in (None, 0), f"exit code {failed.code}")
            world.check.that(failed.seconds < 10, f"it took {failed.seconds:.1f} s")
            world.check.that("lock" in failed.output.lower(), f"the message does not name the lock: {failed.output}")
            world.check.that(str(world.gateway.database) in failed.output, f"the message does not name the ledger: {failed.output}")
            world.check.that(str(world.gateway.process.pid) in failed.output, f"the message does not name the process: {failed.output}")
        finally:
            await second.close()
        world.check.equal((await world.gateway.answer(key, "up:finish")).status, 200, "the first server's status afterwards")
