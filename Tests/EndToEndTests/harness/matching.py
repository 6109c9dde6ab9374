"""Patterns for whole JSON bodies: what is stable is written out, what is generated is a regular expression or a type.

A pattern is a literal, a compiled regular expression (of a whole text), a type or a tuple of types, a list (of so many elements), `Each` (a
list of any length), `Open` (an object with these members and others), a function that says what is wrong, or an object of patterns, which
has these members and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from checks import shortened

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TEXT = re.compile(r"(?s).+")
KEY = re.compile(r"gw-[A-Za-z0-9_-]{64}")
JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
REQUEST_ID = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}(\.\d+)?")
SNAKE = re.compile(r"[a-z][a-z0-9_]*")
NUMBER = (int, float)
TEXT_OR_NULL = (str, type(None))
OBJECT_OR_NULL = (dict, type(None))


@dataclass(frozen=True)
class Each:
    """A list whose elements are all of one pattern."""

    pattern: object
    least: int = 0


@dataclass(frozen=True)
class Open:
    """An object with these members, and perhaps others."""

    members: dict


@dataclass(frozen=True)
class Either:
    """One of some patterns."""

    patterns: tuple

    def __init__(self, *patterns: object):
        object.__setattr__(self, "patterns", patterns)


def mismatches(found: object, pattern: object, where: str = "body") -> list[str]:
    """What of a value is not as the pattern has it, each with its place."""
    if isinstance(pattern, Either):
        kinds = [mismatches(found, one, where) for one in pattern.patterns]
        return [] if any(not kind for kind in kinds) else min(kinds, key=len)
    if isinstance(pattern, re.Pattern):
        fits = isinstance(found, str) and pattern.fullmatch(found)
        return [] if fits else [f"{where} is {shortened(found)}, not a text like {pattern.pattern}"]
    if isinstance(pattern, (type, tuple)):
        kinds = pattern if isinstance(pattern, tuple) else (pattern,)
        # True is an int for Python, and none for JSON.
        fits = type(found) in kinds
        return [] if fits else [f"{where} is {shortened(found)}, not of {[kind.__name__ for kind in kinds]}"]
    if isinstance(pattern, Open):
        return _members(found, pattern.members, where, is_open=True)
    if isinstance(pattern, dict):
        return _members(found, pattern, where, is_open=False)
    if isinstance(pattern, Each):
        if not isinstance(found, list):
            return [f"{where} is no list: {shortened(found)}"]
        short = [] if len(found) >= pattern.least else [f"{where} has {len(found)} elements, not {pattern.least} or more"]
        return short + [problem for at, one in enumerate(found) for problem in mismatches(one, pattern.pattern, f"{where}[{at}]")]
    if isinstance(pattern, list):
        if not isinstance(found, list) or len(found) != len(pattern):
            return [f"{where} is no list of {len(pattern)}: {shortened(found)}"]
        return [problem for at, (one, wanted) in enumerate(zip(found, pattern)) for problem in mismatches(one, wanted, f"{where}[{at}]")]
    if callable(pattern):
        problem = pattern(found)
        return [f"{where} {problem}"] if problem else []
    same = found == pattern and isinstance(found, bool) == isinstance(pattern, bool)
    return [] if same else [f"{where} is {shortened(found)}, not {shortened(pattern)}"]


def _members(found: object, members: dict, where: str, is_open: bool) -> list[str]:
    if not isinstance(found, dict):
        return [f"{where} is no object: {shortened(found)}"]
    problems = [f"{where}.{name} is missing" for name in members if name not in found]
    if not is_open:
        problems += [f"{where}.{name} should not be there: {shortened(found[name])}" for name in found if name not in members]
    for name, pattern in members.items():
        if name in found:
            problems += mismatches(found[name], pattern, f"{where}.{name}")
    return problems
