"""With the memo and the file cache, cold or warm, the answers and the log lines are those without."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpserve import loop
from mpserve.accesslog import AccessLog
from mpserve.config import load
from mpserve.connection import Connection
from mpserve.logformat import Layout
from mpserve.protocol.message import Exchange
from mpserve.visitor import Visitor
from tests.dialogue import (
    PEER,
    Dialogue,
    FakeLog,
    FakeService,
    FakeTime,
    dialogue_with,
    statuses,
    undated,
)
from tests.protocol.drivers import Case, corpus, ways

MODIFIED = 1_000_000_000  # epoch seconds: Sun, 09 Sep 2001 01:46:40 GMT
LAST_MODIFIED = b"Sun, 09 Sep 2001 01:46:40 GMT"
ETAG = b'"%x-6"' % (MODIFIED * 1_000_000_000)  # of /a.txt

HOST = b"Host: example.com"
TIMES = 2  # cold and warm for who asks at once, warm and warm for who connects first


# --- What is compared -----------------------------------------------------------------------------


class Heard(NamedTuple):
    """What came of a conversation, Date and time aside."""

    octets: bytes
    state: str  # of the connection when all had been said
    logged: list[bytes]


class WrittenLog(FakeLog):
    """An access log in a file, as a worker has it."""

    def __init__(self, path: Path, log_format: str) -> None:
        self._log = AccessLog.open(str(path), log_format)
        super().__init__()
        self._lines = path.open("rb")

    def append(self, exchange: Exchange, ended: float, wall: float) -> None:
        self._log.append(exchange, ended, wall)

    @property
    def layout(self) -> Layout:
        return self._log.layout

    def turn_to(self, wall: float) -> None:
        self._log.turn_to(wall)

    def record(
        self,
        peers: Iterable[bytes],
        exchanges: Iterable[bytes],
        ends: Iterable[bytes],
        duration: float,
    ) -> None:
        self._log.record(peers, exchanges, ends, duration)

    def lines(self) -> list[bytes]:
        """What has been written since the last time, without what the clock says."""
        self._log.flush()
        return [_TIMES.sub(b"", line) for line in self._lines.read().splitlines()]

    def close(self) -> None:
        self._log.close()
        self._lines.close()


_TIMES = re.compile(rb'(?<=^192\.0\.2\.1 - - )\[[^]]*\]|(?<=^\{)"time":"[^"]*"|"duration":[0-9.]+')


class Server:
    """A service that is told of nothing but its settings, and how often it went the long way."""

    def __init__(self, path: Path, root: Path, *arguments: str) -> None:
        config = load([str(root), *arguments], {})
        self.log = WrittenLog(path, config.log_format)
        self.service = FakeService(config, self.log)

    def hear(self, pieces: Iterable[bytes]) -> Heard:
        """What comes of `pieces` on a new connection, where the first is there at once."""
        first, *others = pieces
        with dialogue_with(self.service, first) as dialogue:
            octets = b"".join(_replies(dialogue, others))
            state = dialogue.state.name
        return Heard(undated(octets), state, self.log.lines())

    def close(self) -> None:
        self.service.loop.close()
        self.log.close()


def _replies(dialogue: Dialogue, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield dialogue.heard_out()
    for piece in pieces:
        try:
            dialogue.client.sendall(piece)
        except BrokenPipeError:  # the server has closed, as it may
            break
        yield dialogue.heard_out()


@dataclass
class Pair:
    """The same site without a memo, and with one."""

    without: Server
    memo: Server
    long_ways: list[bytes]  # what connections have taken the long way

    def check(self, *conversations: Iterable[bytes]) -> None:
        """Hold the conversations again and again, and compare what comes of them."""
        held = [list(pieces) for pieces in conversations]
        expected = [self.without.hear(pieces) for pieces in held]
        # An empty piece first: the client connects before it says anything.
        held += [[b"", *pieces] for pieces in held]
        expected += expected
        for _ in range(TIMES):
            heard = [self.memo.hear(pieces) for pieces in held]

            assert heard == expected

    def remembers(self, octets: bytes) -> bool:
        """Whether `octets`, which have been said before, are answered without the long way."""
        self.long_ways.clear()
        self.memo.hear([octets])
        return not self.long_ways

    def close(self) -> None:
        self.without.close()
        self.memo.close()


# --- What is served -------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def long_ways() -> Iterator[list[bytes]]:
    """What goes the long way; and all files have settled."""
    taken: list[bytes] = []
    take = Connection.take

    def noted(connection: Connection, octets: bytes) -> None:
        taken.append(octets)
        take(connection, octets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "take", noted)
        patch.setattr(loop, "time", FakeTime())
        yield taken


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything that a GET can come to."""
    root = tmp_path_factory.mktemp("memo") / "root"
    for directory in ("docs", "empty", "both", ".well-known", ".git"):
        (root / directory).mkdir(parents=True)
    for name in ("index.html", "docs/index.html", "docs/other", "both/second", ".git/config"):
        (root / name).write_bytes(b"this is " + name.encode())
    (root / ".well-known/x").write_bytes(b"well known")
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "none").write_bytes(b"")
    (root / "big").write_bytes(b"0123456789abcdef" * 16384)  # 256 KiB
    for path in root.rglob("*"):
        os.utime(path, (MODIFIED, MODIFIED))
    (root / "link").symlink_to("a.txt")
    (root / "out").symlink_to("/etc/hostname")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo")
    return root


