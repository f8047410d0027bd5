"""One action against one server: the load begins, the deeds follow one another, the counts are added up."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from loadtests.reliability import actions, subject
from loadtests.reliability.actions import Action, Scene
from loadtests.reliability.client import Load, Order
from loadtests.reliability.counts import Counts, latency, total
from loadtests.reliability.results import Row

FILE = "page.html"
CONTENT = b"".join(b"line %04d of a page\n" % number for number in range(50))
LIMIT = 90.0  # seconds for a load to end, beyond what its rate makes of it
# A fork would copy the threads' locks of whoever calls this; a new interpreter knows nothing.
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for every action."""

    root: Path
    connections: int  # fresh ones, for each action
    rate: float  # of them per second, over all processes
    reused: int  # connections, over all processes
    processes: int
    workers: int


@dataclass(slots=True)
class Loads:
    """The load processes of one round."""

    stop: Event
    processes: list[tuple[multiprocessing.process.BaseProcess, Connection]]
    counts: list[Counts] = field(default_factory=list)

    def over(self) -> bool:
        """Has every one of them ended, or said what it has to say?"""
        return all(pipe.poll() or not process.is_alive() for process, pipe in self.processes)

    def collect(self) -> Counts:
        """What they have counted, all in one; NotDone when one of them ended without a word."""
        for process, pipe in self.processes:
            if not pipe.poll(LIMIT):
                raise subject.NotDone(f"the end of load process {process.pid}")
            try:
                self.counts.append(pipe.recv())
            except EOFError as error:
                raise subject.NotDone(f"load process {process.pid} died") from error
            process.join()
        return total(self.counts)

    def kill(self) -> None:
        """End those that have not ended."""
        for process, pipe in self.processes:
            process.kill()
            process.join()
            pipe.close()


def make_root(root: Path) -> None:
    """The tree that is served: one page."""
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_bytes(CONTENT)


def load_process(order: Order, stop: Event, go: Event, ready: Event, pipe: Connection) -> None:
    """The main function of a load process."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ready.set()
    go.wait()
    pipe.send(Load(order, stop.is_set).run())
    pipe.close()


def begin(plan: Plan, address: tuple[str, int], connections: int) -> Loads:
    """Start the load processes, and let them begin together."""
    stop, go = _SPAWN.Event(), _SPAWN.Event()
    loads = Loads(stop, [])
    readies = []
    for number in range(plan.processes):
        order = Order(
            number=number,
            address=address,
            path=f"/{FILE}",
            content=CONTENT,
            fresh=share(connections, plan.processes, number),
            rate=plan.rate / plan.processes,
            reused=share(plan.reused, plan.processes, number),
        )
        receive, send = _SPAWN.Pipe(duplex=False)
        ready = _SPAWN.Event()
        process = _SPAWN.Process(target=load_process, args=(order, stop, go, ready, send))
        process.start()
        send.close()
        loads.processes.append((process, receive))
        readies.append(ready)
    for ready in readies:
        ready.wait(LIMIT)
    go.set()
    return loads


def share(whole: int, parts: int, number: int) -> int:
    """The part of number `number` when a whole is divided as evenly as whole numbers allow."""
    return whole // parts + (number < whole % parts)


@dataclass(slots=True)
class Round:
    """What one server went through."""

    counts: Counts = field(default_factory=Counts)
    windows: list[tuple[float, float]] = field(default_factory=list)
    held: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(plan: Plan, server: str, action: Action) -> Row:
    """One action against one server."""
    rounds = [
        one_round(
            plan, server, action, share(plan.connections // action.part, action.rounds, number)
        )
        for number in range(action.rounds)
    ]
    return summary(server, action.name, rounds)


def one_round(plan: Plan, server: str, action: Action, connections: int) -> Round:
    """A server from its start to its end, and the load meanwhile."""
    result = Round()
    running = subject.start(server, plan.root, plan.workers)
    try:
        # Nobody is connected yet: what the workers have now they have without connections.
        scene = actions.scene(running, lambda: True, action.name)
        # Of a server that is told to end, as many come before the word as after it.
        wanted = connections if action.deed else 2 * connections
        loads = begin(plan, (running.peer.host, running.peer.port), wanted)
        scene.over = loads.over
        began = time.monotonic()
        try:
            deed = action.deed
            if deed is None:
                scene.rest(connections / plan.rate)
                attempt(result, action.aftermath, lambda: end_gracefully(running, loads))
            else:
                repeat(result, scene, deed, action)
            result.counts = loads.collect()
        finally:
            loads.kill()
        result.seconds = time.monotonic() - began
        result.held = scene.chaos.excused
    except subject.NotDone as problem:
        result.problems.append(str(problem))
    finally:
        running.stop()
    return result


def repeat(result: Round, scene: Scene, deed: Callable[[Scene], None], action: Action) -> None:
    """Do it, and again, until the load is over; once at least."""
    scene.rest(action.pause)
    while attempt(result, action.aftermath, lambda: deed(scene)):
        scene.turn += 1
        scene.rest(action.pause)
        if scene.over():
            return


def attempt(result: Round, aftermath: float, deed: Callable[[], None]) -> bool:
    """Did the server do it? Notes when, or why not."""
    begin = time.monotonic()
    try:
        deed()
    except subject.NotDone as problem:
        result.problems.append(str(problem))
        return False
    result.windows.append((begin, time.monotonic() + aftermath))
    return True


def end_gracefully(running: subject.Subject, loads: Loads) -> None:
    """Tell the server to finish, and wait until it has."""
    master = running.master
    loads.stop.set()
    running.signal(running.says.graceful)
    subject.until(lambda: not lives(master, running), "the graceful end")


def lives(master: int, running: subject.Subject) -> bool:
    """Does the master of a server still run?"""
    return running.peer.process.poll() is None and master in running.peer.pids()


def summary(server: str, action: str, rounds: Sequence[Round]) -> Row:
    """The rounds of one action as one row of the results."""
    counts = total(each.counts for each in rounds)
    windows = [window for each in rounds for window in each.windows]
    return Row(
        server=server,
        action=action,
        deeds=len(windows),
        seconds=round(sum(each.seconds for each in rounds), 1),
        fresh=counts.fresh,
        answered=counts.answered,
        reused=counts.reused,
        reused_answered=counts.reused_answered,
        turned_away=counts.turned_away,
        idle_ends=counts.idle_ends,
        held=sum(each.held for each in rounds),
        losses=dict(counts.losses),
        late=round(1000 * counts.late, 1),
        latency=latency(counts.during(windows)),
        problems=[problem for each in rounds for problem in each.problems],
        examples=counts.examples,
    )
