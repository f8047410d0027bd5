"""What is to be done about the processes: the pure half of the master.

`decide` looks at the situation and at the clock, and says what is to be done, in this order. Whoever does
it changes the situation by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from mpserve.situation import (
    HANG_WARNING,
    MOST_RETIRING,
    ROUND,
    Alarm,
    Change,
    Phase,
    Process,
    Situation,
    Slot,
)

# Exit statuses of the whole server.
EXIT_OK: Final = 0
EXIT_CANNOT_START: Final = 3

# A worker that is not ready after this long (seconds) never will be.
READY_TIMEOUT: Final = 30.0
# After so long (seconds) without a worker that serves, there is nothing more that the master could try:
# whoever watches it is told, and may start another.
DESERTED: Final = 60.0


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker of that generation into this slot."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End this worker without asking."""

    pid: int


@dataclass(frozen=True, slots=True)
class Warn:
    """A worker shows no life: let it say where it is."""

    pid: int


@dataclass(frozen=True, slots=True)
class Abort:
    """A worker is taken for hung: another takes its place, and it ends with a traceback."""

    pid: int


@dataclass(frozen=True, slots=True)
class Succeed:
    """The successor in this slot is ready: the worker retires."""

    slot: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The new generation is ready: it takes over."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """The new generation does not come up: the old one goes on."""


@dataclass(frozen=True, slots=True)
class Announce:
    """All workers are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Desert:
    """Nobody has served for too long; or somebody does again."""

    deserted: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """The delay is over: stop gracefully."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave with this status."""

    status: int


Action: TypeAlias = (
    Spawn | Kill | Warn | Abort | Succeed | Commit | Abandon | Announce | Desert | Stop | Exit
)


def decide(situation: Situation, now: float) -> list[Action]:
    """What is to be done now, in this order."""
    if situation.phase is Phase.STARTING and situation.boot_failed:
        # A first generation that cannot boot will not boot the second time either.
        return [*kill_all(situation.processes()), Exit(EXIT_CANNOT_START)]
    if situation.phase in (Phase.STOPPING, Phase.QUITTING):
        workers = list(situation.processes())
        if not workers:
            return [Exit(EXIT_OK)]
        return kill_all(workers) if now >= situation.kill_at else []
    if situation.phase is Phase.LEAVING and now >= situation.stop_at:
        return [Stop()]
    if situation.phase is Phase.STARTING and all(is_served(slot) for slot in situation.slots):
        return [Announce()]
    return [
        *overdue(situation.processes(), now),
        *about_hung(situation, now),
        *about_change(situation.change, now),
        *about_slots(situation, now),
        *about_desertion(situation, now),
    ]


def is_served(slot: Slot) -> bool:
    """Whether somebody serves in `slot`."""
    return slot.worker is not None and slot.worker.ready


def kill_all(processes: Iterable[Process]) -> list[Action]:
    """A Kill for each."""
    return [Kill(process.pid) for process in processes]


def overdue(processes: Iterable[Process], now: float) -> list[Action]:
    """End those that should have ended, or begun, by themselves."""
    return [
        Kill(process.pid)
        for process in processes
        if now >= process.kill_at
        or (not process.ready and now >= process.forked_at + READY_TIMEOUT)
    ]


def about_hung(situation: Situation, now: float) -> list[Action]:
    """What to do about workers whose loop does not turn."""
    actions: list[Action] = []
    for process in situation.processes():
        if not process.ready or process.alarm is Alarm.ABORTED:
            continue
        silent = now - max(process.heartbeat, process.ready_at, situation.resumed_at)
        if silent >= situation.hang_timeout:
            actions.append(Abort(process.pid))
        elif silent >= HANG_WARNING and process.alarm is Alarm.NONE:
            actions.append(Warn(process.pid))
    return actions


def about_change(change: Change | None, now: float) -> list[Action]:
    """How a new generation comes up: whole, or not at all."""
    if change is None:
        return []
    if change.failed or now >= change.deadline:
        return [Abandon()]
    if all(is_served(slot) for slot in change.slots):
        return [Commit()]
    return [Spawn(slot.number, change.generation) for slot in change.slots if slot.worker is None]


def about_slots(situation: Situation, now: float) -> list[Action]:
    """Keep a worker in every slot of the generation that serves."""
    actions: list[Action] = []
    # A change replaces them all. Should an upgrade fail, those that it found are to be there still.
    room = situation.change is None
    room = room and len(situation.retiring) < MOST_RETIRING * len(situation.slots)
    for slot in situation.slots:
        wanted = slot.worker is None or slot.wants_successor(now, room=room)
        if slot.successor is not None and slot.successor.ready:
            actions.append(Succeed(slot.number))
        elif slot.successor is None and wanted and slot.spawn_at <= now:
            actions.append(Spawn(slot.number, situation.generation))
    return actions


def about_desertion(situation: Situation, now: float) -> list[Action]:
    """Say when nobody serves any more, and when somebody does again."""
    deserted = now - situation.served_at >= DESERTED
    return [] if deserted == situation.deserted else [Desert(deserted)]


def patience(situation: Situation, now: float) -> float:
    """Seconds until the clock alone may make `decide` say something new."""
    if situation.phase in (Phase.STOPPING, Phase.QUITTING):
        return max(0.0, situation.kill_at - now)
    times = [now + ROUND]
    times += [slot.spawn_at for slot in situation.slots if slot.worker is None]
    times += [process.kill_at for process in situation.retiring]
    if situation.phase is Phase.LEAVING:
        times.append(situation.stop_at)
    if situation.change is not None:
        times.append(situation.change.deadline)
    return max(0.0, min(times) - now)
