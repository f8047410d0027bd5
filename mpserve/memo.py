"""The memo: the octets of a head → the answer that the long way made of them.

A client on a persistent connection repeats its head to the octet, and so do all clients of one browser
once the fields are left out that this server never reads. An answer depends on the head, on the site and
on what was seen in the file system; the head is the key, the site is always the same, and the witnesses
say whether what was seen is still so. It is only a memo: with it, the answers are those without it.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from mpserve.counters import place_of
from mpserve.generations import Cost, Generations
from mpserve.protocol.message import About, FileSpan, Piece, Request
from mpserve.witness import Witness

# An entry's own octets: the object, its request, its witnesses, its place in a dictionary.
OVERHEAD: Final = 2000

# The fields that change from client to client and decide nothing but the log. Only lines in the usual
# spelling and without anything that a log would have to escape are left out; any other line stays in the
# key, and its head goes the long way to be judged there. What is taken out lies between the LF of the line
# before and its own, so both must be ends of lines, and neither may belong to the empty line: else a head
# that is malformed, or two of them, could become one that is not. The groups are what the log prints.
VALUE: Final = rb"(?! )[ !#-\[\]-~]++(?<! )"
IGNORED: Final = re.compile(
    rb"\n[UCR](?<=[^\n]\r\n.)(?:ser-Agent: (%b)|ookie: %b|eferer: (%b))\r(?=\n)" % ((VALUE,) * 3)
)
# How many such lines are left out. A head with more has some in its key, and is counted there.
MOST_IGNORED: Final = 3
# What is heard is counted from 0.
NOTHING: Final = -1
# Content up to so many octets is kept in memory and leaves in one call with its head.
MOST_IN_MEMORY: Final = 64 * 1024
# Octets of a file that are sent in one call, without a turn of their own: what the socket of a fast client holds.
MOST_AT_ONCE: Final = 1024 * 1024

# A head that is cut at those lines: what decides, a User-Agent or None, a Referer or None, what decides, and so on.
Parts: TypeAlias = list[bytes]


# Cuts a head at those lines, when MOST_IGNORED is given to it as well.
split: Final = IGNORED.split


def reduce(head: bytes) -> bytes:
    """`head` without the lines that decide nothing."""
    return b"".join(split(head, MOST_IGNORED)[::3])


def own_fields(parts: Parts) -> tuple[bytes | None, bytes | None] | None:
    """The Referer and the User-Agent among the lines that were cut out; None if there are two of one."""
    if len(parts) == 1:
        return None, None
    _, agent, referer = parts[:3]
    for index in range(4, len(parts), 3):
        if value := parts[index]:
            if agent:
                return None
            agent = value
        elif value := parts[index + 1]:
            if referer:
                return None
            referer = value
    return referer, agent


def small_span(pieces: tuple[Piece, ...]) -> FileSpan | None:
    """The only one of `pieces`, if it is a span that may leave in one call."""
    if len(pieces) == 1 and isinstance(pieces[0], FileSpan) and len(pieces[0]) <= MOST_AT_ONCE:
        return pieces[0]
    return None


class Prepared:
    """An answer that can be given again, with the Date of when it was last given."""

    __slots__ = (
        "_date_at",
        "_last_witness",
        "_other_witnesses",
        "about",
        "date_line",
        "end",
        "head_size",
        "heard",
        "length",
        "line",
        "moment",
        "octets",
        "one_span",
        "persistent",
        "pieces",
        "place",
        "plain",
        "request",
        "size",
        "status",
        "told",
        "whole",
    )

    def __init__(
        self,
        request: Request,
        status: int,
        head: bytes,
        date_line: bytes,
        content: tuple[Piece, ...],
        witnesses: tuple[Witness, ...],
        about: About,
        told: bytes,
    ) -> None:
        """`date_line` is one of the lines of `head`; `told`, what the log says of this answer to `about`."""
        small = all(type(piece) is bytes for piece in content)
        self.request = request  # of its fields, those that the log prints and the key holds
        self.line = request.line
        self.status = status
        self.place = place_of(request.method, status)  # the cell that counts it
        # What leaves in one call. It is kept in one piece, and cut once a second for a new Date: to put
        # it together for every request would take longer than all else that Python does for it.
        self.octets = b"".join((head, *content)) if small else head  # type: ignore[arg-type]  # all bytes
        self.date_line = date_line  # the very object, so that `is` tells another second
        self._date_at = head.index(date_line)
        self.pieces = () if small else content  # content that does not fit into memory
        self.one_span = small_span(self.pieces)
        self.head_size = len(head)
        self.length = sum(map(len, content))  # octets of content
        self.whole = self.head_size + self.length  # octets of both
        # Most answers have one, which is reached a little sooner on its own.
        self._last_witness = witnesses[-1] if witnesses else None
        self._other_witnesses = witnesses[:-1]
        self.about = about  # what the log says of a request without the ignored fields
        self.told = told  # the middle of a line, and
        self.end = about.end  # its end without them
        self.persistent = request.persistent
        self.plain = small and request.persistent  # one write, and all is as it was
        self.moment = 0  # as of a witness: all of them agreed
        # What the kernel had told when they did, if all of them are watched: they agree until it tells more.
        self.heard = NOTHING
        self.size = len(self.octets) + OVERHEAD  # octets of memory

    def __repr__(self) -> str:
        return f"<Prepared {self.status} {self.request.line!r} {self._last_witness}>"

    def date(self, date_line: bytes) -> None:
        """Let the answer be given with this Date line, which is as long as every other."""
        start, stop = self._date_at, self._date_at + len(date_line)
        self.octets = b"".join((self.octets[:start], date_line, self.octets[stop:]))
        self.date_line = date_line

    def agrees(self, moment: int, heard: int) -> bool:
        """Whether all witnesses agree at `moment`, before which the kernel had told `heard` (see `watches`)."""
        for witness in self._other_witnesses:
            if not witness.agrees(moment):
                return False
        last = self._last_witness
        if last is not None and last.moment != moment and not last.agrees(moment):
            return False
        self.moment = moment
        # Without a witness it is for nobody to tell.
        if last is not None and last.is_watched() and self._others_are_watched():
            self.heard = heard
        return True

    def _others_are_watched(self) -> bool:
        return all(witness.is_watched() for witness in self._other_witnesses)


class Memo:
    """Answers by what decides them: the head without the lines that decide nothing."""

    __slots__ = ("_longest", "answers")

    def __init__(self, octets: int, files: int, longest: int) -> None:
        self.answers: Generations[bytes, Prepared] = Generations(octets, files)
        self._longest = longest  # octets: a longer head is not a matter for the memo

    def __repr__(self) -> str:
        return f"<Memo {self.answers!r}>"

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self.answers.keeps

    def find(self, head: bytes) -> Prepared | None:
        """The answer to `head`, if one is kept. Its witnesses have not been asked."""
        if len(head) > self._longest:
            return None
        return self.answers.get(head) or self.answers.get(reduce(head))

    def put(self, head: bytes, answer: Prepared) -> None:
        """Keep `answer` as the one to `head`."""
        if len(head) <= self._longest:
            key = reduce(head)
            files = 1 if answer.pieces else 0
            self.answers.put(key, answer, Cost(len(key) + answer.size, files))

    def drop(self, head: bytes) -> None:
        """Forget the answer to `head`."""
        self.answers.drop(reduce(head))

    def clear(self) -> None:
        """Forget everything, and let go of every open file."""
        self.answers.clear()

    def stop(self) -> None:
        """Forget everything, and keep nothing from now on."""
        self.answers.stop()
