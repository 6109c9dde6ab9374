"""A closed world: whatever a client writes into a request, it is either measured and held, or refused before anything is held or sent."""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal

from attacks import ATTACKS, Attack
from checks import case
from closed_world import WINDOW, ClosedWorld, names_a_place, request
from provider_answers import header
from world import INPUT, OUTPUT

#: Which tables of attacks are tried where: the provider, the route.
DOORS = {
    "openai-chat": [("maker", "chat"), ("azure", "chat")], "azure-chat": [("azure", "chat")],
    "compatible-chat": [("own", "chat"), ("closed", "chat")], "own-chat": [("own", "chat")],
    "unknown-chat": [("closed", "chat"), ("azure", "chat"), ("xai", "chat")],
    "xai-chat": [("xai", "chat")], "gemini-openai-chat": [("gemo", "chat")], "anthropic-chat": [("ant", "chat")],
    "gemini-chat": [("gem", "chat")], "anthropic-messages": [("ant", "messages")],
    "openai-responses": [("maker", "responses"), ("azure", "responses")], "responses-compatible": [("own", "responses")], "xai-responses": [("xai", "responses")],
    "embeddings": [("maker", "embeddings"), ("azure", "embeddings")],
    "embeddings-compatible": [("own", "embeddings"), ("closed", "embeddings"), ("xai", "embeddings")],
}
#: Models that take no parts of some kinds, and providers that take more members, or heed one bound.
MODELS = {"text-only": {"context_tokens": WINDOW, "refuse_parts": ["image", "audio", "video", "document", "other"]},
          "no-pictures": {"context_tokens": WINDOW, "refuse_parts": ["image"]}}
PROVIDERS = {
    "lenient": {"unknown_members": "refuse", "allow": ["prediction", "what_nobody_knows", "messages.what_nobody_knows", "tools.function.model"]},
    "old": {"max_tokens_field": "max_tokens"}, "new": {"max_tokens_field": "max_completion_tokens"}, "cloud": {"kind": "azure"},
}


@case
async def closed_world() -> None:
    """Every attack on every table is refused before anything is held or sent, or held at the context window; nothing is mismeasured."""
    async with ClosedWorld(MODELS, PROVIDERS) as here:
        poor = await here.gateway.user("poor")
        refused_key = await here.gateway.user("refused", 1000)
        held_key = await here.gateway.user("held", 1_000_000)
        before = await here.gateway.balance("refused")
        await attacked(here, poor, refused_key, held_key)
        await alike(here, refused_key)
        await twice(here, refused_key)
        here.check.equal(await here.gateway.balance("refused"), before, "the balance of who was refused")
        accounts = {e["account"] for e in await here.gateway.events() if e["name"] == "hold_placed"}
        here.check.equal(accounts, {"held"}, "for whom something was held")
        await allowed(here, held_key)
        await refused_kinds(here, held_key)
        await bounds_reach(here, held_key)
        await left_out(here, held_key)
        await betas(here, held_key)
        await many_names(here, held_key)


# -- Attacks -----------------------------------------------------------------------------------------------------------


async def attacked(here: ClosedWorld, poor: str, refused_key: str, held_key: str) -> None:
    held: list[tuple[str, str | None]] = []
    for table, doors in DOORS.items():
        for attack in ATTACKS[table]:
            for provider, route in doors:
                with here.check.about(provider, route, attack.members[:200]):
                    if attack.outcome == "window":
                        held.append((attack.members, await one_window(here, poor, held_key, provider, route, attack)))
                    else:
                        key = poor if provider == "maker" else refused_key
                        await refused(here, key, route, request(f"{provider}:m", route, attack.members), attack.outcome, attack.param)
    holds = await here.holds()
    for members, found in held:
        if found:
            # Beside a part that may fill the window, the other inputs of an embedding count as they are.
            more = 1000 if holds[found]["endpoint"] == "/v1/embeddings" else 0
            here.check.that(WINDOW <= holds[found]["prompt_bound"] <= WINDOW + more, f"the bound of the prompt of {members[:200]}: {holds[found]}")
            here.check.equal(holds[found].get("audio_bound", 0), holds[found]["prompt_bound"], f"the bound of its sound of {members[:200]}")


