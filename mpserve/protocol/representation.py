"""What a request target names: a resource and its representations. RFC 9110 §3.1, §3.2 and §8.

A representation carries its field lines ready rendered: they depend on nothing that a request says.
They are made once, from what was found on the very descriptor that is sent, so length, validators
and octets cannot disagree.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mpserve.protocol.grammar import http_date
from mpserve.protocol.message import FileSpan, OpenFile, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Time stamps have a granularity: 4 to 10 ms on most file systems, 2 s on the coarsest. A file
# younger than that may be written once more and keep its mtime: until it has settled, no validator
# made of its mtime is a strong one.
SETTLE_TIME = 2.0  # seconds

# Nix, OCI images and reproducible builds set every mtime to 0 or 1 s. That is no modification date;
# and with nothing but the size to go by, two versions of a file would share one entity-tag. Such a
# file has no validators.
MEANINGLESS_MTIME = 1  # seconds, and anything below

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a representation from another (RFC 9110 §8.8)."""

    etag: bytes | None  # as sent: quoted, W/ in front of a weak one
    last_modified: int | None  # epoch seconds, as sent
    seen_at: int  # epoch seconds of the stat: the present, where a precondition needs one


@dataclass(frozen=True, slots=True)
class Representation:
    """The octets of a resource as they would be sent now, and all that is said about them."""

    media_type: bytes
    length: int
    validators: Validators
    lines: bytes  # the field lines of a 200, and of a 206 with one range
    untyped_lines: bytes  # the same without Content-Type: a 206 with several ranges has its own
    not_modified_lines: bytes  # the field lines of a 304
    source: OpenFile | bytes

    def piece(self, start: int, stop: int) -> Piece:
        """The octets `start` (included) to `stop` (excluded)."""
        if isinstance(self.source, bytes):
            return self.source[start:stop]
        return FileSpan(self.source, start, stop)


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that has representations. It owns what they are sent from."""

    representations: tuple[Representation, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    name: bytes
    is_dir: bool
    size: int
    mtime: int  # epoch seconds


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that is represented by the list of its entries."""

    entries: tuple[Entry, ...]
    cut: bool = False  # there are more than are listed


class Outcome(Enum):
    """Why a lookup found nothing to represent."""

    MISSING = auto()
    FORBIDDEN = auto()
    BUSY = auto()  # out of descriptors or memory: another time
    LEASED = auto()  # another process holds a lease on it: another time
    OUT_OF_REACH = auto()  # this process may not read it: another one, another time
    FAILED = auto()
    NO_SLASH = auto()  # a directory, asked for without the slash at its end


Resource: TypeAlias = Found | Directory | Outcome


class Facts(NamedTuple):
    """What the fields of a representation are made of."""

    media_type: bytes
    validators: Validators


class FieldRow(NamedTuple):
    """One field of a representation: its value in a 200 or 206, and in a 304. None: not sent."""

    name: bytes
    in_full: Callable[[Facts], bytes | None]
    in_not_modified: Callable[[Facts], bytes | None]


def of_file(
    file: OpenFile,
    size: int,
    mtime_ns: int,
    media_type: bytes,
    now: float,
    site_replaced: frozenset[bytes],
) -> Representation:
    """What the open `file` holds; `size` and `mtime_ns` are its descriptor's at `now`."""
    mtime = mtime_ns // _NANOSECONDS
    etag: bytes | None = None
    last_modified: int | None = None
    if mtime > MEANINGLESS_MTIME:
        settled = abs(now - mtime_ns / _NANOSECONDS) >= SETTLE_TIME
        etag = b'%b"%x-%x"' % (b"" if settled else b"W/", mtime_ns, size)
        # §8.8.2.1: a clock that is behind its files must not date them later than the response.
        last_modified = min(mtime, int(now))
    validators = Validators(etag, last_modified, int(now))
    return _representation(media_type, size, validators, file, site_replaced)


def of_bytes(content: bytes, media_type: bytes, replaced: frozenset[bytes]) -> Representation:
    """`content` itself: its entity-tag is a hash of it, and it has no modification date."""
    etag = b'"%b"' % hashlib.blake2b(content, digest_size=16).hexdigest().encode()
    return _representation(media_type, len(content), Validators(etag, None, 0), content, replaced)


def field_lines(fields: Iterable[tuple[bytes, bytes | None]], replaced: frozenset[bytes]) -> bytes:
    """`fields` as field lines; without those that have no value, and those that are `replaced`."""
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in fields
        if value is not None and name.lower() not in replaced
    )


def _representation(
    media_type: bytes,
    length: int,
    validators: Validators,
    source: OpenFile | bytes,
    replaced: frozenset[bytes],
) -> Representation:
    sent = _without(replaced, validators)
    facts = Facts(media_type, sent)
    full = [(row.name, row.in_full(facts)) for row in FIELD_LINES]
    untyped = [(name, value) for name, value in full if name != b"Content-Type"]
    not_modified = [(row.name, row.in_not_modified(facts)) for row in FIELD_LINES]
    return Representation(
        media_type=media_type,
        length=length,
        validators=sent,
        lines=field_lines(full, replaced),
        untyped_lines=field_lines(untyped, replaced),
        not_modified_lines=field_lines(not_modified, replaced),
        source=source,
    )


def _without(replaced: frozenset[bytes], validators: Validators) -> Validators:
    """`validators` as clients get them: the operator's own say nothing about the octets."""
    return Validators(
        None if b"etag" in replaced else validators.etag,
        None if b"last-modified" in replaced else validators.last_modified,
        validators.seen_at,
    )


def _last_modified(facts: Facts) -> bytes | None:
    last_modified = facts.validators.last_modified
    return None if last_modified is None else http_date(last_modified)


def _last_modified_for_want_of_etag(facts: Facts) -> bytes | None:
    # §15.4.5: a 304 leaves out what the client has already; "Last-Modified might be useful if the
    # response does not have an ETag field".
    return _last_modified(facts) if facts.validators.etag is None else None


def _etag(facts: Facts) -> bytes | None:
    return facts.validators.etag


def _absent(_facts: Facts) -> None:
    return None


FIELD_LINES = (
    FieldRow(b"Content-Type", lambda facts: facts.media_type, _absent),
    FieldRow(b"X-Content-Type-Options", lambda _facts: b"nosniff", _absent),
    FieldRow(b"Last-Modified", _last_modified, _last_modified_for_want_of_etag),
    FieldRow(b"ETag", _etag, _etag),
    FieldRow(b"Accept-Ranges", lambda _facts: b"bytes", _absent),
)
