"""What the cases share: their registry, and checks that go on after a failure so that one run tells everything."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass
from typing import Awaitable, Callable


@dataclass
class Case:
    name: str
    run: Callable[..., Awaitable[None]]
    about: str
    takes_argument: bool


CASES: dict[str, Case] = {}


def case(function=None, *, name: str | None = None, takes_argument: bool = False):
    """Registers a coroutine function as a case; its docstring says what it shows."""

    def register(function):
        label = name or function.__name__
        CASES[label] = Case(label, function, (function.__doc__ or "").strip().splitlines()[0], takes_argument)
        return function

    return register(function) if function else register


class Checks:
    """Collects what is wrong, each with what it is about."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.passed = 0
        self._about: list[str] = []

    @contextlib.contextmanager
    def about(self, *what: object):
        """Names what the checks inside are about. A failed assertion inside is recorded, and the case goes on behind."""
        self._about.append(" ".join(str(part) for part in what))
        try:
            yield self
        except AssertionError as error:
            self.fail(str(error) or "assertion failed at " + traceback.format_exc().strip().splitlines()[-2].strip())
        except Exception as error:  # a surprise in one check must not hide the others
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.fail(f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})")
        finally:
            self._about.pop()

    def fail(self, what: str) -> None:
        self.problems.append(": ".join([*self._about, what]))

    def that(self, condition: object, otherwise: str) -> bool:
        if condition:
            self.passed += 1
        else:
            self.fail(otherwise)
        return bool(condition)

    def equal(self, found: object, expected: object, what: str) -> bool:
        if found == expected:
            self.passed += 1
            return True
        if isinstance(found, bytes) and isinstance(expected, bytes):
            self.fail(f"{what} differ: {difference(found, expected)}")
        else:
            self.fail(f"{what}: expected {shortened(expected)}, found {shortened(found)}")
        return False

    def within(self, found: object, allowed, what: str) -> bool:
        return self.that(found in allowed, f"{what}: expected one of {sorted(allowed, key=str)}, found {shortened(found)}")

    def raise_problems(self) -> None:
        if self.problems:
            raise Failed(self.problems, self.passed)


class Failed(Exception):
    def __init__(self, problems: list[str], passed: int):
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} of {len(problems) + passed} checks failed:\n{lines}")


def shortened(value: object, limit: int = 500) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def difference(found: bytes, expected: bytes) -> str:
    """Where two byte strings part."""
    at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
    start = max(0, at - 30)
    return (
        f"{len(found)} bytes instead of {len(expected)}, the first difference at byte {at}: "
        f"found {found[start:at + 60]!r}, expected {expected[start:at + 60]!r}"
    )


# -- shapes ------------------------------------------------------------------------------------------------------------


def openai_error(check: Checks, response, status: int | set[int] | None = None, code: str | None = None) -> dict:
    """Checks that an answer is an error of OpenAI's shape with a `detail` beside it, and gives its `error`."""
    if isinstance(status, int):
        check.equal(response.status, status, f"status of {response}")
    elif status is not None:
        check.within(response.status, status, f"status of {response}")
    try:
        body = response.json
    except ValueError:
        check.fail(f"the error is no JSON: {response}")
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    if not check.that(isinstance(error, dict), f"no `error` object in {response}"):
        return {}
    for name in ("message", "type", "param", "code"):
        check.that(name in error, f"`error.{name}` is missing in {response}")
    check.that(isinstance(error.get("message"), str) and error["message"], f"`error.message` is no text in {response}")
    check.that(isinstance(error.get("type"), str), f"`error.type` is no text in {response}")
    check.equal(body.get("detail"), error.get("message"), "`detail` is the message")
    if code is not None:
        check.equal(error.get("code"), code, "error.code")
    return error


def detail(check: Checks, response, status: int, text: str) -> None:
    """Checks an error of the gateway's own routes: `{"detail": text}`."""
    check.equal(response.status, status, f"status of {response}")
    try:
        found = response.json.get("detail")
    except (ValueError, AttributeError):
        found = response.text
    check.equal(found, text, "detail")


def fields(check: Checks, value: object, names: str, what: str) -> None:
    """Checks that an object has exactly these fields."""
    if check.that(isinstance(value, dict), f"{what} is no object: {shortened(value)}"):
        wanted, found = set(names.split()), set(value)
        missing = wanted - found
        check.that(not missing, f"{what} lacks {sorted(missing)}: {shortened(value)}")
        check.that(not found - wanted - {"code"}, f"{what} has other fields: {sorted(found - wanted)}")
