"""Reading multipart/byteranges (RFC 9110 §14.6, RFC 2046 §5.1.1) as strictly as the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.conformance.expect import require
from tests.harness.reader import Answer

# Content-Range = "bytes" SP first-pos "-" last-pos "/" complete-length
_SPAN = re.compile(rb"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")
# boundary := 0*69<bchars> bcharsnospace
_BCHARS = rb"[0-9A-Za-z'()+_,\-./:=? ]"
_KIND = re.compile(
    rb'(?i)multipart/byteranges[ \t]*;[ \t]*boundary=(?:"(?P<quoted>'
    + _BCHARS
    + rb'{1,70})"|(?P<token>[0-9A-Za-z!#$%&\'*+\-.^_`|~]{1,70}))'
)


@dataclass(frozen=True, slots=True)
class Part:
    """One range of a representation."""

    first: int
    last: int
    complete: int | None
    kind: bytes | None  # Content-Type
    content: bytes


def span_of(value: bytes | None) -> tuple[int, int, int | None]:
    """First, last and complete length of a Content-Range; Unmet where it is none."""
    found = _SPAN.fullmatch(value or b"")
    require(found, f"Content-Range is {value!r}")
    assert found is not None
    first, last = int(found[1]), int(found[2])
    complete = None if found[3] == b"*" else int(found[3])
    require(first <= last and (complete is None or last < complete), f"it is {value!r}")
    return first, last, complete


def parts_of(answer: Answer) -> list[Part]:
    """The parts of a 206, be it one or several; Unmet where it is malformed."""
    kind = answer.get(b"content-type") or b""
    if not kind.lower().startswith(b"multipart/"):
        first, last, complete = span_of(answer.get(b"content-range"))
        require(last - first + 1 == len(answer.content), "the part is not as long as it says")
        return [Part(first, last, complete, kind or None, answer.content)]
    # RFC 9110 §15.3.7.2: "a server MUST NOT generate a Content-Range header field in the HTTP header
    # section of a multiple part response"
    require(answer.get(b"content-range") is None, "Content-Range beside multipart/byteranges")
    found = _KIND.fullmatch(kind)
    require(found, f"Content-Type is {kind!r}")
    assert found is not None
    return [
        _part(each) for each in _encapsulated(answer.content, found["quoted"] or found["token"])
    ]


def _encapsulated(content: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the delimiters."""
    delimiter = b"\r\n--" + boundary
    preamble, *parts = (b"\r\n" + content).split(delimiter)
    require(not preamble.strip(b"\r\n"), "something stands before the first boundary")
    require(parts and parts[-1].startswith(b"--"), "the last boundary is missing")
    require(not parts[-1][2:].strip(b"\r\n"), "something stands after the last boundary")
    require(len(parts) > 1, "there is no part")
    return parts[:-1]


def _part(octets: bytes) -> Part:
    # RFC 2046 §5.1.1: delimiter, transport padding, CRLF, and then the head of the part.
    line, found, rest = octets.partition(b"\r\n")
    require(found and not line.strip(b" \t"), "a boundary does not end its line")
    head, found, content = rest.partition(b"\r\n\r\n")
    require(found, "a part has no head")
    fields: dict[bytes, bytes] = {}
    for each in head.split(b"\r\n"):
        name, colon, value = each.partition(b":")
        require(colon and name and name == name.strip(), f"a part has {each!r} for a field")
        fields[name.lower()] = value.strip(b" \t")
    first, last, complete = span_of(fields.get(b"content-range"))
    require(last - first + 1 == len(content), "a part is not as long as it says")
    return Part(first, last, complete, fields.get(b"content-type"), content)
