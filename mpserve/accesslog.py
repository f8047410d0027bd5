"""The access log: one line per answer, whatever the request was.

A line is made of what the request alone decides (`about`, which may be kept as long as the octets
of the request are the same) and of what the answer adds (`record`). Lines wait in a list until
the turn of the loop ends; then they are written, without ever waiting for room. What cannot be
written is dropped and counted, and the error log hears of it, at most once a minute.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

from mpserve.destination import (
    ANY_ROOM,
    GONE,
    STANDARD,
    STDOUT,
    Destination,
    at_path,
    named,
    opened,
)
from mpserve.protocol.message import Exchange

log = logging.getLogger(__name__)

OFF = "off"  # the destination of those who want no log

BATCH = 256  # lines that may wait for the end of the turn
RETRY_AFTER = 1.0  # seconds that a disk in trouble is left alone
NOTICE_EVERY = 60.0  # seconds between two lines of the error log about dropped ones
LONG_AGO = float("-inf")  # monotonic

Fields: TypeAlias = Mapping[bytes, bytes]
About: TypeAlias = tuple[bytes, ...]
Field: TypeAlias = Callable[[bytes], bytes | None]
# (about, peer, stamp, status, sent, duration) → the line
Line: TypeAlias = Callable[[About, bytes, bytes, int, int, float], bytes]
Clock: TypeAlias = Callable[[], float]

NO_FIELDS: Fields = {}
ABSENT = b"-"


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


# ── Directives: what a format may name, and the expression that stands for it ──


def word(line: bytes, number: int) -> bytes:
    """One word of a request line; empty where there is no such line."""
    words = line.split(b" ")
    return words[number] if len(words) == 3 else b""


# What the request alone decides. An empty value was not sent, or was not understood.
REQUEST: dict[str, str] = {
    "line": "line",
    "method": "word(line, 0)",
    "target": "word(line, 1)",
    "version": "word(line, 2)",
    "referer": "field(b'referer')",
    "user_agent": "field(b'user-agent')",
}

# What the answer adds, and how it is printed: an expression of the parameters of `Line`.
ANSWER: dict[str, tuple[str, str]] = {
    "peer": ("peer", "%b"),
    "time": ("stamp", "%b"),
    "status": ("status", "%d"),
    "bytes": ("sent", "%d"),  # of content, as far as it was sent
    "duration": ("duration", "%.6f"),  # seconds
}


@dataclass(frozen=True, slots=True)
class Format:
    """A row of FORMATS: a line with $directives; how times and the request's values look in it."""

    template: str
    time: Callable[[int], bytes]
    escape: Callable[[bytes], bytes]


_COMMON = '$peer - - [$time] "$line" $status $bytes'

FORMATS: dict[str, Format] = {
    "combined": Format(_COMMON + ' "$referer" "$user_agent"', common_time, escape_text),
    "common": Format(_COMMON, common_time, escape_text),
    "json": Format(
        '{"time":"$time","peer":"$peer","method":"$method","target":"$target","version":"$version",'
        '"status":$status,"bytes":$bytes,"duration":$duration,'
        '"referer":"$referer","user_agent":"$user_agent"}',
        iso_time,
        escape_json,
    ),
}


# ── Compiling: a format becomes two functions, once ──

_DIRECTIVE = re.compile(r"\$(\w+)")
_OTHERS = 512  # octets of a line that do not come from the request; ample for every format


def compile_about(form: Format, room: int) -> Callable[[bytes, Fields], About]:
    """The function that takes from a request what a line of `form` and `room` octets prints."""
    values = "".join(f"{REQUEST[name]} or ABSENT, " for name in _of_request(form))
    read: Callable[[bytes, Field], About] = _function("line, field", f"({values})")
    space = room - _OTHERS

    def about(line: bytes, fields: Fields) -> About:
        values = read(line, fields.get)
        text = b"".join(values)
        if len(text) <= space and not text.translate(None, PLAIN):
            return values
        return _fit(values, form.escape, space)

    return about


def _fit(values: About, escape: Callable[[bytes], bytes], space: int) -> About:
    """The values escaped; the long ones cut where all of them together need more than `space`."""
    escaped = [escape(value) for value in values]
    limit = space
    while sum(map(len, escaped)) > space and limit > 0:
        limit //= 2
        escaped = [escape(cut(value, limit)) for value in values]
    return tuple(escaped)


