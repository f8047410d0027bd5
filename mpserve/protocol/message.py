"""The values of one exchange: what was asked, what is answered, and what became of it.

Everything here is made whole by one room and read by the next; nothing is assigned after construction,
except in `Exchange`, which the connection writes once, when the exchange ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

# RFC 9110 §15: the status codes this server may send, and their reason phrases.
REASONS: dict[int, bytes] = {
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    304: b"Not Modified",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    412: b"Precondition Failed",
    414: b"URI Too Long",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


class HTTPError(Exception):
    """A request that gets an error status. Raised in `protocol/` only, caught in one place, `Connection`.

    `why` is for the error log; no client ever sees it. `line` is the request line, where one was understood.
    """

    def __init__(self, status: int, why: str, line: bytes = b"") -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why
        self.line = line


@dataclass(slots=True)
class Request:
    """A request whose framing has been checked (RFC 9112 §2 to §6); its target has not been parsed yet."""

    method: bytes
    target: bytes  # as sent
    version: bytes  # as sent: b"HTTP/1.0" or b"HTTP/1.1" (any later minor version is kept as sent)
    fields: dict[bytes, bytes]  # names in lower case; the lines of a list field joined with b", "
    persistent: (
        bool  # False: the connection ends after the answer, by the request's own word (§9.3)
    )

    @property
    def line(self) -> bytes:
        """The request line as it was sent, without its CRLF."""
        return b"%b %b %b" % (self.method, self.target, self.version)


class OpenFile(Protocol):
    """What a span is cut from: something that holds an open descriptor."""

    @property
    def fd(self) -> int: ...

    # The first octet and the end of what is in memory, and until when that is believed (monotonic seconds).
    warm: tuple[int, int, float]
    # Its device, inode, size, mtime and ctime (ns) when its octets were promised; None: nobody looks again.
    sight: tuple[int, int, int, int, int] | None


@dataclass(slots=True)
class FileSpan:
    """The octets `start` (included) to `stop` (excluded) of an open file. It says what goes out, not how."""

    file: OpenFile
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


Piece: TypeAlias = bytes | FileSpan


@dataclass(slots=True)
class Response:
    """A final response without what RFC 9112 and the clock add to it: no Connection, no Date, no status line."""

    status: int
    fields: bytes  # complete field lines, each ended by CRLF; never Content-Length
    content: tuple[Piece, ...] = ()
    # What Content-Length says; None where it must not or need not be sent (204, 304). For HEAD it is GET's,
    # and the content is left out by the encoder.
    length: int | None = None


class About(NamedTuple):
    """What the access log says of a request, whatever the answer."""

    asked: tuple[bytes, ...]  # of the request line, as the format has it
    end: bytes  # of the client, to the end of the line


@dataclass(slots=True)
class Exchange:
    """One request and its answer, for the access log: written when the exchange begins and when it ends."""

    peer: bytes  # the client's address as text; b"unix:" for a Unix socket
    request: Request | None  # None where the head was not understood
    line: bytes  # the request line; b"" where none was understood
    status: int
    started: float  # monotonic seconds: the head was complete
    head_size: int  # octets of the response's head
    sent: int = 0  # octets of the response the kernel took, the head included
    about: About | None = None  # what the log says of the request, where it is known already

    @property
    def content_sent(self) -> int:
        """Octets of content that were really sent."""
        return max(0, self.sent - self.head_size)
