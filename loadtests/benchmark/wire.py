"""One raw connection: asks what a workload asks, and compares the answers octet by octet."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Self

from loadtests.benchmark.workloads import Ask, Workload

PATIENCE = 10.0  # seconds for an answer
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Differs(Exception):
    """A server answers otherwise than the workload expects; nothing of it may be timed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it came over the wire."""

    status: int
    fields: dict[bytes, bytes]  # names in lower case
    content: bytes
    head: bytes

    @property
    def octets(self) -> bytes:
        return self.head + self.content


class Wire:
    """A connection that reads answers with a Content-Length, one after the other."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), timeout=PATIENCE)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, octets: bytes) -> Answer:
        self.sock.sendall(octets)
        return self.read()

    def read(self) -> Answer:
        """The next answer, whole."""
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        head, self.buffer = split_after(self.buffer, b"\r\n\r\n")
        status, fields = parse(head)
        length = 0 if status == 304 else content_length(fields)
        while len(self.buffer) < length:
            self.receive()
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(status, fields, content, head)

    def receive(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise Differs("the connection ended before the answer did")
        self.buffer += data

    def ended(self) -> bool:
        """Does nothing follow but the end of the connection? Waits for it."""
        return not self.buffer and self.sock.recv(1) == b""


def split_after(octets: bytes, mark: bytes) -> tuple[bytes, bytes]:
    at = octets.index(mark) + len(mark)
    return octets[:at], octets[at:]


def parse(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Status and fields of a response head."""
    found = STATUS_LINE.match(head)
    if found is None:
        raise Differs(f"no HTTP/1.1 status line: {head[:40]!r}")
    lines = head[:-4].split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines)
    return int(found.group(1)), {name.lower(): value.strip() for name, _, value in pairs}


def content_length(fields: dict[bytes, bytes]) -> int:
    value = fields.get(b"content-length", b"")
    if not value.isdigit():
        raise Differs("no Content-Length")
    return int(value)


def conditions(host: str, port: int, workload: Workload) -> tuple[str, ...]:
    """The fields that make the workload's requests conditional, as this server's validators want them."""
    if not workload.conditional:
        return ()
    with Wire(host, port) as wire:
        fields = wire.ask(workload.asks()[0].head()).fields
    if b"etag" not in fields or b"last-modified" not in fields:
        raise Differs("no ETag and Last-Modified to revalidate with")
    return (
        f"If-None-Match: {fields[b'etag'].decode()}",
        f"If-Modified-Since: {fields[b'last-modified'].decode()}",
    )


def verify(host: str, port: int, workload: Workload) -> tuple[list[bytes], Answer]:
    """The heads of the workload, each asked once and answered right, and the last answer.

    Raises Differs when one was not.
    """
    more = conditions(host, port, workload)
    asks = workload.asks()
    heads = [ask.head(more) for ask in asks]
    try:
        return heads, verify_each(host, port, workload, asks, heads)
    except OSError as error:
        raise Differs(f"the connection failed: {error}") from error


def verify_each(
    host: str, port: int, workload: Workload, asks: list[Ask], heads: list[bytes]
) -> Answer:
    if workload.closing:
        with Wire(host, port) as wire:
            answer = compare(wire.ask(heads[0]), asks[0], workload)
            if not wire.ended():
                raise Differs("the connection stays open after an answer that should end it")
        return answer
    with Wire(host, port) as wire:
        for ask, head in zip(asks, heads, strict=True):
            # The depth is asked of all: each connection has to persist to the end of the batch.
            wire.sock.sendall(head * workload.depth)
            for _ in range(workload.depth):
                answer = compare(wire.read(), ask, workload)
        # One more, so that a connection that ends after its first answer is noticed.
        return compare(wire.ask(heads[-1]), asks[-1], workload)


def compare(answer: Answer, ask: Ask, workload: Workload) -> Answer:
    """The answer, when it is the one that the workload expects."""
    if answer.status != workload.status:
        raise Differs(f"{ask.target} was answered {answer.status}, not {workload.status}")
    if ask.content is not None and answer.content != ask.content:
        raise Differs(
            f"{ask.target}: other content than the file's"
            f" ({len(answer.content)} octets for {len(ask.content)})"
        )
    return answer
