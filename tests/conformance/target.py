"""The server that is put to the suite, as a case sees it: connect, send octets, read answers.

Every answer passes the strict reader; what a case has to do is to say which answers are legal.
"""

from __future__ import annotations

import os
import re
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from tests.harness import corpus
from tests.harness.reader import Answer, Closed, Faulty, Reader, Silent

# How long a server that keeps its peace is listened to before it is told that nothing follows.
PAUSE = 0.3

# Files of the corpus that most cases ask for: one of a size that takes some segments, one small.
FILE = "/sizes/65537.bin"
SMALL = "/sizes/1000.bin"
# What a request within the content of another asks for, and nothing else does.
SMUGGLED = "/sizes/1023.bin"
MISSING = "/no-such-file.bin"
DIRECTORY = "/with-index"


class NotApplicable(Exception):
    """The requirement does not bind this server; the text says why."""


class Unusable(Exception):
    """The target cannot be put to the suite at all: one sentence for the person at the terminal."""


@dataclass(frozen=True)
class Facts:
    """What the server does where an RFC leaves it a choice: it decides which cases apply."""

    version: bytes
    persistent: bool
    ranges: bool
    etag: bytes | None  # of FILE
    last_modified: bytes | None


@dataclass
class Connection:
    """One client connection."""

    target: Target
    sock: socket.socket
    reader: Reader

    def send(self, octets: bytes) -> None:
        """Send; a server that has heard enough may have closed already."""
        with suppress(ConnectionError, TimeoutError):
            self.sock.sendall(octets)

    def send_until_answered(self, octets: bytes) -> None:
        """Send, and stop when an answer comes: as a client is to do (RFC 9112 §9.5)."""
        rest = memoryview(octets)
        with suppress(ConnectionError, TimeoutError):
            while rest and not select.select([self.sock], [], [], 0)[0]:
                rest = rest[self.sock.send(rest[:65536]) :]

    def read(self, octets: bytes) -> Answer:
        """The answer to the request that these octets begin with."""
        asked = asked_by(octets)
        length = self.target.length_of(asked.path) if asked.plain else None
        return self.reader.read(asked.method, asked.version, length_of_get=length)

    def ask(self, octets: bytes) -> Answer:
        """Send a request and read its answer."""
        self.send(octets)
        return self.read(octets)

    def read_any(self) -> Answer | None:
        """The answer, if there is one before the connection ends."""
        try:
            return self.reader.read()
        except Closed:
            return None

    def read_interim_or_final(self, octets: bytes) -> Answer | None:
        """The final answer to a request, or None for 100: whichever comes without its content."""
        asked = asked_by(octets)
        return self.reader.read_until_continue(asked.method, asked.version)

    def is_silent(self) -> bool:
        """Does the server keep its peace for a while?"""
        return not select.select([self.sock], [], [], PAUSE)[0]

    def finish_sending(self) -> None:
        """Say that nothing follows; answers can still be read."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Nothing comes after what was read."""
        self.reader.finish()


@dataclass(frozen=True)
class Asked:
    """What the reader needs to know of a request to judge its answer."""

    method: bytes
    path: str
    version: bytes
    plain: bool  # no field that would change what GET sends


_REQUEST_LINE = re.compile(rb"(?:\r\n)*([!-~]+) ([^\r\n]*?) (HTTP/1\.[01])\r\n")


def asked_by(octets: bytes) -> Asked:
    """What these octets ask, as far as they can be understood at all."""
    found = _REQUEST_LINE.match(octets)
    if found is None:
        return Asked(b"GET", "", b"HTTP/1.1", plain=False)
    path = found[2].decode("latin-1")
    plain = b"\r\nrange:" not in octets.lower() and b"\r\naccept-encoding:" not in octets.lower()
    return Asked(found[1], path, found[3], plain)


