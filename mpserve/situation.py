"""Which processes there are: what the master knows, and how each thing that happens changes it.

A slot is a place for one worker, and outlives it. A worker whose place another has taken retires: it
finishes what it has. A change is a new generation that is being prepared beside the one that serves; it
takes over whole, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

# A worker that dies before it served, or right after, is replaced after a delay that doubles (seconds).
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 10.0
# It served if it was ready for this long (seconds).
SERVED_FOR: Final = 0.25
# Workers end by themselves at the limit of a graceful stop; this much later (seconds) they are killed.
KILL_MARGIN: Final = 1.0
# Between the signal that leaves a traceback and the one that leaves nothing (seconds).
ABORT_MARGIN: Final = 5.0
# A worker that has been replaced has this long (seconds) for the downloads that it has begun.
RETIRING_TIMEOUT: Final = 300.0
# Retiring workers for each slot, at most. A worker that wants to be replaced serves on until there is
# room; a reload cuts off the oldest generation.
MOST_RETIRING: Final = 4
# A worker that is worn out this soon (seconds) after it was ready has not grown: its limit is too low. The
# first such in a row is replaced at once, the next ones after a time that doubles (seconds).
WORN_EARLY: Final = 10.0
REST_FIRST: Final = 1.0
REST_LAST: Final = 60.0
# Heartbeats are looked at this often (seconds); one that is older than HANG_WARNING is worth a line.
ROUND: Final = 1.0
HANG_WARNING: Final = 2.0
# A master that comes this much later (seconds) than it wanted to has not been running: then nobody has.
PAUSED: Final = 2.0


class Phase(Enum):
    """Where the server is in its life."""

    STARTING = "no generation of workers has been ready yet"
    SERVING = "workers that die are replaced"
    LEAVING = "as SERVING, until the delay of a graceful stop is over"
    STOPPING = "workers finish what they have"
    QUITTING = "workers end at once"


class Alarm(Enum):
    """How far a worker that shows no life has been taken for hung."""

    NONE = auto()
    WARNED = auto()
    ABORTED = auto()


class Wear(Enum):
    """Whether another is to take a worker's place."""

    NONE = auto()
    WORN = "when there is room, and not too often"
    USELESS = "at once: it cannot serve any more"


@dataclass(slots=True, eq=False)
class Process:
    """One worker process. All times are monotonic seconds."""

    pid: int
    generation: int
    forked_at: float
    ready_at: float = math.inf
    heartbeat: float = 0.0
    alarm: Alarm = Alarm.NONE
    wear: Wear = Wear.NONE  # by its own word
    kill_at: float = math.inf

    @property
    def ready(self) -> bool:
        """Whether it has come to serve."""
        return self.ready_at < math.inf


@dataclass(slots=True)
class Slot:
    """A place for one worker, and the listening sockets that are its own. The place outlives the worker."""

    number: int
    worker: Process | None = None
    successor: Process | None = None  # of a worker that is worn out
    failures: int = 0  # workers in a row that did not come to serve
    spawn_at: float = 0.0  # monotonic seconds: not before
    worn: int = 0  # workers in a row that were worn out early
    succeed_at: float = 0.0  # monotonic seconds: no successor before, if the worker can serve

    @property
    def processes(self) -> list[Process]:
        """The processes that are in it."""
        return [each for each in (self.worker, self.successor) if each is not None]

    def enter(self, process: Process) -> None:
        """A process has been forked into it."""
        if self.worker is None:
            self.worker = process
        else:
            self.successor = process

    def bury(self, process: Process, now: float) -> None:
        """`process` is dead: the next one comes at once if this one served, else after a delay."""
        if now - process.ready_at >= SERVED_FOR:
            self.failures, self.spawn_at = 0, now
        else:
            self.fail(now)
        self.leave(process)

    def rest(self, process: Process, now: float) -> float:
        """`process` is worn out: in how many seconds another is to take its place."""
        early = now - process.ready_at < WORN_EARLY
        self.worn = self.worn + 1 if early else 0
        seconds = 0.0 if self.worn < 2 else min(REST_LAST, doubled(REST_FIRST, self.worn - 1))
        self.succeed_at = now + seconds
        return seconds

    def wants_successor(self, now: float, *, room: bool) -> bool:
        """Whether another is to be started, to take the worker's place."""
        if self.worker is None or self.worker.wear is Wear.NONE:
            return False
        return self.worker.wear is Wear.USELESS or (room and self.succeed_at <= now)

    def fail(self, now: float) -> None:
        """A worker did not come to serve."""
        self.failures += 1
        self.spawn_at = now + backoff(self.failures)

    def leave(self, process: Process) -> None:
        """`process` is in it no more."""
        if self.successor is process:
            self.successor = None
        else:
            self.worker, self.successor = self.successor, None


@dataclass(slots=True)
class Change:
    """A generation that is to take over from the one that serves."""

    generation: int
    slots: list[Slot]
    deadline: float  # monotonic seconds: ready by then, or never
    failed: bool = False


