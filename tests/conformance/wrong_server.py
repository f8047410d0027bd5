"""A small static server that is right until it is told to be wrong, in one way at a time.

Told nothing it meets every case: that proves that the cases can be met. Told one `Fault` it fails
the cases that name this fault: that proves that they can fail. It is written to be told, not to be
fast or safe: a thread per connection, whole files in memory.

The faults that many cases name are at the end of this file; a fault of one case stands beside it.
"""

from __future__ import annotations

import email.utils
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tests.harness.running import Running

LARGEST_LINE = 8192
LARGEST_HEAD = 32768
LARGEST_CONTENT = 64 * 1024 * 1024
MOST_PARTS = 16
BOUNDARY = b"THIS_SEPARATES"

TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".txt": b"text/plain; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".xml": b"application/xml",
    ".png": b"image/png",
    ".jpg": b"image/jpeg",
    ".webp": b"image/webp",
    ".woff2": b"font/woff2",
    ".wasm": b"application/wasm",
    ".pdf": b"application/pdf",
    ".mp4": b"video/mp4",
    ".mp3": b"audio/mpeg",
    ".zip": b"application/zip",
}
KNOWN_METHODS = (b"POST", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PATCH")
ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TCHAR + rb"+) ([!-\xff]+) HTTP/([0-9])\.([0-9])")
_FIELD_LINE = re.compile(rb"(" + _TCHAR + rb"+):[ \t]*([\t -\x7e\x80-\xff]*?)[ \t]*")
_REG_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]*::?[0-9A-Fa-f:.]*\]|" + _REG_NAME + rb")(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i)(https?)://([^/?#]*)([^#]*)")
_ENTITY_TAG = re.compile(rb'(?:W/)?"[!#-\x7e\x80-\xff]*"')
_TAGS = re.compile(
    rb"[ \t,]*" + _ENTITY_TAG.pattern + rb"(?:[ \t]*,[ \t,]*" + _ENTITY_TAG.pattern + rb")*[ \t,]*"
)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?")
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_MONTH = rb"(" + b"|".join(_MONTHS) + rb")"
_TIME = rb"([0-2][0-9]):([0-5][0-9]):([0-6][0-9])"
_DATES = (
    re.compile(_DAY + rb", ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _TIME + rb" GMT"),
    re.compile(rb"[MTWFS][a-z]{5,8}, ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _TIME + rb" GMT"),
)
_ASCTIME = re.compile(_DAY + rb" " + _MONTH + rb" ([ 0-9][0-9]) " + _TIME + rb" ([0-9]{4})")

# Fields of which there is one, or the request is refused.
_ONCE = (b"content-length", b"host", b"if-modified-since", b"if-range", b"if-unmodified-since")


class Refused(Exception):
    """A request whose framing or grammar is wrong: this status, and the connection ends."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Gone(Exception):
    """The client ended the connection."""


@dataclass
class Request:
    """A request that was understood."""

    method: bytes
    target: bytes
    minor: int
    fields: dict[bytes, bytes]  # lower-case names; lines of one name joined

    @property
    def persistent(self) -> bool:
        """May another request follow?"""
        options = self.members(b"connection")
        if b"close" in options:
            return False
        return self.minor >= 1 or b"keep-alive" in options

    def members(self, name: bytes) -> list[bytes]:
        """The members of a list of tokens, in lower case."""
        parts = self.fields.get(name, b"").split(b",")
        return [part.strip(b" \t").lower() for part in parts if part.strip(b" \t")]


@dataclass
class Reply:
    """An answer without Date, length and Connection."""

    status: int
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytes = b""
    closing: bool = False


OnHead: TypeAlias = Callable[[bytes], bytes]
OnRequest: TypeAlias = Callable[[Request], Request]
OnReply: TypeAlias = Callable[[Request, Reply], Reply]
OnWire: TypeAlias = Callable[[Request, bytes], bytes]


@dataclass(frozen=True)
class Fault:
    """One way of being wrong. What is not given stays right."""

    name: str
    head: OnHead | None = None  # what it makes of the octets of a head, before it parses them
    request: OnRequest | None = None  # what it makes of a request that it has understood
    reply: OnReply | None = None  # what it makes of its answer
    wire: OnWire | None = None  # what it makes of the octets of its answer
    refusal: Reply | None = None  # how it answers what it has to refuse; and it stays connected
    habit: str = ""  # something in the way it handles connections: see `WrongServer`

    def __str__(self) -> str:
        return self.name


class Stream:
    """Octets from one client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def more(self) -> None:
        try:
            octets = self.sock.recv(65536)
        except OSError as error:
            raise Gone from error
        if not octets:
            raise Gone
        self.buffer += octets

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def line(self, largest: int) -> bytes:
        """One line without its CRLF."""
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > largest:
                raise Refused(400)
            self.more()
        line = self.take(end + 1)
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Refused(400)
        return line[:-2]

    def head(self) -> bytes:
        """The octets of a head up to its empty line; Refused as soon as it cannot be right."""
        while self.buffer.startswith(b"\r\n"):
            self.buffer = self.buffer[2:]
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self._doubt()
            self.more()
            while self.buffer.startswith(b"\r\n"):
                self.buffer = self.buffer[2:]
        self._doubt()
        return self.take(end + 4)[:-2]

    def _doubt(self) -> None:
        first, found, _ = self.buffer.partition(b"\r\n")
        if len(first) > LARGEST_LINE:
            raise Refused(414)
        if self.buffer and self.buffer != b"\r" and not re.match(_TCHAR, self.buffer):
            raise Refused(400)
        if re.search(rb"(?<!\r)\n", self.buffer.partition(b"\r\n\r\n")[0]):
            raise Refused(400)
        if found and not _REQUEST_LINE.fullmatch(first):
            raise Refused(400)
        if len(self.buffer.partition(b"\r\n\r\n")[0]) > LARGEST_HEAD:
            raise Refused(431)


class WrongServer(Running):
    """Serves `root` on a free port, with the faults it is told. Its habits:

    "closes unsaid"       ends the connection after each answer, and does not announce it
    "never closes"        keeps the connection whatever was said
    "leaves content"      takes the content of a request for the next request
    "waits for content"   answers no Expect, only the content
    "forgets chunks"      knows no chunked coding: takes it for no content
    "reads one chunk"     takes the first chunk for the whole content
    "counts in 64 bits"   wraps lengths and chunk sizes around
    "reverses"            answers pipelined requests in the wrong order
    "answers early"       answers as soon as the request line is there
    "keeps empty lines"   takes an empty line before a request for a request
    "reads once"          takes what one read of a few octets brings for the whole head
    "swallows the next"   takes what follows a head without length for its content
    "waits for ever"      never sees that a client has gone before it sent all
    "never looks again"   keeps what it once found, or did not find
    "trusts what is old"  serves a compressed form that is older than the file
    """

    def __init__(self, root: Path, *faults: Fault) -> None:
        self.root = os.path.realpath(os.fsencode(root))
        self.faults = faults
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self.listener.getsockname()[1]
        self.threads: list[threading.Thread] = []
        self.sockets: list[socket.socket] = []
        self.stopping = threading.Event()
        self.memory: dict[bytes, Reply] = {}

    def start(self) -> None:
        self._spawn(self._accept)

    def stop(self) -> None:
        self.stopping.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        self.listener.close()
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[1:]:
            thread.join()

    def has(self, habit: str) -> bool:
        """Was it told to behave so?"""
        return any(fault.habit == habit for fault in self.faults)

    def _spawn(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            self._spawn(self._serve, sock)

    # One connection.

    def _serve(self, sock: socket.socket) -> None:
        stream = Stream(sock)
        with sock, suppress(Gone, OSError):
            while self._exchange(stream):
                pass
            self._linger(stream)

    def _exchange(self, stream: Stream) -> bool:
        """Read one request and answer it; may another follow?"""
        if self.has("reverses"):
            return self._exchange_reversed(stream)
        octets, persistent = self._answer_next(stream)
        stream.sock.sendall(octets)
        return persistent

    def _exchange_reversed(self, stream: Stream) -> bool:
        answers = [self._answer_next(stream)]
        while answers[-1][1] and b"\r\n\r\n" in stream.buffer:
            answers.append(self._answer_next(stream))
        stream.sock.sendall(b"".join(octets for octets, _ in reversed(answers)))
        return answers[-1][1]

    def _linger(self, stream: Stream) -> None:
        """RFC 9112 §9.6: close in stages, so that the client can read the answer."""
        stream.sock.shutdown(socket.SHUT_WR)
        while True:
            stream.buffer = b""
            stream.more()

    def _answer_next(self, stream: Stream) -> tuple[bytes, bool]:
        """The octets of the next answer, and whether another request may follow."""
        nobody = Request(b"GET", b"/", 1, {})
        request = nobody
        try:
            head = self._next_head(stream)
            first = head.partition(b"\r\n")[0]
            minor = 0 if first.endswith(b"/1.0") else 1
            nobody = replace(nobody, method=first.partition(b" ")[0], minor=minor)
            request = self._parse(head)
            self._read_content(stream, request)
        except Refused as refused:
            told = next((fault.refusal for fault in self.faults if fault.refusal), None)
            reply = told or replace(error(refused.status), closing=True)
            return self._finish(request if told else nobody, reply)
        return self._finish(request, self.respond(request))

    def _next_head(self, stream: Stream) -> bytes:
        while self.has("answers early") and b"\r\n" not in stream.buffer:
            stream.more()
        if self.has("answers early"):
            return stream.line(LARGEST_LINE) + b"\r\nHost: early\r\n"
        while self.has("keeps empty lines") and len(stream.buffer) < 2:
            stream.more()
        if self.has("keeps empty lines") and stream.buffer.startswith(b"\r\n"):
            raise Refused(400)
        if self.has("reads once"):
            stream.buffer += stream.sock.recv(10)
            if b"\r\n\r\n" not in stream.buffer:
                raise Refused(400)
        head = stream.head()
        for fault in self.faults:
            head = fault.head(head) if fault.head else head
        return head

    def _finish(self, request: Request, reply: Reply) -> tuple[bytes, bool]:
        for fault in self.faults:
            reply = fault.reply(request, reply) if fault.reply else reply
        persistent = request.persistent and not reply.closing
        octets = encode(request, reply, persistent or self.has("closes unsaid"))
        for fault in self.faults:
            octets = fault.wire(request, octets) if fault.wire else octets
        return octets, (persistent or self.has("never closes")) and not self.has("closes unsaid")

    # The head and the content of a request (RFC 9112 §2 to §7).

    def _parse(self, head: bytes) -> Request:
        first, *lines = head.split(b"\r\n")[:-1]
        found = _REQUEST_LINE.fullmatch(first)
        if found is None:
            raise Refused(400)
        if found[3] != b"1":
            raise Refused(505)
        request = Request(found[1], found[2], int(found[4]), _fields(lines))
        for fault in self.faults:
            request = fault.request(request) if fault.request else request
        _check_host(request)
        return request

    def _read_content(self, stream: Stream, request: Request) -> None:
        length, chunked = _framing(request)
        if not length and not chunked:
            if self.has("swallows the next"):
                stream.buffer = b""
            return
        expected = b"100-continue" in request.members(b"expect") and request.minor >= 1
        if expected and not self.has("waits for content"):
            stream.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.has("leaves content"):
            return
        try:
            if chunked:
                self._read_chunks(stream)
            else:
                stream.take(self._counted(length))
        except Gone:
            if self.has("waits for ever"):
                self.stopping.wait()
            raise

    def _counted(self, length: int) -> int:
        if self.has("counts in 64 bits"):
            length %= 2**64
        if length > LARGEST_CONTENT:
            raise Refused(413)
        return length

    def _read_chunks(self, stream: Stream) -> None:
        if self.has("forgets chunks"):
            return
        while True:
            found = _CHUNK_LINE.fullmatch(stream.line(LARGEST_LINE))
            if found is None:
                raise Refused(400)
            size = self._counted(int(found[1], 16))
            if not size:
                break
            if stream.take(size + 2)[-2:] != b"\r\n":
                raise Refused(400)
            if self.has("reads one chunk"):
                return
        while line := stream.line(LARGEST_LINE):
            if not _FIELD_LINE.fullmatch(line):
                raise Refused(400)

    # What is answered (RFC 9110).

    def respond(self, request: Request) -> Reply:
        """The answer to a request, before the faults."""
        if any(each != b"100-continue" for each in request.members(b"expect")):
            return error(417)
        if request.method == b"OPTIONS":
            return Reply(204, [ALLOW])
        if request.method in KNOWN_METHODS:
            return error(405, ALLOW)
        if request.method not in (b"GET", b"HEAD"):
            return error(501)
        found = _ABSOLUTE.fullmatch(request.target)
        if found and found[1].lower() == b"https":
            return error(421)
        path, mark, query = (found[3] if found else request.target).partition(b"?")
        look = self._remembered if self.has("never looks again") else self._resource
        return look(request, path or b"/", mark + query)

    def _remembered(self, request: Request, path: bytes, query: bytes) -> Reply:
        if path not in self.memory:
            self.memory[path] = self._resource(request, path, query)
        return self.memory[path]

    def _resource(self, request: Request, path: bytes, query: bytes) -> Reply:
        if not path.startswith(b"/") or b"#" in path + query:
            return replace(error(400), closing=True)
        if re.search(rb"%(?![0-9A-Fa-f]{2})", path) or b"\0" in unquote_to_bytes(path):
            return error(400)
        segments, slash = _normal(path)
        name = self._beneath(segments)
        if name is None:
            return error(404)
        if os.path.isdir(name):
            if not slash:
                where = b"/" + b"/".join(quote_from_bytes(each).encode() for each in segments)
                return error(308, (b"Location", where + b"/" + query))
            name, slash = name + b"/index.html", False
        if slash or not os.path.isfile(name):
            return error(404)
        return self._representation(request, name)

    def _beneath(self, segments: list[bytes]) -> bytes | None:
        """The real path of what these segments name, if it lies beneath the root."""
        for segment in segments:
            if b"/" in segment or (segment.startswith(b".") and segment != b".well-known"):
                return None
        name = os.path.realpath(os.path.join(self.root, *segments))
        return name if (name + b"/").startswith(self.root + b"/") else None

    def _has_compressed_form(self, name: bytes, found: os.stat_result) -> bool:
        other = name + b".gz"
        if not os.path.isfile(other):
            return False
        return self.has("trusts what is old") or os.path.getmtime(other) >= int(found.st_mtime)

    def _representation(self, request: Request, name: bytes) -> Reply:
        try:
            with open(name, "rb") as file:
                found, content = os.fstat(file.fileno()), file.read()
        except OSError:
            return error(404)
        metadata = _metadata(name, found)
        if self._has_compressed_form(name, found):
            metadata.append((b"Vary", b"Accept-Encoding"))
            if _accepts_gzip(request.fields.get(b"accept-encoding", b"")):
                content = Path(os.fsdecode(name + b".gz")).read_bytes()
                metadata = _coded(metadata)
        validators = dict(metadata)
        outcome = _precondition(request, validators[b"ETag"], validators.get(b"Last-Modified"))
        if outcome == 304:
            kept = (b"ETag", b"Vary", b"Cache-Control", b"Expires", b"Content-Location")
            return Reply(304, [each for each in metadata if each[0] in kept])
        if outcome:
            return error(outcome)
        return _ranged(request, Reply(200, metadata, content), validators)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    if len(lines) > 100:
        raise Refused(431)
    fields: dict[bytes, bytes] = {}
    for line in lines:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise Refused(400)
        name, value = found[1].lower(), found[2]
        if name in fields and name in _ONCE:
            raise Refused(400)
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _check_host(request: Request) -> None:
    host = request.fields.get(b"host")
    if host is None and request.minor >= 1:
        raise Refused(400)
    if host is not None and not _HOST.fullmatch(host):
        raise Refused(400)
    if host and host.startswith(b"["):
        try:
            socket.inet_pton(socket.AF_INET6, host[1 : host.index(b"]")].decode())
        except OSError as bad:
            raise Refused(400) from bad
    _check_form(request)


def _check_form(request: Request) -> None:
    """RFC 9112 §3.2: which form goes with which method."""
    target = request.target
    if request.method == b"CONNECT":
        wrong = not re.fullmatch(rb"[^/?#@]+:[0-9]+", target)
    elif target == b"*":
        wrong = request.method != b"OPTIONS"
    else:
        found = _ABSOLUTE.fullmatch(target)
        wrong = not target.startswith(b"/") and not (found and found[2] and b"@" not in found[2])
    if wrong or b"#" in target:
        raise Refused(400)


def _framing(request: Request) -> tuple[int, bool]:
    """Content-Length, and whether the content is chunked; Refused where the two are faulty."""
    length, coding = (
        request.fields.get(name) for name in (b"content-length", b"transfer-encoding")
    )
    if coding is not None:
        codings = [each.strip(b" \t").lower() for each in coding.split(b",")]
        if length is not None or not request.minor or codings.count(b"chunked") > 1:
            raise Refused(400)
        if codings[-1] != b"chunked":
            raise Refused(400)
        if len(codings) > 1:
            raise Refused(501)
        return 0, True
    if length is not None and not re.fullmatch(rb"[0-9]+", length):
        raise Refused(400)
    return int(length[:40]) if length else 0, False


def _normal(path: bytes) -> tuple[list[bytes], bool]:
    """The decoded segments of a path without dots, and whether it names a directory."""
    segments: list[bytes] = []
    for segment in map(unquote_to_bytes, path.split(b"/")):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    last = unquote_to_bytes(path.rpartition(b"/")[2])
    return segments, last in (b"", b".", b"..")


def _metadata(name: bytes, found: os.stat_result) -> list[tuple[bytes, bytes]]:
    """The fields that describe a file."""
    now = time.time()
    fresh = abs(now - found.st_mtime) < 2
    tag = b'%s"%x-%x"' % (b"W/" if fresh else b"", found.st_mtime_ns, found.st_size)
    kind = TYPES.get(Path(os.fsdecode(name)).suffix, b"application/octet-stream")
    fields = [
        (b"Content-Type", kind),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"ETag", tag),
        (b"Accept-Ranges", b"bytes"),
    ]
    if found.st_mtime > 1:
        fields.append((b"Last-Modified", http_date(min(found.st_mtime, int(now)))))
    return fields


def _coded(metadata: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields of the gzip form of a file."""
    coded = [(n, v[:-1] + b'-gz"') if n == b"ETag" else (n, v) for n, v in metadata]
    return [*coded, (b"Content-Encoding", b"gzip")]


def _accepts_gzip(value: bytes) -> bool:
    ranks = {}
    for member in value.lower().split(b","):
        name, _, rank = member.replace(b" ", b"").replace(b"\t", b"").partition(b";q=")
        ranks[name] = float(rank or 1)
    return ranks.get(b"gzip", ranks.get(b"*", 0.0)) > 0


def _precondition(request: Request, tag: bytes, modified: bytes | None) -> int:
    """412, 304, or 0 to proceed (RFC 9110 §13.2.2)."""
    fields = request.fields
    since = parse_date(modified) if modified else None
    if b"if-match" in fields:
        if not _matches(fields[b"if-match"], tag, weak=False):
            return 412
    elif since is not None and b"if-unmodified-since" in fields:
        date = parse_date(fields[b"if-unmodified-since"])
        if date is not None and since > date:
            return 412
    if b"if-none-match" in fields:
        return 304 if _matches(fields[b"if-none-match"], tag, weak=True) else 0
    if since is not None and b"if-modified-since" in fields:
        date = parse_date(fields[b"if-modified-since"])
        return 304 if date is not None and since <= date else 0
    return 0


def _matches(value: bytes, tag: bytes, *, weak: bool) -> bool:
    if value == b"*":
        return True
    if not _TAGS.fullmatch(value):
        return False
    tags: list[bytes] = _ENTITY_TAG.findall(value)
    if weak:
        return tag.removeprefix(b"W/") in [each.removeprefix(b"W/") for each in tags]
    return not tag.startswith(b"W/") and tag in tags


def _ranged(request: Request, whole: Reply, validators: dict[bytes, bytes]) -> Reply:
    """206, 416, or the whole (RFC 9110 §14)."""
    value = request.fields.get(b"range")
    if request.method != b"GET" or value is None:
        return whole
    condition = request.fields.get(b"if-range")
    if condition is not None:
        tag = validators[b"ETag"]
        true = condition == tag and not tag.startswith(b"W/")
        if not true and condition != validators.get(b"Last-Modified"):
            return whole
    size = len(whole.content)
    wanted = _ranges(value, size)
    if wanted is None or len(wanted) > MOST_PARTS:
        return whole
    if not wanted:
        return error(416, (b"Content-Range", b"bytes */%d" % size))
    if sum(stop - start for start, stop in wanted) >= size and len(wanted) > 1:
        return whole
    return _partial(whole, wanted)


def _ranges(value: bytes, size: int) -> list[tuple[int, int]] | None:
    """The satisfiable ranges, coalesced where they touch; None where Range is to be ignored."""
    found = re.fullmatch(rb"(?i:bytes)=(.*)", value)
    if found is None:
        return None
    ranges: list[tuple[int, int]] = []
    for each in found[1].split(b","):
        spec = re.fullmatch(rb"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", each)
        if spec is None:
            return None
        if spec[3]:
            start, stop = max(0, size - int(spec[3])), size
        else:
            start, stop = int(spec[1]), min(int(spec[2] or size) + 1, size)
            if spec[2] and int(spec[2]) < start:
                return None
        if start < stop:
            ranges.append((start, stop))
    return _coalesced(ranges)


def _coalesced(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for new in ranges:
        touching = [new, *(each for each in kept if new[0] <= each[1] and each[0] <= new[1])]
        kept = [each for each in kept if each not in touching]
        kept.append((min(each[0] for each in touching), max(each[1] for each in touching)))
    return kept


def _partial(whole: Reply, wanted: list[tuple[int, int]]) -> Reply:
    size = len(whole.content)
    if len(wanted) == 1:
        start, stop = wanted[0]
        span = (b"Content-Range", b"bytes %d-%d/%d" % (start, stop - 1, size))
        return Reply(206, [*whole.fields, span], whole.content[start:stop])
    kind = dict(whole.fields)[b"Content-Type"]
    content = b"".join(
        b"--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s\r\n"
        % (BOUNDARY, kind, start, stop - 1, size, whole.content[start:stop])
        for start, stop in wanted
    )
    fields = [each for each in whole.fields if each[0] != b"Content-Type"]
    fields.append((b"Content-Type", b"multipart/byteranges; boundary=" + BOUNDARY))
    return Reply(206, fields, content + b"--%s--\r\n" % BOUNDARY)


def error(status: int, *fields: tuple[bytes, bytes]) -> Reply:
    """An answer that says its status in a page."""
    described = [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    return Reply(status, [*described, *fields], b"<!doctype html><title>%d</title>\n" % status)


def encode(request: Request, reply: Reply, persistent: bool) -> bytes:
    """The octets of an answer (RFC 9112 §4 to §6)."""
    lines = [b"HTTP/1.1 %d Because" % reply.status, b"Date: " + http_date(time.time())]
    lines += [name + b": " + value for name, value in reply.fields]
    if reply.status not in (204, 304):
        lines.append(b"Content-Length: %d" % len(reply.content))
    if not persistent:
        lines.append(b"Connection: close")
    elif not request.minor:
        lines.append(b"Connection: keep-alive")
    bare = request.method == b"HEAD" or reply.status in (204, 304)
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if bare else reply.content)


def http_date(epoch: float) -> bytes:
    """An IMF-fixdate."""
    return email.utils.formatdate(int(epoch), usegmt=True).encode()


def parse_date(value: bytes) -> int | None:
    """The epoch second of an HTTP-date of any of the three forms; None if it is none."""
    parts = _date_parts(value)
    if parts is None:
        return None
    year, month, day, hour, minute, second = parts
    if year < 100:
        year += 2000 if 2000 + year <= time.gmtime().tm_year + 50 else 1900
    try:
        seconds = time.strptime(f"{year} {month} {day} {hour} {minute}", "%Y %m %d %H %M")
    except ValueError:
        return None
    return int(email.utils.mktime_tz((*seconds[:6], 0, 0, 0, 0))) + second


def _date_parts(value: bytes) -> tuple[int, int, int, int, int, int] | None:
    for form in _DATES:
        if found := form.fullmatch(value):
            day, month, year, hour, minute, second = found.groups()
            break
    else:
        found = _ASCTIME.fullmatch(value)
        if found is None:
            return None
        month, day, hour, minute, second, year = found.groups()
    return int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)


# Faults that many cases name.


def ignores(*names: bytes) -> Fault:
    """Does not read these fields of a request."""

    def forget(request: Request) -> Request:
        kept = {name: value for name, value in request.fields.items() if name not in names}
        return replace(request, fields=kept)

    return Fault(f"ignores {b', '.join(names).decode()}", request=forget)


def omits(name: bytes, *statuses: int) -> Fault:
    """Leaves a field out: of every answer, or of those with these statuses."""

    def omit(_: Request, octets: bytes) -> bytes:
        if statuses and int(octets[9:12]) not in statuses:
            return octets
        head, end, content = octets.partition(b"\r\n\r\n")
        return re.sub(rb"(?i)\r\n" + name + rb":[^\r]*", b"", head) + end + content

    return Fault(f"omits {name.decode()}", wire=omit)


def says(name: bytes, value: bytes, *statuses: int) -> Fault:
    """Gives a field this value: in every answer, or in those with these statuses."""
    without = omits(name, *statuses).wire
    assert without is not None

    def say(request: Request, octets: bytes) -> bytes:
        if statuses and int(octets[9:12]) not in statuses:
            return octets
        line = b"\r\n" + name + b": " + value
        return without(request, octets).replace(b"\r\n\r\n", line + b"\r\n\r\n", 1)

    return Fault(f"says {name.decode()}: {value.decode('latin-1')}", wire=say)


def answers(status: int, *fields: tuple[bytes, bytes], instead_of: int = 0) -> Fault:
    """Answers with this status: always, or where another one is right."""

    def answer(_: Request, reply: Reply) -> Reply:
        right = instead_of and reply.status != instead_of
        return reply if right else replace(error(status, *fields), closing=reply.closing)

    return Fault(f"answers {status} instead of {instead_of or 'all'}", reply=answer)


def garbles(name: str, pattern: bytes, by: bytes) -> Fault:
    """Sends other octets than it should: the first match of a pattern is replaced."""
    found = re.compile(pattern, re.DOTALL)
    return Fault(name, wire=lambda _, octets: found.sub(by, octets, count=1))


def misreads(name: str, pattern: bytes, by: bytes) -> Fault:
    """Understands other octets than were sent, in a head."""
    found = re.compile(pattern, re.DOTALL)
    return Fault(name, head=lambda head: found.sub(by, head))


def behaves(habit: str) -> Fault:
    """Has one of the habits that `WrongServer` lists."""
    return Fault(habit, habit=habit)


def _some_file() -> Reply:
    """What a server that forgives everything sends for what it did not understand."""
    fields = [(b"ETag", b'"0"'), (b"Accept-Ranges", b"bytes")]
    return Reply(200, fields, b"?")


# Takes whatever it should refuse for a good request without content, and stays connected.
FORGIVES = Fault("forgives whatever it should refuse", refusal=_some_file())
# Ends the connection without a word where an error is due.
HANGS_UP = Fault(
    "hangs up instead of answering with an error",
    wire=lambda _, octets: b"" if octets[9:10] in b"45" else octets,
)
BREAKS = answers(500)  # nothing works
FINDS_NOTHING = answers(404, instead_of=200)
ALWAYS_WHOLE = ignores(b"range")
NEVER_CLOSES = behaves("never closes")
CLOSES_UNSAID = behaves("closes unsaid")
LEAVES_CONTENT = behaves("leaves content")
