"""Which processes there are, and what is to be done about them: the pure half of the master.

A slot is a place for one worker, and outlives it. A worker whose place another has taken retires: it
finishes what it has. A change is a new generation that is being prepared beside the one that serves; it
takes over whole, or not at all. `decide` looks at all that and at the clock, and says what is to be done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

# Exit statuses of the whole server.
EXIT_OK: Final = 0
EXIT_CANNOT_START: Final = 3

# A worker that dies before it served, or right after, is replaced after a delay that doubles (seconds).
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 10.0
# It served if it was ready for this long (seconds).
SERVED_FOR: Final = 0.25
# Workers end by themselves at the limit of a graceful stop; this much later (seconds) they are killed.
KILL_MARGIN: Final = 1.0
# A worker that is not ready after this long (seconds) never will be.
READY_TIMEOUT: Final = 30.0
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
# After so long (seconds) without a worker that serves, there is nothing more that the master could try:
# whoever watches it is told, and may start another.
DESERTED: Final = 60.0
# Between the signal that leaves a traceback and the one that leaves nothing (seconds).
ABORT_MARGIN: Final = 5.0


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


def backoff(failures: int) -> float:
    """Seconds before the next attempt after so many failed ones in a row: 0, 0.1, 0.2, 0.4 … 10."""
    if failures == 0:
        return 0.0
    return min(BACKOFF_LAST, doubled(BACKOFF_FIRST, failures))


def doubled(first: float, times: int) -> float:
    """`first` seconds the first time, and twice as long each time after it."""
    return first * 2.0 ** min(times - 1, 10)
