"""A provider that keeps to its rules to the letter: it takes nothing that its table does not know, and bills the most that its documentation allows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from dialects import Billed
from file_samples import billed as picture_tokens
from request_tables import Definition, Rule, Table

#: What OpenAI's cookbook counts beside the texts: for each message, and for the beginning of the answer.
MESSAGE_TOKENS, ANSWER_TOKENS = 4, 3
#: What Anthropic puts in front where there are tools, and the most that one of its own tools adds ("Tool use", pricing).
TOOL_PROMPT_TOKENS, OWN_TOOL_TOKENS = 530, 735
#: The most that a search brings into a prompt, as the gateway is told.
SEARCH_TOKENS = 2000
#: A sentence in front of each input of an embedding.
PREFIX_TOKENS = 20
LARGEST_PICTURE = {
    "gpt-4o": 85 + 170 * 8, "claude-sonnet-4-5": 1600, "gemini-2.5-flash": 258 * 24, "grok-4": 256 * 7,
}

#: Gemini's own form, of which the gateway has no table, since no client speaks it: what its translation may say (Google, "GenerateContent").
GEMINI = """
request:
  contents                     list of content
  systemInstruction            content
  tools                        list of tool
  toolConfig                   setting of tool_config
  generationConfig             generation_config
content:
  role                         setting user | model
  parts                        list of part
part:
  text, thoughtSignature       text
  inlineData                   blob
  fileData                     file_data
  functionCall                 function_call
  functionResponse             function_response
blob:
  mimeType                     mime
  data                         inline
file_data:
  fileUri, mimeType            window
function_call:
  name, id                     text
  args                         read
function_response:
  name, id                     text
  response                     read
tool:
  functionDeclarations         list of function
function:
  name, description            text
  parametersJsonSchema         read
tool_config:
  functionCallingConfig        setting of calling_config
calling_config:
  mode                         setting AUTO | NONE | ANY | VALIDATED
  allowedFunctionNames         setting
generation_config:
  maxOutputTokens              bound
  candidateCount               choices
  temperature, topP, topK, seed, presencePenalty, frequencyPenalty, stopSequences, responseMimeType    setting
  responseJsonSchema           read
  thinkingConfig               setting of thinking_config
thinking_config:
  thinkingBudget, includeThoughts    setting
