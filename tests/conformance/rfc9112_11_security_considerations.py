"""RFC 9112 §11, Security considerations: response splitting and request smuggling."""

from __future__ import annotations

from tests.conformance.case import must
from tests.conformance.expect import expect_consumed, expect_not_smuggled, require, smuggled
from tests.conformance.target import DIRECTORY, SMALL, Target
from tests.conformance.wrong_server import FORGIVES, LEAVES_CONTENT, garbles


@must(
    garbles("decodes what it puts into fields", rb"Location: ", b"Location: x\r\nX-Injected: 1"),
    rows={
        "in the query": DIRECTORY + "?%0d%0aX-Injected:%201",
        "a line feed in the query": DIRECTORY + "?%0aX-Injected:%201",
        "in a directory that is not there": "/%0d%0aX-Injected:%201/../with-index",
    },
)
def no_request_splits_the_answer(target: Target, path: str) -> None:
    """RFC 9112 §11.1: response splitting "exploits the line-based nature of HTTP message framing":
    "A common defense against response splitting is to filter requests for data that looks like
    encoded CR and LF"; whatever a request holds, no field of the answer begins in it.
    """
    answer = target.get(path)

    require(answer.get(b"x-injected") is None, "a field of the answer came from the request")


HIDES = {
    "a tab before the colon": b"Transfer-Encoding\t: chunked",
    "a vertical tab before the value": b"Transfer-Encoding: \x0bchunked",
    "a form feed before the value": b"Transfer-Encoding: \x0cchunked",
    "a NUL after the value": b"Transfer-Encoding: chunked\x00",
    "a bare CR before it": b"X-Text: y\rTransfer-Encoding: chunked",
    "a bare LF before it": b"X-Text: y\nTransfer-Encoding: chunked",
    "a folded line": b"Transfer-Encoding:\r\n chunked",
    "a line before it that is folded": b"X-Text: y\r\n Transfer-Encoding: chunked",
    "another coding beside it": b"Transfer-Encoding: chunked, identity",
    "another coding in a second line": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "a comma before it": b"Transfer-Encoding: , chunked",
}


@must(FORGIVES, rows=HIDES)
def a_hidden_coding_smuggles_nothing(target: Target, field: bytes) -> None:
    """RFC 9112 §11.2: "Request smuggling [...] is a technique that exploits differences in protocol
    parsing among various recipients to hide additional requests [...] within an apparently harmless
    request": a Content-Length, and a coding that one reader sees and another does not. By the
    length the request within is content; by the coding it would be a request.
    """
    content = b"0\r\n\r\n" + smuggled(target)
    lines = (b"Content-Length: %d" % len(content), field)
    request = target.request(SMALL, *lines, method=b"POST") + content

    expect_not_smuggled(target, request)


@must(LEAVES_CONTENT)
def a_field_of_a_similar_name_is_no_coding(target: Target) -> None:
    """RFC 9112 §11.2: "Request smuggling [...] exploits differences in protocol parsing among
    various recipients": programs that hold fields in variables have taken one name for the other.
    """
    content = b"0\r\n\r\n" + smuggled(target)
    fields = (b"Transfer_Encoding: chunked", b"Content-Length: %d" % len(content))

    expect_consumed(target, target.request(SMALL, *fields, method=b"POST") + content)


LENGTHS = {
    "a tab before the colon": b"Content-Length\t: %d",
    "a plus": b"Content-Length: +%d",
    "a NUL after the value": b"Content-Length: %d\x00",
    "a vertical tab before the value": b"Content-Length: \x0b%d",
    "zero first": b"Content-Length: 0\r\nContent-Length: %d",
    "zero last": b"Content-Length: %d\r\nContent-Length: 0",
    "a list that begins with zero": b"Content-Length: 0, %d",
    "a folded line": b"Content-Length:\r\n %d",
}


@must(FORGIVES, rows=LENGTHS)
def a_hidden_length_smuggles_nothing(target: Target, form: bytes) -> None:
    """RFC 9112 §11.2: "Request smuggling [...] exploits differences in protocol parsing among
    various recipients": a length that one reader understands and another does not.
    """
    content = smuggled(target)
    request = target.request(SMALL, form % len(content), method=b"POST") + content

    expect_not_smuggled(target, request)


@must(LEAVES_CONTENT, rows={"GET": b"GET", "HEAD": b"HEAD"})
def content_where_none_is_expected_smuggles_nothing(target: Target, method: bytes) -> None:
    """RFC 9112 §11.2: "Request smuggling [...] to hide additional requests (which might otherwise
    be blocked or disabled by policy) within an apparently harmless request": content of GET and
    HEAD is content all the same (§6: "Request message framing is independent of method semantics").
    """
    request = target.request(SMALL, method=method, content=smuggled(target))

    expect_not_smuggled(target, request)
