"""The served description: valid, and true for whatever a fuzzer thinks of."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from checks import case
from contract import login, people_world, person
from description import Description
from gateway import MASTER_KEY
from world import World

SEED = 20260301
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
#: A bound for a fuzzer that hangs; what it does is bounded by its examples.
FUZZER_SECONDS = 170.0
#: The models that the examples of the description name, and what answers in their place.
EXAMPLES = {
    "openai:gpt-4o": "up:finish", "openai:gpt-4.1": "oai:talk", "openai:text-embedding-3-small": "oai:embed",
    "anthropic:claude-sonnet-4-5-20250929": "ant:talk",
}
#: Routes of which nobody can guess what is needed for a success (a code, a token, a state, an id, a signature), that are for people only, or are not asked again.
NOT_FOR_MASTER = {
    "GET /v1/auth/callback", "POST /v1/auth/token", "POST /v1/auth/refresh", "GET /v1/auth/me", "GET /v1/auth/sessions", "DELETE /v1/auth/sessions",
    "DELETE /v1/auth/sessions/{id}", "GET /v1/keys/{id}", "PATCH /v1/keys/{id}", "DELETE /v1/keys/{id}", "GET /v1/budgets/{id}", "PATCH /v1/budgets/{id}",
    "DELETE /v1/budgets/{id}", "PATCH /v1/billing/subscription/{user_id}", "POST /v1/ledger/charges/{id}/reverse", "POST /v1/billing/deliveries/{id}/retry",
    "POST /v1/billing/deliveries/{id}/resolve", "POST /v1/webhooks/{provider}", "GET /openapi.yaml",
    "GET /v1/ledger/charges/{id}/explain", "GET /v1/ledger/checkpoint", "GET /v1/keys/{id}/limits", "PUT /v1/keys/{id}/limits", "GET /v1/users/{id}/webhook", "DELETE /v1/users/{id}/webhook",
}
OPEN = {
    "GET /health", "GET /health/liveness", "GET /health/readiness", "GET /.well-known/jwks.json", "GET /v1/pricing", "GET /v1/pricing/{model_key}", "GET /v1/billing/plans",
    "GET /v1/billing/products", "GET /v1/ledger/keys",
}
#: What a user's key is for.
OWN = {
    "GET /v1/profile", "GET /v1/profile/balance", "GET /v1/profile/usage", "GET /v1/profile/keys", "GET /v1/profile/logs", "GET /v1/profile/payments", "GET /v1/profile/limits",
    "GET /v1/profile/statement",
    "GET /v1/auth/me", "GET /v1/auth/sessions", "GET /v1/models", "POST /v1/chat/completions", "POST /v1/messages", "POST /v1/responses", "POST /v1/embeddings",
    "POST /v1/billing/checkout",
}
CONFIGURATION = """\
[generation]
with-security-parameters = false
exclude-header-characters = "\\r\\n"
"""


@case
async def openapi() -> None:
    """The served description is valid OpenAPI, and no fuzzer finds an answer that it does not have."""
    settings = {"model_map": EXAMPLES}
    async with people_world(settings=settings) as world:
        description = await Description.of(world.gateway.port)
        with world.check.about("validation"):
            validate(world, description)
        await populate(world)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "schemathesis.toml").write_text(CONFIGURATION)
            # One after the other: the second and the third find what the first has left, or nothing.
            # The coverage of every boundary once; who may not do anything needs no boundaries.
            everything = {f"{method} {path}" for method, path in description.operations}
            await fuzz(world, folder, "the master key", MASTER_KEY, "examples,coverage,fuzzing", 20, description, everything - NOT_FOR_MASTER)
            await fuzz(world, folder, "no credential", None, "examples,fuzzing", 3, description, OPEN)
            await populate(world)
            await fuzz(world, folder, "a user's key", await world.gateway.key("alice"), "examples,fuzzing", 10, description, OPEN | OWN)
        with world.check.about("afterwards"):
            ready = await world.gateway.api("GET", "/health/readiness", key=None)
            world.check.equal(ready.status, 200, f"readiness: {ready}")
            failed = [line for line in world.gateway.output if "a request failed" in line]
            world.check.that(not failed, f"requests failed within the server: {failed[:5]}")


def validate(world: World, description: Description) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator

    errors = list(OpenAPIV31SpecValidator(description.document).iter_errors())
    world.check.that(not errors, f"the description is not valid: {[str(error)[:300] for error in errors[:5]]}")
    for (method, path), operation in description.operations.items():
        for name in ("operationId", "summary", "tags", "responses"):
            world.check.that(operation.get(name), f"{method} {path} has no {name}")
    ids = [operation.get("operationId") for operation in description.operations.values()]
    world.check.equal(len(set(ids)), len(ids), "operation ids that differ")
    for (method, path), operation in description.operations.items():
        # A body that a client developer can copy.
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "requestBody" in operation:
            examples = [content["example"]] if "example" in content else [each["value"] for each in content.get("examples", {}).values()]
            world.check.that(examples, f"{method} {path} has no example of its body")
            for example in examples:
                found = [error.message for error in example_errors(description, content["schema"], example)]
                world.check.that(not found, f"{method} {path}: the example {json.dumps(example)[:200]} is not of its own schema: {found[:3]}")


def example_errors(description: Description, schema: dict, example: object):
    from jsonschema import Draft202012Validator

    return Draft202012Validator({"allOf": [schema], "components": description.document["components"]}).iter_errors(example)


async def populate(world: World) -> None:
    """What the examples of the description name is there, and has credits for every guess."""
    gateway = world.gateway
    response = await gateway.api("POST", "/v1/users", {"user_id": "alice"})
    assert response.status in (200, 409), f"creating alice gave {response}"
    await gateway.wanted("PATCH", "/v1/users/alice", {"blocked": False})
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "alice", "amount": 100_000})
    await gateway.wanted("POST", "/v1/billing/topup", {"user_id": "alice", "amount": 10, "payment_id": "order-1001"})
    for model in {*EXAMPLES.values()}:
        await gateway.wanted("POST", "/v1/pricing", {"model_key": model, "input_price_per_million": 1, "output_price_per_million": 2})
    await login(gateway, 7)
    await gateway.wanted("POST", "/v1/auth/login", {**person(8), "provider_account_id": "10769150350006150715113082367", "email": "alice@example.com"})
    key = await gateway.key("alice")
    for model in ("up:finish", "oai:talk"):
        await gateway.answer(key, model)


async def fuzz(world: World, folder: str, who: str, key: str | None, phases: str, examples: int, description: Description, succeeding: set[str]) -> None:
    """Runs schemathesis as a process; what it finds is reported as it prints it."""
    base = f"http://127.0.0.1:{world.gateway.port}"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(Path(folder, "schemathesis.toml")), "run", f"{base}/openapi.yaml", "--url", base,
        "--phases", phases, "--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", str(SEED),
        "--generation-database", "none", "--workers", "1", "--request-timeout", "20", "--continue-on-failure", "--no-shrink", "--max-failures", "20",
        "--suppress-health-check", "all", "--warnings", "off", "--no-color", "--report", "json", "--report-json-path", str(Path(folder, "report.json")),
    ]
    if key is not None:
        command += ["--header", f"X-AnyLLM-Key: Bearer {key}"]
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    with world.check.about("schemathesis with", who):
        try:
            output, _ = await asyncio.wait_for(process.communicate(), FUZZER_SECONDS)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
            world.check.fail(f"it took longer than {FUZZER_SECONDS:g} s")
            return
        text = output.decode("utf-8", "replace")
        world.check.equal(process.returncode, 0, f"exit code of schemathesis, which printed\n{text[-6000:]}\n")
        reached(world, json.loads(Path(folder, "report.json").read_text()), description, succeeding)


def reached(world: World, report: dict, description: Description, succeeding: set[str]) -> None:
    """It really asked every route, and those that can succeed did at least once: else it has seen nothing but refusals."""
    # The description itself it has read already.
    world.check.equal((report["complete"], report["operations"]["tested"]), (True, len(description.operations) - 1), "whether it was completed, and routes that it asked")
    accepted = {name for name, phases in report["valid_rates"].items() if any(phase["accepted"] for phase in phases.values())}
    world.check.that(not succeeding - accepted, f"routes of which it saw no success: {sorted(succeeding - accepted)}")
