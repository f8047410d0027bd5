"""HTTP/1.1 messages: where they begin and end, and whether another may follow. RFC 9112.

What is decided here depends on the octets of a connection alone, never on the pieces in which they
arrive: each judgement falls due with one octet, and of several the one that is due first is passed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from mpserve.protocol.grammar import (
    CHUNK_LINE,
    FIELD_LINES,
    REQUEST_LINE,
    TOKEN,
    list_members,
    parse_host,
)
from mpserve.protocol.message import REASONS, HTTPError, Piece, Request, Response

# Content that nobody reads is skipped up to so many octets, for the sake of the requests behind it.
# A client that sends more has to connect anew.
MAX_SKIPPED = 65536

# No chunk line and no trailer field that means well is longer (octets, CRLF included).
MAX_CHUNK_LINE = 4096

# Fields whose repetition leaves open which one counts. Those that are only logged are not among
# them: no request need fail for two of those.
SINGLETONS = frozenset(
    b"authorization content-length content-range content-type host if-modified-since if-range "
    b"if-unmodified-since max-forwards range".split()
)


_STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()
}

_BARE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the head of a request may be."""

    request_line: int = 8192  # octets, its CRLF not counted; beyond: 414
    head: int = 32768  # octets, from the request line through the empty line; beyond: 431
    fields: int = 100  # field lines; beyond: 431


class State(Enum):
    """What the next octet of a connection belongs to."""

    HEAD = auto()  # empty lines, or the head of a request
    CONTENT = auto()  # content that is skipped
    CLOSED = auto()  # nothing: the last request has been read, or a framing error
    ENDED = auto()  # nothing: content proved malformed or too long after its request was out


HEAD, CONTENT, CLOSED, ENDED = State