async def refused(here: ClosedWorld, key: str, route: str, body: str, code: str | set[str], param: str | None = None) -> None:
    """Checks a refusal: nothing reaches the provider, and it says where it lies."""
    count = len(here.received)
    response = await here.ask(key, route, body)
    here.check.equal(len(here.received), count, "how often the provider was asked")
    if not here.check.equal(response.status, 400, f"status of {response}"):
        return
    error = response.json["error"]
    here.check.within(error.get("code"), {code} if isinstance(code, str) else code, f"the code of {response}")
    if param is not None:
        here.check.equal(error.get("param"), param, "the place")
    here.check.that(names_a_place(error.get("param") or "", body), f"'{error.get('param')}' is no place of {body[:300]}")


async def one_window(here: ClosedWorld, poor: str, key: str, provider: str, route: str, attack: Attack) -> str | None:
    """Checks what must be held at the window, and gives its request; where no window is known, it must be refused."""
    body = request(f"{provider}:m", route, attack.members)
    await refused(here, poor, route, body.replace(f'"{provider}:m"', f'"{provider}:blind"'), "unsupported_parameter")
    if provider != "maker":
        response = await here.ask(key, route, body)
        here.check.equal(response.status, 200, f"status of {response}")
        return response.header("x-request-id") if response.status == 200 else None
    # The maker is never asked: what somebody without credits would need tells the bound.
    response = await here.ask(poor, route, body)
    if here.check.equal(response.status, 402, f"status of {response}"):
        needed = json.loads(response.body, parse_float=Decimal)["error"]["needed_credits"]
        found = (Decimal(needed) * 10**11 - 8192 * OUTPUT) / INPUT
        here.check.equal(found, WINDOW, "the bound of the prompt")
    return None


# -- Names -------------------------------------------------------------------------------------------------------------

#: Members that decide about money, and what they may be, at each door.
NAMES = {
    ("own", "chat"): '"max_tokens":5,"n":1,"stream":false,"service_tier":"default","tools":[],"metadata":{"a":1}',
    ("closed", "chat"): '"max_tokens":5,"n":1,"stream":false,"stream_options":null,"stop":"x","tools":[]',
    ("azure", "chat"): '"max_tokens":5,"max_completion_tokens":5,"n":1,"service_tier":"auto","functions":[]',
    ("xai", "chat"): '"max_tokens":5,"n":1,"search_parameters":{"mode":"off"},"seed":7',
    ("gemo", "chat"): '"max_tokens":5,"n":1,"google":{},"extra_body":{}',
    ("ant", "chat"): '"max_tokens":5,"seed":7,"stop":["x"],"user":"u"', ("gem", "chat"): '"max_tokens":5,"n":1,"seed":7,"stop":["x"]',
    ("ant", "messages"): '"max_tokens":5,"system":"x","speed":"standard","service_tier":"auto","mcp_servers":[],"stop_sequences":["x"]',
    ("azure", "responses"): '"input":"x","max_output_tokens":5,"max_tool_calls":2,"instructions":"x","background":false,"tools":[]',
    ("xai", "responses"): '"input":"x","max_output_tokens":5,"instructions":"x","tools":[],"service_tier":"auto"',
    ("azure", "embeddings"): '"input":"x","dimensions":5,"user":"u"', ("own", "embeddings"): '"input":"x","dimensions":5,"texts":"x"',
}
#: Members of parts: a request, and in it the name whose likes must be refused.
NESTED = [
    ("chat", '"messages":[{"role":"user","@content":"hi"}]'), ("chat", '"messages":[{"content":"hi","@role":"user"}]'),
    ("chat", '"messages":[{"role":"user","content":[{"type":"text","@text":"hi"}]}]'),
    ("chat", '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"@url":"data:image/png;base64,AA"}}]}]'),
    ("chat", '"tools":[{"type":"function","function":{"name":"f","@parameters":{}}}]'),
    ("chat", '"stream":true,"stream_options":{"@include_usage":true}'),
    ("messages", '"messages":[{"role":"user","content":[{"type":"text","@text":"hi"}]}]'),
    ("messages", '"tools":[{"type":"web_search_20250305","name":"web_search","@max_uses":1}]'),
    ("messages", '"tools":[{"name":"f","@input_schema":{"type":"object"}}]'),
    ("responses", '"input":[{"role":"user","@content":"hi"}]'), ("responses", '"input":"x","reasoning":{"@mode":"standard"}'),
]


