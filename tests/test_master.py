"""The pure half of the master: what is to be done, as a table with a clock that stands still."""

from __future__ import annotations

import pytest

from mpserve.master import (
    EXIT_CANNOT_START,
    EXIT_OK,
    SERVED_FOR,
    Announce,
    Exit,
    Kill,
    Phase,
    Situation,
    Slot,
    Spawn,
    backoff,
    decide,
    patience,
)

NOW = 1000.0


def empty(number: int, spawn_at: float = 0.0) -> Slot:
    return Slot(number, spawn_at=spawn_at)


def working(number: int, *, ready: bool = True) -> Slot:
    return Slot(number, pid=100 + number, ready=ready)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(Situation([empty(0), empty(1)]), [Spawn(0), Spawn(1)], id="at start, all"),
        pytest.param(
            Situation([working(0), working(1, ready=False)]), [], id="at start, one is not ready"
        ),
        pytest.param(Situation([working(0), working(1)]), [Announce()], id="at start, all ready"),
        pytest.param(
            Situation([working(0), empty(1, NOW + 1)], boot_failed=True),
            [Kill(100), Exit(EXIT_CANNOT_START)],
            id="at start, one cannot boot",
        ),
        pytest.param(Situation([working(0)], Phase.SERVING), [], id="serving, nothing to do"),
        pytest.param(
            Situation([working(0), empty(1)], Phase.SERVING), [Spawn(1)], id="serving, one has died"
        ),
        pytest.param(
            Situation([empty(0, NOW + 0.1), empty(1, NOW)], Phase.SERVING),
            [Spawn(1)],
            id="serving, one has to wait",
        ),
        pytest.param(
            Situation([empty(0)], Phase.SERVING, boot_failed=True),
            [Spawn(0)],
            id="once a generation has served, no boot failure stops the server",
        ),
        pytest.param(
            Situation([working(0), empty(1)], Phase.STOPPING, kill_at=NOW + 1),
            [],
            id="stopping, one still has something to finish and the dead are not replaced",
        ),
        pytest.param(
            Situation([working(0), empty(1)], Phase.STOPPING, kill_at=NOW),
            [Kill(100)],
            id="stopping took too long",
        ),
        pytest.param(
            Situation([empty(0), empty(1)], Phase.STOPPING, kill_at=NOW + 9),
            [Exit(EXIT_OK)],
            id="stopping, all have left",
        ),
        pytest.param(
            Situation([working(0)], Phase.QUITTING, kill_at=NOW),
            [Kill(100)],
            id="quitting too long",
        ),
        pytest.param(
            Situation([empty(0)], Phase.QUITTING), [Exit(EXIT_OK)], id="quitting, all have left"
        ),
    ],
)
def test_decide(situation: Situation, expected: list[object]) -> None:
    assert expected == decide(situation, NOW)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(Situation([working(0)], Phase.SERVING), None, id="only events matter"),
        pytest.param(
            Situation([empty(0, NOW + 3), empty(1, NOW + 2)], Phase.SERVING), 2.0, id="next attempt"
        ),
        pytest.param(Situation([empty(0)], Phase.SERVING), 0.0, id="an attempt is overdue"),
        pytest.param(Situation([working(0)], Phase.STOPPING, NOW + 5), 5.0, id="until the kill"),
        pytest.param(
            Situation([working(0)], Phase.QUITTING, NOW - 5), 0.0, id="the kill is overdue"
        ),
    ],
)
def test_patience(situation: Situation, expected: float | None) -> None:
    assert expected == patience(situation, NOW)


def test_the_delay_doubles_from_a_tenth_of_a_second_to_ten() -> None:
    delays = [backoff(failures) for failures in range(10)]

    assert [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] == delays


def test_the_delay_stays_at_ten_seconds_however_often_it_fails() -> None:
    assert backoff(10_000) == 10.0


def test_a_worker_that_served_is_replaced_at_once() -> None:
    slot = Slot(0, pid=7, ready=True, ready_at=NOW - SERVED_FOR, failures=5)
    slot.bury(NOW)

    assert Slot(0, ready_at=NOW - SERVED_FOR, spawn_at=NOW) == slot


@pytest.mark.parametrize(
    "slot",
    [
        pytest.param(Slot(0, pid=7, failures=2), id="never ready"),
        pytest.param(Slot(0, pid=7, ready=True, ready_at=NOW, failures=2), id="ready, and gone"),
    ],
)
def test_a_worker_that_did_not_come_to_serve_is_replaced_later(slot: Slot) -> None:
    slot.bury(NOW)

    assert (None, False, 3, NOW + backoff(3)) == (
        slot.pid,
        slot.ready,
        slot.failures,
        slot.spawn_at,
    )
