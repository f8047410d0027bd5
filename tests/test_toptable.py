"""The table of `mpserve top`: what it says, and that it fits."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mpserve.scoreboard import State
from mpserve.toptable import Reading, View, duration, for_programs, size, table

MASTER = Reading(
    10, "master", 1.0, 7_000_000, {"connections": 5, "within_0.001": 100, "restarts": 1}
)
WORKER = Reading(
    11,
    "w0",
    2.0,
    6_000_000,
    {"slot": 0, "state": State.SERVING, "connections": 5, "within_0.001": 100, "octets": 1000},
)
BEFORE = View(50.0, 60.0, (MASTER, WORKER))
NOW = View(
    52.0,
    62.0,
    (
        dataclasses.replace(MASTER, numbers={**MASTER.numbers, "within_0.001": 300}),
        dataclasses.replace(
            WORKER, cpu=3.0, numbers={**WORKER.numbers, "within_0.001": 300, "octets": 21_480}
        ),
        Reading(12, "w1", None, None, {"slot": 1, "state": State.STARTING}),
    ),
)


def rows(
    before: View | None, now: View, width: int = 200, height: int = 99
) -> list[dict[str, str]]:
    """The table by its titles; the cells of GEN, which the master lacks, aside."""
    lines = table(before, now, width, height)[2:]
    titles = [title for title in lines[0].split() if title != "GEN"]
    titles = " ".join(titles).replace("MEAN MS", "MEAN_MS").split()
    found = []
    for line in lines[1:]:
        cells = line.split()
        if cells[0] != "master" and "GEN" in lines[0]:
            del cells[3]
        found.append(dict(zip(titles, cells, strict=True)))
    return found


def test_rates_are_what_came_between_two_readings() -> None:
    worker = rows(BEFORE, NOW)[1]

    assert (worker["CPU%"], worker["REQ/S"], worker["BYTES/S"]) == ("50.0", "100", "10.0K")


def test_a_process_that_was_not_there_before_has_no_rates() -> None:
    worker = rows(BEFORE, NOW)[2]

    assert (worker["STATE"], worker["REQ/S"], worker["CPU%"], worker["PSS"]) == (
        "starting",
        "-",
        "-",
        "-",
    )


def test_one_reading_has_no_rates() -> None:
    assert {row["REQ/S"] for row in rows(None, NOW)} == {"-"}


def test_a_count_that_begins_anew_is_no_negative_rate() -> None:
    assert rows(NOW, dataclasses.replace(BEFORE, at=54.0))[1]["REQ/S"] == "0"


@pytest.mark.parametrize("width", [*range(1, 220), 500])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, table(BEFORE, NOW, width, 99))) <= width


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        pytest.param(80, {"PROCESS", "PID", "CPU%", "PSS", "CONN", "REQ/S", "BYTES/S"}, id="80"),
        pytest.param(100, {"REQUESTS", "BYTES"}, id="100"),
        pytest.param(200, {"IDLE", "SENDING", "4XX", "ACCEPTED", "STALLED", "GEN"}, id="200"),
    ],
)
def test_a_wider_terminal_shows_more(width: int, titles: set[str]) -> None:
    assert titles <= set(table(BEFORE, NOW, width, 99)[2].split())


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 6])
def test_what_does_not_fit_is_counted(height: int) -> None:
    lines = table(BEFORE, NOW, 80, height)

    assert len(lines) == height
    assert (height == 6) == ("more" not in lines[-1])


def test_the_first_line_says_what_the_server_is() -> None:
    line = table(BEFORE, NOW, 80, 99)[0]

    assert line == "mpserve 10  up 1 min 2 s  2 workers  5 connections  300 requests  1 restart"


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0K"),
        (1023 * 1024, "1.0M"),
        (5 * 1024**3, "5.0G"),
        (1024**8, "1048576E"),
    ],
)
def test_sizes_are_short(octets: float, expected: str) -> None:
    assert size(octets) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.9, "0 s"), (61, "1 min 1 s"), (3600 * 5 + 60, "5 h 1 min"), (86400 * 3 + 3600, "3 d 1 h")],
)
def test_times_have_two_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_programs_get_values() -> None:
    found = json.loads(json.dumps(for_programs(BEFORE, NOW)))
    worker = found["processes"][1]

    assert (found["pid"], found["seconds"]) == (10, 2.0)
    assert (worker["cpu_percent"], worker["requests_per_second"], worker["requests"]) == (
        50,
        100,
        300,
    )
    assert found["processes"][2]["requests_per_second"] is None
