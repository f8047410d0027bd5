"""The error log: what the operator should know, by way of the standard library's logger "mpserve".

One line per record, and a traceback on indented lines after it, for bugs only. Whatever a client
sent can end neither its line nor its indentation. Logging never raises, and never waits for long.
"""

from __future__ import annotations

import contextlib
import logging
import select
import traceback
from datetime import datetime

from mpserve.destination import STDERR, Destination, named

LOGGER = "mpserve"
LEVELS = ("debug", "info", "warning", "error")

PATIENCE = 0.1  # seconds that a record may wait for a full pipe, if the one before it did not
LONGEST = select.PIPE_BUF - 1  # octets of a line: with its line feed it is still written whole
_INDENT = "    "
_ELLIPSIS = "..."


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
    return [_INDENT + escape(line) for line in text.rstrip("\n").split("\n")]


def _line(text: str) -> bytes:
    line = text.encode()
    if len(line) > LONGEST:
        kept = line[: LONGEST - len(_ELLIPSIS)].decode(errors="ignore")
        line = (kept + _ELLIPSIS).encode()
    return line + b"\n"


def render(record: logging.LogRecord) -> bytes:
    """2026-11-20T12:00:00.123+00:00 [warning] 1234: message"""
    at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
    first = f"{at} [{record.levelname.lower()}] {record.process}: {escape(_message(record))}"
    return b"".join(map(_line, [first, *_traceback(record)]))


# ── Writing ──


class Handler(logging.Handler):
    """Writes records to a destination; what that does not take is dropped, and confessed later."""

    def __init__(self, destination: Destination) -> None:
        super().__init__()
        self.destination = destination
        self.dropped = 0  # records since the last one that was written

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or drop it: there is no one left to complain to."""
        written = False
        with contextlib.suppress(Exception):  # such as of an exception that cannot be printed
            written = self._write(self._confession(record) + render(record))
        self.dropped = 0 if written else self.dropped + 1

    def close(self) -> None:
        """Close the destination."""
        self.destination.close()
        super().close()

    def _confession(self, record: logging.LogRecord) -> bytes:
        if not self.dropped:
            return b""
        text = f"{self.dropped} messages before this one were dropped"
        about = {"msg": text, "levelname": "WARNING", "created": record.created}
        return render(logging.makeLogRecord(about | {"process": record.process}))

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


def open(destination: str, level: str) -> None:  # noqa: A001  read as errorlog.open()
    """Log records from `level` up to a path or, for "-", to standard error, and only there.

    After an OSError (the path cannot be opened) nothing has changed.
    """
    handler = Handler(named(destination, STDERR))
    close()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False  # what the root logger has is not ours


def close() -> None:
    """Undo `open`."""
    logger = logging.getLogger(LOGGER)
    for handler in [each for each in logger.handlers if isinstance(each, Handler)]:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