def likes(name: str) -> list[str]:
    """Names that some decoders take for a name, written in several ways."""
    found = [name.upper(), name.capitalize(), name[:-1] + name[-1].upper()]
    for letter, like in (("s", "\u017f"), ("k", "\u212a")):
        if letter in name:
            found += [name.replace(letter, like), name.replace(letter, f"\\u{ord(like):04x}"), name.upper().replace(letter.upper(), like)]
    return list(dict.fromkeys(found))


async def alike(here: ClosedWorld, key: str) -> None:
    """Names that differ from known ones in their case only are refused, instead of them and beside them."""
    for (provider, route), members in NAMES.items():
        for name, value in json.loads("{" + members + "}").items():
            for like in likes(name):
                with here.check.about(provider, route, "like", name):
                    other = f'"{like}":{json.dumps(value)}'
                    for more in (other, members + "," + other) if name != "input" else (members + "," + other,):
                        await refused(here, key, route, request(f"{provider}:m", route, more), "unsupported_parameter", like)
    for route, members in NESTED:
        name = re.search(r'"@([a-z_]+)":', members)[1]
        for provider in {"chat": ["own", "closed", "azure", "ant", "gem"], "messages": ["ant"], "responses": ["azure"]}[route]:
            for like in likes(name):
                with here.check.about(provider, route, "nested like", name):
                    at = members.index("@") - 1
                    beside = members[:at] + f'"{like}":"x",' + members[at:].replace("@", "")
                    await refused(here, key, route, request(f"{provider}:m", route, beside), "unsupported_parameter")


async def twice(here: ClosedWorld, key: str) -> None:
    """A name that is there twice is refused, at any depth, also where it is written with escapes, or not known."""
    for (provider, route), members in NAMES.items():
        for name, value in json.loads("{" + members + "}").items():
            for again in (name, f"\\u{ord(name[0]):04x}{name[1:]}"):
                with here.check.about(provider, route, "twice", again):
                    body = request(f"{provider}:m", route, members + f',"{again}":{json.dumps(value)}')
                    await refused(here, key, route, body, "duplicate_field", again)
    for route, members in NESTED:
        name = re.search(r'"@([a-z_]+)":', members)[1]
        for provider in {"chat": ["own", "closed", "azure", "ant", "gem"], "messages": ["ant"], "responses": ["azure"]}[route]:
            with here.check.about(provider, route, "nested twice", name):
                at = members.index("@") - 1
                value = json.dumps(value_at(members[at:]))
                body = members[:at] + f'"{name}":{value},' + members[at:].replace("@", "")
                await refused(here, key, route, request(f"{provider}:m", route, body), "duplicate_field")
    with here.check.about("unknown names twice"):
        await refused(here, key, "chat", request("own:m", "chat", '"foo":1,"foo":2'), "duplicate_field", "foo")
        await refused(here, key, "chat", request("own:m", "chat", '"foo":1,"f\\u006fo":2'), "duplicate_field", "f\\u006fo")


def value_at(text: str) -> object:
    """The value behind the first name of a text."""
    return json.JSONDecoder().raw_decode(text[text.index(":") + 1:])[0]


# -- What an operator decides ------------------------------------------------------------------------------------------