@dataclass(slots=True)
class Situation:
    """All that `decide` goes by."""

    slots: list[Slot]
    phase: Phase = Phase.STARTING
    generation: int = 1
    change: Change | None = None
    retiring: list[Process] = field(default_factory=list)
    kill_at: float = 0.0  # monotonic seconds: when stopping has lasted too long
    stop_at: float = 0.0  # monotonic seconds: when LEAVING is over
    boot_failed: bool = False  # a worker died before any generation was ready
    hang_timeout: float = math.inf  # seconds
    seen_at: float = math.inf  # monotonic seconds: when anybody last looked
    resumed_at: float = 0.0  # monotonic seconds: when the machine last woke up
    served_at: float = math.inf  # monotonic seconds: when somebody was last seen to serve
    deserted: bool = False  # nobody has served for too long, and it has been said

    @property
    def places(self) -> list[Slot]:
        """Every slot, those of a change too."""
        return [*self.slots, *(self.change.slots if self.change else ())]

    def processes(self) -> Iterator[Process]:
        """Every worker that has not been reaped."""
        for slot in self.places:
            yield from slot.processes
        yield from self.retiring

    def newcomers(self) -> list[Process]:
        """The workers of a change."""
        return [
            each for slot in (self.change.slots if self.change else ()) for each in slot.processes
        ]

    def look(self, now: float) -> None:
        """Note that we are awake; after a pause of the whole machine no heartbeat is old."""
        if now - self.seen_at > ROUND + PAUSED:
            self.resumed_at = self.served_at = now
        self.seen_at = now
        if self.served_at == math.inf or self.somebody_serves(now):
            self.served_at = now
        for process in self.processes():
            if process.alarm is Alarm.WARNED and now - process.heartbeat < HANG_WARNING:
                process.alarm = Alarm.NONE

    def somebody_serves(self, now: float) -> bool:
        """Whether somebody serves who shows life, or nobody is meant to."""
        if self.phase not in (Phase.SERVING, Phase.LEAVING):
            return True
        return any(
            now - each.ready_at >= SERVED_FOR
            and now - max(each.heartbeat, each.ready_at, self.resumed_at) < HANG_WARNING
            for slot in self.slots
            for each in slot.processes
        )

    # What the deeds change

    def take_in(self, process: Process, slot: int | None) -> None:
        """A worker that an earlier image of the master has forked, in its slot or retiring."""
        if slot is None:
            self.retiring.append(process)
        else:
            self.slots[slot].enter(process)

    def retire(self, process: Process, now: float, limit: float = RETIRING_TIMEOUT) -> None:
        """`process` is nobody's any more: it finishes what it has."""
        process.kill_at = min(process.kill_at, now + limit + KILL_MARGIN)
        self.retiring.append(process)

    def succeed(self, slot: Slot, now: float) -> Process | None:
        """A successor that is ready takes the place; who is to be told to retire."""
        if slot.successor is None or slot.worker is None or not slot.successor.ready:
            return None
        old, slot.worker, slot.successor = slot.worker, slot.successor, None
        self.retire(old, now)
        return old

    def commit(self, now: float) -> list[Process]:
        """The change takes over; who is to be told to retire."""
        assert self.change is not None
        old = [process for slot in self.slots for process in slot.processes]
        for process in old:
            self.retire(process, now)
        self.slots, self.generation = self.change.slots, self.change.generation
        self.change = None
        return old

    def abandon(self, now: float) -> list[Process]:
        """The change is off; who is to leave."""
        assert self.change is not None
        newcomers = self.newcomers()
        for process in newcomers:
            self.retire(process, now)
        self.change = None
        return newcomers

    def wear_out(self, process: Process, wear: Wear, now: float) -> float:
        """`process` wants to be replaced: in how many seconds it is to be."""
        process.wear = wear
        slot = self.slot_of(process)
        return slot.rest(process, now) if slot is not None and wear is Wear.WORN else 0.0

    def give_up(self, process: Process, now: float, limit: float) -> None:
        """`process` hangs: its place is free at once, and it has `limit` seconds to end."""
        slot = self.slot_of(process)
        if slot is None:
            process.kill_at = min(process.kill_at, now + limit)
            return
        slot.leave(process)
        slot.spawn_at = now
        process.kill_at = now + limit
        self.retiring.append(process)
        self._note_failure(slot)

    def forget(self, pid: int, now: float) -> tuple[Slot | None, Process]:
        """A process has been reaped: the slot it left, if it was in one."""
        process = self.process(pid)
        slot = self.slot_of(process)
        if slot is None:
            self.retiring.remove(process)
        else:
            slot.bury(process, now)
            self._note_failure(slot)
        return slot, process

    def process(self, pid: int) -> Process:
        """The worker with that process ID. Raises LookupError if it is not ours."""
        for process in self.processes():
            if process.pid == pid:
                return process
        raise LookupError(pid)

    def slot_of(self, process: Process) -> Slot | None:
        """The slot that `process` is in; None if it is in none any more."""
        return next((slot for slot in self.places if process in slot.processes), None)

    def cut_off(self, now: float) -> list[Process]:
        """The retiring processes of generations that are one too many; they have a moment to end."""
        generations = sorted({process.generation for process in self.retiring})
        oldest = set(generations[:-MOST_RETIRING])
        late = now + KILL_MARGIN
        cut = [each for each in self.retiring if each.generation in oldest and each.kill_at > late]
        for process in cut:
            process.kill_at = late
        return cut

    def _note_failure(self, slot: Slot) -> None:
        if self.change is not None and any(slot is each for each in self.change.slots):
            self.change.failed = True


def backoff(failures: int) -> float:
    """Seconds before the next attempt after so many failed ones in a row: 0, 0.1, 0.2, 0.4 … 10."""
    if failures == 0:
        return 0.0
    return min(BACKOFF_LAST, doubled(BACKOFF_FIRST, failures))


def doubled(first: float, times: int) -> float:
    """`first` seconds the first time, and twice as long each time after it."""
    return first * 2.0 ** min(times - 1, 10)
