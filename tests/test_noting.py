"""What is counted and logged of answers that are repeated."""

from __future__ import annotations

import pytest

from mpserve.counters import place_of
from mpserve.scoreboard import CELL, DURATIONS
from tests.stage import (
    CLOSING,
    KNOWN,
    Stage,
    head,
)

# --- The log --------------------------------------------------------------------------------------


def test_an_answer_is_logged(stage: Stage) -> None:
    connections = [stage.say(KNOWN), stage.say(CLOSING)]

    assert stage.logged() == [(b"GET /a.txt HTTP/1.1", 200, 5), (b"GET /a.txt HTTP/1.1", 200, 3)]
    assert [each.peer for each in stage.log.exchanges] == [each.peer for each in connections]


def test_nothing_is_logged_where_nobody_reads_it(stage: Stage) -> None:
    stage.log.enabled = False
    stage.say(KNOWN)
    stage.say(KNOWN * 3)

    assert stage.logged() == []


@pytest.mark.parametrize(
    ("kept", "lines", "expected"),
    [
        pytest.param((), (), (b"-", b"-"), id="nothing"),
        pytest.param((), (b"User-Agent: a",), (b"-", b"a"), id="an agent"),
        pytest.param((b"User-Agent: a",), (b"User-Agent: b",), (b"-", b"b"), id="another agent"),
        pytest.param((b"User-Agent: a",), (), (b"-", b"-"), id="no agent any more"),
        pytest.param((), (b"Referer: a", b"User-Agent: b"), (b"a", b"b"), id="both"),
        pytest.param((), (b"User-Agent: a", b"User-Agent: b"), (b"-", b"a, b"), id="two agents"),
        pytest.param((b"referer: a",), (b"referer: a",), (b"a", b"-"), id="in lower case"),
        pytest.param(
            (b"referer: a",),
            (b"referer: a", b"User-Agent: b"),
            (b"a", b"b"),
            id="one in lower case, and the other",
        ),
        pytest.param(
            (b"referer: a",),
            (b"Referer: b", b"referer: a"),
            (b"b, a", b"-"),
            id="one in two spellings",
        ),
    ],
)
def test_the_log_tells_of_each_request_what_it_says(
    stage: Stage, kept: tuple[bytes, ...], lines: tuple[bytes, ...], expected: tuple[bytes, ...]
) -> None:
    stage.learn(head(b"A: b", *kept), b"")
    text = head(b"A: b", *lines)
    answer = stage.batch._memo.find(text)
    assert answer is not None

    about = stage.batch.about(text, answer)
    assert (about.asked, about.end) == ((b"GET /a.txt HTTP/1.1",), b' "%b" "%b"\n' % expected)


def test_a_log_that_is_not_read_costs_nothing(stage: Stage) -> None:
    stage.log.enabled = False
    answer = stage.batch._memo.find(KNOWN)
    assert answer is not None

    assert stage.batch.about(head(b"User-Agent: a"), answer) is answer.about


def test_the_time_it_took_is_told(stage: Stage) -> None:
    stage.loop.now -= 1000.0
    stage.say(KNOWN)

    assert 1000.0 <= stage.log.durations[0] < 1060.0


# --- The counters ---


def test_every_answer_that_has_gone_is_counted(stage: Stage) -> None:
    other = head(line=b"HEAD /a.txt HTTP/1.1")
    stage.learn(KNOWN, b"hello")
    stage.learn(other)
    for _ in range(3):
        for octets in (KNOWN, KNOWN, other):
            stage.bring(stage.connection(), octets)
        stage.turn()
    cells = stage.counters.cells

    assert (6, 3) == (cells[place_of(b"GET", 200)], cells[place_of(b"HEAD", 200)])
    assert (30, 9) == (cells[CELL["octets"]], sum(cells[CELL[name]] for name in DURATIONS))


def test_an_answer_that_did_not_go_whole_is_left_to_its_connection_to_count(stage: Stage) -> None:
    stage.learn(KNOWN, bytes(4 << 20))
    stage.say(KNOWN)

    assert stage.counters.cells[place_of(b"GET", 200)] == 0


def test_a_run_is_counted_head_by_head(stage: Stage) -> None:
    stage.learn(KNOWN, b"hello")
    stage.say(KNOWN * 3)

    assert stage.counters.cells[place_of(b"GET", 200)] == 3
