"""A strict reader of HTTP/1.x answers: the client that forgives nothing.

It reads a socket, knows the grammar of RFC 9110 and RFC 9112, and nothing of any server; it shares
no code with mpserve's own parser. What a lenient client would repair or overlook is a `Faulty`
here, with one member of `Defect` that says which rule was broken. Every member has its canned bad
server in tests/test_reader.py.
"""

from __future__ import annotations

import datetime as dt
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Sink: TypeAlias = Callable[[memoryview], None]
Note: TypeAlias = Callable[["Faulty"], None]

RECEIVE = 256 * 1024
LARGEST_HEAD = 64 * 1024


class Defect(Enum):
    """What an answer can have against it."""

    # The shape of the head (RFC 9112 §2 to §5).
    BARE_LF = "a line ends in LF without CR"
    BARE_CR = "a CR stands alone in the head"
    STATUS_LINE = "the status line does not follow the grammar"
    FIELD_LINE = "a field line does not follow the grammar"
    FOLDED = "a field line is folded"
    HEAD_TOO_LONG = "the head does not end within 64 KiB"
    CUT_OFF = "the connection ended within the head"
    STALLED = "the answer stopped in its middle, and the connection stayed open"
    REPEATED = "a field that has one value was sent twice"
    # Where the content ends (RFC 9112 §6 and §7).
    LENGTH_MALFORMED = "Content-Length is no decimal number"
    LENGTH_TWICE = "Content-Length was sent twice"
    LENGTH_AND_CODING = "Content-Length beside Transfer-Encoding"
    LENGTH_WITHOUT_CONTENT = "Content-Length on an answer that has no content by its status"
    CODING_WITHOUT_CONTENT = "Transfer-Encoding on an answer that has no content by its status"
    CODING_UNASKED = "a transfer coding other than chunked, which the client never offered to take"
    CODING_TO_1_0 = "Transfer-Encoding in an answer of or to HTTP/1.0"
    CHUNK = "the chunked coding is malformed"
    TRUNCATED = "the connection ended within the content"
    UNDELIMITED = "no length, not chunked, and the connection stays open: the content has no end"
    AFTER = "octets after the end of the message"
    LENGTH_NOT_GETS = "Content-Length is not the number of octets that GET would send"
    # What an answer must or must not be (RFC 9110).
    INTERIM_TO_1_0 = "an interim answer to an HTTP/1.0 client"
    DATE_MISSING = "no Date on an answer of 2xx, 3xx or 4xx"
    DATE_INVALID = "Date is no IMF-fixdate"
    ALLOW_MISSING = "405 without Allow"
    ALLOW_MALFORMED = "Allow is no list of methods"
    # What is asked of a strict static server beyond that.
    STRICT_CODING = "a strict static server knows its lengths, and never chunks"
    STRICT_CLOSE = "a strict static server knows its lengths, and never lets the close tell them"
    STRICT_ETAG = "no ETag on a file"
    STRICT_ACCEPT_RANGES = "no Accept-Ranges on a file"
    STRICT_NOSNIFF = "content without X-Content-Type-Options: nosniff"


# Faults of one answer. All others leave a client not knowing where one message ends and the next
# begins, or how to read it at all.
NOT_FRAMING = frozenset(
    {
        Defect.REPEATED,
        Defect.DATE_MISSING,
        Defect.DATE_INVALID,
        Defect.ALLOW_MISSING,
        Defect.ALLOW_MALFORMED,
        Defect.STRICT_ETAG,
        Defect.STRICT_ACCEPT_RANGES,
        Defect.STRICT_NOSNIFF,
    }
)


class Faulty(Exception):
    """The answer has a defect."""

    def __init__(self, defect: Defect, shown: bytes = b"") -> None:
        detail = f": {shown[:120]!r}" if shown else ""
        super().__init__(f"{defect.value}{detail}")
        self.defect = defect

    @property
    def framing(self) -> bool:
        """Is the framing at fault, rather than one answer's fields?"""
        return self.defect not in NOT_FRAMING


class Closed(Exception):
    """The server ended the connection where an answer could have begun."""


