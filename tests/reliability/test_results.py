"""What a row of the results proves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.kept import ShapeError
from loadtests.reliability.counts import Loss
from loadtests.reliability.results import load, save
from tests.reliability.examples import HUP, KILL, results


@pytest.mark.parametrize(
    ("losses", "held", "unexcused"),
    [
        ({}, 0, 0),
        ({Loss.AFTER: 3, Loss.REUSED: 5}, 8, 0),
        ({Loss.AFTER: 3, Loss.REUSED: 5}, 7, 1),
        ({Loss.BEFORE: 1}, 1, 0),
        # Nobody's death refuses a connection, holds it up, or changes its octets.
        ({Loss.REFUSED: 1, Loss.TIMED_OUT: 1, Loss.WRONG: 1}, 100, 3),
    ],
)
def test_the_killed_excuse_what_they_held_and_no_more(
    losses: dict[Loss, int], held: int, unexcused: int
) -> None:
    row = replace(KILL, losses={kind.value: n for kind, n in losses.items()}, held=held)

    assert row.unexcused == unexcused
    assert row.proved is (unexcused == 0)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(replace(HUP, problems=["it did not"]), id="not done"),
        pytest.param(replace(HUP, deeds=0), id="never done"),
        pytest.param(replace(HUP, answered=0), id="nothing answered"),
    ],
)
def test_what_was_not_tried_is_not_proved(row: object) -> None:
    assert not getattr(row, "proved")  # noqa: B009  # any row


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save(results(), tmp_path / "results.json")

    assert load(tmp_path / "results.json") == results()


def test_results_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"shape": 0}')

    with pytest.raises(ShapeError):
        load(tmp_path / "results.json")
