"""What wrk really sends, read by a server that keeps it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from loadtests.benchmark import client
from loadtests.benchmark.workloads import WORKLOADS, Workload

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed"),
]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """Answers every head, and keeps what it read: the octets of each receive."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.received: list[bytes] = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def serve(self) -> None:
        """One connection after the other, until one comes that says nothing."""
        while True:
            sock, _ = self.listener.accept()
            with sock:
                if sock.recv(1, socket.MSG_PEEK) == b"\n":
                    return
                self.serve_one(sock)

    def serve_one(self, sock: socket.socket) -> None:
        # wrk leaves in the middle of an answer.
        with suppress(ConnectionError):
            while data := sock.recv(65536):
                self.received.append(data)
                sock.sendall(ANSWER * data.count(b"\r\n\r\n"))

    def stop(self) -> None:
        with socket.create_connection(self.listener.getsockname()) as sock:
            sock.sendall(b"\n")
            self.thread.join()
        self.listener.close()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.stop()


def sent(recorder: Recorder, workload: Workload, folder: Path) -> client.Counted:
    """Runs wrk for a second with the workload's heads."""
    heads = folder / "heads"
    heads.write_bytes(b"".join([ask.head() for ask in workload.asks()] * workload.depth))
    load = client.Load(heads, 1, workload.depth, workload.counted)
    return client.run(recorder.url, load, 1, None)


def test_no_two_browser_requests_are_alike(recorder: Recorder, tmp_path: Path) -> None:
    counted = sent(recorder, WORKLOADS["browser"], tmp_path)

    assert len(recorder.received) == len(set(recorder.received))
    assert counted.requests <= len(recorder.received)


def test_browser_requests_are_the_heads_with_a_number(recorder: Recorder, tmp_path: Path) -> None:
    sent(recorder, WORKLOADS["browser"], tmp_path)
    heads = {ask.head()[: -len(b"\r\n\r\n")] for ask in WORKLOADS["browser"].asks()}
    number_and_blank = len(b"10000001\r\n\r\n")

    assert {head[:-number_and_blank] for head in recorder.received} <= heads


def test_pipelined_requests_go_out_together(recorder: Recorder, tmp_path: Path) -> None:
    sent(recorder, WORKLOADS["pipelined"], tmp_path)

    assert {WORKLOADS["pipelined"].asks()[0].head() * 16} == set(recorder.received)


def test_the_many_are_asked_for_in_turn(recorder: Recorder, tmp_path: Path) -> None:
    sent(recorder, WORKLOADS["many"], tmp_path)
    heads = [ask.head() for ask in WORKLOADS["many"].asks()]
    first = heads.index(recorder.received[0])
    expected = [heads[(first + i) % len(heads)] for i in range(100)]

    assert expected == recorder.received[:100]