SITES = {
    "combined": ("--index", "index.html", "--index", "second"),
    "json": ("--log-format", "json", "--listing", "--header", "X-Y: z", "--header", "ETag: off"),
    "small limits": ("--max-request-line", "64", "--max-head", "1024", "--max-fields", "10"),
    "any links": ("--symlinks", "any", "--dotfiles", "--log-format", "common"),
    "hardly any memory": ("--cache-size", "120000", "--cache-files", "2", "--symlinks", "none"),
}


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest) -> tuple[str, ...]:
    arguments: tuple[str, ...] = SITES[request.param]
    return arguments


MakePair = Callable[..., Pair]


@pytest.fixture(scope="module")
def make_pair(
    root: Path, tmp_path_factory: pytest.TempPathFactory, long_ways: list[bytes]
) -> MakePair:
    logs = tmp_path_factory.mktemp("logs")
    names = map(str, itertools.count())

    def make(*arguments: str) -> Pair:
        without = Server(logs / next(names), root, *arguments, "--cache-size", "0")
        return Pair(without, Server(logs / next(names), root, *arguments), long_ways)

    return make


@pytest.fixture(scope="module")
def pair(make_pair: MakePair, site: tuple[str, ...]) -> Iterator[Pair]:
    pair = make_pair(*site)
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def plain(make_pair: MakePair) -> Iterator[Pair]:
    pair = make_pair(*SITES["combined"])
    yield pair
    pair.close()


# --- What is said ---------------------------------------------------------------------------------


def get(target: bytes = b"/a.txt", *lines: bytes, line: bytes = b"GET %b HTTP/1.1") -> bytes:
    """A head with these field lines after Host."""
    return b"\r\n".join([line % target, HOST, *lines, b"", b""])


HEAD = b"HEAD %b HTTP/1.1"
OLD = b"GET %b HTTP/1.0"
AGENT = b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
COOKIE = b"Cookie: id=a3fWa; theme=dark"
REFERER = b"Referer: https://example.com/other"
BROWSER = (AGENT, b"Accept: */*", b"Accept-Encoding: gzip, br", REFERER, COOKIE)


def of_length(length: int, *lines: bytes) -> bytes:
    """A head of so many octets, most of them in a field that counts."""
    return get(b"/a.txt", *lines, b"X: " + b"x" * (length - len(get(b"/a.txt", *lines, b"X: "))))


def of_line(length: int, *lines: bytes) -> bytes:
    """A head whose request line has so many octets."""
    return get(b"/a.txt?" + b"x" * (length - len(b"GET /a.txt? HTTP/1.1")), *lines)


def of_fields(count: int, *lines: bytes) -> bytes:
    """A head of so many field lines that count, and further `lines`."""
    return get(b"/a.txt", *[b"X: y"] * (count - 1), *lines)


