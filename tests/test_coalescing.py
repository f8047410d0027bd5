"""When a worker waits for more requests, and how long."""

from __future__ import annotations

import pytest

from mpserve.coalescing import BUSY, FEWEST, INTERVAL, PART, SAMPLE, Coalescing

LONGEST = 0.00025  # seconds


class Thread:
    """A thread whose turns begin when we say so, and which is at work for a part of the time."""

    def __init__(self, *, longest: float = LONGEST, busy: float = 1.0) -> None:
        self.now = 1000.0
        self.busy = busy
        self.taken = 5.0  # processor seconds
        self.looked = 0  # how often they were asked for
        self.coalescing = Coalescing(longest, self._time_taken)
        self.apart = 0.0

    def _time_taken(self) -> float:
        self.looked += 1
        return self.taken

    def turn(self, fds: list[int], seconds: float) -> None:
        """A turn to which `fds` bring requests, `seconds` after the last one."""
        self.now += seconds
        self.taken += seconds * self.busy
        self.apart = self.coalescing.apart(fds, self.now)

    def serve(self, crowd: int, *, interval: float, each: int = 8, seconds: float = 0.05) -> Thread:
        """As many clients take their turns for some time, `each` in one of ours, a request every `interval` seconds."""
        first = 0
        end = self.now + seconds
        while self.now < end:
            self.turn([10 + (first + index) % crowd for index in range(each)], each * interval)
            first += each
        return self


def test_a_busy_thread_waits_for_a_part_of_a_crowd() -> None:
    thread = Thread().serve(64, interval=8e-6)

    assert thread.apart == pytest.approx(64 * PART * 8e-6, rel=0.2)


def test_it_waits_no_longer_than_is_wanted() -> None:
    assert Thread().serve(1024, interval=8e-6).apart == LONGEST
    assert Thread(longest=0.0001).serve(64, interval=8e-6).apart == 0.0001


@pytest.mark.parametrize(("crowd", "waits"), [(FEWEST - 1, False), (FEWEST, True)])
def test_a_few_are_not_waited_for(crowd: int, waits: bool) -> None:
    assert (Thread().serve(crowd, interval=8e-6).apart > 0) == waits


@pytest.mark.parametrize(("busy", "waits"), [(BUSY - 0.05, False), (BUSY + 0.05, True)])
def test_a_thread_that_has_time_left_does_not_wait(busy: float, waits: bool) -> None:
    assert (Thread(busy=busy).serve(64, interval=8e-6).apart > 0) == waits


@pytest.mark.parametrize(("interval", "waits"), [(0.9, True), (1.5, False)])
def test_who_asks_seldom_is_not_waited_for(interval: float, waits: bool) -> None:
    thread = Thread().serve(64, interval=interval * INTERVAL / SAMPLE, each=1, seconds=0.2)

    assert (thread.apart > 0) == waits


def test_it_never_waits_where_that_is_not_wanted() -> None:
    thread = Thread(longest=0.0).serve(64, interval=8e-6)

    assert (thread.apart, thread.looked) == (0.0, 0)


def test_the_first_sample_says_nothing_of_the_time_before_it() -> None:
    thread = Thread()
    while not thread.looked:
        thread.serve(64, interval=8e-6, seconds=8e-6)

    assert thread.apart == 0.0


def test_it_waits_no_more_when_the_crowd_has_gone() -> None:
    thread = Thread().serve(64, interval=8e-6)
    waited = thread.apart
    thread.serve(1, interval=0.0003, each=1, seconds=4 * INTERVAL)

    assert (waited > 0, thread.apart) == (True, 0.0)


def test_turns_without_such_requests_end_it_too() -> None:
    thread = Thread().serve(64, interval=8e-6)
    for _ in range(4):
        thread.turn([], INTERVAL)

    assert thread.apart == 0.0


def test_it_looks_once_in_an_interval_or_less() -> None:
    thread = Thread().serve(64, interval=8e-6, seconds=1.0)

    assert 0 < thread.looked <= 1.0 / INTERVAL


def test_its_repr_tells_how_far() -> None:
    assert repr(Thread().coalescing) == "<Coalescing 0 µs apart>"
