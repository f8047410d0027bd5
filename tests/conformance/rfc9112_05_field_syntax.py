"""RFC 9112 §5, Field syntax: names, colons, white space, and lines that are folded."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_400, expect_whole, expect_whole_or
from tests.conformance.target import FILE, SMALL, Target
from tests.conformance.wrong_server import FORGIVES, HANGS_UP, garbles, ignores, misreads


@must(
    FORGIVES,
    HANGS_UP,
    rows={
        "space after an unknown name": b"X-Text : y",
        "tab after an unknown name": b"X-Text\t: y",
        "spaces after an unknown name": b"X-Text   : y",
        "space after Range": b"Range : bytes=0-0",
        "space after Content-Length": b"Content-Length : 0",
        "space after Transfer-Encoding": b"Transfer-Encoding : chunked",
        "space after Connection": b"Connection : close",
    },
)
def white_space_between_name_and_colon_is_400(target: Target, line: bytes) -> None:
    """RFC 9112 §5.1: "A server MUST reject, with a response status code of 400 (Bad Request), any
    received request message that contains whitespace between a header field name and colon."
    """
    expect_400(target, target.request(SMALL, line))


@must(FORGIVES, HANGS_UP)
def white_space_between_host_and_colon_is_400(target: Target) -> None:
    """RFC 9112 §5.1: "A server MUST reject, with a response status code of 400 (Bad Request), any
    received request message that contains whitespace between a header field name and colon."
    """
    expect_400(target, target.request(SMALL).replace(b"Host:", b"Host :"))


@must(
    ignores(b"range"),
    rows={
        "none": b"Range:bytes=0-9",
        "spaces before": b"Range:    bytes=0-9",
        "a tab before": b"Range:\tbytes=0-9",
        "a space after": b"Range: bytes=0-9 ",
        "tabs and spaces after": b"Range: bytes=0-9\t \t",
        "on both sides": b"Range: \t bytes=0-9 \t ",
    },
)
def white_space_around_a_value_is_no_part_of_it(target: Target, line: bytes) -> None:
    """RFC 9112 §5.1: "The field line value does not include that leading or trailing whitespace:
    OWS occurring before the first non-whitespace octet of the field line value, or after the last
    non-whitespace octet of the field line value, is excluded by parsers".
    """
    target.need_ranges()

    expect(target.ask(target.request(FILE, line)), 206)


@must(
    garbles("takes white space for a part of Host", rb"^HTTP/1\.1 200", b"HTTP/1.1 400"),
    rows={
        "none": b"",
        "a tab": b"\t",
        "many spaces": b"      ",
    },
)
def white_space_around_host_is_no_part_of_it(target: Target, space: bytes) -> None:
    """RFC 9112 §5.1: "OWS occurring before the first non-whitespace octet of the field line value,
    or after the last non-whitespace octet of the field line value, is excluded by parsers".
    """
    request = target.request(SMALL).replace(b"Host: ", b"Host:" + space)

    expect_whole(target.ask(request.replace(b"\r\n\r\n", space + b"\r\n\r\n")), SMALL)


@should(
    FORGIVES,
    HANGS_UP,
    rows={
        "without a colon": b"X-Text",
        "without a name": b": y",
        "of nothing but a colon": b":",
        "with a space in the name": b"X Text: y",
        "with a parenthesis in the name": b"X(Text): y",
        "with a slash in the name": b"X/Text: y",
        "with an at in the name": b"X@Text: y",
        "with quotes around the name": b'"X-Text": y',
        "with a high octet in the name": b"X-T\xc3\xa9xt: y",
        "with a NUL in the name": b"X-\x00Text: y",
        "with a DEL in the name": b"X-\x7fText: y",
    },
)
def a_line_that_is_no_field_is_400(target: Target, line: bytes) -> None:
    """RFC 9112 §5: field-line = field-name ":" OWS field-value OWS; §2.2: of what "does not match
    the HTTP-message grammar [...] the server SHOULD respond with a 400 (Bad Request) response".
    """
    expect_400(target, target.request(SMALL, line))


UNFOLDED = misreads("takes a folded line for a field", rb"\r\n[ \t]+", b"\r\n")


@must(
    UNFOLDED,
    rows={
        "space": b"X-Text: a\r\n Range: bytes=0-0",
        "tab": b"X-Text: a\r\n\tRange: bytes=0-0",
        "twice": b"X-Text: a\r\n X-More: b\r\n Range: bytes=0-0",
        "after an empty value": b"X-Text:\r\n Range: bytes=0-0",
    },
)
def a_folded_line_is_no_field(target: Target, lines: bytes) -> None:
    """RFC 9112 §5.2: "A server that receives an obs-fold in a request message that is not within a
    "message/http" container MUST either reject the message by sending a 400 (Bad Request) [...] or
    replace each received obs-fold with one or more SP octets prior to interpreting the field
    value".
    """
    expect_whole_or(target.attempt(target.request(FILE, lines)), FILE, 400)


@must(FORGIVES, HANGS_UP)
def a_folded_host_is_400(target: Target) -> None:
    """RFC 9112 §5.2: "MUST either reject the message by sending a 400 (Bad Request) [...] or
    replace each received obs-fold with one or more SP octets": a Host with SP in it is 400 too.
    """
    expect_400(target, target.request(SMALL, host=b"exam\r\n ple.org"))


@must(FORGIVES)
def a_folded_length_is_400(target: Target) -> None:
    """RFC 9112 §5.2: "MUST either reject the message by sending a 400 (Bad Request) [...] or
    replace each received obs-fold with one or more SP octets": a Content-Length with SP in it is
    400 too.
    """
    expect_400(target, target.request(SMALL, b"Content-Length: 1\r\n 0") + b"0123456789")
