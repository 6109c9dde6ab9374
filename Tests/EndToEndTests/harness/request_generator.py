"""Random requests that a table allows, and mutations of them that it may not."""

from __future__ import annotations

import base64
import json
from random import Random

from file_samples import gif, jpeg, png, wave, webp
from request_tables import Definition, Rule, Table, Variant

#: What a client asks by each route, beside the model.
PROMPTS = {"chat": "messages", "messages": "messages", "responses": "input", "embeddings": "input"}
TEXTS = ["", "x", "hi there", "漢字かな", "🦊🍣", "line\nline", 'say "so"', "\\back\\", "tab\tand  spaces", "{\"a\":1}", "a" * 90, "é ß ü" * 9,
         # Longer where they are written as JSON.
         '"quoted" ' * 30, "\u0001\n" * 60, "\\\\" * 70]
PLAIN_TEXTS = ["x", "hi there", "漢字かな", "🦊🍣", "Paris", "a" * 60]
WORDS = ["x", "a-b", "id_7", "auto", "low", "k", "0.5", "none"]
#: Settings of which some value is known to be taken, also where the request is translated.
HINTS: dict[str, list] = {
    "temperature": [0, 0.5, 1], "top_p": [0.9], "top_k": [5], "seed": [7], "stop": ["x", ["x", "y"]], "presence_penalty": [0], "frequency_penalty": [0],
    "parallel_tool_calls": [True], "strict": [True, False], "arguments": ["{}", '{"city":"Köln"}'], "tool_call_id": ["call_1"],
    "reasoning_effort": ["none"],
}
URLS = ["https://x.example/file", "http://x.example/a.png?b=c"]


class Files:
    """Files as clients send them; what each of them really is, by its text."""

    def __init__(self) -> None:
        #: The text in a request, its type, and what it is: (picture, width, height), (text, bytes), (sound, seconds), (unknown,) …
        self.samples: list[tuple[str, str, tuple]] = []
        self.known: dict[str, tuple] = {}
        for width, height in ((1, 1), (300, 200), (384, 384), (1024, 1024), (1920, 1080), (2048, 4096), (8000, 300), (20000, 20000)):
            for mime, encode in (("image/png", png), ("image/jpeg", jpeg), ("image/gif", gif), ("image/webp", webp)):
                self.add(mime, encode(width, height).ljust(96, b"\0"), ("picture", width, height))
        self.add("text/plain", "ein Text, 漢字. ".encode() * 20, ("text", len("ein Text, 漢字. ".encode()) * 20))
        self.add("application/pdf", b"%PDF-1.7 " + bytes(50), ("unknown",))
        self.add("video/mp4", b"\0\0\0\x18ftypmp42" + bytes(50), ("unknown",))
        self.add("audio/wav", wave(3), ("sound", 3))
        # It says that it is something cheaper.
        self.add("text/plain", b"%PDF-1.7 but a text by its type" + bytes(40), ("unknown",))
        self.add("image/png", b"\0\0\0\x18ftypmp42 a film" + bytes(50), ("unknown",))
        self.add("text/plain", png(1024, 1024).ljust(80, b"\0"), ("picture", 1024, 1024))
        for url in URLS:
            self.known[url] = ("remote",)

    def add(self, mime: str, data: bytes, what: tuple) -> None:
        text = base64.b64encode(data).decode()
        self.samples.append((text, mime, what))
        self.known[text] = self.known[f"data:{mime};base64,{text}"] = what