def compile_line(form: Format) -> Line:
    """The function that makes a line of `form`."""
    of_request = {name: (f"about[{i}]", "%b") for i, name in enumerate(_of_request(form))}
    directives = ANSWER | of_request
    text = _DIRECTIVE.sub(lambda name: directives[name[1]][1], form.template.replace("%", "%%"))
    values = "".join(f"{directives[name][0]}, " for name in _DIRECTIVE.findall(form.template))
    template = f"{text}\n".encode("ascii")
    parameters = "about, peer, stamp, status, sent, duration"
    line: Line = _function(parameters, f"{template!r} % ({values})")
    return line


def _function(parameters: str, expression: str) -> Any:
    # A function for each directive would cost five times as much at each answer.
    source = f"lambda {parameters}: {expression}"
    return eval(source, globals())  # noqa: S307  the source comes from the tables above alone


def _of_request(form: Format) -> list[str]:
    return [name for name in _DIRECTIVE.findall(form.template) if name in REQUEST]


# ── Writing ──


class Losses(Enum):
    """Are lines being dropped?"""

    NONE = auto()
    GOING_ON = auto()
    OVER = auto()  # lines are written again, but it has not been said yet


class Notices:
    """What the error log hears of dropped lines: it begins, lasts, ends; never twice a minute."""

    __slots__ = ("_losses", "_lost", "_silent_until", "_why")

    def __init__(self) -> None:
        self._losses = Losses.NONE
        self._lost = 0  # lines, since it was last said that it is over
        self._why = ""
        self._silent_until = LONG_AGO

    @property
    def pending(self) -> bool:
        """Is it still to be said that it is over?"""
        return self._losses is Losses.OVER

    def lost(self, lines: int, why: str, now: float) -> str | None:
        """Note dropped lines; what to say of them, if it is time."""
        if not lines:
            return None
        self._losses = Losses.GOING_ON
        self._lost += lines
        self._why = why
        return self._word(f"lines are being dropped, {self._lost} so far: {why}", now)

    def written(self, now: float) -> str | None:
        """Note that lines are written; what to say of it, if it is news and if it is time."""
        if self._losses is Losses.NONE:
            return None
        self._losses = Losses.OVER
        message = f"lines are written again, {self._lost} were dropped: {self._why}"
        word = self._word(message, now)
        if word is not None:
            self._losses, self._lost = Losses.NONE, 0
        return word

    def last(self) -> str | None:
        """What is left to say when the log is closed."""
        if self._losses is Losses.NONE:
            return None
        return f"{self._lost} lines were dropped: {self._why}"

    def _word(self, message: str, now: float) -> str | None:
        if now < self._silent_until:
            return None
        self._silent_until = now + NOTICE_EVERY
        return message


