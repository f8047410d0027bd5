"""The error log: what the operator should know, by way of the standard library's logger "mpserve".

One line per record: as text, with a traceback (for bugs only) on indented lines after it, or as a JSON
object, with the traceback inside. Whatever a client sent can end neither its line nor its indentation.
Logging never raises, and never waits for long.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import logging
import re
import select
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, TypeAlias

from mpserve.destination import STANDARD, STDERR, Destination, at_path, named, opened

LOGGER = "mpserve"

PATIENCE = 0.1  # seconds that a record may wait for a full pipe, if the one before it did not
LONGEST = select.PIPE_BUF - 1  # octets of a line: with its line feed it is still written whole
_INDENT = "    "
_ELLIPSIS = "..."
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

Render: TypeAlias = Callable[[logging.LogRecord], bytes]


# ── Rendering ──


def escape(text: str) -> str:
    r"""`text` on one line: what cannot be printed as in a literal (\n, \x1b, \u202e)."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    # A file name that is not UTF-8 holds its octets as lone surrogates (PEP 383).
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a mistake in a call for logging must not stop the server
        return f"{record.msg} (its arguments do not fit)"


def _traceback(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or not record.exc_info[0]:
        return []
    text = "".join(traceback.format_exception(*record.exc_info))
    return text.rstrip("\n").split("\n")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _line(text: str) -> bytes:
    line = text.encode()
    if len(line) > LONGEST:
        kept = line[: LONGEST - len(_ELLIPSIS)].decode(errors="ignore")
        line = (kept + _ELLIPSIS).encode()
    return line + b"\n"


def as_text(record: logging.LogRecord) -> bytes:
    """2026-11-20T12:00:00.123+00:00 [warning] 1234: message"""
    level = record.levelname.lower()
    first = f"{_time(record)} [{level}] {record.process}: {escape(_message(record))}"
    others = [_INDENT + escape(line) for line in _traceback(record)]
    return b"".join(map(_line, [first, *others]))


def as_json(record: logging.LogRecord) -> bytes:
    """{"time": "2026-11-20T12:00:00.123+00:00", "level": "warning", "pid": 1234, "message": "message"}

    A traceback is an array of lines. Of what is too long for a line, the outermost calls go first, and then
    the end of the message.
    """
    told: dict[str, object] = {
        "time": _time(record),
        "level": record.levelname.lower(),
        "pid": record.process,
    }
    message, calls = _well_formed(_message(record)), list(map(_well_formed, _traceback(record)))
    space = LONGEST - len(json.dumps({**told, "message": "", "traceback": []}))
    told["message"] = _cut(message, space)
    space -= len(json.dumps(told["message"]))
    if calls:
        told["traceback"] = list(_last(calls, space))[::-1]
    return json.dumps(told).encode("ascii") + b"\n"


def _well_formed(text: str) -> str:
    """`text` without lone surrogates, which many JSON parsers refuse."""
    return _SURROGATE.sub(lambda found: _escaped(found[0]), text)


def _cut(text: str, space: int) -> str:
    """As much of `text` as takes that much space as a JSON string."""
    if len(json.dumps(text)) <= space:
        return text
    lengths = range(len(text))
    fitting = bisect.bisect(lengths, space, key=lambda end: len(json.dumps(text[:end] + _ELLIPSIS)))
    return text[: fitting - 1] + _ELLIPSIS


def _last(lines: list[str], space: int) -> Iterator[str]:
    """The last of these lines, backwards, as long as there is space for them in a JSON array."""
    for line in reversed(lines):
        space -= len(json.dumps(line)) + len(", ")
        if space < 0:
            return
        yield line


FORMATS: Final[dict[str, Render]] = {"text": as_text, "json": as_json}


# ── Writing ──


class Handler(logging.Handler):
    """Writes records to a destination; what that does not take is dropped, and confessed later."""

    def __init__(
        self, destination: Destination, render: Render = as_text, path: str = STANDARD
    ) -> None:
        super().__init__()
        self.destination = destination
        self.path = path
        self._render = render
        self.dropped = 0  # records since the last one that was written

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or drop it: there is no one left to complain to."""
        written = False
        with contextlib.suppress(Exception):  # such as of an exception that cannot be printed
            written = self._write(self._confession(record) + self._render(record))
        self.dropped = 0 if written else self.dropped + 1

    def use(self, destination: Destination) -> None:
        """Write to another destination from now on: the file was renamed."""
        destination.succeed(self.destination)
        self.destination.close()
        self.destination = destination

    def close(self) -> None:
        """Close the destination."""
        self.destination.close()
        super().close()

    def _confession(self, record: logging.LogRecord) -> bytes:
        if not self.dropped:
            return b""
        text = f"{self.dropped} messages before this one were dropped"
        about = {"msg": text, "levelname": "WARNING", "created": record.created}
        return self._render(logging.makeLogRecord(about | {"process": record.process}))

    def _write(self, lines: bytes) -> bool:
        """Write what can be written soon. Has every line been begun?"""
        left, problem = self.destination.write(lines)
        # Only the first record waits. While nobody reads, the others would hold up the server.
        if isinstance(problem, BlockingIOError) and not self.dropped and self._room_comes():
            left, problem = self.destination.write(left)
        return not left

    def _room_comes(self) -> bool:
        ready = select.poll()
        ready.register(self.destination.fd, select.POLLOUT)
        return bool(ready.poll(PATIENCE * 1000))


# ── Setting up ──


def open(destination: str, level: str, format_name: str = "text") -> None:  # noqa: A001  errorlog.open()
    """Log records from `level` up to a path or, for "-", to standard error, and only there.

    After an OSError (the path cannot be opened) nothing has changed.
    """
    handler = Handler(named(destination, STDERR), FORMATS[format_name], destination)
    close()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False  # what the root logger has is not ours


def reopen() -> int | None:
    """Open the path anew. Its descriptor, for `adopt`; None where there is no path.

    After an OSError the old file stays in use.
    """
    for handler in _handlers():
        if handler.path != STANDARD:
            handler.use(at_path(handler.path))
            return handler.destination.fd
    return None


def adopt(fd: int) -> None:
    """Use what another process has opened anew. The descriptor is ours from now on."""
    for handler in _handlers():
        handler.use(opened(fd))


def descriptor() -> int | None:
    """Where a traceback goes that is written when Python can log no more; None: nowhere."""
    return next((handler.destination.fd for handler in _handlers()), None)


def close() -> None:
    """Undo `open`."""
    for handler in _handlers():
        logging.getLogger(LOGGER).removeHandler(handler)
        handler.close()
    logging.getLogger(LOGGER).propagate = True


def _handlers() -> list[Handler]:
    return [each for each in logging.getLogger(LOGGER).handlers if isinstance(each, Handler)]
