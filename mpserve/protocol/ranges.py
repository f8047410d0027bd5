r"""Byte ranges: Range, Content-Range and multipart/byteranges. RFC 9110 §14, §15.3.7.

A 206 with several ranges has this content; the octets between an empty line and the next delimiter
are cut from the representation, the rest is made here:

    --BOUNDARY\r\n
    Content-Type: text/plain\r\n
    Content-Range: bytes 0-99/1610\r\n
    \r\n
    octets 0 to 99\r\n
    --BOUNDARY\r\n
    ...
    --BOUNDARY--\r\n
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from mpserve.protocol.grammar import list_members

if TYPE_CHECKING:
    from mpserve.protocol.message import Piece
    from mpserve.protocol.representation import Representation

# §15.3.7.2: "the typical overhead between each part of a multipart/byteranges is around 80 bytes".
# A gap that is smaller costs less to send than to leave out.
PART_OVERHEAD = 80

# No viewer of documents or videos asks for so many places at once. Who asks for more gets it all.
MAX_PARTS = 16

# range-spec = int-range / suffix-range; the bytes unit has no other-range
# int-range = first-pos "-" [ last-pos ]
# suffix-range = "-" suffix-length
_RANGE_SPEC = re.compile(rb"([0-9]*+)-([0-9]*+)")

# No file is longer than 2**63 - 1 octets, which has 19 digits.
_LENGTH_DIGITS = 19


class ByteRange(NamedTuple):
    """The octets `start` (included) to `stop` (excluded)."""

    start: int
    stop: int


class Unsatisfiable(Enum):
    """No octet of the representation was asked for: 416."""

    UNSATISFIABLE = "UNSATISFIABLE"


UNSATISFIABLE: Final = Unsatisfiable.UNSATISFIABLE


class Multipart(NamedTuple):
    """The content of a 206 with several ranges."""

    media_type: bytes
    content: tuple[Piece, ...]
    length: int


class _RangeSpec(NamedTuple):
    """A range-spec as it was written: digits, or nothing."""

    first: bytes
    last: bytes  # of a suffix-range, the suffix-length


def resolve(value: bytes, length: int) -> list[ByteRange] | Unsatisfiable | None:
    """What the Range field `value` asks of `length` octets; None if it is to be ignored.

    Several ranges are joined where they overlap or nearly touch; what is left keeps the order in
    which it was asked for.
    """
    specs = _parse(value)
    if specs is None:
        return None
    ranges = [wanted for spec in specs if (wanted := _select(spec, length)) is not None]
    if not ranges:
        return UNSATISFIABLE
    if length == 0:
        # §14.1.2: of no octets, a suffix that is not zero is the one satisfiable range. But there
        # is no Content-Range that could say so.
        return None
    if len(specs) == 1:
        return ranges
    ranges = _coalesce(ranges)
    if len(ranges) > MAX_PARTS or sum(stop - start for start, stop in ranges) >= length:
        return None
    return ranges


def content_range(wanted: ByteRange, length: int) -> bytes:
    """The Content-Range of one range in `length` octets."""
    return b"bytes %d-%d/%d" % (wanted.start, wanted.stop - 1, length)


def unsatisfied_range(length: int) -> bytes:
    """The Content-Range of a 416 (§15.5.17)."""
    return b"bytes */%d" % length


def multipart(representation: Representation, ranges: list[ByteRange]) -> Multipart:
    """Several ranges of a representation as multipart/byteranges (§14.6)."""
    boundary = _boundary(representation, ranges)
    content: list[Piece] = []
    delimiter = b"--" + boundary
    for wanted in ranges:
        head = b"%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (
            delimiter,
            representation.media_type,
            content_range(wanted, representation.length),
        )
        content += (head, representation.piece(*wanted))
        delimiter = b"\r\n--" + boundary
    content.append(delimiter + b"--\r\n")
    media_type = b"multipart/byteranges; boundary=" + boundary
    return Multipart(media_type, tuple(content), sum(len(piece) for piece in content))


def _parse(value: bytes) -> list[_RangeSpec] | None:
    """The members of a ranges-specifier; None if it is malformed, invalid, or of another unit."""
    # ranges-specifier = range-unit "=" range-set, and range-set = 1#range-spec; the names of units
    # are case-insensitive (§14.1).
    unit, _equals, range_set = value.partition(b"=")
    if unit.lower() != b"bytes":
        return None
    specs = []
    for member in list_members(range_set):
        match = _RANGE_SPEC.fullmatch(member)
        # §14.1.1: "A ranges-specifier is invalid if it contains any range-spec that is invalid or
        # undefined for the indicated range-unit."
        if match is None or _is_invalid(spec := _RangeSpec(match[1], match[2])):
            return None
        specs.append(spec)
    return specs or None


def _is_invalid(spec: _RangeSpec) -> bool:
    """Whether `spec` has no digits at all, or its last-pos is less than its first-pos (§14.1.1)."""
    if not spec.first or not spec.last:
        return spec.first == spec.last
    # Numbers of any size are compared as they are written, for int() refuses more than 4300 digits.
    first, last = spec.first.lstrip(b"0"), spec.last.lstrip(b"0")
    return (len(last), last) < (len(first), first)


def _select(spec: _RangeSpec, length: int) -> ByteRange | None:
    """The part of `length` octets that `spec` names; None if it is unsatisfiable (§14.1.2)."""
    if not spec.first:
        suffix_length = _at_most(length, spec.last)
        return ByteRange(length - suffix_length, length) if spec.last.strip(b"0") else None
    start = _at_most(length, spec.first)
    stop = _at_most(length - 1, spec.last) + 1 if spec.last else length
    return ByteRange(start, stop) if start < length else None


def _at_most(limit: int, digits: bytes) -> int:
    """The number that `digits` write, or `limit` if that is less."""
    significant = digits.lstrip(b"0")
    if len(significant) > _LENGTH_DIGITS:
        return limit
    return min(limit, int(significant or b"0"))


def _coalesce(ranges: list[ByteRange]) -> list[ByteRange]:
    """`ranges` with those joined that overlap, touch, or have a gap smaller than a part's overhead.

    §15.3.7.2: the parts come "in the same order that the corresponding range-spec appeared", and a
    joined one takes the place of the first that went into it.
    """
    joined: list[tuple[int, ByteRange]] = []  # with the place of each in the request
    for place, wanted in sorted(enumerate(ranges), key=itemgetter(1)):
        if joined and wanted.start - joined[-1][1].stop < PART_OVERHEAD:
            first, (start, stop) = joined[-1]
            joined[-1] = (min(first, place), ByteRange(start, max(stop, wanted.stop)))
        else:
            joined.append((place, wanted))
    return [wanted for _place, wanted in sorted(joined)]


def _boundary(representation: Representation, ranges: list[ByteRange]) -> bytes:
    """A line that occurs nowhere in the octets that it parts."""
    # A hash of what tells this answer from any other: 128 bits do not occur by accident. Whoever
    # works it out beforehand, to forge a part of the file, has written the file and may as well
    # forge that. And as it is not drawn by lot, every worker gives the same answer to the same
    # request.
    validators = representation.validators
    identity = (validators.etag, validators.last_modified, representation.length, tuple(ranges))
    return hashlib.blake2b(repr(identity).encode(), digest_size=16).hexdigest().encode()