# Heads that the memo answers when they are repeated.
REMEMBERED = {
    "a file": get(),
    "HEAD": get(line=HEAD),
    "an empty file": get(b"/none"),
    "a large file": get(b"/big"),
    "HEAD of a large file": get(b"/big", line=HEAD),
    "an index file": get(b"/"),
    "an index file below": get(b"/docs/"),
    "a directory without its slash": get(b"/docs"),
    "a directory without its slash, with a query": get(b'/docs?a="<b>'),
    "a missing file": get(b"/missing"),
    "what is missing below a file": get(b"/a.txt/b"),
    "a dot-file": get(b"/.git/config"),
    "HEAD of a dot-file": get(b"/.git/config", line=HEAD),
    "a well-known file": get(b"/.well-known/x"),
    "a path with an encoded letter": get(b"/%61.txt"),
    "a path with dots": get(b"/docs/.././a.txt"),
    "an encoded slash": get(b"/docs%2Findex.html"),
    "a broken escape": get(b"/%zz"),
    "a NUL": get(b"/%00"),
    "an absolute-form": get(b"http://other.example/a.txt"),
    "an absolute-form of another scheme": get(b"https://example.com/a.txt"),
    "an absolute-form without a host": get(b"http:///a.txt"),
    "an asterisk": get(b"*"),
    "no form at all": get(b"a.txt"),
    "a query": get(b"/a.txt?x=1"),
    "If-None-Match that matches": get(b"/a.txt", b"If-None-Match: " + ETAG),
    "If-None-Match of another": get(b"/a.txt", b'If-None-Match: "x"'),
    "If-None-Match: * for HEAD": get(b"/a.txt", b"If-None-Match: *", line=HEAD),
    "If-None-Match where nothing is": get(b"/missing", b"If-None-Match: *"),
    "If-Match that matches": get(b"/a.txt", b"If-Match: " + ETAG),
    "If-Match of another": get(b"/a.txt", b'If-Match: "x"'),
    "If-Modified-Since the same date": get(b"/a.txt", b"If-Modified-Since: " + LAST_MODIFIED),
    "If-Modified-Since a malformed date": get(b"/a.txt", b"If-Modified-Since: yesterday"),
    "If-Unmodified-Since long before": get(
        b"/a.txt", b"If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"
    ),
    "a range": get(b"/a.txt", b"Range: bytes=1-2"),
    "a suffix range": get(b"/a.txt", b"Range: bytes=-2"),
    "a range for HEAD": get(b"/a.txt", b"Range: bytes=1-2", line=HEAD),
    "an unsatisfiable range": get(b"/a.txt", b"Range: bytes=6-"),
    "a malformed range": get(b"/a.txt", b"Range: bytes=2-1"),
    "several ranges": get(b"/a.txt", b"Range: bytes=0-0,5-5"),
    "a small range of a large file": get(b"/big", b"Range: bytes=200000-200999"),
    "a large range of a large file": get(b"/big", b"Range: bytes=1000-200999"),
    "several small ranges of a large file": get(b"/big", b"Range: bytes=0-9,100000-100009"),
    "several large ranges of a large file": get(b"/big", b"Range: bytes=0-99999,150000-250000"),
    "a range of an empty file": get(b"/none", b"Range: bytes=0-"),
    "If-Range by its entity-tag": get(b"/a.txt", b"Range: bytes=0-0", b"If-Range: " + ETAG),
    "If-Range by its date": get(b"/a.txt", b"Range: bytes=0-0", b"If-Range: " + LAST_MODIFIED),
    "If-Range by another tag": get(b"/a.txt", b"Range: bytes=0-0", b'If-Range: "x"'),
    "Connection: close": get(b"/a.txt", b"Connection: close"),
    "Connection: close, a large file": get(b"/big", b"Connection: close"),
    "Connection: keep-alive": get(b"/a.txt", b"Connection: keep-alive"),
    "HTTP/1.0": get(line=OLD),
    "HTTP/1.0 without Host": b"GET /a.txt HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that stays": get(b"/a.txt", b"Connection: keep-alive", line=OLD),
    "HTTP/1.0 that stays, a large file": get(b"/big", b"Connection: keep-alive", line=OLD),
    "HTTP/1.9": get(line=b"GET %b HTTP/1.9"),
    "a browser": get(b"/a.txt", *BROWSER),
    "a browser that wants a large file": get(b"/big", *BROWSER),
    "a browser that missed something": get(b"/missing", *BROWSER),
    "a User-Agent first": b"GET /a.txt HTTP/1.1\r\nUser-Agent: x\r\nHost: x\r\n\r\n",
    "a user-agent in lower case": get(b"/a.txt", b"user-agent: x"),
    "a USER-AGENT in upper case": get(b"/a.txt", b"USER-AGENT: x", b"REFERER: y", b"COOKIE: z"),
    "a referer in lower case and a User-Agent": get(b"/a.txt", b"referer: x", AGENT),
    "a Referer and a user-agent in lower case": get(b"/a.txt", b"Referer: x", b"user-agent: y"),
    "a Referer with quotation marks and a User-Agent": get(b"/a.txt", b'Referer: "x"', AGENT),
    "a User-Agent without a space": get(b"/a.txt", b"User-Agent:x"),
    "a User-Agent of one letter": get(b"/a.txt", b"User-Agent: x"),
    "a User-Agent that is a hyphen": get(b"/a.txt", b"User-Agent: -"),
    "an empty User-Agent": get(b"/a.txt", b"User-Agent:"),
    "a User-Agent of one space": get(b"/a.txt", b"User-Agent: "),
    "a User-Agent with a tab before it": get(b"/a.txt", b"User-Agent:\tx"),
    "a User-Agent with quotation marks": get(b"/a.txt", b'User-Agent: "x"'),
    "a User-Agent with a backslash": get(b"/a.txt", b"User-Agent: a\\x"),
    "a User-Agent with a tab inside": get(b"/a.txt", b"User-Agent: a\tx"),
    "a User-Agent beyond ASCII": get(b"/a.txt", b"User-Agent: caf\xe9 \xc3\xa9"),
    "a User-Agent after two spaces": get(b"/a.txt", b"User-Agent:  x"),
    "a User-Agent that ends in a space": get(b"/a.txt", b"User-Agent: x "),
    "a Referer with a quotation mark at its end": get(b"/a.txt", b'Referer: http://x/"'),
    "a Cookie with quotation marks": get(b"/a.txt", b'Cookie: a="b"', AGENT),
    "a Cookie that ends in spaces": get(b"/a.txt", b"Cookie: a=b  ", AGENT),
    "three Cookies": get(b"/a.txt", *[COOKIE] * 3),
    "six Cookies and a User-Agent": get(b"/a.txt", *[COOKIE] * 6, AGENT),
    "a field that only ends in Cookie": get(b"/a.txt", b"X-Cookie: a", b"Set-Cookie: b"),
    "a Cookie in the value of another": get(b"/a.txt", b"X: Cookie: a"),
}