class Http1Protocol:
    """The HTTP/1.1 side of one connection: octets in, requests out; responses in, octets out."""

    __slots__ = (
        "_buffer",
        "_content",
        "_limits",
        "_line",
        "_line_size",
        "_position",
        "_searched",
        "_state",
        "lingering",
        "persistent",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = HEAD
        self._buffer = b""
        self._position = 0  # of the first octet that is not used up
        self._searched = 0  # octets from there on that do not hold what is being looked for
        self._line: tuple[bytes, bytes, bytes] | None = None  # of the head that is arriving
        self._line_size = 0  # octets of that line, its CRLF included
        self._content: Content | None = None  # what is outstanding of the last request's content
        self.persistent = True  # after `encode`: may another request follow?
        self.lingering = False  # after `encode`, if none may: may the client still be sending?

    def __repr__(self) -> str:
        waiting = len(self._buffer) - self._position
        return f"<Http1Protocol {self._state.name} {waiting} octets buffered>"

    @property
    def ended(self) -> bool:
        """Whether the connection must end for content that went wrong after its request was out."""
        return self._state is ENDED

    @property
    def buffered(self) -> bool:
        """Whether octets have been received that are not used up."""
        return self._position < len(self._buffer)

    @property
    def idle(self) -> bool:
        """Whether all that was received has been used up, and a head comes next."""
        return self._state is HEAD and not self.buffered

    @property
    def line(self) -> bytes:
        """The request line of the head that is arriving; b"" while none is understood."""
        return b" ".join(self._line) if self._line is not None else b""

    @property
    def head_begun(self) -> bool:
        """Whether a head has begun to arrive; empty lines before it do not count."""
        first = self._buffer[self._position : self._position + 1]
        return self._state is HEAD and first not in (b"", b"\r")

    # --- Requests ---------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what the client has sent."""
        # What waits is copied, and that stays cheap because little can wait: no more than the limit
        # for a head and what came with its last octet.
        waiting = self._buffer[self._position :]
        self._buffer = waiting + data if waiting else data
        self._position = 0

    def next_request(self) -> Request | None:
        """The next request whose head is complete; None while there is none, or if none follows.

        HTTPError reports a framing error: it gets its answer, and nothing more is read.
        """
        if self._state is CONTENT and self._content is not None:
            self._skip(self._content)
        if self._state is not HEAD:
            return None
        try:
            return self._maybe_request()
        except HTTPError as error:
            self._state = CLOSED
            error.line = self.line
            raise

    def _maybe_request(self) -> Request | None:
        line = self._line or self._maybe_line()
        if line is None:
            return None
        end = self._maybe_end()
        if end is None:
            return None
        method, target, version = line
        fields = self._parse_fields(end)
        check_host(version, fields)
        persistent = wants_persistence(version, fields)
        content = announced_content(version, fields)
        self._use_up(end)
        self._line = None
        if content is not None:
            # A client that holds its content back until it is told to continue gets the final
            # status instead; whether the content still comes is then open (RFC 9110 §10.1.1).
            withheld = not self.buffered and awaits_continue(version, fields)
            self._skip(content)
            persistent = persistent and not withheld and self._state is not ENDED
        if not persistent:
            self._state = CLOSED
        return Request(method, target, version, fields, persistent)

    def _maybe_line(self) -> tuple[bytes, bytes, bytes] | None:
        """Method, target and version, judged as soon as the line is complete (§3)."""
        # §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at
        # least one empty line (CRLF) received prior to the request-line."
        while self._buffer.startswith(b"\r\n", self._position):
            self._use_up(self._position + len(b"\r\n"))
        start = self._position
        stop = start + self._limits.request_line + len(b"\r\n")
        end = self._buffer.find(b"\n", start + self._searched, stop) + 1
        if not end:
            self._judge_unfinished_line(stop)
            return None
        match = REQUEST_LINE.fullmatch(self._buffer, start, end)
        if match is None:
            raise HTTPError(400, "malformed request line")
        method, target, version, major = match.groups()
        self._line = method, target, version
        if major != b"1":
            raise HTTPError(505, "no version of HTTP/1")
        self._line_size = end - start
        self._searched = self._line_size - len(b"\r\n")  # an empty line may follow at once
        return self._line

    def _judge_unfinished_line(self, stop: int) -> None:
        """What can be said before the LF is there: that this begins no request, or is too long."""
        beginning = self._buffer[self._position : self._position + 2]
        # A client that speaks TLS waits for an answer to its hello and would never send an LF.
        if beginning not in (b"", b"\r") and TOKEN.match(beginning) is None:
            raise HTTPError(400, "no request begins like this")
        if len(self._buffer) >= stop:
            raise HTTPError(414, "request line too long")
        self._searched = len(self._buffer) - self._position

    def _maybe_end(self) -> int | None:
        """The position behind the head, once its last octet is there (§2.2)."""
        start = self._position + self._searched
        stop = self._position + self._limits.head
        end = self._buffer.find(b"\r\n\r\n", start, stop)
        if end >= 0:
            return end + len(b"\r\n\r\n")
        if _BARE_LF.search(self._buffer, start, stop):
            raise HTTPError(400, "bare LF in the head")
        if len(self._buffer) >= stop:
            raise HTTPError(431, "head too long")
        self._searched = len(self._buffer) - self._position - len(b"\r\n\r")
        return None

    def _parse_fields(self, end: int) -> dict[bytes, bytes]:
        """The fields of a head that ends at `end` (§5)."""
        section = self._buffer[self._position + self._line_size : end - len(b"\r\n")]
        if FIELD_LINES.fullmatch(section) is None:
            raise HTTPError(400, malformation(section))
        lines = section.splitlines()
        if len(lines) > self._limits.fields:
            raise HTTPError(431, "too many fields")
        fields = {}
        for line in lines:
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()  # no control but HTAB is left in it
        return fields if len(fields) == len(lines) else combine(lines)

    def _skip(self, content: Content) -> None:
        """Read past what has arrived of `content`."""
        self._use_up(content.skip(self._buffer, self._position))
        self._content = None if content.expects is NOTHING else content
        self._state = _STATE_AFTER.get(content.expects, CONTENT)

    def _use_up(self, position: int) -> None:
        """Go on at `position`. An idle connection holds no buffer: there may be many of them."""
        if position == len(self._buffer):
            self._buffer, position = b"", 0
        self._position = position
        self._searched = 0

    def unanswered(self, request: Request) -> bytes | None:
        """The octets of `request`, the last that was read, and of all behind it; None if it has content.

        As they were sent, but for the spelling of names and the white space around values.
        """
        if announced_content(request.version, request.fields) is not None:
            return None
        lines = [b"%b: %b\r\n" % field for field in request.fields.items()]
        waiting = self._buffer[self._position :]
        return b"".join([request.line, b"\r\n", *lines, b"\r\n", waiting])

    # --- Responses --------------------------------------------------------------------------------

    def encode(
        self, request: Request | None, response: Response, date_line: bytes, closing: bool
    ) -> tuple[bytes, tuple[Piece, ...]]:
        """The octets of the response's head, and the content that follows it.

        `request` is None for the answer to a framing error or to a head that did not come in time,
        which is the last one. With `closing` the server wants this to be the last. `date_line` is
        complete.
        """
        asked = request is not None and request.persistent
        self.persistent = asked and not closing
        # A client that closes of its own will, and has sent all it announced, sends nothing more.
        self.lingering = not self.persistent and (
            request is None or asked or self._content is not None or self.buffered
        )
        head = b"%b%b%b%b%b\r\n" % (
            _STATUS_LINES[response.status],
            date_line,
            response.fields,
            b"" if response.length is None else b"Content-Length: %d\r\n" % response.length,
            self._connection_line(request),
        )
        return head, () if self._forbids_content(request, response) else response.content

    def repeat(self, request: Request, rest: bytes) -> None:
        """Take note of an idle connection's `request` that is answered without being read here.

        `rest` came behind it.
        """
        self.receive(rest)
        self.persistent = request.persistent
        self.lingering = not request.persistent and self.buffered
        if not request.persistent:
            self._state = CLOSED

    def _connection_line(self, request: Request | None) -> bytes:
        """What the client has to be told about persistence (§9.3)."""
        if not self.persistent:
            return b"Connection: close\r\n"
        if request is not None and request.version == b"HTTP/1.0":
            return b"Connection: keep-alive\r\n"
        return b""

    def _forbids_content(self, request: Request | None, response: Response) -> bool:
        """Whether a response ends with its head, whatever its fields say (§6.3)."""
        if request is None:  # of the head that was refused, the beginning counts
            return self._buffer.startswith(b"HEAD ", self._position)
        return request.method == b"HEAD" or response.status in (204, 304)


# --- What fields say about a message --------------------------------------------------------------

# For the error log: what may be wrong with field lines, in the order in which it is looked for.
_MALFORMATIONS = (
    (_BARE_LF, "bare LF in the head"),
    (re.compile(rb"\r(?!\n)"), "bare CR in the head"),
    (re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"), "control octet in the head"),
    (re.compile(rb"(?m)^[ \t]"), "folded field line, or white space before the first"),
    (re.compile(rb"(?m)^[^:\n]*+(?<=[ \t]):"), "white space before a colon"),
    (re.compile(rb""), "field line without a valid name"),
)


def malformation(section: bytes) -> str:
    """What is wrong with the field lines of a malformed head (§5)."""
    return next(why for form, why in _MALFORMATIONS if form.search(section))


def combine(lines: list[bytes]) -> dict[bytes, bytes]:
    """The fields of well-formed lines in which a name occurs more than once (RFC 9110 §5.2)."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name in fields and name in SINGLETONS:
            raise HTTPError(400, f"more than one {name.decode()} field")
        fields[name] = b"%b, %b" % (fields[name], value) if name in fields else value
    return fields


def check_host(version: bytes, fields: dict[bytes, bytes]) -> None:
    """Refuse a request whose Host is missing or invalid (§3.2)."""
    # "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
    # that lacks a Host header field and to any request message that contains more than one Host
    # header field line or a Host header field with an invalid field value."
    host = fields.get(b"host")
    if host is None:
        if version != b"HTTP/1.0":
            raise HTTPError(400, "no Host field")
    elif not parse_host(host):
        raise HTTPError(400, "invalid Host field")


def wants_persistence(version: bytes, fields: dict[bytes, bytes]) -> bool:
    """Whether the client wants to send another request after this one (§9.3)."""
    value = fields.get(b"connection")
    if value is None:
        return version != b"HTTP/1.0"
    options = list_members(value.lower())
    if b"close" in options:
        return False
    return version != b"HTTP/1.0" or b"keep-alive" in options


def awaits_continue(version: bytes, fields: dict[bytes, bytes]) -> bool:
    """Whether the client holds its content back until it is told to go on (RFC 9110 §10.1.1)."""
    # "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that
    # expectation."
    if version == b"HTTP/1.0":
        return False
    return b"100-continue" in list_members(fields.get(b"expect", b"").lower())


def announced_content(version: bytes, fields: dict[bytes, bytes]) -> Content | None:
    """The content that follows the head; None if there is none (§6.3)."""
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        check_transfer_encoding(version, coding, length)
        return Content(None)
    if length is None:
        return None
    if not length.isdigit():
        raise HTTPError(400, "invalid Content-Length field")
    # Twenty digits, zeros before them aside, are too many to skip whatever follows.
    octets = int(length.lstrip(b"0")[:20] or b"0")
    return Content(octets) if octets else None


def check_transfer_encoding(version: bytes, value: bytes, length: bytes | None) -> None:
    """Refuse what leaves a message's length in doubt, and what is not implemented (§6.1, §6.3)."""
    # A proxy that reads such a message another way may have let a second request through inside it:
    # where the RFC leaves the choice between refusing and repairing, it is refused.
    if version == b"HTTP/1.0":
        raise HTTPError(400, "Transfer-Encoding in an HTTP/1.0 request")
    if length is not None:
        raise HTTPError(400, "both Transfer-Encoding and Content-Length")
    codings = [coding.strip() for coding in value.lower().split(b",")]
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1 or b"" in codings:
        raise HTTPError(400, "Transfer-Encoding that does not end in chunked, once")
    if len(codings) > 1:
        raise HTTPError(501, "transfer coding other than chunked")


# --- Content that is skipped ----------------------------------------------------------------------


class Expects(Enum):
    """What the next octet of content belongs to."""

    SIZE = auto()  # a chunk's size, with its extensions
    DATA = auto()  # the data of a chunk, or all of counted content
    DATA_END = auto()  # the CRLF behind a chunk's data
    TRAILER = auto()  # a trailer field, or the empty line that ends it all
    NOTHING = auto()  # the content is complete
    REFUSED = auto()  # the content is malformed, or too long to be skipped


SIZE, DATA, DATA_END, TRAILER, NOTHING, REFUSED = Expects

_STATE_AFTER = {NOTHING: HEAD, REFUSED: ENDED}


class Content:
    """Content on its way past: its framing is checked, and it is forgotten (§6, §7.1)."""

    __slots__ = ("_chunked", "_framing", "_remaining", "_size", "expects")

    def __init__(self, length: int | None) -> None:
        """Content of `length` octets; None stands for chunked."""
        self._chunked = length is None
        self._size = length or 0  # octets of data, as far as they have been announced
        self._remaining = self._size  # octets of data to come before anything else
        self._framing = 0  # octets that were not data
        self.expects = SIZE if length is None else DATA
        if self._size > MAX_SKIPPED:
            self.expects = REFUSED

    def skip(self, data: bytes, at: int) -> int:
        """Read on in `data` from position `at`; the position that was reached."""
        while at < len(data) and self.expects not in (NOTHING, REFUSED):
            taken = self._skip_data(data, at) if self.expects is DATA else self._skip_line(data, at)
            if not taken:
                break
            at += taken
        return at

    def _skip_data(self, data: bytes, at: int) -> int:
        taken = min(self._remaining, len(data) - at)
        self._remaining -= taken
        if not self._remaining:
            self.expects = DATA_END if self._chunked else NOTHING
        return taken

    def _skip_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at, at + MAX_CHUNK_LINE) + 1
        if not end:
            if len(data) - at >= MAX_CHUNK_LINE:
                self.expects = REFUSED
            return 0
        self._framing += end - at
        self.expects = self._after_line(data[at:end])
        return end - at

    def _after_line(self, line: bytes) -> Expects:
        if self._framing > MAX_SKIPPED:
            return REFUSED
        if self.expects is SIZE:
            return self._after_size(line)
        if self.expects is DATA_END:
            return SIZE if line == b"\r\n" else REFUSED
        if line == b"\r\n":
            return NOTHING
        return TRAILER if FIELD_LINES.fullmatch(line) else REFUSED

    def _after_size(self, line: bytes) -> Expects:
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            return REFUSED
        self._remaining = int(match[1], 16)
        self._size += self._remaining
        if self._size > MAX_SKIPPED:
            return REFUSED
        return DATA if self._remaining else TRAILER
