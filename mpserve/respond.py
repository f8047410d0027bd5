"""What is answered, and why: RFC 9110 for a server of files.

Nothing here knows a connection, a clock or a file system: the field lines of RFC 9112 and Date are
added by whoever sends the response. Every `return` is one decision, in the order in which the RFC
takes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mpserve import listing
from mpserve.protocol import conditional, ranges, representation
from mpserve.protocol.conditional import Evaluation
from mpserve.protocol.grammar import list_members
from mpserve.protocol.message import REASONS, Response
from mpserve.protocol.representation import Directory, Found, Outcome, Representation, field_lines

if TYPE_CHECKING:
    from mpserve.config import Site
    from mpserve.protocol.message import Request
    from mpserve.protocol.ranges import ByteRange
    from mpserve.protocol.representation import Resource
    from mpserve.protocol.target import Target

HTML = b"text/html; charset=utf-8"

ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")

# The methods of RFC 9110 §9.3, and PATCH (RFC 5789), that are understood and refused.
REFUSED_METHODS = frozenset({b"POST", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PATCH"})

STATUS_OF = {
    Outcome.MISSING: 404,
    Outcome.FORBIDDEN: 403,
    Outcome.BUSY: 503,
    Outcome.LEASED: 503,
    Outcome.OUT_OF_REACH: 503,
    Outcome.FAILED: 500,
    Outcome.NO_SLASH: 308,
}

# Descriptors are given back within moments of being short.
RETRY_AFTER = (b"Retry-After", b"1")  # seconds

# query = *( pchar / "/" / "?" ), and pchar = unreserved / pct-encoded / sub-delims / ":" / "@"
_NOT_IN_QUERY = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?%]|%(?![0-9A-Fa-f]{2})")

_PAGE = (
    b'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    b'<meta name="viewport" content="width=device-width">\n'
    b'<meta name="color-scheme" content="light dark">\n'
    b"<title>%(status)d %(reason)b</title>\n"
    b'<body style="margin: 2rem 1.25rem; font: .8125rem system-ui, sans-serif">\n'
    b"<h1>%(status)d %(reason)b</h1>\n</body>\n</html>\n"
)


def respond(request: Request, target: Target, resource: Resource | None, site: Site) -> Response:
    """The answer to `request`, whose target names `resource`; None where nothing was looked up."""
    if not _meets_expectations(request):  # §10.1.1
        return error(417, site)
    if resource is None:
        return _without_resource(request.method, site)
    if isinstance(resource, Outcome):
        return _without_representation(resource, target, site)

    selected = _select_representation(resource, target, site)  # §12
    evaluation = conditional.evaluate(request, selected.validators)  # §13
    if evaluation is Evaluation.NOT_MODIFIED:
        return Response(304, selected.not_modified_lines + site.fields)
    if evaluation is Evaluation.FAILED:
        return error(412, site)

    wanted = _wanted(request, selected, site)  # §14
    if wanted is ranges.UNSATISFIABLE:
        content_range = ranges.unsatisfied_range(selected.length)
        return error(416, site, _lines(site, (b"Content-Range", content_range)))
    if wanted is None:
        return _whole(selected, site)
    return _part(selected, wanted[0], site) if len(wanted) == 1 else _parts(selected, wanted, site)


def error(status: int, site: Site, lines: bytes = b"") -> Response:
    """An answer that says `status` and nothing else, with the further field `lines`."""
    no_store = _lines(site, (b"Cache-Control", b"no-store"))
    return _page(status, site, no_store + lines)


def unavailable(site: Site) -> Response:
    """An answer that says to come back in a moment (§15.6.4)."""
    return error(503, site, _lines(site, RETRY_AFTER))


def _meets_expectations(request: Request) -> bool:
    """Whether the request expects nothing but what this server can do."""
    expect = request.fields.get(b"expect")
    # §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore
    # that expectation." Nor did HTTP/1.0 know any other.
    if expect is None or request.version == b"HTTP/1.0":
        return True
    return all(member.lower() == b"100-continue" for member in list_members(expect))


def _without_resource(method: bytes, site: Site) -> Response:
    """The answer to a method that is about no resource in particular, or not supported (§9.1)."""
    if method == b"OPTIONS":
        return Response(204, _lines(site, ALLOW) + site.fields)
    if method in REFUSED_METHODS:
        return error(405, site, _lines(site, ALLOW))
    return error(501, site)


def _without_representation(outcome: Outcome, target: Target, site: Site) -> Response:
    """The answer where a lookup found nothing to send."""
    status = STATUS_OF[outcome]
    if outcome is Outcome.NO_SLASH:
        return _page(status, site, _lines(site, (b"Location", _with_slash(target))))
    if status == 503:
        return unavailable(site)
    return error(status, site)


def _select_representation(
    resource: Found | Directory, target: Target, site: Site
) -> Representation:
    """The representation of `resource` that the answer is about. There is only one as yet."""
    if isinstance(resource, Found):
        return resource.representations[0]
    page = listing.page(target.segments, resource.entries, cut=resource.cut)
    return representation.of_bytes(page, HTML, site.replaced)


def _wanted(
    request: Request, selected: Representation, site: Site
) -> list[ByteRange] | ranges.Unsatisfiable | None:
    """The ranges to be sent; None for the whole content."""
    if not conditional.range_applies(request, selected.validators):
        return None
    wanted = ranges.resolve(request.fields[b"range"], selected.length)
    # Several ranges are read by their own Content-Type. Where the operator has set another, there
    # is no way to send them.
    several = isinstance(wanted, list) and len(wanted) > 1
    return None if several and b"content-type" in site.replaced else wanted


def _whole(selected: Representation, site: Site) -> Response:
    length = selected.length
    content = (selected.piece(0, length),) if length else ()
    return Response(200, selected.lines + site.fields, content, length)


def _part(selected: Representation, wanted: ByteRange, site: Site) -> Response:
    """A 206 with one range (§15.3.7.1)."""
    # §15.3.7 would leave out Content-Type and Last-Modified where If-Range shows that the client
    # has them. They are sent: clients that resume a download look for them, and find them
    # everywhere else.
    content_range = _lines(site, (b"Content-Range", ranges.content_range(wanted, selected.length)))
    fields = selected.lines + content_range + site.fields
    return Response(206, fields, (selected.piece(*wanted),), wanted.stop - wanted.start)


def _parts(selected: Representation, wanted: list[ByteRange], site: Site) -> Response:
    """A 206 with several ranges (§15.3.7.2)."""
    multipart = ranges.multipart(selected, wanted)
    if multipart.length >= selected.length:  # with the heads of its parts, it would only be longer
        return _whole(selected, site)
    content_type = _lines(site, (b"Content-Type", multipart.media_type))
    fields = content_type + selected.untyped_lines + site.fields
    return Response(206, fields, multipart.content, multipart.length)


def _page(status: int, site: Site, lines: bytes) -> Response:
    """A page that says `status`, with the field `lines`."""
    page = _PAGE % {b"status": status, b"reason": REASONS[status]}
    about = _lines(site, (b"Content-Type", HTML), (b"X-Content-Type-Options", b"nosniff"))
    return Response(status, about + lines + site.fields, (page,), len(page))


def _with_slash(target: Target) -> bytes:
    """The target with a slash after its path: a Location (§10.2.2) that leads to no other host."""
    path = target.encoded_path(slash=True)
    if target.query is None:
        return path
    return b"%b?%b" % (path, _NOT_IN_QUERY.sub(_percent_encoded, target.query))


def _percent_encoded(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


def _lines(site: Site, *fields: tuple[bytes, bytes]) -> bytes:
    """Field lines of ours; one that the operator gives too is the operator's."""
    return field_lines(fields, site.replaced)