class Generator:
    """Makes requests from tables; the same seed gives the same requests."""

    def __init__(self, random: Random, files: Files):
        self.random = random
        self.files = files
        self.table: Table | None = None
        self.is_translated = False

    # -- what is allowed

    def request(self, table: Table, model: str, route: str, is_translated: bool) -> dict:
        self.table, self.is_translated = table, is_translated
        wanted = {"model", PROMPTS[route]}
        if route == "messages":
            wanted.add("max_tokens")
        if self.random.random() < 0.4 and route != "embeddings":
            wanted.add("stream")
        if self.random.random() < 0.6 and route != "messages":
            wanted.add(self.random.choice(["max_tokens", "max_completion_tokens"]) if route == "chat" else "max_output_tokens")
        members = table.request.common
        found = self.members(members, wanted & members.keys(), self.random.choice([0, 0, 1, 2, 3, 5]), 0)
        if route == "responses" and "max_tool_calls" in members and members["max_tool_calls"].kind == "calls":
            found.setdefault("max_tool_calls", self.random.randint(1, 4))
        if is_translated and isinstance(found.get("messages"), list):
            # A result belongs to a call, and something is asked.
            if any(message.get("role") == "tool" for message in found["messages"]):
                call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                found["messages"].insert(0, {"role": "assistant", "tool_calls": [call]})
            found["messages"].append({"role": "user", "content": "hi"})
        if route == "embeddings" and "stream" in found:
            found["stream"] = False
        found["model"] = model
        return found

    def members(self, members: dict[str, Rule], wanted: set[str], more: int, depth: int) -> dict:
        offered = [name for name, rule in members.items() if rule.kind != "refused" and name not in wanted and name != "*"]
        chosen = list(wanted) + self.random.sample(offered, min(more, len(offered)))
        # In no order of the table.
        self.random.shuffle(chosen)
        found = {name: self.value(members[name], name, depth + 1, members) for name in chosen}
        if any(members[name].kind == "mime" for name in found) or any(members[name].kind.startswith("inline") and name == "data" for name in found):
            self.file(members, found)
        if "*" in members and self.random.random() < 0.5:
            found["anything"] = self.anything(1)
        return found

    def file(self, members: dict[str, Rule], found: dict) -> None:
        """A file and its type beside it."""
        text, mime, what = self.random.choice(self.files.samples)
        if "format" in members:
            sounds = [sample for sample in self.files.samples if sample[2][0] == "sound"]
            text, mime, what = sounds[0][0], "wav", sounds[0][2]
        for name in members:
            if members[name].kind == "mime" and (name in found or name in ("media_type", "format")):
                found[name] = mime
            elif name == "data" and members[name].kind.startswith("inline"):
                found[name] = text

    def object(self, definition: Definition, depth: int) -> dict:
        members, wanted = definition.common, set()
        value: str | None = None
        if definition.discriminator:
            usable = [name for name, variant in definition.variants.items() if variant.rule != "refused"]
            value = self.random.choice(usable or ["-"])
            variant = definition.variants.get(value, Variant())
            members = variant.members
            if variant.rule in ("search", "fetch"):
                wanted = {name for name, rule in members.items() if rule.kind in ("uses", "content_tokens") and not (variant.default and self.random.random() < 0.5)}
            # The member that most variants are about has their name, or is what they say.
            wanted |= {name for name in (value, "text", "content", "output", "function", "name", "arguments", "source") if name in members}
        wanted |= {name for name in ("url", "data", "file_data", "name", "id", "tool_call_id", "function", "schema", "arguments")
                   if name in members and (self.is_translated or self.random.random() < 0.7)}
        wanted = {name for name in wanted if members[name].kind != "refused" and name != definition.discriminator}
        left = {name: rule for name, rule in members.items() if name != definition.discriminator}
        found = self.members(left, wanted, self.random.choice([0, 0, 1, 2] if depth < 4 else [0, 0, 1]), depth)
        if definition.discriminator and value != "-":
            found[definition.discriminator] = value.removesuffix("*") + "7" if value.endswith("*") else value
            if self.random.random() < 0.3:
                # The last may come first.
                found = dict(reversed(found.items()))
        return found

    def value(self, rule: Rule, name: str, depth: int, members: dict[str, Rule]) -> object:
        random = self.random
        kind = rule.kind
        if name in HINTS and kind in ("setting", "text", "read"):
            return random.choice(HINTS[name])
        if kind == "either":
            if depth > 6 or (self.is_translated and random.random() < 0.5):
                return self.value(rule.parts[0], name, depth, members)
            return self.value(random.choice(rule.parts), name, depth, members)
        if kind == "object":
            return self.object(self.table.definitions[rule.name], depth)
        if kind == "list":
            return [self.value(rule.parts[0], name, depth + 1, members) for _ in range(random.choice([1, 1, 2, 3] if depth < 5 else [0, 1]))]
        if kind == "setting":
            if rule.values is None:
                return random.choice([random.choice(WORDS), 1, True, 0.5])
            return json_value(random.choice(rule.values))
        if kind in ("text", "user", "mime"):
            return random.choice(PLAIN_TEXTS if self.is_translated else TEXTS)
        if kind == "read":
            return {"type": "object", "properties": {}} if name in ("parameters", "schema", "input_schema") and random.random() < 0.5 else self.anything(2)
        if kind == "free":
            return self.anything(1)
        if kind == "dropped":
            return self.anything(1) if random.random() < 0.8 else None
        if kind == "tokens":
            ids = [random.randint(0, 99_999) for _ in range(random.randint(1, 9))]
            return ids if random.random() < 0.5 else [ids, [7]]
        if kind.startswith("inline"):
            text, mime, _ = random.choice(self.files.samples)
            return random.choice(URLS) if random.random() < 0.2 else f"data:{mime};base64,{text}"
        if kind == "window":
            return random.choice(["file-7", "https://x.example/a.pdf", {"url": "https://x.example/a.mp4"}, ["a"]])
        if kind in ("stream", "usage"):
            return random.random() < 0.6
        if kind == "bound":
            return random.randint(1, 60)
        if kind == "choices":
            return random.randint(1, 4)
        if kind == "thinking":
            return random.randint(0, 60)
        if kind == "prefix":
            return random.choice(WORDS)
        if kind in ("calls", "uses"):
            return random.randint(1, 3)
        if kind == "content_tokens":
            return random.randint(1, 500)
        if kind == "cache":
            return random.choice([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"mode": "explicit"}])
        return "m"

    def anything(self, depth: int) -> object:
        random = self.random
        kind = random.randint(0, 6 if depth else 3)
        if kind < 2:
            return random.choice(TEXTS)
        if kind < 4:
            return random.choice([0, 7, -1, True, False, None, 12345, 0.5])
        if kind == 4:
            return [self.anything(depth - 1) for _ in range(random.randint(0, 3))]
        return {random.choice(["a", "type", "description", "名前", "max_tokens", "model"]): self.anything(depth - 1) for _ in range(random.randint(0, 3))}

    # -- what may not be

    def mutated(self, document: dict) -> str:
        """A request with one to three things in it that are otherwise than the table says."""
        for _ in range(self.random.choice([1, 1, 2, 3])):
            objects = list(self.objects(document))
            self.mutate(self.random.choice(objects), document)
        return text_of(document)

    def objects(self, value: object):
        if isinstance(value, dict):
            yield value
            for inner in value.values():
                yield from self.objects(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from self.objects(inner)

    def mutate(self, place: dict, document: dict) -> None:
        random = self.random
        names = [name for name in place if not name.startswith("\0")]
        name = random.choice(names) if names else None
        way = random.randint(0, 8)
        if way == 0 or name is None:
            place[random.choice(["what_nobody_knows", "file_id", "model", "tools", "cache_control", "url", "id", "image_url", "type", "role"])] = self.anything(2)
        elif way == 1:
            likes = [name.upper(), name.capitalize(), name.replace("s", "ſ", 1), name.replace("k", "\u212a", 1)]
            like = random.choice([like for like in likes if like != name] or ["X" + name])
            place[like] = place.pop(name) if random.random() < 0.5 else self.anything(1)
        elif way == 2:
            # There twice, once it is written.
            place["\0" + name] = self.anything(1) if random.random() < 0.5 else place[name]
        elif way == 3:
            place[name] = random.choice([None, True, 7, "x", [], {}, [{}], ["x"], {"type": "text"}, -1, 1.5])
        elif way == 4:
            values = [v for d in self.table.definitions.values() for v in d.variants if d.discriminator in place]
            for other in ("type", "role", "mode"):
                if other in place and values:
                    place[other] = random.choice(values)
        elif way == 5:
            definition = random.choice(list(self.table.definitions.values()))
            members = [n for members in (definition.common, *(v.members for v in definition.variants.values())) for n, r in members.items() if r.kind == "refused"]
            if members:
                place[random.choice(members)] = self.anything(1)
        elif way == 6:
            bounds = [n for n, r in self.table.request.common.items() if r.kind in ("bound", "choices", "calls")]
            if bounds:
                document[random.choice(bounds)] = random.choice([10**6, 10**9, 2**31, 2**31 + 1, 10**30, 0, -1, 1e9, 1.5, "7", 100, 129])
        elif way == 7:
            place.pop(name)
        else:
            place[name] = random.choice(["x" * random.randint(1, 3000), "漢" * random.randint(1, 1000), ["x"] * random.randint(1, 100)])


def json_value(text: str) -> object:
    """A value as a table writes it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def text_of(document: dict) -> str:
    """A request as it is sent: a name that begins with a zero byte is written without it, beside the one that has that name."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace('"\\u0000', '"')
