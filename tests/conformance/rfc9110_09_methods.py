"""RFC 9110 §9, Methods: GET and HEAD are there, the others are refused in the right way."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_refused, expect_whole, require
from tests.conformance.target import (
    DIRECTORY,
    FILE,
    MISSING,
    SMALL,
    NotApplicable,
    Target,
    content_of,
)
from tests.conformance.wrong_server import (
    ALLOW,
    BREAKS,
    FINDS_NOTHING,
    Fault,
    Request,
    answers,
    garbles,
)


@must(
    FINDS_NOTHING,
    BREAKS,
    rows={
        "a file": FILE,
        "the index of the root": "/index.html",
        "a file far below": "/a/b/c/d/e/f/g/h/deep.txt",
        "a file without a suffix": "/names/no-extension",
        "a file with two suffixes": "/names/two.dots.tar.gz",
    },
)
def get_is_supported(target: Target, path: str) -> None:
    """RFC 9110 §9.1: "All general-purpose servers MUST support the methods GET and HEAD. All other
    methods are OPTIONAL."
    """
    expect_whole(target.get(path), path)


@must(FINDS_NOTHING, BREAKS, rows={"a file": FILE, "a small file": SMALL, "an index": "/"})
def head_is_supported(target: Target, path: str) -> None:
    """RFC 9110 §9.1: "All general-purpose servers MUST support the methods GET and HEAD. All other
    methods are OPTIONAL."
    """
    expect(target.get(path, method=b"HEAD"), 200)


@should(
    answers(405, ALLOW, instead_of=501),
    rows={
        "BREW": b"BREW",
        "a name of all the octets that may be": b"!#$%&'*+-.^_`|~0Aa",
        "one letter": b"X",
        "GET with more": b"GETX",
    },
)
def a_method_nobody_knows_is_501(target: Target, method: bytes) -> None:
    """RFC 9110 §9.1: "An origin server that receives a request method that is unrecognized or not
    implemented SHOULD respond with the 501 (Not Implemented) status code."
    """
    expect(target.attempt(target.request(FILE, method=method)), 501)


METHODS = {name: name.encode() for name in ("POST", "PUT", "DELETE", "PATCH")}


@should(answers(200, instead_of=405), rows=METHODS)
def a_method_that_is_not_allowed_is_refused(target: Target, method: bytes) -> None:
    """RFC 9110 §9.1: "An origin server that receives a request method that is recognized and
    implemented, but not allowed for the target resource, SHOULD respond with the 405 (Method Not
    Allowed) status code"; 501 is for one that is not implemented, 403 for one that is forbidden.
    """
    answer = target.ask(target.request(FILE, method=method, content=b"a=b"))

    expect(answer, 405, 501, 403)


@must(
    garbles("does what it is asked to", rb"^HTTP/1\.1 405", b"HTTP/1.1 200"),
    rows={"PUT": b"PUT", "DELETE": b"DELETE", "PATCH": b"PATCH"},
)
def a_method_that_would_change_a_file_does_not(target: Target, method: bytes) -> None:
    """RFC 9110 §9.3.4: only where a representation "is successfully modified in accordance with the
    state of the enclosed representation, then the origin server MUST send either a 200 (OK) or a
    204 (No Content) response": static content is not, and no success is claimed.
    """
    answer = target.ask(target.request(FILE, method=method, content=b"changed"))

    expect_refused(answer)
    expect_whole(target.get(FILE), FILE)


@must(garbles("lets content choose", rb"\r\n\r\n.", b"\r\n\r\n?"), rows={"GET": b"GET"})
def content_does_not_change_what_get_means(target: Target, method: bytes) -> None:
    """RFC 9110 §9.3.1: "content received in a GET request has no generally defined semantics,
    cannot alter the meaning or target of the request, and might lead some implementations to reject
    the request and close the connection".
    """
    answer = target.ask(target.request(FILE, method=method, content=b"path=/sizes/1.bin"))

    if not 400 <= answer.status < 500:
        expect_whole(answer, FILE)


@must(
    garbles("sends content to HEAD", rb"\Z", b"content"),
    rows={
        "a file": FILE,
        "an empty file": "/sizes/0.bin",
        "a large file": "/sizes/1048577.bin",
        "nothing": MISSING,
        "a directory": DIRECTORY,
    },
)
def head_sends_no_content(target: Target, path: str) -> None:
    """RFC 9110 §9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send
    content in the response."
    """
    target.get(path, method=b"HEAD")


@must(
    garbles("sends content to HEAD", rb"\Z", b"content"),
    rows={
        "an invalid Host": b"HEAD / HTTP/1.1\r\nHost: in valid\r\n\r\n",
        "no Host": b"HEAD / HTTP/1.1\r\n\r\n",
        "a field that is none": b"HEAD / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
    },
)
def head_sends_no_content_with_400(target: Target, request: bytes) -> None:
    """RFC 9110 §9.3.2: "the server MUST NOT send content in the response": the method was
    understood, whatever else was not.
    """
    target.attempt(request)


SAME = (
    b"content-type",
    b"content-length",
    b"content-encoding",
    b"content-language",
    b"etag",
    b"last-modified",
    b"accept-ranges",
    b"cache-control",
    b"expires",
    b"vary",
    b"location",
    b"x-content-type-options",
)


def forgets_fields(request: Request, octets: bytes) -> bytes:
    if request.method != b"HEAD":
        return octets
    return octets.replace(b"Content-Type", b"X-Type").replace(b"Location", b"X-Location")


@should(
    Fault("sends other fields to HEAD", wire=forgets_fields),
    rows={
        "a file": FILE,
        "an empty file": "/sizes/0.bin",
        "a page": "/index.html",
        "nothing": MISSING,
        "a directory": DIRECTORY,
        "an index": "/with-index/",
    },
)
def head_sends_the_fields_of_get(target: Target, path: str) -> None:
    """RFC 9110 §9.3.2: "The server SHOULD send the same header fields in response to a HEAD request
    as it would have sent if the request method had been GET."
    """
    got, head = target.get(path), target.get(path, method=b"HEAD")

    expect(head, got.status)
    for name in SAME:
        left, right = got.get(name), head.get(name)
        omitted = right is None and name in (b"content-length", b"vary")
        same = left == right or omitted
        require(same, f"{name.decode()} is {left!r} for GET and {right!r} for HEAD")


@must(
    garbles("opens a tunnel", rb"^HTTP/1\.1 405.*", b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
    rows={"a name": "example.org:443", "an address": "127.0.0.1:22", "IPv6": "[::1]:80"},
)
def connect_is_refused(target: Target, authority: str) -> None:
    """RFC 9110 §9.3.6: "An origin server MAY accept a CONNECT request, but most origin servers do
    not implement CONNECT": who serves files does not, and opens no tunnel.
    """
    request = target.request(authority, method=b"CONNECT", host=authority.encode())
    connection = target.connect()
    answer = connection.ask(request)

    expect_refused(answer)


def forgets_allow(request: Request, octets: bytes) -> bytes:
    return octets.replace(b"Allow", b"X-Allow") if request.method == b"OPTIONS" else octets


@should(
    Fault("does not tell what it allows", wire=forgets_allow),
    rows={"a file": FILE, "a directory": "/with-index/"},
)
def an_answer_to_options_tells_what_is_allowed(target: Target, path: str) -> None:
    """RFC 9110 §9.3.7: "A server generating a successful response to OPTIONS SHOULD send any header
    that might indicate optional features implemented by the server and applicable to the target
    resource (e.g., Allow)".
    """
    answer = target.get(path, method=b"OPTIONS")
    if not 200 <= answer.status < 300:
        raise NotApplicable("the server does not answer OPTIONS")

    require(b"get" in answer.head.members(b"allow"), f"Allow is {answer.get(b'allow')!r}")


@should(
    garbles("reflects what is secret", rb"^HTTP/1\.1 405", b"HTTP/1.1 200 OK\r\nX-Cookie: secret="),
)
def trace_does_not_reflect_what_is_secret(target: Target) -> None:
    """RFC 9110 §9.3.8: "The final recipient of the request SHOULD exclude any request fields that
    are likely to contain sensitive data when that recipient generates the response content."
    """
    fields = (b"Cookie: secret=5", b"Authorization: Basic c2VjcmV0PQ==")
    answer = target.get(FILE, *fields, method=b"TRACE")

    if 200 <= answer.status < 300:
        shown = b"secret=" in answer.content + answer.head.octets
        require(not shown, "the answer to TRACE holds the cookie")
        require(answer.content != content_of(FILE), "TRACE was taken for GET")


@should(answers(200, instead_of=405), rows={"TRACE": b"TRACE"})
def trace_reflects_or_is_refused(target: Target, method: bytes) -> None:
    """RFC 9110 §9.3.8: "The final recipient of the request SHOULD reflect the message received,
    excluding some fields described below, back to the client as the content of a 200 (OK)
    response"; all methods but GET and HEAD are optional.
    """
    answer = target.get(FILE, b"X-Reflect: this", method=method)

    if answer.status == 200:
        require(b"X-Reflect: this" in answer.content, "the content is not the request")
    else:
        require(answer.status >= 400, f"{answer.status} came for TRACE")