class Silent(Exception):
    """No octet came within the time-out."""


class Framing(Enum):
    """By what the end of the content was known (RFC 9112 §6.3)."""

    NONE = "no content"
    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "the end of the connection"


Fields: TypeAlias = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The status line and the fields of one answer."""

    octets: bytes
    version: bytes
    status: int
    reason: bytes
    fields: Fields  # in their order, names as sent

    def all(self, name: bytes) -> list[bytes]:
        """The values of every line of this name."""
        name = name.lower()
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        """The combined value of this field (RFC 9110 §5.2); None where it is missing."""
        values = self.all(name)
        return b", ".join(values) if values else None

    def members(self, name: bytes) -> list[bytes]:
        """The members of a list of tokens, in lower case."""
        value = self.get(name) or b""
        return [
            member.strip(b" \t").lower() for member in value.split(b",") if member.strip(b" \t")
        ]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, complete and without a defect."""

    head: Head
    content: bytes  # empty where a sink took it
    framing: Framing
    interim: tuple[Head, ...] = ()

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    def get(self, name: bytes) -> bytes | None:
        """The combined value of a field; None where it is missing."""
        return self.head.get(name)

    @property
    def closes(self) -> bool:
        """Does the connection end with this answer, by what it says of itself (RFC 9112 §9.3)?"""
        options = self.head.members(b"connection")
        if self.framing is Framing.CLOSE or b"close" in options:
            return True
        return self.head.version == b"HTTP/1.0" and b"keep-alive" not in options


# status-line = HTTP-version SP status-code SP [ reason-phrase ]
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
# field-line = field-name ":" OWS field-value OWS
_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_FIELD_LINE = re.compile(
    rb"(" + _TCHAR + rb"+):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_TOKEN = re.compile(_TCHAR + rb"+")
_LONE_LF = re.compile(rb"(?<!\r)\n")
_LONE_CR = re.compile(rb"\r(?!\n)")
# chunk-size [ chunk-ext ]
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]+)"
    rb"(?:[ \t]*;[ \t]*" + _TCHAR + rb"+"
    rb"(?:[ \t]*=[ \t]*(?:"
    + _TCHAR
    + rb'+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*"))?)*'
)
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
# IMF-fixdate
_DATE = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (" + b"|".join(_MONTHS) + rb") ([0-9]{4}) "
    rb"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60) GMT"
)
# Fields that are no lists: RFC 9110 §5.3 forbids a second line.
_SINGLETONS = frozenset(
    {
        b"age",
        b"content-location",
        b"content-range",
        b"content-type",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"retry-after",
        b"server",
        b"x-content-type-options",
    }
)


def parse_date(value: bytes) -> float | None:
    """The epoch second of an IMF-fixdate; None where it is none, or no day of the calendar."""
    found = _DATE.fullmatch(value)
    if found is None:
        return None
    name, day, month, year, hour, minute, second = found.groups()
    try:
        date = dt.datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            tzinfo=dt.UTC,
        )
    except ValueError:
        return None
    if _DAYS[date.weekday()] != name:
        return None
    return date.timestamp() + int(second)


