"""The pure half of the master: what is to be done, as a table with a clock that stands still."""

from __future__ import annotations

import math

import pytest

from mpserve.situation import (
    HANG_WARNING,
    KILL_MARGIN,
    MOST_RETIRING,
    PAUSED,
    RETIRING_TIMEOUT,
    ROUND,
    Alarm,
    Change,
    Phase,
    Process,
    Situation,
    Slot,
    Wear,
)
from mpserve.supervision import (
    DESERTED,
    EXIT_CANNOT_START,
    EXIT_OK,
    READY_TIMEOUT,
    Abandon,
    Abort,
    Announce,
    Commit,
    Desert,
    Exit,
    Kill,
    Spawn,
    Stop,
    Succeed,
    Warn,
    decide,
    patience,
)

NOW = 1000.0
LONG_AGO = NOW - 100


def process(
    pid: int,
    *,
    generation: int = 1,
    ready: bool = True,
    wear: Wear = Wear.NONE,
    heartbeat: float = NOW,
    alarm: Alarm = Alarm.NONE,
    kill_at: float = math.inf,
) -> Process:
    ready_at = LONG_AGO if ready else math.inf
    return Process(pid, generation, NOW - 1, ready_at, heartbeat, alarm, wear, kill_at)


def empty(number: int, spawn_at: float = 0.0) -> Slot:
    return Slot(number, spawn_at=spawn_at)


def working(number: int, *, ready: bool = True, wear: Wear = Wear.NONE) -> Slot:
    return Slot(number, process(100 + number, ready=ready, wear=wear))


def followed(number: int, *, ready: bool) -> Slot:
    """A slot whose worker is worn out, and whose successor has been started."""
    slot = working(number, wear=Wear.WORN)
    slot.successor = process(200 + number, ready=ready)
    return slot


def serving(
    *slots: Slot, change: Change | None = None, retiring: list[Process] | None = None
) -> Situation:
    return Situation(
        list(slots), Phase.SERVING, change=change, retiring=retiring or [], hang_timeout=20.0
    )


def change(*slots: Slot, deadline: float = NOW + 1, failed: bool = False) -> Change:
    return Change(2, list(slots), deadline, failed)


def fresh(number: int, *, ready: bool = True) -> Slot:
    return Slot(number, process(300 + number, generation=2, ready=ready))


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(
            Situation([empty(0), empty(1)]), [Spawn(0, 1), Spawn(1, 1)], id="at start, all"
        ),
        pytest.param(
            Situation([working(0), working(1, ready=False)]), [], id="at start, one is not ready"
        ),
        pytest.param(Situation([working(0), working(1)]), [Announce()], id="at start, all ready"),
        pytest.param(
            Situation([working(0), empty(1, NOW + 1)], boot_failed=True),
            [Kill(100), Exit(EXIT_CANNOT_START)],
            id="at start, one cannot boot",
        ),
        pytest.param(serving(working(0)), [], id="serving, nothing to do"),
        pytest.param(serving(working(0), empty(1)), [Spawn(1, 1)], id="serving, one has died"),
        pytest.param(
            serving(empty(0, NOW + 0.1), empty(1, NOW)), [Spawn(1, 1)], id="one has to wait"
        ),
        pytest.param(
            Situation([empty(0)], Phase.SERVING, boot_failed=True),
            [Spawn(0, 1)],
            id="once a generation has served, no boot failure stops the server",
        ),
        pytest.param(
            Situation([working(0), empty(1)], Phase.STOPPING, kill_at=NOW + 1),
            [],
            id="stopping, one still has something to finish and the dead are not replaced",
        ),
        pytest.param(
            Situation([working(0)], Phase.STOPPING, kill_at=NOW, retiring=[process(7)]),
            [Kill(100), Kill(7)],
            id="stopping took too long, for the retiring too",
        ),
        pytest.param(
            Situation([empty(0)], Phase.STOPPING, kill_at=NOW + 9, retiring=[process(7)]),
            [],
            id="stopping, one that was retiring is still there",
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
        pytest.param(
            Situation([empty(0)], Phase.LEAVING, stop_at=NOW + 1),
            [Spawn(0, 1)],
            id="before the delay is over, the dead are replaced",
        ),
        pytest.param(Situation([empty(0)], Phase.LEAVING, stop_at=NOW), [Stop()], id="delay over"),
    ],
)
def test_decide(situation: Situation, expected: list[object]) -> None:
    assert expected == decide(situation, NOW)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(
            serving(working(0), change=change(empty(0), empty(1))),
            [Spawn(0, 2), Spawn(1, 2)],
            id="it comes up beside the one that serves",
        ),
        pytest.param(
            serving(working(0), change=change(fresh(0), fresh(1, ready=False))),
            [],
            id="it waits for the last",
        ),
        pytest.param(
            serving(working(0), change=change(fresh(0), fresh(1))), [Commit()], id="all are ready"
        ),
        pytest.param(
            serving(empty(0), change=change(fresh(0, ready=False))),
            [Spawn(0, 1)],
            id="meanwhile the dead are replaced by their own kind",
        ),
        pytest.param(
            serving(working(0), change=change(fresh(0), empty(1), failed=True)),
            [Abandon()],
            id="one has died",
        ),
        pytest.param(
            serving(working(0), change=change(fresh(0), fresh(1, ready=False), deadline=NOW)),
            [Abandon()],
            id="one is not ready in time",
        ),
    ],
)
def test_a_new_generation_takes_over_whole_or_not_at_all(
    situation: Situation, expected: list[object]
) -> None:
    assert expected == decide(situation, NOW)


