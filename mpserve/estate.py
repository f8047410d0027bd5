"""All that the master holds: what is open, who works in it, what is under way. The rooms around it act on it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpserve.handover import Handover
from mpserve.notify import Notifier
from mpserve.pipes import Pipes
from mpserve.relay import Relay
from mpserve.scoreboard import Scoreboard
from mpserve.situation import Phase, Process, Situation, Slot

if TYPE_CHECKING:
    from mpserve.admin import Admin
    from mpserve.config import Config
    from mpserve.edition import Edition
    from mpserve.process import PidFile
    from mpserve.scoreboard import Row
    from mpserve.upgrade import Preflight, State


class Estate:
    """What travels together between the rooms of the master. Made empty; whoever opens something enters it."""

    def __init__(self, config: Config, left: State | None) -> None:
        self.situation = Situation([Slot(number) for number in range(config.workers)])
        self.scoreboard = Scoreboard.create()
        self.rows: dict[int, Row] = {}  # of each worker that has not been reaped, by its pid
        self.pipes = Pipes()
        self.relay = Relay.create()
        self.handover = Handover()
        self.notify = Notifier.of(os.environ, os.getpid())
        self.left = left  # by the image before this one, of which we are the upgrade
        self.preflight: Preflight | None = None
        self.serving: Edition | None = None
        self.coming: Edition | None = None  # what is to take over from it
        self.pid_file: PidFile | None = None
        self.admin: Admin | None = None
        self.started = time.time()
        self.began = time.monotonic()  # the same moment, for who wants to know how long ago it was
        self.refusal = ""  # why the last reload or upgrade has failed
        self.exit: int | None = None  # the status to leave with

    def __repr__(self) -> str:
        alive = sum(1 for _ in self.situation.processes())
        return f"<Estate {self.situation.phase.name} {alive}/{len(self.situation.slots)} workers>"

    @property
    def edition(self) -> Edition:
        """What serves."""
        assert self.serving is not None, "nothing has been opened yet"
        return self.serving

    @property
    def is_changing(self) -> bool:
        """Whether a change of generation is under way; another one has to wait for its end."""
        under_way = self.situation.change is not None or self.preflight is not None
        return under_way or self.situation.phase is Phase.STARTING

    @property
    def is_settled(self) -> bool:
        """Whether nothing that an image before this one left could still go on without us."""
        return self.left is None or self.left.settled

    def strangers(self) -> list[Process]:
        """The workers that what was left does not tell of: nobody would look after them without us."""
        told = {worker["pid"] for worker in self.left.told["workers"]} if self.left else set()
        return [process for process in self.situation.processes() if process.pid not in told]

    def settle(self) -> None:
        """The upgrade is over: what the image before this one left is ours, or not needed."""
        if self.left is not None:
            self.left.settle()

    def refused(self, why: str, code: int) -> None:
        """A reload or an upgrade has failed, with that errno; what was served goes on."""
        self.refusal = why
        self.notify.refused(why, code)

    def slot_of(self, pid: int) -> int:
        """The number of the slot that a worker was forked for."""
        return self.rows[pid]["slot"]

    def signal(self, processes: Iterable[Process], number: int) -> None:
        """Send a signal to each of them that is still there."""
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def leave(self) -> None:
        """Let go, in a process that was forked, of what is the master's alone."""
        os.close(self.pipes.life[1])
        if self.admin is not None:
            self.admin.leave()
        if self.left is not None and not self.left.settled:
            self.left.close()
        if self.pid_file is not None:
            self.pid_file.leave()  # the lock is the master's life

    def close(self) -> None:
        """Close what nobody is to find open any more, and remove what is ours in the file system."""
        if self.admin is not None:
            self.admin.close()
        if self.coming is not None:
            self.coming.close_but_for(self.serving)
        if self.serving is not None:
            self.serving.close_but_for(None)
        if self.pid_file is not None:
            self.pid_file.remove()
        self.scoreboard.close()
