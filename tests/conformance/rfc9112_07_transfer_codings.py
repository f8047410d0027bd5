"""RFC 9112 §7, Transfer codings: the chunks of a request, well and badly formed."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_consumed,
    expect_not_smuggled,
    expect_whole,
    require,
    smuggled,
)
from tests.conformance.target import FILE, SMALL, Target
from tests.conformance.wrong_server import FORGIVES, LEAVES_CONTENT, behaves, garbles

CODED = b"Transfer-Encoding: chunked"


def chunk(content: bytes, form: bytes = b"%x") -> bytes:
    return form % len(content) + b"\r\n" + content + b"\r\n"


@must(
    behaves("forgets chunks"),
    rows={
        "no chunk at all": b"0\r\n\r\n",
        "one chunk": chunk(b"0123456789") + b"0\r\n\r\n",
        "a hundred chunks": chunk(b"x") * 100 + b"0\r\n\r\n",
        "a large chunk": chunk(b"x" * 20_000) + b"0\r\n\r\n",
        "digits in lower case": chunk(b"x" * 0xAB) + b"0\r\n\r\n",
        "digits in upper case": chunk(b"x" * 0xAB, b"%X") + b"0\r\n\r\n",
        "zeros before the size": chunk(b"x" * 17, b"000000%x") + b"0\r\n\r\n",
        "zeros as the last size": chunk(b"x") + b"00000\r\n\r\n",
        "line ends as content": chunk(b"\r\n\r\n0\r\n\r\n") + b"0\r\n\r\n",
    },
)
def chunks_are_decoded(target: Target, body: bytes) -> None:
    """RFC 9112 §7.1: "A recipient MUST be able to parse and decode the chunked transfer coding."

    Whoever rather ends the connection decodes nothing, and harms nobody.
    """
    answers = expect_not_smuggled(target, target.request(SMALL, CODED, method=b"POST") + body)

    require(answers, "no answer came")
    require(len(answers) == 2 or answers[0].closes, "the next request was not answered")
    if len(answers) == 2:
        expect_whole(answers[1], SMALL)


@must(behaves("reads one chunk"))
def all_chunks_belong_to_the_content(target: Target) -> None:
    """RFC 9112 §7.1: "The chunked transfer coding is complete when a chunk with a chunk-size of
    zero is received, possibly followed by a trailer section, and finally terminated by an empty
    line."
    """
    body = chunk(b"0123456789") + chunk(smuggled(target)) + b"0\r\n\r\n"

    expect_consumed(target, target.request(SMALL, CODED, method=b"POST") + body)


@must(behaves("counts in 64 bits"))
def a_chunk_size_beyond_64_bits_is_not_wrapped_around(target: Target) -> None:
    """RFC 9112 §7.1: "recipients MUST anticipate potentially large hexadecimal numerals and prevent
    parsing errors due to integer conversion overflows or precision loss due to integer
    representation."
    """
    body = b"10000000000000001\r\nx\r\n0\r\n\r\n"
    request = target.request(SMALL, CODED, method=b"POST")

    answers = target.converse(request + body + target.request(SMALL))
    require(len(answers) <= 1, "the size was wrapped around")


MALFORMED = {
    "no size": b"\r\n0123456789\r\n0\r\n\r\n",
    "a size that is no number": b"xyz\r\n0123456789\r\n0\r\n\r\n",
    "a prefix": b"0xa\r\n0123456789\r\n0\r\n\r\n",
    "a plus": b"+a\r\n0123456789\r\n0\r\n\r\n",
    "a minus": b"-a\r\n0123456789\r\n0\r\n\r\n",
    "a space before the size": b" a\r\n0123456789\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "a size too small": b"9\r\n0123456789\r\n0\r\n\r\n",
    "no line end after the data": b"a\r\n01234567890\r\n\r\n",
    "a bare CR after the size": b"a\r0123456789\r\n0\r\n\r\n",
}


@must(FORGIVES, rows=MALFORMED)
def a_malformed_chunk_ends_the_connection(target: Target, body: bytes) -> None:
    """RFC 9112 §7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF; of content that does
    not follow it the end is not known, so nothing after it may be taken for a request.
    """
    request = target.request(SMALL, CODED, method=b"POST")

    answers = target.converse(request + body + target.request(SMALL))
    require(len(answers) <= 1, "what follows malformed content was taken for a request")


@must(
    LEAVES_CONTENT,
    rows={
        "after the size": b"a\n0123456789\r\n0\r\n\r\n",
        "after the data": b"a\r\n0123456789\n0\r\n\r\n",
        "in the last line": b"a\r\n0123456789\r\n0\r\n\n",
    },
)
def a_bare_lf_in_the_coding_smuggles_nothing(target: Target, body: bytes) -> None:
    """RFC 9112 §7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF. Whoever takes LF for
    CRLF must still see the right end; whoever does not must see none.
    """
    request = target.request(SMALL, CODED, method=b"POST")
    answers = target.converse(request + body + target.request(SMALL, b"Connection: close"))

    require(answers, "no answer came")
    if len(answers) > 1:
        expect_whole(answers[1], SMALL)
        require(len(answers) == 2, "three answers came to two requests")


@should(FORGIVES, rows={"a token": b"chunked;a=b", "a quoted string": b'chunked;a="b"'})
def a_parameter_of_chunked_is_an_error(target: Target, value: bytes) -> None:
    """RFC 9112 §7.1: "The chunked coding does not define any parameters. Their presence SHOULD be
    treated as an error."
    """
    request = target.request(SMALL, b"Transfer-Encoding: " + value, method=b"GET")

    answer = target.attempt(request + b"0\r\n\r\n")
    if answer is not None:
        expect(answer, 400, 411, 501)


@must(
    behaves("forgets chunks"),
    rows={
        "a name": b";x",
        "a name and a token": b";name=value",
        "a name and a quoted string": b';name="a;b"',
        "two": b";a=1;b=2",
        "bad white space": b" ; a = b",
        "a long one": b";a=" + b"x" * 500,
    },
)
def a_chunk_extension_is_ignored(target: Target, extension: bytes) -> None:
    """RFC 9112 §7.1.1: "A recipient MUST ignore unrecognized chunk extensions."

    The end of the content is where it is without them.
    """
    body = b"a" + extension + b"\r\n0123456789\r\n0" + extension + b"\r\n\r\n"

    expect_consumed(target, target.request(SMALL, CODED, method=b"POST") + body)


@must(
    behaves("forgets chunks"),
    rows={
        "one field": b"X-Text: y\r\n",
        "two fields": b"X-Text: y\r\nX-Sum: 5\r\n",
        "a length": b"Content-Length: 10\r\n",
        "a close": b"Connection: close\r\n",
    },
)
def a_trailer_section_is_consumed(target: Target, trailers: bytes) -> None:
    """RFC 9112 §7.1.2: "A recipient that removes the chunked coding from a message MAY selectively
    retain or discard the received trailer fields."
    """
    body = b"a\r\n0123456789\r\n0\r\n" + trailers + b"\r\n"

    expect_consumed(target, target.request(SMALL, CODED, method=b"POST") + body)


@must(
    garbles("merges trailers", rb"^HTTP/1\.1 200", b"HTTP/1.1 206"),
    rows={
        "Range": b"Range: bytes=0-0",
        "If-None-Match": b"If-None-Match: *",
        "If-Match": b'If-Match: "x"',
        "Host": b"Host: in valid",
    },
)
def a_trailer_is_no_header(target: Target, trailer: bytes) -> None:
    """RFC 9112 §7.1.2: "A recipient MUST NOT merge a received trailer field into the header section
    unless its corresponding header field definition explicitly permits and instructs how the
    trailer field value can be safely merged."
    """
    answer = target.attempt(target.request(FILE, CODED) + b"0\r\n" + trailer + b"\r\n\r\n")

    if answer is not None and answer.status not in (400, 405, 411, 413, 501):
        expect_whole(answer, FILE)


@must(
    garbles("compresses as it transfers", rb"Content-Length: [0-9]+", b"Transfer-Encoding: gzip"),
    rows={
        "trailers": b"trailers",
        "nothing": b"",
        "chunked, which may not be sent": b"chunked",
        "a rank of zero": b"gzip;q=0, deflate;q=0",
    },
)
def no_coding_is_used_that_te_does_not_allow(target: Target, value: bytes) -> None:
    """RFC 9112 §7.4: "If the TE field value is empty or if no TE field is present, the only
    acceptable transfer coding is chunked. A message with no transfer coding is always acceptable."
    """
    answer = target.get(FILE, b"TE: " + value, b"Connection: TE")

    expect_whole(answer, FILE)
