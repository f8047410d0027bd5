"""Unit files of systemd, read: sections of assignments, in which a name may stand more than once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"

SECTION = re.compile(r"\[([A-Za-z]+)\]")
ASSIGNMENT = re.compile(r"([A-Za-z0-9]+)=(.*)")

Unit = dict[str, dict[str, list[str]]]


class UnitError(Exception):
    """A line that is neither a comment, nor a section, nor an assignment in one."""


def read(*paths: Path) -> Unit:
    """The sections of a unit and of the drop-ins after it. An empty value forgets those before, as systemd has it."""
    unit: Unit = {}
    for path in paths:
        section: dict[str, list[str]] | None = None
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if not line or line[0] in "#;":
                continue
            if found := SECTION.fullmatch(line):
                section = unit.setdefault(found[1], {})
            elif (found := ASSIGNMENT.fullmatch(line)) and section is not None:
                assign(section, found[1], found[2].strip())
            else:
                raise UnitError(f"{path.name}:{number}: {line}")
    return unit


def assign(section: dict[str, list[str]], name: str, value: str) -> None:
    if value:
        section.setdefault(name, []).append(value)
    else:
        section[name] = []


def words(values: Sequence[str]) -> list[str]:
    """The words of all values of a name."""
    return [word for value in values for word in value.split()]


def seconds(value: str) -> float:
    """A span of time, as far as our units use it: 45, 45s, 100ms."""
    found = re.fullmatch(r"([0-9]+)(s|ms)?", value)
    assert found, value
    return int(found[1]) / (1000 if found[2] == "ms" else 1)
