"""RFC 9112 §2, Message: where one begins, what its lines end in, which version it is of."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_400,
    expect_400_and_end,
    expect_refused,
    expect_whole,
    expect_whole_or,
    require,
    send_in_pieces,
)
from tests.conformance.target import FILE, SMALL, Target, content_of
from tests.conformance.wrong_server import FORGIVES, HANGS_UP, behaves, garbles, misreads


def octet_by_octet(request: bytes) -> list[bytes]:
    return [request[place : place + 1] for place in range(len(request))]


def cut_before(mark: bytes) -> Callable[[bytes], list[bytes]]:
    def cut(request: bytes) -> list[bytes]:
        place = request.rindex(mark)
        return [request[:place], request[place:]]

    return cut


@must(
    behaves("reads once"),
    rows={
        "octet by octet": octet_by_octet,
        "cut within the method": cut_before(b"T /"),
        "cut within the target": cut_before(b".bin"),
        "cut before the first field": cut_before(b"Host"),
        "cut between CR and LF": cut_before(b"\nHost"),
        "cut before the last LF": cut_before(b"\n"),
    },
)
def a_request_may_come_in_pieces(target: Target, cut: Callable[[bytes], list[bytes]]) -> None:
    """RFC 9112 §2.2: "A recipient MUST parse an HTTP message as a sequence of octets in an encoding
    that is a superset of US-ASCII"; TCP may cut the sequence anywhere.
    """
    connection = target.connect()
    request = target.request(SMALL)
    send_in_pieces(connection, cut(request))

    expect_whole(connection.read(request), SMALL)
    connection.finish()


@must(
    misreads(
        "splits lines as text is split",
        rb"\xc2\x85|\xe2\x80[\xa8\xa9]|[\x85\x0b\x0c\x1c\x1d\x1e]",
        b"\r\n",
    ),
    rows={
        "next line, in Latin-1": b"\x85",
        "next line, in UTF-8": b"\xc2\x85",
        "line separator": b"\xe2\x80\xa8",
        "paragraph separator": b"\xe2\x80\xa9",
        "vertical tab": b"\x0b",
        "form feed": b"\x0c",
        "file separator": b"\x1c",
        "record separator": b"\x1e",
    },
)
def nothing_but_a_line_end_ends_a_line(target: Target, mark: bytes) -> None:
    """RFC 9112 §2.2: "Parsing an HTTP message as a stream of Unicode characters, without regard for
    the specific encoding, creates security vulnerabilities": "A recipient MUST parse an HTTP
    message as a sequence of octets".
    """
    answer = target.attempt(target.request(FILE, b"X-Text: a" + mark + b"Range: bytes=0-0"))

    expect_whole_or(answer, FILE, 400)


@must(
    misreads("takes a bare CR for a line end", rb"\r(?!\n)", b"\r\n"),
    rows={
        "before Range": b"X-Text: a\rRange: bytes=0-0",
        "before If-None-Match": b"X-Text: a\rIf-None-Match: *",
        "before an invalid Host": b"X-Text: a\rRange: bytes=0-0\rX-More: y",
    },
)
def a_bare_cr_ends_no_line(target: Target, fields: bytes) -> None:
    """RFC 9112 §2.2: "A recipient of such a bare CR MUST consider that element to be invalid or
    replace each bare CR with SP before processing the element".
    """
    expect_whole_or(target.attempt(target.request(FILE, fields)), FILE, 400)


@must(
    FORGIVES,
    rows={
        "in the request target": b"GET /sizes/1000.bin\r?x HTTP/1.1\r\nHost: h\r\n\r\n",
        "in the version": b"GET /sizes/1000.bin HTTP\r/1.1\r\nHost: h\r\n\r\n",
        "in a field name": b"GET /sizes/1000.bin HTTP/1.1\r\nHost: h\r\nX\rY: z\r\n\r\n",
        "in Host": b"GET /sizes/1000.bin HTTP/1.1\r\nHost: h\ri\r\n\r\n",
        "at the end of every line": b"GET /sizes/1000.bin HTTP/1.1\rHost: h\r\r\r\n\r\n",
    },
)
def a_bare_cr_makes_its_element_invalid(target: Target, request: bytes) -> None:
    """RFC 9112 §2.2: "A recipient of such a bare CR MUST consider that element to be invalid or
    replace each bare CR with SP before processing the element"; where no SP may stand either, the
    request is invalid both ways.
    """
    expect_refused(target.attempt(request))


@should(
    FORGIVES,
    rows={
        "after the request line": b"GET %b HTTP/1.1\nHost: h\r\n\r\n",
        "after a field line": b"GET %b HTTP/1.1\r\nHost: h\n\r\n",
        "as the empty line": b"GET %b HTTP/1.1\r\nHost: h\r\n\n",
        "throughout": b"GET %b HTTP/1.1\nHost: h\n\n",
    },
)
def a_bare_lf_ends_a_line_or_the_request_is_refused(target: Target, form: bytes) -> None:
    """RFC 9112 §2.2: "Although the line terminator for the start-line and fields is the sequence
    CRLF, a recipient MAY recognize a single LF as a line terminator"; or it is an error as any
    other.
    """
    expect_whole_or(target.attempt(form % SMALL.encode()), SMALL, 400)


@should(behaves("keeps empty lines"))
def an_empty_line_before_the_first_request_is_ignored(target: Target) -> None:
    """RFC 9112 §2.2: "In the interest of robustness, a server that is expecting to receive and
    parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the
    request-line."
    """
    answer = target.ask(b"\r\n" + target.request(SMALL))

    expect_whole(answer, SMALL)


@should(behaves("keeps empty lines"))
def an_empty_line_between_requests_is_ignored(target: Target) -> None:
    """RFC 9112 §2.2: "In the interest of robustness, a server that is expecting to receive and
    parse a request-line SHOULD ignore at least one empty line (CRLF) received prior to the
    request-line."
    """
    target.need_persistence()
    connection = target.connect()
    connection.ask(target.request(SMALL))

    expect_whole(connection.ask(b"\r\n" + target.request(SMALL)), SMALL)
    connection.finish()


INDENTED = misreads("overlooks white space at the start of a line", rb"\r\n[ \t]+", b"\r\n")


@must(
    INDENTED,
    rows={
        "space": b" Range: bytes=0-0",
        "tab": b"\tRange: bytes=0-0",
        "two lines of it": b" X: y\r\n Range: bytes=0-0",
    },
)
def a_line_after_the_request_line_that_begins_with_white_space_is_no_field(
    target: Target, line: bytes
) -> None:
    """RFC 9112 §2.2: "A recipient that receives whitespace between the start-line and the first
    header field MUST either reject the message as invalid or consume each whitespace-preceded line
    without further processing of it".
    """
    first, _, rest = target.request(FILE).partition(b"\r\n")

    expect_whole_or(target.attempt(first + b"\r\n" + line + b"\r\n" + rest), FILE, 400)


@must(INDENTED, rows={"space": b" ", "tab": b"\t"})
def a_host_after_white_space_is_no_host(target: Target, space: bytes) -> None:
    """RFC 9112 §2.2: "A recipient that receives whitespace between the start-line and the first
    header field MUST either reject the message as invalid or consume each whitespace-preceded line
    without further processing of it"; in both cases no Host is left.
    """
    expect_refused(target.attempt(target.request(SMALL).replace(b"Host", space + b"Host")))


@should(
    FORGIVES,
    HANGS_UP,
    rows={
        "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 32 + b"\r\n\r\n",
        "an SSH banner": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
        "an HTTP response": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "one word": b"hello\r\n\r\n",
        "a mail client": b"EHLO example.org\r\n\r\n",
        "zeros": b"\x00\x00\x00\x00\r\n\r\n",
        "high octets": b"\xff\xfe\xfd \xff \xff\r\n\r\n",
        "a field without a request line": b"Host: example.org\r\n\r\n",
        "a request line without a target": b"GET HTTP/1.1\r\nHost: h\r\n\r\n",
        "a request line of four words": b"GET / x HTTP/1.1\r\nHost: h\r\n\r\n",
        "a method that is no token": b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "an empty method": b" / HTTP/1.1\r\nHost: h\r\n\r\n",
    },
)
def what_is_no_request_is_answered_with_400_and_the_end(target: Target, octets: bytes) -> None:
    """RFC 9112 §2.2: "When a server listening only for HTTP request messages [...] receives a
    sequence of octets that does not match the HTTP-message grammar aside from the robustness
    exceptions listed above, the server SHOULD respond with a 400 (Bad Request) response and close
    the connection."
    """
    expect_400_and_end(target, octets)


@must(FORGIVES)
def a_request_of_http_2_is_answered_in_http_2_or_refused(target: Target) -> None:
    """RFC 9112 §2.2: "receives a sequence of octets that does not match the HTTP-message grammar":
    whoever does not speak HTTP/2 must not take its preface for a request of HTTP/1.1.
    """
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    connection = target.connect()
    connection.send(preface)
    octets = connection.reader.raw()

    if octets[3:4] != b"\x04":  # the frame SETTINGS, with which a server of HTTP/2 begins
        expect_refused(target.attempt(preface))


@must(FORGIVES)
def a_request_of_http_0_9_is_answered_in_http_0_9_or_refused(target: Target) -> None:
    """RFC 9112 §2.2: "receives a sequence of octets that does not match the HTTP-message grammar":
    a line without a version is none, unless a server still speaks HTTP/0.9, which knows no head.
    """
    connection = target.connect()
    connection.send(b"GET %b\r\n\r\n" % SMALL.encode())
    octets = connection.reader.raw()

    if octets and not octets.startswith(b"HTTP/"):
        require(content_of(SMALL).startswith(octets), "neither an answer nor the bare content came")
    else:
        expect_refused(target.attempt(b"GET %b\r\n\r\n" % SMALL.encode()))


@should(
    FORGIVES,
    rows={
        "in lower case": b"http/1.1",
        "in mixed case": b"Http/1.1",
        "without a minor number": b"HTTP/1",
        "with a number too many": b"HTTP/1.1.1",
        "with two digits": b"HTTP/1.10",
        "with a leading zero": b"HTTP/01.1",
        "with a comma": b"HTTP/1,1",
        "with a sign": b"HTTP/+1.1",
        "with a letter": b"HTTP/1.x",
        "of another protocol": b"HTTPS/1.1",
        "with a space within": b"HTTP /1.1",
    },
)
def a_version_that_is_none_is_answered_with_an_error(target: Target, version: bytes) -> None:
    """RFC 9112 §2.3: "HTTP-version is case-sensitive", and it is "HTTP/" DIGIT "." DIGIT; §2.2:
    "the server SHOULD respond with a 400 (Bad Request) response".
    """
    answer = target.attempt(target.request(SMALL, version=version))

    expect(answer, 400, 505)


@should(garbles("answers as HTTP/1.0", rb"^HTTP/1\.1", b"HTTP/1.0"))
def an_answer_to_http_1_1_is_of_http_1_1(target: Target) -> None:
    """RFC 9112 §2.3: "A server MAY send an HTTP/1.0 response to an HTTP/1.1 request if it is known
    or suspected that the client incorrectly implements the HTTP specification": "Such protocol
    downgrades SHOULD NOT be performed unless triggered by specific client attributes".
    """
    answer = target.get(SMALL)

    require(answer.head.version == b"HTTP/1.1", f"the answer is of {answer.head.version!r}")


@should(FORGIVES, HANGS_UP)
def a_request_line_without_an_end_is_refused(target: Target) -> None:
    """RFC 9112 §2.2: "When a server [...] receives a sequence of octets that does not match the
    HTTP-message grammar [...] the server SHOULD respond with a 400 (Bad Request) response".
    """
    expect_400(target, b"GET / HTTP/1.1 \xff\xff\xff\r\nHost: h\r\n\r\n")
