"""The configuration file: TOML in which each setting stands by its name.

A value is written as TOML has it (a number, a boolean, an array for what may be given several times) or as the
text that a flag would take: either way it comes to the texts that flags and variables give, and one set of
checks reads them all. What is wrong is told with its line.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mpserve.settings import SWITCH, ConfigError, Given, Setting

MAX_SIZE: Final = 1 << 16  # octets: nobody writes more settings, and a disk image is soon refused

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
# One of these is in the last line of what goes on for several.
_CLOSING: Final = re.compile(r"]|\"\"\"|'''")


class Decimal(str):
    """A number with a fraction as it is written: the checks of a setting are for texts."""

    __slots__ = ()


def file_layer(declarations: Iterable[Setting[Any]], path: str) -> dict[str, Given]:
    """What the file at `path` gives. Raises ConfigError, and OSError when it cannot be read."""
    return layer_of({each.name: each for each in declarations}, read(path), one_line(path))


def read(path: str) -> bytes:
    """The octets of a regular file: whatever else there is might keep a reload waiting."""
    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"{one_line(path)}: not a regular file")
        octets = file.read(MAX_SIZE + 1)
    if len(octets) > MAX_SIZE:
        raise ConfigError(f"{one_line(path)}: a configuration has {MAX_SIZE} bytes at most")
    return octets


def without_waiting(path: str, flags: int) -> int:
    """Open a path, be it a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def layer_of(known: Mapping[str, Setting[Any]], octets: bytes, path: str) -> dict[str, Given]:
    """What a file of these octets gives for the known settings. Raises ConfigError."""
    text = decode(octets, path)
    document = parse(text, path)
    lines = lines_of_keys(text)
    layer: dict[str, Given] = {}
    for key, value in document.items():
        where = f"{path}:{lines[key]}: {one_line(key)}"
        if key not in known:
            raise ConfigError(f"{where}: {objection(key, value, known)}")
        try:
            layer[key] = Given(texts_of(known[key], value), where)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    return layer


def decode(octets: bytes, path: str) -> str:
    """The text of the file, which is UTF-8 (TOML 1.0, Spec)."""
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None


def parse(text: str, path: str) -> dict[str, Any]:
    """The keys and values at the top of a document. A syntax error is told with its line."""
    import tomllib  # noqa: PLC0415  # a start without such a file is 3 ms sooner

    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        complaint = str(error)
        place = _PLACE.search(complaint)
        line = place[1] if place and place[1] else len(text.splitlines())
        raise ConfigError(f"{path}:{line}: {_PLACE.sub('', complaint)}") from None
    except (RecursionError, ValueError) as error:  # a number of 5,000 digits, a thousand brackets
        raise ConfigError(f"{path}: {one_line(str(error))}") from None


def lines_of_keys(text: str) -> dict[str, int]:
    """The line that each key at the top of a valid document begins in; a table's, that of its header."""
    import tomllib  # noqa: PLC0415  # as above

    # tomllib does not tell. But a statement ends with the first line at which what began with it is a
    # document: all that may go on for several lines is a bracket or a string that is still open.
    found: dict[str, int] = {}
    start, statement = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        goes_on = bool(statement)
        statement += line + "\n"
        if goes_on and not _CLOSING.search(line):
            continue  # to parse a long array anew for each of its lines would take seconds
        try:
            keys = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        for key in keys:
            found.setdefault(key, start)
        start, statement = number + 1, ""
    return found


def texts_of(declaration: Setting[Any], value: object) -> tuple[str, ...]:
    """The texts that a flag would take for this value; several only for a list."""
    if not isinstance(value, list) or not declaration.repeatable:
        return (text_of(declaration, value),)
    if not value:
        # None at all makes no sense for an address, and for others it would differ from an empty variable.
        raise ConfigError("an empty array; without the line the default holds")
    return tuple(text_of(declaration, each) for each in value)


def text_of(declaration: Setting[Any], value: object) -> str:
    """The text that a flag would take for this one value."""
    match value:
        case bool() if declaration.kind is SWITCH:
            return "on" if value else "off"
        case str():
            return value
        case int() if not isinstance(value, bool):
            return str(value)
    raise ConfigError(f"must be {declaration.kind.accepts}, not {called(value)}")


def called(value: object) -> str:
    """What a value is, for the sentence that refuses it."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "an array"
    return "a date or a time"


def objection(key: str, value: object, known: Iterable[str]) -> str:
    """What is wrong with a key that is no setting, and which one it may be meant to be."""
    if isinstance(value, dict | list) and holds_tables(value):
        return "no such setting; settings stand outside of tables"
    near = difflib.get_close_matches(key.lower().replace("-", "_"), list(known), n=1)
    return "no such setting" + (f"; did you mean {near[0]}?" if near else "")


def holds_tables(value: dict[str, Any] | Sequence[Any]) -> bool:
    """Whether this is a table, or an array of them."""
    return isinstance(value, dict) or any(isinstance(each, dict) for each in value)


def one_line(text: str) -> str:
    """`text` as it is, unless it would not stay on its line."""
    return text if text.isprintable() else ascii(text)