async def allowed(here: ClosedWorld, key: str) -> None:
    """What the operator allows passes, at that place only, and is measured as prompt."""
    plain = (await here.hold(key, "chat", request("lenient:m", "chat", "")))["prompt_bound"]
    for members, size in (
        ('"prediction":{"type":"content","content":"%s"}', 1000), ('"what_nobody_knows":"%s"', 1000), ('"what_nobody_knows":["%s"]', 1000),
        ('"messages":[{"role":"user","content":"hi","what_nobody_knows":"%s"}]', 1000),
        ('"tools":[{"type":"function","function":{"name":"f","model":"%s"}}]', 1000),
    ):
        with here.check.about("allowed", members[:60]):
            hold = await here.hold(key, "chat", request("lenient:m", "chat", members % ("x" * size)))
            here.check.that(size <= hold["prompt_bound"] - plain <= size + 100, f"the bound is {hold['prompt_bound']}, without it {plain}")
            here.check.that(b"x" * size in here.received[-1].body, "it did not reach the provider")
    for members, place in (
        ('"What_nobody_knows":1', "What_nobody_knows"), ('"tools":[{"type":"function","what_nobody_knows":1}]', "tools[0].what_nobody_knows"),
        ('"messages":[{"role":"user","content":"hi","prediction":{}}]', "messages[0].prediction"),
        ('"messages":[{"role":"user","content":[{"type":"text","text":"x","what_nobody_knows":1}]}]', "messages[0].content[0].what_nobody_knows"),
        ('"web_search_options":{}', "web_search_options"),
    ):
        with here.check.about("not allowed", members):
            await refused(here, key, "chat", request("lenient:m", "chat", members), {"unsupported_parameter", "not_offered"}, place)
    with here.check.about("twice, although allowed"):
        await refused(here, key, "chat", request("lenient:m", "chat", '"what_nobody_knows":1,"what_nobody_knows":2'), "duplicate_field")


def user(part: str) -> str:
    return '"messages":[{"role":"user","content":[%s]}]' % part


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAAElFTkSuQmCC"
#: Parts that are files, by their kinds.
FILES = {
    "image": ['{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % PNG,
              '{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}',
              # What it is called does not make it something else.
              '{"type":"file","file":{"file_data":"data:text/plain;base64,%s"}}' % PNG],
    "audio": ['{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}'],
    "document": ['{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBERi0xLjcK"}}',
                 '{"type":"file","file":{"file_data":"data:text/plain;base64,JVBERi0xLjcK"}}'],
    "video": ['{"type":"image_url","image_url":{"url":"data:video/mp4;base64,AAAA"}}'],
    "other": ['{"type":"file","file":{"file_id":"file-1"}}', '{"type":"file","file":{"file_data":"data:application/zip;base64,AAAA"}}'],
}


async def refused_kinds(here: ClosedWorld, key: str) -> None:
    """A model that takes no files gets none, whatever they are called; texts as files it gets."""
    for provider in ("own", "azure"):
        for kind, parts in FILES.items():
            for part in parts:
                with here.check.about("refuse_parts", provider, kind, part[:80]):
                    await refused(here, key, "chat", request(f"{provider}:text-only", "chat", user(part)), "not_offered", "messages")
                    model = f"{provider}:no-pictures"
                    # What is of no known kind may be a picture, and so may what stands in the place of one.
                    if kind in ("image", "video", "other"):
                        await refused(here, key, "chat", request(model, "chat", user(part)), "not_offered", "messages")
                    else:
                        here.check.equal((await here.ask(key, "chat", request(model, "chat", user(part)))).status, 200, "status")
        with here.check.about("refuse_parts", provider, "a text as a file"):
            text = '{"type":"file","file":{"file_data":"data:text/plain;base64,aGVsbG8gd29ybGQ="}}'
            here.check.equal((await here.ask(key, "chat", request(f"{provider}:text-only", "chat", user(text)))).status, 200, "status")