# Heads that are answered the long way each time.
NOT_REMEMBERED = {
    "POST": get(line=b"POST %b HTTP/1.1"),
    "OPTIONS": get(line=b"OPTIONS %b HTTP/1.1"),
    "OPTIONS *": get(b"*", line=b"OPTIONS %b HTTP/1.1"),
    "an unknown method": get(line=b"BREW %b HTTP/1.1"),
    "GET with content of no length": get(b"/a.txt", b"Content-Length: 0"),
    "GET with content": get(b"/a.txt", b"Content-Length: 3") + b"abc",
    "GET with content, and another": get(b"/a.txt", b"Content-Length: 3") + b"abc" + get(),
    "GET with chunked content": get(b"/a.txt", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "an expectation": get(b"/a.txt", b"Expect: 100-continue"),
    "an expectation that fails": get(b"/a.txt", b"Expect: the-worst"),
    "a User-Agent in two spellings": get(b"/a.txt", b"User-Agent: a", b"user-agent: b"),
    "a User-Agent with a control octet": get(b"/a.txt", b"User-Agent: a\x01b"),
    "a User-Agent with a bare CR": get(b"/a.txt", b"User-Agent: a\rb"),
    "a User-Agent with a bare LF": get(b"/a.txt", b"User-Agent: a\nb"),
    "a User-Agent that is folded": get(b"/a.txt", b"User-Agent: a\r\n b"),
    "a Cookie with white space before its colon": get(b"/a.txt", b"Cookie : a"),
    "200 Cookies": get(b"/a.txt", *[COOKIE] * 200),
    "an empty line before the head": b"\r\n" + get(),
    "an empty line and a Cookie before the head": b"\r\nCookie: a\r\n" + get(),
    "two empty lines before the head": b"\r\n\r\n" + get(),
    "empty lines and a Cookie before the head": b"\r\n\r\nCookie: a\r\n" + get(),
    "an empty line": b"\r\n",
    "two empty lines": b"\r\n\r\n",
    "a Cookie behind the head": get() + b"Cookie: a\r\n\r\n",
    "a Cookie behind the head, and a head": get() + b"Cookie: a\r\n\r\n" + get(),
    "a Cookie line behind the head": get() + b"Cookie: a\r\n",
    "a User-Agent line behind the head": get() + b"User-Agent: a\r\n",
    "a Cookie after a bare LF": get().replace(b"com\r\n", b"com\nCookie: a\r\n"),
    "a Cookie before a bare LF": get(b"/a.txt", b"Cookie: a\nX: y"),
    "a Cookie after a bare CR": get(b"/a.txt", b"X: y\rCookie: a"),
    "a Cookie before the request line": b"Cookie: a\r\n" + get(),
    "a Cookie alone": b"Cookie: a\r\n\r\n",
    "a head without its end": get()[:-2],
    "no Host": b"GET /a.txt HTTP/1.1\r\n\r\n",
    "no Host but a User-Agent": b"GET /a.txt HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
    "two Hosts": get(b"/a.txt", HOST),
    "HTTP/2.0": get(line=b"GET %b HTTP/2.0"),
    "a listing, or none": get(b"/empty/", b"Content-Length: 0"),
    "a link out of the root": get(b"/out"),
    "a FIFO": get(b"/fifo"),
    "a TLS hello": b"\x16\x03\x01",
}

# What depends on the limits of the site, or on what has been said before.
OTHERS = {
    "two User-Agents": get(b"/a.txt", b"User-Agent: a", b"User-Agent: b"),
    "two Referers and two User-Agents": get(b"/a.txt", *[AGENT, REFERER] * 2),
    **{f"a head of {n} octets": of_length(n) for n in (1023, 1024, 1025, 4095, 4096, 4097, 16384)},
    **{f"a browser's head of {n} octets": of_length(n, *BROWSER) for n in (1024, 1025, 4096, 4097)},
    **{f"a head of {n} octets": of_length(n) for n in (32767, 32768, 32769)},
    **{f"a request line of {n} octets": of_line(n) for n in (63, 64, 65, 8191, 8192, 8193)},
    **{f"a request line of {n} octets, a Cookie": of_line(n, COOKIE) for n in (64, 65)},
    **{f"{n} fields": of_fields(n - 1) for n in (7, 8, 9, 10, 11, 97, 98, 99, 100, 101)},
    **{
        f"{n} fields, {ignored} of them ignored": of_fields(n - ignored - 1, *[COOKIE] * ignored)
        for n in (9, 10, 11, 99, 100, 101)
        for ignored in (1, 3, 5)
    },
}

ALL = REMEMBERED | NOT_REMEMBERED | OTHERS

# Conversations that may teach the memo what the others must not hear.
SEQUENCES = {
    "OPTIONS, and then a run": [
        [get(line=b"OPTIONS %b HTTP/1.1"), get() + get(b"/missing")],
        [get(line=b"OPTIONS %b HTTP/1.1")],
    ],
    "POST, and then octet by octet": [
        [get(line=b"POST %b HTTP/1.1"), *[bytes([octet]) for octet in get()]],
        [get(line=b"POST %b HTTP/1.1")],
    ],
    "empty lines, and then a head": [
        [b"\r\n\r\n", get()],
        [b"\r\n\r\n"],
        [b"\r\n\r\n", get(b"/missing")],
    ],
    "an empty line before a head, and then a Cookie between them": [
        [b"\r\n" + get()],
        [b"\r\nCookie: a\r\n" + get()],
        [b"\r\nCookie: a\r\n" + get() + get()],
    ],
    "a Cookie after the empty line": [[get()], [get() + b"Cookie: a\r\n\r\n"], [get() * 3]],
    "fields up to the limit, and then Cookies": [
        [of_fields(98)],
        [of_fields(98, COOKIE)],
        [of_fields(98, *[COOKIE] * 3)],
        [of_fields(6), of_fields(6, *[COOKIE] * 2), of_fields(6, *[COOKIE] * 4)],
    ],
    "a head, and then one with a Cookie that is too much": [
        [get(), get(b"/big")],
        *[
            [get(target, b"Cookie: " + b"x" * size)]
            for target in (b"/a.txt", b"/big")
            for size in (900, 1000, 4000, 4096, 16000, 17000, 32600, 32768)
        ],
    ],
    "one agent, and then others": [
        [get(b"/a.txt", b"User-Agent: a")],
        [get(b"/a.txt", b"User-Agent: b")],
        [get(b"/a.txt", b'User-Agent: "b"')],
        [get()],
        [get(b"/a.txt", b"User-Agent: a", b"User-Agent: b")],
        [get(b"/a.txt", b"user-agent: a", b"User-Agent: b")],
        [get(b"/a.txt", b"user-agent: a")],
        [get(b"/a.txt", b"User-Agent: b", b"user-agent: a")],
        [get(b"/a.txt", b"Referer: r", b"User-Agent: b", b"referer: a")],
    ],
    "the order of the fields": [
        [get(b"/a.txt", AGENT, COOKIE, REFERER)],
        [get(b"/a.txt", REFERER, AGENT, COOKIE)],
    ],
    "more Cookies than are left out": [
        [get(b"/a.txt", *[COOKIE] * 4)],
        [get(b"/a.txt", COOKIE)],
        [get(b"/a.txt", *[COOKIE] * 3, AGENT)],
        [get(b"/a.txt", AGENT)],
        [get(b"/a.txt", AGENT, AGENT, AGENT, AGENT)],
    ],
    "a run that is known, and one that is not": [
        [get(), get(b"/missing"), get(b"/big")],
        [get() + get(b"/missing") + get(b"/big") + get()],
        [get() + get(b"/docs/other") + get()],
        [get() * 3 + get(b"/missing")[:20], get(b"/missing")[20:] + get()],
    ],
    "a run that ends the connection": [
        [get(b"/a.txt", b"Connection: close")],
        [get() + get(b"/a.txt", b"Connection: close")],
        [get() + get(b"/a.txt", b"Connection: close") + get()],
        [get(b"/a.txt", b"Connection: close") + get()],
        [get(b"/a.txt", b"Connection: close") + b"x"],
        [get(), get(b"/a.txt", b"Connection: close") * 2, get()],
    ],
    "a run that ends in what is malformed": [[get() * 2], [get() * 2 + b"\0"], [get() * 2 + b"X"]],
    "a run with empty lines between": [
        [get() * 2],
        [get() + b"\r\n" + get() + b"\r\n\r\n" + get()],
    ],
    "a run that fills what is received at once": [[of_length(64)], [of_length(64) * 300]],
    "a run of 500 heads": [[get()], [get() * 500], [get(b"/none", line=HEAD) * 500]],
    "a run of large answers": [
        [get(b"/big", b"Range: bytes=0-65535")],
        [get(b"/big", b"Range: bytes=0-65535") * 20],
    ],
}


@pytest.mark.parametrize("octets", [pytest.param(ALL[name], id=name) for name in ALL])
def test_a_head_is_answered_alike(pair: Pair, octets: bytes) -> None:
    """Alone, several times at once, and among others on one connection."""
    pair.check([octets], [octets * 3], [octets, octets, get(), octets * 2, get() * 2 + octets])


@pytest.mark.parametrize(
    "octets",
    [pytest.param(ALL[name], id=name) for name in ALL if len(ALL[name]) < 300],
)
def test_a_head_is_answered_alike_in_pieces(plain: Pair, octets: bytes) -> None:
    text = octets + get()

    plain.check([octets], [text[at : at + 1] for at in range(len(text))], [text[:-9], text[-9:]])


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_is_answered_alike(pair: Pair, name: str) -> None:
    pair.check(*SEQUENCES[name])


@pytest.mark.parametrize("octets", [pytest.param(REMEMBERED[name], id=name) for name in REMEMBERED])
def test_the_memo_is_at_work(plain: Pair, octets: bytes) -> None:
    plain.check([octets])

    assert plain.remembers(octets)


@pytest.mark.parametrize(
    "octets", [pytest.param(NOT_REMEMBERED[name], id=name) for name in NOT_REMEMBERED]
)
def test_what_the_memo_is_not_for(plain: Pair, octets: bytes) -> None:
    plain.check([octets])

    assert not plain.remembers(octets)


def test_clients_of_one_browser_share_an_answer(plain: Pair) -> None:
    plain.check([get(b"/docs/other", *BROWSER)])

    assert plain.remembers(get(b"/docs/other", b"User-Agent: x", *BROWSER[1:4], b"Cookie: y"))


@pytest.mark.parametrize("count", [256, 300, 600])
def test_a_run_that_fills_what_is_received_at_once_is_answered_to_its_end(
    plain: Pair, count: int
) -> None:
    """Over TCP: no event tells of octets that were there before the last one."""
    text = of_length(64)
    plain.check([text])
    service = plain.memo.service
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    client.setblocking(False)
    client.sendall(text * count)
    Visitor(service, accepted, PEER).start()
    octets, end = b"", time.monotonic() + 5.0
    while octets.count(b"HTTP/1.1 200 OK") < count and time.monotonic() < end:
        service.turn()
        with contextlib.suppress(BlockingIOError):
            octets += client.recv(1 << 20)
    client.close()
    service.turn()

    assert statuses(octets) == [200] * count
    assert len(plain.memo.log.lines()) == count
    assert accepted.fileno() == -1


CORPUS = [*corpus("valid"), *corpus("invalid")]


@pytest.fixture(scope="module", params=["combined", "json"])
def logging(make_pair: MakePair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = make_pair(*SITES[request.param])
    yield pair
    pair.close()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CORPUS])