@pytest.mark.parametrize(
    ("slot", "retiring", "expected"),
    [
        pytest.param(working(3, wear=Wear.WORN), 0, [Spawn(0, 1)], id="a successor is started"),
        pytest.param(followed(3, ready=False), 0, [], id="and waited for"),
        pytest.param(followed(3, ready=True), 0, [Succeed(0)], id="it is ready"),
        pytest.param(
            working(3, wear=Wear.WORN), MOST_RETIRING, [], id="too many are retiring: it serves on"
        ),
        pytest.param(
            working(3, wear=Wear.USELESS), MOST_RETIRING, [Spawn(0, 1)], id="it cannot serve on"
        ),
    ],
)
def test_a_worn_out_worker_serves_until_another_does(
    slot: Slot, retiring: int, expected: list[object]
) -> None:
    slot.number = 0
    situation = serving(slot, retiring=[process(pid) for pid in range(retiring)])

    assert expected == decide(situation, NOW)


@pytest.mark.parametrize(
    ("wear", "expected"),
    [
        pytest.param(Wear.WORN, [], id="it waits for the change"),
        pytest.param(Wear.USELESS, [Spawn(0, 1)], id="it cannot serve on"),
    ],
)
def test_a_worker_that_a_change_is_about_to_replace_needs_no_successor(
    wear: Wear, expected: list[object]
) -> None:
    situation = serving(working(0, wear=wear), change=change(fresh(0, ready=False)))

    assert expected == decide(situation, NOW)


@pytest.mark.parametrize(
    ("silent", "alarm", "expected"),
    [
        pytest.param(HANG_WARNING - 0.1, Alarm.NONE, [], id="busy"),
        pytest.param(HANG_WARNING, Alarm.NONE, [Warn(9)], id="silent"),
        pytest.param(19.0, Alarm.WARNED, [], id="one warning is enough"),
        pytest.param(20.0, Alarm.WARNED, [Abort(9)], id="silent for too long"),
        pytest.param(25.0, Alarm.ABORTED, [], id="what can be done has been done"),
    ],
)
def test_a_worker_that_shows_no_life_is_taken_for_hung(
    silent: float, alarm: Alarm, expected: list[object]
) -> None:
    hung = process(9, heartbeat=NOW - silent, alarm=alarm)

    assert expected == decide(serving(Slot(0, hung)), NOW)


def test_a_worker_that_is_not_ready_yet_has_no_heartbeat_to_miss() -> None:
    starting = process(9, ready=False, heartbeat=0.0)

    assert decide(serving(Slot(0, starting)), NOW) == []


def test_a_worker_that_never_becomes_ready_is_killed() -> None:
    stuck = process(9, ready=False)
    stuck.forked_at = NOW - READY_TIMEOUT

    assert [Kill(9)] == decide(serving(Slot(0, stuck)), NOW)


def test_a_pause_of_the_whole_machine_kills_nobody() -> None:
    situation = serving(Slot(0, process(9, heartbeat=NOW - 60)))
    situation.look(NOW - 60)
    situation.look(NOW)

    assert decide(situation, NOW) == []


def test_a_master_that_is_only_late_goes_on_looking() -> None:
    situation = serving(Slot(0, process(9, heartbeat=NOW - 60)))
    situation.look(NOW - ROUND - PAUSED)
    situation.look(NOW)

    assert [Abort(9)] == decide(situation, NOW)


def test_the_place_of_a_hung_worker_is_free_at_once() -> None:
    situation = serving(Slot(0, hung := process(9)))
    situation.give_up(hung, NOW, 5.0)

    assert [Spawn(0, 1)] == decide(situation, NOW)
    assert Kill(9) in decide(situation, NOW + 5)


def desertion(situation: Situation, *times: float) -> list[object]:
    """What is decided about desertion, by somebody who looks at these times."""
    actions: list[object] = []
    for now in times:
        situation.look(now)
        decided = [each for each in decide(situation, now) if isinstance(each, Desert)]
        for action in decided:
            situation.deserted = action.deserted
        actions += decided
    return actions


def seconds(count: float) -> list[float]:
    """The times from NOW on at which a master looks."""
    return [NOW + second for second in range(int(count) + 1)]


@pytest.mark.parametrize(
    "slots",
    [
        pytest.param([empty(0, NOW + 999)], id="nobody is there"),
        pytest.param([working(0, ready=False)], id="nobody is ready"),
        pytest.param([working(0), working(1)], id="nobody shows life"),
    ],
)
def test_who_is_deserted_says_so_once_and_after_a_minute(slots: list[Slot]) -> None:
    situation = Situation(slots, Phase.SERVING)

    assert desertion(situation, *seconds(DESERTED - 1)) == []
    assert desertion(situation, *seconds(2 * DESERTED)) == [Desert(deserted=True)]