async def bounds_reach(here: ClosedWorld, key: str) -> None:
    """An output bound reaches each provider under every name that it may heed; what is held is the larger of two."""
    both = {"max_tokens", "max_completion_tokens"}
    for provider, names in (("own", both), ("closed", both), ("xai", both), ("gemo", both), ("azure", {"max_completion_tokens"}),
                            ("old", {"max_tokens"}), ("new", {"max_completion_tokens"})):
        for members, held in (
            ("", 8192), ('"max_tokens":40', 40), ('"max_completion_tokens":40', 40), ('"max_tokens":40,"max_completion_tokens":70', 70),
            ('"max_tokens":null', 8192), ('"max_completion_tokens":null,"max_tokens":40', 40), ('"max_tokens":null,"max_completion_tokens":null', 8192),
            ('"metadata":{"a":[1]},"max_tokens":40', 40), ('"max_tokens":40,"metadata":{"a":[1]}', 40),
        ):
            with here.check.about("bounds", provider, members):
                hold = await here.hold(key, "chat", request(f"{provider}:m", "chat", members))
                here.check.equal(hold["output_bound"], held, "the bound that is held")
                pairs = json.loads(here.received[-1].body, object_pairs_hook=list)
                found = [(name, value) for name, value in pairs if name in both and value is not None]
                here.check.that(names <= {name for name, _ in found}, f"the provider got {pairs}")
                here.check.that(found and all(value <= held for _, value in found), f"the provider got {found}")
                here.check.equal(len({name for name, _ in pairs}), len(pairs), "names that the provider got once")
    # OpenAI and Azure refuse a request that has both, whatever the provider is called in the configuration.
    for members in ("", '"max_tokens":40', '"max_completion_tokens":40'):
        with here.check.about("bounds", "cloud", members):
            await here.ask(key, "chat", request("cloud:m", "chat", members))
            here.check.equal(both & here.received[-1].json.keys(), {"max_completion_tokens"}, "the names of the bound")
    for members in ('"stream_options":{"include_usage":null}', '"stream_options":{}', '"stream_options":null', '"stream_options":{"include_usage":false}'):
        with here.check.about("the demand for usage", members):
            response = await here.ask(key, "chat", request("own:m", "chat", '"stream":true,' + members))
            here.check.equal(response.status, 200, f"status of {response}")
            sent = dict(json.loads(here.received[-1].body, object_pairs_hook=list))
            here.check.equal(sent.get("stream_options"), [("include_usage", True)], "stream_options")
    for provider, route, name in (("ant", "messages", "max_tokens"), ("azure", "responses", "max_output_tokens"), ("xai", "responses", "max_output_tokens"),
                                  ("ant", "chat", "max_tokens")):
        with here.check.about("bounds", provider, route):
            members = '"input":"x"' if route == "responses" else ""
            hold = await here.hold(key, route, request(f"{provider}:m", route, members))
            here.check.equal(here.received[-1].json[name], hold["output_bound"], name)
    for members, searches in (('"search_parameters":{}', 20), ('"search_parameters":{"mode":"auto"}', 20), ('"search_parameters":{"mode":"on","max_search_results":3}', 3),
                              ('"search_parameters":{"mode":"off"}', 0), ('"search_parameters":null', 0)):
        with here.check.about("searches", members):
            hold = await here.hold(key, "chat", request("xai:m", "chat", members))
            here.check.equal(hold.get("search_bound", 0), searches, "the searches that are held")
            here.check.equal(hold["prompt_bound"] > min(WINDOW - 1, searches * 20_000), True, f"the bound of the prompt: {hold['prompt_bound']}")
    with here.check.about("bounds", "gem"):
        hold = await here.hold(key, "chat", request("gem:m", "chat", '"n":3,"max_completion_tokens":11'))
        config = here.received[-1].json["generationConfig"]
        here.check.equal((config["maxOutputTokens"], config["candidateCount"], hold["output_bound"]), (11, 3, 33), "the bounds")


# -- What is not sent on -----------------------------------------------------------------------------------------------


async def left_out(here: ClosedWorld, key: str) -> None:
    """What is dropped does not reach the provider, and the client is told; the rest arrives as it was."""
    for provider, route, members, dropped, kept in (
        ("xai", "responses", '"stream_options":{"include_obfuscation":false},"input":"x","temperature":1', "stream_options", {"input": "x", "temperature": 1}),
        ("xai", "responses", '"input":"x","temperature":1 , "stream_options" : {"a":[{}]} ', "stream_options", {"input": "x", "temperature": 1}),
        ("xai", "responses", '"input":"x","stream_options":null', "stream_options", {"input": "x"}),
        ("azure", "responses", '"input":[{"type":"web_search_call","id":"ws_1","action":{"type":"search","query":"q"}},{"role":"user","content":"x","created_by":"y"}]',
         "input[0].id, input[1].created_by",
         {"input": [{"type": "web_search_call", "action": {"type": "search", "query": "q"}}, {"role": "user", "content": "x"}]}),
        ("ant", "chat", '"seed":7,"metadata":{"a":1},"prediction":{"type":"content","content":"x"}', "seed, metadata, prediction", {}),
        ("gem", "chat", '"metadata":{"a":1},"prompt_cache_key":"k"', "metadata, prompt_cache_key", {}),
    ):
        with here.check.about("left out", provider, members):
            response = await here.ask(key, route, request(f"{provider}:m", route, members))
            here.check.equal(response.status, 200, f"status of {response}")
            here.check.equal(response.header("x-dropped-parameters"), dropped, "x-dropped-parameters")
            sent = here.received[-1].json
            here.check.that(not {"metadata", "prediction", "stream_options"} & sent.keys(), f"the provider got {sent}")
            here.check.equal({name: sent.get(name) for name in kept}, kept, "what the provider got")
    response = await here.ask(key, "chat", request("own:m", "chat", '"seed":7'))
    here.check.equal(response.header("x-dropped-parameters"), None, "x-dropped-parameters where nothing was")


