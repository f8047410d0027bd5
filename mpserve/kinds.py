"""The kinds of values that settings have beside numbers, switches and paths, and how each is written.

What cannot be refused with "must be ..." says in a ConfigError of its own what is wrong.
"""

from __future__ import annotations

import grp
import os
import pwd
from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias

from mpserve.address import parse_address, parse_admin_address
from mpserve.protocol.grammar import FIELD_LINES, TOKEN
from mpserve.settings import PATH, ConfigError, Kind, whole

Workers: TypeAlias = int | Literal["auto"]
Field: TypeAlias = tuple[bytes, bytes]


class Symlinks(Enum):
    """Which symbolic links are followed."""

    INSIDE = "inside"  # those whose target lies inside the root
    NONE = "none"
    ANY = "any"


class Demand(Enum):
    """How much of the sandbox there must be."""

    AUTO = "auto"  # as much as this system has
    REQUIRE = "require"  # all of it
    OFF = "off"


class User(NamedTuple):
    """A user as the system knows it."""

    name: str
    uid: int
    gid: int | None
    groups: tuple[int, ...]


WORKER_COUNT: Final = whole(1, 1024)
MAX_ID: Final = 2**32 - 1  # of users and groups; this one itself means "leave it as it is"

_FRAMING: Final = (
    "it belongs to the connection and to framing, which the server alone can get right"
)
_EACH: Final = "it is made anew for each answer"
UNFIT_FIELDS: Final = {
    b"connection": _FRAMING,
    b"content-length": _FRAMING,
    b"keep-alive": _FRAMING,
    b"proxy-connection": _FRAMING,
    b"te": _FRAMING,
    b"trailer": _FRAMING,
    b"transfer-encoding": _FRAMING,
    b"upgrade": _FRAMING,
    b"allow": _EACH,
    b"content-range": _EACH,
    b"date": _EACH,
    b"location": _EACH,
}


def parse_workers(text: str) -> Workers:
    """A number, or the word auto, which becomes a number when the server starts."""
    return "auto" if text == "auto" else WORKER_COUNT.parse(text)


def parse_name(text: str) -> bytes:
    """The name of a file in a directory."""
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise ValueError
    return os.fsencode(text)


def parse_field(text: str) -> Field:
    """The name and the value of a field (RFC 9110 §5.1, §5.5)."""
    # os.fsencode gives the bytes as they were typed, whatever the locale.
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or TOKEN.fullmatch(name) is None:
        raise ValueError
    if reason := UNFIT_FIELDS.get(name.lower()):
        raise ConfigError(f"{name.decode()} cannot be set: {reason}")
    return name, parse_field_value(value)


def parse_field_value(value: bytes) -> bytes:
    """A field's value, without the space around it (RFC 9110 §5.5)."""
    value = value.strip(b" \t")
    # "Field values containing CR, LF, or NUL characters are invalid and dangerous": what follows a
    # CRLF would be a field of its own, or content.
    if b"\r" in value or FIELD_LINES.fullmatch(b"x:%b\r\n" % value) is None:
        raise ConfigError(f"there is a control character in {os.fsdecode(value)!r}")
    return value


def parse_server(text: str) -> bytes | None:
    """The value of the field Server; None for no such field."""
    return None if text == "off" else parse_field_value(os.fsencode(text))


def parse_user(text: str) -> User:
    """A user, who must be in the system's list unless it is a number."""
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        if text.isdecimal() and int(text) < MAX_ID:  # a container's user needs no entry
            return User(text, int(text), None, ())
        raise ConfigError(f"{text!r}: there is no such user") from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return User(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def parse_group(text: str) -> int:
    """The number of a group."""
    if text.isdecimal() and int(text) < MAX_ID:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"{text!r}: there is no such group") from None


WORKERS: Final[Kind[Workers]] = Kind("N|auto", f"{WORKER_COUNT.accepts}, or auto", parse_workers)
SYMLINKS: Final = Kind("inside|none|any", "inside, none or any", Symlinks)
NAME: Final = Kind("NAME", "the name of a file, without a slash", parse_name)
ADDRESS: Final = Kind("ADDRESS", "HOST:PORT, [IPv6]:PORT, PORT, :PORT or unix:/path", parse_address)
ADMIN: Final = Kind("ADDRESS", "a loopback address or unix:/path", parse_admin_address)
FIELD: Final = Kind("'NAME: VALUE'", "a field as in 'Name: value'", parse_field)
ACCESS_LOG: Final = Kind("PATH|-|off", "a path, - or off", PATH.parse)
FILE: Final = Kind("FILE", "a path", PATH.parse)
ERROR_LOG: Final = Kind("PATH|-", "a path or -", PATH.parse)
SERVER: Final = Kind("TEXT|off", "a text, or off", parse_server)
DEMAND: Final = Kind("auto|require|off", "auto, require or off", Demand)
USER: Final = Kind("NAME|UID", "the name or the number of a user", parse_user)
GROUP: Final = Kind("NAME|GID", "the name or the number of a group", parse_group)
