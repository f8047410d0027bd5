"""Ways to feed a protocol: whatever the pieces in which octets arrive, they mean the same."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from mpserve.protocol.http1 import Http1Protocol, Limits
from mpserve.protocol.message import HTTPError, Request

CORPUS = Path(__file__).parents[1] / "requests"

WAITS = "waits"  # for more, between requests or within content
WAITS_IN_HEAD = "waits within a head"
CLOSED = "closed"  # after a request that was the last, or by its content
OPEN = "depends on when content arrives"

ONE_MORE = b"GET /one-more HTTP/1.1\r\nHost: example.com\r\n\r\n"


@dataclass(frozen=True)
class Story:
    """What the octets of a connection came to."""

    requests: tuple[Request, ...]
    outcome: str | int  # one of the words above, or the status of an HTTPError
    line: bytes = b""  # the request line that the HTTPError came with

    @property
    def lines(self) -> list[bytes]:
        return [request.line for request in self.requests]


def tell(pieces: Iterable[bytes], limits: Limits | None = None) -> Story:
    """What becomes of `pieces`, when each is received and used as far as it goes."""
    protocol = Http1Protocol(limits or Limits())
    requests: list[Request] = []
    for piece in pieces:
        protocol.receive(piece)
        try:
            while (request := protocol.next_request()) is not None:
                requests.append(request)
        except HTTPError as error:
            return Story(tuple(requests), error.status, error.line)
        if protocol.ended or (requests and not requests[-1].persistent):
            return Story(tuple(requests), CLOSED)
    return Story(tuple(requests), WAITS_IN_HEAD if protocol.head_begun else WAITS)


def ways(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut `data` into pieces."""
    yield [data[at : at + 1] for at in range(len(data))]
    yield [data[at : at + 7] for at in range(0, len(data), 7)]
    cuts = range(len(data)) if len(data) < 200 else range(0, len(data), len(data) // 50)
    for cut in cuts:
        yield [data[:cut], data[cut:]]


def feed_every_way(data: bytes, limits: Limits | None = None) -> Story:
    """What becomes of `data`: whole, in pieces and with octets behind it, which must all agree."""
    whole = tell([data], limits)
    for text in (data, data + ONE_MORE):
        expected = comparable(tell([text], limits))
        for pieces in ways(text):
            assert comparable(tell(pieces, limits)) == expected
    if isinstance(whole.outcome, int) or whole.outcome == CLOSED:
        assert comparable(tell([data + ONE_MORE], limits)) == comparable(whole)
    return whole


def comparable(story: Story) -> Story:
    """`story` without what may depend on the moment at which octets arrive.

    Content may be seen to be malformed before its request is answered, or after: the connection
    ends either way, but only in one can the answer say so. And a client that asks whether to
    continue may be seen to have gone on already.
    """
    requests = tuple(replace(request, persistent=True) for request in story.requests)
    for number, request in enumerate(requests, 1):
        if b"100-continue" in request.fields.get(b"expect", b"").lower():
            return Story(requests[:number], OPEN)
    return replace(story, requests=requests)


@dataclass(frozen=True)
class Case:
    """One request of the corpus, and what has to come of it."""

    name: str
    data: bytes
    expectation: dict[str, Any]

    def octets(self, key: str) -> bytes:
        """A string of the expectation."""
        value: str = self.expectation.get(key, "")
        return value.encode("latin-1")

    def lines(self, key: str) -> list[bytes]:
        """A list of strings of the expectation."""
        return [line.encode("latin-1") for line in self.expectation.get(key, [])]


def corpus(kind: str) -> list[Case]:
    """The cases of tests/requests/`kind`, in the order of their names."""
    return [
        Case(path.stem, path.read_bytes(), tomllib.loads(path.with_suffix(".toml").read_text()))
        for path in sorted((CORPUS / kind).glob("*.http"))
    ]


# --- Octets for property tests: requests of well-formed parts, broken at a few places -------------

_LINES = st.builds(
    b"%b %b %b\r\n".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW", b"get"]),
        st.sampled_from(
            [b"/", b"/a%20b?c", b"*", b"http://a/", b"a:80", b"a", b"/\xc3\xbc", b"/#"]
        ),
        st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1"]),
    ),
)
_HOSTS = st.sampled_from([b"Host: a\r\n"] * 8 + [b"", b"host:[::1]:80 \r\n", b"Host: a b\r\n"])
_FIELDS = st.lists(
    st.sampled_from(
        b"A: b|A:|a:\t c d \t|Range: bytes=0-1|Connection: close|Connection: keep-alive, A|"
        b"Expect: 100-continue|Host: b|A : b| folded|User-Agent: a (b; c)|Cookie: \x80|A: \x01|"
        b"Upgrade: h2c|TE: trailers".split(b"|")
    ).map(b"%b\r\n".__mod__),
    max_size=3,
).map(b"".join)

# How content is announced, and what follows: mostly what was announced.
_CONTENT = st.sampled_from(
    [b"\r\n"] * 4
    + [
        b"Content-Length: 3\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 70000\r\n\r\nabc",
        b"Content-Length: +3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
)
_MESSAGES = st.tuples(_LINES, _HOSTS, _FIELDS, _CONTENT).map(b"".join)
_DIRT = st.sampled_from(
    [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"\x7f", b"\x80", b"#"]
)


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """`data` with each edit made: so many octets at a position give way to others."""
    for position, size, dirt in edits:
        at = position % (len(data) + 1)
        data = data[:at] + dirt + data[at + size :]
    return data


def _dirty(clean: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    edit = st.tuples(st.integers(0, 999), st.integers(0, 2), _DIRT)
    return st.builds(_edited, clean, st.lists(edit, max_size=2))


MESSAGES = _dirty(_MESSAGES)  # one request with its content, now and then broken
CONNECTIONS = _dirty(st.lists(_MESSAGES, min_size=1, max_size=3).map(b"".join))