class Reader:
    """Reads the answers of one connection, one after the other, in the order of the requests.

    `note` takes the faults of one answer instead of their being raised; a fault of the framing is
    always raised.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        timeout: float = 5.0,
        strict_static: bool = False,
        note: Note | None = None,
    ) -> None:
        self.sock = sock
        self.timeout = timeout
        self.strict_static = strict_static
        self.note = note
        self._buffer = bytearray()
        self._block = memoryview(bytearray(RECEIVE))
        self._deadline = 0.0

    def read(
        self,
        method: bytes = b"GET",
        version: bytes = b"HTTP/1.1",
        *,
        length_of_get: int | None = None,
        sink: Sink | None = None,
    ) -> Answer:
        """The final answer to a request of this method and version, after the interim ones.

        `length_of_get` is what GET would send, where it is known: a Content-Length on HEAD and 304
        must equal it. `sink` takes the content piece by piece as it comes, so that nothing large is
        kept. Raises Faulty; Closed where the connection ended before a first octet; Silent where
        none came within the time-out.
        """
        interim: list[Head] = []
        while _is_interim(head := self._next_head(version)):
            interim.append(head)
        return self._complete(head, tuple(interim), method, version, length_of_get, sink)

    def read_until_continue(
        self, method: bytes = b"GET", version: bytes = b"HTTP/1.1"
    ) -> Answer | None:
        """The final answer; or None as soon as 100 (Continue) came, and the content is awaited."""
        while _is_interim(head := self._next_head(version)):
            if head.status == 100:
                return None
        return self._complete(head, (), method, version, None, None)

    def finish(self) -> None:
        """Say that no request follows, and see the connection end with nothing more on it.

        A server may take its time to close: silence for the time-out is as good. Raises Faulty.
        """
        with suppress(OSError):  # it may be gone already
            self.sock.shutdown(socket.SHUT_WR)
        self.ended()

    def ended(self) -> bool:
        """Does the server end the connection within the time-out? Raises Faulty for octets."""
        self._deadline = time.monotonic() + self.timeout
        try:
            ended = bool(self._buffer) or not self._receive()
        except Silent:
            return False
        if self._buffer:
            raise Faulty(Defect.AFTER, bytes(self._buffer))
        return ended

    def raw(self) -> bytes:
        """Whatever comes next, unread by any grammar; empty at the end. Raises Silent."""
        self._deadline = time.monotonic() + self.timeout
        if not self._buffer:
            self._receive()
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    @property
    def buffered(self) -> bytes:
        """What was received and not yet read."""
        return bytes(self._buffer)

    # From the socket to the buffer.

    def _receive(self) -> int:
        """Wait for octets; how many came, 0 at the end or at a reset. Raises Silent."""
        self.sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            count = self.sock.recv_into(self._block)
        except TimeoutError as error:
            raise Silent(f"nothing came within {self.timeout:g} s") from error
        except ConnectionError:
            return 0
        self._buffer += self._block[:count]
        return count

    def _need(self, defect: Defect) -> None:
        """Receive more of a message that has begun, or find it defective."""
        try:
            count = self._receive()
        except Silent as error:
            raise Faulty(Defect.STALLED, bytes(self._buffer[-200:])) from error
        if not count:
            raise Faulty(defect, bytes(self._buffer[-200:]))

    def _take(self, count: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return taken

    # One answer.

    def _complete(
        self,
        head: Head,
        interim: tuple[Head, ...],
        method: bytes,
        version: bytes,
        length_of_get: int | None,
        sink: Sink | None,
    ) -> Answer:
        framing = _framing(head, method, version)
        content = self._content(head, framing, sink)
        try:
            self._check_fields(head, method, framing, length_of_get)
        except Faulty as fault:
            if fault.framing or self.note is None:
                raise
            self.note(fault)
        return Answer(head, content, framing, interim)

    # The head.

    def _next_head(self, version: bytes) -> Head:
        self._deadline = time.monotonic() + self.timeout
        head = self._head()
        if _is_interim(head):
            _check_interim(head, version)
        return head

    def _head(self) -> Head:
        if not self._buffer and not self._receive():
            raise Closed("the connection ended without an answer")
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._doubt_unfinished_head()
            self._need(Defect.CUT_OFF)
        return _parse_head(self._take(end + 4))

    def _doubt_unfinished_head(self) -> None:
        """Do not wait for the end of what cannot become a head."""
        start = bytes(self._buffer[:LARGEST_HEAD])
        if not b"HTTP/".startswith(start[:5]):
            raise Faulty(Defect.STATUS_LINE, start)
        if _LONE_LF.search(start):
            raise Faulty(Defect.BARE_LF, start)
        if len(self._buffer) > LARGEST_HEAD:
            raise Faulty(Defect.HEAD_TOO_LONG)

    # The content.

    def _content(self, head: Head, framing: Framing, sink: Sink | None) -> bytes:
        if framing is Framing.NONE:
            return b""
        kept = bytearray()
        taker: Sink = sink if sink is not None else kept.extend
        if framing is Framing.LENGTH:
            self._pass_on(int(head.all(b"content-length")[0]), taker)
        elif framing is Framing.CHUNKED:
            self._pass_on_chunks(taker)
        else:
            self._pass_on_until_close(taker)
        return bytes(kept)

    def _pass_on(self, length: int, sink: Sink) -> None:
        """Give `length` octets to the sink."""
        while length:
            if not self._buffer:
                self._deadline = time.monotonic() + self.timeout  # progress, not the whole
                self._need(Defect.TRUNCATED)
            piece = self._take(min(length, len(self._buffer)))
            sink(memoryview(piece))
            length -= len(piece)

    def _pass_on_chunks(self, sink: Sink) -> None:
        """RFC 9112 §7.1.3."""
        while True:
            line = self._line()
            found = _CHUNK_LINE.fullmatch(line)
            if found is None:
                raise Faulty(Defect.CHUNK, line)
            size = int(found[1], 16)
            if not size:
                break
            self._pass_on(size, sink)
            if self._line():
                raise Faulty(Defect.CHUNK, b"chunk-data is not followed by CRLF")
        while line := self._line():  # the trailer section
            found = _FIELD_LINE.fullmatch(line)
            if found is None or found[1].lower() in (b"content-length", b"transfer-encoding"):
                raise Faulty(Defect.CHUNK, line)

    def _line(self) -> bytes:
        """One line of the chunked coding, without its CRLF."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise Faulty(Defect.CHUNK, bytes(self._buffer))
            self._need(Defect.TRUNCATED)
        line = self._take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Faulty(Defect.CHUNK, line)
        return line[:-2]

    def _pass_on_until_close(self, sink: Sink) -> None:
        while True:
            if self._buffer:
                sink(memoryview(self._take(len(self._buffer))))
            self._deadline = time.monotonic() + self.timeout
            try:
                if not self._receive():
                    return
            except Silent as error:
                raise Faulty(Defect.UNDELIMITED) from error

    # What the fields must say of an answer that has been read to its end.

    def _check_fields(
        self, head: Head, method: bytes, framing: Framing, length_of_get: int | None
    ) -> None:
        _check_singletons(head)
        _check_date(head)
        _check_allow(head)
        if length_of_get is not None:
            _check_length_of_get(head, method, length_of_get)
        if self.strict_static:
            _check_strict_static(head, method, framing)