class AccessLog:
    """The lines that wait, and where they will go. Opened before the fork, used after it."""

    __slots__ = (
        "_about",
        "_clock",
        "_destination",
        "_form",
        "_line",
        "_lines",
        "_name",
        "_notices",
        "_retry_at",
        "_second",
        "_stamp",
        "_why",
        "dropped",
    )

    def __init__(
        self, name: str, form: Format, destination: Destination | None, clock: Clock
    ) -> None:
        self._name = name
        self._form = form
        self._clock = clock
        self._line = compile_line(form)
        self._lines: list[bytes] = []
        self._second = -1  # the epoch second that `_stamp` shows
        self._stamp = b""
        self._notices = Notices()
        self._why = ""  # what stood in the way when a line was last dropped
        self._retry_at = LONG_AGO  # monotonic; a destination in trouble is left alone until then
        self.dropped = 0  # lines, by this process
        self._use(destination)

    @classmethod
    def open(cls, destination: str, format_name: str, clock: Clock = time.monotonic) -> AccessLog:
        """The log at a path, on standard output ("-") or nowhere ("off"); OSError if it fails."""
        opened = None if destination == OFF else named(destination, STDOUT)
        return cls(destination, FORMATS[format_name], opened, clock)

    def __repr__(self) -> str:
        state = "off" if self._destination is None else f"{len(self._lines)} lines waiting"
        return f"<AccessLog {self._name} {state}, {self.dropped} dropped>"

    @property
    def timed(self) -> bool:
        """Whether a line tells how long the exchange took."""
        return "$duration" in self._form.template

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self._destination is not None

    def append(self, exchange: Exchange, ended: float, wall: float) -> None:
        """Log an exchange that ended at `ended` (monotonic seconds), `wall` (epoch seconds)."""
        if self._destination is None:
            return
        about = exchange.about
        if about is None:
            request = exchange.request
            about = self._about(exchange.line, request.fields if request else NO_FIELDS)
        self.record(
            about,
            exchange.peer,
            exchange.status,
            exchange.content_sent,
            ended - exchange.started,
            wall,
        )

    def about(self, line: bytes, fields: Fields) -> About:
        """What a line says of a request, whatever the answer; for `record`."""
        return self._about(line, fields)

    def record(
        self, about: About, peer: bytes, status: int, sent: int, duration: float, wall: float
    ) -> None:
        """Log one answer to a request whose `about` is known."""
        if self._destination is None:
            return
        second = int(wall)
        if second != self._second:
            self._second = second
            self._stamp = self._form.time(second)
        lines = self._lines
        lines.append(self._line(about, peer, self._stamp, status, sent, duration))
        if len(lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits: once in each turn of the loop."""
        destination = self._destination
        if destination is None:
            return
        if self._lines:
            waiting = b"".join(self._lines)
            self._lines.clear()
            self._deliver(destination, waiting)
        elif destination.unfinished:
            self._deliver(destination, b"")
        elif self._notices.pending:
            self._say(self._notices.written(self._clock()))

    def reopen(self) -> int | None:
        """Open the path anew: the file was renamed. Its descriptor, for `adopt`; None where there is no path.

        After an OSError the old file stays in use.
        """
        if self._name in (STANDARD, OFF):
            return None
        self._succeed(at_path(self._name))
        return self.descriptor

    @property
    def descriptor(self) -> int | None:
        """Where lines go; None: nowhere."""
        return None if self._destination is None else self._destination.fd

    def adopt(self, fd: int) -> None:
        """Use what another process has opened anew. The descriptor is ours from now on."""
        self._succeed(opened(fd))

    def close(self) -> None:
        """Write what waits, say what was lost, and log nothing more."""
        self.flush()
        self._say(self._notices.last())
        self._end()

    def _succeed(self, destination: Destination) -> None:
        self.flush()
        if self._destination is not None:
            destination.succeed(self._destination)
            self._destination.close()
        self._retry_at = LONG_AGO
        self._use(destination)

    def _use(self, destination: Destination | None) -> None:
        self._destination = destination
        self._about = compile_about(self._form, destination.room if destination else ANY_ROOM)

    def _end(self) -> None:
        if self._destination is not None:
            self._destination.close()
        self._destination = None

    def _deliver(self, destination: Destination, waiting: bytes) -> None:
        """Write what can be written now, drop and count the rest."""
        now = self._clock()
        if now < self._retry_at:
            self._drop(waiting, now)
            return
        left, problem = destination.write(waiting)
        if problem is None:
            self._say(self._notices.written(now))
        elif problem.errno in GONE:
            self._mourn(destination, left)
        else:
            self._hindered(problem, now)
            self._drop(left, now)

    def _hindered(self, problem: OSError, now: float) -> None:
        # A full pipe may have room in a moment; a full disk will not, and each try costs.
        if isinstance(problem, BlockingIOError):
            self._why = "they are not read fast enough"
            return
        self._why = problem.strerror or str(problem)
        self._retry_at = now + RETRY_AFTER

    def _drop(self, lines: bytes, now: float) -> None:
        number = lines.count(b"\n")
        self.dropped += number
        self._say(self._notices.lost(number, self._why, now))

    def _mourn(self, destination: Destination, left: bytes) -> None:
        """Nobody reads any more: logging ends, serving does not."""
        self.dropped += left.count(b"\n")
        if destination.mourn():
            self._say("it ends, because its reader is gone")
        self._end()

    def _say(self, message: str | None) -> None:
        if message is not None:
            log.error("access log %s: %s", self._name, message)
