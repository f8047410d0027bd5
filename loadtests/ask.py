"""A request with what is known about its answer, and the comparison of the two. No socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from loadtests.faults import Fault, Kind
from tests.harness.corpus import File
from tests.harness.reader import Answer, Head, parse_date

LARGE = 1024 * 1024  # content beyond this is compared as it comes, and never kept
DATE_SLACK = 2.0  # seconds: Date counts whole ones, and a server may format it once in a while


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is sent, and what must come back."""

    name: str  # the row of the statistics it belongs to
    target: str
    statuses: tuple[int, ...] = (200,)
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    file: File | None = None  # whose octets a 200 or 206 holds
    span: tuple[int, int] | None = None  # which of them a 206 holds: first, and last plus one
    known: Validators | None = None  # what a 304 must repeat
    closing: bool = False  # the request says so, and the answer must end the connection

    def octets(self, host: str) -> bytes:
        """The request as it is sent."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}", "User-Agent: loadtest"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        # Raw targets may hold any octet; one character here is one octet there.
        return "\r\n".join((*lines, "\r\n")).encode("latin-1")

    @property
    def length_of_get(self) -> int | None:
        """What a Content-Length on HEAD or 304 must say."""
        return None if self.file is None else self.file.size

    def expected_length(self, status: int) -> int | None:
        """How many octets of content an answer of this status has; None where it is not for us to say."""
        if self.method == "HEAD" or status in (204, 304):
            return 0
        if self.file is None or status not in (200, 206):
            return None
        if status == 200:
            return self.file.size
        return None if self.span is None else self.span[1] - self.span[0]

    def first(self, status: int) -> int:
        """Where in the file the content of an answer of this status begins."""
        return self.span[0] if status == 206 and self.span else 0

    @property
    def large(self) -> bool:
        """Is so much content expected that it should not be kept?"""
        return len(self.statuses) == 1 and (self.expected_length(self.statuses[0]) or 0) > LARGE


@dataclass(frozen=True, slots=True)
class Validators:
    """What a cache keeps of an answer, to ask again with."""

    etag: str | None
    modified: str | None

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The conditional request fields a browser sends."""
        found = []
        if self.etag is not None:
            found.append(("If-None-Match", self.etag))
        if self.modified is not None:
            found.append(("If-Modified-Since", self.modified))
        return tuple(found)


def validators(head: Head) -> Validators:
    """The validators of an answer."""
    etag, modified = head.get(b"etag"), head.get(b"last-modified")
    return Validators(
        None if etag is None else etag.decode("latin-1"),
        None if modified is None else modified.decode("latin-1"),
    )


def let_others_run(_: int) -> None:
    """Give the other users of this process their turn: on a loopback the next octets are always there already."""
    time.sleep(0)


@dataclass(slots=True)
class Comparison:
    """Content compared with a file's octets as it comes: a sink for the reader."""

    ask: Ask
    enough: int | None = None  # octets after which nobody reads on
    pace: Callable[[int], object] = let_others_run  # called with the length of each piece
    count: int = 0
    wrong: int | None = None  # the first offset in the file where it was not the file's

    def __call__(self, piece: memoryview) -> None:
        """Called by the reader for each piece, in order."""
        octets = bytes(piece)
        if self.wrong is None and self.ask.file is not None:
            start = self.ask.first(self.ask.statuses[0])
            self.wrong = self.ask.file.difference(octets, start + self.count)
            if self.wrong == start and self._is_the_part(octets):
                raise Fault(Kind.ANSWER, f"{self.ask.target}: a part, where the whole must come")
        self.count += len(octets)
        self.pace(len(octets))
        if self.enough is not None and self.count >= self.enough:
            raise Enough

    def _is_the_part(self, octets: bytes) -> bool:
        """Is this the part that was asked for under a condition that does not hold?"""
        ask = self.ask
        if ask.file is None or ask.span is None or ask.statuses != (200,):
            return False
        return ask.file.difference(octets, ask.span[0]) is None


class Enough(Exception):
    """The client wants no more of this answer."""


@dataclass(slots=True)
class Memory:
    """What the clients of one process have learned of a target, and hold it to."""

    etags: dict[str, bytes | None] = field(default_factory=dict)  # path of a file → its entity tag

    def check_etag(self, file: File, head: Head) -> None:
        """A file that does not change keeps its entity tag, whichever worker is asked."""
        etag = head.get(b"etag")
        path = file.url
        if self.etags.setdefault(path, etag) != etag:
            raise Fault(Kind.ANSWER, f"{path}: ETag was {self.etags[path]!r} and is {etag!r}")


def check(ask: Ask, answer: Answer, comparison: Comparison | None, memory: Memory) -> None:
    """Raise Fault unless `answer`, in which the strict reader found no defect, is an answer to `ask`."""
    status = answer.status
    if status not in ask.statuses:
        wanted = " or ".join(map(str, ask.statuses))
        raise Fault(Kind.ANSWER, f"{ask.method} {ask.target}: {status} instead of {wanted}")
    if status == 304:
        _check_not_modified(ask, answer.head)
    if status == 206:
        _check_content_range(ask, answer.head)
    if status == 416:
        _check_unsatisfied(ask, answer.head)
    _check_content(ask, answer, comparison)
    if ask.file is not None and status in (200, 206):
        memory.check_etag(ask.file, answer.head)


def check_date(head: Head, sent: float, received: float) -> None:
    """Date is when the answer was made: between the request and now, for whoever shares the server's clock."""
    value = head.get(b"date")
    date = None if value is None else parse_date(value)
    if date is not None and not sent - DATE_SLACK <= date <= received + DATE_SLACK:
        raise Fault(Kind.ANSWER, f"Date is {date - received:+.0f} s from now")


def _check_content(ask: Ask, answer: Answer, comparison: Comparison | None) -> None:
    status = answer.status
    length = comparison.count if comparison else len(answer.content)
    expected = ask.expected_length(status)
    if expected is None:
        return
    if length != expected:
        detail = f"{ask.method} {ask.target}: {length} octets of content instead of {expected}"
        raise Fault(Kind.ANSWER, detail)
    if not expected or ask.file is None:
        return
    wrong = (
        comparison.wrong if comparison else ask.file.difference(answer.content, ask.first(status))
    )
    if wrong is not None:
        raise Fault(Kind.OCTETS, f"{ask.target}: the octet at {wrong} is not the file's")


def _check_not_modified(ask: Ask, head: Head) -> None:
    # RFC 9110 §15.4.5: a 304 has the ETag that a 200 to the same request would have had.
    etag = head.get(b"etag")
    wanted = ask.known.etag if ask.known else None
    if wanted is not None and (etag is None or etag.decode("latin-1") != wanted):
        raise Fault(Kind.ANSWER, f"{ask.target}: 304 with ETag {etag!r} instead of {wanted}")


def _check_content_range(ask: Ask, head: Head) -> None:
    if ask.file is None or ask.span is None:
        return
    start, stop = ask.span
    wanted = b"bytes %d-%d/%d" % (start, stop - 1, ask.file.size)
    found = head.get(b"content-range")
    if found != wanted:
        raise Fault(Kind.ANSWER, f"{ask.target}: Content-Range {found!r} instead of {wanted!r}")


def _check_unsatisfied(ask: Ask, head: Head) -> None:
    # RFC 9110 §15.5.17: "SHOULD generate a Content-Range header field specifying the current length"
    found = head.get(b"content-range")
    if ask.file is not None and found not in (None, b"bytes */%d" % ask.file.size):
        raise Fault(Kind.ANSWER, f"{ask.target}: 416 with Content-Range {found!r}")
