"""A case: one requirement, the function that checks it, and the wrong servers that fail it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

from tests import conformance
from tests.conformance.expect import Unmet
from tests.conformance.target import NotApplicable, Target
from tests.conformance.wrong_server import Fault
from tests.harness.reader import Closed, Defect, Faulty, Silent

Check: TypeAlias = Callable[..., None]

# The first line of a docstring: where the requirement stands, and then its words.
REQUIREMENT = re.compile(r"(RFC (?P<rfc>\d+) §(?P<number>[\dA-Z.]*[\dA-Z])|Practice): ")
# What a file's name tells: rfc9110_13_conditional_requests, practice.
FILE = re.compile(r"rfc(?P<rfc>\d+)_(?P<chapter>\d+)_(?P<title>\w+)|practice")
RFCS = ("9110", "9112", "3986")


class Level(Enum):
    """How much a requirement binds (RFC 2119); RECOMMENDED is SHOULD."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Outcome(Enum):
    """How a case went."""

    MET = "met"
    UNMET = "not met"
    NOT_APPLICABLE = "does not apply"


@dataclass(frozen=True, slots=True)
class Result:
    """How a case went, and why."""

    case: Case
    outcome: Outcome
    why: str = ""
    framing: bool = False  # a framing defect was met
    noted: frozenset[Defect] = frozenset()  # faults of single answers that were met on the way


@dataclass(frozen=True, slots=True)
class Case:
    """One requirement, in one of the situations that it covers."""

    name: str  # what is so, in words
    row: str  # in which of several situations; else empty
    level: Level
    requirement: str  # the words, with their number
    section: str  # what it is counted under: "RFC 9110 §13", "practice"
    title: str  # of that section
    check: Callable[[Target], None]
    violated_by: tuple[Fault, ...]

    def __str__(self) -> str:
        return f"{self.number} {self.name}{': ' if self.row else ''}{self.row}"

    @property
    def number(self) -> str:
        """Where the requirement stands: "RFC 9110 §13.1.2"."""
        return self.requirement.partition(":")[0]

    def run(self, target: Target) -> Result:
        """Put the target to it."""
        with target.fresh() as mine:
            result = self._run(mine)
        return replace(result, noted=frozenset(fault.defect for fault in mine.noted))

    def _run(self, target: Target) -> Result:
        try:
            self.check(target)
        except NotApplicable as reason:
            return Result(self, Outcome.NOT_APPLICABLE, str(reason))
        except Faulty as reason:
            return Result(self, Outcome.UNMET, str(reason), reason.framing)
        except (Unmet, Closed, Silent) as reason:
            return Result(self, Outcome.UNMET, str(reason))
        return Result(self, Outcome.MET)


_registered: list[Case] = []


def must(*violated_by: Fault, rows: Mapping[str, Any] | None = None) -> Callable[[Check], Check]:
    """Mark a function as the check of something that MUST or MUST NOT be.

    `violated_by` are wrong servers that have to fail it, one at least. `rows` gives the function a
    second argument, and makes a case of each: what the row is about → the argument.
    """
    return _marked(Level.MUST, violated_by, rows)


def should(*violated_by: Fault, rows: Mapping[str, Any] | None = None) -> Callable[[Check], Check]:
    """The same for what SHOULD, SHOULD NOT be, or is RECOMMENDED."""
    return _marked(Level.SHOULD, violated_by, rows)


def _marked(
    level: Level, violated_by: tuple[Fault, ...], rows: Mapping[str, Any] | None
) -> Callable[[Check], Check]:
    if not violated_by:
        raise TypeError("a case names the wrong servers that fail it")

    def register(check: Check) -> Check:
        words = inspect.cleandoc(check.__doc__ or "")
        section, title = _place(check.__module__, words, check.__name__)
        base = check.__name__.replace("_", " ")
        for row, bound in _bound(check, rows):
            case = Case(base, row, level, words, section, title, bound, violated_by)
            _registered.append(case)
        return check

    return register


def _bound(
    check: Check, rows: Mapping[str, Any] | None
) -> Iterable[tuple[str, Callable[[Target], None]]]:
    if rows is None:
        return [("", check)]

    def bind(value: Any) -> Callable[[Target], None]:
        return lambda target: check(target, value)

    return [(row, bind(value)) for row, value in rows.items()]


def _place(module: str, words: str, name: str) -> tuple[str, str]:
    """The section a case is counted under, and its title; the docstring must agree with the file."""
    file = FILE.fullmatch(module.rpartition(".")[2])
    found = REQUIREMENT.match(words)
    if file is None or found is None:
        raise TypeError(f"{module}.{name} does not say where its requirement stands")
    if file["rfc"] is None:
        return "practice", "(asked by no RFC, expected by every user)"
    chapter = file["chapter"].lstrip("0")
    if (found["rfc"], (found["number"] or "").split(".")[0]) != (file["rfc"], chapter):
        raise TypeError(f"{module}.{name} quotes another section than its file is about")
    return f"RFC {file['rfc']} §{chapter}", file["title"].replace("_", " ")


def cases() -> tuple[Case, ...]:
    """All cases, in the order of the files and of the lines in each."""
    for module in pkgutil.iter_modules(conformance.__path__):
        if FILE.fullmatch(module.name):
            importlib.import_module(f"{conformance.__name__}.{module.name}")
    return tuple(sorted(_registered, key=lambda case: _order(case.section)))


def _order(section: str) -> tuple[int, int]:
    """RFC by RFC, from the general to the particular; practice at the end."""
    found = re.fullmatch(r"RFC (\d+) §(\d+)", section)
    if found is None:
        return len(RFCS), 0
    return RFCS.index(found[1]), int(found[2])
