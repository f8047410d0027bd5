"""Second opinions: what h11 and httptools make of the same octets.

Where both of them accept a request and agree what it says, so do we; and what we accept is accepted
by both. The exceptions are listed here, each with its reason: they are our decisions, not accidents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import h11
import httptools
import pytest
from hypothesis import given, settings

from mpserve.protocol.grammar import parse_host
from mpserve.protocol.http1 import SINGLETONS, Limits
from tests.protocol.drivers import MESSAGES, Case, corpus, tell


@dataclass(frozen=True)
class Heard:
    """A request as one of the parsers understands it."""

    method: bytes
    target: bytes
    version: bytes  # without "HTTP/"
    fields: dict[bytes, bytes]
    # The names in the order of their lines. `Request` does not have them, so they are not compared.
    names: tuple[bytes, ...] = field(compare=False)


def heard(
    method: bytes, target: bytes, version: bytes, lines: Iterable[tuple[bytes, bytes]]
) -> Heard:
    fields: dict[bytes, bytes] = {}
    names = []
    for name, value in ((name.lower(), value.strip(b" \t")) for name, value in lines):
        names.append(name)
        fields[name] = fields[name] + b", " + value if name in fields else value
    return Heard(method, target, version, comparable(fields), tuple(names))


def comparable(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """`fields` with the names of transfer codings in lower case, of which h11 makes use."""
    return {n: v.lower() if n == b"transfer-encoding" else v for n, v in fields.items()}


def ask_us(data: bytes) -> Heard | None:
    story = tell([data])
    if not story.requests:
        return None
    request = story.requests[0]
    version = request.version.removeprefix(b"HTTP/")
    return Heard(request.method, request.target, version, comparable(request.fields), ())


def ask_h11(data: bytes) -> Heard | None:
    while data.startswith(b"\r\n"):  # it does not skip empty lines, as §2.2 recommends and we do
        data = data.removeprefix(b"\r\n")
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    return heard(event.method, event.target, event.http_version, event.headers.raw_items())


class Listener:
    """What httptools calls as it goes through a request; it keeps what comes before the content."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.target = b""
        self.lines: list[tuple[bytes, bytes]] = []
        self.result: Heard | None = None

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_headers_complete(self) -> None:
        if self.result is None:  # a second request in the same octets has its own
            version = self.parser.get_http_version().encode()
            self.result = heard(self.parser.get_method(), self.target, version, self.lines)


def ask_httptools(data: bytes) -> Heard | None:
    listener = Listener()
    # What it objects to may be the content: what counts is whether the head was through.
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        listener.parser.feed_data(data)
    return listener.result


# --- Where we differ ------------------------------------------------------------------------------

Row: TypeAlias = tuple[str, Callable[[Heard], bool], bytes]  # reason, condition, an example

HOST = b"Host: a\r\n\r\n"

# What both accept and we refuse.
STRICTER: list[Row] = [
    (
        "a request target has no fragment",
        lambda request: b"#" in request.target,
        b"GET /a#b HTTP/1.1\r\n" + HOST,
    ),
    (
        "only HTTP/1 is spoken here",
        lambda request: not request.version.startswith(b"1."),
        b"GET / HTTP/2.0\r\n" + HOST,
    ),
    (
        "an invalid Host is an error",
        lambda request: not parse_host(request.fields.get(b"host", b"a")),
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    ),
    (
        "HTTP/1.0 knows no Transfer-Encoding",
        lambda request: request.version == b"1.0" and b"transfer-encoding" in request.fields,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a repeated singleton leaves open which one counts",
        lambda request: any(request.names.count(name) > 1 for name in SINGLETONS),
        b"GET / HTTP/1.1\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n" + HOST,
    ),
    (
        "a head has limits: this many fields",
        lambda request: len(request.names) > Limits().fields,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + HOST,
    ),
    (
        "a head has limits: such a request line",
        lambda request: len(request.target) > Limits().request_line - len(b"GET  HTTP/1.1"),
        b"GET /%b HTTP/1.1\r\n" % (b"a" * 8192) + HOST,
    ),
    (
        "a head has limits: so many octets",
        lambda request: sum(map(len, request.fields.values())) > Limits().head - 1000,
        b"GET / HTTP/1.1\r\nA: %b\r\n" % (b"a" * 32768) + HOST,
    ),
]

# What we accept and both refuse.
LOOSER: list[Row] = [
    (
        "a number is a number, however long",
        lambda request: len(request.fields.get(b"content-length", b"")) > 19,
        b"POST / HTTP/1.1\r\nContent-Length: %b\r\n" % (b"9" * 100) + HOST,
    ),
    (
        "clients send names beyond ASCII as they are",
        lambda request: not request.target.isascii(),
        b"GET /\xc3\xbc HTTP/1.1\r\n" + HOST,
    ),
]

# What we and h11 accept and httptools refuses. What we and httptools accept, h11 accepts.
LOOSER_THAN_HTTPTOOLS: list[Row] = [
    (
        "any token is a method: which are implemented is not for the framing to say",
        lambda request: request.method not in {b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT"},
        b"BREW / HTTP/1.1\r\n" + HOST,
    ),
    (
        "a higher minor version is read as 1.1",
        lambda request: request.version not in {b"1.0", b"1.1"},
        b"GET / HTTP/1.2\r\n" + HOST,
    ),
    (
        "a target in none of the forms is refused when it is parsed, and the connection goes on",
        lambda request: not request.target.startswith(b"/"),
        b"GET a HTTP/1.1\r\n" + HOST,
    ),
]


def documented(request: Heard | None, rows: list[Row]) -> bool:
    return request is not None and any(condition(request) for _, condition, _ in rows)


def compare(data: bytes) -> None:
    """Assert that the three parsers agree about `data`, the documented differences aside."""
    ours, by_h11, by_httptools = ask_us(data), ask_h11(data), ask_httptools(data)
    if ours is None:
        agree = by_h11 is not None and by_h11 == by_httptools
        assert not agree or documented(by_h11, STRICTER)
    else:
        assert by_h11 == ours or (by_h11 is None and documented(ours, LOOSER))
        assert by_httptools == ours or (
            by_httptools is None and documented(ours, LOOSER + LOOSER_THAN_HTTPTOOLS)
        )


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=1000)
@given(MESSAGES)
def test_what_both_others_understand_we_understand_alike(data: bytes) -> None:
    compare(data)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name) for c in corpus("valid") + corpus("invalid")]
)
def test_corpus_is_understood_alike(case: Case) -> None:
    compare(case.data)


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in STRICTER])
def test_documented_strictness(row: Row) -> None:
    _, condition, example = row
    request = ask_h11(example)

    assert request is not None
    assert request == ask_httptools(example)
    assert condition(request)
    assert ask_us(example) is None


@pytest.mark.parametrize(
    ("row", "ask"),
    [pytest.param(row, ask_h11, id=f"{row[0]}, unlike h11") for row in LOOSER]
    + [
        pytest.param(row, ask_httptools, id=f"{row[0]}, unlike httptools")
        for row in LOOSER + LOOSER_THAN_HTTPTOOLS
    ],
)
def test_documented_tolerance(row: Row, ask: Callable[[bytes], Heard | None]) -> None:
    _, condition, example = row
    request = ask_us(example)

    assert request is not None
    assert condition(request)
    assert ask(example) is None
