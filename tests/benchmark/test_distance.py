"""How far two processors lie apart, and how long one waits until they are near."""

from __future__ import annotations

import math
import mmap
import os

import pytest

from loadtests.benchmark import distance
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import Processors, processors

PAIR = Processors(frozenset({0}), frozenset({1}))


def test_two_processors_are_some_time_apart() -> None:
    usable = os.sched_getaffinity(0)
    found = Distance(processors(), 0.0)
    now = found.now()

    assert (now == 0.0) == (len(usable) == 1)
    assert now < 1e6
    assert os.sched_getaffinity(0) == usable


def test_one_that_says_nothing_is_as_far_as_one_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "MOST_LOOKS", 100_000)
    with mmap.mmap(-1, 2 * mmap.PAGESIZE) as memory:
        found = distance.ask(memory)

    assert 1e5 < found < math.inf


def test_where_there_are_not_two_they_are_near() -> None:
    found = Distance(Processors(frozenset(), frozenset()), 10.0)

    assert found.settle() == 0.0
    assert found.is_near(0.0)


@pytest.mark.parametrize(
    ("patience", "expected", "left"),
    [
        pytest.param(10.0, 290.0, 9.5, id="as long as they are far"),
        pytest.param(0.25, 690.0, 0.0, id="as long as there is patience"),
        pytest.param(0.0, 700.0, 0.0, id="not at all"),
    ],
)
def test_one_waits_until_they_are_near(
    monkeypatch: pytest.MonkeyPatch, patience: float, expected: float, left: float
) -> None:
    trips = iter([280.0, 700.0, 690.0, 290.0])
    monkeypatch.setattr(distance, "round_trip", lambda *_: next(trips))
    monkeypatch.setattr("time.sleep", lambda _: None)
    found = Distance(PAIR, patience)
    found.now()

    assert (expected, left) == (found.settle(), found.patience)
    assert found.is_near(expected) == (expected < 300)
