"""mpserve by way of the benchmark: it polls what it is said to poll, and counts what accepting takes."""

from __future__ import annotations

import dataclasses
import select
import socket
import sys
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.benchmark import kin, polling
from loadtests.benchmark.polling import CELL, EMPTY, IN_VAIN, NAMES, POLLED, Counting
from loadtests.benchmark.results import OURS
from mpserve.config import Address, load
from mpserve.crowd import Crowd
from mpserve.listeners import listen
from mpserve.scoreboard import Scoreboard
from tests.dialogue import FakeService
from tests.harness import peers
from tests.harness.polled import listening_at, polled_by
from tests.harness.server import workers_of
from tests.harness.until import until

WORKERS = 3
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "each"),
    [
        pytest.param(OURS, WORKERS, id="mpserve polls every slot"),
        pytest.param(OURS + kin.COUNTED, WORKERS, id="also when it counts"),
        pytest.param(kin.OWN_SLOT, 1, id="the other its own"),
        pytest.param(kin.OWN_SLOT + kin.COUNTED, 1, id="also when that counts"),
    ],
)
def test_workers_poll_what_they_are_said_to_poll(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, each: int
) -> None:
    monkeypatch.setattr(peers, "PEERS", dict(peers.PEERS))
    root = tmp_path / "root"
    root.mkdir()
    kin.introduce(sys.executable, None, tmp_path)
    polling.clear(tmp_path / kin.COUNTS, WORKERS)
    with peers.start(name, root, workers=WORKERS) as peer:
        assert until(lambda: b"http://" in peer.complaints.read_bytes()), "it is not ready"
        polled = [polled_by(pid, peer.port) for pid in workers_of(peer.process.pid)]
        there = listening_at(peer.port)

    assert [each] * WORKERS == [len(sockets) for sockets in polled]
    assert there == set().union(*polled), "no slot is left alone"


def has_octets(client: socket.socket) -> bool:
    """Whether anything has come to be read."""
    return bool(select.select([client], [], [], 0)[0])


class Door:
    """A counting acceptor with a single socket, which is its own slot's or, when it is shared, is not."""

    def __init__(self, folder: Path, running: ExitStack, *, shared: bool) -> None:
        self.service = FakeService(load([str(folder), "--workers", "1"], {}))
        (listener,) = listen((Address("127.0.0.1", 0),), 1, 64)
        (self.sock,) = listener.sockets
        board = Scoreboard.create()
        self.row = board.claim(0, 1)
        self.counts = memoryview(bytearray(CELL * len(NAMES))).cast("Q")
        crowd = Crowd(set(), 10, self.service.config.timeouts)
        listeners = [dataclasses.replace(listener, shared=shared)]
        Counting.counts = self.counts
        self.acceptor = Counting(self.service, crowd, self.row, listeners)
        self.acceptor.listen()
        for close in (board.close, self.service.loop.close, self.acceptor.close):
            running.callback(close)

    def visit(self) -> None:
        """Come, be answered, and leave."""
        visits = self.row["accepted"] + 1
        with socket.create_connection(self.sock.getsockname(), timeout=5) as client:
            client.sendall(GET)
            assert until(lambda: self.turn() == visits and has_octets(client))
            assert client.recv(4096).startswith(b"HTTP/1.1 ")
        self.service.turn()

    def turn(self) -> int:
        """How many have been accepted, after another turn."""
        self.service.turn()
        return self.row["accepted"]

    def counted(self) -> dict[str, int]:
        return dict(zip(NAMES, self.counts, strict=True))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(Counting, "counts", memoryview(b""), raising=False)
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("shared", "counted"),
    [
        pytest.param(False, {EMPTY: 3, POLLED: 1}, id="own slot: is anybody else there"),
        pytest.param(True, {EMPTY: 0, POLLED: 1 + 3}, id="another's: to the end of the queue"),
    ],
)
def test_what_follows_each_who_was_accepted_is_counted(
    tmp_path: Path, running: ExitStack, shared: bool, counted: dict[str, int]
) -> None:
    door = Door(tmp_path, running, shared=shared)
    for _ in range(3):
        door.visit()

    assert counted | {IN_VAIN: 0} == door.counted()


def test_a_wake_up_for_somebody_whom_a_sibling_has_taken_is_in_vain(
    tmp_path: Path, running: ExitStack
) -> None:
    door = Door(tmp_path, running, shared=False)
    door.acceptor.on_own_listener(door.sock.fileno())

    assert {EMPTY: 1, POLLED: 1, IN_VAIN: 1} == door.counted()


def test_what_the_workers_have_counted_is_added_up(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    polling.clear(counts, 2)
    nothing = polling.read(counts)
    cells = array("Q", [*(1 for _ in NAMES), *range(len(NAMES))])
    counts.write_bytes(cells.tobytes())

    assert dict.fromkeys(NAMES, 0) == nothing
    assert [1, 2, 3] == list(polling.read(counts).values())
