"""Which answers may be given again from the memo, and what is kept of them.

All there is to know about such a request is in its head. Of its fields, those that decide nothing are each
client's own, and are not kept.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Final, NamedTuple

from mpserve.logformat import SAID, Layout
from mpserve.memo import MOST_IGNORED, MOST_IN_MEMORY, Parts, Prepared, own_fields, split
from mpserve.protocol.http1 import Limits
from mpserve.protocol.message import FileSpan, Piece, Request
from mpserve.readahead import is_cold
from mpserve.witness import Witness, sight_of

# Requests with one of these have content, or may wait for an answer before they send it.
NOT_IN_THE_HEAD: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class Made(NamedTuple):
    """What the long way has made of a request."""

    request: Request
    status: int
    head: bytes
    content: tuple[Piece, ...]
    witnesses: tuple[Witness, ...] | None  # None: nobody could say whether it still holds


def prepare(
    octets: bytes, made: Made, date_line: bytes, layout: Layout, limits: Limits
) -> Prepared | None:
    """The answer to the head `octets` as it is kept; None, if it may not be repeated."""
    if made.witnesses is None:
        return None
    parts = split(octets, MOST_IGNORED)
    fields = _kept_fields(parts, made.request.fields)
    if fields is None or not _may_repeat(octets, parts, made.request, limits):
        return None
    request = dataclasses.replace(made.request, fields=fields)
    content = read_spans(made.content, made.witnesses)
    about = layout.about(request.line, fields)
    told = layout.exchange(about, made.status, sum(map(len, content)))
    return Prepared(
        request, made.status, made.head, date_line, content, made.witnesses, about, told
    )


def _may_repeat(octets: bytes, parts: Parts, request: Request, limits: Limits) -> bool:
    """Whether all there is to know about the request is in its head, and every limit is kept."""
    if not octets.startswith(b"%b\r\n" % request.line):
        return False
    if request.method not in (b"GET", b"HEAD") or request.fields.keys() & NOT_IN_THE_HEAD:
        return False
    lines = b"".join(parts[::3]).count(b"\r\n") - 2 + MOST_IGNORED
    return lines <= limits.fields


def _kept_fields(parts: Parts, fields: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """Of `fields`, those that the log prints and the key of a head of these `parts` holds.

    The ignored ones are each client's own. None: which is which cannot be told.
    """
    own = own_fields(parts)
    if own is None:
        return None
    kept = {}
    for name, ignored in zip(SAID.values(), own, strict=True):
        value = fields.get(name)
        if ignored is None and value is not None:
            kept[name] = value
        elif ignored != value:
            return None
    return kept


def read_spans(pieces: tuple[Piece, ...], witnesses: tuple[Witness, ...]) -> tuple[Piece, ...]:
    """`pieces` with their octets in memory, where those are few and the file is as its witness saw it."""
    if sum(map(len, pieces)) > MOST_IN_MEMORY:
        return pieces
    if any(is_cold(piece) for piece in pieces if isinstance(piece, FileSpan)):
        return pieces
    read = tuple(piece if isinstance(piece, bytes) else octets_of(piece) for piece in pieces)
    files = {piece.file for piece in pieces if isinstance(piece, FileSpan)}
    unchanged = all(sight_of(os.fstat(file.fd)) == witnesses[-1].sight for file in files)
    return read if unchanged and sum(map(len, read)) == sum(map(len, pieces)) else pieces


def octets_of(span: FileSpan) -> bytes:
    """The octets of `span`; fewer where the file has become shorter."""
    return os.pread(span.file.fd, len(span), span.start)
