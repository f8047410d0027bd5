"""HTTP/1.1 messages: framing, limits, persistence, and content that is skipped."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.protocol.http1 import MAX_CHUNK_LINE, MAX_SKIPPED, Http1Protocol, Limits
from mpserve.protocol.message import HTTPError, Request, Response
from tests.protocol.drivers import (
    CLOSED,
    CONNECTIONS,
    CORPUS,
    WAITS,
    WAITS_IN_HEAD,
    Case,
    corpus,
    feed_every_way,
    tell,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
OK = Response(200, b"Content-Type: text/plain\r\n", (b"hello",), 5)


def asked(data: bytes, limits: Limits | None = None) -> tuple[Http1Protocol, Request]:
    """A protocol that has received `data`, and the request it makes of it."""
    protocol = Http1Protocol(limits or Limits())
    protocol.receive(data)
    request = protocol.next_request()
    assert request is not None
    return protocol, request


def refused(data: bytes, limits: Limits | None = None) -> tuple[Http1Protocol, HTTPError]:
    """A protocol that has received `data`, and the error it makes of it."""
    protocol = Http1Protocol(limits or Limits())
    protocol.receive(data)
    with pytest.raises(HTTPError) as caught:
        protocol.next_request()
    return protocol, caught.value


# --- The corpus -----------------------------------------------------------------------------------


def each(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in corpus(kind)])


@each("valid")
def test_valid_request_is_understood_in_whatever_pieces_it_arrives(case: Case) -> None:
    story = feed_every_way(case.data)
    first, *following = story.requests

    assert (first.method, first.target, first.version) == (
        case.octets("method"),
        case.octets("target"),
        case.octets("version"),
    )
    assert first.fields == {
        name.encode("latin-1"): value.encode("latin-1")
        for name, value in case.expectation.get("fields", {}).items()
    }
    assert first.persistent == case.expectation["persistent"]
    assert [request.line for request in following] == case.lines("then")
    assert not isinstance(story.outcome, int)


@each("invalid")
def test_invalid_request_is_refused_in_whatever_pieces_it_arrives(case: Case) -> None:
    story = feed_every_way(case.data)

    assert story.outcome == case.expectation["status"]
    assert story.line == case.octets("line")
    assert story.lines == case.lines("before")


@pytest.mark.parametrize("kind", ["valid", "invalid"])
def test_every_request_of_the_corpus_has_its_expectation(kind: str) -> None:
    requests = {path.stem for path in (CORPUS / kind).glob("*.http")}
    expectations = {path.stem for path in (CORPUS / kind).glob("*.toml")}

    assert requests
    assert requests == expectations


# --- For any octets -------------------------------------------------------------------------------

SMALL = Limits(request_line=24, head=80, fields=3)
OUTCOMES = {WAITS, WAITS_IN_HEAD, CLOSED, 400, 414, 431, 501, 505}


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=500)
@given(CONNECTIONS | st.binary(max_size=8))
def test_any_octets_are_requests_or_wait_or_are_refused_in_whatever_pieces(data: bytes) -> None:
    story = feed_every_way(data)

    assert story.outcome in OUTCOMES


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=500)
@given(CONNECTIONS | st.binary(max_size=8))
def test_limits_bite_at_the_same_octet_in_whatever_pieces(data: bytes) -> None:
    story = feed_every_way(data, SMALL)

    assert story.outcome in OUTCOMES


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\r\n" * 200_000, id="nothing but empty lines"),
        pytest.param(b"GET /" + b"a" * 400_000, id="a request line without an end"),
        pytest.param(b"GET / HTTP/1.1\r\nA:" + b" " * 400_000 + b"\0\r\n\r\n", id="white space"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a" * 400_000 + b"\r\n\r\n", id="an endless name"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 100_000 + b"\r\n", id="very many fields"),
        pytest.param(b"GET / HTTP/1.1\r\nA:" + b" b" * 200_000 + b"\r\r\n\r\n", id="many words"),
        pytest.param(CHUNKED + b"1\r\na\r\n" * 60_000, id="chunks of one octet"),
        pytest.param(CHUNKED + b"1;" + b"a=b;" * 100_000 + b"\r\n", id="chunk extensions"),
    ],
)
def test_hostile_input_is_judged_in_linear_time(data: bytes) -> None:
    # No clock is asked: were any of this quadratic, the test would run into its time-out.
    story = tell([data], Limits(request_line=10**6, head=10**6, fields=10**6))

    assert story.outcome in (WAITS, WAITS_IN_HEAD, CLOSED, 400)


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        pytest.param(b"GET /34567 HTTP/1.1\r", WAITS_IN_HEAD, id="the longest line without its LF"),
        pytest.param(b"GET /34567 HTTP/1.12", WAITS_IN_HEAD, id="one octet more, may be CR"),
        pytest.param(b"GET /34567 HTTP/1.123", 414, id="as many octets as line and CRLF, no LF"),
        pytest.param(b"GET /34567 HTTP/1.1\r\n", WAITS_IN_HEAD, id="the longest line"),
        pytest.param(b"GET /345678 HTTP/1.1\r\n", 414, id="a longer line"),
        pytest.param(b"GET /34567 HTTP/1.1\n", 400, id="a bare LF within the limit"),
        pytest.param(b"GET /34567 HTTP/1.12\n", 400, id="a bare LF at the limit"),
        pytest.param(b"GET /34567 HTTP/1.123\n", 414, id="a bare LF behind the limit"),
        pytest.param(b"\r\n\r\n\r\nGET /34567 HTTP/1.1\r\n", WAITS_IN_HEAD, id="empty lines aside"),
    ],
)
def test_limit_of_the_request_line(data: bytes, outcome: str | int) -> None:
    story = feed_every_way(data, Limits(request_line=19))

    assert story.outcome == outcome


@pytest.mark.parametrize(
    ("tail", "outcome"),
    [
        pytest.param(b"A: 3456\r\n\r\n", WAITS, id="the longest head"),
        pytest.param(b"A: 34567\r\n\r\n", 431, id="a longer head"),
        pytest.param(b"A: 3456\r\n\r", WAITS_IN_HEAD, id="the longest head without its end"),
        pytest.param(b"A: 34567\r\n\r", 431, id="a longer head without its end"),
        pytest.param(b"A: 3456\r\nabc", 431, id="as many octets, but no end"),
        pytest.param(b"A: 3456\r\n\rX", 431, id="as many octets, and the last is not LF"),
        pytest.param(b"A: 345678\n", 400, id="a bare LF within the limit"),
        pytest.param(b"A: 3456789\n", 400, id="a bare LF as the last octet that fits"),
        pytest.param(b"A: 34567890\n", 431, id="a bare LF behind the limit"),
        pytest.param(b"A\0: 34567\r\n\r\n", 431, id="the size is known before what is wrong"),
    ],
)
def test_limit_of_the_head(tail: bytes, outcome: str | int) -> None:
    begin = b"GET / HTTP/1.1\r\nHost: a\r\n"

    story = feed_every_way(begin + tail, Limits(head=len(begin) + len(b"A: 3456\r\n\r\n")))

    assert story.outcome == outcome


def test_head_whose_request_line_alone_is_too_long() -> None:
    story = feed_every_way(b"GET /too/long HTTP/1.1\r\n", Limits(head=20))

    assert (story.outcome, story.line) == (431, b"GET /too/long HTTP/1.1")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        pytest.param(b"A: b\r\nC: d\r\n\r\n", WAITS, id="as many as allowed"),
        pytest.param(b"A: b\r\nC: d\r\nE: f\r\n\r\n", 431, id="one more"),
        pytest.param(b"A: b\r\nA: b\r\nA: b\r\n\r\n", 431, id="one more line of the same name"),
        pytest.param(b"A: b\r\nC: d\r\nE : f\r\n\r\n", 400, id="one more, and malformed"),
        pytest.param(b"A: b\r\nC: d\r\nE: f\r\n", WAITS_IN_HEAD, id="one more, not complete"),
    ],
)
def test_limit_of_fields(fields: bytes, outcome: str | int) -> None:
    story = feed_every_way(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields, Limits(fields=3))

    assert story.outcome == outcome


# --- What is known between requests ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "begun", "buffered", "idle"),
    [
        pytest.param(b"", False, False, True, id="nothing received"),
        pytest.param(b"\r\n\r\n", False, False, True, id="empty lines"),
        pytest.param(b"\r\n\r", False, True, False, id="half an empty line"),
        pytest.param(b"G", True, True, False, id="the first octet of a method"),
        pytest.param(b"\r\n" + GET[:-2], True, True, False, id="a head without its end"),
        pytest.param(GET, False, False, True, id="a whole request"),
        pytest.param(GET + b"\r\n", False, False, True, id="a request and an empty line"),
        pytest.param(GET + b"GE", True, True, False, id="a request and the beginning of another"),
        pytest.param(CHUNKED + b"5\r\nab", False, False, False, id="content on its way"),
        pytest.param(CHUNKED + b"5", False, True, False, id="a chunk line on its way"),
        pytest.param(CHUNKED + b"x\r\n", False, False, False, id="content that is malformed"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, False, False, id="the last request"),
    ],
)
def test_what_is_known_between_requests(
    data: bytes, begun: bool, buffered: bool, idle: bool
) -> None:
    protocol = Http1Protocol(Limits())
    protocol.receive(data)
    while protocol.next_request():
        pass

    assert protocol.head_begun == begun
    assert protocol.buffered == buffered
    assert protocol.idle == idle


@pytest.mark.parametrize(
    ("rest", "lines"),
    [
        pytest.param(b"", [], id="nothing behind it"),
        pytest.param(GET, [b"GET / HTTP/1.1"], id="a request behind it"),
        pytest.param(GET + GET[:9], [b"GET / HTTP/1.1"], id="more than that behind it"),
    ],
)
def test_connection_goes_on_behind_a_request_answered_elsewhere(
    rest: bytes, lines: list[bytes]
) -> None:
    protocol, request = asked(GET)
    protocol.repeat(request, rest)

    assert (protocol.persistent, protocol.lingering) == (True, False)
    following = list(iter(protocol.next_request, None))
    assert [each.line for each in following] == lines


@pytest.mark.parametrize(
    ("rest", "lingering"),
    [
        pytest.param(b"", False, id="nothing behind it"),
        pytest.param(GET, True, id="a request behind it"),
    ],
)
def test_connection_ends_behind_the_last_request_answered_elsewhere(
    rest: bytes, lingering: bool
) -> None:
    _, last = asked(b"GET / HTTP/1.0\r\n\r\n")
    protocol, _ = asked(GET)
    protocol.repeat(last, rest)

    assert (protocol.persistent, protocol.lingering) == (False, lingering)
    assert protocol.next_request() is None
    assert not protocol.idle


def test_nothing_is_read_after_a_framing_error() -> None:
    protocol, _ = refused(b"GET / HTTP/1.1\r\n\r\n" + GET)
    protocol.receive(GET)

    assert protocol.next_request() is None
    assert not protocol.head_begun
    assert not protocol.ended


def test_nothing_is_read_after_a_request_that_says_close() -> None:
    protocol, _ = asked(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    protocol.receive(GET)

    assert protocol.next_request() is None
    assert protocol.buffered
    assert not protocol.ended


def test_idle_connection_holds_on_to_nothing_it_has_read() -> None:
    protocol, _ = asked(GET)

    assert GET not in gc.get_referents(protocol)


def test_repr_says_how_it_is() -> None:
    protocol, _ = asked(GET + b"GE")

    assert repr(protocol) == "<Http1Protocol HEAD 2 octets buffered>"


@pytest.mark.parametrize(
    ("field", "why"),
    [
        pytest.param(b"A: b\nC: d", "bare LF in the head", id="bare LF"),
        pytest.param(b"A: b\rC", "bare CR in the head", id="bare CR"),
        pytest.param(b"A: \x7f", "control octet in the head", id="control octet"),
        pytest.param(
            b"A: b\r\n c", "folded field line, or white space before the first", id="fold"
        ),
        pytest.param(b"A : b", "white space before a colon", id="space before a colon"),
        pytest.param(b"A b: c", "field line without a valid name", id="space in a name"),
        pytest.param(b"A", "field line without a valid name", id="no colon"),
    ],
)
def test_error_log_is_told_what_is_wrong_with_a_field(field: bytes, why: str) -> None:
    _, error = refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")

    assert error.why == why


def test_error_log_is_told_which_field_occurs_twice() -> None:
    _, error = refused(b"GET / HTTP/1.1\r\nHost: a\r\nRange: b\r\nrange: c\r\n\r\n")

    assert error.why == "more than one range field"


# --- Content --------------------------------------------------------------------------------------


def test_request_is_there_before_its_content() -> None:
    protocol, request = asked(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")

    assert (request.method, request.persistent) == (b"POST", True)
    assert protocol.next_request() is None
    protocol.receive(b"abc")
    assert protocol.next_request() is None
    protocol.receive(b"de" + GET)
    following = protocol.next_request()
    assert following is not None
    assert following.line == b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"x\r\na\r\n", id="a malformed chunk"),
        pytest.param(b"10000\r\n%b\r\n" % (b"a" * 0x10000), id="too much of it"),
        pytest.param(b"1;%b\r\na\r\n" % (b"a" * MAX_CHUNK_LINE), id="too long a chunk line"),
        pytest.param(b"1\r\na\r\n" * (MAX_SKIPPED // 5 + 1), id="too many chunks"),
        pytest.param(b"0\r\n" + b"A: b\r\n" * (MAX_SKIPPED // 6 + 1), id="too many trailer fields"),
    ],
)
def test_content_that_goes_wrong_later_ends_the_connection_without_a_word(rest: bytes) -> None:
    protocol, request = asked(CHUNKED + b"3\r\nab")
    protocol.encode(request, OK, DATE, closing=False)
    assert protocol.persistent

    end = b"\r\n" if rest.startswith(b"0") else b"0\r\n\r\n"
    protocol.receive(b"c\r\n" + rest + end + GET)

    assert protocol.next_request() is None
    assert protocol.ended
    assert protocol.next_request() is None


def test_content_that_is_wrong_from_the_start_lets_the_answer_say_close() -> None:
    protocol, request = asked(CHUNKED + b"x\r\n")

    assert not request.persistent
    assert not protocol.ended


def test_chunked_content_of_as_much_as_is_skipped() -> None:
    chunks = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"

    story = tell([CHUNKED, chunks, chunks, b"0\r\n\r\n" + GET])

    assert (story.lines, story.outcome) == ([b"POST / HTTP/1.1", b"GET / HTTP/1.1"], WAITS)


# --- Responses ------------------------------------------------------------------------------------


def head_of(response: Response, request: bytes = GET, *, closing: bool = False) -> bytes:
    protocol, parsed = asked(request)
    head, _ = protocol.encode(parsed, response, DATE, closing)
    return head


def test_response_head() -> None:
    assert head_of(OK) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Content-Type: text/plain\r\n"
        b"Content-Length: 5\r\n"
        b"\r\n"
    )


def test_response_without_a_length_has_no_content_length() -> None:
    assert head_of(Response(304, b'ETag: "a"\r\n')) == (
        b"HTTP/1.1 304 Not Modified\r\n" + DATE + b'ETag: "a"\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("request_head", "closing", "lines"),
    [
        pytest.param(GET, False, [], id="1.1 goes on without a word"),
        pytest.param(GET, True, [b"Connection: close"], id="the server closes"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            False,
            [b"Connection: close"],
            id="the client closes",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            False,
            [],
            id="1.1 need not be told to keep alive",
        ),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, [b"Connection: close"], id="1.0 closes"),
        pytest.param(
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            False,
            [b"Connection: keep-alive"],
            id="1.0 asks to keep alive and is told",
        ),
        pytest.param(
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            True,
            [b"Connection: close"],
            id="1.0 asks to keep alive in vain",
        ),
    ],
)
def test_connection_field(request_head: bytes, closing: bool, lines: list[bytes]) -> None:
    head = head_of(OK, request_head, closing=closing)

    assert [line for line in head.split(b"\r\n") if line.startswith(b"Connection")] == lines


@pytest.mark.parametrize(
    ("method", "status", "content"),
    [
        pytest.param(b"GET", 200, (b"hello",), id="content follows"),
        pytest.param(b"HEAD", 200, (), id="HEAD has none"),
        pytest.param(b"HEAD", 404, (), id="HEAD has none for an error"),
        pytest.param(b"OPTIONS", 204, (), id="204 has none"),
        pytest.param(b"GET", 304, (), id="304 has none"),
        pytest.param(b"head", 200, (b"hello",), id="methods are case-sensitive"),
    ],
)
def test_content_follows_unless_method_or_status_forbid_it(
    method: bytes, status: int, content: tuple[bytes, ...]
) -> None:
    protocol, request = asked(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")

    _, pieces = protocol.encode(request, Response(status, b"", (b"hello",), 5), DATE, False)

    assert pieces == content


@pytest.mark.parametrize(
    ("data", "content"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", (b"hello",), id="content follows"),
        pytest.param(b"HEAD / HTTP/1.1\r\n\r\n", (), id="but not for a HEAD that was understood"),
        pytest.param(b"HEAD /  HTTP/1.1\r\n\r\n", (), id="nor for one whose line was not"),
        pytest.param(
            b"HEAD / HTTP/1.1\nHost: a\r\n\r\n", (), id="nor for one in which a CR is missing"
        ),
        pytest.param(b"\r\nHEAD /  HTTP/1.1\r\n\r\n", (), id="nor behind an empty line"),
        pytest.param(
            b"HEADS /  HTTP/1.1\r\n\r\n", (b"hello",), id="a longer name is another method"
        ),
    ],
)
def test_answer_to_a_framing_error_is_the_last(data: bytes, content: tuple[bytes, ...]) -> None:
    protocol, _ = refused(data)

    head, pieces = protocol.encode(None, Response(400, b"", (b"hello",), 5), DATE, closing=False)

    assert head == (
        b"HTTP/1.1 400 Bad Request\r\n" + DATE + b"Content-Length: 5\r\nConnection: close\r\n\r\n"
    )
    assert pieces == content
    assert (protocol.persistent, protocol.lingering) == (False, True)


def test_answer_to_a_head_that_did_not_come_in_time_is_the_last() -> None:
    protocol = Http1Protocol(Limits())
    protocol.receive(b"GET / HTTP/1.1\r\nHo")
    assert protocol.next_request() is None

    head, _ = protocol.encode(None, Response(408, b"", (), 0), DATE, closing=False)

    assert b"Connection: close\r\n" in head
    assert (protocol.persistent, protocol.lingering) == (False, True)


CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("data", "closing", "lingering"),
    [
        pytest.param(GET, False, False, id="nobody closes"),
        pytest.param(GET, True, True, id="the server closes and the client does not know"),
        pytest.param(CLOSE + b"\r\n", False, False, id="the client closes and has sent it all"),
        pytest.param(CLOSE + b"\r\n", True, False, id="both close"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, False, id="1.0 closes by custom"),
        pytest.param(CLOSE + b"\r\nX", False, True, id="the client sends more than it said"),
        pytest.param(
            CLOSE + b"Content-Length: 3\r\n\r\nab", False, True, id="content is outstanding"
        ),
        pytest.param(
            CLOSE + b"Content-Length: 3\r\n\r\nabc", False, False, id="content has all come"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n",
            False,
            True,
            id="content is too long to skip",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            False,
            True,
            id="content is withheld, or not",
        ),
        pytest.param(CHUNKED + b"x\r\n", False, True, id="content is malformed"),
    ],
)
def test_whether_the_client_may_still_be_sending(
    data: bytes, closing: bool, lingering: bool
) -> None:
    protocol, request = asked(data)

    protocol.encode(request, OK, DATE, closing)

    assert protocol.lingering == lingering


# --- What a request was read from -----------------------------------------------------------------


def test_the_octets_of_a_request_make_the_same_request_again() -> None:
    octets = b"GET /a HTTP/1.1\r\nHost: x\r\nCookie: a=1\r\nCookie: b=2\r\nX:  y \r\n\r\nGET /b"
    first, again = Http1Protocol(Limits()), Http1Protocol(Limits())
    first.receive(octets)
    request = first.next_request()
    assert request is not None
    unanswered = first.unanswered(request)
    assert unanswered is not None
    again.receive(unanswered)

    assert again.next_request() == request
    assert unanswered.endswith(b"\r\n\r\nGET /b")


@pytest.mark.parametrize("field", [b"Content-Length: 1", b"Transfer-Encoding: chunked"])
def test_a_request_with_content_cannot_be_made_again(field: bytes) -> None:
    protocol = Http1Protocol(Limits())
    protocol.receive(b"GET /a HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % field)
    request = protocol.next_request()
    assert request is not None

    assert protocol.unanswered(request) is None
