"""A server that answers anything but what was expected is not timed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtests.benchmark.wire import Differs, verify
from loadtests.benchmark.workloads import WORKLOADS, Ask, Workload

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def workload(**other: object) -> Workload:
    row = {"status": 200, "asks": lambda: [Ask("/", b"hello")], **other}
    return Workload("test", "test", **row)  # type: ignore[arg-type]  # the test knows its rows


@contextmanager
def server(*connections: tuple[bytes, ...]) -> Iterator[tuple[str, int]]:
    """Gives one scripted answer per request, and ends each connection after its last one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            for answers in connections:
                sock, _ = listener.accept()
                with sock:
                    for answer in answers:
                        sock.recv(65536)
                        sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        thread.join(10)


def test_the_right_answers_are_accepted_and_handed_back() -> None:
    with server((HELLO, HELLO)) as address:
        heads, answer = verify(*address, workload())

    assert [b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"] == heads
    assert HELLO == answer.octets


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        pytest.param(HELLO.replace(b"hello", b"jello"), "other content", id="one octet is another"),
        pytest.param(HELLO.replace(b"200 OK", b"404 No"), "answered 404", id="another status"),
        pytest.param(HELLO.replace(b"5", b"4"), "other content", id="a length that cuts off"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhello", "no Content-Length", id="no length"),
        pytest.param(HELLO.replace(b"/1.1", b"/1.0"), "no HTTP/1.1", id="an older version"),
        pytest.param(HELLO[:-1], "ended before", id="cut off"),
        pytest.param(b"", "ended before", id="nothing"),
    ],
)
def test_a_wrong_answer_is_refused(answer: bytes, complaint: str) -> None:
    with server((answer,)) as address, pytest.raises(Differs, match=complaint):
        verify(*address, workload())


def test_a_connection_that_does_not_persist_is_noticed() -> None:
    with (
        server((HELLO,)) as address,
        pytest.raises(Differs, match=r"ended before|connection failed"),
    ):
        verify(*address, workload())


def test_pipelined_requests_are_answered_one_by_one() -> None:
    with server((HELLO * 4, HELLO)) as address:
        _, answer = verify(*address, workload(depth=4))

    assert HELLO == answer.octets


def test_a_workload_of_closing_connections_wants_the_end_of_the_connection() -> None:
    with server((HELLO,)) as address:
        _, answer = verify(*address, workload(closing=True))

    assert HELLO == answer.octets


def test_an_octet_after_the_answer_is_not_the_end_of_the_connection() -> None:
    with server((HELLO + b"!",)) as address, pytest.raises(Differs, match="stays open"):
        verify(*address, workload(closing=True))


def test_a_revalidation_uses_the_validators_of_the_server_itself() -> None:
    first = (
        b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n'
        b"Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\nhello"
    )
    unmodified = b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n'
    with server((first,), (unmodified, unmodified)) as address:
        heads, answer = verify(*address, WORKLOADS["revalidate"])

    assert heads[0].endswith(
        b'If-None-Match: "a"\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n\r\n'
    )
    assert unmodified == answer.octets


def test_a_server_without_validators_cannot_be_asked_to_revalidate() -> None:
    with server((HELLO,)) as address, pytest.raises(Differs, match="no ETag"):
        verify(*address, WORKLOADS["revalidate"])
