"""How a line of the access log looks, and the pieces of which it is put together.

A line has three parts, each made as soon as all of it is known: the opening says who and when, and is one
text for all answers to a peer in a second; the exchange says what was asked and answered, and is one text
for an answer that is repeated; the end is what the client says of itself. So a line is most often nothing
but three texts that are there already. How long an answer took nobody knows before, and has its own
place behind the opening.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from mpserve.protocol.message import About

Fields: TypeAlias = Mapping[bytes, bytes]

ABSENT = b"-"
# Peers of one second whose openings are kept. More of them are a crowd that comes once each.
MOST_OPENINGS = 1000


# ── Escaping: a value can end neither its quotes nor its line ──

# These stand for themselves in every format.
PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet not in b'"\\')
_AS_HEX = {octet: f"\\x{octet:02X}" for octet in range(0x100) if octet not in PLAIN}


def escape_text(value: bytes) -> bytes:
    r"""Each octet that is not plain as \xHH."""
    return value.decode("latin-1").translate(_AS_HEX).encode("ascii")


def escape_json(value: bytes) -> bytes:
    r"""The inside of a JSON string in printable ASCII (RFC 8259 §7).

    UTF-8 is read as such. An octet that is not UTF-8 reads \xHH: a lone surrogate could be taken
    back to the octet, but many JSON parsers refuse it, and no client may choose what they refuse.
    """
    text = json.dumps(value.decode("utf-8", "backslashreplace"))[1:-1]
    return text.replace("\x7f", "\\u007f").encode("ascii")


_ELLIPSIS = b"..."
_TAIL = len(b" HTTP/1.1")


def cut(value: bytes, limit: int) -> bytes:
    """`value` with its middle left out, so that a request line keeps its method and its version."""
    if len(value) <= limit + len(_ELLIPSIS) + _TAIL:
        return value
    return value[:limit] + _ELLIPSIS + value[-_TAIL:]


# ── Time: local, with its offset from UTC ──

_MONTHS = (b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()


def _offset(local: time.struct_time, template: bytes) -> bytes:
    minutes = local.tm_gmtoff // 60
    return template % (b"-" if minutes < 0 else b"+", *divmod(abs(minutes), 60))


def common_time(epoch: int) -> bytes:
    """20/Nov/2026:12:00:00 +0000"""
    local = time.localtime(epoch)
    year, month, day, hour, minute, second = local[:6]
    date = b"%02d/%b/%04d:%02d:%02d:%02d " % (day, _MONTHS[month - 1], year, hour, minute, second)
    return date + _offset(local, b"%b%02d%02d")


def iso_time(epoch: int) -> bytes:
    """2026-11-20T12:00:00+00:00 (ISO 8601)"""
    local = time.localtime(epoch)
    return b"%04d-%02d-%02dT%02d:%02d:%02d" % local[:6] + _offset(local, b"%b%02d:%02d")


# ── Directives: what each part of a format may name, and the expression that stands for it ──


def word(line: bytes, number: int) -> bytes:
    """One word of a request line; empty where there is no such line."""
    words = line.split(b" ")
    return words[number] if len(words) == 3 else b""


# What the request line decides. An empty value was not sent, or was not understood.
ASKED: dict[str, str] = {
    "line": "line",
    "method": "word(line, 0)",
    "target": "word(line, 1)",
    "version": "word(line, 2)",
}

# The fields in which the client says something of itself.
SAID: dict[str, bytes] = {"referer": b"referer", "user_agent": b"user-agent"}


@dataclass(frozen=True, slots=True)
class Format:
    """A row of FORMATS: the parts of a line with $directives; how times and the request's values look in it."""

    opening: str  # $peer, $time
    exchange: str  # those of ASKED, $status, $bytes: of content, as far as it was sent
    end: str  # those of SAID
    time: Callable[[int], bytes]
    escape: Callable[[bytes], bytes]
    duration: str = ""  # $duration: seconds


FORMATS: dict[str, Format] = {
    "combined": Format(
        "$peer - - [$time] ",
        '"$line" $status $bytes',
        ' "$referer" "$user_agent"',
        common_time,
        escape_text,
    ),
    "common": Format("$peer - - [$time] ", '"$line" $status $bytes', "", common_time, escape_text),
    "json": Format(
        '{"time":"$time","peer":"$peer"',
        ',"method":"$method","target":"$target","version":"$version","status":$status,"bytes":$bytes',
        ',"referer":"$referer","user_agent":"$user_agent"}',
        iso_time,
        escape_json,
        duration=',"duration":$duration',
    ),
}


