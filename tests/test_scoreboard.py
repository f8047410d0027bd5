"""Rows that processes share, and totals that outlive processes and versions."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mpserve import scoreboard
from mpserve.scoreboard import CELL, COUNTERS, Row, Scoreboard, State


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = Scoreboard.create(rows=3)
    yield board
    board.close()


def counts(board: Scoreboard) -> int:
    return board.totals()["accepted"]


def test_a_claimed_row_says_whose_it_is(board: Scoreboard) -> None:
    row = board.claim(slot=2, generation=7)

    assert (2, 7, State.STARTING, 0) == (
        row["slot"],
        row["generation"],
        row["state"],
        row["accepted"],
    )
    assert [row] == board.rows


def test_what_a_child_writes_its_parent_reads(board: Scoreboard) -> None:
    row = board.claim(0, 1)
    pid = os.fork()
    if pid == 0:
        row.cells[CELL["accepted"]] += 5
        os._exit(0)
    os.waitpid(pid, 0)

    assert row["accepted"] == 5
    assert counts(board) == 5


def test_rows_do_not_touch_each_other(board: Scoreboard) -> None:
    first, second = board.claim(0, 1), board.claim(1, 1)
    for name in COUNTERS:
        first[name] = 2**64 - 1

    assert [0] * len(COUNTERS) == [second[name] for name in COUNTERS]


def test_what_was_counted_outlives_the_process(board: Scoreboard) -> None:
    row = board.claim(0, 1)
    row["accepted"] = 5
    board.release(row)
    again = board.claim(1, 2)

    assert again.number == row.number
    assert again["accepted"] == 0
    assert counts(board) == 5


def test_a_board_that_is_full_says_so(board: Scoreboard) -> None:
    for slot in range(3):
        board.claim(slot, 1)
    with pytest.raises(OSError, match="every row"):
        board.claim(3, 1)


def test_another_image_finds_the_rows_by_the_descriptor(board: Scoreboard) -> None:
    row = board.claim(1, 4)
    row["accepted"] = 3
    found = Scoreboard(os.dup(board.fd))
    new = Scoreboard.create(found.gone())
    adopted = Row(found, row.number)
    new.adopt(adopted)
    seen = [counts(new)]
    row["accepted"] = 4
    seen.append(counts(new))
    new.release(adopted)

    assert [3, 4, 4] == [*seen, counts(new)]
    new.close()


def test_a_new_version_carries_totals_over_by_name(
    board: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = board.claim(0, 1)
    row["accepted"], row["stalled"] = 11, 2
    fewer = [name for name in COUNTERS if name != "stalled"]
    monkeypatch.setattr(scoreboard, "COUNTERS", ["novel", *fewer])
    monkeypatch.setattr(scoreboard, "CELLS", (*scoreboard.PROCESS, "novel", *fewer))
    new = Scoreboard.create(board.totals())
    old = Scoreboard(board.fd)

    assert (11, 0) == (new.totals()["accepted"], new.totals()["novel"])
    assert "stalled" not in new.totals()
    assert Row(old, row.number)["stalled"] == 2
    assert Row(old, row.number)["novel"] == 0
    new.close()


def test_what_is_no_scoreboard_is_refused() -> None:
    fd = os.memfd_create("other")
    os.ftruncate(fd, 8192)
    with pytest.raises(ValueError, match="not a scoreboard"):
        Scoreboard(fd)
    os.close(fd)
