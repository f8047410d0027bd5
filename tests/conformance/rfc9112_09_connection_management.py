"""RFC 9112 §9, Connection management: persistence, pipelining, and the end."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_consumed,
    expect_end,
    expect_end_or_life,
    expect_life,
    expect_whole,
    require,
)
from tests.conformance.target import DIRECTORY, FILE, MISSING, SMALL, NotApplicable, Target
from tests.conformance.wrong_server import (
    CLOSES_UNSAID,
    HANGS_UP,
    LEAVES_CONTENT,
    NEVER_CLOSES,
    behaves,
    omits,
    says,
)


@should(CLOSES_UNSAID, says(b"Connection", b"close"))
def a_connection_of_http_1_1_persists(target: Target) -> None:
    """RFC 9112 §9.3: "HTTP/1.1 defaults to the use of persistent connections [...] HTTP
    implementations SHOULD support persistent connections."
    """
    connection = target.connect()
    for _ in range(10):
        answer = expect_whole(connection.ask(target.request(SMALL)), SMALL)
        require(not answer.closes, "the connection ends, which nobody asked for")
    connection.finish()


@must(CLOSES_UNSAID)
def a_connection_that_does_not_persist_says_close(target: Target) -> None:
    """RFC 9112 §9.3: "A server that does not support persistent connections MUST send the "close"
    connection option in every response message that does not have a 1xx (Informational) status
    code."
    """
    connection = target.connect()
    answer = connection.ask(target.request(SMALL))

    expect_end_or_life(connection, answer)


@must(
    CLOSES_UNSAID,
    rows={
        "keep-alive": b"Connection: keep-alive",
        "an option nobody knows": b"Connection: x-unknown",
        "an empty list": b"Connection: ,",
        "something that only contains close": b"Connection: closed, x-close",
        "close in another field": b"X-Connection: close",
    },
)
def a_connection_persists_without_close(target: Target, field: bytes) -> None:
    """RFC 9112 §9.3: "If the received protocol is HTTP/1.1 (or later), the connection will persist
    after the current response", unless "the "close" connection option is present".
    """
    target.need_persistence()
    connection = target.connect()
    answer = connection.ask(target.request(SMALL, field))

    require(not answer.closes, "the connection ends, which nobody asked for")
    expect_life(connection)


KINDS = {
    "a file": (SMALL, b"GET", b""),
    "a head": (FILE, b"HEAD", b""),
    "a part": (FILE, b"GET", b"Range: bytes=0-9\r\n"),
    "an empty file": ("/sizes/0.bin", b"GET", b""),
    "a file of a MiB": ("/sizes/1048577.bin", b"GET", b""),
    "304": (FILE, b"GET", b"If-None-Match: *\r\n"),
    "nothing": (MISSING, b"GET", b""),
    "the head of nothing": (MISSING, b"HEAD", b""),
    "a redirect": (DIRECTORY, b"GET", b""),
    "412": (FILE, b"GET", b'If-Match: "none"\r\n'),
    "416": (FILE, b"GET", b"Range: bytes=999999-\r\n"),
    "a method that is not allowed": (FILE, b"DELETE", b""),
    "a method nobody knows": (FILE, b"BREW", b""),
    "OPTIONS": (FILE, b"OPTIONS", b""),
}


@must(CLOSES_UNSAID, rows=KINDS)
def after_each_kind_of_answer_the_connection_is_as_announced(
    target: Target, kind: tuple[str, bytes, bytes]
) -> None:
    """RFC 9112 §9.3: "A recipient determines whether a connection is persistent or not based on the
    protocol version and Connection header field [...] in the most recently received message".
    """
    path, method, fields = kind
    octets = target.request(path, method=method)[:-2] + fields + b"\r\n"
    connection = target.connect()
    answer = connection.ask(octets)

    expect_end_or_life(connection, answer)


@must(NEVER_CLOSES)
def a_connection_of_http_1_0_ends(target: Target) -> None:
    """RFC 9112 §9.3: without "keep-alive", for HTTP/1.0, "The connection will close after the
    current response."
    """
    connection = target.connect()
    expect_whole(connection.ask(target.request(SMALL, version=b"HTTP/1.0")), SMALL)

    expect_end(connection)


@must(
    CLOSES_UNSAID,
    NEVER_CLOSES,
    rows={
        "keep-alive": b"Connection: keep-alive",
        "in another case": b"Connection: Keep-Alive",
        "in a list": b"Connection: x, keep-alive",
    },
)
def a_connection_of_http_1_0_with_keep_alive_is_as_announced(target: Target, field: bytes) -> None:
    """RFC 9112 §9.3: "If the received protocol is HTTP/1.0, the "keep-alive" connection option is
    present, [...] and the recipient wishes to honor the HTTP/1.0 "keep-alive" mechanism, the
    connection will persist"; a client learns from the answer whether it does.
    """
    connection = target.connect()
    answer = connection.ask(target.request(SMALL, field, version=b"HTTP/1.0"))

    expect_whole(answer, SMALL)
    if not answer.closes:
        again = connection.ask(target.request(SMALL, field, version=b"HTTP/1.0"))
        expect_whole(again, SMALL)
        expect_whole(connection.ask(target.request(SMALL, version=b"HTTP/1.0")), SMALL)
    expect_end(connection)


@must(LEAVES_CONTENT, rows={"small": 10, "64 KiB": 65_536, "a MiB": 1_048_576})
def content_is_read_or_the_connection_ends(target: Target, size: int) -> None:
    """RFC 9112 §9.3: "A server MUST read the entire request message body or close the connection
    after sending its response; otherwise, the remaining data on a persistent connection would be
    misinterpreted as the next request."
    """
    line = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    content = (line * (size // len(line) + 1))[:size]
    request = target.request(SMALL, method=b"POST", content=content)

    expect_consumed(target, request)


@must(
    behaves("reverses"),
    CLOSES_UNSAID,
    rows={"two": 2, "ten": 10, "a hundred": 100},
)
def pipelined_requests_are_answered_in_order(target: Target, count: int) -> None:
    """RFC 9112 §9.3.2: a server "MUST send the corresponding responses in the same order that the
    requests were received."
    """
    target.need_persistence()
    paths = [f"/sizes/{size}.bin" for size in (0, 1, 15, 16, 17, 999, 1000, 1023, 1024, 1025)]
    asked = [paths[place % len(paths)] for place in range(count)]
    connection = target.connect()
    connection.send(b"".join(map(target.request, asked)))

    for path in asked:
        answer = expect_whole(connection.read(target.request(path)), path)
        if answer.closes:  # it has had enough of us, and says so
            break
    connection.finish()


@must(behaves("reverses"), CLOSES_UNSAID)
def pipelined_requests_of_all_kinds_are_answered_in_order(target: Target) -> None:
    """RFC 9112 §9.3.2: a server "MUST send the corresponding responses in the same order that the
    requests were received"; none of these ends the connection by itself.
    """
    target.need_persistence()
    requests = [
        (target.request(FILE), (200,)),
        (target.request(FILE, method=b"HEAD"), (200,)),
        (target.request(FILE, b"Range: bytes=0-9"), (206, 200)),
        (target.request(SMALL, b"If-None-Match: *"), (304, 200)),
        (target.request("/sizes/0.bin"), (200,)),
        (target.request(DIRECTORY), (200, 301, 302, 307, 308)),
        (target.request(MISSING), (404,)),
        (target.request(SMALL), (200,)),
    ]
    connection = target.connect()
    connection.send(b"".join(request for request, _ in requests))

    for request, statuses in requests:
        if expect(connection.read(request), *statuses).closes:
            break
    connection.finish()


@must(behaves("reverses"), CLOSES_UNSAID)
def a_large_answer_does_not_overtake_a_small_one(target: Target) -> None:
    """RFC 9112 §9.3.2: a server "MUST send the corresponding responses in the same order that the
    requests were received."
    """
    target.need_persistence()
    paths = ["/sizes/1048577.bin", "/sizes/1.bin", "/sizes/1048575.bin", "/sizes/16.bin"]
    connection = target.connect()
    connection.send(b"".join(map(target.request, paths)))

    for path in paths:
        expect_whole(connection.read(target.request(path)), path)
    connection.finish()


CLOSES = {
    "close": b"Connection: close",
    "in another case": b"Connection: Close",
    "in a list": b"Connection: x-unknown, close",
    "in a list with keep-alive": b"Connection: keep-alive, close",
    "in a second line": b"Connection: x-unknown\r\nConnection: close",
    "beside empty members": b"Connection: , close ,",
}


@must(NEVER_CLOSES, rows=CLOSES)
def close_ends_the_connection(target: Target, field: bytes) -> None:
    """RFC 9112 §9.6: "A server that receives a "close" connection option MUST initiate closure of
    the connection (see below) after it sends the final response to the request that contained the
    "close" connection option."
    """
    connection = target.connect()
    expect_whole(connection.ask(target.request(SMALL, field)), SMALL)

    expect_end(connection)


@must(NEVER_CLOSES, rows={"GET": b"GET", "HEAD": b"HEAD", "DELETE": b"DELETE", "BREW": b"BREW"})
def close_ends_the_connection_whatever_was_asked(target: Target, method: bytes) -> None:
    """RFC 9112 §9.6: "A server that receives a "close" connection option MUST initiate closure of
    the connection [...] after it sends the final response to the request".
    """
    connection = target.connect()
    connection.ask(target.request(MISSING, b"Connection: close", method=method))

    expect_end(connection)


@should(omits(b"Connection"))
def the_answer_to_close_says_close(target: Target) -> None:
    """RFC 9112 §9.6: "The server SHOULD send a "close" connection option in its final response on
    that connection."
    """
    answer = target.get(SMALL, b"Connection: close")

    require(b"close" in answer.head.members(b"connection"), "the answer does not say close")


@must(NEVER_CLOSES)
def nothing_after_close_is_answered(target: Target) -> None:
    """RFC 9112 §9.6: "The server MUST NOT process any further requests received on that
    connection."
    """
    connection = target.connect()
    connection.send(target.request(SMALL, b"Connection: close") + target.request(FILE))
    expect_whole(connection.read(target.request(SMALL)), SMALL)

    expect_end(connection)


@must(NEVER_CLOSES)
def close_ends_a_pipeline_where_it_stands(target: Target) -> None:
    """RFC 9112 §9.6: "The server MUST NOT process any further requests received on that
    connection."
    """
    target.need_persistence()
    connection = target.connect()
    asked = [(), (), (b"Connection: close",), (), ()]
    connection.send(b"".join(target.request(SMALL, *fields) for fields in asked))
    for _ in range(3):
        expect_whole(connection.read(target.request(SMALL)), SMALL)

    expect_end(connection)


@must(NEVER_CLOSES)
def an_answer_that_says_close_is_the_last(target: Target) -> None:
    """RFC 9112 §9.6: "A server that sends a "close" connection option MUST initiate closure of the
    connection (see below) after it sends the response containing the "close" connection option."
    """
    connection = target.connect()
    answer = connection.ask(b"GET / HTTP/1.1\r\nHost: in valid\r\n\r\n")
    if not answer.closes:
        raise NotApplicable("the server does not close of its own accord")

    expect_end(connection)


@should(HANGS_UP)
def the_answer_arrives_while_the_client_still_sends(target: Target) -> None:
    """RFC 9112 §9.6: "If a server performs an immediate close of a TCP connection, there is a
    significant risk that the client will not be able to read the last HTTP response": "To avoid the
    TCP reset problem, servers typically close a connection in stages."
    """
    connection = target.connect()
    request = target.request(SMALL, method=b"POST", content=bytes(1_000_000))
    connection.send_until_answered(request)

    answer = connection.read(request)
    expect(answer, *range(200, 505))
