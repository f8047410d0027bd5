"""What is done to a server while it serves, as rows: a name, a deed, and the pause after it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.chaos import Chaos
from loadtests.reliability.subject import NotDone, Subject, until
from loadtests.watch import Watch


@dataclass(slots=True)
class Scene:
    """A server under load, the killer, and whether the load is over."""

    subject: Subject
    over: Callable[[], bool]
    chaos: Chaos
    random: random.Random
    turn: int = 0  # how many deeds there were

    def rest(self, seconds: float) -> None:
        """Let time pass, unless the load is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.over():
            time.sleep(0.01)


def scene(subject: Subject, over: Callable[[], bool], seed: str) -> Scene:
    """The scene before the load begins: nobody is connected yet."""
    watch = Watch(subject.master)
    watch.begin()
    chance = random.Random(seed)
    return Scene(subject, over, Chaos(watch, chance), chance)


def nothing(scene: Scene) -> None:
    """No fault at all: what the rest is compared with."""
    scene.rest(0.5)


def kill(scene: Scene) -> None:
    """KILL a worker, after counting what it holds; wait for another in its place."""
    subject = scene.subject
    scene.chaos.watch.master = subject.master
    subject.await_workers(subject.workers_wanted)  # in the place of one that drains nobody comes
    scene.chaos.kill()
    subject.await_workers(subject.workers_wanted)


def stop_for(seconds: float) -> Callable[[Scene], None]:
    """Stop a worker, as a stuck disk would, and let it continue after so long."""

    def stop(scene: Scene) -> None:
        pid = scene.random.choice(scene.subject.workers())
        os.kill(pid, signal.SIGSTOP)
        try:
            # The load may end meanwhile; the worker is held all the same.
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    return stop


def reload(scene: Scene) -> None:
    """HUP: new workers take over, the old ones finish what they have."""
    scene.subject.reload()


def reload_broken(scene: Scene) -> None:
    """HUP with a configuration that cannot be read: it complains, and the same workers go on."""
    subject = scene.subject
    before, said = set(subject.workers()), subject.complaints()
    subject.break_config()
    try:
        subject.signal(signal.SIGHUP)
        until(lambda: subject.complaints() > said, "a complaint about the configuration")
        scene.rest(0.3)
        if fresh := set(subject.workers()) - before:
            raise NotDone(f"{len(fresh)} new workers came of a configuration that is broken")
    finally:
        subject.mend_config()


def scale(scene: Scene) -> None:
    """One worker more, then one less, then to a single one and back."""
    subject = scene.subject
    for by in (1, -1, *[-1] * (subject.workers_wanted - 1), *[1] * (subject.workers_wanted - 1)):
        subject.says.scale(subject, by)


def upgrade(scene: Scene) -> None:
    """USR2: the program itself is replaced."""
    scene.subject.says.upgrade(scene.subject)


def mixed(scene: Scene) -> None:
    """Everything in turn, but the end."""
    deeds = (kill, reload, stop_for(0.8), scale, upgrade, reload_broken)
    deeds[scene.turn % len(deeds)](scene)


@dataclass(frozen=True, slots=True)
class Action:
    """One row."""

    name: str
    title: str
    deed: Callable[[Scene], None] | None  # None: the server's graceful end
    pause: float = 0.0  # seconds after each
    aftermath: float = 0.0  # of them, that count as "during"
    part: int = 1  # of the load that is asked for: the whole, a half, …
    rounds: int = 1  # servers one after the other, each with its part of the load


_ROWS = (
    Action("nothing", "nothing", nothing, part=4),
    Action("kill", "`kill -9` of a worker", kill, 0.4, 0.3),
    Action("stop-0.8", "a worker stopped for 0.8 s", stop_for(0.8), 0.7),
    Action("stop-5", "a worker stopped for 5 s", stop_for(5.0), 1.0),
    Action("hup", "HUP", reload, 1.0, 0.5),
    Action("broken", "HUP, configuration broken", reload_broken, 0.3),
    Action("scale", "more and fewer workers", scale, 0.5, 0.5),
    Action("usr2", "USR2, upgrade in place", upgrade, 1.0, 0.5),
    Action("mixed", "all of these in turn", mixed, 0.3, 0.3),
    Action("term", "graceful end", None, aftermath=1.0, rounds=10),
)
ACTIONS = {row.name: row for row in _ROWS}
