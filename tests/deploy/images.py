"""An image definition, read: stages of instructions, with continued lines joined."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# https://docs.docker.com/reference/dockerfile/
KNOWN = frozenset(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER "
    "VOLUME WORKDIR".split()
)


class ImageError(Exception):
    """A line that is no instruction."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word, its flags (--from=build) and the rest."""

    word: str
    flags: dict[str, str]
    rest: str

    def listed(self) -> list[str]:
        """The words of an instruction in its list form."""
        words = json.loads(self.rest)
        assert isinstance(words, list)
        return words


@dataclass(frozen=True, slots=True)
class Stage:
    """FROM, and what follows it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        return [each for each in self.instructions if each.word == word]

    def last(self, word: str) -> Instruction:
        return self.all(word)[-1]


def read(path: Path) -> list[Stage]:
    """The stages of the definition at `path`."""
    stages: list[Stage] = []
    for line in logical_lines(path.read_text("utf-8")):
        word, _, rest = line.partition(" ")
        if word not in KNOWN:
            raise ImageError(line)
        if word == "FROM":
            base, *named = rest.split()
            stages.append(Stage(base, named[1] if named else ""))
        elif not stages:
            raise ImageError(f"before FROM: {line}")
        else:
            stages[-1].instructions.append(instruction(word, rest))
    return stages


def logical_lines(text: str) -> Iterator[str]:
    """The lines without comments, each with those that continue it."""
    whole = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        whole += line.strip().removesuffix("\\")
        if not line.endswith("\\"):
            yield whole
            whole = ""
    if whole:
        raise ImageError(f"nothing follows: {whole}")


def instruction(word: str, rest: str) -> Instruction:
    flags = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag.removeprefix("--").partition("=")
        flags[name] = value
    return Instruction(word, flags, rest)


def copied(copy: Instruction) -> tuple[list[str], str]:
    """What a COPY copies, and where to."""
    *sources, target = shlex.split(copy.rest)
    return sources, target
