"""RFC 9112 §8, Handling incomplete messages: what a client did not finish is not performed."""

from __future__ import annotations

from tests.conformance.case import must
from tests.conformance.expect import expect_refused, require
from tests.conformance.target import SMALL, Target
from tests.conformance.wrong_server import behaves


@must(
    behaves("answers early"),
    rows={
        "after the request line": b"GET %b HTTP/1.1\r\n",
        "in a field": b"GET %b HTTP/1.1\r\nHost: exam",
        "after a field": b"GET %b HTTP/1.1\r\nHost: example.org\r\n",
        "in the empty line": b"GET %b HTTP/1.1\r\nHost: example.org\r\n\r",
        "of HTTP/1.0, after the request line": b"GET %b HTTP/1.0\r\n",
    },
)
def a_head_that_was_cut_is_not_performed(target: Target, form: bytes) -> None:
    """RFC 9112 §8: "A server that receives an incomplete request message, usually due to a canceled
    request or a triggered timeout exception, MAY send an error response prior to closing the
    connection"; RFC 9110 §5.3: "A server MUST NOT apply a request to the target resource until it
    receives the entire request header section".
    """
    connection = target.connect()
    connection.send(form % SMALL.encode())
    connection.finish_sending()

    expect_refused(connection.read_any())


@must(
    behaves("waits for ever"),
    rows={
        "with a length": b"Content-Length: 100\r\n\r\n0123456789",
        "in chunks": b"Transfer-Encoding: chunked\r\n\r\na\r\n01234",
        "in chunks, without the last": b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    },
)
def content_that_was_cut_ends_the_connection(target: Target, rest: bytes) -> None:
    """RFC 9112 §8: "A message that uses a valid Content-Length is incomplete if the size of the
    message body received (in octets) is less than the value given by Content-Length"; §6.3: "the
    recipient MUST consider the message to be incomplete and close the connection."
    """
    connection = target.connect()
    connection.send(target.request(SMALL, method=b"POST")[:-2] + rest)
    connection.finish_sending()

    connection.read_any()
    require(connection.reader.ended(), "the connection stays open")
