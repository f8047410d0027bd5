"""Requests that wait for a descriptor: when they try again, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mpserve.loop import Loop
from mpserve.shortage import MOST_IN_VAIN, Shortage
from tests.dialogue import re_raise

PATIENCE = 30.0


class Room:
    """A shortage, with descriptors that come when the test says so."""

    def __init__(self) -> None:
        self.loop = Loop(re_raise)
        self.shortage = Shortage(self.loop, PATIENCE, lambda: self.heard.append("make room"))
        self.free = 0
        self.heard: list[str] = []

    def ask(self, name: str) -> Callable[[], None]:
        """Ask for a descriptor; who gets none tries again, or is refused."""

        def retry() -> None:
            if self.free:
                self.free -= 1
                self.heard.append(name)
            elif not self.shortage.hold(retry):
                self.heard.append(f"not {name}")

        retry()
        return retry

    def pass_time(self, seconds: float) -> None:
        """Let what is due in `seconds` be done."""
        self.loop.now += seconds
        for periodic in self.loop._periodic.copy():
            periodic.call()


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.loop.close()


def test_who_waits_gets_the_next_descriptor_and_who_came_first_is_first(room: Room) -> None:
    for name in "abc":
        room.ask(name)
    before = list(room.heard)
    room.free = 2
    room.pass_time(0.1)
    then = list(room.heard)
    room.free = 1
    room.pass_time(0.1)

    assert before == []
    assert then == ["make room", "a", "b"]
    assert room.heard == [*then, "make room", "c"]
    assert room.loop._periodic == []  # nobody waits, and nothing wakes the loop


def test_nobody_waits_for_ever(room: Room) -> None:
    room.ask("a")
    room.pass_time(PATIENCE / 2)
    room.ask("b")
    room.pass_time(PATIENCE / 2)
    first = list(room.heard)
    room.pass_time(PATIENCE / 2)

    assert first == ["make room", "make room", "not a"]
    assert room.heard == [*first, "make room", "not b"]
    assert room.loop._periodic == []


def test_one_that_wants_something_else_does_not_keep_the_others_from_it(room: Room) -> None:
    tries: list[int] = []

    def never() -> None:
        tries.append(1)
        assert room.shortage.hold(never)

    never()
    room.ask("a")
    room.free = 1
    room.pass_time(0.1)

    assert (room.heard, len(tries)) == (["make room", "a"], 2)


def test_when_many_have_tried_in_vain_the_others_are_left_alone_for_now(room: Room) -> None:
    tries: list[int] = []

    def retry(number: int) -> Callable[[], None]:
        def call() -> None:
            tries.append(number)
            assert room.shortage.hold(call)

        return call

    for number in range(MOST_IN_VAIN + 5):
        retry(number)()
    tries.clear()
    room.pass_time(0.1)

    assert tries == list(range(MOST_IN_VAIN))
