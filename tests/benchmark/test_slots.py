"""What polling every slot costs, in the cells of its table."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest

from loadtests.benchmark import kin, slots, stopped
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.polling import EMPTY, IN_VAIN, POLLED
from loadtests.benchmark.results import OURS, Results
from loadtests.benchmark.stopped import Seen
from loadtests.benchmark.timed import Bench
from tests.harness import peers

PLACES = Processors(frozenset({0}), frozenset({1}))


def bench(tmp_path: Path, rounds: int = 3) -> Bench:
    """A bench on which nothing is started."""
    return Bench(
        root=tmp_path,
        home=tmp_path,
        servers=(),
        processors=PLACES,
        distance=Distance(PLACES, 0.0),
        connections=4,
        rounds=rounds,
        seconds=1,
        warm_up=1,
        retakes=0,
        results=Results("", {}, {}, {}),
        say=lambda _: None,
        floors={},
    )


def test_the_rounds_are_told_with_their_width() -> None:
    assert ("20.0 (19.0–22.5)", "") == (slots.told([22.5, 19.0, 20.0]), slots.told([]))


def test_of_several_spreads_the_one_in_the_middle_is_told() -> None:
    assert ("21 + 11", "") == (slots.middle(["30 + 2", "17 + 15", "21 + 11"]), slots.middle([]))


def test_to_be_polled_anew_takes_two_calls() -> None:
    counts = {POLLED: 500, EMPTY: 250, IN_VAIN: 1}

    assert (1.0, 0.25, 0.001) == slots.per_request(counts, 1000)


def test_both_stand_side_by_side_in_every_round_and_a_failure_leaves_its_cells_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def one_round(_: Bench, workload: str, workers: int, name: str) -> tuple[float, str]:
        asked.append((workload, workers, name))
        if (workload, name) == ("hot", OURS):
            raise peers.PeerError("it is ill")
        return float(workers), ""

    monkeypatch.setattr(slots, "WORKERS", (1, 2))
    monkeypatch.setattr(slots, "one_round", one_round)
    monkeypatch.setattr(slots, "calls", lambda *_: (1.5, 0.25, 0.0))
    monkeypatch.setattr(slots, "fate", lambda *_: (0.9, "0%", 0))
    on = bench(tmp_path, rounds=2)
    made = slots.run(on)

    assert 2 * 2 * 2 * 2 == len(asked)
    assert all(
        {OURS, kin.OWN_SLOT} == {a[2], b[2]} for a, b in zip(*[iter(asked)] * 2, strict=True)
    )
    assert (
        (1, "all", "1.0 (1.0–1.0)", "", "", 1.5, 0.25, 0.0, 0.9, "0%", 0),
        (1, "its own", "1.0 (1.0–1.0)", "1.0 (1.0–1.0)", "", 1.5, 0.25, 0.0, 0.9, "0%", 0),
    ) == made.rows[:2]
    assert [
        f"a round of mpserve with {workers} workers does not count: it is ill" for workers in (1, 2)
    ] == on.results.notes


class NoServer:
    """Stands where a server would."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("late", "notes"),
    [
        pytest.param(2.0, [], id="clients in time"),
        pytest.param(
            180.0,
            ["the clients beside a stopped worker were late by 180 ms"],
            id="clients that were late",
        ),
    ],
)
def test_the_fate_of_clients_is_told_with_their_lateness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, late: float, notes: list[str]
) -> None:
    monkeypatch.setattr(Bench, "start", lambda *_, **__: NoServer())
    monkeypatch.setattr(stopped, "measure", lambda _: Seen(1234.567, 0.25, 3, late))
    on = bench(tmp_path)

    assert (1234.6, "25%", 3) == slots.fate(on, 4, OURS)
    assert notes == on.results.notes


def test_who_is_alone_is_not_stopped(tmp_path: Path) -> None:
    assert ("", "", "") == slots.fate(bench(tmp_path), 1, OURS)


def test_what_cannot_be_counted_is_left_empty_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on = bench(tmp_path)

    assert ("", "", "") == slots.calls(on, 2, "nobody")
    assert 1 == len(on.results.notes)
    assert "nobody-counted is not a known server" in on.results.notes[0]
