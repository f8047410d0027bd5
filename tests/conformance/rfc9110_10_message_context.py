"""RFC 9110 §10, Message context: Expect, Allow, Location, Server."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect_end_or_life,
    expect_whole,
    expect_whole_or,
    require,
)
from tests.conformance.target import (
    DIRECTORY,
    FILE,
    SMALL,
    NotApplicable,
    Target,
)
from tests.conformance.wrong_server import (
    BREAKS,
    CLOSES_UNSAID,
    Fault,
    Request,
    answers,
    behaves,
    garbles,
    omits,
    says,
)
from tests.harness.reader import Answer

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# RFC 3986: URI-reference, as far as its octets go.
URI_REFERENCE = re.compile(rb"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
ALLOW_FIELD = re.compile(rf"(?:{TCHAR}+(?:[ \t]*,[ \t]*{TCHAR}+)*)?".encode())
SERVER = re.compile(
    rf"{TCHAR}+(?:/{TCHAR}+)?(?:[ \t]+(?:{TCHAR}+(?:/{TCHAR}+)?|\((?:[^()\\]|\\.)*\)))*".encode()
)


@must(
    behaves("waits for content"),
    rows={"GET": b"GET", "POST": b"POST", "PUT": b"PUT", "HEAD": b"HEAD"},
)
def an_expectation_of_100_continue_is_answered_at_once(target: Target, method: bytes) -> None:
    """RFC 9110 §10.1.1: "an origin server MUST send either: an immediate response with a final
    status code, [...] or an immediate 100 (Continue) response to encourage the client to send the
    request content." "The origin server MUST NOT wait for the content before sending the 100
    (Continue) response."
    """
    fields = (b"Expect: 100-continue", b"Content-Length: 10")
    head = target.request(SMALL, *fields, method=method)
    connection = target.connect()
    connection.send(head)

    connection.read_interim_or_final(head)


@must(behaves("waits for content"), CLOSES_UNSAID)
def after_100_comes_a_final_status(target: Target) -> None:
    """RFC 9110 §10.1.1: "A server that sends a 100 (Continue) response MUST ultimately send a final
    status code, once it receives and processes the request content, unless the connection is closed
    prematurely."
    """
    fields = (b"Expect: 100-continue", b"Content-Length: 10")
    head = target.request(SMALL, *fields, method=b"POST")
    connection = target.connect()
    connection.send(head)
    final = connection.read_interim_or_final(head)
    if final is not None:
        if final.closes:
            return
        connection.send(b"0123456789")
    else:
        connection.send(b"0123456789")
        final = connection.read(head)

    expect_end_or_life(connection, final)


@must(behaves("waits for content"), rows={"upper": b"100-CONTINUE", "mixed": b"100-Continue"})
def an_expectation_is_known_in_any_case(target: Target, value: bytes) -> None:
    """RFC 9110 §10.1.1: "The Expect field value is case-insensitive."

    This one asks for 100, and waits for an answer.
    """
    head = target.request(SMALL, b"Expect: " + value, b"Content-Length: 10", method=b"POST")
    connection = target.connect()
    connection.send(head)

    connection.read_interim_or_final(head)


def continues(request: Request, octets: bytes) -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" + octets


@must(Fault("answers Expect of HTTP/1.0", wire=continues))
def an_expectation_in_http_1_0_is_ignored(target: Target) -> None:
    """RFC 9110 §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request
    MUST ignore that expectation."
    """
    request = target.request(
        SMALL, b"Expect: 100-continue", method=b"GET", version=b"HTTP/1.0", content=b"0123456789"
    )
    answer = target.attempt(request)

    expect_whole_or(answer, SMALL, 400, 413)


@must(answers(417, instead_of=200))
def an_expectation_without_content_is_no_obstacle(target: Target) -> None:
    """RFC 9110 §10.1.1: "A server MAY omit sending a 100 (Continue) response if it has already
    received some or all of the content for the corresponding request, or if the framing indicates
    that there is no content." 100-continue is an expectation that everybody understands.
    """
    expect_whole(target.ask(target.request(SMALL, b"Expect: 100-continue")), SMALL)


@should(
    BREAKS,
    rows={"a token": b"brew", "a token with a value": b"brew=yes", "another number": b"200-ok"},
)
def another_expectation_is_ignored_or_417(target: Target, value: bytes) -> None:
    """RFC 9110 §10.1.1: "A server that receives an Expect field value containing a member other
    than 100-continue MAY respond with a 417 (Expectation Failed) status code".
    """
    answer = target.attempt(target.request(SMALL, b"Expect: " + value))

    expect_whole_or(answer, SMALL, 417)


@should(CLOSES_UNSAID)
def a_final_status_before_the_content_says_whether_the_connection_ends(target: Target) -> None:
    """RFC 9110 §10.1.1: "A server that responds with a final status code before reading the entire
    request content SHOULD indicate whether it intends to close the connection [...] or continue
    reading the request content."
    """
    head = target.request(SMALL, b"Content-Length: 10", method=b"POST")
    connection = target.connect()
    connection.send(head)
    if connection.is_silent():
        connection.send(b"0123456789")
        answer = connection.read(head)
    else:
        answer = connection.read(head)
        connection.send(b"0123456789")

    expect_end_or_life(connection, answer)


@must(
    omits(b"Allow"),
    garbles("allows nothing that follows the grammar", rb"Allow: [^\r]*", b"Allow: GET HEAD"),
    rows={
        "PUT": b"PUT",
        "DELETE": b"DELETE",
        "PATCH": b"PATCH",
        "POST": b"POST",
        "TRACE": b"TRACE",
    },
)
def a_405_tells_what_is_allowed(target: Target, method: bytes) -> None:
    """RFC 9110 §10.2.1: "An origin server MUST generate an Allow header field in a 405 (Method Not
    Allowed) response".
    """
    answer = target.get(FILE, method=method)
    if answer.status != 405:
        raise NotApplicable("the server does not answer with 405")

    allow = answer.get(b"allow")
    require(allow is not None and ALLOW_FIELD.fullmatch(allow), f"Allow is {allow!r}")


@must(says(b"Allow", b"OPTIONS"), rows={"PUT": b"PUT", "DELETE": b"DELETE"})
def what_is_allowed_is_what_works(target: Target, method: bytes) -> None:
    """RFC 9110 §10.2.1: Allow "lists the set of methods advertised as supported by the target
    resource": GET and HEAD are, and the method that was refused is not.
    """
    answer = target.get(FILE, method=method)
    if answer.status != 405:
        raise NotApplicable("the server does not answer with 405")

    allowed = answer.head.members(b"allow")
    require({b"get", b"head"} <= set(allowed), f"Allow is {answer.get(b'allow')!r}")
    require(method.lower() not in allowed, f"{method.decode()} is refused, and allowed")


def redirected(target: Target, path: str) -> Answer:
    answer = target.get(path)
    if answer.status not in (301, 302, 303, 307, 308):
        raise NotApplicable("the server does not redirect to the slash")
    return answer


DIRECTORIES = {
    "a directory": DIRECTORY,
    "a directory below another": "/with-index/below",
    "a directory with a query": DIRECTORY + "?x=y&z",
    "a name of other octets": "/names/d%C3%AFr%20with%20space",
    "a name that is not UTF-8": "/names/latin-%E9",
    "a directory without an index": "/without-index",
}


@must(
    says(b"Location", b"/with index/", 308),
    says(b"Location", b"/\xc3\xa9/", 308),
    rows=DIRECTORIES,
)
def location_is_a_uri_reference(target: Target, path: str) -> None:
    """RFC 9110 §10.2.2: Location = URI-reference; what no URI holds is percent-encoded in it."""
    location = redirected(target, path).get(b"location")

    require(location and URI_REFERENCE.fullmatch(location), f"Location is {location!r}")


@must(says(b"Location", b"/elsewhere/", 308), rows=DIRECTORIES)
def location_refers_to_the_directory(target: Target, path: str) -> None:
    """RFC 9110 §10.2.2: Location is used "to refer to a specific resource in relation to the
    response"; "the final value is computed by resolving it against the target URI": the directory
    that was asked for, with its slash.
    """
    location = redirected(target, path).get(b"location") or b""
    base = f"http://{target.authority.decode()}"
    final = urlsplit(urljoin(base + path, location.decode("latin-1")))

    wanted = unquote_to_bytes(path.partition("?")[0]) + b"/"
    found = unquote_to_bytes(final.path.encode("latin-1"))
    require(final.netloc == target.authority.decode(), f"Location is {location!r}")
    require(found == wanted, f"Location is {location!r}, which is {found!r}")


@must(says(b"Server", b"(comment first)"), says(b"Server", b"a, b"), rows={"a file": FILE})
def server_follows_the_grammar(target: Target, path: str) -> None:
    """RFC 9110 §10.2.4: Server = product *( RWS ( product / comment ) )."""
    value = target.get(path).get(b"server")

    require(value is None or SERVER.fullmatch(value), f"Server is {value!r}")
