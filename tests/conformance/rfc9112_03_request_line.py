"""RFC 9112 §3, Request line: method, target in its four forms, and Host."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_refused,
    expect_whole,
    expect_whole_or,
    require,
)
from tests.conformance.target import DIRECTORY, FILE, SMALL, Target, content_of
from tests.conformance.wrong_server import (
    ALLOW,
    BREAKS,
    FORGIVES,
    HANGS_UP,
    Fault,
    Refused,
    Request,
    answers,
    says,
)


@should(
    BREAKS,
    rows={
        "two spaces before the target": b"GET  %b HTTP/1.1",
        "two spaces before the version": b"GET %b  HTTP/1.1",
        "a tab before the target": b"GET\t%b HTTP/1.1",
        "a tab before the version": b"GET %b\tHTTP/1.1",
        "a space after the version": b"GET %b HTTP/1.1 ",
        "a form feed before the version": b"GET %b\x0cHTTP/1.1",
    },
)
def other_white_space_is_taken_for_a_space_or_refused(target: Target, line: bytes) -> None:
    """RFC 9112 §3: "recipients MAY instead parse on whitespace-delimited word boundaries and, aside
    from the CRLF terminator, treat any form of whitespace as the SP separator while ignoring
    preceding or trailing whitespace"; or the request line is invalid.
    """
    octets = line % SMALL.encode() + b"\r\nHost: h\r\n\r\n"

    expect_whole_or(target.attempt(octets), SMALL, 400, 505)


@should(answers(405, ALLOW, instead_of=501), HANGS_UP)
def a_method_longer_than_any_is_not_implemented(target: Target) -> None:
    """RFC 9112 §3: "A server that receives a method longer than any that it implements SHOULD
    respond with a 501 (Not Implemented) status code."
    """
    expect(target.attempt(target.request(SMALL, method=b"LONG" * 30)), 501)


@must(
    answers(400, instead_of=414),
    HANGS_UP,
    rows={
        "of 64 KiB, in the path": "/" + "x" * 65_536,
        "of 64 KiB, in the query": "/?" + "x" * 65_536,
        "of 2 MiB, in the path": "/" + "x" * 2_097_152,
    },
)
def a_target_longer_than_a_server_wishes_is_414(target: Target, path: str) -> None:
    """RFC 9112 §3: "A server that receives a request-target longer than any URI it wishes to parse
    MUST respond with a 414 (URI Too Long) status code". Whoever wishes to parse it finds no file,
    or ignores the query.
    """
    wished = 200 if "?" in path else 404

    expect(target.attempt(target.request(path)), 414, wished)


@should(
    answers(414, instead_of=200),
    rows={"of 4000 octets": 4000, "of 8000 octets": 8000},
)
def a_request_line_is_understood(target: Target, length: int) -> None:
    """RFC 9112 §3: "It is RECOMMENDED that all HTTP senders and recipients support, at a minimum,
    request-line lengths of 8000 octets."
    """
    path = SMALL + "?"
    path += "x" * (length - len(f"GET {path} HTTP/1.1"))

    expect_whole(target.get(path), SMALL)


def in_upper_case(request: Request) -> Request:
    return replace(request, method=request.method.upper())


@must(
    Fault("knows methods in any case", request=in_upper_case),
    rows={"get": b"get", "Get": b"Get", "gET": b"gET", "head": b"head"},
)
def methods_are_case_sensitive(target: Target, method: bytes) -> None:
    """RFC 9112 §3.1: "The request method is case-sensitive."

    A server that knew the method in this form would say so by performing it.
    """
    expect_refused(target.attempt(target.request(SMALL, method=method)))


@should(
    FORGIVES,
    HANGS_UP,
    rows={
        "in the path": b"/names/a space.txt",
        "at its end": b"/sizes/1000.bin x",
        "in the query": b"/sizes/1000.bin?a b",
        "a tab": b"/sizes/1000.bin\tx",
    },
)
def white_space_in_a_target_is_no_part_of_it(target: Target, path: bytes) -> None:
    """RFC 9112 §3.2: "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad
    Request) error or a 301 (Moved Permanently) redirect with the request-target properly encoded. A
    recipient SHOULD NOT attempt to autocorrect and then process the request without a redirect".
    """
    expect(target.attempt(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n"), 400, 301)


@must(FORGIVES, HANGS_UP)
def a_request_without_host_is_400(target: Target) -> None:
    """RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    request message that lacks a Host header field".
    """
    expect(target.attempt(b"GET %b HTTP/1.1\r\n\r\n" % SMALL.encode()), 400)


@must(FORGIVES, HANGS_UP)
def a_request_with_absolute_form_without_host_is_400(target: Target) -> None:
    """RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    request message that lacks a Host header field".
    """
    request = b"GET http://%b%b HTTP/1.1\r\n\r\n" % (target.authority, SMALL.encode())

    expect(target.attempt(request), 400)


@must(
    FORGIVES,
    HANGS_UP,
    rows={
        "with the same value": (b"Host: example.org", b"Host: example.org"),
        "with another value": (b"Host: example.org", b"Host: example.com"),
        "with a name in another case": (b"Host: example.org", b"HOST: example.org"),
        "of which the second is empty": (b"Host: example.org", b"Host:"),
        "with other fields between": (b"Host: example.org", b"X: y", b"Host: example.org"),
    },
)
def a_request_with_two_hosts_is_400(target: Target, fields: tuple[bytes, ...]) -> None:
    """RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    request message that lacks a Host header field and to any request message that contains more
    than one Host header field line or a Host header field with an invalid field value."
    """
    lines = (b"GET %b HTTP/1.1" % SMALL.encode(), *fields, b"", b"")

    expect(target.attempt(b"\r\n".join(lines)), 400)


@must(FORGIVES, HANGS_UP)
def a_request_of_http_1_0_with_two_hosts_is_400(target: Target) -> None:
    """RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code [...] to any
    request message that contains more than one Host header field line".
    """
    lines = b"GET %b HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n" % SMALL.encode()

    expect(target.attempt(lines), 400)


@must(
    FORGIVES,
    HANGS_UP,
    rows={
        "space": b"exam ple.org",
        "tab": b"exam\tple.org",
        "a path": b"example.org/path",
        "a scheme": b"http://example.org",
        "user information": b"user@example.org",
        "a query": b"example.org?x",
        "a fragment": b"example.org#x",
        "a quote": b'"example.org"',
        "a backslash": b"example.org\\path",
        "angle brackets": b"<example.org>",
        "a port that is no number": b"example.org:http",
        "a port with a sign": b"example.org:+80",
        "two ports": b"example.org:80:80",
        "an IPv6 address without its end": b"[::1",
        "an IPv6 address without brackets": b"::1",
        "an IPv6 address that is none": b"[1::2::3]",
        "something after the IPv6 address": b"[::1]x",
        "a broken escape": b"example%zz.org",
        "a NUL": b"exam\x00ple.org",
        "a control": b"exam\x01ple.org",
    },
)
def an_invalid_host_is_400(target: Target, host: bytes) -> None:
    """RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code [...] to any
    request message that contains [...] a Host header field with an invalid field value." Valid is
    uri-host [ ":" port ] (RFC 9110 §7.2).
    """
    expect(target.attempt(target.request(SMALL, host=host)), 400)


@must(
    answers(400, instead_of=200),
    rows={
        "a name": b"example.org",
        "a name with a port": b"example.org:8080",
        "a name in upper case": b"EXAMPLE.ORG",
        "a name with a dot at its end": b"example.org.",
        "a name with a hyphen": b"a-b.example.org",
        "an IPv4 address": b"127.0.0.1:8000",
        "an IPv6 address": b"[::1]",
        "an IPv6 address with a port": b"[2001:db8::ff00:42:8329]:8000",
    },
)
def a_valid_host_is_not_400(target: Target, host: bytes) -> None:
    """RFC 9112 §3.2: 400 is for "a Host header field with an invalid field value"; this one is
    valid.

    A server may know no site of that name (421, 404), but the message has no fault.
    """
    answer = target.attempt(target.request(SMALL, host=host))

    require(answer is not None and answer.status != 400, "a valid Host is taken for an invalid one")


@should(
    answers(400, instead_of=200),
    rows={
        "an underscore": b"a_b.example.org",
        "an empty port": b"example.org:",
        "sub-delims": b"a!$&'()*+,;=b.example.org",
        "an escape": b"ex%41mple.org",
    },
)
def a_valid_host_of_unusual_octets_is_not_400(target: Target, host: bytes) -> None:
    """RFC 9112 §3.2: 400 is for "a Host header field with an invalid field value"; RFC 3986 §3.2.2
    allows these in reg-name.
    """
    answer = target.attempt(target.request(SMALL, host=host))

    require(answer is not None and answer.status != 400, "a valid Host is taken for an invalid one")


@must(answers(400, instead_of=200))
def a_request_of_http_1_0_needs_no_host(target: Target) -> None:
    """RFC 9112 §3.2: 400 is due "to any HTTP/1.1 request message that lacks a Host header field";
    HTTP/1.0 has none.
    """
    expect_whole(target.ask(b"GET %b HTTP/1.0\r\n\r\n" % SMALL.encode()), SMALL)


@should(
    FORGIVES,
    HANGS_UP,
    rows={
        "no slash at its start": b"sizes/1000.bin",
        "only a query": b"?sizes/1000.bin",
        "a dot": b"./sizes/1000.bin",
        "a backslash": b"\\sizes\\1000.bin",
        "a fragment": b"/sizes/1000.bin#part",
    },
)
def a_target_of_no_form_is_refused(target: Target, form: bytes) -> None:
    """RFC 9112 §3.2: request-target = origin-form / absolute-form / authority-form / asterisk-form,
    and "Recipients of an invalid request-line SHOULD respond with either a 400 (Bad Request) error
    or a 301 (Moved Permanently) redirect".
    """
    expect(target.attempt(b"GET " + form + b" HTTP/1.1\r\nHost: h\r\n\r\n"), 400, 301)


def wants_origin_form(request: Request) -> Request:
    if not request.target.startswith(b"/"):
        raise Refused(400)
    return request


@must(
    Fault("knows the origin-form only", request=wants_origin_form),
    rows={
        "with the right Host": ("http://%s" + FILE, None),
        "with a scheme in upper case": ("HTTP://%s" + FILE, None),
        "with another Host": ("http://%s" + FILE, b"other.example.org"),
        "with a query": ("http://%s" + FILE + "?x=y", None),
        "with an escape": ("http://%s/%%73izes/65537.bin", None),
    },
)
def the_absolute_form_is_accepted(target: Target, row: tuple[str, bytes | None]) -> None:
    """RFC 9112 §3.2.2: "To allow for transition to the absolute-form for all requests in some
    future version of HTTP, a server MUST accept the absolute-form in requests, even though HTTP/1.1
    clients will only send them in requests to proxies."
    """
    form, host = row

    expect_whole(target.ask(target.request(form % target.authority.decode(), host=host)), FILE)


@must(Fault("knows the origin-form only", request=wants_origin_form))
def the_absolute_form_may_have_an_empty_path(target: Target) -> None:
    """RFC 9112 §3.2.2: "a server MUST accept the absolute-form in requests"; RFC 9110 §4.2.3: an
    empty path is the same as "/".
    """
    answer = target.ask(target.request(f"http://{target.authority.decode()}"))

    expect(answer, 200, 301, 302, 307, 308)
    right = answer.status != 200 or answer.content == content_of("/index.html")
    require(right, "the content is not that of /")


@must(Fault("knows the origin-form only", request=wants_origin_form))
def the_absolute_form_is_accepted_in_http_1_0(target: Target) -> None:
    """RFC 9112 §3.2.2: "a server MUST accept the absolute-form in requests"."""
    path = f"http://{target.authority.decode()}{FILE}"

    expect_whole(target.ask(target.request(path, version=b"HTTP/1.0")), FILE)


def believes_host(request: Request) -> Request:
    if request.target.startswith(b"http://") and not request.target.startswith(
        b"http://" + request.fields[b"host"]
    ):
        raise Refused(400)
    return request


@must(Fault("compares Host with the absolute-form", request=believes_host))
def host_is_ignored_beside_the_absolute_form(target: Target) -> None:
    """RFC 9112 §3.2.2: "When an origin server receives a request with an absolute-form of
    request-target, the origin server MUST ignore the received Host header field (if any) and
    instead use the host information of the request-target."
    """
    path = f"http://{target.authority.decode()}{SMALL}"

    expect_whole(target.ask(target.request(path, host=b"nobody.invalid")), SMALL)


@must(says(b"Location", b"http://nobody.invalid/with-index/", 308))
def a_redirect_from_the_absolute_form_does_not_use_host(target: Target) -> None:
    """RFC 9112 §3.2.2: "the origin server MUST ignore the received Host header field (if any) and
    instead use the host information of the request-target."
    """
    path = f"http://{target.authority.decode()}{DIRECTORY}"
    answer = target.ask(target.request(path, host=b"nobody.invalid"))

    location = answer.get(b"location") or b""
    require(b"nobody.invalid" not in location, f"Location is {location!r}, made from Host")


@should(
    FORGIVES,
    HANGS_UP,
    rows={
        "authority-form with GET": b"GET example.org:80 HTTP/1.1",
        "asterisk-form with GET": b"GET * HTTP/1.1",
        "origin-form with CONNECT": b"CONNECT /sizes/1000.bin HTTP/1.1",
    },
)
def a_form_goes_with_its_method(target: Target, line: bytes) -> None:
    """RFC 9112 §3.2.3: "The authority-form of request-target is only used for CONNECT requests",
    and the asterisk-form for OPTIONS: the request line is invalid, and "SHOULD" be answered with
    400; 405 and 501 say that the method is not to be had either.
    """
    answer = target.attempt(line + b"\r\nHost: example.org:80\r\n\r\n")

    wanted = (400, 405, 501) if line.startswith(b"CONNECT") else (400,)
    expect(answer, *wanted)


@must(Fault("opens a tunnel", refusal=None, wire=lambda _, octets: octets.replace(b"405", b"200")))
def connect_opens_no_tunnel(target: Target) -> None:
    """RFC 9112 §3.2.3: "The authority-form of request-target is only used for CONNECT requests",
    which an origin server for static content refuses.
    """
    connection = target.connect()
    connection.send(b"CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\n")

    expect_refused(connection.read(b"CONNECT example.org:80 HTTP/1.1\r\n"))


@should(answers(400, instead_of=204), BREAKS)
def options_of_the_server_is_answered(target: Target) -> None:
    """RFC 9112 §3.2.4: "When a client wishes to request OPTIONS for the server as a whole, as
    opposed to a specific named resource of that server, the client MUST send only "*" (%x2A) as the
    request-target." OPTIONS may be not allowed, or not implemented, but the request is a right one.
    """
    answer = target.attempt(target.request("*", method=b"OPTIONS"))

    expect(answer, 200, 204, 405, 501)


@must(says(b"Location", b"http://other.invalid/with-index/", 308))
def a_redirect_uses_the_authority_of_the_request(target: Target) -> None:
    """RFC 9112 §3.3: "If not, then if a Host header field is supplied with a non-empty field value,
    the authority component is the same as the Host field value." A Location may leave it out.
    """
    answer = target.get(DIRECTORY)
    location = answer.get(b"location") or b""

    if b"//" in location:
        right = location.startswith(b"http://" + target.authority + b"/")
        require(right, f"Location is {location!r}, of another authority")
