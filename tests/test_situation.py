"""The processes that the master knows of, and what happens to them. What is to be done is test_supervision's."""

from __future__ import annotations

import math

import pytest

from mpserve.situation import (
    SERVED_FOR,
    WORN_EARLY,
    Alarm,
    Phase,
    Process,
    Situation,
    Slot,
    Wear,
    backoff,
)

NOW = 1000.0
LONG_AGO = NOW - 100


def process(alarm: Alarm = Alarm.NONE) -> Process:
    return Process(7, 1, LONG_AGO, LONG_AGO, heartbeat=NOW, alarm=alarm)


def serving(worker: Process) -> Situation:
    return Situation([Slot(0, worker)], Phase.SERVING)


def worn_out(situation: Situation, wear: Wear, age: float, now: float) -> float:
    """Let the worker of the only slot be worn out, ready since `age` seconds; when it will be replaced."""
    worker = situation.slots[0].worker
    assert worker is not None
    worker.ready_at = now - age
    return situation.wear_out(worker, wear, now)


def test_workers_that_are_worn_out_at_once_are_replaced_ever_more_seldom() -> None:
    situation = serving(process())
    delays = [worn_out(situation, Wear.WORN, 0.5, NOW) for _ in range(9)]

    assert [0, 1, 2, 4, 8, 16, 32, 60, 60] == delays
    times = (NOW + 59, NOW + 60)
    assert [False, True] == [situation.slots[0].wants_successor(now, room=True) for now in times]


def test_a_worker_that_has_grown_ends_the_row() -> None:
    situation = serving(process())
    ages = (0.5, 0.5, 0.5, WORN_EARLY, 0.5, 0.5)

    assert [0, 1, 2, 0, 0, 1] == [worn_out(situation, Wear.WORN, age, NOW) for age in ages]


def test_a_worker_that_cannot_serve_is_replaced_at_once_however_young() -> None:
    situation = serving(process())
    for _ in range(3):
        worn_out(situation, Wear.WORN, 0.5, NOW)

    assert worn_out(situation, Wear.USELESS, 0.5, NOW) == 0
    assert situation.slots[0].wants_successor(NOW, room=False)


def test_a_worker_that_turns_again_may_be_warned_about_again() -> None:
    situation = serving(process(Alarm.WARNED))
    situation.look(NOW)

    assert [Alarm.NONE] == [each.alarm for each in situation.processes()]


def test_the_delay_doubles_from_a_tenth_of_a_second_to_ten() -> None:
    delays = [backoff(failures) for failures in range(10)]

    assert [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] == delays


def test_the_delay_stays_at_ten_seconds_however_often_it_fails() -> None:
    assert backoff(10_000) == 10.0


@pytest.mark.parametrize(
    ("ready_at", "failures"),
    [
        pytest.param(NOW - SERVED_FOR, 0, id="it served: at once"),
        pytest.param(math.inf, 3, id="never ready: later"),
        pytest.param(NOW, 3, id="ready, and gone: later"),
    ],
)
def test_when_the_next_worker_comes(ready_at: float, failures: int) -> None:
    dead = Process(7, 1, LONG_AGO, ready_at)
    slot = Slot(0, dead, failures=2)
    slot.bury(dead, NOW)

    assert (None, failures, NOW + backoff(failures)) == (slot.worker, slot.failures, slot.spawn_at)
