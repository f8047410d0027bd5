"""Medians, spreads and ratios; and JSON that gives back what was put in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.benchmark.documents import DOCS
from loadtests.benchmark.results import BEFORE, CLIENTS, SATURATE, WRK, Results, load, save
from loadtests.kept import ShapeError
from tests.benchmark.examples import at_limit, by_both, results, sample, timed


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


def test_what_was_saved_before_there_was_a_second_client_is_by_wrk(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(results(), path)
    said = json.loads(path.read_text())
    for row in said["timed"]:
        del row["client"]
    path.write_text(json.dumps(said))

    assert results() == load(path)


@pytest.mark.parametrize("name", ["performance.json", "before.json"])
def test_what_is_kept_in_the_documents_can_be_read(name: str) -> None:
    assert {WRK} <= {row.client for row in load(DOCS / name).timed}


def test_what_both_clients_measured_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save(by_both(), path)

    assert by_both() == load(path)


def test_the_figures_of_a_client_are_its_own() -> None:
    taken = by_both()
    of_wrk, of_saturate = (taken.find("hot", False, "mpserve", client) for client in CLIENTS)
    assert of_wrk is not None
    assert of_saturate is not None

    assert (7.2, 7.7) == (of_wrk.middle("processor_us"), of_saturate.middle("processor_us"))
    assert pytest.approx(7.7 / 7.0) == taken.ratio("hot", False, SATURATE)
    assert results().ratio("hot", False) == taken.ratio("hot", False)
    assert (["hot", "close"], ["hot", "missing"]) == (
        taken.workloads(False),
        taken.workloads(False, SATURATE),
    )


def test_the_change_is_that_of_one_client() -> None:
    taken = by_both()
    taken.timed += [timed("hot", BEFORE, 14.4), at_limit("hot", BEFORE, 15.4)]

    assert (0.5, 0.5) == (taken.change("hot", False), taken.change("hot", False, SATURATE))
    taken.timed.pop()
    assert (0.5, None) == (taken.change("hot", False), taken.change("hot", False, SATURATE))


@pytest.mark.parametrize(
    ("us", "rate", "waited", "expected"),
    [(10.0, 100_000.0, 0.0, 0.0), (10.0, 50_000.0, 0.0, 0.5), (10.0, 50_000.0, 0.3, 0.2)],
)
def test_spare_is_the_time_in_which_a_server_neither_works_nor_waits(
    us: float, rate: float, waited: float, expected: float
) -> None:
    assert pytest.approx(expected) == replace(sample(us, rate), waited_share=waited).spare_share


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


def test_what_one_client_takes_again_leaves_the_other_s_figures() -> None:
    earlier, again = by_both(), by_both()
    again.timed = [at_limit("hot", "mpserve", 5.0)]
    again.take_over(earlier)
    of_saturate = again.find("hot", False, "mpserve", SATURATE)

    assert earlier.find("hot", False, "mpserve") == again.find("hot", False, "mpserve")
    assert at_limit("hot", "mpserve", 5.0) == of_saturate
    assert again.find("hot", False, "lighttpd", SATURATE) is None


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
