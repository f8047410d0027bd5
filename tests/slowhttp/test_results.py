"""What is promised is held or not; and JSON that gives back what was put in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.kept import ShapeError
from loadtests.slowhttp.results import Results, Row, load, save
from loadtests.slowhttp.stuck import Stuck
from tests.slowhttp.examples import ALONE, HELD, STUCK, results


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(HELD, True, id="in time"),
        pytest.param(replace(HELD, beside=replace(ALONE, p99=1.81)), False, id="too late"),
        pytest.param(replace(HELD, beside=replace(ALONE, failed=1)), False, id="not answered"),
        pytest.param(replace(HELD, beside=replace(ALONE, requests=0)), False, id="not asked"),
        pytest.param(replace(HELD, available=False), False, id="by the attacker's word"),
    ],
)
def test_an_honest_client_is_answered_within_twice_its_time_alone(row: Row, expected: bool) -> None:
    assert row.held is expected


def test_a_server_is_judged_by_its_own_rows() -> None:
    assert results().proved("mpserve")
    assert not results().proved("nginx")


@pytest.mark.parametrize("stuck", [replace(STUCK, cut=1), replace(STUCK, process=41_000.0)])
def test_a_stuck_reader_that_costs_too_much_or_is_cut_proves_nothing(stuck: Stuck) -> None:
    found = results()
    found.stuck["mpserve"] = stuck

    assert not found.proved("mpserve")


def test_results_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "slowhttp.json"
    save(results(), path)

    assert load(path) == results()
    assert isinstance(load(path), Results)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slowhttp.json"
    path.write_text(json.dumps({"shape": 0}))

    with pytest.raises(ShapeError, match=r"slowhttp\.json has shape 0, this program reads 1"):
        load(path)
