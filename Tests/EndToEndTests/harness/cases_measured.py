"""What is in a prompt beside texts is held by what it is: files by their first bytes, pictures by their size, long prompts by the window."""

from __future__ import annotations

import base64
import json

from checks import case
from closed_world import WINDOW, ClosedWorld, request
from file_samples import billed, gif, jpeg, png, wave, webp

#: Models whose families have formulas of their own for pictures, and where each is asked.
FAMILIES = {
    "gpt-4o": ("azure", "chat"), "gpt-4o-mini": ("azure", "chat"), "gpt-5-mini": ("azure", "chat"), "claude-sonnet-4-5": ("ant", "messages"),
    "claude-opus-4-7": ("ant", "chat"), "gemini-2.5-flash": ("gem", "chat"), "gemini-3-pro": ("gemo", "chat"),
}
SIZES = [(1, 1), (64, 64), (300, 300), (384, 384), (385, 385), (512, 512), (1024, 1024), (2048, 4096), (4096, 512), (1920, 1080),
         (8000, 300), (640, 16000), (20000, 20000)]


def picture(route: str, data: bytes, mime: str) -> str:
    text = base64.b64encode(data.ljust(96, b"\0")).decode()
    if route == "messages":
        return '"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"%s","data":"%s"}}]}]' % (mime, text)
    return '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:%s;base64,%s"}}]}]' % (mime, text)


@case
async def measured() -> None:
    """Files are held by what they are, pictures by their dimensions, and a long prompt in any script by the context window."""
    # Some of these models have windows that are known by their families, and that is meant.
    models: dict = {name: {} for name in FAMILIES}
    async with ClosedWorld(models) as here:
        key = await here.gateway.user("alice", 10_000_000)
        await sizes_of_pictures(here, key)
        await kinds_of_files(here, key)
        await long_prompts(here, key)
        await thinking(here, key)
        await many_inputs(here, key)
        await pending_calls(here, key)
        await names_of_results(here, key)


