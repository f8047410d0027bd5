"""RFC 9110 §6, Message abstraction: content, and Date."""

from __future__ import annotations

import time

from tests.conformance.case import must, should
from tests.conformance.expect import expect, require
from tests.conformance.rfc9112_04_status_line import KINDS, asked_for
from tests.conformance.target import FILE, MISSING, SMALL, NotApplicable, Target
from tests.conformance.wrong_server import garbles, omits, says
from tests.harness.reader import parse_date


@must(
    garbles("sends content to HEAD", rb"\Z", b"content"),
    rows={"a file": FILE, "an empty file": "/sizes/0.bin", "nothing": MISSING, "a directory": "/"},
)
def an_answer_to_head_has_no_content(target: Target, path: str) -> None:
    """RFC 9110 §6.4.1: "Responses to the HEAD request method (Section 9.3.2) never include content;
    the associated response header fields indicate only what their values would have been if the
    request method had been GET".
    """
    target.get(path, method=b"HEAD")


@must(garbles("sends content with 304", rb"\Z", b"content"))
def a_304_has_no_content(target: Target) -> None:
    """RFC 9110 §6.4.1: "All 1xx (Informational), 204 (No Content), and 304 (Not Modified) responses
    do not include content."
    """
    tag = target.need_etag()

    expect(target.get(FILE, b"If-None-Match: " + tag), 304)


@must(omits(b"Date"), says(b"Date", b"yesterday"), rows=KINDS)
def each_answer_has_a_date(target: Target, kind: tuple[str, bytes, bytes]) -> None:
    """RFC 9110 §6.6.1: "An origin server with a clock (as defined in Section 5.6.7) MUST generate a
    Date header field in all 2xx (Successful), 3xx (Redirection), and 4xx (Client Error) responses".
    """
    answer = target.ask(asked_for(target, kind))

    date = answer.get(b"date")
    require(date is not None or answer.status >= 500, "Date is missing")
    require(date is None or parse_date(date) is not None, f"Date is {date!r}")


@must(omits(b"Date"))
def an_answer_to_what_is_no_request_has_a_date(target: Target) -> None:
    """RFC 9110 §6.6.1: "An origin server with a clock [...] MUST generate a Date header field in
    all [...] 4xx (Client Error) responses".
    """
    answer = target.attempt(b"GET %b HTTP/1.1\r\nHost: in valid\r\n\r\n" % SMALL.encode())

    if answer is None or answer.status < 400:
        raise NotApplicable("the server does not refuse it with an answer")

    require(answer.get(b"date") or answer.status >= 500, "Date is missing")


@should(says(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"))
def the_date_is_now(target: Target) -> None:
    """RFC 9110 §6.6.1: "A sender that generates a Date header field SHOULD generate its field value
    as the best available approximation of the date and time of message generation."
    """
    before = int(time.time())
    date = parse_date(target.get(SMALL).get(b"date") or b"")

    near = date is not None and before - 2 <= date <= time.time() + 2
    require(near, "Date is more than two seconds away from now, by this machine's clock")
