"""What a small request waits for beside a crowd: the floor's, and a server's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from loadtests.benchmark import fairness, processes
from loadtests.benchmark.results import FLOOR
from loadtests.benchmark.tree import HUGE
from tests.benchmark.examples import bench

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


@pytest.mark.slow
@needs_compiler
def test_the_floor_and_a_server_answer_beside_a_crowd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fairness, "SECONDS", 1)
    monkeypatch.setattr(fairness, "DOWNLOADS", 2)
    monkeypatch.setattr(fairness, "SLOW", 4)
    on = bench(tmp_path, "mpserve", floors=True)
    with (on.root / HUGE).open("wb") as file:
        file.truncate(1 << 26)
    made = fairness.run(on)
    rows = {str(row[0]): row[1:] for row in made.rows}
    allowed = not any("no right to let it" in note for note in on.results.notes)

    assert [*([FLOOR] if allowed else []), "mpserve"] == list(rows), on.results.notes
    assert all(float(figure) > 0 for row in rows.values() for figure in row)


def test_one_round_that_was_disturbed_decides_nothing() -> None:
    rounds = [(200.0, 900.0, 5000.4), (9989.0, 1000.0, 4000.0), (250.0, 11585.0, 5100.0)]

    assert fairness.row_of(rounds) == (250, 1000, 4.0, 5000)


def test_where_nobody_may_go_first_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    assert not processes.put_first([os.getpid()])


@pytest.mark.slow
@needs_compiler
def test_where_nobody_may_go_first_there_is_no_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "put_first", lambda _: False)

    with pytest.raises(fairness.Unfair, match="no right"):
        fairness.measure_floor(bench(tmp_path, "mpserve", floors=True))