@dataclass
class Target:
    """A running server that serves the corpus."""

    host: str
    port: int
    root: Path | None = None  # where the corpus lies, if it can be written to from here
    timeout: float = 5.0  # seconds for an answer to begin, and for each further step of it
    strict_static: bool = False
    known_facts: Facts | None = None
    # Faults of single answers, of a server that is not said to be strict: the cases about them count
    # them, the others do not fail for them.
    noted: list[Faulty] = field(default_factory=list)
    _open: list[Connection] = field(default_factory=list)

    def __str__(self) -> str:
        return f"http://{self.authority.decode()}"

    @property
    def authority(self) -> bytes:
        """What Host says to reach it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()

    @contextmanager
    def fresh(self) -> Iterator[Self]:
        """The same target without open connections, for one case; they are closed at its end."""
        mine = replace(self, known_facts=self.facts, noted=[], _open=[])
        try:
            yield mine
        finally:
            for connection in mine._open:
                connection.sock.close()

    # Requests.

    def request(
        self,
        path: str,
        *fields: bytes,
        method: bytes = b"GET",
        version: bytes = b"HTTP/1.1",
        content: bytes | None = None,
        host: bytes | None = None,
    ) -> bytes:
        """A right request: with Host, and with Content-Length where there is content."""
        lines = [method + b" " + path.encode("latin-1") + b" " + version]
        lines.append(b"Host: " + (self.authority if host is None else host))
        lines += fields
        if content is not None:
            lines.append(b"Content-Length: %d" % len(content))
        return b"\r\n".join(lines) + b"\r\n\r\n" + (content or b"")

    def connect(self, *, window: int = 0) -> Connection:
        """A new connection; with a receive buffer of this size, where one is given."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family)
        try:
            if window:  # before it is connected, or it comes too late
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            sock.settimeout(self.timeout)
            sock.connect((self.host, self.port))
        except OSError as error:
            sock.close()
            raise Closed(f"no connection: {error}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        note = None if self.strict_static else self.noted.append
        reader = Reader(sock, timeout=self.timeout, strict_static=self.strict_static, note=note)
        connection = Connection(self, sock, reader)
        self._open.append(connection)
        return connection

    # Answers.

    def ask(self, octets: bytes) -> Answer:
        """The one answer to a request on a connection of its own, and nothing after it."""
        connection = self.connect()
        answer = connection.ask(octets)
        connection.finish()
        return answer

    def get(self, path: str, *fields: bytes, method: bytes = b"GET") -> Answer:
        """The answer to a right request."""
        return self.ask(self.request(path, *fields, method=method))

    def attempt(self, octets: bytes) -> Answer | None:
        """The answer to octets that may deserve none: None if the server ends the connection.

        A server that waits for more is told, after a while, that nothing follows. If it has nothing
        to say even then, there is no answer either.
        """
        answers = self.converse(octets, most=1)
        return answers[0] if answers else None

    def converse(self, octets: bytes, *, most: int = 100) -> list[Answer]:
        """Every answer that comes to these octets, however many requests a server sees in them.

        All are read as answers to GET, unless the octets begin with another method.
        """
        connection = self.connect()
        connection.send(octets)
        answers: list[Answer] = []
        with suppress(Closed):
            while len(answers) < most:
                answers.append(self._next(connection, octets if not answers else b""))
                if answers[-1].closes:
                    break
            connection.finish()
        return answers

    def _next(self, connection: Connection, octets: bytes) -> Answer:
        connection.reader.timeout = min(PAUSE, self.timeout)
        try:
            return connection.read(octets)
        except Silent:
            connection.finish_sending()
        finally:
            connection.reader.timeout = self.timeout
        try:
            return connection.read(octets)
        except Silent as error:
            raise Closed("silence") from error

    # What is known of the corpus and of the server.

    def length_of(self, path: str) -> int | None:
        """The size of a file of the corpus; None for any other path."""
        known = corpus.CORE.get(path.lstrip("/").encode("latin-1"))
        return known.size if known else None

    @cached_property
    def facts(self) -> Facts:
        """What the server does where it has a choice."""
        return self.known_facts or self.probe()

    def probe(self) -> Facts:
        """Look what the server does; raise Unusable if it does not serve the corpus."""
        try:
            plain = self._probe_corpus()
            self._probe_root()
            part = self._probed(self.request(FILE, b"Range: bytes=0-0"))
        except (Faulty, Closed, Silent) as error:
            raise Unusable(f"{self} does not answer a plain GET of {FILE}: {error}") from error
        return Facts(
            version=plain.head.version,
            persistent=not plain.closes,
            ranges=part.status == 206,
            etag=plain.get(b"etag"),
            last_modified=plain.get(b"last-modified"),
        )

    def _probe_root(self) -> None:
        """Is what is made in the root served?"""
        if self.root is None or not os.access(self.root, os.W_OK):
            return
        with self.scratch() as scratch:
            answer = self._probed(self.request(scratch.write("probe.txt", b"probe")))
        if answer.content != b"probe":
            raise Unusable(f"{self} does not serve {self.root}: a file made there is not found")

    def _probe_corpus(self) -> Answer:
        try:
            socket.create_connection((self.host, self.port), timeout=self.timeout).close()
        except OSError as error:
            raise Unusable(f"{self} cannot be reached: {error}") from error
        answer = self._probed(self.request(FILE))
        if answer.status != 200 or answer.content != content_of(FILE):
            raise Unusable(
                f"{self} does not serve the corpus: {FILE} is not there, or holds something else;"
                " ./scripts/make-corpus DIR makes the tree to serve"
            )
        return answer

    def _probed(self, octets: bytes) -> Answer:
        """An answer for the facts: a defect of it is the business of the cases."""
        with replace(self, strict_static=False)._opened() as connection:
            return connection.ask(octets)

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.sock.close()

    def need_persistence(self) -> None:
        """The case is about connections that persist."""
        if not self.facts.persistent:
            raise NotApplicable("the server closes after each answer, and says so")

    def need_ranges(self) -> None:
        """The case is about ranges, which a server may ignore (RFC 9110 §14.2)."""
        if not self.facts.ranges:
            raise NotApplicable("the server ignores Range")

    def need_etag(self) -> bytes:
        """The entity tag of FILE."""
        if self.facts.etag is None:
            raise NotApplicable("the server sends no ETag")
        return self.facts.etag

    def need_strong_etag(self) -> bytes:
        """The entity tag of FILE, which is strong."""
        tag = self.need_etag()
        if tag.startswith(b"W/"):
            raise NotApplicable("the server's ETag is weak")
        return tag

    def need_last_modified(self) -> bytes:
        """Last-Modified of FILE."""
        if self.facts.last_modified is None:
            raise NotApplicable("the server sends no Last-Modified")
        return self.facts.last_modified

    @contextmanager
    def scratch(self) -> Iterator[Scratch]:
        """A directory of the case's own within the corpus; it goes when the case ends."""
        if self.root is None or not os.access(self.root, os.W_OK):
            raise NotApplicable("the root cannot be written to from here")
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=self.root) as name:
            os.chmod(name, 0o755)
            yield Scratch(Path(name))


@contextmanager
def pipe(place: Path) -> Iterator[None]:
    """A pipe that nobody writes to: whoever opens it to read waits, and is released in the end."""
    os.mkfifo(place, 0o644)
    try:
        yield
    finally:
        with suppress(OSError):  # nobody waits
            os.close(os.open(place, os.O_WRONLY | os.O_NONBLOCK))


@dataclass(frozen=True)
class Scratch:
    """Files that a case makes and changes."""

    directory: Path

    def path(self, name: str) -> str:
        """The path of the URL of a file."""
        return f"/{self.directory.name}/{name}"

    def write(self, name: str, content: bytes, *, age: float = 3600.0) -> str:
        """Write a file that was last changed `age` seconds ago; the path of its URL."""
        file = self.directory / name
        file.write_bytes(content)
        file.chmod(0o644)
        modified = time.time() - age
        os.utime(file, (modified, modified))
        return self.path(name)


def content_of(path: str) -> bytes:
    """What the file of the corpus with this plain path holds."""
    return corpus.CORE[path.lstrip("/").encode()].content()