"""


@dataclass
class Reading:
    """What a provider makes of a request."""

    #: What it does not take.
    problems: list[str] = field(default_factory=list)
    #: Tokens of the prompt that it reads, if each byte of a text is one.
    tokens: int = 0
    #: Parts that may be of any size.
    windows: int = 0
    bounds: dict[str, int] = field(default_factory=dict)
    choices: int = 1
    calls: int = 0
    #: Tools that it runs, bounded by `calls`; searches and fetches with bounds of their own.
    called_tools: int = 0
    searches: int = 0
    fetches: int = 0
    #: Ids of its own tools' calls in earlier answers, with the tools' names, and of their results.
    pending: dict[str, str] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    writes_cache: bool = False
    #: What may be thought beyond the output, and the texts that are put in front of each input.
    thinking: int = 0
    prefixes: int = 0
    is_stream: bool = False
    model: str = ""
    messages: int = 0
    #: The tokens and unknown parts of each input of an embedding.
    inputs: list[tuple[int, int]] = field(default_factory=list)


class Refuses(Exception):
    """The provider gives a 400: it costs nothing."""


class Twice(dict):
    """An object in which some name is there twice."""


class StrictReader:
    """Reads requests by one table; `passes`: whether it takes members that the table does not know, as a server of one's own may."""

    def __init__(self, table: Table, files: dict[str, tuple], family: str, window: int, passes: bool = False):
        self.table, self.files, self.family, self.window, self.passes = table, files, family, window, passes
        self.found = Reading()

    def read(self, body: bytes) -> Reading:
        self.found = Reading()
        document = json.loads(body, object_pairs_hook=pairs)
        self._members(self.table.request, self.table.request.common, "", document, "")
        return self.found

    # -- places

    def _object(self, definition: Definition, value: object, place: str) -> None:
        if not isinstance(value, dict):
            return self._problem(place, "is no object")
        if definition.discriminator is None:
            return self._members(definition, definition.common, "", value, place)
        chosen = value.get(definition.discriminator)
        if chosen is not None and not isinstance(chosen, str):
            return self._problem(place, f"has the {definition.discriminator} {chosen!r}")
        variant = definition.variant(chosen)
        if variant is None:
            if self.passes:
                return self._unknown(value, place)
            return self._problem(place, f"has the {definition.discriminator} {chosen!r}, which is not known")
        if variant.rule == "refused":
            return self._problem(place, f"has the {definition.discriminator} {chosen!r}, which is refused")
        if variant.rule == "window" and not set(variant.members) - set(definition.common):
            # The table says nothing of what is in it.
            return self._unknown(value, place)
        self._members(definition, variant.members, variant.rule, value, place, variant.default)

    def _unknown(self, value: object, place: str) -> None:
        self.found.windows += 1
        self.found.tokens += size_of(value)

    def _members(self, definition: Definition, members: dict[str, Rule], rule: str, value: dict, place: str, uses: int = 0) -> None:
        found = self.found
        if isinstance(value, Twice):
            self._problem(place, "has a name twice")
        files: list[tuple[str, bool]] = []
        mime = ""
        for name, inner in value.items():
            known = members.get(name)
            at = f"{place}.{name}" if place else name
            if known is None:
                if name.casefold() in definition.folded and name not in definition.names:
                    self._problem(at, "is a known name in other letters")
                elif "*" in members:
                    self._value(members["*"], inner, at, name)
                elif not self.passes:
                    self._problem(at, "is not known")
                else:
                    found.tokens += size_of(inner)
                continue
            if inner is None:
                continue
            kind = self._value(known, inner, at, name)
            if kind.startswith("inline") and isinstance(inner, str):
                files.append((inner, kind == "inline picture"))
            elif kind == "mime":
                mime = inner if isinstance(inner, str) else ""
            elif kind == "uses" and isinstance(inner, int):
                uses = inner
        for text, is_picture in files:
            self._file(text, mime, is_picture)
        self._finish(rule, value, uses)

    def _finish(self, rule: str, value: dict, uses: int) -> None:
        found = self.found
        if rule == "search":
            found.searches += uses
        elif rule == "fetch":
            found.fetches += uses
        elif rule == "calls":
            found.called_tools += 1
        elif rule == "adds":
            found.tokens += OWN_TOOL_TOKENS
        elif rule == "window":
            found.windows += 1
        elif rule == "pending":
            if value.get("id") in found.pending:
                raise Refuses("two calls have one id")
            found.pending[str(value.get("id"))] = str(value.get("name"))
        elif rule == "result":
            found.results.append(str(value.get("tool_use_id")))

    # -- values

    def _value(self, rule: Rule, value: object, place: str, name: str) -> str:
        """Reads a value, and gives the kind of the rule that it was read by."""
        found, kind = self.found, rule.kind
        if kind == "either":
            fitting = next((part for part in rule.parts if fits(part, value)), None)
            if fitting is None:
                self._problem(place, f"cannot be {value!r:.60}")
                return ""
            return self._value(fitting, value, place, name)
        if kind == "object":
            self._object(self.table.definitions[rule.name], value, place)
        elif kind == "list":
            if not isinstance(value, list):
                self._problem(place, "is no array")
                return ""
            for index, inner in enumerate(value):
                before = (found.tokens, found.windows)
                self._value(rule.parts[0], inner, f"{place}[{index}]", name)
                if place in ("messages", "input", "inputs", "texts", "contents"):
                    found.messages += 1
                    found.inputs.append((found.tokens - before[0], found.windows - before[1]))
        elif kind == "text":
            if not isinstance(value, str):
                self._problem(place, f"is no text: {value!r:.60}")
            else:
                found.tokens += len(value.encode())
                found.messages += place in ("input", "instructions")
        elif kind == "read":
            found.tokens += size_of(value)
        elif kind == "setting":
            self._setting(rule, value, place)
        elif kind == "tokens":
            found.tokens += sum(len(inner) if isinstance(inner, list) else 1 for inner in value) if isinstance(value, list) else 0
        elif kind == "window":
            found.windows += len(value) if isinstance(value, list) and place in ("images",) else 1
        elif kind == "bound":
            if not is_whole(value) or value < 1:
                self._problem(place, f"bounds nothing: {value!r:.60}")
            else:
                found.bounds[name] = value
        elif kind == "thinking":
            found.thinking = max(found.thinking, value if is_whole(value) else 0)
        elif kind == "prefix":
            found.prefixes += 1
        elif kind == "choices":
            if not is_whole(value) or value < 1:
                self._problem(place, f"is no number of choices: {value!r:.60}")
            else:
                found.choices = value
        elif kind == "calls":
            found.calls = value if is_whole(value) else 0
        elif kind in ("stream", "usage") and not isinstance(value, bool):
            self._problem(place, f"is neither true nor false: {value!r:.60}")
        elif kind == "stream":
            found.is_stream = value
        elif kind == "model":
            found.model = value if isinstance(value, str) else ""
        elif kind == "user" and not isinstance(value, str):
            self._problem(place, f"is no text: {value!r:.60}")
        elif kind == "cache":
            found.writes_cache = found.writes_cache or isinstance(value, dict)
        elif kind in ("dropped", "refused"):
            self._problem(place, f"is {kind}, and was sent on")
        return kind

    def _setting(self, rule: Rule, value: object, place: str) -> None:
        for inner in value if isinstance(value, list) else [value]:
            if inner is None:
                continue
            text = inner if isinstance(inner, str) else json.dumps(inner)
            if isinstance(inner, (dict, list)) and not (rule.values and text in rule.values):
                self._problem(place, f"is no simple value: {inner!r:.60}")
            elif rule.values is not None and text not in rule.values and not ("0" in rule.values and inner == 0 and not isinstance(inner, (str, bool))):
                self._problem(place, f"cannot be {inner!r:.60}")

    def _file(self, text: str, mime: str, is_picture: bool) -> None:
        found = self.found
        what = self.files.get(text)
        if what is None:
            # Nobody knows what it is; as a text it is at most what stands there.
            payload = text.partition(",")[2] if text.startswith("data:") else text
            kind = (mime or text.removeprefix("data:")).partition("/")[0]
            # The one that is said to be sound has, beside its type, a format.
            sound = ("sound", len(payload) // 1000 + 1)
            by_kind = {"text": ("text", len(payload.encode())), "image": ("remote",), "wav": sound, "audio": sound}
            what = by_kind.get(kind) or (("remote",) if is_picture else ("unknown",))
            is_picture = is_picture or kind == "image"
        if what[0] == "picture":
            found.tokens += picture_tokens(self.family, what[1], what[2])
        elif what[0] == "text":
            found.tokens += what[1]
        elif what[0] == "sound":
            found.tokens += 32 * what[1]
        elif what[0] == "remote" and is_picture and self.family in LARGEST_PICTURE:
            found.tokens += LARGEST_PICTURE[self.family]
        else:
            found.windows += 1

    def _problem(self, place: str, what: str) -> None:
        self.found.problems.append(f"'{place}' {what}")

    # -- the bill

    def bill(self, form: str, heeded: list[str]) -> Billed:
        """The most that may be billed for what was read; `heeded`: the names of bounds of which the provider heeds one, nobody knows which."""
        found, window = self.found, self.window
        if form == "embeddings":
            inputs = found.inputs or [(found.tokens, found.windows)]
            prompt = len(inputs) * found.prefixes * PREFIX_TOKENS + max(sum(window if unknown else tokens for tokens, unknown in inputs), found.tokens if not found.windows else 0)
            return Billed(prompt, 0)
        if not found.messages:
            raise Refuses("nothing is asked")
        missing = [name for name in heeded if name not in found.bounds]
        if missing:
            self._problem(missing[0], "is not there: nothing bounds the output")
        completion = (max(found.bounds.values(), default=10**6) + found.thinking) * found.choices
        once = window if found.windows else min(window, found.tokens + found.messages * MESSAGE_TOKENS + ANSWER_TOKENS)
        prompt, searches = once, 0
        if form == "xai":
            searches = found.searches
            prompt = min(window, once + searches * SEARCH_TOKENS)
        elif form == "responses" and found.called_tools:
            searches = found.calls
            prompt = sum(min(window, once + passed * SEARCH_TOKENS) for passed in range(searches + 1))
        elif form == "messages":
            prompt, searches = self._passes(once)
        written = prompt if found.writes_cache and form in ("chat", "messages") else 0
        return Billed(prompt, completion, written=written, written_hour=written if form == "messages" else 0, searches=searches,
                      reasoning=completion // 2)

    def _passes(self, once: int) -> tuple[int, int]:
        """The prompt and the searches of a request whose tools Anthropic runs: it is read again after each search and each fetch."""
        found = self.found
        unanswered = [tool for call, tool in found.pending.items() if call not in found.results]
        if any(result not in found.pending for result in found.results) or len(set(found.results)) < len(found.results):
            raise Refuses("a result answers no call")
        searches = found.searches + (unanswered.count("web_search") if found.searches else 0)
        fetches = found.fetches + (unanswered.count("web_fetch") if found.fetches else 0)
        # A fetch may be a PDF, whose size its bound does not cover: with the first that comes, the window is full.
        prompt = sum(min(self.window, once + (self.window if passed > 0 and fetches else passed * SEARCH_TOKENS)) for passed in range(searches + fetches + 1))
        return prompt, searches


def pairs(members: list[tuple[str, object]]) -> dict:
    found = dict(members)
    return found if len(found) == len(members) else Twice(found)


def size_of(value: object) -> int:
    """The bytes of a value as a model may read it."""
    if isinstance(value, str):
        return len(value.encode())
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def fits(rule: Rule, value: object) -> bool:
    """Whether a value is of the JSON type that an alternative is for."""
    if rule.kind in ("text", "inline", "inline image", "inline picture", "inline sound", "mime", "user"):
        return isinstance(value, str)
    if rule.kind == "object":
        return isinstance(value, dict)
    if rule.kind == "setting":
        return not isinstance(value, dict)
    if rule.kind == "list":
        return isinstance(value, list) and (not value or fits(rule.parts[0], value[0]))
    if rule.kind == "tokens":
        return isinstance(value, list) and (not value or isinstance(value[0], (int, list)))
    return True
