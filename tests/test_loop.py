"""The loop, with pipes and socket pairs."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from mpserve.loop import LONG_SLICE, SLICE, Event, Loop


def nothing() -> None:
    """Nothing is to be done after the events."""


BUGS: list[Callable[..., None]] = []


@pytest.fixture
def loop() -> Iterator[Loop]:
    BUGS.clear()
    loop = Loop(lambda handler, _bug: BUGS.append(handler))
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_a_readable_descriptor_calls_its_handler(loop: Loop, pair: Pair) -> None:
    masks: list[int] = []
    loop.add(pair[0].fileno(), select.EPOLLIN, masks.append)
    pair[1].send(b"x")
    loop.turn(list, nothing)

    assert [select.EPOLLIN] == masks


def test_what_is_received_for_all_together_is_left_to_no_handler(loop: Loop) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        order: list[object] = []
        for server in (one, other):
            loop.add(server.fileno(), select.EPOLLIN, lambda _mask: order.append("handler"))
            socket.create_connection(server.getsockname()).close()

        def receive(events: list[Event]) -> list[Event]:
            order.append(sorted(events))
            return events[1:]

        loop.turn(receive, lambda: order.append("answer"))
        events = sorted((server.fileno(), select.EPOLLIN) for server in (one, other))

    assert order == [events, "handler", "answer", "answer"]


def test_a_removed_descriptor_calls_nobody(loop: Loop, pair: Pair) -> None:
    masks: list[int] = []
    loop.add(pair[0].fileno(), select.EPOLLIN, masks.append)
    loop.remove(pair[0].fileno())
    loop.remove(pair[0].fileno())
    pair[1].send(b"x")
    loop.again(lambda: None)
    loop.turn(list, nothing)

    assert [] == masks


def test_a_descriptor_removed_by_an_earlier_handler_of_the_turn_is_left_alone(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def remove_both(_mask: int) -> None:
        called.append(1)
        for ours, _theirs in pairs:
            loop.remove(ours.fileno())

    for ours, theirs in pairs:
        loop.add(ours.fileno(), select.EPOLLIN, remove_both)
        theirs.send(b"x")
    loop.turn(list, nothing)
    for ours, theirs in pairs:
        ours.close()
        theirs.close()

    assert [1] == called


def test_what_is_to_be_called_again_is_called_in_the_next_turn(loop: Loop) -> None:
    calls: list[str] = []

    def twice() -> None:
        calls.append("first")
        loop.again(lambda: calls.append("second"))

    loop.again(twice)
    loop.turn(list, nothing)
    after_one_turn = list(calls)
    loop.turn(list, nothing)

    assert (["first"], ["first", "second"]) == (after_one_turn, calls)


def test_a_periodic_call_comes_when_it_is_due_and_not_before(loop: Loop) -> None:
    calls: list[float] = []
    loop.every(0.02, lambda: calls.append(loop.now))
    started = loop.now
    loop.again(lambda: None)
    loop.turn(list, nothing)
    at_once = len(calls)
    loop.turn(list, nothing)

    assert (0, 1, True) == (at_once, len(calls), calls[0] - started >= 0.02)


# --- Turns that begin apart -----------------------------------------------------------------------


@pytest.fixture
def slept(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the loop sleeps before its turns, which are to begin 2 s apart; only that moves the clock on."""
    clock, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    loop.read_clock()
    loop.apart = 2.0
    return slept


def test_turns_begin_as_far_apart_as_they_should(
    loop: Loop, slept: list[float], pair: Pair
) -> None:
    loop.add(pair[0].fileno(), select.EPOLLIN, lambda _mask: None)
    pair[1].send(b"x")  # which nobody receives: every turn finds it
    begun = []
    for _ in range(3):
        loop.turn(list, nothing)
        begun.append(loop.now)

    assert (begun, slept) == ([102.0, 104.0, 106.0], [2.0, 2.0, 2.0])