# ── Compiling: each part becomes a function, once ──

_DIRECTIVE = re.compile(r"\$(\w+)")
_OTHERS = 512  # octets of a line that do not come from the request; ample for every format
# How a directive is printed that is not a text.
_NUMBERS = {"status": "%d", "bytes": "%d", "duration": "%.6f"}


class Layout:
    """A format, for lines of which `room` octets are kept together."""

    __slots__ = (
        "_end",
        "_escape",
        "_exchange",
        "_read",
        "duration",
        "end",
        "opening",
        "space",
        "time",
    )

    def __init__(self, form: Format, room: int) -> None:
        asked = [name for name in ASKED if f"${name}" in form.exchange]
        said = [
            f"field({field!r})" if f"${name}" in form.end else "ABSENT"
            for name, field in SAID.items()
        ]
        values = "".join(
            f"{value} or ABSENT, " for value in [*map(ASKED.__getitem__, asked), *said]
        )
        self._read: Callable[..., tuple[bytes, ...]] = _function("line, field", f"({values})")
        self._exchange = _part(form.exchange, f"{', '.join(asked)}, status, bytes")
        # (the Referer, the User-Agent) → the end of a line; what it is given must be plain.
        self.end: Callable[[bytes, bytes], bytes] = _part(f"{form.end}\n", ", ".join(SAID))
        # (the peer, the time) → the opening
        self.opening: Callable[[bytes, bytes], bytes] = _part(form.opening, "peer, time")
        # (seconds) → what stands behind the opening; None where that is nothing
        self.duration: Callable[[float], bytes] | None = None
        if form.duration:
            self.duration = _part(form.duration, "duration")
        self.time = form.time  # (seconds since the epoch) → the time of the opening
        self.space = room - _OTHERS  # octets for what comes from the request
        self._escape = form.escape

    def about(self, line: bytes, fields: Fields) -> About:
        """What a line says of a request that began with `line`; b"" where none was understood."""
        values = self._read(line, fields.get)
        text = b"".join(values)
        if len(text) > self.space or text.translate(None, PLAIN):
            values = _fit(values, self._escape, self.space)
        return About(values[: -len(SAID)], self.end(*values[-len(SAID) :]))

    def exchange(self, about: About, status: int, sent: int) -> bytes:
        """The middle of a line: what was asked, and what was answered with `sent` octets of content."""
        text: bytes = self._exchange(*about.asked, status, sent)
        return text


class Openings(dict[bytes, bytes]):
    """The openings of one second by peer, made when they are first asked for."""

    def __init__(self, layout: Layout, second: int) -> None:
        self._make = layout.opening
        self._time = layout.time(second)

    def __missing__(self, peer: bytes) -> bytes:
        if len(self) >= MOST_OPENINGS:
            self.clear()
        opening = self[peer] = self._make(peer, self._time)
        return opening


def _fit(
    values: tuple[bytes, ...], escape: Callable[[bytes], bytes], space: int
) -> tuple[bytes, ...]:
    """The values escaped; the long ones cut where all of them together need more than `space`."""
    escaped = [escape(value) for value in values]
    limit = space
    while sum(map(len, escaped)) > space and limit > 0:
        limit //= 2
        escaped = [escape(cut(value, limit)) for value in values]
    return tuple(escaped)


def _part(template: str, parameters: str) -> Any:
    """The function of `parameters` that makes a part of a line."""
    names = _DIRECTIVE.findall(template)
    text = _DIRECTIVE.sub(lambda name: _NUMBERS.get(name[1], "%b"), template.replace("%", "%%"))
    values = "".join(f"{name}, " for name in names)
    return _function(parameters, f"{text.encode('ascii')!r} % ({values})")


def _function(parameters: str, expression: str) -> Any:
    # A function for each directive would cost five times as much at each answer.
    source = f"lambda {parameters}: {expression}"
    return eval(source, globals())  # noqa: S307  the source comes from the tables above alone
