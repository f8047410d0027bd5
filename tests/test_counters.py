"""What is counted of answers, and that a kill loses none of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from mpserve.counters import Counters, place_of
from mpserve.scoreboard import ANSWERS, CELL, CELLS, DURATIONS


class Kept(NamedTuple):
    """An answer from the memo."""

    place: int
    length: int


def counted(counters: Counters) -> dict[str, int]:
    """Every number that is not 0."""
    return {name: value for name, value in zip(CELLS, counters.cells, strict=True) if value}


@pytest.mark.parametrize(
    ("line", "status", "name"),
    [
        (b"GET /a HTTP/1.1", 200, "answers_GET_2xx"),
        (b"GET /a HTTP/1.1", 304, "answers_GET_3xx"),
        (b"HEAD /a HTTP/1.0", 404, "answers_HEAD_4xx"),
        (b"OPTIONS * HTTP/1.1", 204, "answers_OPTIONS_2xx"),
        (b"OPTIONS * HTTP/1.1", 503, "answers_OPTIONS_5xx"),
        (b"BREW /pot HTTP/1.1", 501, "answers_other_5xx"),
        (b"get /a HTTP/1.1", 501, "answers_other_5xx"),
        (b"", 400, "answers_other_4xx"),
    ],
)
def test_an_answer_counts_for_its_method_and_class(line: bytes, status: int, name: str) -> None:
    counters = Counters()
    counters.answered(line, status, 0, 0.0)

    assert {key for key in counted(counters) if key in ANSWERS} == {name}


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        pytest.param(0.0, "within_0.0001", id="at once"),
        pytest.param(0.0001, "within_0.0001", id="a bound belongs to its bucket"),
        pytest.param(0.00011, "within_0.00025", id="above it"),
        pytest.param(0.3, "within_0.5", id="in between"),
        pytest.param(61.0, "within_inf", id="longer than all bounds"),
    ],
)
def test_an_answer_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    counters = Counters()
    counters.answered(b"GET / HTTP/1.1", 200, 7, seconds)
    counts = counted(counters)

    assert {key for key in counts if key in DURATIONS} == {bucket}
    assert counts["octets"] == 7
    assert counts.get("duration_ns", 0) == int(seconds * 1e9)


def test_repeated_answers_are_added_up_together() -> None:
    counters = Counters()
    found, missing = place_of(b"GET", 200), place_of(b"HEAD", 404)
    counters.repeated([Kept(found, 10), Kept(found, 10), Kept(missing, 0)], 0.25)

    assert counted(counters) == {
        "answers_GET_2xx": 2,
        "answers_HEAD_4xx": 1,
        "octets": 20,
        "duration_ns": 750_000_000,
        "within_0.25": 3,
    }


def test_no_answer_counts_nothing() -> None:
    counters = Counters()
    counters.repeated([], 1.0)

    assert counted(counters) == {}


def test_every_row_has_room_for_every_count() -> None:
    assert sorted(CELL.values()) == list(range(len(CELLS)))
