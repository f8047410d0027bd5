"""RFC 9112 §6, Message body: by what its length is known, in requests and in answers."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_400_and_end,
    expect_consumed,
    expect_end,
    expect_not_smuggled,
    expect_whole,
    require,
    smuggled,
)
from tests.conformance.target import FILE, MISSING, SMALL, Target
from tests.conformance.wrong_server import (
    FORGIVES,
    HANGS_UP,
    LEAVES_CONTENT,
    NEVER_CLOSES,
    answers,
    behaves,
    garbles,
    says,
)
from tests.harness import corpus
from tests.harness.reader import Framing


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


METHODS = {method: method.encode() for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW")}


@must(LEAVES_CONTENT, behaves("forgets chunks"), rows=METHODS)
def chunked_content_is_consumed(target: Target, method: bytes) -> None:
    """RFC 9112 §6.1: "A recipient MUST be able to parse the chunked transfer coding (Section 7.1)
    because it plays a crucial role in framing messages when the content size is not known in
    advance." Whoever answers without reading it has to close.
    """
    request = target.request(SMALL, b"Transfer-Encoding: chunked", method=method)

    expect_consumed(target, request + chunk(smuggled(target)) + b"0\r\n\r\n")


@must(
    LEAVES_CONTENT,
    rows={
        "upper case": b"Transfer-Encoding: CHUNKED",
        "mixed case": b"transfer-encoding: Chunked",
        "no space": b"Transfer-Encoding:chunked",
        "a tab": b"Transfer-Encoding:\tchunked",
        "space after": b"Transfer-Encoding: chunked \t",
    },
)
def the_name_of_the_coding_is_known_in_any_form(target: Target, field: bytes) -> None:
    """RFC 9112 §6.1: "A recipient MUST be able to parse the chunked transfer coding"; §7: "All
    transfer-coding names are case-insensitive".
    """
    request = target.request(SMALL, field, method=b"POST")

    expect_consumed(target, request + chunk(smuggled(target)) + b"0\r\n\r\n")


BOTH = {
    "the length first": (b"Content-Length: %d", b"Transfer-Encoding: chunked"),
    "the coding first": (b"Transfer-Encoding: chunked", b"Content-Length: %d"),
}


@must(NEVER_CLOSES, rows=BOTH)
def length_and_coding_together_end_the_connection(
    target: Target, fields: tuple[bytes, bytes]
) -> None:
    """RFC 9112 §6.1: "A server MAY reject a request that contains both Content-Length and
    Transfer-Encoding or process such a request in accordance with the Transfer-Encoding alone.
    Regardless, the server MUST close the connection after responding to such a request to avoid the
    potential attacks."
    """
    content = chunk(b"0123456789") + b"0\r\n\r\n"
    lines = b"\r\n".join(fields) % len(content)
    connection = target.connect()
    connection.ask(target.request(SMALL, lines, method=b"POST") + content)

    expect_end(connection)


@must(FORGIVES, rows=BOTH)
def length_and_coding_together_smuggle_nothing(target: Target, fields: tuple[bytes, bytes]) -> None:
    """RFC 9112 §6.1: "process such a request in accordance with the Transfer-Encoding alone.
    Regardless, the server MUST close the connection after responding".
    """
    content = b"0\r\n\r\n" + smuggled(target)
    lines = b"\r\n".join(fields) % len(content)
    answers_ = target.converse(target.request(SMALL, lines) + content)

    require(len(answers_) <= 1, "what follows was taken for a request")


@must(
    NEVER_CLOSES,
    rows={
        "alone": (b"Transfer-Encoding: chunked", b"Connection: keep-alive"),
        "with a length": (
            b"Transfer-Encoding: chunked",
            b"Content-Length: 20",
            b"Connection: keep-alive",
        ),
    },
)
def a_coding_in_http_1_0_ends_the_connection(target: Target, fields: tuple[bytes, ...]) -> None:
    """RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a
    Transfer-Encoding header field MUST treat the message as if the framing is faulty, even if a
    Content-Length is present, and close the connection after processing the message."
    """
    request = target.request(SMALL, *fields, method=b"POST", version=b"HTTP/1.0")
    connection = target.connect()
    connection.ask(request + chunk(b"0123456789") + b"0\r\n\r\n")

    expect_end(connection)


@should(
    answers(400, instead_of=501),
    HANGS_UP,
    rows={
        "gzip": b"Transfer-Encoding: gzip, chunked",
        "one nobody knows": b"Transfer-Encoding: brew, chunked",
        "two lines": b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
    },
)
def a_coding_that_is_not_understood_is_501(target: Target, field: bytes) -> None:
    """RFC 9112 §6.1: "A server that receives a request message with a transfer coding it does not
    understand SHOULD respond with 501 (Not Implemented)."
    """
    request = target.request(SMALL, field)

    expect(target.attempt(request + b"0\r\n\r\n"), 501)


@should(
    FORGIVES,
    rows={
        "in one line": b"Transfer-Encoding: chunked, chunked",
        "in two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    },
)
def chunked_twice_is_refused(target: Target, field: bytes) -> None:
    """RFC 9112 §6.1: "A sender MUST NOT apply the chunked transfer coding more than once to a
    message body"; whoever does is not understood.
    """
    answer = target.attempt(target.request(SMALL, field) + b"0\r\n\r\n")

    if answer is not None:
        expect(answer, 400, 411, 501)


@must(
    garbles("chunks for HTTP/1.0", rb"Content-Length: [0-9]+", b"Transfer-Encoding: chunked"),
    rows={"a file": FILE, "nothing": MISSING},
)
def an_answer_to_http_1_0_is_not_chunked(target: Target, path: str) -> None:
    """RFC 9112 §6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the
    corresponding request indicates HTTP/1.1 (or later minor revisions)."
    """
    target.ask(target.request(path, version=b"HTTP/1.0"))


@must(
    says(b"Transfer-Encoding", b"chunked"),
    rows={"a file": FILE, "nothing": MISSING},
)
def an_answer_has_not_both_length_and_coding(target: Target, path: str) -> None:
    """RFC 9112 §6.2: "A sender MUST NOT send a Content-Length header field in any message that
    contains a Transfer-Encoding header field."
    """
    target.get(path)


LENGTHS = {
    "no digits": b"abc",
    "a minus": b"-1",
    "a plus": b"+10",
    "a fraction": b"10.0",
    "hexadecimal": b"0xa",
    "digits of two numbers": b"1 0",
    "nothing": b"",
    "two values": b"10, 11",
    "two values without space": b"10,11",
    "an exponent": b"1e1",
    "an underscore": b"1_0",
    "a parameter": b"10;x=y",
    "quotes": b'"10"',
    "digits of another script": "١٠".encode(),
    "a superscript": b"10\xb2",
}


@must(FORGIVES, HANGS_UP, NEVER_CLOSES, rows=LENGTHS)
def an_invalid_length_is_400_and_the_end(target: Target, value: bytes) -> None:
    """RFC 9112 §6.3: "If a message is received without Transfer-Encoding and with an invalid
    Content-Length header field, then the message framing is invalid and the recipient MUST treat it
    as an unrecoverable error [...] the server MUST respond with a 400 (Bad Request) status code and
    then close the connection."
    """
    request = target.request(SMALL, b"Content-Length: " + value)

    expect_400_and_end(target, request + b"0123456789")


@must(FORGIVES, HANGS_UP, NEVER_CLOSES)
def two_different_lengths_are_400_and_the_end(target: Target) -> None:
    """RFC 9112 §6.3: an invalid Content-Length is an unrecoverable error, "unless the field value
    can be successfully parsed as a comma-separated list, all values in the list are valid, and all
    values in the list are the same"; "the server MUST respond with a 400 (Bad Request) status code
    and then close the connection".
    """
    lines = (b"Content-Length: 10", b"Content-Length: 11")

    expect_400_and_end(target, target.request(SMALL, *lines) + b"0123456789")


@must(
    FORGIVES,
    rows={
        "two lines": b"Content-Length: %d\r\nContent-Length: %d",
        "a list": b"Content-Length: %d, %d",
    },
)
def a_length_that_is_repeated_is_that_length_or_refused(target: Target, form: bytes) -> None:
    """RFC 9112 §6.3: "all values in the list are the same (in which case, the message is processed
    with that single value used as the Content-Length field value)"; RFC 9110 §8.6 allows to reject.
    """
    content = smuggled(target)
    request = target.request(SMALL, form % (len(content), len(content)), method=b"POST")

    expect_not_smuggled(target, request + content)


HUGE = {
    "2 to the 31": 2**31,
    "2 to the 32": 2**32,
    "2 to the 63": 2**63,
    "2 to the 64": 2**64,
    "2 to the 64 and a few": 2**64 + 5,
    "40 digits": 10**39,
}


@must(FORGIVES, rows=HUGE)
def a_huge_length_ends_the_connection_or_is_waited_for(target: Target, length: int) -> None:
    """RFC 9112 §6.3: "its decimal value defines the expected message body length in octets. If the
    sender closes the connection [...] before the indicated number of octets are received, the
    recipient MUST consider the message to be incomplete and close the connection."
    """
    request = target.request(SMALL, b"Content-Length: %d" % length, method=b"POST")

    answers_ = target.converse(request + b"01234" + target.request(SMALL))
    require(len(answers_) <= 1, "what is content was taken for a request")


@must(behaves("swallows the next"))
def a_request_without_length_and_coding_has_no_content(target: Target) -> None:
    """RFC 9112 §6.3: "If this is a request message and none of the above are true, then the message
    body length is zero (no message body is present)."
    """
    target.need_persistence()
    connection = target.connect()
    request = target.request(SMALL, method=b"DELETE")
    connection.send(request + target.request(SMALL))

    if not connection.read(request).closes:
        expect_whole(connection.read(target.request(SMALL)), SMALL)


@must(LEAVES_CONTENT, rows=METHODS)
def content_with_a_length_is_consumed(target: Target, method: bytes) -> None:
    """RFC 9112 §6.3: "If a valid Content-Length header field is present without Transfer-Encoding,
    its decimal value defines the expected message body length in octets."; §6: "Request message
    framing is independent of method semantics."
    """
    expect_consumed(target, target.request(SMALL, method=method, content=smuggled(target)))


@must(
    LEAVES_CONTENT,
    rows={"upper case": b"CONTENT-LENGTH: %d", "zeros before it": b"Content-Length: 000%d"},
)
def content_with_a_length_of_unusual_form_is_consumed(target: Target, form: bytes) -> None:
    """RFC 9112 §6.3: "its decimal value defines the expected message body length in octets", and
    Content-Length = 1*DIGIT.
    """
    content = smuggled(target)

    expect_consumed(target, target.request(SMALL, form % len(content), method=b"POST") + content)


@must(behaves("swallows the next"))
def nothing_of_the_content_is_kept_where_its_length_is_zero(target: Target) -> None:
    """RFC 9112 §6.3: "its decimal value defines the expected message body length in octets": of
    zero, the next octet begins the next request.
    """
    expect_consumed(target, target.request(SMALL, method=b"POST", content=b""))


@must(
    FORGIVES,
    HANGS_UP,
    rows={
        "gzip": b"gzip",
        "chunked before gzip": b"chunked, gzip",
        "identity": b"identity",
        "another name": b"xchunked",
        "chunked with a parameter": b'chunked;foo="bar", brew',
        "a control before it": b"\x0bchunked",
        "quotes": b'"chunked"',
    },
)
def a_coding_whose_end_cannot_be_known_is_400_and_the_end(target: Target, value: bytes) -> None:
    """RFC 9112 §6.3: "If a Transfer-Encoding header field is present in a request and the chunked
    transfer coding is not the final encoding, the message body length cannot be determined
    reliably; the server MUST respond with the 400 (Bad Request) status code and then close the
    connection." Of a coding that is not understood §6.1 asks for 501.
    """
    request = target.request(SMALL, b"Transfer-Encoding: " + value)

    expect_400_and_end(target, request + b"0\r\n\r\n", 501)


@must(
    garbles("adds an octet", rb"\Z", b"x"),
    says(b"Content-Length", b"7"),
    rows={f"{size} octets": size for size in corpus.SIZES},
)
def the_length_is_that_of_the_content(target: Target, size: int) -> None:
    """RFC 9112 §6.3: "its decimal value defines the expected message body length in octets": of
    each file exactly as many octets come as were announced, they are the file's, and nothing
    follows.
    """
    path = f"/sizes/{size}.bin"

    expect_whole(target.get(path), path)


@should(
    garbles(
        "tells the length by closing", rb"\r\nContent-Length: [0-9]+", b"\r\nConnection: close"
    ),
    rows={
        "a file": (FILE, b"HTTP/1.1"),
        "nothing": (MISSING, b"HTTP/1.1"),
        "a file, to HTTP/1.0": (FILE, b"HTTP/1.0"),
    },
)
def the_end_of_the_content_is_told_in_the_head(target: Target, row: tuple[str, bytes]) -> None:
    """RFC 9112 §6.3: "a server SHOULD generate encoding or length-delimited messages whenever
    possible", since a cut is not seen in a message that is delimited by the close.
    """
    path, version = row
    answer = target.ask(target.request(path, version=version))

    require(answer.framing is not Framing.CLOSE, "the content ends with the connection")
