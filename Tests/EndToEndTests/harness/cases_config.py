"""Configurations that are refused: at once, with the key and the line, and without secrets in the message."""

from __future__ import annotations

from checks import case
from gateway import Gateway, StartFailed
from world import World

SECRET = "secret-master-key-0123456789"
PROVIDER_SECRET = "sk-provider-secret-9876543210"

GOOD = f"""\
database_url: sqlite:///{{folder}}/ledger.sqlite
master_key: {SECRET}
providers:
  up:
    api_base: http://127.0.0.1:9/v1
    api_key: {PROVIDER_SECRET}
pricing:
  "up:finish":
    input_price_per_million: 1.0
    output_price_per_million: 2.0
limits:
  idle_timeout_seconds: 5
"""


def change(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


#: What is wrong, the file, what the message has to name, and the line.
BAD: list[tuple[str, str, list[str], int | None]] = [
    ("an unknown key", GOOD + "databse: x\n", ["databse"], 13),
    ("an unknown key in a provider", change("    api_key:", "    api_kye: x\n    api_key:"), ["api_kye"], 6),
    ("an unknown limit", GOOD + "  idle_timeout: 5\n", ["idle_timeout"], 13),
    ("an unknown key in a price", change("    output_price", "    outptu_price: 1\n    output_price"), ["outptu_price"], 10),
    ("a variable that is not set", change(PROVIDER_SECRET, "${NOT_SET_ANYWHERE}"), ["api_key", "NOT_SET_ANYWHERE"], 6),
    ("a price with seven decimals", change("1.0", "0.1234567"), ["input_price_per_million"], 9),
    ("a negative price", change("2.0", "-2.0"), ["output_price_per_million"], 10),
    ("a price that is no number", change("2.0", "cheap"), ["output_price_per_million"], 10),
    ("a price without output", change("    output_price_per_million: 2.0\n", ""), ["up:finish"], None),
    ("a price for an unconfigured provider", change('"up:finish"', '"other:finish"'), ["other:finish"], 8),
    ("a price for no provider", change('"up:finish"', '"finish"'), ["finish"], 8),
    ("no master key", change(f"master_key: {SECRET}\n", ""), ["master_key"], None),
    ("an empty master key", change(SECRET, '""'), ["master_key"], None),
    ("a limit of 0", change("seconds: 5", "seconds: 0"), ["idle_timeout_seconds"], 12),
    ("a limit that is no number", change("seconds: 5", "seconds: soon"), ["idle_timeout_seconds"], 12),
    ("a provider without base", change("    api_base: http://127.0.0.1:9/v1\n", ""), ["api_base"], None),
    ("a base that is no URL", change("http://127.0.0.1:9/v1", "nowhere"), ["api_base"], None),
    ("a key that is there twice", GOOD + f"master_key: {SECRET}\n", ["master_key"], None),
    ("providers that are a list", "master_key: " + SECRET + "\nproviders:\n  - up\n", ["providers"], None),
    ("another database", change("sqlite:///{folder}/ledger.sqlite", "mysql://x/y"), ["database_url"], None),
    ("no YAML", "master_key: [\n", [], None),
    ("a tab", "master_key: x\n\tproviders: y\n", [], None),
    ("a quote that does not end", change(f"master_key: {SECRET}", f'master_key: "{SECRET}'), [], None),
    ("a stray bracket behind a secret", change(PROVIDER_SECRET, f"[{PROVIDER_SECRET}"), [], None),
    ("a secret that is a list", change(SECRET, f"[{SECRET}]"), ["master_key"], 2),
]


@case
async def config_errors() -> None:
    """A bad configuration is refused at once: the message names the key and the line, and never a secret."""
    async with World(["up:finish"], is_audited=False) as world:
        for what, text, names, line in BAD:
            with world.check.about(what):
                await refused(world, text, names, line)
        await environment(world)
        await missing_file(world)


async def start(text: str, env: dict | None = None) -> StartFailed | None:
    """Tries to start a server; None where it did start."""
    gateway = Gateway(9, [], env=env)
    gateway.write_config(text.replace("{folder}", str(gateway.folder)))
    try:
        await gateway.start()
        return None
    except StartFailed as failed:
        return failed
    finally:
        await gateway.close()


async def refused(world: World, text: str, names: list[str], line: int | None) -> None:
    check = world.check
    failed = await start(text)
    if not check.that(failed is not None, "the server started"):
        return
    check.that(failed.code is not None and failed.code > 0, f"exit code {failed.code}")
    check.that(failed.seconds < 5, f"it took {failed.seconds:.1f} s")
    for name in names:
        check.that(name in failed.output, f"the message does not name {name}: {failed.output}")
    if line is not None:
        check.that(f"line {line}" in failed.output, f"the message does not name line {line}: {failed.output}")
    for secret in (SECRET, PROVIDER_SECRET):
        check.that(secret not in failed.output, f"the message shows a secret: {failed.output}")
    check.that(len(failed.output) < 4000 and "Fatal error" not in failed.output, f"it crashed, or the message is long: {failed.output[:2000]}")


async def environment(world: World) -> None:
    check = world.check
    with check.about("variables"):
        text = change(SECRET, "${E2E_MASTER}").replace(PROVIDER_SECRET, "${E2E_NOT_SET:-fallback}")
        check.equal(await start(text, {"E2E_MASTER": SECRET}), None, "the failure with the variable set")
        check.equal(await start(change(f"master_key: {SECRET}\n", ""), {"GATEWAY_MASTER_KEY": SECRET}), None, "the failure with GATEWAY_MASTER_KEY")
    with check.about("the environment wins"):
        gateway = Gateway(world.provider.port, ["up:finish"], env={"GATEWAY_MASTER_KEY": "another-master-key"})
        try:
            await gateway.start()
            check.equal((await gateway.api("GET", "/v1/users")).status, 401, "status with the file's master key")
            check.equal((await gateway.api("GET", "/v1/users", key="another-master-key")).status, 200, "status with the environment's")
        finally:
            await gateway.close()
    with check.about("no secret in the log"):
        key = await world.gateway.user("alice", 10)
        await world.gateway.answer(key, "up:finish")
        await world.gateway.stop()
        output = "\n".join(world.gateway.output)
        for secret in (world.gateway.config["master_key"], key):
            check.that(secret not in output, "the log shows a key")
        check.that("Hauptstadt" not in output, "the log shows a prompt")


async def missing_file(world: World) -> None:
    with world.check.about("a missing file"):
        gateway = Gateway(9, [])
        gateway.config_path.unlink()
        try:
            await gateway.start()
            world.check.fail("the server started")
        except StartFailed as failed:
            world.check.that(failed.code and "config.yaml" in failed.output, f"exit code {failed.code}: {failed.output}")
        finally:
            await gateway.close()
