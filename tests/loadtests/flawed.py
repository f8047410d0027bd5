"""A small server of the corpus that does one thing wrong, whichever the test names. Without a flaw it is right.

It computes what it serves, so no corpus need be made. One thread for each connection.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

from tests.harness import corpus
from tests.harness.corpus import File
from tests.harness.running import Running

LIMIT = 10.0  # seconds that nothing here takes
RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Said:
    """One answer before it is spoilt and sent."""

    status: int
    content: bytes = b""
    fields: dict[str, str] = field(default_factory=dict)
    file: File | None = None
    length: int | None = None  # what Content-Length says, if not the truth
    after: bytes = b""  # sent behind the message
    late: bytes = b""  # sent behind it, when the test says so
    cut: int | None = None  # octets of the message after which the connection ends
    without_word: bool = False  # the connection ends after the answer, unannounced
    reset: bool = False  # and not politely
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as this server reads it."""

    method: str
    path: bytes
    fields: dict[str, str]


Flaw = Callable[[Asked, Said], Said]


def no_flaw(_: Asked, said: Said) -> Said:
    """Everything as it should be."""
    return said


def wrong_octet(_: Asked, said: Said) -> Said:
    """The last octet of every file is not the file's."""
    if said.file is None or not said.content:
        return said
    return replace(said, content=said.content[:-1] + b"!")


def other_file(_: Asked, said: Said) -> Said:
    """The right number of octets, of another file."""
    if said.file is None or not said.content:
        return said
    return replace(said, content=File(b"another", said.file.size).content()[: len(said.content)])


def short_content(_: Asked, said: Said) -> Said:
    """Content-Length promises more than comes before the connection ends."""
    return replace(said, length=len(said.content) + 9, closing=True) if said.file else said


def short_file(_: Asked, said: Said) -> Said:
    """One octet is missing, and Content-Length agrees."""
    return replace(said, content=said.content[:-1]) if said.file else said


def octets_after(_: Asked, said: Said) -> Said:
    """Something stands behind the message."""
    return replace(said, after=b"and more") if said.file else said


def octets_later(_: Asked, said: Said) -> Said:
    """Something comes behind the message, when the client has looked away."""
    return replace(said, late=b"and more") if said.file else said


def content_after_304(_: Asked, said: Said) -> Said:
    """A 304 has content."""
    return replace(said, after=b"unexpected") if said.status == 304 else said


def content_after_head(asked: Asked, said: Said) -> Said:
    """An answer to HEAD has content."""
    return replace(said, after=b"unexpected") if asked.method == "HEAD" else said


def length_twice(_: Asked, said: Said) -> Said:
    """Content-Length comes twice."""
    return replace(said, fields={**said.fields, "content-length": str(len(said.content))})


def wrong_range(_: Asked, said: Said) -> Said:
    """Content-Range is one off."""
    if said.status != 206 or said.file is None:
        return said
    return replace(said, fields={**said.fields, "Content-Range": f"bytes 1-2/{said.file.size}"})


def ignored_range(asked: Asked, said: Said) -> Said:
    """Range is not read at all."""
    if said.status != 206 or said.file is None:
        return said
    fields = {key: value for key, value in said.fields.items() if key != "Content-Range"}
    return replace(said, status=200, content=said.file.content(), fields=fields)


def changing_etag(_: Asked, said: Said) -> Said:
    """Each answer has a tag of its own, as if every worker made its own."""
    return replace(said, fields={**said.fields, "ETag": f'"{time.monotonic_ns()}"'})


def old_date(_: Asked, said: Said) -> Said:
    """The clock stands still."""
    return replace(said, fields={**said.fields, "Date": email.utils.formatdate(1e9, usegmt=True)})


def server_error(_: Asked, said: Said) -> Said:
    """Files cannot be read."""
    return replace(said, status=500, content=b"no", fields={}) if said.file else said


def closed_without_word(_: Asked, said: Said) -> Said:
    """Every connection ends after one answer, and the answer does not say so."""
    return replace(said, without_word=True)


def stays_open(_: Asked, said: Said) -> Said:
    """A connection that was asked to close stays open, although the answer says otherwise."""
    return replace(said, fields={**said.fields, "Connection": "close"})


def dropped(_: Asked, said: Said) -> Said:
    """The connection ends without an answer."""
    return replace(said, cut=0)


def cut_off(_: Asked, said: Said) -> Said:
    """The connection is reset within the content."""
    return replace(said, cut=300, reset=True) if said.file else said


class FlawedServer(Running):
    """The server: a context manager, listening on `port`."""

    def __init__(self, flaw: Flaw = no_flaw) -> None:
        self.flaw = flaw
        self.requests: list[Asked] = []
        self.looked_away = threading.Event()  # set by the test: now what comes late may come
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._accepting.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for sock in list(self._sockets):
            _shut(sock)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as stream:
            try:
                while (asked := _read(stream)) is not None:
                    self.requests.append(asked)
                    if not self._send(sock, asked, self.flaw(asked, _answer(asked))):
                        break
            except OSError:
                pass  # the client left
        self._sockets.discard(sock)

    def _send(self, sock: socket.socket, asked: Asked, said: Said) -> bool:
        """Send an answer; may the connection go on?"""
        octets = _octets(asked, said)
        sock.sendall(octets[: said.cut])
        if said.reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if said.late:
            self.looked_away.wait(LIMIT)
            sock.sendall(said.late)
        return not (said.closing or said.without_word or said.cut is not None)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _read(stream: object) -> Asked | None:
    lines: list[bytes] = []
    while (line := stream.readline()) not in (b"", b"\r\n"):  # type: ignore[attr-defined]  # a file
        lines.append(line.strip())
    if not lines:
        return None
    method, target, _ = lines[0].decode("latin-1").split(" ")
    pairs = (each.decode("latin-1").partition(":") for each in lines[1:])
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    return Asked(method, unquote_to_bytes(target)[1:], fields)


def _answer(asked: Asked) -> Said:
    closing = asked.fields.get("connection") == "close"
    path = asked.path + b"index.html" if asked.path.endswith(b"/") else asked.path
    if path == corpus.MARKER:
        return Said(200, corpus.marker(load=True), closing=closing)
    file = corpus.TREE.get(path)
    if file is None:
        return Said(404, b"not here", closing=closing)
    said = _answer_with(file, asked)
    return replace(said, closing=closing)


def _answer_with(file: File, asked: Asked) -> Said:
    etag = f'"{file.number:x}"'
    fields = {"ETag": etag, "Accept-Ranges": "bytes"}
    if asked.fields.get("if-none-match") == etag:
        return Said(304, fields=fields)
    wanted = asked.fields.get("range") if asked.method == "GET" else None
    if wanted is None or asked.fields.get("if-range", etag) != etag:
        return Said(200, file.content(), fields, file)
    start, stop = _span(wanted, file.size)
    if start >= file.size:
        return Said(416, fields={"Content-Range": f"bytes */{file.size}"})
    fields["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return Said(206, file.content(start, stop), fields, file)


def _span(value: str, size: int) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
    assert found is not None, value
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size


def _octets(asked: Asked, said: Said) -> bytes:
    fields = {"Date": email.utils.formatdate(usegmt=True), **said.fields}
    if said.status != 304:
        fields["Content-Length"] = str(len(said.content) if said.length is None else said.length)
        fields["X-Content-Type-Options"] = "nosniff"
    if said.closing:
        fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {said.status} Whatever", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    content = b"" if asked.method == "HEAD" or said.status == 304 else said.content
    return "\r\n".join(lines).encode("latin-1") + content + said.after