async def betas(here: ClosedWorld, key: str) -> None:
    """Beta features that change a price, and other headers that name a client, are not passed on to Anthropic."""
    body = request("ant:m", "messages", "")
    for wanted, passed in (
        ("interleaved-thinking-2025-05-14, fast-mode-2026-02-01", "interleaved-thinking-2025-05-14"), ("context-1m-2025-08-07", None),
        ("compact-2026-01-12,compact-2026-09-04", None), ("server-side-fallback-2026-06-01", None), ("advisor-tool-2026-03-01", None),
        ("code-execution-2025-08-25", None), ("mcp-client-2025-11-20", None), ("FAST-MODE-2026-02-01", None), ("skills-2025-10-02", None),
        ("prompt-caching-2024-07-31,extended-cache-ttl-2025-04-11", "prompt-caching-2024-07-31,extended-cache-ttl-2025-04-11"),
        ("what-nobody-knows-2027-01-01", None),
    ):
        with here.check.about("anthropic-beta", wanted):
            headers = {"anthropic-beta": wanted, "anthropic-version": "2099-01-01", "anthropic-user-profile-id": "u", "openai-beta": "x"}
            response = await here.ask(key, "messages", body, **headers)
            here.check.equal(response.status, 200, f"status of {response}")
            head = here.received[-1].head
            here.check.equal(header(head, "anthropic-beta"), passed, "anthropic-beta towards the provider")
            here.check.equal(header(head, "anthropic-version"), "2023-06-01", "anthropic-version towards the provider")
            here.check.equal((header(head, "anthropic-user-profile-id"), header(head, "openai-beta")), (None, None), "other headers")
    with here.check.about("anthropic-beta twice"):
        raw = (f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nanthropic-beta: effort-2025-11-24\r\n"
               f"anthropic-beta: context-1m-2025-08-07\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode()
        response = await here.gateway.api("POST", "/v1/messages", raw=raw)
        here.check.equal(response.status, 200, f"status of {response}")
        here.check.equal(header(here.received[-1].head, "anthropic-beta"), "effort-2025-11-24", "anthropic-beta towards the provider")


# -- What a request costs to be read -----------------------------------------------------------------------------------


async def many_names(here: ClosedWorld, key: str) -> None:
    """Names that no table knows are looked up as fast as others: a short request does not keep the server busy for long."""
    names = ",".join(f'"u{number}":1' for number in range(4000))
    for provider, members in (
        ("own", names), ("closed", '"metadata":{%s}' % names), ("own", '"messages":[{"role":"user","content":[{"type":"text","text":"x",%s}]}]' % names),
        ("own", '"messages":[{"role":"user","content":"x",%s}]' % names),
    ):
        with here.check.about("many names", provider, members[:40]):
            began = time.monotonic()
            response = await here.ask(key, "chat", request(f"{provider}:m", "chat", members))
            here.check.equal(response.status, 200, f"status of {response}")
            here.check.that(time.monotonic() - began < 2, f"it took {time.monotonic() - began:.1f} s")
    for depth in (300, 100_000):
        with here.check.about("nested", depth):
            deep = "[" * depth + "]" * depth
            body = request("own:m", "chat", "").removesuffix("}") + f',"what_nobody_knows":{deep}}}'
            response = await here.ask(key, "chat", body)
            here.check.within(response.status, {200, 400}, f"status of {response}")