def _parse_head(octets: bytes) -> Head:
    if _LONE_LF.search(octets):
        raise Faulty(Defect.BARE_LF, octets)
    if _LONE_CR.search(octets):
        raise Faulty(Defect.BARE_CR, octets)
    first, *lines = octets[:-4].split(b"\r\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise Faulty(Defect.STATUS_LINE, first)
    fields = tuple(map(_parse_field_line, lines))
    return Head(octets, found[1], int(found[2]), found[3], fields)


def _parse_field_line(line: bytes) -> tuple[bytes, bytes]:
    if line[:1] in (b" ", b"\t"):
        raise Faulty(Defect.FOLDED, line)
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise Faulty(Defect.FIELD_LINE, line)
    return found[1], found[2]


def _is_interim(head: Head) -> bool:
    # After 101 the connection speaks another protocol: it is the last that this one says.
    return head.status < 200 and head.status != 101


def _check_interim(head: Head, version: bytes) -> None:
    # RFC 9110 §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client"
    if version == b"HTTP/1.0":
        raise Faulty(Defect.INTERIM_TO_1_0, head.octets)
    _check_without_content(head)


def _check_without_content(head: Head) -> None:
    """RFC 9110 §8.6 and RFC 9112 §6.1: neither field on 1xx and 204, nor on 2xx to CONNECT."""
    if head.all(b"content-length"):
        raise Faulty(Defect.LENGTH_WITHOUT_CONTENT, head.octets)
    if head.all(b"transfer-encoding"):
        raise Faulty(Defect.CODING_WITHOUT_CONTENT, head.octets)


def _framing(head: Head, method: bytes, version: bytes) -> Framing:
    """RFC 9112 §6.3, in its order; raises Faulty for what it does not allow."""
    if head.status in (101, 204) or (method == b"CONNECT" and 200 <= head.status < 300):
        _check_without_content(head)
        return Framing.NONE
    coding = _transfer_coding(head, version)
    length = _content_length(head)
    if coding and length is not None:
        raise Faulty(Defect.LENGTH_AND_CODING, head.octets)
    if method == b"HEAD" or head.status == 304:
        return Framing.NONE
    if coding:
        return Framing.CHUNKED
    return Framing.CLOSE if length is None else Framing.LENGTH


def _transfer_coding(head: Head, version: bytes) -> bool:
    """Is the content chunked? No other coding is any good to a client that sent no TE."""
    value = head.get(b"transfer-encoding")
    if value is None:
        return False
    # RFC 9112 §6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the
    # corresponding request indicates HTTP/1.1 (or later minor revisions)."
    if b"HTTP/1.0" in (version, head.version):
        raise Faulty(Defect.CODING_TO_1_0, head.octets)
    if value.lower() != b"chunked":
        raise Faulty(Defect.CODING_UNASKED, value)
    return True


def _content_length(head: Head) -> int | None:
    values = head.all(b"content-length")
    if len(values) > 1:
        raise Faulty(Defect.LENGTH_TWICE, b", ".join(values))
    if not values:
        return None
    if not re.fullmatch(rb"[0-9]{1,18}", values[0]):
        raise Faulty(Defect.LENGTH_MALFORMED, values[0])
    return int(values[0])


def _check_singletons(head: Head) -> None:
    seen: set[bytes] = set()
    for name, _ in head.fields:
        key = name.lower()
        if key in seen and key in _SINGLETONS:
            raise Faulty(Defect.REPEATED, key)
        seen.add(key)


def _check_date(head: Head) -> None:
    # RFC 9110 §6.6.1: "An origin server with a clock [...] MUST generate a Date header field in all
    # 2xx (Successful), 3xx (Redirection), and 4xx (Client Error) responses"
    value = head.get(b"date")
    if value is None and 200 <= head.status < 500:
        raise Faulty(Defect.DATE_MISSING, head.octets)
    if value is not None and parse_date(value) is None:
        raise Faulty(Defect.DATE_INVALID, value)


def _check_allow(head: Head) -> None:
    # RFC 9110 §10.2.1: "An origin server MUST generate an Allow header field in a 405 (Method Not
    # Allowed) response"
    value = head.get(b"allow")
    if value is None and head.status == 405:
        raise Faulty(Defect.ALLOW_MISSING, head.octets)
    if value and not all(_TOKEN.fullmatch(each.strip(b" \t")) for each in value.split(b",")):
        raise Faulty(Defect.ALLOW_MALFORMED, value)


def _check_length_of_get(head: Head, method: bytes, length: int) -> None:
    # RFC 9110 §8.6: "a server MUST NOT send Content-Length in such a response unless its field
    # value equals the decimal number of octets that would have been sent in the content of a
    # response if the same request had used the GET method"; and the same of a 304.
    if head.status != 304 and not (method == b"HEAD" and head.status == 200):
        return
    if _content_length(head) not in (None, length):
        raise Faulty(Defect.LENGTH_NOT_GETS, head.octets)


def _check_strict_static(head: Head, method: bytes, framing: Framing) -> None:
    if head.all(b"transfer-encoding"):
        raise Faulty(Defect.STRICT_CODING, head.octets)
    if framing is Framing.CLOSE:
        raise Faulty(Defect.STRICT_CLOSE, head.octets)
    if head.status in (200, 206) and method in (b"GET", b"HEAD"):
        # A file whose time stamp means nothing has no validator at all.
        if head.get(b"etag") is None and head.get(b"last-modified") is not None:
            raise Faulty(Defect.STRICT_ETAG, head.octets)
        if head.get(b"accept-ranges") != b"bytes":
            raise Faulty(Defect.STRICT_ACCEPT_RANGES, head.octets)
    if head.all(b"content-type") and head.get(b"x-content-type-options") != b"nosniff":
        raise Faulty(Defect.STRICT_NOSNIFF, head.octets)