def test_what_has_come_in_the_meantime_belongs_to_the_turn(
    loop: Loop, slept: list[float], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.add(pair[0].fileno(), select.EPOLLIN, lambda _mask: None)
    monkeypatch.setattr(time, "sleep", lambda _seconds: pair[1].send(b"x"))
    found: list[list[Event]] = []

    def receive(events: list[Event]) -> list[Event]:
        found.append(events)
        return []

    loop.again(lambda: None)  # it does not rest
    loop.turn(receive, nothing)
    loop.turn(receive, nothing)

    assert (found, slept) == ([[], [(pair[0].fileno(), select.EPOLLIN)]], [])


@pytest.mark.parametrize(("took", "rest"), [(1.0, [1.0]), (1.5, []), (2.0, []), (5.0, [])])
def test_what_is_left_after_a_turn_is_slept_through_if_it_is_worth_it(
    loop: Loop, slept: list[float], pair: Pair, took: float, rest: list[float]
) -> None:
    loop.add(pair[0].fileno(), select.EPOLLIN, lambda _mask: None)
    pair[1].send(b"x")
    loop.now -= took
    loop.turn(list, nothing)

    assert slept == rest


@pytest.mark.parametrize("kind", ["again", "after_others", "spread", "later"])
def test_who_waits_for_a_turn_does_not_wait_for_others(
    loop: Loop, slept: list[float], kind: str
) -> None:
    called: list[int] = []

    def call() -> None:
        called.append(1)

    match kind:
        case "again":
            loop.again(call)
        case "after_others":
            loop.after_others(call)
        case "spread":
            loop.spread(iter([call]))
        case "later":
            loop.later(-1.0, call)  # which is overdue
    loop.turn(list, nothing)

    assert (called, slept) == ([1], [])


def test_what_is_due_later_lets_it_sleep(loop: Loop, slept: list[float], pair: Pair) -> None:
    loop.add(pair[0].fileno(), select.EPOLLIN, lambda _mask: None)
    pair[1].send(b"x")
    loop.every(2.5, lambda: None)
    loop.turn(list, nothing)
    loop.turn(list, nothing)  # due in half a second

    assert slept == [2.0]


# --- What takes its time --------------------------------------------------------------------------


def working(clock: list[float], seconds: float, then: Callable[[], None]) -> Callable[[], None]:
    """A call that takes so long by the clock."""

    def call() -> None:
        clock[0] += seconds
        then()

    return call


def test_what_is_spread_takes_some_of_each_turn(
    loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    done: list[int] = []

    def work(number: int) -> Callable[[], None]:
        return working(clock, 0.4 * SLICE, lambda: done.append(number))

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    loop.add(pair[0].fileno(), select.EPOLLIN, lambda _mask: done.append(-1))
    pair[1].send(b"x")
    loop.spread(work(number) for number in range(5))
    for _ in range(2):
        loop.turn(list, nothing)

    assert [-1, 0, 1, 2, -1, 3, 4] == done
    assert not loop.spreading


def test_what_a_handler_wants_again_is_called_in_the_next_turn(loop: Loop, pair: Pair) -> None:
    called: list[int] = []

    def once_more(_mask: int) -> None:
        pair[0].recv(1)
        loop.again(lambda: called.append(1))

    loop.add(pair[0].fileno(), select.EPOLLIN, once_more)
    pair[1].send(b"x")
    counts = []
    for _ in range(3):
        loop.again(lambda: None)  # it does not wait
        loop.turn(list, nothing)
        counts.append(len(called))

    assert counts == [0, 1, 1]


def test_what_takes_long_comes_after_the_others_and_takes_some_of_each_turn(
    loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    done: list[int] = []

    def work(number: int) -> Callable[[], None]:
        return working(clock, 0.6 * LONG_SLICE, lambda: done.append(number))

    def ready(_mask: int) -> None:
        loop.after_others(first)
        done.append(-1)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    first = work(0)
    loop.add(pair[0].fileno(), select.EPOLLIN, ready)
    pair[1].send(b"x")
    loop.after_others(first)
    for number in (1, 2):
        loop.after_others(work(number))
    for _ in range(2):
        loop.turn(list, nothing)

    assert [-1, 0, 1, -1, 2, 0] == done


def test_what_takes_longer_than_a_turn_has_time_is_done_all_the_same(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(3):
        loop.after_others(lambda: clock.__setitem__(0, clock[0] + 9.0))
    for _ in range(3):
        loop.turn(list, nothing)

    assert clock == [127.0]


def test_what_is_spread_is_looked_for_when_its_time_has_come(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    wanted = [True]
    called: list[str] = []

    def calls() -> Iterator[Callable[[], None]]:
        yield lambda: clock.__setitem__(0, clock[0] + SLICE)
        if wanted[0]:
            yield lambda: called.append("too late")

    loop.spread(calls())
    loop.turn(list, nothing)
    wanted[0] = False
    loop.turn(list, nothing)

    assert [] == called
    assert not loop.spreading


def test_a_bug_in_what_is_spread_does_not_reach_the_rest(loop: Loop) -> None:
    def bug() -> None:
        raise ValueError

    called: list[int] = []
    loop.spread(iter([bug, lambda: called.append(1)]))
    while loop.spreading:
        loop.turn(list, nothing)

    assert ([bug], [1]) == (BUGS, called)


def test_a_bug_in_one_handler_does_not_reach_the_others(loop: Loop, pair: Pair) -> None:
    def broken(_mask: int = 0) -> None:
        raise ZeroDivisionError

    called: list[bool] = []
    loop.add(pair[0].fileno(), select.EPOLLIN, broken)
    pair[1].send(b"x")
    loop.again(broken)
    loop.again(lambda: called.append(True))
    loop.after_others(broken)
    loop.after_others(lambda: called.append(True))
    loop.every(0.0, broken)
    loop.turn(list, nothing)

    assert ([broken, broken, broken, broken], [True, True]) == (BUGS, called)


def test_run_ends_after_the_turn_in_which_it_was_stopped(loop: Loop) -> None:
    ends: list[bool] = []
    loop.again(loop.stop)
    loop.run(list, nothing, lambda: ends.append(True))

    assert [True] == ends


def test_a_failed_allocation_where_nothing_is_guarded_ends_no_loop(loop: Loop) -> None:
    def no_memory() -> None:
        loop.stop()
        raise MemoryError

    loop.again(lambda: None)
    loop.run(list, nothing, no_memory)

    assert [loop.turn] == BUGS


def test_the_date_line_is_an_imf_fixdate_of_now(loop: Loop) -> None:
    loop.read_clock()
    expected = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(loop.wall))

    assert expected.encode() == loop.date_line
    assert re.fullmatch(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", loop.date_line)


def test_its_repr_tells_how_much_it_watches(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    loop.add(read_end, select.EPOLLIN, lambda _mask: None)
    shown = repr(loop)
    os.close(read_end)
    os.close(write_end)

    assert shown == "<Loop 1 descriptors, 0 waiting>"
