"""The request target: from a word of the request line to names to look up. RFC 9112 §3.2.

The path is decoded here, once, and its dot segments are removed here, once; whoever gets a `Target`
can take its segments for names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mpserve.protocol.grammar import TARGET, parse_host
from mpserve.protocol.message import HTTPError


@dataclass(slots=True, frozen=True)
class Target:
    """What a request is about."""

    # Decoded, none of them empty, "." or "..". One that holds b"/" (sent as %2F) names nothing.
    segments: tuple[bytes, ...]
    slash: bool  # the path ends in "/", or in "." or "..", which stand for a directory as well
    query: bytes | None  # as sent, without its "?"
    authority: bytes | None = None  # of the absolute-form and the authority-form, as sent
    asterisk: bool = False  # the server itself is meant, nothing it holds

    def encoded_path(self, slash: bool) -> bytes:
        """The path as a URI has it, with a slash at its end or without, for Location."""
        # No segment is empty, so this never begins with "//", after which a client reads a host.
        path = b"".join([b"/" + _NOT_PCHAR.sub(_escape, segment) for segment in self.segments])
        return path + b"/" if slash or not path else path


# pchar = unreserved / pct-encoded / sub-delims / ":" / "@"
_NOT_PCHAR = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@]")

# pct-encoded = "%" HEXDIG HEXDIG
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_TARGET = re.compile(TARGET)

# absolute-URI = scheme ":" hier-part [ "?" query ], where hier-part has an authority
_ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*+)://([^/?]*+)(.*+)", re.DOTALL)


def parse(method: bytes, target: bytes) -> Target:
    """What the request target of a `method` request means (RFC 9112 §3.2); HTTPError if nothing."""
    if _TARGET.fullmatch(target) is None:
        raise HTTPError(400, "octet that no request target may hold")
    if method == b"CONNECT":
        return _parse_authority_form(target)
    if target.startswith(b"/"):
        return _parse_path_and_query(target)
    if target == b"*":
        return _asterisk(method)
    return _parse_absolute_form(method, target)


def _parse_authority_form(target: bytes) -> Target:
    # §3.2.3: "The authority-form of request-target is only used for CONNECT requests", and CONNECT
    # has no other. authority-form = uri-host ":" port
    if not parse_host(target) or not target.rpartition(b":")[2].isdigit():
        raise HTTPError(400, "CONNECT without host and port")
    return Target((), slash=False, query=None, authority=target)


def _asterisk(method: bytes, authority: bytes | None = None) -> Target:
    # §3.2.4: "The asterisk-form of request-target is only used for a server-wide OPTIONS request".
    if method != b"OPTIONS":
        raise HTTPError(400, "asterisk-form without OPTIONS")
    return Target((), slash=False, query=None, authority=authority, asterisk=True)


def _parse_absolute_form(method: bytes, target: bytes) -> Target:
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise HTTPError(400, "request target in none of the forms")
    scheme, authority, rest = match.groups()
    if scheme.lower() != b"http":
        raise HTTPError(421, "absolute-form with another scheme than http")
    if not parse_host(authority):  # RFC 9110 §4.2.4: user information is an error, too
        raise HTTPError(400, "absolute-form with an invalid authority")
    if method == b"OPTIONS" and not rest:  # §3.2.4: what a proxy turns into "*"
        return _asterisk(method, authority)
    return _parse_path_and_query(rest if rest.startswith(b"/") else b"/" + rest, authority)


def _parse_path_and_query(target: bytes, authority: bytes | None = None) -> Target:
    path, mark, query = target.partition(b"?")
    # The path is cut before it is decoded: a "/" that was sent as %2F is data, it parts nothing.
    segments = path.split(b"/")[1:]
    if b"%" in path:
        segments = [_decode(segment) for segment in segments]
    slash = segments[-1] in (b"", b".", b"..")
    return Target(_without_dots(segments), slash, query if mark else None, authority)


def _decode(segment: bytes) -> bytes:
    """`segment` with its escapes resolved (RFC 3986 §2.1)."""
    if _BROKEN_ESCAPE.search(segment):
        raise HTTPError(400, "broken escape in the path")
    decoded = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), segment)
    if b"\0" in decoded:
        raise HTTPError(400, "NUL in the path")
    return decoded


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


def _without_dots(segments: list[bytes]) -> tuple[bytes, ...]:
    """`segments` without dot segments (RFC 3986 §5.2.4), and then without empty ones."""
    # §2.3: URIs that differ only in the escapes of unreserved characters "are equivalent", so "."
    # and ".." are dot segments however they were sent. An empty segment is one for ".." to take.
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    return tuple(filter(None, kept))
