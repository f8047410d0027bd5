"""Medians, spreads and ratios; and JSON that gives back what was put in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.benchmark.results import Results, load, save
from loadtests.kept import ShapeError
from tests.benchmark.examples import results, timed


def test_the_middle_of_the_rounds_is_their_median() -> None:
    row = timed("hot", "nginx", 9.0, 1.0, 2.0)

    assert 2.0 == row.middle("processor_us")


def test_the_spread_is_the_width_of_the_rounds_over_their_median() -> None:
    row = timed("hot", "nginx", 9.0, 10.0, 12.0)

    assert pytest.approx(0.3) == row.spread


def test_the_ratio_is_ours_over_the_best_of_the_others() -> None:
    assert pytest.approx(7.2 / 8.0) == results().ratio("hot", logged=False)


def test_the_floor_is_not_one_of_the_others() -> None:
    assert pytest.approx(33.0 / 30.0) == results().ratio("close", logged=False)


def test_the_logged_ratio_is_taken_from_the_logged_rounds() -> None:
    assert pytest.approx(8.1 / 9.0) == results().ratio("hot", logged=True)


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(["mpserve"], id="we were not measured"),
        pytest.param(["nginx", "lighttpd"], id="nobody else was measured"),
    ],
)
def test_there_is_no_ratio_with_one_side_only(missing: list[str]) -> None:
    taken = results()
    taken.timed = [row for row in taken.timed if row.server not in missing]

    assert taken.ratio("hot", logged=False) is None


def test_a_note_is_kept_once() -> None:
    taken = results()
    taken.note("the client was busy")
    taken.note("the client was busy")

    assert ["h2o is not installed and is left out", "the client was busy"] == taken.notes


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(results(), path)

    assert results() == load(path)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"shape": 0, "timed": []}, id="an older shape"),
        pytest.param({"timed": []}, id="no shape at all"),
        pytest.param([], id="a list"),
    ],
)
def test_json_of_another_shape_is_refused(tmp_path: Path, said: object) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(said))

    with pytest.raises(ShapeError, match="shape"):
        load(path)


def test_the_workloads_are_told_in_the_order_in_which_they_were_timed() -> None:
    taken: Results = results()

    assert (["hot", "close"], ["hot"]) == (taken.workloads(False), taken.workloads(True))


def test_what_is_taken_again_takes_the_place_of_what_was_there() -> None:
    earlier, again = results(), results()
    again.taken = "later"
    again.timed = [
        replace(row, samples=row.samples * 2) for row in again.timed if row.workload == "close"
    ]
    again.tables = []
    again.take_over(earlier)

    assert {row.workload for row in again.timed} == {row.workload for row in earlier.timed}
    assert len(again.timed) == len(earlier.timed)
    ours = again.find("close", False, "mpserve")
    before = earlier.find("close", False, "mpserve")
    assert ours is not None
    assert before is not None
    assert len(ours.samples) == 2 * len(before.samples)
    assert (again.taken, again.tables) == (earlier.taken, earlier.tables)
    assert "taken again, later: close" in again.notes
