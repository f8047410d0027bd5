"""Exchanges for the access log, and the lines that stand for them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mpserve.destination import ANY_ROOM
from mpserve.logformat import FORMATS, Layout, Openings
from mpserve.protocol.message import Exchange, Request

NOON = 1795176000.0  # 2026-11-20T12:00:00Z
BROWSER = {b"referer": b"https://example.com/", b"user-agent": b"Mozilla/5.0 (X11; Linux x86_64)"}

COMBINED = re.compile(
    rb'(?P<peer>[^ ]+) - - \[(?P<time>[^]]+)\] "(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+)'
    rb' "(?P<referer>[^"]*)" "(?P<user_agent>[^"]*)"\n'
)
COMMON = re.compile(
    rb'(?P<peer>[^ ]+) - - \[(?P<time>[^]]+)\] "(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+)\n'
)


def exchange(
    line: bytes = b"GET / HTTP/1.1",
    fields: dict[bytes, bytes] | None = None,
    status: int = 200,
    sent: int = 1234,
    peer: bytes = b"127.0.0.1",
) -> Exchange:
    request = None
    if fields is not None:
        request = Request(b"GET", b"/", b"HTTP/1.1", fields, persistent=True)
    return Exchange(peer, request, line, status, 99.5, head_size=200, sent=200 + sent)


def rendered(name: str, of: Exchange, room: int = ANY_ROOM) -> bytes:
    """The line of the format `name` for an exchange that ended half a second after it began."""
    layout = Layout(FORMATS[name], room)
    about = layout.about(of.line, of.request.fields if of.request else {})
    duration = b"" if layout.duration is None else layout.duration(0.5)
    exchange = layout.exchange(about, of.status, of.content_sent)
    return Openings(layout, int(NOON))[of.peer] + duration + exchange + about.end


@contextmanager
def zone(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is local is there."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()