def test_the_corpus_is_answered_alike(logging: Pair, case: Case) -> None:
    octets = case.data
    logging.check([octets, get()], [octets * 2], [get() + octets + get()], [octets])


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in CORPUS if len(case.data) < 1000]
)
def test_the_corpus_is_answered_alike_in_pieces(plain: Pair, case: Case) -> None:
    octetwise, in_sevens = itertools.islice(ways(case.data), 2)

    plain.check([case.data], octetwise, in_sevens)


# --- Anything at all ------------------------------------------------------------------------------

_LINES = st.sampled_from(
    [
        *(AGENT, COOKIE, REFERER, COOKIE, b"User-Agent: a", b"user-agent: b", b'User-Agent: "c"'),
        *(b"Referer:d", b"Referer: e ", b"Cookie: f\x80", b"Cookie : g", b"Cookie: \x01", b" h"),
        *(b"Connection: close", b"Connection: keep-alive", b"Range: bytes=0-1", b"X: y", b"x: z"),
        *(b"If-None-Match: *", b"Content-Length: 2", b"Expect: 100-continue", b"", b"\r"),
    ]
)
_REQUEST_LINES = st.sampled_from(
    [
        *[b"GET /a.txt HTTP/1.1"] * 6,
        *(b"HEAD /a.txt HTTP/1.1", b"GET /big HTTP/1.1", b"GET /docs HTTP/1.0", b"GET / HTTP/1.1"),
        *(b"POST /a.txt HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /missing HTTP/1.1", b"", b"X"),
    ]
)
_HEADS = st.builds(
    lambda line, lines: b"\r\n".join([line, HOST, *lines, b"", b""]),
    _REQUEST_LINES,
    st.lists(_LINES, max_size=6),
)
_JUNK = st.sampled_from(
    [b"\r\n", b"\r\n\r\n", b"Cookie: a\r\n", b"\r\nCookie: a\r\n", b"\n", b"xy"]
)
_TALK = st.lists(st.one_of(_HEADS, _HEADS, _HEADS, _JUNK), min_size=1, max_size=6)


@st.composite
def _pieces(draw: st.DrawFn) -> list[bytes]:
    """What one client says, one head at a time or cut anywhere."""
    heads = draw(_TALK)
    if draw(st.booleans()):
        return heads
    text = b"".join(heads)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[at:to] for at, to in itertools.pairwise([0, *cuts, len(text)]) if at < to]


@pytest.mark.slow
@settings(
    derandomize=True,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(_pieces(), min_size=1, max_size=4))
def test_whatever_is_said_is_answered_alike(
    make_pair: MakePair, conversations: list[list[bytes]]
) -> None:
    pair = make_pair(*SITES["combined"])
    try:
        pair.check(*conversations)
    finally:
        pair.close()
