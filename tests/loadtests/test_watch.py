"""What /proc says of real processes."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

from loadtests.chaos import Chaos
from loadtests.watch import KILLED, RETIRED, VANISHED, Busyness, Look, Watch, look_at
from tests.harness.server import workers_of

# Two children accept on one listener each, say so, and wait; a third word on standard input ends them.
FAMILY = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(2):
    if not os.fork():
        held = [listener.accept()]
        os.write(1, b"accepted\\n")
        signal.pause()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


class Family:
    """A parent with two children, each of which holds one connection."""

    def __init__(self, stack: ExitStack) -> None:
        self.process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        stack.callback(self.end)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        for _ in range(2):
            stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
            assert self.process.stdout.readline() == b"accepted\n"
        self.born = self.children

    @property
    def children(self) -> list[int]:
        return sorted(workers_of(self.process.pid))

    def end(self) -> None:
        # All that were born: those of a parent that is dead are nobody's children.
        for pid in self.born:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()


@pytest.fixture
def family() -> Iterator[Family]:
    with ExitStack() as stack:
        yield Family(stack)


def kill_and_reap(family: Family, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while pid in family.children:
        pass


def test_a_look_sees_what_a_process_holds(family: Family) -> None:
    looks = [look_at(pid) for pid in family.children]

    assert len(looks) == 2
    for look in looks:
        assert look is not None
        assert look.sockets == 2  # the listener and what it has accepted
        assert look.fds >= 5
        assert look.rss > 1 << 20
        assert look.cpu >= 0


def test_connections_are_what_came_since_the_beginning(family: Family) -> None:
    watch = Watch(family.process.pid)
    watch.begin()
    watch._idle_sockets = 1  # as if the run had begun before they came
    watch.look()

    assert [watch.held_by(pid) for pid in family.children] == [1, 1]
    assert [worker.connections for worker in watch.workers()] == [1.0, 1.0]
    assert [worker.connections_peak for worker in watch.workers()] == [1, 1]


def test_memory_is_compared_from_a_fourth_of_the_run_on(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter(range(100, 1000))
    monkeypatch.setattr("loadtests.watch.look_at", lambda _: Look(0.0, 1, next(sizes), 5))
    monkeypatch.setattr("loadtests.watch.workers_of", lambda _: [7])
    watch = Watch(family.process.pid)
    watch.begin()
    for _ in range(7):
        watch.look()

    assert watch.workers()[0].rss == (102, 107)


def test_a_process_that_is_gone_is_no_error(family: Family) -> None:
    pid = family.children[0]
    kill_and_reap(family, pid)
    family.process.kill()
    family.process.wait()

    assert look_at(pid) is None
    assert workers_of(family.process.pid) == []


def test_every_worker_of_a_run_is_remembered_with_its_fate(family: Family) -> None:
    watch = Watch(family.process.pid)
    watch.begin()
    first, second = family.children
    watch.killed(first)
    kill_and_reap(family, first)
    kill_and_reap(family, second)
    watch.look()
    fates = {worker.pid: worker.fate for worker in watch.workers()}

    assert fates == {first: KILLED, second: VANISHED}


def test_a_run_begins_with_what_lives_then(family: Family) -> None:
    watch = Watch(family.process.pid)
    watch.begin()
    gone = family.children[0]
    kill_and_reap(family, gone)
    watch.look()
    watch.begin()

    assert [worker.pid for worker in watch.workers()] == family.children


def test_a_strike_kills_one_worker_and_counts_what_it_held(family: Family) -> None:
    watch = Watch(family.process.pid)
    watch.begin()
    watch._idle_sockets = 1
    chaos = Chaos(watch, random.Random(1))
    before = set(family.children)
    word = chaos.strike()
    while len(family.children) > 1:
        pass
    (pid,) = before - set(family.children)
    watch.look()

    assert word == f"worker {pid} killed, with 1 connections"
    assert (chaos.kills, chaos.excused) == (1, 1)
    assert {worker.pid: worker.fate for worker in watch.workers()}[pid] == KILLED


def test_the_next_strike_stops_a_worker_until_it_relents(family: Family) -> None:
    chaos = Chaos(Watch(family.process.pid), random.Random(1), turn=1)
    word = chaos.strike()
    pid = chaos.stopped
    assert pid is not None
    process = psutil.Process(pid)
    while process.status() != psutil.STATUS_STOPPED:
        pass
    chaos.relent()
    while process.status() == psutil.STATUS_STOPPED:
        pass

    assert word == f"worker {pid} stopped"
    assert chaos.stopped is None
    assert chaos.kills == 0


def test_the_strikes_that_follow_are_told_to_the_master(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr("loadtests.chaos.send", lambda pid, number: sent.append((pid, number)))
    watch = Watch(family.process.pid)
    watch.begin()
    chaos = Chaos(watch, random.Random(1), turn=2)
    words = [chaos.strike() for _ in range(4)]

    assert words == [f"{name} to the master" for name in ("HUP", "TTIN", "USR2", "TTOU")]
    assert [pid for pid, _ in sent] == [family.process.pid] * 4
    assert {worker.fate for worker in watch.workers()} == {RETIRED}


def test_one_worker_less_is_one_of_those_that_serve(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(family.process.pid)
    watch.begin()
    serving, leaving = family.children
    watch.retired([leaving])  # of an earlier generation, in the slot that was the last then
    monkeypatch.setattr("loadtests.chaos.send", lambda _pid, _number: None)
    monkeypatch.setattr("loadtests.chaos.slot_of", {serving: 1, leaving: 2}.get)
    Chaos(watch, random.Random(1)).fewer()
    kill_and_reap(family, serving)
    watch.look()

    assert {worker.pid: worker.fate for worker in watch.workers()}[serving] == RETIRED


def test_with_nobody_left_a_strike_says_so(family: Family) -> None:
    for pid in family.children:
        kill_and_reap(family, pid)
    chaos = Chaos(Watch(family.process.pid), random.Random(1))

    assert chaos.strike() == "no worker to kill"
    assert (chaos.kills, chaos.excused) == (0, 0)


def test_a_busy_process_is_busy() -> None:
    busyness = Busyness()
    deadline = os.times().user + 0.05
    while os.times().user < deadline:
        pass

    assert busyness.look() > 5