async def sizes_of_pictures(here: ClosedWorld, key: str) -> None:
    """The bound of a picture is at least what it is billed, and not much more than the largest picture."""
    asked: list[tuple[str, str, int, int, str | None]] = []
    for model, (provider, route) in FAMILIES.items():
        for mime, encode in (("image/png", png), ("image/jpeg", jpeg), ("image/gif", gif), ("image/webp", webp)):
            for width, height in SIZES:
                response = await here.ask(key, route, request(f"{provider}:{model}", route, picture(route, encode(width, height), mime)))
                here.check.equal(response.status, 200, f"status of {response} for {model} {mime} {width}x{height}")
                asked.append((model, mime, width, height, response.header("x-request-id")))
        # The screen of a GIF may be smaller than what is drawn on it: decoders show the larger.
        body = request(f"{provider}:{model}", route, picture(route, gif(2000, 2000, screen=(1, 1)), "image/gif"))
        asked.append((model, "image/gif of a small screen", 2000, 2000, (await here.ask(key, route, body)).header("x-request-id")))
    holds = await here.holds()
    # The text around a picture, and what a file may be off by.
    around = 250
    for model, mime, width, height, found in asked:
        with here.check.about(model, mime, f"{width}x{height}"):
            bound, tokens = holds[found]["prompt_bound"], billed(model, width, height)
            # What is scaled before it is billed may be held at the largest. Gemini 3 has one figure for the highest resolution that could be asked for.
            largest = 2240 if model.startswith("gemini-3") else max(billed(model, *size) for size in [*SIZES, (1568, 1568), (700, 2048), (2576, 2576)])
            most = largest if max(width, height) > 1024 or "small" in mime or largest == 2240 else max(tokens + tokens // 2, tokens + 90)
            here.check.that(tokens <= bound <= most + around, f"the bound is {bound}, billed are {tokens} tokens of at most {largest}")


async def kinds_of_files(here: ClosedWorld, key: str) -> None:
    """A data URL counts by the dearer of what it says and what it is."""
    def url(mime: str, data: bytes) -> str:
        return f"data:{mime};base64,{base64.b64encode(data).decode()}"

    text, film = b"a plain text. " * 50, b"\0\0\0\x18ftypmp42" + bytes(100)
    for provider in ("own", "azure", "gemo"):
        for what, address, least, most in (
            ("a film in a picture's place", url("video/mp4", film), WINDOW, WINDOW), ("a film that says it is a picture", url("image/png", film), WINDOW, WINDOW),
            ("a film in capitals", url("VIDEO/MP4", film), WINDOW, WINDOW), ("a text", url("text/plain", text), len(text), len(text) + 100),
            ("a text without Base64, which some take for it", "data:text/plain," + "x" * 500, 500, WINDOW), ("a PDF", url("application/pdf", b"%PDF-1.7"), WINDOW, WINDOW),
            ("a PDF that says it is a text", url("text/plain", b"%PDF-1.7 " + text), WINDOW, WINDOW),
            ("an archive that says it is a text", url("text/plain", b"PK\x03\x04" + text), WINDOW, WINDOW),
            ("something", url("application/octet-stream", b"abc"), WINDOW, WINDOW), ("nothing at all", "data:", WINDOW, WINDOW),
            ("another scheme", "ms://a-file-that-was-uploaded", WINDOW, WINDOW), ("a scheme in capitals", "DATA:text/plain,x", WINDOW, WINDOW),
            ("a picture without dimensions", url("image/png", b"\x89PNG\r\n\x1a\n"), WINDOW, WINDOW),
            # What family a model of that name is of is not known: the dearest counts.
            ("a small picture", url("image/png", png(28, 28)), 8500, 8600),
            ("a picture that says it is a text", url("text/plain", png(1400, 1400)), 2833 + 8 * 5667, 49_000),
        ):
            with here.check.about(provider, what):
                members = '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%s}}]}]' % json.dumps(address)
                hold = await here.hold(key, "chat", request(f"{provider}:m", "chat", members))
                here.check.that(least <= hold["prompt_bound"] <= most, f"the bound is {hold['prompt_bound']}, not from {least} to {most}")
    for what, data, declared, seconds in (
        ("ten seconds of WAVE", wave(10), "wav", 10), ("MP3 of the lowest rate", b"\xff\xe3\x18\xc4" + bytes(10_000), "mp3", 10),
        ("the largest figures of WAVE", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0" + b"\xff" * 6 + bytes(6) + b"\xff\xffdata\0\0\0\0", "wav", None),
        ("WAVE of two formats", wave(10)[:36] + wave(1)[12:36].replace(b"\xe8\3\0\0", b"\1\0\0\0") + wave(10)[36:], "wav", None),
        ("MP3 that is told as AAC", b"\xff\xe3\x18\xc4" + bytes(500), "aac", None),
        # Silence takes next to nothing in these.
        ("sound that says it is MP3", b"OggS" + bytes(5_000), "mp3", None), ("FLAC behind a tag", b"ID3\4\0\0\0\0\0\0fLaC" + bytes(90), "mp3", None),
        ("sound that says it is a text", bytes(300), "text/plain", None),
    ):
        with here.check.about("sound", what):
            part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": declared}}
            members = '"messages":[{"role":"user","content":[%s]}]' % json.dumps(part)
            hold = await here.hold(key, "chat", request("azure:m", "chat", members))
            if seconds is None:
                here.check.equal((hold["audio_bound"], hold["prompt_bound"]), (WINDOW, WINDOW), "the bounds of the sound and of the prompt")
                continue
            here.check.that(32 * seconds <= hold["audio_bound"] <= 32 * (seconds + 2), f"the bound of the sound is {hold['audio_bound']}")
            here.check.that(hold["audio_bound"] < hold["prompt_bound"] < hold["audio_bound"] + 150, f"the bound is {hold['prompt_bound']}")


async def long_prompts(here: ClosedWorld, key: str) -> None:
    """A prompt is held at its bytes, which no tokenizer exceeds, and never beyond the window: also in scripts of three bytes a letter."""
    for provider, route, members, once in (
        ("own", "chat", '"messages":[{"role":"user","content":"%s"}]', 1), ("xai", "chat", '"messages":[{"role":"user","content":"%s"}]', 1),
        ("ant", "messages", '"messages":[{"role":"user","content":"%s"}]', 1), ("azure", "responses", '"input":"%s"', 1),
        ("gem", "chat", '"messages":[{"role":"user","content":[{"type":"text","text":"%s"}]}]', 1),
        # Each of two searches reads it again.
        ("azure", "responses", '"tools":[{"type":"web_search"}],"max_tool_calls":2,"input":"%s"', 3),
        ("ant", "messages", '"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":2}],"messages":[{"role":"user","content":"%s"}]', 3),
        # What is fetched may be a PDF, which its bound does not cover: each pass may fill the window.
        ("ant", "messages", '"tools":[{"type":"web_fetch_20250910","name":"f","max_uses":1,"max_content_tokens":10}],"messages":[{"role":"user","content":"%s"}]', 2),
    ):
        for letter, count, bound in (("漢", 100, None), ("漢", 40_000, WINDOW), ("😀", 30_000, WINDOW), ("\\u6f22", 40_000, WINDOW), ("x", 70_000, None)):
            with here.check.about("long prompts", provider, route, members[:60], letter, count):
                hold = await here.hold(key, route, request(f"{provider}:m", route, members % (letter * count)))
                size = len(json.loads(f'"{letter}"').encode()) * count
                found = hold["prompt_bound"]
                if "web_fetch" in members:
                    here.check.equal(found, 2 * WINDOW, "the bound of the prompt")
                elif bound:
                    here.check.equal(found, once * bound, "the bound of the prompt")
                elif once == 1:
                    here.check.that(size <= found <= size + 100, f"the bound is {found}")
                else:
                    here.check.that(min(size, WINDOW) * once <= found <= WINDOW * once, f"the bound is {found}")


async def thinking(here: ClosedWorld, key: str) -> None:
    """What is thought beyond the bound of the output is held beside it, and nothing that the provider is told."""
    for members, held in (('"max_tokens":2,"thinking_budget":8192', 8194), ('"max_tokens":2,"thinking_budget":0', 2), ('"max_tokens":2,"n":2,"thinking_budget":10', 24)):
        with here.check.about("thinking", members):
            hold = await here.hold(key, "chat", request("own:m", "chat", members))
            here.check.equal(hold["output_bound"], held, "the bound that is held")
            here.check.equal(here.received[-1].json["max_tokens"], 2, "what the provider is told")
    with here.check.about("thinking", "what would fit"):
        poor = await here.gateway.user("thinker", 1)
        response = await here.ask(poor, "chat", request("own:m", "chat", '"max_tokens":90000000,"thinking_budget":400'))
        here.check.equal(response.status, 402, f"status of {response}")
        fitting = int(response.json["error"]["max_tokens_that_fit"])
        response = await here.ask(poor, "chat", request("own:m", "chat", f'"max_tokens":{fitting},"thinking_budget":400'))
        here.check.equal(response.status, 200, f"status of {response} with the bound that was said to fit")


async def many_inputs(here: ClosedWorld, key: str) -> None:
    """Each input of an embedding may be as long as the window: what is held is not bounded by one."""
    for provider in ("own", "azure"):
        with here.check.about("many inputs", provider):
            hold = await here.hold(key, "embeddings", {"model": f"{provider}:m", "input": ["x" * 30_000] * 10})
            here.check.that(hold["prompt_bound"] >= 300_000, f"the bound is {hold['prompt_bound']}")
            if provider == "own":
                # What is put in front of each is there as often.
                hold = await here.hold(key, "embeddings", {"model": "own:m", "input": ["x"] * 1000, "input_type": "query"})
                here.check.that(hold["prompt_bound"] >= 20_000, f"the bound with a prefix is {hold['prompt_bound']}")
                hold = await here.hold(key, "embeddings", {"model": "own:m", "input": ["x"] * 1000, "instruction": "y" * 2000})
                here.check.that(hold["prompt_bound"] >= 2_000_000, f"the bound with an instruction is {hold['prompt_bound']}")
            hold = await here.hold(key, "embeddings", {"model": f"{provider}:m", "input": [[7] * 30_000] * 10})
            here.check.that(hold["prompt_bound"] >= 300_000, f"the bound of token ids is {hold['prompt_bound']}")


async def names_of_results(here: ClosedWorld, key: str) -> None:
    """The translation for Gemini writes a function's name into each of its results: that is measured, or refused."""
    with here.check.about("names of results"):
        call = {"id": "a", "type": "function", "function": {"name": "f" * 1000, "arguments": "{}"}}
        results = [{"role": "tool", "tool_call_id": "a", "content": "x"}] * 20
        body = {"model": "gem:m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}, *results]}
        response = await here.ask(key, "chat", body)
        if response.status == 200:
            bound = (await here.holds())[response.header("x-request-id")]["prompt_bound"]
            here.check.that(len(here.received[-1].body) <= bound + 1000, f"{len(here.received[-1].body)} bytes were sent, the bound is {bound}")


async def pending_calls(here: ClosedWorld, key: str) -> None:
    """A call of Anthropic's own tool that has no result yet is run by the request, beside those that its tools bound."""
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 1, "max_content_tokens": 10}
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    for tool, name in ((search, "web_search"), (fetch, "web_fetch")):
        with here.check.about("pending calls", name):
            call = {"type": "server_tool_use", "id": "a", "name": name, "input": {}}
            result = {"type": f"{name}_tool_result", "tool_use_id": "a", "content": {"type": f"{name}_tool_result_error", "error_code": "x"}}
            bounds = []
            for blocks in ([call, result], [call]):
                messages = [{"role": "user", "content": "x" * 9000}, {"role": "assistant", "content": blocks}]
                body = {"model": "ant:m", "max_tokens": 10, "messages": messages, "tools": [tool]}
                bounds.append(await here.hold(key, "messages", body))
            here.check.that(bounds[1]["prompt_bound"] - bounds[0]["prompt_bound"] > 9000, f"with and without a result: {bounds}")
            here.check.equal([hold.get("search_bound", 0) for hold in bounds], [1, 2] if name == "web_search" else [0, 0], "searches")