def test_one_who_serves_is_enough() -> None:
    situation = serving(empty(0, NOW + 999), working(1))
    actions = []
    for now in seconds(2 * DESERTED):
        for each in situation.processes():
            each.heartbeat = now
        actions += desertion(situation, now)

    assert actions == []


def test_a_worker_that_dies_as_soon_as_it_is_ready_does_not_serve() -> None:
    situation = serving(empty(0))
    actions = []
    for now in seconds(2 * DESERTED):
        situation.slots[0].worker = process(7, heartbeat=now)
        situation.slots[0].worker.ready_at = now
        actions += desertion(situation, now)

    assert actions == [Desert(deserted=True)]


def test_when_somebody_serves_again_that_is_said_too() -> None:
    situation = serving(empty(0, NOW + 999))
    desertion(situation, *seconds(DESERTED))
    again = NOW + DESERTED + 1
    situation.slots[0].enter(process(7, heartbeat=again))

    assert desertion(situation, again) == [Desert(deserted=False)]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING, Phase.QUITTING])
def test_nobody_has_to_serve_before_the_start_is_over_or_while_it_ends(phase: Phase) -> None:
    situation = Situation([working(0, ready=False)], phase, kill_at=math.inf)

    assert desertion(situation, *seconds(2 * DESERTED)) == []


def test_a_pause_of_the_whole_machine_is_no_desertion() -> None:
    situation = serving(working(0, ready=False))

    assert desertion(situation, *seconds(30), NOW + 999) == []


def test_a_change_makes_the_old_generation_retire() -> None:
    situation = serving(working(0), change=change(fresh(0), fresh(1)))
    old = situation.commit(NOW)

    assert [100] == [each.pid for each in old]
    assert [300, 301] == [slot.worker.pid for slot in situation.slots if slot.worker]
    assert (2, None) == (situation.generation, situation.change)
    late = NOW + RETIRING_TIMEOUT + KILL_MARGIN
    assert Kill(100) not in decide(situation, late - 1)
    assert Kill(100) in decide(situation, late)


def test_a_change_that_is_off_leaves_the_old_generation_alone() -> None:
    situation = serving(working(0), change=change(fresh(0), fresh(1, ready=False)))
    newcomers = situation.abandon(NOW)

    assert [300, 301] == [each.pid for each in newcomers]
    assert Kill(300) in decide(situation, NOW + RETIRING_TIMEOUT + KILL_MARGIN)
    assert [100] == [slot.worker.pid for slot in situation.slots if slot.worker]
    assert (1, None) == (situation.generation, situation.change)


def test_a_death_among_the_new_fails_the_change() -> None:
    situation = serving(working(0), change=change(fresh(0), fresh(1, ready=False)))
    situation.forget(301, NOW)

    assert [Abandon()] == decide(situation, NOW)


def test_a_death_among_the_old_does_not() -> None:
    situation = serving(working(0), change=change(fresh(0, ready=False)))
    situation.forget(100, NOW)

    assert [Spawn(0, 1)] == decide(situation, NOW)


def test_the_successor_of_a_worker_that_dies_is_there_already() -> None:
    situation = serving(followed(0, ready=True))
    situation.forget(100, NOW)

    assert decide(situation, NOW) == []
    assert [200] == [each.pid for each in situation.processes()]


def test_so_many_generations_may_retire_and_the_oldest_is_cut_off() -> None:
    retiring = [process(pid, generation=pid) for pid in range(1, MOST_RETIRING + 2)]
    situation = serving(working(0), retiring=retiring)

    assert [1] == [each.pid for each in situation.cut_off(NOW)]
    assert [] == situation.cut_off(NOW)
    assert Kill(1) in decide(situation, NOW + KILL_MARGIN)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param(serving(working(0)), ROUND, id="heartbeats are looked at"),
        pytest.param(serving(empty(0, NOW + 0.3), empty(1, NOW + 0.2)), 0.2, id="next attempt"),
        pytest.param(serving(empty(0)), 0.0, id="an attempt is overdue"),
        pytest.param(
            serving(working(0), change=change(fresh(0), deadline=NOW + 0.5)), 0.5, id="a change"
        ),
        pytest.param(
            serving(working(0), retiring=[process(7, kill_at=NOW + 0.5)]), 0.5, id="one retires"
        ),
        pytest.param(
            Situation([working(0)], Phase.LEAVING, stop_at=NOW + 0.5), 0.5, id="until the stop"
        ),
        pytest.param(
            Situation([working(0)], Phase.STOPPING, kill_at=NOW + 5), 5.0, id="until the kill"
        ),
        pytest.param(
            Situation([working(0)], Phase.QUITTING, kill_at=NOW - 5), 0.0, id="the kill is overdue"
        ),
    ],
)
def test_patience(situation: Situation, expected: float) -> None:
    assert pytest.approx(expected) == patience(situation, NOW)
