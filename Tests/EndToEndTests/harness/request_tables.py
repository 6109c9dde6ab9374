"""The tables of requests, read here by themselves: from what their notation is said to mean, and not from the code that the gateway reads them with.

A table says what a request to a provider may hold. The notation is explained beside the gateway's own reader (`RequestTable.swift`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway import ROOT

FOLDER = ROOT / "Sources/CRequestTables/tables"
#: The tables, and the texts of which each is made: a later text adds to an earlier, and wins where both speak of the same place.
TEXTS = {
    "azure-chat": ["openai-chat", "azure-chat"], "compatible-chat": ["elsewhere", "openai-chat", "compatible-chat"], "xai-chat": ["xai-chat"],
    "gemini-openai-chat": ["gemini-openai-chat"], "anthropic-chat": ["anthropic-chat"], "gemini-chat": ["gemini-chat"],
    "anthropic-messages": ["anthropic-messages"], "openai-responses": ["openai-responses"],
    "responses-compatible": ["elsewhere", "openai-responses", "responses-compatible"], "xai-responses": ["xai-responses"],
    "embeddings": ["embeddings"], "embeddings-compatible": ["embeddings", "embeddings-compatible"],
}
#: What a member can be that has no further parts.
PLAIN = {
    "setting", "free", "text", "read", "tokens", "inline", "inline image", "inline picture", "inline sound", "mime", "window", "model", "stream", "usage", "user", "bound",
    "choices", "calls", "thinking", "prefix", "uses", "content_tokens", "cache", "dropped", "refused",
}


@dataclass
class Rule:
    """What a value is."""

    #: One of `PLAIN`, or object, list, either.
    kind: str
    #: Of a setting: the only ones that are taken.
    values: list[str] | None = None
    #: Of an object: the name of its definition.
    name: str = ""
    #: Of a list: its elements; of alternatives: all of them.
    parts: list["Rule"] = field(default_factory=list)


@dataclass
class Variant:
    #: search, calls, fetch, window, pending, result, adds, refused; "" where there is none.
    rule: str = ""
    #: Of a search: how many there are where the request does not say.
    default: int = 0
    members: dict[str, Rule] = field(default_factory=dict)


@dataclass
class Definition:
    name: str
    discriminator: str | None
    common: dict[str, Rule] = field(default_factory=dict)
    #: By the value of the discriminator; `-`: it is absent.
    variants: dict[str, Variant] = field(default_factory=dict)
    #: All names that occur in it, and the same as somebody compares them who does not heed case.
    names: set[str] = field(default_factory=set)
    folded: set[str] = field(default_factory=set)

    def variant(self, value: str | None) -> Variant | None:
        """An exact one before one by its beginning, the longest of these first."""
        if value is None:
            return self.variants.get("-")
        if value in self.variants and value != "-":
            return self.variants[value]
        found = [name for name in self.variants if name.endswith("*") and value.startswith(name[:-1])]
        return self.variants[max(found, key=len)] if found else None


class Table:
    """A table; `request` is where it begins."""

    def __init__(self, name: str, texts: list[str]):
        self.name = name
        self.definitions: dict[str, Definition] = {}
        for text in texts:
            self._read(text)
        for definition in self.definitions.values():
            self._finish(definition)
        self.request = self.definitions["request"]

    def _read(self, text: str) -> None:
        definition: Definition | None = None
        variants: list[Variant] | None = None
        for line in text.split("\n"):
            content = line.strip()
            if not content or content.startswith("#"):
                continue
            if not line.startswith(" "):
                name, _, discriminator = content.removesuffix(":").partition(" by ")
                definition = self.definitions.setdefault(name, Definition(name, discriminator or None))
                variants = None
                continue
            names, _, rule = content.removeprefix("= ").partition("  ")
            rule = rule.strip().partition(" — ")[0].strip()
            words = [word.strip() for word in names.split(",")]
            if content.startswith("= "):
                variants = [definition.variants.setdefault(word, Variant()) for word in words]
                for variant in variants:
                    # Where it is named again without a rule it keeps the one it had, if it gets members.
                    kind, _, number = rule.removeprefix("priced ").partition(" ")
                    variant.rule = kind or variant.rule
                    variant.default = int(number) if kind == "search" and number else variant.default
                continue
            places = [definition.common] if variants is None else [variant.members for variant in variants]
            for word in words:
                for place in places:
                    place[word] = parse(rule)

    def _finish(self, definition: Definition) -> None:
        if definition.discriminator:
            definition.common.setdefault(definition.discriminator, Rule("setting"))
        names = set(definition.common)
        for variant in definition.variants.values():
            names |= set(variant.members)
            variant.members = definition.common | variant.members
        definition.names = names
        definition.folded = {name.casefold() for name in names}


def parse(text: str) -> Rule:
    alternatives = [simple(part.strip()) for part in text.split(" or ")]
    return alternatives[0] if len(alternatives) == 1 else Rule("either", parts=alternatives)


def simple(text: str) -> Rule:
    if text in PLAIN:
        return Rule(text)
    if text.startswith("setting of "):
        return Rule("object", name=text.removeprefix("setting of "))
    if text.startswith("setting "):
        return Rule("setting", values=[value.strip() for value in text.removeprefix("setting ").split("|")])
    if text.startswith("list of "):
        return Rule("list", parts=[simple(text.removeprefix("list of "))])
    return Rule("object", name=text)


def tables() -> dict[str, Table]:
    return {name: Table(name, [(FOLDER / f"{text}.txt").read_text() for text in texts]) for name, texts in TEXTS.items()}
