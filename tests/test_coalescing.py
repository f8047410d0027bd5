"""When a worker waits for more requests, and how long."""

from __future__ import annotations

import pytest

from mpserve.coalescing import AS_MANY, BUSY, FEWEST, LASTS, PART, WINDOW, Coalescing

LONGEST = 0.00025  # seconds
INTERVAL = 7e-6  # between two requests of a busy crowd


class Thread:
    """A thread with a clock of its own, and the clients that it serves."""

    def __init__(self, *, longest: float = LONGEST, busy: float = 1.0, slower: float = 1.0) -> None:
        self.now = 1000.0
        self.busy = busy  # without waiting
        self.slower = slower  # so many times as long it takes until a request comes, when it waits
        self.taken = 900.0  # processor seconds
        self.coalescing = Coalescing(longest, lambda: self.taken)
        self.apart = 0.0
        self.said: list[float] = []  # by each turn

    def turn(self, fds: list[int], seconds: float) -> None:
        """A turn to which `fds` bring requests, `seconds` after the last one."""
        self.now += seconds
        self.taken += seconds * (0.5 if self.apart else self.busy)
        self.apart = self.coalescing.apart(fds, self.now)
        self.said.append(self.apart)

    def serve(
        self, crowd: int, *, interval: float = INTERVAL, each: int = 8, seconds: float = 4 * WINDOW
    ) -> Thread:
        """As many clients ask in turns for some time, `each` in one of the thread's, one every `interval` seconds."""
        first = 0
        end = self.now + seconds
        while self.now < end:
            took = each * interval * (self.slower if self.apart else 1.0)
            self.turn([10 + (first + index) % crowd for index in range(each)], took)
            first += each
        return self

    def share(self) -> float:
        """The part of the turns that were to be apart."""
        return sum(map(bool, self.said)) / len(self.said)


def test_a_busy_thread_waits_for_a_part_of_a_crowd() -> None:
    assert Thread().serve(64).apart == pytest.approx(64 * PART * INTERVAL, rel=0.02)


def test_it_waits_no_longer_than_is_wanted() -> None:
    assert Thread().serve(128).apart == LONGEST
    assert Thread(longest=0.0001).serve(64).apart == 0.0001


@pytest.mark.parametrize(("crowd", "waits"), [(FEWEST - 1, False), (FEWEST, True)])
def test_a_few_are_not_waited_for(crowd: int, waits: bool) -> None:
    assert (Thread().serve(crowd).share() > 0) == waits


@pytest.mark.parametrize(("busy", "waits"), [(BUSY - 0.05, False), (BUSY + 0.05, True)])
def test_a_thread_that_has_time_left_does_not_wait(busy: float, waits: bool) -> None:
    assert (Thread(busy=busy).serve(64).share() > 0) == waits


@pytest.mark.parametrize("each", [1, 60])
def test_that_it_is_less_busy_when_it_waits_does_not_end_it(each: int) -> None:
    assert Thread().serve(64, each=each, seconds=3 * LASTS).share() > 0.9


def test_it_looks_now_and_then_what_it_is_like_without() -> None:
    thread = Thread().serve(64, each=30, seconds=3 * LASTS)
    ends = [
        index
        for index, apart in enumerate(thread.said)
        if index and not apart and thread.said[index - 1]
    ]

    assert len(ends) == 2


def test_it_does_not_wait_where_that_keeps_clients_from_asking() -> None:
    thread = Thread(slower=1.1 / AS_MANY).serve(64, seconds=3 * LASTS)
    early = thread.share()
    thread.said.clear()
    thread.serve(64, seconds=10 * LASTS)

    assert 0 < early < 0.1
    assert 0 < thread.share() <= 1.1 * WINDOW / LASTS


def test_a_window_that_brings_less_by_chance_is_soon_forgotten() -> None:
    thread = Thread().serve(64, seconds=LASTS / 2)
    thread.said.clear()
    for _ in range(5):
        while not thread.apart:
            thread.serve(64, seconds=WINDOW)
        thread.turn([10], WINDOW)
        thread.serve(64, seconds=10 * WINDOW)

    assert thread.share() > 0.75


def test_a_few_requests_less_do_not_matter() -> None:
    assert Thread(slower=1 / (AS_MANY + 0.01)).serve(64, seconds=2 * LASTS).share() > 0.9


def test_it_never_waits_where_that_is_not_wanted() -> None:
    assert Thread(longest=0.0).serve(64).share() == 0


def test_nothing_is_said_of_the_time_before_the_first_turn() -> None:
    thread = Thread().serve(64, seconds=WINDOW / 2)

    assert thread.share() == 0


@pytest.mark.parametrize(
    ("crowd", "interval"),
    [pytest.param([10], 0.0003, id="one is left"), pytest.param([], 0.0003, id="others come")],
)
def test_it_waits_no_more_when_the_crowd_has_gone(crowd: list[int], interval: float) -> None:
    thread = Thread().serve(64)
    waited = thread.apart
    for _ in range(int(2 * WINDOW / interval)):
        thread.turn(crowd, interval)

    assert (waited > 0, thread.apart) == (True, 0.0)


def test_the_first_turn_after_a_silence_ends_it() -> None:
    thread = Thread().serve(64)
    thread.turn([10], 60.0)

    assert thread.apart == 0.0


def test_its_repr_tells_how_far() -> None:
    assert repr(Thread().coalescing) == "<Coalescing 0 µs apart>"
